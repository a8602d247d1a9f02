/* SPDX-License-Identifier: MIT */
/*
 * The two short paths of the heap, inlined where programs come in: malloc pops an object from the
 * thread's stack of its class, free pushes it there; both check and set the object's reference
 * byte. Neither changes anything when it cannot serve: then heap.h is for the caller.
 */
#ifndef DK_MEM_HEAP_FAST_H
#define DK_MEM_HEAP_FAST_H

#include "mem/cache.h"

/* An object of at least size bytes whose byte becomes ref, or NULL. */
static inline void *dk_heap_take_cached(size_t size, uint8_t ref)
{
    uint32_t size_class;
    if (dk_likely(size <= DK_CLASS_SMALL_BYTES))
        size_class = dk_class_of_small(size);
    else if (size <= DK_CLASS_MAX_BYTES)
        size_class = dk_class_of(size);
    else
        return NULL;
    struct dk_stack *stack = &dk_cache_self->stacks[size_class];
    const struct dk_free_object object = stack->first;
    /* Not so when it was freed twice by two threads at a time. */
    if (dk_unlikely(!object.p || __atomic_load_n(object.ref, __ATOMIC_RELAXED) != DK_REF_CACHED))
        return NULL;
    dk_stack_drop(stack);
    __atomic_store_n(object.ref, ref, __ATOMIC_RELAXED);
    return object.p;
}

/* What code outside of the library keeps, because a load is cheaper than a call. It does not change
 * once the heap was used; span is 0 before. */
struct dk_heap_window {
    uintptr_t base;
    size_t span;
    const uint64_t *free_map; /* dk_free_map */
};

DK_EXPORT void dk_heap_get_window(struct dk_heap_window *out);

/* What dk_heap_give_cached wants to know about p, which is in the heap's range. */
static inline uint64_t dk_heap_free_word(const void *p)
{
    return __atomic_load_n(&dk_free_map[(uintptr_t)p >> DK_SLICE_SHIFT], __ATOMIC_RELAXED);
}

/* Frees p if it is the start of an object that only the application holds, and the thread's cache
 * has room. */
static inline bool dk_heap_give_cached(void *p, uint64_t word)
{
    const uint32_t shift = dk_free_word_shift(word);
    const uint64_t granule = (uintptr_t)p >> shift;
    if (dk_unlikely(word == 0 || granule << shift != (uintptr_t)p))
        return false;
    uint8_t *ref = dk_free_word_ref(word, granule);
    struct dk_stack *stack = &dk_cache_self->stacks[dk_free_word_stack(word)];
    /* Acquires what another thread did before it gave a reference back. */
    if (dk_unlikely(__atomic_load_n(ref, __ATOMIC_ACQUIRE) != DK_REF_APP ||
                    stack->top == stack->limit))
        return false;
    __atomic_store_n(ref, DK_REF_CACHED, __ATOMIC_RELAXED);
    dk_stack_push(stack, p, ref);
    return true;
}

#endif /* DK_MEM_HEAP_FAST_H */
