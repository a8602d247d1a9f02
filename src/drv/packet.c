/* SPDX-License-Identifier: MIT */
/*
 * A packet socket (packet.h) with a receive ring of TPACKET_V2: slots of one size, each with a
 * status word that passes it to and fro.
 *
 * The kernel stores the status last (TP_STATUS_USER), we load it first (acquire); we store
 * TP_STATUS_KERNEL last (release), when the frame is copied. Invariant: slots are taken in order;
 * `next` is the one that the kernel fills next, or has filled longest ago.
 *
 * The kernel has taken the 802.1Q tag out of a frame by the time that it gets here; it is put back.
 */
#include "drv/packet.h"

#include "drv/fanout.h"
#include "drv/frame.h"
#include "drv/netif_find.h"
#include "drv/steer.h"
#include "drv/virtio.h"
#include "drv/wake.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_FRAMES 1024u
#define MIN_FRAMES     8u
#define MAX_FRAMES     65536u
#define MAX_BURST      64u
#define BLOCK_BYTES    (256u << 10) /* of the ring: contiguous memory that the kernel needs */
#define MAC_BYTES      12u          /* both addresses: the tag stands behind them */

struct packet {
    struct dk_netdev dev;
    struct dk_wake wake;
    struct dk_rxslab slab;
    uint8_t *ring;
    size_t ring_bytes;
    uint32_t slot_bytes;
    uint32_t num_slots;
    uint32_t next;
    uint32_t frame_max; /* of the interface, whatever ours is lowered to */
    int fd;
    bool headers; /* of virtio-net, before each frame that is sent */
    bool warned;
    struct dk_netdev_queue queue;
    char name[IFNAMSIZ];
};

static struct packet *packet_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct packet, dev);
}

static struct tpacket2_hdr *slot_at(const struct packet *p, uint32_t index)
{
    return (struct tpacket2_hdr *)(void *)(p->ring + (size_t)index * p->slot_bytes);
}

static void warn_too_long(struct packet *p, uint32_t bytes)
{
    if (p->warned)
        return;
    p->warned = true;
    dk_log(
        DK_LOG_WARN,
        "packet: %s hands up frames longer than its MTU (%u bytes); they are dropped. Run ethtool "
        "-K %s gro off lro off; and where the sender is on this host, at the other end of a veth: "
        "ethtool -K PEER tso off gso off",
        p->name, bytes, p->name);
}

static uint32_t tag_bytes(const struct tpacket2_hdr *slot, uint32_t status)
{
    return status & TP_STATUS_VLAN_VALID && slot->tp_snaplen >= MAC_BYTES ? DK_FRAME_TAG : 0;
}

/* Copies a frame of a slot, and puts its tag back. */
static void copy_out(const struct tpacket2_hdr *slot, uint32_t status, uint8_t *to)
{
    const uint8_t *from = (const uint8_t *)slot + slot->tp_mac;
    uint32_t len = slot->tp_snaplen;
    if (dk_likely(tag_bytes(slot, status) == 0)) {
        memcpy(to, from, len);
        return;
    }
    uint16_t tpid = status & TP_STATUS_VLAN_TPID_VALID ? slot->tp_vlan_tpid : ETH_P_8021Q;
    const uint16_t tag[2] = {htons(tpid), htons(slot->tp_vlan_tci)};
    memcpy(to, from, MAC_BYTES);
    memcpy(to + MAC_BYTES, tag, DK_FRAME_TAG);
    memcpy(to + MAC_BYTES + DK_FRAME_TAG, from + MAC_BYTES, len - MAC_BYTES);
}

/* One that this host sends: kernels before 4.20 show them. */
static bool is_outgoing(const struct tpacket2_hdr *slot)
{
    const struct sockaddr_ll *from =
        (const void *)((const uint8_t *)slot + TPACKET_ALIGN(sizeof(*slot)));
    return from->sll_pkttype == PACKET_OUTGOING;
}

/* Takes the frame of a slot: false when it is none for us, or was dropped. */
static bool receive(struct packet *p, const struct tpacket2_hdr *slot, uint32_t status,
                    struct dk_rx_frame *out)
{
    uint32_t bytes = slot->tp_len + tag_bytes(slot, status);
    if (dk_unlikely(is_outgoing(slot)))
        return false;
    if (dk_unlikely(bytes > p->frame_max || slot->tp_snaplen < slot->tp_len)) {
        dk_frame_drop_rx(&p->dev, rx_too_long, 1);
        warn_too_long(p, bytes);
        return false;
    }
    if (dk_unlikely(bytes < DK_FRAME_HEADER)) {
        dk_frame_drop_rx(&p->dev, rx_too_short, 1);
        return false;
    }
    uint8_t *room = dk_frame_room(&p->slab, bytes);
    if (dk_unlikely(!room)) {
        dk_frame_drop_rx(&p->dev, rx_no_memory, 1);
        return false;
    }
    copy_out(slot, status, room);
    dk_frame_take(&p->slab, bytes, out);
    /* One that was sent on this host, and has been on no wire. TP_STATUS_CSUM_VALID is no such
     * word: some kernels set it for sums that a NIC formed and nobody compared. */
    if (status & TP_STATUS_CSUMNOTREADY)
        out->checksum = DK_RX_CHECKSUM_GOOD;
    return true;
}

