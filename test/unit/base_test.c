/* SPDX-License-Identifier: MIT */
/* Lists, locks, futexes, clock, pages: what stands below everything. */
#include "base/list.h"
#include "os/clock.h"
#include "os/pages.h"
#include "os/sync.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

struct item {
    int value;
    struct dk_list link;
};

static void must_read(const struct dk_list *head, const int *values, int n)
{
    struct dk_list *l;
    int i = 0;
    dk_list_for_each (l, head) {
        assert_true(i < n);
        assert_int_equal(dk_container_of(l, struct item, link)->value, values[i++]);
    }
    assert_int_equal(i, n);
}

static void test_list_keeps_order_and_unlinks_anywhere(void **state)
{
    (void)state;
    struct dk_list head;
    struct item items[5];
    dk_list_init(&head);
    assert_true(dk_list_empty(&head));
    assert_null(dk_list_first(&head));
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        if (i == 2)
            dk_list_add_head(&head, &items[i].link);
        else
            dk_list_add_tail(&head, &items[i].link);
    }
    must_read(&head, (const int[]){2, 0, 1, 3, 4}, 5);
    assert_ptr_equal(dk_list_first(&head), &items[2].link);
    dk_list_del(&items[1].link);
    dk_list_del(&items[2].link);
    dk_list_del(&items[4].link);
    must_read(&head, (const int[]){0, 3}, 2);
    dk_list_del_init(&items[0].link);
    dk_list_del_init(&items[0].link); /* of an unlinked element: nothing */
    must_read(&head, (const int[]){3}, 1);
}

static void test_list_walk_may_unlink_where_it_stands(void **state)
{
    (void)state;
    struct dk_list head, *l, *tmp;
    struct item items[6];
    dk_list_init(&head);
    for (int i = 0; i < 6; i++) {
        items[i].value = i;
        dk_list_add_tail(&head, &items[i].link);
    }
    dk_list_for_each_safe (l, tmp, &head) {
        if (dk_container_of(l, struct item, link)->value % 2 == 0)
            dk_list_del(l);
    }
    must_read(&head, (const int[]){1, 3, 5}, 3);
    dk_list_for_each_safe (l, tmp, &head)
        dk_list_del(l);
    assert_true(dk_list_empty(&head));
}

static void test_lock_held_is_not_taken_again(void **state)
{
    (void)state;
    struct dk_lock lock = {0};
    assert_true(dk_lock_try(&lock));
    assert_false(dk_lock_try(&lock));
    dk_unlock(&lock);
    dk_lock(&lock);
    assert_false(dk_lock_try(&lock));
    dk_unlock(&lock);
    assert_true(dk_lock_try(&lock));
    dk_unlock(&lock);
}

struct counted {
    struct dk_lock lock;
    uint64_t guarded; /* not atomic: the lock must do */
    uint32_t free_for_all;
};

enum { COUNTERS = 4, COUNTS = 200000 };

static void *count_up(void *arg)
{
    struct counted *counted = arg;
    for (int i = 0; i < COUNTS; i++) {
        dk_lock(&counted->lock);
        counted->guarded++;
        dk_unlock(&counted->lock);
        dk_add_u32(&counted->free_for_all, 3);
        dk_sub_u32(&counted->free_for_all, 2);
    }
    return NULL;
}

static void test_lock_by_many_threads_excludes(void **state)
{
    (void)state;
    struct counted counted = {0};
    pthread_t threads[COUNTERS];
    for (int i = 0; i < COUNTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &counted), 0);
    for (int i = 0; i < COUNTERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(counted.guarded, COUNTERS * COUNTS);
    assert_int_equal(counted.free_for_all, COUNTERS * COUNTS);
    assert_int_equal(counted.lock.word, 0);
}

