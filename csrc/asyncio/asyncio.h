/* The hot path of the asyncio loop, in CPython's C API over libuv.
 *
 * A Loop and all that belongs to it (handles, timers, watches, transports) is
 * touched with the GIL held; except for call_soon_threadsafe only by the
 * thread that runs the loop. The GIL is let go at one place, around the poll
 * that may block (run.c); a libuv callback takes it back by gil_take() before
 * it touches anything of Python's, once a turn.
 *
 * libuv polls (uv_poll_t, one per descriptor); the system calls on sockets are
 * ours, as asyncio's meaning of them is. */
#ifndef UVW_ASYNCIO_H
#define UVW_ASYNCIO_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "../core/core.h"
#include "names.h"

typedef struct Loop Loop;
typedef struct Handle Handle;
typedef struct Watch Watch;
typedef struct SockOp SockOp;

/* Handles (handle.c) ------------------------------------------------------ */

enum { INLINE_ARGS = 4 };

/* A Handle or, with `when`, a TimerHandle. Not known to the garbage collector:
 * running or cancelling it clears what it refers to, and the loop visits what
 * nobody but its queues holds. */
struct Handle {
  PyObject_HEAD
  Loop *loop;         /* owned */
  PyObject *callback; /* NULL once cancelled */
  PyObject *context;
  uint8_t argc; /* up to INLINE_ARGS, or MANY_ARGS: args[0] is a tuple */
  bool cancelled, running;
  bool scheduled;   /* in the heap of timers */
  bool persistent;  /* of add_reader: runs again and again */
  PyObject *before; /* args[-1]: scratch of the vectorcall protocol */
  PyObject *args[INLINE_ARGS];
  double when;
  PyObject *traceback; /* where it was made, in debug mode */
  PyObject *text;      /* debug mode: its representation from before it was cancelled */
  PyObject *weakrefs;
};
enum { MANY_ARGS = 255 };

extern PyTypeObject Handle_Type, TimerHandle_Type;

/* A new handle; context is borrowed, NULL means a copy of the current one. */
Handle *handle_new(PyTypeObject *type, Loop *loop, PyObject *callback, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *context);
/* Runs it, keeping what it refers to. -1: an exception that ends the run. */
int handle_run(Handle *self);
void handle_cancel(Handle *self);
void handle_drop(Handle *self);   /* cancels it and lets it go; NULL: nothing */
void handle_forget(Handle *self); /* lets go of callback, arguments and context */
int handle_visit(Handle *self, visitproc visit, void *arg);
int handles_init(void);

/* Ready queue (ready.c) and timers (timers.c) ----------------------------- */

typedef struct {
  Handle **ring; /* owned references */
  size_t mask, head, count;
} Ready;

int ready_push(Ready *self, Handle *handle); /* takes a new reference */
Handle *ready_pop(Ready *self);              /* gives the reference away */
void ready_clear(Ready *self);

typedef struct {
  double when;
  uint64_t order; /* first come, first served among equals */
  Handle *handle; /* an owned reference */
} Timer;

typedef struct {
  Timer *heap;
  size_t count, capacity;
  size_t cancelled; /* handles in the heap that are */
  uint64_t order;
} Timers;

int timers_push(Timers *self, Handle *handle);
/* NULL when none is due; gives the reference away. */
Handle *timers_pop_due(Timers *self, double now);
double timers_next(Timers *self); /* INFINITY without any; drops cancelled ones */
void timers_note_cancel(Timers *self);
void timers_clear(Timers *self);

/* Watches (watch.c) ------------------------------------------------------- */

/* What kind of thing polls a descriptor: the user's own (descriptors.c), a
 * transport, a listener, the loop's completion queue. */
