/* The bare libuv loop of uvworks.uv. One thread at a time uses it; only
 * uvw_loop_stop() may come from elsewhere.
 *
 * Completions reach Python through one hook, called between phases only: the
 * descriptor of the loop's completions is polled like any other, the poll
 * callback notes that something waits, and the check handle after the poll
 * phase calls the hook once for all of it. A byte in the signal pipe calls the
 * hook too, so that an interpreter gets to see its signals. */
#include "internal.h"

#include <stdlib.h>
#include <unistd.h>

struct uvw_loop {
  uv_loop_t uv;
  uvw_completions *completions;
  uv_poll_t wake; /* the completions' descriptor; holds the loop while jobs are pending */
  uv_poll_t signal;
  uv_check_t check;
  uv_async_t stop;
  uv_file signal_fds[2];
  bool waiting;
  atomic_bool running;
  void (*hook)(void *);
  void *data;
};

static _Thread_local uvw_loop *running_here;

static void loop_on_wake(uv_poll_t *handle, int status, int events) {
  (void)status;
  (void)events;
  ((uvw_loop *)handle->data)->waiting = true;
}

static void loop_on_signal(uv_poll_t *handle, int status, int events) {
  char drain[64];
  uvw_loop *loop = handle->data;
  while (read(loop->signal_fds[0], drain, sizeof(drain)) > 0)
    ;
  loop_on_wake(handle, status, events);
}

static void loop_on_check(uv_check_t *handle) {
  uvw_loop *loop = handle->data;
  if (loop->waiting) {
    loop->waiting = false;
    loop->hook(loop->data);
  }
}

static void loop_on_stop(uv_async_t *handle) { uv_stop(handle->loop); }

static int loop_open_handles(uvw_loop *loop) {
  int error = uv_check_init(&loop->uv, &loop->check);
  if (error == 0)
    error = uv_check_start(&loop->check, loop_on_check);
  if (error == 0)
    error = uv_async_init(&loop->uv, &loop->stop, loop_on_stop);
  if (error == 0)
    error = uv_poll_init(&loop->uv, &loop->wake, uvw_completions_fd(loop->completions));
  if (error == 0)
    error = uv_poll_start(&loop->wake, UV_READABLE, loop_on_wake);
  if (error == 0)
    error = uv_poll_init(&loop->uv, &loop->signal, loop->signal_fds[0]);
  if (error == 0)
    error = uv_poll_start(&loop->signal, UV_READABLE, loop_on_signal);
  if (error != 0)
    return error;
  loop->check.data = loop->wake.data = loop->signal.data = loop;
  uv_unref((uv_handle_t *)&loop->check);
  uv_unref((uv_handle_t *)&loop->stop);
  uv_unref((uv_handle_t *)&loop->wake);
  uv_unref((uv_handle_t *)&loop->signal);
  return 0;
}

int uvw_loop_new(uvw_loop **out, void (*hook)(void *), void *data) {
  uvw_loop *loop = calloc(1, sizeof(*loop));
  if (loop == NULL)
    return UV_ENOMEM;
  loop->hook = hook;
  loop->data = data;
  atomic_init(&loop->running, false);
  int error = uv_pipe(loop->signal_fds, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE);
  if (error != 0)
    goto no_pipe;
  loop->completions = uvw_completions_new();
  error = loop->completions == NULL ? UV_EMFILE : uv_loop_init(&loop->uv);
  if (error != 0)
    goto no_loop;
  error = loop_open_handles(loop);
  if (error != 0) {
    uvw_loop_close(loop);
    return error;
  }
  *out = loop;
  return 0;

no_loop:
  uvw_completions_unref(loop->completions);
  close(loop->signal_fds[0]);
  close(loop->signal_fds[1]);
no_pipe:
  free(loop);
  return error;
}

uvw_completions *uvw_loop_completions(uvw_loop *loop) { return loop->completions; }

int uvw_loop_signal_fd(uvw_loop *loop) { return loop->signal_fds[1]; }

int uvw_loop_run(uvw_loop *loop, int mode) {
  uvw_loop *outer = running_here;
  running_here = loop;
  atomic_store(&loop->running, true);
  int alive = uv_run(&loop->uv, (uv_run_mode)mode);
  atomic_store(&loop->running, false);
  running_here = outer;
  return alive;
}

void uvw_loop_stop(uvw_loop *loop) {
  if (running_here == loop || !atomic_load(&loop->running))
    uv_stop(&loop->uv);
  else
    uv_async_send(&loop->stop);
}

/* While jobs are pending the loop is alive. */
void uvw_loop_pending(uvw_loop *loop, int pending) {
  if (pending)
    uv_ref((uv_handle_t *)&loop->wake);
  else
    uv_unref((uv_handle_t *)&loop->wake);
}

uint64_t uvw_loop_now(uvw_loop *loop) { return uv_now(&loop->uv); }
int uvw_loop_alive(uvw_loop *loop) { return uv_loop_alive(&loop->uv); }
int uvw_loop_stale(uvw_loop *loop) { return uvw_completions_stale(loop->completions); }

static void loop_close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle))
    uv_close(handle, NULL);
}

/* In a forked child the loop is only let go of: closing its handles would
 * take the parent's descriptors out of the epoll set that both share. */
void uvw_loop_close(uvw_loop *loop) {
  if (uvw_loop_stale(loop)) {
    uvw_abandon_loop(&loop->uv);
  } else {
    uv_walk(&loop->uv, loop_close_handle, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0)
      ;
    uv_loop_close(&loop->uv);
  }
  close(loop->signal_fds[0]);
  close(loop->signal_fds[1]);
  uvw_completions_unref(loop->completions);
  free(loop);
}
