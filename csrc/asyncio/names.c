/* See names.h. */
#include "asyncio.h"

#define DEFINE(name) PyObject *str_##name;
UVW_NAMES(DEFINE)
#undef DEFINE

int names_init(void) {
#define INTERN(name)                                                                               \
  if ((str_##name = PyUnicode_InternFromString(#name)) == NULL)                                    \
    return -1;
  UVW_NAMES(INTERN)
#undef INTERN
  return 0;
}

int import_name(PyObject **object, const char *module, const char *name) {
  PyObject *from = PyImport_ImportModule(module);
  *object = from != NULL ? PyObject_GetAttrString(from, name) : NULL;
  Py_XDECREF(from);
  return *object != NULL ? 0 : -1;
}
