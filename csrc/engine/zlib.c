/* zlib jobs: how one is made, run in pieces, and freed.
 *
 * A whole input goes to libdeflate if that will take it (zlib_fast.c), else
 * through a codec, piece by piece; between two pieces a job may be stopped or
 * give way. A result of some size is copied to where the submitter wants it by
 * the worker, when it is complete, so memory is taken for finished results and
 * not for jobs that wait. */
#include "zlib_jobs.h"

#include "internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* In bytes: what the submitter's thread copies itself, one step of a copy, and
 * what the codecs of all unfinished jobs may hold before new jobs have to wait
 * for the end of those that have begun. */
#define OWN_BUFFER ((size_t)128 << 10)
#define COPY_STEP ((size_t)4 << 20)
#define HOLDING_MOST ((size_t)64 << 20)

static atomic_size_t held_by_all;

struct uvw_zlib_stream {
  atomic_uint references;
  atomic_bool busy; /* a job has it */
  uvw_zlib_config config;
  uvw__codec *codec; /* opened by the first job */
};

/* Streams ----------------------------------------------------------------- */

uvw_zlib_stream *uvw_zlib_stream_new(const uvw_zlib_config *config) {
  size_t params = 2 * config->param_count * sizeof(*config->params);
  uvw_zlib_stream *stream = malloc(sizeof(*stream) + params + config->dictionary_size);
  if (stream == NULL)
    return NULL;
  char *at = (char *)(stream + 1);
  stream->config = *config;
  stream->codec = NULL;
  atomic_init(&stream->references, 1);
  atomic_init(&stream->busy, false);
  if (params > 0)
    stream->config.params = memcpy(at, config->params, params);
  if (config->dictionary != NULL)
    stream->config.dictionary = memcpy(at + params, config->dictionary, config->dictionary_size);
  return stream;
}

uvw_zlib_stream *uvw_zlib_stream_ref(uvw_zlib_stream *stream) {
  if (stream != NULL)
    atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
  return stream;
}

void uvw_zlib_stream_unref(uvw_zlib_stream *stream) {
  if (stream == NULL ||
      atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) != 1)
    return;
  uvw__codec_close(stream->codec);
  free(stream);
}

/* A step ------------------------------------------------------------------ */

static int zlib_end(uvw_zlib *z, int error) {
  z->job.error = error;
  return UVW_DONE;
}

static int zlib_fail(uvw_zlib *z, int trouble, int number, const char *code, const char *message) {
  z->failure = (uvw_zlib_failure){trouble, number, code, message};
  return zlib_end(z, UVW_EFAILED);
}

static int zlib_fail_as_codec(uvw_zlib *z) {
  z->failure = z->codec->failure;
  return zlib_end(z, UVW_EFAILED);
}

static void zlib_drop_buffer(uvw_zlib *z) {
  uvw_buffer_put(z->buffer, z->capacity);
  z->buffer = NULL;
  z->capacity = 0;
}

static void zlib_drop_codec(uvw_zlib *z) {
  if (z->stream == NULL)
    uvw__codec_close(z->codec);
  z->codec = NULL;
  uvw__zlib_release(z->holding);
  z->holding = 0;
}

/* In a forked child: the jobs are the parent's. */
static void zlib_after_fork(void) { atomic_store_explicit(&held_by_all, 0, memory_order_relaxed); }

static void zlib_watch_forks(void) { pthread_atfork(NULL, NULL, zlib_after_fork); }

void uvw__zlib_hold(size_t size) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, zlib_watch_forks);
  atomic_fetch_add_explicit(&held_by_all, size, memory_order_relaxed);
}

void uvw__zlib_release(size_t size) {
  atomic_fetch_sub_explicit(&held_by_all, size, memory_order_relaxed);
}

/* A job that gives way goes to the tail of its lane, so others there begin. When
 * those that have begun hold too much it goes to the front instead, and gives
 * way to other lanes alone. */
int uvw__zlib_interlude(uvw_job *job) {
  if (uvw_stopping(job)) {
    job->error = ECANCELED;
    return UVW_DONE;
  }
  bool enough = atomic_load_explicit(&held_by_all, memory_order_relaxed) > HOLDING_MOST;
  if (!uvw_should_yield(job))
    return UVW__GO_ON;
  job->first = enough;
  return UVW_AGAIN;
}

