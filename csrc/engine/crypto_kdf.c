/* HKDF and random bytes. The costly derivations are in crypto_pbkdf2.c and
 * crypto_scrypt.c. */
#include "crypto_internal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define RANDOM_CHUNK ((size_t)1 << 18)

static int hkdf_step(uvw_crypto *crypto) {
  const uvw_hkdf_args *args = (uvw_hkdf_args *)crypto->state;
  const uvw_span *key = &crypto->in[0], *salt = &crypto->in[1], *info = &crypto->in[2];
  crypto->filled = crypto->size;
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)EVP_MD_get0_name(args->md),
                                       0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key->data, key->size),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt->data, salt->size),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info->data, info->size),
      OSSL_PARAM_construct_end(),
  };
  EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
  EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
  bool worked = context != NULL && EVP_KDF_derive(context, crypto->out, crypto->size, params) == 1;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return uvw__crypto_end(crypto, worked);
}

const uvw_crypto_operation uvw_crypto_hkdf = {
    .args = sizeof(uvw_hkdf_args),
    .state = sizeof(uvw_hkdf_args),
    .step = hkdf_step,
};

static int random_step(uvw_crypto *crypto) {
  int step = UVW__GO_ON;
  while (step == UVW__GO_ON) {
    size_t left = crypto->size - crypto->filled;
    size_t chunk = left < RANDOM_CHUNK ? left : RANDOM_CHUNK;
    if (RAND_bytes(crypto->out + crypto->filled, (int)chunk) != 1)
      return uvw__crypto_end(crypto, false);
    crypto->filled += chunk;
    step = crypto->filled == crypto->size ? UVW_DONE : uvw__crypto_pause(crypto);
  }
  return step;
}

const uvw_crypto_operation uvw_crypto_random = {.step = random_step};
