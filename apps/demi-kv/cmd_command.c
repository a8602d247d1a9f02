/* SPDX-License-Identifier: MIT */
/*
 * COMMAND: the table of commands as clients ask for it.
 */
#include "handlers.h"

static const struct {
    uint16_t flag;
    const char *name;
} flag_names[] = {
    {KV_WRITE, "write"}, {KV_READONLY, "readonly"}, {KV_DENYOOM, "denyoom"},
    {KV_ADMIN, "admin"}, {KV_NOSCRIPT, "noscript"}, {KV_LOADING, "loading"},
    {KV_STALE, "stale"}, {KV_FAST, "fast"},
};
#define NUM_FLAGS (sizeof(flag_names) / sizeof(flag_names[0]))

static const char *const group_names[] = {
    [KV_GROUP_STRING] = "string",
    [KV_GROUP_GENERIC] = "generic",
    [KV_GROUP_CONNECTION] = "connection",
    [KV_GROUP_SERVER] = "server",
};

static void reply_flags(struct kv_out *out, const struct kv_command *command)
{
    unsigned n = 0;

    for (size_t i = 0; i < NUM_FLAGS; i++)
        n += (command->flags & flag_names[i].flag) != 0;
    kv_reply_set(out, n);
    for (size_t i = 0; i < NUM_FLAGS; i++)
        if (command->flags & flag_names[i].flag)
            kv_reply_status(out, flag_names[i].name);
}

/* The categories follow from flags and group. */
static void reply_categories(struct kv_out *out, const struct kv_command *command)
{
    const struct {
        bool in;
        const char *name;
    } all[] = {
        {command->flags & KV_WRITE, "@write"},
        {command->flags & KV_READONLY, "@read"},
        {command->group == KV_GROUP_GENERIC, "@keyspace"},
        {command->group == KV_GROUP_STRING, "@string"},
        {command->group == KV_GROUP_CONNECTION, "@connection"},
        {command->flags & KV_ADMIN, "@admin"},
        {command->flags & KV_ADMIN, "@dangerous"},
        {command->flags & KV_FAST, "@fast"},
        {!(command->flags & KV_FAST), "@slow"},
    };
    unsigned n = 0;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        n += all[i].in;
    kv_reply_set(out, n);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].in)
            kv_reply_status(out, all[i].name);
}

static void reply_pair(struct kv_out *out, const char *name, int64_t value)
{
    kv_reply_text(out, name);
    kv_reply_int(out, value);
}

/* Where the keys are: one specification, or none. */
static void reply_key_specs(struct kv_out *out, const struct kv_command *command)
{
    bool write = command->flags & KV_WRITE;

    kv_reply_array(out, command->first_key ? 1 : 0);
    if (!command->first_key)
        return;
    kv_reply_map(out, 3);
    kv_reply_text(out, "flags");
    kv_reply_set(out, 2);
    kv_reply_status(out, write ? "RW" : "RO");
    kv_reply_status(out, write ? "update" : "access");
    kv_reply_text(out, "begin_search");
    kv_reply_map(out, 2);
    kv_reply_text(out, "type");
    kv_reply_text(out, "index");
    kv_reply_text(out, "spec");
    kv_reply_map(out, 1);
    reply_pair(out, "index", command->first_key);
    kv_reply_text(out, "find_keys");
    kv_reply_map(out, 2);
    kv_reply_text(out, "type");
    kv_reply_text(out, "range");
    kv_reply_text(out, "spec");
    kv_reply_map(out, 3);
    reply_pair(out, "lastkey", command->last_key < 0 ? -1 : command->last_key - command->first_key);
    reply_pair(out, "keystep", command->key_step);
    reply_pair(out, "limit", 0);
}

static void reply_command(struct kv_out *out, const struct kv_command *command)
{
    kv_reply_array(out, 10);
    kv_reply_text(out, command->name);
    kv_reply_int(out, command->arity);
    reply_flags(out, command);
    kv_reply_int(out, command->first_key);
    kv_reply_int(out, command->last_key);
    kv_reply_int(out, command->key_step);
    reply_categories(out, command);
    kv_reply_array(out, 0); /* tips */
    reply_key_specs(out, command);
    kv_reply_array(out, command->num_subcommands);
    for (unsigned i = 0; i < command->num_subcommands; i++)
        reply_command(out, &command->subcommands[i]);
}

