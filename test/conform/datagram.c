/* SPDX-License-Identifier: MIT */
/* Datagrams: boundaries, addresses, sizes. */
#include "suite.h"

#include <string.h>
#include <unistd.h>

static void pushto_all(int qd, const demi_sgarray_t *sga, const struct sockaddr_storage *to,
                       socklen_t len)
{
    demi_qtoken_t qt = 0;
    must(demi_pushto(&qt, qd, sga, (const struct sockaddr *)to, len));
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_PUSH);
    assert_int_equal(qr.qr_qd, qd);
}

static int pushto_outcome(int qd, const demi_sgarray_t *sga, const struct sockaddr_storage *to,
                          socklen_t len)
{
    demi_qtoken_t qt = 0;
    int error = demi_pushto(&qt, qd, sga, (const struct sockaddr *)to, len);
    if (error != 0)
        return error;
    demi_qresult_t qr = wait_result(qt);
    return qr.qr_opcode == DEMI_OPC_FAILED ? (int)qr.qr_ret : 0;
}

static void test_datagram_sender_is_known_to_the_receiver(void **state)
{
    (void)state;
    struct sockaddr_storage a_addr, b_addr, peer;
    socklen_t a_len, b_len;
    int a = datagram_make(&a_addr, &a_len);
    int b = datagram_make(&b_addr, &b_len);
    demi_sgarray_t sga = pattern_sga(33, 1, 0);
    pushto_all(a, &sga, &b_addr, b_len);
    must(demi_sgafree(&sga));
    demi_sgarray_t popped = pop_one(b);
    pattern_check_sga(&popped, 1, 0);
    const struct sockaddr_in from = popped.sga_addr;
    if (backend()->domain == AF_INET) {
        assert_int_equal(from.sin_family, AF_INET);
        assert_int_equal(ntohs(from.sin_port), port_of(&a_addr));
        assert_memory_equal(&from.sin_addr, &((struct sockaddr_in *)&a_addr)->sin_addr, 4);
    } else {
        assert_int_equal(from.sin_family, AF_UNSPEC);
    }
    memset(&peer, 0xee, sizeof peer);
    socklen_t len = sizeof peer;
    must(demi_sga_peer(&popped, (struct sockaddr *)&peer, &len));
    assert_int_equal(len, a_len);
    assert_memory_equal(&peer, &a_addr, a_len);
    memset(&peer, 0xee, sizeof peer);
    len = 4; /* truncated to fit, the size in full */
    must(demi_sga_peer(&popped, (struct sockaddr *)&peer, &len));
    assert_int_equal(len, a_len);
    assert_memory_equal(&peer, &a_addr, 4);
    assert_int_equal(((uint8_t *)&peer)[4], 0xee);
    must(demi_sgafree(&popped));
    must(demi_close(a));
    must(demi_close(b));
}

/* The answer goes where the question came from, by either spelling of the address. */
static void test_datagram_that_is_there_is_popped_without_a_wait(void **state)
{
    (void)state;
    struct sockaddr_storage a_addr, b_addr;
    socklen_t a_len, b_len;
    int a = datagram_make(&a_addr, &a_len);
    int b = datagram_make(&b_addr, &b_len);
    demi_sgarray_t sga = pattern_sga(33, 1, 0);
    pushto_all(a, &sga, &b_addr, b_len);
    must(demi_sgafree(&sga));
    demi_qresult_t qr;
    must(demi_wait(&qr, pop_start(b), ZERO_TIME));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
    must(demi_sgafree(&qr.qr_value.sga));
    must(demi_close(a));
    must(demi_close(b));
}

