/* SPDX-License-Identifier: MIT */
/*
 * How a command is found, checked and run (command.h).
 *
 * The search: a name of at most 16 letters is folded into two words, by which a small open hash
 * table is entered. Setting bit 5 makes a capital letter small and makes no other byte a letter.
 */
#include "command.h"

#include "numbers.h"

#include <stdio.h>
#include <strings.h>

#define NAME_CHARS  16
#define INDEX_SIZE  256 /* a power of two, more than twice the commands */
#define FOLD        UINT64_C(0x2020202020202020)
#define ARGS_CHARS  128 /* of an unknown command's arguments that its error repeats */
#define INDEX_SHIFT 56  /* leaves the top bits: log2(INDEX_SIZE) */

struct name_key {
    uint64_t low, high;
};

static struct {
    struct name_key key;
    const struct kv_command *command;
} name_index[INDEX_SIZE];

/* Folds a name of 1 to NAME_CHARS bytes; never reads beyond it. */
static inline struct name_key fold_name(const char *p, uint32_t len)
{
    struct name_key key = {0, 0};
    uint32_t a, b;

    if (len >= 8) {
        memcpy(&key.low, p, 8);
        memcpy(&key.high, p + len - 8, 8);
    } else if (len >= 4) {
        memcpy(&a, p, 4);
        memcpy(&b, p + len - 4, 4);
        key.low = a;
        key.high = b;
    } else {
        key.low = (unsigned char)p[0] | (uint64_t)(unsigned char)p[len / 2] << 8 |
                  (uint64_t)(unsigned char)p[len - 1] << 16;
    }
    key.low |= FOLD;
    key.high = (key.high | FOLD) + len;
    return key;
}

static inline unsigned index_of(struct name_key key)
{
    return (unsigned)((key.low ^ key.high * 31) * UINT64_C(0x9e3779b97f4a7c15) >> INDEX_SHIFT);
}

void kv_commands_init(void)
{
    memset(name_index, 0, sizeof(name_index));
    for (unsigned i = 0; i < kv_num_commands; i++) {
        const struct kv_command *command = &kv_commands[i];
        struct name_key key = fold_name(command->name, (uint32_t)strlen(command->name));
        unsigned at = index_of(key);
        while (name_index[at].command)
            at = (at + 1) % INDEX_SIZE;
        name_index[at].key = key;
        name_index[at].command = command;
    }
}

const struct kv_command *kv_command_find(struct kv_str name)
{
    struct name_key key;

    if (name.len == 0 || name.len > NAME_CHARS)
        return NULL;
    key = fold_name(name.p, name.len);
    for (unsigned at = index_of(key); name_index[at].command; at = (at + 1) % INDEX_SIZE)
        if (name_index[at].key.low == key.low && name_index[at].key.high == key.high)
            return name_index[at].command;
    return NULL;
}

const struct kv_command *kv_subcommand_find(const struct kv_command *command, struct kv_str name)
{
    size_t prefix = strlen(command->name) + 1;

    for (unsigned i = 0; i < command->num_subcommands; i++)
        if (kv_str_is(name, command->subcommands[i].name + prefix))
            return &command->subcommands[i];
    return NULL;
}

/* ---- arguments ---------------------------------------------------------------------------- */

struct kv_value kv_arg_value(const struct kv_call *call, uint32_t i)
{
    return (struct kv_value){
        .bytes = kv_arg(call, i), .sga = call->sga, .received = call->received};
}

bool kv_str_is(struct kv_str bytes, const char *word)
{
    return strncasecmp(bytes.p, word, bytes.len) == 0 && word[bytes.len] == '\0';
}

bool kv_arg_is(const struct kv_call *call, uint32_t i, const char *word)
{
    struct kv_str arg = kv_arg(call, i);

    return arg.len == strlen(word) && kv_str_is(arg, word);
}

bool kv_arg_int(const struct kv_call *call, uint32_t i, int64_t *out)
{
    struct kv_str arg = kv_arg(call, i);

    if (kv_parse_i64(arg.p, arg.len, out))
        return true;
    kv_reply_not_integer(call->out);
    return false;
}

/* ---- running ------------------------------------------------------------------------------ */

static void reply_unknown(const struct kv_call *call)
{
    char args[2 * ARGS_CHARS] = "";
    struct kv_str name = kv_arg(call, 0);
    int used = 0;

    for (uint32_t i = 1; i < call->argc && used < ARGS_CHARS; i++) {
        struct kv_str arg = kv_arg(call, i);
        int room = ARGS_CHARS - used, len = arg.len < (uint32_t)room ? (int)arg.len : room;
        used += snprintf(args + used, sizeof(args) - (size_t)used, "'%.*s' ", len, arg.p);
    }
    kv_reply_error(call->out, "ERR unknown command '%.*s', with args beginning with: %s",
                   name.len < ARGS_CHARS ? (int)name.len : ARGS_CHARS, name.p, args);
}

static void reply_unknown_subcommand(const struct kv_call *call)
{
    struct kv_str name = kv_arg(call, 1);
    char upper[NAME_CHARS + 1] = "";

    for (unsigned i = 0; i < NAME_CHARS && call->command->name[i]; i++)
        upper[i] = (char)(call->command->name[i] & ~0x20);
    kv_reply_error(call->out, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                   name.len < ARGS_CHARS ? (int)name.len : ARGS_CHARS, name.p, upper);
}

static bool arity_allows(const struct kv_command *command, uint32_t argc)
{
    return command->arity >= 0 ? argc == (uint32_t)command->arity
                               : argc >= (uint32_t)-command->arity;
}

static bool over_memory_limit(const struct kv_server *server)
{
    return server->config->max_memory > 0 && kv_db_bytes(&server->db) > server->config->max_memory;
}

/* Checks a command that was found; false after the error reply. */
static bool check(const struct kv_call *call)
{
    const struct kv_command *command = call->command;

    if (!arity_allows(command, call->argc)) {
        kv_reply_error(call->out, "ERR wrong number of arguments for '%s' command", command->name);
        return false;
    }
    if (command->flags & KV_DENYOOM && over_memory_limit(call->server)) {
        kv_reply_literal(call->out, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
        return false;
    }
    return true;
}

/* Replaces a command that has subcommands by the one meant; false after the error reply. */
static bool choose_subcommand(struct kv_call *call)
{
    const struct kv_command *sub;

    if (!call->command->subcommands || call->argc < 2)
        return true;
    sub = kv_subcommand_find(call->command, kv_arg(call, 1));
    if (!sub) {
        reply_unknown_subcommand(call);
        return false;
    }
    call->command = sub;
    return true;
}

/* Runs a command whose answer waits for what it changes. */
static void change(struct kv_call *call)
{
    struct kv_server *server = call->server;

    server->is_changing = true;
    call->command->handler(call);
    server->is_changing = false;
    kv_answers_settle(&server->answers, kv_journal_group(&server->journal));
}

void kv_command_run(struct kv_call *call)
{
    call->server->stats.commands++;
    call->command = kv_command_find(kv_arg(call, 0));
    if (!call->command) {
        reply_unknown(call);
        return;
    }
    if (!choose_subcommand(call) || !check(call))
        return;
    call->client->last = call->command;
    if (call->server->journal.qd >= 0 && call->command->flags & KV_WRITE)
        change(call);
    else
        call->command->handler(call);
}
