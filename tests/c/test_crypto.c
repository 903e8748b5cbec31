/* crypto jobs without Python: that secrets are wiped, that a job has what its
 * arguments only lend, and that each operation frees its state wherever it ends. */
#include "check.h"
#include "crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

static uvw_completions *completions;
static const uvw_span nothing[UVW_CRYPTO_INPUTS];

static uvw_span span(const char *text) { return (uvw_span){text, strlen(text)}; }

static uvw_crypto *make(const uvw_crypto_operation *operation, const void *args, const uvw_span *in,
                        void *out, size_t size) {
  uvw_crypto *crypto = uvw_crypto_new(operation, args, in, completions, NULL);
  CHECK(crypto != NULL);
  crypto->out = out;
  crypto->size = size;
  return crypto;
}

/* Runs a job to its end. */
static uvw_crypto *complete(uvw_crypto *crypto) {
  CHECK(uvw_submit(&crypto->job) == 0);
  uvw_job *job = wait_and_take(completions);
  CHECK(job == &crypto->job && job->next == NULL);
  return crypto;
}

static void end(uvw_crypto *crypto) { uvw_job_free(&crypto->job); }

static bool is_zero(const unsigned char *bytes, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (bytes[i] != 0)
      return false;
  return true;
}

static void test_a_result_that_nobody_takes_is_wiped(void) {
  unsigned char out[64] = {0};
  for (int taken = 0; taken <= 1; taken++) {
    uvw_crypto *crypto = complete(make(&uvw_crypto_random, NULL, nothing, out, sizeof(out)));
    CHECK(crypto->job.error == 0 && !is_zero(out, sizeof(out)));
    crypto->taken = taken;
    end(crypto);
    CHECK(is_zero(out, sizeof(out)) == !taken);
  }
}

static void test_a_derivation_is_stopped_and_wiped(void) {
  unsigned char out[64] = {0};
  uvw_pbkdf2_args args = {.md = uvw_crypto_digest("sha256"), .iterations = 1 << 22};
  uvw_span in[UVW_CRYPTO_INPUTS] = {span("password"), span("salt")};
  uvw_crypto *crypto = make(&uvw_crypto_pbkdf2, &args, in, out, sizeof(out));
  CHECK(uvw_submit(&crypto->job) == 0);
  while (uvw_job_waiting(&crypto->job)) /* main() has set an alarm */
    sched_yield();
  CHECK(!uvw_cancel(&crypto->job));
  CHECK(wait_and_take(completions) == &crypto->job && crypto->job.error == ECANCELED);
  end(crypto);
  CHECK(is_zero(out, sizeof(out)));
}

static void test_a_digest_is_one_by_any_name(void) {
  const EVP_MD *md = uvw_crypto_digest("sha256");
  CHECK(md != NULL);
  for (int i = 0; i < 3; i++) {
    CHECK(uvw_crypto_digest("SHA2-256") == md && uvw_crypto_digest("RSA-SHA256") == md);
    CHECK(uvw_crypto_digest("sha256") == md);
    CHECK(uvw_crypto_digest("sha1") != md && uvw_crypto_digest("sha3_256") != md);
  }
  CHECK(uvw_crypto_digest("sha257") == NULL && uvw_crypto_digest("") == NULL);
}

static int hash(uvw_hash_args args) {
  unsigned char out[32];
  args.md = uvw_crypto_digest("sha256");
  uvw_crypto *crypto = complete(make(&uvw_crypto_hash, &args, nothing, out, sizeof(out)));
  int error = crypto->job.error;
  end(crypto);
  return error;
}

static void test_a_hash_has_its_own_descriptor(void) {
  unsigned char out[32];
  int fd = open("/proc/self/exe", O_RDONLY);
  uvw_hash_args args = {.md = uvw_crypto_digest("sha256"), .fd = fd, .offset = 1};
  uvw_crypto *crypto = make(&uvw_crypto_hash, &args, nothing, out, sizeof(out));
  close(fd);
  CHECK(complete(crypto)->job.error == 0);
  end(crypto);
  CHECK(open("/proc/self/exe", O_RDONLY) == fd && close(fd) == 0);
  args.fd = fd;
  CHECK(uvw_crypto_new(&uvw_crypto_hash, &args, nothing, completions, NULL) == NULL);
  CHECK(errno == EBADF);
  CHECK(hash((uvw_hash_args){.path = "/", .fd = -1}) == EISDIR);
  CHECK(hash((uvw_hash_args){.path = "/dev/null", .fd = -1}) == UVW_ESPECIAL);
  CHECK(hash((uvw_hash_args){.path = "/does not exist", .fd = -1}) == ENOENT);
}

