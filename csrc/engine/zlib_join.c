/* Large inputs by libdeflate: compressed in pieces of a megabyte at most, which
 * are joined to one stream. It is a codec for those who have all the data, or
 * can feed it in such pieces.
 *
 * The last block of a piece is marked as the last of all. To go on after it,
 * that mark is taken away, and an empty stored block leads to the next byte.
 * Where the block begins only inflate can tell, which stops between blocks;
 * that costs a fifth of the time, and is still twice as fast as zlib. No piece
 * refers back to the one before it: that costs up to one per cent of the size. */
#include "internal.h"
#include "zlib_jobs.h"

#include <libdeflate.h>
#include <string.h>
#include <zlib.h>

typedef struct {
  uvw__codec base;
  uint32_t checksum;
  uint64_t total;
  bool begun, finished;
  uint8_t *ready; /* output that waits for room, in a buffer of ours */
  size_t ready_size, ready_length, ready_at;
} joiner;

enum { HEADER_MOST = 10, TRAILER_MOST = 8, JOINT_MOST = 5 };

static int join_no_memory(joiner *j) {
  return uvw__codec_fail(&j->base, UVW_ZLIB_NO_MEMORY, 0, NULL, NULL);
}

static int join_reset(uvw__codec *codec) {
  joiner *j = (joiner *)codec;
  j->checksum = codec->config->format == UVW_ZLIB_DEFLATE ? 1 : 0;
  j->total = 0;
  j->begun = j->finished = false;
  j->ready_length = j->ready_at = 0;
  return UVW_ZLIB_FINE;
}

static int join_open(uvw__codec *codec) {
  codec->piece = uvw__fast_piece(codec->config->level);
  return join_reset(codec);
}

static void join_put_number(joiner *j, uint32_t number, bool big_endian) {
  for (int i = 0; i < 4; i++)
    j->ready[j->ready_length++] = (uint8_t)(number >> 8 * (big_endian ? 3 - i : i));
}

static void join_put_header(joiner *j) {
  int level = j->base.config->level < 0 ? 6 : j->base.config->level;
  if (j->base.config->format == UVW_ZLIB_GZIP) {
    const uint8_t header[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, level < 2 ? 4 : level < 8 ? 0 : 2, 255};
    memcpy(j->ready, header, sizeof(header));
    j->ready_length = sizeof(header);
  } else if (j->base.config->format == UVW_ZLIB_DEFLATE) {
    j->ready[0] = 0x78;
    j->ready[1] = level < 2 ? 0x01 : level < 6 ? 0x5e : level < 8 ? 0x9c : 0xda;
    j->ready_length = 2;
  }
}

static void join_put_trailer(joiner *j) {
  if (j->base.config->format == UVW_ZLIB_GZIP) {
    join_put_number(j, j->checksum, false);
    join_put_number(j, (uint32_t)j->total, false);
  } else if (j->base.config->format == UVW_ZLIB_DEFLATE) {
    join_put_number(j, j->checksum, true);
  }
}

/* Finds the bit at which the last block begins, and the one after its end. */
static bool join_find_last_block(const uint8_t *data, size_t size, uint8_t *scratch, size_t room,
                                 uint64_t *begin, uint64_t *end) {
  z_stream z = {0};
  if (inflateInit2(&z, -15) != Z_OK)
    return false;
  z.next_in = (z_const Bytef *)(uintptr_t)data;
  z.avail_in = (uInt)size;
  *begin = *end = 0;
  int r;
  do {
    z.next_out = scratch;
    z.avail_out = (uInt)room;
    r = inflate(&z, Z_BLOCK);
    /* It stops between blocks (128); the one behind may be the last (64). */
    bool between = (z.data_type & 128) != 0, last = (z.data_type & 64) != 0;
    if (r == Z_OK && between)
      *(last ? end : begin) = 8 * (uint64_t)z.total_in - (z.data_type & 7);
  } while (r == Z_OK && *end == 0);
  inflateEnd(&z);
  return *end > *begin;
}

