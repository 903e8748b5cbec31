/* Transports of pipes, and of what is used like them: FIFOs, sockets and
 * character devices, in one direction.
 *
 * A write end is watched for readability too: that is how the kernel says that
 * nobody reads any more. */
#include "transport.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

PyTypeObject *ReadPipe_Type, *WritePipe_Type;

enum { IOV = 64 };

static void read_pipe(Transport *self);
static void hung_up(Transport *self);
static void flush_pipe(Transport *self);

static const Kind read_kind = {
    .read_failed = "Fatal read error on pipe transport",
    .read = read_pipe,
};
static const Kind write_kind = {
    .write_failed = "Fatal write error on pipe transport",
    .lost_write = "pipe closed by peer or os.write(pipe, data) raised exception.",
    .read = hung_up,
    .flush = flush_pipe,
};
/* Of what is readable without having hung up, such as a character device. */
static const Kind deaf_kind = {
    .write_failed = "Fatal write error on pipe transport",
    .lost_write = "pipe closed by peer or os.write(pipe, data) raised exception.",
    .flush = flush_pipe,
};

static void report_exception(Transport *self, const char *what) {
  if (loop_report(self->loop, what, "transport", (PyObject *)self, "protocol", self->protocol) < 0)
    transport_end_run(self);
}

/* Reading -------------------------------------------------------------------- */

static void read_pipe(Transport *self) {
  if (self->closing || self->paused)
    return;
  char *buffer = self->loop->read_buffer;
  ssize_t n;
  do
    n = read(self->fd, buffer, READ_BUFFER);
  while (n < 0 && errno == EINTR);
  if (n > 0) {
    PyObject *data = PyBytes_FromStringAndSize(buffer, n);
    PyObject *answer = data ? transport_tell(self, str_data_received, data) : NULL;
    Py_XDECREF(data);
    if (answer == NULL)
      report_exception(self, "Exception in callback Protocol.data_received()");
    Py_XDECREF(answer);
  } else if (n == 0) {
    transport_debug(self, "%r was closed by peer", NULL);
    self->closing = true;
    PyObject *eof = PyObject_GetAttr(self->protocol, str_eof_received);
    if (eof == NULL || loop_soon(self->loop, eof, NULL, self->context) < 0)
      transport_end_run(self);
    else
      transport_end_soon(self, Py_None);
    Py_XDECREF(eof);
  } else if (!would_block()) {
    bool terminal = errno == EIO; /* the other end of a pseudo-terminal has gone */
    PyErr_SetFromErrno(PyExc_OSError);
    if (terminal) {
      transport_failed(self, self->kind->read_failed);
    } else {
      PyObject *type, *value, *traceback;
      PyErr_Fetch(&type, &value, &traceback);
      PyErr_NormalizeException(&type, &value, &traceback);
      Py_INCREF(value);
      PyErr_Restore(type, value, traceback);
      report_exception(self, self->kind->read_failed);
      transport_force_close(self, value);
      Py_DECREF(value);
    }
  }
}

static PyObject *ReadPipe_close(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (!self->closing && self->loop != NULL) {
    self->closing = true;
    transport_end_soon(self, Py_None);
  }
  return transport_none();
}

/* Writing -------------------------------------------------------------------- */

/* Nobody reads what is written. */
static void hung_up(Transport *self) {
  char byte;
  struct pollfd state = {self->fd, POLLIN, 0};
  if (poll(&state, 1, 0) == 0)
    return;
  if (!(state.revents & (POLLERR | POLLHUP | POLLNVAL)) &&
      recv(self->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0) {
    /* Something has come that is not ours to read. A write will say the rest. */
    self->kind = &deaf_kind;
    if (transqueue_watch(self) < 0)
      transport_failed(self, self->kind->write_failed);
    return;
  }
  transport_debug(self, "%r was closed by peer", NULL);
  if (self->queue_count > 0) {
    PyObject *broken = PyObject_CallNoArgs(PyExc_BrokenPipeError);
    transport_force_close(self, broken);
    Py_XDECREF(broken);
  } else {
    transport_force_close(self, NULL);
  }
}

/* -1: failed and dealt with. */
static ssize_t try_write(Transport *self, struct iovec *parts, size_t count) {
  ssize_t n;
  do
    n = writev(self->fd, parts, (int)count);
  while (n < 0 && errno == EINTR);
  if (n >= 0)
    return n;
  if (would_block())
    return 0;
  PyErr_SetFromErrno(PyExc_OSError);
  transport_failed(self, self->kind->write_failed);
  return -1;
}

static void flush_pipe(Transport *self) {
  if (self->lost)
    return;
  struct iovec parts[IOV];
  size_t count = transport_parts(self, parts, IOV);
  ssize_t n = try_write(self, parts, count);
  if (n < 0)
    return;
  transport_dequeue(self, (size_t)n);
  transport_maybe_resume(self);
  if (self->lost || self->loop->error || self->queue_count > 0)
    return;
  if (transqueue_watch(self) < 0)
    transport_failed(self, self->kind->write_failed);
  else if (self->closing)
    transport_lost(self, Py_None);
}

static PyObject *WritePipe_write(Transport *self, PyObject *data) {
  Py_buffer view;
  if (!PyObject_CheckBuffer(data)) {
    PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'",
                 Py_TYPE(data)->tp_name);
    return NULL;
  }
  if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
    return NULL;
  size_t size = (size_t)view.len;
  if (size == 0 || (self->closing && !self->lost)) /* still flushing, it takes no more */
    goto done;
  if (!transport_writable(self, "write"))
    goto done;
  ssize_t written = 0;
  if (self->queue_count == 0) {
    struct iovec part = {view.buf, size};
    if ((written = try_write(self, &part, 1)) < 0)
      goto done;
  }
  if ((size_t)written < size &&
      transport_queue(self, data, (char *)view.buf + written, size - (size_t)written, NULL) == 0 &&
      transqueue_watch(self) == 0)
    transport_maybe_pause(self);
done:
  PyBuffer_Release(&view);
  return transport_none();
}

