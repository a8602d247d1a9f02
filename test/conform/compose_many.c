/* SPDX-License-Identifier: MIT */
/* merge and partition: operators of two sources, and of several outputs. */
#include "operators.h"

#include <stdlib.h>
#include <string.h>

/* Two pairs and a merge of what arrives at both. */
struct merged {
    struct pair pairs[2];
    int qd;
};

static struct merged merged_make(void)
{
    struct merged m = {.qd = -1};
    m.pairs[0] = pair_make();
    m.pairs[1] = pair_make();
    must(demi_merge(&m.qd, m.pairs[0].rx, m.pairs[1].rx));
    return m;
}

static void merged_close(struct merged m)
{
    must(demi_close(m.qd));
    pair_close(m.pairs[0]);
    pair_close(m.pairs[1]);
}

/* Drives the library until what was sent is there. */
static void let_arrive(void)
{
    int idle = -1;
    must(demi_queue(&idle, 0));
    const demi_qtoken_t qt = pop_start(idle);
    must_wait(qt);
    must(demi_cancel(qt));
    must(demi_close(idle));
}

static uint32_t by_byte(const demi_sgarray_t *sga, void *arg)
{
    if (arg != NULL)
        (*(int *)arg)++;
    return *(const uint8_t *)sga->sga_segs[0].sgaseg_buf;
}

static void push_byte(int qd, uint8_t value)
{
    demi_sgarray_t sga = demi_sgaalloc(1);
    *(uint8_t *)sga.sga_segs[0].sgaseg_buf = value;
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
}

static uint8_t take_byte(demi_sgarray_t sga)
{
    assert_int_equal(sga_bytes(&sga), 1);
    const uint8_t value = *(const uint8_t *)sga.sga_segs[0].sgaseg_buf;
    must(demi_sgafree(&sga));
    return value;
}

/* --- merge: pop --- */

static void test_merge_yields_the_elements_of_both(void **state)
{
    (void)state;
    struct merged m = merged_make();
    for (uint64_t i = 0; i < 20; i++) {
        const int from = (int)(i / 3 % 2);
        const bool waiting = i % 2 == 1;
        const demi_qtoken_t qt = waiting ? pop_start(m.qd) : 0;
        if (waiting)
            must_wait(qt);
        send_element(m.pairs[from].tx, 10, i);
        if (waiting)
            wait_element(qt, 10, i);
        else
            pop_element(m.qd, 10, i);
    }
    merged_close(m);
}

static void test_merge_alternates_while_both_have_elements(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    if (backend_can(CAN_STORAGE)) /* a log has elements when they are read, a little later */
        skip();
    static const uint32_t lens[] = {4, 6};
    struct merged m = merged_make();
    for (int several = 0; several < 4; several++) { /* segments in an element, of either side */
        for (uint64_t i = 0; i < 6; i++)
            for (int side = 0; side < 2; side++) {
                demi_sgarray_t sga = demi_sgaalloc_segs(lens, several >> side & 1 ? 2 : 1);
                pattern_fill(sga.sga_segs[0].sgaseg_buf, 4, (uint64_t)side, i);
                push_all(m.pairs[side].tx, &sga);
                must(demi_sgafree(&sga));
            }
        let_arrive();
        uint64_t next[2] = {0, 0};
        int last = -1;
        for (int i = 0; i < 12; i++) {
            demi_sgarray_t sga = pop_one(m.qd);
            const int side = pattern_length(sga.sga_segs[0].sgaseg_buf, 4, 0, next[0]) == 4 ? 0 : 1;
            pattern_check(sga.sga_segs[0].sgaseg_buf, 4, (uint64_t)side, next[side]);
            next[side]++;
            must_hold(side != last, "twice from side %d", side);
            last = side;
            must(demi_sgafree(&sga));
        }
    }
    merged_close(m);
}

/* A queue in memory that is never empty, and a socket: neither starves. */
static void test_merge_of_a_queue_and_a_socket_alternates(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    struct pair pair = pair_make();
    int busy = -1, qd = -1;
    must(demi_queue(&busy, 0));
    must(demi_merge(&qd, busy, pair.rx));
    for (int i = 0; i < 200; i++)
        send_element(busy, 10, 1);
    send_element(pair.tx, 20, 2);
    let_arrive();
    int place = 0;
    for (bool found = false; !found; place++) {
        assert_true(place < 100); /* the device is polled every 64th wait */
        demi_sgarray_t sga = pop_one(qd);
        found = sga_bytes(&sga) == 20;
        must(demi_sgafree(&sga));
    }
    must(demi_close(qd));
    must(demi_close(busy));
    pair_close(pair);
}

