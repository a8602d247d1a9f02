/* SPDX-License-Identifier: MIT */
/*
 * Packets to ourselves: they never leave, and come in with the next dk_net_advance, so that sending
 * does not run the receiver inside the sender.
 *
 * Each is put together in a buffer of its own. A packet whose checksum, or segmentation, was left
 * to the device comes in as it is, with a checksum that is known to be good: nothing damaged it.
 */
#include "base/list.h"
#include "mem/heap.h"
#include "net/ip_in.h"
#include "net/ip_out.h"

#define PACKETS_MAX 256u /* that wait */

struct looped {
    struct dk_buf *buf;
    bool checksum_good;
};

struct dk_loop {
    uint32_t head, tail; /* of packets, counted on */
    bool refused;        /* somebody waits for room */
    struct looped packets[PACKETS_MAX];
};

int dk_loop_init(struct dk_net *net)
{
    net->loop = dk_heap_zalloc(sizeof *net->loop);
    return net->loop ? 0 : -ENOMEM;
}

void dk_loop_fini(struct dk_net *net)
{
    struct dk_loop *loop = net->loop;
    if (!loop)
        return;
    while (loop->head != loop->tail)
        dk_buf_put(loop->packets[loop->head++ % PACKETS_MAX].buf);
    dk_heap_free(loop);
}

static void gather(const struct dk_ip_tx *tx, uint8_t *at)
{
    memcpy(at, tx->header, tx->header_len);
    at += tx->header_len;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        memcpy(at, tx->frame.pieces[i].data, tx->frame.pieces[i].len);
        at += tx->frame.pieces[i].len;
    }
}

int dk_loop_send(struct dk_net *net, const struct dk_ip_tx *tx)
{
    struct dk_loop *loop = net->loop;
    const uint32_t bytes = dk_ip_tx_bytes(tx);
    const uint32_t header = dk_ip_header_bytes(tx->dst.version);
    if (bytes > (tx->dst.version == 4 ? 65535 - header : 65535))
        return -EMSGSIZE;
    if (loop->tail - loop->head == PACKETS_MAX) {
        loop->refused = true;
        return -EAGAIN;
    }
    struct dk_buf *buf = dk_buf_alloc(header + bytes, DK_BUF_PEER_BYTES);
    if (!buf)
        return -ENOBUFS;
    dk_ip_put_header(net, tx, buf->data + header, bytes, 0, true, NULL);
    gather(tx, buf->data + header);
    loop->packets[loop->tail++ % PACKETS_MAX] =
        (struct looped){.buf = buf, .checksum_good = tx->partial_checksum};
    net->due.what |= DK_NET_DUE_LOOP;
    dk_net_count(&net->stats.loop_packets);
    return 0;
}

void dk_loop_advance(struct dk_net *net, int64_t now)
{
    struct dk_loop *loop = net->loop;
    const uint32_t end = loop->tail; /* what these cause comes next time */
    while (loop->head != end) {
        const struct looped looped = loop->packets[loop->head++ % PACKETS_MAX];
        const struct dk_net_rx rx = {
            .buf = looped.buf,
            .data = looped.buf->data,
            .len = (uint32_t)dk_buf_bytes(looped.buf),
            .checksum = looped.checksum_good ? DK_RX_CHECKSUM_GOOD : DK_RX_CHECKSUM_UNKNOWN,
            .looped = true,
        };
        dk_ip_input(net, &rx, now);
        dk_buf_put(looped.buf);
    }
    if (loop->head == loop->tail)
        net->due.what &= ~DK_NET_DUE_LOOP;
    if (loop->refused && loop->tail - loop->head < PACKETS_MAX) {
        loop->refused = false;
        net->due.what |= DK_NET_DUE_TX_ROOM;
    }
}
