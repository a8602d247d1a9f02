/* SPDX-License-Identifier: MIT */
/*
 * Making one segment and giving it to IP.
 */
#ifndef DK_NET_TCP_EMIT_H
#define DK_NET_TCP_EMIT_H

#include "net/tcp/tcb.h"

/* A segment of a connection. */
struct dk_tcp_out {
    uint64_t seq;
    const struct dk_tcp_piece *piece; /* that has seq, when len > 0 */
    uint32_t len;
    uint8_t flags;    /* DK_TCP_SYN, ... */
    uint8_t ecn;      /* bits of the IP header (ecn.h) */
    uint32_t segment; /* payload of the segments that the device cuts it into, 0: it is one */
};

/*
 * Sends a segment with at most out->len bytes of payload; *sent_out says how many it had (fewer:
 * too many pieces; then it had no FIN, and segments are whole). 0: it left, and counts as sent even
 * if it was lost on the way; -EAGAIN: no room, nothing happened; -EMSGSIZE: longer than the path
 * takes now.
 */
int dk_tcp_emit(struct dk_tcp_conn *c, const struct dk_tcp_out *out, uint32_t *sent_out,
                int64_t now);

/* Sends a segment without connection, payload or options. 0 or as dk_ip_send. */
int dk_tcp_emit_bare(struct dk_tcp *tcp, const struct dk_ip_rx *to, struct dk_tcp_header *header,
                     int64_t now);

#endif /* DK_NET_TCP_EMIT_H */
