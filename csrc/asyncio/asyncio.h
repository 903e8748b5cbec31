/* The hot path of the asyncio loop, in CPython's C API over libuv.
 *
 * A Loop and all that belongs to it (handles, timers, watches, transports) is
 * touched with the GIL held; except for call_soon_threadsafe only by the
 * thread that runs the loop. The GIL is let go at one place, around the poll
 * that may block (run.c); a libuv callback takes it back by loop_gil() before
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

/* One per descriptor that the loop polls. Whoever opened it owns it up to
 * watch_close(), libuv from then on. While it asks for events it keeps its
 * user alive. */
struct Watch {
  uv_poll_t poll;
  Loop *loop; /* borrowed: the loop closes its watches before it ends */
  int fd;
  uint8_t events; /* that are asked for: UV_READABLE | UV_WRITABLE */
  bool trusted;   /* nobody else can close the descriptor */
  bool unchecked; /* in loop->unchecked */
  bool deferred;  /* in loop->deferred, linked by poll.data */
  bool closed;    /* by watch_close(), while it is there */
  /* With the GIL. `events` below 0: the descriptor cannot be polled (a libuv
   * code) and the watch has been stopped. Sets loop->error to end the run. */
  void (*ready)(Watch *, int events);
  PyObject *user; /* a transport or listener; NULL for the user's own descriptors */
  Watch **holder; /* its pointer to this, set to NULL by watch_close() */
};

int watch_open(Watch **holder, Loop *loop, int fd, void (*ready)(Watch *, int), PyObject *user,
               bool trusted, size_t size); /* raises */
int watch_set(Watch *self, int events);    /* raises */
void watch_close(Watch *self);
Watch *watch_of(Loop *loop, int fd); /* or NULL */
int watches_check(Loop *loop);       /* before each poll */
void watches_settle(Loop *loop);     /* does what other threads have asked for */
void watches_close_all(Loop *loop);
int watches_visit(Loop *loop, visitproc visit, void *arg);
int fd_of(PyObject *fileobj);                                  /* raises and returns -1 */
int check_no_transport(Loop *loop, int fd, PyObject *fileobj); /* raises */

/* The user's own descriptors (readers.c) ---------------------------------- */

enum { READ, WRITE };

/* Of add_reader, add_writer and the sock_* operations. */
typedef struct {
  Watch watch;
  PyObject *fileobj; /* owned: as given to add_reader; finds it when it is closed */
  Handle *handle[2]; /* owned: add_reader's and add_writer's */
  SockOp *first[2];  /* owned: operations that wait to read, to write */
  PyObject *socket;  /* weak reference to the socket that they are on */
  bool idle;         /* in loop->idle: armed for no one */
} Reader;

Reader *reader_of(Loop *loop, int fd);   /* or NULL */
Reader *reader_open(Loop *loop, int fd); /* raises */
int reader_arm(Reader *self);            /* raises */
void reader_release(Reader *self);       /* nobody waits any more: closes it */
void reader_idle(Reader *self);          /* an operation has ended */
void readers_settle(Loop *loop);         /* before each poll */
int readers_init(void);
void ops_ready(Reader *self, int direction);              /* sockets.c */
void ops_fail(Reader *self, int code);                    /* sockets.c */
void ops_drop(SockOp *first);                             /* sockets.c */
int ops_visit(SockOp *first, visitproc visit, void *arg); /* sockets.c */
int reader_visit(Watch *watch, visitproc visit, void *arg);
bool watch_is_reader(Watch *watch);

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

/* The loop (loop.c, run.c) ------------------------------------------------ */

enum { READ_BUFFER = 256 * 1024, IDLE_MAX = 64 };

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
  Reader *idle[IDLE_MAX]; /* see readers.c */
  int idle_count;
  char *read_buffer;   /* READ_BUFFER bytes, shared by all that read */
  Py_ssize_t received; /* by the last sock_recv() */
  uint64_t polled;     /* when, by uv_hrtime() */
  uint64_t gave_way;   /* when others were given a chance of the GIL, about */
  unsigned ran;        /* handles since then */
  unsigned turns;      /* since the clock was read, and how many may pass until it is again */
  unsigned hurry;
  uint64_t read_at; /* when it was read */
  bool armed;       /* libuv has something to do before it polls: a new watch, or a closed one */
  unsigned long thread; /* that runs the loop, 0 when none does */
  double slow_callback_duration;
  unsigned generation;           /* of forks, when it was made */
  PyObject *task_factory;        /* or NULL */
  struct CompletionQueue *queue; /* the door to the engine, or NULL */
  Watch *queue_watch;
  bool error; /* an exception is set that ends the run */
  bool initialised, closed, debug, stopping, sleeping, woken;
  PyObject *weakrefs;
};

extern PyTypeObject Loop_Type;

int loop_run(Loop *self); /* run.c: turns until stop() */
void loop_wake(Loop *self);
void loop_gil(Loop *self);
/* Asked by another thread: the loop's own may be inside libuv, without the GIL.
 * If not, it stays out of libuv until we have let the GIL go. */
static inline bool loop_asleep(const Loop *self) {
  return __atomic_load_n(&self->sleeping, __ATOMIC_ACQUIRE);
}
int loop_bind(const char *method, const char *const *names, PyObject *const **args,
              Py_ssize_t *nargs, PyObject *kwnames, PyObject **copy, PyObject **context);
int loop_check_open(Loop *self);
int loop_check_thread(Loop *self);
Handle *loop_call_soon(Loop *self, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *context);
/* call_soon(callback, arg) that drops the handle. */
int loop_soon(Loop *self, PyObject *callback, PyObject *arg, PyObject *context);
/* Gives the current exception to call_exception_handler; -1: one that ends the run. */
int loop_report(Loop *self, const char *message, const char *name, PyObject *value,
                const char *name2, PyObject *value2);
/* In debug mode: warns of a callback that took too long. */
int loop_note_time(Loop *self, PyObject *what, uint64_t start);
bool loop_stale(const Loop *self); /* made before a fork, and this is the child */
double loop_now(void);
PyObject *uv_failure(int code); /* raises the OSError; returns NULL */

static inline bool would_block(void) { return errno == EAGAIN || errno == EWOULDBLOCK; }

int asyncio_init(PyObject *module);

#endif
