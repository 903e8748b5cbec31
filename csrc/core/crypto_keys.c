/* core's keys and signatures. A key is a capsule that holds an EVP_PKEY, which
 * OpenSSL counts and shares between threads; or the caller's text of one, which
 * the job copies, reads on its worker and wipes, as it does a passphrase. */
#include "crypto_core.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

#define KEY_NAME "uvworks.key"

static void key_free(PyObject *capsule) { EVP_PKEY_free(PyCapsule_GetPointer(capsule, KEY_NAME)); }

static PyObject *key_object(EVP_PKEY *key) {
  EVP_PKEY_up_ref(key);
  PyObject *capsule = PyCapsule_New(key, KEY_NAME, key_free);
  if (capsule == NULL)
    EVP_PKEY_free(key);
  return capsule;
}

/* Arguments ------------------------------------------------------------------- */

/* A capsule, or a key's text. */
static int key_as_source(PyObject *value, CryptoJob *job, uvw_key_source *source) {
  if (!PyCapsule_CheckExact(value))
    return PyObject_GetBuffer(value, &job->views[UVW_KEY_TEXT], PyBUF_SIMPLE);
  source->key = PyCapsule_GetPointer(value, KEY_NAME);
  return source->key != NULL ? 0 : -1;
}

/* None is none. */
static int key_as_digest(PyObject *value, const char *argument, const EVP_MD **md) {
  return value == Py_None || (*md = crypto_digest(value, argument)) != NULL ? 0 : -1;
}

/* NULL is none. What is too long is no name of OpenSSL's, cut or not. */
static void key_copy_name(char out[UVW_NAME_SIZE], const char *name) {
  snprintf(out, UVW_NAME_SIZE, "%s", name != NULL ? name : "");
}

static int key_check_curve(const char *name) {
  int id = EC_curve_nist2nid(name);
  if (id == NID_undef)
    id = OBJ_sn2nid(name);
  EC_GROUP *group = id != NID_undef ? EC_GROUP_new_by_curve_name(id) : NULL;
  EC_GROUP_free(group);
  ERR_clear_error();
  if (group == NULL)
    PyErr_Format(PyExc_ValueError, "named_curve: unknown curve '%s'", name);
  return group != NULL ? 0 : -1;
}

static int key_check_cipher(const char *name) {
  EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
  EVP_CIPHER_free(cipher);
  ERR_clear_error();
  if (cipher == NULL)
    PyErr_Format(PyExc_ValueError, "cipher: unknown cipher '%s'", name);
  return cipher != NULL ? 0 : -1;
}

static int key_as_encoding(int structure, const char *cipher, uvw_key_encoding *out) {
  if (structure < 0 || structure >= UVW_KEY_STRUCTURE_COUNT) {
    PyErr_Format(PyExc_ValueError, "structure: unknown number %d", structure);
    return -1;
  }
  if (cipher != NULL && key_check_cipher(cipher) < 0)
    return -1;
  out->structure = structure;
  key_copy_name(out->cipher, cipher);
  return 0;
}

/* Generation and export ------------------------------------------------------- */

/* A str for PEM, bytes for DER, or the key itself if it was not to be written. */
static PyObject *key_written(const uvw_crypto *crypto, const uvw_key_encoding *encoding,
                             int which) {
  const char *data = (const char *)crypto->made[which].data;
  Py_ssize_t size = (Py_ssize_t)crypto->made[which].size;
  if (encoding->structure == UVW_KEY_UNWRITTEN)
    return key_object(crypto->key);
  return encoding->pem ? PyUnicode_DecodeASCII(data, size, NULL)
                       : PyBytes_FromStringAndSize(data, size);
}

static PyObject *key_shape_pair(Job *self, uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  const uvw_generate_args *a = (uvw_generate_args *)crypto->state;
  if (job->error != 0)
    return crypto_raise(self, crypto);
  PyObject *public_key = key_written(crypto, &a->encoding[UVW_PUBLIC], UVW_PUBLIC);
  PyObject *private_key =
      public_key != NULL ? key_written(crypto, &a->encoding[UVW_PRIVATE], UVW_PRIVATE) : NULL;
  if (private_key != NULL)
    return Py_BuildValue("NN", public_key, private_key);
  Py_XDECREF(public_key);
  return NULL;
}

