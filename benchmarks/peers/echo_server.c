/* A plain C echo server on libuv: what an event loop in Python can at best come near.
 *
 * TCP, UNIX and UDP on loopback, addresses in the greeting, ends with its input. It does the least
 * that is correct: one read buffer for all connections, what was read is written back at once
 * (uv_try_write), and only what the kernel does not take then is copied and queued.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

enum { READ_BUFFER = 256 * 1024 };

static char buffer[READ_BUFFER];
static char path[1024];

struct rest {
  uv_write_t request;
  char bytes[];
};

struct datagram {
  uv_udp_send_t request;
  char bytes[];
};

static void check(int status) {
  if (status < 0) {
    printf("{\"missing\": \"%s\"}\n", uv_strerror(status));
    exit(0);
  }
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *out) {
  (void)handle, (void)suggested;
  *out = uv_buf_init(buffer, sizeof buffer);
}

static void after_close(uv_handle_t *handle) { free(handle); }

static void after_write(uv_write_t *request, int status) {
  if (status < 0 && !uv_is_closing((uv_handle_t *)request->handle))
    uv_close((uv_handle_t *)request->handle, after_close);
  free(request);
}

static void after_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *read) {
  uv_buf_t out;
  struct rest *rest;
  int written;

  if (count < 0) {
    uv_close((uv_handle_t *)stream, after_close);
    return;
  }
  if (count == 0)
    return;
  out = uv_buf_init(read->base, (unsigned)count);
  written = uv_try_write(stream, &out, 1);
  if (written == count)
    return;
  if (written < 0)
    written = 0; /* nothing was taken, or others wait before us; a real error comes again with the
                    queued write */
  out.base += written;
  out.len -= (size_t)written;
  rest = malloc(sizeof *rest + out.len);
  memcpy(rest->bytes, out.base, out.len);
  out.base = rest->bytes;
  if (uv_write(&rest->request, stream, &out, 1, after_write) < 0)
    free(rest);
}

static void after_connection(uv_stream_t *server, int status) {
  uv_stream_t *stream;

  if (status < 0)
    return;
  if (server->type == UV_TCP) {
    stream = malloc(sizeof(uv_tcp_t));
    uv_tcp_init(server->loop, (uv_tcp_t *)stream);
  } else {
    stream = malloc(sizeof(uv_pipe_t));
    uv_pipe_init(server->loop, (uv_pipe_t *)stream, 0);
  }
  if (uv_accept(server, stream) < 0) {
    uv_close((uv_handle_t *)stream, after_close);
    return;
  }
  if (server->type == UV_TCP)
    uv_tcp_nodelay((uv_tcp_t *)stream, 1);
  uv_read_start(stream, give_buffer, after_read);
}

static void after_send(uv_udp_send_t *request, int status) {
  (void)status;
  free(request);
}

static void after_datagram(uv_udp_t *socket, ssize_t count, const uv_buf_t *read,
                           const struct sockaddr *from, unsigned flags) {
  uv_buf_t out;
  struct datagram *datagram;

  (void)flags;
  if (count < 0 || from == NULL)
    return;
  out = uv_buf_init(read->base, (unsigned)count);
  if (uv_udp_try_send(socket, &out, 1, from) != UV_EAGAIN)
    return;
  datagram = malloc(sizeof *datagram + out.len);
  memcpy(datagram->bytes, out.base, out.len);
  out.base = datagram->bytes;
  if (uv_udp_send(&datagram->request, socket, &out, 1, from, after_send) < 0)
    free(datagram);
}

static int port_of(const struct sockaddr_storage *address) {
  return ntohs(((const struct sockaddr_in *)address)->sin_port);
}

static void end(uv_stream_t *input, ssize_t count, const uv_buf_t *read) {
  (void)input, (void)read;
  if (count < 0) {
    unlink(path);
    exit(0);
  }
}

int main(void) {
  uv_loop_t *loop = uv_default_loop();
  uv_tcp_t tcp;
  uv_pipe_t unix_server, input;
  uv_udp_t udp;
  struct sockaddr_storage address;
  int length = sizeof address, tcp_port;

  uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&address);
  check(uv_tcp_init(loop, &tcp));
  check(uv_tcp_bind(&tcp, (struct sockaddr *)&address, 0));
  check(uv_listen((uv_stream_t *)&tcp, 4096, after_connection));
  check(uv_udp_init(loop, &udp));
  check(uv_udp_bind(&udp, (struct sockaddr *)&address, 0));
  check(uv_udp_recv_start(&udp, give_buffer, after_datagram));
  snprintf(path, sizeof path, "%s/echo-%d", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
           (int)getpid());
  check(uv_pipe_init(loop, &unix_server, 0));
  check(uv_pipe_bind(&unix_server, path));
  check(uv_listen((uv_stream_t *)&unix_server, 4096, after_connection));
  check(uv_pipe_init(loop, &input, 0));
  check(uv_pipe_open(&input, 0));
  check(uv_read_start((uv_stream_t *)&input, give_buffer, end));

  check(uv_tcp_getsockname(&tcp, (struct sockaddr *)&address, &length));
  tcp_port = port_of(&address);
  length = sizeof address;
  check(uv_udp_getsockname(&udp, (struct sockaddr *)&address, &length));
  printf("{\"libuv\": \"%s\", \"services\": {\"protocol\": \"tcp:%d\", \"buffered\": \"tcp:%d\", "
         "\"unix\": \"unix:%s\", \"udp\": \"udp:%d\"}}\n",
         uv_version_string(), tcp_port, tcp_port, path, port_of(&address));
  fflush(stdout);
  return uv_run(loop, UV_RUN_DEFAULT);
}
