/* SPDX-License-Identifier: MIT */
/* filter, map and sort: what each does to elements, in both directions. */
#include "operators.h"

#include <demi/memory.h>
#include <stdlib.h>
#include <string.h>

static uint8_t first_byte(const demi_sgarray_t *sga)
{
    return *(const uint8_t *)sga->sga_segs[0].sgaseg_buf;
}

/* An element of one byte, or of more that say the same. */
static demi_sgarray_t bytes_sga(uint8_t value, uint32_t len)
{
    demi_sgarray_t sga = demi_sgaalloc(len);
    assert_int_equal(sga.sga_numsegs, 1);
    memset(sga.sga_segs[0].sgaseg_buf, value, len);
    return sga;
}

static void push_byte(int qd, uint8_t value)
{
    demi_sgarray_t sga = bytes_sga(value, 1);
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
}

static uint8_t take_byte(demi_sgarray_t sga)
{
    assert_int_equal(sga_bytes(&sga), 1);
    const uint8_t value = first_byte(&sga);
    must(demi_sgafree(&sga));
    return value;
}

static uint8_t pop_byte(int qd)
{
    return take_byte(pop_one(qd));
}

/* --- filter --- */

static bool is_even(const demi_sgarray_t *sga, void *arg)
{
    if (arg != NULL)
        (*(int *)arg)++;
    return first_byte(sga) % 2 == 0;
}

static bool is_nothing(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return false;
}

static void test_filter_pop_yields_what_passes_and_counts_the_rest(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint64_t before = stat_now("compose.filtered");
    int asked = 0;
    int qd = -1;
    must(demi_filter(&qd, pair.rx, is_even, &asked));
    for (uint8_t i = 0; i < 20; i += 2) { /* one by one: a stream would join them */
        push_byte(pair.tx, i);
        assert_int_equal(pop_byte(qd), i);
        const demi_qtoken_t qt = pop_start(qd);
        push_byte(pair.tx, i + 1);
        drive_until_stat(qt, "compose.filtered", before + i / 2 + 1);
        must(demi_cancel(qt));
    }
    assert_int_equal(stat_now("compose.filtered"), before + 10);
    assert_int_equal(asked, 20); /* once each */
    must(demi_close(qd));
    pair_close(pair);
}

static void test_filter_pop_skips_what_was_there_before(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    struct pair pair = pair_make();
    const uint64_t before = stat_now("compose.filtered");
    int qd = -1;
    must(demi_filter(&qd, pair.rx, is_even, NULL));
    for (uint8_t i = 1; i < 30; i++)
        push_byte(pair.tx, i);
    for (uint8_t i = 2; i < 30; i += 2)
        assert_int_equal(pop_byte(qd), i);
    const demi_qtoken_t qt = pop_start(qd);
    drive_until_stat(qt, "compose.filtered", before + 15);
    must(demi_cancel(qt));
    must(demi_close(qd));
    pair_close(pair);
}

static void test_filter_push_forwards_what_passes_and_completes_the_rest(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint64_t before = stat_now("compose.filtered");
    int asked = 0;
    int qd = -1;
    must(demi_filter(&qd, pair.tx, is_even, &asked));
    const int rx = pair.tx == pair.rx ? qd : pair.rx;
    for (uint8_t i = 0; i < 20; i++)
        push_byte(qd, i);
    assert_int_equal(asked, 20);
    assert_int_equal(stat_now("compose.filtered"), before + 10);
    uint8_t bytes[10];
    for (size_t got = 0; got < 10;) {
        demi_sgarray_t sga = pop_one(rx);
        got += sga_copy_out(&sga, bytes + got, 10 - got);
        must(demi_sgafree(&sga));
    }
    for (uint8_t i = 0; i < 10; i++)
        assert_int_equal(bytes[i], i * 2);
    must(demi_close(qd));
    pair_close(pair);
}

static void test_filter_that_drops_everything_releases_it(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    struct pair pair = pair_make();
    const uint64_t before = buffers_now();
    int in = -1, out = -1;
    must(demi_filter(&in, pair.rx, is_nothing, NULL));
    const demi_qtoken_t qt = pop_start(in);
    for (int i = 0; i < 50; i++) {
        push_byte(pair.tx, 1);
        push_byte(in, 1);
        must_fail(demi_wait(&(demi_qresult_t){0}, qt, ZERO_TIME), ETIMEDOUT);
    }
    buffers_must_be(before);
    must(demi_cancel(qt));
    must(demi_close(in));
    must(demi_filter(&out, pair.rx, is_even, NULL));
    must(demi_close(out));
    pair_close(pair);
}

