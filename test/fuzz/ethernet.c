/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "net/wire/ethernet.h"

static void check_equal(const struct dk_eth_header *a, const struct dk_eth_header *b)
{
    FUZZ_CHECK(dk_mac_equal(&a->dst, &b->dst) && dk_mac_equal(&a->src, &b->src));
    FUZZ_CHECK(a->type == b->type && a->vlan == b->vlan && a->priority == b->priority);
    FUZZ_CHECK(a->drop_eligible == b->drop_eligible && a->tagged == b->tagged);
    FUZZ_CHECK(a->header_len == b->header_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_eth_header eth, again;
    uint8_t written[DK_ETH_HEADER_MAX];
    enum dk_wire reason = dk_eth_header_parse(bytes, len, &eth);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(eth.header_len <= len && eth.vlan < 4096);
    FUZZ_CHECK(dk_eth_header_emit(&eth, written) == eth.header_len);
    FUZZ_CHECK(memcmp(written, bytes, eth.header_len) == 0);
    FUZZ_CHECK(dk_eth_header_parse(written, eth.header_len, &again) == DK_WIRE_OK);
    check_equal(&eth, &again);
    return 0;
}
