/* SPDX-License-Identifier: MIT */
/*
 * io_uring forbidden by a system-call filter, as containers do: engine=auto works through epoll and
 * says so, engine=io_uring is refused with a reason; logs go through threads.
 */
#include "../lib/backend.h"

#include <demi/storage.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From here on io_uring_setup answers EPERM, in this process for ever. */
static bool forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static const struct demi_backend *backend_named(const char *name)
{
    static struct demi_backend backends[32];
    size_t n = 0;
    must(demi_backends(backends, COUNT_OF(backends), &n));
    for (size_t i = 0; i < n && i < COUNT_OF(backends); i++)
        if (strcmp(backends[i].name, name) == 0)
            return &backends[i];
    return NULL;
}

static void test_io_uring_forbidden_auto_takes_epoll(void **state)
{
    (void)state;
    setenv("DEMI_ENGINE", "auto", 1);
    must(demi_init(NULL));
    assert_string_equal(stat_text("kernel.engine"), "epoll");
    int qd = -1;
    must(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0));
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 0, &addr);
    must(demi_bind(qd, (struct sockaddr *)&addr, len));
    len = sizeof addr;
    must(demi_getsockname(qd, (struct sockaddr *)&addr, &len));
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    demi_qtoken_t qt;
    must(demi_pushto(&qt, qd, &sga, (struct sockaddr *)&addr, len));
    must(demi_sgafree(&sga));
    wait_success(qt, DEMI_OPC_PUSH);
    pop_pattern(qd, 100, 1, 0);
    must(demi_fini());
}

static void test_io_uring_forbidden_asked_for_is_enodev(void **state)
{
    (void)state;
    setenv("DEMI_ENGINE", "io_uring", 1);
    must_fail(demi_init(NULL), ENODEV);
    unsetenv("DEMI_ENGINE");
}

static void test_io_uring_forbidden_backends_name_epoll(void **state)
{
    (void)state;
    const struct demi_backend *kernel = backend_named("kernel");
    assert_non_null(kernel);
    assert_true(kernel->available);
    assert_string_equal(kernel->engine, "epoll");
}

static void test_io_uring_forbidden_backends_of_logs_say_so(void **state)
{
    (void)state;
    const struct demi_backend *file = backend_named("file");
    assert_non_null(file);
    assert_true(file->available);
    assert_string_equal(file->engine, "threads");
    assert_string_equal(file->kind, "storage");
    const struct demi_backend *nvme = backend_named("nvme");
    assert_non_null(nvme);
    assert_false(nvme->available);
    assert_non_null(strstr(nvme->missing, "forbidden"));
}

static void test_io_uring_forbidden_log_is_durable_through_threads(void **state)
{
    (void)state;
    char name[64];
    uint64_t flushed = 0;
    int qd = -1;
    snprintf(name, sizeof name, "forbidden.%d.log", (int)getpid());
    setenv("DEMI_STORE", "none", 1);
    for (uint64_t life = 0; life < 2; life++) {
        must(demi_init(NULL));
        must(demi_open(&qd, name, O_RDWR | O_CREAT));
        for (uint64_t i = 0; i < life; i++)
            pop_pattern(qd, 5000, i, 0);
        demi_sgarray_t sga = pattern_sga(5000, life, 0);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
        assert_true(stat_value("blk.fua_writes", &flushed));
        assert_true(flushed > 0);
        must(demi_close(qd));
        if (life == 1)
            must(demi_unlink(name));
        must(demi_fini());
    }
}

int main(void)
{
    setenv("DEMI_NET", "kernel", 1);
    if (!forbid_io_uring()) {
        printf("skipped: system-call filters are not available here: %s\n", strerror(errno));
        return 77;
    }
#define BOUNDED(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)
    const struct CMUnitTest tests[] = {
        BOUNDED(test_io_uring_forbidden_auto_takes_epoll),
        BOUNDED(test_io_uring_forbidden_asked_for_is_enodev),
        BOUNDED(test_io_uring_forbidden_backends_name_epoll),
        BOUNDED(test_io_uring_forbidden_backends_of_logs_say_so),
        BOUNDED(test_io_uring_forbidden_log_is_durable_through_threads),
    };
    return cmocka_run_group_tests_name("forbidden", tests, NULL, NULL);
}
