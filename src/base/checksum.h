/* SPDX-License-Identifier: MIT */
/*
 * The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words.
 *
 * A sum is a number: that of the words as big-endian numbers, with carries not folded yet. So
 * fields of a pseudo header are added to it as they are, and what dk_checksum_finish returns is
 * stored with dk_put_be16. Each piece adds less than 2^16: 65536 pieces fit.
 *
 *     sum = dk_checksum_add(pseudo, header, header_len);
 *     sum = dk_checksum_add_at(sum, header_len, payload, payload_len);
 *     dk_put_be16(header + 16, dk_checksum_finish(sum));
 *
 * Where each packet counts, "words" are added: 64 bits as they lie in memory, carries included.
 * They are folded, and made a number, once at the end; or not even that, where a sum is only judged
 * or written: folding is to take the remainder by 0xffff, and that number divides 2^64 - 1.
 */
#ifndef DK_BASE_CHECKSUM_H
#define DK_BASE_CHECKSUM_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Adds a word to words: the carry comes in again at the other end. */
static inline uint64_t dk_checksum_add_word(uint64_t words, uint64_t word)
{
    words += word;
    return words + (words < word);
}

/* Adds len bytes that begin at an even offset of what is summed. */
uint64_t dk_checksum_words(uint64_t words, const void *bytes, size_t len);

/* The same of 32 bytes: a header of TCP with timestamps. The compiler makes two or three
 * instructions of an addition with carry where the processor has one. */
static inline uint64_t dk_checksum_words_32(uint64_t words, const void *bytes)
{
#if defined(__x86_64__)
    const uint64_t *word = (const uint64_t *)bytes;
    __asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq %3, %0\n\tadcq %4, %0\n\tadcq $0, %0"
            : "+&r"(words)
            : "m"(word[0]), "m"(word[1]), "m"(word[2]), "m"(word[3])
            : "cc");
#else
    for (size_t i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, (const uint8_t *)bytes + 8 * i, sizeof(word));
        words = dk_checksum_add_word(words, word);
    }
#endif
    return words;
}

/* Adds two words. */
static inline uint64_t dk_checksum_add_two(uint64_t words, uint64_t first, uint64_t second)
{
#if defined(__x86_64__)
    __asm__("addq %1, %0\n\tadcq %2, %0\n\tadcq $0, %0"
            : "+r"(words)
            : "rm"(first), "rm"(second)
            : "cc");
    return words;
#else
    return dk_checksum_add_word(dk_checksum_add_word(words, first), second);
#endif
}

/* The same of 20 bytes: a header of IPv4 without options, which is not all zero. */
static inline uint64_t dk_checksum_words_20(const void *bytes)
{
    const uint8_t *at = bytes;
    uint64_t words, second;
    uint32_t last;
    memcpy(&words, at, 8);
    memcpy(&second, at + 8, 8);
    memcpy(&last, at + 16, 4);
    return dk_checksum_add_two(words, second, last);
}

/* (2^64 - 1) / 0xffff. Hidden from the compiler, which would make five instructions of a
 * multiplication by it. */
static inline uint64_t dk_checksum_ones(void)
{
    uint64_t ones = UINT64_C(0x0001000100010001);
    __asm__("" : "+r"(ones));
    return ones;
}

/* Whether words, which are not 0, fold to 0xffff: whether 0xffff divides them. Then the product is
 * -words / 0xffff, from -ones to -1, and for nothing else (Granlund and Montgomery, 1994, section
 * 9). */
static inline bool dk_checksum_words_good(uint64_t words)
{
    const uint64_t ones = dk_checksum_ones();
    return words * ones + ones < ones;
}

/*
 * words % 0xffff, but 0xffff where that is 0, less one; words are not 0. With words = 0xffff * q +
 * r and r from 1 to 0xffff the lower half of the product is r * ones - q, and 0xffff times that is
 * r * 2^64 - words.
 */
