/* SPDX-License-Identifier: MIT */
/*
 * qconnect: moves every element that is popped from one queue to another, by itself.
 *
 * A connection takes from `in` as an operator does, and pushes to `out` by internal operations. At
 * most 16 elements and, but for the last of them, 1 MiB are on their way; while they are, nothing
 * is taken, so a slow `out` holds back whoever sends to `in`. It runs when one of the two may go
 * on, and gives way to the rest of its instance after as much as may be on its way.
 *
 *     in ends                 all is pushed, then out is shut down for writing     CLOSE
 *     in fails                all is pushed                                        FAILED, errno
 *     out fails               what was not pushed returns to the head of in        FAILED, errno
 *     in or out is closed     as if cancelled                                      FAILED,
 * ECANCELED the watch is cancelled  what out has not begun with returns to in; the rest is pushed,
 * or returns to in when that fails
 *
 * An element that is pushed to a memory queue can be popped from it; through a socket or a log none
 * comes back. So a connection leads from the memory queues that its `in` stands over to those that
 * its `out` stands over, and a circle of such edges is refused.
 */
#ifndef DK_COMPOSE_CONNECT_H
#define DK_COMPOSE_CONNECT_H

#include "core/queue.h"

/*
 * Connects two queues; watch_out, when not NULL, gets the token of a DEMI_OPC_CLOSE on `in` that
 * completes at the end. 0, or -EBUSY, -EXDEV, -EDEADLK, -EDESTADDRREQ, -ENOTCONN, -EOPNOTSUPP,
 * -EINVAL (a listening socket), -ENOMEM. The lead of inst is held.
 */
int dk_connect_create(struct dk_instance *inst, struct dk_queue *in, struct dk_queue *out,
                      demi_qtoken_t *watch_out);

/* The library ends: connections let go of their queues. No other thread is inside. */
void dk_connect_detach_all(void);

/* Frees them; no operation is left. */
void dk_connect_destroy_all(void);

/* In the child of a fork: there are none. */
void dk_connect_abandon(void);

#endif /* DK_COMPOSE_CONNECT_H */
