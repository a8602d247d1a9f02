/* SPDX-License-Identifier: MIT */
/*
 * Whether our addresses are ours alone.
 *
 * The link is asked whether anybody has an address: of IPv4 three times, a second or two apart (RFC
 * 5227 section 2.1.1), of IPv6 once (RFC 4862 section 5.4). Silence makes it ours, and all are told
 * so. It is tentative until then; or, if the configuration is optimistic, in use already, while we
 * say nothing that would put us in the place of whoever has it (RFC 4429 section 3.3).
 *
 * An answer, or another host that asks the same, means that the address is not ours: it is not used
 * any more. Where another one can be formed in its place, that is tried (RFC 7217 section 6).
 *
 * One that has been ours is defended, at most once in ten seconds, and kept (RFC 5227 section 2.4
 * (c): it was configured, nobody can be asked for another).
 */
#include "base/random.h"
#include "net/dhcp.h"
#include "net/groups.h"
#include "net/icmp.h"
#include "net/identifier.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/ra.h"
#include "net/route.h"

/* RFC 5227 section 1.1. */
#define PROBE_WAIT_NS        (1 * DK_NS_PER_S)
#define PROBE_NUM            3
#define PROBE_MIN_NS         (1 * DK_NS_PER_S)
#define PROBE_MAX_NS         (2 * DK_NS_PER_S)
#define ANNOUNCE_WAIT_NS     (2 * DK_NS_PER_S)
#define ANNOUNCE_NUM         2
#define ANNOUNCE_INTERVAL_NS (2 * DK_NS_PER_S)
#define DEFEND_INTERVAL_NS   (10 * DK_NS_PER_S)

/* RFC 4862 section 5.4, RFC 4861 section 10: the first is MAX_RTR_SOLICITATION_DELAY. */
#define DELAY_MAX_NS (1 * DK_NS_PER_S)
#define TRANSMITS    1
#define RETRANS_NS   (1 * DK_NS_PER_S)

static void wait(struct dk_ifaddr *own, int64_t due)
{
    dk_timer_start(&own->net->wheel, &own->timer, due);
}

static int64_t at_random(struct dk_ifaddr *own, int64_t from, int64_t to)
{
    return dk_random_between(&own->net->random, from, to);
}

static void probe4(struct dk_ifaddr *own, int64_t now)
{
    dk_arp_probe(own->net, &own->ip);
    if (++own->probes < PROBE_NUM)
        wait(own, now + at_random(own, PROBE_MIN_NS, PROBE_MAX_NS));
    else
        wait(own, now + ANNOUNCE_WAIT_NS);
}

static void announce4(struct dk_ifaddr *own, int64_t now)
{
    dk_arp_announce(own->net, &own->ip);
    if (++own->announced < ANNOUNCE_NUM)
        wait(own, now + ANNOUNCE_INTERVAL_NS);
}

static void probe6(struct dk_ifaddr *own, int64_t now)
{
    own->probes++;
    dk_nd_probe(own->net, &own->ip);
    wait(own, now + RETRANS_NS);
}

/* Who brought the address may take it away again: it is not looked at afterwards. */
static void decided(struct dk_ifaddr *own, int64_t now)
{
    if (own->origin == DK_IFADDR_DHCP)
        dk_dhcp_decided(own->net, own, now);
    else if (own->origin == DK_IFADDR_ROUTER)
        dk_ra_decided(own->net, own);
}

/* Nobody has it. */
static void settle(struct dk_ifaddr *own, int64_t now)
{
    const bool was_used = own->state == DK_IFADDR_GOOD;
    own->probing = false;
    own->state = DK_IFADDR_GOOD;
    if (!was_used)
        dk_route_changed(own->net);
    if (own->ip.version == 4)
        announce4(own, now);
    else
        dk_nd_announce(own->net, &own->ip);
    if (!was_used)
        decided(own, now);
}

static void on_timer(struct dk_timer *timer, int64_t now)
{
    struct dk_ifaddr *own = dk_container_of(timer, struct dk_ifaddr, timer);
    const bool v4 = own->ip.version == 4;
    if (own->state == DK_IFADDR_DUPLICATE) {
        dk_ifaddr_reform(own, now);
        return;
    }
    if (own->probing && own->probes < (v4 ? PROBE_NUM : TRANSMITS)) {
        (v4 ? probe4 : probe6)(own, now);
        return;
    }
    if (own->probing)
        settle(own, now);
    else
        announce4(own, now);
}

