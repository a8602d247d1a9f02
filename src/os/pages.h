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

/*
 * Tells a leak detector, where one is linked in, that this part of a reservation is in use and may
 * hold pointers: it would read a whole table, most of which was never written. The same parts are
 * taken back before dk_pages_release.
 */
void dk_pages_add_root(const void *p, size_t bytes);
void dk_pages_drop_root(const void *p, size_t bytes);

/* Gives a reservation back. NULL is allowed. */
void dk_pages_release(void *base, size_t bytes);

#endif /* DK_OS_PAGES_H */
