/* uvworks._core: the path between a Python event loop and the engine that
 * keeps the GIL. A CFFI call would drop it and take it again, which costs
 * tens of microseconds as soon as another Python thread is busy; a job must
 * not pay that.
 *
 * Everything here runs with the GIL held, on whatever thread; only the run
 * functions of calls.c run on workers, and take the GIL by their enter hook.
 * A Job owns what its operation reads and, while it is with the engine, is
 * itself owned by the engine's job (as its token).
 *
 * A topic (fs.c, dns.c, crypto.c, zlib.c, calls.c) turns arguments into a Job
 * of one of its kinds, opens it (job_open), makes the engine's job and submits
 * that (job_submit). All else is the kind's table row. */
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
  uint64_t wait;                /* of the worker that runs the loop, while jobs are pending; or 0 */
  uint64_t busy_now;            /* time spent since the last turn on jobs done at once */
  CompletionQueue *next, *prev; /* all completion queues */
  bool closed;
  PyObject *weakrefs;
};

/* What differs between jobs. Only `shape` must be there. */
typedef struct {
  size_t size; /* of the struct that begins with Job */
  /* The result of an engine's job that has ended, or NULL with its exception. */
  PyObject *(*shape)(Job *self, uvw_job *job);
  /* What the engine's job may ask for between two steps: memory, to take a
   * page of results (-1 raises), or to wait for a descriptor, this one. */
  int (*grant)(Job *self, uvw_job *job);
  int (*take)(Job *self, uvw_job *job);
  int (*park)(uvw_job *job);
  /* How an outcome is handed on, if not to the task that awaits the job. */
  int (*deliver)(Job *self, uvw_job *job);
  /* Nobody waits for the job any more. */
  void (*abandon)(Job *self);
  /* What the job reads: shown to the garbage collector, and let go of, perhaps twice. */
  int (*visit)(Job *self, visitproc visit, void *arg);
  void (*drop)(Job *self);
} JobKind;

typedef enum { JOB_PENDING, JOB_DONE, JOB_CANCELLED } JobState;

struct Job {
  PyObject_VAR_HEAD /* in bytes: what the kind adds */
      const JobKind *kind;
  CompletionQueue *queue; /* borrowed; NULL once that is gone or the job detached */
  Job *next, *prev;       /* in queue->pending */
  uvw_job *job;           /* NULL when the engine's job has ended */
  bool abandoned;         /* nobody waits: the engine's job was told to stop */
  PyObject *parked;       /* while waiting for a descriptor: undoes that */
  /* As a future of the loop: */
  bool blocking, sent;
  JobState state;
  PyObject *loop;
  PyObject *callback, *callback_context;
  PyObject *value, *exception, *cancel_message;
};

extern PyTypeObject Job_Type, CompletionQueue_Type;

/* hooks.c: given by _engine.py once */
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

/* completion_queue.c */
CompletionQueue *queue_of_running_loop(void); /* a new reference; may be closed or inherited */
void queue_close(CompletionQueue *queue);
void queue_end_wait(CompletionQueue *queue); /* nothing is pending any more */
int queue_dispatch(CompletionQueue *queue);  /* -1: an exception of the bare loop's callback */
void sweep_orphans(void);

/* submit.c: the one door. Between opening a job and submitting it nothing may
 * run Python code, which could close the loop. */
int job_open(Job *self); /* for the running loop, which awaits it; raises */
int job_open_for(Job *self, CompletionQueue *queue); /* for a queue, or NULL for none; raises */
PyObject *job_submit(Job *self, uvw_job *job);       /* steals both; NULL if they are refused */
int job_resubmit(uvw_job *job);                      /* one that asked; raises */
int lane_index(PyObject *name);                      /* raises */

/* jobs.c */
int jobs_init(void);
Job *job_new(const JobKind *kind);
void job_abandon(Job *self);
void job_release(Job *self);
int job_settle(Job *self, PyObject *value, PyObject *exception, bool now);
int job_complete(uvw_job *job);
void job_discard(uvw_job *job);
void job_link(Job *self);

