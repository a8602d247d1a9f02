/* SPDX-License-Identifier: MIT */
/*
 * A store on a device in memory, for tests: its image can be kept, changed and opened again, as if
 * the process had ended at that moment.
 */
#ifndef DEMI_TEST_UNIT_STORE_KIT_H
#define DEMI_TEST_UNIT_STORE_KIT_H

#include "store/store.h"
#include "store_dev.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct store_kit {
    struct medium medium;
    struct dk_store_options options;
    uint64_t segment_bytes; /* 0: 64 KiB */
    struct dk_store *store;
};

/* Formats and opens a medium of `bytes`. The rest of *k is as set. */
void kit_make(struct store_kit *k, uint64_t bytes);

/* Opens what is there again: closed first, or as the process was killed. */
void kit_reopen(struct store_kit *k, bool close);

/* As kit_reopen, of what is not open: the result of dk_store_open. */
int kit_open(struct store_kit *k, const char **why_out);

/* Ends the store as if the process was killed: nothing more is written. */
void kit_kill(struct store_kit *k);

void kit_end(struct store_kit *k);

struct dk_log *kit_log(struct store_kit *k, const char *name, uint32_t flags);

/* An append in flight. */
struct kit_append {
    struct dk_log_append append;
    bool is_done;
    int result;
};

/* Bytes of a record: of a seed, in num_segs segments of the heap, of len bytes together. */
void kit_record(struct kit_append *a, uint64_t seed, uint32_t len, uint32_t num_segs);
void kit_record_free(struct kit_append *a);
void kit_fill(uint8_t *at, uint32_t len, uint64_t seed);

/* Appends and waits: the result. *record_out may be NULL. */
int kit_append(struct store_kit *k, struct dk_log *log, uint64_t seed, uint32_t len,
               uint32_t num_segs);
int kit_append_async(struct store_kit *k, struct dk_log *log, uint64_t seed, uint32_t len);
void kit_issue(struct dk_log *log, struct kit_append *a);
void kit_wait(struct store_kit *k, const struct kit_append *a);

/* Reads and waits: the result; with 0 the record must be as kit_append made it. */
int kit_read(struct store_kit *k, struct dk_log *log, uint64_t record, uint64_t seed, uint32_t len,
             uint32_t num_segs);

uint64_t kit_first(struct dk_log *log);
uint64_t kit_end_of(struct dk_log *log);

#endif /* DEMI_TEST_UNIT_STORE_KIT_H */
