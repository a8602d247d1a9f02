/* SPDX-License-Identifier: MIT */
/*
 * No copy where none is claimed: memory of demi_malloc is pushed from any place inside its objects,
 * freed or moved in flight, and received data is passed on; the counters of copies say which bytes
 * were copied, and why.
 */
#include "suite.h"

#include <demi/memory.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THRESHOLD = 1024 }; /* of these tests, whatever the default is */

#define MIB ((size_t)1 << 20)

/* --- counters --------------------------------------------------------------------------------- */

enum counter { FOREIGN, SMALL, POOL, REFUSED, CAUSES };

struct copies {
    uint64_t times[CAUSES];
    uint64_t bytes[CAUSES];
    uint64_t references;
    uint64_t deferred;
};

static uint64_t counted(const char *name)
{
    uint64_t value = 0;
    must_hold(stat_value(name, &value), "no counter %s", name);
    return value;
}

static struct copies copies_now(void)
{
    return (struct copies){
        .times = {counted("mem.copies_foreign"), counted("mem.copies_small"),
                  counted("mem.copies_pool"), counted("mem.copies_refused")},
        .bytes = {counted("mem.copied_bytes_foreign"), counted("mem.copied_bytes_small"),
                  counted("mem.copied_bytes_pool"), counted("mem.copied_bytes_refused")},
        .references = counted("mem.references"),
        .deferred = counted("mem.deferred_frees"),
    };
}

static const char *const cause_names[CAUSES] = {"foreign", "small", "pool", "refused"};

/* Since before, so many copies of so many bytes in all were made for a cause. */
static void must_have_copied(const struct copies *before, enum counter cause, uint64_t times,
                             uint64_t bytes)
{
    const struct copies now = copies_now();
    must_hold(now.times[cause] - before->times[cause] == times &&
                  now.bytes[cause] - before->bytes[cause] == bytes,
              "%llu copies of %llu bytes (%s), must be %llu of %llu",
              (unsigned long long)(now.times[cause] - before->times[cause]),
              (unsigned long long)(now.bytes[cause] - before->bytes[cause]), cause_names[cause],
              (unsigned long long)times, (unsigned long long)bytes);
}

static void must_have_copied_nothing(const struct copies *before)
{
    for (int cause = 0; cause < CAUSES; cause++)
        must_have_copied(before, (enum counter)cause, 0, 0);
}

/* --- sgas over objects of the application ------------------------------------------------------
 */

enum { BEFORE = 40, BEHIND = 24 }; /* bytes of an object that are not pushed */

/* n segments, each from the middle of an object of its own; the pattern goes on through them. */
static demi_sgarray_t object_sga(uint32_t n, const uint32_t lens[], uint64_t seed, char *objects[])
{
    demi_sgarray_t sga;
    uint64_t at = 0;
    memset(&sga, 0, sizeof sga);
    sga.sga_numsegs = n;
    for (uint32_t i = 0; i < n; i++) {
        objects[i] = demi_malloc(BEFORE + lens[i] + BEHIND);
        assert_non_null(objects[i]);
        memset(objects[i], 0x5a, BEFORE + lens[i] + BEHIND);
        sga.sga_segs[i] = (demi_sgaseg_t){objects[i] + BEFORE, lens[i]};
        pattern_fill(objects[i] + BEFORE, lens[i], seed, at);
        at += lens[i];
    }
    return sga;
}

static demi_sgarray_t one_object_sga(uint32_t len, uint64_t seed, char **object)
{
    return object_sga(1, &len, seed, object);
}

static void free_objects(uint32_t n, char *const objects[])
{
    for (uint32_t i = 0; i < n; i++)
        demi_free(objects[i]);
}

/* Allocates around a size and writes to it: memory given up too early is overwritten now. */
static void scribble(size_t size)
{
    char *held[12];
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        held[i] = demi_malloc(BEFORE + size + BEHIND);
        assert_non_null(held[i]);
        memset(held[i], 0xdb, BEFORE + size + BEHIND);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        demi_free(held[i]);
}

/* Ends a push whose data was popped. */
static void finish(demi_qtoken_t qt)
{
    wait_success(qt, DEMI_OPC_PUSH);
}

static void must_be_same_segments(const demi_sgarray_t *a, const demi_sgarray_t *b)
{
    assert_int_equal(a->sga_numsegs, b->sga_numsegs);
    for (uint32_t i = 0; i < a->sga_numsegs; i++) {
        assert_ptr_equal(a->sga_segs[i].sgaseg_buf, b->sga_segs[i].sgaseg_buf);
        assert_int_equal(a->sga_segs[i].sgaseg_len, b->sga_segs[i].sgaseg_len);
    }
}

/* Starts the library with a configuration of this test's own. */
static void starting_with(const char *key, const char *value)
{
    setenv(key, value, 1);
    must(demi_init(NULL));
    unsetenv(key);
}

