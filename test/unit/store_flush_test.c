/* SPDX-License-Identifier: MIT */
/*
 * Flushes that fail, among writes that go on, and then power: what was acknowledged is there. The
 * device below loses for good what was not durable when a flush failed, as blk_fault.h says, also
 * what was written while that flush was under way.
 */
#include "store_kit.h"

#include "drv/blk_fault.h"

#include <errno.h>
#include <string.h>

#define BYTES     (2u << 20)
#define SEEDS     400
#define STEPS     120
#define IN_FLIGHT 6
#define RECORDS   STEPS

enum { SYNC, OTHER, MIXED, LOGS };

/* What a log has by what was said of it. */
struct kept {
    struct dk_log *log;
    uint64_t seeds[RECORDS];
    bool may_be_lost[RECORDS]; /* nobody waited for it, and then a flush failed */
    uint64_t num, durable;
};

struct life {
    struct store_kit k;
    struct dk_blkdev *dev;
    struct kept logs[LOGS];
    struct flight {
        struct life *life;
        struct kit_append a;
        uint32_t log;
        uint64_t seed;
        bool used;
    } flights[IN_FLIGHT];
    struct dk_random random;
    uint32_t acked, failed, lost;
};

static uint32_t len_of(uint64_t seed)
{
    return 100 + (uint32_t)(seed % 7) * 2000;
}

static const char *const names[LOGS] = {"sync", "other", "mixed"};

static bool begin(struct life *w, uint64_t seed)
{
    const struct dk_blk_fault_options options = {
        .seed = seed, .flush_error = 200000, .jitter_ns = 1000, .watches_power = true};
    const char *why = "";
    dk_random_init(&w->random, seed);
    w->k.medium.no_fua = seed % 4 != 0;
    kit_make(&w->k, BYTES);
    for (uint32_t i = 0; i < LOGS; i++)
        (void)kit_log(&w->k, names[i], DK_LOG_CREATE);
    dk_store_close(w->k.store);
    assert_int_equal(dk_blk_fault_open(&w->dev, medium_open(&w->k.medium), &options, &why), 0);
    if (dk_store_open(&w->k.store, w->dev, NULL, &why) != 0) {
        w->k.store = NULL;
        w->dev->ops->close(w->dev);
        return false;
    }
    for (uint32_t i = 0; i < LOGS; i++)
        w->logs[i].log = kit_log(&w->k, names[i], 0);
    return true;
}

/* Records of a log that nobody waited for, and that are not told to be durable. */
static void doubt(struct kept *kept)
{
    for (uint64_t i = kept->durable; i < kept->num; i++)
        kept->may_be_lost[i] = true;
}

static void append_done(struct dk_log_append *append, int result)
{
    struct flight *f = append->arg;
    struct life *w = f->life;
    struct kept *kept = &w->logs[f->log];
    f->used = false;
    if (result == 0) {
        assert_int_equal(append->record, kept->num);
        kept->seeds[kept->num++] = f->seed;
        if (!append->is_async)
            kept->durable = kept->num;
        w->acked++;
    } else {
        assert_int_equal(result, -EIO);
        doubt(kept);
        w->failed++;
    }
    kit_record_free(&f->a);
}

static void append(struct life *w, uint64_t seed)
{
    struct flight *f = &w->flights[dk_random_below(&w->random, IN_FLIGHT)];
    if (f->used)
        return;
    *f = (struct flight){.life = w, .seed = seed, .used = true};
    f->log = dk_random_below(&w->random, LOGS);
    kit_record(&f->a, seed, len_of(seed), 1);
    f->a.append.done = append_done;
    f->a.append.arg = f;
    f->a.append.is_async = f->log == MIXED && dk_random_below(&w->random, 3) > 0;
    kit_issue(w->logs[f->log].log, &f->a);
}

/* A trim of nothing flushes, or tells of a flush that failed, if no append did. */
static void settle(struct life *w, struct kept *kept)
{
    int ret = dk_log_trim(kept->log, 0);
    assert_true(ret == 0 || ret == -EIO);
    if (ret != 0)
        doubt(kept);
    w->failed += ret != 0;
}

static void live(struct life *w)
{
    int64_t now = 0;
    for (uint64_t i = 0; i < STEPS; i++) {
        append(w, i);
        for (uint32_t n = dk_random_below(&w->random, 4); n > 0; n--)
            dk_store_poll(w->k.store, now += dk_random_below(&w->random, 700));
        if (dk_random_below(&w->random, 40) == 0)
            settle(w, &w->logs[MIXED]);
    }
}

static void check(struct life *w)
{
    const char *why = "";
    assert_int_equal(kit_open(&w->k, &why), 0);
    for (uint32_t l = 0; l < LOGS; l++) {
        const struct kept *kept = &w->logs[l];
        struct dk_log *log = kit_log(&w->k, names[l], 0);
        assert_true(kit_end_of(log) >= kept->durable);
        for (uint64_t i = 0; i < kit_end_of(log) && i < kept->num; i++) {
            int ret = kit_read(&w->k, log, i, kept->seeds[i], len_of(kept->seeds[i]), 1);
            assert_true(ret == 0 || (ret == -EIO && kept->may_be_lost[i]));
            w->lost += ret != 0;
        }
    }
    dk_store_close(w->k.store);
}

static void test_acknowledged_is_there_whatever_flushes_failed(void **state)
{
    (void)state;
    static struct life w;
    uint32_t acked = 0, failed = 0, lost = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        w = (struct life){0};
        if (begin(&w, seed)) {
            live(&w);
            dk_blk_fault_power_off(w.dev);
            struct kept kept[LOGS];
            memcpy(kept, w.logs, sizeof(kept)); /* what is in flight now fails, or is told late */
            dk_store_close(w.k.store);
            memcpy(w.logs, kept, sizeof(kept));
            check(&w);
        }
        medium_fini(&w.k.medium);
        acked += w.acked;
        failed += w.failed;
        lost += w.lost;
    }
    print_message("%u acknowledged, %u failed; %u that nobody waited for are errors\n", acked,
                  failed, lost);
    assert_true(acked > 10000 && failed > 1000 && lost > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledged_is_there_whatever_flushes_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
