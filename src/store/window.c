/* SPDX-License-Identifier: MIT */
/*
 * Windows (window.h).
 */
#include "store/window.h"

#include "mem/heap.h"
#include "store/log.h"

#include <errno.h>
#include <string.h>

#define SIZE_MAX_SHARED ((uint64_t)DK_WINDOW_BYTES_MAX + DK_WINDOW_ROOM_MAX)

/* For each window w of ws, which may have none. */
#define FOR_EACH(w, ws) for (struct dk_window *w = (ws)->all; w && w < (ws)->all + DK_WINDOWS; w++)

int dk_windows_init(struct dk_windows *ws)
{
    ws->all = dk_heap_zalloc(DK_WINDOWS * sizeof(*ws->all));
    return ws->all ? 0 : -ENOMEM;
}

static void free_memory(struct dk_window *w)
{
    if (w->buf)
        dk_buf_put(w->buf);
    w->buf = NULL;
    w->size = 0;
    w->state = DK_WINDOW_EMPTY;
}

void dk_windows_fini(struct dk_windows *ws)
{
    FOR_EACH(w, ws)
    free_memory(w);
    if (ws->all)
        dk_heap_free(ws->all);
    ws->all = NULL;
}

void dk_windows_reset(struct dk_windows *ws)
{
    FOR_EACH(w, ws)
    {
        if (w->state == DK_WINDOW_LOADING)
            w->stale = true;
        else
            w->state = DK_WINDOW_EMPTY;
    }
}

void dk_windows_forget_failed(struct dk_windows *ws)
{
    if (dk_likely(!ws->any_failed))
        return;
    ws->any_failed = false;
    FOR_EACH(w, ws)
    if (w->state == DK_WINDOW_FAILED)
        w->state = DK_WINDOW_EMPTY;
}

bool dk_windows_busy(const struct dk_windows *ws)
{
    FOR_EACH(w, ws)
    if (w->state == DK_WINDOW_LOADING)
        return true;
    return false;
}

static bool is_held(const struct dk_window *w)
{
    return w->buf && __atomic_load_n(&w->buf->refs, __ATOMIC_ACQUIRE) != 1;
}

uint32_t dk_windows_held(const struct dk_windows *ws, const struct dk_window *but)
{
    uint32_t n = 0;
    FOR_EACH(w, ws)
    n += w != but && is_held(w);
    return n;
}

struct dk_window *dk_window_at(const struct dk_windows *ws, uint64_t ordinal, uint64_t offset)
{
    FOR_EACH(w, ws)
    if (w->state != DK_WINDOW_EMPTY && !w->stale && w->ordinal == ordinal && offset >= w->start &&
        offset < w->start + w->len)
        return w;
    return NULL;
}

/* Whether a window may be replaced by another. */
static bool is_idle(const struct dk_window *w, const struct dk_window *keep)
{
    return w->state != DK_WINDOW_LOADING && w != keep;
}

/* What was needed for one batch alone is not kept. */
static void let_large_go(struct dk_windows *ws, const struct dk_window *keep)
{
    FOR_EACH(w, ws)
    if (w->size > SIZE_MAX_SHARED && is_idle(w, keep))
        free_memory(w);
}

/* Whether w should be loaded rather than `than`, which is NULL where there is none yet. */
static bool is_better(const struct dk_window *w, const struct dk_window *than)
{
    if (!than || (w->state == DK_WINDOW_EMPTY) != (than->state == DK_WINDOW_EMPTY))
        return !than || w->state == DK_WINDOW_EMPTY;
    return w->used < than->used;
}

/* A window to load into: of those that nobody holds the one that was used least recently; while
 * there are few of these, one without memory. NULL: all are held, or being loaded. */
static struct dk_window *choose(struct dk_windows *ws, uint32_t few, const struct dk_window *keep)
{
    struct dk_window *best = NULL, *bare = NULL;
    uint32_t free = 0;
    let_large_go(ws, keep);
    FOR_EACH(w, ws)
    {
        if (!w->buf)
            bare = bare ? bare : w;
        if (!w->buf || is_held(w))
            continue;
        free++;
        if (is_idle(w, keep) && is_better(w, best))
            best = w;
    }
    return bare && (!best || free < few) ? bare : best;
}

/* Memory for a window that nobody holds. */
static int provide(struct dk_window *w, uint64_t size)
{
    if (w->size >= size)
        return 0;
    free_memory(w);
    w->buf = dk_buf_alloc(size + DK_BLOCK, 0);
    if (!w->buf)
        return -ENOMEM;
    w->memory = (uint8_t *)dk_round_up((uintptr_t)w->buf->data, DK_BLOCK);
    w->size = size;
    return 0;
}

static void loaded(struct dk_xfer *x, int result)
{
    struct dk_window *w = x->arg;
    w->error = result;
    w->state = result == 0 ? DK_WINDOW_READY : DK_WINDOW_FAILED;
    if (w->stale)
        w->state = DK_WINDOW_EMPTY;
    w->stale = false;
    w->log->reader.windows.any_failed |= w->state == DK_WINDOW_FAILED;
    w->log->store->kicked = true;
}

static void start(struct dk_window *w, const struct dk_window_load *load)
{
    struct dk_store *store = w->log->store;
    w->seg = (struct dk_blk_seg){w->data, (uint32_t)load->bytes};
    w->xfer.op = DK_BLK_READ;
    w->xfer.flags = 0;
    w->xfer.offset = dk_segment_offset(&store->geometry, w->log->segs[load->at]) + load->offset;
    w->xfer.bytes = load->bytes;
    w->xfer.segs = &w->seg;
    w->xfer.num_segs = 1;
    w->xfer.done = loaded;
    w->xfer.arg = w;
    dk_xfer_start(&store->xfers, &w->xfer);
}

int dk_window_load(struct dk_window **w_out, struct dk_log *log, const struct dk_window_load *load)
{
    struct dk_windows *ws = &log->reader.windows;
    struct dk_window *w = choose(ws, load->free, load->keep);
    if (!w)
        return -EINPROGRESS;
    int ret = provide(w, load->room + load->bytes);
    if (ret != 0)
        return ret;
    w->log = log;
    w->state = DK_WINDOW_LOADING;
    w->stale = false;
    w->careful = load->careful;
    w->ordinal = dk_log_segment(log, load->at)->ordinal;
    w->start = load->offset;
    w->len = load->bytes;
    w->data = w->memory + load->room;
    w->given_first = w->given_end = 0;
    w->checked = UINT64_MAX;
    dk_window_touch(ws, w);
    start(w, load);
    *w_out = w;
    return 0;
}

void dk_window_cut(struct dk_window *w, uint64_t offset)
{
    w->len = offset - w->start;
    if (w->len == 0)
        w->state = DK_WINDOW_EMPTY;
}

bool dk_window_join(struct dk_window *w, struct dk_window *next, uint64_t offset)
{
    const uint64_t bytes = next->start > offset ? next->start - offset : 0;
    if (bytes > (uint64_t)(next->data - next->memory))
        return false;
    if (bytes == 0) {
        dk_window_cut(w, offset);
        return true;
    }
    next->data -= bytes;
    next->start -= bytes;
    next->len += bytes;
    memcpy(next->data, w->data + (offset - w->start), bytes);
    dk_window_cut(w, offset);
    return true;
}
