/* call_soon(), call_soon_threadsafe(), call_later() and call_at(): their
 * arguments, and the handle that goes into the ready queue or among the timers.
 *
 * Each step of a task is a call_soon(callback, arg, context=context); so that
 * form does not go through the general binder. */
#include "asyncio.h"

#include <math.h>

/* Arguments ------------------------------------------------------------------ */

/* In debug mode: a coroutine, for example, is no callback. */
static int call_check_callback(Loop *self, PyObject *callback, const char *function) {
  PyObject *name = PyUnicode_FromString(function);
  if (name == NULL)
    return -1;
  PyObject *answer =
      PyObject_CallMethodObjArgs((PyObject *)self, str__check_callback, callback, name, NULL);
  Py_DECREF(name);
  Py_XDECREF(answer);
  return answer == NULL ? -1 : 0;
}

/* Whether a keyword is `context`. CPython's own tasks pass a string that is not
 * the interned one, but always the same. */
static bool call_is_context_keyword(PyObject *name) {
  static PyObject *known;
  if (name == known || name == str_context)
    return true;
  if (PyUnicode_CompareWithASCIIString(name, "context") != 0)
    return false;
  Py_XSETREF(known, Py_NewRef(name));
  return true;
}

/* No keywords, or `context` alone. */
static bool call_only_context(PyObject *kwnames) {
  return kwnames == NULL ||
         (PyTuple_GET_SIZE(kwnames) == 1 && call_is_context_keyword(PyTuple_GET_ITEM(kwnames, 0)));
}

/* None is NULL. */
static int call_check_context(const char *function, PyObject **context) {
  if (*context == Py_None)
    *context = NULL;
  if (*context == NULL || PyContext_CheckExact(*context))
    return 0;
  PyErr_Format(PyExc_TypeError, "%s(): context must be a contextvars.Context, not %.100s", function,
               Py_TYPE(*context)->tp_name);
  return -1;
}

/* Into the ready queue ------------------------------------------------------- */

static Handle *call_soon_handle(Loop *self, PyObject *callback, PyObject *const *args,
                                Py_ssize_t nargs, PyObject *context) {
  Handle *handle = handle_new(&Handle_Type, self, callback, args, nargs, context);
  if (handle != NULL && ready_push(&self->ready, handle) < 0)
    Py_CLEAR(handle);
  return handle;
}

int call_soon(Loop *self, PyObject *callback, PyObject *arg, PyObject *context) {
  if (self->closed)
    return loop_check_open(self);
  Handle *handle = call_soon_handle(self, callback, &arg, arg != NULL, context);
  Py_XDECREF(handle);
  return handle == NULL ? -1 : 0;
}

static Handle *call_soon_bound(Loop *self, const Parameters *parameters, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *given[2]; /* callback, context */
  if (nargs >= 1 && call_only_context(kwnames)) {
    given[0] = args[0];
    given[1] = kwnames != NULL ? args[nargs] : NULL;
  } else if (bind_arguments(parameters, args, nargs, kwnames, given) < 0) {
    return NULL;
  }
  if (call_check_context(parameters->function, &given[1]) < 0 || loop_check_open(self) < 0 ||
      (self->debug && call_check_callback(self, given[0], parameters->function) < 0))
    return NULL;
  return call_soon_handle(self, given[0], args + 1, nargs > 1 ? nargs - 1 : 0, given[1]);
}

PyObject *loop_call_soon(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {"call_soon", {"callback", "context"}, 1, 1, true};
  if (self->debug && loop_check_thread(self) < 0)
    return NULL;
  return (PyObject *)call_soon_bound(self, &parameters, args, nargs, kwnames);
}

PyObject *loop_call_soon_threadsafe(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames) {
  static const Parameters parameters = {
      "call_soon_threadsafe", {"callback", "context"}, 1, 1, true};
  Handle *handle = call_soon_bound(self, &parameters, args, nargs, kwnames);
  if (handle != NULL)
    loop_wake(self);
  return (PyObject *)handle;
}

/* Among the timers ------------------------------------------------------------ */

static PyObject *call_at_handle(Loop *self, const char *function, double when, PyObject *callback,
                                PyObject *const *args, Py_ssize_t nargs, PyObject *context) {
  if (isnan(when)) {
    PyErr_Format(PyExc_ValueError, "%s(): the time must not be NaN", function);
    return NULL;
  }
  if (loop_check_open(self) < 0 ||
      (self->debug &&
       (loop_check_thread(self) < 0 || call_check_callback(self, callback, function) < 0)))
    return NULL;
  Handle *handle = handle_new(&TimerHandle_Type, self, callback, args, nargs, context);
  if (handle == NULL)
    return NULL;
  handle->when = when;
  if (timers_push(&self->timers, handle) < 0)
    Py_CLEAR(handle);
  return (PyObject *)handle;
}

/* call_later and call_at differ in what their number is counted from. */
static PyObject *call_timed(Loop *self, const Parameters *parameters, bool relative,
                            PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  PyObject *given[3]; /* time, callback, context */
  if (nargs >= 2 && call_only_context(kwnames)) {
    given[0] = args[0];
    given[1] = args[1];
    given[2] = kwnames != NULL ? args[nargs] : NULL;
  } else if (bind_arguments(parameters, args, nargs, kwnames, given) < 0) {
    return NULL;
  }
  if (call_check_context(parameters->function, &given[2]) < 0)
    return NULL;
  if (given[0] == Py_None) {
    PyErr_Format(PyExc_TypeError, relative ? "%s must not be None" : "%s cannot be None",
                 parameters->names[0]);
    return NULL;
  }
  double when = PyFloat_AsDouble(given[0]);
  if (when == -1 && PyErr_Occurred())
    return NULL;
  return call_at_handle(self, parameters->function, relative ? when + loop_now() : when, given[1],
                        args + 2, nargs > 2 ? nargs - 2 : 0, given[2]);
}

PyObject *loop_call_later(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {"call_later", {"delay", "callback", "context"}, 2, 2, true};
  return call_timed(self, &parameters, true, args, nargs, kwnames);
}

PyObject *loop_call_at(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {"call_at", {"when", "callback", "context"}, 2, 2, true};
  return call_timed(self, &parameters, false, args, nargs, kwnames);
}
