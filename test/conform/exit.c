/* SPDX-License-Identifier: MIT */
/*
 * The end of a process: accepted pushes are delivered and the peer sees the end of the stream;
 * exit() from a signal handler or another thread ends; a killed process is seen by its peer. The
 * process that ends is a child; the parent is a plain socket, or the library where the peer's view
 * is the subject.
 */
#include "suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BYTES = 8 << 20 };

/* In the child: the library started, a connection to addr. */
static int child_connects(const struct sockaddr_storage *addr, socklen_t len)
{
    int qd = -1;
    demi_qtoken_t qt;
    demi_qresult_t qr;
    const struct timespec patience = {PATIENCE_S, 0};
    setenv("DEMI_EXIT_LINGER_MS", "10000", 0); /* the machine may be busy */
    CHILD(demi_init(NULL) == 0);
    CHILD(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0) == 0);
    CHILD(demi_connect(&qt, qd, (const struct sockaddr *)addr, len) == 0);
    CHILD(demi_wait(&qr, qt, &patience) == 0 && qr.qr_opcode == DEMI_OPC_CONNECT);
    return qd;
}

static demi_qtoken_t child_pushes(int qd, size_t bytes)
{
    demi_sgarray_t sga = demi_sgaalloc(bytes);
    CHILD(sga.sga_buf != NULL);
    pattern_fill(sga.sga_segs[0].sgaseg_buf, bytes, 1, 0);
    demi_qtoken_t qt = 0;
    CHILD(demi_push(&qt, qd, &sga) == 0);
    CHILD(demi_sgafree(&sga) == 0);
    return qt;
}

enum way { BY_EXIT, BY_CLOSE_AND_EXIT, BY_FINI, BY_THREAD, BY_THREAD_AMID_CALLS, WAYS };

static void *exit_thread(void *arg)
{
    exit(*(int *)arg);
}

static void child_ends(enum way way, int qd)
{
    static int zero;
    static const struct timespec at_once;
    pthread_t thread;
    demi_qtoken_t qt;
    demi_qresult_t qr;
    switch (way) {
    case BY_EXIT:
        exit(0);
    case BY_CLOSE_AND_EXIT:
        CHILD(demi_close(qd) == 0);
        exit(0);
    case BY_FINI:
        CHILD(demi_fini() == 0);
        _exit(0);
    default:
        CHILD(demi_pop(&qt, qd) == 0);
        CHILD(pthread_create(&thread, NULL, exit_thread, &zero) == 0);
        while (way == BY_THREAD_AMID_CALLS && demi_wait(&qr, qt, &at_once) == ETIMEDOUT)
            ;
        demi_wait(&qr, qt, NULL);
        pthread_join(thread, NULL);
    }
}

static void test_exit_with_pushes_outstanding_delivers_them_and_the_end(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    backend_needs_fork();
    for (enum way way = 0; way < WAYS; way++) {
        struct sockaddr_storage addr;
        socklen_t len;
        int listener = plain_listener(backend()->domain, &addr, &len);
        const pid_t pid = child_fork();
        if (pid == 0) {
            int qd = child_connects(&addr, len);
            child_pushes(qd, BYTES);
            child_ends(way, qd);
            _exit(3);
        }
        int conn = plain_accept(listener);
        uint8_t *got = malloc(BYTES);
        plain_receive(conn, got, BYTES);
        pattern_check(got, BYTES, 1, 0);
        const ssize_t end = plain_take(conn, got, 1, 0);
        must_hold(end == 0, "way %d: after the data %s, must be the end", way,
                  end > 0 ? "more data" : errno_name((int)-end));
        free(got);
        assert_int_equal(child_wait(pid), 0);
        close(conn);
        close(listener);
    }
}

