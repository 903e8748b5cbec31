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

static PyObject *family_object(int family) {
  return family == AF_INET    ? Py_NewRef(enums.inet)
         : family == AF_INET6 ? Py_NewRef(enums.inet6)
                              : PyLong_FromLong(family);
}

static PyObject *type_object(int type) {
  return type == SOCK_STREAM  ? Py_NewRef(enums.stream)
         : type == SOCK_DGRAM ? Py_NewRef(enums.dgram)
         : type == SOCK_RAW   ? Py_NewRef(enums.raw)
                              : PyLong_FromLong(type);
}

static PyObject *shape_address(const struct sockaddr *address, socklen_t length) {
  PyObject *known = address_tuple(address, length);
  if (known != NULL || PyErr_Occurred())
    return known;
  Py_ssize_t header = offsetof(struct sockaddr, sa_data);
  Py_ssize_t rest = (Py_ssize_t)length > header ? (Py_ssize_t)length - header : 0;
  return Py_BuildValue("iy#", address->sa_family, address->sa_data, rest);
}

static PyObject *shape_entry(const struct addrinfo *found) {
  const char *name = found->ai_canonname != NULL ? found->ai_canonname : "";
  PyObject *items[] = {
      family_object(found->ai_family),
      type_object(found->ai_socktype),
      PyLong_FromLong(found->ai_protocol),
      PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogateescape"),
      shape_address(found->ai_addr, found->ai_addrlen),
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

static PyObject *shape_list(const struct addrinfo *found) {
  PyObject *list = PyList_New(0);
  for (; list != NULL && found != NULL; found = found->ai_next) {
    PyObject *entry = shape_entry(found);
    if (entry == NULL || PyList_Append(list, entry) < 0)
      Py_CLEAR(list);
    Py_XDECREF(entry);
  }
  return list;
}

static PyObject *shape_names(const char *name, const char *port) {
  PyObject *host = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "surrogateescape");
  return host != NULL ? Py_BuildValue("Ns", host, port) : NULL;
}

static PyObject *raise_code(int code) {
  if (code == EAI_SYSTEM)
    return PyErr_SetFromErrno(PyExc_OSError);
  if (code == EAI_MEMORY)
    return PyErr_NoMemory();
  PyObject *arguments = Py_BuildValue("is", code, gai_strerror(code));
  if (arguments != NULL)
    PyErr_SetObject(gaierror, arguments);
  Py_XDECREF(arguments);
  return NULL;
}

static bool failed(uvw_dns *dns) {
  if (dns->job.error == 0)
    return false;
  if (dns->job.error == UVW_EGAI) {
    raise_code(dns->code);
  } else {
    errno = dns->job.error;
    PyErr_SetFromErrno(PyExc_OSError);
  }
  return true;
}

static PyObject *shape_getaddrinfo(Job *Py_UNUSED(self), uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  return failed(dns) ? NULL : shape_list(dns->found);
}

static PyObject *shape_getnameinfo(Job *Py_UNUSED(self), uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  return failed(dns) ? NULL : shape_names(dns->name, dns->port);
}

/* Arguments ---------------------------------------------------------------- */

static int int_argument(PyObject *given, const char *name, int *out) {
  int overflow;
  long value = PyLong_AsLongAndOverflow(given, &overflow);
  if (value == -1 && PyErr_Occurred())
    return -1;
  if (overflow != 0 || value < INT_MIN || value > INT_MAX) {
    PyErr_Format(PyExc_OverflowError, "%s does not fit a C int: %R", name, given);
    return -1;
  }
  *out = (int)value;
  return 0;
}

/* The text of a bytes object, without NULs; it lives as long as that. */
static const char *plain_text(PyObject *bytes, const char *name) {
  const char *text = PyBytes_AS_STRING(bytes);
  if (strlen(text) == (size_t)PyBytes_GET_SIZE(bytes))
    return text;
  PyErr_Format(PyExc_ValueError, "%s: embedded null byte", name);
  return NULL;
}

/* Whether the idna codec would give ASCII text back as it is. */
static bool labels_fit(const char *text, Py_ssize_t length) {
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

static int host_argument(PyObject *given, PyObject **keep, const char **out) {
  *out = NULL;
  if (given == Py_None)
    return 0;
  if (PyUnicode_Check(given)) {
    if (PyUnicode_IS_ASCII(given) &&
        labels_fit((const char *)PyUnicode_1BYTE_DATA(given), PyUnicode_GET_LENGTH(given)))
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
  if (*keep == NULL || (*out = plain_text(*keep, "host")) == NULL)
    return -1;
  return 0;
}

static int port_argument(PyObject *given, PyObject **keep, const char **out) {
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
  if (*keep == NULL || (*out = plain_text(*keep, "port")) == NULL)
    return -1;
  return 0;
}

/* What getaddrinfo() answers from the text alone, zones included. */
static bool needs_no_resolver(const char *host, const char *service) {
  if (service != NULL && service[strspn(service, "0123456789")] != '\0')
    return false;
  return host == NULL || Py_ISDIGIT(host[0]) || strchr(host, ':') != NULL;
}

/* Jobs --------------------------------------------------------------------- */

static PyObject *make_key(const char *host, const char *service, const struct addrinfo *hints) {
  /* A host holds no NUL, so nothing else has these bytes. */
  return PyBytes_FromFormat("%i %i %i %i%s%s%c%s%s", hints->ai_family, hints->ai_socktype,
                            hints->ai_protocol, hints->ai_flags, host != NULL ? " h" : " ",
                            host != NULL ? host : "", 0, service != NULL ? "s" : "",
                            service != NULL ? service : "");
}

static PyObject *submit(uvw_dns *dns, Job *job, CompletionQueue *queue,
                        PyObject *(*shape)(Job *, uvw_job *)) {
  job->queue = queue;
  job->shape = shape;
  return job_submit(job, &dns->job);
}

/* A waiter for the lookup, which is the one in flight or a new one. */
static PyObject *look_up(const char *host, const char *service, const struct addrinfo *hints) {
  Job *lead = NULL, *waiter = NULL;
  PyObject *key = make_key(host, service, hints);
  CompletionQueue *queue = key != NULL ? queue_to_submit() : NULL;
  if (queue == NULL || !queue_is_open(queue))
    goto out;
  lead = (Job *)Py_XNewRef((PyObject *)share_find(queue, key));
  if (lead != NULL) {
    waiter = share_join(lead, queue->loop);
    goto out;
  }
  if (PyErr_Occurred() || (lead = job_new(NULL, NULL)) == NULL)
    goto out;
  uvw_dns *dns = uvw_dns_getaddrinfo(host, service, hints, queue->completions, NULL);
  if (dns == NULL) {
    PyErr_NoMemory();
    goto out;
  }
  lead->queue = queue;
  waiter = share_open(lead, queue, key) == 0 ? share_join(lead, queue->loop) : NULL;
  if (waiter == NULL) {
    share_close(lead);
    lead->queue = NULL;
    uvw_job_free(&dns->job);
    goto out;
  }
  PyObject *submitted = submit(dns, (Job *)Py_NewRef((PyObject *)lead), queue, shape_getaddrinfo);
  if (submitted == NULL)
    Py_CLEAR(waiter);
  Py_XDECREF(submitted);
out:
  Py_XDECREF(lead);
  Py_XDECREF(queue);
  Py_XDECREF(key);
  return (PyObject *)waiter;
}

/* getaddrinfo(host, port, family, type, proto, flags) */
PyObject *core_getaddrinfo(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 6) {
    PyErr_SetString(PyExc_TypeError, "getaddrinfo() takes six arguments");
    return NULL;
  }
  struct addrinfo hints = {0};
  PyObject *keep = NULL, *keep2 = NULL, *result = NULL;
  const char *host, *service;
  if (int_argument(args[2], "family", &hints.ai_family) < 0 ||
      int_argument(args[3], "type", &hints.ai_socktype) < 0 ||
      int_argument(args[4], "proto", &hints.ai_protocol) < 0 ||
      int_argument(args[5], "flags", &hints.ai_flags) < 0 ||
      host_argument(args[0], &keep, &host) < 0 || port_argument(args[1], &keep2, &service) < 0 ||
      PySys_Audit("socket.getaddrinfo", "OOiii", args[0], args[1], hints.ai_family,
                  hints.ai_socktype, hints.ai_protocol) < 0)
    goto out;
  if (needs_no_resolver(host, service)) {
    struct addrinfo numeric = hints, *found = NULL;
    numeric.ai_flags |= host != NULL ? AI_NUMERICHOST : 0;
    int code = getaddrinfo(host, service, &numeric, &found);
    if (code == 0) {
      result = shape_list(found);
      freeaddrinfo(found);
      goto out;
    }
    if (code != EAI_NONAME || host == NULL) {
      raise_code(code);
      goto out;
    }
  }
  result = look_up(host, service, &hints);
out:
  Py_XDECREF(keep);
  Py_XDECREF(keep2);
  return result;
}

/* (host, port[, flowinfo[, scope_id]]) with a numeric host. */
static int address_argument(PyObject *given, struct sockaddr_storage *out, socklen_t *length) {
  const char *host;
  int port;
  unsigned flow = 0, scope = 0;
  if (!PyTuple_Check(given)) {
    PyErr_Format(PyExc_TypeError, "sockaddr: expected a tuple, got %R", given);
    return -1;
  }
  if (!PyArg_ParseTuple(given, "si|II;sockaddr: expected (host, port[, flowinfo[, scope_id]])",
                        &host, &port, &flow, &scope))
    return -1;
  if (port < 0 || port > 65535 || flow > 0xfffff) {
    PyErr_SetString(PyExc_OverflowError, port < 0 || port > 65535 ? "port must be 0-65535"
                                                                  : "flowinfo must be 0-1048575");
    return -1;
  }
  if (PySys_Audit("socket.getnameinfo", "(O)", given) < 0)
    return -1;
  struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *found = NULL;
  char service[8];
  PyOS_snprintf(service, sizeof(service), "%d", port);
  int code = getaddrinfo(host, service, &hints, &found);
  if (code != 0) {
    raise_code(code);
    return -1;
  }
  memcpy(out, found->ai_addr, found->ai_addrlen);
  *length = found->ai_addrlen;
  freeaddrinfo(found);
  if (out->ss_family == AF_INET && PyTuple_GET_SIZE(given) != 2) {
    PyErr_SetString(PyExc_OSError, "IPv4 sockaddr must be 2 tuple");
    return -1;
  }
  if (out->ss_family == AF_INET6) {
    struct sockaddr_in6 *in = (struct sockaddr_in6 *)out;
    in->sin6_flowinfo = htonl(flow);
    if (PyTuple_GET_SIZE(given) == 4)
      in->sin6_scope_id = scope;
  }
  return 0;
}

/* getnameinfo(sockaddr, flags) */
PyObject *core_getnameinfo(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs) {
  if (nargs != 2) {
    PyErr_SetString(PyExc_TypeError, "getnameinfo() takes two arguments");
    return NULL;
  }
  int flags;
  struct sockaddr_storage address;
  socklen_t length;
  if (int_argument(args[1], "flags", &flags) < 0 ||
      address_argument(args[0], &address, &length) < 0)
    return NULL;
  if ((flags & NI_NUMERICHOST) != 0 && (flags & NI_NUMERICSERV) != 0) {
    char name[NI_MAXHOST], port[NI_MAXSERV];
    int code = getnameinfo((struct sockaddr *)&address, length, name, sizeof(name), port,
                           sizeof(port), flags);
    return code == 0 ? shape_names(name, port) : raise_code(code);
  }
  CompletionQueue *queue = queue_to_submit();
  if (queue == NULL)
    return NULL;
  PyObject *submitted = NULL;
  Job *job = job_new(NULL, NULL);
  if (job != NULL && queue_is_open(queue)) {
    uvw_dns *dns =
        uvw_dns_getnameinfo((struct sockaddr *)&address, length, flags, queue->completions, NULL);
    if (dns != NULL) {
      job->loop = Py_NewRef(queue->loop);
      submitted = submit(dns, (Job *)Py_NewRef((PyObject *)job), queue, shape_getnameinfo);
    } else {
      PyErr_NoMemory();
    }
  }
  Py_XDECREF(job);
  Py_DECREF(queue);
  return submitted;
}
