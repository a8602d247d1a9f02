/* SPDX-License-Identifier: MIT */
/*
 * Files that hold one log each. A file is known by what it is (device and inode), not by its name.
 *
 * A new one is made beside its place and moved there when it is whole, so that a process that ends
 * in the middle leaves no half of a store under the name. Invariant: who moves one there has locked
 * what is beside the place, so of several that make one at the same time one does, and the others
 * find it.
 */
#include "drv/blk_file.h"
#include "libos/log/logs.h"
#include "os/log.h"
#include "store/format.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_SUFFIX    ".new"
#define SEGMENT_BYTES (UINT64_C(4) << 20) /* of a new file, which has four of them at first */

static struct dk_logs_disk *find_file(const struct dk_logs *logs, const struct stat *st)
{
    struct dk_list *l;
    dk_list_for_each (l, &logs->disks) {
        struct dk_logs_disk *disk = dk_container_of(l, struct dk_logs_disk, link);
        if (disk->is_file && disk->dev == st->st_dev && disk->ino == st->st_ino)
            return disk;
    }
    return NULL;
}

static int remember(struct dk_logs_disk *disk, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return -errno;
    disk->dev = st.st_dev;
    disk->ino = st.st_ino;
    return 0;
}

/* Opens the store that is in a file, or a new one (`options->create`) with its log. */
static int open_file(struct dk_logs_disk **disk_out, struct dk_logs *logs,
                     const struct dk_blk_file_options *options, const char **why_out)
{
    struct dk_blkdev *dev;
    struct dk_log *log;
    int r = dk_blk_file_open(&dev, options, why_out);
    if (r < 0)
        return r;
    if (options->create)
        r = dk_logs_format(dev, SEGMENT_BYTES, true, why_out);
    if (r == 0)
        r = dk_logs_disk_open(disk_out, logs, dev, true, why_out);
    if (r < 0) {
        dev->ops->close(dev);
        return r;
    }
    r = remember(*disk_out, options->path);
    if (r == 0 && options->create) {
        r = dk_log_open(&log, (*disk_out)->store, DK_LOGS_FILE_LOG, DK_LOG_CREATE);
        if (r == 0)
            dk_log_put(log);
    }
    if (r < 0)
        dk_logs_disk_put(*disk_out);
    return r;
}

/* Opens what is there; who only reads may do so without the right to write. */
static int open_there(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *path,
                      int flags, const char **why_out)
{
    struct dk_blk_file_options options = {.path = path};
    int r = open_file(disk_out, logs, &options, why_out);
    if ((r != -EACCES && r != -EROFS) || (flags & O_ACCMODE) != O_RDONLY)
        return r;
    options.read_only = true;
    return open_file(disk_out, logs, &options, why_out);
}

/* Whether a place is as it was: there is nothing, or (`over`) an empty file. */
static bool is_free(const char *path, bool over)
{
    struct stat st;
    return stat(path, &st) < 0 ? !over : over && S_ISREG(st.st_mode) && st.st_size == 0;
}

/* Moves a file to a place where there is none, or (`over`) an empty one. */
static int move(const char *from, const char *to, bool over)
{
    if (!is_free(to, over))
        return -EEXIST;
    int r = over ? rename(from, to) : renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    if (r < 0 && errno == EINVAL) /* of the file system */
        r = rename(from, to);
    return r < 0 ? -errno : dk_blk_file_sync_name(to);
}

static int create(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *path,
                  mode_t mode, bool over, const char **why_out)
{
    char name[PATH_MAX];
    *why_out = "";
    if ((size_t)snprintf(name, sizeof(name), "%s" NEW_SUFFIX, path) >= sizeof(name))
        return -ENAMETOOLONG;
    const struct dk_blk_file_options options = {.path = name, .create = true, .mode = mode};
    int r = open_file(disk_out, logs, &options, why_out);
    if (r < 0) {
        if (r != -EBUSY) /* else somebody makes it */
            unlink(name);
        return r;
    }
    r = move(name, path, over);
    if (r < 0) {
        *why_out = "cannot be moved to its place";
        unlink(name);
        dk_logs_disk_put(*disk_out);
    }
    return r;
}

/* What the caller's errno says well enough is not told again. */
static void tell(const char *path, int r, const char *why)
{
    if (r < 0 && r != -ENOENT && r != -EEXIST && r != -EACCES && r != -ENAMETOOLONG)
        dk_log(DK_LOG_ERROR, "log %s: %s (%s)", path, why, strerror(-r));
}

static int get_once(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *path,
                    int flags, mode_t mode, const char **why_out)
{
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (!there && (errno != ENOENT || !(flags & O_CREAT)))
        return -errno;
    if (there && (flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    *disk_out = there ? find_file(logs, &st) : NULL;
    if (*disk_out) {
        (*disk_out)->holds++;
        return 0;
    }
    bool empty = there && S_ISREG(st.st_mode) && st.st_size == 0 && (flags & O_CREAT);
    return there && !empty ? open_there(disk_out, logs, path, flags, why_out)
                           : create(disk_out, logs, path, mode, empty, why_out);
}

int dk_logs_get_file(struct dk_logs_disk **disk_out, struct dk_logs *logs, const char *path,
                     int flags, mode_t mode)
{
    const char *why = "";
    int r = get_once(disk_out, logs, path, flags, mode, &why);
    if (r == -EEXIST && !(flags & O_EXCL)) /* somebody else made it meanwhile */
        r = get_once(disk_out, logs, path, flags, mode, &why);
    tell(path, r, why);
    return r;
}

int dk_logs_unlink_file(const char *path)
{
    uint64_t magic = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    ssize_t n = pread(fd, &magic, sizeof(magic), offsetof(struct dk_super, magic));
    close(fd);
    if (n != sizeof(magic) || magic != DK_SUPER_MAGIC)
        return -EMEDIUMTYPE; /* no log of ours: that is for others to remove */
    return unlink(path) < 0 ? -errno : dk_blk_file_sync_name(path);
}
