/* SPDX-License-Identifier: MIT */
/*
 * Cutting TCP segments (offload.h), by what a NIC does with them: sequence number and length are
 * each segment's own, FIN and PSH the last one's, CWR the first one's (RFC 3168 section 6.1.2); all
 * else is the same.
 *
 * A frame that was begun is taken: when the device has no room in its middle, the segments that
 * are left are copied, as whole frames, and go before everything else. There is room for the rest
 * of one frame; until it is gone no other is taken.
 */
#include "drv/offload.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "drv/frame.h"
#include "drv/inner.h"
#include "drv/why.h"
#include "mem/heap.h"

#include <errno.h>

#define TYPE_AT     12u
#define TYPE_TAG    0x8100u
#define TYPE_IP4    0x0800u
#define SEQ_AT      4u /* in the TCP header, as the next ones */
#define FLAGS_AT    13u
#define FIN_PSH     0x09u
#define CWR         0x80u
#define REST_BYTES  (512u << 10) /* of frames that are left: with their headers, of the smallest */
#define REST_FRAMES 4096u

struct rest {
    uint32_t first, num;
    uint32_t used; /* bytes */
    uint32_t lens[REST_FRAMES];
    uint32_t at; /* of the first */
    uint8_t bytes[REST_BYTES];
};

struct offload {
    struct dk_netdev dev;
    struct rest rest;
};

/* A frame that is being cut. */
struct cut {
    const struct dk_tx_frame *frame;
    uint32_t ip_at, tcp_at;
    bool v4;
    uint32_t payload, done; /* bytes */
    uint32_t piece, skip;   /* where the next byte is */
    uint32_t seq;
};

static struct offload *offload_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct offload, dev);
}

static void begin(struct cut *cut, const struct dk_tx_frame *frame)
{
    const bool tagged = dk_get_be16(frame->head + TYPE_AT) == TYPE_TAG;
    const uint32_t type_at = TYPE_AT + (tagged ? DK_FRAME_TAG : 0);
    *cut = (struct cut){
        .frame = frame,
        .ip_at = type_at + 2,
        .tcp_at = frame->checksum_start,
        .v4 = dk_get_be16(frame->head + type_at) == TYPE_IP4,
        .payload = dk_tx_frame_bytes(frame) - frame->head_len,
        .seq = dk_get_be32(frame->head + frame->checksum_start + SEQ_AT),
    };
}

/* The next bytes of payload, as pieces. */
static void take_pieces(struct cut *cut, struct dk_tx_frame *segment, uint32_t bytes)
{
    segment->num_pieces = 0;
    while (bytes > 0) {
        const struct dk_tx_piece *piece = &cut->frame->pieces[cut->piece];
        const uint32_t left = piece->len - cut->skip, n = left < bytes ? left : bytes;
        segment->pieces[segment->num_pieces++] =
            (struct dk_tx_piece){piece->data + cut->skip, n, piece->buf};
        bytes -= n;
        cut->skip += n;
        if (cut->skip == piece->len) {
            cut->piece++;
            cut->skip = 0;
        }
    }
}

static void put_ip_length(const struct cut *cut, uint8_t *head, uint32_t bytes)
{
    uint8_t *ip = head + cut->ip_at;
    if (!cut->v4) {
        dk_put_be16(ip + 4, (uint16_t)bytes);
        return;
    }
    const uint32_t header = cut->tcp_at - cut->ip_at;
    dk_put_be16(ip + 2, (uint16_t)(header + bytes));
    dk_put_be16(ip + 10, 0);
    dk_put_be16(ip + 10, dk_checksum_finish(dk_checksum_add(0, ip, header)));
}

/* The field has the sum of the pseudo header with the length of the whole: that is taken out again.
 */
static void put_checksum(const struct cut *cut, const struct dk_tx_frame *segment, uint8_t *head,
                         uint32_t bytes)
{
    uint8_t *tcp = head + cut->tcp_at, *field = tcp + cut->frame->checksum_offset;
    const uint32_t header = cut->frame->head_len - cut->tcp_at;
    const uint16_t whole = (uint16_t)(header + cut->payload);
    uint32_t sum = (uint32_t)dk_get_be16(field) + (uint16_t)~whole + bytes;
    dk_put_be16(field, 0);
    size_t at = header;
    sum = dk_checksum_add(sum, tcp, header);
    for (uint32_t i = 0; i < segment->num_pieces; i++) {
        sum = dk_checksum_add_at(sum, at, segment->pieces[i].data, segment->pieces[i].len);
        at += segment->pieces[i].len;
    }
    dk_put_be16(field, dk_checksum_finish(sum));
}

/* Makes the next segment, whose headers are put to `head`. */
static void next_segment(struct cut *cut, struct dk_tx_frame *segment, uint8_t *head)
{
    const struct dk_tx_frame *frame = cut->frame;
    const uint32_t left = cut->payload - cut->done;
    const uint32_t bytes = left < frame->segment_bytes ? left : frame->segment_bytes;
    const uint32_t transport = frame->head_len - cut->tcp_at + bytes;
    uint8_t *tcp = head + cut->tcp_at;
    memcpy(head, frame->head, frame->head_len);
    segment->head = head;
    segment->head_len = frame->head_len;
    segment->checksum_start = segment->segment_bytes = 0;
    take_pieces(cut, segment, bytes);
    dk_put_be32(tcp + SEQ_AT, cut->seq + cut->done);
    if (bytes < left)
        tcp[FLAGS_AT] &= (uint8_t)~FIN_PSH;
    if (cut->done > 0)
        tcp[FLAGS_AT] &= (uint8_t)~CWR;
    put_ip_length(cut, head, transport);
    put_checksum(cut, segment, head, transport);
    cut->done += bytes;
}

