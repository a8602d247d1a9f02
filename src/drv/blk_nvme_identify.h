/* SPDX-License-Identifier: MIT */
/*
 * Opens a namespace of an NVMe device, and asks it what it is (blk_nvme.h).
 */
#ifndef DK_DRV_BLK_NVME_IDENTIFY_H
#define DK_DRV_BLK_NVME_IDENTIFY_H

#include "drv/blk_nvme.h"

struct dk_nvme_namespace {
    int fd;       /* of the character device */
    int block_fd; /* of the block device, held exclusively; -1: there is none */
    uint32_t nsid;
    uint32_t lba_shift;
    bool has_deallocate;
    bool can_poll;
    struct dk_blkdev_caps caps;
};

/* As dk_blk_nvme_open. */
int dk_nvme_open(struct dk_nvme_namespace *ns, const struct dk_blk_nvme_options *options,
                 const char **why_out);
void dk_nvme_close(struct dk_nvme_namespace *ns);

/* What an Identify says; both are 4096 bytes. Kept apart for tests. */
void dk_nvme_parse_controller(struct dk_nvme_namespace *ns, const uint8_t data[4096]);
int dk_nvme_parse_namespace(struct dk_nvme_namespace *ns, const uint8_t data[4096],
                            const char **why_out);

#endif /* DK_DRV_BLK_NVME_IDENTIFY_H */
