/* SPDX-License-Identifier: MIT */
/*
 * ICMP messages (RFC 792, 1191, 1122): 8 bytes of header, and data.
 */
#ifndef DK_NET_WIRE_ICMP4_H
#define DK_NET_WIRE_ICMP4_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_ICMP4_HEADER_LEN 8

#define DK_ICMP4_ECHO_REPLY    0
#define DK_ICMP4_UNREACHABLE   3
#define DK_ICMP4_SOURCE_QUENCH 4
#define DK_ICMP4_REDIRECT      5
#define DK_ICMP4_ECHO_REQUEST  8
#define DK_ICMP4_TIME_EXCEEDED 11
#define DK_ICMP4_PARAMETER     12

/* Codes of DK_ICMP4_UNREACHABLE. */
#define DK_ICMP4_NET_UNREACHABLE      0
#define DK_ICMP4_HOST_UNREACHABLE     1
#define DK_ICMP4_PROTOCOL_UNREACHABLE 2
#define DK_ICMP4_PORT_UNREACHABLE     3
#define DK_ICMP4_TOO_BIG              4

struct dk_icmp4 {
    uint8_t type, code;
    uint32_t rest;       /* the second word, by type: see the functions below */
    const uint8_t *data; /* behind the header: what is echoed, or the packet that is quoted */
    size_t data_len;
};

/* The parts of `rest`. */
static inline uint16_t dk_icmp_id(uint32_t rest) /* echo */
{
    return (uint16_t)(rest >> 16);
}

static inline uint16_t dk_icmp_sequence(uint32_t rest) /* echo */
{
    return (uint16_t)rest;
}

static inline uint32_t dk_icmp_echo(uint16_t id, uint16_t sequence)
{
    return (uint32_t)id << 16 | sequence;
}

static inline uint16_t dk_icmp4_mtu(uint32_t rest) /* TOO_BIG; 0: it was not said */
{
    return (uint16_t)rest;
}

static inline uint8_t dk_icmp4_pointer(uint32_t rest) /* PARAMETER */
{
    return (uint8_t)(rest >> 24);
}

/* Whether a message says that another one went wrong: no error is sent about such. */
static inline bool dk_icmp4_is_error(uint8_t type)
{
    return type == DK_ICMP4_UNREACHABLE || type == DK_ICMP4_SOURCE_QUENCH ||
           type == DK_ICMP4_REDIRECT || type == DK_ICMP4_TIME_EXCEEDED ||
           type == DK_ICMP4_PARAMETER;
}

/* The checksum is checked. A type that is not known is no failure. */
enum dk_wire dk_icmp4_parse(const uint8_t *bytes, size_t len, struct dk_icmp4 *icmp_out);

/* Writes the 8 bytes of the header, with the checksum over them and the data, which the caller
 * sends behind; returns 8. */
size_t dk_icmp4_emit(const struct dk_icmp4 *icmp, uint8_t *bytes);

void dk_icmp4_print(struct dk_text *text, const struct dk_icmp4 *icmp);

#endif /* DK_NET_WIRE_ICMP4_H */
