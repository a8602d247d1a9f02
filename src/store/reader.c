/* SPDX-License-Identifier: MIT */
/*
 * Reading (reader.h). A record is looked for from the nearest batch that is known not to be behind
 * it, header by header; a place without a good batch is passed block by block until the next one.
 * What is not found is remembered as lost, but not where the device failed to read on the way: it
 * may be able to the next time.
 */
#include "store/reader.h"

#include "base/crc32c.h"
#include "mem/heap.h"
#include "store/log.h"

#include <errno.h>
#include <string.h>

#define READS_PER_PUMP 256

void dk_reader_init(struct dk_reader *r)
{
    dk_list_init(&r->reads);
}

void dk_reader_fini(struct dk_reader *r)
{
    for (uint32_t i = 0; r->windows && i < DK_READ_WINDOWS; i++)
        if (r->windows[i].buf)
            dk_buf_put(r->windows[i].buf);
    if (r->windows)
        dk_heap_free(r->windows);
    r->windows = NULL;
}

void dk_reader_reset(struct dk_log *log)
{
    struct dk_reader *r = &log->reader;
    r->located = false;
    r->lost_first = r->lost_end = 0;
    for (uint32_t i = 0; r->windows && i < DK_READ_WINDOWS; i++) {
        struct dk_window *w = &r->windows[i];
        if (w->state == DK_WINDOW_LOADING)
            w->stale = true;
        else
            w->state = DK_WINDOW_EMPTY;
    }
}

bool dk_reader_busy(const struct dk_log *log)
{
    const struct dk_reader *r = &log->reader;
    for (uint32_t i = 0; r->windows && i < DK_READ_WINDOWS; i++)
        if (r->windows[i].state == DK_WINDOW_LOADING)
            return true;
    return false;
}

static struct dk_batch_place place_at(const struct dk_log *log, uint64_t ordinal, uint32_t index,
                                      uint64_t offset)
{
    const struct dk_geometry *g = &log->store->geometry;
    return (struct dk_batch_place){
        .uuid = g->uuid,
        .log = log->id,
        .ordinal = ordinal,
        .offset = dk_segment_offset(g, index) + offset,
        .room = g->segment_bytes - offset,
    };
}

/* The place in the log's list of the segment with an ordinal; num_segs: it is gone. */
static uint32_t find_segment(const struct dk_log *log, uint64_t ordinal)
{
    uint32_t low = 0, high = log->num_segs;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (dk_log_segment(log, middle)->ordinal < ordinal)
            low = middle + 1;
        else
            high = middle;
    }
    return low < log->num_segs && dk_log_segment(log, low)->ordinal == ordinal ? low
                                                                               : log->num_segs;
}

/* The segment that has a record: the last that begins with it or before. NULL: none. */
static const struct dk_segment *segment_of(const struct dk_log *log, uint64_t record)
{
    uint32_t low = 0, high = log->num_segs;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct dk_segment *s = dk_log_segment(log, middle);
        if (s->first != DK_UNKNOWN && s->first <= record)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? dk_log_segment(log, low - 1) : NULL;
}

/* Walks the headers in a window that was read, to where the next one has to begin. */
static void measure(struct dk_window *w)
{
    const struct dk_log *log = w->log;
    uint32_t at = find_segment(log, w->ordinal);
    w->behind = w->start;
    while (at < log->num_segs && w->behind < w->start + w->len) {
        const struct dk_batch_head *h = (const void *)(w->data + (w->behind - w->start));
        struct dk_batch_place place = place_at(log, w->ordinal, log->segs[at], w->behind);
        uint64_t left = w->start + w->len - w->behind;
        if (dk_batch_check((const void *)h, left, &place) != DK_BATCH_GOOD ||
            (uint64_t)h->blocks * DK_BLOCK > left)
            return;
        w->behind += (uint64_t)h->blocks * DK_BLOCK;
    }
}

static void loaded(struct dk_xfer *x, int result)
{
    struct dk_window *w = x->arg;
    w->error = result;
    w->state = result == 0 ? DK_WINDOW_READY : DK_WINDOW_FAILED;
    if (w->stale)
        w->state = DK_WINDOW_EMPTY;
    w->stale = false;
    if (w->state == DK_WINDOW_READY)
        measure(w);
    w->log->store->kicked = true;
}

