/* SPDX-License-Identifier: MIT */
/*
 * Waiting: the calls that return results, and the only ones that block.
 *
 * timeout is relative; NULL waits for ever, {0, 0} polls once. On ETIMEDOUT the tokens stay good.
 * None returns EINTR. A token that was collected, cancelled or never issued is EINVAL. One thread
 * may sleep on a token: a second gets EBUSY. A thread that sleeps on a token that another thread
 * cancels gets ECANCELED. Tokens of another instance are EXDEV. While a thread waits it drives the
 * devices of its instance; nothing runs between calls.
 */
#ifndef DEMI_WAIT_H
#define DEMI_WAIT_H

#include <demi/cc.h>
#include <demi/types.h>
#include <time.h>

DEMI_BEGIN_DECLS

/* Waits for one operation and returns its result; the token is used up. */
DEMI_PUBLIC int demi_wait(_Out_ demi_qresult_t *qr_out, _In_ demi_qtoken_t qt,
                          _In_opt_ const struct timespec *timeout);

/*
 * Waits for the first of num_qts operations; *ready_offset is its place in qts. Costs by
 * completions, not by tokens: keep the array and replace the token at *ready_offset. A token that
 * is not outstanding is reported (EINVAL, *ready_offset its place) when the array is read whole,
 * which is at the latest before sleeping.
 */
DEMI_PUBLIC int demi_wait_any(_Out_ demi_qresult_t *qr_out, _Out_ int *ready_offset,
                              _In_reads_(num_qts) const demi_qtoken_t qts[], _In_ int num_qts,
                              _In_opt_ const struct timespec *timeout);

/* Waits for all of num_qts operations; qrs_out[i] is the result of qts[i]. Collects all or, on any
 * error, none. */
DEMI_PUBLIC int demi_wait_all(_Out_writes_(num_qts) demi_qresult_t qrs_out[],
                              _In_reads_(num_qts) const demi_qtoken_t qts[], _In_ int num_qts,
                              _In_opt_ const struct timespec *timeout);

/*
 * Waits for n operations that the calling thread issued and nobody sleeps on, whichever they are. 0
 * with *n_out == n, or ETIMEDOUT with the *n_out results that there are (they are collected).
 */
DEMI_PUBLIC int demi_wait_next_n(_Out_writes_(n) demi_qresult_t *qrs_out, _In_ int n,
                                 _Out_ int *n_out, _In_opt_ const struct timespec *timeout);

/* As demi_wait_next_n, but returns 0 at the first completion with all that are ready, at most n. */
DEMI_PUBLIC int demi_wait_some(_Out_writes_(n) demi_qresult_t qrs_out[], _In_ int n,
                               _Out_ int *n_out, _In_opt_ const struct timespec *timeout);

/*
 * Cancels an outstanding operation: after 0 it has no effect, its token is used up, and no buffer
 * is held. Errors: EALREADY its result is ready to collect; EBUSY a push of which bytes were handed
 * on already; EINVAL.
 */
DEMI_PUBLIC int demi_cancel(_In_ demi_qtoken_t qt);

/*
 * Returns a descriptor for another event loop (poll, epoll): readable when this instance needs a
 * call; may be spurious. When readable, call demi_wait_some with a zero time-out until ETIMEDOUT,
 * which re-arms it. The library owns it until demi_fini: do not close it.
 */
DEMI_PUBLIC int demi_eventfd(_Out_ int *fd_out);

/* Pushes and waits for the result: 0 or the operation's errno. */
DEMI_PUBLIC int demi_blocking_push(_In_ int qd, _In_ const demi_sgarray_t *sga);

/* Pops and waits: 0 and the result, or the operation's errno. */
DEMI_PUBLIC int demi_blocking_pop(_In_ int qd, _Out_ demi_qresult_t *qr_out);

DEMI_END_DECLS

#endif /* DEMI_WAIT_H */
