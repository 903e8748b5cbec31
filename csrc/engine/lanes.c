/* Lanes: the queues in front of libuv's pool, one for each kind of work, so
 * that no kind can take all workers from the others.
 *
 * All of it is process-wide and under uvw__engine.mutex, which is held for
 * some tens of nanoseconds at a time; the lock order stands in internal.h.
 * A job is in exactly one place: with its submitter, in a lane (WAITING), on
 * a worker (RUNNING), or passed to its completions (PASSED). */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uvw__engine_state uvw__engine;
#define E uvw__engine

static void lane_reset(uvw__lane *lane, const char *name, unsigned limit, int64_t max_queue) {
  memset(lane, 0, sizeof(*lane));
  memcpy(lane->name, name, strlen(name));
  lane->limit = limit;
  lane->max_queue = max_queue;
  /* Until measured, anything but file work is taken for long: two hashes
   * submitted together must start together. */
  lane->mean_run = UVW__MEAN_CEILING;
}

void uvw__lanes_init(void) {
  static const char *const names[] = {"io", "dns", "cpu", "python"};
  for (unsigned i = 0; i < UVW_LANE_BUILTIN_COUNT; i++)
    lane_reset(&E.lanes[i], names[i], 0, -1);
  E.lanes[UVW_LANE_IO].io = true;
  E.lanes[UVW_LANE_IO].mean_run = 0;
  E.lane_count = UVW_LANE_BUILTIN_COUNT;
}

/* Limits ------------------------------------------------------------------ */

/* Unless told otherwise: half of the workers for dns, as libuv does with slow
 * work, and for cpu one more than there are processors: the system likes to put
 * two workers on one of them while the other waits for the loop's thread, which
 * sleeps too shortly for anybody to be moved there. More would only take turns. */
static unsigned default_limit(const uvw__lane *lane) {
  if (lane == &E.lanes[UVW_LANE_DNS])
    return (E.size + 1) / 2;
  return lane == &E.lanes[UVW_LANE_CPU] ? E.processors + 1 : E.size;
}

/* Workers that the lane may hold; one is always left to io by the others. */
unsigned uvw__lane_limit(const uvw__lane *lane) {
  unsigned most = lane->io || E.size == 1 ? E.size : E.size - 1;
  unsigned limit = lane->limit != 0 ? lane->limit : default_limit(lane);
  return limit < most ? limit : most;
}

/* The sum of all that is not io leaves io a worker, too. A pool of one cannot
 * do that: there every kind has its turn on the one worker. */
static unsigned limited_cap(void) { return E.size > 1 ? E.size - 1 : 1; }

/* Jobs of the lane that could start now. Limits may have been lowered. */
static unsigned free_places(const uvw__lane *lane) {
  unsigned limit = uvw__lane_limit(lane), cap = limited_cap();
  unsigned own = limit > lane->running ? limit - lane->running : 0;
  unsigned all = cap > E.running_limited ? cap - E.running_limited : 0;
  return lane->io || own < all ? own : all;
}

static bool lane_open(const uvw__lane *lane) { return free_places(lane) > 0; }

static bool lane_ready(const uvw__lane *lane) {
  return lane->head != NULL && lane_open(lane) && !(E.gate && lane->head->kind->enter != NULL);
}

bool uvw__any_ready(void) {
  for (unsigned i = 0; i < E.lane_count; i++)
    if (lane_ready(&E.lanes[i]))
      return true;
  return false;
}

/* Queueing ---------------------------------------------------------------- */

void uvw__enqueue(uvw_job *job) {
  uvw__lane *lane = &E.lanes[job->lane];
  job->state = UVW__WAITING;
  job->prev = job->first ? NULL : lane->tail;
  job->next = job->first ? lane->head : NULL;
  *(job->prev != NULL ? &job->prev->next : &lane->head) = job;
  *(job->next != NULL ? &job->next->prev : &lane->tail) = job;
  lane->waiting++;
}

static void dequeue(uvw_job *job) {
  uvw__lane *lane = &E.lanes[job->lane];
  if (job->prev != NULL)
    job->prev->next = job->next;
  else
    lane->head = job->next;
  if (job->next != NULL)
    job->next->prev = job->prev;
  else
    lane->tail = job->prev;
  job->next = job->prev = NULL;
  lane->waiting--;
}

bool uvw__any_waiting(void) {
  for (unsigned i = 0; i < E.lane_count; i++)
    if (E.lanes[i].head != NULL)
      return true;
  return false;
}

/* What waits will never run, or only what has run some steps already. Its
 * submitters may still cancel it, so it must not look as if in a lane. */
