/* SPDX-License-Identifier: MIT */
/*
 * Framers by the book: parsers that read a whole stream from its beginning, one byte after the
 * other, with no state but where they are. What the library's framers make of the same stream, cut
 * anywhere, is compared with them.
 */
#ifndef DEMI_TEST_UNIT_FRAMER_KIT_H
#define DEMI_TEST_UNIT_FRAMER_KIT_H

#include "../lib/harness.h"

#define KIT_STREAM_BYTES 4096
#define KIT_LIMIT        (16u << 20) /* element_max as it is by default */

struct kit_stream {
    uint8_t bytes[KIT_STREAM_BYTES];
    size_t len;
};

/* An element of a stream, or why there is none. */
struct kit_element {
    int error;    /* 0 it is whole; EAGAIN the stream ends in it or before it; or the errno */
    size_t begin; /* of all its bytes */
    size_t end;
    size_t strip;      /* of those, not popped */
    uint32_t num_segs; /* 0: in any number */
    uint32_t lens[DEMI_SGARRAY_MAXSIZE];
};

struct kit_framer {
    const char *name;
    const struct demi_framer *framer;
    void *arg;
    /* Reads the element at `begin`, number `index` of the stream. */
    struct kit_element (*read)(const struct kit_stream *s, size_t begin, uint32_t index);
    /* Appends an element or a mistake, as far as there is room; index as above. */
    void (*write)(struct kit_stream *s, uint32_t index, uint64_t *seed);
};

extern const struct kit_framer kit_framers[];
extern const size_t kit_num_framers;

/* Appends bytes; what does not fit is left out. */
void kit_put(struct kit_stream *s, const void *bytes, size_t len);

#endif /* DEMI_TEST_UNIT_FRAMER_KIT_H */
