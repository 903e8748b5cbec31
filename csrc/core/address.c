/* Socket addresses as Python shows them: one builder for all, in the forms of
 * the socket module. With the GIL. */
#include "core.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

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
    /* The zone is the last item, and not in the text. */
    const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
    inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
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