/* A side that was asked in vain is not left waiting: what it gets stays in it. */
static void test_merge_takes_nothing_that_nobody_asked_for(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    int sources[2] = {-1, -1}, outputs[2], qd = -1;
    must(demi_queue(&sources[0], 1));
    must(demi_queue(&sources[1], 0));
    must(demi_partition(outputs, 2, sources[0], by_byte, NULL));
    must(demi_merge(&qd, outputs[0], sources[1]));
    for (int waiting = 0; waiting < 2; waiting++) { /* either side has its turn */
        const demi_qtoken_t pop = pop_start(qd);
        push_byte(sources[1], 9);
        assert_int_equal(take_byte(wait_success(pop, DEMI_OPC_POP).qr_value.sga), 9);
        push_byte(sources[0], 0); /* it is full, and nobody wants the element */
        const demi_qtoken_t push = push_element(sources[0], 1, 0);
        must_wait(push);
        must(demi_cancel(push));
        assert_int_equal(take_byte(pop_one(qd)), 0);
    }
    must(demi_close(qd));
    must(demi_close(outputs[0]));
    must(demi_close(outputs[1]));
    must(demi_close(sources[0]));
    must(demi_close(sources[1]));
}

static void test_merge_ends_when_both_have_ended(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    for (int first = 0; first < 2; first++) {
        struct merged m = merged_make();
        must(demi_shutdown(m.pairs[first].tx, SHUT_WR));
        const demi_qtoken_t qt = pop_start(m.qd);
        must_wait(qt);
        send_element(m.pairs[1 - first].tx, 10, 1);
        wait_element(qt, 10, 1);
        const demi_qtoken_t last[2] = {pop_start(m.qd), pop_start(m.qd)};
        must_wait(last[0]);
        must(demi_shutdown(m.pairs[1 - first].tx, SHUT_WR));
        must_be_end(wait_success(last[0], DEMI_OPC_POP).qr_value.sga);
        must_be_end(wait_success(last[1], DEMI_OPC_POP).qr_value.sga);
        pop_end(m.qd);
        merged_close(m);
    }
}

static void test_merge_error_of_one_fails_one_pop_then_the_other_goes_on(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    for (int broken = 0; broken < 2; broken++) {
        int qds[2] = {-1, -1}, fds[2] = {-1, -1}, qd = -1;
        plain_pair(&qds[0], &fds[0]);
        plain_pair(&qds[1], &fds[1]);
        must(demi_merge(&qd, qds[0], qds[1]));
        const demi_qtoken_t qts[2] = {pop_start(qd), pop_start(qd)};
        must_wait(qts[0]);
        plain_reset(fds[broken]);
        assert_int_equal(wait_failure(qts[0]), ECONNRESET);
        must_wait(qts[1]);
        plain_send(fds[1 - broken], "hello", 5);
        demi_sgarray_t sga = wait_success(qts[1], DEMI_OPC_POP).qr_value.sga;
        assert_int_equal(sga_bytes(&sga), 5);
        must(demi_sgafree(&sga));
        const demi_qtoken_t end = pop_start(qd);
        plain_reset(fds[1 - broken]);
        assert_int_equal(wait_failure(end), ECONNRESET);
        pop_end(qd); /* both have ended */
        must(demi_close(qd));
        must(demi_close(qds[0]));
        must(demi_close(qds[1]));
    }
}

static void test_merge_closing_a_source_cancels_its_pops_and_the_other_goes_on(void **state)
{
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct merged m = merged_make();
        const demi_qtoken_t qts[2] = {pop_start(m.qd), pop_start(m.qd)};
        must_wait(qts[0]);
        must(demi_close(m.pairs[closed].rx));
        assert_int_equal(wait_failure(qts[0]), ECANCELED);
        assert_int_equal(wait_failure(qts[1]), ECANCELED);
        const int left = 1 - closed;
        const demi_qtoken_t qt = pop_start(m.qd);
        send_element(m.pairs[left].tx, 10, 1);
        wait_element(qt, 10, 1);
        must(demi_close(m.qd));
        send_element(m.pairs[left].tx, 10, 2);
        pop_element(m.pairs[left].rx, 10, 2);
        pair_close(m.pairs[left]);
        if (m.pairs[closed].tx != m.pairs[closed].rx)
            must(demi_close(m.pairs[closed].tx));
    }
}

