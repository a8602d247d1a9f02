/* SPDX-License-Identifier: MIT */
/* The library's life in a process: before demi_init, after demi_fini, across fork, and without file
 * descriptors. */
#include "suite.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void must_be_unstarted(void)
{
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 9, &addr);
    struct sockaddr *sa = (struct sockaddr *)&addr;
    int n = 4711;
    socklen_t size = sizeof n;
    demi_qtoken_t qt = 4711;
    demi_qresult_t qr;
    char byte = 0;
    demi_sgarray_t sga = built_sga(&byte, 1);
    struct demi_stat stats[4];
    size_t count = 4711;
    must_fail(demi_socket(&n, AF_INET, SOCK_STREAM, 0), ENOSYS);
    must_fail(demi_queue(&n, 0), ENOSYS);
    must_fail(demi_bind(0, sa, len), ENOSYS);
    must_fail(demi_listen(0, 1), ENOSYS);
    must_fail(demi_accept(&qt, 0), ENOSYS);
    must_fail(demi_connect(&qt, 0, sa, len), ENOSYS);
    must_fail(demi_close(0), ENOSYS);
    must_fail(demi_shutdown(0, SHUT_WR), ENOSYS);
    must_fail(demi_push(&qt, 0, &sga), ENOSYS);
    must_fail(demi_pushto(&qt, 0, &sga, sa, len), ENOSYS);
    must_fail(demi_pop(&qt, 0), ENOSYS);
    must_fail(demi_getsockname(0, sa, &len), ENOSYS);
    must_fail(demi_getpeername(0, sa, &len), ENOSYS);
    must_fail(demi_setsockopt(0, SOL_SOCKET, SO_KEEPALIVE, &n, size), ENOSYS);
    must_fail(demi_getsockopt(0, SOL_SOCKET, SO_KEEPALIVE, &n, &size), ENOSYS);
    must_fail(demi_wait(&qr, 1ull << 24, NULL), ENOSYS);
    must_fail(demi_wait_any(&qr, &n, &qt, 1, NULL), ENOSYS);
    must_fail(demi_wait_all(&qr, &qt, 1, NULL), ENOSYS);
    must_fail(demi_wait_next_n(&qr, 1, &n, NULL), ENOSYS);
    must_fail(demi_wait_some(&qr, 1, &n, NULL), ENOSYS);
    must_fail(demi_cancel(1ull << 24), ENOSYS);
    must_fail(demi_eventfd(&n), ENOSYS);
    must_fail(demi_blocking_push(0, &sga), ENOSYS);
    must_fail(demi_blocking_pop(0, &qr), ENOSYS);
    must_fail(demi_stats(stats, 4, &count), ENOSYS);
    must_fail(demi_fini(), ENOSYS);
    assert_true(n == 4711 && qt == 4711 && count == 4711);
}

static void test_calls_before_init_and_after_fini_are_enosys(void **state)
{
    (void)state;
    must_be_unstarted();
    for (int i = 0; i < 3; i++) {
        must(demi_init(NULL));
        must(demi_fini());
        must_be_unstarted();
    }
}

static void test_init_twice_in_one_thread_is_eexist(void **state)
{
    (void)state;
    char name[] = "program";
    char *const argv[] = {name, NULL};
    const struct demi_args args = {.argc = 1, .argv = argv};
    must(demi_init(&args));
    must_fail(demi_init(&args), EEXIST);
    must_fail(demi_init(NULL), EEXIST);
    struct pair pair = pair_make(); /* and the first goes on */
    pair_close(pair);
    must(demi_fini());
    must(demi_init(NULL));
    must(demi_fini());
}

static void test_init_bad_configuration_is_einval_and_next_succeeds(void **state)
{
    (void)state;
    must_be_unstarted();
    char *was = getenv("DEMI_POLL");
    was = was != NULL ? strdup(was) : NULL;
    setenv("DEMI_POLL", "sometimes", 1);
    must_fail(demi_init(NULL), EINVAL);
    must_be_unstarted();
    if (was != NULL)
        setenv("DEMI_POLL", was, 1);
    else
        unsetenv("DEMI_POLL");
    free(was);
    must(demi_init(NULL));
    must(demi_fini());
}

static void test_fini_with_everything_outstanding_then_init_works(void **state)
{
    (void)state;
    const int before = open_fds();
    for (int i = 0; i < 20; i++) {
        must(demi_init(NULL));
        struct pair pair = pair_make();
        for (int k = 0; k < 50; k++)
            pop_start(pair.rx);
        demi_sgarray_t sga = pattern_sga(1000, 1, 0);
        push_start(pair.tx, &sga);
        push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        if (backend_can(CAN_LISTEN)) {
            struct sockaddr_storage addr;
            socklen_t len;
            demi_qtoken_t qt;
            int listener = listener_make(&addr, &len, 4);
            must(demi_accept(&qt, listener));
            must(demi_accept(&qt, listener));
        }
        int fd;
        must(demi_eventfd(&fd));
        must(demi_fini());
    }
    must_hold(open_fds() <= before, "%d descriptors leak", open_fds() - before);
}

