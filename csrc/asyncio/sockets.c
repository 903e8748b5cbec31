/* The sock_* operations.
 *
 * Each is an object that is awaited like a coroutine: the first send() tries
 * the call, and only if it would block a future is made and the descriptor
 * watched. Operations that wait for the same direction of a socket are served
 * in their order. An operation is in its reader's list from the time it waits
 * until it has ended or is thrown into. The list owns it: nobody else may hold
 * the task that awaits it. */
#include "sockets.h"

static PyTypeObject SockOp_Type;
static PyObject *ssl_socket;

/* Waiting -------------------------------------------------------------------- */

/* Its caller holds it. */
static void leave(SockOp *self) {
  if (!self->waiting)
    return;
  Reader *reader = reader_of(self->loop, self->fd);
  for (SockOp **link = &reader->first[self->direction]; *link != NULL; link = &(*link)->next)
    if (*link == self) {
      *link = self->next;
      break;
    }
  self->waiting = false;
  self->next = NULL;
  Py_DECREF(self);
  if (reader->first[self->direction] == NULL)
    reader_idle(reader);
}

void ops_drop(SockOp *first) {
  for (SockOp *op = first; op != NULL; op = op->next)
    op->waiting = false;
  while (first != NULL) {
    SockOp *op = first;
    first = op->next;
    op->next = NULL;
    Py_DECREF(op);
  }
}

int ops_visit(SockOp *first, visitproc visit, void *arg) {
  for (SockOp *op = first; op != NULL; op = op->next)
    Py_VISIT(op);
  return 0;
}

static int is_done(PyObject *future) {
  PyObject *answer = PyObject_CallMethodNoArgs(future, str_done);
  int truth = answer != NULL ? PyObject_IsTrue(answer) : -1;
  Py_XDECREF(answer);
  return truth;
}

static int resolve(SockOp *self) {
  PyObject *answer = PyObject_CallMethodOneArg(self->future, str_set_result, Py_None);
  Py_XDECREF(answer);
  return answer != NULL ? 0 : -1;
}

void ops_ready(Reader *reader, int direction) {
  Loop *loop = reader->watch.loop;
  int fd = reader->watch.fd;
  SockOp *op;
  while (reader_of(loop, fd) == reader && (op = reader->first[direction]) != NULL) {
    Py_INCREF(op);
    int done = is_done(op->future); /* cancelled: it must not take what comes */
    if (done == 0 && !op_try(op)) {
      Py_DECREF(op);
      return;
    }
    leave(op);
    if (done < 0 || (done == 0 && resolve(op) < 0))
      loop->error = true;
    Py_DECREF(op);
    if (loop->error)
      return;
  }
}

void ops_fail(Reader *reader, int code) {
  for (int i = 0; i < 2; i++) {
    SockOp *op;
    while ((op = reader->first[i]) != NULL) {
      reader->first[i] = op->next;
      op->next = NULL;
      op->waiting = false;
      if (is_done(op->future) == 0) {
        uv_failure(code);
        op_end(op, NULL);
        if (resolve(op) < 0)
          PyErr_WriteUnraisable((PyObject *)op);
      }
      Py_DECREF(op);
    }
  }
}

/* True if the reader is still armed for this very socket. */
static bool same_socket(Reader *reader, PyObject *sock) {
  if (reader->socket == NULL)
    return false;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject *found = NULL;
  if (PyWeakref_GetRef(reader->socket, &found) < 0)
    PyErr_Clear();
  Py_XDECREF(found); /* the caller has `sock` */
  return found == sock;
#else
  return PyWeakref_GetObject(reader->socket) == sock;
#endif
}

/* Operations on sockets that were closed meanwhile: the number is another's. */
static void fail_closed(Reader *reader) {
  for (int i = 0; i < 2; i++) {
    SockOp *op = reader->first[i];
    if (op == NULL)
      continue;
    int fd = PyObject_AsFileDescriptor(op->sock);
    PyErr_Clear();
    if (fd != reader->watch.fd) {
      ops_fail(reader, UV_EBADF);
      if (watch_set(&reader->watch, 0) < 0) /* the kernel has forgotten it */
        PyErr_Clear();
      return;
    }
  }
}

