/* core's crypto: key derivation, random bytes, hashes and primes. A result is
 * written by the worker into the bytes object that the caller will get. Small
 * random requests and small hashes are answered at once: the trip to a worker
 * would cost more than they do. Keys and signatures are crypto_keys.c's. */
#include "crypto_core.h"

#include <errno.h>
#include <fcntl.h>

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

enum { RANDOM_AT_ONCE = 4096, HASH_AT_ONCE = 8192 };

/* Jobs ---------------------------------------------------------------------- */

void crypto_drop_inputs(Job *job) {
  CryptoJob *self = (CryptoJob *)job;
  for (int i = 0; i < CRYPTO_VIEWS; i++)
    buffer_release(&self->views[i]);
  Py_CLEAR(self->path);
  Py_CLEAR(self->option);
  Py_CLEAR(self->content);
}

int crypto_visit(Job *job, visitproc visit, void *arg) {
  CryptoJob *self = (CryptoJob *)job;
  for (int i = 0; i < CRYPTO_VIEWS; i++)
    Py_VISIT(self->views[i].obj);
  Py_VISIT(self->path);
  Py_VISIT(self->option);
  return 0;
}

CryptoJob *crypto_draft(const JobKind *kind) { return (CryptoJob *)job_new(kind); }

uvw_crypto *crypto_open(CryptoJob *job, int (*step)(uvw_crypto *), size_t extra) {
  if (job_open(&job->base, UVW_LANE_CPU) < 0)
    return NULL;
  uvw_crypto *crypto = uvw_crypto_new(step, extra, job->base.queue->completions, NULL);
  if (crypto == NULL) {
    PyErr_NoMemory();
    return NULL;
  }
  for (int i = 0; i < CRYPTO_VIEWS; i++) {
    crypto->in[i].data = job->views[i].len > 0 ? job->views[i].buf : "";
    crypto->in[i].size = (size_t)job->views[i].len;
  }
  return crypto;
}

PyObject *crypto_drop(CryptoJob *job, uvw_crypto *crypto) {
  if (crypto != NULL)
    uvw_job_free(&crypto->job);
  Py_XDECREF(job);
  return NULL;
}

PyObject *crypto_raise(CryptoJob *job, uvw_crypto *crypto) {
  if (crypto->job.error == UVW_EOPENSSL)
    PyErr_SetString(PyExc_ValueError, crypto->reason);
  else
    raise_job_error(crypto->job.error, job->path, NULL, false);
  return NULL;
}

EVP_MD *crypto_digest(PyObject *name, const char *argument) {
  if (!PyUnicode_Check(name)) {
    PyErr_Format(PyExc_TypeError, "%s: expected str, got %R", argument, name);
    return NULL;
  }
  Py_ssize_t length;
  const char *text = PyUnicode_AsUTF8AndSize(name, &length);
  if (text == NULL)
    return NULL;
  EVP_MD *md = length < 64 && strlen(text) == (size_t)length ? uvw_crypto_digest(text) : NULL;
  if (md == NULL)
    PyErr_Format(PyExc_ValueError, "%s: unknown digest %R", argument, name);
  return md;
}

static bool is_xof(const EVP_MD *md) { return (EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF) != 0; }

/* For constructions on HMAC. */
static EVP_MD *fixed_digest(PyObject *name) {
  EVP_MD *md = crypto_digest(name, "digest");
  if (md == NULL || (!is_xof(md) && EVP_MD_get_size(md) > 0))
    return md;
  PyErr_Format(PyExc_ValueError, "digest: %R has no fixed length", name);
  EVP_MD_free(md);
  return NULL;
}

/* The bytes object that the job fills. */
static bool give_result(CryptoJob *job, uvw_crypto *crypto, Py_ssize_t size) {
  job->content = PyBytes_FromStringAndSize(NULL, size);
  if (job->content == NULL)
    return false;
  crypto->out = (unsigned char *)PyBytes_AS_STRING(job->content);
  crypto->size = (size_t)size;
  return true;
}

static PyObject *shape_content(Job *self, uvw_job *engine_job) {
  CryptoJob *job = (CryptoJob *)self;
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  if (engine_job->error != 0)
    return crypto_raise(job, crypto);
  crypto->taken = true;
  PyObject *content = job->content;
  job->content = NULL;
  return content;
}

static const JobKind content_kind = CRYPTO_KIND(shape_content);

/* Key derivation ------------------------------------------------------------ */