/* --- by reference ------------------------------------------------------------------------------
 */

static void test_push_from_the_middle_of_objects_copies_nothing(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    for (uint32_t n = 1; n <= DEMI_SGARRAY_MAXSIZE; n++)
        for (uint32_t extra = 0; extra < 7000; extra += 997) {
            char *objects[DEMI_SGARRAY_MAXSIZE];
            uint32_t lens[DEMI_SGARRAY_MAXSIZE];
            for (uint32_t i = 0; i < n; i++)
                lens[i] = THRESHOLD + (i % 2 == 0 ? extra : 0);
            const struct copies before = copies_now();
            const demi_sgarray_t sga = object_sga(n, lens, extra, objects);
            const demi_qtoken_t qt = push_start(pair.tx, &sga);
            pop_pattern(pair.rx, sga_bytes(&sga), extra, 0);
            finish(qt);
            must_have_copied_nothing(&before);
            free_objects(n, objects);
        }
    pair_close(pair);
}

static void test_push_by_reference_pops_the_same_addresses(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    static const uint32_t lens[DEMI_SGARRAY_MAXSIZE] = {THRESHOLD, 5000,      300000, 1 << 20,
                                                        3 << 20,   THRESHOLD, 4096,   65536};
    struct pair pair = pair_make();
    for (uint32_t n = 1; n <= DEMI_SGARRAY_MAXSIZE; n++) {
        char *objects[DEMI_SGARRAY_MAXSIZE];
        const struct copies before = copies_now();
        const uint64_t large = counted("mem.large_objects");
        const demi_sgarray_t sga = object_sga(n, lens, n, objects);
        push_all(pair.tx, &sga);
        assert_int_equal(counted("mem.references"), before.references + n);
        demi_sgarray_t popped = pop_one(pair.rx);
        must_be_same_segments(&popped, &sga);
        assert_non_null(popped.sga_buf);
        free_objects(n, objects);
        assert_int_equal(counted("mem.deferred_frees"), before.deferred + n);
        for (uint32_t i = 0; i < n; i++)
            scribble(lens[i] > 300000 ? 300000 : lens[i]);
        pattern_check_sga(&popped, n, 0);
        must(demi_sgafree(&popped));
        must_fail(demi_sgafree(&popped), EINVAL);
        must_have_copied_nothing(&before);
        assert_int_equal(counted("mem.large_objects"), large);
    }
    pair_close(pair);
}

static void test_push_freed_at_once_arrives_intact(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1,     100,   THRESHOLD - 1, THRESHOLD, 5000,
                                     20000, 60000, 300000,        2000000};
    struct pair pair = pair_make();
    for (size_t i = 0; i < COUNT_OF(sizes) && sizes[i] <= backend()->max_element; i++) {
        char *object;
        const demi_sgarray_t sga = one_object_sga(sizes[i], i, &object);
        const demi_qtoken_t qt = push_start(pair.tx, &sga);
        demi_free(object);
        scribble(sizes[i]);
        pop_pattern(pair.rx, sizes[i], i, 0);
        finish(qt);
    }
    pair_close(pair);
}

static void test_push_reallocated_at_once_arrives_intact(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {THRESHOLD, 5000, 60000, 300000, 2000000};
    struct pair pair = pair_make();
    for (size_t i = 0; i < COUNT_OF(sizes) && sizes[i] <= backend()->max_element; i++)
        for (int grow = -1; grow <= 1; grow++) {
            char *object;
            const demi_sgarray_t sga = one_object_sga(sizes[i], i, &object);
            const size_t size = BEFORE + sizes[i] + BEHIND;
            const demi_qtoken_t qt = push_start(pair.tx, &sga);
            char *moved = demi_realloc(object, grow < 0 ? size / 2 : grow > 0 ? size * 2 : size);
            assert_non_null(moved);
            assert_true(!backend_can(CAN_REFERENCE) || moved != object);
            pattern_check(moved + BEFORE, size / 2 - BEFORE, i, 0);
            memset(moved, 0xdb, size / 2);
            scribble(sizes[i]);
            pop_pattern(pair.rx, sizes[i], i, 0);
            finish(qt);
            demi_free(moved);
        }
    pair_close(pair);
}

