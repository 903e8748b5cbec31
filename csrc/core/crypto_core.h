/* What the files of core's crypto share: how a job is begun and submitted.
 * The Python side has checked ranges and types; what is checked here is what
 * only OpenSSL knows (names), and all that memory safety needs. */
#ifndef UVW_CORE_CRYPTO_H
#define UVW_CORE_CRYPTO_H

#include "core.h"
#include "crypto.h" /* the engine's */

typedef struct {
  Job base;
  Py_buffer views[UVW_CRYPTO_INPUTS]; /* the engine's inputs, by their numbers */
  Path path;                          /* of a file */
  PyObject *content;                  /* the bytes object that the job fills */
} CryptoJob;

#define CRYPTO_KIND(how)                                                                           \
  {.size = sizeof(CryptoJob), .shape = how, .visit = crypto_visit, .drop = crypto_drop}
int crypto_visit(Job *job, visitproc visit, void *arg);
void crypto_drop(Job *job);

static inline CryptoJob *crypto_job(const JobKind *kind) { return (CryptoJob *)job_new(kind); }
/* For arguments that were refused, with an exception; takes the job, or NULL. */
PyObject *crypto_refuse(CryptoJob *job);
/* Opens and submits the job, with its operation's arguments; takes the job. Its
 * result goes to `out`, which lives as long as the job, */
PyObject *crypto_submit(CryptoJob *job, const uvw_crypto_operation *operation, const void *args,
                        void *out, size_t size);
/* or to a bytes object of that size. */
PyObject *crypto_submit_content(CryptoJob *job, const uvw_crypto_operation *operation,
                                const void *args, Py_ssize_t size);

PyObject *crypto_raise(Job *job, const uvw_crypto *crypto);
/* Kinds of jobs by their results: memory of the job's own, as bytes; yes or no. */
extern const JobKind crypto_made_kind, crypto_answer_kind;

/* By its name, or raises a ValueError that names the argument. */
const EVP_MD *crypto_digest(PyObject *name, const char *argument);

#define FASTCALL(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL

#endif
