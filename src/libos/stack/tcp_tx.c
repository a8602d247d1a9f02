/* SPDX-License-Identifier: MIT */
/*
 * Pushing to a stream.
 *
 * A short element is copied at once, and complete. A longer one is held by reference and handed to
 * the stack in parts, as far as SO_SNDBUF has room beyond what is not acknowledged. It is complete
 * when its last part is: acknowledged, or copied (with what is left of the others) because
 * push_hold_us passed, or at once when the application has given up the memory. So what completes
 * is bounded by what the stack may hold, and a push to a peer that does not read waits.
 *
 * SO_SNDBUF grows with the congestion window, unless somebody has set it: a push that finds no room
 * looks how much the path carries by now.
 *
 * `pushes` are those of which something is left to hand on, the first partly. They wait until the
 * stack says that there is room; or, where it has no memory for what its limits allow, on
 * st->starved, from where they are tried again whenever something happened. `sent` are those that
 * the stack has whole.
 */
#include "libos/stack/sock.h"

#include <errno.h>

/* A part that is not an element's last is not shorter than this, or a quarter of the buffer. */
#define PART_MIN 16384u

static struct dk_stack_tcp *tcp_of(struct dk_stack_sock *s)
{
    return dk_container_of(s, struct dk_stack_tcp, s);
}

static uint64_t buffer_bytes(const struct dk_stack_tcp *t)
{
    return (uint64_t)t->s.option[DK_STACK_SNDBUF];
}

static uint64_t room_of(const struct dk_stack_tcp *t)
{
    uint64_t used = dk_tcp_queued_bytes(t->conn), size = buffer_bytes(t);
    return used < size ? size - used : 0;
}

/* A buffer whose size nobody has set grows with what the path carries; not for ever, and not while
 * those of all streams have grown by as much as they may together. */
static void grow(struct dk_stack_tcp *t)
{
    struct dk_stack *st = t->s.st;
    const uint64_t size = buffer_bytes(t);
    uint64_t goal = dk_tcp_send_goal(t->conn);
    if (goal > st->options.tx_buffer_max)
        goal = st->options.tx_buffer_max;
    if (goal <= size || t->s.is_set & 1u << DK_STACK_SNDBUF)
        return;
    const uint32_t more = (uint32_t)(goal - size);
    if (st->stats->send_grown_bytes + more > st->options.pressure_bytes) {
        dk_count(&st->stats->send_pressed, 1);
        return;
    }
    t->s.option[DK_STACK_SNDBUF] += (int)more;
    t->send_grown += more;
    dk_count(&st->stats->send_grown_bytes, more);
}

void dk_stack_tcp_give_back(struct dk_stack_tcp *t)
{
    dk_count(&t->s.st->stats->send_grown_bytes, -(uint64_t)t->send_grown);
    t->send_grown = 0;
}

/* Points pieces at the next bytes of an element behind its first `skip`; returns how many. */
static uint32_t make_pieces(const demi_sgarray_t *sga, uint64_t skip, uint64_t bytes,
                            struct dk_buf *buf, struct dk_tx_piece pieces[])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs && bytes > 0; i++) {
        demi_sgaseg_t seg = sga->sga_segs[i];
        if (skip >= seg.sgaseg_len) {
            skip -= seg.sgaseg_len;
            continue;
        }
        uint64_t len = seg.sgaseg_len - skip;
        if (len > bytes)
            len = bytes;
        pieces[n++] = (struct dk_tx_piece){
            .data = (const uint8_t *)seg.sgaseg_buf + skip, .len = (uint32_t)len, .buf = buf};
        bytes -= len;
        skip = 0;
    }
    return n;
}

static void count_pushed(struct dk_stack_tcp *t, uint64_t bytes, bool whole)
{
    dk_count(&t->s.st->stats->pushed_bytes, bytes);
    t->s.traffic.pushed_bytes += bytes;
    t->s.traffic.pushed += whole;
}

