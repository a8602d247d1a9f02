/* SPDX-License-Identifier: MIT */
/*
 * SYN cookies that have opened a connection. A cookie is good for a minute or two, and its
 * connection may be over before that: an ACK of it that comes late then, because it was delayed or
 * doubled on the way, must not open another one, of which the peer knows nothing.
 *
 * There are so many that a thousand connections a second, for as long as a cookie is good, find
 * room. Beyond that the oldest of a set is forgotten, and counted.
 */
#ifndef DK_NET_TCP_COOKIE_USED_H
#define DK_NET_TCP_COOKIE_USED_H

#include <stdbool.h>
#include <stdint.h>

/* The hash of a cookie: the first 24 bits go over the wire, of the rest 13 say which set, and 27
 * which cookie of the set. So one in eight million others is taken for it. */
#define DK_TCP_COOKIE_HASH_BITS 24
#define DK_TCP_USED_SET_BITS    13
#define DK_TCP_USED_TAG_BITS    27
#define DK_TCP_USED_SETS        (1u << DK_TCP_USED_SET_BITS)
#define DK_TCP_USED_WAYS        16u /* of a set: a line of memory */

struct dk_tcp_used {
    /* Oldest first. The period of the cookie above the tag; 0: none (no tag is 0). */
    uint32_t sets[DK_TCP_USED_SETS][DK_TCP_USED_WAYS];
};

/* NULL: no memory. */
struct dk_tcp_used *dk_tcp_used_create(void);

/* NULL is let be. */
void dk_tcp_used_destroy(struct dk_tcp_used *used);

bool dk_tcp_used_has(const struct dk_tcp_used *used, uint64_t hash);

/* Adds one that is not in there. Returns what made room for it, and its period; false: nothing. */
bool dk_tcp_used_add(struct dk_tcp_used *used, uint64_t hash, uint32_t period,
                     uint32_t *forgotten_period_out);

#endif /* DK_NET_TCP_COOKIE_USED_H */
