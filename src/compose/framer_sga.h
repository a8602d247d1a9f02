/* SPDX-License-Identifier: MIT */
/*
 * What the frame operator must know of the sga framer: a stream begins with a hello, once in each
 * direction. framer_sga.c has the format.
 */
#ifndef DK_COMPOSE_FRAMER_SGA_H
#define DK_COMPOSE_FRAMER_SGA_H

#include <stdint.h>

#define DK_FRAMER_SGA_HELLO_BYTES 8

/* Writes the hello of a stream whose elements are framed with arg. */
void dk_framer_sga_hello(const void *arg, uint8_t out[DK_FRAMER_SGA_HELLO_BYTES]);

#endif /* DK_COMPOSE_FRAMER_SGA_H */
