/* What the awaitables of this module share. A type that has am_send gets the
 * other methods of a generator here, for those who drive one by hand. */
#include "core.h"

PyObject *awaitable_send(PyObject *self, PyObject *value) {
  PyObject *result;
  PySendResult outcome = Py_TYPE(self)->tp_as_async->am_send(self, value, &result);
  if (outcome == PYGEN_NEXT)
    return result;
  if (outcome == PYGEN_RETURN) {
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    raise_taken(stop);
  }
  return NULL;
}

PyObject *awaitable_next(PyObject *self) { return awaitable_send(self, Py_None); }

PyObject *awaitable_raise(PyObject *const *args, Py_ssize_t nargs) {
  if (nargs < 1 || nargs > 3)
    PyErr_SetString(PyExc_TypeError, "throw() takes one to three arguments");
  else if (PyExceptionInstance_Check(args[0]))
    raise_again(args[0]);
  else
    PyErr_SetObject(args[0], nargs > 1 && args[1] != Py_None ? args[1] : NULL);
  return NULL;
}
