/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (crc32c.h): by the processor's instruction where it has one, else four bits at a time
 * with a table that fits into one cache line.
 *
 * The instruction takes eight bytes and has its result three cycles later, but begins another each
 * cycle: three stretches side by side take as long as one. The sums of the first two are then moved
 * past what is behind them. To move a sum past n bytes is to multiply it by x^(8n) modulo the
 * polynomial; a carry-less product with the constant x^(8n - 33), reduced by the instruction itself
 * (which multiplies by x^32, and reflected products lack an x), is that.
 */
#include "base/crc32c.h"

#include "base/bytes.h"

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

uint32_t dk_crc32c_by_table(uint32_t sum, const void *bytes, size_t len)
{
    return ~by_table(~sum, bytes, len);
}

#if defined(__x86_64__)
#include <wmmintrin.h>

/* Three times LONG is a block of 4096 bytes but for 64. */
enum { LONG = 1344, SHORT = 168 };

struct stretch {
    size_t bytes;
    uint64_t past_two, past_one; /* x^(8n - 33), n: 2 * bytes, bytes */
};

static const struct stretch long_stretch = {LONG, 0x889774e1, 0xc9c8b782};
static const struct stretch short_stretch = {SHORT, 0xa60ce07b, 0x1b3d8f29};

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t sum, const uint8_t *p,
                                                                 size_t len)
{
    uint64_t wide = sum;
    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t), p += sizeof(uint64_t))
        wide = __builtin_ia32_crc32di(wide, dk_get_u64(p));
    sum = (uint32_t)wide;
    for (; len > 0; len--, p++)
        sum = __builtin_ia32_crc32qi(sum, *p);
    return sum;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t move(uint64_t sum, uint64_t constant)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)sum),
                                           _mm_cvtsi64_si128((long long)constant), 0);
    return __builtin_ia32_crc32di(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* Takes three stretches. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t three(uint32_t sum, const uint8_t *p,
                                                               const struct stretch *stretch)
{
    uint64_t a = sum, b = 0, c = 0;
    const size_t n = stretch->bytes;
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        a = __builtin_ia32_crc32di(a, dk_get_u64(p + i));
        b = __builtin_ia32_crc32di(b, dk_get_u64(p + n + i));
        c = __builtin_ia32_crc32di(c, dk_get_u64(p + 2 * n + i));
    }
    return (uint32_t)(move(a, stretch->past_two) ^ move(b, stretch->past_one) ^ c);
}

static uint32_t by_threes(uint32_t sum, const uint8_t *p, size_t len)
{
    for (; len >= 3 * LONG; p += 3 * LONG, len -= 3 * LONG)
        sum = three(sum, p, &long_stretch);
    for (; len >= 3 * SHORT; p += 3 * SHORT, len -= 3 * SHORT)
        sum = three(sum, p, &short_stretch);
    return by_instruction(sum, p, len);
}

static uint32_t update(uint32_t sum, const uint8_t *p, size_t len)
{
    if (!__builtin_cpu_supports("sse4.2"))
        return by_table(sum, p, len);
    return len >= 3 * SHORT && __builtin_cpu_supports("pclmul") ? by_threes(sum, p, len)
                                                                : by_instruction(sum, p, len);
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