static void test_datagram_answer_to_sga_addr_arrives(void **state)
{
    (void)state;
    struct sockaddr_storage server_addr;
    socklen_t server_len;
    int server = datagram_make(&server_addr, &server_len);
    int clients[5];
    for (uint64_t i = 0; i < 5; i++) {
        struct sockaddr_storage addr;
        socklen_t len;
        clients[i] = datagram_make(&addr, &len);
        demi_sgarray_t sga = pattern_sga(10 + i, i, 0);
        pushto_all(clients[i], &sga, &server_addr, server_len);
        must(demi_sgafree(&sga));
    }
    for (int i = 0; i < 5; i++) {
        demi_sgarray_t sga = pop_one(server);
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        if (backend()->domain == AF_INET) {
            const struct sockaddr_in from = sga.sga_addr;
            memcpy(&peer, &from, len = sizeof from);
        } else {
            must(demi_sga_peer(&sga, (struct sockaddr *)&peer, &len));
        }
        pushto_all(server, &sga, &peer, len);
        must(demi_sgafree(&sga));
    }
    for (uint64_t i = 0; i < 5; i++) {
        demi_sgarray_t sga = pop_one(clients[i]);
        assert_int_equal(sga_bytes(&sga), 10 + i);
        pattern_check_sga(&sga, i, 0);
        must(demi_sgafree(&sga));
        must(demi_close(clients[i]));
    }
    must(demi_close(server));
}

