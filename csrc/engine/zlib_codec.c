/* Codecs: the one way in which jobs use zlib, brotli and zstd. A codec is
 * opened, used and closed on workers, by one job at a time. */
#include "zlib_jobs.h"

#include <stdlib.h>

/* What most codecs do in some milliseconds. */
#define PIECE ((size_t)64 << 10)
#define ROOM ((size_t)256 << 10)

const uvw__codec_ops *uvw__codec_ops_of(int format) {
  switch (format) {
  case UVW_ZLIB_DEFLATE:
  case UVW_ZLIB_GZIP:
  case UVW_ZLIB_DEFLATE_RAW:
    return &uvw__deflate_ops;
  case UVW_ZLIB_BROTLI_ENCODE:
    return &uvw__brotli_encode_ops;
  case UVW_ZLIB_BROTLI_DECODE:
    return &uvw__brotli_decode_ops;
  case UVW_ZLIB_ZSTD_COMPRESS:
    return &uvw__zstd_encode_ops;
  case UVW_ZLIB_ZSTD_DECOMPRESS:
    return &uvw__zstd_decode_ops;
  default:
    return &uvw__inflate_ops;
  }
}

int uvw__codec_fail(uvw__codec *codec, int trouble, int number, const char *code,
                    const char *message) {
  codec->failure = (uvw_zlib_failure){trouble, number, code, message};
  return trouble;
}

uvw__codec *uvw__codec_open(const uvw_zlib_config *config, uvw_zlib_failure *failure) {
  const uvw__codec_ops *ops = uvw__codec_ops_of(config->format);
  if (config->whole && ops == &uvw__deflate_ops && uvw__fast_takes(config))
    ops = &uvw__join_ops;
  uvw__codec *codec = calloc(1, ops->size);
  if (codec == NULL) {
    *failure = (uvw_zlib_failure){UVW_ZLIB_NO_MEMORY, 0, NULL, NULL};
    return NULL;
  }
  codec->ops = ops;
  codec->config = config;
  codec->piece = PIECE;
  codec->room = ROOM;
  if (ops->open(codec) != UVW_ZLIB_FINE) {
    *failure = codec->failure;
    uvw__codec_close(codec);
    return NULL;
  }
  return codec;
}

void uvw__codec_close(uvw__codec *codec) {
  if (codec == NULL)
    return;
  codec->ops->close(codec);
  free(codec);
}

size_t uvw__codec_guess(int format, const uint8_t *data, size_t size) {
  const uvw__codec_ops *ops = uvw__codec_ops_of(format);
  size_t guess = 0;
  if (ops == &uvw__zstd_encode_ops || ops == &uvw__zstd_decode_ops)
    guess = uvw__zstd_guess(ops->encodes, data, size);
  if (guess == 0)
    guess = ops->encodes ? size / 2 : size < SIZE_MAX / 4 ? 4 * size : size;
  return guess < ((size_t)1 << 20) ? guess : (size_t)1 << 20;
}

/* About how much memory a codec takes: for the limit on all of them. */
size_t uvw__codec_weight(const uvw_zlib_config *config) {
  switch (config->format) {
  case UVW_ZLIB_DEFLATE:
  case UVW_ZLIB_GZIP:
  case UVW_ZLIB_DEFLATE_RAW:
    return config->whole ? (size_t)2 << 20 : (size_t)512 << 10;
  case UVW_ZLIB_BROTLI_ENCODE:
    return (size_t)16 << 20;
  case UVW_ZLIB_ZSTD_COMPRESS:
    return uvw__zstd_weight(config);
  case UVW_ZLIB_BROTLI_DECODE:
  case UVW_ZLIB_ZSTD_DECOMPRESS:
    return (size_t)8 << 20;
  default:
    return (size_t)64 << 10;
  }
}
