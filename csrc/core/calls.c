/* Python callables as jobs. run() is on a worker, with the GIL: the engine's
 * pump takes it once for a batch of calls through enter() and leave(), which
 * keep the worker's thread state, so that threading.local values last as long
 * as the worker. */
#include "core.h"

#include <errno.h>

typedef struct {
  Job base;
  PyObject *target;  /* a concurrent.futures.Future, or the bare loop's callback; or NULL */
  PyObject *context; /* that the call runs in, or NULL */
  PyObject **call;   /* the callable and its arguments, `count` in all */
  Py_ssize_t count;
  PyObject *kwnames;
} CallJob;

static _Thread_local PyThreadState *worker_state;

static void call_name_thread(void) {
  PyObject *threading = PyImport_ImportModule("threading");
  PyObject *thread =
      threading != NULL ? PyObject_CallMethod(threading, "current_thread", NULL) : NULL;
  PyObject *name = thread != NULL ? PyUnicode_FromFormat("uvworks-%u", uvw_worker_number()) : NULL;
  if (name == NULL || PyObject_SetAttrString(thread, "name", name) < 0)
    PyErr_WriteUnraisable(thread);
  Py_XDECREF(name);
  Py_XDECREF(thread);
  Py_XDECREF(threading);
}

static void call_enter(void) {
  if (worker_state != NULL) {
    PyEval_RestoreThread(worker_state);
    return;
  }
  PyGILState_Ensure();
  worker_state = PyThreadState_Get();
  call_name_thread();
}

static void call_leave(void) { PyEval_SaveThread(); }

static PyObject *call_in_context(CallJob *self) {
  size_t positional = (size_t)self->count - 1;
  if (self->kwnames != NULL)
    positional -= (size_t)PyTuple_GET_SIZE(self->kwnames);
  if (self->context == NULL)
    return PyObject_Vectorcall(self->call[0], self->call + 1, positional, self->kwnames);
  if (PyContext_Enter(self->context) < 0)
    return NULL;
  PyObject *result = PyObject_Vectorcall(self->call[0], self->call + 1, positional, self->kwnames);
  PyObject *raised = result == NULL ? take_exception() : NULL;
  if (PyContext_Exit(self->context) < 0)
    Py_CLEAR(result);
  if (raised != NULL) {
    PyErr_Clear();
    raise_taken(raised);
  }
  return result;
}

static void call_drop_arguments(CallJob *self) {
  for (Py_ssize_t i = 0; i < self->count; i++)
    Py_CLEAR(self->call[i]);
  PyMem_Free(self->call);
  self->call = NULL;
  self->count = 0;
  Py_CLEAR(self->kwnames);
  Py_CLEAR(self->context);
}

static void call_drop(Job *job) {
  call_drop_arguments((CallJob *)job);
  Py_CLEAR(((CallJob *)job)->target);
}

static int call_visit(Job *job, visitproc visit, void *arg) {
  CallJob *self = (CallJob *)job;
  Py_VISIT(self->target);
  Py_VISIT(self->context);
  for (Py_ssize_t i = 0; i < self->count; i++)
    Py_VISIT(self->call[i]);
  return 0;
}

/* The outcome waits in value and exception; call_shape() gives it on. */
static int call_run(uvw_job *job) {
  CallJob *self = job->token;
  self->base.value = call_in_context(self);
  if (self->base.value == NULL) {
    self->base.exception = take_exception();
    job->error = UVW_EFAILED;
  }
  /* Drops the arguments where they were used: their end may take long. */
  call_drop_arguments(self);
  return UVW_DONE;
}

/* For concurrent.futures: whoever waits may be any thread, so the worker
 * itself sets the future. */
static int call_run_for_executor(uvw_job *job) {
  CallJob *self = job->token;
  PyObject *answer = PyObject_CallMethod(self->target, "set_running_or_notify_cancel", NULL);
  if (answer == Py_True) {
    call_run(job);
    bool failed = self->base.value == NULL;
    PyObject *outcome = failed ? self->base.exception : self->base.value;
    Py_SETREF(answer, PyObject_CallMethod(self->target, failed ? "set_exception" : "set_result",
                                          "(O)", outcome));
  } else {
    call_drop_arguments(self);
    job->error = ECANCELED;
  }
  if (answer == NULL)
    PyErr_WriteUnraisable(self->target);
  Py_XDECREF(answer);
  Py_CLEAR(self->base.value);
  Py_CLEAR(self->base.exception);
  job->token = NULL;
  job_release(&self->base);
  return UVW_DONE;
}

static void call_destroy(uvw_job *job) { PyMem_RawFree(job); }

static const uvw_kind call_kind = {"call", call_run, call_destroy, call_enter, call_leave};
static const uvw_kind executor_kind = {"executor", call_run_for_executor, call_destroy, call_enter,
                                       call_leave};

static PyObject *call_shape(Job *self, uvw_job *job) {
  PyObject *value = self->value, *exception = self->exception;
  self->value = self->exception = NULL;
  if (job->error != 0)
    raise_taken(exception);
  else
    Py_XDECREF(exception);
  return value;
}

