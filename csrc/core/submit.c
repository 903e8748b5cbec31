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

static PyObject *submit_raise_deadlock(unsigned lane) {
  return PyErr_Format(PyExc_RuntimeError,
                      "deadlock: a job of lane '%s' waits for another one of the full lane '%s'",
                      uvw_lane_name((unsigned)uvw_current_lane()), uvw_lane_name(lane));
}

/* The thread that runs the queue's loop waits for the job; false: in vain. */
static bool submit_begin_wait(CompletionQueue *queue, const uvw_job *job) {
  uint64_t wait = uvw_begin_wait(job->lane, job->kind->enter != NULL);
  if (wait == UVW_REFUSED)
    return false;
  if (wait != 0 && queue->wait == wait)
    uvw_end_wait(wait); /* one for each queue */
  queue->wait = wait;
  return true;
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
  bool in_vain = self->loop != NULL && !submit_begin_wait(self->queue, job);
  self->job = job;
  job->token = Py_NewRef(self);
  job_link(self);
  int error = in_vain ? 0 : uvw_submit(job);
  if (!in_vain && error == 0)
    return (PyObject *)self;
  job_discard(job);
  Py_DECREF(self);
  if (in_vain)
    return submit_raise_deadlock(lane);
  raise_refused(error, lane);
  return NULL;
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

static PyObject *core_begin_wait(PyObject *Py_UNUSED(module), PyObject *name) {
  int lane = lane_index(name);
  if (lane < 0)
    return NULL;
  uint64_t wait = uvw_begin_wait((unsigned)lane, true);
  return wait == UVW_REFUSED ? submit_raise_deadlock((unsigned)lane)
                             : PyLong_FromUnsignedLongLong(wait);
}

static PyObject *core_end_wait(PyObject *Py_UNUSED(module), PyObject *given) {
  int64_t wait;
  if (as_int64(given, "wait", &wait) < 0)
    return NULL;
  uvw_end_wait((uint64_t)wait);
  Py_RETURN_NONE;
}

PyMethodDef submit_methods[] = {
    {"start", core_start, METH_O, "start(size): start the pool if it is not running."},
    {"begin_wait", core_begin_wait, METH_O,
     "begin_wait(lane) -> what end_wait() takes. This thread waits for a callable of the lane."},
    {"end_wait", core_end_wait, METH_O, "end_wait(wait): of the wait that began."},
    {NULL, NULL, 0, NULL},
};
