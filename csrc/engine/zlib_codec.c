/* Codecs: the one way in which jobs use zlib, brotli and zstd. A codec is
 * opened, used and closed on workers, by one job at a time. */
#include "zlib_jobs.h"

#include <stdlib.h>

/* What most codecs do in some milliseconds. */
#define PIECE ((size_t)64 << 10)
#define ROOM ((size_t)256 << 10)

static const uvw__codec_ops *const codec_of_format[] = {
#define FORMAT(NAME, number, codec) [UVW_ZLIB_##NAME] = &uvw__##codec##_ops,
    UVW_ZLIB_FORMATS(FORMAT)
#undef FORMAT
};

const uvw__codec_ops *uvw__codec_ops_of(int format) {
  int count = sizeof(codec_of_format) / sizeof(codec_of_format[0]);
  return format > 0 && format < count ? codec_of_format[format] : &uvw__inflate_ops;
}

uvw_zlib_facts uvw_zlib_facts_of(int format) {
  const uvw__codec_ops *ops = uvw__codec_ops_of(format);
  return (uvw_zlib_facts){ops->library, ops->encodes, ops->flush, ops->finish, ops->last_flush};
}

int uvw__codec_fail(uvw__codec *codec, int trouble, int number, const char *code,
                    const char *message) {
  codec->failure = (uvw_zlib_failure){trouble, number, code, message};
  return trouble;
}

uvw__codec *uvw__codec_open(const uvw_zlib_config *config, uvw_zlib_failure *failure) {
  const uvw__codec_ops *ops = uvw__codec_ops_of(config->format);
  if (config->whole && ops->for_whole != NULL && ops->for_whole->takes(config))
    ops = ops->for_whole;
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

size_t uvw__codec_guess(const uvw__codec_ops *ops, const uint8_t *data, size_t size) {
  size_t guess = ops->guess != NULL ? ops->guess(data, size) : 0;
  if (guess == 0)
    guess = ops->encodes ? size / 2 : size < SIZE_MAX / 4 ? 4 * size : size;
  return guess < ((size_t)1 << 20) ? guess : (size_t)1 << 20;
}
