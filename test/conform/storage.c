/* SPDX-License-Identifier: MIT */
/*
 * Logs: records and their numbers, positions, the end, dropping records, what survives whom.
 */
#include "suite.h"

#include <arpa/inet.h>
#include <demi/memory.h>
#include <demi/storage.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A name that no test used before. */
static const char *new_name(void)
{
    static char name[256];
    backend_log_name(name, sizeof name);
    return name;
}

static int open_log(const char *name, int flags)
{
    int qd = -1;
    must(demi_open(&qd, name, flags));
    return qd;
}

/* Record i: its segments have these lengths, and the bytes of pattern i. */
static const uint32_t shapes[][8] = {
    {1}, {4096}, {0, 5, 0}, {100, 200, 300}, {8192, 16}, {70000}, {1, 2, 3, 4, 5, 6, 7, 8}, {0},
};
static const uint32_t num_segs[] = {1, 1, 3, 3, 2, 1, 8, 1};

#define SHAPES COUNT_OF(shapes)

static void push_record(int qd, uint64_t i)
{
    const uint32_t n = num_segs[i % SHAPES];
    const bool is_empty = n == 1 && shapes[i % SHAPES][0] == 0;
    demi_sgarray_t sga = is_empty ? demi_sgaalloc(1) : demi_sgaalloc_segs(shapes[i % SHAPES], n);
    assert_int_equal(sga.sga_numsegs, n);
    if (is_empty)
        sga.sga_segs[0].sgaseg_len = 0;
    for (uint32_t s = 0, at = 0; s < n; at += sga.sga_segs[s++].sgaseg_len)
        pattern_fill(sga.sga_segs[s].sgaseg_buf, sga.sga_segs[s].sgaseg_len, i, at);
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
}

static void push_records(int qd, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        push_record(qd, i);
}

static void check_record(demi_sgarray_t sga, uint64_t i)
{
    must_hold(sga.sga_numsegs == num_segs[i % SHAPES], "record %llu has %u segments",
              (unsigned long long)i, sga.sga_numsegs);
    for (uint32_t s = 0, at = 0; s < sga.sga_numsegs; at += sga.sga_segs[s++].sgaseg_len) {
        assert_int_equal(sga.sga_segs[s].sgaseg_len, shapes[i % SHAPES][s]);
        assert_non_null(sga.sga_segs[s].sgaseg_buf);
        pattern_check(sga.sga_segs[s].sgaseg_buf, sga.sga_segs[s].sgaseg_len, i, at);
    }
    must(demi_sgafree(&sga));
}

static void pop_records(int qd, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        check_record(pop_one(qd), i);
}

static int64_t seek(int qd, int64_t record, int whence)
{
    int64_t pos = -1;
    must(demi_lseek(qd, record, whence, &pos));
    return pos;
}

static void test_storage_records_pop_as_they_were_pushed(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    push_records(qd, 0, 3 * SHAPES);
    pop_records(qd, 0, 3 * SHAPES);
    must(demi_close(qd));
}

static void test_storage_pop_at_the_end_yields_nothing_until_there_is_more(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    for (int i = 0; i < 3; i++)
        pop_end(qd);
    push_records(qd, 0, 2);
    pop_records(qd, 0, 2);
    pop_end(qd);
    push_record(qd, 2);
    check_record(pop_one(qd), 2);
    pop_end(qd);
    must(demi_close(qd));
}

/* A pop that is issued behind a push has what was pushed, though it is not acknowledged yet. */
static void test_storage_pop_behind_a_push_waits_for_it(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    demi_sgarray_t sga = pattern_sga(10, 0, 0);
    demi_qtoken_t push = push_start(qd, &sga);
    demi_qtoken_t pop = pop_start(qd);
    must(demi_sgafree(&sga));
    demi_qresult_t qr = wait_success(pop, DEMI_OPC_POP);
    assert_int_equal(sga_bytes(&qr.qr_value.sga), 10);
    must(demi_sgafree(&qr.qr_value.sga));
    wait_success(push, DEMI_OPC_PUSH);
    must(demi_close(qd));
}

