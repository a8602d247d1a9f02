/* SPDX-License-Identifier: MIT */
/*
 * Random graphs of operators over queues in memory, random operations on them, and a plain model
 * that says what each must come to.
 *
 * The model pulls: a pop asks its node for an element, a node asks what is below it, and nobody
 * keeps promises to wake anybody. After each action it serves every pop that can be served; exactly
 * those operations must be complete in the library, with those results. TEST_TRACE=1 prints the
 * actions. An element is a number in
 * eight bytes. In one thread every operation on memory ends in the call that made it possible, so
 * there is nothing to wait for.
 */
#include "operators.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRAPHS = 15000,
    ACTIONS = 60,
    NODES_MAX = 24,
    DEPTH_MAX = 6,
    ITEMS_MAX = 512,
    POPS_MAX = 64,
    OUTPUTS_MAX = 3,
};

enum node_kind { NODE_QUEUE, NODE_FILTER, NODE_MAP, NODE_SORT, NODE_MERGE, NODE_OUTPUT };

/* What a take of the model comes to. */
enum outcome { NOTHING, ELEMENT, END, ERROR };

struct items {
    uint64_t at[ITEMS_MAX];
    int count;
};

struct node;

/* A push that was accepted by none or some of the queues that it goes to. */
struct push {
    demi_qtoken_t qt;
    int left; /* queues that have not accepted it */
    uint64_t
        errors;  /* a bit for each; which of several queues fails first, the model does not know */
    bool merged; /* it goes to several */
    struct node *made_on;
};

struct waiting {
    struct push *push;
    uint64_t value;
};

struct node {
    enum node_kind kind;
    int qd;
    int depth;
    bool closed;
    struct node *source[2]; /* a merge has two */
    struct node *consumer;  /* who has the pop side */
    bool consumed;          /* somebody has it (of several outputs the first is the consumer) */
    uint32_t parameter;
    struct items returned;
    struct items items; /* in a queue, a sort (in order of arrival), an output */
    demi_qtoken_t pops[POPS_MAX];
    int num_pops;
    /* queue */
    uint32_t capacity;
    bool ended;
    struct waiting pushes[POPS_MAX];
    int num_pushes;
    /* merge */
    int turn;
    bool side_ended[2];
    /* output */
    struct node *outputs[OUTPUTS_MAX]; /* of its partition */
    uint32_t num_outputs;
    bool *partition_ended; /* of the first output */
};

static struct node nodes[NODES_MAX];
static int num_nodes;
static struct push pushes[ACTIONS + 1];
static int num_pushes;
static uint64_t random_state;
static uint64_t next_value;

static uint32_t below(uint32_t bound)
{
    return random_below(&random_state, bound);
}

static bool tracing;
static enum { MAPS_FAIL, QUEUES_FILL, PARTITIONS } flavour; /* of the graph */

static void trace(const char *what, const struct node *node, uint64_t more)
{
    static const char *const kinds[] = {"queue", "filter", "map", "sort", "merge", "output"};
    if (tracing)
        printf("%s: %s %d %llu\n", what, kinds[node->kind], (int)(node - nodes),
               (unsigned long long)more);
}

/* --- the functions, which the library and the model share --- */

struct parameter {
    uint32_t n;
};

static struct parameter parameters[NODES_MAX];

static bool passes(uint64_t value, uint32_t n)
{
    return value % (2 + n % 3) != 0;
}

static uint64_t mapped(uint64_t value, uint32_t n)
{
    return value + 1000 * (n + 1);
}

static uint64_t pushed(uint64_t value, uint32_t n)
{
    return value ^ (uint64_t)(n + 1) << 20;
}

/*
 * Maps fail for some. Not in graphs with partitions: there an error is for all who wait when it
 * comes, and the model does not know who does. Nor do queues fill up there, or pushes go to
 * several: what a partition has dealt out when another source made it unnecessary depends on who
 * was woken first.
 */
