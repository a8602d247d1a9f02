/* SPDX-License-Identifier: MIT */
/*
 * The heap against a model: threads allocate, change, hand to each other, push and free at random.
 * A push is what the library does with memory: it takes a reference from anywhere inside, and later
 * a helper reads the bytes and gives the reference back, whether the application freed the object
 * meanwhile or not.
 *
 * A shadow map has a byte for each 16 of the heap's range: who is said to own them. Two objects
 * that overlap are seen when the second is handed out. The map is written without atomics by
 * whoever the heap gave the memory to, so under ThreadSanitizer it also shows whether the heap
 * orders a free before the next use.
 */
#include "../threads/crew.h"
#include "heap_kit.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { THREADS_MAX = 4, SLOTS = 400, MAIL = 64, FLIGHTS = 512 };

/* An object of the application. Only its owner changes it; mail hands it over. */
struct object {
    uint8_t *p;
    size_t size;
    uint64_t seed;
    struct tenancy *tenancy;
};

/* One life of a piece of memory: ends when neither the application nor a flight holds it. */
struct tenancy {
    uint8_t *p;
    size_t bytes; /* usable */
    _Atomic uint32_t holds;
};

/* A push under way: bytes that must not change until the reference is given back. */
struct flight {
    uint8_t *p;
    size_t len;
    uint64_t seed;
    uint64_t at; /* of the pattern */
    struct tenancy *tenancy;
};

static struct {
    uint8_t *shadow;
    struct object *_Atomic mail[MAIL];
    pthread_mutex_t lock; /* of flights */
    struct flight flights[FLIGHTS];
    uint32_t num_flights;
    atomic_bool landed; /* no thread starts another */
    int threads;
    int steps;
    uint64_t seed;
    _Atomic uint64_t pushes;
    _Atomic uint64_t moved_in_flight;
} model;

static uint8_t *shadow_of(const void *p)
{
    return model.shadow + ((uintptr_t)p - dk_heap_base) / DK_HEAP_ALIGN;
}

static size_t shadow_bytes(size_t bytes)
{
    return (bytes + DK_HEAP_ALIGN - 1) / DK_HEAP_ALIGN;
}

/* A new piece of memory, or NULL with the reason reported. */
static struct tenancy *move_in(uint8_t *p, size_t size, size_t align)
{
    struct tenancy *t = malloc(sizeof *t);
    *t = (struct tenancy){p, dk_heap_usable(p), 1};
    if ((uintptr_t)p % align != 0 || t->bytes < size || !kit_is_held(p)) {
        crew_fails("what was allocated is aligned, roomy and found", __FILE__, __LINE__);
        return NULL;
    }
    uint8_t *shadow = shadow_of(p);
    if (!kit_is_zero(shadow, shadow_bytes(t->bytes))) {
        crew_fails("no two objects overlap", __FILE__, __LINE__);
        return NULL;
    }
    memset(shadow, 1, shadow_bytes(t->bytes));
    return t;
}

/* Before the heap is told: afterwards the memory may be somebody else's. */
static void let_go(struct tenancy *t)
{
    if (atomic_fetch_sub(&t->holds, 1) != 1)
        return;
    memset(shadow_of(t->p), 0, shadow_bytes(t->bytes));
    free(t);
}

static bool is_intact(const struct object *o)
{
    const bool intact = pattern_length(o->p, o->size, o->seed, 0) == o->size;
    if (!intact)
        crew_fails("an object's contents are as they were written", __FILE__, __LINE__);
    return intact;
}

static size_t random_size(uint64_t *random)
{
    const uint32_t kind = random_below(random, 1000);
    const uint32_t most = kind < 600   ? 300
                          : kind < 900 ? 5000
                          : kind < 990 ? 70000
                          : kind < 999 ? 400000
                                       : 6000000;
    return 1 + random_below(random, most);
}

/* --- what the application does --------------------------------------------------------------- */

static void op_allocate(struct object *o, uint64_t *random)
{
    const uint32_t kind = random_below(random, 4);
    size_t align = DK_HEAP_ALIGN;
    o->size = random_size(random);
    o->seed = random_next(random);
    if (kind == 0) {
        o->p = dk_heap_zalloc(o->size);
        CREW_CHECK(o->p != NULL && kit_is_zero(o->p, o->size));
    } else if (kind == 1) {
        align = (size_t)16 << random_below(random, 10);
        o->p = dk_heap_aligned(align, o->size);
    } else {
        o->p = dk_heap_malloc(o->size);
    }
    CREW_CHECK(o->p != NULL);
    o->tenancy = move_in(o->p, o->size, align);
    pattern_fill(o->p, o->size, o->seed, 0);
}

