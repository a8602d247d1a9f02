/* SPDX-License-Identifier: MIT */
/*
 * Control calls on logs: open, unlink, seek, truncate, trim. They wait for the device.
 */
#include "libos/log/logs.h"
#include "os/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What demi_open accepts; what is behind the bar is the case anyway. */
#define KNOWN_FLAGS                                                                                \
    (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | DEMI_O_ASYNC | DEMI_O_FOLLOW | O_APPEND |            \
     O_CLOEXEC | O_NONBLOCK)

static int check_flags(int flags)
{
    if ((flags & ~KNOWN_FLAGS) || (flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    if ((flags & O_TRUNC) && (flags & O_ACCMODE) == O_RDONLY)
        return -EINVAL;
    return 0;
}

static struct dk_logs_use *find_use(const struct dk_logs_disk *disk, const struct dk_log *log)
{
    struct dk_list *l;
    dk_list_for_each (l, &disk->uses) {
        struct dk_logs_use *use = dk_container_of(l, struct dk_logs_use, link);
        if (use->log == log)
            return use;
    }
    return NULL;
}

/* Makes a use of a log, whose hold it takes over; the disk counts as used by it. */
static struct dk_logs_use *make_use(struct dk_logs_disk *disk, struct dk_log *log)
{
    struct dk_logs_use *use = calloc(1, sizeof(*use)); /* owned by disk->uses; dk_logs_use_put */
    if (!use)
        return NULL;
    disk->holds++;
    use->disk = disk;
    use->log = log;
    dk_list_init(&use->queues);
    dk_list_init(&use->waiting);
    dk_list_add_tail(&disk->uses, &use->link);
    return use;
}

void dk_logs_use_put(struct dk_logs_use *use)
{
    struct dk_logs_disk *disk = use->disk;
    if (!dk_list_empty(&use->queues))
        return;
    dk_list_del(&use->link);
    if (disk->store) /* else it is closed, and all its logs with it */
        dk_log_put(use->log);
    free(use);
    dk_logs_disk_put(disk);
}

/* Opens a log of a disk: 0 or a negative errno. */
static int open_log(struct dk_logs_disk *disk, const char *name, int flags,
                    struct dk_logs_use **use_out)
{
    uint32_t how = (flags & O_CREAT ? DK_LOG_CREATE : 0) | (flags & O_EXCL ? DK_LOG_EXCL : 0);
    struct dk_log *log;
    int r = dk_log_open(&log, disk->store, name, disk->is_file ? 0 : how);
    if (r == -EUCLEAN)
        dk_log(DK_LOG_ERROR, "log %s: the metadata of its store says of it what cannot be", name);
    if (r < 0)
        return r;
    *use_out = find_use(disk, log);
    if (*use_out) {
        dk_log_put(log); /* it holds it already */
        return 0;
    }
    *use_out = make_use(disk, log);
    if (*use_out)
        return 0;
    dk_log_put(log);
    return -ENOMEM;
}

void dk_logs_change_begin(struct dk_logs_use *use)
{
    struct dk_list *l;
    use->changing = true;
    dk_list_for_each (l, &use->queues)
        dk_logq_drop_reads(dk_container_of(l, struct dk_logq, link));
}

void dk_logs_change_end(struct dk_logs_use *use)
{
    struct dk_log_info info;
    struct dk_list *l;
    use->changing = false;
    dk_log_info(use->log, &info);
    dk_list_for_each (l, &use->queues) {
        struct dk_logq *lq = dk_container_of(l, struct dk_logq, link);
        if (lq->cursor < info.first)
            lq->cursor = info.first;
        if (lq->cursor > info.end)
            lq->cursor = info.end;
        dk_logq_note(lq);
    }
}

/* Drops all records; numbers begin at 0 again. */
static int empty_log(struct dk_logs_use *use, const char *name)
{
    struct dk_log *log;
    dk_logs_change_begin(use);
    int r = dk_log_open(&log, use->disk->store, name, DK_LOG_TRUNC);
    if (r == 0)
        dk_log_put(log);
    dk_logs_change_end(use);
    return r;
}

static int open_on_disk(struct dk_logs_disk *disk, const char *path, int flags, int *qd_out)
{
    const char *name = dk_logs_disk_name(disk, path);
    struct dk_logs_use *use;
    if (disk->read_only && (flags & O_ACCMODE) != O_RDONLY)
        return -EROFS;
    int r = open_log(disk, name, flags, &use);
    if (r < 0)
        return r;
    if (flags & O_TRUNC)
        r = empty_log(use, name);
    if (r == 0)
        r = dk_logq_create(use, flags, qd_out);
    if (r < 0)
        dk_logs_use_put(use);
    return r;
}

int dk_logs_open(struct dk_instance *inst, const struct dk_logs_options *options, const char *path,
                 int flags, mode_t mode, int *qd_out)
{
    struct dk_logs *logs;
    struct dk_logs_disk *disk;
    int r = check_flags(flags);
    if (r == 0)
        r = dk_logs_get(&logs, inst);
    if (r == 0)
        r = dk_logs_disk_get(&disk, logs, options, path, flags, mode);
    if (r < 0)
        return r;
    r = open_on_disk(disk, path, flags, qd_out);
    dk_logs_disk_put(disk);
    dk_logs_settle(logs);
    return r;
}

int dk_logs_unlink(struct dk_instance *inst, const struct dk_logs_options *options,
                   const char *path)
{
    struct dk_logs *logs;
    struct dk_logs_disk *disk;
    if (strcmp(options->device, DK_LOGS_NONE) == 0)
        return dk_logs_unlink_file(path);
    int r = dk_logs_get(&logs, inst);
    if (r == 0)
        r = dk_logs_disk_get(&disk, logs, options, path, O_RDWR, 0);
    if (r < 0)
        return r;
    r = dk_log_unlink(disk->store, dk_logs_disk_name(disk, path));
    dk_logs_disk_put(disk);
    dk_logs_settle(logs);
    return r;
}

static bool is_log(const struct dk_queue *q)
{
    return q->ops == &dk_logq_ops;
}

/* Where whence begins: 0 or a negative errno. */
static int seek_base(const struct dk_queue *q, int64_t record, int whence,
                     const struct dk_log_info *info, int64_t *base_out)
{
    const struct dk_logq *lq = q->impl;
    switch (whence) {
    case SEEK_SET:
        *base_out = 0;
        return 0;
    case SEEK_CUR: /* what came back is popped again first */
        *base_out = (int64_t)(lq->cursor - q->num_returned);
        return 0;
    case SEEK_END:
        *base_out = (int64_t)info->end;
        return 0;
    case SEEK_DATA:
        *base_out = record < (int64_t)info->first ? (int64_t)info->first - record : 0;
        return 0;
    default:
        return -EINVAL;
    }
}

int dk_logs_seek(struct dk_queue *q, int64_t record, int whence, int64_t *pos_out)
{
    struct dk_log_info info;
    int64_t base, to;
    if (!is_log(q))
        return -ESPIPE;
    struct dk_logq *lq = q->impl;
    dk_log_info(lq->use->log, &info);
    if (whence == SEEK_DATA && record < 0)
        return -EINVAL;
    int r = seek_base(q, record, whence, &info, &base);
    if (r < 0)
        return r;
    if (whence != SEEK_CUR || record != 0) {
        if (__builtin_add_overflow(base, record, &to) || to < (int64_t)info.first ||
            to > (int64_t)info.end)
            return -EINVAL;
        if (lq->num_pops || lq->taker)
            return -EBUSY;
        dk_logq_drop_reads(lq);
        dk_queue_drop_returned(q);
        lq->cursor = (uint64_t)to;
        base = to;
    }
    *pos_out = base;
    return 0;
}

/* Drops records at one end of a log. */
static int drop(struct dk_queue *q, int64_t record, int (*how)(struct dk_log *log, uint64_t record))
{
    if (!is_log(q) || record < 0)
        return -EINVAL;
    struct dk_logq *lq = q->impl;
    struct dk_logs_use *use = lq->use;
    if (!lq->writable)
        return -EBADF;
    dk_logs_change_begin(use);
    int r = how(use->log, (uint64_t)record);
    dk_logs_change_end(use);
    dk_logs_settle(lq->logs);
    return r;
}

int dk_logs_truncate(struct dk_queue *q, int64_t record)
{
    return drop(q, record, dk_log_truncate);
}

int dk_logs_trim(struct dk_queue *q, int64_t record)
{
    return drop(q, record, dk_log_trim);
}
