/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows of the interface, by rtnetlink(7).
 *
 * Four dumps, one after the other: interfaces, addresses, routes, neighbours; and from the
 * beginning on, what becomes of all these. Messages are taken one at a time out of what was read
 * last. Where the kernel could not keep up, or the interface was down or lost an address, which has
 * routes vanish without a word, all is dumped again, and what is not there any more is gone
 * (known.c).
 *
 * A dump that something changed under (NLM_F_DUMP_INTR) may lack what is there: nothing goes for
 * it, and all is dumped again. After a few of these in a row, or one that failed or may have lost
 * its end, that waits for `rest_fd`, a timer that also wakes who sleeps. They are dumps even where
 * one answer would do: the kernel keeps those until there is room, and drops an answer.
 */
#include "drv/why.h"
#include "drv/xdp/facts.h"
#include "mem/heap.h"

#include "os/log.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BUFFER_BYTES 32768u
#define REQUEST_MAX  256u
#define TRIES_MAX    8u /* in a row */
#define REST_S       1
#define GROUPS                                                                                     \
    (RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR |    \
     RTMGRP_IPV6_ROUTE)

static const struct {
    uint16_t type;
    uint32_t header_bytes;
} requests[] = {
    [DK_XDP_LINKS] = {RTM_GETLINK, sizeof(struct ifinfomsg)},
    [DK_XDP_ADDRESSES] = {RTM_GETADDR, sizeof(struct ifaddrmsg)},
    [DK_XDP_ROUTES] = {RTM_GETROUTE, sizeof(struct rtmsg)},
    [DK_XDP_NEIGHBOURS] = {RTM_GETNEIGH, sizeof(struct ndmsg)},
};

/* Asks for what is next. */
static int ask_all(struct dk_xdp *x)
{
    uint8_t buffer[REQUEST_MAX] = {0};
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = requests[x->stage].type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message->nlmsg_seq = ++x->dump;
    mnl_nlmsg_put_extra_header(message, requests[x->stage].header_bytes); /* zeros: all families */
    if (x->stage == DK_XDP_LINKS)
        mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return mnl_socket_sendto(x->route, message, message->nlmsg_len) < 0 ? -errno : 0;
}

