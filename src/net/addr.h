/* SPDX-License-Identifier: MIT */
/*
 * Addresses as the stack has them.
 */
#ifndef DK_NET_ADDR_H
#define DK_NET_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct dk_mac {
    uint8_t bytes[6];
};

/* An IPv4 or IPv6 address, in network order; bytes that a version does not use are zero, so two are
 * equal when all their bytes are. Version 0: none. */
struct dk_ip {
    union {
        uint8_t bytes[16];
        uint32_t v4; /* network order */
        uint64_t words[2];
    };
    uint8_t version; /* 4, 6 or 0 */
    uint8_t unused[7];
};

struct dk_endpoint {
    struct dk_ip ip;
    uint16_t port; /* host order */
};

/* A flow of TCP or UDP, as this host sees it. */
struct dk_flow {
    struct dk_ip local, remote;
    uint16_t local_port, remote_port; /* host order */
    uint8_t protocol;                 /* as IP has it */
};

static inline bool dk_ip_equal(const struct dk_ip *a, const struct dk_ip *b)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->version == b->version;
}

static inline bool dk_mac_equal(const struct dk_mac *a, const struct dk_mac *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

#endif /* DK_NET_ADDR_H */
