/* SPDX-License-Identifier: MIT */
/*
 * Packets that wait. Nothing is copied but the header and pieces that lie in no buffer: the others
 * are held. The pool limits how many wait, and how many bytes they keep from being let go.
 */
#include "net/waiting.h"

#include "mem/heap.h"
#include "net/neigh.h"

struct dk_waiting_pool *dk_waiting_pool_create(uint32_t packets)
{
    struct dk_waiting_pool *pool =
        dk_heap_zalloc(sizeof *pool + packets * sizeof(struct dk_waiting));
    if (!pool)
        return NULL;
    dk_list_init(&pool->free);
    for (uint32_t i = 0; i < packets; i++)
        dk_list_add_tail(&pool->free, &pool->packets[i].link);
    return pool;
}

/* Copies the pieces without a buffer into one. false without memory. */
static bool copy_loose(struct dk_waiting *waiting)
{
    struct dk_ip_tx *tx = &waiting->tx;
    uint32_t loose = 0, at = 0;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++)
        loose += tx->frame.pieces[i].buf ? 0 : tx->frame.pieces[i].len;
    waiting->copy = NULL;
    if (loose == 0)
        return true;
    waiting->copy = dk_buf_alloc(loose, 0);
    if (!waiting->copy)
        return false;
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        struct dk_tx_piece *piece = &tx->frame.pieces[i];
        if (piece->buf)
            continue;
        memcpy(waiting->copy->data + at, piece->data, piece->len);
        piece->data = waiting->copy->data + at;
        piece->buf = waiting->copy;
        at += piece->len;
    }
    return true;
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
    for (uint32_t i = 0; i < tx->frame.num_pieces; i++) {
        if (waiting->tx.frame.pieces[i].buf)
            dk_buf_get(waiting->tx.frame.pieces[i].buf);
    }
    if (waiting->copy)
        dk_buf_put(waiting->copy); /* the pieces hold it */
    pool->bytes += bytes;
    dk_list_del(link);
    return waiting;
}

void dk_waiting_put(struct dk_waiting_pool *pool, struct dk_waiting *waiting)
{
    for (uint32_t i = 0; i < waiting->tx.frame.num_pieces; i++) {
        if (waiting->tx.frame.pieces[i].buf)
            dk_buf_put(waiting->tx.frame.pieces[i].buf);
    }
    pool->bytes -= waiting->bytes;
    dk_list_add_head(&pool->free, &waiting->link);
}