static void test_storage_follow_waits_for_a_push_of_any_queue(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int writer = open_log(name, O_WRONLY | O_CREAT);
    int reader = open_log(name, O_RDONLY | DEMI_O_FOLLOW);
    demi_qtoken_t pops[3] = {pop_start(reader), pop_start(reader), pop_start(reader)};
    demi_qresult_t qr;
    const struct timespec moment = ms_time(5);
    must_fail(demi_wait(&qr, pops[0], &moment), ETIMEDOUT);
    push_records(writer, 0, 2);
    for (uint64_t i = 0; i < 2; i++)
        check_record(wait_success(pops[i], DEMI_OPC_POP).qr_value.sga, i);
    must_fail(demi_wait(&qr, pops[2], &moment), ETIMEDOUT);
    must(demi_cancel(pops[2]));
    push_record(writer, 2);
    check_record(pop_one(reader), 2); /* what was cancelled has taken nothing */
    must(demi_close(reader));
    must(demi_close(writer));
}

static void test_storage_each_queue_has_its_position(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int one = open_log(name, O_RDWR | O_CREAT);
    push_records(one, 0, 10);
    int two = open_log(name, O_RDONLY);
    pop_records(one, 0, 7);
    pop_records(two, 0, 3);
    pop_records(one, 7, 10);
    pop_records(two, 3, 10);
    must(demi_close(one));
    must(demi_close(two));
}

static void test_storage_seek_by_number_and_to_the_ends(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    int64_t pos = 77;
    assert_int_equal(seek(qd, 0, SEEK_END), 0);
    push_records(qd, 0, 10);
    assert_int_equal(seek(qd, 0, SEEK_CUR), 0);
    assert_int_equal(seek(qd, 4, SEEK_SET), 4);
    check_record(pop_one(qd), 4);
    assert_int_equal(seek(qd, 0, SEEK_CUR), 5);
    assert_int_equal(seek(qd, 2, SEEK_CUR), 7);
    check_record(pop_one(qd), 7);
    assert_int_equal(seek(qd, -3, SEEK_CUR), 5);
    check_record(pop_one(qd), 5);
    assert_int_equal(seek(qd, -1, SEEK_END), 9);
    check_record(pop_one(qd), 9);
    pop_end(qd);
    assert_int_equal(seek(qd, 0, SEEK_DATA), 0);
    check_record(pop_one(qd), 0);
    must_fail(demi_lseek(qd, -1, SEEK_SET, &pos), EINVAL);
    must_fail(demi_lseek(qd, 11, SEEK_SET, &pos), EINVAL);
    must_fail(demi_lseek(qd, 1, SEEK_END, &pos), EINVAL);
    must_fail(demi_lseek(qd, INT64_MAX, SEEK_CUR, &pos), EINVAL);
    must_fail(demi_lseek(qd, 0, 99, &pos), EINVAL);
    must_fail(demi_lseek(qd, 0, SEEK_SET, NULL), EINVAL);
    assert_int_equal(pos, 77);
    assert_int_equal(seek(qd, 0, SEEK_CUR), 1); /* what failed has not moved it */
    must(demi_close(qd));
    must_fail(demi_lseek(qd, 0, SEEK_SET, &pos), EBADF);
}

static void test_storage_seek_with_pops_outstanding_is_ebusy(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT | DEMI_O_FOLLOW), derived = -1;
    int64_t pos = -1;
    push_record(qd, 0);
    check_record(pop_one(qd), 0);
    demi_qtoken_t qt = pop_start(qd);
    must_fail(demi_lseek(qd, 0, SEEK_SET, &pos), EBUSY);
    assert_int_equal(seek(qd, 0, SEEK_CUR), 1);
    must(demi_cancel(qt));
    assert_int_equal(seek(qd, 0, SEEK_SET), 0);
    must(demi_merge(&derived, qd, open_log(new_name(), O_RDWR | O_CREAT)));
    must_fail(demi_lseek(qd, 0, SEEK_SET, &pos), EBUSY);
    must(demi_close(derived));
    must(demi_close(qd));
}

static void test_storage_calls_on_other_queues_fail(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = -1;
    int64_t pos = -1;
    must(demi_queue(&qd, 0));
    must_fail(demi_lseek(qd, 0, SEEK_SET, &pos), ESPIPE);
    must_fail(demi_truncate(qd, 0), EINVAL);
    must_fail(demi_trim(qd, 0), EINVAL);
    must(demi_close(qd));
    must_fail(demi_truncate(qd, 0), EBADF);
    must_fail(demi_trim(qd, 0), EBADF);
    must_fail(demi_truncate(-1, 0), EBADF);
}

