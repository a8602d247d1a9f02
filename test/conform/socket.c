/* SPDX-License-Identifier: MIT */
/* Names, options, and bad arguments of the control path. */
#include "suite.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

static int socket_make(void)
{
    int qd = -1;
    must(demi_socket(&qd, backend()->domain, backend()->type, 0));
    assert_true(qd >= 0);
    return qd;
}

static int option(int qd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    must(demi_getsockopt(qd, level, name, &value, &len));
    assert_int_equal(len, sizeof value);
    return value;
}

static void test_socket_unknown_kinds_are_refused(void **state)
{
    (void)state;
    int qd = 4711;
    must_fail(demi_socket(NULL, AF_INET, SOCK_STREAM, 0), EINVAL);
    must_fail(demi_socket(&qd, AF_UNIX, SOCK_STREAM, 0), EAFNOSUPPORT);
    must_fail(demi_socket(&qd, AF_UNSPEC, SOCK_STREAM, 0), EAFNOSUPPORT);
    must_fail(demi_socket(&qd, AF_NETLINK, SOCK_RAW, 0), EAFNOSUPPORT);
    must_fail(demi_socket(&qd, -1, SOCK_STREAM, 0), EAFNOSUPPORT);
    must_fail(demi_socket(&qd, backend()->domain, SOCK_RAW, 0), ESOCKTNOSUPPORT);
    must_fail(demi_socket(&qd, backend()->domain, SOCK_SEQPACKET, 0), ESOCKTNOSUPPORT);
    must_fail(demi_socket(&qd, backend()->domain, 0, 0), ESOCKTNOSUPPORT);
    must_fail(demi_socket(&qd, backend()->domain, SOCK_STREAM, IPPROTO_UDP), EPROTONOSUPPORT);
    must_fail(demi_socket(&qd, backend()->domain, SOCK_DGRAM, IPPROTO_TCP), EPROTONOSUPPORT);
    must_fail(demi_socket(&qd, backend()->domain, SOCK_STREAM, 9999), EPROTONOSUPPORT);
    assert_int_equal(qd, 4711);
    must(demi_socket(&qd, backend()->domain, SOCK_STREAM, IPPROTO_TCP));
    must(demi_close(qd));
    must(demi_socket(&qd, backend()->domain, SOCK_DGRAM, IPPROTO_UDP));
    must(demi_close(qd));
}

static void test_bind_bad_arguments(void **state)
{
    (void)state;
    struct sockaddr_storage addr, other;
    socklen_t len = loopback(backend()->domain, 0, &addr);
    socklen_t other_len = loopback(backend()->domain == AF_INET ? AF_INET6 : AF_INET, 0, &other);
    int qd = socket_make();
    must_fail(demi_bind(-1, (struct sockaddr *)&addr, len), EBADF);
    must_fail(demi_bind(qd, NULL, len), EINVAL);
    must_fail(demi_bind(qd, (struct sockaddr *)&addr, 0), EINVAL);
    must_fail(demi_bind(qd, (struct sockaddr *)&addr, 3), EINVAL);
    must_fail(demi_bind(qd, (struct sockaddr *)&addr, UINT32_MAX), EINVAL);
    (void)must_either(demi_bind(qd, (struct sockaddr *)&other, other_len), EAFNOSUPPORT, EINVAL);
    must(demi_bind(qd, (struct sockaddr *)&addr, len));
    must_fail(demi_bind(qd, (struct sockaddr *)&addr, len), EINVAL);
    must(demi_close(qd));
}

static void test_bind_address_that_is_not_ours_is_eaddrnotavail(void **state)
{
    (void)state;
    struct sockaddr_storage addr;
    socklen_t len = loopback(backend()->domain, 0, &addr);
    if (backend()->domain == AF_INET) /* addresses for documentation */
        ((struct sockaddr_in *)&addr)->sin_addr.s_addr = htonl(0xc0000201);
    else
        memcpy(&((struct sockaddr_in6 *)&addr)->sin6_addr, "\x20\x01\x0d\xb8", 4);
    int qd = socket_make();
    must_fail(demi_bind(qd, (struct sockaddr *)&addr, len), EADDRNOTAVAIL);
    must(demi_close(qd));
}

