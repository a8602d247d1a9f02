/* SPDX-License-Identifier: MIT */
/*
 * What all operators with one source have in common: who has the pop side, chains, cancel and close
 * at every place of one, ends, errors, what goes to the source. Each test runs for each kind.
 */
#include "operators.h"

#include <poll.h>
#include <string.h>

/* Queues derived from both ends of a pair, so that elements pass an operator both ways. */
static struct pair derive_pair(enum kind kind, struct pair pair)
{
    struct pair derived;
    derived.rx = derive(kind, pair.rx);
    derived.tx = pair.tx == pair.rx ? derived.rx : derive(kind, pair.tx);
    return derived;
}

static void test_operator_passes_elements_both_ways(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct pair derived = derive_pair(kind, pair);
        for (uint64_t i = 0; i < 10; i++) {
            send_element(derived.tx, 100 + i * 100, i);
            pop_element(derived.rx, 100 + i * 100, i);
        }
        pair_close(derived);
        pair_close(pair);
    }
}

static void test_operator_keeps_the_segments_of_elements(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    static const uint32_t lens[] = {10, 1, 300, 7};
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        demi_sgarray_t sga = demi_sgaalloc_segs(lens, COUNT_OF(lens));
        assert_int_equal(sga.sga_numsegs, COUNT_OF(lens));
        for (uint32_t i = 0; i < COUNT_OF(lens); i++)
            pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], i, 0);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
        sga = pop_one(qd);
        assert_int_equal(sga.sga_numsegs, COUNT_OF(lens));
        for (uint32_t i = 0; i < COUNT_OF(lens); i++) {
            assert_int_equal(sga.sga_segs[i].sgaseg_len, lens[i]);
            pattern_check(sga.sga_segs[i].sgaseg_buf, lens[i], i, 0);
        }
        must(demi_sgafree(&sga));
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_operator_result_names_the_operator(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct pair derived = derive_pair(kind, pair);
        const demi_qtoken_t push = push_element(derived.tx, 10, 1);
        const demi_qtoken_t pop = pop_start(derived.rx);
        assert_int_equal(wait_success(push, DEMI_OPC_PUSH).qr_qd, derived.tx);
        demi_qresult_t qr = wait_success(pop, DEMI_OPC_POP);
        assert_int_equal(qr.qr_qd, derived.rx);
        assert_true(qr.qr_qt == pop);
        check_element(qr.qr_value.sga, 10, 1);
        pair_close(derived);
        pair_close(pair);
    }
}

