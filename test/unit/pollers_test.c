/* SPDX-License-Identifier: MIT */
/* Several pollers of one instance: each is polled, any of them ends a sleep. */
#include "core/pollers.h"

#include "core/thread.h"
#include "core/wait.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define LONG_NS INT64_C(20000000000)

/* A poller whose descriptor the test makes readable; its stats are `first_stat` on. */
struct device {
    struct dk_poller poller;
    int fd;
    uint32_t polls, arms, blocks, kicks, ends, destroys, abandons;
    uint32_t undrained;
    bool backlog;
    size_t num_stats;
    uint64_t first_stat;
};

static struct device *of(struct dk_poller *p)
{
    return (struct device *)p;
}

static void device_poll(struct dk_poller *p, int64_t now, bool spinning)
{
    (void)now, (void)spinning;
    of(p)->polls++;
}

static void device_arm(struct dk_poller *p)
{
    __atomic_add_fetch(&of(p)->arms, 1, __ATOMIC_RELEASE);
}

/* As real ones do: until a kick. */
static void device_block(struct dk_poller *p, int64_t timeout_ns)
{
    eventfd_t value;
    __atomic_add_fetch(&of(p)->blocks, 1, __ATOMIC_RELEASE);
    while (timeout_ns != 0 && eventfd_read(of(p)->fd, &value) < 0)
        usleep(100);
}

static void device_kick(struct dk_poller *p)
{
    of(p)->kicks++;
    eventfd_write(of(p)->fd, 1);
}

static int device_fd(struct dk_poller *p)
{
    return of(p)->fd;
}

static bool device_backlog(struct dk_poller *p)
{
    return of(p)->backlog;
}

static uint32_t device_undrained(struct dk_poller *p)
{
    return of(p)->undrained;
}

static void device_reset(struct dk_poller *p)
{
    of(p)->undrained = 0;
}

static void device_end(struct dk_poller *p)
{
    of(p)->ends++;
}

static void device_destroy(struct dk_poller *p)
{
    of(p)->destroys++;
    close(of(p)->fd);
}

static void device_abandon(struct dk_poller *p)
{
    of(p)->abandons++;
}

static int device_stat(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                       const char **text)
{
    if (index >= of(p)->num_stats)
        return -ENOENT;
    *name = "a";
    *value = of(p)->first_stat + index;
    *text = NULL;
    return 0;
}

static const struct dk_poller_ops device_ops = {
    .poll = device_poll,
    .arm = device_arm,
    .block = device_block,
    .kick = device_kick,
    .fd = device_fd,
    .backlog = device_backlog,
    .end = device_end,
    .undrained = device_undrained,
    .reset_undrained = device_reset,
    .destroy = device_destroy,
    .abandon = device_abandon,
    .stat = device_stat,
};

/* The second has no `end`: the device does so by itself. */
static struct dk_poller_ops endless_ops;

static struct device devices[DK_POLLERS_MAX + 1];
static struct dk_instance *inst;

static struct dk_poller *make(uint32_t i, size_t num_stats, uint64_t first_stat)
{
    struct device *d = &devices[i];
    d->poller.ops = i == 1 ? &endless_ops : &device_ops;
    d->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    d->num_stats = num_stats;
    d->first_stat = first_stat;
    dk_poller_add_queues(&d->poller, 1);
    return &d->poller;
}

static int setup(void **state)
{
    const struct dk_sched_options sched = {.spin_us = 0};
    (void)state;
    memset(devices, 0, sizeof devices);
    endless_ops = device_ops;
    endless_ops.end = NULL;
    assert_non_null(dk_thread_get());
    return dk_instance_create(&inst, &dk_clock_monotonic, &sched);
}

static int teardown(void **state)
{
    (void)state;
    dk_instance_destroy(inst);
    return 0;
}

static void join(uint32_t i)
{
    assert_int_equal(dk_instance_add_poller(inst, make(i, 2, 10 * i)), 0);
}

static int64_t block_ns(int64_t timeout_ns)
{
    const int64_t start = dk_instance_now(inst);
    inst->poller->ops->arm(inst->poller);
    inst->poller->ops->block(inst->poller, timeout_ns);
    return dk_instance_now(inst) - start;
}

static void test_pollers_first_has_nothing_before_it(void **state)
{
    (void)state;
    join(0);
    assert_ptr_equal(inst->poller, &devices[0].poller);
    assert_null(devices[0].poller.over);
}

