/* SPDX-License-Identifier: MIT */
/*
 * The directory of a user's statistics files (statfile.h): which one it is, and the files that dead
 * processes left in it.
 *
 * The candidates, of which a process takes the first whose parent is there, and a reader looks into
 * all:
 *
 *   $XDG_RUNTIME_DIR/demikernel    the parent must be the user's
 *   /run/user/UID/demikernel       the same
 *   /dev/shm/demikernel-UID        where anybody may write
 *   /tmp/demikernel-UID            the same; the last, because it may be on a disk: a store to a
 *                                  page that is being written back waits for the disk
 */
#ifndef DK_OS_STATDIR_H
#define DK_OS_STATDIR_H

#include "os/process.h"

#include <stddef.h>

#define DK_STATDIR_CANDIDATES 4

struct dk_statdir_where {
    const char *runtime_dir;     /* $XDG_RUNTIME_DIR; NULL or relative: there is none */
    const char *run_root;        /* "/run/user" */
    const char *shared_roots[2]; /* "/dev/shm", "/tmp" */
    uid_t uid;                   /* whose directory */
};

/* The places of this process's user. */
struct dk_statdir_where dk_statdir_where(void);

/* Writes the path of a candidate: 0, -ENOENT when where does not have it, -ENAMETOOLONG. */
int dk_statdir_candidate(const struct dk_statdir_where *where, size_t index, char *path,
                         size_t len);

/* Writes the path of the directory to use, which need not be there yet: 0 or a negative errno. */
int dk_statdir_choose(const struct dk_statdir_where *where, char *path, size_t len);

/*
 * Makes the directory when it is missing, and opens it: a descriptor, or a negative errno. -EPERM
 * for one that another user could write to, -ELOOP or -ENOTDIR for what is no directory.
 */
int dk_statdir_open(const char *path, uid_t uid);

/* Removes files of processes of self's PID namespace that are gone, and those of self. */
void dk_statdir_clean(int dirfd, const struct dk_process *self);

#endif /* DK_OS_STATDIR_H */