static bool fails(uint64_t value, uint32_t n)
{
    return flavour == MAPS_FAIL && (value + n) % 13 == 0;
}

static uint32_t rank(uint64_t value, uint32_t n)
{
    return (uint32_t)(value * 7 % (3 + n));
}

static uint64_t value_of(const demi_sgarray_t *sga)
{
    uint64_t value;
    memcpy(&value, sga->sga_segs[0].sgaseg_buf, sizeof value);
    return value;
}

static bool filter_fn(const demi_sgarray_t *sga, void *arg)
{
    return passes(value_of(sga), ((struct parameter *)arg)->n);
}

static int set_value(demi_sgarray_t *sga, uint64_t before, uint64_t value, uint32_t n)
{
    if (fails(before, n))
        return EILSEQ;
    memcpy(sga->sga_segs[0].sgaseg_buf, &value, sizeof value);
    return 0;
}

static int pop_map_fn(demi_sgarray_t *sga, void *arg)
{
    const uint32_t n = ((struct parameter *)arg)->n;
    const uint64_t value = value_of(sga);
    return set_value(sga, value, mapped(value, n), n);
}

static int push_map_fn(demi_sgarray_t *sga, void *arg)
{
    const uint32_t n = ((struct parameter *)arg)->n;
    const uint64_t value = value_of(sga);
    return set_value(sga, value, pushed(value, n), n);
}

static int sort_fn(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    const uint32_t n = ((struct parameter *)arg)->n;
    return (int)rank(value_of(a), n) - (int)rank(value_of(b), n);
}

static uint32_t partition_fn(const demi_sgarray_t *sga, void *arg)
{
    return (uint32_t)value_of(sga) / 3 + ((struct parameter *)arg)->n;
}

/* --- the model --- */

static void append(struct items *items, uint64_t value)
{
    must_hold(items->count < ITEMS_MAX, "the model is too small");
    items->at[items->count++] = value;
}

static uint64_t take_at(struct items *items, int i)
{
    const uint64_t value = items->at[i];
    items->count--;
    memmove(&items->at[i], &items->at[i + 1], (size_t)(items->count - i) * sizeof value);
    return value;
}

/* Puts what is in `more` before what is in `items`. */
static void put_before(struct items *items, struct items *more)
{
    must_hold(items->count + more->count <= ITEMS_MAX, "the model is too small");
    memmove(&items->at[more->count], items->at, (size_t)items->count * sizeof items->at[0]);
    memcpy(items->at, more->at, (size_t)more->count * sizeof more->at[0]);
    items->count += more->count;
    more->count = 0;
}

static enum outcome take(struct node *node, uint64_t *value, int *error);

static enum outcome take_queue(struct node *node, uint64_t *value)
{
    if (node->items.count == 0)
        return node->ended ? END : NOTHING;
    *value = take_at(&node->items, 0);
    if (node->num_pushes > 0) { /* it has room for one */
        append(&node->items, node->pushes[0].value);
        node->pushes[0].push->left--;
        node->num_pushes--;
        memmove(&node->pushes[0], &node->pushes[1],
                (size_t)node->num_pushes * sizeof node->pushes[0]);
    }
    return ELEMENT;
}

static enum outcome take_filter(struct node *node, uint64_t *value, int *error)
{
    for (;;) {
        const enum outcome r = take(node->source[0], value, error);
        if (r != ELEMENT || passes(*value, node->parameter))
            return r;
    }
}

static enum outcome take_map(struct node *node, uint64_t *value, int *error)
{
    const enum outcome r = take(node->source[0], value, error);
    if (r != ELEMENT)
        return r;
    if (fails(*value, node->parameter)) {
        *error = EILSEQ;
        return ERROR;
    }
    *value = mapped(*value, node->parameter);
    return ELEMENT;
}

