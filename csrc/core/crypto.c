/* core's crypto: key derivation, random bytes, hashes and primes. Most results
 * are written by the worker into the bytes object that the caller will get.
 * Small random requests and small hashes are answered at once: the trip to a
 * worker would cost more than they do. Keys and signatures are crypto_keys.c's. */
#include "crypto_core.h"

#include <errno.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

enum { RANDOM_AT_ONCE = 4096, HASH_AT_ONCE = 8192 };

/* Jobs ---------------------------------------------------------------------- */

void crypto_drop(Job *job) {
  CryptoJob *self = (CryptoJob *)job;
  for (int i = 0; i < UVW_CRYPTO_INPUTS; i++)
    buffer_release(&self->views[i]);
  path_clear(&self->path);
  Py_CLEAR(self->content);
}

int crypto_visit(Job *job, visitproc visit, void *arg) {
  CryptoJob *self = (CryptoJob *)job;
  for (int i = 0; i < UVW_CRYPTO_INPUTS; i++)
    Py_VISIT(self->views[i].obj);
  Py_VISIT(self->path.shown);
  return 0;
}

PyObject *crypto_refuse(CryptoJob *job) {
  Py_XDECREF(job);
  return NULL;
}

/* The engine has copied its secrets: the caller may change the originals. */
static void crypto_release_secrets(CryptoJob *job, int secrets) {
  for (int i = UVW_CRYPTO_INPUTS - secrets; i < UVW_CRYPTO_INPUTS; i++) {
    Py_buffer view = job->views[i];
    job->views[i].obj = NULL;
    buffer_release(&view);
  }
}

PyObject *crypto_submit(CryptoJob *job, const uvw_crypto_operation *operation, const void *args,
                        void *out, size_t size) {
  uvw_span in[UVW_CRYPTO_INPUTS] = {{0}};
  for (int i = 0; i < UVW_CRYPTO_INPUTS; i++)
    if (job->views[i].obj != NULL) {
      in[i].size = (size_t)job->views[i].len;
      in[i].data = in[i].size > 0 ? job->views[i].buf : "";
    }
  if (job_open(&job->base) < 0)
    return crypto_refuse(job);
  uvw_crypto *crypto = uvw_crypto_new(operation, args, in, job->base.queue->completions, NULL);
  if (crypto == NULL) {
    raise_os_error(errno, NULL, NULL);
    return crypto_refuse(job);
  }
  crypto->out = out;
  crypto->size = size;
  crypto->taken = job->content == NULL; /* it is the caller's, whatever comes */
  PyObject *submitted = job_submit(&job->base, &crypto->job);
  if (submitted != NULL)
    crypto_release_secrets(job, operation->secrets);
  return submitted;
}

PyObject *crypto_submit_content(CryptoJob *job, const uvw_crypto_operation *operation,
                                const void *args, Py_ssize_t size) {
  job->content = PyBytes_FromStringAndSize(NULL, size);
  if (job->content == NULL)
    return crypto_refuse(job);
  return crypto_submit(job, operation, args, PyBytes_AS_STRING(job->content), (size_t)size);
}

/* Results ------------------------------------------------------------------- */

PyObject *crypto_raise(Job *job, const uvw_crypto *crypto) {
  if (crypto->job.error == UVW_EOPENSSL)
    PyErr_SetString(PyExc_ValueError, crypto->reason);
  else
    raise_job_error(crypto->job.error, ((CryptoJob *)job)->path.shown, NULL, false);
  return NULL;
}

static PyObject *crypto_shape_content(Job *self, uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  if (job->error != 0)
    return crypto_raise(self, crypto);
  crypto->taken = true;
  PyObject *content = ((CryptoJob *)self)->content;
  ((CryptoJob *)self)->content = NULL;
  return content;
}

static PyObject *crypto_shape_nothing(Job *self, uvw_job *job) {
  return job->error != 0 ? crypto_raise(self, (uvw_crypto *)job) : Py_NewRef(Py_None);
}

static PyObject *crypto_shape_made(Job *self, uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  return job->error != 0 ? crypto_raise(self, crypto)
                         : PyBytes_FromStringAndSize((const char *)crypto->made[0].data,
                                                     (Py_ssize_t)crypto->made[0].size);
}

static PyObject *crypto_shape_answer(Job *self, uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  return job->error != 0 ? crypto_raise(self, crypto) : PyBool_FromLong(crypto->answer);
}

static const JobKind content_kind = CRYPTO_KIND(crypto_shape_content),
                     nothing_kind = CRYPTO_KIND(crypto_shape_nothing);
const JobKind crypto_made_kind = CRYPTO_KIND(crypto_shape_made),
              crypto_answer_kind = CRYPTO_KIND(crypto_shape_answer);

