/* SPDX-License-Identifier: MIT */
/*
 * State of a queue of a port, for the files of this driver. The first queue has what is the port's.
 *
 * Received frames. Each mbuf of `rx_pool` has a buffer of the heap (mem/buf.h, DEVICE) as its data,
 * for ever. A frame is given out with its buffer, and its mbuf is in `out` until the buffer is
 * back: then it returns to the pool, with others (`back`). Invariant: an mbuf is with DPDK, in
 * `out` or in `back`, never in two of them.
 *
 * Sent frames. An mbuf with bytes of its own is from `tx_pool`; one that stands for memory of the
 * application is from `ext_pool`, and has a hold on that buffer. Short frames are written to mbufs
 * that wait in `put` for them: rooms (net/dev.h).
 */
#ifndef DK_DRV_DPDK_PORT_H
#define DK_DRV_DPDK_PORT_H

#include "drv/dpdk/dpdk.h"
#include "drv/frame.h"
#include "mem/region.h"
#include "os/sync.h"

#include <pthread.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#define DK_DPDK_BURST      32u
#define DK_DPDK_QUEUES_MAX 64u
#define DK_DPDK_KEY_MAX    64u
#define DK_DPDK_COUNTERS   64u
#define DK_DPDK_BACK       16u /* mbufs that return to their pool together */

/* Of an mbuf of rx_pool. */
struct dk_dpdk_rx_priv {
    struct dk_buf *buf;
    uint64_t unused; /* the area is a multiple of 8, as DPDK has it, and of a half line */
};

struct dk_dpdk_port;

/* Of an mbuf of ext_pool. */
struct dk_dpdk_ext_priv {
    struct rte_mbuf_ext_shared_info shared;
    struct dk_buf *buf;
    struct dk_dpdk_port *port;
};

/* What it takes to look whether frames came. */
struct dk_dpdk_look {
    pthread_t thread; /* who armed last */
    int64_t armed_at; /* then */
    int64_t used_ns;  /* of a CPU by that thread, until then */
    int64_t ns;       /* of a CPU for a look: about the least of late */
};

#define DK_DPDK_MEMIF_DESCRIPTOR 16u /* bytes */
#define DK_DPDK_MEMIF_LINE       64u /* two before the descriptors have the header of a ring */

/* The ring of a memif that a queue sends to, as far as it is known (memif.c). */
struct dk_dpdk_memif {
    const uint8_t *descriptors; /* in the driver's memory, not to be read; NULL: not known */
    uint16_t mask;
    uint16_t ahead; /* of the number of frames sent is that of the next descriptor */
    enum { DK_DPDK_MEMIF_NOT, DK_DPDK_MEMIF_SERVER, DK_DPDK_MEMIF_CLIENT } role;
    bool in_heap;    /* the frames of the ring are elsewhere: nothing is fetched */
    int fd;          /* of that memory */
    uint64_t at;     /* of the ring in it */
    uint64_t frames; /* that were sent when it was looked at */
    int64_t look_at; /* again */
};

struct dk_dpdk_port {
    struct dk_netdev dev;
    uint16_t port, queue;
    const struct rte_eth_fp_ops *fast; /* the port's while `started`, as burst.h has it */
    void **rx_place, **rx_called;      /* there: the driver's queue, and callbacks */
    void **tx_place, **tx_called;
    struct rte_device *device;
    struct dk_dpdk_port *first;
    bool started;
    bool own_buffers; /* rx_pool's mbufs are buffers of the heap */
    bool attaches;    /* sends application memory where it lies */
    bool at_once;     /* has let go of a frame when tx_burst returns */
    bool cleans;      /* lets go of it when asked (rte_eth_tx_done_cleanup) */
    bool host_mac;    /* our address is not the port's */
    bool segments;    /* takes frames of several mbufs */
    bool sums_ip;     /* makes the sums of IPv4 of what it cuts */
    bool refuses;     /* the frame that was built last */
    bool wants_room;
    int64_t stuck_at;      /* since when nothing leaves, 0: never was so */
    uint64_t stuck_frames; /* that had left by then */
    uint16_t segments_max;
    uint32_t frame_max; /* of the port */
    uint32_t whole_max; /* of a frame that it cuts */
    uint32_t room;      /* for bytes in an mbuf of tx_pool */

