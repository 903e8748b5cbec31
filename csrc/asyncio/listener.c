/* Listening sockets: connections are accepted here, as many as wait, and each
 * gets a protocol of the server's factory and a stream transport.
 *
 * A listener is kept alive by its watch; the listening socket stays the
 * server's. */
#define _GNU_SOURCE
#include "transport.h"

#include <fcntl.h>
#include <unistd.h>

typedef struct {
  PyObject_HEAD
  Loop *loop;
  Watch *watch;
  int fd;
  int backlog;
  PyObject *sock, *factory, *server, *context;
  Handle *retry; /* after the system had run out of something */
} Listener;

static PyTypeObject Listener_Type;

static void listener_close(Listener *self) {
  Py_INCREF(self);
  if (self->watch != NULL)
    watch_close(self->watch);
  Handle *retry = self->retry;
  self->retry = NULL;
  handle_drop(retry);
  Py_CLEAR(self->sock);
  Py_CLEAR(self->factory);
  Py_CLEAR(self->server);
  Py_DECREF(self);
}

static PyObject *listener_accept_again(PyObject *object, PyObject *Py_UNUSED(ignored)) {
  Listener *self = (Listener *)object;
  Py_CLEAR(self->retry);
  if (self->watch != NULL && watch_set(self->watch, UV_READABLE) < 0)
    return NULL;
  Py_RETURN_NONE;
}

/* Rather than drop connections, or spin: asyncio's pause of one second. */
static int listener_back_off(Listener *self) {
  static PyMethodDef method = {"accept_again", listener_accept_again, METH_NOARGS, NULL};
  raise_errno();
  if (loop_report(self->loop, "socket.accept() out of system resource", "socket", self->sock, NULL,
                  NULL) < 0)
    return -1;
  if (self->watch == NULL)
    return 0;
  PyObject *function = PyCFunction_New(&method, (PyObject *)self);
  Handle *handle =
      function ? handle_new(&TimerHandle_Type, self->loop, function, NULL, 0, self->context) : NULL;
  Py_XDECREF(function);
  if (handle == NULL)
    return -1;
  handle->when = loop_now() + 1.0;
  if (timers_push(&self->loop->timers, handle) < 0) {
    Py_DECREF(handle);
    return -1;
  }
  self->retry = handle;
  return watch_set(self->watch, 0);
}

static int listener_accepted(Listener *self, int fd, struct sockaddr *address, socklen_t length) {
  /* Both may be gone when the factory returns. */
  PyObject *factory = Py_NewRef(self->factory), *context = PyContext_Copy(self->context);
  bool entered = context != NULL && PyContext_Enter(context) == 0;
  PyObject *protocol = entered ? PyObject_CallNoArgs(factory) : NULL;
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  Transport *stream = NULL;
  if (protocol != NULL)
    stream = transport_new(Stream_Type, &stream_kind, self->loop, fd, NULL, protocol, NULL, NULL,
                           self->server, true);
  if (stream == NULL && type == NULL)
    PyErr_Fetch(&type, &value, &traceback);
  if (entered && PyContext_Exit(context) < 0)
    PyErr_Clear();
  Py_XDECREF(context);
  Py_DECREF(factory);
  PyErr_Restore(type, value, traceback);
  if (stream == NULL) {
    close(fd);
    int outcome = loop_report(self->loop, "Error on transport creation for incoming connection",
                              "protocol", protocol, NULL, NULL);
    Py_XDECREF(protocol);
    return outcome;
  }
  Py_DECREF(protocol);
  stream->peername = address_keep(address, length);
  transport_keep_names(stream);
#ifndef __linux__
  stream_set_nodelay(fd, stream->family); /* not inherited from the listening socket */
#endif
  int outcome = transport_start_soon(stream);
  Py_DECREF(stream);
  return outcome;
}

