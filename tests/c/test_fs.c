/* fs jobs without Python, most of all their ends: cancelled between steps,
 * dropped half done, errors in the middle. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uvw_completions *completions;
static char root[64];

static const char *in(const char *name) {
  static char path[4][256];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof(path[turn]), "%s/%s", root, name);
  return path[turn];
}

static uvw_fs *start(uvw_fs_args args) {
  uvw_fs *fs = uvw_fs_new(&args, completions, NULL);
  CHECK(fs != NULL && uvw_submit(&fs->job) == 0);
  return fs;
}

static uvw_fs *next(void) {
  uvw_job *job = wait_and_take(completions);
  CHECK(job->next == NULL);
  return (uvw_fs *)job;
}

/* Runs an operation to its end, giving what it asks for. */
static uvw_fs *complete(uvw_fs_args args) {
  start(args);
  for (;;) {
    uvw_fs *fs = next();
    switch (fs->job.ask) {
    case UVW_ASK_NOTHING:
      return fs;
    case UVW_ASK_MEMORY: {
      char *more = realloc(fs->borrowed ? fs->buffer : NULL, fs->want);
      CHECK(more != NULL);
      if (!fs->borrowed) {
        if (fs->length > 0)
          memcpy(more, fs->buffer, fs->length);
        uvw_buffer_put(fs->buffer, fs->capacity);
      }
      fs->buffer = more;
      fs->capacity = fs->want;
      fs->borrowed = true;
      break;
    }
    case UVW_ASK_TAKE:
      fs->length = 0;
      break;
    default:
      usleep(1000);
    }
    fs->job.ask = UVW_ASK_NOTHING;
    CHECK(uvw_submit(&fs->job) == 0);
  }
}

static void end(uvw_fs *fs) {
  if (fs->borrowed)
    free(fs->buffer);
  uvw_job_free(&fs->job);
}

static int error_of(uvw_fs_args args) {
  uvw_fs *fs = complete(args);
  int error = fs->job.error;
  end(fs);
  return error;
}

static int descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++)
    count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static void test_write_and_read_back(void) {
  static const size_t sizes[] = {0, 1, 4095, 4096, 65536, 131072, 131073, 3 << 20};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    char *data = malloc(sizes[i] + 1);
    memset(data, 'a' + (int)i, sizes[i]);
    int flags = i % 2 ? UVW_FS_ATOMIC | UVW_FS_SYNC : 0;
    CHECK(error_of((uvw_fs_args){.op = UVW_FS_WRITE,
                                 .path = in("file"),
                                 .data = data,
                                 .size = sizes[i],
                                 .mode = 0644,
                                 .flags = flags}) == 0);
    uvw_fs *fs =
        complete((uvw_fs_args){.op = UVW_FS_READ, .path = in("file"), .max_size = UINT64_MAX});
    CHECK(fs->job.error == 0 && fs->length == sizes[i]);
    CHECK(memcmp(fs->buffer, data, sizes[i]) == 0);
    end(fs);
    CHECK(error_of((uvw_fs_args){.op = UVW_FS_COPY, .path = in("file"), .path2 = in("copy")}) == 0);
    struct stat st;
    CHECK(stat(in("copy"), &st) == 0 && (size_t)st.st_size == sizes[i]);
    free(data);
  }
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_READ, .path = in("file"), .max_size = 10}) == EFBIG);
  CHECK(
      error_of((uvw_fs_args){
          .op = UVW_FS_COPY, .path = in("file"), .path2 = in("copy"), .flags = UVW_FS_EXCLUSIVE}) ==
      EEXIST);
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_COPY, .path = in("file"), .path2 = in("file")}) ==
        UVW_ESAMEFILE);
}

static void test_a_full_device(void) {
  char data[100] = {0};
  CHECK(error_of((uvw_fs_args){
            .op = UVW_FS_WRITE, .path = "/dev/full", .data = data, .size = 100, .mode = 0644}) ==
        ENOSPC);
}

/* Dropped while it waits for memory: the descriptor goes with it. */
static void test_dropped_between_steps(void) {
  start((uvw_fs_args){.op = UVW_FS_READ, .path = in("file"), .max_size = UINT64_MAX});
  uvw_fs *fs = next();
  CHECK(fs->job.ask == UVW_ASK_MEMORY && fs->fd >= 0);
  end(fs);
  CHECK(mkfifo(in("fifo"), 0600) == 0);
  start((uvw_fs_args){.op = UVW_FS_READ, .path = in("fifo"), .max_size = UINT64_MAX});
  fs = next();
  CHECK(fs->job.ask == UVW_ASK_READABLE);
  end(fs);
  start((uvw_fs_args){.op = UVW_FS_WRITE, .path = in("fifo"), .data = "x", .size = 1});
  fs = next();
  CHECK(fs->job.ask == UVW_ASK_LATER);
  end(fs);
  CHECK(unlink(in("fifo")) == 0);
}

