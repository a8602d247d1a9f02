/* SPDX-License-Identifier: MIT */
/*
 * Sums bytes as machine words of 64 bits: ones' complement addition does not care how wide a word
 * is, nor, until the end, in which order its bytes stand (RFC 1071, section 2).
 */
#include "base/checksum.h"

#include "base/compiler.h"

#include <string.h>

static inline uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Adds the last bytes, fewer than 8; what is missing of their last word is zero. */
static inline uint64_t add_tail(uint64_t sum, const uint8_t *at, size_t len)
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

/* Adds 8, 16, 32 or 64 bytes: n is known to the compiler, which makes two or three instructions of
 * an addition with carry where the processor has one. */
static inline __attribute__((always_inline)) uint64_t add_block(uint64_t sum, const uint8_t *at,
                                                                size_t n)
{
#if defined(__x86_64__)
    const uint64_t *word = (const uint64_t *)(const void *)at;
    switch (n) {
    case 64:
        __asm__("addq (%1), %0\n\tadcq 8(%1), %0\n\tadcq 16(%1), %0\n\tadcq 24(%1), %0\n\t"
                "adcq 32(%1), %0\n\tadcq 40(%1), %0\n\tadcq 48(%1), %0\n\tadcq 56(%1), %0\n\t"
                "adcq $0, %0"
                : "+&r"(sum)
                : "r"(at), "m"(*(const uint8_t(*)[64])at)
                : "cc");
        return sum;
    case 32:
        return dk_checksum_words_32(sum, at);
    case 16:
        __asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq $0, %0"
                : "+&r"(sum)
                : "m"(word[0]), "m"(word[1])
                : "cc");
        return sum;
    }
#endif
    for (size_t i = 0; i < n; i += 8)
        sum = dk_checksum_add_word(sum, word_at(at + i));
    return sum;
}

uint64_t dk_checksum_words(uint64_t words, const void *bytes, size_t len)
{
    const uint8_t *at = bytes, *end = at + (len & ~(size_t)63);
    for (; at != end; at += 64)
        words = add_block(words, at, 64);
    if (len & 32) {
        words = add_block(words, at, 32);
        at += 32;
    }
    if (len & 16) {
        words = add_block(words, at, 16);
        at += 16;
    }
    if (len & 8) {
        words = add_block(words, at, 8);
        at += 8;
    }
    if (dk_unlikely((len & 7) != 0))
        words = add_tail(words, at, len & 7);
    return words;
}
