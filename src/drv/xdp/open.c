/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a device (xdp.h, state.h).
 */
#include "drv/why.h"
#include "drv/xdp/state.h"
#include "mem/heap.h"
#include "os/netif.h"

#include <errno.h>
#include <unistd.h>

#define RING_MAX 32768u

static int arm(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_xdp_count(x);
    dk_xdp_reclaim(dev, 0);
    for (uint32_t i = 0; i < x->num_queues; i++)
        if (xsk_cons_nb_avail(&x->queues[i].rx, 1) > 0)
            return -1;
    return x->wake.epfd;
}

static enum dk_link link_state(struct dk_netdev *dev)
{
    const struct dk_xdp_port *p = dk_xdp_of(dev)->port;
    return dk_netif_has_carrier(p->watch_fd, p->name) ? DK_LINK_UP : DK_LINK_DOWN;
}

static void close_xdp(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_xdp_claims_close(x);
    dk_xdp_program_remove(x);
    dk_xdp_kernel_close(x);
    if (x->wake.epfd >= 0)
        dk_wake_close(&x->wake);
    dk_xdp_port_leave(x);
}

static void abandon_port(struct dk_xdp_port *p)
{
    if (p->abandoned)
        return;
    p->abandoned = true;
    dk_xdp_claims_abandon(p);
    for (const struct dk_xdp *x = p->closed; x; x = x->next_closed)
        for (uint32_t i = 0; i < x->num_queues; i++)
            close(x->queues[i].fd);
    close(p->lost_fd);
    close(p->claims_fd);
    close(p->sockets_fd);
    close(p->link_fd);
    close(p->watch_fd);
}

/* What is mapped of the rings is the parent's (MADV_DONTFORK). */
static void abandon(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    abandon_port(x->port);
    dk_wake_close(&x->wake);
    dk_xdp_kernel_abandon(x);
    for (uint32_t i = 0; i < x->num_queues; i++)
        close(x->queues[i].fd);
}

static const struct dk_netdev_ops ops = {
    .name = "xdp",
    .rx_burst = dk_xdp_rx_burst,
    .tx_burst = dk_xdp_tx_burst,
    .reclaim = dk_xdp_reclaim,
    .arm = arm,
    .link = link_state,
    .close = close_xdp,
    .abandon = abandon,
};

static const struct dk_netdev_shared_ops shared_ops = {
    .claim = dk_xdp_claim,
    .release = dk_xdp_release,
    .learn = dk_xdp_learn,
    .resolve = dk_xdp_resolve,
};

static int set_up(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    if (dk_xdp_share_open(x) < 0)
        return dk_why(why_out, -ENOMEM, "xdp: no memory");
    int r = dk_xdp_sockets_open(x, o, why_out);
    if (r < 0)
        return r;
    x->dev.caps.flags = x->segments ? DK_NETDEV_ZERO_COPY : 0;
    dk_xdp_refill(x);
    if (!o->whole) {
        x->dev.shared = &shared_ops;
        r = dk_xdp_kernel_open(x, why_out);
    }
    return r < 0 ? r : dk_xdp_program_add(x, o, why_out);
}

static int check_options(const struct dk_xdp_options *o, const char **why_out)
{
    static const char *const modes[] = {"auto", "native", "generic"};
    if (!o->name || !dk_netif_is_name(o->name))
        return dk_why(why_out, -EINVAL, "xdp: \"%s\" cannot be the name of an interface",
                      o->name ? o->name : "");
    if (o->worker.num > DK_XDP_WORKERS_MAX)
        return dk_why(why_out, -EINVAL, "xdp: %u workers: at most %u", o->worker.num,
                      DK_XDP_WORKERS_MAX);
    if (o->worker.first && o->worker.first->ops != &ops)
        return dk_why(why_out, -EINVAL, "xdp: the first queue is of another device");
    if (o->ring_frames > RING_MAX || (o->ring_frames & (o->ring_frames - 1)) ||
        (o->ring_frames > 0 && o->ring_frames < DK_XDP_BURST))
        return dk_why(why_out, -EINVAL, "xdp: a ring of %u frames: a power of two from %u to %u",
                      o->ring_frames, DK_XDP_BURST, RING_MAX);
    for (size_t i = 0; o->mode && i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(modes[i], o->mode) == 0)
            return 0;
    return o->mode
               ? dk_why(why_out, -EINVAL, "xdp: mode=%s: it is auto, native or generic", o->mode)
               : 0;
}

static int open_xdp(struct dk_netdev **dev_out, const struct dk_xdp_options *options,
                    const char **why_out)
{
    int r = check_options(options, why_out);
    if (r < 0)
        return r;
    struct dk_xdp *x = dk_heap_zalloc(sizeof(*x)); /* freed with its port */
    if (!x)
        return dk_why(why_out, -ENOMEM, "xdp: no memory");
    x->wake.epfd = x->rest_fd = -1;
    x->dev.ops = &ops;
    x->dev.stats = &x->dev.own_stats;
    x->worker = options->worker.index;
    r = options->worker.first ? dk_xdp_port_join(x, options, why_out)
                              : dk_xdp_port_open(x, options, why_out);
    if (r == 0)
        r = set_up(x, options, why_out);
    if (r == 0)
        *dev_out = &x->dev;
    else if (x->port)
        close_xdp(&x->dev);
    else
        dk_heap_free(x);
    return r;
}

const struct dk_xdp_driver dk_xdp_driver = {.open = open_xdp};