/* Hands the next bytes of the first push on. 0, or a negative errno and nothing happened. */
static int hand_part(struct dk_stack_tcp *t, struct dk_op *op, uint64_t bytes, bool last)
{
    struct dk_tx_piece pieces[DEMI_SGARRAY_MAXSIZE];
    uint32_t flags = (dk_stack_is_given_up(op->buf) ? DK_TCP_SEND_UNREFERENCED : 0) |
                     (last ? 0 : DK_TCP_SEND_MORE);
    uint32_t n = make_pieces(dk_op_sga(op), op->progress, bytes, op->buf, pieces);
    int r = bytes > 0 ? dk_tcp_send(t->conn, pieces, n, flags, op, t->s.st->now) : 1;
    if (r < 0)
        return r;
    op->progress += bytes;
    count_pushed(t, bytes, last);
    if (!last)
        return 0;
    dk_list_del(&op->link);
    if (r == 0)
        dk_list_add_tail(&t->sent, &op->link);
    else
        dk_op_complete(op, 0);
    return 0;
}

/* The first push waits for room; no less than a part is worth it, or what is left. */
static int wait_for_room(struct dk_stack_tcp *t, uint64_t left)
{
    uint64_t size = buffer_bytes(t), least = size / 4 < PART_MIN ? size / 4 : PART_MIN;
    dk_tcp_want_room(t->conn, size - (left < least ? left : least));
    return -EAGAIN;
}

/* Hands the first push on as far as there is room. 0: all of it; -EAGAIN; or what ends them all. */
static int hand_on(struct dk_stack_tcp *t, struct dk_op *op)
{
    grow(t);
    uint64_t left = dk_sga_bytes(dk_op_sga(op)) - op->progress, room = room_of(t);
    uint64_t least = buffer_bytes(t) / 4 < PART_MIN ? buffer_bytes(t) / 4 : PART_MIN;
    bool last = left <= room;
    if (!last && room < least)
        return wait_for_room(t, left);
    int r = hand_part(t, op, last ? left : room, last);
    if (r == -ENOBUFS) {
        dk_list_del(&t->starved);
        dk_list_add_tail(&t->s.st->starved, &t->starved);
        dk_stack_left_is(t->s.st, DK_STACK_LEFT_STARVED, true);
        return -EAGAIN;
    }
    return r == 0 && !last ? wait_for_room(t, left - room) : r;
}

void dk_stack_tcp_fail_pushes(struct dk_stack_tcp *t, int error)
{
    dk_list_del_init(&t->starved);
    dk_stack_fail_all(&t->s.pushes, error);
}

/* Nothing waits any more: what was to come after it comes now. t may be freed. */
static void all_handed_on(struct dk_stack_tcp *t)
{
    dk_list_del_init(&t->starved);
    if (t->s.write_shut && t->conn && !t->conn_closed)
        dk_tcp_shutdown(t->conn, t->s.st->now);
    dk_stack_tcp_finish(t);
}

void dk_stack_tcp_resume(struct dk_stack_tcp *t)
{
    int r = 0;
    dk_list_del_init(&t->starved);
    while (r == 0 && !dk_list_empty(&t->s.pushes))
        r = hand_on(t, dk_container_of(t->s.pushes.next, struct dk_op, link));
    if (r == -EAGAIN)
        return;
    if (r < 0) {
        t->s.failed = true;
        dk_stack_fail_all(&t->s.pushes, r);
    }
    all_handed_on(t);
}

/* Copies a short element into the stack: false when it has no room. */
static bool push_copy(struct dk_stack_tcp *t, struct dk_op *op, const demi_sgarray_t *sga,
                      uint64_t bytes)
{
    struct dk_tx_piece pieces[DEMI_SGARRAY_MAXSIZE];
    if (bytes > room_of(t))
        return false;
    uint32_t n = make_pieces(sga, 0, bytes, NULL, pieces);
    int r = bytes > 0 ? dk_tcp_send(t->conn, pieces, n, DK_TCP_SEND_COPY, NULL, t->s.st->now) : 1;
    if (r == -ENOBUFS)
        return false;
    if (r < 0)
        t->s.failed = true;
    else
        count_pushed(t, bytes, true);
    dk_op_complete(op, r < 0 ? r : 0);
    return true;
}

static int push_held(struct dk_stack_tcp *t, struct dk_op *op, const demi_sgarray_t *sga)
{
    bool first = dk_list_empty(&t->s.pushes);
    int r = dk_op_hold(op, sga);
    if (r < 0)
        return r;
    dk_list_add_tail(&t->s.pushes, &op->link);
    if (!first)
        return 0;
    dk_stack_set_drains(&t->s, true);
    dk_stack_tcp_resume(t);
    if (!dk_list_empty(&t->s.pushes))
        dk_count(&t->s.st->stats->blocked_pushes, 1);
    return 0;
}

