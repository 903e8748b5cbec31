/* Job: what a coroutine awaits, and a future of its loop in the terms that
 * asyncio's tasks ask for (_asyncio_future_blocking and the methods around
 * it). It has one waiter, the task, and is awaited once.
 *
 * A future of asyncio's would cost a call_soon() and a turn of the loop for
 * every job. A job that has come back calls the task's wake-up itself, from
 * CompletionQueue.dispatch(), which the loop has called like any other callback; only in
 * debug mode it goes by call_soon(), so that the loop can name what is slow.
 * A cancel always goes by call_soon(), for it comes out of another task.
 *
 * While the engine has the job, the engine's token owns one reference to it;
 * job_release() gives that back, with everything the job reads, when the job
 * has really ended, which after a cancel may be later than the await. */
#include "core.h"

#include <structmember.h>

static PyObject *str_call_soon, *str_get_debug;
static PyObject *context_keyword; /* ("context",) */

Job *job_new(const JobKind *kind) {
  Job *self = (Job *)Job_Type.tp_alloc(&Job_Type, (Py_ssize_t)(kind->size - sizeof(Job)));
  if (self != NULL)
    self->kind = kind;
  return self;
}

void job_link(Job *self) {
  CompletionQueue *queue = self->queue;
  if (queue == NULL)
    return;
  self->next = queue->pending;
  if (queue->pending != NULL)
    queue->pending->prev = self;
  queue->pending = self;
}

static void job_unlink(Job *self) {
  if (self->queue == NULL)
    return;
  if (self->prev != NULL)
    self->prev->next = self->next;
  else
    self->queue->pending = self->next;
  if (self->next != NULL)
    self->next->prev = self->prev;
  if (self->queue->pending == NULL)
    queue_end_wait(self->queue);
  self->next = self->prev = NULL;
  self->queue = NULL;
}

static void job_drop_inputs(Job *self) {
  if (self->kind->drop != NULL)
    self->kind->drop(self);
}

void job_release(Job *self) {
  self->job = NULL;
  job_drop_inputs(self);
  job_unlink(self);
  Py_DECREF(self);
}

/* A job that has ended and that nobody waits for. */
void job_discard(uvw_job *job) {
  Job *self = job->token;
  uvw_job_free(job);
  job_release(self);
}

/* Ends the wait of a job that nobody waits for. */
static void job_unpark(Job *self) {
  PyObject *undo = self->parked;
  self->parked = NULL;
  Py_XDECREF(PyObject_CallNoArgs(undo));
  PyErr_Clear(); /* the loop may be closed already, and its readers with it */
  Py_DECREF(undo);
  uvw_count_end(self->job, true);
  job_discard(self->job);
}

/* Nobody waits any more: out of the lane, or stop at the next chunk. */
void job_abandon(Job *self) {
  if (self->kind->abandon != NULL)
    self->kind->abandon(self);
  uvw_job *job = self->job;
  if (job == NULL || self->abandoned)
    return;
  self->abandoned = true;
  if (job->completions != NULL && uvw_completions_stale(job->completions))
    return; /* in a forked child: it is the parent's */
  if (self->parked != NULL) {
    PyObject *raised = take_exception();
    job_unpark(self);
    raise_taken(raised);
  } else if (uvw_cancel(job)) {
    job_discard(job);
  }
}

/* Waking ------------------------------------------------------------------ */

static int job_wake_soon(Job *self, PyObject *callback, PyObject *context) {
  PyObject *args[] = {self->loop, callback, (PyObject *)self, context};
  PyObject *handle = PyObject_VectorcallMethod(str_call_soon, args, 3, context_keyword);
  Py_XDECREF(handle);
  return handle != NULL ? 0 : -1;
}

static int job_wake_now(Job *self, PyObject *callback, PyObject *context) {
  if (PyContext_Enter(context) < 0)
    return -1;
  PyObject *answer = PyObject_CallOneArg(callback, (PyObject *)self);
  PyObject *raised = answer == NULL ? take_exception() : NULL;
  Py_XDECREF(answer);
  int outcome = PyContext_Exit(context);
  if (raised != NULL) {
    PyErr_Clear();
    raise_taken(raised);
    return -1;
  }
  return outcome;
}

