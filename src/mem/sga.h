/* SPDX-License-Identifier: MIT */
/*
 * Scatter-gather arrays over reference-counted buffers.
 *
 * An sga is checked once, when it enters the library (dk_sga_check). What the library keeps longer
 * it holds by reference: the buffer of its handle gets one more hold, or, when the application
 * built the sga, each object of the heap that it points into (dk_sga_gather). Memory that is not
 * the heap's is copied, and counted.
 */
#ifndef DK_MEM_SGA_H
#define DK_MEM_SGA_H

#include "mem/buf.h"

#include <demi/types.h>
#include <errno.h>
#include <string.h>

/* Bytes of an sga without the segment array's unused rest; the sender's address lies behind it. */
#define DK_SGA_HEAD_BYTES offsetof(demi_sgarray_t, sga_segs)

/* Makes an sga over n segments of the given lengths in one buffer that the application holds. 0,
 * -EINVAL or -ENOMEM. */
int dk_sga_alloc(demi_sgarray_t *sga_out, const uint32_t lens[], uint32_t n);

/* Ends the application's hold. 0 or -EINVAL. */
int dk_sga_free(const demi_sgarray_t *sga);

/* The general case of dk_sga_check. */
int dk_sga_check_segs(const demi_sgarray_t *sga, struct dk_buf **buf_out);

/* Whether len bytes at p are the buffer's, chains and what they are views of left out. */
static inline bool dk_buf_covers(const struct dk_buf *buf, const void *p, size_t len)
{
    const uintptr_t at = (uintptr_t)p;
    uintptr_t end;
    return at >= (uintptr_t)buf->data && !__builtin_add_overflow(at, len, &end) &&
           end <= (uintptr_t)buf->end;
}

/*
 * 0 when an sga may be pushed, else -EINVAL: 1 to 8 segments, no NULL with a length, a live handle
 * or none, no segment that begins in memory of the heap which is free or too short for it. *buf_out
 * is the buffer of the handle when all segments lie in it; NULL when some are elsewhere: in the
 * heap, or in memory that is not the library's.
 */
static inline int dk_sga_check(const demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    if (dk_likely(sga->sga_numsegs == 1 && sga->sga_segs[0].sgaseg_buf)) {
        struct dk_buf *buf = dk_buf_from_handle(sga->sga_buf);
        if (dk_likely(buf && dk_buf_covers(buf, sga->sga_segs[0].sgaseg_buf,
                                           sga->sga_segs[0].sgaseg_len))) {
            *buf_out = buf;
            return 0;
        }
    }
    return dk_sga_check_segs(sga, buf_out);
}

/*
 * Finds the buffer that owns an sga of one segment, while !dk_mt(); false for every other sga: take
 * the long way. A generation that nobody was lent cannot be guessed, so app_refs is not looked at.
 */
static inline bool dk_sga_fast_buf(const demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    uint64_t handle = (uintptr_t)sga->sga_buf;
    uint32_t index = (uint32_t)(handle >> 32) - 1; /* of NULL: past the end */
    if (dk_unlikely(sga->sga_numsegs != 1 || index >= dk_bufs_used))
        return false;
    *buf_out = &dk_bufs[index];
    return dk_likely(
        (*buf_out)->gen == (uint32_t)handle &&
        dk_buf_covers(*buf_out, sga->sga_segs[0].sgaseg_buf, sga->sga_segs[0].sgaseg_len));
}

/* Sum of the segments' lengths in bytes. */
static inline uint64_t dk_sga_bytes(const demi_sgarray_t *sga)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    return bytes;
}

/* Copies an sga without its unused segments and its address. */
static inline void dk_sga_copy(demi_sgarray_t *to, const demi_sgarray_t *from)
{
    if (dk_likely(from->sga_numsegs == 1))
        memcpy(to, from, DK_SGA_HEAD_BYTES + sizeof(demi_sgaseg_t));
    else
        memcpy(to, from, sizeof(*to));
}

/* As dk_sga_copy, with the sender's address. */
static inline void dk_sga_copy_all(demi_sgarray_t *to, const demi_sgarray_t *from)
{
    dk_sga_copy(to, from);
    to->sga_addr = from->sga_addr;
}

/* Segments of application memory from so many bytes on are referenced, shorter ones copied. */
void dk_sga_set_copy_threshold(uint32_t bytes);

/*
 * Makes an element of segments that do not all lie in one buffer: those in the heap are referenced,
 * or copied when they are short; what is not the library's is copied. Redirects copied segments.
 * *buf_out: the first buffer of the chain, with a hold of the library. 0 or -ENOMEM, the sga as it
 * was.
 */
int dk_sga_gather(demi_sgarray_t *sga, struct dk_buf **buf_out);

/* Whether the holder of an element's handle is the only one who can see its bytes. */
static inline bool dk_sga_is_exclusive(const demi_sgarray_t *sga)
{
    const struct dk_buf *buf = dk_buf_from_handle(sga->sga_buf);
    return buf && dk_buf_is_exclusive(buf);
}

/* Makes an element with the same segments in memory of its own, the sender included, that the
 * application holds. 0 or -ENOMEM. */
int dk_sga_copy_deep(demi_sgarray_t *to, const demi_sgarray_t *from);

/* Puts a copy in an element's place, and frees the element. 0, or -ENOMEM: it is freed all the
 * same.
 */
int dk_sga_replace_by_copy(demi_sgarray_t *sga);

/* Makes an element of len bytes of buf, received just now (dk_buf_lend_first), whose hold it takes
 * over: all but the sender's address. */
static inline void dk_sga_of_received(demi_sgarray_t *sga, struct dk_buf *buf, uint32_t len)
{
    sga->sga_buf = dk_buf_lend_first(buf);
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = buf->data;
    sga->sga_segs[0].sgaseg_len = len;
}

/* Describes buf as a one-segment sga of len bytes, without a hold of the application. */
static inline void dk_sga_from_buf(demi_sgarray_t *sga, struct dk_buf *buf, uint32_t len)
{
    sga->sga_buf = NULL;
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = buf->data;
    sga->sga_segs[0].sgaseg_len = len;
    memset(&sga->sga_addr, 0, sizeof(sga->sga_addr));
}

/* Hands the library's hold on buf over to the application: sga gets the handle. */
static inline void dk_sga_lend(demi_sgarray_t *sga, struct dk_buf *buf)
{
    sga->sga_buf = dk_buf_lend(buf);
}

/* Makes sga the end of a stream. */
static inline void dk_sga_end(demi_sgarray_t *sga)
{
    sga->sga_buf = NULL;
    sga->sga_numsegs = 0;
    sga->sga_segs[0].sgaseg_buf = NULL;
    sga->sga_segs[0].sgaseg_len = 0;
    memset(&sga->sga_addr, 0, sizeof(sga->sga_addr));
}

#endif /* DK_MEM_SGA_H */
