/* Pumps: how waiting jobs get onto libuv's workers.
 *
 * A pump is one uv_queue_work item. It takes jobs off the lanes for a quantum
 * and then goes back to the tail of libuv's queue, so that other users of
 * libuv's pool in this process get their turn. Pumps belong to the carrier, a
 * hidden uv_loop_t that is touched only with the engine's mutex held; so any
 * thread may start one, and no loop of the user's is ever busy with ours.
 *
 * Few pumps are best for short jobs (every further one costs wake-ups), many
 * for long ones. So nobody starts a pump per job: uvw__serve() is asked
 * whenever a job could run, and starts one only if the pumps there are will
 * not come for it soon. That judgement rests on the mean run time of the
 * lanes, and can be wrong: then the watching pump, which sleeps while others
 * work, sees that no step has ended for a while and takes part itself. */
#include "internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define E uvw__engine

typedef struct pump {
  uv_work_t request;
  struct pump *next;
  bool watching;
} pump;

static _Thread_local uvw_job *current_job;
static _Thread_local uint64_t slice_end; /* of the running job's share of time */

uvw_job *uvw__current_job(void) { return current_job; }

/* In a child that a callable has forked: this thread is no worker there. */
void uvw__leave_job(void) {
  if (current_job != NULL)
    current_job->waits = UVW__WAITS_NOT;
  current_job = NULL;
}

int uvw_current_lane(void) { return current_job != NULL ? current_job->lane : -1; }

/* Only if others wait: a lone job need not go round by its lane. The next one
 * of that lane could have the place that this job gives up. */
bool uvw_should_yield(uvw_job *job) {
  if (uv_hrtime() < slice_end)
    return false;
  uvw__lock(&E.mutex);
  bool others = E.lanes[job->lane].head != NULL || uvw__any_ready();
  uv_mutex_unlock(&E.mutex);
  slice_end = uv_hrtime() + UVW__QUANTUM;
  return others;
}

static _Thread_local unsigned number; /* of the worker, from 1 */

unsigned uvw_worker_number(void) { return number; }

static void pump_name_thread(void) {
  static atomic_uint count;
  char name[16];
  if (number != 0)
    return;
  number = atomic_fetch_add(&count, 1) + 1;
  snprintf(name, sizeof(name), "uvworks-%u", number % 10000);
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#elif defined(__APPLE__)
  pthread_setname_np(name);
#endif
}

/* The carrier ------------------------------------------------------------- */

int uvw__carrier_start(void) {
  uv_loop_t *loop = malloc(sizeof(*loop));
  if (loop == NULL)
    return UV_ENOMEM;
  int error = uv_loop_init(loop);
  if (error != 0) {
    free(loop);
    return error;
  }
  E.carrier = loop;
  return 0;
}

/* In a forked child. uv_loop_close() would take the parent's descriptors out
 * of an epoll set that both share, so the child only closes its numbers. */
void uvw_abandon_loop(uv_loop_t *loop) {
  close(loop->backend_fd);
  close(loop->async_io_watcher.fd);
  if (loop->async_wfd >= 0 && loop->async_wfd != loop->async_io_watcher.fd)
    close(loop->async_wfd);
  close(loop->signal_pipefd[0]);
  close(loop->signal_pipefd[1]);
}

/* In a forked child, which has no workers; this thread is none, even if the
 * fork was made inside a job. */
void uvw__pumps_abandon(void) {
  current_job = NULL;
  if (E.carrier != NULL)
    uvw_abandon_loop(E.carrier);
  E.carrier = NULL;
  E.spare_pumps = NULL;
  E.pumps = E.starting = E.spinning = E.watching = E.in_long = 0;
  E.gate = false;
}

static void pump_done(uv_work_t *request, int status) {
  (void)status;
  pump *p = request->data;
  p->next = E.spare_pumps;
  E.spare_pumps = p;
}

static void pump_run(uv_work_t *request);

static bool pump_start(bool watching) {
  if (E.spare_pumps == NULL)
    uv_run(E.carrier, UV_RUN_NOWAIT); /* reaps finished ones by pump_done() */
  pump *p = E.spare_pumps;
  if (p != NULL)
    E.spare_pumps = p->next;
  else if ((p = malloc(sizeof(*p))) == NULL)
    return false; /* another pump will end, or the next submit will try again */
  p->request.data = p;
  p->watching = watching;
  uv_queue_work(E.carrier, &p->request, pump_run, pump_done); /* fails on a NULL callback only */
  E.pumps++;
  E.starting++;
  return true;
}

/* Who serves -------------------------------------------------------------- */

/* Called when a job could run: sees to it that somebody will run it soon. */
void uvw__serve(void) {
  if (E.starting > 0 || E.spinning > 0)
    return;
  if (E.pumps - E.watching > E.in_long) {
    /* A pump is in a short job and will be back. If it is not, the watch
     * notices. */
    if (E.watching == 0 && E.pumps < E.size)
      pump_start(true);
  } else if (E.watching > 0) {
    uv_cond_signal(&E.watch);
  } else if (E.pumps < E.size) {
    pump_start(false);
  }
}

/* How long it usually takes from running dry to the next submit tells whether
 * spinning for it is worth while. */
void uvw__note_submit(uint64_t now) {
  atomic_fetch_add_explicit(&E.submits, 1, memory_order_relaxed);
  if (E.idle_since == 0)
    return;
  int64_t gap = now > E.idle_since ? (int64_t)(now - E.idle_since) : 0;
  if (gap > (int64_t)UVW__MEAN_CEILING)
    gap = UVW__MEAN_CEILING;
  E.mean_gap = (uint64_t)((int64_t)E.mean_gap + (gap - (int64_t)E.mean_gap) / 4);
  E.idle_since = 0;
}

