/* fs jobs on the contents of files: read_file, write_file, append_file,
 * copy_file.
 *
 * Everything is opened with O_NONBLOCK, so that no FIFO or device holds a
 * worker: a job whose descriptor would block goes back to its loop (UVW_ASK),
 * which waits for that with all its others. Large work is done in chunks;
 * between two of them a job may be stopped or give way. */
#include "files.h"
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define COPY_BUFFER ((size_t)128 << 10)
#define FIRST_GUESS ((size_t)16 << 10)
/* Up to here a file is read into a buffer of ours and copied out on the
 * loop's thread; above it the loop provides the memory and nothing is
 * copied there. */
#define OWN_BUFFER ((size_t)128 << 10)

static int fs_ask(uvw_fs *fs, int what) {
  fs->job.ask = (uint8_t)what;
  return UVW_ASK;
}

/* read_file --------------------------------------------------------------- */

/* More room: a larger buffer of ours while they last, then the loop's. */
static int read_grow(uvw_fs *fs, size_t want) {
  if (fs->borrowed || want > OWN_BUFFER + 1) {
    fs->want = want;
    return fs_ask(fs, UVW_ASK_MEMORY);
  }
  size_t capacity = want;
  char *buffer = uvw_buffer_get(&capacity);
  if (buffer == NULL)
    return uvw__fs_fail(fs, ENOMEM);
  if (fs->length > 0)
    memcpy(buffer, fs->buffer, fs->length);
  uvw_buffer_put(fs->buffer, fs->capacity);
  fs->buffer = buffer;
  fs->capacity = capacity;
  return UVW__GO_ON;
}

static int read_start(uvw_fs *fs) {
  fs->fd = uvw__open(fs->path, O_RDONLY, 0);
  if (fs->fd < 0 || fstat(fs->fd, &fs->st) != 0)
    return uvw__fs_fail(fs, errno);
  if (S_ISDIR(fs->st.st_mode))
    return uvw__fs_fail(fs, EISDIR);
  if (!S_ISREG(fs->st.st_mode) || fs->st.st_size == 0)
    return read_grow(fs, FIRST_GUESS);
  if ((uint64_t)fs->st.st_size > fs->max_size)
    return uvw__fs_fail(fs, EFBIG);
  /* One byte more than the file has, so that its end shows in the same call. */
  return read_grow(fs, (size_t)fs->st.st_size + 1);
}

/* A FIFO that never had a writer says "end of file" to read() but nothing to
 * poll(); open() without O_NONBLOCK would have waited for the writer. */
static bool read_awaits_first_writer(uvw_fs *fs) {
  struct pollfd p = {.fd = fs->fd, .events = POLLIN};
  return S_ISFIFO(fs->st.st_mode) && fs->length == 0 && poll(&p, 1, 0) == 0;
}

int uvw__fs_read(uvw_fs *fs) {
  int step = UVW__GO_ON;
  if (fs->fd < 0)
    step = read_start(fs);
  while (step == UVW__GO_ON) {
    if (fs->length == fs->capacity) {
      if (fs->capacity > SIZE_MAX / 4)
        return uvw__fs_fail(fs, ENOMEM);
      step = read_grow(fs, fs->capacity * 2);
      continue;
    }
    if (read_awaits_first_writer(fs))
      return fs_ask(fs, UVW_ASK_READABLE);
    size_t room = fs->capacity - fs->length;
    if (room > CHUNK)
      room = CHUNK;
    ssize_t n = read(fs->fd, fs->buffer + fs->length, room);
    if (n < 0) {
      if (errno == EINTR)
        continue;
      if (errno == EAGAIN)
        return fs_ask(fs, UVW_ASK_READABLE);
      return uvw__fs_fail(fs, errno);
    }
    fs->length += (size_t)n;
    if (fs->length > fs->max_size)
      return uvw__fs_fail(fs, EFBIG);
    /* The size was right and there was room for more: that was all of it.
     * Files in /proc and /sys lie about their size and are read to the end. */
    if (n == 0 ||
        (S_ISREG(fs->st.st_mode) && fs->length == (uint64_t)fs->st.st_size && (size_t)n < room)) {
      uvw__close(&fs->fd);
      return uvw__fs_fail(fs, 0);
    }
    step = uvw__fs_pause(fs);
  }
  return step;
}

