/* SPDX-License-Identifier: MIT */
/*
 * Why bytes are not what they should be: the reasons that the parsers of this folder return, and
 * under which the stack counts what it drops.
 *
 * A parser takes bytes and their number, never reads beyond, and returns DK_WIRE_OK or a reason; on
 * failure it leaves its result alone (where it does not, its comment says so). Everything in a
 * result is in host order, but addresses, which are as struct dk_ip and struct dk_mac have them.
 */
#ifndef DK_NET_WIRE_REASON_H
#define DK_NET_WIRE_REASON_H

#include <stdint.h>

/* X(NAME, "counter"). Reasons of checks that the caller makes (checksums over a pseudo header) are
 * here too, so that one array counts all. */
#define DK_WIRE_REASONS(X)                                                                         \
    X(ETH_SHORT, "eth.short")   /* ends before its header does */                                  \
    X(ETH_LENGTH, "eth.length") /* IEEE 802.3 length where a type should be */                     \
    X(ARP_SHORT, "arp.short")                                                                      \
    X(ARP_KIND, "arp.kind") /* not of Ethernet and IPv4, or address lengths not theirs */          \
    X(ARP_OPERATION, "arp.operation")                                                              \
    X(ARP_ADDRESS, "arp.address") /* the sender's: multicast hardware or IP address */             \
    X(IP4_SHORT, "ip4.short")                                                                      \
    X(IP4_VERSION, "ip4.version")                                                                  \
    X(IP4_HEADER_LENGTH, "ip4.header_length")                                                      \
    X(IP4_TOTAL_LENGTH, "ip4.total_length")                                                        \
    X(IP4_CHECKSUM, "ip4.checksum")                                                                \
    X(IP4_FRAGMENT, "ip4.fragment") /* length not of eights, or end beyond 65535 */                \
    X(IP4_OPTION, "ip4.option")     /* its length */                                               \
    X(IP4_SOURCE_ROUTE, "ip4.source_route")                                                        \
    X(IP6_SHORT, "ip6.short")                                                                      \
    X(IP6_VERSION, "ip6.version")                                                                  \
    X(IP6_PAYLOAD_LENGTH, "ip6.payload_length")                                                    \
    X(IP6_JUMBO, "ip6.jumbo")                                                                      \
    X(IP6_EXTENSION_SHORT, "ip6.extension_short")                                                  \
    X(IP6_EXTENSION_LIMIT, "ip6.extension_limit") /* too many headers or options */                \
    X(IP6_EXTENSION_ORDER, "ip6.extension_order") /* hop-by-hop not first, a second fragment */    \
    X(IP6_OPTION, "ip6.option")                   /* its length */                                 \
    X(IP6_OPTION_UNKNOWN, "ip6.option_unknown") /* and it says that the packet is to be dropped */ \
    X(IP6_ROUTING, "ip6.routing")               /* segments left (RFC 5095, 8200 section 4.4) */   \
    X(IP6_FRAGMENT, "ip6.fragment")             /* length not of eights, or end beyond 65535 */    \
    X(IP6_FRAGMENT_CHAIN, "ip6.fragment_chain") /* the first has not all headers (RFC 7112) */     \
    X(ICMP4_SHORT, "icmp4.short")                                                                  \
    X(ICMP4_CHECKSUM, "icmp4.checksum")                                                            \
    X(ICMP4_QUOTE, "icmp4.quote") /* an error with less than a header and 8 bytes */               \
    X(ICMP6_SHORT, "icmp6.short")                                                                  \
    X(ICMP6_CHECKSUM, "icmp6.checksum")                                                            \
    X(ICMP6_QUOTE, "icmp6.quote")                                                                  \
    X(ND_SHORT, "nd.short")                                                                        \
    X(ND_HOP_LIMIT, "nd.hop_limit") /* not 255: it came through a router */                        \
    X(ND_CODE, "nd.code")                                                                          \
    X(ND_TYPE, "nd.type")       /* no message of neighbour discovery */                            \
    X(ND_ADDRESS, "nd.address") /* source, destination or target not as its type demands */        \
    X(ND_OPTION, "nd.option")   /* its length, or one that does not belong */                      \
    X(UDP_SHORT, "udp.short")                                                                      \
    X(UDP_LENGTH, "udp.length")                                                                    \
    X(UDP_PORT, "udp.port") /* to port 0 */                                                        \
    X(UDP_CHECKSUM, "udp.checksum")                                                                \
    X(UDP_NO_CHECKSUM, "udp.no_checksum") /* over IPv6 */                                          \
    X(DHCP_SHORT, "dhcp.short")                                                                    \
    X(DHCP_KIND, "dhcp.kind")     /* not of DHCP over Ethernet */                                  \
    X(DHCP_OPTION, "dhcp.option") /* its length, or a value that cannot be */                      \
    X(DHCP_TYPE, "dhcp.type")     /* no message type, or none that there is */                     \
    X(TCP_SHORT, "tcp.short")                                                                      \
    X(TCP_OFFSET, "tcp.offset") /* the header's length */                                          \
    X(TCP_PORT, "tcp.port")     /* from or to port 0 */                                            \
    X(TCP_OPTION, "tcp.option") /* its length */                                                   \
    X(TCP_CHECKSUM, "tcp.checksum")

enum dk_wire {
    DK_WIRE_OK,
#define DK_WIRE_REASON(name, counter) DK_WIRE_##name,
    DK_WIRE_REASONS(DK_WIRE_REASON)
#undef DK_WIRE_REASON
        DK_WIRE_COUNT
};

/* Returns the name of the counter of a reason: "ip4.checksum"; of DK_WIRE_OK "ok". */
const char *dk_wire_name(enum dk_wire reason);

#endif /* DK_NET_WIRE_REASON_H */
