/* SPDX-License-Identifier: MIT */
/*
 * Packets that wait. Nothing is copied but the header and pieces that lie in no buffer: the others
 * are held, until their memory is to be given back. The pool limits how many wait, and how many
 * bytes they keep from being let go.
 */
#include "net/waiting.h"

#include "mem/heap.h"
#include "net/loose.h"
#include "net/neigh.h"

struct dk_waiting_pool *dk_waiting_pool_create(uint32_t packets)
{
    struct dk_waiting_pool *pool =
        dk_heap_zalloc(sizeof *pool + packets * sizeof(struct dk_waiting));
    if (!pool)
        return NULL;
    dk_list_init(&pool->free);
    pool->num = packets;
    for (uint32_t i = 0; i < packets; i++)
        dk_list_add_tail(&pool->free, &pool->packets[i].link);
    return pool;
}

/* Copies the pieces without a buffer. false without memory. */
static bool copy_loose(struct dk_waiting *waiting)
{
    const uint32_t loose = (uint32_t)dk_loose_bytes(&waiting->tx);
    uint32_t pieces;
    waiting->copy = loose ? dk_loose_copy(&waiting->tx, loose, &pieces) : NULL;
    return !loose || waiting->copy;
}

struct dk_waiting *dk_waiting_get(struct dk_waiting_pool *pool, const struct dk_ip_tx *tx,
                                  uint32_t bytes, const struct dk_ip_progress *progress)
{
    struct dk_list *link = dk_list_first(&pool->free);
    if (!link || pool->bytes + bytes > DK_NEIGH_BYTES_MAX)
        return NULL;
    struct dk_waiting *waiting = dk_container_of(link, struct dk_waiting, link);
    waiting->tx = *tx;
    waiting->tx.kept = NULL;
    waiting->tx.header = waiting->storage + DK_IP_HEADROOM;
    memcpy(waiting->tx.header, tx->header, tx->header_len);
    waiting->bytes = bytes;
    waiting->progress = *progress;
    if (!copy_loose(waiting))
        return NULL;
    waiting->lent = false;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        struct dk_buf *buf = waiting->tx.frame.pieces[i].buf;
        if (buf)
            dk_buf_get(buf);
        waiting->lent |= buf && buf != waiting->copy;
    }
    pool->num_lent += waiting->lent;
    if (waiting->copy)
        dk_buf_put(waiting->copy); /* the pieces hold it */
    pool->bytes += bytes;
    pool->num_used++;
    dk_list_del(link);
    return waiting;
}

static void let_go(const struct dk_ip_tx *tx)
{
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        if (tx->frame.pieces[i].buf)
            dk_buf_put(tx->frame.pieces[i].buf);
    }
}

/* Gathers the pieces into one. Returns its bytes; 0: there is no memory. */
static uint32_t own(struct dk_waiting *waiting)
{
    struct dk_ip_tx *tx = &waiting->tx;
    const uint32_t bytes = waiting->bytes - tx->header_len;
    struct dk_buf *copy = dk_buf_alloc(bytes, 0);
    if (!copy)
        return 0;
    uint8_t *at = copy->data;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        memcpy(at, tx->frame.pieces[i].data, tx->frame.pieces[i].len);
        at += tx->frame.pieces[i].len;
    }
    let_go(tx);
    tx->frame.num_pieces = 1;
    tx->frame.pieces[0] = (struct dk_tx_piece){.data = copy->data, .len = bytes, .buf = copy};
    waiting->lent = false;
    return bytes;
}

bool dk_waiting_own(struct dk_waiting_pool *pool, uint64_t *copied_bytes)
{
    for (uint32_t i = 0; i < pool->num && pool->num_lent > 0; i++) {
        if (!pool->packets[i].lent)
            continue;
        const uint32_t bytes = own(&pool->packets[i]);
        if (bytes == 0)
            return false;
        pool->num_lent--;
        *copied_bytes += bytes;
    }
    return true;
}

void dk_waiting_put(struct dk_waiting_pool *pool, struct dk_waiting *waiting)
{
    let_go(&waiting->tx);
    pool->num_lent -= waiting->lent;
    waiting->lent = false;
    pool->bytes -= waiting->bytes;
    pool->num_used--;
    dk_list_add_head(&pool->free, &waiting->link);
}
