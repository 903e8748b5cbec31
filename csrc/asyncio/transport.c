/* The common part of all transports; see transport.h.
 *
 * Callbacks of the protocol run in the context that was current when the
 * transport was made: on_ready() and the handles enter it. What they raise closes the transport, but for SystemExit
 * and KeyboardInterrupt, which end the run. */
#include "../core/core.h"

#include "transport.h"

#include <errno.h>
#include <structmember.h>
#include <unistd.h>

PyObject *str_connection_made, *str_data_received, *str_eof_received, *str_connection_lost,
    *str_get_buffer, *str_buffer_updated, *str_pause_writing, *str_resume_writing,
    *str_datagram_received, *str_error_received;
static PyObject *str_attach, *str_detach, *str_cancelled, *str_set_result, *str_set_exception,
    *str_close, *str_create_future;
static PyObject *logger, *socket_class, *transport_socket_class, *buffered_protocol, *asyncio_transports;

enum { HIGH_WATER = 64 * 1024, LOST_WRITES_LOGGED = 5 };

/* Talking to the protocol --------------------------------------------------- */

PyObject *transport_tell(Transport *self, PyObject *method, PyObject *arg) {
  PyObject *args[3] = {NULL, Py_NewRef(self->protocol), arg};
  PyObject *result = PyObject_VectorcallMethod(
      method, args + 1, (arg != NULL ? 2 : 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
  Py_DECREF(args[1]);
  return result;
}

void transport_told(Transport *self, PyObject *result, const char *message) {
  if (result != NULL)
    Py_DECREF(result);
  else
    transport_failed(self, message);
}

void transport_end_run(Transport *self) {
  if (self->loop != NULL)
    self->loop->error = true;
  else
    PyErr_WriteUnraisable((PyObject *)self);
}

/* logger.debug(format, self), or with the exception. Never raises. */
void transport_debug(Transport *self, const char *format, PyObject *exception) {
  if (self->loop == NULL || !self->loop->debug)
    return;
  PyObject *method = PyObject_GetAttrString(logger, "debug");
  PyObject *args = Py_BuildValue("(sO)", format, self);
  PyObject *kwargs = exception != NULL ? Py_BuildValue("{sO}", "exc_info", exception) : NULL;
  PyObject *answer = method && args ? PyObject_Call(method, args, kwargs) : NULL;
  Py_XDECREF(method);
  Py_XDECREF(args);
  Py_XDECREF(kwargs);
  Py_XDECREF(answer);
  if (answer == NULL)
    PyErr_WriteUnraisable((PyObject *)self);
}

static void warn(const char *text) {
  PyObject *answer = PyObject_CallMethod(logger, "warning", "s", text);
  Py_XDECREF(answer);
  if (answer == NULL)
    PyErr_WriteUnraisable(logger);
}

/* Reports and closes; the exception is borrowed. */
static int fatal(Transport *self, PyObject *exception, PyObject *message) {
  if (PyErr_GivenExceptionMatches(exception, PyExc_OSError)) {
    const char *text = PyUnicode_AsUTF8(message);
    char format[160];
    PyOS_snprintf(format, sizeof(format), "%%r: %.150s", text ? text : "");
    if (text == NULL)
      PyErr_Clear();
    transport_debug(self, format, exception);
  } else if (self->loop != NULL) {
    PyObject *context = Py_BuildValue("{sOsOsOsO}", "message", message, "exception", exception,
                                      "transport", self, "protocol",
                                      self->protocol ? self->protocol : Py_None);
    PyObject *answer =
        context ? PyObject_CallMethod((PyObject *)self->loop, "call_exception_handler", "O", context)
                : NULL;
    Py_XDECREF(context);
    Py_XDECREF(answer);
    if (answer == NULL)
      return -1;
  }
  transport_force_close(self, exception);
  return 0;
}

void transport_failed(Transport *self, const char *message) {
  if (is_fatal()) {
    transport_end_run(self);
    return;
  }
  PyObject *exception = take_exception();
  PyObject *text = PyUnicode_FromString(message);
  int outcome = text != NULL ? fatal(self, exception, text) : -1;
  Py_XDECREF(text);
  Py_DECREF(exception);
  if (outcome < 0)
    transport_end_run(self);
}

/* Beginning ------------------------------------------------------------------ */

/* With or without an exception set. */
static void leave_context(PyObject *context) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (PyContext_Exit(context) < 0)
    PyErr_WriteUnraisable(context);
  Py_DECREF(context);
  PyErr_Restore(type, value, traceback);
}

static void on_ready(Watch *watch, int events) {
  Transport *self = (Transport *)watch->user;
  Loop *loop = watch->loop;
  uint64_t start = loop->debug ? uv_hrtime() : 0;
  PyObject *context = Py_NewRef(self->context);
  if (PyContext_Enter(context) < 0) {
    loop->error = true;
    Py_DECREF(context);
    return;
  }
  if (events < 0) {
    uv_failure(events);
    transport_failed(self, "Fatal error on transport");
  } else {
    if (events & UV_READABLE)
      self->kind->read(self);
    if ((events & UV_WRITABLE) && !loop->error && self->queue_count > 0)
      self->kind->flush(self);
  }
  leave_context(context);
  if (start != 0 && !loop->error && loop_note_time(loop, (PyObject *)self, start) < 0)
    loop->error = true;
}

int transport_set_protocol(Transport *self, PyObject *protocol) {
  int buffered = PyObject_IsInstance(protocol, buffered_protocol);
  if (buffered < 0)
    return -1;
  self->buffered = buffered;
  Py_XSETREF(self->protocol, Py_NewRef(protocol));
  self->connected = true;
  return 0;
}

static PyObject *or_null(PyObject *object) {
  return object == NULL || object == Py_None ? NULL : Py_NewRef(object);
}

/* Takes the descriptor over only when it succeeds. */
Transport *transport_new(PyTypeObject *type, const Kind *kind, Loop *loop, int fd, PyObject *file,
                         PyObject *protocol, PyObject *waiter, PyObject *extra, PyObject *server,
                         bool trusted) {
  Transport *self = (Transport *)type->tp_alloc(type, 0);
  if (self == NULL)
    return NULL;
  self->kind = kind;
  self->fd = -1;
  self->high = HIGH_WATER;
  self->low = HIGH_WATER / 4;
  self->loop = (Loop *)Py_NewRef(loop);
  self->context = PyContext_CopyCurrent();
  if (self->context == NULL || transport_set_protocol(self, protocol) < 0)
    goto failed;
  if (extra != NULL && extra != Py_None) {
    self->extra = PyDict_Copy(extra);
    if (self->extra == NULL)
      goto failed;
  }
  Watch *stale = watch_of(loop, fd);
  if (stale != NULL && watch_is_reader(stale))
    reader_release((Reader *)stale);
  if (watch_open(&self->watch, loop, fd, on_ready, (PyObject *)self, trusted, sizeof(Watch)) < 0)
    goto failed;
  self->server = or_null(server);
  if (self->server != NULL) {
    PyObject *answer = PyObject_CallMethodOneArg(self->server, str_attach, (PyObject *)self);
    if (answer == NULL) {
      Py_CLEAR(self->server);
      goto failed;
    }
    Py_DECREF(answer);
  }
  self->file = or_null(file);
  self->waiter = or_null(waiter);
  self->fd = fd;
  return self;

failed:
  Py_DECREF(self);
  return NULL;
}

/* What the watch shall ask for. */
int transport_watch(Transport *self) {
  if (self->watch == NULL)
    return 0;
  int events = 0;
  if (self->started && !self->paused && !self->closing && !self->eof_read && self->kind->read != NULL)
    events |= UV_READABLE;
  if (self->queue_count > 0)
    events |= UV_WRITABLE;
  return watch_set(self->watch, events);
}

static PyObject *start(PyObject *object, PyObject *Py_UNUSED(ignored)) {
  Transport *self = (Transport *)object;
  if (self->protocol != NULL) {
    PyObject *answer = transport_tell(self, str_connection_made, (PyObject *)self);
    if (answer == NULL &&
        loop_report(self->loop, "Exception in callback Protocol.connection_made()", "transport", object,
                    "protocol", self->protocol) < 0)
      return NULL;
    Py_XDECREF(answer);
  }
  self->started = true;
  if (transport_watch(self) < 0)
    transport_failed(self, "Fatal error on transport");
  PyObject *waiter = self->waiter;
  self->waiter = NULL;
  if (waiter != NULL) {
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, str_cancelled), *answer = NULL;
    if (cancelled == Py_False)
      answer = PyObject_CallMethodOneArg(waiter, str_set_result, Py_None);
    else if (cancelled != NULL)
      answer = Py_NewRef(Py_None);
    Py_XDECREF(cancelled);
    Py_DECREF(waiter);
    if (answer == NULL)
      return NULL;
    Py_DECREF(answer);
  }
  Py_RETURN_NONE;
}

