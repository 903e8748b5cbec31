/* The sock_* operations: the methods of the loop. They take the arguments apart;
 * everything else happens when the operation is awaited. */
#include "sockets.h"

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
