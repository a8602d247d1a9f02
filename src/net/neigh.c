/* SPDX-License-Identifier: MIT */
/*
 * The neighbour table (neigh.h has the states).
 *
 * Limits: a table of fixed size, where the entry that was used least recently makes room for a new
 * one; one that a message made and nobody sent to goes first. An entry with packets that wait, or
 * one that is permanent, stays. An INCOMPLETE entry has a packet that waits: so there are no more
 * of them than packets may wait, and sending to addresses where nobody is (RFC 6583) takes no more
 * of the table than that.
 *
 * Packets wait in order. When a neighbour does not answer, their senders learn of it as of an
 * ICMP error (RFC 1122 section 2.3.2.2), and further ones get -EHOSTUNREACH for a second.
 */
#include "net/neigh.h"

#include "base/random.h"
#include "base/siphash.h"
#include "mem/heap.h"
#include "net/ip_kind.h"
#include "net/ra.h"
#include "net/route.h"
#include "net/waiting.h"

#define BUCKETS 1024
#define HINTS   64

/* RFC 4861 section 10. */
#define REACHABLE_NS   (30 * DK_NS_PER_S)
#define RETRANS_NS     (1 * DK_NS_PER_S)
#define DELAY_FIRST_NS (5 * DK_NS_PER_S)
#define SOLICITS_MAX   3
#define FAILED_NS      (1 * DK_NS_PER_S)
#define HINT_NS        (1 * DK_NS_PER_S) /* how often a hint is taken */

struct hint {
    struct dk_ip dst;
    int64_t until;
};

struct dk_neigh_table {
    struct dk_list buckets[BUCKETS];
    struct dk_list free, lru, blocked;
    struct dk_waiting_pool *pool;
    uint64_t key[2];
    int64_t reachable_ns, retrans_ns;
    struct hint hints[HINTS];
    struct dk_neigh group; /* stands for all groups: what waits for the device */
    struct dk_neigh entries[DK_NEIGH_MAX];
};

static void on_timer(struct dk_timer *timer, int64_t now);

/* Keyed, so that nobody chooses addresses for one bucket. */
static uint32_t hash_of(const struct dk_neigh_table *table, const struct dk_ip *ip)
{
    uint64_t h = (ip->words[0] ^ table->key[0]) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    h = (h ^ ip->words[1] ^ table->key[1]) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(h >> 40);
}

static void entry_init(struct dk_net *net, struct dk_neigh *neigh)
{
    neigh->net = net;
    dk_list_init(&neigh->waiting);
    dk_list_init(&neigh->blocked);
    dk_timer_init(&neigh->timer, on_timer);
}

/* RFC 4861 section 6.3.2: between half and one and a half. */
void dk_neigh_set_reachable(struct dk_net *net, int64_t base_ns)
{
    net->neigh->reachable_ns = dk_random_between(&net->random, base_ns / 2, base_ns + base_ns / 2);
}

void dk_neigh_set_retrans(struct dk_net *net, int64_t ns)
{
    net->neigh->retrans_ns = ns;
}

int dk_neigh_init(struct dk_net *net, int64_t now)
{
    (void)now;
    struct dk_neigh_table *table = dk_heap_zalloc(sizeof *table);
    if (!table)
        return -ENOMEM;
    net->neigh = table;
    for (uint32_t i = 0; i < BUCKETS; i++)
        dk_list_init(&table->buckets[i]);
    dk_list_init(&table->free);
    dk_list_init(&table->lru);
    dk_list_init(&table->blocked);
    entry_init(net, &table->group);
    for (uint32_t i = 0; i < DK_NEIGH_MAX; i++) {
        entry_init(net, &table->entries[i]);
        dk_list_add_tail(&table->free, &table->entries[i].hash);
    }
    table->key[0] = dk_siphash(net->config.secret, "neighbour 0", 11);
    table->key[1] = dk_siphash(net->config.secret, "neighbour 1", 11);
    table->retrans_ns = RETRANS_NS;
    dk_neigh_set_reachable(net, REACHABLE_NS);
    table->pool = dk_waiting_pool_create(DK_NEIGH_PACKETS_MAX);
    return table->pool ? 0 : -ENOMEM;
}

