/* What stream.c, pipes.c and datagram.c share: a transport is a descriptor, a
 * protocol, and a queue of what could not be written at once.
 *
 * It is kept alive by its watch while that asks for events, and by the handles
 * in the ready queue. It owns its descriptor: through a Python object (`file`),
 * or alone, as for accepted connections nobody has asked the socket of. */
#ifndef UVW_TRANSPORT_H
#define UVW_TRANSPORT_H

#include "asyncio.h"

#include <sys/socket.h>
#include <sys/uio.h>

/* Raw, as long as nobody asks for it. */
typedef struct {
  socklen_t length;
  unsigned char bytes[];
} Address;

typedef struct {
  PyObject *item;    /* bytes; owned */
  PyObject *address; /* datagrams: where to, or NULL */
} Chunk;

typedef struct Transport Transport;

/* What differs. */
typedef struct {
  const char *read_failed, *write_failed; /* messages of fatal errors */
  const char *lost_write;                 /* logged when writes go nowhere */
  void (*read)(Transport *);
  void (*flush)(Transport *);
} Kind;

struct Transport {
  PyObject_HEAD
  PyObject *base[3]; /* what asyncio.BaseTransport has */
  const Kind *kind;
  Loop *loop; /* owned; NULL once the connection is lost */
  Watch *watch;
  int fd;
  PyObject *file;     /* owned: the socket or pipe object, or NULL */
  PyObject *protocol; /* owned; NULL once the connection is lost */
  PyObject *context;  /* that the protocol's methods run in */
  PyObject *extra;    /* dict or NULL */
  PyObject *server, *waiter, *empty_waiter;
  Address *sockname, *peername;
  PyObject *remote; /* datagrams: the connected or default address */
  Chunk *queue;     /* a ring */
  size_t queue_capacity, queue_head, queue_count, queue_size /* bytes */, offset /* in the first */;
  size_t high, low;
  unsigned lost; /* writes since the connection was lost, and 1 for that */
  uint8_t family;
  bool started, paused, closing, eof_read, eof_written, protocol_paused, buffered, connected,
      finalized;
  size_t read_hint;
  PyObject *weakrefs, *dict;
};

extern PyTypeObject *Stream_Type, *ReadPipe_Type, *WritePipe_Type, *Datagram_Type;

enum { HIGH_WATER = 64 * 1024 };

/* transport.c, write_queue.c, transport_type.c */
Transport *transport_new(PyTypeObject *type, const Kind *kind, Loop *loop, int fd, PyObject *file,
                         PyObject *protocol, PyObject *waiter, PyObject *extra, PyObject *server,
                         bool trusted);
int transport_start_soon(Transport *self);
int transport_set_protocol(Transport *self, PyObject *protocol);
int transqueue_watch(Transport *self); /* asks for what is wanted now; raises */
void transport_failed(Transport *self, const char *message); /* deals with the current exception */
void transport_force_close(Transport *self, PyObject *exception);
void transport_end_soon(Transport *self, PyObject *exception); /* connection_lost, by call_soon */
void transport_lost(Transport *self, PyObject *exception);     /* connection_lost, now */
/* Calls a method of the protocol. */
PyObject *transport_tell(Transport *self, PyObject *method, PyObject *arg);
void transport_told(Transport *self, PyObject *result, const char *message); /* steals result */
bool transport_writable(Transport *self, const char *what); /* false: raised or to be ignored */
int transport_queue(Transport *self, PyObject *data, const char *bytes, size_t size,
                    PyObject *address);
void transport_dequeue(Transport *self, size_t bytes);
void transport_wake_empty_waiter(Transport *self, PyObject *method, PyObject *arg);
void transport_clear_queue(Transport *self);
void transport_maybe_pause(Transport *self);
void transport_maybe_resume(Transport *self);
void transport_debug(Transport *self, const char *format, PyObject *exception);
void transport_end_run(Transport *self);     /* an exception is set that ends the run */
PyObject *transport_none(void);              /* None; NULL if an exception is set */
PyObject *transport_socket(Transport *self); /* a new reference to the Python object */
int transport_fatal(Transport *self, PyObject *exception, PyObject *message);
void transport_warn(const char *text);
void transport_close_descriptor(Transport *self);
void transport_detach(Transport *self); /* from its server */
int transports_init(void);
int transport_types_init(void);
int listeners_init(PyObject *module);
int streams_init(PyObject *module);
extern const Kind stream_kind;
void set_nodelay(int fd, int family);
PyObject *loop_stream(Loop *self, PyObject *args, PyObject *kwargs);
int datagrams_init(PyObject *module);
int pipes_init(PyObject *module);
void datagram_forget(Transport *self);
PyObject *loop_datagram(Loop *self, PyObject *args, PyObject *kwargs);
PyObject *loop_read_pipe(Loop *self, PyObject *args, PyObject *kwargs);
PyObject *loop_write_pipe(Loop *self, PyObject *args, PyObject *kwargs);
PyObject *loop_listen(Loop *self, PyObject *args);
PyTypeObject *transport_type(const char *name, const char *doc, const char *base,
                             const char *second, size_t size, PyMethodDef *methods);
size_t transport_parts(Transport *self, struct iovec *parts, size_t max); /* what is queued */
void transport_keep_names(Transport *self);                               /* of a socket */

/* address.c */
PyObject *address_tuple(const struct sockaddr *address, socklen_t length);
Address *address_keep(const struct sockaddr *address, socklen_t length);
int address_parse(int family, PyObject *address, struct sockaddr_storage *out, socklen_t *length);

#endif