static void test_bind_port_that_listens_is_eaddrinuse(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    int qd = socket_make();
    int error = demi_bind(qd, (struct sockaddr *)&addr, len);
    if (error == 0) /* with SO_REUSEADDR, listen is where it shows */
        error = demi_listen(qd, 4);
    must_fail(error, EADDRINUSE);
    must(demi_close(qd));
    must(demi_close(listener));
}

static void test_bind_port_of_a_closed_connection_at_once(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    int client = connect_to(&addr, len);
    int conn = accept_one(listener);
    must(demi_close(conn)); /* the server's side waits out TIME-WAIT */
    pop_end(client);
    must(demi_close(client));
    must(demi_close(listener));
    int qd = socket_make();
    must(demi_bind(qd, (struct sockaddr *)&addr, len));
    must(demi_listen(qd, 4));
    must(demi_close(qd));
}

static void test_names_of_both_ends_agree(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct sockaddr_storage tx_local, tx_peer, rx_local, rx_peer;
    socklen_t lens[4] = {sizeof tx_local, sizeof tx_peer, sizeof rx_local, sizeof rx_peer};
    must(demi_getsockname(pair.tx, (struct sockaddr *)&tx_local, &lens[0]));
    must(demi_getpeername(pair.tx, (struct sockaddr *)&tx_peer, &lens[1]));
    must(demi_getsockname(pair.rx, (struct sockaddr *)&rx_local, &lens[2]));
    must(demi_getpeername(pair.rx, (struct sockaddr *)&rx_peer, &lens[3]));
    const socklen_t size =
        backend()->domain == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    for (int i = 0; i < 4; i++)
        assert_int_equal(lens[i], size);
    assert_int_equal(tx_local.ss_family, backend()->domain);
    assert_memory_equal(&tx_local, &rx_peer, size);
    assert_memory_equal(&rx_local, &tx_peer, size);
    pair_close(pair);
}

static void test_names_are_truncated_to_the_space_given(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct sockaddr_storage whole;
    socklen_t whole_len = sizeof whole;
    must(demi_getsockname(pair.tx, (struct sockaddr *)&whole, &whole_len));
    for (socklen_t space = 0; space <= whole_len + 3; space++) {
        struct sockaddr_storage got;
        memset(&got, 0xee, sizeof got);
        socklen_t len = space;
        must(demi_getsockname(pair.tx, (struct sockaddr *)&got, &len));
        assert_int_equal(len, whole_len);
        const size_t filled = space < whole_len ? space : whole_len;
        assert_memory_equal(&got, &whole, filled);
        assert_int_equal(((uint8_t *)&got)[filled], 0xee);
        len = space;
        must(demi_getpeername(pair.tx, (struct sockaddr *)&got, &len));
        assert_int_equal(len, whole_len);
    }
    pair_close(pair);
}

static void test_names_bad_arguments(void **state)
{
    (void)state;
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    int qd = socket_make();
    must_fail(demi_getpeername(qd, (struct sockaddr *)&addr, &len), ENOTCONN);
    must_fail(demi_getsockname(qd, NULL, &len), EINVAL);
    must_fail(demi_getsockname(qd, (struct sockaddr *)&addr, NULL), EINVAL);
    must_fail(demi_getpeername(qd, NULL, &len), EINVAL);
    must_fail(demi_getpeername(qd, (struct sockaddr *)&addr, NULL), EINVAL);
    must_fail(demi_getsockname(-1, (struct sockaddr *)&addr, &len), EBADF);
    must_fail(demi_getpeername(-1, (struct sockaddr *)&addr, &len), EBADF);
    assert_int_equal(len, sizeof addr);
    must(demi_getsockname(qd, (struct sockaddr *)&addr, &len)); /* unbound: port 0 */
    assert_int_equal(addr.ss_family, backend()->domain);
    assert_int_equal(port_of(&addr), 0);
    must(demi_close(qd));
}

