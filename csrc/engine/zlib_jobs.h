/* zlib jobs as csrc/core and the engine's own files see them: one-shot
 * compression and decompression, and streams that keep their state between
 * jobs. (Not zlib.h, which is zlib's own.)
 *
 * A job borrows its input, its dictionary and its parameters from the
 * submitter until it has come back. Codec state is made on the worker when the
 * job first runs, so jobs that wait hold none. */
#ifndef UVW_ZLIB_JOBS_H
#define UVW_ZLIB_JOBS_H

#include "engine.h"

/* The formats: NAME, number (Node's) and codec, which is the row
 * uvw__CODEC_ops. The enum, the engine's table and what Python sees of them
 * come from here. */
#define UVW_ZLIB_FORMATS(X)                                                                        \
  X(DEFLATE, 1, deflate)                                                                           \
  X(INFLATE, 2, inflate)                                                                           \
  X(GZIP, 3, deflate)                                                                              \
  X(GUNZIP, 4, inflate)                                                                            \
  X(DEFLATE_RAW, 5, deflate)                                                                       \
  X(INFLATE_RAW, 6, inflate)                                                                       \
  X(UNZIP, 7, inflate)                                                                             \
  X(BROTLI_DECODE, 8, brotli_decode)                                                               \
  X(BROTLI_ENCODE, 9, brotli_encode)                                                               \
  X(ZSTD_COMPRESS, 10, zstd_encode)                                                                \
  X(ZSTD_DECOMPRESS, 11, zstd_decode)

enum uvw_zlib_format {
#define UVW_ZLIB_FORMAT(NAME, number, codec) UVW_ZLIB_##NAME = number,
  UVW_ZLIB_FORMATS(UVW_ZLIB_FORMAT)
#undef UVW_ZLIB_FORMAT
};

/* What a submitter has to know of a format. */
typedef struct {
  const char *library; /* whose options it has: "zlib", "brotli" or "zstd" */
  bool encodes;
  int flush;      /* the number of the operation that puts out all so far, */
  int finish;     /* of the one that ends the data, */
  int last_flush; /* and the greatest of any */
} uvw_zlib_facts;

uvw_zlib_facts uvw_zlib_facts_of(int format);

/* What went wrong, when job.error is UVW_EFAILED. */
#define UVW_ZLIB_TROUBLES(X)                                                                       \
  X(FINE, "nothing")                                                                               \
  X(CORRUPT, "the input is not what it should be")                                                 \
  X(TRUNCATED, "it ends too early")                                                                \
  X(TOO_LARGE, "the output would exceed its limit")                                                \
  X(NO_MEMORY, "there was none left")                                                              \
  X(MISUSED, "parameters that the codec refuses")

/* What a job on a stream does beside passing data on. */
#define UVW_ZLIB_ACTIONS(X)                                                                        \
  X(WRITE, "nothing else")                                                                         \
  X(PARAMS, "another level and strategy from here on")                                             \
  X(RESET, "as if new")

#define UVW_ZLIB_NAME(NAME, about) UVW_ZLIB_##NAME,
enum uvw_zlib_trouble { UVW_ZLIB_TROUBLES(UVW_ZLIB_NAME) };
enum uvw_zlib_action { UVW_ZLIB_ACTIONS(UVW_ZLIB_NAME) };
#undef UVW_ZLIB_NAME

/* The strings are static. */
typedef struct {
  int trouble;
  int number;       /* the codec's own, 0 if it has none */
  const char *code; /* its name, such as "Z_DATA_ERROR" */
  const char *message;
} uvw_zlib_failure;

typedef struct {
  int format;
  int level, window_bits, mem_level, strategy; /* of zlib */
  const void *dictionary;
  size_t dictionary_size;
  const uint32_t *params; /* brotli, zstd: pairs of key and value */
  size_t param_count;     /* of pairs */
  uint64_t total;         /* zstd: bytes that will come in all, or UINT64_MAX */
  bool whole;             /* all data is there, or comes in pieces of the codec's size */
} uvw_zlib_config;

/* A codec that lives longer than a job. It is counted, and has one job at a
 * time: uvw_zlib_new() fails with EBUSY for another. */
typedef struct uvw_zlib_stream uvw_zlib_stream;

uvw_zlib_stream *uvw_zlib_stream_new(const uvw_zlib_config *config); /* copies what it points to */
uvw_zlib_stream *uvw_zlib_stream_ref(uvw_zlib_stream *stream);
void uvw_zlib_stream_unref(uvw_zlib_stream *stream);

typedef struct {
  uvw_zlib_config config;  /* of a one-shot job; for PARAMS the level and the strategy */
  uvw_zlib_stream *stream; /* or NULL */
  int action;              /* with a stream */
  const void *data;
  size_t size;
  bool changeable; /* the data may change while the job runs */
  int flush;       /* the codec's own number for the operation at the end of the data */
  uint64_t limit;  /* of bytes put out; one more is an error */
  uint64_t enough; /* with a stream: stop when so much has been put out */
} uvw_zlib_args;

typedef struct uvw__codec uvw__codec;

