/* SPDX-License-Identifier: MIT */
/* Operators used by several threads, of one instance and of several. */
#include "groups.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PUSHERS = 3, POPPERS = 3, OUTPUTS = 2 };

static uint64_t tag_of(const demi_sgarray_t *sga)
{
    uint64_t tag;
    memcpy(&tag, sga->sga_segs[0].sgaseg_buf, sizeof tag);
    return tag;
}

static bool pass_tag(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return tag_of(sga) != 0;
}

static int keep_tag(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    const uint64_t tag = tag_of(sga) ^ 1;
    memcpy(sga->sga_segs[0].sgaseg_buf, &tag, sizeof tag); /* a race would be seen */
    return 0;
}

static int by_tag(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)arg;
    return tag_of(a) < tag_of(b) ? -1 : tag_of(a) > tag_of(b);
}

static uint32_t tag_output(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return (uint32_t)tag_of(sga);
}

/* --- a graph of all operators, pushed and popped by many --- */

struct graph {
    int sources[2], merged, mapped, filtered, outputs[OUTPUTS], tops[OUTPUTS];
    int elements; /* of each pusher */
    atomic_int popped;
    _Atomic uint64_t sum;
    bool cancels;
};

static void graph_make(struct graph *g)
{
    must(demi_queue(&g->sources[0], 8));
    must(demi_queue(&g->sources[1], 0));
    must(demi_merge(&g->merged, g->sources[0], g->sources[1]));
    must(demi_map_dir(&g->mapped, g->merged, NULL, keep_tag, NULL));
    must(demi_filter(&g->filtered, g->mapped, pass_tag, NULL));
    must(demi_partition(g->outputs, OUTPUTS, g->filtered, tag_output, NULL));
    for (int i = 0; i < OUTPUTS; i++)
        must(demi_sort(&g->tops[i], g->outputs[i], by_tag, NULL));
}

static void graph_push(int index, struct graph *g)
{
    for (int i = 0; i < g->elements && !crew_failed(); i++)
        CREW_MUST(crew_push_tag(g->sources[(index + i) % 2],
                                2 + 2 * ((uint64_t)index * (uint64_t)g->elements + (uint64_t)i) +
                                    (uint64_t)(i / 3 % 2)));
}

/* Pops until all are there; now and then it thinks better of it. */
static void graph_pop(int index, struct graph *g)
{
    const int all = PUSHERS * g->elements;
    uint64_t random = (uint64_t)index;
    while (g->popped < all && !crew_failed()) {
        demi_qtoken_t qt;
        demi_qresult_t qr;
        CREW_MUST(demi_pop(&qt, g->tops[index % OUTPUTS]));
        const struct timespec moment = ms_time(20);
        int error = ETIMEDOUT;
        if (!g->cancels || random_below(&random, 4) != 0)
            error = demi_wait(&qr, qt, &moment);
        if (error == ETIMEDOUT) {
            error = demi_cancel(qt);
            if (error == 0)
                continue;
            CREW_CHECK(error == EALREADY);
            error = demi_wait(&qr, qt, NULL);
        }
        CREW_MUST(error);
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_POP);
        g->sum += tag_of(&qr.qr_value.sga);
        g->popped++;
        CREW_MUST(demi_sgafree(&qr.qr_value.sga));
    }
}

static void graph_use(int index, void *arg)
{
    if (index < PUSHERS)
        graph_push(index, arg);
    else
        graph_pop(index - PUSHERS, arg);
}

static void graph_close(const struct graph *g)
{
    for (int i = 0; i < OUTPUTS; i++) {
        must(demi_close(g->tops[i]));
        must(demi_close(g->outputs[i]));
    }
    must(demi_close(g->filtered));
    must(demi_close(g->mapped));
    must(demi_close(g->merged));
    must(demi_close(g->sources[0]));
    must(demi_close(g->sources[1]));
}

static void run_graph(bool cancels)
{
    struct graph g = {.elements = under_sanitizer() ? 600 : 3000, .cancels = cancels};
    graph_make(&g);
    crew_start(PUSHERS + POPPERS, graph_use, &g);
    crew_join();
    uint64_t want = 0;
    for (int index = 0; index < PUSHERS; index++)
        for (int i = 0; i < g.elements; i++)
            want += (2 + 2 * ((uint64_t)index * (uint64_t)g.elements + (uint64_t)i) +
                     (uint64_t)(i / 3 % 2)) ^
                    1;
    assert_int_equal(g.popped, PUSHERS * g.elements);
    assert_true(g.sum == want);
    graph_close(&g);
}

