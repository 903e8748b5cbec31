/* BaseLoop: the type, its life, and its table of methods. uvworks.Loop is its
 * subclass in Python, which adds what need not be fast. */
#include "transport.h"

#include <structmember.h>

static PyObject *Loop_time(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) {
  return PyFloat_FromDouble(loop_now());
}

/* Running ------------------------------------------------------------------ */

static PyObject *Loop_stop(Loop *self, PyObject *Py_UNUSED(ignored)) {
  self->stopping = true;
  Py_RETURN_NONE;
}

static PyObject *Loop_is_running(Loop *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->thread != 0);
}

static PyObject *Loop_is_closed(Loop *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->closed);
}

static PyObject *Loop_get_debug(Loop *self, PyObject *Py_UNUSED(ignored)) {
  return PyBool_FromLong(self->debug);
}

static PyObject *Loop_set_debug(Loop *self, PyObject *enabled) {
  int truth = PyObject_IsTrue(enabled);
  if (truth < 0)
    return NULL;
  self->debug = truth;
  Py_RETURN_NONE;
}

static PyObject *Loop__check_closed(Loop *self, PyObject *Py_UNUSED(ignored)) {
  if (loop_check_open(self) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Loop__check_thread(Loop *self, PyObject *Py_UNUSED(ignored)) {
  if (loop_check_thread(self) < 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyObject *Loop__run(Loop *self, PyObject *Py_UNUSED(ignored)) {
  if (loop_check_open(self) < 0)
    return NULL;
  if (self->thread != 0) {
    PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
    return NULL;
  }
  Py_INCREF(self);
  int outcome = loop_run(self);
  Py_DECREF(self);
  if (outcome < 0)
    return NULL;
  Py_RETURN_NONE;
}

/* Life --------------------------------------------------------------------- */

static void loop_woken(uv_async_t *async) { ((Loop *)async->data)->woken = false; }

static PyObject *Loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                          PyObject *Py_UNUSED(kwargs)) {
  Loop *self = (Loop *)type->tp_alloc(type, 0);
  if (self == NULL)
    return NULL;
  self->closed = true; /* until it is open */
  self->slow_callback_duration = 0.1;
  self->generation = uvw_generation();
  /* On a page of its own: malloc() gives 16 bytes into one, where the copy of some
   * processors (AMD's, with `rep movsb`) is so slow that 10 KiB cost 2.5 us more. */
  if ((self->read_buffer = aligned_alloc(PAGE, READ_BUFFER)) == NULL) {
    PyErr_NoMemory();
    goto failed;
  }
  int error = uv_loop_init(&self->uv);
  if (error != 0) {
    uv_failure(error);
    goto failed;
  }
  self->wake.data = self;
  uv_timer_init(&self->uv, &self->alarm);
  error = uv_async_init(&self->uv, &self->wake, loop_woken);
  if (error != 0) {
    uv_close((uv_handle_t *)&self->alarm, NULL);
    uv_run(&self->uv, UV_RUN_DEFAULT);
    uv_loop_close(&self->uv);
    uv_failure(error);
    goto failed;
  }
  self->closed = false;
  return (PyObject *)self;

failed:
  Py_DECREF(self);
  return NULL;
}

/* Takes the arguments of subclasses' __init__. */
static int Loop_init(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(args),
                     PyObject *Py_UNUSED(kwargs)) {
  return 0;
}

/* The engine ----------------------------------------------------------------- */

static void completions_ready(Watch *watch, int Py_UNUSED(events)) {
  Loop *loop = watch->loop;
  if (queue_dispatch(loop->queue) < 0)
    loop->error = true;
}

static const WatchKind completions_kind = {.size = sizeof(Watch), .ready = completions_ready};

/* _completion_queue(): the loop watches its queue itself, so Python need not add a
 * reader for it as it does on other loops. */
static PyObject *Loop__completion_queue(Loop *self, PyObject *Py_UNUSED(ignored)) {
  if (self->queue == NULL) {
    if (loop_check_open(self) < 0)
      return NULL;
    CompletionQueue *queue =
        (CompletionQueue *)PyObject_CallOneArg((PyObject *)&CompletionQueue_Type, (PyObject *)self);
    if (queue == NULL)
      return NULL;
    if (watch_open(&self->queue_watch, self, uvw_completions_fd(queue->completions),
                   &completions_kind, NULL, true) < 0 ||
        watch_set(self->queue_watch, UV_READABLE) < 0) {
      if (self->queue_watch != NULL)
        watch_close(self->queue_watch);
      queue_close(queue);
      Py_DECREF(queue);
      return NULL;
    }
    self->queue = queue;
  }
  return Py_NewRef((PyObject *)self->queue);
}

static void loop_close(Loop *self) {
  if (self->closed)
    return;
  self->closed = true;
  if (self->queue_watch != NULL)
    watch_close(self->queue_watch);
  if (self->queue != NULL)
    queue_close(self->queue);
  watches_close_all(self);
  if (loop_stale(self)) {
    /* What libuv knows is the parent's; only our copies of the descriptors go. */
    uvw_abandon_loop(&self->uv);
  } else {
    uv_close((uv_handle_t *)&self->alarm, NULL);
    uv_close((uv_handle_t *)&self->wake, NULL);
    uv_run(&self->uv, UV_RUN_DEFAULT);
    uv_loop_close(&self->uv);
  }
  ready_clear(&self->ready);
  timers_clear(&self->timers);
  Py_CLEAR(self->queue);
}

static PyObject *Loop__close(Loop *self, PyObject *Py_UNUSED(ignored)) {
  if (self->thread != 0) {
    PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
    return NULL;
  }
  loop_close(self);
  Py_RETURN_NONE;
}

static int Loop_traverse(Loop *self, visitproc visit, void *arg) {
  Py_VISIT(self->queue);
  Py_VISIT(self->task_factory);
  for (size_t i = 0; i < self->ready.count; i++) {
    int outcome =
        handle_visit(self->ready.ring[(self->ready.head + i) & self->ready.mask], visit, arg);
    if (outcome != 0)
      return outcome;
  }
  for (size_t i = 0; i < self->timers.count; i++) {
    int outcome = handle_visit(self->timers.heap[i].handle, visit, arg);
    if (outcome != 0)
      return outcome;
  }
  return watches_visit(self, visit, arg);
}

static int Loop_clear(Loop *self) {
  loop_close(self);
  ready_clear(&self->ready);
  timers_clear(&self->timers);
  Py_CLEAR(self->task_factory);
  return 0;
}

static void Loop_dealloc(Loop *self) {
  PyObject_GC_UnTrack(self);
  if (self->weakrefs != NULL)
    PyObject_ClearWeakRefs((PyObject *)self);
  Loop_clear(self);
  PyMem_Free(self->watches);
  PyMem_Free(self->unchecked);
  free(self->read_buffer);
  PyTypeObject *type = Py_TYPE(self);
  type->tp_free(self);
}

static PyObject *Loop_get_thread(Loop *self, void *Py_UNUSED(closure)) {
  return self->thread ? PyLong_FromUnsignedLong(self->thread) : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
    {"call_soon", (PyCFunction)(void (*)(void))loop_call_soon, METH_FASTCALL | METH_KEYWORDS,
     "call_soon($self, callback, *args, context=None)\n--\n\nRun it in the next turn; returns its "
     "Handle."},
    {"call_soon_threadsafe", (PyCFunction)(void (*)(void))loop_call_soon_threadsafe,
     METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\ncall_soon() for other "
     "threads."},
    {"call_later", (PyCFunction)(void (*)(void))loop_call_later, METH_FASTCALL | METH_KEYWORDS,
     "call_later($self, delay, callback, *args, context=None)\n--\n\nRun it after `delay` "
     "seconds."},
    {"call_at", (PyCFunction)(void (*)(void))loop_call_at, METH_FASTCALL | METH_KEYWORDS,
     "call_at($self, when, callback, *args, context=None)\n--\n\nRun it when time() has reached "
     "`when`."},
    {"create_future", (PyCFunction)loop_create_future, METH_NOARGS,
     "create_future($self)\n--\n\nA future of this loop."},
    {"create_task", (PyCFunction)(void (*)(void))loop_create_task, METH_FASTCALL | METH_KEYWORDS,
     "create_task($self, coro, *, name=None, context=None, **options)\n--\n\nA task that runs the "
     "coroutine."},
    {"time", Loop_time, METH_NOARGS,
     "time($self)\n--\n\nThe loop's clock, in seconds; time.monotonic()."},
    {"stop", (PyCFunction)Loop_stop, METH_NOARGS,
     "stop($self)\n--\n\nEnd the run after the current turn."},
    {"is_running", (PyCFunction)Loop_is_running, METH_NOARGS,
     "is_running($self)\n--\n\nTrue while it runs."},
    {"is_closed", (PyCFunction)Loop_is_closed, METH_NOARGS,
     "is_closed($self)\n--\n\nTrue after close()."},
    {"get_debug", (PyCFunction)Loop_get_debug, METH_NOARGS,
     "get_debug($self)\n--\n\nTrue in debug mode."},
    {"set_debug", (PyCFunction)Loop_set_debug, METH_O,
     "set_debug($self, enabled, /)\n--\n\nSwitch debug mode."},
    {"_check_closed", (PyCFunction)Loop__check_closed, METH_NOARGS, "RuntimeError when closed."},
    {"_check_thread", (PyCFunction)Loop__check_thread, METH_NOARGS,
     "RuntimeError in another thread than the one that runs the loop."},
    {"_run", (PyCFunction)Loop__run, METH_NOARGS, "Run turns until stop()."},
    {"_close", (PyCFunction)Loop__close, METH_NOARGS, "Let go of everything; idempotent."},
    {"add_reader", (PyCFunction)(void (*)(void))loop_add_reader, METH_FASTCALL | METH_KEYWORDS,
     "add_reader($self, fd, callback, *args)\n--\n\nRun it whenever fd is readable."},
    {"add_writer", (PyCFunction)(void (*)(void))loop_add_writer, METH_FASTCALL | METH_KEYWORDS,
     "add_writer($self, fd, callback, *args)\n--\n\nRun it whenever fd is writable."},
    {"remove_reader", (PyCFunction)(void (*)(void))loop_remove_reader,
     METH_FASTCALL | METH_KEYWORDS,
     "remove_reader($self, fd)\n--\n\nEnd add_reader(); True if it was."},
    {"remove_writer", (PyCFunction)(void (*)(void))loop_remove_writer,
     METH_FASTCALL | METH_KEYWORDS,
     "remove_writer($self, fd)\n--\n\nEnd add_writer(); True if it was."},
    {"sock_recv", (PyCFunction)(void (*)(void))loop_sock_recv, METH_FASTCALL | METH_KEYWORDS,
     "sock_recv($self, sock, n)\n--\n\nUp to n bytes."},
    {"sock_recv_into", (PyCFunction)(void (*)(void))loop_sock_recv_into,
     METH_FASTCALL | METH_KEYWORDS,
     "sock_recv_into($self, sock, buf)\n--\n\nThe number of bytes received."},
    {"sock_recvfrom", (PyCFunction)(void (*)(void))loop_sock_recvfrom,
     METH_FASTCALL | METH_KEYWORDS,
     "sock_recvfrom($self, sock, bufsize)\n--\n\nA datagram and its sender's address."},
    {"sock_recvfrom_into", (PyCFunction)(void (*)(void))loop_sock_recvfrom_into,
     METH_FASTCALL | METH_KEYWORDS,
     "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nIts size and its sender's address."},
    {"sock_sendall", (PyCFunction)(void (*)(void))loop_sock_sendall, METH_FASTCALL | METH_KEYWORDS,
     "sock_sendall($self, sock, data)\n--\n\nSend all of it."},
    {"sock_sendto", (PyCFunction)(void (*)(void))loop_sock_sendto, METH_FASTCALL | METH_KEYWORDS,
     "sock_sendto($self, sock, data, address)\n--\n\nSend a datagram."},
    {"sock_connect", (PyCFunction)(void (*)(void))loop_sock_connect, METH_FASTCALL | METH_KEYWORDS,
     "sock_connect($self, sock, address)\n--\n\nConnect to a resolved address."},
    {"sock_accept", (PyCFunction)(void (*)(void))loop_sock_accept, METH_FASTCALL | METH_KEYWORDS,
     "sock_accept($self, sock)\n--\n\nA connection and its peer's address."},
    {"_stream", (PyCFunction)(void (*)(void))loop_stream, METH_FASTCALL | METH_KEYWORDS,
     "_stream($self, sock, protocol, *, waiter, extra, server)\n--\n\nA transport on a connected "
     "socket."},
    {"_datagram", (PyCFunction)(void (*)(void))loop_datagram, METH_FASTCALL | METH_KEYWORDS,
     "_datagram($self, sock, protocol, *, address, waiter, extra)\n--\n\nA transport of "
     "datagrams."},
    {"_read_pipe", (PyCFunction)(void (*)(void))loop_read_pipe, METH_FASTCALL | METH_KEYWORDS,
     "_read_pipe($self, pipe, protocol, *, waiter, extra)\n--\n\nA transport that reads."},
    {"_write_pipe", (PyCFunction)(void (*)(void))loop_write_pipe, METH_FASTCALL | METH_KEYWORDS,
     "_write_pipe($self, pipe, protocol, *, waiter, extra)\n--\n\nA transport that writes."},
    {"_listen", (PyCFunction)(void (*)(void))loop_listen, METH_FASTCALL,
     "_listen($self, sock, backlog, factory, server)\n--\n\nAccept connections for factory()'s "
     "protocols."},
    {"_completion_queue", (PyCFunction)Loop__completion_queue, METH_NOARGS,
     "The queue by which the engine's jobs come back, opened at first use."},
    {"_add_reader", (PyCFunction)(void (*)(void))loop__add_reader, METH_FASTCALL,
     "add_reader() that returns the Handle and takes transports' descriptors."},
    {"_add_writer", (PyCFunction)(void (*)(void))loop__add_writer, METH_FASTCALL,
     "add_writer() that returns the Handle and takes transports' descriptors."},
    {"_remove_reader", (PyCFunction)loop__remove_reader, METH_O, "Ends _add_reader()."},
    {"_remove_writer", (PyCFunction)loop__remove_writer, METH_O, "Ends _add_writer()."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"slow_callback_duration", T_DOUBLE, offsetof(Loop, slow_callback_duration), 0,
     "Seconds after which debug mode calls a callback slow."},
    {"_task_factory", T_OBJECT, offsetof(Loop, task_factory), 0, NULL},
    {"_closed", T_BOOL, offsetof(Loop, closed), READONLY, NULL},
    {"_stopping", T_BOOL, offsetof(Loop, stopping), READONLY, NULL},
    {"_debug", T_BOOL, offsetof(Loop, debug), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"_thread_id", (getter)Loop_get_thread, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Loop_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.BaseLoop",
    .tp_doc = "The part of uvworks.Loop that is C.",
    .tp_basicsize = sizeof(Loop),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = Loop_new,
    .tp_init = Loop_init,
    .tp_dealloc = (destructor)Loop_dealloc,
    .tp_traverse = (traverseproc)Loop_traverse,
    .tp_clear = (inquiry)Loop_clear,
    .tp_weaklistoffset = offsetof(Loop, weakrefs),
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = getset,
};

int asyncio_init(PyObject *module) {
  if (names_init() < 0 || handles_init() < 0 || descriptors_init() < 0 || tasks_init() < 0 ||
      transports_init() < 0 || transport_types_init() < 0 || streams_init(module) < 0 ||
      listeners_init(module) < 0 || sockets_init(module) < 0 || datagrams_init(module) < 0 ||
      pipes_init(module) < 0)
    return -1;
  return PyModule_AddType(module, &Loop_Type) < 0 || PyModule_AddType(module, &Handle_Type) < 0 ||
                 PyModule_AddType(module, &TimerHandle_Type) < 0
             ? -1
             : 0;
}
