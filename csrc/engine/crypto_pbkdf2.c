/* PBKDF2. An iteration is two runs of the digest's compression function over
 * blocks that differ in their first bytes only. OpenSSL's own PBKDF2 copies a
 * digest context for each, which costs more than the digests do, and does not
 * come back before its end. So for the usual digests the loop is here, around
 * OpenSSL's compression functions, and looks up now and then; for the others
 * it is OpenSSL's, and a cancel orphans the job. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Transform and its like */
#include "crypto.h"
#include "internal.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#define CHUNK 1024 /* iterations between two looks: some tenths of a millisecond */

typedef union {
  uint32_t words[16];
  uint64_t longs[8];
} digest;

typedef struct {
  const char *name;
  size_t block, size;
  bool wide; /* words of 64 bits */
  void (*init)(digest *state);
  void (*transform)(digest *state, const unsigned char *block);
} compression;

/* Where a job stands: the HMAC's two keyed states, the block that goes round,
 * and the sum so far of this part of the result. */
struct uvw_pbkdf2 {
  const compression *by;
  digest inner, outer, sum;
  unsigned char block[128];
  uint64_t done; /* iterations of this part; 0: not begun */
};

/* The contexts begin with the state's words, and a transform looks at nothing else. */
static void init_sha1(digest *state) {
  SHA_CTX context;
  SHA1_Init(&context);
  const uint32_t words[5] = {context.h0, context.h1, context.h2, context.h3, context.h4};
  memcpy(state, words, sizeof(words));
}

static void transform_sha1(digest *state, const unsigned char *block) {
  SHA_CTX context;
  memcpy(&context, state, 5 * sizeof(SHA_LONG));
  SHA1_Transform(&context, block);
  memcpy(state, &context, 5 * sizeof(SHA_LONG));
}

static void init_sha256(digest *state) {
  SHA256_CTX context;
  SHA256_Init(&context);
  memcpy(state, context.h, sizeof(context.h));
}

static void transform_sha256(digest *state, const unsigned char *block) {
  SHA256_CTX context;
  memcpy(context.h, state, sizeof(context.h));
  SHA256_Transform(&context, block);
  memcpy(state, context.h, sizeof(context.h));
}

static void init_sha512(digest *state) {
  SHA512_CTX context;
  SHA512_Init(&context);
  memcpy(state, context.h, sizeof(context.h));
}

static void transform_sha512(digest *state, const unsigned char *block) {
  SHA512_CTX context;
  memcpy(context.h, state, sizeof(context.h));
  SHA512_Transform(&context, block);
  memcpy(state, context.h, sizeof(context.h));
}

static const compression *compression_of(const EVP_MD *md) {
  static const compression known[] = {
      {"SHA1", 64, 20, false, init_sha1, transform_sha1},
      {"SHA2-256", 64, 32, false, init_sha256, transform_sha256},
      {"SHA2-512", 128, 64, true, init_sha512, transform_sha512},
  };
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
    if (EVP_MD_is_a(md, known[i].name))
      return &known[i];
  return NULL;
}

static void to_bytes(const compression *by, unsigned char *out, const digest *state) {
  digest swapped;
  if (by->wide)
    for (size_t i = 0; i < by->size / 8; i++)
      swapped.longs[i] = htobe64(state->longs[i]);
  else
    for (size_t i = 0; i < by->size / 4; i++)
      swapped.words[i] = htobe32(state->words[i]);
  memcpy(out, &swapped, by->size);
}

static void from_bytes(const compression *by, digest *state, const unsigned char *bytes) {
  memcpy(state, bytes, by->size);
  if (by->wide)
    for (size_t i = 0; i < by->size / 8; i++)
      state->longs[i] = be64toh(state->longs[i]);
  else
    for (size_t i = 0; i < by->size / 4; i++)
      state->words[i] = be32toh(state->words[i]);
}

/* The keyed states, and what follows the changing bytes of each block. */
static bool key(uvw_crypto *crypto, struct uvw_pbkdf2 *at) {
  const compression *by = at->by;
  const uvw_span *password = &crypto->in[0];
  unsigned char pad[128] = {0};
  if (password->size <= by->block)
    memcpy(pad, password->data, password->size);
  else if (EVP_Digest(password->data, password->size, pad, NULL, crypto->md, NULL) != 1)
    return false;
  for (size_t i = 0; i < by->block; i++)
    pad[i] ^= 0x36;
  by->init(&at->inner);
  by->transform(&at->inner, pad);
  for (size_t i = 0; i < by->block; i++)
    pad[i] ^= 0x36 ^ 0x5c;
  by->init(&at->outer);
  by->transform(&at->outer, pad);
  uvw_crypto_wipe(pad, sizeof(pad));
  uint64_t bits = htobe64(8 * (by->block + by->size));
  at->block[by->size] = 0x80;
  memcpy(at->block + by->block - sizeof(bits), &bits, sizeof(bits));
  return true;
}

