/* SPDX-License-Identifier: MIT */
/*
 * Scatter-gather arrays: the public side of mem/sga.h. These calls need no instance.
 */
#include "api/api.h"
#include "mem/buf_now.h"
#include "mem/sga.h"

#include <demi/sga.h>

demi_sgarray_t demi_sgaalloc_segs(const uint32_t lens[], uint32_t num_segs)
{
    demi_sgarray_t sga;
    if (!lens || dk_sga_alloc(&sga, lens, num_segs) < 0)
        memset(&sga, 0, sizeof(sga));
    return sga;
}

demi_sgarray_t demi_sgaalloc(size_t size)
{
    uint32_t len = size <= UINT32_MAX ? (uint32_t)size : 0;
    return demi_sgaalloc_segs(&len, 1);
}

static __attribute__((noinline)) int free_any(const demi_sgarray_t *sga)
{
    return dk_public(dk_sga_free(sga));
}

int demi_sgafree(demi_sgarray_t *sga)
{
    if (dk_unlikely(!sga))
        return EINVAL;
    if (dk_likely(!dk_watch_on && dk_buf_app_return(sga->sga_buf)))
        return 0;
    return free_any(sga);
}

int demi_sgaclone(demi_sgarray_t *sga_out, const demi_sgarray_t *sga)
{
    struct dk_buf *buf;
    if (!sga_out || !sga || !sga->sga_buf || dk_sga_check(sga, &buf) < 0)
        return EINVAL;
    demi_sgarray_t clone = *sga;
    struct dk_buf *shared = buf ? dk_buf_alias(buf) : NULL;
    if (!buf) /* some segments are elsewhere */
        dk_sga_gather(&clone, &shared);
    if (!shared)
        return ENOMEM;
    dk_sga_lend(&clone, shared);
    *sga_out = clone;
    return 0;
}

int demi_sga_peer(const demi_sgarray_t *sga, struct sockaddr *addr_out, socklen_t *len)
{
    if (!sga || !addr_out || !len)
        return EINVAL;
    struct dk_buf *buf = sga->sga_buf ? dk_buf_from_handle(sga->sga_buf) : NULL;
    if (sga->sga_buf && !buf)
        return EINVAL;
    socklen_t size = 0;
    const struct sockaddr *peer = buf ? dk_buf_peer(buf, &size) : NULL;
    if (!peer)
        return ENOTCONN;
    memcpy(addr_out, peer, *len < size ? *len : size);
    *len = size;
    return 0;
}
