/* SPDX-License-Identifier: MIT */
/*
 * requests ENGINE: one scenario, again and again, each time with another request of the library to
 * the system failing. Every call answers with a clean errno; what is tried again succeeds, and no
 * byte is lost or doubled; after demi_fini as many blocks and descriptors are held as ever; and the
 * next run without a failure succeeds.
 */
#include "../lib/backend.h"
#include "again.h"

#include <demi/storage.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int alloc_pattern(demi_sgarray_t *sga, uint32_t len, uint32_t num_segs, uint64_t seed)
{
    uint32_t lens[DEMI_SGARRAY_MAXSIZE] = {0};
    for (uint32_t i = 0; i < num_segs; i++)
        lens[i] = len / num_segs;
    *sga = demi_sgaalloc_segs(lens, num_segs);
    if (sga->sga_numsegs == 0)
        return ENOMEM;
    for (uint32_t i = 0; i < num_segs; i++)
        pattern_fill(sga->sga_segs[i].sgaseg_buf, lens[i], seed, (uint64_t)i * lens[i]);
    return 0;
}

/* Pushes to tx and pops from rx, all of it, checked; the sga is freed before the push is done. */
static bool move(int tx, int rx, uint32_t len, uint32_t num_segs)
{
    demi_sgarray_t sga;
    demi_qresult_t qr;
    demi_qtoken_t push = 0;
    TRY(alloc_pattern(&sga, len, num_segs, len));
    int error;
    for (int tries = 1; (error = demi_push(&push, tx, &sga)) != 0; tries++)
        if (!again("demi_push", error, tries)) {
            must(demi_sgafree(&sga));
            return false;
        }
    must(demi_sgafree(&sga));
    uint32_t got = 0;
    while (got < len) {
        demi_qtoken_t pop = 0;
        TRY_OP(&qr, pop, demi_pop(&pop, rx));
        demi_sgarray_t popped = qr.qr_value.sga;
        must_hold(popped.sga_numsegs != 0, "the stream ended after %u of %u bytes", got, len);
        pattern_check_sga(&popped, len, got);
        got += (uint32_t)sga_bytes(&popped);
        must(demi_sgafree(&popped));
    }
    assert_int_equal(got, len);
    if (!wait_one(&qr, push))
        return false;
    must_hold(qr.qr_opcode == DEMI_OPC_PUSH, "a push whose data arrived failed: %s",
              errno_name((int)qr.qr_ret));
    return true;
}

static bool use_memory(void)
{
    int qd = -1;
    static char own[3000];
    TRY(demi_queue(&qd, 0));
    for (uint32_t i = 0; i < 3; i++)
        if (!move(qd, qd, 80 + i * 40000, 1 + i * 3))
            return false;
    demi_sgarray_t built = built_sga(own, sizeof own);
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY_OP(&qr, qt, demi_push(&qt, qd, &built));
    demi_qtoken_t pops[40];
    for (int i = 0; i < 40; i++)
        TRY(demi_pop(&pops[i], qd));
    if (!wait_one(&qr, pops[0]))
        return false;
    assert_int_equal(sga_bytes(&qr.qr_value.sga), sizeof own);
    demi_sgarray_t clone;
    int error;
    for (int tries = 1; (error = demi_sgaclone(&clone, &qr.qr_value.sga)) != 0; tries++)
        if (!again("demi_sgaclone", error, tries)) {
            must(demi_sgafree(&qr.qr_value.sga));
            return false;
        }
    must(demi_sgafree(&qr.qr_value.sga));
    must(demi_sgafree(&clone));
    for (int i = 1; i < 40; i++)
        must(demi_cancel(pops[i]));
    must(demi_close(qd));
    return true;
}

static bool let_pass(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return true;
}

static int leave_alone(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return 0;
}

static int all_equal(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    (void)arg;
    return 0;
}

static uint32_t to_second(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return 1;
}

