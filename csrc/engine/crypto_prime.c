/* Primes. OpenSSL calls back after every candidate and every round of a test;
 * there a job sees that it shall stop. */
#define OPENSSL_SUPPRESS_DEPRECATED /* BN_is_prime_ex: the number of checks */
#include "crypto_internal.h"

#include <openssl/bn.h>

static int prime_go_on(int event, int count, BN_GENCB *callback) {
  (void)event, (void)count;
  return !uvw_stopping(BN_GENCB_get_arg(callback));
}

/* An input as a number; there may be none. */
static bool prime_number(const uvw_span *in, BIGNUM **number) {
  if (in->data == NULL)
    return true;
  *number = in->size <= INT_MAX ? BN_bin2bn(in->data, (int)in->size, NULL) : NULL;
  return *number != NULL;
}

static bool prime_give(uvw_crypto *crypto, const BIGNUM *number) {
  unsigned char *bytes = uvw__crypto_make(crypto, 0, (size_t)BN_num_bytes(number));
  return bytes != NULL && BN_bn2bin(number, bytes) > 0;
}

static int prime_step(uvw_crypto *crypto) {
  const uvw_prime_args *args = (uvw_prime_args *)crypto->state;
  BN_GENCB *callback = BN_GENCB_new();
  BN_CTX *context = BN_CTX_secure_new();
  BIGNUM *number = BN_secure_new(), *add = NULL, *rem = NULL;
  bool worked = callback != NULL && context != NULL && number != NULL &&
                prime_number(&crypto->in[0], &add) && prime_number(&crypto->in[1], &rem);
  if (worked) {
    BN_GENCB_set(callback, prime_go_on, crypto);
    worked =
        BN_generate_prime_ex2(number, args->bits, args->safe, add, rem, callback, context) == 1 &&
        prime_give(crypto, number);
  }
  BN_clear_free(rem);
  BN_clear_free(add);
  BN_clear_free(number);
  BN_CTX_free(context);
  BN_GENCB_free(callback);
  return uvw__crypto_end_search(crypto, worked);
}

static int check_prime_step(uvw_crypto *crypto) {
  const uvw_check_prime_args *args = (uvw_check_prime_args *)crypto->state;
  BN_GENCB *callback = BN_GENCB_new();
  BN_CTX *context = BN_CTX_secure_new();
  BIGNUM *number = NULL;
  int answer = -1;
  if (callback != NULL && context != NULL && prime_number(&crypto->in[0], &number)) {
    BN_GENCB_set(callback, prime_go_on, crypto);
    answer = args->checks > 0 ? BN_is_prime_ex(number, args->checks, context, callback)
                              : BN_check_prime(number, context, callback);
  }
  BN_clear_free(number);
  BN_CTX_free(context);
  BN_GENCB_free(callback);
  crypto->answer = answer > 0;
  return uvw__crypto_end_search(crypto, answer >= 0);
}

const uvw_crypto_operation uvw_crypto_prime = {
    .args = sizeof(uvw_prime_args),
    .state = sizeof(uvw_prime_args),
    .step = prime_step,
};

const uvw_crypto_operation uvw_crypto_check_prime = {
    .args = sizeof(uvw_check_prime_args),
    .state = sizeof(uvw_check_prime_args),
    .step = check_prime_step,
};
