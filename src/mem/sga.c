/* SPDX-License-Identifier: MIT */
/*
 * Making, checking and holding sgas (sga.h).
 */
#include "mem/sga.h"

#include <errno.h>

/* Segments of one allocation start on their own 16 bytes: good for any type. */
#define SEG_ALIGN 16u

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
    struct dk_buf *buf = dk_buf_alloc(total);
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

int dk_sga_check_segs(const demi_sgarray_t *sga)
{
    uint32_t n = sga->sga_numsegs;
    if (n == 0 || n > DEMI_SGARRAY_MAXSIZE)
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++)
        if (!sga->sga_segs[i].sgaseg_buf && sga->sga_segs[i].sgaseg_len != 0)
            return -EINVAL;
    return 0;
}

int dk_sga_copy_foreign(demi_sgarray_t *sga, struct dk_buf **buf_out)
{
    uint64_t bytes = dk_sga_bytes(sga);
    if (bytes > UINT32_MAX)
        return -ENOMEM;
    struct dk_buf *buf = dk_buf_alloc(bytes ? bytes : 1);
    if (!buf)
        return -ENOMEM;
    uint8_t *at = buf->data;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        demi_sgaseg_t *seg = &sga->sga_segs[i];
        if (seg->sgaseg_len)
            memcpy(at, seg->sgaseg_buf, seg->sgaseg_len);
        seg->sgaseg_buf = at;
        at += seg->sgaseg_len;
    }
    *buf_out = buf;
    return 0;
}
