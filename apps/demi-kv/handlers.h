/* SPDX-License-Identifier: MIT */
/*
 * Every command handler and table of subcommands, for the table of commands. The handlers of a
 * family stand in cmd_<family>.c.
 */
#ifndef KV_HANDLERS_H
#define KV_HANDLERS_H

#include "command.h"

/* cmd_set.c */
void kv_cmd_set(struct kv_call *call);
void kv_cmd_setnx(struct kv_call *call);
void kv_cmd_setex(struct kv_call *call);
void kv_cmd_psetex(struct kv_call *call);
void kv_cmd_getset(struct kv_call *call);
void kv_cmd_mset(struct kv_call *call);
void kv_cmd_msetnx(struct kv_call *call);
void kv_cmd_append(struct kv_call *call);

/* cmd_get.c */
void kv_cmd_get(struct kv_call *call);
void kv_cmd_getdel(struct kv_call *call);
void kv_cmd_getex(struct kv_call *call);
void kv_cmd_mget(struct kv_call *call);
void kv_cmd_strlen(struct kv_call *call);

/* cmd_counter.c */
void kv_cmd_incr(struct kv_call *call);
void kv_cmd_decr(struct kv_call *call);
void kv_cmd_incrby(struct kv_call *call);
void kv_cmd_decrby(struct kv_call *call);

/* cmd_key.c */
void kv_cmd_del(struct kv_call *call);
void kv_cmd_exists(struct kv_call *call);
void kv_cmd_type(struct kv_call *call);
void kv_cmd_scan(struct kv_call *call);
void kv_cmd_keys(struct kv_call *call);

/* cmd_expire.c */
void kv_cmd_expire(struct kv_call *call);
void kv_cmd_pexpire(struct kv_call *call);
void kv_cmd_expireat(struct kv_call *call);
void kv_cmd_pexpireat(struct kv_call *call);
void kv_cmd_ttl(struct kv_call *call);
void kv_cmd_pttl(struct kv_call *call);
void kv_cmd_expiretime(struct kv_call *call);
void kv_cmd_pexpiretime(struct kv_call *call);
void kv_cmd_persist(struct kv_call *call);

/* cmd_connection.c */
void kv_cmd_ping(struct kv_call *call);
void kv_cmd_echo(struct kv_call *call);
void kv_cmd_select(struct kv_call *call);
void kv_cmd_hello(struct kv_call *call);
void kv_cmd_quit(struct kv_call *call);
void kv_cmd_reset(struct kv_call *call);

/* cmd_client.c */
/*
 * Makes *text a copy of argument i, or NULL when that is empty. false after the error reply: only
 * visible ASCII but the blank is allowed, or "<what> cannot contain ..." is answered.
 */
bool kv_client_set_text(const struct kv_call *call, uint32_t i, char **text, const char *what);
extern const struct kv_command kv_client_subcommands[];
#define KV_NUM_CLIENT_SUBCOMMANDS 8

/* cmd_server.c */
void kv_cmd_bgrewriteaof(struct kv_call *call);
void kv_cmd_dbsize(struct kv_call *call);
void kv_cmd_flush(struct kv_call *call);
void kv_cmd_time(struct kv_call *call);

/* cmd_info.c */
void kv_cmd_info(struct kv_call *call);

/* cmd_config.c */
extern const struct kv_command kv_config_subcommands[];
#define KV_NUM_CONFIG_SUBCOMMANDS 5

/* cmd_command.c */
void kv_cmd_command(struct kv_call *call);
extern const struct kv_command kv_command_subcommands[];
#define KV_NUM_COMMAND_SUBCOMMANDS 5

#endif /* KV_HANDLERS_H */
