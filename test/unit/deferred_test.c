/* SPDX-License-Identifier: MIT */
/*
 * Pops that begin with their wait: noted by the one thread that calls the library. Whatever comes
 * between a pop and its wait, it is an operation like any other. Datagrams from a socket to another
 * over the loop device.
 */
#include "api/api.h"
#include "core/deferred.h"
#include "os/sync.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT 4711

static const struct timespec at_once, soon = {.tv_sec = 5};
static struct sockaddr_in server = {.sin_family = AF_INET};
static int from, to;
static uint8_t sent, received; /* the next datagram's only byte */

static int new_socket(void)
{
    int qd;
    assert_int_equal(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0), 0);
    return qd;
}

static int teardown(void **state)
{
    (void)state;
    if (dk_api.first)
        assert_int_equal(demi_fini(), 0);
    return 0;
}

static void send_one(void)
{
    demi_sgarray_t sga = demi_sgaalloc(1);
    demi_qtoken_t qt;
    demi_qresult_t qr;
    memcpy(sga.sga_segs[0].sgaseg_buf, &sent, 1);
    sent++;
    assert_int_equal(demi_pushto(&qt, from, &sga, (struct sockaddr *)&server, sizeof server), 0);
    assert_int_equal(demi_sgafree(&sga), 0);
    assert_int_equal(demi_wait(&qr, qt, &soon), 0);
    assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
}

static demi_qtoken_t pop(void)
{
    demi_qtoken_t qt = 0;
    assert_int_equal(demi_pop(&qt, to), 0);
    assert_true(qt != 0 && qt != ~UINT64_C(0));
    return qt;
}

/* A result of that token: the next datagram. */
static void check(demi_qresult_t *qr, demi_qtoken_t qt)
{
    demi_sgarray_t *sga = &qr->qr_value.sga;
    assert_int_equal(qr->qr_opcode, DEMI_OPC_POP);
    assert_int_equal(qr->qr_qd, to);
    assert_int_equal(qr->qr_ret, 0);
    assert_true(qr->qr_qt == qt);
    assert_int_equal(sga->sga_numsegs, 1);
    assert_int_equal(sga->sga_segs[0].sgaseg_len, 1);
    assert_int_equal(*(const uint8_t *)sga->sga_segs[0].sgaseg_buf, received++);
    assert_int_equal(sga->sga_addr.sin_family, AF_INET);
    assert_int_equal(demi_sgafree(sga), 0);
}

static void collect(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    assert_int_equal(demi_wait(&qr, qt, &soon), 0);
    check(&qr, qt);
    assert_int_equal(demi_wait(&qr, qt, &at_once), EINVAL);
}

static int setup(void **state)
{
    (void)state;
    if (dk_barrier_init() < 0)
        return 0;
    setenv("DEMI_NET", "loop", 1);
    assert_int_equal(demi_init(NULL), 0);
    server.sin_port = htons(PORT);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from = new_socket();
    to = new_socket();
    assert_int_equal(demi_bind(to, (struct sockaddr *)&server, sizeof server), 0);
    sent = received = 0;
    send_one(); /* binds `from` */
    collect(pop());
    dk_api.first->defer_pause = 0;
    return 0;
}

/* A pop that is noted; the first has no slot yet. */
static demi_qtoken_t noted_pop(void)
{
    for (int i = 0; i < 2; i++) {
        const demi_qtoken_t qt = pop();
        if (dk_api.first->deferred)
            return qt;
        send_one();
        demi_qresult_t qr; /* with no call behind it that would begin the next */
        assert_int_equal(demi_wait(&qr, qt, &soon), 0);
        check(&qr, qt);
        dk_api.first->defer_pause = 0;
    }
    fail();
    return 0;
}

static void test_deferred_pop_takes_what_comes_with_the_poll(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    demi_qtoken_t qt = noted_pop();
    for (int i = 0; i < 100; i++) {
        demi_qresult_t qr;
        assert_non_null(dk_api.first->deferred);
        send_one();
        assert_non_null(dk_api.first->deferred); /* the push and its wait are other operations */
        assert_int_equal(demi_wait(&qr, qt, NULL), 0);
        assert_null(dk_api.first->deferred);
        check(&qr, qt);
        const demi_qtoken_t next = pop();
        assert_true(next != qt);
        qt = next;
    }
    send_one();
    collect(qt);
}