/* The reader begins when everything that fits is in the sockets, and takes its time. */
static void test_exit_many_connections_are_all_drained(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    backend_needs_fork();
    enum { CONNS = 10, EACH = 3 << 20 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = plain_listener(backend()->domain, &addr, &len);
    const pid_t pid = child_fork();
    if (pid == 0) {
        setenv("DEMI_EXIT_LINGER_MS", "20000", 1);
        CHILD(demi_init(NULL) == 0);
        const struct timespec patience = {PATIENCE_S, 0};
        for (int i = 0; i < CONNS; i++) {
            int qd = -1;
            demi_qtoken_t qt;
            demi_qresult_t qr;
            CHILD(demi_socket(&qd, backend()->domain, SOCK_STREAM, 0) == 0);
            CHILD(demi_connect(&qt, qd, (struct sockaddr *)&addr, len) == 0);
            CHILD(demi_wait(&qr, qt, &patience) == 0 && qr.qr_opcode == DEMI_OPC_CONNECT);
            child_pushes(qd, EACH);
        }
        exit(0);
    }
    int conns[CONNS];
    for (int i = 0; i < CONNS; i++)
        conns[i] = plain_accept(listener);
    uint8_t *got = malloc(EACH);
    for (int i = CONNS - 1; i >= 0; i--) {
        plain_receive(conns[i], got, EACH);
        pattern_check(got, EACH, 1, 0);
        assert_int_equal(plain_take(conns[i], got, 1, 0), 0);
        close(conns[i]);
    }
    free(got);
    assert_int_equal(child_wait(pid), 0);
    close(listener);
}

static void test_exit_peer_never_reads_lingers_then_resets(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    backend_needs_fork();
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = plain_listener(backend()->domain, &addr, &len);
    const uint64_t start = now_ns();
    const pid_t pid = child_fork();
    if (pid == 0) {
        setenv("DEMI_EXIT_LINGER_MS", "300", 1);
        int qd = child_connects(&addr, len);
        child_pushes(qd, 48u << 20);
        exit(0);
    }
    int conn = plain_accept(listener);
    assert_int_equal(child_wait(pid), 0);
    const uint64_t ms = (now_ns() - start) / 1000000;
    must_hold(ms >= 290, "ended after %d ms, lingers 300", (int)ms);
    const uint64_t most = under_sanitizer() ? 25000 : 5000; /* a leak check is part of its end */
    must_hold(ms < most, "ended after %d ms, lingers 300", (int)ms);
    static uint8_t got[1 << 16];
    ssize_t n;
    do
        n = plain_take(conn, got, sizeof got, 0);
    while (n > 0);
    must_hold(n == -ECONNRESET, "the peer saw %s, must be a reset",
              n == 0 ? "the end" : errno_name((int)-n));
    close(conn);
    close(listener);
}

/* What was pushed just before is sent, although the neighbour has to be asked for first. */
static void test_exit_right_after_datagrams_sends_them(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO | CAN_KERNEL);
    backend_needs_fork();
    enum { PUSHES = 10 };
    static const uint32_t sizes[] = {1, 1000, 3000, 8000};
    static uint8_t got[65536];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct sockaddr_storage addr;
        socklen_t len;
        int fd = plain_datagram(backend()->domain, &addr, &len), room = 4 << 20;
        /* For all of them: the kernel counts fragments by the memory that they are in. */
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0)
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        const pid_t pid = child_fork();
        if (pid == 0) {
            int qd = -1;
            if (strncmp(backend()->net, "tap:", 4) == 0) /* who is asked takes its time */
                setenv("DEMI_NET", "fault(rx.delay=50ms):tap:demi0", 1);
            CHILD(demi_init(NULL) == 0);
            CHILD(demi_socket(&qd, backend()->domain, SOCK_DGRAM, 0) == 0);
            for (int k = 0; k < PUSHES; k++) {
                demi_qtoken_t qt = 0;
                demi_sgarray_t sga = demi_sgaalloc(sizes[i]);
                pattern_fill(sga.sga_segs[0].sgaseg_buf, sizes[i], (uint64_t)k, 0);
                CHILD(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&addr, len) == 0);
                CHILD(k % 2 == 1 || demi_sgafree(&sga) == 0);
            }
            exit(0);
        }
        for (int k = 0; k < PUSHES; k++) {
            assert_int_equal(plain_take(fd, got, sizeof got, 0), sizes[i]);
            pattern_check(got, sizes[i], (uint64_t)k, 0);
        }
        assert_int_equal(child_wait(pid), 0);
        close(fd);
    }
}

static void exit_handler(int signum)
{
    (void)signum;
    exit(0);
}

