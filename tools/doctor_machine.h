/* SPDX-License-Identifier: MIT */
/*
 * What demi doctor sees of a machine: files of /proc, /sys, /dev and /usr, below a root, so that a
 * test can make any machine up. Paths are printf formats, from the root on.
 */
#ifndef TOOLS_DOCTOR_MACHINE_H
#define TOOLS_DOCTOR_MACHINE_H

#include <glob.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DOCTOR_NAME_MAX      64
#define DOCTOR_LINUX(a, b)   ((uint32_t)(a) << 16 | (uint32_t)(b))
#define DOCTOR_ALL_BYTES     UINT64_MAX
#define DOCTOR_PATH(fmt, at) __attribute__((format(printf, fmt, at)))

struct doctor_machine {
    const char *root;      /* "": this machine, which can be asked by system calls too */
    uint64_t capabilities; /* effective ones of this process */
    uint64_t memlock;      /* bytes that it may lock; DOCTOR_ALL_BYTES */
    uint32_t uid;          /* effective */
    uint32_t version;      /* of Linux, DOCTOR_LINUX(6, 1) */
    uint32_t workers;      /* that the configuration asks for; set by who looks */
    bool is_user_ns;       /* capabilities count within a user namespace only */
};

/* Looks at the process. false: there is no /proc below that root. */
bool doctor_machine_init(struct doctor_machine *m, const char *root);

/* The first line of a file, without its newline. */
bool doctor_read(const struct doctor_machine *m, char *to, size_t size, const char *fmt, ...)
    DOCTOR_PATH(4, 5);

/* The number, decimal or 0x, with which a file begins. */
bool doctor_read_number(const struct doctor_machine *m, uint64_t *to, const char *fmt, ...)
    DOCTOR_PATH(3, 4);

/* The line of a file that begins with `word`, from behind it. */
bool doctor_read_line(const struct doctor_machine *m, char *to, size_t size, const char *word,
                      const char *path);

/* Whether a capability counts, also outside a user namespace if it must. */
bool doctor_has_capability(const struct doctor_machine *m, int capability);

bool doctor_is_there(const struct doctor_machine *m, const char *fmt, ...) DOCTOR_PATH(2, 3);

/* Whether this process may read and write it. */
bool doctor_is_usable(const struct doctor_machine *m, const char *fmt, ...) DOCTOR_PATH(2, 3);

/* The last component of what a symbolic link points to. */
bool doctor_read_link(const struct doctor_machine *m, char *to, size_t size, const char *fmt, ...)
    DOCTOR_PATH(4, 5);

/* Paths, with the root, sorted; the caller calls globfree. Their last components: doctor_base. */
size_t doctor_find(const struct doctor_machine *m, glob_t *found, const char *fmt, ...)
    DOCTOR_PATH(3, 4);
const char *doctor_base(const char *path);

#endif /* TOOLS_DOCTOR_MACHINE_H */