/* pbkdf2(password, salt, iterations, keylen, digest) */
static PyObject *core_pbkdf2(PyObject *Py_UNUSED(module), PyObject *args) {
  int iterations, size;
  PyObject *digest;
  uvw_crypto *crypto = NULL;
  EVP_MD *md = NULL;
  CryptoJob *job = crypto_draft(&content_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "y*y*iiU", &job->views[0], &job->views[1], &iterations,
                                       &size, &digest))
    return crypto_drop(job, NULL);
  if (job->views[0].len > INT_MAX || job->views[1].len > INT_MAX) {
    PyErr_SetString(PyExc_OverflowError, "password and salt must be below 2 GiB");
    return crypto_drop(job, NULL);
  }
  md = fixed_digest(digest);
  if (md == NULL || (crypto = crypto_open(job, uvw_crypto_pbkdf2, 0)) == NULL ||
      !give_result(job, crypto, size)) {
    EVP_MD_free(md);
    return crypto_drop(job, crypto);
  }
  crypto->md = md;
  crypto->iterations = (uint64_t)iterations;
  return job_submit(&job->base, &crypto->job);
}

/* scrypt(password, salt, keylen, n, r, p); that they fit together, and into
 * memory, has been checked */
static PyObject *core_scrypt(PyObject *Py_UNUSED(module), PyObject *args) {
  int size;
  unsigned long long n, r, p;
  uvw_crypto *crypto;
  CryptoJob *job = crypto_draft(&content_kind);
  if (job == NULL ||
      !PyArg_ParseTuple(args, "y*y*iKKK", &job->views[0], &job->views[1], &size, &n, &r, &p))
    return crypto_drop(job, NULL);
  if (job->views[0].len > INT_MAX || job->views[1].len > INT_MAX) {
    PyErr_SetString(PyExc_OverflowError, "password and salt must be below 2 GiB");
    return crypto_drop(job, NULL);
  }
  crypto = crypto_open(job, uvw_crypto_scrypt, 0);
  if (crypto == NULL || !give_result(job, crypto, size))
    return crypto_drop(job, crypto);
  crypto->n = n;
  crypto->r = r;
  crypto->p = p;
  return job_submit(&job->base, &crypto->job);
}

/* hkdf(digest, key, salt, info, keylen) */
static PyObject *core_hkdf(PyObject *Py_UNUSED(module), PyObject *args) {
  int size;
  PyObject *digest;
  uvw_crypto *crypto = NULL;
  EVP_MD *md = NULL;
  CryptoJob *job = crypto_draft(&content_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "Uy*y*y*i", &digest, &job->views[0], &job->views[1],
                                       &job->views[2], &size))
    return crypto_drop(job, NULL);
  md = fixed_digest(digest);
  if (md != NULL && size > 255 * EVP_MD_get_size(md))
    PyErr_Format(PyExc_ValueError, "keylen must be at most 255 times the digest's %d bytes, got %d",
                 EVP_MD_get_size(md), size);
  else if (md != NULL)
    crypto = crypto_open(job, uvw_crypto_hkdf, 0);
  if (crypto == NULL || !give_result(job, crypto, size)) {
    EVP_MD_free(md);
    return crypto_drop(job, crypto);
  }
  crypto->md = md;
  return job_submit(&job->base, &crypto->job);
}

/* Random bytes --------------------------------------------------------------- */

static bool fill_at_once(void *out, Py_ssize_t size) {
  if (RAND_bytes(out, (int)size) == 1)
    return true;
  char reason[160];
  uvw_crypto_reason(reason, sizeof(reason));
  PyErr_Format(PyExc_RuntimeError, "no random bytes: %s", reason);
  return false;
}

/* random_bytes(size) -> bytes, or Job */
static PyObject *core_random_bytes(PyObject *Py_UNUSED(module), PyObject *given) {
  Py_ssize_t size = PyLong_AsSsize_t(given);
  if (size == -1 && PyErr_Occurred())
    return NULL;
  if (size <= RANDOM_AT_ONCE) {
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    if (result != NULL && !fill_at_once(PyBytes_AS_STRING(result), size))
      Py_CLEAR(result);
    return result;
  }
  CryptoJob *job = crypto_draft(&content_kind);
  uvw_crypto *crypto = job != NULL ? crypto_open(job, uvw_crypto_random, 0) : NULL;
  if (crypto == NULL || !give_result(job, crypto, size))
    return crypto_drop(job, crypto);
  return job_submit(&job->base, &crypto->job);
}

static PyObject *shape_nothing(Job *self, uvw_job *engine_job) {
  CryptoJob *job = (CryptoJob *)self;
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  if (engine_job->error != 0)
    return crypto_raise(job, crypto);
  crypto->taken = true;
  Py_RETURN_NONE;
}

static const JobKind nothing_kind = CRYPTO_KIND(shape_nothing);

