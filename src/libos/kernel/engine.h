/* SPDX-License-Identifier: MIT */
/*
 * Readiness engines of the kernel libOS: they tell when a socket may be read or written, and put a
 * thread to sleep until then.
 *
 * Readiness is edge-triggered: an event says that something changed, and is not repeated. Data
 * never passes through an engine, so one engine can take over from another at any time without
 * loss.
 */
#ifndef DK_LIBOS_KERNEL_ENGINE_H
#define DK_LIBOS_KERNEL_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

struct dk_event {
    uint64_t key;    /* as given to add; 0: a kick, to be ignored */
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLPRI */
};

struct dk_engine;

struct dk_engine_ops {
    const char *name;
    bool bound; /* may be used by the thread that opened it only (but for close) */
    /*
     * 0 or a negative errno; on failure *why_out is what to do about it. A write to kickfd (an
     * eventfd, the caller's) ends a poll that waits; the caller reads it.
     */
    int (*open)(struct dk_engine **engine_out, int kickfd, const char **why_out);
    /* No thread is inside poll. */
    void (*close)(struct dk_engine *e);
    /* Watches fd until del; key is not 0. 0 or a negative errno. */
    int (*add)(struct dk_engine *e, int fd, uint64_t key);
    /* Stops watching fd, and holds no reference to the socket afterwards. */
    void (*del)(struct dk_engine *e, int fd, uint64_t key);
    /* Submits what add left to be submitted; poll does so too. */
    void (*flush)(struct dk_engine *e);
    /* Fills at most max events; waits at most timeout_ns for the first (0: not at all, < 0: for
     * ever). Returns how many. */
    int (*poll)(struct dk_engine *e, struct dk_event *events_out, int max, int64_t timeout_ns);
    /* A descriptor that is readable while poll has events, or a negative errno. */
    int (*fd)(struct dk_engine *e);
    /* In the child of a fork: closes descriptors, and nothing else. */
    void (*abandon)(struct dk_engine *e);
};

struct dk_engine {
    const struct dk_engine_ops *ops;
};

extern const struct dk_engine_ops dk_engine_epoll;
extern const struct dk_engine_ops dk_engine_uring;

#endif /* DK_LIBOS_KERNEL_ENGINE_H */
