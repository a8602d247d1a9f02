/* SPDX-License-Identifier: MIT */
/*
 * Ephemeral ports (RFC 6056, algorithm 3): a keyed hash of the endpoints says where the search for
 * a free port begins, a counter moves it on. Who does not know the key can neither guess a port nor
 * learn from one of his own what others get.
 */
#include "base/siphash.h"
#include "net/ip_kind.h"
#include "net/others.h"
#include "net/tcp/port.h"

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

int dk_port_claim(struct dk_net *net, uint8_t protocol, const struct dk_endpoint *local)
{
    const struct dk_net_config *config = &net->config;
    if (dk_likely(!config->claim) || (local->ip.version != 0 && dk_ip_is_loopback(&local->ip)))
        return 0;
    return config->claim(config->emit_arg, protocol, local);
}

void dk_net_ports_in_use(const struct dk_net *net, uint8_t protocol,
                         uint64_t bits[DK_NET_PORT_WORDS])
{
    if (protocol == DK_IP_TCP)
        dk_tcp_mark_ports(dk_net_tcp(net), bits);
    else if (protocol == DK_IP_UDP)
        dk_udp_mark_ports(net, bits);
}
