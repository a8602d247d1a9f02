/* SPDX-License-Identifier: MIT */
/*
 * malloc(3) as its manual has it, of a program under LD_PRELOAD=libdemikernel-malloc.so.
 */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_memalign(size_t align, size_t size);

#define MIB ((size_t)1 << 20)

/* Of these the compiler knows nothing, so it neither warns of them nor counts with them. */
static volatile size_t zero = 0, too_much = SIZE_MAX / 2 + 1, half = SIZE_MAX / 2, most = SIZE_MAX;
static volatile int some_errno = 12345;
static void *(*volatile resize)(void *, size_t) = realloc;
static void *(*volatile resize_array)(void *, size_t, size_t) = reallocarray;

static size_t next_size(size_t size)
{
    return size < 600 ? size + 1 : size + size / 7;
}

static void assert_aligned(const void *p, size_t align)
{
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % align, 0);
}

static void test_malloc_any_size_is_ours_aligned_and_usable(void **state)
{
    (void)state;
    for (size_t size = 0; size <= MIB; size = next_size(size)) {
        char *p = malloc(size);
        assert_aligned(p, 16);
        assert_true(heap_has(p));
        assert_true(malloc_usable_size(p) >= size);
        fill(p, malloc_usable_size(p));
        assert_true(filled(p, malloc_usable_size(p)));
        free(p);
    }
}

static void test_malloc_many_live_do_not_overlap(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    static void *live[COUNT];
    static size_t sizes[COUNT];
    uint32_t seed = 20260101;
    for (int i = 0; i < COUNT * 10; i++) {
        const uint32_t at = next_random(&seed) % COUNT;
        assert_true(live[at] == NULL || filled(live[at], sizes[at]));
        free(live[at]);
        sizes[at] = next_random(&seed) % (next_random(&seed) % 64 == 0 ? 300000 : 1500);
        live[at] = malloc(sizes[at]);
        assert_true(heap_has(live[at]));
        fill(live[at], sizes[at]);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_true(live[i] == NULL || filled(live[i], sizes[i]));
        free(live[i]);
    }
}

static void test_malloc_zero_gives_distinct_pointers(void **state)
{
    (void)state;
    void *a = malloc(zero), *b = malloc(zero), *c = calloc(zero, 8), *d = aligned_alloc(64, zero);
    assert_true(a != NULL && b != NULL && c != NULL && d != NULL);
    assert_true(a != b && a != c && b != c && d != a);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void test_malloc_too_much_is_enomem(void **state)
{
    (void)state;
    errno = 0;
    assert_null(malloc(too_much));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(malloc(most));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(aligned_alloc(4096, half));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(pvalloc(most));
    assert_int_equal(errno, ENOMEM);
}

static void test_free_keeps_errno(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 64 * MIB; size *= 3) {
        void *p = malloc(size);
        assert_non_null(p);
        memset(p, 1, size);
        errno = some_errno;
        free(p);
        assert_int_equal(errno, some_errno);
    }
    errno = some_errno;
    free(NULL);
    free(__libc_malloc(100));
    free(__libc_malloc(MIB));
    assert_int_equal(errno, some_errno);
}

static void test_calloc_after_reuse_is_zero(void **state)
{
    (void)state;
    for (size_t size = 1; size <= MIB; size = next_size(size)) {
        char *dirty = malloc(size);
        memset(dirty, 0xa5, malloc_usable_size(dirty));
        free(dirty);
        char *p = calloc(size, 1);
        assert_true(heap_has(p));
        assert_true(p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
        free(p);
    }
}

static void test_calloc_overflow_is_enomem(void **state)
{
    (void)state;
    errno = 0;
    assert_null(calloc(half, 3));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(calloc((size_t)1 << 32, ((size_t)1 << 32) + zero));
    assert_int_equal(errno, ENOMEM);
}

static void test_realloc_grows_and_shrinks_keeping_contents(void **state)
{
    (void)state;
    unsigned char *p = realloc(NULL, 1);
    assert_true(heap_has(p));
    p[0] = 1;
    for (size_t size = 1; size <= MIB; size = next_size(size)) {
        p = realloc(p, size);
        assert_true(heap_has(p));
        assert_true(malloc_usable_size(p) >= size);
        p[size - 1] = (unsigned char)size;
    }
    for (size_t size = 1; size <= 600; size++)
        assert_int_equal(p[size - 1], (unsigned char)size);
    for (size_t size = MIB; size > 0; size /= 3) {
        p = realloc(p, size);
        assert_true(malloc_usable_size(p) >= size);
        for (size_t i = 1; i <= size && i <= 600; i++)
            assert_int_equal(p[i - 1], (unsigned char)i);
    }
    assert_null(realloc(p, zero));
}

static void test_realloc_too_much_leaves_the_object(void **state)
{
    (void)state;
    char *p = malloc(1000);
    fill(p, 1000);
    errno = 0;
    assert_null(resize(p, too_much));
    assert_int_equal(errno, ENOMEM);
    assert_true(filled(p, 1000));
    free(p);
}

static void test_reallocarray_overflow_is_enomem(void **state)
{
    (void)state;
    char *p = reallocarray(NULL, 10, 10);
    assert_true(heap_has(p));
    fill(p, 100);
    errno = 0;
    assert_null(resize_array(p, half, 3));
    assert_int_equal(errno, ENOMEM);
    assert_true(filled(p, 100));
    p = reallocarray(p, 1000, 10);
    assert_true(malloc_usable_size(p) >= 10000);
    free(p);
}

static void test_aligned_alloc_every_power_of_two(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 24, 100, 4096, 5000, 70000, MIB};
    for (size_t align = 1; align <= 4 * MIB; align *= 2)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *p = aligned_alloc(align, sizes[i]);
            assert_aligned(p, align);
            assert_true(heap_has(p));
            assert_true(malloc_usable_size(p) >= sizes[i]);
            fill(p, sizes[i]);
            p = realloc(p, sizes[i] + 1);
            assert_true(malloc_usable_size(p) > sizes[i]);
            free(p);
        }
}

