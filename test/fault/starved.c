/* SPDX-License-Identifier: MIT */
/*
 * Operators while the heap has nothing left: what fails has had no effect, what was taken is not
 * lost, and with memory all goes on.
 */
#include "../lib/backend.h"
#include "inject.h"

#include <demi/memory.h>
#include <stdlib.h>
#include <string.h>

/* Everything that the heap would still give, largest first, in a list. */
static void **hoard;

/* And what is kept for elements. */
static demi_sgarray_t elements[1000];
static uint32_t num_elements;

static void exhaust(void)
{
    static const size_t sizes[] = {1 << 20, 250000, 60000, 15000, 4000, 1500, 1024, 512, 256};
    inject_arm(INJECT_MEMORY, 1, true, ENOMEM);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (void **p; (p = demi_malloc(sizes[i])) != NULL; hoard = p)
            *p = hoard;
    for (size_t size = 1024; size > 0; size -= 16)
        for (void **p; (p = demi_malloc(size)) != NULL; hoard = p)
            *p = hoard;
    for (size_t size = 512; size > 0; size -= 16)
        while ((elements[num_elements] = demi_sgaalloc(size)).sga_numsegs != 0)
            assert_true(++num_elements < COUNT_OF(elements));
}

static void relent(void)
{
    inject_disarm();
    while (num_elements > 0)
        must(demi_sgafree(&elements[--num_elements]));
    while (hoard) {
        void **next = *hoard;
        demi_free(hoard);
        hoard = next;
    }
}

static int start(void **state)
{
    deadline_setup(state);
    setenv("DEMI_NET", "memory", 1);
    must(demi_init(NULL));
    return 0;
}

static int end(void **state)
{
    must(demi_fini());
    return deadline_teardown(state);
}

static int queue_of(uint32_t capacity)
{
    int qd = -1;
    must(demi_queue(&qd, capacity));
    return qd;
}

static demi_sgarray_t element(uint32_t number)
{
    demi_sgarray_t sga = demi_sgaalloc(sizeof number);
    assert_int_equal(sga.sga_numsegs, 1);
    memcpy(sga.sga_segs[0].sgaseg_buf, &number, sizeof number);
    return sga;
}

static uint32_t number_of(const demi_sgarray_t *sga)
{
    uint32_t number;
    assert_int_equal(sga->sga_numsegs, 1);
    memcpy(&number, sga->sga_segs[0].sgaseg_buf, sizeof number);
    return number;
}

static void send_number(int qd, uint32_t number)
{
    demi_sgarray_t sga = element(number);
    must(demi_blocking_push(qd, &sga));
    must(demi_sgafree(&sga));
}

static demi_qtoken_t start_pop(int qd)
{
    demi_qtoken_t qt = 0;
    must(demi_pop(&qt, qd));
    return qt;
}

static void must_wait_on(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    const struct timespec none = {0, 0};
    must_fail(demi_wait(&qr, qt, &none), ETIMEDOUT);
}

static void wait_number(demi_qtoken_t qt, uint32_t number)
{
    demi_qresult_t qr;
    const struct timespec none = {0, 0};
    must(demi_wait(&qr, qt, &none));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
    assert_int_equal(number_of(&qr.qr_value.sga), number);
    must(demi_sgafree(&qr.qr_value.sga));
}

static void wait_enomem(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    const struct timespec none = {0, 0};
    must(demi_wait(&qr, qt, &none));
    assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
    assert_int_equal(qr.qr_ret, ENOMEM);
}

static int add_one(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    uint32_t number = number_of(sga) + 1;
    memcpy(sga->sga_segs[0].sgaseg_buf, &number, sizeof number);
    return 0;
}

static void test_map_pop_of_a_shared_element_without_memory_keeps_it(void **state)
{
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        const int qd = queue_of(0);
        int mapped = -1;
        must(demi_map_dir(&mapped, qd, NULL, add_one, NULL));
        demi_sgarray_t sga = element(1);
        demi_qtoken_t pop = waits ? start_pop(mapped) : 0, push = 0;
        exhaust();
        must(demi_push(&push, qd, &sga)); /* and sga is not freed */
        if (!waits)
            pop = start_pop(mapped);
        wait_enomem(pop);
        wait_enomem(start_pop(mapped));
        relent();
        demi_qresult_t qr;
        must(demi_wait(&qr, push, NULL));
        send_number(qd, 5);
        wait_number(start_pop(mapped), 2);
        wait_number(start_pop(mapped), 6);
        assert_int_equal(number_of(&sga), 1);
        must(demi_sgafree(&sga));
        must(demi_close(mapped));
        must(demi_close(qd));
    }
}