static void test_merge_takes_both_sides_and_gives_both_back(void **state)
{
    (void)state;
    struct merged m = merged_make();
    demi_qtoken_t qt;
    int qd = -7;
    must_fail(demi_pop(&qt, m.pairs[0].rx), EBUSY);
    must_fail(demi_pop(&qt, m.pairs[1].rx), EBUSY);
    struct pair third = pair_make();
    must_fail(demi_merge(&qd, third.rx, m.pairs[1].rx), EBUSY);
    must_fail(demi_merge(&qd, m.pairs[0].rx, third.rx), EBUSY);
    must_fail(demi_merge(&qd, third.rx, third.rx), EINVAL);
    must_fail(demi_merge(&qd, third.rx, -1), EBADF);
    must_fail(demi_merge(&qd, -1, third.rx), EBADF);
    must_fail(demi_merge(NULL, third.rx, m.qd), EINVAL);
    assert_int_equal(qd, -7);
    send_element(third.tx, 10, 1); /* failing has left its side alone */
    pop_element(third.rx, 10, 1);
    const demi_qtoken_t outstanding = pop_start(third.rx);
    must_fail(demi_merge(&qd, m.qd, third.rx), EBUSY);
    must(demi_cancel(outstanding));
    must(demi_merge(&qd, m.qd, third.rx)); /* of three */
    for (uint64_t i = 0; i < 9; i++) {
        send_element(i % 3 == 0 ? third.tx : m.pairs[i % 3 - 1].tx, 10, i);
        pop_element(qd, 10, i);
    }
    must(demi_close(qd));
    must(demi_close(m.qd));
    for (int i = 0; i < 2; i++) {
        send_element(m.pairs[i].tx, 10, 1);
        pop_element(m.pairs[i].rx, 10, 1);
        pair_close(m.pairs[i]);
    }
    pair_close(third);
}

static void test_merge_cancel_and_close_release_everything(void **state)
{
    (void)state;
    struct pair pairs[2] = {pair_make(), pair_make()};
    for (int i = 0; i < 2; i++) {
        send_element(pairs[i].tx, 10, 0);
        pop_element(pairs[i].rx, 10, 0);
    }
    const uint64_t before = buffers_now();
    int highest = 0;
    for (int round = 0; round < 50; round++) {
        int qd = -1;
        must(demi_merge(&qd, pairs[0].rx, pairs[1].rx));
        highest = qd > highest ? qd : highest;
        demi_qtoken_t qts[4];
        for (int i = 0; i < 4; i++)
            qts[i] = pop_start(qd);
        must(demi_cancel(qts[1]));
        send_element(pairs[round % 2].tx, 10, 7);
        wait_element(qts[0], 10, 7);
        must(demi_close(qd));
        assert_int_equal(wait_failure(qts[2]), ECANCELED);
        assert_int_equal(wait_failure(qts[3]), ECANCELED);
        buffers_must_be(before);
    }
    assert_true(highest < 10);
    pair_close(pairs[0]);
    pair_close(pairs[1]);
}

/* --- merge: push --- */

static void test_merge_push_goes_to_both_by_reference(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    struct merged m = merged_make();
    for (int waiting = 0; waiting < 2; waiting++) {
        demi_sgarray_t sga = pattern_sga(3000, 1, 0);
        const void *place = sga.sga_segs[0].sgaseg_buf;
        push_all(m.qd, &sga);
        must(demi_sgafree(&sga));
        demi_sgarray_t one = pop_one(m.qd), two = pop_one(m.qd);
        assert_ptr_equal(one.sga_segs[0].sgaseg_buf, place);
        assert_ptr_equal(two.sga_segs[0].sgaseg_buf, place);
        must(demi_sgafree(&one));
        check_element(two, 3000, 1); /* the other's is good when one is freed */
    }
    push_element(m.qd, 10, 2);
    must(demi_close(m.qd));
    pop_element(m.pairs[0].rx, 10, 2);
    pop_element(m.pairs[1].rx, 10, 2);
    pair_close(m.pairs[0]);
    pair_close(m.pairs[1]);
    (void)before;
}