static enum outcome take_sort(struct node *node, uint64_t *value, int *error)
{
    while (!node->ended) {
        uint64_t got;
        const enum outcome r = take(node->source[0], &got, error);
        if (r == ERROR)
            return ERROR;
        if (r == NOTHING)
            break;
        if (r == END)
            node->ended = true;
        else
            append(&node->items, got);
    }
    if (node->items.count == 0)
        return node->ended ? END : NOTHING;
    int best = 0;
    for (int i = 1; i < node->items.count; i++)
        if (rank(node->items.at[i], node->parameter) < rank(node->items.at[best], node->parameter))
            best = i;
    *value = take_at(&node->items, best);
    return ELEMENT;
}

/* Whether a queue below was closed, so that nothing comes out of the node any more. */
static bool is_cut(const struct node *node)
{
    if (node->closed || node->kind == NODE_QUEUE)
        return node->closed;
    if (node->kind != NODE_MERGE)
        return is_cut(node->source[0]);
    return (!node->side_ended[0] && is_cut(node->source[0])) ||
           (!node->side_ended[1] && is_cut(node->source[1]));
}

static enum outcome take_merge(struct node *node, uint64_t *value, int *error)
{
    for (int k = 0; k < 2; k++) {
        const int side = (node->turn + k) % 2;
        if (node->side_ended[side])
            continue;
        const enum outcome r = take(node->source[side], value, error);
        if (r == ELEMENT)
            node->turn = 1 - side;
        if (r == END || (r == ERROR && *error == ECANCELED && is_cut(node->source[side])))
            node->side_ended[side] = true; /* of other errors maps are the cause: they go on */
        if (r == ELEMENT || r == ERROR)
            return r;
    }
    return node->side_ended[0] && node->side_ended[1] ? END : NOTHING;
}

static enum outcome take_output(struct node *node, uint64_t *value, int *error)
{
    while (node->items.count == 0) {
        uint64_t got = 0;
        const enum outcome r = *node->partition_ended ? END : take(node->source[0], &got, error);
        if (r == END)
            *node->partition_ended = true;
        if (r != ELEMENT)
            return r;
        struct node *to = node->outputs[((uint32_t)got / 3 + node->parameter) % node->num_outputs];
        if (!to->closed)
            append(&to->items, got);
    }
    *value = take_at(&node->items, 0);
    return ELEMENT;
}

static enum outcome take_kind(struct node *node, uint64_t *value, int *error)
{
    switch (node->kind) {
    case NODE_QUEUE:
        return take_queue(node, value);
    case NODE_FILTER:
        return take_filter(node, value, error);
    case NODE_MAP:
        return take_map(node, value, error);
    case NODE_SORT:
        return take_sort(node, value, error);
    case NODE_MERGE:
        return take_merge(node, value, error);
    default:
        return take_output(node, value, error);
    }
}

static enum outcome take(struct node *node, uint64_t *value, int *error)
{
    if (node->closed) {
        *error = ECANCELED;
        return ERROR;
    }
    if (node->returned.count > 0) {
        *value = take_at(&node->returned, 0);
        return ELEMENT;
    }
    return take_kind(node, value, error);
}

static void add_error(struct push *push, int error)
{
    push->errors |= UINT64_C(1) << error % 64;
}

/* Whether an error, or 0, is what a push may come to. */
static bool is_result(const struct push *push, int error)
{
    return error == 0 ? push->errors == 0 : (push->errors >> error % 64 & 1) != 0;
}

