/* SPDX-License-Identifier: MIT */
/*
 * DHCP messages (RFC 2131 section 2) and the options that a client needs (RFC 2132, 3442):
 *
 *     op 1 | htype 1 | hlen 1 | hops 1 | xid 4 | secs 2 | flags 2 | ciaddr 4 | yiaddr 4 | siaddr 4
 *     giaddr 4 | chaddr 16 | sname 64 | file 128 | 99.130.83.99 | options: code, length, bytes
 *
 * Options may go on in file and sname (option 52), and one may come in several parts, which are put
 * together (RFC 3396). Those that are not known are passed over. Of a known one with a length that
 * is not its own the message is refused: half of a lease is none.
 */
#ifndef DK_NET_WIRE_DHCP_H
#define DK_NET_WIRE_DHCP_H

#include "net/addr.h"
#include "net/wire/reason.h"

#include <stddef.h>

#define DK_DHCP_SERVER_PORT 67
#define DK_DHCP_CLIENT_PORT 68

#define DK_DHCP_BYTES_MAX  1500 /* of a message that we take, as option 57 tells the server */
#define DK_DHCP_EMIT_MAX   576  /* of a message that is written: what every server takes */
#define DK_DHCP_NAME_MAX   63
#define DK_DHCP_ROUTES_MAX 8 /* those beyond are passed over */

#define DK_DHCP_FOREVER UINT32_MAX /* a lease that does not end */

enum dk_dhcp_type {
    DK_DHCP_DISCOVER = 1,
    DK_DHCP_OFFER,
    DK_DHCP_REQUEST,
    DK_DHCP_DECLINE,
    DK_DHCP_ACK,
    DK_DHCP_NAK,
    DK_DHCP_RELEASE,
    DK_DHCP_INFORM,
};

struct dk_dhcp_route {
    struct dk_ip prefix;
    struct dk_ip gateway; /* 0.0.0.0: it is on the link */
    uint8_t prefix_len;
};

/* An address of version 0, or a number 0, is an option that is not there. */
struct dk_dhcp {
    bool reply;     /* op: from a server */
    bool broadcast; /* the client takes answers to all only */
    uint8_t type;   /* enum dk_dhcp_type */
    uint16_t secs;
    uint32_t xid;
    struct dk_ip ciaddr, yiaddr; /* 0.0.0.0: none */
    struct dk_mac chaddr;
    struct dk_ip server;    /* 54 */
    struct dk_ip requested; /* 50 */
    struct dk_ip router;    /* 3: the first */
    uint8_t prefix_len;     /* 1: the subnet mask */
    uint16_t mtu;           /* 26 */
    uint32_t lease_s;       /* 51 */
    uint32_t t1_s, t2_s;    /* 58, 59 */
    bool has_routes;        /* 121 */
    uint8_t num_routes;
    struct dk_dhcp_route routes[DK_DHCP_ROUTES_MAX];
    char name[DK_DHCP_NAME_MAX + 1]; /* 12: the host's; in what is parsed cut to that */
};

/* Parses what a UDP datagram carries. */
enum dk_wire dk_dhcp_parse(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp_out);

/* Writes a message (at most DK_DHCP_EMIT_MAX bytes); one of a client with its identifier (option
 * 61), and what it asks for (55, 57). Returns the length. */
size_t dk_dhcp_emit(const struct dk_dhcp *dhcp, uint8_t *bytes);

#endif /* DK_NET_WIRE_DHCP_H */
