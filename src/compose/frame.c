/* SPDX-License-Identifier: MIT */
/*
 * frame (frame.h): runs the framer over what the source yields, and cuts elements out of it.
 *
 * One received element is at work at a time, the input. Of its current segment, bytes up to `at`
 * were scanned, and those from `start` on belong to the current element:
 *
 *     pieces ...  |.. earlier elements ..|.. current element ..|.. not scanned ..|
 *                 segment                start                 at                end
 *
 * When the element ends in the segment that it began in, it is popped as one view, or as the input
 * itself when nothing is left behind it. Else each part becomes a piece when its segment is used up
 * (frame_pieces.h).
 *
 * No byte is scanned twice and none is let go before it is popped. So a failure for want of memory
 * leaves everything as it was for the next pop, and closing returns all to the source.
 *
 * What the framer says is checked here: it may be the application's, and it works on what a peer
 * sent.
 */
#include "compose/frame.h"

#include "compose/frame_pieces.h"
#include "compose/frame_push.h"
#include "compose/framer_sga.h"
#include "compose/operator.h"
#include "core/function.h"
#include "core/instance.h"
#include "mem/heap.h"

#include <errno.h>

/* How the stream goes on. */
enum fate {
    INTACT,
    BROKEN, /* nobody knows where the next element begins */
    CUT     /* it ended within an element, and a pop was told so */
};

/* What there is while bytes are at work; an idle frame has none of it. */
struct work {
    /* The input. */
    struct dk_buf *in; /* held; NULL: there is none, and the pointers are equal */
    uint8_t *start, *at, *end;
    uint32_t seg, num_segs;
    demi_sgaseg_t segs[DEMI_SGARRAY_MAXSIZE];
    struct sockaddr_in addr;
    bool shared; /* others may see its bytes */

    /* The current element. */
    bool ends; /* at `at`, or behind what is skipped */
    struct dk_frame_pieces pieces;
    struct demi_frame_state state;
};

struct frame {
    struct dk_operator op;
    struct work *work; /* NULL: nothing was received, and the framer keeps nothing */
    int (*scan)(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg);
    int (*head)(const demi_sgarray_t *sga, void *out, size_t *len, void *arg);
    void *arg;
    uint64_t elements; /* that ended, while there is no work */
    uint32_t limit;    /* bytes of an element */
    int16_t failed;    /* the pop that comes next fails with it: the shortest path cannot */
    uint8_t fate;
    bool hello_due; /* before the first element that is pushed */
};

static struct dk_instance_stats *stats_of(const struct frame *f)
{
    return f->op.taker.inst->stats;
}

/* Work at the beginning of an element, or NULL without memory. */
static struct work *begin_work(struct frame *f)
{
    struct work *w = dk_heap_zalloc(sizeof(*w));
    if (!w)
        return NULL;
    w->state.limit = f->limit;
    w->state.elements = f->elements;
    f->work = w;
    return w;
}

/* Nothing more was received: lets go of work that says nothing. */
static void rest(struct frame *f)
{
    const struct demi_frame_state *state;
    if (!f->work)
        return;
    state = &f->work->state;
    if (state->taken || state->skip || state->kept[0] || state->kept[1])
        return;
    f->elements = state->elements;
    dk_heap_free(f->work);
    f->work = NULL;
}

/* ---- the input ---------------------------------------------------------------------------- */

static void begin_segment(struct work *w, uint32_t seg)
{
    w->seg = seg;
    w->start = w->at = w->segs[seg].sgaseg_buf;
    w->end = w->start + w->segs[seg].sgaseg_len;
}

/* Has no memory to go on with: the source gets its element back, or else that is lost. */
static int refuse_input(struct frame *f, const demi_sgarray_t *sga)
{
    if (dk_queue_return(f->op.source, sga) < 0)
        f->fate = BROKEN;
    return -ENOMEM;
}

/* Takes over an element of the source: the application's hold on it becomes ours. 0 or -ENOMEM. */
static int begin_input(struct frame *f, const demi_sgarray_t *sga)
{
    struct work *w = dk_likely(f->work != NULL) ? f->work : begin_work(f);
    if (dk_unlikely(!w))
        return refuse_input(f, sga);
    struct dk_buf *buf = dk_buf_from_handle(sga->sga_buf);
    w->shared = !dk_buf_is_exclusive(buf);
    dk_buf_get(buf);
    dk_buf_app_put(sga->sga_buf);
    w->in = buf;
    w->num_segs = sga->sga_numsegs;
    memcpy(w->segs, sga->sga_segs, sga->sga_numsegs * sizeof(demi_sgaseg_t));
    w->addr = sga->sga_addr;
    begin_segment(w, 0);
    return 0;
}