static void test_deferred_pop_without_data_times_out_and_stays_good(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    const struct timespec moment = {.tv_nsec = 1000000};
    const demi_qtoken_t qt = noted_pop();
    demi_qresult_t qr;
    assert_int_equal(demi_wait(&qr, qt, &at_once), ETIMEDOUT);
    assert_int_equal(demi_wait(&qr, qt, &moment), ETIMEDOUT);
    assert_null(dk_api.first->deferred);
    send_one();
    collect(qt);
}

static void test_deferred_pops_are_served_in_order(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    const demi_qtoken_t first = noted_pop(), second = pop(), third = pop();
    demi_qresult_t qr;
    for (int i = 0; i < 3; i++)
        send_one();
    assert_true(first != second && second != third);
    /* The last one first: what it gets is the last datagram. */
    received += 2;
    assert_int_equal(demi_wait(&qr, third, &soon), 0);
    check(&qr, third);
    received -= 3;
    collect(first);
    collect(second);
}

static void test_deferred_is_found_by_every_wait(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    for (int way = 0; way < 4; way++) {
        dk_api.first->defer_pause = 0;
        const demi_qtoken_t qt = noted_pop();
        demi_qresult_t qr;
        int n = -1;
        send_one();
        if (way == 0)
            assert_int_equal(demi_wait_any(&qr, &n, &qt, 1, &soon), 0);
        else if (way == 1)
            assert_int_equal(demi_wait_all(&qr, &qt, 1, &soon), 0);
        else if (way == 2)
            assert_int_equal(demi_wait_some(&qr, 1, &n, &soon), 0);
        else
            assert_int_equal(demi_wait_next_n(&qr, 1, &n, &soon), 0);
        check(&qr, qt);
    }
}

static void test_deferred_is_cancelled_as_any_other(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    const demi_qtoken_t qt = noted_pop();
    demi_qresult_t qr;
    assert_int_equal(demi_cancel(qt), 0);
    assert_int_equal(demi_cancel(qt), EINVAL);
    assert_int_equal(demi_wait(&qr, qt, &at_once), EINVAL);
    send_one(); /* of which it has taken nothing */
    collect(pop());
}

static void test_deferred_is_cancelled_by_a_close(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    const demi_qtoken_t qt = noted_pop();
    demi_qresult_t qr;
    assert_int_equal(demi_close(to), 0);
    const int other = new_socket();
    assert_int_not_equal(other, to); /* its token is not collected */
    assert_int_equal(demi_wait(&qr, qt, &at_once), 0);
    assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
    assert_int_equal(qr.qr_ret, ECANCELED);
    assert_int_equal(qr.qr_qd, to);
    assert_int_equal(demi_wait(&qr, qt, &at_once), EINVAL);
}

static void test_deferred_is_outstanding_for_an_operator(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    const demi_qtoken_t qt = noted_pop();
    int merged;
    assert_int_equal(demi_merge(&merged, to, from), EBUSY);
    send_one();
    collect(qt);
    assert_int_equal(demi_merge(&merged, to, from), 0);
    demi_qtoken_t none;
    assert_int_equal(demi_pop(&none, to), EBUSY);
    assert_null(dk_api.first->deferred);
    assert_int_equal(demi_close(merged), 0);
}

static void test_deferred_after_shutdown_is_the_end(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    demi_qtoken_t qt;
    demi_qresult_t qr;
    assert_int_equal(demi_connect(&qt, to, (struct sockaddr *)&server, sizeof server), 0);
    assert_int_equal(demi_wait(&qr, qt, &soon), 0);
    dk_api.first->defer_pause = 0;
    assert_int_equal(demi_shutdown(to, SHUT_RD), 0);
    for (int i = 0; i < 3; i++) {
        qt = pop();
        assert_int_equal(demi_wait(&qr, qt, &soon), 0);
        assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
        assert_int_equal(qr.qr_value.sga.sga_numsegs, 0);
    }
}

static void test_deferred_generations_used_up_slot_is_retired(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    struct dk_instance *inst = dk_api.first;
    send_one();
    collect(noted_pop());
    const uint64_t last = (UINT64_C(1) << 40) - 1;
    assert_non_null(inst->spare_pop);
    const uint64_t slot = inst->spare_pop->qr.qr_qt & DK_OP_MAX_SLOTS;
    inst->spare_pop->qr.qr_qt = last << DK_OP_SLOT_BITS | slot;
    for (int i = 0; i < 50; i++) {
        dk_api.first->defer_pause = 0;
        const demi_qtoken_t qt = pop();
        if (i == 0)
            assert_true(qt >> DK_OP_SLOT_BITS == last);
        else
            assert_true((qt & DK_OP_MAX_SLOTS) != slot && qt >> DK_OP_SLOT_BITS != 0);
        send_one();
        collect(qt);
    }
}

