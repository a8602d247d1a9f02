/* SPDX-License-Identifier: MIT */
/*
 * The constant list of library OSes, and their start.
 */
#ifndef DK_LIBOS_TABLE_H
#define DK_LIBOS_TABLE_H

#include "core/instance.h"
#include "libos/kernel/kernel.h"
#include "libos/stack/stack.h"

/* What the configuration says about library OSes. */
struct dk_libos_options {
    struct dk_kernel_options kernel;
    struct dk_stack_options stack;
};

struct dk_libos {
    const char *name; /* as in DEMI_NET; of the stack: the driver of its device */
    const char *kind; /* "network" or "memory" */
    const char *summary;
    bool is_stack; /* what is configured is a device's specification (drv/spec.h) */
    /* Gives inst its poller. 0, or a negative errno and what to do about it. NULL: needs none. */
    int (*open)(struct dk_instance *inst, const struct dk_libos_options *options,
                const char **why_out);
    /* Creates a socket of an instance that was opened. NULL: has none. */
    int (*socket)(struct dk_instance *inst, int domain, int type, int protocol, int *qd_out);
    /* What carries it here ("" and *why_out: not available). */
    const char *(*probe)(const char **why_out);
};

/* Returns the module of a name that this build has linked in (dk_module.driver), or NULL. */
const void *dk_libos_linked(const char *name);

/* Returns with or without what this build was made, that it has no module of a name; NULL: it has
 * one, or there is none of that name. */
const char *dk_libos_left_out(const char *name);

/* Returns the index-th library OS that this build has, or NULL. */
const struct dk_libos *dk_libos_at(size_t index);

/* Returns the library OS that a value of DEMI_NET names, or NULL. */
const struct dk_libos *dk_libos_find(const char *name);

#endif /* DK_LIBOS_TABLE_H */
