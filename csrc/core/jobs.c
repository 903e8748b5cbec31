/* Job: what a coroutine awaits. It is its own iterator: the first send hands
 * the future up to the task, the next one, after the wake-up, returns the
 * result; throw() and close() mean that nobody waits any more and cancel.
 *
 * While the engine has the job, the engine's token owns one reference to it;
 * job_release() gives that back, with everything the job reads, when the job
 * has really ended, which after a cancel may be later than the future. */
#include "core.h"

#include <structmember.h>

/* 3.12 replaced PyErr_Fetch and PyErr_Restore. */
PyObject *take_exception(void) {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == NULL)
    return NULL;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL)
    PyException_SetTraceback(value, traceback);
  Py_DECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

Job *job_new(Port *port, PyObject *future) {
  Job *self = (Job *)Job_Type.tp_alloc(&Job_Type, 0);
  if (self == NULL)
    return NULL;
  self->port = port;
  self->future = Py_XNewRef(future);
  return self;
}

static void link_pending(Job *self) {
  Port *port = self->port;
  if (port == NULL)
    return;
  self->next = port->pending;
  if (port->pending != NULL)
    port->pending->prev = self;
  port->pending = self;
}

static void unlink_pending(Job *self) {
  if (self->port == NULL)
    return;
  if (self->prev != NULL)
    self->prev->next = self->next;
  else
    self->port->pending = self->next;
  if (self->next != NULL)
    self->next->prev = self->prev;
  self->next = self->prev = NULL;
  self->port = NULL;
}

static void drop_inputs(Job *self) {
  if (self->data.obj != NULL)
    PyBuffer_Release(&self->data);
  for (Py_ssize_t i = 0; i < self->call_count; i++)
    Py_XDECREF(self->call[i]);
  PyMem_Free(self->call);
  self->call = NULL;
  self->call_count = 0;
  Py_CLEAR(self->kwnames);
  Py_CLEAR(self->context);
  Py_CLEAR(self->path);
  Py_CLEAR(self->path2);
  Py_CLEAR(self->option);
  Py_CLEAR(self->result);
  Py_CLEAR(self->exception);
}

void job_release(Job *self) {
  self->job = NULL;
  unlink_pending(self);
  drop_inputs(self);
  Py_DECREF(self);
}

/* A job that has ended and that nobody waits for. */
void job_discard(uvw_job *job) {
  Job *self = job->token;
  uvw_job_free(job);
  job_release(self);
}

static void raise_refused(int error, unsigned lane) {
  if (error == UV_EAGAIN)
    PyErr_Format(hooks.saturated, "lane '%s' is full", uvw_lane_name(lane));
  else if (error == UV_ESHUTDOWN)
    PyErr_SetString(PyExc_RuntimeError, "cannot submit to the pool at interpreter shutdown");
  else
    PyErr_Format(PyExc_RuntimeError, "the pool refused a job: %s", uv_strerror(error));
}

/* Steals `self`, and frees the engine's job if that is refused. */
PyObject *job_submit(Job *self, uvw_job *job) {
  empty_graveyard();
  unsigned lane = job->lane;
  self->job = job;
  job->token = Py_NewRef(self);
  link_pending(self);
  int error = uvw_submit(job);
  if (error != 0) {
    job_discard(job);
    Py_DECREF(self);
    raise_refused(error, lane);
    return NULL;
  }
  return (PyObject *)self;
}

/* Nobody waits any more. */
void job_cancel(Job *self) {
  uvw_job *job = self->job;
  if (job == NULL || self->cancelled)
    return;
  self->cancelled = true;
  if (self->parked != NULL) {
    PyObject *undo = self->parked;
    self->parked = NULL;
    PyObject *raised = take_exception();
    Py_XDECREF(PyObject_CallNoArgs(undo));
    /* The loop may be closed already, and its readers with it. */
    PyErr_Clear();
    if (raised != NULL) {
      PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
      Py_DECREF(raised);
    }
    Py_DECREF(undo);
    job_discard(job);
  } else if (uvw_cancel(job)) {
    job_discard(job);
  }
}

/* Completion -------------------------------------------------------------- */

static PyObject *str_done, *str_set_result, *str_set_exception, *str_result, *str_blocking;

static int future_is_done(PyObject *future) {
  PyObject *done = PyObject_CallMethodNoArgs(future, str_done);
  if (done == NULL)
    return -1;
  int answer = PyObject_IsTrue(done);
  Py_DECREF(done);
  return answer;
}

/* Futures refuse StopIteration: it would end the coroutine that awaits. */
static PyObject *settable(PyObject *exception) {
  if (!PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_StopIteration))
    return Py_NewRef(exception);
  PyObject *other = PyObject_CallFunction(
      PyExc_RuntimeError, "s",
      "StopIteration interacts badly with generators and cannot be raised into a Future");
  if (other != NULL)
    PyException_SetCause(other, Py_NewRef(exception));
  return other;
}