static void test_options_that_describe_the_socket(void **state)
{
    (void)state;
    int qd = socket_make();
    assert_int_equal(option(qd, SOL_SOCKET, SO_TYPE), backend()->type);
    assert_int_equal(option(qd, SOL_SOCKET, SO_DOMAIN), backend()->domain);
    assert_int_equal(option(qd, SOL_SOCKET, SO_PROTOCOL),
                     backend()->type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP);
    assert_int_equal(option(qd, SOL_SOCKET, SO_ERROR), 0);
    assert_int_equal(option(qd, SOL_SOCKET, SO_REUSEADDR), 1);
    must(demi_close(qd));
    if (!backend_can(CAN_LISTEN))
        return;
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 1);
    assert_int_equal(option(listener, SOL_SOCKET, SO_ACCEPTCONN), 1);
    must(demi_close(listener));
    struct pair pair = pair_make();
    assert_int_equal(option(pair.tx, SOL_SOCKET, SO_ACCEPTCONN), 0);
    assert_int_equal(option(pair.tx, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(option(pair.rx, IPPROTO_TCP, TCP_NODELAY), 1); /* an accepted one too */
    pair_close(pair);
}

static void test_options_traffic_counts_what_passed(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    struct pair pair = pair_make();
    struct demi_traffic tx, rx;
    socklen_t len = sizeof tx;
    for (uint64_t i = 0; i < 3; i++) {
        demi_sgarray_t sga = pattern_sga(100, i, 0);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, 100, i, 0);
    }
    must(demi_getsockopt(pair.tx, SOL_DEMI, DEMI_TRAFFIC, &tx, &len));
    assert_int_equal(len, sizeof tx);
    must(demi_getsockopt(pair.rx, SOL_DEMI, DEMI_TRAFFIC, &rx, &len));
    assert_int_equal(tx.pushed, 3);
    assert_int_equal(tx.pushed_bytes, 300);
    assert_int_equal(tx.popped + tx.popped_bytes, 0);
    assert_true(rx.popped >= 1 && rx.popped <= 3);
    assert_int_equal(rx.popped_bytes, 300);
    must_fail(demi_getsockopt(pair.tx, SOL_DEMI, 77, &tx, &len), ENOPROTOOPT);
    must_fail(demi_setsockopt(pair.tx, SOL_DEMI, DEMI_TRAFFIC, &tx, len), ENOPROTOOPT);
    pair_close(pair);
}

static int max_segs_of(int qd)
{
    int value = -1;
    socklen_t len = sizeof value;
    must(demi_getsockopt(qd, SOL_DEMI, DEMI_MAXSEGS, &value, &len));
    assert_int_equal(len, sizeof value);
    return value;
}

static void set_max_segs(int qd, int value)
{
    must(demi_setsockopt(qd, SOL_DEMI, DEMI_MAXSEGS, &value, sizeof value));
    assert_int_equal(max_segs_of(qd), value);
}

/* A pop has one segment, or no more than were asked for; all that arrives is in them, in order. */
static void test_options_maxsegs_is_how_many_segments_a_pop_may_have(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET | CAN_LISTEN);
    enum { BYTES = 300000 };
    struct pair pair = pair_make();
    uint32_t most[DEMI_SGARRAY_MAXSIZE + 1] = {0};
    uint64_t ignored;
    assert_int_equal(max_segs_of(pair.rx), 1);
    for (int segs = 1; segs <= DEMI_SGARRAY_MAXSIZE; segs++) {
        set_max_segs(pair.rx, segs);
        demi_sgarray_t sga = pattern_sga(BYTES, (uint64_t)segs, 0);
        const demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        for (size_t at = 0; at < BYTES;) {
            demi_sgarray_t popped = pop_one(pair.rx);
            assert_in_range(popped.sga_numsegs, 1, segs);
            if (popped.sga_numsegs > most[segs])
                most[segs] = popped.sga_numsegs;
            pattern_check_sga(&popped, (uint64_t)segs, at);
            at += sga_bytes(&popped);
            must(demi_sgafree(&popped));
            must_fail(demi_sgafree(&popped), EINVAL);
        }
        wait_success(qt, DEMI_OPC_PUSH);
    }
    /* Frames of a device are buffers of their own, and more of them come at a time: as many as are
     * wanted, where they are no longer than the link's MTU. */
    const char *offload = getenv("DEMI_NET_OFFLOAD");
    const uint32_t expected = offload && strcmp(offload, "none") == 0 ? DEMI_SGARRAY_MAXSIZE : 2;
    if (stat_value("stack.sockets", &ignored))
        for (uint32_t segs = 1; segs <= DEMI_SGARRAY_MAXSIZE; segs++)
            assert_true(most[segs] >= (segs < expected ? segs : expected));
    pair_close(pair);
}

