/* SPDX-License-Identifier: MIT */
/*
 * Interface identifiers: identifier.h says which.
 */
#include "net/identifier.h"

#include "base/bytes.h"
#include "base/siphash.h"

static uint64_t eui64(const struct dk_mac *mac)
{
    const uint8_t *m = mac->bytes;
    const uint8_t id[8] = {m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
    return dk_get_be64(id);
}

/* RFC 7217 section 5, without the optional Network_ID. */
static uint64_t stable(const struct dk_net_config *config, const struct dk_ip *prefix,
                       uint8_t counter)
{
    uint8_t bytes[8 + sizeof(config->mac.bytes) + 1];
    memcpy(bytes, prefix->bytes, 8);
    memcpy(bytes + 8, config->mac.bytes, sizeof(config->mac.bytes));
    bytes[sizeof(bytes) - 1] = counter;
    return dk_siphash(config->identifier_secret, bytes, sizeof(bytes));
}

/* Of routers (RFC 4291 section 2.6.1), of the IANA's block of link addresses (RFC 6543
 * has one of them), of anycast groups (RFC 2526). */
bool dk_identifier_is_reserved(uint64_t id)
{
    return id == 0 || (id >= UINT64_C(0x02005efffe000000) && id <= UINT64_C(0x02005efffeffffff)) ||
           (id >= UINT64_C(0xfdffffffffffff80) && id <= UINT64_C(0xfdffffffffffffff));
}

void dk_identifier_put(const struct dk_net_config *config, struct dk_ip *ip, uint8_t *counter)
{
    uint64_t id = eui64(&config->mac);
    if (config->stable_identifiers)
        while (dk_identifier_is_reserved(id = stable(config, ip, *counter)))
            ++*counter;
    dk_put_be64(ip->bytes + 8, id);
}
