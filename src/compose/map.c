/* SPDX-License-Identifier: MIT */
/*
 * map (map.h).
 */
#include "compose/map.h"

#include "compose/operator.h"
#include "core/function.h"
#include "core/instance.h"
#include "mem/buf_now.h"
#include "mem/heap.h"

#include <errno.h>

/* A push that the shortest path began: its element is mapped already. */
struct begun {
    const void *handle; /* of the element as it was pushed; NULL: none */
    int result;         /* 0: copy is what it became; else a negative errno */
    demi_sgarray_t copy;
};

struct map {
    struct dk_operator op;
    demi_map_fn on_push, on_pop;
    void *arg;
    /* What the next pop is about, before anything that the source has. */
    bool interrupted; /* one of both */
    int failed;       /* it fails with that: the shortest path cannot */
    bool kept;        /* an element that was taken and could not be copied: there was no memory */
    demi_sgarray_t kept_sga;
    uint64_t *copies; /* the counter of them */
    struct begun begun;
};

/* An element of the function's own memory gets a handle: who pops it must be able to free it. */
static int adopt(demi_sgarray_t *sga)
{
    struct dk_buf *buf;
    int r = dk_sga_gather(sga, &buf);
    if (r == 0)
        dk_sga_lend(sga, buf);
    return r;
}

/* Takes what fn left when it is not the plain case: as apply. */
static __attribute__((noinline)) int take_result(demi_sgarray_t *sga, const void *handle, int r)
{
    struct dk_buf *buf;
    if (r == 0)
        r = dk_sga_check(sga, &buf);
    bool replaced = sga->sga_buf != handle;
    if (r == 0 && !sga->sga_buf)
        r = adopt(sga);
    if (replaced && dk_buf_app_put(handle) < 0)
        r = -EINVAL; /* it freed what it was given */
    if (r < 0 && sga->sga_buf)
        dk_buf_app_put(sga->sga_buf);
    return r;
}

static inline int call(const struct map *m, demi_map_fn fn, demi_sgarray_t *sga)
{
    struct dk_function_scope scope = dk_function_enter();
    int r = fn(sga, m->arg);
    dk_function_leave(scope);
    return r;
}

/*
 * Calls fn on an element that is held once, and takes what it left: 0 and *sga is an element that
 * is held once, or a negative errno and nothing is held.
 */
static int apply(const struct map *m, demi_map_fn fn, demi_sgarray_t *sga)
{
    const void *handle = sga->sga_buf;
    int r = call(m, fn, sga);
    return take_result(sga, handle, r < 0 ? -EINVAL : -r); /* 0 or a positive errno */
}

/* Whether fn left one segment of the buffer that it was given. While !dk_mt(). */
static inline bool is_plain(const demi_sgarray_t *sga, const void *handle, const struct dk_buf *buf)
{
    return dk_likely(sga->sga_buf == handle && sga->sga_numsegs == 1 &&
                     buf->gen == (uint32_t)(uintptr_t)handle &&
                     dk_buf_covers(buf, sga->sga_segs[0].sgaseg_buf, sga->sga_segs[0].sgaseg_len));
}

/* Maps an element that was taken: DK_TAKE_ELEMENT, or a negative errno and it is freed, or (without
 * memory for a copy) kept. */
static __attribute__((noinline)) int map_taken(struct map *m, demi_sgarray_t *sga)
{
    demi_sgarray_t copy;
    if (!m->on_pop)
        return DK_TAKE_ELEMENT;
    if (!dk_sga_is_exclusive(sga)) {
        int r = dk_sga_copy_deep(&copy, sga);
        if (r < 0) {
            m->kept = m->interrupted = true;
            dk_sga_copy_all(&m->kept_sga, sga);
            return r;
        }
        dk_count(m->copies, 1);
        dk_sga_free(sga);
        dk_sga_copy_all(sga, &copy);
    }
    int r = apply(m, m->on_pop, sga);
    return r < 0 ? r : DK_TAKE_ELEMENT;
}

/* As dk_operator_take, with what was kept before anything else. */
static int take(struct map *m, demi_sgarray_t *sga_out)
{
    m->interrupted = false;
    if (!m->kept)
        return dk_operator_take(&m->op, sga_out);
    m->kept = false;
    dk_sga_copy_all(sga_out, &m->kept_sga);
    return DK_TAKE_ELEMENT;
}

static int map_next(struct dk_operator *o, demi_sgarray_t *sga_out)
{
    struct map *m = (struct map *)o;
    int r = m->failed;
    m->failed = 0;
    if (r == 0)
        r = take(m, sga_out);
    else
        m->interrupted = m->kept;
    return r == DK_TAKE_ELEMENT ? map_taken(m, sga_out) : r;
}

