/* SPDX-License-Identifier: MIT */
/*
 * Making, checking and holding sgas (sga.h).
 */
#include "mem/sga.h"

#include "mem/heap.h"
#include "mem/stats.h"

#include <errno.h>

/* Segments of one allocation start on their own 16 bytes: good for any type. */
#define SEG_ALIGN 16u

static uint32_t copy_threshold = 1024;

static uint64_t align_up(uint64_t n)
{
    return (n + SEG_ALIGN - 1) & ~(uint64_t)(SEG_ALIGN - 1);
}

int dk_sga_alloc(demi_sgarray_t *sga_out, const uint32_t lens[], uint32_t n)
{
    uint64_t total = 0;
    if (n == 0 || n > DEMI_SGARRAY_MAXSIZE)
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++)
        total += i + 1 < n ? align_up(lens[i]) : lens[i];
    if (total == 0 || total > UINT32_MAX)
        return -EINVAL;
    struct dk_buf *buf = dk_buf_alloc(total, 0);
    if (!buf)
        return -ENOMEM;
    memset(sga_out, 0, sizeof(*sga_out));
    uint8_t *at = buf->data;
    for (uint32_t i = 0; i < n; i++, at += align_up(lens[i - 1])) {
        sga_out->sga_segs[i].sgaseg_buf = at;
        sga_out->sga_segs[i].sgaseg_len = lens[i];
    }
    sga_out->sga_numsegs = n;
    dk_sga_lend(sga_out, buf);
    return 0;
}

int dk_sga_free(const demi_sgarray_t *sga)
{
    if (!sga->sga_buf)
        return sga->sga_numsegs == 0 ? 0 : -EINVAL;
    return dk_buf_app_put(sga->sga_buf);
}

/* Whether len bytes at p are an element's: of its chain or, of a clone, of the chain it is a view
 * of. */
static bool element_covers(const struct dk_buf *buf, const void *p, size_t len)
{
    if (buf->kind == DK_BUF_VIEW && !buf->more && buf->owner->more)
        buf = buf->owner;
    for (; buf; buf = buf->more)
        if (dk_buf_covers(buf, p, len))
            return true;
    return false;
}

/* Whether a segment outside the sga's own element may be pushed. */
static int check_elsewhere(const struct dk_buf *buf, const demi_sgaseg_t *seg)
{
    const uint8_t *p = seg->sgaseg_buf;
    struct dk_heap_object object;
    if (buf && element_covers(buf, p, 1))
        return -EINVAL; /* it begins there, and does not end there */
    if (!dk_heap_owns(p))
        return 0;
    if (!dk_heap_find(p, &object))
        return -EINVAL;
    return seg->sgaseg_len <= object.usable - (size_t)(p - object.start) ? 0 : -EINVAL;
}

int dk_sga_check_segs(const demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    uint32_t n = sga->sga_numsegs;
    struct dk_buf *buf = sga->sga_buf ? dk_buf_from_handle(sga->sga_buf) : NULL;
    bool all = buf != NULL;
    if (n == 0 || n > DEMI_SGARRAY_MAXSIZE || (sga->sga_buf && !buf))
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++) {
        const demi_sgaseg_t *seg = &sga->sga_segs[i];
        if (seg->sgaseg_len == 0)
            continue;
        if (!seg->sgaseg_buf)
            return -EINVAL;
        if (buf && element_covers(buf, seg->sgaseg_buf, seg->sgaseg_len))
            continue;
        if (check_elsewhere(buf, seg) < 0)
            return -EINVAL;
        all = false;
    }
    *buf_out = all ? buf : NULL;
    return 0;
}

void dk_sga_set_copy_threshold(uint32_t bytes)
{
    copy_threshold = bytes;
}

/* Why a segment is copied; REFERENCED: it is not. */
enum fate { REFERENCED, SMALL, FOREIGN, REFUSED };

