/* The codecs of brotli (RFC 7932). What follows the data is ignored, as in
 * Node. Brotli cannot begin anew: a reset is a new state.
 *
 * At its high qualities the encoder takes seconds for one step, and where there
 * is no memory some builds of it end the process. It can be left only from
 * within, by its allocator: that is ours, jumps out when memory is lacking or
 * the job is to stop, and knows all blocks, so that they can be freed without
 * the encoder, whose state is in no order then. */
#include "zlib_jobs.h"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <setjmp.h>
#include <stdlib.h>

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

typedef struct block block;
struct block {
  block *next, **link; /* what leads to this one */
};

typedef struct {
  uvw__codec base;
  BrotliEncoderState *state;
  block *blocks;
  jmp_buf *way_out; /* of a step */
} encoder;

static void leave_to_stop(encoder *e) {
  if (e->way_out != NULL && uvw_stopping(e->base.job))
    longjmp(*e->way_out, 1);
}

static void *take(void *opaque, size_t size) {
  encoder *e = opaque;
  leave_to_stop(e);
  block *b = size < SIZE_MAX - sizeof(*b) ? malloc(sizeof(*b) + size) : NULL;
  if (b == NULL && e->way_out != NULL)
    longjmp(*e->way_out, 1);
  if (b == NULL)
    return NULL;
  b->next = e->blocks;
  b->link = &e->blocks;
  if (b->next != NULL)
    b->next->link = &b->next;
  e->blocks = b;
  return b + 1;
}

static void give_back(void *opaque, void *address) {
  if (address == NULL)
    return;
  block *b = (block *)address - 1;
  *b->link = b->next;
  if (b->next != NULL)
    b->next->link = b->link;
  free(b);
  leave_to_stop(opaque);
}

static int encoder_open(uvw__codec *codec) {
  encoder *e = (encoder *)codec;
  const uvw_zlib_config *config = codec->config;
  e->state = BrotliEncoderCreateInstance(take, give_back, e);
  if (e->state == NULL)
    return fail_to_open(codec);
  for (size_t i = 0; i < config->param_count; i++)
    if (!BrotliEncoderSetParameter(e->state, (BrotliEncoderParameter)config->params[2 * i],
                                   config->params[2 * i + 1]))
      return fail_param(codec);
  return UVW_ZLIB_FINE;
}

static void encoder_close(uvw__codec *codec) {
  encoder *e = (encoder *)codec;
  if (e->state != NULL)
    BrotliEncoderDestroyInstance(e->state);
  e->state = NULL;
  while (e->blocks != NULL)
    give_back(e, e->blocks + 1);
}

static int encoder_step(uvw__codec *codec, uvw__io *io, int flush) {
  encoder *e = (encoder *)codec;
  jmp_buf way_out;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  if (e->state == NULL)
    return fail_to_open(codec);
  if (setjmp(way_out) != 0) {
    e->way_out = NULL;
    e->state = NULL;
    encoder_close(codec);
    return uvw__codec_fail(codec, UVW_ZLIB_NO_MEMORY, 0, NULL, NULL);
  }
  e->way_out = &way_out;
  bool good = BrotliEncoderCompressStream(e->state, (BrotliEncoderOperation)flush, &io->in_left,
                                          &io->in, &io->out_left, &io->out, NULL);
  e->way_out = NULL;
  if (!good)
    return uvw__codec_fail(codec, UVW_ZLIB_MISUSED, 0, "ERR_BROTLI_COMPRESSION_FAILED",
                           "Compression failed");
  codec->ended = BrotliEncoderIsFinished(e->state);
  codec->pending = BrotliEncoderHasMoreOutput(e->state);
  return UVW_ZLIB_FINE;
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
  BrotliDecoderResult result =
      BrotliDecoderDecompressStream(d->state, &io->in_left, &io->in, &io->out_left, &io->out, NULL);
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
