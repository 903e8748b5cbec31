/* core.getaddrinfo() and core.getnameinfo(): the arguments, shapes and errors
 * of the standard library's functions of these names, except that a port must
 * fit 16 bits and a host may hold no NUL.
 *
 * What needs no resolver (a numeric host with a numeric port, or a name that
 * is wanted in numbers) is answered at once and returned; else the answer is a
 * job. Equal lookups that a loop has in flight share one. */
#include "core.h"

#include <errno.h>
#include <netinet/in.h>

/* IntEnum members that the standard library would give. */
static struct {
  PyObject *inet, *inet6, *stream, *dgram, *raw;
} enums;
static PyObject *gaierror;

int dns_init(void) {
  PyObject *socket = PyImport_ImportModule("socket");
  if (socket == NULL)
    return -1;
  const struct {
    PyObject **where;
    const char *name;
  } wanted[] = {
      {&enums.inet, "AF_INET"},     {&enums.inet6, "AF_INET6"}, {&enums.stream, "SOCK_STREAM"},
      {&enums.dgram, "SOCK_DGRAM"}, {&enums.raw, "SOCK_RAW"},   {&gaierror, "gaierror"},
  };
  int outcome = 0;
  for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
    *wanted[i].where = PyObject_GetAttrString(socket, wanted[i].name);
    if (*wanted[i].where == NULL)
      outcome = -1;
  }
  Py_DECREF(socket);
  return outcome;
}

/* Results ------------------------------------------------------------------ */

static PyObject *dns_family(int family) {
  return family == AF_INET    ? Py_NewRef(enums.inet)
         : family == AF_INET6 ? Py_NewRef(enums.inet6)
                              : PyLong_FromLong(family);
}

static PyObject *dns_type(int type) {
  return type == SOCK_STREAM  ? Py_NewRef(enums.stream)
         : type == SOCK_DGRAM ? Py_NewRef(enums.dgram)
         : type == SOCK_RAW   ? Py_NewRef(enums.raw)
                              : PyLong_FromLong(type);
}

static PyObject *dns_shape_address(const struct sockaddr *address, socklen_t length) {
  PyObject *known = address_tuple(address, length);
  if (known != NULL || PyErr_Occurred())
    return known;
  Py_ssize_t header = offsetof(struct sockaddr, sa_data);
  Py_ssize_t rest = (Py_ssize_t)length > header ? (Py_ssize_t)length - header : 0;
  return Py_BuildValue("iy#", address->sa_family, address->sa_data, rest);
}

static PyObject *dns_shape_entry(const struct addrinfo *found) {
  const char *name = found->ai_canonname != NULL ? found->ai_canonname : "";
  PyObject *items[] = {
      dns_family(found->ai_family),
      dns_type(found->ai_socktype),
      PyLong_FromLong(found->ai_protocol),
      PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogateescape"),
      dns_shape_address(found->ai_addr, found->ai_addrlen),
  };
  enum { COUNT = sizeof(items) / sizeof(items[0]) };
  PyObject *entry = PyTuple_New(COUNT);
  bool whole = entry != NULL;
  for (int i = 0; i < COUNT; i++) {
    whole = whole && items[i] != NULL;
    if (entry != NULL)
      PyTuple_SET_ITEM(entry, i, items[i]);
    else
      Py_XDECREF(items[i]);
  }
  if (!whole)
    Py_CLEAR(entry);
  return entry;
}

static PyObject *dns_shape_list(const struct addrinfo *found) {
  PyObject *list = PyList_New(0);
  for (; list != NULL && found != NULL; found = found->ai_next) {
    PyObject *entry = dns_shape_entry(found);
    if (entry == NULL || PyList_Append(list, entry) < 0)
      Py_CLEAR(list);
    Py_XDECREF(entry);
  }
  return list;
}

static PyObject *dns_shape_names(const char *name, const char *port) {
  PyObject *host = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogateescape");
  return host != NULL ? Py_BuildValue("Ns", host, port) : NULL;
}

