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

static int brotli_fail_to_open(uvw__codec *codec) {
  return uvw__codec_fail(codec, UVW_ZLIB_NO_MEMORY, 0, "ERR_ZLIB_INITIALIZATION_FAILED",
                         "Initialization failed");
}

static int brotli_fail_param(uvw__codec *codec) {
  return uvw__codec_fail(codec, UVW_ZLIB_MISUSED, 0, "ERR_BROTLI_PARAM_SET_FAILED",
                         "Setting parameter failed");
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

static void brotli_leave_to_stop(encoder *e) {
  if (e->way_out != NULL && uvw_stopping(e->base.job))
    longjmp(*e->way_out, 1);
}

static void *brotli_alloc(void *opaque, size_t size) {
  encoder *e = opaque;
  brotli_leave_to_stop(e);
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

static void brotli_free(void *opaque, void *address) {
  if (address == NULL)
    return;
  block *b = (block *)address - 1;
  *b->link = b->next;
  if (b->next != NULL)
    b->next->link = b->link;
  free(b);
  brotli_leave_to_stop(opaque);
}

static int brotli_encoder_open(uvw__codec *codec) {
  encoder *e = (encoder *)codec;
  const uvw_zlib_config *config = codec->config;
  e->state = BrotliEncoderCreateInstance(brotli_alloc, brotli_free, e);
  if (e->state == NULL)
    return brotli_fail_to_open(codec);
  for (size_t i = 0; i < config->param_count; i++)
    if (!BrotliEncoderSetParameter(e->state, (BrotliEncoderParameter)config->params[2 * i],
                                   config->params[2 * i + 1]))
      return brotli_fail_param(codec);
  return UVW_ZLIB_FINE;
}

static void brotli_encoder_close(uvw__codec *codec) {
  encoder *e = (encoder *)codec;
  if (e->state != NULL)
    BrotliEncoderDestroyInstance(e->state);
  e->state = NULL;
  while (e->blocks != NULL)
    brotli_free(e, e->blocks + 1);
}

static int brotli_encoder_step(uvw__codec *codec, uvw__io *io, int flush) {
  encoder *e = (encoder *)codec;
  jmp_buf way_out;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  if (e->state == NULL)
    return brotli_fail_to_open(codec);
  if (setjmp(way_out) != 0) {
    e->way_out = NULL;
    e->state = NULL;
    brotli_encoder_close(codec);
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

static int brotli_encoder_reset(uvw__codec *codec) {
  brotli_encoder_close(codec);
  return brotli_encoder_open(codec);
}

static size_t brotli_encoder_weight(const uvw_zlib_config *config) {
  (void)config;
  return (size_t)16 << 20;
}

const uvw__codec_ops uvw__brotli_encode_ops = {
    .size = sizeof(encoder),
    .library = "brotli",
    .encodes = true,
    .flush = BROTLI_OPERATION_FLUSH,
    .finish = BROTLI_OPERATION_FINISH,
    .last_flush = BROTLI_OPERATION_FINISH,
    .open = brotli_encoder_open,
    .step = brotli_encoder_step,
    .reset = brotli_encoder_reset,
    .close = brotli_encoder_close,
    .weight = brotli_encoder_weight,
};

/* Decoder ----------------------------------------------------------------- */

typedef struct {
  uvw__codec base;
  BrotliDecoderState *state;
} decoder;

static int brotli_decoder_open(uvw__codec *codec) {
  decoder *d = (decoder *)codec;
  const uvw_zlib_config *config = codec->config;
  d->state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
  if (d->state == NULL)
    return brotli_fail_to_open(codec);
  for (size_t i = 0; i < config->param_count; i++)
    if (!BrotliDecoderSetParameter(d->state, (BrotliDecoderParameter)config->params[2 * i],
                                   config->params[2 * i + 1]))
      return brotli_fail_param(codec);
  return UVW_ZLIB_FINE;
}

static int brotli_decoder_step(uvw__codec *codec, uvw__io *io, int flush) {
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

static void brotli_decoder_close(uvw__codec *codec) {
  decoder *d = (decoder *)codec;
  if (d->state != NULL)
    BrotliDecoderDestroyInstance(d->state);
  d->state = NULL;
}

static int brotli_decoder_reset(uvw__codec *codec) {
  brotli_decoder_close(codec);
  return brotli_decoder_open(codec);
}

static size_t brotli_decoder_weight(const uvw_zlib_config *config) {
  (void)config;
  return (size_t)8 << 20;
}

const uvw__codec_ops uvw__brotli_decode_ops = {
    .size = sizeof(decoder),
    .library = "brotli",
    .flush = BROTLI_OPERATION_FLUSH,
    .finish = BROTLI_OPERATION_FINISH,
    .last_flush = BROTLI_OPERATION_FINISH,
    .open = brotli_decoder_open,
    .step = brotli_decoder_step,
    .reset = brotli_decoder_reset,
    .close = brotli_decoder_close,
    .weight = brotli_decoder_weight,
};
