/* SPDX-License-Identifier: MIT */
/*
 * The values of one reading of the configuration while they are being collected: where each came
 * from, the first error, and the warnings.
 *
 * A later source overrides an earlier one. A set lives on its reader's stack and owns nothing: the
 * names in it belong to the environment.
 */
#ifndef DK_API_CONFIG_SET_H
#define DK_API_CONFIG_SET_H

#include "api/config_keys.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dk_config_source {
    const char *name; /* environment variable or file; NULL: default */
    uint32_t line;    /* in the file; 0: name is an environment variable */
};

struct dk_config_entry {
    uint32_t value;
    const char *text; /* of a key that has a check; lives as long as the process */
    struct dk_config_source source;
};

struct dk_config_set {
    struct dk_config_entry entries[DK_CONFIG_COUNT];
    char *err; /* the caller's, or NULL */
    size_t err_len;
    char warnings[4096]; /* lines; further ones are dropped */
    size_t warnings_len;
};

/* Makes every value its default. err may be NULL with err_len 0. */
void dk_config_set_init(struct dk_config_set *set, char *err, size_t err_len);

/* Sets a value from text: 0, or -EINVAL or -ENOMEM with the error written. */
int dk_config_set_value(struct dk_config_set *set, enum dk_config_id id, const char *text,
                        struct dk_config_source source);

/* Space for an origin: a path, a line. */
#define DK_CONFIG_ORIGIN_MAX (PATH_MAX + 16)

/* Writes "PATH:LINE", "environment NAME" or "default", always terminated. */
void dk_config_set_origin(struct dk_config_source source, char *out, size_t len);

/* Space for a quoted value. */
#define DK_CONFIG_QUOTE_MAX 72

/* Writes text in quotes, fit for a terminal: what is not printable ASCII is escaped, what is long
 * is cut. */
void dk_config_set_quote(const char *text, char out[DK_CONFIG_QUOTE_MAX]);

/* Writes the error of a set and returns -EINVAL. */
__attribute__((format(printf, 2, 3))) int dk_config_set_fail(struct dk_config_set *set,
                                                             const char *format, ...);

/* Adds one line of warning. */
__attribute__((format(printf, 2, 3))) void dk_config_set_warn(struct dk_config_set *set,
                                                              const char *format, ...);

#endif /* DK_API_CONFIG_SET_H */