static int soon(Transport *self, PyMethodDef *method, PyObject *arg) {
  PyObject *function = PyCFunction_New(method, (PyObject *)self);
  int outcome = function != NULL ? loop_soon(self->loop, function, arg, self->context) : -1;
  Py_XDECREF(function);
  return outcome;
}

/* connection_made, then reading, then the waiter: as one callback, for nothing
 * could come between. */
int transport_start_soon(Transport *self) {
  static PyMethodDef method = {"start", start, METH_NOARGS, NULL};
  return soon(self, &method, NULL);
}

/* Ending ---------------------------------------------------------------------- */

static void close_descriptor(Transport *self) {
  if (self->watch != NULL)
    watch_close(self->watch);
  PyObject *file = self->file;
  self->file = NULL;
  if (file != NULL) {
    PyObject *answer = PyObject_CallMethodNoArgs(file, str_close);
    if (answer == NULL)
      PyErr_WriteUnraisable(file);
    Py_XDECREF(answer);
    Py_DECREF(file);
  } else if (self->fd >= 0) {
    close(self->fd);
  }
  self->fd = -1;
}

static void detach(Transport *self) {
  PyObject *server = self->server;
  self->server = NULL;
  if (server == NULL)
    return;
  PyObject *answer = PyObject_CallMethodOneArg(server, str_detach, (PyObject *)self);
  if (answer == NULL)
    PyErr_WriteUnraisable(server);
  Py_XDECREF(answer);
  Py_DECREF(server);
}

