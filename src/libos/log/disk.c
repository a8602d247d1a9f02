/* SPDX-License-Identifier: MIT */
/*
 * The stores of an instance: the configured device, which has many logs and stays open, or files,
 * which have one each and are open while there is a queue on them.
 */
#include "drv/blk_spec.h"
#include "libos/log/logs.h"
#include "os/entropy.h"
#include "os/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who has the configured device: it is one instance's. */
static struct dk_logs *device_owner;

const char *dk_logs_disk_name(const struct dk_logs_disk *disk, const char *path)
{
    return disk->is_file ? DK_LOGS_FILE_LOG : path;
}

static struct dk_logs_disk *find_device(const struct dk_logs *logs)
{
    struct dk_list *l;
    dk_list_for_each (l, &logs->disks) {
        struct dk_logs_disk *disk = dk_container_of(l, struct dk_logs_disk, link);
        if (!disk->is_file)
            return disk;
    }
    return NULL;
}

/* All that the device and its decorators count is counted at one place. */
static void share_stats(const struct dk_logs *logs, struct dk_blkdev *dev)
{
    for (; dev; dev = dev->inner)
        dev->stats = &logs->stats->dev;
}

int dk_logs_format(struct dk_blkdev *dev, uint64_t segment_bytes, bool force, const char **why_out)
{
    uint64_t random[2] = {dk_entropy_u64(), dk_entropy_u64()};
    struct dk_store_format_options options = {.segment_bytes = segment_bytes};
    memcpy(options.uuid, random, sizeof(options.uuid));
    return dk_store_format(dev, &options, force, why_out);
}

int dk_logs_disk_open(struct dk_logs_disk **disk_out, struct dk_logs *logs, struct dk_blkdev *dev,
                      bool is_file, const char **why_out)
{
    const struct dk_store_options options = {.read_only = dev->caps.flags & DK_BLKDEV_READ_ONLY,
                                             .stats = &logs->stats->store};
    *why_out = "too many stores are open";
    if (logs->num_disks == DK_LOGS_DISKS_MAX)
        return -EMFILE;
    struct dk_logs_disk *disk = calloc(1, sizeof(*disk)); /* owned by its holds: dk_logs_disk_put */
    *why_out = "no memory";
    if (!disk)
        return -ENOMEM;
    share_stats(logs, dev);
    int r = dk_store_open(&disk->store, dev, &options, why_out);
    if (r < 0) {
        free(disk);
        return r;
    }
    disk->logs = logs;
    disk->is_file = is_file;
    disk->read_only = options.read_only;
    disk->watched = -1;
    disk->holds = 1;
    dk_list_init(&disk->uses);
    dk_list_add_tail(&logs->disks, &disk->link);
    logs->num_disks++;
    dk_logs_wake(logs); /* who sleeps does not watch it yet */
    *disk_out = disk;
    return 0;
}

void dk_logs_disk_close(struct dk_logs_disk *disk)
{
    struct dk_logs *logs = disk->logs;
    dk_store_close(disk->store);
    disk->store = NULL;
    dk_list_del(&disk->link);
    logs->num_disks--;
    if (!disk->is_file)
        __atomic_store_n(&device_owner, NULL, __ATOMIC_RELEASE);
}

void dk_logs_disk_put(struct dk_logs_disk *disk)
{
    if (--disk->holds != 0)
        return;
    if (disk->store && !disk->is_file)
        return; /* it stays open */
    if (disk->store)
        dk_logs_disk_close(disk);
    free(disk);
}

void dk_logs_disk_abandon(struct dk_logs_disk *disk)
{
    dk_store_abandon(disk->store);
    if (!disk->is_file)
        device_owner = NULL;
}

/* Whether what the device holds ends with it. */
static bool is_volatile(const struct dk_blkdev *dev)
{
    while (dev->inner)
        dev = dev->inner;
    return strcmp(dev->ops->name, "memblk") == 0;
}

/* Opens the store on a device, which is formatted where it is blank and a log is to be made. */
static int open_store(struct dk_logs_disk **disk_out, struct dk_logs *logs, struct dk_blkdev *dev,
                      int flags, const char **why_out)
{
    int r = dk_logs_disk_open(disk_out, logs, dev, false, why_out);
    if (r != -EMEDIUMTYPE || (!(flags & O_CREAT) && !is_volatile(dev)))
        return r;
    r = dk_logs_format(dev, 0, false, why_out);
    return r < 0 ? r : dk_logs_disk_open(disk_out, logs, dev, false, why_out);
}

static int open_device(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *spec,
                       int flags)
{
    const char *why = "";
    struct dk_blkdev *dev;
    int r = dk_blk_spec_open(&dev, spec, NULL, &why);
    if (r == 0) {
        r = open_store(disk_out, logs, dev, flags, &why);
        if (r < 0)
            dev->ops->close(dev);
    }
    if (r < 0)
        dk_log(DK_LOG_ERROR, "store %s: %s (%s)", spec, why, strerror(-r));
    return r;
}

static int get_device(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *spec,
                      int flags)
{
    struct dk_logs *nobody = NULL;
    *disk_out = find_device(logs);
    if (*disk_out) {
        (*disk_out)->holds++;
        return 0;
    }
    if (!__atomic_compare_exchange_n(&device_owner, &nobody, logs, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return -EBUSY;
    int r = open_device(disk_out, logs, spec, flags);
    if (r < 0)
        __atomic_store_n(&device_owner, NULL, __ATOMIC_RELEASE);
    return r;
}

int dk_logs_check_device(const char *text, char why[DK_LOGS_WHY_MAX])
{
    const char *because = "";
    why[0] = '\0';
    if (strcmp(text, DK_LOGS_NONE) == 0)
        return 0;
    int r = dk_blk_spec_check(text, &because);
    if (r < 0)
        snprintf(why, DK_LOGS_WHY_MAX, "%s", because);
    return r;
}

int dk_logs_disk_get(struct dk_logs_disk **disk_out, struct dk_logs *logs,
                     const struct dk_logs_options *options, const char *path, int flags,
                     mode_t mode)
{
    if (strcmp(options->device, DK_LOGS_NONE) == 0)
        return dk_logs_get_file(disk_out, logs, path, flags, mode);
    return get_device(disk_out, logs, options->device, flags);
}