    struct rte_mempool *rx_pool, *tx_pool, *ext_pool;
    struct dk_buf **bufs; /* of rx_pool */
    uint32_t num_bufs;
    struct rte_mbuf **out; /* frames that were given out */
    uint32_t num_out, next_out;
    uint32_t out_max;             /* of those: others are copied */
    struct rte_mempool *own_pool; /* rx_pool, where own_buffers; else NULL */
    uint64_t checksum_flags;      /* that say of a frame that its checksum is good; 0: none do */
    struct rte_mbuf *back[DK_DPDK_BACK]; /* whose buffers are back */
    uint32_t num_back;
    struct dk_rxslab slab;                 /* for what is copied */
    struct rte_mbuf *ready[DK_DPDK_BURST]; /* received by who looked before a sleep */
    uint32_t num_ready;
    struct rte_mbuf *came[DK_DPDK_BURST]; /* in the call of rx_burst */
    struct dk_rx_frame *frames_out;       /* of it: here, it need not be saved over the driver's */
    struct rte_mbuf *put[DK_TX_ROOMS];    /* of tx_pool: those from rooms.sent on are ours */
    struct dk_tx_rooms rooms;             /* in them */
    uint32_t attached;                    /* mbufs that stand for application memory */
    struct dk_dpdk_memif memif;

    /* sleep.c */
    int epfd, timerfd, intrfd; /* intrfd < 0: it has no interrupts */
    bool intr_is_event;        /* an eventfd, that is to be read */
    bool intr_came;            /* it wakes whoever sleeps */
    bool intr_is_queue;        /* readable while the queue has frames */
    bool intr_on;
    bool armed;
    bool restarts;             /* it is started anew while its link is down */
    int64_t now, active_at;    /* of the last poll; of the last frame */
    int64_t tried_at;          /* to start it anew */
    uint32_t until_look;       /* polls, with the one that looks */
    struct rte_eth_stats last; /* as counted so far: the first queue counts for all */
    struct dk_dpdk_look look;

    /* queues.c */
    bool is_open;
    bool is_joined;  /* to a queue of the other end: always, but of a memif (dk_dpdk_join) */
    bool is_alone;   /* the other end of the memif does not have this queue */
    bool is_quiet;   /* the process ends */
    bool rests;      /* the port is to be started anew */
    uint32_t starts; /* of the port, when it rested or was opened */

    /* Of the first queue only. stats.c: */
    const char *counter_names[DK_DPDK_COUNTERS];
    uint64_t counters[DK_DPDK_COUNTERS];
    uint64_t xstat_ids[DK_DPDK_COUNTERS]; /* of those behind the first few */
    uint32_t num_counters;
    int64_t counted_at;
    struct dk_registrar dma;
    bool knows_heap;
    bool runs_on; /* the device receives after its stop, until it is closed */
    bool guest;   /* the driver's counters may be read while the link is up only */
    bool interrupts, link_interrupts;
    int linkfd;          /* counts these; < 0: there are none */
    struct dk_lock lock; /* of what follows, and of is_open, is_quiet and rests of all */
    bool is_up;          /* the port was started */
    uint16_t num_open, num_quiet, num_resting;
    uint32_t num_starts;
    uint32_t num_unanswered; /* starts of a client of memif, in a row */
    uint16_t reta_size;      /* 0: the driver's table stays */
    uint8_t key[DK_DPDK_KEY_MAX];
    uint64_t hashed; /* RTE_ETH_RSS_...: what is spread by the hash; 0: nothing */
    uint16_t num_queues;
    struct dk_dpdk_port *queues[DK_DPDK_QUEUES_MAX];
};

static inline struct dk_dpdk_port *dk_dpdk_port_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct dk_dpdk_port, dev);
}

/* ---- queues.c ---------------------------------------------------------------------------------
 */

/* Makes those behind the first: 0, -ENOMEM, -EINVAL. */
int dk_dpdk_queues_make(struct dk_dpdk_port *first, const struct dk_netdev_queue *queue);
/* Frees all, the first too. */
void dk_dpdk_queues_free(struct dk_dpdk_port *first);
/* Gives the others what is known of the port. */
void dk_dpdk_queues_share(struct dk_dpdk_port *first);

/* Whether the port has as many: 0, or -ENOTSUP and *why_out. */
int dk_dpdk_queues_check(const struct dk_dpdk_port *p, const struct rte_eth_dev_info *info,
                         const char **why_out);
/* Has flows spread by the hash, where the driver can. */
void dk_dpdk_rss_choose(struct dk_dpdk_port *p, const struct rte_eth_dev_info *info,
                        struct rte_eth_conf *conf);

/* Learns, when the port was started, what the driver has made of that. */
void dk_dpdk_rss_settle(struct dk_dpdk_port *p);

/* A queue takes part. */
void dk_dpdk_queue_open(struct dk_dpdk_port *q);
/* It does no longer; returns whether no queue does. */
bool dk_dpdk_queue_close(struct dk_dpdk_port *q);

bool dk_dpdk_steers_here(struct dk_netdev *dev, const struct dk_flow *flow);

/* Takes a queue of a memif into use while the other end has it, too; now and then. */
void dk_dpdk_join(struct dk_dpdk_port *q);

/* Takes part in a new start of a port whose link went down. */
void dk_dpdk_restart(struct dk_dpdk_port *q);

/* As an operation of the device (net/dev.h). */
void dk_dpdk_quiesce(struct dk_netdev *dev);

