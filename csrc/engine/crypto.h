/* crypto jobs as csrc/core sees them: key derivation, random bytes, hashes,
 * primes, keys, signatures, all by OpenSSL's EVP interface on the lane cpu.
 *
 * A job's operation is a row, and has a state of its own behind the part that
 * all jobs have. The state begins with the operation's arguments, which the
 * submitter has filled in; the rest is known to the operation's file alone.
 *
 * What a job reads and the memory that it fills belong to the submitter and
 * stay valid until the job has come back. Everything secret that a job itself
 * makes or copies is wiped when it is freed, and so is what it has filled when
 * nobody has taken it. An error is job->error UVW_EOPENSSL with a `reason`. */
#ifndef UVW_CRYPTO_H
#define UVW_CRYPTO_H

#include <limits.h>
#include <stddef.h>
#include <string.h>

#include <openssl/types.h>

#include "engine.h"

typedef struct {
  const void *data; /* NULL: there is none */
  size_t size;
} uvw_span;

typedef struct uvw_crypto uvw_crypto;

typedef struct {
  size_t args, state; /* bytes; the state begins with the arguments */
  int secrets;        /* so many of `in`, the last ones, are copied and the copies wiped */
  /* Makes the job's own what its arguments only lend, while the submitter
   * waits; returns an errno. May be NULL. */
  int (*init)(uvw_crypto *crypto);
  int (*step)(uvw_crypto *crypto);     /* on a worker; returns enum uvw_step */
  void (*cleanup)(uvw_crypto *crypto); /* frees what the state owns, also after a failed init */
} uvw_crypto_operation;

enum { UVW_CRYPTO_INPUTS = 4 };

struct uvw_crypto {
  uvw_job job;
  const uvw_crypto_operation *operation;
  char reason[160];
  uvw_span in[UVW_CRYPTO_INPUTS];
  /* The result, by the operation: so much of the submitter's memory, */
  unsigned char *out;
  size_t size;
  size_t filled; /* of which this much is filled, and wiped unless `taken` by the submitter; */
  bool taken;
  bool answer; /* yes or no; */
  struct {
    unsigned char *data;
    size_t size;
  } made[2];     /* memory of the job's own, where only the job knows how much it takes; */
  EVP_PKEY *key; /* a key, which is the operation's to free. */
  void *copies;  /* of secrets */
  size_t copied;
  _Alignas(max_align_t) unsigned char state[];
};

/* `args` are the operation's and may be NULL if it has none; `out` and `size`
 * are left to the submitter to set. NULL: errno tells why. */
uvw_crypto *uvw_crypto_new(const uvw_crypto_operation *operation, const void *args,
                           const uvw_span in[UVW_CRYPTO_INPUTS], uvw_completions *completions,
                           void *token);

/* A digest by any of its usual names, or NULL. Each is kept for good, so that
 * it need not be fetched again. Only under the caller's lock (the GIL). */
const EVP_MD *uvw_crypto_digest(const char *name);
/* The reason of the last failure in this thread, and an empty queue. */
void uvw_crypto_reason(char *reason, size_t size);

/* Key derivation and random bytes: into `out` ------------------------------- */

typedef struct {
  const EVP_MD *md;
  uint64_t iterations;
} uvw_pbkdf2_args;
extern const uvw_crypto_operation uvw_crypto_pbkdf2; /* in: password, salt */

typedef struct {
  uint64_t n, r, p;
} uvw_scrypt_args;
extern const uvw_crypto_operation uvw_crypto_scrypt; /* in: password, salt */

typedef struct {
  const EVP_MD *md;
} uvw_hkdf_args;
extern const uvw_crypto_operation uvw_crypto_hkdf; /* in: key, salt, info */

extern const uvw_crypto_operation uvw_crypto_random; /* no arguments */

/* Hashes: into `out` --------------------------------------------------------- */

