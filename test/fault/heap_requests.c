/* SPDX-License-Identifier: MIT */
/*
 * The heap without memory: one program, again and again in a fresh process, each time with another
 * request of the heap to the system failing, once or from then on. Every allocation is NULL with
 * ENOMEM or good, what was there stays as it was, and when there is memory again everything works.
 */
#include "../lib/backend.h"
#include "inject.h"
#include "mem/heap.h"
#include "mem/stats.h"

#include <demi/memory.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_HIT = 42, OBJECTS = 28 };

#define MIB ((size_t)1 << 20)

/* Whether failures are injected: without, none is accepted. */
static bool injecting;

/* The programs run in a child: an allocation that failed is checked, and counted. */
static uint32_t num_failed;

static bool is_good(const void *p)
{
    if (p != NULL)
        return true;
    CHILD(injecting);
    CHILD(errno == ENOMEM);
    num_failed++;
    return false;
}

static void must_hold_pattern(const void *p, size_t size, uint64_t seed)
{
    CHILD(pattern_length(p, size, seed, 0) == size);
}

/* --- a program that only allocates ----------------------------------------------------------- */

struct object {
    uint8_t *p;
    size_t size;
};

static struct object objects[OBJECTS];

static const size_t sizes[] = {1,       100, 1000,    5000,    20000,   100000, 200000,
                               MIB / 3, MIB, 2 * MIB, 3 * MIB, 5 * MIB, 64,     300};

static void allocate_all(void)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        struct object *o = &objects[i];
        o->size = sizes[i % COUNT_OF(sizes)] + i;
        errno = 0;
        if (i % 4 == 0)
            o->p = demi_calloc(1, o->size);
        else if (i % 4 == 1)
            o->p = demi_aligned_alloc((size_t)64 << i % 16, o->size);
        else
            o->p = demi_malloc(o->size);
        if (!is_good(o->p))
            continue;
        for (size_t k = 0; i % 4 == 0 && k < o->size; k += 511)
            CHILD(o->p[k] == 0);
        pattern_fill(o->p, o->size, i, 0);
    }
}

static void reallocate_all(void)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        struct object *o = &objects[i];
        const size_t size = i % 3 == 0 ? o->size / 2 + 1 : o->size * 2;
        if (o->p == NULL)
            continue;
        errno = 0;
        uint8_t *p = demi_realloc(o->p, size);
        if (!is_good(p)) {
            must_hold_pattern(o->p, o->size, i);
            continue;
        }
        must_hold_pattern(p, size < o->size ? size : o->size, i);
        pattern_fill(p, size, i, 0);
        *o = (struct object){p, size};
    }
}

/* More references than a byte counts need memory of their own. */
static void reference_all(void)
{
    for (size_t i = 0; i < OBJECTS; i += 5) {
        struct object *o = &objects[i];
        uint32_t gets = 0;
        if (o->p == NULL)
            continue;
        for (int k = 0; k < 300; k++)
            if (dk_heap_get(o->p))
                gets++;
            else
                CHILD(injecting);
        CHILD(gets >= 100);
        for (; gets > 0; gets--)
            dk_heap_put(o->p + gets % o->size);
        must_hold_pattern(o->p, o->size, i);
    }
}

static void *allocate_in_a_thread(void *arg)
{
    (void)arg;
    for (size_t size = 1; size < MIB; size *= 3) {
        errno = 0;
        uint8_t *p = demi_malloc(size);
        if (!is_good(p))
            continue;
        pattern_fill(p, size, size, 0);
        must_hold_pattern(p, size, size);
        demi_free(p);
    }
    return NULL;
}

static int map_region(struct dk_registrar *r, void *base, size_t bytes, uint64_t *handle_out)
{
    (void)r;
    (void)bytes;
    *handle_out = (uintptr_t)base;
    return 0;
}

static void unmap_region(struct dk_registrar *r, void *base, size_t bytes, uint64_t handle)
{
    (void)r;
    (void)bytes;
    CHILD(handle == (uintptr_t)base);
}

static void register_all(void)
{
    struct dk_registrar r = {.name = "nothing", .map = map_region, .unmap = unmap_region};
    const int error = dk_registrar_add(&r);
    CHILD(error == 0 || (injecting && error == -ENOMEM));
    if (error < 0)
        return;
    for (size_t i = 0; i < OBJECTS; i++)
        CHILD(objects[i].p == NULL || dk_region_handle(objects[i].p, &r) != DK_NO_HANDLE);
    errno = 0;
    uint8_t *p = demi_malloc(9 * MIB);
    if (is_good(p)) {
        CHILD(dk_region_handle(p, &r) == (uintptr_t)p);
        demi_free(p);
    }
    dk_heap_trim();
    dk_registrar_remove(&r);
    CHILD(dk_mem_stats->registered_bytes == 0);
}

