/* SPDX-License-Identifier: MIT */
/*
 * A descriptor that is readable when another one is, or when it can be written to again.
 *
 * What a device gives to sleep on. It is level-triggered, and one that finds no room says so at
 * once: another thread may sleep on it already.
 */
#ifndef DK_DRV_WAKE_H
#define DK_DRV_WAKE_H

#include "base/compiler.h"

#include <stdbool.h>

struct dk_wake {
    int epfd;
    int fd;       /* what is watched; the user's */
    bool writing; /* for room, too */
};

/* 0 or a negative errno. */
DK_EXPORT int dk_wake_open(struct dk_wake *wake, int fd);
DK_EXPORT void dk_wake_close(struct dk_wake *wake);

/* Watches for room, or no longer. */
DK_EXPORT void dk_wake_want_room(struct dk_wake *wake, bool want);

/* Watches nothing from here on: fd only reports that what it stood for is gone. */
void dk_wake_forget(struct dk_wake *wake);

#endif /* DK_DRV_WAKE_H */
