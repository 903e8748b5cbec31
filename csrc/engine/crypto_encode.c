/* Keys from and to PEM and DER, in whatever structure they come. OpenSSL would
 * ask at the terminal for a passphrase that it lacks: here it never does. */
#define _GNU_SOURCE /* memmem */
#include "crypto_internal.h"

#include <openssl/bio.h>
#include <openssl/decoder.h>
#include <openssl/encoder.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

int uvw__keys_init(uvw_crypto *crypto) {
  const uvw_key_source *source = (uvw_key_source *)crypto->state;
  if (source->key != NULL)
    EVP_PKEY_up_ref(source->key);
  crypto->key = source->key;
  return 0;
}

void uvw__keys_cleanup(uvw_crypto *crypto) { EVP_PKEY_free(crypto->key); }

/* Reading --------------------------------------------------------------------- */

typedef struct {
  const uvw_span *text, *passphrase;
  bool encrypted; /* OpenSSL has asked for the passphrase */
} key_reading;

static int key_give_passphrase(char *buffer, int size, int writing, void *data) {
  (void)writing;
  key_reading *reading = data;
  const uvw_span *passphrase = reading->passphrase;
  reading->encrypted = true;
  if (passphrase->data == NULL || passphrase->size > (size_t)size)
    return -1;
  memcpy(buffer, passphrase->data, passphrase->size);
  return (int)passphrase->size;
}

static EVP_PKEY *key_decode_at(key_reading *reading, int selection, size_t offset) {
  EVP_PKEY *key = NULL;
  const unsigned char *data = (const unsigned char *)reading->text->data + offset;
  size_t size = reading->text->size - offset;
  OSSL_DECODER_CTX *context =
      OSSL_DECODER_CTX_new_for_pkey(&key, NULL, NULL, NULL, selection, NULL, NULL);
  bool worked = context != NULL &&
                OSSL_DECODER_CTX_set_pem_password_cb(context, key_give_passphrase, reading) == 1 &&
                OSSL_DECODER_from_data(context, &data, &size) == 1;
  OSSL_DECODER_CTX_free(context);
  if (worked)
    return key;
  EVP_PKEY_free(key);
  return NULL;
}

/* The first key of that sort. OpenSSL looks only at the first thing that stands
 * in PEM, so what comes before the key, such as the parameters that `openssl
 * ecparam` writes, is passed over here; of a long list only the beginning. */
static EVP_PKEY *key_decode(key_reading *reading, int selection) {
  static const char mark[] = "-----BEGIN ";
  const char *text = reading->text->data, *at = text, *end = text + reading->text->size;
  reading->encrypted = false;
  for (int i = 0; i < 10 && !reading->encrypted; i++) {
    EVP_PKEY *key = key_decode_at(reading, selection, (size_t)(at - text));
    if (key != NULL)
      return key;
    at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1);
    if (at == NULL)
      break;
    at += sizeof(mark) - 1;
  }
  return NULL;
}

static EVP_PKEY *key_decode_certificate(key_reading *reading) {
  BIO *text = BIO_new_mem_buf(reading->text->data, (int)reading->text->size);
  X509 *certificate =
      text != NULL ? PEM_read_bio_X509(text, NULL, key_give_passphrase, reading) : NULL;
  EVP_PKEY *key = certificate != NULL ? X509_get_pubkey(certificate) : NULL;
  X509_free(certificate);
  BIO_free(text);
  return key;
}

/* A public key may be read from a private one or from a certificate. */
bool uvw__keys_read(uvw_crypto *crypto) {
  if (crypto->key != NULL)
    return true;
  bool private_key = ((uvw_key_source *)crypto->state)->private_key;
  key_reading reading = {.text = &crypto->in[UVW_KEY_TEXT],
                         .passphrase = &crypto->in[UVW_PASSPHRASE]};
  if (!private_key)
    crypto->key = key_decode(&reading, EVP_PKEY_PUBLIC_KEY);
  if (crypto->key == NULL)
    crypto->key = key_decode(&reading, EVP_PKEY_KEYPAIR);
  if (crypto->key == NULL && !private_key)
    crypto->key = key_decode_certificate(&reading);
  if (crypto->key != NULL)
    return true;
  /* OpenSSL tries one format after the other, and its error is about the last. */
  const char *what = "it holds none of that kind in PEM or DER";
  if (reading.encrypted)
    what = reading.passphrase->data != NULL ? "the passphrase is wrong, or the key is damaged"
                                            : "it is encrypted, and there is no passphrase";
  snprintf(crypto->reason, sizeof(crypto->reason), "key: %s", what);
  return false;
}

static int load_step(uvw_crypto *crypto) { return uvw__crypto_end(crypto, uvw__keys_read(crypto)); }

const uvw_crypto_operation uvw_crypto_load = {
    .args = sizeof(uvw_key_source),
    .state = sizeof(uvw_key_source),
    .secrets = 2,
    .init = uvw__keys_init,
    .step = load_step,
    .cleanup = uvw__keys_cleanup,
};

/* Writing --------------------------------------------------------------------- */

static bool key_encode(uvw_crypto *crypto, const uvw_key_encoding *encoding, int selection,
                       BIO *out) {
  static const char *const structures[UVW_KEY_STRUCTURE_COUNT] = {
#define NAME(NAME, openssl_name) [UVW_KEY_##NAME] = openssl_name,
      UVW_KEY_STRUCTURES(NAME)
#undef NAME
  };
  const uvw_span *passphrase = &crypto->in[UVW_PASSPHRASE];
  OSSL_ENCODER_CTX *context = OSSL_ENCODER_CTX_new_for_pkey(
      crypto->key, selection, encoding->pem ? "PEM" : "DER", structures[encoding->structure], NULL);
  bool worked = context != NULL && OSSL_ENCODER_CTX_get_num_encoders(context) > 0;
  if (worked && encoding->cipher[0] != '\0')
    worked = OSSL_ENCODER_CTX_set_cipher(context, encoding->cipher, NULL) == 1 &&
             OSSL_ENCODER_CTX_set_passphrase(context, passphrase->data, passphrase->size) == 1;
  worked = worked && OSSL_ENCODER_to_bio(context, out) == 1;
  OSSL_ENCODER_CTX_free(context);
  return worked;
}

bool uvw__keys_write(uvw_crypto *crypto, const uvw_key_encoding *encoding, bool private_key,
                     int which) {
  BIO *out = BIO_new(BIO_s_secmem());
  bool worked =
      out != NULL &&
      key_encode(crypto, encoding, private_key ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, out);
  if (worked) {
    char *text;
    size_t size = (size_t)BIO_get_mem_data(out, &text);
    unsigned char *made = uvw__crypto_make(crypto, which, size);
    worked = made != NULL;
    if (worked)
      memcpy(made, text, size);
  }
  BIO_free(out);
  return worked;
}

static int export_step(uvw_crypto *crypto) {
  const uvw_export_args *args = (uvw_export_args *)crypto->state;
  return uvw__crypto_end(crypto,
                         uvw__keys_write(crypto, &args->encoding, args->source.private_key, 0));
}

const uvw_crypto_operation uvw_crypto_export = {
    .args = sizeof(uvw_export_args),
    .state = sizeof(uvw_export_args),
    .secrets = 2,
    .init = uvw__keys_init,
    .step = export_step,
    .cleanup = uvw__keys_cleanup,
};
