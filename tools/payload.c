/* SPDX-License-Identifier: MIT */
/*
 * Probe contents. The loops over the pattern have no branch, so that compilers vectorize them: a
 * large probe is checked faster than it travels.
 */
#include "payload.h"

#define NUMBER_BYTES 8

static uint8_t number_byte(uint64_t number, size_t at)
{
    return (uint8_t)(number >> (8 * at));
}

/* Differs from its neighbours, and from itself 256 places on. */
static uint8_t pattern_byte(uint64_t number, size_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) + number * 13);
}

void payload_fill(uint8_t *bytes, size_t len, uint64_t number)
{
    size_t at = 0;
    for (; at < len && at < NUMBER_BYTES; at++)
        bytes[at] = number_byte(number, at);
    for (; at < len; at++)
        bytes[at] = pattern_byte(number, at);
}

bool payload_matches(const uint8_t *bytes, size_t len, uint64_t number, size_t offset)
{
    uint8_t wrong = 0;
    size_t i = 0;
    for (; i < len && offset + i < NUMBER_BYTES; i++)
        wrong |= (uint8_t)(bytes[i] ^ number_byte(number, offset + i));
    for (; i < len; i++)
        wrong |= (uint8_t)(bytes[i] ^ pattern_byte(number, offset + i));
    return wrong == 0;
}

bool payload_has_number(const uint8_t *bytes, size_t len, uint64_t number)
{
    return payload_matches(bytes, len < NUMBER_BYTES ? len : NUMBER_BYTES, number, 0);
}
