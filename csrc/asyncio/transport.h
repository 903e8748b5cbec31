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

/* What differs. A slot is NULL where the kind does not do that. */
typedef struct {
  const char *read_failed, *write_failed; /* messages of fatal errors */
  const char *write_lost;                 /* logged when writes go nowhere */
  bool close_ends_writing;                /* what is written after close() is ignored */
  void (*read)(Transport *);              /* the descriptor is readable */
  void (*flush)(Transport *);             /* it is writable, and something is queued */
  ssize_t (*send)(int fd, struct iovec *parts, size_t count); /* one system call, as writev() */
  void (*shutdown)(Transport *); /* after write_eof(), when the queue is empty */
  void (*forget)(Transport *);   /* lets go of the objects that only this kind has */
} TransportKind;

struct Transport {
  PyObject_HEAD
  PyObject *base[3]; /* what asyncio.BaseTransport has */
  const TransportKind *kind;
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
  unsigned conn_lost; /* as asyncio's _conn_lost: 1 once it is lost, and 1 for each write since */
  uint8_t family;
  bool started, paused, closing, eof_read, eof_written, protocol_paused, buffered, connected;
  size_t read_hint;
  PyObject *weakrefs, *dict;
};

extern PyTypeObject *Stream_Type, *ReadPipe_Type, *WritePipe_Type, *Datagram_Type;

enum { HIGH_WATER = 64 * 1024 };

/* transport.c: beginning and ending */
Transport *transport_new(PyTypeObject *type, const TransportKind *kind, Loop *loop, int fd,
                         PyObject *file, PyObject *protocol, PyObject *waiter, PyObject *extra,
                         PyObject *server, bool trusted);
int transport_start_soon(Transport *self);
int transport_set_protocol(Transport *self, PyObject *protocol);
int transport_watch(Transport *self);  /* asks for what is wanted now; raises */
void transport_close(Transport *self); /* once what is queued has been written */
void transport_force_close(Transport *self, PyObject *exception);
void transport_connection_lost_soon(Transport *self, PyObject *exception); /* by call_soon */
void transport_connection_lost(Transport *self, PyObject *exception);      /* now */
void transport_close_descriptor(Transport *self);
void transport_detach(Transport *self); /* from its server */
void transport_wake_empty_waiter(Transport *self, PyObject *method, PyObject *arg);
int transports_init(void);

/* transport.c: failures */
void transport_failed(Transport *self, const char *message); /* deals with the current exception */
int transport_fatal(Transport *self, PyObject *exception, PyObject *message);
void transport_end_run(Transport *self); /* an exception is set that ends the run */
void transport_debug(Transport *self, const char *format, PyObject *exception);
void transport_warn(const char *text);
PyObject *transport_none(void); /* None; NULL if an exception is set */
/* Calls a method of the protocol. */
PyObject *transport_tell(Transport *self, PyObject *method, PyObject *arg);
void transport_told(Transport *self, PyObject *result, const char *message); /* steals result */

/* write_queue.c: the methods, */
PyObject *transport_write(Transport *self, PyObject *data);
PyObject *transport_writelines(Transport *self, PyObject *list);
void transport_raise_not_bytes_like(PyObject *data);
/* the kinds' `flush`, */
void transport_flush(Transport *self);
void transport_flushed(Transport *self); /* some of the queue has been sent */
/* and the queue itself. */
bool transport_writable(Transport *self, const char *what); /* false: raised or to be ignored */
int transport_queue(Transport *self, PyObject *data, const char *bytes, size_t size,
                    PyObject *address);
void transport_clear_queue(Transport *self);
void transport_maybe_pause(Transport *self);
void transport_maybe_resume(Transport *self);

/* transport_type.c */
PyTypeObject *transport_type(const char *name, const char *doc, const char *base,
                             const char *second, size_t size, PyMethodDef *methods);
PyObject *transport_socket(Transport *self); /* a new reference to the Python object */
void transport_keep_names(Transport *self);  /* of a socket */
int transport_types_init(void);

/* address.c */
Address *address_keep(const struct sockaddr *address, socklen_t length);
int address_parse(int family, PyObject *address, struct sockaddr_storage *out, socklen_t *length);

/* stream.c, listener.c, datagram.c, pipes.c */
extern const TransportKind stream_kind;
void stream_set_nodelay(int fd, int family);
PyObject *loop_stream(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_listen(Loop *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *loop_datagram(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_read_pipe(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_write_pipe(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
int streams_init(PyObject *module);
int listeners_init(PyObject *module);
int datagrams_init(PyObject *module);
int pipes_init(PyObject *module);

#endif