static void test_operator_pop_waits_for_an_element(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        for (uint64_t i = 0; i < 3; i++) {
            const demi_qtoken_t qt = pop_start(qd);
            must_wait(qt);
            send_element(pair.tx, 50, i);
            wait_element(qt, 50, i);
        }
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_operator_pops_are_served_in_order(void **state)
{
    (void)state;
    enum { POPS = 20 };
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        demi_qtoken_t qts[POPS];
        for (int i = 0; i < POPS; i++)
            qts[i] = pop_start(qd);
        for (int i = 0; i < POPS; i++) {
            send_element(pair.tx, 10, (uint64_t)i);
            wait_element(qts[i], 10, (uint64_t)i);
            if (i + 1 < POPS)
                must_fail(demi_wait(&(demi_qresult_t){0}, qts[i + 1], ZERO_TIME), ETIMEDOUT);
        }
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_operator_results_are_collected_by_every_wait(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct chain chain = chain_make(pair.rx, 4, FILTER);
    const struct timespec patience = {PATIENCE_S, 0};
    for (int way = 0; way < 4; way++) {
        demi_qtoken_t qt = pop_start(chain_top(&chain));
        demi_qresult_t qr;
        int n = 0;
        wait_success(push_element(pair.tx, 10, 1), DEMI_OPC_PUSH);
        if (way == 0)
            must(demi_wait_any(&qr, &n, &qt, 1, &patience));
        else if (way == 1)
            must(demi_wait_all(&qr, &qt, 1, &patience));
        else if (way == 2)
            must(demi_wait_next_n(&qr, 1, &n, &patience));
        else
            must(demi_wait_some(&qr, 1, &n, &patience));
        assert_true(qr.qr_qt == qt);
        check_element(qr.qr_value.sga, 10, 1);
    }
    chain_close(&chain);
    pair_close(pair);
}

static void test_operator_result_makes_the_event_descriptor_readable(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct chain chain = chain_make(pair.rx, 3, FILTER);
    const demi_qtoken_t qt = pop_start(chain_top(&chain));
    demi_qresult_t qr;
    int n = 0;
    int fd = -1;
    must(demi_eventfd(&fd));
    while (demi_wait_some(&qr, 1, &n, ZERO_TIME) == 0)
        ;
    const demi_qtoken_t push = push_element(pair.tx, 10, 1);
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    for (bool popped = false, pushed = false; !popped || !pushed;) {
        struct pollfd pollfd = {.fd = fd, .events = POLLIN};
        must_hold(poll(&pollfd, 1, PATIENCE_S * 1000) == 1, "the descriptor stays quiet");
        must_hold(now_ns() < give_up, "no result");
        while (demi_wait_some(&qr, 1, &n, ZERO_TIME) == 0) {
            pushed |= qr.qr_qt == push;
            popped |= qr.qr_qt == qt;
            if (qr.qr_qt == qt)
                check_element(qr.qr_value.sga, 10, 1);
        }
    }
    chain_close(&chain);
    pair_close(pair);
}

/* --- the pop side --- */

static void test_source_of_an_operator_is_ebusy(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        demi_qtoken_t qt = 7;
        demi_qresult_t qr;
        must_fail(demi_pop(&qt, pair.rx), EBUSY);
        must_fail(demi_blocking_pop(pair.rx, &qr), EBUSY);
        assert_true(qt == 7);
        FOR_EACH_KIND(other)
        {
            int second = -7;
            must_fail(try_derive(&second, other, pair.rx), EBUSY);
            assert_int_equal(second, -7);
        }
        send_element(pair.tx, 10, 1); /* there is something, and it is not the application's */
        must_fail(demi_pop(&qt, pair.rx), EBUSY);
        pop_element(qd, 10, 1);
        must(demi_close(qd));
        send_element(pair.tx, 10, 2);
        pop_element(pair.rx, 10, 2);
        pair_close(pair);
    }
}

static void test_side_with_pops_outstanding_is_ebusy(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        int qd = -7;
        const demi_qtoken_t qt = pop_start(pair.rx);
        must_fail(try_derive(&qd, kind, pair.rx), EBUSY);
        assert_int_equal(qd, -7);
        must(demi_cancel(qt));
        qd = derive(kind, pair.rx);
        const demi_qtoken_t derived = pop_start(qd);
        FOR_EACH_KIND(other)
        {
            int second = -7;
            must_fail(try_derive(&second, other, qd), EBUSY);
        }
        send_element(pair.tx, 10, 1);
        wait_element(derived, 10, 1);
        const int top = derive(kind, qd);
        must_fail(demi_pop(&(demi_qtoken_t){0}, qd), EBUSY);
        must(demi_close(top));
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_operator_that_could_not_be_made_leaves_nothing(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const demi_qtoken_t qt = pop_start(pair.rx);
    int lowest = -1, again = -1;
    must(demi_queue(&lowest, 0));
    must(demi_close(lowest));
    for (int i = 0; i < 1000; i++)
        FOR_EACH_KIND(kind)
    must_fail(try_derive(&(int){0}, kind, pair.rx), EBUSY);
    must(demi_queue(&again, 0));
    assert_int_equal(again, lowest);
    must(demi_close(again));
    must(demi_cancel(qt));
    pair_close(pair);
}

static void test_pushes_to_a_claimed_source_go_on(void **state)
{
    (void)state;
    backend_needs(CAN_DUPLEX);
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        send_element(pair.rx, 10, 1);
        pop_element(pair.tx, 10, 1);
        send_element(qd, 10, 2);
        pop_element(pair.tx, 10, 2);
        must(demi_close(qd));
        pair_close(pair);
    }
}

/* --- when something is taken --- */

static void test_operator_takes_nothing_that_nobody_asked_for(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    FOR_EACH_KIND(kind)
    {
        int source = -1;
        must(demi_queue(&source, 2));
        const int qd = derive(kind, source);
        demi_qtoken_t pushes[4];
        for (uint64_t i = 0; i < 4; i++)
            pushes[i] = push_element(qd, 10, i);
        wait_success(pushes[0], DEMI_OPC_PUSH);
        wait_success(pushes[1], DEMI_OPC_PUSH);
        must_wait(pushes[2]);
        must_wait(pushes[3]);
        for (uint64_t i = 0; i < 4; i++)
            pop_element(qd, 10, i);
        wait_success(pushes[2], DEMI_OPC_PUSH);
        wait_success(pushes[3], DEMI_OPC_PUSH);
        must(demi_close(qd));
        must(demi_close(source));
    }
}

static void test_cancelled_pop_takes_nothing(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 6; depth++) {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, depth, FILTER);
        const demi_qtoken_t qt = pop_start(chain_top(&chain));
        must_wait(qt); /* the device has seen it */
        must(demi_cancel(qt));
        must_fail(demi_cancel(qt), EINVAL);
        send_element(pair.tx, 10, 1);
        chain_close(&chain);
        pop_element(pair.rx, 10, 1);
        pair_close(pair);
    }
}

