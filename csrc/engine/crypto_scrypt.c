/* scrypt (RFC 7914), four words of Salsa20/8 at a time. OpenSSL's is written
 * for one word at a time and does not come back before its end; here a job
 * sees that it shall stop. It never goes back to its lane in between, for it
 * would keep its memory while others take theirs.
 *
 * The words of each 64-byte block are kept in the order of Salsa20's
 * diagonals, so that a quarter of each round is one vector operation. */
#define OPENSSL_SUPPRESS_DEPRECATED /* HMAC_CTX: EVP_MAC is slow to start again */
#include "crypto.h"
#include "internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define LOOK 8192 /* blocks mixed between two looks at the stop flag: less than a millisecond */
#define HUGE_PAGE ((size_t)2 << 20)

typedef uint32_t quad __attribute__((vector_size(16)));
typedef struct {
  quad rows[4];
} block;

static inline quad rotate(quad x, int by) { return (x << by) | (x >> (32 - by)); }

static inline void salsa(block *x) {
  quad a = x->rows[0], b = x->rows[1], c = x->rows[2], d = x->rows[3];
  for (int i = 0; i < 4; i++) {
    b ^= rotate(a + d, 7);
    c ^= rotate(b + a, 9);
    d ^= rotate(c + b, 13);
    a ^= rotate(d + c, 18);
    b = __builtin_shufflevector(b, b, 3, 0, 1, 2);
    c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
    d = __builtin_shufflevector(d, d, 1, 2, 3, 0);
    d ^= rotate(a + b, 7);
    c ^= rotate(d + a, 9);
    b ^= rotate(c + d, 13);
    a ^= rotate(b + c, 18);
    b = __builtin_shufflevector(b, b, 1, 2, 3, 0);
    c = __builtin_shufflevector(c, c, 2, 3, 0, 1);
    d = __builtin_shufflevector(d, d, 3, 0, 1, 2);
  }
  x->rows[0] += a;
  x->rows[1] += b;
  x->rows[2] += c;
  x->rows[3] += d;
}

/* out = BlockMix(in ^ other), of 2r blocks; `other` may be NULL. */
static void mix(block *out, const block *in, const block *other, size_t r) {
  block x = in[2 * r - 1];
  if (other != NULL)
    for (int j = 0; j < 4; j++)
      x.rows[j] ^= other[2 * r - 1].rows[j];
  for (size_t i = 0; i < 2 * r; i++) {
    for (int j = 0; j < 4; j++)
      x.rows[j] ^= in[i].rows[j];
    if (other != NULL)
      for (int j = 0; j < 4; j++)
        x.rows[j] ^= other[i].rows[j];
    salsa(&x);
    out[i / 2 + (i & 1) * r] = x;
  }
}

static void arrange(block *out, const unsigned char *bytes, size_t blocks) {
  for (size_t i = 0; i < blocks; i++) {
    uint32_t words[16], placed[16];
    memcpy(words, bytes + 64 * i, sizeof(words));
    for (int j = 0; j < 16; j++)
      placed[j] = le32toh(words[j * 5 % 16]);
    memcpy(&out[i], placed, sizeof(placed));
  }
}

static void put_back(unsigned char *bytes, const block *in, size_t blocks) {
  for (size_t i = 0; i < blocks; i++) {
    uint32_t words[16], placed[16];
    memcpy(placed, &in[i], sizeof(placed));
    for (int j = 0; j < 16; j++)
      words[j * 5 % 16] = htole32(placed[j]);
    memcpy(bytes + 64 * i, words, sizeof(words));
  }
}

static uint64_t index_of(const block *x, size_t r) {
  const block *last = &x[2 * r - 1];
  return last->rows[0][0] | (uint64_t)last->rows[3][1] << 32;
}

static bool go_on(uvw_crypto *crypto, uint64_t *mixed, size_t blocks) {
  *mixed += blocks;
  if (*mixed < LOOK)
    return true;
  *mixed = 0;
  return !uvw_stopping(&crypto->job);
}