/* Gives a result (new reference, or NULL with an exception set) to the one who
 * waits. Fails only where user code of the bare loop does. */
static int deliver(PyObject *target, bool to_future, PyObject *value) {
  PyObject *exception = value == NULL ? take_exception() : NULL;
  PyObject *answer = NULL;
  if (!to_future) {
    PyObject *pair[] = {exception != NULL ? exception : Py_None, value != NULL ? value : Py_None};
    answer = PyObject_Vectorcall(target, pair, 2, NULL);
  } else {
    int done = future_is_done(target);
    if (done != 0) {
      answer = done > 0 ? Py_NewRef(Py_None) : NULL;
    } else if (value != NULL) {
      answer = PyObject_CallMethodOneArg(target, str_set_result, value);
    } else {
      PyObject *fit = settable(exception);
      if (fit != NULL)
        answer = PyObject_CallMethodOneArg(target, str_set_exception, fit);
      Py_XDECREF(fit);
    }
  }
  Py_XDECREF(value);
  Py_XDECREF(exception);
  if (answer == NULL)
    return -1;
  Py_DECREF(answer);
  return 0;
}

static int finish(Job *self, uvw_job *job) {
  Py_INCREF(self);
  int outcome = 0;
  if (self->cancelled) {
    job_discard(job);
  } else {
    PyObject *value = self->shape(self, job);
    bool to_future = self->port == NULL || self->port->loop != NULL;
    uvw_job_free(job);
    job_release(self);
    if (self->future != NULL)
      outcome = deliver(self->future, to_future, value);
    else
      Py_XDECREF(value);
  }
  Py_DECREF(self);
  return outcome;
}

/* The exception that is set becomes the job's outcome. */
static int finish_with_error(Job *self, uvw_job *job) {
  PyObject *exception = take_exception();
  Py_XSETREF(self->exception, exception);
  job->error = UVW_EFAILED;
  return finish(self, job);
}

static int resubmit(Job *self, uvw_job *job) {
  job->ask = UVW_ASK_NOTHING;
  int error = uvw_submit(job);
  if (error == 0)
    return 0;
  raise_refused(error, job->lane);
  return finish_with_error(self, job);
}

static int give_memory(Job *self, uvw_fs *fs) {
  if (fs->want > PY_SSIZE_T_MAX - 64) {
    PyErr_NoMemory();
    return -1;
  }
  if (fs->borrowed) {
    fs->buffer = NULL;
    if (_PyBytes_Resize(&self->result, (Py_ssize_t)fs->want) < 0)
      return -1;
  } else {
    self->result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)fs->want);
    if (self->result == NULL)
      return -1;
    if (fs->length > 0)
      memcpy(PyBytes_AS_STRING(self->result), fs->buffer, fs->length);
    uvw_buffer_put(fs->buffer, fs->capacity);
    fs->borrowed = true;
  }
  fs->buffer = PyBytes_AS_STRING(self->result);
  fs->capacity = fs->want;
  return 0;
}

static int park(Job *self, uvw_fs *fs) {
  const char *what = fs->job.ask == UVW_ASK_READABLE   ? "readable"
                     : fs->job.ask == UVW_ASK_WRITABLE ? "writable"
                                                       : "later";
  int fd = what[0] == 'w' && fs->fd2 >= 0 ? fs->fd2 : fs->fd;
  self->parked = PyObject_CallFunction(hooks.park, "OOis", self->port->loop, self, fd, what);
  return self->parked == NULL ? -1 : 0;
}

/* A job has come from its owner: ended, or with a wish. */
int job_complete(uvw_job *job) {
  Job *self = job->token;
  if (job->ask == UVW_ASK_NOTHING || self->cancelled)
    return finish(self, job);
  uvw_fs *fs = (uvw_fs *)job;
  switch (job->ask) {
  case UVW_ASK_MEMORY:
    return give_memory(self, fs) < 0 ? finish_with_error(self, job) : resubmit(self, job);
  case UVW_ASK_TAKE:
    return take_page(self, fs) < 0 ? finish_with_error(self, job) : resubmit(self, job);
  default:
    return park(self, fs) < 0 ? finish_with_error(self, job) : 0;
  }
}

/* The type ---------------------------------------------------------------- */

static PyObject *Job_await(Job *self) {
  if (self->sent || self->future == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "a job can be awaited once only");
    return NULL;
  }
  return Py_NewRef((PyObject *)self);
}

