/* SPDX-License-Identifier: MIT */
/*
 * Finding the end of a log (format.h has the rules). Only segments that the metadata knows no end
 * of are read.
 *
 * First the headers are walked to the last batch that continues what is before it. What they say
 * to be committed is not looked at any more; the records behind that are the last that were in
 * flight, or were appended without waiting for durability: their payload is checked, and the first
 * that is not good is the end. For that the walk is repeated from the last place before them that
 * was noted.
 *
 * A place without a batch that continues is the end unless a batch behind it says that the records
 * there were committed. Then the walk goes on at the first batch behind it which has the epoch of
 * that witness; what is left over of another writer has another one.
 *
 * A log of which the metadata says what cannot be is refused (format.h).
 *
 * Nor does a log end before the place up to which the metadata says that it was durable: where the
 * walk ends before, records up to there are read where they are found, or are errors. Behind it the
 * log goes on only where a batch is a witness.
 *
 * A place that the device cannot read is not taken for the end: nothing tells whether a record is
 * there that was acknowledged. Such a log is not opened for writing until it can be read.
 */
#include "store/log.h"
#include "store/scan.h"

#include <errno.h>
#include <string.h>

#define HEADERS_AHEAD (64u << 10)
#define NOTES         16

/* Where a walk is: behind a batch. */
struct walk {
    uint32_t place; /* in log->segs */
    uint64_t offset;
    uint64_t expected; /* record */
    uint64_t number, epoch;
    uint32_t chain;
    bool chain_known;
};

struct recovery {
    struct dk_log *log;
    struct dk_scan *scan;
    struct walk at;
    uint64_t committed;
    uint32_t ahead;  /* bytes that are read at once */
    bool checks;     /* payload of what is not committed */
    struct walk end; /* then: where the headers end, behind which there is no witness */
    struct walk begin;
    struct walk notes[NOTES]; /* the last places, in a ring */
    uint32_t num_notes;
};

static bool continues(const struct recovery *r, const struct dk_batch_head *h)
{
    const struct walk *at = &r->at;
    return h->first == at->expected && h->epoch >= at->epoch && h->epoch <= r->log->store->epoch &&
           (!at->chain_known || h->chain == at->chain);
}

static const struct dk_batch_head *batch_at(struct recovery *r, uint32_t place, uint64_t offset,
                                            uint32_t ahead)
{
    if (place >= r->log->num_segs || offset >= r->log->store->geometry.segment_bytes)
        return NULL;
    return dk_scan_batch(r->scan, r->log, r->log->segs[place], offset, ahead);
}

/* The batch that continues, here or at the begin of the next segment; moves there. */
static const struct dk_batch_head *next_batch(struct recovery *r)
{
    struct walk *at = &r->at;
    const struct dk_batch_head *h = batch_at(r, at->place, at->offset, r->ahead);
    if (h && continues(r, h))
        return h;
    if (at->offset == 0)
        return NULL;
    h = batch_at(r, at->place + 1, 0, r->ahead);
    if (!h || !continues(r, h))
        return NULL;
    at->place++;
    at->offset = 0;
    return h;
}

/* Whether the payload of the records that are not committed is good. */
static bool payload_good(struct recovery *r, uint64_t offset)
{
    struct dk_log *log = r->log;
    uint64_t batch = dk_segment_offset(&log->store->geometry, log->segs[r->at.place]) + offset;
    uint32_t seg = 0, records = 1;
    for (uint32_t i = 0; i < records; i++) {
        const struct dk_batch_head *h = batch_at(r, r->at.place, offset, r->ahead);
        if (!h)
            return false;
        struct dk_batch_record record = dk_batch_records(h)[i];
        struct dk_batch_seg segs[DK_LOG_SEGS_MAX];
        records = h->records;
        for (uint32_t j = 0; j < record.segs; j++)
            segs[j] = dk_batch_segs(h)[seg + j];
        seg += record.segs;
        if (!dk_scan_record_good(r->scan, batch, &record, segs))
            return false;
    }
    return true;
}

/* Passes a batch. */
static void pass_batch(struct recovery *r, const struct dk_batch_head *h)
{
    struct walk *at = &r->at;
    struct dk_segment *s = dk_log_segment(r->log, at->place);
    if (at->offset == 0 && at->place > 0 &&
        dk_log_segment(r->log, at->place - 1)->end == DK_UNKNOWN)
        dk_log_segment(r->log, at->place - 1)->end = h->first;
    if (s->first == DK_UNKNOWN)
        s->first = h->first;
    dk_index_add(&r->log->index, h->first, h->ordinal, at->offset);
    if (h->committed > r->committed)
        r->committed = h->committed;
    at->expected = h->first + h->records;
    at->offset += (uint64_t)h->blocks * DK_BLOCK;
    at->number = h->number;
    at->epoch = h->epoch;
    at->chain = h->crc;
    at->chain_known = true;
}

