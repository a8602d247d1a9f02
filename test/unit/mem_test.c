/* SPDX-License-Identifier: MIT */
/* Buffers and their two counts; sgas over them. */
#include "mem/buf_now.h"
#include "mem/heap.h"
#include "mem/sga.h"
#include "mem/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

static void test_buf_every_size_has_room_and_is_counted(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 63, 64, 65, 4096, 4097, 65536, 65537, 1 << 20};
    const uint32_t before = dk_buf_in_use();
    struct dk_buf *bufs[sizeof sizes / sizeof sizes[0]];
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bufs[i] = dk_buf_alloc(sizes[i], 0);
        assert_non_null(bufs[i]);
        assert_true(dk_buf_bytes(bufs[i]) == sizes[i]);
        assert_int_equal(bufs[i]->refs, 1);
        assert_int_equal(bufs[i]->app_refs, 0);
        memset(bufs[i]->data, 0x5a, dk_buf_bytes(bufs[i]));
        assert_int_equal(dk_buf_in_use(), before + i + 1);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        dk_buf_put(bufs[i]);
    assert_int_equal(dk_buf_in_use(), before);
    dk_heap_trim();
}

static void test_buf_handle_is_good_exactly_while_lent(void **state)
{
    (void)state;
    struct dk_buf *buf = dk_buf_alloc(100, 0);
    void *handle = dk_buf_lend(buf);
    assert_ptr_equal(dk_buf_from_handle(handle), buf);
    assert_int_equal(dk_buf_app_put(handle), 0);
    assert_null(dk_buf_from_handle(handle));
    assert_int_equal(dk_buf_app_put(handle), -EINVAL);
    struct dk_buf *next = dk_buf_alloc(100, 0); /* the same memory, most likely */
    void *other = dk_buf_lend(next);
    assert_ptr_not_equal(other, handle);
    assert_int_equal(dk_buf_app_put(handle), -EINVAL);
    assert_ptr_equal(dk_buf_from_handle(other), next);
    assert_int_equal(dk_buf_app_put(other), 0);
}

static void test_buf_freed_by_the_application_lives_while_the_library_holds_it(void **state)
{
    (void)state;
    const uint32_t before = dk_buf_in_use();
    struct dk_buf *buf = dk_buf_alloc(100, 0);
    memset(buf->data, 1, 100);
    void *handle = dk_buf_lend(buf);
    dk_buf_get(buf);
    dk_buf_get(buf);
    assert_int_equal(dk_buf_app_put(handle), 0);
    assert_null(dk_buf_from_handle(handle));
    struct dk_buf *other = dk_buf_alloc(100, 0);
    assert_ptr_not_equal(other, buf);
    memset(other->data, 2, 100);
    assert_int_equal(buf->data[99], 1);
    dk_buf_put(other);
    dk_buf_put(buf);
    assert_int_equal(dk_buf_in_use(), before + 1);
    dk_buf_put(buf);
    assert_int_equal(dk_buf_in_use(), before);
}

static void test_buf_memory_of_a_freed_one_is_nobodys_until_the_next_of_that_size(void **state)
{
    (void)state;
    struct dk_heap_object object;
    for (size_t size = 1; size < 400; size += 13) {
        struct dk_buf *bufs[2 * DK_BUF_SPARES];
        const uint32_t before = dk_buf_in_use();
        for (int i = 0; i < 2 * DK_BUF_SPARES; i++) {
            bufs[i] = dk_buf_alloc(size, 0);
            assert_true(dk_buf_bytes(bufs[i]) == size);
            assert_true(dk_heap_find(bufs[i]->data, &object));
            assert_true(object.usable >= size);
            for (int j = 0; j < i; j++)
                assert_ptr_not_equal(bufs[j]->data, bufs[i]->data);
            memset(bufs[i]->data, i, size);
        }
        for (int i = 0; i < 2 * DK_BUF_SPARES; i++)
            for (size_t j = 0; j < size; j++)
                assert_int_equal(bufs[i]->data[j], i);
        for (int i = 0; i < 2 * DK_BUF_SPARES; i++) {
            const uint8_t *data = bufs[i]->data;
            dk_buf_put(bufs[i]);
            assert_false(dk_heap_find(data, &object));
        }
        assert_int_equal(dk_buf_in_use(), before);
    }
    dk_buf_trim();
    dk_heap_trim();
}

