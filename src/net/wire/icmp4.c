/* SPDX-License-Identifier: MIT */
#include "net/wire/icmp4.h"

#include "base/bytes.h"
#include "base/checksum.h"

enum dk_wire dk_icmp4_parse(const uint8_t *bytes, size_t len, struct dk_icmp4 *icmp_out)
{
    if (len < DK_ICMP4_HEADER_LEN)
        return DK_WIRE_ICMP4_SHORT;
    if (!dk_checksum_is_good(0, bytes, len))
        return DK_WIRE_ICMP4_CHECKSUM;
    icmp_out->type = bytes[0];
    icmp_out->code = bytes[1];
    icmp_out->rest = dk_get_be32(bytes + 4);
    icmp_out->data = bytes + DK_ICMP4_HEADER_LEN;
    icmp_out->data_len = len - DK_ICMP4_HEADER_LEN;
    return DK_WIRE_OK;
}

size_t dk_icmp4_emit(const struct dk_icmp4 *icmp, uint8_t *bytes)
{
    bytes[0] = icmp->type;
    bytes[1] = icmp->code;
    dk_put_be16(bytes + 2, 0);
    dk_put_be32(bytes + 4, icmp->rest);
    uint32_t sum = dk_checksum_add(0, bytes, DK_ICMP4_HEADER_LEN);
    sum = dk_checksum_add(sum, icmp->data, icmp->data_len);
    dk_put_be16(bytes + 2, dk_checksum_finish(sum));
    return DK_ICMP4_HEADER_LEN;
}

static const char *error_name(uint8_t type)
{
    switch (type) {
    case DK_ICMP4_UNREACHABLE:
        return "unreachable";
    case DK_ICMP4_SOURCE_QUENCH:
        return "source quench";
    case DK_ICMP4_REDIRECT:
        return "redirect";
    case DK_ICMP4_TIME_EXCEEDED:
        return "time exceeded";
    default:
        return "parameter problem";
    }
}

void dk_icmp4_print(struct dk_text *text, const struct dk_icmp4 *icmp)
{
    dk_text_add(text, "ICMP ");
    if (icmp->type == DK_ICMP4_ECHO_REQUEST || icmp->type == DK_ICMP4_ECHO_REPLY)
        dk_text_add(text, "echo %s, id %u, seq %u",
                    icmp->type == DK_ICMP4_ECHO_REQUEST ? "request" : "reply",
                    dk_icmp_id(icmp->rest), dk_icmp_sequence(icmp->rest));
    else if (icmp->type == DK_ICMP4_UNREACHABLE && icmp->code == DK_ICMP4_TOO_BIG)
        dk_text_add(text, "unreachable, too big, mtu %u", dk_icmp4_mtu(icmp->rest));
    else if (dk_icmp4_is_error(icmp->type))
        dk_text_add(text, "%s, code %u", error_name(icmp->type), icmp->code);
    else
        dk_text_add(text, "type %u, code %u", icmp->type, icmp->code);
    dk_text_add(text, ", length %zu", DK_ICMP4_HEADER_LEN + icmp->data_len);
}
