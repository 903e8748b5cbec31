/* The engine without Python: lanes, pumps, completions, cancel,
 * bounds, deadlock, fork. */
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 4 };

/* A job that counts, or waits for a gate, or works in chunks. */
typedef struct {
  uvw_job job;
  atomic_int *counter;
  atomic_bool *gate;
  int chunks;
  int order;
} probe;

static atomic_int now_running, most_running, order;

static int run_probe(uvw_job *job) {
  probe *p = (probe *)job;
  int running = atomic_fetch_add(&now_running, 1) + 1;
  int most = atomic_load(&most_running);
  while (running > most && !atomic_compare_exchange_weak(&most_running, &most, running))
    ;
  while (p->gate != NULL && !atomic_load(p->gate) && !uvw_stopping(job))
    usleep(100);
  atomic_fetch_sub(&now_running, 1);
  if (uvw_stopping(job)) {
    job->error = ECANCELED;
    return UVW_DONE;
  }
  if (--p->chunks > 0)
    return UVW_AGAIN;
  if (p->counter != NULL)
    atomic_fetch_add(p->counter, 1);
  p->order = atomic_fetch_add(&order, 1);
  return UVW_DONE;
}

static void destroy_probe(uvw_job *job) { free(job); }

static pthread_mutex_t big_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool have_big_lock;
static void enter(void) {
  pthread_mutex_lock(&big_lock);
  have_big_lock = true;
}
static void leave(void) {
  have_big_lock = false;
  pthread_mutex_unlock(&big_lock);
}
static int run_locked(uvw_job *job) {
  CHECK(have_big_lock);
  return run_probe(job);
}

static const uvw_kind probe_kind = {"probe", run_probe, destroy_probe, NULL, NULL};
static const uvw_kind locked_kind = {"locked", run_locked, destroy_probe, enter, leave};

static probe *make(const uvw_kind *kind, unsigned lane, uvw_completions *completions,
                   atomic_int *counter, atomic_bool *gate) {
  probe *p = calloc(1, sizeof(*p));
  CHECK(p != NULL);
  uvw_job_init(&p->job, kind, lane, completions, NULL);
  p->counter = counter;
  p->gate = gate;
  p->chunks = 1;
  return p;
}

static void submit(uvw_job *job) { CHECK(uvw_submit(job) == 0); }

static int take_all(uvw_completions *completions, int count) {
  int failed = 0;
  while (count > 0) {
    uvw_job *list = wait_and_take(completions);
    while (list != NULL) {
      uvw_job *job = list;
      list = job->next;
      failed += job->error != 0;
      uvw_job_free(job);
      count--;
    }
  }
  CHECK(count == 0);
  return failed;
}

static double stat_of(unsigned lane, int which) {
  double values[UVW_STAT_COUNT];
  CHECK(uvw_lane_statistics(lane, values) == 0);
  return values[which];
}

static void test_every_job_comes_back_once(void) {
  atomic_int counter = 0;
  uvw_completions *completions = uvw_completions_new();
  double before = stat_of(UVW_LANE_IO, UVW_STAT_DONE);
  for (int i = 0; i < 20000; i++)
    submit(&make(&probe_kind, UVW_LANE_IO, completions, &counter, NULL)->job);
  CHECK(take_all(completions, 20000) == 0);
  CHECK(counter == 20000);
  CHECK(stat_of(UVW_LANE_IO, UVW_STAT_DONE) - before == 20000);
  CHECK(stat_of(UVW_LANE_IO, UVW_STAT_WAITING) == 0);
  CHECK(stat_of(UVW_LANE_IO, UVW_STAT_RUNNING) == 0);
  CHECK(stat_of(UVW_LANE_IO, UVW_STAT_RUN_COUNT) == stat_of(UVW_LANE_IO, UVW_STAT_WAIT_COUNT));
  uvw_completions_unref(completions);
}

static void *one_loop(void *arg) {
  atomic_int *counter = arg;
  static const unsigned lanes[] = {UVW_LANE_IO, UVW_LANE_DNS, UVW_LANE_CPU, UVW_LANE_PYTHON};
  uvw_completions *completions = uvw_completions_new();
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < 100; i++)
      submit(
          &make(i % 2 ? &probe_kind : &locked_kind, lanes[i % 4], completions, counter, NULL)->job);
    CHECK(take_all(completions, 100) == 0);
  }
  CHECK(uvw_completions_close(completions) == NULL);
  uvw_completions_unref(completions);
  return NULL;
}