static int listener_accept(int fd, struct sockaddr *address, socklen_t *length) {
#ifdef __linux__
  return accept4(fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
  int connection = accept(fd, address, length);
  if (connection >= 0 &&
      (fcntl(connection, F_SETFD, FD_CLOEXEC) < 0 || fcntl(connection, F_SETFL, O_NONBLOCK) < 0)) {
    int error = errno;
    close(connection);
    errno = error;
    return -1;
  }
  return connection;
#endif
}

static void listener_ready(Watch *watch, int events) {
  Listener *self = (Listener *)watch->user;
  Loop *loop = watch->loop;
  if (events < 0) {
    uv_failure(events);
    if (loop_report(loop, "A listening socket was closed while it was served", "socket", self->sock,
                    NULL, NULL) < 0)
      loop->error = true;
    listener_close(self);
    return;
  }
  for (int i = 0; i <= self->backlog && self->watch != NULL; i++) {
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int fd = listener_accept(self->fd, (struct sockaddr *)&address, &length);
    int outcome;
    if (fd >= 0) {
      outcome = listener_accepted(self, fd, (struct sockaddr *)&address, length);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED) {
      return;
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      if (listener_back_off(self) < 0)
        loop->error = true;
      return;
    } else {
      raise_errno();
      outcome = loop_report(loop, "socket.accept() failed", "socket", self->sock, NULL, NULL);
      if (outcome == 0)
        return;
    }
    if (outcome < 0) {
      loop->error = true;
      return;
    }
  }
}

static const WatchKind listener_kind = {.size = sizeof(Watch), .ready = listener_ready};

PyObject *loop_listen(Loop *self, PyObject *const *args, Py_ssize_t nargs) {
  PyObject *sock, *factory, *server;
  int backlog;
  if (arguments("_listen", args, nargs, "OiOO", &sock, &backlog, &factory, &server) < 0 ||
      loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(sock);
  if (fd < 0)
    return NULL;
  Listener *listener = PyObject_GC_New(Listener, &Listener_Type);
  if (listener == NULL)
    return NULL;
  memset((char *)listener + sizeof(PyObject), 0, sizeof(*listener) - sizeof(PyObject));
  listener->loop = (Loop *)Py_NewRef(self);
  listener->fd = fd;
  listener->backlog = backlog;
  listener->context = PyContext_CopyCurrent();
  PyObject_GC_Track(listener);
  if (listener->context == NULL ||
      watch_open(&listener->watch, self, fd, &listener_kind, (PyObject *)listener, false) < 0)
    goto failed;
  listener->sock = Py_NewRef(sock);
  listener->factory = Py_NewRef(factory);
  listener->server = Py_NewRef(server);
  struct sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
    stream_set_nodelay(fd, address.ss_family);
  if (watch_set(listener->watch, UV_READABLE) < 0)
    goto failed;
  return (PyObject *)listener;

failed:
  Py_DECREF(listener);
  return NULL;
}

static PyObject *Listener_close(Listener *self, PyObject *Py_UNUSED(ignored)) {
  listener_close(self);
  Py_RETURN_NONE;
}

static int Listener_traverse(Listener *self, visitproc visit, void *arg) {
  Py_VISIT(self->loop);
  Py_VISIT(self->sock);
  Py_VISIT(self->factory);
  Py_VISIT(self->server);
  Py_VISIT(self->context);
  return 0;
}

static int Listener_clear(Listener *self) {
  if (self->watch != NULL)
    watch_close(self->watch);
  Py_CLEAR(self->retry);
  Py_CLEAR(self->sock);
  Py_CLEAR(self->factory);
  Py_CLEAR(self->server);
  Py_CLEAR(self->context);
  Py_CLEAR(self->loop);
  return 0;
}

static void Listener_dealloc(Listener *self) {
  PyObject_GC_UnTrack(self);
  Listener_clear(self);
  PyObject_GC_Del(self);
}

static PyMethodDef listener_methods[] = {
    {"close", (PyCFunction)Listener_close, METH_NOARGS, "Accept no more; the socket stays open."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject Listener_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "uvworks._core.Listener",
    .tp_doc = "A listening socket whose connections are served.",
    .tp_basicsize = sizeof(Listener),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)Listener_dealloc,
    .tp_traverse = (traverseproc)Listener_traverse,
    .tp_clear = (inquiry)Listener_clear,
    .tp_methods = listener_methods,
};

int listeners_init(PyObject *module) { return PyModule_AddType(module, &Listener_Type); }