static PyObject *dns_raise_code(int code) {
  if (code == EAI_SYSTEM)
    return raise_os_error(errno, NULL, NULL);
  if (code == EAI_MEMORY)
    return PyErr_NoMemory();
  return raise_text(gaierror, Py_BuildValue("is", code, gai_strerror(code)));
}

static PyObject *dns_raise(uvw_dns *dns) {
  return dns->job.error == UVW_EGAI ? dns_raise_code(dns->code)
                                    : raise_os_error(dns->job.error, NULL, NULL);
}

static PyObject *dns_shape_getaddrinfo(Job *Py_UNUSED(self), uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  return dns->job.error != 0 ? dns_raise(dns) : dns_shape_list(dns->found);
}

static PyObject *dns_shape_getnameinfo(Job *Py_UNUSED(self), uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  return dns->job.error != 0 ? dns_raise(dns) : dns_shape_names(dns->name, dns->port);
}

/* Arguments ---------------------------------------------------------------- */

/* The text of a bytes object, without NULs; it lives as long as that. */
static const char *dns_plain_text(PyObject *bytes, const char *name) {
  const char *text = PyBytes_AS_STRING(bytes);
  if (strlen(text) == (size_t)PyBytes_GET_SIZE(bytes))
    return text;
  PyErr_Format(PyExc_ValueError, "%s: embedded null byte", name);
  return NULL;
}

/* Whether the idna codec would give ASCII text back as it is. */
static bool dns_labels_fit(const char *text, Py_ssize_t length) {
  Py_ssize_t start = 0;
  for (Py_ssize_t i = 0; i <= length; i++) {
    if (i < length && text[i] != '.')
      continue;
    if (i - start > 63 || (i == start && i < length))
      return false;
    start = i + 1;
  }
  return true;
}

static int dns_as_host(PyObject *given, PyObject **keep, const char **out) {
  *out = NULL;
  if (given == Py_None)
    return 0;
  if (PyUnicode_Check(given)) {
    if (PyUnicode_IS_ASCII(given) &&
        dns_labels_fit((const char *)PyUnicode_1BYTE_DATA(given), PyUnicode_GET_LENGTH(given)))
      *keep = PyUnicode_AsASCIIString(given);
    else
      *keep = PyUnicode_AsEncodedString(given, "idna", NULL);
    if (*keep != NULL && !PyBytes_Check(*keep)) {
      PyErr_SetString(PyExc_TypeError, "host: the idna codec gave no bytes");
      return -1;
    }
  } else if (PyBytes_Check(given)) {
    *keep = Py_NewRef(given);
  } else {
    PyErr_Format(PyExc_TypeError, "host: expected str, bytes or None, got %R", given);
  }
  if (*keep == NULL || (*out = dns_plain_text(*keep, "host")) == NULL)
    return -1;
  return 0;
}

static int dns_as_port(PyObject *given, PyObject **keep, const char **out) {
  *out = NULL;
  if (given == Py_None)
    return 0;
  if (PyUnicode_Check(given)) {
    *keep = PyUnicode_AsUTF8String(given);
  } else if (PyBytes_Check(given)) {
    *keep = Py_NewRef(given);
  } else if (PyIndex_Check(given)) {
    int overflow;
    PyObject *number = PyNumber_Index(given);
    long port = number != NULL ? PyLong_AsLongAndOverflow(number, &overflow) : -1;
    Py_XDECREF(number);
    if (number == NULL)
      return -1;
    if (port < 0 || port > 65535) {
      PyErr_Format(PyExc_OverflowError, "port must be 0-65535, got %R", given);
      return -1;
    }
    *keep = PyBytes_FromFormat("%ld", port);
  } else {
    PyErr_Format(PyExc_TypeError, "port: expected int, str, bytes or None, got %R", given);
  }
  if (*keep == NULL || (*out = dns_plain_text(*keep, "port")) == NULL)
    return -1;
  return 0;
}

/* What getaddrinfo() answers from the text alone, zones included. */
static bool dns_needs_no_resolver(const char *host, const char *service) {
  if (service != NULL && service[strspn(service, "0123456789")] != '\0')
    return false;
  return host == NULL || Py_ISDIGIT(host[0]) || strchr(host, ':') != NULL;
}

/* Jobs --------------------------------------------------------------------- */