/* Also when the source makes the push wait. */
static void test_filter_is_asked_once_about_each_push(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    int source = -1, qd = -1, top = -1, asked = 0, asked_top = 0;
    must(demi_queue(&source, 1));
    must(demi_filter(&qd, source, is_even, &asked));
    must(demi_filter(&top, qd, is_even, &asked_top));
    demi_qtoken_t pushes[3];
    for (int i = 0; i < 3; i++) {
        demi_sgarray_t sga = bytes_sga(2, 1);
        pushes[i] = push_start(top, &sga);
        must(demi_sgafree(&sga));
        assert_int_equal(asked, i + 1);
        assert_int_equal(asked_top, i + 1);
    }
    push_byte(top, 1); /* dropped at once, whoever waits */
    assert_int_equal(asked_top, 4);
    assert_int_equal(asked, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pop_byte(top), 2);
    for (int i = 0; i < 3; i++)
        wait_success(pushes[i], DEMI_OPC_PUSH);
    must(demi_close(top));
    must(demi_close(qd));
    must(demi_close(source));
}

static void test_filter_does_not_see_the_end(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_filter(&qd, pair.rx, is_nothing, NULL));
    push_byte(pair.tx, 1);
    must(demi_shutdown(pair.tx, SHUT_WR));
    pop_end(qd);
    pop_end(qd);
    must(demi_close(qd));
    pair_close(pair);
}

/* --- map --- */

static int add_one(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        for (uint32_t at = 0; at < sga->sga_segs[i].sgaseg_len; at++)
            ((uint8_t *)sga->sga_segs[i].sgaseg_buf)[at]++;
    return 0;
}

static int add_ten(demi_sgarray_t *sga, void *arg)
{
    for (int i = 0; i < 10; i++)
        add_one(sga, arg);
    return 0;
}

static void test_map_applies_both_ways(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int rx = -1, tx = -1;
    must(demi_map(&rx, pair.rx, add_one, NULL));
    tx = rx;
    if (pair.tx != pair.rx)
        must(demi_map(&tx, pair.tx, add_one, NULL));
    push_byte(tx, 5);
    assert_int_equal(pop_byte(rx), 7);
    const demi_qtoken_t qt = pop_start(rx);
    push_byte(pair.tx, 5);
    assert_int_equal(take_byte(wait_success(qt, DEMI_OPC_POP).qr_value.sga), 6);
    pair_close((struct pair){tx, rx});
    pair_close(pair);
}

static void test_map_dir_applies_each_function_one_way(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct pair pair = pair_make();
        int rx = -1, tx = -1;
        demi_map_fn in = way == 1 ? NULL : add_one, out = way == 2 ? NULL : add_ten;
        must(demi_map_dir(&rx, pair.rx, in, out, NULL));
        tx = rx;
        if (pair.tx != pair.rx)
            must(demi_map_dir(&tx, pair.tx, in, out, NULL));
        push_byte(tx, 5);
        assert_int_equal(pop_byte(rx), 5 + (way == 1 ? 0 : 1) + (way == 2 ? 0 : 10));
        pair_close((struct pair){tx, rx});
        pair_close(pair);
    }
}

static void test_map_on_push_copies_and_leaves_the_pushers_memory(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int tx = -1;
    must(demi_map_dir(&tx, pair.tx, add_one, NULL, NULL));
    const int rx = pair.tx == pair.rx ? tx : pair.rx;
    const uint64_t before = stat_now("compose.map_copies");
    demi_sgarray_t sga = bytes_sga(5, 1);
    push_all(tx, &sga);
    assert_int_equal(first_byte(&sga), 5);
    assert_int_equal(stat_now("compose.map_copies"), before + 1);
    memset(sga.sga_segs[0].sgaseg_buf, 99, 1); /* the copy is what was pushed */
    must(demi_sgafree(&sga));
    assert_int_equal(pop_byte(rx), 6);
    uint8_t own[300]; /* memory that is not the library's */
    memset(own, 7, sizeof own);
    demi_sgarray_t built = built_sga(own, sizeof own);
    push_all(tx, &built);
    assert_int_equal(own[0], 7);
    for (size_t got = 0; got < sizeof own;) {
        sga = pop_one(rx);
        assert_int_equal(first_byte(&sga), 8);
        got += sga_bytes(&sga);
        must(demi_sgafree(&sga));
    }
    must(demi_close(tx));
    pair_close(pair);
}

