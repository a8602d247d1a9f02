/* SPDX-License-Identifier: MIT */
/*
 * peers ENGINE: an echo server, a process of its own, meets peers that misbehave: they reset, close
 * half, send a byte at a time, never read, never send. The others are served on, and the server's
 * memory stays bounded.
 */
#include "../lib/backend.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNS_MAX = 256 };

/* --- the server ----------------------------------------------------------------------------- */

/* One operation outstanding per connection: a pop, or the push of what it yielded. */
static demi_qtoken_t tokens[CONNS_MAX];
static int num_tokens;

static void must_start(int error)
{
    CHILD(error == 0);
}

static void serve_accept(const demi_qresult_t *qr, int at)
{
    CHILD(num_tokens < CONNS_MAX);
    const int conn = qr->qr_value.ares.qd;
    must_start(demi_accept(&tokens[at], qr->qr_qd));
    must_start(demi_pop(&tokens[num_tokens++], conn));
}

static void serve_end(int qd, int at)
{
    tokens[at] = tokens[--num_tokens];
    CHILD(demi_close(qd) == 0);
}

/* Returns false when the operation's connection is at its end. */
static bool serve_next(const demi_qresult_t *qr, int at)
{
    demi_sgarray_t sga = qr->qr_value.sga;
    if (qr->qr_opcode == DEMI_OPC_FAILED)
        return false;
    if (qr->qr_opcode == DEMI_OPC_PUSH) {
        must_start(demi_pop(&tokens[at], qr->qr_qd));
        return true;
    }
    if (sga.sga_numsegs == 0)
        return false;
    const int error = demi_push(&tokens[at], qr->qr_qd, &sga);
    CHILD(error == 0 || error == EPIPE || error == ECONNRESET || error == ENOTCONN);
    CHILD(demi_sgafree(&sga) == 0);
    return error == 0;
}

static void serve(int port_fd)
{
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 0, &addr);
    int listener = -1;
    CHILD(demi_init(NULL) == 0);
    CHILD(demi_socket(&listener, AF_INET, SOCK_STREAM, 0) == 0);
    CHILD(demi_bind(listener, (struct sockaddr *)&addr, len) == 0);
    CHILD(demi_listen(listener, 128) == 0);
    len = sizeof addr;
    CHILD(demi_getsockname(listener, (struct sockaddr *)&addr, &len) == 0);
    CHILD(write(port_fd, &addr, sizeof addr) == (ssize_t)sizeof addr);
    must_start(demi_accept(&tokens[num_tokens++], listener));
    for (;;) {
        demi_qresult_t qr;
        int at = -1;
        CHILD(demi_wait_any(&qr, &at, tokens, num_tokens, NULL) == 0);
        CHILD(at >= 0 && at < num_tokens && tokens[at] == qr.qr_qt);
        if (qr.qr_opcode == DEMI_OPC_ACCEPT)
            serve_accept(&qr, at);
        else if (qr.qr_qd == listener)
            must_start(demi_accept(&tokens[at], listener));
        else if (!serve_next(&qr, at))
            serve_end(qr.qr_qd, at);
    }
}

/* --- the peers ------------------------------------------------------------------------------ */

static pid_t server;
static struct sockaddr_storage server_addr;
static const socklen_t server_len = sizeof(struct sockaddr_in);

static int server_setup(void **state)
{
    deadline_setup(state);
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    server = child_fork();
    if (server == 0) {
        alarm(3 * DEADLINE_S);
        serve(fds[1]);
        child_exit(1);
    }
    assert_int_equal(read(fds[0], &server_addr, sizeof server_addr), sizeof server_addr);
    close(fds[0]);
    close(fds[1]);
    return 0;
}

static int server_teardown(void **state)
{
    int status = 0;
    const bool alive = waitpid(server, &status, WNOHANG) == 0;
    if (alive) {
        kill(server, SIGKILL);
        waitpid(server, &status, 0);
    }
    must_hold(alive, "the server ended, status %x", (unsigned)status);
    return deadline_teardown(state);
}

static long server_kib(void)
{
    char path[64], line[128];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)server);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

/* A well-behaved exchange: what goes out comes back. */
static void echo(int fd, size_t len, uint64_t seed)
{
    static uint8_t out[65536], in[65536];
    assert_true(len <= sizeof out);
    pattern_fill(out, len, seed, 0);
    plain_send(fd, out, len);
    plain_receive(fd, in, len);
    pattern_check(in, len, seed, 0);
}

static void echo_fresh(int times)
{
    for (int i = 0; i < times; i++) {
        int fd = plain_connect(&server_addr, server_len);
        echo(fd, 1000, (uint64_t)i);
        close(fd);
    }
}

