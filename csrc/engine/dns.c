/* dns jobs: getaddrinfo(3) and getnameinfo(3), which ask the system's resolver
 * as it is configured (hosts file, DNS, mDNS, ...) and block while it answers.
 *
 * A job owns copies of its strings and what the resolver allocated. Neither
 * call can be interrupted: a cancel orphans the job, and its worker is free
 * when the resolver gives up. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int dns_report(uvw_dns *dns, int code) {
  dns->code = code;
  if (code == EAI_SYSTEM)
    dns->job.error = errno;
  else if (code != 0)
    dns->job.error = UVW_EGAI;
  return UVW_DONE;
}

static int dns_run_getaddrinfo(uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  if (uvw_stopping(job)) {
    job->error = ECANCELED;
    return UVW_DONE;
  }
  return dns_report(dns, getaddrinfo(dns->host, dns->service, &dns->hints, &dns->found));
}

static int dns_run_getnameinfo(uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  if (uvw_stopping(job)) {
    job->error = ECANCELED;
    return UVW_DONE;
  }
  return dns_report(dns, getnameinfo((struct sockaddr *)&dns->address, dns->length, dns->name,
                                     NI_MAXHOST, dns->port, NI_MAXSERV, dns->flags));
}

static void dns_destroy(uvw_job *job) {
  uvw_dns *dns = (uvw_dns *)job;
  if (dns->found != NULL)
    freeaddrinfo(dns->found);
  free(dns);
}

static const uvw_kind getaddrinfo_kind = {"getaddrinfo", dns_run_getaddrinfo, dns_destroy, NULL,
                                          NULL};
static const uvw_kind getnameinfo_kind = {"getnameinfo", dns_run_getnameinfo, dns_destroy, NULL,
                                          NULL};

static uvw_dns *dns_new(const uvw_kind *kind, size_t strings, uvw_completions *completions,
                        void *token) {
  uvw_dns *dns = malloc(sizeof(*dns) + strings);
  if (dns == NULL)
    return NULL;
  memset(dns, 0, sizeof(*dns));
  uvw_job_init(&dns->job, kind, UVW_LANE_DNS, completions, token);
  return dns;
}

uvw_dns *uvw_dns_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                             uvw_completions *completions, void *token) {
  size_t length = host != NULL ? strlen(host) + 1 : 0;
  size_t length2 = service != NULL ? strlen(service) + 1 : 0;
  uvw_dns *dns = dns_new(&getaddrinfo_kind, length + length2, completions, token);
  if (dns == NULL)
    return NULL;
  char *strings = (char *)(dns + 1);
  if (host != NULL)
    dns->host = memcpy(strings, host, length);
  if (service != NULL)
    dns->service = memcpy(strings + length, service, length2);
  dns->hints.ai_family = hints->ai_family;
  dns->hints.ai_socktype = hints->ai_socktype;
  dns->hints.ai_protocol = hints->ai_protocol;
  dns->hints.ai_flags = hints->ai_flags;
  return dns;
}

uvw_dns *uvw_dns_getnameinfo(const struct sockaddr *address, socklen_t length, int flags,
                             uvw_completions *completions, void *token) {
  uvw_dns *dns = dns_new(&getnameinfo_kind, NI_MAXHOST + NI_MAXSERV, completions, token);
  if (dns == NULL)
    return NULL;
  dns->name = (char *)(dns + 1);
  dns->port = dns->name + NI_MAXHOST;
  memcpy(&dns->address, address, length);
  dns->length = length;
  dns->flags = flags;
  return dns;
}
