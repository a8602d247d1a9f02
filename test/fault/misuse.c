/* SPDX-License-Identifier: MIT */
/*
 * misuse [NAME]: a program that misuses the heap is ended by one line that names the pointer and
 * the reason, or gets an errno where the call has one; it never goes on with a heap that is
 * damaged. With a NAME it is such a program itself.
 */
#include "../lib/backend.h"
#include "mem/heap.h"
#include "mem/stats.h"

#include <demi/memory.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SURVIVED = 42 };

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define TWICE   "freed twice|nothing is allocated there"
#define MIDDLE  "not the start of an object"
#define FOREIGN "not memory of this heap"
#define ANY     "freed twice|nothing is allocated there|not the start of an object|not memory of"

static const struct kind {
    const char *name;
    size_t size;
    size_t align;
} kinds[] = {
    {"16 bytes", 16, 1},
    {"100 bytes", 100, 1},
    {"1000 bytes", 1000, 1},
    {"a page", 4096, 1},
    {"64 KiB", 64 * KIB, 1},
    {"the largest class", 256 * KIB - 16, 1},
    {"a run of slices", 300 * KIB, 1},
    {"1 MiB", MIB, 1},
    {"a region", 5 * MIB, 1},
    {"100 bytes at 64", 100, 64},
    {"100 bytes at a page", 100, 4096},
    {"100 bytes at 64 KiB", 100, 64 * KIB},
    {"100 KiB at 1 MiB", 100 * KIB, MIB},
    {"100 bytes at 4 MiB", 100, 4 * MIB},
};

static void *allocate(const struct kind *kind)
{
    char *p =
        kind->align > 1 ? demi_aligned_alloc(kind->align, kind->size) : demi_malloc(kind->size);
    must_hold(p != NULL, "%s: no memory", kind->name);
    return p;
}

/* --- the end of a child ---------------------------------------------------------------------- */

static char said[16384]; /* by the last child */
static int child;
static int child_stderr;
static void **told; /* by the child: the pointer that it misuses */

static const char *what; /* is tried now */

/* Forks: true in the child, which misuses the heap and then says survived(). */
static bool in_child(void)
{
    int fds[2];
    must(pipe(fds));
    *told = NULL;
    child = child_fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        return true;
    }
    close(fds[1]);
    child_stderr = fds[0];
    return false;
}

static __attribute__((noreturn)) void survived(void)
{
    _exit(SURVIVED);
}

static bool said_one_of(const char *reasons)
{
    char list[256], *rest = NULL;
    snprintf(list, sizeof list, "%s", reasons);
    for (char *r = strtok_r(list, "|", &rest); r != NULL; r = strtok_r(NULL, "|", &rest))
        if (strstr(said, r) != NULL)
            return true;
    return false;
}

