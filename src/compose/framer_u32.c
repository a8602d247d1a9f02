/* SPDX-License-Identifier: MIT */
/*
 * The framer of length-prefixed elements: four bytes of length, the most significant first, then
 * so many bytes.
 */
#include <demi/framer.h>

#include <errno.h>

#define HEADER_BYTES 4u

enum { LENGTH }; /* words: what of the length came */

static int scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg)
{
    const uint8_t *p = bytes;
    size_t missing = HEADER_BYTES - (size_t)state->taken;
    size_t n = len < missing ? len : missing;
    (void)arg;
    for (size_t i = 0; i < n; i++)
        state->words[LENGTH] = state->words[LENGTH] << 8 | p[i];
    *used = n;
    if (n < missing)
        return DEMI_FRAME_MORE;
    state->strip = HEADER_BYTES;
    state->skip = state->words[LENGTH];
    return DEMI_FRAME_END;
}

static int head(const demi_sgarray_t *sga, void *out, size_t *len, void *arg)
{
    uint8_t *to = out;
    uint64_t bytes = 0;
    (void)arg;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    if (bytes > UINT32_MAX)
        return EMSGSIZE;
    for (uint32_t i = 0; i < HEADER_BYTES; i++)
        to[i] = (uint8_t)(bytes >> (24 - 8 * i));
    *len = HEADER_BYTES;
    return 0;
}

const struct demi_framer demi_framer_u32 = {.name = "u32", .scan = scan, .head = head};
