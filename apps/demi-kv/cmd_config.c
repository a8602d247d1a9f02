/* SPDX-License-Identifier: MIT */
/*
 * CONFIG: the settings, under Redis's names. They are given on the command line and do not change.
 */
#include "glob.h"
#include "handlers.h"

#include <inttypes.h>
#include <stdio.h>

#define VALUE_CHARS 80

/* Where a value comes from: a text, or a number of this width in struct kv_config. */
enum kind { TEXT, U16, U32, U64, BIND, LOG };

static const struct {
    const char *name;
    const char *text;
    enum kind kind;
    size_t offset;
} settings[] = {
    {"appendfsync", "always", TEXT, 0},
    {"appendonly", NULL, LOG, 0},
    {"auto-aof-rewrite-min-size", NULL, U64, offsetof(struct kv_config, log_min)},
    {"bind", NULL, BIND, offsetof(struct kv_config, bind)},
    {"client-query-buffer-limit", NULL, U64, offsetof(struct kv_config, max_request)},
    {"databases", "1", TEXT, 0},
    {"maxclients", NULL, U32, offsetof(struct kv_config, max_clients)},
    {"maxmemory", NULL, U64, offsetof(struct kv_config, max_memory)},
    {"maxmemory-policy", "noeviction", TEXT, 0},
    {"port", NULL, U16, offsetof(struct kv_config, port)},
    {"proto-max-bulk-len", NULL, U32, offsetof(struct kv_config, limits.max_bulk)},
    {"save", "", TEXT, 0},
    {"tcp-backlog", NULL, U32, offsetof(struct kv_config, backlog)},
    {"timeout", "0", TEXT, 0},
};
#define NUM_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static uint64_t number_of(const struct kv_config *config, size_t i)
{
    const void *p = (const char *)config + settings[i].offset;

    switch (settings[i].kind) {
    case U16:
        return *(const uint16_t *)p;
    case U32:
        return *(const uint32_t *)p;
    default:
        return *(const uint64_t *)p;
    }
}

static void reply_setting(const struct kv_call *call, size_t i)
{
    char value[VALUE_CHARS];

    if (settings[i].kind == TEXT)
        snprintf(value, sizeof(value), "%s", settings[i].text);
    else if (settings[i].kind == LOG)
        snprintf(value, sizeof(value), "%s", call->server->config->log ? "yes" : "no");
    else if (settings[i].kind == BIND)
        snprintf(value, sizeof(value), "%s", call->server->config->bind);
    else
        snprintf(value, sizeof(value), "%" PRIu64, number_of(call->server->config, i));
    kv_reply_text(call->out, settings[i].name);
    kv_reply_text(call->out, value);
}

static bool wanted(const struct kv_call *call, size_t i)
{
    for (uint32_t k = 2; k < call->argc; k++) {
        struct kv_str pattern = kv_arg(call, k);
        if (kv_glob(pattern.p, pattern.len, settings[i].name, strlen(settings[i].name), true))
            return true;
    }
    return false;
}

static void config_get(struct kv_call *call)
{
    unsigned n = 0;

    for (size_t i = 0; i < NUM_SETTINGS; i++)
        n += wanted(call, i);
    kv_reply_map(call->out, n);
    for (size_t i = 0; i < NUM_SETTINGS; i++)
        if (wanted(call, i))
            reply_setting(call, i);
}

static void config_set(struct kv_call *call)
{
    struct kv_str name = kv_arg(call, 2);

    for (size_t i = 0; i < NUM_SETTINGS; i++) {
        if (kv_arg_is(call, 2, settings[i].name)) {
            kv_reply_error(call->out,
                           "ERR CONFIG SET failed (possibly related to argument '%.*s') - "
                           "can't set immutable config",
                           (int)name.len, name.p);
            return;
        }
    }
    kv_reply_error(call->out, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                   (int)name.len, name.p);
}

static void config_resetstat(struct kv_call *call)
{
    call->server->stats = (struct kv_stats){0};
    call->server->db.hits = call->server->db.misses = call->server->db.expired = 0;
    call->server->out.bytes = 0;
    kv_reply_ok(call->out);
}

static void config_rewrite(struct kv_call *call)
{
    kv_reply_literal(call->out, "-ERR The server is running without a config file\r\n");
}

static void config_help(struct kv_call *call)
{
    static const char *const lines[] = {
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "HELP",
        "    Print this help.",
    };

    kv_reply_array(call->out, sizeof(lines) / sizeof(lines[0]));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        kv_reply_status(call->out, lines[i]);
}

#define CONFIG_FLAGS (KV_ADMIN | KV_NOSCRIPT | KV_LOADING | KV_STALE)

const struct kv_command kv_config_subcommands[KV_NUM_CONFIG_SUBCOMMANDS] = {
    {"config|get", config_get, -3, CONFIG_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "2.0.0",
     "O(N) when N is the number of configuration parameters provided",
     "Get the values of configuration parameters", NULL, 0},
    {"config|help", config_help, 2, KV_LOADING | KV_STALE, 0, 0, 0, KV_GROUP_SERVER, "5.0.0",
     "O(1)", "Show helpful text about the different subcommands", NULL, 0},
    {"config|resetstat", config_resetstat, 2, CONFIG_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "2.0.0",
     "O(1)", "Reset the stats returned by INFO", NULL, 0},
    {"config|rewrite", config_rewrite, 2, CONFIG_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "2.8.0", "O(1)",
     "Rewrite the configuration file with the in memory configuration", NULL, 0},
    {"config|set", config_set, -4, CONFIG_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "2.0.0",
     "O(N) when N is the number of configuration parameters provided",
     "Set configuration parameters to the given values", NULL, 0},
};
