/* SPDX-License-Identifier: MIT */
#include "store_kit.h"

#include "mem/heap.h"

#include <stdlib.h>
#include <string.h>

void kit_make(struct store_kit *k, uint64_t bytes)
{
    static uint64_t uuid;
    const char *why = "";
    struct dk_store_format_options format = {.segment_bytes = k->segment_bytes};
    struct medium m;
    uuid++;
    if (format.segment_bytes == 0)
        format.segment_bytes = 64u << 10;
    memcpy(format.uuid, &uuid, sizeof(uuid));
    medium_init(&m, bytes, k->medium.limit_bytes, false);
    m.no_fua = k->medium.no_fua;
    m.max_bytes = k->medium.max_bytes;
    m.max_segs = k->medium.max_segs;
    m.depth = k->medium.depth;
    m.block_bytes = k->medium.block_bytes;
    k->medium = m;
    struct dk_blkdev *dev = medium_open(&k->medium);
    assert_int_equal(dk_store_format(dev, &format, false, &why), 0);
    dev->ops->close(dev);
    assert_int_equal(kit_open(k, &why), 0);
}

int kit_open(struct store_kit *k, const char **why_out)
{
    struct dk_blkdev *dev = medium_open(&k->medium);
    int ret = dk_store_open(&k->store, dev, &k->options, why_out);
    if (ret != 0)
        dev->ops->close(dev);
    return ret;
}

void kit_kill(struct store_kit *k)
{
    /* It goes on with a copy, which nobody looks at. */
    uint8_t *left = k->medium.memory;
    uint64_t bytes = k->medium.bytes;
    uint64_t most = k->medium.limit_bytes > bytes ? k->medium.limit_bytes : bytes;
    k->medium.memory = malloc(most);
    assert_non_null(k->medium.memory);
    memcpy(k->medium.memory, left, most);
    dk_store_close(k->store);
    k->store = NULL;
    free(k->medium.memory);
    k->medium.memory = left;
    k->medium.bytes = bytes;
}

void kit_reopen(struct store_kit *k, bool close)
{
    const char *why = "";
    if (close)
        dk_store_close(k->store);
    else
        kit_kill(k);
    int ret = kit_open(k, &why);
    if (ret != 0)
        print_error("open: %d, %s\n", ret, why);
    assert_int_equal(ret, 0);
}

void kit_end(struct store_kit *k)
{
    if (k->store)
        dk_store_close(k->store);
    medium_fini(&k->medium);
}

struct dk_log *kit_log(struct store_kit *k, const char *name, uint32_t flags)
{
    struct dk_log *log = NULL;
    assert_int_equal(dk_log_open(&log, k->store, name, flags), 0);
    return log;
}

void kit_fill(uint8_t *at, uint32_t len, uint64_t seed)
{
    uint64_t state = seed;
    for (uint32_t i = 0; i < len; i++) {
        if (i % 8 == 0)
            dk_random_splitmix(&state);
        at[i] = (uint8_t)(state >> (i % 8 * 8));
    }
}

/* Segment i of a record: the first ones are equal, the last has the rest. */
static uint32_t segment_len(uint32_t len, uint32_t num_segs, uint32_t i)
{
    uint32_t each = len / num_segs;
    return i + 1 < num_segs ? each : len - each * (num_segs - 1);
}

static void append_done(struct dk_log_append *append, int result)
{
    struct kit_append *a = append->arg;
    assert_false(a->is_done);
    a->is_done = true;
    a->result = result;
}

void kit_record(struct kit_append *a, uint64_t seed, uint32_t len, uint32_t num_segs)
{
    *a = (struct kit_append){.append = {.num_segs = num_segs, .done = append_done, .arg = a}};
    for (uint32_t i = 0; i < num_segs; i++) {
        uint32_t n = segment_len(len, num_segs, i);
        a->append.segs[i] = (struct dk_log_seg){dk_heap_aligned(4096, n + 1), n};
        kit_fill(a->append.segs[i].data, n, seed + i);
    }
}

void kit_record_free(struct kit_append *a)
{
    for (uint32_t i = 0; i < a->append.num_segs; i++)
        dk_heap_free(a->append.segs[i].data);
}

void kit_issue(struct dk_log *log, struct kit_append *a)
{
    assert_int_equal(dk_log_append(log, &a->append), 0);
}

void kit_wait(struct store_kit *k, const struct kit_append *a)
{
    for (int i = 0; !a->is_done; i++) {
        assert_true(i < 100000);
        dk_store_poll(k->store, 0);
    }
}

static int append_one(struct store_kit *k, struct dk_log *log, struct kit_append *a)
{
    int ret = dk_log_append(log, &a->append);
    if (ret == 0) {
        kit_wait(k, a);
        ret = a->result;
    }
    kit_record_free(a);
    return ret;
}

int kit_append(struct store_kit *k, struct dk_log *log, uint64_t seed, uint32_t len,
               uint32_t num_segs)
{
    struct kit_append a;
    kit_record(&a, seed, len, num_segs);
    return append_one(k, log, &a);
}

int kit_append_async(struct store_kit *k, struct dk_log *log, uint64_t seed, uint32_t len)
{
    struct kit_append a;
    kit_record(&a, seed, len, 1);
    a.append.is_async = true;
    return append_one(k, log, &a);
}

struct reading {
    struct dk_log_read read;
    bool is_done;
    int result;
};

static void read_done(struct dk_log_read *read, int result)
{
    struct reading *r = read->arg;
    assert_false(r->is_done);
    r->is_done = true;
    r->result = result;
}

static void check_segment(struct dk_buf *buf, uint64_t seed, uint32_t len)
{
    uint8_t *expected = malloc(len + 1);
    kit_fill(expected, len, seed);
    if (len == 0) {
        assert_null(buf);
    } else {
        assert_int_equal(dk_buf_bytes(buf), len);
        assert_memory_equal(buf->data, expected, len);
        dk_buf_put(buf);
    }
    free(expected);
}

int kit_read(struct store_kit *k, struct dk_log *log, uint64_t record, uint64_t seed, uint32_t len,
             uint32_t num_segs)
{
    struct reading r = {.read = {.record = record, .done = read_done, .arg = &r}};
    assert_int_equal(dk_log_read(log, &r.read), 0);
    for (int i = 0; !r.is_done; i++) {
        assert_true(i < 100000);
        dk_store_poll(k->store, 0);
    }
    if (r.result != 0)
        return r.result;
    assert_int_equal(r.read.num_segs, num_segs);
    for (uint32_t i = 0; i < num_segs; i++)
        check_segment(r.read.bufs[i], seed + i, segment_len(len, num_segs, i));
    return 0;
}

uint64_t kit_first(struct dk_log *log)
{
    struct dk_log_info info;
    dk_log_info(log, &info);
    return info.first;
}

uint64_t kit_end_of(struct dk_log *log)
{
    struct dk_log_info info;
    dk_log_info(log, &info);
    return info.end;
}
