/* core's keys and signatures. A key is a capsule that holds an EVP_PKEY, which
 * OpenSSL counts and shares between threads; or the caller's text of one, which
 * the job copies, reads on its worker and wipes, as it does a passphrase. */
#include "crypto_core.h"

#include <stdlib.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>

#define KEY_NAME "uvworks.key"

static void free_key(PyObject *capsule) { EVP_PKEY_free(PyCapsule_GetPointer(capsule, KEY_NAME)); }

static PyObject *key_object(EVP_PKEY *key) {
  EVP_PKEY_up_ref(key);
  PyObject *capsule = PyCapsule_New(key, KEY_NAME, free_key);
  if (capsule == NULL)
    EVP_PKEY_free(key);
  return capsule;
}

/* What stands in an encoded key: a str for PEM, bytes for DER. */
static PyObject *text_object(BIO *text, bool pem) {
  char *data;
  long size = BIO_get_mem_data(text, &data);
  return pem ? PyUnicode_DecodeASCII(data, size, NULL) : PyBytes_FromStringAndSize(data, size);
}

/* Copies into the job's own memory, where it is wiped in the end. */
static unsigned char *copy(uvw_span *span, unsigned char *at, const Py_buffer *view) {
  if (view->len > 0)
    memcpy(at, view->buf, (size_t)view->len);
  span->data = at;
  span->size = (size_t)view->len;
  return at + view->len;
}

static void copy_passphrase(uvw_crypto *crypto, unsigned char *at, const Py_buffer *view) {
  if (view->obj == NULL)
    return;
  copy(&crypto->passphrase, at, view);
  crypto->has_passphrase = true;
}

static bool known_curve(const char *name) {
  int id = EC_curve_nist2nid(name);
  if (id == NID_undef)
    id = OBJ_sn2nid(name);
  EC_GROUP *group = id != NID_undef ? EC_GROUP_new_by_curve_name(id) : NULL;
  EC_GROUP_free(group);
  ERR_clear_error();
  if (group == NULL)
    PyErr_Format(PyExc_ValueError, "named_curve: unknown curve '%s'", name);
  return group != NULL;
}

/* NULL is none. */
static bool known_cipher(const char *name) {
  EVP_CIPHER *cipher = name != NULL ? EVP_CIPHER_fetch(NULL, name, NULL) : NULL;
  EVP_CIPHER_free(cipher);
  ERR_clear_error();
  if (name != NULL && cipher == NULL)
    PyErr_Format(PyExc_ValueError, "cipher: unknown cipher '%s'", name);
  return name == NULL || cipher != NULL;
}

/* Generation and export ------------------------------------------------------ */

static PyObject *shape_encoded(uvw_crypto *crypto, int which) {
  const uvw_key_encoding *encoding = &crypto->options->encoding[which];
  if (encoding->structure == NULL)
    return key_object(crypto->key);
  return text_object(crypto->text[which], encoding->format[0] == 'P');
}

static PyObject *shape_pair(Job *self, uvw_job *engine_job) {
  CryptoJob *job = (CryptoJob *)self;
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  if (engine_job->error != 0)
    return crypto_raise(job, crypto);
  PyObject *public_key = shape_encoded(crypto, 0), *private_key = shape_encoded(crypto, 1);
  if (public_key != NULL && private_key != NULL)
    return Py_BuildValue("NN", public_key, private_key);
  Py_XDECREF(public_key);
  Py_XDECREF(private_key);
  return NULL;
}

static const JobKind pair_kind = CRYPTO_KIND(shape_pair);

/* generate_key_pair(type, bits, divisor_bits, exponent, digest, mgf1_digest,
 *   salt_length, group, explicit_curve, prime, generator,
 *   (public structure, format), (private structure, format, cipher), passphrase) */
