/* The descriptors that belong to the user: what add_reader(), add_writer() and
 * the sock_* operations wait by.
 *
 * A ready descriptor's handles go into the ready queue, as asyncio's do, so
 * that a callback of the same turn can still remove them. Operations are tried
 * at once, those that wait for the same direction in their order.
 *
 * A descriptor owns its handles, and the operations that wait: nobody else may
 * hold the tasks that await these. It closes itself when nobody waits any more.
 *
 * An operation that has ended leaves its descriptor armed up to the next poll:
 * mostly the next operation comes within the same turn, and two system calls
 * are saved. Not so after a fork: if the child still has the socket when the
 * user closes it, nobody could disarm it any more. */
#include "sockets.h"

#include <pthread.h>

static bool forked;

static void descriptors_after_fork(void) { forked = true; }

int descriptors_init(void) {
  if (pthread_atfork(NULL, descriptors_after_fork, NULL) == 0)
    return 0;
  PyErr_NoMemory();
  return -1;
}

static const WatchKind descriptor_kind;

Descriptor *descriptor_of(Loop *loop, int fd) {
  Watch *watch = watch_of(loop, fd);
  return watch != NULL && watch->kind == &descriptor_kind ? (Descriptor *)watch : NULL;
}

Descriptor *descriptor_open(Loop *loop, int fd) {
  Watch *watch;
  if (watch_open(&watch, loop, fd, &descriptor_kind, NULL, false) < 0)
    return NULL;
  watch->holder = NULL;
  return (Descriptor *)watch;
}

static int descriptor_wanted(const Descriptor *self) {
  int events = 0;
  if (self->handle[READ] != NULL || self->first[READ] != NULL)
    events |= UV_READABLE;
  if (self->handle[WRITE] != NULL || self->first[WRITE] != NULL)
    events |= UV_WRITABLE;
  return events;
}

static void ops_drop(SockOp *first) {
  for (SockOp *op = first; op != NULL; op = op->next)
    op->waiting = false;
  while (first != NULL) {
    SockOp *op = first;
    first = op->next;
    op->next = NULL;
    Py_DECREF(op);
  }
}

static int ops_visit(SockOp *first, visitproc visit, void *arg) {
  for (SockOp *op = first; op != NULL; op = op->next)
    Py_VISIT(op);
  return 0;
}

void descriptor_release(Descriptor *self) {
  Loop *loop = self->watch.loop;
  if (self->idle)
    for (int i = 0; i < loop->idle_count; i++)
      if (loop->idle[i] == self)
        loop->idle[i] = loop->idle[--loop->idle_count];
  PyObject *fileobj = self->fileobj, *socket = self->socket;
  Handle *handles[2] = {self->handle[READ], self->handle[WRITE]};
  SockOp *ops[2] = {self->first[READ], self->first[WRITE]};
  self->fileobj = self->socket = NULL;
  self->handle[READ] = self->handle[WRITE] = NULL;
  self->first[READ] = self->first[WRITE] = NULL;
  watch_close(&self->watch);
  for (int i = 0; i < 2; i++) {
    ops_drop(ops[i]);
    handle_drop(handles[i]);
  }
  Py_XDECREF(fileobj);
  Py_XDECREF(socket);
}

int descriptor_arm(Descriptor *self) {
  int events = descriptor_wanted(self);
  if (events == 0) {
    descriptor_release(self);
    return 0;
  }
  if (self->idle && (self->watch.events | events) == self->watch.events)
    return 0; /* still armed; settled before the poll */
  return watch_set(&self->watch, events);
}

/* Its last operation has ended: it stays armed up to the next poll. */
static void descriptor_idle(Descriptor *self) {
  Loop *loop = self->watch.loop;
  if (self->idle)
    return;
  if (forked || loop->idle_count == IDLE_MAX) {
    if (descriptor_arm(self) < 0)
      PyErr_Clear();
    return;
  }
  self->idle = true;
  loop->idle[loop->idle_count++] = self;
}

