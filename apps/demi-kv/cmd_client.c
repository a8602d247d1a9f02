/* SPDX-License-Identifier: MIT */
/*
 * CLIENT: the connections, and what they say about themselves.
 */
#include "handlers.h"
#include "numbers.h"

#include <arpa/inet.h>
#include <demi/libos.h>
#include <stdio.h>
#include <stdlib.h>

/* "[address]:port" */
#define ADDRESS_CHARS (INET6_ADDRSTRLEN + 8)

static void client_id(struct kv_call *call)
{
    kv_reply_int(call->out, (int64_t)call->client->id);
}

static void client_getname(struct kv_call *call)
{
    if (call->client->name)
        kv_reply_text(call->out, call->client->name);
    else
        kv_reply_null(call->out);
}

bool kv_client_set_text(const struct kv_call *call, uint32_t i, char **text, const char *what)
{
    struct kv_str arg = kv_arg(call, i);
    char *copy = NULL;

    for (uint32_t k = 0; k < arg.len; k++) {
        if (arg.p[k] < '!' || arg.p[k] > '~') {
            kv_reply_error(call->out,
                           "ERR %s cannot contain spaces, newlines or special characters.", what);
            return false;
        }
    }
    if (arg.len > 0 && !(copy = strndup(arg.p, arg.len))) {
        kv_reply_no_memory(call->out);
        return false;
    }
    free(*text);
    *text = copy;
    return true;
}

static void client_setname(struct kv_call *call)
{
    if (kv_client_set_text(call, 2, &call->client->name, "Client names"))
        kv_reply_ok(call->out);
}

static void client_setinfo(struct kv_call *call)
{
    struct kv_str option = kv_arg(call, 2);
    char **text = kv_arg_is(call, 2, "lib-name")  ? &call->client->lib_name
                  : kv_arg_is(call, 2, "lib-ver") ? &call->client->lib_ver
                                                  : NULL;

    if (!text)
        kv_reply_error(call->out, "ERR Unrecognized option '%.*s'", (int)option.len, option.p);
    else if (kv_client_set_text(call, 3, text,
                                text == &call->client->lib_name ? "lib-name" : "lib-ver"))
        kv_reply_ok(call->out);
}

static void client_no_evict(struct kv_call *call)
{
    bool on = kv_arg_is(call, 2, "on");

    if (!on && !kv_arg_is(call, 2, "off")) {
        kv_reply_syntax_error(call->out);
        return;
    }
    call->client->no_evict = on;
    kv_reply_ok(call->out);
}

/* ---- LIST and INFO ------------------------------------------------------------------------ */

static void format_address(const struct sockaddr_storage *addr, char text[ADDRESS_CHARS])
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
    char host[INET6_ADDRSTRLEN] = "?";

    if (addr->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, ADDRESS_CHARS, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, ADDRESS_CHARS, "%s:%u", host, ntohs(in->sin_port));
    }
}

typedef int (*name_fn)(int qd, struct sockaddr *addr, socklen_t *len);

static void put_address(FILE *f, const char *label, name_fn name, int qd)
{
    struct sockaddr_storage addr = {.ss_family = AF_INET};
    socklen_t len = sizeof(addr);
    char text[ADDRESS_CHARS] = "?:0";

    if (name(qd, (struct sockaddr *)&addr, &len) == 0)
        format_address(&addr, text);
    fprintf(f, " %s=%s", label, text);
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* One line of CLIENT LIST, with the fields that Redis has. */
static void put_client(FILE *f, const struct kv_client *c)
{
    int64_t now = c->server->db.now_ms;

    fprintf(f, "id=%llu", (unsigned long long)c->id);
    put_address(f, "addr", demi_getpeername, c->qd);
    put_address(f, "laddr", demi_getsockname, c->qd);
    fprintf(f, " fd=%d name=%s age=%lld idle=%lld flags=%s db=0 sub=0 psub=0 ssub=0 multi=-1",
            c->qd, text_or_empty(c->name), (long long)(now - c->born_ms) / 1000,
            (long long)(now - c->active_ms) / 1000, c->no_evict ? "e" : "N");
    fprintf(f, " qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0");
    fprintf(f, " obl=0 oll=%u omem=%llu tot-mem=%llu events=%s cmd=%s user=default redir=-1",
            c->pushes, (unsigned long long)c->unsent, (unsigned long long)(sizeof(*c) + c->unsent),
            c->pushes ? "rw" : "r", c->last ? c->last->name : "NULL");
    fprintf(f, " resp=%d lib-name=%s lib-ver=%s\n", c->resp, text_or_empty(c->lib_name),
            text_or_empty(c->lib_ver));
}

/* Ends a text stream and answers with what was written to it. */
static void reply_stream(struct kv_call *call, FILE *f, char **text, size_t *len)
{
    if (f && fclose(f) == 0)
        kv_reply_verbatim(call->out, (struct kv_str){*text, (uint32_t)*len});
    else
        kv_reply_no_memory(call->out);
    free(*text);
}

static void client_info(struct kv_call *call)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f)
        put_client(f, call->client);
    reply_stream(call, f, &text, &len);
}

