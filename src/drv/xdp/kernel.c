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
#include "drv/xdp/attributes.h"
#include "drv/xdp/state.h"
#include "mem/heap.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <net/ethernet.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define BUFFER_BYTES 32768u
#define REQUEST_MAX  256u
#define GROUPS                                                                                     \
    (RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR |    \
     RTMGRP_IPV6_ROUTE)

enum { ADDRESSES, ROUTES, NEIGHBOURS, NEWS };

/* Of the dumps. */
static const struct {
    uint16_t type;
    uint32_t header_bytes;
} requests[] = {
    [ADDRESSES] = {RTM_GETADDR, sizeof(struct ifaddrmsg)},
    [ROUTES] = {RTM_GETROUTE, sizeof(struct rtmsg)},
    [NEIGHBOURS] = {RTM_GETNEIGH, sizeof(struct ndmsg)},
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
    x->stage = ADDRESSES;
    x->is_up = true; /* it was looked at */
    x->mtu = x->port->mtu;
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

/* All that is known is looked at anew: now, or when the dump that is under way is over. */
static void look_again(struct dk_xdp *x)
{
    x->again = x->stage != NEWS;
    if (x->again)
        return;
    dk_xdp_known_unsee(x);
    x->stage = ADDRESSES;
    ask_all(x);
}

static bool read_ip(const struct nlattr *attribute, uint8_t family, struct dk_ip *out)
{
    const uint16_t bytes = family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
    *out = (struct dk_ip){.version = family == AF_INET ? 4 : 6};
    if (bytes == 0 || !attribute || mnl_attr_get_payload_len(attribute) != bytes)
        return false;
    memcpy(out->bytes, mnl_attr_get_payload(attribute), bytes);
    return true;
}

static bool read_address(struct dk_xdp *x, const struct nlmsghdr *message,
                         struct dk_netdev_fact *out)
{
    const struct ifaddrmsg *head = mnl_nlmsg_get_payload(message);
    struct attributes a = {{NULL}};
    if ((int)head->ifa_index != x->port->ifindex)
        return false;
    mnl_attr_parse(message, sizeof(*head), dk_xdp_attribute_note, &a);
    const struct nlattr *own = a.of[IFA_LOCAL] ? a.of[IFA_LOCAL] : a.of[IFA_ADDRESS];
    if (!read_ip(own, head->ifa_family, &out->ip))
        return false;
    out->kind = DK_NETDEV_ADDRESS;
    out->prefix_len = head->ifa_prefixlen;
    out->gone = message->nlmsg_type == RTM_DELADDR || head->ifa_flags & IFA_F_DADFAILED;
    if (message->nlmsg_type == RTM_DELADDR) /* routes may have gone with it */
        look_again(x);
    return out->gone ? dk_xdp_known_gone(x, out, 0) : dk_xdp_known_new(x, out, 0);
}

/* Where a route leads to, and its metric; false: it is none of the table that is followed. */
static bool read_prefix(const struct nlmsghdr *message, struct attributes *a,
                        struct dk_netdev_fact *out, uint32_t *metric_out)
{
    const struct rtmsg *head = mnl_nlmsg_get_payload(message);
    if (head->rtm_table != RT_TABLE_MAIN || head->rtm_flags & RTM_F_CLONED ||
        (head->rtm_family != AF_INET && head->rtm_family != AF_INET6))
        return false;
    mnl_attr_parse(message, sizeof(*head), dk_xdp_attribute_note, a);
    out->kind = DK_NETDEV_ROUTE;
    out->prefix_len = head->rtm_dst_len;
    out->ip = (struct dk_ip){.version = head->rtm_family == AF_INET ? 4 : 6};
    *metric_out = a->of[RTA_PRIORITY] ? mnl_attr_get_u32(a->of[RTA_PRIORITY]) : 0;
    return !a->of[RTA_DST] || read_ip(a->of[RTA_DST], head->rtm_family, &out->ip);
}

/* Routes by a gateway; those to the networks of addresses follow from these. One of another kind,
 * or of another interface, may take the place of ours. */
static bool read_route(struct dk_xdp *x, const struct nlmsghdr *message, struct dk_netdev_fact *out)
{
    const struct rtmsg *head = mnl_nlmsg_get_payload(message);
    struct attributes a = {{NULL}};
    uint32_t metric;
    if (!read_prefix(message, &a, out, &metric))
        return false;
    out->gone = message->nlmsg_type == RTM_DELROUTE;
    if (!out->gone && message->nlmsg_flags & NLM_F_REPLACE)
        dk_xdp_known_replaced(x, out, metric);
    if (head->rtm_type != RTN_UNICAST || !a.of[RTA_OIF] ||
        (int)mnl_attr_get_u32(a.of[RTA_OIF]) != x->port->ifindex ||
        !read_ip(a.of[RTA_GATEWAY], head->rtm_family, &out->gateway))
        return false;
    return out->gone ? dk_xdp_known_gone(x, out, metric) : dk_xdp_known_new(x, out, metric);
}

static bool read_link(struct dk_xdp *x, const struct nlmsghdr *message, struct dk_netdev_fact *out)
{
    const struct ifinfomsg *head = mnl_nlmsg_get_payload(message);
    struct attributes a = {{NULL}};
    if (head->ifi_index != x->port->ifindex)
        return false;
    const bool was_up = x->is_up;
    x->is_up = message->nlmsg_type == RTM_NEWLINK && head->ifi_flags & IFF_UP;
    if (x->is_up && !was_up)
        look_again(x);
    mnl_attr_parse(message, sizeof(*head), dk_xdp_attribute_note, &a);
    if (!a.of[IFLA_MTU] || mnl_attr_get_u32(a.of[IFLA_MTU]) == x->mtu)
        return false;
    out->kind = DK_NETDEV_MTU;
    out->mtu = x->mtu = mnl_attr_get_u32(a.of[IFLA_MTU]);
    if (out->mtu > x->dev.caps.mtu)
        out->mtu = x->dev.caps.mtu;
    return true;
}

static bool read_neighbour(struct dk_xdp *x, const struct nlmsghdr *message,
                           struct dk_netdev_fact *out)
{
    const uint16_t known = NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PERMANENT;
    const struct ndmsg *head = mnl_nlmsg_get_payload(message);
    struct attributes a = {{NULL}};
    if (head->ndm_ifindex != x->port->ifindex || head->ndm_flags & NTF_PROXY)
        return false;
    mnl_attr_parse(message, sizeof(*head), dk_xdp_attribute_note, &a);
    if (!read_ip(a.of[NDA_DST], head->ndm_family, &out->ip))
        return false;
    out->kind = DK_NETDEV_NEIGHBOUR;
    out->gone = message->nlmsg_type == RTM_DELNEIGH || head->ndm_state & NUD_FAILED;
    if (out->gone)
        return true;
    const struct nlattr *mac = a.of[NDA_LLADDR];
    if (!(head->ndm_state & known) || !mac || mnl_attr_get_payload_len(mac) != sizeof(out->mac))
        return false; /* it is being asked for */
    memcpy(out->mac.bytes, mnl_attr_get_payload(mac), sizeof(out->mac.bytes));
    return true;
}

static bool read_fact(struct dk_xdp *x, const struct nlmsghdr *message, struct dk_netdev_fact *out)
{
    *out = (struct dk_netdev_fact){.kind = DK_NETDEV_ADDRESS};
    switch (message->nlmsg_type) {
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return read_address(x, message, out);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return read_route(x, message, out);
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return read_link(x, message, out);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: /* what comes before the dump is in it */
        return x->stage >= NEIGHBOURS && read_neighbour(x, message, out);
    default:
        return false;
    }
}

/* Whether a message ends the dump that is under way. */
static bool is_end(const struct dk_xdp *x, const struct nlmsghdr *message)
{
    return x->stage != NEWS && message->nlmsg_seq == x->dump &&
           (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR);
}

/* A dump is over: the next one follows. */
static void go_on(struct dk_xdp *x)
{
    if (x->stage == ROUTES)
        dk_xdp_known_sweep(x);
    if (++x->stage < NEWS)
        ask_all(x);
    else if (x->again)
        look_again(x);
}

/* Reads on: false when there is nothing. */
static bool read_more(struct dk_xdp *x)
{
    ssize_t n;
    do {
        n = mnl_socket_recvfrom(x->route, x->messages, BUFFER_BYTES);
        if (n < 0 && errno == ENOBUFS) /* some were lost */
            look_again(x);
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
        return read_fact(x, message, out);
    go_on(x);
    return false;
}

bool dk_xdp_learn(struct dk_netdev *dev, struct dk_netdev_fact *out)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    for (;;) {
        if (dk_xdp_known_next_gone(x, out))
            return true;
        if (!mnl_nlmsg_ok(x->next, x->left)) {
            if (!read_more(x))
                return false;
            continue;
        }
        if (take(x, out))
            return true;
        if (x->stage == NEIGHBOURS && !x->has_told) {
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
