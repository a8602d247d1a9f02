/* SPDX-License-Identifier: MIT */
/*
 * demi_cancel: after 0 the operation has no effect and nothing is lost; a result that is ready is
 * EALREADY and stays good.
 */
#include "suite.h"

#include <unistd.h>

static void test_cancel_pop_the_data_goes_to_the_next_pop(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t first = pop_start(pair.rx);
    demi_qtoken_t second = pop_start(pair.rx);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, first, ZERO_TIME), ETIMEDOUT); /* the device has seen both */
    must(demi_cancel(first));
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    qr = wait_success(second, DEMI_OPC_POP);
    assert_int_equal(sga_bytes(&qr.qr_value.sga), 10);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    pair_close(pair);
}

static void test_cancel_any_of_many_pops_the_others_keep_their_order(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    enum { POPS = 30 };
    struct pair pair = pair_make();
    demi_qtoken_t qts[POPS];
    for (int i = 0; i < POPS; i++)
        qts[i] = pop_start(pair.rx);
    int left = 0;
    for (int i = 0; i < POPS; i++)
        if (random_below(&random, 2) == 0)
            must(demi_cancel(qts[i]));
        else
            qts[left++] = qts[i];
    for (int i = 0; i < left; i++) {
        demi_sgarray_t sga = pattern_sga(10, 1, (uint64_t)i * 10);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        demi_qresult_t qr = wait_success(qts[i], DEMI_OPC_POP);
        pattern_check_sga(&qr.qr_value.sga, 1, (uint64_t)i * 10);
        must(demi_sgafree(&qr.qr_value.sga));
    }
    pair_close(pair);
}

static void test_cancel_ready_result_is_ealready_and_still_collected(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct pair idle = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    demi_qtoken_t push = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qtoken_t both[2] = {pop_start(pair.rx), pop_start(idle.rx)};
    demi_qresult_t qrs[2];
    const struct timespec moment = delivery_time();
    must_fail(demi_wait_all(qrs, both, 2, &moment), ETIMEDOUT);
    must_fail(demi_cancel(push), EALREADY);
    must_fail(demi_cancel(both[0]), EALREADY);
    must_fail(demi_cancel(both[0]), EALREADY);
    wait_success(push, DEMI_OPC_PUSH);
    demi_qresult_t qr = wait_success(both[0], DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    must(demi_cancel(both[1]));
    must_fail(demi_cancel(both[1]), EINVAL);
    pair_close(idle);
    pair_close(pair);
}

/* Pops are cancelled while their data is on its way: whether the cancel wins or loses, every byte
 * is popped once, in order. */
static void test_cancel_pop_racing_its_data_loses_nothing(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    enum { ROUNDS = 1500 };
    struct pair pair = pair_make();
    uint64_t sent = 0;
    uint64_t got = 0;
    int won = 0;
    for (int round = 0; round < ROUNDS; round++) {
        demi_qtoken_t pops[2] = {pop_start(pair.rx), pop_start(pair.rx)};
        demi_qresult_t qr;
        if (random_below(&random, 3) == 0)
            must_fail(demi_wait(&qr, pops[0], ZERO_TIME), ETIMEDOUT);
        demi_sgarray_t sga = pattern_sga(1 + random_below(&random, 2000), 1, sent);
        sent += sga_bytes(&sga);
        demi_qtoken_t push = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        if (random_below(&random, 2) == 0)
            wait_success(push, DEMI_OPC_PUSH);
        for (int i = 0; i < 2; i++) {
            const int error = demi_cancel(pops[i]);
            won += error == 0;
            if (error == 0)
                continue;
            must_fail(error, EALREADY);
            qr = wait_success(pops[i], DEMI_OPC_POP);
            pattern_check_sga(&qr.qr_value.sga, 1, got);
            got += sga_bytes(&qr.qr_value.sga);
            must(demi_sgafree(&qr.qr_value.sga));
        }
        if (got < sent)
            pop_pattern(pair.rx, sent - got, 1, got);
        got = sent;
        if (demi_wait(&qr, push, ZERO_TIME) == ETIMEDOUT)
            wait_success(push, DEMI_OPC_PUSH);
    }
    must_hold(won > 0, "no cancel ever won");
    pair_close(pair);
}

static void test_cancel_push_not_begun_has_no_effect(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    const size_t big = 48u << 20;
    demi_sgarray_t sga = pattern_sga(big, 1, 0);
    demi_qtoken_t blocked = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_sgarray_t other = pattern_sga(100, 2, 0);
    demi_sgarray_t mark = pattern_sga(100, 1, big);
    demi_qtoken_t second = push_start(pair.tx, &other);
    demi_qtoken_t third = push_start(pair.tx, &mark);
    must(demi_sgafree(&other));
    must(demi_sgafree(&mark));
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, blocked, ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(second));
    must_fail(demi_wait(&qr, second, ZERO_TIME), EINVAL);
    pop_pattern(pair.rx, big + 100, 1, 0); /* the first and the third, and nothing behind */
    wait_success(blocked, DEMI_OPC_PUSH);
    wait_success(third, DEMI_OPC_PUSH);
    must(demi_shutdown(pair.tx, SHUT_WR));
    pop_end(pair.rx);
    pair_close(pair);
}

