/* SPDX-License-Identifier: MIT */
/*
 * The TCP header and its options (RFC 9293 section 3.1, RFC 7323, RFC 2018).
 *
 * An option whose length is 0, 1 or beyond the header makes the segment malformed (RFC 9293,
 * MUST-7). Options that are not known are passed over by their length (MUST-6); so are known ones
 * of a length that is not theirs, which are noted. Of an option that comes twice the last one
 * counts.
 */
#ifndef DK_NET_WIRE_TCP_H
#define DK_NET_WIRE_TCP_H

#include "net/addr.h"
#include "net/wire/reason.h"
#include "net/wire/text.h"

#define DK_TCP_HEADER_LEN       20
#define DK_TCP_HEADER_MAX       60
#define DK_TCP_CHECKSUM_OFFSET  16
#define DK_TCP_SACKS_MAX        4
#define DK_TCP_WINDOW_SCALE_MAX 14

#define DK_TCP_FIN (1u << 0)
#define DK_TCP_SYN (1u << 1)
#define DK_TCP_RST (1u << 2)
#define DK_TCP_PSH (1u << 3)
#define DK_TCP_ACK (1u << 4)
#define DK_TCP_URG (1u << 5)
#define DK_TCP_ECE (1u << 6)
#define DK_TCP_CWR (1u << 7)

/* Bits of dk_tcp_options.has. */
#define DK_TCP_HAS_MSS            (1u << 0)
#define DK_TCP_HAS_WINDOW_SCALE   (1u << 1)
#define DK_TCP_HAS_TIMESTAMPS     (1u << 2)
#define DK_TCP_HAS_SACK_PERMITTED (1u << 3)
#define DK_TCP_HAS_LARGE_SCALE    (1u << 6) /* that of the window was above 14, and is 14 */
#define DK_TCP_HAS_BAD_SIZE       (1u << 7) /* one was ignored: a length that is not its own */

struct dk_tcp_sack {
    uint32_t start, end; /* the first sequence number of the block, and the one behind it */
};

/* What a bit of `has` does not announce is 0. */
struct dk_tcp_options {
    uint8_t has;
    uint8_t window_scale; /* at most 14, whatever was sent (RFC 7323, section 2.3) */
    uint8_t num_sacks;
    uint16_t mss;
    uint32_t ts_val, ts_ecr;
    struct dk_tcp_sack sacks[DK_TCP_SACKS_MAX];
};

struct dk_tcp_header {
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint8_t flags;
    uint8_t header_len; /* 20 to 60, of fours */
    uint16_t window;    /* not scaled */
    uint16_t checksum;
    uint16_t urgent;
    struct dk_tcp_options options;
};

/* The checksum is the caller's to check. */
enum dk_wire dk_tcp_header_parse(const uint8_t *bytes, size_t len,
                                 struct dk_tcp_header *header_out);

/* Bytes that the options take in a header, padding included: of fours, at most 40. */
size_t dk_tcp_options_len(const struct dk_tcp_options *options);

/* Writes header and options (at most DK_TCP_HEADER_MAX bytes), the checksum as the header has it;
 * returns the length; header_len is not read. SACK blocks that find no room are left out. */
size_t dk_tcp_header_emit(const struct dk_tcp_header *header, uint8_t *bytes);

void dk_tcp_header_print(struct dk_text *text, const struct dk_tcp_header *header,
                         size_t payload_len);

#endif /* DK_NET_WIRE_TCP_H */
