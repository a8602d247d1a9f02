/* SPDX-License-Identifier: MIT */
/*
 * What ICMP and ICMPv6 have in common: limits of what is sent, echo.
 *
 * Errors: 1,000 a second, 50 at once. Echo replies: 100,000 a second, 1,000 at once. The limits are
 * not per destination: a table of those would be one more thing to flood.
 */
#include "net/icmp.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/random.h"
#include "mem/heap.h"
#include "net/ip_kind.h"
#include "net/wire/icmp4.h"
#include "net/wire/icmp6.h"

int dk_icmp_init(struct dk_net *net, int64_t now)
{
    struct dk_icmp *icmp = dk_heap_zalloc(sizeof *icmp);
    if (!icmp)
        return -ENOMEM;
    icmp->errors = (struct dk_bucket){50, 50, DK_NS_PER_S / 1000, now};
    icmp->replies = (struct dk_bucket){1000, 1000, DK_NS_PER_S / 100000, now};
    net->icmp = icmp;
    return 0;
}

bool dk_bucket_take(struct dk_bucket *bucket, int64_t now)
{
    const int64_t new = (now - bucket->filled) / bucket->interval;
    if (new > 0) {
        const int64_t room = bucket->burst - bucket->tokens;
        bucket->tokens += (uint32_t)(new < room ? new : room);
        bucket->filled += new * bucket->interval;
    }
    if (bucket->tokens == 0)
        return false;
    bucket->tokens--;
    return true;
}

void dk_icmp_port_unreachable(struct dk_net *net, const struct dk_ip_rx *rx)
{
    const uint32_t len = (uint32_t)(rx->data + rx->len - rx->header);
    if (rx->dst.version == 4)
        dk_icmp4_error(net, rx->buf, rx->header, len, DK_ICMP4_UNREACHABLE,
                       DK_ICMP4_PORT_UNREACHABLE, 0);
    else
        dk_icmp6_error(net, rx->buf, rx->header, len, DK_ICMP6_UNREACHABLE,
                       DK_ICMP6_PORT_UNREACHABLE, 0);
}

/* The address to answer from: the one that was asked, or for a group the best one. */
static bool answer_from(struct dk_net *net, const struct dk_ip_rx *rx, struct dk_ip *src_out)
{
    uint32_t mtu;
    struct dk_ip src = {.version = 0};
    if (!dk_ip_is_multicast(&rx->dst)) {
        *src_out = rx->dst;
        return true;
    }
    if (dk_ip_route(net, &rx->src, &src, &mtu) != 0)
        return false;
    *src_out = src;
    return true;
}

/* The data goes back as it lies in the request. */
void dk_icmp_answer_echo(struct dk_net *net, const struct dk_ip_rx *rx, uint8_t type, int64_t now)
{
    uint8_t storage[DK_IP_HEADROOM + DK_ICMP4_HEADER_LEN];
    uint8_t *header = storage + DK_IP_HEADROOM;
    struct dk_ip_tx tx = {
        .dst = rx->src, .protocol = rx->protocol, .header = header, .header_len = 8};
    if (!dk_bucket_take(&net->icmp->replies, now)) {
        dk_net_count(&net->stats.icmp_echo_limited);
        return;
    }
    if (!answer_from(net, rx, &tx.src))
        return;
    memcpy(header, rx->data, 8);
    header[0] = type;
    dk_put_be16(header + 2, 0);
    uint32_t sum =
        rx->dst.version == 4 ? 0 : dk_ip_pseudo_sum(&tx.src, &tx.dst, tx.protocol, rx->len);
    sum = dk_checksum_add(sum, header, 8);
    sum = dk_checksum_add(sum, rx->data + 8, rx->len - 8);
    dk_put_be16(header + 2, dk_checksum_finish(sum));
    if (rx->len > 8) {
        tx.frame.num_pieces = 1;
        tx.frame.pieces[0] =
            (struct dk_tx_piece){.data = rx->data + 8, .len = rx->len - 8, .buf = rx->buf};
    }
    tx.tos = rx->tos & 0xfc;
    if (dk_ip_send(net, &tx, now) == 0)
        dk_net_count(&net->stats.icmp_echo_replies);
    else
        dk_net_count(&net->stats.icmp_not_sent);
}
