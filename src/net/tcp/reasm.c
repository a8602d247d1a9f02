/* SPDX-License-Identifier: MIT */
/*
 * Limits: ranges of one connection and of all; the bytes lie within the window, so they are bounded
 * by the receive buffer. A connection has a record for it only while something is out of order.
 */
#include "net/tcp/reasm.h"

#include "net/tcp/block.h"
#include "net/tcp/rcvq.h"
#include "net/tcp/tune.h"

static void range_free(struct dk_tcp_conn *c, struct dk_tcp_range *r)
{
    dk_tcp_pool_put(&c->tcp->ranges, r);
    c->reasm->num_ranges--;
}

struct dk_tcp_reasm *dk_tcp_reasm_need(struct dk_tcp_conn *c)
{
    if (c->reasm)
        return c->reasm;
    c->reasm = dk_tcp_pool_get(&c->tcp->reasms);
    if (!c->reasm)
        return NULL;
    memset(c->reasm, 0, sizeof(*c->reasm));
    c->gap = true;
    return c->reasm;
}

void dk_tcp_reasm_tidy(struct dk_tcp_conn *c)
{
    const struct dk_tcp_reasm *a = c->reasm;
    if (!a || a->ranges || a->num_blocks || a->has_dsack)
        return;
    dk_tcp_pool_put(&c->tcp->reasms, c->reasm);
    c->reasm = NULL;
    c->gap = c->rcv_fin != DK_TCP_NONE;
}

/* A buffer of [seq, end) of a segment. What comes in several parts is in views only: the buffer
 * itself would be in one chain with views that hold it, and go with that chain. */
static struct dk_buf *keep(const struct dk_tcp_rx *rx, uint64_t seq, uint64_t end)
{
    const bool whole = seq == rx->seq && end == rx->seq + rx->len;
    uint8_t *data = rx->data + (seq - rx->seq);
    return (whole ? dk_buf_keep : dk_buf_view)(rx->ip->buf, data, end - seq);
}

/* Beyond conn_reasm_max as many as whole segments fit in what the buffer has grown by. */
static bool may_have_more(const struct dk_tcp_conn *c)
{
    const uint64_t more = c->reasm->num_ranges - c->tcp->config.conn_reasm_max;
    return (more + 1) * c->rcv_mss <= dk_tcp_tune_grown(c);
}

/* Puts [seq, end) of a segment where *at points to. Returns false when there is no room. */
static bool add(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx, struct dk_tcp_range **at,
                uint64_t seq, uint64_t end)
{
    if (c->reasm->num_ranges >= c->tcp->config.conn_reasm_max && !may_have_more(c))
        goto full;
    struct dk_tcp_range *r = dk_tcp_pool_get(&c->tcp->ranges);
    if (!r)
        goto full;
    struct dk_buf *view = keep(rx, seq, end);
    if (!view) {
        dk_tcp_pool_put(&c->tcp->ranges, r);
        goto full;
    }
    *r = (struct dk_tcp_range){.next = *at, .seq = seq, .end = end, .buf = view};
    *at = r;
    if (!r->next)
        c->reasm->ranges_tail = r;
    c->reasm->num_ranges++;
    return true;
full:
    DK_TCP_COUNT(c->tcp, drop_reasm_full);
    return false;
}

void dk_tcp_reasm_insert(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    uint64_t seq = rx->seq, end = rx->seq + rx->len;
    struct dk_tcp_reasm *a = dk_tcp_reasm_need(c);
    DK_TCP_COUNT(c->tcp, out_of_order);
    if (!a) {
        DK_TCP_COUNT(c->tcp, drop_reasm_full);
        return;
    }
    struct dk_tcp_range **at = &a->ranges;
    if (a->ranges && seq >= a->ranges_tail->end) /* most come in order behind one hole */
        at = &a->ranges_tail->next;
    while (seq < end) {
        while (*at && (*at)->end <= seq)
            at = &(*at)->next;
        uint64_t part_end;
        if (*at && (*at)->seq <= seq) { /* its beginning is there */
            part_end = dk_tcp_min64(end, (*at)->end);
            dk_tcp_blocks_twice(c, seq, part_end);
        } else {
            part_end = *at ? dk_tcp_min64(end, (*at)->seq) : end;
            if (!add(c, rx, at, seq, part_end))
                break;
        }
        dk_tcp_blocks_add(c, seq, part_end);
        seq = part_end;
    }
    dk_tcp_reasm_tidy(c);
}

void dk_tcp_reasm_drain(struct dk_tcp_conn *c)
{
    struct dk_tcp_reasm *a = c->reasm;
    struct dk_tcp_range *r;
    while ((r = a->ranges) && r->seq <= c->rcv_nxt) {
        a->ranges = r->next;
        dk_tcp_blocks_twice(c, r->seq, dk_tcp_min64(r->end, c->rcv_nxt));
        if (r->end > c->rcv_nxt) {
            r->buf->data += c->rcv_nxt - r->seq;
            dk_count(&c->tcp->stats.rx_bytes, r->end - c->rcv_nxt);
            c->rcv_nxt = r->end;
            dk_tcp_rcvq_append(c, r->buf, (uint32_t)dk_buf_bytes(r->buf));
        } else {
            dk_buf_put(r->buf);
        }
        range_free(c, r);
    }
    dk_tcp_blocks_advance(c);
}

uint64_t dk_tcp_reasm_end(const struct dk_tcp_conn *c)
{
    return c->reasm && c->reasm->ranges ? c->reasm->ranges_tail->end : c->rcv_nxt;
}

void dk_tcp_reasm_clear(struct dk_tcp_conn *c)
{
    struct dk_tcp_range *r;
    if (!c->reasm)
        return;
    while ((r = c->reasm->ranges)) {
        c->reasm->ranges = r->next;
        dk_buf_put(r->buf);
        range_free(c, r);
    }
    c->reasm->num_blocks = 0;
    c->reasm->has_dsack = false;
    dk_tcp_reasm_tidy(c);
}
