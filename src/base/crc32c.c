/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (crc32c.h): by the processor's instruction where it has one, else four bits at a time
 * with a table that fits into one cache line.
 */
#include "base/crc32c.h"

#include <string.h>

/* The remainders of four bits; the polynomial is 0x82f63b78, bits reversed. */
static const uint32_t nibbles[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t by_table(uint32_t sum, const uint8_t *p, size_t len)
{
    for (; len > 0; len--, p++) {
        sum ^= *p;
        sum = sum >> 4 ^ nibbles[sum & 15];
        sum = sum >> 4 ^ nibbles[sum & 15];
    }
    return sum;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t sum, const uint8_t *p,
                                                                 size_t len)
{
    uint64_t wide = sum;
    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t), p += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    sum = (uint32_t)wide;
    for (; len > 0; len--, p++)
        sum = __builtin_ia32_crc32qi(sum, *p);
    return sum;
}

static uint32_t update(uint32_t sum, const uint8_t *p, size_t len)
{
    return __builtin_cpu_supports("sse4.2") ? by_instruction(sum, p, len) : by_table(sum, p, len);
}
#else
static uint32_t update(uint32_t sum, const uint8_t *p, size_t len)
{
    return by_table(sum, p, len);
}
#endif

uint32_t dk_crc32c(uint32_t sum, const void *bytes, size_t len)
{
    return ~update(~sum, bytes, len);
}
