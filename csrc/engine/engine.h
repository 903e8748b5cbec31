/* The engine as its C callers (csrc/core, tests/c) see it: jobs, completions
 * and result buffers, on top of what engine_api.h declares.
 *
 * The life of a job:
 *
 *     IDLE      made by uvw_job_init(), its submitter's to free
 *      |  ^
 *      |  |     uvw_submit() refused it, or uvw_cancel() took it back
 *      v  |
 *     WAITING   in its lane <-------------------------------+
 *      |  ^                                                 |
 *      |  |     UVW_AGAIN                                   |
 *      v  |                                                 |
 *     RUNNING   on a worker                                 |
 *      |                                                    |
 *      |        UVW_DONE, UVW_ASK                           |
 *      v                                                    |
 *     PASSED    to its completions                          |
 *      |  |                                                 |
 *      |  +---> uvw_completions_take(): its submitter's ----+
 *      |        again, to free, or if it asked for something
 *      |        to be given that and submitted again
 *      |
 *      +------> an orphan, if they have closed or it has none: the worker
 *               frees it, or if it has a token, who takes the orphans
 *
 * A job that runs is not taken back. uvw_cancel() sets its stop flag; its next
 * step sees that, ends with ECANCELED, and the job goes the usual way.
 *
 * The engine never includes Python.h and never calls Python; a job's token is
 * a pointer it only carries. */
#ifndef UVW_ENGINE_H
#define UVW_ENGINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np, copy_file_range */
#endif

#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <uv.h>

#include "engine_api.h"

typedef struct uvw_job uvw_job;

/* What a step of a job came to. */
enum uvw_step {
  UVW_DONE,  /* the job has ended, job->error tells how */
  UVW_AGAIN, /* back to the tail of its lane, so that others get their turn */
  UVW_ASK    /* to its completions; its submitter gives what job->ask names */
};

/* What a job may ask of its loop between two steps. */
enum uvw_ask {
  UVW_ASK_NOTHING,
  UVW_ASK_MEMORY,   /* fs read: a buffer of at least `want` bytes */
  UVW_ASK_TAKE,     /* fs readdir: take this page of entries */
  UVW_ASK_READABLE, /* wait until the descriptor is readable */
  UVW_ASK_WRITABLE, /* ... is writable */
  UVW_ASK_LATER     /* try again in a moment */
};

/* job->error beside plain errno values. */
enum { UVW_EFAILED = -1, UVW_ESAMEFILE = -2, UVW_ESPECIAL = -3, UVW_EGAI = -4, UVW_EOPENSSL = -5 };

typedef struct {
  const char *name;
  int (*run)(uvw_job *job);      /* on a worker; returns enum uvw_step */
  void (*destroy)(uvw_job *job); /* any thread; frees the job and all it has */
  /* Set for jobs that need a lock of their caller's (the GIL): taken once for
   * a batch of jobs and given back after it. */
  void (*enter)(void);
  void (*leave)(void);
} uvw_kind;

struct uvw_job {
  uvw_job *next, *prev;
  const uvw_kind *kind;
  uvw_completions *completions; /* a counted reference, or NULL for a detached job */
  void *token;                  /* the submitter's; the engine only carries it */
  uint64_t queued_at, waited, ran;
  int error; /* 0, an errno, or one of the codes above */
  uint16_t lane;
  uint8_t state;
  uint8_t ask;
  bool resumed;     /* has run a step already: bounds do not apply again */
  bool first;       /* goes before those that wait in its lane */
  bool awaited;     /* the exit waits for it, as it uses a library that is taken down */
  uint8_t waits;    /* while it runs: for what, see lanes.c; */
  unsigned waiting; /* and how many of its waits have not ended */
  uint64_t serial;  /* which run it is, from 1 */
  atomic_bool stop;
};

int uvw_engine_init(void);
int uvw_pool_start(unsigned size); /* not while this process may fork */
/* In a forked child: closes the descriptors of an inherited loop, nothing more. */
void uvw_abandon_loop(uv_loop_t *loop);
unsigned uvw_generation(void);

void uvw_job_init(uvw_job *job, const uvw_kind *kind, unsigned lane, uvw_completions *completions,
                  void *token);
