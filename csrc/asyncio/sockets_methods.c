/* The sock_* operations: the methods of the loop. They take the arguments apart;
 * everything else happens when the operation is awaited. */
#include "sockets.h"

/* The arguments of the method as given[]; the last ones may be missing (NULL). */
#define BIND(function, required, ...)                                                              \
  enum { COUNT = sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *) };                   \
  static const Parameters parameters = {function, {__VA_ARGS__}, required, COUNT, false};          \
  PyObject *given[COUNT];                                                                          \
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0)                                \
  return NULL

#define SOCK_METHOD(name)                                                                          \
  PyObject *loop_##name(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)

static PyObject *op_with_view(SockOp *op, PyObject *data, int flags) {
  if (op != NULL && PyObject_GetBuffer(data, &op->view, flags) < 0)
    Py_CLEAR(op);
  return (PyObject *)op;
}

/* A method of the socket object with the arguments given; steals `arguments`. */
static PyObject *op_with_method(SockOp *op, const char *method, PyObject *arguments) {
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
  BIND("sock_recv", 2, "sock", "n");
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
  BIND("sock_recv_into", 2, "sock", "buf");
  return op_with_view(op_new(self, "sock_recv_into", OP_RECV_INTO, READ, given[0]), given[1],
                      PyBUF_WRITABLE);
}

SOCK_METHOD(sock_recvfrom) {
  BIND("sock_recvfrom", 2, "sock", "bufsize");
  return op_with_method(op_new(self, "sock_recvfrom", OP_METHOD, READ, given[0]), "recvfrom",
                        PyTuple_Pack(1, given[1]));
}

SOCK_METHOD(sock_recvfrom_into) {
  BIND("sock_recvfrom_into", 2, "sock", "buf", "nbytes");
  PyObject *zero = given[2] ? Py_NewRef(given[2]) : PyLong_FromLong(0);
  PyObject *arguments = zero ? PyTuple_Pack(2, given[1], zero) : NULL;
  Py_XDECREF(zero);
  return op_with_method(op_new(self, "sock_recvfrom_into", OP_METHOD, READ, given[0]),
                        "recvfrom_into", arguments);
}

SOCK_METHOD(sock_sendall) {
  BIND("sock_sendall", 2, "sock", "data");
  return op_with_view(op_new(self, "sock_sendall", OP_SENDALL, WRITE, given[0]), given[1],
                      PyBUF_SIMPLE);
}

SOCK_METHOD(sock_sendto) {
  BIND("sock_sendto", 3, "sock", "data", "address");
  return op_with_method(op_new(self, "sock_sendto", OP_METHOD, WRITE, given[0]), "sendto",
                        PyTuple_Pack(2, given[1], given[2]));
}

SOCK_METHOD(sock_connect) {
  BIND("sock_connect", 2, "sock", "address");
  return op_with_method(op_new(self, "sock_connect", OP_CONNECT, WRITE, given[0]), "connect",
                        PyTuple_Pack(1, given[1]));
}

SOCK_METHOD(sock_accept) {
  BIND("sock_accept", 1, "sock");
  return op_with_method(op_new(self, "sock_accept", OP_ACCEPT, READ, given[0]), "accept",
                        PyTuple_New(0));
}