static void test_storage_truncate_drops_from_a_record_on(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT);
    int behind = open_log(name, O_RDONLY);
    push_records(qd, 0, 10);
    assert_int_equal(seek(behind, 0, SEEK_END), 10);
    pop_records(qd, 0, 3);
    must_fail(demi_truncate(qd, 11), EINVAL);
    must_fail(demi_truncate(qd, -1), EINVAL);
    must(demi_truncate(qd, 6));
    assert_int_equal(seek(behind, 0, SEEK_CUR), 6);
    pop_records(qd, 3, 6);
    pop_end(qd);
    push_records(qd, 6, 9); /* numbers go on where it was cut */
    pop_records(qd, 6, 9);
    pop_records(behind, 6, 9);
    must(demi_truncate(qd, 0));
    pop_end(qd);
    push_record(qd, 0);
    check_record(pop_one(behind), 0);
    must(demi_close(behind));
    must(demi_close(qd));
}

static void test_storage_trim_drops_up_to_a_record(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT);
    int64_t pos = -1;
    push_records(qd, 0, 10);
    must_fail(demi_trim(qd, 11), EINVAL);
    must_fail(demi_trim(qd, -1), EINVAL);
    must(demi_trim(qd, 4));
    assert_int_equal(seek(qd, 0, SEEK_CUR), 4); /* what it stood at is gone */
    must_fail(demi_lseek(qd, 3, SEEK_SET, &pos), EINVAL);
    assert_int_equal(seek(qd, 0, SEEK_DATA), 4);
    assert_int_equal(seek(qd, 6, SEEK_DATA), 6);
    assert_int_equal(seek(qd, 0, SEEK_DATA), 4);
    pop_records(qd, 4, 10);
    int later = open_log(name, O_RDONLY);
    check_record(pop_one(later), 4);
    must(demi_trim(qd, 10));
    pop_end(later);
    push_record(qd, 10);
    check_record(pop_one(later), 10);
    must(demi_close(later));
    must(demi_close(qd));
}

static void test_storage_flags(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int qd = -1, again = -1;
    demi_qtoken_t qt;
    demi_sgarray_t sga = pattern_sga(1, 0, 0);
    must_fail(demi_open(&qd, name, O_RDWR), ENOENT);
    must_fail(demi_open(&qd, name, O_RDWR | O_CREAT | O_DIRECTORY), EINVAL);
    must_fail(demi_open(&qd, name, O_ACCMODE | O_CREAT), EINVAL);
    must_fail(demi_open(&qd, name, O_RDONLY | O_CREAT | O_TRUNC), EINVAL);
    must_fail(demi_open(NULL, name, O_RDWR), EINVAL);
    must_fail(demi_open(&qd, NULL, O_RDWR), EINVAL);
    must_fail(demi_open(&qd, "", O_RDWR | O_CREAT), ENOENT);
    assert_int_equal(qd, -1);
    must(demi_open(&qd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NONBLOCK | O_APPEND));
    must_fail(demi_open(&again, name, O_RDWR | O_CREAT | O_EXCL), EEXIST);
    must(demi_open(&again, name, O_RDONLY));
    must_fail(demi_push(&qt, again, &sga), EBADF);
    must_fail(demi_truncate(again, 0), EBADF);
    must_fail(demi_trim(again, 0), EBADF);
    must(demi_close(again));
    must(demi_open(&again, name, O_WRONLY));
    must_fail(demi_pop(&qt, again), EBADF);
    push_all(again, &sga);
    must(demi_close(again));
    pop_pattern(qd, 1, 0, 0);
    must(demi_open(&again, name, O_RDWR | O_TRUNC));
    assert_int_equal(seek(again, 0, SEEK_END), 0);
    pop_end(qd);
    push_all(again, &sga);
    pop_pattern(qd, 1, 0, 0); /* its position is the new begin */
    must(demi_close(again));
    must(demi_creat(&again, name, 0600));
    assert_int_equal(seek(again, 0, SEEK_END), 0);
    must(demi_sgafree(&sga));
    must(demi_close(again));
    must(demi_close(qd));
}

