/* SPDX-License-Identifier: MIT */
/*
 * How misuse of the heap ends: one line on standard error that says what was called, with which
 * pointer, and what is wrong; then abort().
 */
#ifndef DK_MEM_HEAP_REPORT_H
#define DK_MEM_HEAP_REPORT_H

#include <stddef.h>

/* Writes "demikernel: CALL(POINTER): REASON" and aborts. Allocates nothing. */
void dk_heap_report(const char *call, const void *p, const char *reason)
    __attribute__((noreturn, cold));

/* As dk_heap_report, ", at offset N" behind the reason. */
void dk_heap_report_at(const char *call, const void *p, const char *reason, size_t offset)
    __attribute__((noreturn, cold));

#endif /* DK_MEM_HEAP_REPORT_H */
