/* core.zlib() and its kin: zlib jobs from Python arguments, for the running
 * loop. uvworks.zlib has checked the options; here it is the types, so that no
 * mistake of it can do harm. */
#include "core.h"
#include "zlib_jobs.h"

#include <errno.h>

static PyObject *zlib_make_error; /* (trouble, number, code, message) -> exception */
static const char zlib_capsule_name[] = "uvworks._core.zlib_stream";

/* How long the loop's thread may compress by itself, in nanoseconds, before
 * it has to go on with its loop. */
#define NOW_MOST 100000u

typedef struct {
  Job base;
  PyObject *options; /* what the engine's configuration refers to is this tuple's */
  Path path, path2;  /* of files */
  PyObject *content; /* of a large result */
  Py_buffer data;
} ZlibJob;

static void zlib_drop(Job *job) {
  ZlibJob *self = (ZlibJob *)job;
  buffer_release(&self->data);
  path_clear(&self->path);
  path_clear(&self->path2);
  Py_CLEAR(self->options);
  Py_CLEAR(self->content);
}

static int zlib_visit(Job *job, visitproc visit, void *arg) {
  ZlibJob *self = (ZlibJob *)job;
  Py_VISIT(self->options);
  Py_VISIT(self->path.shown);
  Py_VISIT(self->path2.shown);
  Py_VISIT(self->data.obj);
  return 0;
}

/* Results ----------------------------------------------------------------- */

static int zlib_grant(Job *job, uvw_job *engine_job) {
  ZlibJob *self = (ZlibJob *)job;
  uvw_zlib *z = (uvw_zlib *)engine_job;
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

static PyObject *zlib_raise(ZlibJob *self, int error, const uvw_zlib_failure *failure,
                            bool about_target) {
  if (self->base.exception != NULL) {
    raise_again(self->base.exception);
    return NULL;
  }
  if (error == UVW_EFAILED && failure->trouble == UVW_ZLIB_NO_MEMORY)
    return PyErr_NoMemory();
  if (error == UVW_EFAILED) {
    raise_taken(PyObject_CallFunction(zlib_make_error, "iizz", failure->trouble, failure->number,
                                      failure->code, failure->message));
    return NULL;
  }
  return raise_job_error(error, self->path.shown, self->path2.shown, about_target);
}

static PyObject *zlib_shape_output(Job *job, uvw_job *engine_job) {
  ZlibJob *self = (ZlibJob *)job;
  uvw_zlib *z = (uvw_zlib *)engine_job;
  if (engine_job->error != 0)
    return zlib_raise(self, engine_job->error, &z->failure, false);
  if (z->target == NULL)
    return PyBytes_FromStringAndSize((const char *)z->buffer, (Py_ssize_t)z->length);
  PyObject *content = self->content;
  self->content = NULL;
  return content;
}

/* (output, bytes of input used, whether the compressed data has ended) */
static PyObject *zlib_shape_all(Job *self, uvw_job *job) {
  uvw_zlib *z = (uvw_zlib *)job;
  PyObject *output = zlib_shape_output(self, job);
  return output != NULL
             ? Py_BuildValue("NnN", output, (Py_ssize_t)z->offset, PyBool_FromLong(z->ended))
             : NULL;
}

/* Of a file: how long it has become. */
static PyObject *zlib_shape_file(Job *self, uvw_job *job) {
  uvw_zlib_file *f = (uvw_zlib_file *)job;
  return job->error == 0 ? PyLong_FromUnsignedLongLong(f->total)
                         : zlib_raise((ZlibJob *)self, job->error, &f->failure, f->about_target);
}

#define ZLIB_KIND(how)                                                                             \
  {.size = sizeof(ZlibJob),                                                                        \
   .shape = how,                                                                                   \
   .grant = zlib_grant,                                                                            \
   .visit = zlib_visit,                                                                            \
   .drop = zlib_drop}
static const JobKind zlib_output_kind = ZLIB_KIND(zlib_shape_output),
                     zlib_all_kind = ZLIB_KIND(zlib_shape_all),
                     zlib_file_kind = ZLIB_KIND(zlib_shape_file);

/* Arguments --------------------------------------------------------------- */

static int zlib_as_bytes(PyObject *value, const void **data, size_t *size) {
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
static int zlib_as_config(PyObject *format, PyObject *options, uvw_zlib_config *config) {
  const void *params = NULL;
  size_t size = 0;
  config->total = UINT64_MAX;
  if (!PyTuple_Check(options) || PyTuple_GET_SIZE(options) != 6) {
    PyErr_SetString(PyExc_TypeError, "options: expected a tuple of six");
    return -1;
  }
  if (as_int(format, "format", &config->format) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 0), "level", &config->level) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 1), "window_bits", &config->window_bits) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 2), "mem_level", &config->mem_level) < 0 ||
      as_int(PyTuple_GET_ITEM(options, 3), "strategy", &config->strategy) < 0 ||
      zlib_as_bytes(PyTuple_GET_ITEM(options, 4), &config->dictionary, &config->dictionary_size) <
          0 ||
      zlib_as_bytes(PyTuple_GET_ITEM(options, 5), &params, &size) < 0)
    return -1;
  config->params = params;
  config->param_count = size / (2 * sizeof(*config->params));
  return 0;
}

