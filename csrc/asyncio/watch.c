/* Watch: one descriptor that libuv polls for us.
 *
 * libuv arms a descriptor only when it polls, and aborts the process when the
 * kernel refuses it then: if its owner has closed it meanwhile, or reused the
 * number for a file. So what we do not trust is tried once before the poll.
 *
 * Other threads are not meant to touch a loop, but they do, be it the garbage
 * collector in one of them. What they ask for while ours is inside libuv is
 * put off until it is not. In a forked child libuv is not told at all: it would
 * change what the kernel does for the parent. */
#include "asyncio.h"

#include <fcntl.h>
#ifdef __linux__
#include <sys/epoll.h>
#endif

static void watch_polled(uv_poll_t *poll, int status, int events) {
  Watch *self = (Watch *)poll;
  Loop *loop = self->loop;
  if (status < 0) {
    /* An error condition on the descriptor, upon which libuv has stopped. For
     * those who wait it is as good as ready: their system call will say what it is. */
    events = self->events;
    loop->watches_changed = true;
    uv_poll_start(poll, events, watch_polled);
  }
  if (loop->error)
    return; /* the run ends; the next one's poll will say it again */
  gil_take(loop);
  if (self->events == 0)
    return; /* another thread has stopped it meanwhile */
  PyObject *user = Py_XNewRef(self->user);
  self->kind->ready(self, events & self->events);
  Py_XDECREF(user);
}

static int watch_remember(Loop *loop, Watch *watch) {
  size_t fd = (size_t)watch->fd;
  if (fd >= loop->watch_capacity) {
    size_t capacity = fd + 64 > 2 * loop->watch_capacity ? fd + 64 : 2 * loop->watch_capacity;
    Watch **watches = PyMem_Realloc(loop->watches, capacity * sizeof(*watches));
    if (watches == NULL) {
      PyErr_NoMemory();
      return -1;
    }
    memset(watches + loop->watch_capacity, 0, (capacity - loop->watch_capacity) * sizeof(*watches));
    loop->watches = watches;
    loop->watch_capacity = capacity;
  }
  loop->watches[fd] = watch;
  return 0;
}

Watch *watch_of(Loop *loop, int fd) {
  return fd >= 0 && (size_t)fd < loop->watch_capacity ? loop->watches[fd] : NULL;
}

