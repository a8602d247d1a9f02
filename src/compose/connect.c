/* SPDX-License-Identifier: MIT */
/*
 * qconnect (connect.h): an element's way from take to push, and the ends that a connection can
 * have. Which connections are allowed is edges.c's.
 *
 * An element on its way is a flight. Most are pushed at once and use the same flight again. One
 * that is not waits on `flights`, oldest first, until its push has completed; that may be in
 * another thread, under the lock of a memory queue, so a lock guards the states of flights, and the
 * connection is only woken. Everything else is guarded by the lead.
 */
#include "compose/connect.h"

#include "compose/edges.h"
#include "core/fast.h"
#include "core/instance.h"
#include "core/taker.h"
#include "mem/heap.h"

#include <errno.h>

#define MAX_FLIGHTS 16u
#define MAX_BYTES   (1u << 20)
/* Elements of one turn, where bytes do not end it. */
#define MAX_TURN    64u

enum flight_state { STARTING, WAITING, PUSHED, FAILED };

struct connection;

struct flight {
    struct dk_sink sink;
    struct connection *c;
    struct dk_list link;
    struct dk_op *op; /* STARTING, WAITING */
    demi_qtoken_t token;
    uint64_t bytes;
    int error;
    uint8_t state;      /* enum flight_state, guarded by c->lock */
    demi_sgarray_t sga; /* ours but when PUSHED */
};

struct connection {
    struct dk_taker taker;
    struct dk_list all;        /* in connections */
    struct dk_edge edge;       /* see edges.h */
    struct dk_queue *in, *out; /* held */
    struct dk_op *watch;       /* NULL: nobody watches, or it was told */
    struct dk_list flights;    /* owned */
    struct flight *spare;      /* owned, or NULL */
    uint32_t num_flights;
    uint64_t bytes;      /* of flights */
    uint64_t turn_bytes; /* taken in this turn */
    struct dk_lock lock; /* over states of flights */
    int error;           /* the first that ended it */
    bool in_ended;       /* or failed: nothing more is taken */
    bool out_failed;
    bool detached; /* it has let go of both sides */
};

static struct {
    struct dk_lock lock;
    struct dk_list all;
} connections = {.all = {&connections.all, &connections.all}};

static bool is_open(const struct dk_queue *q)
{
    return __atomic_load_n(&q->state, __ATOMIC_ACQUIRE) == DK_QUEUE_OPEN;
}

/* ---- flights ------------------------------------------------------------------------------ */

/* A push completed: any thread, perhaps under a queue's lock. */
static void push_done(struct dk_sink *sink, struct dk_op *op, int error)
{
    struct flight *f = dk_container_of(sink, struct flight, sink);
    struct connection *c = f->c;
    (void)op;
    if (error == 0)
        dk_sga_free(&f->sga);
    dk_lock(&c->lock);
    bool starting = f->state == STARTING;
    f->error = error;
    f->state = error ? FAILED : PUSHED;
    if (!starting)
        dk_taker_wake(&c->taker);
    dk_unlock(&c->lock);
}

static uint8_t state_of(struct flight *f)
{
    dk_lock(&f->c->lock);
    uint8_t state = f->state;
    dk_unlock(&f->c->lock);
    return state;
}

static struct flight *take_spare(struct connection *c)
{
    struct flight *f = c->spare;
    c->spare = NULL;
    if (!f)
        f = dk_heap_malloc(sizeof(*f)); /* freed by give_spare, or with the connection */
    if (!f)
        return NULL;
    f->sink.done = push_done;
    f->c = c;
    f->op = NULL;
    f->error = 0;
    f->state = STARTING;
    return f;
}

static void give_spare(struct connection *c, struct flight *f)
{
    if (c->spare)
        dk_heap_free(f);
    else
        c->spare = f;
}

static void enlist(struct connection *c, struct flight *f)
{
    dk_list_add_tail(&c->flights, &f->link);
    c->num_flights++;
    c->bytes += f->bytes;
}