/* `memory` has room for n + 2 times 2r blocks, of which `offset` + 2 have been
 * used so far. False: it shall stop. */
static bool romix(uvw_crypto *crypto, unsigned char *bytes, block *memory) {
  size_t r = crypto->r, size = 2 * r;
  uint64_t n = crypto->n, mixed = 0;
  block *v = memory, *x = memory + n * size;
  arrange(v, bytes, size);
  for (uint64_t i = 1; i <= n; i++) { /* the last one falls into x */
    mix(v + i * size, v + (i - 1) * size, NULL, r);
    if (crypto->offset < i)
      crypto->offset = i;
    if (!go_on(crypto, &mixed, size))
      return false;
  }
  block *y = x + size; /* the mix cannot work in place */
  for (uint64_t i = 0; i < n; i += 2) {
    mix(y, x, v + (index_of(x, r) & (n - 1)) * size, r);
    mix(x, y, v + (index_of(y, r) & (n - 1)) * size, r);
    if (!go_on(crypto, &mixed, 2 * size))
      return false;
  }
  put_back(bytes, x, size);
  return true;
}

/* In huge pages where there are any: all of it is touched, at random. */
static block *get_memory(size_t size) {
  void *memory = NULL;
  bool large = size >= 2 * HUGE_PAGE;
  if (posix_memalign(&memory, large ? HUGE_PAGE : 64, size) != 0)
    return NULL;
#ifdef MADV_HUGEPAGE
  if (large)
    madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
  return memory;
}

/* PBKDF2-HMAC-SHA256 with one iteration. */
static int derive(uvw_crypto *crypto, const void *salt, size_t salt_size, unsigned char *out,
                  size_t size) {
  unsigned char digest[32];
  HMAC_CTX *context = HMAC_CTX_new();
  bool worked = context != NULL && HMAC_Init_ex(context, crypto->in[0].data,
                                                (int)crypto->in[0].size, EVP_sha256(), NULL) == 1;
  uint32_t part = 0;
  for (size_t at = 0; worked && at < size; at += sizeof(digest)) {
    if (part % LOOK == LOOK - 1 && uvw_stopping(&crypto->job))
      break;
    uint32_t number = htobe32(++part);
    worked = HMAC_Init_ex(context, NULL, 0, NULL, NULL) == 1 &&
             HMAC_Update(context, salt, salt_size) == 1 &&
             HMAC_Update(context, (unsigned char *)&number, sizeof(number)) == 1 &&
             HMAC_Final(context, digest, NULL) == 1;
    size_t left = size - at;
    memcpy(out + at, digest, left < sizeof(digest) ? left : sizeof(digest));
    if (out == crypto->out)
      crypto->secret = at + (left < sizeof(digest) ? left : sizeof(digest));
  }
  HMAC_CTX_free(context);
  uvw_crypto_wipe(digest, sizeof(digest));
  return !worked ? UVW_EOPENSSL : uvw_stopping(&crypto->job) ? ECANCELED : 0;
}

int uvw_crypto_scrypt(uvw_crypto *crypto) {
  size_t part = 128 * crypto->r, whole = part * crypto->p, needed = part * (crypto->n + 2);
  unsigned char *bytes = malloc(whole);
  block *memory = bytes != NULL ? get_memory(needed) : NULL;
  int error = memory == NULL ? ENOMEM : 0;
  if (error == 0)
    error = derive(crypto, crypto->in[1].data, crypto->in[1].size, bytes, whole);
  for (size_t i = 0; i < crypto->p && error == 0; i++)
    if (!romix(crypto, bytes + i * part, memory))
      error = ECANCELED;
  if (error == 0)
    error = derive(crypto, bytes, whole, crypto->out, crypto->size);
  uvw_crypto_wipe(bytes, memory != NULL ? whole : 0);
  /* To wipe what was never touched would fault it all in. */
  uvw_crypto_wipe(memory, error == 0 ? needed : part * (crypto->offset + 2));
  free(bytes);
  free(memory);
  return uvw__crypto_fail(crypto, error);
}
