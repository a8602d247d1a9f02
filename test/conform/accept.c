/* SPDX-License-Identifier: MIT */
/* listen, accept, connect. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void test_accept_result_names_the_peer(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr, client_addr;
    socklen_t len, client_len = sizeof client_addr;
    int listener = listener_make(&addr, &len, 4);
    int client = connect_to(&addr, len);
    must(demi_getsockname(client, (struct sockaddr *)&client_addr, &client_len));
    demi_qtoken_t qt;
    must(demi_accept(&qt, listener));
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_ACCEPT);
    assert_int_equal(qr.qr_qd, listener);
    demi_accept_result_t ares = qr.qr_value.ares;
    if (backend()->domain == AF_INET) {
        assert_int_equal(ares.addr.sin_family, AF_INET);
        assert_int_equal(ntohs(ares.addr.sin_port), port_of(&client_addr));
        assert_int_equal(ares.addr.sin_addr.s_addr,
                         ((struct sockaddr_in *)&client_addr)->sin_addr.s_addr);
    } else {
        assert_int_equal(ares.addr.sin_family, AF_UNSPEC);
    }
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    must(demi_getpeername(ares.qd, (struct sockaddr *)&peer, &peer_len));
    assert_int_equal(peer_len, client_len);
    assert_memory_equal(&peer, &client_addr, client_len);
    must(demi_close(ares.qd));
    must(demi_close(client));
    must(demi_close(listener));
}

static void test_accepts_issued_ahead_complete_in_issue_order(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { CONNS = 60 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 128);
    demi_qtoken_t accepts[CONNS];
    int clients[CONNS];
    int conns[CONNS];
    for (int i = 0; i < CONNS; i++)
        must(demi_accept(&accepts[i], listener));
    for (int i = 0; i < CONNS; i++)
        clients[i] = connect_to(&addr, len);
    for (int i = CONNS - 1; i >= 0; i--)
        conns[i] = wait_success(accepts[i], DEMI_OPC_ACCEPT).qr_value.ares.qd;
    for (int i = 0; i < CONNS; i++) {
        demi_sgarray_t sga = pattern_sga(20, (uint64_t)i, 0);
        push_all(clients[i], &sga);
        must(demi_sgafree(&sga));
        pop_pattern(conns[i], 20, (uint64_t)i, 0); /* the i-th to connect is the i-th accept's */
    }
    for (int i = 0; i < CONNS; i++) {
        must(demi_close(clients[i]));
        must(demi_close(conns[i]));
    }
    must(demi_close(listener));
}

static void test_accept_after_connections_wait_in_the_backlog(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { CONNS = 200 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, CONNS);
    int *clients = calloc(CONNS, sizeof *clients);
    demi_qtoken_t *connects = calloc(CONNS, sizeof *connects);
    for (int i = 0; i < CONNS; i++)
        connects[i] = connect_start(&clients[i], &addr, len);
    for (int i = 0; i < CONNS; i++)
        wait_success(connects[i], DEMI_OPC_CONNECT);
    for (int i = 0; i < CONNS; i++) {
        demi_sgarray_t sga = pattern_sga(20, 1, 0); /* before anybody accepted it */
        push_all(clients[i], &sga);
        must(demi_sgafree(&sga));
    }
    for (int i = 0; i < CONNS; i++) {
        int conn = accept_one(listener);
        pop_pattern(conn, 20, 1, 0);
        must(demi_close(conn));
        must(demi_close(clients[i]));
    }
    free(clients);
    free(connects);
    must(demi_close(listener));
}