/* random_fill(buffer, offset, size) -> None, or Job; a size of -1 is the rest */
static PyObject *core_random_fill(PyObject *Py_UNUSED(module), PyObject *args) {
  Py_ssize_t offset, size;
  uvw_crypto *crypto;
  CryptoJob *job = crypto_draft(&nothing_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "w*nn", &job->views[0], &offset, &size))
    return crypto_drop(job, NULL);
  Py_ssize_t length = job->views[0].len;
  if (offset < 0 || offset > length || size > length - offset) {
    PyErr_Format(PyExc_ValueError, "%s is outside of the buffer of %zd bytes",
                 offset < 0 || offset > length ? "offset" : "offset + size", length);
    return crypto_drop(job, NULL);
  }
  if (size < 0)
    size = length - offset;
  char *at = (char *)job->views[0].buf + offset;
  if (size <= RANDOM_AT_ONCE) {
    bool filled = size == 0 || fill_at_once(at, size);
    crypto_drop(job, NULL);
    return filled ? Py_NewRef(Py_None) : NULL;
  }
  crypto = crypto_open(job, uvw_crypto_random, 0);
  if (crypto == NULL)
    return crypto_drop(job, NULL);
  crypto->out = (unsigned char *)at;
  crypto->size = (size_t)size;
  crypto->taken = true; /* it is the caller's buffer, whatever comes */
  return job_submit(&job->base, &crypto->job);
}

/* Hashes -------------------------------------------------------------------- */

/* How long the result is; -1 raises. A length of -1 is the digest's own. */
static int result_size(const EVP_MD *md, int length) {
  int size = EVP_MD_get_size(md);
  if (length < 0 || length == size)
    return size;
  if (is_xof(md))
    return length;
  PyErr_Format(PyExc_ValueError, "length: the digest has %d bytes, not %d", size, length);
  return -1;
}

static PyObject *hash_at_once(const Py_buffer *data, EVP_MD *md, int size) {
  PyObject *result = PyBytes_FromStringAndSize(NULL, size);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  unsigned char *out = result != NULL ? (unsigned char *)PyBytes_AS_STRING(result) : NULL;
  bool worked = out != NULL && context != NULL && EVP_DigestInit_ex2(context, md, NULL) == 1 &&
                EVP_DigestUpdate(context, data->buf, (size_t)data->len) == 1 &&
                (is_xof(md) ? EVP_DigestFinalXOF(context, out, (size_t)size)
                            : EVP_DigestFinal_ex(context, out, NULL)) == 1;
  EVP_MD_CTX_free(context);
  if (!worked) {
    char reason[160];
    uvw_crypto_reason(reason, sizeof(reason));
    Py_CLEAR(result);
    if (!PyErr_Occurred())
      PyErr_SetString(PyExc_ValueError, reason);
  }
  return result;
}

/* hash_data(data, algorithm, length) -> bytes, or Job */
static PyObject *core_hash_data(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *name, *result = NULL;
  int length;
  uvw_crypto *crypto = NULL;
  CryptoJob *job = crypto_draft(&content_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "y*Ui", &job->views[0], &name, &length))
    return crypto_drop(job, NULL);
  EVP_MD *md = crypto_digest(name, "algorithm");
  int size = md != NULL ? result_size(md, length) : -1;
  if (size >= 0 && job->views[0].len <= HASH_AT_ONCE && size <= HASH_AT_ONCE) {
    result = hash_at_once(&job->views[0], md, size);
  } else if (size >= 0) {
    crypto = crypto_open(job, uvw_crypto_hash, 0);
    if (crypto != NULL && give_result(job, crypto, size)) {
      crypto->md = md;
      return job_submit(&job->base, &crypto->job);
    }
  }
  EVP_MD_free(md);
  crypto_drop(job, crypto);
  return result;
}

/* hash_file(shown, path, fd, offset, algorithm, length) -> Job. The path is
 * bytes; with None the file is the descriptor's, from the offset on. */
