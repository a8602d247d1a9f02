/* SPDX-License-Identifier: MIT */
/*
 * frame: makes atomic elements of the byte stream that its source is, whatever pieces that yields.
 * A pop completes when the whole element is there; a push is preceded by the framer's header.
 */
#ifndef DK_COMPOSE_FRAME_H
#define DK_COMPOSE_FRAME_H

#include "core/queue.h"

#include <demi/framer.h>

/* Creates a frame over source; an element has at most max bytes. As dk_operator_create. */
int dk_frame_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                    const struct demi_framer *framer, void *arg, uint32_t max);

#endif /* DK_COMPOSE_FRAME_H */
