/* gzip_file, gunzip_file: from file to file in one job that takes turns with
 * others after every piece.
 *
 * The output is a replacement of the target (files.h): until it is complete,
 * and after an error or a cancel, the target is what it was. Only regular files
 * are read and replaced. */
#include "files.h"
#include "internal.h"
#include "zlib_jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_BUFFER ((size_t)128 << 10)

static int zlib_file_end(uvw_zlib_file *f, int error) {
  f->job.error = error;
  return UVW_DONE;
}

static int zlib_file_fail(uvw_zlib_file *f, bool target, int error) {
  f->about_target = target;
  return zlib_file_end(f, error);
}

static int zlib_file_fail_as_codec(uvw_zlib_file *f, const uvw_zlib_failure *failure) {
  f->failure = *failure;
  return zlib_file_end(f, UVW_EFAILED);
}

/* Beginning --------------------------------------------------------------- */

static int zlib_file_open_source(uvw_zlib_file *f, struct stat *st) {
  f->fd = uvw__open(f->path, O_RDONLY, 0);
  return f->fd < 0 || fstat(f->fd, st) != 0 ? errno : uvw__check_regular(st);
}

/* A new file gets the source's mode, whatever the umask, as with gzip(1). */
static int zlib_file_open_target(uvw_zlib_file *f, const struct stat *source) {
  struct stat st;
  bool exists = stat(f->path2, &st) == 0;
  mode_t mode = source->st_mode & 0777;
  if (exists && uvw__same_file(&st, source))
    return UVW_ESAMEFILE;
  int error = exists ? uvw__check_regular(&st) : 0;
  if (error == 0)
    error = uvw__replacement_open(f->path2, exists ? &st : NULL, mode, &f->replacement, &f->fd2);
  return error != 0 || exists ? error : uvw__set_mode(f->fd2, mode);
}

static int zlib_file_begin(uvw_zlib_file *f) {
  struct stat source;
  uvw_zlib_failure failure;
  int error = zlib_file_open_source(f, &source);
  if (error != 0)
    return zlib_file_fail(f, false, error);
  error = zlib_file_open_target(f, &source);
  if (error != 0)
    return zlib_file_fail(f, true, error);
  f->config.total = UINT64_MAX;
  f->config.whole = f->flush == uvw__codec_ops_of(f->config.format)->finish;
  f->codec = uvw__codec_open(&f->config, &failure);
  if (f->codec == NULL)
    return zlib_file_fail_as_codec(f, &failure);
  f->in_size = f->codec->piece;
  f->in = uvw_buffer_get(&f->in_size);
  f->out_size = OUT_BUFFER;
  f->out = uvw_buffer_get(&f->out_size);
  if (f->in == NULL || f->out == NULL)
    return zlib_file_end(f, ENOMEM);
  f->holding = f->codec->ops->weight(&f->config) + f->in_size + f->out_size;
  uvw__zlib_hold(f->holding);
  return UVW__GO_ON;
}

/* Going on ---------------------------------------------------------------- */

/* A whole piece, unless the file ends before. */
static int zlib_file_fill(uvw_zlib_file *f) {
  f->filled = f->used = 0;
  while (f->filled < f->codec->piece && !f->at_end) {
    ssize_t n = read(f->fd, f->in + f->filled, f->codec->piece - f->filled);
    if (n < 0 && errno != EINTR)
      return errno;
    f->at_end = n == 0;
    f->filled += n > 0 ? (size_t)n : 0;
  }
  return 0;
}

static int zlib_file_write(uvw_zlib_file *f, size_t length) {
  for (size_t at = 0; at < length;) {
    ssize_t n = write(f->fd2, f->out + at, length - at);
    if (n < 0 && errno != EINTR)
      return errno;
    at += n > 0 ? (size_t)n : 0;
  }
  f->total += length;
  return 0;
}