static const void *seen_at;

static int note_place(demi_sgarray_t *sga, void *arg)
{
    seen_at = sga->sga_segs[0].sgaseg_buf;
    return add_one(sga, arg);
}

static void test_map_on_pop_edits_an_element_that_nobody_else_holds_in_place(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    struct pair pair = pair_make();
    const uint64_t before = stat_now("compose.map_copies");
    for (int depth = 0; depth < 3; depth++) {
        struct chain chain = {.depth = 0};
        int qd = -1;
        if (depth > 0)
            chain = chain_make(pair.rx, depth, SORT);
        must(demi_map_dir(&qd, depth ? chain_top(&chain) : pair.rx, NULL, note_place, NULL));
        demi_sgarray_t sga = bytes_sga(5, 100);
        const void *place = sga.sga_segs[0].sgaseg_buf;
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
        sga = pop_one(qd);
        assert_ptr_equal(sga.sga_segs[0].sgaseg_buf, place);
        assert_ptr_equal(seen_at, place);
        assert_int_equal(first_byte(&sga), 6);
        must(demi_sgafree(&sga));
        must(demi_close(qd));
        chain_close(&chain);
    }
    assert_int_equal(stat_now("compose.map_copies"), before);
    pair_close(pair);
}

static void test_map_on_pop_of_received_data_copies_nothing(void **state)
{
    (void)state;
    backend_needs(CAN_POOL);
    struct pair pair = pair_make();
    const uint64_t before = stat_now("compose.map_copies");
    int qd = -1;
    must(demi_map_dir(&qd, pair.rx, NULL, note_place, NULL));
    demi_sgarray_t held[10];
    for (uint8_t i = 0; i < 10; i++) { /* neighbours in one slab, all held */
        push_byte(pair.tx, i);
        held[i] = pop_one(qd);
        assert_ptr_equal(held[i].sga_segs[0].sgaseg_buf, seen_at);
    }
    for (uint8_t i = 0; i < 10; i++)
        assert_int_equal(take_byte(held[i]), i + 1);
    assert_int_equal(stat_now("compose.map_copies"), before);
    must(demi_close(qd));
    pair_close(pair);
}

static void test_map_on_pop_copies_an_element_that_somebody_else_holds(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_map_dir(&qd, pair.rx, NULL, note_place, NULL));
    for (int way = 0; way < 4; way++) {
        const uint64_t before = stat_now("compose.map_copies");
        demi_sgarray_t sga = bytes_sga(5, 100), clone, popped;
        const void *place = sga.sga_segs[0].sgaseg_buf;
        if (way == 0) { /* the pusher holds it */
            push_all(qd, &sga);
            popped = pop_one(qd);
        } else if (way == 1) { /* it is taken while it is pushed */
            const demi_qtoken_t qt = pop_start(qd);
            push_all(qd, &sga);
            popped = wait_success(qt, DEMI_OPC_POP).qr_value.sga;
        } else if (way == 2) { /* a clone of it is held */
            must(demi_sgaclone(&clone, &sga));
            push_all(qd, &sga);
            must(demi_sgafree(&sga));
            sga = clone;
            popped = pop_one(qd);
        } else { /* it was pushed twice */
            push_all(qd, &sga);
            push_all(qd, &sga);
            must(demi_sgafree(&sga));
            popped = pop_one(qd);
            sga = pop_one(qd);
            assert_int_equal(first_byte(&sga), 6);
            memset(sga.sga_segs[0].sgaseg_buf, 5, 1);
            place = seen_at;
        }
        assert_ptr_not_equal(popped.sga_segs[0].sgaseg_buf, place);
        assert_int_equal(first_byte(&popped), 6);
        assert_int_equal(sga_bytes(&popped), 100);
        assert_int_equal(first_byte(&sga), 5);
        assert_int_equal(stat_now("compose.map_copies"), before + 1);
        must(demi_sgafree(&popped));
        must(demi_sgafree(&sga));
    }
    must(demi_close(qd));
    pair_close(pair);
}