static void test_buf_spare_has_nothing_of_the_one_before(void **state)
{
    (void)state;
    const struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = 7};
    socklen_t len;
    struct dk_buf *buf = dk_buf_alloc(100, DK_BUF_PEER_BYTES);
    dk_buf_set_peer(buf, (const struct sockaddr *)&peer, sizeof peer);
    struct dk_buf *alias = dk_buf_alias(buf);
    dk_buf_put(alias);
    dk_buf_put(buf);
    for (int i = 0; i < 2; i++) {
        struct dk_buf *next = dk_buf_alloc(96 + (size_t)i, DK_BUF_PEER_BYTES);
        assert_true(dk_buf_bytes(next) == 96 + (size_t)i);
        assert_null(dk_buf_peer(next, &len));
        assert_true(dk_buf_is_exclusive(next));
        assert_int_equal(next->app_refs, 0);
        dk_buf_put(next);
    }
}

static void test_buf_of_a_device_comes_back_with_its_last_hold(void **state)
{
    (void)state;
    const uint32_t before = dk_buf_in_use();
    struct dk_buf *buf = dk_buf_alloc_device(1000, 0);
    uint8_t *memory = buf->data;
    assert_true(dk_buf_give_out(buf, 0, 100));
    assert_false(dk_buf_give_out(buf, 0, 100));
    void *handle = dk_buf_lend(buf);
    struct dk_buf *inside = dk_buf_reference(memory + 50, 10);
    assert_int_equal(dk_buf_app_put(handle), 0);
    assert_false(dk_buf_give_out(buf, 0, 100)); /* something of it is in flight */
    dk_buf_put(inside);
    assert_true(dk_buf_give_out(buf, 0, 200));
    assert_null(dk_buf_from_handle(handle));
    assert_ptr_equal(buf->data, memory);
    assert_int_equal(dk_buf_bytes(buf), 200);
    dk_buf_give_up(buf);
    memset(buf->data, 1, 200); /* who has it has it still */
    assert_int_equal(dk_buf_in_use(), before + 1);
    dk_buf_put(buf);
    assert_int_equal(dk_buf_in_use(), before);
    buf = dk_buf_alloc_device(1000, 0);
    dk_buf_give_up(buf);
    assert_int_equal(dk_buf_in_use(), before);
}

/* Who keeps bytes of what was received gets the buffer; whoever comes after that a view. */
static void test_buf_kept_first_is_the_buffer_itself(void **state)
{
    (void)state;
    const uint32_t before = dk_buf_in_use();
    struct dk_buf *buf = dk_buf_alloc_device(1000, 0), *own = dk_buf_alloc(100, 0);
    uint8_t *memory = buf->data;
    assert_true(dk_buf_give_out(buf, 0, 100));
    assert_ptr_equal(dk_buf_keep(buf, memory + 40, 60), buf);
    assert_ptr_equal(buf->data, memory + 40);
    assert_int_equal(dk_buf_bytes(buf), 60);
    struct dk_buf *second = dk_buf_keep(buf, memory + 20, 30);
    assert_ptr_not_equal(second, buf);
    assert_ptr_equal(second->data, memory + 20);
    assert_ptr_equal(buf->data, memory + 40);
    struct dk_buf *view = dk_buf_keep(own, own->data + 10, 10); /* its start is the heap's */
    assert_ptr_not_equal(view, own);
    dk_buf_put(view);
    dk_buf_put(own);
    dk_buf_put(second);
    dk_buf_put(buf);
    assert_false(dk_buf_give_out(buf, 0, 100));
    dk_buf_put(buf);
    assert_true(dk_buf_give_out(buf, 0, 100));
    dk_buf_put(buf);
    dk_buf_give_up(buf);
    assert_int_equal(dk_buf_in_use(), before);
}

static void test_buf_alias_has_its_own_handle_and_shares_memory(void **state)
{
    (void)state;
    const uint32_t before = dk_buf_in_use();
    struct dk_buf *buf = dk_buf_alloc(100, 0);
    void *handle = dk_buf_lend(buf);
    struct dk_buf *alias = dk_buf_alias(buf);
    void *second = dk_buf_lend(alias);
    assert_ptr_not_equal(handle, second);
    assert_ptr_equal(alias->data, buf->data);
    memset(buf->data, 3, 100);
    assert_int_equal(dk_buf_app_put(handle), 0);
    assert_int_equal(dk_buf_app_put(handle), -EINVAL);
    assert_int_equal(alias->data[99], 3);
    assert_int_equal(dk_buf_app_put(second), 0);
    assert_int_equal(dk_buf_app_put(second), -EINVAL);
    assert_int_equal(dk_buf_in_use(), before);
}