void uvw_job_free(uvw_job *job);
int uvw_submit(uvw_job *job);
/* For jobs that were submitted and not yet taken. True when the job was still
 * waiting: it is the caller's again. False: it will come through its completions,
 * after uvw_cancel() with its stop flag set, after uvw_withdraw() untouched. */
bool uvw_cancel(uvw_job *job);
bool uvw_withdraw(uvw_job *job);
bool uvw_job_waiting(uvw_job *job);
/* Counts a job that asked and will not be submitted again. */
void uvw_count_end(uvw_job *job, bool cancelled);
/* Asked by a step between chunks. */
bool uvw_stopping(uvw_job *job);
bool uvw_should_yield(uvw_job *job);
/* The lane whose job this thread runs, or -1; the number of this worker, from 1. */
int uvw_current_lane(void);
unsigned uvw_worker_number(void);
/* Called by a running job's thread around a wait for a job of the lane, which is
 * a callable or ends by itself. Begin answers what end takes, or UVW_REFUSED: the
 * wait could never end. From a thread that runs no job it answers 0; end does
 * nothing for that, or elsewhere than in the same job. */
#define UVW_REFUSED UINT64_MAX
uint64_t uvw_begin_wait(unsigned lane, bool callable);
void uvw_end_wait(uint64_t wait);

uvw_completions *uvw_completions_new(void);
uvw_completions *uvw_completions_ref(uvw_completions *completions);
void uvw_completions_unref(uvw_completions *completions);
int uvw_completions_fd(const uvw_completions *completions);
bool uvw_completions_filled(const uvw_completions *completions);
bool uvw_completions_stale(const uvw_completions *completions);
uvw_job *uvw_completions_take(uvw_completions *completions, uint64_t spin);
uint64_t uvw_completions_lag(uvw_completions *completions);
void uvw_completions_untake(uvw_completions *completions, uvw_job *list);
uvw_job *uvw_completions_close(uvw_completions *completions);
uvw_job *uvw_orphans_take(void);

/* Result buffers: a bounded freelist of size classes. *size is what the
 * caller needs and becomes what it got. */
void *uvw_buffer_get(size_t *size);
/* A larger one with what is used of this one, or NULL, and this one is as before. */
void *uvw_buffer_grow(void *buffer, size_t had, size_t used, size_t *size);
void uvw_buffer_put(void *buffer, size_t size);

/* fs ---------------------------------------------------------------------- */

/* The operations, a row each:
 *   NAME, name
 *   arguments  a letter each, as csrc/core passes them on: p path, q path2,
 *              m mode, l length, s max_size, t a part of times, x flags,
 *              d data; o is for who shapes the result, not for the engine
 *   RESULT     of enum uvw_fs_result
 *   cleanup    ends what is half done, or NULL
 * Its function is uvw__fs_NAME(). */
#define UVW_FS_OPERATIONS(X)                                                                       \
  X(ACCESS, access, "pm", NOTHING, NULL)                                                           \
  X(APPEND, append, "pdmx", NOTHING, uvw__fs_write_cleanup)                                        \
  X(CHMOD, chmod, "pm", NOTHING, NULL)                                                             \
  X(COPY, copy, "pqx", NOTHING, uvw__fs_copy_cleanup)                                              \
  X(LINK, link, "pq", NOTHING, NULL)                                                               \
  X(LSTAT, lstat, "p", STAT_RESULT, NULL)                                                          \
  X(MKDIR, mkdir, "pmx", NAME, NULL)                                                               \
  X(MKDTEMP, mkdtemp, "p", NAME, NULL)                                                             \
  X(READ, read, "pso", CONTENT, NULL)                                                              \
  X(READDIR, readdir, "pxo", ENTRIES, uvw__fs_readdir_cleanup)                                     \
  X(READLINK, readlink, "p", NAME, NULL)                                                           \
  X(REALPATH, realpath, "p", NAME, NULL)                                                           \
  X(RENAME, rename, "pq", NOTHING, NULL)                                                           \
  X(RM, rm, "px", NOTHING, uvw__fs_rm_cleanup)                                                     \
  X(RMDIR, rmdir, "p", NOTHING, NULL)                                                              \
  X(STAT, stat, "p", STAT_RESULT, NULL)                                                            \
  X(SYMLINK, symlink, "pq", NOTHING, NULL)                                                         \
  X(TRUNCATE, truncate, "pl", NOTHING, NULL)                                                       \
  X(UNLINK, unlink, "p", NOTHING, NULL)                                                            \
  X(UTIMES, utimes, "ptttt", NOTHING, NULL)                                                        \
  X(WRITE, write, "pdmx", NOTHING, uvw__fs_write_cleanup)

