/* SPDX-License-Identifier: MIT */
/*
 * The background thread (`background=yes`): it drives an instance while no thread of the
 * application waits.
 */
#ifndef DK_API_BACKGROUND_H
#define DK_API_BACKGROUND_H

#include "core/instance.h"

/* Starts a thread that drives inst. 0 or a negative errno. */
int dk_background_start(struct dk_instance *inst);

/* Stops all of them and waits for their end. */
void dk_background_stop(void);

/* The child of a fork has none. */
void dk_background_after_fork(void);

#endif /* DK_API_BACKGROUND_H */