/* Memory for a window: what it has, when nobody else holds that and it is large enough. */
static int provide(struct dk_window *w, uint64_t size)
{
    if (w->buf && w->size >= size && __atomic_load_n(&w->buf->refs, __ATOMIC_ACQUIRE) == 1)
        return 0;
    if (w->buf)
        dk_buf_put(w->buf);
    w->buf = dk_buf_alloc(size + DK_BLOCK, 0);
    if (!w->buf) {
        w->state = DK_WINDOW_EMPTY;
        return -ENOMEM;
    }
    w->data = (uint8_t *)dk_round_up((uintptr_t)w->buf->data, DK_BLOCK);
    w->size = size;
    return 0;
}

static uint64_t window_bytes(const struct dk_reader *r)
{
    uint64_t bytes = r->batch_bytes * 4;
    if (r->careful)
        return DK_BLOCK;
    return bytes < DK_READ_BYTES       ? DK_READ_BYTES
           : bytes > DK_READ_BYTES_MAX ? DK_READ_BYTES_MAX
                                       : bytes;
}

/* Starts to read a piece of a segment, of `need` bytes at least, into a window. */
static int load(struct dk_log *log, struct dk_window *w, uint32_t at, uint64_t offset,
                uint64_t need)
{
    const struct dk_segment *s = dk_log_segment(log, at);
    uint64_t len = window_bytes(&log->reader);
    len = len < need ? need : len;
    len = len < s->limit - offset ? len : s->limit - offset;
    int ret = provide(w, len);
    if (ret != 0)
        return ret;
    w->log = log;
    w->state = DK_WINDOW_LOADING;
    w->stale = false;
    w->careful = log->reader.careful;
    w->ordinal = s->ordinal;
    w->start = offset;
    w->len = len;
    w->given_first = w->given_end = 0;
    w->seg = (struct dk_blk_seg){w->data, (uint32_t)len};
    w->xfer.op = DK_BLK_READ;
    w->xfer.flags = 0;
    w->xfer.offset = dk_segment_offset(&log->store->geometry, log->segs[at]) + offset;
    w->xfer.bytes = len;
    w->xfer.segs = &w->seg;
    w->xfer.num_segs = 1;
    w->xfer.done = loaded;
    w->xfer.arg = w;
    dk_xfer_start(&log->store->xfers, &w->xfer);
    return 0;
}

/* The window that has a place, in whatever state, or NULL. */
static struct dk_window *window_at(struct dk_reader *r, uint64_t ordinal, uint64_t offset)
{
    for (uint32_t i = 0; i < DK_READ_WINDOWS; i++) {
        struct dk_window *w = &r->windows[i];
        if (w->state != DK_WINDOW_EMPTY && !w->stale && w->ordinal == ordinal &&
            offset >= w->start && offset < w->start + w->len)
            return w;
    }
    return NULL;
}

/* Reads `need` bytes from the present place on: -EINPROGRESS, or why not. A window that has the
 * place, and less than that, is given up: it would be found again. */
static int fetch(struct dk_log *log, uint32_t at, uint64_t need)
{
    struct dk_reader *r = &log->reader;
    struct dk_window *w = &r->windows[r->turn];
    struct dk_window *too_short = window_at(r, r->ordinal, r->offset);
    if (too_short)
        too_short->state = DK_WINDOW_EMPTY;
    for (uint32_t i = 0; w->state == DK_WINDOW_LOADING && i < DK_READ_WINDOWS; i++)
        w = &r->windows[i];
    if (w->state == DK_WINDOW_LOADING)
        return -EINPROGRESS;
    int ret = load(log, w, at, r->offset, need);
    return ret == 0 ? -EINPROGRESS : ret;
}

/* While records are read one after the other: the window behind this one. */
static void read_ahead(struct dk_log *log, struct dk_window *w, uint32_t at)
{
    struct dk_reader *r = &log->reader;
    uint64_t offset = w->behind;
    struct dk_window *other = &r->windows[w == &r->windows[0]];
    if (offset >= dk_log_segment(log, at)->limit) {
        at++;
        offset = 0;
    }
    if (at >= log->num_segs || offset >= dk_log_segment(log, at)->limit ||
        other->state == DK_WINDOW_LOADING || window_at(r, dk_log_segment(log, at)->ordinal, offset))
        return;
    load(log, other, at, offset, r->careful ? 0 : DK_READ_AHEAD);
}

