/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4, the keyed hash of Aumasson and Bernstein ("SipHash: a fast short-input PRF", 2012):
 * who does not know the key can neither predict a value nor choose inputs that collide.
 */
#ifndef DK_BASE_SIPHASH_H
#define DK_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t dk_siphash(const uint8_t key[16], const void *bytes, size_t len);

#endif /* DK_BASE_SIPHASH_H */