static void check_and_free_all(void)
{
    for (size_t i = 0; i < OBJECTS; i++) {
        if (objects[i].p == NULL)
            continue;
        must_hold_pattern(objects[i].p, objects[i].size, i);
        demi_free(objects[i].p);
        objects[i].p = NULL;
    }
}

static void allocate_program(void)
{
    pthread_t thread;
    allocate_all();
    reallocate_all();
    reference_all();
    CHILD(pthread_create(&thread, NULL, allocate_in_a_thread, NULL) == 0);
    CHILD(pthread_join(thread, NULL) == 0);
    for (size_t i = 0; i < OBJECTS; i += 3) { /* holes, and what goes back to the system */
        demi_free(objects[i].p);
        objects[i].p = NULL;
    }
    dk_heap_trim();
    register_all();
    allocate_in_a_thread(NULL);
    check_and_free_all();
    dk_heap_trim();
}

/* --- a program that pushes what it allocated ------------------------------------------------- */

static bool is_done(int error)
{
    if (error == 0)
        return true;
    CHILD(injecting);
    CHILD(error == ENOMEM || error == ENODEV || error == EPIPE || error == ECONNRESET);
    num_failed++;
    return false;
}

/* The result of an operation: true when it is one of success. */
static bool is_success(int error, const demi_qtoken_t *qt, demi_qresult_t *qr)
{
    const struct timespec patience = {PATIENCE_S, 0};
    if (!is_done(error))
        return false;
    CHILD(demi_wait(qr, *qt, &patience) == 0);
    return qr->qr_opcode != DEMI_OPC_FAILED || is_done((int)qr->qr_ret);
}

enum { PIECE = 6000, LARGE = 3 << 20 };

/* An sga over two objects, from the middle of each; false without memory. */
static bool build(demi_sgarray_t *sga, uint8_t *parts[2], uint32_t len)
{
    errno = 0;
    parts[0] = demi_malloc(len + 100);
    parts[1] = demi_malloc(len + 100);
    if (!is_good(parts[0]) | !is_good(parts[1])) {
        demi_free(parts[0]);
        demi_free(parts[1]);
        return false;
    }
    *sga = built_sga(parts[0] + 50, len);
    sga->sga_numsegs = 2;
    sga->sga_segs[1] = (demi_sgaseg_t){parts[1] + 30, len};
    pattern_fill(parts[0] + 50, len, len, 0);
    pattern_fill(parts[1] + 30, len, len, len);
    return true;
}

/* Pops until len bytes came or a pop failed for want of memory. A pop that failed took nothing. */
static bool pop_all(int qd, uint32_t len)
{
    uint32_t got = 0;
    for (int failures = 0; got < len && failures < 3;) {
        demi_qtoken_t qt = 0;
        demi_qresult_t qr;
        if (!is_success(demi_pop(&qt, qd), &qt, &qr)) {
            failures++;
            continue;
        }
        demi_sgarray_t sga = qr.qr_value.sga;
        uint64_t at = got;
        for (uint32_t i = 0; i < sga.sga_numsegs; i++) {
            const demi_sgaseg_t *seg = &sga.sga_segs[i];
            CHILD(pattern_length(seg->sgaseg_buf, seg->sgaseg_len, len / 2, at) == seg->sgaseg_len);
            at += seg->sgaseg_len;
        }
        CHILD(sga.sga_numsegs > 0);
        got += (uint32_t)sga_bytes(&sga);
        CHILD(demi_sgafree(&sga) == 0);
    }
    return got == len;
}

/* Pushes, frees the objects at once, allocates over them, and pops. False: not all of it went. */
static bool push_and_pop(int tx, int rx, uint32_t len)
{
    demi_sgarray_t sga;
    uint8_t *parts[2];
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    if (!build(&sga, parts, len))
        return false;
    const int error = demi_push(&qt, tx, &sga);
    for (int i = 0; i < 2; i++)
        demi_free(parts[i]);
    uint8_t *over = demi_malloc(len + 100);
    if (over != NULL)
        memset(over, 0xdb, len + 100);
    demi_free(over);
    if (!is_done(error))
        return false;
    const bool all = pop_all(rx, 2 * len);
    const struct timespec patience = {all ? PATIENCE_S : 0, 0};
    const int waited = demi_wait(&qr, qt, &patience);
    CHILD(waited == 0 || (!all && waited == ETIMEDOUT));
    return all;
}

static bool use_queue(void)
{
    int qd = -1;
    if (!is_done(demi_queue(&qd, 0)))
        return false;
    const bool done =
        push_and_pop(qd, qd, PIECE) && push_and_pop(qd, qd, 100) && push_and_pop(qd, qd, LARGE);
    CHILD(demi_close(qd) == 0);
    return done;
}

