/* SPDX-License-Identifier: MIT */
/*
 * Files, block devices and NVMe devices, for logs.
 */
#include "doctor.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#define MEMLOCK (UINT64_C(64) << 20) /* a heap that is in use */

/* A file that is not there is made in its folder. */
static void check_path(const struct doctor_machine *m, struct doctor_report *r, const char *path)
{
    char folder[DOCTOR_TEXT_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    const bool there = doctor_is_there(m, "%s", path);
    const char *wanted = there ? path : slash ? folder : ".";
    const bool usable = doctor_is_usable(m, "%s", wanted);
    doctor_say(r, usable ? DOCTOR_FINE : DOCTOR_MISSING, "path", "%s %s", wanted,
               usable                             ? "may be written"
               : doctor_is_there(m, "%s", wanted) ? "may not be written by this user"
                                                  : "is not there");
    if (usable)
        return;
    if (doctor_is_there(m, "%s", wanted))
        doctor_mend(r, "setfacl -m u:%" PRIu32 ":rwX %s", m->uid, wanted);
    else
        doctor_mend(r, "mkdir -p %s", wanted);
}

void doctor_check_file(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    if (*device)
        check_path(m, r, device);
    doctor_check_io_uring(m, r, DOCTOR_ADVICE, "threads read and write instead");
    doctor_need_memlock(m, r, DOCTOR_ADVICE, MEMLOCK, "I/O from memory beyond that is copied");
}

/* "0n1" of /dev/ng0n1; false where the path is another one. */
static bool namespace_of(const char *path, char number[16])
{
    unsigned controller, namespace;
    char end;
    if (sscanf(path, "/dev/ng%un%u%c", &controller, &namespace, &end) != 2)
        return false;
    snprintf(number, 16, "%un%u", controller, namespace);
    return true;
}

/* A block device, or a partition of it, that has a file system in use: nobody else may have it. */
static void check_mounts(const struct doctor_machine *m, struct doctor_report *r, const char *path)
{
    char word[DOCTOR_NAME_MAX + 1], line[256];
    unsigned partition = 0;
    snprintf(word, sizeof(word), "%s ", path);
    bool is_mounted = doctor_read_line(m, line, sizeof(line), word, "/proc/mounts");
    snprintf(word, sizeof(word), "%sp", path);
    if (!is_mounted && doctor_read_line(m, line, sizeof(line), word, "/proc/mounts"))
        is_mounted = sscanf(line, "%u", &partition) == 1;
    if (!is_mounted)
        return;
    word[0] = '\0';
    if (partition)
        snprintf(word, sizeof(word), "p%u", partition);
    doctor_say(r, DOCTOR_MISSING, path, "%s%s is mounted", path, word);
    doctor_mend(r, "umount %s%s", path, word);
}

static void check_namespace(const struct doctor_machine *m, struct doctor_report *r,
                            const char *number)
{
    char path[DOCTOR_NAME_MAX];
    snprintf(path, sizeof(path), "/dev/ng%s", number);
    if (!doctor_need_device(m, r, path, "modprobe nvme"))
        return;
    snprintf(path, sizeof(path), "/dev/nvme%s", number);
    doctor_need_device(m, r, path, "modprobe nvme");
    check_mounts(m, r, path);
}

static void check_namespaces(const struct doctor_machine *m, struct doctor_report *r)
{
    glob_t found;
    char number[16];
    const size_t n = doctor_find(m, &found, "/dev/ng[0-9]*n[0-9]*");
    for (size_t i = 0; i < n; i++)
        if (namespace_of(found.gl_pathv[i] + strlen(m->root), number))
            check_namespace(m, r, number);
    globfree(&found);
    if (n > 0)
        return;
    doctor_say(r, DOCTOR_MISSING, "devices", "there is no /dev/ngXnY: an NVMe device is wanted");
    if (!doctor_is_there(m, "/sys/module/nvme"))
        doctor_mend(r, "modprobe nvme");
}

/* Linux 6.1 passes commands through for administrators only. */
static void check_version(const struct doctor_machine *m, struct doctor_report *r)
{
    const bool can = m->version >= DOCTOR_LINUX(6, 1);
    doctor_say(r, can ? DOCTOR_FINE : DOCTOR_MISSING, "Linux",
               can ? "this kernel passes NVMe commands through"
                   : "this kernel passes no NVMe commands through: Linux 6.1 is wanted");
    if (m->version < DOCTOR_LINUX(6, 2))
        doctor_need_capability(m, r, CAP_SYS_ADMIN, "NVMe commands, before Linux 6.2");
}

static void check_polled_queues(const struct doctor_machine *m, struct doctor_report *r)
{
    uint64_t num = 0;
    if (!doctor_read_number(m, &num, "/sys/module/nvme/parameters/poll_queues"))
        return;
    doctor_say(r, num > 0 ? DOCTOR_FINE : DOCTOR_ADVICE, "poll_queues",
               "%" PRIu64 " queues are polled%s", num,
               num > 0 ? "" : ": completions come by interrupts, which is slower");
    if (num == 0)
        doctor_mend(r, "echo options nvme poll_queues=4 > /etc/modprobe.d/nvme.conf && "
                       "update-initramfs -u");
}

void doctor_check_nvme(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    char number[16];
    check_version(m, r);
    doctor_check_io_uring(m, r, DOCTOR_MISSING, "NVMe commands go through it");
    if (*device && !namespace_of(device, number))
        doctor_say(r, DOCTOR_MISSING, device, "it is no NVMe namespace: /dev/ngXnY is wanted");
    else if (*device)
        check_namespace(m, r, number);
    else
        check_namespaces(m, r);
    check_polled_queues(m, r);
    doctor_need_memlock(m, r, DOCTOR_ADVICE, MEMLOCK, "I/O from memory beyond that is copied");
}
