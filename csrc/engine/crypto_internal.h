/* What the files of the engine's crypto share with each other. */
#ifndef UVW_CRYPTO_INTERNAL_H
#define UVW_CRYPTO_INTERNAL_H

#include "crypto.h"
#include "internal.h"

#include <errno.h>

/* Wiping what is NULL is nothing. */
void uvw__crypto_wipe(void *memory, size_t size);

/* How a step ends */
int uvw__crypto_fail(uvw_crypto *crypto, int error);
int uvw__crypto_end(uvw_crypto *crypto, bool worked); /* by whether OpenSSL did it */
/* ... when OpenSSL may also have given up because the job shall stop */
int uvw__crypto_end_search(uvw_crypto *crypto, bool worked);
/* Between two chunks: UVW__GO_ON, or how the step ends */
int uvw__crypto_pause(uvw_crypto *crypto);
/* Memory for a result, in made[which]; NULL: there is none */
unsigned char *uvw__crypto_make(uvw_crypto *crypto, int which, size_t size);

/* PBKDF2 with one iteration, for scrypt; the password is in[0]. *offset tells
 * how much there is, also after an error. */
int uvw__pbkdf2_derive(uvw_crypto *crypto, const EVP_MD *md, const uvw_span *salt,
                       unsigned char *out, size_t size, size_t *offset);

/* Keys. The state of their operations begins with an uvw_key_source, if they
 * read a key; crypto->key is theirs to free. */
int uvw__keys_init(uvw_crypto *crypto);
void uvw__keys_cleanup(uvw_crypto *crypto);
bool uvw__keys_read(uvw_crypto *crypto); /* sets crypto->key; or false and the reason */
bool uvw__keys_write(uvw_crypto *crypto, const uvw_key_encoding *encoding, bool private_key,
                     int which); /* into made[which] */

#endif
