/* SPDX-License-Identifier: MIT */
/*
 * Threads do anything to shared queues, in rounds of two phases.
 *
 * Chaos: each thread pushes, pops, cancels its own and others' operations, waits in every way,
 * closes and shuts down queues, all at random. Each token must come to its end exactly once: its
 * place in `live` is taken when it is issued and emptied by whoever collects or cancels it.
 *
 * Calm: every thread waits for an element of a queue of its own, the main thread sends one to each,
 * and no other call is made: whatever chaos left, somebody must lead, and each must wake.
 *
 * Sockets have plain peers, which the main thread reads and writes without calling the library.
 */
#include "groups.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 8, SHARED = 8, OWN = 6, LIVE = 8192, CHAOS_NS = 4000000 };

enum phase { CHAOS, CALM, END };

struct end { /* of a queue */
    atomic_int qd;
    int peer; /* a plain socket, or -1 */
};

static struct {
    struct end shared[SHARED]; /* qd -1: closed, the main thread makes another */
    struct end own[THREADS];
    _Atomic demi_qtoken_t live[LIVE];
    atomic_int phase;
    atomic_int round;
    atomic_int arrived;
    atomic_ulong steps;
    uint64_t seed;
} all;

struct worker {
    int index;
    uint64_t random;
    demi_qtoken_t qts[OWN];
    int num;
};

static const struct timespec patience = {PATIENCE_S, 0}, no_time = {0, 0};

/* Every other shared queue is of the backend, the others are memory queues of several sizes. */
static void end_make(struct end *end, int index)
{
    struct sockaddr_storage addr, peer_addr;
    socklen_t len, peer_len;
    int qd = -1;
    end->peer = -1;
    if (!backend_can(CAN_SOCKET) || index % 2 == 1) {
        must(demi_queue(&qd, (uint32_t)(index % 4 == 1 ? 0 : index)));
    } else if (backend_can(CAN_LISTEN)) {
        plain_pair(&qd, &end->peer);
    } else {
        qd = datagram_make(&addr, &len);
        end->peer = socket(backend()->domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        peer_len = loopback(backend()->domain, 0, &peer_addr);
        assert_int_equal(bind(end->peer, (struct sockaddr *)&peer_addr, peer_len), 0);
        getsockname(end->peer, (struct sockaddr *)&peer_addr, &peer_len);
        assert_int_equal(connect(end->peer, (struct sockaddr *)&addr, len), 0);
        demi_qtoken_t qt;
        must(demi_connect(&qt, qd, (struct sockaddr *)&peer_addr, peer_len));
        wait_success(qt, DEMI_OPC_CONNECT);
    }
    end->qd = qd;
}

static void end_close(struct end *end)
{
    if (end->qd >= 0)
        must(demi_close(end->qd));
    if (end->peer >= 0)
        close(end->peer);
}

/* A token was issued: nobody else has its place, at most somebody who is about to empty it. */
static void issued(struct worker *w, demi_qtoken_t qt)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    const size_t place = (size_t)(qt & 0xffffff);
    demi_qtoken_t none = 0;
    CREW_CHECK(place < LIVE && w->num < OWN);
    while (!atomic_compare_exchange_weak(&all.live[place], &none, qt)) {
        CREW_CHECK(now_ns() < give_up);
        none = 0;
    }
    w->qts[w->num++] = qt;
}

static bool is_live(demi_qtoken_t qt)
{
    return all.live[qt & 0xffffff] == qt;
}

/* A token came to its end, which happens once. */
static void resolved(demi_qtoken_t qt)
{
    demi_qtoken_t expected = qt;
    CREW_CHECK(atomic_compare_exchange_strong(&all.live[qt & 0xffffff], &expected, 0));
    all.steps++;
}

static void collected(const demi_qresult_t *qr)
{
    demi_sgarray_t sga = qr->qr_value.sga;
    resolved(qr->qr_qt);
    if (qr->qr_opcode == DEMI_OPC_POP)
        CREW_MUST(demi_sgafree(&sga));
    else
        CREW_CHECK(qr->qr_opcode == DEMI_OPC_PUSH || qr->qr_opcode == DEMI_OPC_FAILED);
}