static int job_wake(Job *self, bool now) {
  PyObject *callback = self->callback, *context = self->callback_context;
  if (callback == NULL)
    return 0;
  self->callback = self->callback_context = NULL;
  int outcome =
      now ? job_wake_now(self, callback, context) : job_wake_soon(self, callback, context);
  Py_DECREF(callback);
  Py_DECREF(context);
  return outcome;
}

static int job_loop_debugs(PyObject *loop) {
  PyObject *answer = PyObject_CallMethodNoArgs(loop, str_get_debug);
  if (answer == NULL)
    return -1;
  int debugs = PyObject_IsTrue(answer);
  Py_DECREF(answer);
  return debugs;
}

/* Completion -------------------------------------------------------------- */

/* A coroutine would take StopIteration for its own end. */
static PyObject *job_exception(PyObject *exception) {
  if (!PyObject_TypeCheck(exception, (PyTypeObject *)PyExc_StopIteration))
    return exception;
  PyObject *other = PyObject_CallFunction(
      PyExc_RuntimeError, "s",
      "StopIteration interacts badly with generators and cannot be raised into a Future");
  if (other == NULL)
    return exception;
  PyException_SetCause(other, exception);
  return other;
}

/* Takes both references. The waiting task is resumed now, or in another turn. */
int job_settle(Job *self, PyObject *value, PyObject *exception, bool now) {
  if (self->loop == NULL || self->state != JOB_PENDING) {
    Py_XDECREF(value);
    Py_XDECREF(exception);
    return 0;
  }
  self->state = JOB_DONE;
  self->value = value;
  Py_XSETREF(self->exception, exception != NULL ? job_exception(exception) : NULL);
  if (self->callback == NULL)
    return 0;
  int debugs = job_loop_debugs(self->loop);
  return debugs < 0 ? -1 : job_wake(self, now && !debugs);
}

/* Gives the outcome to who awaits the job; fails as the task does that is
 * resumed, with SystemExit for example. */
static int job_deliver(Job *self, uvw_job *job) {
  PyObject *value = self->kind->shape(self, job);
  PyObject *exception = value == NULL ? take_exception() : NULL;
  uvw_job_free(job);
  Py_INCREF(self);
  job_release(self);
  int outcome = job_settle(self, value, exception, true);
  Py_DECREF(self);
  return outcome;
}

static int job_finish(Job *self, uvw_job *job) {
  if (self->abandoned) {
    job_discard(job);
    return 0;
  }
  return self->kind->deliver != NULL ? self->kind->deliver(self, job) : job_deliver(self, job);
}

/* The exception that is set becomes the job's outcome. */
static int job_finish_with_error(Job *self, uvw_job *job) {
  Py_XSETREF(self->exception, take_exception());
  job->error = UVW_EFAILED;
  uvw_count_end(job, false);
  return job_finish(self, job);
}

static int job_submit_again(Job *self, uvw_job *job) {
  return job_resubmit(job) < 0 ? job_finish_with_error(self, job) : 0;
}

static int job_park(Job *self, uvw_job *job) {
  const char *what = job->ask == UVW_ASK_READABLE   ? "readable"
                     : job->ask == UVW_ASK_WRITABLE ? "writable"
                                                    : "later";
  self->parked =
      PyObject_CallFunction(hooks.park, "OOis", self->loop, self, self->kind->park(job), what);
  if (self->parked == NULL)
    return -1;
  if (self->abandoned) /* by what job_park() called */
    job_unpark(self);
  return 0;
}

/* A job has come back from the engine: ended, or with a wish. */
int job_complete(uvw_job *job) {
  Job *self = job->token;
  if (job->ask == UVW_ASK_NOTHING || self->abandoned)
    return job_finish(self, job);
  switch (job->ask) {
  case UVW_ASK_MEMORY:
    return self->kind->grant(self, job) < 0 ? job_finish_with_error(self, job)
                                            : job_submit_again(self, job);
  case UVW_ASK_TAKE:
    return self->kind->take(self, job) < 0 ? job_finish_with_error(self, job)
                                           : job_submit_again(self, job);
  default:
    return job_park(self, job) < 0 ? job_finish_with_error(self, job) : 0;
  }
}

/* As a future ------------------------------------------------------------- */

/* Tasks ask this in their wake-up and drop the answer; what it raises they
 * throw into the coroutine. Only a cancel is raised here. Any other outcome
 * the coroutine gets from the await itself, by send(): an exception thrown
 * from outside would not be the same (GeneratorExit closes what it meets). */
