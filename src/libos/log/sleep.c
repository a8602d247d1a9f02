/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until a store has something to complete, is due, or somebody kicks.
 *
 * Who blocks has armed before, under the lead, and reads what arm left. A thread that pushes or
 * pops meanwhile kicks: what it issued goes out with the next poll. `armed` is set by arm and fd,
 * and taken back by that kick, or when the same thread polls; `blocking` stands from arm to the end
 * of block.
 */
#include "core/thread.h"
#include "libos/log/logs.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static int watch(const struct dk_logs_sleep *sl, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};
    return epoll_ctl(sl->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 && errno != EEXIST ? -errno : 0;
}

int dk_logs_sleep_open(struct dk_logs *logs)
{
    struct dk_logs_sleep *sl = &logs->sleep;
    sl->timer_due = INT64_MAX;
    sl->kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sl->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sl->epfd = epoll_create1(EPOLL_CLOEXEC);
    int r = sl->kickfd < 0 || sl->timerfd < 0 || sl->epfd < 0 ? -errno : 0;
    if (r == 0)
        r = watch(sl, sl->kickfd);
    if (r == 0)
        r = watch(sl, sl->timerfd);
    if (r < 0)
        dk_logs_sleep_close(logs);
    return r;
}

void dk_logs_sleep_close(struct dk_logs *logs)
{
    const int fds[] = {logs->sleep.epfd, logs->sleep.timerfd, logs->sleep.kickfd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void dk_logs_kick(struct dk_poller *p)
{
    struct dk_logs_sleep *sl = &((struct dk_logs *)p)->sleep;
    eventfd_write(sl->kickfd, 1);
    __atomic_store_n(&sl->kicked, 1, __ATOMIC_RELEASE);
}

void dk_logs_wake(struct dk_logs *logs)
{
    struct dk_logs_sleep *sl = &logs->sleep;
    if (dk_unlikely(__atomic_load_n(&sl->armed, __ATOMIC_ACQUIRE))) {
        __atomic_store_n(&sl->armed, 0, __ATOMIC_RELAXED); /* kicked once */
        dk_logs_kick(&logs->poller);
    }
}

/* Reads the kick: kickfd never stays written with `kicked` unset. */
static void take_kick(struct dk_logs_sleep *sl)
{
    eventfd_t ignored;
    if (dk_unlikely(__atomic_load_n(&sl->kicked, __ATOMIC_RELAXED)) &&
        __atomic_exchange_n(&sl->kicked, 0, __ATOMIC_ACQ_REL) &&
        eventfd_read(sl->kickfd, &ignored) < 0)
        ignored = 0; /* one read took several writes */
}

static void note_armed(struct dk_logs *logs, const struct dk_logs_watch *w)
{
    logs->sleep.armed_due = w->due;
    logs->sleep.armed_by = dk_thread_id();
    __atomic_store_n(&logs->sleep.armed, 1, __ATOMIC_RELEASE);
}

/* The store that a thread may sleep in, where it is the only one: what rests is started by that. No
 * other thread may be there, who would kick, or use the store meanwhile. */
static struct dk_store *sleeps_alone(const struct dk_logs *logs)
{
    if (dk_mt() || logs->num_disks != 1)
        return NULL;
    struct dk_store *store = dk_container_of(logs->disks.next, struct dk_logs_disk, link)->store;
    return dk_store_sleeps(store) ? store : NULL;
}

static void prepare_alone(struct dk_logs *logs, struct dk_logs_watch *w)
{
    w->num = 0;
    w->due = dk_store_next_due(w->alone);
    w->awake = !dk_list_empty(&logs->ready) || !dk_store_quiet(w->alone);
    note_armed(logs, w);
}

/* Arms each store, and notes its descriptor and until when to sleep. */
static void prepare(struct dk_logs *logs, struct dk_logs_watch *w)
{
    struct dk_list *l;
    w->num = 0;
    w->due = INT64_MAX;
    w->awake = !dk_list_empty(&logs->ready);
    dk_list_for_each (l, &logs->disks) {
        struct dk_logs_disk *disk = dk_container_of(l, struct dk_logs_disk, link);
        int fd = dk_store_arm(disk->store);
        int64_t due = dk_store_next_due(disk->store);
        w->awake |= fd < 0;
        w->due = due < w->due ? due : w->due;
        w->fds[w->num++] = fd;
    }
    note_armed(logs, w);
}

static void polled_while_armed(struct dk_logs *logs)
{
    struct dk_list *l;
    bool awake = !dk_list_empty(&logs->ready);
    dk_list_for_each (l, &logs->disks) {
        struct dk_logs_disk *disk = dk_container_of(l, struct dk_logs_disk, link);
        awake |= dk_store_arm(disk->store) < 0; /* what rests goes out */
        awake |= dk_store_next_due(disk->store) < logs->sleep.armed_due;
    }
    if (awake)
        dk_logs_wake(logs);
}

void dk_logs_poll_begin(struct dk_logs *logs)
{
    struct dk_logs_sleep *sl = &logs->sleep;
    if (__atomic_load_n(&sl->armed, __ATOMIC_RELAXED) && sl->armed_by == dk_thread_id())
        __atomic_store_n(&sl->armed, 0, __ATOMIC_RELAXED);
}

void dk_logs_poll_end(struct dk_logs *logs)
{
    if (dk_unlikely(__atomic_load_n(&logs->sleep.armed, __ATOMIC_ACQUIRE)))
        polled_while_armed(logs);
}

void dk_logs_arm(struct dk_poller *p)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    struct dk_logs_watch *w = &logs->sleep.watch;
    w->alone = sleeps_alone(logs);
    if (w->alone)
        prepare_alone(logs, w);
    else
        prepare(logs, w);
    __atomic_store_n(&logs->sleep.blocking, 1, __ATOMIC_RELEASE);
}

/* How long to sleep, < 0: for ever. */
static int64_t sleep_ns(const struct dk_logs *logs, int64_t timeout_ns)
{
    int64_t due = logs->sleep.watch.due;
    if (due == INT64_MAX)
        return timeout_ns;
    int64_t ns = due - dk_instance_now(logs->inst);
    if (ns < 0)
        ns = 0;
    return timeout_ns >= 0 && timeout_ns < ns ? timeout_ns : ns;
}

/* Sleeps over the descriptors. ns < 0: for ever. */
static void sleep_over(const struct dk_logs_sleep *sl, int64_t ns)
{
    const struct dk_logs_watch *w = &sl->watch;
    struct pollfd fds[DK_LOGS_DISKS_MAX + 1] = {{.fd = sl->kickfd, .events = POLLIN}};
    struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    for (uint32_t i = 0; i < w->num; i++)
        fds[i + 1] = (struct pollfd){.fd = w->fds[i], .events = POLLIN};
    ppoll(fds, w->num + 1, ns < 0 ? NULL : &ts, NULL);
}

void dk_logs_block(struct dk_poller *p, int64_t timeout_ns)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    struct dk_logs_sleep *sl = &logs->sleep;
    const struct dk_logs_watch *w = &sl->watch;
    int64_t ns = sleep_ns(logs, timeout_ns);
    bool awake = w->awake || ns == 0 || __atomic_load_n(&sl->kicked, __ATOMIC_ACQUIRE);
    if (!awake && w->alone)
        dk_store_sleep(w->alone, ns);
    else if (!awake)
        sleep_over(sl, ns);
    __atomic_store_n(&sl->blocking, 0, __ATOMIC_RELEASE);
    take_kick(sl);
}