/* The ring was full, and frames were lost: asks how many. */
static void count_losses(struct packet *p)
{
    struct tpacket_stats stats; /* since they were last asked for */
    socklen_t len = sizeof(stats);
    if (getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0 && stats.tp_drops > 0)
        dk_frame_drop_rx(&p->dev, rx_ring_full, stats.tp_drops);
}

static uint32_t status_of(const struct tpacket2_hdr *slot)
{
    return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

static uint32_t rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    (void)now;
    struct packet *p = packet_of(dev);
    uint32_t n = 0, losing = 0;
    uint64_t bytes = 0;
    for (uint32_t slots = 0; slots < max; slots++) {
        struct tpacket2_hdr *slot = slot_at(p, p->next);
        uint32_t status = status_of(slot);
        if (!(status & TP_STATUS_USER))
            break;
        losing |= status & TP_STATUS_LOSING;
        if (receive(p, slot, status, &frames_out[n]))
            bytes += frames_out[n++].len;
        __atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        p->next = p->next + 1 == p->num_slots ? 0 : p->next + 1;
    }
    if (dk_unlikely(losing))
        count_losses(p);
    if (n > 0)
        dk_frame_count_rx(dev, n, bytes);
    return n;
}

/* Counts a frame that the kernel did not take: false when it is to be offered again. */
static bool refused(struct packet *p, int error)
{
    switch (error) {
    case EAGAIN:
        dk_wake_want_room(&p->wake, true);
        return false;
    case EMSGSIZE:
        dk_frame_drop_tx(&p->dev, tx_too_long);
        return true;
    case ENETDOWN:
    case ENXIO:
    case ENODEV:
        dk_frame_drop_tx(&p->dev, tx_link_down);
        return true;
    default: /* ENOBUFS: the queue of the interface is full, and nobody says when it is not */
        dk_frame_drop_tx(&p->dev, tx_refused);
        return true;
    }
}

struct batch {
    struct mmsghdr messages[MAX_BURST];
    struct virtio_net_hdr headers[MAX_BURST];
    struct iovec iovs[MAX_BURST][1 + DK_FRAME_IOVS];
};

/* The longest that this one may be. */
static inline uint32_t longest(const struct packet *p, const struct dk_tx_frame *frame)
{
    return frame->segment_bytes != 0 ? DK_VIRTIO_FRAME_MAX : p->frame_max;
}

static void describe_one(const struct packet *p, const struct dk_tx_frame *frame,
                         struct batch *batch, uint32_t i)
{
    struct iovec *iovs = batch->iovs[i];
    const uint32_t first = p->headers ? 0 : 1;
    const uint32_t parts = dk_frame_iovs(frame, iovs + 1) + 1;
    if (p->headers) {
        batch->headers[i] = dk_virtio_header(frame);
        iovs[0] = (struct iovec){&batch->headers[i], sizeof(batch->headers[i])};
    }
    batch->messages[i] = (struct mmsghdr){
        .msg_hdr = {.msg_iov = iovs + first, .msg_iovlen = parts - first},
    };
}

/* Describes frames until one does not fit the link, or the batch is full; returns how many. */
static uint32_t describe(struct packet *p, const struct dk_tx_frame frames[], uint32_t n,
                         struct batch *batch)
{
    uint32_t i;
    for (i = 0; i < n && i < MAX_BURST; i++) {
        uint32_t bytes = dk_tx_frame_bytes(&frames[i]);
        if (bytes < DK_FRAME_HEADER || bytes > longest(p, &frames[i]))
            break;
        describe_one(p, &frames[i], batch, i);
    }
    return i;
}

static void count_sent(struct packet *p, const struct batch *batch, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += batch->messages[i].msg_len - (p->headers ? sizeof(batch->headers[i]) : 0);
    dk_frame_count_tx(&p->dev, n, bytes);
}

