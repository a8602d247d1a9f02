/* SPDX-License-Identifier: MIT */
/* Packets that wait for a neighbour, or for the device: a pool of them. Private to src/net. */
#ifndef DK_NET_WAITING_H
#define DK_NET_WAITING_H

#include "base/list.h"
#include "net/ip_out.h"

struct dk_waiting {
    struct dk_list link;
    struct dk_ip_tx tx; /* its header is in storage; it holds the buffers of its pieces */
    uint32_t bytes;
    struct dk_ip_progress progress;
    struct dk_buf *copy; /* of pieces that had no buffer, or NULL */
    bool lent;           /* pieces lie in memory that others may see */
    uint8_t storage[DK_TX_HEAD_MAX];
};

struct dk_waiting_pool {
    struct dk_list free;
    uint64_t bytes; /* that those in use hold */
    uint32_t num, num_used, num_lent;
    struct dk_waiting packets[];
};

struct dk_waiting_pool *dk_waiting_pool_create(uint32_t packets);

/* Makes what is needed to send the packet later. NULL: too many wait, or too many bytes. */
struct dk_waiting *dk_waiting_get(struct dk_waiting_pool *pool, const struct dk_ip_tx *tx,
                                  uint32_t bytes, const struct dk_ip_progress *progress);

/* Moves what is lent to memory of ours, and counts the bytes. false: some stays where it is, for
 * want of memory. */
bool dk_waiting_own(struct dk_waiting_pool *pool, uint64_t *copied_bytes);

void dk_waiting_put(struct dk_waiting_pool *pool, struct dk_waiting *waiting);

#endif /* DK_NET_WAITING_H */
