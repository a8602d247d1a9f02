/* SPDX-License-Identifier: MIT */
/*
 * Address space, and memory behind it.
 *
 * Two kinds of use: a table is reserved whole and gets memory page by page as it is written
 * (dk_pages_reserve); a range is claimed without any access, and parts of it are backed and
 * unbacked (dk_pages_claim). Sizes and addresses of parts are multiples of the page, 4 KiB. Nothing
 * here changes errno.
 */
#ifndef DK_OS_PAGES_H
#define DK_OS_PAGES_H

#include <stdbool.h>
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

/* Bytes of address space that the process may have, RLIMIT_AS; SIZE_MAX: as many as there are. */
size_t dk_pages_address_limit(void);

/* Claims address space that starts at a multiple of align (a power of two); NULL without. */
void *dk_pages_claim(size_t bytes, size_t align);

/* Puts zeroed memory behind a part of a claim: false without memory. */
bool dk_pages_back(void *p, size_t bytes);

/*
 * The same from the free huge pages of hugetlbfs (Linux 5.16); p and bytes are multiples of 2 MiB.
 * 0; -ENOMEM: there are not enough, and nothing changed; -EFAULT: this part of the claim is lost,
 * and must not be touched again.
 */
int dk_pages_back_huge(void *p, size_t bytes);

/* Asks for transparent huge pages: false when the kernel has none. */
bool dk_pages_prefer_huge(void *p, size_t bytes);

/* Takes the memory from a part of a claim. false: it could not, and this part must not be used
 * again.
 */
bool dk_pages_unback(void *p, size_t bytes);

/* Gives memory back until it is touched again, then it is zero. false: it stayed as it was. */
bool dk_pages_purge(void *p, size_t bytes);

/* Moves the pages behind `from` behind `to`, a part of a claim too; `from` is backed by new zeros
 * then. false: nothing happened (hugetlb, or Linux before 5.7). */
bool dk_pages_move(void *to, void *from, size_t bytes);

/* Keeps pages in memory from when they are touched: false past RLIMIT_MEMLOCK. */
bool dk_pages_lock(void *p, size_t bytes);
void dk_pages_unlock(void *p, size_t bytes);

#endif /* DK_OS_PAGES_H */
