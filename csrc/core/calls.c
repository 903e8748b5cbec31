/* Python callables as jobs. run() is on a worker, with the GIL: the engine's
 * pump takes it once for a batch of calls through enter() and leave(), which
 * keep the worker's thread state, so that threading.local values last as long
 * as the worker. */
#include "core.h"

#include <errno.h>

static _Thread_local PyThreadState *worker_state;

static void name_thread(void) {
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

static void enter(void) {
  if (worker_state != NULL) {
    PyEval_RestoreThread(worker_state);
    return;
  }
  PyGILState_Ensure();
  worker_state = PyThreadState_Get();
  name_thread();
}

static void leave(void) { PyEval_SaveThread(); }

static PyObject *call_in_context(Job *self) {
  size_t positional = (size_t)self->call_count - 1;
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
    raise_again(raised);
    Py_DECREF(raised);
  }
  return result;
}

/* The outcome waits in value and exception; shape_call() gives it on. */
static int run(uvw_job *job) {
  Job *self = job->token;
  self->value = call_in_context(self);
  if (self->value == NULL) {
    self->exception = take_exception();
    job->error = UVW_EFAILED;
  }
  /* Drops the arguments where they were used: their end may take long. */
  job_drop_call(self);
  return UVW_DONE;
}

/* For concurrent.futures: whoever waits may be any thread, so the worker
 * itself sets the future. */
static int run_for_executor(uvw_job *job) {
  Job *self = job->token;
  PyObject *answer = PyObject_CallMethod(self->target, "set_running_or_notify_cancel", NULL);
  if (answer == Py_True) {
    run(job);
    if (self->value != NULL)
      Py_SETREF(answer, PyObject_CallMethod(self->target, "set_result", "(O)", self->value));
    else
      Py_SETREF(answer, PyObject_CallMethod(self->target, "set_exception", "(O)", self->exception));
  } else {
    job_drop_call(self);
    job->error = ECANCELED;
  }
  if (answer == NULL)
    PyErr_WriteUnraisable(self->target);
  Py_XDECREF(answer);
  Py_CLEAR(self->value);
  Py_CLEAR(self->exception);
  Py_CLEAR(self->target);
  job->token = NULL;
  job_release(self);
  return UVW_DONE;
}

static void destroy(uvw_job *job) { PyMem_RawFree(job); }

static const uvw_kind call_kind = {"call", run, destroy, enter, leave};
static const uvw_kind executor_kind = {"executor", run_for_executor, destroy, enter, leave};

static PyObject *shape_call(Job *self, uvw_job *job) {
  PyObject *value = self->value, *exception = self->exception;
  self->value = self->exception = NULL;
  if (job->error != 0 && exception != NULL)
    raise_again(exception);
  Py_XDECREF(exception);
  return value;
}

/* Mostly the same string object as last time. */
static int lane_index(PyObject *name) {
  static PyObject *last_name;
  static int last_lane;
  if (name == last_name)
    return last_lane;
  if (!PyUnicode_Check(name)) {
    PyErr_Format(PyExc_TypeError, "lane: expected a str, got %R", name);
    return -1;
  }
  const char *text = PyUnicode_AsUTF8(name);
  if (text == NULL)
    return -1;
  int lane = uvw_lane_find(text);
  if (lane < 0) {
    PyErr_Format(PyExc_ValueError, "lane: unknown lane %R", name);
    return -1;
  }
  Py_XSETREF(last_name, Py_NewRef(name));
  last_lane = lane;
  return lane;
}

/* Makes the job of lane `args[0]` and callable `args[1]` with the rest as its
 * arguments. */
static PyObject *submit_call(const uvw_kind *kind, CompletionQueue *queue, PyObject *target,
                             bool in_context, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames) {
  int lane = lane_index(args[0]);
  if (lane < 0)
    return NULL;
  if (!PyCallable_Check(args[1])) {
    PyErr_Format(PyExc_TypeError, "func: expected a callable, got %R", args[1]);
    return NULL;
  }
  Job *job = job_new(queue, target);
  if (job == NULL)
    return NULL;
  Py_ssize_t count = nargs - 1 + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);
  job->shape = shape_call;
  job->call = PyMem_New(PyObject *, count);
  uvw_job *engine_job = PyMem_RawMalloc(sizeof(*engine_job));
  job->context = in_context ? PyContext_CopyCurrent() : NULL;
  bool whole = job->call != NULL && engine_job != NULL && (!in_context || job->context != NULL);
  if (!whole || (queue != NULL && !queue_is_open(queue))) {
    if (!PyErr_Occurred())
      PyErr_NoMemory();
    PyMem_RawFree(engine_job);
    Py_DECREF(job);
    return NULL;
  }
  for (Py_ssize_t i = 0; i < count; i++)
    job->call[i] = Py_NewRef(args[i + 1]);
  job->call_count = count;
  job->kwnames = Py_XNewRef(kwnames);
  uvw_job_init(engine_job, kind, (unsigned)lane, queue != NULL ? queue->completions : NULL, NULL);
  return job_submit(job, engine_job);
}

static int check_count(Py_ssize_t nargs, Py_ssize_t least) {
  if (nargs >= least)
    return 0;
  PyErr_SetString(PyExc_TypeError, "too few arguments");
  return -1;
}

/* Inside a worker, waiting for another job could be waiting for ourselves. */
static int check_deadlock(PyObject *lane_name) {
  if (uvw_current_lane() < 0)
    return 0;
  int lane = lane_index(lane_name);
  if (lane < 0)
    return -1;
  if (!uvw_would_deadlock((unsigned)lane))
    return 0;
  PyErr_Format(PyExc_RuntimeError,
               "deadlock: a job of lane '%s' waits for another one of the full lane '%U'",
               uvw_lane_name((unsigned)uvw_current_lane()), lane_name);
  return -1;
}

/* call(lane, func, *args, **kwargs): for the running loop. */
PyObject *core_call(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                    PyObject *kwnames) {
  if (check_count(nargs, 2) < 0 || check_deadlock(args[0]) < 0)
    return NULL;
  sweep_orphans();
  CompletionQueue *queue = queue_of_running_loop();
  if (queue == NULL)
    return NULL;
  PyObject *job = submit_call(&call_kind, queue, NULL, true, args, nargs, kwnames);
  Py_DECREF(queue);
  return job;
}

/* call_executor(future, lane, func, *args, **kwargs) */
PyObject *core_call_executor(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames) {
  if (check_count(nargs, 3) < 0 || ensure_started() < 0)
    return NULL;
  sweep_orphans();
  return submit_call(&executor_kind, NULL, args[0], false, args + 1, nargs - 1, kwnames);
}

/* call_queue(queue, callback, lane, func): for the bare loop. */
PyObject *core_call_queue(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames) {
  if (check_count(nargs, 4) < 0 || ensure_started() < 0)
    return NULL;
  sweep_orphans();
  if (!Py_IS_TYPE(args[0], &CompletionQueue_Type)) {
    PyErr_SetString(PyExc_TypeError, "queue: expected a CompletionQueue");
    return NULL;
  }
  PyObject *callback = args[1] != Py_None ? args[1] : NULL;
  return submit_call(&call_kind, (CompletionQueue *)args[0], callback, true, args + 2, nargs - 2,
                     kwnames);
}

/* check_deadlock(lane) */
PyObject *core_check_deadlock(PyObject *Py_UNUSED(module), PyObject *lane) {
  if (check_deadlock(lane) < 0)
    return NULL;
  Py_RETURN_NONE;
}