/* shared.c */
typedef struct {
  Job base;
  PyObject *key; /* where it stands in the queue's table */
  Job *waiters;  /* a ring by next and prev */
} Lead;
Lead *lead_find(CompletionQueue *queue, PyObject *key); /* borrowed; NULL may raise */
int lead_open(Lead *lead, PyObject *key);               /* raises */
void lead_join(Lead *lead, Job *waiter);
void lead_close(Job *lead);
int lead_deliver(Job *lead, uvw_job *job);
Job *waiter_new(void);

/* address.c */
/* NULL without an exception: a family that only the socket module knows. */
PyObject *address_tuple(const struct sockaddr *address, socklen_t length);

/* awaitable.c: the generator's methods, on top of a type's am_send */
PyObject *awaitable_send(PyObject *self, PyObject *value);
PyObject *awaitable_next(PyObject *self);
/* Raises what throw() was given; returns NULL. */
PyObject *awaitable_raise(PyObject *const *args, Py_ssize_t nargs);

/* errors.c; what returns an object raises and returns NULL */
PyObject *take_exception(void);
void raise_again(PyObject *exception); /* keeps it */
void raise_taken(PyObject *exception); /* gives it away; none for NULL */
bool is_fatal(void); /* the current exception is SystemExit or KeyboardInterrupt */
PyObject *raise_os_error(int error, PyObject *path, PyObject *path2);
/* Steals text; path may be NULL. */
PyObject *raise_os_error_text(int error, PyObject *text, PyObject *path);
PyObject *raise_text(PyObject *class, PyObject *text); /* or a tuple of arguments; steals it */
/* What a job's error says, unless that is its topic's own. */
PyObject *raise_job_error(int error, PyObject *path, PyObject *path2, bool about_second);
void raise_refused(int error, unsigned lane);

/* arguments.c: positional arguments by a format, a letter each; raises.
 *   O  any object, borrowed           PyObject **
 *   i  an int                         int *
 *   l  an int of 64 bits              int64_t *
 *   n  the size of something          Py_ssize_t *
 *   u  0 and up, None is no limit     uint64_t * (UINT64_MAX)
 *   p  its truth                      bool *
 *   s  a str without NUL; z: or None  const char ** (the str's own)
 *   b  a buffer; y: or None           Py_buffer * (the caller's to release)
 *   w  a buffer that can be written   Py_buffer *
 *   f  a path                         Path * (the caller's to clear) */
int arguments(const char *function, PyObject *const *args, Py_ssize_t nargs, const char *format,
              ...);

typedef struct {
  PyObject *shown;   /* as the caller will see it in errors: str or bytes */
  PyObject *keep;    /* what the bytes are a part of, unless that is `shown` */
  const char *bytes; /* without NUL */
} Path;
void path_clear(Path *path);
int as_int(PyObject *value, const char *name, int *out);
int as_int64(PyObject *value, const char *name, int64_t *out);
int as_limit(PyObject *value, uint64_t *out);
int as_path(PyObject *value, Path *out);
static inline void buffer_release(Py_buffer *view) {
  if (view->obj != NULL)
    PyBuffer_Release(view);
}

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

typedef struct {
  const char *name; /* NULL ends a table */
  long value;
} Constant;
/* A module of the name in `module`, with the constants in it; borrowed, raises. */
PyObject *add_namespace(PyObject *module, const char *name, const Constant *constants);

/* Each topic's functions for the module. */
extern PyMethodDef calls_methods[], crypto_methods[], crypto_keys_methods[], dns_methods[],
    hooks_methods[], submit_methods[], zlib_methods[];
int crypto_init(PyObject *module);
int dns_init(void);
int fs_init(PyObject *module);
int zlib_init(PyObject *module);

#endif
