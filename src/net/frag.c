/* SPDX-License-Identifier: MIT */
/*
 * Fragmentation of what we send (RFC 791, 8200 section 4.5).
 *
 * Fragments are made one at a time from the packet as it lies: each is a head of its own and slices
 * of the pieces. All but the last carry as many bytes as the path takes, in eights. Where the
 * device has no room the progress says how far it went; whoever has the packet goes on from there.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/siphash.h"
#include "net/ip_out.h"
#include "net/wire/ethernet.h"

uint32_t dk_frag_next_id(struct dk_net *net, const struct dk_ip_tx *tx)
{
    struct {
        struct dk_ip src, dst;
        uint64_t protocol;
    } input;
    memset(&input, 0, sizeof input);
    input.src = tx->src;
    input.dst = tx->dst;
    input.protocol = tx->protocol;
    const uint64_t hash = dk_siphash(net->config.secret, &input, sizeof input);
    return (uint32_t)hash + net->fragment_counters[(hash >> 32) % DK_NET_FRAGMENT_COUNTERS]++;
}

/* A transport checksum that the device was to finish: it cannot, over several frames. */
static void finish_checksum(const struct dk_ip_tx *tx, uint8_t *header)
{
    uint32_t sum = dk_checksum_add(0, header, tx->header_len);
    size_t offset = tx->header_len;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        sum = dk_checksum_add_at(sum, offset, tx->frame.pieces[i].data, tx->frame.pieces[i].len);
        offset += tx->frame.pieces[i].len;
    }
    uint16_t checksum = dk_checksum_finish(sum);
    if (checksum == 0 && tx->protocol == DK_IP_UDP)
        checksum = 0xffff;
    dk_put_be16(header + tx->frame.checksum_offset, checksum);
}

/* Puts bytes [from, from + len) of the payload into the frame, as slices of its pieces. */
static void slice(const struct dk_ip_tx *tx, uint32_t from, uint32_t len, struct dk_tx_frame *frame)
{
    frame->num_pieces = 0;
    for (uint32_t i = 0; i < tx->frame.num_pieces && len > 0; i++) {
        const struct dk_tx_piece *piece = &tx->frame.pieces[i];
        if (from >= piece->len) {
            from -= piece->len;
            continue;
        }
        const uint32_t take = len < piece->len - from ? len : piece->len - from;
        frame->pieces[frame->num_pieces++] =
            (struct dk_tx_piece){.data = piece->data + from, .len = take, .buf = piece->buf};
        from = 0;
        len -= take;
    }
}

static bool emit_one(struct dk_net *net, const struct dk_ip_tx *tx, const struct dk_mac *mac,
                     const struct dk_ip_fragment *fragment, uint32_t len)
{
    uint8_t storage[DK_TX_HEAD_MAX];
    uint8_t *header = storage + DK_IP_HEADROOM;
    struct dk_tx_frame frame;
    const uint32_t in_head = fragment->offset == 0 ? tx->header_len : 0;
    memcpy(header, tx->header, in_head);
    if (in_head != 0 && tx->partial_checksum)
        finish_checksum(tx, header);
    uint8_t *head = dk_ip_put_header(net, tx, header, len, fragment->id, false, fragment);
    frame.head = head;
    frame.head_len = (uint32_t)(header - head) + in_head;
    frame.checksum_start = frame.checksum_offset = frame.segment_bytes = 0;
    slice(tx, in_head != 0 ? 0 : fragment->offset - tx->header_len, len - in_head, &frame);
    const uint16_t type = tx->dst.version == 4 ? DK_ETHERTYPE_IP4 : DK_ETHERTYPE_IP6;
    return dk_link_send(net, &frame, mac, type);
}

int dk_frag_emit(struct dk_net *net, const struct dk_ip_tx *tx, uint32_t bytes, uint32_t mtu,
                 const struct dk_mac *mac, struct dk_ip_progress *progress)
{
    const uint32_t overhead = tx->dst.version == 4 ? 20 : 48;
    const uint32_t each = (mtu - overhead) & ~7u;
    if (each < tx->header_len)
        return -EMSGSIZE;
    if (progress->sent == 0)
        progress->id = dk_frag_next_id(net, tx);
    while (progress->sent < bytes) {
        const uint32_t left = bytes - progress->sent;
        const uint32_t len = left < each ? left : each;
        const struct dk_ip_fragment fragment = {
            .id = progress->id, .offset = progress->sent, .more = len < left};
        if (!emit_one(net, tx, mac, &fragment, len))
            return -EAGAIN;
        progress->sent += len;
        dk_net_count(&net->stats.frag_sent);
    }
    return 0;
}