static int wait(SockOp *self) {
  Loop *loop = self->loop;
  if (loop_check_open(loop) < 0 || check_no_transport(loop, self->fd, self->sock) < 0)
    return -1;
  if ((self->future = PyObject_CallMethodNoArgs((PyObject *)loop, str_create_future)) == NULL)
    return -1;
  Reader *reader = reader_of(loop, self->fd);
  if (reader != NULL && reader->idle && !same_socket(reader, self->sock) &&
      reader->handle[READ] == NULL && reader->handle[WRITE] == NULL) {
    reader_release(reader); /* the number means another socket now */
    reader = NULL;
  }
  if (reader != NULL && !same_socket(reader, self->sock)) {
    fail_closed(reader);
    reader = reader_of(loop, self->fd);
  }
  if (reader == NULL && (reader = reader_open(loop, self->fd)) == NULL)
    return -1;
  if (!same_socket(reader, self->sock)) {
    Py_CLEAR(reader->socket);
    if ((reader->socket = PyWeakref_NewRef(self->sock, NULL)) == NULL)
      PyErr_Clear(); /* some other kind of socket object: never taken for the same */
  }
  SockOp **link = &reader->first[self->direction];
  while (*link != NULL)
    link = &(*link)->next;
  *link = (SockOp *)Py_NewRef(self);
  self->waiting = true;
  if (reader_arm(reader) < 0) {
    leave(self);
    return -1;
  }
  return PyObject_SetAttr(self->future, str__asyncio_future_blocking, Py_True);
}

/* What asyncio checks before each of them. */
static int check_socket(SockOp *self) {
  if (loop_check_open(self->loop) < 0)
    return -1;
  if (ssl_socket != NULL) {
    int is_ssl = PyObject_IsInstance(self->sock, ssl_socket);
    if (is_ssl < 0)
      return -1;
    if (is_ssl) {
      PyErr_SetString(PyExc_TypeError, "Socket cannot be of type SSLSocket");
      return -1;
    }
  }
  if (self->loop->debug) {
    PyObject *timeout = PyObject_CallMethodNoArgs(self->sock, str_gettimeout);
    if (timeout == NULL)
      return -1;
    double seconds = timeout == Py_None ? -1 : PyFloat_AsDouble(timeout);
    Py_DECREF(timeout);
    if (PyErr_Occurred())
      return -1;
    if (seconds != 0) {
      PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
      return -1;
    }
  }
  if ((self->fd = fd_of(self->sock)) >= 0)
    return 0;
  PyObject *exception = take_exception();
  if (PyObject_HasAttrString(self->sock, "fileno")) {
    errno = EBADF; /* a closed socket: what its own methods would say */
    PyErr_SetFromErrno(PyExc_OSError);
  } else {
    raise_again(exception);
  }
  Py_XDECREF(exception);
  return -1;
}

/* As a coroutine -------------------------------------------------------------- */

static void release(SockOp *self) {
  leave(self);
  if (self->view.obj != NULL)
    PyBuffer_Release(&self->view);
  Py_CLEAR(self->future);
}

static PySendResult finish(SockOp *self, PyObject **result) {
  release(self);
  PyObject *value = self->value, *exception = self->exception;
  self->value = self->exception = NULL;
  if (exception != NULL) {
    raise_again(exception);
    Py_DECREF(exception);
    return PYGEN_ERROR;
  }
  *result = value;
  return PYGEN_RETURN;
}

static PySendResult SockOp_am_send(SockOp *self, PyObject *Py_UNUSED(value), PyObject **result) {
  *result = NULL;
  if (self->begun && self->ended && self->value == NULL && self->exception == NULL) {
    PyErr_Format(PyExc_RuntimeError, "cannot reuse already awaited %s()", self->name);
    return PYGEN_ERROR;
  }
  if (self->waiting) {
    PyErr_Format(PyExc_RuntimeError, "%s() is being awaited already", self->name);
    return PYGEN_ERROR;
  }
  if (!self->ended) {
    if (!self->begun && check_socket(self) < 0) {
      self->begun = true;
      op_end(self, NULL);
      return finish(self, result);
    }
    bool ended = op_try(self);
    self->begun = true;
    if (!ended) {
      Py_CLEAR(self->future);
      if (wait(self) < 0) {
        op_end(self, NULL);
        return finish(self, result);
      }
      *result = Py_NewRef(self->future);
      return PYGEN_NEXT;
    }
  }
  return finish(self, result);
}

