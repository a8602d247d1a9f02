/* SPDX-License-Identifier: MIT */
/*
 * Block devices by their names: what the configuration has as `store`.
 *
 *     SPEC   = { DECORATOR ":" } ( DRIVER | PATH )
 *
 * with DECORATOR, DRIVER and their options as in spec.h. A PATH begins with "/" or "."; it is that
 * file or block device without options, and all of it is the path, whatever it contains.
 *
 *     memblk                      bytes= limit= block= atomic=SIZE depth=NUMBER seed=NUMBER
 * read_only file:PATH                   size=SIZE depth=NUMBER read_only create buffered threads
 *                                 interrupts unregistered
 *     nvme:/dev/ngXnY             depth=NUMBER read_only interrupts unregistered
 *     fault(...):...              seed=NUMBER error= read_error= write_error= flush_error= lost=
 * torn= misdirect= rot= delayed= reorder=RATE delay= jitter= reorder_by=TIME power_at=NUMBER
 *
 *     /dev/nvme0n1
 *     file:/var/lib/app.logs,size=1G,create
 *     fault(seed=7,write_error=1%,power_at=100):/tmp/a.logs
 */
#ifndef DK_DRV_BLK_SPEC_H
#define DK_DRV_BLK_SPEC_H

#include "base/compiler.h"
#include "store/blk.h"

/* What a specification does not say. */
struct dk_blk_spec_context {
    bool read_only;
    bool create;   /* a file that is not there */
    uint32_t mode; /* of that, 0: 0600 */
};

/*
 * Opens the chain of devices of a specification; context may be NULL. 0, -EINVAL (it cannot be
 * understood) or what the driver says; then nothing is left open, and *why_out says what to do,
 * good until the next open of this thread.
 */
DK_EXPORT int dk_blk_spec_open(struct dk_blkdev **dev_out, const char *spec,
                               const struct dk_blk_spec_context *context, const char **why_out);

/* The same without opening anything: 0 or -EINVAL. */
int dk_blk_spec_check(const char *spec, const char **why_out);

#endif /* DK_DRV_BLK_SPEC_H */