static void test_three_loops_in_three_threads(void) {
  atomic_int counter = 0;
  pthread_t threads[3];
  for (int i = 0; i < 3; i++)
    CHECK(pthread_create(&threads[i], NULL, one_loop, &counter) == 0);
  for (int i = 0; i < 3; i++)
    CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(counter == 3 * 50 * 100);
}

/* Other kinds leave io a worker, whatever they add up to. */
static void test_io_passes_full_lanes(void) {
  atomic_int slow = 0, fast = 0;
  atomic_bool gate = false;
  uvw_completions *completions = uvw_completions_new(), *other = uvw_completions_new();
  most_running = 0;
  for (int i = 0; i < 64; i++) {
    submit(&make(&probe_kind, UVW_LANE_CPU, other, &slow, &gate)->job);
    submit(&make(&probe_kind, UVW_LANE_DNS, other, &slow, &gate)->job);
  }
  for (int i = 0; i < 100; i++) {
    submit(&make(&probe_kind, UVW_LANE_IO, completions, &fast, NULL)->job);
    CHECK(take_all(completions, 1) == 0);
  }
  CHECK(fast == 100 && slow == 0);
  CHECK(most_running == SIZE);
  CHECK(stat_of(UVW_LANE_CPU, UVW_STAT_RUNNING) + stat_of(UVW_LANE_DNS, UVW_STAT_RUNNING) ==
        SIZE - 1);
  gate = true;
  CHECK(take_all(other, 128) == 0);
  uvw_completions_unref(completions);
  uvw_completions_unref(other);
}

/* Two long jobs of a lane that is known for short ones run side by side all
 * the same: the watch notices. */
static void test_an_overrun_is_noticed(void) {
  atomic_int counter = 0;
  atomic_bool gate = false;
  uvw_completions *completions = uvw_completions_new();
  for (int i = 0; i < 1000; i++)
    submit(&make(&probe_kind, UVW_LANE_IO, completions, &counter, NULL)->job);
  take_all(completions, 1000);
  probe *first = make(&probe_kind, UVW_LANE_IO, completions, NULL, &gate);
  submit(&first->job);
  while (stat_of(UVW_LANE_IO, UVW_STAT_RUNNING) == 0)
    usleep(100);
  submit(&make(&probe_kind, UVW_LANE_IO, completions, NULL, NULL)->job);
  take_all(completions, 1);
  gate = true;
  take_all(completions, 1);
  uvw_completions_unref(completions);
}

static void test_chunks_give_way(void) {
  atomic_int counter = 0;
  uvw_completions *completions = uvw_completions_new();
  for (int i = 0; i < 8; i++) {
    probe *p = make(&probe_kind, UVW_LANE_CPU, completions, &counter, NULL);
    p->chunks = 500;
    submit(&p->job);
  }
  submit(&make(&probe_kind, UVW_LANE_CPU, completions, &counter, NULL)->job);
  uvw_job *first = wait_and_take(completions);
  CHECK(((probe *)first)->order < atomic_load(&order));
  int taken = 0;
  while (first != NULL) {
    uvw_job *job = first;
    first = job->next;
    uvw_job_free(job);
    taken++;
  }
  if (taken < 9)
    take_all(completions, 9 - taken);
  CHECK(counter == 9);
  uvw_completions_unref(completions);
}

static void test_cancel(void) {
  atomic_int counter = 0;
  atomic_bool gate = false;
  uvw_completions *completions = uvw_completions_new();
  int lane = uvw_lane_open("one", 1, -1);
  CHECK(lane >= UVW_LANE_BUILTIN_COUNT && lane == uvw_lane_find("one"));
  probe *running = make(&probe_kind, (unsigned)lane, completions, &counter, &gate);
  probe *waiting = make(&probe_kind, (unsigned)lane, completions, &counter, NULL);
  submit(&running->job);
  submit(&waiting->job);
  while (stat_of((unsigned)lane, UVW_STAT_RUNNING) == 0)
    usleep(100);
  CHECK(uvw_job_waiting(&waiting->job));
  CHECK(uvw_cancel(&waiting->job));
  uvw_job_free(&waiting->job);
  CHECK(!uvw_cancel(&running->job));
  CHECK(take_all(completions, 1) == 1); /* it saw its stop flag: ECANCELED */
  CHECK(counter == 0);
  CHECK(stat_of((unsigned)lane, UVW_STAT_CANCELLED) == 2);
  CHECK(stat_of((unsigned)lane, UVW_STAT_ORPHANED) == 1);
  uvw_completions_unref(completions);
}

