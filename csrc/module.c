/* The module uvworks._core. It lies in the same shared object as the CFFI
 * module uvworks._uv, so that both use one libuv and one pool; _native.py
 * loads it from there. Its state is the process's: one interpreter, once. */
#include "asyncio/asyncio.h"
#include "core/core.h"

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
  static PyMethodDef *const topics[] = {hooks_methods,      submit_methods, calls_methods,
                                        dns_methods,        zlib_methods,   crypto_methods,
                                        crypto_keys_methods};
  for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++)
    if (PyModule_AddFunctions(module, topics[i]) < 0)
      return -1;
  if (jobs_init() < 0 || fs_init(module) < 0 || dns_init() < 0 || zlib_init(module) < 0 ||
      crypto_init(module) < 0 || PyModule_AddType(module, &CompletionQueue_Type) < 0 ||
      PyModule_AddType(module, &Job_Type) < 0)
    return -1;
  if (asyncio_init(module) < 0)
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
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&definition); }
