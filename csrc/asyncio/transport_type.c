/* The types of the transports: what all of them have for Python, their life as
 * objects, and how each is made a subclass of asyncio's abstract class. */
#include "transport.h"

#include <structmember.h>

static PyObject *socket_class, *transport_socket_class, *asyncio_transports;

static PyObject *Transport_is_closing(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->closing);
}

static PyObject *Transport_close(Transport *self, PyObject *Py_UNUSED(ignored)) {
  transport_close(self);
  return transport_none();
}

static PyObject *Transport_abort(Transport *self, PyObject *Py_UNUSED(ignored)) {
  transport_force_close(self, NULL);
  return transport_none();
}

static PyObject *Transport_set_protocol(Transport *self, PyObject *protocol) {
  if (transport_set_protocol(self, protocol) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Transport_get_protocol(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return Py_NewRef(self->protocol ? self->protocol : Py_None);
}

static PyObject *Transport__force_close(Transport *self, PyObject *exception) {
  transport_force_close(self, exception);
  return transport_none();
}

static PyObject *Transport__fatal_error(Transport *self, PyObject *const *args, Py_ssize_t nargs,
                                        PyObject *kwnames) {
  static const Parameters parameters = {"_fatal_error", {"exc", "message"}, 1, 2, false};
  PyObject *given[2];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0)
    return NULL;
  if (given[1] != NULL && !PyUnicode_Check(given[1])) {
    PyErr_Format(PyExc_TypeError, "_fatal_error(): message must be a str, not %.100s",
                 Py_TYPE(given[1])->tp_name);
    return NULL;
  }
  PyObject *text =
      given[1] != NULL ? Py_NewRef(given[1]) : PyUnicode_FromString("Fatal error on transport");
  int outcome = text != NULL ? transport_fatal(self, given[0], text) : -1;
  Py_XDECREF(text);
  if (outcome < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Transport_is_reading(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(!self->closing && !self->paused);
}

static PyObject *Transport_pause_reading(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->closing || self->paused)
    Py_RETURN_NONE;
  self->paused = true;
  if (transport_watch(self) < 0)
    return NULL;
  transport_debug(self, "%r pauses reading", NULL);
  Py_RETURN_NONE;
}

static PyObject *Transport_resume_reading(Transport *self, PyObject *Py_UNUSED(ignored)) {
  if (self->closing || !self->paused)
    Py_RETURN_NONE;
  self->paused = false;
  if (transport_watch(self) < 0)
    return NULL;
  transport_debug(self, "%r resumes reading", NULL);
  Py_RETURN_NONE;
}

static PyObject *Transport_get_write_buffer_size(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return PyLong_FromSize_t(self->queue_size);
}

static PyObject *Transport_get_write_buffer_limits(Transport *self, PyObject *Py_UNUSED(ignored)) {
  return Py_BuildValue("(nn)", (Py_ssize_t)self->low, (Py_ssize_t)self->high);
}

static PyObject *Transport_set_write_buffer_limits(Transport *self, PyObject *const *args,
                                                   Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {"set_write_buffer_limits", {"high", "low"}, 0, 2, false};
  PyObject *given[2];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0)
    return NULL;
  PyObject *high = given[0] ? given[0] : Py_None, *low = given[1] ? given[1] : Py_None;
  Py_ssize_t h = HIGH_WATER, l = 0;
  if (low != Py_None && (l = PyNumber_AsSsize_t(low, PyExc_OverflowError)) == -1 &&
      PyErr_Occurred())
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
  return transport_none();
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
    if (self->watch != NULL)
      self->watch->trusted = false; /* who has it can close it */
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

static PyObject *transport_known_extra(Transport *self, const char *name) {
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
  PyObject *tuple = address_tuple((struct sockaddr *)address->bytes, address->length);
  if (tuple != NULL || PyErr_Occurred())
    return tuple;
  /* A rarer family's. */
  PyObject *socket = transport_socket(self);
  if (socket != NULL && socket != Py_None)
    tuple = PyObject_CallMethod(socket, address == self->sockname ? "getsockname" : "getpeername",
                                NULL);
  Py_XDECREF(socket);
  if (tuple == NULL)
    PyErr_Clear();
  return tuple;
}

static PyObject *Transport_get_extra_info(Transport *self, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *kwnames) {
  static const Parameters parameters = {"get_extra_info", {"name", "default"}, 1, 2, false};
  PyObject *given[2];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0)
    return NULL;
  PyObject *name = given[0], *fallback = given[1] ? given[1] : Py_None;
  if (self->extra != NULL) {
    PyObject *value = PyDict_GetItemWithError(self->extra, name);
    if (value != NULL || PyErr_Occurred())
      return Py_XNewRef(value);
  }
  const char *text = PyUnicode_Check(name) ? PyUnicode_AsUTF8(name) : NULL;
  PyObject *value = text != NULL ? transport_known_extra(self, text) : NULL;
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

static PyObject *Transport__make_empty_waiter(Transport *self, PyObject *Py_UNUSED(ignored)) {
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

static PyObject *Transport__reset_empty_waiter(Transport *self, PyObject *Py_UNUSED(ignored)) {
  Py_CLEAR(self->empty_waiter);
  Py_RETURN_NONE;
}

static PyObject *Transport_repr(Transport *self) {
  PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__");
  if (name == NULL)
    return NULL;
  PyObject *text;
  if (self->loop == NULL)
    text = PyUnicode_FromFormat("<%U closed>", name);
  else if (self->loop->closed)
    text = PyUnicode_FromFormat("<%U open fd=%d>", name, self->fd);
  else
    text = PyUnicode_FromFormat(
        "<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name, self->closing ? " closing" : "",
        self->fd,
        self->started && !self->paused && !self->eof_read && !self->closing ? "polling" : "idle",
        self->queue_count ? "polling" : "idle", self->queue_size);
  Py_DECREF(name);
  return text;
}

static PyObject *Transport_get__sock(Transport *self, void *Py_UNUSED(closure)) {
  return transport_socket(self);
}

static PyObject *Transport_get__loop(Transport *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->loop ? (PyObject *)self->loop : Py_None);
}

static PyObject *Transport_get__server(Transport *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->server ? self->server : Py_None);
}

static PyObject *Transport_get__sock_fd(Transport *self, void *Py_UNUSED(closure)) {
  return PyLong_FromLong(self->fd);
}

static PyGetSetDef getset[] = {
    {"_sock", (getter)Transport_get__sock, NULL, NULL, NULL},
    {"_loop", (getter)Transport_get__loop, NULL, NULL, NULL},
    {"_server", (getter)Transport_get__server, NULL, NULL, NULL},
    {"_sock_fd", (getter)Transport_get__sock_fd, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Transport, weakrefs), READONLY, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(Transport, dict), READONLY, NULL},
    {"_closing", T_BOOL, offsetof(Transport, closing), READONLY, NULL},
    {"_paused", T_BOOL, offsetof(Transport, paused), READONLY, NULL},
    {"_eof", T_BOOL, offsetof(Transport, eof_written), READONLY, NULL},
    {"_conn_lost", T_UINT, offsetof(Transport, conn_lost), READONLY, NULL},
    {"_protocol", T_OBJECT, offsetof(Transport, protocol), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(Transport, protocol_paused), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define KEYWORDS(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef common_methods[] = {
    {"is_closing", (PyCFunction)Transport_is_closing, METH_NOARGS, NULL},
    {"close", (PyCFunction)Transport_close, METH_NOARGS, NULL},
    {"abort", (PyCFunction)Transport_abort, METH_NOARGS, NULL},
    {"set_protocol", (PyCFunction)Transport_set_protocol, METH_O, NULL},
    {"get_protocol", (PyCFunction)Transport_get_protocol, METH_NOARGS, NULL},
    {"get_extra_info", KEYWORDS(Transport_get_extra_info), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"is_reading", (PyCFunction)Transport_is_reading, METH_NOARGS, NULL},
    {"pause_reading", (PyCFunction)Transport_pause_reading, METH_NOARGS, NULL},
    {"resume_reading", (PyCFunction)Transport_resume_reading, METH_NOARGS, NULL},
    {"get_write_buffer_size", (PyCFunction)Transport_get_write_buffer_size, METH_NOARGS, NULL},
    {"get_write_buffer_limits", (PyCFunction)Transport_get_write_buffer_limits, METH_NOARGS, NULL},
    {"set_write_buffer_limits", KEYWORDS(Transport_set_write_buffer_limits),
     METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_force_close", (PyCFunction)Transport__force_close, METH_O, NULL},
    {"_fatal_error", KEYWORDS(Transport__fatal_error), METH_FASTCALL | METH_KEYWORDS, NULL},
    {"_make_empty_waiter", (PyCFunction)Transport__make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", (PyCFunction)Transport__reset_empty_waiter, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* Life ----------------------------------------------------------------------------- */

static int Transport_traverse(Transport *self, visitproc visit, void *arg) {
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

static int Transport_clear(Transport *self) {
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
  if (self->kind->forget != NULL)
    self->kind->forget(self);
  return 0;
}

/* An open transport that nobody holds any more. */
static void Transport_finalize(Transport *self) {
  if (self->fd < 0)
    return;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (PyErr_ResourceWarning((PyObject *)self, 1, "unclosed transport %R", self) < 0 &&
      PyErr_ExceptionMatches(PyExc_Warning))
    PyErr_WriteUnraisable((PyObject *)self);
  PyErr_Clear();
  transport_close_descriptor(self);
  transport_detach(self);
  PyErr_Restore(type, value, traceback);
}

static void Transport_dealloc(Transport *self) {
  PyTypeObject *type = Py_TYPE(self);
  if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0)
    return;
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL)
    PyObject_ClearWeakRefs((PyObject *)self);
  transport_clear_queue(self);
  Transport_clear(self);
  Py_CLEAR(self->file);
  PyMem_RawFree(self->sockname);
  PyMem_RawFree(self->peername);
  type->tp_free(self);
  Py_DECREF(type);
}

/* asyncio's classes of the names, as a tuple. */
static PyObject *transport_bases(const char *name, const char *second) {
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

PyTypeObject *transport_type(const char *name, const char *doc, const char *base,
                             const char *second, size_t size, PyMethodDef *methods) {
  PyType_Slot slots[] = {
      {Py_tp_doc, (void *)doc},
      {Py_tp_traverse, Transport_traverse},
      {Py_tp_clear, Transport_clear},
      {Py_tp_finalize, Transport_finalize},
      {Py_tp_dealloc, Transport_dealloc},
      {Py_tp_repr, Transport_repr},
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
  PyObject *bases = transport_bases(base, second);
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

int transport_types_init(void) {
  return import_name(&socket_class, "socket", "socket") < 0 ||
                 import_name(&transport_socket_class, "asyncio.trsock", "TransportSocket") < 0 ||
                 import_name(&asyncio_transports, "asyncio", "transports") < 0
             ? -1
             : 0;
}
