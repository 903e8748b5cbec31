/* The codecs of zlib's three formats (RFC 1950 to 1952), with Node's rules for
 * what lies around the data: gzip members may follow each other, zeros after
 * the last one are padding, and what follows the other formats is ignored. */
#include "zlib_jobs.h"

#include <limits.h>
#include <string.h>
#include <zlib.h>

typedef struct {
  uvw__codec base;
  z_stream z;
  bool opened;
  bool members; /* gzip: another member may follow */
  int magic;    /* unzip: bytes of gzip's magic number seen, -1 once decided */
} zlib_codec;

/* zlib takes no more than UINT_MAX at a time. */
static void lend(z_stream *z, const uvw__io *io) {
  z->next_in = (z_const Bytef *)(uintptr_t)io->in;
  z->avail_in = io->in_left < UINT_MAX ? (uInt)io->in_left : UINT_MAX;
  z->next_out = io->out;
  z->avail_out = io->out_left < UINT_MAX ? (uInt)io->out_left : UINT_MAX;
}

static void take_back(const z_stream *z, uvw__io *io) {
  io->in_left -= (size_t)(z->next_in - io->in);
  io->in = z->next_in;
  io->out_left -= (size_t)(z->next_out - io->out);
  io->out = z->next_out;
}

static int fail(zlib_codec *c, int number) {
  static const char *const names[] = {"Z_ERRNO",     "Z_STREAM_ERROR", "Z_DATA_ERROR",
                                      "Z_MEM_ERROR", "Z_BUF_ERROR",    "Z_VERSION_ERROR"};
  int trouble = number == Z_DATA_ERROR  ? UVW_ZLIB_CORRUPT
                : number == Z_MEM_ERROR ? UVW_ZLIB_NO_MEMORY
                                        : UVW_ZLIB_MISUSED;
  const char *code = number < 0 && number >= Z_VERSION_ERROR ? names[-number - 1] : "Z_NEED_DICT";
  return uvw__codec_fail(&c->base, trouble, number, code,
                         c->z.msg != NULL ? c->z.msg : "zlib error");
}

static int fail_dictionary(zlib_codec *c, const char *message) {
  return uvw__codec_fail(&c->base, UVW_ZLIB_CORRUPT, Z_NEED_DICT, "Z_NEED_DICT", message);
}

static int window_bits(const uvw_zlib_config *config) {
  switch (config->format) {
  case UVW_ZLIB_GZIP:
  case UVW_ZLIB_GUNZIP:
    return config->window_bits + 16;
  case UVW_ZLIB_UNZIP:
    return config->window_bits + 32;
  case UVW_ZLIB_DEFLATE_RAW:
  case UVW_ZLIB_INFLATE_RAW:
    return -config->window_bits;
  default:
    return config->window_bits;
  }
}

/* Deflate ----------------------------------------------------------------- */

static int set_dictionary(zlib_codec *c) {
  const uvw_zlib_config *config = c->base.config;
  if (config->dictionary == NULL || config->format == UVW_ZLIB_GZIP)
    return UVW_ZLIB_FINE; /* gzip has none */
  int r = deflateSetDictionary(&c->z, config->dictionary, (uInt)config->dictionary_size);
  return r == Z_OK ? UVW_ZLIB_FINE : fail(c, r);
}

static int deflate_open(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  const uvw_zlib_config *config = codec->config;
  int r = deflateInit2(&c->z, config->level, Z_DEFLATED, window_bits(config), config->mem_level,
                       config->strategy);
  if (r != Z_OK)
    return fail(c, r);
  c->opened = true;
  return set_dictionary(c);
}

static int deflate_step(uvw__codec *codec, uvw__io *io, int flush) {
  zlib_codec *c = (zlib_codec *)codec;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  lend(&c->z, io);
  int r = deflate(&c->z, c->z.avail_in < io->in_left ? Z_NO_FLUSH : flush);
  take_back(&c->z, io);
  codec->ended = r == Z_STREAM_END;
  codec->pending = io->out_left == 0 && !codec->ended;
  return r == Z_OK || r == Z_BUF_ERROR || r == Z_STREAM_END ? UVW_ZLIB_FINE : fail(c, r);
}