static void test_merge_push_over_sockets_reaches_both_peers(void **state)
{
    (void)state;
    backend_needs(CAN_DUPLEX);
    struct merged m = merged_make();
    for (uint64_t i = 0; i < 10; i++) {
        send_element(m.qd, 100 + i * 200, i);
        pop_pattern(m.pairs[0].tx, 100 + i * 200, i, 0);
        pop_pattern(m.pairs[1].tx, 100 + i * 200, i, 0);
    }
    merged_close(m);
}

static void test_merge_push_completes_when_both_sources_have_it(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    for (int full = 0; full < 2; full++) {
        int qds[2] = {-1, -1}, qd = -1;
        must(demi_queue(&qds[full], 1));
        must(demi_queue(&qds[1 - full], 0));
        must(demi_merge(&qd, qds[0], qds[1]));
        send_element(qds[full], 10, 0);
        const demi_qtoken_t qt = push_element(qd, 10, 1);
        must_wait(qt);
        must_fail(demi_cancel(qt), EBUSY); /* one of them has it */
        if (full == 0)
            must_wait(qt);
        /* whichever is first: all three come out */
        uint64_t zeros = 0, ones = 0;
        for (int i = 0; i < 3; i++) {
            demi_sgarray_t sga = pop_one(qd);
            const bool zero = pattern_length(sga.sga_segs[0].sgaseg_buf, 10, 0, 0) == 10;
            zeros += zero;
            ones += !zero;
            check_element(sga, 10, zero ? 0 : 1);
        }
        assert_int_equal(zeros, 1);
        assert_int_equal(ones, 2);
        wait_success(qt, DEMI_OPC_PUSH);
        must(demi_close(qd));
        must(demi_close(qds[0]));
        must(demi_close(qds[1]));
    }
    buffers_must_be(before);
}

static void test_merge_push_that_waits_in_both_can_be_cancelled(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    int qds[2] = {-1, -1}, qd = -1;
    must(demi_queue(&qds[0], 1));
    must(demi_queue(&qds[1], 1));
    must(demi_merge(&qd, qds[0], qds[1]));
    send_element(qd, 10, 0);
    for (int i = 0; i < 10; i++) {
        const demi_qtoken_t qt = push_element(qd, 10, 1);
        must_wait(qt);
        must(demi_cancel(qt));
        must_fail(demi_cancel(qt), EINVAL);
    }
    pop_element(qd, 10, 0);
    pop_element(qd, 10, 0);
    const demi_qtoken_t qt = pop_start(qd);
    must_wait(qt);
    must(demi_cancel(qt));
    must(demi_close(qd));
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    buffers_must_be(before);
}

static void test_merge_push_fails_with_the_first_error(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    for (int ended = 0; ended < 2; ended++) {
        struct merged m = merged_make();
        must(demi_shutdown(m.pairs[ended].tx, SHUT_WR));
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        assert_int_equal(push_outcome(m.qd, &sga), EPIPE);
        must(demi_close(m.pairs[ended].tx));
        assert_int_equal(push_outcome(m.qd, &sga), EBADF);
        must(demi_sgafree(&sga));
        must(demi_close(m.qd));
        pop_element(m.pairs[1 - ended].rx, 10, 1); /* the other had it both times */
        pop_element(m.pairs[1 - ended].rx, 10, 1);
        pair_close(m.pairs[1 - ended]);
    }
    buffers_must_be(before);
}

static void test_merge_closed_with_a_push_outstanding_lets_it_end(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    int qds[2] = {-1, -1}, qd = -1;
    must(demi_queue(&qds[0], 1));
    must(demi_queue(&qds[1], 1));
    must(demi_merge(&qd, qds[0], qds[1]));
    send_element(qd, 10, 0);
    const demi_qtoken_t qt = push_element(qd, 10, 1);
    must(demi_close(qd));
    must_wait(qt);
    for (uint64_t i = 0; i < 2; i++) {
        pop_element(qds[0], 10, i);
        pop_element(qds[1], 10, i);
    }
    wait_success(qt, DEMI_OPC_PUSH);
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    buffers_must_be(before);
}

