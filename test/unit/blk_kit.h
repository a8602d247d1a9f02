/* SPDX-License-Identifier: MIT */
/*
 * The contract of a block device (store/blk.h) as tests, run against any driver:
 * `BLK_CONTRACT(maker)` among the cases of a program. Each case opens a device of its own.
 */
#ifndef DEMI_TEST_UNIT_BLK_KIT_H
#define DEMI_TEST_UNIT_BLK_KIT_H

#include "../lib/harness.h"

#include "store/blk.h"

#define BLK_BYTES (UINT64_C(8) << 20)

struct blk_maker {
    const char *name;
    /* Opens a device of at least BLK_BYTES; again: one that was closed, with what it held. NULL:
     * it cannot run here, and said why (the case is skipped). */
    struct dk_blkdev *(*open)(bool again, bool read_only);
    bool forgets; /* what it holds ends with it */
    /* Undoes what open did beside the device; NULL: nothing. */
    void (*clean)(void);
};

/* An I/O with its memory: whole, of the heap, aligned; and what came of it. */
struct blk_op {
    struct dk_blk_io io;
    struct dk_blk_seg segs[16];
    uint8_t *memory;
    uint32_t times_done;
    int result;
};

/* Makes an I/O of bytes in num_segs segments of about the same length. Freed by blk_op_free. */
void blk_op_make(struct blk_op *op, const struct dk_blkdev *dev, uint8_t what, uint64_t offset,
                 uint32_t bytes, uint32_t num_segs);
void blk_op_free(struct blk_op *op);

/* Submits it, which must be taken, after completions if there is no room; waits for it. */
void blk_start(struct dk_blkdev *dev, struct blk_op *op);
int blk_finish(struct dk_blkdev *dev, struct blk_op *op);

/* A whole I/O: its result. Writes bytes of the pattern of seed; a read must find them. */
int blk_write(struct dk_blkdev *dev, uint64_t offset, uint32_t bytes, uint64_t seed, uint8_t flags);
int blk_read(struct dk_blkdev *dev, uint64_t offset, uint32_t bytes, uint64_t seed);
int blk_flush(struct dk_blkdev *dev);

/* Reads what is there: 0, bytes at out, or an error. */
int blk_read_raw(struct dk_blkdev *dev, uint64_t offset, uint32_t bytes, uint8_t *out);

/* An open failed with that errno, and said these words. */
void blk_must_fail(int r, int error, const char *const *why_out, const char *words);

void blk_test_caps(void **state);
void blk_test_written_is_read(void **state);
void blk_test_segments(void **state);
void blk_test_largest(void **state);
void blk_test_many_in_flight(void **state);
void blk_test_submits_when_done(void **state);
void blk_test_arm(void **state);
void blk_test_sleep(void **state);
void blk_test_refuses(void **state);
void blk_test_discard(void **state);
void blk_test_kept(void **state);
void blk_test_read_only(void **state);
void blk_test_close_in_flight(void **state);
void blk_test_model(void **state);
void blk_test_stats(void **state);
void blk_test_abandon(void **state);

#define BLK_CASE(maker, f, text)                                                                   \
    {                                                                                              \
        "test_" #maker "_" text, f, NULL, NULL, (void *)(uintptr_t)&maker                          \
    }

#define BLK_CONTRACT(maker)                                                                        \
    BLK_CASE(maker, blk_test_caps, "caps_are_within_the_contract"),                                \
        BLK_CASE(maker, blk_test_written_is_read, "write_completed_is_read"),                      \
        BLK_CASE(maker, blk_test_segments, "segments_are_one_after_the_other"),                    \
        BLK_CASE(maker, blk_test_largest, "largest_io_is_whole"),                                  \
        BLK_CASE(maker, blk_test_many_in_flight, "full_depth_in_flight_is_done_once_each"),        \
        BLK_CASE(maker, blk_test_submits_when_done, "done_may_submit_itself_again"),               \
        BLK_CASE(maker, blk_test_arm, "armed_descriptor_is_readable_when_something_is_done"),      \
        BLK_CASE(maker, blk_test_sleep, "sleep_starts_what_rests_and_ends_when_it_is_done"),       \
        BLK_CASE(maker, blk_test_refuses, "misaligned_too_long_and_outside_are_refused"),          \
        BLK_CASE(maker, blk_test_discard, "discard_leaves_neighbours_alone"),                      \
        BLK_CASE(maker, blk_test_kept, "what_was_written_is_there_after_close"),                   \
        BLK_CASE(maker, blk_test_read_only, "read_only_refuses_writes"),                           \
        BLK_CASE(maker, blk_test_close_in_flight, "close_in_flight_calls_done"),                   \
        BLK_CASE(maker, blk_test_model, "random_ios_agree_with_a_model"),                          \
        BLK_CASE(maker, blk_test_stats, "stats_count_what_was_done"),                              \
        BLK_CASE(maker, blk_test_abandon, "abandoned_by_a_child_is_the_parents_still")

#endif /* DEMI_TEST_UNIT_BLK_KIT_H */
