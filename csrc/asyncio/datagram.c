/* Datagram transports, internet and UNIX.
 *
 * Errors of single datagrams go to error_received(); the transport stays. A
 * readable socket is read until it is empty only where several datagrams at
 * once have been usual; otherwise that is a wasted system call each time. */
#include "transport.h"

PyTypeObject *Datagram_Type;

enum { BURST_MAX = 32, FULL_BEFORE_GROWTH = 4, HEADER = 8 /* counted for each queued one */ };

/* The peer that was read from or written to last: mostly it is the next too. */
typedef struct {
  Transport transport;
  struct sockaddr_storage address;
  socklen_t length;
  PyObject *tuple; /* the same address, or NULL */
  int burst, full;
} Datagram;

static void datagram_read(Transport *self);
static void datagram_flush(Transport *self);
static void datagram_forget(Transport *self);

static const TransportKind datagram_kind = {
    .read_failed = "Fatal read error on datagram transport",
    .write_failed = "Fatal write error on datagram transport",
    .write_lost = "socket.send() raised exception.",
    .read = datagram_read,
    .flush = datagram_flush,
    .forget = datagram_forget,
};

/* The current exception, an OSError, goes to the protocol. */
static void datagram_tell_error(Transport *self) {
  PyObject *exception = take_exception();
  PyObject *answer = transport_tell(self, str_error_received, exception);
  Py_DECREF(exception);
  if (answer == NULL && loop_report(self->loop, "Exception in callback Protocol.error_received()",
                                    "transport", (PyObject *)self, "protocol", self->protocol) < 0)
    transport_end_run(self);
  Py_XDECREF(answer);
}

/* Reading -------------------------------------------------------------------- */

static PyObject *datagram_sender(Datagram *self, const struct sockaddr_storage *address,
                                 socklen_t length) {
  if (self->tuple != NULL && self->length == length && memcmp(&self->address, address, length) == 0)
    return Py_NewRef(self->tuple);
  PyObject *tuple = address_tuple((const struct sockaddr *)address, length);
  if (tuple == NULL && !PyErr_Occurred())
    tuple = Py_NewRef(Py_None); /* of a family that has no addresses we could tell */
  if (tuple != NULL) {
    memcpy(&self->address, address, length);
    self->length = length;
    Py_XSETREF(self->tuple, Py_NewRef(tuple));
  }
  return tuple;
}

/* 1: a datagram; 0: there is none; -1: an exception is set. */
static int datagram_receive(Transport *self, PyObject **data, PyObject **from) {
  struct sockaddr_storage address;
  socklen_t length = sizeof(address);
  ssize_t n;
  do
    n = recvfrom(self->fd, self->loop->read_buffer, READ_BUFFER, 0, (struct sockaddr *)&address,
                 &length);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    if (would_block())
      return 0;
    raise_errno();
    return -1;
  }
  *data = PyBytes_FromStringAndSize(self->loop->read_buffer, n);
  *from = *data != NULL ? datagram_sender((Datagram *)self, &address, length) : NULL;
  if (*from != NULL)
    return 1;
  Py_CLEAR(*data);
  return -1;
}

/* The same for the families whose addresses only the socket module knows. */
static int datagram_receive_by_method(Transport *self, PyObject **data, PyObject **from) {
  PyObject *sock = transport_socket(self);
  PyObject *pair = sock ? PyObject_CallMethod(sock, "recvfrom", "i", (int)READ_BUFFER) : NULL;
  Py_XDECREF(sock);
  if (pair != NULL && (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)) {
    PyErr_Format(PyExc_TypeError, "recvfrom() returned %R, which is no pair", pair);
    Py_CLEAR(pair);
  }
  int outcome = pair != NULL ? 1 : -1;
  if (outcome == 1) {
    *data = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
    *from = Py_NewRef(PyTuple_GET_ITEM(pair, 1));
  } else if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
             PyErr_ExceptionMatches(PyExc_InterruptedError)) {
    PyErr_Clear();
    outcome = 0;
  }
  Py_XDECREF(pair);
  return outcome;
}

