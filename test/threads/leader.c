/* SPDX-License-Identifier: MIT */
/* Leader and followers: each completion wakes its own thread, none is lost, and a leader that spins
 * does not keep others out. */
#include "groups.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { THREADS = 8 };

struct wakers {
    struct pair pairs[THREADS];
    demi_qtoken_t pops[THREADS];
    atomic_int returned[THREADS];
    atomic_long switches[THREADS]; /* voluntary, while waiting */
    atomic_bool stop;
};

static long voluntary_switches(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

/* Waits, counts, issues the next pop, until an element with tag 0. */
static void wait_and_count(int index, void *arg)
{
    struct wakers *wakers = arg;
    for (;;) {
        const long before = voluntary_switches();
        demi_qresult_t qr;
        int error;
        do
            error = crew_wait(&qr, wakers->pops[index], DEMI_OPC_POP);
        while (error == EBUSY); /* the test looks whether this thread sleeps */
        CREW_MUST(error);
        uint64_t tag;
        memcpy(&tag, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof tag);
        CREW_MUST(demi_sgafree(&qr.qr_value.sga));
        wakers->switches[index] += voluntary_switches() - before;
        if (tag == 0)
            return;
        demi_qtoken_t qt;
        CREW_MUST(demi_pop(&qt, wakers->pairs[index].rx));
        wakers->pops[index] = qt;
        wakers->returned[index]++;
    }
}

static void await_asleep(demi_qtoken_t qt)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    demi_qresult_t qr;
    while (must_either(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT, EBUSY) != EBUSY)
        must_hold(now_ns() < give_up, "a thread does not wait");
}

static void await_count(const atomic_int *count, int value)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    while (*count != value) {
        must_hold(now_ns() < give_up && !crew_failed(), "a thread is not woken");
        sched_yield();
    }
}

static void push_tag(int qd, uint64_t tag)
{
    must(crew_push_tag(qd, tag));
}

static void test_completion_wakes_the_thread_that_waits_for_it_and_no_other(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    const int rounds = crew_rounds(400);
    struct wakers *wakers = calloc(1, sizeof *wakers);
    int expected[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        wakers->pairs[i] = pair_make();
        wakers->pops[i] = pop_start(wakers->pairs[i].rx);
    }
    uint64_t before = 0, after = 0, done_before = 0, done_after = 0;
    assert_true(stat_value("core.wakeups", &before));
    assert_true(stat_value("core.completions", &done_before));
    crew_start(THREADS, wait_and_count, wakers);
    for (int i = 0; i < THREADS; i++)
        await_asleep(wakers->pops[i]);
    for (int round = 0; round < rounds; round++) {
        const uint32_t i = random_below(&random, THREADS);
        push_tag(wakers->pairs[i].tx, 1);
        await_count(&wakers->returned[i], ++expected[i]);
        for (int k = 0; k < THREADS; k++)
            must_hold(wakers->returned[k] == expected[k], "thread %d returned too", k);
    }
    for (int i = 0; i < THREADS; i++)
        push_tag(wakers->pairs[i].tx, 0);
    crew_join();
    assert_true(stat_value("core.wakeups", &after));
    assert_true(stat_value("core.completions", &done_after));
    must_hold(after - before <= done_after - done_before, "%llu wake-ups for %llu completions",
              (unsigned long long)(after - before), (unsigned long long)(done_after - done_before));
    long switches = 0;
    for (int i = 0; i < THREADS; i++)
        switches += wakers->switches[i];
    must_hold(switches < 6l * rounds, "%ld switches of %d waiting threads in %d rounds: a herd",
              switches, THREADS, rounds);
    for (int i = 0; i < THREADS; i++)
        pair_close(wakers->pairs[i]);
    free(wakers);
}

struct ring {
    struct pair pairs[THREADS];
    int threads;
    uint64_t hops;
};

/* Passes on what arrives, one hop less, until it has none left; then everybody is told. */
static void pass_on(int index, void *arg)
{
    struct ring *ring = arg;
    for (;;) {
        uint64_t left;
        CREW_MUST(crew_pop_tag(ring->pairs[index].rx, &left));
        CREW_MUST(
            crew_push_tag(ring->pairs[(index + 1) % ring->threads].tx, left == 0 ? 0 : left - 1));
        if (left == 0)
            return;
        CREW_CHECK(!crew_failed());
    }
}