static void test_pollers_two_are_both_polled_and_counted(void **state)
{
    (void)state;
    join(0);
    join(1);
    assert_ptr_not_equal(inst->poller, &devices[0].poller);
    inst->poller->ops->poll(inst->poller, 0, false);
    assert_int_equal(devices[0].polls, 1);
    assert_int_equal(devices[1].polls, 1);
    assert_int_equal(inst->poller->queues, 2);
    dk_poller_add_queues(&devices[1].poller, -1);
    assert_int_equal(inst->poller->queues, 1);
    devices[0].undrained = 3;
    devices[1].undrained = 4;
    assert_int_equal(inst->poller->ops->undrained(inst->poller), 7);
    inst->poller->ops->end(inst->poller);
    assert_int_equal(devices[0].ends, 1);
    inst->poller->ops->reset_undrained(inst->poller);
    assert_int_equal(inst->poller->ops->undrained(inst->poller), 0);
}

static void test_pollers_stats_follow_each_other(void **state)
{
    (void)state;
    const uint64_t wanted[] = {0, 1, 10, 11, 20, 21};
    const char *name, *text;
    uint64_t value;
    join(0);
    join(1);
    join(2);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(inst->poller->ops->stat(inst->poller, i, &name, &value, &text), 0);
        assert_int_equal(value, wanted[i]);
    }
    assert_int_equal(inst->poller->ops->stat(inst->poller, 6, &name, &value, &text), -ENOENT);
}

static void test_pollers_any_descriptor_ends_a_sleep(void **state)
{
    (void)state;
    join(0);
    join(1);
    block_ns(LONG_NS); /* over the kick that the first one got */
    for (uint32_t i = 0; i < 2; i++) {
        eventfd_t value;
        while (eventfd_read(devices[0].fd, &value) == 0)
            continue;
        assert_true(block_ns(2000000) >= 2000000);
        eventfd_write(devices[i].fd, 1);
        assert_true(block_ns(LONG_NS) < LONG_NS / 2);
        eventfd_read(devices[i].fd, &value);
    }
}

static void test_pollers_kick_ends_one_sleep(void **state)
{
    (void)state;
    eventfd_t value;
    join(0);
    join(1);
    eventfd_read(devices[0].fd, &value);
    inst->poller->ops->kick(inst->poller);
    assert_true(block_ns(LONG_NS) < LONG_NS / 2);
    assert_true(block_ns(2000000) >= 2000000);
}

static void test_pollers_backlog_of_one_keeps_all_awake(void **state)
{
    (void)state;
    eventfd_t value;
    join(0);
    join(1);
    eventfd_read(devices[0].fd, &value);
    assert_false(inst->poller->ops->backlog(inst->poller));
    devices[1].backlog = true;
    assert_true(inst->poller->ops->backlog(inst->poller));
    assert_true(block_ns(LONG_NS) < LONG_NS / 2);
}

static bool is_readable(int fd)
{
    struct epoll_event ev;
    return epoll_wait(fd, &ev, 1, 0) == 1;
}

static void test_pollers_one_descriptor_stands_for_all(void **state)
{
    (void)state;
    eventfd_t value;
    join(0);
    join(1);
    eventfd_read(devices[0].fd, &value);
    const int fd = inst->poller->ops->fd(inst->poller);
    assert_false(is_readable(fd));
    eventfd_write(devices[1].fd, 1);
    assert_true(is_readable(fd));
    eventfd_read(devices[1].fd, &value);
    inst->poller->ops->kick(inst->poller);
    assert_true(is_readable(fd));
    assert_int_equal(inst->poller->ops->fd(inst->poller), fd);
    assert_false(is_readable(fd));
    join(2);
    assert_int_equal(inst->poller->ops->fd(inst->poller), fd);
    assert_false(is_readable(fd));
    eventfd_write(devices[2].fd, 1);
    assert_true(is_readable(fd));
}

/* The event descriptor of the application watches what joins later. */
static void test_pollers_event_descriptor_sees_who_joins(void **state)
{
    (void)state;
    int fd;
    join(0);
    assert_int_equal(dk_instance_eventfd(inst, &fd), 0);
    join(1);
    assert_true(dk_instance_rearm(inst, 0));
    eventfd_t value;
    eventfd_read(devices[0].fd, &value);
    assert_true(dk_instance_rearm(inst, 0));
    assert_false(is_readable(fd));
    eventfd_write(devices[1].fd, 1);
    assert_true(is_readable(fd));
}

static void test_pollers_more_than_the_limit_is_enospc(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < DK_POLLERS_MAX; i++)
        join(i);
    assert_int_equal(dk_instance_add_poller(inst, make(DK_POLLERS_MAX, 0, 0)), -ENOSPC);
    close(devices[DK_POLLERS_MAX].fd);
}

static void test_pollers_all_are_destroyed_or_abandoned(void **state)
{
    const struct dk_sched_options sched = {.spin_us = 0};
    (void)state;
    join(0);
    join(1);
    dk_instance_abandon(inst);
    assert_int_equal(devices[0].abandons, 1);
    assert_int_equal(devices[1].abandons, 1);
    close(devices[0].fd);
    close(devices[1].fd);
    free(inst->poller); /* descriptors are let go, and memory stays */
    inst->poller = NULL;
    dk_instance_destroy(inst);
    assert_int_equal(dk_instance_create(&inst, &dk_clock_monotonic, &sched), 0);
    join(2);
    join(3);
    dk_instance_destroy(inst);
    assert_int_equal(devices[2].destroys, 1);
    assert_int_equal(devices[3].destroys, 1);
    assert_int_equal(dk_instance_create(&inst, &dk_clock_monotonic, &sched), 0);
}