static void test_chain_used_by_many_threads_loses_nothing(void **state)
{
    (void)state;
    run_graph(false);
}

static void test_cancel_racing_elements_in_a_chain_loses_nothing(void **state)
{
    (void)state;
    run_graph(true);
}

/* --- pushes on a merge, taken back while others pop --- */

struct taken_back {
    int sources[2], merged;
    int elements; /* of each pusher */
    atomic_int pushing, want, popped, cancelled;
    _Atomic uint64_t want_sum, sum;
};

/* How a push ended: both sources have it, one has (the other half was taken back), or none. */
static void count_copies(struct taken_back *t, uint64_t tag, int copies)
{
    t->want += copies;
    t->want_sum += tag * (uint64_t)copies;
}

static void push_or_take_back(struct taken_back *t, uint64_t tag, bool cancels)
{
    demi_sgarray_t sga = demi_sgaalloc(sizeof tag);
    demi_qtoken_t qt;
    demi_qresult_t qr;
    CREW_CHECK(sga.sga_numsegs == 1);
    memcpy(sga.sga_segs[0].sgaseg_buf, &tag, sizeof tag);
    CREW_MUST(demi_push(&qt, t->merged, &sga));
    CREW_MUST(demi_sgafree(&sga));
    const int error = cancels ? demi_cancel(qt) : EBUSY;
    if (error == 0) {
        t->cancelled++;
        return;
    }
    CREW_CHECK(error == EBUSY || error == EALREADY);
    const struct timespec patience = ms_time(20000);
    CREW_MUST(demi_wait(&qr, qt, &patience));
    if (qr.qr_opcode == DEMI_OPC_PUSH) {
        count_copies(t, tag, 2);
        return;
    }
    CREW_CHECK(qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ECANCELED);
    count_copies(t, tag, 1);
}

static void pop_what_is_left(struct taken_back *t)
{
    while ((t->pushing > 0 || t->popped < t->want) && !crew_failed()) {
        demi_qtoken_t qt;
        demi_qresult_t qr;
        CREW_MUST(demi_pop(&qt, t->merged));
        const struct timespec moment = ms_time(20);
        int error = demi_wait(&qr, qt, &moment);
        if (error == ETIMEDOUT) {
            if (demi_cancel(qt) == 0)
                continue;
            error = demi_wait(&qr, qt, NULL);
        }
        CREW_MUST(error);
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_POP);
        t->sum += tag_of(&qr.qr_value.sga);
        t->popped++;
        CREW_MUST(demi_sgafree(&qr.qr_value.sga));
    }
}

static void take_back(int index, void *arg)
{
    struct taken_back *t = arg;
    if (index >= PUSHERS) {
        pop_what_is_left(t);
        return;
    }
    for (int i = 0; i < t->elements && !crew_failed(); i++)
        push_or_take_back(t, 1 + (uint64_t)(index * t->elements + i), i % 3 != 0);
    t->pushing--;
}

static void test_merge_pushes_taken_back_while_others_pop_are_whole_or_told(void **state)
{
    (void)state;
    struct taken_back t = {.elements = crew_rounds(under_sanitizer() ? 600 : 3000),
                           .pushing = PUSHERS};
    must(demi_queue(&t.sources[0], 1));
    must(demi_queue(&t.sources[1], 2));
    must(demi_merge(&t.merged, t.sources[0], t.sources[1]));
    crew_start(PUSHERS + POPPERS, take_back, &t);
    crew_join();
    print_message("%d of the pushes were cancelled\n", t.cancelled);
    assert_int_equal(t.popped, t.want);
    assert_true(t.sum == t.want_sum);
    must(demi_close(t.merged));
    must(demi_close(t.sources[0]));
    must(demi_close(t.sources[1]));
}

/* --- functions --- */

struct alone {
    int source, filtered[POPPERS];
    atomic_int inside;
    atomic_int together; /* calls that met another */
};

static bool note_company(const demi_sgarray_t *sga, void *arg)
{
    struct alone *alone = arg;
    (void)sga;
    if (alone->inside++ != 0)
        alone->together++;
    sched_yield();
    alone->inside--;
    return true;
}

