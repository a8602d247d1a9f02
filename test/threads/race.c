/* SPDX-License-Identifier: MIT */
/* Cancel, close, free and the end of a thread at any moment: nothing is lost, nobody waits for
 * ever. */
#include "groups.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { POPPER, PUSHER, CANCELLER, RACERS };

struct cancel_race {
    struct pair pair;
    uint64_t seed;
    int elements;
    _Atomic demi_qtoken_t token; /* what the popper waits for */
    atomic_bool done;
    int cancelled;
};

static void race_pop(struct cancel_race *race)
{
    uint64_t next = 0;
    while (next < (uint64_t)race->elements && !crew_failed()) {
        demi_qtoken_t qt;
        demi_qresult_t qr;
        CREW_MUST(demi_pop(&qt, race->pair.rx));
        race->token = qt;
        const struct timespec patience = {PATIENCE_S, 0};
        const int error = demi_wait(&qr, qt, &patience);
        if (error == ECANCELED || error == EINVAL) { /* cancelled in the wait, or before it */
            race->cancelled++;
            continue;
        }
        CREW_MUST(error);
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_POP);
        demi_sgarray_t sga = qr.qr_value.sga;
        CREW_CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len % sizeof next == 0);
        for (uint32_t at = 0; at < sga.sga_segs[0].sgaseg_len; at += sizeof next) {
            uint64_t tag;
            memcpy(&tag, (char *)sga.sga_segs[0].sgaseg_buf + at, sizeof tag);
            CREW_CHECK(tag == next);
            next++;
        }
        CREW_MUST(demi_sgafree(&sga));
    }
    race->done = true;
}

static void race_cancel(struct cancel_race *race)
{
    uint64_t random = race->seed;
    while (!race->done && !crew_failed()) {
        for (uint32_t spin = random_below(&random, 2000); spin > 0; spin--)
            atomic_thread_fence(memory_order_seq_cst);
        const demi_qtoken_t qt = race->token;
        const int error = qt != 0 ? demi_cancel(qt) : 0;
        CREW_CHECK(error == 0 || error == EINVAL || error == EALREADY);
    }
}

static void cancel_race(int index, void *arg)
{
    struct cancel_race *race = arg;
    if (index == POPPER)
        race_pop(race);
    else if (index == CANCELLER)
        race_cancel(race);
    else
        for (int i = 0; i < race->elements && !crew_failed(); i++)
            CREW_MUST(crew_push_tag(race->pair.tx, (uint64_t)i));
    if (index == POPPER)
        race->done = true;
}

static void test_cancel_racing_completion_every_element_comes_once(void **state)
{
    (void)state;
    backend_needs(CAN_RELIABLE);
    struct cancel_race *race = calloc(1, sizeof *race);
    race->seed = seed_choose(__func__);
    race->pair = pair_make();
    race->elements = crew_rounds(4000);
    crew_start(RACERS, cancel_race, race);
    crew_join();
    print_message("%d of the pops were cancelled\n", race->cancelled);
    pair_close(race->pair);
    free(race);
}

struct cancel_together {
    pthread_barrier_t barrier;
    demi_qtoken_t token;
    atomic_int cancelled;
    int qd;
    int rounds;
};

/* All cancel the same operation: one succeeds, and to the others it is gone. */
static void cancel_together(int index, void *arg)
{
    struct cancel_together *race = arg;
    for (int i = 0; i < race->rounds; i++) {
        if (index == 0) {
            const int error = demi_pop(&race->token, race->qd);
            if (error != 0)
                crew_fails_errno("demi_pop", error, __FILE__, __LINE__);
            race->cancelled = 0;
        }
        pthread_barrier_wait(&race->barrier);
        const int error = demi_cancel(race->token);
        if (error == 0)
            race->cancelled++;
        else if (error != EINVAL)
            crew_fails_errno("demi_cancel", error, __FILE__, __LINE__);
        pthread_barrier_wait(&race->barrier);
        if (race->cancelled != 1)
            crew_fails("one of the cancels succeeds", __FILE__, __LINE__);
        pthread_barrier_wait(&race->barrier);
    }
}

static void test_cancel_by_several_threads_succeeds_once(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct cancel_together race = {.qd = pair.rx, .rounds = crew_rounds(2000)};
    assert_int_equal(pthread_barrier_init(&race.barrier, NULL, 3), 0);
    crew_start(3, cancel_together, &race);
    crew_join();
    pthread_barrier_destroy(&race.barrier);
    pair_close(pair);
}