static void test_storage_names_that_cannot_be(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    char name[5000];
    int qd = -1;
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    must_fail(demi_open(&qd, name, O_RDWR | O_CREAT), ENAMETOOLONG);
    must_either(demi_open(&qd, "no/such/place", O_RDWR | O_CREAT), EINVAL, ENOENT);
    must_either(demi_unlink("no/such/place"), EINVAL, ENOENT);
    must_fail(demi_unlink(NULL), EINVAL);
    must_fail(demi_unlink(new_name()), ENOENT);
}

static void test_storage_unlinked_log_goes_on_until_it_is_closed(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT), other = -1;
    push_records(qd, 0, 3);
    must(demi_unlink(name));
    must_fail(demi_unlink(name), ENOENT);
    must_fail(demi_open(&other, name, O_RDWR), ENOENT);
    push_records(qd, 3, 5);
    pop_records(qd, 0, 5);
    other = open_log(name, O_RDWR | O_CREAT); /* another one of that name */
    pop_end(other);
    push_record(other, 7);
    pop_end(qd);
    must(demi_close(qd));
    check_record(pop_one(other), 7);
    must(demi_close(other));
    must(demi_unlink(name));
}

static void test_storage_memory_freed_at_once_is_what_is_stored(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    enum { N = 64 };
    static const size_t sizes[] = {10, 4096, 8192, 65536};
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    demi_qtoken_t qts[N];
    demi_qresult_t results[N];
    for (uint64_t i = 0; i < N; i++) {
        demi_sgarray_t sga = pattern_sga(sizes[i % COUNT_OF(sizes)], i, 0);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
        void *junk = demi_malloc(sizes[i % COUNT_OF(sizes)]); /* it is not that memory */
        memset(junk, 0x5a, sizes[i % COUNT_OF(sizes)]);
        demi_free(junk);
    }
    must(demi_wait_all(results, qts, N, NULL));
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(results[i].qr_opcode, DEMI_OPC_PUSH);
    for (uint64_t i = 0; i < N; i++)
        pop_pattern(qd, sizes[i % COUNT_OF(sizes)], i, 0);
    must(demi_close(qd));
}

static void test_storage_aligned_pages_are_written_from_where_they_are(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    enum { BYTES = 65536 };
    uint64_t before = 0, after = 0;
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    uint8_t *pages = demi_aligned_alloc(4096, BYTES);
    assert_non_null(pages);
    pattern_fill(pages, BYTES, 3, 0);
    demi_sgarray_t sga = built_sga(pages, BYTES);
    assert_true(stat_value("store.placed_bytes", &before));
    push_all(qd, &sga);
    demi_free(pages);
    assert_true(stat_value("store.placed_bytes", &after));
    assert_int_equal(after - before, BYTES);
    pop_pattern(qd, BYTES, 3, 0);
    must(demi_close(qd));
}

static void test_storage_async_pushes_are_read_and_kept(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT | DEMI_O_ASYNC);
    push_records(qd, 0, 20);
    pop_records(qd, 0, 20);
    pop_end(qd);
    push_records(qd, 20, 30);
    must(demi_close(qd));
    qd = open_log(name, O_RDONLY);
    pop_records(qd, 0, 30);
    pop_end(qd);
    must(demi_close(qd));
}

static void test_storage_close_carries_out_what_was_pushed(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    enum { N = 20 };
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT);
    demi_qtoken_t qts[N];
    for (uint64_t i = 0; i < N; i++) {
        demi_sgarray_t sga = pattern_sga(100, i, 0);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_close(qd));
    int again = open_log(name, O_RDONLY);
    for (uint64_t i = 0; i < N; i++)
        wait_success(qts[i], DEMI_OPC_PUSH);
    for (uint64_t i = 0; i < N; i++)
        pop_pattern(again, 100, i, 0);
    must(demi_close(again));
}

static void test_storage_push_larger_than_a_segment_is_emsgsize(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT);
    demi_sgarray_t sga = demi_sgaalloc((size_t)1 << 30);
    demi_qtoken_t qt;
    if (sga.sga_numsegs == 1) {
        must_fail(demi_push(&qt, qd, &sga), EMSGSIZE);
        must(demi_sgafree(&sga));
    }
    push_record(qd, 0); /* it has done no harm */
    check_record(pop_one(qd), 0);
    must(demi_close(qd));
}

