/* SPDX-License-Identifier: MIT */
/*
 * SYN cookies (RFC 4987 section 3.6): a SYN is answered, and nothing is kept of it. All that the
 * connection needs stands in the numbers of our SYN,ACK, and comes back with the peer's ACK.
 */
#ifndef DK_NET_TCP_COOKIE_H
#define DK_NET_TCP_COOKIE_H

#include "net/tcp/tcb.h"

/* Before the first cookie: false: no memory. */
bool dk_tcp_cookie_ready(struct dk_tcp *tcp);

/* Answers a SYN with a cookie; c is a half-open connection for it, which has sent nothing and is
 * dropped. */
void dk_tcp_cookie_answer(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx);

/* What the ACK of a cookie of ours says. */
struct dk_tcp_cookie {
    uint32_t isn;
    uint64_t hash;
    struct dk_tcp_rx syn; /* the SYN, as far as it is known */
};

/* Whether a listener has sent cookies lately. */
bool dk_tcp_cookie_expected(const struct dk_tcp_listener *l, int64_t now);

/* Whether an ACK to such a listener is of one of them. */
bool dk_tcp_cookie_check(struct dk_tcp_listener *l, const struct dk_tcp_rx *rx,
                         struct dk_tcp_cookie *out);

/* Whether it has opened a connection before: there is none now, so that one is over. */
bool dk_tcp_cookie_was_used(struct dk_tcp *tcp, const struct dk_tcp_cookie *cookie);

/* Makes a half-open connection that has sent nothing what it would be had it sent the cookie. */
void dk_tcp_cookie_restore(struct dk_tcp_conn *c, const struct dk_tcp_cookie *cookie);

#endif /* DK_NET_TCP_COOKIE_H */