static int listen_to_child(void)
{
    size_t len = 0;
    ssize_t n;
    while ((n = read(child_stderr, said + len, sizeof said - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    close(child_stderr);
    return child_wait(child);
}

/* The child was ended by a report about p (NULL: what it told) for one of these reasons ("a|b").
 * AddressSanitizer's own report of the access is as good. */
static void must_have_died(const void *p, const char *reasons)
{
    char pointer[32];
    const int status = listen_to_child();
    if (strstr(said, "AddressSanitizer") != NULL)
        return;
    must_hold(!WIFEXITED(status) || WEXITSTATUS(status) != SURVIVED, "%s: it went on", what);
    must_hold(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %x, said: %s", what,
              (unsigned)status, said);
    snprintf(pointer, sizeof pointer, "(0x%llx)",
             (unsigned long long)(uintptr_t)(p != NULL ? p : *told));
    must_hold(strstr(said, pointer) != NULL, "%s: not %s in: %s", what, pointer, said);
    must_hold(said_one_of(reasons), "%s: not one of \"%s\" in: %s", what, reasons, said);
    const char *end = strchr(said, '\n');
    must_hold(end != NULL && end[1] == '\0', "%s: not one line: %s", what, said);
}

/* --- freed twice ----------------------------------------------------------------------------- */

static void test_free_twice_at_once_ends_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        void *p = allocate(&kinds[i]);
        what = kinds[i].name;
        if (in_child()) {
            demi_free(p);
            demi_free(p);
            survived();
        }
        must_have_died(p, TWICE);
        demi_free(p);
    }
}

/* In the thread's cache, deep in it, past it. */
static void test_free_twice_after_other_frees_ends_the_process(void **state)
{
    (void)state;
    static void *others[2000];
    static const size_t counts[] = {1, 10, 100, 2000};
    for (size_t i = 0; i < COUNT_OF(kinds) && kinds[i].size <= 4096; i++)
        for (size_t k = 0; k < COUNT_OF(counts); k++) {
            void *p = allocate(&kinds[i]);
            what = kinds[i].name;
            if (in_child()) {
                for (size_t n = 0; n < counts[k]; n++)
                    others[n] = allocate(&kinds[i]);
                demi_free(p);
                for (size_t n = 0; n < counts[k]; n++)
                    demi_free(others[n]);
                demi_free(p);
                survived();
            }
            must_have_died(p, TWICE);
            demi_free(p);
        }
}

static void test_free_twice_after_the_cache_was_given_back_ends_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int neighbour = 0; neighbour < 2; neighbour++) { /* which keeps the superblock */
            void *p = allocate(&kinds[i]);
            void *kept = neighbour ? allocate(&kinds[i]) : NULL;
            what = kinds[i].name;
            if (in_child()) {
                demi_free(p);
                dk_heap_trim();
                demi_free(p);
                survived();
            }
            must_have_died(p, TWICE);
            demi_free(p);
            demi_free(kept);
        }
}

static void *free_it(void *p)
{
    demi_free(p);
    return NULL;
}

static void free_in_a_thread(void *p)
{
    pthread_t thread;
    CHILD(pthread_create(&thread, NULL, free_it, p) == 0);
    CHILD(pthread_join(thread, NULL) == 0);
}

static void test_free_twice_by_another_thread_ends_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int order = 0; order < 3; order++) {
            void *p = allocate(&kinds[i]);
            what = kinds[i].name;
            if (in_child()) {
                if (order == 0)
                    demi_free(p);
                free_in_a_thread(p);
                if (order == 1)
                    demi_free(p);
                free_in_a_thread(p);
                survived();
            }
            must_have_died(p, TWICE);
            demi_free(p);
        }
}

static pthread_barrier_t together;

static void *free_together(void *p)
{
    pthread_barrier_wait(&together);
    demi_free(p);
    return NULL;
}

/* Both may see an object that is held. It is in two caches then, and must not be handed out from
 * both. */
static void test_free_twice_at_the_same_time_ends_the_process(void **state)
{
    (void)state;
    what = "two threads free at the same time";
    for (int round = 0; round < 50; round++) {
        void *p = demi_malloc(100);
        if (in_child()) {
            pthread_t threads[2];
            CHILD(pthread_barrier_init(&together, NULL, 2) == 0);
            for (int i = 0; i < 2; i++)
                CHILD(pthread_create(&threads[i], NULL, free_together, p) == 0);
            for (int i = 0; i < 2; i++)
                CHILD(pthread_join(threads[i], NULL) == 0);
            for (int i = 0; i < 1000; i++)
                CHILD(demi_malloc(100) != NULL);
            survived();
        }
        must_have_died(p, TWICE);
        demi_free(p);
    }
}

static void test_free_of_what_realloc_moved_ends_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        void *p = allocate(&kinds[i]);
        what = kinds[i].name;
        if (in_child()) {
            void *q = demi_realloc(p, kinds[i].size * 3 + 10 * MIB);
            CHILD(q != NULL && q != p);
            demi_free(p);
            survived();
        }
        must_have_died(p, TWICE);
        if (in_child()) {
            void *q = demi_realloc(p, kinds[i].size * 2);
            *told = q;
            demi_free(q);
            demi_free(q);
            survived();
        }
        must_have_died(NULL, TWICE);
        demi_free(p);
    }
}

