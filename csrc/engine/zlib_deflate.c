/* The codecs of zlib's three formats (RFC 1950 to 1952), with Node's rules for
 * what lies around the data: gzip members may follow each other, zeros after
 * the last one are padding, and what follows the other formats is ignored. */
#include "zlib_jobs.h"

#include <limits.h>
#include <zlib.h>

typedef struct {
  uvw__codec base;
  z_stream z;
  bool opened;
  bool members; /* gzip: another member may follow */
  int magic;    /* unzip: bytes of gzip's magic number seen, -1 once decided */
} zlib_codec;

/* zlib takes no more than UINT_MAX at a time. */
static void deflate_lend(z_stream *z, const uvw__io *io) {
  z->next_in = (z_const Bytef *)(uintptr_t)io->in;
  z->avail_in = io->in_left < UINT_MAX ? (uInt)io->in_left : UINT_MAX;
  z->next_out = io->out;
  z->avail_out = io->out_left < UINT_MAX ? (uInt)io->out_left : UINT_MAX;
}

static void deflate_take_back(const z_stream *z, uvw__io *io) {
  io->in_left -= (size_t)(z->next_in - io->in);
  io->in = z->next_in;
  io->out_left -= (size_t)(z->next_out - io->out);
  io->out = z->next_out;
}

static int deflate_fail(zlib_codec *c, int number) {
  static const char *const names[] = {"Z_ERRNO",     "Z_STREAM_ERROR", "Z_DATA_ERROR",
                                      "Z_MEM_ERROR", "Z_BUF_ERROR",    "Z_VERSION_ERROR"};
  int trouble = number == Z_DATA_ERROR  ? UVW_ZLIB_CORRUPT
                : number == Z_MEM_ERROR ? UVW_ZLIB_NO_MEMORY
                                        : UVW_ZLIB_MISUSED;
  const char *code = number < 0 && number >= Z_VERSION_ERROR ? names[-number - 1] : "Z_NEED_DICT";
  return uvw__codec_fail(&c->base, trouble, number, code,
                         c->z.msg != NULL ? c->z.msg : "zlib error");
}

static int inflate_fail_dictionary(zlib_codec *c, const char *message) {
  return uvw__codec_fail(&c->base, UVW_ZLIB_CORRUPT, Z_NEED_DICT, "Z_NEED_DICT", message);
}

