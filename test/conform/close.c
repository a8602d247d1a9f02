/* SPDX-License-Identifier: MIT */
/* demi_close and demi_shutdown: what becomes of outstanding operations, and what the peer sees. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static void test_close_outstanding_pops_complete_with_ecanceled(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qts[20];
    for (int i = 0; i < 20; i++)
        qts[i] = pop_start(pair.rx);
    must(demi_close(pair.rx));
    for (int i = 0; i < 20; i++) {
        demi_qresult_t qr = wait_result(qts[i]);
        assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
        assert_int_equal(qr.qr_ret, ECANCELED);
        assert_int_equal(qr.qr_qd, pair.rx);
    }
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
}

static void test_close_ready_results_stay_good(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    demi_qtoken_t push = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qtoken_t both[2] = {pop_start(pair.rx), pop_start(pair.rx)};
    demi_qresult_t qrs[2];
    const struct timespec moment = delivery_time();
    must_fail(demi_wait_all(qrs, both, 2, &moment), ETIMEDOUT);
    must(demi_close(pair.rx));
    demi_qresult_t qr = wait_success(both[0], DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    assert_int_equal(sga_bytes(&qr.qr_value.sga), 100);
    must(demi_sgafree(&qr.qr_value.sga));
    assert_int_equal(wait_failure(both[1]), ECANCELED);
    wait_success(push, DEMI_OPC_PUSH);
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
}

static void test_close_twice_is_ebadf(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    must(demi_close(pair.rx));
    must_fail(demi_close(pair.rx), EBADF);
    if (pair.tx != pair.rx) {
        must(demi_close(pair.tx));
        must_fail(demi_close(pair.tx), EBADF);
    }
    must_fail(demi_close(-1), EBADF);
    must_fail(demi_close(INT32_MAX), EBADF);
    must_fail(demi_close(INT32_MIN), EBADF);
}

static void test_calls_on_a_closed_descriptor_are_ebadf(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t outstanding = pop_start(pair.rx);
    must(demi_close(pair.rx));
    demi_qtoken_t qt;
    demi_sgarray_t sga = pattern_sga(1, 1, 0);
    must_fail(demi_pop(&qt, pair.rx), EBADF);
    must_fail(demi_push(&qt, pair.rx, &sga), EBADF);
    must_fail(demi_shutdown(pair.rx, SHUT_WR), EBADF);
    must(demi_sgafree(&sga));
    assert_int_equal(wait_failure(outstanding), ECANCELED);
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
}

static void test_close_descriptor_is_not_reissued_while_a_token_is_uncollected(void **state)
{
    (void)state;
    enum { MORE = 40 };
    struct pair pair = pair_make();
    const int old = pair.rx;
    demi_qtoken_t qt = pop_start(old);
    must(demi_close(old));
    int others[MORE];
    for (int i = 0; i < MORE; i++) {
        must(demi_queue(&others[i], 0));
        assert_int_not_equal(others[i], old);
    }
    demi_qresult_t qr = wait_result(qt);
    assert_int_equal(qr.qr_qd, old);
    assert_int_equal(qr.qr_ret, ECANCELED);
    for (int i = 0; i < MORE; i++)
        must(demi_close(others[i]));
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
}

/* A result that is there, but not collected, counts as well as one that is to come. */
static void test_close_descriptor_is_not_reissued_while_a_result_is_uncollected(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    for (int i = 0; i < 3; i++) { /* a queue in use, not a new one */
        push_all(pair.tx, &sga);
        pop_pattern(pair.rx, 10, 1, 0);
    }
    demi_qtoken_t qt = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    must(demi_close(pair.tx));
    int others[40];
    for (int i = 0; i < 40; i++) {
        must(demi_queue(&others[i], 0));
        assert_int_not_equal(others[i], pair.tx);
    }
    demi_qresult_t qr = wait_result(qt);
    assert_int_equal(qr.qr_qd, pair.tx);
    for (int i = 0; i < 40; i++)
        must(demi_close(others[i]));
    if (pair.tx != pair.rx)
        must(demi_close(pair.rx));
}

static void test_descriptors_opened_and_closed_are_reused(void **state)
{
    (void)state;
    const int before = open_fds();
    const int rounds = backend_can(CAN_LAST) ? 60 : 600; /* a file is made each time */
    int highest = 0;
    for (int i = 0; i < rounds; i++) {
        struct pair pair = pair_make();
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, 10, 1, 0);
        highest = pair.rx > highest ? pair.rx : highest;
        highest = pair.tx > highest ? pair.tx : highest;
        pair_close(pair);
    }
    must_hold(highest < 100, "descriptors grow to %d", highest);
    struct pair pair = pair_make(); /* what close left for later happens meanwhile */
    pair_close(pair);
    must_hold(open_fds() < before + 20, "%d descriptors leak", open_fds() - before);
}

/* --- streams -------------------------------------------------------------------------------- */

