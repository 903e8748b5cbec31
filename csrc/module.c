/* The module uvworks._core. It lies in the same shared object as the CFFI
 * module uvworks._uv, so that both use one libuv and one pool; _native.py
 * loads it from there. Its state is the process's: one interpreter, once. */
#include "asyncio/asyncio.h"
#include "core/core.h"

Hooks hooks;

static PyObject *core_setup(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
  static char *names[] = {"attach",
                          "start",
                          "park",
                          "saturated",
                          "same_file",
                          "special_file",
                          "get_running_loop",
                          "cancelled_error",
                          "invalid_state",
                          NULL};
  Hooks h;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOOOOOOO", names, &h.attach, &h.start, &h.park,
                                   &h.saturated, &h.same_file, &h.special_file, &h.get_running_loop,
                                   &h.cancelled_error, &h.invalid_state))
    return NULL;
  if (hooks.attach != NULL) {
    PyErr_SetString(PyExc_RuntimeError, "setup() was called before");
    return NULL;
  }
  hooks = h;
  Py_INCREF(h.attach);
  Py_INCREF(h.start);
  Py_INCREF(h.park);
  Py_INCREF(h.saturated);
  Py_INCREF(h.same_file);
  Py_INCREF(h.special_file);
  Py_INCREF(h.get_running_loop);
  Py_INCREF(h.cancelled_error);
  Py_INCREF(h.invalid_state);
  Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"setup", (PyCFunction)(void (*)(void))core_setup, METH_VARARGS | METH_KEYWORDS,
     "Give the module what it needs of Python, once."},
    {"fs", (PyCFunction)(void (*)(void))core_fs, METH_FASTCALL,
     "fs(op, path, path2=None, data=None, flags=0, number=0, option=None) -> Job"},
    {"getaddrinfo", (PyCFunction)(void (*)(void))core_getaddrinfo, METH_FASTCALL,
     "getaddrinfo(host, queue, family, type, proto, flags) -> list, or Job for one"},
    {"getnameinfo", (PyCFunction)(void (*)(void))core_getnameinfo, METH_FASTCALL,
     "getnameinfo(sockaddr, flags) -> (host, service), or Job for them"},
    {"call", (PyCFunction)(void (*)(void))core_call, METH_FASTCALL | METH_KEYWORDS,
     "call(lane, func, *args, **kwargs) -> Job for the running loop"},
    {"call_executor", (PyCFunction)(void (*)(void))core_call_executor,
     METH_FASTCALL | METH_KEYWORDS, "call_executor(future, lane, func, *args, **kwargs) -> Job"},
    {"call_queue", (PyCFunction)(void (*)(void))core_call_queue, METH_FASTCALL | METH_KEYWORDS,
     "call_queue(queue, callback, lane, func, *args, **kwargs) -> Job"},
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
    {"start", core_start, METH_O, "start(size): start the pool if it is not running."},
    {"check_deadlock", core_check_deadlock, METH_O,
     "Raise RuntimeError if this thread may not wait for a job of the lane."},
    {NULL, NULL, 0, NULL},
};

static int add_ops(PyObject *module) {
  static const struct {
    const char *name;
    int value;
  } constants[] = {
      {"ACCESS", UVW_FS_ACCESS},
      {"APPEND", UVW_FS_APPEND},
      {"CHMOD", UVW_FS_CHMOD},
      {"COPY", UVW_FS_COPY},
      {"LSTAT", UVW_FS_LSTAT},
      {"MKDIR", UVW_FS_MKDIR},
      {"MKDTEMP", UVW_FS_MKDTEMP},
      {"READ", UVW_FS_READ},
      {"READDIR", UVW_FS_READDIR},
      {"READLINK", UVW_FS_READLINK},
      {"REALPATH", UVW_FS_REALPATH},
      {"RENAME", UVW_FS_RENAME},
      {"RM", UVW_FS_RM},
      {"RMDIR", UVW_FS_RMDIR},
      {"STAT", UVW_FS_STAT},
      {"SYMLINK", UVW_FS_SYMLINK},
      {"TRUNCATE", UVW_FS_TRUNCATE},
      {"UNLINK", UVW_FS_UNLINK},
      {"UTIMES", UVW_FS_UTIMES},
      {"WRITE", UVW_FS_WRITE},
      {"EXCLUSIVE", UVW_FS_EXCLUSIVE},
      {"PARENTS", UVW_FS_PARENTS},
      {"RECURSIVE", UVW_FS_RECURSIVE},
      {"FORCE", UVW_FS_FORCE},
      {"TYPES", UVW_FS_TYPES},
      {"ATOMIC", UVW_FS_ATOMIC},
      {"SYNC", UVW_FS_SYNC},
  };
  for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
    if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) < 0)
      return -1;
  return 0;
}

static int exec_module(PyObject *module) {
  static bool executed;
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    PyErr_SetString(PyExc_ImportError, "uvworks works in the main interpreter only");
    return -1;
  }
  if (executed) {
    PyErr_SetString(PyExc_ImportError,
                    "uvworks._core was loaded before and cannot be loaded again");
    return -1;
  }
  executed = true;
  int error = uvw_engine_init();
  if (error != 0) {
    PyErr_Format(PyExc_ImportError, "the engine did not start: %s", uv_strerror(error));
    return -1;
  }
  if (jobs_init() < 0 || results_init() < 0 || add_ops(module) < 0 || asyncio_init(module) < 0)
    return -1;
  if (dns_init() < 0 || PyModule_AddFunctions(module, crypto_methods) < 0)
    return -1;
  if (PyModule_AddType(module, &CompletionQueue_Type) < 0 ||
      PyModule_AddType(module, &Job_Type) < 0)
    return -1;
  return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec_module},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "uvworks._core",
    .m_doc = "The GIL-keeping path between event loops and the engine.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