static void test_cancel_any_of_many_pops_the_others_keep_their_order(void **state)
{
    (void)state;
    enum { POPS = 20 };
    uint64_t random = seed_choose(__func__);
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        demi_qtoken_t qts[POPS];
        int left = 0;
        for (int i = 0; i < POPS; i++)
            qts[i] = pop_start(qd);
        for (int i = 0; i < POPS; i++)
            if (random_below(&random, 2) == 0)
                must(demi_cancel(qts[i]));
            else
                qts[left++] = qts[i];
        for (int i = 0; i < left; i++) {
            send_element(pair.tx, 10, (uint64_t)i);
            wait_element(qts[i], 10, (uint64_t)i);
        }
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_cancel_of_a_ready_result_is_ealready(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        const demi_qtoken_t qts[2] = {pop_start(qd), pop_start(qd)};
        demi_qresult_t qrs[2];
        const struct timespec moment = ms_time(4);
        send_element(pair.tx, 10, 1);
        must_fail(demi_wait_all(qrs, qts, 2, &moment), ETIMEDOUT);
        must_fail(demi_cancel(qts[0]), EALREADY);
        wait_element(qts[0], 10, 1);
        must(demi_cancel(qts[1]));
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_cancel_of_a_push_that_waits_in_the_source(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    FOR_EACH_KIND(kind)
    {
        int source = -1;
        const uint64_t before = buffers_now();
        must(demi_queue(&source, 1));
        struct chain chain = chain_make(source, 3, kind);
        demi_qtoken_t pushes[3];
        for (uint64_t i = 0; i < 3; i++)
            pushes[i] = push_element(chain_top(&chain), 10, i);
        must_wait(pushes[1]);
        must(demi_cancel(pushes[1]));
        pop_element(chain_top(&chain), 10, 0);
        pop_element(chain_top(&chain), 10, 2);
        wait_success(pushes[0], DEMI_OPC_PUSH);
        wait_success(pushes[2], DEMI_OPC_PUSH);
        chain_close(&chain);
        must(demi_close(source));
        buffers_must_be(before);
    }
}

/* --- chains --- */

static void test_chain_of_any_depth_passes_elements(void **state)
{
    (void)state;
    static const int depths[] = {1, 2, 8, 100};
    for (size_t d = 0; d < COUNT_OF(depths); d++) {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, depths[d], (enum kind)d);
        const int into = pair.tx == pair.rx ? chain_top(&chain) : pair.tx;
        for (uint64_t i = 0; i < 5; i++) { /* it is there before the pop, and after */
            send_element(into, 100, i);
            pop_element(chain_top(&chain), 100, i);
            const demi_qtoken_t qt = pop_start(chain_top(&chain));
            send_element(into, 100, i);
            wait_element(qt, 100, i);
        }
        chain_close(&chain);
        send_element(pair.tx, 100, 9);
        pop_element(pair.rx, 100, 9);
        pair_close(pair);
    }
}

/* Closes all of a chain in some order while pops are outstanding at its top. */
static void close_in_order(const struct chain *chain, const int order[])
{
    demi_qtoken_t qts[5];
    for (int i = 0; i < 5; i++)
        qts[i] = pop_start(chain_top(chain));
    must_wait(qts[0]);
    for (int i = 0; i < chain->depth; i++) {
        must(demi_close(chain->qds[order[i]]));
        if (i == 0) /* wherever it is cut, the pops end */
            for (int j = 0; j < 5; j++)
                assert_int_equal(wait_failure(qts[j]), ECANCELED);
    }
}

static void test_chain_closed_in_any_order_releases_everything(void **state)
{
    (void)state;
    enum { DEPTH = 7 };
    uint64_t random = seed_choose(__func__);
    struct pair pair = pair_make();
    send_element(pair.tx, 10, 0);
    pop_element(pair.rx, 10, 0);
    const uint64_t before = buffers_now();
    int highest = 0;
    for (int round = 0; round < 60; round++) {
        int order[DEPTH];
        for (int i = 0; i < DEPTH; i++)
            order[i] = round == 0 ? i : DEPTH - 1 - i;
        for (int i = DEPTH - 1; round > 1 && i > 0; i--) {
            const int j = (int)random_below(&random, (uint32_t)i + 1);
            const int swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        struct chain chain = chain_make(pair.rx, DEPTH, (enum kind)(round % KINDS));
        close_in_order(&chain, order);
        for (int i = 0; i < DEPTH; i++)
            highest = chain.qds[i] > highest ? chain.qds[i] : highest;
        send_element(pair.tx, 10, 1); /* the side is the application's again */
        pop_element(pair.rx, 10, 1);
        buffers_must_be(before);
    }
    assert_true(highest < 3 + DEPTH + 2); /* descriptors are issued again */
    pair_close(pair);
}

static void test_chain_cut_in_the_middle_the_lower_part_lives(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, 5, kind);
        must(demi_close(chain.qds[2]));
        assert_int_equal(wait_failure(pop_start(chain.qds[4])), ECANCELED);
        assert_int_equal(wait_failure(pop_start(chain.qds[4])), ECANCELED);
        must_fail(demi_pop(&(demi_qtoken_t){0}, chain.qds[3]), EBUSY);
        send_element(pair.tx, 10, 1);
        pop_element(chain.qds[1], 10, 1);
        const int fresh = derive(kind, chain.qds[1]);
        send_element(pair.tx, 10, 2);
        pop_element(fresh, 10, 2);
        must(demi_close(fresh));
        must(demi_close(chain.qds[0]));
        must(demi_close(chain.qds[4]));
        must(demi_close(chain.qds[1]));
        must(demi_close(chain.qds[3]));
        pair_close(pair);
    }
}