/* Where to look for a record: 0, or -EIO when there is no segment that could have it. */
static int locate(struct dk_log *log, uint64_t record)
{
    struct dk_reader *r = &log->reader;
    const struct dk_segment *s = segment_of(log, record);
    const struct dk_index_entry *e = dk_index_find(&log->index, record);
    if (!s || record >= s->end)
        return -EIO;
    bool indexed = e && e->ordinal == s->ordinal;
    uint64_t known = indexed ? e->record : s->first;
    if (r->located && r->ordinal == s->ordinal && r->expected <= record && r->expected >= known)
        return 0;
    r->located = true;
    r->ordinal = s->ordinal;
    r->offset = indexed ? e->offset : 0;
    r->expected = known;
    return 0;
}

static void drop_bufs(struct dk_log_read *read, uint32_t num)
{
    while (num-- > 0)
        if (read->bufs[num])
            dk_buf_put(read->bufs[num]);
}

static uint8_t *segment_at(const struct dk_batch_head *h, const struct dk_batch_seg *seg)
{
    return (uint8_t *)(uintptr_t)h + (size_t)seg->place * DK_BATCH_PLACE_UNIT;
}

static int give_views(struct dk_log_read *read, struct dk_window *w, const struct dk_batch_head *h,
                      const struct dk_batch_seg *seg)
{
    for (uint32_t i = 0; i < read->num_segs; i++) {
        read->bufs[i] =
            seg[i].len > 0 ? dk_buf_view(w->buf, segment_at(h, &seg[i]), seg[i].len) : NULL;
        if (seg[i].len > 0 && !read->bufs[i]) {
            drop_bufs(read, i);
            return -ENOMEM;
        }
    }
    if (w->given_first == w->given_end)
        w->given_first = w->given_end = read->record;
    w->given_first = read->record < w->given_first ? read->record : w->given_first;
    w->given_end = read->record < w->given_end ? w->given_end : read->record + 1;
    return 0;
}

/* Gives copies of what somebody has views of: -EIO when that was written to. */
static int give_copies(struct dk_log_read *read, const struct dk_batch_head *h,
                       const struct dk_batch_record *record, const struct dk_batch_seg *seg)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < read->num_segs; i++) {
        read->bufs[i] = seg[i].len > 0 ? dk_buf_alloc(seg[i].len, 0) : NULL;
        if (seg[i].len > 0 && !read->bufs[i]) {
            drop_bufs(read, i);
            return -ENOMEM;
        }
        if (seg[i].len == 0)
            continue;
        memcpy(read->bufs[i]->data, segment_at(h, &seg[i]), seg[i].len);
        sum = dk_crc32c(sum, read->bufs[i]->data, seg[i].len);
    }
    if (sum == record->crc)
        return 0;
    drop_bufs(read, read->num_segs);
    return -EIO;
}

/* Gives a record of a window out; -EAGAIN: the window is not good for it any more. */
static int give(struct dk_log_read *read, struct dk_window *w, const struct dk_batch_head *h)
{
    const struct dk_batch_record *record = dk_batch_records(h);
    const struct dk_batch_seg *seg = dk_batch_segs(h);
    for (uint64_t i = h->first; i < read->record; i++)
        seg += record++->segs;
    bool was_given = read->record >= w->given_first && read->record < w->given_end;
    if (!was_given && !dk_batch_record_good(h, record, seg))
        return -EIO;
    read->num_segs = record->segs;
    int ret = was_given ? give_copies(read, h, record, seg) : give_views(read, w, h, seg);
    if (ret != 0)
        read->num_segs = 0;
    if (!was_given || ret != -EIO)
        return ret;
    w->state = DK_WINDOW_EMPTY;
    return -EAGAIN;
}

/* There is no good batch at the present place. */
static void pass(struct dk_reader *r)
{
    r->offset += DK_BLOCK;
}

/* The device could not read a window: again with just what is needed; a block that cannot be read
 * even so is passed, and a batch is given up. */
static int failed(struct dk_log *log, struct dk_window *w)
{
    struct dk_reader *r = &log->reader;
    bool exact = w->careful && w->start == r->offset;
    bool header = w->len == DK_BLOCK;
    w->state = DK_WINDOW_EMPTY;
    r->careful = true;
    if (!exact)
        return 0;
    if (!header)
        return w->error;
    pass(r);
    r->unread = true;
    return 0;
}

/* A read ended; what it did not find behind a failure of the device is looked for anew. */
static void end_search(struct dk_reader *r, int result)
{
    r->careful = false;
    if (r->unread && result == -EIO) {
        r->located = false;
        r->lost_first = r->lost_end = 0;
    }
    r->unread = false;
    for (uint32_t i = 0; r->windows && i < DK_READ_WINDOWS; i++)
        if (r->windows[i].state == DK_WINDOW_FAILED)
            r->windows[i].state = DK_WINDOW_EMPTY;
}

