/* SPDX-License-Identifier: MIT */
/*
 * Opening a store whose device holds anything. The input is a list of changes to an image that was
 * made by a store; each is of eight bytes:
 *
 *     what, of which block that has a header (by number), at which place (two bytes), a value
 * (four)
 *
 * A changed block can be given a good checksum again, so that what is behind the checksums is
 * reached. Whatever the image is: opening ends, with an error or with logs; records are read or are
 * errors; it can be looked through, appended to, trimmed, cut, closed, and what was acknowledged
 * after that is there when it is opened again.
 */
#include "fuzz.h"

#include "../unit/store_dev.h"

#include "base/crc32c.h"
#include "store/format.h"
#include "store/walk.h"

#include <errno.h>

#define BYTES      (3u << 19)
#define PLACES_MAX 256
#define READS_MAX  64
#define ITEMS_MAX  20000
#define POLLS_MAX  200000

static struct {
    struct medium medium;
    uint8_t image[BYTES];
    uint64_t places[PLACES_MAX]; /* of blocks with headers */
    uint32_t num_places;
} base;

struct pending {
    bool is_done;
    int result;
};

static void append_done(struct dk_log_append *append, int result)
{
    struct pending *p = append->arg;
    *p = (struct pending){true, result};
}

static int append(struct dk_store *store, struct dk_log *log, uint32_t len, uint64_t *record_out)
{
    static uint8_t bytes[40000] __attribute__((aligned(4096)));
    struct pending p = {0};
    struct dk_log_append a = {
        .segs = {{bytes, len}}, .num_segs = 1, .done = append_done, .arg = &p};
    memset(bytes, (int)len, len);
    int ret = dk_log_append(log, &a);
    for (int i = 0; ret == 0 && !p.is_done; i++) {
        FUZZ_CHECK(i < POLLS_MAX);
        dk_store_poll(store, 0);
    }
    *record_out = a.record;
    return ret == 0 ? p.result : ret;
}

static void read_done(struct dk_log_read *read, int result)
{
    struct pending *p = read->arg;
    *p = (struct pending){true, result};
}

static int read_one(struct dk_store *store, struct dk_log *log, uint64_t record, uint32_t *len_out)
{
    struct pending p = {0};
    struct dk_log_read r = {.record = record, .done = read_done, .arg = &p};
    dk_log_read(log, &r);
    for (int i = 0; !p.is_done; i++) {
        FUZZ_CHECK(i < POLLS_MAX);
        dk_store_poll(store, 0);
    }
    *len_out = 0;
    for (uint32_t i = 0; p.result == 0 && i < r.num_segs; i++) {
        if (!r.bufs[i])
            continue;
        *len_out += (uint32_t)dk_buf_bytes(r.bufs[i]);
        dk_buf_put(r.bufs[i]);
    }
    return p.result;
}

static struct dk_store *open_store(bool read_only, int *ret_out)
{
    const char *why = NULL;
    struct dk_store *store = NULL;
    struct dk_store_options options = {.read_only = read_only};
    struct dk_blkdev *dev = medium_open(&base.medium);
    *ret_out = dk_store_open(&store, dev, &options, &why);
    if (*ret_out == 0)
        return store;
    FUZZ_CHECK(why != NULL && store == NULL);
    dev->ops->close(dev);
    return NULL;
}

static void find_places(void)
{
    for (uint64_t at = 0; at < BYTES && base.num_places < PLACES_MAX; at += DK_BLOCK) {
        uint64_t magic;
        memcpy(&magic, base.image + at, sizeof(magic));
        if (magic == DK_SUPER_MAGIC || magic == DK_META_MAGIC || magic == DK_BATCH_MAGIC)
            base.places[base.num_places++] = at;
    }
}

/* Two logs over some segments, one of which was trimmed and cut; left as by a kill. */
static void make_image(void)
{
    static const char *const names[] = {"a", "b"};
    struct dk_store_format_options options = {.segment_bytes = 64u << 10, .uuid = "fuzz"};
    const char *why = "";
    struct dk_log *logs[2];
    uint64_t record;
    int ret;
    medium_init(&base.medium, BYTES, 0, false);
    struct dk_blkdev *dev = medium_open(&base.medium);
    FUZZ_CHECK(dk_store_format(dev, &options, false, &why) == 0);
    dev->ops->close(dev);
    struct dk_store *store = open_store(false, &ret);
    for (int l = 0; l < 2; l++)
        FUZZ_CHECK(dk_log_open(&logs[l], store, names[l], DK_LOG_CREATE) == 0);
    for (uint32_t i = 0; i < 24; i++)
        FUZZ_CHECK(append(store, logs[i % 2], i % 3 * 8192 + i, &record) == 0);
    FUZZ_CHECK(dk_log_trim(logs[0], 7) == 0 && dk_log_truncate(logs[0], 10) == 0);
    FUZZ_CHECK(append(store, logs[0], 100, &record) == 0);
    memcpy(base.image, base.medium.memory, BYTES);
    dk_store_close(store);
    find_places();
}

