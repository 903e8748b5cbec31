/* The codecs of Zstandard (RFC 8878). Frames may follow each other; what does
 * not begin like another frame is ignored, like what follows the data in the
 * other formats.
 *
 * A state costs more to make than a small input to compress, so each thread
 * keeps one of each kind, unless it has grown large. */
#include "zlib_jobs.h"

#include <pthread.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define KEPT_BYTES ((size_t)4 << 20)

typedef struct {
  uvw__codec base;
  ZSTD_CCtx *encoder;
  ZSTD_DCtx *decoder;
} zstd_codec;

static pthread_key_t encoder_key, decoder_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool keeping;

static void zstd_free_encoder(void *state) { ZSTD_freeCCtx(state); }
static void zstd_free_decoder(void *state) { ZSTD_freeDCtx(state); }

static void zstd_make_keys(void) {
  keeping = pthread_key_create(&encoder_key, zstd_free_encoder) == 0 &&
            pthread_key_create(&decoder_key, zstd_free_decoder) == 0;
}

static void *zstd_take_kept(const pthread_key_t *key) {
  pthread_once(&once, zstd_make_keys);
  void *state = keeping ? pthread_getspecific(*key) : NULL;
  if (state != NULL && pthread_setspecific(*key, NULL) != 0)
    return NULL;
  return state;
}

static bool zstd_keep(const pthread_key_t *key, void *state, size_t size) {
  return keeping && size <= KEPT_BYTES && pthread_getspecific(*key) == NULL &&
         pthread_setspecific(*key, state) == 0;
}

static int zstd_fail(uvw__codec *codec, size_t result) {
  ZSTD_ErrorCode error = ZSTD_getErrorCode(result);
  int trouble = error == ZSTD_error_memory_allocation       ? UVW_ZLIB_NO_MEMORY
                : error == ZSTD_error_parameter_unsupported ? UVW_ZLIB_MISUSED
                : error == ZSTD_error_parameter_outOfBound  ? UVW_ZLIB_MISUSED
                : error == ZSTD_error_stage_wrong           ? UVW_ZLIB_MISUSED
                                                            : UVW_ZLIB_CORRUPT;
  return uvw__codec_fail(codec, trouble, (int)error, "ERR_ZSTD", ZSTD_getErrorName(result));
}

static int zstd_fail_to_open(uvw__codec *codec) {
  return uvw__codec_fail(codec, UVW_ZLIB_NO_MEMORY, 0, "ERR_ZLIB_INITIALIZATION_FAILED",
                         "Initialization failed");
}

/* Encoder ----------------------------------------------------------------- */

/* A whole input with room for the worst is done in one go, without a copy in
 * between. High levels take their time for a megabyte. */
static size_t zstd_piece_of(int level) {
  return level < 10 ? (size_t)1 << 20 : level < 16 ? (size_t)256 << 10 : (size_t)64 << 10;
}

/* About what the tables of a level take, and the window; less for little input. */
static size_t zstd_encoder_weight(const uvw_zlib_config *config) {
  int level = ZSTD_CLEVEL_DEFAULT;
  uint64_t given = 0;
  for (size_t i = 0; i < config->param_count; i++) {
    uint32_t key = config->params[2 * i], value = config->params[2 * i + 1];
    if (key == ZSTD_c_compressionLevel)
      level = (int)value;
    else if (key == ZSTD_c_windowLog || key == ZSTD_c_hashLog || key == ZSTD_c_chainLog)
      given += (key == ZSTD_c_windowLog ? 1u : 4u) * ((uint64_t)1 << (value & 31));
  }
  uint64_t mebibytes = level < 5 ? 4 : level < 10 ? 16 : level < 16 ? 48 : level < 20 ? 96 : 640;
  uint64_t most = given > mebibytes << 20 ? given : mebibytes << 20;
  if (config->total > most / 8)
    return (size_t)most;
  uint64_t little = ((uint64_t)4 << 20) + 8 * config->total;
  return (size_t)(little < most ? little : most);
}

