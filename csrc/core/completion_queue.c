/* CompletionQueue: an event loop's door to the engine. `dispatch` is what the loop calls
 * when the completions' descriptor is readable.
 *
 * On our own loop it is a part of the loop's turn (asyncio/run.c). In guest
 * mode nothing but the loop's own reader handle holds the queue, so it
 * goes when the loop lets go of its handles, that is, with loop.close() even
 * if jobs are pending. Its end cancels what waits and orphans what runs; it
 * never waits itself, for it may happen on any thread. */
#include "core.h"

#include <errno.h>
#include <structmember.h>

static CompletionQueue *all_queues;
static CompletionQueue *latest; /* of the loop that asked last */

void queue_end_wait(CompletionQueue *self) {
  uvw_end_wait(self->wait);
  self->wait = 0;
}

void queue_close(CompletionQueue *self) {
  if (self->closed)
    return;
  self->closed = true;
  if (latest == self)
    latest = NULL;
  if (self->prev != NULL)
    self->prev->next = self->next;
  else if (all_queues == self)
    all_queues = self->next;
  if (self->next != NULL)
    self->next->prev = self->prev;
  self->next = self->prev = NULL;
  bool stale = uvw_completions_stale(self->completions);
  uvw_job *done = uvw_completions_close(self->completions);
  while (done != NULL) {
    uvw_job *job = done;
    done = job->next;
    job_discard(job);
  }
  Py_CLEAR(self->shared);
  /* What a forked child has inherited is left alone. */
  while (self->pending != NULL) {
    Job *job = self->pending;
    self->pending = job->next;
    if (job->next != NULL)
      job->next->prev = NULL;
    job->next = job->prev = NULL;
    job->queue = NULL;
    if (!stale)
      job_abandon(job);
  }
  queue_end_wait(self);
  uvw_completions_unref(self->completions);
  self->completions = NULL;
}

static PyObject *CompletionQueue_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"loop", "completions", NULL};
  PyObject *loop = Py_None;
  unsigned long long address = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OK", names, &loop, &address))
    return NULL;
  CompletionQueue *self = (CompletionQueue *)type->tp_alloc(type, 0);
  if (self == NULL)
    return NULL;
  self->closed = true; /* until it has completions */
  if ((self->shared = PyDict_New()) == NULL) {
    Py_DECREF(self);
    return NULL;
  }
  if (loop != Py_None)
    self->loop = Py_NewRef(loop);
  if (address != 0) {
    self->completions = (uvw_completions *)(uintptr_t)address;
    uvw_completions_ref(self->completions);
  } else if ((self->completions = uvw_completions_new()) == NULL) {
    raise_os_error(errno, NULL, NULL);
    Py_DECREF(self);
    return NULL;
  }
  self->closed = false;
  self->next = all_queues;
  if (all_queues != NULL)
    all_queues->prev = self;
  all_queues = self;
  return (PyObject *)self;
}

static int CompletionQueue_traverse(CompletionQueue *self, visitproc visit, void *arg) {
  Py_VISIT(self->loop);
  Py_VISIT(self->shared);
  return 0;
}

static int CompletionQueue_clear(CompletionQueue *self) {
  queue_close(self);
  Py_CLEAR(self->shared);
  Py_CLEAR(self->loop);
  return 0;
}

static void CompletionQueue_dealloc(CompletionQueue *self) {
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL)
    PyObject_ClearWeakRefs((PyObject *)self);
  CompletionQueue_clear(self);
  Py_TYPE(self)->tp_free(self);
}

void sweep_orphans(void) {
  uvw_job *dead = uvw_orphans_take();
  while (dead != NULL) {
    uvw_job *job = dead;
    dead = job->next;
    job_discard(job);
  }
}

/* A turn goes on as long as there is more: the jobs that resumed tasks submit
 * have often ended by then, and each time the loop goes to its poll costs a
 * system call or two, a sleep, and the GIL. For short jobs it is even worth
 * while to wait some microseconds; whether the jobs are that short is learnt
 * from how it went before. Both times, in nanoseconds, are longer when another
 * thread keeps the GIL busy: who lets it go then gets it back five
 * milliseconds later. */
typedef struct {
  uint64_t turn, spin;
} Pace;
static const Pace normal = {200000, 12000}, contended = {1000000, 300000};
#define CONTENDED 1000000u                          /* from the wake to the turn */
enum { SPIN_SCORE_MAX = 8, SPIN_SCORE_REST = -64 }; /* so many takes without spinning */

static uvw_job *queue_take_more(CompletionQueue *self, uint64_t spin) {
  if (self->pending == NULL || self->spin_score < 0) {
    self->spin_score += self->spin_score < 0; /* try again some time */
    return uvw_completions_take(self->completions, 0);
  }
  uvw_job *list = uvw_completions_take(self->completions, spin);
  if (list == NULL)
    self->spin_score = self->spin_score > 1 ? self->spin_score - 2 : SPIN_SCORE_REST;
  else if (self->spin_score < SPIN_SCORE_MAX)
    self->spin_score++;
  return list;
}

