/* SPDX-License-Identifier: MIT */
/*
 * Commands: what there is, and how one is run.
 *
 * A handler answers with exactly one reply. It is called with an argument count that its arity
 * allows. Arguments are good while it runs.
 */
#ifndef KV_COMMAND_H
#define KV_COMMAND_H

#include "client.h"
#include "reply.h"
#include "resp.h"
#include "server.h"

struct kv_call {
    struct kv_server *server;
    struct kv_client *client;
    struct kv_out *out;
    const struct kv_command *command;
    uint32_t argc;
    const struct resp_arg *argv;
    char *base;                /* what offsets of arguments are relative to */
    const demi_sgarray_t *sga; /* what base lies in, when it was just received; or NULL */
    uint32_t received;         /* bytes received with it */
};

typedef void (*kv_handler)(struct kv_call *call);

enum kv_command_flags {
    KV_WRITE = 1 << 0,
    KV_READONLY = 1 << 1,
    KV_DENYOOM = 1 << 2, /* refused beyond the memory limit */
    KV_ADMIN = 1 << 3,
    KV_FAST = 1 << 4,
    KV_LOADING = 1 << 5,
    KV_STALE = 1 << 6,
    KV_NOSCRIPT = 1 << 7,
};

enum kv_group { KV_GROUP_STRING, KV_GROUP_GENERIC, KV_GROUP_CONNECTION, KV_GROUP_SERVER };

struct kv_command {
    const char *name;   /* lower case; of a subcommand "command|name" */
    kv_handler handler; /* NULL: only its subcommands do something */
    int8_t arity;       /* arguments with the name; negative: at least */
    uint16_t flags;
    int8_t first_key, last_key, key_step; /* places of keys; last -1: to the end */
    uint8_t group;
    const char *since;
    const char *complexity;
    const char *summary;
    const struct kv_command *subcommands; /* or NULL */
    unsigned num_subcommands;
};

extern const struct kv_command kv_commands[];
extern const unsigned kv_num_commands;

/* Prepares the search by name. To be called once, before the others. */
void kv_commands_init(void);

/* Finds a command by name, in any case; NULL when there is none. */
const struct kv_command *kv_command_find(struct kv_str name);

/* Runs one command: finds it, checks it, calls its handler. argc > 0. */
void kv_command_run(struct kv_call *call);

/* Finds a subcommand; NULL when there is none. */
const struct kv_command *kv_subcommand_find(const struct kv_command *command, struct kv_str name);

static inline struct kv_str kv_arg(const struct kv_call *call, uint32_t i)
{
    const struct resp_arg *arg = &call->argv[i];

    return (struct kv_str){call->base + arg->off, arg->len};
}

/* An argument as a value to store. */
struct kv_value kv_arg_value(const struct kv_call *call, uint32_t i);

/* Whether these bytes are this word, in any case. */
bool kv_str_is(struct kv_str bytes, const char *word);

/* Whether an argument is this word, in any case. */
bool kv_arg_is(const struct kv_call *call, uint32_t i, const char *word);

/* Reads an integer argument; false after the error reply. */
bool kv_arg_int(const struct kv_call *call, uint32_t i, int64_t *out);

#endif /* KV_COMMAND_H */
