/* Writing, for all transports that are streams of bytes: at once what the kernel
 * takes, and the rest from a queue when it is writable again. And the flow
 * control that comes of it: the protocol is told to pause above the high-water
 * mark and to resume at the low one. On the loop's thread, with the GIL. */
#include "transport.h"

enum { LOST_WRITES_LOGGED = 5, IOV = 64 };

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

static int queue_grow(Transport *self) {
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
  if (self->queue_count == self->queue_capacity && queue_grow(self) < 0)
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

static void queue_drop(Transport *self, size_t bytes) {
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

static size_t queue_parts(Transport *self, struct iovec *parts) {
  size_t count = self->queue_count < IOV ? self->queue_count : IOV;
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
  if (self->conn_lost || self->loop == NULL) {
    if (self->conn_lost >= LOST_WRITES_LOGGED)
      transport_warn(self->kind->write_lost);
    self->conn_lost++;
    return false;
  }
  return !(self->closing && self->kind->close_ends_writing);
}

static void transport_tell_flow(Transport *self, PyObject *method, const char *message) {
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
  transport_tell_flow(self, str_pause_writing, "protocol.pause_writing() failed");
}

void transport_maybe_resume(Transport *self) {
  if (!self->protocol_paused || self->queue_size > self->low)
    return;
  self->protocol_paused = false;
  transport_tell_flow(self, str_resume_writing, "protocol.resume_writing() failed");
}

/* Writing -------------------------------------------------------------------- */

/* How much the kernel has taken; -1: failed and dealt with. */
static ssize_t transport_send(Transport *self, struct iovec *parts, size_t count) {
  ssize_t n = self->kind->send(self->fd, parts, count);
  if (n >= 0)
    return n;
  if (would_block())
    return 0;
  raise_errno();
  transport_failed(self, self->kind->write_failed);
  return -1;
}

void transport_flush(Transport *self) {
  if (self->conn_lost)
    return;
  struct iovec parts[IOV];
  ssize_t n = transport_send(self, parts, queue_parts(self, parts));
  if (n < 0)
    return;
  queue_drop(self, (size_t)n);
  transport_flushed(self);
}

void transport_flushed(Transport *self) {
  transport_maybe_resume(self); /* may write, or close */
  if (self->conn_lost || self->loop->error || self->queue_count > 0)
    return;
  if (transport_watch(self) < 0) {
    transport_failed(self, self->kind->write_failed);
    return;
  }
  if (self->empty_waiter != NULL)
    transport_wake_empty_waiter(self, str_set_result, Py_None);
  if (self->closing)
    transport_connection_lost(self, Py_None);
  else if (self->eof_written)
    self->kind->shutdown(self);
}

static int queue_rest(Transport *self) {
  if (transport_watch(self) < 0)
    return -1;
  transport_maybe_pause(self);
  return 0;
}

void transport_raise_not_bytes_like(PyObject *data) {
  PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%.200s'",
               Py_TYPE(data)->tp_name);
}

PyObject *transport_write(Transport *self, PyObject *data) {
  Py_buffer view = {0};
  const char *bytes;
  size_t size;
  if (PyBytes_CheckExact(data)) {
    bytes = PyBytes_AS_STRING(data);
    size = (size_t)PyBytes_GET_SIZE(data);
  } else {
    if (!PyObject_CheckBuffer(data)) {
      transport_raise_not_bytes_like(data);
      return NULL;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0)
      return NULL;
    bytes = view.buf;
    size = (size_t)view.len;
  }
  if (self->eof_written || self->empty_waiter != NULL || size > 0) {
    if (!transport_writable(self, "write") || size == 0)
      goto done;
    size_t written = 0;
    if (self->queue_count == 0) {
      struct iovec part = {(void *)bytes, size};
      ssize_t n = transport_send(self, &part, 1);
      if (n < 0)
        goto done;
      written = (size_t)n;
    }
    if (written < size && transport_queue(self, data, bytes + written, size - written, NULL) == 0)
      queue_rest(self);
  }
done:
  if (view.obj != NULL)
    PyBuffer_Release(&view);
  return transport_none();
}

/* At most IOV items, for that many buffers are held at once. */
static int transport_write_batch(Transport *self, PyObject **items, size_t count) {
  Py_buffer views[IOV];
  struct iovec parts[IOV];
  size_t held = 0, total = 0;
  int outcome = -1;
  for (; held < count; held++) {
    if (PyObject_GetBuffer(items[held], &views[held], PyBUF_SIMPLE) < 0)
      goto done;
    parts[held].iov_base = views[held].buf;
    parts[held].iov_len = (size_t)views[held].len;
    total += parts[held].iov_len;
  }
  outcome = 0;
  if (total == 0)
    goto done;
  ssize_t written = 0;
  if (self->queue_count == 0 && (written = transport_send(self, parts, count)) < 0)
    goto done;
  size_t skip = (size_t)written;
  for (size_t i = 0; i < count && outcome == 0; i++) {
    size_t size = parts[i].iov_len;
    if (skip >= size) {
      skip -= size;
      continue;
    }
    outcome = transport_queue(self, items[i], (char *)parts[i].iov_base + skip, size - skip, NULL);
    skip = 0;
  }
done:
  while (held > 0)
    PyBuffer_Release(&views[--held]);
  return outcome;
}

PyObject *transport_writelines(Transport *self, PyObject *list) {
  PyObject *items = PySequence_Tuple(list); /* that nobody can change */
  if (items == NULL)
    return NULL;
  size_t count = (size_t)PyTuple_GET_SIZE(items), done = 0;
  for (size_t i = 0; i < count; i++)
    if (!PyObject_CheckBuffer(PyTuple_GET_ITEM(items, i))) {
      transport_raise_not_bytes_like(PyTuple_GET_ITEM(items, i));
      Py_DECREF(items);
      return NULL;
    }
  int outcome = 0;
  if (transport_writable(self, "writelines")) {
    while (done < count && outcome == 0 && !self->conn_lost) {
      size_t batch = count - done < IOV ? count - done : IOV;
      outcome = transport_write_batch(self, &PyTuple_GET_ITEM(items, done), batch);
      done += batch;
    }
    if (outcome == 0 && self->queue_count > 0)
      outcome = queue_rest(self);
  }
  Py_DECREF(items);
  return transport_none();
}