/* Free, or the last put: whoever came last has ended it. */
static void test_free_twice_in_flight_ends_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int landed = 0; landed < 2; landed++) {
            void *p = allocate(&kinds[i]);
            what = kinds[i].name;
            if (in_child()) {
                CHILD(dk_heap_get(p));
                demi_free(p);
                if (landed)
                    dk_heap_put(p);
                demi_free(p);
                survived();
            }
            must_have_died(p, TWICE);
            demi_free(p);
        }
}

/* --- pointers that are none ------------------------------------------------------------------ */

static void use_free(void *p)
{
    demi_free(p);
}

static void use_realloc(void *p)
{
    CHILD(demi_realloc(p, 100) != p);
}

static void use_usable_size(void *p)
{
    CHILD(demi_usable_size(p) != 4711);
}

static const struct {
    const char *name;
    void (*use)(void *p);
} uses[] = {{"free(", use_free}, {"realloc(", use_realloc}, {"usable_size(", use_usable_size}};

/* Every call that takes an object's start refuses p. */
static void must_be_refused(void *p, const char *reasons)
{
    for (size_t i = 0; i < COUNT_OF(uses); i++) {
        if (in_child()) {
            uses[i].use(p);
            survived();
        }
        must_have_died(p, reasons);
        must_hold(strstr(said, "AddressSanitizer") != NULL || strstr(said, uses[i].name) != NULL,
                  "%s: the call is not named: %s", uses[i].name, said);
    }
}

static void test_pointer_into_the_middle_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        char *p = allocate(&kinds[i]);
        const size_t size = kinds[i].size;
        const size_t offsets[] = {1, 8, 16, size / 2, size - 1, 4096, 64 * KIB, 2 * MIB};
        what = kinds[i].name;
        for (size_t k = 0; k < COUNT_OF(offsets); k++)
            if (offsets[k] < size)
                must_be_refused(p + offsets[k], MIDDLE);
        demi_free(p);
    }
}

static void test_pointer_past_the_end_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct dk_heap_object object;
        char *p = allocate(&kinds[i]);
        what = kinds[i].name;
        assert_true(dk_heap_find(p, &object));
        char *past = p + object.usable;
        if (!dk_heap_find(past, &object)) /* else it is somebody else's */
            must_be_refused(past, ANY);
        demi_free(p);
    }
}

static int in_data = 1;

static void test_pointer_to_other_memory_is_refused(void **state)
{
    (void)state;
    static char in_bss[100];
    char on_stack[100];
    char *of_libc = malloc(100), *large_of_libc = malloc(2 * MIB);
    demi_free(demi_malloc(1));
    void *others[] = {
        (void *)1,
        (void *)16,
        &in_data,
        in_bss,
        on_stack,
        of_libc,
        large_of_libc,
        (void *)(uintptr_t)&use_free,
        (void *)(UINTPTR_MAX - 15),
        (void *)((uintptr_t)1 << 63),
        (void *)(dk_heap_base - 16),
        (void *)(dk_heap_base + dk_heap_span),
    };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        what = "other memory";
        must_be_refused(others[i], FOREIGN);
    }
    what = "no memory";
    must_be_refused((void *)(dk_heap_base + dk_heap_span - 64 * KIB), TWICE);
    free(of_libc);
    free(large_of_libc);
}

/* A program's first call. */
static void test_pointer_to_other_memory_before_the_heap_is_used_is_refused(void **state)
{
    (void)state;
    const int pid = child_fork();
    if (pid == 0) {
        freopen("/dev/null", "w", stderr);
        execl("/proc/self/exe", "misuse", "first", (char *)NULL);
        child_exit(1);
    }
    const int status = child_wait(pid);
    must_hold(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x", (unsigned)status);
}

static void test_null_is_no_misuse(void **state)
{
    (void)state;
    demi_free(NULL);
    assert_int_equal(demi_usable_size(NULL), 0);
    void *p = demi_realloc(NULL, 100);
    assert_true(demi_usable_size(p) >= 100);
    assert_null(demi_realloc(p, 0));
    what = "freed by realloc to 0";
    must_be_refused(p, TWICE);
}

/* --- memory that the library holds ------------------------------------------------------------ */

static void test_memory_of_an_sga_is_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 100, 5000, 300000, 5000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        demi_sgarray_t sga = demi_sgaalloc(sizes[i]);
        char *p = sga.sga_segs[0].sgaseg_buf;
        what = "memory of an sga";
        must_be_refused(p, "memory of an sga|" MIDDLE);
        if (sizes[i] > 1)
            must_be_refused(p + sizes[i] / 2, MIDDLE);
        must(demi_sgafree(&sga));
        what = "memory of an sga that was freed";
        must_be_refused(p, TWICE);
        must_fail(demi_sgafree(&sga), EINVAL);
    }
}

