/* SPDX-License-Identifier: MIT */
/*
 * Which process a number stands for. Numbers are used again; a number and the time when the process
 * started name one process of a boot, within a PID namespace.
 */
#ifndef DK_OS_PROCESS_H
#define DK_OS_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct dk_process {
    pid_t pid;
    uid_t uid;              /* whose files in /proc are */
    uint64_t start_ticks;   /* since boot: field 22 of /proc/PID/stat */
    uint64_t pid_namespace; /* only dk_process_self: its inode */
};

/* Looks at a process: 0, -ENOENT when there is none or it is a zombie, another negative errno when
 * that cannot be told. */
int dk_process_look(pid_t pid, struct dk_process *out);

/* The calling process: 0 or a negative errno (/proc is not mounted). */
int dk_process_self(struct dk_process *out);

#endif /* DK_OS_PROCESS_H */