static void test_accept_connection_reset_before_it_loses_no_other(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 16);
    for (int i = 0; i < 5; i++)
        plain_reset(plain_connect(&addr, len));
    int client = connect_to(&addr, len);
    demi_sgarray_t sga = pattern_sga(20, 1, 0);
    push_all(client, &sga);
    must(demi_sgafree(&sga));
    for (int i = 0;; i++) { /* connections that are reset already, or failures, may come first */
        assert_true(i < 6);
        demi_qtoken_t qt;
        must(demi_accept(&qt, listener));
        demi_qresult_t qr = wait_result(qt);
        if (qr.qr_opcode != DEMI_OPC_ACCEPT)
            continue;
        const int conn = qr.qr_value.ares.qd;
        qr = wait_result(pop_start(conn));
        const bool ours = qr.qr_opcode == DEMI_OPC_POP;
        if (ours) {
            pattern_check_sga(&qr.qr_value.sga, 1, 0);
            must(demi_sgafree(&qr.qr_value.sga));
        }
        must(demi_close(conn));
        if (ours)
            break;
    }
    must(demi_close(client));
    must(demi_close(listener));
}

static void test_accept_on_what_does_not_listen_is_einval(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    int qd = -1;
    demi_qtoken_t qt;
    must(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0));
    must_fail(demi_accept(&qt, qd), EINVAL);
    must_fail(demi_accept(NULL, qd), EINVAL);
    must(demi_close(qd));
    struct pair pair = pair_make();
    must_fail(demi_accept(&qt, pair.rx), EINVAL);
    pair_close(pair);
}

static void test_accept_where_there_are_no_connections_is_eopnotsupp(void **state)
{
    (void)state;
    if (backend_can(CAN_LISTEN))
        return;
    struct pair pair = pair_make();
    demi_qtoken_t qt;
    must_fail(demi_accept(&qt, pair.rx), EOPNOTSUPP);
    must_fail(demi_listen(pair.rx, 4), EOPNOTSUPP);
    pair_close(pair);
}

static void test_listen_bad_backlog_is_einval(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    int qd = -1;
    struct sockaddr_storage addr;
    socklen_t len = loopback(backend()->domain, 0, &addr);
    must(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0));
    must(demi_bind(qd, (struct sockaddr *)&addr, len));
    must_fail(demi_listen(qd, 0), EINVAL);
    must_fail(demi_listen(qd, -1), EINVAL);
    must_fail(demi_listen(-1, 1), EBADF);
    must(demi_listen(qd, 1));
    must(demi_close(qd));
}

static void test_connect_nobody_listens_is_econnrefused(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 1);
    must(demi_close(listener));
    for (int i = 0; i < 20; i++) {
        int qd = -1;
        demi_qresult_t qr = wait_result(connect_start(&qd, &addr, len));
        assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
        assert_int_equal(qr.qr_ret, ECONNREFUSED);
        assert_int_equal(qr.qr_qd, qd);
        must(demi_close(qd));
    }
}

static void test_connect_again_after_refused_succeeds(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage closed, addr;
    socklen_t len;
    int listener = listener_make(&closed, &len, 1);
    must(demi_close(listener));
    listener = listener_make(&addr, &len, 4);
    int qd = -1;
    assert_int_equal(wait_failure(connect_start(&qd, &closed, len)), ECONNREFUSED);
    demi_qtoken_t qt;
    must(demi_connect(&qt, qd, (struct sockaddr *)&addr, len));
    wait_success(qt, DEMI_OPC_CONNECT);
    must(demi_close(qd));
    must(demi_close(listener));
}

static void test_connect_when_connected_is_eisconn(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    int client = connect_to(&addr, len);
    demi_qtoken_t qt;
    must_fail(demi_connect(&qt, client, (struct sockaddr *)&addr, len), EISCONN);
    int conn = accept_one(listener);
    must_fail(demi_connect(&qt, conn, (struct sockaddr *)&addr, len), EISCONN);
    must(demi_close(conn));
    must(demi_close(client));
    must(demi_close(listener));
}

