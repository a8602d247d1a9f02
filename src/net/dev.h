/* SPDX-License-Identifier: MIT */
/*
 * The contract of a network device: what src/drv implements and the stack runs over.
 *
 * A device belongs to one instance: all calls but `kick` of its glue are made under that instance's
 * lead, one at a time. Time is an argument (monotonic nanoseconds); a driver reads no clock. None
 * blocks. A decorator (pcap, fault) is a device over another device that it owns.
 *
 * Life: open -> any of the others -> close. open is a function of each driver, with options of its
 * own; this table begins after it.
 *
 * Queues. A device may be opened once for each of several instances, each time for the next of its
 * queues (struct dk_netdev_queue): every one is a struct dk_netdev by itself, with its own caller
 * and counters, and may be closed before or after the others. What comes from the link is spread
 * over the queues that are open: a whole packet of TCP or UDP by its flow, all of one flow to one
 * queue as long as none is opened or closed; what is something else (ARP, ICMP, fragments) to the
 * first where the device can tell. A driver that has only one queue says -ENOTSUP to a second.
 */
#ifndef DK_NET_DEV_H
#define DK_NET_DEV_H

#include "net/addr.h"
#include "net/packet.h"

struct dk_netdev;

#define DK_NETDEV_TX_CHECKSUM (1u << 0) /* finishes transport checksums */
#define DK_NETDEV_TSO         (1u << 1) /* cuts TCP segments, and finishes their checksums */
#define DK_NETDEV_ZERO_COPY   (1u << 2) /* tx_burst may hold pieces beyond its return */
#define DK_NETDEV_LAST_WORDS                                                                       \
    (1u << 3) /* tx_burst keeps nothing between frames: a process that ends                        \
                 may call it over an interrupted call of any of its ops */
#define DK_NETDEV_RX_CHECKSUM (1u << 4) /* says of frames that their transport checksum is good */

/* Which of a device's queues is opened. Zero: it has one. */
struct dk_netdev_queue {
    uint16_t index;          /* they are opened in this order */
    uint16_t num;            /* that there are, or will be; 0: as 1 */
    struct dk_netdev *first; /* queue 0, which is open; NULL: this is it */
};

/*
 * Memory of a device for short frames, each of which may be written there whole instead of being
 * put (dk_netdev_ops.tx_put): without a call, and behind what was put or written before. tx_flush
 * sends both. Frames from `sent` to `next` are written and not sent yet; the next one is written to
 * frames[next] while next < limit. Beyond that, what is put makes room.
 */
#define DK_TX_ROOMS 32u

struct dk_tx_rooms {
    uint32_t sent, next;
    uint32_t limit; /* 0: frames that wait elsewhere go first; else `has` */
    uint32_t has;
    uint32_t bytes_max; /* of a frame */
    uint32_t shut;      /* enum dk_tx_rooms_shut */
    struct {
        uint8_t *at;
        uint32_t len;
    } frames[DK_TX_ROOMS];
};

/* Who has frames waiting, behind which others have to stay. */
enum dk_tx_rooms_shut { DK_TX_ROOMS_STACK = 1, DK_TX_ROOMS_OFFLOAD = 2 };

/* There are rooms for that many. */
static inline void dk_tx_rooms_have(struct dk_tx_rooms *rooms, uint32_t has)
{
    rooms->has = has;
    rooms->limit = rooms->shut ? 0 : has;
}

static inline void dk_tx_rooms_shut(struct dk_tx_rooms *rooms, enum dk_tx_rooms_shut who)
{
    rooms->shut |= who;
    rooms->limit = 0;
}

static inline void dk_tx_rooms_open(struct dk_tx_rooms *rooms, enum dk_tx_rooms_shut who)
{
    rooms->shut &= ~(uint32_t)who;
    dk_tx_rooms_have(rooms, rooms->has);
}

/* What became of a frame that was put (dk_netdev_ops.tx_put). */
enum dk_tx_put {
    DK_TX_PUT_TAKEN,
    DK_TX_PUT_FULL, /* there is no room */
    DK_TX_PUT_NOT,  /* it is one for tx_burst */
};

struct dk_netdev_caps {
    struct dk_mac mac;
    uint32_t mtu;       /* of the link: bytes of an IP packet */
    uint32_t flags;     /* DK_NETDEV_... */
    uint32_t max_burst; /* frames that one call takes or gives, at most */
};

/*
 * Counters that each device has. Names as seen by `demi info --stats`: X(field, "name").
 *
 * A chain of decorators counts in one set: the device at its end counts what it receives and sends,
 * a decorator only what it does to frames. Whatever is dropped is counted in rx_dropped or
 * tx_dropped, and under its reason below.
 */