static void test_bounds(void) {
  atomic_bool gate = false;
  uvw_completions *completions = uvw_completions_new();
  unsigned lane = (unsigned)uvw_lane_open("bounded", 2, 3);
  for (int i = 0; i < 5; i++)
    submit(&make(&probe_kind, lane, completions, NULL, &gate)->job);
  probe *extra = make(&probe_kind, lane, completions, NULL, &gate);
  CHECK(uvw_submit(&extra->job) == UV_EAGAIN);
  CHECK(stat_of(lane, UVW_STAT_REJECTED) == 1);
  CHECK(uvw_lane_set_max_queue(lane, -1) == 0);
  submit(&extra->job);
  /* A higher limit starts what waits. */
  CHECK(uvw_lane_set_limit(lane, 3) == 0);
  while (stat_of(lane, UVW_STAT_RUNNING) < 3)
    usleep(100);
  gate = true;
  take_all(completions, 6);
  CHECK(uvw_lane_set_limit(UVW_LANE_MAX, 1) == UV_EINVAL);
  CHECK(uvw_lane_open("", 1, 1) == UV_EINVAL);
  uvw_completions_unref(completions);
}

/* Closing never waits; what runs is an orphan, with a token for its submitter. */
static void test_completions_close_with_jobs(void) {
  atomic_int counter = 0;
  atomic_bool gate = false;
  int token;
  uvw_completions *completions = uvw_completions_new();
  for (int i = 0; i < 3; i++)
    submit(&make(&probe_kind, UVW_LANE_IO, completions, &counter, &gate)->job);
  probe *marked = make(&probe_kind, UVW_LANE_IO, completions, &counter, &gate);
  marked->job.token = &token;
  submit(&marked->job);
  while (stat_of(UVW_LANE_IO, UVW_STAT_RUNNING) < 4)
    usleep(100);
  CHECK(uvw_completions_close(completions) == NULL);
  uvw_completions_unref(completions);
  gate = true;
  uvw_job *dead;
  while ((dead = uvw_orphans_take()) == NULL)
    usleep(100);
  CHECK(dead == &marked->job && dead->next == NULL && dead->token == &token);
  uvw_job_free(dead);
  while (atomic_load(&counter) < 4)
    usleep(100);
}

/* Jobs that ask, inside, whether they may wait for a lane, and having been told
 * that they may, wait for a gate. */
typedef struct {
  uvw_job job;
  int lane; /* or -1: does not ask */
  atomic_bool *gate;
  atomic_int answer; /* -1: not yet */
} asking;

static int run_asking(uvw_job *job) {
  asking *a = (asking *)job;
  bool refused = a->lane >= 0 && uvw_begin_wait((unsigned)a->lane, true) == UVW_REFUSED;
  atomic_store(&a->answer, refused);
  while (!refused && a->gate != NULL && !atomic_load(a->gate))
    usleep(100);
  return UVW_DONE;
}

static const uvw_kind asking_kind = {"asking", run_asking, destroy_probe, NULL, NULL};

static asking *submit_asking(unsigned lane, int wanted, uvw_completions *completions,
                             atomic_bool *gate) {
  asking *a = calloc(1, sizeof(*a));
  CHECK(a != NULL);
  uvw_job_init(&a->job, &asking_kind, lane, completions, NULL);
  a->lane = wanted;
  a->gate = gate;
  atomic_init(&a->answer, -1);
  submit(&a->job);
  return a;
}

static bool refused(asking *a) {
  int answer;
  for (int i = 0; (answer = atomic_load(&a->answer)) < 0; i++) {
    CHECK(i < 100000);
    usleep(100);
  }
  return answer;
}

static void set_limit(unsigned lane, unsigned limit) {
  CHECK(uvw_lane_set_limit(lane, limit) == 0);
}

