/* SPDX-License-Identifier: MIT */
/* demi_eventfd: the library driven from a foreign event loop, by poll(2) alone. */
#include "suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Collects everything there is; afterwards the descriptor is armed. */
static int drain(demi_qresult_t *qrs, int max)
{
    int count = 0;
    for (;;) {
        int n = 0;
        assert_true(count < max);
        const int error = demi_wait_some(&qrs[count], max - count, &n, ZERO_TIME);
        count += n;
        if (error == ETIMEDOUT)
            return count;
        must(error);
    }
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    const int n = poll(&pollfd, 1, timeout_ms);
    must_hold(n >= 0 || errno == EINTR, "poll: %s", errno_name(errno));
    return n > 0;
}

static void test_eventfd_bad_argument_is_einval(void **state)
{
    (void)state;
    must_fail(demi_eventfd(NULL), EINVAL);
    int fd = -1;
    must(demi_eventfd(&fd));
    assert_true(fd >= 0);
    int again = -1;
    must(demi_eventfd(&again));
    assert_int_equal(again, fd);
}

static void test_eventfd_idle_is_not_readable_for_long(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    int fd = -1;
    must(demi_eventfd(&fd));
    demi_qresult_t qrs[4];
    int spurious = 0;
    assert_int_equal(drain(qrs, 4), 0);
    const uint64_t until = now_ns() + 60000000;
    while (now_ns() < until)
        if (readable(fd, 30)) {
            spurious++;
            assert_int_equal(drain(qrs, 4), 0);
        }
    must_hold(spurious < 20, "%d wake-ups of an idle instance", spurious);
    must(demi_cancel(qt));
    pair_close(pair);
}

/* Data from elsewhere makes it readable: the loop sleeps in poll, never in the library. */
static void test_eventfd_data_from_a_plain_peer_makes_it_readable(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    int qd, peer, fd = -1;
    plain_pair(&qd, &peer);
    must(demi_eventfd(&fd));
    demi_qresult_t qrs[8];
    for (uint64_t i = 0; i < 300; i++) {
        demi_qtoken_t qt = pop_start(qd);
        assert_int_equal(drain(qrs, 8), 0); /* armed */
        uint8_t out[50];
        pattern_fill(out, sizeof out, i, 0);
        plain_send(peer, out, sizeof out);
        int n = 0;
        while (n == 0) {
            must_hold(readable(fd, PATIENCE_S * 1000), "not readable, data is there");
            n = drain(qrs, 8);
        }
        assert_int_equal(n, 1);
        assert_true(qrs[0].qr_qt == qt);
        assert_int_equal(qrs[0].qr_opcode, DEMI_OPC_POP);
        pattern_check_sga(&qrs[0].qr_value.sga, i, 0);
        must(demi_sgafree(&qrs[0].qr_value.sga));
    }
    must(demi_close(qd));
    plain_reset(peer);
}

/* An echo of many rounds over a pair, both ends in one loop. */
static void test_eventfd_echo_loop_never_sticks(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int fd = -1;
    must(demi_eventfd(&fd));
    demi_qresult_t qrs[16];
    uint64_t pushed = 1, popped = 0, push_results = 0;
    pop_start(pair.rx);
    demi_sgarray_t first = pattern_sga(100, 0, 0);
    push_start(pair.tx, &first);
    must(demi_sgafree(&first));
    while (popped < 500) {
        must_hold(readable(fd, PATIENCE_S * 1000), "stuck: %d of %d", (int)popped, (int)pushed);
        const int n = drain(qrs, 16);
        for (int i = 0; i < n; i++) {
            if (qrs[i].qr_opcode == DEMI_OPC_PUSH) {
                push_results++;
                continue;
            }
            assert_int_equal(qrs[i].qr_opcode, DEMI_OPC_POP);
            demi_sgarray_t sga = qrs[i].qr_value.sga;
            assert_int_equal(sga_bytes(&sga), 100);
            pattern_check_sga(&sga, 0, 0);
            popped++;
            push_start(pair.tx, &sga); /* completes what a sleeping loop must hear of */
            must(demi_sgafree(&sga));
            pushed++;
            pop_start(pair.rx);
        }
    }
    pair_close(pair);
    assert_true(push_results >= popped - 1);
}

/* Of many events that are fetched at once the last ones matter. */
static void test_eventfd_event_behind_many_others_is_not_slept_over(void **state)
{
    (void)state;
    enum { PAIRS = 30, POPPED = 4 };
    struct pair pairs[PAIRS];
    int fd = -1;
    for (int i = 0; i < PAIRS; i++)
        pairs[i] = pair_make();
    must(demi_eventfd(&fd));
    demi_qresult_t qrs[PAIRS + POPPED + 1];
    drain(qrs, 1);
    for (int i = PAIRS - POPPED; i < PAIRS; i++)
        pop_start(pairs[i].rx);
    demi_sgarray_t sga = pattern_sga(100, 0, 0);
    for (int i = 0; i < PAIRS; i++)
        push_start(pairs[i].tx, &sga);
    must(demi_sgafree(&sga));
    for (int left = PAIRS + POPPED; left > 0;) {
        must_hold(readable(fd, PATIENCE_S * 1000), "stuck: %d results are missing", left);
        const int n = drain(qrs, left + 1);
        for (int i = 0; i < n; i++)
            if (qrs[i].qr_opcode == DEMI_OPC_POP)
                must(demi_sgafree(&qrs[i].qr_value.sga));
        left -= n;
    }
    for (int i = 0; i < PAIRS; i++)
        pair_close(pairs[i]);
}

struct pusher {
    int qd;
    int error;
};

static void *push_one(void *arg)
{
    struct pusher *pusher = arg;
    static char memory[100];
    demi_sgarray_t sga = built_sga(memory, sizeof memory);
    pusher->error = demi_blocking_push(pusher->qd, &sga);
    return NULL;
}

/* Another thread's call completes an operation of the thread that sleeps in poll. */
static void test_eventfd_completion_by_another_thread_makes_it_readable(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int fd = -1;
    must(demi_eventfd(&fd));
    demi_qresult_t qrs[4];
    for (int i = 0; i < 40; i++) {
        demi_qtoken_t qt = pop_start(pair.rx);
        assert_int_equal(drain(qrs, 4), 0);
        struct pusher pusher = {.qd = pair.tx};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, push_one, &pusher), 0);
        int n = 0;
        while (n == 0) {
            must_hold(readable(fd, PATIENCE_S * 1000), "not readable after a push");
            n = drain(qrs, 4);
        }
        assert_int_equal(n, 1);
        assert_true(qrs[0].qr_qt == qt);
        assert_int_equal(sga_bytes(&qrs[0].qr_value.sga), 100);
        must(demi_sgafree(&qrs[0].qr_value.sga));
        assert_int_equal(pthread_join(thread, NULL), 0);
        must(pusher.error);
    }
    pair_close(pair);
}

int run_eventfd_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_eventfd_bad_argument_is_einval),
        STARTED(test_eventfd_idle_is_not_readable_for_long),
        STARTED(test_eventfd_data_from_a_plain_peer_makes_it_readable),
        STARTED(test_eventfd_echo_loop_never_sticks),
        STARTED(test_eventfd_event_behind_many_others_is_not_slept_over),
        STARTED(test_eventfd_completion_by_another_thread_makes_it_readable),
    };
    return cmocka_run_group_tests_name("eventfd", tests, NULL, NULL);
}