static void use_alone(int index, void *arg)
{
    struct alone *alone = arg;
    int queue = -1, qd = -1;
    CREW_MUST(demi_queue(&queue, 0));
    CREW_MUST(demi_filter(&qd, queue, note_company, alone));
    for (int i = 0; i < 300 && !crew_failed(); i++) {
        uint64_t tag = 0;
        CREW_MUST(crew_push_tag(index % 2 == 0 ? qd : queue, 7));
        CREW_MUST(crew_pop_tag(qd, &tag));
        CREW_CHECK(tag == 7);
    }
    CREW_MUST(demi_close(qd));
    CREW_MUST(demi_close(queue));
}

static void test_functions_of_an_instance_run_one_at_a_time(void **state)
{
    (void)state;
    struct alone alone = {0};
    crew_start(4, use_alone, &alone);
    crew_join();
    assert_int_equal(alone.together, 0);
}

/* --- close --- */

struct closing {
    int source;
    atomic_int qd;
    atomic_bool over;
};

static void race_close(int index, void *arg)
{
    struct closing *closing = arg;
    while (!closing->over && !crew_failed()) {
        demi_qtoken_t qt;
        demi_qresult_t qr;
        if (index == 0) { /* makes and closes operators over the source, in use or not */
            int qd = -1, top = -1;
            int error = demi_filter(&qd, closing->source, pass_tag, NULL);
            if (error == EBUSY)
                continue;
            CREW_MUST(error);
            closing->qd = qd;
            error = demi_sort(&top, qd, by_tag, NULL);
            CREW_CHECK(error == 0 || error == EBUSY);
            sched_yield();
            CREW_MUST(demi_close(qd));
            if (error == 0)
                CREW_MUST(demi_close(top));
        } else if (index == 1) {
            CREW_MUST(crew_push_tag(closing->source, 5));
        } else {
            const int qd = index == 2 ? closing->qd : closing->source;
            const int error = demi_pop(&qt, qd);
            if (error != 0) {
                CREW_CHECK(error == EBADF || error == EBUSY);
                continue;
            }
            const struct timespec moment = ms_time(20);
            int waited = demi_wait(&qr, qt, &moment);
            if (waited == ETIMEDOUT && demi_cancel(qt) == 0)
                continue; /* a sort may have taken everything, and closed with it */
            if (waited == ETIMEDOUT)
                waited = demi_wait(&qr, qt, NULL);
            CREW_MUST(waited);
            CREW_CHECK(qr.qr_opcode == DEMI_OPC_POP || qr.qr_ret == ECANCELED ||
                       qr.qr_ret == EBUSY);
            if (qr.qr_opcode == DEMI_OPC_POP)
                CREW_MUST(demi_sgafree(&qr.qr_value.sga));
        }
    }
}

static void end_race(int index, void *arg)
{
    struct closing *closing = arg;
    if (index < 4) {
        race_close(index, arg);
        return;
    }
    const uint64_t until = now_ns() + 300000000u;
    while (now_ns() < until)
        sched_yield();
    closing->over = true;
}

static void test_operators_made_and_closed_while_others_pop(void **state)
{
    (void)state;
    struct closing closing = {.qd = -1};
    must(demi_queue(&closing.source, 0));
    crew_start(5, end_race, &closing);
    crew_join();
    must(demi_close(closing.source));
}

/* --- instances --- */

static void workers(const char *n)
{
    setenv("DEMI_WORKERS", n, 1);
    must(demi_init(NULL));
    unsetenv("DEMI_WORKERS");
}

struct foreign {
    int memory, operator, claimed;
};

static void derive_foreign(int index, void *arg)
{
    struct foreign *foreign = arg;
    demi_qtoken_t qt;
    int qd = -7;
    (void)index;
    CREW_MUST(demi_init(NULL));
    CREW_CHECK(demi_filter(&qd, foreign->operator, pass_tag, NULL) == EXDEV);
    CREW_CHECK(demi_merge(&qd, foreign->memory, foreign->operator) == EXDEV);
    CREW_CHECK(demi_pop(&qt, foreign->operator) == EXDEV);
    CREW_CHECK(demi_close(foreign->operator) == EXDEV);
    CREW_CHECK(demi_filter(&qd, foreign->claimed, pass_tag, NULL) == EBUSY);
    CREW_CHECK(qd == -7);
    CREW_MUST(demi_filter(&qd, foreign->memory, pass_tag, NULL)); /* that is everybody's */
    CREW_MUST(crew_push_tag(foreign->memory, 3));
    uint64_t tag = 0;
    CREW_MUST(crew_pop_tag(qd, &tag));
    CREW_CHECK(tag == 3);
    CREW_MUST(demi_close(qd));
}

