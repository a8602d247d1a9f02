/* SPDX-License-Identifier: MIT */
/* A frame as a device gives it to a stack: a view of its memory, which nobody else looks at. */
#ifndef TEST_LIB_RECEIVED_H
#define TEST_LIB_RECEIVED_H

#include "mem/buf.h"

#include <string.h>

/* A copy of these bytes, with one hold; NULL without memory. */
static inline struct dk_buf *received(const uint8_t *bytes, uint32_t len)
{
    struct dk_buf *memory = dk_buf_alloc(len + 1, DK_BUF_PEER_BYTES);
    struct dk_buf *view = memory ? dk_buf_view(memory, memory->data, len) : NULL;
    if (view)
        memcpy(view->data, bytes, len);
    if (memory)
        dk_buf_put(memory);
    return view;
}

#endif /* TEST_LIB_RECEIVED_H */
