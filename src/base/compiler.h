/* SPDX-License-Identifier: MIT */
/*
 * Compiler hints.
 */
#ifndef DK_BASE_COMPILER_H
#define DK_BASE_COMPILER_H

#define dk_likely(x)   __builtin_expect(!!(x), 1)
#define dk_unlikely(x) __builtin_expect(!!(x), 0)

/* Of a variable of the library: addressed directly, not through the table of global offsets. */
#define DK_HIDDEN __attribute__((visibility("hidden")))

/* Of what the library's own loadable modules call (src/demikernel.map, DEMIKERNEL_PRIVATE). */
#define DK_EXPORT __attribute__((visibility("default")))

/* The compiler forgets what it knows of a pointer: it keeps no value that it computed from it. */
#define dk_forget(p) __asm__ volatile("" : "+r"(p))

#endif /* DK_BASE_COMPILER_H */
