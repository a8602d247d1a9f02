/* SPDX-License-Identifier: MIT */
/*
 * malloc(3) for programs that are not rewritten: LD_PRELOAD=libdemikernel-malloc.so.
 *
 * Everything comes from the heap of libdemikernel.so, which this library needs: one heap in the
 * process, also when the program is linked with libdemikernel.so itself. Memory that the heap
 * cannot give (larger than it allows, or no address space) comes from glibc, so a program gets as
 * much as it would get without us; a push copies such memory.
 *
 * Foreign memory is what glibc gave: before us, by its own names, or when the heap could not. Each
 * function takes it and hands it to glibc; realloc brings it home.
 *
 * Rules:
 * - The loader calls malloc before any constructor ran, and dlsym calls it too. So nothing here is
 *   set up, and nothing here calls dlsym but malloc_usable_size of foreign memory.
 * - The heap leaves errno alone. ENOMEM is set by glibc when it has no memory either.
 * - Built without knowledge of the names: else malloc and memset become a call of calloc, here.
 */
#include "mem/heap.h"
#include "mem/heap_fast.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The names under which glibc exports its own. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *p);

/* Its span is 0 until a pointer was first asked about. */
static struct dk_heap_window window;

static __attribute__((noinline, cold)) bool look_out(const void *p)
{
    struct dk_heap_window now;
    dk_heap_get_window(&now);
    if (now.span == 0)
        return false;
    __atomic_store_n(&window.base, now.base, __ATOMIC_RELAXED);
    __atomic_store_n(&window.free_map, now.free_map, __ATOMIC_RELAXED);
    __atomic_store_n(&window.span, now.span, __ATOMIC_RELEASE); /* pairs with the load in owns */
    return (uintptr_t)p - now.base < now.span;
}

static inline bool owns(const void *p)
{
    const size_t span = __atomic_load_n(&window.span, __ATOMIC_ACQUIRE);
    if (dk_likely((uintptr_t)p - __atomic_load_n(&window.base, __ATOMIC_RELAXED) < span))
        return true;
    return dk_unlikely(span == 0) && look_out(p);
}

/* libdemikernel.so asks whether it is defined. */
DK_EXPORT extern const char dk_malloc_is_preloaded;
const char dk_malloc_is_preloaded = 1;

/*
 * The heap must have its handlers of fork registered before anybody else: only then it locks last
 * before a fork and unlocks first after it, and other handlers may allocate. Hence a constructor,
 * and one that runs before all others (-z initfirst), that of the C library too: the environment,
 * which the heap reads, is not set yet. The loader gives it to constructors.
 */
__attribute__((constructor)) static void begin(int argc, char **argv, char **envp)
{
    (void)argc;
    (void)argv;
    if (environ == NULL)
        environ = envp;
    void *p = dk_heap_malloc(1);
    if (p != NULL)
        dk_heap_free(p);
}

static void *fail(int error)
{
    errno = error;
    return NULL;
}

static bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static __attribute__((noinline)) void *malloc_slow(size_t size)
{
    void *p = dk_heap_malloc(size);
    return p != NULL ? p : __libc_malloc(size);
}

DK_EXPORT void *malloc(size_t size)
{
    void *p = dk_heap_take_cached(size, DK_REF_APP);
    return dk_likely(p != NULL) ? p : malloc_slow(size);
}

DK_EXPORT void *calloc(size_t n, size_t size)
{
    size_t bytes;
    if (dk_unlikely(__builtin_mul_overflow(n, size, &bytes)))
        return fail(ENOMEM);
    void *p = dk_heap_zalloc(bytes);
    return dk_likely(p != NULL) ? p : __libc_calloc(1, bytes);
}

static __attribute__((noinline)) void free_slow(void *p)
{
    if (owns(p))
        dk_heap_free(p);
    else if (p != NULL)
        __libc_free(p);
}

DK_EXPORT void free(void *p)
{
    if (dk_unlikely(!owns(p) ||
                    !dk_heap_give_cached(p, window.free_map[(uintptr_t)p >> DK_SLICE_SHIFT])))
        free_slow(p);
}

/* Moves an object of the heap to glibc, when the heap cannot make it as large as that. */
static void *move_out(void *p, size_t size)
{
    void *moved = __libc_malloc(size);
    if (moved == NULL)
        return NULL;
    const size_t usable = dk_heap_usable(p);
    memcpy(moved, p, usable < size ? usable : size);
    dk_heap_free(p);
    return moved;
}

/* Moves a foreign object into the heap. glibc makes it as large as it shall be first, so that its
 * old size need not be known. */
static void *move_in(void *p, size_t size)
{
    void *resized = __libc_realloc(p, size);
    void *moved = resized != NULL ? dk_heap_malloc(size) : NULL;
    if (moved == NULL)
        return resized;
    memcpy(moved, resized, size);
    __libc_free(resized);
    return moved;
}

DK_EXPORT void *realloc(void *p, size_t size)
{
    if (p == NULL)
        return malloc(size);
    if (size == 0) { /* as glibc has it */
        free(p);
        return NULL;
    }
    if (dk_unlikely(!owns(p)))
        return move_in(p, size);
    void *resized = dk_heap_realloc(p, size);
    return dk_likely(resized != NULL) ? resized : move_out(p, size);
}

DK_EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return fail(ENOMEM);
    return realloc(p, bytes);
}

static void *allocate_aligned(size_t align, size_t size)
{
    void *p = dk_heap_aligned(align, size);
    return dk_likely(p != NULL) ? p : __libc_memalign(align, size);
}

DK_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    return is_power_of_two(align) ? allocate_aligned(align, size) : fail(EINVAL);
}

/* Any alignment will do: glibc takes the next power of two. */
DK_EXPORT void *memalign(size_t align, size_t size)
{
    size_t power = DK_HEAP_ALIGN;
    while (power < align && power <= SIZE_MAX / 4)
        power *= 2;
    return power >= align ? allocate_aligned(power, size) : fail(EINVAL);
}

/* The error is the return value: errno stays. */
DK_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    if (!is_power_of_two(align) || align % sizeof(void *) != 0)
        return EINVAL;
    const int saved = errno;
    void *p = allocate_aligned(align, size);
    errno = saved;
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

DK_EXPORT void *valloc(size_t size)
{
    return allocate_aligned((size_t)getpagesize(), size);
}

DK_EXPORT void *pvalloc(size_t size)
{
    const size_t page = (size_t)getpagesize();
    size_t bytes;
    if (__builtin_add_overflow(size, page - 1, &bytes))
        return fail(ENOMEM);
    return allocate_aligned(page, bytes & ~(page - 1));
}

/* glibc has no second name for this one. RTLD_NEXT would find another allocator that the program is
 * linked with, which has never seen glibc's memory. */
static size_t usable_foreign(void *p)
{
    static size_t (*cached)(void *);
    size_t (*usable)(void *) = __atomic_load_n(&cached, __ATOMIC_ACQUIRE);
    if (usable == NULL) {
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        if (libc == NULL)
            return 0;
        *(void **)&usable = dlsym(libc, "malloc_usable_size");
        __atomic_store_n(&cached, usable, __ATOMIC_RELEASE);
    }
    return usable != NULL ? usable(p) : 0;
}

DK_EXPORT size_t malloc_usable_size(void *p)
{
    if (dk_likely(owns(p)))
        return dk_heap_usable(p);
    return p != NULL ? usable_foreign(p) : 0;
}
