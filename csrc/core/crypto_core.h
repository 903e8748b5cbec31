/* What the files of core's crypto share: how a job is begun and submitted.
 * The Python side has checked ranges and types; what is checked here is what
 * only OpenSSL knows (names), and all that memory safety needs. */
#ifndef UVW_CORE_CRYPTO_H
#define UVW_CORE_CRYPTO_H

#include "core.h"
#include "crypto.h" /* the engine's */

enum { CRYPTO_VIEWS = 3 };

typedef struct {
  Job base;
  Py_buffer views[CRYPTO_VIEWS]; /* what the job reads, or fills */
  PyObject *path;                /* as the caller will see it in an error */
  PyObject *option;              /* what the engine's strings are a part of */
  PyObject *content;             /* the bytes object that the job fills */
} CryptoJob;

#define CRYPTO_KIND(how)                                                                           \
  {.size = sizeof(CryptoJob), .shape = how, .visit = crypto_visit, .drop = crypto_drop_inputs}
int crypto_visit(Job *job, visitproc visit, void *arg);
void crypto_drop_inputs(Job *job);

CryptoJob *crypto_draft(const JobKind *kind);
/* The engine's job for it, for the running loop; NULL raises. */
uvw_crypto *crypto_open(CryptoJob *job, int (*step)(uvw_crypto *), size_t extra);
PyObject *crypto_drop(CryptoJob *job, uvw_crypto *crypto); /* takes both */
PyObject *crypto_raise(CryptoJob *job, uvw_crypto *crypto);
/* By its name, or raises a ValueError that names the argument. */
EVP_MD *crypto_digest(PyObject *name, const char *argument);

PyObject *core_generate_key_pair(PyObject *module, PyObject *args);
PyObject *core_load_key(PyObject *module, PyObject *args);
PyObject *core_export_key(PyObject *module, PyObject *args);
PyObject *core_key_facts(PyObject *module, PyObject *key);
PyObject *core_keys_equal(PyObject *module, PyObject *args);
PyObject *core_sign(PyObject *module, PyObject *args);
PyObject *core_verify(PyObject *module, PyObject *args);

#endif
