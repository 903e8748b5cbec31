/* Socket addresses between C and Python, in the forms of the socket module. */
#include "transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

Address *address_keep(const struct sockaddr *address, socklen_t length) {
  Address *kept = PyMem_RawMalloc(sizeof(*kept) + length);
  if (kept != NULL) {
    kept->length = length;
    memcpy(kept->bytes, address, length);
  }
  return kept;
}

/* NULL without an exception: a family that only the socket module knows. */
PyObject *address_tuple(const struct sockaddr *address, socklen_t length) {
  if (length < sizeof(sa_family_t))
    Py_RETURN_NONE;
  char host[INET6_ADDRSTRLEN];
  switch (address->sa_family) {
  case AF_INET: {
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    return Py_BuildValue("(si)", host, (int)ntohs(in->sin_port));
  }
  case AF_INET6: {
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
    inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
    if (in->sin6_scope_id != 0) {
      /* As the socket module: with the zone's name. */
      char zoned[INET6_ADDRSTRLEN + 64];
      if (getnameinfo(address, length, zoned, sizeof(zoned), NULL, 0, NI_NUMERICHOST) == 0)
        return Py_BuildValue("(siII)", zoned, (int)ntohs(in->sin6_port),
                             (unsigned)ntohl(in->sin6_flowinfo), (unsigned)in->sin6_scope_id);
    }
    return Py_BuildValue("(siII)", host, (int)ntohs(in->sin6_port),
                         (unsigned)ntohl(in->sin6_flowinfo), (unsigned)in->sin6_scope_id);
  }
  case AF_UNIX: {
    const struct sockaddr_un *un = (const struct sockaddr_un *)address;
    size_t path = length - offsetof(struct sockaddr_un, sun_path);
    if (path > 0 && un->sun_path[0] == '\0') /* abstract */
      return PyBytes_FromStringAndSize(un->sun_path, (Py_ssize_t)path);
    return PyUnicode_DecodeFSDefaultAndSize(un->sun_path, (Py_ssize_t)strnlen(un->sun_path, path));
  }
  default:
    return NULL;
  }
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