static void test_operator_across_instances_is_exdev(void **state)
{
    (void)state;
    workers("2");
    struct foreign foreign = {.memory = -1};
    must(demi_queue(&foreign.memory, 0));
    must(demi_queue(&foreign.claimed, 0));
    must(demi_filter(&foreign.operator, foreign.claimed, pass_tag, NULL));
    crew_start(1, derive_foreign, &foreign);
    crew_join();
    must(demi_fini());
}

struct fed {
    int memory, back, elements;
};

static void feed(int index, void *arg)
{
    struct fed *fed = arg;
    (void)index;
    CREW_MUST(demi_init(NULL));
    for (int i = 0; i < fed->elements && !crew_failed(); i++) {
        uint64_t tag = 0;
        CREW_MUST(crew_push_tag(fed->memory, (uint64_t)i + 1));
        CREW_MUST(crew_pop_tag(fed->back, &tag)); /* one at a time: the other side sleeps */
        CREW_CHECK(tag == (uint64_t)i + 1);
    }
}

static void test_operator_over_memory_is_fed_from_another_instance(void **state)
{
    (void)state;
    workers("2");
    struct fed fed = {.elements = 300};
    int qd = -1, top = -1;
    must(demi_queue(&fed.memory, 0));
    must(demi_queue(&fed.back, 0));
    must(demi_filter(&qd, fed.memory, pass_tag, NULL));
    must(demi_sort(&top, qd, by_tag, NULL));
    crew_start(1, feed, &fed);
    for (int i = 0; i < fed.elements && !crew_failed(); i++) {
        uint64_t tag = 0;
        must(crew_pop_tag(top, &tag));
        assert_true(tag == (uint64_t)i + 1);
        must(crew_push_tag(fed.back, tag));
    }
    crew_join();
    must(demi_fini());
}

/* Instances 1 and 2 have an operator each over a queue that instance 0 pushes. */
struct fan {
    int memory[2], answers;
    pthread_barrier_t made;
};

static void answer(int index, void *arg)
{
    struct fan *fan = arg;
    int qd = -1;
    CREW_MUST(demi_init(NULL));
    CREW_MUST(demi_filter(&qd, fan->memory[index], pass_tag, NULL));
    pthread_barrier_wait(&fan->made);
    for (uint64_t i = 1; i <= 300 && !crew_failed(); i++) {
        uint64_t tag = 0;
        CREW_MUST(crew_pop_tag(qd, &tag));
        CREW_CHECK(tag == i);
        CREW_MUST(crew_push_tag(fan->answers, i));
    }
    CREW_MUST(demi_close(qd));
}

static void test_operators_of_several_instances_are_fed_from_one(void **state)
{
    (void)state;
    workers("3");
    struct fan fan = {.answers = -1};
    must(demi_queue(&fan.answers, 0));
    must(demi_queue(&fan.memory[0], 0));
    must(demi_queue(&fan.memory[1], 0));
    assert_int_equal(pthread_barrier_init(&fan.made, NULL, 3), 0);
    crew_start(2, answer, &fan);
    pthread_barrier_wait(&fan.made);
    for (uint64_t i = 1; i <= 300 && !crew_failed(); i++) {
        demi_sgarray_t sga = demi_sgaalloc(sizeof i), clone;
        memcpy(sga.sga_segs[0].sgaseg_buf, &i, sizeof i);
        must(demi_sgaclone(&clone, &sga));
        push_all(fan.memory[0], &sga);
        push_all(fan.memory[1], &clone);
        must(demi_sgafree(&sga));
        must(demi_sgafree(&clone));
        uint64_t tag = 0;
        must(crew_pop_tag(fan.answers, &tag));
        must(crew_pop_tag(fan.answers, &tag));
    }
    crew_join();
    pthread_barrier_destroy(&fan.made);
    must(demi_fini());
}

int run_compose_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_chain_used_by_many_threads_loses_nothing),
        STARTED(test_cancel_racing_elements_in_a_chain_loses_nothing),
        STARTED(test_merge_pushes_taken_back_while_others_pop_are_whole_or_told),
        STARTED(test_functions_of_an_instance_run_one_at_a_time),
        STARTED(test_operators_made_and_closed_while_others_pop),
        UNSTARTED(test_operator_across_instances_is_exdev),
        UNSTARTED(test_operator_over_memory_is_fed_from_another_instance),
        UNSTARTED(test_operators_of_several_instances_are_fed_from_one),
    };
    return cmocka_run_group_tests_name("compose", tests, NULL, NULL);
}