static void delist(struct connection *c, struct flight *f)
{
    dk_list_del(&f->link);
    c->num_flights--;
    c->bytes -= f->bytes;
    give_spare(c, f);
}

static void moved(const struct connection *c)
{
    dk_count(&c->taker.inst->stats->connect_elements, 1);
}

static void out_failed(struct connection *c, int error)
{
    c->out_failed = true;
    if (!c->error)
        c->error = error;
}

/* Takes flights that have landed off the list. Returns how many are still on their way. */
static uint32_t land(struct connection *c)
{
    struct dk_list *l, *tmp;
    uint32_t waiting = 0;
    if (dk_list_empty(&c->flights))
        return 0;
    dk_list_for_each_safe (l, tmp, &c->flights) {
        struct flight *f = dk_container_of(l, struct flight, link);
        uint8_t state = state_of(f);
        waiting += state == WAITING;
        if (state == PUSHED) {
            moved(c);
            delist(c, f);
        } else if (state == FAILED) {
            out_failed(c, f->error);
        }
    }
    return waiting;
}

/* Returns what was not pushed to the head of `in`, the last first. */
static void give_back(struct connection *c)
{
    struct dk_list *l, *before;
    for (l = c->flights.prev; l != &c->flights; l = before) {
        struct flight *f = dk_container_of(l, struct flight, link);
        before = l->prev;
        if (state_of(f) != FAILED)
            continue;
        dk_queue_return(c->in, &f->sga);
        delist(c, f);
    }
}

/* Takes one push back, if out has not begun with it. */
static void recall(struct connection *c, struct flight *f)
{
    dk_lock(&c->lock);
    /* While it waits the operation is ours, and tells where it went. */
    struct dk_queue *target = f->state == WAITING ? f->op->target : NULL;
    dk_unlock(&c->lock);
    if (!target || target->ops->cancel(target, f->op, f->token) < 0)
        return;
    f->op->waiter = NULL; /* the slot's next user may look at it */
    dk_op_release(f->op);
    dk_lock(&c->lock);
    f->state = FAILED;
    dk_unlock(&c->lock);
}

static void recall_all(struct connection *c)
{
    struct dk_list *l;
    for (l = c->flights.prev; l != &c->flights; l = l->prev)
        recall(c, dk_container_of(l, struct flight, link));
}

/* ---- moving ------------------------------------------------------------------------------- */

/* Starts a push as an operation; 0, or a negative errno and it was not taken. */
static int start_push(struct connection *c, struct flight *f, struct dk_buf *buf)
{
    struct dk_queue *out = c->out;
    int r = dk_op_alloc_internal(&f->op, c->taker.inst, out, DEMI_OPC_PUSH, &f->sink);
    if (r < 0)
        return r;
    f->op->buf = buf;
    f->token = dk_op_token(f->op);
    r = out->ops->push(out, f->op, &f->sga);
    if (r < 0) {
        f->op->waiter = NULL; /* as above */
        dk_op_release(f->op);
    }
    return r;
}

/* Pushes the element of f, which is not on the list. */
static void push(struct connection *c, struct flight *f)
{
    struct dk_queue *out = c->out;
    struct dk_buf *buf;
    int r = dk_sga_check(&f->sga, &buf);
    f->bytes = dk_sga_bytes(&f->sga);
    c->turn_bytes += f->bytes;
    if (!dk_mt() && r == 0 && buf && f->sga.sga_numsegs == 1 && out->push_now(out, &f->sga, buf)) {
        dk_sga_free(&f->sga);
        moved(c);
        give_spare(c, f);
        return;
    }
    if (r == 0)
        r = start_push(c, f, buf);
    dk_lock(&c->lock);
    if (r < 0) {
        f->state = FAILED;
        f->error = r;
    } else if (f->state == STARTING) {
        f->state = WAITING;
    }
    uint8_t state = f->state;
    dk_unlock(&c->lock);
    if (state == PUSHED) {
        moved(c);
        give_spare(c, f);
        return;
    }
    enlist(c, f);
    if (state == FAILED)
        out_failed(c, f->error);
}