static void test_merge_shutdown_ends_both_sources(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    struct merged m = merged_make();
    must(demi_shutdown(m.qd, SHUT_WR));
    pop_end(m.qd);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    assert_int_equal(push_outcome(m.pairs[0].tx, &sga), EPIPE);
    assert_int_equal(push_outcome(m.pairs[1].tx, &sga), EPIPE);
    must(demi_sgafree(&sga));
    merged_close(m);
}

static void test_merge_has_no_names_options_or_addresses(void **state)
{
    (void)state;
    struct merged m = merged_make();
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 9, &addr);
    demi_qtoken_t qt;
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    int value = 1;
    must_fail(demi_pushto(&qt, m.qd, &sga, (struct sockaddr *)&addr, len), EOPNOTSUPP);
    must(demi_sgafree(&sga));
    must_fail(demi_setsockopt(m.qd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), EOPNOTSUPP);
    must_fail(demi_getsockname(m.qd, (struct sockaddr *)&addr, &len), EOPNOTSUPP);
    merged_close(m);
}

/* --- partition --- */

static void test_partition_deals_out_by_the_function_modulo_n(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    for (uint32_t n = 1; n <= 5; n++) {
        int qds[5], asked = 0;
        must(demi_partition(qds, n, pair.rx, by_byte, &asked));
        for (uint8_t i = 0; i < 60; i++) { /* the pop comes first, or the element */
            demi_qtoken_t qt = 0;
            const uint8_t value = (uint8_t)(i * 7);
            if (i % 2 == 0)
                qt = pop_start(qds[value % n]);
            push_byte(pair.tx, value);
            if (i % 2 == 1)
                qt = pop_start(qds[value % n]);
            assert_int_equal(take_byte(wait_success(qt, DEMI_OPC_POP).qr_value.sga), value);
        }
        assert_int_equal(asked, 60);
        for (uint32_t i = 0; i < n; i++)
            must(demi_close(qds[i]));
    }
    pair_close(pair);
}

static void test_partition_keeps_the_order_within_an_output(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    uint64_t random = seed_choose(__func__);
    struct pair pair = pair_make();
    int qds[3], left[3] = {0};
    uint8_t next[3] = {0};
    must(demi_partition(qds, 3, pair.rx, by_byte, NULL));
    for (int i = 0; i < 40; i++) {
        const uint8_t to = (uint8_t)random_below(&random, 3);
        push_byte(pair.tx, (uint8_t)(to + 3 * left[to]++));
    }
    for (int i = 0; i < 40; i++) {
        uint32_t from = random_below(&random, 3);
        while (left[from] == 0)
            from = (from + 1) % 3;
        left[from]--;
        assert_int_equal(take_byte(pop_one(qds[from])), from + 3u * next[from]);
        next[from]++;
    }
    for (int i = 0; i < 3; i++)
        must(demi_close(qds[i]));
    pair_close(pair);
}

static void test_partition_pops_of_several_outputs_wait_together(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qds[4];
    demi_qtoken_t qts[8];
    must(demi_partition(qds, 4, pair.rx, by_byte, NULL));
    for (int i = 0; i < 8; i++)
        qts[i] = pop_start(qds[i % 4]);
    for (uint8_t i = 8; i-- > 0;) { /* against the order of the pops */
        push_byte(pair.tx, i);
        const int first = i >= 4 ? i - 4 : i + 4;
        assert_int_equal(take_byte(wait_success(qts[first], DEMI_OPC_POP).qr_value.sga), i);
    }
    for (int i = 0; i < 4; i++)
        must(demi_close(qds[i]));
    pair_close(pair);
}

static void test_partition_end_goes_to_every_output_after_its_elements(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN | CAN_BOUNDARY);
    struct pair pair = pair_make();
    int qds[3], asked = 0;
    must(demi_partition(qds, 3, pair.rx, by_byte, &asked));
    const demi_qtoken_t waiting[2] = {pop_start(qds[2]), pop_start(qds[2])};
    for (uint8_t i = 0; i < 6; i++)
        push_byte(pair.tx, i % 2); /* none for the last */
    must(demi_shutdown(pair.tx, SHUT_WR));
    must_be_end(wait_success(waiting[0], DEMI_OPC_POP).qr_value.sga);
    must_be_end(wait_success(waiting[1], DEMI_OPC_POP).qr_value.sga);
    for (int i = 0; i < 2; i++) {
        for (int n = 0; n < 3; n++)
            assert_int_equal(take_byte(pop_one(qds[i])), i);
        pop_end(qds[i]);
        pop_end(qds[i]);
    }
    pop_end(qds[2]);
    assert_int_equal(asked, 6);
    for (int i = 0; i < 3; i++)
        must(demi_close(qds[i]));
    pair_close(pair);
}

