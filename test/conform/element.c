/* SPDX-License-Identifier: MIT */
/* What is pushed is what is popped: all forms of sgas, all sizes, in issue order. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static void test_push_and_pop_results_are_complete(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(64, 1, 0);
    push_all(pair.tx, &sga); /* checks opcode, descriptor, token, return, empty sga */
    must(demi_sgafree(&sga));
    demi_sgarray_t popped = pop_one(pair.rx);
    assert_non_null(popped.sga_buf);
    assert_int_equal(popped.sga_numsegs, 1);
    assert_int_equal(popped.sga_segs[0].sgaseg_len, 64);
    pattern_check_sga(&popped, 1, 0);
    memset(popped.sga_segs[0].sgaseg_buf, 0, 64); /* it is the application's now */
    must(demi_sgafree(&popped));
    must_fail(demi_sgafree(&popped), EINVAL);
    pair_close(pair);
}

static void test_push_every_size_arrives_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     2,     3,     63,    64,    65,     255,     256,
                                   511,   512,   513,   1023,  1024,  1025,   1447,    1448,
                                   1449,  4095,  4096,  4097,  16383, 16384,  16385,   32768,
                                   65000, 65507, 65535, 65536, 65537, 200000, 1048576, 1048577};
    struct pair pair = pair_make();
    uint64_t at = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (sizes[i] > backend()->max_element)
            break;
        demi_sgarray_t sga = pattern_sga(sizes[i], 3, at);
        demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        if (backend_can(CAN_BOUNDARY)) {
            demi_sgarray_t popped = pop_one(pair.rx);
            assert_int_equal(sga_bytes(&popped), sizes[i]);
            pattern_check_sga(&popped, 3, at);
            must(demi_sgafree(&popped));
        } else {
            pop_pattern(pair.rx, sizes[i], 3, at);
        }
        wait_success(qt, DEMI_OPC_PUSH);
        at += sizes[i];
    }
    pair_close(pair);
}

/* A socket's pop yields one segment; by reference, or from a log, they are as they were. */
static void test_pop_yields_the_segments_that_the_backend_promises(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint32_t lens[4] = {10, 20, 30, 40};
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 4);
    uint64_t at = 0;
    for (int i = 0; i < 4; at += lens[i], i++)
        pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], 1, at);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    demi_sgarray_t popped = pop_one(pair.rx);
    if (backend_can(CAN_REFERENCE) || backend_can(CAN_STORAGE)) {
        assert_int_equal(popped.sga_numsegs, 4);
        for (int i = 0; i < 4; i++)
            assert_int_equal(popped.sga_segs[i].sgaseg_len, lens[i]);
    } else {
        assert_int_equal(popped.sga_numsegs, 1);
    }
    assert_int_equal(sga_bytes(&popped), 100);
    pattern_check_sga(&popped, 1, 0);
    must(demi_sgafree(&popped));
    pair_close(pair);
}

static void test_push_segments_narrowed_reordered_dropped_sends_what_they_say(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    const uint32_t lens[8] = {10, 20, 30, 40, 50, 60, 70, 80};
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 8);
    demi_sgaseg_t was[8];
    for (int i = 0; i < 8; i++) {
        was[i] = sga.sga_segs[i];
        memset(was[i].sgaseg_buf, '0' + i, lens[i]);
    }
    static const struct {
        uint8_t seg, from, len;
    } cut[4] = {{7, 79, 1}, {2, 0, 5}, {5, 10, 3}, {0, 9, 1}};
    for (int i = 0; i < 4; i++) {
        sga.sga_segs[i].sgaseg_buf = (char *)was[cut[i].seg].sgaseg_buf + cut[i].from;
        sga.sga_segs[i].sgaseg_len = cut[i].len;
    }
    sga.sga_numsegs = 4;
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    must_fail(demi_sgafree(&sga), EINVAL);
    char got[11] = "";
    demi_sgarray_t popped = pop_one(pair.rx);
    assert_int_equal(sga_copy_out(&popped, got, sizeof got - 1), 10);
    assert_string_equal(got, "7222225550");
    must(demi_sgafree(&popped));
    pair_close(pair);
}

static void test_push_built_over_own_memory_is_not_read_after_completion(void **state)
{
    (void)state;
    static char in_data[3000];
    char on_stack[3000];
    char *on_heap = malloc(3000);
    char *places[3] = {in_data, on_stack, on_heap};
    struct pair pair = pair_make();
    for (uint64_t i = 0; i < 3; i++) {
        pattern_fill(places[i], 3000, i, 0);
        demi_sgarray_t sga = built_sga(places[i], 3000);
        push_all(pair.tx, &sga);
        memset(places[i], 0xee, 3000);
        pop_pattern(pair.rx, 3000, i, 0);
    }
    free(on_heap);
    pair_close(pair);
}

