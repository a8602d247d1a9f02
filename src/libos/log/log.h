/* SPDX-License-Identifier: MIT */
/*
 * The library OS "log": queues over the store (src/store), which is over a block device (src/drv).
 *
 * It stands beside the library OS of sockets: its poller joins an instance when the first log is
 * opened (core/pollers.h). A device, or a file, belongs to one instance of one process.
 */
#ifndef DK_LIBOS_LOG_LOG_H
#define DK_LIBOS_LOG_LOG_H

#include "core/instance.h"

#define DK_LOGS_WHY_MAX 256

struct dk_logs_options {
    const char *device; /* that has all logs (drv/blk_spec.h), or DK_LOGS_NONE */
};

#define DK_LOGS_NONE "none" /* each path is a file */

/* Opens a queue on a log, flags as demi_open has them. 0 or a negative errno. The lead is held. */
int dk_logs_open(struct dk_instance *inst, const struct dk_logs_options *options, const char *path,
                 int flags, mode_t mode, int *qd_out);

/* Removes a log. 0 or a negative errno. The lead is held. */
int dk_logs_unlink(struct dk_instance *inst, const struct dk_logs_options *options,
                   const char *path);

/* As demi_lseek, demi_truncate, demi_trim. -ESPIPE (of the others -EINVAL): q is no log. The lead
 * is held. */
int dk_logs_seek(struct dk_queue *q, int64_t record, int whence, int64_t *pos_out);
int dk_logs_truncate(struct dk_queue *q, int64_t record);
int dk_logs_trim(struct dk_queue *q, int64_t record);

/* A kind of device that this build has. */
struct dk_logs_backend {
    const char *name; /* as in DEMI_STORE (drv/blk_spec.h) */
    const char *summary;
    /* What carries it here ("" and *why_out, a constant: not available). */
    const char *(*probe)(const char **why_out);
};

/* Returns the index-th of these, or NULL. */
const struct dk_logs_backend *dk_logs_backend_at(size_t index);

/* Checks a device in the configuration: 0, or -EINVAL and why. */
int dk_logs_check_device(const char *text, char why[DK_LOGS_WHY_MAX]);

#endif /* DK_LIBOS_LOG_LOG_H */