static int deflate_params(uvw__codec *codec, uvw__io *io, int level, int strategy) {
  zlib_codec *c = (zlib_codec *)codec;
  lend(&c->z, io);
  int r = deflateParams(&c->z, level, strategy);
  take_back(&c->z, io);
  codec->pending = r == Z_BUF_ERROR; /* there was not room enough: call again */
  return r == Z_OK || r == Z_BUF_ERROR ? UVW_ZLIB_FINE : fail(c, r);
}

static int deflate_reset(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  int r = deflateReset(&c->z);
  return r == Z_OK ? set_dictionary(c) : fail(c, r);
}

static void deflate_close(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  if (c->opened)
    deflateEnd(&c->z);
}

const uvw__codec_ops uvw__deflate_ops = {sizeof(zlib_codec), true,         Z_FINISH,
                                         deflate_open,       deflate_step, deflate_params,
                                         deflate_reset,      deflate_close};

/* Inflate ----------------------------------------------------------------- */

static void begin(zlib_codec *c) {
  c->members = c->base.config->format == UVW_ZLIB_GUNZIP;
  c->magic = c->base.config->format == UVW_ZLIB_UNZIP ? 0 : -1;
}

static int set_raw_dictionary(zlib_codec *c) {
  const uvw_zlib_config *config = c->base.config;
  if (config->format != UVW_ZLIB_INFLATE_RAW || config->dictionary == NULL)
    return UVW_ZLIB_FINE;
  int r = inflateSetDictionary(&c->z, config->dictionary, (uInt)config->dictionary_size);
  return r == Z_OK ? UVW_ZLIB_FINE : fail(c, r);
}

static int inflate_open(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  int r = inflateInit2(&c->z, window_bits(codec->config));
  if (r != Z_OK)
    return fail(c, r);
  c->opened = true;
  begin(c);
  return set_raw_dictionary(c);
}

/* zlib finds out itself which of the two formats unzip has been given; this
 * is for what follows the data. */
static void look_for_magic(zlib_codec *c, const uvw__io *io) {
  static const uint8_t expected[] = {0x1f, 0x8b};
  for (size_t i = 0; c->magic >= 0 && i < io->in_left; i++) {
    if (io->in[i] != expected[c->magic])
      c->magic = -1;
    else if (++c->magic == 2) {
      c->members = true;
      c->magic = -1;
    }
  }
}

static int inflate_step(uvw__codec *codec, uvw__io *io, int flush) {
  zlib_codec *c = (zlib_codec *)codec;
  const uvw_zlib_config *config = codec->config;
  look_for_magic(c, io);
  for (;;) {
    if (codec->ended) {
      if (!c->members || io->in_left == 0 || io->in[0] == 0)
        return UVW_ZLIB_FINE;
      int r = inflateReset(&c->z);
      if (r != Z_OK)
        return fail(c, r);
      codec->ended = false;
    }
    lend(&c->z, io);
    int r = inflate(&c->z, flush == Z_FINISH ? Z_SYNC_FLUSH : flush);
    take_back(&c->z, io);
    codec->pending = io->out_left == 0;
    switch (r) {
    case Z_STREAM_END:
      codec->ended = true;
      break;
    case Z_OK:
    case Z_BUF_ERROR:
      return UVW_ZLIB_FINE;
    case Z_NEED_DICT:
      if (config->dictionary == NULL)
        return fail_dictionary(c, "Missing dictionary");
      r = inflateSetDictionary(&c->z, config->dictionary, (uInt)config->dictionary_size);
      if (r == Z_DATA_ERROR)
        return fail_dictionary(c, "Bad dictionary");
      if (r != Z_OK)
        return fail(c, r);
      break;
    default:
      return fail(c, r);
    }
  }
}

static int inflate_params(uvw__codec *codec, uvw__io *io, int level, int strategy) {
  (void)codec, (void)io, (void)level, (void)strategy;
  return UVW_ZLIB_FINE; /* as in Node */
}

static int inflate_reset(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  int r = inflateReset(&c->z);
  if (r != Z_OK)
    return fail(c, r);
  begin(c);
  return set_raw_dictionary(c);
}

static void inflate_close(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  if (c->opened)
    inflateEnd(&c->z);
}

const uvw__codec_ops uvw__inflate_ops = {sizeof(zlib_codec), false,        Z_FINISH,
                                         inflate_open,       inflate_step, inflate_params,
                                         inflate_reset,      inflate_close};