static bool datagram_family_known(const Transport *self) {
  return self->family == AF_INET || self->family == AF_INET6 || self->family == AF_UNIX;
}

/* False: there is no more, or it has ended. */
static bool datagram_read_one(Transport *self) {
  PyObject *data, *from;
  int outcome = datagram_family_known(self) ? datagram_receive(self, &data, &from)
                                            : datagram_receive_by_method(self, &data, &from);
  if (outcome == 0)
    return false;
  if (outcome > 0) {
    PyObject *args[4] = {NULL, Py_NewRef(self->protocol), data, from};
    PyObject *answer = PyObject_VectorcallMethod(str_datagram_received, args + 1,
                                                 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (answer == NULL &&
        loop_report(self->loop, "Exception in callback Protocol.datagram_received()", "transport",
                    (PyObject *)self, "protocol", args[1]) < 0)
      transport_end_run(self);
    Py_DECREF(args[1]);
    Py_DECREF(data);
    Py_DECREF(from);
    Py_XDECREF(answer);
  } else if (PyErr_ExceptionMatches(PyExc_OSError)) {
    datagram_tell_error(self);
  } else {
    transport_failed(self, datagram_kind.read_failed);
  }
  return self->loop != NULL && !self->loop->error && !self->closing && !self->paused;
}

static void datagram_read(Transport *transport) {
  if (transport->conn_lost || transport->closing || transport->paused)
    return;
  Datagram *self = (Datagram *)transport;
  int got = 0;
  while (got < self->burst)
    if (datagram_read_one(transport))
      got++;
    else
      break;
  if (got < self->burst) {
    self->burst = got > 0 ? got : 1;
    self->full = 0;
  } else if (self->burst < BURST_MAX && ++self->full >= FULL_BEFORE_GROWTH) {
    self->burst *= 2;
    self->full = 0;
  }
}

/* Writing -------------------------------------------------------------------- */

/* 1: sent or reported; 0: it would block; -1: fatal, an exception is set. */
static int datagram_send(Transport *self, PyObject *data, PyObject *to) {
  Datagram *datagram = (Datagram *)self;
  struct sockaddr *address = NULL;
  socklen_t length = 0;
  if (self->peername == NULL) {
    if (to != datagram->tuple || to == NULL || to == Py_None) {
      struct sockaddr_storage parsed;
      if (to == NULL || !address_parse(self->family, to, &parsed, &length))
        goto by_method;
      datagram->address = parsed;
      datagram->length = length;
      /* What comes back from there shall have the full form. */
      Py_XSETREF(datagram->tuple, self->family == AF_INET ? Py_NewRef(to) : NULL);
    }
    address = (struct sockaddr *)&datagram->address;
    length = datagram->length;
  }
  Py_buffer view;
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
    return -1;
  ssize_t n;
  do
    n = sendto(self->fd, view.buf, (size_t)view.len, MSG_NOSIGNAL, address, length);
  while (n < 0 && errno == EINTR);
  int error = errno;
  PyBuffer_Release(&view);
  if (n >= 0)
    return 1;
  errno = error;
  if (would_block())
    return 0;
  raise_errno();
  datagram_tell_error(self);
  return 1;

by_method:; /* the socket module knows names, paths and the rarer families */
  PyObject *sock = transport_socket(self);
  PyObject *answer =
      sock ? PyObject_CallMethod(sock, "sendto", "OO", data, to ? to : Py_None) : NULL;
  Py_XDECREF(sock);
  if (answer != NULL) {
    Py_DECREF(answer);
    return 1;
  }
  if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
      PyErr_ExceptionMatches(PyExc_InterruptedError)) {
    PyErr_Clear();
    return 0;
  }
  if (!PyErr_ExceptionMatches(PyExc_OSError))
    return -1;
  datagram_tell_error(self);
  return 1;
}

