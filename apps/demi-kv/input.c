/* SPDX-License-Identifier: MIT */
/*
 * What a connection receives (input.h).
 */
#include "input.h"

#include "resp.h"

#include <demi/sga.h>
#include <errno.h>
#include <string.h>

static int scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg)
{
    const struct resp_limits *limits = arg;
    int r = demi_framer_resp.scan(state, bytes, len, used, DEMI_FRAMER_RESP_BATCHES);

    if (r <= 0 && state->skip > (uint64_t)limits->max_bulk + RESP_BULK_END_BYTES)
        return EPROTO;
    return r;
}

const struct demi_framer kv_framer = {.name = "demi-kv", .scan = scan};

uint32_t kv_input_bytes(const demi_sgarray_t *sga)
{
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    return bytes;
}

void kv_input_copy(char *to, const demi_sgarray_t *sga)
{
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        memcpy(to, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
        to += sga->sga_segs[i].sgaseg_len;
    }
}

bool kv_input_join(demi_sgarray_t *sga)
{
    demi_sgarray_t one;

    if (sga->sga_numsegs == 1)
        return true;
    one = demi_sgaalloc(kv_input_bytes(sga));
    if (!one.sga_buf)
        return false;
    kv_input_copy(one.sga_segs[0].sgaseg_buf, sga);
    demi_sgafree(sga);
    *sga = one;
    return true;
}