/* Elements of several segments are passed on, and cloned, as they are. */
static void test_options_maxsegs_of_a_stream_that_is_passed_on(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET | CAN_LISTEN);
    enum { BYTES = 200000 };
    struct pair pair = pair_make();
    set_max_segs(pair.rx, DEMI_SGARRAY_MAXSIZE);
    set_max_segs(pair.tx, 3);
    for (uint64_t round = 0; round < 5; round++) {
        demi_sgarray_t sga = pattern_sga(BYTES, round, 0);
        const demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        for (size_t got = 0; got < BYTES;) {
            demi_sgarray_t popped = pop_one(pair.rx), clone;
            const size_t len = sga_bytes(&popped);
            must(demi_sgaclone(&clone, &popped));
            const demi_qtoken_t back = push_start(pair.rx, &popped);
            must(demi_sgafree(&popped));
            pop_pattern(pair.tx, len, round, got);
            pattern_check_sga(&clone, round, got);
            must(demi_sgafree(&clone));
            wait_success(back, DEMI_OPC_PUSH);
            got += len;
        }
        wait_success(qt, DEMI_OPC_PUSH);
    }
    pair_close(pair);
}

static void test_options_maxsegs_out_of_range_is_einval(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    static const int bad[] = {0, -1, DEMI_SGARRAY_MAXSIZE + 1};
    struct pair pair = pair_make();
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        must_fail(demi_setsockopt(pair.rx, SOL_DEMI, DEMI_MAXSEGS, &bad[i], sizeof bad[i]), EINVAL);
    must_fail(demi_setsockopt(pair.rx, SOL_DEMI, DEMI_MAXSEGS, &bad[0], 1), EINVAL);
    assert_int_equal(max_segs_of(pair.rx), 1);
    pair_close(pair);
}

static bool has_failed(int qd)
{
    int failed = -1;
    socklen_t len = sizeof failed;
    must(demi_getsockopt(qd, SOL_DEMI, DEMI_FAILED, &failed, &len));
    assert_int_equal(len, sizeof failed);
    assert_true(failed == 0 || failed == 1);
    return failed == 1;
}

