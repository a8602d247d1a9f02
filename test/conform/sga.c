/* SPDX-License-Identifier: MIT */
/* Allocation, free and clone of scatter-gather arrays: what no backend changes. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static const demi_sgarray_t zero_sga;

static void must_be_zero(demi_sgarray_t sga)
{
    assert_memory_equal(&sga, &zero_sga, sizeof sga);
}

static void test_sgaalloc_any_size_is_one_segment_of_exactly_that(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,        2,    63,    64,    65,    1000,     4095,
                                   4096,     4097, 65535, 65536, 65537, 1u << 20, (1u << 20) + 1,
                                   32u << 20};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        demi_sgarray_t sga = demi_sgaalloc(sizes[i]);
        assert_non_null(sga.sga_buf);
        assert_int_equal(sga.sga_numsegs, 1);
        assert_int_equal(sga.sga_segs[0].sgaseg_len, sizes[i]);
        assert_non_null(sga.sga_segs[0].sgaseg_buf);
        memset(sga.sga_segs[0].sgaseg_buf, 0x5a, sizes[i]);
        for (int k = 1; k < DEMI_SGARRAY_MAXSIZE; k++) {
            assert_null(sga.sga_segs[k].sgaseg_buf);
            assert_int_equal(sga.sga_segs[k].sgaseg_len, 0);
        }
        must(demi_sgafree(&sga));
    }
}

static void test_sgaalloc_impossible_size_is_all_zero(void **state)
{
    (void)state;
    must_be_zero(demi_sgaalloc(0));
    must_be_zero(demi_sgaalloc((size_t)UINT32_MAX + 1));
    must_be_zero(demi_sgaalloc(SIZE_MAX));
    must_be_zero(demi_sgaalloc(SIZE_MAX - 63));
}

static void test_sgaalloc_segs_gives_each_its_length_and_memory(void **state)
{
    (void)state;
    const uint32_t lens[DEMI_SGARRAY_MAXSIZE] = {1, 2, 3, 100, 4096, 5, 70000, 8};
    for (uint32_t n = 1; n <= DEMI_SGARRAY_MAXSIZE; n++) {
        demi_sgarray_t sga = demi_sgaalloc_segs(lens, n);
        assert_non_null(sga.sga_buf);
        assert_int_equal(sga.sga_numsegs, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(sga.sga_segs[i].sgaseg_len, lens[i]);
            memset(sga.sga_segs[i].sgaseg_buf, (int)i + 1, lens[i]);
        }
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *bytes = sga.sga_segs[i].sgaseg_buf;
            for (uint32_t k = 0; k < lens[i]; k++)
                must_hold(bytes[k] == i + 1, "segment %u overlaps another", i);
        }
        must(demi_sgafree(&sga));
    }
}

static void test_sgaalloc_segs_bad_arguments_are_all_zero(void **state)
{
    (void)state;
    uint32_t lens[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    must_be_zero(demi_sgaalloc_segs(lens, 0));
    must_be_zero(demi_sgaalloc_segs(lens, 9));
    must_be_zero(demi_sgaalloc_segs(lens, UINT32_MAX));
    must_be_zero(demi_sgaalloc_segs(NULL, 1));
    const uint32_t huge[2] = {UINT32_MAX, UINT32_MAX};
    must_be_zero(demi_sgaalloc_segs(huge, 2)); /* must not wrap */
}

static void test_sgafree_twice_is_einval(void **state)
{
    (void)state;
    demi_sgarray_t sga = demi_sgaalloc(100);
    must(demi_sgafree(&sga));
    must_fail(demi_sgafree(&sga), EINVAL);
    must_fail(demi_sgafree(&sga), EINVAL);
}

static void test_sgafree_by_a_copy_ends_all_copies(void **state)
{
    (void)state;
    demi_sgarray_t sga = demi_sgaalloc(100);
    demi_sgarray_t copy = sga;
    must(demi_sgafree(&copy));
    must_fail(demi_sgafree(&sga), EINVAL);
}