/* Lets the input go; the hold on it is the caller's now. */
static struct dk_buf *end_input(struct work *w)
{
    struct dk_buf *buf = w->in;
    w->in = NULL;
    w->start = w->at = w->end = NULL;
    return buf;
}

/* What belongs to the element in the current segment becomes a piece. */
static int close_piece(struct frame *f)
{
    struct work *w = f->work;
    struct dk_frame_coming coming = {.bytes = w->state.skip, .more = !w->ends};
    if (w->start == w->at)
        return 0;
    int r = dk_frame_pieces_add(&w->pieces, w->in, w->start, (size_t)(w->at - w->start), w->shared,
                                coming, stats_of(f));
    if (r == 0)
        w->start = w->at;
    return r;
}

/* The current segment is used up: DK_TAKE_ELEMENT there is another, DK_TAKE_NONE, or -ENOMEM. */
static int next_segment(struct frame *f)
{
    struct work *w = f->work;
    int r = close_piece(f);
    if (r < 0 || !w->in)
        return r;
    if (w->seg + 1 < w->num_segs) {
        begin_segment(w, w->seg + 1);
        return DK_TAKE_ELEMENT;
    }
    dk_buf_put(end_input(w));
    return DK_TAKE_NONE;
}

/* ---- scanning ----------------------------------------------------------------------------- */

static void begin_element(struct work *w)
{
    struct demi_frame_state *state = &w->state;
    memset(state->words, 0, sizeof(state->words));
    state->taken = 0;
    state->strip = state->num_segs = 0;
    w->ends = false;
}

/* The element is announced to its end: whether its length and its segments can be. */
static int check_end(const struct demi_frame_state *state)
{
    uint64_t total = state->taken + state->skip, sum = 0;
    if (total == 0 || state->strip > total)
        return -EPROTO;
    if (total - state->strip > state->limit)
        return -EMSGSIZE;
    for (uint32_t i = 0; i < state->num_segs; i++)
        sum += state->seg_lens[i];
    return state->num_segs == 0 || sum == total - state->strip ? 0 : -EPROTO;
}

/* What a call of scan with so many bytes came to: 0 or a negative errno. `taken` counts them. */
static int check_scan(const struct demi_frame_state *state, int r, size_t len, size_t used)
{
    uint64_t most = state->limit + DEMI_FRAME_HEAD_MAX;
    if (r > 0)
        return -r;
    if (r < DEMI_FRAME_END || used > len || state->strip > DEMI_FRAME_HEAD_MAX ||
        state->num_segs > DEMI_SGARRAY_MAXSIZE)
        return -EPROTO;
    if (r == DEMI_FRAME_MORE && used == 0 && state->skip == 0)
        return -EPROTO;
    if (state->taken > most || state->skip > most - state->taken)
        return -EMSGSIZE;
    return r == DEMI_FRAME_END ? check_end(state) : 0;
}

/* Shows the framer what was not scanned: 0 or a negative errno. */
static int scan_rest(struct frame *f)
{
    struct work *w = f->work;
    size_t len = (size_t)(w->end - w->at), used = len;
    struct demi_frame_state *state = &w->state;
    uint64_t taken = state->taken;
    struct dk_function_scope scope = dk_function_enter();
    int r = f->scan(state, w->at, len, &used, f->arg);
    dk_function_leave(scope);
    state->limit = f->limit;
    state->taken = taken + (used <= len ? used : 0);
    int error = check_scan(state, r, len, used);
    if (dk_unlikely(error < 0)) {
        f->fate = BROKEN;
        return error;
    }
    w->at += used;
    w->ends = r == DEMI_FRAME_END;
    return 0;
}

static void skip(struct work *w)
{
    uint64_t here = (uint64_t)(w->end - w->at);
    uint64_t n = here < w->state.skip ? here : w->state.skip;
    w->at += n;
    w->state.taken += n;
    w->state.skip -= n;
}

/* Goes on to the end of the element: DK_TAKE_ELEMENT; DK_TAKE_NONE, the input was not enough; or a
 * negative errno. */