/* Looks for a batch behind the present place; `epoch` 0: for a witness that what is missing here
 * was committed, else for the first batch of that epoch. Moves there. */
static uint64_t look_behind(struct recovery *r, uint64_t epoch)
{
    struct dk_log *log = r->log;
    uint64_t offset = r->at.offset;
    for (uint32_t place = r->at.place; place < log->num_segs; place++, offset = 0) {
        for (; offset < log->store->geometry.segment_bytes; offset += DK_BLOCK) {
            const struct dk_batch_head *h = batch_at(r, place, offset, DK_SCAN_BYTES);
            if (r->scan->error != 0)
                return 0;
            if (!h || h->epoch < r->at.epoch || h->epoch > log->store->epoch ||
                h->first < r->at.expected)
                continue;
            if (epoch == 0 && h->committed > r->at.expected)
                return h->epoch;
            if (epoch != h->epoch)
                continue;
            r->at.place = place;
            r->at.offset = offset;
            return epoch;
        }
    }
    return 0;
}

/* Whether it goes on behind a damaged place; then the walk is there. */
static bool skip_damage(struct recovery *r)
{
    uint64_t epoch = look_behind(r, 0);
    if (epoch == 0 || look_behind(r, epoch) == 0)
        return false;
    const struct dk_batch_head *h = batch_at(r, r->at.place, r->at.offset, r->ahead);
    if (!h)
        return false;
    r->at.expected = h->first;
    r->at.chain_known = false;
    return true;
}

static bool is_known_end(const struct recovery *r)
{
    return r->checks && r->at.place == r->end.place && r->at.offset == r->end.offset;
}

static void walk(struct recovery *r)
{
    for (;;) {
        struct walk before = r->at;
        const struct dk_batch_head *h = next_batch(r);
        if (!h) {
            if (is_known_end(r) || !skip_damage(r))
                return;
            before = r->at;
            h = next_batch(r);
            if (!h)
                return;
        }
        r->notes[r->num_notes++ % NOTES] = before;
        bool committed = !r->checks || h->first + h->records <= r->committed;
        if (!committed && !payload_good(r, r->at.offset)) {
            r->at = before;
            return;
        }
        h = batch_at(r, r->at.place, r->at.offset, r->ahead);
        if (!h)
            return;
        pass_batch(r, h);
    }
}

/* The last place that was noted with nothing behind `committed` before it. */
static struct walk before_uncommitted(const struct recovery *r)
{
    uint32_t oldest = r->num_notes > NOTES ? r->num_notes - NOTES : 0;
    for (uint32_t i = r->num_notes; i-- > oldest;)
        if (r->notes[i % NOTES].expected <= r->committed)
            return r->notes[i % NOTES];
    return r->begin;
}

/* Whether it is known to be the end, now that the walk stopped there and the device has failed to
 * read something: what decides is read once more, by itself. */
static bool end_is_known(const struct recovery *stopped)
{
    struct recovery r = *stopped;
    r.ahead = DK_BLOCK;
    r.scan->len = 0;
    r.scan->unreadable = 0;
    const struct dk_batch_head *h = next_batch(&r);
    bool goes_on = h && (!r.checks || payload_good(&r, r.at.offset));
    return !goes_on && r.scan->unreadable == 0 && r.scan->error == 0;
}

/* The segments behind the end have no records. */
static void forget_behind(struct dk_log *log, const struct walk *at)
{
    for (uint32_t i = at->place; i < log->num_segs; i++) {
        struct dk_segment *s = dk_log_segment(log, i);
        if (i > at->place || at->offset == 0)
            s->first = DK_UNKNOWN;
        s->end = DK_UNKNOWN;
    }
    dk_index_cut(&log->index, at->expected);
}

static void set_end(struct dk_log *log, const struct walk *at)
{
    log->next = log->acked = log->durable = at->expected;
    log->last = at->place;
    log->offset = at->offset;
    log->number = at->number;
    log->epoch = at->epoch;
    log->chain = at->chain;
    for (uint32_t i = 0; i < log->num_segs; i++) {
        uint64_t all = log->store->geometry.segment_bytes;
        dk_log_segment(log, i)->limit = i < at->place ? all : i == at->place ? at->offset : 0;
    }
}

/* What the metadata says about segments can be: records ascend without a gap, and only the last
 * ones are open. */
