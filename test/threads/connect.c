/* SPDX-License-Identifier: MIT */
/* Connections between the queues of several instances, made and cut while elements move. */
#include "groups.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { LINKS = 3, ELEMENTS = 5000 };

struct chain {
    int queues[LINKS + 1];
    uint64_t seed; /* 0: connections are not cut */
};

static bool pass_all(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return sga->sga_numsegs > 0;
}

static void end_of_link(int in, int out, uint64_t *seed)
{
    demi_qresult_t qr;
    for (;;) {
        demi_qtoken_t qt;
        int r;
        CREW_MUST(demi_qconnect_watch(&qt, in, out));
        struct timespec soon = {0, *seed ? random_below(seed, 300000) : 0};
        r = demi_wait(&qr, qt, *seed ? &soon : NULL);
        if (r == ETIMEDOUT) {
            r = demi_cancel(qt);
            if (r == 0)
                continue;
            CREW_CHECK(r == EALREADY);
            r = demi_wait(&qr, qt, NULL);
        }
        CREW_MUST(r);
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_CLOSE);
        return;
    }
}

static void link_worker(int index, void *arg)
{
    struct chain *chain = arg;
    uint64_t seed = chain->seed ? chain->seed + (uint64_t)index : 0;
    int filter = -1;
    CREW_MUST(demi_init(NULL));
    CREW_MUST(demi_filter(&filter, chain->queues[index], pass_all, NULL));
    end_of_link(filter, chain->queues[index + 1], &seed);
    CREW_MUST(demi_close(filter));
}

static void push_and_pop(const struct chain *chain)
{
    uint64_t tag = 0;
    for (uint64_t i = 0; i < ELEMENTS; i++)
        must(crew_push_tag(chain->queues[0], i));
    must(demi_shutdown(chain->queues[0], SHUT_WR));
    for (uint64_t i = 0; i < ELEMENTS; i++) {
        must(crew_pop_tag(chain->queues[LINKS], &tag));
        assert_int_equal(tag, i);
    }
    pop_end(chain->queues[LINKS]);
}

static void run_chain(const char *workers, uint64_t seed)
{
    struct chain chain = {.seed = seed};
    setenv("DEMI_WORKERS", workers, 1);
    must(demi_init(NULL));
    unsetenv("DEMI_WORKERS");
    for (int i = 0; i <= LINKS; i++)
        must(demi_queue(&chain.queues[i], i == 0 ? 0 : 5));
    crew_start(LINKS, link_worker, &chain);
    push_and_pop(&chain);
    crew_join();
    for (int i = 0; i <= LINKS; i++)
        must(demi_close(chain.queues[i]));
    must(demi_fini());
}

static void test_connect_chain_over_instances_keeps_the_order(void **state)
{
    (void)state;
    run_chain("4", 0);
}

static void test_connect_chain_in_one_instance_keeps_the_order(void **state)
{
    (void)state;
    run_chain("1", 0);
}

static void test_connect_cut_at_any_moment_loses_nothing(void **state)
{
    (void)state;
    uint64_t seed = seed_choose("connect") | 1;
    run_chain("4", seed);
    run_chain("1", seed);
}

int run_connect_tests(void)
{
    const struct CMUnitTest tests[] = {
        UNSTARTED(test_connect_chain_over_instances_keeps_the_order),
        UNSTARTED(test_connect_chain_in_one_instance_keeps_the_order),
        UNSTARTED(test_connect_cut_at_any_moment_loses_nothing),
    };
    return cmocka_run_group_tests_name("connect", tests, NULL, NULL);
}
