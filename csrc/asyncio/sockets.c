/* The sock_* operations as awaitables.
 *
 * Each is an object that is awaited like a coroutine: the first send() tries
 * the call (sockets_try.c), and only if it would block a future is made and the
 * operation joins those that wait for the descriptor (descriptors.c), up to its
 * end or until something is thrown into it. All with the GIL, on the loop's
 * thread. */
#include "sockets.h"

static PyTypeObject SockOp_Type;
static PyObject *ssl_socket;

/* What asyncio checks before each of them. */
static int op_check_socket(SockOp *self) {
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
    uv_failure(UV_EBADF); /* a closed socket: what its own methods would say */
    Py_DECREF(exception);
  } else {
    raise_taken(exception);
  }
  return -1;
}

/* As a coroutine -------------------------------------------------------------- */

static void op_release(SockOp *self) {
  descriptor_leave(self);
  if (self->view.obj != NULL)
    PyBuffer_Release(&self->view);
  Py_CLEAR(self->future);
}

static PySendResult op_finish(SockOp *self, PyObject **result) {
  op_release(self);
  PyObject *value = self->value, *exception = self->exception;
  self->value = self->exception = NULL;
  if (exception != NULL) {
    raise_taken(exception);
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
    if (!self->begun && op_check_socket(self) < 0) {
      self->begun = true;
      op_end(self, NULL);
      return op_finish(self, result);
    }
    bool ended = op_try(self);
    self->begun = true;
    if (!ended) {
      Py_CLEAR(self->future);
      if (descriptor_wait(self) < 0) {
        op_end(self, NULL);
        return op_finish(self, result);
      }
      *result = Py_NewRef(self->future);
      return PYGEN_NEXT;
    }
  }
  return op_finish(self, result);
}

/* Nobody waits any more. */
static void op_abandon(SockOp *self) {
  op_release(self);
  self->begun = self->ended = true;
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
}

static PyObject *SockOp_throw(SockOp *self, PyObject *const *args, Py_ssize_t nargs) {
  op_abandon(self);
  return awaitable_raise(args, nargs);
}

static PyObject *SockOp_close(SockOp *self, PyObject *Py_UNUSED(ignored)) {
  op_abandon(self);
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
  op_release(self);
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
