/* SPDX-License-Identifier: MIT */
/*
 * Memory lent to a push: it may be freed at once, and the data arrives as it was; big elements to
 * readers that are slow or do not read.
 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Allocates around a size and fills what it gets: memory freed too early is overwritten now. */
static void scribble(size_t size)
{
    for (int i = 0; i < 8; i++) {
        demi_sgarray_t sga = demi_sgaalloc(size);
        assert_non_null(sga.sga_buf);
        memset(sga.sga_segs[0].sgaseg_buf, 0xdb, size);
        void *heap = malloc(size);
        assert_non_null(heap);
        memset(heap, 0xdb, size);
        free(heap);
        must(demi_sgafree(&sga));
    }
}

static void test_push_freed_at_once_and_memory_reused_arrives_intact(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 500, 1500, 4096, 20000, 60000, 300000, 2000000};
    struct pair pair = pair_make();
    for (size_t i = 0; i < COUNT_OF(sizes) && sizes[i] <= backend()->max_element; i++) {
        demi_sgarray_t sga = pattern_sga(sizes[i], i, 0);
        demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        scribble(sizes[i]);
        demi_qresult_t qr;
        const int early = demi_wait(&qr, qt, ZERO_TIME); /* ends now if it can without a reader */
        scribble(sizes[i]);
        pop_pattern(pair.rx, sizes[i], i, 0);
        if (early != 0) {
            must_fail(early, ETIMEDOUT);
            wait_success(qt, DEMI_OPC_PUSH);
        }
    }
    pair_close(pair);
}

/* After the push completed, the application may do anything with its memory: a late reader sees
 * what was pushed. On queues by reference, memory of the library is handed over instead. */
static void test_push_completed_memory_overwritten_late_reader_sees_what_was_pushed(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 1500, 20000, 60000};
    struct pair pair = pair_make();
    uint64_t at = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const uint64_t from = at;
        char *memory = malloc(sizes[i]);
        pattern_fill(memory, sizes[i], 1, at);
        demi_sgarray_t built = built_sga(memory, sizes[i]);
        push_all(pair.tx, &built);
        at += sizes[i];
        memset(memory, 0xdb, sizes[i]);
        free(memory);
        if (!backend_can(CAN_REFERENCE)) {
            demi_sgarray_t sga = pattern_sga(sizes[i], 1, at);
            push_all(pair.tx, &sga);
            at += sizes[i];
            memset(sga.sga_segs[0].sgaseg_buf, 0xdb, sizes[i]);
            must(demi_sgafree(&sga));
        }
        pop_pattern(pair.rx, at - from, 1, from);
    }
    pair_close(pair);
}

static void test_push_large_by_reference_pops_the_same_memory(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(1 << 20, 1, 0);
    void *memory = sga.sga_segs[0].sgaseg_buf;
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    scribble(1 << 20);
    demi_sgarray_t popped = pop_one(pair.rx);
    assert_ptr_equal(popped.sga_segs[0].sgaseg_buf, memory);
    pattern_check_sga(&popped, 1, 0);
    must(demi_sgafree(&popped));
    pair_close(pair);
}

static void test_push_same_sga_many_times_each_arrives(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(700, 1, 0);
    demi_qtoken_t qts[40];
    for (int i = 0; i < 40; i++)
        qts[i] = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    static uint8_t got[40 * 700];
    for (size_t at = 0; at < sizeof got;) {
        demi_sgarray_t popped = pop_one(pair.rx);
        at += sga_copy_out(&popped, got + at, sizeof got - at);
        assert_true(at <= sizeof got);
        must(demi_sgafree(&popped));
    }
    for (int i = 0; i < 40; i++)
        pattern_check(got + i * 700, 700, 1, 0);
    for (int i = 0; i < 40; i++)
        wait_success(qts[i], DEMI_OPC_PUSH);
    pair_close(pair);
}

/* One byte at a time of the same stream would be another test: pieces here come as they come. */
static void pop_pattern_whole_stream(int qd, size_t len, uint64_t seed)
{
    pop_pattern(qd, len, seed, 0);
    demi_qtoken_t qt = pop_start(qd);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(qt));
}

static void test_push_16_mib_in_one_element_arrives_whole(void **state)
{
    (void)state;
    backend_needs(CAN_RELIABLE);
    const size_t size = 16u << 20;
    if (size > backend()->max_element)
        skip();
    struct pair pair = pair_make();
    demi_sgarray_t sga = pattern_sga(size, 1, 0);
    demi_qtoken_t qt = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    scribble(size);
    pop_pattern_whole_stream(pair.rx, size, 1);
    wait_success(qt, DEMI_OPC_PUSH);
    pair_close(pair);
}