/* Forgets what has come to its end; returns how many were forgotten. */
static int forget_ended(struct worker *w)
{
    int kept = 0;
    for (int i = 0; i < w->num; i++)
        if (is_live(w->qts[i]))
            w->qts[kept++] = w->qts[i];
    const int ended = w->num - kept;
    w->num = kept;
    return ended;
}

/* A wait for tokens ended without a result. Without a time-out another thread must have ended one
 * of them, or have waited for it. */
static void check_refusal(struct worker *w, int error, bool was_long)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    if (error == ETIMEDOUT) {
        CREW_CHECK(!was_long); /* a wake-up was lost */
    } else if (error == EINVAL || error == ECANCELED) {
        while (forget_ended(w) == 0) /* who ended it has not said so yet */
            CREW_CHECK(now_ns() < give_up);
    } else {
        CREW_CHECK(error == EBUSY);
    }
}

static void issue(struct worker *w, bool pop)
{
    const int qd = all.shared[random_below(&w->random, SHARED)].qd;
    demi_qtoken_t qt = 0;
    int error;
    if (pop) {
        error = demi_pop(&qt, qd);
    } else {
        demi_sgarray_t sga = demi_sgaalloc(1 + random_below(&w->random, 600));
        CREW_CHECK(sga.sga_buf != NULL);
        memset(sga.sga_segs[0].sgaseg_buf, 1, sga.sga_segs[0].sgaseg_len);
        error = demi_push(&qt, qd, &sga);
        CREW_MUST(demi_sgafree(&sga));
    }
    if (error == 0)
        issued(w, qt);
    else
        /* Closed meanwhile, or another queue in the making; EINVAL: that is a listener for now. */
        CREW_CHECK(error == EBADF || error == EPIPE || error == ENOTCONN || error == EDESTADDRREQ ||
                   (pop && error == EINVAL));
}

/* None, a moment, or as long as it takes. */
static const struct timespec *choose_time(struct worker *w, struct timespec *moment)
{
    const uint32_t choice = random_below(&w->random, 12);
    *moment = (struct timespec){0, (long)random_below(&w->random, 80000)};
    return choice == 0 ? &patience : choice < 6 ? &no_time : moment;
}

static void wait_for_tokens(struct worker *w)
{
    struct timespec moment;
    const struct timespec *time = choose_time(w, &moment);
    const int n = 1 + (int)random_below(&w->random, (uint32_t)w->num);
    const bool every = random_below(&w->random, 3) == 0;
    demi_qresult_t qrs[OWN];
    int at = -1;
    const int error =
        every ? demi_wait_all(qrs, w->qts, n, time) : demi_wait_any(qrs, &at, w->qts, n, time);
    if (error != 0) {
        check_refusal(w, error, time == &patience);
        return;
    }
    for (int i = 0; i < (every ? n : 1); i++) {
        CREW_CHECK(qrs[i].qr_qt == w->qts[every ? i : at]);
        collected(&qrs[i]);
    }
    forget_ended(w);
}

/* Others may end this thread's operations: such a wait need not have a result. */
static void wait_for_issued(struct worker *w)
{
    const struct timespec moment = {0, (long)random_below(&w->random, 80000)};
    const int n = 1 + (int)random_below(&w->random, OWN);
    demi_qresult_t qrs[OWN];
    int got = 0;
    const int error = random_below(&w->random, 2) == 0 ? demi_wait_some(qrs, n, &got, &moment)
                                                       : demi_wait_next_n(qrs, n, &got, &moment);
    CREW_CHECK(error == 0 || error == ETIMEDOUT);
    for (int i = 0; i < got; i++)
        collected(&qrs[i]);
    forget_ended(w);
}