static bool zlib_grow(uvw_zlib *z) {
  size_t capacity = 2 * z->capacity;
  if (z->capacity == 0)
    capacity = uvw__codec_guess(z->codec->ops, z->data, z->size);
  if (z->capacity == 0 && capacity > z->enough)
    capacity = (size_t)z->enough;
  if (capacity > z->limit)
    capacity = (size_t)z->limit + 1;
  if (capacity <= z->capacity) /* guessed none, or overflowed */
    capacity = z->capacity + 4096;
  uint8_t *buffer = uvw_buffer_grow(z->buffer, z->capacity, z->length, &capacity);
  if (buffer == NULL)
    return false;
  z->buffer = buffer;
  z->capacity = capacity;
  return true;
}

/* The result, or so much of it as the submitter wanted at once. */
static int zlib_give(uvw_zlib *z) {
  zlib_drop_codec(z);
  if (z->length > z->limit)
    return zlib_fail(z, UVW_ZLIB_TOO_LARGE, 0, "ERR_BUFFER_TOO_LARGE", NULL);
  if (z->length <= OWN_BUFFER)
    return zlib_end(z, 0);
  z->job.ask = UVW_ASK_MEMORY;
  z->job.first = true; /* or finished results would pile up behind all that waits */
  return UVW_ASK;
}

static int zlib_copy_out(uvw_zlib *z) {
  while (z->copied < z->length) {
    size_t n = z->length - z->copied < COPY_STEP ? z->length - z->copied : COPY_STEP;
    memcpy(z->target + z->copied, z->buffer + z->copied, n);
    z->copied += n;
    if (uvw_stopping(&z->job))
      return zlib_end(z, ECANCELED);
  }
  return zlib_end(z, 0);
}

static bool zlib_open_codec(uvw_zlib *z) {
  if (z->stream != NULL && z->stream->codec != NULL) {
    z->codec = z->stream->codec;
    return true;
  }
  const uvw_zlib_config *config = z->stream != NULL ? &z->stream->config : &z->config;
  z->codec = uvw__codec_open(config, &z->failure);
  if (z->codec == NULL)
    return false;
  if (z->stream != NULL) {
    z->stream->codec = z->codec;
  } else {
    z->holding = z->codec->ops->weight(config);
    uvw__zlib_hold(z->holding);
  }
  return true;
}

/* Whether the codec, having been given all there is, has done what it was
 * asked for. */
static bool zlib_is_complete(const uvw_zlib *z) {
  const uvw__codec *codec = z->codec;
  if (codec->ended && !codec->ops->encodes)
    return true;
  if (z->offset < z->size || codec->pending)
    return false;
  return codec->ended || !codec->ops->encodes || z->flush != codec->ops->finish;
}

static int zlib_pass_on(uvw_zlib *z) {
  uvw__codec *codec = z->codec;
  for (;;) {
    if (z->length == z->capacity && !zlib_grow(z))
      return zlib_end(z, ENOMEM);
    size_t left = z->size - z->offset;
    size_t piece = left < codec->piece ? left : codec->piece;
    size_t room = z->capacity - z->length;
    if (room > codec->room && !codec->ops->encodes)
      room = codec->room;
    if (room > z->enough - z->length)
      room = (size_t)(z->enough - z->length);
    void *copy;
    size_t copy_size;
    const uint8_t *data =
        uvw__buffer_snapshot(z->data + z->offset, piece, z->changeable, &copy, &copy_size);
    if (data == NULL && piece > 0)
      return zlib_end(z, ENOMEM);
    uvw__io io = {data, piece, z->buffer + z->length, room};
    codec->job = &z->job;
    int trouble = codec->ops->step(codec, &io, piece == left ? z->flush : 0);
    uvw_buffer_put(copy, copy_size);
    if (trouble != UVW_ZLIB_FINE)
      return uvw_stopping(&z->job) ? zlib_end(z, ECANCELED) : zlib_fail_as_codec(z);
    bool stuck = io.in_left == piece && io.out_left == room && !codec->pending;
    z->offset += piece - io.in_left;
    z->length += room - io.out_left;
    if (z->length > z->limit)
      return zlib_give(z);
    if (zlib_is_complete(z)) {
      z->ended = codec->ended;
      if (!codec->ended && !codec->ops->encodes && z->flush == codec->ops->finish)
        break;
      return zlib_give(z);
    }
    if (z->length >= z->enough)
      return zlib_give(z);
    if (stuck)
      break;
    int next = uvw__zlib_interlude(&z->job);
    if (next != UVW__GO_ON)
      return next;
  }
  return zlib_fail(z, UVW_ZLIB_TRUNCATED, -5, "Z_BUF_ERROR", "unexpected end of file");
}