static void test_tokens_and_descriptors_of_an_earlier_life_are_bad(void **state)
{
    (void)state;
    must(demi_init(NULL));
    struct pair old_pair = pair_make();
    demi_qtoken_t old_qts[8];
    for (int i = 0; i < 8; i++)
        old_qts[i] = pop_start(old_pair.rx);
    must(demi_fini());
    must(demi_init(NULL));
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    must_fail(demi_pop(&qt, old_pair.rx), EBADF);
    must_fail(demi_close(old_pair.tx), EBADF);
    struct pair pair = pair_make();
    demi_qtoken_t qts[8];
    for (int i = 0; i < 8; i++)
        qts[i] = pop_start(pair.rx);
    for (int i = 0; i < 8; i++) {
        must_fail(demi_wait(&qr, old_qts[i], ZERO_TIME), EINVAL);
        must_fail(demi_cancel(old_qts[i]), EINVAL);
    }
    for (int i = 0; i < 8; i++)
        must(demi_cancel(qts[i]));
    pair_close(pair);
    must(demi_fini());
}

static void test_sga_held_over_fini_frees_without_harm(void **state)
{
    (void)state;
    must(demi_init(NULL));
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(1000, 1, 0);
    push_all(pair.tx, &sga);
    demi_sgarray_t popped = pop_one(pair.rx);
    must(demi_fini());
    (void)must_either(demi_sgafree(&popped), 0, EINVAL);
    (void)must_either(demi_sgafree(&sga), 0, EINVAL);
    must(demi_init(NULL));
    must_fail(demi_sgafree(&sga), EINVAL);
    must(demi_fini());
}

static void test_stats_name_what_runs(void **state)
{
    (void)state;
    must(demi_init(NULL));
    struct demi_stat stats[1];
    size_t n = 0;
    must(demi_stats(stats, 1, &n));
    assert_true(n > 1); /* how many there are, not how many fit */
    assert_non_null(stats[0].name);
    must_fail(demi_stats(NULL, 1, &n), EINVAL);
    must_fail(demi_stats(stats, 1, NULL), EINVAL);
    must(demi_stats(NULL, 0, &n));
    must(demi_fini());
}

static void test_stats_by_number_are_those_of_the_process(void **state)
{
    (void)state;
    enum { STATS = 512 };
    static struct demi_stat own[STATS], file[STATS];
    size_t num_own = 0, n = 4711;
    must_fail(demi_stats_pid(file, STATS, &n, getpid()), ENOENT);
    must(demi_init(NULL));
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(pair.rx, 10, 1, 0);
    must_fail(demi_stats_pid(NULL, 1, &n, getpid()), EINVAL);
    must_fail(demi_stats_pid(file, STATS, NULL, getpid()), EINVAL);
    must_fail(demi_stats_pid(file, STATS, &n, 0), EINVAL);
    must_fail(demi_stats_pid(file, STATS, &n, -1), EINVAL);
    must_fail(demi_stats_pid(file, STATS, &n, INT_MAX), ENOENT);
    assert_true(n == 4711 && file[0].name == NULL);
    must(demi_stats(own, STATS, &num_own));
    must(demi_stats_pid(file, 1, &n, getpid()));
    assert_int_equal(n, num_own);
    assert_true(file[0].name != NULL && file[1].name == NULL);
    must(demi_stats_pid(file, STATS, &n, getpid()));
    for (size_t i = 0; i < n; i++) {
        struct demi_stat stat = {0};
        for (size_t k = 0; k < n; k++)
            if (strcmp(own[k].name, file[i].name) == 0)
                stat = own[k];
        must_hold(stat.name && stat.value == file[i].value, "%s differs", file[i].name);
        must_hold(!stat.text == !file[i].text, "%s has a text in one only", file[i].name);
        if (stat.text)
            assert_string_equal(stat.text, file[i].text);
    }
    pair_close(pair);
    must(demi_fini());
    must_fail(demi_stats_pid(file, STATS, &n, getpid()), ENOENT);
    assert_true(strlen(file[0].name) > 0); /* the strings live on */
}

static uint64_t profiled_calls, profiled_ns;

static void profiled(const char *name, uint32_t name_len, uint64_t duration_ns)
{
    char copy[64];
    assert_in_range(name_len, 1, sizeof copy - 1);
    memcpy(copy, name, name_len);
    copy[name_len] = '\0';
    assert_int_equal(strlen(copy), name_len); /* the length is that of a name */
    profiled_calls++;
    profiled_ns += duration_ns;
}