static const JobKind pair_kind = CRYPTO_KIND(key_shape_pair);

/* generate_key_pair(type, bits, divisor_bits, exponent, digest, mgf1_digest,
 *   salt_length, group, explicit_curve, prime, generator,
 *   public structure, pem, private structure, pem, cipher, passphrase) */
static PyObject *core_generate_key_pair(PyObject *Py_UNUSED(module), PyObject *const *args,
                                        Py_ssize_t nargs) {
  uvw_generate_args a = {0};
  uvw_key_encoding *encoding = a.encoding;
  const char *type, *group, *cipher;
  int structures[2];
  PyObject *digest, *mgf1_digest;
  CryptoJob *job = crypto_job(&pair_kind);
  if (job == NULL ||
      arguments("generate_key_pair", args, nargs, "siiuOOizpyiipipzy", &type, &a.bits,
                &a.divisor_bits, &a.exponent, &digest, &mgf1_digest, &a.salt_length, &group,
                &a.explicit_curve, &job->views[UVW_PRIME], &a.generator, &structures[UVW_PUBLIC],
                &encoding[UVW_PUBLIC].pem, &structures[UVW_PRIVATE], &encoding[UVW_PRIVATE].pem,
                &cipher, &job->views[UVW_PASSPHRASE]) < 0 ||
      (strcmp(type, "EC") == 0 && key_check_curve(group != NULL ? group : "") < 0) ||
      key_as_encoding(structures[UVW_PUBLIC], NULL, &encoding[UVW_PUBLIC]) < 0 ||
      key_as_encoding(structures[UVW_PRIVATE], cipher, &encoding[UVW_PRIVATE]) < 0 ||
      key_as_digest(digest, "hash_algorithm", &a.md) < 0 ||
      key_as_digest(mgf1_digest, "mgf1_hash_algorithm", &a.mgf1_md) < 0)
    return crypto_refuse(job);
  key_copy_name(a.type, type);
  key_copy_name(a.group, group);
  return crypto_submit(job, &uvw_crypto_generate, &a, NULL, 0);
}

static PyObject *key_shape_export(Job *self, uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  const uvw_export_args *a = (uvw_export_args *)crypto->state;
  return job->error != 0 ? crypto_raise(self, crypto) : key_written(crypto, &a->encoding, 0);
}

static const JobKind export_kind = CRYPTO_KIND(key_shape_export);

/* export_key(key, private, structure, pem, cipher, passphrase) */
static PyObject *core_export_key(PyObject *Py_UNUSED(module), PyObject *const *args,
                                 Py_ssize_t nargs) {
  uvw_export_args a = {0};
  PyObject *key;
  const char *cipher;
  int structure;
  CryptoJob *job = crypto_job(&export_kind);
  if (job == NULL ||
      arguments("export_key", args, nargs, "Opipzy", &key, &a.source.private_key, &structure,
                &a.encoding.pem, &cipher, &job->views[UVW_PASSPHRASE]) < 0 ||
      key_as_encoding(structure, cipher, &a.encoding) < 0 ||
      (a.source.key = PyCapsule_GetPointer(key, KEY_NAME)) == NULL)
    return crypto_refuse(job);
  return crypto_submit(job, &uvw_crypto_export, &a, NULL, 0);
}

/* Reading, signing, verifying ------------------------------------------------- */

static PyObject *key_shape(Job *self, uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  return job->error != 0 ? crypto_raise(self, crypto) : key_object(crypto->key);
}

static const JobKind key_kind = CRYPTO_KIND(key_shape);

/* load_key(text, passphrase, private) */
static PyObject *core_load_key(PyObject *Py_UNUSED(module), PyObject *const *args,
                               Py_ssize_t nargs) {
  uvw_key_source source = {0};
  CryptoJob *job = crypto_job(&key_kind);
  if (job == NULL || arguments("load_key", args, nargs, "byp", &job->views[UVW_KEY_TEXT],
                               &job->views[UVW_PASSPHRASE], &source.private_key) < 0)
    return crypto_refuse(job);
  return crypto_submit(job, &uvw_crypto_load, &source, NULL, 0);
}

