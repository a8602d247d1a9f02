/* SPDX-License-Identifier: MIT */
/*
 * Finds, loads and checks a statistics file (statread.h).
 */
#include "os/statread.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct dk_statfile_header *header(const struct dk_statread *r)
{
    return (const struct dk_statfile_header *)(const void *)r->bytes;
}

static const struct dk_statfile_block *block_at(const struct dk_statread *r, uint32_t offset)
{
    return (const struct dk_statfile_block *)(const void *)(r->bytes + offset);
}

static const char *name_at(const struct dk_statfile_block *block, uint32_t i)
{
    return (const char *)&block->counters[block->num_counters] + (size_t)i * DK_STATFILE_NAME_BYTES;
}

static bool is_name(const char *s)
{
    size_t len = strnlen(s, DK_STATFILE_NAME_BYTES);
    return len > 0 && len < DK_STATFILE_NAME_BYTES &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._") == len;
}

static bool is_text(const char *s)
{
    for (size_t i = 0; i < DK_STATFILE_TEXT_BYTES; i++) {
        if (s[i] == '\0')
            return true;
        if (s[i] < ' ' || s[i] > '~')
            return false;
    }
    return false;
}

/* Checks a block of which left bytes are there. */
static bool is_block(const struct dk_statfile_block *block, uint32_t left)
{
    const uint32_t each = sizeof(uint64_t) + DK_STATFILE_NAME_BYTES;
    if (left < sizeof(*block) || block->bytes < sizeof(*block) || block->bytes > left ||
        block->bytes % DK_STATFILE_ALIGN != 0)
        return false;
    if (block->num_counters > (block->bytes - sizeof(*block)) / each || block->current > 1)
        return false;
    if (block->text_name[0] &&
        (!is_name(block->text_name) || !is_text(block->texts[block->current])))
        return false;
    for (uint32_t i = 0; i < block->num_counters; i++)
        if (!is_name(name_at(block, i)))
            return false;
    return true;
}

static bool is_whole(const struct dk_statread *r)
{
    uint32_t at = sizeof(struct dk_statfile_header);
    while (at < r->len && is_block(block_at(r, at), r->len - at))
        at += block_at(r, at)->bytes;
    return at == r->len;
}

/* Fills buf; false when the file has less. */
static bool read_all(int fd, void *buf, size_t len, off_t offset)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (uint8_t *)buf + done, len - done, offset + (off_t)done);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* A file that has no magic number yet is as good as not there. */
static int check_header(const struct dk_statfile_header *h)
{
    if (h->magic == 0)
        return -ENOENT;
    if (h->magic != DK_STATFILE_MAGIC || h->version != DK_STATFILE_VERSION)
        return -EPROTO;
    if (h->used_bytes < sizeof(*h) || h->used_bytes > DK_STATFILE_MAX_BYTES ||
        h->used_bytes % DK_STATFILE_ALIGN != 0)
        return -EPROTO;
    return 0;
}

/* The header is read first, by itself: the blocks that it counts are complete by then. */
int dk_statread_load(struct dk_statread *out, int fd)
{
    struct dk_statfile_header h;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return -ENOENT;
    if (!read_all(fd, &h, sizeof(h), 0))
        return -EPROTO;
    int r = check_header(&h);
    if (r < 0)
        return r;
    struct dk_statread read = {.bytes = malloc(h.used_bytes), .len = h.used_bytes};
    if (!read.bytes)
        return -ENOMEM;
    memcpy(read.bytes, &h, sizeof(h));
    read.block = sizeof(h);
    if (!read_all(fd, read.bytes + sizeof(h), read.len - sizeof(h), sizeof(h)) ||
        !is_whole(&read)) {
        free(read.bytes);
        return -EPROTO;
    }
    *out = read;
    return 0;
}

/* Opens a process's file in a directory: a descriptor, -EACCES, or -ENOENT: none that is of that
 * user. */
static int open_file(const char *dir, pid_t pid, uid_t uid)
{
    char path[PATH_MAX + 16];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%d", dir, (int)pid);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES || errno == EPERM ? -EACCES : -ENOENT;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == uid)
        return fd;
    close(fd);
    return -ENOENT;
}

/* Whether a file is of the process that was looked for; `alive` NULL: there is no such process. */
static int check_owner(const struct dk_statfile_header *h, pid_t pid,
                       const struct dk_process *alive)
{
    struct dk_process self;
    if (h->pid != (uint32_t)pid)
        return -EPROTO;
    if (dk_process_self(&self) == 0 && h->pid_namespace != self.pid_namespace)
        return -ENOENT; /* a process of a container, with this number there */
    return alive && h->start_ticks == alive->start_ticks ? 0 : -ESRCH;
}

static int open_in(struct dk_statread *out, const char *dir, pid_t pid, uid_t uid,
                   const struct dk_process *alive)
{
    int fd = open_file(dir, pid, uid);
    if (fd < 0)
        return fd;
    int r = dk_statread_load(out, fd);
    close(fd);
    if (r < 0)
        return r;
    r = check_owner(header(out), pid, alive);
    if (r < 0)
        dk_statread_close(out);
    return r;
}

int dk_statread_open(struct dk_statread *out, const struct dk_statdir_where *where, pid_t pid)
{
    struct dk_statdir_where theirs = *where;
    struct dk_process process, *alive = dk_process_look(pid, &process) == 0 ? &process : NULL;
    char dir[PATH_MAX];
    int result = -ENOENT;
    if (alive)
        theirs.uid = alive->uid;
    for (size_t i = 0; i < DK_STATDIR_CANDIDATES; i++) {
        if (dk_statdir_candidate(&theirs, i, dir, sizeof(dir)) < 0)
            continue;
        int r = open_in(out, dir, pid, theirs.uid, alive);
        if (r != -ENOENT && r != -EACCES)
            return r;
        if (r == -EACCES)
            result = r;
    }
    return result;
}

void dk_statread_close(struct dk_statread *r)
{
    free(r->bytes);
    r->bytes = NULL;
}

bool dk_statread_next(struct dk_statread *r, struct dk_statread_value *out)
{
    for (; r->block < r->len; r->block += block_at(r, r->block)->bytes, r->index = 0) {
        const struct dk_statfile_block *block = block_at(r, r->block);
        if (r->index++ == 0 && block->text_name[0]) {
            *out = (struct dk_statread_value){block->text_name, block->texts[block->current], 0};
            return true;
        }
        uint32_t i = r->index - 1 - (block->text_name[0] != '\0');
        if (i < block->num_counters) {
            *out = (struct dk_statread_value){name_at(block, i), NULL, block->counters[i]};
            return true;
        }
    }
    return false;
}

size_t dk_statread_max_values(const struct dk_statread *r)
{
    return r->len / (sizeof(uint64_t) + DK_STATFILE_NAME_BYTES);
}
