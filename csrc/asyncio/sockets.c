/* The sock_* operations.
 *
 * Each is an object that is awaited like a coroutine: the first send() tries
 * the call, and only if it would block a future is made and the descriptor
 * watched. Operations that wait for the same direction of a socket are served
 * in their order. An operation is in its reader's list from the time it waits
 * until it has ended or is thrown into. The list owns it: nobody else may hold
 * the task that awaits it. */
#include "../core/core.h"

#include "asyncio.h"

#include <structmember.h>
#include <sys/socket.h>

typedef enum { OP_RECV, OP_RECV_INTO, OP_SENDALL, OP_METHOD, OP_CONNECT, OP_ACCEPT } OpKind;

struct SockOp {
  PyObject_HEAD
  Loop *loop;
  PyObject *sock;
  PyObject *method, *args; /* OP_METHOD, OP_CONNECT, OP_ACCEPT: what is tried */
  PyObject *future;        /* while it waits */
  PyObject *value, *exception;
  SockOp *next;
  const char *name;
  Py_buffer view;
  Py_ssize_t size, done; /* wanted; sent so far */
  int fd;
  uint8_t kind, direction;
  bool begun, waiting, ended;
};

static PyTypeObject SockOp_Type;
static PyObject *ssl_socket;

static void end_with(SockOp *self, PyObject *value) {
  self->ended = true;
  if (value != NULL)
    self->value = value;
  else
    self->exception = take_exception();
}

/* What came of a system call: true when the operation has ended. */
static bool called(SockOp *self, Py_ssize_t n) {
  if (n >= 0)
    return true;
  if (would_block())
    return false;
  PyErr_SetFromErrno(PyExc_OSError);
  end_with(self, NULL);
  return true;
}

static bool try_recv(SockOp *self) {
  bool small = self->size <= READ_BUFFER;
  PyObject *data = small ? NULL : PyBytes_FromStringAndSize(NULL, self->size);
  if (!small && data == NULL) {
    end_with(self, NULL);
    return true;
  }
  char *buffer = small ? self->loop->read_buffer : PyBytes_AS_STRING(data);
  Py_ssize_t n;
  do
    n = recv(self->fd, buffer, (size_t)self->size, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  int error = errno;
  if (n < 0)
    Py_CLEAR(data);
  errno = error;
  if (!called(self, n))
    return false;
  if (!self->ended) {
    if (small)
      data = PyBytes_FromStringAndSize(buffer, n);
    else if (n < self->size)
      _PyBytes_Resize(&data, n);
    end_with(self, data);
  }
  return true;
}

static bool try_recv_into(SockOp *self) {
  Py_ssize_t n;
  do
    n = recv(self->fd, self->view.buf, (size_t)self->view.len, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (!called(self, n))
    return false;
  if (!self->ended)
    end_with(self, PyLong_FromSsize_t(n));
  return true;
}

static bool try_sendall(SockOp *self) {
  while (self->done < self->view.len) {
    Py_ssize_t n = send(self->fd, (char *)self->view.buf + self->done,
                        (size_t)(self->view.len - self->done), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (!called(self, n))
      return false;
    if (self->ended)
      return true;
    self->done += n;
  }
  end_with(self, Py_NewRef(Py_None));
  return true;
}

/* A method of the socket, for the rarer ones: the socket module knows how. */
static PyObject *call_method(SockOp *self) {
  PyObject *method = PyObject_GetAttr(self->sock, self->method);
  PyObject *result = method != NULL ? PyObject_CallObject(method, self->args) : NULL;
  Py_XDECREF(method);
  return result;
}

static bool try_method(SockOp *self) {
  PyObject *result = call_method(self);
  if (result == NULL && (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
                         PyErr_ExceptionMatches(PyExc_InterruptedError))) {
    PyErr_Clear();
    return false;
  }
  if (result != NULL && self->kind == OP_ACCEPT) {
    PyObject *answer =
        PyObject_CallMethodOneArg(PyTuple_GET_ITEM(result, 0), str_setblocking, Py_False);
    if (answer == NULL)
      Py_CLEAR(result);
    Py_XDECREF(answer);
  }
  end_with(self, result);
  return true;
}

static bool try_connect(SockOp *self) {
  if (!self->begun) {
    PyObject *result = call_method(self);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_BlockingIOError)) {
      PyObject *exception = take_exception();
      PyObject *number = PyObject_GetAttrString(exception, "errno");
      long code = number != NULL ? PyLong_AsLong(number) : -1;
      Py_XDECREF(number);
      PyErr_Clear();
      if (code == EINPROGRESS || code == EALREADY) {
        Py_DECREF(exception);
        return false;
      }
      /* A UNIX server's queue is full: nothing is on its way. */
      raise_again(exception);
      Py_DECREF(exception);
    } else if (result == NULL && PyErr_ExceptionMatches(PyExc_InterruptedError)) {
      PyErr_Clear();
      return false;
    }
    end_with(self, result);
    return true;
  }
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
    error = errno;
  if (error == 0) {
    end_with(self, Py_NewRef(Py_None));
    return true;
  }
  PyObject *text = PyUnicode_FromFormat("Connect call failed %S", PyTuple_GET_ITEM(self->args, 0));
  PyObject *exception = text ? PyObject_CallFunction(PyExc_OSError, "iO", error, text) : NULL;
  Py_XDECREF(text);
  if (exception != NULL) {
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
  }
  end_with(self, NULL);
  return true;
}

/* False: it would block. */
static bool attempt(SockOp *self) {
  switch ((OpKind)self->kind) {
  case OP_RECV:
    return try_recv(self);
  case OP_RECV_INTO:
    return try_recv_into(self);
  case OP_SENDALL:
    return try_sendall(self);
  case OP_CONNECT:
    return try_connect(self);
  default:
    return try_method(self);
  }
}

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
    if (done == 0 && !attempt(op)) {
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
        end_with(op, NULL);
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
      end_with(self, NULL);
      return finish(self, result);
    }
    bool ended = attempt(self);
    self->begun = true;
    if (!ended) {
      Py_CLEAR(self->future);
      if (wait(self) < 0) {
        end_with(self, NULL);
        return finish(self, result);
      }
      *result = Py_NewRef(self->future);
      return PYGEN_NEXT;
    }
  }
  return finish(self, result);
}