static void test_callback_hears_of_the_calls_and_their_durations(void **state)
{
    (void)state;
    const struct demi_args args = {.callback = profiled};
    profiled_calls = profiled_ns = 0;
    must(demi_init(&args));
    const uint64_t start = now_ns();
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(pair.rx, 10, 1, 0);
    demi_qresult_t qr;
    demi_qtoken_t qt = pop_start(pair.rx);
    const struct timespec moment = ms_time(5);
    must_fail(demi_wait(&qr, qt, &moment), ETIMEDOUT);
    must(demi_cancel(qt));
    pair_close(pair);
    must(demi_fini());
    assert_true(profiled_calls >= 5); /* push, pop, waits at least */
    assert_true(profiled_ns >= 5000000);
    assert_true(profiled_ns <= 4 * (now_ns() - start)); /* scopes may nest */
    const uint64_t calls = profiled_calls;
    must(demi_init(NULL));
    pair = pair_make();
    pair_close(pair);
    must(demi_fini());
    assert_int_equal(profiled_calls, calls); /* it was for that life only */
}

/* --- fork ----------------------------------------------------------------------------------- */

/* A memory queue and, where there are sockets, a pair over them: init, work, and no fini. */
static void child_uses_the_library(void)
{
    CHILD(demi_init(NULL) == 0);
    int qd = -1;
    CHILD(demi_queue(&qd, 0) == 0);
    demi_sgarray_t sga = demi_sgaalloc(100);
    CHILD(demi_blocking_push(qd, &sga) == 0);
    demi_qresult_t qr;
    CHILD(demi_blocking_pop(qd, &qr) == 0);
    CHILD(qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_segs[0].sgaseg_len == 100);
    if (!backend_can(CAN_SOCKET))
        return;
    struct sockaddr_storage addr;
    socklen_t len = loopback(backend()->domain, 0, &addr);
    CHILD(demi_socket(&qd, backend()->domain, SOCK_DGRAM, 0) == 0);
    CHILD(demi_bind(qd, (struct sockaddr *)&addr, len) == 0);
    len = sizeof addr;
    CHILD(demi_getsockname(qd, (struct sockaddr *)&addr, &len) == 0);
    demi_qtoken_t qt;
    CHILD(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&addr, len) == 0);
    const struct timespec patience = {PATIENCE_S, 0};
    CHILD(demi_wait(&qr, qt, &patience) == 0 && qr.qr_opcode == DEMI_OPC_PUSH);
    CHILD(demi_pop(&qt, qd) == 0);
    CHILD(demi_wait(&qr, qt, &patience) == 0 && qr.qr_opcode == DEMI_OPC_POP);
}

static void test_fork_child_has_nothing_until_init_and_parent_goes_on(void **state)
{
    (void)state;
    must(demi_init(NULL));
    struct pair pair = pair_make();
    for (int way = 0; way < (backend_can(CAN_SHARE) ? 4 : 2); way++) {
        demi_qtoken_t qt = pop_start(pair.rx);
        demi_qresult_t qr;
        must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
        const pid_t pid = child_fork();
        if (pid == 0) {
            int qd;
            CHILD(demi_queue(&qd, 0) == ENOSYS);
            CHILD(demi_wait(&qr, qt, NULL) == ENOSYS);
            CHILD(demi_close(pair.rx) == ENOSYS);
            CHILD(demi_fini() == ENOSYS);
            if (way >= 2)
                child_uses_the_library();
            if (way == 3)
                CHILD(demi_fini() == 0);
            if (way % 2 == 0)
                _exit(0);
            exit(0); /* its exit hook must leave the parent's connections alone */
        }
        assert_int_equal(child_wait(pid), 0);
        demi_sgarray_t sga = pattern_sga(1000, 1, 0);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        qr = wait_success(qt, DEMI_OPC_POP);
        assert_int_equal(sga_bytes(&qr.qr_value.sga), 1000);
        pattern_check_sga(&qr.qr_value.sga, 1, 0);
        must(demi_sgafree(&qr.qr_value.sga));
    }
    pair_close(pair);
    must(demi_fini());
}

static void test_fork_child_works_while_parent_works(void **state)
{
    (void)state;
    backend_needs(CAN_SHARE);
    must(demi_init(NULL));
    struct pair pair = pair_make();
    const pid_t pid = child_fork();
    if (pid == 0) {
        child_uses_the_library();
        exit(0);
    }
    uint64_t at = 0;
    for (int i = 0; i < 500; i++, at += 500) {
        demi_sgarray_t sga = pattern_sga(500, 1, at);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, 500, 1, at);
    }
    assert_int_equal(child_wait(pid), 0);
    pair_close(pair);
    must(demi_fini());
}

