/* SPDX-License-Identifier: MIT */
/*
 * Queues of an Ethernet interface of Linux by AF_XDP: what the core knows of the module, without
 * the headers of libxdp and libbpf.
 *
 * An XDP program of ours (program.bpf.c) takes frames before the kernel's stack sees them: those
 * for addresses and ports of ours, of an interface that the kernel goes on using; or all of them.
 * The kernel writes them to, and reads what is sent from, one range of memory, the UMEM, which is a
 * part of the heap: frames are received into buffers of the heap and handed on as they are, and
 * what the application pushes from there is sent from where it lies. Where the driver of the
 * interface can, the NIC itself does so (zero-copy mode); else the kernel copies (copy mode).
 *
 * The program is held by a descriptor of the process (bpf_link): it is detached with it, however it
 * ends.
 *
 * Which queue a flow comes to is the interface's choice, and only the socket of that queue can have
 * it. So all queues are taken; of several workers each has every so-manieth one, sends by the first
 * of its own, and cannot tell what comes to it. All share the program, the UMEM and the claims of
 * ports. What comes to the queue of a worker that is not there is lost.
 */
#ifndef DK_DRV_XDP_XDP_H
#define DK_DRV_XDP_XDP_H

#include "net/dev.h"

/* Zero: the default. */
struct dk_xdp_options {
    const char *name; /* of the interface */
    uint32_t mtu;     /* default: the interface's, and at most that */
    uint32_t queue;   /* of the interface, from 0: the first that is ours */
    uint32_t queues;  /* of the interface, from that on; default: all */
    struct dk_netdev_queue worker;
    uint32_t ring_frames; /* of each ring, a power of two; default 2048, at most 32768 */
    size_t rx_pool_bytes; /* of each worker, of the longest frames; default 8 MiB */
    size_t umem_bytes;    /* what the kernel reads and writes, receive memory included; default 32
                             MiB */
    const char *mode;     /* where the program runs: "native" (in the driver), "generic", "auto" */
    bool whole;           /* all frames of the queue are ours, and nothing is shared */
    bool copy;            /* no zero-copy mode */
    bool busy_poll;       /* the driver works when it is polled, not by interrupts */
    bool promiscuous;     /* all frames of the link */
};

/* What the module is (dk_module.driver). */
struct dk_xdp_driver {
    /* 0, or a negative errno and what to do in *why_out: -ENODEV, -EPERM, -EBUSY (somebody else has
     * the queue, or a program there), -ENETDOWN, -EINVAL, -ENOMEM, ... */
    int (*open)(struct dk_netdev **dev_out, const struct dk_xdp_options *options,
                const char **why_out);
};

extern const struct dk_xdp_driver dk_xdp_driver;

#endif /* DK_DRV_XDP_XDP_H */
