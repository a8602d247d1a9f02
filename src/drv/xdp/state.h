/* SPDX-License-Identifier: MIT */
/*
 * State of AF_XDP devices, for the files of this driver.
 *
 * A port is an interface; each worker has a device, which has some of the queues. The UMEM of a
 * port is a region of the heap (mem/heap.h, dk_heap_reserve), so an address of the kernel's is an
 * offset in it. It has chunks of one size, at any address ("unaligned"):
 *
 *     umem --> [ chunks to send from: a share of each worker ][ buffers of the heap: ours to
 *                                            receive into, elements of the application, ... ]
 *
 * Receive. `bufs` are buffers of the device (mem/buf.h, DEVICE). Invariant: each is in a fill ring
 * or on the way back from it (the kernel's), in `spare`, or in `out` (somebody holds what it had).
 *
 * Send. Each descriptor has an id, which the kernel gives back when it has done with it: that of a
 * chunk, or, from num_chunks on, one that stands for a piece of application memory, on whose buffer
 * it has a hold. An address has two parts, which the kernel adds: the upper 16 bits are the id.
 * Invariant: each id is in its free list, or in `tx` or the completion ring.
 *
 * A device that is closed stays, with its sockets, until the last one of its port is: the UMEM is
 * the first socket's, and a NIC may read and write what it was given.
 */
#ifndef DK_DRV_XDP_STATE_H
#define DK_DRV_XDP_STATE_H

#include "base/list.h"
#include "drv/frame.h"
#include "drv/wake.h"
#include "drv/xdp/xdp.h"
#include "mem/region.h"
#include "os/sync.h"

#include <linux/if_xdp.h>
#include <net/if.h>
#include <xdp/xsk.h>

#define DK_XDP_BURST     64u
#define DK_XDP_HEADROOM  256u /* that the kernel keeps before each frame: XDP_PACKET_HEADROOM */
/* What a chunk of a page takes. */
#define DK_XDP_FRAME_MAX (4096u - DK_XDP_HEADROOM - (uint32_t)DK_BUF_PEER_BYTES)
#define DK_XDP_MTU_MAX   (DK_XDP_FRAME_MAX - DK_FRAME_HEADER - DK_FRAME_TAG)

#define DK_XDP_OWN_MAX   32u /* addresses of the interface */
#define DK_XDP_KNOWN_MAX 64u /* and routes */

#define DK_XDP_QUEUES_EACH 16u /* of a device */
#define DK_XDP_WORKERS_MAX 16u /* of a port */

/* Linux 6.6, where the headers do not have them yet. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

/* What is being read of the kernel: dumps, one after the other, and then what becomes of it. */
enum dk_xdp_stage { DK_XDP_LINKS, DK_XDP_ADDRESSES, DK_XDP_ROUTES, DK_XDP_NEIGHBOURS, DK_XDP_NEWS };

/* An address or a route that was told of (known.c). */
enum dk_xdp_known_state { DK_XDP_FREE, DK_XDP_KNOWN, DK_XDP_UNSEEN, DK_XDP_GOING };

struct dk_xdp_known {
    enum dk_xdp_known_state state;
    struct dk_netdev_fact fact;
};

/* What may change of the interface. */
struct dk_xdp_link {
    uint32_t mtu;
    struct dk_mac mac;
};

/* A queue of the interface: a socket, and its rings. */
struct dk_xdp_queue {
    struct xsk_socket *socket;
    struct xsk_ring_prod fill, tx;
    struct xsk_ring_cons completed, rx;
    int fd;
    bool in_long;               /* descriptors that come belong to a frame of several */
    struct xdp_statistics last; /* as counted so far */
};

/* What the devices of an interface share. `lock` guards all that changes, and calls of libxdp. */
struct dk_xdp_port {
    struct dk_lock lock;
    char name[IFNAMSIZ];
    int ifindex;
    uint32_t workers; /* that there are, or will be */
    uint32_t users;   /* devices that are open */
    uint32_t members; /* workers whose devices are, or were; a bit each */
    uint32_t first_queue, num_queues;
    uint32_t mtu; /* of the link */
    uint32_t frame_max;
    uint32_t chunk_bytes;
    struct dk_netdev_caps caps;
    bool zero_copy;        /* the NIC reads and writes the UMEM itself */
    bool segments;         /* frames of several descriptors are sent */
    bool abandoned;        /* in the child of a fork */
    int watch_fd;          /* has the interface receive what is for groups */
    struct dk_xdp *closed; /* devices that were open */

