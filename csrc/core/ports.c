/* Port: an event loop's door to the engine. `dispatch` is what the loop calls
 * when its owner's descriptor is readable.
 *
 * On our own loop it is a part of the loop's turn (asyncio/run.c). In guest
 * mode nothing but the loop's own reader handle holds the port, so it
 * goes when the loop lets go of its handles, that is, with loop.close() even
 * if jobs are pending. Its end cancels what waits and orphans what runs; it
 * never waits itself, for it may happen on any thread. */
#include "core.h"

#include "../asyncio/asyncio.h"

#include <structmember.h>

static Port *all_ports;
static Port *latest; /* of the loop that asked last */

void port_close(Port *self) {
  if (self->closed)
    return;
  self->closed = true;
  if (latest == self)
    latest = NULL;
  if (self->prev != NULL)
    self->prev->next = self->next;
  else if (all_ports == self)
    all_ports = self->next;
  if (self->next != NULL)
    self->next->prev = self->prev;
  self->next = self->prev = NULL;
  bool stale = uvw_owner_stale(self->owner);
  uvw_job *done = uvw_owner_close(self->owner);
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
    job->port = NULL;
    if (!stale)
      job_abandon(job);
  }
  uvw_owner_unref(self->owner);
  self->owner = NULL;
}

static PyObject *Port_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  static char *names[] = {"loop", "owner", NULL};
  PyObject *loop = Py_None;
  unsigned long long address = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OK", names, &loop, &address))
    return NULL;
  Port *self = (Port *)type->tp_alloc(type, 0);
  if (self == NULL)
    return NULL;
  self->closed = true; /* until it has an owner */
  if (loop != Py_None)
    self->loop = Py_NewRef(loop);
  if (address != 0) {
    self->owner = (uvw_owner *)(uintptr_t)address;
    uvw_owner_ref(self->owner);
  } else if ((self->owner = uvw_owner_new()) == NULL) {
    PyErr_SetFromErrno(PyExc_OSError);
    Py_DECREF(self);
    return NULL;
  }
  self->closed = false;
  self->next = all_ports;
  if (all_ports != NULL)
    all_ports->prev = self;
  all_ports = self;
  return (PyObject *)self;
}

static int Port_traverse(Port *self, visitproc visit, void *arg) {
  Py_VISIT(self->loop);
  Py_VISIT(self->shared);
  return 0;
}

static int Port_clear(Port *self) {
  port_close(self);
  Py_CLEAR(self->loop);
  return 0;
}

static void Port_dealloc(Port *self) {
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL)
    PyObject_ClearWeakRefs((PyObject *)self);
  Port_clear(self);
  Py_TYPE(self)->tp_free(self);
}

void empty_graveyard(void) {
  uvw_job *dead = uvw_graveyard_take();
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
  uint64_t turn, patience;
} Pace;
static const Pace normal = {200000, 12000}, contended = {1000000, 300000};
#define CONTENDED 1000000u /* from the wake to the turn */
enum { LUCKY = 8, UNLUCKY = -64 };

static uvw_job *take_more(Port *self, uint64_t patience) {
  if (self->pending == NULL || self->luck < 0) {
    self->luck += self->luck < 0; /* try again some time */
    return uvw_owner_take(self->owner, 0);
  }
  uvw_job *list = uvw_owner_take(self->owner, patience);
  if (list == NULL)
    self->luck = self->luck > 1 ? self->luck - 2 : UNLUCKY;
  else if (self->luck < LUCKY)
    self->luck++;
  return list;
}

/* Hands on a list. False to end the turn: an exception from a callback of the
 * bare loop, or the port was closed by one; the rest is dealt with. */
static bool hand_on(Port *self, uvw_job *list) {
  while (list != NULL) {
    uvw_job *job = list;
    list = job->next;
    int outcome = job_complete(job);
    if (!self->closed && uvw_owner_stale(self->owner))
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
      uvw_owner_untake(self->owner, list);
      return false;
    }
  }
  return true;
}

/* Takes what has finished and hands it on. */
int port_dispatch(Port *self) {
  if (self->closed || uvw_owner_stale(self->owner))
    return 0;
  Py_INCREF(self);
  empty_graveyard();
  self->busy_now = 0;
  const Pace *pace = uvw_owner_lag(self->owner) > CONTENDED ? &contended : &normal;
  uint64_t end = uv_hrtime() + pace->turn;
  uvw_job *list = uvw_owner_take(self->owner, 0);
  while (list != NULL && hand_on(self, list)) {
    if (uv_hrtime() > end) {
      uvw_owner_untake(self->owner, NULL);
      break;
    }
    list = take_more(self, pace->patience);
  }
  Py_DECREF(self);
  return PyErr_Occurred() ? -1 : 0;
}

