/* SPDX-License-Identifier: MIT */
/*
 * Notes: short texts that outlive a process, until the machine is started again; in the user's
 * directory (statdir.h), beside his statistics files. Others may read them.
 */
#ifndef DK_OS_NOTE_H
#define DK_OS_NOTE_H

#include "os/statdir.h"

#include <stddef.h>

#define DK_NOTE_MAX 256 /* bytes of one, with its end */

/* Reads a note: 0, -ENOENT, -EPERM for a file that is not the user's or no plain one, -EFBIG, or
 * what the system said. */
int dk_note_read(const struct dk_statdir_where *where, const char *name, char text[DK_NOTE_MAX]);

/* Writes it whole, or leaves the one of before. 0 or a negative errno. */
int dk_note_write(const struct dk_statdir_where *where, const char *name, const char *text);

/* Removes it: 0 also when there is none. */
int dk_note_remove(const struct dk_statdir_where *where, const char *name);

#endif /* DK_OS_NOTE_H */
