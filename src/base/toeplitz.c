/* SPDX-License-Identifier: MIT */
#include "base/toeplitz.h"

#include "base/bytes.h"

const uint8_t dk_toeplitz_symmetric[DK_TOEPLITZ_KEY_BYTES] = {
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
};

uint32_t dk_toeplitz(const uint8_t key[], const void *input, size_t len)
{
    const uint8_t *bytes = input;
    uint32_t window = dk_get_be32(key), hash = 0;
    for (size_t i = 0; i < len; i++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            hash ^= bytes[i] >> (7 - bit) & 1 ? window : 0;
            window = window << 1 | (key[i + 4] >> (7 - bit) & 1);
        }
    }
    return hash;
}

uint32_t dk_toeplitz_of_words(uint16_t words)
{
    uint32_t hash = 0;
    for (uint32_t bit = 0; bit < 16; bit++) {
        const uint32_t turned = DK_TOEPLITZ_WORD << bit | DK_TOEPLITZ_WORD >> (16 - bit);
        hash ^= words >> (15 - bit) & 1 ? turned & 0xffff : 0;
    }
    return hash << 16 | hash;
}
