/* SPDX-License-Identifier: MIT */
/*
 * The table of commands: name, handler, arity, flags, keys (first, last, step), group, since,
 * complexity, summary. Names, flags and words are those of Redis 7.0, so that clients that ask
 * (COMMAND, COMMAND DOCS) behave as they are used to.
 */
#include "handlers.h"

#define READ     (KV_READONLY)
#define FAST     (KV_READONLY | KV_FAST)
#define STORE    (KV_WRITE | KV_DENYOOM)
#define STOREF   (KV_WRITE | KV_DENYOOM | KV_FAST)
#define CHANGE   (KV_WRITE | KV_FAST)
#define ALWAYS   (KV_LOADING | KV_STALE)
#define GREETING (KV_NOSCRIPT | KV_LOADING | KV_STALE | KV_FAST)

#define STRING  KV_GROUP_STRING
#define GENERIC KV_GROUP_GENERIC
#define CONNECT KV_GROUP_CONNECTION
#define SERVER  KV_GROUP_SERVER

#define ONE_KEY   1, 1, 1
#define ALL_KEYS  1, -1, 1
#define ALL_PAIRS 1, -1, 2
#define NO_KEYS   0, 0, 0
#define NO_SUBS   NULL, 0

/* clang-format off */
const struct kv_command kv_commands[] = {
    {"append", kv_cmd_append, 3, STOREF, ONE_KEY, STRING, "2.0.0", "O(1)",
     "Append a value to a key", NO_SUBS},
    {"bgrewriteaof", kv_cmd_bgrewriteaof, 1, KV_ADMIN | KV_NOSCRIPT, NO_KEYS, SERVER, "1.0.0",
     "O(1)", "Rewrite the log of changes in the background", NO_SUBS},
    {"client", NULL, -2, 0, NO_KEYS, CONNECT, "2.4.0", "Depends on subcommand.",
     "A container for client connection commands", kv_client_subcommands,
     KV_NUM_CLIENT_SUBCOMMANDS},
    {"command", kv_cmd_command, -1, ALWAYS, NO_KEYS, SERVER, "2.8.13",
     "O(N) where N is the total number of commands", "Get array of command details",
     kv_command_subcommands, KV_NUM_COMMAND_SUBCOMMANDS},
    {"config", NULL, -2, 0, NO_KEYS, SERVER, "2.0.0", "Depends on subcommand.",
     "A container for server configuration commands", kv_config_subcommands,
     KV_NUM_CONFIG_SUBCOMMANDS},
    {"dbsize", kv_cmd_dbsize, 1, FAST, NO_KEYS, SERVER, "1.0.0", "O(1)",
     "Return the number of keys in the selected database", NO_SUBS},
    {"decr", kv_cmd_decr, 2, STOREF, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Decrement the integer value of a key by one", NO_SUBS},
    {"decrby", kv_cmd_decrby, 3, STOREF, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Decrement the integer value of a key by the given number", NO_SUBS},
    {"del", kv_cmd_del, -2, KV_WRITE, ALL_KEYS, GENERIC, "1.0.0",
     "O(N) where N is the number of keys that will be removed.", "Delete a key", NO_SUBS},
    {"echo", kv_cmd_echo, 2, KV_FAST, NO_KEYS, CONNECT, "1.0.0", "O(1)", "Echo the given string",
     NO_SUBS},
    {"exists", kv_cmd_exists, -2, FAST, ALL_KEYS, GENERIC, "1.0.0",
     "O(N) where N is the number of keys to check.", "Determine if a key exists", NO_SUBS},
    {"expire", kv_cmd_expire, -3, CHANGE, ONE_KEY, GENERIC, "1.0.0", "O(1)",
     "Set a key's time to live in seconds", NO_SUBS},
    {"expireat", kv_cmd_expireat, -3, CHANGE, ONE_KEY, GENERIC, "1.2.0", "O(1)",
     "Set the expiration for a key as a UNIX timestamp", NO_SUBS},
    {"expiretime", kv_cmd_expiretime, 2, FAST, ONE_KEY, GENERIC, "7.0.0", "O(1)",
     "Get the expiration Unix timestamp for a key", NO_SUBS},
    {"flushall", kv_cmd_flush, -1, KV_WRITE, NO_KEYS, SERVER, "1.0.0", "O(1)",
     "Remove all keys from all databases", NO_SUBS},
    {"flushdb", kv_cmd_flush, -1, KV_WRITE, NO_KEYS, SERVER, "1.0.0", "O(1)",
     "Remove all keys from the current database", NO_SUBS},
    {"get", kv_cmd_get, 2, FAST, ONE_KEY, STRING, "1.0.0", "O(1)", "Get the value of a key",
     NO_SUBS},
    {"getdel", kv_cmd_getdel, 2, CHANGE, ONE_KEY, STRING, "6.2.0", "O(1)",
     "Get the value of a key and delete the key", NO_SUBS},
    {"getex", kv_cmd_getex, -2, CHANGE, ONE_KEY, STRING, "6.2.0", "O(1)",
     "Get the value of a key and optionally set its expiration", NO_SUBS},
    {"getset", kv_cmd_getset, 3, STOREF, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Set the string value of a key and return its old value", NO_SUBS},
    {"hello", kv_cmd_hello, -1, GREETING, NO_KEYS, CONNECT, "6.0.0", "O(1)",
     "Handshake with Redis", NO_SUBS},
    {"incr", kv_cmd_incr, 2, STOREF, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Increment the integer value of a key by one", NO_SUBS},
    {"incrby", kv_cmd_incrby, 3, STOREF, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Increment the integer value of a key by the given amount", NO_SUBS},
    {"info", kv_cmd_info, -1, ALWAYS, NO_KEYS, SERVER, "1.0.0", "O(1)",
     "Get information and statistics about the server", NO_SUBS},
    {"keys", kv_cmd_keys, 2, READ, NO_KEYS, GENERIC, "1.0.0",
     "O(N) with N being the number of keys in the database",
     "Find all keys matching the given pattern", NO_SUBS},
    {"mget", kv_cmd_mget, -2, FAST, ALL_KEYS, STRING, "1.0.0",
     "O(N) where N is the number of keys to retrieve.", "Get the values of all the given keys",
     NO_SUBS},
    {"mset", kv_cmd_mset, -3, STORE, ALL_PAIRS, STRING, "1.0.1",
     "O(N) where N is the number of keys to set.", "Set multiple keys to multiple values",
     NO_SUBS},
    {"msetnx", kv_cmd_msetnx, -3, STORE, ALL_PAIRS, STRING, "1.0.1",
     "O(N) where N is the number of keys to set.",
     "Set multiple keys to multiple values, only if none of the keys exist", NO_SUBS},
    {"persist", kv_cmd_persist, 2, CHANGE, ONE_KEY, GENERIC, "2.2.0", "O(1)",
     "Remove the expiration from a key", NO_SUBS},
    {"pexpire", kv_cmd_pexpire, -3, CHANGE, ONE_KEY, GENERIC, "2.6.0", "O(1)",
     "Set a key's time to live in milliseconds", NO_SUBS},
    {"pexpireat", kv_cmd_pexpireat, -3, CHANGE, ONE_KEY, GENERIC, "2.6.0", "O(1)",
     "Set the expiration for a key as a UNIX timestamp specified in milliseconds", NO_SUBS},
    {"pexpiretime", kv_cmd_pexpiretime, 2, FAST, ONE_KEY, GENERIC, "7.0.0", "O(1)",
     "Get the expiration Unix timestamp for a key in milliseconds", NO_SUBS},
    {"ping", kv_cmd_ping, -1, KV_FAST, NO_KEYS, CONNECT, "1.0.0", "O(1)", "Ping the server",
     NO_SUBS},
    {"psetex", kv_cmd_psetex, 4, STORE, ONE_KEY, STRING, "2.6.0", "O(1)",
     "Set the value and expiration in milliseconds of a key", NO_SUBS},
    {"pttl", kv_cmd_pttl, 2, FAST, ONE_KEY, GENERIC, "2.6.0", "O(1)",
     "Get the time to live for a key in milliseconds", NO_SUBS},
    {"quit", kv_cmd_quit, -1, GREETING, NO_KEYS, CONNECT, "1.0.0", "O(1)",
     "Close the connection", NO_SUBS},
    {"reset", kv_cmd_reset, 1, GREETING, NO_KEYS, CONNECT, "6.2.0", "O(1)",
     "Reset the connection", NO_SUBS},
    {"scan", kv_cmd_scan, -2, READ, NO_KEYS, GENERIC, "2.8.0",
     "O(1) for every call. O(N) for a complete iteration.",
     "Incrementally iterate the keys space", NO_SUBS},
    {"select", kv_cmd_select, 2, ALWAYS | KV_FAST, NO_KEYS, CONNECT, "1.0.0", "O(1)",
     "Change the selected database for the current connection", NO_SUBS},
    {"set", kv_cmd_set, -3, STORE, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Set the string value of a key", NO_SUBS},
    {"setex", kv_cmd_setex, 4, STORE, ONE_KEY, STRING, "2.0.0", "O(1)",
     "Set the value and expiration of a key", NO_SUBS},
    {"setnx", kv_cmd_setnx, 3, STOREF, ONE_KEY, STRING, "1.0.0", "O(1)",
     "Set the value of a key, only if the key does not exist", NO_SUBS},
    {"strlen", kv_cmd_strlen, 2, FAST, ONE_KEY, STRING, "2.2.0", "O(1)",
     "Get the length of the value stored in a key", NO_SUBS},
    {"time", kv_cmd_time, 1, ALWAYS | KV_FAST, NO_KEYS, SERVER, "2.6.0", "O(1)",
     "Return the current server time", NO_SUBS},
    {"touch", kv_cmd_exists, -2, FAST, ALL_KEYS, GENERIC, "3.2.1",
     "O(N) where N is the number of keys that will be touched.",
     "Alters the last access time of a key(s). Returns the number of existing keys specified.",
     NO_SUBS},
    {"ttl", kv_cmd_ttl, 2, FAST, ONE_KEY, GENERIC, "1.0.0", "O(1)",
     "Get the time to live for a key in seconds", NO_SUBS},
    {"type", kv_cmd_type, 2, FAST, ONE_KEY, GENERIC, "1.0.0", "O(1)",
     "Determine the type stored at key", NO_SUBS},
    {"unlink", kv_cmd_del, -2, CHANGE, ALL_KEYS, GENERIC, "4.0.0",
     "O(1) for each key removed regardless of its size.",
     "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non "
     "blocking.",
     NO_SUBS},
};
/* clang-format on */

const unsigned kv_num_commands = sizeof(kv_commands) / sizeof(kv_commands[0]);