#define UVW_FS_FLAGS(X)                                                                            \
  X(EXCLUSIVE, 1, "copy: the target must not exist")                                               \
  X(PARENTS, 2, "mkdir: make missing parents, accept an existing one")                             \
  X(RECURSIVE, 4, "rm: descend into directories")                                                  \
  X(FORCE, 8, "rm: a missing path is no error")                                                    \
  X(TYPES, 16, "readdir: the type of each entry")                                                  \
  X(ATOMIC, 32, "write: through a temporary file and rename")                                      \
  X(SYNC, 64, "write, append: fsync before close")

enum uvw_fs_op {
#define UVW_FS_OP(NAME, name, arguments, RESULT, cleanup) UVW_FS_##NAME,
  UVW_FS_OPERATIONS(UVW_FS_OP)
#undef UVW_FS_OP
      UVW_FS_OP_COUNT
};

enum {
#define UVW_FS_FLAG(NAME, value, about) UVW_FS_##NAME = value,
  UVW_FS_FLAGS(UVW_FS_FLAG)
#undef UVW_FS_FLAG
};

/* What an operation produces. */
enum uvw_fs_result {
  UVW_FS_NOTHING,
  UVW_FS_STAT_RESULT, /* st */
  UVW_FS_CONTENT,     /* the bytes of a file */
  UVW_FS_NAME,        /* a string, or none */
  UVW_FS_ENTRIES      /* the last page of a directory */
};

typedef struct {
  const char *name, *arguments;
  int result;
} uvw_fs_operation;

extern const uvw_fs_operation uvw_fs_operations[UVW_FS_OP_COUNT];

typedef struct {
  int op;
  int flags;
  const char *path, *path2; /* copied */
  const void *data;         /* write, append: borrowed until the job ends */
  size_t size;
  int mode;          /* permission bits; access: what is asked for */
  int64_t length;    /* truncate: the file's new one */
  uint64_t max_size; /* read: one byte more is an error; UINT64_MAX is no limit */
  int64_t times[4];  /* utimes: seconds and nanoseconds of access, and of change */
} uvw_fs_args;

typedef struct uvw_fs {
  uvw_job job;
  int op, flags;
  char *path, *path2;
  const char *data;
  size_t size, offset; /* of the data; how far a job in chunks has come */
  mode_t mode;
  int64_t new_length;
  uint64_t max_size;
  struct timespec times[2];
  int fd, fd2;
  size_t want; /* UVW_ASK_MEMORY */
  /* What the job produces: `length` bytes in `buffer`, which is of our
   * freelist unless `borrowed`; strings are NUL-terminated in it too. */
  char *buffer;
  size_t capacity, length;
  bool borrowed;
  bool both_paths;  /* the error concerns path and path2 */
  bool second_path; /* the error concerns path2 */
  char *error_path; /* ... or this path below the one given; malloc'ed */
  struct stat st;
  void *walk; /* state of a job that walks or copies; the op's own */
} uvw_fs;

uvw_fs *uvw_fs_new(const uvw_fs_args *args, uvw_completions *completions, void *token);

/* dns --------------------------------------------------------------------- */

typedef struct uvw_dns {
  uvw_job job;
  int code; /* with job.error UVW_EGAI: EAI_*; EAI_SYSTEM became an errno */
  /* getaddrinfo: */
  const char *host, *service;
  struct addrinfo hints, *found;
  /* getnameinfo: */
  struct sockaddr_storage address;
  socklen_t length;
  int flags;
  char *name, *port;
} uvw_dns;

/* Strings are copied; both may be NULL, as for getaddrinfo(3). */
uvw_dns *uvw_dns_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                             uvw_completions *completions, void *token);
uvw_dns *uvw_dns_getnameinfo(const struct sockaddr *address, socklen_t length, int flags,
                             uvw_completions *completions, void *token);

#endif