static void op_free(struct object *o)
{
    if (!is_intact(o))
        return;
    uint8_t *p = o->p;
    o->p = NULL;
    let_go(o->tenancy);
    dk_heap_free(p);
}

/* The shadow changes hands around realloc: inside, the old memory goes and the new one comes. */
static void op_realloc(struct object *o, uint64_t *random)
{
    const size_t size = random_size(random);
    const size_t kept = size < o->size ? size : o->size;
    uint8_t *old = o->p;
    CREW_CHECK(dk_heap_get(old)); /* the old memory is this thread's until it gives it back */
    uint8_t *p = dk_heap_realloc(old, size);
    CREW_CHECK(p != NULL && p != old); /* in flight, it moves */
    CREW_CHECK(pattern_length(p, kept, o->seed, 0) == kept);
    if (!is_intact(o))
        return;
    let_go(o->tenancy);
    dk_heap_put(old + o->size - 1);
    model.moved_in_flight++;
    o->p = p;
    o->size = size;
    o->tenancy = move_in(p, size, DK_HEAP_ALIGN);
    pattern_fill(p, size, o->seed, 0);
}

/* Not in flight as far as this thread knows: it may stay. Nobody else may get the old memory before
 * its shadow is clear, so the shadow is cleared first and set again. */
static void op_realloc_idle(struct object *o, uint64_t *random)
{
    if (o->tenancy->holds != 1)
        return;
    const size_t size = random_size(random);
    const size_t kept = size < o->size ? size : o->size;
    if (!is_intact(o))
        return;
    let_go(o->tenancy);
    uint8_t *p = dk_heap_realloc(o->p, size);
    CREW_CHECK(p != NULL);
    CREW_CHECK(pattern_length(p, kept, o->seed, 0) == kept);
    o->p = p;
    o->size = size;
    o->tenancy = move_in(p, size, DK_HEAP_ALIGN);
    pattern_fill(p, size, o->seed, 0);
}

static void op_push(struct object *o, uint64_t *random)
{
    const uint64_t at = random_below(random, (uint32_t)o->size);
    const uint32_t most = (uint32_t)(o->size - at);
    struct flight flight = {o->p + at, 1 + random_below(random, most), o->seed, at, o->tenancy};
    atomic_fetch_add(&o->tenancy->holds, 1);
    CREW_CHECK(dk_heap_get(flight.p + random_below(random, (uint32_t)flight.len)));
    pthread_mutex_lock(&model.lock);
    const bool room = model.num_flights < FLIGHTS;
    if (room)
        model.flights[model.num_flights++] = flight;
    pthread_mutex_unlock(&model.lock);
    model.pushes++;
    if (room)
        return;
    let_go(o->tenancy); /* as many as are allowed: it completes at once */
    dk_heap_put(flight.p);
}

/* Gives a reference and takes it, many at a time: past what one byte counts. */
static void op_references(struct object *o, uint64_t *random)
{
    const uint32_t count = random_below(random, random_below(random, 50) == 0 ? 400 : 4);
    for (uint32_t i = 0; i < count; i++)
        CREW_CHECK(dk_heap_get(o->p + i % o->size));
    for (uint32_t i = 0; i < count; i++)
        dk_heap_put(o->p + i * 31ull % o->size);
}

/* Puts the object into a mailbox, and takes what somebody left there. */
static void op_mail(struct object *o, uint64_t *random)
{
    struct object *parcel = malloc(sizeof *parcel);
    *parcel = *o;
    o->p = NULL;
    parcel = atomic_exchange(&model.mail[random_below(random, MAIL)], parcel);
    if (parcel == NULL)
        return;
    *o = *parcel;
    free(parcel);
    is_intact(o);
}

/* --- the helper ------------------------------------------------------------------------------ */

/* Ends one push, any of those under way; false when there is none. */
static bool land_one(uint64_t *random)
{
    pthread_mutex_lock(&model.lock);
    const bool any = model.num_flights > 0;
    struct flight flight = {NULL, 0, 0, 0, NULL};
    if (any) {
        struct flight *f = &model.flights[random_below(random, model.num_flights)];
        flight = *f;
        *f = model.flights[--model.num_flights];
    }
    pthread_mutex_unlock(&model.lock);
    if (!any)
        return false;
    if (!kit_is_held(flight.p))
        crew_fails("memory in flight is held", __FILE__, __LINE__);
    else if (pattern_length(flight.p, flight.len, flight.seed, flight.at) != flight.len)
        crew_fails("bytes in flight do not change", __FILE__, __LINE__);
    let_go(flight.tenancy);
    dk_heap_put(flight.p + flight.len - 1);
    return true;
}