/* Pushes into node what its operators make of value; *push learns who accepts it. */
static void push_into(struct node *node, uint64_t value, struct push *push)
{
    if (node->closed) {
        add_error(push, EBADF);
    } else if (node->kind == NODE_FILTER && !passes(value, node->parameter)) {
        return;
    } else if (node->kind == NODE_MAP && fails(value, node->parameter)) {
        add_error(push, EILSEQ);
    } else if (node->kind == NODE_MAP) {
        push_into(node->source[0], pushed(value, node->parameter), push);
    } else if (node->kind == NODE_MERGE) {
        push->merged = true;
        push_into(node->source[0], value, push);
        push_into(node->source[1], value, push);
    } else if (node->kind != NODE_QUEUE) {
        push_into(node->source[0], value, push);
    } else if (node->ended) {
        add_error(push, EPIPE);
    } else if (node->capacity == 0 || (uint32_t)node->items.count < node->capacity) {
        append(&node->items, value);
    } else {
        push->left++;
        node->pushes[node->num_pushes++] = (struct waiting){push, value};
    }
}

/* --- the model and the library side by side --- */

static demi_qresult_t collect(demi_qtoken_t qt, const struct node *node)
{
    demi_qresult_t qr;
    const int error = demi_wait(&qr, qt, ZERO_TIME);
    must_hold(error == 0, "an operation on node %d is not complete: %s", (int)(node - nodes),
              errno_name(error));
    return qr;
}

static void check_pop(const struct node *node, demi_qtoken_t qt, enum outcome want, uint64_t value,
                      int want_error)
{
    demi_qresult_t qr = collect(qt, node);
    const int at = (int)(node - nodes);
    if (want == ERROR) {
        must_hold(qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == want_error,
                  "a pop of node %d: opcode %d, %s, must be %s", at, (int)qr.qr_opcode,
                  errno_name((int)qr.qr_ret), errno_name(want_error));
        return;
    }
    must_hold(qr.qr_opcode == DEMI_OPC_POP, "a pop of node %d failed: %s", at,
              errno_name((int)qr.qr_ret));
    demi_sgarray_t sga = qr.qr_value.sga;
    if (want == END) {
        must_be_end(sga);
        return;
    }
    must_hold(sga.sga_numsegs == 1, "node %d ended, must yield %llu", at,
              (unsigned long long)value);
    const uint64_t got = value_of(&sga);
    must_hold(got == value, "node %d yields %llu, must be %llu", at, (unsigned long long)got,
              (unsigned long long)value);
    must(demi_sgafree(&sga));
}

static demi_qtoken_t take_pop(struct node *node, int i)
{
    const demi_qtoken_t qt = node->pops[i];
    node->num_pops--;
    memmove(&node->pops[i], &node->pops[i + 1],
            (size_t)(node->num_pops - i) * sizeof node->pops[0]);
    return qt;
}

static void fail_pops(struct node *node)
{
    while (node->num_pops > 0)
        check_pop(node, take_pop(node, 0), ERROR, 0, ECANCELED);
}

static bool serve_one(struct node *node)
{
    uint64_t value = 0;
    int error = 0;
    if (node->num_pops == 0)
        return false;
    const enum outcome r = take(node, &value, &error);
    if (r == NOTHING)
        return false;
    trace(r == ELEMENT ? "  yields"
          : r == END   ? "  ends"
                       : "  fails",
          node, r == ELEMENT ? value : (uint64_t)error);
    if (r == ERROR && error == ECANCELED)
        fail_pops(node);
    else
        check_pop(node, take_pop(node, 0), r, value, error);
    return true;
}

static void must_be_pending(demi_qtoken_t qt, const char *what, const struct node *node)
{
    demi_qresult_t qr;
    const int error = demi_wait(&qr, qt, ZERO_TIME);
    if (error == 0 && qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_numsegs == 1)
        print_error("it yields %llu\n", (unsigned long long)value_of(&qr.qr_value.sga));
    must_hold(error == ETIMEDOUT, "a %s on node %d must wait: %s, opcode %d", what,
              (int)(node - nodes), errno_name(error), (int)qr.qr_opcode);
}

