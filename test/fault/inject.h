/* SPDX-License-Identifier: MIT */
/*
 * Failures on order: the linker wraps what the library asks of the C library and the kernel, and
 * the N-th request of a kind fails, once or from then on. Requests count only while a plan is
 * armed; blocks of memory are counted always.
 */
#ifndef DEMI_TEST_FAULT_INJECT_H
#define DEMI_TEST_FAULT_INJECT_H

#include <stdbool.h>
#include <stdint.h>

enum inject_kind {
    INJECT_NOTHING,
    INJECT_MEMORY,     /* malloc, calloc, realloc, aligned_alloc, mmap, mprotect */
    INJECT_PAGES,      /* mmap, mprotect, madvise, mlock2: what the heap asks for */
    INJECT_UNMAP,      /* munmap */
    INJECT_DESCRIPTOR, /* socket, accept4, epoll_create1, eventfd */
    INJECT_ACCEPT,     /* accept4 */
    INJECT_WATCH,      /* epoll_ctl */
    INJECT_IO,         /* send, sendmsg, recv, recvfrom */
    INJECT_RING,       /* io_uring_queue_init_params */
    INJECT_FILE,       /* open and what is asked of files, but for stat, unlink and close */
    INJECT_THREAD,     /* pthread_create */
    INJECT_SUBMIT,     /* io_uring_submit and its kin */
    INJECT_DEVICE,     /* ioctl, setsockopt, bind, write, writev, sendmmsg */
};

/* The nth request (from 1) of the kind fails with error; with `lasting`, all later ones too. */
void inject_arm(enum inject_kind kind, uint32_t nth, bool lasting, int error);

/* Ends the plan; returns how many requests of its kind there were. */
uint32_t inject_disarm(void);

/* Whether a request failed since the plan was armed. */
bool inject_hit(void);

/* Blocks and mappings that are held now. */
int64_t inject_blocks_held(void);

#endif /* DEMI_TEST_FAULT_INJECT_H */
