/* SPDX-License-Identifier: MIT */
/*
 * What goes between the stack and a device: frames received, and frames to send.
 *
 * Received: one piece of contiguous bytes inside a buffer that the device filled. Whoever wants to
 * keep bytes beyond the call does so with dk_buf_keep (mem/buf.h): nothing is copied, and the one
 * who keeps bytes of a frame gets its buffer.
 *
 * To send: the headers, which the stack wrote, and pieces of payload where they lie. All of it
 * stays as it is until the call returns. A device that reads later takes a hold on each piece's
 * buffer, and copies the head (dk_netdev_ops.tx_burst).
 */
#ifndef DK_NET_PACKET_H
#define DK_NET_PACKET_H

#include "mem/buf.h"

#include <string.h>

#define DK_TX_PIECES_MAX 16
#define DK_TX_HEAD_MAX   256 /* link, network and transport headers with all options */

/* What a device knows of the transport checksum of a frame that it received. */
enum dk_rx_checksum {
    DK_RX_CHECKSUM_UNKNOWN, /* to be checked */
    DK_RX_CHECKSUM_GOOD,    /* checked by the device, or never on a wire */
};

struct dk_rx_frame {
    struct dk_buf *buf; /* the device's hold: the receiver takes its own where it keeps bytes;
                           DK_BUF_PEER_BYTES behind its end are free for the sender's address */
    uint8_t *data;      /* the Ethernet header */
    uint32_t len;       /* without frame check sequence */
    uint8_t checksum;   /* enum dk_rx_checksum */
    bool gives;         /* whoever keeps the buffer may have that hold, too, and says false then;
                           set by who calls dk_net_input */
};

struct dk_tx_piece {
    const uint8_t *data;
    uint32_t len;
    struct dk_buf *buf; /* what data lies in, or NULL: in the head's storage, or for ever */
};

struct dk_tx_frame {
    const uint8_t *head;
    uint32_t head_len;
    uint32_t num_pieces;
    /*
     * Offloads, used only as far as the device's caps have them. The transport checksum is to be
     * written at checksum_start + checksum_offset over everything from checksum_start on; the sum
     * of the pseudo header is there already. 0: it is whole.
     */
    uint16_t checksum_start;
    uint16_t checksum_offset;
    uint16_t segment_bytes; /* TSO: payload per segment, 0: one segment */
    struct dk_tx_piece pieces[DK_TX_PIECES_MAX];
};

static inline uint32_t dk_tx_frame_bytes(const struct dk_tx_frame *f)
{
    uint32_t bytes = f->head_len;
    for (uint32_t i = 0; i < f->num_pieces; i++)
        bytes += f->pieces[i].len;
    return bytes;
}

/* Heads and short payloads are of these lengths: two or three copies of known length, which may
 * overlap, are less than the call. */
static inline bool dk_frame_is_easy(uint32_t len)
{
    return len - 32 <= 64;
}

/* Copies so many bytes of a frame; returns where they end. */
static inline uint8_t *dk_frame_copy_easy(uint8_t *to, const uint8_t *from, uint32_t len)
{
    memcpy(to, from, 32);
    if (len > 64)
        memcpy(to + 32, from + 32, 32);
    memcpy(to + len - 32, from + len - 32, 32);
    return to + len;
}

/* Copies any bytes of a frame; returns where they end. */
static inline uint8_t *dk_frame_copy(uint8_t *to, const uint8_t *from, uint32_t len)
{
    if (dk_frame_is_easy(len))
        return dk_frame_copy_easy(to, from, len);
    memcpy(to, from, len);
    return to + len;
}

#endif /* DK_NET_PACKET_H */
