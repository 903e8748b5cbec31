/* One job of the engine for all who ask a loop for the same thing meanwhile.
 *
 * The lead is the job that the engine has; nobody awaits it. It stands in its
 * queue's table under a key until it comes back or is given up, and each caller
 * gets a waiter: a job with no work of its own, which may be cancelled alone.
 * With the last waiter the lead is abandoned. Leads and waiters point to each
 * other without references: a waiter leaves when it ends, and a lead lets its
 * waiters go. */
#include "core.h"

typedef struct {
  Job base;
  Lead *lead;
} Waiter;

/* The lead under the key, borrowed; NULL, perhaps without an exception. */
Lead *lead_find(CompletionQueue *queue, PyObject *key) {
  return (Lead *)PyDict_GetItemWithError(queue->shared, key);
}

int lead_open(Lead *lead, PyObject *key) {
  if (PyDict_SetItem(lead->base.queue->shared, key, (PyObject *)lead) < 0)
    return -1;
  lead->key = Py_NewRef(key);
  return 0;
}

/* From here on nobody joins. */
static void lead_leave_table(Lead *lead) {
  CompletionQueue *queue = lead->base.queue;
  if (queue == NULL || queue->shared == NULL)
    return;
  PyObject *raised = take_exception();
  if (lead_find(queue, lead->key) == lead)
    PyDict_DelItem(queue->shared, lead->key);
  PyErr_Clear();
  raise_taken(raised);
}

void lead_join(Lead *lead, Job *waiter) {
  Job *first = lead->waiters; /* a ring, oldest first */
  ((Waiter *)waiter)->lead = lead;
  waiter->next = first != NULL ? first : waiter;
  waiter->prev = first != NULL ? first->prev : waiter;
  waiter->next->prev = waiter->prev->next = waiter;
  if (first == NULL)
    lead->waiters = waiter;
}

static Lead *waiter_unlink(Job *waiter) {
  Lead *lead = ((Waiter *)waiter)->lead;
  if (lead == NULL)
    return NULL;
  if (lead->waiters == waiter)
    lead->waiters = waiter->next != waiter ? waiter->next : NULL;
  waiter->prev->next = waiter->next;
  waiter->next->prev = waiter->prev;
  waiter->next = waiter->prev = NULL;
  ((Waiter *)waiter)->lead = NULL;
  return lead;
}

static void waiter_leave(Job *waiter) {
  Lead *lead = waiter_unlink(waiter);
  if (lead != NULL && lead->waiters == NULL)
    job_abandon(&lead->base);
}

Job *waiter_new(void) {
  static const JobKind kind = {
      .size = sizeof(Waiter), .abandon = waiter_leave, .drop = waiter_leave};
  return job_new(&kind);
}

/* The end of a lead that brings nothing. */
void lead_close(Job *self) {
  Lead *lead = (Lead *)self;
  if (lead->key == NULL)
    return;
  lead_leave_table(lead);
  while (lead->waiters != NULL)
    waiter_unlink(lead->waiters);
  Py_CLEAR(lead->key);
}

/* Each waiter gets a result, or an exception, of its own. When what one of
 * them resumes fails as job_settle() may, the others are resumed later. */
int lead_deliver(Job *self, uvw_job *job) {
  Lead *lead = (Lead *)self;
  PyObject *raised = NULL;
  lead_leave_table(lead);
  while (lead->waiters != NULL) {
    Job *waiter = (Job *)Py_NewRef((PyObject *)lead->waiters);
    waiter_unlink(waiter);
    PyObject *value = self->kind->shape(self, job);
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
  job_discard(job);
  int outcome = raised != NULL ? -1 : 0;
  raise_taken(raised);
  return outcome;
}
