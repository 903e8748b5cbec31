/* File system jobs: their arguments, as the rows of engine.h's table name them,
 * and their results. Everything about the arguments that can be wrong is found
 * here, before anything is submitted. */
#include "core.h"

#include <errno.h>

typedef struct {
  Job base;
  Path path, path2;
  PyObject *option;  /* read: encoding; readdir: the entry class; or NULL */
  PyObject *content; /* of a read or readdir, under construction */
  Py_buffer data;
} FsJob;

static void fs_drop(Job *job) {
  FsJob *self = (FsJob *)job;
  buffer_release(&self->data);
  path_clear(&self->path);
  path_clear(&self->path2);
  Py_CLEAR(self->option);
  Py_CLEAR(self->content);
}

static int fs_visit(Job *job, visitproc visit, void *arg) {
  FsJob *self = (FsJob *)job;
  Py_VISIT(self->path.shown);
  Py_VISIT(self->path2.shown);
  Py_VISIT(self->option);
  Py_VISIT(self->content);
  Py_VISIT(self->data.obj);
  return 0;
}

/* Results ------------------------------------------------------------------- */

static PyTypeObject *stat_result;
/* Where os.stat_result keeps what posixmodule.c puts behind its ten visible
 * items: float times, nanosecond times, and three Linux fields. */
enum { STAT_FLOATS = 10, STAT_NANOSECONDS = 13, STAT_REST = 16, STAT_FIELDS = 19 };

