/* Files, as all the jobs that use them need them: opening without blocking,
 * and a new file that takes another one's place. Workers call this; it knows
 * nothing of jobs. Errors are errno values or the codes of engine.h. */
#ifndef UVW_FILES_H
#define UVW_FILES_H

#include "engine.h"

/* open() that never waits for another process; or -1 and errno. */
int uvw__open(const char *path, int flags, mode_t mode);
/* Closes and forgets. An error of close() is an error of the writes before. */
int uvw__close(int *fd);
/* fsync(), where there is anything to sync. */
int uvw__sync(int fd);
/* Some file systems have no modes, and keep theirs. */
int uvw__set_mode(int fd, mode_t mode);
/* For those who read or replace only regular files: 0, EISDIR or UVW_ESPECIAL. */
int uvw__check_regular(const struct stat *st);
bool uvw__same_file(const struct stat *a, const struct stat *b);

/* A new file beside the target, to be written by its owner through *fd, which
 * takes the target's place at the end. Until then the target is what it was. */
typedef struct uvw__replacement uvw__replacement;

/* Links at the end of the path are followed, also to a file that is missing.
 * `old` is what stands there: the new file gets its owner, group and mode as
 * far as the process may say so, and nobody has more rights in it than in the
 * old one at any moment. NULL: nothing does, and the mode is that of open().
 * *out is set, and to be ended, even when *fd could not be made as it should. */
int uvw__replacement_open(const char *path, const struct stat *old, mode_t mode,
                          uvw__replacement **out, int *fd);
/* After *fd was closed. With `sync` the directory is synced, too: only then is
 * the change safe against a crash. Frees the replacement, unless the rename
 * itself failed. */
int uvw__replacement_commit(uvw__replacement **replacement, bool sync);
/* Removes the new file. NULL and what was committed are nothing. */
void uvw__replacement_drop(uvw__replacement **replacement);

#endif
