/* SPDX-License-Identifier: MIT */
/*
 * System calls of durable appends, one at a time: who sleeps at once makes one for each, which
 * starts the write and waits for it; who looks again first starts it by that. Counted by a tracer,
 * between two calls of getppid.
 */
#include "../lib/harness.h"

#include <demi/memory.h>
#include <demi/storage.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { APPENDS = 200, BYTES = 4096, NOT_TRACED = 77 };

static void append(int qd, void *data)
{
    const demi_sgarray_t sga = {.sga_numsegs = 1, .sga_segs = {{data, BYTES}}};
    demi_qresult_t qr;
    demi_qtoken_t qt;
    must(demi_push(&qt, qd, &sga));
    must(demi_wait(&qr, qt, NULL));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
}

/* A device of a fixed size, whose blocks are all there. */
static void run_traced(const char *path, const char *poll)
{
    char store[128];
    int qd;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
        _exit(NOT_TRACED);
    raise(SIGSTOP);
    snprintf(store, sizeof(store), "file:%s,size=32M,create", path);
    setenv("DEMI_STORE", store, 1);
    setenv("DEMI_POLL", poll, 1);
    must(demi_init(NULL));
    must(demi_open(&qd, "a", O_RDWR | O_CREAT));
    void *data = demi_aligned_alloc(4096, BYTES);
    memset(data, 0x5a, BYTES);
    append(qd, data);
    syscall(SYS_getppid);
    for (int i = 0; i < APPENDS; i++)
        append(qd, data);
    syscall(SYS_getppid);
    must(demi_close(qd));
    must(demi_fini());
    _exit(0);
}

/* Goes on to the next stop of a system call; false: the child ended, with *status_out. */
static bool next_stop(pid_t pid, struct __ptrace_syscall_info *info, int *status_out)
{
    int pass = 0;
    for (;;) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)pass), 0);
        assert_int_equal(waitpid(pid, status_out, 0), pid);
        if (!WIFSTOPPED(*status_out))
            return false;
        if (WSTOPSIG(*status_out) == (SIGTRAP | 0x80))
            break;
        pass = WSTOPSIG(*status_out);
    }
    assert_true(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(*info), info) > 0);
    return true;
}

/* Follows a child from its first stop to its end; returns the calls between the marks. */
static int count_calls(pid_t pid)
{
    struct __ptrace_syscall_info info;
    int status, marks = 0, calls = 0;
    assert_int_equal(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD), 0);
    while (next_stop(pid, &info, &status)) {
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (info.entry.nr == SYS_getppid)
            marks++;
        else
            calls += marks == 1;
    }
    must_hold(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed");
    assert_int_equal(marks, 2);
    return calls;
}

/* The calls of APPENDS appends. */
static int calls_of(const char *poll)
{
    char folder[] = "append-calls-XXXXXX", path[64];
    int status, calls = -1;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/store", folder);
    const pid_t pid = fork();
    if (pid == 0)
        run_traced(path, poll);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSTOPPED(status))
        calls = count_calls(pid);
    unlink(path);
    rmdir(folder);
    if (calls >= 0)
        return calls;
    must_hold(WIFEXITED(status) && WEXITSTATUS(status) == NOT_TRACED, "the child ended");
    print_message("a process cannot be traced here\n");
    skip();
    return 0;
}

static void test_append_that_is_slept_for_at_once_is_one_system_call(void **state)
{
    (void)state;
    const int calls = calls_of("never");
    print_message("%d system calls for %d appends\n", calls, APPENDS);
    assert_in_range(calls, APPENDS, APPENDS * 5 / 4); /* a new segment takes a few more */
}

static void test_append_that_is_slept_for_after_looks_is_two_at_most(void **state)
{
    (void)state;
    const int calls = calls_of("adaptive");
    print_message("%d system calls for %d appends\n", calls, APPENDS);
    assert_in_range(calls, APPENDS, APPENDS * 9 / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_that_is_slept_for_at_once_is_one_system_call),
        cmocka_unit_test(test_append_that_is_slept_for_after_looks_is_two_at_most),
    };
    return cmocka_run_group_tests_name("append_calls", tests, NULL, NULL);
}
