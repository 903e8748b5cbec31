/* Lanes: the queues in front of libuv's pool, one for each kind of work, so
 * that no kind can take all workers from the others. Here are the queues, who
 * is next, and the accounts of what runs; how jobs get in is in submit.c, how
 * they are run in pump.c.
 *
 * All of it is process-wide. Every uvw__ function here is called with
 * uvw__engine.mutex held, which is for some tens of nanoseconds at a time; the
 * lock order stands in internal.h. */
#include "internal.h"

#include <errno.h>
#include <string.h>

uvw__engine_state uvw__engine;
#define E uvw__engine

unsigned uvw_generation(void) { return E.generation; }

void uvw__lane_init(uvw__lane *lane, const char *name, unsigned limit, int64_t max_queue) {
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
    uvw__lane_init(&E.lanes[i], names[i], 0, -1);
  E.lanes[UVW_LANE_IO].io = true;
  E.lanes[UVW_LANE_IO].mean_run = 0;
  E.lane_count = UVW_LANE_BUILTIN_COUNT;
}

/* Limits ------------------------------------------------------------------ */

/* Unless told otherwise: half of the workers for dns, as libuv does with slow
 * work, and for cpu one more than there are processors: the system likes to put
 * two workers on one of them while the other waits for the loop's thread, which
 * sleeps too shortly for anybody to be moved there. More would only take turns. */
static unsigned lane_default_limit(const uvw__lane *lane, unsigned size) {
  if (lane == &E.lanes[UVW_LANE_DNS])
    return (size + 1) / 2;
  if (lane == &E.lanes[UVW_LANE_CPU])
    return (E.started ? E.processors : uv_available_parallelism()) + 1;
  return size;
}

/* The workers of a pool of that size for all that is not io: one is left to
 * io. A pool of one cannot do that; there all kinds take turns on it. */
static unsigned lanes_limited_places(unsigned size) { return size > 1 ? size - 1 : 1; }

unsigned uvw__lane_limit(const uvw__lane *lane, unsigned size) {
  unsigned most = lane->io ? size : lanes_limited_places(size);
  unsigned limit = lane->limit != 0 ? lane->limit : lane_default_limit(lane, size);
  return limit < most ? limit : most;
}

/* Jobs of the lane that could start now. Limits may have been lowered. */
unsigned uvw__lane_free(const uvw__lane *lane) {
  unsigned limit = uvw__lane_limit(lane, E.size), cap = lanes_limited_places(E.size);
  unsigned own = limit > lane->running ? limit - lane->running : 0;
  unsigned all = cap > E.running_limited ? cap - E.running_limited : 0;
  return lane->io || own < all ? own : all;
}

/* A callable that runs may wait for other jobs; all else that runs ends by
 * itself. So a job can wait in vain only for a lane in which callables that wait
 * hold every place: that of its limit, of all that is not io, or of the pool.
 * Whoever begins to wait last closes the ring, so it is enough to tell that one.
 *
 * Who waits, outside of io, for work in C on io will get an answer, as io always
 * has a worker; that counts only once io itself is stuck, or for the pool as a
 * whole. */
static void lanes_count_waits(unsigned *counts, int before, int now) {
  if (before != UVW__WAITS_NOT)
    counts[before]--;
  if (now != UVW__WAITS_NOT)
    counts[now]++;
}

void uvw__set_waits(uvw_job *job, int waits) {
  uvw__lane *lane = &E.lanes[job->lane];
  lanes_count_waits(lane->waits, job->waits, waits);
  if (!lane->io)
    lanes_count_waits(E.waits_limited, job->waits, waits);
  job->waits = (uint8_t)waits;
}

bool uvw__lane_stuck(const uvw__lane *lane) {
  const uvw__lane *io = &E.lanes[UVW_LANE_IO];
  unsigned in_vain = io->waits[UVW__WAITS], all = in_vain;
  bool io_stuck = in_vain >= uvw__lane_limit(io, E.size);
  unsigned own = lane->waits[UVW__WAITS] + (io_stuck ? lane->waits[UVW__WAITS_FOR_IO] : 0);
  unsigned limited =
      E.waits_limited[UVW__WAITS] + (io_stuck ? E.waits_limited[UVW__WAITS_FOR_IO] : 0);
  all += E.waits_limited[UVW__WAITS] + E.waits_limited[UVW__WAITS_FOR_IO];
  return own >= uvw__lane_limit(lane, E.size) ||
         (!lane->io && limited >= lanes_limited_places(E.size)) || all >= E.size;
}

bool uvw__lane_ready(const uvw__lane *lane) {
  return lane->head != NULL && uvw__lane_free(lane) > 0 &&
         !(E.gate && lane->head->kind->enter != NULL);
}

bool uvw__any_ready(void) {
  for (unsigned i = 0; i < E.lane_count; i++)
    if (uvw__lane_ready(&E.lanes[i]))
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

void uvw__dequeue(uvw_job *job) {
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
      uvw__dequeue(job);
      job->state = UVW__PASSED;
      lane->cancelled++;
    }
  }
}

/* In a forked child: the lanes and their settings stay, the work is gone. */
void uvw__lanes_reset(void) {
  uvw__leave_job();
  uvw__drop_waiting(true);
  E.running = E.running_limited = E.running_awaited = 0;
  memset(E.waits_limited, 0, sizeof(E.waits_limited));
  for (unsigned i = 0; i < E.lane_count; i++) {
    E.lanes[i].running = 0;
    memset(E.lanes[i].waits, 0, sizeof(E.lanes[i].waits));
  }
}

/* The next job by turns of the lanes. Whoever holds the callers' lock goes on
 * with jobs that need it, as long as there are any. */
uvw_job *uvw__pick(void (*entered)(void)) {
  if (entered != NULL) {
    for (unsigned i = 0; i < E.lane_count; i++) {
      uvw__lane *lane = &E.lanes[(E.cursor + i) % E.lane_count];
      if (lane->head != NULL && lane->head->kind->enter == entered && uvw__lane_free(lane) > 0) {
        uvw_job *job = lane->head;
        E.cursor = (E.cursor + i + 1) % E.lane_count;
        uvw__dequeue(job);
        return job;
      }
    }
  }
  for (unsigned i = 0; i < E.lane_count; i++) {
    uvw__lane *lane = &E.lanes[(E.cursor + i) % E.lane_count];
    if (uvw__lane_ready(lane)) {
      uvw_job *job = lane->head;
      E.cursor = (E.cursor + i + 1) % E.lane_count;
      uvw__dequeue(job);
      return job;
    }
  }
  return NULL;
}

/* Accounts ---------------------------------------------------------------- */

static bool lanes_exit_waits_for(const uvw_job *job) {
  return job->kind->enter != NULL || job->awaited;
}

void uvw__begin(uvw_job *job, uint64_t now) {
  uvw__lane *lane = &E.lanes[job->lane];
  job->state = UVW__RUNNING;
  job->serial = ++E.serial;
  job->waited += now > job->queued_at ? now - job->queued_at : 0;
  lane->running++;
  E.running++;
  E.running_limited += !lane->io;
  E.running_awaited += lanes_exit_waits_for(job);
}

void uvw__end(uvw_job *job, int step, uint64_t ran) {
  uvw__lane *lane = &E.lanes[job->lane];
  lane->running--;
  E.running--;
  E.running_limited -= !lane->io;
  E.running_awaited -= lanes_exit_waits_for(job);
  uvw__set_waits(job, UVW__WAITS_NOT);
  job->waiting = 0;
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
