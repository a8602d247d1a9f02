/* SPDX-License-Identifier: MIT */
/*
 * The DHCP client (RFC 2131, figure 5). Private to src/net.
 *
 *      INIT --0 to 1 s--> SELECTING --offer--> REQUESTING --ack--> PROBING --alone--> BOUND
 *       ^                                          |                 | another         | T1
 *       |<--------nak, or no answer----------------+                 |              RENEWING
 *       |<--------10 s, decline--------------------------------------+                 | T2
 *       |<--------nak, or the lease ends------------------------------------------ REBINDING
 *
 *      RENEWING, REBINDING --ack--> BOUND
 *
 * One that was leased before is asked for first: it begins in REBOOTING (section 3.2).
 *
 *      REBOOTING --0 to 1 s, ack--> PROBING         REBOOTING --nak, or no answer--> INIT
 *
 * An address is used from BOUND on, until the lease ends or is refused; one of before not for want
 * of an answer. What is left out: INFORM, and names of servers (DNS).
 */
#ifndef DK_NET_DHCP_H
#define DK_NET_DHCP_H

#include "net/ifaddr.h"
#include "net/wire/dhcp.h"

enum dk_dhcp_state {
    DK_DHCP_INIT,
    DK_DHCP_SELECTING,
    DK_DHCP_REQUESTING,
    DK_DHCP_REBOOTING,
    DK_DHCP_PROBING,
    DK_DHCP_BOUND,
    DK_DHCP_RENEWING,
    DK_DHCP_REBINDING,
};

struct dk_dhcp_client {
    struct dk_net *net;
    struct dk_udp_sock *sock;
    struct dk_timer timer;
    uint8_t state; /* enum dk_dhcp_state */
    uint8_t tries; /* of the message that waits for an answer */
    bool declined; /* the latest address was another host's */
    bool answered; /* a server is there */
    uint32_t xid, num_xids;
    int64_t began;         /* asking for a lease: `secs` */
    int64_t asked;         /* when the latest request was sent: its lease begins there */
    struct dk_dhcp lease;  /* what was offered, then what was acknowledged */
    struct dk_ifaddr *own; /* PROBING and later: the address */
    int64_t t1, t2, end;   /* INT64_MAX: never */
};

/* Does nothing unless the configuration asks for a lease. 0, -ENOMEM. */
int dk_dhcp_init(struct dk_net *net, int64_t now);
void dk_dhcp_fini(struct dk_net *net);

/* dad.c knows whether an address is ours alone. */
void dk_dhcp_decided(struct dk_net *net, struct dk_ifaddr *own, int64_t now);

#endif /* DK_NET_DHCP_H */
