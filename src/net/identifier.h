/* SPDX-License-Identifier: MIT */
/*
 * The lower half of an IPv6 address that nobody chose: a link-local one, and those that are formed
 * of prefixes. Private to src/net.
 *
 * RFC 7217: F(prefix, link address, DAD_Counter, secret), where F is SipHash with the secret as its
 * key. It is the same whenever the host is on that network, and says nothing on others: neither
 * who it is nor what made its hardware. Where the secret does not outlive the process, or by
 * choice, it is made of the link address alone (modified EUI-64, RFC 2464 section 4).
 */
#ifndef DK_NET_IDENTIFIER_H
#define DK_NET_IDENTIFIER_H

#include "net/stack.h"

/* RFC 7217 section 7. */
#define DK_IDENTIFIER_RETRIES  3
#define DK_IDENTIFIER_DELAY_NS (1 * DK_NS_PER_S)

/* Whether no host may have it (RFC 5453). */
bool dk_identifier_is_reserved(uint64_t identifier);

/* Writes the lower half of an address whose upper one is there. *counter is that of addresses of
 * this prefix that were another host's; it goes up by identifiers that no host may have. */
void dk_identifier_put(const struct dk_net_config *config, struct dk_ip *ip, uint8_t *counter);

#endif /* DK_NET_IDENTIFIER_H */