PyObject *core_generate_key_pair(PyObject *Py_UNUSED(module), PyObject *args) {
  uvw_key_options o = {0};
  unsigned long long exponent;
  int explicit_curve;
  PyObject *digest, *mgf1_digest;
  Py_buffer passphrase = {0};
  uvw_crypto *crypto = NULL;
  CryptoJob *job = crypto_draft(&pair_kind);
  if (job == NULL ||
      !PyArg_ParseTuple(args, "siiKOOizpz*i(zz)(zzz)z*", &o.type, &o.bits, &o.divisor_bits,
                        &exponent, &digest, &mgf1_digest, &o.salt_length, &o.group, &explicit_curve,
                        &job->views[0], &o.generator, &o.encoding[0].structure,
                        &o.encoding[0].format, &o.encoding[1].structure, &o.encoding[1].format,
                        &o.encoding[1].cipher, &passphrase))
    return crypto_drop(job, NULL);
  job->option = Py_NewRef(args); /* the strings are its */
  o.exponent = exponent;
  o.explicit_curve = explicit_curve;
  o.prime.data = job->views[0].buf;
  o.prime.size = (size_t)job->views[0].len;
  if ((strcmp(o.type, "EC") == 0 && !known_curve(o.group)) || !known_cipher(o.encoding[1].cipher) ||
      (digest != Py_None && (o.md = crypto_digest(digest, "hash_algorithm")) == NULL) ||
      (mgf1_digest != Py_None &&
       (o.mgf1_md = crypto_digest(mgf1_digest, "mgf1_hash_algorithm")) == NULL))
    goto failed;
  crypto = crypto_open(job, uvw_crypto_generate, (size_t)passphrase.len);
  if (crypto == NULL)
    goto failed;
  crypto->options = malloc(sizeof(o));
  if (crypto->options == NULL) {
    PyErr_NoMemory();
    goto failed;
  }
  *crypto->options = o;
  copy_passphrase(crypto, crypto->extra, &passphrase);
  buffer_release(&passphrase);
  return job_submit(&job->base, &crypto->job);

failed:
  buffer_release(&passphrase);
  EVP_MD_free(o.md);
  EVP_MD_free(o.mgf1_md);
  return crypto_drop(job, crypto);
}

static PyObject *shape_export(Job *self, uvw_job *engine_job) {
  CryptoJob *job = (CryptoJob *)self;
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  if (engine_job->error != 0)
    return crypto_raise(job, crypto);
  return shape_encoded(crypto, crypto->options->encoding[1].structure != NULL);
}

static const JobKind export_kind = CRYPTO_KIND(shape_export);

/* export_key(key, private, structure, format, cipher, passphrase) */
PyObject *core_export_key(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *capsule;
  int private;
  uvw_key_encoding encoding = {0};
  Py_buffer passphrase = {0};
  uvw_crypto *crypto = NULL;
  CryptoJob *job = crypto_draft(&export_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "Opsszz*", &capsule, &private, &encoding.structure,
                                       &encoding.format, &encoding.cipher, &passphrase))
    return crypto_drop(job, NULL);
  job->option = Py_NewRef(args);
  EVP_PKEY *key = PyCapsule_GetPointer(capsule, KEY_NAME);
  if (key != NULL && known_cipher(encoding.cipher))
    crypto = crypto_open(job, uvw_crypto_export, (size_t)passphrase.len);
  if (crypto != NULL && (crypto->options = calloc(1, sizeof(*crypto->options))) == NULL)
    PyErr_NoMemory();
  if (crypto == NULL || crypto->options == NULL) {
    buffer_release(&passphrase);
    return crypto_drop(job, crypto);
  }
  EVP_PKEY_up_ref(key);
  crypto->key = key;
  crypto->options->encoding[private] = encoding;
  copy_passphrase(crypto, crypto->extra, &passphrase);
  buffer_release(&passphrase);
  return job_submit(&job->base, &crypto->job);
}

/* Reading, signing, verifying -------------------------------------------------- */

/* The job, with its key taken from a capsule or copied from text. */
static uvw_crypto *open_with_key(CryptoJob *job, int (*step)(uvw_crypto *), PyObject *key,
                                 const Py_buffer *passphrase) {
  Py_buffer text = {0};
  EVP_PKEY *ready = NULL;
  if (PyCapsule_CheckExact(key)) {
    ready = PyCapsule_GetPointer(key, KEY_NAME);
    if (ready == NULL)
      return NULL;
  } else if (PyObject_GetBuffer(key, &text, PyBUF_SIMPLE) < 0) {
    return NULL;
  }
  uvw_crypto *crypto = crypto_open(job, step, (size_t)text.len + (size_t)passphrase->len);
  if (crypto != NULL) {
    unsigned char *at = crypto->extra;
    if (ready != NULL) {
      EVP_PKEY_up_ref(ready);
      crypto->key = ready;
    } else {
      at = copy(&crypto->key_text, at, &text);
    }
    copy_passphrase(crypto, at, passphrase);
  }
  buffer_release(&text);
  return crypto;
}

static PyObject *shape_key(Job *self, uvw_job *engine_job) {
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  return engine_job->error != 0 ? crypto_raise((CryptoJob *)self, crypto) : key_object(crypto->key);
}