static void test_datagram_largest_arrives_and_one_more_byte_is_emsgsize(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint32_t largest = backend()->domain == AF_INET ? 65507 : 65527;
    demi_sgarray_t sga = pattern_sga(largest, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_sgarray_t popped = pop_one(pair.rx);
    assert_int_equal(popped.sga_numsegs, 1);
    assert_int_equal(sga_bytes(&popped), largest);
    pattern_check_sga(&popped, 1, 0);
    must(demi_sgafree(&popped));
    static const size_t over[] = {1, 100, 100000, 16u << 20};
    for (size_t i = 0; i < COUNT_OF(over); i++) {
        sga = demi_sgaalloc(largest + over[i]);
        memset(sga.sga_segs[0].sgaseg_buf, 1, largest + over[i]);
        demi_qtoken_t qt = push_start(pair.tx, &sga); /* EMSGSIZE comes in the result */
        must(demi_sgafree(&sga));
        assert_int_equal(wait_failure(qt), EMSGSIZE);
    }
    sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(pair.rx, 10, 1, 0);
    pair_close(pair);
}

static void test_datagram_empty_is_one_segment_of_length_zero(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    char byte = 0;
    demi_sgarray_t sga = built_sga(&byte, 0);
    demi_qtoken_t qt = pop_start(pair.rx);
    push_all(pair.tx, &sga);
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    demi_sgarray_t popped = qr.qr_value.sga;
    assert_int_equal(popped.sga_numsegs, 1);
    assert_int_equal(popped.sga_segs[0].sgaseg_len, 0);
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    must(demi_sga_peer(&popped, (struct sockaddr *)&peer, &len));
    must(demi_sgafree(&popped));
    pair_close(pair);
}

/* A third is bound, a third connects, a third just sends: all with SO_REUSEADDR, as they are made.
 */
static void test_datagram_port_left_to_the_system_is_of_one_socket(void **state)
{
    (void)state;
    enum { SOCKETS = 600 };
    static int qds[SOCKETS];
    static bool used[65536];
    struct sockaddr_storage to, any = {.ss_family = (sa_family_t)backend()->domain};
    socklen_t len;
    int server = datagram_make(&to, &len);
    memset(used, 0, sizeof used);
    for (int i = 0; i < SOCKETS; i++) {
        demi_qtoken_t qt;
        struct sockaddr_storage name;
        socklen_t name_len = sizeof name;
        must(demi_socket(&qds[i], backend()->domain, SOCK_DGRAM, 0));
        if (i % 3 == 0) {
            must(demi_bind(qds[i], (struct sockaddr *)&any, len));
        } else if (i % 3 == 1) {
            must(demi_connect(&qt, qds[i], (struct sockaddr *)&to, len));
            wait_success(qt, DEMI_OPC_CONNECT);
        } else {
            demi_sgarray_t sga = pattern_sga(1, 1, 0);
            pushto_all(qds[i], &sga, &to, len);
            must(demi_sgafree(&sga));
        }
        must(demi_getsockname(qds[i], (struct sockaddr *)&name, &name_len));
        const uint16_t port = ((struct sockaddr_in *)&name)->sin_port; /* where v6 has it too */
        must_hold(!used[port], "socket %d has the port of another", i);
        used[port] = true;
        int reuse = 0;
        socklen_t reuse_len = sizeof reuse;
        must(demi_getsockopt(qds[i], SOL_SOCKET, SO_REUSEADDR, &reuse, &reuse_len));
        assert_int_equal(reuse, 1);
    }
    for (int i = 0; i < SOCKETS; i++)
        must(demi_close(qds[i]));
    must(demi_close(server));
}

static void test_datagram_without_destination_is_refused(void **state)
{
    (void)state;
    struct sockaddr_storage addr;
    socklen_t len;
    int qd = datagram_make(&addr, &len);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    const int error = push_outcome(qd, &sga);
    must_hold(error == EDESTADDRREQ || error == ENOTCONN, "got %s", errno_name(error));
    demi_qtoken_t qt = pop_start(qd); /* unconnected, but it may receive */
    pushto_all(qd, &sga, &addr, len); /* from itself */
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    must(demi_sgafree(&sga));
    must(demi_close(qd));
}

static void test_datagram_unbound_socket_may_send(void **state)
{
    (void)state;
    struct sockaddr_storage addr;
    socklen_t len;
    int b = datagram_make(&addr, &len);
    int a = -1;
    must(demi_socket(&a, backend()->domain, SOCK_DGRAM, 0));
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    pushto_all(a, &sga, &addr, len);
    must(demi_sgafree(&sga));
    pop_pattern(b, 10, 1, 0);
    must(demi_close(a));
    must(demi_close(b));
}

static void test_datagram_connected_receives_from_its_peer_only(void **state)
{
    (void)state;
    struct sockaddr_storage a_addr, b_addr, c_addr;
    socklen_t a_len, b_len, c_len;
    int a = datagram_make(&a_addr, &a_len);
    int b = datagram_make(&b_addr, &b_len);
    int c = datagram_make(&c_addr, &c_len);
    demi_qtoken_t qt;
    must(demi_connect(&qt, a, (struct sockaddr *)&b_addr, b_len));
    wait_success(qt, DEMI_OPC_CONNECT);
    demi_sgarray_t foreign = pattern_sga(10, 1, 0);
    demi_sgarray_t own = pattern_sga(10, 2, 0);
    pushto_all(c, &foreign, &a_addr, a_len);
    pushto_all(b, &own, &a_addr, a_len);
    pop_pattern(a, 10, 2, 0);
    push_all(a, &own); /* no address needed now */
    pop_pattern(b, 10, 2, 0);
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    must(demi_getpeername(a, (struct sockaddr *)&peer, &len));
    assert_memory_equal(&peer, &b_addr, b_len);
    len = sizeof peer;
    must_fail(demi_getpeername(b, (struct sockaddr *)&peer, &len), ENOTCONN);
    must(demi_connect(&qt, a, (struct sockaddr *)&c_addr, c_len)); /* another peer */
    wait_success(qt, DEMI_OPC_CONNECT);
    pushto_all(c, &foreign, &a_addr, a_len);
    pop_pattern(a, 10, 1, 0);
    must(demi_sgafree(&foreign));
    must(demi_sgafree(&own));
    must(demi_close(a));
    must(demi_close(b));
    must(demi_close(c));
}

static void test_pushto_bad_arguments(void **state)
{
    (void)state;
    struct sockaddr_storage addr, other;
    socklen_t len;
    int qd = datagram_make(&addr, &len);
    socklen_t other_len = loopback(backend()->domain == AF_INET ? AF_INET6 : AF_INET, 9, &other);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    demi_qtoken_t qt = 4711;
    const struct sockaddr *to = (struct sockaddr *)&addr;
    must_fail(demi_pushto(NULL, qd, &sga, to, len), EINVAL);
    must_fail(demi_pushto(&qt, qd, NULL, to, len), EINVAL);
    must_fail(demi_pushto(&qt, qd, &sga, NULL, len), EINVAL);
    must_fail(demi_pushto(&qt, qd, &sga, to, 0), EINVAL);
    must_fail(demi_pushto(&qt, qd, &sga, to, 3), EINVAL);
    must_fail(demi_pushto(&qt, qd, &sga, to, UINT32_MAX), EINVAL);
    must_fail(demi_pushto(&qt, -1, &sga, to, len), EBADF);
    must_fail(pushto_outcome(qd, &sga, &other, other_len), EAFNOSUPPORT);
    must_fail(demi_listen(qd, 4), EOPNOTSUPP);
    assert_true(qt == 4711);
    must(demi_sgafree(&sga));
    must(demi_close(qd));
}

static void test_datagram_connect_refused_does_not_break_the_socket(void **state)
{
    (void)state;
    struct sockaddr_storage a_addr, gone_addr, c_addr;
    socklen_t a_len, gone_len, c_len;
    int a = datagram_make(&a_addr, &a_len);
    int gone = datagram_make(&gone_addr, &gone_len);
    int c = datagram_make(&c_addr, &c_len);
    must(demi_close(gone));
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    for (int i = 0; i < 5; i++) /* unconnected: nobody hears of what could not be delivered */
        pushto_all(a, &sga, &gone_addr, gone_len);
    demi_qtoken_t qt = pop_start(a);
    pushto_all(c, &sga, &a_addr, a_len);
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    must(demi_sgafree(&sga));
    must(demi_close(a));
    must(demi_close(c));
}

static void test_pushto_on_a_connected_stream_ignores_the_address(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    int client = connect_to(&addr, len);
    int conn = accept_one(listener);
    struct sockaddr_storage elsewhere;
    socklen_t elsewhere_len = loopback(backend()->domain, 9, &elsewhere);
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    pushto_all(client, &sga, &elsewhere, elsewhere_len);
    must(demi_sgafree(&sga));
    pop_pattern(conn, 10, 1, 0);
    must(demi_close(conn));
    must(demi_close(client));
    must(demi_close(listener));
}

static void test_stream_element_has_no_sender_address_of_another_family(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_sgarray_t popped = pop_one(pair.rx);
    struct sockaddr_storage peer;
    socklen_t len = sizeof peer;
    must_fail(demi_sga_peer(&popped, (struct sockaddr *)&peer, &len), ENOTCONN);
    must(demi_sgafree(&popped));
    pair_close(pair);
}

int run_datagram_tests(void)
{
    const struct CMUnitTest datagram[] = {
        STARTED(test_datagram_sender_is_known_to_the_receiver),
        STARTED(test_datagram_that_is_there_is_popped_without_a_wait),
        STARTED(test_datagram_answer_to_sga_addr_arrives),
        STARTED(test_datagram_largest_arrives_and_one_more_byte_is_emsgsize),
        STARTED(test_datagram_empty_is_one_segment_of_length_zero),
        STARTED(test_datagram_without_destination_is_refused),
        STARTED(test_datagram_unbound_socket_may_send),
        STARTED(test_datagram_connected_receives_from_its_peer_only),
        STARTED(test_pushto_bad_arguments),
        STARTED(test_datagram_connect_refused_does_not_break_the_socket),
        STARTED(test_datagram_port_left_to_the_system_is_of_one_socket),
    };
    const struct CMUnitTest stream[] = {
        STARTED(test_pushto_on_a_connected_stream_ignores_the_address),
        STARTED(test_stream_element_has_no_sender_address_of_another_family),
    };
    if (backend_can(CAN_PUSHTO))
        return cmocka_run_group_tests_name("datagram", datagram, NULL, NULL);
    if (backend_can(CAN_LISTEN))
        return cmocka_run_group_tests_name("datagram", stream, NULL, NULL);
    return 0;
}