/* Somebody else's operation: waits for it a moment, or cancels it. */
static void meddle(struct worker *w)
{
    const demi_qtoken_t qt = all.live[random_below(&w->random, 256)];
    const struct timespec moment = {0, (long)random_below(&w->random, 50000)};
    demi_qresult_t qr;
    if (qt == 0)
        return;
    if (random_below(&w->random, 2) == 0) {
        const int error = demi_cancel(qt);
        if (error == 0)
            resolved(qt);
        else
            CREW_CHECK(error == EINVAL || error == EALREADY || error == EBUSY);
    } else {
        const int error = demi_wait(&qr, qt, &moment);
        if (error == 0)
            collected(&qr);
        else
            CREW_CHECK(error == EINVAL || error == ETIMEDOUT || error == EBUSY ||
                       error == ECANCELED);
    }
}

static void end_a_queue(struct worker *w)
{
    static const int hows[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    struct end *end = &all.shared[random_below(&w->random, SHARED)];
    if (random_below(&w->random, 2) == 0) {
        const int error = demi_shutdown(end->qd, hows[random_below(&w->random, 3)]);
        CREW_CHECK(error == 0 || error == EBADF || error == ENOTCONN);
    }
    const int qd = atomic_exchange(&end->qd, -1);
    if (qd >= 0)
        CREW_MUST(demi_close(qd));
}

static void step(struct worker *w)
{
    const uint32_t choice = random_below(&w->random, 100);
    if (choice < 2)
        end_a_queue(w);
    else if (choice < 15)
        meddle(w);
    else if (choice < 60 && w->num < OWN)
        issue(w, choice < 40);
    else if (w->num > 0 && choice < 85)
        wait_for_tokens(w);
    else
        wait_for_issued(w);
}

/* Every operation comes to its end. */
static void end_all(struct worker *w)
{
    while (w->num > 0 && !crew_failed()) {
        const demi_qtoken_t qt = w->qts[0];
        const int error = demi_cancel(qt);
        demi_qresult_t qr;
        if (error == 0) {
            resolved(qt);
        } else if (error == EALREADY || error == EBUSY) {
            const int waited = demi_wait(&qr, qt, &patience);
            if (waited == 0)
                collected(&qr);
            else
                check_refusal(w, waited, true);
        } else {
            check_refusal(w, error, true);
        }
        forget_ended(w);
    }
}

/* Waits for the one element that comes, in a way that depends on the thread. */
static void calm(struct worker *w)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int at = 1;
    CREW_MUST(demi_pop(&qt, all.own[w->index].qd));
    if (w->index % 3 == 0)
        CREW_MUST(demi_wait_any(&qr, &at, &qt, 1, &patience));
    else if (w->index % 3 == 1)
        CREW_MUST(demi_wait_some(&qr, 1, &at, &patience));
    else
        CREW_MUST(demi_wait_next_n(&qr, 1, &at, &patience));
    CREW_CHECK(qr.qr_qt == qt && qr.qr_opcode == DEMI_OPC_POP);
    CREW_MUST(demi_sgafree(&qr.qr_value.sga));
}

/* The end of a phase: until the main thread begins the next. */
static void await_next(int *round)
{
    all.arrived++;
    while (all.round == *round && !crew_failed())
        sched_yield();
    *round = all.round;
}

static void stress_run(int index, void *arg)
{
    struct worker w = {.index = index, .random = all.seed + (uint64_t)index};
    int round = 0;
    (void)arg;
    await_next(&round);
    while (all.phase != END && !crew_failed()) {
        while (all.phase == CHAOS && !crew_failed())
            step(&w);
        end_all(&w);
        await_next(&round);
        if (all.phase == CALM)
            calm(&w);
        await_next(&round);
    }
}

