/* The sock_* operations: what sockets.c, sockets_try.c and sockets_methods.c share. */
#ifndef UVW_SOCKETS_H
#define UVW_SOCKETS_H

#include "asyncio.h"

typedef enum { OP_RECV, OP_RECV_INTO, OP_SENDALL, OP_METHOD, OP_CONNECT, OP_ACCEPT } OpKind;

struct SockOp {
  PyObject_HEAD
  Loop *loop;
  PyObject *sock;
  PyObject *method, *args; /* OP_METHOD, OP_CONNECT, OP_ACCEPT: what is tried */
  PyObject *future;        /* while it waits */
  PyObject *value, *exception;
  SockOp *next;
  const char *name;
  Py_buffer view;
  Py_ssize_t size, done; /* wanted; sent so far */
  int fd;
  uint8_t kind, direction;
  bool begun, waiting, ended;
};

/* A new operation on `sock`; everything is borrowed, `name` is static. */
SockOp *op_new(Loop *loop, const char *name, OpKind kind, int direction, PyObject *sock);
/* It has ended, with `value` (stolen) or, if that is NULL, with the exception that is set. */
void op_end(SockOp *self, PyObject *value);
/* Tries it without blocking: true when it has ended (sockets_try.c). */
bool op_try(SockOp *self);

#endif