static void reseal(uint8_t *block)
{
    uint64_t magic;
    uint32_t len = DK_BLOCK, field = offsetof(struct dk_super, crc);
    memcpy(&magic, block, sizeof(magic));
    if (magic == DK_META_MAGIC || magic == DK_BATCH_MAGIC) {
        field = offsetof(struct dk_meta_head, crc);
        memcpy(&len, block + field + 4, sizeof(len));
    }
    if (len > DK_BLOCK || len < field + 4)
        return;
    memset(block + field, 0, 4);
    uint32_t sum = dk_crc32c(0, block, len);
    memcpy(block + field, &sum, sizeof(sum));
}

enum { SET32, SET64, FLIP, COPY, ZERO, SHORTEN, NUM_CHANGES };

static void change(const uint8_t *in)
{
    uint64_t at = base.places[in[1] % base.num_places];
    uint8_t *block = base.medium.memory + at;
    uint32_t place = (in[2] | (uint32_t)in[3] << 8) % (DK_BLOCK - 8), value;
    memcpy(&value, in + 4, sizeof(value));
    uint64_t wide = (uint64_t)(int64_t)(int32_t)value;
    switch ((in[0] & 0x3f) % NUM_CHANGES) {
    case SET32:
        memcpy(block + place, &value, sizeof(value));
        break;
    case SET64:
        memcpy(block + place, &wide, sizeof(wide));
        break;
    case FLIP:
        block[place] ^= (uint8_t)(1u << value % 8);
        break;
    case COPY:
        memcpy(block, base.medium.memory + base.places[value % base.num_places], DK_BLOCK);
        break;
    case ZERO:
        memset(block, 0, DK_BLOCK);
        break;
    default:
        base.medium.bytes = (uint64_t)(value % (BYTES / 512)) * 512;
        break;
    }
    if (in[0] & 0x80)
        reseal(block);
}

static bool count_items(const struct dk_walk_item *item, void *arg)
{
    uint32_t *n = arg;
    (void)item;
    return ++*n < ITEMS_MAX;
}

static bool check_info(const struct dk_log_info *info, void *arg)
{
    uint32_t *n = arg;
    FUZZ_CHECK(info->first <= info->end);
    FUZZ_CHECK(strlen(info->name) <= DK_LOG_NAME_MAX);
    return ++*n < 8;
}

/* Reads both ends of a log. */
static void look_at(struct dk_store *store, struct dk_log *log)
{
    struct dk_log_info info;
    uint32_t len, items = 0;
    dk_log_info(log, &info);
    for (uint64_t i = 0; i < READS_MAX && info.first + i < info.end; i++) {
        int ret = read_one(store, log, info.first + i, &len);
        FUZZ_CHECK(ret == 0 || ret == -EIO);
        ret = read_one(store, log, info.end - 1 - i, &len);
        FUZZ_CHECK(ret == 0 || ret == -EIO);
    }
    FUZZ_CHECK(read_one(store, log, info.end, &len) == -ENODATA);
    FUZZ_CHECK(dk_log_walk(log, true, count_items, &items) == 0);
}

static void look_at_all(struct dk_store *store)
{
    static const char *const names[] = {"a", "b"};
    uint32_t n = 0, items = 0;
    dk_store_list(store, check_info, &n);
    for (int l = 0; l < 2; l++) {
        struct dk_log *log;
        if (dk_log_open(&log, store, names[l], 0) != 0)
            continue;
        look_at(store, log);
        dk_log_put(log);
    }
    FUZZ_CHECK(dk_store_walk_copies(store, count_items, &items) == 0);
}

/* A log, which is removed first where it is refused. */
static int open_anew(struct dk_store *store, struct dk_log **log_out)
{
    int ret;
    while ((ret = dk_log_open(log_out, store, "a", DK_LOG_CREATE)) == -EUCLEAN)
        FUZZ_CHECK(dk_log_unlink(store, "a") == 0);
    return ret;
}

/* Appends to a log and drops from it; the record is there after the next opening. */
static void go_on(struct dk_store *store)
{
    struct dk_log *log;
    uint64_t record;
    uint32_t len;
    int ret = open_anew(store, &log);
    FUZZ_CHECK(ret == 0 || ret == -ENOSPC);
    if (ret == 0)
        ret = append(store, log, 5000, &record);
    FUZZ_CHECK(ret == 0 || ret == -ENOSPC);
    if (ret == 0)
        FUZZ_CHECK(dk_log_trim(log, record) == 0);
    dk_store_close(store);
    if (ret != 0)
        return;
    store = open_store(false, &ret);
    FUZZ_CHECK(store && dk_log_open(&log, store, "a", 0) == 0);
    FUZZ_CHECK(read_one(store, log, record, &len) == 0 && len == 5000);
    FUZZ_CHECK(dk_log_truncate(log, record) == 0);
    dk_store_close(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    int ret;
    if (base.num_places == 0)
        make_image();
    base.medium.bytes = BYTES;
    memcpy(base.medium.memory, base.image, BYTES);
    for (; len >= 8; bytes += 8, len -= 8)
        change(bytes);
    struct dk_store *store = open_store(true, &ret);
    if (!store)
        return 0;
    look_at_all(store);
    dk_store_close(store);
    store = open_store(false, &ret);
    FUZZ_CHECK(store);
    look_at_all(store);
    go_on(store);
    return 0;
}