static void test_partition_error_fails_pops_of_every_output(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    int source = -1, fd = -1, qds[2];
    plain_pair(&source, &fd);
    must(demi_partition(qds, 2, source, by_byte, NULL));
    const demi_qtoken_t qts[3] = {pop_start(qds[0]), pop_start(qds[1]), pop_start(qds[1])};
    must_wait(qts[0]);
    plain_reset(fd);
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_failure(qts[i]), ECONNRESET);
    assert_int_equal(wait_failure(pop_start(qds[0])), ECONNRESET);
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    must(demi_close(source));
}

static int fail_odd(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return *(const uint8_t *)sga->sga_segs[0].sgaseg_buf % 2 == 0 ? 0 : EILSEQ;
}

/* An error that comes once is for everybody who waits, directly or through operators. */
static void test_partition_error_of_one_element_fails_all_that_wait(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int mapped = -1, qds[3];
    must(demi_map_dir(&mapped, pair.rx, NULL, fail_odd, NULL));
    must(demi_partition(qds, 3, mapped, by_byte, NULL));
    struct chain chain = chain_make(qds[1], 3, FILTER);
    const demi_qtoken_t qts[3] = {pop_start(chain_top(&chain)), pop_start(qds[0]),
                                  pop_start(qds[2])};
    must_wait(qts[0]);
    push_byte(pair.tx, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_failure(qts[i]), EILSEQ);
    const demi_qtoken_t next = pop_start(chain_top(&chain));
    push_byte(pair.tx, 4); /* and for nobody else */
    assert_int_equal(take_byte(wait_success(next, DEMI_OPC_POP).qr_value.sga), 4);
    chain_close(&chain);
    for (int i = 0; i < 3; i++)
        must(demi_close(qds[i]));
    must(demi_close(mapped));
    pair_close(pair);
}

static void test_partition_closing_the_source_cancels_pops_of_every_output(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qds[2];
    must(demi_partition(qds, 2, pair.rx, by_byte, NULL));
    const demi_qtoken_t qts[3] = {pop_start(qds[0]), pop_start(qds[1]), pop_start(qds[1])};
    must_wait(qts[0]);
    must(demi_close(pair.rx));
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_failure(qts[i]), ECANCELED);
    assert_int_equal(wait_failure(pop_start(qds[0])), ECANCELED);
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    if (pair.tx != pair.rx)
        must(demi_close(pair.tx));
}

enum { OUTPUT_MAX = 1024 };

static void test_partition_full_output_stops_the_source(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    const uint64_t stops = stat_now("compose.partition_stops");
    int source = -1, qds[2];
    must(demi_queue(&source, 0));
    must(demi_partition(qds, 2, source, by_byte, NULL));
    for (int i = 0; i < OUTPUT_MAX + 10; i++)
        push_byte(source, 0);
    push_byte(source, 1);
    const demi_qtoken_t qt = pop_start(qds[1]); /* what it wants is behind too many of the other */
    must_wait(qt);
    assert_int_equal(stat_now("compose.partition_stops"), stops + 1);
    for (int i = 0; i < 10; i++) {
        must_wait(qt);
        assert_int_equal(take_byte(pop_one(qds[0])), 0);
    }
    assert_int_equal(take_byte(pop_one(qds[0])), 0); /* now there is room */
    assert_int_equal(take_byte(wait_success(qt, DEMI_OPC_POP).qr_value.sga), 1);
    for (int i = 0; i < OUTPUT_MAX - 1; i++)
        assert_int_equal(take_byte(pop_one(qds[0])), 0);
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    must(demi_close(source));
    buffers_must_be(before);
}

