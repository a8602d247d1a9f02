/* SPDX-License-Identifier: MIT */
/*
 * dk_checksum_words in place, for the few functions in which the call and the registers that are
 * kept over it are felt.
 *
 * Sums bytes as machine words of 64 bits: ones' complement addition does not care how wide a word
 * is, nor, until the end, in which order its bytes stand (RFC 1071, section 2).
 */
#ifndef DK_BASE_CHECKSUM_HERE_H
#define DK_BASE_CHECKSUM_HERE_H

#include "base/checksum.h"
#include "base/compiler.h"

/* Adds the last bytes, fewer than 8; what is missing of their last word is zero. */
static inline uint64_t dk_checksum_add_tail(uint64_t sum, const uint8_t *at, size_t len)
{
    if (len & 4) {
        uint32_t word;
        memcpy(&word, at, sizeof(word));
        sum = dk_checksum_add_word(sum, word);
        at += 4;
    }
    if (len & 2) {
        uint16_t word;
        memcpy(&word, at, sizeof(word));
        sum = dk_checksum_add_word(sum, word);
        at += 2;
    }
    if (len & 1) {
        uint16_t word = 0;
        memcpy(&word, at, 1);
        sum = dk_checksum_add_word(sum, word);
    }
    return sum;
}

/* Blocks are added in the processor's words: the compiler makes two or three instructions of an
 * addition with carry where the processor has one. */

static inline uint64_t dk_checksum_add_8(uint64_t sum, const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return dk_checksum_add_word(sum, word);
}

static inline uint64_t dk_checksum_add_16(uint64_t sum, const uint8_t *at)
{
#if defined(__x86_64__)
    __asm__("addq (%1), %0\n\tadcq 8(%1), %0\n\tadcq $0, %0"
            : "+&r"(sum)
            : "r"(at), "m"(*(const uint8_t(*)[16])at)
            : "cc");
    return sum;
#else
    return dk_checksum_add_8(dk_checksum_add_8(sum, at), at + 8);
#endif
}

/* Adds blocks of 64 bytes, the last of which ends at `end`. */
static inline uint64_t dk_checksum_add_blocks(uint64_t sum, const uint8_t *end, size_t bytes)
{
    for (ptrdiff_t at = -(ptrdiff_t)bytes; at != 0; at += 64) {
#if defined(__x86_64__)
        __asm__("addq (%1,%2), %0\n\tadcq 8(%1,%2), %0\n\tadcq 16(%1,%2), %0\n\t"
                "adcq 24(%1,%2), %0\n\tadcq 32(%1,%2), %0\n\tadcq 40(%1,%2), %0\n\t"
                "adcq 48(%1,%2), %0\n\tadcq 56(%1,%2), %0\n\tadcq $0, %0"
                : "+&r"(sum)
                : "r"(end), "r"(at), "m"(*(const uint8_t(*)[64])(end + at))
                : "cc");
#else
        for (size_t i = 0; i < 64; i += 8)
            sum = dk_checksum_add_8(sum, end + at + i);
#endif
    }
    return sum;
}

static inline __attribute__((always_inline)) uint64_t
dk_checksum_words_here(uint64_t words, const void *bytes, size_t len)
{
    const size_t blocks = len & ~(size_t)63;
    const uint8_t *at = (const uint8_t *)bytes + blocks;
    words = dk_checksum_add_blocks(words, at, blocks);
    if (len & 32) {
        words = dk_checksum_words_32(words, at);
        at += 32;
    }
    if (len & 16) {
        words = dk_checksum_add_16(words, at);
        at += 16;
    }
    if (len & 8) {
        words = dk_checksum_add_8(words, at);
        at += 8;
    }
    if (dk_unlikely((len & 7) != 0))
        words = dk_checksum_add_tail(words, at, len & 7);
    return words;
}

#endif /* DK_BASE_CHECKSUM_HERE_H */