static PyObject *SockOp_send(SockOp *self, PyObject *value) {
  PyObject *result;
  PySendResult outcome = SockOp_am_send(self, value, &result);
  if (outcome == PYGEN_NEXT)
    return result;
  if (outcome == PYGEN_RETURN) {
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop != NULL) {
      raise_again(stop);
      Py_DECREF(stop);
    }
  }
  return NULL;
}

static PyObject *SockOp_iternext(SockOp *self) { return SockOp_send(self, Py_None); }

static PyObject *SockOp_throw(SockOp *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs < 1 || nargs > 3) {
    PyErr_SetString(PyExc_TypeError, "throw() takes one to three arguments");
    return NULL;
  }
  release(self);
  self->begun = self->ended = true;
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
  if (PyExceptionInstance_Check(args[0]))
    raise_again(args[0]);
  else
    PyErr_SetObject(args[0], nargs > 1 && args[1] != Py_None ? args[1] : NULL);
  return NULL;
}

static PyObject *SockOp_close(SockOp *self, PyObject *Py_UNUSED(ignored)) {
  release(self);
  self->begun = self->ended = true;
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
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
    {"send", (PyCFunction)SockOp_send, METH_O, NULL},
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
    .tp_iternext = (iternextfunc)SockOp_iternext,
    .tp_methods = op_methods,
    .tp_getset = op_getset,
};

/* The methods of the loop -------------------------------------------------------- */