/* --- close --- */

static void test_closing_an_operator_cancels_its_pops(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        demi_qtoken_t qts[5];
        for (int i = 0; i < 5; i++)
            qts[i] = pop_start(qd);
        must(demi_close(qd));
        must_fail(demi_close(qd), EBADF);
        for (int i = 0; i < 5; i++) {
            const demi_qresult_t qr = wait_result(qts[i]);
            assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
            assert_int_equal(qr.qr_ret, ECANCELED);
            assert_int_equal(qr.qr_qd, qd);
        }
        must_fail(demi_pop(&qts[0], qd), EBADF);
        send_element(pair.tx, 10, 1);
        pop_element(pair.rx, 10, 1);
        pair_close(pair);
    }
}

static void test_closing_a_source_cancels_the_pops_of_its_operator(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        const demi_qtoken_t qts[2] = {pop_start(qd), pop_start(qd)};
        must_wait(qts[0]);
        must(demi_close(pair.rx));
        assert_int_equal(wait_failure(qts[0]), ECANCELED);
        assert_int_equal(wait_failure(qts[1]), ECANCELED);
        assert_int_equal(wait_failure(pop_start(qd)), ECANCELED); /* and later ones */
        must(demi_close(qd));
        if (pair.tx != pair.rx)
            must(demi_close(pair.tx));
    }
}