/* For the bare loop: callback(exception, value). */
static int call_deliver(Job *self, uvw_job *job) {
  PyObject *value = call_shape(self, job);
  PyObject *exception = value == NULL ? take_exception() : NULL;
  PyObject *callback = ((CallJob *)self)->target; /* it may lead back to us */
  ((CallJob *)self)->target = NULL;
  job_discard(job);
  PyObject *answer = Py_NewRef(Py_None);
  if (callback != NULL) {
    PyObject *pair[] = {exception != NULL ? exception : Py_None, value != NULL ? value : Py_None};
    Py_SETREF(answer, PyObject_Vectorcall(callback, pair, 2, NULL));
  }
  Py_XDECREF(callback);
  Py_XDECREF(value);
  Py_XDECREF(exception);
  Py_XDECREF(answer);
  return answer != NULL ? 0 : -1;
}

/* Submitting ------------------------------------------------------------------ */

static const JobKind awaited_call = {
    .size = sizeof(CallJob), .shape = call_shape, .visit = call_visit, .drop = call_drop};
static const JobKind callback_call = {.size = sizeof(CallJob),
                                      .shape = call_shape,
                                      .deliver = call_deliver,
                                      .visit = call_visit,
                                      .drop = call_drop};

/* The call of args[0] with the rest as its arguments. */
static CallJob *call_new(const JobKind *kind, PyObject *target, bool in_context,
                         PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  if (!PyCallable_Check(args[0])) {
    PyErr_Format(PyExc_TypeError, "func: expected a callable, got %R", args[0]);
    return NULL;
  }
  CallJob *job = (CallJob *)job_new(kind);
  if (job == NULL)
    return NULL;
  Py_ssize_t count = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
  job->call = PyMem_New(PyObject *, count);
  job->context = in_context ? PyContext_CopyCurrent() : NULL;
  if (job->call == NULL || (in_context && job->context == NULL)) {
    if (!PyErr_Occurred())
      PyErr_NoMemory();
    Py_DECREF(job);
    return NULL;
  }
  for (Py_ssize_t i = 0; i < count; i++)
    job->call[i] = Py_NewRef(args[i]);
  job->count = count;
  job->kwnames = Py_XNewRef(kwnames);
  job->target = Py_XNewRef(target);
  return job;
}

static PyObject *call_submit(CallJob *job, const uvw_kind *kind, int lane) {
  uvw_job *engine_job = PyMem_RawMalloc(sizeof(*engine_job));
  if (engine_job == NULL) {
    Py_DECREF(job);
    return PyErr_NoMemory();
  }
  CompletionQueue *queue = job->base.queue;
  uvw_job_init(engine_job, kind, (unsigned)lane, queue != NULL ? queue->completions : NULL, NULL);
  return job_submit(&job->base, engine_job);
}

static int call_check_count(Py_ssize_t nargs, Py_ssize_t least) {
  if (nargs >= least)
    return 0;
  PyErr_SetString(PyExc_TypeError, "too few arguments");
  return -1;
}

/* call(lane, func, *args, **kwargs): for the running loop. */
static PyObject *core_call(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames) {
  int lane = call_check_count(nargs, 2) < 0 ? -1 : lane_index(args[0]);
  CallJob *job =
      lane >= 0 ? call_new(&awaited_call, NULL, true, args + 1, nargs - 1, kwnames) : NULL;
  if (job == NULL || job_open(&job->base) < 0) {
    Py_XDECREF(job);
    return NULL;
  }
  return call_submit(job, &call_kind, lane);
}

/* call_executor(future, lane, func, *args, **kwargs) */
static PyObject *core_call_executor(PyObject *Py_UNUSED(module), PyObject *const *args,
                                    Py_ssize_t nargs, PyObject *kwnames) {
  int lane = call_check_count(nargs, 3) < 0 ? -1 : lane_index(args[1]);
  CallJob *job =
      lane >= 0 ? call_new(&awaited_call, args[0], false, args + 2, nargs - 2, kwnames) : NULL;
  if (job == NULL || job_open_for(&job->base, NULL) < 0) {
    Py_XDECREF(job);
    return NULL;
  }
  return call_submit(job, &executor_kind, lane);
}

/* call_queue(queue, callback, lane, func): for the bare loop. */
static PyObject *core_call_queue(PyObject *Py_UNUSED(module), PyObject *const *args,
                                 Py_ssize_t nargs, PyObject *kwnames) {
  int lane = call_check_count(nargs, 4) < 0 ? -1 : lane_index(args[2]);
  if (lane < 0)
    return NULL;
  if (!Py_IS_TYPE(args[0], &CompletionQueue_Type)) {
    PyErr_SetString(PyExc_TypeError, "queue: expected a CompletionQueue");
    return NULL;
  }
  PyObject *callback = args[1] != Py_None ? args[1] : NULL;
  CallJob *job = call_new(&callback_call, callback, true, args + 3, nargs - 3, kwnames);
  if (job == NULL || job_open_for(&job->base, (CompletionQueue *)args[0]) < 0) {
    Py_XDECREF(job);
    return NULL;
  }
  return call_submit(job, &call_kind, lane);
}

PyMethodDef calls_methods[] = {
    {"call", (PyCFunction)(void (*)(void))core_call, METH_FASTCALL | METH_KEYWORDS,
     "call(lane, func, *args, **kwargs) -> Job for the running loop"},
    {"call_executor", (PyCFunction)(void (*)(void))core_call_executor,
     METH_FASTCALL | METH_KEYWORDS, "call_executor(future, lane, func, *args, **kwargs) -> Job"},
    {"call_queue", (PyCFunction)(void (*)(void))core_call_queue, METH_FASTCALL | METH_KEYWORDS,
     "call_queue(queue, callback, lane, func, *args, **kwargs) -> Job"},
    {NULL, NULL, 0, NULL},
};
