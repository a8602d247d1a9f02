/* SPDX-License-Identifier: MIT */
/*
 * Sockets, their rings, and the mode that they work in. The first socket of a port has the UMEM,
 * and is bound in the first of these modes
 *
 *     zero-copy mode, frames of several descriptors
 *     zero-copy mode
 *     copy mode, frames of several descriptors (Linux 6.6)
 *     copy mode
 *
 * that the kernel and the driver of the interface have (features.c); the others share both. A
 * socket that could not be
 * bound cannot be bound again, so each try has one of its own.
 *
 * Opening waits for a queue that its last user has just left: up to three seconds, under load.
 */
#include "drv/why.h"
#include "drv/xdp/state.h"
#include "os/log.h"
#include "os/netif.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUSY_POLL_US     20
#define BUSY_POLL_BUDGET 64
#define BUSY_WAIT_NS     5000000
#define BUSY_WAITS       20
#define IDLE_WAITS       600
#define RING_FRAMES      2048u

#ifndef SO_PREFER_BUSY_POLL /* Linux 5.11 */
#define SO_PREFER_BUSY_POLL 69
#define SO_BUSY_POLL_BUDGET 70
#endif

static uint32_t power_of_two(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

/* Of a device, at most. */
static uint32_t queues_each(const struct dk_xdp_port *p)
{
    return (p->num_queues + p->workers - 1) / p->workers;
}

/* Entries of a fill ring: all buffers find room in the rings of their device, or, where it has
 * several of these, fill them all. */
static uint32_t fill_size(const struct dk_xdp_port *p)
{
    const uint32_t each = p->bufs_each / queues_each(p), size = power_of_two(each);
    return size > each && queues_each(p) > 1 ? size / 2 : size;
}

static struct xsk_socket_config config_of(uint32_t frames, uint16_t flags)
{
    return (struct xsk_socket_config){
        .rx_size = frames,
        .tx_size = frames,
        .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
        .bind_flags = flags,
    };
}

/* The first socket of a port: 0 or a negative errno; then nothing is open. */
static int try_mode(struct dk_xdp *x, uint16_t flags, uint32_t frames)
{
    struct dk_xdp_port *p = x->port;
    struct dk_xdp_queue *q = &x->queues[0];
    const struct xsk_umem_config memory = {
        .fill_size = fill_size(p),
        .comp_size = power_of_two(x->num_ids),
        .frame_size = p->chunk_bytes,
        .flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG,
    };
    const struct xsk_socket_config config = config_of(frames, flags | XDP_USE_NEED_WAKEUP);
    int r =
        xsk_umem__create(&p->registered, p->umem, p->umem_bytes, &q->fill, &q->completed, &memory);
    if (r < 0)
        return r;
    r = xsk_socket__create(&q->socket, p->name, p->first_queue, p->registered, &q->rx, &q->tx,
                           &config);
    if (r < 0) {
        xsk_umem__delete(p->registered);
        p->registered = NULL;
        q->socket = NULL;
    }
    return r;
}

uint32_t dk_xdp_modes(const struct dk_xdp_options *o, const struct dk_xdp_features *features,
                      uint16_t modes_out[DK_XDP_MODES_MAX])
{
    const bool generic = o->mode && strcmp(o->mode, "generic") == 0;
    uint32_t n = 0;
    if (features->zero_copy && !o->copy && !generic) {
        if (features->zero_copy_segments)
            modes_out[n++] = XDP_ZEROCOPY | XDP_USE_SG;
        modes_out[n++] = XDP_ZEROCOPY;
    }
    modes_out[n++] = XDP_COPY | XDP_USE_SG;
    modes_out[n++] = XDP_COPY;
    return n;
}

static int try_modes(struct dk_xdp *x, const struct dk_xdp_options *o, uint32_t frames)
{
    struct dk_xdp_port *p = x->port;
    const struct dk_xdp_features features = dk_xdp_features_of(p->ifindex);
    uint16_t modes[DK_XDP_MODES_MAX];
    const uint32_t n = dk_xdp_modes(o, &features, modes);
    int r = -EOPNOTSUPP;
    for (uint32_t i = 0; i < n; i++) {
        p->zero_copy = x->zero_copy = (modes[i] & XDP_ZEROCOPY) != 0;
        p->segments = x->segments = (modes[i] & XDP_USE_SG) != 0;
        r = try_mode(x, modes[i], frames);
        if (r == 0 || r == -EBUSY || r == -EPERM || r == -ENOMEM || r == -ENOBUFS)
            break;
    }
    return r;
}

/* The interface's queue of a device's. */
static uint32_t number_of(const struct dk_xdp *x, uint32_t index)
{
    return x->port->first_queue + x->worker + index * x->port->workers;
}

/* Another socket of the port; one that only receives, but for the first of a device. */
static int try_another(struct dk_xdp *x, uint32_t index, uint32_t frames)
{
    struct dk_xdp_queue *q = &x->queues[index];
    const struct xsk_socket_config config = config_of(frames, 0);
    return xsk_socket__create_shared(&q->socket, x->port->name, number_of(x, index),
                                     x->port->registered, &q->rx, index == 0 ? &q->tx : NULL,
                                     &q->fill, &q->completed, &config);
}

static int try_one(struct dk_xdp *x, const struct dk_xdp_options *o, uint32_t index,
                   uint32_t frames)
{
    return x->port->registered ? try_another(x, index, frames) : try_modes(x, o, frames);
}

static bool has_program(const struct dk_xdp *x)
{
    uint32_t id = 0;
    return bpf_xdp_query_id(x->port->ifindex, 0, &id) == 0 && id != 0;
}

/* The kernel lets go of a queue later than its last user does, whose program is gone by then. */
static int try_patiently(struct dk_xdp *x, const struct dk_xdp_options *o, uint32_t index,
                         uint32_t frames)
{
    const struct timespec moment = {.tv_nsec = BUSY_WAIT_NS};
    int r = try_one(x, o, index, frames);
    for (int i = 0; r == -EBUSY && i < (has_program(x) ? BUSY_WAITS : IDLE_WAITS); i++) {
        nanosleep(&moment, NULL);
        r = try_one(x, o, index, frames);
    }
    return r;
}

static int fail(const struct dk_xdp *x, uint32_t index, int error, const char **why_out)
{
    const struct dk_xdp_port *p = x->port;
    const uint32_t queue = number_of(x, index);
    switch (error) {
    case -EPERM:
    case -EACCES:
        return dk_why(why_out, -EPERM,
                      "no permission for AF_XDP: run as root, or give the program the "
                      "capabilities: setcap "
                      "cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep PROGRAM");
    case -EBUSY:
        return dk_why(why_out, error,
                      "xdp: somebody else has queue %u of %s: stop that program, or take another "
                      "queue (queue=)",
                      queue, p->name);
    case -EAFNOSUPPORT:
        return dk_why(why_out, error, "xdp: this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)");
    case -ENOBUFS:
    case -ENOMEM:
        return dk_why(why_out, -ENOMEM,
                      "xdp: %zu bytes cannot be locked in memory: raise the limit (ulimit -l), or "
                      "ask for less (umem=, pool=)",
                      p->umem_bytes);
    default:
        return dk_why(why_out, error,
                      "xdp: no socket on queue %u of %s: %s; ip -d link show %s shows its queues",
                      queue, p->name, strerror(-error), p->name);
    }
}

static int option(int fd, int name, int value)
{
    return setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static bool poll_busily(int fd)
{
    return option(fd, SO_PREFER_BUSY_POLL, 1) == 0 && option(fd, SO_BUSY_POLL, BUSY_POLL_US) == 0 &&
           option(fd, SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET) == 0;
}

static void poll_all_busily(struct dk_xdp *x)
{
    x->busy_poll = true;
    for (uint32_t i = 0; i < x->num_queues; i++)
        x->busy_poll &= poll_busily(x->queues[i].fd);
    if (!x->busy_poll)
        dk_log(DK_LOG_WARN, "xdp: %s is not polled busily: %s (Linux 5.11 can)", x->port->name,
               strerror(errno));
}

static int join(const struct dk_xdp_port *p, unsigned short type)
{
    const struct packet_mreq req = {.mr_ifindex = p->ifindex, .mr_type = type};
    return setsockopt(p->watch_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &req, sizeof(req)) < 0
               ? -errno
               : 0;
}

/* Has the interface hand up what is sent to groups (neighbour discovery), or everything, where we
 * are alone: that is done by a packet socket. What there is to ask of interfaces any other answers,
 * too, whose closing waits for nothing. */
static int watch(struct dk_xdp_port *p, const struct dk_xdp_options *o)
{
    const bool member = o->whole || o->promiscuous;
    if (p->watch_fd >= 0)
        return 0;
    p->watch_fd = member ? socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) : dk_netif_socket();
    int r = p->watch_fd < 0 ? -errno : 0;
    if (r == 0 && o->whole)
        r = join(p, PACKET_MR_ALLMULTI);
    if (r == 0 && o->promiscuous)
        r = join(p, PACKET_MR_PROMISC);
    return r;
}

/* A child of a fork would keep the socket open by what it has mapped of it. */
static void keep_from_children(const void *entries, uint64_t offset, size_t bytes)
{
    madvise((uint8_t *)(uintptr_t)entries - offset, offset + bytes, MADV_DONTFORK);
}

static void keep_rings(const struct dk_xdp_queue *q)
{
    struct xdp_mmap_offsets offsets;
    socklen_t len = sizeof(offsets);
    if (getsockopt(q->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &len) < 0)
        return;
    keep_from_children(q->fill.ring, offsets.fr.desc, q->fill.size * sizeof(uint64_t));
    keep_from_children(q->completed.ring, offsets.cr.desc, q->completed.size * sizeof(uint64_t));
    keep_from_children(q->rx.ring, offsets.rx.desc, q->rx.size * sizeof(struct xdp_desc));
    if (q->tx.ring)
        keep_from_children(q->tx.ring, offsets.tx.desc, q->tx.size * sizeof(struct xdp_desc));
}

static int be_quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    (void)level, (void)format, (void)args;
    return 0;
}

