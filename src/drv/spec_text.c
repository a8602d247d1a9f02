/* SPDX-License-Identifier: MIT */
#include "drv/spec_text.h"

#include "drv/why.h"
#include "net/dev.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "a size is stored as 64 bits");

#define MILLION       UINT64_C(1000000)
#define MAX_MILLIONTH (UINT64_C(1000000000) * MILLION) /* of a unit */

/* Ends the next piece at one of these characters, or at the end of the text; takes backslashes out
 * of it. */
static char *piece(struct dk_spec_text *text, const char *ends)
{
    char *start = text->at, *to = text->at, *from = text->at;
    while (*from && !strchr(ends, *from)) {
        if (*from == '\\' && from[1])
            from++;
        *to++ = *from++;
    }
    text->after = *from;
    text->at = *from ? from + 1 : from;
    *to = '\0';
    return start;
}

char *dk_spec_name(struct dk_spec_text *text)
{
    return piece(text, "(:,)");
}

/* What stands between a layer's name and its arguments. */
static int begin(struct dk_spec_text *text, const char *name, bool is_decorator,
                 const char **why_out)
{
    text->is_decorator = is_decorator;
    if (is_decorator && text->after != '(' && text->after != ':')
        return dk_why(why_out, -EINVAL, "%s goes before a device: %s(...):DEVICE", name, name);
    if (!is_decorator && (text->after == '(' || text->after == ')'))
        return dk_why(why_out, -EINVAL,
                      "%s is a device: its options follow after commas: %s,KEY=VALUE", name, name);
    return 0;
}

/* What stands after them. */
static int end(struct dk_spec_text *text, const char *name, const char **why_out)
{
    if (!text->is_decorator && text->after == ':')
        return dk_why(why_out, -EINVAL, "%s: nothing can be named after it: \"%s\"", name,
                      text->at);
    if (!text->is_decorator || text->after == ':')
        return 0;
    if (text->after == '(' && *text->at == ')') {
        text->after = ')'; /* no arguments at all */
        text->at++;
    }
    if (text->after != ')')
        return dk_why(why_out, -EINVAL, "%s: a \")\" is missing", name);
    if (*text->at != ':')
        return dk_why(why_out, -EINVAL, "%s goes before a device: %s(...):DEVICE", name, name);
    text->at++;
    return 0;
}

static const char *ends_of_value(const struct dk_spec_text *text)
{
    return text->is_decorator ? ",)" : ",";
}

/* The target of a layer that has one: "" or NULL when there is none. */
static char *target_of(struct dk_spec_text *text)
{
    if (text->after != (text->is_decorator ? '(' : ':'))
        return NULL;
    return piece(text, ends_of_value(text));
}

/* Reads a number of at most `max`, whose base its beginning tells; *rest_out is what follows. */
static bool read_number(const char *value, uint64_t max, uint64_t *out, char **rest_out)
{
    if (*value < '0' || *value > '9')
        return false; /* strtoull would take a sign, and spaces */
    errno = 0;
    *out = strtoull(value, rest_out, value[0] == '0' && value[1] == 'x' ? 16 : 10);
    return errno == 0 && *out <= max;
}

/* Reads "12", "1.5": in millionths. */
static bool read_decimal(const char *value, uint64_t *out, char **rest_out)
{
    uint64_t unit = MILLION;
    if (!read_number(value, MAX_MILLIONTH / MILLION, out, rest_out))
        return false;
    *out *= MILLION;
    if (**rest_out != '.')
        return true;
    for ((*rest_out)++; **rest_out >= '0' && **rest_out <= '9'; (*rest_out)++)
        *out += (uint64_t)(**rest_out - '0') * (unit /= 10); /* digits past the sixth are zero */
    return unit < MILLION;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* Looks a unit up; 0: there is none of that name. */
static uint64_t factor_of(const struct unit units[], const char *name)
{
    for (; units->name; units++)
        if (strcmp(units->name, name) == 0)
            return units->factor;
    return 0;
}

static bool read_size(const char *value, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1}, {"K", 1u << 10}, {"M", 1u << 20}, {"G", 1u << 30}, {NULL, 0}};
    char *rest;
    if (!read_number(value, UINT64_MAX, out, &rest))
        return false;
    uint64_t factor = factor_of(units, rest);
    return factor != 0 && !__builtin_mul_overflow(*out, factor, out);
}

