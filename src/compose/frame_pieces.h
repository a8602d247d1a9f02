/* SPDX-License-Identifier: MIT */
/*
 * The pieces of an element that is put together from what was received.
 *
 * A piece is a view of a received buffer. Up to eight of them are popped as they are; from the
 * ninth on, bytes are gathered in the last one, which then has memory of its own. Views cost a
 * descriptor and no copy.
 *
 * An element that is announced to be longer than eight receive buffers are likely to hold is
 * gathered from its beginning, in one piece of the announced length, as soon as some of it has
 * come: from there on each receive buffer goes once it was copied, and no byte is in memory twice.
 */
#ifndef DK_COMPOSE_FRAME_PIECES_H
#define DK_COMPOSE_FRAME_PIECES_H

#include "mem/sga.h"

#include <stdbool.h>

struct dk_instance_stats;

struct dk_frame_pieces {
    uint32_t count;
    bool gathering; /* the last piece is the library's own memory, with room behind it */
    demi_sgaseg_t segs[DEMI_SGARRAY_MAXSIZE];
    struct dk_buf *bufs[DEMI_SGARRAY_MAXSIZE]; /* one hold each; NULL: that of an earlier one */
};

/* What is known of the bytes of an element that follow. */
struct dk_frame_coming {
    uint64_t bytes; /* so many at least */
    bool more;      /* and perhaps others behind them */
};

/*
 * Adds len > 0 bytes at data, in memory of buf. shared: others may see those bytes. 0, or -ENOMEM
 * and nothing was added.
 */
int dk_frame_pieces_add(struct dk_frame_pieces *p, struct dk_buf *buf, uint8_t *data, size_t len,
                        bool shared, struct dk_frame_coming coming,
                        struct dk_instance_stats *stats);

/* Leaves out the first bytes, of which there are so many. One piece stays, if only an empty one. */
void dk_frame_pieces_strip(struct dk_frame_pieces *p, uint64_t bytes);

/*
 * Leaves out the first bytes, and divides the rest anew into segments of the given lengths, whose
 * sum it is. A segment that lies in several pieces is copied together. 0, or -ENOMEM and nothing
 * has changed.
 */
int dk_frame_pieces_divide(struct dk_frame_pieces *p, uint64_t strip, const uint32_t lens[],
                           uint32_t n, struct dk_instance_stats *stats);

/* Makes an element of all pieces, which the application holds. */
void dk_frame_pieces_lend(struct dk_frame_pieces *p, demi_sgarray_t *sga_out);

/* Makes an element of the last piece, which the application holds. There is one. */
void dk_frame_pieces_lend_last(struct dk_frame_pieces *p, demi_sgarray_t *sga_out);

void dk_frame_pieces_drop(struct dk_frame_pieces *p);

#endif /* DK_COMPOSE_FRAME_PIECES_H */
