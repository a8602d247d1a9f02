/* SPDX-License-Identifier: MIT */
/*
 * Watches (watch.h): a table by token, and a walk through it by buffer; one lock. Nothing here is
 * meant to be fast.
 */
#include "mem/watch.h"

#include "base/list.h"
#include "mem/heap.h"
#include "mem/sga.h"
#include "os/log.h"

#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define NUM_LISTS 1024 /* a power of two */

bool dk_watch_on;

struct watch {
    struct dk_list link;
    demi_qtoken_t token;
    int qd;
    bool shared;        /* collected; who holds the buffer may not write yet */
    uint32_t held;      /* a bit per segment: its object is held */
    struct dk_buf *buf; /* held while not shared; NULL: the application built the sga */
    demi_sgarray_t sga;
    uint8_t bytes[]; /* of all segments */
};

static struct {
    struct dk_lock lock;
    bool ready;
    struct dk_list lists[NUM_LISTS];
} table;

static struct dk_list *list_of(demi_qtoken_t token)
{
    return &table.lists[(token ^ token >> 24) % NUM_LISTS];
}

/* The lock is held. */
static void make_ready(void)
{
    for (size_t i = 0; i < NUM_LISTS && !table.ready; i++)
        dk_list_init(&table.lists[i]);
    table.ready = true;
}

/* Holds the objects of an sga that the application built. */
static void hold_objects(struct watch *w)
{
    struct dk_heap_object object;
    for (uint32_t i = 0; i < w->sga.sga_numsegs; i++) {
        const demi_sgaseg_t *seg = &w->sga.sga_segs[i];
        if (seg->sgaseg_len && dk_heap_find(seg->sgaseg_buf, &object) &&
            dk_heap_get(seg->sgaseg_buf))
            w->held |= 1u << i;
    }
}

void dk_watch_begin(demi_qtoken_t token, int qd, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct watch *w = dk_heap_malloc(sizeof(*w) + dk_sga_bytes(sga)); /* freed by drop */
    if (!w)
        return;
    *w = (struct watch){.token = token, .qd = qd, .buf = buf};
    dk_sga_copy(&w->sga, sga);
    uint8_t *at = w->bytes;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        if (sga->sga_segs[i].sgaseg_len)
            memcpy(at, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
        at += sga->sga_segs[i].sgaseg_len;
    }
    if (buf)
        dk_buf_get(buf);
    else
        hold_objects(w);
    dk_lock(&table.lock);
    make_ready();
    dk_list_add_tail(list_of(token), &w->link);
    dk_unlock(&table.lock);
}

/* Takes a watch off the table's lists before: frees it and lets its memory go. */
static void drop(struct watch *w)
{
    for (uint32_t i = 0; i < w->sga.sga_numsegs; i++)
        if (w->held >> i & 1)
            dk_heap_put(w->sga.sga_segs[i].sgaseg_buf);
    if (w->buf && !w->shared)
        dk_buf_put(w->buf);
    dk_heap_free(w);
}

static __attribute__((noreturn)) void report(const struct watch *w, uint32_t seg, size_t in_seg,
                                             size_t in_element, unsigned was, unsigned is)
{
    dk_log(DK_LOG_ERROR,
           "memory that was pushed to queue %d was written %s (token 0x%llx): segment %u, offset "
           "%zu (offset %zu of the element), address %p: was 0x%02x, is 0x%02x",
           w->qd, w->shared ? "after it was handed over" : "in flight",
           (unsigned long long)w->token, seg, in_seg, in_element,
           (void *)((uint8_t *)w->sga.sga_segs[seg].sgaseg_buf + in_seg), was, is);
    abort();
}

/* Reads memory that may not be there any more: how much there is. */
static size_t read_memory(void *to, const void *from, size_t len)
{
    struct iovec local = {to, len}, remote = {(void *)(uintptr_t)from, len};
    ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return n < 0 ? 0 : (size_t)n;
}

/* Compares one segment with its copy. */
static void check_seg(const struct watch *w, uint32_t seg, size_t before)
{
    const uint8_t *from = w->sga.sga_segs[seg].sgaseg_buf, *copy = w->bytes + before;
    size_t len = w->sga.sga_segs[seg].sgaseg_len;
    uint8_t now[4096];
    for (size_t at = 0; at < len;) {
        size_t n = len - at < sizeof(now) ? len - at : sizeof(now);
        n = read_memory(now, from + at, n);
        for (size_t i = 0; i < n; i++)
            if (now[i] != copy[at + i])
                report(w, seg, at + i, before + at + i, copy[at + i], now[i]);
        if (n == 0)
            return; /* the application's own, and gone: nobody can tell what is there */
        at += n;
    }
}

static void check(const struct watch *w)
{
    size_t before = 0;
    for (uint32_t i = 0; i < w->sga.sga_numsegs; i++) {
        check_seg(w, i, before);
        before += w->sga.sga_segs[i].sgaseg_len;
    }
}

void dk_watch_end(demi_qtoken_t token, bool by_reference)
{
    struct dk_list *l, *tmp;
    struct watch *ended = NULL;
    struct dk_buf *release = NULL;
    dk_lock(&table.lock);
    make_ready();
    dk_list_for_each_safe (l, tmp, list_of(token)) {
        struct watch *w = dk_container_of(l, struct watch, link);
        if (w->token != token || w->shared)
            continue;
        check(w);
        if (by_reference && w->buf) {
            w->shared = true;
            release = w->buf;
        } else {
            dk_list_del(l);
            ended = w;
        }
    }
    dk_unlock(&table.lock);
    if (ended)
        drop(ended);
    if (release)
        dk_buf_put(release);
}

/* Checks the watches on a buffer, and moves them to `out` if they end with this. */
static void visit(const struct dk_buf *buf, bool ends, struct dk_list *out)
{
    struct dk_list *l, *tmp;
    dk_lock(&table.lock);
    make_ready();
    for (size_t i = 0; i < NUM_LISTS; i++) {
        dk_list_for_each_safe (l, tmp, &table.lists[i]) {
            struct watch *w = dk_container_of(l, struct watch, link);
            if (w->buf != buf)
                continue;
            check(w);
            if (ends) {
                dk_list_del(l);
                dk_list_add_tail(out, l);
            }
        }
    }
    dk_unlock(&table.lock);
}

static void visit_and_drop(const struct dk_buf *buf, bool ends)
{
    struct dk_list out;
    dk_list_init(&out);
    visit(buf, ends, &out);
    while (!dk_list_empty(&out)) {
        struct dk_list *l = dk_list_first(&out);
        dk_list_del(l);
        drop(dk_container_of(l, struct watch, link));
    }
}

static uint32_t app_holds(const struct dk_buf *buf)
{
    return (uint32_t)__atomic_load_n(&buf->life, __ATOMIC_RELAXED);
}

void dk_watch_delivered(const struct dk_buf *buf)
{
    visit_and_drop(buf, app_holds(buf) == 0);
}

void dk_watch_freed(const struct dk_buf *buf)
{
    visit_and_drop(buf, app_holds(buf) == 2); /* with one holder left, it is that one's */
}

void dk_watch_gone(const struct dk_buf *buf)
{
    visit_and_drop(buf, true);
}