void uvw__drop_waiting(bool started_too) {
  for (unsigned i = 0; i < E.lane_count; i++) {
    uvw__lane *lane = &E.lanes[i];
    for (uvw_job *job = lane->head, *next; job != NULL; job = next) {
      next = job->next;
      if (job->resumed && !started_too)
        continue;
      dequeue(job);
      job->state = UVW__PASSED;
      lane->cancelled++;
    }
  }
}

/* In a forked child: the lanes and their settings stay, the work is gone. */
void uvw__lanes_reset(void) {
  uvw__drop_waiting(true);
  for (unsigned i = 0; i < E.lane_count; i++)
    E.lanes[i].running = 0;
}

/* The next job by turns of the lanes. Whoever holds the callers' lock goes on
 * with jobs that need it, as long as there are any. */
uvw_job *uvw__pick(void (*entered)(void)) {
  if (entered != NULL) {
    for (unsigned i = 0; i < E.lane_count; i++) {
      uvw__lane *lane = &E.lanes[(E.cursor + i) % E.lane_count];
      if (lane->head != NULL && lane->head->kind->enter == entered && lane_open(lane)) {
        uvw_job *job = lane->head;
        E.cursor = (E.cursor + i + 1) % E.lane_count;
        dequeue(job);
        return job;
      }
    }
  }
  for (unsigned i = 0; i < E.lane_count; i++) {
    uvw__lane *lane = &E.lanes[(E.cursor + i) % E.lane_count];
    if (lane_ready(lane)) {
      uvw_job *job = lane->head;
      E.cursor = (E.cursor + i + 1) % E.lane_count;
      dequeue(job);
      return job;
    }
  }
  return NULL;
}

/* Accounts ---------------------------------------------------------------- */

static bool awaited(const uvw_job *job) { return job->kind->enter != NULL || job->awaited; }

void uvw__begin(uvw_job *job, uint64_t now) {
  uvw__lane *lane = &E.lanes[job->lane];
  job->state = UVW__RUNNING;
  job->waited += now > job->queued_at ? now - job->queued_at : 0;
  lane->running++;
  E.running++;
  E.running_limited += !lane->io;
  E.running_awaited += awaited(job);
}

void uvw__end(uvw_job *job, int step, uint64_t ran) {
  uvw__lane *lane = &E.lanes[job->lane];
  lane->running--;
  E.running--;
  E.running_limited -= !lane->io;
  E.running_awaited -= awaited(job);
  if (atomic_load_explicit(&E.shutdown, memory_order_relaxed))
    uv_cond_broadcast(&E.drained);
  E.progress++;
  int64_t sample = (int64_t)(ran < UVW__MEAN_CEILING ? ran : UVW__MEAN_CEILING);
  int64_t mean = (int64_t)lane->mean_run;
  lane->mean_run = (uint64_t)(mean + (sample - mean) / 8);
  job->ran += ran;
  job->resumed = true;
  job->state = UVW__PASSED;
  if (step != UVW_DONE)
    return;
  uvw__hist_add(&lane->wait, job->waited);
  uvw__hist_add(&lane->run, job->ran);
  if (job->error == 0)
    lane->done++;
  else if (job->error == ECANCELED)
    lane->cancelled++;
  else
    lane->failed++;
}

/* Submitting and cancelling ----------------------------------------------- */

void uvw_job_init(uvw_job *job, const uvw_kind *kind, unsigned lane, uvw_completions *completions,
                  void *token) {
  memset(job, 0, sizeof(*job));
  job->kind = kind;
  job->lane = (uint16_t)lane;
  job->completions = uvw_completions_ref(completions);
  job->token = token;
  atomic_init(&job->stop, false);
}

void uvw_job_free(uvw_job *job) {
  uvw_completions *completions = job->completions;
  job->kind->destroy(job);
  uvw_completions_unref(completions);
}

int uvw_submit(uvw_job *job) {
  uint64_t now = uv_hrtime();
  int error = 0;
  uvw__lock(&E.mutex);
  uvw__lane *lane = &E.lanes[job->lane];
  if (atomic_load_explicit(&E.shutdown, memory_order_relaxed)) {
    error = UV_ESHUTDOWN;
  } else if (!E.started) {
    error = UV_EINVAL;
  } else if (!job->resumed && lane->max_queue >= 0 &&
             lane->waiting >= (uint64_t)lane->max_queue + free_places(lane)) {
    lane->rejected++;
    error = UV_EAGAIN;
  } else {
    job->queued_at = now;
    uvw__enqueue(job);
    uvw__note_submit(now);
    if (lane_ready(lane))
      uvw__serve();
  }
  uv_mutex_unlock(&E.mutex);
  return error;
}

static bool withdraw(uvw_job *job) {
  if (job->state != UVW__WAITING)
    return false;
  dequeue(job);
  job->state = UVW__IDLE;
  E.lanes[job->lane].cancelled++;
  return true;
}