/* Digests ------------------------------------------------------------------- */

const EVP_MD *crypto_digest(PyObject *name, const char *argument) {
  const char *text;
  if (arguments(argument, &name, 1, "s", &text) < 0)
    return NULL;
  const EVP_MD *md = uvw_crypto_digest(text);
  if (md == NULL)
    PyErr_Format(PyExc_ValueError, "%s: unknown digest %R", argument, name);
  return md;
}

static bool digest_is_xof(const EVP_MD *md) {
  return (EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF) != 0;
}

/* For constructions on HMAC. */
static const EVP_MD *fixed_digest(PyObject *name) {
  const EVP_MD *md = crypto_digest(name, "digest");
  if (md == NULL || (!digest_is_xof(md) && EVP_MD_get_size(md) > 0))
    return md;
  PyErr_Format(PyExc_ValueError, "digest: %R has no fixed length", name);
  return NULL;
}

/* Key derivation ------------------------------------------------------------ */

static int check_password_and_salt(const CryptoJob *job) {
  if (job->views[0].len <= INT_MAX && job->views[1].len <= INT_MAX)
    return 0;
  PyErr_SetString(PyExc_OverflowError, "password and salt must be below 2 GiB");
  return -1;
}

/* pbkdf2(password, salt, iterations, keylen, digest) */
static PyObject *core_pbkdf2(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  int iterations, size;
  PyObject *digest;
  uvw_pbkdf2_args a = {0};
  CryptoJob *job = crypto_job(&content_kind);
  if (job == NULL ||
      arguments("pbkdf2", args, nargs, "bbiiO", &job->views[0], &job->views[1], &iterations, &size,
                &digest) < 0 ||
      check_password_and_salt(job) < 0 || (a.md = fixed_digest(digest)) == NULL)
    return crypto_refuse(job);
  a.iterations = (uint64_t)iterations;
  return crypto_submit_content(job, &uvw_crypto_pbkdf2, &a, size);
}

/* scrypt(password, salt, keylen, n, r, p); that they fit together, and into
 * memory, has been checked */
static PyObject *core_scrypt(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  int size;
  uvw_scrypt_args a = {0};
  CryptoJob *job = crypto_job(&content_kind);
  if (job == NULL ||
      arguments("scrypt", args, nargs, "bbiuuu", &job->views[0], &job->views[1], &size, &a.n, &a.r,
                &a.p) < 0 ||
      check_password_and_salt(job) < 0)
    return crypto_refuse(job);
  return crypto_submit_content(job, &uvw_crypto_scrypt, &a, size);
}

/* hkdf(digest, key, salt, info, keylen) */
static PyObject *core_hkdf(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  int size;
  PyObject *digest;
  uvw_hkdf_args a = {0};
  CryptoJob *job = crypto_job(&content_kind);
  if (job == NULL ||
      arguments("hkdf", args, nargs, "Obbbi", &digest, &job->views[0], &job->views[1],
                &job->views[2], &size) < 0 ||
      (a.md = fixed_digest(digest)) == NULL)
    return crypto_refuse(job);
  int most = 255 * EVP_MD_get_size(a.md);
  if (size > most) {
    PyErr_Format(PyExc_ValueError, "keylen must be at most 255 times the digest's %d bytes, got %d",
                 most / 255, size);
    return crypto_refuse(job);
  }
  return crypto_submit_content(job, &uvw_crypto_hkdf, &a, size);
}

/* Random bytes --------------------------------------------------------------- */

static int random_fill_at_once(void *out, Py_ssize_t size) {
  if (RAND_bytes(out, (int)size) == 1)
    return 0;
  char reason[160];
  uvw_crypto_reason(reason, sizeof(reason));
  PyErr_Format(PyExc_RuntimeError, "no random bytes: %s", reason);
  return -1;
}

/* random_bytes(size) -> bytes, or Job */
static PyObject *core_random_bytes(PyObject *Py_UNUSED(module), PyObject *given) {
  Py_ssize_t size = PyLong_AsSsize_t(given);
  if (size == -1 && PyErr_Occurred())
    return NULL;
  if (size <= RANDOM_AT_ONCE) {
    PyObject *result = PyBytes_FromStringAndSize(NULL, size);
    if (result != NULL && random_fill_at_once(PyBytes_AS_STRING(result), size) < 0)
      Py_CLEAR(result);
    return result;
  }
  CryptoJob *job = crypto_job(&content_kind);
  return job != NULL ? crypto_submit_content(job, &uvw_crypto_random, NULL, size) : NULL;
}

