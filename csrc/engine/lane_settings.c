/* The settings and figures of lanes, for any thread. A lane is opened once and
 * lives as long as the process, so its name may be read without the mutex. */
#include "internal.h"

#include <string.h>

#define E uvw__engine

static int lane_find(const char *name) {
  for (unsigned i = 0; i < E.lane_count; i++)
    if (strcmp(E.lanes[i].name, name) == 0)
      return (int)i;
  return UV_ENOENT;
}

int uvw_lane_find(const char *name) {
  uvw__lock(&E.mutex);
  int index = lane_find(name);
  uv_mutex_unlock(&E.mutex);
  return index;
}

/* Settings may let waiting work run. */
static void lanes_serve_again(void) {
  if (E.started && uvw__any_ready())
    uvw__serve();
}

int uvw_lane_open(const char *name, unsigned limit, int64_t max_queue) {
  if (name[0] == '\0' || strlen(name) >= sizeof(E.lanes[0].name) || max_queue < -1)
    return UV_EINVAL;
  uvw__lock(&E.mutex);
  int index = lane_find(name);
  if (index < 0) {
    index = (int)E.lane_count;
    if (index == UVW_LANE_MAX)
      index = UV_ENOSPC;
    else
      uvw__lane_init(&E.lanes[E.lane_count++], name, limit, max_queue);
  }
  uv_mutex_unlock(&E.mutex);
  return index;
}

int uvw_lane_set_limit(unsigned index, unsigned limit) {
  if (index >= uvw_lane_count())
    return UV_EINVAL;
  uvw__lock(&E.mutex);
  E.lanes[index].limit = limit;
  lanes_serve_again();
  uv_mutex_unlock(&E.mutex);
  return 0;
}

unsigned uvw_lane_limit(unsigned index, unsigned size) {
  if (index >= uvw_lane_count())
    return 0;
  uvw__lock(&E.mutex);
  unsigned limit = uvw__lane_limit(&E.lanes[index], size);
  uv_mutex_unlock(&E.mutex);
  return limit;
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