static void run_ring(int threads, uint64_t hops)
{
    struct ring *ring = calloc(1, sizeof *ring);
    ring->threads = threads;
    for (int i = 0; i < threads; i++)
        ring->pairs[i] = pair_make();
    crew_start(threads, pass_on, ring);
    push_tag(ring->pairs[0].tx, hops);
    crew_join();
    for (int i = 0; i < threads; i++)
        pair_close(ring->pairs[i]);
    free(ring);
}

static void test_ring_of_threads_one_element_never_sticks(void **state)
{
    (void)state;
    const uint64_t hops = (uint64_t)crew_rounds(6000);
    run_ring(2, hops);
    run_ring(3, hops);
    run_ring(THREADS, hops);
}

struct echoes {
    struct pair pairs[THREADS];
    int rounds;
};

/* Each thread its own pair: many leaders that come and go. */
static void echo_own(int index, void *arg)
{
    struct echoes *echoes = arg;
    for (int i = 0; i < echoes->rounds; i++) {
        const uint64_t tag = (uint64_t)index << 32 | (uint64_t)i;
        uint64_t got = 0;
        CREW_MUST(crew_push_tag(echoes->pairs[index].tx, tag));
        CREW_MUST(crew_pop_tag(echoes->pairs[index].rx, &got));
        CREW_CHECK(got == tag);
        CREW_CHECK(!crew_failed());
    }
}

static void test_threads_echo_each_on_its_own_pair(void **state)
{
    (void)state;
    struct echoes *echoes = calloc(1, sizeof *echoes);
    echoes->rounds = crew_rounds(2500);
    for (int i = 0; i < THREADS; i++)
        echoes->pairs[i] = pair_make();
    crew_start(THREADS, echo_own, echoes);
    crew_join();
    for (int i = 0; i < THREADS; i++)
        pair_close(echoes->pairs[i]);
    free(echoes);
}

/* Pops before the push, with the wait_any of a server: the array keeps, one token is replaced. */
struct server {
    struct pair pairs[THREADS];
    atomic_int served;
    int requests;
};

static void serve(int index, void *arg)
{
    struct server *server = arg;
    if (index > 0) { /* clients */
        for (int i = 0; i < server->requests; i++)
            CREW_MUST(crew_push_tag(server->pairs[index].tx, (uint64_t)index << 32 | (uint64_t)i));
        return;
    }
    demi_qtoken_t qts[THREADS];
    uint64_t next[THREADS] = {0};
    for (int i = 1; i < THREADS; i++)
        CREW_MUST(demi_pop(&qts[i - 1], server->pairs[i].rx));
    const struct timespec patience = {PATIENCE_S, 0};
    for (int left = (THREADS - 1) * server->requests; left > 0; left--) {
        demi_qresult_t qr;
        int at = -1;
        CREW_MUST(demi_wait_any(&qr, &at, qts, THREADS - 1, &patience));
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_POP && at >= 0 && at < THREADS - 1);
        CREW_CHECK(qr.qr_qd == server->pairs[at + 1].rx);
        demi_sgarray_t sga = qr.qr_value.sga;
        uint64_t tag;
        CREW_CHECK(sga.sga_numsegs == 1 && sga.sga_segs[0].sgaseg_len % sizeof tag == 0);
        for (uint32_t k = 0; k < sga.sga_segs[0].sgaseg_len; k += sizeof tag) {
            memcpy(&tag, (char *)sga.sga_segs[0].sgaseg_buf + k, sizeof tag);
            CREW_CHECK(tag == ((uint64_t)(at + 1) << 32 | next[at]));
            next[at]++;
            left -= k > 0; /* a stream joins elements */
        }
        CREW_MUST(demi_sgafree(&sga));
        CREW_MUST(demi_pop(&qts[at], server->pairs[at + 1].rx));
    }
}

static void test_one_thread_serves_what_the_others_push(void **state)
{
    (void)state;
    backend_needs(CAN_RELIABLE); /* nothing holds the clients back */
    struct server *server = calloc(1, sizeof *server);
    server->requests = crew_rounds(1500);
    for (int i = 1; i < THREADS; i++)
        server->pairs[i] = pair_make();
    crew_start(THREADS, serve, server);
    crew_join();
    for (int i = 1; i < THREADS; i++)
        pair_close(server->pairs[i]);
    free(server);
}

