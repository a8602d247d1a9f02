/* SPDX-License-Identifier: MIT */
/*
 * The pushing side of a frame: header and element become one push of the source.
 */
#ifndef DK_COMPOSE_FRAME_PUSH_H
#define DK_COMPOSE_FRAME_PUSH_H

#include "compose/operator.h"

/* Pushes the header's bytes and then sga, as one: as dk_operator_forward. The caller's memory of
 * the header is not used afterwards. */
int dk_frame_push_headed(struct dk_operator *o, struct dk_op *op, uint8_t *header, size_t len,
                         const demi_sgarray_t *sga);

/* Pushes bytes that are no element; nobody is told of their end. 0 or a negative errno. */
int dk_frame_push_bytes(struct dk_operator *o, uint8_t *bytes, size_t len);

#endif /* DK_COMPOSE_FRAME_PUSH_H */
