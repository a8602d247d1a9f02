/* SPDX-License-Identifier: MIT */
/*
 * Calls that take the lead and do all they have to while they hold it.
 *
 * A queue that is not `anywhere` is used under its instance's lead only. Whoever finds the lead
 * free needs no hold on the queue that he looked up (under the lead an open one stays open), and
 * for what is done at once no operation either: it is fresh (fast.h) from the start. With several
 * threads, what is fresh is guarded by `tokens`, as all of fast.h is then.
 */
#ifndef DK_CORE_LED_H
#define DK_CORE_LED_H

#include "core/instance.h"

/*
 * Pushes one segment, in memory that buf owns, on a queue of inst; to: of a pushto, which was
 * checked, else NULL. 0 and its token; -EAGAIN: nothing happened, take the other path (the lead is
 * another's, or it cannot be done at once).
 */
int dk_led_push(struct dk_instance *inst, struct dk_queue *q, const demi_sgarray_t *sga,
                struct dk_buf *buf, const struct sockaddr *to, demi_qtoken_t *qt_out);

/* Issues and starts a pop. 0 and its token; -EAGAIN: nothing happened, take the other path; another
 * negative errno. */
int dk_led_pop(struct dk_instance *inst, struct dk_queue *q, demi_qtoken_t *qt_out);

#endif /* DK_CORE_LED_H */
