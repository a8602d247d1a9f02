/* SPDX-License-Identifier: MIT */
/*
 * TAP (tap.h): one read or writev per frame, without a header of its own (IFF_NO_PI).
 *
 * With offloads each frame has the header of virtio-net before it. What we send names a checksum to
 * be finished, and a length to be cut into: the kernel's stack takes such a packet whole, and cuts
 * it only where it leaves by another interface. What we receive may lack its checksum: then it has
 * been on no wire. Longer than the MTU it is never.
 *
 * A read has room for one byte more than the longest frame: what fills it was longer, and is not
 * whole. Whoever deletes the interface makes the descriptor report errors for ever; it is not
 * watched any more then, and the link is down.
 */
#include "drv/tap.h"

#include "drv/frame.h"
#include "drv/steer.h"
#include "drv/virtio.h"
#include "drv/wake.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/log.h"
#include "os/netif.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define DEVICE    "/dev/net/tun"
#define MAX_BURST 64u

struct tap {
    struct dk_netdev dev;
    struct dk_wake wake;
    struct dk_rxslab slab;
    uint32_t frame_max; /* of the interface, whatever ours is lowered to */
    bool headers;       /* of virtio-net, before each frame */
    int fd;
    int control_fd; /* in the network namespace of the interface */
    bool gone;
    struct dk_netdev_queue queue;
    char name[IFNAMSIZ];
};

static struct tap *tap_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct tap, dev);
}

static void lose(struct tap *t)
{
    if (t->gone)
        return;
    t->gone = true;
    dk_wake_forget(&t->wake);
    dk_log(DK_LOG_ERROR, "tap: interface %s is gone", t->name);
}

enum read_result { READ_NOTHING, READ_FRAME, READ_DROPPED };

static enum read_result judge(struct tap *t, ssize_t n, struct dk_rx_frame *out)
{
    if (dk_likely(n >= (ssize_t)DK_FRAME_HEADER && n <= (ssize_t)t->frame_max)) {
        dk_frame_take(&t->slab, (uint32_t)n, out);
        return READ_FRAME;
    }
    if (n > (ssize_t)t->frame_max)
        dk_frame_drop_rx(&t->dev, rx_too_long, 1);
    else
        dk_frame_drop_rx(&t->dev, rx_too_short, 1);
    return READ_DROPPED;
}

/* Reads a frame: its bytes, or -1. */
static ssize_t read_frame(struct tap *t, uint8_t *room, uint8_t *checksum)
{
    struct virtio_net_hdr header = {.flags = 0};
    const struct iovec iovs[2] = {{&header, sizeof(header)}, {room, t->frame_max + 1}};
    const int first = t->headers ? 0 : 1;
    ssize_t n;
    do
        n = readv(t->fd, iovs + first, 2 - first);
    while (n < 0 && errno == EINTR);
    const bool good = t->dev.caps.flags & DK_NETDEV_RX_CHECKSUM &&
                      header.flags & (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID);
    *checksum = good ? DK_RX_CHECKSUM_GOOD : DK_RX_CHECKSUM_UNKNOWN;
    return n < 0 || !t->headers ? n : n - (ssize_t)sizeof(header);
}

static enum read_result receive(struct tap *t, struct dk_rx_frame *out)
{
    uint8_t checksum;
    uint8_t *room = dk_frame_room(&t->slab, t->frame_max + 1);
    if (dk_unlikely(!room)) {
        dk_count(&t->dev.stats->rx_no_memory, 1); /* the frame stays where it is */
        return READ_NOTHING;
    }
    const ssize_t n = read_frame(t, room, &checksum);
    const int error = errno;
    if (dk_likely(n >= 0)) {
        const enum read_result result = judge(t, n, out);
        if (result == READ_FRAME)
            out->checksum = checksum;
        return result;
    }
    if (error == EBADFD)
        lose(t);
    return READ_NOTHING;
}