static bool possible(const struct dk_log *log)
{
    bool open = false;
    uint64_t expected = DK_UNKNOWN;
    for (uint32_t i = 0; i < log->num_segs; i++) {
        const struct dk_segment *s = dk_log_segment(log, i);
        bool ended = s->end != DK_UNKNOWN, begun = s->first != DK_UNKNOWN;
        if ((ended && (open || !begun || s->end < s->first)) || (open && begun) ||
            (begun && expected != DK_UNKNOWN && s->first != expected))
            return false;
        open = !ended;
        expected = s->end;
    }
    return log->first < DK_UNKNOWN / 2 && log->base < DK_UNKNOWN / 2 &&
           log->next_ordinal < DK_UNKNOWN / 2 && log->known_end < DK_UNKNOWN / 2;
}

/* The first segment without an end, and the record that it begins with. */
static struct walk first_open(const struct dk_log *log)
{
    struct walk at = {.expected = log->base};
    while (at.place < log->num_segs && dk_log_segment(log, at.place)->end != DK_UNKNOWN)
        at.expected = dk_log_segment(log, at.place++)->end;
    if (at.place < log->num_segs && dk_log_segment(log, at.place)->first != DK_UNKNOWN)
        at.expected = dk_log_segment(log, at.place)->first;
    return at;
}

/* A log that was closed says its end. */
static int take_clean_end(struct dk_log *log)
{
    struct walk at = {
        .place = log->num_segs,
        .offset = log->offset,
        .expected = log->acked,
        .number = log->number,
        .epoch = log->epoch,
        .chain = log->chain,
    };
    if (log->clean_ordinal != DK_UNKNOWN)
        for (at.place = 0; at.place < log->num_segs; at.place++)
            if (dk_log_segment(log, at.place)->ordinal == log->clean_ordinal)
                break;
    struct walk open = first_open(log);
    if ((log->clean_ordinal != DK_UNKNOWN && at.place == log->num_segs) || at.place != open.place ||
        at.offset % DK_BLOCK != 0 || at.offset > log->store->geometry.segment_bytes ||
        at.expected < open.expected || at.expected < log->first)
        return -EUCLEAN;
    set_end(log, &at);
    return 0;
}

static int search_end(struct dk_log *log, struct dk_scan *scan)
{
    struct recovery r = {
        .log = log, .scan = scan, .ahead = HEADERS_AHEAD, .begin = first_open(log)};
    r.at = r.begin;
    r.committed = log->known_end > r.at.expected ? log->known_end : r.at.expected;
    scan->unreadable = 0;
    walk(&r);
    if (scan->error == 0 && r.at.expected > r.committed) {
        r.end = r.at;
        r.at = before_uncommitted(&r);
        r.checks = true;
        r.num_notes = 0;
        walk(&r);
    }
    if (scan->error == 0 && scan->unreadable > 0)
        log->end_unread = !end_is_known(&r);
    if (scan->error != 0)
        return scan->error;
    forget_behind(log, &r.at);
    set_end(log, &r.at);
    return 0;
}

/* Damage ate the last records before `end`: the numbers go on there, in another segment. What may
 * still be there of them is read. */
static void end_at(struct dk_log *log, uint64_t end)
{
    for (uint32_t i = log->last; i < log->num_segs; i++)
        dk_log_segment(log, i)->limit = log->store->geometry.segment_bytes;
    if (log->store->read_only || log->end_unread) {
        log->next = log->acked = log->durable = end;
        return;
    }
    if (log->last < log->num_segs && end > log->first) {
        struct dk_segment *s = dk_log_segment(log, log->last);
        if (s->first == DK_UNKNOWN)
            s->first = log->acked;
    }
    dk_log_cut(log, end);
}

/* Whether another log has its name. */
static bool is_namesake(const struct dk_log *log)
{
    struct dk_list *l;
    dk_list_for_each (l, &log->store->logs) {
        const struct dk_log *other = dk_container_of(l, struct dk_log, link);
        if (other != log && !other->unlinked && !log->unlinked &&
            strcmp(other->name, log->name) == 0)
            return true;
    }
    return false;
}

/* It is refused, and what it has stays as it is. */
static int refuse(struct dk_log *log)
{
    log->damaged = true;
    log->acked = log->next = log->durable = log->first;
    log->last = log->num_segs;
    return 0;
}

static int recover_log(struct dk_log *log, struct dk_scan *scan)
{
    if (log->damaged || !possible(log) || is_namesake(log))
        return refuse(log);
    int ret = log->clean ? take_clean_end(log) : search_end(log, scan);
    if (ret == -EUCLEAN)
        return refuse(log);
    uint64_t least = log->first > log->known_end ? log->first : log->known_end;
    if (ret == 0 && log->acked < least)
        end_at(log, least);
    return ret;
}

int dk_recover(struct dk_store *store)
{
    struct dk_scan scan;
    struct dk_list *l;
    int ret = dk_scan_init(&scan, store);
    dk_list_for_each (l, &store->logs) {
        if (ret != 0)
            break;
        ret = recover_log(dk_container_of(l, struct dk_log, link), &scan);
    }
    dk_scan_fini(&scan);
    return ret;
}