void dk_dad_begin(struct dk_ifaddr *own, int64_t now)
{
    const bool v4 = own->ip.version == 4;
    dk_timer_init(&own->timer, on_timer);
    if (!v4) {
        const struct dk_ip group = dk_ip_solicited_node(&own->ip);
        dk_group_join(own->net, &group);
    }
    if (own->probing) /* not all hosts of a link at once */
        wait(own, now + at_random(own, 0, v4 ? PROBE_WAIT_NS : DELAY_MAX_NS));
    else if (v4)
        announce4(own, now);
}

void dk_dad_end(struct dk_ifaddr *own)
{
    dk_timer_stop(&own->net->wheel, &own->timer);
    if (own->ip.version == 4)
        return;
    const struct dk_ip group = dk_ip_solicited_node(&own->ip);
    dk_group_leave(own->net, &group);
}

void dk_dad_start(struct dk_net *net, int64_t now)
{
    for (uint32_t i = 0; i < net->addrs->num; i++)
        dk_dad_begin(&net->addrs->list[i], now);
}

void dk_dad_announce(struct dk_net *net, int64_t now)
{
    for (uint32_t i = 0; i < net->addrs->num; i++) {
        struct dk_ifaddr *own = &net->addrs->list[i];
        if (own->state != DK_IFADDR_GOOD || own->probing)
            continue;
        own->announced = 0;
        if (own->ip.version == 4)
            announce4(own, now);
        else
            dk_nd_announce(net, &own->ip);
    }
}

static void tell(struct dk_net *net, const struct dk_ifaddr *own, const struct dk_mac *mac)
{
    struct dk_net_conflict conflict = {.ip = own->ip, .lost = own->state == DK_IFADDR_DUPLICATE};
    if (mac) {
        conflict.mac = *mac;
        conflict.has_mac = true;
    }
    if (net->config.on_conflict)
        net->config.on_conflict(net->config.emit_arg, &conflict);
}

static void tell_others(struct dk_net *net, const struct dk_ifaddr *own, const struct dk_mac *mac,
                        enum dk_net_news_kind kind)
{
    struct dk_net_news news = {.kind = kind, .ip = own->ip, .has_mac = mac != NULL};
    if (mac)
        news.mac = *mac;
    dk_others_tell(net, &news);
}

static void lose(struct dk_net *net, struct dk_ifaddr *own, const struct dk_mac *mac, int64_t now)
{
    dk_timer_stop(&net->wheel, &own->timer);
    own->probing = false;
    if (own->state == DK_IFADDR_GOOD)
        dk_net_address_lost(net, &own->ip, now);
    own->state = DK_IFADDR_DUPLICATE;
    tell_others(net, own, mac, DK_NET_NEWS_LOST);
    dk_route_changed(net);
    dk_net_count(&net->stats.address_duplicates);
    if (dk_ifaddr_may_reform(own))
        wait(own, now + DK_IDENTIFIER_DELAY_NS);
    else if (own->origin != DK_IFADDR_DHCP) /* of which another will be leased */
        tell(net, own, mac);
    decided(own, now);
}

static void defend(struct dk_net *net, struct dk_ifaddr *own, const struct dk_mac *mac, int64_t now)
{
    if (own->defended != INT64_MIN && now - own->defended < DEFEND_INTERVAL_NS)
        return;
    own->defended = now;
    dk_net_count(&net->stats.address_defences);
    if (own->ip.version == 4)
        dk_arp_announce(net, &own->ip);
    else
        dk_nd_announce(net, &own->ip);
    tell(net, own, mac);
}

void dk_dad_conflict(struct dk_net *net, struct dk_ifaddr *own, const struct dk_mac *mac,
                     int64_t now)
{
    dk_net_count(&net->stats.address_conflicts);
    tell_others(net, own, mac, DK_NET_NEWS_CONFLICT);
    if (own->probing)
        lose(net, own, mac, now);
    else if (own->state == DK_IFADDR_GOOD)
        defend(net, own, mac, now);
}

/* Who saw the conflict defends the address, if it is to be. */
void dk_dad_told(struct dk_net *net, const struct dk_net_news *news, int64_t now)
{
    struct dk_ifaddr *own = dk_ifaddr_find(net, &news->ip);
    if (!own || own->state == DK_IFADDR_DUPLICATE)
        return;
    if (news->kind == DK_NET_NEWS_LOST || own->probing)
        lose(net, own, news->has_mac ? &news->mac : NULL, now);
}