static int zlib_change_params(uvw_zlib *z) {
  uvw__codec *codec = z->codec;
  if (codec->ops->params == NULL)
    return zlib_give(z); /* as in Node */
  do {
    if (z->capacity - z->length < OWN_BUFFER / 2 && !zlib_grow(z))
      return zlib_end(z, ENOMEM);
    uvw__io io = {NULL, 0, z->buffer + z->length, z->capacity - z->length};
    if (codec->ops->params(codec, &io, z->config.level, z->config.strategy) != UVW_ZLIB_FINE)
      return zlib_fail_as_codec(z);
    z->length = z->capacity - io.out_left;
  } while (codec->pending);
  return zlib_give(z);
}

static int zlib_reset(uvw_zlib *z) {
  uvw__codec *codec = z->codec;
  codec->ended = codec->pending = false;
  if (codec->ops->reset(codec) != UVW_ZLIB_FINE)
    return zlib_fail_as_codec(z);
  return zlib_end(z, 0);
}

static bool zlib_try_at_once(uvw_zlib *z, uint64_t most) {
  const uvw__codec_ops *ops = uvw__codec_ops_of(z->config.format);
  return ops->at_once != NULL && ops->at_once(z, most);
}

/* A job ------------------------------------------------------------------- */

static int zlib_step(uvw_zlib *z) {
  if (uvw_stopping(&z->job))
    return zlib_end(z, ECANCELED);
  if (z->target != NULL)
    return zlib_copy_out(z);
  if (z->stream == NULL && !z->tried) {
    z->tried = true;
    if (zlib_try_at_once(z, UINT64_MAX))
      return zlib_give(z);
  }
  if (z->codec == NULL && !zlib_open_codec(z))
    return zlib_end(z, UVW_EFAILED);
  switch (z->action) {
  case UVW_ZLIB_PARAMS:
    return zlib_change_params(z);
  case UVW_ZLIB_RESET:
    return zlib_reset(z);
  default:
    return zlib_pass_on(z);
  }
}

/* What is large is freed here, or the submitter's thread would have to. */
static int zlib_run(uvw_job *job) {
  uvw_zlib *z = (uvw_zlib *)job;
  int result = zlib_step(z);
  if (result == UVW_DONE)
    zlib_drop_codec(z);
  if (result == UVW_DONE && (job->error != 0 || z->target != NULL))
    zlib_drop_buffer(z);
  return result;
}

static void zlib_destroy(uvw_job *job) {
  uvw_zlib *z = (uvw_zlib *)job;
  zlib_drop_codec(z);
  if (z->stream != NULL)
    atomic_store_explicit(&z->stream->busy, false, memory_order_release);
  uvw_zlib_stream_unref(z->stream);
  zlib_drop_buffer(z);
  free(z);
}

static const uvw_kind zlib_kind = {"zlib", zlib_run, zlib_destroy, NULL, NULL};

uvw_zlib *uvw_zlib_new(const uvw_zlib_args *args, uvw_completions *completions, void *token) {
  uvw_zlib_stream *stream = args->stream;
  if (stream != NULL && atomic_exchange_explicit(&stream->busy, true, memory_order_acquire)) {
    errno = EBUSY;
    return NULL;
  }
  uvw_zlib *z = calloc(1, sizeof(*z));
  if (z == NULL) {
    if (stream != NULL)
      atomic_store_explicit(&stream->busy, false, memory_order_release);
    errno = ENOMEM;
    return NULL;
  }
  uvw_job_init(&z->job, &zlib_kind, UVW_LANE_CPU, completions, token);
  z->config = args->config;
  z->stream = uvw_zlib_stream_ref(stream);
  z->config.whole = stream == NULL && args->flush == uvw__codec_ops_of(args->config.format)->finish;
  z->action = args->action;
  z->data = args->data;
  z->size = args->size;
  z->changeable = args->changeable;
  z->flush = args->flush;
  z->limit = args->limit;
  z->enough = args->enough;
  return z;
}

bool uvw_zlib_try_now(uvw_zlib *z) {
  if (!zlib_try_at_once(z, OWN_BUFFER))
    return false;
  zlib_give(z);
  return true;
}
