/* SPDX-License-Identifier: MIT */
/*
 * Crash enumeration of the store. A workload that a seed chooses runs over a medium that knows what
 * is durable; at every submit and every completion of an I/O the program stops and looks at what
 * power may leave behind now: of the writes that are not durable every subset, and of each write
 * any of its atomic units. Each such image is opened, and must be what a model allows:
 *
 *     - every record that was acknowledged is there, in order, with what was appended
 *     - records that were issued and not acknowledged are there or not, but none behind one that is
 *       not, and none that was never issued
 *     - what was trimmed, truncated, unlinked is gone, and stays so
 *
 * Some of these images are opened on a medium that is looked at in the same way: the recovery
 * itself crashes. And some become the workload's own, which goes on with what is left.
 */
#ifndef DEMI_TEST_CRASH_CRASH_H
#define DEMI_TEST_CRASH_CRASH_H

#include "../unit/store_dev.h"

#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

#define LOGS        3
#define RECORDS_MAX 4096

struct model_record {
    uint64_t seed;
    uint32_t len;
    uint32_t num_segs;
};

enum model_exists { GONE, THERE, PERHAPS };

/* What a log may be. */
struct model_log {
    char name[8];
    enum model_exists exists;
    uint64_t first, other_first; /* either: a trim is under way */
    uint64_t must, may;          /* its end is from must to may ... */
    uint64_t other_end;          /* ... or this: a truncation is under way */
    bool may_be_empty;           /* it is being opened with TRUNC */
    struct model_record records[RECORDS_MAX];
};

struct model {
    struct model_log logs[LOGS];
};

/* Writes the bytes of segment i of a record. */
uint32_t record_segment_len(const struct model_record *r, uint32_t i);
void record_fill(const struct model_record *r, uint32_t i, uint8_t *at);

/* NULL, or what of an open store the model does not allow. */
const char *model_check(const struct model *m, struct dk_store *store);

/* What is there is all there is from now on. */
void model_adopt(struct model *m, struct dk_store *store);

struct counts {
    uint64_t moments, states, torn, nested, read_only, lives, appends, exhaustive;
};

extern struct counts counts;

/* Looks at all that may be left of a medium now; `share` of it in 256 where it is much. Exits with
 * a report when something is wrong. */
void look_at_states(const struct medium *m, const struct model *model, struct dk_random *random);

/* Makes one of the images that may be left, into a medium of its own. */
void pick_state(struct medium *out, const struct medium *m, struct dk_random *random);

/* What is printed before the program ends. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
extern uint64_t seed_now;

void run_workload(uint64_t seed);

#endif /* DEMI_TEST_CRASH_CRASH_H */