static void test_peers_that_reset_at_any_point(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    int good = plain_connect(&server_addr, server_len);
    static uint8_t junk[50000];
    for (int i = 0; i < 200; i++) {
        int fd = plain_connect(&server_addr, server_len);
        const uint32_t n = random_below(&random, sizeof junk);
        if (i % 4 != 0)
            (void)!send(fd, junk, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (i % 4 == 2)
            (void)!recv(fd, junk, 1 + random_below(&random, sizeof junk), MSG_DONTWAIT);
        if (i % 4 == 3)
            close(fd); /* with unread data, perhaps: a reset too */
        else
            plain_reset(fd);
        echo(good, 1 + random_below(&random, 5000), (uint64_t)i);
    }
    close(good);
    echo_fresh(5);
}

static void test_peer_that_closes_half_gets_all_of_its_answer(void **state)
{
    (void)state;
    static uint8_t out[60000], in[60000];
    for (int i = 0; i < 30; i++) {
        int fd = plain_connect(&server_addr, server_len);
        pattern_fill(out, sizeof out, (uint64_t)i, 0);
        plain_send(fd, out, sizeof out);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        plain_receive(fd, in, sizeof in);
        pattern_check(in, sizeof in, (uint64_t)i, 0);
        assert_int_equal(plain_take(fd, in, 1, 0), 0);
        close(fd);
    }
    echo_fresh(5);
}

static void test_peers_that_send_one_byte_at_a_time(void **state)
{
    (void)state;
    enum { PEERS = 20, BYTES = 60 };
    int fds[PEERS];
    int good = plain_connect(&server_addr, server_len);
    for (int i = 0; i < PEERS; i++) {
        const int on = 1;
        fds[i] = plain_connect(&server_addr, server_len);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    for (uint64_t k = 0; k < BYTES; k++) {
        for (uint64_t i = 0; i < PEERS; i++) {
            const uint8_t byte = pattern_byte(i, k);
            plain_send(fds[i], &byte, 1);
        }
        echo(good, 2000, k);
    }
    for (uint64_t i = 0; i < PEERS; i++) {
        uint8_t in[BYTES];
        plain_receive(fds[i], in, BYTES);
        pattern_check(in, BYTES, i, 0);
        close(fds[i]);
    }
    close(good);
}

/* Sends for ever and never reads: the server stops reading it, and holds little. */
static void test_peers_that_never_read_are_held_back(void **state)
{
    (void)state;
    enum { PEERS = 8 };
    int fds[PEERS];
    static uint8_t junk[1 << 16];
    int good = plain_connect(&server_addr, server_len);
    echo(good, 1000, 0);
    const long before = server_kib();
    size_t accepted = 0;
    for (int i = 0; i < PEERS; i++)
        fds[i] = plain_connect(&server_addr, server_len);
    for (int idle = 0; idle < 40;) { /* until nobody takes any more */
        bool sent = false;
        for (int i = 0; i < PEERS; i++) {
            const ssize_t n = send(fds[i], junk, sizeof junk, MSG_DONTWAIT | MSG_NOSIGNAL);
            sent |= n > 0;
            accepted += n > 0 ? (size_t)n : 0;
            must_hold(accepted < 1ull << 30,
                      "the server takes %zu bytes from a peer that never "
                      "reads",
                      accepted);
        }
        echo(good, 3000, 1);
        idle = sent ? 0 : idle + 1;
    }
    const long grown = server_kib() - before;
    must_hold(grown < (under_sanitizer() ? 65536 : 16384), "the server grew by %ld KiB", grown);
    echo_fresh(20);
    for (int i = 0; i < PEERS; i++)
        plain_reset(fds[i]);
    close(good);
    echo_fresh(5);
}

static void test_peers_that_never_send_cost_nothing_to_others(void **state)
{
    (void)state;
    enum { PEERS = 100 };
    int fds[PEERS];
    for (int i = 0; i < PEERS; i++)
        fds[i] = plain_connect(&server_addr, server_len);
    echo_fresh(50);
    for (int i = 0; i < PEERS; i++)
        echo(fds[i], 100, (uint64_t)i);
    for (int i = 0; i < PEERS; i++)
        close(fds[i]);
    echo_fresh(5);
}

/* Bursts, small reads, pauses: many at a time, in one loop of this process. */
static void test_peers_of_all_kinds_together(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    enum { PEERS = 40 };
    struct {
        int fd;
        uint64_t sent, got;
    } peers[PEERS];
    static uint8_t buf[20000];
    for (int i = 0; i < PEERS; i++) {
        peers[i].fd = plain_connect(&server_addr, server_len);
        peers[i].sent = peers[i].got = 0;
    }
    for (int round = 0; round < 6000; round++) {
        const uint64_t i = random_below(&random, PEERS);
        const int fd = peers[i].fd;
        const uint32_t size = 1 + random_below(&random, round % 3 == 0 ? sizeof buf : 64);
        if (random_below(&random, 2) == 0 && peers[i].sent - peers[i].got < 100000) {
            pattern_fill(buf, size, i, peers[i].sent);
            const ssize_t n = send(fd, buf, size, MSG_DONTWAIT | MSG_NOSIGNAL);
            peers[i].sent += n > 0 ? (uint64_t)n : 0;
        } else {
            const ssize_t n = recv(fd, buf, size, MSG_DONTWAIT);
            assert_int_not_equal(n, 0);
            pattern_check(buf, n > 0 ? (size_t)n : 0, i, peers[i].got);
            peers[i].got += n > 0 ? (uint64_t)n : 0;
        }
    }
    for (uint64_t i = 0; i < PEERS; i++) {
        while (peers[i].got < peers[i].sent) {
            const uint64_t left = peers[i].sent - peers[i].got;
            const size_t n = left < sizeof buf ? left : sizeof buf;
            plain_receive(peers[i].fd, buf, n);
            pattern_check(buf, n, i, peers[i].got);
            peers[i].got += n;
        }
        close(peers[i].fd);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: peers io_uring|epoll\n");
        return 2;
    }
    setenv("DEMI_NET", "kernel", 1);
    setenv("DEMI_ENGINE", argv[1], 1);
#define SERVED(f) cmocka_unit_test_setup_teardown(f, server_setup, server_teardown)
    const struct CMUnitTest tests[] = {
        SERVED(test_peers_that_reset_at_any_point),
        SERVED(test_peer_that_closes_half_gets_all_of_its_answer),
        SERVED(test_peers_that_send_one_byte_at_a_time),
        SERVED(test_peers_that_never_read_are_held_back),
        SERVED(test_peers_that_never_send_cost_nothing_to_others),
        SERVED(test_peers_of_all_kinds_together),
    };
    return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
