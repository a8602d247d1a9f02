/* SPDX-License-Identifier: MIT */
/*
 * A registrar of a real device: the heap's regions are the registered buffers of an io_uring, and
 * the kernel reads and writes the application's memory by the index that a pointer leads to.
 */
#include "heap_kit.h"

#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BUFFERS_MAX = 1024 };

#define BUFFER_MAX_BYTES GIB /* the kernel's limit for one buffer */

struct device {
    struct dk_registrar registrar;
    struct io_uring ring;
    bool used[BUFFERS_MAX]; /* indices */
    int failure;            /* the last one of map */
    int file;
};

static struct device device;

static int update(struct device *d, unsigned index, void *base, size_t bytes)
{
    struct iovec iov = {base, bytes};
    __u64 tag = 0;
    const int updated = io_uring_register_buffers_update_tag(&d->ring, index, &iov, &tag, 1);
    return updated == 1 ? 0 : updated < 0 ? updated : -EIO;
}

static int device_map(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    struct device *d = (struct device *)(void *)r;
    unsigned index = 0;
    if (bytes > BUFFER_MAX_BYTES)
        return -E2BIG;
    while (index < BUFFERS_MAX && d->used[index])
        index++;
    if (index == BUFFERS_MAX)
        return -ENOSPC;
    const int error = update(d, index, base, bytes);
    if (error < 0) {
        d->failure = error;
        return error;
    }
    d->used[index] = true;
    *handle_out = index;
    return 0;
}

static void device_unmap(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    struct device *d = (struct device *)(void *)r;
    (void)base;
    (void)bytes;
    assert_true(handle < BUFFERS_MAX && d->used[handle]);
    assert_int_equal(update(d, (unsigned)handle, NULL, 0), 0);
    d->used[handle] = false;
}

/* Waits for what was submitted: the number of bytes, or a negative errno. */
static int await(struct device *d)
{
    struct io_uring_cqe *cqe;
    assert_int_equal(io_uring_submit(&d->ring), 1);
    assert_int_equal(io_uring_wait_cqe(&d->ring, &cqe), 0);
    const int result = cqe->res;
    io_uring_cqe_seen(&d->ring, cqe);
    return result;
}

static int index_of(struct device *d, const void *p)
{
    const uint64_t handle = dk_region_handle(p, &d->registrar);
    must_hold(handle < BUFFERS_MAX, "%p has no handle (%s)", p, errno_name(-d->failure));
    return (int)handle;
}

static int write_fixed(struct device *d, const void *p, unsigned len, int index)
{
    io_uring_prep_write_fixed(io_uring_get_sqe(&d->ring), d->file, p, len, 0, index);
    return await(d);
}

static int read_fixed(struct device *d, void *p, unsigned len, int index)
{
    io_uring_prep_read_fixed(io_uring_get_sqe(&d->ring), d->file, p, len, 0, index);
    return await(d);
}

/* From the heap to the file by the device, and back to other memory of the heap. */
static void must_be_reached(struct device *d, uint8_t *from, uint8_t *to, size_t size)
{
    uint8_t *plain = malloc(size);
    const unsigned len = (unsigned)size;
    assert_int_equal(ftruncate(d->file, 0), 0);
    pattern_fill(from, size, size, 0);
    assert_int_equal(write_fixed(d, from, len, index_of(d, from)), len);
    assert_int_equal(pread(d->file, plain, size, 0), len);
    pattern_check(plain, size, size, 0);
    memset(to, 0, size);
    assert_int_equal(read_fixed(d, to, len, index_of(d, to)), len);
    pattern_check(to, size, size, 0);
    free(plain);
}

static const char *memlock(void)
{
    static char text[64];
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    snprintf(text, sizeof text, "RLIMIT_MEMLOCK is %llu KiB",
             (unsigned long long)limit.rlim_cur / 1024);
    return text;
}

/* A ring with an empty table of buffers, which regions fill; or the test is skipped. */
static struct device *device_start(void)
{
    struct device *d = &device;
    memset(d, 0, sizeof *d);
    d->registrar.name = "io_uring";
    d->registrar.map = device_map;
    d->registrar.unmap = device_unmap;
    int error = io_uring_queue_init(8, &d->ring, 0);
    if (error < 0) {
        print_message("io_uring is not available here: %s\n", errno_name(-error));
        skip();
    }
    error = io_uring_register_buffers_sparse(&d->ring, BUFFERS_MAX);
    if (error < 0) {
        io_uring_queue_exit(&d->ring);
        print_message("a table of registered buffers: %s\n", errno_name(-error));
        skip();
    }
    char name[] = "/tmp/region_uring_XXXXXX";
    d->file = mkstemp(name);
    assert_true(d->file >= 0);
    unlink(name);
    assert_int_equal(dk_registrar_add(&d->registrar), 0);
    return d;
}

