/* SPDX-License-Identifier: MIT */
/*
 * References beyond what an object's byte counts (overflow.h). One lock over all tables.
 */
#include "mem/overflow.h"

#include "os/pages.h"
#include "os/sync.h"

static struct dk_lock lock;

/* Makes the overflow table: a page or more, each number zero. */
static bool make_overflow(struct dk_superblock *sb)
{
    if (!sb->overflow)
        sb->overflow = dk_pages_reserve(sb->num_objects * sizeof(uint32_t));
    return sb->overflow != NULL;
}

void dk_overflow_drop(struct dk_superblock *sb)
{
    dk_pages_release(sb->overflow, sb->num_objects * sizeof(uint32_t));
    sb->overflow = NULL;
}

static uint8_t count_of(const uint8_t *ref)
{
    return __atomic_load_n(ref, __ATOMIC_RELAXED) >> 1;
}

/* Changes how many references a byte counts, and not whether the application holds the object. */
static bool change_count(uint8_t *ref, uint8_t from, uint8_t to)
{
    uint8_t old = __atomic_load_n(ref, __ATOMIC_RELAXED);
    while (old >> 1 == from)
        if (__atomic_compare_exchange_n(ref, &old, (uint8_t)((old & DK_REF_APP) | to << 1), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return true;
    return false;
}

/* Counts one more reference; `lock` is held. 1, 0 (none can be counted), or -1: the byte
 * changed meanwhile. */
static int count_one_more(struct dk_superblock *sb, uint64_t index)
{
    uint8_t *ref = dk_object_ref(sb, index);
    uint8_t n = count_of(ref);
    if (n < DK_REF_MAX) /* some were given back */
        return change_count(ref, n, (uint8_t)(n + 1)) ? 1 : -1;
    if (n == DK_REF_MAX) {
        if (!make_overflow(sb))
            return 0;
        sb->overflow[index] = DK_REF_MAX + 1;
        return change_count(ref, DK_REF_MAX, DK_REF_MANY) ? 1 : -1;
    }
    if (n != DK_REF_MANY || sb->overflow[index] == UINT32_MAX)
        return 0;
    sb->overflow[index]++;
    return 1;
}

bool dk_overflow_get(struct dk_superblock *sb, uint64_t index)
{
    int counted;
    dk_lock(&lock);
    while ((counted = count_one_more(sb, index)) < 0)
        ;
    dk_unlock(&lock);
    return counted == 1;
}

bool dk_overflow_put(struct dk_superblock *sb, uint64_t index)
{
    uint8_t *ref = dk_object_ref(sb, index);
    dk_lock(&lock);
    bool many = count_of(ref) == DK_REF_MANY;
    /* Half-way down, so that one reference more and one less is not a way through here each time.
     */
    if (many && --sb->overflow[index] == DK_REF_MAX / 2)
        change_count(ref, DK_REF_MANY, DK_REF_MAX / 2);
    dk_unlock(&lock);
    return many;
}

void dk_overflow_before_fork(void)
{
    dk_lock(&lock);
}

void dk_overflow_after_fork(void)
{
    dk_unlock(&lock);
}