typedef struct {
  const EVP_MD *md;
  const char *path; /* the submitter's; or NULL, and then */
  int fd;           /* an open file from `offset` on, lent until the job is made; or -1 */
  uint64_t offset;
} uvw_hash_args;
extern const uvw_crypto_operation uvw_crypto_hash; /* in: data, without a file */

/* Primes ---------------------------------------------------------------------- */

typedef struct {
  int bits;
  bool safe;
} uvw_prime_args;
extern const uvw_crypto_operation uvw_crypto_prime; /* in: add, rem, or none; made[0] */

typedef struct {
  int checks; /* 0: as many as OpenSSL thinks right */
} uvw_check_prime_args;
extern const uvw_crypto_operation uvw_crypto_check_prime; /* in: candidate; answer */

/* Keys -------------------------------------------------------------------------- */

/* The inputs of all operations with keys; the last two are secrets. */
enum { UVW_DATA, UVW_SIGNATURE, UVW_KEY_TEXT, UVW_PASSPHRASE, UVW_PRIME = UVW_DATA };

/* A key that is lent until the job is made; or NULL: the one in UVW_KEY_TEXT. */
typedef struct {
  EVP_PKEY *key;
  bool private_key;
} uvw_key_source;

/* The structures in which a key is written. */
#define UVW_KEY_STRUCTURES(X)                                                                      \
  X(SPKI, "SubjectPublicKeyInfo")                                                                  \
  X(PKCS8, "PrivateKeyInfo")                                                                       \
  X(PKCS1, "type-specific")                                                                        \
  X(SEC1, "type-specific")

enum {
  UVW_KEY_UNWRITTEN,
#define UVW_KEY_STRUCTURE(NAME, openssl_name) UVW_KEY_##NAME,
  UVW_KEY_STRUCTURES(UVW_KEY_STRUCTURE)
#undef UVW_KEY_STRUCTURE
      UVW_KEY_STRUCTURE_COUNT
};

enum { UVW_NAME_SIZE = 64 }; /* of OpenSSL's names, with the NUL */

typedef struct {
  int structure;
  bool pem;
  char cipher[UVW_NAME_SIZE]; /* or empty */
} uvw_key_encoding;

extern const uvw_crypto_operation uvw_crypto_load; /* args: uvw_key_source; key */

typedef struct {
  uvw_key_source source;
  uvw_key_encoding encoding;
} uvw_export_args;
extern const uvw_crypto_operation uvw_crypto_export; /* made[0] */

enum { UVW_PUBLIC, UVW_PRIVATE };

typedef struct {
  char type[UVW_NAME_SIZE]; /* OpenSSL's name: "RSA", "EC", ... */
  int bits, divisor_bits;
  uint64_t exponent;
  const EVP_MD *md, *mgf1_md; /* of rsa-pss, or NULL */
  int salt_length;            /* or -1 */
  char group[UVW_NAME_SIZE];  /* of ec and dh, or empty */
  bool explicit_curve;
  int generator;
  uvw_key_encoding encoding[2]; /* public, private */
} uvw_generate_args;
/* in: UVW_PRIME of dh, or none. key; and made[] where an encoding is asked for */
extern const uvw_crypto_operation uvw_crypto_generate;

/* Signatures --------------------------------------------------------------------- */

enum { UVW_PADDING_DEFAULT = 0, UVW_SALTLEN_DEFAULT = INT_MIN };

typedef struct {
  uvw_key_source source;
  const EVP_MD *md;         /* or NULL */
  int padding, salt_length; /* of rsa */
  bool p1363;               /* the signature is in IEEE P1363's form, not in DER */
  bool changeable;          /* the data: others might write to it meanwhile */
} uvw_sign_args;
extern const uvw_crypto_operation uvw_crypto_sign;   /* in: UVW_DATA; made[0] */
extern const uvw_crypto_operation uvw_crypto_verify; /* in: UVW_DATA, UVW_SIGNATURE; answer */

#endif