static void help(void)
{
    uint64_t random = model.seed ^ 0x4e1fe4;
    while (!crew_failed()) {
        const bool last = model.landed;
        if (land_one(&random))
            continue;
        if (last)
            return;
        sched_yield();
    }
}

/* --- a thread of the application ------------------------------------------------------------- */

static void step(struct object *o, uint64_t *random)
{
    if (o->p == NULL) {
        op_allocate(o, random);
        return;
    }
    switch (random_below(random, 10)) {
    case 0:
        op_realloc(o, random);
        break;
    case 1:
        op_realloc_idle(o, random);
        break;
    case 2:
    case 3:
        op_push(o, random);
        break;
    case 4:
        op_references(o, random);
        break;
    case 5:
        op_mail(o, random);
        break;
    default:
        op_free(o);
    }
}

static void apply(int index)
{
    uint64_t random = model.seed + (uint64_t)index * 0x51ab;
    struct object *objects = calloc(SLOTS, sizeof *objects);
    for (int i = 0; i < model.steps && !crew_failed(); i++) {
        step(&objects[random_below(&random, SLOTS)], &random);
        if (model.threads == 1 && random_below(&random, 3) == 0)
            land_one(&random);
        if (random_below(&random, 5000) == 0)
            dk_heap_trim();
    }
    for (int i = 0; i < SLOTS && !crew_failed(); i++)
        if (objects[i].p != NULL)
            op_free(&objects[i]);
    free(objects);
}

static void run(int index, void *arg)
{
    _Atomic int *running = arg;
    if (index == model.threads) {
        help();
        return;
    }
    apply(index);
    if (atomic_fetch_sub(running, 1) == 1)
        model.landed = true;
}

static void empty_mail(void)
{
    for (int i = 0; i < MAIL; i++) {
        struct object *parcel = atomic_exchange(&model.mail[i], NULL);
        if (parcel != NULL)
            op_free(parcel);
        free(parcel);
    }
}

static void run_model(int threads, uint64_t seed)
{
    const struct kit_gauges before = kit_gauges();
    const uint64_t deferred = kit_deferred();
    const size_t map_bytes = dk_heap_span / DK_HEAP_ALIGN;
    _Atomic int running = threads;
    model.shadow = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must_hold(model.shadow != MAP_FAILED, "no address space for the shadow map");
    pthread_mutex_init(&model.lock, NULL);
    model.threads = threads;
    model.seed = seed;
    model.steps = (under_sanitizer() ? 20000 : 240000) / threads;
    model.landed = false;
    model.pushes = model.moved_in_flight = 0;
    if (threads == 1) { /* the process has one thread: no atomics in the heap */
        apply(0);
        model.landed = true;
        help();
    } else {
        crew_start(threads + 1, run, &running);
        crew_join();
    }
    empty_mail();
    must_hold(!crew_failed(), "%s", crew_failure());
    assert_int_equal(model.num_flights, 0);
    const uint64_t counted = kit_deferred() - deferred;
    must_hold(counted >= model.moved_in_flight, "%llu frees deferred, %llu moved in flight",
              (unsigned long long)counted, (unsigned long long)model.moved_in_flight);
    print_message("%llu pushes, %llu frees deferred\n", (unsigned long long)model.pushes,
                  (unsigned long long)counted);
    kit_must_be_back(before);
    munmap(model.shadow, map_bytes);
}

static void test_heap_of_one_thread_agrees_with_the_model(void **state)
{
    (void)state;
    run_model(1, seed_choose(__func__));
}

static void test_heap_of_two_threads_agrees_with_the_model(void **state)
{
    (void)state;
    run_model(2, seed_choose(__func__));
}

static void test_heap_of_four_threads_agrees_with_the_model(void **state)
{
    (void)state;
    run_model(4, seed_choose(__func__));
}

static int start_heap(void **state)
{
    (void)state;
    dk_heap_free(dk_heap_malloc(1));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heap_of_one_thread_agrees_with_the_model),
        cmocka_unit_test(test_heap_of_two_threads_agrees_with_the_model),
        cmocka_unit_test(test_heap_of_four_threads_agrees_with_the_model),
    };
    alarm(under_sanitizer() ? 300 : 100);
    return cmocka_run_group_tests_name("heap-model", tests, start_heap, NULL);
}
