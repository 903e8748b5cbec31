/* add_reader, add_writer and what the sock_* operations wait by: the
 * descriptors that belong to the user.
 *
 * A ready descriptor's handles go into the ready queue, as asyncio's do, so
 * that a callback of the same turn can still remove them.
 *
 * An operation that has ended leaves its descriptor armed up to the next poll:
 * mostly the next operation comes within the same turn, and two system calls
 * are saved. Not so after a fork: if the child still has the socket when the
 * user closes it, nobody could disarm it any more. */
#include "asyncio.h"

#include <fcntl.h>
#include <pthread.h>

static void on_ready(Watch *watch, int events);

static bool forked;

static void after_fork_in_parent(void) { forked = true; }

int readers_init(void) {
  if (pthread_atfork(NULL, after_fork_in_parent, NULL) == 0)
    return 0;
  PyErr_NoMemory();
  return -1;
}

bool watch_is_reader(Watch *watch) { return watch->ready == on_ready; }

Reader *reader_of(Loop *loop, int fd) {
  Watch *watch = watch_of(loop, fd);
  return watch != NULL && watch_is_reader(watch) ? (Reader *)watch : NULL;
}

Reader *reader_open(Loop *loop, int fd) {
  Watch *watch;
  if (watch_open(&watch, loop, fd, on_ready, NULL, false, sizeof(Reader)) < 0)
    return NULL;
  watch->holder = NULL;
  return (Reader *)watch;
}

static int wanted(const Reader *self) {
  int events = 0;
  if (self->handle[READ] != NULL || self->first[READ] != NULL)
    events |= UV_READABLE;
  if (self->handle[WRITE] != NULL || self->first[WRITE] != NULL)
    events |= UV_WRITABLE;
  return events;
}

/* Runs what its arguments have to say to their end; so it comes last. */
static void drop_handle(Handle *handle) {
  if (handle != NULL) {
    handle_cancel(handle);
    Py_DECREF(handle);
  }
}

void reader_release(Reader *self) {
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
    drop_handle(handles[i]);
  }
  Py_XDECREF(fileobj);
  Py_XDECREF(socket);
}

int reader_arm(Reader *self) {
  int events = wanted(self);
  if (events == 0) {
    reader_release(self);
    return 0;
  }
  if (self->idle && (self->watch.events | events) == self->watch.events)
    return 0; /* still armed; settled before the poll */
  return watch_set(&self->watch, events);
}

/* An operation has ended. */
void reader_idle(Reader *self) {
  Loop *loop = self->watch.loop;
  if (self->idle)
    return;
  if (forked || loop->idle_count == IDLE_MAX) {
    if (reader_arm(self) < 0)
      PyErr_Clear();
    return;
  }
  self->idle = true;
  loop->idle[loop->idle_count++] = self;
}

void readers_settle(Loop *loop) {
  while (loop->idle_count > 0) {
    Reader *reader = loop->idle[--loop->idle_count];
    reader->idle = false;
    if (reader_arm(reader) < 0)
      PyErr_Clear();
  }
}

int reader_visit(Watch *watch, visitproc visit, void *arg) {
  Reader *self = (Reader *)watch;
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

static void on_ready(Watch *watch, int events) {
  Reader *self = (Reader *)watch;
  Loop *loop = watch->loop;
  if (events < 0) {
    int fd = watch->fd;
    ops_fail(self, events);
    if (reader_of(loop, fd) != self)
      return;
    bool handles = self->handle[READ] != NULL || self->handle[WRITE] != NULL;
    reader_release(self);
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
      if (loop->error || reader_of(loop, fd) != self)
        return;
    }
  }
}

