/* SPDX-License-Identifier: MIT */
/*
 * Whether our addresses are ours alone.
 *
 * IPv6: an address is tentative at first; we ask whether anybody has it, and it is good when a
 * second passed without an answer (RFC 4862 section 5.4). A duplicate is never used.
 *
 * IPv4: an address is good at once, and announced twice (RFC 5227 section 2.3). Whoever else is
 * seen with it is answered with another announcement, at most one in ten seconds (section 2.4 (b):
 * two hosts that both defend must not flood the link). We go on with it, and the counter tells.
 */
#include "base/random.h"
#include "net/groups.h"
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/route.h"

#define ANNOUNCE_TIMES 2
#define ANNOUNCE_NS    (2 * DK_NS_PER_S)
#define DEFEND_NS      (10 * DK_NS_PER_S)
#define DELAY_MAX_NS   (1 * DK_NS_PER_S) /* RFC 4861: MAX_RTR_SOLICITATION_DELAY */
#define RETRANS_NS     (1 * DK_NS_PER_S)

static void announce4(struct dk_ifaddr *own, int64_t now)
{
    dk_arp_announce(own->net, &own->ip);
    if (++own->announced < ANNOUNCE_TIMES)
        dk_timer_start(&own->net->wheel, &own->timer, now + ANNOUNCE_NS);
}

static void detect6(struct dk_ifaddr *own, int64_t now)
{
    if (own->asked) {
        own->state = DK_IFADDR_GOOD;
        dk_route_changed(own->net);
        dk_nd_announce(own->net, &own->ip);
        return;
    }
    own->asked = true;
    dk_nd_probe(own->net, &own->ip);
    dk_timer_start(&own->net->wheel, &own->timer, now + RETRANS_NS);
}

static void on_timer(struct dk_timer *timer, int64_t now)
{
    struct dk_ifaddr *own = dk_container_of(timer, struct dk_ifaddr, timer);
    if (own->ip.version == 4)
        announce4(own, now);
    else
        detect6(own, now);
}

static void start(struct dk_net *net, struct dk_ifaddr *own, int64_t now)
{
    dk_timer_init(&own->timer, on_timer);
    if (own->ip.version == 4) {
        announce4(own, now);
        return;
    }
    const struct dk_ip group = dk_ip_solicited_node(&own->ip);
    dk_group_join(net, &group);
    if (own->state == DK_IFADDR_TENTATIVE) /* RFC 4862 section 5.4.2: not all hosts at once */
        dk_timer_start(&net->wheel, &own->timer,
                       now + dk_random_between(&net->random, 0, DELAY_MAX_NS));
}

void dk_dad_start(struct dk_net *net, int64_t now)
{
    for (uint32_t i = 0; i < net->addrs->num; i++)
        start(net, &net->addrs->list[i], now);
}

void dk_dad_conflict(struct dk_net *net, struct dk_ifaddr *own, int64_t now)
{
    dk_net_count(&net->stats.address_conflicts);
    if (own->state == DK_IFADDR_TENTATIVE) {
        dk_timer_stop(&net->wheel, &own->timer);
        own->state = DK_IFADDR_DUPLICATE;
        dk_route_changed(net);
        dk_net_count(&net->stats.address_duplicates);
    }
    if (own->state != DK_IFADDR_GOOD ||
        (own->defended != INT64_MIN && now - own->defended < DEFEND_NS))
        return;
    own->defended = now;
    dk_net_count(&net->stats.address_defences);
    if (own->ip.version == 4)
        dk_arp_announce(net, &own->ip);
    else
        dk_nd_announce(net, &own->ip);
}