static void test_close_by_the_peer_is_the_end_of_the_stream_for_ever(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    must(demi_close(pair.tx));
    pop_pattern(pair.rx, 100, 1, 0);
    demi_qtoken_t ahead[3] = {pop_start(pair.rx), pop_start(pair.rx), pop_start(pair.rx)};
    for (int i = 2; i >= 0; i--)
        must_be_end(wait_success(ahead[i], DEMI_OPC_POP).qr_value.sga);
    for (int i = 0; i < 200; i++)
        pop_end(pair.rx);
    must(demi_close(pair.rx));
}

static void test_end_of_stream_completes_the_pops_that_wait(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    struct pair pair = pair_make();
    demi_qtoken_t qts[5];
    for (int i = 0; i < 5; i++)
        qts[i] = pop_start(pair.rx);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qts[0], ZERO_TIME), ETIMEDOUT);
    must(demi_shutdown(pair.tx, SHUT_WR));
    for (int i = 0; i < 5; i++)
        must_be_end(wait_success(qts[i], DEMI_OPC_POP).qr_value.sga);
    for (int i = 0; i < 100; i++)
        pop_end(pair.rx);
    pair_close(pair);
}

static void test_shutdown_write_the_end_comes_after_everything_pushed(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    const size_t size = 300000;
    struct pair pair = pair_make();
    demi_qtoken_t qts[20];
    for (uint64_t i = 0; i < 20; i++) {
        demi_sgarray_t sga = pattern_sga(size, 1, i * size);
        qts[i] = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_shutdown(pair.tx, SHUT_WR));
    pop_pattern(pair.rx, 20 * size, 1, 0);
    pop_end(pair.rx);
    for (int i = 0; i < 20; i++)
        wait_success(qts[i], DEMI_OPC_PUSH);
    pair_close(pair);
}

static void test_push_after_shutdown_write_is_epipe(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    struct pair pair = pair_make();
    must(demi_shutdown(pair.tx, SHUT_WR));
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    must_fail(push_outcome(pair.tx, &sga), EPIPE);
    must_fail(push_outcome(pair.tx, &sga), EPIPE);
    must(demi_sgafree(&sga));
    pop_end(pair.rx);
    pair_close(pair);
}

static void test_half_close_each_way_in_turn(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN | CAN_DUPLEX);
    struct pair pair = pair_make();
    must(demi_shutdown(pair.tx, SHUT_WR));
    pop_end(pair.rx);
    for (uint64_t i = 0; i < 50; i++) {
        demi_sgarray_t sga = pattern_sga(1000, 1, i * 1000);
        push_all(pair.rx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.tx, 1000, 1, i * 1000);
        pop_end(pair.rx);
    }
    must(demi_shutdown(pair.rx, SHUT_WR));
    pop_end(pair.tx);
    pop_end(pair.tx);
    pop_end(pair.rx);
    pair_close(pair);
}

static void test_shutdown_read_later_pops_yield_the_end(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    must(demi_shutdown(pair.rx, SHUT_RD));
    pop_end(pair.rx);
    pop_end(pair.rx);
    demi_sgarray_t late = pattern_sga(10, 2, 0); /* it arrives, but nobody wants it any more */
    push_all(pair.tx, &late);
    must(demi_sgafree(&late));
    pop_end(pair.rx);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.rx, &sga); /* the other direction is open */
    must(demi_sgafree(&sga));
    pop_pattern(pair.tx, 10, 1, 0);
    pair_close(pair);
}

static void test_shutdown_both_ends_both(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    must(demi_shutdown(pair.tx, SHUT_RDWR));
    pop_end(pair.rx);
    pop_end(pair.tx);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    must_fail(push_outcome(pair.tx, &sga), EPIPE);
    must(demi_sgafree(&sga));
    pair_close(pair);
}

static void test_shutdown_bad_arguments(void **state)
{
    (void)state;
    must_fail(demi_shutdown(-1, SHUT_WR), EBADF);
    struct pair pair = pair_make();
    must_fail(demi_shutdown(pair.tx, 3), EINVAL);
    must_fail(demi_shutdown(pair.tx, -1), EINVAL);
    pair_close(pair);
    if (!backend_can(CAN_LISTEN))
        return;
    int qd = -1;
    must(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0));
    must_fail(demi_shutdown(qd, SHUT_WR), ENOTCONN);
    must(demi_close(qd));
}

/* close does not wait: what was pushed is still delivered, and the end after it. */
static void test_close_after_pushes_delivers_them_and_the_end(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { PUSHES = 24, EACH = 1 << 20 };
    struct pair pair = pair_make();
    demi_qtoken_t qts[PUSHES];
    for (uint64_t i = 0; i < PUSHES; i++) {
        demi_sgarray_t sga = pattern_sga(EACH, 1, i * EACH);
        qts[i] = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
    }
    const uint64_t start = now_ns();
    must(demi_close(pair.tx));
    must_hold(now_ns() - start < 5000000000, "demi_close blocked");
    pop_pattern(pair.rx, (uint64_t)PUSHES * EACH, 1, 0);
    pop_end(pair.rx);
    for (int i = 0; i < PUSHES; i++) {
        demi_qresult_t qr = wait_success(qts[i], DEMI_OPC_PUSH);
        assert_int_equal(qr.qr_qd, pair.tx);
    }
    must(demi_close(pair.rx));
}

