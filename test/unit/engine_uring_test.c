/* SPDX-License-Identifier: MIT */
/* The io_uring engine: what it tells, and that it makes no system call when there is nothing. */
#include "libos/kernel/engine.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define KEY         7
#define POLLS       32 /* the engine reads its eventfd at least so often */
#define IDLE_STATUS 3

struct fixture {
    struct dk_engine *engine;
    int kickfd;
    int pair[2]; /* the engine watches the first */
};

static bool open_engine(struct fixture *f)
{
    const char *why = "";
    f->kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f->pair) == 0 &&
           dk_engine_uring.open(&f->engine, f->kickfd, &why) == 0;
}

static void close_fixture(struct fixture *f)
{
    f->engine->ops->close(f->engine);
    close(f->kickfd);
    close(f->pair[0]);
    close(f->pair[1]);
}

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static int poll_now(struct fixture *f, struct dk_event *ev)
{
    return f->engine->ops->poll(f->engine, ev, 1, 0);
}

/* Watches the socket, and takes what there is to tell about it: it may be written. */
static bool watch(struct fixture *f)
{
    struct dk_event ev;
    return f->engine->ops->add(f->engine, f->pair[0], KEY) == 0 && poll_now(f, &ev) == 1 &&
           ev.key == KEY && ev.events & EPOLLOUT && poll_now(f, &ev) == 0;
}

static void open_fixture(struct fixture *f)
{
    if (!open_engine(f)) {
        print_message("io_uring with DEFER_TASKRUN is not available here\n");
        skip();
    }
    assert_true(watch(f));
}

static void test_arrival_is_told_by_descriptor_and_poll(void **state)
{
    struct fixture f;
    struct dk_event ev;
    (void)state;
    open_fixture(&f);
    const int fd = f.engine->ops->fd(f.engine);
    assert_true(fd >= 0);
    assert_int_equal(poll_now(&f, &ev), 0);
    assert_false(is_readable(fd));
    for (int i = 0; i < 3 * POLLS; i++) {
        char c = 'x';
        assert_int_equal(write(f.pair[1], &c, 1), 1);
        assert_true(is_readable(fd));
        assert_int_equal(poll_now(&f, &ev), 1);
        assert_int_equal(ev.key, KEY);
        assert_true(ev.events & EPOLLIN);
        assert_false(is_readable(fd));
        assert_int_equal(read(f.pair[0], &c, 1), 1);
        assert_int_equal(poll_now(&f, &ev), 0);
    }
    close_fixture(&f);
}

/* The kernel signals the descriptor after it told of the arrival in another way. */
static void test_late_signal_ends_few_sleeps(void **state)
{
    struct fixture f;
    struct dk_event ev;
    (void)state;
    open_fixture(&f);
    const int fd = f.engine->ops->fd(f.engine);
    assert_int_equal(eventfd_write(fd, 1), 0);
    for (int i = 0; i < POLLS && is_readable(fd); i++)
        assert_int_equal(poll_now(&f, &ev), 0);
    assert_false(is_readable(fd));
    close_fixture(&f);
}

static bool forbid_enter(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a process of its own: polls without anything to find, and then with. */
static int run_forbidden(bool arrives)
{
    struct fixture f;
    struct dk_event ev;
    const char c = 'x';
    if (!open_engine(&f) || !watch(&f) || f.engine->ops->fd(f.engine) < 0 || !forbid_enter())
        return 1;
    for (int i = 0; i < 3 * POLLS; i++)
        if (poll_now(&f, &ev) != 0)
            return 2;
    if (arrives && write(f.pair[1], &c, 1) == 1)
        poll_now(&f, &ev);
    return IDLE_STATUS;
}

static int status_of_forbidden(bool arrives)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(run_forbidden(arrives));
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_idle_poll_makes_no_system_call(void **state)
{
    struct fixture f;
    (void)state;
    open_fixture(&f);
    close_fixture(&f);
    int status = status_of_forbidden(false);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), IDLE_STATUS);
    assert_true(WIFSIGNALED(status_of_forbidden(true))); /* it would be seen */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrival_is_told_by_descriptor_and_poll),
        cmocka_unit_test(test_late_signal_ends_few_sleeps),
        cmocka_unit_test(test_idle_poll_makes_no_system_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