static void test_connect_bad_arguments(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    struct sockaddr_storage addr, other;
    socklen_t len = loopback(backend()->domain, 9, &addr);
    socklen_t other_len = loopback(backend()->domain == AF_INET ? AF_INET6 : AF_INET, 9, &other);
    int qd = -1;
    demi_qtoken_t qt = 4711;
    must(demi_socket(&qd, backend()->domain, backend()->type, 0));
    must_fail(demi_connect(NULL, qd, (struct sockaddr *)&addr, len), EINVAL);
    must_fail(demi_connect(&qt, qd, NULL, len), EINVAL);
    must_fail(demi_connect(&qt, qd, (struct sockaddr *)&addr, 0), EINVAL);
    must_fail(demi_connect(&qt, qd, (struct sockaddr *)&addr, 3), EINVAL);
    must_fail(demi_connect(&qt, qd, (struct sockaddr *)&addr, UINT32_MAX), EINVAL);
    must_fail(demi_connect(&qt, qd, (struct sockaddr *)&other, other_len), EAFNOSUPPORT);
    must_fail(demi_connect(&qt, -1, (struct sockaddr *)&addr, len), EBADF);
    assert_true(qt == 4711);
    must(demi_close(qd));
}

static void test_push_and_pop_unconnected_is_enotconn(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    int qd = -1;
    must(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0));
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    demi_qtoken_t qt = 4711;
    must_fail(demi_push(&qt, qd, &sga), ENOTCONN);
    must_fail(demi_pop(&qt, qd), ENOTCONN);
    assert_true(qt == 4711);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 1);
    (void)must_either(demi_push(&qt, listener, &sga), ENOTCONN, EINVAL);
    (void)must_either(demi_pop(&qt, listener), ENOTCONN, EINVAL);
    must(demi_sgafree(&sga));
    must(demi_close(listener));
    must(demi_close(qd));
}

static void test_accept_many_at_a_time_in_rounds(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { AT_A_TIME = 16, ROUNDS = 12 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, AT_A_TIME);
    for (int round = 0; round < ROUNDS; round++) {
        demi_qtoken_t qts[2 * AT_A_TIME];
        demi_qresult_t qrs[2 * AT_A_TIME];
        int clients[AT_A_TIME];
        for (int i = 0; i < AT_A_TIME; i++) {
            must(demi_accept(&qts[i], listener));
            qts[AT_A_TIME + i] = connect_start(&clients[i], &addr, len);
        }
        const struct timespec patience = {PATIENCE_S, 0};
        must(demi_wait_all(qrs, qts, 2 * AT_A_TIME, &patience));
        for (int i = 0; i < AT_A_TIME; i++) {
            assert_int_equal(qrs[i].qr_opcode, DEMI_OPC_ACCEPT);
            assert_int_equal(qrs[AT_A_TIME + i].qr_opcode, DEMI_OPC_CONNECT);
            must(demi_close(qrs[i].qr_value.ares.qd));
            must(demi_close(clients[i]));
        }
    }
    must(demi_close(listener));
}

/* More sockets than any table, batch or ring of events holds at first. */
static void test_connections_by_the_thousand_are_all_served(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const int num = (int)limit.rlim_cur / 2 - 48 < 1500 ? (int)limit.rlim_cur / 2 - 48 : 1500;
    struct pair *pairs = calloc((size_t)num, sizeof *pairs);
    demi_qtoken_t *pops = calloc((size_t)num, sizeof *pops);
    for (int i = 0; i < num; i++) {
        pairs[i] = pair_make();
        pops[i] = pop_start(pairs[i].rx);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = num - 1; i >= 0; i--) {
            demi_sgarray_t sga = pattern_sga(20, (uint64_t)i, 0);
            push_all(pairs[i].tx, &sga);
            must(demi_sgafree(&sga));
        }
        for (int left = num; left > 0; left--) {
            demi_qresult_t qr;
            int at = -1;
            const struct timespec patience = {PATIENCE_S, 0};
            must(demi_wait_any(&qr, &at, pops, num, &patience));
            assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
            assert_int_equal(qr.qr_qd, pairs[at].rx);
            pattern_check_sga(&qr.qr_value.sga, (uint64_t)at, 0);
            must(demi_sgafree(&qr.qr_value.sga));
            pops[at] = pop_start(pairs[at].rx);
        }
    }
    for (int i = 0; i < num; i++)
        pair_close(pairs[i]);
    free(pairs);
    free(pops);
}