static void test_aligned_alloc_no_power_of_two_is_einval(void **state)
{
    (void)state;
    errno = 0;
    assert_null(aligned_alloc(zero, 10));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(aligned_alloc(zero + 48, 96));
    assert_int_equal(errno, EINVAL);
}

static void test_posix_memalign_errors_are_returned(void **state)
{
    (void)state;
    void *p = &p;
    errno = some_errno;
    assert_int_equal(posix_memalign(&p, zero, 8), EINVAL);
    assert_int_equal(posix_memalign(&p, zero + 4, 8), EINVAL);
    assert_int_equal(posix_memalign(&p, zero + 24, 8), EINVAL);
    assert_int_equal(posix_memalign(&p, 64, half), ENOMEM);
    assert_ptr_equal(p, &p);
    assert_int_equal(posix_memalign(&p, 256, 1000), 0);
    assert_int_equal(errno, some_errno);
    assert_aligned(p, 256);
    assert_true(heap_has(p));
    free(p);
}

static void test_page_allocators_give_whole_pages(void **state)
{
    (void)state;
    const size_t page = (size_t)getpagesize();
    void *rounded = pvalloc(page + 1), *plain = valloc(100), *odd = memalign(zero + 48, 10);
    assert_aligned(rounded, page);
    assert_true(malloc_usable_size(rounded) >= 2 * page);
    assert_aligned(plain, page);
    assert_aligned(odd, 64); /* glibc takes the next power of two */
    assert_true(heap_has(rounded) && heap_has(plain) && heap_has(odd));
    free(rounded);
    free(plain);
    free(odd);
}

static void test_usable_size_of_null_is_zero(void **state)
{
    (void)state;
    assert_int_equal(malloc_usable_size(NULL), 0);
}

static void test_foreign_memory_is_taken(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 4 * MIB; size *= 3) {
        unsigned char *p = __libc_malloc(size);
        assert_false(heap_has(p));
        assert_true(malloc_usable_size(p) >= size);
        memset(p, (int)size, size);
        p = realloc(p, 2 * size);
        assert_true(heap_has(p));
        for (size_t i = 0; i < size; i++)
            assert_int_equal(p[i], (unsigned char)size);
        free(p);
        p = realloc(__libc_memalign(128, size), size / 2 + 1);
        assert_true(heap_has(p));
        free(p);
        free(__libc_memalign(4096, size));
    }
    assert_null(realloc(__libc_malloc(10), zero));
}

/* More than the heap gives: what glibc gives, or not, as without us. */
static void test_malloc_more_than_the_heap_has_is_glibcs(void **state)
{
    (void)state;
    const size_t huge = (size_t)1 << 37;
    char *p = malloc(huge + zero);
    if (p == NULL) {
        print_message("glibc has no 128 GiB of address space here\n");
        skip();
    }
    assert_false(heap_has(p));
    p[0] = p[huge - 1] = 7;
    p = realloc(p, 100);
    assert_true(heap_has(p));
    assert_int_equal(p[0], 7);
    p = realloc(p, huge + zero);
    assert_true(p != NULL && p[0] == 7);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malloc_any_size_is_ours_aligned_and_usable),
        cmocka_unit_test(test_malloc_many_live_do_not_overlap),
        cmocka_unit_test(test_malloc_zero_gives_distinct_pointers),
        cmocka_unit_test(test_malloc_too_much_is_enomem),
        cmocka_unit_test(test_free_keeps_errno),
        cmocka_unit_test(test_calloc_after_reuse_is_zero),
        cmocka_unit_test(test_calloc_overflow_is_enomem),
        cmocka_unit_test(test_realloc_grows_and_shrinks_keeping_contents),
        cmocka_unit_test(test_realloc_too_much_leaves_the_object),
        cmocka_unit_test(test_reallocarray_overflow_is_enomem),
        cmocka_unit_test(test_aligned_alloc_every_power_of_two),
        cmocka_unit_test(test_aligned_alloc_no_power_of_two_is_einval),
        cmocka_unit_test(test_posix_memalign_errors_are_returned),
        cmocka_unit_test(test_page_allocators_give_whole_pages),
        cmocka_unit_test(test_usable_size_of_null_is_zero),
        cmocka_unit_test(test_foreign_memory_is_taken),
        cmocka_unit_test(test_malloc_more_than_the_heap_has_is_glibcs),
    };
    return cmocka_run_group_tests_name("preload-semantics", tests, NULL, NULL);
}
