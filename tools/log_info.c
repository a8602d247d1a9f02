/* SPDX-License-Identifier: MIT */
/* demi log create, list, stat. */
#include "log_command.h"

#include "os/entropy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int format(const struct log_options *options, struct dk_blkdev *dev)
{
    struct dk_store_format_options format = {.segment_bytes = options->segment};
    uint64_t random[2] = {dk_entropy_u64(), dk_entropy_u64()};
    const char *why = "";
    memcpy(format.uuid, random, sizeof(format.uuid));
    int ret = dk_store_format(dev, &format, options->force, &why);
    if (ret == -EEXIST && options->name)
        return 0; /* the log comes to what is there */
    if (ret != 0)
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, options->device, why);
    return ret;
}

/* A file that is not there, or smaller, gets its size. */
static int make_file(const struct log_options *options)
{
    struct stat st;
    if (options->size == 0)
        return 0;
    int fd = open(options->device, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int ret = fd < 0 || fstat(fd, &st) != 0 ? -errno : 0;
    if (ret == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size < options->size &&
        ftruncate(fd, (off_t)options->size) != 0)
        ret = -errno;
    if (fd >= 0)
        close(fd);
    return ret;
}

int log_create(const struct log_options *options)
{
    int ret = make_file(options);
    if (ret != 0)
        return log_fail(options->device, NULL, ret);
    struct dk_blkdev *dev = log_open_device(options, false);
    if (!dev)
        return COMMAND_FAILED;
    ret = format(options, dev);
    dev->ops->close(dev);
    if (ret != 0)
        return COMMAND_FAILED;
    struct dk_store *store = log_open_store(options, false);
    if (!store)
        return COMMAND_FAILED;
    struct dk_log *log = log_open_log(store, options, DK_LOG_CREATE | DK_LOG_EXCL);
    if (log)
        dk_log_put(log);
    dk_store_close(store);
    return log ? COMMAND_OK : COMMAND_FAILED;
}

static bool print_log(const struct dk_log_info *info, void *arg)
{
    (void)arg;
    if (info->is_damaged) {
        printf("%38s %14" PRIu64 "  %s\n", "refused", info->bytes, info->name);
        return true;
    }
    printf("%12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "  %s\n", info->first, info->end,
           info->end - info->first, info->bytes, info->name);
    return true;
}

int log_list(const struct log_options *options)
{
    struct dk_store *store = log_open_store(options, true);
    if (!store)
        return COMMAND_FAILED;
    printf("%12s %12s %12s %14s  %s\n", "FIRST", "END", "RECORDS", "BYTES", "LOG");
    dk_store_list(store, print_log, NULL);
    dk_store_close(store);
    return COMMAND_OK;
}

static void print_uuid(const uint8_t uuid[16])
{
    printf("%-24s ", "uuid");
    for (int i = 0; i < 16; i++)
        printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    printf("\n");
}

static void print(const char *what, uint64_t n)
{
    printf("%-24s %" PRIu64 "\n", what, n);
}

int log_stat(const struct log_options *options)
{
    struct dk_store_info info;
    struct dk_store *store = log_open_store(options, true);
    if (!store)
        return COMMAND_FAILED;
    dk_store_info(store, &info);
    print_uuid(info.uuid);
    print("segment bytes", info.segment_bytes);
    print("segments", info.num_segments);
    print("segments free", info.free_segments);
    print("segments at most", info.max_segments);
    print("logs", info.num_logs);
    print("logs at most", info.max_logs);
    print("metadata bytes", 4 * info.meta_bytes);
    print("first segment at", info.data_offset);
    print("opened for writing", info.epoch);
    print("metadata checkpoints", info.generation);
    print("recovery read bytes", dk_store_stats(store)->recovery_read_bytes);
    dk_store_close(store);
    return COMMAND_OK;
}
