/* Primes. OpenSSL calls back after every candidate and every round of a test;
 * there a job sees that it shall stop. */
#define OPENSSL_SUPPRESS_DEPRECATED /* BN_is_prime_ex: the number of checks */
#include "crypto.h"
#include "internal.h"

#include <errno.h>

#include <openssl/bn.h>

static int go_on(int event, int count, BN_GENCB *callback) {
  (void)event, (void)count;
  return uvw__crypto_go_on(BN_GENCB_get_arg(callback));
}

static int end(uvw_crypto *crypto, bool worked) {
  if (!worked && uvw_stopping(&crypto->job))
    return uvw__crypto_fail(crypto, ECANCELED);
  return uvw__crypto_end(crypto, worked);
}

int uvw_crypto_prime(uvw_crypto *crypto) {
  BN_GENCB *callback = BN_GENCB_new();
  BN_CTX *context = BN_CTX_secure_new();
  crypto->number = BN_secure_new();
  bool worked = callback != NULL && context != NULL && crypto->number != NULL;
  if (worked) {
    BN_GENCB_set(callback, go_on, crypto);
    worked = BN_generate_prime_ex2(crypto->number, crypto->bits, crypto->safe, crypto->add,
                                   crypto->rem, callback, context) == 1;
  }
  BN_CTX_free(context);
  BN_GENCB_free(callback);
  return end(crypto, worked);
}

int uvw_crypto_check_prime(uvw_crypto *crypto) {
  BN_GENCB *callback = BN_GENCB_new();
  BN_CTX *context = BN_CTX_secure_new();
  bool worked = callback != NULL && context != NULL;
  if (worked) {
    BN_GENCB_set(callback, go_on, crypto);
    crypto->answer = crypto->checks > 0
                         ? BN_is_prime_ex(crypto->number, crypto->checks, context, callback)
                         : BN_check_prime(crypto->number, context, callback);
    worked = crypto->answer >= 0;
  }
  BN_CTX_free(context);
  BN_GENCB_free(callback);
  return end(crypto, worked);
}