void descriptors_settle(Loop *loop) {
  while (loop->idle_count > 0) {
    Descriptor *descriptor = loop->idle[--loop->idle_count];
    descriptor->idle = false;
    if (descriptor_arm(descriptor) < 0)
      PyErr_Clear();
  }
}

/* Waiting operations ------------------------------------------------------------ */

static int op_is_done(SockOp *self) {
  PyObject *answer = PyObject_CallMethodNoArgs(self->future, str_done);
  int truth = answer != NULL ? PyObject_IsTrue(answer) : -1;
  Py_XDECREF(answer);
  return truth;
}

static int op_resolve(SockOp *self) {
  PyObject *answer = PyObject_CallMethodOneArg(self->future, str_set_result, Py_None);
  Py_XDECREF(answer);
  return answer != NULL ? 0 : -1;
}

/* Its caller holds a reference. */
void descriptor_leave(SockOp *self) {
  if (!self->waiting)
    return;
  Descriptor *descriptor = descriptor_of(self->loop, self->fd);
  for (SockOp **link = &descriptor->first[self->direction]; *link != NULL; link = &(*link)->next)
    if (*link == self) {
      *link = self->next;
      break;
    }
  self->waiting = false;
  self->next = NULL;
  Py_DECREF(self);
  if (descriptor->first[self->direction] == NULL)
    descriptor_idle(descriptor);
}

static void ops_ready(Descriptor *descriptor, int direction) {
  Loop *loop = descriptor->watch.loop;
  int fd = descriptor->watch.fd;
  SockOp *op;
  while (descriptor_of(loop, fd) == descriptor && (op = descriptor->first[direction]) != NULL) {
    Py_INCREF(op);
    int done = op_is_done(op); /* cancelled: it must not take what comes */
    if (done == 0 && !op_try(op)) {
      Py_DECREF(op);
      return;
    }
    descriptor_leave(op);
    if (done < 0 || (done == 0 && op_resolve(op) < 0))
      loop->error = true;
    Py_DECREF(op);
    if (loop->error)
      return;
  }
}

static void ops_fail(Descriptor *descriptor, int code) {
  for (int i = 0; i < 2; i++) {
    SockOp *op;
    while ((op = descriptor->first[i]) != NULL) {
      descriptor->first[i] = op->next;
      op->next = NULL;
      op->waiting = false;
      if (op_is_done(op) == 0) {
        uv_failure(code);
        op_end(op, NULL);
        if (op_resolve(op) < 0)
          PyErr_WriteUnraisable((PyObject *)op);
      }
      Py_DECREF(op);
    }
  }
}

/* True if the descriptor was opened for this very socket. */
static bool descriptor_is_of(Descriptor *descriptor, PyObject *sock) {
  if (descriptor->socket == NULL)
    return false;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject *found = NULL;
  if (PyWeakref_GetRef(descriptor->socket, &found) < 0)
    PyErr_Clear();
  Py_XDECREF(found); /* the caller has `sock` */
  return found == sock;
#else
  return PyWeakref_GetObject(descriptor->socket) == sock;
#endif
}

/* Ends operations on sockets that were closed meanwhile: the number is another's. */
static void ops_fail_closed(Descriptor *descriptor) {
  for (int i = 0; i < 2; i++) {
    SockOp *op = descriptor->first[i];
    if (op == NULL)
      continue;
    int fd = PyObject_AsFileDescriptor(op->sock);
    PyErr_Clear();
    if (fd != descriptor->watch.fd) {
      ops_fail(descriptor, UV_EBADF);
      if (watch_set(&descriptor->watch, 0) < 0) /* the kernel has forgotten it */
        PyErr_Clear();
      return;
    }
  }
}