static void test_options_failed_tells_a_reset_that_no_operation_met(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    const struct linger now = {.l_onoff = 1};
    demi_qresult_t qr;
    int n;
    struct pair pair = pair_make();
    assert_false(has_failed(pair.rx) || has_failed(pair.tx));
    must(demi_shutdown(pair.rx, SHUT_WR));
    pop_end(pair.tx);
    assert_false(has_failed(pair.rx) || has_failed(pair.tx));
    must(demi_setsockopt(pair.tx, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    must(demi_close(pair.tx));
    while (!has_failed(pair.rx))
        assert_int_equal(demi_wait_some(&qr, 1, &n, ZERO_TIME), ETIMEDOUT);
    assert_int_equal(wait_failure(pop_start(pair.rx)), ECONNRESET);
    assert_true(has_failed(pair.rx));
    must(demi_close(pair.rx));
}

static void test_options_set_are_read_back(void **state)
{
    (void)state;
    static const struct {
        int level, name, value, type;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 0, 0},
        {SOL_SOCKET, SO_REUSEPORT, 1, 0},
        {SOL_SOCKET, SO_KEEPALIVE, 1, SOCK_STREAM},
        {SOL_SOCKET, SO_BROADCAST, 1, SOCK_DGRAM},
        {IPPROTO_TCP, TCP_NODELAY, 0, SOCK_STREAM},
        {IPPROTO_TCP, TCP_KEEPIDLE, 77, SOCK_STREAM},
        {IPPROTO_TCP, TCP_KEEPINTVL, 7, SOCK_STREAM},
        {IPPROTO_TCP, TCP_KEEPCNT, 3, SOCK_STREAM},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 12000, SOCK_STREAM},
    };
    int qd = socket_make();
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        if (options[i].type != 0 && options[i].type != backend()->type)
            continue;
        const int value = options[i].value;
        must(demi_setsockopt(qd, options[i].level, options[i].name, &value, sizeof value));
        assert_int_equal(option(qd, options[i].level, options[i].name), value);
    }
    const int buffer = 64 * 1024; /* at least what was asked: systems round up */
    must(demi_setsockopt(qd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer));
    must(demi_setsockopt(qd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer));
    assert_true(option(qd, SOL_SOCKET, SO_RCVBUF) >= buffer);
    assert_true(option(qd, SOL_SOCKET, SO_SNDBUF) >= buffer);
    const struct linger linger = {.l_onoff = 1, .l_linger = 5};
    struct linger got = {0};
    socklen_t len = sizeof got;
    must(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    must(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &got, &len));
    assert_int_equal(len, sizeof got);
    assert_memory_equal(&got, &linger, sizeof got);
    if (backend()->domain == AF_INET6) {
        const int on = 1;
        must(demi_setsockopt(qd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
        assert_int_equal(option(qd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    }
    must(demi_close(qd));
}

static void pass(const struct pair *pair, uint32_t bytes)
{
    demi_sgarray_t sga = pattern_sga(bytes, 1, 0);
    const demi_qtoken_t qt = push_start(pair->tx, &sga);
    pop_pattern(pair->rx, bytes, 1, 0);
    wait_success(qt, DEMI_OPC_PUSH);
    must(demi_sgafree(&sga));
}

/* A stack of our own: the buffer grows with what passes, unless its size was set. */
static void test_send_buffer_grows_until_a_size_is_set(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    const int size = 300000;
    uint64_t grown, after;
    if (backend()->type != SOCK_STREAM || !stat_value("stack.send_grown_bytes", &grown))
        skip();
    struct pair pair = pair_make();
    const int before = option(pair.tx, SOL_SOCKET, SO_SNDBUF);
    for (int i = 0; i < 4; i++)
        pass(&pair, 4u << 20);
    const int larger = option(pair.tx, SOL_SOCKET, SO_SNDBUF);
    assert_true(larger > before);
    assert_true(stat_value("stack.send_grown_bytes", &after));
    assert_int_equal(after - grown, larger - before);
    must(demi_setsockopt(pair.tx, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    pass(&pair, 4u << 20);
    assert_int_equal(option(pair.tx, SOL_SOCKET, SO_SNDBUF), size);
    pair_close(pair);
}

static void test_congestion_control_has_a_name(void **state)
{
    (void)state;
    char name[16] = "";
    socklen_t len = sizeof name;
    int qd = socket_make();
    if (backend()->type != SOCK_STREAM) {
        must_fail(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), ENOPROTOOPT);
        must(demi_close(qd));
        return;
    }
    must(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    must(demi_getsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
    assert_string_equal(name, "reno");
    must_fail(demi_setsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, "no such one", 11), ENOENT);
    must(demi_getsockopt(qd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
    assert_string_equal(name, "reno");
    must(demi_close(qd));
}

static void test_tcp_info_tells_of_a_connection(void **state)
{
    (void)state;
    struct tcp_info info;
    socklen_t len = sizeof info;
    if (backend()->type != SOCK_STREAM)
        return;
    int qd = socket_make();
    must(demi_getsockopt(qd, IPPROTO_TCP, TCP_INFO, &info, &len));
    assert_int_equal(info.tcpi_state, TCP_CLOSE);
    must(demi_close(qd));
    struct pair pair = pair_make();
    must(demi_getsockopt(pair.tx, IPPROTO_TCP, TCP_INFO, &info, &len));
    assert_int_equal(len, sizeof info);
    assert_int_equal(info.tcpi_state, TCP_ESTABLISHED);
    assert_in_range(info.tcpi_snd_cwnd, 1, 1000);
    assert_in_range(info.tcpi_snd_mss, 500, 70000);
    assert_in_range(info.tcpi_rto, 1000, 3000000);
    assert_in_range(info.tcpi_pmtu, info.tcpi_snd_mss, 70000);
    assert_int_equal(info.tcpi_total_retrans, 0);
    len = 1; /* as much as there is room for */
    must(demi_getsockopt(pair.tx, IPPROTO_TCP, TCP_INFO, &info, &len));
    assert_int_equal(len, 1);
    pair_close(pair);
}

static void test_options_bad_arguments(void **state)
{
    (void)state;
    int qd = socket_make();
    int value = 1;
    socklen_t len = sizeof value;
    must_fail(demi_setsockopt(-1, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), EBADF);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof value), EINVAL);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, 0), EINVAL);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_KEEPALIVE, &value, 2), EINVAL);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &value, sizeof value), EINVAL);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, 9999, &value, sizeof value), ENOPROTOOPT);
    must_fail(demi_setsockopt(qd, 4711, 1, &value, sizeof value), ENOPROTOOPT);
    must_fail(demi_setsockopt(qd, SOL_SOCKET, SO_TYPE, &value, sizeof value), ENOPROTOOPT);
    must_fail(demi_getsockopt(-1, SOL_SOCKET, SO_TYPE, &value, &len), EBADF);
    must_fail(demi_getsockopt(qd, SOL_SOCKET, SO_TYPE, NULL, &len), EINVAL);
    must_fail(demi_getsockopt(qd, SOL_SOCKET, SO_TYPE, &value, NULL), EINVAL);
    must_fail(demi_getsockopt(qd, SOL_SOCKET, 9999, &value, &len), ENOPROTOOPT);
    must_fail(demi_getsockopt(qd, 4711, 1, &value, &len), ENOPROTOOPT);
    assert_int_equal(len, sizeof value);
    assert_int_equal(value, 1);
    must(demi_close(qd));
}