/* The batch there begins behind what is looked for. Where the log was cut, it is what was left
 * over: the records from `end` on are in the next segment. */
static void remember_lost(struct dk_reader *r, uint64_t first, uint64_t end)
{
    r->lost_first = r->expected;
    r->lost_end = first < end ? first : end;
    r->expected = first;
}

/* One step with the first read: 0: it was done, -EAGAIN: another step, -EINPROGRESS: the device has
 * to read, else the result of the read. */
static int step(struct dk_log *log, struct dk_log_read *read)
{
    struct dk_reader *r = &log->reader;
    uint32_t at = find_segment(log, r->ordinal);
    if (at == log->num_segs || r->offset >= dk_log_segment(log, at)->limit)
        return -EIO;
    struct dk_window *w = window_at(r, r->ordinal, r->offset);
    if (!w)
        return fetch(log, at, 0);
    if (w->state == DK_WINDOW_LOADING)
        return -EINPROGRESS;
    if (w->state == DK_WINDOW_FAILED) {
        int ret = failed(log, w);
        return ret == 0 ? -EAGAIN : ret;
    }
    const struct dk_batch_head *h = (const void *)(w->data + (r->offset - w->start));
    struct dk_batch_place place = place_at(log, r->ordinal, log->segs[at], r->offset);
    uint64_t left = w->start + w->len - r->offset;
    uint64_t limit = dk_log_segment(log, at)->limit - r->offset;
    r->turn = w == &r->windows[0];
    enum dk_batch_check check = dk_batch_check((const void *)h, left, &place);
    if (check == DK_BATCH_MORE && h->bytes <= limit)
        return fetch(log, at, dk_round_up(h->bytes, DK_BLOCK));
    if (check != DK_BATCH_GOOD) {
        pass(r);
        return -EAGAIN;
    }
    uint64_t bytes = (uint64_t)h->blocks * DK_BLOCK;
    if (read->record < h->first) {
        remember_lost(r, h->first, dk_log_segment(log, at)->end);
        return -EIO;
    }
    r->expected = h->first;
    if (read->record >= h->first + h->records) {
        dk_index_add(&log->index, h->first, r->ordinal, r->offset);
        r->offset += bytes;
        r->expected = h->first + h->records;
        return -EAGAIN;
    }
    if (bytes > left)
        return bytes <= limit ? fetch(log, at, bytes) : -EIO;
    r->batch_bytes = bytes;
    int ret = give(read, w, h);
    if (ret == 0 && read->record == r->next)
        read_ahead(log, w, at);
    return ret;
}

/* The result of a read, or -EINPROGRESS. */
static int serve(struct dk_log *log, struct dk_log_read *read)
{
    struct dk_reader *r = &log->reader;
    if (read->record < log->first)
        return -ENOENT;
    if (read->record >= log->acked)
        return -ENODATA;
    if (read->record >= r->lost_first && read->record < r->lost_end)
        return -EIO;
    if (!r->windows)
        r->windows = dk_heap_zalloc(DK_READ_WINDOWS * sizeof(*r->windows));
    if (!r->windows)
        return -ENOMEM;
    int ret = locate(log, read->record);
    if (ret != 0)
        return ret;
    do
        ret = step(log, read);
    while (ret == -EAGAIN);
    return ret;
}

uint32_t dk_reader_pump(struct dk_log *log)
{
    struct dk_reader *r = &log->reader;
    uint32_t n = 0;
    while (n < READS_PER_PUMP && !dk_list_empty(&r->reads)) {
        struct dk_log_read *read = dk_container_of(r->reads.next, struct dk_log_read, link);
        int ret = serve(log, read);
        if (ret == -EINPROGRESS)
            return n;
        r->next = read->record + 1;
        end_search(r, ret);
        dk_list_del_init(&read->link);
        log->store->outstanding--;
        log->store->stats->reads++;
        log->store->stats->damaged += ret == -EIO;
        n++;
        read->done(read, ret);
    }
    return n;
}

int dk_log_read(struct dk_log *log, struct dk_log_read *read)
{
    read->num_segs = 0;
    dk_list_add_tail(&log->reader.reads, &read->link);
    log->store->outstanding++;
    dk_log_activate(log);
    return 0;
}

bool dk_log_read_cancel(struct dk_log *log, struct dk_log_read *read)
{
    if (dk_list_empty(&read->link))
        return false;
    dk_list_del_init(&read->link);
    log->store->outstanding--;
    return true;
}