/* Of ten bytes keeps eight, as two segments in the other order. */
static int narrow(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    const demi_sgaseg_t seg = sga->sga_segs[0];
    sga->sga_numsegs = 2;
    sga->sga_segs[0].sgaseg_buf = (uint8_t *)seg.sgaseg_buf + 5;
    sga->sga_segs[0].sgaseg_len = 4;
    sga->sga_segs[1].sgaseg_buf = (uint8_t *)seg.sgaseg_buf + 1;
    sga->sga_segs[1].sgaseg_len = 4;
    return 0;
}

static void test_map_narrows_and_reorders_segments(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    for (int way = 0; way < 2; way++) {
        struct pair pair = pair_make();
        const uint64_t before = buffers_now();
        int qd = -1;
        must(demi_map_dir(&qd, pair.rx, way ? narrow : NULL, way ? NULL : narrow, NULL));
        demi_sgarray_t sga = demi_sgaalloc(10);
        memcpy(sga.sga_segs[0].sgaseg_buf, "0123456789", 10);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
        sga = pop_one(qd);
        char text[9] = {0};
        assert_int_equal(sga_copy_out(&sga, text, 8), 8);
        assert_string_equal(text, "56781234");
        must(demi_sgafree(&sga));
        must(demi_close(qd));
        buffers_must_be(before);
        pair_close(pair);
    }
}

/* Puts an element of twice the size in place; *arg is how it is made. */
static int twice(demi_sgarray_t *sga, void *arg)
{
    const uint32_t len = (uint32_t)sga_bytes(sga);
    demi_sgarray_t grown = {0};
    if (arg == NULL) {
        grown = demi_sgaalloc(2 * len);
        if (grown.sga_numsegs == 0)
            return ENOMEM;
    } else { /* over memory of the heap that the application frees */
        grown.sga_numsegs = 1;
        grown.sga_segs[0] = (demi_sgaseg_t){demi_malloc((size_t)2 * len), 2 * len};
    }
    sga_copy_out(sga, grown.sga_segs[0].sgaseg_buf, len);
    sga_copy_out(sga, (uint8_t *)grown.sga_segs[0].sgaseg_buf + len, len);
    if (arg != NULL)
        *(void **)arg = grown.sga_segs[0].sgaseg_buf;
    *sga = grown;
    return 0;
}

static void test_map_replaces_an_element_by_one_that_it_made(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct pair pair = pair_make();
        void *memory = NULL, *arg = way % 2 == 0 ? NULL : &memory;
        int qd = -1;
        push_byte(pair.tx, 1);
        assert_int_equal(pop_byte(pair.rx), 1);
        const uint64_t before = buffers_now();
        if (way < 2)
            must(demi_map_dir(&qd, pair.rx, NULL, twice, arg));
        else
            must(demi_map_dir(&qd, pair.tx, twice, NULL, arg));
        const int tx = way < 2 ? pair.tx : qd;
        const int rx = way < 2 || pair.tx == pair.rx ? qd : pair.rx;
        const uint32_t len = way % 2 == 0 ? 20 : 900; /* referenced when it is long enough */
        demi_sgarray_t sga = pattern_sga(len, 1, 0);
        push_all(tx, &sga);
        must(demi_sgafree(&sga));
        if (way >= 2)
            demi_free(memory);
        for (size_t got = 0; got < (size_t)2 * len;) {
            sga = pop_one(rx);
            if (got % len == 0 && sga_bytes(&sga) % len == 0) {
                pattern_check(sga.sga_segs[0].sgaseg_buf, len, 1, 0);
                if (sga_bytes(&sga) == (size_t)2 * len)
                    pattern_check((uint8_t *)sga.sga_segs[0].sgaseg_buf + len, len, 1, 0);
            }
            got += sga_bytes(&sga);
            must(demi_sgafree(&sga));
        }
        if (way < 2)
            demi_free(memory);
        must(demi_close(qd));
        buffers_must_be(before);
        pair_close(pair);
    }
}

static int fail_odd(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return first_byte(sga) % 2 == 0 ? 0 : EILSEQ;
}

