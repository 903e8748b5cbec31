/* From Python's arguments to C's values: the one place that converts and
 * refuses. The Python side has checked ranges that mean something to a user;
 * here it is the types and all that memory safety needs. */
#include "core.h"

static int out_of_range(const char *name, PyObject *value, const char *type) {
  PyErr_Format(PyExc_OverflowError, "%s does not fit %s: %R", name, type, value);
  return -1;
}

int as_int64(PyObject *value, const char *name, int64_t *out) {
  int overflow;
  long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (number == -1 && PyErr_Occurred())
    return -1;
  if (overflow != 0)
    return out_of_range(name, value, "64 bits");
  *out = number;
  return 0;
}

int as_int(PyObject *value, const char *name, int *out) {
  int overflow;
  long number = PyLong_AsLongAndOverflow(value, &overflow);
  if (number == -1 && PyErr_Occurred())
    return -1;
  if (overflow != 0 || number < INT_MIN || number > INT_MAX)
    return out_of_range(name, value, "a C int");
  *out = (int)number;
  return 0;
}

static int as_size(PyObject *value, const char *name, Py_ssize_t *out) {
  int64_t number;
  if (as_int64(value, name, &number) < 0)
    return -1;
  if (number > PY_SSIZE_T_MAX || number < PY_SSIZE_T_MIN)
    return out_of_range(name, value, "a size");
  *out = (Py_ssize_t)number;
  return 0;
}

int as_limit(PyObject *value, uint64_t *out) {
  *out = value == Py_None ? UINT64_MAX : PyLong_AsUnsignedLongLong(value);
  return *out == UINT64_MAX && PyErr_Occurred() ? -1 : 0;
}

static int as_truth(PyObject *value, bool *out) {
  int truth = PyObject_IsTrue(value);
  *out = truth > 0;
  return truth < 0 ? -1 : 0;
}

static int as_string(PyObject *value, const char *name, const char **out) {
  Py_ssize_t length;
  if (!PyUnicode_Check(value)) {
    PyErr_Format(PyExc_TypeError, "%s: expected str, got %R", name, value);
    return -1;
  }
  *out = PyUnicode_AsUTF8AndSize(value, &length);
  if (*out == NULL)
    return -1;
  if (strlen(*out) == (size_t)length)
    return 0;
  PyErr_Format(PyExc_ValueError, "%s: embedded null character", name);
  return -1;
}

void path_clear(Path *path) {
  Py_CLEAR(path->shown);
  Py_CLEAR(path->keep);
}

int as_path(PyObject *value, Path *out) {
  PyObject *path = out->shown = PyOS_FSPath(value);
  if (path == NULL)
    return -1;
  Py_ssize_t length;
  if (PyUnicode_Check(path) && PyUnicode_IS_COMPACT_ASCII(path)) {
    out->bytes = (const char *)PyUnicode_1BYTE_DATA(path);
    length = PyUnicode_GET_LENGTH(path);
  } else {
    out->keep = PyUnicode_Check(path) ? PyUnicode_EncodeFSDefault(path) : Py_NewRef(path);
    if (out->keep == NULL)
      return -1;
    out->bytes = PyBytes_AS_STRING(out->keep);
    length = PyBytes_GET_SIZE(out->keep);
  }
  if (strlen(out->bytes) == (size_t)length)
    return 0;
  PyErr_SetString(PyExc_ValueError, "embedded null byte");
  return -1;
}

static int as_writable(PyObject *value, const char *name, Py_buffer *out) {
  int outcome = PyObject_GetBuffer(value, out, PyBUF_WRITABLE);
  if (outcome < 0 && PyErr_ExceptionMatches(PyExc_BufferError))
    PyErr_Format(PyExc_TypeError, "%s: expected a read-write buffer, got %s", name,
                 Py_TYPE(value)->tp_name);
  return outcome;
}

