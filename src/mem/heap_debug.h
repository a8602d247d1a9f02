/* SPDX-License-Identifier: MIT */
/*
 * Checked objects: what DEMI_DEBUG adds to the heap, and what AddressSanitizer sees of it.
 *
 *     | requested bytes | canary, 8 bytes or more | requested size, 8 bytes |
 *
 * While an object is free it is filled with junk from end to end. A canary that changed is an
 * overrun, reported when the object is freed; junk that changed is a write after free, reported
 * when the object is used again. Under AddressSanitizer all but the requested bytes is poisoned
 * too, so that the access itself is reported.
 */
#ifndef DK_MEM_HEAP_DEBUG_H
#define DK_MEM_HEAP_DEBUG_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that an object needs beyond those requested. */
#define DK_DEBUG_EXTRA 16

/* Whether every object is checked, whatever was asked for. */
#if defined(__SANITIZE_ADDRESS__)
#define DK_DEBUG_ALWAYS true
#else
#define DK_DEBUG_ALWAYS false
#endif

/* Objects of a new superblock: fills them with junk. */
void dk_debug_fresh(void *start, size_t bytes);

/* An object is handed out: checks its junk (`used_before`: it was junk), sets its canary. */
void dk_debug_alloc(void *p, size_t object_bytes, size_t requested, bool used_before);

/* An object's requested size changes in place. */
void dk_debug_resize(void *p, size_t object_bytes, size_t requested);

/* Ends the process when the object's canary is damaged; call is named in the report. */
void dk_debug_check(const char *call, const void *p, size_t object_bytes);

/* An object was given up by everybody: fills it with junk. */
void dk_debug_free(void *p, size_t object_bytes);

/* The memory of an object goes back to the slices: any use is allowed. */
void dk_debug_gone(void *p, size_t bytes);

/* Bytes requested. */
size_t dk_debug_requested(const void *p, size_t object_bytes);

#endif /* DK_MEM_HEAP_DEBUG_H */