/* What a pushed element becomes: 0 and *copy, -ENOMEM, or (*mapped_out) what fn said. */
static int map_pushed(const struct map *m, const demi_sgarray_t *sga, demi_sgarray_t *copy,
                      int *mapped_out)
{
    int r = dk_sga_copy_deep(copy, sga);
    if (r < 0)
        return r;
    dk_count(m->copies, 1);
    *mapped_out = apply(m, m->on_push, copy);
    return 0;
}

static void set_push_now(struct map *m,
                         bool (*push_now)(struct dk_queue *q, const demi_sgarray_t *sga,
                                          struct dk_buf *buf))
{
    __atomic_store_n(&m->op.q->push_now, push_now, __ATOMIC_RELAXED);
}

static void forget_begun(struct map *m)
{
    if (!m->begun.handle)
        return;
    if (m->begun.result == 0)
        dk_sga_free(&m->begun.copy);
    m->begun.handle = NULL;
    set_push_now(m, m->op.q->ops->push_now);
}

/* Takes what the shortest path began with this element. */
static bool take_begun(struct map *m, const demi_sgarray_t *sga, demi_sgarray_t *copy,
                       int *mapped_out)
{
    if (!m->begun.handle || m->begun.handle != sga->sga_buf) {
        forget_begun(m);
        return false;
    }
    m->begun.handle = NULL;
    set_push_now(m, m->op.q->ops->push_now);
    *copy = m->begun.copy;
    *mapped_out = m->begun.result;
    return true;
}

static int map_push(struct dk_operator *o, struct dk_op *op, const demi_sgarray_t *sga)
{
    struct map *m = (struct map *)o;
    demi_sgarray_t copy;
    int mapped;
    if (!m->on_push)
        return dk_operator_forward(o, op, sga);
    int r = take_begun(m, sga, &copy, &mapped) ? 0 : map_pushed(m, sga, &copy, &mapped);
    if (r < 0)
        return r;
    if (mapped < 0) {
        dk_op_complete(op, mapped);
        return 0;
    }
    if (op->held) /* what was kept for the leader is not what is pushed */
        dk_op_drop_hold(op);
    dk_sga_check(&copy, &op->buf);
    r = dk_operator_forward(o, op, &copy);
    dk_sga_free(&copy);
    return r;
}

static bool push_any_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf);

/* What became of an element and cannot be pushed at once is for map_push, which comes next. */
static bool begin(struct map *m, const demi_sgarray_t *sga, int result)
{
    m->begun.handle = sga->sga_buf;
    m->begun.result = result;
    set_push_now(m, push_any_now);
    return false;
}

static bool push_mapped_now(struct map *m, const demi_sgarray_t *sga, int result)
{
    struct dk_buf *buf;
    if (result < 0 || !dk_sga_fast_buf(&m->begun.copy, &buf) ||
        !dk_operator_push_now(&m->op, &m->begun.copy, buf))
        return begin(m, sga, result);
    dk_sga_free(&m->begun.copy);
    return true;
}

/* As map_push_now, for elements of any kind, and after one that was begun and did not come. */
static __attribute__((noinline)) bool push_any_now(struct dk_queue *q, const demi_sgarray_t *sga,
                                                   struct dk_buf *buf)
{
    struct map *m = q->impl;
    int result;
    (void)buf;
    forget_begun(m);
    return map_pushed(m, sga, &m->begun.copy, &result) == 0 && push_mapped_now(m, sga, result);
}

/* fn did not leave what it was given, own: as map_push_now. */
static __attribute__((noinline)) bool push_odd_now(struct map *m, const demi_sgarray_t *sga,
                                                   const struct dk_buf *own, int r)
{
    r = take_result(&m->begun.copy, dk_buf_handle_now(own), r < 0 ? -EINVAL : -r);
    return push_mapped_now(m, sga, r);
}

/* Whether fn left what it was given, or the beginning of it. */
static inline bool is_as_given(const demi_sgarray_t *copy, const struct dk_buf *buf, uint32_t len)
{
    return dk_likely(copy->sga_buf == dk_buf_handle_now(buf) && copy->sga_numsegs == 1 &&
                     copy->sga_segs[0].sgaseg_buf == buf->data &&
                     copy->sga_segs[0].sgaseg_len <= len);
}

/* What the function on the shortest path is given. Computed anew for each use: to keep it over
 * calls costs more. */
static inline demi_sgarray_t *copy_of(struct map *m)
{
    dk_forget(m);
    return &m->begun.copy;
}

