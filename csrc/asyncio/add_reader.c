/* add_reader(), add_writer() and their opposites. The public ones refuse the
 * descriptors of transports; those with an underscore do not, and return the
 * handle. */
#include "asyncio.h"

#include <fcntl.h>

/* libuv makes a descriptor non-blocking, which others may share (a terminal's is
 * the shell's too, and print()'s): so it is made again what it was. */
static Descriptor *descriptor_open_blocking(Loop *loop, int fd) {
  int flags = fcntl(fd, F_GETFL);
  Descriptor *descriptor = descriptor_open(loop, fd);
  if (descriptor != NULL && flags >= 0 && !(flags & O_NONBLOCK))
    fcntl(fd, F_SETFL, flags);
  return descriptor;
}

static Handle *descriptor_add(Loop *self, PyObject *fileobj, PyObject *callback,
                              PyObject *const *args, Py_ssize_t nargs, int direction) {
  if (loop_check_open(self) < 0)
    return NULL;
  int fd = fd_of(fileobj);
  if (fd < 0)
    return NULL;
  Handle *handle = handle_new(&Handle_Type, self, callback, args, nargs, NULL);
  if (handle == NULL)
    return NULL;
  handle->persistent = true;
  Descriptor *descriptor = descriptor_of(self, fd);
  if (descriptor != NULL && descriptor->handle[direction] != NULL &&
      descriptor->watch.events != 0 && descriptor->fileobj != fileobj) {
    /* Perhaps another file under the same number: arm it anew. */
    if (watch_set(&descriptor->watch, 0) < 0)
      goto failed;
  }
  if (descriptor == NULL && (descriptor = descriptor_open_blocking(self, fd)) == NULL)
    goto failed;
  Handle *former = descriptor->handle[direction];
  PyObject *former_fileobj = descriptor->fileobj;
  descriptor->handle[direction] = (Handle *)Py_NewRef(handle);
  descriptor->fileobj = Py_NewRef(fileobj);
  int outcome = descriptor_arm(descriptor);
  if (outcome < 0)
    descriptor_release(descriptor);
  handle_drop(former);
  Py_XDECREF(former_fileobj);
  if (outcome == 0)
    return handle;

failed:
  Py_DECREF(handle);
  return NULL;
}

static Descriptor *descriptor_find_closed(Loop *self, PyObject *fileobj) {
  for (size_t fd = 0; fd < self->watch_capacity; fd++) {
    Descriptor *descriptor = descriptor_of(self, (int)fd);
    if (descriptor != NULL && descriptor->fileobj == fileobj)
      return descriptor;
  }
  return NULL;
}

static PyObject *descriptor_remove(Loop *self, PyObject *fileobj, int direction) {
  if (self->closed)
    Py_RETURN_FALSE;
  int fd = fd_of(fileobj);
  Descriptor *descriptor;
  if (fd >= 0) {
    descriptor = descriptor_of(self, fd);
  } else {
    descriptor = descriptor_find_closed(self, fileobj);
    if (descriptor == NULL)
      return NULL;
    PyErr_Clear();
  }
  if (descriptor == NULL || descriptor->handle[direction] == NULL)
    Py_RETURN_FALSE;
  Handle *handle = descriptor->handle[direction];
  descriptor->handle[direction] = NULL;
  int outcome = descriptor_arm(descriptor);
  handle_drop(handle);
  if (outcome < 0)
    return NULL;
  Py_RETURN_TRUE;
}

/* Refuses the descriptor of a transport. */
static int descriptor_check_fileobj(Loop *self, PyObject *fileobj) {
  if (self->closed || self->watch_capacity == 0)
    return 0;
  int fd = fd_of(fileobj);
  if (fd < 0) {
    if (PyLong_Check(fileobj) || !PyObject_HasAttrString(fileobj, "fileno"))
      return -1;
    PyErr_Clear(); /* a closed file: remove_reader() knows it by identity */
    return 0;
  }
  return descriptor_check_no_transport(self, fd, fileobj);
}

static PyObject *descriptor_add_public(Loop *self, const Parameters *parameters,
                                       PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames,
                                       int direction) {
  PyObject *given[2]; /* fd, callback */
  if (bind_arguments(parameters, args, nargs, kwnames, given) < 0 ||
      descriptor_check_fileobj(self, given[0]) < 0)
    return NULL;
  Handle *handle =
      descriptor_add(self, given[0], given[1], args + 2, nargs > 2 ? nargs - 2 : 0, direction);
  if (handle == NULL)
    return NULL;
  Py_DECREF(handle);
  Py_RETURN_NONE;
}

static PyObject *descriptor_remove_public(Loop *self, const Parameters *parameters,
                                          PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *kwnames, int direction) {
  PyObject *fd;
  if (bind_arguments(parameters, args, nargs, kwnames, &fd) < 0 ||
      descriptor_check_fileobj(self, fd) < 0)
    return NULL;
  return descriptor_remove(self, fd, direction);
}

static PyObject *descriptor_add_private(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                                        int direction) {
  if (nargs < 2) {
    PyErr_SetString(PyExc_TypeError, "a file descriptor and a callback are needed");
    return NULL;
  }
  return (PyObject *)descriptor_add(self, args[0], args[1], args + 2, nargs - 2, direction);
}

PyObject *loop_add_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {"add_reader", {"fd", "callback"}, 2, 2, true};
  return descriptor_add_public(self, &parameters, args, nargs, kwnames, READ);
}

PyObject *loop_add_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
  static const Parameters parameters = {"add_writer", {"fd", "callback"}, 2, 2, true};
  return descriptor_add_public(self, &parameters, args, nargs, kwnames, WRITE);
}

PyObject *loop_remove_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames) {
  static const Parameters parameters = {"remove_reader", {"fd"}, 1, 1, false};
  return descriptor_remove_public(self, &parameters, args, nargs, kwnames, READ);
}

PyObject *loop_remove_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames) {
  static const Parameters parameters = {"remove_writer", {"fd"}, 1, 1, false};
  return descriptor_remove_public(self, &parameters, args, nargs, kwnames, WRITE);
}

PyObject *loop__add_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs) {
  return descriptor_add_private(self, args, nargs, READ);
}

PyObject *loop__add_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs) {
  return descriptor_add_private(self, args, nargs, WRITE);
}

PyObject *loop__remove_reader(Loop *self, PyObject *fd) {
  return descriptor_remove(self, fd, READ);
}

PyObject *loop__remove_writer(Loop *self, PyObject *fd) {
  return descriptor_remove(self, fd, WRITE);
}
