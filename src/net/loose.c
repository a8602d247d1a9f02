/* SPDX-License-Identifier: MIT */
/*
 * Copies of pieces that lie in no buffer (loose.h).
 */
#include "net/loose.h"

#include "mem/buf.h"

#include <string.h>

uint64_t dk_loose_bytes(const struct dk_ip_tx *tx)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++)
        bytes += tx->frame.pieces[i].buf ? 0 : tx->frame.pieces[i].len;
    return bytes;
}

struct dk_buf *dk_loose_copy(struct dk_ip_tx *tx, uint32_t bytes, uint32_t *pieces_out)
{
    uint32_t at = 0, num = 0;
    struct dk_buf *copy = dk_buf_alloc(bytes, 0);
    if (!copy)
        return NULL;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        struct dk_tx_piece *piece = &tx->frame.pieces[i];
        if (piece->buf)
            continue;
        memcpy(copy->data + at, piece->data, piece->len);
        piece->data = copy->data + at;
        piece->buf = copy;
        at += piece->len;
        num++;
    }
    *pieces_out = num;
    return copy;
}
