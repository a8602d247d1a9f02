/* SPDX-License-Identifier: MIT */
/*
 * Decimal numbers as the protocol and the commands have them.
 *
 * Reading is strict: an optional '-', no '+', no leading zeros, no blanks, nothing behind the last
 * digit. So a number that was accepted has exactly one spelling.
 */
#ifndef KV_NUMBERS_H
#define KV_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest spelling of an int64_t, without a terminator. */
#define KV_I64_CHARS 20

/* Reads the len bytes at p as one number; false, and *out untouched, when they are not one. */
bool kv_parse_i64(const char *p, size_t len, int64_t *out);

/* Reads an unsigned number as strtoull does without sign or blanks: leading zeros are fine. */
bool kv_parse_u64(const char *p, size_t len, uint64_t *out);

/* Reads a size with an optional unit (k m g, kb mb gb: powers of 1000 and 1024 as in Redis). */
bool kv_parse_bytes(const char *text, uint64_t *out);

/* Writes v at dst, which has room for KV_I64_CHARS; returns the characters written. */
unsigned kv_format_u64(char *dst, uint64_t v);
unsigned kv_format_i64(char *dst, int64_t v);

/* Characters that kv_format_u64 writes for v. */
unsigned kv_digits(uint64_t v);

#endif /* KV_NUMBERS_H */