static PyObject *dns_make_key(const char *host, const char *service, const struct addrinfo *hints) {
  /* A host holds no NUL, so nothing else has these bytes. */
  return PyBytes_FromFormat("%i %i %i %i%s%s%c%s%s", hints->ai_family, hints->ai_socktype,
                            hints->ai_protocol, hints->ai_flags, host != NULL ? " h" : " ",
                            host != NULL ? host : "", 0, service != NULL ? "s" : "",
                            service != NULL ? service : "");
}

static const JobKind getaddrinfo_kind = {
    .size = sizeof(Lead),
    .shape = dns_shape_getaddrinfo,
    .deliver = lead_deliver,
    .abandon = lead_close,
    .drop = lead_close,
};
static const JobKind getnameinfo_kind = {.size = sizeof(Job), .shape = dns_shape_getnameinfo};

/* A lookup that equal ones may join, borrowed from its queue's table. */
static Lead *dns_start_lookup(CompletionQueue *queue, PyObject *key, const char *host,
                              const char *service, const struct addrinfo *hints) {
  Job *lead = job_new(&getaddrinfo_kind);
  if (lead == NULL || job_open_for(lead, queue) < 0)
    goto failed;
  uvw_dns *dns = uvw_dns_getaddrinfo(host, service, hints, queue->completions, NULL);
  if (dns == NULL) {
    PyErr_NoMemory();
    goto failed;
  }
  if (lead_open((Lead *)lead, key) < 0) {
    uvw_job_free(&dns->job);
    goto failed;
  }
  PyObject *submitted = job_submit(lead, &dns->job);
  Py_XDECREF(submitted); /* the engine's job has it */
  return (Lead *)submitted;

failed:
  Py_XDECREF(lead);
  return NULL;
}

/* A waiter for the lookup, which is the one in flight or a new one. */
static PyObject *dns_look_up(const char *host, const char *service, const struct addrinfo *hints) {
  CompletionQueue *queue = NULL;
  Lead *lead = NULL;
  PyObject *key = dns_make_key(host, service, hints);
  Job *waiter = key != NULL ? waiter_new() : NULL;
  if (waiter != NULL && job_open(waiter) == 0) {
    queue = (CompletionQueue *)Py_NewRef((PyObject *)waiter->queue);
    waiter->queue = NULL; /* the lead has one */
    lead = lead_find(queue, key);
    if (lead == NULL && !PyErr_Occurred())
      lead = dns_start_lookup(queue, key, host, service, hints);
  }
  if (lead != NULL)
    lead_join(lead, waiter);
  else
    Py_CLEAR(waiter);
  Py_XDECREF(queue);
  Py_XDECREF(key);
  return (PyObject *)waiter;
}

/* getaddrinfo(host, port, family, type, proto, flags) */
static PyObject *core_getaddrinfo(PyObject *Py_UNUSED(module), PyObject *const *args,
                                  Py_ssize_t nargs) {
  PyObject *host_given, *port_given;
  struct addrinfo hints = {0};
  PyObject *keep = NULL, *keep2 = NULL, *result = NULL;
  const char *host, *service;
  if (arguments("getaddrinfo", args, nargs, "OOiiii", &host_given, &port_given, &hints.ai_family,
                &hints.ai_socktype, &hints.ai_protocol, &hints.ai_flags) < 0)
    return NULL;
  if (dns_as_host(host_given, &keep, &host) < 0 || dns_as_port(port_given, &keep2, &service) < 0 ||
      PySys_Audit("socket.getaddrinfo", "OOiii", host_given, port_given, hints.ai_family,
                  hints.ai_socktype, hints.ai_protocol) < 0)
    goto out;
  if (dns_needs_no_resolver(host, service)) {
    struct addrinfo numeric = hints, *found = NULL;
    numeric.ai_flags |= host != NULL ? AI_NUMERICHOST : 0;
    int code = getaddrinfo(host, service, &numeric, &found);
    if (code == 0) {
      result = dns_shape_list(found);
      freeaddrinfo(found);
      goto out;
    }
    if (code != EAI_NONAME || host == NULL) {
      dns_raise_code(code);
      goto out;
    }
  }
  result = dns_look_up(host, service, &hints);
out:
  Py_XDECREF(keep);
  Py_XDECREF(keep2);
  return result;
}

