/* core.zlib() and its kin: zlib jobs from Python arguments, for the running
 * loop. uvworks.zlib has checked the options; here it is the types, so that no
 * mistake of it can do harm. */
#include "core.h"
#include "zlib_jobs.h"

#include <errno.h>

static PyObject *make_error; /* (trouble, number, code, message) -> exception */
static PyObject *lane_name;
static const char capsule_name[] = "uvworks._core.zlib_stream";

/* How long the loop's thread may compress by itself, in nanoseconds, before
 * it has to go on with its loop. */
#define NOW_MOST 100000u

/* Results ----------------------------------------------------------------- */

static int give_memory(Job *self, uvw_job *job) {
  uvw_zlib *z = (uvw_zlib *)job;
  if (z->length > PY_SSIZE_T_MAX - 64) {
    PyErr_NoMemory();
    return -1;
  }
  self->content = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)z->length);
  if (self->content == NULL)
    return -1;
  z->target = (uint8_t *)PyBytes_AS_STRING(self->content);
  return 0;
}

static PyObject *raise_failure(Job *self, int number, const uvw_zlib_failure *failure) {
  if (self->exception != NULL) {
    raise_again(self->exception);
    return NULL;
  }
  if (number == ENOMEM || (number == UVW_EFAILED && failure->trouble == UVW_ZLIB_NO_MEMORY))
    return PyErr_NoMemory();
  if (number != UVW_EFAILED) {
    errno = number;
    return PyErr_SetFromErrno(PyExc_OSError);
  }
  PyObject *error = PyObject_CallFunction(make_error, "iizz", failure->trouble, failure->number,
                                          failure->code, failure->message);
  if (error != NULL) {
    raise_again(error);
    Py_DECREF(error);
  }
  return NULL;
}

static PyObject *shape_output(Job *self, uvw_job *job) {
  uvw_zlib *z = (uvw_zlib *)job;
  if (job->error != 0)
    return raise_failure(self, job->error, &z->failure);
  if (z->target == NULL)
    return PyBytes_FromStringAndSize((const char *)z->buffer, (Py_ssize_t)z->length);
  PyObject *content = self->content;
  self->content = NULL;
  return content;
}

/* (output, bytes of input used, whether the compressed data has ended) */
static PyObject *shape_all(Job *self, uvw_job *job) {
  uvw_zlib *z = (uvw_zlib *)job;
  PyObject *output = shape_output(self, job);
  return output != NULL
             ? Py_BuildValue("NnN", output, (Py_ssize_t)z->offset, PyBool_FromLong(z->ended))
             : NULL;
}

/* Arguments --------------------------------------------------------------- */

static int as_int(PyObject *value, int *out) {
  long number = PyLong_AsLong(value);
  if (number == -1 && PyErr_Occurred())
    return -1;
  if (number < INT_MIN || number > INT_MAX) {
    PyErr_SetString(PyExc_OverflowError, "number out of range");
    return -1;
  }
  *out = (int)number;
  return 0;
}

/* None is no limit. */
static int as_limit(PyObject *value, uint64_t *out) {
  if (value == Py_None) {
    *out = UINT64_MAX;
    return 0;
  }
  *out = PyLong_AsUnsignedLongLong(value);
  return PyErr_Occurred() ? -1 : 0;
}

static int as_bytes(PyObject *value, const void **data, size_t *size) {
  if (value == Py_None)
    return 0;
  if (!PyBytes_Check(value)) {
    PyErr_SetString(PyExc_TypeError, "expected bytes or None");
    return -1;
  }
  *data = PyBytes_AS_STRING(value);
  *size = (size_t)PyBytes_GET_SIZE(value);
  return 0;
}

/* (level, window_bits, mem_level, strategy, dictionary, params); what it
 * refers to lives as long as the tuple. */
static int as_config(PyObject *format, PyObject *options, uvw_zlib_config *config) {
  const void *params = NULL;
  size_t size = 0;
  config->total = UINT64_MAX;
  if (!PyTuple_Check(options) || PyTuple_GET_SIZE(options) != 6) {
    PyErr_SetString(PyExc_TypeError, "options: expected a tuple of six");
    return -1;
  }
  if (as_int(format, &config->format) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 0), &config->level) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 1), &config->window_bits) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 2), &config->mem_level) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 3), &config->strategy) < 0 ||
      as_bytes(PyTuple_GET_ITEM(options, 4), &config->dictionary, &config->dictionary_size) < 0 ||
      as_bytes(PyTuple_GET_ITEM(options, 5), &params, &size) < 0)
    return -1;
  config->params = params;
  config->param_count = size / (2 * sizeof(*config->params));
  return 0;
}

