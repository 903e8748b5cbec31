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

int uvw__fs_end(uvw_fs *fs, int result) { return uvw__fs_fail(fs, result < 0 ? errno : 0); }

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

int uvw__fs_access(uvw_fs *fs) { return uvw__fs_end(fs, access(fs->path, (int)fs->mode)); }

int uvw__fs_chmod(uvw_fs *fs) { return uvw__fs_end(fs, chmod(fs->path, fs->mode)); }

int uvw__fs_link(uvw_fs *fs) {
  fs->both_paths = true;
  return uvw__fs_end(fs, link(fs->path, fs->path2));
}

int uvw__fs_lstat(uvw_fs *fs) { return uvw__fs_end(fs, lstat(fs->path, &fs->st)); }

int uvw__fs_mkdtemp(uvw_fs *fs) {
  size_t length = strlen(fs->path);
  char *name = malloc(length + 7);
  if (name == NULL)
    return uvw__fs_fail(fs, ENOMEM);
  memcpy(name, fs->path, length);
  memcpy(name + length, "XXXXXX", 7);
  int error = mkdtemp(name) == NULL ? errno : uvw__fs_give_string(fs, name, length + 6);
  if (error != 0)
    fs->error_path = name;
  else
    free(name);
  return uvw__fs_fail(fs, error);
}

int uvw__fs_readlink(uvw_fs *fs) {
  char target[PATH_MAX];
  ssize_t n = readlink(fs->path, target, sizeof(target));
  if (n < 0)
    return uvw__fs_fail(fs, errno);
  if ((size_t)n == sizeof(target))
    return uvw__fs_fail(fs, ENAMETOOLONG);
  return uvw__fs_fail(fs, uvw__fs_give_string(fs, target, (size_t)n));
}

int uvw__fs_realpath(uvw_fs *fs) {
  char *resolved = realpath(fs->path, NULL);
  if (resolved == NULL)
    return uvw__fs_fail(fs, errno);
  int error = uvw__fs_give_string(fs, resolved, strlen(resolved));
  free(resolved);
  return uvw__fs_fail(fs, error);
}

int uvw__fs_rename(uvw_fs *fs) {
  fs->both_paths = true;
  return uvw__fs_end(fs, rename(fs->path, fs->path2));
}

int uvw__fs_rmdir(uvw_fs *fs) { return uvw__fs_end(fs, rmdir(fs->path)); }

int uvw__fs_stat(uvw_fs *fs) { return uvw__fs_end(fs, stat(fs->path, &fs->st)); }

int uvw__fs_symlink(uvw_fs *fs) {
  fs->both_paths = true;
  return uvw__fs_end(fs, symlink(fs->path, fs->path2));
}

int uvw__fs_truncate(uvw_fs *fs) {
  return uvw__fs_end(fs, truncate(fs->path, (off_t)fs->new_length));
}

int uvw__fs_unlink(uvw_fs *fs) { return uvw__fs_end(fs, unlink(fs->path)); }

int uvw__fs_utimes(uvw_fs *fs) {
  return uvw__fs_end(fs, utimensat(AT_FDCWD, fs->path, fs->times, 0));
}

/* The kind -------------------------------------------------------------------- */

const uvw_fs_operation uvw_fs_operations[UVW_FS_OP_COUNT] = {
#define ROW(NAME, name, arguments, RESULT, cleanup) {#name, arguments, UVW_FS_##RESULT},
    UVW_FS_OPERATIONS(ROW)
#undef ROW
};

static int (*const functions[UVW_FS_OP_COUNT])(uvw_fs *) = {
#define ROW(NAME, name, arguments, RESULT, cleanup) uvw__fs_##name,
    UVW_FS_OPERATIONS(ROW)
#undef ROW
};

static void (*const cleanups[UVW_FS_OP_COUNT])(uvw_fs *) = {
#define ROW(NAME, name, arguments, RESULT, cleanup) cleanup,
    UVW_FS_OPERATIONS(ROW)
#undef ROW
};

/* Ends what is half done and closes what is open. */
static void fs_let_go(uvw_fs *fs) {
  if (cleanups[fs->op] != NULL)
    cleanups[fs->op](fs);
  if (fs->fd >= 0)
    close(fs->fd);
  if (fs->fd2 >= 0)
    close(fs->fd2);
  fs->fd = fs->fd2 = -1;
}

static int fs_run(uvw_job *job) {
  uvw_fs *fs = (uvw_fs *)job;
  int step = uvw_stopping(job) ? uvw__fs_fail(fs, ECANCELED) : functions[fs->op](fs);
  if (step == UVW_DONE)
    fs_let_go(fs);
  return step;
}

/* A job may also be dropped between two steps. */
static void fs_destroy(uvw_job *job) {
  uvw_fs *fs = (uvw_fs *)job;
  fs_let_go(fs);
  if (!fs->borrowed)
    uvw_buffer_put(fs->buffer, fs->capacity);
  free(fs->error_path);
  free(fs);
}

static const uvw_kind fs_kind = {"fs", fs_run, fs_destroy, NULL, NULL};

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
  fs->mode = (mode_t)args->mode;
  fs->new_length = args->length;
  fs->max_size = args->max_size;
  for (int i = 0; i < 2; i++)
    fs->times[i] = (struct timespec){.tv_sec = (time_t)args->times[2 * i],
                                     .tv_nsec = (long)args->times[2 * i + 1]};
  fs->fd = fs->fd2 = -1;
  return fs;
}
