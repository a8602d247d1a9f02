/* SPDX-License-Identifier: MIT */
/* regress BACKEND: what bugs taught, each test named for its bug. */
#include "../lib/backend.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of one batch of events, an earlier one led to the close of a socket that a later one was of. */
static void test_event_of_a_socket_closed_meanwhile_is_dropped(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { CONNS = 40 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, CONNS);
    for (int round = 0; round < 25; round++) {
        int clients[CONNS], conns[CONNS];
        demi_qtoken_t connects[CONNS], accepts[CONNS];
        for (int i = 0; i < CONNS; i++)
            connects[i] = connect_start(&clients[i], &addr, len);
        for (int i = 0; i < CONNS; i++)
            must(demi_accept(&accepts[i], listener));
        for (int i = 0; i < CONNS; i++) {
            conns[i] = wait_success(accepts[i], DEMI_OPC_ACCEPT).qr_value.ares.qd;
            pop_start(conns[i]);
        }
        for (int i = 0; i < CONNS; i += 2) /* some before their connect was heard of */
            must(demi_close(clients[i]));
        for (int i = 0; i < CONNS; i++) {
            demi_qresult_t qr = wait_result(connects[i]);
            assert_true(qr.qr_opcode == DEMI_OPC_CONNECT || qr.qr_ret == ECANCELED);
        }
        for (int i = 0; i < CONNS; i++) {
            must(demi_close(conns[i]));
            if (i % 2 != 0)
                must(demi_close(clients[i]));
        }
        demi_qresult_t qrs[CONNS];
        int n = 0;
        while (demi_wait_some(qrs, CONNS, &n, ZERO_TIME) == 0)
            ;
    }
    must(demi_close(listener));
}

struct waiting {
    demi_qtoken_t qt;
    int error;
    demi_qresult_t qr;
};

static void *wait_long(void *arg)
{
    struct waiting *waiting = arg;
    const struct timespec patience = {PATIENCE_S, 0};
    do
        waiting->error = demi_wait(&waiting->qr, waiting->qt, &patience);
    while (waiting->error == EBUSY);
    return NULL;
}

/* A thread that is between two sleeps, woken to lead or for nothing, is inside all the same. */
static void test_fini_while_a_waiter_is_between_two_sleeps_is_ebusy(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct pair other = pair_make();
    struct waiting waiting = {.qt = pop_start(pair.rx)};
    demi_qtoken_t mine = pop_start(other.rx);
    demi_qresult_t qr;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_long, &waiting), 0);
    while (must_either(demi_wait(&qr, waiting.qt, ZERO_TIME), ETIMEDOUT, EBUSY) != EBUSY)
        ;
    for (int i = 0; i < 3000; i++) {
        const struct timespec moment = {0, i % 3 * 5000};
        must_fail(demi_wait(&qr, mine, &moment), ETIMEDOUT); /* leads, and hands the lead over */
        must_fail(demi_fini(), EBUSY);
    }
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    assert_int_equal(pthread_join(thread, NULL), 0);
    must(waiting.error);
    must(demi_sgafree(&waiting.qr.qr_value.sga));
    must(demi_cancel(mine));
    pair_close(pair);
    pair_close(other);
}

static void await_asleep(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    while (must_either(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT, EBUSY) != EBUSY)
        ;
}

/* FIRST sleeps in the device, the others follow it. */
enum { FIRST, NEXT, LAST, TURNS };

struct turns {
    struct turn {
        pthread_t thread;
        struct turns *all;
        struct waiting waiting;
    } turn[TURNS];
    int memory; /* what NEXT waits for: FIRST pushes to it as soon as it leaves */
};

static void *take_turn(void *arg)
{
    struct turn *turn = arg;
    wait_long(&turn->waiting);
    if (turn->waiting.error != 0)
        return NULL;
    if (turn == &turn->all->turn[FIRST])
        turn->waiting.error = demi_blocking_push(turn->all->memory, &turn->waiting.qr.qr_value.sga);
    (void)demi_sgafree(&turn->waiting.qr.qr_value.sga);
    return NULL;
}

