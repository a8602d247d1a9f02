/* SPDX-License-Identifier: MIT */
/*
 * Pattern matching (glob.h) without recursion: when a match fails behind a '*', only the last '*'
 * takes one byte more. An earlier one never needs to: whatever it could give, the last one can.
 */
#include "glob.h"

#include <ctype.h>
#include <stdint.h>

static unsigned fold(char c, bool fold_case)
{
    return fold_case ? (unsigned)tolower((unsigned char)c) : (unsigned char)c;
}

/*
 * Matches c against the set behind the '[' at p; *end_out is the first byte behind the set. A set
 * without ']' ends with the pattern.
 */
static bool match_set(const char *p, const char *end, unsigned c, bool fold_case,
                      const char **end_out)
{
    bool negated = p < end && *p == '^', found = false;

    for (p += negated; p < end && *p != ']'; p++) {
        bool escaped = *p == '\\' && end - p >= 2;
        unsigned low, high;
        p += escaped;
        low = high = fold(*p, fold_case);
        if (!escaped && end - p >= 3 && p[1] == '-') {
            p += 2;
            high = fold(*p, fold_case);
        }
        found |= (c >= low && c <= high) || (c >= high && c <= low);
    }
    *end_out = p < end ? p + 1 : p;
    return found != negated;
}

/* Matches one byte against the element at p (not '*'); *next_out is the element behind it. */
static bool match_one(const char *p, const char *end, char byte, bool fold_case,
                      const char **next_out)
{
    unsigned c = fold(byte, fold_case);

    if (*p == '[')
        return match_set(p + 1, end, c, fold_case, next_out);
    if (*p == '\\' && end - p >= 2)
        p++;
    else if (*p == '?')
        c = fold(*p, fold_case);
    *next_out = p + 1;
    return fold(*p, fold_case) == c;
}

bool kv_glob(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
             bool fold_case)
{
    const char *p = pattern, *p_end = pattern + pattern_len;
    const char *t = text, *t_end = text + text_len;
    const char *star = NULL, *taken = NULL; /* behind the last '*', and where it stopped taking */

    while (t < t_end) {
        const char *next;
        if (p < p_end && *p == '*') {
            star = ++p;
            taken = t;
        } else if (p < p_end && match_one(p, p_end, *t, fold_case, &next)) {
            p = next;
            t++;
        } else if (star) {
            p = star;
            t = ++taken;
        } else {
            return false;
        }
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}
