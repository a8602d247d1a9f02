/* SPDX-License-Identifier: MIT */
/*
 * How many answers are held back: over a model of a server, its clients and its log, in virtual
 * time. The rate that comes about is compared with those of numbers that stay.
 */
#include "kv_unit.h"

#include "pace.h"

#define CLIENTS_MAX 64
#define PACED       (-1)
#define TURNS       20000

/* Times in nanoseconds. */
struct model {
    unsigned clients;
    int64_t run, send; /* a request; its answer */
    int64_t client;    /* between an answer and the next request; clients take turns */
    int64_t begin;     /* what of a write the processor does first */
    int64_t write;     /* the rest, in which it is free */

    struct kv_pace pace;
    int fixed; /* held back, or PACED */
    int64_t now, client_free;
    int64_t asked[CLIENTS_MAX]; /* when the requests that were not run come, a ring */
    unsigned first_asked, num_asked;
    unsigned gathered, on_way, ready; /* requests of the next group, of the last one; answers */
    int64_t written;                  /* when the latter is durable */
    uint64_t answered;
};

static void answer(struct model *m, unsigned leave)
{
    for (; m->ready > leave; m->ready--) {
        m->now += m->send;
        m->answered++;
        m->client_free = (m->client_free > m->now ? m->client_free : m->now) + m->client;
        m->asked[(m->first_asked + m->num_asked++) % CLIENTS_MAX] = m->client_free;
    }
}

/* Runs what is there: whether anything is. */
static bool run(struct model *m)
{
    const unsigned gathered = m->gathered;
    while (m->num_asked > 0 && m->asked[m->first_asked] <= m->now) {
        m->first_asked = (m->first_asked + 1) % CLIENTS_MAX;
        m->num_asked--;
        m->gathered++;
        m->now += m->run;
    }
    return m->gathered > gathered;
}

static void acknowledge(struct model *m)
{
    m->ready += m->on_way;
    m->on_way = 0;
    kv_pace_acked(&m->pace, m->now, m->ready);
    answer(m, m->fixed == PACED ? m->pace.hold : (unsigned)m->fixed);
}

static void send_group(struct model *m)
{
    m->on_way = m->gathered;
    m->gathered = 0;
    kv_pace_sent(&m->pace, m->now);
    m->now += m->begin;
    m->written = m->now + m->write;
    answer(m, 0);
}

/* Until something happens. */
static void rest(struct model *m)
{
    int64_t next = m->on_way > 0 ? m->written : INT64_MAX;
    if (m->num_asked > 0 && m->asked[m->first_asked] < next)
        next = m->asked[m->first_asked];
    m->now = next > m->now ? next : m->now;
}

static void turn(struct model *m)
{
    if (m->on_way > 0 && m->written <= m->now) {
        acknowledge(m);
    } else if (run(m)) {
        return;
    } else if (m->on_way == 0 && m->gathered > 0) {
        send_group(m);
    } else {
        kv_pace_idle(&m->pace);
        answer(m, 0);
        rest(m);
    }
}

/* Requests per millisecond. */
static double rate(struct model m, int fixed)
{
    m.fixed = fixed;
    m.ready = m.clients;
    answer(&m, 0);
    for (unsigned i = 0; i < TURNS; i++)
        turn(&m);
    const int64_t begun = m.now;
    m.answered = 0;
    for (unsigned i = 0; i < TURNS; i++)
        turn(&m);
    return 1e6 * (double)m.answered / (double)(m.now - begun);
}

static double best(const struct model *m)
{
    double most = 0;
    for (unsigned hold = 0; hold <= m->clients / 2; hold++)
        most = rate(*m, (int)hold) > most ? rate(*m, (int)hold) : most;
    return most;
}

static void print(const struct model *m)
{
    printf("# %u clients, write of %lld us: %.1f per ms paced, %.1f none held, %.1f at best\n",
           m->clients, (long long)(m->begin + m->write) / 1000, rate(*m, PACED), rate(*m, 0),
           best(m));
}

static void test_idle_time_of_a_write_is_used_when_there_is_work_for_it(void **state)
{
    const struct model m = {
        .clients = 50, .run = 1600, .send = 4000, .client = 3000, .begin = 25000, .write = 70000};
    (void)state;
    print(&m);
    assert_true(rate(m, PACED) > 1.1 * rate(m, 0));
    assert_true(rate(m, PACED) > 0.95 * best(&m));
}

static void test_few_clients_share_a_write(void **state)
{
    const struct model m = {
        .clients = 4, .run = 1600, .send = 4000, .client = 3000, .begin = 25000, .write = 70000};
    (void)state;
    print(&m);
    assert_true(rate(m, PACED) > 0.98 * rate(m, 0));
}

static void test_clients_of_a_slow_device_share_a_write(void **state)
{
    const struct model m = {
        .clients = 50, .run = 1600, .send = 4000, .client = 3000, .begin = 25000, .write = 5000000};
    (void)state;
    print(&m);
    assert_true(rate(m, PACED) > 0.98 * rate(m, 0));
}

static void test_never_more_than_half_is_held_back(void **state)
{
    struct kv_pace p = {0};
    (void)state;
    for (int64_t now = 0; now < 1000000; now += 1000) {
        kv_pace_sent(&p, now += 1000);
        kv_pace_idle(&p);
        kv_pace_acked(&p, now += 100, 10);
        assert_true(p.hold <= 5);
    }
    assert_int_equal(p.hold, 5);
    kv_pace_sent(&p, 2000000);
    kv_pace_idle(&p);
    kv_pace_acked(&p, 2000100, 1);
    assert_int_equal(p.hold, 0);
}

static void test_a_pause_before_a_group_is_no_work(void **state)
{
    struct kv_pace p = {.hold = 8};
    (void)state;
    kv_pace_idle(&p);
    kv_pace_sent(&p, 1000000);
    kv_pace_idle(&p);
    kv_pace_acked(&p, 1000100, 50);
    assert_int_equal(p.hold, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_time_of_a_write_is_used_when_there_is_work_for_it),
        cmocka_unit_test(test_few_clients_share_a_write),
        cmocka_unit_test(test_clients_of_a_slow_device_share_a_write),
        cmocka_unit_test(test_never_more_than_half_is_held_back),
        cmocka_unit_test(test_a_pause_before_a_group_is_no_work),
    };

    return cmocka_run_group_tests_name("kv-pace", tests, NULL, NULL);
}
