/* SPDX-License-Identifier: MIT */
/* The first byte says whether the checksum is put right first: else few inputs pass it. */
#include "fuzz.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/wire/ipv4.h"

static void check_equal(const struct dk_ip4_header *a, const struct dk_ip4_header *b)
{
    FUZZ_CHECK(dk_ip_equal(&a->src, &b->src) && dk_ip_equal(&a->dst, &b->dst));
    FUZZ_CHECK(a->header_len == b->header_len && a->total_len == b->total_len);
    FUZZ_CHECK(a->tos == b->tos && a->ttl == b->ttl && a->protocol == b->protocol);
    FUZZ_CHECK(a->id == b->id && a->fragment_offset == b->fragment_offset);
    FUZZ_CHECK(a->dont_fragment == b->dont_fragment && a->more_fragments == b->more_fragments);
    FUZZ_CHECK(memcmp(a->options, b->options, a->header_len - 20u) == 0);
}

static void check_header(const uint8_t *bytes, size_t len)
{
    struct dk_ip4_header ip, again;
    enum dk_wire reason = dk_ip4_header_parse(bytes, len, &ip);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return;
    FUZZ_CHECK(ip.header_len >= 20 && ip.header_len <= ip.total_len && ip.total_len <= len);
    FUZZ_CHECK(ip.fragment_offset + ip.total_len <= UINT16_MAX);
    uint8_t *written = malloc(ip.total_len);
    FUZZ_CHECK(written != NULL);
    FUZZ_CHECK(dk_ip4_header_emit(&ip, written) == ip.header_len);
    FUZZ_CHECK(dk_ip4_header_parse(written, ip.total_len, &again) == DK_WIRE_OK);
    check_equal(&ip, &again);
    free(written);
}

static void check_quote(const uint8_t *bytes, size_t len)
{
    struct dk_ip4_header ip;
    enum dk_wire reason = dk_ip4_quote_parse(bytes, len, &ip);
    fuzz_check_reason(reason);
    if (reason == DK_WIRE_OK)
        FUZZ_CHECK(ip.header_len >= 20 && ip.header_len + 8u <= len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    bool put_right = (bytes[0] & 1) == 0;
    uint8_t *packet = malloc(len);
    FUZZ_CHECK(packet != NULL);
    len--;
    memcpy(packet, bytes + 1, len);
    size_t header_len = len > 0 ? (packet[0] & 0xfu) * 4 : 0;
    if (put_right && header_len >= 20 && header_len <= len) {
        dk_put_be16(packet + 10, 0);
        dk_put_be16(packet + 10, dk_checksum_finish(dk_checksum_add(0, packet, header_len)));
    }
    uint8_t *exact = realloc(packet, len > 0 ? len : 1);
    FUZZ_CHECK(exact != NULL);
    check_header(exact, len);
    check_quote(exact, len);
    free(exact);
    return 0;
}