/* write_file, append_file ------------------------------------------------- */

/* An atomic write goes to a replacement of the target, which is fs->walk until
 * it has taken the target's place. */
static int write_start(uvw_fs *fs) {
  if (fs->flags & UVW_FS_ATOMIC) {
    bool exists = stat(fs->path, &fs->st) == 0;
    /* Only a regular file can be replaced; a device or FIFO is written to,
     * and a directory is refused, as without `atomic`. */
    if (!exists || S_ISREG(fs->st.st_mode)) {
      uvw__replacement *replacement = NULL;
      int error =
          uvw__replacement_open(fs->path, exists ? &fs->st : NULL, fs->mode, &replacement, &fs->fd);
      fs->walk = replacement;
      return error != 0 ? uvw__fs_fail(fs, error) : UVW__GO_ON;
    }
  }
  int how = fs->op == UVW_FS_APPEND ? O_APPEND : O_TRUNC;
  fs->fd = uvw__open(fs->path, O_WRONLY | O_CREAT | how, fs->mode);
  if (fs->fd < 0) {
    int error = errno;
    /* A FIFO without reader. There is nothing to poll for, so try again. */
    if (error == ENXIO && stat(fs->path, &fs->st) == 0 && S_ISFIFO(fs->st.st_mode))
      return fs_ask(fs, UVW_ASK_LATER);
    return uvw__fs_fail(fs, error);
  }
  return UVW__GO_ON;
}

static int write_finish(uvw_fs *fs) {
  bool sync = (fs->flags & UVW_FS_SYNC) != 0;
  int error = sync ? uvw__sync(fs->fd) : 0;
  int close_error = uvw__close(&fs->fd);
  if (error == 0)
    error = close_error;
  if (fs->walk == NULL || error != 0)
    return uvw__fs_fail(fs, error);
  if (uvw_stopping(&fs->job))
    return uvw__fs_fail(fs, ECANCELED);
  uvw__replacement *replacement = fs->walk;
  error = uvw__replacement_commit(&replacement, sync);
  fs->walk = replacement;
  return uvw__fs_fail(fs, error);
}

/* append differs in how the file is opened. */
int uvw__fs_append(uvw_fs *fs) { return uvw__fs_write(fs); }

int uvw__fs_write(uvw_fs *fs) {
  int step = UVW__GO_ON;
  if (fs->fd < 0)
    step = write_start(fs);
  while (step == UVW__GO_ON) {
    if (fs->offset == fs->size)
      return write_finish(fs);
    size_t left = fs->size - fs->offset;
    ssize_t n = write(fs->fd, fs->data + fs->offset, left < CHUNK ? left : CHUNK);
    if (n < 0) {
      if (errno == EINTR)
        continue;
      if (errno == EAGAIN)
        return fs_ask(fs, UVW_ASK_WRITABLE);
      return uvw__fs_fail(fs, errno);
    }
    fs->offset += (size_t)n;
    if (fs->offset < fs->size)
      step = uvw__fs_pause(fs);
  }
  return step;
}

void uvw__fs_write_cleanup(uvw_fs *fs) {
  uvw__replacement *replacement = fs->walk;
  uvw__replacement_drop(&replacement);
  fs->walk = NULL;
}

/* copy_file --------------------------------------------------------------- */

typedef struct {
  bool created;  /* the target is ours to remove again */
  bool by_hand;  /* copy_file_range() cannot do this pair */
  size_t filled; /* bytes in the buffer, of which `offset` are written */
} copying;

static int copy_fail(uvw_fs *fs, bool second, int error) {
  fs->second_path = second;
  return uvw__fs_fail(fs, error);
}

