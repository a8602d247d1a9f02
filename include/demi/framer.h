/* SPDX-License-Identifier: MIT */
/*
 * Framers: how the elements of a byte stream are told apart, for demi_frame (demi/queue.h).
 *
 * A framer is a scanner and, where elements have a header, its writer. Both are called by the
 * library on whichever thread drives the instance, like all functions of the application: see
 * demi/queue.h. They do no I/O, and keep what they must remember in the state.
 */
#ifndef DEMI_FRAMER_H
#define DEMI_FRAMER_H

#include <demi/cc.h>
#include <demi/types.h>

DEMI_BEGIN_DECLS

/* What scan returns, besides a positive errno. */
#define DEMI_FRAME_MORE 0    /* the element goes on behind what was used and skipped */
#define DEMI_FRAME_END  (-1) /* the element ends there */

/* Bytes of the longest header that head may write. */
#define DEMI_FRAME_HEAD_MAX 64

/* Words of scratch memory of a framer. */
#define DEMI_FRAME_WORDS 8

/*
 * The state of one direction of one stream, zero at its beginning. words, skip, strip and num_segs
 * are zero again at the beginning of each element; kept and elements go on.
 */
struct demi_frame_state {
    uint64_t words[DEMI_FRAME_WORDS]; /* the framer's: about the current element */
    uint64_t kept[2];                 /* the framer's: about the stream */
    uint64_t taken;                   /* bytes of the element before this piece, skipped ones too */
    uint64_t limit;                   /* bytes of the largest element, stripped ones not counted */
    uint64_t elements;                /* that ended so far */
    /* Set by scan: so many bytes behind those used belong to the element too, unseen. */
    uint64_t skip;
    /* Set by scan: so many bytes at the element's beginning are not popped. */
    uint32_t strip;
    /* Set by scan: the popped element has these segments; 0: as it was received. Together they are
     * the whole element but for what is stripped. */
    uint32_t num_segs;
    uint32_t seg_lens[DEMI_SGARRAY_MAXSIZE];
};

struct demi_framer {
    const char *name;
    /*
     * Looks at the next len > 0 bytes of the stream, and says in *used how many of them belong to
     * the element (len before the call). It sees each byte once, in pieces of any length. With
     * DEMI_FRAME_MORE and nothing to skip it is called again with what it left, with at least one
     * byte less. A positive errno breaks the stream: the pop fails with it.
     */
    int (*scan)(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg);
    /*
     * Writes the header of an element that is pushed; *len is the room before, the bytes written
     * after. 0, or a positive errno, with which the push fails. NULL: elements have none.
     */
    int (*head)(const demi_sgarray_t *sga, void *out, size_t *len, void *arg);
};

/*
 * Ours: keeps the segments of an element as they were pushed, and finds out when the peer speaks
 * something else. arg: NULL, or DEMI_FRAMER_SGA_CHECKSUM: what is pushed here carries a CRC-32C,
 * which the peer checks whatever its own arg is.
 */
DEMI_PUBLIC extern const struct demi_framer demi_framer_sga;
#define DEMI_FRAMER_SGA_CHECKSUM ((void *)1)

/* A length of four bytes, the most significant first, before the element. arg: NULL. */
DEMI_PUBLIC extern const struct demi_framer demi_framer_u32;

/* Lines: an element ends with, and includes, its line feed. arg: NULL. */
DEMI_PUBLIC extern const struct demi_framer demi_framer_line;

/*
 * RESP2 and RESP3, the protocol of Redis: an element is one value with all that it contains, or one
 * inline command. arg: NULL, or DEMI_FRAMER_RESP_REQUESTS: only what a server is sent, with the
 * limits of Redis: arrays of bulk strings, every other first byte begins an inline command. With
 * DEMI_FRAMER_RESP_BATCHES an element is as many of those as have arrived whole, one or more: what
 * a server wants that answers all of them at once. One that came in pieces is an element alone.
 */
DEMI_PUBLIC extern const struct demi_framer demi_framer_resp;
#define DEMI_FRAMER_RESP_REQUESTS ((void *)1)
#define DEMI_FRAMER_RESP_BATCHES  ((void *)2)

/* Requests of HTTP/1.1 (RFC 9112) with their bodies. arg: NULL. */
DEMI_PUBLIC extern const struct demi_framer demi_framer_http1;

DEMI_END_DECLS

#endif /* DEMI_FRAMER_H */