static void test_map_errno_fails_the_pop_and_releases_the_element(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_map_dir(&qd, pair.rx, NULL, fail_odd, NULL));
    push_byte(pair.tx, 0);
    assert_int_equal(pop_byte(qd), 0);
    const uint64_t before = buffers_now();
    for (uint8_t i = 0; i < 20; i++) { /* there before the pop, and after; alone, and in a chain */
        int top = qd;
        if (i % 4 >= 2)
            must(demi_filter(&top, qd, is_even, NULL));
        demi_qtoken_t qt = 0;
        if (i % 2 == 1)
            qt = pop_start(top);
        push_byte(pair.tx, 3);
        if (i % 2 == 0)
            qt = pop_start(top);
        assert_int_equal(wait_failure(qt), EILSEQ);
        push_byte(pair.tx, 4);
        assert_int_equal(pop_byte(top), 4); /* one pop failed, and no more */
        if (top != qd)
            must(demi_close(top));
    }
    buffers_must_be(before);
    must(demi_close(qd));
    pair_close(pair);
}

static void test_map_errno_fails_the_push_and_nothing_arrives(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_map_dir(&qd, pair.tx, fail_odd, NULL, NULL));
    const int rx = pair.tx == pair.rx ? qd : pair.rx;
    push_byte(qd, 2);
    assert_int_equal(pop_byte(rx), 2);
    const uint64_t before = buffers_now();
    for (int i = 0; i < 10; i++) {
        demi_sgarray_t sga = bytes_sga(3, 1);
        const demi_qtoken_t qt = push_start(qd, &sga);
        must(demi_sgafree(&sga));
        assert_int_equal(wait_failure(qt), EILSEQ);
        push_byte(qd, 4);
        assert_int_equal(pop_byte(rx), 4);
    }
    buffers_must_be(before);
    must(demi_close(qd));
    pair_close(pair);
}

static int must_not_run(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (*(int *)arg)++;
    return EILSEQ;
}

static int count_call(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    ++*(int *)arg;
    return 0;
}

/* Also where the queue below is full, so that the push waits. */
static void test_map_function_is_called_once_for_each_element(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    enum { PUSHES = 4 };
    for (size_t len = 10; len < 5000; len += 1000) {
        int source = -1, lower = -1, upper = -1, calls[2] = {0, 0};
        must(demi_queue(&source, 1));
        must(demi_map(&lower, source, count_call, &calls[0]));
        must(demi_map(&upper, lower, count_call, &calls[1]));
        demi_qtoken_t qts[PUSHES];
        for (int i = 0; i < PUSHES; i++) {
            qts[i] = push_element(upper, len, (uint64_t)i);
            assert_int_equal(calls[0], i + 1);
            assert_int_equal(calls[1], i + 1);
        }
        must_wait(qts[PUSHES - 1]);
        for (int i = 0; i < PUSHES; i++) {
            pop_element(upper, len, (uint64_t)i);
            assert_int_equal(calls[0], PUSHES + i + 1);
            assert_int_equal(calls[1], PUSHES + i + 1);
            wait_success(qts[i], DEMI_OPC_PUSH);
        }
        must(demi_close(upper));
        must(demi_close(lower));
        must(demi_close(source));
    }
    buffers_must_be(before);
}

static void test_map_does_not_see_the_end(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    struct pair pair = pair_make();
    int qd = -1, ran = 0;
    must(demi_map(&qd, pair.rx, must_not_run, &ran));
    must(demi_shutdown(pair.tx, SHUT_WR));
    pop_end(qd);
    pop_end(qd);
    assert_int_equal(ran, 0);
    must(demi_close(qd));
    pair_close(pair);
}

static void test_map_of_an_empty_element(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    struct pair pair = pair_make();
    int qd = -1;
    must(demi_map(&qd, pair.rx, add_one, NULL));
    demi_sgarray_t sga = demi_sgaalloc(1);
    sga.sga_segs[0].sgaseg_len = 0;
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    sga = pop_one(qd);
    assert_int_equal(sga.sga_numsegs, 1);
    assert_int_equal(sga.sga_segs[0].sgaseg_len, 0);
    must(demi_sgafree(&sga));
    must(demi_close(qd));
    pair_close(pair);
}

/* --- sort --- */

/* By the first byte; the second tells equals apart. */
static int by_first(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)arg;
    return (int)first_byte(a) - (int)first_byte(b);
}

static void push_two(int qd, uint8_t key, uint8_t number)
{
    demi_sgarray_t sga = demi_sgaalloc(2);
    uint8_t *at = sga.sga_segs[0].sgaseg_buf;
    at[0] = key;
    at[1] = number;
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
}