/* Overlapping parts of one object, in several elements, cloned, freed in the midst of it. */
static void test_object_in_many_elements_and_clones_lives_until_the_last(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    enum { TIMES = 200, LEN = 400000 }; /* more references than a byte counts */
    struct pair pair = pair_make();
    static demi_sgarray_t popped[TIMES], clones[TIMES];
    const uint64_t large = counted("mem.large_objects");
    const struct copies before = copies_now();
    char *object = demi_malloc(LEN);
    pattern_fill(object, LEN, 1, 0);
    for (uint32_t i = 0; i < TIMES; i++) {
        demi_sgarray_t sga = built_sga(object + i, LEN / 2);
        sga.sga_numsegs = 2;
        sga.sga_segs[1] = (demi_sgaseg_t){object + LEN / 4 + i, LEN / 2};
        push_all(pair.tx, &sga);
        if (i == TIMES / 2)
            demi_free(object); /* held by the elements before */
        popped[i] = pop_one(pair.rx);
        must(demi_sgaclone(&clones[i], &popped[i]));
        if (i % 2 == 0)
            must(demi_sgafree(&popped[i]));
    }
    scribble(LEN);
    for (uint32_t i = 0; i < TIMES; i++) {
        pattern_check(clones[i].sga_segs[0].sgaseg_buf, LEN / 2, 1, i);
        pattern_check(clones[i].sga_segs[1].sgaseg_buf, LEN / 2, 1, LEN / 4 + i);
        if (i % 2 == 1)
            must(demi_sgafree(&popped[i]));
        assert_int_equal(counted("mem.large_objects"), large + 1);
        must(demi_sgafree(&clones[i]));
    }
    assert_int_equal(counted("mem.large_objects"), large);
    must_have_copied_nothing(&before);
    pair_close(pair);
}

/* --- pushes that a socket does not take at once ------------------------------------------------
 */

/* Pushes more than any socket buffer takes, frees it, and then reads. */
static void push_that_is_held(struct pair pair, uint32_t n, uint32_t len,
                              const struct copies *before)
{
    char *objects[DEMI_SGARRAY_MAXSIZE];
    uint32_t lens[DEMI_SGARRAY_MAXSIZE];
    for (uint32_t i = 0; i < n; i++)
        lens[i] = len;
    const demi_sgarray_t sga = object_sga(n, lens, n, objects);
    const demi_qtoken_t qt = push_start(pair.tx, &sga);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    assert_int_equal(counted("mem.references"), before->references + n);
    free_objects(n, objects);
    assert_int_equal(counted("mem.deferred_frees"), before->deferred + n);
    scribble(len < MIB ? len : MIB);
    pop_pattern(pair.rx, (size_t)n * len, n, 0);
    finish(qt);
}

static void test_push_held_by_a_socket_copies_nothing(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    for (uint32_t n = 1; n <= DEMI_SGARRAY_MAXSIZE; n += 7) {
        struct pair pair = pair_make();
        const struct copies before = copies_now();
        push_that_is_held(pair, n, (uint32_t)(24 * MIB / n), &before);
        must_have_copied_nothing(&before);
        pair_close(pair);
    }
}

static void test_push_of_foreign_memory_held_by_a_socket_is_copied_once(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    const size_t len = 24 * MIB;
    struct pair pair = pair_make();
    char *foreign = malloc(len);
    pattern_fill(foreign, len, 1, 0);
    const struct copies before = copies_now();
    const demi_sgarray_t sga = built_sga(foreign, len);
    const demi_qtoken_t qt = push_start(pair.tx, &sga);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    memset(foreign, 0xdb, len);
    free(foreign);
    pop_pattern(pair.rx, len, 1, 0);
    finish(qt);
    const struct copies after = copies_now();
    assert_int_equal(after.times[FOREIGN], before.times[FOREIGN] + 1);
    const uint64_t bytes = after.bytes[FOREIGN] - before.bytes[FOREIGN];
    must_hold(bytes > 0 && bytes <= len, "%llu bytes",
              (unsigned long long)bytes); /* not sent yet */
    must_have_copied(&before, SMALL, 0, 0);
    pair_close(pair);
}

/* A stack of our own copies what it was lent for longer than push_hold_us: of a push that it takes
 * in parts only what is left when it has the last, however long the reader took. */