/* Counts the copies of one sga, in calls and bytes per cause. */
static void count_copies(const enum fate fates[], const demi_sgarray_t *sga)
{
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        uint32_t bytes = sga->sga_segs[i].sgaseg_len;
        if (bytes == 0)
            continue;
        if (fates[i] == REFERENCED) {
            dk_mem_count(references, 1);
        } else if (fates[i] == SMALL) {
            dk_mem_count(copies_small, 1);
            dk_mem_count(copied_bytes_small, bytes);
        } else if (fates[i] == FOREIGN) {
            dk_mem_count(copies_foreign, 1);
            dk_mem_count(copied_bytes_foreign, bytes);
        } else {
            dk_mem_count(copies_refused, 1);
            dk_mem_count(copied_bytes_refused, bytes);
        }
    }
}

/* Decides on one segment; a reference is put in front of the chain. */
static enum fate decide(const demi_sgaseg_t *seg, struct dk_buf **chain)
{
    if (!dk_heap_owns(seg->sgaseg_buf))
        return FOREIGN;
    if (seg->sgaseg_len < copy_threshold)
        return SMALL;
    struct dk_buf *buf = dk_buf_reference(seg->sgaseg_buf, seg->sgaseg_len);
    if (!buf)
        return REFUSED;
    buf->more = *chain;
    *chain = buf;
    return REFERENCED;
}

/* Copies what is not referenced into one buffer, and redirects those segments. */
static void copy_segs(demi_sgarray_t *sga, const enum fate fates[], const struct dk_buf *to)
{
    uint8_t *at = to->data;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        demi_sgaseg_t *seg = &sga->sga_segs[i];
        if (seg->sgaseg_len && fates[i] == REFERENCED)
            continue;
        if (seg->sgaseg_len)
            memcpy(at, seg->sgaseg_buf, seg->sgaseg_len);
        seg->sgaseg_buf = at;
        at += seg->sgaseg_len;
    }
}

int dk_sga_gather(demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    enum fate fates[DEMI_SGARRAY_MAXSIZE];
    struct dk_buf *chain = NULL;
    uint64_t copied = 0;
    bool any_empty = false;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        const demi_sgaseg_t *seg = &sga->sga_segs[i];
        fates[i] = seg->sgaseg_len ? decide(seg, &chain) : SMALL;
        any_empty |= seg->sgaseg_len == 0;
        copied += fates[i] == REFERENCED ? 0 : seg->sgaseg_len;
    }
    if (copied || any_empty) { /* an empty segment points somewhere too */
        struct dk_buf *to = copied <= UINT32_MAX ? dk_buf_alloc(copied ? copied : 1, 0) : NULL;
        if (!to) {
            if (chain)
                dk_buf_free(chain);
            return -ENOMEM;
        }
        copy_segs(sga, fates, to);
        to->more = chain;
        chain = to;
    }
    count_copies(fates, sga);
    *buf_out = chain;
    return 0;
}

int dk_sga_copy_deep(demi_sgarray_t *to, const demi_sgarray_t *from)
{
    const struct dk_buf *source = from->sga_buf ? dk_buf_from_handle(from->sga_buf) : NULL;
    uint64_t bytes = dk_sga_bytes(from);
    struct dk_buf *buf =
        bytes <= UINT32_MAX ? dk_buf_alloc(bytes ? bytes : 1, DK_BUF_PEER_BYTES) : NULL;
    if (!buf)
        return -ENOMEM;
    dk_sga_copy_all(to, from);
    uint8_t *at = buf->data;
    for (uint32_t i = 0; i < to->sga_numsegs; i++) {
        demi_sgaseg_t *seg = &to->sga_segs[i];
        if (seg->sgaseg_len)
            memcpy(at, seg->sgaseg_buf, seg->sgaseg_len);
        seg->sgaseg_buf = at;
        at += seg->sgaseg_len;
    }
    if (source && source->peer_len) {
        socklen_t len;
        const struct sockaddr *peer = dk_buf_peer(source, &len);
        dk_buf_set_peer(buf, peer, len);
    }
    dk_sga_lend(to, buf);
    return 0;
}

int dk_sga_replace_by_copy(demi_sgarray_t *sga)
{
    demi_sgarray_t copy;
    int r = dk_sga_copy_deep(&copy, sga);
    dk_buf_app_put(sga->sga_buf);
    if (r == 0)
        *sga = copy;
    return r;
}