static PyObject *Port_dispatch(Port *self, PyObject *Py_UNUSED(ignored)) {
  if (port_dispatch(self) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Port_close(Port *self, PyObject *Py_UNUSED(ignored)) {
  port_close(self);
  Py_RETURN_NONE;
}

static PyObject *Port_fileno(Port *self, PyObject *Py_UNUSED(ignored)) {
  return PyLong_FromLong(self->closed ? -1 : uvw_owner_fd(self->owner));
}

static PyObject *Port_get_pending(Port *self, void *Py_UNUSED(closure)) {
  return PyBool_FromLong(self->pending != NULL);
}

static PyObject *Port_get_loop(Port *self, void *Py_UNUSED(closure)) {
  return Py_NewRef(self->loop != NULL ? self->loop : Py_None);
}

static PyMethodDef Port_methods[] = {
    {"dispatch", (PyCFunction)Port_dispatch, METH_NOARGS,
     "Hand all finished jobs to those who wait for them."},
    {"close", (PyCFunction)Port_close, METH_NOARGS,
     "Cancel what waits, orphan what runs. Never waits."},
    {"fileno", (PyCFunction)Port_fileno, METH_NOARGS,
     "The descriptor that is readable when dispatch() has something to do."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Port_getset[] = {
    {"pending", (getter)Port_get_pending, NULL, "Whether any job has not come back.", NULL},
    {"loop", (getter)Port_get_loop, NULL, "The event loop.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Port_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.Port",
    .tp_doc = "Port(loop=None, owner=0)\n--\n\nAn event loop's door to the engine.",
    .tp_basicsize = sizeof(Port),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = Port_new,
    .tp_dealloc = (destructor)Port_dealloc,
    .tp_traverse = (traverseproc)Port_traverse,
    .tp_clear = (inquiry)Port_clear,
    .tp_weaklistoffset = offsetof(Port, weakrefs),
    .tp_methods = Port_methods,
    .tp_getset = Port_getset,
};

/* start(size). The GIL is kept: os.fork() holds it too, so that no fork falls
 * between libuv's start and the fork handler that libuv registers in it. */
PyObject *core_start(PyObject *Py_UNUSED(module), PyObject *size) {
  unsigned long number = PyLong_AsUnsignedLong(size);
  if (PyErr_Occurred())
    return NULL;
  int error = uvw_pool_start(number <= UINT_MAX ? (unsigned)number : 0);
  if (error != 0)
    return PyErr_Format(PyExc_OSError, "the pool did not start: %s", uv_strerror(error));
  Py_RETURN_NONE;
}

/* The pool is started by its first job; again in a forked child. */
int ensure_started(void) {
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

/* A closed loop's port may be freed by whatever runs next, so callers hold it;
 * and before they use its owner they ask again. */
bool port_is_open(Port *port) {
  if (!port->closed)
    return true;
  PyErr_SetString(PyExc_RuntimeError, "the event loop is closed");
  return false;
}

static Port *find_port(PyObject *loop) {
  if (latest != NULL && latest->loop == loop)
    return (Port *)Py_NewRef((PyObject *)latest);
  for (Port *port = all_ports; port != NULL; port = port->next)
    if (port->loop == loop)
      return (Port *)Py_NewRef((PyObject *)port);
  PyObject *made = PyObject_TypeCheck(loop, &Loop_Type) ? loop_open_port((Loop *)loop)
                                                        : PyObject_CallOneArg(hooks.attach, loop);
  if (made != NULL && !Py_IS_TYPE(made, &Port_Type)) {
    PyErr_SetString(PyExc_SystemError, "attach() must return a Port");
    Py_CLEAR(made);
  }
  return (Port *)made;
}

Port *port_of_running_loop(void) {
  PyObject *loop = PyObject_CallNoArgs(hooks.get_running_loop);
  if (loop == NULL)
    return NULL;
  Port *port = find_port(loop);
  Py_DECREF(loop);
  if (port == NULL)
    return NULL;
  if (ensure_started() < 0 || !port_is_open(port))
    goto failed;
  if (uvw_owner_stale(port->owner)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "this event loop was made before fork(); the child needs a new one");
    goto failed;
  }
  latest = port;
  return port;

failed:
  Py_DECREF(port);
  return NULL;
}

Port *port_to_submit(void) {
  empty_graveyard();
  Port *port = port_of_running_loop();
  if (port != NULL && uvw_current_lane() >= 0 && uvw_pool_size() == 1) {
    PyErr_SetString(PyExc_RuntimeError,
                    "deadlock: the only worker of the pool would wait for itself");
    Py_CLEAR(port);
  }
  return port;
}
