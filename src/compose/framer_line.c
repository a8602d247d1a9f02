/* SPDX-License-Identifier: MIT */
/*
 * The framer of lines: an element ends with its line feed, which is a part of it.
 */
#include <demi/framer.h>

#include <string.h>

static int scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg)
{
    const uint8_t *end = memchr(bytes, '\n', len);
    (void)state;
    (void)arg;
    if (!end)
        return DEMI_FRAME_MORE;
    *used = (size_t)(end - (const uint8_t *)bytes) + 1;
    return DEMI_FRAME_END;
}

const struct demi_framer demi_framer_line = {.name = "line", .scan = scan};
