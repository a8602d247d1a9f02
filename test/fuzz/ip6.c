/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "net/wire/ipv6.h"

static void check_equal(const struct dk_ip6_header *a, const struct dk_ip6_header *b)
{
    FUZZ_CHECK(dk_ip_equal(&a->src, &b->src) && dk_ip_equal(&a->dst, &b->dst));
    FUZZ_CHECK(a->tos == b->tos && a->next_header == b->next_header);
    FUZZ_CHECK(a->hop_limit == b->hop_limit && a->payload_len == b->payload_len);
    FUZZ_CHECK(a->flow_label == b->flow_label);
}

static void check_problem(const struct dk_ip6_extensions *found, size_t len)
{
    switch (found->problem) {
    case DK_IP6_PROBLEM_NONE:
    case DK_IP6_PROBLEM_FIRST_FRAGMENT:
        break;
    case DK_IP6_PROBLEM_FIELD:
    case DK_IP6_PROBLEM_NEXT_HEADER:
    case DK_IP6_PROBLEM_OPTION:
    case DK_IP6_PROBLEM_OPTION_UNICAST:
        FUZZ_CHECK(found->problem_at < len);
        break;
    default:
        FUZZ_CHECK(false);
    }
}

/* What the walk found is in the packet, and its fragment header is what would be written. */
static void check_found(const uint8_t *packet, size_t len, const struct dk_ip6_extensions *found)
{
    uint8_t written[DK_IP6_FRAGMENT_LEN];
    FUZZ_CHECK(found->payload_at >= 40 && found->payload_at <= len);
    FUZZ_CHECK(found->protocol_at < found->payload_at);
    FUZZ_CHECK(packet[found->protocol_at] == found->protocol);
    if (!found->is_fragment)
        return;
    const uint8_t *header = packet + found->fragment_at;
    struct dk_ip6_fragment fragment = {found->protocol, found->more_fragments,
                                       found->fragment_offset, found->fragment_id};
    FUZZ_CHECK(found->fragment_at + 8 == found->payload_at && found->fragment_offset % 8 == 0);
    FUZZ_CHECK(dk_ip6_fragment_emit(&fragment, written) == 8);
    FUZZ_CHECK(written[0] == header[0] && memcmp(written + 4, header + 4, 4) == 0);
    FUZZ_CHECK(written[2] == header[2] && written[3] == (header[3] & 0xf9));
}

/* The walk, in a block that ends where the packet does. */
static void check_walk(const uint8_t *packet, size_t len)
{
    struct dk_ip6_extensions found;
    uint8_t *exact = malloc(len);
    FUZZ_CHECK(exact != NULL);
    memcpy(exact, packet, len);
    enum dk_wire reason = dk_ip6_extensions_walk(exact, len, &found);
    fuzz_check_reason(reason);
    if (reason == DK_WIRE_OK)
        check_found(exact, len, &found);
    else
        check_problem(&found, len);
    free(exact);
}

static void check_quote(const uint8_t *bytes, size_t len)
{
    struct dk_ip6_header ip;
    struct dk_ip6_extensions found;
    if (dk_ip6_quote_parse(bytes, len, &ip, &found) != DK_WIRE_OK)
        return;
    check_found(bytes, len, &found);
    FUZZ_CHECK(found.fragment_offset != 0 || found.payload_at + 8u <= len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_ip6_header ip, again;
    uint8_t written[DK_IP6_HEADER_LEN];
    enum dk_wire reason = dk_ip6_header_parse(bytes, len, &ip);
    fuzz_check_reason(reason);
    check_quote(bytes, len);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(DK_IP6_HEADER_LEN + (size_t)ip.payload_len <= len);
    FUZZ_CHECK(dk_ip6_header_emit(&ip, written) == DK_IP6_HEADER_LEN);
    FUZZ_CHECK(memcmp(written, bytes, DK_IP6_HEADER_LEN) == 0);
    FUZZ_CHECK(dk_ip6_header_parse(bytes, len, &again) == DK_WIRE_OK);
    check_equal(&ip, &again);
    check_walk(bytes, DK_IP6_HEADER_LEN + (size_t)ip.payload_len);
    return 0;
}
