/* SPDX-License-Identifier: MIT */
/*
 * Queue transformations: the public side of compose/. They are control calls: they take the lead.
 */
#include "api/api.h"
#include "api/config.h"
#include "compose/connect.h"
#include "compose/filter.h"
#include "compose/frame.h"
#include "compose/map.h"
#include "compose/merge.h"
#include "compose/partition.h"
#include "compose/sort.h"
#include "core/taker.h"

#include <demi/queue.h>

/* The source of a new operator: held, and the lead of the calling thread's instance is taken. 0 or
 * a negative errno. */
static int enter(int qd, struct dk_queue **q_out, struct dk_instance **inst_out)
{
    struct dk_instance *inst = dk_api_instance();
    if (!inst)
        return dk_api_missing();
    struct dk_queue *q = dk_queue_lookup(qd);
    if (!q || !dk_queue_get(q))
        return -EBADF;
    dk_lock(&inst->tokens);
    dk_op_settle(inst); /* a token of q may be fresh */
    dk_unlock(&inst->tokens);
    dk_lead_take(inst);
    dk_run_posted(inst);
    *q_out = q;
    *inst_out = inst;
    if (__atomic_load_n(&q->state, __ATOMIC_ACQUIRE) == DK_QUEUE_OPEN)
        return 0;
    dk_lead_drop(inst);
    dk_queue_put(q);
    return -EBADF;
}

/* The same for an operator that calls a function of the application: that may take its time, and
 * wait for another thread that calls the library. So nobody is alone (alone.h) any more. */
static int enter_with_function(int qd, struct dk_queue **q_out, struct dk_instance **inst_out)
{
    int r = enter(qd, q_out, inst_out);
    if (r == 0)
        dk_alone_end();
    return r;
}

static int leave(struct dk_instance *inst, struct dk_queue *q, int r)
{
    dk_lead_drop(inst);
    dk_queue_put(q);
    dk_taker_run_woken();
    return dk_public(r);
}

int demi_filter(int *qd_out, int qd, demi_filter_fn fn, void *arg)
{
    struct dk_queue *q;
    struct dk_instance *inst;
    if (!qd_out || !fn)
        return EINVAL;
    int r = enter_with_function(qd, &q, &inst);
    return r < 0 ? dk_public(r) : leave(inst, q, dk_filter_create(qd_out, inst, q, fn, arg));
}

int demi_map_dir(int *qd_out, int qd, demi_map_fn on_push, demi_map_fn on_pop, void *arg)
{
    struct dk_queue *q;
    struct dk_instance *inst;
    if (!qd_out || (!on_push && !on_pop))
        return EINVAL;
    int r = enter_with_function(qd, &q, &inst);
    return r < 0 ? dk_public(r)
                 : leave(inst, q, dk_map_create(qd_out, inst, q, on_push, on_pop, arg));
}

int demi_map(int *qd_out, int qd, demi_map_fn fn, void *arg)
{
    return demi_map_dir(qd_out, qd, fn, fn, arg);
}

int demi_merge(int *qd_out, int qd1, int qd2)
{
    struct dk_queue *one, *two;
    struct dk_instance *inst;
    if (!qd_out)
        return EINVAL;
    int r = enter(qd1, &one, &inst);
    if (r < 0)
        return dk_public(r);
    two = dk_queue_lookup(qd2);
    if (!two || !dk_queue_get(two))
        return leave(inst, one, -EBADF);
    r = dk_queue_is_open(two) ? dk_merge_create(qd_out, inst, one, two) : -EBADF;
    dk_queue_put(two);
    return leave(inst, one, r);
}

int demi_partition(int qds_out[], uint32_t n, int qd, demi_partition_fn fn, void *arg)
{
    struct dk_queue *q;
    struct dk_instance *inst;
    if (!qds_out || !fn)
        return EINVAL;
    int r = enter_with_function(qd, &q, &inst);
    return r < 0 ? dk_public(r) : leave(inst, q, dk_partition_create(qds_out, n, inst, q, fn, arg));
}

int demi_sort(int *qd_out, int qd, demi_sort_fn fn, void *arg)
{
    struct dk_queue *q;
    struct dk_instance *inst;
    if (!qd_out || !fn)
        return EINVAL;
    int r = enter_with_function(qd, &q, &inst);
    return r < 0 ? dk_public(r)
                 : leave(inst, q, dk_sort_create(qd_out, inst, q, fn, arg, dk_api.sort_max));
}

static int connect_queues(int qdin, int qdout, demi_qtoken_t *qt_out)
{
    struct dk_queue *in, *out;
    struct dk_instance *inst;
    int r = enter(qdin, &in, &inst);
    if (r < 0)
        return dk_public(r);
    out = dk_queue_lookup(qdout);
    if (!out || !dk_queue_get(out))
        return leave(inst, in, -EBADF);
    r = out->state == DK_QUEUE_OPEN ? dk_connect_create(inst, in, out, qt_out) : -EBADF;
    dk_queue_put(out);
    return leave(inst, in, r);
}

int demi_qconnect(int qdin, int qdout)
{
    return connect_queues(qdin, qdout, NULL);
}

int demi_qconnect_watch(demi_qtoken_t *qt_out, int qdin, int qdout)
{
    return qt_out ? connect_queues(qdin, qdout, qt_out) : EINVAL;
}

int demi_frame(int *qd_out, int qd, const struct demi_framer *framer, void *arg)
{
    struct dk_queue *q;
    struct dk_instance *inst;
    if (!qd_out || !framer || !framer->scan)
        return EINVAL;
    int r = enter_with_function(qd, &q, &inst);
    return r < 0
               ? dk_public(r)
               : leave(inst, q, dk_frame_create(qd_out, inst, q, framer, arg, dk_api.element_max));
}
