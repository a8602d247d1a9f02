/* SPDX-License-Identifier: MIT */
/*
 * Ephemeral ports (RFC 6056, algorithm 3): a keyed hash of the endpoints says where the search for
 * a free port begins, a counter moves it on. Who does not know the key can neither guess a port nor
 * learn from one of his own what others get.
 */
#include "base/siphash.h"
#include "net/others.h"

#define PORT_FIRST 32768
#define PORT_COUNT (65536 - PORT_FIRST)

int dk_port_choose(struct dk_net *net, uint8_t protocol, const struct dk_ip *local,
                   const struct dk_endpoint *remote, bool (*taken)(void *arg, uint16_t port),
                   void *arg, uint16_t *port_out)
{
    struct {
        struct dk_ip local, remote;
        uint64_t counter; /* only where the remote is not known: nothing else differs */
        uint16_t port;
        uint8_t protocol;
    } input;
    memset(&input, 0, sizeof input); /* padding is hashed too */
    input.local = *local;
    input.protocol = protocol;
    if (remote) {
        input.remote = remote->ip;
        input.port = remote->port;
    } else {
        input.counter = net->port_counter;
    }
    uint32_t at = (uint32_t)dk_siphash(net->config.secret, &input, sizeof input);
    for (uint32_t i = 0; i < PORT_COUNT; i++) {
        const uint16_t port = (uint16_t)(PORT_FIRST + (at + net->port_counter++) % PORT_COUNT);
        if (taken(arg, port) || !dk_others_leave(net, protocol, local, port, remote))
            continue;
        *port_out = port;
        return 0;
    }
    return -EADDRNOTAVAIL;
}