/* (host, port[, flowinfo[, scope_id]]) with a numeric host. */
static int dns_as_address(PyObject *given, struct sockaddr_storage *out, socklen_t *length) {
  const char *host;
  int port;
  int64_t flow = 0, scope = 0;
  char format[] = "sill";
  Py_ssize_t count = PyTuple_Check(given) ? PyTuple_GET_SIZE(given) : 0;
  if (count < 2 || count > 4) {
    PyErr_Format(PyExc_TypeError,
                 "sockaddr: expected a tuple (host, port[, flowinfo[, scope_id]]), got %R", given);
    return -1;
  }
  format[count] = '\0';
  if (arguments("sockaddr", &PyTuple_GET_ITEM(given, 0), count, format, &host, &port, &flow,
                &scope) < 0)
    return -1;
  const char *wrong = port < 0 || port > 65535          ? "port must be 0-65535"
                      : flow < 0 || flow > 0xfffff      ? "flowinfo must be 0-1048575"
                      : scope < 0 || scope > UINT32_MAX ? "scope_id must be 0-4294967295"
                                                        : NULL;
  if (wrong != NULL) {
    PyErr_SetString(PyExc_OverflowError, wrong);
    return -1;
  }
  if (PySys_Audit("socket.getnameinfo", "(O)", given) < 0)
    return -1;
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *found = NULL;
  char service[8];
  PyOS_snprintf(service, sizeof(service), "%d", port);
  int code = getaddrinfo(host, service, &hints, &found);
  if (code != 0) {
    dns_raise_code(code);
    return -1;
  }
  memcpy(out, found->ai_addr, found->ai_addrlen);
  *length = found->ai_addrlen;
  freeaddrinfo(found);
  if (out->ss_family == AF_INET && count != 2) {
    raise_text(PyExc_OSError, PyUnicode_FromString("IPv4 sockaddr must be 2 tuple"));
    return -1;
  }
  if (out->ss_family == AF_INET6) {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
    in->sin6_flowinfo = htonl((uint32_t)flow);
    if (count == 4)
      in->sin6_scope_id = (uint32_t)scope;
  }
  return 0;
}

/* getnameinfo(sockaddr, flags) */
static PyObject *core_getnameinfo(PyObject *Py_UNUSED(module), PyObject *const *args,
                                  Py_ssize_t nargs) {
  PyObject *given;
  int flags;
  struct sockaddr_storage address;
  socklen_t length;
  if (arguments("getnameinfo", args, nargs, "Oi", &given, &flags) < 0 ||
      dns_as_address(given, &address, &length) < 0)
    return NULL;
  if ((flags & NI_NUMERICHOST) != 0 && (flags & NI_NUMERICSERV) != 0) {
    char name[NI_MAXHOST], port[NI_MAXSERV];
    int code = getnameinfo((struct sockaddr *)&address, length, name, sizeof(name), port,
                           sizeof(port), flags);
    return code == 0 ? dns_shape_names(name, port) : dns_raise_code(code);
  }
  Job *job = job_new(&getnameinfo_kind);
  if (job == NULL || job_open(job) < 0)
    goto failed;
  uvw_dns *dns = uvw_dns_getnameinfo((struct sockaddr *)&address, length, flags,
                                     job->queue->completions, NULL);
  if (dns != NULL)
    return job_submit(job, &dns->job);
  PyErr_NoMemory();

failed:
  Py_XDECREF(job);
  return NULL;
}

PyMethodDef dns_methods[] = {
    {"getaddrinfo", (PyCFunction)(void (*)(void))core_getaddrinfo, METH_FASTCALL,
     "getaddrinfo(host, port, family, type, proto, flags) -> list, or Job for one"},
    {"getnameinfo", (PyCFunction)(void (*)(void))core_getnameinfo, METH_FASTCALL,
     "getnameinfo(sockaddr, flags) -> (host, service), or Job for them"},
    {NULL, NULL, 0, NULL},
};
