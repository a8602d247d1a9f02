/* SPDX-License-Identifier: MIT */
/*
 * Scatter-gather arrays: allocation, free, sharing.
 *
 * Segments may be narrowed, reordered or dropped before a push or a free: the handle in sga_buf is
 * what is owned. An sga may be freed while a push of it is outstanding (free-protection): its
 * memory is reclaimed when the push ends. None of these blocks.
 */
#ifndef DEMI_SGA_H
#define DEMI_SGA_H

#include <demi/cc.h>
#include <demi/types.h>
#include <stddef.h>
#include <sys/socket.h>

DEMI_BEGIN_DECLS

/* Allocates one segment of exactly size bytes, uninitialised. Failure (0, more than UINT32_MAX, no
 * memory) is an sga all zero. */
DEMI_PUBLIC demi_sgarray_t demi_sgaalloc(_In_ size_t size);

/* Allocates num_segs (1 to DEMI_SGARRAY_MAXSIZE) segments of the given lengths in bytes. Failure is
 * an sga all zero. */
DEMI_PUBLIC demi_sgarray_t demi_sgaalloc_segs(_In_reads_(num_segs) const uint32_t lens[],
                                              _In_ uint32_t num_segs);

/*
 * Gives back the application's hold on an sga. 0 for one with sga_buf NULL and no segments (the end
 * of a stream). Errors: EINVAL for NULL, an sga freed before, one the library did not make.
 */
DEMI_PUBLIC int demi_sgafree(_In_ demi_sgarray_t *sga);

/*
 * Makes a second sga over the same memory, by reference; each is freed by itself. Who shares must
 * not write. Errors: EINVAL for an sga that the library did not make or that was freed.
 */
DEMI_PUBLIC int demi_sgaclone(_Out_ demi_sgarray_t *sga_out, _In_ const demi_sgarray_t *sga);

/*
 * Returns the sender of a popped datagram, IPv4 or IPv6. *len: space in, size out (the address is
 * truncated to fit). Errors: ENOTCONN the element has no sender address; EINVAL.
 */
DEMI_PUBLIC int demi_sga_peer(_In_ const demi_sgarray_t *sga,
                              _Out_writes_to_(*len, *len) struct sockaddr *addr_out,
                              _Inout_ socklen_t *len);

DEMI_END_DECLS

#endif /* DEMI_SGA_H */
