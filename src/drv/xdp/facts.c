/* SPDX-License-Identifier: MIT */
/*
 * Messages of the kernel's, read.
 *
 * Routes are those of the main table at this interface, with their metrics: by a gateway, or to a
 * network that is on the link; those to the networks of addresses follow from these. Of a route
 * with several next hops the first at this interface that is not dead is used, for all packets, as
 * long as it is there; the kernel, which spreads flows over them, is not followed in that, and it
 * is said once.
 */
#include "drv/xdp/facts.h"

#include "drv/xdp/attributes.h"
#include "os/log.h"

#include <linux/neighbour.h>
#include <net/ethernet.h>
#include <sys/socket.h>

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
        dk_xdp_kernel_look_again(x);
    return out->gone ? dk_xdp_known_gone(x, out) : dk_xdp_known_new(x, out);
}

/* Where a route leads to, and its metric; false: it is none of the table that is followed. */
static bool read_prefix(const struct nlmsghdr *message, struct attributes *a,
                        struct dk_netdev_fact *out)
{
    const struct rtmsg *head = mnl_nlmsg_get_payload(message);
    if (head->rtm_table != RT_TABLE_MAIN || head->rtm_flags & RTM_F_CLONED ||
        (head->rtm_family != AF_INET && head->rtm_family != AF_INET6))
        return false;
    mnl_attr_parse(message, sizeof(*head), dk_xdp_attribute_note, a);
    out->kind = DK_NETDEV_ROUTE;
    out->prefix_len = head->rtm_dst_len;
    out->ip = (struct dk_ip){.version = head->rtm_family == AF_INET ? 4 : 6};
    out->metric = a->of[RTA_PRIORITY] ? mnl_attr_get_u32(a->of[RTA_PRIORITY]) : 0;
    return !a->of[RTA_DST] || read_ip(a->of[RTA_DST], head->rtm_family, &out->ip);
}

/* A gateway at this interface that packets can go to. */
static bool read_hop(const struct dk_xdp *x, uint8_t family, const struct rtnexthop *hop,
                     struct dk_ip *gateway_out)
{
    struct attributes a = {{NULL}};
    if (hop->rtnh_ifindex != x->port->ifindex || hop->rtnh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN))
        return false;
    mnl_attr_parse_payload(RTNH_DATA(hop), hop->rtnh_len - sizeof(*hop), dk_xdp_attribute_note, &a);
    return read_ip(a.of[RTA_GATEWAY], family, gateway_out);
}

static void warn_hops(struct dk_xdp *x)
{
    if (x->warned_hops || x->worker != 0)
        return;
    x->warned_hops = true;
    dk_log(DK_LOG_WARN,
           "xdp: %s has a route with several next hops: only the first at this interface that is "
           "not dead is used",
           x->port->name);
}

/* One of several: that which is used already, or else the first. */
static bool read_hops(struct dk_xdp *x, uint8_t family, const struct nlattr *hops,
                      struct dk_netdev_fact *out)
{
    const struct rtnexthop *hop = mnl_attr_get_payload(hops);
    struct dk_netdev_fact of_hop = *out;
    int left = mnl_attr_get_payload_len(hops);
    bool found = false;
    for (; left >= (int)sizeof(*hop) && hop->rtnh_len >= sizeof(*hop) && hop->rtnh_len <= left;
         left -= (int)RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop)) {
        if (!read_hop(x, family, hop, &of_hop.gateway))
            continue;
        const bool is_used = dk_xdp_known_has(x, &of_hop);
        if (is_used || !found)
            *out = of_hop;
        found = true;
        if (is_used)
            break;
    }
    if (found)
        warn_hops(x);
    return found;
}

/* A network that is on the link, and not for an address's sake: those the kernel adds itself. */
static bool is_on_link(const struct rtmsg *head, const struct attributes *a)
{
    return head->rtm_protocol != RTPROT_KERNEL && !a->of[RTA_GATEWAY] && !a->of[RTA_VIA] &&
           !a->of[RTA_ENCAP];
}

static bool read_gateway(struct dk_xdp *x, const struct rtmsg *head, const struct attributes *a,
                         struct dk_netdev_fact *out)
{
    if (head->rtm_type != RTN_UNICAST || head->rtm_flags & RTNH_F_DEAD)
        return false;
    if (a->of[RTA_MULTIPATH])
        return read_hops(x, head->rtm_family, a->of[RTA_MULTIPATH], out);
    if (!a->of[RTA_OIF] || (int)mnl_attr_get_u32(a->of[RTA_OIF]) != x->port->ifindex)
        return false;
    if (!is_on_link(head, a))
        return read_ip(a->of[RTA_GATEWAY], head->rtm_family, &out->gateway);
    out->gateway = (struct dk_ip){.version = 0};
    return true;
}