static void test_partition_closing_a_full_output_lets_the_source_go_on(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    const uint64_t drops = stat_now("compose.partition_drops");
    int source = -1, qds[2];
    must(demi_queue(&source, 0));
    must(demi_partition(qds, 2, source, by_byte, NULL));
    for (int i = 0; i < OUTPUT_MAX + 10; i++)
        push_byte(source, 0);
    push_byte(source, 1);
    const demi_qtoken_t qt = pop_start(qds[1]);
    must_wait(qt);
    must(demi_close(qds[0]));
    assert_int_equal(take_byte(wait_success(qt, DEMI_OPC_POP).qr_value.sga), 1);
    assert_int_equal(stat_now("compose.partition_drops"), drops + OUTPUT_MAX + 10);
    must(demi_close(qds[1]));
    must(demi_close(source));
    buffers_must_be(before);
}

static void test_partition_elements_for_a_closed_output_are_dropped_and_counted(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint64_t drops = stat_now("compose.partition_drops");
    int qds[2];
    must(demi_partition(qds, 2, pair.rx, by_byte, NULL));
    must(demi_close(qds[1]));
    const demi_qtoken_t qt = pop_start(qds[0]);
    push_byte(pair.tx, 1);
    drive_until_stat(qt, "compose.partition_drops", drops + 1);
    push_byte(pair.tx, 3);
    drive_until_stat(qt, "compose.partition_drops", drops + 2);
    push_byte(pair.tx, 2);
    assert_int_equal(take_byte(wait_success(qt, DEMI_OPC_POP).qr_value.sga), 2);
    must(demi_close(qds[0]));
    push_byte(pair.tx, 1); /* the side is the application's */
    assert_int_equal(take_byte(pop_one(pair.rx)), 1);
    pair_close(pair);
}

static void test_partition_last_close_gives_the_side_back_elements_first(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    int source = -1, qds[3];
    demi_qtoken_t qt;
    must(demi_queue(&source, 0));
    must(demi_partition(qds, 3, source, by_byte, NULL));
    for (uint8_t i = 0; i < 30; i++)
        push_byte(source, i);
    assert_int_equal(take_byte(pop_one(qds[2])), 2); /* 0 and 1 are dealt out */
    assert_int_equal(take_byte(pop_one(qds[2])), 5);
    must_fail(demi_pop(&qt, source), EBUSY);
    must(demi_close(qds[0])); /* with 0 and 3 */
    must_fail(demi_pop(&qt, source), EBUSY);
    must(demi_close(qds[2]));
    must_fail(demi_pop(&qt, source), EBUSY);
    must(demi_close(qds[1])); /* with 1 and 4 */
    static const uint8_t want[] = {1, 4, 6, 7};
    for (size_t i = 0; i < COUNT_OF(want); i++)
        assert_int_equal(take_byte(pop_one(source)), want[i]);
    must(demi_close(source));
    buffers_must_be(before);
}

static void test_partition_operators_over_its_outputs(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    struct pair pair = pair_make();
    int qds[2], merged = -1;
    must(demi_partition(qds, 2, pair.rx, by_byte, NULL));
    struct chain chains[2] = {chain_make(qds[0], 3, FILTER), chain_make(qds[1], 2, SORT)};
    must(demi_merge(&merged, chain_top(&chains[0]), chain_top(&chains[1])));
    int count[20] = {0};
    const demi_qtoken_t qt = pop_start(merged);
    for (uint8_t i = 0; i < 20; i++)
        push_byte(pair.tx, i);
    count[take_byte(wait_success(qt, DEMI_OPC_POP).qr_value.sga)]++;
    for (int i = 0; i < 19; i++)
        count[take_byte(pop_one(merged))]++;
    for (int i = 0; i < 20; i++)
        assert_int_equal(count[i], 1);
    const demi_qtoken_t last = pop_start(merged);
    must(demi_close(qds[1]));
    assert_int_equal(wait_failure(last), ECANCELED);
    must(demi_close(merged));
    chain_close(&chains[0]);
    chain_close(&chains[1]);
    must(demi_close(qds[0]));
    pair_close(pair);
}