/* Sends or drops n frames that fit, or fewer: how many it took, 0 when there is no room. */
static uint32_t send_some(struct packet *p, struct batch *batch, uint32_t n)
{
    int sent;
    do
        sent = sendmmsg(p->fd, batch->messages, n, MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return refused(p, errno) ? 1 : 0;
    count_sent(p, batch, (uint32_t)sent);
    return (uint32_t)sent;
}

static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    (void)now;
    struct packet *p = packet_of(dev);
    struct batch batch;
    uint32_t taken = 0;
    while (taken < n) {
        uint32_t fit = describe(p, frames + taken, n - taken, &batch);
        if (fit == 0) {
            const struct dk_tx_frame *misfit = &frames[taken];
            dk_frame_misfit(dev, dk_tx_frame_bytes(misfit), longest(p, misfit));
            taken++;
            continue;
        }
        uint32_t sent = send_some(p, &batch, fit);
        if (sent == 0)
            return taken;
        taken += sent;
    }
    dk_wake_want_room(&p->wake, false);
    return taken;
}

static int arm(struct dk_netdev *dev)
{
    struct packet *p = packet_of(dev);
    int error;
    socklen_t len = sizeof(error);
    if (status_of(slot_at(p, p->next)) & TP_STATUS_USER)
        return -1;
    /* An error (the interface went down) makes the socket readable until somebody asks. */
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return p->wake.epfd;
}

static enum dk_link link_state(struct dk_netdev *dev)
{
    struct packet *p = packet_of(dev);
    return dk_netif_has_carrier(p->fd, p->name) ? DK_LINK_UP : DK_LINK_DOWN;
}

static bool steers_here(struct dk_netdev *dev, const struct dk_flow *flow)
{
    const struct packet *p = packet_of(dev);
    return p->queue.num <= 1 || dk_steer_hash(flow) % p->queue.num == p->queue.index;
}

static void close_packet(struct dk_netdev *dev)
{
    struct packet *p = packet_of(dev);
    if (p->wake.epfd >= 0)
        dk_wake_close(&p->wake);
    if (p->ring)
        munmap(p->ring, p->ring_bytes);
    if (p->fd >= 0)
        close(p->fd);
    dk_frame_slab_close(&p->slab);
    dk_heap_free(p);
}

static void abandon(struct dk_netdev *dev)
{
    struct packet *p = packet_of(dev);
    dk_wake_close(&p->wake);
    munmap(p->ring, p->ring_bytes); /* it keeps the socket open */
    close(p->fd);
}

static const struct dk_netdev_ops ops = {
    .name = "packet",
    .rx_burst = rx_burst,
    .tx_burst = tx_burst,
    .arm = arm,
    .link = link_state,
    .steers_here = steers_here,
    .close = close_packet,
    .abandon = abandon,
};

static int open_socket(struct packet *p, const char **why_out)
{
    /* Of no protocol: nothing is received before bind. */
    p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd >= 0)
        return 0;
    if (errno == EPERM || errno == EACCES)
        return dk_why(why_out, -EPERM,
                      "no permission for packet sockets: run as root, or give the program the "
                      "capability: setcap cap_net_raw+ep PROGRAM");
    return dk_why(why_out, -errno, "cannot open a packet socket: %s", strerror(errno));
}