static void test_two_sockets_share_a_port_with_reuseport(void **state)
{
    (void)state;
    struct sockaddr_storage addr;
    socklen_t len = loopback(backend()->domain, 0, &addr);
    const int on = 1;
    int qds[2];
    for (int i = 0; i < 2; i++) {
        qds[i] = socket_make();
        must(demi_setsockopt(qds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
        must(demi_bind(qds[i], (struct sockaddr *)&addr, len));
        socklen_t size = sizeof addr;
        must(demi_getsockname(qds[i], (struct sockaddr *)&addr, &size));
        if (backend_can(CAN_LISTEN))
            must(demi_listen(qds[i], 4));
    }
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
}

int run_socket_tests(void)
{
    if (!backend_can(CAN_SOCKET))
        return 0;
    const struct CMUnitTest tests[] = {
        STARTED(test_socket_unknown_kinds_are_refused),
        STARTED(test_bind_bad_arguments),
        STARTED(test_bind_address_that_is_not_ours_is_eaddrnotavail),
        STARTED(test_bind_port_that_listens_is_eaddrinuse),
        STARTED(test_bind_port_of_a_closed_connection_at_once),
        STARTED(test_names_of_both_ends_agree),
        STARTED(test_names_are_truncated_to_the_space_given),
        STARTED(test_names_bad_arguments),
        STARTED(test_options_that_describe_the_socket),
        STARTED(test_options_traffic_counts_what_passed),
        STARTED(test_options_maxsegs_is_how_many_segments_a_pop_may_have),
        STARTED(test_options_maxsegs_of_a_stream_that_is_passed_on),
        STARTED(test_options_maxsegs_out_of_range_is_einval),
        STARTED(test_options_failed_tells_a_reset_that_no_operation_met),
        STARTED(test_options_set_are_read_back),
        STARTED(test_send_buffer_grows_until_a_size_is_set),
        STARTED(test_congestion_control_has_a_name),
        STARTED(test_tcp_info_tells_of_a_connection),
        STARTED(test_options_bad_arguments),
        STARTED(test_two_sockets_share_a_port_with_reuseport),
    };
    return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