static void test_everything_on_an_operator_of_a_closed_source_is_ebadf(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, 2, kind);
        const int qd = chain_top(&chain);
        must(demi_close(pair.rx));
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        assert_int_equal(push_outcome(qd, &sga), EBADF);
        must(demi_sgafree(&sga));
        struct sockaddr_storage addr;
        socklen_t len = sizeof addr;
        int value = 1;
        must_fail(demi_shutdown(qd, SHUT_WR), EBADF);
        must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), EBADF);
        must_fail(demi_getsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), EBADF);
        len = sizeof addr;
        must_fail(demi_getsockname(qd, (struct sockaddr *)&addr, &len), EBADF);
        must_fail(demi_getpeername(qd, (struct sockaddr *)&addr, &len), EBADF);
        chain_close(&chain);
        if (pair.tx != pair.rx)
            must(demi_close(pair.tx));
    }
}

static void test_source_closed_with_elements_in_it_releases_them(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    FOR_EACH_KIND(kind)
    {
        const uint64_t before = buffers_now();
        int source = -1;
        must(demi_queue(&source, 0));
        struct chain chain = chain_make(source, 3, kind);
        for (uint64_t i = 0; i < 10; i++)
            send_element(chain_top(&chain), 10, i);
        pop_element(chain_top(&chain), 10, 0);
        must(demi_close(source));
        assert_int_equal(wait_failure(pop_start(chain_top(&chain))), ECANCELED);
        chain_close(&chain);
        buffers_must_be(before);
    }
}

static void test_descriptor_of_a_closed_source_is_kept_until_its_operator_closes(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        int source = -1, others[20];
        must(demi_queue(&source, 0));
        const int qd = derive(kind, source);
        must(demi_close(source));
        for (size_t i = 0; i < COUNT_OF(others); i++) {
            must(demi_queue(&others[i], 0));
            assert_int_not_equal(others[i], source);
        }
        for (size_t i = 0; i < COUNT_OF(others); i++)
            must(demi_close(others[i]));
        must(demi_close(qd));
    }
}

/* What was pushed through an operator is the source's: the operator may go. */
static void test_closing_an_operator_leaves_its_pushes_alone(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    FOR_EACH_KIND(kind)
    {
        int source = -1;
        must(demi_queue(&source, 1));
        const int qd = derive(kind, source);
        const demi_qtoken_t pushes[2] = {push_element(qd, 10, 0), push_element(qd, 10, 1)};
        must(demi_close(qd));
        pop_element(source, 10, 0);
        pop_element(source, 10, 1);
        wait_success(pushes[0], DEMI_OPC_PUSH);
        wait_success(pushes[1], DEMI_OPC_PUSH);
        must(demi_close(source));
    }
}

static void test_library_ends_with_chains_open_and_full(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct chain chain = chain_make(pair.rx, 6, FILTER);
    for (uint64_t i = 0; i < 5; i++)
        send_element(pair.tx, 10, i);
    demi_sgarray_t sga = pop_one(chain_top(&chain)); /* a sort in it has taken the others */
    must(demi_sgafree(&sga));
    for (int i = 0; i < 10; i++)
        (void)pop_start(chain_top(&chain));
}

/* --- ends and errors --- */

