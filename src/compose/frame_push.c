/* SPDX-License-Identifier: MIT */
/*
 * Pushing with a header (frame_push.h).
 *
 * The header stands in memory of the caller's stack, which is not the heap's: a source that keeps
 * the push beyond its call copies it, and takes references to the element itself.
 */
#include "compose/frame_push.h"

#include "core/instance.h"

#include <errno.h>

#define MAX_SEGS (DEMI_SGARRAY_MAXSIZE + 1) /* of the element, and the header */

/* Number of the segment that is cheapest to copy together with the one behind it. The header comes
 * first: it must be copied anyway. */
static uint32_t cheapest_pair(const demi_sgaseg_t segs[], uint32_t n)
{
    uint32_t best = 0;
    uint64_t best_bytes = segs[1].sgaseg_len;
    for (uint32_t i = 1; i + 1 < n; i++) {
        uint64_t bytes = (uint64_t)segs[i].sgaseg_len + segs[i + 1].sgaseg_len;
        if (bytes < best_bytes) {
            best = i;
            best_bytes = bytes;
        }
    }
    return best;
}

/* Makes one segment of two, in new memory: there are no more than an sga may have. */
static int merge_pair(demi_sgaseg_t segs[], uint32_t *n, struct dk_buf **merged_out,
                      struct dk_instance_stats *stats)
{
    uint32_t first = cheapest_pair(segs, *n);
    demi_sgaseg_t a = segs[first], b = segs[first + 1];
    struct dk_buf *buf = dk_buf_alloc((size_t)a.sgaseg_len + b.sgaseg_len, 0);
    if (!buf)
        return -ENOMEM;
    memcpy(buf->data, a.sgaseg_buf, a.sgaseg_len);
    memcpy(buf->data + a.sgaseg_len, b.sgaseg_buf, b.sgaseg_len);
    dk_count(&stats->frame_gathers, 1);
    dk_count(&stats->frame_copied_bytes, (uint64_t)a.sgaseg_len + b.sgaseg_len);
    segs[first] = (demi_sgaseg_t){buf->data, a.sgaseg_len + b.sgaseg_len};
    --*n;
    memmove(&segs[first + 1], &segs[first + 2], (*n - first - 1) * sizeof(*segs));
    *merged_out = buf;
    return 0;
}

/* Puts the header before an element. *merged_out: memory that was needed for that, or NULL. */
static int wrap(demi_sgarray_t *to, uint8_t *header, size_t len, const demi_sgarray_t *sga,
                struct dk_buf **merged_out, struct dk_instance_stats *stats)
{
    demi_sgaseg_t segs[MAX_SEGS] = {{header, (uint32_t)len}};
    uint32_t n = 1;
    *merged_out = NULL;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        if (sga->sga_segs[i].sgaseg_len > 0)
            segs[n++] = sga->sga_segs[i];
    if (n == MAX_SEGS) {
        int r = merge_pair(segs, &n, merged_out, stats);
        if (r < 0)
            return r;
    }
    memset(to, 0, sizeof(*to));
    to->sga_numsegs = n;
    memcpy(to->sga_segs, segs, n * sizeof(*segs));
    return 0;
}

int dk_frame_push_headed(struct dk_operator *o, struct dk_op *op, uint8_t *header, size_t len,
                         const demi_sgarray_t *sga)
{
    demi_sgarray_t wrapped;
    struct dk_buf *merged;
    int r = wrap(&wrapped, header, len, sga, &merged, o->taker.inst->stats);
    if (r < 0)
        return r;
    /* What was kept for the leader stays until the source has what it needs. */
    struct dk_buf *kept = op->held ? op->buf : NULL;
    op->held = 0;
    op->buf = NULL;
    r = dk_operator_forward(o, op, &wrapped);
    if (kept)
        dk_buf_put(kept);
    if (merged)
        dk_buf_put(merged);
    return r;
}

/* If it failed, so do the pushes behind it. */
static void ignore(struct dk_sink *sink, struct dk_op *op, int error)
{
    (void)sink;
    (void)op;
    (void)error;
}

static struct dk_sink nobody = {.done = ignore};

int dk_frame_push_bytes(struct dk_operator *o, uint8_t *bytes, size_t len)
{
    struct dk_queue *source = o->source;
    demi_sgarray_t sga = {.sga_numsegs = 1, .sga_segs = {{bytes, (uint32_t)len}}};
    struct dk_op *op;
    if (source->state != DK_QUEUE_OPEN)
        return -EBADF;
    int r = dk_op_alloc_internal(&op, o->taker.inst, source, DEMI_OPC_PUSH, &nobody);
    if (r < 0)
        return r;
    op->buf = NULL;
    r = source->ops->push(source, op, &sga);
    if (r < 0) {
        op->waiter = NULL; /* the slot's next user may look at it */
        dk_op_release(op);
    }
    return r;
}
