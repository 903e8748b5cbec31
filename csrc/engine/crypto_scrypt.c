/* scrypt (RFC 7914), four words of Salsa20/8 at a time. OpenSSL's takes one
 * word at a time and cannot be stopped; here a job sees that it shall stop. It
 * never goes back to its lane before its end, for it would keep its memory
 * while others take theirs.
 *
 * The words of each 64-byte block are kept in the order of Salsa20's
 * diagonals, so that a quarter of each round is one vector operation. */
#include "crypto_internal.h"

#include <endian.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <openssl/evp.h>

#define LOOK 8192 /* blocks of a large mix between two looks: less than a millisecond */
#define HUGE_PAGE ((size_t)2 << 20)

typedef uint32_t quad __attribute__((vector_size(16)));
typedef struct {
  quad rows[4];
} block;

static inline quad salsa_rotate(quad x, int by) { return (x << by) | (x >> (32 - by)); }

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define SHUFFLE(x, ...) __builtin_shuffle(x, (quad){__VA_ARGS__})
#endif

static inline void salsa_mix(block *x) {
  quad a = x->rows[0], b = x->rows[1], c = x->rows[2], d = x->rows[3];
  for (int i = 0; i < 4; i++) {
    b ^= salsa_rotate(a + d, 7);
    c ^= salsa_rotate(b + a, 9);
    d ^= salsa_rotate(c + b, 13);
    a ^= salsa_rotate(d + c, 18);
    b = SHUFFLE(b, 3, 0, 1, 2);
    c = SHUFFLE(c, 2, 3, 0, 1);
    d = SHUFFLE(d, 1, 2, 3, 0);
    d ^= salsa_rotate(a + b, 7);
    c ^= salsa_rotate(d + a, 9);
    b ^= salsa_rotate(c + d, 13);
    a ^= salsa_rotate(b + c, 18);
    b = SHUFFLE(b, 1, 2, 3, 0);
    c = SHUFFLE(c, 2, 3, 0, 1);
    d = SHUFFLE(d, 3, 0, 1, 2);
  }
  x->rows[0] += a;
  x->rows[1] += b;
  x->rows[2] += c;
  x->rows[3] += d;
}

/* out = BlockMix(in ^ other), of 2r blocks; `other` may be NULL. False: it shall stop. */
static bool scrypt_mix(uvw_crypto *crypto, size_t r, block *out, const block *in,
                       const block *other) {
  block x = in[2 * r - 1];
  if (other != NULL)
    for (int j = 0; j < 4; j++)
      x.rows[j] ^= other[2 * r - 1].rows[j];
  for (size_t i = 0; i < 2 * r; i++) {
    if (i % LOOK == 0 && uvw_stopping(&crypto->job))
      return false;
    for (int j = 0; j < 4; j++)
      x.rows[j] ^= in[i].rows[j];
    if (other != NULL)
      for (int j = 0; j < 4; j++)
        x.rows[j] ^= other[i].rows[j];
    salsa_mix(&x);
    out[i / 2 + (i & 1) * r] = x;
  }
  return true;
}

static void scrypt_arrange(block *out, const unsigned char *bytes, size_t blocks) {
  for (size_t i = 0; i < blocks; i++) {
    uint32_t words[16], placed[16];
    memcpy(words, bytes + 64 * i, sizeof(words));
    for (int j = 0; j < 16; j++)
      placed[j] = le32toh(words[j * 5 % 16]);
    memcpy(&out[i], placed, sizeof(placed));
  }
}

static void scrypt_put_back(unsigned char *bytes, const block *in, size_t blocks) {
  for (size_t i = 0; i < blocks; i++) {
    uint32_t words[16], placed[16];
    memcpy(placed, &in[i], sizeof(placed));
    for (int j = 0; j < 16; j++)
      words[j * 5 % 16] = htole32(placed[j]);
    memcpy(bytes + 64 * i, words, sizeof(words));
  }
}

static uint64_t scrypt_index_of(const block *x, size_t r) {
  const block *last = &x[2 * r - 1];
  return last->rows[0][0] | (uint64_t)last->rows[3][1] << 32;
}

/* `memory` has room for n + 2 times 2r blocks, of which the first *used + 2
 * have been written so far. False: it shall stop. */
static bool scrypt_romix(uvw_crypto *crypto, unsigned char *bytes, block *memory, uint64_t *used) {
  const uvw_scrypt_args *args = (uvw_scrypt_args *)crypto->state;
  size_t r = args->r, size = 2 * r;
  uint64_t n = args->n;
  block *v = memory, *x = memory + n * size;
  scrypt_arrange(v, bytes, size);
  for (uint64_t i = 1; i <= n; i++) { /* the last one falls into x */
    if (!scrypt_mix(crypto, r, v + i * size, v + (i - 1) * size, NULL))
      return false;
    if (*used < i)
      *used = i;
  }
  block *y = x + size; /* the mix cannot work in place */
  for (uint64_t i = 0; i < n; i += 2)
    if (!scrypt_mix(crypto, r, y, x, v + (scrypt_index_of(x, r) & (n - 1)) * size) ||
        !scrypt_mix(crypto, r, x, y, v + (scrypt_index_of(y, r) & (n - 1)) * size))
      return false;
  scrypt_put_back(bytes, x, size);
  return true;
}

/* In huge pages where there are any: all of it is touched, at random. */
static block *scrypt_get_memory(size_t size) {
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

static int scrypt_step(uvw_crypto *crypto) {
  const uvw_scrypt_args *args = (uvw_scrypt_args *)crypto->state;
  size_t part = 128 * args->r, whole = part * args->p, needed = part * (args->n + 2);
  size_t derived = 0;
  uint64_t used = 0;
  unsigned char *bytes = malloc(whole);
  block *memory = bytes != NULL ? scrypt_get_memory(needed) : NULL;
  EVP_MD *md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
  int error = memory == NULL ? ENOMEM : md == NULL ? UVW_EOPENSSL : 0;
  if (error == 0)
    error = uvw__pbkdf2_derive(crypto, md, &crypto->in[1], bytes, whole, &derived);
  bool mixed = error == 0;
  for (size_t i = 0; i < args->p && error == 0; i++)
    if (!scrypt_romix(crypto, bytes + i * part, memory, &used))
      error = ECANCELED;
  if (error == 0)
    error = uvw__pbkdf2_derive(crypto, md, &(uvw_span){bytes, whole}, crypto->out, crypto->size,
                               &crypto->filled);
  /* To wipe what was never touched would fault it all in. */
  uvw__crypto_wipe(bytes, derived);
  if (mixed)
    uvw__crypto_wipe(memory, part * (used + 2));
  EVP_MD_free(md);
  free(bytes);
  free(memory);
  return uvw__crypto_fail(crypto, error);
}

const uvw_crypto_operation uvw_crypto_scrypt = {
    .args = sizeof(uvw_scrypt_args),
    .state = sizeof(uvw_scrypt_args),
    .step = scrypt_step,
};