/* --- operators ------------------------------------------------------------------------------- */

static bool is_even(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return *(const uint8_t *)sga->sga_segs[0].sgaseg_buf % 2 == 0;
}

static void push_number(int qd, uint8_t n)
{
    demi_sgarray_t sga = demi_sgaalloc(1);
    *(uint8_t *)sga.sga_segs[0].sgaseg_buf = n;
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
}

static uint8_t pop_number(int qd)
{
    demi_sgarray_t sga = pop_one(qd);
    assert_int_equal(sga_bytes(&sga), 1);
    const uint8_t n = *(const uint8_t *)sga.sga_segs[0].sgaseg_buf;
    must(demi_sgafree(&sga));
    return n;
}

static void test_storage_filter_reads_a_log_to_its_end(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int qd = open_log(new_name(), O_RDWR | O_CREAT), even = -1;
    for (uint8_t i = 0; i < 10; i++)
        push_number(qd, i);
    must(demi_filter(&even, qd, is_even, NULL));
    for (uint8_t i = 0; i < 10; i += 2)
        assert_int_equal(pop_number(even), i);
    pop_end(even);
    push_number(even, 11); /* is not passed on */
    push_number(even, 12);
    assert_int_equal(pop_number(even), 12);
    pop_end(even);
    must(demi_close(even));
    assert_int_equal(seek(qd, 0, SEEK_CUR), 11); /* only even ones were appended since */
    must(demi_close(qd));
}

static int flip(demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < sga->sga_segs[0].sgaseg_len; i++)
        ((uint8_t *)sga->sga_segs[0].sgaseg_buf)[i] ^= 0xff;
    return 0;
}

static void test_storage_map_changes_what_is_stored(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT), mapped = -1;
    must(demi_map_dir(&mapped, qd, flip, flip, NULL));
    demi_sgarray_t sga = pattern_sga(5000, 1, 0);
    push_all(mapped, &sga);
    pattern_check_sga(&sga, 1, 0);
    must(demi_sgafree(&sga));
    int plain = open_log(name, O_RDONLY);
    sga = pop_one(plain);
    assert_int_equal(*(uint8_t *)sga.sga_segs[0].sgaseg_buf, pattern_byte(1, 0) ^ 0xff);
    must(demi_sgafree(&sga));
    pop_pattern(mapped, 5000, 1, 0);
    must(demi_close(mapped));
    must(demi_close(plain));
    must(demi_close(qd));
}

static void test_storage_qconnect_copies_a_log_to_its_end(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE);
    int from = open_log(new_name(), O_RDWR | O_CREAT), to = open_log(new_name(), O_RDWR | O_CREAT);
    demi_qtoken_t qt = 0;
    push_records(from, 0, 50);
    must(demi_qconnect_watch(&qt, from, to));
    wait_success(qt, DEMI_OPC_CLOSE);
    pop_records(to, 0, 50);
    pop_end(to);
    must(demi_close(from));
    must(demi_close(to));
}

/* --- with sockets ---------------------------------------------------------------------------- */

/* Two connected stream sockets of whatever library OS the backend has beside it. */
static void connect_sockets(int *client_out, int *server_out)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = -1;
    demi_qtoken_t accepting, connecting;
    must(demi_socket(&listener, AF_INET, SOCK_STREAM, 0));
    must(demi_bind(listener, (struct sockaddr *)&addr, len));
    must(demi_getsockname(listener, (struct sockaddr *)&addr, &len));
    must(demi_listen(listener, 1));
    must(demi_accept(&accepting, listener));
    must(demi_socket(client_out, AF_INET, SOCK_STREAM, 0));
    must(demi_connect(&connecting, *client_out, (struct sockaddr *)&addr, len));
    *server_out = wait_success(accepting, DEMI_OPC_ACCEPT).qr_value.ares.qd;
    wait_success(connecting, DEMI_OPC_CONNECT);
    must(demi_close(listener));
}

