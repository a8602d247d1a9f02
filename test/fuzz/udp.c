/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "net/wire/udp.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_udp_header udp;
    uint8_t written[DK_UDP_HEADER_LEN];
    enum dk_wire reason = dk_udp_header_parse(bytes, len, &udp);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(udp.len >= DK_UDP_HEADER_LEN && udp.len <= len && udp.dst_port != 0);
    FUZZ_CHECK(dk_udp_header_emit(&udp, written) == DK_UDP_HEADER_LEN);
    FUZZ_CHECK(memcmp(written, bytes, DK_UDP_HEADER_LEN) == 0);
    return 0;
}