static uint32_t rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    (void)now;
    struct tap *t = tap_of(dev);
    uint32_t n = 0;
    uint64_t bytes = 0;
    for (uint32_t reads = 0; reads < max; reads++) { /* what is dropped counts: a flood ends too */
        enum read_result got = receive(t, &frames_out[n]);
        if (got == READ_NOTHING)
            break;
        if (got == READ_FRAME)
            bytes += frames_out[n++].len;
    }
    if (n > 0)
        dk_frame_count_rx(dev, n, bytes);
    return n;
}

/* Counts a frame that the kernel did not take: false when it is to be offered again. */
static bool refused(struct tap *t, int error)
{
    switch (error) {
    case EAGAIN:
        dk_wake_want_room(&t->wake, true);
        return false;
    case EBADFD:
        lose(t);
        dk_frame_drop_tx(&t->dev, tx_link_down);
        return true;
    case EIO:
        dk_frame_drop_tx(&t->dev, tx_link_down);
        return true;
    default:
        dk_frame_drop_tx(&t->dev, tx_refused);
        return true;
    }
}

/* Sends or drops one frame: false when there is no room. */
static bool send_one(struct tap *t, const struct dk_tx_frame *frame)
{
    struct virtio_net_hdr header = dk_virtio_header(frame);
    struct iovec iovs[1 + DK_FRAME_IOVS] = {{&header, sizeof(header)}};
    const uint32_t bytes = dk_tx_frame_bytes(frame), parts = dk_frame_iovs(frame, iovs + 1);
    const uint32_t first = t->headers ? 0 : 1;
    if (!dk_frame_fits(&t->dev, bytes,
                       frame->segment_bytes != 0 ? DK_VIRTIO_FRAME_MAX : t->frame_max))
        return true;
    ssize_t n;
    do
        n = writev(t->fd, iovs + first, (int)(parts + 1 - first));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return refused(t, errno);
    dk_frame_count_tx(&t->dev, 1, bytes);
    return true;
}

static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    (void)now;
    struct tap *t = tap_of(dev);
    uint32_t i = 0;
    while (i < n && send_one(t, &frames[i]))
        i++;
    if (i == n)
        dk_wake_want_room(&t->wake, false);
    return i;
}

static int arm(struct dk_netdev *dev)
{
    return tap_of(dev)->wake.epfd;
}

static enum dk_link link_state(struct dk_netdev *dev)
{
    struct tap *t = tap_of(dev);
    return !t->gone && dk_netif_has_carrier(t->control_fd, t->name) ? DK_LINK_UP : DK_LINK_DOWN;
}

static const struct dk_netdev_ops steered_ops;
static bool set_steering(const struct tap *t, int program);

static void close_tap(struct dk_netdev *dev)
{
    struct tap *t = tap_of(dev);
    if (t->wake.epfd >= 0)
        dk_wake_close(&t->wake);
    if (t->dev.ops == &steered_ops && !t->queue.first)
        set_steering(t, -1); /* the interface may stay */
    if (t->fd >= 0)
        close(t->fd);
    if (t->control_fd >= 0)
        close(t->control_fd);
    dk_frame_slab_close(&t->slab);
    dk_heap_free(t);
}

static void abandon(struct dk_netdev *dev)
{
    struct tap *t = tap_of(dev);
    dk_wake_close(&t->wake);
    close(t->fd);
    if (t->control_fd >= 0)
        close(t->control_fd);
}

static bool steers_here(struct dk_netdev *dev, const struct dk_flow *flow)
{
    const struct tap *t = tap_of(dev);
    return dk_steer_hash(flow) % t->queue.num == t->queue.index;
}

#define OPS                                                                                        \
    .name = "tap", .rx_burst = rx_burst, .tx_burst = tx_burst, .arm = arm, .link = link_state,     \
    .close = close_tap, .abandon = abandon

static const struct dk_netdev_ops ops = {OPS};
/* Of a queue whose flows are known. */
static const struct dk_netdev_ops steered_ops = {OPS, .steers_here = steers_here};

/* Has the program deal frames out, or the kernel. The first queue does so for all. */
static bool set_steering(const struct tap *t, int program)
{
    return ioctl(t->fd, TUNSETSTEERINGEBPF, &program) == 0;
}