static PySendResult Job_am_send(Job *self, PyObject *Py_UNUSED(value), PyObject **result) {
  if (!self->sent) {
    self->sent = true;
    if (PyObject_SetAttr(self->future, str_blocking, Py_True) < 0) {
      *result = NULL;
      return PYGEN_ERROR;
    }
    *result = Py_NewRef(self->future);
    return PYGEN_NEXT;
  }
  *result = PyObject_CallMethodNoArgs(self->future, str_result);
  return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *Job_send(Job *self, PyObject *value) {
  PyObject *result;
  switch (Job_am_send(self, value, &result)) {
  case PYGEN_NEXT:
    return result;
  case PYGEN_RETURN: {
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (stop != NULL) {
      PyErr_SetObject(PyExc_StopIteration, stop);
      Py_DECREF(stop);
    }
    return NULL;
  }
  default:
    return NULL;
  }
}

static PyObject *Job_iternext(Job *self) { return Job_send(self, Py_None); }

static PyObject *Job_throw(Job *self, PyObject *const *args, Py_ssize_t nargs) {
  if (nargs < 1 || nargs > 3) {
    PyErr_SetString(PyExc_TypeError, "throw() takes one to three arguments");
    return NULL;
  }
  job_cancel(self);
  PyObject *value = nargs > 1 && args[1] != Py_None ? args[1] : NULL;
  if (PyExceptionInstance_Check(args[0]))
    PyErr_SetObject((PyObject *)Py_TYPE(args[0]), args[0]);
  else
    PyErr_SetObject(args[0], value);
  return NULL;
}

static PyObject *Job_close(Job *self, PyObject *Py_UNUSED(ignored)) {
  job_cancel(self);
  Py_RETURN_NONE;
}

static PyObject *Job_cancel(Job *self, PyObject *Py_UNUSED(ignored)) {
  bool pending = self->job != NULL;
  job_cancel(self);
  return PyBool_FromLong(pending && self->job == NULL);
}

static PyObject *Job_resume(Job *self, PyObject *Py_UNUSED(ignored)) {
  if (self->parked == NULL)
    Py_RETURN_NONE;
  Py_CLEAR(self->parked);
  if (resubmit(self, self->job) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Job_get_waiting(Job *self, void *Py_UNUSED(closure)) {
  return PyBool_FromLong(self->job != NULL && uvw_job_waiting(self->job));
}

static int Job_traverse(Job *self, visitproc visit, void *arg) {
  Py_VISIT(self->future);
  Py_VISIT(self->parked);
  Py_VISIT(self->path);
  Py_VISIT(self->path2);
  Py_VISIT(self->option);
  Py_VISIT(self->data.obj);
  Py_VISIT(self->result);
  Py_VISIT(self->exception);
  Py_VISIT(self->context);
  for (Py_ssize_t i = 0; i < self->call_count; i++)
    Py_VISIT(self->call[i]);
  return 0;
}

/* Inputs are not cleared here: the collector gets this far only when the
 * engine has let go, and then there are none. */
static int Job_clear(Job *self) {
  Py_CLEAR(self->future);
  Py_CLEAR(self->parked);
  return 0;
}

static void Job_dealloc(Job *self) {
  PyObject_GC_UnTrack(self);
  drop_inputs(self);
  Job_clear(self);
  Py_TYPE(self)->tp_free(self);
}

static PyMethodDef Job_methods[] = {
    {"send", (PyCFunction)Job_send, METH_O, "Part of the awaitable protocol."},
    {"throw", (PyCFunction)(void (*)(void))Job_throw, METH_FASTCALL,
     "Cancel the job and raise the exception."},
    {"close", (PyCFunction)Job_close, METH_NOARGS, "Cancel the job."},
    {"cancel", (PyCFunction)Job_cancel, METH_NOARGS,
     "Cancel the job; true if it will never run."},
    {"resume", (PyCFunction)Job_resume, METH_NOARGS, "End of the wait that park() began."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Job_getset[] = {
    {"waiting", (getter)Job_get_waiting, NULL, "Whether the job is still in its lane.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods Job_async = {
    .am_await = (unaryfunc)Job_await,
    .am_send = (sendfunc)Job_am_send,
};

PyTypeObject Job_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.Job",
    .tp_doc = "A job with the engine; awaitable once.",
    .tp_basicsize = sizeof(Job),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)Job_dealloc,
    .tp_traverse = (traverseproc)Job_traverse,
    .tp_clear = (inquiry)Job_clear,
    .tp_as_async = &Job_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = (iternextfunc)Job_iternext,
    .tp_methods = Job_methods,
    .tp_getset = Job_getset,
};

int jobs_init(void) {
  str_done = PyUnicode_InternFromString("done");
  str_set_result = PyUnicode_InternFromString("set_result");
  str_set_exception = PyUnicode_InternFromString("set_exception");
  str_result = PyUnicode_InternFromString("result");
  str_blocking = PyUnicode_InternFromString("_asyncio_future_blocking");
  if (str_done == NULL || str_set_result == NULL || str_set_exception == NULL ||
      str_result == NULL || str_blocking == NULL)
    return -1;
  return PyType_Ready(&Job_Type);
}
