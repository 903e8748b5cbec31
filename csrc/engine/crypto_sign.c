/* Signatures. Large data is fed in chunks, but ed25519 and ed448 take it at
 * once: they need all of it twice. */
#include "crypto_internal.h"

#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#define CHUNK ((size_t)1 << 18)

typedef struct {
  uvw_sign_args args;
  EVP_MD_CTX *context;
  size_t offset; /* how much of the data it has had */
} sign_state;

static void sign_cleanup(uvw_crypto *crypto) {
  EVP_MD_CTX_free(((sign_state *)crypto->state)->context);
  uvw__keys_cleanup(crypto);
}

static bool sign_takes_all_at_once(EVP_PKEY *key) {
  return EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
}

/* How many bytes each half of a signature takes in IEEE P1363's form; 0 when
 * the key has no such form. */
static size_t sign_half_size(EVP_PKEY *key) {
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

static bool sign_set_padding(const uvw_sign_args *args, EVP_PKEY *key, EVP_PKEY_CTX *context) {
  bool pss = EVP_PKEY_is_a(key, "RSA-PSS");
  if (!pss && !EVP_PKEY_is_a(key, "RSA"))
    return true;
  int padding = args->padding != UVW_PADDING_DEFAULT ? args->padding
                : pss                                ? RSA_PKCS1_PSS_PADDING
                                                     : RSA_PKCS1_PADDING;
  if (EVP_PKEY_CTX_set_rsa_padding(context, padding) != 1)
    return false;
  return padding != RSA_PKCS1_PSS_PADDING || args->salt_length == UVW_SALTLEN_DEFAULT ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, args->salt_length) == 1;
}

/* The first step begins with the key. */
static bool sign_begin(uvw_crypto *crypto, bool signs) {
  sign_state *state = (sign_state *)crypto->state;
  EVP_PKEY_CTX *context = NULL;
  if (state->context != NULL)
    return true;
  if (!uvw__keys_read(crypto))
    return false;
  state->context = EVP_MD_CTX_new();
  return state->context != NULL &&
         (signs ? EVP_DigestSignInit : EVP_DigestVerifyInit)(
             state->context, &context, state->args.md, NULL, crypto->key) == 1 &&
         sign_set_padding(&state->args, crypto->key, context);
}

static int sign_feed(uvw_crypto *crypto, bool signs) {
  sign_state *state = (sign_state *)crypto->state;
  const uvw_span *in = &crypto->in[UVW_DATA];
  while (state->offset < in->size) {
    size_t left = in->size - state->offset, chunk = left < CHUNK ? left : CHUNK;
    const char *at = (const char *)in->data + state->offset;
    if ((signs ? EVP_DigestSignUpdate(state->context, at, chunk)
               : EVP_DigestVerifyUpdate(state->context, at, chunk)) != 1)
      return uvw__crypto_end(crypto, false);
    state->offset += chunk;
    int step = state->offset < in->size ? uvw__crypto_pause(crypto) : UVW__GO_ON;
    if (step != UVW__GO_ON)
      return step;
  }
  return UVW__GO_ON;
}

/* Both halves of the signature, each padded; shorter than the DER may be. */
static bool sign_to_p1363(uvw_crypto *crypto, size_t half) {
  unsigned char *made = crypto->made[0].data;
  const unsigned char *der = made;
  ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)crypto->made[0].size);
  bool worked = signature != NULL &&
                BN_bn2binpad(ECDSA_SIG_get0_r(signature), made, (int)half) == (int)half &&
                BN_bn2binpad(ECDSA_SIG_get0_s(signature), made + half, (int)half) == (int)half;
  ECDSA_SIG_free(signature);
  crypto->made[0].size = 2 * half;
  return worked;
}

static bool sign_end(uvw_crypto *crypto, const void *data) {
  sign_state *state = (sign_state *)crypto->state;
  size_t size = (size_t)EVP_PKEY_get_size(crypto->key); /* or less, in the end */
  unsigned char *made = uvw__crypto_make(crypto, 0, size);
  if (made == NULL ||
      (sign_takes_all_at_once(crypto->key)
           ? EVP_DigestSign(state->context, made, &size, data, crypto->in[UVW_DATA].size)
           : EVP_DigestSignFinal(state->context, made, &size)) != 1)
    return false;
  crypto->made[0].size = size;
  size_t half = state->args.p1363 ? sign_half_size(crypto->key) : 0;
  return half == 0 || sign_to_p1363(crypto, half);
}

/* ed25519 and ed448 read the data twice, and if it were not the same both
 * times, two signatures would give the private key away: so what might be
 * changed meanwhile is copied. */
static int sign_step(uvw_crypto *crypto) {
  sign_state *state = (sign_state *)crypto->state;
  if (!sign_begin(crypto, true))
    return uvw__crypto_end(crypto, false);
  const uvw_span *in = &crypto->in[UVW_DATA];
  void *copy = NULL;
  if (!sign_takes_all_at_once(crypto->key)) {
    int step = sign_feed(crypto, true);
    if (step != UVW__GO_ON)
      return step;
  } else if (state->args.changeable) {
    copy = malloc(in->size > 0 ? in->size : 1);
    if (copy == NULL)
      return uvw__crypto_fail(crypto, ENOMEM);
    memcpy(copy, in->data, in->size);
  }
  bool worked = sign_end(crypto, copy != NULL ? copy : in->data);
  free(copy);
  return uvw__crypto_end(crypto, worked);
}

const uvw_crypto_operation uvw_crypto_sign = {
    .args = sizeof(uvw_sign_args),
    .state = sizeof(sign_state),
    .secrets = 2,
    .init = uvw__keys_init,
    .step = sign_step,
    .cleanup = sign_cleanup,
};

/* The signature in DER, when it came in IEEE P1363's form; *made is then to be
 * freed. NULL: it cannot be one. */
static const unsigned char *verify_der(uvw_crypto *crypto, size_t *size, unsigned char **made) {
  const uvw_span *given = &crypto->in[UVW_SIGNATURE];
  size_t half = ((sign_state *)crypto->state)->args.p1363 ? sign_half_size(crypto->key) : 0;
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

static int verify_step(uvw_crypto *crypto) {
  sign_state *state = (sign_state *)crypto->state;
  if (!sign_begin(crypto, false))
    return uvw__crypto_end(crypto, false);
  bool at_once = sign_takes_all_at_once(crypto->key);
  if (!at_once) {
    int step = sign_feed(crypto, false);
    if (step != UVW__GO_ON)
      return step;
  }
  const uvw_span *in = &crypto->in[UVW_DATA];
  size_t size;
  unsigned char *made = NULL;
  const unsigned char *signature = verify_der(crypto, &size, &made);
  /* Whatever is wrong with it, it is not the signature. */
  crypto->answer = signature != NULL &&
                   (at_once ? EVP_DigestVerify(state->context, signature, size, in->data, in->size)
                            : EVP_DigestVerifyFinal(state->context, signature, size)) == 1;
  OPENSSL_free(made);
  return UVW_DONE;
}

const uvw_crypto_operation uvw_crypto_verify = {
    .args = sizeof(uvw_sign_args),
    .state = sizeof(sign_state),
    .secrets = 2,
    .init = uvw__keys_init,
    .step = verify_step,
    .cleanup = sign_cleanup,
};