static bool read_rate(const char *value, uint32_t *out)
{
    static const struct unit units[] = {{"%", 10000}, {"ppm", 1}, {NULL, 0}};
    uint64_t millionths;
    char *rest;
    if (!read_decimal(value, &millionths, &rest))
        return false;
    uint64_t factor = factor_of(units, rest);
    uint64_t rate = millionths / MILLION * factor + millionths % MILLION * factor / MILLION;
    if (factor == 0 || rate > MILLION)
        return false;
    *out = (uint32_t)rate;
    return true;
}

static bool read_time(const char *value, int64_t *out)
{
    static const struct unit units[] = {
        {"ns", 1}, {"us", 1000}, {"ms", MILLION}, {"s", 1000 * MILLION}, {NULL, 0}};
    uint64_t millionths;
    char *rest;
    if (!read_decimal(value, &millionths, &rest))
        return false;
    uint64_t factor = factor_of(units, rest);
    *out = (int64_t)(millionths / MILLION * factor + millionths % MILLION * factor / MILLION);
    return factor != 0;
}

static bool read_speed(const char *value, uint64_t *out)
{
    static const struct unit units[] = {
        {"kbit", 1000}, {"Mbit", MILLION}, {"Gbit", 1000 * MILLION}, {NULL, 0}};
    uint64_t millionths;
    char *rest;
    if (!read_decimal(value, &millionths, &rest))
        return false;
    uint64_t factor = factor_of(units, rest);
    *out = millionths / MILLION * factor + millionths % MILLION * factor / MILLION;
    return factor != 0;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

static bool read_mac(const char *value, struct dk_mac *out)
{
    if (strlen(value) != 17)
        return false;
    for (int i = 0; i < 6; i++) {
        int high = hex_digit(value[3 * i]), low = hex_digit(value[3 * i + 1]);
        if (high < 0 || low < 0 || (i < 5 && value[3 * i + 2] != ':'))
            return false;
        out->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return !(out->bytes[0] & 1); /* no group */
}

static bool read_whole_number(const char *value, uint64_t max, uint64_t *out)
{
    char *rest;
    return read_number(value, max, out, &rest) && *rest == '\0';
}

/* A value of any kind, as it lies in memory. */
union value {
    uint32_t u32;
    uint64_t u64;
    int64_t i64;
    struct dk_mac mac;
    bool yes;
    const char *text;
};

/* Reads a value (NULL: the key stood alone): its bytes, 0 when it is none of that kind. */
static size_t read_value(enum dk_spec_kind kind, const char *value, union value *out)
{
    if (!value)
        return kind == DK_SPEC_YES ? (out->yes = true, sizeof(out->yes)) : 0;
    switch (kind) {
    case DK_SPEC_NUMBER:
        if (!read_whole_number(value, UINT32_MAX, &out->u64))
            return 0;
        out->u32 = (uint32_t)out->u64;
        return sizeof(out->u32);
    case DK_SPEC_NUMBER64:
        return read_whole_number(value, UINT64_MAX, &out->u64) ? sizeof(out->u64) : 0;
    case DK_SPEC_SIZE:
        return read_size(value, &out->u64) ? sizeof(out->u64) : 0;
    case DK_SPEC_RATE:
        return read_rate(value, &out->u32) ? sizeof(out->u32) : 0;
    case DK_SPEC_TIME:
        return read_time(value, &out->i64) ? sizeof(out->i64) : 0;
    case DK_SPEC_SPEED:
        return read_speed(value, &out->u64) ? sizeof(out->u64) : 0;
    case DK_SPEC_MAC:
        return read_mac(value, &out->mac) ? sizeof(out->mac) : 0;
    case DK_SPEC_YES:
        out->yes = strcmp(value, "yes") == 0;
        return out->yes || strcmp(value, "no") == 0 ? sizeof(out->yes) : 0;
    case DK_SPEC_TEXT:
        out->text = value;
        return sizeof(out->text);
    }
    return 0;
}

static const char *what_is_wanted(enum dk_spec_kind kind)
{
    static const char *const wanted[] = {
        [DK_SPEC_NUMBER] = "a number",
        [DK_SPEC_NUMBER64] = "a number",
        [DK_SPEC_SIZE] = "a number of bytes, with K, M or G",
        [DK_SPEC_RATE] = "a rate, as 1.5% or 200ppm",
        [DK_SPEC_TIME] = "a time with its unit: ns, us, ms or s",
        [DK_SPEC_SPEED] = "bits per second, as 2.5Mbit",
        [DK_SPEC_MAC] = "an address of one station, as 02:00:00:00:00:01",
        [DK_SPEC_YES] = "yes or no",
        [DK_SPEC_TEXT] = "a text",
    };
    return wanted[kind];
}

static int no_key(const char *driver, const struct dk_spec_key keys[], const char *key,
                  const char **why_out)
{
    char names[200] = "";
    size_t used = 0;
    for (; keys->name && used < sizeof(names); keys++)
        if (!strchr(keys->name, '.')) /* those of one direction go without saying */
            used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "",
                                     keys->name);
    return dk_why(why_out, -EINVAL, "%s: there is no option \"%s\": there are %s", driver, key,
                  names);
}

static int set(const char *driver, const struct dk_spec_key *key, const char *value, void *options,
               const char **why_out)
{
    union value v;
    size_t bytes = read_value(key->kind, value, &v);
    if (bytes == 0)
        return dk_why(why_out, -EINVAL, "%s: %s=%s: %s is wanted", driver, key->name,
                      value ? value : "", what_is_wanted(key->kind));
    memcpy((char *)options + key->at, &v, bytes);
    if (key->twice)
        memcpy((char *)options + key->also, &v, bytes);
    return 1;
}

static bool has_more(const struct dk_spec_text *text)
{
    return text->after == ',' || (text->after == '(' && *text->at != ')');
}

/* Reads one option into options: 1; 0: there are no more; -EINVAL. */
static int read_option(struct dk_spec_text *text, const struct dk_spec_driver *d, void *options,
                       const char **why_out)
{
    if (!has_more(text))
        return 0;
    const char *name = piece(text, text->is_decorator ? "=,)" : "=,");
    const char *value = text->after == '=' ? piece(text, ends_of_value(text)) : NULL;
    for (const struct dk_spec_key *key = d->keys; key->name; key++)
        if (strcmp(key->name, name) == 0)
            return set(d->name, key, value, options, why_out);
    return no_key(d->name, d->keys, name, why_out);
}

/* The options of a layer, from its parts: the target, where it has one, comes first. */
static int read_options(struct dk_spec_text *text, const struct dk_spec_driver *d, void *options,
                        const char **why_out)
{
    int r;
    if (d->target) {
        char *target = target_of(text);
        if ((!target || !*target) && !d->no_target_too)
            return dk_why(why_out, -EINVAL, "%s: %s is missing: %s%s%s", d->name, d->target,
                          d->name, d->is_decorator ? "(FILE):" : ":",
                          d->is_decorator ? "..." : "NAME");
        memcpy((char *)options + d->target_at, &target, sizeof(target));
    }
    while ((r = read_option(text, d, options, why_out)) > 0)
        continue;
    return r;
}

int dk_spec_find(const struct dk_spec_driver drivers[], const char *name)
{
    for (int i = 0; drivers[i].name; i++)
        if (strcmp(drivers[i].name, name) == 0)
            return i;
    return -1;
}

int dk_spec_layer(struct dk_spec_text *text, const struct dk_spec_driver *driver, void *options,
                  const char **why_out)
{
    int r = begin(text, driver->name, driver->is_decorator, why_out);
    if (r == 0)
        r = read_options(text, driver, options, why_out);
    return r == 0 ? end(text, driver->name, why_out) : r;
}
