/* SPDX-License-Identifier: MIT */
/*
 * Unpredictable numbers from the kernel.
 */
#ifndef DK_OS_ENTROPY_H
#define DK_OS_ENTROPY_H

#include "base/compiler.h"

#include <stdint.h>

/* Returns 64 unpredictable bits; where the kernel has none yet, bits of the clock. Never blocks. */
DK_EXPORT uint64_t dk_entropy_u64(void);

/* The same of a key's length. */
void dk_entropy_secret(uint8_t secret_out[16]);

#endif /* DK_OS_ENTROPY_H */
