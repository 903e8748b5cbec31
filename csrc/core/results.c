/* From what a job produced to Python objects: os.stat_result, bytes and str,
 * lists of names, and OSError. errno values become the right subclass of
 * OSError by themselves, with the path the caller gave. */
#include "core.h"

#include <errno.h>

static PyTypeObject *stat_result;
/* Where os.stat_result keeps what posixmodule.c puts behind its ten visible
 * items: float times, nanosecond times, and three Linux fields. */
enum { STAT_FLOATS = 10, STAT_NANOSECONDS = 13, STAT_REST = 16, STAT_FIELDS = 19 };

int results_init(void) {
  PyObject *os = PyImport_ImportModule("os");
  if (os == NULL)
    return -1;
  stat_result = (PyTypeObject *)PyObject_GetAttrString(os, "stat_result");
  Py_DECREF(os);
  if (stat_result == NULL)
    return -1;
  PyObject *fields = PyObject_GetAttrString((PyObject *)stat_result, "n_fields");
  if (fields == NULL)
    return -1;
  long count = PyLong_AsLong(fields);
  Py_DECREF(fields);
  if (count < STAT_FIELDS) {
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_ImportError, "os.stat_result lacks fields that uvworks fills in");
    return -1;
  }
  return 0;
}

#ifdef __APPLE__
#define st_atim st_atimespec
#define st_mtim st_mtimespec
#define st_ctim st_ctimespec
#endif

static PyObject *shape_stat(const struct stat *st) {
  PyObject *result = PyStructSequence_New(stat_result);
  if (result == NULL)
    return NULL;
  const struct timespec times[3] = {st->st_atim, st->st_mtim, st->st_ctim};
  PyObject *items[STAT_FIELDS] = {
      PyLong_FromUnsignedLong(st->st_mode),
      PyLong_FromUnsignedLongLong(st->st_ino),
      PyLong_FromUnsignedLongLong((unsigned long long)st->st_dev),
      PyLong_FromUnsignedLongLong((unsigned long long)st->st_nlink),
      PyLong_FromLongLong((long long)st->st_uid),
      PyLong_FromLongLong((long long)st->st_gid),
      PyLong_FromLongLong(st->st_size),
  };
  for (int i = 0; i < 3; i++) {
    long long seconds = times[i].tv_sec;
    long nanoseconds = times[i].tv_nsec;
    items[7 + i] = PyLong_FromLongLong(seconds);
    items[STAT_FLOATS + i] = PyFloat_FromDouble((double)seconds + 1e-9 * (double)nanoseconds);
    /* In 128 bits: years far from 1970 do not fit 64 in nanoseconds. */
    __int128 total = (__int128)seconds * 1000000000 + nanoseconds;
    if (total >= INT64_MIN && total <= INT64_MAX) {
      items[STAT_NANOSECONDS + i] = PyLong_FromLongLong((long long)total);
    } else {
      PyObject *s = PyLong_FromLongLong(seconds), *g = PyLong_FromLong(1000000000);
      PyObject *n = PyLong_FromLong(nanoseconds);
      PyObject *p = s != NULL && g != NULL ? PyNumber_Multiply(s, g) : NULL;
      items[STAT_NANOSECONDS + i] = p != NULL && n != NULL ? PyNumber_Add(p, n) : NULL;
      Py_XDECREF(s);
      Py_XDECREF(g);
      Py_XDECREF(n);
      Py_XDECREF(p);
    }
  }
  items[STAT_REST] = PyLong_FromLong((long)st->st_blksize);
  items[STAT_REST + 1] = PyLong_FromLongLong(st->st_blocks);
  items[STAT_REST + 2] = PyLong_FromUnsignedLongLong((unsigned long long)st->st_rdev);
  bool whole = true;
  for (int i = 0; i < STAT_FIELDS; i++) {
    whole = whole && items[i] != NULL;
    PyStructSequence_SetItem(result, i, items[i]);
  }
  if (!whole) {
    Py_DECREF(result);
    return NULL;
  }
  return result;
}

static PyObject *name_object(const Job *self, const char *name, size_t length) {
  if (self->as_bytes)
    return PyBytes_FromStringAndSize(name, (Py_ssize_t)length);
  return PyUnicode_DecodeFSDefaultAndSize(name, (Py_ssize_t)length);
}

