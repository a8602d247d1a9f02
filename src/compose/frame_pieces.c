/* SPDX-License-Identifier: MIT */
/*
 * Pieces of elements (frame_pieces.h).
 *
 * Only segments move: a buffer of memory of its own is freed by its first byte, so bytes that are
 * left out stay in it.
 */
#include "compose/frame_pieces.h"

#include "core/instance.h"

#include <errno.h>

#define MAX_PIECES DEMI_SGARRAY_MAXSIZE

/* Room of a gathered piece whose length is not known, at first. */
#define FIRST_ROOM (32u << 10)

/* An element that lacks so many bytes is gathered from its beginning: a stream that fills what it
 * is offered is received in buffers of 256 KiB. */
#define GATHER_BYTES (1u << 20)

/* Memory for what is announced is taken when so much of the element has come: a peer that only
 * announces gets none. */
#define TRUST_BYTES (256u << 10)

/* Room behind a gathered piece that does not end with what was announced: most requests have their
 * options behind a long value. */
#define MORE_ROOM 512

static void put(struct dk_frame_pieces *p, struct dk_buf *buf, uint8_t *data, size_t len)
{
    p->segs[p->count] = (demi_sgaseg_t){data, (uint32_t)len};
    p->bufs[p->count++] = buf;
}

static uint64_t bytes_from(const struct dk_frame_pieces *p, uint32_t first)
{
    uint64_t bytes = 0;
    for (uint32_t i = first; i < p->count; i++)
        bytes += p->segs[i].sgaseg_len;
    return bytes;
}

/* Copies the pieces from number `first` on into memory of so many bytes, which takes their place.
 */
static int gather_from(struct dk_frame_pieces *p, uint32_t first, uint64_t room,
                       struct dk_instance_stats *stats)
{
    struct dk_buf *buf = dk_buf_alloc(room, 0);
    uint32_t len = 0;
    if (!buf)
        return -ENOMEM;
    for (uint32_t i = first; i < p->count; i++) {
        memcpy(buf->data + len, p->segs[i].sgaseg_buf, p->segs[i].sgaseg_len);
        len += p->segs[i].sgaseg_len;
        dk_buf_put(p->bufs[i]);
    }
    dk_count(&stats->frame_copied_bytes, len);
    if (!p->gathering)
        dk_count(&stats->frame_gathers, 1);
    p->count = first;
    put(p, buf, buf->data, len);
    p->gathering = true;
    return 0;
}

/* Sees to it that the last piece is gathered, with room for so many bytes more. */
static int make_room(struct dk_frame_pieces *p, uint64_t len, struct dk_frame_coming coming,
                     struct dk_instance_stats *stats)
{
    bool whole = !p->gathering && coming.bytes >= GATHER_BYTES;
    uint32_t first = whole ? 0 : p->count - 1;
    uint64_t need = bytes_from(p, first) + len, slack = coming.more ? MORE_ROOM : 0;
    uint64_t room = p->gathering ? dk_buf_bytes(p->bufs[first]) : 0;
    uint64_t least = room ? room * 2 : FIRST_ROOM;
    if (bytes_from(p, 0) + len >= TRUST_BYTES)
        need += coming.bytes;
    if (need <= room)
        return 0;
    return gather_from(p, first, need + slack > least ? need + slack : least, stats);
}

static int gather(struct dk_frame_pieces *p, const uint8_t *data, size_t len,
                  struct dk_frame_coming coming, struct dk_instance_stats *stats)
{
    int r = make_room(p, len, coming, stats);
    if (r < 0)
        return r;
    demi_sgaseg_t *last = &p->segs[p->count - 1];
    memcpy((uint8_t *)last->sgaseg_buf + last->sgaseg_len, data, len);
    last->sgaseg_len += (uint32_t)len;
    dk_count(&stats->frame_copied_bytes, len);
    return 0;
}

int dk_frame_pieces_add(struct dk_frame_pieces *p, struct dk_buf *buf, uint8_t *data, size_t len,
                        bool shared, struct dk_frame_coming coming, struct dk_instance_stats *stats)
{
    bool whole = coming.bytes >= GATHER_BYTES && bytes_from(p, 0) + len >= TRUST_BYTES;
    if (p->gathering || p->count == MAX_PIECES || whole)
        return gather(p, data, len, coming, stats);
    struct dk_buf *view = dk_buf_view(buf, data, len);
    if (!view)
        return -ENOMEM;
    view->shared = shared;
    put(p, view, data, len);
    return 0;
}

/* Takes the first n pieces out, and lets them go. */
static void drop_first(struct dk_frame_pieces *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        dk_buf_put(p->bufs[i]);
    p->count -= n;
    memmove(p->bufs, p->bufs + n, p->count * sizeof(struct dk_buf *));
    memmove(p->segs, p->segs + n, p->count * sizeof(demi_sgaseg_t));
}

