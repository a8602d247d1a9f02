/* SPDX-License-Identifier: MIT */
/*
 * Random operations against a model: a few pairs, any number of pushes and pops outstanding, waits
 * of every kind over any subset, cancels at any time. The model knows which pushes took effect;
 * what the pops yield, in the order in which they were issued, must be exactly these, once, in
 * order.
 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

enum { LINES = 5, OPS_MAX = 4096, SUBSET_MAX = 48 };

enum op_state { OUTSTANDING, DONE, CANCELLED };

struct op {
    demi_qtoken_t qt;
    enum op_state state;
    uint32_t bytes;
    void *memory;       /* of a push that the test built itself, lent until the push completes */
    demi_sgarray_t sga; /* of a pop that is done and not yet checked */
};

/* One pair and what the model knows of it. */
struct line {
    struct pair pair;
    uint64_t seed;
    struct op pushes[OPS_MAX];
    struct op pops[OPS_MAX];
    uint32_t num_pushes, num_pops;
    uint32_t out_pushes, out_pops; /* outstanding */
    uint32_t checked_pops;         /* pops before this one are checked */
    uint32_t at_push;              /* the push that the next popped byte belongs to */
    uint32_t at_byte;
};

static struct line *lines;
static uint64_t random_state;
static uint32_t max_bytes;
static uint32_t max_out;

static uint32_t below(uint32_t bound)
{
    return random_below(&random_state, bound);
}

static void release(struct op *push)
{
    free(push->memory);
    push->memory = NULL;
}

/* The next byte of the line is that of the first push that took effect and has bytes left. */
static void check_bytes(struct line *line, const uint8_t *bytes, uint32_t len)
{
    while (len > 0) {
        struct op *push = &line->pushes[line->at_push];
        must_hold(line->at_push < line->num_pushes, "%u bytes that nobody pushed", len);
        if (push->state == CANCELLED || line->at_byte == push->bytes) {
            line->at_push++;
            line->at_byte = 0;
            continue;
        }
        const uint32_t left = push->bytes - line->at_byte;
        const uint32_t n = left < len ? left : len;
        pattern_check(bytes, n, line->seed + line->at_push, line->at_byte);
        line->at_byte += n;
        bytes += n;
        len -= n;
    }
}

static void check_pop(struct line *line, struct op *pop)
{
    assert_int_not_equal(pop->sga.sga_numsegs, 0);
    if (backend_can(CAN_BOUNDARY)) { /* exactly one element */
        assert_true(line->at_byte == 0 || line->at_byte == line->pushes[line->at_push].bytes);
        line->at_push += line->at_byte != 0;
        line->at_byte = 0;
        while (line->at_push < line->num_pushes && line->pushes[line->at_push].state == CANCELLED)
            line->at_push++;
        assert_true(line->at_push < line->num_pushes);
        assert_int_equal(sga_bytes(&pop->sga), line->pushes[line->at_push].bytes);
    }
    for (uint32_t i = 0; i < pop->sga.sga_numsegs; i++)
        check_bytes(line, pop->sga.sga_segs[i].sgaseg_buf, pop->sga.sga_segs[i].sgaseg_len);
    must(demi_sgafree(&pop->sga));
}

static void check_pops(struct line *line)
{
    while (line->checked_pops < line->num_pops) {
        struct op *pop = &line->pops[line->checked_pops];
        if (pop->state == OUTSTANDING)
            return;
        if (pop->state == DONE)
            check_pop(line, pop);
        line->checked_pops++;
    }
}