static void test_end_of_a_stream_passes_and_repeats(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    FOR_EACH_KIND(kind)
    for (int depth = 1; depth <= 3; depth++) {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, depth, kind);
        send_element(pair.tx, 10, 1);
        pop_element(chain_top(&chain), 10, 1);
        const demi_qtoken_t qts[2] = {pop_start(chain_top(&chain)), pop_start(chain_top(&chain))};
        must(demi_shutdown(pair.tx, SHUT_WR));
        must_be_end(wait_success(qts[0], DEMI_OPC_POP).qr_value.sga);
        must_be_end(wait_success(qts[1], DEMI_OPC_POP).qr_value.sga);
        for (int i = 0; i < 3; i++)
            pop_end(chain_top(&chain));
        chain_close(&chain);
        pop_end(pair.rx);
        pair_close(pair);
    }
}

static void test_end_comes_after_all_elements(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN | CAN_BOUNDARY);
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, 4, kind);
        for (uint64_t i = 0; i < 5; i++)
            send_element(pair.tx, 10, i);
        must(demi_shutdown(pair.tx, SHUT_WR));
        for (uint64_t i = 0; i < 5; i++)
            pop_element(chain_top(&chain), 10, i);
        pop_end(chain_top(&chain));
        chain_close(&chain);
        pair_close(pair);
    }
}

static void test_error_of_a_source_fails_the_pops(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    FOR_EACH_KIND(kind)
    for (int depth = 1; depth <= 3; depth++) {
        int source = -1, fd = -1;
        plain_pair(&source, &fd);
        struct chain chain = chain_make(source, depth, kind);
        const demi_qtoken_t qts[2] = {pop_start(chain_top(&chain)), pop_start(chain_top(&chain))};
        must_wait(qts[0]);
        plain_reset(fd);
        assert_int_equal(wait_failure(qts[0]), ECONNRESET);
        assert_int_equal(wait_failure(qts[1]), ECONNRESET);
        assert_int_equal(wait_failure(pop_start(chain_top(&chain))), ECONNRESET);
        chain_close(&chain);
        must(demi_close(source));
    }
}

static void test_operator_over_a_socket_that_cannot_be_popped_fails_the_pop(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    FOR_EACH_KIND(kind)
    {
        struct sockaddr_storage addr;
        socklen_t len;
        int unconnected = -1;
        const int listener = listener_make(&addr, &len, 4);
        must(demi_socket(&unconnected, backend()->domain, backend()->type, 0));
        const int over[2] = {derive(kind, listener), derive(kind, unconnected)};
        assert_int_equal(wait_failure(pop_start(over[0])), EINVAL);
        assert_int_equal(wait_failure(pop_start(over[1])), ENOTCONN);
        must_fail(demi_accept(&(demi_qtoken_t){0}, over[0]), EOPNOTSUPP);
        int client = -1;
        const demi_qtoken_t connecting = connect_start(&client, &addr, len);
        const int conn = accept_one(listener); /* a listener goes on accepting */
        wait_success(connecting, DEMI_OPC_CONNECT);
        must(demi_close(conn));
        must(demi_close(client));
        must(demi_close(unconnected));
        must(demi_close(over[0]));
        must(demi_close(over[1]));
        must(demi_close(listener));
    }
}

static void test_operator_made_before_the_connection_works_after_it(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    const int listener = listener_make(&addr, &len, 4);
    int client = -1;
    must(demi_socket(&client, backend()->domain, backend()->type, 0));
    const int qd = derive(FILTER, client);
    demi_qtoken_t qt;
    must(demi_connect(&qt, client, (struct sockaddr *)&addr, len));
    const int conn = accept_one(listener);
    wait_success(qt, DEMI_OPC_CONNECT);
    send_element(conn, 10, 1);
    pop_element(qd, 10, 1);
    must(demi_close(qd));
    must(demi_close(client));
    must(demi_close(conn));
    must(demi_close(listener));
}

/* --- what goes to the source --- */

