/* crypto jobs as csrc/core sees them: key derivation, random bytes, hashes,
 * primes, keys, signatures, all by OpenSSL's EVP interface on the lane cpu.
 *
 * What a job reads (uvw_span) and the memory it fills belong to the submitter
 * and stay valid until the job has come back. Everything secret that a job
 * itself makes or copies is wiped when it is freed, and so is the result when
 * nobody has taken it. An error is job->error UVW_EOPENSSL with a `reason`. */
#ifndef UVW_CRYPTO_H
#define UVW_CRYPTO_H

#include <limits.h>
#include <string.h>

#include <openssl/types.h>

#include "engine.h"

typedef struct {
  const void *data;
  size_t size;
} uvw_span;

typedef struct uvw_crypto uvw_crypto;
typedef struct uvw_key_options uvw_key_options;

/* Makes the fields of an operation empty; the caller fills them in. `size`
 * more bytes are at `extra`, for copies. */
uvw_crypto *uvw_crypto_new(int (*step)(uvw_crypto *), size_t size, uvw_completions *completions,
                           void *token);

enum { UVW_SPANS = 4 };

struct uvw_crypto {
  uvw_job job;
  int (*step)(uvw_crypto *crypto);
  char reason[160];
  uvw_span in[UVW_SPANS];
  /* The result: memory of the submitter's, of `size` bytes. */
  unsigned char *out;
  size_t size;
  size_t secret; /* so much of it is filled, and wiped unless `taken` by the submitter */
  bool taken;
  int answer;    /* of verify and check_prime */
  size_t offset; /* how far a job in chunks has come */
  EVP_MD *md;
  uint64_t iterations, n, r, p; /* pbkdf2, scrypt */
  /* What an operation keeps between its steps, and how that is freed: */
  void *kept;
  void (*free_kept)(void *kept);
  /* hash: */
  EVP_MD_CTX *state;
  int fd;
  const char *path; /* in `extra` */
  /* primes: */
  BIGNUM *number, *add, *rem;
  int bits, checks;
  bool safe;
  /* keys: */
  EVP_PKEY *key;
  uvw_span key_text; /* a copy in `extra`, as is the passphrase */
  uvw_span passphrase;
  bool private_key, has_passphrase, encrypted;
  int padding, salt_length; /* sign and verify; padding 0 and salt_length INT_MIN: the key's own */
  bool p1363, mutable;      /* mutable: the data to sign */
  uvw_key_options *options;
  BIO *text[2]; /* encoded keys: public, private */
  size_t extra_size;
  unsigned char extra[];
};

/* A digest by any of its usual names; the caller frees it. */
EVP_MD *uvw_crypto_digest(const char *name);
/* The reason of the last failure in this thread, and an empty queue. */
void uvw_crypto_reason(char *reason, size_t size);
void uvw_crypto_wipe(void *memory, size_t size);

/* Between the files of crypto */
int uvw__crypto_fail(uvw_crypto *crypto, int error);
int uvw__crypto_end(uvw_crypto *crypto, bool worked);
int uvw__crypto_pause(uvw_crypto *crypto);
int uvw__crypto_go_on(uvw_crypto *crypto);
int uvw__crypto_derive(uvw_crypto *crypto, const uvw_span *salt, unsigned char *out, size_t size,
                       size_t *offset);
bool uvw__crypto_read_key(uvw_crypto *crypto);

/* Steps */
int uvw_crypto_pbkdf2(uvw_crypto *crypto); /* in: password, salt */
int uvw_crypto_scrypt(uvw_crypto *crypto); /* in: password, salt */
int uvw_crypto_hkdf(uvw_crypto *crypto);   /* in: key, salt, info */
int uvw_crypto_random(uvw_crypto *crypto);
int uvw_crypto_hash(uvw_crypto *crypto); /* in: data; or path, or fd with offset */
int uvw_crypto_prime(uvw_crypto *crypto);
int uvw_crypto_check_prime(uvw_crypto *crypto);
int uvw_crypto_generate(uvw_crypto *crypto);
int uvw_crypto_load(uvw_crypto *crypto);
int uvw_crypto_export(uvw_crypto *crypto);
int uvw_crypto_sign(uvw_crypto *crypto);   /* in: data */
int uvw_crypto_verify(uvw_crypto *crypto); /* in: data, signature */

/* Keys --------------------------------------------------------------------- */

/* How a key is written: structure "spki", "pkcs8", "pkcs1" or "sec1", format
 * "PEM" or "DER"; structure NULL: it is not. All strings are static or live as
 * long as the job. */
typedef struct {
  const char *structure, *format;
  const char *cipher; /* or NULL */
} uvw_key_encoding;

struct uvw_key_options {
  const char *type; /* OpenSSL's name: "RSA", "EC", ... */
  int bits, divisor_bits;
  uint64_t exponent;
  EVP_MD *md, *mgf1_md; /* rsa-pss */
  int salt_length;      /* or -1 */
  const char *group;    /* of ec and dh */
  bool explicit_curve;
  uvw_span prime; /* dh */
  int generator;
  uvw_key_encoding encoding[2]; /* public, private */
};

#endif