static void need_sockets(void)
{
    int qd = -1;
    backend_needs(CAN_STORAGE);
    if (demi_socket(&qd, AF_INET, SOCK_STREAM, 0) != 0)
        skip();
    must(demi_close(qd));
}

/* A server in one wait_any: what arrives is appended, and answered when it is on the log. */
static void test_storage_one_wait_any_over_sockets_and_logs(void **state)
{
    (void)state;
    need_sockets();
    enum { ROUNDS = 200 };
    const char *name = new_name();
    int client, server, log = open_log(name, O_RDWR | O_CREAT);
    connect_sockets(&client, &server);
    demi_qtoken_t qts[2] = {pop_start(server), 0};
    uint32_t appended = 0, answered = 0;
    demi_sgarray_t request = pattern_sga(100, 0, 0);
    demi_qtoken_t sent = push_start(client, &request);
    must(demi_sgafree(&request));
    while (answered < ROUNDS) {
        const struct timespec patience = {PATIENCE_S, 0};
        demi_qresult_t qr;
        int at = -1;
        must(demi_wait_any(&qr, &at, qts, qts[1] ? 2 : 1, &patience));
        if (qr.qr_qd == server) {
            assert_int_equal(qr.qr_opcode, DEMI_OPC_POP);
            pattern_check_sga(&qr.qr_value.sga, appended, 0);
            qts[1] = push_start(log, &qr.qr_value.sga);
            must(demi_sgafree(&qr.qr_value.sga));
            qts[0] = pop_start(server);
            appended++;
            continue;
        }
        assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
        qts[1] = 0;
        wait_success(sent, DEMI_OPC_PUSH);
        answered++;
        request = pattern_sga(100, answered, 0);
        sent = push_start(client, &request);
        must(demi_sgafree(&request));
    }
    for (uint32_t i = 0; i < ROUNDS; i++)
        pop_pattern(log, 100, i, 0);
    must(demi_close(client));
    must(demi_close(server));
    must(demi_close(log));
}

static void test_storage_qconnect_sends_a_log_over_a_socket(void **state)
{
    (void)state;
    need_sockets();
    int client, server, log = open_log(new_name(), O_RDWR | O_CREAT);
    for (uint64_t at = 0; at < 100000; at += 1000) {
        demi_sgarray_t sga = pattern_sga(1000, 9, at);
        push_all(log, &sga);
        must(demi_sgafree(&sga));
    }
    connect_sockets(&client, &server);
    must(demi_qconnect(log, client));
    pop_pattern(server, 100000, 9, 0);
    pop_end(server);
    must(demi_close(client));
    must(demi_close(server));
    must(demi_close(log));
}

/* --- other processes ------------------------------------------------------------------------- */

static void test_storage_log_is_there_after_the_library_ended(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT);
    push_records(qd, 0, 30);
    must(demi_trim(qd, 5));
    must(demi_fini());
    must(demi_init(NULL));
    qd = open_log(name, O_RDWR);
    assert_int_equal(seek(qd, 0, SEEK_CUR), 5);
    pop_records(qd, 5, 30);
    push_records(qd, 30, 33);
    pop_records(qd, 30, 33);
    must(demi_close(qd));
    must(demi_unlink(name));
}

static void test_storage_second_process_is_ebusy(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    const char *name = new_name();
    int qd = open_log(name, O_RDWR | O_CREAT);
    push_record(qd, 0);
    int pid = child_fork();
    if (pid == 0) {
        int other = -1;
        CHILD(demi_init(NULL) == 0);
        CHILD(demi_open(&other, name, O_RDWR) == EBUSY);
        CHILD(demi_fini() == 0);
        child_exit(0);
    }
    assert_int_equal(child_wait(pid), 0);
    check_record(pop_one(qd), 0); /* the child has harmed nothing */
    must(demi_close(qd));
    pid = child_fork();
    if (pid == 0) {
        int other = -1;
        CHILD(demi_init(NULL) == 0);
        CHILD(demi_open(&other, name, O_RDWR) == 0);
        CHILD(demi_fini() == 0);
        child_exit(0);
    }
    assert_int_equal(child_wait(pid), 0);
    must(demi_unlink(name));
}

