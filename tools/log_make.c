/* SPDX-License-Identifier: MIT */
/* demi log create, trim, unlink. */
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

int log_trim(const struct log_options *options)
{
    struct dk_log_info info;
    struct dk_store *store = log_open_store(options, false);
    if (!store)
        return COMMAND_FAILED;
    struct dk_log *log = log_open_log(store, options, 0);
    int ret = log ? dk_log_trim(log, options->from) : 0;
    if (ret == -EINVAL) {
        dk_log_info(log, &info);
        fprintf(stderr,
                "%s: log %s has records %" PRIu64 " to %" PRIu64 ": cannot keep from %" PRIu64
                " on\n",
                program_invocation_short_name, info.name, info.first, info.end, options->from);
    } else if (ret != 0) {
        log_fail(options->device, NULL, ret);
    }
    if (log)
        dk_log_put(log);
    dk_store_close(store);
    return log && ret == 0 ? COMMAND_OK : COMMAND_FAILED;
}

int log_unlink(const struct log_options *options)
{
    struct dk_store *store = log_open_store(options, false);
    if (!store)
        return COMMAND_FAILED;
    int ret = dk_log_unlink(store, options->name);
    dk_store_close(store);
    return ret == 0 ? COMMAND_OK : log_fail("log", options->name, ret);
}