static int fail_empty_waiter(Transport *self, PyObject *exception) {
  PyObject *waiter = self->empty_waiter;
  if (waiter == NULL)
    return 0;
  PyObject *done = PyObject_CallMethod(waiter, "done", NULL), *answer = NULL;
  if (done == Py_False)
    answer = PyObject_CallMethodOneArg(waiter, str_set_exception, exception);
  else if (done != NULL)
    answer = Py_NewRef(Py_None);
  Py_XDECREF(done);
  Py_XDECREF(answer);
  return answer == NULL ? -1 : 0;
}

static int lost(Transport *self, PyObject *exception) {
  if (self->loop == NULL)
    return 0;
  PyObject *answer = self->connected && self->protocol != NULL
                         ? transport_tell(self, str_connection_lost, exception)
                         : Py_NewRef(Py_None);
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  if (answer == NULL)
    PyErr_Fetch(&type, &value, &traceback);
  Py_XDECREF(answer);
  transport_clear_queue(self);
  close_descriptor(self);
  detach(self);
  if (self->empty_waiter != NULL) {
    PyObject *error =
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
    if (error == NULL || fail_empty_waiter(self, error) < 0)
      PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(error);
  }
  Loop *loop = self->loop;
  self->loop = NULL;
  Py_CLEAR(self->protocol);
  Py_CLEAR(self->waiter);
  PyErr_Restore(type, value, traceback);
  int outcome = type == NULL ? 0 : loop_report(loop, "Exception in callback Protocol.connection_lost()",
                                               "transport", (PyObject *)self, NULL, NULL);
  if (outcome < 0)
    loop->error = true;
  Py_DECREF(loop);
  return outcome;
}

static PyObject *end(PyObject *self, PyObject *exception) {
  if (lost((Transport *)self, exception) < 0)
    return NULL;
  Py_RETURN_NONE;
}

void transport_lost(Transport *self, PyObject *exception) {
  Py_INCREF(self);
  lost(self, exception);
  Py_DECREF(self);
}

void transport_end_soon(Transport *self, PyObject *exception) {
  static PyMethodDef method = {"connection_lost", end, METH_O, NULL};
  self->lost++;
  Py_INCREF(self); /* the watch's reference goes first */
  if (self->watch != NULL)
    watch_close(self->watch);
  if (soon(self, &method, exception) < 0)
    transport_end_run(self);
  Py_DECREF(self);
}

void transport_force_close(Transport *self, PyObject *exception) {
  if (self->lost || self->loop == NULL)
    return;
  transport_clear_queue(self);
  self->closing = true;
  transport_end_soon(self, exception ? exception : Py_None);
}