static int advance(struct frame *f)
{
    struct work *w = f->work;
    for (;;) {
        int r;
        if (w->state.skip)
            skip(w);
        if (w->ends && w->state.skip == 0)
            return DK_TAKE_ELEMENT;
        if (w->at < w->end)
            r = scan_rest(f);
        else if ((r = next_segment(f)) == DK_TAKE_NONE)
            return r;
        if (dk_unlikely(r < 0))
            return r;
    }
}

/* ---- popping ------------------------------------------------------------------------------ */

/* The element lies in one segment of the input. DK_TAKE_ELEMENT or -ENOMEM. */
static int deliver_one(struct work *w, demi_sgarray_t *sga_out)
{
    uint8_t *data = w->start + w->state.strip;
    uint32_t len = (uint32_t)(w->at - data);
    struct dk_buf *buf;
    if (w->at == w->end && w->seg + 1 == w->num_segs) {
        buf = end_input(w);
    } else {
        buf = dk_buf_view(w->in, data, len);
        if (!buf)
            return -ENOMEM;
        buf->shared = w->shared;
        w->start = w->at;
    }
    dk_sga_from_buf(sga_out, buf, len);
    sga_out->sga_segs[0].sgaseg_buf = data;
    dk_sga_lend(sga_out, buf);
    return DK_TAKE_ELEMENT;
}

static int deliver_pieces(struct frame *f, demi_sgarray_t *sga_out)
{
    struct dk_frame_pieces *pieces = &f->work->pieces;
    const struct demi_frame_state *state = &f->work->state;
    int r = close_piece(f);
    if (r == 0 && state->num_segs > 0)
        r = dk_frame_pieces_divide(pieces, state->strip, state->seg_lens, state->num_segs,
                                   stats_of(f));
    else if (r == 0)
        dk_frame_pieces_strip(pieces, state->strip);
    if (r < 0)
        return r;
    dk_frame_pieces_lend(pieces, sga_out);
    return DK_TAKE_ELEMENT;
}

static int deliver(struct frame *f, demi_sgarray_t *sga_out)
{
    struct work *w = f->work;
    bool one = w->pieces.count == 0 && w->state.num_segs <= 1;
    int r = one ? deliver_one(w, sga_out) : deliver_pieces(f, sga_out);
    if (r < 0)
        return r;
    sga_out->sga_addr = w->addr;
    w->state.elements++;
    begin_element(w);
    return r;
}

/* The next element of what was received, as dk_taker_take. */
static int next_of_input(struct frame *f, demi_sgarray_t *sga_out)
{
    if (!f->work || !f->work->in)
        return DK_TAKE_NONE;
    int r = advance(f);
    return r == DK_TAKE_ELEMENT ? deliver(f, sga_out) : r;
}

/* The source has no more: the end, unless that is within an element. */
static int end_stream(struct frame *f)
{
    if (!f->work || f->work->state.taken == 0)
        return DK_TAKE_END;
    f->fate = CUT;
    return -EPROTO;
}

/* As dk_operator_kind.next, while the stream is intact. */
static int receive(struct frame *f, demi_sgarray_t *sga_out)
{
    demi_sgarray_t sga;
    for (;;) {
        int r = next_of_input(f, sga_out);
        if (r != DK_TAKE_NONE)
            return r;
        r = dk_operator_take(&f->op, &sga);
        if (r == DK_TAKE_END)
            return end_stream(f);
        if (r != DK_TAKE_ELEMENT || (r = begin_input(f, &sga)) < 0)
            return r;
    }
}

static int next(struct frame *f, demi_sgarray_t *sga_out)
{
    int r = f->failed;
    f->failed = 0;
    if (dk_unlikely(r))
        return r;
    if (dk_unlikely(f->fate != INTACT))
        return f->fate == CUT ? DK_TAKE_END : -EPROTO;
    r = receive(f, sga_out);
    if (r == DK_TAKE_NONE)
        rest(f);
    return r;
}

static int frame_next(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    struct frame *f = (struct frame *)o;
    int r = next(f, sga_out);
    return r < 0 && f->fate == BROKEN ? dk_take_broken(r) : r;
}

static bool frame_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct frame *f = q->impl;
    demi_sgarray_t sga;
    if (dk_unlikely(!dk_operator_may_pop_now(&f->op) || f->fate != INTACT || f->failed))
        return false;
    for (;;) {
        int r = next_of_input(f, sga_out);
        if (dk_likely(r == DK_TAKE_ELEMENT))
            return true;
        if (r < 0 && f->fate == BROKEN)
            f->failed = (int16_t)r;
        if (r < 0 || !dk_operator_take_now(&f->op, &sga) || begin_input(f, &sga) < 0)
            return false;
    }
}

