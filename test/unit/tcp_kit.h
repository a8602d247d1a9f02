/* SPDX-License-Identifier: MIT */
/*
 * TCP without a network: hosts whose IP layer is a queue of packets, under a virtual clock.
 *
 * A test plays the peer by hand (kit_inject, kit_expect), or joins two hosts. After each step the
 * invariants of every connection are checked. A failed assertion prints the packet.
 */
#ifndef TEST_UNIT_TCP_KIT_H
#define TEST_UNIT_TCP_KIT_H

#include "net/route.h"
#include "net/tcp/tcb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define KIT_MS      DK_NS_PER_MS
#define KIT_S       DK_NS_PER_S
#define KIT_PACKETS 4096 /* that wait in a host's queue */
#define KIT_SENT    4096

/* Flags in short. */
enum {
    F = DK_TCP_FIN,
    S = DK_TCP_SYN,
    R = DK_TCP_RST,
    P = DK_TCP_PSH,
    A = DK_TCP_ACK,
    U = DK_TCP_URG,
};

struct kit_packet {
    struct dk_ip src, dst;
    struct dk_buf *buf; /* header and payload */
    uint32_t len;
    struct dk_tcp_header h;
    const uint8_t *payload;
    uint32_t payload_len;
};

/* What an owner heard of a connection. */
struct kit_app {
    struct dk_tcp_conn *conn;
    int connected, room, readable, peer_closed, failed, closed; /* calls */
    int connect_err, fail_err;
    uint32_t num_sent;
    void *sent[KIT_SENT];
    int sent_err[KIT_SENT];
};

struct kit_host {
    struct dk_net net; /* first: dk_ip_send finds the host by it */
    struct dk_ip ip;
    struct dk_way way;
    uint32_t mtu, path_mtu;
    bool no_room;       /* dk_ip_send says -EAGAIN */
    int send_err;       /* or this */
    uint32_t confirmed; /* dk_ip_confirm */
    uint32_t owned;     /* dk_net_own_lent */
    uint32_t num_out, first_out;
    struct kit_packet out[KIT_PACKETS];
};

/* One host, and the peer that a test plays. */
struct kit {
    struct kit_host *host;
    struct dk_tcp *tcp;
    struct dk_tcp_config config;
    int64_t now;
    uint32_t bufs_before;
    struct dk_buf *device_buf; /* of a device: what the peer sends comes in it; NULL: in others */
    struct dk_tcp_listener *listener;
    uint32_t acceptable; /* calls */
    struct kit_app app;
    struct kit_app *apps; /* of further connections */
    /* The peer. */
    struct dk_ip peer_ip;
    uint16_t peer_port, port;      /* its, and ours */
    uint32_t iss;                  /* its first number */
    uint32_t irs;                  /* ours, learned from our SYN */
    uint16_t win;                  /* that it sends, not scaled */
    struct dk_tcp_options opt;     /* of the next segment that it sends */
    struct dk_tcp_options syn_opt; /* of its SYN */
    bool ts;                       /* puts timestamps into each segment */
    uint32_t ts_val, ts_ecr;
};

struct dk_ip kit_ip4(uint8_t last);
struct dk_ip kit_ip6(uint8_t last);

void kit_host_init(struct kit_host *host, struct dk_ip ip, const struct dk_tcp_config *config,
                   int64_t now);
void kit_host_fini(struct kit_host *host);

/* Takes the oldest packet that a host sent; false: there is none. The taker puts packet->buf. */
bool kit_host_take(struct kit_host *host, struct kit_packet *packet);

/* Gives a packet to a host. */
void kit_host_give(struct kit_host *host, const struct kit_packet *packet, int64_t now);

/* Whether segments may come and leave by the short ways of rx_predict.c and tx_short.c; first true.
 */
extern bool kit_predicts;

extern const struct dk_tcp_ops kit_ops; /* the owner is a struct kit_app */

/* Sets up a host; change k->config before kit_start. */
void kit_init(struct kit *k);
void kit_start(struct kit *k);
/* Ends it: no buffer is in use that was not before. */
void kit_fini(struct kit *k);

/* Lets time pass, timer by timer. */
void kit_pass(struct kit *k, int64_t ns);
/* Tells what has happened. */
void kit_tell(struct kit *k);

/* The peer sends; numbers relative to the two first ones (its SYN is 0, its data begins at 1). */
void kit_inject(struct kit *k, uint32_t flags, uint32_t seq, uint32_t ack, const void *data,
                uint32_t len);
/* As that, of `len` bytes of a pattern that tells their numbers. */
void kit_inject_bytes(struct kit *k, uint32_t flags, uint32_t seq, uint32_t ack, uint32_t len);

/* The next packet that we sent has these; numbers relative as above. */
struct dk_tcp_header kit_expect(struct kit *k, uint32_t flags, uint32_t seq, uint32_t ack,
                                uint32_t len);
void kit_expect_none(struct kit *k);
/* Throws away what was sent; returns how many. */
uint32_t kit_drain(struct kit *k);

/* The payload of the packet that kit_expect saw last. */
extern uint8_t kit_payload[65536];

/* A connection to our listener (on k->port, of backlog 8), accepted; or one of ours to the peer. */
void kit_passive(struct kit *k);
void kit_active(struct kit *k);
void kit_listen(struct kit *k, uint32_t backlog);

/* Pushes len bytes of the pattern by reference: the memory is the caller's until it was sent. */
struct dk_buf *kit_push(struct kit *k, uint32_t len, uintptr_t cookie);
/* Pushes so many bytes by copy. */
void kit_write(struct kit *k, uint32_t len);
/* Reads at most max bytes, and checks that they are the pattern from number *at on. */
uint32_t kit_read(struct kit *k, uint32_t *at, uint32_t max);

/* Byte `n` of the pattern of our data (and of the peer's). */
uint8_t kit_byte(uint32_t n);

enum dk_tcp_state kit_state(const struct kit *k);

#endif /* TEST_UNIT_TCP_KIT_H */