static void pop_two(int qd, uint8_t *key, uint8_t *number)
{
    demi_sgarray_t sga = pop_one(qd);
    assert_int_equal(sga_bytes(&sga), 2);
    *key = first_byte(&sga);
    *number = ((const uint8_t *)sga.sga_segs[0].sgaseg_buf)[1];
    must(demi_sgafree(&sga));
}

/* What was pushed has arrived; a record of a log does when it is read, and reading begins with the
 * first pop. */
static void needs_arrival(void)
{
    backend_needs(CAN_BOUNDARY);
    if (backend_can(CAN_STORAGE))
        skip();
}

static void test_sort_yields_the_best_that_has_arrived_stable_among_equals(void **state)
{
    (void)state;
    needs_arrival();
    uint64_t random = seed_choose(__func__);
    enum { ELEMENTS = 40 };
    struct pair pair = pair_make();
    for (int round = 0; round < 10; round++) {
        uint8_t keys[ELEMENTS];
        int qd = -1;
        must(demi_sort(&qd, pair.rx, by_first, NULL));
        for (uint8_t i = 0; i < ELEMENTS; i++) {
            keys[i] = (uint8_t)random_below(&random, 5);
            push_two(pair.tx, keys[i], i);
        }
        for (int n = 0, last = -1; n < ELEMENTS; n++) {
            uint8_t key, number;
            pop_two(qd, &key, &number);
            assert_int_equal(keys[number], key);
            const int rank = key * 256 + number;
            must_hold(rank > last, "key %u number %u after %d", key, number, last);
            last = rank;
        }
        must(demi_close(qd));
    }
    pair_close(pair);
}

static void test_sort_takes_late_arrivals_before_earlier_ones(void **state)
{
    (void)state;
    needs_arrival();
    struct pair pair = pair_make();
    uint8_t key, number;
    int qd = -1, idle = -1;
    must(demi_queue(&idle, 0));
    const demi_qtoken_t never = pop_start(idle);
    must(demi_sort(&qd, pair.rx, by_first, NULL));
    push_two(pair.tx, 5, 0);
    push_two(pair.tx, 9, 1);
    push_two(pair.tx, 7, 2);
    pop_two(qd, &key, &number);
    assert_int_equal(key, 5);
    push_two(pair.tx, 1, 3);
    push_two(pair.tx, 8, 4);
    must_wait(never); /* the device reports what has arrived */
    static const uint8_t want[] = {1, 7, 8, 9};
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        pop_two(qd, &key, &number);
        assert_int_equal(key, want[i]);
    }
    must(demi_close(qd));
    must(demi_cancel(never));
    must(demi_close(idle));
    pair_close(pair);
}

static void test_sort_gives_back_what_it_took_in_order_of_arrival(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    for (int chained = 0; chained < 2; chained++) {
        int source = -1, below = -1, qd = -1;
        uint8_t key, number;
        must(demi_queue(&source, 0));
        below = chained ? derive(FILTER, source) : source;
        must(demi_sort(&qd, below, by_first, NULL));
        for (uint8_t i = 0; i < 20; i++)
            push_two(source, (uint8_t)(i * 7 % 20), i);
        pop_two(qd, &key, &number);
        assert_int_equal(number, 0);
        push_two(source, 0, 20); /* not taken yet: comes after those that were */
        must(demi_close(qd));
        for (uint8_t i = 1; i < 10; i++) {
            pop_two(below, &key, &number);
            assert_int_equal(number, i);
        }
        if (chained) /* what is left goes on downwards */
            must(demi_close(below));
        for (uint8_t i = 10; i <= 20; i++) {
            pop_two(source, &key, &number);
            assert_int_equal(number, i);
        }
        must(demi_close(source));
    }
    buffers_must_be(before);
}

static void test_sort_returned_elements_go_to_the_next_operator_first(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    int source = -1, first = -1, second = -1;
    uint8_t key, number;
    must(demi_queue(&source, 0));
    must(demi_sort(&first, source, by_first, NULL));
    for (uint8_t i = 0; i < 10; i++)
        push_two(source, 9 - i, i);
    pop_two(first, &key, &number);
    assert_int_equal(key, 0);
    must(demi_close(first));
    push_two(source, 0, 10);
    second = derive(FILTER, source);
    for (uint8_t i = 0; i < 9; i++) {
        pop_two(second, &key, &number);
        assert_int_equal(number, i);
    }
    pop_two(second, &key, &number);
    assert_int_equal(number, 10);
    must(demi_close(second));
    must(demi_close(source));
}