/* How many bytes will come has to be told again for every frame. */
static size_t zstd_pledge(uvw__codec *codec) {
  uint64_t total = codec->config->total;
  return total != UINT64_MAX ? ZSTD_CCtx_setPledgedSrcSize(((zstd_codec *)codec)->encoder, total)
                             : 0;
}

static int zstd_encoder_open(uvw__codec *codec) {
  zstd_codec *c = (zstd_codec *)codec;
  const uvw_zlib_config *config = codec->config;
  c->encoder = zstd_take_kept(&encoder_key);
  if (c->encoder == NULL && (c->encoder = ZSTD_createCCtx()) == NULL)
    return zstd_fail_to_open(codec);
  size_t r = 0;
  int level = ZSTD_CLEVEL_DEFAULT;
  for (size_t i = 0; i < config->param_count && !ZSTD_isError(r); i++) {
    int key = (int)config->params[2 * i], value = (int)config->params[2 * i + 1];
    r = ZSTD_CCtx_setParameter(c->encoder, (ZSTD_cParameter)key, value);
    if (key == ZSTD_c_compressionLevel)
      level = value;
  }
  codec->piece = zstd_piece_of(level);
  if (!ZSTD_isError(r))
    r = zstd_pledge(codec);
  if (!ZSTD_isError(r) && config->dictionary != NULL)
    r = ZSTD_CCtx_loadDictionary(c->encoder, config->dictionary, config->dictionary_size);
  return ZSTD_isError(r) ? zstd_fail(codec, r) : UVW_ZLIB_FINE;
}

static int zstd_encoder_step(uvw__codec *codec, uvw__io *io, int flush) {
  zstd_codec *c = (zstd_codec *)codec;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  ZSTD_inBuffer in = {io->in, io->in_left, 0};
  ZSTD_outBuffer out = {io->out, io->out_left, 0};
  size_t r = ZSTD_compressStream2(c->encoder, &out, &in, (ZSTD_EndDirective)flush);
  io->in += in.pos;
  io->in_left -= in.pos;
  io->out += out.pos;
  io->out_left -= out.pos;
  if (ZSTD_isError(r))
    return zstd_fail(codec, r);
  codec->ended = flush == ZSTD_e_end && r == 0;
  codec->pending = flush != ZSTD_e_continue ? r > 0 : io->out_left == 0;
  return UVW_ZLIB_FINE;
}

static void zstd_encoder_close(uvw__codec *codec) {
  zstd_codec *c = (zstd_codec *)codec;
  if (c->encoder == NULL)
    return;
  ZSTD_CCtx_reset(c->encoder, ZSTD_reset_session_and_parameters);
  if (!zstd_keep(&encoder_key, c->encoder, ZSTD_sizeof_CCtx(c->encoder)))
    ZSTD_freeCCtx(c->encoder);
  c->encoder = NULL;
}

static int zstd_encoder_reset(uvw__codec *codec) {
  zstd_codec *c = (zstd_codec *)codec;
  size_t r = ZSTD_CCtx_reset(c->encoder, ZSTD_reset_session_only);
  if (!ZSTD_isError(r))
    r = zstd_pledge(codec);
  return ZSTD_isError(r) ? zstd_fail(codec, r) : UVW_ZLIB_FINE;
}

static size_t zstd_encoder_guess(const uint8_t *data, size_t size) {
  (void)data;
  return ZSTD_compressBound(size < ((size_t)1 << 20) ? size : (size_t)1 << 20);
}

const uvw__codec_ops uvw__zstd_encode_ops = {
    .size = sizeof(zstd_codec),
    .library = "zstd",
    .encodes = true,
    .flush = ZSTD_e_flush,
    .finish = ZSTD_e_end,
    .last_flush = ZSTD_e_end,
    .open = zstd_encoder_open,
    .step = zstd_encoder_step,
    .reset = zstd_encoder_reset,
    .close = zstd_encoder_close,
    .weight = zstd_encoder_weight,
    .guess = zstd_encoder_guess,
};

/* Decoder ----------------------------------------------------------------- */