/* ---- pool.c -----------------------------------------------------------------------------------
 */

/* Makes the pools for a port with rings of so many frames: 0 or -ENOMEM. Where own_buffers is set
 * and cannot be had it is not set afterwards. */
int dk_dpdk_pools_open(struct dk_dpdk_port *p, uint32_t frames, size_t rx_bytes);
/* The port has been stopped. */
void dk_dpdk_pools_close(struct dk_dpdk_port *p);

/* ---- memory.c: the heap, as DPDK knows it ------------------------------------------------------
 */

/* Tells DPDK, and the device, of the heap: 0 or a negative errno. */
int dk_dpdk_memory_open(struct dk_dpdk_port *p);
void dk_dpdk_memory_close(struct dk_dpdk_port *p);

/* Whether the device may read at an address, which may be of anybody's memory. */
bool dk_dpdk_memory_is_known(const struct dk_dpdk_port *p, const void *at);

/* ---- bus.c ------------------------------------------------------------------------------------
 */

/* Whether a device reads and writes memory by itself. */
bool dk_dpdk_is_hardware(const struct dk_dpdk_port *p);

/* Takes the bus from the device, if it is behind vfio-pci; until it is opened again. */
void dk_dpdk_bus_off(const struct dk_dpdk_port *p);

/* ---- rx.c, tx.c -------------------------------------------------------------------------------
 */

uint32_t dk_dpdk_rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                          int64_t now);
uint32_t dk_dpdk_tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                          int64_t now);
void dk_dpdk_rx_close(struct dk_dpdk_port *p);
enum dk_tx_put dk_dpdk_tx_put(struct dk_netdev *dev, const struct dk_tx_frame *frame);
bool dk_dpdk_tx_flush(struct dk_netdev *dev, int64_t now);

/* The port runs: makes rooms for what is put; frees them. */
void dk_dpdk_tx_open(struct dk_dpdk_port *p);
void dk_dpdk_tx_close(struct dk_dpdk_port *p);

/* ---- sleep.c ----------------------------------------------------------------------------------
 */

int dk_dpdk_sleep_open(struct dk_dpdk_port *p, bool interrupts);
void dk_dpdk_sleep_close(struct dk_dpdk_port *p);
int dk_dpdk_arm(struct dk_netdev *dev);
/* Somebody is awake. */
void dk_dpdk_disarm(struct dk_dpdk_port *p);

/* Starts a port anew whose link went down, where that helps; now and then. */
void dk_dpdk_revive(struct dk_dpdk_port *p);

/* ---- link.c -----------------------------------------------------------------------------------
 */

enum dk_link dk_dpdk_link(struct dk_netdev *dev);
/* Has the driver's interrupt tell of the link: before the port is started; it was configured so. 0
 * or a negative errno. */
int dk_dpdk_link_open(struct dk_dpdk_port *first);
/* The port was stopped. */
void dk_dpdk_link_close(struct dk_dpdk_port *first);
/* How often that came since the last call. */
uint64_t dk_dpdk_link_interrupts(const struct dk_dpdk_port *first);

/* ---- memif.c ----------------------------------------------------------------------------------
 */

/* Notes which end of a memif a port is that was made of a device: a client, unless it says so. */
void dk_dpdk_memif_choose(struct dk_dpdk_port *p, const char *device);
/* Now and then: finds the ring, or finds out that it is another one. */
void dk_dpdk_memif_look(struct dk_dpdk_port *p);
void dk_dpdk_memif_forget(struct dk_dpdk_port *p);
/* How many queues are joined, while the link is up; 0: it cannot be told. */
uint32_t dk_dpdk_memif_queues(void);

/* Has the processor fetch what the driver will touch with the next frame that is sent. */
static inline void dk_dpdk_memif_fetch(const struct dk_dpdk_port *p)
{
    const struct dk_dpdk_memif *m = &p->memif;
    if (!m->descriptors)
        return;
    const uint16_t next = (uint16_t)(p->dev.stats->tx_frames + m->ahead) & m->mask;
    const uint8_t *at = m->descriptors + (size_t)next * DK_DPDK_MEMIF_DESCRIPTOR;
    dk_forget(at); /* or the function has no effect, and gcc leaves out the call */
    __builtin_prefetch(at);
    __builtin_prefetch(m->descriptors - 2 * DK_DPDK_MEMIF_LINE);
    __builtin_prefetch(m->descriptors - DK_DPDK_MEMIF_LINE);
}

/* ---- stats.c ----------------------------------------------------------------------------------
 */

/* Finds out what the port counts by names of its own. */
void dk_dpdk_counters_open(struct dk_dpdk_port *p);

/* Counts what the port has counted itself since the last time. */
void dk_dpdk_count(struct dk_dpdk_port *p);

#endif /* DK_DRV_DPDK_PORT_H */