static void test_push_16_mib_of_eight_segments_arrives_whole(void **state)
{
    (void)state;
    backend_needs(CAN_RELIABLE);
    const uint32_t part = 2u << 20;
    if (8 * part > backend()->max_element)
        skip();
    const uint32_t lens[8] = {part, part, part, part, part, part, part, part};
    struct pair pair = pair_make();
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 8);
    for (uint64_t i = 0; i < 8; i++)
        pattern_fill(sga.sga_segs[i].sgaseg_buf, part, 1, i * part);
    demi_qtoken_t qt = push_start(pair.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern_whole_stream(pair.rx, 8ull * part, 1);
    wait_success(qt, DEMI_OPC_PUSH);
    pair_close(pair);
}

static void test_push_to_a_peer_that_never_reads_waits_and_others_are_served(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    struct pair stuck = pair_make();
    struct pair lively = pair_make();
    demi_sgarray_t sga = pattern_sga(48u << 20, 1, 0); /* more than any socket buffer */
    demi_qtoken_t qt = push_start(stuck.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qresult_t qr;
    for (int i = 0; i < 300; i++) {
        demi_sgarray_t ping = pattern_sga(1000, 2, 0);
        push_all(lively.tx, &ping);
        must(demi_sgafree(&ping));
        pop_pattern(lively.rx, 1000, 2, 0);
        must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    }
    must_fail(demi_cancel(qt), EBUSY); /* bytes of it are on their way */
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must(demi_close(stuck.rx)); /* unread data: the peer is reset */
    const int error = wait_failure(qt);
    must_hold(error == ECONNRESET || error == EPIPE, "got %s", errno_name(error));
    must(demi_close(stuck.tx));
    pair_close(lively);
}

/* The sender issues many; the reader starts late, and takes one piece between looks at the sender.
 */
static void test_pushes_to_a_slow_reader_complete_in_order_as_it_reads(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { PUSHES = 128, EACH = 256 * 1024 };
    struct pair pair = pair_make();
    demi_qtoken_t qts[PUSHES];
    for (uint64_t i = 0; i < PUSHES; i++) {
        demi_sgarray_t sga = pattern_sga(EACH, 1, i * EACH);
        qts[i] = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
    }
    uint64_t got = 0;
    int done = 0;
    demi_qresult_t qr;
    while (got < (uint64_t)PUSHES * EACH) {
        demi_sgarray_t sga = pop_one(pair.rx);
        pattern_check_sga(&sga, 1, got);
        got += sga_bytes(&sga);
        must(demi_sgafree(&sga));
        const int later = done + 2;
        if (later < PUSHES && demi_wait(&qr, qts[later], ZERO_TIME) == 0) {
            assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
            must(demi_wait(&qr, qts[done], ZERO_TIME)); /* then the earlier ones are complete too */
            must(demi_wait(&qr, qts[done + 1], ZERO_TIME));
            done += 3;
        }
    }
    for (; done < PUSHES; done++)
        wait_success(qts[done], DEMI_OPC_PUSH);
    pair_close(pair);
}

/* Room came while the library did not look: a later push must not use it before the earlier one. */
static void test_push_behind_a_blocked_one_does_not_overtake_it(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    const size_t big = 24u << 20, small = 1000;
    static uint8_t bytes[1 << 20];
    int qd, fd;
    plain_pair(&qd, &fd);
    demi_sgarray_t first = pattern_sga(big, 1, 0);
    demi_sgarray_t second = pattern_sga(small, 1, big);
    push_start(qd, &first);
    uint64_t got = 0;
    ssize_t n;
    while ((n = plain_take(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        pattern_check(bytes, (size_t)n, 1, got);
        got += (uint64_t)n;
    }
    push_start(qd, &second);
    must(demi_sgafree(&first));
    must(demi_sgafree(&second));
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    while (got < big + small) {
        demi_qresult_t qrs[2];
        int done = 0;
        const int error = demi_wait_some(qrs, 2, &done, ZERO_TIME); /* drives */
        must_hold(error == 0 || error == ETIMEDOUT, "got %s", errno_name(error));
        for (int i = 0; i < done; i++)
            assert_int_equal(qrs[i].qr_opcode, DEMI_OPC_PUSH);
        n = plain_take(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        pattern_check(bytes, n > 0 ? (size_t)n : 0, 1, got);
        got += n > 0 ? (uint64_t)n : 0;
        must_hold(now_ns() < give_up, "%llu bytes arrived", (unsigned long long)got);
    }
    assert_int_equal(got, big + small);
    must(demi_close(qd));
    close(fd);
}

int run_lend_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_push_freed_at_once_and_memory_reused_arrives_intact),
        STARTED(test_push_completed_memory_overwritten_late_reader_sees_what_was_pushed),
        STARTED(test_push_large_by_reference_pops_the_same_memory),
        STARTED(test_push_same_sga_many_times_each_arrives),
        STARTED(test_push_16_mib_in_one_element_arrives_whole),
        STARTED(test_push_16_mib_of_eight_segments_arrives_whole),
        STARTED(test_push_to_a_peer_that_never_reads_waits_and_others_are_served),
        STARTED(test_push_behind_a_blocked_one_does_not_overtake_it),
        STARTED(test_pushes_to_a_slow_reader_complete_in_order_as_it_reads),
    };
    return cmocka_run_group_tests_name("lend", tests, NULL, NULL);
}
