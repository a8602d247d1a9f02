/* SPDX-License-Identifier: MIT */
/*
 * Reads the statistics file of a process (statfile.h).
 *
 * Nothing in the file is trusted: it is read into memory, because a mapping of a file that shrinks
 * is SIGBUS, and checked whole before the first value is given out.
 */
#ifndef DK_OS_STATREAD_H
#define DK_OS_STATREAD_H

#include "os/statdir.h"
#include "os/statfile.h"

#include <stdbool.h>

struct dk_statread {
    uint8_t *bytes; /* owned: a copy of the file's used_bytes */
    uint32_t len;
    uint32_t block; /* where the next value is from: offset of its block, and which it is there */
    uint32_t index;
};

/* One value; the strings are in the copy. */
struct dk_statread_value {
    const char *name;
    const char *text; /* a value that is a word, or NULL */
    uint64_t value;
};

/*
 * Reads what process pid keeps. where->uid is the reader's; the directories are those of the
 * process's user. 0, or -ENOENT (there is no file), -ESRCH (its process is gone), -EACCES, -EPROTO
 * (damaged, or another version's), -ENOMEM.
 */
int dk_statread_open(struct dk_statread *out, const struct dk_statdir_where *where, pid_t pid);

/* Reads an open file, of whatever process: as above. */
int dk_statread_load(struct dk_statread *out, int fd);

void dk_statread_close(struct dk_statread *r);

/* Gives the next value, in the order of the file; false at its end. */
bool dk_statread_next(struct dk_statread *r, struct dk_statread_value *out);

/* More values than this are not in it. */
size_t dk_statread_max_values(const struct dk_statread *r);

#endif /* DK_OS_STATREAD_H */
