/* SPDX-License-Identifier: MIT */
/*
 * A note is written to a file beside it, which takes its place: so who reads one finds all of it.
 * It is not forced to the disk: after a power cut there is none, or the one of before.
 */
#include "os/note.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_dir(const struct dk_statdir_where *where)
{
    char path[PATH_MAX];
    const int r = dk_statdir_choose(where, path, sizeof(path));
    return r < 0 ? r : dk_statdir_open(path, where->uid);
}

static int read_all(int fd, uid_t uid, char text[DK_NOTE_MAX])
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != uid || !S_ISREG(st.st_mode))
        return -EPERM;
    const ssize_t n = read(fd, text, DK_NOTE_MAX);
    if (n < 0)
        return -errno;
    if (n == DK_NOTE_MAX)
        return -EFBIG;
    text[n] = '\0';
    return 0;
}

int dk_note_read(const struct dk_statdir_where *where, const char *name, char text[DK_NOTE_MAX])
{
    const int dir = open_dir(where);
    if (dir < 0)
        return dir;
    const int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int r = fd < 0 ? -errno : read_all(fd, where->uid, text);
    if (fd >= 0)
        close(fd);
    close(dir);
    return r;
}

static int write_all(int fd, const char *text)
{
    const size_t len = strlen(text);
    const ssize_t n = write(fd, text, len);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -ENOSPC;
}

static int write_beside(int dir, const char *beside, const char *text)
{
    const int fd = openat(dir, beside,
                          O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    const int r = write_all(fd, text);
    close(fd);
    return r;
}

int dk_note_write(const struct dk_statdir_where *where, const char *name, const char *text)
{
    char beside[NAME_MAX];
    const int n = snprintf(beside, sizeof(beside), "%s.new", name);
    if (n < 0 || (size_t)n >= sizeof(beside))
        return -ENAMETOOLONG;
    const int dir = open_dir(where);
    if (dir < 0)
        return dir;
    int r = write_beside(dir, beside, text);
    if (r == 0 && renameat(dir, beside, dir, name) < 0)
        r = -errno;
    if (r < 0)
        unlinkat(dir, beside, 0);
    close(dir);
    return r;
}

int dk_note_remove(const struct dk_statdir_where *where, const char *name)
{
    const int dir = open_dir(where);
    if (dir < 0)
        return dir == -ENOENT ? 0 : dir;
    const int r = unlinkat(dir, name, 0) < 0 && errno != ENOENT ? -errno : 0;
    close(dir);
    return r;
}