bool uvw_withdraw(uvw_job *job) {
  uvw__lock(&E.mutex);
  bool withdrawn = withdraw(job);
  uv_mutex_unlock(&E.mutex);
  return withdrawn;
}

bool uvw_cancel(uvw_job *job) {
  uvw__lock(&E.mutex);
  bool withdrawn = withdraw(job);
  if (!withdrawn && !atomic_exchange_explicit(&job->stop, true, memory_order_relaxed) &&
      job->state == UVW__RUNNING)
    E.lanes[job->lane].orphaned++;
  uv_mutex_unlock(&E.mutex);
  return withdrawn;
}

void uvw_count_end(uvw_job *job, bool cancelled) {
  uvw__lock(&E.mutex);
  uvw__lane *lane = &E.lanes[job->lane];
  *(cancelled ? &lane->cancelled : &lane->failed) += 1;
  uv_mutex_unlock(&E.mutex);
}

bool uvw_job_waiting(uvw_job *job) {
  uvw__lock(&E.mutex);
  bool waiting = job->state == UVW__WAITING;
  uv_mutex_unlock(&E.mutex);
  return waiting;
}

bool uvw_stopping(uvw_job *job) {
  return atomic_load_explicit(&job->stop, memory_order_relaxed) ||
         atomic_load_explicit(&E.shutdown, memory_order_relaxed);
}

bool uvw_lane_full(unsigned index) {
  uvw__lock(&E.mutex);
  bool full = E.size == 1 || !lane_open(&E.lanes[index]);
  uv_mutex_unlock(&E.mutex);
  return full;
}

/* Settings and figures ---------------------------------------------------- */

static int find(const char *name) {
  for (unsigned i = 0; i < E.lane_count; i++)
    if (strcmp(E.lanes[i].name, name) == 0)
      return (int)i;
  return UV_ENOENT;
}

int uvw_lane_find(const char *name) {
  uvw__lock(&E.mutex);
  int index = find(name);
  uv_mutex_unlock(&E.mutex);
  return index;
}

/* Settings may let waiting work run. */
static void serve_again(void) {
  if (E.started && uvw__any_ready())
    uvw__serve();
}

int uvw_lane_open(const char *name, unsigned limit, int64_t max_queue) {
  if (name[0] == '\0' || strlen(name) >= sizeof(E.lanes[0].name) || max_queue < -1)
    return UV_EINVAL;
  uvw__lock(&E.mutex);
  int index = find(name);
  if (index < 0) {
    index = (int)E.lane_count;
    if (index == UVW_LANE_MAX)
      index = UV_ENOSPC;
    else
      lane_reset(&E.lanes[E.lane_count++], name, limit, max_queue);
  }
  uv_mutex_unlock(&E.mutex);
  return index;
}

int uvw_lane_set_limit(unsigned index, unsigned limit) {
  if (index >= uvw_lane_count())
    return UV_EINVAL;
  uvw__lock(&E.mutex);
  E.lanes[index].limit = limit;
  serve_again();
  uv_mutex_unlock(&E.mutex);
  return 0;
}

int uvw_lane_set_max_queue(unsigned index, int64_t max_queue) {
  if (index >= uvw_lane_count() || max_queue < -1)
    return UV_EINVAL;
  uvw__lock(&E.mutex);
  E.lanes[index].max_queue = max_queue;
  uv_mutex_unlock(&E.mutex);
  return 0;
}

unsigned uvw_lane_count(void) {
  uvw__lock(&E.mutex);
  unsigned count = E.lane_count;
  uv_mutex_unlock(&E.mutex);
  return count;
}

const char *uvw_lane_name(unsigned index) {
  return index < uvw_lane_count() ? E.lanes[index].name : NULL;
}

int uvw_lane_statistics(unsigned index, double *out) {
  if (index >= uvw_lane_count())
    return UV_EINVAL;
  uvw__lock(&E.mutex);
  const uvw__lane *lane = &E.lanes[index];
  out[UVW_STAT_LIMIT] = E.size > 0 ? uvw__lane_limit(lane) : lane->limit;
  out[UVW_STAT_MAX_QUEUE] = (double)lane->max_queue;
  out[UVW_STAT_WAITING] = (double)lane->waiting;
  out[UVW_STAT_RUNNING] = lane->running;
  out[UVW_STAT_DONE] = (double)lane->done;
  out[UVW_STAT_FAILED] = (double)lane->failed;
  out[UVW_STAT_CANCELLED] = (double)lane->cancelled;
  out[UVW_STAT_REJECTED] = (double)lane->rejected;
  out[UVW_STAT_ORPHANED] = (double)lane->orphaned;
  uvw__hist_read(&lane->wait, out + UVW_STAT_WAIT_COUNT);
  uvw__hist_read(&lane->run, out + UVW_STAT_RUN_COUNT);
  uv_mutex_unlock(&E.mutex);
  return 0;
}
