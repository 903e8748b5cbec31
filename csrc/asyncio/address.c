/* Socket addresses that transports keep, and those that they are given; how they
 * look in Python is core/address.c's. */
#include "transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>

Address *address_keep(const struct sockaddr *address, socklen_t length) {
  Address *kept = PyMem_RawMalloc(sizeof(*kept) + length);
  if (kept != NULL) {
    kept->length = length;
    memcpy(kept->bytes, address, length);
  }
  return kept;
}

/* Numeric internet addresses only: 1, or 0 for what the socket module shall
 * parse, or refuse. Never raises. */
int address_parse(int family, PyObject *address, struct sockaddr_storage *out, socklen_t *length) {
  if (!PyTuple_CheckExact(address) || PyTuple_GET_SIZE(address) < 2)
    return 0;
  PyObject *host = PyTuple_GET_ITEM(address, 0), *number = PyTuple_GET_ITEM(address, 1);
  if (!PyUnicode_CheckExact(host) || !PyLong_CheckExact(number))
    return 0;
  const char *text = PyUnicode_AsUTF8(host);
  long port = PyLong_AsLong(number);
  if (text == NULL || PyErr_Occurred()) {
    PyErr_Clear();
    return 0;
  }
  if (port < 0 || port > 65535 || strlen(text) != (size_t)PyUnicode_GET_LENGTH(host))
    return 0;
  memset(out, 0, sizeof(*out));
  if (family == AF_INET && PyTuple_GET_SIZE(address) == 2) {
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    *length = sizeof(*in);
    return inet_pton(AF_INET, text, &in->sin_addr) == 1;
  }
  if (family == AF_INET6 && PyTuple_GET_SIZE(address) == 2) {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
    in->sin6_family = AF_INET6;
    in->sin6_port = htons((uint16_t)port);
    *length = sizeof(*in);
    return inet_pton(AF_INET6, text, &in->sin6_addr) == 1;
  }
  return 0;
}