static void test_returned_elements_are_dropped_with_their_queue(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    for (int how = 0; how < 2; how++) {
        int source = -1, qd = -1;
        must(demi_queue(&source, 0));
        must(demi_sort(&qd, source, by_first, NULL));
        for (uint8_t i = 0; i < 10; i++)
            push_two(source, 9 - i, i);
        uint8_t key, number;
        pop_two(qd, &key, &number);
        must(demi_close(qd));
        if (how == 1) { /* the end: nothing is popped any more */
            must(demi_shutdown(source, SHUT_RD));
            pop_end(source);
        }
        must(demi_close(source));
        buffers_must_be(before);
    }
}

static void test_sort_of_a_closed_source_releases_what_it_holds(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    const uint64_t before = buffers_now();
    int source = -1, qd = -1;
    uint8_t key, number;
    must(demi_queue(&source, 0));
    must(demi_sort(&qd, source, by_first, NULL));
    for (uint8_t i = 0; i < 10; i++)
        push_two(source, i, i);
    pop_two(qd, &key, &number);
    must(demi_close(source));
    assert_int_equal(wait_failure(pop_start(qd)), ECANCELED);
    must(demi_close(qd));
    buffers_must_be(before);
}

static int never_asked(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    (*(int *)arg)++;
    return 0;
}

static void test_sort_end_comes_after_its_elements(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN | CAN_BOUNDARY);
    struct pair pair = pair_make();
    int qd = -1, asked = 0;
    uint8_t key, number;
    must(demi_sort(&qd, pair.rx, by_first, NULL));
    for (uint8_t i = 0; i < 10; i++)
        push_two(pair.tx, 9 - i, i);
    must(demi_shutdown(pair.tx, SHUT_WR));
    for (uint8_t i = 0; i < 10; i++) {
        pop_two(qd, &key, &number);
        assert_int_equal(key, i);
    }
    pop_end(qd);
    pop_end(qd);
    must(demi_close(qd));
    must(demi_sort(&qd, pair.rx, never_asked, &asked));
    pop_end(qd);
    assert_int_equal(asked, 0);
    must(demi_close(qd));
    pair_close(pair);
}

/* Pushes elements of a key until one waits; returns how many were accepted. */
static int fill(int qd, uint8_t key, demi_qtoken_t *waiting_out)
{
    for (int n = 0;; n++) {
        demi_qresult_t qr;
        demi_sgarray_t sga = bytes_sga(key, 2);
        *waiting_out = push_start(qd, &sga);
        must(demi_sgafree(&sga));
        if (demi_wait(&qr, *waiting_out, ZERO_TIME) == ETIMEDOUT)
            return n;
        assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
        assert_true(n < 1000);
    }
}

/* With sort_max elements in it a sort takes no more, and its source fills up. */
static void test_sort_max_holds_the_source_back(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    enum { MAX = 8, ROOM = 4 };
    setenv("DEMI_SORT_MAX", "8", 1);
    must(demi_init(NULL));
    unsetenv("DEMI_SORT_MAX");
    int source = -1, qd = -1, held = 0, most = 0;
    uint8_t key, number;
    demi_qtoken_t waiting;
    must(demi_queue(&source, ROOM));
    must(demi_sort(&qd, source, by_first, NULL));
    for (int round = 0; round < 30; round++) {
        held += fill(qd, 50, &waiting);
        most = held > most ? held : most;
        must(demi_cancel(waiting));
        pop_two(qd, &key, &number);
        held--;
    }
    assert_int_equal(most, MAX - 1 + ROOM); /* one is popped whenever MAX are in it */
    held += fill(qd, 1, &waiting);          /* first by the order, but behind the others */
    must(demi_cancel(waiting));
    pop_two(qd, &key, &number);
    assert_int_equal(key, 50);
    must(demi_close(qd));
    must(demi_close(source));
    must(demi_fini());
}

static void test_sort_max_one_keeps_the_order_of_the_source(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    setenv("DEMI_SORT_MAX", "1", 1);
    must(demi_init(NULL));
    unsetenv("DEMI_SORT_MAX");
    int source = -1, qd = -1;
    must(demi_queue(&source, 0));
    must(demi_sort(&qd, source, by_first, NULL));
    for (uint8_t i = 0; i < 10; i++)
        push_two(source, 9 - i, i);
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t key, number;
        pop_two(qd, &key, &number);
        assert_int_equal(number, i);
    }
    must(demi_close(qd));
    must(demi_close(source));
    must(demi_fini());
}

