/* Digests of data in memory, of a file by its path, and of what is left of an
 * open file, in chunks. Only regular files: anything else could make the
 * worker wait. */
#include "crypto.h"
#include "files.h"
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#define CHUNK ((size_t)1 << 18)

static int start(uvw_crypto *crypto) {
  crypto->state = EVP_MD_CTX_new();
  if (crypto->state == NULL || EVP_DigestInit_ex2(crypto->state, crypto->md, NULL) != 1)
    return UVW_EOPENSSL;
  if (crypto->path != NULL) {
    crypto->fd = uvw__open(crypto->path, O_RDONLY, 0);
    if (crypto->fd < 0)
      return errno;
  }
  struct stat st;
  if (crypto->fd < 0)
    return 0;
  return fstat(crypto->fd, &st) != 0 ? errno : uvw__check_regular(&st);
}

static int end(uvw_crypto *crypto) {
  bool variable = (EVP_MD_get_flags(crypto->md) & EVP_MD_FLAG_XOF) != 0;
  int worked = variable ? EVP_DigestFinalXOF(crypto->state, crypto->out, crypto->size)
                        : EVP_DigestFinal_ex(crypto->state, crypto->out, NULL);
  return uvw__crypto_end(crypto, worked == 1);
}

/* UVW_DONE: all of it is in the state, or it failed. */
static int feed_memory(uvw_crypto *crypto) {
  const uvw_span *in = &crypto->in[0];
  while (crypto->offset < in->size) {
    size_t left = in->size - crypto->offset, chunk = left < CHUNK ? left : CHUNK;
    if (EVP_DigestUpdate(crypto->state, (const char *)in->data + crypto->offset, chunk) != 1)
      return uvw__crypto_end(crypto, false);
    crypto->offset += chunk;
    int step = crypto->offset < in->size ? uvw__crypto_pause(crypto) : UVW__GO_ON;
    if (step != UVW__GO_ON)
      return step;
  }
  return UVW_DONE;
}

static int feed_file(uvw_crypto *crypto, void *buffer, size_t size) {
  for (;;) {
    ssize_t n = pread(crypto->fd, buffer, size, (off_t)crypto->offset);
    if (n == 0)
      return UVW_DONE;
    if (n < 0 && errno != EINTR)
      return uvw__crypto_fail(crypto, errno);
    if (n > 0) {
      if (EVP_DigestUpdate(crypto->state, buffer, (size_t)n) != 1)
        return uvw__crypto_end(crypto, false);
      crypto->offset += (size_t)n;
    }
    int step = uvw__crypto_pause(crypto);
    if (step != UVW__GO_ON)
      return step;
  }
}

int uvw_crypto_hash(uvw_crypto *crypto) {
  int error = crypto->state == NULL ? start(crypto) : 0;
  if (error != 0)
    return uvw__crypto_fail(crypto, error);
  int step;
  if (crypto->fd < 0) {
    step = feed_memory(crypto);
  } else {
    size_t size = 131072;
    void *buffer = uvw_buffer_get(&size);
    if (buffer == NULL)
      return uvw__crypto_fail(crypto, ENOMEM);
    step = feed_file(crypto, buffer, size);
    uvw_buffer_put(buffer, size);
  }
  return step == UVW_DONE && crypto->job.error == 0 ? end(crypto) : step;
}
