/* SPDX-License-Identifier: MIT */
/*
 * Datagrams that come in: whose they are; and errors about those that went out.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/icmp.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/udp_sock.h"
#include "net/wire/udp.h"

/* RFC 768: 0 is no checksum. RFC 8200 section 8.1: IPv6 has always one. */
static inline enum dk_wire check(const struct dk_ip_rx *rx, uint32_t len)
{
    if (dk_unlikely(dk_get_be16(rx->data + DK_UDP_CHECKSUM_OFFSET) == 0))
        return rx->src.version == 4 ? DK_WIRE_OK : DK_WIRE_UDP_NO_CHECKSUM;
    if (rx->checksum == DK_RX_CHECKSUM_GOOD)
        return DK_WIRE_OK;
    const uint64_t words = dk_likely(rx->src.version == 4)
                               ? dk_ip4_pseudo_words(&rx->src, &rx->dst, DK_IP_UDP, len)
                               : htobe32(dk_ip_pseudo_sum(&rx->src, &rx->dst, DK_IP_UDP, len));
    return dk_checksum_words_good(dk_checksum_words(words, rx->data, len)) ? DK_WIRE_OK
                                                                           : DK_WIRE_UDP_CHECKSUM;
}

/* Drops it where there is no room; the first one of a socket finds room always. */
static void enqueue(struct dk_net *net, struct dk_udp_sock *sock, const struct dk_ip_rx *rx,
                    uint32_t payload)
{
    struct dk_udp *udp = net->udp;
    const uint64_t held = dk_udp_held_with(sock, payload);
    bool full = !udp->free;
    if (dk_unlikely(held > dk_udp_may_hold(sock) / 2)) {
        udp->tell_now = true; /* before more comes */
        full |= held > dk_udp_may_hold(sock) && sock->num_waiting != 0;
    }
    if (dk_unlikely(full)) {
        dk_net_count(&udp->stats.queue_full);
        return;
    }
    struct dk_buf *view = dk_buf_keep(rx->buf, rx->data + DK_UDP_HEADER_LEN, payload);
    if (!view) {
        dk_net_count(&udp->stats.no_memory);
        return;
    }
    const struct dk_udp_datagram like = dk_udp_datagram_of(rx);
    dk_udp_count_received(udp, payload);
    dk_udp_put_behind(net, sock, &like, view, payload);
}

static struct dk_udp_sock *find_connected(struct dk_net *net, const struct dk_ip *local,
                                          uint16_t port, const struct dk_endpoint *remote)
{
    struct dk_list *link, *bucket;
    if (net->udp->num_connected == 0)
        return NULL;
    bucket = dk_udp_bucket(net, local, port, remote);
    dk_list_for_each (link, bucket) {
        struct dk_udp_sock *sock = dk_container_of(link, struct dk_udp_sock, connected);
        if (sock->local.port == port && sock->remote.port == remote->port &&
            dk_ip_equal(&sock->remote.ip, &remote->ip) && dk_ip_equal(&sock->local.ip, local))
            return sock;
    }
    return NULL;
}

#define FIT_EXACT 3

/* How well an address that a socket is bound to fits a destination: 0, not at all. */
static uint32_t fit(const struct dk_ip *bound, const struct dk_ip *dst)
{
    if (bound->version == 0)
        return 1;
    if (bound->version != dst->version)
        return 0;
    if (dk_ip_is_any(bound))
        return 2;
    return dk_ip_equal(bound, dst) ? FIT_EXACT : 0;
}

__attribute__((noinline)) static struct dk_udp_sock *
look_up_bound(struct dk_net *net, const struct dk_ip *dst, uint16_t port)
{
    struct dk_udp_sock *best = NULL;
    uint32_t best_fit = 0;
    struct dk_list *link, *bucket = &net->udp->bound[port % DK_UDP_BUCKETS];
    dk_list_for_each (link, bucket) {
        struct dk_udp_sock *sock = dk_container_of(link, struct dk_udp_sock, bound);
        if (sock->local.port != port || sock->remote.port != 0)
            continue;
        const uint32_t how = fit(&sock->local.ip, dst);
        if (how == FIT_EXACT)
            return sock;
        if (how > best_fit) {
            best = sock;
            best_fit = how;
        }
    }
    return best;
}

static inline struct dk_udp_sock *find_bound(struct dk_net *net, const struct dk_ip *dst,
                                             uint16_t port)
{
    struct dk_udp *udp = net->udp;
    if (dk_likely(udp->last && udp->last->local.port == port && dk_ip_equal(&udp->last_dst, dst)))
        return udp->last;
    udp->last = look_up_bound(net, dst, port);
    udp->last_dst = *dst;
    return udp->last;
}

static bool wants(const struct dk_udp_sock *sock, const struct dk_ip_rx *rx)
{
    if (sock->local.port != dk_get_be16(rx->data + 2) || fit(&sock->bound_ip, &rx->dst) == 0)
        return false;
    if (sock->remote.port != 0 &&
        (sock->remote.port != dk_get_be16(rx->data) || !dk_ip_equal(&sock->remote.ip, &rx->src)))
        return false;
    return !dk_ip_is_multicast(&rx->dst) || dk_udp_is_in(sock, &rx->dst);
}

