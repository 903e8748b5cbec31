/* TCP and UNIX stream transports.
 *
 * Reading: one recv() for each time the poll says so, so that one busy peer
 * has one buffer's worth of a turn and no more. Small messages go through the
 * loop's one buffer and are copied; where large ones are usual they are read
 * into a bytes object with room to spare, which is then cut, because a buffer
 * filled to the brim means another recv() that says EAGAIN.
 *
 * Writing: at once, what the kernel does not take is queued. */
#define _GNU_SOURCE
#include "transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/uio.h>
#include <unistd.h>

PyTypeObject *Stream_Type;

enum { COPY_MAX = 16 * 1024, IOV = 64 };

static void read_stream(Transport *self);
static void flush_stream(Transport *self);

const Kind stream_kind = {
    .read_failed = "Fatal read error on socket transport",
    .write_failed = "Fatal write error on socket transport",
    .lost_write = "socket.send() raised exception.",
    .read = read_stream,
    .flush = flush_stream,
};

static ssize_t receive(int fd, void *buffer, size_t size) {
  ssize_t n;
  do
    n = recv(fd, buffer, size, 0);
  while (n < 0 && errno == EINTR);
  return n;
}

/* Reading -------------------------------------------------------------------- */

static void close_stream(Transport *self);

static void on_eof(Transport *self) {
  transport_debug(self, "%r received EOF", NULL);
  PyObject *answer = transport_tell(self, str_eof_received, NULL);
  int keep = answer != NULL ? PyObject_IsTrue(answer) : -1;
  Py_XDECREF(answer);
  if (keep < 0) {
    transport_failed(self, "Fatal error: protocol.eof_received() call failed.");
  } else if (keep) {
    /* It may go on writing. */
    self->eof_read = true;
    if (transqueue_watch(self) < 0)
      transport_failed(self, "Fatal error on transport");
  } else {
    close_stream(self);
  }
}

static void got(Transport *self, ssize_t n, const char *message) {
  if (n == 0) {
    on_eof(self);
  } else if (!would_block()) {
    PyErr_SetFromErrno(PyExc_OSError);
    transport_failed(self, message);
  }
}

static void read_into_protocol(Transport *self) {
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
  if (self->lost) { /* get_buffer() has closed it */
    PyBuffer_Release(&view);
    return;
  }
  ssize_t n = receive(self->fd, view.buf, (size_t)view.len);
  int error = errno;
  PyBuffer_Release(&view);
  errno = error;
  if (n <= 0) {
    got(self, n, self->kind->read_failed);
    return;
  }
  PyObject *count = PyLong_FromSsize_t(n);
  PyObject *answer = count ? transport_tell(self, str_buffer_updated, count) : NULL;
  Py_XDECREF(count);
  transport_told(self, answer, "Fatal error: protocol.buffer_updated() call failed.");
}

