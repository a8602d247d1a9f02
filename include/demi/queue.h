/* SPDX-License-Identifier: MIT */
/*
 * Queues that are not sockets. A queue in memory is popped and pushed by any thread of any
 * instance; an element pushed as one pops as one, by reference.
 */
#ifndef DEMI_QUEUE_H
#define DEMI_QUEUE_H

#include <demi/cc.h>
#include <demi/types.h>

DEMI_BEGIN_DECLS

/*
 * Creates a queue in memory. capacity: elements that it holds before pushes wait, 0 for no limit. A
 * push completes when its element is accepted, and hands it over: the pusher may free its sga but
 * not write to it. demi_shutdown(qd, SHUT_WR) ends the stream: what is queued is still popped, then
 * every pop yields zero segments.
 */
DEMI_PUBLIC int demi_queue(_Out_ int *qd_out, _In_ uint32_t capacity);

DEMI_END_DECLS

#endif /* DEMI_QUEUE_H */
