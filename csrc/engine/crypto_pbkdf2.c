/* PBKDF2. An iteration is two runs of the digest's compression function over
 * blocks that differ in their first bytes only. OpenSSL's own PBKDF2 copies
 * four digest contexts for each, which costs more than the digests do, and
 * cannot be stopped. So the loop is here, and now and then looks whether the
 * job shall stop: for SHA-1 and SHA-2 it runs OpenSSL's compression functions,
 * for other digests it copies two contexts for each iteration. Password and
 * salt, which are hashed once only, go through EVP. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Transform and its like */
#include "crypto_internal.h"

#include <endian.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#define CHUNK 1024            /* iterations between two looks: some tenths of a millisecond */
enum { MAX_BLOCK = 200 };     /* bytes; more than any digest takes at a time */
#define FED ((size_t)1 << 18) /* bytes hashed between two looks */

/* Each begins with the words that go from block to block, and a transform
 * looks at nothing else. */
typedef union {
  SHA_CTX sha1;
  SHA256_CTX sha256;
  SHA512_CTX sha512;
  uint32_t words[8];
  uint64_t longs[8];
} digest;

_Static_assert(offsetof(SHA_CTX, h4) == 16 && offsetof(SHA256_CTX, h) == 0 &&
                   offsetof(SHA512_CTX, h) == 0,
               "a digest begins with its words");

typedef struct {
  const char *name;
  size_t state; /* bytes of words */
  bool wide;    /* words of 64 bits */
  int (*init)(digest *state);
  void (*transform)(digest *state, const unsigned char *block);
} compression;

enum { INNER, OUTER };

/* Where a derivation stands. */
typedef struct {
  const EVP_MD *md;
  const compression *by; /* NULL: it goes through EVP */
  size_t block_size, size;
  EVP_MD_CTX *keyed[2]; /* HMAC's two states that have had the key; */
  digest words[2];      /* their bare words, with `by`; */
  EVP_MD_CTX *salted;   /* the inner one that has had the salt, too */
  EVP_MD_CTX *copy;
  union {
    unsigned char bytes[128];
    uint64_t longs[16];
  } block;         /* what an iteration takes and gives */
  uint64_t sum[8]; /* of the iterations of this part of the result */
  uint64_t done;   /* how many those are; 0: not begun */
} derivation;

static int sha1_init(digest *state) { return SHA1_Init(&state->sha1); }
static int sha224_init(digest *state) { return SHA224_Init(&state->sha256); }
static int sha256_init(digest *state) { return SHA256_Init(&state->sha256); }
static int sha384_init(digest *state) { return SHA384_Init(&state->sha512); }
static int sha512_init(digest *state) { return SHA512_Init(&state->sha512); }

static void sha1_transform(digest *state, const unsigned char *block) {
  SHA1_Transform(&state->sha1, block);
}

static void sha256_transform(digest *state, const unsigned char *block) {
  SHA256_Transform(&state->sha256, block);
}

static void sha512_transform(digest *state, const unsigned char *block) {
  SHA512_Transform(&state->sha512, block);
}

static const compression *pbkdf2_compression(const EVP_MD *md) {
  static const compression known[] = {
      {"SHA1", 20, false, sha1_init, sha1_transform},
      {"SHA2-224", 32, false, sha224_init, sha256_transform},
      {"SHA2-256", 32, false, sha256_init, sha256_transform},
      {"SHA2-384", 64, true, sha384_init, sha512_transform},
      {"SHA2-512", 64, true, sha512_init, sha512_transform},
  };
  for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
    if (EVP_MD_is_a(md, known[i].name))
      return &known[i];
  return NULL;
}

/* Runs the block through a keyed state, and puts the result into the block. */
static bool pbkdf2_turn(derivation *at, digest *state, int side) {
  const compression *by = at->by;
  if (by == NULL)
    return EVP_MD_CTX_copy_ex(at->copy, at->keyed[side]) == 1 &&
           EVP_DigestUpdate(at->copy, at->block.bytes, at->size) == 1 &&
           EVP_DigestFinal_ex(at->copy, at->block.bytes, NULL) == 1;
  memcpy(state, &at->words[side], by->state);
  by->transform(state, at->block.bytes);
  if (by->wide)
    for (size_t i = 0; i < at->size / 8; i++)
      state->longs[i] = htobe64(state->longs[i]);
  else
    for (size_t i = 0; i < at->size / 4; i++)
      state->words[i] = htobe32(state->words[i]);
  memcpy(at->block.bytes, state, at->size);
  return true;
}

