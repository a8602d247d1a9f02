/* SPDX-License-Identifier: MIT */
/*
 * Commands on keys, whatever their values are.
 */
#include "glob.h"
#include "handlers.h"
#include "numbers.h"

#include <stdlib.h>

#define SCAN_COUNT 10

/* SCAN looks at this many places of the cursor per key wanted; then it answers with what it has. */
#define SCAN_PLACES 10

/* Keys found so far, as entries. */
struct key_list {
    struct kv_db *db;
    struct kv_entry **entries;
    uint64_t count;
    uint64_t cap;
    struct kv_str pattern; /* p NULL: all */
    uint64_t seen;         /* before the pattern was asked */
    bool no_memory;
};

void kv_cmd_del(struct kv_call *call)
{
    int64_t n = 0;

    for (uint32_t i = 1; i < call->argc; i++)
        n += kv_db_delete(&call->server->db, kv_arg(call, i));
    kv_reply_int(call->out, n);
}

void kv_cmd_exists(struct kv_call *call)
{
    int64_t n = 0;

    for (uint32_t i = 1; i < call->argc; i++)
        n += kv_db_read(&call->server->db, kv_arg(call, i)) != NULL;
    kv_reply_int(call->out, n);
}

void kv_cmd_type(struct kv_call *call)
{
    if (kv_db_find(&call->server->db, kv_arg(call, 1)))
        kv_reply_literal(call->out, "+string\r\n");
    else
        kv_reply_literal(call->out, "+none\r\n");
}

static void collect(struct kv_entry *e, void *arg)
{
    struct key_list *list = arg;
    struct kv_str pattern = list->pattern;

    list->seen++;
    if (kv_db_is_due(list->db, e) ||
        (pattern.p && !kv_glob(pattern.p, pattern.len, kv_entry_key(e), e->key_len, false)))
        return;
    if (list->count == list->cap) {
        uint64_t cap = list->cap ? 2 * list->cap : 64;
        struct kv_entry **entries = realloc(list->entries, cap * sizeof(struct kv_entry *));
        if (!entries) {
            list->no_memory = true;
            return;
        }
        list->entries = entries;
        list->cap = cap;
    }
    list->entries[list->count++] = e;
}

static void reply_keys(struct kv_out *out, const struct key_list *list)
{
    kv_reply_array(out, list->count);
    for (uint64_t i = 0; i < list->count; i++) {
        struct kv_entry *e = list->entries[i];
        kv_reply_bulk(out, (struct kv_str){kv_entry_key(e), e->key_len});
    }
}

/* Reads SCAN's options; false after the error reply. */
static bool scan_options(const struct kv_call *call, int64_t *count, bool *all_types,
                         struct kv_str *pattern)
{
    for (uint32_t i = 2; i < call->argc; i += 2) {
        bool has_value = i + 1 < call->argc;
        if (has_value && kv_arg_is(call, i, "count")) {
            if (!kv_arg_int(call, i + 1, count))
                return false;
            if (*count >= 1)
                continue;
        } else if (has_value && kv_arg_is(call, i, "match")) {
            *pattern = kv_arg(call, i + 1);
            continue;
        } else if (has_value && kv_arg_is(call, i, "type")) {
            *all_types = kv_arg_is(call, i + 1, "string");
            continue;
        }
        kv_reply_syntax_error(call->out);
        return false;
    }
    return true;
}

static bool scan_cursor(const struct kv_call *call, uint64_t *cursor)
{
    struct kv_str arg = kv_arg(call, 1);
    bool negative = arg.len > 0 && arg.p[0] == '-';

    if (kv_parse_u64(arg.p + negative, arg.len - negative, cursor)) {
        *cursor = negative ? 0 - *cursor : *cursor; /* as strtoul has it */
        return true;
    }
    kv_reply_literal(call->out, "-ERR invalid cursor\r\n");
    return false;
}

void kv_cmd_scan(struct kv_call *call)
{
    struct key_list list = {.db = &call->server->db};
    int64_t count = SCAN_COUNT, places;
    bool all_types = true;
    char digits[KV_I64_CHARS];
    uint64_t cursor;

    if (!scan_cursor(call, &cursor) || !scan_options(call, &count, &all_types, &list.pattern))
        return;
    places = count < INT64_MAX / SCAN_PLACES ? count * SCAN_PLACES : INT64_MAX;
    do {
        cursor = kv_dict_scan(&list.db->dict, cursor, collect, &list);
    } while (cursor != 0 && --places > 0 && list.seen < (uint64_t)count);
    if (!all_types)
        list.count = 0;
    if (list.no_memory) {
        kv_reply_no_memory(call->out);
    } else {
        kv_reply_array(call->out, 2);
        kv_reply_bulk(call->out, (struct kv_str){digits, kv_format_u64(digits, cursor)});
        reply_keys(call->out, &list);
    }
    free(list.entries);
}

void kv_cmd_keys(struct kv_call *call)
{
    struct key_list list = {.db = &call->server->db, .pattern = kv_arg(call, 1)};
    uint64_t cursor = 0;

    do {
        cursor = kv_dict_scan(&list.db->dict, cursor, collect, &list);
    } while (cursor != 0);
    if (list.no_memory)
        kv_reply_no_memory(call->out);
    else
        reply_keys(call->out, &list);
    free(list.entries);
}
