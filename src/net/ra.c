/* SPDX-License-Identifier: MIT */
/*
 * Router advertisements: ra.h says what is learnt.
 *
 * Who forges one on the link can do harm that the RFCs accept; what they bound is bounded here:
 * tables have limits, a lifetime is not shortened below two hours (RFC 4862 section 5.5.3 (e)), and
 * values that no link may have are passed over and counted.
 *
 * Solicitations go on until a router answers, further and further apart (RFC 7559), with the
 * link-local address as source once it is good.
 */
#include "net/ra.h"

#include "base/random.h"
#include "mem/heap.h"
#include "net/icmp.h"
#include "net/identifier.h"
#include "net/ip_kind.h"
#include "net/neigh.h"
#include "net/route.h"
#include "net/wire/icmp6.h"

#define DELAY_MAX_NS     (1 * DK_NS_PER_S) /* RFC 4861 section 10 */
#define SOLICIT_FIRST_NS (4 * DK_NS_PER_S)
#define SOLICIT_MAX_NS   (3600 * DK_NS_PER_S) /* RFC 7559 section 2 */
#define TWO_HOURS_S      7200
#define FOREVER_S        UINT32_MAX
#define MTU_MIN          1280
#define REACHABLE_MAX_MS 3600000 /* RFC 4861 section 6.2.1 */
#define PREFIX_LEN       64      /* what an identifier of 64 bits goes with */

static int64_t end_of(uint32_t lifetime_s, int64_t now)
{
    return lifetime_s == FOREVER_S ? INT64_MAX : now + lifetime_s * DK_NS_PER_S;
}

/* ---- what ends ------------------------------------------------------------------------------- */

static void sooner(int64_t *due, int64_t end)
{
    if (end < *due)
        *due = end;
}

static void start_expiry(struct dk_ra *ra)
{
    int64_t due = INT64_MAX;
    for (int i = 0; i < DK_RA_ROUTERS_MAX; i++) {
        if (ra->routers[i].ip.version != 0)
            sooner(&due, ra->routers[i].end);
    }
    for (int i = 0; i < DK_RA_NETWORKS_MAX; i++) {
        if (ra->networks[i].prefix.version != 0)
            sooner(&due, ra->networks[i].end);
    }
    for (int i = 0; i < DK_IFADDRS_LEARNT_MAX; i++) {
        const struct dk_ra_address *address = &ra->addresses[i];
        if (!address->own)
            continue;
        sooner(&due, address->valid_end);
        if (!address->own->deprecated)
            sooner(&due, address->preferred_end);
    }
    if (due == INT64_MAX)
        dk_timer_stop(&ra->net->wheel, &ra->expiry);
    else
        dk_timer_start(&ra->net->wheel, &ra->expiry, due);
}

static struct dk_net_route default_by(const struct dk_ip *router)
{
    return (struct dk_net_route){.prefix = {.version = 6}, .gateway = *router};
}

static void drop_router(struct dk_ra *ra, struct dk_ra_router *router)
{
    const struct dk_net_route route = default_by(&router->ip);
    dk_route_remove(ra->net, &route, DK_ROUTE_ROUTER);
    router->ip.version = 0;
}

static void drop_network(struct dk_ra *ra, struct dk_ra_network *network)
{
    const struct dk_net_route route = {.prefix = network->prefix,
                                       .prefix_len = network->prefix_len};
    dk_route_remove(ra->net, &route, DK_ROUTE_ROUTER);
    network->prefix.version = 0;
}

static void drop_address(struct dk_ra *ra, struct dk_ra_address *address)
{
    const struct dk_ip ip = address->own->ip;
    dk_ifaddr_remove(ra->net, address->own);
    address->own = NULL;
    dk_net_count(&ra->net->stats.ra_expired);
    dk_net_address_lost(ra->net, &ip, ra->net->now);
}

/* RFC 4862 section 5.5.4. */
static void set_deprecated(struct dk_ra *ra, struct dk_ra_address *address, int64_t now)
{
    const bool deprecated = now >= address->preferred_end;
    if (deprecated == address->own->deprecated)
        return;
    address->own->deprecated = deprecated;
    dk_route_changed(ra->net);
}