static void steer(struct tap *t)
{
    if (t->queue.num <= 1)
        return;
    if (t->queue.first) {
        t->dev.ops = t->queue.first->ops;
        return;
    }
    const int program = dk_steer_load();
    if (program >= 0 && set_steering(t, program))
        t->dev.ops = &steered_ops;
    else
        dk_log(DK_LOG_INFO,
               "tap: no program deals frames out to the workers (%s): the kernel does, and a few "
               "come to the wrong one",
               strerror(program < 0 ? -program : errno));
    if (program >= 0)
        close(program);
}

/* Why /dev/net/tun does not open. */
static int no_device(int error, const char **why_out)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return dk_why(why_out, -EPERM,
                      "no permission to open " DEVICE ": run as root, or let this user open it "
                      "(chmod 666 " DEVICE ", as most systems have it)");
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return dk_why(why_out, -ENOENT,
                      "there is no " DEVICE ": modprobe tun; in a container, "
                      "pass the device to it");
    default:
        return dk_why(why_out, -error, "cannot open " DEVICE ": %s", strerror(error));
    }
}

/* Why the interface cannot be attached to. */
static int not_attached(int error, const struct tap *t, const char **why_out)
{
    const char *name = t->name;
    switch (error) {
    case EPERM:
    case EACCES:
        return dk_why(why_out, -EPERM,
                      "no permission to use interface %s: run as root, or give it to this user: "
                      "ip tuntap add mode tap user NAME name %s",
                      name, name);
    case EBUSY:
        return dk_why(why_out, -EBUSY, "interface %s is in use: another process has it open", name);
    case EINVAL:
        if (t->queue.num > 1)
            return dk_why(why_out, -EINVAL,
                          "interface %s is no TAP interface of several queues, which several "
                          "workers need: name one made with ip tuntap add mode tap multi_queue, or "
                          "one that does not exist; or set workers to 1",
                          name);
        return dk_why(
            why_out, -EINVAL,
            "interface %s is no TAP interface: name one made with ip tuntap add mode tap, "
            "or one that does not exist; for others use packet:%s",
            name, name);
    default:
        return dk_why(why_out, -error, "cannot use interface %s: %s", name, strerror(error));
    }
}

static int attach(const struct tap *t, short flags)
{
    /* One that was made with several queues wants to be asked for one of them. */
    static const short kinds[] = {IFF_TAP | IFF_NO_PI, IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};
    for (int i = t->queue.num > 1;; i++) {
        struct ifreq req = {.ifr_flags = (short)(kinds[i] | flags)};
        memcpy(req.ifr_name, t->name, strnlen(t->name, IFNAMSIZ - 1));
        if (ioctl(t->fd, TUNSETIFF, &req) == 0)
            return 0;
        if (errno != EINVAL || i == 1)
            return -errno;
    }
}

/* Where the kernel has offloads, those that are wanted: checksums both ways, and segments. What we
 * take unfinished is said in any case: an interface that stays has it of who had it before. */
static int attach_with_offloads(struct tap *t, uint32_t wanted)
{
    const uint32_t all = DK_NETDEV_TX_CHECKSUM | DK_NETDEV_RX_CHECKSUM | DK_NETDEV_TSO;
    t->headers = (wanted & all) != 0;
    const int r = attach(t, t->headers ? IFF_VNET_HDR : 0);
    if (r < 0)
        return r;
    t->dev.caps.flags |= wanted & all;
    ioctl(t->fd, TUNSETOFFLOAD, wanted & DK_NETDEV_RX_CHECKSUM ? TUN_F_CSUM : 0);
    return 0;
}

/* Brings an interface up that was made just now, with the MTU that is wanted. */
static int set_up_new(struct tap *t, uint32_t mtu, const char **why_out)
{
    int r = mtu ? dk_netif_set_mtu(t->control_fd, t->name, mtu) : 0;
    if (r < 0)
        return dk_why(why_out, r, "cannot give interface %s an MTU of %u: %s", t->name, mtu,
                      strerror(-r));
    r = dk_netif_set_up(t->control_fd, t->name);
    if (r < 0)
        return dk_why(why_out, r, "cannot bring interface %s up: %s", t->name, strerror(-r));
    return 0;
}

