/* gzip_file, gunzip_file: from file to file in one job that takes turns with
 * others after every piece.
 *
 * The output goes to a new file beside the target, which takes the target's
 * place when it is complete; until then, and after an error or a cancel, the
 * target is what it was. Only regular files are read and replaced. */
#include "internal.h"
#include "zlib_jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_BUFFER ((size_t)128 << 10)
static const char pattern[] = ".uvworks-XXXXXX";

static int end(uvw_zlib_file *f, int error) {
  f->job.error = error;
  return UVW_DONE;
}

static int fail(uvw_zlib_file *f, bool target, int error) {
  f->about_target = target;
  return end(f, error);
}

static int fail_as_codec(uvw_zlib_file *f, const uvw_zlib_failure *failure) {
  f->failure = *failure;
  return end(f, UVW_EFAILED);
}

/* Beginning --------------------------------------------------------------- */

static int open_source(uvw_zlib_file *f, struct stat *st) {
  do
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  while (f->fd < 0 && errno == EINTR);
  if (f->fd < 0 || fstat(f->fd, st) != 0)
    return errno;
  return S_ISREG(st->st_mode) ? 0 : S_ISDIR(st->st_mode) ? EISDIR : UVW_ESPECIAL;
}

/* The target itself, if a link leads to it, and the name of the new file. */
static int name_files(uvw_zlib_file *f) {
  f->real = realpath(f->path2, NULL);
  if (f->real == NULL && errno == ENOENT)
    f->real = strdup(f->path2);
  if (f->real == NULL)
    return errno;
  const char *slash = strrchr(f->real, '/');
  size_t directory = slash != NULL ? (size_t)(slash - f->real) + 1 : 0;
  f->temporary = malloc(directory + sizeof(pattern));
  if (f->temporary == NULL)
    return ENOMEM;
  memcpy(f->temporary, f->real, directory);
  memcpy(f->temporary + directory, pattern, sizeof(pattern));
  return 0;
}

static int open_target(uvw_zlib_file *f, const struct stat *source) {
  struct stat st;
  int error = name_files(f);
  if (error != 0)
    return error;
  mode_t mode = source->st_mode & 0777;
  if (stat(f->real, &st) == 0) {
    if (st.st_dev == source->st_dev && st.st_ino == source->st_ino)
      return UVW_ESAMEFILE;
    if (!S_ISREG(st.st_mode))
      return S_ISDIR(st.st_mode) ? EISDIR : UVW_ESPECIAL;
    mode = st.st_mode & 0777;
  }
  f->fd2 = mkostemp(f->temporary, O_CLOEXEC);
  if (f->fd2 < 0)
    return errno;
  f->created = true;
  return fchmod(f->fd2, mode) == 0 || errno == EPERM || errno == ENOTSUP ? 0 : errno;
}

static int begin(uvw_zlib_file *f) {
  struct stat source;
  uvw_zlib_failure failure;
  int error = open_source(f, &source);
  if (error != 0)
    return fail(f, false, error);
  error = open_target(f, &source);
  if (error != 0)
    return fail(f, true, error);
  f->config.total = UINT64_MAX;
  f->config.whole = f->flush == uvw__codec_ops_of(f->config.format)->finish;
  f->codec = uvw__codec_open(&f->config, &failure);
  if (f->codec == NULL)
    return fail_as_codec(f, &failure);
  f->in_size = f->codec->piece;
  f->in = uvw_buffer_get(&f->in_size);
  f->out_size = OUT_BUFFER;
  f->out = uvw_buffer_get(&f->out_size);
  if (f->in == NULL || f->out == NULL)
    return end(f, ENOMEM);
  f->holding = uvw__codec_weight(&f->config) + f->in_size + f->out_size;
  uvw__zlib_hold(f->holding);
  return UVW__GO_ON;
}

/* Going on ---------------------------------------------------------------- */

/* A whole piece, unless the file ends before. */
static int fill(uvw_zlib_file *f) {
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

static int put_out(uvw_zlib_file *f, size_t length) {
  for (size_t at = 0; at < length;) {
    ssize_t n = write(f->fd2, f->out + at, length - at);
    if (n < 0 && errno != EINTR)
      return errno;
    at += n > 0 ? (size_t)n : 0;
  }
  f->total += length;
  return 0;
}

static int finish(uvw_zlib_file *f) {
  int closed = close(f->fd2) == 0 || errno == EINTR ? 0 : errno;
  f->fd2 = -1;
  if (closed != 0)
    return fail(f, true, closed);
  if (uvw_stopping(&f->job))
    return end(f, ECANCELED);
  if (rename(f->temporary, f->real) != 0)
    return fail(f, true, errno);
  f->created = false;
  return end(f, 0);
}

static int go_on(uvw_zlib_file *f) {
  uvw__codec *codec = f->codec;
  static const uvw_zlib_failure too_large = {UVW_ZLIB_TOO_LARGE, 0, "ERR_BUFFER_TOO_LARGE", NULL};
  static const uvw_zlib_failure truncated = {UVW_ZLIB_TRUNCATED, -5, "Z_BUF_ERROR",
                                             "unexpected end of file"};
  int error = f->used == f->filled && !codec->pending ? fill(f) : 0;
  if (error != 0)
    return fail(f, false, error);
  size_t given = f->filled - f->used;
  uvw__io io = {f->in + f->used, given, f->out, f->out_size};
  if (codec->ops->step(codec, &io, f->at_end ? f->flush : 0) != UVW_ZLIB_FINE)
    return fail_as_codec(f, &codec->failure);
  f->used += given - io.in_left;
  size_t length = f->out_size - io.out_left;
  if (f->total + length > f->limit)
    return fail_as_codec(f, &too_large);
  error = put_out(f, length);
  if (error != 0)
    return fail(f, true, error);
  bool idle = length == 0 && io.in_left == given && !codec->pending;
  if (codec->ended && (codec->ops->encodes || idle || (f->at_end && f->used == f->filled)))
    return finish(f);
  if (idle && f->at_end)
    return f->flush != codec->ops->finish ? finish(f) : fail_as_codec(f, &truncated);
  return uvw__zlib_interlude(&f->job);
}

static void let_go(uvw_zlib_file *f) {
  if (f->fd >= 0)
    close(f->fd);
  if (f->fd2 >= 0)
    close(f->fd2);
  f->fd = f->fd2 = -1;
  if (f->created)
    unlink(f->temporary);
  f->created = false;
  uvw__codec_close(f->codec);
  f->codec = NULL;
  uvw_buffer_put(f->in, f->in_size);
  uvw_buffer_put(f->out, f->out_size);
  f->in = f->out = NULL;
  uvw__zlib_release(f->holding);
  f->holding = 0;
}

/* A job ------------------------------------------------------------------- */

static int run(uvw_job *job) {
  uvw_zlib_file *f = (uvw_zlib_file *)job;
  int step = UVW__GO_ON;
  if (uvw_stopping(job))
    step = end(f, ECANCELED);
  else if (f->codec == NULL)
    step = begin(f);
  while (step == UVW__GO_ON)
    step = go_on(f);
  if (step == UVW_DONE)
    let_go(f);
  return step;
}

static void destroy(uvw_job *job) {
  uvw_zlib_file *f = (uvw_zlib_file *)job;
  let_go(f);
  free(f->real);
  free(f->temporary);
  free(f);
}

static const uvw_kind file_kind = {"zlib file", run, destroy, NULL, NULL};

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