struct many {
    int qd;
    int each;
    atomic_uint *seen;
    atomic_int left;
};

enum { PRODUCERS = 4, CONSUMERS = 4 };

/* The first half pushes; the second pops what anybody pushed. Every element exactly once. */
static void produce_consume(int index, void *arg)
{
    struct many *many = arg;
    if (index < PRODUCERS) {
        for (int i = 0; i < many->each; i++)
            CREW_MUST(crew_push_tag(many->qd, (uint64_t)(index * many->each + i)));
        return;
    }
    while (many->left-- > 0) {
        uint64_t tag = 0;
        CREW_MUST(crew_pop_tag(many->qd, &tag));
        CREW_CHECK(tag < (uint64_t)(PRODUCERS * many->each));
        CREW_CHECK(many->seen[tag]++ == 0);
    }
}

static void test_many_producers_and_consumers_of_one_queue(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    for (uint32_t capacity = 0; capacity <= 4; capacity += 2) {
        struct many many = {.each = crew_rounds(2500)};
        const int total = PRODUCERS * many.each;
        many.left = total;
        many.seen = calloc((size_t)total, sizeof *many.seen);
        must(demi_queue(&many.qd, capacity));
        crew_start(PRODUCERS + CONSUMERS, produce_consume, &many);
        crew_join();
        for (int i = 0; i < total; i++)
            must_hold(many.seen[i] == 1, "element %d came %u times", i, many.seen[i]);
        must(demi_close(many.qd));
        free(many.seen);
    }
}

static void wait_for_ever(int index, void *arg)
{
    struct pair *pairs = arg;
    uint64_t tag;
    CREW_MUST(crew_pop_tag(pairs[index].rx, &tag));
    CREW_CHECK(tag == 1);
}

/* Threads wait for what comes last; meanwhile this thread's calls go on, control and data path. */
static void test_waiting_threads_do_not_keep_others_out(void **state)
{
    (void)state;
    struct pair waiting[3];
    for (int i = 0; i < 3; i++)
        waiting[i] = pair_make();
    struct pair pair = pair_make();
    crew_start(3, wait_for_ever, waiting);
    uint64_t longest = 0;
    for (int i = 0; i < crew_rounds(300); i++) {
        const uint64_t start = now_ns();
        struct pair fresh = pair_make();
        demi_qtoken_t qt = pop_start(fresh.rx);
        must(demi_cancel(qt));
        pair_close(fresh);
        push_tag(pair.tx, 7);
        uint64_t tag = 0;
        must(crew_pop_tag(pair.rx, &tag));
        assert_int_equal(tag, 7);
        const uint64_t took = now_ns() - start;
        longest = took > longest ? took : longest;
    }
    for (int i = 0; i < 3; i++)
        push_tag(waiting[i].tx, 1);
    crew_join();
    must_hold(longest < 3000000000u, "a round of calls took %d ms", (int)(longest / 1000000));
    for (int i = 0; i < 3; i++)
        pair_close(waiting[i]);
    pair_close(pair);
}

static void wait_for_token(int index, void *arg)
{
    (void)index;
    demi_qresult_t qr;
    int error;
    do
        error = crew_wait(&qr, *(demi_qtoken_t *)arg, DEMI_OPC_POP);
    while (error == EBUSY);
    CREW_MUST(error);
    CREW_MUST(demi_sgafree(&qr.qr_value.sga));
}

static void test_fini_while_a_thread_waits_is_ebusy(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = pop_start(pair.rx);
    crew_start(1, wait_for_token, &qt);
    await_asleep(qt);
    must_fail(demi_fini(), EBUSY);
    must_fail(demi_fini(), EBUSY);
    push_tag(pair.tx, 1);
    crew_join();
    pair_close(pair);
}

int run_leader_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_completion_wakes_the_thread_that_waits_for_it_and_no_other),
        STARTED(test_ring_of_threads_one_element_never_sticks),
        STARTED(test_threads_echo_each_on_its_own_pair),
        STARTED(test_one_thread_serves_what_the_others_push),
        STARTED(test_many_producers_and_consumers_of_one_queue),
        STARTED(test_waiting_threads_do_not_keep_others_out),
        STARTED(test_fini_while_a_thread_waits_is_ebusy),
    };
    return cmocka_run_group_tests_name("leader", tests, NULL, NULL);
}