static void datagram_flush(Transport *self) {
  if (self->conn_lost)
    return;
  while (self->queue_count > 0 && self->loop != NULL && !self->loop->error) {
    Chunk chunk = self->queue[self->queue_head];
    Py_INCREF(chunk.item);
    int sent = datagram_send(self, chunk.item, chunk.address);
    if (sent == 0 || self->queue_count == 0) {
      Py_DECREF(chunk.item);
      break;
    }
    self->queue_head = (self->queue_head + 1) % self->queue_capacity;
    self->queue_count--;
    self->queue_size -= (size_t)PyBytes_GET_SIZE(chunk.item) + HEADER;
    Py_DECREF(chunk.item);
    Py_DECREF(chunk.item);
    Py_XDECREF(chunk.address);
    if (sent < 0) {
      transport_failed(self, datagram_kind.write_failed);
      return;
    }
  }
  transport_flushed(self);
}

static PyObject *Datagram_sendto(Transport *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames) {
  static const Parameters parameters = {"sendto", {"data", "addr"}, 1, 2, false};
  PyObject *given[2];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0)
    return NULL;
  PyObject *data = given[0], *to = given[1] ? given[1] : Py_None;
  if (!PyObject_CheckBuffer(data)) {
    transport_raise_not_bytes_like(data);
    return NULL;
  }
  if (self->remote != NULL) {
    int same = to == Py_None ? 1 : PyObject_RichCompareBool(to, self->remote, Py_EQ);
    if (same < 0)
      return NULL;
    if (!same) {
      PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", self->remote);
      return NULL;
    }
    to = self->remote;
  }
  if ((self->conn_lost || self->loop == NULL)) {
    transport_writable(self, "sendto"); /* counts, and warns in the end */
    return transport_none();
  }
  if (self->queue_count == 0) {
    int sent = datagram_send(self, data, to);
    if (sent < 0)
      transport_failed(self, datagram_kind.write_failed);
    if (sent != 0)
      goto done;
  }
  PyObject *copy = PyBytes_FromObject(data); /* the caller may change what it has given */
  if (copy == NULL)
    return NULL;
  int outcome =
      transport_queue(self, copy, PyBytes_AS_STRING(copy), (size_t)PyBytes_GET_SIZE(copy), to);
  Py_DECREF(copy);
  if (outcome < 0)
    return NULL;
  self->queue_size += HEADER;
  if (transport_watch(self) < 0)
    return NULL;
  transport_maybe_pause(self);
done:
  return transport_none();
}

static PyMethodDef methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))Datagram_sendto, METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static void datagram_forget(Transport *self) { Py_CLEAR(((Datagram *)self)->tuple); }

PyObject *loop_datagram(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {
      "_datagram", {"sock", "protocol", "address", "waiter", "extra"}, 2, 2, false};
  PyObject *given[5];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0 || loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(given[0]);
  if (fd < 0)
    return NULL;
  PyObject *address = given[2];
  Transport *transport = transport_new(Datagram_Type, &datagram_kind, self, fd, given[0], given[1],
                                       given[3], given[4], NULL, false);
  if (transport == NULL)
    return NULL;
  ((Datagram *)transport)->burst = 1;
  if (address != NULL && address != Py_None)
    transport->remote = Py_NewRef(address);
  transport_keep_names(transport);
  if (transport_start_soon(transport) < 0)
    Py_CLEAR(transport);
  return (PyObject *)transport;
}

int datagrams_init(PyObject *module) {
  Datagram_Type = transport_type("uvworks._core.DatagramTransport",
                                 "asyncio.DatagramTransport, internet and UNIX.",
                                 "DatagramTransport", "Transport", sizeof(Datagram), methods);
  return Datagram_Type == NULL ? -1 : PyModule_AddType(module, Datagram_Type);
}