/* 0, ECANCELED or UVW_EOPENSSL. */
static int pbkdf2_feed(uvw_crypto *crypto, EVP_MD_CTX *context, const uvw_span *in) {
  for (size_t at = 0; at < in->size; at += FED) {
    size_t left = in->size - at;
    if (uvw_stopping(&crypto->job))
      return ECANCELED;
    if (EVP_DigestUpdate(context, (const char *)in->data + at, left < FED ? left : FED) != 1)
      return UVW_EOPENSSL;
  }
  return 0;
}

/* HMAC's key: the password, or its digest when it is longer than a block. */
static int pbkdf2_read_password(uvw_crypto *crypto, derivation *at, unsigned char *pad) {
  const uvw_span *password = &crypto->in[0];
  if (password->size <= at->block_size) {
    memcpy(pad, password->data, password->size);
    return 0;
  }
  if (EVP_DigestInit_ex2(at->copy, at->md, NULL) != 1)
    return UVW_EOPENSSL;
  int error = pbkdf2_feed(crypto, at->copy, password);
  return error == 0 && EVP_DigestFinal_ex(at->copy, pad, NULL) != 1 ? UVW_EOPENSSL : error;
}

static int pbkdf2_key(uvw_crypto *crypto, derivation *at) {
  const compression *by = at->by;
  unsigned char pad[MAX_BLOCK] = {0};
  int error = pbkdf2_read_password(crypto, at, pad);
  for (int side = INNER; side <= OUTER && error == 0; side++) {
    for (size_t i = 0; i < at->block_size; i++)
      pad[i] ^= side == INNER ? 0x36 : 0x36 ^ 0x5c;
    if (EVP_DigestInit_ex2(at->keyed[side], at->md, NULL) != 1 ||
        EVP_DigestUpdate(at->keyed[side], pad, at->block_size) != 1)
      error = UVW_EOPENSSL;
    if (by != NULL) {
      by->init(&at->words[side]);
      by->transform(&at->words[side], pad);
    }
  }
  uvw__crypto_wipe(pad, sizeof(pad));
  return error;
}

/* The keys, what follows the changing bytes of the block, and the salt. */
static int pbkdf2_prepare(uvw_crypto *crypto, derivation *at, const uvw_span *salt) {
  EVP_MD_CTX **contexts[] = {&at->keyed[INNER], &at->keyed[OUTER], &at->salted, &at->copy};
  for (size_t i = 0; i < sizeof(contexts) / sizeof(contexts[0]); i++)
    if ((*contexts[i] = EVP_MD_CTX_new()) == NULL)
      return ENOMEM;
  int error = pbkdf2_key(crypto, at);
  if (error != 0)
    return error;
  if (at->by != NULL) {
    uint64_t bits = htobe64(8 * (at->block_size + at->size));
    at->block.bytes[at->size] = 0x80;
    memcpy(at->block.bytes + at->block_size - sizeof(bits), &bits, sizeof(bits));
  }
  if (EVP_MD_CTX_copy_ex(at->salted, at->keyed[INNER]) != 1)
    return UVW_EOPENSSL;
  return pbkdf2_feed(crypto, at->salted, salt);
}

/* The first iteration of a part: over the salt and the part's number. */
static bool pbkdf2_first(derivation *at, uint32_t part) {
  uint32_t number = htobe32(part);
  digest state;
  bool worked = EVP_MD_CTX_copy_ex(at->copy, at->salted) == 1 &&
                EVP_DigestUpdate(at->copy, &number, sizeof(number)) == 1 &&
                EVP_DigestFinal_ex(at->copy, at->block.bytes, NULL) == 1 &&
                pbkdf2_turn(at, &state, OUTER);
  uvw__crypto_wipe(&state, sizeof(state));
  memcpy(at->sum, at->block.bytes, sizeof(at->sum));
  at->done = 1;
  return worked;
}

