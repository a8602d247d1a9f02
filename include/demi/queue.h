/* SPDX-License-Identifier: MIT */
/*
 * Queues that are not sockets: in memory, and over other queues.
 *
 * A queue in memory is popped and pushed by any thread of any instance; an element pushed as one
 * pops as one, by reference.
 *
 * An operator is a queue whose elements come from another one, its source (HotOS'19, section 4.2).
 * It takes the source's pop side: popping the source is EBUSY until the operator is closed, which
 * gives the side back, with what was taken and not popped at its head. Operators stand over memory
 * queues, sockets, logs and operators, to any depth, and take an element only when one is wanted.
 * Closing a source ends its operators' pops with ECANCELED. pushto, shutdown, socket options and
 * names go to the source. demi_queue(7) has the whole algebra.
 *
 * Functions of the application run on whichever thread drives the instance, one at a time, with no
 * lock held. They must not block, and may call only demi/memory.h and demi/sga.h: any other call is
 * EDEADLK.
 *
 * Common errors: EINVAL for NULL, EBADF, EBUSY the pop side is taken or has pops outstanding, EXDEV
 * a socket or an operator of another instance, EMFILE, ENOMEM, ENOSYS before demi_init, EDEADLK
 * inside a function that the library calls.
 */
#ifndef DEMI_QUEUE_H
#define DEMI_QUEUE_H

#include <demi/cc.h>
#include <demi/framer.h>
#include <demi/types.h>
#include <stdbool.h>

DEMI_BEGIN_DECLS

/*
 * Creates a queue in memory. capacity: elements that it holds before pushes wait, 0 for no limit. A
 * push completes when its element is accepted, and hands it over: the pusher may free its sga but
 * not write to it. demi_shutdown(qd, SHUT_WR) ends the stream: what is queued is still popped, then
 * every pop yields zero segments.
 */
DEMI_PUBLIC int demi_queue(_Out_ int *qd_out, _In_ uint32_t capacity);

/*
 * Creates a queue over two different ones. A pop comes from whichever has an element, from them in
 * turn while both have; it ends when both have. An error of one fails one pop, then that one counts
 * as ended. A push goes to both, by reference, and completes when both have, with the first error.
 */
DEMI_PUBLIC int demi_merge(_Out_ int *qd_out, _In_ int qd1, _In_ int qd2);

/* The number of the output that an element goes to, before it is reduced modulo n. */
typedef uint32_t (*demi_partition_fn)(const demi_sgarray_t *sga, void *arg);

/*
 * Creates n queues (1 to 4096) that the elements of qd are dealt out to: each goes to output fn %
 * n. An output holds at most 1,024; a full one stops the source. Elements for a closed output are
 * dropped and counted. The last close gives qd's pop side back. The end goes to every output. A
 * push goes to qd.
 */
DEMI_PUBLIC int demi_partition(_Out_writes_(n) int qds_out[], _In_ uint32_t n, _In_ int qd,
                               _In_ demi_partition_fn fn, _In_opt_ void *arg);

/* Whether an element passes. sga is valid during the call. */
typedef bool (*demi_filter_fn)(const demi_sgarray_t *sga, void *arg);

/*
 * Creates a queue of the elements for which fn holds: a pop skips the others, which are dropped and
 * counted; a push of another completes, and is counted. The end of a stream passes.
 */
DEMI_PUBLIC int demi_filter(_Out_ int *qd_out, _In_ int qd, _In_ demi_filter_fn fn,
                            _In_opt_ void *arg);

/*
 * Changes an element that nobody else holds; 0 or a positive errno, which fails the operation. It
 * may write, narrow, reorder or drop segments, or replace *sga by one that it made (that is how an
 * element grows). It frees nothing: what it drops or replaces is freed by the library.
 */
typedef int (*demi_map_fn)(demi_sgarray_t *sga, void *arg);

/*
 * Creates a queue whose elements are changed by fn, both when they are pushed (a copy of them) and
 * when they are popped (the element itself, copied first if somebody else holds it too).
 */
DEMI_PUBLIC int demi_map(_Out_ int *qd_out, _In_ int qd, _In_ demi_map_fn fn, _In_opt_ void *arg);

/* As demi_map, with a function for each direction; NULL: unchanged. Not both. */
DEMI_PUBLIC int demi_map_dir(_Out_ int *qd_out, _In_ int qd, _In_opt_ demi_map_fn on_push,
                             _In_opt_ demi_map_fn on_pop, _In_opt_ void *arg);

/* The order of two elements: < 0, a is popped first; 0, the one that arrived first. */
typedef int (*demi_sort_fn)(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg);

/*
 * Creates a queue that yields, of the elements that have arrived, the first by fn. It holds at most
 * `sort_max` of them and then takes no more; what comes last by fn may wait for ever. The end comes
 * after all elements. A push goes to qd.
 */
DEMI_PUBLIC int demi_sort(_Out_ int *qd_out, _In_ int qd, _In_ demi_sort_fn fn, _In_opt_ void *arg);

/*
 * Moves every element that can be popped from qdin to qdout, in order, without a copy and without
 * the application, whenever a thread is inside the library. At most 16 elements, or 1 MiB and one
 * element, are on their way; a slow qdout so holds back who sends to qdin. It takes qdin's pop
 * side.
 *
 * The end of qdin, when all is pushed, becomes demi_shutdown(qdout, SHUT_WR). An error of qdout
 * ends the connection and returns what was not pushed to the head of qdin. An error of qdin, and
 * the close of either, ends it too. Neither is closed by it.
 *
 * EDEADLK: an element could come back to where it was, through memory queues, what stands over
 * them, and other connections. Two sockets may be connected both ways. EDESTADDRREQ: qdout is a
 * datagram socket without a peer. ENOTCONN, EINVAL: a stream socket that is not connected, or
 * listens.
 */
DEMI_PUBLIC int demi_qconnect(_In_ int qdin, _In_ int qdout);

/*
 * As demi_qconnect, with an operation on qdin that completes when the connection ends:
 * DEMI_OPC_CLOSE after the end of qdin, else DEMI_OPC_FAILED with the errno, ECANCELED when either
 * was closed. demi_cancel of its token disconnects: qdin's pop side is free at once, what qdout has
 * not begun with returns there, the rest is still pushed.
 */
DEMI_PUBLIC int demi_qconnect_watch(_Out_ demi_qtoken_t *qt_out, _In_ int qdin, _In_ int qdout);

/*
 * Creates a queue of the elements that framer finds in the byte stream qd: a pop completes when the
 * whole element is there. It yields up to eight pieces where they were received, without a copy;
 * what an element has beyond that is gathered in the last one, and counted; so is all of an element
 * that is announced to go on for 1 MiB when 256 KiB have come, in one piece. A push is preceded by
 * the framer's header, if it has one.
 *
 * An element of more than `element_max` bytes fails its pop (and push) with EMSGSIZE, bytes that
 * are no element with EPROTO or the framer's errno; where the next element begins is not known
 * then, and every later pop fails with EPROTO. The end of the stream within an element fails that
 * pop with EPROTO; then comes the end. Closing the queue gives all bytes back that belong to no
 * element popped: qd goes on with them.
 */
DEMI_PUBLIC int demi_frame(_Out_ int *qd_out, _In_ int qd, _In_ const struct demi_framer *framer,
                           _In_opt_ void *arg);

DEMI_END_DECLS

#endif /* DEMI_QUEUE_H */
