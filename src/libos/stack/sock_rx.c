/* SPDX-License-Identifier: MIT */
/*
 * Receiving: outstanding pops are served in order, when the stack says that there is data or in the
 * pop's own call.
 *
 * Data stays in the stack until a pop gets it, so a pop that is cancelled has taken nothing. What
 * is popped is a view of the frame that was received.
 */
#include "libos/stack/sock.h"

#include <errno.h>

static struct dk_op *first_pop(struct dk_stack_sock *s)
{
    return dk_container_of(s->pops.next, struct dk_op, link);
}

static inline void complete_pop(struct dk_stack_sock *s, int error, bool end)
{
    struct dk_op *op = first_pop(s);
    dk_list_del(&op->link);
    if (end)
        dk_sga_end(dk_op_sga(op));
    dk_op_complete(op, error);
}

void dk_stack_end_pops(struct dk_stack_sock *s, int error)
{
    while (!dk_list_empty(&s->pops))
        complete_pop(s, error, error == 0);
}

void dk_stack_make_element(struct dk_stack_sock *s, struct dk_buf *const bufs[], uint32_t n,
                           demi_sgarray_t *sga)
{
    size_t len = dk_buf_bytes(bufs[0]);
    dk_sga_from_buf(sga, bufs[0], (uint32_t)len);
    for (uint32_t i = 1; i < n; i++) { /* the first has the handle, the others go with it */
        size_t bytes = dk_buf_bytes(bufs[i]);
        bufs[i - 1]->more = bufs[i];
        sga->sga_segs[i] = (demi_sgaseg_t){bufs[i]->data, (uint32_t)bytes};
        len += bytes;
    }
    sga->sga_numsegs = n;
    dk_sga_lend(sga, bufs[0]);
    dk_stack_count_popped(s, len);
}

/* What there is, or how it ended. */
static inline int receive(struct dk_stack_sock *s, demi_sgarray_t *sga)
{
    if (dk_unlikely(s->eof))
        return DK_TAKE_END;
    return s->kind->receive(s, sga);
}

/* Whether neither data nor an end is there: what comes will be told of. */
static bool is_empty(const struct dk_stack_sock *s)
{
    return !s->eof && s->kind->is_empty(s);
}

/* Serves the first pop. Returns false when there is nothing for the next one. */
static inline bool serve_pop(struct dk_stack_sock *s)
{
    int r = receive(s, dk_op_sga(first_pop(s)));
    if (r == DK_TAKE_NONE)
        return false;
    complete_pop(s, r < 0 ? r : 0, r == DK_TAKE_END);
    return true;
}

void dk_stack_readable(struct dk_stack_sock *s)
{
    if (s->hungry) {
        s->hungry = false;
        dk_taker_wake(s->taker);
        return;
    }
    while (!dk_list_empty(&s->pops))
        if (!serve_pop(s))
            return;
    if (s->q)
        s->q->has_news = true;
}

int dk_stack_pop_now(struct dk_stack_sock *s)
{
    dk_stack_begin(s->st);
    serve_pop(s);
    return dk_stack_end_with(s->st, 0);
}

int dk_stack_claim(struct dk_queue *q, struct dk_taker *t)
{
    struct dk_stack_sock *s = q->impl;
    if (t && !dk_list_empty(&s->pops))
        return -EBUSY;
    s->hungry = false;
    s->taker = t;
    return 0;
}

int dk_stack_take(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct dk_stack_sock *s = q->impl;
    int r = s->kind->check_pop(s);
    if (r == 0 && is_empty(s)) {
        s->hungry = true;
        return DK_TAKE_NONE;
    }
    if (r == 0) {
        dk_stack_begin(s->st);
        r = receive(s, sga_out);
        s->hungry = r == DK_TAKE_NONE;
        dk_stack_end(s->st);
    }
    return r < 0 && r != -ENOMEM ? dk_take_broken(r) : r;
}

void dk_stack_rest(struct dk_queue *q)
{
    struct dk_stack_sock *s = q->impl;
    s->hungry = false;
}