#define DK_NETDEV_STATS(X)                                                                         \
    X(rx_frames, "dev.rx_frames")                                                                  \
    X(rx_bytes, "dev.rx_bytes")                                                                    \
    X(rx_copied, "dev.rx_copied")   /* frames that came in memory which cannot be handed on */     \
    X(rx_dropped, "dev.rx_dropped") /* no room, truncated: counted by the device */                \
    X(rx_too_long,                                                                                 \
      "dev.rx_too_long") /* longer than the link's MTU: not segmented by an offload */             \
    X(rx_too_short, "dev.rx_too_short") /* no Ethernet header */                                   \
    X(rx_ring_full, "dev.rx_ring_full") /* came faster than they were taken */                     \
    X(rx_damaged, "dev.rx_damaged")     /* on the wire, as the device says */                      \
    X(rx_no_memory, "dev.rx_no_memory")                                                            \
    X(rx_no_worker, "dev.rx_no_worker") /* to a queue of a worker that is not there */             \
    X(tx_frames, "dev.tx_frames")                                                                  \
    X(tx_bytes, "dev.tx_bytes")                                                                    \
    X(tx_attached, "dev.tx_attached") /* pieces that were sent where they lie, without a copy */   \
    X(tx_copied, "dev.tx_copied")     /* pieces that the device could not read where they lie */   \
    X(tx_copied_bytes,                                                                             \
      "dev.tx_copied_bytes") /* of pieces, for that or because they are short; not of rooms */     \
    X(tx_dropped, "dev.tx_dropped") /* refused for good: too long, link down */                    \
    X(tx_too_long, "dev.tx_too_long")                                                              \
    X(tx_too_short, "dev.tx_too_short") /* no Ethernet header */                                   \
    X(tx_link_down, "dev.tx_link_down")                                                            \
    X(tx_no_memory, "dev.tx_no_memory")                                                            \
    X(tx_refused, "dev.tx_refused") /* by the kernel or the driver */                              \
    X(offload_cut, "offload.cut")   /* frames that were cut into segments in software */           \
    X(fault_lost, "fault.lost")     /* on purpose (drv/fault.h), as all of these */                \
    X(fault_corrupted, "fault.corrupted")                                                          \
    X(fault_duplicated, "fault.duplicated")                                                        \
    X(fault_reordered, "fault.reordered")                                                          \
    X(fault_delayed, "fault.delayed")                                                              \
    X(fault_marked, "fault.marked")         /* as having met congestion */                         \
    X(fault_queue_full, "fault.queue_full") /* dropped: no room in the queue before the link */    \
    X(fault_overflow, "fault.overflow")     /* dropped: too many were held back */                 \
    X(pcap_frames, "pcap.frames")           /* written to the capture */                           \
    X(pcap_unwritten, "pcap.unwritten")     /* not written: file full, or an error */

struct dk_netdev_stats {
#define DK_NETDEV_STATS_FIELD(field, name) uint64_t field;
    DK_NETDEV_STATS(DK_NETDEV_STATS_FIELD)
#undef DK_NETDEV_STATS_FIELD
};

/* Counters that only this device has, as it last read them: it does now and then, within a call.
 * The names stay for ever. */
struct dk_netdev_extra {
    uint32_t num;
    const char *const *names;
    const uint64_t *values;
};

enum dk_link { DK_LINK_DOWN, DK_LINK_UP };

/* A NULL member: the device has no such thing, and the caller acts as its comment says. */
struct dk_netdev_ops {
    const char *name; /* of the driver */
    /*
     * Receives up to max frames; returns how many. Each has a hold of the caller on its buffer,
     * which the caller gives back (dk_buf_put). Never fails: errors are counted.
     */
    uint32_t (*rx_burst)(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now);
    /*
     * Sends up to n frames in order; returns how many it took. The rest finds no room: the caller
     * keeps and offers them again. What was taken is on its way or counted as dropped. Afterwards
     * the frames are the caller's again; a device that still reads a piece holds its buffer.
     */
    uint32_t (*tx_burst)(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now);
    /*
     * Puts one frame that is copied whole, pieces in no buffer too, behind those that were put
     * before; tx_flush sends them. false: some found no room, and are tried with the next flush or
     * burst, which send what was put first. Both NULL: there is tx_burst only; else there are rooms
     * (dk_netdev.rooms), and whoever flushes sees there whether some are not sent.
     */
    enum dk_tx_put (*tx_put)(struct dk_netdev *dev, const struct dk_tx_frame *frame);
    bool (*tx_flush)(struct dk_netdev *dev, int64_t now);
    /* Lets go of buffers whose transmission is done; returns how many pieces it still reads. NULL:
     * it holds none. */
    uint32_t (*reclaim)(struct dk_netdev *dev, int64_t now);
    /*
     * Returns a descriptor that becomes readable when rx_burst has frames (or room for tx_burst
     * came after it had none); the device is armed for that. -1: it has frames right now. Called
     * before sleeping, again each time.
     */
    int (*arm)(struct dk_netdev *dev);
    /* When rx_burst will have something by itself (a delayed frame), INT64_MAX: never. NULL: never.
     */
    int64_t (*next_due)(struct dk_netdev *dev);
    /* Says whether there is a carrier. NULL: always. */
    enum dk_link (*link)(struct dk_netdev *dev);
    /*
     * Whether packets of a flow come to this queue, once all queues are open: asked by who opens a
     * connection, before it has a port. NULL: the device cannot tell.
     */
    bool (*steers_here)(struct dk_netdev *dev, const struct dk_flow *flow);
    /* Frees everything; frames that were taken and not sent yet are lost. */
    void (*close)(struct dk_netdev *dev);
    /*
     * The process ends without close: what was taken goes, for as long as that takes when the wire
     * is free, and then the device reads and writes memory no more, or the queue waits for the
     * others to say the same. Afterwards nothing is received or taken. NULL: it ends when its
     * descriptors are closed.
     */
    void (*quiesce)(struct dk_netdev *dev);
    /* In the child of a fork: closes descriptors, and touches nothing else; the device is the
     * parent's. NULL: it has none. */
    void (*abandon)(struct dk_netdev *dev);
};