static void drop_waiting(struct dk_neigh_table *table, struct dk_neigh *neigh)
{
    struct dk_list *link;
    while ((link = dk_list_first(&neigh->waiting)) != NULL) {
        dk_list_del(link);
        dk_waiting_put(table->pool, dk_container_of(link, struct dk_waiting, link));
    }
    neigh->num_waiting = 0;
}

void dk_neigh_fini(struct dk_net *net)
{
    struct dk_neigh_table *table = net->neigh;
    if (!table)
        return;
    drop_waiting(table, &table->group);
    for (uint32_t i = 0; i < DK_NEIGH_MAX; i++)
        drop_waiting(table, &table->entries[i]);
    if (table->pool)
        dk_heap_free(table->pool);
    dk_heap_free(table);
}

struct dk_neigh *dk_neigh_find(struct dk_net *net, const struct dk_ip *ip)
{
    struct dk_neigh_table *table = net->neigh;
    struct dk_list *bucket = &table->buckets[hash_of(table, ip) % BUCKETS], *link;
    dk_list_for_each (link, bucket) {
        struct dk_neigh *neigh = dk_container_of(link, struct dk_neigh, hash);
        if (dk_ip_equal(&neigh->ip, ip))
            return neigh;
    }
    return NULL;
}

static void set_state(struct dk_neigh *neigh, enum dk_neigh_state state)
{
    neigh->state = (uint8_t)state;
    neigh->asked = 0;
    dk_ways_changed(neigh->net);
}

int64_t dk_neigh_ready_until(const struct dk_neigh *neigh)
{
    const uint32_t with_mac = 1u << DK_NEIGH_REACHABLE | 1u << DK_NEIGH_DELAY |
                              1u << DK_NEIGH_PROBE | 1u << DK_NEIGH_PERMANENT;
    if (!(with_mac >> neigh->state & 1) || !dk_list_empty(&neigh->waiting))
        return INT64_MIN;
    const int64_t touched = neigh->used + DK_NEIGH_LRU_NS;
    return neigh->state == DK_NEIGH_REACHABLE && neigh->until < touched ? neigh->until : touched;
}

static void start_timer(struct dk_neigh *neigh, int64_t due)
{
    dk_timer_start(&neigh->net->wheel, &neigh->timer, due);
}

static void stop_timer(struct dk_neigh *neigh)
{
    dk_timer_stop(&neigh->net->wheel, &neigh->timer);
}

static void release(struct dk_neigh *neigh)
{
    struct dk_neigh_table *table = neigh->net->neigh;
    stop_timer(neigh);
    set_state(neigh, DK_NEIGH_FREE);
    dk_list_del(&neigh->hash);
    dk_list_del(&neigh->lru);
    dk_list_add_head(&table->free, &neigh->hash);
}

/* Frees the entry that was used least recently. One with packets that wait stays. */
static bool evict(struct dk_net *net)
{
    struct dk_list *link;
    dk_list_for_each (link, &net->neigh->lru) {
        struct dk_neigh *neigh = dk_container_of(link, struct dk_neigh, lru);
        if (neigh->state == DK_NEIGH_PERMANENT || !dk_list_empty(&neigh->waiting))
            continue;
        release(neigh);
        dk_net_count(&net->stats.neigh_evicted);
        return true;
    }
    return false;
}

