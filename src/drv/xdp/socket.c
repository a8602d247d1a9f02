/* SPDX-License-Identifier: MIT */
/*
 * The socket, its rings, and the mode that they work in: the first of
 *
 *     zero-copy mode, frames of several descriptors
 *     zero-copy mode
 *     copy mode, frames of several descriptors (Linux 6.6)
 *     copy mode
 *
 * that the kernel and the driver of the interface have (features.c). A socket that could not be
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

/* 0 or a negative errno; then nothing is open. */
static int try_mode(struct dk_xdp *x, uint16_t flags, uint32_t frames)
{
    const struct xsk_umem_config memory = {
        .fill_size = power_of_two(x->num_bufs),
        .comp_size = power_of_two(x->num_ids),
        .frame_size = x->chunk_bytes,
        .flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG,
    };
    const struct xsk_socket_config config = {
        .rx_size = frames,
        .tx_size = frames,
        .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
        .bind_flags = flags | XDP_USE_NEED_WAKEUP,
    };
    int r =
        xsk_umem__create(&x->registered, x->umem, x->umem_bytes, &x->fill, &x->completed, &memory);
    if (r < 0)
        return r;
    r = xsk_socket__create(&x->socket, x->name, x->queue, x->registered, &x->rx, &x->tx, &config);
    if (r < 0) {
        xsk_umem__delete(x->registered);
        x->registered = NULL;
        x->socket = NULL;
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
    const struct dk_xdp_features features = dk_xdp_features_of(x->ifindex);
    uint16_t modes[DK_XDP_MODES_MAX];
    const uint32_t n = dk_xdp_modes(o, &features, modes);
    int r = -EOPNOTSUPP;
    for (uint32_t i = 0; i < n; i++) {
        x->zero_copy = (modes[i] & XDP_ZEROCOPY) != 0;
        x->segments = (modes[i] & XDP_USE_SG) != 0;
        r = try_mode(x, modes[i], frames);
        if (r == 0 || r == -EBUSY || r == -EPERM || r == -ENOMEM || r == -ENOBUFS)
            break;
    }
    return r;
}

static bool has_program(const struct dk_xdp *x)
{
    uint32_t id = 0;
    return bpf_xdp_query_id(x->ifindex, 0, &id) == 0 && id != 0;
}

/* The kernel lets go of a queue later than its last user does, whose program is gone by then. */
static int try_patiently(struct dk_xdp *x, const struct dk_xdp_options *o, uint32_t frames)
{
    const struct timespec moment = {.tv_nsec = BUSY_WAIT_NS};
    int r = try_modes(x, o, frames);
    for (int i = 0; r == -EBUSY && i < (has_program(x) ? BUSY_WAITS : IDLE_WAITS); i++) {
        nanosleep(&moment, NULL);
        r = try_modes(x, o, frames);
    }
    return r;
}

static int fail(const struct dk_xdp *x, int error, const char **why_out)
{
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
                      x->queue, x->name);
    case -EAFNOSUPPORT:
        return dk_why(why_out, error, "xdp: this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)");
    case -ENOBUFS:
    case -ENOMEM:
        return dk_why(why_out, -ENOMEM,
                      "xdp: %zu bytes cannot be locked in memory: raise the limit (ulimit -l), or "
                      "ask for less (umem=, pool=)",
                      x->umem_bytes);
    default:
        return dk_why(why_out, error,
                      "xdp: no socket on queue %u of %s: %s; ip -d link show %s shows its queues",
                      x->queue, x->name, strerror(-error), x->name);
    }
}

static int option(int fd, int name, int value)
{
    return setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static void poll_busily(struct dk_xdp *x)
{
    int r = option(x->fd, SO_PREFER_BUSY_POLL, 1);
    if (r == 0)
        r = option(x->fd, SO_BUSY_POLL, BUSY_POLL_US);
    if (r == 0)
        r = option(x->fd, SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET);
    x->busy_poll = r == 0;
    if (r < 0)
        dk_log(DK_LOG_WARN, "xdp: %s is not polled busily: %s (Linux 5.11 can)", x->name,
               strerror(-r));
}

static int join(const struct dk_xdp *x, unsigned short type)
{
    const struct packet_mreq req = {.mr_ifindex = x->ifindex, .mr_type = type};
    return setsockopt(x->watch_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &req, sizeof(req)) < 0
               ? -errno
               : 0;
}

/* Has the interface hand up what is sent to groups (neighbour discovery), or everything, where we
 * are alone: that is done by a packet socket. What there is to ask of interfaces any other answers,
 * too, whose closing waits for nothing. */
static int watch(struct dk_xdp *x, const struct dk_xdp_options *o)
{
    const bool member = o->whole || o->promiscuous;
    x->watch_fd = member ? socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) : dk_netif_socket();
    int r = x->watch_fd < 0 ? -errno : 0;
    if (r == 0 && o->whole)
        r = join(x, PACKET_MR_ALLMULTI);
    if (r == 0 && o->promiscuous)
        r = join(x, PACKET_MR_PROMISC);
    return r;
}

/* A child of a fork would keep the socket open by what it has mapped of it. */
static void keep_from_children(const void *entries, uint64_t offset, size_t bytes)
{
    madvise((uint8_t *)(uintptr_t)entries - offset, offset + bytes, MADV_DONTFORK);
}

static void keep_rings(struct dk_xdp *x)
{
    struct xdp_mmap_offsets offsets;
    socklen_t len = sizeof(offsets);
    if (getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &offsets, &len) < 0)
        return;
    keep_from_children(x->fill.ring, offsets.fr.desc, x->fill.size * sizeof(uint64_t));
    keep_from_children(x->completed.ring, offsets.cr.desc, x->completed.size * sizeof(uint64_t));
    keep_from_children(x->rx.ring, offsets.rx.desc, x->rx.size * sizeof(struct xdp_desc));
    keep_from_children(x->tx.ring, offsets.tx.desc, x->tx.size * sizeof(struct xdp_desc));
}

static int be_quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    (void)level, (void)format, (void)args;
    return 0;
}

int dk_xdp_socket_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    const uint32_t frames = o->ring_frames ? o->ring_frames : RING_FRAMES;
    libbpf_set_print(be_quiet); /* what fails is said by who asked */
    int r = try_patiently(x, o, frames);
    if (r < 0)
        return fail(x, r, why_out);
    x->fd = xsk_socket__fd(x->socket);
    keep_rings(x);
    if (o->busy_poll)
        poll_busily(x);
    r = watch(x, o);
    if (r == 0)
        r = dk_wake_open(&x->wake, x->fd);
    return r < 0 ? fail(x, r, why_out) : 0;
}

void dk_xdp_socket_close(struct dk_xdp *x)
{
    if (x->wake.epfd >= 0)
        dk_wake_close(&x->wake);
    if (x->watch_fd >= 0)
        close(x->watch_fd);
    if (x->socket)
        xsk_socket__delete(x->socket);
    if (x->registered)
        xsk_umem__delete(x->registered);
}
