/* Exceptions: taken, raised and made. Every OSError of this module comes from
 * here, so that its subclass, text and filename follow one rule: the one of
 * the standard library. */
#include "core.h"

#include <errno.h>

/* 3.12 replaced PyErr_Fetch and PyErr_Restore. */
PyObject *take_exception(void) {
#if PY_VERSION_HEX >= 0x030C0000
  return PyErr_GetRaisedException();
#else
  PyObject *type, *value, *traceback;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == NULL)
    return NULL;
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL)
    PyException_SetTraceback(value, traceback);
  Py_DECREF(type);
  Py_XDECREF(traceback);
  return value;
#endif
}

void raise_again(PyObject *exception) {
  PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}

void raise_taken(PyObject *exception) {
  if (exception == NULL)
    return;
  raise_again(exception);
  Py_DECREF(exception);
}

bool is_fatal(void) {
  return PyErr_ExceptionMatches(PyExc_SystemExit) ||
         PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
}

PyObject *raise_os_error(int error, PyObject *path, PyObject *path2) {
  if (error == ENOMEM)
    return PyErr_NoMemory();
  errno = error;
  return PyErr_SetFromErrnoWithFilenameObjects(PyExc_OSError, path, path2);
}

PyObject *raise_os_error_text(int error, PyObject *text, PyObject *path) {
  if (text != NULL)
    raise_taken(
        PyObject_CallFunction(PyExc_OSError, path != NULL ? "iNO" : "iN", error, text, path));
  return NULL;
}

PyObject *raise_text(PyObject *class, PyObject *text) {
  if (text != NULL) {
    PyErr_SetObject(class, text);
    Py_DECREF(text);
  }
  return NULL;
}

PyObject *raise_job_error(int error, PyObject *path, PyObject *path2, bool about_second) {
  PyObject *about = about_second ? path2 : path;
  switch (error) {
  case UVW_ESAMEFILE:
    return raise_text(hooks.same_file,
                      PyUnicode_FromFormat("%R and %R are the same file", path, path2));
  case UVW_ESPECIAL:
    return raise_text(hooks.special_file, PyUnicode_FromFormat("%R is a special file", about));
  default:
    return raise_os_error(error, about, NULL);
  }
}

/* What uvw_submit() answered. */
void raise_refused(int error, unsigned lane) {
  if (error == UV_EAGAIN)
    PyErr_Format(hooks.saturated, "lane '%s' is full", uvw_lane_name(lane));
  else if (error == UV_ESHUTDOWN)
    PyErr_SetString(PyExc_RuntimeError, "cannot submit to the pool at interpreter shutdown");
  else
    PyErr_Format(PyExc_RuntimeError, "the pool refused a job: %s", uv_strerror(error));
}
