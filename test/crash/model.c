/* SPDX-License-Identifier: MIT */
/* What a store may hold after a crash. */
#include "crash.h"

#include <errno.h>
#include <string.h>

uint32_t record_segment_len(const struct model_record *r, uint32_t i)
{
    uint32_t each = r->len / r->num_segs;
    return i + 1 < r->num_segs ? each : r->len - each * (r->num_segs - 1);
}

void record_fill(const struct model_record *r, uint32_t i, uint8_t *at)
{
    uint64_t state = r->seed * 8 + i;
    uint32_t len = record_segment_len(r, i);
    for (uint32_t n = 0; n < len; n += 8) {
        uint64_t word = dk_random_splitmix(&state);
        memcpy(at + n, &word, len - n < 8 ? len - n : 8);
    }
}

struct reading {
    struct dk_log_read read;
    bool is_done;
    int result;
};

static void read_done(struct dk_log_read *read, int result)
{
    struct reading *r = read->arg;
    r->is_done = true;
    r->result = result;
}

static int read_record(struct dk_store *store, struct dk_log *log, struct reading *r,
                       uint64_t record)
{
    *r = (struct reading){.read = {.record = record, .done = read_done, .arg = r}};
    dk_log_read(log, &r->read);
    for (int i = 0; i < 100000 && !r->is_done; i++)
        dk_store_poll(store, 0);
    return r->is_done ? r->result : -1000;
}

/* Whether what was read is the record; lets go of it. */
static bool is_record(struct reading *r, const struct model_record *expected)
{
    static uint8_t bytes[1 << 17];
    bool same = r->read.num_segs == expected->num_segs;
    for (uint32_t i = 0; i < r->read.num_segs; i++) {
        struct dk_buf *buf = r->read.bufs[i];
        uint32_t len = same ? record_segment_len(expected, i) : 0;
        if (same && len > 0)
            record_fill(expected, i, bytes);
        same = same && (buf ? dk_buf_bytes(buf) : 0) == len &&
               (len == 0 || memcmp(buf->data, bytes, len) == 0);
        if (buf)
            dk_buf_put(buf);
    }
    return same;
}

static const char *check_records(const struct model_log *m, struct dk_store *store,
                                 struct dk_log *log, const struct dk_log_info *info)
{
    static char what[200];
    for (uint64_t i = info->first; i < info->end; i++) {
        struct reading r;
        int ret = read_record(store, log, &r, i);
        bool same = ret == 0 && is_record(&r, &m->records[i]);
        if (same)
            continue;
        snprintf(what, sizeof(what), "record %llu of log %s: read %d%s (it has %llu to %llu)",
                 (unsigned long long)i, m->name, ret, ret == 0 ? ", and it is another" : "",
                 (unsigned long long)info->first, (unsigned long long)info->end);
        return what;
    }
    return NULL;
}

static bool bounds_allowed(const struct model_log *m, const struct dk_log_info *info)
{
    if (m->may_be_empty && info->first == 0 && info->end == 0)
        return true;
    bool end = (info->end >= m->must && info->end <= m->may) || info->end == m->other_end;
    return end && (info->first == m->first || info->first == m->other_first);
}

static const char *check_log(const struct model_log *m, struct dk_store *store)
{
    static char what[200];
    struct dk_log *log;
    struct dk_log_info info;
    int ret = dk_log_open(&log, store, m->name, 0);
    if (ret != 0 && (ret != -ENOENT || m->exists == THERE)) {
        snprintf(what, sizeof(what), "log %s is not there: %d", m->name, ret);
        return what;
    }
    if (ret != 0)
        return NULL;
    dk_log_info(log, &info);
    const char *wrong = NULL;
    if (m->exists == GONE) {
        wrong = "a log is there that was unlinked, or never made";
    } else if (!bounds_allowed(m, &info)) {
        snprintf(what, sizeof(what),
                 "log %s has records %llu to %llu; expected first %llu or %llu, end %llu to %llu "
                 "or %llu",
                 m->name, (unsigned long long)info.first, (unsigned long long)info.end,
                 (unsigned long long)m->first, (unsigned long long)m->other_first,
                 (unsigned long long)m->must, (unsigned long long)m->may,
                 (unsigned long long)m->other_end);
        wrong = what;
    } else {
        wrong = check_records(m, store, log, &info);
    }
    dk_log_put(log);
    return wrong;
}

static bool count_one(const struct dk_log_info *info, void *arg)
{
    uint32_t *n = arg;
    (void)info;
    (*n)++;
    return true;
}

const char *model_check(const struct model *m, struct dk_store *store)
{
    uint32_t listed = 0, known = 0;
    dk_store_list(store, count_one, &listed);
    for (uint32_t i = 0; i < LOGS; i++) {
        struct dk_log *log;
        const char *wrong = check_log(&m->logs[i], store);
        if (wrong)
            return wrong;
        if (dk_log_open(&log, store, m->logs[i].name, 0) == 0) {
            known++;
            dk_log_put(log);
        }
    }
    return listed == known ? NULL : "there is a log of a name that nobody used";
}

void model_adopt(struct model *m, struct dk_store *store)
{
    for (uint32_t i = 0; i < LOGS; i++) {
        struct model_log *l = &m->logs[i];
        struct dk_log *log;
        struct dk_log_info info = {0};
        l->exists = dk_log_open(&log, store, l->name, 0) == 0 ? THERE : GONE;
        if (l->exists == THERE) {
            dk_log_info(log, &info);
            dk_log_put(log);
        }
        l->first = l->other_first = info.first;
        l->must = l->may = l->other_end = info.end;
        l->may_be_empty = false;
    }
}
