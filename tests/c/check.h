/* The little that the engine's own tests need: an assertion that tells where,
 * and an event loop of the simplest kind around its completions. */
#ifndef CHECK_H
#define CHECK_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"

#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition);                     \
      abort();                                                                                     \
    }                                                                                              \
  } while (0)

/* Takes completions, waiting for the first; aborts after ten seconds without
 * any. They wake again only after a take that gave nothing. */
static inline uvw_job *wait_and_take(uvw_completions *completions) {
  for (;;) {
    uvw_job *list = uvw_completions_take(completions, 0);
    if (list != NULL)
      return list;
    struct pollfd p = {.fd = uvw_completions_fd(completions), .events = POLLIN};
    CHECK(poll(&p, 1, 10000) == 1);
  }
}

#define RUN(test)                                                                                  \
  do {                                                                                             \
    fprintf(stderr, #test " ... ");                                                                \
    test();                                                                                        \
    fprintf(stderr, "ok\n");                                                                       \
  } while (0)

#endif
