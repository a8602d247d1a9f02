/* SPDX-License-Identifier: MIT */
/*
 * Unpredictable numbers from the kernel.
 */
#ifndef DK_OS_ENTROPY_H
#define DK_OS_ENTROPY_H

#include <stdint.h>

/* Returns 64 unpredictable bits; where the kernel has none yet, bits of the clock. Never blocks. */
uint64_t dk_entropy_u64(void);

#endif /* DK_OS_ENTROPY_H */