static void check_push(struct push *push)
{
    if (push->left > 0) {
        must_be_pending(push->qt, "push", push->made_on);
        return;
    }
    const demi_qresult_t qr = collect(push->qt, push->made_on);
    push->qt = 0;
    must_hold((qr.qr_opcode == DEMI_OPC_PUSH) == (qr.qr_ret == 0) &&
                  is_result(push, (int)qr.qr_ret),
              "a push on node %d: %s, may fail with %llx", (int)(push->made_on - nodes),
              errno_name((int)qr.qr_ret), (unsigned long long)push->errors);
}

/* Serves every pop that can be served, and looks at all that is outstanding. */
static void settle(void)
{
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < num_nodes; i++)
            while (!nodes[i].closed && serve_one(&nodes[i]))
                more = true;
    }
    for (int i = 0; i < num_pushes; i++)
        if (pushes[i].qt != 0)
            check_push(&pushes[i]);
    for (int i = 0; i < num_nodes; i++)
        for (int j = 0; j < nodes[i].num_pops; j++)
            must_be_pending(nodes[i].pops[j], "pop", &nodes[i]);
}

/* What a merge below a node adds: errors that come once, pushes that go to several. */
static bool has_merge(const struct node *node)
{
    return node->kind == NODE_MERGE || (node->source[0] != NULL && has_merge(node->source[0]));
}

/* --- making graphs --- */

static struct node *new_node(enum node_kind kind, int depth)
{
    struct node *node = &nodes[num_nodes];
    memset(node, 0, sizeof *node);
    node->kind = kind;
    node->qd = -1;
    node->depth = depth;
    node->parameter = parameters[num_nodes].n = below(5);
    num_nodes++;
    return node;
}

static void *parameter_of(const struct node *node)
{
    return &parameters[node - nodes];
}

static void make_queue(void)
{
    struct node *node = new_node(NODE_QUEUE, 0);
    node->capacity = flavour != PARTITIONS && below(2) == 0 ? 1 + below(4) : 0;
    must(demi_queue(&node->qd, node->capacity));
    trace("made", node, node->capacity);
}

/* A node whose pop side is free and has no pops, or NULL. */
static struct node *free_source(const struct node *not_this)
{
    struct node *found[NODES_MAX];
    uint32_t n = 0;
    for (int i = 0; i < num_nodes; i++) {
        struct node *node = &nodes[i];
        if (node != not_this && !node->closed && !node->consumed && node->num_pops == 0 &&
            node->depth < DEPTH_MAX)
            found[n++] = node;
    }
    return n == 0 ? NULL : found[below(n)];
}

static void consume(struct node *source, struct node *by, int side)
{
    by->source[side] = source;
    source->consumer = by;
    source->consumed = true;
}

static void make_single(struct node *source, enum node_kind kind)
{
    struct node *node = new_node(kind, source->depth + 1);
    consume(source, node, 0);
    void *arg = parameter_of(node);
    if (kind == NODE_FILTER)
        must(demi_filter(&node->qd, source->qd, filter_fn, arg));
    else if (kind == NODE_MAP)
        must(demi_map_dir(&node->qd, source->qd, push_map_fn, pop_map_fn, arg));
    else
        must(demi_sort(&node->qd, source->qd, sort_fn, arg));
    trace("made", node, (uint64_t)(source - nodes));
}

static void make_merge(struct node *one)
{
    struct node *two = free_source(one);
    if (two == NULL)
        return;
    struct node *node =
        new_node(NODE_MERGE, 1 + (one->depth > two->depth ? one->depth : two->depth));
    consume(one, node, 0);
    consume(two, node, 1);
    must(demi_merge(&node->qd, one->qd, two->qd));
    trace("made", node, (uint64_t)(one - nodes) * 100 + (uint64_t)(two - nodes));
}