static void test_push_in_parts_copies_no_more_than_is_held_at_its_end(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    uint64_t before, after;
    if (!stat_value("tcp.push_hold_copied_bytes", &before))
        skip();
    const uint32_t len = 24 * MIB;
    struct pair pair = pair_make();
    /* And no more: both would grow by themselves, a reader's to more than is left at last. */
    const int size = 256 << 10;
    must(demi_setsockopt(pair.tx, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    must(demi_setsockopt(pair.rx, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
    char *object;
    const demi_sgarray_t sga = one_object_sga(len, 1, &object);
    const demi_qtoken_t qt = push_start(pair.tx, &sga);
    demi_qresult_t qr;
    const struct timespec hold = {0, 2000000};
    for (uint32_t at = 0; at < len / 2;) {
        must_fail(demi_wait(&qr, qt, &hold), ETIMEDOUT); /* the reader is slow */
        const uint32_t end = at + len / 16;
        while (at < end) {
            demi_sgarray_t popped = pop_one(pair.rx);
            pattern_check_sga(&popped, 1, at);
            at += (uint32_t)sga_bytes(&popped);
            must(demi_sgafree(&popped));
        }
        assert_true(stat_value("tcp.push_hold_copied_bytes", &after));
        assert_int_equal(after, before);
        if (at >= len / 2)
            pop_pattern(pair.rx, len - at, 1, at);
    }
    finish(qt);
    assert_true(stat_value("tcp.push_hold_copied_bytes", &after));
    must_hold(after - before <= (uint64_t)size, "%llu bytes copied, SO_SNDBUF is %d",
              (unsigned long long)(after - before), size);
    demi_free(object);
    pair_close(pair);
}

/* --- datagrams over a stack of our own
 * ------------------------------------------------------------
 */

static bool has_own_stack(void)
{
    uint64_t ignored;
    return stat_value("udp.tx_copied", &ignored);
}

static void test_datagram_below_the_threshold_is_copied_others_are_lent(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO);
    if (!has_own_stack())
        skip();
    static const uint32_t sizes[] = {1, THRESHOLD - 1, THRESHOLD, 1400, 5000, 60000};
    struct pair pair = pair_make();
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *object;
        const struct copies before = copies_now();
        const uint64_t copied = counted("udp.tx_copied");
        const demi_sgarray_t sga = one_object_sga(sizes[i], i, &object);
        push_all(pair.tx, &sga);
        assert_int_equal(counted("udp.tx_copied"), copied + (sizes[i] < THRESHOLD));
        memset(object, 0xdb, BEFORE + sizes[i]); /* it is ours again */
        pop_pattern(pair.rx, sizes[i], i, 0);
        must_have_copied_nothing(&before);
        demi_free(object);
    }
    pair_close(pair);
}

static void test_datagram_of_foreign_memory_is_copied_once(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO);
    if (!has_own_stack())
        skip();
    static char foreign[9000];
    struct pair pair = pair_make();
    pattern_fill(foreign, sizeof foreign, 1, 0);
    const struct copies before = copies_now();
    const uint64_t copied = counted("udp.tx_copied");
    const demi_sgarray_t sga = built_sga(foreign, sizeof foreign);
    push_all(pair.tx, &sga);
    memset(foreign, 0xdb, sizeof foreign);
    pop_pattern(pair.rx, sizeof foreign, 1, 0);
    must_have_copied(&before, FOREIGN, 1, sizeof foreign);
    assert_int_equal(counted("udp.tx_copied"), copied);
    pair_close(pair);
}

/* Datagrams that wait for a neighbour keep the memory for push_hold_us; then they are copied. */
static void test_datagram_that_waits_for_a_neighbour_is_lent_and_then_copied(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO);
    if (!has_own_stack())
        skip();
    enum { PUSHES = 20, LEN = 5000 };
    struct sockaddr_storage absent;
    socklen_t len = absent_address(backend()->domain, 9, &absent);
    int qd = -1;
    demi_qtoken_t qts[PUSHES];
    char *objects[PUSHES];
    const struct copies before = copies_now();
    const uint64_t waited = counted("neigh.copied_bytes");
    const uint64_t start = now_ns();
    must(demi_socket(&qd, backend()->domain, SOCK_DGRAM, 0));
    for (int i = 0; i < PUSHES; i++) {
        const demi_sgarray_t sga = one_object_sga(LEN, 1, &objects[i]);
        must(demi_pushto(&qts[i], qd, &sga, (const struct sockaddr *)&absent, len));
        if (i % 2 == 0)
            demi_free(objects[i]);
    }
    scribble(LEN);
    for (int i = 0; i < PUSHES; i++) {
        wait_success(qts[i], DEMI_OPC_PUSH);
        if (i % 2 == 1)
            demi_free(objects[i]);
    }
    assert_true(now_ns() - start < 2900000000); /* nobody answers for three seconds */
    must_have_copied_nothing(&before);
    assert_int_equal(counted("neigh.copied_bytes") - waited, PUSHES * LEN);
    must(demi_close(qd));
}

/* Closed, and ended, in the midst of it. */
static void test_datagram_that_waits_for_a_neighbour_outlives_its_socket(void **state)
{
    (void)state;
    backend_needs(CAN_PUSHTO);
    starting_with("DEMI_PUSH_HOLD_US", "1000000");
    if (!has_own_stack()) {
        must(demi_fini());
        skip();
    }
    struct sockaddr_storage absent;
    socklen_t len = absent_address(backend()->domain, 9, &absent);
    for (int round = 0; round < 3; round++) {
        int qd = -1;
        demi_qtoken_t qt = 0;
        must(demi_socket(&qd, backend()->domain, SOCK_DGRAM, 0));
        char *object;
        const demi_sgarray_t sga = one_object_sga(5000, 1, &object);
        must(demi_pushto(&qt, qd, &sga, (const struct sockaddr *)&absent, len));
        must_fail(demi_cancel(qt), EBUSY);
        must(demi_close(qd));
        demi_free(object);
        if (round < 2)
            wait_success(qt, DEMI_OPC_PUSH);
    }
    must(demi_fini());
}