/* random_fill(buffer, offset, size) -> None, or Job; a size of -1 is the rest */
static PyObject *core_random_fill(PyObject *Py_UNUSED(module), PyObject *const *args,
                                  Py_ssize_t nargs) {
  Py_ssize_t offset, size;
  CryptoJob *job = crypto_job(&nothing_kind);
  if (job == NULL ||
      arguments("random_fill", args, nargs, "wnn", &job->views[0], &offset, &size) < 0)
    return crypto_refuse(job);
  Py_ssize_t length = job->views[0].len;
  if (offset < 0 || offset > length || size > length - offset) {
    PyErr_Format(PyExc_ValueError, "%s is outside of the buffer of %zd bytes",
                 offset < 0 || offset > length ? "offset" : "offset + size", length);
    return crypto_refuse(job);
  }
  if (size < 0)
    size = length - offset;
  char *at = (char *)job->views[0].buf + offset;
  if (size > RANDOM_AT_ONCE)
    return crypto_submit(job, &uvw_crypto_random, NULL, at, (size_t)size);
  int outcome = size > 0 ? random_fill_at_once(at, size) : 0;
  Py_DECREF(job);
  return outcome == 0 ? Py_NewRef(Py_None) : NULL;
}

/* Hashes -------------------------------------------------------------------- */

/* How long the result is; -1 raises. A length of -1 is the digest's own. */
static int hash_size(const EVP_MD *md, int length) {
  int size = EVP_MD_get_size(md);
  if (length < 0 || length == size)
    return size;
  if (digest_is_xof(md))
    return length;
  PyErr_Format(PyExc_ValueError, "length: the digest has %d bytes, not %d", size, length);
  return -1;
}

static PyObject *hash_at_once(const Py_buffer *data, const EVP_MD *md, int size) {
  PyObject *result = PyBytes_FromStringAndSize(NULL, size);
  if (result == NULL)
    return NULL;
  unsigned char *out = (unsigned char *)PyBytes_AS_STRING(result);
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool worked = context != NULL && EVP_DigestInit_ex2(context, md, NULL) == 1 &&
                EVP_DigestUpdate(context, data->buf, (size_t)data->len) == 1 &&
                (digest_is_xof(md) ? EVP_DigestFinalXOF(context, out, (size_t)size)
                                   : EVP_DigestFinal_ex(context, out, NULL)) == 1;
  EVP_MD_CTX_free(context);
  if (worked)
    return result;
  char reason[160];
  uvw_crypto_reason(reason, sizeof(reason));
  PyErr_SetString(PyExc_ValueError, reason);
  Py_DECREF(result);
  return NULL;
}

/* hash_data(data, algorithm, length) -> bytes, or Job */
static PyObject *core_hash_data(PyObject *Py_UNUSED(module), PyObject *const *args,
                                Py_ssize_t nargs) {
  PyObject *name, *result = NULL;
  int length, size = -1;
  Py_buffer data = {0};
  uvw_hash_args a = {.fd = -1};
  if (arguments("hash_data", args, nargs, "bOi", &data, &name, &length) == 0 &&
      (a.md = crypto_digest(name, "algorithm")) != NULL)
    size = hash_size(a.md, length);
  if (size >= 0 && data.len <= HASH_AT_ONCE && size <= HASH_AT_ONCE) {
    result = hash_at_once(&data, a.md, size);
  } else if (size >= 0) {
    CryptoJob *job = crypto_job(&content_kind);
    if (job != NULL) {
      job->views[0] = data;
      return crypto_submit_content(job, &uvw_crypto_hash, &a, size);
    }
  }
  buffer_release(&data);
  return result;
}

/* Takes the job, which has its path if the file has any. */
static PyObject *hash_submit(CryptoJob *job, uvw_hash_args *a, PyObject *algorithm, int length) {
  a->md = crypto_digest(algorithm, "algorithm");
  int size = a->md != NULL ? hash_size(a->md, length) : -1;
  return size >= 0 ? crypto_submit_content(job, &uvw_crypto_hash, a, size) : crypto_refuse(job);
}

/* hash_path(path, algorithm, length) -> Job */
static PyObject *core_hash_path(PyObject *Py_UNUSED(module), PyObject *const *args,
                                Py_ssize_t nargs) {
  PyObject *algorithm;
  int length;
  CryptoJob *job = crypto_job(&content_kind);
  if (job == NULL ||
      arguments("hash_path", args, nargs, "fOi", &job->path, &algorithm, &length) < 0)
    return crypto_refuse(job);
  uvw_hash_args a = {.path = job->path.bytes, .fd = -1};
  return hash_submit(job, &a, algorithm, length);
}

/* hash_file(fd, offset, name, algorithm, length) -> Job: what is left of an
 * open file from the offset on; the name is for errors */
