/* core.fs(): makes a file system job from Python arguments and submits it for
 * the running loop. Everything about the arguments that can be wrong is found
 * here, before anything is submitted. */
#include "core.h"

/* The path as the caller will see it in errors, and its bytes, which live as
 * long as `*keep`. */
const char *path_bytes(PyObject *given, PyObject **shown, PyObject **keep) {
  PyObject *path = PyOS_FSPath(given);
  if (path == NULL)
    return NULL;
  *shown = path;
  const char *bytes;
  Py_ssize_t length;
  if (PyUnicode_Check(path) && PyUnicode_IS_COMPACT_ASCII(path)) {
    bytes = (const char *)PyUnicode_1BYTE_DATA(path);
    length = PyUnicode_GET_LENGTH(path);
  } else {
    *keep = PyUnicode_Check(path) ? PyUnicode_EncodeFSDefault(path) : Py_NewRef(path);
    if (*keep == NULL)
      return NULL;
    bytes = PyBytes_AS_STRING(*keep);
    length = PyBytes_GET_SIZE(*keep);
  }
  if (strlen(bytes) != (size_t)length) {
    PyErr_SetString(PyExc_ValueError, "embedded null byte");
    return NULL;
  }
  return bytes;
}

/* fs(op, path, path2=None, data=None, flags=0, number=0, option=None) */
PyObject *core_fs(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  if (nargs < 2 || nargs > 7) {
    PyErr_SetString(PyExc_TypeError, "fs() takes two to seven arguments");
    return NULL;
  }
  uvw_fs_args a = {0};
  PyObject *keep = NULL, *keep2 = NULL;
  CompletionQueue *queue = NULL;
  uvw_fs *fs;
  Job *job = job_new(NULL, NULL);
  if (job == NULL)
    return NULL;
  a.op = (int)PyLong_AsLong(args[0]);
  if (nargs > 4)
    a.flags = (int)PyLong_AsLong(args[4]);
  if (nargs > 5)
    a.number = PyLong_AsLongLong(args[5]);
  if (PyErr_Occurred())
    goto failed;
  a.path = path_bytes(args[1], &job->path, &keep);
  if (a.path == NULL)
    goto failed;
  job->as_bytes = PyBytes_Check(job->path);
  if (a.op == UVW_FS_COPY || a.op == UVW_FS_RENAME || a.op == UVW_FS_SYMLINK) {
    a.path2 = path_bytes(nargs > 2 ? args[2] : Py_None, &job->path2, &keep2);
    if (a.path2 == NULL)
      goto failed;
  }
  if (a.op == UVW_FS_WRITE || a.op == UVW_FS_APPEND || a.op == UVW_FS_UTIMES) {
    if (PyObject_GetBuffer(nargs > 3 ? args[3] : Py_None, &job->data, PyBUF_SIMPLE) < 0)
      goto failed;
    a.data = job->data.buf;
    a.size = (size_t)job->data.len;
  }
  if (nargs > 6 && args[6] != Py_None)
    job->option = Py_NewRef(args[6]);
  queue = queue_to_submit();
  if (queue == NULL || !queue_is_open(queue))
    goto failed;
  fs = uvw_fs_new(&a, queue->completions, NULL);
  if (fs == NULL) {
    PyErr_NoMemory();
    goto failed;
  }
  job->queue = queue;
  job->loop = Py_NewRef(queue->loop);
  job->shape = shape_fs;
  Py_XDECREF(keep);
  Py_XDECREF(keep2);
  PyObject *submitted = job_submit(job, &fs->job);
  Py_DECREF(queue);
  return submitted;

failed:
  Py_XDECREF(queue);
  Py_XDECREF(keep);
  Py_XDECREF(keep2);
  Py_DECREF(job);
  return NULL;
}
