/* Digests of data in memory, of a file by its path, and of what is left of an
 * open file, in chunks. Only regular files: anything else could make the
 * worker wait. */
#include "crypto_internal.h"
#include "files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#define CHUNK ((size_t)1 << 18)

typedef struct {
  uvw_hash_args args;
  EVP_MD_CTX *context;
  int fd;          /* the job's own, or -1 */
  uint64_t offset; /* of the data or the file */
} hash_state;

/* The caller may close its file before the job has ended. */
static int hash_init(uvw_crypto *crypto) {
  hash_state *hash = (hash_state *)crypto->state;
  hash->offset = hash->args.offset;
  hash->fd = -1;
  if (hash->args.fd < 0)
    return 0;
  hash->fd = fcntl(hash->args.fd, F_DUPFD_CLOEXEC, 0);
  return hash->fd < 0 ? errno : 0;
}

static void hash_cleanup(uvw_crypto *crypto) {
  hash_state *hash = (hash_state *)crypto->state;
  EVP_MD_CTX_free(hash->context);
  if (hash->fd >= 0)
    close(hash->fd);
}

static int hash_begin(hash_state *hash) {
  hash->context = EVP_MD_CTX_new();
  if (hash->context == NULL || EVP_DigestInit_ex2(hash->context, hash->args.md, NULL) != 1)
    return UVW_EOPENSSL;
  if (hash->args.path != NULL) {
    hash->fd = uvw__open(hash->args.path, O_RDONLY, 0);
    if (hash->fd < 0)
      return errno;
  }
  struct stat st;
  if (hash->fd < 0)
    return 0;
  return fstat(hash->fd, &st) != 0 ? errno : uvw__check_regular(&st);
}

static int hash_end(uvw_crypto *crypto) {
  hash_state *hash = (hash_state *)crypto->state;
  bool variable = (EVP_MD_get_flags(hash->args.md) & EVP_MD_FLAG_XOF) != 0;
  int worked = variable ? EVP_DigestFinalXOF(hash->context, crypto->out, crypto->size)
                        : EVP_DigestFinal_ex(hash->context, crypto->out, NULL);
  return uvw__crypto_end(crypto, worked == 1);
}

/* UVW_DONE: all of it went into the digest, or it failed. */
static int hash_feed_memory(uvw_crypto *crypto) {
  hash_state *hash = (hash_state *)crypto->state;
  const uvw_span *in = &crypto->in[0];
  while (hash->offset < in->size) {
    size_t left = in->size - hash->offset, chunk = left < CHUNK ? left : CHUNK;
    if (EVP_DigestUpdate(hash->context, (const char *)in->data + hash->offset, chunk) != 1)
      return uvw__crypto_end(crypto, false);
    hash->offset += chunk;
    int step = hash->offset < in->size ? uvw__crypto_pause(crypto) : UVW__GO_ON;
    if (step != UVW__GO_ON)
      return step;
  }
  return UVW_DONE;
}

static int hash_feed_file(uvw_crypto *crypto, void *buffer, size_t size) {
  hash_state *hash = (hash_state *)crypto->state;
  for (;;) {
    ssize_t n = pread(hash->fd, buffer, size, (off_t)hash->offset);
    if (n == 0)
      return UVW_DONE;
    if (n < 0 && errno != EINTR)
      return uvw__crypto_fail(crypto, errno);
    if (n > 0) {
      if (EVP_DigestUpdate(hash->context, buffer, (size_t)n) != 1)
        return uvw__crypto_end(crypto, false);
      hash->offset += (size_t)n;
    }
    int step = uvw__crypto_pause(crypto);
    if (step != UVW__GO_ON)
      return step;
  }
}

static int hash_step(uvw_crypto *crypto) {
  hash_state *hash = (hash_state *)crypto->state;
  int error = hash->context == NULL ? hash_begin(hash) : 0;
  if (error != 0)
    return uvw__crypto_fail(crypto, error);
  int step;
  if (hash->fd < 0) {
    step = hash_feed_memory(crypto);
  } else {
    size_t size = 131072;
    void *buffer = uvw_buffer_get(&size);
    if (buffer == NULL)
      return uvw__crypto_fail(crypto, ENOMEM);
    step = hash_feed_file(crypto, buffer, size);
    uvw_buffer_put(buffer, size);
  }
  return step == UVW_DONE && crypto->job.error == 0 ? hash_end(crypto) : step;
}

const uvw_crypto_operation uvw_crypto_hash = {
    .args = sizeof(uvw_hash_args),
    .state = sizeof(hash_state),
    .init = hash_init,
    .step = hash_step,
    .cleanup = hash_cleanup,
};