static const JobKind key_kind = CRYPTO_KIND(shape_key);

/* load_key(text, passphrase, private) */
PyObject *core_load_key(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *text;
  Py_buffer passphrase = {0};
  int private;
  CryptoJob *job = crypto_draft(&key_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "Oz*p", &text, &passphrase, &private))
    return crypto_drop(job, NULL);
  uvw_crypto *crypto = open_with_key(job, uvw_crypto_load, text, &passphrase);
  buffer_release(&passphrase);
  if (crypto == NULL)
    return crypto_drop(job, NULL);
  crypto->private_key = private;
  return job_submit(&job->base, &crypto->job);
}

static PyObject *shape_signature(Job *self, uvw_job *engine_job) {
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  return engine_job->error != 0 ? crypto_raise((CryptoJob *)self, crypto)
                                : text_object(crypto->text[0], false);
}

static const JobKind signature_kind = CRYPTO_KIND(shape_signature);

static PyObject *shape_verdict(Job *self, uvw_job *engine_job) {
  uvw_crypto *crypto = (uvw_crypto *)engine_job;
  return engine_job->error != 0 ? crypto_raise((CryptoJob *)self, crypto)
                                : PyBool_FromLong(crypto->answer);
}

static const JobKind verdict_kind = CRYPTO_KIND(shape_verdict);

static PyObject *submit_signing(CryptoJob *job, PyObject *key, Py_buffer *passphrase,
                                PyObject *digest, const int options[3], bool signs) {
  EVP_MD *md = NULL;
  uvw_crypto *crypto = NULL;
  if (digest == Py_None || (md = crypto_digest(digest, "algorithm")) != NULL)
    crypto = open_with_key(job, signs ? uvw_crypto_sign : uvw_crypto_verify, key, passphrase);
  buffer_release(passphrase);
  if (crypto == NULL) {
    EVP_MD_free(md);
    return crypto_drop(job, NULL);
  }
  crypto->md = md;
  crypto->private_key = signs;
  crypto->padding = options[0];
  crypto->salt_length = options[1];
  crypto->p1363 = options[2];
  crypto->mutable = !PyBytes_CheckExact(job->views[0].obj);
  return job_submit(&job->base, &crypto->job);
}

/* sign(data, key, passphrase, digest, padding, salt_length, p1363) */
PyObject *core_sign(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *key, *digest;
  Py_buffer passphrase = {0};
  int options[3];
  CryptoJob *job = crypto_draft(&signature_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "y*Oz*Oiip", &job->views[0], &key, &passphrase,
                                       &digest, &options[0], &options[1], &options[2]))
    return crypto_drop(job, NULL);
  return submit_signing(job, key, &passphrase, digest, options, true);
}

/* verify(data, signature, key, passphrase, digest, padding, salt_length, p1363) */
PyObject *core_verify(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *key, *digest;
  Py_buffer passphrase = {0};
  int options[3];
  CryptoJob *job = crypto_draft(&verdict_kind);
  if (job == NULL || !PyArg_ParseTuple(args, "y*y*Oz*Oiip", &job->views[0], &job->views[1], &key,
                                       &passphrase, &digest, &options[0], &options[1], &options[2]))
    return crypto_drop(job, NULL);
  return submit_signing(job, key, &passphrase, digest, options, false);
}

/* Facts ------------------------------------------------------------------------ */

/* key_facts(key) -> (type, bits, group or None) */
PyObject *core_key_facts(PyObject *Py_UNUSED(module), PyObject *capsule) {
  EVP_PKEY *key = PyCapsule_GetPointer(capsule, KEY_NAME);
  if (key == NULL)
    return NULL;
  char group[64];
  size_t length = 0;
  bool has = EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                            &length) == 1;
  ERR_clear_error(); /* no group is no error */
  return Py_BuildValue("siz", EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key),
                       has ? group : NULL);
}

/* keys_equal(key, other): as public keys */
PyObject *core_keys_equal(PyObject *Py_UNUSED(module), PyObject *args) {
  PyObject *capsule, *other;
  if (!PyArg_ParseTuple(args, "OO", &capsule, &other))
    return NULL;
  EVP_PKEY *key = PyCapsule_GetPointer(capsule, KEY_NAME);
  EVP_PKEY *key2 = key != NULL ? PyCapsule_GetPointer(other, KEY_NAME) : NULL;
  if (key2 == NULL)
    return NULL;
  int equal = EVP_PKEY_eq(key, key2) == 1;
  ERR_clear_error();
  return PyBool_FromLong(equal);
}
