/* SPDX-License-Identifier: MIT */
/*
 * TCP as a transport of the stack: made and ended with it, given its packets and its time.
 */
#include "base/siphash.h"
#include "mem/heap.h"
#include "net/dev.h"
#include "net/tcp/congestion.h"
#include "net/tcp/cookie_used.h"
#include "net/tcp/event.h"
#include "net/tcp/listen.h"
#include "net/tcp/pcb.h"
#include "net/tcp/pmtu.h"
#include "net/tcp/port.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/sendq.h"
#include "net/tcp/time_wait.h"
#include "net/tcp/timer.h"
#include "net/tcp/tx.h"

void dk_tcp_config_init(struct dk_tcp_config *config)
{
    *config = (struct dk_tcp_config){
        .conns_max = 32768,
        .time_wait_max = 32768,
        .half_open_max = 4096,
        .listeners_max = 4096,
        .segments_max = 1u << 20,
        .pieces_max = 1u << 20,
        .elements_max = 1u << 20,
        .reasm_max = 1u << 16,
        .recoveries_max = 1u << 14,
        .conn_reasm_max = 1024,
        .rcv_buf_bytes = 256u << 10,
        .rcv_buf_max = 16u << 20,
        .rcv_pressure_bytes = UINT64_C(256) << 20,
        .rcv_bufs_max = 512,
        .port_first = 32768,
        .port_last = 60999,
        .push_hold_ns = 50000,
        .delayed_ack_ns = 40 * DK_NS_PER_MS,
        .rto_min_ns = 200 * DK_NS_PER_MS,
        .rto_max_ns = 120 * DK_NS_PER_S,
        .rto_initial_ns = DK_NS_PER_S,
        .time_wait_ns = 60 * DK_NS_PER_S,
        .fin_wait_2_ns = 60 * DK_NS_PER_S,
        .syn_retries = 6,
        .retries = 15,
    };
}

static void pools_init(struct dk_tcp *tcp)
{
    const struct dk_tcp_config *config = &tcp->config;
    dk_tcp_pool_init(&tcp->conns, sizeof(struct dk_tcp_conn), config->conns_max);
    dk_tcp_pool_init(&tcp->segments, sizeof(struct dk_tcp_segment), config->segments_max);
    dk_tcp_pool_init(&tcp->pieces, sizeof(struct dk_tcp_piece), config->pieces_max);
    dk_tcp_pool_init(&tcp->elements, sizeof(struct dk_tcp_element), config->elements_max);
    dk_tcp_pool_init(&tcp->ranges, sizeof(struct dk_tcp_range), config->reasm_max);
    dk_tcp_pool_init(&tcp->cc_states, dk_tcp_congestion_object_bytes(), config->conns_max);
    dk_tcp_pool_init(&tcp->reasms, sizeof(struct dk_tcp_reasm), config->reasm_max);
    dk_tcp_pool_init(&tcp->recoveries, sizeof(struct dk_tcp_recovery), config->recoveries_max);
}

static void pools_fini(struct dk_tcp *tcp)
{
    dk_tcp_pool_fini(&tcp->conns);
    dk_tcp_pool_fini(&tcp->segments);
    dk_tcp_pool_fini(&tcp->pieces);
    dk_tcp_pool_fini(&tcp->elements);
    dk_tcp_pool_fini(&tcp->ranges);
    dk_tcp_pool_fini(&tcp->cc_states);
    dk_tcp_pool_fini(&tcp->reasms);
    dk_tcp_pool_fini(&tcp->recoveries);
}

static void lists_init(struct dk_tcp *tcp)
{
    dk_list_init(&tcp->all);
    dk_list_init(&tcp->listeners);
    dk_list_init(&tcp->bindings);
    dk_list_init(&tcp->listener_events);
    dk_list_init(&tcp->pending);
    dk_list_init(&tcp->unresolved);
    dk_list_init(&tcp->holds);
    tcp->hold_due = DK_TCP_NEVER;
    tcp->events_end = &tcp->events;
    dk_list_init(&tcp->recoveries_used);
}

/* Keys of their own are derived from the secret for each use. */
static void keys_init(struct dk_tcp *tcp)
{
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t use[2] = {4, i};
        tcp->hash_key[i] = dk_siphash(tcp->config.secret, use, sizeof(use)) | 1;
    }
}

static int set_up(struct dk_tcp *tcp)
{
    int err = dk_tcp_table_init(&tcp->table);
    if (!err)
        err = dk_tcp_time_wait_init(tcp);
    if (!err)
        err = dk_tcp_pool_reserve(&tcp->conns, 1);
    if (!err)
        err = dk_tcp_pool_reserve(&tcp->segments, 1);
    if (!err)
        err = dk_tcp_pool_reserve(&tcp->pieces, 1);
    if (!err)
        err = dk_tcp_pool_reserve(&tcp->elements, 1);
    return err;
}