/* To one more of several: of a copy, because what is received is the reader's to write to. */
static void enqueue_copy(struct dk_net *net, struct dk_udp_sock *sock, const struct dk_ip_rx *rx,
                         uint32_t len)
{
    struct dk_ip_rx copy = *rx;
    copy.buf = dk_buf_alloc(DK_UDP_HEADER_LEN + len, DK_BUF_PEER_BYTES);
    if (!copy.buf) {
        dk_net_count(&net->udp->stats.no_memory);
        return;
    }
    copy.data = copy.buf->data;
    memcpy(copy.data, rx->data, DK_UDP_HEADER_LEN + len);
    enqueue(net, sock, &copy, len);
    dk_net_count(&net->udp->stats.rx_copied);
    dk_buf_put(copy.buf);
}

/* RFC 1122 section 4.1.3.5: each that wants it gets it. */
static void deliver_to_all(struct dk_net *net, const struct dk_ip_rx *rx, uint32_t len)
{
    bool any = false;
    struct dk_list *link, *bucket = &net->udp->bound[dk_get_be16(rx->data + 2) % DK_UDP_BUCKETS];
    dk_list_for_each (link, bucket) {
        struct dk_udp_sock *sock = dk_container_of(link, struct dk_udp_sock, bound);
        if (!wants(sock, rx))
            continue;
        if (any)
            enqueue_copy(net, sock, rx, len);
        else
            enqueue(net, sock, rx, len);
        any = true;
    }
    if (!dk_others_pass(net, rx) && !any)
        dk_net_count(&net->udp->stats.nobody);
}

static inline struct dk_udp_sock *find(struct dk_net *net, const struct dk_ip_rx *rx)
{
    const uint16_t port = dk_get_be16(rx->data + 2);
    if (net->udp->num_connected != 0) {
        const struct dk_endpoint from = {.ip = rx->src, .port = dk_get_be16(rx->data)};
        struct dk_udp_sock *sock = find_connected(net, &rx->dst, port, &from);
        if (sock)
            return sock;
    }
    return find_bound(net, &rx->dst, port);
}

static inline void deliver(struct dk_net *net, const struct dk_ip_rx *rx, uint32_t len)
{
    struct dk_udp_sock *sock = find(net, rx);
    if (dk_likely(sock != NULL)) {
        if (net->udp_frame)
            dk_udp_flow_learn(net, rx, sock);
        enqueue(net, sock, rx, len);
        return;
    }
    if (dk_others_pass(net, rx))
        return;
    dk_net_count(&net->udp->stats.no_port);
    dk_icmp_port_unreachable(net, rx);
}

void dk_udp_input(struct dk_net *net, const struct dk_ip_rx *rx, int64_t now)
{
    struct dk_udp_header header;
    enum dk_wire reason = dk_udp_header_parse(rx->data, rx->len, &header);
    if (reason == DK_WIRE_OK)
        reason = check(rx, header.len);
    if (dk_unlikely(reason != DK_WIRE_OK)) {
        dk_net_drop(net, reason);
        return;
    }
    const uint32_t len = (uint32_t)header.len - DK_UDP_HEADER_LEN;
    if (!rx->to_host && (dk_ip_is_multicast(&rx->dst) || dk_ifaddr_is_broadcast(net, &rx->dst)))
        deliver_to_all(net, rx, len);
    else
        deliver(net, rx, len);
    if (dk_unlikely(net->udp->tell_now))
        dk_udp_advance(net, now);
}

static int errno_of(enum dk_icmp_error_kind kind)
{
    switch (kind) {
    case DK_ICMP_PORT_UNREACHABLE:
        return -ECONNREFUSED;
    case DK_ICMP_TOO_BIG:
        return -EMSGSIZE;
    case DK_ICMP_PARAMETER:
        return -EPROTO;
    default:
        return -EHOSTUNREACH;
    }
}

/* A datagram that is said not to fit must be longer than what is said to (RFC 8201 section 4). */
static void too_big(struct dk_net *net, const struct dk_icmp_error *error, int64_t now)
{
    const uint32_t header = error->local.version == 4 ? 20 : 40;
    if (dk_get_be16(error->quoted + 4) + header <= error->mtu)
        dk_net_count(&net->stats.pmtu_implausible);
    else
        dk_ip_set_path_mtu(net, &error->remote, error->mtu, now);
}

void dk_udp_icmp_error(struct dk_net *net, const struct dk_icmp_error *error, int64_t now)
{
    const uint16_t port = dk_get_be16(error->quoted);
    const struct dk_endpoint remote = {.ip = error->remote, .port = dk_get_be16(error->quoted + 2)};
    struct dk_udp_sock *sock = find_connected(net, &error->local, port, &remote);
    if (!sock && !find_bound(net, &error->local, port)) {
        dk_net_count(&net->udp->stats.icmp_unmatched);
        return;
    }
    if (error->kind == DK_ICMP_TOO_BIG)
        too_big(net, error, now);
    if (!sock || (error->kind == DK_ICMP_TOO_BIG && !sock->options[DK_UDP_DONT_FRAGMENT]))
        return;
    sock->error = errno_of(error->kind);
    dk_net_count(&net->udp->stats.icmp_errors);
    dk_udp_note(net, sock, DK_UDP_ERROR);
}
