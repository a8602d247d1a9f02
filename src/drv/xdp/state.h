/* SPDX-License-Identifier: MIT */
/*
 * State of an AF_XDP device, for the files of this driver.
 *
 * The UMEM is a region of the heap (mem/heap.h, dk_heap_reserve), so an address of the kernel's is
 * an offset in it. It has chunks of one size, at any address ("unaligned"):
 *
 *     umem --> [ chunks to send from: num_chunks ][ buffers of the heap: ours to receive into,
 *                                                   elements of the application, ... ]
 *
 * Receive. `bufs` are buffers of the device (mem/buf.h, DEVICE). Invariant: each is in the fill
 * ring or on the way back from it (the kernel's), in `spare`, or in `out` (somebody holds what it
 * had).
 *
 * Send. Each descriptor has an id, which the kernel gives back when it has done with it: that of a
 * chunk, or, from num_chunks on, one that stands for a piece of application memory, on whose buffer
 * it has a hold. An address has two parts, which the kernel adds: the upper 16 bits are the id.
 * Invariant: each id is in its free list, or in `tx` or the completion ring.
 */
#ifndef DK_DRV_XDP_STATE_H
#define DK_DRV_XDP_STATE_H

#include "base/list.h"
#include "drv/frame.h"
#include "drv/wake.h"
#include "drv/xdp/xdp.h"
#include "mem/region.h"

#include <linux/if_xdp.h>
#include <net/if.h>
#include <xdp/xsk.h>

#define DK_XDP_BURST    64u
#define DK_XDP_HEADROOM 256u /* that the kernel keeps before each frame: XDP_PACKET_HEADROOM */
#define DK_XDP_IDS_MAX  4096u
#define DK_XDP_OWN_MAX  32u /* addresses of the interface */
#define DK_XDP_NO_BUF   UINT32_MAX

/* Linux 6.6, where the headers do not have them yet. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

struct dk_xdp {
    struct dk_netdev dev;
    struct dk_wake wake;
    struct dk_registrar pin; /* keeps the pages of the heap where they are */
    char name[IFNAMSIZ];
    int ifindex;
    uint32_t queue;
    uint32_t frame_max;
    uint32_t chunk_bytes;
    bool zero_copy; /* the NIC reads and writes the UMEM itself */
    bool segments;  /* frames of several descriptors are sent */
    bool busy_poll; /* a look at an empty ring has the driver work */
    bool is_down;   /* the kernel said so */
    bool in_long;   /* descriptors that come belong to a frame of several */
    bool warned_long;

    /* umem.c */
    uint8_t *umem;
    size_t umem_bytes;
    size_t own_bytes; /* of the chunks to send from */
    struct dk_buf **bufs;
    uint32_t num_bufs;
    uint32_t *spare; /* indices of bufs */
    uint32_t num_spare;
    uint32_t *out;
    uint32_t num_out, next_out;
    uint32_t *at; /* the index of the buffer in each piece of chunk_bytes, or DK_XDP_NO_BUF */
    uint32_t num_chunks, num_ids;
    uint16_t *free_chunks, *free_ids; /* ids */
    uint32_t num_free_chunks, num_free_ids;
    struct dk_buf **held; /* by id, from num_chunks on */

    /* socket.c */
    struct xsk_umem *registered;
    struct xsk_socket *socket;
    struct xsk_ring_prod fill, tx;
    struct xsk_ring_cons completed, rx;
    int fd;
    int watch_fd; /* has the interface receive what is for groups */

    /* program.c */
    int link_fd;   /* holds the program at the interface */
    int claims_fd; /* its map of these, where the interface is shared */

    /* claim.c */
    struct dk_list claims;

    /* kernel.c */
    struct mnl_socket *route;
    uint8_t *messages; /* read last */
    const struct nlmsghdr *next;
    int left;
    int stage;     /* the dump that is under way */
    uint32_t dump; /* its number */
    struct dk_ip own[DK_XDP_OWN_MAX];
    uint32_t num_own;

    /* stats.c */
    struct xdp_statistics last; /* as counted so far */
    uint32_t polls;
};

static inline struct dk_xdp *dk_xdp_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct dk_xdp, dev);
}

/* ---- umem.c -----------------------------------------------------------------------------------
 */

/* Makes the memory and what is known of it. 0 or -ENOMEM. */
int dk_xdp_umem_open(struct dk_xdp *x, const struct dk_xdp_options *o);
/* The socket has been closed. */
void dk_xdp_umem_close(struct dk_xdp *x);

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

/* Opens a socket on the queue, in the best mode that there is. 0, or a negative errno and *why_out.
 */
int dk_xdp_socket_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out);
void dk_xdp_socket_close(struct dk_xdp *x);

/* ---- program.c --------------------------------------------------------------------------------
 */

/* Loads the program, and has the interface run it for the socket's queue. */
int dk_xdp_program_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out);
void dk_xdp_program_close(struct dk_xdp *x);

/* ---- claim.c, kernel.c: an interface that the kernel has, too (dk_netdev_shared_ops) ----------
 */

int dk_xdp_claim(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local);
void dk_xdp_release(struct dk_netdev *dev, uint8_t protocol, const struct dk_endpoint *local);
void dk_xdp_claims_close(struct dk_xdp *x);
/* In the child of a fork. */
void dk_xdp_claims_abandon(const struct dk_xdp *x);

/* The socket has been opened. 0, or a negative errno and *why_out. */
int dk_xdp_kernel_open(struct dk_xdp *x, const char **why_out);
void dk_xdp_kernel_close(struct dk_xdp *x);
bool dk_xdp_learn(struct dk_netdev *dev, struct dk_netdev_fact *out);
void dk_xdp_resolve(struct dk_netdev *dev, const struct dk_ip *ip, const struct dk_mac *mac);

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