/* used: somebody sends to it; otherwise it goes first when room is needed. NULL: no room. */
static struct dk_neigh *create(struct dk_net *net, const struct dk_ip *ip, bool used)
{
    struct dk_neigh_table *table = net->neigh;
    if (dk_list_empty(&table->free) && !evict(net))
        return NULL;
    struct dk_neigh *neigh = dk_container_of(dk_list_first(&table->free), struct dk_neigh, hash);
    dk_list_del(&neigh->hash);
    dk_list_add_head(&table->buckets[hash_of(table, ip) % BUCKETS], &neigh->hash);
    if (used)
        dk_list_add_tail(&table->lru, &neigh->lru);
    else
        dk_list_add_head(&table->lru, &neigh->lru);
    neigh->ip = *ip;
    neigh->is_router = false;
    neigh->used = used ? net->now : INT64_MIN;
    return neigh;
}

static void touch(struct dk_neigh *neigh, int64_t now)
{
    if (neigh->used != INT64_MIN && now - neigh->used < DK_NEIGH_LRU_NS)
        return;
    neigh->used = now;
    dk_list_del(&neigh->lru);
    dk_list_add_tail(&neigh->net->neigh->lru, &neigh->lru);
}

static void ask(struct dk_neigh *neigh, int64_t now)
{
    const struct dk_net_config *config = &neigh->net->config;
    const bool unicast = neigh->state == DK_NEIGH_PROBE;
    neigh->asked++;
    start_timer(neigh, now + neigh->net->neigh->retrans_ns);
    if (config->resolve)
        config->resolve(config->emit_arg, &neigh->ip, unicast ? &neigh->mac : NULL);
    else if (neigh->ip.version == 4)
        dk_arp_ask(neigh->net, &neigh->ip, unicast ? &neigh->mac : NULL);
    else
        dk_nd_ask(neigh->net, &neigh->ip, unicast);
}

/* Sends what waits, in order, as far as the device has room. */
static void flush(struct dk_neigh *neigh)
{
    struct dk_net *net = neigh->net;
    struct dk_neigh_table *table = net->neigh;
    struct dk_list *link;
    while ((link = dk_list_first(&neigh->waiting)) != NULL) {
        struct dk_waiting *waiting = dk_container_of(link, struct dk_waiting, link);
        struct dk_mac mac = neigh->mac;
        if (neigh == &table->group)
            mac = dk_mac_of_group(&waiting->tx.dst);
        const int error = dk_ip_emit(net, &waiting->tx, waiting->bytes, &mac, &waiting->progress);
        if (error == -EAGAIN) {
            if (dk_list_empty(&neigh->blocked))
                dk_list_add_tail(&table->blocked, &neigh->blocked);
            return;
        }
        if (error != 0)
            dk_net_count(&net->stats.neigh_dropped);
        dk_list_del(link);
        neigh->num_waiting--;
        dk_waiting_put(table->pool, waiting);
    }
    dk_list_del_init(&neigh->blocked);
    if (net->patient_wait)
        net->due.what |= DK_NET_DUE_RESOLVED;
}

uint32_t dk_neigh_waiting(const struct dk_net *net)
{
    return net->neigh->pool->num_used;
}

bool dk_neigh_own(struct dk_net *net)
{
    uint64_t copied = 0;
    const bool all = dk_waiting_own(net->neigh->pool, &copied);
    if (copied != 0)
        dk_count(&net->stats.neigh_copied_bytes, copied);
    return all;
}

void dk_neigh_tx_room(struct dk_net *net)
{
    struct dk_list *link;
    while ((link = dk_list_first(&net->neigh->blocked)) != NULL) {
        struct dk_neigh *neigh = dk_container_of(link, struct dk_neigh, blocked);
        dk_list_del_init(link);
        flush(neigh);
        if (!dk_list_empty(&neigh->blocked))
            return; /* no room again */
    }
}

static void tell_sender(struct dk_net *net, const struct dk_waiting *waiting)
{
    const struct dk_icmp_error error = {
        .kind = DK_ICMP_UNREACHABLE,
        .local = waiting->tx.src,
        .remote = waiting->tx.dst,
        .quoted = waiting->tx.header,
        .quoted_len = waiting->tx.header_len,
    };
    const struct dk_transport *transport =
        dk_transport_find(net, waiting->tx.dst.version, waiting->tx.protocol);
    if (transport && transport->icmp_error && waiting->tx.header_len >= 8)
        transport->icmp_error(net, &error, net->now);
}