/* The next read's size by the last ones': at least what came, and half as much again. */
static PyObject *receive_bytes(Transport *self, ssize_t *n) {
  if (self->read_hint <= COPY_MAX) {
    char *buffer = self->loop->read_buffer;
    *n = receive(self->fd, buffer, READ_BUFFER);
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
  *n = receive(self->fd, PyBytes_AS_STRING(data), size);
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

static void read_stream(Transport *self) {
  if (self->lost || self->closing || self->paused)
    return;
  if (self->buffered) {
    read_into_protocol(self);
    return;
  }
  ssize_t n;
  PyObject *data = receive_bytes(self, &n);
  if (data == NULL) {
    if (n > 0)
      transport_failed(self, self->kind->read_failed);
    else
      got(self, n, self->kind->read_failed);
    return;
  }
  PyObject *answer = transport_tell(self, str_data_received, data);
  Py_DECREF(data);
  transport_told(self, answer, "Fatal error: protocol.data_received() call failed.");
}

/* Writing -------------------------------------------------------------------- */

static ssize_t send_some(int fd, struct iovec *parts, size_t count) {
  ssize_t n;
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
  do
    n = count == 1 ? send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL)
                   : sendmsg(fd, &message, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n;
}

/* -1: failed and dealt with. */
static ssize_t try_write(Transport *self, struct iovec *parts, size_t count) {
  ssize_t n = send_some(self->fd, parts, count);
  if (n >= 0)
    return n;
  if (would_block())
    return 0;
  PyErr_SetFromErrno(PyExc_OSError);
  transport_failed(self, self->kind->write_failed);
  return -1;
}

static void shut(Transport *self) {
  if (shutdown(self->fd, SHUT_WR) < 0 && errno != ENOTCONN) {
    PyErr_SetFromErrno(PyExc_OSError);
    transport_failed(self, self->kind->write_failed);
  }
}

static void drained(Transport *self) {
  if (self->empty_waiter != NULL)
    transport_wake_empty_waiter(self, str_set_result, Py_None);
  if (self->closing)
    transport_lost(self, Py_None);
  else if (self->eof_written)
    shut(self);
}

static void flush_stream(Transport *self) {
  if (self->lost)
    return;
  struct iovec parts[IOV];
  size_t count = transport_parts(self, parts, IOV);
  ssize_t n = try_write(self, parts, count);
  if (n < 0)
    return;
  transport_dequeue(self, (size_t)n);
  transport_maybe_resume(self); /* may write, or close */
  if (self->lost || self->loop->error)
    return;
  if (self->queue_count == 0) {
    if (transqueue_watch(self) < 0)
      transport_failed(self, self->kind->write_failed);
    else
      drained(self);
  }
}

static int queue_rest(Transport *self) {
  if (transqueue_watch(self) < 0)
    return -1;
  transport_maybe_pause(self);
  return 0;
}

static PyObject *Stream_write(Transport *self, PyObject *data) {
  Py_buffer view = {0};
  const char *bytes;
  size_t size;
  if (PyBytes_CheckExact(data)) {
    bytes = PyBytes_AS_STRING(data);
    size = (size_t)PyBytes_GET_SIZE(data);
  } else {
    if (!PyObject_CheckBuffer(data)) {
      PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'",
                   Py_TYPE(data)->tp_name);
      return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
      return NULL;
    bytes = view.buf;
    size = (size_t)view.len;
  }
  if (self->eof_written || self->empty_waiter != NULL || size > 0) {
    if (!transport_writable(self, "write"))
      goto done;
    if (size == 0)
      goto done;
    size_t written = 0;
    if (self->queue_count == 0) {
      struct iovec part = {(void *)bytes, size};
      ssize_t n = try_write(self, &part, 1);
      if (n < 0)
        goto done;
      written = (size_t)n;
    }
    if (written < size && transport_queue(self, data, bytes + written, size - written, NULL) == 0)
      queue_rest(self);
  }
done:
  if (view.obj != NULL)
    PyBuffer_Release(&view);
  return transport_none();
}

/* At most this many buffers are held at once. */
static int write_batch(Transport *self, PyObject **items, size_t count) {
  Py_buffer views[IOV];
  struct iovec parts[IOV];
  size_t held = 0, total = 0;
  int outcome = -1;
  for (; held < count; held++) {
    if (PyObject_GetBuffer(items[held], &views[held], PyBUF_SIMPLE) < 0)
      goto done;
    parts[held].iov_base = views[held].buf;
    parts[held].iov_len = (size_t)views[held].len;
    total += parts[held].iov_len;
  }
  outcome = 0;
  if (total == 0)
    goto done;
  ssize_t written = 0;
  if (self->queue_count == 0 && (written = try_write(self, parts, count)) < 0)
    goto done;
  size_t skip = (size_t)written;
  for (size_t i = 0; i < count && outcome == 0; i++) {
    size_t size = parts[i].iov_len;
    if (skip >= size) {
      skip -= size;
      continue;
    }
    outcome = transport_queue(self, items[i], (char *)parts[i].iov_base + skip, size - skip, NULL);
    skip = 0;
  }
done:
  while (held > 0)
    PyBuffer_Release(&views[--held]);
  return outcome;
}

static PyObject *Stream_writelines(Transport *self, PyObject *list) {
  PyObject *items = PySequence_Tuple(list); /* that nobody can change */
  if (items == NULL)
    return NULL;
  size_t count = (size_t)PyTuple_GET_SIZE(items), done = 0;
  for (size_t i = 0; i < count; i++)
    if (!PyObject_CheckBuffer(PyTuple_GET_ITEM(items, i))) {
      PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'",
                   Py_TYPE(PyTuple_GET_ITEM(items, i))->tp_name);
      Py_DECREF(items);
      return NULL;
    }
  int outcome = 0;
  if (transport_writable(self, "writelines")) {
    while (done < count && outcome == 0 && !self->lost) {
      size_t batch = count - done < IOV ? count - done : IOV;
      outcome = write_batch(self, &PyTuple_GET_ITEM(items, done), batch);
      done += batch;
    }
    if (outcome == 0 && self->queue_count > 0)
      outcome = queue_rest(self);
  }
  Py_DECREF(items);
  return transport_none();
}

static PyObject *Stream_write_eof(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->closing || self->eof_written || self->loop == NULL)
    Py_RETURN_NONE;
  self->eof_written = true;
  if (self->queue_count == 0)
    shut(self);
  Py_RETURN_NONE;
}

static PyObject *Stream_can_write_eof(Transport *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
  Py_RETURN_TRUE;
}

static void close_stream(Transport *self) {
  if (self->closing || self->loop == NULL)
    return;
  self->closing = true;
  if (self->queue_count == 0)
    transport_end_soon(self, Py_None);
  else if (transqueue_watch(self) < 0)
    transport_failed(self, self->kind->write_failed);
}

static PyObject *Stream_close(Transport *self, PyObject *Py_UNUSED(ignored)) {
  close_stream(self);
  return transport_none();
}

static PyMethodDef methods[] = {
    {"write", (PyCFunction)Stream_write, METH_O, NULL},
    {"writelines", (PyCFunction)Stream_writelines, METH_O, NULL},
    {"write_eof", (PyCFunction)Stream_write_eof, METH_NOARGS, NULL},
    {"can_write_eof", (PyCFunction)Stream_can_write_eof, METH_NOARGS, NULL},
    {"close", (PyCFunction)Stream_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Making ----------------------------------------------------------------------- */

void set_nodelay(int fd, int family) {
  int on = 1;
  if (family == AF_INET || family == AF_INET6)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* SCTP and the like refuse */
}

PyObject *loop_stream(Loop *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"sock", "protocol", "waiter", "extra", "server", NULL};
  PyObject *sock, *protocol, *waiter = NULL, *extra = NULL, *server = NULL;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OOO", names, &sock, &protocol, &waiter,
                                   &extra, &server) ||
      loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(sock);
  if (fd < 0)
    return NULL;
  Transport *stream = transport_new(Stream_Type, &stream_kind, self, fd, sock, protocol, waiter,
                                    extra, server, false);
  if (stream == NULL)
    return NULL;
  transport_keep_names(stream);
  set_nodelay(fd, stream->family);
  if (transport_start_soon(stream) < 0)
    Py_CLEAR(stream);
  return (PyObject *)stream;
}

static int set_mode(PyTypeObject *type) {
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
  if (Stream_Type == NULL || set_mode(Stream_Type) < 0)
    return -1;
  return PyModule_AddType(module, Stream_Type);
}
