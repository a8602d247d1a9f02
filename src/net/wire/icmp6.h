/* SPDX-License-Identifier: MIT */
/*
 * ICMPv6 messages (RFC 4443): 8 bytes of header, and data. Neighbour discovery: nd.h.
 */
#ifndef DK_NET_WIRE_ICMP6_H
#define DK_NET_WIRE_ICMP6_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_ICMP6_HEADER_LEN 8

#define DK_ICMP6_UNREACHABLE      1
#define DK_ICMP6_TOO_BIG          2
#define DK_ICMP6_TIME_EXCEEDED    3
#define DK_ICMP6_PARAMETER        4
#define DK_ICMP6_ECHO_REQUEST     128
#define DK_ICMP6_ECHO_REPLY       129
#define DK_ICMP6_MLD_QUERY        130
#define DK_ICMP6_MLD_REPORT       131
#define DK_ICMP6_MLD_DONE         132
#define DK_ICMP6_ROUTER_SOLICIT   133
#define DK_ICMP6_ROUTER_ADVERT    134
#define DK_ICMP6_NEIGHBOR_SOLICIT 135
#define DK_ICMP6_NEIGHBOR_ADVERT  136
#define DK_ICMP6_REDIRECT         137
#define DK_ICMP6_MLD2_REPORT      143

/* Codes of DK_ICMP6_UNREACHABLE. */
#define DK_ICMP6_NO_ROUTE            0
#define DK_ICMP6_PROHIBITED          1
#define DK_ICMP6_ADDRESS_UNREACHABLE 3
#define DK_ICMP6_PORT_UNREACHABLE    4

struct dk_icmp6 {
    uint8_t type, code;
    uint32_t rest; /* the second word: MTU, pointer, or dk_icmp_id and dk_icmp_sequence (icmp4.h) */
    const uint8_t *data; /* behind the header: what is echoed, or the packet that is quoted */
    size_t data_len;
};

/* Whether a message says that another one went wrong: no error is sent about such. */
static inline bool dk_icmp6_is_error(uint8_t type)
{
    return type < 128;
}

/* The checksum is the caller's to check: dk_checksum_is_good over the pseudo header. */
enum dk_wire dk_icmp6_parse(const uint8_t *bytes, size_t len, struct dk_icmp6 *icmp_out);

/* Writes the 8 bytes of the header, with the checksum over the pseudo header (its sum, with the
 * length of header and data), them and the data, which the caller sends behind; returns 8. */
size_t dk_icmp6_emit(const struct dk_icmp6 *icmp, uint32_t pseudo_sum, uint8_t *bytes);

void dk_icmp6_print(struct dk_text *text, const struct dk_icmp6 *icmp);

#endif /* DK_NET_WIRE_ICMP6_H */
