/* Turns of the loop: poll, due timers, then the handles that are ready now. All
 * on the loop's thread; what it shares with other threads is in gil.c.
 *
 * The GIL. With work ready the poll does not block and the GIL is kept.
 * Otherwise it is always let go around the poll, and taken back by the first
 * libuv callback that needs it, once a turn, or after the poll. A loop that
 * never blocks offers it to other threads at its polls, as any Python function
 * does at its start: callbacks that are C alone would keep it for ever. Whether
 * the poll will block is decided by our queues alone: uv_backend_timeout() is 0
 * while a new descriptor waits to be armed, and uv_run() then blocks all the
 * same.
 *
 * The poll. A busy loop does not pay a system call each turn: it polls after
 * POLL_HANDLES callbacks or POLL_NS nanoseconds, whichever comes first, and at
 * least once in each run.
 *
 * Timers. libuv's alarm has steps of a millisecond and starts from the loop's
 * cached time; it only bounds the poll, rounded down, and the rest is waited
 * for by ppoll(). So a timer is never early, and late by microseconds. */
#define _GNU_SOURCE
#include "asyncio.h"

#include <math.h>
#include <poll.h>

enum { POLL_HANDLES = 64, SHORT_TURNS = 8 };
#define POLL_NS 50000u
#define SHORT_NS 2000u
#define GIL_OFFER_NS 1000000u

/* Waits for less than a millisecond; false: in vain. */
static bool poll_fraction(Loop *self, double seconds) {
  int fd = uv_backend_fd(&self->uv), ready;
  gil_release(self);
#ifdef __linux__
  struct pollfd p = {fd, POLLIN, 0};
  struct timespec t = {0, (long)(seconds * 1e9) + 1};
  ready = ppoll(&p, 1, &t, NULL);
#else
  fd_set set;
  FD_ZERO(&set);
  FD_SET(fd, &set);
  struct timeval t = {0, (int)(seconds * 1e6) + 1};
  ready = select(fd + 1, &set, NULL, NULL, &t);
#endif
  gil_take(self);
  return ready != 0;
}

static int poll_prepare(Loop *self) {
  self->error = false; /* somebody has caught it */
  if (loop_stale(self))
    return loop_check_open(self); /* the child would take the parent's events */
  if (self->deferred != NULL)
    watches_settle(self);
  if (self->idle_count > 0)
    descriptors_settle(self);
  return self->unchecked_count > 0 ? watches_check(self) : 0;
}

/* -1: an exception ends the run. */
static int poll_outcome(Loop *self) {
  self->error = self->error && PyErr_Occurred() != NULL;
  return self->error ? -1 : 0;
}

static int poll_now(Loop *self) {
  if (poll_prepare(self) < 0)
    return -1;
  self->watches_changed = false;
  uv_run(&self->uv, UV_RUN_NOWAIT);
  return poll_outcome(self);
}

/* Before 1.45 uv_run() serves timers ahead of the poll. An alarm that is over by
 * then, because the GIL was slow to be let go, no longer bounds the poll: a stop
 * keeps it from blocking, and is forgotten when uv_run() returns. */
static void poll_alarm_over(uv_timer_t *timer) { uv_stop(timer->loop); }

static int poll_blocking(Loop *self, double until) {
  if (poll_prepare(self) < 0)
    return -1;
  bool alarm = false;
  if (!isinf(until)) {
    double left = until - loop_now();
    if (left < 1e-3) {
      /* What is new must be armed before the descriptor tells anything. */
      if (self->watches_changed) {
        if (poll_now(self) < 0)
          return -1;
        left = until - loop_now();
      }
      if (self->ready.count > 0 || self->stopping || left <= 0)
        return 0;
      return poll_fraction(self, left) ? poll_now(self) : 0;
    }
    alarm = true;
    uv_update_time(&self->uv);
    uv_timer_start(&self->alarm, poll_alarm_over, left < 86400 ? (uint64_t)(left * 1e3) : 86400000,
                   0);
  }
  self->watches_changed = false;
  gil_release(self);
  uv_run(&self->uv, UV_RUN_ONCE);
  gil_take(self);
  if (alarm)
    uv_timer_stop(&self->alarm);
  return poll_outcome(self);
}