static inline uint32_t dk_checksum_rest(uint64_t words)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint32_t)((wide)(words * dk_checksum_ones()) * 0xffff >> 64);
}

/* Writes the checksum of words, which are not 0. */
static inline void dk_checksum_put(uint8_t *at, uint64_t words)
{
    const uint16_t checksum = (uint16_t)(0xfffe - dk_checksum_rest(words));
    memcpy(at, &checksum, sizeof(checksum));
}

/* As dk_checksum_put, where 0 means that there is none, and 0xffff is written for it (UDP): any
 * words. */
static inline void dk_checksum_put_not_0(uint8_t *at, uint64_t words)
{
    const uint16_t checksum = (uint16_t)(0xffff - dk_checksum_rest(words + 1));
    memcpy(at, &checksum, sizeof(checksum));
}

/* Folds a sum of words as they lie in memory, of any width: adding it to itself with the halves
 * exchanged brings the carry into the upper half. Returns the sum as a number. */
static inline uint16_t dk_checksum_fold64(uint64_t sum)
{
    sum += sum << 32 | sum >> 32;
    uint32_t half = (uint32_t)(sum >> 32);
    half += half << 16 | half >> 16;
    return be16toh((uint16_t)(half >> 16));
}

/* Adds len bytes (fewer than 2^32) that begin at an even offset of what is summed. */
static inline uint32_t dk_checksum_add(uint32_t sum, const void *bytes, size_t len)
{
    return sum + dk_checksum_fold64(dk_checksum_words(0, bytes, len));
}

/* As dk_checksum_words, of bytes that begin at any offset: at an odd one all of them are one place
 * further in their words. */
static inline uint64_t dk_checksum_words_at(uint64_t words, size_t offset, const void *bytes,
                                            size_t len)
{
    if ((offset & 1) == 0)
        return dk_checksum_words(words, bytes, len);
    const uint64_t piece = dk_checksum_words(0, bytes, len);
    return dk_checksum_add_word(words, piece << 8 | piece >> 56);
}

/* Adds len bytes that begin at any offset: at an odd one their bytes change places (RFC 1071,
 * section 2 (B)). */
static inline uint32_t dk_checksum_add_at(uint32_t sum, size_t offset, const void *bytes,
                                          size_t len)
{
    if ((offset & 1) == 0)
        return dk_checksum_add(sum, bytes, len);
    uint32_t piece = dk_checksum_add(0, bytes, len);
    return sum + ((piece & 0xff) << 8 | piece >> 8);
}

/* Folds the carries of a sum: 16 bits, not complemented; zero only where all of it was zero. */
static inline uint16_t dk_checksum_fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)(sum + (sum >> 16));
}

/* Returns the checksum of a sum: what makes the sum of everything, itself included, 0xffff. */
static inline uint16_t dk_checksum_finish(uint32_t sum)
{
    return (uint16_t)~dk_checksum_fold(sum);
}

/* Whether len bytes that contain their checksum are whole; sum is that of a pseudo header, or 0. */
static inline bool dk_checksum_is_good(uint32_t sum, const void *bytes, size_t len)
{
    const uint64_t words = dk_checksum_words(htobe32(sum), bytes, len);
    return words != 0 && dk_checksum_words_good(words);
}

/* Returns the checksum after one word of what it covers changed (RFC 1624, equation 3). */
static inline uint16_t dk_checksum_update16(uint16_t checksum, uint16_t from, uint16_t to)
{
    return dk_checksum_finish((uint32_t)(uint16_t)~checksum + (uint16_t)~from + to);
}

static inline uint16_t dk_checksum_update32(uint16_t checksum, uint32_t from, uint32_t to)
{
    checksum = dk_checksum_update16(checksum, (uint16_t)(from >> 16), (uint16_t)(to >> 16));
    return dk_checksum_update16(checksum, (uint16_t)from, (uint16_t)to);
}

#endif /* DK_BASE_CHECKSUM_H */