static PyObject *WritePipe_writelines(Transport *self, PyObject *list) {
  PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
  PyObject *all = empty ? PyObject_CallMethodOneArg(empty, str_join, list) : NULL;
  PyObject *answer = all ? WritePipe_write(self, all) : NULL;
  Py_XDECREF(empty);
  Py_XDECREF(all);
  return answer;
}

/* The end of the data is the end of the pipe. */
static PyObject *WritePipe_close(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (!self->closing && self->loop != NULL) {
    self->closing = true;
    if (self->queue_count == 0)
      transport_end_soon(self, Py_None);
    else if (transqueue_watch(self) < 0)
      return NULL;
  }
  return transport_none();
}

static PyObject *WritePipe_can_write_eof(Transport *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
  Py_RETURN_TRUE;
}

static PyMethodDef read_methods[] = {
    {"close", (PyCFunction)ReadPipe_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef write_methods[] = {
    {"write", (PyCFunction)WritePipe_write, METH_O, NULL},
    {"writelines", (PyCFunction)WritePipe_writelines, METH_O, NULL},
    {"write_eof", (PyCFunction)WritePipe_close, METH_NOARGS, NULL},
    {"can_write_eof", (PyCFunction)WritePipe_can_write_eof, METH_NOARGS, NULL},
    {"close", (PyCFunction)WritePipe_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Making ----------------------------------------------------------------------- */

static PyObject *make(Loop *self, PyObject *args, PyObject *kwargs, bool reads) {
  static char *names[] = {"pipe", "protocol", "waiter", "extra", NULL};
  PyObject *pipe, *protocol, *waiter = NULL, *extra = NULL;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$OO", names, &pipe, &protocol, &waiter,
                                   &extra) ||
      loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(pipe);
  if (fd < 0)
    return NULL;
  struct stat st;
  if (fstat(fd, &st) < 0)
    return PyErr_SetFromErrno(PyExc_OSError);
  bool device = S_ISCHR(st.st_mode);
  if (!device && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) {
    PyErr_SetString(PyExc_ValueError,
                    reads ? "Pipe transport is for pipes/sockets only."
                          : "Pipe transport is only for pipes, sockets and character devices");
    return NULL;
  }
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    return PyErr_SetFromErrno(PyExc_OSError);
  Transport *transport = transport_new(reads ? ReadPipe_Type : WritePipe_Type,
                                       reads    ? &read_kind
                                       : device ? &deaf_kind
                                                : &write_kind,
                                       self, fd, pipe, protocol, waiter, extra, NULL, false);
  if (transport == NULL)
    return NULL;
  if (transport->extra == NULL)
    transport->extra = PyDict_New();
  if (transport->extra == NULL || PyDict_SetItemString(transport->extra, "pipe", pipe) < 0 ||
      transport_start_soon(transport) < 0)
    Py_CLEAR(transport);
  return (PyObject *)transport;
}

PyObject *loop_read_pipe(Loop *self, PyObject *args, PyObject *kwargs) {
  return make(self, args, kwargs, true);
}

PyObject *loop_write_pipe(Loop *self, PyObject *args, PyObject *kwargs) {
  return make(self, args, kwargs, false);
}

int pipes_init(PyObject *module) {
  ReadPipe_Type =
      transport_type("uvworks._core.ReadPipeTransport", "asyncio.ReadTransport of a pipe.",
                     "ReadTransport", NULL, sizeof(Transport), read_methods);
  WritePipe_Type =
      transport_type("uvworks._core.WritePipeTransport", "asyncio.WriteTransport of a pipe.",
                     "WriteTransport", NULL, sizeof(Transport), write_methods);
  return ReadPipe_Type == NULL || WritePipe_Type == NULL ||
                 PyModule_AddType(module, ReadPipe_Type) < 0 ||
                 PyModule_AddType(module, WritePipe_Type) < 0
             ? -1
             : 0;
}