/* Whatever the memory was used for since, an old handle frees nothing of it. */
static void test_sgafree_twice_after_the_memory_was_reused_is_einval(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    enum { LIVE = 64, ROUNDS = 5000 };
    demi_sgarray_t live[LIVE];
    demi_sgarray_t dead[LIVE];
    for (int i = 0; i < LIVE; i++) {
        dead[i] = pattern_sga(1 + random_below(&random, 300), (uint64_t)i, 0);
        must(demi_sgafree(&dead[i]));
        live[i] = pattern_sga(1 + random_below(&random, 300), (uint64_t)i, 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const uint32_t i = random_below(&random, LIVE);
        must_fail(demi_sgafree(&dead[random_below(&random, LIVE)]), EINVAL);
        pattern_check_sga(&live[i], i, 0);
        must(demi_sgafree(&live[i]));
        dead[i] = live[i];
        live[i] = pattern_sga(1 + random_below(&random, 300), i, 0);
    }
    for (int i = 0; i < LIVE; i++) {
        must_fail(demi_sgafree(&dead[i]), EINVAL);
        must(demi_sgafree(&live[i]));
    }
}

static void test_sgafree_of_what_the_library_did_not_make_is_einval(void **state)
{
    (void)state;
    static char memory[64];
    demi_sgarray_t sga = built_sga(memory, sizeof memory);
    must_fail(demi_sgafree(&sga), EINVAL);
    must_fail(demi_sgafree(NULL), EINVAL);
    sga = zero_sga;
    must(demi_sgafree(&sga)); /* the end of a stream */
}

static void test_sga_garbage_handle_is_einval_and_no_crash(void **state)
{
    (void)state;
    uint64_t random = seed_choose(__func__);
    int on_stack = 0;
    void *on_heap = malloc(64);
    demi_sgarray_t real = demi_sgaalloc(64);
    const uintptr_t handle = (uintptr_t)real.sga_buf;
    const uintptr_t garbage[] = {1,
                                 2,
                                 8,
                                 0x1000,
                                 UINTPTR_MAX,
                                 UINTPTR_MAX - 1,
                                 UINT32_MAX,
                                 (uintptr_t)&on_stack,
                                 (uintptr_t)on_heap,
                                 (uintptr_t)real.sga_segs[0].sgaseg_buf,
                                 handle + 1,
                                 handle - 1,
                                 handle + 8,
                                 handle ^ (uintptr_t)1 << 32,
                                 handle ^ (uintptr_t)1 << 63,
                                 handle & UINT32_MAX};
    static char memory[64];
    for (size_t i = 0; i < COUNT_OF(garbage) + 3000; i++) {
        demi_sgarray_t sga = built_sga(memory, sizeof memory);
        uintptr_t value = i < COUNT_OF(garbage) ? garbage[i] : random_next(&random);
        if (i >= COUNT_OF(garbage) && i % 2 == 0)
            value &= 0x0000000f0000ffffu;
        if (value == handle || value == 0)
            continue;
        sga.sga_buf = (void *)value;
        demi_sgarray_t clone;
        must_fail(demi_sgafree(&sga), EINVAL);
        must_fail(demi_sgaclone(&clone, &sga), EINVAL);
    }
    must(demi_sgafree(&real));
    free(on_heap);
}

static void test_sgafree_narrowed_reordered_dropped_frees_all(void **state)
{
    (void)state;
    const uint32_t lens[3] = {100, 200, 300};
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 3);
    const demi_sgaseg_t first = sga.sga_segs[0];
    sga.sga_segs[0] = sga.sga_segs[2];
    sga.sga_segs[1] = first;
    sga.sga_segs[1].sgaseg_buf = (char *)first.sgaseg_buf + 10;
    sga.sga_segs[1].sgaseg_len = 5;
    sga.sga_numsegs = 2;
    must(demi_sgafree(&sga));
    must_fail(demi_sgafree(&sga), EINVAL);
    sga = demi_sgaalloc_segs(lens, 3);
    sga.sga_numsegs = 0; /* all dropped: the handle is what is owned */
    must(demi_sgafree(&sga));
    must_fail(demi_sgafree(&sga), EINVAL);
}

static void test_sgaclone_shares_memory_and_each_is_freed_by_itself(void **state)
{
    (void)state;
    demi_sgarray_t sga = pattern_sga(5000, 1, 0);
    demi_sgarray_t clones[5];
    for (int i = 0; i < 5; i++) {
        must(demi_sgaclone(&clones[i], i < 3 ? &sga : &clones[0]));
        assert_non_null(clones[i].sga_buf);
        assert_int_equal(clones[i].sga_numsegs, 1);
        assert_ptr_equal(clones[i].sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_buf);
        assert_int_equal(clones[i].sga_segs[0].sgaseg_len, 5000);
    }
    must(demi_sgafree(&sga));
    for (int i = 0; i < 5; i++) {
        pattern_check_sga(&clones[i], 1, 0);
        must(demi_sgafree(&clones[i]));
    }
    must_fail(demi_sgafree(&clones[4]), EINVAL);
}