/* sign(data, key, passphrase, digest, padding, salt_length, p1363) */
static PyObject *core_sign(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_sign_args a = {.source.private_key = true};
  PyObject *key, *digest;
  CryptoJob *job = crypto_job(&crypto_made_kind);
  if (job == NULL ||
      arguments("sign", args, nargs, "bOyOiip", &job->views[UVW_DATA], &key,
                &job->views[UVW_PASSPHRASE], &digest, &a.padding, &a.salt_length, &a.p1363) < 0 ||
      key_as_digest(digest, "algorithm", &a.md) < 0 || key_as_source(key, job, &a.source) < 0)
    return crypto_refuse(job);
  a.changeable = !PyBytes_CheckExact(job->views[UVW_DATA].obj);
  return crypto_submit(job, &uvw_crypto_sign, &a, NULL, 0);
}

/* verify(data, signature, key, passphrase, digest, padding, salt_length, p1363) */
static PyObject *core_verify(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  uvw_sign_args a = {0};
  PyObject *key, *digest;
  CryptoJob *job = crypto_job(&crypto_answer_kind);
  if (job == NULL ||
      arguments("verify", args, nargs, "bbOyOiip", &job->views[UVW_DATA],
                &job->views[UVW_SIGNATURE], &key, &job->views[UVW_PASSPHRASE], &digest, &a.padding,
                &a.salt_length, &a.p1363) < 0 ||
      key_as_digest(digest, "algorithm", &a.md) < 0 || key_as_source(key, job, &a.source) < 0)
    return crypto_refuse(job);
  return crypto_submit(job, &uvw_crypto_verify, &a, NULL, 0);
}

/* Facts ----------------------------------------------------------------------- */

/* key_facts(key) -> (type, bits, group or None) */
static PyObject *core_key_facts(PyObject *Py_UNUSED(module), PyObject *capsule) {
  EVP_PKEY *key = PyCapsule_GetPointer(capsule, KEY_NAME);
  if (key == NULL)
    return NULL;
  char group[UVW_NAME_SIZE];
  size_t length = 0;
  bool has = EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                            &length) == 1;
  ERR_clear_error(); /* no group is no error */
  return Py_BuildValue("siz", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key),
                       has ? group : NULL);
}

/* keys_equal(key, other): as public keys */
static PyObject *core_keys_equal(PyObject *Py_UNUSED(module), PyObject *const *args,
                                 Py_ssize_t nargs) {
  PyObject *capsule, *other;
  if (arguments("keys_equal", args, nargs, "OO", &capsule, &other) < 0)
    return NULL;
  EVP_PKEY *key = PyCapsule_GetPointer(capsule, KEY_NAME);
  EVP_PKEY *key2 = key != NULL ? PyCapsule_GetPointer(other, KEY_NAME) : NULL;
  if (key2 == NULL)
    return NULL;
  int equal = EVP_PKEY_eq(key, key2) == 1;
  ERR_clear_error();
  return PyBool_FromLong(equal);
}

PyMethodDef crypto_keys_methods[] = {
    {"generate_key_pair", FASTCALL(core_generate_key_pair), "See crypto_keys.c."},
    {"load_key", FASTCALL(core_load_key), "load_key(text, passphrase, private) -> Job"},
    {"export_key", FASTCALL(core_export_key),
     "export_key(key, private, structure, pem, cipher, passphrase) -> Job"},
    {"sign", FASTCALL(core_sign),
     "sign(data, key, passphrase, digest, padding, salt_length, p1363) -> Job"},
    {"verify", FASTCALL(core_verify),
     "verify(data, signature, key, passphrase, digest, padding, salt_length, p1363) -> Job"},
    {"key_facts", core_key_facts, METH_O, "key_facts(key) -> (type, bits, group)"},
    {"keys_equal", FASTCALL(core_keys_equal), "keys_equal(key, other) -> bool"},
    {NULL, NULL, 0, NULL},
};