/* A chain of all operators, made, used, closed with elements in it. */
static bool use_operators(void)
{
    int qds[2] = {-1, -1}, outputs[2] = {-1, -1}, merged = -1, filtered = -1, mapped = -1, top = -1;
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY(demi_queue(&qds[0], 0));
    TRY(demi_queue(&qds[1], 0));
    TRY(demi_merge(&merged, qds[0], qds[1]));
    TRY(demi_filter(&filtered, merged, let_pass, NULL));
    TRY(demi_map_dir(&mapped, filtered, NULL, leave_alone, NULL));
    TRY(demi_partition(outputs, 2, mapped, to_second, NULL));
    TRY(demi_sort(&top, outputs[1], all_equal, NULL));
    for (uint32_t i = 0; i < 3; i++)
        if (!move(qds[i % 2], top, 80 + i * 40000, 1 + i * 3))
            return false;
    demi_sgarray_t sga;
    TRY(alloc_pattern(&sga, 100, 1, 1));
    for (int i = 0; i < 40; i++)
        TRY_OP(&qr, qt, demi_push(&qt, qds[i % 2], &sga));
    TRY_OP(&qr, qt, demi_pop(&qt, top));
    must(demi_sgafree(&qr.qr_value.sga));
    must(demi_close(top));
    must(demi_close(outputs[0]));
    must(demi_close(outputs[1]));
    must(demi_close(mapped));
    must(demi_close(filtered));
    must(demi_sgafree(&sga));
    TRY(alloc_pattern(&sga, 100, 1, 1));
    TRY_OP(&qr, qt, demi_push(&qt, merged, &sga)); /* to both */
    must(demi_sgafree(&sga));
    must(demi_close(merged));
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    return true;
}

enum { SHARED = 3 << 20 }; /* bytes: a copy of them asks the system for memory */

static bool push_shared(int qd, const demi_sgarray_t *sga)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY_OP(&qr, qt, demi_push(&qt, qd, sga));
    return true;
}

/* A pop that fails leaves the element for the next one. */
static bool pop_shared(int qd)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY_OP(&qr, qt, demi_pop(&qt, qd));
    pattern_check_sga(&qr.qr_value.sga, SHARED, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    return true;
}

/* As pop_shared, but the map closes: then the element is in the source. */
static bool close_and_pop_shared(int mapped, int qd)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY(demi_pop(&qt, mapped));
    if (!wait_one(&qr, qt))
        return false;
    must(demi_close(mapped));
    if (qr.qr_opcode == DEMI_OPC_FAILED)
        return again("demi_pop", (int)qr.qr_ret, 1) && pop_shared(qd);
    must(demi_sgafree(&qr.qr_value.sga));
    return true;
}

/* An element that the application holds too is copied by a map, which may fail. */
static bool use_shared(void)
{
    int qd = -1, mapped = -1, top = -1;
    demi_sgarray_t sga;
    TRY(demi_queue(&qd, 0));
    TRY(demi_map_dir(&mapped, qd, NULL, leave_alone, NULL));
    TRY(demi_filter(&top, mapped, let_pass, NULL));
    TRY(alloc_pattern(&sga, SHARED, 1, SHARED));
    bool done = push_shared(qd, &sga) && pop_shared(top); /* through a filter, and without */
    must(demi_close(top));
    done = done && push_shared(qd, &sga) && pop_shared(mapped);
    done = done && push_shared(qd, &sga) && close_and_pop_shared(mapped, qd);
    must(demi_sgafree(&sga));
    return done;
}

static bool push_record(int qd, const demi_sgarray_t *sga)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY_OP(&qr, qt, demi_push(&qt, qd, sga));
    return true;
}

/* A record is appended once, whatever failed before, and read. */
static bool move_record(int qd, uint32_t len, uint32_t num_segs)
{
    demi_sgarray_t sga;
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY(alloc_pattern(&sga, len, num_segs, len));
    const bool pushed = push_record(qd, &sga);
    must(demi_sgafree(&sga));
    if (!pushed)
        return false;
    TRY_OP(&qr, qt, demi_pop(&qt, qd));
    assert_int_equal(sga_bytes(&qr.qr_value.sga), len);
    pattern_check_sga(&qr.qr_value.sga, len, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    return true;
}

/* A log on a device in memory; and through an operator. */
static bool use_log(void)
{
    int qd = -1, filtered = -1;
    int64_t pos = -1;
    TRY(demi_open(&qd, "log", O_RDWR | O_CREAT));
    for (uint32_t i = 0; i < 3; i++)
        if (!move_record(qd, 84 + i * 20160, 1 + i * 3))
            return false;
    TRY(demi_lseek(qd, 0, SEEK_END, &pos));
    assert_int_equal(pos, 3);
    TRY(demi_trim(qd, 2));
    TRY(demi_filter(&filtered, qd, let_pass, NULL));
    if (!move_record(filtered, 5000, 2))
        return false;
    must(demi_close(filtered));
    TRY(demi_truncate(qd, 3));
    must(demi_close(qd));
    TRY(demi_unlink("log"));
    return true;
}

static bool use_tcp(void)
{
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 0, &addr);
    int listener = -1, client = -1;
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    TRY(demi_socket(&listener, AF_INET, SOCK_STREAM, 0));
    TRY(demi_bind(listener, (struct sockaddr *)&addr, len));
    len = sizeof addr;
    TRY(demi_getsockname(listener, (struct sockaddr *)&addr, &len));
    TRY(demi_listen(listener, 4));
    TRY(demi_socket(&client, AF_INET, SOCK_STREAM, 0));
    TRY_OP(&qr, qt, demi_connect(&qt, client, (struct sockaddr *)&addr, len));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_CONNECT);
    TRY_OP(&qr, qt, demi_accept(&qt, listener));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_ACCEPT);
    const int conn = qr.qr_value.ares.qd;
    if (!move(client, conn, 100, 1) || !move(conn, client, 24000, 8) ||
        !move(client, conn, 300000, 3))
        return false;
    TRY(demi_shutdown(client, SHUT_WR));
    TRY_OP(&qr, qt, demi_pop(&qt, conn));
    assert_int_equal(qr.qr_value.sga.sga_numsegs, 0);
    must(demi_close(conn));
    must(demi_close(client));
    must(demi_close(listener));
    return true;
}

