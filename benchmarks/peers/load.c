/* The load generator: one C program for all servers, so that what differs is the server.
 *
 * Each of `in_flight` connections sends a message, waits for the whole answer, and sends the next
 * one, until `operations` answers have come. Connections are made and used once before the clock
 * starts. It polls without ever sleeping: waking it up is no part of a server's work that way. How
 * long it had nothing to do is reported as `idle`: near 0, the load generator itself is what is
 * measured.
 *
 * A request is one JSON object a line, from our own runner:
 *   operation  "echo": the answer is the message. "http": a GET, the answer as long as the first
 * one. "hold": opens the connections, uses each once and keeps them. "touch": uses each held one
 * once. "drop": closes them. address    "tcp:PORT" or "udp:PORT" on 127.0.0.1, "unix:PATH" size of
 * a message in bytes; verify: compare the answers server     its process id: the processor time it
 * needs between the first message and the last answer is reported as `processor`
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, EVENTS = 256 };
static const double PATIENCE = 20.0;      /* seconds without any answer */
static const double DATAGRAM_LOST = 0.25; /* seconds after which a datagram is sent again */

struct connection {
  int fd;
  int wants_write;
  size_t sent, received;
};

static struct connection *connections;
static int count, poller, datagrams, verify;
static char *message, buffer[BUFFER];
static size_t message_size, answer_size;
static long long operations, started, done, bytes, lost;
static char failure[256];