/* The queue of what waits to be written ----------------------------------------- */

void transport_clear_queue(Transport *self) {
  while (self->queue_count > 0) {
    Chunk *chunk = &self->queue[self->queue_head];
    self->queue_head = (self->queue_head + 1) % self->queue_capacity;
    self->queue_count--;
    PyObject *item = chunk->item, *address = chunk->address;
    Py_DECREF(item);
    Py_XDECREF(address);
  }
  PyMem_Free(self->queue);
  self->queue = NULL;
  self->queue_capacity = self->queue_head = self->queue_size = self->offset = 0;
}

static int grow(Transport *self) {
  size_t capacity = self->queue_capacity ? 2 * self->queue_capacity : 4;
  Chunk *queue = PyMem_Malloc(capacity * sizeof(*queue));
  if (queue == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < self->queue_count; i++)
    queue[i] = self->queue[(self->queue_head + i) % self->queue_capacity];
  PyMem_Free(self->queue);
  self->queue = queue;
  self->queue_capacity = capacity;
  self->queue_head = 0;
  return 0;
}

/* Keeps `size` bytes: the object itself if it is bytes and it is all of it, or
 * a copy, for the caller may change what it has given. */
int transport_queue(Transport *self, PyObject *data, const char *bytes, size_t size,
                    PyObject *address) {
  if (self->queue_count == self->queue_capacity && grow(self) < 0)
    return -1;
  bool whole = PyBytes_CheckExact(data) && (size_t)PyBytes_GET_SIZE(data) == size;
  bool tail = !whole && PyBytes_CheckExact(data) && self->queue_count == 0;
  PyObject *item =
      whole || tail ? Py_NewRef(data) : PyBytes_FromStringAndSize(bytes, (Py_ssize_t)size);
  if (item == NULL)
    return -1;
  if (tail)
    self->offset = (size_t)PyBytes_GET_SIZE(data) - size;
  self->queue[(self->queue_head + self->queue_count++) % self->queue_capacity] =
      (Chunk){item, Py_XNewRef(address)};
  self->queue_size += size;
  return 0;
}

void transport_dequeue(Transport *self, size_t bytes) {
  self->queue_size -= bytes;
  bytes += self->offset;
  while (self->queue_count > 0) {
    Chunk *chunk = &self->queue[self->queue_head];
    size_t size = (size_t)PyBytes_GET_SIZE(chunk->item);
    if (bytes < size)
      break;
    bytes -= size;
    PyObject *item = chunk->item;
    self->queue_head = (self->queue_head + 1) % self->queue_capacity;
    self->queue_count--;
    Py_DECREF(item);
  }
  self->offset = bytes;
  if (self->queue_count == 0)
    transport_clear_queue(self);
}

size_t transport_parts(Transport *self, struct iovec *parts, size_t max) {
  size_t count = self->queue_count < max ? self->queue_count : max;
  for (size_t i = 0; i < count; i++) {
    PyObject *item = self->queue[(self->queue_head + i) % self->queue_capacity].item;
    size_t skip = i == 0 ? self->offset : 0;
    parts[i].iov_base = PyBytes_AS_STRING(item) + skip;
    parts[i].iov_len = (size_t)PyBytes_GET_SIZE(item) - skip;
  }
  return count;
}

bool transport_writable(Transport *self, const char *what) {
  if (self->eof_written) {
    PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", what);
    return false;
  }
  if (self->empty_waiter != NULL) {
    PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", what);
    return false;
  }
  if (self->lost || self->loop == NULL) {
    if (self->lost >= LOST_WRITES_LOGGED)
      warn(self->kind->lost_write);
    self->lost++;
    return false;
  }
  return true;
}

static void flow(Transport *self, PyObject *method, const char *message) {
  if (self->protocol == NULL)
    return;
  PyObject *answer = transport_tell(self, method, NULL);
  if (answer != NULL) {
    Py_DECREF(answer);
    return;
  }
  if (is_fatal()) {
    transport_end_run(self);
    return;
  }
  PyObject *exception = take_exception();
  PyObject *context =
      Py_BuildValue("{sssOsOsO}", "message", message, "exception", exception, "transport", self,
                    "protocol", self->protocol ? self->protocol : Py_None);
  answer = context && self->loop
               ? PyObject_CallMethod((PyObject *)self->loop, "call_exception_handler", "O", context)
               : NULL;
  Py_DECREF(exception);
  Py_XDECREF(context);
  Py_XDECREF(answer);
  if (answer == NULL && PyErr_Occurred())
    transport_end_run(self);
}