static int option(int fd, int name, int value)
{
    return setsockopt(fd, SOL_PACKET, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Bytes of a slot: a power of two, so that slots fill blocks. */
static uint32_t slot_bytes_of(uint32_t frame_max)
{
    uint32_t need = TPACKET2_HDRLEN + 2 * TPACKET_ALIGNMENT + frame_max, bytes = 2048;
    need += sizeof(struct virtio_net_hdr);
    while (bytes < need)
        bytes *= 2;
    return bytes;
}

static int map_ring(struct packet *p, uint32_t frames)
{
    uint32_t per_block = BLOCK_BYTES / p->slot_bytes;
    struct tpacket_req req = {
        .tp_block_size = BLOCK_BYTES,
        .tp_block_nr = (frames + per_block - 1) / per_block,
        .tp_frame_size = p->slot_bytes,
    };
    p->num_slots = req.tp_frame_nr = req.tp_block_nr * per_block;
    p->ring_bytes = (size_t)req.tp_block_nr * BLOCK_BYTES;
    if (setsockopt(p->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)) < 0)
        return -errno;
    void *map = mmap(NULL, p->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    p->ring = map;
    return 0;
}

/* Asks for the headers of offloads that are wanted; kernels that have none send frames as they are.
 * Before the ring is made. */
static void take_offloads(struct packet *p, uint32_t wanted)
{
    wanted &= DK_NETDEV_TX_CHECKSUM | DK_NETDEV_TSO;
    if (wanted == 0 || option(p->fd, PACKET_VNET_HDR, 1) < 0)
        return;
    p->headers = true;
    p->dev.caps.flags |= wanted;
}

static int open_ring(struct packet *p, uint32_t frames, size_t pool_bytes, const char **why_out)
{
    int r = option(p->fd, PACKET_VERSION, TPACKET_V2);
    if (r == 0)
        r = map_ring(p, frames);
    if (r < 0)
        return dk_why(why_out, r,
                      "packet: no receive ring of %u frames of %u bytes: %s; ask for "
                      "fewer with ring=",
                      frames, p->slot_bytes, strerror(-r));
    if (!dk_frame_slab_open(&p->slab, pool_bytes, p->frame_max))
        return dk_why(why_out, -ENOMEM, "packet: no memory to receive into");
    return 0;
}

static int join(const struct packet *p, int index, int type)
{
    const struct packet_mreq req = {.mr_ifindex = index, .mr_type = (unsigned short)type};
    return setsockopt(p->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &req, sizeof(req)) < 0 ? -errno : 0;
}

/* Asks for the frames of the interface; they come from here on. */
static int bind_socket(struct packet *p, int index, bool promiscuous, const char **why_out)
{
    const struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
    option(p->fd, PACKET_IGNORE_OUTGOING, 1);   /* or is_outgoing sees to it */
    int r = join(p, index, PACKET_MR_ALLMULTI); /* neighbour discovery */
    if (r == 0 && promiscuous)
        r = join(p, index, PACKET_MR_PROMISC);
    if (r == 0 && p->queue.first)
        r = dk_fanout_hold(p->fd);
    if (r == 0 && bind(p->fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        r = -errno;
    if (r == 0 && p->queue.num > 1)
        r = dk_fanout_join(p->fd, p->queue.first ? packet_of(p->queue.first)->fd : -1);
    return r < 0 ? dk_why(why_out, r, "cannot receive from interface %s: %s", p->name, strerror(-r))
                 : 0;
}

static bool set_address(struct packet *p, const struct dk_netif *netif, const struct dk_mac *wanted)
{
    static const struct dk_mac none;
    memcpy(p->dev.caps.mac.bytes, netif->mac, sizeof(netif->mac));
    if (dk_mac_equal(wanted, &none) || dk_mac_equal(wanted, &p->dev.caps.mac))
        return false;
    p->dev.caps.mac = *wanted;
    return true;
}

static int set_up(struct packet *p, const struct dk_packet_options *o, const char **why_out)
{
    struct dk_netif netif;
    uint32_t frames = o->ring_frames ? o->ring_frames : DEFAULT_FRAMES;
    int r = open_socket(p, why_out);
    if (r < 0 || (r = dk_netif_find(p->fd, p->name, o->mtu, &netif, why_out)) < 0)
        return r;
    p->frame_max = dk_frame_max(netif.mtu);
    p->slot_bytes = slot_bytes_of(p->frame_max);
    p->dev.caps.mtu = o->mtu ? o->mtu : netif.mtu;
    take_offloads(p, o->offloads);
    bool foreign = set_address(p, &netif, &o->mac);
    r = open_ring(p, frames < MIN_FRAMES ? MIN_FRAMES : frames, o->rx_pool_bytes, why_out);
    if (r < 0)
        return r;
    r = dk_wake_open(&p->wake, p->fd);
    if (r < 0)
        return dk_why(why_out, r, "packet: no epoll descriptor: %s", strerror(-r));
    return bind_socket(p, netif.index, o->promiscuous || foreign, why_out);
}

int dk_packet_open(struct dk_netdev **dev_out, const struct dk_packet_options *options,
                   const char **why_out)
{
    if (!options->name || !dk_netif_is_name(options->name))
        return dk_why(why_out, -EINVAL, "packet: \"%s\" cannot be the name of an interface",
                      options->name ? options->name : "");
    if (options->queue.first && options->queue.first->ops != &ops)
        return dk_why(why_out, -EINVAL, "packet: the first queue is of another device");
    if (options->ring_frames > MAX_FRAMES)
        return dk_why(why_out, -EINVAL, "packet: a ring of %u frames: at most %u",
                      options->ring_frames, MAX_FRAMES);
    struct packet *p = dk_heap_zalloc(sizeof(*p)); /* freed by close */
    if (!p)
        return dk_why(why_out, -ENOMEM, "packet: no memory");
    p->fd = p->wake.epfd = -1;
    p->dev.ops = &ops;
    p->dev.stats = &p->dev.own_stats;
    p->dev.caps.max_burst = MAX_BURST;
    p->dev.caps.flags = DK_NETDEV_LAST_WORDS;
    p->queue = options->queue;
    memcpy(p->name, options->name, strlen(options->name)); /* it was checked */
    int r = set_up(p, options, why_out);
    if (r < 0)
        close_packet(&p->dev);
    else
        *dev_out = &p->dev;
    return r;
}