static void test_cancelled_write_leaves_nothing(void) {
  size_t size = (size_t)256 << 20;
  char *data = calloc(1, size);
  CHECK(data != NULL);
  for (int atomic = 0; atomic < 2; atomic++) {
    uvw_fs *fs = start((uvw_fs_args){.op = UVW_FS_WRITE,
                                     .path = in("cancelled"),
                                     .data = data,
                                     .size = size,
                                     .mode = 0600,
                                     .flags = atomic ? UVW_FS_ATOMIC : 0});
    usleep(5000);
    if (uvw_cancel(&fs->job)) {
      end(fs);
      continue;
    }
    fs = next();
    CHECK(fs->job.error == ECANCELED || fs->job.error == 0);
    if (atomic && fs->job.error == ECANCELED)
      CHECK(access(in("cancelled"), F_OK) != 0);
    end(fs);
    unlink(in("cancelled"));
  }
  free(data);
}

static void test_trees(void) {
  char deep[256];
  CHECK(error_of((uvw_fs_args){
            .op = UVW_FS_MKDIR, .path = in("t/a//b/c/"), .mode = 0755, .flags = UVW_FS_PARENTS}) ==
        0);
  CHECK(error_of((uvw_fs_args){
            .op = UVW_FS_MKDIR, .path = in("t/a/b/c"), .mode = 0755, .flags = UVW_FS_PARENTS}) ==
        0);
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_MKDIR, .path = in("t/a"), .mode = 0755}) == EEXIST);
  CHECK(error_of((uvw_fs_args){
            .op = UVW_FS_MKDIR, .path = in("file/x/y"), .mode = 0755, .flags = UVW_FS_PARENTS}) ==
        ENOTDIR);
  for (int i = 0; i < 3000; i++) {
    snprintf(deep, sizeof(deep), "%s/t/a/file-with-a-longer-name-%d", root, i);
    int fd = open(deep, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    close(fd);
  }
  CHECK(symlink("..", in("t/a/b/up")) == 0);
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_READDIR, .path = in("t/a"), .flags = UVW_FS_TYPES}) ==
        0);
  start((uvw_fs_args){.op = UVW_FS_READDIR, .path = in("t/a")});
  uvw_fs *fs = next();
  CHECK(fs->job.ask == UVW_ASK_TAKE);
  end(fs); /* dropped with the directory open */
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_RM, .path = in("t")}) == EISDIR);
  uvw_fs *rm = start((uvw_fs_args){.op = UVW_FS_RM, .path = in("t"), .flags = UVW_FS_RECURSIVE});
  usleep(500);
  if (!uvw_cancel(&rm->job))
    rm = next();
  end(rm);
  CHECK(error_of((uvw_fs_args){
            .op = UVW_FS_RM, .path = in("t"), .flags = UVW_FS_RECURSIVE | UVW_FS_FORCE}) == 0);
  CHECK(access(in("t"), F_OK) != 0 && access(in("file"), F_OK) == 0);
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_RM, .path = in("t"), .flags = UVW_FS_RECURSIVE}) ==
        ENOENT);
}

/* A thousand levels, with one descriptor. */
static void test_a_deep_tree(void) {
  int here = open(root, O_RDONLY | O_DIRECTORY), before = descriptors();
  CHECK(here >= 0 && mkdir(in("deep"), 0700) == 0);
  int fd = openat(here, "deep", O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 1000; i++) {
    CHECK(mkdirat(fd, "sub-directory", 0700) == 0);
    int child = openat(fd, "sub-directory", O_RDONLY | O_DIRECTORY);
    CHECK(child >= 0);
    close(fd);
    fd = child;
  }
  close(fd);
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_RM, .path = in("deep"), .flags = UVW_FS_RECURSIVE}) ==
        0);
  CHECK(descriptors() == before);
  close(here);
}

int main(void) {
  CHECK(uvw_engine_init() == 0 && uvw_pool_start(4) == 0);
  strcpy(root, "/tmp/uvworks-test-XXXXXX");
  CHECK(mkdtemp(root) != NULL);
  completions = uvw_completions_new();
  test_write_and_read_back();
  int before = descriptors();
  RUN(test_write_and_read_back);
  RUN(test_a_full_device);
  RUN(test_dropped_between_steps);
  RUN(test_cancelled_write_leaves_nothing);
  RUN(test_trees);
  RUN(test_a_deep_tree);
  CHECK(descriptors() == before);
  CHECK(error_of((uvw_fs_args){.op = UVW_FS_RM, .path = root, .flags = UVW_FS_RECURSIVE}) == 0);
  uvw_completions_unref(completions);
  return 0;
}
