/* SPDX-License-Identifier: MIT */
/*
 * Compiler annotations used by the public headers.
 *
 * The parameter annotations document direction and size; with GCC and clang they expand to nothing.
 * ATTR_NONNULL is deliberately empty: NULL is answered with EINVAL, and the attribute would let the
 * compiler delete that check.
 */
#ifndef DEMI_CC_H
#define DEMI_CC_H

#ifndef _In_
#define _In_
#define _In_z_
#define _In_opt_
#define _Inout_
#define _In_reads_(s)
#define _In_reads_bytes_(b)
#define _Out_
#define _Out_opt_
#define _Out_writes_(s)
#define _Out_writes_to_(s, c)
#define _Out_writes_to_opt_(s, c)
#define _Deref_pre_z_
#endif

#define ATTR_NONNULL(...)
#define ATTR_NODISCARD __attribute__((warn_unused_result))

/* Marks what the shared library exports; everything else is hidden. */
#define DEMI_PUBLIC __attribute__((visibility("default")))

#ifdef __cplusplus
#define DEMI_BEGIN_DECLS extern "C" {
#define DEMI_END_DECLS   }
#else
#define DEMI_BEGIN_DECLS
#define DEMI_END_DECLS
#endif

#endif /* DEMI_CC_H */