static int as_data(PyObject *value, Job *job, uvw_zlib_args *a) {
  if (PyObject_GetBuffer(value, &job->data, PyBUF_SIMPLE) < 0)
    return -1;
  a->data = job->data.buf;
  a->size = (size_t)job->data.len;
  a->changeable = !PyBytes_Check(value);
  return 0;
}

/* Submitting -------------------------------------------------------------- */

/* Does a small job at once, as long as the loop has had its turn lately.
 * Returns a new reference to the result, NULL with an exception, or NULL. */
static PyObject *try_now(CompletionQueue *queue, Job *job, uvw_zlib *z) {
  if (queue->busy_now > NOW_MOST)
    return NULL;
  uint64_t begun = uv_hrtime();
  bool done = uvw_zlib_try_now(z);
  queue->busy_now += uv_hrtime() - begun;
  return done ? job->shape(job, &z->job) : NULL;
}

/* A new reference to the queue of the running loop, unless to wait here for the
 * lane could never end. */
static CompletionQueue *find_queue(void) {
  PyObject *checked = core_check_deadlock(NULL, lane_name);
  if (checked == NULL)
    return NULL;
  Py_DECREF(checked);
  return queue_to_submit();
}

static PyObject *submit(Job *job, CompletionQueue *queue, uvw_job *engine_job) {
  job->queue = queue;
  job->loop = Py_NewRef(queue->loop);
  job->grant = give_memory;
  return job_submit((Job *)Py_NewRef((PyObject *)job), engine_job);
}

static PyObject *pass_on(Job *job, const uvw_zlib_args *a, uint64_t now_most) {
  CompletionQueue *queue = find_queue();
  if (queue == NULL)
    return NULL;
  uvw_zlib *z = uvw_zlib_new(a, queue->completions, NULL);
  PyObject *result = NULL;
  if (z == NULL && errno == EBUSY) {
    PyErr_SetString(PyExc_RuntimeError, "the stream is busy with another operation");
  } else if (z == NULL) {
    PyErr_NoMemory();
  } else {
    if (a->size <= now_most && a->stream == NULL)
      result = try_now(queue, job, z);
    if (result != NULL || PyErr_Occurred())
      uvw_job_free(&z->job);
    else
      result = submit(job, queue, &z->job);
  }
  Py_DECREF(queue);
  return result;
}

/* zlib(format, data, options, flush, limit, now_most, info) */
PyObject *core_zlib(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_zlib_args a = {.enough = UINT64_MAX};
  uint64_t now_most;
  if (nargs != 7) {
    PyErr_SetString(PyExc_TypeError, "zlib() takes seven arguments");
    return NULL;
  }
  Job *job = job_new(NULL, NULL);
  if (job == NULL)
    return NULL;
  PyObject *result = NULL;
  if (as_data(args[1], job, &a) == 0 && as_config(args[0], args[2], &a.config) == 0 &&
      as_int(args[3], &a.flush) == 0 && as_limit(args[4], &a.limit) == 0 &&
      as_limit(args[5], &now_most) == 0) {
    a.config.total = a.size;
    job->option = Py_NewRef(args[2]);
    job->shape = args[6] == Py_True ? shape_all : shape_output;
    result = pass_on(job, &a, now_most);
  }
  Py_DECREF(job);
  return result;
}

/* Streams ----------------------------------------------------------------- */

static void free_stream(PyObject *capsule) {
  uvw_zlib_stream_unref(PyCapsule_GetPointer(capsule, capsule_name));
}

/* zlib_stream(format, options, total) */
PyObject *core_zlib_stream(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_zlib_config config = {0};
  if (nargs != 3) {
    PyErr_SetString(PyExc_TypeError, "zlib_stream() takes three arguments");
    return NULL;
  }
  if (as_config(args[0], args[1], &config) < 0 || as_limit(args[2], &config.total) < 0)
    return NULL;
  uvw_zlib_stream *stream = uvw_zlib_stream_new(&config);
  if (stream == NULL)
    return PyErr_NoMemory();
  PyObject *capsule = PyCapsule_New(stream, capsule_name, free_stream);
  if (capsule == NULL)
    uvw_zlib_stream_unref(stream);
  return capsule;
}

