/* SPDX-License-Identifier: MIT */
/*
 * Collects configuration values, and words the errors about them. No I/O.
 */
#include "api/config_set.h"

#include "api/config_strings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void dk_config_set_init(struct dk_config_set *set, char *err, size_t err_len)
{
    *set = (struct dk_config_set){.err = err, .err_len = err == NULL ? 0 : err_len};
    if (set->err_len > 0)
        err[0] = '\0';
    for (size_t i = 0; i < DK_CONFIG_COUNT; i++)
        set->entries[i] = (struct dk_config_entry){.value = dk_config_keys[i].initial,
                                                   .text = dk_config_keys[i].initial_text};
}

int dk_config_set_fail(struct dk_config_set *set, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (set->err_len > 0)
        vsnprintf(set->err, set->err_len, format, args);
    va_end(args);
    return -EINVAL;
}

void dk_config_set_warn(struct dk_config_set *set, const char *format, ...)
{
    size_t space = sizeof set->warnings - set->warnings_len;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(set->warnings + set->warnings_len, space, format, args);
    va_end(args);
    if (n < 0 || (size_t)n + 2 > space) {
        set->warnings[set->warnings_len] = '\0';
        return;
    }
    set->warnings_len += (size_t)n;
    set->warnings[set->warnings_len++] = '\n';
    set->warnings[set->warnings_len] = '\0';
}

void dk_config_set_origin(struct dk_config_source source, char *out, size_t len)
{
    if (source.name == NULL)
        snprintf(out, len, "default");
    else if (source.line == 0)
        snprintf(out, len, "environment %s", source.name);
    else
        snprintf(out, len, "%s:%u", source.name, source.line);
}

void dk_config_set_quote(const char *text, char out[DK_CONFIG_QUOTE_MAX])
{
    size_t used = 0;
    out[used++] = '\'';
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (used + sizeof "\\xff...'" > DK_CONFIG_QUOTE_MAX)
            break;
        if (c >= ' ' && c <= '~')
            out[used++] = (char)c;
        else
            used += (size_t)snprintf(out + used, DK_CONFIG_QUOTE_MAX - used, "\\x%02x", c);
    }
    snprintf(out + used, DK_CONFIG_QUOTE_MAX - used, "%s'", *text == '\0' ? "" : "...");
}

/* why: what is wrong with the text, "" where it says all. */
static int fail_value(struct dk_config_set *set, enum dk_config_id id, const char *text,
                      const char *why, struct dk_config_source source)
{
    char origin[DK_CONFIG_ORIGIN_MAX];
    char accepted[DK_CONFIG_TEXT_MAX];
    char quoted[DK_CONFIG_QUOTE_MAX];
    const char *name = dk_config_keys[id].name;
    const char *absent = id == DK_CONFIG_NET ? dk_config_net_absent(text) : NULL;
    dk_config_set_origin(source, origin, sizeof origin);
    dk_config_key_accepted(id, accepted, sizeof accepted);
    dk_config_set_quote(text, quoted);
    if (absent != NULL)
        return dk_config_set_fail(set, "%s: %s: %s (%s) is not in this build; it has: %s", origin,
                                  name, quoted, absent, accepted);
    return dk_config_set_fail(set, "%s: %s: %s is not accepted%s%s; accepted: %s", origin, name,
                              quoted, why[0] != '\0' ? ": " : "", why, accepted);
}

static int set_text(struct dk_config_set *set, enum dk_config_id id, const char *text,
                    struct dk_config_source source)
{
    char why[DK_CONFIG_WHY_MAX] = "";
    if (strlen(text) >= DK_CONFIG_TEXT_MAX || dk_config_keys[id].check(text, why) != 0)
        return fail_value(set, id, text, why, source);
    const char *kept = dk_config_string(text);
    if (kept == NULL) {
        dk_config_set_fail(set, "no memory to keep the value of %s", dk_config_keys[id].name);
        return -ENOMEM;
    }
    set->entries[id] = (struct dk_config_entry){.text = kept, .source = source};
    return 0;
}

int dk_config_set_value(struct dk_config_set *set, enum dk_config_id id, const char *text,
                        struct dk_config_source source)
{
    uint32_t value;
    if (dk_config_keys[id].check != NULL)
        return set_text(set, id, text, source);
    if (dk_config_key_parse(id, text, &value) != 0)
        return fail_value(set, id, text, "", source);
    set->entries[id] = (struct dk_config_entry){.value = value, .source = source};
    return 0;
}
