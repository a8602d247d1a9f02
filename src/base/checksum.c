/* SPDX-License-Identifier: MIT */
/*
 * Sums bytes as machine words of 64 bits: ones' complement addition does not care how wide a word
 * is, nor, until the end, in which order its bytes stand (RFC 1071, section 2).
 */
#include "base/checksum.h"

#include "base/compiler.h"

#include <string.h>

/* Ones' complement addition: the carry comes in again at the other end. */
static inline uint64_t add_carry(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

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
        sum = add_carry(sum, word);
        at += 4;
    }
    if (len & 2) {
        uint16_t word;
        memcpy(&word, at, sizeof(word));
        sum = add_carry(sum, word);
        at += 2;
    }
    if (len & 1) {
        uint16_t word = 0;
        memcpy(&word, at, 1);
        sum = add_carry(sum, word);
    }
    return sum;
}

/* Adds 32 bytes. The compiler makes two or three instructions of an addition with carry. */
static inline uint64_t add_block(uint64_t sum, const uint8_t *at)
{
#if defined(__x86_64__)
    __asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq %3, %0\n\tadcq %4, %0\n\tadcq $0, %0"
            : "+&r"(sum)
            : "m"(*(const uint64_t *)(const void *)at),
              "m"(*(const uint64_t *)(const void *)(at + 8)),
              "m"(*(const uint64_t *)(const void *)(at + 16)),
              "m"(*(const uint64_t *)(const void *)(at + 24))
            : "cc");
    return sum;
#else
    for (int i = 0; i < 4; i++)
        sum = add_carry(sum, word_at(at + 8 * i));
    return sum;
#endif
}

uint32_t dk_checksum_add(uint32_t sum, const void *bytes, size_t len)
{
    const uint8_t *at = bytes, *end;
    uint64_t words = 0;
    for (end = at + (len & ~(size_t)31); at != end; at += 32)
        words = add_block(words, at);
    for (end = at + (len & 24); at != end; at += 8)
        words = add_carry(words, word_at(at));
    if (dk_unlikely((len & 7) != 0))
        words = add_tail(words, at, len & 7);
    return sum + dk_checksum_fold64(words);
}