/* --- what was received is passed on -------------------------------------------------------------
 */

static void test_echo_copies_nothing(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 64, 1000, 1500, 9000, 40000, 65000, 300000};
    struct pair pair = pair_make();
    const struct copies before = copies_now();
    for (size_t i = 0; i < COUNT_OF(sizes) && sizes[i] <= backend()->max_element; i++)
        for (int round = 0; round < 10; round++) {
            demi_sgarray_t sga = pattern_sga(sizes[i], i, 0);
            const demi_qtoken_t qt = push_start(pair.tx, &sga);
            must(demi_sgafree(&sga));
            for (size_t got = 0; got < sizes[i];) {
                demi_sgarray_t popped = pop_one(pair.rx);
                const size_t len = sga_bytes(&popped);
                const demi_qtoken_t back = push_start(pair.rx, &popped);
                must(demi_sgafree(&popped));
                pop_pattern(pair.tx, len, i, got);
                finish(back);
                got += len;
            }
            finish(qt);
        }
    must_have_copied_nothing(&before);
    pair_close(pair);
}

/* Nobody reads the echo before all is on its way: received memory is what waits. */
static void test_echo_that_is_held_copies_nothing(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN);
    enum { TOTAL = 12 << 20, AT_ONCE = 1 << 20, PUSHES_MAX = 16384 };
    static demi_qtoken_t qts[PUSHES_MAX];
    size_t pushes = 0, got = 0;
    struct pair pair = pair_make();
    const struct copies before = copies_now();
    for (uint64_t at = 0; at < TOTAL; at += AT_ONCE) {
        demi_sgarray_t sga = pattern_sga(AT_ONCE, 1, at);
        const demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        while (got < at + AT_ONCE) {
            demi_sgarray_t popped = pop_one(pair.rx);
            got += sga_bytes(&popped);
            assert_true(pushes < PUSHES_MAX);
            qts[pushes++] = push_start(pair.rx, &popped);
            must(demi_sgafree(&popped));
        }
        finish(qt);
    }
    scribble(200000);
    must_have_copied_nothing(&before);
    pop_pattern(pair.tx, TOTAL, 1, 0);
    for (size_t i = 0; i < pushes; i++)
        finish(qts[i]);
    pair_close(pair);
}

/* A part of received memory, pushed without its handle, as memory of the heap that it is. */
static void test_push_of_received_memory_without_its_handle_copies_nothing(void **state)
{
    (void)state;
    enum { LEN = 20000 };
    int qd = -1;
    must(demi_queue(&qd, 0));
    struct pair pair = pair_make();
    for (uint64_t round = 0; round < 20; round++) {
        demi_sgarray_t sga = pattern_sga(LEN, round, 0);
        const demi_qtoken_t qt = push_start(pair.tx, &sga);
        must(demi_sgafree(&sga));
        const struct copies before = copies_now();
        for (size_t got = 0; got < LEN;) {
            demi_sgarray_t popped = pop_one(pair.rx);
            const size_t len = sga_bytes(&popped);
            const demi_sgarray_t built = built_sga(popped.sga_segs[0].sgaseg_buf, len);
            push_all(qd, &built);
            must(demi_sgafree(&popped));
            if (len >= THRESHOLD)
                must_have_copied_nothing(&before);
            demi_sgarray_t passed = pop_one(qd);
            demi_sgarray_t other = pattern_sga(LEN, 99, 0); /* received over it, if it were free */
            if (got + len == LEN) {
                push_all(pair.tx, &other);
                pop_pattern(pair.rx, LEN, 99, 0);
            }
            must(demi_sgafree(&other));
            pattern_check_sga(&passed, round, got);
            must(demi_sgafree(&passed));
            got += len;
        }
        finish(qt);
    }
    must(demi_close(qd));
    pair_close(pair);
}

/* --- what is copied, is counted ------------------------------------------------------------------
 */

static void test_foreign_memory_that_is_held_is_copied_once_and_counted(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    static char memory[DEMI_SGARRAY_MAXSIZE][5000];
    struct pair pair = pair_make();
    for (uint32_t n = 1; n <= DEMI_SGARRAY_MAXSIZE; n++) {
        const uint32_t lens[] = {1, 100, THRESHOLD, 5000};
        demi_sgarray_t sga = built_sga(memory[0], 0);
        sga.sga_numsegs = n;
        uint64_t at = 0;
        for (uint32_t i = 0; i < n; i++) {
            sga.sga_segs[i] = (demi_sgaseg_t){memory[i], lens[i % COUNT_OF(lens)]};
            pattern_fill(memory[i], lens[i % COUNT_OF(lens)], n, at);
            at += lens[i % COUNT_OF(lens)];
        }
        const struct copies before = copies_now();
        push_all(pair.tx, &sga);
        must_have_copied(&before, FOREIGN, n, at);
        memset(memory, 0xdb, sizeof memory);
        demi_sgarray_t popped = pop_one(pair.rx);
        pattern_check_sga(&popped, n, 0);
        push_all(pair.tx, &popped); /* it is the library's now */
        must(demi_sgafree(&popped));
        pop_pattern(pair.rx, at, n, 0);
        must_have_copied(&before, FOREIGN, n, at);
        must_have_copied(&before, SMALL, 0, 0);
    }
    pair_close(pair);
}