static void test_push_built_of_eight_segments_arrives_in_order(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    static char memory[8][1000];
    demi_sgarray_t sga = built_sga(memory[0], 1000);
    for (uint64_t i = 0; i < 8; i++) {
        pattern_fill(memory[7 - i], 1000, 9, i * 1000);
        sga.sga_segs[i].sgaseg_buf = memory[7 - i];
        sga.sga_segs[i].sgaseg_len = 1000;
    }
    sga.sga_numsegs = 8;
    push_all(pair.tx, &sga);
    if (backend_can(CAN_BOUNDARY)) {
        demi_sgarray_t popped = pop_one(pair.rx);
        assert_int_equal(sga_bytes(&popped), 8000);
        pattern_check_sga(&popped, 9, 0);
        must(demi_sgafree(&popped));
    } else {
        pop_pattern(pair.rx, 8000, 9, 0);
    }
    pair_close(pair);
}

static void test_push_segments_of_length_zero_are_skipped(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    static char abc[] = "abc", de[] = "de";
    demi_sgarray_t sga = built_sga(NULL, 0);
    sga.sga_segs[1] = (demi_sgaseg_t){abc, 3};
    sga.sga_segs[2] = (demi_sgaseg_t){abc, 0};
    sga.sga_segs[3] = (demi_sgaseg_t){de, 2};
    sga.sga_segs[4] = (demi_sgaseg_t){NULL, 0};
    sga.sga_numsegs = 5;
    push_all(pair.tx, &sga);
    demi_sgarray_t popped = pop_one(pair.rx);
    char got[6] = "";
    assert_int_equal(sga_copy_out(&popped, got, sizeof got - 1), 5);
    assert_string_equal(got, "abcde");
    must(demi_sgafree(&popped));
    pair_close(pair);
}

/* Memory of a popped element goes out again as it is, and comes back. */
static void test_push_popped_element_back_and_free_at_once(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(3000, 5, 0);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    for (int i = 0; i < 100; i++) {
        const bool back = backend_can(CAN_DUPLEX) && i % 2 == 0;
        const int from = back || !backend_can(CAN_DUPLEX) ? pair.rx : pair.tx;
        const int to = from == pair.rx ? pair.rx : pair.tx;
        size_t got = 0;
        while (got < 3000) {
            demi_sgarray_t popped = pop_one(from);
            pattern_check_sga(&popped, 5, got);
            got += sga_bytes(&popped);
            demi_qtoken_t qt = push_start(to, &popped);
            must(demi_sgafree(&popped));
            wait_success(qt, DEMI_OPC_PUSH);
        }
        assert_int_equal(got, 3000);
    }
    pop_pattern(pair.rx, 3000, 5, 0);
    pair_close(pair);
}

static void test_push_empty_element(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    char byte = 'x';
    demi_sgarray_t empty = built_sga(&byte, 0);
    push_all(pair.tx, &empty);
    demi_sgarray_t narrowed = demi_sgaalloc(10);
    narrowed.sga_segs[0].sgaseg_len = 0;
    push_all(pair.tx, &narrowed);
    must(demi_sgafree(&narrowed));
    demi_sgarray_t full = pattern_sga(4, 1, 0);
    push_all(pair.tx, &full);
    must(demi_sgafree(&full));
    if (backend_can(CAN_BOUNDARY))
        for (int i = 0; i < 2; i++) {
            demi_sgarray_t popped = pop_one(pair.rx);
            assert_int_equal(popped.sga_numsegs, 1);
            assert_int_equal(popped.sga_segs[0].sgaseg_len, 0);
            must(demi_sgafree(&popped));
        }
    pop_pattern(pair.rx, 4, 1, 0); /* a stream has no empty element: it goes by unseen */
    pair_close(pair);
}