/* A listener of SO_REUSEPORT, at the port of *addr or one of the system's choice. */
static int sharing_listener(struct sockaddr_storage *addr, socklen_t *len)
{
    int qd = -1;
    const int on = 1;
    must(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0));
    must(demi_setsockopt(qd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
    must(demi_bind(qd, (struct sockaddr *)addr, *len));
    must(demi_getsockname(qd, (struct sockaddr *)addr, len));
    must(demi_listen(qd, 64));
    return qd;
}

/* Every connection comes to one of them; whoever is left gets all that come later. */
static void test_listeners_of_one_port_share_the_connections(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { CONNS = 40 };
    struct sockaddr_storage addr;
    socklen_t len = loopback(backend()->domain, 0, &addr);
    int listeners[2], clients[CONNS], conns[CONNS];
    demi_qtoken_t accepts[2];
    for (int i = 0; i < 2; i++) {
        listeners[i] = sharing_listener(&addr, &len);
        must(demi_accept(&accepts[i], listeners[i]));
    }
    for (int i = 0; i < CONNS; i++) {
        const struct timespec patience = {PATIENCE_S, 0};
        demi_qresult_t qr;
        int at = -1;
        clients[i] = connect_to(&addr, len);
        must(demi_wait_any(&qr, &at, accepts, 2, &patience));
        assert_int_equal(qr.qr_opcode, DEMI_OPC_ACCEPT);
        assert_int_equal(qr.qr_qd, listeners[at]);
        conns[i] = qr.qr_value.ares.qd;
        must(demi_accept(&accepts[at], listeners[at]));
    }
    must(demi_close(listeners[0]));
    assert_int_equal(wait_failure(accepts[0]), ECANCELED);
    int client = connect_to(&addr, len);
    int conn = wait_success(accepts[1], DEMI_OPC_ACCEPT).qr_value.ares.qd;
    for (int i = 0; i < CONNS; i++) {
        must(demi_close(clients[i]));
        must(demi_close(conns[i]));
    }
    must(demi_close(client));
    must(demi_close(conn));
    must(demi_close(listeners[1]));
}

static void test_listener_serves_plain_clients(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    int qd, fd;
    plain_pair(&qd, &fd);
    uint8_t out[5000];
    uint8_t in[5000];
    pattern_fill(out, sizeof out, 1, 0);
    plain_send(fd, out, sizeof out);
    pop_pattern(qd, sizeof out, 1, 0);
    demi_sgarray_t sga = pattern_sga(sizeof in, 2, 0);
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
    plain_receive(fd, in, sizeof in);
    pattern_check(in, sizeof in, 2, 0);
    must(demi_close(qd));
    assert_int_equal(plain_end(fd), 0);
    close(fd);
}

int run_accept_tests(void)
{
    if (!backend_can(CAN_SOCKET))
        return 0;
    const struct CMUnitTest tests[] = {
        STARTED(test_accept_result_names_the_peer),
        STARTED(test_accepts_issued_ahead_complete_in_issue_order),
        STARTED(test_accept_after_connections_wait_in_the_backlog),
        STARTED(test_accept_connection_reset_before_it_loses_no_other),
        STARTED(test_accept_on_what_does_not_listen_is_einval),
        STARTED(test_accept_where_there_are_no_connections_is_eopnotsupp),
        STARTED(test_listen_bad_backlog_is_einval),
        STARTED(test_connect_nobody_listens_is_econnrefused),
        STARTED(test_connect_again_after_refused_succeeds),
        STARTED(test_connect_when_connected_is_eisconn),
        STARTED(test_connect_bad_arguments),
        STARTED(test_push_and_pop_unconnected_is_enotconn),
        STARTED(test_accept_many_at_a_time_in_rounds),
        STARTED(test_listeners_of_one_port_share_the_connections),
        STARTED(test_listener_serves_plain_clients),
        STARTED(test_connections_by_the_thousand_are_all_served),
    };
    return cmocka_run_group_tests_name("accept", tests, NULL, NULL);
}