static void on_expiry(struct dk_timer *timer, int64_t now)
{
    struct dk_ra *ra = dk_container_of(timer, struct dk_ra, expiry);
    for (int i = 0; i < DK_RA_ROUTERS_MAX; i++) {
        if (ra->routers[i].ip.version != 0 && now >= ra->routers[i].end)
            drop_router(ra, &ra->routers[i]);
    }
    for (int i = 0; i < DK_RA_NETWORKS_MAX; i++) {
        if (ra->networks[i].prefix.version != 0 && now >= ra->networks[i].end)
            drop_network(ra, &ra->networks[i]);
    }
    for (int i = 0; i < DK_IFADDRS_LEARNT_MAX; i++) {
        struct dk_ra_address *address = &ra->addresses[i];
        if (address->own && now >= address->valid_end)
            drop_address(ra, address);
        else if (address->own)
            set_deprecated(ra, address, now);
    }
    start_expiry(ra);
}

/* ---- what an advertisement says -------------------------------------------------------------- */

static struct dk_ra_router *find_router(struct dk_ra *ra, const struct dk_ip *ip)
{
    for (int i = 0; i < DK_RA_ROUTERS_MAX; i++) {
        if (dk_ip_equal(&ra->routers[i].ip, ip))
            return &ra->routers[i];
    }
    return NULL;
}

void dk_ra_no_router(struct dk_net *net, const struct dk_ip *ip)
{
    struct dk_ra_router *router = net->ra ? find_router(net->ra, ip) : NULL;
    if (router)
        drop_router(net->ra, router);
}

/* RFC 4861 section 6.3.4: a lifetime of zero ends it. */
static void learn_router(struct dk_ra *ra, const struct dk_ip *ip, uint16_t lifetime_s, int64_t now)
{
    const struct dk_ip none = {.version = 0};
    struct dk_ra_router *router = find_router(ra, ip);
    if (lifetime_s == 0) {
        dk_ra_no_router(ra->net, ip);
        return;
    }
    if (!router) {
        const struct dk_net_route route = default_by(ip);
        router = find_router(ra, &none);
        if (!router || dk_route_add(ra->net, &route, DK_ROUTE_ROUTER) != 0) {
            dk_net_count(&ra->net->stats.ra_table_full);
            return;
        }
        router->ip = *ip;
    }
    router->end = now + lifetime_s * DK_NS_PER_S;
}

static struct dk_ra_network *find_network(struct dk_ra *ra, const struct dk_ip *prefix, uint8_t len)
{
    for (int i = 0; i < DK_RA_NETWORKS_MAX; i++) {
        struct dk_ra_network *network = &ra->networks[i];
        if (dk_ip_equal(&network->prefix, prefix) &&
            (network->prefix_len == len || prefix->version == 0))
            return network;
    }
    return NULL;
}

/* RFC 4861 section 6.3.4. */
static void learn_network(struct dk_ra *ra, const struct dk_nd_prefix *given, int64_t now)
{
    const struct dk_ip none = {.version = 0};
    struct dk_ra_network *network = find_network(ra, &given->prefix, given->len);
    if (given->valid_s == 0) {
        if (network)
            drop_network(ra, network);
        return;
    }
    if (!network) {
        const struct dk_net_route route = {.prefix = given->prefix, .prefix_len = given->len};
        network = find_network(ra, &none, 0);
        if (!network || dk_route_add(ra->net, &route, DK_ROUTE_ROUTER) != 0) {
            dk_net_count(&ra->net->stats.ra_table_full);
            return;
        }
        network->prefix = given->prefix;
        network->prefix_len = given->len;
    }
    network->end = end_of(given->valid_s, now);
}

/* NULL: a free place. */
static struct dk_ra_address *find_address(struct dk_ra *ra, const struct dk_ip *prefix)
{
    for (int i = 0; i < DK_IFADDRS_LEARNT_MAX; i++) {
        struct dk_ra_address *address = &ra->addresses[i];
        if (prefix ? address->own && dk_ip_equal(&address->prefix, prefix) : !address->own)
            return address;
    }
    return NULL;
}

/* RFC 4862 section 5.5.3 (e): nobody makes an address end sooner than in two hours, unless it would
 * anyway. */