static void test_primes(void) {
  uvw_prime_args args = {.bits = 64};
  uvw_crypto *prime = complete(make(&uvw_crypto_prime, &args, nothing, NULL, 0));
  CHECK(prime->job.error == 0 && prime->made[0].size == 8);
  prime->made[0].data[7] ^= 1; /* an even one is none */
  for (int is_prime = 0; is_prime <= 1; is_prime++) {
    uvw_span in[UVW_CRYPTO_INPUTS] = {{prime->made[0].data, 8}};
    uvw_check_prime_args checks = {0};
    uvw_crypto *check = complete(make(&uvw_crypto_check_prime, &checks, in, NULL, 0));
    CHECK(check->job.error == 0 && check->answer == is_prime);
    end(check);
    prime->made[0].data[7] |= 1;
  }
  end(prime);
}

static void test_keys_and_signatures(void) {
  char passphrase[] = "secret";
  uvw_span in[UVW_CRYPTO_INPUTS] = {[UVW_PASSPHRASE] = span(passphrase)};
  uvw_generate_args args = {.type = "EC", .group = "P-256", .salt_length = -1};
  args.encoding[UVW_PRIVATE] =
      (uvw_key_encoding){.structure = UVW_KEY_PKCS8, .pem = true, .cipher = "aes-256-cbc"};
  uvw_crypto *pair = make(&uvw_crypto_generate, &args, in, NULL, 0);
  memset(passphrase, 'x', sizeof(passphrase) - 1); /* the job has a copy */
  CHECK(complete(pair)->job.error == 0 && pair->key != NULL);
  CHECK(pair->made[UVW_PUBLIC].data == NULL && pair->made[UVW_PRIVATE].data != NULL);

  in[UVW_KEY_TEXT] = (uvw_span){pair->made[UVW_PRIVATE].data, pair->made[UVW_PRIVATE].size};
  in[UVW_DATA] = span("data");
  uvw_sign_args sign_args = {.source.private_key = true,
                             .md = uvw_crypto_digest("sha256"),
                             .salt_length = UVW_SALTLEN_DEFAULT,
                             .p1363 = true};
  uvw_crypto *refused = complete(make(&uvw_crypto_sign, &sign_args, in, NULL, 0));
  CHECK(refused->job.error == UVW_EOPENSSL && strstr(refused->reason, "wrong") != NULL);
  end(refused);
  in[UVW_PASSPHRASE] = span("secret");
  uvw_crypto *signing = complete(make(&uvw_crypto_sign, &sign_args, in, NULL, 0));
  CHECK(signing->job.error == 0 && signing->made[0].size == 64);

  sign_args.source = (uvw_key_source){.key = pair->key};
  in[UVW_SIGNATURE] = (uvw_span){signing->made[0].data, 64};
  uvw_crypto *verifying = make(&uvw_crypto_verify, &sign_args, in, NULL, 0);
  end(pair); /* the job has a share of the key */
  CHECK(complete(verifying)->job.error == 0 && verifying->answer);
  end(verifying);
  end(signing);
}

int main(void) {
  alarm(120);
  CHECK(uvw_engine_init() == 0 && uvw_pool_start(4) == 0);
  completions = uvw_completions_new();
  CHECK(completions != NULL);
  RUN(test_a_result_that_nobody_takes_is_wiped);
  RUN(test_a_derivation_is_stopped_and_wiped);
  RUN(test_a_digest_is_one_by_any_name);
  RUN(test_a_hash_has_its_own_descriptor);
  RUN(test_primes);
  RUN(test_keys_and_signatures);
  uvw_completions_unref(completions);
  return 0;
}