static bool use_udp(void)
{
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET6, 0, &addr);
    int qd = -1;
    demi_qtoken_t push = 0, pop = 0;
    demi_qresult_t qr;
    demi_sgarray_t sga;
    TRY(demi_socket(&qd, AF_INET6, SOCK_DGRAM, 0));
    TRY(demi_bind(qd, (struct sockaddr *)&addr, len));
    len = sizeof addr;
    TRY(demi_getsockname(qd, (struct sockaddr *)&addr, &len));
    TRY(alloc_pattern(&sga, 3000, 3, 1));
    int error;
    for (int tries = 1; (error = demi_pushto(&push, qd, &sga, (struct sockaddr *)&addr, len)) != 0;
         tries++)
        if (!again("demi_pushto", error, tries)) {
            must(demi_sgafree(&sga));
            return false;
        }
    must(demi_sgafree(&sga));
    TRY_OP(&qr, pop, demi_pop(&pop, qd));
    assert_int_equal(sga_bytes(&qr.qr_value.sga), 3000);
    pattern_check_sga(&qr.qr_value.sga, 1, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    if (!wait_one(&qr, push))
        return false;
    must(demi_close(qd));
    return true;
}

static bool scenario_started(void)
{
    int fd = -1;
    if (!use_memory() || !use_operators() || !use_shared() || !use_tcp() || !use_udp() ||
        !use_log())
        return false;
    TRY(demi_eventfd(&fd));
    return true;
}

static bool start(void)
{
    TRY(demi_init(NULL));
    return true;
}

static bool scenario(void)
{
    const bool done = start() && scenario_started();
    inject_disarm();
    (void)must_either(demi_fini(), 0, ENOSYS);
    return done;
}

/* What is made once and kept, is made before anything is counted. */
static int warm_up(void **state)
{
    static const int none[] = {0};
    deadline_setup(state);
    allowed = none;
    lasting = false;
    for (int i = 0; i < 2; i++)
        assert_true(scenario());
    deadline_start("faults", 3 * DEADLINE_S);
    return 0;
}

static const int memory_errors[] = {ENOMEM, ENODEV, 0};
static const int descriptor_errors[] = {EMFILE, ENODEV, 0};
static const int watch_errors[] = {ENOMEM, ENODEV, 0};
static const int no_errors[] = {0};

/* --- what a process asks for once: every try in a process of its own ---------------------------
 */

enum { NOT_HIT = 42 };

static const char *program;
static bool is_loop; /* the TCP/IP stack, not the kernel's sockets */
static uint32_t fresh_nth;
static bool fresh_hit;

static void test_first_run_with_one_request_failing(void **state)
{
    (void)state;
    allowed = memory_errors;
    lasting = false;
    inject_arm(INJECT_MEMORY, fresh_nth, false, ENOMEM);
    assert_true(scenario());
    fresh_hit = inject_hit();
    allowed = no_errors;
    assert_true(scenario());
}

static int fresh_main(const char *nth)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_run_with_one_request_failing, deadline_setup,
                                        deadline_teardown),
    };
    fresh_nth = (uint32_t)strtoul(nth, NULL, 10);
    const int failed = cmocka_run_group_tests_name("fresh", tests, NULL, NULL);
    return failed != 0 ? 1 : fresh_hit ? 0 : NOT_HIT;
}

