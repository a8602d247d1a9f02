/* SPDX-License-Identifier: MIT */
/*
 * Decimal numbers: strict reading, fast writing (numbers.h).
 */
#include "numbers.h"

#include <string.h>
#include <strings.h>

/* Reads digits only; false on anything else, on none, and beyond UINT64_MAX. */
static bool parse_digits(const char *p, size_t len, uint64_t *out)
{
    uint64_t v = 0;

    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned char)p[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

bool kv_parse_u64(const char *p, size_t len, uint64_t *out)
{
    return parse_digits(p, len, out);
}

bool kv_parse_i64(const char *p, size_t len, int64_t *out)
{
    bool negative = len > 0 && p[0] == '-';
    uint64_t v, limit = (uint64_t)INT64_MAX + negative;

    if (len == 1 && p[0] == '0') {
        *out = 0;
        return true;
    }
    p += negative;
    len -= negative;
    if (len == 0 || len >= KV_I64_CHARS || p[0] == '0' || !parse_digits(p, len, &v) || v > limit)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool kv_parse_bytes(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
                 {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30}};
    size_t digits = strspn(text, "0123456789");
    uint64_t v;

    if (!parse_digits(text, digits, &v))
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcasecmp(text + digits, units[i].name) == 0)
            return !__builtin_mul_overflow(v, units[i].factor, out);
    return false;
}

unsigned kv_digits(uint64_t v)
{
    unsigned n = 1;

    for (;; n += 4, v /= 10000) {
        if (v < 10)
            return n;
        if (v < 100)
            return n + 1;
        if (v < 1000)
            return n + 2;
        if (v < 10000)
            return n + 3;
    }
}

unsigned kv_format_u64(char *dst, uint64_t v)
{
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    unsigned n = kv_digits(v), at = n;

    while (v >= 100) {
        at -= 2;
        memcpy(dst + at, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(dst, pairs + 2 * v, 2);
    else
        dst[0] = (char)('0' + v);
    return n;
}

unsigned kv_format_i64(char *dst, int64_t v)
{
    if (v >= 0)
        return kv_format_u64(dst, (uint64_t)v);
    *dst = '-';
    return 1 + kv_format_u64(dst + 1, 0 - (uint64_t)v);
}