static int argument(char letter, PyObject *value, const char *name, va_list *out) {
  switch (letter) {
  case 'O':
    *va_arg(*out, PyObject **) = value;
    return 0;
  case 'i':
    return as_int(value, name, va_arg(*out, int *));
  case 'l':
    return as_int64(value, name, va_arg(*out, int64_t *));
  case 'n':
    return as_size(value, name, va_arg(*out, Py_ssize_t *));
  case 'u':
    return as_limit(value, va_arg(*out, uint64_t *));
  case 'p':
    return as_truth(value, va_arg(*out, bool *));
  case 's':
    return as_string(value, name, va_arg(*out, const char **));
  case 'z': {
    const char **text = va_arg(*out, const char **);
    return value == Py_None ? (*text = NULL, 0) : as_string(value, name, text);
  }
  case 'b':
    return PyObject_GetBuffer(value, va_arg(*out, Py_buffer *), PyBUF_SIMPLE);
  case 'y': {
    Py_buffer *view = va_arg(*out, Py_buffer *);
    return value == Py_None ? 0 : PyObject_GetBuffer(value, view, PyBUF_SIMPLE);
  }
  case 'w':
    return as_writable(value, name, va_arg(*out, Py_buffer *));
  case 'f':
    return as_path(value, va_arg(*out, Path *));
  default:
    PyErr_Format(PyExc_SystemError, "%s: unknown format '%c'", name, letter);
    return -1;
  }
}

int arguments(const char *function, PyObject *const *args, Py_ssize_t nargs, const char *format,
              ...) {
  if (nargs != (Py_ssize_t)strlen(format)) {
    PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, got %zd", function,
                 (Py_ssize_t)strlen(format), nargs);
    return -1;
  }
  va_list out;
  va_start(out, format);
  int outcome = 0;
  for (Py_ssize_t i = 0; i < nargs && outcome == 0; i++)
    outcome = argument(format[i], args[i], function, &out);
  va_end(out);
  return outcome;
}

/* By keyword ---------------------------------------------------------------- */

/* Raises if there is no parameter of the name, or if it has been given by position. */
static int bind_keyword(const Parameters *parameters, PyObject *name, PyObject *value,
                        PyObject **given) {
  int i = 0;
  while (parameters->names[i] != NULL &&
         PyUnicode_CompareWithASCIIString(name, parameters->names[i]) != 0)
    i++;
  if (parameters->names[i] == NULL || given[i] != NULL) {
    PyErr_Format(PyExc_TypeError,
                 parameters->names[i] ? "%s() got multiple values for argument %R"
                                      : "%s() got an unexpected keyword argument %R",
                 parameters->function, name);
    return -1;
  }
  given[i] = value;
  return 0;
}

int bind_arguments(const Parameters *parameters, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames, PyObject **given) {
  int positional = parameters->positional;
  if (nargs > positional && !parameters->variadic) {
    PyErr_Format(PyExc_TypeError, "%s() takes %d positional argument%s but %zd %s given",
                 parameters->function, positional, positional == 1 ? "" : "s", nargs,
                 nargs == 1 ? "was" : "were");
    return -1;
  }
  for (int i = 0; parameters->names[i] != NULL; i++)
    given[i] = i < nargs && i < positional ? args[i] : NULL;
  Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t i = 0; i < keywords; i++)
    if (bind_keyword(parameters, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], given) < 0)
      return -1;
  for (int i = 0; i < parameters->required; i++)
    if (given[i] == NULL) {
      PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'",
                   parameters->function, parameters->names[i]);
      return -1;
    }
  return 0;
}

/* The other way ---------------------------------------------------------------- */

PyObject *add_namespace(PyObject *module, const char *name, const Constant *constants) {
  PyObject *namespace = PyModule_New(name);
  if (namespace == NULL)
    return NULL;
  int outcome = PyModule_AddObjectRef(module, name, namespace);
  Py_DECREF(namespace); /* the module has it */
  for (; outcome == 0 && constants->name != NULL; constants++)
    outcome = PyModule_AddIntConstant(namespace, constants->name, constants->value);
  return outcome == 0 ? namespace : NULL;
}
