/* A job: made by its submitter, told to stop, freed, and where it ends when
 * nobody waits for it. What happens in between is drawn in engine.h. Any thread
 * may call this. Only uvw_job_free() may take a lock, that of the buffers. */
#include "internal.h"

#include <string.h>

void uvw_job_init(uvw_job *job, const uvw_kind *kind, unsigned lane, uvw_completions *completions,
                  void *token) {
  memset(job, 0, sizeof(*job));
  job->kind = kind;
  job->lane = (uint16_t)lane;
  job->completions = uvw_completions_ref(completions);
  job->token = token;
  atomic_init(&job->stop, false);
}

void uvw_job_free(uvw_job *job) {
  uvw_completions *completions = job->completions;
  job->kind->destroy(job);
  uvw_completions_unref(completions);
}

bool uvw_stopping(uvw_job *job) {
  return atomic_load_explicit(&job->stop, memory_order_relaxed) ||
         atomic_load_explicit(&uvw__engine.shutdown, memory_order_relaxed);
}

/* Orphans ----------------------------------------------------------------- */

/* Finished jobs that nobody waits for, whose tokens only the submitter's side
 * can release. Every thread that holds the submitter's lock empties the list in
 * passing. */
static _Atomic(uvw_job *) orphans;

void uvw__orphans_init(void) { atomic_init(&orphans, NULL); }

void uvw__orphan(uvw_job *job) {
  if (job->token == NULL) {
    uvw_job_free(job);
    return;
  }
  /* It may lie here for long; the completions' descriptors need not. */
  uvw_completions_unref(job->completions);
  job->completions = NULL;
  uvw_job *head = atomic_load_explicit(&orphans, memory_order_relaxed);
  do
    job->next = head;
  while (!atomic_compare_exchange_weak_explicit(&orphans, &head, job, memory_order_release,
                                                memory_order_relaxed));
}

uvw_job *uvw_orphans_take(void) {
  if (atomic_load_explicit(&orphans, memory_order_relaxed) == NULL)
    return NULL;
  return atomic_exchange_explicit(&orphans, NULL, memory_order_acquire);
}
