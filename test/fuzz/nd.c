/* SPDX-License-Identifier: MIT */
/* The first byte chooses where the message came from, went to, and whether through a router. */
#include "fuzz.h"

#include "net/wire/ipv6.h"
#include "net/wire/nd.h"

static void check_prefixes(const struct dk_nd *a, const struct dk_nd *b)
{
    FUZZ_CHECK(a->num_prefixes == b->num_prefixes && a->num_prefixes <= DK_ND_PREFIXES_MAX);
    for (uint8_t i = 0; i < a->num_prefixes; i++) {
        const struct dk_nd_prefix *x = &a->prefixes[i], *y = &b->prefixes[i];
        FUZZ_CHECK(dk_ip_equal(&x->prefix, &y->prefix) && x->len == y->len && x->len <= 128);
        FUZZ_CHECK(x->on_link == y->on_link && x->autonomous == y->autonomous);
        FUZZ_CHECK(x->valid_s == y->valid_s && x->preferred_s == y->preferred_s);
    }
}

static void check_equal(const struct dk_nd *a, const struct dk_nd *b)
{
    FUZZ_CHECK(a->type == b->type && a->hop_limit == b->hop_limit && a->mtu == b->mtu);
    FUZZ_CHECK(dk_ip_equal(&a->target, &b->target));
    FUZZ_CHECK(dk_ip_equal(&a->destination, &b->destination));
    FUZZ_CHECK(a->router == b->router && a->solicited == b->solicited);
    FUZZ_CHECK(a->override == b->override && a->managed == b->managed);
    FUZZ_CHECK(a->other_config == b->other_config && a->lifetime_s == b->lifetime_s);
    FUZZ_CHECK(a->reachable_ms == b->reachable_ms && a->retrans_ms == b->retrans_ms);
    FUZZ_CHECK(a->has_source_mac == b->has_source_mac && a->has_target_mac == b->has_target_mac);
    FUZZ_CHECK(dk_mac_equal(&a->source_mac, &b->source_mac));
    FUZZ_CHECK(dk_mac_equal(&a->target_mac, &b->target_mac));
    FUZZ_CHECK(a->has_nonce == b->has_nonce);
    FUZZ_CHECK(memcmp(a->nonce, b->nonce, DK_ND_NONCE_LEN) == 0);
    check_prefixes(a, b);
}

static struct dk_nd_ip ip_of(uint8_t choice)
{
    static const uint8_t sources[4][16] = {
        {0xfe, 0x80, [15] = 1}, {0}, {0x20, 1, 0xd, 0xb8, [15] = 1}, {0xfe, 0x80, [15] = 2}};
    static const uint8_t destinations[4][16] = {{0xff, 2, [15] = 1},
                                                {0xff, 2, [11] = 1, [12] = 0xff},
                                                {0xfe, 0x80, [15] = 3},
                                                {0x20, 1, 0xd, 0xb8, [15] = 3}};
    return (struct dk_nd_ip){dk_ip6_at(sources[choice & 3]),
                             dk_ip6_at(destinations[choice >> 2 & 3]), choice & 0x80 ? 254 : 255};
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    struct dk_nd nd, again;
    struct dk_nd_ip ip = ip_of(bytes[0]);
    uint8_t written[DK_ND_EMIT_MAX];
    enum dk_wire reason = dk_nd_parse(bytes + 1, len - 1, &ip, &nd);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(ip.hop_limit == 255);
    size_t written_len = dk_nd_emit(&nd, written);
    FUZZ_CHECK(written_len <= sizeof(written));
    FUZZ_CHECK(dk_nd_parse(written, written_len, &ip, &again) == DK_WIRE_OK);
    check_equal(&nd, &again);
    return 0;
}
