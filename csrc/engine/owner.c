/* Owners: where the finished jobs of one loop collect until its thread takes
 * them, and how that thread is woken.
 *
 * An owner is counted: its loop holds one reference and each of its jobs one.
 * The descriptors are closed with the last reference, so a worker that is
 * about to wake the loop never writes to a number that has been given to
 * somebody else. Take, untake and close belong to the loop's side (under its
 * own lock, if several threads share it); push belongs to the workers. */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

struct uvw_owner {
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

static int make_wake(int fds[2]) {
#ifdef __linux__
  fds[0] = fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fds[0] < 0 ? -errno : 0;
#else
  return uv_pipe(fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE);
#endif
}

uvw_owner *uvw_owner_new(void) {
  uvw_owner *owner = calloc(1, sizeof(*owner));
  int fds[2];
  if (owner == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  int error = make_wake(fds);
  if (error != 0) {
    free(owner);
    errno = -error;
    return NULL;
  }
  if (uv_mutex_init(&owner->mutex) != 0)
    abort();
  atomic_init(&owner->references, 1);
  atomic_init(&owner->filled, false);
  owner->generation = uvw_generation();
  owner->read_fd = fds[0];
  owner->write_fd = fds[1];
  return owner;
}

uvw_owner *uvw_owner_ref(uvw_owner *owner) {
  if (owner != NULL)
    atomic_fetch_add_explicit(&owner->references, 1, memory_order_relaxed);
  return owner;
}

void uvw_owner_unref(uvw_owner *owner) {
  if (owner == NULL || atomic_fetch_sub_explicit(&owner->references, 1, memory_order_acq_rel) != 1)
    return;
  close(owner->read_fd);
  if (owner->write_fd != owner->read_fd)
    close(owner->write_fd);
  /* Whoever held the mutex at fork() is not in the child to release it. */
  if (!uvw_owner_stale(owner))
    uv_mutex_destroy(&owner->mutex);
  free(owner);
}

int uvw_owner_fd(const uvw_owner *owner) { return owner->read_fd; }

/* Made before a fork() that this process is the child of. */
bool uvw_owner_stale(const uvw_owner *owner) { return owner->generation != uvw_generation(); }

static void wake(uvw_owner *owner) {
  static const uint64_t one = 1;
  ssize_t n;
  do
    n = write(owner->write_fd, &one, sizeof(one));
  while (n < 0 && errno == EINTR);
  /* EAGAIN: it is full of wakes already, which is as good. */
}

/* False when the owner has closed: the job is the caller's to bury. */
bool uvw__owner_push(uvw_owner *owner, uvw_job *job) {
  bool wanted = false, accepted;
  /* The job may be taken and freed as soon as the mutex is released. */
  uvw_owner_ref(owner);
  uvw__lock(&owner->mutex);
  accepted = !owner->closed;
  if (accepted) {
    job->next = NULL;
    if (owner->tail != NULL)
      owner->tail->next = job;
    else
      owner->head = job;
    owner->tail = job;
    atomic_store_explicit(&owner->filled, true, memory_order_relaxed);
    wanted = !owner->woken;
    owner->woken = true;
    if (wanted)
      owner->woken_at = uv_hrtime();
  }
  uv_mutex_unlock(&owner->mutex);
  if (wanted)
    wake(owner);
  uvw_owner_unref(owner);
  return accepted;
}

/* How long ago the wake was sent that brings the caller here. */
uint64_t uvw_owner_lag(uvw_owner *owner) {
  uvw__lock(&owner->mutex);
  uint64_t since = owner->woken ? owner->woken_at : 0;
  uv_mutex_unlock(&owner->mutex);
  return since != 0 ? uv_hrtime() - since : 0;
}

static void answer_wake(uvw_owner *owner) {
  char drain[256];
  size_t size = owner->read_fd == owner->write_fd ? sizeof(uint64_t) : sizeof(drain);
  ssize_t n;
  do
    n = read(owner->read_fd, drain, size);
  while (n < 0 && errno == EINTR);
}

/* Whether there is something to take; a hint, without the lock. */
bool uvw_owner_filled(const uvw_owner *owner) {
  return atomic_load_explicit(&owner->filled, memory_order_relaxed);
}

static uvw_job *take_list(uvw_owner *owner) {
  uvw_job *list = owner->head;
  owner->head = owner->tail = NULL;
  atomic_store_explicit(&owner->filled, false, memory_order_relaxed);
  return list;
}

/* Takes all that has collected, oldest first, having spun for it so many
 * nanoseconds. Only with NULL is the wake answered: until then nobody pays for
 * another one. Who stops earlier calls uvw_owner_untake(). */
uvw_job *uvw_owner_take(uvw_owner *owner, uint64_t patience) {
  if (patience > 0 && !atomic_load_explicit(&owner->filled, memory_order_relaxed)) {
    uint64_t end = uv_hrtime() + patience;
    do {
      for (int i = 0; i < 8; i++)
        uvw__relax();
      if (patience > UVW__SPIN)
        sched_yield(); /* the worker may need this very processor */
    } while (!atomic_load_explicit(&owner->filled, memory_order_relaxed) && uv_hrtime() < end);
  }
  uvw__lock(&owner->mutex);
  uvw_job *list = take_list(owner);
  uv_mutex_unlock(&owner->mutex);
  if (list != NULL)
    return list;
  answer_wake(owner);
  uvw__lock(&owner->mutex);
  list = take_list(owner);
  owner->woken = list != NULL;
  uv_mutex_unlock(&owner->mutex);
  return list;
}

/* Gives the untreated rest of a take back, if any, to the front, and asks for
 * another turn. */
void uvw_owner_untake(uvw_owner *owner, uvw_job *list) {
  uvw__lock(&owner->mutex);
  if (list != NULL) {
    uvw_job *last = list;
    while (last->next != NULL)
      last = last->next;
    last->next = owner->head;
    owner->head = list;
    if (owner->tail == NULL)
      owner->tail = last;
    atomic_store_explicit(&owner->filled, true, memory_order_relaxed);
  }
  owner->woken = true;
  owner->woken_at = uv_hrtime();
  uv_mutex_unlock(&owner->mutex);
  wake(owner);
}

/* Returns what was not taken. The caller cancels the jobs it knows of; those
 * that run go to the graveyard when they end. Never waits. */
uvw_job *uvw_owner_close(uvw_owner *owner) {
  if (uvw_owner_stale(owner))
    return NULL;
  uvw__lock(&owner->mutex);
  uvw_job *list = owner->head;
  owner->head = owner->tail = NULL;
  owner->closed = true;
  uv_mutex_unlock(&owner->mutex);
  return list;
}

/* The graveyard: finished jobs that nobody waits for, whose tokens only the
 * submitter's side can release. It is emptied on the way by every thread that
 * holds the submitter's lock. */
static _Atomic(uvw_job *) graveyard;

void uvw__graveyard_init(void) { atomic_init(&graveyard, NULL); }

void uvw__bury(uvw_job *job) {
  if (job->token == NULL) {
    uvw_job_free(job);
    return;
  }
  /* It may lie here for long; the owner's descriptors need not. */
  uvw_owner_unref(job->owner);
  job->owner = NULL;
  uvw_job *head = atomic_load_explicit(&graveyard, memory_order_relaxed);
  do
    job->next = head;
  while (!atomic_compare_exchange_weak_explicit(&graveyard, &head, job, memory_order_release,
                                                memory_order_relaxed));
}

uvw_job *uvw_graveyard_take(void) {
  if (atomic_load_explicit(&graveyard, memory_order_relaxed) == NULL)
    return NULL;
  return atomic_exchange_explicit(&graveyard, NULL, memory_order_acquire);
}
