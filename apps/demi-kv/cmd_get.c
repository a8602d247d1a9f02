/* SPDX-License-Identifier: MIT */
/*
 * Commands that read values.
 */
#include "expire_arg.h"
#include "handlers.h"

/* Finds the entry of argument 1, or answers with a null and returns NULL. */
static struct kv_entry *find(const struct kv_call *call)
{
    struct kv_entry *e = kv_db_read(&call->server->db, kv_arg(call, 1));

    if (!e)
        kv_reply_null(call->out);
    return e;
}

void kv_cmd_get(struct kv_call *call)
{
    struct kv_entry *e = find(call);

    if (e)
        kv_reply_value(call->out, e);
}

void kv_cmd_getdel(struct kv_call *call)
{
    struct kv_entry *e = find(call);

    if (!e)
        return;
    kv_reply_value(call->out, e);
    kv_db_delete(&call->server->db, kv_arg(call, 1));
}

void kv_cmd_getex(struct kv_call *call)
{
    struct kv_set_options options;
    struct kv_entry *e;
    int64_t when_ms;

    if (!kv_set_options_read(call, 2, KV_SET_TIMES | KV_SET_PERSIST, &options))
        return;
    e = find(call);
    if (!e || !kv_set_options_time(call, &options, &when_ms))
        return;
    kv_reply_value(call->out, e);
    if (when_ms <= call->server->db.now_ms)
        kv_db_delete(&call->server->db, kv_arg(call, 1));
    else if (options.flags & (KV_SET_TIMES | KV_SET_PERSIST))
        kv_db_expire_at(&call->server->db, kv_arg(call, 1), when_ms);
}

void kv_cmd_mget(struct kv_call *call)
{
    kv_reply_array(call->out, call->argc - 1);
    for (uint32_t i = 1; i < call->argc; i++) {
        struct kv_entry *e = kv_db_read(&call->server->db, kv_arg(call, i));
        if (e)
            kv_reply_value(call->out, e);
        else
            kv_reply_null(call->out);
    }
}

void kv_cmd_strlen(struct kv_call *call)
{
    struct kv_entry *e = kv_db_read(&call->server->db, kv_arg(call, 1));

    kv_reply_int(call->out, e ? e->value_len : 0);
}