/* What has the number so far makes way, or it is refused; see WatchKind. */
int watch_open(Watch **holder, Loop *loop, int fd, const WatchKind *kind, PyObject *user,
               bool trusted) {
  if (loop_asleep(loop) && loop_check_thread(loop) < 0)
    return -1;
  watches_settle(loop);
  Watch *other = watch_of(loop, fd);
  if (other != NULL && other->kind->release != NULL) {
    other->kind->release(other);
  } else if (other != NULL) {
    PyErr_Format(PyExc_RuntimeError, "File descriptor %d is used by %R", fd,
                 other->user ? other->user : (PyObject *)loop);
    return -1;
  }
  Watch *self = PyMem_RawCalloc(1, kind->size);
  if (self == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  int error = uv_poll_init(&loop->uv, &self->poll, fd);
  if (error != 0) {
    PyMem_RawFree(self);
    uv_failure(error);
    return -1;
  }
  self->loop = loop;
  self->fd = fd;
  self->kind = kind;
  self->user = user;
  self->trusted = trusted;
  if (watch_remember(loop, self) < 0) {
    watch_close(self);
    return -1;
  }
  self->holder = holder;
  *holder = self;
  return 0;
}

/* Has it tried before the next poll. */
static int watch_distrust(Watch *self) {
  Loop *loop = self->loop;
  if (loop->unchecked_count == loop->unchecked_capacity) {
    size_t capacity = loop->unchecked_capacity ? 2 * loop->unchecked_capacity : 32;
    Watch **list = PyMem_Realloc(loop->unchecked, capacity * sizeof(*list));
    if (list == NULL) {
      PyErr_NoMemory();
      return -1;
    }
    loop->unchecked = list;
    loop->unchecked_capacity = capacity;
  }
  loop->unchecked[loop->unchecked_count++] = self;
  self->unchecked = true;
  return 0;
}

static int watch_tell_libuv(Watch *self, int events) {
  self->loop->watches_changed = true;
  return events != 0 ? uv_poll_start(&self->poll, events, watch_polled) : uv_poll_stop(&self->poll);
}

/* For other threads than the loop's, which will do it. */
static void watch_defer(Watch *self) {
  Loop *loop = self->loop;
  if (!self->deferred) {
    self->deferred = true;
    self->poll.data = loop->deferred;
    loop->deferred = self;
  }
  loop_wake(loop);
}

int watch_set(Watch *self, int events) {
  int before = self->events;
  if (events == before)
    return 0;
  if (events != 0 && !self->trusted && !self->unchecked && watch_distrust(self) < 0)
    return -1;
  if (loop_asleep(self->loop)) {
    watch_defer(self);
  } else if (!loop_stale(self->loop)) {
    int error = watch_tell_libuv(self, events);
    if (error != 0) {
      uv_failure(error);
      return -1;
    }
  }
  self->events = (uint8_t)events;
  if (before == 0)
    Py_XINCREF(self->user);
  else if (events == 0)
    Py_XDECREF(self->user);
  return 0;
}

static void watch_free(uv_handle_t *handle) { PyMem_RawFree(handle); }

static void watch_close_now(Watch *self) {
  self->loop->watches_changed = true;
  uv_close((uv_handle_t *)&self->poll, watch_free);
}

void watches_settle(Loop *loop) {
  Watch *watch;
  if (loop_stale(loop))
    loop->deferred = NULL;
  while ((watch = loop->deferred) != NULL) {
    loop->deferred = watch->poll.data;
    watch->deferred = false;
    if (!watch->closed) {
      watch_tell_libuv(watch, watch->events);
      continue;
    }
    watch_close_now(watch);
    /* Closing it has told the kernel to forget the descriptor, whose number may
     * be in use again. */
    Watch *other = watch_of(loop, watch->fd);
    if (other != NULL && other->events != 0)
      watch_tell_libuv(other, other->events);
  }
}

void watch_close(Watch *self) {
  Loop *loop = self->loop;
  if (!loop_asleep(loop))
    watches_settle(loop);
  PyObject *user = self->events != 0 ? self->user : NULL;
  if (self->holder != NULL)
    *self->holder = NULL;
  if (watch_of(loop, self->fd) == self)
    loop->watches[self->fd] = NULL;
  for (size_t i = 0; self->unchecked && i < loop->unchecked_count; i++)
    if (loop->unchecked[i] == self)
      loop->unchecked[i] = NULL;
  self->events = 0;
  self->user = NULL;
  self->closed = true;
  if (loop_asleep(loop)) {
#ifdef __linux__
    epoll_ctl(uv_backend_fd(&loop->uv), EPOLL_CTL_DEL, self->fd, NULL);
#endif
    watch_defer(self);
  } else if (!loop_stale(loop)) {
    watch_close_now(self);
  }
  Py_XDECREF(user);
}

/* Whether the kernel would arm it: 0, or a libuv code. */
static int watch_try(Loop *loop, int fd) {
#ifdef __linux__
  struct epoll_event nothing = {0};
  if (epoll_ctl(uv_backend_fd(&loop->uv), EPOLL_CTL_ADD, fd, &nothing) == 0 || errno == EEXIST)
    return 0;
  return -errno;
#else
  (void)loop;
  return fcntl(fd, F_GETFD) < 0 ? -errno : 0;
#endif
}

int watches_check(Loop *loop) {
  /* What a failure runs may add to the list. */
  for (size_t i = 0; i < loop->unchecked_count; i++) {
    Watch *watch = loop->unchecked[i];
    if (watch == NULL)
      continue;
    watch->unchecked = false;
    if (watch->events == 0)
      continue;
    int error = watch_try(loop, watch->fd);
    if (error != 0) {
      PyObject *user = Py_XNewRef(watch->user);
      watch_tell_libuv(watch, 0);
      watch->kind->ready(watch, error);
      Py_XDECREF(user);
      if (loop->error)
        break;
    }
  }
  loop->unchecked_count = 0;
  return loop->error ? -1 : 0;
}

void watches_close_all(Loop *loop) {
  for (size_t fd = 0; fd < loop->watch_capacity; fd++) {
    Watch *watch = loop->watches[fd];
    if (watch == NULL)
      continue;
    if (watch->kind->release != NULL)
      watch->kind->release(watch);
    else
      watch_close(watch);
  }
}

int watches_visit(Loop *loop, visitproc visit, void *arg) {
  for (size_t fd = 0; fd < loop->watch_capacity; fd++) {
    Watch *watch = loop->watches[fd];
    if (watch == NULL)
      continue;
    if (watch->events != 0)
      Py_VISIT(watch->user);
    if (watch->kind->visit != NULL) {
      int outcome = watch->kind->visit(watch, visit, arg);
      if (outcome != 0)
        return outcome;
    }
  }
  return 0;
}

int fd_of(PyObject *fileobj) {
  int fd = PyObject_AsFileDescriptor(fileobj);
  if (fd < 0 &&
      (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError) ||
       PyErr_ExceptionMatches(PyExc_AttributeError))) {
    PyErr_Clear();
    PyErr_Format(PyExc_ValueError,
                 PyLong_Check(fileobj) ? "Invalid file descriptor: %R" : "Invalid file object: %R",
                 fileobj);
  }
  return fd;
}