static void test_put_without_a_reference_ends_the_process(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (int gets = 0; gets < 300; gets += 149) {
            char *p = allocate(&kinds[i]);
            what = kinds[i].name;
            if (in_child()) {
                for (int k = 0; k < gets; k++)
                    CHILD(dk_heap_get(p));
                for (int k = 0; k <= gets; k++)
                    dk_heap_put(p);
                survived();
            }
            must_have_died(p, "no reference");
            demi_free(p);
        }
}

/* --- sgas over memory that is not there ------------------------------------------------------- */

static const struct {
    size_t size;
} object_sizes[] = {{1}, {100}, {5000}, {100000}, {300000}, {5000000}};

static void must_refuse_segment(int qd, void *p, size_t len)
{
    static char good[10];
    demi_sgarray_t sga = built_sga(p, len);
    must_hold(push_outcome(qd, &sga) == EINVAL, "%s: %zu bytes at %p", what, len, p);
    sga = built_sga(good, sizeof good);
    sga.sga_numsegs = 3;
    sga.sga_segs[1] = (demi_sgaseg_t){p, (uint32_t)len};
    sga.sga_segs[2] = sga.sga_segs[0];
    must_hold(push_outcome(qd, &sga) == EINVAL, "%s, among others: %zu bytes at %p", what, len, p);
}

static void refuse_bad_segments(int qd)
{
    const uint64_t references = dk_mem_stats->references;
    for (size_t i = 0; i < COUNT_OF(object_sizes); i++) {
        char *p = demi_malloc(object_sizes[i].size);
        const size_t usable = demi_usable_size(p);
        what = "beyond the end";
        must_refuse_segment(qd, p, usable + 1);
        must_refuse_segment(qd, p + usable - 1, 2);
        must_refuse_segment(qd, p + usable / 2, usable - usable / 2 + 1);
        must_refuse_segment(qd, p, UINT32_MAX);
        demi_free(p);
        what = "freed";
        must_refuse_segment(qd, p, 1);
        must_refuse_segment(qd, p + usable - 1, 1);
        must_refuse_segment(qd, p, usable);
    }
    what = "where nothing is";
    must_refuse_segment(qd, (void *)(dk_heap_base + dk_heap_span - 64 * KIB), 10);
    must_refuse_segment(qd, NULL, 1);
    assert_int_equal(dk_mem_stats->references, references);
}

/* A datagram socket that is connected to itself. */
static int socket_to_itself(void)
{
    int qd = -1;
    demi_qtoken_t qt;
    struct sockaddr_storage addr;
    socklen_t len = loopback(AF_INET, 0, &addr);
    must(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0));
    must(demi_bind(qd, (struct sockaddr *)&addr, len));
    len = sizeof addr;
    must(demi_getsockname(qd, (struct sockaddr *)&addr, &len));
    must(demi_connect(&qt, qd, (struct sockaddr *)&addr, len));
    wait_success(qt, DEMI_OPC_CONNECT);
    return qd;
}

static void test_sga_beyond_its_object_or_over_free_memory_is_einval(void **state)
{
    (void)state;
    setenv("DEMI_NET", "kernel", 1);
    must(demi_init(NULL));
    int qd = -1;
    must(demi_queue(&qd, 0));
    refuse_bad_segments(qd);
    demi_qtoken_t qt = pop_start(qd);
    demi_qresult_t qr;
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT); /* nothing went in */
    must(demi_cancel(qt));
    must(demi_close(qd));
    refuse_bad_segments(socket_to_itself());
    must(demi_fini());
}

