/* uvworks._core: the path between a Python event loop and the engine that
 * keeps the GIL. A CFFI call would drop it and take it again, which costs
 * tens of microseconds as soon as another Python thread is busy; a job must
 * not pay that.
 *
 * Everything here runs with the GIL held, on whatever thread; only the run
 * function of calls.c runs on workers, and takes the GIL by its enter hook.
 * A Job owns what its operation reads and, while it is with the engine, is
 * itself owned by the engine's job (as its token). */
#ifndef UVW_CORE_H
#define UVW_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "engine.h"

typedef struct CompletionQueue CompletionQueue;
typedef struct Job Job;

/* One per event loop: the loop's side of its completions. */
struct CompletionQueue {
  PyObject_HEAD
  uvw_completions *completions;
  PyObject *loop; /* asyncio's loop, or NULL for the bare loop */
  Job *pending;
  PyObject *shared;             /* dict: key -> the job that runs for all who ask for the same */
  int spin_score;               /* whether spinning for more within a turn has paid lately */
  uint64_t busy_now;            /* time spent since the last turn on jobs done at once */
  CompletionQueue *next, *prev; /* all queues */
  bool closed;
  PyObject *weakrefs;
};

typedef enum { JOB_PENDING, JOB_DONE, JOB_CANCELLED } JobState;

struct Job {
  PyObject_HEAD
  CompletionQueue *queue; /* borrowed; NULL once the queue is gone or the job detached */
  Job *next, *prev;       /* in queue->pending */
  uvw_job *job;           /* NULL when the engine's job has ended */
  PyObject *(*shape)(Job *self, uvw_job *job); /* the result, or an exception */
  int (*grant)(Job *self, uvw_job *job);       /* gives the memory that the job asks for */
  bool abandoned;                              /* nobody waits: the engine's job was told to stop */
  PyObject *parked;                            /* while waiting for a descriptor: undoes that */
  /* As a future of the loop: */
  PyObject *loop;
  PyObject *callback, *callback_context;
  PyObject *value, *exception, *cancel_message;
  JobState state;
  bool blocking, sent;
  /* Shared (shared.c): */
  PyObject *key; /* of a lead: where it stands in queue->shared */
  Job *waiters;  /* of a lead: a ring by next and prev */
  Job *lead;     /* of a waiter */
  /* With other targets: */
  PyObject *target; /* a concurrent.futures.Future, or the bare loop's callback */
  /* fs: */
  bool as_bytes;
  PyObject *path, *path2; /* as the caller will see them in an error */
  PyObject *option;       /* read: encoding; readdir: the entry class */
  PyObject *content;      /* of a read or readdir, under construction */
  Py_buffer data;
  /* crypto: what the job reads */
  Py_buffer *views;
  int view_count;
  /* calls: */
  PyObject *context, *kwnames;
  PyObject **call; /* the callable and its arguments, `call_count` in all */
  Py_ssize_t call_count;
};

extern PyTypeObject Job_Type, CompletionQueue_Type;

/* Given by _engine.py once. */
typedef struct {
  PyObject *attach;    /* (loop) -> CompletionQueue */
  PyObject *start;     /* () -> None: starts the pool */
  PyObject *park;      /* (loop, job, fd, what) -> undo */
  PyObject *saturated; /* class PoolSaturated */
  PyObject *same_file, *special_file;
  PyObject *get_running_loop;
  PyObject *cancelled_error, *invalid_state;
} Hooks;
extern Hooks hooks;

/* queues.c */
CompletionQueue *queue_of_running_loop(void); /* a new reference */
CompletionQueue *queue_to_submit(void);       /* the same, unless to wait here could never end */
bool queue_is_open(CompletionQueue *queue);   /* raises if not */
void queue_close(CompletionQueue *queue);
int queue_dispatch(CompletionQueue *queue); /* -1: an exception of the bare loop's callback */
int ensure_started(void);
PyObject *core_start(PyObject *module, PyObject *size);
void sweep_orphans(void);

/* jobs.c */
int jobs_init(void);
Job *job_new(CompletionQueue *queue, PyObject *target);
PyObject *job_submit(Job *self, uvw_job *job); /* steals self; returns it or NULL */
void job_abandon(Job *self);
void job_release(Job *self);
void job_drop_call(Job *self);
int job_settle(Job *self, PyObject *value, PyObject *exception, bool now);
int job_complete(uvw_job *job);
void job_discard(uvw_job *job);
PyObject *take_exception(void);
void raise_again(PyObject *exception);

/* shared.c */
Job *share_find(CompletionQueue *queue, PyObject *key);
Job *share_join(Job *lead, PyObject *loop);
int share_open(Job *lead, CompletionQueue *queue, PyObject *key);
void share_close(Job *lead);
void share_leave(Job *waiter);
int share_finish(Job *lead, uvw_job *job);

/* address.c */
/* NULL without an exception: a family that only the socket module knows. */
PyObject *address_tuple(const struct sockaddr *address, socklen_t length);

/* arguments.c */
typedef struct {
  const char *function;  /* its name, for errors */
  const char *names[12]; /* of its parameters, up to a NULL */
  int required;          /* that many must be given, */
  int positional;        /* that many may be given by position, the others only by name */
  bool variadic;         /* more positional arguments are allowed: the caller looks at args */
} Parameters;
/* Which argument is which parameter's: given[i], borrowed, is NULL if it was left
 * out. Raises and returns -1. */
int bind_arguments(const Parameters *parameters, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *kwnames, PyObject **given);

/* results.c */
int results_init(void);
PyObject *shape_fs(Job *self, uvw_job *job);
int take_page(Job *self, uvw_fs *fs);

/* zlib.c */
PyObject *core_zlib(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_zlib_stream(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_zlib_write(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_zlib_setup(PyObject *module, PyObject *function);
PyObject *core_zlib_file(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_crc32(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* crypto.c */
extern PyMethodDef crypto_methods[];

/* fs.c, dns.c, calls.c */
int dns_init(void);
PyObject *core_getaddrinfo(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_getnameinfo(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
const char *path_bytes(PyObject *given, PyObject **shown, PyObject **keep);
PyObject *core_fs(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
PyObject *core_call(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *core_call_executor(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames);
PyObject *core_call_queue(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                          PyObject *kwnames);
PyObject *core_check_deadlock(PyObject *module, PyObject *lane);

#endif