static void test_futex_says_why_it_returns(void **state)
{
    (void)state;
    uint32_t word = 5;
    assert_int_equal(dk_futex_wait(&word, 4, -1), -EAGAIN);
    assert_int_equal(dk_futex_wait(&word, 5, 0), -ETIMEDOUT);
    const int64_t start = dk_clock_monotonic.now(&dk_clock_monotonic);
    assert_int_equal(dk_futex_wait(&word, 5, 3000000), -ETIMEDOUT);
    assert_true(dk_clock_monotonic.now(&dk_clock_monotonic) - start >= 3000000);
    dk_futex_wake(&word, 1); /* nobody sleeps */
}

static void test_clock_goes_forward(void **state)
{
    (void)state;
    int64_t last = dk_clock_monotonic.now(&dk_clock_monotonic);
    for (int i = 0; i < 10000; i++) {
        const int64_t now = dk_clock_monotonic.now(&dk_clock_monotonic);
        assert_true(now >= last);
        last = now;
    }
}

static void test_pages_reserved_are_zero_and_writable(void **state)
{
    (void)state;
    const size_t bytes = (size_t)1 << 32; /* costs nothing until it is written */
    uint8_t *pages = dk_pages_reserve(bytes);
    assert_non_null(pages);
    for (size_t at = 0; at < bytes; at += bytes / 16) {
        assert_int_equal(pages[at], 0);
        pages[at] = 1;
    }
    assert_int_equal(pages[bytes - 1], 0);
    dk_pages_release(pages, bytes);
    dk_pages_release(NULL, bytes);
}

/* Whether every page of the range is mapped: nobody else may come to lie in a claim. */
static bool is_mapped(void *p, size_t bytes)
{
    static unsigned char resident[1 << 16];
    assert_true(bytes / 4096 <= sizeof resident);
    return mincore(p, bytes, resident) == 0;
}

static void test_pages_of_a_claim_are_backed_and_unbacked_and_stay_claimed(void **state)
{
    (void)state;
    const size_t bytes = (size_t)64 << 20, part = (size_t)8 << 20;
    uint8_t *p = dk_pages_claim(bytes, (size_t)2 << 20);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % ((size_t)2 << 20), 0);
    for (int round = 0; round < 2; round++) {
        assert_true(dk_pages_back(p + part, part));
        assert_int_equal(p[part] + p[2 * part - 1], 0);
        p[part] = p[2 * part - 1] = 1;
        dk_pages_unback(p + part, part);
        assert_true(is_mapped(p, bytes));
    }
    dk_pages_release(p, bytes);
}

/* The place of a mapping that failed must not be free for others meanwhile. */
static void test_pages_huge_that_are_not_there_leave_the_claim_whole(void **state)
{
    (void)state;
    const size_t bytes = (size_t)64 << 30;
    uint8_t *p = dk_pages_claim(bytes, (size_t)2 << 20);
    assert_non_null(p);
    if (dk_pages_back_huge(p, bytes)) {
        print_message("there are 64 GiB of huge pages\n");
        dk_pages_release(p, bytes);
        skip();
    }
    assert_true(is_mapped(p, (size_t)2 << 20));
    assert_true(is_mapped(p + bytes - ((size_t)2 << 20), (size_t)2 << 20));
    dk_pages_release(p, bytes);
}

int main(void)
{
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_keeps_order_and_unlinks_anywhere),
        cmocka_unit_test(test_list_walk_may_unlink_where_it_stands),
        cmocka_unit_test(test_lock_held_is_not_taken_again),
        cmocka_unit_test(test_lock_by_many_threads_excludes),
        cmocka_unit_test(test_futex_says_why_it_returns),
        cmocka_unit_test(test_clock_goes_forward),
        cmocka_unit_test(test_pages_reserved_are_zero_and_writable),
        cmocka_unit_test(test_pages_of_a_claim_are_backed_and_unbacked_and_stay_claimed),
        cmocka_unit_test(test_pages_huge_that_are_not_there_leave_the_claim_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
