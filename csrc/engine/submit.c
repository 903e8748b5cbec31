/* How a job gets into its lane, and out of it before it runs. For submitters,
 * on any thread. */
#include "internal.h"

#include <errno.h>

#define E uvw__engine

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
             lane->waiting >= (uint64_t)lane->max_queue + uvw__lane_free(lane)) {
    lane->rejected++;
    error = UV_EAGAIN;
  } else {
    job->queued_at = now;
    uvw__enqueue(job);
    uvw__note_submit(now);
    if (uvw__lane_ready(lane))
      uvw__serve();
  }
  uv_mutex_unlock(&E.mutex);
  return error;
}

static bool submit_withdraw(uvw_job *job) {
  if (job->state != UVW__WAITING)
    return false;
  uvw__dequeue(job);
  job->state = UVW__IDLE;
  E.lanes[job->lane].cancelled++;
  return true;
}

bool uvw_withdraw(uvw_job *job) {
  uvw__lock(&E.mutex);
  bool withdrawn = submit_withdraw(job);
  uv_mutex_unlock(&E.mutex);
  return withdrawn;
}

bool uvw_cancel(uvw_job *job) {
  uvw__lock(&E.mutex);
  bool withdrawn = submit_withdraw(job);
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

uint64_t uvw_begin_wait(unsigned lane, bool callable) {
  uvw_job *here = uvw__current_job();
  if (here == NULL)
    return 0;
  uvw__lock(&E.mutex);
  int before = here->waits;
  bool for_io = E.lanes[lane].io && !callable && !E.lanes[here->lane].io;
  uvw__set_waits(here, for_io && before != UVW__WAITS ? UVW__WAITS_FOR_IO : UVW__WAITS);
  bool refused = uvw__lane_stuck(&E.lanes[lane]);
  if (refused)
    uvw__set_waits(here, before);
  else
    here->waiting++;
  uv_mutex_unlock(&E.mutex);
  return refused ? UVW_REFUSED : here->serial;
}

void uvw_end_wait(uint64_t wait) {
  uvw_job *here = uvw__current_job();
  if (here == NULL || here->serial != wait || here->waiting == 0)
    return;
  uvw__lock(&E.mutex);
  if (--here->waiting == 0)
    uvw__set_waits(here, UVW__WAITS_NOT);
  uv_mutex_unlock(&E.mutex);
}
