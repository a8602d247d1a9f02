/* SPDX-License-Identifier: MIT */
/*
 * Packet scripts: a text file plays the peer, the wire and the application of a stack that runs
 * under a virtual clock. README.md has the language.
 *
 *      main.c --> run.c (one script, its commands, time) --> app.c, app_udp.c   the application
 *                     |                                  --> build.c            packets in
 *                     |                                  --> match.c, decode.c  packets out
 *                     +--> line.c (words, numbers, variables), host.c (stack, clock, frames)
 *
 * Packets are made and read here by code of its own, from the RFCs: not by that of the stack, so
 * that the two do not agree on a mistake.
 *
 * Whatever is wrong ends the script: test_fail does not return.
 */
#ifndef DK_TEST_PKT_H
#define DK_TEST_PKT_H

#include "net/net.h"
#include "net/tcp/tcp.h"
#include "net/udp.h"

#include <setjmp.h>
#include <stdio.h>

#define WORDS_MAX   48
#define TEXT_MAX    512
#define FLOWS_MAX   512
#define QUEUE_MAX   8192
#define HELD_MAX    32
#define FRAME_MAX   (65536 + 64)
#define EVENTS_MAX  8192
#define SOCKETS_MAX 8
#define VARS_MAX    32

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10
#define URG 0x20
#define ECE 0x40
#define CWR 0x80

/* What a packet is, in both families. */
enum kind {
    KIND_OTHER,
    KIND_TCP,
    KIND_UDP,
    KIND_ICMP,
    KIND_FRAGMENT, /* not the whole of an IP packet */
    KIND_WHO_HAS,  /* ARP request, neighbour solicitation */
    KIND_IS_AT,    /* ARP reply, neighbour advertisement */
};

/* ICMP messages by meaning, in both families. */
enum icmp {
    ICMP_ECHO,
    ICMP_ECHO_REPLY,
    ICMP_UNREACHABLE_NET,
    ICMP_UNREACHABLE_HOST,
    ICMP_UNREACHABLE_PROTOCOL,
    ICMP_UNREACHABLE_PORT,
    ICMP_PROHIBITED,
    ICMP_TOO_BIG,
    ICMP_TIME_EXCEEDED,
    ICMP_REASSEMBLY_EXCEEDED,
    ICMP_PARAMETER,
    ICMP_SOURCE_QUENCH,
    ICMP_ROUTER_SOLICIT,
    ICMP_MLD_REPORT,
    ICMP_KINDS,
};

/* What is in a packet; which of it means something depends on its kind. */
struct packet {
    int64_t at;
    uint32_t frame_len, ip_at, payload_at, payload_len;
    enum kind kind;
    struct dk_mac mac_src, mac_dst;
    uint16_t vlan;
    struct dk_ip src, dst, target;
    struct dk_mac target_mac; /* who is at: the address given */
    uint8_t ttl, tos, protocol;
    bool dont_fragment, more_fragments;
    uint32_t fragment_offset, fragment_id;
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint8_t flags;
    uint16_t window, urgent;
    uint16_t mss; /* 0: none */
    int wscale;   /* -1: none */
    bool has_ts, sack_permitted;
    uint32_t ts_val, ts_ecr;
    uint32_t num_sacks, sacks[4][2];
    enum icmp icmp;
    uint32_t icmp_rest;
    bool no_checksum;
    const char *wrong; /* what a receiver would refuse, or NULL */
    uint8_t frame[];
};

/* A buffer that the application pushed: it keeps it, to write over it. */
struct pushed {
    struct pushed *next;
    struct dk_buf *buf;
};

/* A connection as the script sees it, from the peer's side: sequence numbers are relative to what
 * each side began with. */
