/* SPDX-License-Identifier: MIT */
/*
 * A thread that sleeps in the stack wakes up for what becomes due meanwhile, whoever caused it. The
 * sleeper is played: the device is armed as by one, and what it was told is looked at.
 */
#include "api/api.h"
#include "libos/stack/sock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdlib.h>

static const struct timespec one_second = {.tv_sec = 1};
static struct dk_stack *st;
static int listener, client, server;

static void finish(demi_qtoken_t qt, demi_qresult_t *qr)
{
    assert_int_equal(demi_wait(qr, qt, &one_second), 0);
    assert_int_equal(qr->qr_ret, 0);
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(4711)};
    demi_qtoken_t accepted, connected;
    demi_qresult_t qr;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setenv("DEMI_NET", "loop", 1);
    assert_int_equal(demi_init(NULL), 0);
    st = (struct dk_stack *)dk_api.first->sockets;
    assert_int_equal(demi_socket(&listener, AF_INET, SOCK_STREAM, 0), 0);
    assert_int_equal(demi_socket(&client, AF_INET, SOCK_STREAM, 0), 0);
    assert_int_equal(demi_bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(demi_listen(listener, 1), 0);
    assert_int_equal(demi_accept(&accepted, listener), 0);
    assert_int_equal(demi_connect(&connected, client, (struct sockaddr *)&at, sizeof at), 0);
    finish(connected, &qr);
    finish(accepted, &qr);
    server = qr.qr_value.ares.qd;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(demi_close(client), 0);
    assert_int_equal(demi_close(server), 0);
    assert_int_equal(demi_close(listener), 0);
    return demi_fini();
}

static void push(int qd)
{
    demi_sgarray_t sga = demi_sgaalloc(8);
    demi_qtoken_t qt;
    demi_qresult_t qr;
    assert_int_equal(demi_push(&qt, qd, &sga), 0);
    assert_int_equal(demi_sgafree(&sga), 0);
    finish(qt, &qr);
}

static int64_t told(void)
{
    return __atomic_load_n(&st->sleep.due, __ATOMIC_RELAXED);
}

/* What a poll of a thread that does not sleep leaves to be done: the sleeper is told. Both ends of
 * the connection are in the stack, so its timers are forgotten before, as if the frame that they
 * came with was in that poll. */
static void test_sleep_ends_for_what_the_poll_of_another_made_due(void **state)
{
    (void)state;
    struct dk_poller *p = dk_api.first->poller;
    dk_lead_take(dk_api.first);
    p->ops->arm(p);
    dk_lead_drop(dk_api.first);
    push(client);
    __atomic_store_n(&st->sleep.due, INT64_MAX, __ATOMIC_RELAXED);
    const uint64_t kicks = st->stats->kicks;
    dk_lead_take(dk_api.first);
    p->ops->poll(p, dk_instance_now(dk_api.first), false);
    dk_lead_drop(dk_api.first);
    assert_true(dk_stack_next_due(st) < INT64_MAX);
    assert_int_equal(told(), dk_stack_next_due(st));
    assert_int_equal(st->stats->kicks, kicks + 1);
    p->ops->block(p, -1);
    assert_int_equal(st->sleep.armed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sleep_ends_for_what_the_poll_of_another_made_due,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
