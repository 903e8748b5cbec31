/* Completions: where the finished jobs of one loop collect until its thread
 * takes them, and how that thread is woken.
 *
 * They are counted: the loop holds one reference and each of its jobs one.
 * The descriptors are closed with the last reference, so a worker that is
 * about to wake the loop never writes to a number that has been given to
 * somebody else. Take, untake and close belong to the loop's side (under its
 * own lock, if several threads share it); push belongs to the workers. */
#include "internal.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

struct uvw_completions {
  uv_mutex_t mutex;
  atomic_uint references;
  unsigned generation;
  bool closed;
  bool woken; /* a wake is on its way and has not been answered by a take */
  int read_fd, write_fd;
  uvw_job *head, *tail;
  atomic_bool filled; /* for those who spin: something is in the list */
  uint64_t woken_at;
};

static int completions_make_wake(int fds[2]) {
#ifdef __linux__
  fds[0] = fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fds[0] < 0 ? -errno : 0;
#else
  return uv_pipe(fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE);
#endif
}

uvw_completions *uvw_completions_new(void) {
  uvw_completions *completions = calloc(1, sizeof(*completions));
  int fds[2];
  if (completions == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  int error = completions_make_wake(fds);
  if (error != 0) {
    free(completions);
    errno = -error;
    return NULL;
  }
  if (uv_mutex_init(&completions->mutex) != 0)
    abort();
  atomic_init(&completions->references, 1);
  atomic_init(&completions->filled, false);
  completions->generation = uvw_generation();
  completions->read_fd = fds[0];
  completions->write_fd = fds[1];
  return completions;
}

uvw_completions *uvw_completions_ref(uvw_completions *completions) {
  if (completions != NULL)
    atomic_fetch_add_explicit(&completions->references, 1, memory_order_relaxed);
  return completions;
}

void uvw_completions_unref(uvw_completions *completions) {
  if (completions == NULL ||
      atomic_fetch_sub_explicit(&completions->references, 1, memory_order_acq_rel) != 1)
    return;
  close(completions->read_fd);
  if (completions->write_fd != completions->read_fd)
    close(completions->write_fd);
  /* Whoever held the mutex at fork() is not in the child to release it. */
  if (!uvw_completions_stale(completions))
    uv_mutex_destroy(&completions->mutex);
  free(completions);
}

int uvw_completions_fd(const uvw_completions *completions) { return completions->read_fd; }

/* Made before a fork() that this process is the child of. */
bool uvw_completions_stale(const uvw_completions *completions) {
  return completions->generation != uvw_generation();
}

static void completions_wake(uvw_completions *completions) {
  static const uint64_t one = 1;
  ssize_t n;
  do
    n = write(completions->write_fd, &one, sizeof(one));
  while (n < 0 && errno == EINTR);
  /* EAGAIN: it is full of wakes already, which is as good. */
}

/* False when they have closed: the job is the caller's, to make an orphan of. */
bool uvw__completions_push(uvw_completions *completions, uvw_job *job) {
  bool wanted = false, accepted;
  /* The job may be taken and freed as soon as the mutex is released. */
  uvw_completions_ref(completions);
  uvw__lock(&completions->mutex);
  accepted = !completions->closed;
  if (accepted) {
    job->next = NULL;
    if (completions->tail != NULL)
      completions->tail->next = job;
    else
      completions->head = job;
    completions->tail = job;
    atomic_store_explicit(&completions->filled, true, memory_order_relaxed);
    wanted = !completions->woken;
    completions->woken = true;
    if (wanted)
      completions->woken_at = uv_hrtime();
  }
  uv_mutex_unlock(&completions->mutex);
  if (wanted)
    completions_wake(completions);
  uvw_completions_unref(completions);
  return accepted;
}

/* How long ago the wake was sent that brings the caller here. */
uint64_t uvw_completions_lag(uvw_completions *completions) {
  uvw__lock(&completions->mutex);
  uint64_t since = completions->woken ? completions->woken_at : 0;
  uv_mutex_unlock(&completions->mutex);
  return since != 0 ? uv_hrtime() - since : 0;
}

static void completions_answer_wake(uvw_completions *completions) {
  char drain[256];
  size_t size = completions->read_fd == completions->write_fd ? sizeof(uint64_t) : sizeof(drain);
  ssize_t n;
  do
    n = read(completions->read_fd, drain, size);
  while (n < 0 && errno == EINTR);
}

/* Whether there is something to take; a hint, without the lock. */
bool uvw_completions_filled(const uvw_completions *completions) {
  return atomic_load_explicit(&completions->filled, memory_order_relaxed);
}

static uvw_job *completions_take_list(uvw_completions *completions) {
  uvw_job *list = completions->head;
  completions->head = completions->tail = NULL;
  atomic_store_explicit(&completions->filled, false, memory_order_relaxed);
  return list;
}

/* Takes all that has collected, oldest first, having spun for it so many
 * nanoseconds. Only with NULL is the wake answered: until then nobody pays for
 * another one. Who stops earlier calls uvw_completions_untake(). */
uvw_job *uvw_completions_take(uvw_completions *completions, uint64_t spin) {
  if (spin > 0 && !atomic_load_explicit(&completions->filled, memory_order_relaxed)) {
    uint64_t end = uv_hrtime() + spin;
    do {
      for (int i = 0; i < 8; i++)
        uvw__relax();
      if (spin > UVW__SPIN)
        sched_yield(); /* the worker may need this very processor */
    } while (!atomic_load_explicit(&completions->filled, memory_order_relaxed) &&
             uv_hrtime() < end);
  }
  uvw__lock(&completions->mutex);
  uvw_job *list = completions_take_list(completions);
  uv_mutex_unlock(&completions->mutex);
  if (list != NULL)
    return list;
  completions_answer_wake(completions);
  uvw__lock(&completions->mutex);
  list = completions_take_list(completions);
  completions->woken = list != NULL;
  uv_mutex_unlock(&completions->mutex);
  return list;
}

/* Gives the untreated rest of a take back, if any, to the front, and asks for
 * another turn. */
void uvw_completions_untake(uvw_completions *completions, uvw_job *list) {
  uvw__lock(&completions->mutex);
  if (list != NULL) {
    uvw_job *last = list;
    while (last->next != NULL)
      last = last->next;
    last->next = completions->head;
    completions->head = list;
    if (completions->tail == NULL)
      completions->tail = last;
    atomic_store_explicit(&completions->filled, true, memory_order_relaxed);
  }
  completions->woken = true;
  completions->woken_at = uv_hrtime();
  uv_mutex_unlock(&completions->mutex);
  completions_wake(completions);
}

/* Returns what was not taken. The caller cancels the jobs it knows of; those
 * that run go to the orphans when they end. Never waits. */
uvw_job *uvw_completions_close(uvw_completions *completions) {
  if (uvw_completions_stale(completions))
    return NULL;
  uvw__lock(&completions->mutex);
  uvw_job *list = completions->head;
  completions->head = completions->tail = NULL;
  completions->closed = true;
  uv_mutex_unlock(&completions->mutex);
  return list;
}