static int copy_start(uvw_fs *fs) {
  copying *c = calloc(1, sizeof(*c));
  if (c == NULL)
    return uvw__fs_fail(fs, ENOMEM);
  fs->walk = c;
  struct stat target;
  /* Asked before the open: a FIFO is refused, not read. */
  if (stat(fs->path, &fs->st) == 0 && S_ISFIFO(fs->st.st_mode))
    return copy_fail(fs, false, UVW_ESPECIAL);
  fs->fd = uvw__open(fs->path, O_RDONLY, 0);
  if (fs->fd < 0 || fstat(fs->fd, &fs->st) != 0)
    return copy_fail(fs, false, errno);
  if (S_ISDIR(fs->st.st_mode))
    return copy_fail(fs, false, EISDIR);
  if (stat(fs->path2, &target) == 0) {
    if (uvw__same_file(&target, &fs->st))
      return copy_fail(fs, true, UVW_ESAMEFILE);
    if (S_ISFIFO(target.st_mode))
      return copy_fail(fs, true, UVW_ESPECIAL);
  }
  mode_t mode = fs->st.st_mode & 0777;
  fs->fd2 = uvw__open(fs->path2, O_WRONLY | O_CREAT | O_EXCL, mode);
  c->created = fs->fd2 >= 0;
  if (fs->fd2 < 0 && errno == EEXIST && !(fs->flags & UVW_FS_EXCLUSIVE))
    fs->fd2 = uvw__open(fs->path2, O_WRONLY | O_CREAT | O_TRUNC, mode);
  if (fs->fd2 < 0)
    return copy_fail(fs, true, errno);
  /* A device such as /dev/null keeps its own. */
  if (fstat(fs->fd2, &target) != 0)
    return copy_fail(fs, true, errno);
  if (S_ISREG(fs->st.st_mode) && S_ISREG(target.st_mode)) {
    int error = uvw__set_mode(fs->fd2, fs->st.st_mode & 07777);
    if (error != 0)
      return copy_fail(fs, true, error);
  }
  /* The kernel's copy trusts st_size, which /proc gives as zero. */
  c->by_hand = !S_ISREG(fs->st.st_mode) || fs->st.st_size == 0;
  return UVW__GO_ON;
}

static int copy_by_hand(uvw_fs *fs, copying *c) {
  if (fs->buffer == NULL) {
    fs->capacity = COPY_BUFFER;
    fs->buffer = uvw_buffer_get(&fs->capacity);
    if (fs->buffer == NULL)
      return copy_fail(fs, false, ENOMEM);
  }
  ssize_t n;
  if (fs->offset == c->filled) {
    n = read(fs->fd, fs->buffer, fs->capacity);
    if (n == 0)
      return UVW_DONE;
    if (n < 0)
      return errno == EINTR    ? UVW__GO_ON
             : errno == EAGAIN ? fs_ask(fs, UVW_ASK_READABLE)
                               : copy_fail(fs, false, errno);
    c->filled = (size_t)n;
    fs->offset = 0;
  }
  n = write(fs->fd2, fs->buffer + fs->offset, c->filled - fs->offset);
  if (n < 0)
    return errno == EINTR    ? UVW__GO_ON
           : errno == EAGAIN ? fs_ask(fs, UVW_ASK_WRITABLE)
                             : copy_fail(fs, true, errno);
  fs->offset += (size_t)n;
  return UVW__GO_ON;
}

static int copy_in_kernel(uvw_fs *fs, copying *c) {
#ifdef __linux__
  ssize_t n = copy_file_range(fs->fd, NULL, fs->fd2, NULL, 4 * CHUNK, 0);
  if (n > 0)
    return UVW__GO_ON;
  if (n == 0)
    return UVW_DONE;
  if (errno == EINTR)
    return UVW__GO_ON;
  if (errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP &&
      errno != EPERM && errno != EBADF && errno != ETXTBSY)
    return copy_fail(fs, true, errno);
#else
  (void)fs;
#endif
  c->by_hand = true;
  return UVW__GO_ON;
}

int uvw__fs_copy(uvw_fs *fs) {
  int step = UVW__GO_ON;
  if (fs->fd2 < 0)
    step = copy_start(fs);
  copying *c = fs->walk;
  while (step == UVW__GO_ON) {
    step = c->by_hand ? copy_by_hand(fs, c) : copy_in_kernel(fs, c);
    if (step == UVW_DONE && fs->job.error == 0) {
      uvw__close(&fs->fd);
      int error = uvw__close(&fs->fd2);
      c->created = c->created && error != 0;
      return copy_fail(fs, true, error);
    }
    if (step == UVW__GO_ON)
      step = uvw__fs_pause(fs);
  }
  return step;
}

/* Half a copy is no copy. */
void uvw__fs_copy_cleanup(uvw_fs *fs) {
  copying *c = fs->walk;
  if (c != NULL && c->created)
    unlink(fs->path2);
  free(c);
  fs->walk = NULL;
}
