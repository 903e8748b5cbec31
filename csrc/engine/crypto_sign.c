/* Signatures. Large data is fed in chunks, but ed25519 and ed448 take it at
 * once: they need all of it twice. */
#include "crypto.h"
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#define CHUNK ((size_t)1 << 18)

static bool takes_all_at_once(EVP_PKEY *key) {
  return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
}

/* How many bytes each half of a signature takes in IEEE P1363's form; 0 when
 * the key has no such form. */
static size_t half_size(EVP_PKEY *key) {
  if (!EVP_PKEY_is_a(key, "EC") && !EVP_PKEY_is_a(key, "DSA"))
    return 0;
  BIGNUM *order = NULL;
  const char *name = EVP_PKEY_is_a(key, "EC") ? "order" : "q";
  if (EVP_PKEY_get_bn_param(key, name, &order) != 1)
    return 0;
  size_t size = (size_t)BN_num_bytes(order);
  BN_free(order);
  return size;
}

static int start(uvw_crypto *crypto, bool signs) {
  EVP_PKEY_CTX *context = NULL;
  crypto->state = EVP_MD_CTX_new();
  if (crypto->state == NULL)
    return 0;
  if ((signs ? EVP_DigestSignInit : EVP_DigestVerifyInit)(crypto->state, &context, crypto->md, NULL,
                                                          crypto->key) != 1)
    return 0;
  if (!EVP_PKEY_is_a(crypto->key, "RSA") && !EVP_PKEY_is_a(crypto->key, "RSA-PSS"))
    return 1;
  int padding = crypto->padding != 0                    ? crypto->padding
                : EVP_PKEY_is_a(crypto->key, "RSA-PSS") ? RSA_PKCS1_PSS_PADDING
                                                        : RSA_PKCS1_PADDING;
  if (EVP_PKEY_CTX_set_rsa_padding(context, padding) != 1)
    return 0;
  if (padding != RSA_PKCS1_PSS_PADDING || crypto->salt_length == INT_MIN)
    return 1;
  return EVP_PKEY_CTX_set_rsa_pss_saltlen(context, crypto->salt_length);
}

static int feed(uvw_crypto *crypto, bool signs) {
  const uvw_span *in = &crypto->in[0];
  while (crypto->offset < in->size) {
    size_t left = in->size - crypto->offset, chunk = left < CHUNK ? left : CHUNK;
    const char *at = (const char *)in->data + crypto->offset;
    if ((signs ? EVP_DigestSignUpdate(crypto->state, at, chunk)
               : EVP_DigestVerifyUpdate(crypto->state, at, chunk)) != 1)
      return uvw__crypto_end(crypto, false);
    crypto->offset += chunk;
    int step = crypto->offset < in->size ? uvw__crypto_pause(crypto) : UVW__GO_ON;
    if (step != UVW__GO_ON)
      return step;
  }
  return UVW__GO_ON;
}

/* The result goes into memory of the job's own: its size is only known here. */
static bool give(uvw_crypto *crypto, const unsigned char *data, size_t size) {
  crypto->text[0] = BIO_new(BIO_s_mem());
  return crypto->text[0] != NULL && BIO_write(crypto->text[0], data, (int)size) == (int)size;
}

static bool give_p1363(uvw_crypto *crypto, const unsigned char *der, size_t size) {
  size_t half = half_size(crypto->key);
  if (half == 0)
    return give(crypto, der, size);
  unsigned char *both = malloc(2 * half);
  ECDSA_SIG *signature = both != NULL ? d2i_ECDSA_SIG(NULL, &der, (long)size) : NULL;
  bool worked = signature != NULL &&
                BN_bn2binpad(ECDSA_SIG_get0_r(signature), both, (int)half) == (int)half &&
                BN_bn2binpad(ECDSA_SIG_get0_s(signature), both + half, (int)half) == (int)half &&
                give(crypto, both, 2 * half);
  ECDSA_SIG_free(signature);
  free(both);
  return worked;
}

static bool finish_signing(uvw_crypto *crypto, const void *data) {
  size_t size = (size_t)EVP_PKEY_get_size(crypto->key);
  unsigned char *signature = malloc(size);
  bool worked = signature != NULL &&
                (takes_all_at_once(crypto->key)
                     ? EVP_DigestSign(crypto->state, signature, &size, data, crypto->in[0].size)
                     : EVP_DigestSignFinal(crypto->state, signature, &size)) == 1 &&
                (crypto->p1363 ? give_p1363 : give)(crypto, signature, size);
  free(signature);
  return worked;
}

/* ed25519 and ed448 read the data twice, and if it were not the same both
 * times, two signatures would give the private key away: so what might be
 * changed meanwhile is copied. */
int uvw_crypto_sign(uvw_crypto *crypto) {
  if (crypto->state == NULL && (!uvw__crypto_read_key(crypto) || start(crypto, true) != 1))
    return uvw__crypto_end(crypto, false);
  const uvw_span *in = &crypto->in[0];
  void *copy = NULL;
  if (!takes_all_at_once(crypto->key)) {
    int step = feed(crypto, true);
    if (step != UVW__GO_ON)
      return step;
  } else if (crypto->mutable) {
    copy = malloc(in->size > 0 ? in->size : 1);
    if (copy == NULL)
      return uvw__crypto_fail(crypto, ENOMEM);
    memcpy(copy, in->data, in->size);
  }
  bool worked = finish_signing(crypto, copy != NULL ? copy : in->data);
  free(copy);
  return uvw__crypto_end(crypto, worked);
}

/* The signature in DER, when it came in IEEE P1363's form; *made is then to be
 * freed. NULL: it cannot be one. */
static const unsigned char *der_signature(uvw_crypto *crypto, size_t *size, unsigned char **made) {
  const uvw_span *given = &crypto->in[1];
  size_t half = crypto->p1363 ? half_size(crypto->key) : 0;
  *size = given->size;
  if (half == 0)
    return given->data;
  if (given->size != 2 * half)
    return NULL;
  const unsigned char *data = given->data;
  ECDSA_SIG *signature = ECDSA_SIG_new();
  BIGNUM *r = BN_bin2bn(data, (int)half, NULL), *s = BN_bin2bn(data + half, (int)half, NULL);
  int length = -1;
  if (signature != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(signature, r, s) == 1) {
    r = s = NULL;
    length = i2d_ECDSA_SIG(signature, made);
  }
  ECDSA_SIG_free(signature);
  BN_free(r);
  BN_free(s);
  if (length < 0)
    return NULL;
  *size = (size_t)length;
  return *made;
}

int uvw_crypto_verify(uvw_crypto *crypto) {
  if (crypto->state == NULL && (!uvw__crypto_read_key(crypto) || start(crypto, false) != 1))
    return uvw__crypto_end(crypto, false);
  bool at_once = takes_all_at_once(crypto->key);
  if (!at_once) {
    int step = feed(crypto, false);
    if (step != UVW__GO_ON)
      return step;
  }
  const uvw_span *in = &crypto->in[0];
  size_t size;
  unsigned char *made = NULL;
  const unsigned char *signature = der_signature(crypto, &size, &made);
  /* Whatever is wrong with it, it is not the signature. */
  crypto->answer = signature != NULL &&
                   (at_once ? EVP_DigestVerify(crypto->state, signature, size, in->data, in->size)
                            : EVP_DigestVerifyFinal(crypto->state, signature, size)) == 1;
  OPENSSL_free(made);
  return UVW_DONE;
}
