/* SPDX-License-Identifier: MIT */
/*
 * Options that say when a key expires (expire_arg.h).
 */
#include "expire_arg.h"

static const struct {
    const char *word;
    unsigned flag;
    unsigned excludes;
    unsigned unit;
} words[] = {
    {"nx", KV_SET_NX, KV_SET_XX, 0},
    {"xx", KV_SET_XX, KV_SET_NX, 0},
    {"get", KV_SET_GET, 0, 0},
    {"keepttl", KV_SET_KEEPTTL, KV_SET_TIMES | KV_SET_PERSIST, 0},
    {"persist", KV_SET_PERSIST, KV_SET_TIMES | KV_SET_KEEPTTL, 0},
    {"ex", KV_SET_EX, (KV_SET_TIMES & ~KV_SET_EX) | KV_SET_KEEPTTL | KV_SET_PERSIST, KV_SECONDS},
    {"px", KV_SET_PX, (KV_SET_TIMES & ~KV_SET_PX) | KV_SET_KEEPTTL | KV_SET_PERSIST, 0},
    {"exat", KV_SET_EXAT, (KV_SET_TIMES & ~KV_SET_EXAT) | KV_SET_KEEPTTL | KV_SET_PERSIST,
     KV_SECONDS | KV_ABSOLUTE},
    {"pxat", KV_SET_PXAT, (KV_SET_TIMES & ~KV_SET_PXAT) | KV_SET_KEEPTTL | KV_SET_PERSIST,
     KV_ABSOLUTE},
};
#define NUM_OPTIONS (sizeof(words) / sizeof(words[0]))

bool kv_expire_time(const struct kv_call *call, uint32_t i, unsigned unit, int64_t *when_ms)
{
    int64_t when, base = unit & KV_ABSOLUTE ? 0 : call->server->db.now_ms;

    if (!kv_arg_int(call, i, &when))
        return false;
    if (when <= 0 || __builtin_mul_overflow(when, unit & KV_SECONDS ? 1000 : 1, &when) ||
        __builtin_add_overflow(when, base, &when)) {
        kv_reply_error(call->out, "ERR invalid expire time in '%s' command", call->command->name);
        return false;
    }
    *when_ms = when;
    return true;
}

/* The option that argument i is, or NUM_OPTIONS. */
static unsigned option_of(const struct kv_call *call, uint32_t i, unsigned allowed)
{
    unsigned k = 0;

    while (k < NUM_OPTIONS && !(words[k].flag & allowed && kv_arg_is(call, i, words[k].word)))
        k++;
    return k;
}

bool kv_set_options_read(const struct kv_call *call, uint32_t first, unsigned allowed,
                         struct kv_set_options *out)
{
    *out = (struct kv_set_options){0, 0, 0};
    for (uint32_t i = first; i < call->argc; i++) {
        unsigned k = option_of(call, i, allowed);
        bool is_time = k < NUM_OPTIONS && words[k].flag & KV_SET_TIMES;
        if (k == NUM_OPTIONS || out->flags & words[k].excludes ||
            (is_time && i + 1 == call->argc)) {
            kv_reply_syntax_error(call->out);
            return false;
        }
        out->flags |= words[k].flag;
        if (is_time) {
            out->time_arg = ++i;
            out->unit = words[k].unit;
        }
    }
    return true;
}

bool kv_set_options_time(const struct kv_call *call, const struct kv_set_options *options,
                         int64_t *when_ms)
{
    *when_ms = KV_EXPIRE_NEVER;
    return options->time_arg == 0 ||
           kv_expire_time(call, options->time_arg, options->unit, when_ms);
}