static void device_stop(struct device *d)
{
    dk_registrar_remove(&d->registrar);
    for (unsigned i = 0; i < BUFFERS_MAX; i++)
        assert_false(d->used[i]);
    close(d->file);
    io_uring_queue_exit(&d->ring);
}

/* Skips when the kernel pins less than the heap has. */
static void needs_pinned_memory(struct device *d)
{
    if (d->failure == 0)
        return;
    const int failure = d->failure;
    device_stop(d);
    must_hold(failure == -ENOMEM || failure == -EPERM, "registering: %s", errno_name(-failure));
    print_message("registering memory: %s; %s\n", errno_name(-failure), memlock());
    skip();
}

static void test_uring_reaches_small_objects_by_index(void **state)
{
    (void)state;
    static uint8_t *held[200];
    for (size_t i = 0; i < COUNT_OF(held); i++)
        held[i] = dk_heap_malloc(1 + i * 53);
    struct device *d = device_start();
    needs_pinned_memory(d);
    for (size_t i = 0; i < COUNT_OF(held); i++)
        must_be_reached(d, held[i], held[COUNT_OF(held) - 1 - i],
                        1 + (i * 2 < COUNT_OF(held) ? i : COUNT_OF(held) - 1 - i) * 53);
    for (size_t i = 0; i < COUNT_OF(held); i++)
        dk_heap_free(held[i]);
    device_stop(d);
}

static void test_uring_reaches_the_middle_of_large_objects_by_index(void **state)
{
    (void)state;
    uint8_t *a = dk_heap_malloc(MIB), *b = dk_heap_malloc(6 * MIB);
    struct device *d = device_start();
    needs_pinned_memory(d);
    must_be_reached(d, a, b, MIB);
    must_be_reached(d, b + 3 * MIB + 1, a + 1, MIB - 1);
    must_be_reached(d, b + 6 * MIB - 5000, a + MIB - 5000, 5000);
    dk_heap_free(a);
    dk_heap_free(b);
    device_stop(d);
}

static void test_uring_reaches_regions_that_come_later(void **state)
{
    (void)state;
    static uint8_t *held[8];
    struct device *d = device_start();
    needs_pinned_memory(d);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = dk_heap_malloc((i + 1) * 3 * MIB);
            assert_non_null(held[i]);
            needs_pinned_memory(d);
        }
        for (size_t i = 1; i < COUNT_OF(held); i++)
            must_be_reached(d, held[i] + MIB + 1, held[i - 1] + 77, 2 * MIB);
        for (size_t i = 0; i < COUNT_OF(held); i++)
            dk_heap_free(held[i]);
        dk_heap_trim();
    }
    device_stop(d);
}

/* What proves that the index matters: by another region's, the kernel refuses. */
static void test_uring_refuses_memory_of_another_region(void **state)
{
    (void)state;
    uint8_t *a = dk_heap_malloc(5 * MIB), *b = dk_heap_malloc(7 * MIB);
    struct device *d = device_start();
    needs_pinned_memory(d);
    assert_int_not_equal(index_of(d, a), index_of(d, b));
    assert_int_equal(write_fixed(d, a, 4096, index_of(d, b)), -EFAULT);
    assert_int_equal(write_fixed(d, b, 4096, index_of(d, a)), -EFAULT);
    must_be_reached(d, a, b, 5 * MIB);
    dk_heap_free(a);
    dk_heap_free(b);
    device_stop(d);
}

/* The heap must not purge what the kernel pinned: device and program would see different pages. */
static void test_uring_sees_what_the_program_writes_after_reuse(void **state)
{
    (void)state;
    static uint8_t *held[500];
    struct device *d = device_start();
    needs_pinned_memory(d);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT_OF(held); i++) {
            held[i] = dk_heap_malloc(30000);
            memset(held[i], round, 30000);
        }
        needs_pinned_memory(d);
        for (size_t i = 0; i < COUNT_OF(held); i += 50)
            must_be_reached(d, held[i], held[i + 1], 30000);
        for (size_t i = 0; i < COUNT_OF(held); i++)
            dk_heap_free(held[i]);
        if (round % 2 == 1)
            dk_heap_trim();
    }
    device_stop(d);
}

int main(void)
{
    struct rlimit most;
    if (getrlimit(RLIMIT_MEMLOCK, &most) == 0) {
        most.rlim_cur = most.rlim_max;
        setrlimit(RLIMIT_MEMLOCK, &most);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uring_reaches_small_objects_by_index),
        cmocka_unit_test(test_uring_reaches_the_middle_of_large_objects_by_index),
        cmocka_unit_test(test_uring_reaches_regions_that_come_later),
        cmocka_unit_test(test_uring_refuses_memory_of_another_region),
        cmocka_unit_test(test_uring_sees_what_the_program_writes_after_reuse),
    };
    alarm(under_sanitizer() ? 300 : 100);
    return cmocka_run_group_tests_name("region-uring", tests, NULL, NULL);
}
