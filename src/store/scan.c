/* SPDX-License-Identifier: MIT */
#include "store/scan.h"

#include "base/crc32c.h"
#include "mem/heap.h"
#include "store/log.h"

#include <errno.h>
#include <string.h>

int dk_scan_init(struct dk_scan *scan, struct dk_store *store)
{
    *scan = (struct dk_scan){.store = store};
    scan->buffer = dk_heap_aligned(DK_BLOCK, DK_SCAN_BYTES);
    return scan->buffer ? 0 : -ENOMEM;
}

void dk_scan_fini(struct dk_scan *scan)
{
    if (scan->buffer)
        dk_heap_free(scan->buffer);
}

/* Reads block by block what could not be read at once. */
static int read_singly(struct dk_scan *scan, uint64_t at, uint32_t len)
{
    for (uint32_t i = 0; i < len; i += DK_BLOCK) {
        int ret = dk_store_read_sync(scan->store, at + i, scan->buffer + i, DK_BLOCK);
        if (ret == 0)
            continue;
        if (ret != -EIO)
            return ret;
        memset(scan->buffer + i, 0, DK_BLOCK);
        scan->unreadable++;
    }
    return 0;
}

const uint8_t *dk_scan_bytes(struct dk_scan *scan, uint64_t offset, uint32_t need, uint32_t ahead,
                             uint64_t end)
{
    if (offset >= scan->at && offset + need <= scan->at + scan->len)
        return scan->buffer + (offset - scan->at);
    uint64_t at = offset - offset % DK_BLOCK;
    uint64_t len = dk_round_up(offset + (need > ahead ? need : ahead), DK_BLOCK) - at;
    len = len < end - at ? len : end - at;
    len = len < DK_SCAN_BYTES ? len : DK_SCAN_BYTES;
    scan->len = 0;
    int ret = dk_store_read_sync(scan->store, at, scan->buffer, (uint32_t)len);
    if (ret == -EIO)
        ret = read_singly(scan, at, (uint32_t)len);
    if (ret != 0) {
        scan->error = ret;
        return NULL;
    }
    scan->at = at;
    scan->len = len;
    return scan->buffer + (offset - at);
}

const struct dk_batch_head *dk_scan_batch(struct dk_scan *scan, const struct dk_log *log,
                                          uint32_t index, uint64_t offset, uint32_t ahead)
{
    const struct dk_geometry *g = &scan->store->geometry;
    uint64_t begin = dk_segment_offset(g, index);
    struct dk_batch_place place = {
        .uuid = g->uuid,
        .log = log->id,
        .ordinal = scan->store->segments[index].ordinal,
        .offset = begin + offset,
        .room = g->segment_bytes - offset,
    };
    uint32_t need = DK_BLOCK;
    for (;;) {
        const uint8_t *at =
            dk_scan_bytes(scan, begin + offset, need, ahead, begin + g->segment_bytes);
        if (!at)
            return NULL;
        switch (dk_batch_check(at, need, &place)) {
        case DK_BATCH_GOOD:
            return (const void *)at;
        case DK_BATCH_BAD:
            return NULL;
        default:
            need = (uint32_t)dk_round_up(((const struct dk_batch_head *)(const void *)at)->bytes,
                                         DK_BLOCK);
        }
    }
}

bool dk_scan_record_good(struct dk_scan *scan, uint64_t batch, const struct dk_batch_record *record,
                         const struct dk_batch_seg *segs)
{
    uint32_t sum = 0;
    const uint32_t piece = DK_SCAN_BYTES - DK_BLOCK;
    for (uint32_t i = 0; i < record->segs; i++) {
        uint64_t at = batch + (uint64_t)segs[i].place * DK_BATCH_PLACE_UNIT;
        for (uint32_t left = segs[i].len; left > 0;) {
            uint32_t len = left < piece ? left : piece;
            const uint8_t *bytes = dk_scan_bytes(scan, at, len, len, UINT64_MAX);
            if (!bytes)
                return false;
            sum = dk_crc32c(sum, bytes, len);
            at += len;
            left -= len;
        }
    }
    return sum == record->crc;
}