/* An echo with itself by a connection through the parent's listener, until the signal. */
static void child_works_until_signal(const struct sockaddr_storage *addr, socklen_t len,
                                     uint32_t after_us)
{
    int qd = child_connects(addr, len);
    int memory = -1;
    CHILD(demi_queue(&memory, 0) == 0);
    signal(SIGUSR2, exit_handler);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    CHILD(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    const struct itimerspec once = {.it_value = {0, (long)after_us * 1000}};
    CHILD(timer_settime(timer, 0, &once, NULL) == 0);
    demi_qtoken_t pop;
    CHILD(demi_pop(&pop, qd) == 0);
    for (;;) {
        demi_qresult_t qr;
        demi_sgarray_t sga = demi_sgaalloc(64);
        CHILD(demi_blocking_push(memory, &sga) == 0);
        CHILD(demi_sgafree(&sga) == 0);
        CHILD(demi_blocking_pop(memory, &qr) == 0);
        CHILD(demi_sgafree(&qr.qr_value.sga) == 0);
        const struct timespec tenth = {0, 100000};
        CHILD(demi_wait(&qr, pop, &tenth) == ETIMEDOUT);
    }
}

static void test_exit_in_a_signal_handler_over_the_library_ends(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL | CAN_LAST_WORDS);
    backend_needs_fork();
    uint64_t random = seed_choose(__func__);
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = plain_listener(backend()->domain, &addr, &len);
    for (int i = 0; i < 20; i++) {
        const uint32_t after_us = 1 + random_below(&random, 3000);
        const pid_t pid = child_fork();
        if (pid == 0)
            child_works_until_signal(&addr, len, after_us);
        int conn = plain_accept(listener);
        const int status = child_wait(pid);
        must_hold(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
        char byte; /* who has its stack in itself may have died in the middle of it, and says so */
        const ssize_t n = plain_take(conn, &byte, 1, 0);
        must_hold(n == 0 || n == -ECONNRESET, "got %zd, must be the end or a reset", n);
        close(conn);
    }
    close(listener);
}

static void test_killed_peer_is_an_end_or_a_reset(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL | CAN_SHARE);
    int port_pipe[2];
    assert_int_equal(pipe(port_pipe), 0);
    const pid_t pid = child_fork();
    if (pid == 0) {
        struct sockaddr_storage addr;
        CHILD(read(port_pipe[0], &addr, sizeof addr) == (ssize_t)sizeof addr);
        const socklen_t len =
            addr.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        int qd = child_connects(&addr, len);
        demi_qresult_t qr;
        demi_wait(&qr, child_pushes(qd, 1000), NULL);
        for (;;)
            pause();
    }
    must(demi_init(NULL));
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    assert_int_equal(write(port_pipe[1], &addr, sizeof addr), sizeof addr);
    int conn = accept_one(listener);
    pop_pattern(conn, 1000, 1, 0);
    demi_qtoken_t qt = pop_start(conn);
    kill(pid, SIGKILL);
    demi_qresult_t qr = wait_result(qt);
    if (qr.qr_opcode == DEMI_OPC_FAILED)
        assert_int_equal(qr.qr_ret, ECONNRESET);
    else
        must_be_end(qr.qr_value.sga);
    child_wait(pid);
    must(demi_close(conn));
    must(demi_close(listener));
    must(demi_fini());
    close(port_pipe[0]);
    close(port_pipe[1]);
}

int run_exit_tests(void)
{
    if (!backend_can(CAN_LISTEN) && !backend_can(CAN_PUSHTO))
        return 0;
    const struct CMUnitTest tests[] = {
        UNSTARTED(test_exit_right_after_datagrams_sends_them),
        UNSTARTED(test_exit_with_pushes_outstanding_delivers_them_and_the_end),
        UNSTARTED(test_exit_many_connections_are_all_drained),
        UNSTARTED(test_exit_peer_never_reads_lingers_then_resets),
        UNSTARTED(test_exit_in_a_signal_handler_over_the_library_ends),
        UNSTARTED(test_killed_peer_is_an_end_or_a_reset),
    };
    return cmocka_run_group_tests_name("exit", tests, NULL, NULL);
}
