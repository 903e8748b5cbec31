/* One job of the engine for all who ask a loop for the same thing meanwhile.
 *
 * The lead is the job that the engine has; nobody awaits it. It stands in its
 * queue's table under a key until it comes back or is given up, and each caller
 * gets a waiter: a job with no work of its own, which may be cancelled alone.
 * With the last waiter the lead is abandoned. Leads and waiters point to each
 * other without references: a waiter leaves when it ends, and a lead lets its
 * waiters go. */
#include "core.h"

/* The lead under the key, borrowed; NULL, perhaps without an exception. */
Job *share_find(CompletionQueue *queue, PyObject *key) {
  return queue->shared != NULL ? (Job *)PyDict_GetItemWithError(queue->shared, key) : NULL;
}

int share_open(Job *lead, CompletionQueue *queue, PyObject *key) {
  if (queue->shared == NULL && (queue->shared = PyDict_New()) == NULL)
    return -1;
  if (PyDict_SetItem(queue->shared, key, (PyObject *)lead) < 0)
    return -1;
  lead->key = Py_NewRef(key);
  return 0;
}

/* From here on nobody joins. */
static void leave_table(Job *lead) {
  if (lead->queue == NULL || lead->queue->shared == NULL)
    return;
  PyObject *raised = take_exception();
  if (share_find(lead->queue, lead->key) == lead)
    PyDict_DelItem(lead->queue->shared, lead->key);
  PyErr_Clear();
  if (raised != NULL) {
    raise_again(raised);
    Py_DECREF(raised);
  }
}

Job *share_join(Job *lead, PyObject *loop) {
  Job *waiter = job_new(NULL, NULL);
  if (waiter == NULL)
    return NULL;
  waiter->loop = Py_NewRef(loop);
  waiter->lead = lead;
  Job *first = lead->waiters; /* a ring, oldest first */
  waiter->next = first != NULL ? first : waiter;
  waiter->prev = first != NULL ? first->prev : waiter;
  waiter->next->prev = waiter->prev->next = waiter;
  if (first == NULL)
    lead->waiters = waiter;
  return waiter;
}

static void unlink_waiter(Job *waiter) {
  Job *lead = waiter->lead;
  if (lead->waiters == waiter)
    lead->waiters = waiter->next != waiter ? waiter->next : NULL;
  waiter->prev->next = waiter->next;
  waiter->next->prev = waiter->prev;
  waiter->next = waiter->prev = waiter->lead = NULL;
}

void share_leave(Job *waiter) {
  Job *lead = waiter->lead;
  unlink_waiter(waiter);
  if (lead->waiters == NULL)
    job_abandon(lead);
}

/* The end of a lead that brings nothing. */
void share_close(Job *lead) {
  if (lead->key == NULL)
    return;
  leave_table(lead);
  while (lead->waiters != NULL)
    unlink_waiter(lead->waiters);
  Py_CLEAR(lead->key);
}

/* Each waiter gets a result, or an exception, of its own. When what one of
 * them resumes fails as job_settle() may, the others are resumed later. */
int share_finish(Job *lead, uvw_job *job) {
  PyObject *raised = NULL;
  Py_INCREF(lead);
  leave_table(lead);
  while (lead->waiters != NULL) {
    Job *waiter = (Job *)Py_NewRef((PyObject *)lead->waiters);
    unlink_waiter(waiter);
    PyObject *value = lead->shape(lead, job);
    PyObject *exception = value == NULL ? take_exception() : NULL;
    if (job_settle(waiter, value, exception, raised == NULL) < 0) {
      PyObject *other = take_exception();
      if (raised == NULL)
        raised = other;
      else
        Py_XDECREF(other);
    }
    Py_DECREF(waiter);
  }
  uvw_job_free(job);
  job_release(lead);
  Py_DECREF(lead);
  if (raised == NULL)
    return 0;
  raise_again(raised);
  Py_DECREF(raised);
  return -1;
}