struct flow {
    char name[16];
    struct dk_ip remote, local;
    uint16_t remote_port, local_port;
    uint32_t irs; /* the peer's first sequence number */
    uint32_t former_iss;
    uint32_t iss; /* the stack's, once seen */
    bool has_iss, has_ts, peer_ts, stack_ts, peer_ws;
    uint32_t ts_base;   /* the first TSval of the stack */
    uint32_t ts_last;   /* the latest */
    uint32_t ts_offset; /* of the peer's clock */
    int wscale;         /* of the stack's window */
    bool has_edge;
    uint32_t edge; /* the highest sequence number that the stack ever said it would take */
    struct dk_tcp_conn *conn;
    struct dk_tcp_listener *listener;
    uint64_t sent, received; /* by the application */
    struct pushed *pushed;
    struct test *test;
};

struct event {
    struct flow *flow;
    char text[48];
    bool bad; /* an error: it must be expected */
};

struct socket {
    char name[16];
    struct dk_udp_sock *sock;
    uint32_t events;
};

struct line {
    const char *file;
    int number;
    char text[TEXT_MAX];  /* as it is written */
    char words[TEXT_MAX]; /* cut */
    int num_words;
    char *word[WORDS_MAX];
    bool used[WORDS_MAX];
};

struct var {
    char name[16];
    int64_t value;
};

struct test {
    const char *file;
    int version; /* 4 or 6 */
    bool verbose;
    jmp_buf failed;
    char message[2048];
    struct line *line; /* the one being run */
    /* The stack (host.c). */
    struct dk_net_config config;
    struct dk_tcp_config tcp_config;
    uint8_t congestion; /* number of the algorithm */
    uint8_t ecn;        /* enum dk_tcp_ecn */
    enum dk_tcp_syn_cookies syn_cookies;
    uint64_t pressure; /* 0: as ever */
    enum dk_tcp_mtu_probing probing;
    struct dk_net *net;
    int64_t now, start;
    bool link; /* packets come in frames */
    uint32_t
        num_held; /* with config.gro: frames that come together, at the next line of another kind */
    struct dk_rx_frame held[HELD_MAX];
    bool manual_neighbours;
    bool full;    /* emit has no room */
    uint32_t cut; /* packets that were cut into segments */
    bool only_ip;
    uint32_t buffers_before;
    uint32_t max_frame;
    uint32_t head, tail; /* of queue */
    struct packet *queue[QUEUE_MAX];
    uint32_t num_replies; /* of neighbours, to be put in */
    struct packet *replies[64];
    char overflow[128]; /* what went wrong inside emit */
    /* The script. */
    uint32_t num_flows;
    struct flow flows[FLOWS_MAX];
    struct flow *flow; /* of the line */
    uint32_t num_events;
    struct event events[EVENTS_MAX];
    struct socket sockets[SOCKETS_MAX];
    uint32_t num_vars;
    struct var vars[VARS_MAX];
    struct packet *last; /* the latest that a line matched */
    bool ended;          /* the family is not the script's */
    bool wrap;           /* the stack's sequence numbers are to wrap around */
    bool no_sack, no_timestamps;
    int64_t wrap_start;
};

/* ---- main.c, run.c --------------------------------------------------------------------------- */