static void test_map_push_without_memory_has_no_effect(void **state)
{
    (void)state;
    const int qd = queue_of(0);
    int mapped = -1;
    must(demi_map_dir(&mapped, qd, add_one, NULL, NULL));
    demi_sgarray_t sga = element(1);
    demi_qtoken_t push = 0;
    exhaust();
    must_fail(demi_push(&push, mapped, &sga), ENOMEM);
    relent();
    must(demi_blocking_push(mapped, &sga));
    wait_number(start_pop(mapped), 2);
    must_wait_on(start_pop(mapped));
    must(demi_sgafree(&sga));
    must(demi_close(mapped));
    must(demi_close(qd));
}

static void test_merge_push_without_memory_is_to_both_or_none(void **state)
{
    (void)state;
    enum { PUSHES = 3 };
    const int one = queue_of(0), two = queue_of(1);
    int merged = -1;
    must(demi_merge(&merged, one, two));
    send_number(two, 100);
    demi_sgarray_t sgas[PUSHES];
    demi_qtoken_t qts[PUSHES];
    int errors[PUSHES], started = 0;
    for (uint32_t i = 0; i < PUSHES; i++)
        sgas[i] = element(i);
    exhaust();
    for (int i = 0; i < PUSHES; i++) {
        errors[i] = must_either(demi_push(&qts[i], merged, &sgas[i]), 0, ENOMEM);
        started += errors[i] == 0;
    }
    relent();
    must(demi_close(merged));
    for (uint32_t i = 0; i < PUSHES; i++)
        if (errors[i] == 0)
            wait_number(start_pop(one), i);
    must_wait_on(start_pop(one));
    wait_number(start_pop(two), 100);
    for (uint32_t i = 0; i < PUSHES; i++) {
        demi_qresult_t qr;
        if (errors[i] == 0) {
            wait_number(start_pop(two), i);
            must(demi_wait(&qr, qts[i], NULL));
        }
        must(demi_sgafree(&sgas[i]));
    }
    must_wait_on(start_pop(two));
    assert_true(started < PUSHES);
    must(demi_close(one));
    must(demi_close(two));
}

static uint32_t by_hundreds(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return number_of(sga) / 100;
}

static void test_partition_without_memory_loses_nothing(void **state)
{
    (void)state;
    enum { MANY = 90 };
    const int qd = queue_of(0);
    int qds[2];
    must(demi_partition(qds, 2, qd, by_hundreds, NULL));
    for (uint32_t i = 0; i < MANY; i++)
        send_number(qd, i);
    send_number(qd, 100);
    const demi_qtoken_t qt = start_pop(qds[1]);
    wait_number(qt, 100); /* grows the other's ring */
    for (uint32_t i = 0; i < MANY; i++)
        wait_number(start_pop(qds[0]), i);
    for (uint32_t i = 0; i < 6 * MANY; i++)
        send_number(qd, i % MANY);
    send_number(qd, 100);
    exhaust();
    const demi_qtoken_t starved = start_pop(qds[1]);
    for (uint32_t i = 0; i < 6 * MANY; i++)
        wait_number(start_pop(qds[0]), i % MANY);
    wait_number(starved, 100);
    relent();
    must(demi_close(qds[0]));
    must(demi_close(qds[1]));
    must(demi_close(qd));
}

static int descending(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)arg;
    return (int)number_of(b) - (int)number_of(a);
}

static void test_sort_without_memory_leaves_elements_in_the_source(void **state)
{
    (void)state;
    enum { MANY = 90 };
    const int qd = queue_of(0);
    int sorted = -1;
    must(demi_sort(&sorted, qd, descending, NULL));
    for (uint32_t i = 0; i < MANY; i++)
        send_number(qd, i);
    exhaust();
    wait_enomem(start_pop(sorted));
    relent();
    for (uint32_t i = MANY; i-- > 0;)
        wait_number(start_pop(sorted), i);
    must(demi_close(sorted));
    must(demi_close(qd));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_map_pop_of_a_shared_element_without_memory_keeps_it,
                                        start, end),
        cmocka_unit_test_setup_teardown(test_map_push_without_memory_has_no_effect, start, end),
        cmocka_unit_test_setup_teardown(test_merge_push_without_memory_is_to_both_or_none, start,
                                        end),
        cmocka_unit_test_setup_teardown(test_partition_without_memory_loses_nothing, start, end),
        cmocka_unit_test_setup_teardown(test_sort_without_memory_leaves_elements_in_the_source,
                                        start, end),
    };
    return cmocka_run_group_tests_name("starved", tests, NULL, NULL);
}
