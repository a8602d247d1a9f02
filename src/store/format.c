/* SPDX-License-Identifier: MIT */
/*
 * Making and checking what is on the device (format.h). What is read is not trusted: a checksum
 * tells damage, not intent, so every length is checked as well.
 */
#include "store/format.h"

#include "base/crc32c.h"

#include <errno.h>
#include <string.h>

/* The checksum of len bytes at `at`, the four at `field` taken as zero. */
static uint32_t sum_without(const uint8_t *at, size_t len, size_t field)
{
    static const uint32_t zero = 0;
    uint32_t sum = dk_crc32c(0, at, field);
    sum = dk_crc32c(sum, &zero, sizeof(zero));
    return dk_crc32c(sum, at + field + sizeof(zero), len - field - sizeof(zero));
}

void dk_super_emit(const struct dk_geometry *g, uint64_t offset, uint8_t *block)
{
    struct dk_super super = {
        .magic = DK_SUPER_MAGIC,
        .version = DK_STORE_VERSION,
        .segment_bytes = g->segment_bytes,
        .meta_bytes = g->meta_bytes,
        .data_offset = g->data_offset,
        .max_segments = g->max_segments,
        .max_logs = g->max_logs,
        .offset = offset,
    };
    memcpy(super.uuid, g->uuid, sizeof(super.uuid));
    memset(block, 0, DK_BLOCK);
    memcpy(block, &super, sizeof(super));
    super.crc = sum_without(block, DK_BLOCK, offsetof(struct dk_super, crc));
    memcpy(block, &super, sizeof(super));
}

static bool geometry_possible(const struct dk_super *s)
{
    uint64_t bytes = s->segment_bytes;
    return bytes >= DK_SEGMENT_BYTES_MIN && bytes <= DK_SEGMENT_BYTES_MAX &&
           (bytes & (bytes - 1)) == 0 && s->meta_bytes >= 4ull * DK_BLOCK &&
           s->meta_bytes <= DK_META_BYTES_MAX && s->meta_bytes % DK_BLOCK == 0 &&
           s->data_offset % DK_BLOCK == 0 && s->data_offset < UINT64_MAX / 2 &&
           s->data_offset >= DK_META_OFFSET + 4 * s->meta_bytes && s->max_segments >= 1 &&
           s->max_segments <= DK_STORE_SEGMENTS_MAX && s->max_logs >= 1 &&
           s->max_logs <= DK_STORE_LOGS_MAX;
}

int dk_super_parse(const uint8_t *block, uint64_t offset, struct dk_geometry *out)
{
    struct dk_super s;
    memcpy(&s, block, sizeof(s));
    if (s.magic != DK_SUPER_MAGIC)
        return -EMEDIUMTYPE;
    if (s.crc != sum_without(block, DK_BLOCK, offsetof(struct dk_super, crc)))
        return -EUCLEAN;
    if (s.version != DK_STORE_VERSION)
        return -EPROTONOSUPPORT;
    if (s.offset != offset || !geometry_possible(&s))
        return -EUCLEAN;
    *out = (struct dk_geometry){
        .segment_bytes = s.segment_bytes,
        .meta_bytes = s.meta_bytes,
        .data_offset = s.data_offset,
        .max_segments = s.max_segments,
        .max_logs = s.max_logs,
    };
    memcpy(out->uuid, s.uuid, sizeof(out->uuid));
    return 0;
}

void dk_meta_seal(struct dk_meta_head *head, const uint8_t uuid[16])
{
    head->magic = DK_META_MAGIC;
    head->zero = 0;
    memcpy(head->uuid, uuid, sizeof(head->uuid));
    head->crc = sum_without((const uint8_t *)head, head->bytes, offsetof(struct dk_meta_head, crc));
}

bool dk_meta_head_plausible(const uint8_t *at, const uint8_t uuid[16], uint32_t region,
                            uint64_t offset)
{
    struct dk_meta_head head;
    memcpy(&head, at, sizeof(head));
    return head.magic == DK_META_MAGIC && memcmp(head.uuid, uuid, sizeof(head.uuid)) == 0 &&
           head.region == region && head.offset == offset && head.bytes >= sizeof(head) &&
           head.bytes % 8 == 0;
}

bool dk_meta_valid(const uint8_t *at, uint64_t room, const uint8_t uuid[16], uint32_t region,
                   uint64_t offset)
{
    struct dk_meta_head head;
    if (!dk_meta_head_plausible(at, uuid, region, offset))
        return false;
    memcpy(&head, at, sizeof(head));
    return head.bytes <= room && head.kind <= DK_META_MARKER &&
           head.crc == sum_without(at, head.bytes, offsetof(struct dk_meta_head, crc));
}

