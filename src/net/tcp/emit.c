/* SPDX-License-Identifier: MIT */
/*
 * Every segment of a synchronized connection carries ACK, the window, and timestamps if they were
 * agreed on (RFC 7323 section 3.2). What goes out tells the peer rcv_nxt and the window, so it is
 * here that acknowledgements that were owed are paid.
 */
#include "net/tcp/emit.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/tcp/block.h"
#include "net/tcp/ecn.h"
#include "net/tcp/header.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/sendq.h"

/* The window of a SYN is never scaled (RFC 7323 section 2.2). */
static struct dk_tcp_window window_of(struct dk_tcp_conn *c, uint8_t flags, int64_t now)
{
    struct dk_tcp_window window = dk_tcp_window_tell(c, now);
    if (flags & DK_TCP_SYN) {
        window.field = (uint32_t)dk_tcp_min64(window.edge - c->rcv_nxt, DK_TCP_WINDOW_MAX);
        window.edge = dk_tcp_max64(c->rcv_adv, c->rcv_nxt + window.field);
    }
    return window;
}

static uint32_t syn_options(const struct dk_tcp_conn *c, const struct dk_tcp_out *out,
                            uint32_t window, uint8_t *bytes, int64_t now)
{
    const struct dk_tcp_config *config = &c->tcp->config;
    bool answer = out->flags & DK_TCP_ACK;
    uint32_t headers = c->local_ip.version == 4 ? 40 : 60;
    uint32_t mss = c->path_mtu - headers;
    if (c->option[DK_TCP_MAX_SEGMENT] > 0)
        mss = dk_tcp_min32(mss, (uint32_t)c->option[DK_TCP_MAX_SEGMENT]);
    struct dk_tcp_header h = {
        .src_port = c->local_port,
        .dst_port = c->remote_port,
        .seq = (uint32_t)out->seq,
        .ack = answer ? (uint32_t)c->rcv_nxt : 0,
        .flags = out->flags,
        .window = (uint16_t)window,
        .options = {.has = DK_TCP_HAS_MSS, .mss = (uint16_t)mss},
    };
    if (answer ? c->wscale_on : !config->no_window_scale) {
        h.options.has |= DK_TCP_HAS_WINDOW_SCALE;
        h.options.window_scale = c->rcv_wscale_offer;
    }
    if (answer ? c->sack_on : !config->no_sack)
        h.options.has |= DK_TCP_HAS_SACK_PERMITTED;
    if (answer ? c->ts_on : !config->no_timestamps) {
        h.options.has |= DK_TCP_HAS_TIMESTAMPS;
        h.options.ts_val = dk_tcp_ts_now(c, now);
        h.options.ts_ecr = answer ? c->ts_recent : 0;
    }
    return (uint32_t)dk_tcp_header_emit(&h, bytes);
}

static uint32_t plain_header(const struct dk_tcp_conn *c, const struct dk_tcp_out *out,
                             uint8_t flags, uint32_t window, uint8_t *bytes, int64_t now)
{
    if (dk_likely(c->ts_on)) {
        dk_tcp_put_usual(c, out->seq, flags, window, bytes, now, 0);
        return DK_TCP_USUAL_LEN;
    }
    dk_put_be16(bytes, c->local_port);
    dk_put_be16(bytes + 2, c->remote_port);
    dk_put_be32(bytes + 4, (uint32_t)out->seq);
    dk_put_be32(bytes + 8, (uint32_t)c->rcv_nxt);
    dk_put_be32(bytes + 12, DK_TCP_HEADER_LEN << 26 | (uint32_t)flags << 16 | window);
    dk_put_be32(bytes + 16, 0);
    return DK_TCP_HEADER_LEN;
}

/* Completes the checksum, or leaves it to the device with the sum of the pseudo header there. */
static void checksum(struct dk_ip_tx *tx, uint32_t pseudo, uint32_t payload)
{
    uint32_t sum = pseudo + tx->header_len + payload;
    if (tx->partial_checksum) {
        dk_put_be16(tx->header + DK_TCP_CHECKSUM_OFFSET, dk_checksum_fold(sum));
        return;
    }
    size_t at = tx->header_len;
    sum = dk_checksum_add(sum, tx->header, at);
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        sum = dk_checksum_add_at(sum, at, tx->frame.pieces[i].data, tx->frame.pieces[i].len);
        at += tx->frame.pieces[i].len;
    }
    dk_put_be16(tx->header + DK_TCP_CHECKSUM_OFFSET, dk_checksum_finish(sum));
}

/* Where they found no room an acknowledgement with them is due still, if one was. */
static void blocks_sent(struct dk_tcp_conn *c, uint32_t blocks_len, bool owed)
{
    if (blocks_len)
        dk_tcp_blocks_told(c);
    else
        c->ack_now = owed;
}

