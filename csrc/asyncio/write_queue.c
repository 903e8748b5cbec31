/* What could not be written at once, and the flow control that comes of it:
 * the protocol is told to pause above the high-water mark and to resume at the
 * low one. */

#include "transport.h"

enum { LOST_WRITES_LOGGED = 5 };

void transport_clear_queue(Transport *self) {
  while (self->queue_count > 0) {
    Chunk *chunk = &self->queue[self->queue_head];
    self->queue_head = (self->queue_head + 1) % self->queue_capacity;
    self->queue_count--;
    PyObject *item = chunk->item, *address = chunk->address;
    Py_DECREF(item);
    Py_XDECREF(address);
  }
  PyMem_Free(self->queue);
  self->queue = NULL;
  self->queue_capacity = self->queue_head = self->queue_size = self->offset = 0;
}

static int grow(Transport *self) {
  size_t capacity = self->queue_capacity ? 2 * self->queue_capacity : 4;
  Chunk *queue = PyMem_Malloc(capacity * sizeof(*queue));
  if (queue == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < self->queue_count; i++)
    queue[i] = self->queue[(self->queue_head + i) % self->queue_capacity];
  PyMem_Free(self->queue);
  self->queue = queue;
  self->queue_capacity = capacity;
  self->queue_head = 0;
  return 0;
}

/* Keeps `size` bytes: the object itself if it is bytes and it is all of it, or
 * a copy, for the caller may change what it has given. */
int transport_queue(Transport *self, PyObject *data, const char *bytes, size_t size,
                    PyObject *address) {
  if (self->queue_count == self->queue_capacity && grow(self) < 0)
    return -1;
  bool whole = PyBytes_CheckExact(data) && (size_t)PyBytes_GET_SIZE(data) == size;
  bool tail = !whole && PyBytes_CheckExact(data) && self->queue_count == 0;
  PyObject *item =
      whole || tail ? Py_NewRef(data) : PyBytes_FromStringAndSize(bytes, (Py_ssize_t)size);
  if (item == NULL)
    return -1;
  if (tail)
    self->offset = (size_t)PyBytes_GET_SIZE(data) - size;
  self->queue[(self->queue_head + self->queue_count++) % self->queue_capacity] =
      (Chunk){item, Py_XNewRef(address)};
  self->queue_size += size;
  return 0;
}

void transport_dequeue(Transport *self, size_t bytes) {
  self->queue_size -= bytes;
  bytes += self->offset;
  while (self->queue_count > 0) {
    Chunk *chunk = &self->queue[self->queue_head];
    size_t size = (size_t)PyBytes_GET_SIZE(chunk->item);
    if (bytes < size)
      break;
    bytes -= size;
    PyObject *item = chunk->item;
    self->queue_head = (self->queue_head + 1) % self->queue_capacity;
    self->queue_count--;
    Py_DECREF(item);
  }
  self->offset = bytes;
  if (self->queue_count == 0)
    transport_clear_queue(self);
}

size_t transport_parts(Transport *self, struct iovec *parts, size_t max) {
  size_t count = self->queue_count < max ? self->queue_count : max;
  for (size_t i = 0; i < count; i++) {
    PyObject *item = self->queue[(self->queue_head + i) % self->queue_capacity].item;
    size_t skip = i == 0 ? self->offset : 0;
    parts[i].iov_base = PyBytes_AS_STRING(item) + skip;
    parts[i].iov_len = (size_t)PyBytes_GET_SIZE(item) - skip;
  }
  return count;
}

bool transport_writable(Transport *self, const char *what) {
  if (self->eof_written) {
    PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", what);
    return false;
  }
  if (self->empty_waiter != NULL) {
    PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", what);
    return false;
  }
  if (self->lost || self->loop == NULL) {
    if (self->lost >= LOST_WRITES_LOGGED)
      transport_warn(self->kind->lost_write);
    self->lost++;
    return false;
  }
  return true;
}

static void flow(Transport *self, PyObject *method, const char *message) {
  if (self->protocol == NULL)
    return;
  PyObject *answer = transport_tell(self, method, NULL);
  if (answer != NULL) {
    Py_DECREF(answer);
    return;
  }
  if (is_fatal()) {
    transport_end_run(self);
    return;
  }
  PyObject *exception = take_exception();
  PyObject *context =
      Py_BuildValue("{sssOsOsO}", "message", message, "exception", exception, "transport", self,
                    "protocol", self->protocol ? self->protocol : Py_None);
  answer = context && self->loop
               ? PyObject_CallMethod((PyObject *)self->loop, "call_exception_handler", "O", context)
               : NULL;
  Py_DECREF(exception);
  Py_XDECREF(context);
  Py_XDECREF(answer);
  if (answer == NULL && PyErr_Occurred())
    transport_end_run(self);
}

void transport_maybe_pause(Transport *self) {
  if (self->queue_size <= self->high || self->protocol_paused)
    return;
  self->protocol_paused = true;
  flow(self, str_pause_writing, "protocol.pause_writing() failed");
}

void transport_maybe_resume(Transport *self) {
  if (!self->protocol_paused || self->queue_size > self->low)
    return;
  self->protocol_paused = false;
  flow(self, str_resume_writing, "protocol.resume_writing() failed");
}