/* NEXT was woken to lead, and its operation completed before it ran: it left, and nobody led. */
static void test_lead_is_passed_on_by_a_thread_whose_operation_completed(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    struct turns turns;
    int qds[TURNS], peers[TURNS];
    plain_pair(&qds[FIRST], &peers[FIRST]);
    plain_pair(&qds[LAST], &peers[LAST]);
    must(demi_queue(&turns.memory, 0));
    qds[NEXT] = turns.memory;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < TURNS; i++) {
            turns.turn[i].all = &turns;
            turns.turn[i].waiting.qt = pop_start(qds[i]);
            assert_int_equal(pthread_create(&turns.turn[i].thread, NULL, take_turn, &turns.turn[i]),
                             0);
            await_asleep(turns.turn[i].waiting.qt);
        }
        plain_send(peers[FIRST], "first", 5);
        assert_int_equal(pthread_join(turns.turn[FIRST].thread, NULL), 0);
        assert_int_equal(pthread_join(turns.turn[NEXT].thread, NULL), 0);
        plain_send(peers[LAST], "last", 4); /* no call of this thread helps */
        assert_int_equal(pthread_join(turns.turn[LAST].thread, NULL), 0);
        for (int i = 0; i < TURNS; i++)
            must(turns.turn[i].waiting.error);
    }
    must(demi_close(qds[FIRST]));
    must(demi_close(qds[LAST]));
    must(demi_close(turns.memory));
    close(peers[FIRST]);
    close(peers[LAST]);
}

struct bytes {
    int qd;
    atomic_int popped;
    atomic_int failed;
};

static void *pop_bytes(void *arg)
{
    struct bytes *bytes = arg;
    for (bool end = false; !end && !bytes->failed;) {
        struct waiting waiting = {0};
        waiting.error = demi_pop(&waiting.qt, bytes->qd);
        if (waiting.error == 0)
            wait_long(&waiting);
        if (waiting.error != 0 || waiting.qr.qr_opcode != DEMI_OPC_POP) {
            bytes->failed = 1;
            break;
        }
        const size_t len = sga_bytes(&waiting.qr.qr_value.sga);
        (void)demi_sgafree(&waiting.qr.qr_value.sga);
        bytes->popped += (int)len;
        end = len == 0;
    }
    return NULL;
}

/* One thread read a socket empty; what arrived right then was an event that another one fetched,
 * and the first took it for what it had just read. */
static void test_event_fetched_while_another_thread_reads_is_not_old_news(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    uint64_t random = seed_choose(__func__);
    struct bytes bytes = {0};
    pthread_t threads[2];
    int peer, sent = 0;
    plain_pair(&bytes.qd, &peer);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pop_bytes, &bytes), 0);
    for (int round = 0; round < (under_sanitizer() ? 2000 : 20000); round++) {
        for (int i = 0; i < 2; i++) {
            plain_send(peer, "x", 1);
            for (uint32_t spin = random_below(&random, 300); spin > 0; spin--)
                atomic_thread_fence(memory_order_seq_cst);
        }
        sent += 2;
        const uint64_t give_up = now_ns() + PATIENCE_S * 500000000ull;
        while (bytes.popped != sent)
            must_hold(now_ns() < give_up && !bytes.failed, "round %d: a byte never came", round);
    }
    close(peer);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    must_hold(bytes.failed == 0, "a pop failed");
    must(demi_close(bytes.qd));
}

/* The kernel told a push of the reset, and a pop then read an end: a relay passed that on. */
static void test_reset_that_a_push_was_told_is_no_end_for_a_pop(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    int qd, peer;
    plain_pair(&qd, &peer);
    plain_send(peer, "x", 1);
    plain_reset(peer);
    demi_sgarray_t sga = demi_sgaalloc(1);
    assert_int_equal(push_outcome(qd, &sga), ECONNRESET);
    must(demi_sgafree(&sga));
    demi_qresult_t qr = wait_success(pop_start(qd), DEMI_OPC_POP); /* what came before it */
    assert_int_equal(qr.qr_value.sga.sga_segs[0].sgaseg_len, 1);
    must(demi_sgafree(&qr.qr_value.sga));
    assert_int_equal(wait_failure(pop_start(qd)), ECONNRESET);
    assert_int_equal(wait_failure(pop_start(qd)), ECONNRESET);
    must(demi_close(qd));
}

int main(int argc, char **argv)
{
    if (argc != 2 || !backend_choose(argv[1])) {
        fprintf(stderr, "usage: regress BACKEND\n");
        return 2;
    }
    const char *missing = backend_missing();
    if (missing != NULL) {
        printf("skipped: %s\n", missing);
        return 77;
    }
#define STARTED(f) cmocka_unit_test_setup_teardown(f, library_setup, library_teardown)
    const struct CMUnitTest tests[] = {
        STARTED(test_event_of_a_socket_closed_meanwhile_is_dropped),
        STARTED(test_fini_while_a_waiter_is_between_two_sleeps_is_ebusy),
        STARTED(test_lead_is_passed_on_by_a_thread_whose_operation_completed),
        STARTED(test_event_fetched_while_another_thread_reads_is_not_old_news),
        STARTED(test_reset_that_a_push_was_told_is_no_end_for_a_pop),
    };
    return cmocka_run_group_tests_name("regress", tests, NULL, NULL);
}
