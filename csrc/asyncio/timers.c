/* The timers: one heap, four children to a node, ordered by time and then by
 * arrival. A cancelled timer stays until it comes up, or until cancelled ones
 * are the majority and all are swept; so both setting and cancelling are cheap
 * for the common timer that never fires. */
#include "asyncio.h"

#include <math.h>

enum { FIRST = 64, SWEEP_MIN = 64 };

static inline bool timer_before(const Timer *a, const Timer *b) {
  return a->when < b->when || (a->when == b->when && a->order < b->order);
}

static void timers_sift_up(Timer *heap, size_t i) {
  Timer timer = heap[i];
  while (i > 0) {
    size_t parent = (i - 1) / 4;
    if (!timer_before(&timer, &heap[parent]))
      break;
    heap[i] = heap[parent];
    i = parent;
  }
  heap[i] = timer;
}

static void timers_sift_down(Timer *heap, size_t count, size_t i) {
  Timer timer = heap[i];
  for (;;) {
    size_t child = 4 * i + 1;
    if (child >= count)
      break;
    size_t last = child + 4 < count ? child + 4 : count, least = child;
    for (size_t j = child + 1; j < last; j++)
      if (timer_before(&heap[j], &heap[least]))
        least = j;
    if (!timer_before(&heap[least], &timer))
      break;
    heap[i] = heap[least];
    i = least;
  }
  heap[i] = timer;
}

int timers_push(Timers *self, Handle *handle) {
  if (self->count == self->capacity) {
    size_t capacity = self->capacity == 0 ? FIRST : 2 * self->capacity;
    Timer *heap = capacity <= SIZE_MAX / sizeof(*heap) / 2
                      ? PyMem_Realloc(self->heap, capacity * sizeof(*heap))
                      : NULL;
    if (heap == NULL) {
      PyErr_NoMemory();
      return -1;
    }
    self->heap = heap;
    self->capacity = capacity;
  }
  handle->scheduled = true;
  self->heap[self->count] = (Timer){handle->when, self->order++, (Handle *)Py_NewRef(handle)};
  timers_sift_up(self->heap, self->count++);
  return 0;
}

static Handle *timers_take_first(Timers *self) {
  Handle *handle = self->heap[0].handle;
  if (--self->count > 0) {
    self->heap[0] = self->heap[self->count];
    timers_sift_down(self->heap, self->count, 0);
    __builtin_prefetch(self->heap[0].handle, 1);
  }
  handle->scheduled = false;
  return handle;
}

static void timers_drop_cancelled(Timers *self) {
  while (self->cancelled > 0 && self->count > 0 && self->heap[0].handle->cancelled) {
    Handle *handle = timers_take_first(self);
    self->cancelled--;
    Py_DECREF(handle);
  }
}

double timers_next(Timers *self) {
  timers_drop_cancelled(self);
  return self->count > 0 ? self->heap[0].when : INFINITY;
}

Handle *timers_pop_due(Timers *self, double now) {
  timers_drop_cancelled(self);
  return self->count > 0 && self->heap[0].when <= now ? timers_take_first(self) : NULL;
}

void timers_note_cancel(Timers *self) {
  if (++self->cancelled < SWEEP_MIN || self->cancelled * 2 < self->count)
    return;
  /* Letting go of a handle may run a weak reference's callback, which may come
   * back here; so the heap is whole before that. A cancelled handle has no
   * arguments, and its first one links those that go. */
  Handle *dead = NULL;
  size_t live = 0;
  for (size_t i = 0; i < self->count; i++) {
    Handle *handle = self->heap[i].handle;
    if (handle->cancelled) {
      handle->scheduled = false;
      handle->args[0] = (PyObject *)dead;
      dead = handle;
    } else {
      self->heap[live++] = self->heap[i];
    }
  }
  self->count = live;
  self->cancelled = 0;
  for (size_t i = live; i-- > 0;)
    timers_sift_down(self->heap, live, i);
  while (dead != NULL) {
    Handle *next = (Handle *)dead->args[0];
    Py_DECREF(dead);
    dead = next;
  }
}

void timers_clear(Timers *self) {
  Timer *heap = self->heap;
  size_t count = self->count;
  *self = (Timers){0};
  for (size_t i = 0; i < count; i++) {
    heap[i].handle->scheduled = false;
    handle_forget(heap[i].handle);
    Py_DECREF(heap[i].handle);
  }
  PyMem_Free(heap);
}
