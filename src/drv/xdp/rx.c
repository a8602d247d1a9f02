/* SPDX-License-Identifier: MIT */
/*
 * Receiving. A frame goes on in the buffer that the kernel wrote it to; its buffer goes to the fill
 * ring again when the last hold on it is gone. While half of the buffers are held by who received,
 * frames are copied instead, and the buffer goes back at once.
 */
#include "drv/xdp/state.h"
#include "mem/buf_now.h"
#include "os/log.h"

#include <sys/socket.h>

#define LOOKS       64u   /* at buffers that are out, in one poll */
#define COUNT_EVERY 8192u /* polls */

static void wake_driver(const struct dk_xdp_queue *q)
{
    recvfrom(q->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* Takes buffers back that nobody holds. */
static void take_back(struct dk_xdp *x)
{
    uint32_t looks = x->num_out < LOOKS ? x->num_out : LOOKS;
    while (looks-- > 0) {
        if (x->next_out >= x->num_out)
            x->next_out = 0;
        const uint32_t index = x->out[x->next_out];
        if (!dk_buf_is_back(x->bufs[index])) {
            x->next_out++;
            continue;
        }
        x->out[x->next_out] = x->out[--x->num_out];
        x->spare[x->num_spare++] = index;
    }
}

static void refill(struct dk_xdp *x, struct dk_xdp_queue *q)
{
    uint32_t at, n = xsk_prod_nb_free(&q->fill, x->num_spare);
    n = n < x->num_spare ? n : x->num_spare;
    if (n == 0 || xsk_ring_prod__reserve(&q->fill, n, &at) != n)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const struct dk_buf *buf = x->bufs[x->spare[--x->num_spare]];
        *xsk_ring_prod__fill_addr(&q->fill, at + i) = (uint64_t)(buf->memory - x->umem);
    }
    xsk_ring_prod__submit(&q->fill, n);
}

void dk_xdp_refill(struct dk_xdp *x)
{
    for (uint32_t i = 0; i < x->num_queues && x->num_spare > 0; i++)
        refill(x, &x->queues[i]);
}

static void warn_long(struct dk_xdp *x)
{
    if (x->warned_long)
        return;
    x->warned_long = true;
    dk_log(DK_LOG_WARN,
           "xdp: %s hands up frames longer than its MTU; they are dropped. Run ethtool -K %s gro "
           "off lro off; and where the sender is on this host, at the other end of a veth: ethtool "
           "-K PEER tx off tso off gso off",
           x->port->name, x->port->name);
}

/* Whether a descriptor is of a frame that is to be dropped, which is counted with its last one. */
static bool is_misfit(struct dk_xdp *x, struct dk_xdp_queue *q, const struct xdp_desc *desc)
{
    const bool more = (desc->options & XDP_PKT_CONTD) != 0, was_long = q->in_long;
    q->in_long = more;
    if (dk_likely(!more && !was_long && desc->len >= DK_FRAME_HEADER && desc->len <= x->frame_max))
        return false;
    if (more)
        return true;
    if (!was_long && desc->len < DK_FRAME_HEADER) {
        dk_frame_drop_rx(&x->dev, rx_too_short, 1);
        return true;
    }
    dk_frame_drop_rx(&x->dev, rx_too_long, 1);
    warn_long(x);
    return true;
}

static bool give_out(struct dk_xdp *x, uint32_t index, uint8_t *data, struct dk_rx_frame *out)
{
    struct dk_buf *buf = x->bufs[index];
    if (!dk_buf_give_out(buf, (size_t)(data - buf->memory), out->len))
        return false;
    x->out[x->num_out++] = index;
    out->buf = buf;
    out->data = data;
    return true;
}

static bool copy(const uint8_t *data, struct dk_rx_frame *out)
{
    out->buf = dk_rxpool_copy(data - DK_FRAME_PAD, out->len + DK_FRAME_PAD, DK_BUF_PEER_BYTES);
    if (!out->buf)
        return false;
    out->data = out->buf->data + DK_FRAME_PAD;
    return true;
}

/* Takes the frame of a descriptor: false when there is none to hand on. */
static bool take(struct dk_xdp *x, struct dk_xdp_queue *q, const struct xdp_desc *desc,
                 struct dk_rx_frame *out)
{
    const uint64_t base = xsk_umem__extract_addr(desc->addr);
    const uint32_t index = x->at[base / x->chunk_bytes];
    uint8_t *data = x->umem + xsk_umem__add_offset_to_addr(desc->addr);
    out->len = desc->len;
    out->checksum = DK_RX_CHECKSUM_UNKNOWN;
    if (dk_unlikely(is_misfit(x, q, desc))) {
        x->spare[x->num_spare++] = index;
        return false;
    }
    if (dk_likely(x->num_out < x->num_bufs / 2) && give_out(x, index, data, out))
        return true;
    x->spare[x->num_spare++] = index;
    if (copy(data, out))
        return true;
    dk_frame_drop_rx(&x->dev, rx_no_memory, 1);
    return false;
}

static uint32_t take_all(struct dk_xdp *x, struct dk_xdp_queue *q, uint32_t at, uint32_t n,
                         struct dk_rx_frame frames_out[])
{
    uint32_t taken = 0;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        if (take(x, q, xsk_ring_cons__rx_desc(&q->rx, at + i), &frames_out[taken]))
            bytes += frames_out[taken++].len;
    dk_frame_count_rx(&x->dev, taken, bytes);
    return taken;
}

static uint32_t receive(struct dk_xdp *x, struct dk_xdp_queue *q, struct dk_rx_frame frames_out[],
                        uint32_t max)
{
    uint32_t at;
    const uint32_t n = xsk_ring_cons__peek(&q->rx, max, &at);
    const uint32_t taken = n > 0 ? take_all(x, q, at, n, frames_out) : 0;
    if (n > 0)
        xsk_ring_cons__release(&q->rx, n);
    if (x->num_spare > 0)
        refill(x, q);
    if (dk_unlikely(n == 0 && (x->busy_poll || xsk_ring_prod__needs_wakeup(&q->fill))))
        wake_driver(q);
    return taken;
}

/* Begins with another queue each time, so that none waits for the others for ever. */
static uint32_t receive_from_all(struct dk_xdp *x, struct dk_rx_frame frames_out[], uint32_t max)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < x->num_queues && taken < max; i++) {
        struct dk_xdp_queue *q = &x->queues[x->next_queue];
        x->next_queue = x->next_queue + 1 == x->num_queues ? 0 : x->next_queue + 1;
        taken += receive(x, q, frames_out + taken, max - taken);
    }
    return taken;
}

uint32_t dk_xdp_rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    (void)now;
    if (dk_unlikely(++x->polls % COUNT_EVERY == 0))
        dk_xdp_count(x);
    if (x->num_out > 0)
        take_back(x);
    return dk_likely(x->num_queues == 1) ? receive(x, &x->queues[0], frames_out, max)
                                         : receive_from_all(x, frames_out, max);
}