typedef struct {
  size_t size; /* of the struct that begins with the watch */
  /* With the GIL. `events` below 0: the descriptor cannot be polled (a libuv
   * code) and the watch has been stopped. Sets loop->error to end the run. */
  void (*ready)(Watch *, int events);
  /* Closes the watch and all that waits for it, because something else opens
   * the descriptor's number, or the loop closes. NULL: it does not make way for
   * others, and watch_close() is all there is to do when the loop closes. */
  void (*release)(Watch *);
  /* For the garbage collector: what hangs on the watch, beside `user`. Or NULL. */
  int (*visit)(Watch *, visitproc, void *);
} WatchKind;

/* One per descriptor that the loop polls. Whoever opened it owns it up to
 * watch_close(), libuv from then on. While it asks for events it keeps its
 * user alive. */
struct Watch {
  uv_poll_t poll;
  const WatchKind *kind;
  Loop *loop; /* borrowed: the loop closes its watches before it ends */
  int fd;
  uint8_t events; /* that are asked for: UV_READABLE | UV_WRITABLE */
  bool trusted;   /* nobody else can close the descriptor */
  bool unchecked; /* in loop->unchecked */
  bool deferred;  /* in loop->deferred, linked by poll.data */
  bool closed;    /* by watch_close(), while it is there */
  PyObject *user; /* a transport or listener; NULL for the user's own descriptors */
  Watch **holder; /* its pointer to this, set to NULL by watch_close() */
};

int watch_open(Watch **holder, Loop *loop, int fd, const WatchKind *kind, PyObject *user,
               bool trusted);           /* raises */
int watch_set(Watch *self, int events); /* raises */
void watch_close(Watch *self);
Watch *watch_of(Loop *loop, int fd); /* or NULL */
int watches_check(Loop *loop);       /* before each poll */
void watches_settle(Loop *loop);     /* does what other threads have asked for */
void watches_close_all(Loop *loop);
int watches_visit(Loop *loop, visitproc visit, void *arg);
int fd_of(PyObject *fileobj); /* raises and returns -1 */

/* The user's own descriptors (descriptors.c) ------------------------------- */

enum { READ, WRITE };

/* Of add_reader(), add_writer() and the sock_* operations. */
typedef struct {
  Watch watch;
  PyObject *fileobj; /* owned: as given to add_reader; finds it when it is closed */
  Handle *handle[2]; /* owned: add_reader's and add_writer's */
  SockOp *first[2];  /* owned: operations that wait to read, to write */
  PyObject *socket;  /* weak reference to the socket that they are on */
  bool idle;         /* in loop->idle: polled though nobody waits, up to the next poll */
} Descriptor;

Descriptor *descriptor_of(Loop *loop, int fd);   /* or NULL */
Descriptor *descriptor_open(Loop *loop, int fd); /* raises */
int descriptor_arm(Descriptor *self);            /* polls for what is waited for; raises */
void descriptor_release(Descriptor *self);       /* closes it and drops all that waits */
void descriptors_settle(Loop *loop);             /* before each poll */
int descriptor_wait(SockOp *op);                 /* puts it into its descriptor's queue; raises */
void descriptor_leave(SockOp *op);               /* takes it out, if it is there */
int descriptor_check_no_transport(Loop *loop, int fd, PyObject *fileobj); /* raises */
int descriptors_init(void);

/* add_reader() and its kin (add_reader.c) ---------------------------------- */