static void test_allocation_of_a_fresh_process_fails_once_at_each_place(void **state)
{
    (void)state;
    int status = 0;
    uint32_t nth;
    for (nth = 1; status == 0; nth++) {
        char number[16];
        snprintf(number, sizeof number, "%u", nth);
        const int pid = child_fork();
        if (pid == 0) {
            CHILD(freopen("/dev/null", "w", stdout) != NULL);
            CHILD(freopen("/dev/null", "w", stderr) != NULL);
            execl("/proc/self/exe", program, is_loop ? "loop" : getenv("DEMI_ENGINE"), number,
                  (char *)NULL);
            child_exit(1);
        }
        status = child_wait(pid);
        must_hold(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HIT),
                  "request %u fails: status %x (run with argument %u)", nth, (unsigned)status, nth);
    }
    print_message("%u requests of a fresh process failed\n", nth - 2);
    assert_true(nth > 2);
}

static void test_allocation_fails_once_at_each_place(void **state)
{
    (void)state;
    fail_each(scenario, INJECT_MEMORY, ENOMEM, memory_errors, false);
}

static void test_allocations_fail_from_each_place_on(void **state)
{
    (void)state;
    fail_each(scenario, INJECT_MEMORY, ENOMEM, memory_errors, true);
}

static void test_descriptor_refused_once_at_each_place(void **state)
{
    (void)state;
    fail_each(scenario, INJECT_DESCRIPTOR, EMFILE, descriptor_errors, false);
}

static void test_descriptors_refused_from_each_place_on(void **state)
{
    (void)state;
    fail_each(scenario, INJECT_DESCRIPTOR, EMFILE, descriptor_errors, true);
}

static void test_watching_refused_once_at_each_place(void **state)
{
    (void)state;
    if (strcmp(getenv("DEMI_ENGINE"), "epoll") != 0) {
        print_message("only the epoll engine watches sockets by epoll_ctl\n");
        skip();
    }
    fail_each(scenario, INJECT_WATCH, ENOMEM, watch_errors, false);
}

static void needs_kernel(void)
{
    if (!is_loop)
        return;
    print_message("the stack over loop asks the kernel for no I/O\n");
    skip();
}

static void test_io_interrupted_at_each_place_is_not_seen(void **state)
{
    (void)state;
    needs_kernel();
    fail_each(scenario, INJECT_IO, EINTR, no_errors, false);
}

static void test_accept_of_an_aborted_connection_is_not_seen(void **state)
{
    (void)state;
    needs_kernel();
    fail_each(scenario, INJECT_ACCEPT, ECONNABORTED, no_errors, false);
    fail_each(scenario, INJECT_ACCEPT, EINTR, no_errors, false);
}

static void test_io_uring_refused_auto_takes_epoll(void **state)
{
    (void)state;
    needs_kernel();
    static const int refusals[] = {EPERM, ENOSYS, ENOMEM, EMFILE, EINVAL};
    char *was = strdup(getenv("DEMI_ENGINE"));
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        setenv("DEMI_ENGINE", "auto", 1);
        inject_arm(INJECT_RING, 1, true, refusals[i]);
        must(demi_init(NULL));
        assert_string_equal(stat_text("kernel.engine"), "epoll");
        allowed = no_errors;
        assert_true(scenario_started());
        must(demi_fini());
        setenv("DEMI_ENGINE", "io_uring", 1);
        const int error = demi_init(NULL);
        must_hold(error == ENODEV || error == refusals[i], "got %s", errno_name(error));
        inject_disarm();
        must(demi_init(NULL));
        must(demi_fini());
    }
    setenv("DEMI_ENGINE", was, 1);
    free(was);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: requests io_uring|epoll|loop [NTH-ALLOCATION]\n");
        return 2;
    }
    is_loop = strcmp(argv[1], "loop") == 0;
    setenv("DEMI_NET", is_loop ? "loop" : "kernel", 1);
    /* Without large packets: where no memory comes back, each is lost, and has to time out. */
    setenv("DEMI_NET_OFFLOAD", "checksum,rx-checksum,gro", 1);
    setenv("DEMI_ENGINE", is_loop ? "auto" : argv[1], 1);
    setenv("DEMI_STORE", "memblk,bytes=8M", 1);
    program = argv[0];
    if (argc == 3)
        return fresh_main(argv[2]);
#define FAULT(f) cmocka_unit_test_setup_teardown(f, warm_up, deadline_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_allocation_of_a_fresh_process_fails_once_at_each_place,
                                        deadline_setup, deadline_teardown),
        FAULT(test_allocation_fails_once_at_each_place),
        FAULT(test_allocations_fail_from_each_place_on),
        FAULT(test_descriptor_refused_once_at_each_place),
        FAULT(test_descriptors_refused_from_each_place_on),
        FAULT(test_watching_refused_once_at_each_place),
        FAULT(test_io_interrupted_at_each_place_is_not_seen),
        FAULT(test_accept_of_an_aborted_connection_is_not_seen),
        FAULT(test_io_uring_refused_auto_takes_epoll),
    };
    return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}