struct close_race {
    struct pair pair;
    demi_qtoken_t pops[4];
    demi_qtoken_t cancelled;
};

static void wait_for_close(int index, void *arg)
{
    struct close_race *race = arg;
    const struct timespec patience = {PATIENCE_S, 0};
    if (index == 0) {
        CREW_MUST(demi_close(race->pair.rx));
        return;
    }
    demi_qresult_t qr;
    CREW_MUST(demi_wait(&qr, race->pops[index], &patience));
    CREW_CHECK(qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ECANCELED);
    CREW_CHECK(qr.qr_qd == race->pair.rx);
}

static void test_close_racing_waits_ends_them_all(void **state)
{
    (void)state;
    for (int round = 0; round < 150; round++) {
        struct close_race race = {.pair = pair_make()};
        for (int i = 1; i < 4; i++)
            race.pops[i] = pop_start(race.pair.rx);
        crew_start(4, wait_for_close, &race);
        crew_join();
        if (race.pair.tx != race.pair.rx)
            must(demi_close(race.pair.tx));
    }
}

struct use_after_close {
    struct pair pair;
    atomic_int running;
};

/* One closes; the others use the descriptor until it is bad. Nothing may happen to another queue.
 */
static void use_until_closed(int index, void *arg)
{
    struct use_after_close *use = arg;
    if (index == 0) {
        while (use->running < 3 && !crew_failed())
            sched_yield();
        CREW_MUST(demi_close(use->pair.rx));
        return;
    }
    const struct timespec moment = {0, 20000};
    bool counted = false;
    for (;;) {
        demi_qtoken_t qt;
        int error = demi_pop(&qt, use->pair.rx);
        if (error == EBADF)
            return;
        CREW_MUST(error);
        demi_qresult_t qr;
        error = demi_wait(&qr, qt, &moment);
        if (error == ETIMEDOUT)
            error = demi_cancel(qt) == EALREADY ? demi_wait(&qr, qt, NULL) : ETIMEDOUT;
        if (error == 0)
            CREW_CHECK(qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ECANCELED);
        else
            CREW_CHECK(error == ETIMEDOUT);
        if (!counted)
            use->running++;
        counted = true;
    }
}

static void test_close_while_others_use_the_descriptor(void **state)
{
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct use_after_close use = {.pair = pair_make()};
        crew_start(4, use_until_closed, &use);
        crew_join();
        if (use.pair.tx != use.pair.rx)
            must(demi_close(use.pair.tx));
    }
}

struct free_race {
    demi_sgarray_t sga;
    atomic_int freed;
    pthread_barrier_t barrier;
    int rounds;
};

/* All free the same sga: one succeeds. */
static void free_together(int index, void *arg)
{
    struct free_race *race = arg;
    for (int i = 0; i < race->rounds; i++) {
        if (index == 0) {
            race->freed = 0;
            race->sga = demi_sgaalloc(100);
        }
        pthread_barrier_wait(&race->barrier);
        demi_sgarray_t copy = race->sga;
        const int error = demi_sgafree(&copy);
        if (error == 0)
            race->freed++;
        else if (error != EINVAL)
            crew_fails_errno("demi_sgafree", error, __FILE__, __LINE__);
        pthread_barrier_wait(&race->barrier);
        if (race->freed != 1)
            crew_fails("one of the frees succeeds", __FILE__, __LINE__);
        pthread_barrier_wait(&race->barrier);
    }
}

static void test_free_by_several_threads_succeeds_once(void **state)
{
    (void)state;
    struct free_race race = {.rounds = 1000};
    assert_int_equal(pthread_barrier_init(&race.barrier, NULL, 3), 0);
    crew_start(3, free_together, &race);
    crew_join();
    pthread_barrier_destroy(&race.barrier);
}

/* Buffers allocated here and freed there, clones among them. */
struct free_elsewhere {
    int qd;
    int elements;
};