/* Has timerfd readable when a store is due; 0 would stop it. */
static void set_timer(struct dk_logs_sleep *sl, const struct dk_logs_watch *w)
{
    struct itimerspec at = {{0, 0}, {0, 0}};
    int64_t due = w->awake || w->due < 1 ? 1 : w->due;
    if (due == sl->timer_due)
        return;
    sl->timer_due = due;
    if (due != INT64_MAX) {
        at.it_value.tv_sec = due / 1000000000;
        at.it_value.tv_nsec = due % 1000000000;
    }
    timerfd_settime(sl->timerfd, TFD_TIMER_ABSTIME, &at, NULL);
}

int dk_logs_fd(struct dk_poller *p)
{
    struct dk_logs *logs = (struct dk_logs *)p;
    struct dk_logs_sleep *sl = &logs->sleep;
    struct dk_logs_watch w;
    struct dk_list *l;
    uint32_t i = 0;
    /* A kick that came too late for who blocked would keep the descriptor readable. */
    if (!__atomic_load_n(&sl->blocking, __ATOMIC_ACQUIRE))
        take_kick(sl);
    prepare(logs, &w);
    dk_list_for_each (l, &logs->disks) {
        struct dk_logs_disk *disk = dk_container_of(l, struct dk_logs_disk, link);
        int fd = w.fds[i++];
        int r = fd < 0 || fd == disk->watched ? 0 : watch(sl, fd);
        if (r < 0)
            return r;
        disk->watched = fd < 0 ? disk->watched : fd;
    }
    set_timer(sl, &w);
    return sl->epfd;
}
