/* The codecs of brotli (RFC 7932). What follows the data is ignored, as in
 * Node. Brotli cannot begin anew: a reset is a new state. */
#include "zlib_jobs.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

static int fail_to_open(uvw__codec *codec) {
  return uvw__codec_fail(codec, UVW_ZLIB_NO_MEMORY, 0, "ERR_ZLIB_INITIALIZATION_FAILED",
                         "Initialization failed");
}

static int fail_param(uvw__codec *codec) {
  return uvw__codec_fail(codec, UVW_ZLIB_MISUSED, 0, "ERR_BROTLI_PARAM_SET_FAILED",
                         "Setting parameter failed");
}

static int no_params(uvw__codec *codec, uvw__io *io, int level, int strategy) {
  (void)codec, (void)io, (void)level, (void)strategy;
  return UVW_ZLIB_FINE;
}

/* Encoder ----------------------------------------------------------------- */

typedef struct {
  uvw__codec base;
  BrotliEncoderState *state;
} encoder;

static int encoder_open(uvw__codec *codec) {
  encoder *e = (encoder *)codec;
  const uvw_zlib_config *config = codec->config;
  e->state = BrotliEncoderCreateInstance(NULL, NULL, NULL);
  if (e->state == NULL)
    return fail_to_open(codec);
  for (size_t i = 0; i < config->param_count; i++)
    if (!BrotliEncoderSetParameter(e->state, (BrotliEncoderParameter)config->params[2 * i],
                                   config->params[2 * i + 1]))
      return fail_param(codec);
  return UVW_ZLIB_FINE;
}

static int encoder_step(uvw__codec *codec, uvw__io *io, int flush) {
  encoder *e = (encoder *)codec;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  if (!BrotliEncoderCompressStream(e->state, (BrotliEncoderOperation)flush, &io->in_left, &io->in,
                                   &io->out_left, &io->out, NULL))
    return uvw__codec_fail(codec, UVW_ZLIB_MISUSED, 0, "ERR_BROTLI_COMPRESSION_FAILED",
                           "Compression failed");
  codec->ended = BrotliEncoderIsFinished(e->state);
  codec->pending = BrotliEncoderHasMoreOutput(e->state);
  return UVW_ZLIB_FINE;
}

static void encoder_close(uvw__codec *codec) {
  encoder *e = (encoder *)codec;
  if (e->state != NULL)
    BrotliEncoderDestroyInstance(e->state);
  e->state = NULL;
}

static int encoder_reset(uvw__codec *codec) {
  encoder_close(codec);
  return encoder_open(codec);
}

const uvw__codec_ops uvw__brotli_encode_ops = {
    sizeof(encoder), true,      BROTLI_OPERATION_FINISH, encoder_open,
    encoder_step,    no_params, encoder_reset,           encoder_close};

/* Decoder ----------------------------------------------------------------- */

typedef struct {
  uvw__codec base;
  BrotliDecoderState *state;
} decoder;

static int decoder_open(uvw__codec *codec) {
  decoder *d = (decoder *)codec;
  const uvw_zlib_config *config = codec->config;
  d->state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
  if (d->state == NULL)
    return fail_to_open(codec);
  for (size_t i = 0; i < config->param_count; i++)
    if (!BrotliDecoderSetParameter(d->state, (BrotliDecoderParameter)config->params[2 * i],
                                   config->params[2 * i + 1]))
      return fail_param(codec);
  return UVW_ZLIB_FINE;
}

static int decoder_step(uvw__codec *codec, uvw__io *io, int flush) {
  decoder *d = (decoder *)codec;
  (void)flush;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  BrotliDecoderResult result = BrotliDecoderDecompressStream(d->state, &io->in_left, &io->in,
                                                             &io->out_left, &io->out, NULL);
  codec->ended = result == BROTLI_DECODER_RESULT_SUCCESS;
  codec->pending = result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
  if (result != BROTLI_DECODER_RESULT_ERROR)
    return UVW_ZLIB_FINE;
  BrotliDecoderErrorCode error = BrotliDecoderGetErrorCode(d->state);
  bool memory = error <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
                error >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
  return uvw__codec_fail(codec, memory ? UVW_ZLIB_NO_MEMORY : UVW_ZLIB_CORRUPT, error,
                         BrotliDecoderErrorString(error), "Decompression failed");
}

static void decoder_close(uvw__codec *codec) {
  decoder *d = (decoder *)codec;
  if (d->state != NULL)
    BrotliDecoderDestroyInstance(d->state);
  d->state = NULL;
}

static int decoder_reset(uvw__codec *codec) {
  decoder_close(codec);
  return decoder_open(codec);
}

const uvw__codec_ops uvw__brotli_decode_ops = {
    sizeof(decoder), false,     BROTLI_OPERATION_FINISH, decoder_open,
    decoder_step,    no_params, decoder_reset,           decoder_close};