static void test_buf_generations_differ_over_many_reuses(void **state)
{
    (void)state;
    void *last = NULL;
    for (int i = 0; i < 10000; i++) {
        struct dk_buf *buf = dk_buf_alloc(64, 0);
        void *handle = dk_buf_lend(buf);
        assert_non_null(handle);
        assert_ptr_not_equal(handle, last);
        assert_true(last == NULL || dk_buf_app_put(last) == -EINVAL);
        assert_int_equal(dk_buf_app_put(handle), 0);
        last = handle;
    }
}

static void test_buf_handle_that_is_garbage_is_refused(void **state)
{
    (void)state;
    struct dk_buf *buf = dk_buf_alloc(64, 0);
    const uintptr_t good = (uintptr_t)dk_buf_lend(buf);
    for (int bit = 0; bit < 64; bit++)
        assert_null(dk_buf_from_handle((void *)(good ^ (uintptr_t)1 << bit)));
    assert_null(dk_buf_from_handle(NULL));
    assert_null(dk_buf_from_handle((void *)UINTPTR_MAX));
    assert_int_equal(dk_buf_app_put((void *)good), 0);
}

static void test_buf_peer_address_is_kept_beside_the_data(void **state)
{
    (void)state;
    struct dk_buf *buf = dk_buf_alloc(64, DK_BUF_PEER_BYTES);
    socklen_t len = 99;
    assert_null(dk_buf_peer(buf, &len));
    assert_int_equal(len, 0);
    struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_port = 77, .sin6_scope_id = 5};
    memset(&addr.sin6_addr, 0xab, sizeof addr.sin6_addr);
    memset(buf->data, 0x11, dk_buf_bytes(buf));
    dk_buf_set_peer(buf, (struct sockaddr *)&addr, sizeof addr);
    for (size_t i = 0; i < dk_buf_bytes(buf); i++)
        assert_int_equal(buf->data[i], 0x11);
    memset(buf->data, 0x22, dk_buf_bytes(buf));
    const struct sockaddr *peer = dk_buf_peer(buf, &len);
    assert_int_equal(len, sizeof addr);
    assert_memory_equal(peer, &addr, sizeof addr);
    dk_buf_put(buf);
    buf = dk_buf_alloc(64, DK_BUF_PEER_BYTES);
    assert_null(dk_buf_peer(buf, &len)); /* not the one of an earlier life */
    dk_buf_put(buf);
}

static void test_sga_segments_are_aligned_and_apart(void **state)
{
    (void)state;
    const uint32_t lens[8] = {1, 15, 16, 17, 3, 4096, 5, 1};
    demi_sgarray_t sga;
    assert_int_equal(dk_sga_alloc(&sga, lens, 8), 0);
    for (int i = 0; i < 8; i++) {
        const uintptr_t at = (uintptr_t)sga.sga_segs[i].sgaseg_buf;
        assert_int_equal(at % 16, 0);
        for (int k = 0; k < i; k++)
            assert_true((uintptr_t)sga.sga_segs[k].sgaseg_buf + lens[k] <= at);
    }
    assert_int_equal(dk_sga_bytes(&sga), 1 + 15 + 16 + 17 + 3 + 4096 + 5 + 1);
    assert_int_equal(dk_sga_free(&sga), 0);
    assert_int_equal(dk_sga_free(&sga), -EINVAL);
}

static void test_sga_lengths_that_wrap_are_refused(void **state)
{
    (void)state;
    const uint32_t huge[8] = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                              UINT32_MAX, UINT32_MAX, UINT32_MAX, 8};
    demi_sgarray_t sga;
    assert_true(dk_sga_alloc(&sga, huge, 8) < 0);
    assert_true(dk_sga_alloc(&sga, huge, 2) < 0);
    assert_true(dk_sga_alloc(&sga, huge, 0) < 0);
    assert_true(dk_sga_alloc(&sga, huge, 9) < 0);
}

static void test_sga_check_names_the_owner_or_refuses(void **state)
{
    (void)state;
    const uint32_t len = 10;
    char memory[10];
    demi_sgarray_t sga;
    struct dk_buf *buf = NULL;
    assert_int_equal(dk_sga_alloc(&sga, &len, 1), 0);
    assert_int_equal(dk_sga_check(&sga, &buf), 0);
    assert_ptr_equal(buf, dk_buf_from_handle(sga.sga_buf));
    demi_sgarray_t bad = sga;
    bad.sga_numsegs = 0;
    assert_int_equal(dk_sga_check(&bad, &buf), -EINVAL);
    bad.sga_numsegs = 9;
    assert_int_equal(dk_sga_check(&bad, &buf), -EINVAL);
    bad.sga_numsegs = 2;
    bad.sga_segs[1] = (demi_sgaseg_t){NULL, 1};
    assert_int_equal(dk_sga_check(&bad, &buf), -EINVAL);
    bad.sga_segs[1] = (demi_sgaseg_t){NULL, 0};
    assert_int_equal(dk_sga_check(&bad, &buf), 0);
    assert_int_equal(dk_sga_free(&sga), 0);
    assert_int_equal(dk_sga_check(&sga, &buf), -EINVAL);
    demi_sgarray_t own = {.sga_numsegs = 1};
    own.sga_segs[0] = (demi_sgaseg_t){memory, sizeof memory};
    assert_int_equal(dk_sga_check(&own, &buf), 0);
    assert_null(buf);
}