/* Appends to `name` in a child until it is killed; says on a pipe what was acknowledged. */
static void child_appends(const char *name, int flags, int out)
{
    const struct timespec patience = {PATIENCE_S, 0};
    int qd = -1;
    CHILD(demi_init(NULL) == 0);
    CHILD(demi_open(&qd, name, flags) == 0);
    int64_t next = -1;
    CHILD(demi_lseek(qd, 0, SEEK_END, &next) == 0);
    for (;; next++) {
        const size_t bytes = 10 + (size_t)next % 7 * 1000;
        demi_sgarray_t sga = demi_sgaalloc(bytes);
        demi_qtoken_t qt;
        demi_qresult_t qr;
        pattern_fill(sga.sga_segs[0].sgaseg_buf, bytes, (uint64_t)next, 0);
        CHILD(demi_push(&qt, qd, &sga) == 0);
        CHILD(demi_sgafree(&sga) == 0);
        CHILD(demi_wait(&qr, qt, &patience) == 0 && qr.qr_opcode == DEMI_OPC_PUSH);
        CHILD(write(out, &next, sizeof next) == sizeof next);
    }
}

/* Reads all there is of a log that child_appends wrote; returns how many records. */
static int64_t check_appended(const char *name)
{
    int qd = open_log(name, O_RDONLY);
    int64_t end = seek(qd, 0, SEEK_END);
    assert_int_equal(seek(qd, 0, SEEK_SET), 0);
    for (int64_t i = 0; i < end; i++)
        pop_pattern(qd, 10 + (size_t)i % 7 * 1000, (uint64_t)i, 0);
    pop_end(qd);
    must(demi_close(qd));
    return end;
}

static void test_storage_what_was_acknowledged_survives_kill(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    const char *name = new_name();
    uint64_t seed = seed_choose("moments of kill");
    int64_t acknowledged = -1;
    must(demi_fini());
    for (int round = 0; round < 10; round++) {
        int fds[2];
        int64_t next;
        assert_int_equal(pipe(fds), 0);
        int pid = child_fork();
        if (pid == 0)
            child_appends(name, O_RDWR | O_CREAT, fds[1]);
        close(fds[1]);
        for (uint32_t n = random_below(&seed, 50) + 1; n > 0; n--)
            if (read(fds[0], &next, sizeof next) == sizeof next)
                acknowledged = next;
        kill(pid, SIGKILL);
        while (read(fds[0], &next, sizeof next) == sizeof next)
            acknowledged = next;
        close(fds[0]);
        assert_true(WIFSIGNALED(child_wait(pid)));
        must(demi_init(NULL));
        must_hold(check_appended(name) > acknowledged, "record %lld is lost",
                  (long long)acknowledged);
        must(demi_fini());
    }
    assert_true(acknowledged >= 10);
    must(demi_init(NULL));
    must(demi_unlink(name));
}

/* exit() is the end of the process, and not of what it pushed. */
static void exit_with_pushes_outstanding(int flags)
{
    enum { N = 100 };
    const char *name = new_name();
    must(demi_fini());
    int pid = child_fork();
    if (pid == 0) {
        int qd = -1;
        CHILD(demi_init(NULL) == 0);
        CHILD(demi_open(&qd, name, O_RDWR | O_CREAT | flags) == 0);
        for (uint64_t i = 0; i < N; i++) {
            demi_sgarray_t sga = demi_sgaalloc(10 + i % 7 * 1000);
            demi_qtoken_t qt;
            pattern_fill(sga.sga_segs[0].sgaseg_buf, 10 + i % 7 * 1000, i, 0);
            CHILD(demi_push(&qt, qd, &sga) == 0);
            CHILD(demi_sgafree(&sga) == 0);
        }
        exit(0);
    }
    assert_int_equal(child_wait(pid), 0);
    must(demi_init(NULL));
    assert_int_equal(check_appended(name), N);
    must(demi_unlink(name));
}

static void test_storage_exit_drains_pushes(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    exit_with_pushes_outstanding(0);
}

static void test_storage_exit_drains_async_pushes(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    exit_with_pushes_outstanding(DEMI_O_ASYNC);
}

/* --- files ----------------------------------------------------------------------------------- */

