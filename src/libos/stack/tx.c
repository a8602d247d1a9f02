/* SPDX-License-Identifier: MIT */
/*
 * Frames on their way to the device, which gets them in bursts.
 *
 * A device that copies short frames gets them at once (tx_put; or the stack itself writes them to
 * the device's memory, net/dev.h), and is told to send them when the others are given to it. While
 * frames that were put off wait here, which are before those, its rooms are shut.
 *
 * A frame that is put off outlives the call of emit: its head is copied, its pieces are held by
 * their buffers. A piece without one (memory of the application, for the length of a call) is never
 * put off: such a frame is sent at once, behind those that were before it.
 */
#include "libos/stack/sock.h"

/* Whether all that f points to may be held. */
static bool can_wait(const struct dk_tx_frame *f)
{
    for (uint32_t i = 0; i < f->num_pieces; i++)
        if (!f->pieces[i].buf)
            return false;
    return f->head_len <= DK_TX_HEAD_MAX;
}

static void let_go(struct dk_tx_frame *f)
{
    for (uint32_t i = 0; i < f->num_pieces; i++)
        dk_buf_put(f->pieces[i].buf);
}

static void put_off(struct dk_stack *st, const struct dk_tx_frame *frame)
{
    struct dk_stack_tx *tx = &st->tx;
    dk_stack_left_is(st, DK_STACK_LEFT_TX, true);
    uint32_t at = tx->first + tx->num++;
    struct dk_tx_frame *f = &tx->frames[at];
    dk_tx_rooms_shut(tx->rooms, DK_TX_ROOMS_STACK);
    tx->own[at] = false;
    f->head = tx->heads[at];
    f->head_len = frame->head_len;
    f->num_pieces = frame->num_pieces;
    f->checksum_start = frame->checksum_start;
    f->checksum_offset = frame->checksum_offset;
    f->segment_bytes = frame->segment_bytes;
    memcpy(tx->heads[at], frame->head, frame->head_len);
    for (uint32_t i = 0; i < frame->num_pieces; i++) {
        f->pieces[i] = frame->pieces[i];
        dk_buf_get(f->pieces[i].buf);
    }
}

/* Gives the device what it takes; false: some is left. */
static bool send_all(struct dk_stack *st)
{
    struct dk_stack_tx *tx = &st->tx;
    if (dk_stack_has_put(st) && !dk_stack_flush_put(st))
        return false;
    while (tx->num > 0) {
        uint32_t n = st->dev->ops->tx_burst(st->dev, tx->frames + tx->first, tx->num, st->now);
        dk_count(&st->stats->tx_bursts, 1);
        for (uint32_t i = 0; i < n; i++)
            let_go(&tx->frames[tx->first + i]);
        tx->first += n;
        tx->num -= n;
        if (n == 0) {
            dk_count(&st->stats->tx_blocked, 1);
            return false;
        }
    }
    tx->first = 0;
    dk_tx_rooms_open(tx->rooms, DK_TX_ROOMS_STACK);
    return true;
}

/* Makes of the pieces of a frame one, a copy, whose buffer has one hold. NULL without memory. */
static struct dk_buf *gather(struct dk_tx_frame *f)
{
    uint32_t bytes = dk_tx_frame_bytes(f) - f->head_len, at = 0;
    struct dk_buf *buf = dk_buf_alloc(bytes ? bytes : 1, 0);
    if (!buf)
        return NULL;
    for (uint32_t i = 0; i < f->num_pieces; i++) {
        memcpy(buf->data + at, f->pieces[i].data, f->pieces[i].len);
        at += f->pieces[i].len;
    }
    f->num_pieces = 1;
    f->pieces[0] = (struct dk_tx_piece){.data = buf->data, .len = bytes, .buf = buf};
    return buf;
}

/* A device that reads later holds pieces by their buffers: one without is copied for it. */
static bool send_copy(struct dk_stack *st, const struct dk_tx_frame *frame)
{
    struct dk_tx_frame f = *frame;
    struct dk_buf *buf = gather(&f);
    if (!buf)
        return false;
    bool sent = st->dev->ops->tx_burst(st->dev, &f, 1, st->now) == 1;
    dk_buf_put(buf);
    return sent;
}

/* Moves what a frame that was put off points to into memory of ours. false without memory. */
static bool own(struct dk_stack *st, struct dk_tx_frame *f)
{
    struct dk_tx_frame lent = *f;
    if (f->num_pieces > 0) {
        if (!gather(f))
            return false;
        let_go(&lent);
        dk_count(&st->stats->tx_copied_bytes, f->pieces[0].len);
    }
    return true;
}

uint32_t dk_stack_reclaim(struct dk_stack *st)
{
    return st->dev->ops->reclaim ? st->dev->ops->reclaim(st->dev, st->now) : 0;
}

/* What waits here is sent or copied; what the device reads, of these frames or of others, nobody
 * can copy for it. */
bool dk_stack_own(void *arg)
{
    struct dk_stack *st = arg;
    struct dk_stack_tx *tx = &st->tx;
    bool sent = send_all(st);
    if (dk_stack_reclaim(st) > 0)
        return false;
    if (sent)
        return true;
    for (uint32_t i = tx->first; i < tx->first + tx->num; i++) {
        tx->own[i] = tx->own[i] || own(st, &tx->frames[i]);
        if (!tx->own[i])
            return false;
    }
    return true;
}

static bool send_now(struct dk_stack *st, const struct dk_tx_frame *frame)
{
    if (!send_all(st))
        return false;
    dk_count(&st->stats->tx_bursts, 1);
    if (st->dev->caps.flags & DK_NETDEV_ZERO_COPY)
        return send_copy(st, frame);
    return st->dev->ops->tx_burst(st->dev, frame, 1, st->now) == 1;
}

/* There is no room: false. */
static bool refuse(struct dk_stack *st)
{
    st->tx.refused = true;
    dk_stack_left_is(st, DK_STACK_LEFT_TX, true);
    return false;
}

/* Whatever the device does not take whole at once. */
__attribute__((noinline)) static bool emit_other(struct dk_stack *st,
                                                 const struct dk_tx_frame *frame)
{
    struct dk_stack_tx *tx = &st->tx;
    bool taken = true;
    if (dk_unlikely(!can_wait(frame))) {
        taken = send_now(st, frame);
    } else {
        if (tx->first + tx->num == DK_STACK_TX_FRAMES)
            taken = send_all(st);
        if (taken)
            put_off(st, frame);
    }
    return taken || refuse(st);
}

bool dk_stack_emit(void *arg, const struct dk_tx_frame *frame)
{
    struct dk_stack *st = arg;
    if (st->dev->ops->tx_put && st->tx.num == 0) {
        const enum dk_tx_put put = st->dev->ops->tx_put(st->dev, frame);
        if (dk_likely(put == DK_TX_PUT_TAKEN))
            return true;
        if (put == DK_TX_PUT_FULL)
            return refuse(st);
    }
    return emit_other(st, frame);
}

void dk_stack_flush(struct dk_stack *st)
{
    while (send_all(st) && st->tx.refused) {
        st->tx.refused = false;
        dk_net_tx_room(st->net, st->now);
        if (st->tx.refused)
            break; /* it found none again: the device tells when there is */
    }
}

void dk_stack_tx_drop(struct dk_stack *st)
{
    struct dk_stack_tx *tx = &st->tx;
    for (uint32_t i = 0; i < tx->num; i++)
        let_go(&tx->frames[tx->first + i]);
    tx->first = tx->num = 0;
    dk_tx_rooms_open(tx->rooms, DK_TX_ROOMS_STACK);
}