void kv_cmd_command(struct kv_call *call)
{
    kv_reply_array(call->out, kv_num_commands);
    for (unsigned i = 0; i < kv_num_commands; i++)
        reply_command(call->out, &kv_commands[i]);
}

static void command_count(struct kv_call *call)
{
    kv_reply_int(call->out, kv_num_commands);
}

static void command_list(struct kv_call *call)
{
    kv_reply_array(call->out, kv_num_commands);
    for (unsigned i = 0; i < kv_num_commands; i++)
        kv_reply_text(call->out, kv_commands[i].name);
}

/* Finds "get", or "client|list". */
static const struct kv_command *find_full(struct kv_str name)
{
    const char *bar = memchr(name.p, '|', name.len);
    struct kv_str parent = {name.p, bar ? (uint32_t)(bar - name.p) : name.len};
    const struct kv_command *command = kv_command_find(parent);

    if (!command || !bar)
        return command;
    return kv_subcommand_find(command, (struct kv_str){bar + 1, name.len - parent.len - 1});
}

static void command_info(struct kv_call *call)
{
    if (call->argc == 2) {
        kv_cmd_command(call);
        return;
    }
    kv_reply_array(call->out, call->argc - 2);
    for (uint32_t i = 2; i < call->argc; i++) {
        const struct kv_command *command = find_full(kv_arg(call, i));
        if (command)
            reply_command(call->out, command);
        else
            kv_reply_null_array(call->out);
    }
}

static void reply_text_pair(struct kv_out *out, const char *name, const char *value)
{
    kv_reply_text(out, name);
    kv_reply_text(out, value);
}

static void reply_docs(struct kv_out *out, const struct kv_command *command)
{
    kv_reply_text(out, command->name);
    kv_reply_map(out, command->num_subcommands ? 5 : 4);
    reply_text_pair(out, "summary", command->summary);
    reply_text_pair(out, "since", command->since);
    reply_text_pair(out, "group", group_names[command->group]);
    reply_text_pair(out, "complexity", command->complexity);
    if (!command->num_subcommands)
        return;
    kv_reply_text(out, "subcommands");
    kv_reply_map(out, command->num_subcommands);
    for (unsigned i = 0; i < command->num_subcommands; i++)
        reply_docs(out, &command->subcommands[i]);
}

static void command_docs(struct kv_call *call)
{
    unsigned n = 0;

    if (call->argc == 2) {
        kv_reply_map(call->out, kv_num_commands);
        for (unsigned i = 0; i < kv_num_commands; i++)
            reply_docs(call->out, &kv_commands[i]);
        return;
    }
    for (uint32_t i = 2; i < call->argc; i++)
        n += find_full(kv_arg(call, i)) != NULL;
    kv_reply_map(call->out, n);
    for (uint32_t i = 2; i < call->argc; i++) {
        const struct kv_command *command = find_full(kv_arg(call, i));
        if (command)
            reply_docs(call->out, command);
    }
}

static void command_help(struct kv_call *call)
{
    static const char *const lines[] = {
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return the total number of commands.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple commands.",
        "INFO [<command-name> ...]",
        "    Return details about multiple commands.",
        "LIST",
        "    Return a list of all commands.",
        "HELP",
        "    Print this help.",
    };

    kv_reply_array(call->out, sizeof(lines) / sizeof(lines[0]));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        kv_reply_status(call->out, lines[i]);
}

#define COMMAND_FLAGS (KV_LOADING | KV_STALE)

const struct kv_command kv_command_subcommands[KV_NUM_COMMAND_SUBCOMMANDS] = {
    {"command|count", command_count, 2, COMMAND_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "2.8.13", "O(1)",
     "Get total number of commands", NULL, 0},
    {"command|docs", command_docs, -2, COMMAND_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "7.0.0",
     "O(N) where N is the number of commands to look up",
     "Get array of specific command "
     "documentation",
     NULL, 0},
    {"command|help", command_help, 2, COMMAND_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "5.0.0", "O(1)",
     "Show helpful text about the different subcommands", NULL, 0},
    {"command|info", command_info, -2, COMMAND_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "2.8.13",
     "O(N) where N is the number of commands to look up",
     "Get array of specific command details, or all when no argument is given.", NULL, 0},
    {"command|list", command_list, 2, COMMAND_FLAGS, 0, 0, 0, KV_GROUP_SERVER, "7.0.0",
     "O(N) where N is the total number of commands", "Get an array of command names", NULL, 0},
};
