/* SPDX-License-Identifier: MIT */
/*
 * What the kernel knows of the interface, by rtnetlink(7).
 *
 * Three dumps, one after the other: addresses, routes, neighbours; and from the beginning on, what
 * becomes of these, and of the interface. Messages are taken one at a time out of what was read
 * last. Where the kernel could not keep up, or the interface was down or lost an address, which has
 * routes vanish without a word, all is dumped again, and what is not there any more is gone
 * (known.c).
 */
#include "drv/why.h"
#include "drv/xdp/facts.h"
#include "mem/heap.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define BUFFER_BYTES 32768u
#define REQUEST_MAX  256u
#define GROUPS                                                                                     \
    (RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR |    \
     RTMGRP_IPV6_ROUTE)

/* Of the dumps. */
static const struct {
    uint16_t type;
    uint32_t header_bytes;
} requests[] = {
    [DK_XDP_ADDRESSES] = {RTM_GETADDR, sizeof(struct ifaddrmsg)},
    [DK_XDP_ROUTES] = {RTM_GETROUTE, sizeof(struct rtmsg)},
    [DK_XDP_NEIGHBOURS] = {RTM_GETNEIGH, sizeof(struct ndmsg)},
};

static int ask_all(struct dk_xdp *x)
{
    uint8_t buffer[REQUEST_MAX] = {0};
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = requests[x->stage].type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message->nlmsg_seq = ++x->dump;
    mnl_nlmsg_put_extra_header(message, requests[x->stage].header_bytes); /* zeros: all families */
    return mnl_socket_sendto(x->route, message, message->nlmsg_len) < 0 ? -errno : 0;
}

int dk_xdp_kernel_open(struct dk_xdp *x, const char **why_out)
{
    struct epoll_event event = {.events = EPOLLIN};
    int r = 0;
    x->messages = dk_heap_malloc(BUFFER_BYTES); /* freed by dk_xdp_kernel_close */
    if (!x->messages)
        return dk_why(why_out, -ENOMEM, "xdp: no memory");
    x->route = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!x->route || mnl_socket_bind(x->route, GROUPS, MNL_SOCKET_AUTOPID) < 0 ||
        epoll_ctl(x->wake.epfd, EPOLL_CTL_ADD, mnl_socket_get_fd(x->route), &event) < 0)
        r = -errno;
    x->stage = DK_XDP_ADDRESSES;
    x->is_up = true; /* it was looked at */
    x->link = x->told = (struct dk_xdp_link){x->port->mtu, x->dev.caps.mac};
    if (r == 0)
        r = ask_all(x);
    return r < 0 ? dk_why(why_out, r, "xdp: the kernel says nothing of its addresses: %s",
                          strerror(-r))
                 : 0;
}

void dk_xdp_kernel_close(struct dk_xdp *x)
{
    if (x->route)
        mnl_socket_close(x->route);
    if (x->messages)
        dk_heap_free(x->messages);
}

void dk_xdp_kernel_look_again(struct dk_xdp *x)
{
    x->again = x->stage != DK_XDP_NEWS;
    if (x->again)
        return;
    dk_xdp_known_unsee(x);
    x->stage = DK_XDP_ADDRESSES;
    ask_all(x);
}

/* Whether a message ends the dump that is under way. */
static bool is_end(const struct dk_xdp *x, const struct nlmsghdr *message)
{
    return x->stage != DK_XDP_NEWS && message->nlmsg_seq == x->dump &&
           (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR);
}

/* A dump is over: the next one follows. */
static void go_on(struct dk_xdp *x)
{
    if (x->stage == DK_XDP_ROUTES)
        dk_xdp_known_sweep(x);
    if (++x->stage < DK_XDP_NEWS)
        ask_all(x);
    else if (x->again)
        dk_xdp_kernel_look_again(x);
}

/* Reads on: false when there is nothing. */
static bool read_more(struct dk_xdp *x)
{
    ssize_t n;
    do {
        n = mnl_socket_recvfrom(x->route, x->messages, BUFFER_BYTES);
        if (n < 0 && errno == ENOBUFS) /* some were lost */
            dk_xdp_kernel_look_again(x);
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
    if (!is_end(x, message))
        return dk_xdp_fact_read(x, message, out);
    go_on(x);
    return false;
}

bool dk_xdp_learn(struct dk_netdev *dev, struct dk_netdev_fact *out)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    for (;;) {
        if (dk_xdp_known_next_gone(x, out) || dk_xdp_fact_of_link(x, out))
            return true;
        if (!mnl_nlmsg_ok(x->next, x->left)) {
            if (!read_more(x))
                return false;
            continue;
        }
        if (take(x, out))
            return true;
        if (x->stage == DK_XDP_NEIGHBOURS && !x->has_told) {
            x->has_told = true; /* how the stack is to be made */
            return false;
        }
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
