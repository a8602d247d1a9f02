/* SPDX-License-Identifier: MIT */
#include "doctor_machine.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

/* Capabilities that the kernel asks the first user namespace for. Those of the network it asks the
 * namespace of the interfaces for, which a process has made together with its own. */
static const uint64_t of_first_namespace =
    UINT64_C(1) << CAP_IPC_LOCK | UINT64_C(1) << CAP_SYS_RAWIO | UINT64_C(1) << CAP_SYS_ADMIN |
    UINT64_C(1) << CAP_BPF | UINT64_C(1) << CAP_PERFMON;

/* The path with the root before it; a path that is too long is one that is not there. */
#define MAKE_PATH(m, path, fmt)                                                                    \
    do {                                                                                           \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        make_path(m, path, fmt, ap);                                                               \
        va_end(ap);                                                                                \
    } while (0)

static void make_path(const struct doctor_machine *m, char path[PATH_MAX], const char *fmt,
                      va_list ap)
{
    const int root = snprintf(path, PATH_MAX, "%s", m->root);
    if (root < 0 || root >= PATH_MAX ||
        vsnprintf(path + root, (size_t)(PATH_MAX - root), fmt, ap) >= PATH_MAX - root)
        path[0] = '\0';
}

static bool read_first_line(const char *path, char *to, size_t size)
{
    FILE *file = fopen(path, "re");
    bool done = file && fgets(to, (int)size, file);
    if (file)
        fclose(file);
    if (done)
        to[strcspn(to, "\n")] = '\0';
    return done;
}

bool doctor_read(const struct doctor_machine *m, char *to, size_t size, const char *fmt, ...)
{
    char path[PATH_MAX];
    MAKE_PATH(m, path, fmt);
    return read_first_line(path, to, size);
}

bool doctor_read_number(const struct doctor_machine *m, uint64_t *to, const char *fmt, ...)
{
    char path[PATH_MAX], line[LINE_MAX_BYTES], *end;
    MAKE_PATH(m, path, fmt);
    if (!read_first_line(path, line, sizeof(line)))
        return false;
    const uint64_t n = (uint64_t)strtoll(line, &end, 0);
    if (end == line)
        return false;
    *to = n;
    return true;
}

bool doctor_read_line(const struct doctor_machine *m, char *to, size_t size, const char *word,
                      const char *path)
{
    char full[PATH_MAX], line[LINE_MAX_BYTES];
    const size_t len = strlen(word);
    bool found = false;
    snprintf(full, sizeof(full), "%s%s", m->root, path);
    FILE *file = fopen(full, "re");
    while (file && !found && fgets(line, sizeof(line), file))
        found = strncmp(line, word, len) == 0;
    if (file)
        fclose(file);
    if (found) {
        line[strcspn(line, "\n")] = '\0';
        snprintf(to, size, "%s", line + len + strspn(line + len, " \t"));
    }
    return found;
}

bool doctor_is_there(const struct doctor_machine *m, const char *fmt, ...)
{
    char path[PATH_MAX];
    MAKE_PATH(m, path, fmt);
    return access(path, F_OK) == 0;
}

bool doctor_is_usable(const struct doctor_machine *m, const char *fmt, ...)
{
    char path[PATH_MAX];
    MAKE_PATH(m, path, fmt);
    return faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) == 0;
}

bool doctor_read_link(const struct doctor_machine *m, char *to, size_t size, const char *fmt, ...)
{
    char path[PATH_MAX], target[PATH_MAX];
    MAKE_PATH(m, path, fmt);
    const ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    snprintf(to, size, "%s", doctor_base(target));
    return true;
}

size_t doctor_find(const struct doctor_machine *m, glob_t *found, const char *fmt, ...)
{
    char path[PATH_MAX];
    MAKE_PATH(m, path, fmt);
    memset(found, 0, sizeof(*found));
    return glob(path, 0, NULL, found) == 0 ? found->gl_pathc : 0;
}

const char *doctor_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool doctor_has_capability(const struct doctor_machine *m, int capability)
{
    const uint64_t bit = UINT64_C(1) << capability;
    return (m->capabilities & bit) && !(m->is_user_ns && (of_first_namespace & bit));
}

/* "Max locked memory  SOFT  HARD  bytes" */
static uint64_t soft_limit(const char *line)
{
    return strncmp(line, "unlimited", 9) == 0 ? DOCTOR_ALL_BYTES : strtoull(line, NULL, 10);
}

/* All users: as many as there are, from 0 to 0. */
static bool is_whole_map(const char *line)
{
    unsigned long long inside, outside, num;
    return sscanf(line, "%llu %llu %llu", &inside, &outside, &num) == 3 && inside == 0 &&
           outside == 0 && num == UINT32_MAX;
}

bool doctor_machine_init(struct doctor_machine *m, const char *root)
{
    char line[LINE_MAX_BYTES];
    unsigned version[2];
    *m = (struct doctor_machine){.root = root, .workers = 1};
    if (!doctor_read_line(m, line, sizeof(line), "CapEff:", "/proc/self/status"))
        return false;
    m->capabilities = strtoull(line, NULL, 16);
    if (doctor_read_line(m, line, sizeof(line), "Uid:", "/proc/self/status"))
        m->uid = (uint32_t)strtoul(line + strcspn(line, "\t "), NULL, 10);
    if (doctor_read_line(m, line, sizeof(line), "Max locked memory", "/proc/self/limits"))
        m->memlock = soft_limit(line);
    if (doctor_read(m, line, sizeof(line), "/proc/sys/kernel/osrelease") &&
        sscanf(line, "%u.%u", &version[0], &version[1]) == 2)
        m->version = DOCTOR_LINUX(version[0], version[1]);
    m->is_user_ns = doctor_read(m, line, sizeof(line), "/proc/self/uid_map") && !is_whole_map(line);
    return true;
}