int dk_tcp_create(struct dk_tcp **tcp_out, struct dk_net *net, const struct dk_tcp_config *config,
                  int64_t now)
{
    struct dk_tcp *tcp = dk_heap_aligned(64, sizeof(*tcp));
    if (!tcp)
        return -ENOMEM;
    memset(tcp, 0, sizeof(*tcp));
    tcp->net = net;
    tcp->config = *config;
    pools_init(tcp);
    lists_init(tcp);
    keys_init(tcp);
    dk_tcp_wheel_init(tcp, now);
    tcp->tx.protocol = DK_IP_TCP;
    tcp->tx.dont_fragment = true;
    tcp->tx.header = tcp->head + DK_IP_HEADROOM;
    tcp->tx.partial_checksum = config->device_caps & DK_NETDEV_TX_CHECKSUM;
    tcp->tx.frame.checksum_offset = DK_TCP_CHECKSUM_OFFSET;
    tcp->tx.patient = true;
    if (set_up(tcp) != 0) {
        dk_tcp_destroy(tcp);
        return -ENOMEM;
    }
    *tcp_out = tcp;
    return 0;
}

static void conns_fini(struct dk_tcp *tcp)
{
    struct dk_list *first;
    while ((first = dk_list_first(&tcp->all))) {
        struct dk_tcp_conn *c = dk_container_of(first, struct dk_tcp_conn, all_link);
        dk_tcp_conn_drop(c);
    }
}

void dk_tcp_destroy(struct dk_tcp *tcp)
{
    conns_fini(tcp);
    dk_tcp_listen_fini(tcp);
    dk_tcp_port_fini(tcp);
    dk_tcp_table_fini(&tcp->table);
    dk_tcp_time_wait_fini(tcp);
    dk_tcp_used_destroy(tcp->cookies_used);
    dk_tcp_sendq_let_go_slab(tcp);
    pools_fini(tcp);
    dk_heap_free(tcp);
}

struct dk_tcp *dk_net_tcp(const struct dk_net *net)
{
    return net->tcp;
}

const struct dk_tcp_stats *dk_tcp_stats(const struct dk_tcp *tcp)
{
    return &tcp->stats;
}

void dk_tcp_icmp_error(struct dk_net *net, const struct dk_icmp_error *e, int64_t now)
{
    dk_tcp_icmp(net->tcp, e, now);
}

int64_t dk_tcp_due_at(const struct dk_net *net)
{
    const struct dk_tcp *tcp = net->tcp;
    return tcp->wheel.idle_until < tcp->hold_due ? tcp->wheel.idle_until : tcp->hold_due;
}

int64_t dk_tcp_next_due(const struct dk_net *net)
{
    const struct dk_tcp *tcp = net->tcp;
    if (dk_tcp_events_any(tcp))
        return 0;
    int64_t timer = dk_wheel_next_due(&tcp->wheel);
    return timer < tcp->hold_due ? timer : tcp->hold_due;
}

void dk_tcp_tx_room(struct dk_net *net, int64_t now)
{
    dk_tcp_tx_pending(net->tcp, now);
}

static void resolved(struct dk_net *net, int64_t now)
{
    dk_tcp_tx_resolved(net->tcp, now);
}

void dk_tcp_forget_pairs(struct dk_net *net)
{
    struct dk_list *at;
    if (!net->tcp) /* nothing was learnt yet */
        return;
    dk_list_for_each (at, &net->tcp->all)
        dk_container_of(at, struct dk_tcp_conn, all_link)->pair4 = 0;
}

/* RFC 5227 section 2.4: peers are not left with half a connection. */
static void address_lost(struct dk_net *net, const struct dk_ip *ip, int64_t now)
{
    struct dk_list *at;
    dk_list_for_each (at, &net->tcp->all) {
        struct dk_tcp_conn *c = dk_container_of(at, struct dk_tcp_conn, all_link);
        if (!c->hashed || !dk_ip_equal(&c->local_ip, ip))
            continue;
        if (c->state >= DK_TCP_SYN_RECEIVED && c->state < DK_TCP_TIME_WAIT) {
            dk_tcp_send_reset(c, c->snd_nxt, now);
            DK_TCP_COUNT(c->tcp, aborts);
        }
        dk_tcp_conn_end(c, -EADDRNOTAVAIL);
    }
}

static int init(struct dk_net *net, int64_t now)
{
    struct dk_tcp_config config;
    if (net->config.tcp)
        config = *net->config.tcp;
    else
        dk_tcp_config_init(&config);
    memcpy(config.secret, net->config.secret, sizeof(config.secret));
    config.device_caps = net->config.device_caps;
    return dk_tcp_create(&net->tcp, net, &config, now);
}

static void fini(struct dk_net *net)
{
    dk_tcp_destroy(net->tcp);
    net->tcp = NULL;
}

static const char *const stat_names[] = {
#define STAT_NAME(field, name) name,
    DK_TCP_STATS(STAT_NAME)
#undef STAT_NAME
};

static const uint64_t *stats(const struct dk_net *net)
{
    return (const uint64_t *)&net->tcp->stats;
}

const struct dk_transport dk_tcp_transport = {
    .name = "tcp",
    .protocol = DK_IP_TCP,
    .versions = DK_TRANSPORT_IP4 | DK_TRANSPORT_IP6,
    .init = init,
    .fini = fini,
    .input = dk_tcp_input,
    .icmp_error = dk_tcp_icmp_error,
    .next_due = dk_tcp_next_due,
    .tx_room = dk_tcp_tx_room,
    .resolved = resolved,
    .address_lost = address_lost,
    .stats = stats,
    .stat_names = stat_names,
    .num_stats = sizeof(stat_names) / sizeof(stat_names[0]),
};
