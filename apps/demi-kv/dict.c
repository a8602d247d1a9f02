/* SPDX-License-Identifier: MIT */
/*
 * The table of keys (dict.h).
 *
 * Tables come from mmap: they begin as zero pages without being written, and the memory of a table
 * that is being left is given back in pieces, so that neither end of a change of size takes long.
 */
#include "dict.h"

#include "siphash.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIN_BUCKETS     64
/* Entries per bucket, on average, at which the table doubles, and half of which it has then. */
#define MAX_LOAD        5
/* Buckets between two partial releases of a table that is being left: 1 MiB. */
#define RELEASE_BUCKETS 16384

#define LOW_BITS  UINT64_C(0x0001010101010101)
#define TAG_BYTES UINT64_C(0x00ffffffffffffff)

void kv_dict_init(struct kv_dict *d, const uint64_t key[2])
{
    memset(d, 0, sizeof(*d));
    d->key[0] = key[0];
    d->key[1] = key[1];
}

uint64_t kv_dict_hash(const struct kv_dict *d, struct kv_str key)
{
    return kv_siphash(d->key, key.p, key.len);
}

static uint64_t hash_of(const struct kv_dict *d, const struct kv_entry *e)
{
    return kv_siphash(d->key, kv_entry_key(e), e->key_len);
}

static uint8_t tag_of(uint64_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 56);
    return tag ? tag : 1;
}

/* Bit 8 * i + 7 is set for every slot i whose tag is `tag`, and no other bit. */
static uint64_t match_tags(const struct kv_bucket *b, uint8_t tag)
{
    uint64_t x;

    memcpy(&x, b, sizeof(x));
    x = (le64toh(x) ^ (LOW_BITS * tag)) & TAG_BYTES;
    return ~(((x & (LOW_BITS * 0x7f)) + LOW_BITS * 0x7f) | x) & (LOW_BITS * 0x80);
}

static unsigned first_match(uint64_t matches)
{
    return (unsigned)__builtin_ctzll(matches) / 8;
}

static struct kv_bucket *next_bucket(const struct kv_bucket *b)
{
    return b->chained ? b->slot[KV_BUCKET_SLOTS - 1].next : NULL;
}

/* Slots of a bucket that may hold entries. */
static unsigned usable_slots(const struct kv_bucket *b)
{
    return b->chained ? KV_BUCKET_SLOTS - 1 : KV_BUCKET_SLOTS;
}

/* ---- tables ------------------------------------------------------------------------------- */