static void test_storage_file_of_someone_else_is_refused(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    const char *name = new_name();
    int qd = -1, fd = open(name, O_RDWR | O_CREAT, 0600);
    char text[8192];
    memset(text, 'x', sizeof text);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    must_either(demi_open(&qd, name, O_RDWR), EMEDIUMTYPE, EUCLEAN);
    must_either(demi_open(&qd, name, O_RDWR | O_CREAT | O_TRUNC), EMEDIUMTYPE, EUCLEAN);
    must_fail(demi_unlink(name), EMEDIUMTYPE);
    char now[8192];
    assert_int_equal(pread(fd, now, sizeof now, 0), sizeof now);
    assert_memory_equal(text, now, sizeof text);
    close(fd);
    assert_int_equal(unlink(name), 0);
}

static void test_storage_file_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    const char *name = new_name();
    struct stat st;
    char other[300];
    int qd = -1, fd = open(name, O_RDWR | O_CREAT, 0600); /* an empty one is nobody's */
    close(fd);
    must_fail(demi_open(&qd, name, O_RDWR | O_CREAT | O_EXCL), EEXIST);
    qd = open_log(name, O_RDWR | O_CREAT);
    push_record(qd, 0);
    check_record(pop_one(qd), 0);
    snprintf(other, sizeof other, "%s.new", name);
    assert_int_not_equal(stat(other, &st), 0);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    must(demi_close(qd));
    must(demi_unlink(name));
    /* What a process left that was killed in the middle. */
    fd = open(other, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "half", 4), 4);
    close(fd);
    must(demi_creat(&qd, name, 0640));
    push_record(qd, 0);
    assert_int_equal(stat(name, &st), 0);
    must(demi_close(qd));
    must(demi_unlink(name));
}

static void test_storage_file_by_another_name_is_the_same_log(void **state)
{
    (void)state;
    backend_needs(CAN_STORAGE | CAN_LAST);
    const char *name = new_name();
    char other[300];
    snprintf(other, sizeof other, "./%s", name);
    int qd = open_log(name, O_RDWR | O_CREAT), same = open_log(other, O_RDWR);
    push_record(qd, 0);
    check_record(pop_one(same), 0);
    must(demi_close(qd));
    must(demi_close(same));
    must(demi_unlink(name));
}

int run_storage_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_storage_records_pop_as_they_were_pushed),
        STARTED(test_storage_pop_at_the_end_yields_nothing_until_there_is_more),
        STARTED(test_storage_pop_behind_a_push_waits_for_it),
        STARTED(test_storage_follow_waits_for_a_push_of_any_queue),
        STARTED(test_storage_each_queue_has_its_position),
        STARTED(test_storage_seek_by_number_and_to_the_ends),
        STARTED(test_storage_seek_with_pops_outstanding_is_ebusy),
        STARTED(test_storage_calls_on_other_queues_fail),
        STARTED(test_storage_truncate_drops_from_a_record_on),
        STARTED(test_storage_trim_drops_up_to_a_record),
        STARTED(test_storage_flags),
        STARTED(test_storage_names_that_cannot_be),
        STARTED(test_storage_unlinked_log_goes_on_until_it_is_closed),
        STARTED(test_storage_memory_freed_at_once_is_what_is_stored),
        STARTED(test_storage_aligned_pages_are_written_from_where_they_are),
        STARTED(test_storage_async_pushes_are_read_and_kept),
        STARTED(test_storage_close_carries_out_what_was_pushed),
        STARTED(test_storage_push_larger_than_a_segment_is_emsgsize),
        STARTED(test_storage_filter_reads_a_log_to_its_end),
        STARTED(test_storage_map_changes_what_is_stored),
        STARTED(test_storage_qconnect_copies_a_log_to_its_end),
        STARTED(test_storage_one_wait_any_over_sockets_and_logs),
        STARTED(test_storage_qconnect_sends_a_log_over_a_socket),
        STARTED(test_storage_log_is_there_after_the_library_ended),
        STARTED(test_storage_second_process_is_ebusy),
        STARTED(test_storage_what_was_acknowledged_survives_kill),
        STARTED(test_storage_exit_drains_pushes),
        STARTED(test_storage_exit_drains_async_pushes),
        STARTED(test_storage_file_of_someone_else_is_refused),
        STARTED(test_storage_file_is_made_whole_or_not_at_all),
        STARTED(test_storage_file_by_another_name_is_the_same_log),
    };
    return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
