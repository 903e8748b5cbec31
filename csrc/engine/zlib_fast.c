/* Whole inputs by libdeflate, which is two to three times as fast as zlib but
 * can be neither interrupted nor fed in pieces. So it gets what takes it some
 * ten milliseconds at most, and only what it does as zlib would: for other
 * options, for several members, and for all that is wrong, it steps back.
 *
 * Its states are kept by the thread that made them. */
#include "internal.h"
#include "zlib_jobs.h"

#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <zlib.h>

/* In bytes. The first three are limits on time: so much input at a level, half
 * of it if it is of few letters in no order, such as genes, at up to 55 ns a
 * byte, 300 at the slow levels; and so much compressed input, whose worst
 * (tables for nothing) is 100. */
#define ENCODE_MOST ((size_t)1 << 20)
/* From level 7; releases before 1.20 take half as long again there. */
#if LIBDEFLATE_VERSION_MAJOR > 1 || LIBDEFLATE_VERSION_MINOR >= 20
#define ENCODE_MOST_SLOW ((size_t)256 << 10)
#else
#define ENCODE_MOST_SLOW ((size_t)128 << 10)
#endif
#define DECODE_MOST ((size_t)512 << 10)
#define DECODE_MOST_OUT ((size_t)16 << 20)
#define DENSEST 1032 /* bytes that one of deflate's can stand for */

typedef struct {
  struct libdeflate_compressor *compressor;
  int level;
  struct libdeflate_decompressor *decompressor;
} kept_states;

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool keeping;

static void fast_forget(void *value) {
  kept_states *kept = value;
  libdeflate_free_compressor(kept->compressor);
  libdeflate_free_decompressor(kept->decompressor);
  free(kept);
}

static void fast_make_key(void) { keeping = pthread_key_create(&key, fast_forget) == 0; }

static kept_states *fast_kept(void) {
  pthread_once(&once, fast_make_key);
  if (!keeping)
    return NULL;
  kept_states *kept = pthread_getspecific(key);
  if (kept == NULL && (kept = calloc(1, sizeof(*kept))) != NULL &&
      pthread_setspecific(key, kept) != 0) {
    free(kept);
    return NULL;
  }
  return kept;
}

/* Encoding ---------------------------------------------------------------- */

/* Other data shows it soon. */
static bool fast_has_few_letters(const uint8_t *data, size_t size) {
  bool seen[256] = {false};
  unsigned letters = 0;
  for (size_t i = 0; i < size && letters <= 16; i++) {
    letters += !seen[data[i]];
    seen[data[i]] = true;
  }
  return letters <= 16;
}

size_t uvw__fast_piece(int level) { return level < 7 ? ENCODE_MOST : ENCODE_MOST_SLOW; }

size_t uvw__fast_share(int level, const uint8_t *data, size_t size) {
  size_t most = uvw__fast_piece(level);
  size_t share = size < most ? size : most;
  return share > most / 2 && fast_has_few_letters(data, share) ? most / 2 : share;
}

struct libdeflate_compressor *uvw__fast_compressor(int level) {
  if (level < 0)
    level = 6;
  kept_states *kept = fast_kept();
  if (kept == NULL)
    return NULL;
  if (kept->compressor == NULL || kept->level != level) {
    libdeflate_free_compressor(kept->compressor);
    kept->compressor = libdeflate_alloc_compressor(level);
    kept->level = level;
  }
  return kept->compressor;
}

bool uvw__fast_takes(const uvw_zlib_config *config) {
  return config->window_bits == 15 && config->mem_level == 8 &&
         config->strategy == Z_DEFAULT_STRATEGY && config->dictionary == NULL;
}

/* It cannot be told to stop at `most`; but its output is hardly larger than its
 * input, which is small. */
bool uvw__fast_encode(uvw_zlib *z, uint64_t most) {
  (void)most;
  const uvw_zlib_config *config = &z->config;
  if (!uvw__fast_takes(config) || z->flush != Z_FINISH ||
      uvw__fast_share(config->level, z->data, z->size) < z->size)
    return false;
  struct libdeflate_compressor *compressor = uvw__fast_compressor(config->level);
  if (compressor == NULL)
    return false;
  bool gzip = config->format == UVW_ZLIB_GZIP, raw = config->format == UVW_ZLIB_DEFLATE_RAW;
  z->capacity = gzip  ? libdeflate_gzip_compress_bound(compressor, z->size)
                : raw ? libdeflate_deflate_compress_bound(compressor, z->size)
                      : libdeflate_zlib_compress_bound(compressor, z->size);
  z->buffer = uvw_buffer_get(&z->capacity);
  void *copy;
  size_t copy_size;
  const uint8_t *data = uvw__buffer_snapshot(z->data, z->size, z->changeable, &copy, &copy_size);
  if (z->buffer != NULL && data != NULL) {
    size_t (*encode)(struct libdeflate_compressor *, const void *, size_t, void *, size_t) =
        gzip  ? libdeflate_gzip_compress
        : raw ? libdeflate_deflate_compress
              : libdeflate_zlib_compress;
    z->length = encode(compressor, data, z->size, z->buffer, z->capacity);
  }
  uvw_buffer_put(copy, copy_size);
  if (z->length == 0) {
    uvw_buffer_put(z->buffer, z->capacity);
    z->buffer = NULL;
    z->capacity = 0;
    return false;
  }
  z->offset = z->size;
  z->ended = true;
  return true;
}