static bool entry_possible(const struct dk_entry *e, uint32_t room)
{
    static const uint16_t least[] = {
        [DK_ENTRY_STORE] = sizeof(struct dk_entry_store),
        [DK_ENTRY_LOG] = sizeof(struct dk_entry_log),
        [DK_ENTRY_LOG_GONE] = sizeof(struct dk_entry_log_gone),
        [DK_ENTRY_SEGMENT] = sizeof(struct dk_entry_segment),
    };
    if (room < sizeof(*e) || e->bytes > room || e->bytes % 8 != 0 || e->type < DK_ENTRY_STORE ||
        e->type > DK_ENTRY_SEGMENT || e->bytes < least[e->type])
        return false;
    return e->type != DK_ENTRY_LOG || (e->index >= 1 && e->index <= DK_LOG_NAME_MAX &&
                                       e->bytes >= sizeof(struct dk_entry_log) + e->index);
}

int dk_meta_entries(const struct dk_meta_head *head, int (*fn)(const struct dk_entry *e, void *arg),
                    void *arg)
{
    const uint8_t *at = (const uint8_t *)(head + 1);
    uint32_t room = head->bytes - (uint32_t)sizeof(*head);
    for (uint32_t i = 0; i < head->entries; i++) {
        const struct dk_entry *e = (const void *)at;
        if (!entry_possible(e, room))
            return -EUCLEAN;
        int ret = fn(e, arg);
        if (ret != 0)
            return ret;
        at += e->bytes;
        room -= e->bytes;
    }
    return 0;
}

uint32_t dk_batch_seal(struct dk_batch_head *head)
{
    head->magic = DK_BATCH_MAGIC;
    head->crc =
        sum_without((const uint8_t *)head, head->bytes, offsetof(struct dk_batch_head, crc));
    return head->crc;
}

static bool batch_belongs(const struct dk_batch_head *h, const struct dk_batch_place *place)
{
    return h->magic == DK_BATCH_MAGIC && h->log == place->log && h->ordinal == place->ordinal &&
           h->offset == place->offset && memcmp(h->uuid, place->uuid, sizeof(h->uuid)) == 0;
}

static bool batch_sizes_possible(const struct dk_batch_head *h, uint64_t room)
{
    return h->records >= 1 && h->records <= DK_BATCH_RECORDS_MAX && h->segs >= h->records &&
           h->segs <= DK_BATCH_SEGS_MAX && h->bytes == dk_batch_head_bytes(h->records, h->segs) &&
           h->blocks >= 1 && (uint64_t)h->blocks * DK_BLOCK <= room &&
           h->bytes <= (uint64_t)h->blocks * DK_BLOCK && h->first < UINT64_MAX - h->records;
}

static bool batch_descriptors_possible(const struct dk_batch_head *h)
{
    uint64_t total = 0, bytes = (uint64_t)h->blocks * DK_BLOCK;
    const struct dk_batch_record *records = dk_batch_records(h);
    const struct dk_batch_seg *segs = dk_batch_segs(h);
    for (uint32_t i = 0; i < h->records; i++) {
        if (records[i].segs < 1 || records[i].segs > DK_LOG_SEGS_MAX)
            return false;
        total += records[i].segs;
    }
    for (uint32_t i = 0; i < h->segs; i++) {
        uint64_t place = (uint64_t)segs[i].place * DK_BATCH_PLACE_UNIT;
        if (place < h->bytes || place + segs[i].len > bytes)
            return false;
    }
    return total == h->segs;
}

enum dk_batch_check dk_batch_check(const uint8_t *at, uint64_t len,
                                   const struct dk_batch_place *place)
{
    const struct dk_batch_head *h = (const void *)at;
    if (!batch_belongs(h, place) || !batch_sizes_possible(h, place->room))
        return DK_BATCH_BAD;
    if (h->bytes > len)
        return DK_BATCH_MORE;
    uint32_t sum = sum_without(at, h->bytes, offsetof(struct dk_batch_head, crc));
    return sum == h->crc && batch_descriptors_possible(h) ? DK_BATCH_GOOD : DK_BATCH_BAD;
}

bool dk_batch_record_good(const struct dk_batch_head *head, const struct dk_batch_record *record,
                          const struct dk_batch_seg *segs)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < record->segs; i++)
        sum = dk_crc32c(sum, (const uint8_t *)head + (size_t)segs[i].place * DK_BATCH_PLACE_UNIT,
                        segs[i].len);
    return sum == record->crc;
}