PyObject *loop_add_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_add_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_remove_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *loop_remove_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *loop__add_reader(Loop *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *loop__add_writer(Loop *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *loop__remove_reader(Loop *self, PyObject *fd);
PyObject *loop__remove_writer(Loop *self, PyObject *fd);

/* Socket operations (sockets.c) ------------------------------------------- */

PyObject *loop_sock_recv(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_sock_recv_into(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *loop_sock_recvfrom(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *loop_sock_recvfrom_into(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *loop_sock_sendall(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_sock_sendto(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_sock_connect(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_sock_accept(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
int sockets_init(PyObject *module);

/* Futures and tasks (tasks.c) ---------------------------------------------- */

PyObject *loop_create_future(Loop *self, PyObject *ignored);
PyObject *loop_create_task(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
int tasks_init(void);

/* The loop ---------------------------------------------------------------- */

enum { PAGE = 4096, READ_BUFFER = 256 * 1024, IDLE_MAX = 64 };

struct Loop {
  PyObject_HEAD
  uv_loop_t uv;
  uv_async_t wake;
  uv_timer_t alarm;        /* bounds a poll; expiry is decided by `timers` */
  PyThreadState *released; /* set while the GIL is let go */
  Ready ready;
  Timers timers;
  Watch **watches; /* by descriptor */
  size_t watch_capacity;
  Watch **unchecked; /* armed since the last poll and not trusted */
  size_t unchecked_count, unchecked_capacity;
  Watch *deferred;
  Descriptor *idle[IDLE_MAX]; /* see descriptors.c */
  int idle_count;
  char *read_buffer;      /* READ_BUFFER bytes, shared by all that read */
  Py_ssize_t received;    /* by the last sock_recv() */
  uint64_t polled;        /* when, by uv_hrtime() */
  uint64_t gil_offered;   /* when other threads could last have taken the GIL, about */
  unsigned ran;           /* handles since the last poll */
  unsigned unclocked;     /* turns since the clock was read, */
  unsigned unclocked_max; /* and how many may pass until it is read again */
  uint64_t clock_read;    /* when it was */
  bool watches_changed;   /* libuv has descriptors to arm, or to close, before it polls */
  unsigned long thread;   /* that runs the loop, 0 when none does */
  double slow_callback_duration;
  unsigned generation;           /* of forks, when it was made */
  PyObject *task_factory;        /* or NULL */
  struct CompletionQueue *queue; /* the door to the engine, or NULL */
  Watch *queue_watch;
  bool error; /* an exception is set that ends the run */
  bool closed, debug, stopping, sleeping, woken;
  PyObject *weakrefs;
};

extern PyTypeObject Loop_Type;

/* loop.c: what the others ask of the loop */
int loop_check_open(Loop *self);
int loop_check_thread(Loop *self);
bool loop_stale(const Loop *self); /* made before a fork, and this is the child */
double loop_now(void);
/* Gives the current exception to call_exception_handler; -1: one that ends the run. */
int loop_report(Loop *self, const char *message, const char *name, PyObject *value,
                const char *name2, PyObject *value2);
/* The same with an exception that has been taken (borrowed) and is not fatal. */
int loop_report_exception(Loop *self, PyObject *exception, const char *message, const char *name,
                          PyObject *value, const char *name2, PyObject *value2);
/* In debug mode: warns of a callback that took too long. */
int loop_note_time(Loop *self, PyObject *what, uint64_t start);
/* Both raise the OSError and return NULL. ENOMEM is one too, as in the socket module. */
PyObject *raise_errno(void);
PyObject *uv_failure(int code); /* libuv's */

/* gil.c: letting the GIL go and taking it back */
void gil_release(Loop *self);
void gil_take(Loop *self);
int gil_offer(Loop *self); /* lets another thread have it for a while, if one asks */
void loop_wake(Loop *self);
/* Asked by another thread: the loop's own may be inside libuv, without the GIL.
 * If not, it stays out of libuv until we have let the GIL go. */
static inline bool loop_asleep(const Loop *self) {
  return __atomic_load_n(&self->sleeping, __ATOMIC_ACQUIRE);
}

/* call_soon.c */
/* call_soon(callback, arg) that drops the handle; a NULL arg is none, a NULL
 * context the current one. */
int call_soon(Loop *self, PyObject *callback, PyObject *arg, PyObject *context);
PyObject *loop_call_soon(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_call_soon_threadsafe(Loop *self, PyObject *const *args, Py_ssize_t nargs,
                                    PyObject *kwnames);
PyObject *loop_call_later(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *loop_call_at(Loop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);

/* run.c */
int loop_run(Loop *self); /* turns until stop() */

static inline bool would_block(void) { return errno == EAGAIN || errno == EWOULDBLOCK; }

/* loop_type.c: the types of this folder, into the module */
int asyncio_init(PyObject *module);

#endif