/* Nobody waits any more. */
static void abandon(SockOp *self) {
  release(self);
  self->begun = self->ended = true;
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
}

static PyObject *SockOp_throw(SockOp *self, PyObject *const *args, Py_ssize_t nargs) {
  abandon(self);
  return awaitable_raise(args, nargs);
}

static PyObject *SockOp_close(SockOp *self, PyObject *Py_UNUSED(ignored)) {
  abandon(self);
  Py_RETURN_NONE;
}

static int SockOp_traverse(SockOp *self, visitproc visit, void *arg) {
  Py_VISIT(self->loop);
  Py_VISIT(self->sock);
  Py_VISIT(self->method);
  Py_VISIT(self->args);
  Py_VISIT(self->future);
  Py_VISIT(self->value);
  Py_VISIT(self->exception);
  Py_VISIT(self->view.obj);
  return 0;
}

static int SockOp_clear(SockOp *self) {
  release(self);
  Py_CLEAR(self->loop);
  Py_CLEAR(self->sock);
  Py_CLEAR(self->method);
  Py_CLEAR(self->args);
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
  return 0;
}

static void SockOp_dealloc(SockOp *self) {
  PyObject_GC_UnTrack(self);
  if (self->loop != NULL)
    SockOp_clear(self);
  PyObject_GC_Del(self);
}

static PyObject *SockOp_repr(SockOp *self) {
  return PyUnicode_FromFormat("<%s() fd=%d%s>", self->name, self->fd,
                              self->waiting ? " waiting"
                              : self->ended ? " done"
                                            : "");
}

/* As a coroutine's, for the representation of its task. */
static PyObject *SockOp_name(SockOp *self, void *Py_UNUSED(closure)) {
  return PyUnicode_FromString(self->name);
}

static PyGetSetDef op_getset[] = {
    {"__name__", (getter)SockOp_name, NULL, NULL, NULL},
    {"__qualname__", (getter)SockOp_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef op_methods[] = {
    {"send", awaitable_send, METH_O, NULL},
    {"throw", (PyCFunction)(void (*)(void))SockOp_throw, METH_FASTCALL, NULL},
    {"close", (PyCFunction)SockOp_close, METH_NOARGS, NULL},
    {"__await__", (PyCFunction)(void (*)(void))PyObject_SelfIter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyAsyncMethods op_async = {
    .am_await = PyObject_SelfIter,
    .am_send = (sendfunc)SockOp_am_send,
};

static PyTypeObject SockOp_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.SockOp",
    .tp_doc = "An operation on a socket; awaitable once.",
    .tp_basicsize = sizeof(SockOp),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)SockOp_dealloc,
    .tp_traverse = (traverseproc)SockOp_traverse,
    .tp_clear = (inquiry)SockOp_clear,
    .tp_repr = (reprfunc)SockOp_repr,
    .tp_as_async = &op_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = awaitable_next,
    .tp_methods = op_methods,
    .tp_getset = op_getset,
};
SockOp *op_new(Loop *loop, const char *name, OpKind kind, int direction, PyObject *sock) {
  SockOp *self = PyObject_GC_New(SockOp, &SockOp_Type);
  if (self == NULL)
    return NULL;
  memset((char *)self + sizeof(PyObject), 0, sizeof(*self) - sizeof(PyObject));
  self->loop = (Loop *)Py_NewRef(loop);
  self->sock = Py_NewRef(sock);
  self->name = name;
  self->kind = (uint8_t)kind;
  self->direction = (uint8_t)direction;
  self->fd = -1;
  PyObject_GC_Track(self);
  return self;
}

int sockets_init(PyObject *module) {
  if (import_name(&ssl_socket, "ssl", "SSLSocket") < 0) {
    if (!PyErr_ExceptionMatches(PyExc_ImportError))
      return -1;
    PyErr_Clear(); /* a Python without TLS */
  }
  return PyModule_AddType(module, &SockOp_Type);
}
