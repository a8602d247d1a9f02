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
    dk_windows_fini(&r->windows);
}

void dk_reader_reset(struct dk_log *log)
{
    struct dk_reader *r = &log->reader;
    r->located = false;
    r->lost_first = r->lost_end = 0;
    dk_windows_reset(&r->windows);
}

bool dk_reader_busy(const struct dk_log *log)
{
    return dk_windows_busy(&log->reader.windows);
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

static uint64_t clamp(uint64_t n, uint64_t least, uint64_t most)
{
    return n < least ? least : n > most ? most : n;
}

/* How much to read at once, of `need` bytes at least. A batch too large to be moved in front of a
 * window has one of its own. */
static uint64_t window_bytes(const struct dk_reader *r, uint64_t least, uint64_t need)
{
    uint64_t bytes = r->batch_bytes;
    if (bytes <= DK_WINDOW_ROOM_MAX)
        bytes = clamp(bytes * 4, least, DK_WINDOW_BYTES_MAX);
    if (r->careful)
        bytes = DK_BLOCK;
    return bytes < need ? need : bytes;
}

/* Begins to load from a place on, not beyond the end of its segment. */
static int load(struct dk_window **w_out, struct dk_log *log, struct dk_window_load l)
{
    uint64_t left = dk_log_segment(log, l.at)->limit - l.offset;
    l.bytes = l.bytes < left ? l.bytes : left;
    return dk_window_load(w_out, log, &l);
}

/* Reads `need` bytes from the present place on: -EINPROGRESS, or why not. What is there of them is
 * given up: it would be found again. */
static int fetch(struct dk_log *log, uint32_t at, uint64_t need)
{
    struct dk_reader *r = &log->reader;
    struct dk_window *w = dk_window_at(&r->windows, r->ordinal, r->offset);
    if (w)
        dk_window_cut(w, r->offset);
    int ret = load(&w, log,
                   (struct dk_window_load){
                       .at = at,
                       .offset = r->offset,
                       .bytes = window_bytes(r, DK_READ_BYTES, need),
                       .careful = r->careful,
                       .free = 2,
                   });
    return ret == 0 ? -EINPROGRESS : ret;
}

/* Has `need` bytes from the present place on in one window, of which w has the first: -EAGAIN: they
 * are, -EINPROGRESS: the device has to read, or why not. */
static int extend(struct dk_log *log, struct dk_window *w, uint32_t at, uint64_t need)
{
    struct dk_reader *r = &log->reader;
    struct dk_window *next = dk_window_at(&r->windows, r->ordinal, w->start + w->len);
    if (next && next->state == DK_WINDOW_LOADING)
        return -EINPROGRESS;
    uint64_t bytes = next && next->start > r->offset ? next->start - r->offset : 0;
    if (!next || next->state != DK_WINDOW_READY || !dk_window_join(w, next, r->offset))
        return fetch(log, at, need);
    log->store->stats->joined_bytes += bytes;
    return -EAGAIN;
}

/* Asks for the window behind one, which is returned: NULL: there is none, or no memory. */
static struct dk_window *follow(struct dk_log *log, const struct dk_window *w, uint32_t *at,
                                const struct dk_window *keep)
{
    struct dk_reader *r = &log->reader;
    uint64_t offset = w->start + w->len;
    if (offset >= dk_log_segment(log, *at)->limit) {
        ++*at;
        offset = 0;
    }
    if (*at >= log->num_segs || offset >= dk_log_segment(log, *at)->limit)
        return NULL;
    struct dk_window *next = dk_window_at(&r->windows, dk_log_segment(log, *at)->ordinal, offset);
    struct dk_window_load l = {
        .at = *at,
        .offset = offset,
        .bytes = window_bytes(r, DK_READ_AHEAD_BYTES, 0),
        .room = clamp(r->batch_bytes, DK_WINDOW_ROOM_MIN, DK_WINDOW_ROOM_MAX),
        .free = DK_READ_AHEAD + 2, /* the present one, and the one before it */
        .keep = keep,
    };
    return next || load(&next, log, l) == 0 ? next : NULL;
}

/* While records are read one after the other: the windows behind this one. Batches that are larger
 * than a window keep the device busy alone. */
static void read_ahead(struct dk_log *log, const struct dk_window *w, uint32_t at)
{
    struct dk_reader *r = &log->reader;
    const struct dk_window *last = w;
    r->ahead = true;
    for (uint32_t i = 0; i < DK_READ_AHEAD && last && r->batch_bytes <= DK_WINDOW_BYTES_MAX; i++)
        last = follow(log, last, &at, w);
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
    read->num_segs = 0;
}

static uint8_t *segment_at(const struct dk_batch_head *h, const struct dk_batch_seg *seg)
{
    return (uint8_t *)(uintptr_t)h + (size_t)seg->place * DK_BATCH_PLACE_UNIT;
}

static void note_given(struct dk_window *w, uint64_t record)
{
    if (w->given_first == w->given_end)
        w->given_first = w->given_end = record;
    w->given_first = record < w->given_first ? record : w->given_first;
    w->given_end = record < w->given_end ? w->given_end : record + 1;
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
    note_given(w, read->record);
    return 0;
}

/* Gives copies: -EIO when they are not what was written. */
static int give_copies(struct dk_log_read *read, const struct dk_batch_head *h, uint32_t crc,
                       const struct dk_batch_seg *seg)
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
    if (sum == crc)
        return 0;
    drop_bufs(read, read->num_segs);
    return -EIO;
}

