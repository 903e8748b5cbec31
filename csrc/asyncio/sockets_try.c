/* The sock_* operations: the system calls. Each try makes its call once, without
 * blocking, and either ends its operation or leaves it as it was. */
#include "sockets.h"

#include <sys/socket.h>

enum { SMALL = 16384 };

void op_end(SockOp *self, PyObject *value) {
  self->ended = true;
  if (value != NULL)
    self->value = value;
  else
    self->exception = take_exception();
}

/* What came of a system call: true when the operation has ended. */
static bool op_called(SockOp *self, Py_ssize_t n) {
  if (n >= 0)
    return true;
  if (would_block())
    return false;
  raise_errno();
  op_end(self, NULL);
  return true;
}

/* Through the shared buffer, or into an object of the full size that is then
 * cut: what is better depends on how much there is, and the last one tells. */
static bool op_try_recv(SockOp *self) {
  bool small = self->size <= READ_BUFFER && self->loop->received <= SMALL;
  PyObject *data = small ? NULL : PyBytes_FromStringAndSize(NULL, self->size);
  if (!small && data == NULL) {
    op_end(self, NULL);
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
  if (!op_called(self, n))
    return false;
  if (!self->ended) {
    self->loop->received = n;
    if (small)
      data = PyBytes_FromStringAndSize(buffer, n);
    else if (n < self->size)
      _PyBytes_Resize(&data, n);
    op_end(self, data);
  }
  return true;
}

static bool op_try_recv_into(SockOp *self) {
  Py_ssize_t n;
  do
    n = recv(self->fd, self->view.buf, (size_t)self->view.len, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (!op_called(self, n))
    return false;
  if (!self->ended)
    op_end(self, PyLong_FromSsize_t(n));
  return true;
}

static bool op_try_sendall(SockOp *self) {
  while (self->done < self->view.len) {
    Py_ssize_t n = send(self->fd, (char *)self->view.buf + self->done,
                        (size_t)(self->view.len - self->done), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (!op_called(self, n))
      return false;
    if (self->ended)
      return true;
    self->done += n;
  }
  op_end(self, Py_NewRef(Py_None));
  return true;
}

/* A method of the socket, for the rarer ones: the socket module knows how. */
static PyObject *op_call_method(SockOp *self) {
  PyObject *method = PyObject_GetAttr(self->sock, self->method);
  PyObject *result = method != NULL ? PyObject_CallObject(method, self->args) : NULL;
  Py_XDECREF(method);
  return result;
}

static bool op_try_method(SockOp *self) {
  PyObject *result = op_call_method(self);
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
  op_end(self, result);
  return true;
}

static bool op_try_connect(SockOp *self) {
  if (!self->begun) {
    PyObject *result = op_call_method(self);
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
      raise_taken(exception);
    } else if (result == NULL && PyErr_ExceptionMatches(PyExc_InterruptedError)) {
      PyErr_Clear();
      return false;
    }
    op_end(self, result);
    return true;
  }
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(self->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
    error = errno;
  if (error == 0) {
    op_end(self, Py_NewRef(Py_None));
    return true;
  }
  PyObject *address = PyTuple_GET_ITEM(self->args, 0);
  raise_os_error_text(error, PyUnicode_FromFormat("Connect call failed %S", address), NULL);
  op_end(self, NULL);
  return true;
}

bool op_try(SockOp *self) {
  switch ((OpKind)self->kind) {
  case OP_RECV:
    return op_try_recv(self);
  case OP_RECV_INTO:
    return op_try_recv_into(self);
  case OP_SENDALL:
    return op_try_sendall(self);
  case OP_CONNECT:
    return op_try_connect(self);
  default:
    return op_try_method(self);
  }
}