static int open_all(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    const uint32_t frames = o->ring_frames ? o->ring_frames : RING_FRAMES;
    while (number_of(x, x->num_queues) < x->port->first_queue + x->port->num_queues) {
        struct dk_xdp_queue *q = &x->queues[x->num_queues];
        int r = try_patiently(x, o, x->num_queues, frames);
        if (r < 0)
            return fail(x, x->num_queues, r, why_out);
        q->fd = xsk_socket__fd(q->socket);
        keep_rings(q);
        x->num_queues++;
    }
    return 0;
}

/* Sleeping ends with a frame in any queue. */
static int wake_by_all(struct dk_xdp *x)
{
    struct epoll_event event = {.events = EPOLLIN};
    int r = dk_wake_open(&x->wake, x->queues[0].fd);
    for (uint32_t i = 1; i < x->num_queues && r == 0; i++)
        if (epoll_ctl(x->wake.epfd, EPOLL_CTL_ADD, x->queues[i].fd, &event) < 0)
            r = -errno;
    return r;
}

int dk_xdp_sockets_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    libbpf_set_print(be_quiet); /* what fails is said by who asked */
    dk_lock(&x->port->lock);
    int r = open_all(x, o, why_out);
    if (r == 0 && (r = watch(x->port, o)) < 0)
        fail(x, 0, r, why_out);
    dk_unlock(&x->port->lock);
    if (r < 0)
        return r;
    if (o->busy_poll)
        poll_all_busily(x);
    r = wake_by_all(x);
    return r < 0 ? fail(x, 0, r, why_out) : 0;
}

void dk_xdp_sockets_close(struct dk_xdp *x)
{
    for (uint32_t i = 0; i < x->num_queues; i++)
        xsk_socket__delete(x->queues[i].socket);
}