static void test_sgaclone_freed_twice_leaves_the_others_alone(void **state)
{
    (void)state;
    demi_sgarray_t sga = pattern_sga(5000, 1, 0);
    demi_sgarray_t clone;
    must(demi_sgaclone(&clone, &sga));
    must(demi_sgafree(&sga));
    must_fail(demi_sgafree(&sga), EINVAL);
    pattern_check_sga(&clone, 1, 0);
    must(demi_sgafree(&clone));
    must_fail(demi_sgafree(&clone), EINVAL);
}

static void test_sgaclone_keeps_the_segments_as_they_are(void **state)
{
    (void)state;
    const uint32_t lens[3] = {10, 20, 30};
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 3);
    const demi_sgaseg_t first = sga.sga_segs[0];
    sga.sga_segs[0] = sga.sga_segs[1];
    sga.sga_segs[1] = first;
    sga.sga_segs[1].sgaseg_len = 3;
    sga.sga_numsegs = 2;
    demi_sgarray_t clone;
    must(demi_sgaclone(&clone, &sga));
    assert_int_equal(clone.sga_numsegs, 2);
    assert_int_equal(clone.sga_segs[0].sgaseg_len, 20);
    assert_int_equal(clone.sga_segs[1].sgaseg_len, 3);
    assert_ptr_equal(clone.sga_segs[1].sgaseg_buf, first.sgaseg_buf);
    must(demi_sgafree(&sga));
    must(demi_sgafree(&clone));
}

static void test_sgaclone_bad_arguments_are_einval(void **state)
{
    (void)state;
    demi_sgarray_t sga = demi_sgaalloc(10);
    demi_sgarray_t clone = {.sga_numsegs = 77};
    must_fail(demi_sgaclone(NULL, &sga), EINVAL);
    must_fail(demi_sgaclone(&clone, NULL), EINVAL);
    must(demi_sgafree(&sga));
    must_fail(demi_sgaclone(&clone, &sga), EINVAL);
    static char memory[8];
    const demi_sgarray_t built = built_sga(memory, sizeof memory);
    must_fail(demi_sgaclone(&clone, &built), EINVAL);
    assert_int_equal(clone.sga_numsegs, 77);
}

static void test_sga_peer_of_what_nobody_sent_is_enotconn(void **state)
{
    (void)state;
    demi_sgarray_t sga = demi_sgaalloc(10);
    struct sockaddr_storage addr;
    socklen_t len = sizeof addr;
    must_fail(demi_sga_peer(&sga, (struct sockaddr *)&addr, &len), ENOTCONN);
    must_fail(demi_sga_peer(NULL, (struct sockaddr *)&addr, &len), EINVAL);
    must_fail(demi_sga_peer(&sga, NULL, &len), EINVAL);
    must_fail(demi_sga_peer(&sga, (struct sockaddr *)&addr, NULL), EINVAL);
    assert_int_equal(len, sizeof addr);
    must(demi_sgafree(&sga));
    must_fail(demi_sga_peer(&sga, (struct sockaddr *)&addr, &len), EINVAL);
}

int run_sga_tests(void)
{
    if (!backend_can(CAN_INHERENT))
        return 0;
    const struct CMUnitTest tests[] = {
        STARTED(test_sgaalloc_any_size_is_one_segment_of_exactly_that),
        STARTED(test_sgaalloc_impossible_size_is_all_zero),
        STARTED(test_sgaalloc_segs_gives_each_its_length_and_memory),
        STARTED(test_sgaalloc_segs_bad_arguments_are_all_zero),
        STARTED(test_sgafree_twice_is_einval),
        STARTED(test_sgafree_by_a_copy_ends_all_copies),
        STARTED(test_sgafree_twice_after_the_memory_was_reused_is_einval),
        STARTED(test_sgafree_of_what_the_library_did_not_make_is_einval),
        STARTED(test_sga_garbage_handle_is_einval_and_no_crash),
        STARTED(test_sgafree_narrowed_reordered_dropped_frees_all),
        STARTED(test_sgaclone_shares_memory_and_each_is_freed_by_itself),
        STARTED(test_sgaclone_freed_twice_leaves_the_others_alone),
        STARTED(test_sgaclone_keeps_the_segments_as_they_are),
        STARTED(test_sgaclone_bad_arguments_are_einval),
        STARTED(test_sga_peer_of_what_nobody_sent_is_enotconn),
    };
    return cmocka_run_group_tests_name("sga", tests, NULL, NULL);
}