void test_fail(struct test *t, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
/* How a script is run, whatever it says. */
struct mode {
    bool verbose;
    uint32_t device_caps;
    bool gro;
};
bool run_script(struct test *t, const char *file, int version, const struct mode *mode);

/* ---- line.c ---------------------------------------------------------------------------------- */

/* Cuts text into words, variables replaced by their values. */
void line_cut(struct test *t, struct line *line, const char *text);
/* The value of key=, or NULL; each marks what it found as read. */
const char *line_arg(struct line *line, const char *key);
bool line_flag(struct line *line, const char *word);
/* The number of key=, or otherwise. */
int64_t line_number(struct test *t, const char *key, int64_t otherwise);
/* Complains of words that nobody read. */
void line_done(struct test *t);
/* Evaluates a whole expression; the second form stops where it ends. */
int64_t eval(struct test *t, const char *text);
int64_t eval_part(struct test *t, const char **at);
/* seq=A or seq=A:B. */
/* Ranges, separated by commas: at most 4. Returns how many. */
uint32_t eval_ranges(struct test *t, const char *text, int64_t from_out[4], int64_t to_out[4]);
void eval_range(struct test *t, const char *text, int64_t *from_out, int64_t *to_out);
void var_set(struct test *t, const char *name, int64_t value);
/* ".2" on the link, "~2" behind the gateway, or an address in full. */
struct dk_ip parse_ip(struct test *t, const char *text);
struct dk_ip host_ip(int version, int number);
struct dk_mac host_mac(const struct dk_ip *ip);
struct dk_mac parse_mac(struct test *t, const char *text);
struct flow *flow_find(struct test *t, const char *name);
struct flow *flow_add(struct test *t, const char *name);

/* ---- host.c ---------------------------------------------------------------------------------- */

void host_start(struct test *t);
void host_stop(struct test *t);
/* Gives a frame (or only its IP packet, as the script says) to the stack. */
void host_input(struct test *t, const uint8_t *frame, uint32_t len, bool as_frame);
/* Runs what is due now. */
/* Gives the stack the frames that were held for it. */
void host_release(struct test *t);
void host_settle(struct test *t);
/* Lets time pass up to `until`; stops earlier when a packet came and stop_at_packet is set. */
void host_advance(struct test *t, int64_t until, bool stop_at_packet);
void host_check(struct test *t);
bool host_stat(struct test *t, const char *name, uint64_t *value_out);
void host_drop_queue(struct test *t);

/* ---- bytes (build.c) ------------------------------------------------------------------------- */

static inline void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static inline uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

/* The sum of RFC 1071 over bytes, added to a sum. */
uint32_t sum_bytes(uint32_t sum, const uint8_t *bytes, uint32_t len);
uint32_t sum_pseudo(const struct dk_ip *src, const struct dk_ip *dst, uint32_t protocol,
                    uint32_t len);
uint16_t sum_finish(uint32_t sum);

/* The byte of a stream at an offset, as the stack's application or the peer sends it. */
static inline uint8_t pattern_out(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8) * 13 + 1);
}

static inline uint8_t pattern_in(uint64_t offset)
{
    return (uint8_t)(offset * 11 + (offset >> 8) * 5 + 3);
}

/* Puts in the packet that a `<` line describes. */
void build_input(struct test *t);
/* A neighbour's answer to a question of the stack. */
struct packet *build_is_at(const struct packet *question, int version);

/* ---- decode.c, match.c ----------------------------------------------------------------------- */

struct packet *decode(const uint8_t *frame, uint32_t len, int64_t at, uint32_t max_frame);
const char *icmp_name(enum icmp icmp);
bool icmp_type(int version, enum icmp icmp, uint8_t *type_out, uint8_t *code_out);
bool icmp_by_name(const char *name, enum icmp *icmp_out);
/* A packet in the words of a script. */
void describe(struct test *t, const struct packet *p, char *text, size_t size);
/* What a `>` line says of the next packet, which is to come until t->now + patience. */
void match_output(struct test *t, int64_t patience);
void match_none(struct test *t, const char *when);
/* Learns first sequence numbers, and checks what any packet has to obey. */
void watch_output(struct test *t, const struct packet *p);
struct flow *flow_of(struct test *t, const struct packet *p);

/* ---- app.c, app_udp.c ------------------------------------------------------------------------ */

/* Runs a command of the application; false: it is none. */
bool app_run(struct test *t, const char *command);
bool app_udp_run(struct test *t, const char *command);
void app_stop(struct test *t);
int errno_by_name(struct test *t, const char *name);
const char *errno_name(int err);
void event_add(struct test *t, struct flow *flow, bool bad, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif /* DK_TEST_PKT_H */
