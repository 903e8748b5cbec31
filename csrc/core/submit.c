/* The one door to the engine. Whatever holds for every job is seen to here:
 * orphans are swept, the running loop has a completion queue that is open and
 * not inherited by a fork, the pool has started, and to wait for the job at
 * this place could end.
 *
 * A worker's thread counts as waiting while the queue of the loop that it runs
 * has jobs pending. */
#include "core.h"

static PyObject *core_start(PyObject *Py_UNUSED(module), PyObject *size) {
  unsigned long number = PyLong_AsUnsignedLong(size);
  if (PyErr_Occurred())
    return NULL;
  /* The GIL is kept: os.fork() holds it too, so that no fork falls between
   * libuv's start and the fork handler that libuv registers in it. */
  int error = uvw_pool_start(number <= UINT_MAX ? (unsigned)number : 0);
  if (error != 0)
    return raise_os_error_text(
        -error, PyUnicode_FromFormat("the pool did not start: %s", uv_strerror(error)), NULL);
  Py_RETURN_NONE;
}

/* The pool is started by its first job; again in a forked child. */
static int submit_start_pool(void) {
  static int64_t started_in = -1;
  int64_t generation = uvw_generation();
  if (started_in == generation)
    return 0;
  PyObject *done = PyObject_CallNoArgs(hooks.start);
  if (done == NULL)
    return -1;
  Py_DECREF(done);
  started_in = generation;
  return 0;
}

/* The state to end the wait with, or -1: it could never end. */
static int submit_begin_wait(unsigned lane, bool refuse) {
  int before = uvw_begin_wait(lane, refuse);
  if (before < 0)
    PyErr_Format(PyExc_RuntimeError,
                 "deadlock: a job of lane '%s' waits for another one of the full lane '%s'",
                 uvw_lane_name((unsigned)uvw_current_lane()), uvw_lane_name(lane));
  return before;
}

int job_open_for(Job *self, CompletionQueue *queue) {
  sweep_orphans();
  if (submit_start_pool() < 0)
    return -1;
  if (queue == NULL)
    return 0;
  if (queue->closed) {
    PyErr_SetString(PyExc_RuntimeError, "the event loop is closed");
    return -1;
  }
  if (uvw_completions_stale(queue->completions)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "this event loop was made before fork(); the child needs a new one");
    return -1;
  }
  self->queue = queue;
  Py_XSETREF(self->loop, Py_XNewRef(queue->loop));
  return 0;
}

int job_open(Job *self) {
  CompletionQueue *queue = queue_of_running_loop();
  if (queue == NULL)
    return -1;
  int outcome = job_open_for(self, queue);
  Py_DECREF(queue); /* the loop keeps it */
  return outcome;
}

PyObject *job_submit(Job *self, uvw_job *job) {
  unsigned lane = job->lane;
  /* A coroutine is about to wait for it, on this thread. */
  if (self->loop != NULL && submit_begin_wait(lane, true) < 0) {
    uvw_job_free(job);
    Py_DECREF(self);
    return NULL;
  }
  self->job = job;
  job->token = Py_NewRef(self);
  job_link(self);
  int error = uvw_submit(job);
  if (error != 0) {
    job_discard(job);
    Py_DECREF(self);
    raise_refused(error, lane);
    return NULL;
  }
  return (PyObject *)self;
}

int job_resubmit(uvw_job *job) {
  job->ask = UVW_ASK_NOTHING;
  int error = uvw_submit(job);
  if (error == 0)
    return 0;
  raise_refused(error, job->lane);
  return -1;
}

/* Mostly the same string object as last time. */
int lane_index(PyObject *name) {
  static PyObject *last_name;
  static int last_lane;
  if (name == last_name)
    return last_lane;
  const char *text;
  if (arguments("lane", &name, 1, "s", &text) < 0)
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

static PyObject *core_begin_wait(PyObject *Py_UNUSED(module), PyObject *const *args,
                                 Py_ssize_t nargs) {
  PyObject *name;
  bool refuse;
  if (arguments("begin_wait", args, nargs, "Op", &name, &refuse) < 0)
    return NULL;
  int lane = lane_index(name);
  int before = lane >= 0 ? submit_begin_wait((unsigned)lane, refuse) : -1;
  return before >= 0 ? PyLong_FromLong(before) : NULL;
}

static PyObject *core_end_wait(PyObject *Py_UNUSED(module), PyObject *given) {
  int before;
  if (as_int(given, "before", &before) < 0)
    return NULL;
  uvw_end_wait(before);
  Py_RETURN_NONE;
}

PyMethodDef submit_methods[] = {
    {"start", core_start, METH_O, "start(size): start the pool if it is not running."},
    {"begin_wait", (PyCFunction)(void (*)(void))core_begin_wait, METH_FASTCALL,
     "submit_begin_wait(lane, refuse) -> what end_wait() takes. This thread waits for a job of the "
     "lane."},
    {"end_wait", core_end_wait, METH_O, "end_wait(before): of the wait that began."},
    {NULL, NULL, 0, NULL},
};
