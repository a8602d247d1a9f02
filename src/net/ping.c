/* SPDX-License-Identifier: MIT */
/*
 * Echo requests. The identifier is the place in the table of pings and a number that nobody outside
 * knows: an answer to something else is recognised.
 */
#include "net/ping.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/random.h"
#include "mem/heap.h"
#include "net/icmp.h"
#include "net/wire/icmp4.h"
#include "net/wire/icmp6.h"

struct dk_ping {
    struct dk_net *net;
    const struct dk_ping_ops *ops;
    void *arg;
    uint16_t id; /* the place: id % DK_PINGS_MAX */
};

int dk_ping_open(struct dk_net *net, const struct dk_ping_ops *ops, void *arg,
                 struct dk_ping **ping_out)
{
    uint32_t place = 0;
    while (place < DK_PINGS_MAX && net->icmp->pings[place])
        place++;
    if (place == DK_PINGS_MAX)
        return -EMFILE;
    struct dk_ping *ping = dk_heap_zalloc(sizeof *ping);
    if (!ping)
        return -ENOMEM;
    *ping = (struct dk_ping){.net = net, .ops = ops, .arg = arg};
    ping->id =
        (uint16_t)(dk_random_below(&net->random, 65536 / DK_PINGS_MAX) * DK_PINGS_MAX + place);
    net->icmp->pings[place] = ping;
    *ping_out = ping;
    return 0;
}

void dk_ping_close(struct dk_ping *ping)
{
    ping->net->icmp->pings[ping->id % DK_PINGS_MAX] = NULL;
    dk_heap_free(ping);
}

void dk_icmp_fini(struct dk_net *net)
{
    if (!net->icmp)
        return;
    for (uint32_t i = 0; i < DK_PINGS_MAX; i++) {
        if (net->icmp->pings[i])
            dk_heap_free(net->icmp->pings[i]);
    }
    dk_heap_free(net->icmp);
}

int dk_ping_send(struct dk_ping *ping, const struct dk_ip *to, uint16_t sequence,
                 const uint8_t *data, uint32_t len, int64_t now)
{
    uint8_t storage[DK_IP_HEADROOM + DK_ICMP4_HEADER_LEN];
    const bool v4 = to->version == 4;
    struct dk_ip_tx tx = {
        .dst = *to,
        .protocol = v4 ? DK_IP_ICMP : DK_IP_ICMPV6,
        .header = storage + DK_IP_HEADROOM,
        .header_len = DK_ICMP4_HEADER_LEN,
    };
    uint32_t mtu;
    ping->net->now = now;
    int error = dk_ip_route(ping->net, to, &tx.src, &mtu);
    if (error != 0)
        return error;
    struct dk_buf *buf = dk_buf_alloc(len ? len : 1, 0); /* the device may read it later */
    if (!buf)
        return -ENOBUFS;
    if (len > 0) {
        memcpy(buf->data, data, len);
        tx.frame.pieces[tx.frame.num_pieces++] =
            (struct dk_tx_piece){.data = buf->data, .len = len, .buf = buf};
    }
    uint8_t *header = tx.header;
    header[0] = v4 ? DK_ICMP4_ECHO_REQUEST : DK_ICMP6_ECHO_REQUEST;
    header[1] = 0;
    dk_put_be16(header + 2, 0);
    dk_put_be32(header + 4, dk_icmp_echo(ping->id, sequence));
    uint32_t sum = v4 ? 0 : dk_ip_pseudo_sum(&tx.src, to, tx.protocol, 8 + len);
    sum = dk_checksum_add(dk_checksum_add(sum, header, 8), data, len);
    dk_put_be16(header + 2, dk_checksum_finish(sum));
    error = dk_ip_send(ping->net, &tx, now);
    dk_buf_put(buf);
    return error;
}

static struct dk_ping *find(struct dk_net *net, uint16_t id)
{
    struct dk_ping *ping = net->icmp->pings[id % DK_PINGS_MAX];
    if (ping && ping->id == id)
        return ping;
    dk_net_count(&net->stats.icmp_unmatched);
    return NULL;
}

void dk_ping_reply(struct dk_net *net, const struct dk_ip_rx *rx, uint32_t rest,
                   const uint8_t *data, uint32_t len)
{
    const struct dk_ping *ping = find(net, dk_icmp_id(rest));
    if (ping)
        ping->ops->reply(ping->arg, &rx->src, dk_icmp_sequence(rest), rx->ttl, data, len);
}

void dk_ping_error(struct dk_net *net, const struct dk_icmp_error *error)
{
    const uint32_t rest = dk_get_be32(error->quoted + 4);
    const struct dk_ping *ping = find(net, dk_icmp_id(rest));
    if (!ping)
        return;
    int why = -EHOSTUNREACH;
    if (error->kind == DK_ICMP_TOO_BIG) {
        dk_ip_set_path_mtu(net, &error->remote, error->mtu, net->now);
        why = -EMSGSIZE;
    } else if (error->kind == DK_ICMP_PORT_UNREACHABLE) {
        why = -ECONNREFUSED;
    }
    ping->ops->error(ping->arg, &error->remote, dk_icmp_sequence(rest), why);
}