/* Acts on what a take came to; false: nothing was taken. */
static bool took(struct connection *c, struct flight *f, int r)
{
    if (dk_likely(r == DK_TAKE_ELEMENT)) {
        push(c, f);
        return true;
    }
    give_spare(c, f);
    if (r == DK_TAKE_NONE)
        return false;
    c->in_ended = true;
    if (!c->error)
        c->error = dk_take_error(r);
    return false;
}

/* Moves what there is; after a turn it gives way. */
static void move(struct connection *c)
{
    c->turn_bytes = 0;
    for (uint32_t n = 0; !c->in_ended && !c->out_failed; n++) {
        if (c->num_flights >= MAX_FLIGHTS || c->bytes >= MAX_BYTES)
            return;
        if (n == MAX_TURN || c->turn_bytes >= MAX_BYTES) {
            dk_taker_yield(&c->taker);
            return;
        }
        struct flight *f = take_spare(c);
        /* Without memory there is one as long as nothing is on its way; what is wakes us. */
        if (!f || !took(c, f, dk_taker_take(c->in, &f->sga)))
            return;
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

static void tell(struct connection *c, int error)
{
    struct dk_op *watch = c->watch;
    c->watch = NULL;
    if (watch)
        dk_op_complete(watch, error);
}

/* Lets go of both queues, but for what is still on its way. */
static void detach(struct connection *c)
{
    if (c->detached)
        return;
    c->detached = true;
    dk_taker_unclaim(c->in);
    dk_taker_unfeed(&c->taker);
    dk_edge_remove(&c->edge);
}

/* Ends it now: takes back what can be. */
static void disconnect(struct connection *c)
{
    recall_all(c);
    give_back(c);
    detach(c);
}

/* All elements are pushed. A queue that knows no end has none. */
static int end_out(const struct connection *c)
{
    struct dk_queue *out = c->out;
    int r = out->ops->shutdown ? out->ops->shutdown(out, SHUT_WR) : 0;
    return r == -EOPNOTSUPP ? 0 : r;
}

static void destroy(struct connection *c)
{
    dk_lock(&connections.lock);
    dk_list_del(&c->all);
    dk_unlock(&connections.lock);
    dk_queue_put(c->in);
    dk_queue_put(c->out);
    dk_heap_free(c->spare);
    dk_heap_free(c);
}

/* Nothing is on its way, and nothing more is taken. */
static void finish(struct connection *c)
{
    give_back(c);
    if (!c->detached && !c->error)
        c->error = end_out(c);
    detach(c);
    tell(c, c->error);
    dk_taker_fini(&c->taker);
    destroy(c);
}

static void finish_when_landed(struct connection *c)
{
    if ((c->in_ended || c->out_failed || c->detached) && land(c) == 0)
        finish(c);
}

static void ready(struct dk_taker *t)
{
    struct connection *c = dk_container_of(t, struct connection, taker);
    land(c);
    if (!c->detached && is_open(c->in) && is_open(c->out)) {
        move(c);
    } else if (!c->detached) {
        disconnect(c);
        tell(c, -ECANCELED);
    }
    finish_when_landed(c);
}

static int cancel(struct dk_taker *t, struct dk_op *op)
{
    struct connection *c = dk_container_of(t, struct connection, taker);
    if (c->watch != op)
        return -EINVAL;
    c->watch = NULL;
    disconnect(c);
    finish_when_landed(c);
    return 0;
}

/* ---- the beginning ------------------------------------------------------------------------ */

/* Whether a queue at the bottom of `out` can be pushed to without an address. */
static int check_peer(struct dk_queue *q)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int type = SOCK_STREAM;
    if (!is_open(q))
        return -EBADF;
    if (!q->ops->name || q->ops->name(q, DK_QUEUE_PEER, (struct sockaddr *)&addr, &len) == 0)
        return 0;
    len = sizeof(type);
    if (q->ops->getsockopt)
        q->ops->getsockopt(q, SOL_SOCKET, SO_TYPE, &type, &len);
    return type == SOCK_DGRAM ? -EDESTADDRREQ : -ENOTCONN;
}

static int check_out(struct dk_queue *q)
{
    struct dk_queue *sources[2];
    uint32_t n = q->ops->sources ? q->ops->sources(q, sources) : 0;
    int r = n == 0 ? check_peer(q) : 0;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = check_out(sources[i]);
    return r;
}

static struct connection *create(struct dk_instance *inst, struct dk_queue *in,
                                 struct dk_queue *out)
{
    struct connection *c = dk_heap_zalloc(sizeof(*c)); /* freed by destroy */
    if (!c)
        return NULL;
    dk_taker_init(&c->taker, inst, ready);
    c->taker.cancel = cancel;
    c->in = in;
    c->out = out;
    dk_list_init(&c->flights);
    c->spare = take_spare(c);
    if (!c->spare) {
        dk_heap_free(c);
        return NULL;
    }
    return c;
}

/* From here on it lives by itself; r is what the first take came to. */
static void begin(struct connection *c, struct flight *first, int r)
{
    dk_add_u32(&c->in->holds, 1);
    dk_add_u32(&c->out->holds, 1);
    dk_lock(&connections.lock);
    dk_list_add_tail(&connections.all, &c->all);
    dk_unlock(&connections.lock);
    dk_taker_feed(&c->taker, c->out);
    took(c, first, r);
    dk_taker_wake(&c->taker);
}

/* Issues the token that tells of the end. */
static int issue_watch(struct connection *c, demi_qtoken_t *watch_out)
{
    if (!watch_out)
        return 0;
    dk_add_u32(&c->in->holds, 1);
    int r = dk_op_alloc(&c->watch, c->taker.inst, c->in, DEMI_OPC_CLOSE);
    if (r == 0)
        *watch_out = dk_op_token(c->watch);
    return r;
}

/* Whether a first take says that none will ever do: a socket without a connection. */
static bool is_hopeless(int r)
{
    return r == -ENOTCONN || r == -EINVAL;
}

int dk_connect_create(struct dk_instance *inst, struct dk_queue *in, struct dk_queue *out,
                      demi_qtoken_t *watch_out)
{
    demi_qtoken_t watch = 0;
    int r = out->inst != inst && !out->anywhere ? -EXDEV : check_out(out);
    if (r < 0)
        return r;
    struct connection *c = create(inst, in, out);
    if (!c)
        return -ENOMEM;
    r = dk_taker_claim(&c->taker, in);
    if (r < 0)
        goto fail_claim;
    r = dk_edge_add(&c->edge, in, out);
    if (r < 0)
        goto fail_edge;
    r = issue_watch(c, watch_out ? &watch : NULL);
    if (r < 0)
        goto fail_watch;
    struct flight *first = take_spare(c);
    int taken = dk_taker_take(in, &first->sga);
    r = dk_take_error(taken);
    if (is_hopeless(r))
        goto fail_take;
    begin(c, first, taken);
    if (watch_out)
        *watch_out = watch;
    return 0;
fail_take:
    give_spare(c, first);
    if (c->watch)
        dk_op_release(c->watch);
fail_watch:
    dk_edge_remove(&c->edge);
fail_edge:
    dk_taker_unclaim(in);
fail_claim:
    dk_taker_fini(&c->taker);
    dk_heap_free(c->spare);
    dk_heap_free(c);
    return r;
}

/* ---- all of them -------------------------------------------------------------------------- */

void dk_connect_detach_all(void)
{
    struct dk_list *l;
    dk_list_for_each (l, &connections.all) {
        struct connection *c = dk_container_of(l, struct connection, all);
        detach(c);
        tell(c, -ECANCELED);
    }
}

void dk_connect_destroy_all(void)
{
    struct dk_list *l;
    while ((l = dk_list_first(&connections.all)) != NULL) {
        struct connection *c = dk_container_of(l, struct connection, all);
        give_back(c); /* dropped with the queue */
        destroy(c);
    }
}

void dk_connect_abandon(void)
{
    connections.lock.word = 0;
    dk_list_init(&connections.all);
    dk_edges_abandon();
}