static void test_push_bad_sga_is_einval_and_nothing_is_sent(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_qtoken_t qt = 4711;
    char byte = 'x';
    demi_sgarray_t sga = built_sga(&byte, 1);
    must_fail(demi_push(NULL, pair.tx, &sga), EINVAL);
    must_fail(demi_push(&qt, pair.tx, NULL), EINVAL);
    sga.sga_numsegs = 0;
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga.sga_numsegs = 9;
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga.sga_numsegs = UINT32_MAX;
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga = built_sga(NULL, 1);
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga = built_sga(&byte, 1);
    sga.sga_numsegs = 3;
    sga.sga_segs[1] = (demi_sgaseg_t){NULL, 0};
    sga.sga_segs[2] = (demi_sgaseg_t){NULL, 7};
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga = built_sga(&byte, 1);
    sga.sga_buf = &byte;
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga = demi_sgaalloc(10);
    must(demi_sgafree(&sga));
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    sga = demi_sgaalloc(10);
    sga.sga_numsegs = 0;
    must_fail(demi_push(&qt, pair.tx, &sga), EINVAL);
    must(demi_sgafree(&sga));
    assert_true(qt == 4711);
    must_fail(demi_pop(NULL, pair.rx), EINVAL);
    qt = pop_start(pair.rx);
    demi_qresult_t qr;
    const struct timespec moment = ms_time(3);
    must_fail(demi_wait(&qr, qt, &moment), ETIMEDOUT);
    must(demi_cancel(qt));
    pair_close(pair);
}

static void test_pushes_outstanding_all_arrive_in_issue_order(void **state)
{
    (void)state;
    const uint32_t n = backend()->burst;
    struct pair pair = pair_make();
    demi_qtoken_t *qts = calloc(n, sizeof *qts);
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const size_t size = 1 + i % 90;
        demi_sgarray_t sga = pattern_sga(size, 1, at);
        qts[i] = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        at += size;
    }
    for (uint32_t i = n; i-- > 0;)
        wait_success(qts[i], DEMI_OPC_PUSH);
    if (backend_can(CAN_STREAM))
        pop_pattern(pair.rx, at, 1, 0);
    at = 0;
    for (uint32_t i = 0; backend_can(CAN_BOUNDARY) && i < n; at += 1 + i % 90, i++) {
        demi_sgarray_t popped = pop_one(pair.rx);
        assert_int_equal(sga_bytes(&popped), 1 + i % 90);
        pattern_check_sga(&popped, 1, at);
        must(demi_sgafree(&popped));
    }
    free(qts);
    pair_close(pair);
}

/* Pops take effect in issue order, whichever is waited for first. */
static void test_pops_outstanding_get_the_elements_in_issue_order(void **state)
{
    (void)state;
    const uint32_t pops = backend()->burst;
    struct pair pair = pair_make();
    demi_qtoken_t *qts = calloc(pops, sizeof *qts);
    for (uint32_t i = 0; i < pops; i++)
        qts[i] = pop_start(pair.rx);
    uint64_t at = 0;
    for (uint64_t i = 0; i < pops; i++) {
        demi_sgarray_t sga = pattern_sga(1 + i % 7, 1, at);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        at += 1 + i % 7;
    }
    const uint64_t sent = at;
    uint64_t got = 0;
    uint32_t popped = 0;
    while (got < sent) { /* a stream may need fewer pops, never more */
        assert_true(popped < pops);
        demi_sgarray_t sga = wait_success(qts[popped], DEMI_OPC_POP).qr_value.sga;
        pattern_check_sga(&sga, 1, got);
        if (backend_can(CAN_BOUNDARY))
            assert_int_equal(sga_bytes(&sga), 1 + popped % 7);
        got += sga_bytes(&sga);
        must(demi_sgafree(&sga));
        popped++;
    }
    assert_int_equal(got, sent);
    for (uint32_t i = popped; i < pops; i++)
        must(demi_cancel(qts[i]));
    free(qts);
    pair_close(pair);
}

/* The last of ten pops is waited for first: it has the tenth element. */
static void test_pop_issued_last_is_given_the_last_element(void **state)
{
    (void)state;
    backend_needs(CAN_BOUNDARY);
    struct pair pair = pair_make();
    demi_qtoken_t qts[10];
    for (int i = 0; i < 10; i++)
        qts[i] = pop_start(pair.rx);
    for (uint64_t i = 0; i < 10; i++) {
        demi_sgarray_t sga = pattern_sga(i + 1, i, 0);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
    }
    for (int i = 9; i >= 0; i--) {
        demi_qresult_t qr = wait_success(qts[i], DEMI_OPC_POP);
        assert_int_equal(sga_bytes(&qr.qr_value.sga), i + 1);
        pattern_check_sga(&qr.qr_value.sga, (uint64_t)i, 0);
        must(demi_sgafree(&qr.qr_value.sga));
    }
    pair_close(pair);
}

