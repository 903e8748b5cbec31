/* Handle and TimerHandle: a callback that waits for its turn.
 *
 * They come from a free list, hold up to INLINE_ARGS arguments in themselves
 * and are called without building a tuple. All with the GIL held. */
#include "asyncio.h"

#include <structmember.h>

#ifdef __SANITIZE_ADDRESS__
enum { FREE_MAX = 0 }; /* so that a wrong use of a dead one is seen */
#else
enum { FREE_MAX = 1024 };
#endif
static Handle *free_list; /* linked by `callback` */
static int free_count;

static PyObject *format_source, *extract_stack; /* of asyncio.format_helpers */

Handle *handle_new(PyTypeObject *type, Loop *loop, PyObject *callback, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *context) {
  Handle *self = free_list;
  if (self != NULL) {
    free_list = (Handle *)self->callback;
    free_count--;
    PyObject_Init((PyObject *)self, type);
  } else {
    self = PyObject_New(Handle, type);
    if (self == NULL)
      return NULL;
  }
  self->loop = (Loop *)Py_NewRef(loop);
  self->callback = Py_NewRef(callback);
  self->context = self->traceback = self->text = NULL;
  self->weakrefs = NULL;
  self->running = self->cancelled = self->scheduled = self->persistent = false;
  self->argc = 0;
  if (nargs <= INLINE_ARGS) {
    for (Py_ssize_t i = 0; i < nargs; i++)
      self->args[i] = Py_NewRef(args[i]);
    self->argc = (uint8_t)nargs;
  } else {
    PyObject *tuple = PyTuple_New(nargs);
    if (tuple == NULL)
      goto failed;
    for (Py_ssize_t i = 0; i < nargs; i++)
      PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    self->args[0] = tuple;
    self->argc = MANY_ARGS;
  }
  self->context = context != NULL ? Py_NewRef(context) : PyContext_CopyCurrent();
  if (self->context == NULL)
    goto failed;
  if (loop->debug && (self->traceback = PyObject_CallNoArgs(extract_stack)) == NULL)
    goto failed;
  return self;

failed:
  Py_DECREF(self);
  return NULL;
}

void handle_forget(Handle *self) {
  if (self->running)
    return; /* and lets go of everything when it returns */
  int count = self->argc == MANY_ARGS ? 1 : self->argc;
  self->argc = 0;
  PyObject *callback = self->callback, *context = self->context;
  self->callback = self->context = NULL;
  for (int i = 0; i < count; i++)
    Py_CLEAR(self->args[i]);
  Py_XDECREF(callback);
  Py_XDECREF(context);
}

static void Handle_dealloc(Handle *self) {
  if (self->weakrefs != NULL)
    PyObject_ClearWeakRefs((PyObject *)self);
  handle_forget(self);
  Py_CLEAR(self->traceback);
  Py_CLEAR(self->text);
  Py_CLEAR(self->loop);
  if (free_count < FREE_MAX) {
    self->callback = (PyObject *)free_list;
    free_list = self;
    free_count++;
  } else {
    PyObject_Free(self);
  }
}

int handle_visit(Handle *self, visitproc visit, void *arg) {
  if (Py_REFCNT(self) != 1)
    return 0;
  Py_VISIT(self->loop);
  Py_VISIT(self->callback);
  Py_VISIT(self->context);
  int count = self->argc == MANY_ARGS ? 1 : self->argc;
  for (int i = 0; i < count; i++)
    Py_VISIT(self->args[i]);
  return 0;
}

static PyObject *handle_arguments(Handle *self) {
  if (self->argc == MANY_ARGS)
    return Py_NewRef(self->args[0]);
  PyObject *tuple = PyTuple_New(self->argc);
  for (int i = 0; tuple != NULL && i < self->argc; i++)
    PyTuple_SET_ITEM(tuple, i, Py_NewRef(self->args[i]));
  return tuple;
}

static PyObject *handle_describe(Handle *self) {
  PyObject *args = handle_arguments(self);
  if (args == NULL)
    return NULL;
  PyObject *text = PyObject_CallFunctionObjArgs(format_source, self->callback, args, NULL);
  Py_DECREF(args);
  return text;
}

static int handle_report(Handle *self) {
  if (is_fatal())
    return -1;
  PyObject *exception = take_exception();
  PyObject *source = handle_describe(self);
  PyObject *message = source ? PyUnicode_FromFormat("Exception in callback %U", source) : NULL;
  Py_XDECREF(source);
  int outcome = -1;
  if (message != NULL) {
    const char *text = PyUnicode_AsUTF8(message);
    if (text == NULL)
      PyErr_Clear(); /* it has no UTF-8 */
    outcome =
        loop_report_exception(self->loop, exception, text ? text : "Exception in callback",
                              "handle", (PyObject *)self, "source_traceback", self->traceback);
  }
  Py_XDECREF(message);
  Py_XDECREF(exception);
  return outcome;
}

