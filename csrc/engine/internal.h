/* What the engine's files share with each other and nobody else.
 * uvw__ marks a name that stays inside the engine.
 *
 * Lock order: the caller's own lock (the GIL), then uvw__engine.mutex, then
 * a completions' mutex or the buffers' mutex. Nobody takes the caller's lock while
 * holding one of ours. */
#ifndef UVW_INTERNAL_H
#define UVW_INTERNAL_H

#include "engine.h"

static inline void uvw__relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* For the mutexes that a loop's thread and the workers both take for every
 * job, and hold for tens of nanoseconds: going to sleep for one costs a
 * hundred times that. */
static inline void uvw__lock(uv_mutex_t *mutex) {
  for (int i = 0; i < 100; i++) {
    if (uv_mutex_trylock(mutex) == 0)
      return;
    for (int j = 0; j < 4; j++)
      uvw__relax();
  }
  uv_mutex_lock(mutex);
}

/* What a step says to itself, beside enum uvw_step. */
enum { UVW__GO_ON = -1 };

/* What a running job waits for: nothing, work in C on io from outside of it, other jobs. */
enum { UVW__WAITS_NOT, UVW__WAITS_FOR_IO, UVW__WAITS, UVW__WAITS_COUNT };

/* job->state: see the drawing in engine.h. */
enum { UVW__IDLE, UVW__WAITING, UVW__RUNNING, UVW__PASSED };

/* Time in nanoseconds. */
#define UVW__QUANTUM 1000000u      /* a pump's turn before it goes back to libuv */
#define UVW__BATCH 200000u         /* one hold of the caller's lock */
#define UVW__LONG 10000u           /* a lane whose mean is longer wants more pumps; */
#define UVW__LONG_ENTERED 30000u   /* this long under the callers' lock: there they take turns */
#define UVW__MEAN_CEILING 1000000u /* in a mean a run counts as this long at most */
#define UVW__SPIN 50000u           /* the longest wait for work without sleeping */
#define UVW__SETTLE 3000u          /* without a submit, before the callers' lock is taken */
#define UVW__WATCH 200000u         /* how soon an overrun is noticed */
#define UVW__WATCH_IDLE 10         /* watches with nothing to do before giving up */

enum { UVW__HIST_BUCKETS = 64 * 8 };

typedef struct {
  uint64_t count, sum, min, max;
  uint32_t buckets[UVW__HIST_BUCKETS];
} uvw__hist;

void uvw__hist_add(uvw__hist *hist, uint64_t ns);
void uvw__hist_read(const uvw__hist *hist, double *out);

typedef struct {
  char name[64];
  unsigned limit; /* 0: the default */
  int64_t max_queue;
  bool io;
  unsigned running;
  unsigned waits[UVW__WAITS_COUNT]; /* how many of those wait for other jobs, and how */
  size_t waiting;
  uvw_job *head, *tail;
  uint64_t mean_run;
  uint64_t done, failed, cancelled, rejected, orphaned;
  uvw__hist wait, run;
} uvw__lane;

typedef struct {
  uv_mutex_t mutex;
  uv_cond_t watch;     /* wakes the watching pump early */
  uv_cond_t drained;   /* no job runs any more that the exit waits for */
  unsigned generation; /* counts forks */
  bool started, size_known;
  atomic_bool shutdown;
  unsigned size, processors;

  uv_loop_t *carrier;
  void *spare_pumps;

  /* Pumps: queued or active; of those, not begun, spinning for work, watching
   * for an overrun, and inside a job that is expected to be long. */
  unsigned pumps, starting, spinning, watching, in_long;
  /* Running jobs: all, those outside of io, those that the exit waits for; and
   * how those outside of io wait for other jobs. */
  unsigned running, running_limited, running_awaited;
  unsigned waits_limited[UVW__WAITS_COUNT];
  bool gate; /* somebody waits for the caller's lock */
  atomic_uint submits;
  uint64_t progress; /* steps ended */
  uint64_t serial;   /* of the last step begun */
  uint64_t idle_since, mean_gap;

  unsigned lane_count, cursor;
  uvw__lane lanes[UVW_LANE_MAX];
} uvw__engine_state;

extern uvw__engine_state uvw__engine;

/* lanes.c; all with the mutex held */
void uvw__lane_init(uvw__lane *lane, const char *name, unsigned limit, int64_t max_queue);
unsigned uvw__lane_limit(const uvw__lane *lane, unsigned size); /* in a pool of that size */
unsigned uvw__lane_free(const uvw__lane *lane);
void uvw__set_waits(uvw_job *job, int waits);
bool uvw__lane_stuck(const uvw__lane *lane); /* all its places belong to jobs that wait */
bool uvw__lane_ready(const uvw__lane *lane);
bool uvw__any_ready(void);
uvw_job *uvw__pick(void (*entered)(void));
void uvw__enqueue(uvw_job *job);
void uvw__dequeue(uvw_job *job);
void uvw__begin(uvw_job *job, uint64_t now);
void uvw__end(uvw_job *job, int step, uint64_t ran);
void uvw__lanes_init(void);
void uvw__lanes_reset(void);
void uvw__drop_waiting(bool started_too);
bool uvw__any_waiting(void);

/* pump.c */
uvw_job *uvw__current_job(void);
void uvw__leave_job(void); /* which this thread runs, or NULL */
/* with the mutex held: */
void uvw__serve(void);
void uvw__note_submit(uint64_t now);
int uvw__carrier_start(void);
void uvw__pumps_abandon(void);

/* completions.c */
bool uvw__completions_push(uvw_completions *completions, uvw_job *job);

/* job.c */
void uvw__orphan(uvw_job *job);
void uvw__orphans_init(void);

/* buffers.c */
void uvw__buffers_init(void);
void uvw__buffers_lock(void);
void uvw__buffers_unlock(void);
/* The data, or if it may change while it is read, a copy of it in a buffer that
 * the caller puts back. NULL without memory (or data). */
const uint8_t *uvw__buffer_snapshot(const uint8_t *data, size_t size, bool changeable, void **copy,
                                    size_t *copy_size);

/* fs: each operation's function, which returns enum uvw_step, and clean-up */
#define UVW__FS_DECLARE(NAME, name, arguments, RESULT, cleanup) int uvw__fs_##name(uvw_fs *fs);
UVW_FS_OPERATIONS(UVW__FS_DECLARE)
#undef UVW__FS_DECLARE
void uvw__fs_write_cleanup(uvw_fs *fs);
void uvw__fs_copy_cleanup(uvw_fs *fs);
void uvw__fs_readdir_cleanup(uvw_fs *fs);
void uvw__fs_rm_cleanup(uvw_fs *fs);
int uvw__fs_fail(uvw_fs *fs, int error);
int uvw__fs_end(uvw_fs *fs, int result); /* of a system call: below 0 it failed, with errno */
int uvw__fs_pause(uvw_fs *fs);
int uvw__fs_give_string(uvw_fs *fs, const char *string, size_t length);

#endif
