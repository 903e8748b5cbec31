/* crypto jobs: how one is made, run, told its error and freed, and what all
 * operations share. The operations are in crypto_*.c.
 *
 * OpenSSL takes itself down at exit(), so the exit waits for jobs that run.
 * Its error queue is the thread's: a step leaves it empty. */
#include "crypto.h"
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

void uvw_crypto_wipe(void *memory, size_t size) {
  if (memory != NULL)
    OPENSSL_cleanse(memory, size);
}

/* The last error that says more than which part of OpenSSL had it. */
void uvw_crypto_reason(char *reason, size_t size) {
  unsigned long code = 0, next;
  while ((next = ERR_get_error()) != 0)
    if (code == 0 || (ERR_GET_REASON(next) & ERR_RFLAG_COMMON) == 0)
      code = next;
  const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;
  snprintf(reason, size, "OpenSSL: %s", text != NULL ? text : "it gave no reason");
}

static int run(uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  int step = UVW_DONE;
  if (uvw_stopping(job)) {
    job->error = ECANCELED;
  } else {
    ERR_clear_error();
    step = crypto->step(crypto);
  }
  if (step == UVW_DONE && job->error == UVW_EOPENSSL && crypto->reason[0] == '\0')
    uvw_crypto_reason(crypto->reason, sizeof(crypto->reason));
  else
    ERR_clear_error();
  return step;
}

static void destroy(uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  uvw_key_options *options = crypto->options;
  if (!crypto->taken)
    uvw_crypto_wipe(crypto->out, crypto->secret);
  if (crypto->fd >= 0)
    close(crypto->fd);
  EVP_MD_CTX_free(crypto->state);
  if (crypto->kept != NULL)
    crypto->free_kept(crypto->kept);
  EVP_MD_free(crypto->md);
  BN_clear_free(crypto->number);
  BN_clear_free(crypto->add);
  BN_clear_free(crypto->rem);
  EVP_PKEY_free(crypto->key);
  BIO_free(crypto->text[0]);
  BIO_free(crypto->text[1]);
  if (options != NULL) {
    EVP_MD_free(options->md);
    EVP_MD_free(options->mgf1_md);
    free(options);
  }
  uvw_crypto_wipe(crypto->extra, crypto->extra_size);
  free(crypto);
}

static const uvw_kind crypto_kind = {"crypto", run, destroy, NULL, NULL};

uvw_crypto *uvw_crypto_new(int (*step)(uvw_crypto *), size_t size, uvw_completions *completions,
                           void *token) {
  if (size > SIZE_MAX - sizeof(uvw_crypto))
    return NULL;
  uvw_crypto *crypto = malloc(sizeof(*crypto) + size);
  if (crypto == NULL)
    return NULL;
  memset(crypto, 0, sizeof(*crypto));
  uvw_job_init(&crypto->job, &crypto_kind, UVW_LANE_CPU, completions, token);
  crypto->job.awaited = true;
  crypto->step = step;
  crypto->fd = -1;
  crypto->extra_size = size;
  return crypto;
}

int uvw__crypto_fail(uvw_crypto *crypto, int error) {
  crypto->job.error = error;
  return UVW_DONE;
}

/* Ends a step by whether OpenSSL said 1. */
int uvw__crypto_end(uvw_crypto *crypto, bool worked) {
  return uvw__crypto_fail(crypto, worked ? 0 : UVW_EOPENSSL);
}

/* Between two chunks: whether to go on, stop, or give others their turn. */
int uvw__crypto_pause(uvw_crypto *crypto) {
  if (uvw_stopping(&crypto->job))
    return uvw__crypto_fail(crypto, ECANCELED);
  return uvw_should_yield(&crypto->job) ? UVW_AGAIN : UVW__GO_ON;
}

/* For generators: OpenSSL asks now and then whether to go on. */
int uvw__crypto_go_on(uvw_crypto *crypto) { return !uvw_stopping(&crypto->job); }

/* Digests ------------------------------------------------------------------- */

/* Names that hashlib has and OpenSSL spells differently. */
static const char *openssl_name(const char *name, char *changed, size_t size) {
  if (strcasecmp(name, "blake2b") == 0)
    return "blake2b512";
  if (strcasecmp(name, "blake2s") == 0)
    return "blake2s256";
  if (strlen(name) >= size || strchr(name, '_') == NULL)
    return NULL;
  strcpy(changed, name);
  for (char *at = changed; (at = strchr(at, '_')) != NULL;)
    *at = '-';
  return changed;
}

EVP_MD *uvw_crypto_digest(const char *name) {
  char changed[64];
  EVP_MD *md = EVP_MD_fetch(NULL, name, NULL);
  if (md == NULL) {
    const char *other = openssl_name(name, changed, sizeof(changed));
    if (other != NULL)
      md = EVP_MD_fetch(NULL, other, NULL);
  }
  if (md == NULL) {
    const EVP_MD *old = EVP_get_digestbyname(name); /* "RSA-SHA256" */
    if (old != NULL)
      md = EVP_MD_fetch(NULL, EVP_MD_get0_name(old), NULL);
  }
  ERR_clear_error();
  return md;
}
