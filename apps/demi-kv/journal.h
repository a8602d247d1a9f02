/* SPDX-License-Identifier: MIT */
/*
 * The log of changes (--log): every change of the keyspace is on stable storage before the command
 * that made it, or one that may have seen it, is answered.
 *
 * A *group* is what all clients changed since the last one was sent: several records of the log
 * when it is large. Groups are numbered from 1 on, and take effect whole or not at all: the last
 * record says that it is the last, and what is left of a group without one is cut off at the start.
 * One group is on its way at a time, and the next one goes when all that is ready has been run: so
 * what a write costs is shared by all who wait for it (pace.h).
 *
 *     record:  magic "DKVJ" | version | last? | 0     then bytes of the group's changes
 *     change:  struct kv_change_head, key, value      (little-endian)
 *
 * A change says what becomes of a key, not how: SET is the whole value, and when it expires. Only
 * APPEND builds on what is there. Time does not pass while a log is replayed; what is due then goes
 * afterwards.
 *
 * The log is rewritten while the server works: the keyspace is walked, and each entry is written
 * as a SET among the changes that go on; then everything before the first of these is dropped. What
 * was written of an entry holds for the place where it stands, so nothing needs to stand still.
 */
#ifndef KV_JOURNAL_H
#define KV_JOURNAL_H

#include "db.h"

struct kv_journal_chunk;

enum kv_rewrite { KV_REWRITE_NONE, KV_REWRITE_WALKS, KV_REWRITE_WAITS };

struct kv_journal {
    int qd;                                /* -1: there is none */
    int error;                             /* not 0: what was changed cannot be kept */
    struct kv_journal_chunk *first, *last; /* of the group that is being made */
    uint64_t sent, acked;                  /* groups */
    uint64_t records;                      /* number of the next one */
    uint64_t records_acked;
    uint64_t end;    /* of the group that was sent: one past its last record */
    uint64_t bytes;  /* of the records that are kept */
    uint64_t unsent; /* bytes of the group that is being made */
    uint32_t turns;  /* for which it could have been sent, and was not */

    enum kv_rewrite rewrite;
    uint64_t cursor;     /* WALKS: of kv_dict_scan */
    uint64_t from;       /* first record that the rewritten log needs */
    uint64_t from_bytes; /* bytes when the walk began */
    uint64_t until;      /* WAITS: group after which the others go */
    uint64_t rewrites;
};

/*
 * Opens the log, made at need, and replays it into db: 0 or a positive errno, and what failed in
 * *what_out. Changes of db are written from then on.
 */
int kv_journal_open(struct kv_journal *j, const char *path, struct kv_db *db,
                    const char **what_out);
void kv_journal_close(struct kv_journal *j);

/* The group that an answer given now has to wait for; acknowledged already: it need not. What was
 * changed when the log failed is in no group: its answer waits for one that never is. */
static inline uint64_t kv_journal_group(const struct kv_journal *j)
{
    return j->sent + (j->first != NULL || j->error != 0);
}

static inline bool kv_journal_is_acked(const struct kv_journal *j, uint64_t group)
{
    return group <= j->acked;
}

static inline bool kv_journal_is_on_way(const struct kv_journal *j)
{
    return j->sent != j->acked;
}

/* Sends the group that was made, if there is one and none is on its way. */
void kv_journal_flush(struct kv_journal *j);

/* Whether that would send one. */
static inline bool kv_journal_may_send(const struct kv_journal *j)
{
    return j->first != NULL && !kv_journal_is_on_way(j);
}

/* Does so unless more may join it soon: some commands were ready (not idle) and have been run, and
 * it is neither large nor old. Whether a group was sent. */
bool kv_journal_offer(struct kv_journal *j, bool idle);

/* Results of the queue: a push ended, with 0 or a positive errno. */
void kv_journal_pushed(struct kv_journal *j, int error);

/* Begins to rewrite the log, unless that is under way. */
void kv_journal_rewrite(struct kv_journal *j);

/* Does a bounded piece of that, and begins it when the log is large (min_bytes) and mostly of the
 * past; whether more can be done at once. */
bool kv_journal_step(struct kv_journal *j, struct kv_db *db, uint64_t min_bytes);

/* One change, of the group that is being made. */
void kv_journal_put(struct kv_journal *j, enum kv_change what, struct kv_str key,
                    struct kv_str value, int64_t when_ms);

/* replay.c. Reads the log into db: as kv_journal_open. */
int kv_journal_replay(struct kv_journal *j, struct kv_db *db, const char **what_out);

/* The format. */
#define KV_JOURNAL_MAGIC   0x4a564b44u /* "DKVJ" */
#define KV_JOURNAL_VERSION 1

struct kv_record_head {
    uint32_t magic;
    uint8_t version;
    uint8_t is_last;
    uint16_t zero;
};

struct kv_change_head {
    uint32_t what; /* enum kv_change */
    uint32_t key_len;
    uint32_t value_len;
    uint32_t zero;
    int64_t when_ms;
};

#endif /* KV_JOURNAL_H */