/* True if something was submitted meanwhile. */
static bool pump_spin(void) {
  if (E.idle_since == 0)
    E.idle_since = uv_hrtime();
  if (E.spinning > 0 || E.mean_gap > UVW__SPIN || E.pumps - E.watching > 1)
    return false;
  unsigned seen = atomic_load_explicit(&E.submits, memory_order_relaxed);
  bool found = false;
  E.spinning++;
  uv_mutex_unlock(&E.mutex);
  uint64_t until = uv_hrtime() + UVW__SPIN;
  do {
    for (int i = 0; i < 32 && !found; i++) {
      uvw__relax();
      found = atomic_load_explicit(&E.submits, memory_order_relaxed) != seen;
    }
  } while (!found && uv_hrtime() < until);
  uvw__lock(&E.mutex);
  E.spinning--;
  return found || uvw__any_ready();
}

/* Whoever submitted just now holds the callers' lock, and will for as long as
 * it submits more. Asking for the lock now would mean to sleep for it, and to
 * be woken when it is free; a few microseconds later it often is. */
static void pump_let_submitters_finish(void) {
  unsigned seen = atomic_load_explicit(&E.submits, memory_order_relaxed);
  uint64_t now = uv_hrtime(), end = now + UVW__SPIN, quiet = now + UVW__SETTLE;
  while (now < quiet && now < end) {
    for (int i = 0; i < 16; i++)
      uvw__relax();
    now = uv_hrtime();
    unsigned submits = atomic_load_explicit(&E.submits, memory_order_relaxed);
    if (submits != seen) {
      seen = submits;
      quiet = now + UVW__SETTLE;
    }
  }
}

/* Sleeps beside the working pumps. True: work waits and nobody ends anything,
 * so take part. */
static bool pump_watch(void) {
  unsigned idle = 0;
  uint64_t end = uv_hrtime() + 50 * UVW__QUANTUM;
  E.watching++;
  while (idle < UVW__WATCH_IDLE && uv_hrtime() < end) {
    uint64_t progress = E.progress;
    bool called = uv_cond_timedwait(&E.watch, &E.mutex, UVW__WATCH) == 0;
    if (!uvw__any_ready())
      idle++;
    else if (called || E.progress == progress) {
      E.watching--;
      return true;
    } else
      idle = 0;
  }
  E.watching--;
  return uvw__any_ready();
}

/* A pump's turn ----------------------------------------------------------- */

static void pump_deliver(uvw_job *job) {
  if (job != NULL && (job->completions == NULL || !uvw__completions_push(job->completions, job)))
    uvw__orphan(job);
}

static void pump_run(uv_work_t *request) {
  pump *self = request->data;
  const uvw_kind *held = NULL; /* the kind whose caller's lock we hold */
  uint64_t held_since = 0, now = uv_hrtime();
  uint64_t end = now + UVW__QUANTUM;
  bool spun = false;        /* the last job was found by spinning */
  uvw_job *finished = NULL; /* accounted for, not yet delivered */

  pump_name_thread();
  uvw__lock(&E.mutex);
  E.starting--;
  if (self->watching) {
    if (!pump_watch())
      goto out;
    now = uv_hrtime();
    end = now + UVW__QUANTUM;
  }
  while (now < end) {
    bool batch_over = held != NULL && now - held_since > UVW__BATCH;
    uvw_job *job = uvw__pick(held != NULL && !batch_over ? held->enter : NULL);
    bool changes = held != NULL && (batch_over || job == NULL || job->kind->enter != held->enter);
    if (job == NULL && held == NULL && finished == NULL) {
      if (!pump_spin())
        break;
      spun = true;
      now = uv_hrtime();
      continue;
    }
    bool is_long = false, enters = false;
    uvw__lane *lane = NULL;
    if (job != NULL) {
      lane = &E.lanes[job->lane];
      is_long = lane->mean_run > (job->kind->enter != NULL ? UVW__LONG_ENTERED : UVW__LONG);
      enters = job->kind->enter != NULL && (held == NULL || changes);
      uvw__begin(job, now);
      E.in_long += is_long;
      E.gate |= enters;
      if (uvw__any_ready())
        uvw__serve();
    }
    uv_mutex_unlock(&E.mutex);

    if (finished != NULL) {
      pump_deliver(finished);
      finished = NULL;
      now = uv_hrtime();
    }
    if (changes) {
      held->leave();
      held = NULL;
    }
    if (job == NULL) {
      uvw__lock(&E.mutex);
      continue;
    }
    if (enters) {
      held = job->kind;
      if (spun)
        pump_let_submitters_finish();
      held->enter();
      held_since = uv_hrtime();
      end += held_since - now; /* the wait for it is not our turn */
      uvw__lock(&E.mutex);
      E.gate = false;
      if (uvw__any_ready())
        uvw__serve();
      uv_mutex_unlock(&E.mutex);
    }

    spun = false;
    uint64_t begun = enters ? held_since : now;
    current_job = job;
    slice_end = begun + UVW__QUANTUM;
    int step = job->kind->run(job);
    current_job = NULL;
    now = uv_hrtime();

    uvw__lock(&E.mutex);
    E.in_long -= is_long;
    uvw__end(job, step, now - begun);
    if (step == UVW_AGAIN) {
      job->queued_at = now;
      uvw__enqueue(job);
    } else {
      finished = job;
    }
  }
  if (held != NULL || finished != NULL) {
    uv_mutex_unlock(&E.mutex);
    pump_deliver(finished);
    if (held != NULL)
      held->leave();
    uvw__lock(&E.mutex);
  }
out:
  E.pumps--;
  if (uvw__any_ready())
    uvw__serve();
  uv_mutex_unlock(&E.mutex);
}
