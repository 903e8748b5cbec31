/* Transports of pipes, and of what is used like them: FIFOs, sockets and
 * character devices, in one direction.
 *
 * A write end is watched for readability too: that is how the kernel says that
 * nobody reads any more. */
#include "transport.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

PyTypeObject *ReadPipe_Type, *WritePipe_Type;

static void pipe_read(Transport *self);
static void pipe_hung_up(Transport *self);
static ssize_t pipe_send(int fd, struct iovec *parts, size_t count);

static const TransportKind read_kind = {
    .read_failed = "Fatal read error on pipe transport",
    .read = pipe_read,
};
#define WRITES                                                                                     \
  .write_failed = "Fatal write error on pipe transport",                                           \
  .write_lost = "pipe closed by peer or os.write(pipe, data) raised exception.",                   \
  .close_ends_writing = true, .flush = transport_flush, .send = pipe_send
static const TransportKind write_kind = {WRITES, .read = pipe_hung_up};
/* Of what is readable without having hung up, such as a character device. */
static const TransportKind write_only_kind = {WRITES};

/* Reading -------------------------------------------------------------------- */

static void pipe_read(Transport *self) {
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
    if (answer == NULL &&
        loop_report(self->loop, "Exception in callback Protocol.data_received()", "transport",
                    (PyObject *)self, "protocol", self->protocol) < 0)
      transport_end_run(self);
    Py_XDECREF(answer);
  } else if (n == 0) {
    transport_debug(self, "%r was closed by peer", NULL);
    self->closing = true;
    PyObject *eof = PyObject_GetAttr(self->protocol, str_eof_received);
    if (eof == NULL || call_soon(self->loop, eof, NULL, self->context) < 0)
      transport_end_run(self);
    else
      transport_connection_lost_soon(self, Py_None);
    Py_XDECREF(eof);
  } else if (!would_block()) {
    bool terminal = errno == EIO; /* the other end of a pseudo-terminal has gone */
    raise_errno();
    if (terminal) {
      transport_failed(self, self->kind->read_failed);
      return;
    }
    PyObject *exception = take_exception();
    if (loop_report_exception(self->loop, exception, self->kind->read_failed, "transport",
                              (PyObject *)self, "protocol", self->protocol) < 0)
      transport_end_run(self);
    transport_force_close(self, exception);
    Py_DECREF(exception);
  }
}

/* Writing -------------------------------------------------------------------- */

/* Nobody reads what is written. */
static void pipe_hung_up(Transport *self) {
  char byte;
  struct pollfd state = {self->fd, POLLIN, 0};
  if (poll(&state, 1, 0) == 0)
    return;
  if (!(state.revents & (POLLERR | POLLHUP | POLLNVAL)) &&
      recv(self->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0) {
    /* Something has come that is not ours to read. A write will say the rest. */
    self->kind = &write_only_kind;
    if (transport_watch(self) < 0)
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

static ssize_t pipe_send(int fd, struct iovec *parts, size_t count) {
  ssize_t n;
  do
    n = writev(fd, parts, (int)count);
  while (n < 0 && errno == EINTR);
  return n;
}

/* As asyncio does it, in one write: up to PIPE_BUF bytes that is atomic, so what
 * several writers send is not mixed within it. */
static PyObject *WritePipe_writelines(Transport *self, PyObject *list) {
  PyObject *empty = PyBytes_FromStringAndSize(NULL, 0);
  PyObject *data = empty != NULL ? PyObject_CallMethodOneArg(empty, str_join, list) : NULL;
  Py_XDECREF(empty);
  PyObject *answer = data != NULL ? transport_write(self, data) : NULL;
  Py_XDECREF(data);
  return answer;
}

/* The end of the data is the end of the pipe. */
static PyObject *WritePipe_write_eof(Transport *self, PyObject *Py_UNUSED(ignored)) {
  transport_close(self);
  return transport_none();
}

static PyObject *WritePipe_can_write_eof(Transport *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
  Py_RETURN_TRUE;
}

static PyMethodDef read_methods[] = {
    {NULL, NULL, 0, NULL},
};

static PyMethodDef write_methods[] = {
    {"write", (PyCFunction)transport_write, METH_O, NULL},
    {"writelines", (PyCFunction)WritePipe_writelines, METH_O, NULL},
    {"write_eof", (PyCFunction)WritePipe_write_eof, METH_NOARGS, NULL},
    {"can_write_eof", (PyCFunction)WritePipe_can_write_eof, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Making ----------------------------------------------------------------------- */

/* given[]: pipe, protocol, waiter, extra. */
static PyObject *pipe_make(Loop *self, PyObject *const *given, bool reads) {
  PyObject *pipe = given[0];
  int fd = fd_of(pipe);
  if (fd < 0)
    return NULL;
  struct stat st;
  if (fstat(fd, &st) < 0)
    return raise_errno();
  bool device = S_ISCHR(st.st_mode);
  if (!device && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) {
    PyErr_SetString(PyExc_ValueError,
                    reads ? "Pipe transport is for pipes/sockets only."
                          : "Pipe transport is only for pipes, sockets and character devices");
    return NULL;
  }
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    return raise_errno();
  Transport *transport = transport_new(reads ? ReadPipe_Type : WritePipe_Type,
                                       reads    ? &read_kind
                                       : device ? &write_only_kind
                                                : &write_kind,
                                       self, fd, pipe, given[1], given[2], given[3], NULL, false);
  if (transport == NULL)
    return NULL;
  if (transport->extra == NULL)
    transport->extra = PyDict_New();
  if (transport->extra == NULL || PyDict_SetItemString(transport->extra, "pipe", pipe) < 0 ||
      transport_start_soon(transport) < 0)
    Py_CLEAR(transport);
  return (PyObject *)transport;
}

PyObject *loop_read_pipe(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {
      "_read_pipe", {"pipe", "protocol", "waiter", "extra"}, 2, 2, false};
  PyObject *given[4];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0 || loop_check_open(self) < 0)
    return NULL;
  return pipe_make(self, given, true);
}

PyObject *loop_write_pipe(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {
      "_write_pipe", {"pipe", "protocol", "waiter", "extra"}, 2, 2, false};
  PyObject *given[4];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0 || loop_check_open(self) < 0)
    return NULL;
  return pipe_make(self, given, false);
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