static void test_no_waiting_for_oneself(void) {
  atomic_bool gate = false;
  uvw_completions *completions = uvw_completions_new();
  unsigned a = (unsigned)uvw_lane_open("a", 1, -1), b = (unsigned)uvw_lane_open("b", 1, -1);

  CHECK(uvw_begin_wait(a, true) == 0); /* no job runs on this thread */
  CHECK(refused(submit_asking(a, (int)a, completions, NULL)));
  CHECK(!refused(submit_asking(a, (int)b, completions, NULL)));
  CHECK(!refused(submit_asking(a, UVW_LANE_IO, completions, NULL)));
  take_all(completions, 3);

  /* What does not wait itself ends, however full its lane is of it. */
  CHECK(!refused(submit_asking(b, -1, completions, &gate)));
  CHECK(!refused(submit_asking(a, (int)b, completions, &gate)));
  gate = true;
  take_all(completions, 2);
  gate = false;

  /* In a ring it is the last one that is told, and those before go on. */
  CHECK(!refused(submit_asking(a, (int)b, completions, &gate)));
  CHECK(refused(submit_asking(b, (int)a, completions, &gate)));
  CHECK(!refused(submit_asking(b, UVW_LANE_CPU, completions, NULL)));
  gate = true;
  take_all(completions, 3);
  gate = false;

  /* Where there is room for two the second is told. */
  set_limit(a, 2);
  CHECK(!refused(submit_asking(a, (int)a, completions, &gate)));
  CHECK(refused(submit_asking(a, (int)a, completions, &gate)));
  gate = true;
  take_all(completions, 2);
  gate = false;

  /* A refusal and an end are forgotten. */
  CHECK(!refused(submit_asking(a, (int)a, completions, NULL)));
  take_all(completions, 1);
  uvw_completions_unref(completions);
}

/* Waiting outside of io leaves a worker to it, and that one is not for others. */
static void test_no_waiting_for_a_full_pool(void) {
  atomic_bool gate = false;
  uvw_completions *completions = uvw_completions_new();
  unsigned a = (unsigned)uvw_lane_open("a", 2, -1);
  for (int i = 0; i < SIZE - 2; i++)
    CHECK(!refused(submit_asking(UVW_LANE_PYTHON, UVW_LANE_CPU, completions, &gate)));
  CHECK(refused(submit_asking(a, UVW_LANE_CPU, completions, &gate)));
  CHECK(refused(submit_asking(a, UVW_LANE_DNS, completions, &gate)));
  CHECK(!refused(submit_asking(a, UVW_LANE_IO, completions, &gate)));
  CHECK(refused(submit_asking(UVW_LANE_IO, UVW_LANE_IO, completions, &gate)));
  gate = true;
  take_all(completions, SIZE + 2);
  uvw_completions_unref(completions);
}

static void test_limits_before_and_after_the_start(void) {
  CHECK(uvw_lane_limit(UVW_LANE_IO, SIZE) == SIZE);
  CHECK(uvw_lane_limit(UVW_LANE_PYTHON, SIZE) == SIZE - 1);
  CHECK(uvw_lane_limit(UVW_LANE_DNS, SIZE) == SIZE / 2);
  CHECK(uvw_lane_limit(UVW_LANE_PYTHON, 1) == 1 && uvw_lane_limit(UVW_LANE_IO, 1) == 1);
  CHECK(uvw_lane_limit(UVW_LANE_MAX, SIZE) == 0);
}

static void test_untake(void) {
  uvw_completions *completions = uvw_completions_new();
  atomic_int counter = 0;
  for (int i = 0; i < 10; i++)
    submit(&make(&probe_kind, UVW_LANE_IO, completions, &counter, NULL)->job);
  while (atomic_load(&counter) < 10)
    usleep(100);
  uvw_job *list = wait_and_take(completions);
  int count = 0;
  for (uvw_job *job = list; job != NULL; job = job->next)
    count++;
  uvw_completions_untake(completions, list);
  CHECK(count >= 1);
  CHECK(take_all(completions, 10) == 0);
  uvw_completions_unref(completions);
}

/* Somebody else's work on libuv's pool gets its turn under our full load. */
static atomic_bool foreign_done;
static void foreign_work(uv_work_t *request) { (void)request; }
static void foreign_after(uv_work_t *request, int status) {
  (void)request;
  CHECK(status == 0);
  foreign_done = true;
}

static void test_foreign_work_is_not_starved(void) {
  atomic_int counter = 0;
  uvw_completions *completions = uvw_completions_new();
  uv_loop_t loop;
  uv_work_t request;
  CHECK(uv_loop_init(&loop) == 0);
  for (int i = 0; i < 50000; i++)
    submit(&make(&probe_kind, UVW_LANE_IO, completions, &counter, NULL)->job);
  CHECK(uv_queue_work(&loop, &request, foreign_work, foreign_after) == 0);
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(foreign_done);
  CHECK(uv_loop_close(&loop) == 0);
  take_all(completions, 50000);
  uvw_completions_unref(completions);
}