/* The first descriptor of a record of the batch that w has checked: mostly the one behind the last.
 */
static const struct dk_batch_seg *descriptor(struct dk_window *w, const struct dk_batch_head *h,
                                             uint32_t record)
{
    const struct dk_batch_record *records = dk_batch_records(h);
    if (record < w->record)
        w->record = w->descriptor = 0;
    for (; w->record < record; w->record++)
        w->descriptor += records[w->record].segs;
    return dk_batch_segs(h) + w->descriptor;
}

/* Gives a record of a window out; -EAGAIN: the window is not good for it any more, because somebody
 * has a view of it and wrote there. */
static int give(struct dk_log *log, struct dk_log_read *read, struct dk_window *w,
                const struct dk_batch_head *h)
{
    const uint32_t index = (uint32_t)(read->record - h->first);
    const struct dk_batch_record *record = dk_batch_records(h) + index;
    const struct dk_batch_seg *seg = descriptor(w, h, index);
    const bool was_given = read->record >= w->given_first && read->record < w->given_end;
    read->num_segs = record->segs;
    if (was_given || log->reader.copies) {
        int ret = give_copies(read, h, record->crc, seg);
        log->store->stats->read_copies += ret == 0;
        if (!was_given || ret != -EIO)
            return ret;
        w->state = DK_WINDOW_EMPTY;
        return -EAGAIN;
    }
    if (dk_batch_record_good(h, record, seg))
        return give_views(read, w, h, seg);
    read->num_segs = 0;
    return -EIO;
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
    dk_windows_forget_failed(&r->windows);
}

/* The batch there begins behind what is looked for. Where the log was cut, it is what was left
 * over: the records from `end` on are in the next segment. */
static void remember_lost(struct dk_reader *r, uint64_t first, uint64_t end)
{
    r->lost_first = r->expected;
    r->lost_end = first < end ? first : end;
    r->expected = first;
}

/* What is found at the present place. */
struct found {
    uint32_t at; /* the segment's place in the log's list */
    struct dk_window *w;
    const struct dk_batch_head *head;
    uint64_t left;  /* bytes from its begin to the end of w ... */
    uint64_t limit; /* ... and of the segment */
};

