/* SPDX-License-Identifier: MIT */
/*
 * Pushing datagrams.
 *
 * A short one is copied by the stack at once, and complete. A longer one is held, and the frames
 * that the stack makes of it, however many, point into its memory; they may wait for a neighbour,
 * or for the device. Each of them has a hold on the buffer of the operation, which has one itself:
 * when that is the only one left the device has sent them all, and the push is complete. It is so
 * at once where the application has given up the memory; and at the latest when push_hold_us has
 * passed, when what still waits is copied.
 *
 * `pushes` of a socket found no room in the device and wait, held. Those that the stack took, and
 * whose memory is lent to it, are on st->lent, oldest first, until `progress`: when the hold ends.
 */
#include "libos/stack/sock.h"
#include "net/udp_write.h"

#include <errno.h>

static struct dk_stack_udp *udp_of(struct dk_stack_sock *s)
{
    return dk_container_of(s, struct dk_stack_udp, s);
}

/* Sends one datagram, whose memory buf holds (NULL: nobody does, and it is copied). 0, -EAGAIN, or
 * what fails it. */
static int send_one(struct dk_stack_udp *u, const struct dk_op *op, const demi_sgarray_t *sga,
                    struct dk_buf *buf)
{
    struct dk_tx_piece pieces[DEMI_SGARRAY_MAXSIZE];
    struct dk_endpoint to;
    uint32_t n = 0;
    uint64_t bytes = dk_sga_bytes(sga);
    int r = op->addr_len ? dk_stack_read_peer(&u->s, &op->addr.sa, op->addr_len, &to) : 0;
    if (r < 0)
        return r;
    if (bytes > UINT16_MAX)
        return -EMSGSIZE;
    r = dk_stack_udp_bind_to_send(u);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        if (sga->sga_segs[i].sgaseg_len > 0)
            pieces[n++] = (struct dk_tx_piece){.data = sga->sga_segs[i].sgaseg_buf,
                                               .len = sga->sga_segs[i].sgaseg_len,
                                               .buf = buf};
    r = dk_udp_send(u->udp, op->addr_len ? &to : NULL, pieces, n, u->s.st->now);
    if (r < 0)
        return r;
    dk_count(&u->s.st->stats->pushed_bytes, bytes);
    u->s.traffic.pushed++;
    u->s.traffic.pushed_bytes += bytes;
    return 0;
}

static bool is_read(const struct dk_op *op)
{
    return __atomic_load_n(&op->buf->refs, __ATOMIC_ACQUIRE) != 1;
}

/* Sees to it that nobody but op has a hold on its buffer: a view of what it held before. */
static int make_own(struct dk_op *op)
{
    struct dk_buf *buf = op->buf;
    if (!is_read(op))
        return 0;
    struct dk_buf *view = dk_buf_view(buf, buf->data, dk_buf_bytes(buf));
    if (!view)
        return -ENOMEM;
    op->buf = view;
    dk_buf_put(buf);
    return 0;
}

bool dk_stack_udp_is_lent(const struct dk_op *op)
{
    return op->qr.qr_opcode == DEMI_OPC_PUSH && op->progress != 0;
}

static void lend(struct dk_stack_udp *u, struct dk_op *op)
{
    struct dk_stack *st = u->s.st;
    op->progress = (uint64_t)(st->now + (int64_t)st->options.push_hold_us * 1000);
    dk_list_add_tail(&st->lent, &op->link);
    dk_stack_left_is(st, DK_STACK_LEFT_LENT, true);
    u->num_lent++;
    dk_stack_set_drains(&u->s, true);
}

static void complete(struct dk_stack_udp *u, struct dk_op *op, int error)
{
    if (error < 0)
        u->s.failed = true;
    dk_op_complete(op, error);
}

/* Sends a push, which is on no list. 0: it is complete, or lent; -EAGAIN: there is no room. */
static int start(struct dk_stack_udp *u, struct dk_op *op, const demi_sgarray_t *sga)
{
    bool lends = op->held && !dk_stack_is_given_up(op->buf);
    int r = op->held ? make_own(op) : 0;
    if (r == 0)
        r = send_one(u, op, sga, op->held ? op->buf : NULL);
    if (r == -EAGAIN)
        return r;
    if (r == 0 && lends && is_read(op))
        lend(u, op);
    else
        complete(u, op, r);
    return 0;
}

static int check_push(const struct dk_stack_udp *u, const struct dk_op *op)
{
    if (u->s.write_shut)
        return -EPIPE;
    if (op->addr_len && op->addr.sa.sa_family != u->s.domain)
        return -EAFNOSUPPORT;
    if (!op->addr_len && u->s.state != DK_STACK_CONNECTED)
        return -EDESTADDRREQ;
    return 0;
}

static int wait_for_room(struct dk_stack_udp *u, struct dk_op *op, const demi_sgarray_t *sga)
{
    int r = dk_op_hold(op, sga);
    if (r < 0)
        return r;
    dk_count(&u->s.st->stats->blocked_pushes, 1);
    dk_list_add_tail(&u->s.pushes, &op->link);
    dk_stack_set_drains(&u->s, true);
    return 0;
}

int dk_stack_udp_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    struct dk_stack *st = u->s.st;
    int r = check_push(u, op);
    if (r < 0)
        return r;
    op->progress = 0;
    if (!dk_list_empty(&u->s.pushes))
        return wait_for_room(u, op, sga);
    if (dk_sga_bytes(sga) >= st->options.copy_threshold)
        r = dk_op_hold(op, sga);
    if (r < 0)
        return r;
    dk_stack_begin(st);
    r = start(u, op, op->held ? dk_op_sga(op) : sga);
    if (r == -EAGAIN)
        r = wait_for_room(u, op, sga);
    return dk_stack_end_with(st, r);
}