/* One page of a directory goes to the list. */
int take_page(Job *self, uvw_fs *fs) {
  if (self->content == NULL && (self->content = PyList_New(0)) == NULL)
    return -1;
  for (size_t at = 0; at < fs->length;) {
    char type = fs->buffer[at++];
    size_t length = strlen(fs->buffer + at);
    PyObject *item = name_object(self, fs->buffer + at, length);
    if (item != NULL && self->option != NULL) {
      PyObject *kind = PyUnicode_FromStringAndSize(&type, 1);
      PyObject *args[] = {item, self->path, kind};
      PyObject *entry = kind != NULL ? PyObject_Vectorcall(self->option, args, 3, NULL) : NULL;
      Py_XDECREF(kind);
      Py_SETREF(item, entry);
    }
    if (item == NULL || PyList_Append(self->content, item) < 0) {
      Py_XDECREF(item);
      return -1;
    }
    Py_DECREF(item);
    at += length + 1;
  }
  fs->length = 0;
  return 0;
}

static PyObject *shape_list(Job *self, uvw_fs *fs) {
  if (take_page(self, fs) < 0)
    return NULL;
  PyObject *list = self->content;
  self->content = NULL;
  return list;
}

static PyObject *shape_content(Job *self, uvw_fs *fs) {
  Py_ssize_t length = (Py_ssize_t)fs->length;
  if (self->option != NULL) {
    const char *encoding = PyUnicode_AsUTF8(self->option);
    return encoding != NULL ? PyUnicode_Decode(fs->buffer, length, encoding, "strict") : NULL;
  }
  if (!fs->borrowed)
    return PyBytes_FromStringAndSize(fs->buffer, length);
  PyObject *content = self->content;
  self->content = NULL;
  if (PyBytes_GET_SIZE(content) != length)
    _PyBytes_Resize(&content, length);
  return content;
}

static PyObject *raise_text(PyObject *class, PyObject *text) {
  if (text != NULL) {
    PyErr_SetObject(class, text);
    Py_DECREF(text);
  }
  return NULL;
}

static PyObject *raise_os_error(Job *self, uvw_fs *fs) {
  if (self->exception != NULL) {
    raise_again(self->exception);
    return NULL;
  }
  PyObject *path = fs->second_path ? self->path2 : self->path;
  switch (fs->job.error) {
  case UVW_ESAMEFILE:
    return raise_text(hooks.same_file,
                      PyUnicode_FromFormat("%R and %R are the same file", self->path, self->path2));
  case UVW_ESPECIAL:
    return raise_text(hooks.special_file, PyUnicode_FromFormat("%R is a named pipe", path));
  case ENOMEM:
    return PyErr_NoMemory();
  case EFBIG:
    if (fs->op == UVW_FS_READ && fs->number >= 0) {
      PyObject *error = PyObject_CallFunction(
          PyExc_OSError, "iNO", EFBIG,
          PyUnicode_FromFormat("File too large: more than max_size=%lld bytes", fs->number), path);
      if (error != NULL) {
        raise_again(error);
        Py_DECREF(error);
      }
      return NULL;
    }
    break;
  }
  PyObject *below = NULL;
  if (fs->error_path != NULL) {
    below = name_object(self, fs->error_path, strlen(fs->error_path));
    if (below == NULL)
      return NULL;
    path = below;
  }
  errno = fs->job.error;
  PyErr_SetFromErrnoWithFilenameObjects(PyExc_OSError, path, fs->both_paths ? self->path2 : NULL);
  Py_XDECREF(below);
  return NULL;
}

PyObject *shape_fs(Job *self, uvw_job *job) {
  uvw_fs *fs = (uvw_fs *)job;
  if (job->error != 0)
    return raise_os_error(self, fs);
  switch (fs->op) {
  case UVW_FS_STAT:
  case UVW_FS_LSTAT:
    return shape_stat(&fs->st);
  case UVW_FS_READ:
    return shape_content(self, fs);
  case UVW_FS_READDIR:
    return shape_list(self, fs);
  case UVW_FS_MKDIR:
  case UVW_FS_MKDTEMP:
  case UVW_FS_READLINK:
  case UVW_FS_REALPATH:
    if (fs->buffer != NULL)
      return name_object(self, fs->buffer, fs->length);
    break;
  }
  Py_RETURN_NONE;
}
