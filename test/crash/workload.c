/* SPDX-License-Identifier: MIT */
/* Appends, trims, truncations, names, ends and crashes, as a seed says. */
#include "crash.h"

#include "mem/heap.h"

#include <errno.h>
#include <string.h>

#define STEPS     60
#define IN_FLIGHT 24
#define MOMENT_NS 60000000 /* logs are idle now and then */

struct in_flight {
    struct dk_log_append append;
    struct model_log *log;
    uint64_t number;
    bool used;
};

static struct {
    struct medium medium;
    struct dk_store *store;
    struct model model;
    struct dk_log *logs[LOGS];
    struct in_flight appends[IN_FLIGHT];
    struct dk_random random, states;
    uint64_t next_seed;
    int64_t now;
    bool is_even; /* batches of one length, many in flight, many crashes: what is left over of one
                   * life fits behind what the next one writes */
} w;

static uint32_t below(uint32_t n)
{
    return dk_random_below(&w.random, n);
}

static void moment(struct medium *m)
{
    look_at_states(m, &w.model, &w.states);
}

static void open_logs(void)
{
    for (uint32_t i = 0; i < LOGS; i++) {
        w.logs[i] = NULL;
        if (w.model.logs[i].exists == THERE &&
            dk_log_open(&w.logs[i], w.store, w.model.logs[i].name, 0) != 0)
            report("a log that is there cannot be opened");
    }
}

static void open_store(void)
{
    const char *why = "";
    struct dk_blkdev *dev = medium_open(&w.medium);
    w.medium.moment = moment;
    w.medium.shuffles = true;
    dk_random_init(&w.medium.random, dk_random_u64(&w.random));
    int ret = dk_store_open(&w.store, dev, NULL, &why);
    if (ret != 0)
        report("open: %d, %s", ret, why);
    const char *wrong = model_check(&w.model, w.store);
    if (wrong)
        report("after an open: %s", wrong);
    model_adopt(&w.model, w.store);
    open_logs();
}

static void append_done(struct dk_log_append *append, int result)
{
    struct in_flight *a = append->arg;
    struct model_log *l = a->log;
    if (result != 0 && result != -ENOSPC)
        report("an append failed: %d", result);
    if (result != 0 && a->number < l->may)
        l->may = a->number;
    if (result == 0 && append->record != a->number)
        report("record %llu was said to be %llu", (unsigned long long)a->number,
               (unsigned long long)append->record);
    if (result == 0 && !append->is_async)
        l->must = a->number + 1;
    for (uint32_t i = 0; i < append->num_segs; i++)
        dk_heap_free(append->segs[i].data);
    a->used = false;
}

static struct model_record draw_record(void)
{
    static const uint32_t lens[] = {0, 20, 300, 4096, 4096, 5000, 8192, 12288, 36000};
    if (w.is_even)
        return (struct model_record){.seed = ++w.next_seed, .len = 4096, .num_segs = 1};
    return (struct model_record){
        .seed = ++w.next_seed,
        .len = lens[below(9)],
        .num_segs = below(4) == 0 ? 1 + below(8) : 1,
    };
}

static void issue(uint32_t i, bool is_async)
{
    struct model_log *l = &w.model.logs[i];
    struct in_flight *a = w.appends;
    while (a < w.appends + IN_FLIGHT && a->used)
        a++;
    if (a == w.appends + IN_FLIGHT || l->may == RECORDS_MAX)
        return;
    struct model_record r = draw_record();
    *a = (struct in_flight){.log = l, .number = l->may, .used = true};
    a->append = (struct dk_log_append){
        .num_segs = r.num_segs, .is_async = is_async, .done = append_done, .arg = a};
    for (uint32_t s = 0; s < r.num_segs; s++) {
        uint32_t len = record_segment_len(&r, s);
        a->append.segs[s] = (struct dk_log_seg){dk_heap_aligned(4096, len + 1), len};
        record_fill(&r, s, a->append.segs[s].data);
    }
    l->records[l->may++] = r;
    l->other_end = l->must;
    counts.appends++;
    int ret = dk_log_append(w.logs[i], &a->append);
    if (ret != 0)
        report("an append was refused: %d", ret);
}

static void poll_some(uint32_t n)
{
    for (; n > 0; n--)
        dk_store_poll(w.store, w.now += below(2) * MOMENT_NS);
}

static void step_append(void)
{
    uint32_t i = below(LOGS), n = 1 + below(4);
    bool is_async = below(5) == 0;
    for (; w.logs[i] && n > 0; n--) {
        issue(i, is_async);
        poll_some(w.is_even);
    }
}

/* What is issued is done before a call of the control path changes the model. */
static void drain(void)
{
    while (dk_store_outstanding(w.store) > 0)
        dk_store_poll(w.store, w.now += below(2) * MOMENT_NS);
}

static void must_work(int ret, const char *what)
{
    if (ret != 0)
        report("%s: %d", what, ret);
}