int handle_run(Handle *self) {
  if (self->callback == NULL)
    return 0;
  PyObject *context = self->context, *callback = self->callback, *result;
  bool outer = self->running; /* _run() within itself */
  self->running = true;
  if (PyContext_Enter(context) < 0) {
    result = NULL;
  } else {
    if (self->argc == 0) {
      result = PyObject_CallNoArgs(callback);
    } else if (self->argc == MANY_ARGS) {
      result = PyObject_Call(callback, self->args[0], NULL);
    } else {
      result = PyObject_Vectorcall(callback, self->args,
                                   self->argc | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    if (result == NULL) {
      PyObject *type, *value, *traceback;
      PyErr_Fetch(&type, &value, &traceback);
      if (PyContext_Exit(context) < 0)
        PyErr_Clear();
      PyErr_Restore(type, value, traceback);
    } else if (PyContext_Exit(context) < 0) {
      Py_CLEAR(result);
    }
  }
  int outcome = 0;
  if (result == NULL)
    outcome = handle_report(self);
  else
    Py_DECREF(result);
  self->running = outer;
  if (self->cancelled && !outer)
    handle_forget(self);
  return outcome;
}

void handle_cancel(Handle *self) {
  if (self->cancelled)
    return;
  if (self->loop->debug && (self->text = PyObject_Repr((PyObject *)self)) == NULL)
    PyErr_Clear();
  self->cancelled = true;
  handle_forget(self);
  if (self->scheduled)
    timers_note_cancel(&self->loop->timers);
}

/* Dropping the arguments may run any code: so this comes last in its caller. */
void handle_drop(Handle *self) {
  if (self != NULL) {
    handle_cancel(self);
    Py_DECREF(self);
  }
}

/* Methods and types --------------------------------------------------------- */

static PyObject *Handle_cancel(Handle *self, PyObject *Py_UNUSED(ignored)) {
  handle_cancel(self);
  Py_RETURN_NONE;
}

static PyObject *Handle_cancelled(Handle *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->cancelled);
}

static PyObject *Handle_get_context(Handle *self, PyObject *Py_UNUSED(ignored)) {
  return Py_NewRef(self->context ? self->context : Py_None);
}

static PyObject *Handle__run(Handle *self, PyObject *Py_UNUSED(ignored)) {
  if (handle_run(self) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *TimerHandle_when(Handle *self, PyObject *Py_UNUSED(ignored)) {
  return PyFloat_FromDouble(self->when);
}

static PyObject *Handle_get_callback(Handle *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->callback ? self->callback : Py_None);
}

static PyObject *Handle_get_args(Handle *self, void *Py_UNUSED(closure)) {
  if (self->callback == NULL)
    Py_RETURN_NONE;
  return handle_arguments(self);
}

static PyObject *Handle_get_traceback(Handle *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->traceback ? self->traceback : Py_None);
}

static PyObject *Handle_repr(Handle *self) {
  if (self->text != NULL)
    return Py_NewRef(self->text);
  PyObject *parts = PyList_New(0), *text = NULL, *separator = NULL;
  if (parts == NULL)
    return NULL;
#define ADD(part)                                                                                  \
  do {                                                                                             \
    PyObject *part_ = (part);                                                                      \
    int failed_ = part_ == NULL || PyList_Append(parts, part_) < 0;                                \
    Py_XDECREF(part_);                                                                             \
    if (failed_)                                                                                   \
      goto done;                                                                                   \
  } while (0)
  ADD(PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__name__"));
  if (self->cancelled)
    ADD(PyUnicode_FromString("cancelled"));
  if (Py_IS_TYPE(self, &TimerHandle_Type)) {
    PyObject *when = PyFloat_FromDouble(self->when);
    if (when == NULL)
      goto done;
    PyObject *part = PyUnicode_FromFormat("when=%R", when);
    Py_DECREF(when);
    ADD(part);
  }
  if (self->callback != NULL)
    ADD(handle_describe(self));
  Py_ssize_t frames = self->traceback != NULL ? PyObject_Length(self->traceback) : 0;
  if (frames < 0)
    PyErr_Clear();
  if (frames > 0) {
    PyObject *last = PySequence_GetItem(self->traceback, frames - 1);
    PyObject *file = last ? PySequence_GetItem(last, 0) : NULL;
    PyObject *line = file ? PySequence_GetItem(last, 1) : NULL;
    PyObject *part = line ? PyUnicode_FromFormat("created at %S:%S", file, line) : NULL;
    Py_XDECREF(line);
    Py_XDECREF(file);
    Py_XDECREF(last);
    ADD(part);
  }
#undef ADD
  if ((separator = PyUnicode_FromString(" ")) == NULL)
    goto done;
  PyObject *joined = PyUnicode_Join(separator, parts);
  if (joined != NULL) {
    text = PyUnicode_FromFormat("<%U>", joined);
    Py_DECREF(joined);
  }
done:
  Py_XDECREF(separator);
  Py_DECREF(parts);
  return text;
}

static PyObject *handle_call(Handle *self) {
  return Py_BuildValue("ON", self->callback ? self->callback : Py_None, handle_arguments(self));
}

/* As asyncio's: by time, and equal when they would do the same. */
static PyObject *TimerHandle_compare(PyObject *a, PyObject *b, int op) {
  if (!Py_IS_TYPE(a, &TimerHandle_Type) || !Py_IS_TYPE(b, &TimerHandle_Type))
    Py_RETURN_NOTIMPLEMENTED;
  Handle *x = (Handle *)a, *y = (Handle *)b;
  int same = x == y;
  if (!same && x->when == y->when && x->cancelled == y->cancelled && x->argc == y->argc) {
    /* To compare may run what cancels them. */
    PyObject *p = handle_call(x), *q = p ? handle_call(y) : NULL;
    same = q != NULL ? PyObject_RichCompareBool(p, q, Py_EQ) : -1;
    Py_XDECREF(p);
    Py_XDECREF(q);
    if (same < 0)
      return NULL;
  }
  bool answer;
  switch (op) {
  case Py_LT:
    answer = x->when < y->when;
    break;
  case Py_LE:
    answer = x->when < y->when || same;
    break;
  case Py_GT:
    answer = x->when > y->when;
    break;
  case Py_GE:
    answer = x->when > y->when || same;
    break;
  case Py_EQ:
    answer = same;
    break;
  default:
    answer = !same;
    break;
  }
  return PyBool_FromLong(answer);
}

static Py_hash_t TimerHandle_hash(Handle *self) {
  PyObject *when = PyFloat_FromDouble(self->when);
  if (when == NULL)
    return -1;
  Py_hash_t hash = PyObject_Hash(when);
  Py_DECREF(when);
  return hash;
}

static PyMethodDef Handle_methods[] = {
    {"cancel", (PyCFunction)Handle_cancel, METH_NOARGS, "Cancel the callback."},
    {"cancelled", (PyCFunction)Handle_cancelled, METH_NOARGS, "True if it was cancelled."},
    {"get_context", (PyCFunction)Handle_get_context, METH_NOARGS, "The context it runs in."},
    {"_run", (PyCFunction)Handle__run, METH_NOARGS, "Run the callback now."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef TimerHandle_methods[] = {
    {"when", (PyCFunction)TimerHandle_when, METH_NOARGS, "The time it is due at, by loop.time()."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Handle_getset[] = {
    {"_callback", (getter)Handle_get_callback, NULL, NULL, NULL},
    {"_args", (getter)Handle_get_args, NULL, NULL, NULL},
    {"_source_traceback", (getter)Handle_get_traceback, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef Handle_members[] = {
    {"_cancelled", T_BOOL, offsetof(Handle, cancelled), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(Handle, loop), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef TimerHandle_members[] = {
    {"_scheduled", T_BOOL, offsetof(Handle, scheduled), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject Handle_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.Handle",
    .tp_doc = "A callback that call_soon() has put into the queue.",
    .tp_basicsize = sizeof(Handle),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)Handle_dealloc,
    .tp_repr = (reprfunc)Handle_repr,
    .tp_weaklistoffset = offsetof(Handle, weakrefs),
    .tp_methods = Handle_methods,
    .tp_getset = Handle_getset,
    .tp_members = Handle_members,
};

PyTypeObject TimerHandle_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.TimerHandle",
    .tp_doc = "A callback that call_later() or call_at() has scheduled.",
    .tp_basicsize = sizeof(Handle),
    .tp_base = &Handle_Type,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)Handle_dealloc,
    .tp_richcompare = TimerHandle_compare,
    .tp_hash = (hashfunc)TimerHandle_hash,
    .tp_methods = TimerHandle_methods,
    .tp_members = TimerHandle_members,
};

int handles_init(void) {
  if (import_name(&format_source, "asyncio.format_helpers", "_format_callback_source") < 0 ||
      import_name(&extract_stack, "asyncio.format_helpers", "extract_stack") < 0)
    return -1;
  return PyType_Ready(&Handle_Type) < 0 || PyType_Ready(&TimerHandle_Type) < 0 ? -1 : 0;
}