/* Gathers payload; returns the bytes, in *segment 0 where it is one segment after all. What is more
 * than there are pieces for is cut behind a whole segment. */
static uint32_t gather(const struct dk_tcp_out *out, struct dk_ip_tx *tx, uint32_t *segment)
{
    uint32_t payload = dk_tcp_sendq_gather(out->piece, out->seq, out->len, tx);
    if (dk_unlikely(payload < out->len && payload > out->segment && out->segment)) {
        const uint32_t whole = payload - payload % out->segment;
        payload = dk_tcp_sendq_gather(out->piece, out->seq, whole, tx);
    }
    *segment = payload > out->segment ? out->segment : 0;
    return payload;
}

/* Completes a packet and hands it to IP; the device cuts it, where segment is not 0. */
static int hand_on(struct dk_tcp_conn *c, uint32_t payload, uint32_t segment, int64_t now)
{
    struct dk_ip_tx *tx = &c->tcp->tx;
    const bool partial = tx->partial_checksum;
    tx->partial_checksum = partial || segment != 0;
    tx->frame.segment_bytes = (uint16_t)segment;
    checksum(tx, c->pseudo_sum, payload);
    const int err = dk_ip_send(c->tcp->net, tx, now);
    tx->partial_checksum = partial;
    tx->frame.segment_bytes = 0;
    return err;
}

/* What IP says of a segment: the errors that count as a loss are remembered. */
static int outcome(struct dk_tcp_conn *c, int err)
{
    c->unresolved = err == -EBUSY;
    if (err == -EAGAIN || err == -EMSGSIZE)
        return err;
    if (dk_unlikely(c->unresolved))
        return -EAGAIN;
    c->ip_err = (int16_t)err;
    if (dk_likely(err == 0))
        return 0;
    DK_TCP_COUNT(c->tcp, tx_failed);
    if (err != -ENOBUFS)
        c->soft_err = (int16_t)err;
    return 0;
}

int dk_tcp_emit(struct dk_tcp_conn *c, const struct dk_tcp_out *out, uint32_t *sent_out,
                int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    struct dk_ip_tx *tx = &tcp->tx;
    uint8_t flags = out->flags;
    const struct dk_tcp_window window = window_of(c, flags, now);
    uint32_t payload = 0, segment = 0;
    tx->frame.num_pieces = 0;
    if (out->len)
        payload = gather(out, tx, &segment);
    if (payload < out->len)
        flags &= (uint8_t) ~(DK_TCP_FIN | DK_TCP_PSH);
    dk_tcp_address(tcp, c);
    if (dk_unlikely(c->ecn)) {
        tx->tos = (uint8_t)((c->tos & ~DK_IP_ECN_MASK) | out->ecn);
        flags |= flags & (DK_TCP_SYN | DK_TCP_RST) ? 0 : c->ece;
    }
    tx->header_len = flags & DK_TCP_SYN
                         ? syn_options(c, out, window.field, tx->header, now)
                         : plain_header(c, out, flags, window.field, tx->header, now);
    bool blocks = dk_unlikely(dk_tcp_blocks_any(c)) && !(flags & (DK_TCP_SYN | DK_TCP_RST));
    uint32_t blocks_len =
        blocks ? dk_tcp_blocks_put(c, segment ? segment : payload, tx->header, tx->header_len) : 0;
    bool owed = c->ack_now;
    tx->header_len += blocks_len;
    int err = outcome(c, hand_on(c, payload, segment, now));
    if (err)
        return err;
    dk_count(&tcp->stats.tx_segments, segment ? (payload + segment - 1) / segment : 1);
    if (flags & DK_TCP_ACK)
        dk_tcp_ack_sent(c, window.edge);
    if (dk_unlikely(blocks))
        blocks_sent(c, blocks_len, owed);
    *sent_out = payload;
    return 0;
}

int dk_tcp_emit_bare(struct dk_tcp *tcp, const struct dk_ip_rx *to, struct dk_tcp_header *header,
                     int64_t now)
{
    struct dk_ip_tx *tx = &tcp->tx;
    tx->frame.num_pieces = 0;
    tx->patient = false; /* nobody would send it again */
    tx->src = to->dst;
    tx->dst = to->src;
    tx->ttl = tx->tos = 0;
    tcp->tx_conn = NULL;
    tx->header_len = (uint32_t)dk_tcp_header_emit(header, tx->header);
    checksum(tx, dk_ip_pseudo_sum(&tx->src, &tx->dst, DK_IP_TCP, 0), 0);
    int err = dk_ip_send(tcp->net, tx, now);
    tx->patient = true;
    if (err == 0)
        DK_TCP_COUNT(tcp, tx_segments);
    else if (err == -EAGAIN)
        DK_TCP_COUNT(tcp, tx_no_room);
    else
        DK_TCP_COUNT(tcp, tx_failed);
    return err;
}