typedef struct uvw_zlib {
  uvw_job job;
  uvw_zlib_config config;
  uvw_zlib_stream *stream;
  int action, flush;
  bool changeable, tried;
  const uint8_t *data;
  size_t size, offset; /* offset: so much of the data has been used */
  uint64_t limit, enough;
  uvw__codec *codec; /* the stream's or our own */
  size_t holding;    /* our share of what all unfinished jobs hold */
  uint8_t *buffer;
  size_t capacity, length;
  /* A large result: UVW_ASK_MEMORY for `length` bytes, to be given here. */
  uint8_t *target;
  size_t copied;
  bool ended; /* the compressed data has come to its end */
  uvw_zlib_failure failure;
} uvw_zlib;

uvw_zlib *uvw_zlib_new(const uvw_zlib_args *args, uvw_completions *completions,
                       void *token); /* or errno */
/* For small inputs, on the calling thread: true when the job has ended, and
 * need not be submitted. */
bool uvw_zlib_try_now(uvw_zlib *z);

/* From file to file. `total` is what has been put out. */
typedef struct uvw_zlib_file {
  uvw_job job;
  uvw_zlib_config config;
  char *path, *path2;
  struct uvw__replacement *replacement; /* of the target */
  int fd, fd2;
  bool at_end;       /* of the source */
  bool about_target; /* the error concerns path2 */
  uvw__codec *codec;
  size_t holding;
  uint8_t *in, *out;
  size_t in_size, filled, used, out_size;
  uint64_t limit, total;
  int flush; /* as that of uvw_zlib_args, at the end of the source */
  uvw_zlib_failure failure;
} uvw_zlib_file;

uvw_zlib_file *uvw_zlib_file_new(const uvw_zlib_config *config, const char *path, const char *path2,
                                 int flush, uint64_t limit, uvw_completions *completions);

uint32_t uvw_zlib_crc32(uint32_t value, const void *data, size_t size);

/* Inside the engine ------------------------------------------------------- */

typedef struct {
  const uint8_t *in;
  size_t in_left;
  uint8_t *out;
  size_t out_left;
} uvw__io;

/* All that the jobs know of a codec. A new one is such a row and its functions,
 * and its formats above. */
typedef struct uvw__codec_ops uvw__codec_ops;
struct uvw__codec_ops {
  size_t size; /* of the struct that begins with uvw__codec */
  /* As in uvw_zlib_facts; of a codec for whole data only the second and the fourth. */
  const char *library;
  bool encodes;
  int flush, finish, last_flush;
  /* The functions that return an int return a trouble. */
  int (*open)(uvw__codec *codec);
  /* Goes on as far as input and room allow. */
  int (*step)(uvw__codec *codec, uvw__io *io, int flush);
  int (*reset)(uvw__codec *codec);
  void (*close)(uvw__codec *codec);
  /* About how much memory it takes, for the limit on all of them. */
  size_t (*weight)(const uvw_zlib_config *config);
  /* What some have; NULL: not this one. */
  /* Level and strategy can be changed in the middle. */
  int (*params)(uvw__codec *codec, uvw__io *io, int level, int strategy);
  /* A guess at the size of the output, or 0. */
  size_t (*guess)(const uint8_t *data, size_t size);
  /* Does all of the job at once, without a codec, if it wants to. Of no more
   * output than `most`. */
  bool (*at_once)(uvw_zlib *z, uint64_t most);
  /* For config->whole this codec, if it takes the config, instead. */
  const uvw__codec_ops *for_whole;
  bool (*takes)(const uvw_zlib_config *config);
};

struct uvw__codec {
  const uvw__codec_ops *ops;
  const uvw_zlib_config *config; /* outlives the codec */
  uvw_job *job;                  /* which takes a step just now */
  bool ended;                    /* at the end of the compressed data */
  bool pending;                  /* it has more output than there was room for */
  size_t piece, room;            /* at most so much input and output in a step */
  uvw_zlib_failure failure;
};

extern const uvw__codec_ops uvw__join_ops, uvw__deflate_ops, uvw__inflate_ops;
extern const uvw__codec_ops uvw__brotli_encode_ops, uvw__brotli_decode_ops;
extern const uvw__codec_ops uvw__zstd_encode_ops, uvw__zstd_decode_ops;

/* zlib_codec.c */
const uvw__codec_ops *uvw__codec_ops_of(int format);
uvw__codec *uvw__codec_open(const uvw_zlib_config *config, uvw_zlib_failure *failure);
void uvw__codec_close(uvw__codec *codec);
int uvw__codec_fail(uvw__codec *codec, int trouble, int number, const char *code,
                    const char *message);
/* A guess at what the output will be. */
size_t uvw__codec_guess(const uvw__codec_ops *ops, const uint8_t *data, size_t size);

/* zlib_fast.c: whole pieces by libdeflate. False: not for it, or not to its
 * liking; then the codec says what is what. */
bool uvw__fast_takes(const uvw_zlib_config *config);
size_t uvw__fast_piece(int level);                                   /* the most in one call */
size_t uvw__fast_share(int level, const uint8_t *data, size_t size); /* how much of this */
struct libdeflate_compressor *uvw__fast_compressor(int level);       /* this thread's, or NULL */
bool uvw__fast_encode(uvw_zlib *z, uint64_t most);
bool uvw__fast_decode(uvw_zlib *z, uint64_t most);

/* zlib.c: between two pieces, UVW__GO_ON or how the step ends; what all
 * unfinished jobs hold. */
int uvw__zlib_interlude(uvw_job *job);
void uvw__zlib_hold(size_t size);
void uvw__zlib_release(size_t size);

#endif
