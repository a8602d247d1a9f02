/* SPDX-License-Identifier: MIT */
/*
 * A program that is linked with libdemikernel.so and has its malloc preloaded: there is one heap,
 * and what malloc gave is pushed without a copy.
 */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <demi/libos.h>
#include <demi/memory.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static int count_library(struct dl_phdr_info *info, size_t size, void *count)
{
    (void)size;
    *(int *)count += strstr(info->dlpi_name, "libdemikernel.so") != NULL;
    return 0;
}

static void test_one_heap_serves_both_names(void **state)
{
    (void)state;
    int count = 0;
    dl_iterate_phdr(count_library, &count);
    assert_int_equal(count, 1);
    void *by_malloc = malloc(5000), *by_demi = demi_malloc(5000);
    assert_true(heap_has(by_malloc) && heap_has(by_demi));
    assert_true(demi_usable_size(by_malloc) >= 5000 && malloc_usable_size(by_demi) >= 5000);
    demi_free(by_malloc);
    free(by_demi);
    free(demi_realloc(malloc(10), 5000));
    demi_free(realloc(demi_malloc(10), 5000));
}

static void test_push_of_malloc_memory_is_by_reference(void **state)
{
    (void)state;
    enum { BYTES = 100000, FROM = 1234, PUSHED = 80000 };
    demi_qresult_t qr;
    int qd;
    char *p = malloc(BYTES);
    fill(p, BYTES);
    demi_sgarray_t sga = {.sga_numsegs = 1};
    sga.sga_segs[0].sgaseg_buf = p + FROM;
    sga.sga_segs[0].sgaseg_len = PUSHED;

    assert_int_equal(demi_init(NULL), 0);
    assert_int_equal(demi_queue(&qd, 0), 0);
    assert_int_equal(demi_blocking_push(qd, &sga), 0);
    free(p);
    void *other = malloc(BYTES);
    assert_ptr_not_equal(other, p); /* the queue holds it */
    assert_int_equal(demi_blocking_pop(qd, &qr), 0);
    assert_ptr_equal(qr.qr_value.sga.sga_segs[0].sgaseg_buf, p + FROM);
    assert_int_equal(qr.qr_value.sga.sga_segs[0].sgaseg_len, PUSHED);
    assert_true(filled(p, BYTES));
    assert_int_equal(demi_sgafree(&qr.qr_value.sga), 0);
    free(other);
    assert_int_equal(demi_close(qd), 0);
    assert_int_equal(demi_fini(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_heap_serves_both_names),
        cmocka_unit_test(test_push_of_malloc_memory_is_by_reference),
    };
    return cmocka_run_group_tests_name("preload-linked", tests, NULL, NULL);
}
