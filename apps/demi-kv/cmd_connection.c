/* SPDX-License-Identifier: MIT */
/*
 * Commands on the connection: greeting, version of the protocol, farewell.
 */
#include "handlers.h"
#include "numbers.h"

#include <stdlib.h>

void kv_cmd_ping(struct kv_call *call)
{
    if (call->argc > 2)
        kv_reply_error(call->out, "ERR wrong number of arguments for 'ping' command");
    else if (call->argc == 2)
        kv_reply_bulk(call->out, kv_arg(call, 1));
    else
        kv_reply_literal(call->out, "+PONG\r\n");
}

void kv_cmd_echo(struct kv_call *call)
{
    kv_reply_bulk(call->out, kv_arg(call, 1));
}

void kv_cmd_select(struct kv_call *call)
{
    int64_t index;

    if (!kv_arg_int(call, 1, &index))
        return;
    if (index == 0)
        kv_reply_ok(call->out);
    else
        kv_reply_literal(call->out, "-ERR DB index is out of range\r\n");
}

void kv_cmd_quit(struct kv_call *call)
{
    kv_reply_ok(call->out);
    kv_client_finish(call->client);
}

void kv_cmd_reset(struct kv_call *call)
{
    struct kv_client *c = call->client;

    free(c->name);
    c->name = NULL;
    c->resp = 2;
    c->no_evict = false;
    kv_reply_literal(call->out, "+RESET\r\n");
}

static void greet(struct kv_call *call)
{
    struct kv_out *out = call->out;

    kv_reply_map(out, 7);
    kv_reply_text(out, "server");
    kv_reply_text(out, "redis");
    kv_reply_text(out, "version");
    kv_reply_text(out, KV_REDIS_VERSION);
    kv_reply_text(out, "proto");
    kv_reply_int(out, call->client->resp);
    kv_reply_text(out, "id");
    kv_reply_int(out, (int64_t)call->client->id);
    kv_reply_text(out, "mode");
    kv_reply_text(out, "standalone");
    kv_reply_text(out, "role");
    kv_reply_text(out, "master");
    kv_reply_text(out, "modules");
    kv_reply_array(out, 0);
}

/* Reads the version; false after the error reply. */
static bool hello_version(const struct kv_call *call, int64_t *version)
{
    struct kv_str arg = kv_arg(call, 1);

    if (!kv_parse_i64(arg.p, arg.len, version)) {
        kv_reply_literal(call->out, "-ERR Protocol version is not an integer or out of range\r\n");
        return false;
    }
    if (*version >= 2 && *version <= 3)
        return true;
    kv_reply_literal(call->out, "-NOPROTO unsupported protocol version\r\n");
    return false;
}

/* Reads AUTH and SETNAME; false after the error reply. There are no users but the default one. */
static bool hello_options(const struct kv_call *call, uint32_t *name_arg)
{
    for (uint32_t i = 2; i < call->argc; i++) {
        uint32_t left = call->argc - 1 - i;
        if (left >= 2 && kv_arg_is(call, i, "auth")) {
            if (!kv_arg_is(call, i + 1, "default")) {
                kv_reply_literal(call->out, "-WRONGPASS invalid username-password pair or "
                                            "user is disabled.\r\n");
                return false;
            }
            i += 2;
        } else if (left >= 1 && kv_arg_is(call, i, "setname")) {
            *name_arg = ++i;
        } else {
            struct kv_str arg = kv_arg(call, i);
            kv_reply_error(call->out, "ERR Syntax error in HELLO option '%.*s'", (int)arg.len,
                           arg.p);
            return false;
        }
    }
    return true;
}

void kv_cmd_hello(struct kv_call *call)
{
    uint32_t name_arg = 0;
    int64_t version = call->client->resp;

    if (call->argc >= 2 && (!hello_version(call, &version) || !hello_options(call, &name_arg)))
        return;
    if (name_arg && !kv_client_set_text(call, name_arg, &call->client->name, "Client names"))
        return;
    call->client->resp = (uint8_t)version;
    greet(call);
}
