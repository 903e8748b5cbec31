/* HKDF and random bytes. The costly derivations are in crypto_pbkdf2.c and
 * crypto_scrypt.c. */
#include "crypto.h"
#include "internal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#define RANDOM_CHUNK ((size_t)1 << 18)

int uvw_crypto_hkdf(uvw_crypto *crypto) {
  static char none[1];
  crypto->secret = crypto->size;
  const uvw_span *key = &crypto->in[0], *salt = &crypto->in[1], *info = &crypto->in[2];
  OSSL_PARAM params[5], *param = params;
  *param++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                              (char *)EVP_MD_get0_name(crypto->md), 0);
  *param++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY,
                                               key->size > 0 ? (void *)key->data : none, key->size);
  *param++ = OSSL_PARAM_construct_octet_string(
      OSSL_KDF_PARAM_SALT, salt->size > 0 ? (void *)salt->data : none, salt->size);
  *param++ = OSSL_PARAM_construct_octet_string(
      OSSL_KDF_PARAM_INFO, info->size > 0 ? (void *)info->data : none, info->size);
  *param = OSSL_PARAM_construct_end();
  EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
  EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
  bool worked = context != NULL && EVP_KDF_derive(context, crypto->out, crypto->size, params) == 1;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  return uvw__crypto_end(crypto, worked);
}

int uvw_crypto_random(uvw_crypto *crypto) {
  int step = UVW__GO_ON;
  while (step == UVW__GO_ON) {
    size_t left = crypto->size - crypto->offset;
    size_t chunk = left < RANDOM_CHUNK ? left : RANDOM_CHUNK;
    if (RAND_bytes(crypto->out + crypto->offset, (int)chunk) != 1)
      return uvw__crypto_end(crypto, false);
    crypto->secret = crypto->offset += chunk;
    step = crypto->offset == crypto->size ? UVW_DONE : uvw__crypto_pause(crypto);
  }
  return step;
}
