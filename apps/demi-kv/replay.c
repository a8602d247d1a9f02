/* SPDX-License-Identifier: MIT */
/*
 * Reading the log of changes (journal.h) when the server starts.
 */
#include "journal.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/storage.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Pops outstanding. */
#define AHEAD 32

struct replay {
    struct kv_journal *journal;
    struct kv_db *db;
    char *group; /* bytes of the changes of one group, as far as they were read */
    size_t len, cap;
    uint64_t group_first; /* record that it begins with */
    uint64_t next;        /* record */
};

static bool append(struct replay *r, const char *bytes, size_t len)
{
    if (r->cap - r->len < len) {
        size_t cap = 2 * (r->len + len);
        char *larger = realloc(r->group, cap);
        if (!larger)
            return false;
        r->group = larger;
        r->cap = cap;
    }
    memcpy(r->group + r->len, bytes, len);
    r->len += len;
    return true;
}

static bool apply_change(struct kv_db *db, uint32_t what, struct kv_str key, struct kv_str value,
                         int64_t when_ms)
{
    const struct kv_value stored = {.bytes = value};

    switch (what) {
    case KV_CHANGE_SET:
        return kv_db_set(db, key, &stored, when_ms);
    case KV_CHANGE_APPEND:
        return kv_db_append(db, key, value) >= 0;
    case KV_CHANGE_EXPIRE:
        return kv_db_expire_at(db, key, when_ms);
    case KV_CHANGE_DELETE:
        kv_db_delete(db, key);
        return true;
    default:
        kv_db_flush(db);
        return true;
    }
}

/* Applies a whole group: 0, ENOMEM, or EBADMSG when that is none of ours. */
static int apply(struct replay *r)
{
    struct kv_change_head head;
    size_t at = 0;

    while (at < r->len) {
        if (r->len - at < sizeof(head))
            return EBADMSG;
        memcpy(&head, r->group + at, sizeof(head));
        at += sizeof(head);
        if (head.what >= KV_CHANGES || (uint64_t)head.key_len + head.value_len > r->len - at)
            return EBADMSG;
        struct kv_str key = {r->group + at, head.key_len};
        struct kv_str value = {r->group + at + head.key_len, head.value_len};
        if (!apply_change(r->db, head.what, key, value, head.when_ms))
            return ENOMEM;
        at += (size_t)head.key_len + head.value_len;
        while (kv_db_step(r->db)) { /* no memory of the past is kept waiting */
        }
    }
    r->len = 0;
    return 0;
}

/* Takes one record: 0, ENOMEM or EBADMSG. */
static int take(struct replay *r, const demi_sgarray_t *sga)
{
    const char *bytes = sga->sga_segs[0].sgaseg_buf;
    uint32_t len = sga->sga_segs[0].sgaseg_len;
    struct kv_record_head head;

    if (sga->sga_numsegs != 1 || len < sizeof(head))
        return EBADMSG;
    memcpy(&head, bytes, sizeof(head));
    if (head.magic != KV_JOURNAL_MAGIC)
        return EBADMSG;
    if (head.version != KV_JOURNAL_VERSION)
        return EPROTONOSUPPORT;
    if (!append(r, bytes + sizeof(head), len - sizeof(head)))
        return ENOMEM;
    r->journal->bytes += len;
    r->next++;
    if (!head.is_last)
        return 0;
    r->group_first = r->next;
    return apply(r);
}

/* Reads to the end, several records ahead. */
static int read_all(struct replay *r)
{
    demi_qtoken_t tokens[AHEAD];
    uint64_t issued = 0, done = 0;
    bool ended = false;
    int err = 0;

    while (!ended || done < issued) {
        demi_qresult_t qr;
        while (!ended && issued - done < AHEAD &&
               (err = demi_pop(&tokens[issued % AHEAD], r->journal->qd)) == 0)
            issued++;
        if (err == 0)
            err = demi_wait(&qr, tokens[done++ % AHEAD], NULL);
        if (err != 0)
            return err;
        if (qr.qr_opcode != DEMI_OPC_POP)
            return (int)qr.qr_ret; /* closing the log ends the other pops */
        if (qr.qr_value.sga.sga_numsegs == 0)
            ended = true;
        else
            err = take(r, &qr.qr_value.sga);
        demi_sgafree(&qr.qr_value.sga);
        if (err != 0)
            return err;
    }
    return 0;
}

/* Cuts off what is left of a group that was not written to its end: nobody was told of it. */
static int cut(struct replay *r)
{
    if (r->group_first == r->next)
        return 0;
    r->next = r->group_first;
    return demi_truncate(r->journal->qd, (int64_t)r->group_first);
}

static const char *why(int err)
{
    if (err == EIO)
        return "log: a record is damaged (see demi log verify)";
    if (err == EBADMSG)
        return "log: it is none of demi-kv";
    return "log: reading";
}

int kv_journal_replay(struct kv_journal *j, struct kv_db *db, const char **what_out)
{
    struct replay r = {.journal = j, .db = db};
    int64_t first, now_ms = db->now_ms;
    int err = demi_lseek(j->qd, 0, SEEK_DATA, &first);

    if (err == 0) {
        r.next = r.group_first = (uint64_t)first;
        db->now_ms = INT64_MIN; /* nothing is due */
        err = read_all(&r);
        db->now_ms = now_ms;
    }
    if (err == 0)
        err = cut(&r);
    j->records = r.next;
    free(r.group);
    *what_out = why(err);
    return err;
}