/* Hands on a list. False to end the turn: an exception from a callback of the
 * bare loop, or the queue was closed by one; the rest is dealt with. */
static bool queue_hand_on(CompletionQueue *self, uvw_job *list) {
  while (list != NULL) {
    uvw_job *job = list;
    list = job->next;
    int outcome = job_complete(job);
    if (!self->closed && uvw_completions_stale(self->completions))
      return false; /* a task has forked, and this is the child */
    if (self->closed) {
      while (list != NULL) {
        job = list;
        list = job->next;
        job_discard(job);
      }
      return false;
    }
    if (outcome < 0) {
      uvw_completions_untake(self->completions, list);
      return false;
    }
  }
  return true;
}

/* Takes what has finished and hands it on. */
int queue_dispatch(CompletionQueue *self) {
  if (self->closed || uvw_completions_stale(self->completions))
    return 0;
  Py_INCREF(self);
  sweep_orphans();
  self->busy_now = 0;
  const Pace *pace = uvw_completions_lag(self->completions) > CONTENDED ? &contended : &normal;
  uint64_t end = uv_hrtime() + pace->turn;
  uvw_job *list = uvw_completions_take(self->completions, 0);
  while (list != NULL && queue_hand_on(self, list)) {
    if (uv_hrtime() > end) {
      uvw_completions_untake(self->completions, NULL);
      break;
    }
    list = queue_take_more(self, pace->spin);
  }
  Py_DECREF(self);
  return PyErr_Occurred() ? -1 : 0;
}

static PyObject *CompletionQueue_dispatch(CompletionQueue *self, PyObject *Py_UNUSED(ignored)) {
  if (queue_dispatch(self) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *CompletionQueue_close(CompletionQueue *self, PyObject *Py_UNUSED(ignored)) {
  queue_close(self);
  Py_RETURN_NONE;
}

static PyObject *CompletionQueue_fileno(CompletionQueue *self, PyObject *Py_UNUSED(ignored)) {
  return PyLong_FromLong(self->closed ? -1 : uvw_completions_fd(self->completions));
}

static PyObject *CompletionQueue_get_pending(CompletionQueue *self, void *Py_UNUSED(closure)) {
  return PyBool_FromLong(self->pending != NULL);
}

static PyObject *CompletionQueue_get_loop(CompletionQueue *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->loop != NULL ? self->loop : Py_None);
}

static PyMethodDef CompletionQueue_methods[] = {
    {"dispatch", (PyCFunction)CompletionQueue_dispatch, METH_NOARGS,
     "Hand all finished jobs to those who wait for them."},
    {"close", (PyCFunction)CompletionQueue_close, METH_NOARGS,
     "Cancel what waits, orphan what runs. Never waits."},
    {"fileno", (PyCFunction)CompletionQueue_fileno, METH_NOARGS,
     "The descriptor that is readable when dispatch() has something to do."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef CompletionQueue_getset[] = {
    {"pending", (getter)CompletionQueue_get_pending, NULL, "Whether any job has not come back.",
     NULL},
    {"loop", (getter)CompletionQueue_get_loop, NULL, "The event loop.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject CompletionQueue_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.CompletionQueue",
    .tp_doc =
        "CompletionQueue(loop=None, completions=0)\n--\n\nAn event loop's door to the engine.",
    .tp_basicsize = sizeof(CompletionQueue),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = CompletionQueue_new,
    .tp_dealloc = (destructor)CompletionQueue_dealloc,
    .tp_traverse = (traverseproc)CompletionQueue_traverse,
    .tp_clear = (inquiry)CompletionQueue_clear,
    .tp_weaklistoffset = offsetof(CompletionQueue, weakrefs),
    .tp_methods = CompletionQueue_methods,
    .tp_getset = CompletionQueue_getset,
};

static CompletionQueue *queue_find(PyObject *loop) {
  if (latest != NULL && latest->loop == loop)
    return (CompletionQueue *)Py_NewRef((PyObject *)latest);
  for (CompletionQueue *queue = all_queues; queue != NULL; queue = queue->next)
    if (queue->loop == loop)
      return (CompletionQueue *)Py_NewRef((PyObject *)queue);
  PyObject *made = PyObject_CallOneArg(hooks.attach, loop); /* once for each loop */
  if (made != NULL && !Py_IS_TYPE(made, &CompletionQueue_Type)) {
    PyErr_SetString(PyExc_SystemError, "attach() must return a CompletionQueue");
    Py_CLEAR(made);
  }
  return (CompletionQueue *)made;
}

CompletionQueue *queue_of_running_loop(void) {
  PyObject *loop = PyObject_CallNoArgs(hooks.get_running_loop);
  if (loop == NULL)
    return NULL;
  CompletionQueue *queue = queue_find(loop);
  Py_DECREF(loop);
  if (queue != NULL && !queue->closed)
    latest = queue;
  return queue;
}
