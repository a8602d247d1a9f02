/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "net/wire/arp.h"

static void check_equal(const struct dk_arp *a, const struct dk_arp *b)
{
    FUZZ_CHECK(a->operation == b->operation);
    FUZZ_CHECK(dk_mac_equal(&a->sender_mac, &b->sender_mac));
    FUZZ_CHECK(dk_mac_equal(&a->target_mac, &b->target_mac));
    FUZZ_CHECK(dk_ip_equal(&a->sender_ip, &b->sender_ip));
    FUZZ_CHECK(dk_ip_equal(&a->target_ip, &b->target_ip));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_arp arp, again;
    uint8_t written[DK_ARP_LEN];
    enum dk_wire reason = dk_arp_parse(bytes, len, &arp);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK((arp.sender_mac.bytes[0] & 1) == 0);
    FUZZ_CHECK(dk_arp_emit(&arp, written) == DK_ARP_LEN);
    FUZZ_CHECK(memcmp(written, bytes, DK_ARP_LEN) == 0);
    FUZZ_CHECK(dk_arp_parse(written, DK_ARP_LEN, &again) == DK_WIRE_OK);
    check_equal(&arp, &again);
    return 0;
}
