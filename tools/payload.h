/* SPDX-License-Identifier: MIT */
/*
 * The contents of a probe: its number in the first eight bytes (fewer if it is shorter), then a
 * pattern that depends on number and place. A reply that belongs to another probe, or has a byte
 * wrong, missing or moved, is told from the right one.
 */
#ifndef TOOLS_PAYLOAD_H
#define TOOLS_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void payload_fill(uint8_t *bytes, size_t len, uint64_t number);

/* Tells whether len bytes are those of the probe from offset on. */
bool payload_matches(const uint8_t *bytes, size_t len, uint64_t number, size_t offset);

/* Tells whether a whole probe carries this number. */
bool payload_has_number(const uint8_t *bytes, size_t len, uint64_t number);

#endif /* TOOLS_PAYLOAD_H */