/* Whether there is a good batch: once it was found so, it stays. */
static enum dk_batch_check check(const struct dk_log *log, const struct found *f)
{
    struct dk_window *w = f->w;
    const uint64_t offset = log->reader.offset;
    const struct dk_batch_place place = place_at(log, w->ordinal, log->segs[f->at], offset);
    if (w->checked == offset)
        return DK_BATCH_GOOD;
    enum dk_batch_check result = dk_batch_check((const void *)f->head, f->left, &place);
    if (result == DK_BATCH_GOOD) {
        w->checked = offset;
        w->record = w->descriptor = 0;
    }
    return result;
}

/* Finds the batch at the present place: as step, and 1: it is in *f. */
static int find(struct dk_log *log, struct found *f)
{
    struct dk_reader *r = &log->reader;
    f->at = find_segment(log, r->ordinal);
    if (f->at == log->num_segs || r->offset >= dk_log_segment(log, f->at)->limit)
        return -EIO;
    struct dk_window *w = f->w = dk_window_at(&r->windows, r->ordinal, r->offset);
    if (!w)
        return fetch(log, f->at, 0);
    if (w->state == DK_WINDOW_LOADING)
        return -EINPROGRESS;
    if (w->state == DK_WINDOW_FAILED) {
        int ret = failed(log, w);
        return ret == 0 ? -EAGAIN : ret;
    }
    f->head = (const void *)(w->data + (r->offset - w->start));
    f->left = w->start + w->len - r->offset;
    f->limit = dk_log_segment(log, f->at)->limit - r->offset;
    enum dk_batch_check result = check(log, f);
    if (result == DK_BATCH_GOOD)
        return 1;
    if (result == DK_BATCH_MORE && f->head->bytes <= f->limit)
        return extend(log, w, f->at, dk_round_up(f->head->bytes, DK_BLOCK));
    pass(r);
    return -EAGAIN;
}

/* Goes on behind a batch. */
static void skip(struct dk_log *log, const struct dk_batch_head *h)
{
    struct dk_reader *r = &log->reader;
    dk_index_add(&log->index, h->first, r->ordinal, r->offset);
    r->offset += (uint64_t)h->blocks * DK_BLOCK;
    r->expected = h->first + h->records;
    r->ahead = false;
}

/* What is found out once for a batch that is read in order, else for each record. */
static void enter(struct dk_reader *r, struct dk_window *w, uint64_t batch_bytes)
{
    const uint64_t lately = r->batch_bytes - r->batch_bytes / 8;
    r->batch_bytes = batch_bytes > lately ? batch_bytes : lately;
    r->copies = dk_windows_held(&r->windows, w) >= DK_WINDOWS_HELD;
    r->ahead = false;
    dk_window_touch(&r->windows, w);
}

/* One step with the first read: -EAGAIN: another step, -EINPROGRESS: the device has to read, else
 * the result of the read. */
static int step(struct dk_log *log, struct dk_log_read *read)
{
    struct dk_reader *r = &log->reader;
    struct found f = {0};
    int ret = find(log, &f);
    if (ret != 1)
        return ret;
    const struct dk_batch_head *h = f.head;
    const uint64_t bytes = (uint64_t)h->blocks * DK_BLOCK;
    if (read->record < h->first) {
        remember_lost(r, h->first, dk_log_segment(log, f.at)->end);
        return -EIO;
    }
    r->expected = h->first;
    if (read->record >= h->first + h->records) {
        skip(log, h);
        return -EAGAIN;
    }
    if (bytes > f.left)
        return bytes <= f.limit ? extend(log, f.w, f.at, bytes) : -EIO;
    const bool in_order = read->record == r->next;
    if (!in_order || read->record == h->first)
        enter(r, f.w, bytes);
    ret = give(log, read, f.w, h);
    if (ret == 0 && in_order && !r->ahead && !r->careful)
        read_ahead(log, f.w, f.at);
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
    int ret = r->windows.all ? 0 : dk_windows_init(&r->windows);
    if (ret == 0)
        ret = locate(log, read->record);
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