static int64_t valid_end(const struct dk_ra_address *address, uint32_t valid_s, int64_t now)
{
    const int64_t end = end_of(valid_s, now), two_hours = now + TWO_HOURS_S * DK_NS_PER_S;
    if (valid_s > TWO_HOURS_S || end > address->valid_end)
        return end;
    return address->valid_end <= two_hours ? address->valid_end : two_hours;
}

/* RFC 4862 section 5.5.3 (d). */
static struct dk_ra_address *form_address(struct dk_ra *ra, const struct dk_ip *prefix, int64_t now)
{
    struct dk_net_address wanted = {.ip = *prefix, .prefix_len = PREFIX_LEN};
    struct dk_ra_address *address = find_address(ra, NULL);
    uint8_t counter = 0;
    dk_identifier_put(&ra->net->config, &wanted.ip, &counter);
    if (dk_ifaddr_find(ra->net, &wanted.ip)) /* the configuration gave it */
        return NULL;
    struct dk_ifaddr *own = address ? dk_ifaddr_add(ra->net, &wanted, DK_IFADDR_ROUTER, now) : NULL;
    if (!own) {
        dk_net_count(&ra->net->stats.ra_table_full);
        return NULL;
    }
    own->is_formed = true;
    own->conflicts = counter;
    address->own = own;
    address->prefix = *prefix;
    return address;
}

static void learn_address(struct dk_ra *ra, const struct dk_nd_prefix *given, int64_t now)
{
    struct dk_ra_address *address = find_address(ra, &given->prefix);
    if (address) {
        address->valid_end = valid_end(address, given->valid_s, now);
    } else {
        address = given->valid_s == 0 ? NULL : form_address(ra, &given->prefix, now);
        if (!address)
            return;
        address->valid_end = end_of(given->valid_s, now);
    }
    address->preferred_end = end_of(given->preferred_s, now);
    set_deprecated(ra, address, now);
}