/* Takes what was pushed to a plain socket, and sends something to whoever pops. */
static void feed(const struct end *end, bool pop)
{
    char bytes[4096];
    if (end->peer < 0) {
        demi_qtoken_t qt;
        demi_qresult_t qr;
        const int qd = end->qd;
        demi_sgarray_t sga = demi_sgaalloc(8);
        const int error = pop ? demi_pop(&qt, qd) : demi_push(&qt, qd, &sga);
        must(demi_sgafree(&sga));
        if (error != 0 || demi_cancel(qt) == 0)
            return;
        qr = wait_result(qt);
        if (qr.qr_opcode == DEMI_OPC_POP)
            must(demi_sgafree(&qr.qr_value.sga));
        return;
    }
    while (recv(end->peer, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    if (!pop)
        (void)send(end->peer, bytes, 8, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Replaces closed queues, and feeds all of them when nothing happens: then the threads wait for
 * what only others could do. */
static void keep_going(unsigned long *seen)
{
    for (int i = 0; i < SHARED; i++) {
        if (all.shared[i].qd >= 0)
            continue;
        end_close(&all.shared[i]);
        end_make(&all.shared[i], i);
    }
    if (all.steps != *seen) {
        *seen = all.steps;
        sched_yield();
        return;
    }
    for (int i = 0; i < SHARED; i++) {
        feed(&all.shared[i], false);
        feed(&all.shared[i], true);
    }
}

static void begin(enum phase phase)
{
    all.arrived = 0;
    all.phase = (int)phase;
    all.round++;
}

/* Returns when every thread is through with its phase. */
static void await_threads(bool feeding)
{
    const uint64_t give_up = now_ns() + 2 * PATIENCE_S * 1000000000ull;
    unsigned long seen = 0;
    while (all.arrived != THREADS && !crew_failed()) {
        must_hold(now_ns() < give_up, "%d of %d threads are through", all.arrived, THREADS);
        if (feeding)
            keep_going(&seen);
        else
            sched_yield();
    }
}

static void run_chaos(void)
{
    const uint64_t until = now_ns() + CHAOS_NS;
    unsigned long seen = 0;
    begin(CHAOS);
    while (now_ns() < until && !crew_failed())
        keep_going(&seen);
    all.phase = CALM;
    await_threads(true);
}

/* Some rounds wait until all sleep; in the others elements come while threads go to sleep. */
static void run_calm(uint64_t *random)
{
    const uint64_t give_up = now_ns() + 1000000; /* with poll=always not all do */
    const bool late = random_below(random, 2) == 0;
    uint64_t asleep = 0;
    begin(CALM);
    while (late && asleep < THREADS && now_ns() < give_up)
        stat_value("core.asleep", &asleep);
    const uint32_t first = random_below(random, THREADS);
    for (uint32_t i = 0; i < THREADS; i++) {
        const struct end *end = &all.own[(first + i) % THREADS];
        const uint64_t tag = 1;
        if (end->peer < 0)
            must(crew_push_tag(end->qd, tag));
        else
            plain_send(end->peer, &tag, sizeof tag);
    }
    await_threads(false);
}

static void test_anything_at_any_time_every_operation_ends_once(void **state)
{
    (void)state;
    memset(&all, 0, sizeof all);
    all.seed = seed_choose(__func__);
    uint64_t random = all.seed ^ UINT64_C(0x5bd1e995);
    for (int i = 0; i < SHARED; i++)
        end_make(&all.shared[i], i);
    for (int i = 0; i < THREADS; i++)
        end_make(&all.own[i], i);
    crew_start(THREADS, stress_run, NULL);
    await_threads(false);
    const uint64_t until = now_ns() + 3000000000u;
    int rounds = 0;
    for (; now_ns() < until && !crew_failed(); rounds++) {
        run_chaos();
        if (!crew_failed())
            run_calm(&random);
    }
    begin(END);
    crew_join();
    print_message("%d rounds, %lu operations\n", rounds, all.steps);
    for (int i = 0; i < LIVE; i++)
        must_hold(all.live[i] == 0, "an operation was lost");
    for (int i = 0; i < SHARED; i++)
        end_close(&all.shared[i]);
    for (int i = 0; i < THREADS; i++)
        end_close(&all.own[i]);
}

int run_stress_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_anything_at_any_time_every_operation_ends_once),
    };
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