static int deflate_window_bits(const uvw_zlib_config *config) {
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

static int deflate_set_dictionary(zlib_codec *c) {
  const uvw_zlib_config *config = c->base.config;
  if (config->dictionary == NULL || config->format == UVW_ZLIB_GZIP)
    return UVW_ZLIB_FINE; /* gzip has none */
  int r = deflateSetDictionary(&c->z, config->dictionary, (uInt)config->dictionary_size);
  return r == Z_OK ? UVW_ZLIB_FINE : deflate_fail(c, r);
}

static int deflate_open(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  const uvw_zlib_config *config = codec->config;
  int r = deflateInit2(&c->z, config->level, Z_DEFLATED, deflate_window_bits(config),
                       config->mem_level, config->strategy);
  if (r != Z_OK)
    return deflate_fail(c, r);
  c->opened = true;
  return deflate_set_dictionary(c);
}

static int deflate_step(uvw__codec *codec, uvw__io *io, int flush) {
  zlib_codec *c = (zlib_codec *)codec;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  deflate_lend(&c->z, io);
  int r = deflate(&c->z, c->z.avail_in < io->in_left ? Z_NO_FLUSH : flush);
  deflate_take_back(&c->z, io);
  codec->ended = r == Z_STREAM_END;
  codec->pending = io->out_left == 0 && !codec->ended;
  return r == Z_OK || r == Z_BUF_ERROR || r == Z_STREAM_END ? UVW_ZLIB_FINE : deflate_fail(c, r);
}

static int deflate_params(uvw__codec *codec, uvw__io *io, int level, int strategy) {
  zlib_codec *c = (zlib_codec *)codec;
  deflate_lend(&c->z, io);
  int r = deflateParams(&c->z, level, strategy);
  deflate_take_back(&c->z, io);
  codec->pending = r == Z_BUF_ERROR; /* there was not room enough: call again */
  return r == Z_OK || r == Z_BUF_ERROR ? UVW_ZLIB_FINE : deflate_fail(c, r);
}

static int deflate_reset(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  int r = deflateReset(&c->z);
  return r == Z_OK ? deflate_set_dictionary(c) : deflate_fail(c, r);
}

static void deflate_close(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  if (c->opened)
    deflateEnd(&c->z);
}

static size_t deflate_weight(const uvw_zlib_config *config) {
  (void)config;
  return (size_t)512 << 10;
}

const uvw__codec_ops uvw__deflate_ops = {
    .size = sizeof(zlib_codec),
    .library = "zlib",
    .encodes = true,
    .flush = Z_FULL_FLUSH,
    .finish = Z_FINISH,
    .last_flush = Z_BLOCK,
    .open = deflate_open,
    .step = deflate_step,
    .reset = deflate_reset,
    .close = deflate_close,
    .weight = deflate_weight,
    .params = deflate_params,
    .at_once = uvw__fast_encode,
    .for_whole = &uvw__join_ops,
};

/* Inflate ----------------------------------------------------------------- */

static void inflate_begin(zlib_codec *c) {
  c->members = c->base.config->format == UVW_ZLIB_GUNZIP;
  c->magic = c->base.config->format == UVW_ZLIB_UNZIP ? 0 : -1;
}

static int inflate_set_dictionary(zlib_codec *c) {
  const uvw_zlib_config *config = c->base.config;
  if (config->format != UVW_ZLIB_INFLATE_RAW || config->dictionary == NULL)
    return UVW_ZLIB_FINE;
  int r = inflateSetDictionary(&c->z, config->dictionary, (uInt)config->dictionary_size);
  return r == Z_OK ? UVW_ZLIB_FINE : deflate_fail(c, r);
}

static int inflate_open(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  int r = inflateInit2(&c->z, deflate_window_bits(codec->config));
  if (r != Z_OK)
    return deflate_fail(c, r);
  c->opened = true;
  inflate_begin(c);
  return inflate_set_dictionary(c);
}

/* zlib finds out itself which of the two formats unzip has been given; this
 * is for what follows the data. */
static void inflate_look_for_magic(zlib_codec *c, const uvw__io *io) {
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
  inflate_look_for_magic(c, io);
  for (;;) {
    if (codec->ended) {
      if (!c->members || io->in_left == 0 || io->in[0] == 0)
        return UVW_ZLIB_FINE;
      int r = inflateReset(&c->z);
      if (r != Z_OK)
        return deflate_fail(c, r);
      codec->ended = false;
    }
    deflate_lend(&c->z, io);
    int r = inflate(&c->z, flush == Z_FINISH ? Z_SYNC_FLUSH : flush);
    deflate_take_back(&c->z, io);
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
        return inflate_fail_dictionary(c, "Missing dictionary");
      r = inflateSetDictionary(&c->z, config->dictionary, (uInt)config->dictionary_size);
      if (r == Z_DATA_ERROR)
        return inflate_fail_dictionary(c, "Bad dictionary");
      if (r != Z_OK)
        return deflate_fail(c, r);
      break;
    default:
      return deflate_fail(c, r);
    }
  }
}

static int inflate_reset(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  int r = inflateReset(&c->z);
  if (r != Z_OK)
    return deflate_fail(c, r);
  inflate_begin(c);
  return inflate_set_dictionary(c);
}

static void inflate_close(uvw__codec *codec) {
  zlib_codec *c = (zlib_codec *)codec;
  if (c->opened)
    inflateEnd(&c->z);
}

static size_t inflate_weight(const uvw_zlib_config *config) {
  (void)config;
  return (size_t)64 << 10;
}

const uvw__codec_ops uvw__inflate_ops = {
    .size = sizeof(zlib_codec),
    .library = "zlib",
    .flush = Z_FULL_FLUSH,
    .finish = Z_FINISH,
    .last_flush = Z_BLOCK,
    .open = inflate_open,
    .step = inflate_step,
    .reset = inflate_reset,
    .close = inflate_close,
    .weight = inflate_weight,
    .at_once = uvw__fast_decode,
};