static int fs_find_stat_result(void) {
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

static PyObject *fs_shape_stat(const struct stat *st) {
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

static PyObject *fs_name(const FsJob *self, const char *name, size_t length) {
  if (PyBytes_Check(self->path.shown))
    return PyBytes_FromStringAndSize(name, (Py_ssize_t)length);
  return PyUnicode_DecodeFSDefaultAndSize(name, (Py_ssize_t)length);
}

/* One page of a directory goes to the list. */
static int fs_take(Job *job, uvw_job *engine_job) {
  FsJob *self = (FsJob *)job;
  uvw_fs *fs = (uvw_fs *)engine_job;
  if (self->content == NULL && (self->content = PyList_New(0)) == NULL)
    return -1;
  for (size_t at = 0; at < fs->length;) {
    char type = fs->buffer[at++];
    size_t length = strlen(fs->buffer + at);
    PyObject *item = fs_name(self, fs->buffer + at, length);
    if (item != NULL && self->option != NULL) {
      PyObject *kind = PyUnicode_FromStringAndSize(&type, 1);
      PyObject *args[] = {item, self->path.shown, kind};
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

/* A bytes object of the size that the file has; what is read already moves there. */
static int fs_grant(Job *job, uvw_job *engine_job) {
  FsJob *self = (FsJob *)job;
  uvw_fs *fs = (uvw_fs *)engine_job;
  if (fs->want > PY_SSIZE_T_MAX - 64) {
    PyErr_NoMemory();
    return -1;
  }
  if (fs->borrowed) {
    fs->buffer = NULL;
    if (_PyBytes_Resize(&self->content, (Py_ssize_t)fs->want) < 0)
      return -1;
  } else {
    self->content = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)fs->want);
    if (self->content == NULL)
      return -1;
    if (fs->length > 0)
      memcpy(PyBytes_AS_STRING(self->content), fs->buffer, fs->length);
    uvw_buffer_put(fs->buffer, fs->capacity);
    fs->borrowed = true;
  }
  fs->buffer = PyBytes_AS_STRING(self->content);
  fs->capacity = fs->want;
  return 0;
}

static int fs_park(uvw_job *engine_job) {
  uvw_fs *fs = (uvw_fs *)engine_job;
  return engine_job->ask == UVW_ASK_WRITABLE && fs->fd2 >= 0 ? fs->fd2 : fs->fd;
}

static PyObject *fs_shape_content(FsJob *self, uvw_fs *fs) {
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

static PyObject *fs_shape_list(FsJob *self, uvw_fs *fs) {
  if (fs_take(&self->base, &fs->job) < 0)
    return NULL;
  PyObject *list = self->content;
  self->content = NULL;
  return list;
}

static PyObject *fs_raise(FsJob *self, uvw_fs *fs) {
  PyObject *path = self->path.shown, *path2 = self->path2.shown;
  int error = fs->job.error;
  if (self->base.exception != NULL) {
    raise_again(self->base.exception);
    return NULL;
  }
  if (error == EFBIG && fs->max_size != UINT64_MAX)
    return raise_os_error_text(error,
                               PyUnicode_FromFormat("File too large: more than max_size=%llu bytes",
                                                    (unsigned long long)fs->max_size),
                               path);
  if (fs->error_path != NULL) {
    PyObject *below = fs_name(self, fs->error_path, strlen(fs->error_path));
    if (below != NULL)
      raise_os_error(error, below, NULL);
    Py_XDECREF(below);
    return NULL;
  }
  return fs->both_paths ? raise_os_error(error, path, path2)
                        : raise_job_error(error, path, path2, fs->second_path);
}

static PyObject *fs_shape(Job *job, uvw_job *engine_job) {
  FsJob *self = (FsJob *)job;
  uvw_fs *fs = (uvw_fs *)engine_job;
  if (engine_job->error != 0)
    return fs_raise(self, fs);
  switch (uvw_fs_operations[fs->op].result) {
  case UVW_FS_STAT_RESULT:
    return fs_shape_stat(&fs->st);
  case UVW_FS_CONTENT:
    return fs_shape_content(self, fs);
  case UVW_FS_ENTRIES:
    return fs_shape_list(self, fs);
  case UVW_FS_NAME:
    if (fs->buffer != NULL)
      return fs_name(self, fs->buffer, fs->length);
    break; /* mkdir that had nothing to make */
  case UVW_FS_NOTHING:
    break;
  }
  Py_RETURN_NONE;
}

static const JobKind fs_kind = {
    .size = sizeof(FsJob),
    .shape = fs_shape,
    .grant = fs_grant,
    .take = fs_take,
    .park = fs_park,
    .visit = fs_visit,
    .drop = fs_drop,
};

/* Arguments ----------------------------------------------------------------- */

/* One argument, by its letter in the operation's row. */
static int fs_argument(char letter, PyObject *value, FsJob *self, uvw_fs_args *a, int *times) {
  switch (letter) {
  case 'p':
    return as_path(value, &self->path);
  case 'q':
    return as_path(value, &self->path2);
  case 'm':
    return as_int(value, "mode", &a->mode);
  case 'l':
    return as_int64(value, "length", &a->length);
  case 's':
    return as_limit(value, &a->max_size);
  case 't':
    return as_int64(value, "time", &a->times[(*times)++]);
  case 'x':
    return as_int(value, "flags", &a->flags);
  case 'd':
    return PyObject_GetBuffer(value, &self->data, PyBUF_SIMPLE);
  default: /* 'o' */
    self->option = value != Py_None ? Py_NewRef(value) : NULL;
    return 0;
  }
}

/* Any of the functions of core.fs; `op` is its number. */
static PyObject *fs_call(PyObject *op, PyObject *const *args, Py_ssize_t nargs) {
  uvw_fs_args a = {.op = (int)PyLong_AsLong(op), .max_size = UINT64_MAX};
  const uvw_fs_operation *row = &uvw_fs_operations[a.op];
  if (nargs != (Py_ssize_t)strlen(row->arguments))
    return PyErr_Format(PyExc_TypeError, "%s() takes %zu arguments, got %zd", row->name,
                        strlen(row->arguments), nargs);
  FsJob *job = (FsJob *)job_new(&fs_kind);
  if (job == NULL)
    return NULL;
  int times = 0;
  for (Py_ssize_t i = 0; i < nargs; i++)
    if (fs_argument(row->arguments[i], args[i], job, &a, &times) < 0)
      goto failed;
  if (job_open(&job->base) < 0)
    goto failed;
  a.path = job->path.bytes;
  a.path2 = job->path2.bytes;
  a.data = job->data.buf;
  a.size = (size_t)job->data.len;
  uvw_fs *fs = uvw_fs_new(&a, job->base.queue->completions, NULL);
  if (fs != NULL)
    return job_submit(&job->base, &fs->job);
  PyErr_NoMemory();

failed:
  Py_DECREF(job);
  return NULL;
}

static int fs_add_function(PyObject *namespace, int op) {
  static PyMethodDef definitions[UVW_FS_OP_COUNT];
  PyMethodDef *definition = &definitions[op];
  *definition = (PyMethodDef){uvw_fs_operations[op].name, (PyCFunction)(void (*)(void))fs_call,
                              METH_FASTCALL, NULL};
  PyObject *number = PyLong_FromLong(op);
  PyObject *function = number != NULL ? PyCFunction_New(definition, number) : NULL;
  Py_XDECREF(number);
  int outcome =
      function != NULL ? PyObject_SetAttrString(namespace, definition->ml_name, function) : -1;
  Py_XDECREF(function);
  return outcome;
}

/* core.fs: a function for each operation, and the flags. */
int fs_init(PyObject *module) {
  static const Constant flags[] = {
#define FLAG(NAME, value, about) {#NAME, value},
      UVW_FS_FLAGS(FLAG)
#undef FLAG
          {NULL, 0}};
  PyObject *namespace = fs_find_stat_result() == 0 ? add_namespace(module, "fs", flags) : NULL;
  int outcome = namespace != NULL ? 0 : -1;
  for (int op = 0; op < UVW_FS_OP_COUNT && outcome == 0; op++)
    outcome = fs_add_function(namespace, op);
  return outcome;
}