    /* umem.c */
    struct dk_registrar pin; /* keeps the pages of the heap where they are */
    uint8_t *umem;
    size_t umem_bytes;
    size_t own_bytes; /* of the chunks to send from */
    struct dk_buf **bufs;
    uint32_t num_bufs, bufs_each; /* of a worker */
    uint32_t *at; /* the index of the buffer in each piece of chunk_bytes, among its worker's */

    /* socket.c */
    struct xsk_umem *registered;

    /* program.c */
    int link_fd;    /* holds the program at the interface */
    int sockets_fd; /* its maps: of the sockets, by queues */
    int claims_fd;  /* of these, where the interface is shared */
    int lost_fd;    /* how many frames were for queues without a socket */
    uint64_t lost;  /* as counted so far */

    /* claim.c */
    struct dk_list claims;
    struct dk_ip own[DK_XDP_OWN_MAX];
    uint32_t num_own;
};

struct dk_xdp {
    struct dk_netdev dev;
    struct dk_wake wake;
    struct dk_xdp_port *port;
    struct dk_xdp *next_closed;
    uint32_t worker;
    bool busy_poll; /* a look at an empty ring has the driver work */
    bool is_down;   /* the kernel said so */
    bool warned_long;
    uint32_t polls;

    /* As the port has them. */
    uint8_t *umem;
    size_t umem_bytes;
    const uint32_t *at;
    uint32_t chunk_bytes, frame_max;
    bool zero_copy, segments;

    /* umem.c */
    struct dk_buf **bufs; /* ours of the port's */
    uint32_t num_bufs;
    uint32_t *spare; /* indices of bufs */
    uint32_t num_spare;
    uint32_t *out;
    uint32_t num_out, next_out;
    uint8_t *chunks;
    uint32_t num_chunks, num_ids;
    uint16_t *free_chunks, *free_ids; /* ids */
    uint32_t num_free_chunks, num_free_ids;
    struct dk_buf **held; /* by id, from num_chunks on */

    /* socket.c; the first one sends, too */
    uint32_t num_queues, next_queue;
    struct dk_xdp_queue queues[DK_XDP_QUEUES_EACH];

    /* kernel.c */
    struct mnl_socket *route;
    uint8_t *messages; /* read last */
    const struct nlmsghdr *next;
    int left;
    enum dk_xdp_stage stage;
    uint32_t dump; /* the number of the one that is under way */
    bool has_told; /* how the stack is to be made */
    bool is_up;
    bool again; /* all is to be dumped once more */
    uint32_t tries;
    bool is_resting; /* until rest_fd says so */
    int rest_fd;
    bool warned_failed;
    bool warned_hops;
    struct dk_xdp_link link, told; /* as it is, as it was told */

    /* known.c */
    bool any_going;
    bool warned_many;
    struct dk_xdp_known known[DK_XDP_KNOWN_MAX];
};

static inline struct dk_xdp *dk_xdp_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct dk_xdp, dev);
}

/* ---- port.c -----------------------------------------------------------------------------------
 */

/* Makes the port of the first worker's device; or has one of another use it. 0, or a negative errno
 * and *why_out; what there is of it is closed by dk_xdp_port_leave. */
int dk_xdp_port_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out);
int dk_xdp_port_join(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out);
/* Ends x, which receives nothing any more: it is freed with the last one of its port. */
void dk_xdp_port_leave(struct dk_xdp *x);

/* ---- umem.c -----------------------------------------------------------------------------------
 */

/* Makes the memory of all workers, and what is known of it. 0 or -ENOMEM. */
int dk_xdp_umem_open(struct dk_xdp_port *p, const struct dk_xdp_options *o);
/* The sockets have been closed. */
void dk_xdp_umem_close(struct dk_xdp_port *p);

/* A device's part of that. */
int dk_xdp_share_open(struct dk_xdp *x);
void dk_xdp_share_close(struct dk_xdp *x);

/* Whether the kernel can read at an address, which may be of anybody's memory. */
static inline bool dk_xdp_can_read(const struct dk_xdp *x, const uint8_t *at, uint32_t len)
{
    const size_t offset = (size_t)((uintptr_t)at - (uintptr_t)x->umem);
    return offset < x->umem_bytes && len <= x->umem_bytes - offset;
}