static void make_partition(struct node *source)
{
    if (flavour != PARTITIONS || has_merge(source))
        return;
    const uint32_t n = 1 + below(OUTPUTS_MAX);
    struct node *outputs[OUTPUTS_MAX] = {0};
    int qds[OUTPUTS_MAX];
    for (uint32_t i = 0; i < n; i++)
        outputs[i] = new_node(NODE_OUTPUT, source->depth + 1);
    must(demi_partition(qds, n, source->qd, partition_fn, parameter_of(outputs[0])));
    for (uint32_t i = 0; i < n; i++) {
        outputs[i]->qd = qds[i];
        outputs[i]->source[0] = source;
        trace("made", outputs[i], (uint64_t)(source - nodes));
        outputs[i]->parameter = outputs[0]->parameter;
        outputs[i]->num_outputs = n;
        outputs[i]->partition_ended = &outputs[0]->ended;
        memcpy(outputs[i]->outputs, outputs, sizeof outputs);
    }
    source->consumer = outputs[0];
    source->consumed = true;
}

static void make_operator(void)
{
    struct node *source = free_source(NULL);
    if (source == NULL || num_nodes + OUTPUTS_MAX > NODES_MAX)
        return;
    switch (below(5)) {
    case 0:
        make_merge(source);
        break;
    case 1:
        make_partition(source);
        break;
    case 2:
        make_single(source, NODE_MAP);
        break;
    case 3:
        make_single(source, NODE_FILTER);
        break;
    default:
        make_single(source, NODE_SORT);
    }
}

/* --- actions --- */

static struct node *any_open(void)
{
    for (int tries = 0; tries < 50; tries++) {
        struct node *node = &nodes[below((uint32_t)num_nodes)];
        if (!node->closed)
            return node;
    }
    return NULL;
}

static void pop_some(struct node *node)
{
    demi_qtoken_t qt;
    for (int tries = 0; node->consumed && tries < 4; tries++) /* most at the tops */
        node = any_open();
    trace("pop", node, 0);
    if (node->consumed) {
        must_fail(demi_pop(&qt, node->qd), EBUSY);
        return;
    }
    if (node->num_pops < 8)
        node->pops[node->num_pops++] = pop_start(node->qd);
}

static int waiting_below(const struct node *node)
{
    if (node->kind == NODE_QUEUE)
        return node->num_pushes;
    const int one = waiting_below(node->source[0]);
    return node->kind == NODE_MERGE ? one + waiting_below(node->source[1]) : one;
}

/* A push fails at the call or in its result: the model does not say where. */
static void push_some(struct node *node)
{
    if (waiting_below(node) > 8 || (flavour == PARTITIONS && has_merge(node)))
        return;
    struct push *push = &pushes[num_pushes++];
    const uint64_t value = next_value++;
    *push = (struct push){.made_on = node};
    trace("push", node, value);
    /* What pops wait for goes past a full queue, so they are served before it is asked for room:
     * see settle(), which runs between any two actions. */
    demi_sgarray_t sga = demi_sgaalloc(sizeof value);
    memcpy(sga.sga_segs[0].sgaseg_buf, &value, sizeof value);
    const int error = demi_push(&push->qt, node->qd, &sga);
    must(demi_sgafree(&sga));
    push_into(node, value, push);
    if (error != 0) {
        must_hold(is_result(push, error), "demi_push on node %d: %s, may fail with %llx",
                  (int)(node - nodes), errno_name(error), (unsigned long long)push->errors);
        push->qt = 0;
    }
}

static void cancel_pop(struct node *node)
{
    trace("cancel pop", node, 0);
    if (node->num_pops > 0)
        must(demi_cancel(take_pop(node, (int)below((uint32_t)node->num_pops))));
}

/* Takes back a push that waits in one queue. */
static void cancel_push(void)
{
    for (int i = 0; i < num_nodes; i++) {
        struct node *node = &nodes[i];
        if (node->kind != NODE_QUEUE || node->num_pushes == 0)
            continue;
        const int at = (int)below((uint32_t)node->num_pushes);
        struct push *push = node->pushes[at].push;
        if (push->merged)
            continue;
        trace("cancel push", node, node->pushes[at].value);
        must(demi_cancel(push->qt));
        push->qt = 0;
        node->num_pushes--;
        memmove(&node->pushes[at], &node->pushes[at + 1],
                (size_t)(node->num_pushes - at) * sizeof node->pushes[0]);
        return;
    }
}

