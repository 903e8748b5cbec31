/* The services of the loop that the other files of this folder call: may it be
 * used here, what time is it, and where do its failures go. All with the GIL
 * held; only call_soon_threadsafe() comes from threads other than the loop's. */
#include "asyncio.h"

double loop_now(void) { return (double)uv_hrtime() * 1e-9; }

bool loop_stale(const Loop *self) { return self->generation != uvw_generation(); }

int loop_check_open(Loop *self) {
  if (self->closed) {
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
  }
  if (loop_stale(self)) {
    PyErr_SetString(PyExc_RuntimeError,
                    "this event loop was made before fork(); the child needs a new one");
    return -1;
  }
  return 0;
}

int loop_check_thread(Loop *self) {
  if (self->thread == 0 || self->thread == PyThread_get_thread_ident())
    return 0;
  PyErr_SetString(PyExc_RuntimeError, "Non-thread-safe operation invoked on an event loop other "
                                      "than the current one");
  return -1;
}

int loop_report_exception(Loop *self, PyObject *exception, const char *message, const char *name,
                          PyObject *value, const char *name2, PyObject *value2) {
  PyObject *context = Py_BuildValue("{ss}", "message", message), *answer = NULL;
  if (context != NULL &&
      (exception == NULL || PyDict_SetItem(context, str_exception, exception) == 0) &&
      (value == NULL || PyDict_SetItemString(context, name, value) == 0) &&
      (value2 == NULL || PyDict_SetItemString(context, name2, value2) == 0))
    answer = PyObject_CallMethodOneArg((PyObject *)self, str_call_exception_handler, context);
  Py_XDECREF(context);
  Py_XDECREF(answer);
  return answer == NULL ? -1 : 0;
}

int loop_report(Loop *self, const char *message, const char *name, PyObject *value,
                const char *name2, PyObject *value2) {
  if (is_fatal())
    return -1;
  PyObject *exception = take_exception();
  int outcome = loop_report_exception(self, exception, message, name, value, name2, value2);
  Py_XDECREF(exception);
  return outcome;
}

int loop_note_time(Loop *self, PyObject *what, uint64_t start) {
  double took = (double)(uv_hrtime() - start) * 1e-9;
  if (took < self->slow_callback_duration)
    return 0;
  PyObject *seconds = PyFloat_FromDouble(took);
  if (seconds == NULL)
    return -1;
  PyObject *answer =
      PyObject_CallMethodObjArgs((PyObject *)self, str__note_time, what, seconds, NULL);
  Py_DECREF(seconds);
  Py_XDECREF(answer);
  return answer == NULL ? -1 : 0;
}

PyObject *raise_errno(void) { return PyErr_SetFromErrno(PyExc_OSError); }

PyObject *uv_failure(int code) {
  errno = -code;
  return raise_errno();
}
