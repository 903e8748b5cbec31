/* The bare loop without Python. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

static int hooks;

static void hook(void *data) {
  uvw_loop *loop = *(uvw_loop **)data;
  uvw_job *list;
  hooks++;
  while ((list = uvw_completions_take(uvw_loop_completions(loop), 0)) != NULL) {
    while (list != NULL) {
      uvw_job *job = list;
      list = job->next;
      uvw_job_free(job);
    }
  }
  uvw_loop_pending(loop, 0);
}

static int run(uvw_job *job) {
  (void)job;
  return UVW_DONE;
}
static void destroy(uvw_job *job) { free(job); }
static const uvw_kind kind = {"nothing", run, destroy, NULL, NULL};

static void *stop_later(void *loop) {
  usleep(20000);
  uvw_loop_stop(loop);
  return NULL;
}

int main(void) {
  uvw_loop *loop;
  pthread_t thread;
  CHECK(uvw_engine_init() == 0 && uvw_pool_start(2) == 0);
  CHECK(uvw_loop_new(&loop, hook, &loop) == 0);
  CHECK(!uvw_loop_alive(loop) && uvw_loop_run(loop, UV_RUN_DEFAULT) == 0 && hooks == 0);

  uvw_job *job = malloc(sizeof(*job));
  uvw_job_init(job, &kind, UVW_LANE_IO, uvw_loop_completions(loop), NULL);
  CHECK(uvw_submit(job) == 0);
  uvw_loop_pending(loop, 1);
  CHECK(uvw_loop_alive(loop) && uvw_loop_run(loop, UV_RUN_DEFAULT) == 0 && hooks == 1);

  /* A byte in the signal descriptor calls the hook; a stop comes from outside. */
  uvw_loop_pending(loop, 1);
  CHECK(write(uvw_loop_signal_fd(loop), "x", 1) == 1);
  CHECK(uvw_loop_run(loop, UV_RUN_ONCE) == 0 && hooks == 2);
  uvw_loop_pending(loop, 1);
  CHECK(pthread_create(&thread, NULL, stop_later, loop) == 0);
  CHECK(uvw_loop_run(loop, UV_RUN_DEFAULT) != 0 && hooks == 2);
  CHECK(pthread_join(thread, NULL) == 0);
  uvw_loop_close(loop);
  return 0;
}