/* The sum goes by whole words, so that there may be more of it than of the digest. */
static bool pbkdf2_iterate(derivation *at, uint64_t count) {
  size_t longs = (at->size + 7) / 8;
  digest state;
  bool worked = true;
  for (uint64_t i = 0; i < count && worked; i++) {
    worked = pbkdf2_turn(at, &state, INNER) && pbkdf2_turn(at, &state, OUTER);
    for (size_t j = 0; j < longs; j++)
      at->sum[j] ^= at->block.longs[j];
  }
  uvw__crypto_wipe(&state, sizeof(state));
  at->done += count;
  return worked;
}

/* The part's bytes, or those of them that are wanted. */
static void pbkdf2_give(derivation *at, unsigned char *out, size_t size, size_t *offset) {
  size_t left = size - *offset, part = left < at->size ? left : at->size;
  memcpy(out + *offset, at->sum, part);
  *offset += part;
  at->done = 0;
}

static void pbkdf2_end(derivation *at) {
  EVP_MD_CTX_free(at->keyed[INNER]);
  EVP_MD_CTX_free(at->keyed[OUTER]);
  EVP_MD_CTX_free(at->salted);
  EVP_MD_CTX_free(at->copy);
  uvw__crypto_wipe(at, sizeof(*at));
}

/* After an error, too, pbkdf2_end() is due. */
static int pbkdf2_begin(uvw_crypto *crypto, derivation *at, const EVP_MD *md,
                        const uvw_span *salt) {
  int block = EVP_MD_get_block_size(md), size = EVP_MD_get_size(md);
  if (block <= 0 || block > MAX_BLOCK || size <= 0 || size > EVP_MAX_MD_SIZE)
    return UVW_EOPENSSL; /* not for an HMAC */
  *at = (derivation){
      .md = md, .by = pbkdf2_compression(md), .block_size = (size_t)block, .size = (size_t)size};
  return pbkdf2_prepare(crypto, at, salt);
}

int uvw__pbkdf2_derive(uvw_crypto *crypto, const EVP_MD *md, const uvw_span *salt,
                       unsigned char *out, size_t size, size_t *offset) {
  derivation at = {0};
  int error = pbkdf2_begin(crypto, &at, md, salt);
  for (uint32_t part = 1; error == 0 && *offset < size; part++) {
    if (part % CHUNK == 0 && uvw_stopping(&crypto->job))
      error = ECANCELED;
    else if (!pbkdf2_first(&at, part))
      error = UVW_EOPENSSL;
    else
      pbkdf2_give(&at, out, size, offset);
  }
  pbkdf2_end(&at);
  return error;
}

/* The operation --------------------------------------------------------------- */

typedef struct {
  uvw_pbkdf2_args args;
  derivation at;
} pbkdf2_state;

static int pbkdf2_step(uvw_crypto *crypto) {
  pbkdf2_state *state = (pbkdf2_state *)crypto->state;
  derivation *at = &state->at;
  if (at->md == NULL) {
    int error = pbkdf2_begin(crypto, at, state->args.md, &crypto->in[1]);
    if (error != 0)
      return uvw__crypto_fail(crypto, error);
  }
  while (crypto->filled < crypto->size) {
    if (at->done == 0 && !pbkdf2_first(at, (uint32_t)(crypto->filled / at->size) + 1))
      return uvw__crypto_end(crypto, false);
    uint64_t left = state->args.iterations - at->done;
    if (!pbkdf2_iterate(at, left < CHUNK ? left : CHUNK))
      return uvw__crypto_end(crypto, false);
    if (at->done == state->args.iterations)
      pbkdf2_give(at, crypto->out, crypto->size, &crypto->filled);
    int step = crypto->filled < crypto->size ? uvw__crypto_pause(crypto) : UVW__GO_ON;
    if (step != UVW__GO_ON)
      return step;
  }
  return UVW_DONE;
}

static void pbkdf2_cleanup(uvw_crypto *crypto) { pbkdf2_end(&((pbkdf2_state *)crypto->state)->at); }

const uvw_crypto_operation uvw_crypto_pbkdf2 = {
    .args = sizeof(uvw_pbkdf2_args),
    .state = sizeof(pbkdf2_state),
    .step = pbkdf2_step,
    .cleanup = pbkdf2_cleanup,
};
