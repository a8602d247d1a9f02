/* SPDX-License-Identifier: MIT */
/* What power may leave of a medium, and what recovery makes of it. */
#include "crash.h"

#include <stdarg.h>
#include <string.h>

#define UNITS_EXHAUSTIVE  6 /* all 64 subsets of so many units */
#define WRITES_EXHAUSTIVE 4 /* all subsets of so many whole writes */
#define SAMPLES           6
#define NESTED_ONE_IN     200
#define READ_ONLY_ONE_IN  16

/* The image that is looked at, and the one that a crash of its recovery leaves. */
static struct medium image, nested_image;

static uint32_t unit_bytes(const struct medium *m)
{
    return m->atomic_bytes ? m->atomic_bytes : 512;
}

static uint64_t num_units(const struct medium *m)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < m->num_pending; i++)
        n += m->pending[i].bytes / unit_bytes(m);
    return n;
}

/* Makes a medium that holds what of m is durable. Memory is kept from one to the next. */
static void begin_image(struct medium *out, const struct medium *m)
{
    uint64_t most = m->limit_bytes > m->bytes ? m->limit_bytes : m->bytes;
    uint8_t *memory = realloc(out->memory, most);
    if (!memory)
        abort();
    *out = (struct medium){
        .memory = memory,
        .bytes = m->bytes,
        .limit_bytes = m->limit_bytes,
        .atomic_bytes = m->atomic_bytes,
        .no_fua = m->no_fua,
    };
    memcpy(memory, m->durable, most);
}

static void apply(struct medium *out, const struct medium_write *w, uint64_t from, uint64_t bytes)
{
    memcpy(out->memory + w->offset + from, w->data + from, bytes);
}

/* Units of pending writes by the bits of a mask. */
static void apply_units(struct medium *out, const struct medium *m, uint64_t mask)
{
    uint32_t unit = unit_bytes(m);
    for (uint32_t i = 0; i < m->num_pending; i++)
        for (uint64_t at = 0; at < m->pending[i].bytes; at += unit, mask >>= 1)
            if (mask & 1)
                apply(out, &m->pending[i], at, unit);
}

static void apply_writes(struct medium *out, const struct medium *m, uint64_t mask)
{
    for (uint32_t i = 0; i < m->num_pending; i++)
        if (mask >> i & 1)
            apply(out, &m->pending[i], 0, m->pending[i].bytes);
}

/* Of each write: nothing, all, a beginning, an end, or units at random. */
static void apply_drawn(struct medium *out, const struct medium *m, struct dk_random *random)
{
    uint32_t unit = unit_bytes(m);
    for (uint32_t i = 0; i < m->num_pending; i++) {
        const struct medium_write *w = &m->pending[i];
        uint32_t units = (uint32_t)(w->bytes / unit), how = dk_random_below(random, 6);
        uint64_t cut = (uint64_t)dk_random_below(random, units + 1) * unit;
        if (how < 2)
            apply(out, w, 0, how == 0 ? 0 : w->bytes);
        else if (how == 2)
            apply(out, w, 0, cut);
        else if (how == 3)
            apply(out, w, cut, w->bytes - cut);
        for (uint32_t u = 0; how > 3 && u < units; u++)
            if (dk_random_below(random, how == 4 ? 2 : 8) > 0)
                apply(out, w, (uint64_t)u * unit, unit);
    }
}

static void open_and_check(struct medium *m, const struct model *model, bool read_only,
                           const char *what)
{
    const char *why = "";
    struct dk_store *store;
    struct dk_store_options options = {.read_only = read_only};
    struct dk_blkdev *dev = medium_open(m);
    int ret = dk_store_open(&store, dev, &options, &why);
    if (ret != 0)
        report("%s: it cannot be opened: %d, %s", what, ret, why);
    const char *wrong = model_check(model, store);
    if (wrong)
        report("%s: %s", what, wrong);
    m->moment = NULL;
    dk_store_close(store);
}

struct nest {
    const struct model *model;
    struct dk_random *random;
};

/* A moment of a recovery. */
static void nested_moment(struct medium *m)
{
    const struct nest *nest = m->arg;
    for (int i = 0; i < 3; i++) {
        begin_image(&nested_image, m);
        if (i == 1)
            apply_writes(&nested_image, m, UINT64_MAX);
        else if (i == 2)
            apply_drawn(&nested_image, m, nest->random);
        counts.nested++;
        open_and_check(&nested_image, nest->model, false, "recovery crashed");
    }
}

static void check_nested(const struct model *model, struct dk_random *random)
{
    struct nest nest = {model, random};
    uint64_t most = image.limit_bytes > image.bytes ? image.limit_bytes : image.bytes;
    image.durable = malloc(most);
    if (!image.durable)
        abort();
    memcpy(image.durable, image.memory, most);
    image.moment = nested_moment;
    image.arg = &nest;
    open_and_check(&image, model, false, "recovery");
    medium_settle(&image);
}

/* `image` is one that may be left. */
static void check_state(const struct model *model, struct dk_random *random)
{
    counts.states++;
    if (dk_random_below(random, READ_ONLY_ONE_IN) == 0) {
        counts.read_only++;
        open_and_check(&image, model, true, "read-only");
    }
    if (dk_random_below(random, NESTED_ONE_IN) == 0)
        check_nested(model, random);
    else
        open_and_check(&image, model, false, "crash");
}

void look_at_states(const struct medium *m, const struct model *model, struct dk_random *random)
{
    uint64_t units = num_units(m);
    bool all = units <= UNITS_EXHAUSTIVE, whole = !all && m->num_pending <= WRITES_EXHAUSTIVE;
    uint64_t subsets = UINT64_C(1) << (all ? units : whole ? m->num_pending : 1);
    counts.moments++;
    counts.exhaustive += all;
    for (uint64_t i = 0; i < subsets; i++) {
        begin_image(&image, m);
        if (all)
            apply_units(&image, m, i);
        else
            apply_writes(&image, m, whole ? i : i * UINT64_MAX);
        check_state(model, random);
    }
    for (int i = 0; !all && i < SAMPLES; i++) {
        begin_image(&image, m);
        apply_drawn(&image, m, random);
        counts.torn++;
        check_state(model, random);
    }
}

void pick_state(struct medium *out, const struct medium *m, struct dk_random *random)
{
    begin_image(&image, m);
    apply_drawn(&image, m, random);
    medium_init(out, m->bytes, m->limit_bytes, true);
    uint64_t most = m->limit_bytes > m->bytes ? m->limit_bytes : m->bytes;
    memcpy(out->memory, image.memory, most);
    memcpy(out->durable, image.memory, most);
}