static void test_push_one_byte_at_a_time_arrives_whole(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    for (uint64_t i = 0; i < 3000; i++) {
        demi_sgarray_t sga = pattern_sga(1, 1, i);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        if (i % 30 == 29)
            pop_pattern(pair.rx, 30, 1, i - 29);
    }
    pair_close(pair);
}

static void test_elements_random_sizes_and_segments_arrive(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    struct pair pair = pair_make();
    uint64_t at = 0;
    for (int round = 0; round < 400; round++) {
        uint32_t lens[DEMI_SGARRAY_MAXSIZE];
        const uint32_t n = 1 + random_below(&random, DEMI_SGARRAY_MAXSIZE);
        size_t bytes = 0;
        for (uint32_t i = 0; i < n; i++)
            bytes += lens[i] = 1 + random_below(&random, i % 3 == 0 ? 8000 : 100);
        demi_sgarray_t sga = demi_sgaalloc_segs(lens, n);
        uint64_t fill = at;
        for (uint32_t i = 0; i < n; fill += lens[i], i++)
            pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], 1, fill);
        demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, bytes, 1, at);
        wait_success(qt, DEMI_OPC_PUSH);
        at += bytes;
    }
    pair_close(pair);
}

static void test_elements_in_both_directions_do_not_mix(void **state)
{
    (void)state;
    backend_needs(CAN_DUPLEX);
    struct pair pair = pair_make();
    uint64_t at = 0;
    for (int round = 0; round < 200; round++) {
        const size_t size = 1 + (size_t)round * 37 % 5000;
        demi_sgarray_t there = pattern_sga(size, 1, at);
        demi_sgarray_t back = pattern_sga(size, 2, at);
        demi_qtoken_t qts[2] = {push_start(pair.tx, &there), push_start(pair.rx, &back)};
        must(demi_sgafree(&there));
        must(demi_sgafree(&back));
        pop_pattern(pair.rx, size, 1, at);
        pop_pattern(pair.tx, size, 2, at);
        wait_success(qts[0], DEMI_OPC_PUSH);
        wait_success(qts[1], DEMI_OPC_PUSH);
        at += size;
    }
    pair_close(pair);
}

static void test_elements_of_many_pairs_do_not_mix(void **state)
{
    (void)state;
    enum { PAIRS = 40 };
    struct pair pairs[PAIRS];
    demi_qtoken_t pops[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        pairs[i] = pair_make();
        pops[i] = pop_start(pairs[i].rx);
    }
    for (int i = PAIRS - 1; i >= 0; i--) {
        demi_sgarray_t sga = pattern_sga(100 + (size_t)i, (uint64_t)i, 0);
        push_all(pairs[i].tx, &sga);
        must(demi_sgafree(&sga));
    }
    for (int i = 0; i < PAIRS; i++) {
        demi_qresult_t qr = wait_success(pops[i], DEMI_OPC_POP);
        assert_int_equal(qr.qr_qd, pairs[i].rx);
        assert_int_equal(sga_bytes(&qr.qr_value.sga), 100 + i);
        pattern_check_sga(&qr.qr_value.sga, (uint64_t)i, 0);
        must(demi_sgafree(&qr.qr_value.sga));
        pair_close(pairs[i]);
    }
}

int run_element_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_push_and_pop_results_are_complete),
        STARTED(test_push_every_size_arrives_whole),
        STARTED(test_pop_yields_the_segments_that_the_backend_promises),
        STARTED(test_push_segments_narrowed_reordered_dropped_sends_what_they_say),
        STARTED(test_push_built_over_own_memory_is_not_read_after_completion),
        STARTED(test_push_built_of_eight_segments_arrives_in_order),
        STARTED(test_push_segments_of_length_zero_are_skipped),
        STARTED(test_push_popped_element_back_and_free_at_once),
        STARTED(test_push_empty_element),
        STARTED(test_push_bad_sga_is_einval_and_nothing_is_sent),
        STARTED(test_pushes_outstanding_all_arrive_in_issue_order),
        STARTED(test_pops_outstanding_get_the_elements_in_issue_order),
        STARTED(test_pop_issued_last_is_given_the_last_element),
        STARTED(test_push_one_byte_at_a_time_arrives_whole),
        STARTED(test_elements_random_sizes_and_segments_arrive),
        STARTED(test_elements_in_both_directions_do_not_mix),
        STARTED(test_elements_of_many_pairs_do_not_mix),
    };
    return cmocka_run_group_tests_name("element", tests, NULL, NULL);
}
