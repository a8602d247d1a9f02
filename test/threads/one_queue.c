/* SPDX-License-Identifier: MIT */
/*
 * Many threads wait for one queue: who is woken, counted. All of them sleep before each element
 * comes, which their number in core.asleep tells, so that what one element costs can be told from
 * what the next does. The peer of a socket is a plain one: it takes no part in leading.
 */
#include "groups.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAITERS = 16, PRIVATE = 6 };

struct crowd {
    int qd;   /* all pop this one */
    int peer; /* a plain socket, or -1: pushed to with qd */
    demi_qtoken_t pops[WAITERS];
    int errors[WAITERS];
    atomic_int popped;
    atomic_bool stop;
};

/* What the counters say since they were last looked at. */
struct woken {
    uint64_t wakeups;
    uint64_t handovers;
};

static bool is_memory(void)
{
    return !backend_can(CAN_SOCKET);
}

/* With poll=always the leader of a device never sleeps. */
static uint64_t sleepers(void)
{
    return backend_spins() && !is_memory() ? WAITERS - 1 : WAITERS;
}

static void await_asleep(uint64_t threads)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    uint64_t asleep;
    while (stat_value("core.asleep", &asleep) && asleep != threads) {
        must_hold(now_ns() < give_up && !crew_failed(), "%d threads sleep, not %d", (int)asleep,
                  (int)threads);
        sched_yield();
    }
}

static void await_popped(struct crowd *crowd, int elements)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    while (crowd->popped != elements) {
        must_hold(now_ns() < give_up && !crew_failed(), "%d elements came, not %d", crowd->popped,
                  elements);
        sched_yield();
    }
}

static struct woken woken_since(struct woken *before)
{
    struct woken now;
    assert_true(stat_value("core.wakeups", &now.wakeups));
    assert_true(stat_value("core.handovers", &now.handovers));
    const struct woken since = {now.wakeups - before->wakeups, now.handovers - before->handovers};
    *before = now;
    return since;
}

static struct crowd *crowd_make(void)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    struct sockaddr_storage addr;
    socklen_t len;
    crowd->peer = -1;
    if (is_memory()) {
        must(demi_queue(&crowd->qd, 0));
    } else if (backend_can(CAN_LISTEN)) {
        plain_pair(&crowd->qd, &crowd->peer);
    } else {
        crowd->qd = datagram_make(&addr, &len);
        crowd->peer = socket(backend()->domain, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(crowd->peer, (struct sockaddr *)&addr, len), 0);
    }
    return crowd;
}

static void crowd_free(struct crowd *crowd)
{
    if (crowd->peer >= 0)
        close(crowd->peer);
    free(crowd);
}

static void crowd_push(struct crowd *crowd, uint64_t tag)
{
    if (crowd->peer < 0)
        must(crew_push_tag(crowd->qd, tag));
    else
        plain_send(crowd->peer, &tag, sizeof tag);
}

/* Waits for one of several tokens of which only the last is ever completed. */
static int wait_among_others(demi_qresult_t *qr, demi_qtoken_t others[], demi_qtoken_t qt)
{
    const struct timespec patience = {PATIENCE_S, 0};
    int at = -1;
    others[PRIVATE - 1] = qt;
    const int error = demi_wait_any(qr, &at, others, PRIVATE, &patience);
    return error != 0 || at == PRIVATE - 1 ? error : EPROTO;
}

/* Pops in the ways to wait that there are, each thread in its own, until it is told to stop. */
static void pop_shared(int index, void *arg)
{
    struct crowd *crowd = arg;
    const struct timespec patience = {PATIENCE_S, 0};
    int own = -1;
    demi_qtoken_t qt, others[PRIVATE];
    CREW_MUST(demi_queue(&own, 0));
    for (int i = 0; i < PRIVATE - 1; i++)
        CREW_MUST(demi_pop(&others[i], own));
    while (!crowd->stop) {
        demi_qresult_t qr;
        int n = 1;
        CREW_MUST(demi_pop(&qt, crowd->qd));
        if (index % 4 == 0)
            CREW_MUST(demi_wait(&qr, qt, &patience));
        else if (index % 4 == 1)
            CREW_MUST(demi_wait_all(&qr, &qt, 1, &patience));
        else if (index % 4 == 2)
            CREW_MUST(wait_among_others(&qr, others, qt));
        else
            CREW_MUST(demi_wait_some(&qr, 1, &n, &patience));
        CREW_CHECK(n == 1 && qr.qr_opcode == DEMI_OPC_POP && qr.qr_qt == qt);
        CREW_CHECK(qr.qr_value.sga.sga_segs[0].sgaseg_len == sizeof(uint64_t));
        CREW_MUST(demi_sgafree(&qr.qr_value.sga));
        crowd->popped++;
    }
    CREW_MUST(demi_close(own));
}

/* What one element may cost: on a memory queue one wake-up; on a socket none when the thread that
 * slept in the device gets it, but then the lead is handed over. */
static void check_cost(struct woken cost, int element)
{
    if (is_memory())
        must_hold(cost.wakeups == 1 && cost.handovers == 0,
                  "element %d: %d wake-ups, %d hand-overs", element, (int)cost.wakeups,
                  (int)cost.handovers);
    else
        must_hold(cost.wakeups <= 1 && cost.handovers <= 1,
                  "element %d: %d wake-ups, %d hand-overs", element, (int)cost.wakeups,
                  (int)cost.handovers);
}