void dk_frame_pieces_strip(struct dk_frame_pieces *p, uint64_t bytes)
{
    uint32_t n = 0;
    while (n + 1 < p->count && bytes >= p->segs[n].sgaseg_len)
        bytes -= p->segs[n++].sgaseg_len;
    if (n > 0)
        drop_first(p, n);
    p->segs[0].sgaseg_buf = (uint8_t *)p->segs[0].sgaseg_buf + bytes;
    p->segs[0].sgaseg_len -= (uint32_t)bytes;
}

/* A place in the pieces: `off` bytes into number `at`. */
struct cursor {
    uint32_t at;
    uint32_t off;
};

/* What is left of the piece that a place is in; moves on where that is nothing. */
static uint32_t left_here(const struct dk_frame_pieces *p, struct cursor *c)
{
    while (c->off == p->segs[c->at].sgaseg_len && c->at + 1 < p->count)
        *c = (struct cursor){c->at + 1, 0};
    return p->segs[c->at].sgaseg_len - c->off;
}

static uint8_t *place(const struct dk_frame_pieces *p, const struct cursor *c)
{
    return (uint8_t *)p->segs[c->at].sgaseg_buf + c->off;
}

/* Moves a place, and copies what it passes to `to` (NULL: nowhere). */
static void pass(const struct dk_frame_pieces *p, struct cursor *c, uint8_t *to, uint64_t len)
{
    while (len > 0) {
        uint32_t here = left_here(p, c), n = here < len ? here : (uint32_t)len;
        if (to) {
            memcpy(to, place(p, c), n);
            to += n;
        }
        c->off += n;
        len -= n;
    }
}

static bool has_buf(const struct dk_frame_pieces *p, const struct dk_buf *buf)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->bufs[i] == buf)
            return true;
    return false;
}

/* Adds the next segment to `to`: a part of one piece, or a copy of several. */
static int divide_one(const struct dk_frame_pieces *p, struct cursor *c, uint32_t len,
                      struct dk_frame_pieces *to, struct dk_instance_stats *stats)
{
    if (len <= left_here(p, c)) {
        struct dk_buf *buf = p->bufs[c->at];
        if (has_buf(to, buf))
            buf = NULL; /* one hold is enough */
        else
            dk_buf_get(buf);
        put(to, buf, place(p, c), len);
        c->off += len;
        return 0;
    }
    struct dk_buf *copy = dk_buf_alloc(len, 0);
    if (!copy)
        return -ENOMEM;
    pass(p, c, copy->data, len);
    dk_count(&stats->frame_gathers, 1);
    dk_count(&stats->frame_copied_bytes, len);
    put(to, copy, copy->data, len);
    return 0;
}

int dk_frame_pieces_divide(struct dk_frame_pieces *p, uint64_t strip, const uint32_t lens[],
                           uint32_t n, struct dk_instance_stats *stats)
{
    struct dk_frame_pieces to = {0};
    struct cursor c = {0, 0};
    pass(p, &c, NULL, strip);
    for (uint32_t i = 0; i < n; i++) {
        int r = divide_one(p, &c, lens[i], &to, stats);
        if (r < 0) {
            dk_frame_pieces_drop(&to);
            return r;
        }
    }
    dk_frame_pieces_drop(p);
    *p = to;
    return 0;
}

void dk_frame_pieces_lend(struct dk_frame_pieces *p, demi_sgarray_t *sga_out)
{
    struct dk_buf *last = p->bufs[0];
    for (uint32_t i = 1; i < p->count; i++) {
        if (p->bufs[i]) {
            last->more = p->bufs[i];
            last = last->more;
        }
    }
    memset(sga_out, 0, sizeof(*sga_out));
    sga_out->sga_numsegs = p->count;
    memcpy(sga_out->sga_segs, p->segs, p->count * sizeof(demi_sgaseg_t));
    dk_sga_lend(sga_out, p->bufs[0]);
    p->count = 0;
    p->gathering = false;
}

void dk_frame_pieces_lend_last(struct dk_frame_pieces *p, demi_sgarray_t *sga_out)
{
    uint32_t last = --p->count;
    dk_sga_from_buf(sga_out, p->bufs[last], p->segs[last].sgaseg_len);
    sga_out->sga_segs[0].sgaseg_buf = p->segs[last].sgaseg_buf;
    dk_sga_lend(sga_out, p->bufs[last]);
    p->gathering = false;
}

void dk_frame_pieces_drop(struct dk_frame_pieces *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->bufs[i])
            dk_buf_put(p->bufs[i]);
    p->count = 0;
    p->gathering = false;
}