int descriptor_wait(SockOp *self) {
  Loop *loop = self->loop;
  if (loop_check_open(loop) < 0 || descriptor_check_no_transport(loop, self->fd, self->sock) < 0)
    return -1;
  if ((self->future = PyObject_CallMethodNoArgs((PyObject *)loop, str_create_future)) == NULL)
    return -1;
  Descriptor *descriptor = descriptor_of(loop, self->fd);
  if (descriptor != NULL && descriptor->idle && !descriptor_is_of(descriptor, self->sock) &&
      descriptor->handle[READ] == NULL && descriptor->handle[WRITE] == NULL) {
    descriptor_release(descriptor); /* the number means another socket now */
    descriptor = NULL;
  }
  if (descriptor != NULL && !descriptor_is_of(descriptor, self->sock)) {
    ops_fail_closed(descriptor);
    descriptor = descriptor_of(loop, self->fd);
  }
  if (descriptor == NULL && (descriptor = descriptor_open(loop, self->fd)) == NULL)
    return -1;
  if (!descriptor_is_of(descriptor, self->sock)) {
    Py_CLEAR(descriptor->socket);
    if ((descriptor->socket = PyWeakref_NewRef(self->sock, NULL)) == NULL)
      PyErr_Clear(); /* some other kind of socket object: never taken for the same */
  }
  SockOp **link = &descriptor->first[self->direction];
  while (*link != NULL)
    link = &(*link)->next;
  *link = (SockOp *)Py_NewRef(self);
  self->waiting = true;
  if (descriptor_arm(descriptor) < 0) {
    descriptor_leave(self);
    return -1;
  }
  return PyObject_SetAttr(self->future, str__asyncio_future_blocking, Py_True);
}

/* The watch's kind ---------------------------------------------------------------- */

static void descriptor_ready(Watch *watch, int events) {
  Descriptor *self = (Descriptor *)watch;
  Loop *loop = watch->loop;
  if (events < 0) {
    int fd = watch->fd;
    ops_fail(self, events);
    if (descriptor_of(loop, fd) != self)
      return;
    bool handles = self->handle[READ] != NULL || self->handle[WRITE] != NULL;
    descriptor_release(self);
    if (handles) {
      PyObject *number = PyLong_FromLong(fd);
      uv_failure(events);
      if (loop_report(
              loop,
              "A watched file descriptor was closed without remove_reader() or remove_writer()",
              "fd", number, NULL, NULL) < 0)
        loop->error = true;
      Py_XDECREF(number);
    }
    return;
  }
  static const int bits[2] = {UV_READABLE, UV_WRITABLE};
  int fd = watch->fd;
  for (int i = 0; i < 2; i++) {
    if (!(events & bits[i]))
      continue;
    if (self->handle[i] != NULL && ready_push(&loop->ready, self->handle[i]) < 0) {
      loop->error = true;
      return;
    }
    if (self->first[i] != NULL) {
      ops_ready(self, i);
      if (loop->error || descriptor_of(loop, fd) != self)
        return;
    }
  }
}

static int descriptor_visit(Watch *watch, visitproc visit, void *arg) {
  Descriptor *self = (Descriptor *)watch;
  Py_VISIT(self->fileobj);
  for (int i = 0; i < 2; i++) {
    int outcome = ops_visit(self->first[i], visit, arg);
    if (outcome == 0 && self->handle[i] != NULL)
      outcome = handle_visit(self->handle[i], visit, arg);
    if (outcome != 0)
      return outcome;
  }
  return 0;
}

static void descriptor_release_watch(Watch *watch) { descriptor_release((Descriptor *)watch); }

static const WatchKind descriptor_kind = {
    .size = sizeof(Descriptor),
    .ready = descriptor_ready,
    .release = descriptor_release_watch,
    .visit = descriptor_visit,
};

int descriptor_check_no_transport(Loop *loop, int fd, PyObject *fileobj) {
  Watch *watch = watch_of(loop, fd);
  if (watch == NULL || descriptor_of(loop, fd) != NULL)
    return 0;
  if (watch->user == NULL || !PyObject_HasAttrString(watch->user, "is_closing")) {
    PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by %R", fileobj,
                 watch->user ? watch->user : (PyObject *)loop);
    return -1;
  }
  PyObject *closing = PyObject_CallMethod(watch->user, "is_closing", NULL);
  int truth = closing != NULL ? PyObject_IsTrue(closing) : -1;
  Py_XDECREF(closing);
  if (truth != 0)
    return truth < 0 ? -1 : 0;
  PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", fileobj,
               watch->user);
  return -1;
}
