/* SPDX-License-Identifier: MIT */
/*
 * Sleeping until the port has frames.
 *
 * Where the driver has receive interrupts, its descriptor wakes; so does one that is the queue
 * itself, as that of net_tap, which nobody has to turn on. Elsewhere a timer does, after half
 * of the time that nothing has come for, and within bounds: a port in use is looked at
 * often, an idle one seldom, and so that looks take LOOKS_PART of a CPU at most: what one takes,
 * the way into the kernel and back included, depends on the driver and on the machine, and is
 * measured. The timer also stands in for room to send, of which no driver tells.
 *
 * An interrupt is believed once it has come: until then the timer is on too. Some drivers turn on
 * what never comes (e1000e with MSI-X, whose vectors net_e1000_em assigns to nothing). So it is
 * when one cannot be turned on, as that of a net_vhost whose peer has gone.
 *
 * Who arms looks at the port once more, after its interrupt is on: what it finds is kept for the
 * next rx_burst (`ready`).
 */
#include "drv/dpdk/port.h"

#include <errno.h>
#include <poll.h>
#include <rte_log.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_MIN_NS  50000
#define SLEEP_MAX_NS  10000000
#define LOOKS_PART    200 /* of a CPU at most: 1/200, where SLEEP_MOST_NS are enough for that */
#define SLEEP_MOST_NS 50000000
#define ROOM_NS       20000 /* until there may be room again */
#define LOOK_WEIGHT   8     /* of a look that took longer than those before */

static int watch(struct dk_dpdk_port *p, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(p->epfd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* An eventfd stays readable until it is read; what else stands for a queue must not be. */
static bool is_eventfd(int fd)
{
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    return strcmp(target, "anon_inode:[eventfd]") == 0;
}

/* A driver without interrupts is no error, of which DPDK would write a line. */
static int quiet_interrupt_fd(const struct dk_dpdk_port *p)
{
    const int log = rte_log_register("lib.ethdev"), level = rte_log_get_level((uint32_t)log);
    rte_log_set_level((uint32_t)log, RTE_LOG_CRIT);
    int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(p->port, p->queue);
    rte_log_set_level((uint32_t)log, (uint32_t)level);
    return fd;
}

static void forget_interrupt(struct dk_dpdk_port *p)
{
    p->intrfd = -1;
    p->intr_came = false;
}

static void find_interrupt(struct dk_dpdk_port *p)
{
    p->intrfd = quiet_interrupt_fd(p);
    if (p->intrfd < 0)
        return;
    const int r = rte_eth_dev_rx_intr_enable(p->port, p->queue);
    p->intr_is_event = is_eventfd(p->intrfd);
    p->intr_is_queue = r == -ENOTSUP && !p->intr_is_event;
    p->intr_came = !p->intr_is_event; /* it is readable by what it stands for */
    if ((r < 0 && !p->intr_is_queue) || watch(p, p->intrfd) < 0)
        forget_interrupt(p);
    else if (r == 0)
        rte_eth_dev_rx_intr_disable(p->port, p->queue);
}

/* Goes by the timer from here on where the descriptor of a queue has failed, because its interface
 * was deleted: it would be readable for ever. */
static void check_queue(struct dk_dpdk_port *p)
{
    struct pollfd queue = {.fd = p->intrfd};
    if (poll(&queue, 1, 0) <= 0)
        return;
    epoll_ctl(p->epfd, EPOLL_CTL_DEL, p->intrfd, NULL);
    forget_interrupt(p);
}

int dk_dpdk_sleep_open(struct dk_dpdk_port *p, bool interrupts)
{
    p->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (p->timerfd < 0 || p->epfd < 0)
        return -errno;
    if (interrupts)
        find_interrupt(p);
    const int r = p->linkfd >= 0 ? watch(p, p->linkfd) : 0;
    return r < 0 ? r : watch(p, p->timerfd);
}

void dk_dpdk_sleep_close(struct dk_dpdk_port *p)
{
    if (p->timerfd >= 0)
        close(p->timerfd);
    if (p->epfd >= 0)
        close(p->epfd);
    p->timerfd = p->epfd = -1;
}

/* Has the timer end in so many nanoseconds; 0: never. */
static void set_timer(const struct dk_dpdk_port *p, int64_t ns)
{
    const struct itimerspec at = {.it_value = {.tv_nsec = ns}};
    timerfd_settime(p->timerfd, 0, &at, NULL);
}

/* Learns what a look takes, from one arming to the next of the same thread, when nothing came
 * between them. What the application does there now and then counts for little. */
static void learn_look(struct dk_dpdk_port *p)
{
    struct dk_dpdk_look *l = &p->look;
    struct timespec cpu;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu) != 0)
        return;
    const int64_t used_ns = (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
    const int64_t took = used_ns - l->used_ns;
    if (l->armed_at > p->active_at && pthread_equal(l->thread, pthread_self()))
        l->ns = took <= l->ns ? took : l->ns + (took - l->ns) / LOOK_WEIGHT;
    l->thread = pthread_self();
    l->armed_at = p->now;
    l->used_ns = used_ns;
}

static int64_t longest_sleep(const struct dk_dpdk_port *p)
{
    const int64_t ns = p->look.ns * LOOKS_PART;
    return ns < SLEEP_MAX_NS ? SLEEP_MAX_NS : ns > SLEEP_MOST_NS ? SLEEP_MOST_NS : ns;
}

static int64_t time_to_sleep(struct dk_dpdk_port *p)
{
    if (p->wants_room)
        return ROOM_NS;
    if (p->intr_came && (p->intr_on || p->intr_is_queue))
        return 0;
    learn_look(p);
    const int64_t ns = (p->now - p->active_at) / 2, most = longest_sleep(p);
    return ns < SLEEP_MIN_NS ? SLEEP_MIN_NS : ns > most ? most : ns;
}

static void enable(struct dk_dpdk_port *p)
{
    uint64_t count;
    if (p->intrfd >= 0 && p->intr_is_queue)
        check_queue(p);
    if (p->intrfd < 0 || p->intr_is_queue || !p->started)
        return;
    if (p->intr_is_event && read(p->intrfd, &count, sizeof count) > 0)
        p->intr_came = true;
    else if (p->intr_is_event && errno != EAGAIN)
        return;
    p->intr_on = rte_eth_dev_rx_intr_enable(p->port, p->queue) == 0;
}

int dk_dpdk_arm(struct dk_netdev *dev)
{
    struct dk_dpdk_port *p = dk_dpdk_port_of(dev);
    dk_dpdk_count(p);
    p->armed = true;
    p->until_look = 1;
    enable(p);
    if (p->num_ready == 0 && p->started)
        p->num_ready = rte_eth_rx_burst(p->port, p->queue, p->ready, DK_DPDK_BURST);
    if (p->num_ready > 0)
        return -1;
    set_timer(p, time_to_sleep(p));
    return p->epfd;
}

void dk_dpdk_disarm(struct dk_dpdk_port *p)
{
    p->armed = false;
    if (p->intr_on)
        rte_eth_dev_rx_intr_disable(p->port, p->queue);
    p->intr_on = false;
}