static void test_names_and_options_are_the_sources(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, 3, kind);
        struct sockaddr_storage direct, through;
        socklen_t direct_len = sizeof direct, through_len = sizeof through;
        must(demi_getsockname(pair.rx, (struct sockaddr *)&direct, &direct_len));
        must(demi_getsockname(chain_top(&chain), (struct sockaddr *)&through, &through_len));
        assert_int_equal(direct_len, through_len);
        assert_memory_equal(&direct, &through, direct_len);
        direct_len = through_len = sizeof direct;
        must(demi_getpeername(pair.rx, (struct sockaddr *)&direct, &direct_len));
        must(demi_getpeername(chain_top(&chain), (struct sockaddr *)&through, &through_len));
        assert_memory_equal(&direct, &through, direct_len);
        int value = 0;
        socklen_t len = sizeof value;
        must(demi_getsockopt(chain_top(&chain), SOL_SOCKET, SO_TYPE, &value, &len));
        assert_int_equal(value, backend()->type);
        value = 1;
        must(demi_setsockopt(chain_top(&chain), SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
        value = 0;
        must(demi_getsockopt(pair.rx, SOL_SOCKET, SO_KEEPALIVE, &value, &len));
        assert_int_not_equal(value, 0);
        chain_close(&chain);
        pair_close(pair);
    }
}

static void test_names_and_options_over_memory_are_eopnotsupp(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.rx, 3, kind);
        const int qd = chain_top(&chain);
        struct sockaddr_storage addr;
        socklen_t len = loopback(AF_INET, 9, &addr);
        int value = 1;
        must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), EOPNOTSUPP);
        must_fail(demi_getsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), EOPNOTSUPP);
        len = sizeof addr;
        must_fail(demi_getsockname(qd, (struct sockaddr *)&addr, &len), EOPNOTSUPP);
        must_fail(demi_getpeername(qd, (struct sockaddr *)&addr, &len), EOPNOTSUPP);
        len = loopback(AF_INET, 9, &addr);
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        demi_qtoken_t qt = 7;
        must_fail(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&addr, len), EOPNOTSUPP);
        must(demi_sgafree(&sga));
        chain_close(&chain);
        pair_close(pair);
    }
}

static void test_operator_does_not_bind_listen_connect_or_accept(void **state)
{
    (void)state;
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        const int qd = derive(kind, pair.rx);
        struct sockaddr_storage addr;
        const socklen_t len = loopback(AF_INET, 9, &addr);
        demi_qtoken_t qt;
        must_fail(demi_bind(qd, (struct sockaddr *)&addr, len), EOPNOTSUPP);
        must_fail(demi_listen(qd, 4), EOPNOTSUPP);
        must_fail(demi_accept(&qt, qd), EOPNOTSUPP);
        must_fail(demi_connect(&qt, qd, (struct sockaddr *)&addr, len), EOPNOTSUPP);
        must(demi_close(qd));
        pair_close(pair);
    }
}

static void test_shutdown_of_an_operator_ends_the_sources_stream(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    FOR_EACH_KIND(kind)
    {
        struct pair pair = pair_make();
        struct chain chain = chain_make(pair.tx, 2, kind);
        const int rx = pair.tx == pair.rx ? chain_top(&chain) : pair.rx;
        send_element(chain_top(&chain), 10, 1);
        must(demi_shutdown(chain_top(&chain), SHUT_WR));
        must_fail(demi_shutdown(chain_top(&chain), 77), EINVAL);
        demi_sgarray_t sga = pattern_sga(10, 1, 0);
        assert_int_equal(push_outcome(chain_top(&chain), &sga), EPIPE);
        must(demi_sgafree(&sga));
        pop_element(rx, 10, 1);
        pop_end(rx);
        chain_close(&chain);
        pair_close(pair);
    }
}