static void test_sort_of_many(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    enum { MANY = 20000 };
    uint64_t random = seed_choose(__func__);
    int source = -1, qd = -1;
    must(demi_queue(&source, 0));
    must(demi_sort(&qd, source, by_first, NULL));
    int counts[256] = {0};
    for (int i = 0; i < MANY; i++) {
        const uint8_t key = (uint8_t)random_next(&random);
        counts[key]++;
        push_two(source, key, 0);
    }
    for (int i = 0, last = 0; i < MANY; i++) {
        uint8_t key, number;
        pop_two(qd, &key, &number);
        assert_true(key >= last);
        last = key;
        counts[key]--;
    }
    for (int i = 0; i < 256; i++)
        assert_int_equal(counts[i], 0);
    must(demi_close(qd));
    must(demi_close(source));
}

/* --- together --- */

/* Its own inverse: what goes in comes out, and is different between. */
static int invert(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    for (uint32_t at = 0; at < sga->sga_segs[0].sgaseg_len; at++)
        ((uint8_t *)sga->sga_segs[0].sgaseg_buf)[at] ^= 0xff;
    return 0;
}

static void test_filter_over_map_over_sort(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    int source = -1, sorted = -1, mapped = -1, filtered = -1;
    must(demi_queue(&source, 0));
    must(demi_sort(&sorted, source, by_first, NULL)); /* of inverted elements */
    must(demi_map(&mapped, sorted, invert, NULL));
    must(demi_filter(&filtered, mapped, is_even, NULL));
    for (uint8_t i = 0; i < 10; i++)
        push_byte(filtered, i);
    for (uint8_t i = 0; i < 5; i++)
        assert_int_equal(pop_byte(filtered), 8 - 2 * i);
    must(demi_close(source));
    must(demi_close(sorted));
    must(demi_close(mapped));
    must(demi_close(filtered));
}

int run_compose_kinds_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_filter_pop_yields_what_passes_and_counts_the_rest),
        STARTED(test_filter_pop_skips_what_was_there_before),
        STARTED(test_filter_push_forwards_what_passes_and_completes_the_rest),
        STARTED(test_filter_that_drops_everything_releases_it),
        STARTED(test_filter_is_asked_once_about_each_push),
        STARTED(test_filter_does_not_see_the_end),
        STARTED(test_map_applies_both_ways),
        STARTED(test_map_dir_applies_each_function_one_way),
        STARTED(test_map_on_push_copies_and_leaves_the_pushers_memory),
        STARTED(test_map_on_pop_edits_an_element_that_nobody_else_holds_in_place),
        STARTED(test_map_on_pop_of_received_data_copies_nothing),
        STARTED(test_map_on_pop_copies_an_element_that_somebody_else_holds),
        STARTED(test_map_narrows_and_reorders_segments),
        STARTED(test_map_replaces_an_element_by_one_that_it_made),
        STARTED(test_map_errno_fails_the_pop_and_releases_the_element),
        STARTED(test_map_errno_fails_the_push_and_nothing_arrives),
        STARTED(test_map_function_is_called_once_for_each_element),
        STARTED(test_map_does_not_see_the_end),
        STARTED(test_map_of_an_empty_element),
        STARTED(test_sort_yields_the_best_that_has_arrived_stable_among_equals),
        STARTED(test_sort_takes_late_arrivals_before_earlier_ones),
        STARTED(test_sort_gives_back_what_it_took_in_order_of_arrival),
        STARTED(test_sort_returned_elements_go_to_the_next_operator_first),
        STARTED(test_returned_elements_are_dropped_with_their_queue),
        STARTED(test_sort_of_a_closed_source_releases_what_it_holds),
        STARTED(test_sort_end_comes_after_its_elements),
        UNSTARTED(test_sort_max_holds_the_source_back),
        UNSTARTED(test_sort_max_one_keeps_the_order_of_the_source),
        STARTED(test_sort_of_many),
        STARTED(test_filter_over_map_over_sort),
    };
    return cmocka_run_group_tests_name("compose_kinds", tests, NULL, NULL);
}
