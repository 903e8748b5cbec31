/* The common part of all transports; see transport.h.
 *
 * Callbacks of the protocol run in the context that was current when the
 * transport was made: transport_ready() and the handles enter it. What they raise
 * closes the transport, but for SystemExit and KeyboardInterrupt, which end
 * the run. */
#include "transport.h"

#include <unistd.h>

static PyObject *logger, *buffered_protocol;

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

PyObject *transport_none(void) { return PyErr_Occurred() ? NULL : Py_NewRef(Py_None); }

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

void transport_warn(const char *text) {
  PyObject *answer = PyObject_CallMethod(logger, "warning", "s", text);
  Py_XDECREF(answer);
  if (answer == NULL)
    PyErr_WriteUnraisable(logger);
}

/* Reports and closes; the exception is borrowed. */
int transport_fatal(Transport *self, PyObject *exception, PyObject *message) {
  if (PyErr_GivenExceptionMatches(exception, PyExc_OSError)) {
    const char *text = PyUnicode_AsUTF8(message);
    char format[160];
    PyOS_snprintf(format, sizeof(format), "%%r: %.150s", text ? text : "");
    if (text == NULL)
      PyErr_Clear();
    transport_debug(self, format, exception);
  } else if (self->loop != NULL) {
    PyObject *context =
        Py_BuildValue("{sOsOsOsO}", "message", message, "exception", exception, "transport", self,
                      "protocol", self->protocol ? self->protocol : Py_None);
    PyObject *answer = context ? PyObject_CallMethod((PyObject *)self->loop,
                                                     "call_exception_handler", "O", context)
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
  int outcome = text != NULL ? transport_fatal(self, exception, text) : -1;
  Py_XDECREF(text);
  Py_DECREF(exception);
  if (outcome < 0)
    transport_end_run(self);
}

/* Beginning ------------------------------------------------------------------ */

/* With or without an exception set. */
static void transport_leave_context(PyObject *context) {
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (PyContext_Exit(context) < 0)
    PyErr_WriteUnraisable(context);
  Py_DECREF(context);
  PyErr_Restore(type, value, traceback);
}

static void transport_ready(Watch *watch, int events) {
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
  transport_leave_context(context);
  if (start != 0 && !loop->error && loop_note_time(loop, (PyObject *)self, start) < 0)
    loop->error = true;
}

static const WatchKind transport_watch_kind = {.size = sizeof(Watch), .ready = transport_ready};

int transport_set_protocol(Transport *self, PyObject *protocol) {
  int buffered = PyObject_IsInstance(protocol, buffered_protocol);
  if (buffered < 0)
    return -1;
  self->buffered = buffered;
  Py_XSETREF(self->protocol, Py_NewRef(protocol));
  self->connected = true;
  return 0;
}

static PyObject *transport_new_ref(PyObject *object) {
  return object == NULL || object == Py_None ? NULL : Py_NewRef(object);
}

/* Takes the descriptor over only when it succeeds. */
Transport *transport_new(PyTypeObject *type, const TransportKind *kind, Loop *loop, int fd,
                         PyObject *file, PyObject *protocol, PyObject *waiter, PyObject *extra,
                         PyObject *server, bool trusted) {
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
  if (watch_open(&self->watch, loop, fd, &transport_watch_kind, (PyObject *)self, trusted) < 0) {
    if (kind->read != NULL || !PyErr_ExceptionMatches(PyExc_PermissionError))
      goto failed;
    PyErr_Clear(); /* a device that is always ready, such as /dev/null */
  }
  self->server = transport_new_ref(server);
  if (self->server != NULL) {
    PyObject *answer = PyObject_CallMethodOneArg(self->server, str__attach, (PyObject *)self);
    if (answer == NULL) {
      Py_CLEAR(self->server);
      goto failed;
    }
    Py_DECREF(answer);
  }
  self->file = transport_new_ref(file);
  self->waiter = transport_new_ref(waiter);
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
  if (self->started && !self->paused && !self->closing && !self->eof_read &&
      self->kind->read != NULL)
    events |= UV_READABLE;
  if (self->queue_count > 0)
    events |= UV_WRITABLE;
  return watch_set(self->watch, events);
}

static PyObject *transport_start(PyObject *object, PyObject *Py_UNUSED(ignored)) {
  Transport *self = (Transport *)object;
  PyObject *ending = NULL; /* ends the run, not the transport */
  if (self->protocol != NULL) {
    PyObject *answer = transport_tell(self, str_connection_made, (PyObject *)self);
    if (answer == NULL &&
        loop_report(self->loop, "Exception in callback Protocol.connection_made()", "transport",
                    object, "protocol", self->protocol) < 0)
      ending = take_exception();
    Py_XDECREF(answer);
  }
  self->started = true;
  if (transport_watch(self) < 0)
    transport_failed(self, "Fatal error on transport");
  if (PyErr_Occurred())
    ending = take_exception();
  PyObject *waiter = self->waiter;
  self->waiter = NULL;
  if (waiter != NULL) {
    PyObject *cancelled = PyObject_CallMethodNoArgs(waiter, str_cancelled), *answer = NULL;
    if (cancelled == Py_False)
      answer = PyObject_CallMethodOneArg(waiter, str_set_result, Py_None);
    else if (cancelled != NULL)
      answer = Py_NewRef(Py_None);
    if (answer == NULL && ending == NULL)
      ending = take_exception();
    Py_XDECREF(cancelled);
    Py_XDECREF(answer);
    Py_DECREF(waiter);
  }
  if (ending == NULL)
    Py_RETURN_NONE;
  raise_taken(ending);
  return NULL;
}

static int transport_call_soon(Transport *self, PyMethodDef *method, PyObject *arg) {
  PyObject *function = PyCFunction_New(method, (PyObject *)self);
  int outcome = function != NULL ? call_soon(self->loop, function, arg, self->context) : -1;
  Py_XDECREF(function);
  return outcome;
}

/* connection_made, then reading, then the waiter: as one callback, for nothing
 * could come between. */
int transport_start_soon(Transport *self) {
  static PyMethodDef method = {"start", transport_start, METH_NOARGS, NULL};
  return transport_call_soon(self, &method, NULL);
}

/* Ending ---------------------------------------------------------------------- */

void transport_close_descriptor(Transport *self) {
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

void transport_detach(Transport *self) {
  PyObject *server = self->server;
  self->server = NULL;
  if (server == NULL)
    return;
  PyObject *answer = PyObject_CallMethodOneArg(server, str__detach, (PyObject *)self);
  if (answer == NULL)
    PyErr_WriteUnraisable(server);
  Py_XDECREF(answer);
  Py_DECREF(server);
}

/* set_result or set_exception, unless it has been cancelled. */
void transport_wake_empty_waiter(Transport *self, PyObject *method, PyObject *arg) {
  PyObject *waiter = Py_NewRef(self->empty_waiter);
  PyObject *done = PyObject_CallMethodNoArgs(waiter, str_done), *answer = NULL;
  if (done == Py_False)
    answer = PyObject_CallMethodOneArg(waiter, method, arg);
  else if (done != NULL)
    answer = Py_NewRef(Py_None);
  if (answer == NULL)
    PyErr_WriteUnraisable((PyObject *)self);
  Py_XDECREF(done);
  Py_XDECREF(answer);
  Py_DECREF(waiter);
}

static int transport_call_connection_lost(Transport *self, PyObject *exception) {
  if (self->loop == NULL)
    return 0;
  if (self->conn_lost == 0)
    self->conn_lost = 1;
  PyObject *answer = self->connected && self->protocol != NULL
                         ? transport_tell(self, str_connection_lost, exception)
                         : Py_NewRef(Py_None);
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  if (answer == NULL)
    PyErr_Fetch(&type, &value, &traceback);
  Py_XDECREF(answer);
  transport_clear_queue(self);
  transport_close_descriptor(self);
  transport_detach(self);
  if (self->empty_waiter != NULL) {
    PyObject *error =
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
    if (error != NULL)
      transport_wake_empty_waiter(self, str_set_exception, error);
    else
      PyErr_WriteUnraisable((PyObject *)self);
    Py_XDECREF(error);
  }
  Loop *loop = self->loop;
  self->loop = NULL;
  Py_CLEAR(self->protocol);
  Py_CLEAR(self->waiter);
  PyErr_Restore(type, value, traceback);
  int outcome = type == NULL ? 0
                             : loop_report(loop, "Exception in callback Protocol.connection_lost()",
                                           "transport", (PyObject *)self, NULL, NULL);
  if (outcome < 0)
    loop->error = true;
  Py_DECREF(loop);
  return outcome;
}

static PyObject *transport_connection_lost_handle(PyObject *self, PyObject *exception) {
  if (transport_call_connection_lost((Transport *)self, exception) < 0)
    return NULL;
  Py_RETURN_NONE;
}

void transport_connection_lost(Transport *self, PyObject *exception) {
  Py_INCREF(self);
  transport_call_connection_lost(self, exception);
  Py_DECREF(self);
}

void transport_connection_lost_soon(Transport *self, PyObject *exception) {
  static PyMethodDef method = {"connection_lost", transport_connection_lost_handle, METH_O, NULL};
  self->conn_lost++;
  Py_INCREF(self); /* the watch's reference goes first */
  if (self->watch != NULL)
    watch_close(self->watch);
  if (transport_call_soon(self, &method, exception) < 0)
    transport_end_run(self);
  else
    loop_wake(self->loop); /* if this is another thread */
  Py_DECREF(self);
}

void transport_close(Transport *self) {
  if (self->closing || self->loop == NULL)
    return;
  self->closing = true;
  if (self->queue_count == 0)
    transport_connection_lost_soon(self, Py_None);
  else if (transport_watch(self) < 0)
    transport_failed(self, self->kind->write_failed);
}

void transport_force_close(Transport *self, PyObject *exception) {
  if (self->conn_lost || self->loop == NULL)
    return;
  transport_clear_queue(self);
  self->closing = true;
  transport_connection_lost_soon(self, exception ? exception : Py_None);
}

int transports_init(void) {
  return import_name(&logger, "asyncio.log", "logger") < 0 ||
                 import_name(&buffered_protocol, "asyncio", "BufferedProtocol") < 0
             ? -1
             : 0;
}