static void push_some(struct line *line)
{
    const uint32_t unpopped = line->num_pushes - line->at_push;
    if (line->num_pushes == OPS_MAX || line->out_pushes == max_out ||
        (!backend_can(CAN_RELIABLE) && unpopped > 16))
        return;
    struct op *push = &line->pushes[line->num_pushes];
    uint32_t lens[DEMI_SGARRAY_MAXSIZE];
    const uint32_t n = 1 + below(DEMI_SGARRAY_MAXSIZE);
    const uint32_t most = 1 + below(below(8) == 0 ? max_bytes : 200) / n;
    *push = (struct op){.state = OUTSTANDING};
    for (uint32_t i = 0; i < n; i++)
        push->bytes += lens[i] = 1 + below(most);
    demi_sgarray_t sga = {0};
    const bool built = below(4) == 0;
    if (built) {
        push->memory = malloc(push->bytes);
        char *at = push->memory;
        sga.sga_numsegs = n;
        for (uint32_t i = 0; i < n; at += lens[i], i++)
            sga.sga_segs[i] = (demi_sgaseg_t){at, lens[i]};
    } else {
        sga = demi_sgaalloc_segs(lens, n);
        assert_non_null(sga.sga_buf);
    }
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; at += lens[i], i++)
        pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], line->seed + line->num_pushes, at);
    push->qt = push_start(line->pair.tx, &sga);
    if (!built)
        must(demi_sgafree(&sga));
    line->num_pushes++;
    line->out_pushes++;
}

static void pop_some(struct line *line)
{
    if (line->num_pops == OPS_MAX || line->out_pops == max_out)
        return;
    struct op *pop = &line->pops[line->num_pops++];
    *pop = (struct op){.state = OUTSTANDING, .qt = pop_start(line->pair.rx)};
    line->out_pops++;
}

static struct op *find(demi_qtoken_t qt, struct line **line_out, bool *is_push_out)
{
    for (int l = 0; l < LINES; l++) {
        struct line *line = *line_out = &lines[l];
        for (uint32_t i = line->num_pushes; i-- > 0;)
            if (line->pushes[i].qt == qt && line->pushes[i].state == OUTSTANDING) {
                *is_push_out = true;
                return &line->pushes[i];
            }
        for (uint32_t i = line->num_pops; i-- > line->checked_pops;)
            if (line->pops[i].qt == qt && line->pops[i].state == OUTSTANDING) {
                *is_push_out = false;
                return &line->pops[i];
            }
    }
    must_hold(false, "a result of token %llx, which is not outstanding", (unsigned long long)qt);
    return NULL;
}

static void collect(const demi_qresult_t *qr)
{
    struct line *line;
    bool is_push;
    struct op *op = find(qr->qr_qt, &line, &is_push);
    must_hold(qr->qr_opcode != DEMI_OPC_FAILED, "failed: %s", errno_name((int)qr->qr_ret));
    op->state = DONE;
    if (is_push) {
        assert_int_equal(qr->qr_opcode, DEMI_OPC_PUSH);
        assert_int_equal(qr->qr_qd, line->pair.tx);
        line->out_pushes--;
        if (op->memory != NULL) /* nobody reads it any more */
            memset(op->memory, 0xdb, op->bytes);
        release(op);
        return;
    }
    assert_int_equal(qr->qr_opcode, DEMI_OPC_POP);
    assert_int_equal(qr->qr_qd, line->pair.rx);
    op->sga = qr->qr_value.sga;
    line->out_pops--;
    check_pops(line);
}

/* Fills qts with outstanding tokens chosen at random; returns how many. */
static int choose(demi_qtoken_t *qts, int max)
{
    int n = 0;
    const int l0 = (int)below(LINES);
    for (int k = 0; k < LINES; k++) {
        struct line *line = &lines[(l0 + k) % LINES];
        for (uint32_t i = line->num_pushes; i-- > 0 && n < max;)
            if (line->pushes[i].state == OUTSTANDING && below(3) != 0)
                qts[n++] = line->pushes[i].qt;
        for (uint32_t i = line->num_pops; i-- > line->checked_pops && n < max;)
            if (line->pops[i].state == OUTSTANDING && below(3) != 0)
                qts[n++] = line->pops[i].qt;
    }
    for (int i = n - 1; i > 0; i--) {
        const int j = (int)below((uint32_t)i + 1);
        const demi_qtoken_t swap = qts[i];
        qts[i] = qts[j];
        qts[j] = swap;
    }
    return n;
}