static void test_sga_whose_segment_was_widened_is_einval(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 100, 1000, 5000, 300000};
    setenv("DEMI_NET", "kernel", 1);
    must(demi_init(NULL));
    int qd = -1;
    must(demi_queue(&qd, 0));
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        demi_sgarray_t sga = pattern_sga(sizes[i], 1, 0);
        demi_sgarray_t wide = sga, shifted = sga;
        wide.sga_segs[0].sgaseg_len++;
        shifted.sga_segs[0].sgaseg_buf = (char *)sga.sga_segs[0].sgaseg_buf + 1;
        must_fail(push_outcome(qd, &wide), EINVAL);
        if (sizes[i] > 1) /* else it does not begin in the sga's memory: it is other memory */
            must_fail(push_outcome(qd, &shifted), EINVAL);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
        demi_sgarray_t popped = pop_one(qd);
        wide = popped;
        wide.sga_segs[0].sgaseg_len++;
        must_fail(push_outcome(qd, &wide), EINVAL);
        must(demi_sgafree(&popped));
    }
    must(demi_fini());
}

/* What was received lies among what others received. */
static void test_sga_received_and_widened_is_einval(void **state)
{
    (void)state;
    setenv("DEMI_NET", "kernel", 1);
    must(demi_init(NULL));
    const int qd = socket_to_itself();
    for (uint64_t i = 0; i < 3; i++) {
        demi_sgarray_t sga = pattern_sga(100, i, 0);
        push_all(qd, &sga);
        must(demi_sgafree(&sga));
    }
    demi_sgarray_t popped[3] = {pop_one(qd), pop_one(qd), pop_one(qd)};
    for (uint64_t i = 0; i < 3; i++) {
        pattern_check_sga(&popped[i], i, 0);
        demi_sgarray_t wide = popped[i];
        wide.sga_segs[0].sgaseg_len++;
        must_fail(push_outcome(qd, &wide), EINVAL);
        wide.sga_segs[0].sgaseg_len = 1000;
        must_fail(push_outcome(qd, &wide), EINVAL);
    }
    for (int i = 0; i < 3; i++)
        must(demi_sgafree(&popped[i]));
    must(demi_fini());
}

/* A segment was replaced: what is cloned is what the handle stands for. */
static void test_sgaclone_with_a_segment_of_other_memory_does_not_crash(void **state)
{
    (void)state;
    static char foreign[5000];
    char *own = demi_malloc(5000);
    void *others[] = {own, foreign};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        demi_sgarray_t sga = pattern_sga(5000, 1, 0), mixed = sga, clone;
        mixed.sga_segs[0].sgaseg_buf = others[i];
        const int error = demi_sgaclone(&clone, &mixed);
        must_hold(error == 0 || error == EINVAL, "got %s", errno_name(error));
        if (error == 0)
            must(demi_sgafree(&clone));
        must(demi_sgafree(&sga));
    }
    demi_free(own);
}

/* --- sizes ------------------------------------------------------------------------------------ */

static void must_be_enomem(const void *p, const char *call)
{
    must_hold(p == NULL && errno == ENOMEM, "%s: %p, errno %s", call, p, errno_name(errno));
    errno = 0;
}

static void test_impossible_sizes_are_enomem(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        SIZE_MAX,     SIZE_MAX - 1,   SIZE_MAX - 4095, PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1,
        SIZE_MAX / 2, (size_t)1 << 48};
    char *p = demi_malloc(1000);
    pattern_fill(p, 1000, 1, 0);
    errno = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        must_be_enomem(demi_malloc(sizes[i]), "malloc");
        must_be_enomem(demi_calloc(1, sizes[i]), "calloc");
        must_be_enomem(demi_calloc(sizes[i], 1), "calloc");
        must_be_enomem(demi_realloc(p, sizes[i]), "realloc");
        must_be_enomem(demi_realloc(NULL, sizes[i]), "realloc");
        for (size_t align = 1; align <= 8 * MIB; align *= 8)
            must_be_enomem(demi_aligned_alloc(align, sizes[i]), "aligned_alloc");
        pattern_check(p, 1000, 1, 0);
    }
    demi_free(p);
}