static void step_trim(void)
{
    uint32_t i = below(LOGS);
    struct model_log *l = &w.model.logs[i];
    if (!w.logs[i])
        return;
    drain();
    uint64_t left = l->may - l->first;
    l->other_first =
        l->first + (left > 6 || below(4) == 0 ? left - below((uint32_t)left / 2 + 1) : left / 2);
    must_work(dk_log_trim(w.logs[i], l->other_first), "trim");
    l->first = l->other_first;
    l->must = l->other_end = l->may; /* trimming settles what was not waited for */
}

static void step_truncate(void)
{
    uint32_t i = below(LOGS);
    struct model_log *l = &w.model.logs[i];
    if (!w.logs[i])
        return;
    drain();
    l->other_end = l->may - below((uint32_t)(l->may - l->first) + 1);
    must_work(dk_log_truncate(w.logs[i], l->other_end), "truncate");
    l->must = l->may = l->other_end;
}

static void step_name(void)
{
    uint32_t i = below(LOGS);
    struct model_log *l = &w.model.logs[i];
    drain();
    if (!w.logs[i]) {
        l->first = l->other_first = l->must = l->may = l->other_end = 0;
        l->exists = PERHAPS;
        must_work(dk_log_open(&w.logs[i], w.store, l->name, DK_LOG_CREATE | DK_LOG_EXCL), "create");
        l->exists = THERE;
        return;
    }
    dk_log_put(w.logs[i]);
    w.logs[i] = NULL;
    l->exists = PERHAPS;
    must_work(dk_log_unlink(w.store, l->name), "unlink");
    l->exists = GONE;
}

static void step_empty(void)
{
    uint32_t i = below(LOGS);
    struct model_log *l = &w.model.logs[i];
    struct dk_log *log;
    if (!w.logs[i])
        return;
    drain();
    l->may_be_empty = true;
    must_work(dk_log_open(&log, w.store, l->name, DK_LOG_TRUNC), "open with TRUNC");
    dk_log_put(log);
    l->first = l->other_first = l->must = l->may = l->other_end = 0;
    l->may_be_empty = false;
}

static void step_reopen(void)
{
    drain();
    for (uint32_t i = 0; i < LOGS; i++)
        if (w.logs[i])
            dk_log_put(w.logs[i]);
    dk_store_close(w.store);
    for (uint32_t i = 0; i < LOGS; i++)
        w.model.logs[i].must = w.model.logs[i].other_end = w.model.logs[i].may;
    open_store();
    counts.lives++;
}

/* Power fails, and the workload goes on with what is left. */
static void step_crash(void)
{
    struct medium left;
    static struct model model;
    pick_state(&left, &w.medium, &w.random);
    left.atomic_bytes = w.medium.atomic_bytes;
    left.no_fua = w.medium.no_fua;
    model = w.model;
    w.medium.moment = NULL;
    dk_store_close(w.store);
    medium_fini(&w.medium);
    w.medium = left;
    w.model = model;
    open_store();
    counts.lives++;
}

/* Appends and crashes. */
static void even_step(void)
{
    if (!w.logs[0])
        step_name();
    else if (below(4) > 0)
        step_append();
    else
        step_crash();
}

static void step(void)
{
    uint32_t what = below(32);
    if (w.is_even && what < 28) {
        even_step();
        return;
    }
    if (what < 18)
        step_append();
    else if (what < 22)
        poll_some(1 + below(3));
    else if (what < 25)
        step_trim();
    else if (what < 27)
        step_truncate();
    else if (what < 29)
        step_name();
    else if (what < 30)
        step_empty();
    else if (what < 31)
        step_reopen();
    else
        step_crash();
    if (below(3) == 0)
        poll_some(1);
}

static void format(uint64_t seed)
{
    const char *why = "";
    struct dk_store_format_options options = {.segment_bytes = 64u << 10};
    memcpy(options.uuid, &seed, sizeof(seed));
    bool grows = below(16) == 0;
    medium_init(&w.medium, grows ? 4096 : 1u << 20, grows ? 9u << 20 : 0, true);
    w.medium.atomic_bytes = below(2) ? 4096 : 512;
    w.medium.no_fua = below(2);
    struct dk_blkdev *dev = medium_open(&w.medium);
    must_work(dk_store_format(dev, &options, false, &why), "format");
    dev->ops->close(dev);
}

void run_workload(uint64_t seed)
{
    memset(&w, 0, sizeof(w));
    seed_now = seed;
    dk_random_init(&w.random, seed);
    dk_random_init(&w.states, ~seed);
    for (uint32_t i = 0; i < LOGS; i++)
        snprintf(w.model.logs[i].name, sizeof(w.model.logs[i].name), "log%u", i);
    w.is_even = below(3) == 0;
    format(seed);
    open_store();
    step_name();
    for (int i = 0; i < STEPS; i++)
        step();
    step_reopen();
    w.medium.moment = NULL;
    dk_store_close(w.store);
    medium_fini(&w.medium);
}