/* Takes all that waits there. */
static void take_waiting(struct dk_neigh *neigh, struct dk_list *out)
{
    struct dk_list *link;
    dk_list_init(out);
    while ((link = dk_list_first(&neigh->waiting)) != NULL) {
        dk_list_del(link);
        dk_list_add_tail(out, link);
    }
    neigh->num_waiting = 0;
    dk_list_del_init(&neigh->blocked);
}

/* It does not answer. The senders may send again from inside, which finds it FAILED; or sends
 * elsewhere, for which the entry may have to make room: it is not looked at after the first. */
static void fail(struct dk_neigh *neigh, int64_t now)
{
    struct dk_net *net = neigh->net;
    struct dk_list *link, waiting_list;
    stop_timer(neigh);
    set_state(neigh, DK_NEIGH_FAILED);
    neigh->until = now + FAILED_NS;
    dk_net_count(&net->stats.neigh_failed);
    if (neigh->is_router)
        dk_route_avoid(net, &neigh->ip);
    if (net->patient_wait)
        net->due.what |= DK_NET_DUE_RESOLVED;
    take_waiting(neigh, &waiting_list);
    while ((link = dk_list_first(&waiting_list)) != NULL) {
        struct dk_waiting *waiting = dk_container_of(link, struct dk_waiting, link);
        dk_list_del(link);
        dk_net_count(&net->stats.neigh_dropped);
        tell_sender(net, waiting);
        dk_waiting_put(net->neigh->pool, waiting);
    }
}

static void on_timer(struct dk_timer *timer, int64_t now)
{
    struct dk_neigh *neigh = dk_container_of(timer, struct dk_neigh, timer);
    if (neigh->state == DK_NEIGH_DELAY)
        set_state(neigh, DK_NEIGH_PROBE);
    if (neigh->asked < SOLICITS_MAX)
        ask(neigh, now);
    else
        fail(neigh, now);
}

static int keep(struct dk_neigh *neigh, const struct dk_ip_tx *tx, uint32_t bytes,
                const struct dk_ip_progress *progress)
{
    struct dk_net *net = neigh->net;
    struct dk_waiting *waiting = NULL;
    if (neigh->num_waiting < DK_NEIGH_WAITING_MAX)
        waiting = dk_waiting_get(net->neigh->pool, tx, bytes, progress);
    if (!waiting && tx->patient && !dk_list_empty(&neigh->waiting)) {
        net->patient_wait = true; /* what waits there will go, or fail */
        return -EBUSY;
    }
    if (!waiting) {
        dk_net_count(&net->stats.neigh_queue_full);
        return -ENOBUFS;
    }
    dk_list_add_tail(&neigh->waiting, &waiting->link);
    neigh->num_waiting++;
    dk_ways_changed(net); /* what comes later goes behind it */
    return 0;
}

/* What of a packet found no room goes before everything that is sent there later. */
static int keep_rest(struct dk_neigh *neigh, const struct dk_ip_tx *tx, uint32_t bytes,
                     const struct dk_ip_progress *progress)
{
    if (progress->sent == 0)
        return -EAGAIN;
    if (keep(neigh, tx, bytes, progress) == 0)
        dk_list_add_tail(&neigh->net->neigh->blocked, &neigh->blocked);
    return 0; /* part of it is on its way: if the rest cannot be kept, it is as if lost */
}

static int emit(struct dk_neigh *neigh, struct dk_ip_tx *tx, uint32_t bytes,
                const struct dk_mac *mac)
{
    struct dk_ip_progress progress = {0};
    if (dk_unlikely(!dk_list_empty(&neigh->waiting)))
        return -EAGAIN;
    const int error = dk_ip_emit(neigh->net, tx, bytes, mac, &progress);
    return dk_unlikely(error == -EAGAIN) ? keep_rest(neigh, tx, bytes, &progress) : error;
}