/* ---- features.c -------------------------------------------------------------------------------
 */

/* Of a driver; where the kernel cannot say it, all. */
struct dk_xdp_features {
    bool zero_copy;
    bool zero_copy_segments; /* frames of several descriptors in that mode */
};

struct dk_xdp_features dk_xdp_features_of(int ifindex);

/* ---- socket.c ---------------------------------------------------------------------------------
 */

/* A mode is the flags that a socket is bound with. */
#define DK_XDP_MODES_MAX 4

/* Lists the modes that are to be tried, the best one first; returns how many. */
uint32_t dk_xdp_modes(const struct dk_xdp_options *o, const struct dk_xdp_features *features,
                      uint16_t modes_out[DK_XDP_MODES_MAX]);

/* Opens sockets on the queues of a device, the first one of a port in the best mode that there is.
 * 0, or a negative errno and *why_out. */
int dk_xdp_sockets_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out);
/* The device has come to its end; its port is locked. */
void dk_xdp_sockets_close(struct dk_xdp *x);

/* ---- program.c --------------------------------------------------------------------------------
 */

/* Has the program hand frames to the sockets of a device, and the interface run it, when it does
 * not yet; or no longer. */
int dk_xdp_program_add(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out);
void dk_xdp_program_remove(const struct dk_xdp *x);
void dk_xdp_program_close(struct dk_xdp_port *p);

/* ---- claim.c, kernel.c: an interface that the kernel has, too (dk_netdev_shared_ops) ----------
 */

int dk_xdp_claim(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local);
void dk_xdp_release(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local);
/* An address came to the interface: claims of all addresses cover it. Or it went. More than once is
 * nothing. */
void dk_xdp_own_add(struct dk_xdp_port *p, const struct dk_ip *ip);
void dk_xdp_own_remove(struct dk_xdp_port *p, const struct dk_ip *ip);
/* Undoes all of a device's. */
void dk_xdp_claims_close(struct dk_xdp *x);
/* In the child of a fork. */
void dk_xdp_claims_abandon(const struct dk_xdp_port *p);

/* The socket has been opened. 0, or a negative errno and *why_out. */
int dk_xdp_kernel_open(struct dk_xdp *x, const char **why_out);
void dk_xdp_kernel_close(struct dk_xdp *x);
/* In the child of a fork. */
void dk_xdp_kernel_abandon(const struct dk_xdp *x);
bool dk_xdp_learn(struct dk_netdev *dev, struct dk_netdev_fact *out);
void dk_xdp_resolve(struct dk_netdev *dev, const struct dk_ip *ip, const struct dk_mac *mac);

/* All is read once more: now, or when the dump that is under way is over. */
void dk_xdp_kernel_look_again(struct dk_xdp *x);

/* known.c: an address or a route is there, or not: whether that is news. */
bool dk_xdp_known_new(struct dk_xdp *x, const struct dk_netdev_fact *fact);
bool dk_xdp_known_gone(struct dk_xdp *x, const struct dk_netdev_fact *fact);
/* Whether it was told of, and is not about to go. */
bool dk_xdp_known_has(struct dk_xdp *x, const struct dk_netdev_fact *fact);
/* Some route takes the place of those to there, of that metric, which go. Whether there are any. */
bool dk_xdp_known_replaced(struct dk_xdp *x, const struct dk_netdev_fact *fact);
/* A dump begins; it has come to its end: what was not in it is gone. */
void dk_xdp_known_unsee(struct dk_xdp *x);
void dk_xdp_known_sweep(struct dk_xdp *x);
/* Gives the next that went by itself. */
bool dk_xdp_known_next_gone(struct dk_xdp *x, struct dk_netdev_fact *out);

/* ---- rx.c, tx.c, stats.c ----------------------------------------------------------------------
 */

uint32_t dk_xdp_rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now);
/* Gives the kernel buffers to receive into. */
void dk_xdp_refill(struct dk_xdp *x);

uint32_t dk_xdp_tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now);
uint32_t dk_xdp_reclaim(struct dk_netdev *dev, int64_t now);
/* Has the kernel send what is in the ring; false: some is there still. */
bool dk_xdp_kick(struct dk_xdp *x);

/* Counts what the kernel has counted since the last time. */
void dk_xdp_count(struct dk_xdp *x);

#endif /* DK_DRV_XDP_STATE_H */
