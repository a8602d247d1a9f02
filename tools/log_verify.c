/* SPDX-License-Identifier: MIT */
/* demi log verify, dump: everything that is there. */
#include "log_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

struct check {
    struct dk_store *store;
    const struct log_options *options;
    const char *log;        /* that is looked at */
    uint64_t good, damaged; /* records of it */
    uint64_t logs, bad_logs, bad_copies;
    uint64_t bytes; /* that were looked at */
    struct log_progress progress;
    int error;
};

static bool check_copy(const struct dk_walk_item *item, void *arg)
{
    struct check *c = arg;
    c->bytes += item->bytes;
    if (item->is_good)
        return true;
    c->bad_copies++;
    log_progress_end(&c->progress);
    printf("%s, copy %u: damaged: %" PRIu64 " bytes at %" PRIu64 "\n",
           item->kind == DK_WALK_SUPER ? "superblock" : "metadata", item->copy + 1, item->bytes,
           item->offset);
    return true;
}

static void say_damage(struct check *c, const struct dk_walk_item *item)
{
    c->damaged += item->count;
    log_progress_end(&c->progress);
    if (item->kind == DK_WALK_RECORD)
        printf("log %s, record %" PRIu64 ": damaged: %" PRIu64 " bytes at %" PRIu64 "\n", c->log,
               item->record, item->bytes, item->offset);
    else
        printf("log %s, records %" PRIu64 " to %" PRIu64 ": lost: %" PRIu64 " bytes at %" PRIu64
               "\n",
               c->log, item->record, item->record + item->count - 1, item->bytes, item->offset);
}

static bool check_item(const struct dk_walk_item *item, void *arg)
{
    struct check *c = arg;
    if (item->kind == DK_WALK_BATCH) {
        c->bytes += item->bytes;
        log_progress_show(&c->progress, c->bytes);
    } else if (item->is_good) {
        c->good++;
    } else {
        say_damage(c, item);
    }
    return true;
}

static void check_log(struct check *c, struct dk_log *log)
{
    struct dk_log_info info;
    dk_log_info(log, &info);
    c->log = info.name;
    c->good = c->damaged = 0;
    int ret = dk_log_walk(log, true, check_item, c);
    if (ret != 0)
        c->error = ret;
    log_progress_end(&c->progress);
    printf("log %s: records %" PRIu64 " to %" PRIu64 ": %" PRIu64 " good, %" PRIu64 " damaged\n",
           info.name, info.first, info.end, c->good, c->damaged);
    if (info.is_end_unread)
        printf("log %s: whether records follow cannot be told: the device cannot read the place\n",
               info.name);
    c->logs++;
    c->bad_logs += c->damaged > 0 || info.is_end_unread;
}

static bool check_named(const struct dk_log_info *info, void *arg)
{
    struct check *c = arg;
    struct dk_log *log;
    if (info->is_damaged) {
        printf("log %s: refused: the metadata says of it what cannot be\n", info->name);
        c->bad_logs++;
        return true;
    }
    int ret = dk_log_open(&log, c->store, info->name, 0);
    if (ret != 0) {
        c->error = ret;
        return true;
    }
    check_log(c, log);
    dk_log_put(log);
    return true;
}

static bool add_bytes(const struct dk_log_info *info, void *arg)
{
    uint64_t *sum = arg;
    *sum += info->bytes;
    return true;
}

int log_verify(const struct log_options *options)
{
    struct check c = {.options = options, .store = log_open_store(options, true)};
    if (!c.store)
        return COMMAND_FAILED;
    uint64_t total = 0;
    dk_store_list(c.store, add_bytes, &total);
    log_progress_begin(&c.progress, total);
    c.error = dk_store_walk_copies(c.store, check_copy, &c);
    if (!options->name) {
        dk_store_list(c.store, check_named, &c);
    } else {
        struct dk_log *log = log_open_log(c.store, options, 0);
        if (log)
            check_log(&c, log);
        c.bad_logs += !log;
    }
    dk_store_close(c.store);
    if (c.error != 0)
        return log_fail(options->device, NULL, c.error);
    return c.bad_logs == 0 && c.bad_copies == 0 ? COMMAND_OK : COMMAND_FAILED;
}

static bool wanted(const struct log_options *o, uint64_t record, uint64_t count)
{
    uint64_t from = o->from == UINT64_MAX ? 0 : o->from;
    return record + count > from && (o->count == UINT64_MAX || record < from + o->count);
}

static bool dump_item(const struct dk_walk_item *item, void *arg)
{
    const struct check *c = arg;
    if (!wanted(c->options, item->record, item->count))
        return true;
    switch (item->kind) {
    case DK_WALK_BATCH:
        printf("batch %" PRIu64 ", epoch %" PRIu64 ", segment %u: %" PRIu64 " bytes at %" PRIu64
               ", records %" PRIu64 " to %" PRIu64 "\n",
               item->batch, item->epoch, item->segment, item->bytes, item->offset, item->record,
               item->record + item->count - 1);
        return true;
    case DK_WALK_RECORD:
        printf("  record %" PRIu64 ": at %" PRIu64 ",", item->record, item->offset);
        for (uint32_t i = 0; i < item->num_segs; i++)
            printf(" %u", item->lens[i]);
        printf(" bytes%s\n", item->is_good ? "" : ", damaged");
        return true;
    default:
        printf("records %" PRIu64 " to %" PRIu64 " are lost: %" PRIu64 " bytes at %" PRIu64 "\n",
               item->record, item->record + item->count - 1, item->bytes, item->offset);
        return true;
    }
}

int log_dump(const struct log_options *options)
{
    struct check c = {.options = options, .store = log_open_store(options, true)};
    if (!c.store)
        return COMMAND_FAILED;
    struct dk_log *log = log_open_log(c.store, options, 0);
    int ret = log ? dk_log_walk(log, true, dump_item, &c) : 0;
    dk_store_close(c.store);
    if (ret != 0)
        return log_fail(options->device, NULL, ret);
    return log ? COMMAND_OK : COMMAND_FAILED;
}
