/* TCP and UNIX stream transports.
 *
 * Reading: one recv() for each time the poll says so, so that one busy peer
 * has one buffer's worth of a turn and no more. Small messages go through the
 * loop's one buffer and are copied; where large ones are usual they are read
 * into a bytes object with room to spare, which is then cut, because a buffer
 * filled to the brim means another recv() that says EAGAIN.
 *
 * Writing: at once; what the kernel does not take is queued (write_queue.c). */
#define _GNU_SOURCE
#include "transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

PyTypeObject *Stream_Type;

enum { COPY_MAX = 16 * 1024 };

static void stream_read(Transport *self);
static ssize_t stream_send(int fd, struct iovec *parts, size_t count);
static void stream_shutdown(Transport *self);

const TransportKind stream_kind = {
    .read_failed = "Fatal read error on socket transport",
    .write_failed = "Fatal write error on socket transport",
    .write_lost = "socket.send() raised exception.",
    .read = stream_read,
    .flush = transport_flush,
    .send = stream_send,
    .shutdown = stream_shutdown,
};

static ssize_t stream_receive(int fd, void *buffer, size_t size) {
  ssize_t n;
  do
    n = recv(fd, buffer, size, 0);
  while (n < 0 && errno == EINTR);
  return n;
}

/* Reading -------------------------------------------------------------------- */

static void stream_eof(Transport *self) {
  transport_debug(self, "%r received EOF", NULL);
  PyObject *answer = transport_tell(self, str_eof_received, NULL);
  int keep = answer != NULL ? PyObject_IsTrue(answer) : -1;
  Py_XDECREF(answer);
  if (keep < 0) {
    transport_failed(self, "Fatal error: protocol.eof_received() call failed.");
  } else if (keep) {
    /* It may go on writing. */
    self->eof_read = true;
    if (transport_watch(self) < 0)
      transport_failed(self, "Fatal error on transport");
  } else {
    transport_close(self);
  }
}

/* recv() said n, which is the end, or -1. */
static void stream_read_nothing(Transport *self, ssize_t n) {
  if (n == 0) {
    stream_eof(self);
  } else if (!would_block()) {
    raise_errno();
    transport_failed(self, self->kind->read_failed);
  }
}

static void stream_read_into_protocol(Transport *self) {
  PyObject *hint = PyLong_FromLong(-1);
  PyObject *buffer = hint ? transport_tell(self, str_get_buffer, hint) : NULL;
  Py_XDECREF(hint);
  Py_buffer view;
  bool viewed = buffer != NULL && PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) == 0;
  Py_XDECREF(buffer);
  if (viewed && view.len == 0) {
    PyBuffer_Release(&view);
    viewed = false;
    PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
  }
  if (!viewed) {
    transport_failed(self, "Fatal error: protocol.get_buffer() call failed.");
    return;
  }
  if (self->conn_lost) { /* get_buffer() has closed it */
    PyBuffer_Release(&view);
    return;
  }
  ssize_t n = stream_receive(self->fd, view.buf, (size_t)view.len);
  int error = errno;
  PyBuffer_Release(&view);
  errno = error;
  if (n <= 0) {
    stream_read_nothing(self, n);
    return;
  }
  PyObject *count = PyLong_FromSsize_t(n);
  PyObject *answer = count ? transport_tell(self, str_buffer_updated, count) : NULL;
  Py_XDECREF(count);
  transport_told(self, answer, "Fatal error: protocol.buffer_updated() call failed.");
}

/* The next read's size by the last ones': at least what came, and half as much again. */
static PyObject *stream_receive_bytes(Transport *self, ssize_t *n) {
  if (self->read_hint <= COPY_MAX) {
    char *buffer = self->loop->read_buffer;
    *n = stream_receive(self->fd, buffer, READ_BUFFER);
    if (*n <= 0)
      return NULL;
    if (*n > COPY_MAX)
      self->read_hint = (size_t)*n;
    return PyBytes_FromStringAndSize(buffer, *n);
  }
  size_t size = self->read_hint + self->read_hint / 2;
  if (size > READ_BUFFER)
    size = READ_BUFFER;
  PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
  if (data == NULL) {
    *n = 1;
    return NULL;
  }
  *n = stream_receive(self->fd, PyBytes_AS_STRING(data), size);
  if (*n <= 0) {
    int error = errno;
    Py_DECREF(data);
    errno = error;
    return NULL;
  }
  if ((size_t)*n == size)
    self->read_hint = size < READ_BUFFER ? 2 * size : size;
  else if ((size_t)*n > self->read_hint)
    self->read_hint = (size_t)*n;
  else
    self->read_hint -= (self->read_hint - (size_t)*n) / 4;
  if ((size_t)*n < size)
    _PyBytes_Resize(&data, *n);
  return data;
}

