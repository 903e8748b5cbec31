/* Files: see files.h. Used by the contents of files (fs_file.c), gzip_file and
 * gunzip_file (zlib_file.c), and hashing a file (crypto_hash.c). */
#include "files.h"

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINKS_MOST = 40 }; /* as many as Linux follows */

/* O_NONBLOCK, so that no FIFO or device holds a worker. A lease on a regular
 * file also says EWOULDBLOCK; it is broken within a bounded time, so that is
 * waited for. */
int uvw__open(const char *path, int flags, mode_t mode) {
  int fd;
  do
    fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0 && errno == EWOULDBLOCK) {
    do
      fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
    while (fd < 0 && errno == EINTR);
  }
  return fd;
}

int uvw__close(int *fd) {
  int error = close(*fd) == 0 || errno == EINTR ? 0 : errno;
  *fd = -1;
  return error;
}

int uvw__sync(int fd) { return fsync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : errno; }

int uvw__set_mode(int fd, mode_t mode) {
  return fchmod(fd, mode) == 0 || errno == EPERM || errno == EINVAL || errno == ENOTSUP ? 0 : errno;
}

int uvw__check_regular(const struct stat *st) {
  return S_ISREG(st->st_mode) ? 0 : S_ISDIR(st->st_mode) ? EISDIR : UVW_ESPECIAL;
}

bool uvw__same_file(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Replacing a file -------------------------------------------------------- */

struct uvw__replacement {
  char *target; /* with links followed */
  char name[];  /* of the new file */
};

/* The part of a path up to its last slash, that one included. */
static size_t files_directory_length(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

/* realpath() would not follow a link to a file that is missing. */
static int files_follow_links(const char *path, char **target) {
  char link[PATH_MAX];
  struct stat st;
  char *here = strdup(path);
  for (int links = 0; here != NULL; links++) {
    bool missing = lstat(here, &st) != 0;
    if (missing ? errno == ENOENT : !S_ISLNK(st.st_mode)) {
      *target = here;
      return 0;
    }
    ssize_t n = missing ? -1 : readlink(here, link, sizeof(link) - 1);
    if (n < 0 || links == LINKS_MOST) {
      int error = n < 0 ? errno : ELOOP;
      free(here);
      return error;
    }
    link[n] = '\0';
    size_t keep = link[0] == '/' ? 0 : files_directory_length(here);
    char *there = malloc(keep + (size_t)n + 1);
    if (there != NULL) {
      memcpy(there, here, keep);
      memcpy(there + keep, link, (size_t)n + 1);
    }
    free(here);
    here = there;
  }
  return ENOMEM;
}

/* The name is one that nobody else has or can guess. */
static int files_open_beside(uvw__replacement *r, size_t room, mode_t mode, int *fd) {
  int error = EEXIST;
  for (unsigned attempt = 0; attempt < 100 && error == EEXIST; attempt++) {
    uint64_t random = 0;
    error = -uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
    if (error != 0)
      break;
    snprintf(r->name, room, "%.*s.%016llx.tmp", (int)files_directory_length(r->target), r->target,
             (unsigned long long)random);
    *fd = uvw__open(r->name, O_WRONLY | O_CREAT | O_EXCL, mode);
    error = *fd < 0 ? errno : 0;
  }
  return error;
}

/* A set-id bit is kept only with the owner or group that it lends. If the group
 * had to change, the new group and everybody else get what the old group and
 * everybody else both had: so nobody gets more than before. */
static mode_t files_mode_to_keep(const struct stat *old, const struct stat *new) {
  mode_t mode = old->st_mode & 07777;
  if (new->st_uid != old->st_uid)
    mode &= ~(mode_t)S_ISUID;
  if (new->st_gid != old->st_gid) {
    mode_t both = (mode >> 3) & mode & 07;
    mode = (mode & (S_ISUID | S_ISVTX | S_IRWXU)) | both << 3 | both;
  }
  return mode;
}

/* Only root gives files away, but any owner may give one to a group that it is
 * a member of. Changing either takes the set-id bits away, so the mode is last;
 * until then the file is its maker's alone. */
static int files_keep_attributes(int fd, const struct stat *old) {
  struct stat new;
  if (fstat(fd, &new) != 0)
    return errno;
  if ((new.st_uid != old->st_uid || new.st_gid != old->st_gid) &&
      (fchown(fd, old->st_uid, old->st_gid) == 0 || fchown(fd, (uid_t)-1, old->st_gid) == 0) &&
      fstat(fd, &new) != 0)
    return errno;
  return uvw__set_mode(fd, files_mode_to_keep(old, &new));
}

int uvw__replacement_open(const char *path, const struct stat *old, mode_t mode,
                          uvw__replacement **out, int *fd) {
  char *target;
  int error = files_follow_links(path, &target);
  if (error != 0)
    return error;
  size_t room = files_directory_length(target) + sizeof(".0123456789abcdef.tmp");
  uvw__replacement *r = malloc(sizeof(*r) + room);
  if (r == NULL) {
    free(target);
    return ENOMEM;
  }
  r->target = target;
  error = files_open_beside(r, room, old != NULL ? 0600 : mode, fd);
  if (error != 0) {
    free(target);
    free(r);
    return error;
  }
  *out = r;
  return old != NULL ? files_keep_attributes(*fd, old) : 0;
}

static int files_sync_directory(const char *path) {
  size_t length = files_directory_length(path);
  char *directory = length == 0 ? strdup(".") : strndup(path, length);
  if (directory == NULL)
    return ENOMEM;
  int fd = uvw__open(directory, O_RDONLY | O_DIRECTORY, 0);
  int error = fd < 0 ? errno : uvw__sync(fd);
  if (fd >= 0)
    close(fd);
  free(directory);
  return error;
}

static void files_free(uvw__replacement **replacement) {
  free((*replacement)->target);
  free(*replacement);
  *replacement = NULL;
}

int uvw__replacement_commit(uvw__replacement **replacement, bool sync) {
  uvw__replacement *r = *replacement;
  if (rename(r->name, r->target) != 0)
    return errno;
  int error = sync ? files_sync_directory(r->target) : 0;
  files_free(replacement);
  return error;
}

void uvw__replacement_drop(uvw__replacement **replacement) {
  if (*replacement == NULL)
    return;
  unlink((*replacement)->name);
  files_free(replacement);
}
