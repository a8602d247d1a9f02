/* SPDX-License-Identifier: MIT */
/*
 * What a connection receives: whole commands.
 *
 * The library finds where commands end (demi_framer_resp), and yields as many as have arrived
 * whole; they are executed where they lie. A command that arrived in several segments is an element
 * alone, and copied together before, unless the library did that because it is large.
 */
#ifndef KV_INPUT_H
#define KV_INPUT_H

#include <demi/framer.h>
#include <demi/types.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes of the largest command, whatever is configured: what the library can frame. */
#define KV_INPUT_MAX (1u << 30)

/*
 * Batches of requests. arg: a struct resp_limits. An argument that exceeds it is refused before its
 * bytes are here, when more of them are missing than are allowed; else by the scan of the command.
 */
extern const struct demi_framer kv_framer;

/* Bytes of an element. */
uint32_t kv_input_bytes(const demi_sgarray_t *sga);

/* Copies the bytes of an element. */
void kv_input_copy(char *to, const demi_sgarray_t *sga);

/* Makes one segment of several. false without memory, and sga is as it was. */
bool kv_input_join(demi_sgarray_t *sga);

#endif /* KV_INPUT_H */