void transport_maybe_pause(Transport *self) {
  if (self->queue_size <= self->high || self->protocol_paused)
    return;
  self->protocol_paused = true;
  flow(self, str_pause_writing, "protocol.pause_writing() failed");
}

void transport_maybe_resume(Transport *self) {
  if (!self->protocol_paused || self->queue_size > self->low)
    return;
  self->protocol_paused = false;
  flow(self, str_resume_writing, "protocol.resume_writing() failed");
}

/* The face for Python ------------------------------------------------------------ */

static PyObject *T_is_closing(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->closing);
}

static PyObject *T_abort(Transport *self, PyObject *Py_UNUSED(ignored)) {
  transport_force_close(self, NULL);
  Py_RETURN_NONE;
}

static PyObject *T_set_protocol(Transport *self, PyObject *protocol) {
  if (transport_set_protocol(self, protocol) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *T_get_protocol(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return Py_NewRef(self->protocol ? self->protocol : Py_None);
}

static PyObject *T__force_close(Transport *self, PyObject *exception) {
  transport_force_close(self, exception);
  Py_RETURN_NONE;
}

static PyObject *T__fatal_error(Transport *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"exc", "message", NULL};
  PyObject *exception, *message = NULL;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|U", names, &exception, &message))
    return NULL;
  PyObject *text =
      message ? Py_NewRef(message) : PyUnicode_FromString("Fatal error on transport");
  int outcome = text != NULL ? fatal(self, exception, text) : -1;
  Py_XDECREF(text);
  if (outcome < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *T_is_reading(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(!self->closing && !self->paused);
}

static PyObject *T_pause_reading(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->closing || self->paused)
    Py_RETURN_NONE;
  self->paused = true;
  if (transport_watch(self) < 0)
    return NULL;
  transport_debug(self, "%r pauses reading", NULL);
  Py_RETURN_NONE;
}

static PyObject *T_resume_reading(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->closing || !self->paused)
    Py_RETURN_NONE;
  self->paused = false;
  if (transport_watch(self) < 0)
    return NULL;
  transport_debug(self, "%r resumes reading", NULL);
  Py_RETURN_NONE;
}

static PyObject *T_get_write_buffer_size(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return PyLong_FromSize_t(self->queue_size);
}

static PyObject *T_get_write_buffer_limits(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return Py_BuildValue("(nn)", (Py_ssize_t)self->low, (Py_ssize_t)self->high);
}

static PyObject *T_set_write_buffer_limits(Transport *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"high", "low", NULL};
  PyObject *high = Py_None, *low = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO", names, &high, &low))
    return NULL;
  Py_ssize_t h = HIGH_WATER, l = 0;
  if (low != Py_None && (l = PyNumber_AsSsize_t(low, PyExc_OverflowError)) == -1 && PyErr_Occurred())
    return NULL;
  if (high != Py_None) {
    if ((h = PyNumber_AsSsize_t(high, PyExc_OverflowError)) == -1 && PyErr_Occurred())
      return NULL;
  } else if (low != Py_None) {
    h = l <= PY_SSIZE_T_MAX / 4 ? 4 * l : PY_SSIZE_T_MAX;
  }
  if (low == Py_None)
    l = h >= 0 ? h / 4 : -1;
  if (!(h >= l && l >= 0)) {
    PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", h, l);
    return NULL;
  }
  self->high = (size_t)h;
  self->low = (size_t)l;
  transport_maybe_pause(self);
  Py_RETURN_NONE;
}

PyObject *transport_socket(Transport *self) {
  if (self->file == NULL && self->fd >= 0) {
    PyObject *kwargs = Py_BuildValue("{si}", "fileno", self->fd);
    PyObject *none = PyTuple_New(0);
    self->file = kwargs && none ? PyObject_Call(socket_class, none, kwargs) : NULL;
    Py_XDECREF(none);
    Py_XDECREF(kwargs);
    if (self->file == NULL)
      return NULL;
    /* As for any socket that was made non-blocking in Python. */
    PyObject *answer = PyObject_CallMethod(self->file, "setblocking", "O", Py_False);
    if (answer == NULL)
      return NULL;
    Py_DECREF(answer);
  }
  return Py_NewRef(self->file ? self->file : Py_None);
}