static void free_elsewhere(int index, void *arg)
{
    struct free_elsewhere *there = arg;
    for (int i = 0; i < there->elements; i++) {
        if (index % 2 == 0) {
            demi_sgarray_t sga = demi_sgaalloc(1 + (size_t)(i * 97 % 3000));
            CREW_CHECK(sga.sga_buf != NULL);
            memset(sga.sga_segs[0].sgaseg_buf, i, sga.sga_segs[0].sgaseg_len);
            demi_sgarray_t clone;
            CREW_MUST(demi_sgaclone(&clone, &sga));
            CREW_MUST(demi_blocking_push(there->qd, &clone));
            CREW_MUST(demi_sgafree(&clone));
            const uint8_t *bytes = sga.sga_segs[0].sgaseg_buf;
            CREW_CHECK(bytes[sga.sga_segs[0].sgaseg_len - 1] == (uint8_t)i);
            CREW_MUST(demi_sgafree(&sga));
        } else {
            demi_qresult_t qr;
            CREW_MUST(demi_blocking_pop(there->qd, &qr));
            demi_sgarray_t sga = qr.qr_value.sga;
            const uint8_t *bytes = sga.sga_segs[0].sgaseg_buf;
            CREW_CHECK(bytes[0] == bytes[sga.sga_segs[0].sgaseg_len - 1]);
            CREW_MUST(demi_sgafree(&sga));
        }
    }
}

static void test_buffers_allocated_here_are_freed_there(void **state)
{
    (void)state;
    struct free_elsewhere there = {.elements = crew_rounds(3000)};
    must(demi_queue(&there.qd, 16));
    crew_start(4, free_elsewhere, &there);
    crew_join();
    must(demi_close(there.qd));
}

struct leaver {
    struct pair pairs[4];
    demi_qtoken_t pops[4];
};

static void issue_and_leave(int index, void *arg)
{
    struct leaver *leaver = arg;
    CREW_MUST(demi_pop(&leaver->pops[index], leaver->pairs[index].rx));
    demi_qresult_t qr; /* has led, too */
    CREW_CHECK(demi_wait(&qr, leaver->pops[index], ZERO_TIME) == ETIMEDOUT);
}

static void test_thread_that_ended_leaves_its_operations_to_others(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        struct leaver leaver;
        for (int i = 0; i < 4; i++)
            leaver.pairs[i] = pair_make();
        crew_start(4, issue_and_leave, &leaver);
        crew_join();
        for (uint64_t i = 0; i < 4; i++) {
            must(crew_push_tag(leaver.pairs[i].tx, i + 10));
            demi_qresult_t qr = wait_success(leaver.pops[i], DEMI_OPC_POP);
            assert_int_equal(sga_bytes(&qr.qr_value.sga), 8);
            must(demi_sgafree(&qr.qr_value.sga));
            pair_close(leaver.pairs[i]);
        }
    }
}

struct makers {
    atomic_int made;
};

static void make_and_close(int index, void *arg)
{
    struct makers *makers = arg;
    for (int i = 0; i < 300; i++) {
        int qd = -1;
        if (backend_can(CAN_SOCKET) && index % 2 == 0) {
            struct sockaddr_storage addr;
            const socklen_t len = loopback(backend()->domain, 0, &addr);
            CREW_MUST(demi_socket(&qd, backend()->domain, backend()->type, 0));
            CREW_MUST(demi_bind(qd, (struct sockaddr *)&addr, len));
            if (backend_can(CAN_LISTEN))
                CREW_MUST(demi_listen(qd, 4));
        } else {
            CREW_MUST(demi_queue(&qd, 0));
            uint64_t got = 0;
            CREW_MUST(crew_push_tag(qd, (uint64_t)index << 32 | (uint64_t)i));
            CREW_MUST(crew_pop_tag(qd, &got));
            CREW_CHECK(got == ((uint64_t)index << 32 | (uint64_t)i));
        }
        CREW_MUST(demi_close(qd));
        makers->made++;
    }
}

static void test_queues_made_and_closed_by_many_threads(void **state)
{
    (void)state;
    struct makers makers = {0};
    crew_start(6, make_and_close, &makers);
    crew_join();
    assert_int_equal(makers.made, 6 * 300);
}

int run_race_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_cancel_racing_completion_every_element_comes_once),
        STARTED(test_cancel_by_several_threads_succeeds_once),
        STARTED(test_close_racing_waits_ends_them_all),
        STARTED(test_close_while_others_use_the_descriptor),
        STARTED(test_free_by_several_threads_succeeds_once),
        STARTED(test_buffers_allocated_here_are_freed_there),
        STARTED(test_thread_that_ended_leaves_its_operations_to_others),
        STARTED(test_queues_made_and_closed_by_many_threads),
    };
    return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