static PyObject *Job_result(Job *self, PyObject *Py_UNUSED(ignored)) {
  if (self->state == JOB_DONE)
    Py_RETURN_NONE;
  if (self->state == JOB_PENDING) {
    PyErr_SetString(hooks.invalid_state, "Result is not ready.");
    return NULL;
  }
  PyObject *error = self->cancel_message != NULL
                        ? PyObject_CallOneArg(hooks.cancelled_error, self->cancel_message)
                        : PyObject_CallNoArgs(hooks.cancelled_error);
  raise_taken(error);
  return NULL;
}

static PyObject *Job_done(Job *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->state != JOB_PENDING);
}

static PyObject *Job_cancelled(Job *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->state == JOB_CANCELLED);
}

static PyObject *Job_get_loop(Job *self, PyObject *Py_UNUSED(ignored)) {
  return Py_NewRef(self->loop != NULL ? self->loop : Py_None);
}

static PyObject *Job_add_done_callback(Job *self, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *kwnames) {
  static const Parameters parameters = {
      .function = "add_done_callback", .names = {"fn", "context"}, .required = 1, .positional = 1};
  PyObject *given[2];
  if (bind_arguments(&parameters, args, nargs, kwnames, given) < 0)
    return NULL;
  if (self->callback != NULL || self->loop == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "a job has one waiter only");
    return NULL;
  }
  PyObject *context = given[1];
  self->callback_context =
      context != NULL && context != Py_None ? Py_NewRef(context) : PyContext_CopyCurrent();
  if (self->callback_context == NULL)
    return NULL;
  self->callback = Py_NewRef(given[0]);
  if (self->state != JOB_PENDING && job_wake(self, false) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Job_remove_done_callback(Job *self, PyObject *callback) {
  int same = self->callback != NULL ? PyObject_RichCompareBool(self->callback, callback, Py_EQ) : 0;
  if (same < 0)
    return NULL;
  if (same) {
    Py_CLEAR(self->callback);
    Py_CLEAR(self->callback_context);
  }
  return PyLong_FromLong(same);
}

static PyObject *Job_cancel(Job *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {
      .function = "cancel", .names = {"msg"}, .required = 0, .positional = 1};
  PyObject *message;
  if (bind_arguments(&parameters, args, nargs, kwnames, &message) < 0)
    return NULL;
  if (self->state != JOB_PENDING)
    Py_RETURN_FALSE;
  self->state = JOB_CANCELLED;
  if (message != NULL && message != Py_None)
    Py_XSETREF(self->cancel_message, Py_NewRef(message));
  job_abandon(self);
  if (job_wake(self, false) < 0)
    return NULL;
  Py_RETURN_TRUE;
}

static PyObject *Job_get_blocking(Job *self, void *Py_UNUSED(closure)) {
  return PyBool_FromLong(self->blocking);
}

static int Job_set_blocking(Job *self, PyObject *value, void *Py_UNUSED(closure)) {
  int blocking = value != NULL ? PyObject_IsTrue(value) : 0;
  if (blocking < 0)
    return -1;
  self->blocking = blocking;
  return 0;
}

/* As its own iterator: the first send hands the job up to the task, the next
 * one, after the wake-up, returns the result; throw() and close() mean that
 * nobody waits. */

static PyObject *Job_await(Job *self) {
  if (self->sent || self->loop == NULL) {
    PyErr_SetString(PyExc_RuntimeError, "a job can be awaited once only");
    return NULL;
  }
  return Py_NewRef((PyObject *)self);
}

static PySendResult Job_am_send(Job *self, PyObject *Py_UNUSED(value), PyObject **result) {
  if (!self->sent) {
    self->sent = self->blocking = true;
    *result = Py_NewRef((PyObject *)self);
    return PYGEN_NEXT;
  }
  *result = NULL;
  if (self->state != JOB_DONE) {
    Job_result(self, NULL);
    return PYGEN_ERROR;
  }
  if (self->exception != NULL) {
    raise_again(self->exception);
    return PYGEN_ERROR;
  }
  *result = Py_NewRef(self->value);
  return PYGEN_RETURN;
}

static PyObject *Job_throw(Job *self, PyObject *const *args, Py_ssize_t nargs) {
  job_abandon(self);
  return awaitable_raise(args, nargs);
}

static PyObject *Job_close(Job *self, PyObject *Py_UNUSED(ignored)) {
  job_abandon(self);
  Py_RETURN_NONE;
}

/* For other targets, and for parking --------------------------------------- */

static PyObject *Job_withdraw(Job *self, PyObject *Py_UNUSED(ignored)) {
  if (self->job == NULL || self->abandoned || self->parked != NULL || !uvw_withdraw(self->job))
    Py_RETURN_FALSE;
  job_discard(self->job);
  Py_RETURN_TRUE;
}

static PyObject *Job_resume(Job *self, PyObject *Py_UNUSED(ignored)) {
  if (self->parked == NULL)
    Py_RETURN_NONE;
  Py_CLEAR(self->parked);
  if (job_submit_again(self, self->job) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Job_get_waiting(Job *self, void *Py_UNUSED(closure)) {
  return PyBool_FromLong(self->job != NULL && uvw_job_waiting(self->job));
}

/* The type ---------------------------------------------------------------- */

static int Job_traverse(Job *self, visitproc visit, void *arg) {
  Py_VISIT(self->parked);
  Py_VISIT(self->loop);
  Py_VISIT(self->callback);
  Py_VISIT(self->callback_context);
  Py_VISIT(self->value);
  Py_VISIT(self->exception);
  Py_VISIT(self->cancel_message);
  if (self->kind->visit != NULL)
    return self->kind->visit(self, visit, arg);
  return 0;
}

/* Inputs are not cleared here: the collector gets this far only when the
 * engine has let go, and then there are none. */
static int Job_clear(Job *self) {
  Py_CLEAR(self->parked);
  Py_CLEAR(self->loop);
  Py_CLEAR(self->callback);
  Py_CLEAR(self->callback_context);
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
  Py_CLEAR(self->cancel_message);
  return 0;
}

static void Job_dealloc(Job *self) {
  PyObject_GC_UnTrack(self);
  job_drop_inputs(self);
  Job_clear(self);
  Py_TYPE(self)->tp_free(self);
}

static PyMethodDef Job_methods[] = {
    {"result", (PyCFunction)Job_result, METH_NOARGS,
     "For a task's wake-up: raises a cancel; the outcome comes with the await."},
    {"done", (PyCFunction)Job_done, METH_NOARGS, "As of asyncio.Future."},
    {"cancelled", (PyCFunction)Job_cancelled, METH_NOARGS, "As of asyncio.Future."},
    {"get_loop", (PyCFunction)Job_get_loop, METH_NOARGS, "As of asyncio.Future."},
    {"cancel", (PyCFunction)(void (*)(void))Job_cancel, METH_FASTCALL | METH_KEYWORDS,
     "As of asyncio.Future; what waits in its lane is taken out."},
    {"add_done_callback", (PyCFunction)(void (*)(void))Job_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, "As of asyncio.Future, for one callback."},
    {"remove_done_callback", (PyCFunction)Job_remove_done_callback, METH_O,
     "As of asyncio.Future."},
    {"send", awaitable_send, METH_O, "Part of the awaitable protocol."},
    {"throw", (PyCFunction)(void (*)(void))Job_throw, METH_FASTCALL,
     "Nobody waits: stop the job and raise the exception."},
    {"close", (PyCFunction)Job_close, METH_NOARGS, "Nobody waits: stop the job."},
    {"withdraw", (PyCFunction)Job_withdraw, METH_NOARGS,
     "Take the job out of its lane; false if it has begun or ended."},
    {"resume", (PyCFunction)Job_resume, METH_NOARGS, "End of the wait that job_park() began."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Job_getset[] = {
    {"_asyncio_future_blocking", (getter)Job_get_blocking, (setter)Job_set_blocking, NULL, NULL},
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
    .tp_itemsize = 1,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)Job_dealloc,
    .tp_traverse = (traverseproc)Job_traverse,
    .tp_clear = (inquiry)Job_clear,
    .tp_as_async = &Job_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = awaitable_next,
    .tp_methods = Job_methods,
    .tp_getset = Job_getset,
};

int jobs_init(void) {
  PyObject *context = PyUnicode_InternFromString("context");
  str_call_soon = PyUnicode_InternFromString("call_soon");
  str_get_debug = PyUnicode_InternFromString("get_debug");
  if (context == NULL || str_call_soon == NULL || str_get_debug == NULL)
    return -1;
  context_keyword = PyTuple_Pack(1, context);
  Py_DECREF(context);
  return context_keyword != NULL ? PyType_Ready(&Job_Type) : -1;
}
