/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "base/checksum.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"

static void check_equal(const struct dk_icmp6 *a, const struct dk_icmp6 *b)
{
    FUZZ_CHECK(a->type == b->type && a->code == b->code && a->rest == b->rest);
    FUZZ_CHECK(a->data_len == b->data_len && memcmp(a->data, b->data, a->data_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_icmp6 icmp, again;
    struct dk_ip6_header quoted;
    struct dk_ip6_extensions found;
    enum dk_wire reason = dk_icmp6_parse(bytes, len, &icmp);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(icmp.data == bytes + 8 && icmp.data_len == len - 8);
    if (dk_icmp6_is_error(icmp.type))
        fuzz_check_reason(dk_ip6_quote_parse(icmp.data, icmp.data_len, &quoted, &found));
    uint8_t *written = malloc(len);
    FUZZ_CHECK(written != NULL);
    FUZZ_CHECK(dk_icmp6_emit(&icmp, 58, written) == 8);
    memcpy(written + 8, icmp.data, icmp.data_len);
    FUZZ_CHECK(dk_checksum_is_good(58, written, len));
    FUZZ_CHECK(dk_icmp6_parse(written, len, &again) == DK_WIRE_OK);
    check_equal(&icmp, &again);
    free(written);
    return 0;
}
