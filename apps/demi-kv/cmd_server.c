/* SPDX-License-Identifier: MIT */
/*
 * Commands on the keyspace as a whole, and the clock.
 */
#include "handlers.h"
#include "numbers.h"

#include <time.h>

void kv_cmd_dbsize(struct kv_call *call)
{
    kv_reply_int(call->out, (int64_t)call->server->db.dict.count);
}

/* FLUSHALL and FLUSHDB. SYNC and ASYNC are the same: no pause either way. */
void kv_cmd_flush(struct kv_call *call)
{
    if (call->argc > 2 ||
        (call->argc == 2 && !kv_arg_is(call, 1, "sync") && !kv_arg_is(call, 1, "async"))) {
        kv_reply_syntax_error(call->out);
        return;
    }
    kv_db_flush(&call->server->db);
    kv_reply_ok(call->out);
}

void kv_cmd_bgrewriteaof(struct kv_call *call)
{
    struct kv_journal *j = &call->server->journal;

    if (j->qd < 0)
        kv_reply_literal(call->out, "-ERR there is no log (see --log)\r\n");
    else if (j->rewrite != KV_REWRITE_NONE)
        kv_reply_literal(call->out, "-ERR Background append only file rewriting already in "
                                    "progress\r\n");
    else {
        kv_journal_rewrite(j);
        kv_reply_literal(call->out, "+Background append only file rewriting started\r\n");
    }
}

static void reply_number_text(struct kv_out *out, uint64_t v)
{
    char digits[KV_I64_CHARS];

    kv_reply_bulk(out, (struct kv_str){digits, kv_format_u64(digits, v)});
}

void kv_cmd_time(struct kv_call *call)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    kv_reply_array(call->out, 2);
    reply_number_text(call->out, (uint64_t)t.tv_sec);
    reply_number_text(call->out, (uint64_t)t.tv_nsec / 1000);
}
