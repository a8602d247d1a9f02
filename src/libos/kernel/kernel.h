/* SPDX-License-Identifier: MIT */
/*
 * The kernel library OS: TCP and UDP over Linux sockets.
 *
 * Data is moved by non-blocking sendmsg and recv in the caller's own call, at the moment it is
 * known to be possible; an engine (engine.h) tells readiness and sleeps. While the leader spins and
 * only a few pops are outstanding, it tries those sockets directly, which saves a system call per
 * message.
 */
#ifndef DK_LIBOS_KERNEL_KERNEL_H
#define DK_LIBOS_KERNEL_KERNEL_H

#include "core/instance.h"

enum dk_kernel_engine { DK_KERNEL_AUTO, DK_KERNEL_IO_URING, DK_KERNEL_EPOLL };

struct dk_kernel_options {
    enum dk_kernel_engine engine;
    uint32_t rx_buffer_bytes; /* offered to the first receive of a stream */
    uint32_t rx_pool_bytes;   /* received data is copied once half of it is held */
    bool reuseport;           /* several workers bind the same address */
};

/*
 * Makes inst's poller. 0, or a negative errno and what to do about it in *why_out. With
 * DK_KERNEL_AUTO io_uring is used where it is allowed, else epoll.
 */
int dk_kernel_open(struct dk_instance *inst, const struct dk_kernel_options *options,
                   const char **why_out);

/* Creates a socket queue of inst, whose poller is the kernel's. 0 or a negative errno. */
int dk_kernel_socket(struct dk_instance *inst, int domain, int type, int protocol, int *qd_out);

/* Name of the engine that dk_kernel_open would use with AUTO; "" and *why_out when none works. */
const char *dk_kernel_probe(const char **why_out);

#endif /* DK_LIBOS_KERNEL_KERNEL_H */