static void zlib_set_data(uvw_zlib_args *a, const ZlibJob *job) {
  a->data = job->data.buf;
  a->size = (size_t)job->data.len;
  a->changeable = !PyBytes_Check(job->data.obj);
}

/* Submitting -------------------------------------------------------------- */

/* Does a small job at once, as long as the loop has had its turn lately.
 * Returns a new reference to the result, NULL with an exception, or NULL. */
static PyObject *zlib_try_now(ZlibJob *job, uvw_zlib *z) {
  CompletionQueue *queue = job->base.queue;
  if (queue->busy_now > NOW_MOST)
    return NULL;
  uint64_t begun = uv_hrtime();
  bool done = uvw_zlib_try_now(z);
  queue->busy_now += uv_hrtime() - begun;
  return done ? job->base.kind->shape(&job->base, &z->job) : NULL;
}

/* Steals the job. */
static PyObject *zlib_submit(ZlibJob *job, const uvw_zlib_args *a, uint64_t now_most) {
  PyObject *result = NULL;
  uvw_zlib *z = NULL;
  if (job_open(&job->base) < 0)
    goto out;
  z = uvw_zlib_new(a, job->base.queue->completions, NULL);
  if (z == NULL) {
    if (errno == EBUSY)
      PyErr_SetString(PyExc_RuntimeError, "the stream is busy with another operation");
    else
      PyErr_NoMemory();
    goto out;
  }
  if (a->size <= now_most && a->stream == NULL)
    result = zlib_try_now(job, z);
  if (result == NULL && !PyErr_Occurred())
    return job_submit(&job->base, &z->job);
  uvw_job_free(&z->job);
out:
  Py_DECREF(job);
  return result;
}

/* zlib(format, data, options, flush, limit, now_most, info) */
static PyObject *core_zlib(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_zlib_args a = {.enough = UINT64_MAX};
  PyObject *format, *options;
  uint64_t now_most;
  bool info;
  Py_buffer data = {0};
  if (arguments("zlib", args, nargs, "ObOiuup", &format, &data, &options, &a.flush, &a.limit,
                &now_most, &info) < 0)
    goto failed;
  ZlibJob *job = (ZlibJob *)job_new(info ? &zlib_all_kind : &zlib_output_kind);
  if (job == NULL)
    goto failed;
  job->data = data;
  if (zlib_as_config(format, options, &a.config) < 0) {
    Py_DECREF(job);
    return NULL;
  }
  zlib_set_data(&a, job);
  a.config.total = a.size;
  job->options = Py_NewRef(options);
  return zlib_submit(job, &a, now_most);

failed:
  buffer_release(&data);
  return NULL;
}

/* Streams ----------------------------------------------------------------- */

static void zlib_free_stream(PyObject *capsule) {
  uvw_zlib_stream_unref(PyCapsule_GetPointer(capsule, zlib_capsule_name));
}

/* zlib_stream(format, options, total) */
static PyObject *core_zlib_stream(PyObject *Py_UNUSED(module), PyObject *const *args,
                                  Py_ssize_t nargs) {
  uvw_zlib_config config = {0};
  PyObject *format, *options;
  uint64_t total;
  if (arguments("zlib_stream", args, nargs, "OOu", &format, &options, &total) < 0 ||
      zlib_as_config(format, options, &config) < 0)
    return NULL;
  config.total = total;
  uvw_zlib_stream *stream = uvw_zlib_stream_new(&config);
  if (stream == NULL)
    return PyErr_NoMemory();
  PyObject *capsule = PyCapsule_New(stream, zlib_capsule_name, zlib_free_stream);
  if (capsule == NULL)
    uvw_zlib_stream_unref(stream);
  return capsule;
}

/* zlib_write(stream, action, data, flush, limit, enough, level, strategy) */
static PyObject *core_zlib_write(PyObject *Py_UNUSED(module), PyObject *const *args,
                                 Py_ssize_t nargs) {
  uvw_zlib_args a = {0};
  PyObject *stream;
  ZlibJob *job = (ZlibJob *)job_new(&zlib_all_kind);
  if (job == NULL ||
      arguments("zlib_write", args, nargs, "Oibiuuii", &stream, &a.action, &job->data, &a.flush,
                &a.limit, &a.enough, &a.config.level, &a.config.strategy) < 0 ||
      (a.stream = PyCapsule_GetPointer(stream, zlib_capsule_name)) == NULL) {
    Py_XDECREF(job);
    return NULL;
  }
  zlib_set_data(&a, job);
  return zlib_submit(job, &a, 0);
}

