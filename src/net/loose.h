/* SPDX-License-Identifier: MIT */
/*
 * Pieces of a packet that lie in no buffer: nobody can hold them, so what is to be read of them
 * later is copied. Private to src/net.
 */
#ifndef DK_NET_LOOSE_H
#define DK_NET_LOOSE_H

#include "net/ip.h"

/* Bytes of a packet in such pieces. */
uint64_t dk_loose_bytes(const struct dk_ip_tx *tx);

/* Copies them, all `bytes` of them, into one buffer, which they lie in then; returns it, with one
 * hold, and how many pieces it were; NULL: no memory, and nothing happened. */
struct dk_buf *dk_loose_copy(struct dk_ip_tx *tx, uint32_t bytes, uint32_t *pieces_out);

#endif /* DK_NET_LOOSE_H */
