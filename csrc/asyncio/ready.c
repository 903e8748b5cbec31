/* The ready queue: a ring of handles that doubles when it is full. */
#include "asyncio.h"

enum { FIRST = 256, AHEAD = 4 };

static int ready_grow(Ready *self) {
  size_t capacity = self->ring == NULL ? FIRST : 2 * (self->mask + 1);
  Handle **ring = capacity <= SIZE_MAX / sizeof(*ring) / 2 ? PyMem_New(Handle *, capacity) : NULL;
  if (ring == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (size_t i = 0; i < self->count; i++)
    ring[i] = self->ring[(self->head + i) & self->mask];
  PyMem_Free(self->ring);
  self->ring = ring;
  self->mask = capacity - 1;
  self->head = 0;
  return 0;
}

int ready_push(Ready *self, Handle *handle) {
  if ((self->ring == NULL || self->count > self->mask) && ready_grow(self) < 0)
    return -1;
  self->ring[(self->head + self->count++) & self->mask] = (Handle *)Py_NewRef(handle);
  return 0;
}

Handle *ready_pop(Ready *self) {
  Handle *handle = self->ring[self->head];
  self->head = (self->head + 1) & self->mask;
  self->count--;
  /* Among many, those of later are no longer in the processor's cache. */
  __builtin_prefetch(self->ring[(self->head + AHEAD) & self->mask], 1);
  return handle;
}

void ready_clear(Ready *self) {
  while (self->count > 0) {
    Handle *handle = ready_pop(self);
    handle_forget(handle);
    Py_DECREF(handle);
  }
  PyMem_Free(self->ring);
  *self = (Ready){0};
}