/* The last one to come may have looked at the device while the others fell asleep: then it hands
 * over, and that is not what a test counts. Waits until there was none of it for a while. */
static void settle(void)
{
    const struct timespec while_ns = {0, 20 * 1000 * 1000};
    struct woken seen = {0}, cost;
    woken_since(&seen);
    do {
        nanosleep(&while_ns, NULL);
        cost = woken_since(&seen);
    } while (cost.wakeups + cost.handovers > 0);
}

static void test_element_of_a_queue_that_many_wait_for_wakes_one(void **state)
{
    (void)state;
    const int elements = crew_rounds(under_sanitizer() ? 100 : 400);
    struct crowd *crowd = crowd_make();
    struct woken seen = {0}, all = {0};
    crew_start(WAITERS, pop_shared, crowd);
    await_asleep(sleepers());
    settle();
    woken_since(&seen);
    for (int i = 0; i < elements; i++) {
        crowd_push(crowd, 1);
        await_popped(crowd, i + 1);
        await_asleep(sleepers());
        const struct woken cost = woken_since(&seen);
        check_cost(cost, i);
        all.wakeups += cost.wakeups;
        all.handovers += cost.handovers;
    }
    print_message("%d elements: %d wake-ups, %d hand-overs\n", elements, (int)all.wakeups,
                  (int)all.handovers);
    crowd->stop = true;
    for (int i = 0; i < WAITERS; i++) {
        crowd_push(crowd, 1);
        await_popped(crowd, elements + i + 1);
    }
    crew_join();
    must(demi_close(crowd->qd));
    crowd_free(crowd);
}

/* One token, issued by the test; the thread says how its wait ended. */
static void wait_for_pop(int index, void *arg)
{
    struct crowd *crowd = arg;
    const struct timespec patience = {PATIENCE_S, 0};
    demi_qresult_t qr;
    crowd->errors[index] = demi_wait(&qr, crowd->pops[index], &patience);
    if (crowd->errors[index] == 0 && qr.qr_opcode == DEMI_OPC_FAILED)
        crowd->errors[index] = (int)qr.qr_ret;
    crowd->popped++;
}

static struct crowd *crowd_asleep(void)
{
    struct crowd *crowd = crowd_make();
    for (int i = 0; i < WAITERS; i++)
        crowd->pops[i] = pop_start(crowd->qd);
    crew_start(WAITERS, wait_for_pop, crowd);
    await_asleep(sleepers());
    settle();
    return crowd;
}

/* A thread that leads for ever is never asleep: it may find its token gone instead. */
static void crowd_end(struct crowd *crowd)
{
    crew_join();
    for (int i = 0; i < WAITERS; i++)
        must_either(crowd->errors[i], ECANCELED, backend_spins() ? EINVAL : ECANCELED);
    crowd_free(crowd);
}

static void test_close_of_a_queue_that_many_wait_for_wakes_each_once(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_asleep();
    struct woken seen = {0};
    woken_since(&seen);
    must(demi_close(crowd->qd));
    crowd_end(crowd);
    const struct woken cost = woken_since(&seen);
    /* The device may have woken the thread that slept in it, for nothing. */
    const uint64_t least = is_memory() ? WAITERS : sleepers() - 1;
    must_hold(cost.wakeups >= least && cost.wakeups <= WAITERS, "%d wake-ups", (int)cost.wakeups);
    assert_int_equal(cost.handovers, 0);
}

static void test_cancel_of_one_of_many_wakes_its_thread(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_asleep();
    struct woken seen = {0};
    woken_since(&seen);
    for (int i = 0; i < WAITERS; i++) {
        must(demi_cancel(crowd->pops[i]));
        await_popped(crowd, i + 1);
        const struct woken cost = woken_since(&seen);
        must_hold(cost.wakeups == 0 && cost.handovers <= 1, "%d wake-ups, %d hand-overs",
                  (int)cost.wakeups, (int)cost.handovers);
    }
    must(demi_close(crowd->qd));
    crowd_end(crowd);
}

/* Calls that take the lead for their own length. */
static void test_calls_while_many_wait_wake_nobody(void **state)
{
    (void)state;
    struct crowd *crowd = crowd_asleep();
    struct woken seen = {0};
    struct sockaddr_storage addr;
    socklen_t len;
    woken_since(&seen);
    for (int i = 0; i < 200; i++) {
        if (is_memory()) {
            int qd;
            must(demi_queue(&qd, 0));
            must(demi_close(qd));
        } else {
            must(demi_close(datagram_make(&addr, &len)));
        }
        demi_qtoken_t qt = pop_start(crowd->qd);
        must(demi_cancel(qt));
    }
    const struct woken cost = woken_since(&seen);
    assert_int_equal(cost.wakeups, 0);
    assert_int_equal(cost.handovers, 0);
    must(demi_close(crowd->qd));
    crowd_end(crowd);
}

int run_one_queue_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_element_of_a_queue_that_many_wait_for_wakes_one),
        STARTED(test_close_of_a_queue_that_many_wait_for_wakes_each_once),
        STARTED(test_cancel_of_one_of_many_wakes_its_thread),
        STARTED(test_calls_while_many_wait_wake_nobody),
    };
    return cmocka_run_group_tests_name("one_queue", tests, NULL, NULL);
}