static bool send_one(struct offload *o, const struct dk_tx_frame *frame, int64_t now)
{
    return o->dev.inner->ops->tx_burst(o->dev.inner, frame, 1, now) == 1;
}

static void keep(struct offload *o, const struct dk_tx_frame *segment)
{
    struct rest *rest = &o->rest;
    const uint32_t bytes = dk_tx_frame_bytes(segment);
    if (rest->num == REST_FRAMES || rest->used + bytes > REST_BYTES) {
        dk_frame_drop_tx(&o->dev, tx_no_memory);
        return;
    }
    dk_frame_gather(segment, rest->bytes + rest->used);
    if (o->dev.rooms)
        dk_tx_rooms_shut(o->dev.rooms, DK_TX_ROOMS_OFFLOAD);
    o->dev.rx = &o->dev; /* rx_burst sends it */
    rest->lens[rest->num++] = bytes;
    rest->used += bytes;
}

/* Sends what is left of a frame: false, some still is. */
static bool send_rest(struct offload *o, int64_t now)
{
    struct rest *rest = &o->rest;
    while (rest->first < rest->num) {
        const struct dk_tx_frame frame = {.head = rest->bytes + rest->at,
                                          .head_len = rest->lens[rest->first]};
        if (!send_one(o, &frame, now))
            return false;
        rest->at += rest->lens[rest->first++];
    }
    if (rest->num > 0 && o->dev.rooms)
        dk_tx_rooms_open(o->dev.rooms, DK_TX_ROOMS_OFFLOAD);
    rest->first = rest->num = rest->used = rest->at = 0;
    o->dev.rx = o->dev.inner;
    return true;
}

/* Cuts and sends a frame: false when there was no room for its first segment. */
static bool send_cut(struct offload *o, const struct dk_tx_frame *frame, int64_t now)
{
    struct cut cut;
    struct dk_tx_frame segment;
    uint8_t head[DK_TX_HEAD_MAX];
    bool room = true;
    begin(&cut, frame);
    while (cut.done < cut.payload) {
        const bool first = cut.done == 0;
        next_segment(&cut, &segment, head);
        room = room && send_one(o, &segment, now);
        if (!room && first)
            return false;
        if (!room)
            keep(o, &segment);
    }
    dk_count(&o->dev.stats->offload_cut, 1);
    return true;
}

static bool is_to_cut(const struct dk_tx_frame *frame)
{
    return frame->segment_bytes != 0 && frame->checksum_start != 0 &&
           frame->head_len <= DK_TX_HEAD_MAX;
}

static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    struct offload *o = offload_of(dev);
    uint32_t taken = 0;
    while (taken < n && send_rest(o, now)) {
        if (is_to_cut(&frames[taken])) {
            if (!send_cut(o, &frames[taken], now))
                break;
            taken++;
            continue;
        }
        uint32_t whole = 1;
        while (taken + whole < n && !is_to_cut(&frames[taken + whole]))
            whole++;
        const uint32_t sent = dev->inner->ops->tx_burst(dev->inner, frames + taken, whole, now);
        taken += sent;
        if (sent < whole)
            break;
    }
    return taken;
}

static enum dk_tx_put tx_put(struct dk_netdev *dev, const struct dk_tx_frame *frame)
{
    if (dk_unlikely(offload_of(dev)->rest.num > 0 || is_to_cut(frame)))
        return DK_TX_PUT_NOT;
    return dev->inner->ops->tx_put(dev->inner, frame);
}

static bool tx_flush(struct dk_netdev *dev, int64_t now)
{
    return dev->inner->ops->tx_flush(dev->inner, now);
}

/* The device said that it has room by being readable: what is left goes first. */
static uint32_t rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    struct offload *o = offload_of(dev);
    if (dk_unlikely(o->rest.num > 0))
        send_rest(o, now);
    return dev->inner->ops->rx_burst(dev->inner, frames_out, max, now);
}

static void close_offload(struct dk_netdev *dev)
{
    dev->inner->ops->close(dev->inner);
    dk_heap_free(offload_of(dev));
}

#define OPS                                                                                        \
    .name = "offload", .rx_burst = rx_burst, .tx_burst = tx_burst, .reclaim = dk_inner_reclaim,    \
    .arm = dk_inner_arm, .next_due = dk_inner_next_due, .link = dk_inner_link,                     \
    .close = close_offload, .abandon = dk_inner_abandon

static const struct dk_netdev_ops ops = {OPS};

/* Over a device to which frames are put. */
static const struct dk_netdev_ops put_ops = {OPS, .tx_put = tx_put, .tx_flush = tx_flush};

int dk_offload_open(struct dk_netdev **dev_out, struct dk_netdev *inner, const char **why_out)
{
    struct offload *o = dk_heap_zalloc(sizeof(*o)); /* freed by close */
    if (!o)
        return dk_why(why_out, -ENOMEM, "no memory to cut segments in");
    dk_inner_init(&o->dev, inner->ops->tx_put ? &put_ops : &ops, inner);
    o->dev.rx = inner;
    o->dev.rooms = inner->rooms;
    o->dev.tx = inner->ops->tx_flush ? inner : NULL;
    o->dev.caps.flags |= DK_NETDEV_TSO;
    *dev_out = &o->dev;
    return 0;
}