static void test_segments_of_all_kinds_are_counted_by_their_kind(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    static char foreign[2000];
    struct pair pair = pair_make();
    char *objects[3];
    const uint32_t lens[3] = {3000, 50, THRESHOLD};
    demi_sgarray_t sga = object_sga(3, lens, 1, objects);
    sga.sga_numsegs = 6;
    sga.sga_segs[3] = (demi_sgaseg_t){foreign, sizeof foreign};
    sga.sga_segs[4] = (demi_sgaseg_t){NULL, 0};
    sga.sga_segs[5] = (demi_sgaseg_t){objects[0] + BEFORE, 10};
    pattern_fill(foreign, sizeof foreign, 1, 3050 + THRESHOLD);
    const struct copies before = copies_now();
    push_all(pair.tx, &sga);
    must_have_copied(&before, FOREIGN, 1, sizeof foreign);
    must_have_copied(&before, SMALL, 2, 60);
    must_have_copied(&before, REFUSED, 0, 0);
    assert_int_equal(counted("mem.references"), before.references + 2);
    free_objects(3, objects);
    memset(foreign, 0xdb, sizeof foreign);
    demi_sgarray_t popped = pop_one(pair.rx);
    assert_int_equal(popped.sga_numsegs, 6);
    assert_int_equal(popped.sga_segs[4].sgaseg_len, 0);
    assert_ptr_equal(popped.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_buf);
    assert_ptr_equal(popped.sga_segs[2].sgaseg_buf, sga.sga_segs[2].sgaseg_buf);
    pattern_check(popped.sga_segs[5].sgaseg_buf, 10, 1, 0);
    popped.sga_numsegs = 5;
    pattern_check_sga(&popped, 1, 0);
    must(demi_sgafree(&popped));
    pair_close(pair);
}

/* Pushes len bytes of an object and says whether they were copied; written over in the queue. */
static void push_around(struct pair pair, uint32_t len, bool copied)
{
    char *object;
    const demi_sgarray_t sga = one_object_sga(len, len, &object);
    const struct copies before = copies_now();
    push_all(pair.tx, &sga);
    must_have_copied(&before, SMALL, copied, copied ? len : 0);
    assert_int_equal(counted("mem.references"), before.references + !copied);
    if (copied)
        memset(object, 0xdb, len);
    demi_sgarray_t popped = pop_one(pair.rx);
    assert_true((popped.sga_segs[0].sgaseg_buf == sga.sga_segs[0].sgaseg_buf) == !copied);
    pattern_check_sga(&popped, len, 0);
    must(demi_sgafree(&popped));
    demi_free(object);
}

static void test_threshold_by_default_is_about_1_kib(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    struct pair pair = pair_make();
    push_around(pair, 1, true);
    push_around(pair, 200, true);
    push_around(pair, 4096, false);
    pair_close(pair);
}

static void test_threshold_set_is_the_first_size_that_is_referenced(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE);
    static const struct {
        const char *text;
        uint32_t bytes;
    } values[] = {{"0", 0}, {"1", 1}, {"100", 100}, {"4096", 4096}, {"1000000", 1000000}};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        starting_with("DEMI_COPY_THRESHOLD", values[i].text);
        struct pair pair = pair_make();
        const uint32_t bytes = values[i].bytes;
        if (bytes > 1)
            push_around(pair, bytes - 1, true);
        push_around(pair, bytes == 0 ? 1 : bytes, false);
        push_around(pair, bytes + 1, false);
        push_around(pair, bytes * 2 + 3000000, false);
        pair_close(pair);
        must(demi_fini());
    }
}

/* --- the receive pool ----------------------------------------------------------------------------
 */

enum { HELD_MAX = 8192, EACH = 1000, POOL_BYTES = 2 << 20 };

struct held {
    demi_sgarray_t sgas[HELD_MAX];
    uint32_t n;
    uint64_t pushed; /* bytes, and of the pattern */
    uint64_t popped;
};