static int zlib_file_finish(uvw_zlib_file *f) {
  int error = uvw__close(&f->fd2);
  if (error != 0)
    return zlib_file_fail(f, true, error);
  if (uvw_stopping(&f->job))
    return zlib_file_end(f, ECANCELED);
  return zlib_file_fail(f, true, uvw__replacement_commit(&f->replacement, false));
}

static int zlib_file_go_on(uvw_zlib_file *f) {
  uvw__codec *codec = f->codec;
  static const uvw_zlib_failure too_large = {UVW_ZLIB_TOO_LARGE, 0, "ERR_BUFFER_TOO_LARGE", NULL};
  static const uvw_zlib_failure truncated = {UVW_ZLIB_TRUNCATED, -5, "Z_BUF_ERROR",
                                             "unexpected end of file"};
  int error = f->used == f->filled && !codec->pending ? zlib_file_fill(f) : 0;
  if (error != 0)
    return zlib_file_fail(f, false, error);
  size_t given = f->filled - f->used;
  uvw__io io = {f->in + f->used, given, f->out, f->out_size};
  if (codec->ops->step(codec, &io, f->at_end ? f->flush : 0) != UVW_ZLIB_FINE)
    return zlib_file_fail_as_codec(f, &codec->failure);
  f->used += given - io.in_left;
  size_t length = f->out_size - io.out_left;
  if (f->total + length > f->limit)
    return zlib_file_fail_as_codec(f, &too_large);
  error = zlib_file_write(f, length);
  if (error != 0)
    return zlib_file_fail(f, true, error);
  bool idle = length == 0 && io.in_left == given && !codec->pending;
  if (codec->ended && (codec->ops->encodes || idle || (f->at_end && f->used == f->filled)))
    return zlib_file_finish(f);
  if (idle && f->at_end)
    return f->flush != codec->ops->finish ? zlib_file_finish(f)
                                          : zlib_file_fail_as_codec(f, &truncated);
  return uvw__zlib_interlude(&f->job);
}

static void zlib_file_release(uvw_zlib_file *f) {
  if (f->fd >= 0)
    close(f->fd);
  if (f->fd2 >= 0)
    close(f->fd2);
  f->fd = f->fd2 = -1;
  uvw__replacement_drop(&f->replacement);
  uvw__codec_close(f->codec);
  f->codec = NULL;
  uvw_buffer_put(f->in, f->in_size);
  uvw_buffer_put(f->out, f->out_size);
  f->in = f->out = NULL;
  uvw__zlib_release(f->holding);
  f->holding = 0;
}

/* A job ------------------------------------------------------------------- */

static int zlib_file_run(uvw_job *job) {
  uvw_zlib_file *f = (uvw_zlib_file *)job;
  int step = UVW__GO_ON;
  if (uvw_stopping(job))
    step = zlib_file_end(f, ECANCELED);
  else if (f->codec == NULL)
    step = zlib_file_begin(f);
  while (step == UVW__GO_ON)
    step = zlib_file_go_on(f);
  if (step == UVW_DONE)
    zlib_file_release(f);
  return step;
}

static void zlib_file_destroy(uvw_job *job) {
  uvw_zlib_file *f = (uvw_zlib_file *)job;
  zlib_file_release(f);
  free(f);
}

static const uvw_kind file_kind = {"zlib file", zlib_file_run, zlib_file_destroy, NULL, NULL};

uvw_zlib_file *uvw_zlib_file_new(const uvw_zlib_config *config, const char *path, const char *path2,
                                 int flush, uint64_t limit, uvw_completions *completions) {
  size_t length = strlen(path) + 1, length2 = strlen(path2) + 1;
  uvw_zlib_file *f = calloc(1, sizeof(*f) + length + length2);
  if (f == NULL)
    return NULL;
  uvw_job_init(&f->job, &file_kind, UVW_LANE_CPU, completions, NULL);
  f->config = *config;
  f->path = memcpy((char *)(f + 1), path, length);
  f->path2 = memcpy(f->path + length, path2, length2);
  f->flush = flush;
  f->limit = limit;
  f->fd = f->fd2 = -1;
  return f;
}