static void test_partition_bad_arguments(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qds[2] = {-7, -7};
    must_fail(demi_partition(NULL, 2, pair.rx, by_byte, NULL), EINVAL);
    must_fail(demi_partition(qds, 0, pair.rx, by_byte, NULL), EINVAL);
    must_fail(demi_partition(qds, 4097, pair.rx, by_byte, NULL), EINVAL);
    must_fail(demi_partition(qds, UINT32_MAX, pair.rx, by_byte, NULL), EINVAL);
    must_fail(demi_partition(qds, 2, pair.rx, NULL, NULL), EINVAL);
    must_fail(demi_partition(qds, 2, -1, by_byte, NULL), EBADF);
    assert_int_equal(qds[0], -7);
    int *many = calloc(4096, sizeof *many);
    must(demi_partition(many, 4096, pair.rx, by_byte, NULL));
    push_byte(pair.tx, 200);
    assert_int_equal(take_byte(pop_one(many[200])), 200);
    for (int i = 0; i < 4096; i++)
        must(demi_close(many[i]));
    free(many);
    pair_close(pair);
}

/* As many outputs as there are descriptors left, and one more. */
static void test_partition_without_descriptors_leaves_nothing(void **state)
{
    (void)state;
    backend_needs(CAN_INHERENT);
    setenv("DEMI_MAX_QUEUES", "64", 1);
    must(demi_init(NULL));
    unsetenv("DEMI_MAX_QUEUES");
    int source = -1, qds[100];
    must(demi_queue(&source, 0));
    for (int i = 0; i < 5; i++) {
        must_fail(demi_partition(qds, 64, source, by_byte, NULL), EMFILE);
        must(demi_partition(qds, 63, source, by_byte, NULL));
        must_fail(demi_filter(&qds[99], qds[0], NULL, NULL), EINVAL);
        must_fail(demi_merge(&qds[99], qds[0], qds[1]), EMFILE);
        must_fail(try_derive(&qds[99], FILTER, qds[0]), EMFILE);
        must_fail(try_derive(&qds[99], SORT, qds[0]), EMFILE);
        must_fail(try_derive(&qds[99], MAP, qds[0]), EMFILE);
        for (int j = 0; j < 63; j++)
            must(demi_close(qds[j]));
    }
    push_byte(source, 1);
    assert_int_equal(take_byte(pop_one(source)), 1);
    must(demi_fini());
}

int run_compose_many_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_merge_yields_the_elements_of_both),
        STARTED(test_merge_alternates_while_both_have_elements),
        STARTED(test_merge_of_a_queue_and_a_socket_alternates),
        STARTED(test_merge_takes_nothing_that_nobody_asked_for),
        STARTED(test_merge_ends_when_both_have_ended),
        STARTED(test_merge_error_of_one_fails_one_pop_then_the_other_goes_on),
        STARTED(test_merge_closing_a_source_cancels_its_pops_and_the_other_goes_on),
        STARTED(test_merge_takes_both_sides_and_gives_both_back),
        STARTED(test_merge_cancel_and_close_release_everything),
        STARTED(test_merge_push_goes_to_both_by_reference),
        STARTED(test_merge_push_over_sockets_reaches_both_peers),
        STARTED(test_merge_push_completes_when_both_sources_have_it),
        STARTED(test_merge_push_that_waits_in_both_can_be_cancelled),
        STARTED(test_merge_push_fails_with_the_first_error),
        STARTED(test_merge_closed_with_a_push_outstanding_lets_it_end),
        STARTED(test_merge_shutdown_ends_both_sources),
        STARTED(test_merge_has_no_names_options_or_addresses),
        STARTED(test_partition_deals_out_by_the_function_modulo_n),
        STARTED(test_partition_keeps_the_order_within_an_output),
        STARTED(test_partition_pops_of_several_outputs_wait_together),
        STARTED(test_partition_end_goes_to_every_output_after_its_elements),
        STARTED(test_partition_error_fails_pops_of_every_output),
        STARTED(test_partition_error_of_one_element_fails_all_that_wait),
        STARTED(test_partition_closing_the_source_cancels_pops_of_every_output),
        STARTED(test_partition_full_output_stops_the_source),
        STARTED(test_partition_closing_a_full_output_lets_the_source_go_on),
        STARTED(test_partition_elements_for_a_closed_output_are_dropped_and_counted),
        STARTED(test_partition_last_close_gives_the_side_back_elements_first),
        STARTED(test_partition_operators_over_its_outputs),
        STARTED(test_partition_bad_arguments),
        UNSTARTED(test_partition_without_descriptors_leaves_nothing),
    };
    return cmocka_run_group_tests_name("compose_many", tests, NULL, NULL);
}
