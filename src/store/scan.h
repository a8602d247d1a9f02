/* SPDX-License-Identifier: MIT */
/*
 * Looking through segments, waiting for the device: for recovery and for tools. What the device
 * cannot read counts as zeros, which no batch begins with.
 */
#ifndef DK_STORE_SCAN_H
#define DK_STORE_SCAN_H

#include "store/state.h"

#define DK_SCAN_BYTES (256u << 10)

struct dk_scan {
    struct dk_store *store;
    uint8_t *buffer;     /* DK_SCAN_BYTES */
    uint64_t at, len;    /* on the device: what is in it */
    int error;           /* the device is gone: nothing more is read */
    uint64_t unreadable; /* blocks */
};

int dk_scan_init(struct dk_scan *scan, struct dk_store *store);
void dk_scan_fini(struct dk_scan *scan);

/* The good batch at a place of a segment of a log, or NULL. Valid until the next call. `ahead`:
 * bytes that are read at once where they are not there yet. */
const struct dk_batch_head *dk_scan_batch(struct dk_scan *scan, const struct dk_log *log,
                                          uint32_t index, uint64_t offset, uint32_t ahead);

/* Whether a record of a batch is good. It is identified by copies of its descriptors. */
bool dk_scan_record_good(struct dk_scan *scan, uint64_t batch, const struct dk_batch_record *record,
                         const struct dk_batch_seg *segs);

/* Bytes of the device, `need` at least (at most DK_SCAN_BYTES less a block); NULL: it is gone. */
const uint8_t *dk_scan_bytes(struct dk_scan *scan, uint64_t offset, uint32_t need, uint32_t ahead,
                             uint64_t end);

#endif /* DK_STORE_SCAN_H */
