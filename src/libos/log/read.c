/* SPDX-License-Identifier: MIT */
/*
 * Reads: the records from a queue's position on, a few ahead, handed over in order.
 */
#include "libos/log/logs.h"
#include "mem/heap.h"

struct read {
    struct dk_log_read read;
    struct dk_list link; /* of lq->reads, or of logs->reads while it is free */
    struct dk_logs *logs;
    struct dk_logq *lq; /* NULL: nobody wants it */
    bool done;
    int result;
};

static struct read *get_read(struct dk_logs *logs)
{
    struct dk_list *l = dk_list_first(&logs->reads);
    if (dk_unlikely(!l))
        return dk_heap_malloc(sizeof(struct read)); /* freed by dk_logs_free_reads */
    dk_list_del(l);
    return dk_container_of(l, struct read, link);
}

static void put_read(struct read *r)
{
    dk_list_add_head(&r->logs->reads, &r->link);
}

void dk_logs_free_reads(struct dk_logs *logs)
{
    struct dk_list *l, *tmp;
    dk_list_for_each_safe (l, tmp, &logs->reads)
        dk_heap_free(dk_container_of(l, struct read, link));
}

static void drop_buffers(const struct read *r)
{
    for (uint32_t i = 0; i < r->read.num_segs; i++)
        if (r->read.bufs[i])
            dk_buf_put(r->read.bufs[i]);
}

static void read_done(struct dk_log_read *read, int result)
{
    struct read *r = dk_container_of(read, struct read, read);
    r->done = true;
    r->result = result;
    if (r->lq) {
        dk_logq_note(r->lq);
        return;
    }
    if (result == 0)
        drop_buffers(r);
    put_read(r);
}

/* Lets go of the last read that was issued. */
static void drop_last(struct dk_logq *lq)
{
    struct read *r = dk_container_of(lq->reads.prev, struct read, link);
    dk_list_del(&r->link);
    lq->num_reads--;
    r->lq = NULL;
    if (r->done)
        read_done(&r->read, r->result);
    else if (dk_log_read_cancel(lq->use->log, &r->read))
        put_read(r);
}

void dk_logq_drop_reads(struct dk_logq *lq)
{
    while (lq->num_reads)
        drop_last(lq);
}

static struct read *first_read(const struct dk_logq *lq)
{
    return lq->num_reads ? dk_container_of(lq->reads.next, struct read, link) : NULL;
}

/* Issues the read of the record behind those that are being read: 0 or a negative errno. */
static int read_one(struct dk_logq *lq)
{
    struct read *r = get_read(lq->logs);
    if (!r)
        return -ENOMEM;
    r->logs = lq->logs;
    r->lq = lq;
    r->done = false;
    r->read.record = lq->cursor + lq->num_reads;
    r->read.done = read_done;
    dk_list_add_tail(&lq->reads, &r->link);
    lq->num_reads++;
    int error = dk_log_read(lq->use->log, &r->read);
    if (error < 0) {
        dk_list_del(&r->link);
        lq->num_reads--;
        put_read(r);
    }
    return error;
}

/* Reads for who waits, and not beyond the end. */
static int read_ahead(struct dk_logq *lq, uint32_t wanted)
{
    struct dk_log_info info;
    dk_log_info(lq->use->log, &info);
    if (lq->num_reads == 0 && lq->cursor < info.first)
        lq->cursor = info.first; /* what it was to read next is trimmed */
    int r = 0;
    while (r == 0 && lq->num_reads < wanted && lq->num_reads < DK_LOGS_READS_MAX &&
           lq->cursor + lq->num_reads < info.end)
        r = read_one(lq);
    return r;
}

/* One buffer stands for the whole record; an empty segment points somewhere too. */
static int make_element(const struct read *r, demi_sgarray_t *sga_out)
{
    struct dk_buf *first = NULL, *last = NULL;
    for (uint32_t i = 0; i < r->read.num_segs; i++) {
        struct dk_buf *buf = r->read.bufs[i];
        if (buf && last)
            last->more = buf;
        first = first ? first : buf;
        last = buf ? buf : last;
    }
    if (!first && !(first = dk_buf_alloc(1, 0)))
        return -ENOMEM;
    memset(sga_out, 0, sizeof(*sga_out));
    sga_out->sga_numsegs = r->read.num_segs;
    for (uint32_t i = 0; i < r->read.num_segs; i++) {
        struct dk_buf *buf = r->read.bufs[i];
        sga_out->sga_segs[i].sgaseg_buf = buf ? buf->data : first->data;
        sga_out->sga_segs[i].sgaseg_len = buf ? (uint32_t)dk_buf_bytes(buf) : 0;
    }
    dk_sga_lend(sga_out, first);
    return 0;
}

/* Hands the first read over: its record counts as popped. */
static int hand_over(struct dk_logq *lq, struct read *r, demi_sgarray_t *sga_out)
{
    int result = r->result == 0 ? make_element(r, sga_out) : r->result;
    if (result == -ENOMEM)
        return result; /* it is there for the next one */
    dk_list_del(&r->link);
    lq->num_reads--;
    lq->cursor++;
    put_read(r);
    return result < 0 ? result : DK_TAKE_ELEMENT;
}

/* At the end: whether to wait for more. */
static bool awaits_more(const struct dk_logq *lq)
{
    return lq->follows || lq->use->appending != 0;
}

/* There is no read: at the end, or without memory for one. */
static int at_end(struct dk_logq *lq, int error)
{
    if (error < 0)
        return error;
    if (!awaits_more(lq))
        return DK_TAKE_END;
    if (dk_list_empty(&lq->waiting))
        dk_list_add_tail(&lq->use->waiting, &lq->waiting);
    return DK_TAKE_NONE;
}

int dk_logq_next(struct dk_logq *lq, uint32_t wanted, demi_sgarray_t *sga_out)
{
    while (!lq->use->changing) {
        int error = read_ahead(lq, wanted);
        struct read *r = first_read(lq);
        if (!r)
            return at_end(lq, error);
        if (!r->done)
            return DK_TAKE_NONE;
        if (r->result != -ENOENT)
            return hand_over(lq, r, sga_out);
        dk_logq_drop_reads(lq); /* it was trimmed meanwhile */
    }
    return DK_TAKE_NONE; /* what changes it has all queues looked at again */
}