static void test_fork(void) {
  uvw_completions *old = uvw_completions_new();
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    atomic_int counter = 0;
    alarm(20);
    CHECK(uvw_completions_stale(old) && !uvw_pool_started());
    CHECK(uvw_completions_close(old) == NULL);
    uvw_completions_unref(old);
    CHECK(uvw_pool_start(2) == 0 && uvw_pool_size() == 2);
    uvw_completions *completions = uvw_completions_new();
    for (int i = 0; i < 1000; i++)
      submit(&make(&probe_kind, UVW_LANE_IO, completions, &counter, NULL)->job);
    CHECK(take_all(completions, 1000) == 0 && counter == 1000);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(!uvw_completions_stale(old));
  atomic_int counter = 0;
  submit(&make(&probe_kind, UVW_LANE_IO, old, &counter, NULL)->job);
  CHECK(take_all(old, 1) == 0);
  uvw_completions_unref(old);
}

/* With two workers one is for io, so on the other one nobody waits for the
 * rest; with one worker nobody waits at all. */
static void test_no_waiting_in_small_pools(void) {
  for (unsigned size = 1; size <= 2; size++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(20);
      CHECK(uvw_pool_start(size) == 0);
      uvw_completions *completions = uvw_completions_new();
      CHECK(refused(submit_asking(UVW_LANE_PYTHON, UVW_LANE_CPU, completions, NULL)));
      CHECK(refused(submit_asking(UVW_LANE_PYTHON, UVW_LANE_DNS, completions, NULL)));
      CHECK(refused(submit_asking(UVW_LANE_CPU, UVW_LANE_CPU, completions, NULL)));
      CHECK(refused(submit_asking(UVW_LANE_CPU, UVW_LANE_IO, completions, NULL)) == (size == 1));
      take_all(completions, 4);
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

static void test_buffers(void) {
  size_t sizes[] = {1, 4096, 4097, 65537, 131073, 1 << 20};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    size_t got = sizes[i];
    char *buffer = uvw_buffer_get(&got);
    CHECK(buffer != NULL && got >= sizes[i]);
    memset(buffer, 7, got);
    uvw_buffer_put(buffer, got);
  }
  uvw_buffer_put(NULL, 0);
}

static void test_shutdown(void) {
  atomic_int counter = 0;
  uvw_completions *completions = uvw_completions_new();
  for (int i = 0; i < 100; i++)
    submit(&make(&locked_kind, UVW_LANE_PYTHON, completions, &counter, NULL)->job);
  uvw_pool_shutdown();
  CHECK(uvw_pool_drain(10000) == 0);
  CHECK(stat_of(UVW_LANE_PYTHON, UVW_STAT_WAITING) == 0);
  CHECK(stat_of(UVW_LANE_PYTHON, UVW_STAT_RUNNING) == 0);
  probe *late = make(&probe_kind, UVW_LANE_IO, completions, NULL, NULL);
  CHECK(uvw_submit(&late->job) == UV_ESHUTDOWN);
  uvw_job_free(&late->job);
}

int main(int argc, char **argv) {
  (void)argv;
  CHECK(uvw_engine_init() == 0 && uvw_engine_init() == 0);
  probe *early = make(&probe_kind, UVW_LANE_IO, NULL, NULL, NULL);
  CHECK(uvw_submit(&early->job) == UV_EINVAL);
  uvw_job_free(&early->job);
  CHECK(uvw_pool_start(0) == UV_EINVAL && uvw_pool_start(1025) == UV_EINVAL);
  CHECK(uvw_pool_start(SIZE) == 0 && uvw_pool_start(SIZE + 1) == 0);
  CHECK(uvw_pool_size() == SIZE && uvw_pool_size_known());
  CHECK(getenv("UV_THREADPOOL_SIZE") == NULL);

  RUN(test_every_job_comes_back_once);
  RUN(test_three_loops_in_three_threads);
  RUN(test_io_passes_full_lanes);
  RUN(test_an_overrun_is_noticed);
  RUN(test_chunks_give_way);
  RUN(test_cancel);
  RUN(test_bounds);
  RUN(test_completions_close_with_jobs);
  RUN(test_no_waiting_for_oneself);
  RUN(test_no_waiting_for_a_full_pool);
  RUN(test_limits_before_and_after_the_start);
  RUN(test_untake);
  RUN(test_foreign_work_is_not_starved);
  RUN(test_buffers);
  if (argc < 2) { /* ThreadSanitizer does not follow threads that a child makes */
    RUN(test_fork);
    RUN(test_no_waiting_in_small_pools);
  }
  RUN(test_shutdown);
  return 0;
}