static PyObject *core_hash_file(PyObject *Py_UNUSED(module), PyObject *const *args,
                                Py_ssize_t nargs) {
  PyObject *name, *algorithm;
  int length;
  int64_t offset;
  uvw_hash_args a = {0};
  CryptoJob *job = crypto_job(&content_kind);
  if (job == NULL ||
      arguments("hash_file", args, nargs, "ilOOi", &a.fd, &offset, &name, &algorithm, &length) < 0)
    return crypto_refuse(job);
  if (a.fd < 0) {
    raise_os_error(EBADF, NULL, NULL);
    return crypto_refuse(job);
  }
  a.offset = (uint64_t)offset;
  job->path.shown = Py_NewRef(name);
  return hash_submit(job, &a, algorithm, length);
}

/* Primes --------------------------------------------------------------------- */

/* generate_prime(bits, safe, add, rem): bytes, or None for the last two */
static PyObject *core_generate_prime(PyObject *Py_UNUSED(module), PyObject *const *args,
                                     Py_ssize_t nargs) {
  uvw_prime_args a = {0};
  CryptoJob *job = crypto_job(&crypto_made_kind);
  if (job == NULL || arguments("generate_prime", args, nargs, "ipyy", &a.bits, &a.safe,
                               &job->views[0], &job->views[1]) < 0)
    return crypto_refuse(job);
  return crypto_submit(job, &uvw_crypto_prime, &a, NULL, 0);
}

/* check_prime(candidate, checks) */
static PyObject *core_check_prime(PyObject *Py_UNUSED(module), PyObject *const *args,
                                  Py_ssize_t nargs) {
  uvw_check_prime_args a = {0};
  CryptoJob *job = crypto_job(&crypto_answer_kind);
  if (job == NULL || arguments("check_prime", args, nargs, "bi", &job->views[0], &a.checks) < 0)
    return crypto_refuse(job);
  return crypto_submit(job, &uvw_crypto_check_prime, &a, NULL, 0);
}

/* The rest -------------------------------------------------------------------- */

static PyObject *core_openssl_version(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
  return PyUnicode_FromString(OpenSSL_version(OPENSSL_VERSION));
}

/* core.crypto_numbers */
int crypto_init(PyObject *module) {
  static const Constant numbers[] = {
#define STRUCTURE(NAME, openssl_name) {#NAME, UVW_KEY_##NAME},
      UVW_KEY_STRUCTURES(STRUCTURE)
#undef STRUCTURE
          {"UNWRITTEN", UVW_KEY_UNWRITTEN},
      {"MAX_PASSPHRASE", PEM_BUFSIZE},
      {"PADDING_DEFAULT", UVW_PADDING_DEFAULT},
      {"SALTLEN_DEFAULT", UVW_SALTLEN_DEFAULT},
      {"RSA_PKCS1_PADDING", RSA_PKCS1_PADDING},
      {"RSA_PKCS1_PSS_PADDING", RSA_PKCS1_PSS_PADDING},
      {"RSA_PSS_SALTLEN_DIGEST", RSA_PSS_SALTLEN_DIGEST},
      {"RSA_PSS_SALTLEN_AUTO", RSA_PSS_SALTLEN_AUTO},
      {"RSA_PSS_SALTLEN_MAX_SIGN", RSA_PSS_SALTLEN_MAX_SIGN},
      {NULL, 0},
  };
  return add_namespace(module, "crypto_numbers", numbers) != NULL ? 0 : -1;
}

PyMethodDef crypto_methods[] = {
    {"pbkdf2", FASTCALL(core_pbkdf2), "pbkdf2(password, salt, iterations, keylen, digest) -> Job"},
    {"scrypt", FASTCALL(core_scrypt), "scrypt(password, salt, keylen, n, r, p) -> Job"},
    {"hkdf", FASTCALL(core_hkdf), "hkdf(digest, key, salt, info, keylen) -> Job"},
    {"random_bytes", core_random_bytes, METH_O, "random_bytes(size) -> bytes, or Job"},
    {"random_fill", FASTCALL(core_random_fill),
     "random_fill(buffer, offset, size) -> None, or Job"},
    {"hash_data", FASTCALL(core_hash_data), "hash_data(data, algorithm, length) -> bytes, or Job"},
    {"hash_path", FASTCALL(core_hash_path), "hash_path(path, algorithm, length) -> Job"},
    {"hash_file", FASTCALL(core_hash_file),
     "hash_file(fd, offset, name, algorithm, length) -> Job"},
    {"generate_prime", FASTCALL(core_generate_prime),
     "generate_prime(bits, safe, add, rem) -> Job"},
    {"check_prime", FASTCALL(core_check_prime), "check_prime(candidate, checks) -> Job"},
    {"openssl_version", core_openssl_version, METH_NOARGS, "What is linked."},
    {NULL, NULL, 0, NULL},
};
