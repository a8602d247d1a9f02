/* SPDX-License-Identifier: MIT */
/*
 * Reads /proc/PID/stat: "PID (NAME) STATE ...", where NAME may contain anything, the parentheses
 * too, so fields are counted from the last one.
 */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIELD_STATE 3
#define FIELD_START 22

/* Reads the whole of a short file: its length, or a negative errno. Its owner is in *uid_out. */
static ssize_t read_stat(pid_t pid, char *text, size_t len, uid_t *uid_out)
{
    char path[32];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = fstat(fd, &st) == 0 ? read(fd, text, len - 1) : -1;
    int error = errno;
    close(fd);
    if (n < 0)
        return error == ESRCH ? -ENOENT : -error; /* it ended after the open */
    text[n] = '\0';
    *uid_out = st.st_uid;
    return n;
}

/* Returns where a field begins, or NULL. */
static const char *find_field(const char *text, int field)
{
    const char *at = strrchr(text, ')');
    for (int i = FIELD_STATE - 1; at && i < field; i++) {
        at = strchr(at, ' ');
        if (at)
            at++;
    }
    return at;
}

int dk_process_look(pid_t pid, struct dk_process *out)
{
    char text[1024];
    uid_t uid = 0;
    ssize_t n = read_stat(pid, text, sizeof(text), &uid);
    if (n < 0)
        return (int)n;
    const char *state = find_field(text, FIELD_STATE), *start = find_field(text, FIELD_START);
    if (!start)
        return -EPROTO;
    if (*state == 'Z' || *state == 'X')
        return -ENOENT;
    *out = (struct dk_process){.pid = pid, .uid = uid, .start_ticks = strtoull(start, NULL, 10)};
    return 0;
}

int dk_process_self(struct dk_process *out)
{
    struct stat ns;
    int r = dk_process_look(getpid(), out);
    if (r < 0)
        return r;
    if (stat("/proc/self/ns/pid", &ns) < 0)
        return -errno;
    out->pid_namespace = ns.st_ino;
    return 0;
}