/* The source did not keep the copy: it made one of its own. */
static __attribute__((noinline)) bool free_copy(struct dk_buf *copy)
{
    dk_buf_free(copy);
    return true;
}

/* Copies a small element into a spare buffer, and hands the copy over. Nothing is begun. */
static bool map_push_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    struct map *m = q->impl;
    const demi_sgaseg_t *seg = &sga->sga_segs[0];
    uint32_t len = seg->sgaseg_len;
    struct dk_buf *own;
    if (dk_unlikely(buf->peer_len || !(own = dk_buf_alloc_now(len, DK_BUF_PEER_BYTES))))
        return push_any_now(q, sga, buf);
    demi_sgarray_t *copy = &m->begun.copy;
    uint8_t *data = own->data;
    own->app_refs = 1;
    copy->sga_buf = dk_buf_handle_now(own);
    copy->sga_numsegs = 1;
    copy->sga_segs[0].sgaseg_buf = data;
    copy->sga_segs[0].sgaseg_len = len;
    copy->sga_addr = sga->sga_addr;
    ++*m->copies;
    memcpy(data, seg->sgaseg_buf, len);
    struct dk_function_scope scope = dk_function_enter();
    int r = m->on_push(copy_of(m), m->arg);
    dk_function_leave(scope);
    if (dk_unlikely(r != 0 || !is_as_given(copy, own, seg->sgaseg_len)))
        return push_odd_now(m, sga, own, r);
    if (dk_unlikely(!dk_operator_push_now(&m->op, copy_of(m), own)))
        return begin(m, sga, 0);
    if (dk_unlikely(dk_buf_app_end_now(own)))
        return free_copy(own);
    return true;
}

/* Where pushes are not mapped. */
static bool pass_now(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf)
{
    return dk_operator_push_now(q->impl, sga, buf);
}

/* What the shortest path took is not the plain case: as map_pop_now. */
static __attribute__((noinline)) bool took_now(struct map *m, int r)
{
    if (r == DK_TAKE_ELEMENT)
        return true;
    m->failed = r;
    m->interrupted = true;
    return false;
}

static bool map_pop_now(struct dk_queue *q, demi_sgarray_t *sga_out)
{
    struct map *m = q->impl;
    if (dk_unlikely(!dk_operator_may_pop_now(&m->op) || m->interrupted ||
                    !dk_operator_take_now(&m->op, sga_out)))
        return false;
    const void *handle = sga_out->sga_buf;
    const struct dk_buf *buf = &dk_bufs[(uint32_t)((uintptr_t)handle >> 32) - 1];
    if (dk_unlikely(!m->on_pop))
        return true;
    if (dk_unlikely(!dk_buf_is_exclusive_now(buf)))
        return took_now(m, map_taken(m, sga_out));
    int r = call(m, m->on_pop, sga_out);
    if (dk_likely(r == 0 && is_plain(sga_out, handle, buf)))
        return true;
    r = take_result(sga_out, handle, r < 0 ? -EINVAL : -r);
    return took_now(m, r < 0 ? r : DK_TAKE_ELEMENT);
}

static bool map_keeps(const struct dk_operator *o)
{
    return ((const struct map *)o)->interrupted;
}

static void map_give_back(struct dk_operator *o)
{
    struct map *m = (struct map *)o;
    if (m->kept)
        dk_queue_return(o->source, &m->kept_sga);
    m->kept = false;
}

static void map_free(struct dk_operator *o)
{
    struct map *m = (struct map *)o;
    if (m->kept)
        dk_sga_free(&m->kept_sga);
    forget_begun(m);
}

static const struct dk_operator_kind map_kind = {
    .next = map_next,
    .push = map_push,
    .give_back = map_give_back,
    .keeps = map_keeps,
    .free = map_free,
};

static const struct dk_queue_ops map_ops = DK_OPERATOR_OPS(map_push_now, map_pop_now);
static const struct dk_queue_ops pop_map_ops = DK_OPERATOR_OPS(pass_now, map_pop_now);

int dk_map_create(int *qd_out, struct dk_instance *inst, struct dk_queue *source,
                  demi_map_fn on_push, demi_map_fn on_pop, void *arg)
{
    struct map *m = dk_heap_zalloc(sizeof(*m)); /* freed by operator.c */
    if (!m)
        return -ENOMEM;
    m->op.kind = &map_kind;
    m->on_push = on_push;
    m->on_pop = on_pop;
    m->arg = arg;
    m->copies = &inst->stats->map_copies;
    return dk_operator_create(&m->op, inst, on_push ? &map_ops : &pop_map_ops, source, qd_out);
}