/* Makes what has just been put at `at` go on instead of ending. */
static bool join_reopen(joiner *j, size_t at, size_t piece) {
  uint64_t begin, end;
  size_t room = piece > 65536 ? piece : 65536;
  uint8_t *scratch = uvw_buffer_get(&room);
  uint8_t *data = j->ready + at;
  bool found = scratch != NULL &&
               join_find_last_block(data, j->ready_length - at, scratch, room, &begin, &end);
  uvw_buffer_put(scratch, room);
  if (!found)
    return false;
  data[begin / 8] &= (uint8_t)~(1u << (begin % 8));
  /* Three zero bits begin a stored block that is not the last one; the rest of
   * the last byte is zero already. */
  if ((end + 2) / 8 == (end + 7) / 8)
    data[(end + 2) / 8] = 0;
  j->ready_length = at + (size_t)((end + 2) / 8 + 1);
  const uint8_t empty[] = {0, 0, 0xff, 0xff};
  memcpy(j->ready + j->ready_length, empty, sizeof(empty));
  j->ready_length += sizeof(empty);
  return true;
}

static int join_compress_piece(joiner *j, const uint8_t *data, size_t size, bool last) {
  const uvw_zlib_config *config = j->base.config;
  struct libdeflate_compressor *compressor = uvw__fast_compressor(config->level);
  if (compressor == NULL)
    return join_no_memory(j);
  size_t bound = libdeflate_deflate_compress_bound(compressor, size);
  size_t needed = HEADER_MOST + bound + JOINT_MOST + TRAILER_MOST;
  if (j->ready_size < needed) {
    uvw_buffer_put(j->ready, j->ready_size);
    j->ready_size = needed;
    j->ready = uvw_buffer_get(&j->ready_size);
    if (j->ready == NULL)
      return join_no_memory(j);
  }
  j->ready_length = j->ready_at = 0;
  if (!j->begun)
    join_put_header(j);
  j->begun = true;
  size_t at = j->ready_length;
  size_t length = libdeflate_deflate_compress(compressor, data, size, j->ready + at, bound);
  if (length == 0)
    return join_no_memory(j);
  j->ready_length += length;
  j->total += size;
  if (config->format == UVW_ZLIB_GZIP)
    j->checksum = libdeflate_crc32(j->checksum, data, size);
  else if (config->format == UVW_ZLIB_DEFLATE)
    j->checksum = libdeflate_adler32(j->checksum, data, size);
  j->finished = last;
  if (last)
    join_put_trailer(j);
  else if (!join_reopen(j, at, size))
    return join_no_memory(j);
  return UVW_ZLIB_FINE;
}

static int join_step(uvw__codec *codec, uvw__io *io, int flush) {
  joiner *j = (joiner *)codec;
  if (codec->ended)
    return UVW_ZLIB_FINE;
  if (!codec->pending && (io->in_left > 0 || flush == Z_FINISH)) {
    size_t share = uvw__fast_share(codec->config->level, io->in, io->in_left);
    bool last = flush == Z_FINISH && share == io->in_left;
    int trouble = join_compress_piece(j, io->in, share, last);
    if (trouble != UVW_ZLIB_FINE)
      return trouble;
    io->in += share;
    io->in_left -= share;
  }
  size_t n = j->ready_length - j->ready_at;
  if (n > io->out_left)
    n = io->out_left;
  if (n > 0)
    memcpy(io->out, j->ready + j->ready_at, n);
  io->out += n;
  io->out_left -= n;
  j->ready_at += n;
  codec->pending = j->ready_at < j->ready_length;
  codec->ended = j->finished && !codec->pending;
  return UVW_ZLIB_FINE;
}

static void join_close(uvw__codec *codec) {
  joiner *j = (joiner *)codec;
  uvw_buffer_put(j->ready, j->ready_size);
}

static size_t join_weight(const uvw_zlib_config *config) {
  (void)config;
  return (size_t)2 << 20;
}

const uvw__codec_ops uvw__join_ops = {
    .size = sizeof(joiner),
    .encodes = true,
    .finish = Z_FINISH,
    .open = join_open,
    .step = join_step,
    .reset = join_reset,
    .close = join_close,
    .weight = join_weight,
    .takes = uvw__fast_takes,
};