static SockOp *op_new(Loop *loop, const char *name, OpKind kind, int direction, PyObject *sock) {
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

/* Positional or by name; the last ones may be missing (NULL). */
static int parse(const char *name, const char *const *names, int required, PyObject *const *args,
                 Py_ssize_t nargs, PyObject *kwnames, PyObject **out) {
  int count = 0;
  while (names[count] != NULL)
    out[count++] = NULL;
  if (nargs > count) {
    PyErr_Format(PyExc_TypeError, "%s() takes %d arguments, %zd were given", name, count, nargs);
    return -1;
  }
  for (Py_ssize_t i = 0; i < nargs; i++)
    out[i] = args[i];
  for (Py_ssize_t i = 0; kwnames != NULL && i < PyTuple_GET_SIZE(kwnames); i++) {
    PyObject *key = PyTuple_GET_ITEM(kwnames, i);
    int j = 0;
    while (j < count && PyUnicode_CompareWithASCIIString(key, names[j]) != 0)
      j++;
    if (j == count || out[j] != NULL) {
      PyErr_Format(PyExc_TypeError, "%s() got an unexpected argument %R", name, key);
      return -1;
    }
    out[j] = args[nargs + i];
  }
  for (int j = 0; j < required; j++)
    if (out[j] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() misses the argument '%s'", name, names[j]);
      return -1;
    }
  return 0;
}

#define PARSE(name, required, ...)                                                                 \
  static const char *const names[] = {__VA_ARGS__, NULL};                                          \
  PyObject *given[sizeof(names) / sizeof(names[0])];                                               \
  if (parse(name, names, required, args, nargs, kwnames, given) < 0)                               \
  return NULL

#define SOCK_METHOD(name)                                                                          \
  PyObject *loop_##name(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)

static PyObject *with_view(SockOp *op, PyObject *data, int flags) {
  if (op != NULL && PyObject_GetBuffer(data, &op->view, flags) < 0)
    Py_CLEAR(op);
  return (PyObject *)op;
}

/* A method of the socket object with the arguments given; steals `arguments`. */
static PyObject *with_method(SockOp *op, const char *method, PyObject *arguments) {
  if (op == NULL || arguments == NULL) {
    Py_XDECREF(op);
    Py_XDECREF(arguments);
    return NULL;
  }
  op->args = arguments;
  if ((op->method = PyUnicode_InternFromString(method)) == NULL)
    Py_CLEAR(op);
  return (PyObject *)op;
}

SOCK_METHOD(sock_recv) {
  PARSE("sock_recv", 2, "sock", "n");
  Py_ssize_t size = PyNumber_AsSsize_t(given[1], PyExc_OverflowError);
  if (size == -1 && PyErr_Occurred())
    return NULL;
  if (size < 0) {
    PyErr_SetString(PyExc_ValueError, "negative buffersize in sock_recv");
    return NULL;
  }
  SockOp *op = op_new(self, "sock_recv", OP_RECV, READ, given[0]);
  if (op != NULL)
    op->size = size;
  return (PyObject *)op;
}

SOCK_METHOD(sock_recv_into) {
  PARSE("sock_recv_into", 2, "sock", "buf");
  return with_view(op_new(self, "sock_recv_into", OP_RECV_INTO, READ, given[0]), given[1],
                   PyBUF_WRITABLE);
}

SOCK_METHOD(sock_recvfrom) {
  PARSE("sock_recvfrom", 2, "sock", "bufsize");
  return with_method(op_new(self, "sock_recvfrom", OP_METHOD, READ, given[0]), "recvfrom",
                     PyTuple_Pack(1, given[1]));
}

SOCK_METHOD(sock_recvfrom_into) {
  PARSE("sock_recvfrom_into", 2, "sock", "buf", "nbytes");
  PyObject *zero = given[2] ? Py_NewRef(given[2]) : PyLong_FromLong(0);
  PyObject *arguments = zero ? PyTuple_Pack(2, given[1], zero) : NULL;
  Py_XDECREF(zero);
  return with_method(op_new(self, "sock_recvfrom_into", OP_METHOD, READ, given[0]), "recvfrom_into",
                     arguments);
}

SOCK_METHOD(sock_sendall) {
  PARSE("sock_sendall", 2, "sock", "data");
  return with_view(op_new(self, "sock_sendall", OP_SENDALL, WRITE, given[0]), given[1],
                   PyBUF_SIMPLE);
}

SOCK_METHOD(sock_sendto) {
  PARSE("sock_sendto", 3, "sock", "data", "address");
  return with_method(op_new(self, "sock_sendto", OP_METHOD, WRITE, given[0]), "sendto",
                     PyTuple_Pack(2, given[1], given[2]));
}

SOCK_METHOD(sock_connect) {
  PARSE("sock_connect", 2, "sock", "address");
  return with_method(op_new(self, "sock_connect", OP_CONNECT, WRITE, given[0]), "connect",
                     PyTuple_Pack(1, given[1]));
}

SOCK_METHOD(sock_accept) {
  PARSE("sock_accept", 1, "sock");
  return with_method(op_new(self, "sock_accept", OP_ACCEPT, READ, given[0]), "accept",
                     PyTuple_New(0));
}

int sockets_init(PyObject *module) {
  if (import_name(&ssl_socket, "ssl", "SSLSocket") < 0) {
    if (!PyErr_ExceptionMatches(PyExc_ImportError))
      return -1;
    PyErr_Clear(); /* a Python without TLS */
  }
  return PyModule_AddType(module, &SockOp_Type);
}
