/* The face of the engine: everything Python may call through CFFI, declared
 * once. This file is the cdef, so it holds declarations and enums only: no
 * preprocessor lines, no shifts. engine.h includes it under a guard.
 *
 * Every function here may be called from any thread unless its comment says
 * otherwise; none of them calls Python. Errors are negative libuv codes. */

/* The pool. uvworks._core starts it, and with that fixes its size. */
int uvw_pool_started(void);
unsigned uvw_pool_size(void);
int uvw_pool_size_known(void);
unsigned uvw_pool_busy(void);

/* At exit: stops every job at its next chunk and refuses new ones; then waits
 * for the Python callables that run and for what is between two chunks, and
 * tells whether any is left. */
void uvw_pool_shutdown(void);
int uvw_pool_drain(unsigned milliseconds);

/* Lanes: named queues in front of the pool. limit 0 is the default limit,
 * max_queue -1 is no bound. A lane lives as long as the process. */
enum {
  UVW_LANE_IO,
  UVW_LANE_DNS,
  UVW_LANE_CPU,
  UVW_LANE_PYTHON,
  UVW_LANE_BUILTIN_COUNT,
  UVW_LANE_MAX = 64
};

int uvw_lane_open(const char *name, unsigned limit, int64_t max_queue);
int uvw_lane_find(const char *name);
unsigned uvw_lane_count(void);
const char *uvw_lane_name(unsigned lane);
int uvw_lane_set_limit(unsigned lane, unsigned limit);
/* The workers that the lane may hold in a pool of that size, be it running or
 * still to be started. */
unsigned uvw_lane_limit(unsigned lane, unsigned size);
int uvw_lane_set_max_queue(unsigned lane, int64_t max_queue);

/* A lane's figures as one flat array; times are in seconds. */
enum {
  UVW_STAT_MAX_QUEUE,
  UVW_STAT_WAITING,
  UVW_STAT_RUNNING,
  UVW_STAT_DONE,
  UVW_STAT_FAILED,
  UVW_STAT_CANCELLED,
  UVW_STAT_REJECTED,
  UVW_STAT_ORPHANED,
  UVW_STAT_WAIT_COUNT,
  UVW_STAT_WAIT_MIN,
  UVW_STAT_WAIT_MEAN,
  UVW_STAT_WAIT_P50,
  UVW_STAT_WAIT_P99,
  UVW_STAT_WAIT_MAX,
  UVW_STAT_RUN_COUNT,
  UVW_STAT_RUN_MIN,
  UVW_STAT_RUN_MEAN,
  UVW_STAT_RUN_P50,
  UVW_STAT_RUN_P99,
  UVW_STAT_RUN_MAX,
  UVW_STAT_COUNT
};

int uvw_lane_statistics(unsigned lane, double *out);

/* The bare libuv loop. All calls but uvw_loop_stop belong to the thread that
 * runs it. hook(data) is called between phases when completions wait, or
 * after a byte was written to the signal descriptor. */
typedef struct uvw_loop uvw_loop;
typedef struct uvw_completions uvw_completions;

int uvw_loop_new(uvw_loop **out, void (*hook)(void *), void *data);
uvw_completions *uvw_loop_completions(uvw_loop *loop);
int uvw_loop_signal_fd(uvw_loop *loop);
int uvw_loop_run(uvw_loop *loop, int mode);
void uvw_loop_stop(uvw_loop *loop);
void uvw_loop_pending(uvw_loop *loop, int pending);
uint64_t uvw_loop_now(uvw_loop *loop);
int uvw_loop_alive(uvw_loop *loop);
int uvw_loop_stale(uvw_loop *loop);
void uvw_loop_close(uvw_loop *loop);

const char *uv_version_string(void);
const char *uv_strerror(int err);
