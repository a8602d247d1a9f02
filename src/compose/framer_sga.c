/* SPDX-License-Identifier: MIT */
/*
 * The framer that keeps scatter-gather arrays as they are. Numbers have the most significant byte
 * first.
 *
 *     stream   hello, element ...                          in each direction
 *     hello    89 'd' 'e' 'm' 'i' 0a <version> <flags>     version 1; flags: 1 checksums
 *     element  <segments: 1 to 8> 00 00 00
 *              <length: 4 bytes> for each segment
 *              <CRC-32C: 4 bytes> with checksums: of the header above and of the data
 *              data
 *
 * The hello has a byte that no text has, and one that a terminal translates, so that a peer which
 * speaks another protocol, or a line that changes bytes, is found at once. An unknown version or
 * flag is EPROTO; a wrong checksum is EBADMSG.
 */
#include "compose/framer_sga.h"

#include "base/crc32c.h"

#include <demi/framer.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define VERSION       1
#define FLAG_CHECKSUM 1u
#define WORD_BYTES    4u /* of everything in a header */

static const uint8_t magic[] = {0x89, 'd', 'e', 'm', 'i', '\n', VERSION};

enum { HELLO, FLAGS };                            /* kept: bytes of the hello seen; its flags */
enum { COUNT, AT, VALUE, SUM, WANTED_SUM, LEFT }; /* words: of the header, then data to sum up */

void dk_framer_sga_hello(const void *arg, uint8_t out[DK_FRAMER_SGA_HELLO_BYTES])
{
    memcpy(out, magic, sizeof(magic));
    out[sizeof(magic)] = arg == DEMI_FRAMER_SGA_CHECKSUM ? FLAG_CHECKSUM : 0;
}

static bool has_checksum(const struct demi_frame_state *state)
{
    return state->kept[FLAGS] & FLAG_CHECKSUM;
}

static int take_hello(struct demi_frame_state *state, uint8_t byte)
{
    uint64_t at = state->kept[HELLO]++;
    if (at < sizeof(magic))
        return byte == magic[at] ? DEMI_FRAME_MORE : EPROTO;
    state->kept[FLAGS] = byte;
    return byte & ~FLAG_CHECKSUM ? EPROTO : DEMI_FRAME_MORE;
}

/* Words of the whole header, once the first is there. */
static uint64_t header_words(const struct demi_frame_state *state)
{
    return 1 + state->words[COUNT] + has_checksum(state);
}

/* The word that ended at byte AT of the header. */
static int take_word(struct demi_frame_state *state)
{
    uint64_t at = state->words[AT] / WORD_BYTES - 1, value = state->words[VALUE];
    state->words[VALUE] = 0;
    if (at == 0) {
        if (value & 0xffffff || value == 0 || value >> 24 > DEMI_SGARRAY_MAXSIZE)
            return EPROTO;
        state->words[COUNT] = value >> 24;
    } else if (at <= state->words[COUNT]) {
        state->seg_lens[at - 1] = (uint32_t)value;
        state->words[LEFT] += value;
    } else {
        state->words[WANTED_SUM] = value;
    }
    return DEMI_FRAME_MORE;
}

static int take_header(struct demi_frame_state *state, uint8_t byte)
{
    bool summed = state->words[AT] < WORD_BYTES ||
                  state->words[AT] / WORD_BYTES <= state->words[COUNT]; /* but for the sum itself */
    if (summed && has_checksum(state))
        state->words[SUM] = dk_crc32c((uint32_t)state->words[SUM], &byte, 1);
    state->words[VALUE] = state->words[VALUE] << 8 | byte;
    return ++state->words[AT] % WORD_BYTES ? DEMI_FRAME_MORE : take_word(state);
}

static bool header_is_whole(const struct demi_frame_state *state)
{
    return state->words[AT] >= WORD_BYTES && state->words[AT] == header_words(state) * WORD_BYTES;
}

/* The header is whole: what there is to do until the end of the element. */
static int begin_data(struct demi_frame_state *state)
{
    if (state->words[LEFT] > state->limit)
        return EMSGSIZE;
    state->num_segs = (uint32_t)state->words[COUNT];
    if (has_checksum(state))
        return DEMI_FRAME_MORE;
    state->skip = state->words[LEFT];
    return DEMI_FRAME_END;
}

/* Sums data up; returns how many bytes it took. */
static size_t sum_up(struct demi_frame_state *state, const uint8_t *p, size_t len)
{
    size_t n = len < state->words[LEFT] ? len : (size_t)state->words[LEFT];
    state->words[SUM] = dk_crc32c((uint32_t)state->words[SUM], p, n);
    state->words[LEFT] -= n;
    return n;
}

static int scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg)
{
    const uint8_t *p = bytes;
    size_t n = 0;
    int r = DEMI_FRAME_MORE;
    (void)arg;
    while (r == DEMI_FRAME_MORE && n < len && state->num_segs == 0) {
        if (state->kept[HELLO] < DK_FRAMER_SGA_HELLO_BYTES)
            r = take_hello(state, p[n++]);
        else
            r = take_header(state, p[n++]);
        if (r == DEMI_FRAME_MORE && header_is_whole(state)) {
            r = begin_data(state);
            state->strip = (uint32_t)(state->taken + n);
        }
    }
    if (r == DEMI_FRAME_MORE && state->num_segs > 0) {
        n += sum_up(state, p + n, len - n);
        if (state->words[LEFT] == 0)
            r = state->words[SUM] == state->words[WANTED_SUM] ? DEMI_FRAME_END : EBADMSG;
    }
    *used = n;
    return r;
}

static uint8_t *put_word(uint8_t *to, uint32_t value)
{
    for (uint32_t i = 0; i < WORD_BYTES; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    return to + WORD_BYTES;
}

static int head(const demi_sgarray_t *sga, void *out, size_t *len, void *arg)
{
    uint8_t *begin = out, *to = put_word(begin, sga->sga_numsegs << 24);
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        to = put_word(to, sga->sga_segs[i].sgaseg_len);
    if (arg == DEMI_FRAMER_SGA_CHECKSUM) {
        uint32_t sum = dk_crc32c(0, begin, (size_t)(to - begin));
        for (uint32_t i = 0; i < sga->sga_numsegs; i++)
            sum = dk_crc32c(sum, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
        to = put_word(to, sum);
    }
    *len = (size_t)(to - begin);
    return 0;
}

const struct demi_framer demi_framer_sga = {.name = "sga", .scan = scan, .head = head};