static PyObject *core_hash_file(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *shown, *name, *given;
  char *path = NULL;
  long long offset;
  int fd, length;
  uvw_crypto *crypto = NULL;
  CryptoJob *job = crypto_draft(&content_kind);
  if (job == NULL ||
      !PyArg_ParseTuple(args, "OOiLUi", &shown, &given, &fd, &offset, &name, &length) ||
      (given != Py_None && PyBytes_AsStringAndSize(given, &path, NULL) < 0))
    return crypto_drop(job, NULL);
  EVP_MD *md = crypto_digest(name, "algorithm");
  int size = md != NULL ? result_size(md, length) : -1;
  if (size >= 0)
    crypto = crypto_open(job, uvw_crypto_hash, path != NULL ? strlen(path) + 1 : 0);
  if (crypto == NULL || !give_result(job, crypto, size)) {
    EVP_MD_free(md);
    return crypto_drop(job, crypto);
  }
  crypto->md = md;
  crypto->offset = (size_t)offset;
  job->path = Py_NewRef(shown);
  if (path != NULL) {
    crypto->path = strcpy((char *)crypto->extra, path);
  } else if ((crypto->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
    raise_os_error(errno, NULL, NULL);
    return crypto_drop(job, crypto);
  }
  return job_submit(&job->base, &crypto->job);
}

/* Primes --------------------------------------------------------------------- */

static PyObject *shape_prime(Job *self, uvw_job *engine_job) {
  CryptoJob *job = (CryptoJob *)self;
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  if (engine_job->error != 0)
    return crypto_raise(job, crypto);
  PyObject *result = PyBytes_FromStringAndSize(NULL, BN_num_bytes(crypto->number));
  if (result != NULL)
    BN_bn2bin(crypto->number, (unsigned char *)PyBytes_AS_STRING(result));
  return result;
}

static const JobKind prime_kind = CRYPTO_KIND(shape_prime);

static BIGNUM *number_of(const Py_buffer *view) {
  BIGNUM *number = BN_bin2bn(view->buf, (int)view->len, NULL);
  if (number == NULL)
    PyErr_NoMemory();
  return number;
}

/* generate_prime(bits, safe, add, rem): bytes, or None for the last two */
static PyObject *core_generate_prime(PyObject *Py_UNUSED(module), PyObject *args) {
  int bits, safe;
  uvw_crypto *crypto = NULL;
  CryptoJob *job = crypto_draft(&prime_kind);
  if (job == NULL ||
      !PyArg_ParseTuple(args, "ipz*z*", &bits, &safe, &job->views[0], &job->views[1]))
    return crypto_drop(job, NULL);
  crypto = crypto_open(job, uvw_crypto_prime, 0);
  if (crypto == NULL)
    return crypto_drop(job, NULL);
  crypto->bits = bits;
  crypto->safe = safe;
  if ((job->views[0].obj != NULL && (crypto->add = number_of(&job->views[0])) == NULL) ||
      (job->views[1].obj != NULL && (crypto->rem = number_of(&job->views[1])) == NULL))
    return crypto_drop(job, crypto);
  return job_submit(&job->base, &crypto->job);
}

static PyObject *shape_answer(Job *self, uvw_job *engine_job) {
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  return engine_job->error != 0 ? crypto_raise((CryptoJob *)self, crypto)
                                : PyBool_FromLong(crypto->answer);
}

static const JobKind answer_kind = CRYPTO_KIND(shape_answer);

/* check_prime(candidate, checks) */
static PyObject *core_check_prime(PyObject *Py_UNUSED(module), PyObject *args) {
  int checks;
  uvw_crypto *crypto = NULL;
  CryptoJob *job = crypto_draft(&answer_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "y*i", &job->views[0], &checks))
    return crypto_drop(job, NULL);
  crypto = crypto_open(job, uvw_crypto_check_prime, 0);
  if (crypto == NULL || (crypto->number = number_of(&job->views[0])) == NULL)
    return crypto_drop(job, crypto);
  crypto->checks = checks;
  return job_submit(&job->base, &crypto->job);
}

static PyObject *core_openssl_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
  return PyUnicode_FromString(OpenSSL_version(OPENSSL_VERSION));
}

PyMethodDef crypto_methods[] = {
    {"pbkdf2", core_pbkdf2, METH_VARARGS, "pbkdf2(password, salt, iterations, keylen, digest)"},
    {"scrypt", core_scrypt, METH_VARARGS, "scrypt(password, salt, keylen, n, r, p)"},
    {"hkdf", core_hkdf, METH_VARARGS, "hkdf(digest, key, salt, info, keylen)"},
    {"random_bytes", core_random_bytes, METH_O, "random_bytes(size) -> bytes, or Job"},
    {"random_fill", core_random_fill, METH_VARARGS, "random_fill(buffer, offset, size)"},
    {"hash_data", core_hash_data, METH_VARARGS, "hash_data(data, algorithm, length)"},
    {"hash_file", core_hash_file, METH_VARARGS,
     "hash_file(shown, path, fd, offset, algorithm, length)"},
    {"generate_prime", core_generate_prime, METH_VARARGS, "generate_prime(bits, safe, add, rem)"},
    {"check_prime", core_check_prime, METH_VARARGS, "check_prime(candidate, checks)"},
    {"openssl_version", core_openssl_version, METH_NOARGS, "What is linked."},
    {"generate_key_pair", core_generate_key_pair, METH_VARARGS, "See crypto_keys.c."},
    {"load_key", core_load_key, METH_VARARGS, "load_key(text, passphrase, private)"},
    {"export_key", core_export_key, METH_VARARGS, "See crypto_keys.c."},
    {"key_facts", core_key_facts, METH_O, "key_facts(key) -> (type, bits, group)"},
    {"keys_equal", core_keys_equal, METH_VARARGS, "keys_equal(key, other)"},
    {"sign", core_sign, METH_VARARGS, "See crypto_keys.c."},
    {"verify", core_verify, METH_VARARGS, "See crypto_keys.c."},
    {NULL, NULL, 0, NULL},
};
