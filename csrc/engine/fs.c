/* fs jobs: how one is made and freed, and the operations that are a single
 * system call. Those of several steps live in fs_file.c and fs_tree.c.
 *
 * One job is one composite operation: open, fstat, read and close in one trip
 * to a worker. A job owns copies of its paths; the data it writes is the
 * submitter's and stays valid until the job has come back. errno values are
 * reported as they are. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

int uvw__fs_fail(uvw_fs *fs, int error) {
  fs->job.error = error;
  return UVW_DONE;
}

/* Between two chunks: whether to go on, stop, or give others their turn. */
int uvw__fs_pause(uvw_fs *fs) {
  if (uvw_stopping(&fs->job))
    return uvw__fs_fail(fs, ECANCELED);
  return uvw_should_yield(&fs->job) ? UVW_AGAIN : UVW__GO_ON;
}

/* A result that is a string: `length` bytes and a NUL. */
int uvw__fs_give_string(uvw_fs *fs, const char *string, size_t length) {
  fs->capacity = length + 1;
  fs->buffer = uvw_buffer_get(&fs->capacity);
  if (fs->buffer == NULL)
    return ENOMEM;
  memcpy(fs->buffer, string, length);
  fs->buffer[length] = '\0';
  fs->length = length;
  return 0;
}

static int read_link(uvw_fs *fs) {
  char target[PATH_MAX];
  ssize_t n = readlink(fs->path, target, sizeof(target));
  if (n < 0)
    return errno;
  if ((size_t)n == sizeof(target))
    return ENAMETOOLONG;
  return uvw__fs_give_string(fs, target, (size_t)n);
}

static int real_path(uvw_fs *fs) {
  char *resolved = realpath(fs->path, NULL);
  if (resolved == NULL)
    return errno;
  int error = uvw__fs_give_string(fs, resolved, strlen(resolved));
  free(resolved);
  return error;
}

static int make_temporary_directory(uvw_fs *fs) {
  size_t length = strlen(fs->path);
  char *name = malloc(length + 7);
  if (name == NULL)
    return ENOMEM;
  memcpy(name, fs->path, length);
  memcpy(name + length, "XXXXXX", 7);
  int error = mkdtemp(name) == NULL ? errno : uvw__fs_give_string(fs, name, length + 6);
  if (error != 0) {
    fs->error_path = name;
    return error;
  }
  free(name);
  return 0;
}

/* The data is four int64: seconds and nanoseconds of access, and of change. */
static int set_times(uvw_fs *fs) {
  int64_t given[4];
  if (fs->size != sizeof(given))
    return EINVAL;
  memcpy(given, fs->data, sizeof(given));
  const struct timespec times[2] = {
      {.tv_sec = (time_t)given[0], .tv_nsec = (long)given[1]},
      {.tv_sec = (time_t)given[2], .tv_nsec = (long)given[3]},
  };
  return utimensat(AT_FDCWD, fs->path, times, 0) == 0 ? 0 : errno;
}

static int call(uvw_fs *fs) {
  const char *path = fs->path;
  int result;
  switch (fs->op) {
  case UVW_FS_ACCESS:
    result = access(path, (int)fs->number);
    break;
  case UVW_FS_CHMOD:
    result = chmod(path, (mode_t)fs->number);
    break;
  case UVW_FS_LSTAT:
    result = lstat(path, &fs->st);
    break;
  case UVW_FS_MKDTEMP:
    return make_temporary_directory(fs);
  case UVW_FS_READLINK:
    return read_link(fs);
  case UVW_FS_REALPATH:
    return real_path(fs);
  case UVW_FS_RENAME:
    fs->both_paths = true;
    result = rename(path, fs->path2);
    break;
  case UVW_FS_RMDIR:
    result = rmdir(path);
    break;
  case UVW_FS_STAT:
    result = stat(path, &fs->st);
    break;
  case UVW_FS_SYMLINK:
    fs->both_paths = true;
    result = symlink(path, fs->path2);
    break;
  case UVW_FS_TRUNCATE:
    result = truncate(path, (off_t)fs->number);
    break;
  case UVW_FS_UNLINK:
    result = unlink(path);
    break;
  case UVW_FS_UTIMES:
    return set_times(fs);
  default:
    return ENOSYS;
  }
  return result == 0 ? 0 : errno;
}

static int step(uvw_fs *fs) {
  switch (fs->op) {
  case UVW_FS_READ:
    return uvw__fs_read(fs);
  case UVW_FS_WRITE:
  case UVW_FS_APPEND:
    return uvw__fs_write(fs);
  case UVW_FS_COPY:
    return uvw__fs_copy(fs);
  case UVW_FS_READDIR:
    return uvw__fs_readdir(fs);
  case UVW_FS_MKDIR:
    return uvw__fs_mkdir(fs);
  case UVW_FS_RM:
    return uvw__fs_rm(fs);
  default:
    return uvw__fs_fail(fs, call(fs));
  }
}

/* Ends what is half done and closes what is open. */
static void let_go(uvw_fs *fs) {
  switch (fs->op) {
  case UVW_FS_WRITE:
  case UVW_FS_APPEND:
    uvw__fs_write_cleanup(fs);
    break;
  case UVW_FS_COPY:
    uvw__fs_copy_cleanup(fs);
    break;
  case UVW_FS_READDIR:
    uvw__fs_readdir_cleanup(fs);
    break;
  case UVW_FS_RM:
    uvw__fs_rm_cleanup(fs);
    break;
  }
  if (fs->fd >= 0)
    close(fs->fd);
  if (fs->fd2 >= 0)
    close(fs->fd2);
  fs->fd = fs->fd2 = -1;
}

static int run(uvw_job *job) {
  uvw_fs *fs = (uvw_fs *)job;
  int result = uvw_stopping(job) ? uvw__fs_fail(fs, ECANCELED) : step(fs);
  if (result == UVW_DONE)
    let_go(fs);
  return result;
}

/* A job may also be dropped between two steps. */
static void destroy(uvw_job *job) {
  uvw_fs *fs = (uvw_fs *)job;
  let_go(fs);
  if (!fs->borrowed)
    uvw_buffer_put(fs->buffer, fs->capacity);
  free(fs->error_path);
  free(fs);
}

static const uvw_kind fs_kind = {"fs", run, destroy, NULL, NULL};

uvw_fs *uvw_fs_new(const uvw_fs_args *args, uvw_completions *completions, void *token) {
  size_t length = strlen(args->path) + 1;
  size_t length2 = args->path2 != NULL ? strlen(args->path2) + 1 : 0;
  uvw_fs *fs = malloc(sizeof(*fs) + length + length2);
  if (fs == NULL)
    return NULL;
  memset(fs, 0, sizeof(*fs));
  uvw_job_init(&fs->job, &fs_kind, UVW_LANE_IO, completions, token);
  fs->op = args->op;
  fs->flags = args->flags;
  fs->path = (char *)(fs + 1);
  memcpy(fs->path, args->path, length);
  if (args->path2 != NULL)
    fs->path2 = memcpy(fs->path + length, args->path2, length2);
  fs->data = args->data;
  fs->size = args->size;
  fs->number = args->number;
  fs->fd = fs->fd2 = -1;
  return fs;
}
