/* Result buffers. Memory that a worker fills and the loop's thread copies out
 * of comes back here instead of going to the allocator: large blocks that are
 * freed on every job make glibc trim its heap and fault the pages in again,
 * which costs more than the copy.
 *
 * Any thread may get and put. The freelists are last-in first-out, for warm
 * caches, and bounded in total. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* Each class leaves room for a power-of-two file and one byte more, so that
 * one read() both fills and sees the end; the last one for what a megabyte
 * may become when it is compressed. */
static const size_t class_size[] = {4096, 16384 + 64, 65536 + 64, 131072 + 64, 1048576 + 4096};
enum { CLASSES = sizeof(class_size) / sizeof(class_size[0]) };
#define KEPT_BYTES ((size_t)16 << 20)

typedef struct spare {
  struct spare *next;
} spare;

static struct {
  uv_mutex_t mutex;
  spare *free[CLASSES];
  size_t kept;
} freelists;

void uvw__buffers_init(void) {
  if (uv_mutex_init(&freelists.mutex) != 0)
    abort();
}

void uvw__buffers_lock(void) { uvw__lock(&freelists.mutex); }
void uvw__buffers_unlock(void) { uv_mutex_unlock(&freelists.mutex); }

static int buffer_class_of(size_t size) {
  for (int i = 0; i < CLASSES; i++)
    if (size <= class_size[i])
      return i;
  return -1;
}

void *uvw_buffer_get(size_t *size) {
  int class = buffer_class_of(*size);
  if (class < 0)
    return malloc(*size);
  *size = class_size[class];
  uvw__lock(&freelists.mutex);
  spare *found = freelists.free[class];
  if (found != NULL) {
    freelists.free[class] = found->next;
    freelists.kept -= *size;
  }
  uv_mutex_unlock(&freelists.mutex);
  return found != NULL ? (void *)found : malloc(*size);
}

void *uvw_buffer_grow(void *buffer, size_t had, size_t used, size_t *size) {
  if (buffer != NULL && buffer_class_of(had) < 0)
    return realloc(buffer, *size); /* the pages move, their contents need not */
  void *larger = uvw_buffer_get(size);
  if (larger == NULL)
    return NULL;
  if (used > 0)
    memcpy(larger, buffer, used);
  uvw_buffer_put(buffer, had);
  return larger;
}

void uvw_buffer_put(void *buffer, size_t size) {
  if (buffer == NULL)
    return;
  int class = buffer_class_of(size);
  if (class >= 0 && class_size[class] == size) {
    uvw__lock(&freelists.mutex);
    if (freelists.kept + size <= KEPT_BYTES) {
      spare *kept = buffer;
      kept->next = freelists.free[class];
      freelists.free[class] = kept;
      freelists.kept += size;
      buffer = NULL;
    }
    uv_mutex_unlock(&freelists.mutex);
  }
  free(buffer);
}

const uint8_t *uvw__buffer_snapshot(const uint8_t *data, size_t size, bool changeable, void **copy,
                                    size_t *copy_size) {
  *copy = NULL;
  *copy_size = size;
  if (!changeable || size == 0)
    return data;
  *copy = uvw_buffer_get(copy_size);
  return *copy != NULL ? memcpy(*copy, data, size) : NULL;
}
