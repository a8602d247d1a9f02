/* SPDX-License-Identifier: MIT */
/*
 * Commands on the time at which a key expires.
 */
#include "expire_arg.h"
#include "handlers.h"

enum condition { NX = 1 << 0, XX = 1 << 1, GT = 1 << 2, LT = 1 << 3 };

/* Reads the conditions of EXPIRE; false after the error reply. */
static bool read_conditions(const struct kv_call *call, unsigned *out)
{
    static const char *const words[] = {"nx", "xx", "gt", "lt"};

    *out = 0;
    for (uint32_t i = 3; i < call->argc; i++) {
        unsigned k = 0;
        while (k < 4 && !kv_arg_is(call, i, words[k]))
            k++;
        if (k == 4) {
            struct kv_str arg = kv_arg(call, i);
            kv_reply_error(call->out, "ERR Unsupported option %.*s", (int)arg.len, arg.p);
            return false;
        }
        *out |= 1u << k;
    }
    if (*out & NX && *out & (XX | GT | LT)) {
        kv_reply_literal(call->out, "-ERR NX and XX, GT or LT options at the same time "
                                    "are not compatible\r\n");
        return false;
    }
    if (*out & GT && *out & LT) {
        kv_reply_literal(call->out,
                         "-ERR GT and LT options at the same time are not compatible\r\n");
        return false;
    }
    return true;
}

/* Whether the conditions allow `when` in the place of `old` (KV_EXPIRE_NEVER: none). */
static bool allowed(unsigned conditions, int64_t old, int64_t when)
{
    bool has = old != KV_EXPIRE_NEVER;

    return !(conditions & NX && has) && !(conditions & XX && !has) &&
           !(conditions & GT && (!has || when <= old)) && !(conditions & LT && has && when >= old);
}

/* Reads the time, which may lie in the past; false after the error reply. */
static bool read_time(const struct kv_call *call, unsigned unit, int64_t *when)
{
    int64_t base = unit & KV_ABSOLUTE ? 0 : call->server->db.now_ms;

    if (!kv_arg_int(call, 2, when))
        return false;
    if (!__builtin_mul_overflow(*when, unit & KV_SECONDS ? 1000 : 1, when) &&
        !__builtin_add_overflow(*when, base, when))
        return true;
    kv_reply_error(call->out, "ERR invalid expire time in '%s' command", call->command->name);
    return false;
}

static void expire(struct kv_call *call, unsigned unit)
{
    struct kv_db *db = &call->server->db;
    struct kv_str key = kv_arg(call, 1);
    struct kv_entry *e;
    unsigned conditions;
    int64_t when;

    if (!read_conditions(call, &conditions) || !read_time(call, unit, &when))
        return;
    e = kv_db_find(db, key);
    if (!e || !allowed(conditions, kv_entry_expires(e) ? kv_entry_ttl(e)->when_ms : KV_EXPIRE_NEVER,
                       when)) {
        kv_reply_int(call->out, 0);
        return;
    }
    if (when <= db->now_ms)
        kv_db_delete(db, key);
    else if (!kv_db_expire_at(db, key, when)) {
        kv_reply_no_memory(call->out);
        return;
    }
    kv_reply_int(call->out, 1);
}

void kv_cmd_expire(struct kv_call *call)
{
    expire(call, KV_SECONDS);
}

void kv_cmd_pexpire(struct kv_call *call)
{
    expire(call, 0);
}

void kv_cmd_expireat(struct kv_call *call)
{
    expire(call, KV_SECONDS | KV_ABSOLUTE);
}

void kv_cmd_pexpireat(struct kv_call *call)
{
    expire(call, KV_ABSOLUTE);
}

/* Answers with the time left, or the time itself; -2 without the key, -1 without an expiry. */
static void reply_time(struct kv_call *call, unsigned unit)
{
    struct kv_entry *e = kv_db_find(&call->server->db, kv_arg(call, 1));
    int64_t ms;

    if (!e || !kv_entry_expires(e)) {
        kv_reply_int(call->out, e ? -1 : -2);
        return;
    }
    ms = kv_entry_ttl(e)->when_ms - (unit & KV_ABSOLUTE ? 0 : call->server->db.now_ms);
    kv_reply_int(call->out, unit & KV_SECONDS ? (ms + 500) / 1000 : ms);
}

void kv_cmd_ttl(struct kv_call *call)
{
    reply_time(call, KV_SECONDS);
}

void kv_cmd_pttl(struct kv_call *call)
{
    reply_time(call, 0);
}

void kv_cmd_expiretime(struct kv_call *call)
{
    reply_time(call, KV_SECONDS | KV_ABSOLUTE);
}

void kv_cmd_pexpiretime(struct kv_call *call)
{
    reply_time(call, KV_ABSOLUTE);
}

void kv_cmd_persist(struct kv_call *call)
{
    struct kv_db *db = &call->server->db;
    struct kv_entry *e = kv_db_find(db, kv_arg(call, 1));
    bool had = e && kv_entry_expires(e);

    if (had)
        kv_db_expire_at(db, kv_arg(call, 1), KV_EXPIRE_NEVER);
    kv_reply_int(call->out, had);
}
