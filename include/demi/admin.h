/* SPDX-License-Identifier: MIT */
/*
 * What a tool needs to look at a process: library OSes, configuration, counters. None of these
 * needs demi_init, except demi_stats. Strings are owned by the library and live as long as it is
 * loaded, unless said otherwise.
 */
#ifndef DEMI_ADMIN_H
#define DEMI_ADMIN_H

#include <demi/cc.h>
#include <demi/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

DEMI_BEGIN_DECLS

/* The library's version, "MAJOR.MINOR.PATCH". */
DEMI_PUBLIC const char *demi_version(void);

/* One library OS or device that this build knows. */
struct demi_backend {
    const char *name;    /* as in DEMI_NET; of storage as in DEMI_STORE */
    const char *kind;    /* "network", "memory" or "storage" */
    const char *engine;  /* what carries it here, e.g. "io_uring"; "" when not available */
    const char *summary; /* one line */
    const char *missing; /* "" when available here; else what is missing and what to do */
    bool available;
};

/*
 * Probes what this build and this machine have; fills at most n entries, *n_out is how many there
 * are. Blocks briefly (it asks the kernel).
 */
DEMI_PUBLIC int demi_backends(_Out_writes_(n) struct demi_backend backends_out[], _In_ size_t n,
                              _Out_ size_t *n_out);

/* One configuration value. */
struct demi_config_value {
    const char *key;
    const char *value;
    const char *default_value;
    const char *origin;   /* "default", "environment NAME", or "FILE:LINE" */
    const char *accepted; /* accepted values, for a person */
    const char *summary;  /* one line */
};

/*
 * Reads the configuration as demi_init would, and returns its index-th value. An error in it is
 * EINVAL and a message for a person in err (err_len bytes, may be NULL with 0). Errors: ENOENT
 * index is past the last; EINVAL.
 */
DEMI_PUBLIC int demi_config_get(_In_ size_t index, _Out_ struct demi_config_value *value_out,
                                _Out_opt_ char *err, _In_ size_t err_len);

/* One counter of a process. */
struct demi_stat {
    const char *name; /* "core.wakeups", "kernel.engine", ... */
    uint64_t value;
    const char *text; /* a value that is a word ("io_uring"), or NULL */
};

/* Fills at most n counters of the calling thread's instance and of the process; *n_out is how many
 * there are. ENOSYS before demi_init. */
DEMI_PUBLIC int demi_stats(_Out_writes_(n) struct demi_stat stats_out[], _In_ size_t n,
                           _Out_ size_t *n_out);

/*
 * The same of any process of a user, which does nothing for it: it keeps its counters in a file
 * (demi_stats(3), FILES). Those of several instances are summed; a text is that of the first. Needs
 * no demi_init and does not block. Errors: ENOENT the process keeps no statistics, or there is no
 * such process; ESRCH a process that is gone left the file; EACCES it is another user's; EPROTO it
 * is damaged, or of another version of the library; ENOMEM; EINVAL.
 */
DEMI_PUBLIC int demi_stats_pid(_Out_writes_(n) struct demi_stat stats_out[], _In_ size_t n,
                               _Out_ size_t *n_out, _In_ int pid);

DEMI_END_DECLS

#endif /* DEMI_ADMIN_H */