static void test_pushto_and_senders_pass_through_operators(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO);
    FOR_EACH_KIND(kind)
    {
        struct sockaddr_storage tx_addr, rx_addr, peer;
        socklen_t tx_len, rx_len, peer_len = sizeof peer;
        const int tx = datagram_make(&tx_addr, &tx_len);
        const int rx = datagram_make(&rx_addr, &rx_len);
        struct chain out = chain_make(tx, 3, kind), in = chain_make(rx, 3, kind);
        demi_sgarray_t sga = pattern_sga(100, 1, 0);
        demi_qtoken_t qt;
        must(demi_pushto(&qt, chain_top(&out), &sga, (struct sockaddr *)&rx_addr, rx_len));
        must(demi_sgafree(&sga));
        wait_success(qt, DEMI_OPC_PUSH);
        sga = pop_one(chain_top(&in));
        must(demi_sga_peer(&sga, (struct sockaddr *)&peer, &peer_len));
        assert_int_equal(peer_len, tx_len);
        assert_int_equal(port_of(&peer), port_of(&tx_addr));
        const struct sockaddr_in sender = sga.sga_addr;
        if (backend()->domain == AF_INET)
            assert_int_equal(ntohs(sender.sin_port), port_of(&tx_addr));
        else
            assert_int_equal(sender.sin_family, AF_UNSPEC);
        check_element(sga, 100, 1);
        chain_close(&out);
        chain_close(&in);
        must(demi_close(tx));
        must(demi_close(rx));
    }
}

int run_compose_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_operator_passes_elements_both_ways),
        STARTED(test_operator_keeps_the_segments_of_elements),
        STARTED(test_operator_result_names_the_operator),
        STARTED(test_operator_pop_waits_for_an_element),
        STARTED(test_operator_pops_are_served_in_order),
        STARTED(test_operator_results_are_collected_by_every_wait),
        STARTED(test_operator_result_makes_the_event_descriptor_readable),
        STARTED(test_source_of_an_operator_is_ebusy),
        STARTED(test_side_with_pops_outstanding_is_ebusy),
        STARTED(test_operator_that_could_not_be_made_leaves_nothing),
        STARTED(test_pushes_to_a_claimed_source_go_on),
        STARTED(test_operator_takes_nothing_that_nobody_asked_for),
        STARTED(test_cancelled_pop_takes_nothing),
        STARTED(test_cancel_any_of_many_pops_the_others_keep_their_order),
        STARTED(test_cancel_of_a_ready_result_is_ealready),
        STARTED(test_cancel_of_a_push_that_waits_in_the_source),
        STARTED(test_chain_of_any_depth_passes_elements),
        STARTED(test_chain_closed_in_any_order_releases_everything),
        STARTED(test_chain_cut_in_the_middle_the_lower_part_lives),
        STARTED(test_closing_an_operator_cancels_its_pops),
        STARTED(test_closing_a_source_cancels_the_pops_of_its_operator),
        STARTED(test_everything_on_an_operator_of_a_closed_source_is_ebadf),
        STARTED(test_source_closed_with_elements_in_it_releases_them),
        STARTED(test_descriptor_of_a_closed_source_is_kept_until_its_operator_closes),
        STARTED(test_closing_an_operator_leaves_its_pushes_alone),
        STARTED(test_library_ends_with_chains_open_and_full),
        STARTED(test_end_of_a_stream_passes_and_repeats),
        STARTED(test_end_comes_after_all_elements),
        STARTED(test_error_of_a_source_fails_the_pops),
        STARTED(test_operator_over_a_socket_that_cannot_be_popped_fails_the_pop),
        STARTED(test_operator_made_before_the_connection_works_after_it),
        STARTED(test_names_and_options_are_the_sources),
        STARTED(test_names_and_options_over_memory_are_eopnotsupp),
        STARTED(test_operator_does_not_bind_listen_connect_or_accept),
        STARTED(test_shutdown_of_an_operator_ends_the_sources_stream),
        STARTED(test_pushto_and_senders_pass_through_operators),
    };
    return cmocka_run_group_tests_name("compose", tests, NULL, NULL);
}