/* The first iteration of a part: over the salt and the part's number. */
static bool first(uvw_crypto *crypto, struct uvw_pbkdf2 *at, uint32_t part) {
  const uvw_span *password = &crypto->in[0], *salt = &crypto->in[1];
  unsigned char number[4] = {(unsigned char)(part >> 24), (unsigned char)(part >> 16),
                             (unsigned char)(part >> 8), (unsigned char)part};
  HMAC_CTX *context = HMAC_CTX_new();
  bool worked = context != NULL &&
                HMAC_Init_ex(context, password->data, (int)password->size, crypto->md, NULL) == 1 &&
                HMAC_Update(context, salt->data, salt->size) == 1 &&
                HMAC_Update(context, number, sizeof(number)) == 1 &&
                HMAC_Final(context, at->block, NULL) == 1;
  HMAC_CTX_free(context);
  if (worked)
    from_bytes(at->by, &at->sum, at->block);
  at->done = 1;
  return worked;
}

static void iterate(struct uvw_pbkdf2 *at, uint64_t count) {
  const compression *by = at->by;
  size_t longs = (by->size + 7) / 8; /* what is beyond the size is zero in both */
  digest state = {0};
  for (uint64_t i = 0; i < count; i++) {
    state = at->inner;
    by->transform(&state, at->block);
    to_bytes(by, at->block, &state);
    state = at->outer;
    by->transform(&state, at->block);
    to_bytes(by, at->block, &state);
    for (size_t j = 0; j < longs; j++)
      at->sum.longs[j] ^= state.longs[j];
  }
  uvw_crypto_wipe(&state, sizeof(state));
  at->done += count;
}

static int start(uvw_crypto *crypto, const compression *by) {
  crypto->pbkdf2 = calloc(1, sizeof(*crypto->pbkdf2));
  if (crypto->pbkdf2 == NULL)
    return ENOMEM;
  crypto->pbkdf2->by = by;
  return key(crypto, crypto->pbkdf2) ? 0 : UVW_EOPENSSL;
}

void uvw__crypto_pbkdf2_free(struct uvw_pbkdf2 *at) {
  if (at == NULL)
    return;
  uvw_crypto_wipe(at, sizeof(*at));
  free(at);
}

static int by_openssl(uvw_crypto *crypto) {
  const uvw_span *password = &crypto->in[0], *salt = &crypto->in[1];
  crypto->secret = crypto->size;
  return uvw__crypto_end(
      crypto, PKCS5_PBKDF2_HMAC(password->data, (int)password->size, salt->data, (int)salt->size,
                                (int)crypto->iterations, crypto->md, (int)crypto->size,
                                crypto->out) == 1);
}

int uvw_crypto_pbkdf2(uvw_crypto *crypto) {
  if (crypto->pbkdf2 == NULL) {
    const compression *by = compression_of(crypto->md);
    if (by == NULL)
      return by_openssl(crypto);
    int error = start(crypto, by);
    if (error != 0)
      return uvw__crypto_fail(crypto, error);
  }
  struct uvw_pbkdf2 *at = crypto->pbkdf2;
  size_t size = at->by->size;
  while (crypto->offset < crypto->size) {
    if (at->done == 0 && !first(crypto, at, (uint32_t)(crypto->offset / size) + 1))
      return uvw__crypto_end(crypto, false);
    uint64_t left = crypto->iterations - at->done;
    iterate(at, left < CHUNK ? left : CHUNK);
    if (at->done == crypto->iterations) {
      unsigned char bytes[64];
      size_t want = crypto->size - crypto->offset;
      to_bytes(at->by, bytes, &at->sum);
      memcpy(crypto->out + crypto->offset, bytes, want < size ? want : size);
      crypto->offset += want < size ? want : size;
      crypto->secret = crypto->offset;
      uvw_crypto_wipe(bytes, sizeof(bytes));
      at->done = 0;
    }
    int step = crypto->offset < crypto->size ? uvw__crypto_pause(crypto) : UVW__GO_ON;
    if (step != UVW__GO_ON)
      return step;
  }
  return UVW_DONE;
}
