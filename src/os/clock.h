/* SPDX-License-Identifier: MIT */
/*
 * The clock of an instance: monotonic nanoseconds. Tests replace it.
 */
#ifndef DK_OS_CLOCK_H
#define DK_OS_CLOCK_H

#include <stdint.h>

struct dk_clock {
    /* Returns monotonic time in nanoseconds. Never blocks, never fails. */
    int64_t (*now)(const struct dk_clock *clock);
};

extern const struct dk_clock dk_clock_monotonic;

#endif /* DK_OS_CLOCK_H */
