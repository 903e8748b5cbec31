/* The pool as a whole: made at first use, its size, its end at exit, and what
 * is left of it after fork(). */
#include "internal.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define E uvw__engine

static void pool_before_fork(void) {
  uv_mutex_lock(&E.mutex);
  uvw__buffers_lock();
}

static void pool_after_fork_in_parent(void) {
  uvw__buffers_unlock();
  uv_mutex_unlock(&E.mutex);
}

/* The child has this thread alone: no pump, no worker, and nobody who would
 * finish the jobs. Jobs and completions of the parent are left as they are;
 * completions know by their generation that they are stale. The forking thread
 * took the mutexes, but a sanitizer and some systems hold that against the
 * child, so they are made anew. */
static void pool_after_fork_in_child(void) {
  uvw__buffers_init();
  uvw__orphans_init();
  if (uv_mutex_init(&E.mutex) != 0 || uv_cond_init(&E.watch) != 0 || uv_cond_init(&E.drained) != 0)
    abort();
  E.generation++;
  E.started = false;
  uvw__pumps_abandon();
  uvw__lanes_reset();
}

static int pool_init_error;

static void pool_init(void) {
  uvw__buffers_init();
  uvw__orphans_init();
  atomic_init(&E.shutdown, false);
  atomic_init(&E.submits, 0);
  E.mean_gap = UVW__MEAN_CEILING;
  if (uv_mutex_init(&E.mutex) != 0 || uv_cond_init(&E.watch) != 0 ||
      uv_cond_init(&E.drained) != 0 ||
      pthread_atfork(pool_before_fork, pool_after_fork_in_parent, pool_after_fork_in_child) != 0) {
    pool_init_error = UV_ENOMEM;
    return;
  }
  uvw__lanes_init();
}

/* Before anything else; as often as one likes. */
int uvw_engine_init(void) {
  static uv_once_t once = UV_ONCE_INIT;
  uv_once(&once, pool_init);
  return pool_init_error;
}

/* Start ------------------------------------------------------------------- */

static unsigned pool_thread_count(void) {
  unsigned count = 0;
  DIR *dir = opendir("/proc/self/task");
  if (dir == NULL)
    return 0;
  for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
    count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

static void pool_nothing(uv_work_t *request) { (void)request; }
static void pool_nothing_done(uv_work_t *request, int status) {
  (void)status;
  free(request);
}

/* libuv reads UV_THREADPOOL_SIZE once, when its pool is first used; so that
 * use is made here, with the variable set for as long as it takes. The first
 * user may have been another library that shares libuv with us: then no
 * thread is added, and the size is not ours to know. */
int uvw_pool_start(unsigned size) {
  int error = 0;
  if (size < 1 || size > 1024)
    return UV_EINVAL;
  uv_mutex_lock(&E.mutex);
  if (E.started)
    goto out;
  uv_work_t *request = malloc(sizeof(*request));
  if (request == NULL) {
    error = UV_ENOMEM;
    goto out;
  }
  error = uvw__carrier_start();
  if (error != 0) {
    free(request);
    goto out;
  }
  char number[16];
  snprintf(number, sizeof(number), "%u", size);
  const char *before = getenv("UV_THREADPOOL_SIZE");
  char *saved = before != NULL ? strdup(before) : NULL;
  unsigned threads = pool_thread_count();
  setenv("UV_THREADPOOL_SIZE", number, 1);
  uv_queue_work(E.carrier, request, pool_nothing, pool_nothing_done);
  if (saved != NULL)
    setenv("UV_THREADPOOL_SIZE", saved, 1);
  else
    unsetenv("UV_THREADPOOL_SIZE");
  free(saved);
  E.size = size;
  E.processors = uv_available_parallelism();
  E.size_known = threads == 0 || pool_thread_count() > threads;
  E.started = true;
out:
  uv_mutex_unlock(&E.mutex);
  return error;
}

int uvw_pool_started(void) {
  uv_mutex_lock(&E.mutex);
  int started = E.started;
  uv_mutex_unlock(&E.mutex);
  return started;
}

unsigned uvw_pool_size(void) {
  uv_mutex_lock(&E.mutex);
  unsigned size = E.size;
  uv_mutex_unlock(&E.mutex);
  return size;
}

int uvw_pool_size_known(void) {
  uv_mutex_lock(&E.mutex);
  int known = E.size_known;
  uv_mutex_unlock(&E.mutex);
  return known;
}

unsigned uvw_pool_busy(void) {
  uv_mutex_lock(&E.mutex);
  unsigned busy = E.running;
  uv_mutex_unlock(&E.mutex);
  return busy;
}

/* End --------------------------------------------------------------------- */

/* Jobs that have not begun are dropped, their memory with the process. Those
 * between two chunks run once more, to see the flag and leave nothing half
 * done. libuv's own destructor joins the workers; but callables must have left
 * before the caller's interpreter goes away. */
void uvw_pool_shutdown(void) {
  uv_mutex_lock(&E.mutex);
  atomic_store(&E.shutdown, true);
  uvw__drop_waiting(false);
  if (E.started && uvw__any_ready())
    uvw__serve();
  uv_mutex_unlock(&E.mutex);
}

int uvw_pool_drain(unsigned milliseconds) {
  uv_mutex_lock(&E.mutex);
  uint64_t end = uv_hrtime() + milliseconds * (uint64_t)1000000;
  for (uint64_t now; (E.running_awaited > 0 || uvw__any_waiting()) && (now = uv_hrtime()) < end;)
    uv_cond_timedwait(&E.drained, &E.mutex, end - now);
  int running = E.running_awaited > 0 || uvw__any_waiting();
  uv_mutex_unlock(&E.mutex);
  return running;
}
