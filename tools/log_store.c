/* SPDX-License-Identifier: MIT */
/* Opening, waiting, and telling how far it is. */
#include "log_command.h"

#include "drv/blk_spec.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_LOG    "log" /* of a file that holds one */
#define PROGRESS_NS (INT64_C(100) * 1000 * 1000)
#define BAR         40u

int log_fail(const char *what, const char *name, int error)
{
    fprintf(stderr, "%s: %s%s%s: %s\n", program_invocation_short_name, what, name ? " " : "",
            name ? name : "", strerror(-error));
    return COMMAND_FAILED;
}

/* A plain name is a file here. */
static const char *spec_of(const char *device, char *buffer, size_t size)
{
    if (strchr(device, ':') || device[0] == '/' || device[0] == '.' ||
        strcmp(device, "memblk") == 0)
        return device;
    snprintf(buffer, size, "./%s", device);
    return buffer;
}

struct dk_blkdev *log_open_device(const struct log_options *options, bool read_only)
{
    char buffer[4096];
    const char *why = "", *spec = spec_of(options->device, buffer, sizeof(buffer));
    const struct dk_blk_spec_context context = {
        .read_only = read_only,
        .create = options->size > 0,
    };
    struct dk_blkdev *dev;
    int ret = dk_blk_spec_open(&dev, spec, &context, &why);
    if (ret == 0)
        return dev;
    fprintf(stderr, "%s: %s: %s (%s)\n", program_invocation_short_name, options->device, why,
            strerror(-ret));
    return NULL;
}

struct dk_store *log_open_store(const struct log_options *options, bool read_only)
{
    const struct dk_store_options store_options = {.read_only = read_only};
    const char *why = "";
    struct dk_store *store;
    struct dk_blkdev *dev = log_open_device(options, read_only);
    if (!dev)
        return NULL;
    int ret = dk_store_open(&store, dev, &store_options, &why);
    if (ret == 0)
        return store;
    fprintf(stderr, "%s: %s: %s (%s)\n", program_invocation_short_name, options->device, why,
            strerror(-ret));
    dev->ops->close(dev);
    return NULL;
}

struct dk_log *log_open_log(struct dk_store *store, const struct log_options *options,
                            uint32_t flags)
{
    const char *name = options->name ? options->name : FILE_LOG;
    struct dk_log *log;
    int ret = dk_log_open(&log, store, name, flags);
    if (ret == 0)
        return log;
    if (ret == -EUCLEAN)
        fprintf(stderr, "%s: log %s is refused: the metadata says of it what cannot be (%s)\n",
                program_invocation_short_name, name, strerror(-ret));
    else
        log_fail("log", name, ret);
    return NULL;
}

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void log_wait(struct dk_store *store)
{
    int64_t now = now_ns(), due = dk_store_next_due(store);
    int fd = dk_store_arm(store);
    int64_t ms = due == INT64_MAX ? -1 : due > now ? (due - now) / 1000000 + 1 : 0;
    if (fd >= 0)
        poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, (int)(ms < 1000000 ? ms : 1000000));
    dk_store_poll(store, now_ns());
}

void log_progress_begin(struct log_progress *p, uint64_t total)
{
    *p = (struct log_progress){.total = total};
    if (!isatty(STDERR_FILENO))
        p->next_ns = UINT64_MAX;
}

void log_progress_show(struct log_progress *p, uint64_t done)
{
    uint64_t now = (uint64_t)now_ns();
    if (now < p->next_ns || p->total == 0)
        return;
    uint32_t filled = (uint32_t)(done >= p->total ? BAR : done * BAR / p->total);
    fprintf(stderr, "\r[%.*s%*s] %3u%%", (int)filled, "########################################",
            (int)(BAR - filled), "", filled * 100 / BAR);
    p->next_ns = now + PROGRESS_NS;
    p->shown = true;
}

void log_progress_end(struct log_progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r%*s\r", (int)BAR + 8, "");
    p->shown = false;
}
