/* SPDX-License-Identifier: MIT */
/*
 * What the kernel has: io_uring, huge pages, AF_XDP; and the backends that need nothing else of it.
 */
#include "doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HUGE_MIB    64u         /* that DPDK is given to begin with */
#define MEMLOCK     (64u << 20) /* a heap that is in use */
#define ALLOW_RINGS "sysctl -w kernel.io_uring_disabled=0"

/* Whether a ring can be made by this process: 0 or a negative errno. */
static int try_ring(void)
{
    struct io_uring_params params = {0};
    const int fd = (int)syscall(SYS_io_uring_setup, 1, &params);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

/* What keeps this process from io_uring, and the command that mends it; NULL: nothing. */
static const char *no_io_uring(const struct doctor_machine *m, const char **mend)
{
    uint64_t disabled = 0;
    *mend = "";
    if (doctor_read_number(m, &disabled, "/proc/sys/kernel/io_uring_disabled") &&
        (disabled > 1 || (disabled == 1 && !doctor_has_capability(m, CAP_SYS_ADMIN)))) {
        *mend = ALLOW_RINGS;
        return "it is switched off on this machine";
    }
    if (m->version < DOCTOR_LINUX(5, 6))
        return "this kernel is older than Linux 5.6";
    const int r = m->root[0] == '\0' ? try_ring() : 0;
    if (r == -ENOSYS)
        return "this kernel was built without it";
    return r == -EPERM ? "it is forbidden here, as in containers by default "
                         "(--security-opt=seccomp=unconfined)"
           : r < 0     ? strerror(-r)
                       : NULL;
}

void doctor_check_io_uring(const struct doctor_machine *m, struct doctor_report *r,
                           enum doctor_level level, const char *otherwise)
{
    const char *mend, *why = no_io_uring(m, &mend);
    r->needs.io_uring |= level == DOCTOR_MISSING;
    if (!why) {
        doctor_say(r, DOCTOR_FINE, "io_uring", "it may be used");
        return;
    }
    doctor_say(r, level, "io_uring", "%s: %s", why, otherwise);
    doctor_mend(r, "%s", mend);
}

/* Whether calls of bpf(2) come to the kernel, which does not know this one. */
static bool is_bpf_forbidden(void)
{
    return syscall(SYS_bpf, INT_MAX, NULL, 0) < 0 && errno == EPERM;
}

/* Of who has CAP_BPF: the kernel says the same to others. */
void doctor_check_bpf(const struct doctor_machine *m, struct doctor_report *r)
{
    r->needs.bpf = true;
    if (m->root[0] != '\0' || !doctor_has_capability(m, CAP_BPF))
        return;
    if (!is_bpf_forbidden()) {
        doctor_say(r, DOCTOR_FINE, "seccomp", "bpf(2) may be called");
        return;
    }
    doctor_say(r, DOCTOR_MISSING, "seccomp",
               "bpf(2) is forbidden here, as in containers of podman by default "
               "(--security-opt=seccomp=unconfined)");
}

void doctor_check_hugepages(const struct doctor_machine *m, struct doctor_report *r)
{
    glob_t found;
    uint64_t kb = 0, num = 0;
    size_t n = doctor_find(m, &found, "/sys/kernel/mm/hugepages/hugepages-*");
    for (size_t i = 0; i < n; i++) {
        const char *name = doctor_base(found.gl_pathv[i]);
        const uint64_t page_kb = strtoull(name + strlen("hugepages-"), NULL, 10);
        if (doctor_read_number(m, &num, "/sys/kernel/mm/hugepages/%s/free_hugepages", name))
            kb += num * page_kb;
    }
    globfree(&found);
    if (kb / 1024 >= HUGE_MIB) {
        doctor_say(r, DOCTOR_FINE, "hugepages", "%" PRIu64 " MiB are free", kb / 1024);
        return;
    }
    doctor_say(r, DOCTOR_ADVICE, "hugepages",
               "%" PRIu64 " MiB are free: DPDK is started with --no-huge, which is slower, and "
               "which a NIC may refuse",
               kb / 1024);
    doctor_mend(r, "sysctl -w vm.nr_hugepages=256");
}

void doctor_check_af_xdp(const struct doctor_machine *m, struct doctor_report *r)
{
    char line[256];
    const bool has = doctor_read_line(m, line, sizeof(line), "XDP ", "/proc/net/protocols");
    doctor_say(r, has ? DOCTOR_FINE : DOCTOR_MISSING, "AF_XDP", "%s",
               has ? "this kernel has it"
                   : "this kernel was built without it: one with CONFIG_XDP_SOCKETS is wanted");
    doctor_need_capability(m, r, CAP_NET_ADMIN, "XDP programs on interfaces");
    doctor_need_capability(m, r, CAP_NET_RAW, "sockets of AF_XDP");
    doctor_need_memlock(m, r, DOCTOR_MISSING, MEMLOCK, "memory of frames may not be registered");
}

void doctor_check_kernel(const struct doctor_machine *m, struct doctor_report *r,
                         const char *device)
{
    (void)device;
    doctor_check_io_uring(m, r, DOCTOR_ADVICE, "sockets are watched by epoll instead");
}

void doctor_check_nothing(const struct doctor_machine *m, struct doctor_report *r,
                          const char *device)
{
    (void)m, (void)device;
    doctor_say(r, DOCTOR_FINE, "machine", "it needs nothing of it");
}
