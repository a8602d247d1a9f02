/* SPDX-License-Identifier: MIT */
/*
 * Commands that count. A counter is stored as its digits, so that reading it costs nothing.
 */
#include "handlers.h"
#include "numbers.h"

/* Reads the number that an entry holds, 0 for none; false after the error reply. */
static bool read_counter(const struct kv_call *call, struct kv_entry *e, int64_t *out)
{
    *out = 0;
    if (!e || kv_parse_i64(kv_entry_value(e), e->value_len, out))
        return true;
    kv_reply_not_integer(call->out);
    return false;
}

static void add(struct kv_call *call, int64_t n)
{
    struct kv_db *db = &call->server->db;
    struct kv_entry *e = kv_db_find(db, kv_arg(call, 1));
    char digits[KV_I64_CHARS];
    struct kv_value value = {.bytes = {digits, 0}};
    int64_t count;

    if (!read_counter(call, e, &count))
        return;
    if (__builtin_add_overflow(count, n, &count)) {
        kv_reply_literal(call->out, "-ERR increment or decrement would overflow\r\n");
        return;
    }
    value.bytes.len = kv_format_i64(digits, count);
    if ((e && kv_db_overwrite(db, e, value.bytes)) ||
        kv_db_set(db, kv_arg(call, 1), &value, KV_EXPIRE_KEEP))
        kv_reply_int(call->out, count);
    else
        kv_reply_no_memory(call->out);
}

void kv_cmd_incr(struct kv_call *call)
{
    add(call, 1);
}

void kv_cmd_decr(struct kv_call *call)
{
    add(call, -1);
}

void kv_cmd_incrby(struct kv_call *call)
{
    int64_t n;

    if (kv_arg_int(call, 2, &n))
        add(call, n);
}

void kv_cmd_decrby(struct kv_call *call)
{
    int64_t n;

    if (!kv_arg_int(call, 2, &n))
        return;
    if (n == INT64_MIN)
        kv_reply_literal(call->out, "-ERR decrement would overflow\r\n");
    else
        add(call, -n);
}