/* What is due goes behind what is ready. */
static int take_due_timers(Loop *self, double now) {
  Handle *handle;
  while ((handle = timers_pop_due(&self->timers, now)) != NULL) {
    int outcome = ready_push(&self->ready, handle);
    Py_DECREF(handle);
    if (outcome < 0)
      return -1;
  }
  return 0;
}

static int run_and_note_time(Loop *self, Handle *handle) {
  uint64_t start = uv_hrtime();
  if (handle_run(handle) < 0)
    return -1;
  return loop_note_time(self, (PyObject *)handle, start);
}

static int run_ready(Loop *self) {
  size_t count = self->ready.count;
  self->ran += count < POLL_HANDLES ? (unsigned)count : POLL_HANDLES;
  for (; count > 0 && self->ready.count > 0; count--) {
    Handle *handle = ready_pop(&self->ready);
    int outcome = self->debug ? run_and_note_time(self, handle) : handle_run(handle);
    /* The garbage collector does not see it, so whoever else holds it shall not
     * make a cycle through what it referred to. */
    if (Py_REFCNT(handle) > 1 && !handle->persistent)
      handle_forget(handle);
    Py_DECREF(handle);
    if (outcome < 0)
      return -1;
  }
  return 0;
}

/* Reading the clock costs, too: when turns have been short it is read only
 * every SHORT_TURNS of them, unless there are timers. */
static bool poll_due(Loop *self, uint64_t *now) {
  if (self->ran >= POLL_HANDLES)
    return true;
  if (++self->unclocked < self->unclocked_max && self->timers.count == 0)
    return false;
  *now = uv_hrtime();
  bool shorts = *now - self->clock_read < SHORT_TURNS * (uint64_t)SHORT_NS;
  self->unclocked_max = shorts ? SHORT_TURNS : 0;
  self->unclocked = 0;
  self->clock_read = *now;
  return *now - self->polled > POLL_NS;
}

static int take_timers(Loop *self, uint64_t now) {
  if (self->timers.count == 0)
    return 0;
  return take_due_timers(self, (double)(now ? now : uv_hrtime()) * 1e-9);
}

/* What is ready or due goes before what a poll finds, as in asyncio, where the
 * poll's callbacks go behind it: transports call their protocols at once. */
static int run_turn(Loop *self, bool must_poll) {
  uint64_t now = 0;
  bool ended = false;
  /* Without waiting for the poll to say it. */
  if (self->queue != NULL && !self->queue->closed &&
      uvw_completions_filled(self->queue->completions) && queue_dispatch(self->queue) < 0)
    return -1;
  if (self->ready.count == 0 && !self->stopping) {
    if (poll_blocking(self, timers_next(&self->timers)) < 0)
      return -1;
    must_poll = true;
  } else if (must_poll || poll_due(self, &now)) {
    must_poll = true;
    if (!self->stopping) {
      if (take_timers(self, now) < 0 || run_ready(self) < 0)
        return -1;
      ended = self->stopping;
    }
    if (poll_now(self) < 0)
      return -1;
  }
  if (must_poll) {
    if (PyErr_CheckSignals() < 0)
      return -1;
    self->ran = 0;
    self->polled = self->clock_read = now = uv_hrtime();
    if (now - self->gil_offered > GIL_OFFER_NS && gil_offer(self) < 0)
      return -1;
  }
  if (take_timers(self, now) < 0)
    return -1;
  return ended ? 0 : run_ready(self);
}

int loop_run(Loop *self) {
  self->thread = PyThread_get_thread_ident();
  self->error = false;
  int outcome;
  bool first = true;
  do {
    outcome = run_turn(self, first);
    first = false;
  } while (outcome == 0 && !self->stopping);
  self->stopping = self->error = false;
  self->thread = 0;
  return outcome;
}