/* Decoding ---------------------------------------------------------------- */

static uint32_t fast_little_endian(const uint8_t *p) {
  return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The format of data that libdeflate is asked for, or 0. A gzip header with a
 * checksum or with unknown flags is zlib's to judge. */
static int fast_format_of(int format, const uint8_t *data, size_t size) {
  bool gzip = size >= 18 && data[0] == 0x1f && data[1] == 0x8b;
  if (format == UVW_ZLIB_UNZIP)
    format = gzip ? UVW_ZLIB_GUNZIP : UVW_ZLIB_INFLATE;
  if (format == UVW_ZLIB_GUNZIP && (!gzip || (data[3] & 0xe2) != 0))
    return 0;
  return format;
}

static enum libdeflate_result fast_decode(struct libdeflate_decompressor *d, int format,
                                          const uint8_t *data, size_t size, void *out, size_t room,
                                          size_t *used, size_t *length) {
  switch (format) {
  case UVW_ZLIB_GUNZIP:
    return libdeflate_gzip_decompress_ex(d, data, size, out, room, used, length);
  case UVW_ZLIB_INFLATE:
    return libdeflate_zlib_decompress_ex(d, data, size, out, room, used, length);
  default:
    return libdeflate_deflate_decompress_ex(d, data, size, out, room, used, length);
  }
}

/* gzip tells at its end how large its data is; for the others it is a guess. */
static size_t fast_first_room(int format, const uint8_t *data, size_t size) {
  return format == UVW_ZLIB_GUNZIP ? fast_little_endian(data + size - 4) : 4 * size;
}

bool uvw__fast_decode(uvw_zlib *z, uint64_t most) {
  const uvw_zlib_config *config = &z->config;
  if (z->size > DECODE_MOST || (config->window_bits != 15 && config->window_bits != 0) ||
      config->dictionary != NULL || z->flush != Z_FINISH)
    return false;
  if (most > z->limit)
    most = z->limit;
  if (most > DECODE_MOST_OUT)
    most = DECODE_MOST_OUT;
  kept_states *kept = fast_kept();
  if (kept == NULL || (kept->decompressor == NULL &&
                       (kept->decompressor = libdeflate_alloc_decompressor()) == NULL))
    return false;
  void *copy;
  size_t copy_size, used = 0, length = 0;
  const uint8_t *data = uvw__buffer_snapshot(z->data, z->size, z->changeable, &copy, &copy_size);
  int format = data != NULL ? fast_format_of(config->format, data, z->size) : 0;
  size_t room = format != 0 ? fast_first_room(format, data, z->size) : 0;
  enum libdeflate_result result = LIBDEFLATE_INSUFFICIENT_SPACE;
  if (format == UVW_ZLIB_GUNZIP && room / DENSEST > z->size)
    format = 0; /* it says so, but it cannot be */
  if (format != UVW_ZLIB_GUNZIP && room > most)
    room = (size_t)most;
  while (format != 0 && room <= most && result == LIBDEFLATE_INSUFFICIENT_SPACE) {
    z->capacity = room;
    z->buffer = uvw_buffer_get(&z->capacity);
    if (z->buffer == NULL)
      break;
    room = z->capacity < most ? z->capacity : (size_t)most;
    result =
        fast_decode(kept->decompressor, format, data, z->size, z->buffer, room, &used, &length);
    if (result == LIBDEFLATE_SUCCESS && (format != UVW_ZLIB_GUNZIP || used == z->size))
      break;
    uvw_buffer_put(z->buffer, z->capacity);
    z->buffer = NULL;
    z->capacity = 0;
    if (room == most || format == UVW_ZLIB_GUNZIP)
      break;
    room = room > most / 4 ? (size_t)most : 4 * room;
  }
  uvw_buffer_put(copy, copy_size);
  if (z->buffer == NULL)
    return false;
  z->length = length;
  z->offset = used;
  z->ended = true;
  return true;
}

uint32_t uvw_zlib_crc32(uint32_t value, const void *data, size_t size) {
  return libdeflate_crc32(value, data, size);
}