/* One push, and pops until all of it came, kept or freed. */
static void receive_one(struct held *held, struct pair pair, bool keep)
{
    demi_sgarray_t sga = pattern_sga(EACH, 7, held->pushed);
    push_all(pair.tx, &sga);
    must(demi_sgafree(&sga));
    held->pushed += EACH;
    while (held->popped < held->pushed) {
        demi_sgarray_t popped = pop_one(pair.rx);
        pattern_check_sga(&popped, 7, held->popped);
        held->popped += sga_bytes(&popped);
        assert_true(held->n < HELD_MAX);
        if (keep)
            held->sgas[held->n++] = popped;
        else
            must(demi_sgafree(&popped));
    }
}

static void check_and_free_held(struct held *held, uint64_t from)
{
    uint64_t at = from;
    for (uint32_t i = 0; i < held->n; i++) {
        pattern_check_sga(&held->sgas[i], 7, at);
        at += sga_bytes(&held->sgas[i]);
    }
    for (uint32_t i = 0; i < held->n; i++)
        must(demi_sgafree(&held->sgas[i * 4801ull % held->n])); /* in disorder */
    held->n = 0;
}

static void test_received_elements_kept_are_copied_once_half_of_the_pool_is_held(void **state)
{
    (void)state;
    backend_needs(CAN_POOL);
    starting_with("DEMI_RX_POOL_BYTES", "2097152");
    struct pair pair = pair_make();
    struct held *held = calloc(1, sizeof *held);
    for (int round = 0; round < 3; round++) {
        const struct copies before = copies_now();
        const uint64_t from = held->popped;
        while (held->popped - from < POOL_BYTES / 4)
            receive_one(held, pair, true);
        must_have_copied_nothing(&before);
        while (held->popped - from < POOL_BYTES)
            receive_one(held, pair, true);
        const struct copies half = copies_now();
        must_hold(half.times[POOL] > before.times[POOL], "a whole pool is held, and no copies");
        for (int i = 0; i < 1000; i++)
            receive_one(held, pair, true);
        must_have_copied(&half, POOL, 1000, 1000 * EACH);
        must_have_copied(&before, FOREIGN, 0, 0);
        while (held->n % 4801 == 0) /* so that the disorder has each once */
            receive_one(held, pair, true);
        check_and_free_held(held, from);
        const struct copies freed = copies_now();
        for (int i = 0; i < 300; i++)
            receive_one(held, pair, false);
        must_have_copied_nothing(&freed);
    }
    free(held);
    pair_close(pair);
    must(demi_fini());
}

/* A few small elements, each in a slab of its own: they hold little, and whole slabs. */
static void test_received_elements_kept_now_and_then_do_not_run_the_pool_dry(void **state)
{
    (void)state;
    backend_needs(CAN_POOL);
    starting_with("DEMI_RX_POOL_BYTES", "2097152");
    struct pair pair = pair_make();
    struct held *held = calloc(1, sizeof *held);
    static uint64_t places[HELD_MAX];
    for (int i = 0; i < 6000; i++) {
        places[held->n] = held->popped;
        receive_one(held, pair, i % 60 == 0);
    }
    for (uint32_t i = 0; i < held->n; i++) {
        pattern_check_sga(&held->sgas[i], 7, places[i]);
        must(demi_sgafree(&held->sgas[i]));
    }
    const struct copies freed = copies_now();
    held->n = 0;
    for (int i = 0; i < 100; i++)
        receive_one(held, pair, false);
    must_have_copied_nothing(&freed);
    free(held);
    pair_close(pair);
    must(demi_fini());
}

/* From the host's sockets on: frames of a device, where the stack is our own. */
static void receive_from_host(struct held *held, int fd, int qd, bool keep)
{
    static uint8_t bytes[EACH];
    pattern_fill(bytes, EACH, 7, held->pushed);
    plain_send(fd, bytes, EACH);
    held->pushed += EACH;
    while (held->popped < held->pushed) {
        demi_sgarray_t popped = pop_one(qd);
        pattern_check_sga(&popped, 7, held->popped);
        held->popped += sga_bytes(&popped);
        assert_true(held->n < HELD_MAX);
        if (keep)
            held->sgas[held->n++] = popped;
        else
            must(demi_sgafree(&popped));
    }
}

static void
test_received_from_the_host_and_kept_is_copied_once_half_of_the_pool_is_held(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    starting_with("DEMI_RX_POOL_BYTES", "2097152");
    int qd, fd;
    plain_pair(&qd, &fd);
    const int one = 1; /* each piece at once, and not when the one before is acknowledged */
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    struct held *held = calloc(1, sizeof *held);
    const struct copies before = copies_now();
    while (held->popped < POOL_BYTES / 4)
        receive_from_host(held, fd, qd, true);
    must_have_copied_nothing(&before);
    while (held->popped < POOL_BYTES)
        receive_from_host(held, fd, qd, true);
    const struct copies half = copies_now();
    must_hold(half.times[POOL] > before.times[POOL], "a whole pool is held, and no copies");
    while (held->n % 4801 == 0)
        receive_from_host(held, fd, qd, true);
    check_and_free_held(held, 0);
    const struct copies freed = copies_now();
    for (int i = 0; i < 300; i++)
        receive_from_host(held, fd, qd, false);
    must_have_copied_nothing(&freed);
    free(held);
    close(fd);
    must(demi_close(qd));
    must(demi_fini());
}

