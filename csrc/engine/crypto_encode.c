/* Keys from and to PEM and DER, in whatever structure they come. OpenSSL would
 * ask at the terminal for a passphrase that it lacks: here it never does. */
#define _GNU_SOURCE /* memmem */
#include "crypto.h"
#include "internal.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/decoder.h>
#include <openssl/encoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

static int give_passphrase(char *buffer, int size, int writing, void *data) {
  (void)writing;
  uvw_crypto *crypto = data;
  crypto->encrypted = true;
  if (!crypto->has_passphrase || crypto->passphrase.size > (size_t)size)
    return -1;
  memcpy(buffer, crypto->passphrase.data, crypto->passphrase.size);
  return (int)crypto->passphrase.size;
}

static EVP_PKEY *decode_at(uvw_crypto *crypto, int selection, size_t offset) {
  EVP_PKEY *key = NULL;
  const unsigned char *data = (const unsigned char *)crypto->key_text.data + offset;
  size_t size = crypto->key_text.size - offset;
  OSSL_DECODER_CTX *context =
      OSSL_DECODER_CTX_new_for_pkey(&key, NULL, NULL, NULL, selection, NULL, NULL);
  bool worked = context != NULL &&
                OSSL_DECODER_CTX_set_pem_password_cb(context, give_passphrase, crypto) == 1 &&
                OSSL_DECODER_from_data(context, &data, &size) == 1;
  OSSL_DECODER_CTX_free(context);
  if (worked)
    return key;
  EVP_PKEY_free(key);
  return NULL;
}

/* The first key of that kind. OpenSSL looks at the first thing that stands in
 * PEM, so what comes before the key, such as the parameters that `openssl
 * ecparam` writes, is passed over here; of a long list only the beginning. */
static EVP_PKEY *decode(uvw_crypto *crypto, int selection) {
  static const char mark[] = "-----BEGIN ";
  const char *text = crypto->key_text.data, *at = text, *end = text + crypto->key_text.size;
  crypto->encrypted = false;
  for (int i = 0; i < 10 && !crypto->encrypted; i++) {
    EVP_PKEY *key = decode_at(crypto, selection, (size_t)(at - text));
    if (key != NULL)
      return key;
    at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1);
    if (at == NULL)
      break;
    at += sizeof(mark) - 1;
  }
  return NULL;
}

static EVP_PKEY *decode_certificate(uvw_crypto *crypto) {
  BIO *text = BIO_new_mem_buf(crypto->key_text.data, (int)crypto->key_text.size);
  X509 *certificate = text != NULL ? PEM_read_bio_X509(text, NULL, give_passphrase, crypto) : NULL;
  EVP_PKEY *key = certificate != NULL ? X509_get_pubkey(certificate) : NULL;
  X509_free(certificate);
  BIO_free(text);
  return key;
}

/* The job's key, from its text unless it was given one. A public key may be
 * read from a private one or from a certificate. */
bool uvw__crypto_read_key(uvw_crypto *crypto) {
  if (crypto->key != NULL)
    return true;
  if (!crypto->private_key)
    crypto->key = decode(crypto, EVP_PKEY_PUBLIC_KEY);
  if (crypto->key == NULL)
    crypto->key = decode(crypto, EVP_PKEY_KEYPAIR);
  if (crypto->key == NULL && !crypto->private_key)
    crypto->key = decode_certificate(crypto);
  if (crypto->key != NULL)
    return true;
  /* OpenSSL tries one format after the other and then speaks of the last. */
  const char *what = !crypto->encrypted       ? "it holds none of that kind in PEM or DER"
                     : crypto->has_passphrase ? "the passphrase is wrong, or the key is damaged"
                                              : "it is encrypted, and there is no passphrase";
  snprintf(crypto->reason, sizeof(crypto->reason), "key: %s", what);
  return false;
}

int uvw_crypto_load(uvw_crypto *crypto) {
  return uvw__crypto_end(crypto, uvw__crypto_read_key(crypto));
}

static BIO *encode(uvw_crypto *crypto, const uvw_key_encoding *encoding, int selection) {
  const char *structure = strcmp(encoding->structure, "spki") == 0    ? "SubjectPublicKeyInfo"
                          : strcmp(encoding->structure, "pkcs8") == 0 ? "PrivateKeyInfo"
                                                                      : "type-specific";
  BIO *out = BIO_new(BIO_s_secmem());
  OSSL_ENCODER_CTX *context =
      OSSL_ENCODER_CTX_new_for_pkey(crypto->key, selection, encoding->format, structure, NULL);
  bool worked = out != NULL && context != NULL && OSSL_ENCODER_CTX_get_num_encoders(context) > 0;
  if (worked && encoding->cipher != NULL)
    worked = OSSL_ENCODER_CTX_set_cipher(context, encoding->cipher, NULL) == 1 &&
             OSSL_ENCODER_CTX_set_passphrase(context, crypto->passphrase.data,
                                             crypto->passphrase.size) == 1;
  worked = worked && OSSL_ENCODER_to_bio(context, out) == 1;
  OSSL_ENCODER_CTX_free(context);
  if (worked)
    return out;
  BIO_free(out);
  return NULL;
}

int uvw_crypto_export(uvw_crypto *crypto) {
  static const int selections[2] = {EVP_PKEY_PUBLIC_KEY, EVP_PKEY_KEYPAIR};
  for (int i = 0; i < 2; i++) {
    const uvw_key_encoding *encoding = &crypto->options->encoding[i];
    if (encoding->structure == NULL)
      continue;
    crypto->text[i] = encode(crypto, encoding, selections[i]);
    if (crypto->text[i] == NULL)
      return uvw__crypto_end(crypto, false);
  }
  return UVW_DONE;
}
