/* SPDX-License-Identifier: MIT */
/*
 * Commands that store values.
 */
#include "expire_arg.h"
#include "handlers.h"

/* Stores argument i under argument `key`; false after the error reply. */
static bool store(const struct kv_call *call, uint32_t key, uint32_t i, int64_t when_ms)
{
    struct kv_value value = kv_arg_value(call, i);

    if (kv_db_set(&call->server->db, kv_arg(call, key), &value, when_ms))
        return true;
    kv_reply_no_memory(call->out);
    return false;
}

static void reply_entry(const struct kv_call *call, struct kv_entry *e)
{
    if (e)
        kv_reply_value(call->out, e);
    else
        kv_reply_null(call->out);
}

/* SET with options. */
static void set_with_options(struct kv_call *call)
{
    struct kv_set_options options;
    struct kv_entry *e = NULL;
    int64_t when_ms;
    bool may_set;

    if (!kv_set_options_read(call, 3, ~(unsigned)KV_SET_PERSIST, &options) ||
        !kv_set_options_time(call, &options, &when_ms))
        return;
    if (options.flags & KV_SET_KEEPTTL)
        when_ms = KV_EXPIRE_KEEP;
    if (options.flags & (KV_SET_NX | KV_SET_XX | KV_SET_GET))
        e = kv_db_find(&call->server->db, kv_arg(call, 1));
    may_set = e ? !(options.flags & KV_SET_NX) : !(options.flags & KV_SET_XX);
    if (options.flags & KV_SET_GET)
        reply_entry(call, e);
    else if (!may_set)
        kv_reply_null(call->out);
    if (may_set && store(call, 1, 2, when_ms) && !(options.flags & KV_SET_GET))
        kv_reply_ok(call->out);
}

void kv_cmd_set(struct kv_call *call)
{
    if (call->argc > 3)
        set_with_options(call);
    else if (store(call, 1, 2, KV_EXPIRE_NEVER))
        kv_reply_ok(call->out);
}

void kv_cmd_setnx(struct kv_call *call)
{
    if (kv_db_find(&call->server->db, kv_arg(call, 1)))
        kv_reply_int(call->out, 0);
    else if (store(call, 1, 2, KV_EXPIRE_NEVER))
        kv_reply_int(call->out, 1);
}

static void set_for(struct kv_call *call, unsigned unit)
{
    int64_t when_ms;

    if (kv_expire_time(call, 2, unit, &when_ms) && store(call, 1, 3, when_ms))
        kv_reply_ok(call->out);
}

void kv_cmd_setex(struct kv_call *call)
{
    set_for(call, KV_SECONDS);
}

void kv_cmd_psetex(struct kv_call *call)
{
    set_for(call, 0);
}

void kv_cmd_getset(struct kv_call *call)
{
    reply_entry(call, kv_db_read(&call->server->db, kv_arg(call, 1)));
    store(call, 1, 2, KV_EXPIRE_NEVER);
}

/* Whether there is a value for every key; false after the error reply. */
static bool has_pairs(const struct kv_call *call)
{
    if (call->argc % 2 == 1)
        return true;
    kv_reply_error(call->out, "ERR wrong number of arguments for '%s' command",
                   call->command->name);
    return false;
}

static bool store_pairs(const struct kv_call *call)
{
    for (uint32_t i = 1; i < call->argc; i += 2)
        if (!store(call, i, i + 1, KV_EXPIRE_NEVER))
            return false;
    return true;
}

void kv_cmd_mset(struct kv_call *call)
{
    if (has_pairs(call) && store_pairs(call))
        kv_reply_ok(call->out);
}

void kv_cmd_msetnx(struct kv_call *call)
{
    if (!has_pairs(call))
        return;
    for (uint32_t i = 1; i < call->argc; i += 2) {
        if (kv_db_find(&call->server->db, kv_arg(call, i))) {
            kv_reply_int(call->out, 0);
            return;
        }
    }
    if (store_pairs(call))
        kv_reply_int(call->out, 1);
}

void kv_cmd_append(struct kv_call *call)
{
    struct kv_db *db = &call->server->db;
    struct kv_entry *e = kv_db_find(db, kv_arg(call, 1));
    struct kv_str tail = kv_arg(call, 2);
    int64_t len;

    if (e && (uint64_t)e->value_len + tail.len > call->server->config->limits.max_bulk) {
        kv_reply_literal(call->out,
                         "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
        return;
    }
    len = kv_db_append(db, kv_arg(call, 1), tail);
    if (len < 0)
        kv_reply_no_memory(call->out);
    else
        kv_reply_int(call->out, len);
}
