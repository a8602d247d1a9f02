/* SPDX-License-Identifier: MIT */
/*
 * Scatter-gather arrays over reference-counted buffers.
 *
 * An sga is checked once, when it enters the library (dk_sga_check). What the library keeps longer
 * it holds by reference: memory that a buffer of ours owns gets one more hold, memory that the
 * application brought itself is copied (dk_sga_copy_foreign).
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
int dk_sga_check_segs(const demi_sgarray_t *sga);

/*
 * 0 when an sga may be pushed, else -EINVAL: 1 to 8 segments, no NULL with a length, a live handle
 * or none. *buf_out is the buffer that owns its memory, NULL when the application brought it
 * itself.
 */
static inline int dk_sga_check(const demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    if (dk_unlikely(sga->sga_numsegs != 1 || !sga->sga_segs[0].sgaseg_buf) &&
        dk_sga_check_segs(sga) < 0)
        return -EINVAL;
    if (!sga->sga_buf) {
        *buf_out = NULL;
        return 0;
    }
    *buf_out = dk_buf_from_handle(sga->sga_buf);
    return *buf_out ? 0 : -EINVAL;
}

/*
 * Finds the buffer that owns an sga of one segment, while !dk_mt(); false for every other sga: take
 * the long way. A generation that nobody was lent cannot be guessed, so app_refs is not looked at.
 */
static inline bool dk_sga_fast_buf(const demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    uint64_t handle = (uintptr_t)sga->sga_buf;
    uint32_t index = (uint32_t)handle - 1; /* of NULL: past the end */
    if (dk_unlikely(sga->sga_numsegs != 1 || !sga->sga_segs[0].sgaseg_buf || index >= dk_bufs_used))
        return false;
    *buf_out = &dk_bufs[index];
    return dk_likely((*buf_out)->gen == (uint32_t)(handle >> 32));
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

/*
 * Copies the memory of an sga that no buffer of ours owns into one, in *buf_out with a hold of the
 * library, and redirects the segments. 0 or -ENOMEM.
 */
int dk_sga_copy_foreign(demi_sgarray_t *sga, struct dk_buf **buf_out);

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
