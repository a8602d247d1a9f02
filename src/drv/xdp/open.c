/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a device (xdp.h, state.h).
 */
#include "drv/why.h"
#include "drv/xdp/state.h"
#include "mem/heap.h"
#include "os/netif.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <unistd.h>

#define RING_MAX  32768u
#define FRAME_MAX (4096u - DK_XDP_HEADROOM - (uint32_t)DK_BUF_PEER_BYTES)
#define MTU_MAX   (FRAME_MAX - DK_FRAME_HEADER - DK_FRAME_TAG)

static int arm(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_xdp_count(x);
    dk_xdp_reclaim(dev, 0);
    if (xsk_cons_nb_avail(&x->rx, 1) > 0)
        return -1;
    return x->wake.epfd;
}

static enum dk_link link_state(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    return dk_netif_has_carrier(x->watch_fd, x->name) ? DK_LINK_UP : DK_LINK_DOWN;
}

static void close_xdp(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_xdp_claims_close(x);
    dk_xdp_program_close(x);
    dk_xdp_kernel_close(x);
    dk_xdp_socket_close(x);
    dk_xdp_umem_close(x);
    dk_heap_free(x);
}

/* What is mapped of the rings is the parent's (MADV_DONTFORK). */
static void abandon(struct dk_netdev *dev)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    dk_xdp_claims_abandon(x);
    dk_wake_close(&x->wake);
    if (x->route)
        close(mnl_socket_get_fd(x->route));
    close(x->claims_fd);
    close(x->link_fd);
    close(x->watch_fd);
    close(x->fd);
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

static int check_interface(const struct dk_xdp *x, const struct dk_netif *netif, uint32_t mtu,
                           const char **why_out)
{
    if (!netif->ethernet)
        return dk_why(why_out, -EINVAL, "interface %s is not Ethernet", x->name);
    if (!netif->up)
        return dk_why(why_out, -ENETDOWN, "interface %s is down: ip link set %s up", x->name,
                      x->name);
    if (!netif->carrier)
        return dk_why(why_out, -ENETDOWN,
                      "interface %s has no carrier: its cable, or the other end of a veth, is not "
                      "up",
                      x->name);
    if (mtu > netif->mtu)
        return dk_why(why_out, -EINVAL,
                      "an MTU of %u is more than interface %s has (%u): ip link set %s mtu %u", mtu,
                      x->name, netif->mtu, x->name, mtu);
    if (netif->mtu > MTU_MAX)
        return dk_why(why_out, -EINVAL,
                      "interface %s has an MTU of %u, AF_XDP here at most %u: ip link set %s mtu "
                      "%u",
                      x->name, netif->mtu, MTU_MAX, x->name, MTU_MAX);
    return 0;
}

static int look(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    struct dk_netif netif;
    int fd = dk_netif_socket();
    int r = fd < 0 ? fd : dk_netif_look(fd, x->name, &netif);
    if (fd >= 0)
        close(fd);
    if (r == -ENODEV)
        return dk_why(why_out, r, "interface %s does not exist: ip link shows those that do",
                      x->name);
    if (r < 0)
        return dk_why(why_out, r, "cannot look at interface %s: %s", x->name, strerror(-r));
    x->ifindex = netif.index;
    x->frame_max = dk_frame_max(netif.mtu);
    x->dev.caps.mtu = o->mtu ? o->mtu : netif.mtu;
    memcpy(x->dev.caps.mac.bytes, netif.mac, sizeof(netif.mac));
    return check_interface(x, &netif, o->mtu, why_out);
}

static int set_up(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    int r = look(x, o, why_out);
    if (r < 0)
        return r;
    if (dk_xdp_umem_open(x, o) < 0)
        return dk_why(why_out, -ENOMEM, "xdp: no memory for frames; ask for less (umem=, pool=)");
    r = dk_xdp_socket_open(x, o, why_out);
    if (r < 0)
        return r;
    if (x->segments)
        x->dev.caps.flags |= DK_NETDEV_ZERO_COPY;
    dk_xdp_refill(x);
    if (!o->whole) {
        x->dev.shared = &shared_ops;
        r = dk_xdp_kernel_open(x, why_out);
    }
    return r < 0 ? r : dk_xdp_program_open(x, o, why_out);
}

static int check_options(const struct dk_xdp_options *o, const char **why_out)
{
    static const char *const modes[] = {"auto", "native", "generic"};
    if (!o->name || !dk_netif_is_name(o->name))
        return dk_why(why_out, -EINVAL, "xdp: \"%s\" cannot be the name of an interface",
                      o->name ? o->name : "");
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
    struct dk_xdp *x = dk_heap_zalloc(sizeof(*x)); /* freed by close_xdp */
    if (!x)
        return dk_why(why_out, -ENOMEM, "xdp: no memory");
    x->fd = x->watch_fd = x->link_fd = x->claims_fd = x->wake.epfd = -1;
    dk_list_init(&x->claims);
    x->dev.ops = &ops;
    x->dev.stats = &x->dev.own_stats;
    x->dev.caps.max_burst = DK_XDP_BURST;
    x->queue = options->queue;
    memcpy(x->name, options->name, strlen(options->name)); /* it was checked */
    r = set_up(x, options, why_out);
    if (r < 0)
        close_xdp(&x->dev);
    else
        *dev_out = &x->dev;
    return r;
}

const struct dk_xdp_driver dk_xdp_driver = {.open = open_xdp};
