/* SPDX-License-Identifier: MIT */
/* Echo requests (RFC 792, 4443): what a ping program needs. */
#ifndef DK_NET_PING_H
#define DK_NET_PING_H

#include "net/ip.h"

struct dk_ping;

struct dk_ping_ops {
    /* An answer came. data: what was echoed, there until the call returns. */
    void (*reply)(void *arg, const struct dk_ip *from, uint16_t sequence, uint8_t ttl,
                  const uint8_t *data, uint32_t len);
    /* A request met an error: -EHOSTUNREACH, -EMSGSIZE (too big for the path), -ECONNREFUSED. */
    void (*error)(void *arg, const struct dk_ip *to, uint16_t sequence, int error);
};

/* 0, -EMFILE, -ENOMEM. */
int dk_ping_open(struct dk_net *net, const struct dk_ping_ops *ops, void *arg,
                 struct dk_ping **ping_out);
void dk_ping_close(struct dk_ping *ping);

/* Sends a request with len bytes of data, at most 65,507. As dk_ip_send. */
int dk_ping_send(struct dk_ping *ping, const struct dk_ip *to, uint16_t sequence,
                 const uint8_t *data, uint32_t len, int64_t now);

#endif /* DK_NET_PING_H */
