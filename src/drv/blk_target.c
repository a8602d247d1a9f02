/* SPDX-License-Identifier: MIT */
/*
 * Opens, locks and measures a file or a block device (blk_target.h).
 */
#include "drv/blk_target.h"

#include "drv/blk_file.h"
#include "drv/why.h"
#include "os/log.h"
#include "os/pages.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_DEPTH 64u
#define MAX_DEPTH     4096u
#define MAX_BYTES     (1u << 20) /* of an I/O */
#define FILE_BLOCK    4096u      /* of file systems: a shorter write is read first */
#define ZEROS_BYTES   ((size_t)1 << 20)
#define PATIENCE_MS   500

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES 0x80 /* Linux 6.17 */
#endif

static bool is_block_device(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

static int flags_of(const struct dk_blk_file_options *o)
{
    int flags = O_CLOEXEC | (o->read_only ? O_RDONLY : O_RDWR);
    if (is_block_device(o->path))
        return flags | (o->read_only ? 0 : O_EXCL);
    return flags | (o->create && !o->read_only ? O_CREAT : 0);
}

/* Opens it for direct I/O, or without where that is refused. */
static int open_once(struct dk_blk_target *t, const struct dk_blk_file_options *o)
{
    const int flags = flags_of(o);
    const mode_t mode = o->mode ? o->mode : 0600;
    t->is_direct = !o->buffered;
    t->fd = open(o->path, flags | (t->is_direct ? O_DIRECT : 0), mode);
    if (t->fd < 0 && errno == EINVAL && t->is_direct) {
        t->is_direct = false;
        t->fd = open(o->path, flags, mode);
    }
    return t->fd < 0 ? -errno : 0;
}

/* Whether the path names what was opened: it may have been moved, removed or replaced since. */
static bool is_at(const struct dk_blk_target *t, const char *path)
{
    struct stat opened, named;
    return fstat(t->fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* What is there belongs to one process that writes, or to several that read. Before it is locked
 * another may have it, and end with it: it is looked for again then. */
static int lock_once(const struct dk_blk_target *t, const struct dk_blk_file_options *o)
{
    if (flock(t->fd, (o->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
        return is_at(t, o->path) ? 0 : -EBUSY;
    return errno == EWOULDBLOCK ? -EBUSY : -errno;
}

/* With patience: I/Os of a process that was killed go on, and keep what it had open, for a moment
 * after it is gone. */
static int open_and_lock(struct dk_blk_target *t, const struct dk_blk_file_options *o,
                         const char **why_out)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int r = -EBUSY;
    for (int i = 0; r == -EBUSY && i < PATIENCE_MS / 5; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        r = open_once(t, o);
        if (r == 0 && (r = lock_once(t, o)) < 0)
            dk_blk_target_close(t);
    }
    if (r == -EBUSY)
        return dk_why(why_out, r, "%s is mounted, or in use by another process", o->path);
    return r < 0 ? dk_why(why_out, r, "cannot open %s: %s", o->path, strerror(-r)) : 0;
}

static uint32_t at_least(uint32_t n, uint32_t least)
{
    return n > least ? n : least;
}

/* The alignment of direct I/O: asked for (Linux 6.1), else safe. */
static void measure_direct(struct dk_blk_target *t, uint32_t *mem_align, uint32_t *offset_align)
{
    struct statx stx;
    struct statfs fs;
    *mem_align = *offset_align = FILE_BLOCK;
    if (fstatfs(t->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
        t->is_direct = false; /* which takes O_DIRECT, and goes through the page cache */
    if (statx(t->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 ||
        !(stx.stx_mask & STATX_DIOALIGN))
        return;
    if (stx.stx_dio_offset_align == 0 || stx.stx_dio_offset_align > FILE_BLOCK ||
        stx.stx_dio_mem_align > FILE_BLOCK) {
        t->is_direct = false;
        return;
    }
    *mem_align = stx.stx_dio_mem_align;
    *offset_align = stx.stx_dio_offset_align;
}

/* Until it is direct I/O that was asked for and is there, all I/O goes through the page cache. */
static int stop_direct(struct dk_blk_target *t, const char *path)
{
    const int flags = fcntl(t->fd, F_GETFL);
    if (flags < 0 || fcntl(t->fd, F_SETFL, flags & ~O_DIRECT) < 0)
        return -errno;
    dk_log(DK_LOG_WARN, "%s: no direct I/O here: data goes through the page cache", path);
    return 0;
}

static int measure_file(struct dk_blk_target *t, const struct stat *st)
{
    uint32_t mem_align = 1, offset_align = 512;
    if (t->is_direct)
        measure_direct(t, &mem_align, &offset_align);
    t->caps.block_bytes = FILE_BLOCK;
    t->caps.atomic_bytes = 512;
    t->caps.mem_align = t->is_direct ? at_least(mem_align, offset_align) : 1;
    t->caps.bytes = (uint64_t)st->st_size / FILE_BLOCK * FILE_BLOCK;
    return 0;
}

static int measure_block(struct dk_blk_target *t)
{
    uint64_t bytes;
    unsigned physical;
    int logical, is_read_only;
    t->is_block = true;
    if (ioctl(t->fd, BLKGETSIZE64, &bytes) < 0 || ioctl(t->fd, BLKSSZGET, &logical) < 0 ||
        ioctl(t->fd, BLKPBSZGET, &physical) < 0 || ioctl(t->fd, BLKROGET, &is_read_only) < 0)
        return -errno;
    if (is_read_only && !(t->caps.flags & DK_BLKDEV_READ_ONLY))
        return -EROFS;
    if (logical < 512 || logical > (int)FILE_BLOCK)
        return -EINVAL;
    t->caps.atomic_bytes = (uint32_t)logical;
    t->caps.block_bytes = physical > FILE_BLOCK ? FILE_BLOCK : physical;
    /* Older kernels want the length of each segment to be whole sectors. */
    t->caps.mem_align = t->is_direct ? (uint32_t)logical : 1;
    t->caps.bytes = bytes / t->caps.block_bytes * t->caps.block_bytes;
    return 0;
}

/* Reads a number of the disk's queue; a partition has none of its own. 0 where there is none. */
static uint32_t queue_number(dev_t disk, const char *name)
{
    static const char *const places[] = {"queue", "../queue"};
    char path[96], text[16];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(disk), minor(disk),
                 places[i], name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (fd >= 0)
            close(fd);
        if (n > 0) {
            text[n] = '\0';
            return (uint32_t)strtoul(text, NULL, 10);
        }
    }
    return 0;
}

/* The longest I/O that the disk can be polled for: one that is not cut. */
static uint32_t poll_bytes_of(dev_t disk)
{
    const uint64_t kib = queue_number(disk, "max_sectors_kb");
    const uint64_t segments = queue_number(disk, "max_segments");
    if (queue_number(disk, "io_poll") != 1 || segments < 2)
        return 0;
    const uint64_t by_length = kib << 10, by_segments = (segments - 1) * 4096;
    const uint64_t bytes = by_length < by_segments ? by_length : by_segments;
    return bytes < MAX_BYTES ? (uint32_t)bytes : MAX_BYTES;
}

static int measure(struct dk_blk_target *t, const struct dk_blk_file_options *o,
                   const char **why_out)
{
    struct stat st;
    if (fstat(t->fd, &st) < 0)
        return dk_why(why_out, -errno, "cannot look at %s: %s", o->path, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return dk_why(why_out, -EINVAL, "%s is neither a file nor a block device", o->path);
    const bool wanted = t->is_direct;
    int r = S_ISBLK(st.st_mode) ? measure_block(t) : measure_file(t, &st);
    if (r < 0)
        return dk_why(why_out, r, "%s: %s", o->path,
                      r == -EROFS ? "the device is read-only" : strerror(-r));
    if (!t->is_direct && !o->buffered)
        r = stop_direct(t, o->path);
    if (wanted && t->is_direct)
        t->poll_bytes = poll_bytes_of(t->is_block ? st.st_rdev : st.st_dev);
    return r < 0 ? dk_why(why_out, r, "%s: %s", o->path, strerror(-r)) : 0;
}

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    uint8_t *zeros = dk_pages_reserve(ZEROS_BYTES);
    int r = zeros ? 0 : -ENOMEM;
    while (r == 0 && from < to) {
        const size_t bytes = to - from < ZEROS_BYTES ? (size_t)(to - from) : ZEROS_BYTES;
        ssize_t n = pwrite(fd, zeros, bytes, (off_t)from);
        if (n > 0)
            from += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            r = n == 0 ? -EIO : -errno;
    }
    dk_pages_release(zeros, ZEROS_BYTES);
    return r;
}

/* Allocates. Linux may write in one with that, without a byte sent. */
static int allocate(int fd, uint64_t from, uint64_t to)
{
    if (fallocate(fd, FALLOC_FL_WRITE_ZEROES, (off_t)from, (off_t)(to - from)) == 0)
        return DK_BLKDEV_WRITTEN;
    if (fallocate(fd, 0, (off_t)from, (off_t)(to - from)) == 0)
        return 0;
    if (errno == EOPNOTSUPP && ftruncate(fd, (off_t)to) == 0)
        return 0;
    return -errno;
}

/* What a file is after an attempt to make it longer: 0 or DK_BLKDEV_WRITTEN, or the error. */
static int settle(struct dk_blk_target *t, uint64_t bytes, int result)
{
    if (result >= 0)
        t->caps.bytes = bytes;
    else if (ftruncate(t->fd, (off_t)t->caps.bytes) < 0)
        result = -EIO; /* longer than it was: the next open finds zeros there */
    return result == -EDQUOT ? -ENOSPC : result;
}

int dk_blk_target_extend(struct dk_blk_target *t, uint64_t bytes)
{
    if (bytes > INT64_MAX)
        return -EFBIG;
    return settle(t, bytes, allocate(t->fd, t->caps.bytes, bytes));
}

int dk_blk_target_grow(struct dk_blk_target *t, uint64_t bytes)
{
    if (bytes > INT64_MAX)
        return -EFBIG;
    int r = allocate(t->fd, t->caps.bytes, bytes);
    if (r == 0)
        r = write_zeros(t->fd, t->caps.bytes, bytes);
    if (r >= 0)
        r = fsync(t->fd) < 0 ? -errno : 0;
    return settle(t, bytes, r);
}

int dk_blk_file_sync_name(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fsync(fd) < 0 && errno != EINVAL ? -errno : 0; /* EINVAL: it needs none */
    close(fd);
    return r;
}

static int extend(struct dk_blk_target *t, const struct dk_blk_file_options *o,
                  const char **why_out)
{
    const uint64_t bytes = (o->bytes + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
    int r = 0;
    if (t->is_block || o->read_only)
        return 0;
    if (o->create && (r = dk_blk_file_sync_name(o->path)) < 0)
        return dk_why(why_out, r, "%s: its directory: %s", o->path, strerror(-r));
    if (bytes > t->caps.bytes)
        r = dk_blk_target_grow(t, bytes);
    return r < 0 ? dk_why(why_out, r, "cannot make %s %llu bytes long: %s", o->path,
                          (unsigned long long)bytes, strerror(-r))
                 : 0;
}

static int check(const struct dk_blk_file_options *o, const char **why_out)
{
    if (!o->path || !*o->path)
        return dk_why(why_out, -EINVAL, "the path of a file or block device is missing");
    if (o->depth > MAX_DEPTH)
        return dk_why(why_out, -EINVAL, "%s: at most %u I/Os in flight", o->path, MAX_DEPTH);
    return 0;
}

int dk_blk_target_open(struct dk_blk_target *t, const struct dk_blk_file_options *o,
                       const char **why_out)
{
    int r = check(o, why_out);
    if (r < 0)
        return r;
    *t = (struct dk_blk_target){.fd = -1};
    t->caps.max_bytes = MAX_BYTES;
    t->caps.max_segs = DK_BLK_SEGS_MAX;
    t->caps.depth = o->depth ? o->depth : DEFAULT_DEPTH;
    t->caps.flags = DK_BLKDEV_FUA | (o->read_only ? DK_BLKDEV_READ_ONLY : 0);
    r = open_and_lock(t, o, why_out);
    if (r < 0)
        return r;
    r = measure(t, o, why_out);
    if (r == 0)
        r = extend(t, o, why_out);
    if (r < 0)
        dk_blk_target_close(t);
    else if (!t->is_block && !o->read_only)
        t->caps.flags |= DK_BLKDEV_GROWS;
    return r;
}

void dk_blk_target_close(struct dk_blk_target *t)
{
    close(t->fd);
    t->fd = -1;
}