static int check_push(const struct dk_stack_tcp *t)
{
    if (t->s.write_shut)
        return -EPIPE;
    return t->s.state == DK_STACK_CONNECTED ? 0 : -ENOTCONN;
}

static int push(struct dk_stack_tcp *t, struct dk_op *op, const demi_sgarray_t *sga)
{
    uint64_t bytes = dk_sga_bytes(sga);
    if (dk_unlikely(t->conn_error || !t->conn || t->conn_closed)) {
        dk_op_complete(op, t->conn_error ? t->conn_error : -EPIPE);
        return 0;
    }
    if (bytes < t->s.st->options.copy_threshold && dk_list_empty(&t->s.pushes) &&
        push_copy(t, op, sga, bytes))
        return 0;
    return push_held(t, op, sga);
}

int dk_stack_tcp_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    struct dk_stack *st = t->s.st;
    int r = check_push(t);
    if (dk_unlikely(r < 0))
        return r;
    op->addr_len = 0; /* as sendto(2) on a connected stream */
    op->progress = 0;
    dk_stack_begin(st);
    return dk_stack_end_with(st, push(t, op, sga));
}

/* The connection took nothing: returns what the push comes to. */
__attribute__((noinline)) static int push_not_taken(struct dk_stack_tcp *t, int r)
{
    if (r != -ENOBUFS && r != -EAGAIN)
        t->s.failed = true;
    dk_stack_end_written(t->s.st, false);
    return r == -ENOBUFS ? -EAGAIN : r;
}

/* A short one, which nobody is before, on a connection that is well. */
int dk_stack_tcp_push_led(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf,
                          const struct sockaddr *addr)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    struct dk_stack *st = t->s.st;
    const demi_sgaseg_t *seg = &sga->sga_segs[0];
    const uint32_t bytes = seg->sgaseg_len;
    (void)buf;
    (void)addr;
    if (dk_unlikely(bytes == 0 || bytes >= st->options.copy_threshold || !t->conn ||
                    t->conn_error != 0 || t->conn_closed || t->s.write_shut ||
                    t->s.state != DK_STACK_CONNECTED || !dk_list_empty(&t->s.pushes)))
        return -EAGAIN;
    dk_stack_read_clock(st);
    /* It tells nobody of anything. */
    int r = dk_tcp_send_copied(t->conn, seg->sgaseg_buf, bytes, buffer_bytes(t), st->now);
    if (dk_unlikely(r < 0))
        return push_not_taken(t, r);
    count_pushed(t, bytes, true);
    dk_stack_end_written(st, false);
    return 0;
}

void dk_stack_tcp_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    struct dk_stack_tcp *t = owner;
    struct dk_op *op = cookie;
    (void)conn;
    dk_list_del(&op->link);
    dk_op_complete(op, err);
    dk_stack_tcp_finish(t);
}

int dk_stack_tcp_cancel_push(struct dk_stack_tcp *t, struct dk_op *op)
{
    struct dk_stack *st = t->s.st;
    if (op->progress > 0)
        return -EBUSY;
    dk_list_del(&op->link);
    if (!dk_list_empty(&t->s.pushes))
        return 0;
    dk_stack_begin(st);
    all_handed_on(t);
    return dk_stack_end_with(st, 0);
}

int dk_stack_tcp_shutdown(struct dk_queue *q, int how)
{
    struct dk_stack_tcp *t = tcp_of(q->impl);
    struct dk_stack *st = t->s.st;
    if (t->s.state != DK_STACK_CONNECTED)
        return -ENOTCONN;
    dk_stack_begin(st);
    if (how != SHUT_WR) {
        t->s.eof = true;
        dk_stack_readable(&t->s); /* pops, or the taker, see the end */
    }
    if (how != SHUT_RD && !t->s.write_shut) {
        t->s.write_shut = true;
        if (dk_list_empty(&t->s.pushes))
            all_handed_on(t);
    }
    return dk_stack_end_with(st, 0);
}