static void test_close_with_pops_and_pushes_completes_each_its_way(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    const size_t size = 24u << 20;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(size, 1, 0);
    demi_qtoken_t push = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qtoken_t pop = pop_start(pair.tx);
    must(demi_close(pair.tx));
    assert_int_equal(wait_failure(pop), ECANCELED);
    pop_pattern(pair.rx, size, 1, 0);
    pop_end(pair.rx);
    wait_success(push, DEMI_OPC_PUSH);
    must(demi_close(pair.rx));
}

static void linger_zero(int qd)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    must(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
}

static void test_close_with_linger_zero_resets_the_connection(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    demi_qtoken_t pop = pop_start(pair.rx);
    linger_zero(pair.tx);
    must(demi_close(pair.tx));
    assert_int_equal(wait_failure(pop), ECONNRESET);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    const int error = push_outcome(pair.rx, &sga);
    must_hold(error == EPIPE || error == ECONNRESET, "got %s", errno_name(error));
    must(demi_sgafree(&sga));
    must(demi_close(pair.rx));
}

static void test_close_with_linger_zero_cancels_outstanding_pushes(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(48u << 20, 1, 0);
    demi_qtoken_t first = push_start(pair.tx, &sga);
    demi_qtoken_t second = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, first, ZERO_TIME), ETIMEDOUT);
    linger_zero(pair.tx);
    must(demi_close(pair.tx));
    assert_int_equal(wait_failure(first), ECANCELED);
    assert_int_equal(wait_failure(second), ECANCELED);
    for (;;) { /* what arrived before the reset, then the reset */
        qr = wait_result(pop_start(pair.rx));
        if (qr.qr_opcode == DEMI_OPC_FAILED)
            break;
        assert_int_not_equal(qr.qr_value.sga.sga_numsegs, 0);
        must(demi_sgafree(&qr.qr_value.sga));
    }
    assert_int_equal(qr.qr_ret, ECONNRESET);
    must(demi_close(pair.rx));
}

static void test_close_listener_completes_accepts_with_ecanceled(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    demi_qtoken_t qts[10];
    for (int i = 0; i < 10; i++)
        must(demi_accept(&qts[i], listener));
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qts[9], ZERO_TIME), ETIMEDOUT);
    must(demi_close(listener));
    for (int i = 0; i < 10; i++)
        assert_int_equal(wait_failure(qts[i]), ECANCELED);
    int qd = -1;
    assert_int_equal(wait_failure(connect_start(&qd, &addr, len)), ECONNREFUSED);
    must(demi_close(qd));
}

static void test_close_datagram_by_the_peer_is_no_end(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO);
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    must(demi_close(pair.tx));
    demi_qresult_t qr;
    const struct timespec moment = ms_time(5);
    must_fail(demi_wait(&qr, qt, &moment), ETIMEDOUT);
    must(demi_cancel(qt));
    must(demi_close(pair.rx));
}

int run_close_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_close_outstanding_pops_complete_with_ecanceled),
        STARTED(test_close_ready_results_stay_good),
        STARTED(test_close_twice_is_ebadf),
        STARTED(test_calls_on_a_closed_descriptor_are_ebadf),
        STARTED(test_close_descriptor_is_not_reissued_while_a_token_is_uncollected),
        STARTED(test_close_descriptor_is_not_reissued_while_a_result_is_uncollected),
        STARTED(test_descriptors_opened_and_closed_are_reused),
        STARTED(test_close_by_the_peer_is_the_end_of_the_stream_for_ever),
        STARTED(test_end_of_stream_completes_the_pops_that_wait),
        STARTED(test_shutdown_write_the_end_comes_after_everything_pushed),
        STARTED(test_push_after_shutdown_write_is_epipe),
        STARTED(test_half_close_each_way_in_turn),
        STARTED(test_shutdown_read_later_pops_yield_the_end),
        STARTED(test_shutdown_both_ends_both),
        STARTED(test_shutdown_bad_arguments),
        STARTED(test_close_after_pushes_delivers_them_and_the_end),
        STARTED(test_close_with_pops_and_pushes_completes_each_its_way),
        STARTED(test_close_with_linger_zero_resets_the_connection),
        STARTED(test_close_with_linger_zero_cancels_outstanding_pushes),
        STARTED(test_close_listener_completes_accepts_with_ecanceled),
        STARTED(test_close_datagram_by_the_peer_is_no_end),
    };
    return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