/* Which clients LIST shows. */
struct filter {
    bool none;      /* of a type that never connects here */
    uint32_t first; /* first argument that is an id, or 0: all ids */
};

static bool shown(const struct kv_call *call, const struct filter *filter,
                  const struct kv_client *c)
{
    if (c->closed || filter->none)
        return false;
    for (uint32_t i = filter->first; i > 0 && i < call->argc; i++) {
        struct kv_str arg = kv_arg(call, i);
        uint64_t id;
        if (kv_parse_u64(arg.p, arg.len, &id) && id == c->id)
            return true;
    }
    return filter->first == 0;
}

static bool read_type(const struct kv_call *call, struct filter *filter)
{
    struct kv_str arg = kv_arg(call, 3);

    if (kv_arg_is(call, 3, "normal"))
        return true;
    filter->none = true;
    if (kv_arg_is(call, 3, "master") || kv_arg_is(call, 3, "replica") ||
        kv_arg_is(call, 3, "slave") || kv_arg_is(call, 3, "pubsub"))
        return true;
    kv_reply_error(call->out, "ERR Unknown client type '%.*s'", (int)arg.len, arg.p);
    return false;
}

static bool read_ids(const struct kv_call *call, struct filter *filter)
{
    filter->first = 3;
    for (uint32_t i = 3; i < call->argc; i++) {
        struct kv_str arg = kv_arg(call, i);
        int64_t id;
        if (!kv_parse_i64(arg.p, arg.len, &id) || id < 1) {
            kv_reply_literal(call->out, "-ERR Invalid client ID\r\n");
            return false;
        }
    }
    return true;
}

/* Reads LIST's options; false after the error reply. */
static bool read_filter(const struct kv_call *call, struct filter *filter)
{
    if (call->argc == 2)
        return true;
    if (call->argc == 4 && kv_arg_is(call, 2, "type"))
        return read_type(call, filter);
    if (call->argc > 3 && kv_arg_is(call, 2, "id"))
        return read_ids(call, filter);
    kv_reply_syntax_error(call->out);
    return false;
}

static void client_list(struct kv_call *call)
{
    struct filter filter = {false, 0};
    char *text = NULL;
    size_t len = 0;
    FILE *f;

    if (!read_filter(call, &filter))
        return;
    f = open_memstream(&text, &len);
    for (const struct kv_client *c = call->server->clients; f && c; c = c->next)
        if (shown(call, &filter, c))
            put_client(f, c);
    reply_stream(call, f, &text, &len);
}

static void client_help(struct kv_call *call)
{
    static const char *const lines[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]",
        "    Return information about client connections.",
        "NO-EVICT (ON|OFF)",
        "    Accepted; connections are never evicted.",
        "SETINFO (LIB-NAME|LIB-VER) <value>",
        "    Note the name or version of the client library.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "HELP",
        "    Print this help.",
    };

    kv_reply_array(call->out, sizeof(lines) / sizeof(lines[0]));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        kv_reply_status(call->out, lines[i]);
}

#define CLIENT_FLAGS (KV_NOSCRIPT | KV_LOADING | KV_STALE)

const struct kv_command kv_client_subcommands[KV_NUM_CLIENT_SUBCOMMANDS] = {
    {"client|getname", client_getname, 2, CLIENT_FLAGS, 0, 0, 0, KV_GROUP_CONNECTION, "2.6.9",
     "O(1)", "Get the current connection name", NULL, 0},
    {"client|help", client_help, 2, KV_LOADING | KV_STALE, 0, 0, 0, KV_GROUP_CONNECTION, "5.0.0",
     "O(1)", "Show helpful text about the different subcommands", NULL, 0},
    {"client|id", client_id, 2, CLIENT_FLAGS, 0, 0, 0, KV_GROUP_CONNECTION, "5.0.0", "O(1)",
     "Returns the client ID for the current connection", NULL, 0},
    {"client|info", client_info, 2, CLIENT_FLAGS, 0, 0, 0, KV_GROUP_CONNECTION, "6.2.0", "O(1)",
     "Returns information about the current client connection.", NULL, 0},
    {"client|list", client_list, -2, CLIENT_FLAGS | KV_ADMIN, 0, 0, 0, KV_GROUP_CONNECTION, "2.4.0",
     "O(N) where N is the number of client connections", "Get the list of client connections", NULL,
     0},
    {"client|no-evict", client_no_evict, 3, CLIENT_FLAGS | KV_ADMIN, 0, 0, 0, KV_GROUP_CONNECTION,
     "7.0.0", "O(1)", "Set client eviction mode for the current connection", NULL, 0},
    {"client|setinfo", client_setinfo, 4, CLIENT_FLAGS, 0, 0, 0, KV_GROUP_CONNECTION, "7.2.0",
     "O(1)", "Note client or connection specific information", NULL, 0},
    {"client|setname", client_setname, 3, CLIENT_FLAGS, 0, 0, 0, KV_GROUP_CONNECTION, "2.6.9",
     "O(1)", "Set the current connection name", NULL, 0},
};
