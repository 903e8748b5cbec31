/* fs jobs on directories: readdir, mkdir with parents, rm.
 *
 * rm holds the descriptor of one directory, however deep the tree is. It works
 * relative to that descriptor and never follows a symbolic link, so nobody can
 * lead it out of the tree; going up it checks that it is where it came from. */
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* readdir ----------------------------------------------------------------- */

/* A page is a row of entries: a type character, the name, NUL. The loop
 * takes the full ones between two steps, so that a huge directory neither
 * holds a worker nor stalls the loop. */
#define PAGE ((size_t)16384)
/* Kept free for the next entry. Names may be longer than d_name says: some
 * file systems count 255 characters, not bytes. */
#define ENTRY_ROOM ((size_t)4096)

static char readdir_type_of_mode(mode_t mode) {
  return S_ISREG(mode)    ? 'f'
         : S_ISDIR(mode)  ? 'd'
         : S_ISLNK(mode)  ? 'l'
         : S_ISFIFO(mode) ? 'p'
         : S_ISSOCK(mode) ? 's'
         : S_ISCHR(mode)  ? 'c'
         : S_ISBLK(mode)  ? 'b'
                          : '?';
}

static char readdir_type_of_entry(int directory, const struct dirent *entry) {
  struct stat st;
  switch (entry->d_type) {
  case DT_REG:
    return 'f';
  case DT_DIR:
    return 'd';
  case DT_LNK:
    return 'l';
  case DT_FIFO:
    return 'p';
  case DT_SOCK:
    return 's';
  case DT_CHR:
    return 'c';
  case DT_BLK:
    return 'b';
  default: /* the file system does not tell */
    if (fstatat(directory, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
      return '?';
    return readdir_type_of_mode(st.st_mode);
  }
}

static bool tree_is_dots(const char *name) {
  return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int uvw__fs_readdir(uvw_fs *fs) {
  DIR *dir = fs->walk;
  if (dir == NULL) {
    dir = fs->walk = opendir(fs->path);
    if (dir == NULL)
      return uvw__fs_fail(fs, errno);
  }
  if (fs->buffer == NULL) {
    fs->capacity = PAGE;
    fs->buffer = uvw_buffer_get(&fs->capacity);
    if (fs->buffer == NULL)
      return uvw__fs_fail(fs, ENOMEM);
  }
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(dir);
    if (entry == NULL)
      return uvw__fs_fail(fs, errno);
    if (tree_is_dots(entry->d_name))
      continue;
    size_t length = strlen(entry->d_name) + 1;
    if (length >= ENTRY_ROOM)
      return uvw__fs_fail(fs, ENAMETOOLONG);
    fs->buffer[fs->length] =
        fs->flags & UVW_FS_TYPES ? readdir_type_of_entry(dirfd(dir), entry) : '?';
    memcpy(fs->buffer + fs->length + 1, entry->d_name, length);
    fs->length += length + 1;
    if (fs->capacity - fs->length < ENTRY_ROOM) {
      fs->job.ask = UVW_ASK_TAKE;
      return UVW_ASK;
    }
  }
}

void uvw__fs_readdir_cleanup(uvw_fs *fs) {
  if (fs->walk != NULL)
    closedir(fs->walk);
  fs->walk = NULL;
}

/* mkdir ------------------------------------------------------------------- */

static int mkdir_is_directory(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Makes what is missing from the top down. Others may be making the same
 * path: whatever exists by now is as good. The result is the first directory
 * that this call made, or nothing. */
static int mkdir_make_parents(uvw_fs *fs) {
  char *path = strdup(fs->path);
  if (path == NULL)
    return ENOMEM;
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/')
    path[--end] = '\0';
  /* Back to the longest part that exists. */
  size_t at = end;
  int error = 0;
  for (;;) {
    /* Parents get the default mode, as with mkdir -p. */
    mode_t mode = at == end ? fs->mode : 0777;
    int failure = mkdir(path, mode) == 0 ? 0 : errno;
    if (failure == 0) {
      if (fs->buffer == NULL && (error = uvw__fs_give_string(fs, path, strlen(path))) != 0)
        break;
    } else if (failure == ENOENT && fs->buffer == NULL) {
      size_t up = at;
      while (up > 0 && path[up - 1] != '/')
        up--;
      while (up > 0 && path[up - 1] == '/')
        up--;
      if (up == 0) {
        error = ENOENT;
        break;
      }
      path[up] = '\0';
      at = up;
      continue;
    } else if (!mkdir_is_directory(path)) {
      error = failure;
      break;
    }
    if (at == end)
      break;
    /* One part down: there is a NUL where the slash was. */
    path[at] = '/';
    at += strlen(path + at);
  }
  if (error != 0 && at != end)
    fs->error_path = path;
  else
    free(path);
  return error;
}

int uvw__fs_mkdir(uvw_fs *fs) {
  if (fs->flags & UVW_FS_PARENTS)
    return uvw__fs_fail(fs, mkdir_make_parents(fs));
  return uvw__fs_end(fs, mkdir(fs->path, fs->mode));
}

/* rm ---------------------------------------------------------------------- */

/* A directory on the way down: where we are to be when we come back up, and
 * the names of its own directories that are still to be entered. */
typedef struct {
  dev_t device;
  ino_t inode;
  size_t path_length;
  char *names;
  size_t filled, used, capacity;
} level;

typedef struct {
  level *levels;
  size_t depth, capacity;
  char *path; /* of the current directory */
  size_t path_length, path_capacity;
  DIR *dir; /* being read; it owns its descriptor */
  int fd;   /* the current directory */
} removal;

static int rm_path_append(removal *r, const char *name) {
  size_t length = strlen(name), need = r->path_length + length + 2;
  if (need > r->path_capacity) {
    size_t capacity = need * 2;
    char *path = realloc(r->path, capacity);
    if (path == NULL)
      return ENOMEM;
    r->path = path;
    r->path_capacity = capacity;
  }
  if (r->path_length > 0 && r->path[r->path_length - 1] != '/')
    r->path[r->path_length++] = '/';
  memcpy(r->path + r->path_length, name, length + 1);
  r->path_length += length;
  return 0;
}

/* The error concerns `name` in the current directory, or that itself. */
static int rm_fail(uvw_fs *fs, const char *name, int error) {
  removal *r = fs->walk;
  if (r->path_length > 0 && (name == NULL || rm_path_append(r, name) == 0)) {
    fs->error_path = r->path;
    r->path = NULL;
  }
  return uvw__fs_fail(fs, error);
}

/* Makes `fd`, which is at `name` below the current directory, the current
 * one. Takes the descriptor, whatever happens. */
static int rm_enter(removal *r, int fd, const char *name) {
  struct stat st;
  int copy = -1, error = 0;
  if (r->depth == r->capacity) {
    size_t capacity = r->capacity > 0 ? r->capacity * 2 : 16;
    level *levels = realloc(r->levels, capacity * sizeof(*levels));
    if (levels == NULL) {
      error = ENOMEM;
      goto failed;
    }
    r->levels = levels;
    r->capacity = capacity;
  }
  size_t path_length = r->path_length;
  if (fstat(fd, &st) != 0 || (copy = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0) {
    error = errno;
    goto failed;
  }
  r->dir = fdopendir(copy);
  if (r->dir == NULL) {
    error = errno;
    close(copy);
    goto failed;
  }
  error = rm_path_append(r, name);
  if (error != 0)
    goto failed;
  r->levels[r->depth++] =
      (level){.device = st.st_dev, .inode = st.st_ino, .path_length = path_length};
  if (r->fd >= 0)
    close(r->fd);
  r->fd = fd;
  return 0;

failed:
  if (r->dir != NULL)
    closedir(r->dir);
  r->dir = NULL;
  close(fd);
  return error;
}

static int rm_remember(level *l, const char *name) {
  size_t length = strlen(name) + 1;
  if (l->filled + length > l->capacity) {
    size_t capacity = (l->filled + length) * 2;
    char *names = realloc(l->names, capacity);
    if (names == NULL)
      return ENOMEM;
    l->names = names;
    l->capacity = capacity;
  }
  memcpy(l->names + l->filled, name, length);
  l->filled += length;
  return 0;
}

/* One entry of the directory being read. */
static int rm_entry(uvw_fs *fs, removal *r) {
  errno = 0;
  const struct dirent *entry = readdir(r->dir);
  if (entry == NULL) {
    int error = errno;
    closedir(r->dir);
    r->dir = NULL;
    return error == 0 ? UVW__GO_ON : rm_fail(fs, NULL, error);
  }
  if (tree_is_dots(entry->d_name))
    return UVW__GO_ON;
  int error = 0;
  if (entry->d_type == DT_DIR) {
    error = rm_remember(&r->levels[r->depth - 1], entry->d_name);
  } else if (unlinkat(r->fd, entry->d_name, 0) != 0 && errno != ENOENT) {
    error = errno;
    struct stat st;
    /* The type was unknown, or has changed since. */
    if (fstatat(r->fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
      error = rm_remember(&r->levels[r->depth - 1], entry->d_name);
  }
  return error == 0 ? UVW__GO_ON : rm_fail(fs, entry->d_name, error);
}

/* The directory has been read: down into the next of its own, or up. */
static int rm_move(uvw_fs *fs, removal *r) {
  level *l = &r->levels[r->depth - 1];
  if (l->used < l->filled) {
    const char *name = l->names + l->used;
    int fd = openat(r->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = fd < 0 ? errno : rm_enter(r, fd, name);
    if (fd < 0 && error == ENOENT) {
      l->used += strlen(name) + 1;
      return UVW__GO_ON;
    }
    return error == 0 ? UVW__GO_ON : rm_fail(fs, name, error);
  }
  free(l->names);
  size_t path_length = l->path_length;
  r->depth--;
  if (r->depth == 0) {
    close(r->fd);
    r->fd = -1;
    if (rmdir(fs->path) != 0)
      return uvw__fs_fail(fs, errno);
    return uvw__fs_fail(fs, 0);
  }
  level *parent = &r->levels[r->depth - 1];
  struct stat st;
  int fd = openat(r->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    return rm_fail(fs, NULL, errno);
  close(r->fd);
  r->fd = fd;
  if (fstat(fd, &st) != 0 || st.st_dev != parent->device || st.st_ino != parent->inode)
    return rm_fail(fs, NULL, ENOENT); /* somebody moved it meanwhile */
  r->path_length = path_length;
  r->path[path_length] = '\0';
  const char *name = parent->names + parent->used;
  parent->used += strlen(name) + 1;
  if (unlinkat(r->fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
    return rm_fail(fs, name, errno);
  return UVW__GO_ON;
}

static int rm_start(uvw_fs *fs) {
  if (!(fs->flags & UVW_FS_RECURSIVE)) {
    struct stat st;
    if (unlink(fs->path) == 0)
      return uvw__fs_fail(fs, 0);
    int error = errno;
    if (error == EPERM && lstat(fs->path, &st) == 0 && S_ISDIR(st.st_mode))
      error = EISDIR; /* POSIX says EPERM, Linux EISDIR */
    return uvw__fs_fail(fs, error);
  }
  /* With a slash at its end a link would be followed, O_NOFOLLOW or not. */
  size_t length = strlen(fs->path), end = length;
  while (end > 1 && fs->path[end - 1] == '/')
    fs->path[--end] = '\0';
  int fd = open(fs->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    int error = errno;
    if (error == ENOTDIR || error == ELOOP) /* not a directory, or a link to one */
      error = end < length ? ENOTDIR : unlink(fs->path) == 0 ? 0 : errno;
    return uvw__fs_fail(fs, error);
  }
  removal *r = calloc(1, sizeof(*r));
  if (r == NULL) {
    close(fd);
    return uvw__fs_fail(fs, ENOMEM);
  }
  r->fd = -1;
  fs->walk = r;
  int error = rm_enter(r, fd, fs->path);
  return error == 0 ? UVW__GO_ON : uvw__fs_fail(fs, error);
}

int uvw__fs_rm(uvw_fs *fs) {
  int step = UVW__GO_ON;
  if (fs->walk == NULL)
    step = rm_start(fs);
  removal *r = fs->walk;
  for (unsigned count = 1; step == UVW__GO_ON; count++) {
    step = r->dir != NULL ? rm_entry(fs, r) : rm_move(fs, r);
    if (step == UVW__GO_ON && count % 16 == 0)
      step = uvw__fs_pause(fs);
  }
  if (step == UVW_DONE && fs->job.error == ENOENT && fs->error_path == NULL &&
      fs->flags & UVW_FS_FORCE)
    fs->job.error = 0;
  return step;
}

void uvw__fs_rm_cleanup(uvw_fs *fs) {
  removal *r = fs->walk;
  if (r == NULL)
    return;
  if (r->dir != NULL)
    closedir(r->dir);
  if (r->fd >= 0)
    close(r->fd);
  for (size_t i = 0; i < r->depth; i++)
    free(r->levels[i].names);
  free(r->levels);
  free(r->path);
  free(r);
  fs->walk = NULL;
}
