/* The arguments of functions and methods that are called by METH_FASTCALL |
 * METH_KEYWORDS: one binder for all. Everything here is borrowed; with the GIL. */
#include "core.h"

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
