/* SPDX-License-Identifier: MIT */
/*
 * The Toeplitz hash by which NICs spread flows over their queues (Microsoft, "RSS Hashing Types"
 * and "Verifying the RSS Hash Calculation"): for each bit of the input that is set, the 32 bits of
 * the key that begin at the same place are added, without carry.
 *
 * The input is what a packet has, in network order: source and destination address, and, for a hash
 * with ports, source and destination port.
 *
 * With a key of 16 bits that repeat, a word of the input adds the same wherever it stands: so the
 * hash is one of all 16-bit words added up, both directions of a flow have the same, and a packet
 * filter can form it (Woo and Park, "Scalable TCP Session Monitoring with Symmetric Receive-side
 * Scaling", 2012).
 */
#ifndef DK_BASE_TOEPLITZ_H
#define DK_BASE_TOEPLITZ_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>

#define DK_TOEPLITZ_KEY_BYTES 40      /* enough for two IPv6 addresses and ports */
#define DK_TOEPLITZ_WORD      0x6d5au /* that the symmetric key repeats */

/* key: at least len + 4 bytes. */
DK_EXPORT uint32_t dk_toeplitz(const uint8_t key[], const void *input, size_t len);

/* The symmetric key. */
DK_EXPORT extern const uint8_t dk_toeplitz_symmetric[DK_TOEPLITZ_KEY_BYTES];

/* The hash with that key, of an input whose 16-bit words (in host order) add up to `words`, without
 * carry. */
uint32_t dk_toeplitz_of_words(uint16_t words);

#endif /* DK_BASE_TOEPLITZ_H */