/* Reading them begins a noted pop, which is no completion. */
static uint64_t completions(void)
{
    struct demi_stat stats[512];
    size_t n = 0;
    assert_int_equal(demi_stats(stats, 512, &n), 0);
    for (size_t i = 0; i < n && i < 512; i++)
        if (strcmp(stats[i].name, "core.completions") == 0)
            return stats[i].value;
    fail();
    return 0;
}

static void test_deferred_pops_are_counted(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    demi_qresult_t qr;
    const uint64_t before = completions();
    for (int i = 0; i < 50; i++) {
        const demi_qtoken_t qt = pop();
        send_one();
        assert_int_equal(demi_wait(&qr, qt, NULL), 0);
        check(&qr, qt);
    }
    assert_int_equal(completions(), before + 100);
}

static void test_deferred_waits_still_poll_for_others(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    struct dk_instance *inst = dk_api.first;
    demi_qresult_t qr;
    for (int i = 0; i < 100; i++)
        send_one();
    const uint64_t before = inst->stats->polls;
    for (int i = 0; i < 100; i++) {
        const demi_qtoken_t qt = pop();
        assert_int_equal(demi_wait(&qr, qt, NULL), 0);
        check(&qr, qt);
    }
    assert_in_range(inst->stats->polls - before, 100 / DK_WAIT_POLL_EVERY, 50);
}

/* So do waits that have nothing to do with a pop, by whichever way they collect. */
static void test_waits_for_pushes_still_poll(void **state)
{
    (void)state;
    if (!dk_api.first)
        skip();
    struct dk_instance *inst = dk_api.first;
    for (int round = 0; round < 2; round++) { /* the second time a pop is noted */
        const demi_qtoken_t qt = round == 1 ? pop() : 0;
        for (int i = 0; i < 10; i++) {
            const uint64_t before = inst->stats->polls;
            for (int j = 0; j < 2 * DK_WAIT_POLL_EVERY; j++)
                send_one();
            assert_true(inst->stats->polls > before);
        }
        if (round == 1)
            collect(qt);
    }
}

static void *close_socket(void *arg)
{
    assert_int_equal(demi_close(*(const int *)arg), 0);
    return NULL;
}

static void must(bool holds)
{
    if (!holds)
        _exit(1);
}

/* Ends being alone for this process. */
static void let_another_thread_close(void)
{
    pthread_t other;
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(demi_init(NULL) == 0 && demi_socket(&to, AF_INET, SOCK_DGRAM, 0) == 0);
    must(demi_bind(to, (struct sockaddr *)&server, sizeof server) == 0);
    must(demi_pop(&qt, to) == 0 && demi_cancel(qt) == 0); /* the next has a slot */
    must(demi_pop(&qt, to) == 0 && dk_api.first->deferred != NULL);
    must(pthread_create(&other, NULL, close_socket, &to) == 0 && pthread_join(other, NULL) == 0);
    must(dk_api.first->deferred == NULL);
    must(demi_wait(&qr, qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_FAILED);
    must(qr.qr_ret == ECANCELED && demi_fini() == 0);
}

static void test_deferred_is_an_operation_for_another_thread(void **state)
{
    (void)state;
    int status;
    if (dk_barrier_init() < 0)
        skip();
    const pid_t pid = fork(); /* no thread has attached there, and the library has not started */
    assert_true(pid >= 0);
    if (pid == 0) {
        let_another_thread_close();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_deferred_pop_takes_what_comes_with_the_poll),
        TEST(test_deferred_pop_without_data_times_out_and_stays_good),
        TEST(test_deferred_pops_are_served_in_order),
        TEST(test_deferred_is_found_by_every_wait),
        TEST(test_deferred_is_cancelled_as_any_other),
        TEST(test_deferred_is_cancelled_by_a_close),
        TEST(test_deferred_is_outstanding_for_an_operator),
        TEST(test_deferred_after_shutdown_is_the_end),
        TEST(test_deferred_generations_used_up_slot_is_retired),
        TEST(test_deferred_pops_are_counted),
        TEST(test_deferred_waits_still_poll_for_others),
        TEST(test_waits_for_pushes_still_poll),
        cmocka_unit_test(test_deferred_is_an_operation_for_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
