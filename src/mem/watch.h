/* SPDX-License-Identifier: MIT */
/*
 * Watches on lent memory: DEMI_DEBUG=inflight.
 *
 * A push lends its memory until its result is collected; who writes to it before is reported, with
 * the queue, the token and the offset, and the process ends. Whether the bytes are still the
 * library's concern depends on the device, so a program that is right on one and wrong on another
 * is found on either. A watch is a copy of the bytes; while it lasts it holds the memory, so what
 * is freed in flight is not mistaken for what is written in flight.
 *
 * A memory queue hands the element itself over. While both who pushed and who popped hold it,
 * neither may write; the watch lasts until one of them has let go.
 *
 *     begin --push collected, socket--> end
 *       \----push collected, memory queue--> shared --one holder left--> end
 */
#ifndef DK_MEM_WATCH_H
#define DK_MEM_WATCH_H

#include "mem/buf.h"

#include <demi/types.h>

/* Whether pushes are watched; set once, before any. */
DK_HIDDEN extern bool dk_watch_on;

/* Watches what sga lends to the operation named by token; buf: of the sga, or NULL. Without memory
 * the push is not watched. */
void dk_watch_begin(demi_qtoken_t token, int qd, const demi_sgarray_t *sga, struct dk_buf *buf);

/* The operation's result is collected, or it was cancelled. by_reference: who pops gets the same
 * memory. */
void dk_watch_end(demi_qtoken_t token, bool by_reference);

/* An element is about to be handed to who pops it. */
void dk_watch_delivered(const struct dk_buf *buf);

/* A hold of the application is about to end. */
void dk_watch_freed(const struct dk_buf *buf);

/* The last hold ended. */
void dk_watch_gone(const struct dk_buf *buf);

#endif /* DK_MEM_WATCH_H */
