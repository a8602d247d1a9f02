/* SPDX-License-Identifier: MIT */
/*
 * A stack for unit tests: frames are built with net/wire and put in, what it sends is collected,
 * and the clock is a number.
 *
 * We are 10.0.0.1/24 and fd00::1/64 (with fe80::1), gateways .254 and fd00::fe; the peer
 * is 10.0.0.2 and fd00::2.
 */
#ifndef TEST_UNIT_NET_KIT_H
#define TEST_UNIT_NET_KIT_H

#include "net/net.h"
#include "net/ping.h"
#include "net/stack.h"
#include "net/udp.h"
#include "net/wire/arp.h"
#include "net/wire/ethernet.h"
#include "net/wire/icmp4.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"
#include "net/wire/nd.h"
#include "net/wire/udp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#define KIT_FRAMES_MAX 2048
#define KIT_PACKET_MAX 66000
#define S              DK_NS_PER_S
#define MS             DK_NS_PER_MS

struct kit_frame {
    uint8_t *bytes;
    uint32_t len;
    struct dk_tx_frame tx; /* of the pieces only buf is to be looked at */
};

struct kit {
    struct dk_net_config config;
    struct dk_net *net;
    int64_t now;
    uint32_t room;             /* frames that the device still takes */
    uint32_t num_frames, read; /* sent by the stack; looked at */
    struct kit_frame frames[KIT_FRAMES_MAX];
    uint32_t bufs; /* in use before */
};

extern const struct dk_mac kit_mac, kit_peer_mac;

struct dk_ip ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
struct dk_ip ip6(const char *text);

/* Makes the configuration; changes to it come before kit_start. */
void kit_init(struct kit *kit);
void kit_start(struct kit *kit);
/* Both, and the neighbours are known; what is sent at the start is forgotten. */
void kit_open(struct kit *kit);
/* Ends it; no buffer is left. */
void kit_close(struct kit *kit);

/* Lets time pass, with every timer at its time. */
void kit_pass(struct kit *kit, int64_t ns);

/* The next frame that was sent; NULL: there is none. */
const struct kit_frame *kit_next(struct kit *kit);
void kit_forget(struct kit *kit);

uint64_t kit_stat(struct kit *kit, const char *name);
/* Sum of all counters of drops of input. */
uint64_t kit_drops(struct kit *kit);

/* Puts a frame in. */
void kit_frame(struct kit *kit, const uint8_t *bytes, uint32_t len);
/* Puts an IP packet in, in a frame to mac (NULL: ours). */
void kit_packet(struct kit *kit, const uint8_t *packet, uint32_t len, const struct dk_mac *mac);
void kit_arp(struct kit *kit, const struct dk_arp *arp, const struct dk_mac *mac);

/* Builds what goes in: return lengths. ttl 0: 64. */
struct kit_ip {
    struct dk_ip src, dst;
    uint8_t protocol, ttl;
    uint16_t id;
    uint16_t offset;
    bool more;
    bool atomic; /* IPv6: with a fragment header all the same */
};
uint32_t kit_put_ip(uint8_t *out, const struct kit_ip *ip, const void *payload, uint32_t len);
uint32_t kit_put_udp(uint8_t *out, const struct dk_endpoint *src, const struct dk_endpoint *dst,
                     const void *payload, uint32_t len);
/* An ICMP message with its checksum (IPv6: of the pseudo header too). */
uint32_t kit_put_icmp(uint8_t *out, const struct dk_ip *src, const struct dk_ip *dst, uint8_t type,
                      uint8_t code, uint32_t rest, const void *data, uint32_t len);
/* An IP packet with a datagram, or ICMP message, in one. */
void kit_udp(struct kit *kit, const struct dk_endpoint *src, const struct dk_endpoint *dst,
             const void *payload, uint32_t len);
void kit_icmp(struct kit *kit, const struct dk_ip *src, const struct dk_ip *dst, uint8_t type,
              uint8_t code, uint32_t rest, const void *data, uint32_t len);
/* A message of neighbour discovery. */
void kit_nd(struct kit *kit, const struct dk_ip *src, const struct dk_ip *dst, uint8_t hop_limit,
            const struct dk_nd *nd);

/* What the stack sent, taken apart; each fails the test if it is something else. */
struct kit_sent {
    struct dk_eth_header eth;
    struct dk_ip src, dst;
    uint8_t protocol, ttl;
    bool fragment, more, dont_fragment;
    uint32_t offset, id;
    const uint8_t *data; /* what IP carries */
    uint32_t len;
};
void kit_parse(const struct kit_frame *frame, struct kit_sent *out);
void kit_expect_ip(struct kit *kit, struct kit_sent *out);
void kit_expect_arp(struct kit *kit, uint16_t operation, struct dk_arp *out);
void kit_expect_nd(struct kit *kit, uint8_t type, struct dk_nd *out, struct kit_sent *sent_out);
/* A datagram, checksum and all. */
void kit_expect_udp(struct kit *kit, const struct dk_endpoint *dst, const void *payload,
                    uint32_t len);
/* An ICMP message of a type and code, checksum and all. */
void kit_expect_icmp(struct kit *kit, uint8_t type, uint8_t code, struct kit_sent *out);
void kit_expect_silence(struct kit *kit);

/* A socket that counts its events. */
struct kit_sock {
    struct dk_udp_sock *sock;
    uint32_t readable, writable, errors;
};
void kit_sock_open(struct kit *kit, struct kit_sock *s, struct dk_ip ip, uint16_t port);
/* Sends len bytes from a buffer, or from plain memory. */
int kit_send(struct kit *kit, struct kit_sock *s, const struct dk_endpoint *to, const void *bytes,
             uint32_t len);
int kit_send_plain(struct kit *kit, struct kit_sock *s, const struct dk_endpoint *to,
                   const void *bytes, uint32_t len);
/* Receives one datagram, which must be this one. */
void kit_expect_recv(struct kit_sock *s, const void *bytes, uint32_t len);

#endif /* TEST_UNIT_NET_KIT_H */