static bool make_sockets(int qds[3])
{
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 0, &addr);
    demi_qtoken_t connecting = 0, accepting = 0;
    demi_qresult_t qr;
    if (!is_done(demi_socket(&qds[0], AF_INET, SOCK_STREAM, 0)) ||
        !is_done(demi_bind(qds[0], (struct sockaddr *)&addr, len)))
        return false;
    len = sizeof addr;
    CHILD(demi_getsockname(qds[0], (struct sockaddr *)&addr, &len) == 0);
    if (!is_done(demi_listen(qds[0], 4)) ||
        !is_done(demi_socket(&qds[1], AF_INET, SOCK_STREAM, 0)) ||
        !is_success(demi_connect(&connecting, qds[1], (struct sockaddr *)&addr, len), &connecting,
                    &qr) ||
        !is_success(demi_accept(&accepting, qds[0]), &accepting, &qr))
        return false;
    qds[2] = qr.qr_value.ares.qd;
    return true;
}

static bool use_sockets(void)
{
    int qds[3] = {-1, -1, -1};
    const bool done = make_sockets(qds) && push_and_pop(qds[1], qds[2], 100) &&
                      push_and_pop(qds[2], qds[1], PIECE) && push_and_pop(qds[1], qds[2], LARGE);
    for (int i = 0; i < 3; i++)
        CHILD(qds[i] < 0 || demi_close(qds[i]) == 0);
    return done;
}

static void push_program(void)
{
    if (!is_done(demi_init(NULL)))
        return;
    const bool done = use_queue() & use_sockets();
    CHILD(done || injecting);
    inject_disarm();
    CHILD(demi_fini() == 0);
}

/* --- every request fails in turn -------------------------------------------------------------- */

static void run_with_failure(void (*program)(void), enum inject_kind kind, uint32_t nth,
                             bool lasting)
{
    injecting = true;
    inject_arm(kind, nth, lasting, ENOMEM);
    program();
    inject_disarm();
    const bool hit = inject_hit();
    injecting = false;
    program();
    child_exit(hit ? 0 : NOT_HIT);
}

static void fail_each(void (*program)(void), enum inject_kind kind, bool lasting)
{
    uint32_t nth = 0;
    for (int status = 0; status == 0;) {
        const int pid = child_fork();
        nth++;
        if (pid == 0)
            run_with_failure(program, kind, nth, lasting);
        status = child_wait(pid);
        must_hold(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == NOT_HIT),
                  "request %u fails%s: status %x", nth, lasting ? " and all after it" : "",
                  (unsigned)status);
    }
    print_message("%u requests failed, one at a time%s\n", nth - 1,
                  lasting ? ", and all after it" : "");
    assert_true(nth > 1);
}

static void test_allocations_with_a_request_failing_are_enomem_or_good(void **state)
{
    (void)state;
    fail_each(allocate_program, INJECT_PAGES, false);
}

static void test_allocations_with_all_requests_failing_from_one_on_are_enomem_or_good(void **state)
{
    (void)state;
    fail_each(allocate_program, INJECT_PAGES, true);
}

static void test_allocations_with_unmapping_failing_are_good(void **state)
{
    (void)state;
    fail_each(allocate_program, INJECT_UNMAP, false);
    fail_each(allocate_program, INJECT_UNMAP, true);
}

static void test_pushes_with_a_request_failing_arrive_or_are_enomem(void **state)
{
    (void)state;
    fail_each(push_program, INJECT_PAGES, false);
}

static void test_pushes_with_all_requests_failing_from_one_on_arrive_or_are_enomem(void **state)
{
    (void)state;
    fail_each(push_program, INJECT_PAGES, true);
}

static void test_pushes_with_any_allocation_failing_arrive_or_are_enomem(void **state)
{
    (void)state;
    fail_each(push_program, INJECT_MEMORY, false);
    fail_each(push_program, INJECT_MEMORY, true);
}

int main(void)
{
    setenv("DEMI_NET", "kernel", 1);
#define BOUNDED(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)
    const struct CMUnitTest tests[] = {
        BOUNDED(test_allocations_with_a_request_failing_are_enomem_or_good),
        BOUNDED(test_allocations_with_all_requests_failing_from_one_on_are_enomem_or_good),
        BOUNDED(test_allocations_with_unmapping_failing_are_good),
        BOUNDED(test_pushes_with_a_request_failing_arrive_or_are_enomem),
        BOUNDED(test_pushes_with_all_requests_failing_from_one_on_arrive_or_are_enomem),
        BOUNDED(test_pushes_with_any_allocation_failing_arrive_or_are_enomem),
    };
    return cmocka_run_group_tests_name("heap-requests", tests, NULL, NULL);
}