static void test_sga_memory_of_another_is_gathered_into_one_buffer(void **state)
{
    (void)state;
    char a[5] = "abcde", b[3] = "xyz";
    demi_sgarray_t sga = {.sga_numsegs = 4};
    sga.sga_segs[0] = (demi_sgaseg_t){a, 5};
    sga.sga_segs[1] = (demi_sgaseg_t){NULL, 0};
    sga.sga_segs[2] = (demi_sgaseg_t){b, 0};
    sga.sga_segs[3] = (demi_sgaseg_t){b, 3};
    struct dk_buf *buf = NULL;
    assert_int_equal(dk_sga_gather(&sga, &buf), 0);
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    assert_int_equal(sga.sga_numsegs, 4);
    assert_memory_equal(sga.sga_segs[0].sgaseg_buf, "abcde", 5);
    assert_int_equal(sga.sga_segs[2].sgaseg_len, 0);
    assert_memory_equal(sga.sga_segs[3].sgaseg_buf, "xyz", 3);
    dk_buf_put(buf);
}

static void test_buf_number_in_use_is_shown_where_it_is_asked_for(void **state)
{
    (void)state;
    uint64_t shown = 4711;
    struct dk_buf *one = dk_buf_alloc(100, 0);
    dk_buf_show_in_use(&shown);
    assert_int_equal(shown, dk_buf_in_use());
    struct dk_buf *two = dk_buf_alloc(100, 0);
    assert_int_equal(shown, dk_buf_in_use());
    dk_buf_show_in_use(NULL);
    dk_buf_put(one);
    assert_int_equal(shown, dk_buf_in_use() + 1);
    dk_buf_put(two);
}

static void test_mem_stats_move_with_their_values(void **state)
{
    (void)state;
    struct dk_mem_stats elsewhere = {0};
    const uint64_t before = dk_mem_stats->regions;
    dk_mem_count(regions, 5);
    dk_mem_stats_move(&elsewhere);
    assert_int_equal(elsewhere.regions, before + 5);
    dk_mem_count(regions, -2);
    assert_int_equal(elsewhere.regions, before + 3);
    dk_mem_stats_move(NULL);
    assert_ptr_not_equal(dk_mem_stats, &elsewhere);
    dk_mem_count(regions, -3);
    assert_int_equal(dk_mem_stats->regions, before);
    assert_int_equal(elsewhere.regions, before + 3);
    for (size_t i = 0; i < DK_MEM_STATS_COUNT; i++)
        assert_int_equal(strncmp(dk_mem_stat_names[i], "mem.", 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_every_size_has_room_and_is_counted),
        cmocka_unit_test(test_buf_handle_is_good_exactly_while_lent),
        cmocka_unit_test(test_buf_freed_by_the_application_lives_while_the_library_holds_it),
        cmocka_unit_test(test_buf_memory_of_a_freed_one_is_nobodys_until_the_next_of_that_size),
        cmocka_unit_test(test_buf_spare_has_nothing_of_the_one_before),
        cmocka_unit_test(test_buf_of_a_device_comes_back_with_its_last_hold),
        cmocka_unit_test(test_buf_kept_first_is_the_buffer_itself),
        cmocka_unit_test(test_buf_alias_has_its_own_handle_and_shares_memory),
        cmocka_unit_test(test_buf_generations_differ_over_many_reuses),
        cmocka_unit_test(test_buf_handle_that_is_garbage_is_refused),
        cmocka_unit_test(test_buf_peer_address_is_kept_beside_the_data),
        cmocka_unit_test(test_buf_number_in_use_is_shown_where_it_is_asked_for),
        cmocka_unit_test(test_mem_stats_move_with_their_values),
        cmocka_unit_test(test_sga_segments_are_aligned_and_apart),
        cmocka_unit_test(test_sga_lengths_that_wrap_are_refused),
        cmocka_unit_test(test_sga_check_names_the_owner_or_refuses),
        cmocka_unit_test(test_sga_memory_of_another_is_gathered_into_one_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
