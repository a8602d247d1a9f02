/* SPDX-License-Identifier: MIT */
/*
 * Sleeping in the device: until it has frames, the stack is due, or somebody kicks.
 *
 * Who blocks has armed before, under the lead, and reads what arm left. Whoever works on the stack
 * meanwhile and makes something due earlier kicks. `armed` is set by arm and taken back by who
 * blocked; a kick for nobody is read by the next block.
 */
#include "libos/stack/sock.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int64_t load(const int64_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static int watch(int epfd, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};
    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int dk_stack_sleep_open(struct dk_stack *st)
{
    struct dk_stack_sleep *sl = &st->sleep;
    sl->devfd = sl->watched = -1;
    sl->due = INT64_MAX;
    sl->timer_due = INT64_MIN; /* nobody looks at it */
    sl->kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sl->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sl->epfd = epoll_create1(EPOLL_CLOEXEC);
    int r = sl->kickfd < 0 || sl->timerfd < 0 || sl->epfd < 0 ? -errno : 0;
    if (r == 0)
        r = watch(sl->epfd, sl->kickfd);
    if (r == 0)
        r = watch(sl->epfd, sl->timerfd);
    if (r < 0)
        dk_stack_sleep_close(st);
    return r;
}

void dk_stack_sleep_close(struct dk_stack *st)
{
    struct dk_stack_sleep *sl = &st->sleep;
    int *const fds[] = {&sl->epfd, &sl->timerfd, &sl->kickfd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

void dk_stack_kick(struct dk_poller *p)
{
    struct dk_stack_sleep *sl = &((struct dk_stack *)p)->sleep;
    eventfd_write(sl->kickfd, 1);
    __atomic_store_n(&sl->kicked, 1, __ATOMIC_RELEASE);
}

/* Reads the kick, as the kernel's poller does: kickfd never stays written with `kicked` unset. */
static void take_kick(struct dk_stack_sleep *sl)
{
    eventfd_t ignored;
    if (dk_unlikely(__atomic_load_n(&sl->kicked, __ATOMIC_RELAXED)) &&
        __atomic_exchange_n(&sl->kicked, 0, __ATOMIC_ACQ_REL) &&
        eventfd_read(sl->kickfd, &ignored) < 0)
        ignored = 0; /* one read took several writes */
}

static int64_t next_due(struct dk_stack *st)
{
    struct dk_netdev *dev = st->dev;
    int64_t due = dk_stack_next_due(st);
    int64_t dev_due = dev->ops->next_due ? dev->ops->next_due(dev) : INT64_MAX;
    if (__atomic_load_n(&st->ending, __ATOMIC_RELAXED) && !st->ended)
        return 0;
    return due < dev_due ? due : dev_due;
}

/* Arms the device and notes until when to sleep. */
static void prepare(struct dk_stack *st)
{
    struct dk_stack_sleep *sl = &st->sleep;
    dk_stack_flush(st);
    dk_stack_reclaim(st);
    dk_stack_shared_arm(st);
    int devfd = st->dev->ops->arm(st->dev);
    if (dk_unlikely(dk_stack_has_notes(st)))
        devfd = -1; /* as if they were frames */
    __atomic_store_n(&sl->devfd, devfd, __ATOMIC_RELAXED);
    __atomic_store_n(&sl->due, next_due(st), __ATOMIC_RELAXED);
    dk_stack_counters_show(st);
}

void dk_stack_arm(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    prepare(st);
    __atomic_store_n(&st->sleep.armed, 1, __ATOMIC_RELEASE);
    dk_stack_alert(st);
}

/* Has timerfd readable when the stack is due; 0 would stop it. */
static void set_timer(struct dk_stack_sleep *sl, int64_t due)
{
    struct itimerspec at = {{0, 0}, {0, 0}};
    if (due != INT64_MAX) {
        if (due < 1)
            due = 1;
        at.it_value.tv_sec = due / 1000000000;
        at.it_value.tv_nsec = due % 1000000000;
    }
    timerfd_settime(sl->timerfd, TFD_TIMER_ABSTIME, &at, NULL);
    sl->timer_due = due;
}

void dk_stack_due(struct dk_stack *st, int64_t due)
{
    struct dk_stack_sleep *sl = &st->sleep;
    if (dk_unlikely(due < sl->timer_due))
        set_timer(sl, due);
    if (dk_likely(!__atomic_load_n(&sl->armed, __ATOMIC_ACQUIRE)) || due >= load(&sl->due))
        return;
    __atomic_store_n(&sl->due, due, __ATOMIC_RELAXED); /* kicked once */
    dk_count(&st->stats->kicks, 1);
    dk_stack_kick(&st->poller);
}

/* How long to sleep, < 0: for ever. */
static int64_t sleep_ns(const struct dk_stack *st, int64_t timeout_ns)
{
    int64_t due = load(&st->sleep.due);
    if (due == INT64_MAX)
        return timeout_ns;
    int64_t ns = due - dk_instance_now(st->inst);
    if (ns < 0)
        ns = 0;
    return timeout_ns >= 0 && timeout_ns < ns ? timeout_ns : ns;
}

void dk_stack_block(struct dk_poller *p, int64_t timeout_ns)
{
    struct dk_stack *st = (struct dk_stack *)p;
    struct dk_stack_sleep *sl = &st->sleep;
    int devfd = __atomic_load_n(&sl->devfd, __ATOMIC_RELAXED);
    int64_t ns = sleep_ns(st, timeout_ns);
    if (devfd >= 0 && ns != 0) {
        struct pollfd fds[2] = {{.fd = devfd, .events = POLLIN},
                                {.fd = sl->kickfd, .events = POLLIN}};
        struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
        ppoll(fds, 2, ns < 0 ? NULL : &ts, NULL);
    }
    __atomic_store_n(&sl->armed, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&st->slept, 1, __ATOMIC_RELAXED);
    dk_stack_alert(st);
    take_kick(sl);
}

int dk_stack_fd(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    struct dk_stack_sleep *sl = &st->sleep;
    /* A kick that came too late for who blocked would keep the descriptor readable. */
    if (!__atomic_load_n(&sl->armed, __ATOMIC_ACQUIRE))
        take_kick(sl);
    prepare(st);
    if (sl->devfd >= 0 && sl->devfd != sl->watched) {
        int r = watch(sl->epfd, sl->devfd);
        if (r < 0 && r != -EEXIST)
            return r;
        sl->watched = sl->devfd;
    }
    set_timer(sl, sl->devfd < 0 ? 0 : sl->due);
    dk_stack_alert(st);
    return sl->epfd;
}
