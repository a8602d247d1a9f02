/* SPDX-License-Identifier: MIT */
/*
 * INFO: the server described in sections of "name:value" lines, under the names that tools know.
 */
#include "handlers.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <demi/admin.h>

typedef unsigned long long ull;

static void put_server(FILE *f, const struct kv_server *s)
{
    ull uptime = (ull)(s->db.now_ms - s->start_ms) / 1000;
    struct utsname os;

    uname(&os);
    fprintf(f, "redis_version:%s\r\nserver_name:demi-kv\r\ndemikernel_version:%s\r\n",
            KV_REDIS_VERSION, demi_version());
    fprintf(f, "redis_mode:standalone\r\nos:%s %s %s\r\narch_bits:%u\r\n", os.sysname, os.release,
            os.machine, (unsigned)sizeof(void *) * 8);
    fprintf(f, "process_id:%d\r\ntcp_port:%u\r\nserver_time_usec:%llu\r\n", getpid(),
            s->config->port, (ull)s->db.now_ms * 1000);
    fprintf(f, "uptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\n", uptime, uptime / 86400);
}

static void put_clients(FILE *f, const struct kv_server *s)
{
    fprintf(f, "connected_clients:%u\r\nmaxclients:%u\r\nblocked_clients:0\r\n", s->num_clients,
            s->config->max_clients);
}

/* Resident bytes of the process, 0 when unknown. */
static ull resident_bytes(void)
{
    ull size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (ull)sysconf(_SC_PAGESIZE);
}

static void put_memory(FILE *f, const struct kv_server *s)
{
    fprintf(f, "used_memory:%llu\r\nused_memory_dataset:%llu\r\nused_memory_rss:%llu\r\n",
            (ull)kv_db_bytes(&s->db), (ull)s->db.entry_bytes, resident_bytes());
    fprintf(f, "maxmemory:%llu\r\nmaxmemory_policy:noeviction\r\nlazyfree_pending_objects:%d\r\n",
            (ull)s->config->max_memory, s->db.dead != NULL);
}

static void put_persistence(FILE *f, const struct kv_server *s)
{
    const struct kv_journal *j = &s->journal;

    fprintf(f,
            "loading:0\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\n"
            "aof_enabled:%d\r\naof_rewrite_in_progress:%d\r\n",
            j->qd >= 0, j->rewrite != KV_REWRITE_NONE);
    if (j->qd >= 0)
        fprintf(f, "aof_rewrites:%llu\r\naof_current_size:%llu\r\n", (ull)j->rewrites,
                (ull)j->bytes);
}

static void put_stats(FILE *f, const struct kv_server *s)
{
    const struct kv_stats *t = &s->stats;

    fprintf(f, "total_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n",
            (ull)t->connections, (ull)t->commands);
    fprintf(f, "total_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\n", (ull)t->bytes_in,
            (ull)s->out.bytes);
    fprintf(f, "rejected_connections:%llu\r\nclient_output_backpressure:%llu\r\n", (ull)t->rejected,
            (ull)t->blocked);
    fprintf(f, "expired_keys:%llu\r\nevicted_keys:0\r\nkeyspace_hits:%llu\r\n", (ull)s->db.expired,
            (ull)s->db.hits);
    fprintf(f, "keyspace_misses:%llu\r\n", (ull)s->db.misses);
}

static void put_replication(FILE *f, const struct kv_server *s)
{
    (void)s;
    fprintf(f, "role:master\r\nconnected_slaves:0\r\n");
}

static void put_cpu(FILE *f, const struct kv_server *s)
{
    struct rusage u;

    (void)s;
    getrusage(RUSAGE_SELF, &u);
    fprintf(f, "used_cpu_sys:%lld.%06lld\r\nused_cpu_user:%lld.%06lld\r\n",
            (long long)u.ru_stime.tv_sec, (long long)u.ru_stime.tv_usec,
            (long long)u.ru_utime.tv_sec, (long long)u.ru_utime.tv_usec);
}

static void put_cluster(FILE *f, const struct kv_server *s)
{
    (void)s;
    fprintf(f, "cluster_enabled:0\r\n");
}

static void put_keyspace(FILE *f, const struct kv_server *s)
{
    if (s->db.dict.count > 0)
        fprintf(f, "db0:keys=%llu,expires=%u,avg_ttl=0\r\n", (ull)s->db.dict.count,
                s->db.expiry.count);
}

static const struct {
    const char *name;
    const char *title;
    void (*put)(FILE *f, const struct kv_server *s);
} sections[] = {
    {"server", "Server", put_server},
    {"clients", "Clients", put_clients},
    {"memory", "Memory", put_memory},
    {"persistence", "Persistence", put_persistence},
    {"stats", "Stats", put_stats},
    {"replication", "Replication", put_replication},
    {"cpu", "CPU", put_cpu},
    {"cluster", "Cluster", put_cluster},
    {"keyspace", "Keyspace", put_keyspace},
};

/* Whether the arguments ask for a section, by its name or by a word for many. */
static bool asked_for(const struct kv_call *call, const char *name)
{
    for (uint32_t i = 1; i < call->argc; i++)
        if (kv_arg_is(call, i, name) || kv_arg_is(call, i, "default") ||
            kv_arg_is(call, i, "all") || kv_arg_is(call, i, "everything"))
            return true;
    return call->argc == 1;
}

static void put_sections(FILE *f, const struct kv_call *call)
{
    bool first = true;

    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (!asked_for(call, sections[i].name))
            continue;
        fprintf(f, "%s# %s\r\n", first ? "" : "\r\n", sections[i].title);
        sections[i].put(f, call->server);
        first = false;
    }
}

void kv_cmd_info(struct kv_call *call)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (f)
        put_sections(f, call);
    if (f && fclose(f) == 0)
        kv_reply_verbatim(call->out, (struct kv_str){text, (uint32_t)len});
    else
        kv_reply_no_memory(call->out);
    free(text);
}