static int watch(struct dk_xdp *x, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return fd >= 0 && epoll_ctl(x->wake.epfd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_socket(struct dk_xdp *x)
{
    x->route = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!x->route || mnl_socket_bind(x->route, GROUPS, MNL_SOCKET_AUTOPID) < 0)
        return -errno;
    x->rest_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    const int r = watch(x, x->rest_fd);
    return r < 0 ? r : watch(x, mnl_socket_get_fd(x->route));
}

int dk_xdp_kernel_open(struct dk_xdp *x, const char **why_out)
{
    x->messages = dk_heap_malloc(BUFFER_BYTES); /* freed by dk_xdp_kernel_close */
    if (!x->messages)
        return dk_why(why_out, -ENOMEM, "xdp: no memory");
    x->stage = DK_XDP_LINKS;
    x->is_up = true; /* it was looked at */
    x->link = x->told = (struct dk_xdp_link){x->port->mtu, x->dev.caps.mac};
    int r = open_socket(x);
    if (r == 0)
        r = ask_all(x);
    return r < 0 ? dk_why(why_out, r, "xdp: the kernel says nothing of its addresses: %s",
                          strerror(-r))
                 : 0;
}

void dk_xdp_kernel_close(struct dk_xdp *x)
{
    if (x->rest_fd >= 0)
        close(x->rest_fd);
    if (x->route)
        mnl_socket_close(x->route);
    if (x->messages)
        dk_heap_free(x->messages);
}

void dk_xdp_kernel_abandon(const struct dk_xdp *x)
{
    close(x->rest_fd);
    if (x->route)
        close(mnl_socket_get_fd(x->route));
}

/* Nothing is asked for until the timer says so: then all. */
static void rest(struct dk_xdp *x)
{
    const struct itimerspec in = {.it_value.tv_sec = REST_S};
    x->stage = DK_XDP_NEWS;
    x->again = x->is_resting = true;
    timerfd_settime(x->rest_fd, 0, &in, NULL);
}

static void fail(struct dk_xdp *x, int error)
{
    if (!x->warned_failed && x->worker == 0)
        dk_log(DK_LOG_WARN,
               "xdp: the kernel does not say what addresses and routes %s has: %s; it is asked "
               "again in %d s",
               x->port->name, strerror(-error), REST_S);
    x->warned_failed = true;
    rest(x);
}

static void ask_next(struct dk_xdp *x)
{
    const int r = ask_all(x);
    if (r < 0)
        fail(x, r);
}

static void begin(struct dk_xdp *x)
{
    x->again = false;
    dk_xdp_known_unsee(x);
    x->stage = DK_XDP_LINKS;
    ask_next(x);
}

void dk_xdp_kernel_look_again(struct dk_xdp *x)
{
    x->again = true;
    if (x->stage == DK_XDP_NEWS && !x->is_resting)
        begin(x);
}

static void end_rest(struct dk_xdp *x)
{
    uint64_t times;
    if (!x->is_resting || read(x->rest_fd, &times, sizeof(times)) != sizeof(times))
        return;
    x->is_resting = false;
    x->tries = 0;
    begin(x);
}

/* Whether a message ends the dump that is under way, and how. */
static bool is_end(const struct dk_xdp *x, const struct nlmsghdr *message, int *error_out)
{
    if (x->stage == DK_XDP_NEWS || message->nlmsg_seq != x->dump ||
        (message->nlmsg_type != NLMSG_DONE && message->nlmsg_type != NLMSG_ERROR))
        return false;
    const int *error = mnl_nlmsg_get_payload(message); /* the first of a struct nlmsgerr, too */
    *error_out = mnl_nlmsg_get_payload_len(message) >= sizeof(*error) && *error < 0 ? *error : 0;
    return true;
}

/* A dump is over: the next one follows. */
static void go_on(struct dk_xdp *x)
{
    if (x->again && ++x->tries < TRIES_MAX) {
        begin(x);
        return;
    }
    if (x->stage == DK_XDP_ROUTES && !x->again)
        dk_xdp_known_sweep(x);
    if (++x->stage < DK_XDP_NEWS) {
        ask_next(x);
    } else if (x->again) {
        rest(x);
    } else {
        x->tries = 0;
        x->warned_failed = false;
    }
}

/* Reads on: false when there is nothing. */
static bool read_more(struct dk_xdp *x)
{
    ssize_t n;
    do {
        n = mnl_socket_recvfrom(x->route, x->messages, BUFFER_BYTES);
        if (n < 0 && errno == ENOBUFS) { /* some were lost */
            if (x->stage == DK_XDP_NEWS || !x->has_told)
                dk_xdp_kernel_look_again(x);
            else
                rest(x);
        }
    } while (n < 0 && (errno == ENOBUFS || errno == EINTR));
    x->next = (const struct nlmsghdr *)(const void *)x->messages;
    x->left = n > 0 ? (int)n : 0;
    return n > 0;
}

/* Takes one message: whether it is news. */
static bool take(struct dk_xdp *x, struct dk_netdev_fact *out)
{
    const struct nlmsghdr *message = x->next;
    x->next = mnl_nlmsg_next(message, &x->left);
    int error;
    if (message->nlmsg_flags & NLM_F_DUMP_INTR && message->nlmsg_seq == x->dump)
        x->again = true;
    if (!is_end(x, message, &error))
        return dk_xdp_fact_read(x, message, out);
    if (error < 0)
        fail(x, error);
    else
        go_on(x);
    return false;
}

bool dk_xdp_learn(struct dk_netdev *dev, struct dk_netdev_fact *out)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    end_rest(x);
    for (;;) {
        if (x->stage >= DK_XDP_NEIGHBOURS && !x->has_told) {
            x->has_told = true; /* how the stack is to be made */
            return false;
        }
        if (dk_xdp_known_next_gone(x, out) || dk_xdp_fact_of_link(x, out))
            return true;
        if (!mnl_nlmsg_ok(x->next, x->left)) {
            if (!read_more(x))
                return false;
            continue;
        }
        if (take(x, out))
            return true;
    }
}

/* Asks the kernel about a neighbour: that it has it asked for; that it makes sure of it; what it
 * knows. */
static void ask(struct dk_xdp *x, uint16_t type, const struct dk_ip *ip, const struct dk_mac *mac)
{
    uint8_t buffer[REQUEST_MAX] = {0};
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    struct ndmsg *head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST;
    head->ndm_family = ip->version == 4 ? AF_INET : AF_INET6;
    head->ndm_ifindex = x->port->ifindex;
    mnl_attr_put(message, NDA_DST, ip->version == 4 ? 4 : 16, ip->bytes);
    if (type == RTM_NEWNEIGH && mac) {
        message->nlmsg_flags |= NLM_F_REPLACE;
        head->ndm_state = NUD_PROBE;
        mnl_attr_put(message, NDA_LLADDR, sizeof(mac->bytes), mac->bytes);
    } else if (type == RTM_NEWNEIGH) {
        message->nlmsg_flags |= NLM_F_CREATE;
        head->ndm_flags = NTF_USE;
    }
    mnl_socket_sendto(x->route, message, message->nlmsg_len); /* who asked asks again */
}

void dk_xdp_resolve(struct dk_netdev *dev, const struct dk_ip *ip, const struct dk_mac *mac)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    ask(x, RTM_NEWNEIGH, ip, mac);
    if (!mac)
        ask(x, RTM_GETNEIGH, ip, NULL);
}