static void test_cancel_accept_the_connection_goes_to_the_next(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 8);
    demi_qtoken_t accepts[3];
    for (int i = 0; i < 3; i++)
        must(demi_accept(&accepts[i], listener));
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, accepts[0], ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(accepts[0]));
    must(demi_cancel(accepts[2]));
    int first = connect_to(&addr, len);
    qr = wait_success(accepts[1], DEMI_OPC_ACCEPT);
    must(demi_close(qr.qr_value.ares.qd));
    int second = connect_to(&addr, len);
    int conn = accept_one(listener);
    must(demi_close(conn));
    must(demi_close(first));
    must(demi_close(second));
    must(demi_close(listener));
}

/* Connections arrive while accepts are cancelled: each is accepted once. */
static void test_cancel_accept_racing_connections_loses_none(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { ROUNDS = 100 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 8);
    for (int round = 0; round < ROUNDS; round++) {
        demi_qtoken_t accepting;
        must(demi_accept(&accepting, listener));
        int client = -1;
        demi_qtoken_t connecting = connect_start(&client, &addr, len);
        if (round % 2 == 0)
            wait_success(connecting, DEMI_OPC_CONNECT);
        int conn;
        const int error = demi_cancel(accepting);
        if (error == 0) {
            conn = accept_one(listener);
        } else {
            must_fail(error, EALREADY);
            conn = wait_success(accepting, DEMI_OPC_ACCEPT).qr_value.ares.qd;
        }
        if (round % 2 != 0)
            wait_success(connecting, DEMI_OPC_CONNECT);
        demi_sgarray_t sga = pattern_sga(10, (uint64_t)round, 0);
        push_all(client, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(conn, 10, (uint64_t)round, 0);
        must(demi_close(client));
        must(demi_close(conn));
    }
    must(demi_close(listener));
}

/* A listener whose backlog is full leaves a connect outstanding. */
static int full_listener(struct sockaddr_storage *addr, socklen_t *len, int fillers[2])
{
    int fd = host_socket(backend()->domain, SOCK_STREAM);
    *len = host_address(backend()->domain, 0, addr);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, *len), 0);
    assert_int_equal(listen(fd, 0), 0);
    *len = sizeof *addr;
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
    fillers[0] = plain_connect(addr, *len);
    fillers[1] = host_socket(backend()->domain, SOCK_STREAM | SOCK_NONBLOCK);
    (void)!connect(fillers[1], (struct sockaddr *)addr, *len);
    return fd;
}

static void test_cancel_connect_leaves_the_socket_usable(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    struct sockaddr_storage full, open;
    socklen_t full_len, open_len;
    int fillers[2];
    int fd = full_listener(&full, &full_len, fillers);
    int qd = -1;
    demi_qtoken_t qt = connect_start(&qd, &full, full_len);
    demi_qresult_t qr;
    const struct timespec moment = ms_time(10);
    must_fail(demi_wait(&qr, qt, &moment), ETIMEDOUT);
    demi_qtoken_t again;
    must_fail(demi_connect(&again, qd, (struct sockaddr *)&full, full_len), EALREADY);
    must(demi_cancel(qt));
    must_fail(demi_wait(&qr, qt, ZERO_TIME), EINVAL);
    int listener = listener_make(&open, &open_len, 4);
    must(demi_connect(&qt, qd, (struct sockaddr *)&open, open_len));
    wait_success(qt, DEMI_OPC_CONNECT);
    int conn = accept_one(listener);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(conn, 10, 1, 0);
    must(demi_close(conn));
    must(demi_close(qd));
    must(demi_close(listener));
    close(fillers[0]);
    close(fillers[1]);
    close(fd);
}

static void test_close_while_connecting_cancels_the_connect(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    struct sockaddr_storage full;
    socklen_t full_len;
    int fillers[2];
    int fd = full_listener(&full, &full_len, fillers);
    int qd = -1;
    demi_qtoken_t qt = connect_start(&qd, &full, full_len);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must(demi_close(qd));
    assert_int_equal(wait_failure(qt), ECANCELED);
    close(fillers[0]);
    close(fillers[1]);
    close(fd);
}

int run_cancel_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_cancel_pop_the_data_goes_to_the_next_pop),
        STARTED(test_cancel_any_of_many_pops_the_others_keep_their_order),
        STARTED(test_cancel_ready_result_is_ealready_and_still_collected),
        STARTED(test_cancel_pop_racing_its_data_loses_nothing),
        STARTED(test_cancel_push_not_begun_has_no_effect),
        STARTED(test_cancel_accept_the_connection_goes_to_the_next),
        STARTED(test_cancel_accept_racing_connections_loses_none),
        STARTED(test_cancel_connect_leaves_the_socket_usable),
        STARTED(test_close_while_connecting_cancels_the_connect),
    };
    return cmocka_run_group_tests_name("cancel", tests, NULL, NULL);
}