static void test_calloc_whose_product_overflows_is_enomem(void **state)
{
    (void)state;
    errno = 0;
    must_be_enomem(demi_calloc(SIZE_MAX, SIZE_MAX), "calloc");
    must_be_enomem(demi_calloc(SIZE_MAX, 2), "calloc");
    must_be_enomem(demi_calloc(2, SIZE_MAX), "calloc");
    must_be_enomem(demi_calloc((size_t)1 << 32, (size_t)1 << 32), "calloc");
    must_be_enomem(demi_calloc(SIZE_MAX / 16 + 2, 16), "calloc"); /* of 16 bytes, if it wrapped */
    void *p = demi_calloc(0, SIZE_MAX);
    assert_non_null(p);
    demi_free(p);
}

static void test_aligned_alloc_of_no_power_of_two_is_einval(void **state)
{
    (void)state;
    static const size_t aligns[] = {0, 3, 5, 6, 7, 12, 24, 100, 4095, 4097, SIZE_MAX, SIZE_MAX - 1};
    for (size_t i = 0; i < COUNT_OF(aligns); i++) {
        errno = 0;
        assert_null(demi_aligned_alloc(aligns[i], 100));
        assert_int_equal(errno, EINVAL);
    }
    errno = 0;
    must_be_enomem(demi_aligned_alloc((size_t)1 << 63, 100), "aligned_alloc");
}

/* --- with DEMI_DEBUG=heap --------------------------------------------------------------------- */

/* Allocates in a child of which everything is checked from here on. */
static char *debugged(size_t size)
{
    dk_heap_set_debug(true);
    char *p = demi_malloc(size);
    CHILD(p != NULL);
    *told = p;
    return p;
}

static const size_t debug_sizes[] = {1,    7,     8,      15,     16,  17,     100,
                                     4096, 65536, 262128, 262144, MIB, 5 * MIB};

static void must_say_offset(size_t offset)
{
    char text[64];
    snprintf(text, sizeof text, "offset %zu", offset);
    must_hold(strstr(said, "AddressSanitizer") != NULL || strstr(said, text) != NULL,
              "%s: not \"%s\" in: %s", what, text, said);
}

static void test_debug_overrun_is_found_by_free_and_realloc(void **state)
{
    (void)state;
    what = "overrun";
    for (size_t i = 0; i < COUNT_OF(debug_sizes); i++)
        for (size_t beyond = 0; beyond < 8; beyond += 7)
            for (int by = 0; by < 2; by++) {
                const size_t size = debug_sizes[i];
                if (in_child()) {
                    volatile char *p = debugged(size);
                    p[size + beyond] = (char)(p[size + beyond] + 1);
                    if (by == 0)
                        demi_free(*told);
                    else
                        CHILD(demi_realloc(*told, size + 1) != NULL);
                    survived();
                }
                must_have_died(NULL, "overrun");
                must_say_offset(size + beyond);
            }
}

static void test_debug_overrun_of_many_bytes_is_found(void **state)
{
    (void)state;
    what = "overrun of many bytes";
    for (size_t i = 0; i < COUNT_OF(debug_sizes); i++) {
        if (in_child()) {
            volatile char *p = debugged(debug_sizes[i]);
            for (size_t k = 0; k < 16; k++)
                p[debug_sizes[i] + k] = 0;
            demi_free(*told);
            survived();
        }
        must_have_died(NULL, "overrun");
    }
}

static void test_debug_overrun_in_flight_is_found(void **state)
{
    (void)state;
    what = "overrun in flight";
    if (in_child()) {
        volatile char *p = debugged(100);
        CHILD(dk_heap_get(*told));
        p[100] = (char)(p[100] + 1);
        demi_free(*told);
        dk_heap_put(*told);
        survived();
    }
    must_have_died(NULL, "overrun");
}