int dk_neigh_send_group(struct dk_net *net, struct dk_ip_tx *tx, uint32_t bytes)
{
    const struct dk_mac mac = dk_mac_of_group(&tx->dst);
    return emit(&net->neigh->group, tx, bytes, &mac);
}

/* RFC 4861 section 7.3.3: the address is used while it is checked. */
static void age(struct dk_neigh *neigh, int64_t now)
{
    if (neigh->state == DK_NEIGH_REACHABLE && now >= neigh->until)
        set_state(neigh, DK_NEIGH_STALE);
    if (neigh->state == DK_NEIGH_STALE) {
        set_state(neigh, DK_NEIGH_DELAY);
        start_timer(neigh, now + DELAY_FIRST_NS);
    }
}

static bool has_mac(const struct dk_neigh *neigh)
{
    return neigh->state != DK_NEIGH_INCOMPLETE && neigh->state != DK_NEIGH_FAILED;
}

bool dk_neigh_look(const struct dk_net *net, const struct dk_ip *ip, struct dk_mac *mac_out)
{
    for (uint32_t i = 0; i < DK_NEIGH_MAX; i++) {
        const struct dk_neigh *neigh = &net->neigh->entries[i];
        if (neigh->state == DK_NEIGH_FREE || !has_mac(neigh) || !dk_ip_equal(&neigh->ip, ip))
            continue;
        *mac_out = neigh->mac;
        return true;
    }
    return false;
}

/* The entry to send by; NULL: there is no room for one. */
static struct dk_neigh *entry_for(struct dk_net *net, const struct dk_ip *ip, int64_t now)
{
    struct dk_neigh *neigh = dk_neigh_find(net, ip);
    if (neigh) {
        touch(neigh, now);
        return neigh;
    }
    neigh = create(net, ip, true);
    if (neigh) {
        set_state(neigh, DK_NEIGH_FAILED);
        neigh->until = now;
    }
    return neigh;
}

int dk_neigh_send(struct dk_net *net, const struct dk_ip *next_hop, struct dk_ip_tx *tx,
                  uint32_t bytes, int64_t now)
{
    struct dk_neigh *neigh = entry_for(net, next_hop, now);
    if (dk_unlikely(!neigh)) {
        dk_net_count(&net->stats.neigh_table_full);
        return -ENOBUFS;
    }
    if (dk_likely(has_mac(neigh))) {
        age(neigh, now);
        return emit(neigh, tx, bytes, &neigh->mac);
    }
    if (neigh->state == DK_NEIGH_FAILED && now < neigh->until)
        return -EHOSTUNREACH;
    const int error = keep(neigh, tx, bytes, &(struct dk_ip_progress){0});
    if (error != 0 && dk_list_empty(&neigh->waiting)) {
        release(neigh); /* it would only take the place of one that answers */
    } else if (error == 0 && neigh->state == DK_NEIGH_FAILED) {
        set_state(neigh, DK_NEIGH_INCOMPLETE);
        ask(neigh, now);
    }
    return error;
}

static void set_reachable(struct dk_neigh *neigh, int64_t now)
{
    stop_timer(neigh);
    set_state(neigh, DK_NEIGH_REACHABLE);
    neigh->until = now + neigh->net->neigh->reachable_ns;
}

static void set_stale(struct dk_neigh *neigh)
{
    stop_timer(neigh);
    set_state(neigh, DK_NEIGH_STALE);
}

/* RFC 4861 section 7.2.5, for an entry whose address is known. */
static void update(struct dk_neigh *neigh, const struct dk_neigh_news *news, int64_t now)
{
    const bool differs = news->has_mac && !dk_mac_equal(&neigh->mac, &news->mac);
    if (differs && !news->override) {
        if (neigh->state == DK_NEIGH_REACHABLE)
            set_stale(neigh);
        return;
    }
    if (differs) {
        neigh->mac = news->mac;
        dk_net_count(&neigh->net->stats.neigh_changed);
    }
    if (news->solicited)
        set_reachable(neigh, now);
    else if (differs)
        set_stale(neigh);
}