static void stream_read(Transport *self) {
  if (self->conn_lost || self->closing || self->paused)
    return;
  if (self->buffered) {
    stream_read_into_protocol(self);
    return;
  }
  ssize_t n;
  PyObject *data = stream_receive_bytes(self, &n);
  if (data == NULL) {
    if (n > 0)
      transport_failed(self, self->kind->read_failed);
    else
      stream_read_nothing(self, n);
    return;
  }
  PyObject *answer = transport_tell(self, str_data_received, data);
  Py_DECREF(data);
  transport_told(self, answer, "Fatal error: protocol.data_received() call failed.");
}

/* Writing -------------------------------------------------------------------- */

static ssize_t stream_send(int fd, struct iovec *parts, size_t count) {
  ssize_t n;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
  do
    n = count == 1 ? send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
                   : sendmsg(fd, &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n;
}

static void stream_shutdown(Transport *self) {
  if (shutdown(self->fd, SHUT_WR) < 0 && errno != ENOTCONN) {
    raise_errno();
    transport_failed(self, self->kind->write_failed);
  }
}

static PyObject *Stream_write_eof(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->closing || self->eof_written || self->loop == NULL)
    Py_RETURN_NONE;
  self->eof_written = true;
  if (self->queue_count == 0)
    stream_shutdown(self);
  Py_RETURN_NONE;
}

static PyObject *Stream_can_write_eof(Transport *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
  Py_RETURN_TRUE;
}

static PyMethodDef methods[] = {
    {"write", (PyCFunction)transport_write, METH_O, NULL},
    {"writelines", (PyCFunction)transport_writelines, METH_O, NULL},
    {"write_eof", (PyCFunction)Stream_write_eof, METH_NOARGS, NULL},
    {"can_write_eof", (PyCFunction)Stream_can_write_eof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Making ----------------------------------------------------------------------- */

void stream_set_nodelay(int fd, int family) {
  int on = 1;
  if (family == AF_INET || family == AF_INET6)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* SCTP and the like refuse */
}

PyObject *loop_stream(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {
      "_stream", {"sock", "protocol", "waiter", "extra", "server"}, 2, 2, false};
  PyObject *given[5];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0 || loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(given[0]);
  if (fd < 0)
    return NULL;
  Transport *stream = transport_new(Stream_Type, &stream_kind, self, fd, given[0], given[1],
                                    given[2], given[3], given[4], false);
  if (stream == NULL)
    return NULL;
  transport_keep_names(stream);
  stream_set_nodelay(fd, stream->family);
  if (transport_start_soon(stream) < 0)
    Py_CLEAR(stream);
  return (PyObject *)stream;
}

static int stream_set_modes(PyTypeObject *type) {
  PyObject *constants = PyImport_ImportModule("asyncio.constants");
  PyObject *modes = constants ? PyObject_GetAttrString(constants, "_SendfileMode") : NULL;
  PyObject *mode = modes ? PyObject_GetAttrString(modes, "TRY_NATIVE") : NULL;
  int outcome =
      mode && PyObject_SetAttrString((PyObject *)type, "_sendfile_compatible", mode) == 0 &&
              PyObject_SetAttrString((PyObject *)type, "_start_tls_compatible", Py_True) == 0
          ? 0
          : -1;
  Py_XDECREF(constants);
  Py_XDECREF(modes);
  Py_XDECREF(mode);
  return outcome;
}

int streams_init(PyObject *module) {
  Stream_Type = transport_type("uvworks._core.StreamTransport",
                               "asyncio.Transport of a TCP or UNIX connection.", "Transport", NULL,
                               sizeof(Transport), methods);
  if (Stream_Type == NULL || stream_set_modes(Stream_Type) < 0)
    return -1;
  return PyModule_AddType(module, Stream_Type);
}
