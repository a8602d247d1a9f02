/* SPDX-License-Identifier: MIT */
#include "net/wire/icmp6.h"

#include "base/bytes.h"
#include "base/checksum.h"

enum dk_wire dk_icmp6_parse(const uint8_t *bytes, size_t len, struct dk_icmp6 *icmp_out)
{
    if (len < DK_ICMP6_HEADER_LEN)
        return DK_WIRE_ICMP6_SHORT;
    icmp_out->type = bytes[0];
    icmp_out->code = bytes[1];
    icmp_out->rest = dk_get_be32(bytes + 4);
    icmp_out->data = bytes + DK_ICMP6_HEADER_LEN;
    icmp_out->data_len = len - DK_ICMP6_HEADER_LEN;
    return DK_WIRE_OK;
}

size_t dk_icmp6_emit(const struct dk_icmp6 *icmp, uint32_t pseudo_sum, uint8_t *bytes)
{
    bytes[0] = icmp->type;
    bytes[1] = icmp->code;
    dk_put_be16(bytes + 2, 0);
    dk_put_be32(bytes + 4, icmp->rest);
    uint32_t sum = dk_checksum_add(pseudo_sum, bytes, DK_ICMP6_HEADER_LEN);
    sum = dk_checksum_add(sum, icmp->data, icmp->data_len);
    dk_put_be16(bytes + 2, dk_checksum_finish(sum));
    return DK_ICMP6_HEADER_LEN;
}

static const char *type_name(uint8_t type)
{
    switch (type) {
    case DK_ICMP6_UNREACHABLE:
        return "unreachable";
    case DK_ICMP6_TIME_EXCEEDED:
        return "time exceeded";
    case DK_ICMP6_MLD_QUERY:
        return "multicast listener query";
    case DK_ICMP6_MLD_REPORT:
    case DK_ICMP6_MLD2_REPORT:
        return "multicast listener report";
    case DK_ICMP6_MLD_DONE:
        return "multicast listener done";
    default:
        return NULL;
    }
}

static void print_kind(struct dk_text *text, const struct dk_icmp6 *icmp)
{
    const char *name = type_name(icmp->type);
    switch (icmp->type) {
    case DK_ICMP6_ECHO_REQUEST:
    case DK_ICMP6_ECHO_REPLY:
        dk_text_add(text, "echo %s, id %u, seq %u",
                    icmp->type == DK_ICMP6_ECHO_REQUEST ? "request" : "reply", icmp->rest >> 16,
                    icmp->rest & 0xffff);
        break;
    case DK_ICMP6_TOO_BIG:
        dk_text_add(text, "packet too big, mtu %u", icmp->rest);
        break;
    case DK_ICMP6_PARAMETER:
        dk_text_add(text, "parameter problem, code %u, octet %u", icmp->code, icmp->rest);
        break;
    default:
        if (name != NULL)
            dk_text_add(text, "%s, code %u", name, icmp->code);
        else
            dk_text_add(text, "type %u, code %u", icmp->type, icmp->code);
    }
}

void dk_icmp6_print(struct dk_text *text, const struct dk_icmp6 *icmp)
{
    dk_text_add(text, "ICMP6 ");
    print_kind(text, icmp);
    dk_text_add(text, ", length %zu", DK_ICMP6_HEADER_LEN + icmp->data_len);
}