static int check(const struct tap *t, const struct dk_netif *netif, uint32_t mtu,
                 const char **why_out)
{
    if (!netif->up)
        return dk_why(why_out, -ENETDOWN, "interface %s is down: ip link set %s up", t->name,
                      t->name);
    if (!netif->carrier)
        return dk_why(why_out, -ENETDOWN, "interface %s has no carrier: ip link set %s carrier on",
                      t->name, t->name);
    if (mtu > netif->mtu)
        return dk_why(why_out, -EINVAL,
                      "an MTU of %u is more than interface %s has (%u): ip link set %s mtu %u", mtu,
                      t->name, netif->mtu, t->name, mtu);
    return 0;
}

/* The kernel has one end of the link; ours gets an address next to its. */
static struct dk_mac address_of(const struct dk_netif *netif, const struct dk_mac *wanted)
{
    static const struct dk_mac none;
    struct dk_mac mac;
    if (!dk_mac_equal(wanted, &none))
        return *wanted;
    memcpy(mac.bytes, netif->mac, sizeof(mac.bytes));
    mac.bytes[0] |= 2; /* locally administered */
    mac.bytes[5] ^= 1;
    return mac;
}

static int attach_and_look(struct tap *t, const struct dk_tap_options *o, struct dk_netif *netif,
                           const char **why_out)
{
    bool is_new = dk_netif_look(t->control_fd, t->name, netif) == -ENODEV;
    int r = attach_with_offloads(t, o->offloads);
    if (r < 0)
        return not_attached(-r, t, why_out);
    if (is_new && (r = set_up_new(t, o->mtu, why_out)) < 0)
        return r;
    steer(t);
    r = dk_netif_look(t->control_fd, t->name, netif);
    if (r < 0)
        return dk_why(why_out, r, "cannot look at interface %s: %s", t->name, strerror(-r));
    return check(t, netif, o->mtu, why_out);
}

static int set_up(struct tap *t, const struct dk_tap_options *o, const char **why_out)
{
    struct dk_netif netif;
    t->fd = open(DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (t->fd < 0)
        return no_device(errno, why_out);
    t->control_fd = dk_netif_socket();
    if (t->control_fd < 0)
        return dk_why(why_out, t->control_fd, "tap: no socket: %s", strerror(-t->control_fd));
    int r = attach_and_look(t, o, &netif, why_out);
    if (r < 0)
        return r;
    t->frame_max = dk_frame_max(netif.mtu);
    t->dev.caps.mac = address_of(&netif, &o->mac);
    t->dev.caps.mtu = o->mtu ? o->mtu : netif.mtu;
    if (!dk_frame_slab_open(&t->slab, o->rx_pool_bytes, t->frame_max))
        return dk_why(why_out, -ENOMEM, "tap: no memory to receive into");
    r = dk_wake_open(&t->wake, t->fd);
    return r < 0 ? dk_why(why_out, r, "tap: no epoll descriptor: %s", strerror(-r)) : 0;
}

int dk_tap_open(struct dk_netdev **dev_out, const struct dk_tap_options *options,
                const char **why_out)
{
    if (!options->name || !dk_netif_is_name(options->name))
        return dk_why(why_out, -EINVAL, "tap: \"%s\" cannot be the name of an interface",
                      options->name ? options->name : "");
    struct tap *t = dk_heap_zalloc(sizeof(*t)); /* freed by close */
    if (!t)
        return dk_why(why_out, -ENOMEM, "tap: no memory");
    t->fd = t->control_fd = t->wake.epfd = -1;
    t->dev.ops = &ops;
    t->dev.stats = &t->dev.own_stats;
    t->dev.caps.max_burst = MAX_BURST;
    t->dev.caps.flags = DK_NETDEV_LAST_WORDS;
    t->queue = options->queue;
    memcpy(t->name, options->name, strlen(options->name)); /* it was checked */
    int r = set_up(t, options, why_out);
    if (r < 0)
        close_tap(&t->dev);
    else
        *dev_out = &t->dev;
    return r;
}