static bool table_create(struct kv_table *t, uint64_t buckets)
{
    void *p = mmap(NULL, buckets * sizeof(struct kv_bucket), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return false;
    t->buckets = p;
    t->mask = buckets - 1;
    return true;
}

/* Releases what bucket number `done` completes: buckets below it are not used any more. */
static void table_release_part(struct kv_table *t, uint64_t done)
{
    if (done % RELEASE_BUCKETS == 0 && done <= t->mask)
        munmap(t->buckets + done - RELEASE_BUCKETS, RELEASE_BUCKETS * sizeof(struct kv_bucket));
}

/* Releases the rest, after all parts. */
static void table_release(struct kv_table *t)
{
    uint64_t from = t->mask - t->mask % RELEASE_BUCKETS;

    munmap(t->buckets + from, (t->mask + 1 - from) * sizeof(struct kv_bucket));
    t->buckets = NULL;
    t->mask = 0;
}

/* Appends an empty bucket to a full one; its last entry moves over. NULL without memory. */
static struct kv_bucket *chain_bucket(struct kv_dict *d, struct kv_bucket *b)
{
    const unsigned last = KV_BUCKET_SLOTS - 1;
    struct kv_bucket *next = aligned_alloc(sizeof(*next), sizeof(*next));

    if (!next)
        return NULL;
    memset(next, 0, sizeof(*next));
    next->tag[0] = b->tag[last];
    next->slot[0].entry = b->slot[last].entry;
    b->tag[last] = 0;
    b->chained = 1;
    b->slot[last].next = next;
    d->chained_buckets++;
    return next;
}

static bool table_insert(struct kv_dict *d, struct kv_table *t, struct kv_entry *e, uint64_t hash)
{
    struct kv_bucket *b = &t->buckets[hash & t->mask];

    for (;;) {
        uint64_t empty = match_tags(b, 0);
        unsigned slot = empty ? first_match(empty) : KV_BUCKET_SLOTS;
        if (slot < usable_slots(b)) {
            b->tag[slot] = tag_of(hash);
            b->slot[slot].entry = e;
            return true;
        }
        b = b->chained ? next_bucket(b) : chain_bucket(d, b);
        if (!b)
            return false;
    }
}

static bool table_find(const struct kv_table *t, struct kv_str key, uint64_t hash,
                       struct kv_place *out)
{
    for (struct kv_bucket *b = &t->buckets[hash & t->mask]; b; b = next_bucket(b)) {
        for (uint64_t m = match_tags(b, tag_of(hash)); m; m &= m - 1) {
            unsigned slot = first_match(m);
            const struct kv_entry *e = b->slot[slot].entry;
            if (e->key_len != key.len || memcmp(kv_entry_key(e), key.p, key.len) != 0)
                continue;
            out->bucket = b;
            out->slot = slot;
            return true;
        }
    }
    return false;
}

/* ---- changing size ------------------------------------------------------------------------ */

static bool resizing(const struct kv_dict *d)
{
    return d->table[1].buckets != NULL;
}

static void free_chain(struct kv_dict *d, struct kv_bucket *b)
{
    struct kv_bucket *next = next_bucket(b);

    while (next) {
        struct kv_bucket *after = next_bucket(next);
        free(next);
        d->chained_buckets--;
        next = after;
    }
}

/* Moves the entries of one bucket to table 1. false without memory: what is left stays. */
static bool move_bucket(struct kv_dict *d, struct kv_bucket *head)
{
    for (struct kv_bucket *b = head; b; b = next_bucket(b)) {
        for (unsigned i = 0; i < usable_slots(b); i++) {
            struct kv_entry *e = b->slot[i].entry;
            if (b->tag[i] == 0)
                continue;
            if (!table_insert(d, &d->table[1], e, hash_of(d, e)))
                return false;
            b->tag[i] = 0;
        }
    }
    free_chain(d, head);
    head->chained = 0;
    return true;
}

bool kv_dict_step(struct kv_dict *d, unsigned n)
{
    struct kv_table *from = &d->table[0];

    for (; resizing(d) && n > 0; n--) {
        if (!move_bucket(d, &from->buckets[d->moved]))
            return false;
        table_release_part(from, ++d->moved);
        if (d->moved > from->mask) {
            table_release(from);
            d->table[0] = d->table[1];
            d->table[1] = (struct kv_table){NULL, 0};
            d->moved = 0;
        }
    }
    return resizing(d);
}

static void resize(struct kv_dict *d, uint64_t buckets)
{
    if (buckets < MIN_BUCKETS)
        buckets = MIN_BUCKETS;
    if (!resizing(d) && buckets != d->table[0].mask + 1)
        table_create(&d->table[1], buckets); /* without memory the chains get longer */
}

/* After a removal: a table of which one slot in fourteen is used shrinks. */
static void shrink(struct kv_dict *d)
{
    uint64_t buckets = d->table[0].mask + 1;

    if (buckets <= MIN_BUCKETS || d->count >= buckets / 2 || resizing(d))
        return;
    while (buckets > MIN_BUCKETS && d->count < buckets)
        buckets /= 2;
    resize(d, buckets);
}

/* ---- operations --------------------------------------------------------------------------- */

bool kv_dict_find(struct kv_dict *d, struct kv_str key, uint64_t hash, struct kv_place *out)
{
    if (__builtin_expect(resizing(d), 0)) {
        kv_dict_step(d, 1);
        if (resizing(d) && table_find(&d->table[1], key, hash, out))
            return true;
        if (resizing(d) && (hash & d->table[0].mask) < d->moved)
            return false;
    }
    return d->count > 0 && table_find(&d->table[0], key, hash, out);
}

bool kv_dict_insert(struct kv_dict *d, struct kv_entry *e, uint64_t hash)
{
    if (!d->table[0].buckets && !table_create(&d->table[0], MIN_BUCKETS))
        return false;
    kv_dict_step(d, 1);
    if (!table_insert(d, &d->table[resizing(d)], e, hash))
        return false;
    d->count++;
    if (d->count > (d->table[0].mask + 1) * MAX_LOAD)
        resize(d, 2 * (d->table[0].mask + 1));
    return true;
}

void kv_dict_remove(struct kv_dict *d, struct kv_place at)
{
    at.bucket->tag[at.slot] = 0;
    d->count--;
    shrink(d);
}

/* ---- scan --------------------------------------------------------------------------------- */

static void visit(const struct kv_table *t, uint64_t at, kv_dict_fn fn, void *arg)
{
    for (const struct kv_bucket *b = &t->buckets[at & t->mask]; b; b = next_bucket(b))
        for (unsigned i = 0; i < usable_slots(b); i++)
            if (b->tag[i])
                fn(b->slot[i].entry, arg);
}

static uint64_t reverse_bits(uint64_t v)
{
    v = __builtin_bswap64(v);
    v = (v >> 4 & UINT64_C(0x0f0f0f0f0f0f0f0f)) | (v & UINT64_C(0x0f0f0f0f0f0f0f0f)) << 4;
    v = (v >> 2 & UINT64_C(0x3333333333333333)) | (v & UINT64_C(0x3333333333333333)) << 2;
    return (v >> 1 & UINT64_C(0x5555555555555555)) | (v & UINT64_C(0x5555555555555555)) << 1;
}

/* Adds one to the reversed bits below the mask: carries run from the mask's top bit down. */
static uint64_t next_cursor(uint64_t cursor, uint64_t mask)
{
    return reverse_bits(reverse_bits(cursor | ~mask) + 1);
}

uint64_t kv_dict_scan(struct kv_dict *d, uint64_t cursor, kv_dict_fn fn, void *arg)
{
    const struct kv_table *small = &d->table[0], *large = &d->table[1];

    if (d->count == 0)
        return 0;
    if (!resizing(d)) {
        visit(small, cursor, fn, arg);
        return next_cursor(cursor, small->mask);
    }
    if (small->mask > large->mask) {
        small = &d->table[1];
        large = &d->table[0];
    }
    if (small == &d->table[1] || (cursor & small->mask) >= d->moved)
        visit(small, cursor, fn, arg);
    do { /* every bucket of the large table that the small one's bucket was or will be */
        if (large == &d->table[1] || (cursor & large->mask) >= d->moved)
            visit(large, cursor, fn, arg);
        cursor = next_cursor(cursor, large->mask);
    } while (cursor & (small->mask ^ large->mask));
    return cursor;
}

/* ---- the end ------------------------------------------------------------------------------ */

static void drain_bucket(struct kv_dict *d, struct kv_bucket *head,
                         void (*free_entry)(struct kv_entry *e))
{
    for (struct kv_bucket *b = head; b; b = next_bucket(b))
        for (unsigned i = 0; i < usable_slots(b); i++)
            if (b->tag[i])
                free_entry(b->slot[i].entry);
    free_chain(d, head);
}

bool kv_dict_drain(struct kv_dict *d, unsigned n, void (*free_entry)(struct kv_entry *e))
{
    struct kv_table *t = &d->table[0];

    for (; t->buckets && n > 0; n--) {
        drain_bucket(d, &t->buckets[d->moved], free_entry);
        table_release_part(t, ++d->moved);
        if (d->moved > t->mask) {
            table_release(t);
            *t = d->table[1];
            d->table[1] = (struct kv_table){NULL, 0};
            d->moved = 0;
        }
    }
    d->count = 0;
    return t->buckets != NULL;
}

uint64_t kv_dict_bytes(const struct kv_dict *d)
{
    uint64_t buckets = d->chained_buckets;

    for (int i = 0; i < 2; i++)
        if (d->table[i].buckets)
            buckets += d->table[i].mask + 1;
    return (buckets - d->moved) * sizeof(struct kv_bucket);
}