int check_no_transport(Loop *loop, int fd, PyObject *fileobj) {
  Watch *watch = watch_of(loop, fd);
  if (watch == NULL || watch_is_reader(watch))
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

/* libuv makes a descriptor non-blocking, which others may share: a terminal's
 * is that of the shell and of print(). */
static Reader *open_as_it_is(Loop *loop, int fd) {
  int flags = fcntl(fd, F_GETFL);
  Reader *reader = reader_open(loop, fd);
  if (reader != NULL && flags >= 0 && !(flags & O_NONBLOCK))
    fcntl(fd, F_SETFL, flags);
  return reader;
}

static Handle *add(Loop *self, PyObject *const *args, Py_ssize_t nargs, int direction) {
  if (nargs < 2) {
    PyErr_Format(PyExc_TypeError, "add_%s() needs a file descriptor and a callback",
                 direction == READ ? "reader" : "writer");
    return NULL;
  }
  if (loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(args[0]);
  if (fd < 0)
    return NULL;
  Handle *handle = handle_new(&Handle_Type, self, args[1], args + 2, nargs - 2, NULL);
  if (handle == NULL)
    return NULL;
  handle->persistent = true;
  Reader *reader = reader_of(self, fd);
  if (reader != NULL && reader->handle[direction] != NULL && reader->watch.events != 0 &&
      reader->fileobj != args[0]) {
    /* Perhaps another file under the same number: arm it anew. */
    if (watch_set(&reader->watch, 0) < 0)
      goto failed;
  }
  if (reader == NULL && (reader = open_as_it_is(self, fd)) == NULL)
    goto failed;
  Handle *former = reader->handle[direction];
  PyObject *fileobj = reader->fileobj;
  reader->handle[direction] = (Handle *)Py_NewRef(handle);
  reader->fileobj = Py_NewRef(args[0]);
  int outcome = reader_arm(reader);
  if (outcome < 0)
    reader_release(reader);
  drop_handle(former);
  Py_XDECREF(fileobj);
  if (outcome == 0)
    return handle;

failed:
  Py_DECREF(handle);
  return NULL;
}

static Reader *find_closed(Loop *self, PyObject *fileobj) {
  for (size_t fd = 0; fd < self->watch_capacity; fd++) {
    Reader *reader = reader_of(self, (int)fd);
    if (reader != NULL && reader->fileobj == fileobj)
      return reader;
  }
  return NULL;
}

static PyObject *remove_(Loop *self, PyObject *fileobj, int direction) {
  if (self->closed)
    Py_RETURN_FALSE;
  int fd = fd_of(fileobj);
  Reader *reader;
  if (fd >= 0) {
    reader = reader_of(self, fd);
  } else {
    reader = find_closed(self, fileobj);
    if (reader == NULL)
      return NULL;
    PyErr_Clear();
  }
  if (reader == NULL || reader->handle[direction] == NULL)
    Py_RETURN_FALSE;
  Handle *handle = reader->handle[direction];
  reader->handle[direction] = NULL;
  int outcome = reader_arm(reader);
  drop_handle(handle);
  if (outcome < 0)
    return NULL;
  Py_RETURN_TRUE;
}

/* The public ones keep off transports' descriptors. */
static int guard(Loop *self, PyObject *fileobj) {
  if (self->closed || self->watch_capacity == 0)
    return 0;
  int fd = fd_of(fileobj);
  if (fd < 0) {
    if (PyLong_Check(fileobj) || !PyObject_HasAttrString(fileobj, "fileno"))
      return -1;
    PyErr_Clear(); /* a closed file: remove_reader() knows it by identity */
    return 0;
  }
  return check_no_transport(self, fd, fileobj);
}

static PyObject *public_add(Loop *self, const char *method, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames, int direction) {
  static const char *const names[] = {"fd", "callback", NULL};
  PyObject *copy[2] = {NULL, NULL};
  if (loop_bind(method, names, &args, &nargs, kwnames, copy, NULL) < 0 || guard(self, args[0]) < 0)
    return NULL;
  Handle *handle = add(self, args, nargs, direction);
  if (handle == NULL)
    return NULL;
  Py_DECREF(handle);
  Py_RETURN_NONE;
}

static PyObject *public_remove(Loop *self, const char *method, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *kwnames, int direction) {
  static const char *const names[] = {"fd", NULL};
  PyObject *copy[1] = {NULL};
  if (loop_bind(method, names, &args, &nargs, kwnames, copy, NULL) < 0)
    return NULL;
  if (nargs > 1) {
    PyErr_Format(PyExc_TypeError, "%s() takes 1 argument but %zd were given", method, nargs);
    return NULL;
  }
  return guard(self, args[0]) < 0 ? NULL : remove_(self, args[0], direction);
}

PyObject *loop_add_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  return public_add(self, "add_reader", args, nargs, kwnames, READ);
}

PyObject *loop_add_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  return public_add(self, "add_writer", args, nargs, kwnames, WRITE);
}

PyObject *loop_remove_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames) {
  return public_remove(self, "remove_reader", args, nargs, kwnames, READ);
}

PyObject *loop_remove_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames) {
  return public_remove(self, "remove_writer", args, nargs, kwnames, WRITE);
}

PyObject *loop__add_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs) {
  return (PyObject *)add(self, args, nargs, READ);
}

PyObject *loop__add_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs) {
  return (PyObject *)add(self, args, nargs, WRITE);
}

PyObject *loop__remove_reader(Loop *self, PyObject *fd) { return remove_(self, fd, READ); }

PyObject *loop__remove_writer(Loop *self, PyObject *fd) { return remove_(self, fd, WRITE); }