static double now(void) {
  struct timespec time;

  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* What a process has used so far; its clock is named as clock_getcpuclockid(3) does. */
static double processor(long process) {
  struct timespec time = {0};

  clock_gettime((clockid_t)(~(unsigned)process << 3 | 2), &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int fail(const char *format, ...) {
  va_list arguments;

  va_start(arguments, format);
  if (!failure[0])
    vsnprintf(failure, sizeof failure, format, arguments);
  va_end(arguments);
  return -1;
}

static int watch(struct connection *connection, int operation, unsigned events) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = connection};

  return epoll_ctl(poller, operation, connection->fd, &event);
}

static int open_connection(struct connection *connection, const char *address) {
  struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_un local = {.sun_family = AF_UNIX};
  const char *rest = strchr(address, ':') + 1;
  int kind = strncmp(address, "udp:", 4) == 0 ? SOCK_DGRAM : SOCK_STREAM, one = 1, status;

  if (strncmp(address, "unix:", 5) == 0) {
    snprintf(local.sun_path, sizeof local.sun_path, "%s", rest);
    connection->fd = socket(AF_UNIX, kind, 0);
    status = connect(connection->fd, (struct sockaddr *)&local, sizeof local);
  } else {
    inet.sin_port = htons((unsigned short)atoi(rest));
    connection->fd = socket(AF_INET, kind, 0);
    if (kind == SOCK_STREAM)
      setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    status = connect(connection->fd, (struct sockaddr *)&inet, sizeof inet);
  }
  if (connection->fd < 0 || status < 0) {
    fail("connect to %s: %s", address, strerror(errno));
    close(connection->fd);
    return -1;
  }
  return watch(connection, EPOLL_CTL_ADD, EPOLLIN);
}

static void close_all(void) {
  for (int i = 0; i < count; i++)
    close(connections[i].fd);
  free(connections);
  connections = NULL;
  count = 0;
  if (poller)
    close(poller);
  poller = 0;
}

/* Sends what is left of the message. */
static int push(struct connection *connection) {
  while (connection->sent < message_size) {
    ssize_t sent = send(connection->fd, message + connection->sent, message_size - connection->sent,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0 && errno == EAGAIN) {
      connection->wants_write = 1;
      return watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    if (sent < 0)
      return datagrams && errno == ECONNREFUSED ? 0 : fail("send: %s", strerror(errno));
    connection->sent += (size_t)sent;
  }
  if (connection->wants_write) {
    connection->wants_write = 0;
    return watch(connection, EPOLL_CTL_MOD, EPOLLIN);
  }
  return 0;
}

static int next(struct connection *connection) {
  connection->sent = connection->received = 0;
  if (started >= operations) {
    connection->received = answer_size; /* nothing more is wanted from it */
    return 0;
  }
  started++;
  return push(connection);
}

/* Reads until there is no more: the events are edges. A read that does not fill the buffer was the
 * last one. */
static int pull(struct connection *connection) {
  for (;;) {
    ssize_t got = recv(connection->fd, buffer, BUFFER, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || (datagrams && errno == ECONNREFUSED)))
      return 0;
    if (got < 0)
      return fail("recv: %s", strerror(errno));
    if (got == 0)
      return fail("the server closed a connection");
    if (connection->received + (size_t)got > answer_size) {
      if (datagrams)
        continue; /* the answer to one that was thought lost */
      return fail("%zu bytes instead of %zu", connection->received + (size_t)got, answer_size);
    }
    if (verify && memcmp(buffer, message + connection->received, (size_t)got))
      return fail("the echo differs from what was sent");
    connection->received += (size_t)got;
    bytes += got;
    if (connection->received == answer_size) {
      done++;
      if (next(connection) < 0)
        return -1;
    }
    if (got < BUFFER && !datagrams)
      return 0;
  }
}

/* Until all operations are done. Gives the seconds in which there was nothing to do. */
static double run(void) {
  struct epoll_event events[EVENTS];
  double begin = now(), idle = 0.0, empty_since = 0.0;

  for (int i = 0; i < count; i++)
    if (next(&connections[i]) < 0)
      return 0.0;
  while (done < operations) {
    int ready = epoll_wait(poller, events, EVENTS, 0);

    if (ready == 0) {
      double moment = now();

      if (empty_since == 0.0)
        empty_since = moment;
      if (datagrams && moment - empty_since > DATAGRAM_LOST) {
        for (int i = 0; i < count; i++)
          if (connections[i].received < answer_size) {
            lost++;
            connections[i].sent = 0;
            push(&connections[i]);
          }
        idle += moment - empty_since;
        empty_since = moment;
      }
      if (moment - begin > PATIENCE && moment - empty_since > PATIENCE) {
        fail("no answer in %.0f s, %lld of %lld operations done", PATIENCE, done, operations);
        return 0.0;
      }
      continue;
    }
    if (empty_since != 0.0) {
      idle += now() - empty_since;
      empty_since = 0.0;
    }
    for (int i = 0; i < ready; i++) {
      struct connection *connection = events[i].data.ptr;

      if (((events[i].events & EPOLLOUT) && connection->wants_write && push(connection) < 0) ||
          pull(connection) < 0)
        return 0.0;
    }
  }
  return idle;
}

static void expect(long long wanted) {
  operations = wanted;
  started = done = bytes = lost = 0;
}

/* One message each, so that every connection is known to be accepted and warm. */
static void use_once(void) {
  expect(count);
  run();
}

/* How long the answer to our GET is: read with patience from one connection. */
static int learn_answer(void) {
  size_t got = 0;
  char *body, *length;

  expect(0);
  operations = 1;
  if (push(&connections[0]) < 0)
    return -1;
  for (double begin = now(); now() - begin < PATIENCE;) {
    ssize_t part = recv(connections[0].fd, buffer + got, BUFFER - 1 - got, MSG_DONTWAIT);

    if (part == 0)
      return fail("the server closed a connection");
    if (part < 0)
      continue;
    got += (size_t)part;
    buffer[got] = 0;
    body = strstr(buffer, "\r\n\r\n");
    length = strcasestr(buffer, "\r\ncontent-length:");
    if (body && length && got == (size_t)(body + 4 - buffer) + (size_t)atoi(length + 17)) {
      if (strncmp(buffer, "HTTP/1.1 200", 12))
        return fail("the answer is %.30s", buffer);
      answer_size = got;
      return 0;
    }
  }
  return fail("no whole HTTP answer");
}

static int open_all(const char *address, int wanted, int http, size_t size) {
  static const char GET[] =
      "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n";

  close_all();
  free(message);
  message_size = answer_size = http ? sizeof GET - 1 : size;
  message = malloc(message_size);
  for (size_t i = 0; i < message_size; i++)
    message[i] = http ? GET[i] : (char)(i * 31 + i / 251);
  datagrams = strncmp(address, "udp:", 4) == 0;
  poller = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc((size_t)wanted, sizeof *connections);
  for (count = 0; count < wanted; count++)
    if (open_connection(&connections[count], address) < 0)
      return -1;
  if (http && learn_answer() < 0)
    return -1;
  use_once();
  return failure[0] ? -1 : 0;
}

static const char *value(const char *line, const char *key) {
  const char *found = strstr(line, key);

  return found ? found + strlen(key) : "0";
}

int main(void) {
  static char line[65536], address[4096], operation[16];

  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("{\"load\": \"C\"}\n");
  while (fgets(line, sizeof line, stdin)) {
    double begin, seconds = 0.0, idle = 0.0, used = 0.0;
    long server;
    int http;

    sscanf(value(line, "\"operation\": \""), "%15[^\"]", operation);
    sscanf(value(line, "\"address\": \""), "%4095[^\"]", address);
    server = atol(value(line, "\"server\": "));
    http = strcmp(operation, "http") == 0;
    verify = strncmp(value(line, "\"verify\": "), "true", 4) == 0 && !http;
    failure[0] = 0;
    if (strcmp(operation, "drop") == 0) {
      close_all();
      expect(0);
    } else if (strcmp(operation, "touch") == 0) {
      begin = now();
      use_once();
      seconds = now() - begin;
    } else {
      begin = now();
      if (open_all(address, atoi(value(line, "\"in_flight\": ")), http,
                   (size_t)atoll(value(line, "\"size\": "))) == 0) {
        seconds = now() - begin;
        if (strcmp(operation, "hold") != 0) {
          expect(atoll(value(line, "\"operations\": ")));
          used = processor(server);
          begin = now();
          idle = run();
          seconds = now() - begin;
          used = processor(server) - used;
        }
      }
      if (strcmp(operation, "hold") != 0)
        close_all();
    }
    if (failure[0]) {
      printf("{\"error\": \"%s\"}\n", failure);
      close_all();
    } else
      printf("{\"seconds\": %.9f, \"operations\": %lld, \"total\": %lld, \"idle\": %.4f, "
             "\"processor\": %.9f, \"lost\": %lld}\n",
             seconds, done, http ? done : bytes, seconds > 0 ? idle / seconds : 0.0, used, lost);
  }
  return 0;
}