static int zstd_decoder_open(uvw__codec *codec) {
  zstd_codec *c = (zstd_codec *)codec;
  const uvw_zlib_config *config = codec->config;
  codec->room = (size_t)2 << 20;
  c->decoder = zstd_take_kept(&decoder_key);
  if (c->decoder == NULL && (c->decoder = ZSTD_createDCtx()) == NULL)
    return zstd_fail_to_open(codec);
  size_t r = 0;
  for (size_t i = 0; i < config->param_count && !ZSTD_isError(r); i++)
    r = ZSTD_DCtx_setParameter(c->decoder, (ZSTD_dParameter)config->params[2 * i],
                               (int)config->params[2 * i + 1]);
  if (!ZSTD_isError(r) && config->dictionary != NULL)
    r = ZSTD_DCtx_loadDictionary(c->decoder, config->dictionary, config->dictionary_size);
  return ZSTD_isError(r) ? zstd_fail(codec, r) : UVW_ZLIB_FINE;
}

/* Whether this is the magic number of a frame or of one to be skipped, or as
 * much of it as there is. */
static bool zstd_begins_frame(const uint8_t *data, size_t size) {
  static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd}, skipped[] = {0x50, 0x2a, 0x4d, 0x18};
  uint8_t first = data[0] & 0xf0;
  size_t n = size < sizeof(frame) ? size : sizeof(frame);
  return memcmp(data, frame, n) == 0 ||
         (first == skipped[0] && memcmp(data + 1, skipped + 1, n - 1) == 0);
}

static int zstd_decoder_step(uvw__codec *codec, uvw__io *io, int flush) {
  zstd_codec *c = (zstd_codec *)codec;
  (void)flush;
  for (;;) {
    if (codec->ended && (io->in_left == 0 || !zstd_begins_frame(io->in, io->in_left)))
      return UVW_ZLIB_FINE;
    codec->ended = false;
    ZSTD_inBuffer in = {io->in, io->in_left, 0};
    ZSTD_outBuffer out = {io->out, io->out_left, 0};
    size_t r = ZSTD_decompressStream(c->decoder, &out, &in);
    io->in += in.pos;
    io->in_left -= in.pos;
    io->out += out.pos;
    io->out_left -= out.pos;
    if (ZSTD_isError(r))
      return zstd_fail(codec, r);
    codec->ended = r == 0;
    codec->pending = r != 0 && io->out_left == 0;
    if (r != 0)
      return UVW_ZLIB_FINE;
  }
}

static void zstd_decoder_close(uvw__codec *codec) {
  zstd_codec *c = (zstd_codec *)codec;
  if (c->decoder == NULL)
    return;
  ZSTD_DCtx_reset(c->decoder, ZSTD_reset_session_and_parameters);
  if (!zstd_keep(&decoder_key, c->decoder, ZSTD_sizeof_DCtx(c->decoder)))
    ZSTD_freeDCtx(c->decoder);
  c->decoder = NULL;
}

static int zstd_decoder_reset(uvw__codec *codec) {
  zstd_codec *c = (zstd_codec *)codec;
  size_t r = ZSTD_DCtx_reset(c->decoder, ZSTD_reset_session_only);
  return ZSTD_isError(r) ? zstd_fail(codec, r) : UVW_ZLIB_FINE;
}

static size_t zstd_decoder_weight(const uvw_zlib_config *config) {
  (void)config;
  return (size_t)8 << 20;
}

/* Frames may tell the size of their content. */
static size_t zstd_decoder_guess(const uint8_t *data, size_t size) {
  unsigned long long told = ZSTD_getFrameContentSize(data, size);
  return told < ZSTD_CONTENTSIZE_ERROR ? (size_t)told : 0;
}

const uvw__codec_ops uvw__zstd_decode_ops = {
    .size = sizeof(zstd_codec),
    .library = "zstd",
    .flush = ZSTD_e_flush,
    .finish = ZSTD_e_end,
    .last_flush = ZSTD_e_end,
    .open = zstd_decoder_open,
    .step = zstd_decoder_step,
    .reset = zstd_decoder_reset,
    .close = zstd_decoder_close,
    .weight = zstd_decoder_weight,
    .guess = zstd_decoder_guess,
};
