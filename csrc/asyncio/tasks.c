/* create_future and create_task for the common case: asyncio's own classes, no
 * task factory, no debug mode. The rest is Python (loop/tasks.py). */
#include "asyncio.h"

static PyObject *future_class, *task_class, *loop_keyword;

PyObject *loop_create_future(Loop *self, PyObject *Py_UNUSED(ignored)) {
  PyObject *args[2] = {NULL, (PyObject *)self};
  return PyObject_Vectorcall(future_class, args + 1, 0 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                             loop_keyword);
}

PyObject *loop_create_task(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  if (self->task_factory != NULL || self->debug || nargs != 1 || kwnames != NULL) {
    PyObject *method = PyObject_GetAttr((PyObject *)self, str__create_task);
    PyObject *task =
        method != NULL ? PyObject_Vectorcall(method, args, (size_t)nargs, kwnames) : NULL;
    Py_XDECREF(method);
    return task;
  }
  if (loop_check_open(self) < 0)
    return NULL;
  PyObject *stack[3] = {NULL, args[0], (PyObject *)self};
  return PyObject_Vectorcall(task_class, stack + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                             loop_keyword);
}

int tasks_init(void) {
  loop_keyword = Py_BuildValue("(s)", "loop");
  return loop_keyword == NULL || import_name(&future_class, "asyncio", "Future") < 0 ||
                 import_name(&task_class, "asyncio", "Task") < 0
             ? -1
             : 0;
}
