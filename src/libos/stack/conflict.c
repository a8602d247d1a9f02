/* SPDX-License-Identifier: MIT */
/*
 * Whether another host has an address of ours, before it is used.
 *
 * IPv4: the link is asked with ARP probes (RFC 5227 section 2.1.1; fewer and closer together than
 * there, because a program waits), before the stack exists. IPv6: the stack asks by itself (RFC
 * 4862); we wait until it knows.
 */
#include "libos/stack/sock.h"
#include "net/wire/arp.h"
#include "net/wire/ethernet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define PROBES     2
#define PROBE_NS   INT64_C(100000000) /* after each */
#define DAD_NS_MAX INT64_C(5000000000)
#define FRAMES     32u
#define NS_PER_MS  INT64_C(1000000)
#define SLEEP_MS   20 /* at most, between two looks */

static _Thread_local char conflict_why[DK_STACK_WHY_MAX];

static int fail(const struct dk_ip *ip, const struct dk_mac *mac, const char **why_out)
{
    char text[INET6_ADDRSTRLEN], who[24] = "";
    inet_ntop(ip->version == 4 ? AF_INET : AF_INET6, ip->bytes, text, sizeof(text));
    if (mac) {
        const uint8_t *m = mac->bytes;
        snprintf(who, sizeof(who), " %02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
                 m[5]);
    }
    snprintf(conflict_why, sizeof(conflict_why),
             "net_addresses: %s is in use by another host%s: choose another address", text, who);
    *why_out = conflict_why;
    return -EADDRINUSE;
}

/* Sleeps until the device has frames, or a moment has passed. */
static void wait_a_moment(struct dk_stack *st, int64_t until)
{
    int64_t ms = (until - dk_instance_now(st->inst)) / NS_PER_MS + 1;
    int fd = st->dev->ops->arm(st->dev);
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    if (fd >= 0 && ms > 0)
        poll(&pollfd, 1, ms < SLEEP_MS ? (int)ms : SLEEP_MS);
    st->now = dk_instance_now(st->inst);
}

static void send_probe(struct dk_stack *st, const struct dk_net_config *config,
                       const struct dk_ip *ip)
{
    uint8_t bytes[DK_ETH_HEADER_MAX + DK_ARP_LEN];
    const struct dk_eth_header eth = {.dst = DK_MAC_BROADCAST,
                                      .src = config->mac,
                                      .type = DK_ETHERTYPE_ARP,
                                      .vlan = config->vlan,
                                      .tagged = config->vlan != 0};
    const struct dk_arp arp = {.operation = DK_ARP_REQUEST,
                               .sender_mac = config->mac,
                               .sender_ip = {.version = 4},
                               .target_ip = *ip};
    size_t len = dk_eth_header_emit(&eth, bytes);
    len += dk_arp_emit(&arp, bytes + len);
    const struct dk_tx_frame frame = {.head = bytes, .head_len = (uint32_t)len};
    st->dev->ops->tx_burst(st->dev, &frame, 1, st->now);
}

/* Whether a frame says that another host has ip, or is about to. */
static bool has_address(const struct dk_rx_frame *frame, const struct dk_net_config *config,
                        const struct dk_ip *ip, struct dk_mac *mac_out)
{
    struct dk_eth_header eth;
    struct dk_arp arp;
    if (dk_eth_header_parse(frame->data, frame->len, &eth) != DK_WIRE_OK ||
        eth.type != DK_ETHERTYPE_ARP || eth.vlan != config->vlan ||
        dk_arp_parse(frame->data + eth.header_len, frame->len - eth.header_len, &arp) != DK_WIRE_OK)
        return false;
    if (dk_mac_equal(&arp.sender_mac, &config->mac))
        return false; /* our own, come back */
    *mac_out = arp.sender_mac;
    bool probes = arp.sender_ip.v4 == 0 && dk_ip_equal(&arp.target_ip, ip);
    return probes || dk_ip_equal(&arp.sender_ip, ip);
}

/* Looks at what has come: 0, or -EADDRINUSE. */
static int look(struct dk_stack *st, const struct dk_net_config *config, const char **why_out)
{
    struct dk_rx_frame frames[FRAMES];
    struct dk_mac mac;
    int r = 0;
    uint32_t n = st->dev->ops->rx_burst(st->dev, frames, FRAMES, st->now);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < config->num_addresses && r == 0; k++) {
            const struct dk_ip *ip = &config->addresses[k].ip;
            if (ip->version == 4 && has_address(&frames[i], config, ip, &mac))
                r = fail(ip, &mac, why_out);
        }
        dk_buf_put(frames[i].buf);
    }
    return r;
}

static bool has_version(const struct dk_net_config *config, uint8_t version)
{
    for (uint32_t i = 0; i < config->num_addresses; i++)
        if (config->addresses[i].ip.version == version)
            return true;
    return false;
}

int dk_stack_probe_ip4(struct dk_stack *st, const struct dk_net_config *config,
                       const char **why_out)
{
    int r = 0;
    if (config->skip_dad || !has_version(config, 4))
        return 0;
    for (int i = 0; i < PROBES && r == 0; i++) {
        for (uint32_t k = 0; k < config->num_addresses; k++)
            if (config->addresses[k].ip.version == 4)
                send_probe(st, config, &config->addresses[k].ip);
        int64_t until = st->now + PROBE_NS;
        while (r == 0 && st->now < until) {
            wait_a_moment(st, until);
            r = look(st, config, why_out);
        }
    }
    return r;
}

/* Whether an address is not known to be good or bad yet. */
static bool is_tentative(const struct dk_stack *st, const struct dk_net_config *config)
{
    for (uint32_t i = 0; i < config->num_addresses; i++)
        if (dk_net_address_state(st->net, i) == DK_NET_ADDRESS_TENTATIVE)
            return true;
    return false;
}

int dk_stack_await_ip6(struct dk_stack *st, const struct dk_net_config *config,
                       const char **why_out)
{
    int64_t until = st->now + DAD_NS_MAX;
    while (is_tentative(st, config) && st->now < until) {
        wait_a_moment(st, until);
        st->poller.ops->poll(&st->poller, st->now, false);
    }
    for (uint32_t i = 0; i < config->num_addresses; i++)
        if (dk_net_address_state(st->net, i) == DK_NET_ADDRESS_DUPLICATE)
            return fail(&config->addresses[i].ip, NULL, why_out);
    return 0;
}
