/* Key pairs, generated: first the parameters, where a type has any (dsa, dh),
 * then the pair. OpenSSL calls back in between; there a job sees that it shall
 * stop. Reading and writing keys is crypto_encode.c's. */
#include "crypto_internal.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/dsa.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

static int pair_go_on(EVP_PKEY_CTX *context) {
  return !uvw_stopping(EVP_PKEY_CTX_get_app_data(context));
}

/* Frees the context. */
static EVP_PKEY *pair_generate(uvw_crypto *crypto, EVP_PKEY_CTX *context) {
  EVP_PKEY *key = NULL;
  EVP_PKEY_CTX_set_app_data(context, &crypto->job);
  EVP_PKEY_CTX_set_cb(context, pair_go_on);
  if (EVP_PKEY_generate(context, &key) != 1)
    key = NULL;
  EVP_PKEY_CTX_free(context);
  return key;
}

static bool pair_set_rsa(EVP_PKEY_CTX *context, const uvw_generate_args *options) {
  bool worked = EVP_PKEY_CTX_set_rsa_keygen_bits(context, options->bits) == 1;
  BIGNUM *exponent = BN_new();
  worked = worked && exponent != NULL && BN_set_word(exponent, options->exponent) == 1 &&
           EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, exponent) == 1;
  BN_free(exponent);
  if (worked && options->md != NULL)
    worked = EVP_PKEY_CTX_set_rsa_pss_keygen_md(context, options->md) == 1;
  if (worked && options->mgf1_md != NULL)
    worked = EVP_PKEY_CTX_set_rsa_pss_keygen_mgf1_md(context, options->mgf1_md) == 1;
  if (worked && options->salt_length >= 0)
    worked = EVP_PKEY_CTX_set_rsa_pss_keygen_saltlen(context, options->salt_length) == 1;
  return worked;
}

static bool pair_set_group(EVP_PKEY_CTX *context, const uvw_generate_args *options) {
  return EVP_PKEY_CTX_set_group_name(context, options->group) == 1 &&
         (!options->explicit_curve ||
          EVP_PKEY_CTX_set_ec_param_enc(context, OPENSSL_EC_EXPLICIT_CURVE) == 1);
}

/* Domain parameters of dsa, and of dh without a prime. */
static EVP_PKEY *pair_generate_parameters(uvw_crypto *crypto, bool dsa) {
  const uvw_generate_args *options = (uvw_generate_args *)crypto->state;
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, options->type, NULL);
  bool ready = context != NULL && EVP_PKEY_paramgen_init(context) == 1;
  OSSL_PARAM params[3], *param = params;
  size_t bits = (size_t)options->bits, divisor = (size_t)options->divisor_bits;
  int generator = options->generator;
  *param++ = OSSL_PARAM_construct_size_t(OSSL_PKEY_PARAM_FFC_PBITS, &bits);
  if (dsa && divisor > 0)
    *param++ = OSSL_PARAM_construct_size_t(OSSL_PKEY_PARAM_FFC_QBITS, &divisor);
  else if (!dsa)
    *param++ = OSSL_PARAM_construct_int(OSSL_PKEY_PARAM_DH_GENERATOR, &generator);
  *param = OSSL_PARAM_construct_end();
  if (ready && EVP_PKEY_CTX_set_params(context, params) == 1)
    return pair_generate(crypto, context);
  EVP_PKEY_CTX_free(context);
  return NULL;
}

/* The parameters of dh from a prime that the caller has. */
static EVP_PKEY *pair_given_parameters(uvw_crypto *crypto) {
  const uvw_generate_args *options = (uvw_generate_args *)crypto->state;
  const uvw_span *prime = &crypto->in[UVW_PRIME];
  EVP_PKEY *key = NULL;
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, options->type, NULL);
  BIGNUM *p = prime->size <= INT_MAX ? BN_bin2bn(prime->data, (int)prime->size, NULL) : NULL;
  BIGNUM *g = BN_new();
  OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
  OSSL_PARAM *params = NULL;
  if (p != NULL && g != NULL && builder != NULL &&
      BN_set_word(g, (BN_ULONG)options->generator) == 1 &&
      OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_P, p) == 1 &&
      OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_FFC_G, g) == 1)
    params = OSSL_PARAM_BLD_to_param(builder);
  if (params == NULL || context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
      EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEY_PARAMETERS, params) != 1)
    key = NULL;
  OSSL_PARAM_free(params);
  OSSL_PARAM_BLD_free(builder);
  BN_free(p);
  BN_free(g);
  EVP_PKEY_CTX_free(context);
  return key;
}

static EVP_PKEY *pair_new(uvw_crypto *crypto) {
  const uvw_generate_args *options = (uvw_generate_args *)crypto->state;
  bool rsa = strncmp(options->type, "RSA", 3) == 0, dsa = strcmp(options->type, "DSA") == 0;
  bool has_group = options->group[0] != '\0';
  EVP_PKEY *parameters = NULL;
  if (dsa || (strcmp(options->type, "DH") == 0 && !has_group)) {
    parameters = crypto->in[UVW_PRIME].data != NULL ? pair_given_parameters(crypto)
                                                    : pair_generate_parameters(crypto, dsa);
    if (parameters == NULL)
      return NULL;
  }
  EVP_PKEY_CTX *context = parameters != NULL
                              ? EVP_PKEY_CTX_new_from_pkey(NULL, parameters, NULL)
                              : EVP_PKEY_CTX_new_from_name(NULL, options->type, NULL);
  bool ready = context != NULL && EVP_PKEY_keygen_init(context) == 1;
  if (ready && rsa)
    ready = pair_set_rsa(context, options);
  if (ready && has_group)
    ready = pair_set_group(context, options);
  EVP_PKEY *key = NULL;
  if (ready)
    key = pair_generate(crypto, context);
  else
    EVP_PKEY_CTX_free(context);
  EVP_PKEY_free(parameters);
  return key;
}

static int generate_step(uvw_crypto *crypto) {
  const uvw_generate_args *args = (uvw_generate_args *)crypto->state;
  crypto->key = pair_new(crypto);
  if (crypto->key == NULL)
    return uvw__crypto_end_search(crypto, false);
  bool written = true;
  for (int which = UVW_PUBLIC; which <= UVW_PRIVATE && written; which++)
    if (args->encoding[which].structure != UVW_KEY_UNWRITTEN)
      written = uvw__keys_write(crypto, &args->encoding[which], which == UVW_PRIVATE, which);
  return uvw__crypto_end(crypto, written);
}

const uvw_crypto_operation uvw_crypto_generate = {
    .args = sizeof(uvw_generate_args),
    .state = sizeof(uvw_generate_args),
    .secrets = 2,
    .step = generate_step,
    .cleanup = uvw__keys_cleanup,
};
