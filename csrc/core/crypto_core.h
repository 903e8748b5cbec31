/* What the files of core's crypto share: how a job is begun and submitted.
 * The Python side has checked ranges and types; what is checked here is what
 * only OpenSSL knows (names), and all that memory safety needs. */
#ifndef UVW_CORE_CRYPTO_H
#define UVW_CORE_CRYPTO_H

#include "core.h"
#include "crypto.h" /* the engine's */

/* A job with so many views for the caller's buffers. */
Job *crypto_draft(int views);
/* The engine's job for it, which comes back to the running loop; NULL raises. */
uvw_crypto *crypto_open(Job *job, int (*step)(uvw_crypto *), size_t extra);
/* Both take the job. */
PyObject *crypto_submit(Job *job, uvw_crypto *crypto, PyObject *(*shape)(Job *, uvw_job *));
PyObject *crypto_drop(Job *job, uvw_crypto *crypto);
/* Raises the job's error, if it has one. */
bool crypto_failed(Job *job, uvw_crypto *crypto);
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
