/* SPDX-License-Identifier: MIT */
/*
 * demi doctor: what a backend needs of this machine and of this process, and what is missing.
 *
 * A check looks (doctor_machine.h) and says what it found, in a report: a finding is fine, or an
 * advice (it works, slower or with less), or missing (it does not work). What it needs to be given
 * in any case, as a capability or a device, it notes in the same call (doctor_need_*): so what a
 * container is told to be given is what is checked.
 */
#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

#include "doctor_machine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCTOR_FINDINGS_MAX 40
#define DOCTOR_DEVICES_MAX  16
#define DOCTOR_TEXT_MAX     384

enum doctor_level { DOCTOR_FINE, DOCTOR_ADVICE, DOCTOR_MISSING };

struct doctor_finding {
    enum doctor_level level;
    char check[DOCTOR_NAME_MAX];
    char text[DOCTOR_TEXT_MAX];
    char mend[DOCTOR_TEXT_MAX]; /* a command; "": there is none, or nothing to do */
};

struct doctor_needs {
    uint64_t capabilities; /* bit by bit, as in <linux/capability.h> */
    char devices[DOCTOR_DEVICES_MAX][DOCTOR_NAME_MAX];
    size_t num_devices;
    bool memlock;  /* more locked memory than by default */
    bool io_uring; /* which containers forbid by default, */
    bool bpf;      /* as some do bpf(2) */
};

/* Of one backend, or one device of it. */
struct doctor_report {
    char target[DOCTOR_TEXT_MAX]; /* as it was asked for */
    const char *summary;
    struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
    size_t num_findings;
    struct doctor_needs needs;
};

/* Adds a finding. One for which there is no room any more counts for the last one's level. */
void doctor_say(struct doctor_report *r, enum doctor_level level, const char *check,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The command that mends the finding that was said last. */
void doctor_mend(struct doctor_report *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

enum doctor_level doctor_worst(const struct doctor_report *r);

/* Notes the need of a capability (CAP_NET_RAW), and says whether the process has it. */
bool doctor_need_capability(const struct doctor_machine *m, struct doctor_report *r, int capability,
                            const char *what_for);

/* Notes the need of a file in /dev, and says whether it may be opened. `mend` makes one that is not
 * there. */
bool doctor_need_device(const struct doctor_machine *m, struct doctor_report *r, const char *path,
                        const char *mend);

/* Notes and says the same of memory that may be locked. */
void doctor_need_memlock(const struct doctor_machine *m, struct doctor_report *r,
                         enum doctor_level level, uint64_t bytes, const char *otherwise);

/* What several backends need. */
void doctor_check_io_uring(const struct doctor_machine *m, struct doctor_report *r,
                           enum doctor_level level, const char *otherwise);
void doctor_check_bpf(const struct doctor_machine *m, struct doctor_report *r);
void doctor_check_hugepages(const struct doctor_machine *m, struct doctor_report *r);
void doctor_check_af_xdp(const struct doctor_machine *m, struct doctor_report *r);
void doctor_check_interface(const struct doctor_machine *m, struct doctor_report *r,
                            const char *name);
void doctor_check_interfaces(const struct doctor_machine *m, struct doctor_report *r);
void doctor_check_pci(const struct doctor_machine *m, struct doctor_report *r, const char *address);
void doctor_check_nics(const struct doctor_machine *m, struct doctor_report *r);

/* Backends. device: what stands behind the colon; "": any. */
void doctor_check_kernel(const struct doctor_machine *m, struct doctor_report *r,
                         const char *device);
void doctor_check_nothing(const struct doctor_machine *m, struct doctor_report *r,
                          const char *device);
void doctor_check_tap(const struct doctor_machine *m, struct doctor_report *r, const char *device);
void doctor_check_packet(const struct doctor_machine *m, struct doctor_report *r,
                         const char *device);
void doctor_check_xdp(const struct doctor_machine *m, struct doctor_report *r, const char *device);
void doctor_check_dpdk(const struct doctor_machine *m, struct doctor_report *r, const char *device);
void doctor_check_file(const struct doctor_machine *m, struct doctor_report *r, const char *device);
void doctor_check_nvme(const struct doctor_machine *m, struct doctor_report *r, const char *device);

#endif /* TOOLS_DOCTOR_H */
