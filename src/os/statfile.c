/* SPDX-License-Identifier: MIT */
/*
 * Creates the statistics file, maps it and fills it (statfile.h).
 *
 * All of its bytes are allocated before it is mapped: a store into a hole of a file on a full disk
 * would be SIGBUS.
 */
#include "os/statfile.h"

#include "os/log.h"
#include "os/pages.h"
#include "os/statdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct {
    uint8_t *base;  /* reserved once: DK_STATFILE_MAX_BYTES for the file, and as much for a fork */
    uint32_t bytes; /* of the file; 0: none is open */
    char path[PATH_MAX]; /* "": it is not there, or not this process's */
} file;

static struct dk_statfile_header *header(void)
{
    return (struct dk_statfile_header *)(void *)file.base;
}

static int create(int dirfd, const char *name, uint32_t bytes)
{
    int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int error = posix_fallocate(fd, 0, bytes);
    if (error == 0)
        return fd;
    close(fd);
    unlinkat(dirfd, name, 0);
    return -error;
}

static int map(int fd, uint32_t bytes)
{
    if (!file.base)
        file.base = dk_pages_reserve(2 * (size_t)DK_STATFILE_MAX_BYTES);
    if (!file.base)
        return -ENOMEM;
    void *p = mmap(file.base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    return p == MAP_FAILED ? -errno : 0;
}

static void write_header(const struct dk_process *self)
{
    struct dk_statfile_header *h = header();
    h->version = DK_STATFILE_VERSION;
    h->pid = (uint32_t)self->pid;
    h->start_ticks = self->start_ticks;
    h->pid_namespace = self->pid_namespace;
    h->used_bytes = sizeof(*h);
    __atomic_store_n(&h->magic, DK_STATFILE_MAGIC, __ATOMIC_RELEASE); /* read by load() */
}

/* Creates and maps the file in a directory that is open. */
static int open_in(int dirfd, const struct dk_process *self, uint32_t bytes)
{
    char name[16];
    snprintf(name, sizeof(name), "%d", (int)self->pid);
    dk_statdir_clean(dirfd, self);
    int fd = create(dirfd, name, bytes);
    if (fd < 0)
        return fd;
    int r = map(fd, bytes);
    if (r == 0)
        write_header(self);
    else
        unlinkat(dirfd, name, 0);
    close(fd);
    return r;
}

int dk_statfile_open(const char *dir, uid_t uid, uint32_t bytes)
{
    struct dk_process self;
    char path[PATH_MAX];
    int r = dk_process_self(&self);
    if (r < 0)
        return r;
    if (snprintf(path, sizeof(path), "%s/%d", dir, (int)self.pid) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    int dirfd = dk_statdir_open(dir, uid);
    if (dirfd < 0)
        return dirfd;
    r = open_in(dirfd, &self, bytes);
    close(dirfd);
    if (r < 0)
        return r;
    file.bytes = bytes;
    memcpy(file.path, path, sizeof(path));
    return 0;
}

static size_t block_bytes(size_t num_counters)
{
    size_t bytes = sizeof(struct dk_statfile_block) +
                   num_counters * (sizeof(uint64_t) + DK_STATFILE_NAME_BYTES);
    return (bytes + DK_STATFILE_ALIGN - 1) / DK_STATFILE_ALIGN * DK_STATFILE_ALIGN;
}

static void fill(struct dk_statfile_block *block, const char *const names[], size_t num_counters,
                 const char *text_name, const char *text)
{
    char *at = (char *)&block->counters[num_counters];
    block->num_counters = (uint32_t)num_counters;
    for (size_t i = 0; i < num_counters; i++, at += DK_STATFILE_NAME_BYTES)
        snprintf(at, DK_STATFILE_NAME_BYTES, "%s", names[i]);
    if (!text_name)
        return;
    snprintf(block->text_name, sizeof(block->text_name), "%s", text_name);
    snprintf(block->texts[0], sizeof(block->texts[0]), "%s", text);
}

struct dk_statfile_block *dk_statfile_add(const char *const names[], size_t num_counters,
                                          const char *text_name, const char *text)
{
    size_t bytes = block_bytes(num_counters);
    if (!file.bytes)
        return NULL;
    uint32_t used = header()->used_bytes;
    if (bytes > file.bytes - used) {
        dk_log(DK_LOG_INFO, "the statistics file is full: other processes do not see all counters");
        return NULL;
    }
    struct dk_statfile_block *block = (struct dk_statfile_block *)(void *)(file.base + used);
    memset(block, 0, bytes); /* a block that was taken back may have been here */
    block->bytes = (uint32_t)bytes;
    fill(block, names, num_counters, text_name, text);
    __atomic_store_n(&header()->used_bytes, used + (uint32_t)bytes, __ATOMIC_RELEASE);
    return block;
}

void dk_statfile_set_text(struct dk_statfile_block *block, const char *text)
{
    if (!block)
        return;
    uint32_t other = !block->current;
    snprintf(block->texts[other], sizeof(block->texts[other]), "%s", text);
    __atomic_store_n(&block->current, other, __ATOMIC_RELEASE);
}

uint32_t dk_statfile_mark(void)
{
    return file.bytes ? header()->used_bytes : 0;
}

void dk_statfile_rewind(uint32_t mark)
{
    if (file.bytes)
        __atomic_store_n(&header()->used_bytes, mark, __ATOMIC_RELEASE);
}

void dk_statfile_unlink(void)
{
    if (file.path[0])
        unlink(file.path);
    file.path[0] = '\0';
}

void dk_statfile_close(void)
{
    dk_statfile_unlink();
    file.bytes = 0;
}

/* The copy is made before the fork: after it, the parent may have counted on before the child
 * looks. */
void dk_statfile_before_fork(void)
{
    if (file.bytes)
        memcpy(file.base + DK_STATFILE_MAX_BYTES, file.base, header()->used_bytes);
}

void dk_statfile_after_fork(void)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    uint32_t bytes = file.bytes;
    file.path[0] = '\0'; /* it is the parent's */
    file.bytes = 0;
    if (bytes && mmap(file.base, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED)
        memcpy(file.base, file.base + DK_STATFILE_MAX_BYTES, bytes);
}
