/* SPDX-License-Identifier: MIT */
/*
 * Candidates, the checks before a directory is trusted, and cleaning (statdir.h).
 */
#include "os/statdir.h"

#include "os/statfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the candidates, those whose parent belongs to the user. */
#define NUM_OWN 2

struct dk_statdir_where dk_statdir_where(void)
{
    return (struct dk_statdir_where){.runtime_dir = secure_getenv("XDG_RUNTIME_DIR"),
                                     .run_root = "/run/user",
                                     .shared_roots = {"/dev/shm", "/tmp"},
                                     .uid = geteuid()};
}

int dk_statdir_candidate(const struct dk_statdir_where *where, size_t index, char *path, size_t len)
{
    int n = -1;
    if (index == 0 && where->runtime_dir && where->runtime_dir[0] == '/')
        n = snprintf(path, len, "%s/demikernel", where->runtime_dir);
    else if (index == 1)
        n = snprintf(path, len, "%s/%u/demikernel", where->run_root, (unsigned)where->uid);
    else if (index >= NUM_OWN && index < DK_STATDIR_CANDIDATES)
        n = snprintf(path, len, "%s/demikernel-%u", where->shared_roots[index - NUM_OWN],
                     (unsigned)where->uid);
    if (n < 0)
        return -ENOENT;
    return (size_t)n < len ? 0 : -ENAMETOOLONG;
}

/* Whether the directory that path is in is there, and belongs to the owner unless anybody may be
 * it. */
static bool has_parent(char *path, bool anybody, uid_t owner)
{
    struct stat st;
    char *slash = strrchr(path, '/');
    *slash = '\0';
    bool there = stat(path, &st) == 0 && S_ISDIR(st.st_mode) && (anybody || st.st_uid == owner);
    *slash = '/';
    return there;
}

int dk_statdir_choose(const struct dk_statdir_where *where, char *path, size_t len)
{
    for (size_t i = 0; i < DK_STATDIR_CANDIDATES; i++) {
        int r = dk_statdir_candidate(where, i, path, len);
        if (r == 0 && has_parent(path, i >= NUM_OWN, where->uid))
            return 0;
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return -ENOENT;
}

int dk_statdir_open(const char *path, uid_t uid)
{
    struct stat st;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fstat(fd, &st) < 0 ? -errno : 0;
    if (r == 0 && (st.st_uid != uid || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0))
        r = -EPERM;
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

/* Reads the number that a file is named for; 0: it is no file of ours. */
static pid_t pid_of_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    if (digits == 0 || digits > 9 || name[digits] != '\0' || name[0] == '0')
        return 0;
    return (pid_t)strtol(name, NULL, 10);
}

static bool read_header(int dirfd, const char *name, struct dk_statfile_header *header)
{
    int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool whole = pread(fd, header, sizeof(*header), 0) == sizeof(*header);
    close(fd);
    return whole && header->magic == DK_STATFILE_MAGIC;
}

/* A file that is not complete, because it is being made or its process was killed then, counts by
 * its name alone. */
static bool is_stale(int dirfd, const char *name, pid_t pid, const struct dk_process *self)
{
    struct dk_statfile_header header;
    struct dk_process process;
    bool complete = read_header(dirfd, name, &header);
    if (complete && header.pid_namespace != self->pid_namespace)
        return false; /* a container shares the directory: its processes have other numbers here */
    if (pid == self->pid)
        return true;
    int r = dk_process_look(pid, &process);
    return r == -ENOENT || (r == 0 && complete && header.start_ticks != process.start_ticks);
}

void dk_statdir_clean(int dirfd, const struct dk_process *self)
{
    const struct dirent *entry;
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* closed with dir */
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        pid_t pid = pid_of_name(entry->d_name);
        if (pid > 0 && is_stale(dirfd, entry->d_name, pid, self))
            unlinkat(dirfd, entry->d_name, 0);
    }
    closedir(dir);
}
