/* SPDX-License-Identifier: MIT */
/*
 * Claim: opening a store that was killed with a log of 10 GiB reads the metadata and what the
 * metadata knows no end of: at most three segments, however long the log is. The same of a store
 * that was closed: the metadata alone.
 *
 * The log is a sparse file: payload is zeros, and blocks of zeros are not written.
 */
#include "bench.h"

#include "drv/blk_file.h"
#include "mem/heap.h"
#include "store/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_BYTES    (UINT64_C(10) << 30)
#define DEVICE_BYTES (UINT64_C(11) << 30)
#define RECORD_BYTES (1u << 20)
#define QUEUE        64
#define BLOCK        4096u

/* A file in which blocks of zeros become holes. */
struct sparse {
    struct dk_blkdev dev;
    int fd;
    struct dk_blk_io *queue[QUEUE];
    uint32_t num;
};

static void fail(const char *what, int error)
{
    printf("FAIL store recovery: %s: %s\n", what, strerror(-error));
    exit(1);
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct sparse *s = (struct sparse *)(void *)dev;
    if (s->num == QUEUE)
        return -EAGAIN;
    s->queue[s->num++] = io;
    return 0;
}

static bool is_zero(const uint8_t *block)
{
    return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

static int carry_out(struct sparse *s, const struct dk_blk_io *io)
{
    off_t at = (off_t)io->offset;
    for (uint32_t i = 0; i < io->num_segs; i++)
        for (uint32_t j = 0; j < io->segs[i].len; j += BLOCK, at += BLOCK) {
            uint8_t *block = io->segs[i].data + j;
            ssize_t n = BLOCK;
            if (io->op == DK_BLK_READ)
                n = pread(s->fd, block, BLOCK, at);
            else if (!is_zero(block))
                n = pwrite(s->fd, block, BLOCK, at);
            if (n != BLOCK)
                return -EIO;
        }
    return 0;
}

static uint32_t wait_all(struct dk_blkdev *dev)
{
    struct sparse *s = (struct sparse *)(void *)dev;
    uint32_t n = s->num;
    struct dk_blk_io *queue[QUEUE];
    memcpy(queue, s->queue, sizeof(queue));
    s->num = 0;
    for (uint32_t i = 0; i < n; i++)
        queue[i]->done(queue[i], carry_out(s, queue[i]));
    return n;
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    (void)now;
    return wait_all(dev);
}

static void close_device(struct dk_blkdev *dev)
{
    while (wait_all(dev) > 0)
        continue;
    close(((struct sparse *)(void *)dev)->fd);
}

static const struct dk_blkdev_ops ops = {
    .name = "sparse",
    .submit = submit,
    .poll = poll,
    .wait = wait_all,
    .close = close_device,
};

static struct dk_blkdev *open_sparse(struct sparse *s, const char *path)
{
    *s = (struct sparse){.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (s->fd < 0 || ftruncate(s->fd, (off_t)DEVICE_BYTES) != 0)
        fail(path, -errno);
    s->dev.ops = &ops;
    s->dev.stats = &s->dev.own_stats;
    s->dev.caps = (struct dk_blkdev_caps){
        .bytes = DEVICE_BYTES,
        .block_bytes = BLOCK,
        .atomic_bytes = 512,
        .mem_align = BLOCK,
        .max_bytes = 2u << 20,
        .max_segs = 256,
        .depth = QUEUE,
        .flags = DK_BLKDEV_FUA,
    };
    return &s->dev;
}

static uint64_t num_done;

static void append_done(struct dk_log_append *append, int result)
{
    if (result != 0)
        fail("append", result);
    append->arg = NULL;
    num_done++;
}

static struct dk_store *open_store(struct dk_blkdev *dev)
{
    const char *why = "";
    struct dk_store *store;
    int ret = dk_store_open(&store, dev, NULL, &why);
    if (ret != 0)
        fail(why, ret);
    return store;
}

/* Fills the log; the store is left as a killed process leaves it, or closed. */
static void fill(const char *path, bool is_closed)
{
    static struct sparse sparse;
    struct dk_blkdev *dev = open_sparse(&sparse, path);
    const struct dk_store_format_options format = {.uuid = "recovery"};
    const char *why = "";
    struct dk_log *log;
    int ret = dk_store_format(dev, &format, true, &why);
    if (ret != 0)
        fail(why, ret);
    struct dk_store *store = open_store(dev);
    ret = dk_log_open(&log, store, "long", DK_LOG_CREATE);
    if (ret != 0)
        fail("create", ret);
    uint8_t *payload = dk_heap_aligned(BLOCK, RECORD_BYTES);
    memset(payload, 0, RECORD_BYTES);
    static struct dk_log_append appends[4];
    num_done = 0;
    for (uint64_t i = 0; i < LOG_BYTES / RECORD_BYTES; i++) {
        struct dk_log_append *a = &appends[i % 4];
        while (a->arg)
            dk_store_poll(store, 0);
        *a = (struct dk_log_append){
            .segs = {{payload, RECORD_BYTES}}, .num_segs = 1, .done = append_done, .arg = a};
        ret = dk_log_append(log, a);
        if (ret != 0)
            fail("append", ret);
    }
    while (num_done < LOG_BYTES / RECORD_BYTES)
        dk_store_poll(store, 0);
    if (is_closed)
        dk_store_close(store);
    else
        close(sparse.fd); /* what is in memory is left */
}

static bool take_end(const struct dk_log_info *info, void *arg)
{
    uint64_t *end = arg;
    *end = info->end;
    return true;
}

/* Opens it through the driver of files; true: it read no more than `most` segments. */
static bool recover(const char *path, const char *how, uint32_t most)
{
    const struct dk_blk_file_options options = {.path = path};
    const char *why = "";
    struct dk_blkdev *dev;
    int ret = dk_blk_file_open(&dev, &options, &why);
    if (ret != 0)
        fail(why, ret);
    uint64_t begin = bench_now_ns(), end = 0;
    struct dk_store *store = open_store(dev);
    uint64_t took = bench_now_ns() - begin;
    struct dk_store_info info;
    dk_store_info(store, &info);
    dk_store_list(store, take_end, &end);
    uint64_t bytes = dk_store_stats(store)->recovery_read_bytes;
    uint64_t bound = most * info.segment_bytes + 4 * info.meta_bytes;
    bool ok = end == LOG_BYTES / RECORD_BYTES && bytes <= bound;
    printf("%s: a log of %" PRIu64 " records, 10 GiB, in %u segments of %" PRIu64 " MiB\n", how,
           end, info.num_segments - info.free_segments, info.segment_bytes >> 20);
    printf("  opened in %.1f ms, %" PRIu64 " KiB read (bound: %" PRIu64 " KiB)\n",
           (double)took / 1e6, bytes >> 10, bound >> 10);
    printf("%s store recovery, %s: %" PRIu64 " bytes read, target <= %" PRIu64 "\n",
           ok ? "PASS" : "FAIL", how, bytes, bound);
    dk_store_close(store);
    return ok;
}

int main(void)
{
    char path[256];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/store-recovery.%d", folder ? folder : ".", (int)getpid());
    fill(path, false);
    bool ok = recover(path, "killed", 3);
    unlink(path);
    fill(path, true);
    ok = recover(path, "closed", 0) && ok;
    unlink(path);
    return ok ? 0 : 1;
}