/* ---- pushing ------------------------------------------------------------------------------ */

/* Writes the header of an element: 0 or a negative errno. */
static int write_head(const struct frame *f, const demi_sgarray_t *sga, uint8_t *out, size_t *len)
{
    *len = DEMI_FRAME_HEAD_MAX;
    struct dk_function_scope scope = dk_function_enter();
    int r = f->head(sga, out, len, f->arg);
    dk_function_leave(scope);
    if (r == 0 && *len > DEMI_FRAME_HEAD_MAX)
        return -EPROTO;
    return r > 0 ? -r : r < 0 ? -EINVAL : 0;
}

static int say_hello(struct frame *f)
{
    uint8_t hello[DK_FRAMER_SGA_HELLO_BYTES];
    dk_framer_sga_hello(f->arg, hello);
    int r = dk_frame_push_bytes(&f->op, hello, sizeof(hello));
    f->hello_due = r < 0;
    return r;
}

static int frame_push(struct dk_operator *o, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct frame *f = (struct frame *)o;
    uint8_t header[DEMI_FRAME_HEAD_MAX];
    size_t len = 0;
    if (dk_sga_bytes(sga) > f->limit)
        return -EMSGSIZE;
    if (!f->head)
        return dk_operator_forward(o, op, sga);
    int r = write_head(f, sga, header, &len);
    if (r == 0 && f->hello_due)
        r = say_hello(f);
    return r < 0 ? r : dk_frame_push_headed(o, op, header, len, sga);
}

/* ---- life --------------------------------------------------------------------------------- */

static void return_view(struct frame *f, uint8_t *data, size_t len)
{
    demi_sgarray_t sga;
    struct dk_buf *view = len ? dk_buf_view(f->work->in, data, len) : NULL;
    if (!view)
        return;
    view->shared = f->work->shared;
    dk_sga_from_buf(&sga, view, (uint32_t)len);
    dk_sga_lend(&sga, view);
    dk_queue_return(f->op.source, &sga);
}

/* Returns an input of which nothing was popped as it came. */
static void return_input(struct frame *f)
{
    struct work *w = f->work;
    demi_sgarray_t sga = {.sga_numsegs = w->num_segs, .sga_addr = w->addr};
    memcpy(sga.sga_segs, w->segs, w->num_segs * sizeof(demi_sgaseg_t));
    dk_sga_lend(&sga, end_input(w));
    dk_queue_return(f->op.source, &sga);
}

/* Each goes to the head: the last bytes first. */
static void frame_give_back(struct dk_operator *o)
{
    struct frame *f = (struct frame *)o;
    struct work *w = f->work;
    if (!w)
        return;
    if (w->in && w->seg == 0 && w->start == w->segs[0].sgaseg_buf) {
        return_input(f);
    } else if (w->in) {
        for (uint32_t i = w->num_segs - 1; i > w->seg; i--)
            return_view(f, w->segs[i].sgaseg_buf, w->segs[i].sgaseg_len);
        return_view(f, w->start, (size_t)(w->end - w->start));
    }
    while (w->pieces.count > 0) {
        demi_sgarray_t sga;
        dk_frame_pieces_lend_last(&w->pieces, &sga);
        dk_queue_return(o->source, &sga);
    }
}

static void frame_free(struct dk_operator *o)
{
    struct work *w = ((struct frame *)o)->work;
    if (!w)
        return;
    dk_frame_pieces_drop(&w->pieces);
    if (w->in)
        dk_buf_put(end_input(w));
    dk_heap_free(w);
}

static const struct dk_operator_kind frame_kind = {
    .next = frame_next,
    .push = frame_push,
    .give_back = frame_give_back,
    .free = frame_free,
};

static const struct dk_queue_ops frame_ops = DK_OPERATOR_OPS(NULL, frame_pop_now);

int dk_frame_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                    const struct demi_framer *framer, void *arg, uint32_t max)
{
    struct frame *f = dk_heap_zalloc(sizeof(*f)); /* freed by operator.c */
    if (!f)
        return -ENOMEM;
    f->op.kind = &frame_kind;
    f->scan = framer->scan;
    f->head = framer->head;
    f->arg = arg;
    f->limit = max;
    f->hello_due = framer->scan == demi_framer_sga.scan;
    return dk_operator_create(&f->op, inst, &frame_ops, source, qd_out);
}