/* Files ------------------------------------------------------------------- */

/* zlib_file(format, src, dst, options, flush, limit) */
static PyObject *core_zlib_file(PyObject *Py_UNUSED(module), PyObject *const *args,
                                Py_ssize_t nargs) {
  uvw_zlib_config config = {0};
  PyObject *format, *options;
  uint64_t limit;
  int flush;
  ZlibJob *job = (ZlibJob *)job_new(&zlib_file_kind);
  if (job == NULL ||
      arguments("zlib_file", args, nargs, "OffOiu", &format, &job->path, &job->path2, &options,
                &flush, &limit) < 0 ||
      zlib_as_config(format, options, &config) < 0)
    goto failed;
  job->options = Py_NewRef(options);
  if (job_open(&job->base) < 0)
    goto failed;
  uvw_zlib_file *f = uvw_zlib_file_new(&config, job->path.bytes, job->path2.bytes, flush, limit,
                                       job->base.queue->completions);
  if (f != NULL)
    return job_submit(&job->base, &f->job);
  PyErr_NoMemory();

failed:
  Py_XDECREF(job);
  return NULL;
}

/* The rest ---------------------------------------------------------------- */

/* crc32(data, value) */
static PyObject *core_crc32(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  Py_buffer data = {0};
  PyObject *given;
  if (arguments("crc32", args, nargs, "bO", &data, &given) < 0)
    return NULL;
  unsigned long value = PyLong_AsUnsignedLongMask(given);
  if (PyErr_Occurred()) {
    PyBuffer_Release(&data);
    return NULL;
  }
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
static PyObject *core_zlib_setup(PyObject *Py_UNUSED(module), PyObject *function) {
  Py_XSETREF(zlib_make_error, Py_NewRef(function));
  Py_RETURN_NONE;
}

/* core.zlib_formats: name -> (number, library, encodes, flush, finish, last_flush) */
static int zlib_add_formats(PyObject *module) {
  static const Constant formats[] = {
#define FORMAT(NAME, number, codec) {#NAME, number},
      UVW_ZLIB_FORMATS(FORMAT)
#undef FORMAT
          {NULL, 0}};
  PyObject *all = PyDict_New();
  int outcome = all != NULL ? 0 : -1;
  for (const Constant *format = formats; outcome == 0 && format->name != NULL; format++) {
    uvw_zlib_facts facts = uvw_zlib_facts_of((int)format->value);
    PyObject *entry =
        Py_BuildValue("lsNiii", format->value, facts.library, PyBool_FromLong(facts.encodes),
                      facts.flush, facts.finish, facts.last_flush);
    outcome = entry != NULL ? PyDict_SetItemString(all, format->name, entry) : -1;
    Py_XDECREF(entry);
  }
  if (outcome == 0)
    outcome = PyModule_AddObjectRef(module, "zlib_formats", all);
  Py_XDECREF(all);
  return outcome;
}

int zlib_init(PyObject *module) {
  static const Constant numbers[] = {
#define NUMBER(NAME, about) {#NAME, UVW_ZLIB_##NAME},
      UVW_ZLIB_TROUBLES(NUMBER) UVW_ZLIB_ACTIONS(NUMBER)
#undef NUMBER
          {NULL, 0}};
  if (add_namespace(module, "zlib_numbers", numbers) == NULL)
    return -1;
  return zlib_add_formats(module);
}

PyMethodDef zlib_methods[] = {
    {"zlib", (PyCFunction)(void (*)(void))core_zlib, METH_FASTCALL,
     "zlib(format, data, options, flush, limit, now_most, info) -> Job or the result"},
    {"zlib_stream", (PyCFunction)(void (*)(void))core_zlib_stream, METH_FASTCALL,
     "zlib_stream(format, options, total) -> a codec that lives longer than a job"},
    {"zlib_write", (PyCFunction)(void (*)(void))core_zlib_write, METH_FASTCALL,
     "zlib_write(stream, action, data, flush, limit, enough, level, strategy) -> Job"},
    {"zlib_file", (PyCFunction)(void (*)(void))core_zlib_file, METH_FASTCALL,
     "zlib_file(format, src, dst, options, flush, limit) -> Job"},
    {"zlib_setup", core_zlib_setup, METH_O, "Give the function that makes zlib errors."},
    {"crc32", (PyCFunction)(void (*)(void))core_crc32, METH_FASTCALL, "crc32(data, value) -> int"},
    {NULL, NULL, 0, NULL},
};