/* Another route is there by the same prefix and metric, which this one goes before: it is told of
 * once more behind it. */
static void go_before(struct dk_xdp *x, const struct dk_netdev_fact *route)
{
    if (dk_xdp_known_replaced(x, route))
        dk_xdp_kernel_look_again(x);
}

/* One of another kind, or of another interface, may take the place of ours. One of IPv6 is told of
 * whole, with all next hops, when it comes, and by what went, when it goes. */
static bool read_route(struct dk_xdp *x, const struct nlmsghdr *message, struct dk_netdev_fact *out)
{
    const struct rtmsg *head = mnl_nlmsg_get_payload(message);
    const bool is_new = message->nlmsg_type == RTM_NEWROUTE;
    const bool dumped = message->nlmsg_flags & NLM_F_MULTI;
    struct attributes a = {{NULL}};
    if (!read_prefix(message, &a, out))
        return false;
    out->gone = !is_new;
    if (is_new && !dumped && message->nlmsg_flags & NLM_F_REPLACE)
        dk_xdp_known_replaced(x, out);
    else if (is_new && !dumped && head->rtm_family == AF_INET &&
             !(message->nlmsg_flags & NLM_F_APPEND))
        go_before(x, out);
    if (!read_gateway(x, head, &a, out))
        return false;
    if (is_new)
        return dk_xdp_known_new(x, out);
    if (head->rtm_family == AF_INET6)
        dk_xdp_kernel_look_again(x);
    return dk_xdp_known_gone(x, out);
}

static void read_link(struct dk_xdp *x, const struct nlmsghdr *message)
{
    const struct ifinfomsg *head = mnl_nlmsg_get_payload(message);
    struct attributes a = {{NULL}};
    if (head->ifi_index != x->port->ifindex || head->ifi_family != AF_UNSPEC)
        return;
    const bool was_up = x->is_up;
    x->is_up = message->nlmsg_type == RTM_NEWLINK && head->ifi_flags & IFF_UP;
    if (x->is_up && !was_up)
        dk_xdp_kernel_look_again(x);
    mnl_attr_parse(message, sizeof(*head), dk_xdp_attribute_note, &a);
    if (a.of[IFLA_MTU])
        x->link.mtu = mnl_attr_get_u32(a.of[IFLA_MTU]);
    const struct nlattr *mac = a.of[IFLA_ADDRESS];
    if (mac && mnl_attr_get_payload_len(mac) == sizeof(x->link.mac))
        memcpy(x->link.mac.bytes, mnl_attr_get_payload(mac), sizeof(x->link.mac.bytes));
}

/* Frames of more than the interface took when it was opened find no room. */
static void warn_longer(const struct dk_xdp *x)
{
    const struct dk_xdp_port *p = x->port;
    if (x->link.mtu <= p->mtu || x->worker != 0)
        return;
    dk_log(DK_LOG_WARN,
           "xdp: %s has an MTU of %u now, and had %u when it was opened: longer packets are "
           "dropped: ip link set %s mtu %u, or start again (AF_XDP here takes at most %u)",
           p->name, x->link.mtu, p->mtu, p->name, p->mtu, DK_XDP_MTU_MAX);
}

bool dk_xdp_fact_of_link(struct dk_xdp *x, struct dk_netdev_fact *out)
{
    struct dk_xdp_link *link = &x->link, *told = &x->told;
    if (dk_likely(link->mtu == told->mtu && dk_mac_equal(&link->mac, &told->mac)))
        return false;
    if (link->mtu != told->mtu) {
        warn_longer(x);
        told->mtu = link->mtu;
        const uint32_t mtu = link->mtu < x->dev.caps.mtu ? link->mtu : x->dev.caps.mtu;
        *out = (struct dk_netdev_fact){.kind = DK_NETDEV_MTU, .mtu = mtu};
        return true;
    }
    told->mac = link->mac;
    *out = (struct dk_netdev_fact){.kind = DK_NETDEV_MAC, .mac = link->mac};
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

bool dk_xdp_fact_read(struct dk_xdp *x, const struct nlmsghdr *message, struct dk_netdev_fact *out)
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
        read_link(x, message);
        return false;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: /* what comes before the dump is in it */
        return x->stage >= DK_XDP_NEIGHBOURS && read_neighbour(x, message, out);
    default:
        return false;
    }
}