/* Counts a datagram that the stack took. */
static void count_pushed(struct dk_stack_udp *u, uint64_t bytes)
{
    dk_count(&u->s.st->stats->pushed_bytes, bytes);
    u->s.traffic.pushed++;
    u->s.traffic.pushed_bytes += bytes;
}

static inline bool is_short(const struct dk_stack_udp *u, uint64_t bytes)
{
    return bytes < u->s.st->options.copy_threshold;
}

/* Whether nobody is before a push, and the socket pushes still. */
static inline bool is_next_to_push(const struct dk_stack_udp *u)
{
    return dk_list_empty(&u->s.pushes) && !u->s.write_shut;
}

/* Whether a short one can be pushed at once: nobody is before it. */
static inline bool may_push(const struct dk_stack_udp *u, uint64_t bytes)
{
    return is_short(u, bytes) && is_next_to_push(u) && u->is_bound;
}

__attribute__((noinline)) static int push_any(struct dk_stack_udp *u, const demi_sgaseg_t *seg,
                                              const struct sockaddr *addr)
{
    struct dk_stack *st = u->s.st;
    struct dk_endpoint to;
    if (!may_push(u, seg->sgaseg_len))
        return -EAGAIN;
    if (addr ? dk_stack_read_checked_peer(&u->s, addr, &to) < 0 : u->s.state != DK_STACK_CONNECTED)
        return -EAGAIN;
    const struct dk_tx_piece piece = {.data = seg->sgaseg_buf, .len = seg->sgaseg_len};
    dk_stack_begin(st);
    int r = dk_udp_send(u->udp, addr ? &to : NULL, &piece, seg->sgaseg_len > 0, st->now);
    if (dk_likely(r == 0))
        count_pushed(u, seg->sgaseg_len);
    else if (r != -EAGAIN)
        u->s.failed = true;
    return dk_stack_end_with(st, r);
}

/*
 * Writes a short one to the device's memory, where one went to that address before, from a socket
 * that is bound, then. A datagram has no timer: that the way there is good still is judged by the
 * time of the last poll.
 */
static inline __attribute__((always_inline)) bool
write_to(struct dk_stack_udp *u, const demi_sgaseg_t *seg, const struct sockaddr *addr)
{
    uint64_t to; /* the family too */
    if (dk_unlikely(!addr || u->s.domain != AF_INET))
        return false;
    memcpy(&to, addr, sizeof(to));
    return dk_udp_write4(u->udp, to, seg->sgaseg_buf, seg->sgaseg_len, u->s.st->now);
}

int dk_stack_udp_push_led(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf,
                          const struct sockaddr *addr)
{
    struct dk_stack_udp *u = udp_of(q->impl);
    const demi_sgaseg_t *seg = &sga->sga_segs[0];
    const uint32_t bytes = seg->sgaseg_len;
    (void)buf;
    if (dk_unlikely(!is_short(u, bytes) || !is_next_to_push(u) || !write_to(u, seg, addr)))
        return push_any(u, seg, addr);
    struct dk_stack *st = u->s.st;
    count_pushed(u, bytes);
    dk_stack_end_written(st, true);
    return 0;
}

void dk_stack_udp_flush(struct dk_stack_udp *u)
{
    while (!dk_list_empty(&u->s.pushes)) {
        struct dk_op *op = dk_container_of(u->s.pushes.next, struct dk_op, link);
        dk_list_del(&op->link);
        if (start(u, op, dk_op_sga(op)) == 0)
            continue;
        dk_list_add_head(&u->s.pushes, &op->link);
        return;
    }
    dk_stack_udp_finish(u);
}

/* ---- what is lent ---------------------------------------------------------------------------- */

static void end_lent(struct dk_op *op)
{
    struct dk_stack_udp *u = udp_of(op->target->impl);
    dk_list_del(&op->link);
    complete(u, op, 0);
    u->num_lent--; /* now: whoever closes u before leaves it */
    dk_stack_udp_finish(u);
}

/* Completes those that nobody reads any more; returns whether there were any. */
static bool end_unread(struct dk_stack *st)
{
    struct dk_list *l, *tmp;
    bool any = false;
    dk_list_for_each_safe (l, tmp, &st->lent) {
        struct dk_op *op = dk_container_of(l, struct dk_op, link);
        if (is_read(op))
            continue;
        end_lent(op);
        any = true;
    }
    return any;
}

/* Copies what is lent for so long, or (there is no memory) leaves it for as long again. */
static void end_holds(struct dk_stack *st)
{
    struct dk_list *l;
    if (dk_stack_lent_due(st) > st->now || dk_net_own_lent(st->net))
        return;
    dk_list_for_each (l, &st->lent)
        dk_container_of(l, struct dk_op, link)->progress =
            (uint64_t)(st->now + (int64_t)st->options.push_hold_us * 1000 + 1);
}

void dk_stack_settle(struct dk_stack *st)
{
    bool more;
    dk_stack_reclaim(st);
    do {
        st->depth++; /* what completes may push, by a connection: it is sent below */
        end_holds(st);
        more = end_unread(st) && (st->tx.num > 0 || dk_stack_has_put(st));
        st->depth--;
        if (more)
            dk_stack_flush(st);
    } while (more);
}

void dk_stack_end_lent(struct dk_stack *st)
{
    dk_net_own_lent(st->net);
    while (!dk_list_empty(&st->lent))
        end_lent(dk_container_of(st->lent.next, struct dk_op, link));
}