/* What the kernel knows of an interface that it has, too. */
enum dk_netdev_fact_kind {
    DK_NETDEV_ADDRESS,
    DK_NETDEV_ROUTE,
    DK_NETDEV_NEIGHBOUR,
    DK_NETDEV_MTU,
    DK_NETDEV_MAC, /* of the interface: there is another one */
};

struct dk_netdev_fact {
    uint8_t kind; /* enum dk_netdev_fact_kind */
    bool gone;    /* there is none any more; a neighbour: it does not answer, or is not asked for */
    uint8_t prefix_len;
    struct dk_ip ip; /* the address; where the route leads to; the neighbour */
    struct dk_ip gateway;
    uint32_t metric;   /* of the route: of those of the same length the least goes first */
    struct dk_mac mac; /* the neighbour's, or ours */
    uint32_t mtu;      /* of the link: at most the device's caps.mtu */
};

/*
 * Of a device that shares an interface and its addresses with the kernel. It receives only what is
 * for ports that were claimed; the kernel answers for its addresses (ARP, neighbour discovery, echo
 * requests) and asks for neighbours. Called as the other operations are; none blocks.
 */
struct dk_netdev_shared_ops {
    /*
     * Has what comes to a port be received, at an address, at all of a version (zeros), or of both
     * (version 0). 0; -EADDRINUSE: a socket of the kernel's has it; or another negative errno. Not
     * claimed twice without a release between.
     */
    int (*claim)(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local);
    /* Undoes a claim of exactly that; without one nothing happens. */
    void (*release)(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local);
    /* Gives the next fact: false when there is none. Addresses and routes, as they are when the
     * device is opened, come before the first false; then neighbours, and what becomes of all
     * these, the MTU and the link address, for which the descriptor of arm becomes readable. An
     * interface that is down keeps what it had until it is up again. */
    bool (*learn)(struct dk_netdev *dev, struct dk_netdev_fact *fact_out);
    /* Has the kernel find a neighbour; or make sure that it is where it was (mac). */
    void (*resolve)(struct dk_netdev *dev, const struct dk_ip *ip, const struct dk_mac *mac);
};

/* The first member of every device. */
struct dk_netdev {
    const struct dk_netdev_ops *ops;
    const struct dk_netdev_shared_ops *shared; /* NULL: the interface is ours alone */
    struct dk_netdev_caps caps; /* set by open; the MTU may be lowered by the configuration */
    struct dk_tx_rooms *rooms;  /* NULL: it has none */
    struct dk_netdev *inner;    /* of a decorator: the device that it owns, else NULL */
    struct dk_netdev *rx; /* whose rx_burst does for its own: of a decorator that has nothing to do
                             with what comes now the device below. NULL: its own; who receives
                             from it says so here */
    struct dk_netdev *tx; /* of a decorator whose tx_flush does nothing of its own: the device
                             below, likewise; else NULL */
    struct dk_netdev_stats *stats; /* where it counts: never NULL, see dk_netdev_move_stats */
    struct dk_netdev_stats own_stats;
    struct dk_netdev_extra extra; /* set by open */
};

/* rx_burst of a device whose `rx` is set. */
static inline uint32_t dk_netdev_rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[],
                                          uint32_t max, int64_t now)
{
    struct dk_netdev *from = dev->rx;
    return from->ops->rx_burst(from, frames_out, max, now);
}

/* Returns the device at the end of a chain of decorators. */
static inline struct dk_netdev *dk_netdev_end(struct dk_netdev *dev)
{
    while (dev->inner)
        dev = dev->inner;
    return dev;
}

/* Copies the counters of a device, and of those that it decorates, to `to`, which they count in
 * from here on. Called for the outermost device. */
static inline void dk_netdev_move_stats(struct dk_netdev *dev, struct dk_netdev_stats *to)
{
    *to = *dev->stats;
    for (; dev; dev = dev->inner)
        dev->stats = to;
}

#endif /* DK_NET_DEV_H */