static void exchange_with_host(struct held *held, int fd, int qd)
{
    static uint8_t bytes[EACH];
    const uint64_t at = held->pushed;
    receive_from_host(held, fd, qd, false);
    demi_sgarray_t sga = pattern_sga(EACH, 8, at);
    push_all(qd, &sga);
    must(demi_sgafree(&sga));
    plain_receive(fd, bytes, EACH);
    pattern_check(bytes, EACH, 8, at);
}

/* What one socket received is kept, several times the pool: the other one is served all the same,
 * by copies, which are counted; no frame is lost for it; and without copies when it was freed. */
static void test_received_and_kept_by_one_socket_leaves_memory_to_others(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    starting_with("DEMI_RX_POOL_BYTES", "1048576");
    struct held *greedy = calloc(1, sizeof *greedy), *modest = calloc(1, sizeof *modest);
    uint64_t lost = 0;
    int qds[2], fds[2];
    for (int i = 0; i < 2; i++) {
        const int one = 1;
        plain_pair(&qds[i], &fds[i]);
        assert_int_equal(setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
    }
    for (int round = 0; round < 3; round++) {
        const uint64_t from = greedy->popped;
        while (greedy->popped - from < (4u << 20))
            receive_from_host(greedy, fds[0], qds[0], true);
        const struct copies full = copies_now();
        for (int i = 0; i < 300; i++)
            exchange_with_host(modest, fds[1], qds[1]);
        must_hold(copies_now().times[POOL] >= full.times[POOL] + 300, "copies are not counted");
        while (greedy->n % 4801 == 0)
            receive_from_host(greedy, fds[0], qds[0], true);
        check_and_free_held(greedy, from);
        exchange_with_host(modest, fds[1], qds[1]); /* what was freed is seen */
        const struct copies freed = copies_now();
        for (int i = 0; i < 300; i++)
            exchange_with_host(modest, fds[1], qds[1]);
        assert_true(copies_now().times[POOL] == freed.times[POOL]);
    }
    assert_true(!stat_value("dev.rx_no_memory", &lost) || lost == 0);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        must(demi_close(qds[i]));
    }
    free(greedy);
    free(modest);
    must(demi_fini());
}

static int threshold_setup(void **state)
{
    setenv("DEMI_COPY_THRESHOLD", "1024", 1);
    const int error = library_setup(state);
    unsetenv("DEMI_COPY_THRESHOLD");
    return error;
}

int run_zerocopy_tests(void)
{
#define SET(f) cmocka_unit_test_setup_teardown(f, threshold_setup, library_teardown)
    const struct CMUnitTest tests[] = {
        SET(test_push_from_the_middle_of_objects_copies_nothing),
        SET(test_push_by_reference_pops_the_same_addresses),
        SET(test_push_freed_at_once_arrives_intact),
        SET(test_push_reallocated_at_once_arrives_intact),
        SET(test_object_in_many_elements_and_clones_lives_until_the_last),
        SET(test_push_held_by_a_socket_copies_nothing),
        SET(test_push_of_foreign_memory_held_by_a_socket_is_copied_once),
        SET(test_push_in_parts_copies_no_more_than_is_held_at_its_end),
        SET(test_datagram_below_the_threshold_is_copied_others_are_lent),
        SET(test_datagram_of_foreign_memory_is_copied_once),
        SET(test_datagram_that_waits_for_a_neighbour_is_lent_and_then_copied),
        UNSTARTED(test_datagram_that_waits_for_a_neighbour_outlives_its_socket),
        SET(test_echo_copies_nothing),
        SET(test_echo_that_is_held_copies_nothing),
        SET(test_push_of_received_memory_without_its_handle_copies_nothing),
        SET(test_foreign_memory_that_is_held_is_copied_once_and_counted),
        SET(test_segments_of_all_kinds_are_counted_by_their_kind),
        STARTED(test_threshold_by_default_is_about_1_kib),
        UNSTARTED(test_threshold_set_is_the_first_size_that_is_referenced),
        UNSTARTED(test_received_elements_kept_are_copied_once_half_of_the_pool_is_held),
        UNSTARTED(test_received_elements_kept_now_and_then_do_not_run_the_pool_dry),
        UNSTARTED(test_received_from_the_host_and_kept_is_copied_once_half_of_the_pool_is_held),
        UNSTARTED(test_received_and_kept_by_one_socket_leaves_memory_to_others),
    };
    return cmocka_run_group_tests_name("zerocopy", tests, NULL, NULL);
}