/* What lies before an object is the end of its neighbour: freeing that finds it. */
static void test_debug_underrun_is_found_by_freeing_the_neighbour(void **state)
{
    (void)state;
    enum { MANY = 40 };
    what = "underrun";
    if (in_child()) {
        static char *held[MANY];
        for (int i = 0; i < MANY; i++)
            held[i] = debugged(100);
        for (int i = 1; i < MANY; i++)
            if (held[i] > held[0] && held[i] - held[0] < 200) {
                *told = held[0];
                ((volatile char *)held[i])[-1] ^= 1;
            }
        demi_free(held[0]);
        survived();
    }
    must_have_died(NULL, "overrun");
}

/* Frees, writes, and allocates the same size until the memory comes again. */
static void write_after_free(size_t size, size_t at, bool in_flight)
{
    volatile char *p = debugged(size);
    if (in_flight)
        CHILD(dk_heap_get(*told));
    demi_free(*told);
    if (in_flight)
        dk_heap_put(*told);
    p[at] = (char)(p[at] + 1);
    for (int i = 0; i < 200000; i++)
        CHILD(demi_malloc(size) != NULL);
    survived();
}

static void test_debug_write_after_free_is_found_at_reuse(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 16, 100, 4096};
    what = "write after free";
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (int in_flight = 0; in_flight < 2; in_flight++) {
            const size_t last = sizes[i] - 1;
            for (size_t at = 0; at <= last; at += last > 0 ? last : 1) {
                if (in_child())
                    write_after_free(sizes[i], at, in_flight != 0);
                must_have_died(NULL, "written after free");
                must_say_offset(at);
            }
        }
}

/* By demi_init, from a file: objects of the same size exist, and one stays. */
static void test_debug_set_late_checks_what_is_allocated_later(void **state)
{
    (void)state;
    what = "debug set late";
    for (size_t i = 0; i < COUNT_OF(debug_sizes); i++) {
        const size_t size = debug_sizes[i];
        if (in_child()) {
            for (int k = 0; k < 3; k++)
                demi_free(demi_malloc(size));
            CHILD(demi_malloc(size + 16) != NULL);
            volatile char *p = debugged(size);
            p[size] = (char)(p[size] + 1);
            demi_free(*told);
            survived();
        }
        must_have_died(NULL, "overrun");
    }
}

/* Objects of both kinds are there at the same time. */
static void test_debug_set_and_unset_does_no_harm(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(debug_sizes); i++) {
        const int pid = child_fork();
        if (pid == 0) {
            const size_t size = debug_sizes[i];
            void *held[60];
            for (size_t k = 0; k < 20; k++) {
                dk_heap_set_debug(k % 2 == 0);
                for (size_t n = 0; n < 3; n++) {
                    CHILD((held[3 * k + n] = demi_malloc(size)) != NULL);
                    memset(held[3 * k + n], 1, demi_usable_size(held[3 * k + n]));
                }
                demi_free(held[3 * k + 1]);
                CHILD((held[3 * k + 1] = demi_malloc(size)) != NULL);
            }
            for (size_t k = 0; k < COUNT_OF(held); k++)
                demi_free(held[k]);
            child_exit(0);
        }
        const int status = child_wait(pid);
        must_hold(status == 0, "%zu bytes: status %x", debug_sizes[i], (unsigned)status);
    }
}

static void test_debug_misuse_is_found_as_without(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        what = kinds[i].name;
        if (in_child()) {
            dk_heap_set_debug(true);
            *told = allocate(&kinds[i]);
            demi_free(*told);
            demi_free(*told);
            survived();
        }
        must_have_died(NULL, TWICE);
        if (in_child()) {
            dk_heap_set_debug(true);
            *told = (char *)allocate(&kinds[i]) + 16;
            demi_free(*told);
            survived();
        }
        must_have_died(NULL, ANY);
    }
}

/* --- a program of its own ----------------------------------------------------------------------
 */

static int run_overrun(void)
{
    volatile char *p = demi_malloc(100);
    p[100] = 1;
    demi_free((char *)p);
    return SURVIVED;
}