static void end_queue(struct node *node)
{
    if (node->kind != NODE_QUEUE)
        return;
    trace("end", node, 0);
    must(demi_shutdown(node->qd, SHUT_WR));
    node->ended = true;
}

/* A closed queue: what it holds is gone, pushes that wait fail, and so do pops of its consumers. */
static void close_queue(struct node *node)
{
    for (int i = 0; i < node->num_pushes; i++) {
        struct push *push = node->pushes[i].push;
        push->left--;
        add_error(push, ECANCELED);
    }
    node->num_pushes = 0;
}

static bool is_last_output(const struct node *node)
{
    for (uint32_t i = 0; i < node->num_outputs; i++)
        if (!node->outputs[i]->closed)
            return false;
    return true;
}

/* An operator lets go of what is below it. */
static void give_back(struct node *node)
{
    struct node *to = node->source[0];
    if (node->kind == NODE_OUTPUT && !is_last_output(node))
        return;
    if (node->kind == NODE_MERGE) {
        if (to->closed)
            to = node->source[1];
        node->source[1]->consumed = false;
        node->source[1]->consumer = NULL;
    }
    node->source[0]->consumed = false;
    node->source[0]->consumer = NULL;
    if (to->closed)
        return;
    put_before(&to->returned, &node->items);
    put_before(&to->returned, &node->returned);
}

static void close_some(struct node *node)
{
    trace("close", node, 0);
    must(demi_close(node->qd));
    node->closed = true;
    fail_pops(node);
    if (node->kind == NODE_QUEUE)
        close_queue(node);
    else
        give_back(node);
}

static void act(void)
{
    struct node *node = any_open();
    if (node == NULL)
        return;
    const uint32_t what = below(100);
    if (what < 40)
        push_some(node);
    else if (what < 70)
        pop_some(node);
    else if (what < 80)
        make_operator();
    else if (what < 87)
        cancel_pop(node);
    else if (what < 90)
        cancel_push();
    else if (what < 93)
        end_queue(node);
    else if (what < 97)
        close_some(node);
    else
        make_operator();
    settle();
}

static void close_all(void)
{
    while (num_nodes > 0) {
        struct node *node = any_open();
        if (node == NULL) /* few are left open, if any */
            for (int i = 0; i < num_nodes && node == NULL; i++)
                node = nodes[i].closed ? NULL : &nodes[i];
        if (node == NULL)
            break;
        close_some(node);
        settle();
    }
}

static void run_graph(void)
{
    num_nodes = num_pushes = 0;
    next_value = 1;
    flavour = below(3);
    if (tracing)
        printf("graph of flavour %d\n", (int)flavour);
    for (uint32_t i = 1 + below(3); i > 0; i--)
        make_queue();
    for (uint32_t i = below(8); i > 0; i--)
        make_operator();
    for (int i = 0; i < ACTIONS; i++)
        act();
    close_all();
}

static void test_random_graphs_agree_with_the_model(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    random_state = seed_choose(__func__);
    tracing = getenv("TEST_TRACE") != NULL;
    const uint64_t before = buffers_now();
    for (int i = 0; i < (under_sanitizer() ? GRAPHS / 10 : GRAPHS); i++) {
        run_graph();
        buffers_must_be(before);
    }
    int qd = -1;
    must(demi_queue(&qd, 0));
    assert_true(qd < NODES_MAX + 2); /* no descriptor was lost */
    must(demi_close(qd));
}

int run_compose_model_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_random_graphs_agree_with_the_model),
    };
    return cmocka_run_group_tests_name("compose_model", tests, NULL, NULL);
}
