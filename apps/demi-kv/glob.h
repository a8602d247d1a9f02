/* SPDX-License-Identifier: MIT */
/*
 * Patterns of SCAN MATCH, KEYS and CONFIG GET: ? * [abc] [^a] [a-z] and \ before a character that
 * is meant literally. Bytes, not characters of any encoding.
 */
#ifndef KV_GLOB_H
#define KV_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Whether all of text matches all of pattern. Takes time of at most pattern times text. */
bool kv_glob(const char *pattern, size_t pattern_len, const char *text, size_t text_len,
             bool fold_case);

#endif /* KV_GLOB_H */