/* Sleeps in the poller that was alone when it armed. */
static void *sleep_in_first(void *arg)
{
    struct dk_poller *p = arg;
    p->ops->arm(p);
    p->ops->block(p, LONG_NS);
    return NULL;
}

static void test_pollers_who_sleeps_in_the_first_is_woken(void **state)
{
    (void)state;
    pthread_t thread;
    join(0);
    assert_int_equal(pthread_create(&thread, NULL, sleep_in_first, inst->poller), 0);
    while (__atomic_load_n(&devices[0].arms, __ATOMIC_ACQUIRE) == 0)
        usleep(100);
    dk_lead_take(inst);
    join(1);
    dk_lead_drop(inst);
    assert_int_equal(pthread_join(thread, NULL), 0); /* else the time limit of the test ends it */
    assert_int_equal(devices[0].kicks, 1);
}

/* Two, of which the first is quiet and serves nothing. */
static void join_beside_a_quiet_one(void)
{
    eventfd_t value;
    join(0);
    devices[0].poller.is_quiet = true;
    dk_poller_add_queues(&devices[0].poller, -1);
    join(1);
    eventfd_read(devices[0].fd, &value); /* the kick that it got */
}

static void test_pollers_sleep_beside_a_quiet_one_is_in_the_other(void **state)
{
    (void)state;
    eventfd_t value;
    join_beside_a_quiet_one();
    eventfd_write(devices[1].fd, 1);
    block_ns(LONG_NS);
    assert_int_equal(devices[1].arms, 1);
    assert_int_equal(devices[1].blocks, 1);
    assert_int_equal(devices[0].blocks, 0);
    dk_poller_add_queues(&devices[0].poller, 1);
    eventfd_read(devices[0].fd, &value);
    eventfd_write(devices[0].fd, 1);
    assert_true(block_ns(LONG_NS) < LONG_NS / 2); /* over both */
    assert_int_equal(devices[1].blocks, 1);
}

static void test_pollers_kick_before_a_sleep_in_one_ends_it(void **state)
{
    (void)state;
    join_beside_a_quiet_one();
    inst->poller->ops->kick(inst->poller);
    assert_true(block_ns(LONG_NS) < LONG_NS / 2);
    assert_int_equal(devices[1].blocks, 1); /* it takes back what arm set */
    assert_int_equal(devices[1].kicks, 0);
}

/* Sleeps in the second, until somebody does something about it. */
static pthread_t sleep_in_second(void)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, sleep_in_first, inst->poller), 0);
    while (__atomic_load_n(&devices[1].blocks, __ATOMIC_ACQUIRE) == 0)
        usleep(100);
    return thread;
}

static void test_pollers_kick_ends_a_sleep_in_one(void **state)
{
    (void)state;
    join_beside_a_quiet_one();
    const pthread_t thread = sleep_in_second();
    inst->poller->ops->kick(inst->poller);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(devices[1].kicks, 1);
}

/* It was left out, and may have something now. */
static void test_pollers_first_queue_of_a_quiet_one_ends_a_sleep(void **state)
{
    (void)state;
    join_beside_a_quiet_one();
    const pthread_t thread = sleep_in_second();
    dk_lead_take(inst);
    dk_poller_add_queues(&devices[0].poller, 1);
    dk_lead_drop(inst);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(devices[1].kicks, 1);
    assert_int_equal(inst->poller->queues, 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pollers_first_has_nothing_before_it),
        TEST(test_pollers_two_are_both_polled_and_counted),
        TEST(test_pollers_stats_follow_each_other),
        TEST(test_pollers_any_descriptor_ends_a_sleep),
        TEST(test_pollers_kick_ends_one_sleep),
        TEST(test_pollers_backlog_of_one_keeps_all_awake),
        TEST(test_pollers_one_descriptor_stands_for_all),
        TEST(test_pollers_event_descriptor_sees_who_joins),
        TEST(test_pollers_more_than_the_limit_is_enospc),
        TEST(test_pollers_all_are_destroyed_or_abandoned),
        TEST(test_pollers_who_sleeps_in_the_first_is_woken),
        TEST(test_pollers_sleep_beside_a_quiet_one_is_in_the_other),
        TEST(test_pollers_kick_before_a_sleep_in_one_ends_it),
        TEST(test_pollers_kick_ends_a_sleep_in_one),
        TEST(test_pollers_first_queue_of_a_quiet_one_ends_a_sleep),
    };
    return cmocka_run_group_tests_name("pollers", tests, NULL, NULL);
}
