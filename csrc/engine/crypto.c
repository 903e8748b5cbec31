/* crypto jobs: how one is made, run, told its error and freed, and what all
 * operations share. The operations are in crypto_*.c.
 *
 * OpenSSL takes itself down at exit(), so the exit waits for jobs that run.
 * Its error queue is the thread's: a step leaves it empty. */
#include "crypto_internal.h"

#include <stdlib.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

void uvw__crypto_wipe(void *memory, size_t size) {
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

/* Steps ---------------------------------------------------------------------- */

int uvw__crypto_fail(uvw_crypto *crypto, int error) {
  crypto->job.error = error;
  return UVW_DONE;
}

int uvw__crypto_end(uvw_crypto *crypto, bool worked) {
  return uvw__crypto_fail(crypto, worked ? 0 : UVW_EOPENSSL);
}

int uvw__crypto_end_search(uvw_crypto *crypto, bool worked) {
  if (!worked && uvw_stopping(&crypto->job))
    return uvw__crypto_fail(crypto, ECANCELED);
  return uvw__crypto_end(crypto, worked);
}

int uvw__crypto_pause(uvw_crypto *crypto) {
  if (uvw_stopping(&crypto->job))
    return uvw__crypto_fail(crypto, ECANCELED);
  return uvw_should_yield(&crypto->job) ? UVW_AGAIN : UVW__GO_ON;
}

unsigned char *uvw__crypto_make(uvw_crypto *crypto, int which, size_t size) {
  crypto->made[which].data = OPENSSL_secure_malloc(size);
  crypto->made[which].size = size;
  return crypto->made[which].data;
}

/* Jobs ----------------------------------------------------------------------- */

static int crypto_run(uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  int step = UVW_DONE;
  if (uvw_stopping(job)) {
    job->error = ECANCELED;
  } else {
    ERR_clear_error();
    step = crypto->operation->step(crypto);
  }
  if (step == UVW_DONE && job->error == UVW_EOPENSSL && crypto->reason[0] == '\0')
    uvw_crypto_reason(crypto->reason, sizeof(crypto->reason));
  else
    ERR_clear_error();
  return step;
}

static void crypto_destroy(uvw_job *job) {
  uvw_crypto *crypto = (uvw_crypto *)job;
  if (crypto->operation->cleanup != NULL)
    crypto->operation->cleanup(crypto);
  if (!crypto->taken)
    uvw__crypto_wipe(crypto->out, crypto->filled);
  for (int i = 0; i < 2; i++)
    OPENSSL_secure_clear_free(crypto->made[i].data, crypto->made[i].size);
  uvw__crypto_wipe(crypto->copies, crypto->copied);
  free(crypto);
}

static const uvw_kind crypto_kind = {"crypto", crypto_run, crypto_destroy, NULL, NULL};

static void crypto_copy_secrets(uvw_crypto *crypto) {
  unsigned char *at = crypto->copies;
  for (int i = UVW_CRYPTO_INPUTS - crypto->operation->secrets; i < UVW_CRYPTO_INPUTS; i++) {
    uvw_span *in = &crypto->in[i];
    if (in->data == NULL)
      continue;
    in->data = memcpy(at, in->data, in->size);
    at += in->size;
  }
}

uvw_crypto *uvw_crypto_new(const uvw_crypto_operation *operation, const void *args,
                           const uvw_span in[UVW_CRYPTO_INPUTS], uvw_completions *completions,
                           void *token) {
  size_t copied = 0;
  for (int i = UVW_CRYPTO_INPUTS - operation->secrets; i < UVW_CRYPTO_INPUTS; i++)
    copied += in[i].size;
  uvw_crypto *crypto = malloc(sizeof(*crypto) + operation->state + copied);
  if (crypto == NULL) {
    errno = ENOMEM;
    return NULL;
  }
  memset(crypto, 0, sizeof(*crypto) + operation->state);
  uvw_job_init(&crypto->job, &crypto_kind, UVW_LANE_CPU, completions, token);
  crypto->job.awaited = true;
  crypto->operation = operation;
  memcpy(crypto->in, in, sizeof(crypto->in));
  crypto->copies = crypto->state + operation->state;
  crypto->copied = copied;
  crypto_copy_secrets(crypto);
  if (operation->args > 0)
    memcpy(crypto->state, args, operation->args);
  int error = operation->init != NULL ? operation->init(crypto) : 0;
  if (error != 0) {
    uvw_job_free(&crypto->job);
    errno = error;
    return NULL;
  }
  return crypto;
}

/* Digests -------------------------------------------------------------------- */

/* Names that hashlib has and OpenSSL spells differently. */
static const char *digest_openssl_name(const char *name, char *changed, size_t size) {
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

static EVP_MD *digest_fetch(const char *name) {
  char changed[UVW_NAME_SIZE];
  EVP_MD *md = EVP_MD_fetch(NULL, name, NULL);
  if (md == NULL) {
    const char *other = digest_openssl_name(name, changed, sizeof(changed));
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

/* One for each digest that was ever asked for, which cannot be many, under the
 * name by which it was asked for last. */
typedef struct digest {
  struct digest *next;
  EVP_MD *md;
  char name[UVW_NAME_SIZE];
} digest;

static digest *digest_find(digest *digests, const EVP_MD *md) {
  while (digests != NULL && !EVP_MD_is_a(digests->md, EVP_MD_get0_name(md)))
    digests = digests->next;
  return digests;
}

const EVP_MD *uvw_crypto_digest(const char *name) {
  static digest *digests;
  if (strlen(name) >= UVW_NAME_SIZE)
    return NULL;
  for (digest *at = digests; at != NULL; at = at->next)
    if (strcmp(at->name, name) == 0)
      return at->md;
  EVP_MD *md = digest_fetch(name);
  if (md == NULL)
    return NULL;
  digest *kept = digest_find(digests, md);
  if (kept != NULL) {
    EVP_MD_free(md);
  } else {
    kept = malloc(sizeof(*kept));
    if (kept == NULL) {
      EVP_MD_free(md);
      return NULL;
    }
    *kept = (digest){.next = digests, .md = md};
    digests = kept;
  }
  strcpy(kept->name, name);
  return kept->md;
}
