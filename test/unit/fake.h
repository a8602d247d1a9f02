/* SPDX-License-Identifier: MIT */
/*
 * What the core needs below it, under the test's hand: a clock that stands until it is moved, a
 * device whose blocking moves it, a queue that keeps its operations until the test completes them.
 * One instance over these.
 */
#ifndef DEMI_TEST_UNIT_FAKE_H
#define DEMI_TEST_UNIT_FAKE_H

#include "core/instance.h"
#include "core/thread.h"
#include "core/wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct fake {
    struct dk_clock clock;
    struct dk_poller poller;
    struct dk_instance *inst;
    struct dk_queue *queue;
    int64_t now;
    int64_t tick_ns; /* that a look at the clock takes */
    uint32_t polls;
    uint32_t spinning_polls;
    uint32_t blocks;
    int64_t last_block_ns; /* time-out of the last block; INT64_MIN: none yet */
    int64_t event_at;      /* a poll from then on completes event_op; INT64_MAX: never */
    struct dk_op *event_op;
    uint32_t started, cancelled, closed;
};

/* A table of max_tokens, max_queues and one instance; spin_us as in the options. */
void fake_start(struct fake *fake, uint32_t max_tokens, uint32_t max_queues, uint32_t spin_us);
void fake_end(struct fake *fake);

/* Another open queue of the fake kind, and its end with all that it holds. */
struct dk_queue *fake_queue(struct fake *fake);
void fake_queue_close(struct dk_queue *q);

/* Issues a pop on the queue; it stays outstanding. */
struct dk_op *fake_pop(struct dk_queue *q);

/* Waits as the interface does. A negative errno or 0. */
int fake_wait_any(struct fake *fake, demi_qresult_t *qr, uint32_t *at, const demi_qtoken_t *qts,
                  uint32_t n, int64_t timeout_ns);
int fake_wait_all(struct fake *fake, demi_qresult_t *qrs, const demi_qtoken_t *qts, uint32_t n,
                  int64_t timeout_ns);

#endif /* DEMI_TEST_UNIT_FAKE_H */
