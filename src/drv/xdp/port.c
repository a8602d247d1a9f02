/* SPDX-License-Identifier: MIT */
/*
 * An interface, and what all devices of it share (state.h).
 */
#include "drv/netif_find.h"
#include "drv/why.h"
#include "drv/xdp/state.h"
#include "mem/heap.h"
#include "os/log.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int find_interface(struct dk_xdp_port *p, int fd, const struct dk_xdp_options *o,
                          const char **why_out)
{
    struct dk_netif netif;
    const int r = dk_netif_find(fd, p->name, o->mtu, &netif, why_out);
    if (r < 0)
        return r;
    p->ifindex = netif.index;
    p->mtu = netif.mtu;
    p->frame_max = dk_frame_max(netif.mtu);
    p->caps.mtu = o->mtu ? o->mtu : netif.mtu;
    p->caps.max_burst = DK_XDP_BURST;
    memcpy(p->caps.mac.bytes, netif.mac, sizeof(netif.mac));
    if (netif.mtu > DK_XDP_MTU_MAX)
        return dk_why(why_out, -EINVAL,
                      "interface %s has an MTU of %u, AF_XDP here at most %u: ip link set %s mtu "
                      "%u",
                      p->name, netif.mtu, DK_XDP_MTU_MAX, p->name, DK_XDP_MTU_MAX);
    return 0;
}

/* That the interface spreads over what it receives; 1 where it does not say. */
static uint32_t queues_of(const struct dk_xdp_port *p, int fd)
{
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ifreq req = {.ifr_data = (char *)&channels};
    memcpy(req.ifr_name, p->name, sizeof(req.ifr_name));
    if (ioctl(fd, SIOCETHTOOL, &req) < 0 || channels.combined_count + channels.rx_count == 0)
        return 1;
    return channels.combined_count + channels.rx_count;
}

static int choose_queues(struct dk_xdp_port *p, int fd, const struct dk_xdp_options *o,
                         const char **why_out)
{
    const uint32_t all = queues_of(p, fd), most = p->workers * DK_XDP_QUEUES_EACH;
    const uint32_t there = o->queue < all ? all - o->queue : 1;
    p->first_queue = o->queue;
    p->num_queues = o->queues ? o->queues : there;
    if (p->num_queues < p->workers)
        return dk_why(why_out, -EINVAL,
                      "xdp: %u workers need a queue each, and %s has %u from %u on: ethtool -L %s "
                      "combined %u, or fewer workers",
                      p->workers, p->name, p->num_queues, o->queue, p->name, p->workers);
    if (o->queues > most)
        return dk_why(why_out, -EINVAL, "xdp: %u queues are too many for %u workers: at most %u",
                      o->queues, p->workers, most);
    if (p->num_queues > most)
        p->num_queues = most;
    if (p->num_queues < all)
        dk_log(DK_LOG_WARN,
               "xdp: %s spreads what it receives over %u queues, of which only %u, from %u on, are "
               "ours: ethtool -L %s combined %u, or steer flows there (ethtool -N)",
               p->name, all, p->num_queues, p->first_queue, p->name, p->num_queues);
    return 0;
}

static int look_at_all(struct dk_xdp_port *p, const struct dk_xdp_options *o, const char **why_out)
{
    const int fd = dk_netif_socket();
    int r = find_interface(p, fd, o, why_out);
    if (r == 0)
        r = choose_queues(p, fd, o, why_out);
    if (fd >= 0)
        close(fd);
    return r;
}

static void take_over(struct dk_xdp *x)
{
    const struct dk_xdp_port *p = x->port;
    x->dev.caps = p->caps;
    x->umem = p->umem;
    x->umem_bytes = p->umem_bytes;
    x->at = p->at;
    x->chunk_bytes = p->chunk_bytes;
    x->frame_max = p->frame_max;
    x->zero_copy = p->zero_copy;
    x->segments = p->segments;
}

int dk_xdp_port_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    struct dk_xdp_port *p = dk_heap_zalloc(sizeof(*p)); /* freed by dk_xdp_port_leave */
    if (!p)
        return dk_why(why_out, -ENOMEM, "xdp: no memory");
    x->port = p;
    p->users = p->members = 1;
    p->workers = o->worker.num > 1 ? o->worker.num : 1;
    p->watch_fd = p->link_fd = p->sockets_fd = p->claims_fd = p->lost_fd = -1;
    dk_list_init(&p->claims);
    memcpy(p->name, o->name, strlen(o->name)); /* it was checked */
    int r = look_at_all(p, o, why_out);
    if (r < 0)
        return r;
    if (dk_xdp_umem_open(p, o) < 0)
        return dk_why(why_out, -ENOMEM, "xdp: no memory for frames; ask for less (umem=, pool=)");
    take_over(x);
    return 0;
}

int dk_xdp_port_join(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    struct dk_xdp_port *p = dk_xdp_of(o->worker.first)->port;
    int r = 0;
    dk_lock(&p->lock);
    if (o->worker.index >= p->workers)
        r = dk_why(why_out, -EINVAL, "xdp: worker %u of %u", o->worker.index, p->workers);
    else if (p->members & 1u << o->worker.index)
        r = dk_why(why_out, -EBUSY, "xdp: worker %u has queues that are open until all are closed",
                   o->worker.index);
    if (r == 0) {
        p->members |= 1u << o->worker.index;
        p->users++;
    }
    dk_unlock(&p->lock);
    if (r < 0)
        return r;
    x->port = p;
    take_over(x);
    return 0;
}

/* All devices have come to their end: nothing is received any more, then nothing is in flight. */
static void destroy(struct dk_xdp_port *p)
{
    dk_xdp_program_close(p);
    for (struct dk_xdp *x = p->closed; x; x = x->next_closed)
        dk_xdp_sockets_close(x);
    if (p->registered)
        xsk_umem__delete(p->registered);
    for (struct dk_xdp *x = p->closed, *next; x; x = next) {
        next = x->next_closed;
        dk_xdp_share_close(x);
        dk_heap_free(x);
    }
    if (p->watch_fd >= 0)
        close(p->watch_fd);
    dk_xdp_umem_close(p);
    dk_heap_free(p);
}

void dk_xdp_port_leave(struct dk_xdp *x)
{
    struct dk_xdp_port *p = x->port;
    dk_lock(&p->lock);
    x->next_closed = p->closed;
    p->closed = x;
    const bool last = --p->users == 0;
    dk_unlock(&p->lock);
    if (last)
        destroy(p);
}
