/* What csrc/core and csrc/asyncio need of Python: given by _engine.py when it
 * is imported, once, and kept for good. */
#include "core.h"

Hooks hooks;

static const Parameters hooks_parameters = {
    .function = "setup",
    .names = {"attach", "start", "park", "saturated", "same_file", "special_file",
              "get_running_loop", "cancelled_error", "invalid_state", NULL},
    .required = sizeof(Hooks) / sizeof(PyObject *),
};

static PyObject *core_setup(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames) {
  enum { COUNT = sizeof(Hooks) / sizeof(PyObject *) };
  PyObject *given[COUNT];
  if (bind_arguments(&hooks_parameters, args, nargs, kwnames, given) < 0)
    return NULL;
  if (hooks.attach != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "setup() was called before");
    return NULL;
  }
  for (int i = 0; i < COUNT; i++)
    Py_INCREF(given[i]);
  hooks = (Hooks){
      .attach = given[0],
      .start = given[1],
      .park = given[2],
      .saturated = given[3],
      .same_file = given[4],
      .special_file = given[5],
      .get_running_loop = given[6],
      .cancelled_error = given[7],
      .invalid_state = given[8],
  };
  Py_RETURN_NONE;
}

PyMethodDef hooks_methods[] = {
    {"setup", (PyCFunction)(void (*)(void))core_setup, METH_FASTCALL | METH_KEYWORDS,
     "Give the module what it needs of Python, once."},
    {NULL, NULL, 0, NULL},
};
