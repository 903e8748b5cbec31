/* The GIL between the loop's thread and the others.
 *
 * run.c decides when it is let go; gil_take() gets it back. While it is let go
 * `sleeping` is set, and another thread that gives the loop something to do
 * wakes it by loop_wake(). All but the latter are for the thread that runs the
 * loop. */
#include "asyncio.h"

void gil_release(Loop *self) {
  self->gil_offered = self->polled;
  self->sleeping = true;
  self->released = PyEval_SaveThread();
}

/* Does nothing while it is held. */
void gil_take(Loop *self) {
  if (self->released != NULL) {
    PyThreadState *state = self->released;
    self->released = NULL;
    __atomic_store_n(&self->sleeping, false, __ATOMIC_RELEASE); /* see loop_asleep() */
    PyEval_RestoreThread(state);
  }
}

/* With the GIL, from any thread. */
void loop_wake(Loop *self) {
  if (loop_asleep(self) && !self->woken) {
    self->woken = true;
    uv_async_send(&self->wake);
  }
}

/* Runs an empty Python function, at whose start the interpreter hands the GIL
 * to a thread that has asked for it; if none has, that costs next to nothing.
 * To let it go and take it again would starve the others: a thread that waits
 * for the GIL asks for it after 5 ms without a change of its owner, and each
 * such moment, too short to wake up in, starts these 5 ms anew. */
int gil_offer(Loop *self) {
  self->gil_offered = self->polled;
  PyObject *answer = PyObject_CallMethodNoArgs((PyObject *)self, str__give_way);
  Py_XDECREF(answer);
  return answer == NULL ? -1 : 0;
}
