/* SPDX-License-Identifier: MIT */
/*
 * SipHash-1-3, the keyed hash of Aumasson and Bernstein ("SipHash: a fast short-input PRF", 2012)
 * with one compression and three finalisation rounds. The key is chosen at start, so that nobody
 * outside can choose keys that collide.
 */
#ifndef KV_SIPHASH_H
#define KV_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t kv_siphash(const uint64_t key[2], const void *data, size_t len);

#endif /* KV_SIPHASH_H */