struct dk_neigh *dk_neigh_learn(struct dk_net *net, const struct dk_neigh_news *news, int64_t now)
{
    struct dk_neigh *neigh = dk_neigh_find(net, &news->ip);
    if (!neigh) {
        neigh = news->create && news->has_mac ? create(net, &news->ip, false) : NULL;
        if (neigh) {
            set_state(neigh, DK_NEIGH_STALE);
            neigh->mac = news->mac;
        }
        return neigh;
    }
    if (neigh->state == DK_NEIGH_PERMANENT)
        return neigh;
    if (has_mac(neigh)) {
        update(neigh, news, now);
        return neigh;
    }
    if (!news->has_mac)
        return neigh;
    neigh->mac = news->mac;
    if (news->solicited)
        set_reachable(neigh, now);
    else
        set_stale(neigh);
    if (!dk_list_empty(&neigh->waiting))
        age(neigh, now);
    flush(neigh);
    return neigh;
}

/* Whether it answers what we asked: of the state only its own stack knows. */
static bool is_awaited(const struct dk_neigh *neigh)
{
    return neigh->state == DK_NEIGH_INCOMPLETE || neigh->state == DK_NEIGH_PROBE;
}

void dk_neigh_told(struct dk_net *net, const struct dk_net_news *news, int64_t now)
{
    struct dk_neigh *neigh = dk_neigh_find(net, &news->ip);
    if (!neigh)
        return;
    const struct dk_neigh_news here = {
        .ip = news->ip,
        .mac = news->mac,
        .has_mac = news->has_mac,
        .override = news->override,
        .solicited = news->solicited || (news->reply && is_awaited(neigh)),
    };
    if (news->advert) {
        if (neigh->is_router && !news->is_router)
            dk_ra_no_router(net, &news->ip);
        neigh->is_router = news->is_router;
    }
    dk_neigh_learn(net, &here, now);
}

void dk_net_tell_neighbour(struct dk_net *net, const struct dk_ip *ip, const struct dk_mac *mac,
                           int64_t now)
{
    struct dk_neigh_news news = {.ip = *ip, .has_mac = true, .solicited = true, .override = true};
    struct dk_neigh *neigh = dk_neigh_find(net, ip);
    net->now = now;
    if (mac) {
        news.mac = *mac;
        news.create = true;
        dk_neigh_learn(net, &news, now);
    } else if (neigh && has_mac(neigh) && neigh->state != DK_NEIGH_PERMANENT &&
               dk_list_empty(&neigh->waiting)) {
        release(neigh); /* the next packet has it asked for */
    }
}

int dk_net_add_neighbour(struct dk_net *net, const struct dk_ip *ip, const struct dk_mac *mac)
{
    struct dk_neigh *neigh = dk_neigh_find(net, ip);
    if (!neigh)
        neigh = create(net, ip, true);
    if (!neigh)
        return -ENOBUFS;
    stop_timer(neigh);
    set_state(neigh, DK_NEIGH_PERMANENT);
    neigh->mac = *mac;
    flush(neigh);
    return 0;
}

void dk_ip_confirm(struct dk_net *net, const struct dk_ip *dst, int64_t now)
{
    struct dk_neigh_table *table = net->neigh;
    struct hint *hint = &table->hints[(dst->bytes[3] ^ dst->bytes[15]) % HINTS];
    struct dk_path path;
    if (dk_likely(now < hint->until && dk_ip_equal(&hint->dst, dst)))
        return;
    *hint = (struct hint){.dst = *dst, .until = now + HINT_NS};
    net->now = now;
    if (dk_route_find(net, dst, &path) != 0 || path.hop != DK_HOP_NEIGHBOUR)
        return;
    struct dk_neigh *neigh = dk_neigh_find(net, &path.next_hop);
    if (neigh && has_mac(neigh) && neigh->state != DK_NEIGH_PERMANENT)
        set_reachable(neigh, now);
}