void transport_keep_names(Transport *self) {
  struct sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getsockname(self->fd, (struct sockaddr *)&address, &length) == 0) {
    self->family = (uint8_t)address.ss_family;
    self->sockname = address_keep((struct sockaddr *)&address, length);
  }
  length = sizeof(address);
  if (self->peername == NULL && getpeername(self->fd, (struct sockaddr *)&address, &length) == 0)
    self->peername = address_keep((struct sockaddr *)&address, length);
}

static PyObject *known(Transport *self, const char *name) {
  if (strcmp(name, "socket") == 0 && self->family != 0) {
    PyObject *socket = transport_socket(self);
    if (socket == NULL || socket == Py_None) {
      Py_XDECREF(socket);
      return NULL;
    }
    PyObject *wrapped = PyObject_CallOneArg(transport_socket_class, socket);
    Py_DECREF(socket);
    return wrapped;
  }
  Address *address = strcmp(name, "sockname") == 0   ? self->sockname
                     : strcmp(name, "peername") == 0 ? self->peername
                                                     : NULL;
  if (address == NULL)
    return NULL;
  return address_tuple((struct sockaddr *)address->bytes, address->length);
}

static PyObject *T_get_extra_info(Transport *self, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"name", "default", NULL};
  PyObject *name, *fallback = Py_None;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", names, &name, &fallback))
    return NULL;
  if (self->extra != NULL) {
    PyObject *value = PyDict_GetItemWithError(self->extra, name);
    if (value != NULL || PyErr_Occurred())
      return Py_XNewRef(value);
  }
  const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
  PyObject *value = text != NULL ? known(self, text) : NULL;
  if (value == NULL)
    return PyErr_Occurred() ? NULL : Py_NewRef(fallback);
  /* So that it is the same object next time, and there after the end. */
  if (self->extra == NULL && (self->extra = PyDict_New()) == NULL) {
    Py_DECREF(value);
    return NULL;
  }
  if (PyDict_SetItem(self->extra, name, value) < 0)
    Py_CLEAR(value);
  return value;
}

static PyObject *T__make_empty_waiter(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->empty_waiter != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
    return NULL;
  }
  if (self->loop == NULL) {
    PyErr_SetString(PyExc_ConnectionError, "Connection is closed by peer");
    return NULL;
  }
  PyObject *waiter = PyObject_CallMethodNoArgs((PyObject *)self->loop, str_create_future);
  if (waiter == NULL)
    return NULL;
  if (self->queue_count == 0) {
    PyObject *answer = PyObject_CallMethodOneArg(waiter, str_set_result, Py_None);
    if (answer == NULL) {
      Py_DECREF(waiter);
      return NULL;
    }
    Py_DECREF(answer);
  }
  self->empty_waiter = Py_NewRef(waiter);
  return waiter;
}

static PyObject *T__reset_empty_waiter(Transport *self, PyObject *Py_UNUSED(ignored)) {
  Py_CLEAR(self->empty_waiter);
  Py_RETURN_NONE;
}

static PyObject *T_repr(Transport *self) {
  PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__");
  if (name == NULL)
    return NULL;
  PyObject *text;
  if (self->loop == NULL)
    text = PyUnicode_FromFormat("<%U closed>", name);
  else if (self->loop->closed)
    text = PyUnicode_FromFormat("<%U open fd=%d>", name, self->fd);
  else
    text = PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name,
                                self->closing ? " closing" : "", self->fd,
                                self->started && !self->paused && !self->eof_read && !self->closing ? "polling" : "idle",
                                self->queue_count ? "polling" : "idle", self->queue_size);
  Py_DECREF(name);
  return text;
}

static PyObject *T_get__sock(Transport *self, void *Py_UNUSED(closure)) {
  return transport_socket(self);
}

static PyObject *T_get__loop(Transport *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->loop ? (PyObject *)self->loop : Py_None);
}

static PyObject *T_get__server(Transport *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->server ? self->server : Py_None);
}

static PyObject *T_get__sock_fd(Transport *self, void *Py_UNUSED(closure)) {
  return PyLong_FromLong(self->fd);
}