static void wait_some_way(void)
{
    demi_qtoken_t qts[SUBSET_MAX];
    demi_qresult_t qrs[SUBSET_MAX];
    const struct timespec moment = {0, (long)below(3) * 30000};
    const int n = choose(qts, 1 + (int)below(SUBSET_MAX));
    int got = 0;
    int error = ETIMEDOUT;
    switch (n == 0 ? 3 : below(5)) {
    case 0:
        error = demi_wait(qrs, qts[0], &moment);
        got = error == 0;
        break;
    case 1: {
        int offset = -1;
        error = demi_wait_any(qrs, &offset, qts, n, &moment);
        got = error == 0;
        if (got > 0)
            assert_true(offset >= 0 && offset < n && qts[offset] == qrs[0].qr_qt);
        break;
    }
    case 2:
        error = demi_wait_all(qrs, qts, n < 3 ? n : 3, &moment);
        got = error == 0 ? (n < 3 ? n : 3) : 0;
        break;
    case 3:
        error = demi_wait_some(qrs, 1 + (int)below(SUBSET_MAX), &got, &moment);
        break;
    default:
        error = demi_wait_next_n(qrs, 1 + (int)below(4), &got, &moment);
    }
    if (error != 0)
        must_fail(error, ETIMEDOUT);
    for (int i = 0; i < got; i++)
        collect(&qrs[i]);
}

static void cancel_one(void)
{
    demi_qtoken_t qt;
    if (choose(&qt, 1) == 0)
        return;
    struct line *line;
    bool is_push;
    struct op *op = find(qt, &line, &is_push);
    const int error = demi_cancel(qt);
    if (error == EALREADY || (is_push && error == EBUSY))
        return;
    must(error);
    op->state = CANCELLED;
    if (is_push) {
        line->out_pushes--;
        release(op);
        return;
    }
    line->out_pops--;
    check_pops(line);
}

/* Everything outstanding is brought to its end, and everything pushed is popped. */
static void finish(struct line *line)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    uint64_t pushed = 0;
    for (;;) {
        uint64_t left = 0;
        for (uint32_t i = line->at_push; i < line->num_pushes; i++)
            if (line->pushes[i].state != CANCELLED)
                left += line->pushes[i].bytes - (i == line->at_push ? line->at_byte : 0);
        if (left == 0 && line->out_pushes == 0)
            break;
        must_hold(now_ns() < give_up, "%llu bytes never arrive", (unsigned long long)left);
        if (line->out_pops == 0)
            pop_some(line);
        demi_qresult_t qrs[8];
        int n = 0;
        const struct timespec second = {1, 0};
        if (demi_wait_some(qrs, 8, &n, &second) == 0)
            for (int i = 0; i < n; i++)
                collect(&qrs[i]);
        pushed += (uint64_t)n;
    }
    for (uint32_t i = line->checked_pops; i < line->num_pops; i++)
        if (line->pops[i].state == OUTSTANDING)
            must(demi_cancel(line->pops[i].qt));
    pair_close(line->pair);
}

static void model_run(int actions)
{
    max_out = backend_can(CAN_RELIABLE) ? 24 : 8;
    max_bytes = backend_can(CAN_STREAM) ? 100000 : 4000;
    lines = calloc(LINES, sizeof *lines);
    assert_non_null(lines);
    for (int l = 0; l < LINES; l++) {
        lines[l].pair = pair_make();
        lines[l].seed = (uint64_t)(l + 1) << 32;
        if (backend_can(CAN_REFERENCE) && l % 2 == 1) {
            pair_close(lines[l].pair);
            must(demi_queue(&lines[l].pair.tx, (uint32_t)l));
            lines[l].pair.rx = lines[l].pair.tx;
        }
    }
    for (int i = 0; i < actions; i++) {
        struct line *line = &lines[below(LINES)];
        switch (below(8)) {
        case 0:
        case 1:
        case 2:
            push_some(line);
            break;
        case 3:
        case 4:
            pop_some(line);
            break;
        case 5:
            cancel_one();
            break;
        default:
            wait_some_way();
        }
    }
    for (int l = 0; l < LINES; l++)
        finish(&lines[l]);
    free(lines);
}

static void test_random_operations_agree_with_the_model(void **state)
{
    (void)state;
    random_state = seed_choose(__func__);
    model_run(12000);
}

int run_model_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_random_operations_agree_with_the_model),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