/* The bits behind a prefix mean nothing (RFC 4861 section 4.6.2). */
static void clear_host(struct dk_ip *ip, uint8_t prefix_len)
{
    for (uint32_t i = prefix_len; i < 128; i++)
        ip->bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

/* RFC 4862 section 5.5.3 (a) to (c). */
static void learn_prefix(struct dk_ra *ra, const struct dk_nd_prefix *given, int64_t now)
{
    struct dk_nd_prefix prefix = *given;
    clear_host(&prefix.prefix, prefix.len);
    if (dk_ip_is_link_local(&prefix.prefix) || dk_ip_is_multicast(&prefix.prefix) ||
        prefix.len == 0 || prefix.preferred_s > prefix.valid_s) {
        dk_net_count(&ra->net->stats.ra_bad_prefix);
        return;
    }
    if (prefix.on_link)
        learn_network(ra, &prefix, now);
    if (!prefix.autonomous)
        return;
    if (prefix.len == PREFIX_LEN)
        learn_address(ra, &prefix, now);
    else
        dk_net_count(&ra->net->stats.ra_bad_prefix);
}

static void learn_mtu(struct dk_ra *ra, uint32_t mtu)
{
    struct dk_net *net = ra->net;
    if (mtu == 0)
        return;
    if (mtu < MTU_MIN || mtu > net->link_mtu) {
        dk_net_count(&net->stats.link_mtu_refused);
        return;
    }
    net->learnt_mtu[1] = (uint16_t)mtu;
    dk_net_mtu_changed(net);
}

/* RFC 4861 section 6.3.4: 0 is "not said". */
static void learn_parameters(struct dk_ra *ra, const struct dk_nd *nd)
{
    if (nd->hop_limit != 0 && nd->hop_limit != ra->net->hop_limit) {
        ra->net->hop_limit = nd->hop_limit;
        dk_route_changed(ra->net); /* ways have it in their heads */
    }
    if (nd->reachable_ms != 0 && nd->reachable_ms <= REACHABLE_MAX_MS &&
        nd->reachable_ms != ra->reachable_ms) {
        ra->reachable_ms = nd->reachable_ms;
        dk_neigh_set_reachable(ra->net, nd->reachable_ms * DK_NS_PER_MS);
    }
    if (nd->retrans_ms != 0 && nd->retrans_ms <= REACHABLE_MAX_MS)
        dk_neigh_set_retrans(ra->net, nd->retrans_ms * DK_NS_PER_MS);
    learn_mtu(ra, nd->mtu);
}

static void learn_neighbour(struct dk_net *net, const struct dk_ip *from, const struct dk_nd *nd,
                            int64_t now)
{
    const struct dk_neigh_news news = {
        .ip = *from,
        .mac = nd->source_mac,
        .has_mac = nd->has_source_mac,
        .override = true,
        .create = true,
    };
    struct dk_neigh *neigh = dk_neigh_learn(net, &news, now);
    if (neigh)
        neigh->is_router = true;
}

void dk_ra_input(struct dk_net *net, const struct dk_ip *from, const struct dk_nd *nd, int64_t now)
{
    struct dk_ra *ra = net->ra;
    if (!ra) {
        dk_net_count(&net->stats.nd_router_adverts);
        return;
    }
    dk_net_count(&net->stats.ra_taken);
    ra->answered = true;
    if (nd->lifetime_s != 0 && ra->solicits > 0) /* RFC 4861 section 6.3.7 */
        dk_timer_stop(&net->wheel, &ra->solicit);
    learn_parameters(ra, nd);
    learn_neighbour(net, from, nd, now);
    for (uint8_t i = 0; i < nd->num_prefixes; i++)
        learn_prefix(ra, &nd->prefixes[i], now);
    learn_router(ra, from, nd->lifetime_s, now);
    start_expiry(ra);
}

void dk_ra_decided(struct dk_net *net, struct dk_ifaddr *own)
{
    if (own->state == DK_IFADDR_GOOD)
        dk_net_count(&net->stats.ra_addresses);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void on_solicit(struct dk_timer *timer, int64_t now)
{
    struct dk_ra *ra = dk_container_of(timer, struct dk_ra, solicit);
    struct dk_random *random = &ra->net->random;
    int64_t wait = ra->wait == 0 ? SOLICIT_FIRST_NS : 2 * ra->wait;
    if (wait > SOLICIT_MAX_NS)
        wait = SOLICIT_MAX_NS;
    ra->wait = wait + dk_random_between(random, -wait / 10, wait / 10);
    ra->solicits++;
    dk_nd_solicit_routers(ra->net);
    dk_timer_start(&ra->net->wheel, &ra->solicit, now + ra->wait);
}

int dk_ra_init(struct dk_net *net, int64_t now)
{
    if (!net->config.router_adverts)
        return 0;
    struct dk_ra *ra = dk_heap_zalloc(sizeof(*ra));
    if (!ra)
        return -ENOMEM;
    net->ra = ra;
    ra->net = net;
    dk_timer_init(&ra->solicit, on_solicit);
    dk_timer_init(&ra->expiry, on_expiry);
    dk_timer_start(&net->wheel, &ra->solicit,
                   now + dk_random_between(&net->random, 0, DELAY_MAX_NS));
    return 0;
}

void dk_ra_fini(struct dk_net *net)
{
    struct dk_ra *ra = net->ra;
    if (!ra)
        return;
    dk_timer_stop(&net->wheel, &ra->solicit);
    dk_timer_stop(&net->wheel, &ra->expiry);
    dk_heap_free(ra);
    net->ra = NULL;
}

/* Of several addresses the best off counts. */
enum dk_net_learning dk_net_router_state(const struct dk_net *net, struct dk_ip *address_out)
{
    const struct dk_ra *ra = net->ra;
    if (!ra)
        return DK_NET_NOT_LEARNING;
    enum dk_net_learning state = ra->answered ? DK_NET_ANSWERED : DK_NET_UNANSWERED;
    for (int i = 0; i < DK_IFADDRS_LEARNT_MAX; i++) {
        const struct dk_ifaddr *own = ra->addresses[i].own;
        if (!own || own->state == DK_IFADDR_TENTATIVE)
            continue;
        *address_out = own->ip;
        if (own->state == DK_IFADDR_GOOD)
            return DK_NET_LEARNT;
        state = DK_NET_LEARNT_DUPLICATE;
    }
    return state;
}