static int run_after_free(void)
{
    volatile char *p = demi_malloc(100);
    demi_free((char *)p);
    p[50] = 1;
    for (int i = 0; i < 200000; i++)
        if (demi_malloc(100) == NULL)
            return 1;
    return SURVIVED;
}

static int run_first(void)
{
    demi_free(&in_data);
    return SURVIVED;
}

static const struct {
    const char *name;
    int (*run)(void);
    const char *reasons;
} programs[] = {
    {"overrun", run_overrun, "overrun"},
    {"after-free", run_after_free, "written after free"},
    {"first", run_first, FOREIGN},
};

static void test_debug_by_environment_is_heard_by_the_first_call(void **state)
{
    (void)state;
    static const char *const values[] = {"heap", "inflight"};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        for (size_t k = 0; k < COUNT_OF(programs); k++) {
            what = programs[k].name;
            if (in_child()) {
                setenv("DEMI_DEBUG", values[i], 1);
                execl("/proc/self/exe", "misuse", programs[k].name, (char *)NULL);
                child_exit(1);
            }
            const int status = listen_to_child();
            if (strstr(said, "AddressSanitizer") != NULL)
                continue;
            must_hold(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %x: %s", what,
                      (unsigned)status, said);
            must_hold(said_one_of(programs[k].reasons), "%s: said %s", what, said);
        }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < COUNT_OF(programs); i++)
        if (strcmp(argv[1], programs[i].name) == 0)
            return programs[i].run();
    told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc != 1 || told == MAP_FAILED) {
        fprintf(stderr, "usage: misuse [overrun|after-free|first]\n");
        return 2;
    }
#define BOUNDED(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)
    const struct CMUnitTest tests[] = {
        BOUNDED(test_free_twice_at_once_ends_the_process),
        BOUNDED(test_free_twice_after_other_frees_ends_the_process),
        BOUNDED(test_free_twice_after_the_cache_was_given_back_ends_the_process),
        BOUNDED(test_free_twice_by_another_thread_ends_the_process),
        BOUNDED(test_free_twice_at_the_same_time_ends_the_process),
        BOUNDED(test_free_of_what_realloc_moved_ends_the_process),
        BOUNDED(test_free_twice_in_flight_ends_the_process),
        BOUNDED(test_pointer_into_the_middle_is_refused),
        BOUNDED(test_pointer_past_the_end_is_refused),
        BOUNDED(test_pointer_to_other_memory_is_refused),
        BOUNDED(test_pointer_to_other_memory_before_the_heap_is_used_is_refused),
        BOUNDED(test_null_is_no_misuse),
        BOUNDED(test_memory_of_an_sga_is_refused),
        BOUNDED(test_put_without_a_reference_ends_the_process),
        BOUNDED(test_sga_beyond_its_object_or_over_free_memory_is_einval),
        BOUNDED(test_sga_whose_segment_was_widened_is_einval),
        BOUNDED(test_sga_received_and_widened_is_einval),
        BOUNDED(test_sgaclone_with_a_segment_of_other_memory_does_not_crash),
        BOUNDED(test_impossible_sizes_are_enomem),
        BOUNDED(test_calloc_whose_product_overflows_is_enomem),
        BOUNDED(test_aligned_alloc_of_no_power_of_two_is_einval),
        BOUNDED(test_debug_overrun_is_found_by_free_and_realloc),
        BOUNDED(test_debug_overrun_of_many_bytes_is_found),
        BOUNDED(test_debug_overrun_in_flight_is_found),
        BOUNDED(test_debug_underrun_is_found_by_freeing_the_neighbour),
        BOUNDED(test_debug_write_after_free_is_found_at_reuse),
        BOUNDED(test_debug_set_late_checks_what_is_allocated_later),
        BOUNDED(test_debug_set_and_unset_does_no_harm),
        BOUNDED(test_debug_misuse_is_found_as_without),
        BOUNDED(test_debug_by_environment_is_heard_by_the_first_call),
    };
    return cmocka_run_group_tests_name("misuse", tests, NULL, NULL);
}
