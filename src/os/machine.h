/* SPDX-License-Identifier: MIT */
/*
 * Secrets of this machine that outlive the process: made of machine-id(5), which is not to be shown
 * to anybody, for one use each.
 */
#ifndef DK_OS_MACHINE_H
#define DK_OS_MACHINE_H

#include <stdint.h>

#define DK_MACHINE_ID "/etc/machine-id"

/* Of the file at path, for a use: the same each time, and nothing can be told of others from it. 0,
 * -EINVAL for a file without an id, or what opening and reading it said. */
int dk_machine_secret(const char *path, uint64_t use, uint8_t secret_out[16]);

#endif /* DK_OS_MACHINE_H */