static PyGetSetDef getset[] = {
    {"_sock", (getter)T_get__sock, NULL, NULL, NULL},
    {"_loop", (getter)T_get__loop, NULL, NULL, NULL},
    {"_server", (getter)T_get__server, NULL, NULL, NULL},
    {"_sock_fd", (getter)T_get__sock_fd, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Transport, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(Transport, dict), READONLY, NULL},
    {"_closing", T_BOOL, offsetof(Transport, closing), READONLY, NULL},
    {"_paused", T_BOOL, offsetof(Transport, paused), READONLY, NULL},
    {"_eof", T_BOOL, offsetof(Transport, eof_written), READONLY, NULL},
    {"_conn_lost", T_UINT, offsetof(Transport, lost), READONLY, NULL},
    {"_protocol", T_OBJECT, offsetof(Transport, protocol), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(Transport, protocol_paused), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef common_methods[] = {
    {"is_closing", (PyCFunction)T_is_closing, METH_NOARGS, NULL},
    {"abort", (PyCFunction)T_abort, METH_NOARGS, NULL},
    {"set_protocol", (PyCFunction)T_set_protocol, METH_O, NULL},
    {"get_protocol", (PyCFunction)T_get_protocol, METH_NOARGS, NULL},
    {"get_extra_info", KEYWORDS(T_get_extra_info), METH_VARARGS | METH_KEYWORDS, NULL},
    {"is_reading", (PyCFunction)T_is_reading, METH_NOARGS, NULL},
    {"pause_reading", (PyCFunction)T_pause_reading, METH_NOARGS, NULL},
    {"resume_reading", (PyCFunction)T_resume_reading, METH_NOARGS, NULL},
    {"get_write_buffer_size", (PyCFunction)T_get_write_buffer_size, METH_NOARGS, NULL},
    {"get_write_buffer_limits", (PyCFunction)T_get_write_buffer_limits, METH_NOARGS, NULL},
    {"set_write_buffer_limits", KEYWORDS(T_set_write_buffer_limits), METH_VARARGS | METH_KEYWORDS, NULL},
    {"_force_close", (PyCFunction)T__force_close, METH_O, NULL},
    {"_fatal_error", KEYWORDS(T__fatal_error), METH_VARARGS | METH_KEYWORDS, NULL},
    {"_make_empty_waiter", (PyCFunction)T__make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", (PyCFunction)T__reset_empty_waiter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Life ----------------------------------------------------------------------------- */

static int T_traverse(Transport *self, visitproc visit, void *arg) {
  Py_VISIT(Py_TYPE(self));
  for (int i = 0; i < 3; i++)
    Py_VISIT(self->base[i]);
  Py_VISIT(self->loop);
  Py_VISIT(self->file);
  Py_VISIT(self->protocol);
  Py_VISIT(self->context);
  Py_VISIT(self->extra);
  Py_VISIT(self->server);
  Py_VISIT(self->waiter);
  Py_VISIT(self->empty_waiter);
  Py_VISIT(self->remote);
  Py_VISIT(self->dict);
  return 0;
}

static int T_clear(Transport *self) {
  for (int i = 0; i < 3; i++)
    Py_CLEAR(self->base[i]);
  if (self->watch != NULL)
    watch_close(self->watch);
  Py_CLEAR(self->loop);
  Py_CLEAR(self->protocol);
  Py_CLEAR(self->context);
  Py_CLEAR(self->extra);
  Py_CLEAR(self->server);
  Py_CLEAR(self->waiter);
  Py_CLEAR(self->empty_waiter);
  Py_CLEAR(self->remote);
  Py_CLEAR(self->dict);
  datagram_forget(self);
  return 0;
}

/* An open transport that nobody holds any more. */
static void T_finalize(Transport *self) {
  if (self->fd < 0)
    return;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (PyErr_ResourceWarning((PyObject *)self, 1, "unclosed transport %R", self) < 0 &&
      PyErr_ExceptionMatches(PyExc_Warning))
    PyErr_WriteUnraisable((PyObject *)self);
  PyErr_Clear();
  close_descriptor(self);
  detach(self);
  PyErr_Restore(type, value, traceback);
}

static void T_dealloc(Transport *self) {
  PyTypeObject *type = Py_TYPE(self);
  if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
    return;
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL)
    PyObject_ClearWeakRefs((PyObject *)self);
  transport_clear_queue(self);
  T_clear(self);
  Py_CLEAR(self->file);
  PyMem_RawFree(self->sockname);
  PyMem_RawFree(self->peername);
  type->tp_free(self);
  Py_DECREF(type);
}

/* asyncio's classes of the names, as a tuple. */
static PyObject *base_classes(const char *name, const char *second) {
  PyObject *base = PyObject_GetAttrString(asyncio_transports, name);
  PyObject *other = second != NULL ? PyObject_GetAttrString(asyncio_transports, second) : NULL;
  PyObject *bases = NULL;
  if (base != NULL && (second == NULL || other != NULL)) {
    if (((PyTypeObject *)base)->tp_basicsize > (Py_ssize_t)offsetof(Transport, kind))
      PyErr_Format(PyExc_ImportError, "asyncio.%s is larger than uvworks expects", name);
    else
      bases = other != NULL ? PyTuple_Pack(2, base, other) : PyTuple_Pack(1, base);
  }
  Py_XDECREF(base);
  Py_XDECREF(other);
  return bases;
}

PyTypeObject *transport_type(const char *name, const char *doc, const char *base, const char *second,
                             size_t size, PyMethodDef *methods) {
  PyType_Slot slots[] = {
      {Py_tp_doc, (void *)doc},
      {Py_tp_traverse, T_traverse},
      {Py_tp_clear, T_clear},
      {Py_tp_finalize, T_finalize},
      {Py_tp_dealloc, T_dealloc},
      {Py_tp_repr, T_repr},
      {Py_tp_methods, methods},
      {Py_tp_members, members},
      {Py_tp_getset, getset},
      {0, NULL},
  };
  PyType_Spec spec = {
      .name = name,
      .basicsize = (int)size,
      .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
      .slots = slots,
  };
  PyObject *bases = base_classes(base, second);
  PyObject *type = bases != NULL ? PyType_FromSpecWithBases(&spec, bases) : NULL;
  Py_XDECREF(bases);
  for (PyMethodDef *method = common_methods; type != NULL && method->ml_name != NULL; method++) {
    /* A kind's own method of the name stands. */
    if (PyDict_GetItemString(((PyTypeObject *)type)->tp_dict, method->ml_name) != NULL)
      continue;
    PyObject *descriptor = PyDescr_NewMethod((PyTypeObject *)type, method);
    if (descriptor == NULL || PyObject_SetAttrString(type, method->ml_name, descriptor) < 0)
      Py_CLEAR(type);
    Py_XDECREF(descriptor);
  }
  return (PyTypeObject *)type;
}

static PyObject *import_from(const char *module, const char *name) {
  PyObject *from = PyImport_ImportModule(module);
  PyObject *value = from != NULL && name != NULL ? PyObject_GetAttrString(from, name) : Py_XNewRef(from);
  Py_XDECREF(from);
  return value;
}

int transports_init(PyObject *Py_UNUSED(module)) {
  static const struct {
    PyObject **name;
    const char *text;
  } names[] = {
      {&str_connection_made, "connection_made"},
      {&str_data_received, "data_received"},
      {&str_eof_received, "eof_received"},
      {&str_connection_lost, "connection_lost"},
      {&str_get_buffer, "get_buffer"},
      {&str_buffer_updated, "buffer_updated"},
      {&str_pause_writing, "pause_writing"},
      {&str_resume_writing, "resume_writing"},
      {&str_datagram_received, "datagram_received"},
      {&str_error_received, "error_received"},
      {&str_attach, "_attach"},
      {&str_detach, "_detach"},
      {&str_cancelled, "cancelled"},
      {&str_set_result, "set_result"},
      {&str_set_exception, "set_exception"},
      {&str_close, "close"},
      {&str_create_future, "create_future"},
  };
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
    if ((*names[i].name = PyUnicode_InternFromString(names[i].text)) == NULL)
      return -1;
  const struct {
    PyObject **object;
    const char *module, *name;
  } imports[] = {
      {&logger, "asyncio.log", "logger"},
      {&socket_class, "socket", "socket"},
      {&transport_socket_class, "asyncio.trsock", "TransportSocket"},
      {&buffered_protocol, "asyncio.protocols", "BufferedProtocol"},
      {&asyncio_transports, "asyncio.transports", NULL},
  };
  for (size_t i = 0; i < sizeof(imports) / sizeof(imports[0]); i++)
    if ((*imports[i].object = import_from(imports[i].module, imports[i].name)) == NULL)
      return -1;
  return 0;
}