/* zlib_write(stream, action, data, flush, limit, enough, level, strategy) */
PyObject *core_zlib_write(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_zlib_args a = {0};
  if (nargs != 8) {
    PyErr_SetString(PyExc_TypeError, "zlib_write() takes eight arguments");
    return NULL;
  }
  a.stream = PyCapsule_GetPointer(args[0], capsule_name);
  if (a.stream == NULL)
    return NULL;
  Job *job = job_new(NULL, NULL);
  if (job == NULL)
    return NULL;
  PyObject *result = NULL;
  if (as_int(args[1], &a.action) == 0 && as_data(args[2], job, &a) == 0 &&
      as_int(args[3], &a.flush) == 0 && as_limit(args[4], &a.limit) == 0 &&
      as_limit(args[5], &a.enough) == 0 && as_int(args[6], &a.config.level) == 0 &&
      as_int(args[7], &a.config.strategy) == 0) {
    job->shape = shape_all;
    result = pass_on(job, &a, 0);
  }
  Py_DECREF(job);
  return result;
}

/* Files ------------------------------------------------------------------- */

static PyObject *shape_file(Job *self, uvw_job *job) {
  uvw_zlib_file *f = (uvw_zlib_file *)job;
  PyObject *path = f->about_target ? self->path2 : self->path;
  PyObject *text;
  switch (job->error) {
  case 0:
    return PyLong_FromUnsignedLongLong(f->total);
  case ENOMEM:
  case UVW_EFAILED:
    return raise_failure(self, job->error, &f->failure);
  case UVW_ESAMEFILE:
    text = PyUnicode_FromFormat("%R and %R are the same file", self->path, self->path2);
    break;
  case UVW_ESPECIAL:
    text = PyUnicode_FromFormat("%R is not a regular file", path);
    break;
  default:
    errno = job->error;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
  }
  if (text != NULL) {
    PyErr_SetObject(job->error == UVW_ESAMEFILE ? hooks.same_file : hooks.special_file, text);
    Py_DECREF(text);
  }
  return NULL;
}

/* zlib_file(format, src, dst, options, flush, limit) */
PyObject *core_zlib_file(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_zlib_config config = {0};
  uint64_t limit;
  int flush;
  if (nargs != 6) {
    PyErr_SetString(PyExc_TypeError, "zlib_file() takes six arguments");
    return NULL;
  }
  Job *job = job_new(NULL, NULL);
  if (job == NULL)
    return NULL;
  PyObject *keep = NULL, *keep2 = NULL, *result = NULL;
  const char *path = path_bytes(args[1], &job->path, &keep);
  const char *path2 = path != NULL ? path_bytes(args[2], &job->path2, &keep2) : NULL;
  if (path2 != NULL && as_config(args[0], args[3], &config) == 0 && as_int(args[4], &flush) == 0 &&
      as_limit(args[5], &limit) == 0) {
    job->option = Py_NewRef(args[3]);
    job->shape = shape_file;
    CompletionQueue *queue = find_queue();
    uvw_zlib_file *f =
        queue != NULL ? uvw_zlib_file_new(&config, path, path2, flush, limit, queue->completions)
                      : NULL;
    if (f != NULL)
      result = submit(job, queue, &f->job);
    else if (queue != NULL)
      PyErr_NoMemory();
    Py_XDECREF(queue);
  }
  Py_XDECREF(keep);
  Py_XDECREF(keep2);
  Py_DECREF(job);
  return result;
}

/* The rest ---------------------------------------------------------------- */

/* crc32(data, value) */
PyObject *core_crc32(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  Py_buffer data;
  if (nargs != 2) {
    PyErr_SetString(PyExc_TypeError, "crc32() takes two arguments");
    return NULL;
  }
  unsigned long value = PyLong_AsUnsignedLongMask(args[1]);
  if (PyErr_Occurred() || PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0)
    return NULL;
  uint32_t sum = (uint32_t)value;
  if (data.len < 65536) {
    sum = uvw_zlib_crc32(sum, data.buf, (size_t)data.len);
  } else {
    Py_BEGIN_ALLOW_THREADS
    sum = uvw_zlib_crc32(sum, data.buf, (size_t)data.len);
    Py_END_ALLOW_THREADS
  }
  PyBuffer_Release(&data);
  return PyLong_FromUnsignedLong(sum);
}

/* zlib_setup(make_error) */
PyObject *core_zlib_setup(PyObject *Py_UNUSED(module), PyObject *function) {
  if (lane_name == NULL && (lane_name = PyUnicode_InternFromString("cpu")) == NULL)
    return NULL;
  Py_XSETREF(make_error, Py_NewRef(function));
  Py_RETURN_NONE;
}
