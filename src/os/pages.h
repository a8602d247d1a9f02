/* SPDX-License-Identifier: MIT */
/*
 * Address space for tables: reserved whole, backed by memory page by page as it is written.
 */
#ifndef DK_OS_PAGES_H
#define DK_OS_PAGES_H

#include <stddef.h>

/* Reserves bytes of zeroed memory; NULL without address space. Costs no memory until it is written.
 */
void *dk_pages_reserve(size_t bytes);

/* Gives a reservation back. NULL is allowed. */
void dk_pages_release(void *base, size_t bytes);

#endif /* DK_OS_PAGES_H */