/* --- descriptor limit ----------------------------------------------------------------------- */

enum { HOGS_MAX = 4096 };

static int hogs[HOGS_MAX];
static int num_hogs;
static struct rlimit limit_was;

/* Lowers the limit and takes every descriptor below it. */
static void fds_exhaust(void)
{
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit_was), 0);
    const int next = dup(STDERR_FILENO);
    assert_true(next >= 0);
    close(next);
    struct rlimit tight = {.rlim_cur = (rlim_t)next + 64, .rlim_max = limit_was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    for (num_hogs = 0; num_hogs < HOGS_MAX; num_hogs++) {
        hogs[num_hogs] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (hogs[num_hogs] < 0)
            break;
    }
    assert_true(num_hogs < HOGS_MAX);
}

static void fds_give_back(void)
{
    while (num_hogs > 0)
        close(hogs[--num_hogs]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit_was), 0);
}

static int exhausted_teardown(void **state)
{
    if (num_hogs > 0)
        fds_give_back();
    return library_teardown(state);
}

static void test_socket_without_descriptors_is_emfile_and_recovers(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET | CAN_FDS);
    struct pair pair = pair_make();
    fds_exhaust();
    int qd = 4711;
    for (int i = 0; i < 100; i++) {
        must_fail(demi_socket(&qd, backend()->domain, backend()->type, 0), EMFILE);
        assert_int_equal(qd, 4711);
    }
    demi_sgarray_t sga = pattern_sga(100, 1, 0); /* what is open works on */
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(pair.rx, 100, 1, 0);
    fds_give_back();
    must(demi_socket(&qd, backend()->domain, backend()->type, 0));
    must(demi_close(qd));
    pair_close(pair);
}

static void test_accept_without_descriptors_is_emfile_and_loses_none(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_FDS);
    enum { CLIENTS = 6 };
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 16);
    int clients[CLIENTS];
    for (uint64_t i = 0; i < CLIENTS; i++) {
        clients[i] = plain_connect(&addr, len);
        uint8_t out[30];
        pattern_fill(out, sizeof out, i, 0);
        plain_send(clients[i], out, sizeof out);
    }
    fds_exhaust();
    for (int i = 0; i < 5; i++) {
        demi_qtoken_t qt;
        must(demi_accept(&qt, listener));
        assert_int_equal(wait_failure(qt), EMFILE);
    }
    fds_give_back();
    for (uint64_t i = 0; i < CLIENTS; i++) {
        int conn = accept_one(listener);
        pop_pattern(conn, 30, i, 0);
        must(demi_close(conn));
        close(clients[i]);
    }
    must(demi_close(listener));
}

static void test_init_without_descriptors_fails_cleanly_and_next_succeeds(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    must(demi_fini());
    fds_exhaust();
    const int held = num_hogs;
    const int error = demi_init(NULL);
    if (error == 0)
        must(demi_fini());
    fds_give_back();
    must_hold(error == EMFILE || error == ENODEV || error == 0, "got %s", errno_name(error));
    fds_exhaust(); /* as many as before: nothing leaked */
    assert_int_equal(num_hogs, held);
    fds_give_back();
    must(demi_init(NULL));
    struct pair pair = pair_make();
    pair_close(pair);
}

int run_life_tests(void)
{
#define EXHAUSTED(f) cmocka_unit_test_setup_teardown(f, library_setup, exhausted_teardown)
    const struct CMUnitTest tests[] = {
        UNSTARTED(test_calls_before_init_and_after_fini_are_enosys),
        UNSTARTED(test_init_twice_in_one_thread_is_eexist),
        UNSTARTED(test_init_bad_configuration_is_einval_and_next_succeeds),
        UNSTARTED(test_fini_with_everything_outstanding_then_init_works),
        UNSTARTED(test_tokens_and_descriptors_of_an_earlier_life_are_bad),
        UNSTARTED(test_sga_held_over_fini_frees_without_harm),
        UNSTARTED(test_stats_name_what_runs),
        UNSTARTED(test_stats_by_number_are_those_of_the_process),
        UNSTARTED(test_callback_hears_of_the_calls_and_their_durations),
        UNSTARTED(test_fork_child_has_nothing_until_init_and_parent_goes_on),
        UNSTARTED(test_fork_child_works_while_parent_works),
        EXHAUSTED(test_socket_without_descriptors_is_emfile_and_recovers),
        EXHAUSTED(test_accept_without_descriptors_is_emfile_and_loses_none),
        EXHAUSTED(test_init_without_descriptors_fails_cleanly_and_next_succeeds),
    };
    return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}
