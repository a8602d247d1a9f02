/* SPDX-License-Identifier: MIT */
/*
 * Addresses of ours that another host has. The stack finds them out (net/dad.c); here it is said:
 * as the error of demi_init while that waits, else in the log.
 */
#include "libos/stack/sock.h"
#include "os/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define WAIT_NS_MAX INT64_C(10000000000) /* RFC 5227 needs up to 7 s */
#define SLEEP_MS    20                   /* at most, between two looks */

static _Thread_local char conflict_why[DK_STACK_WHY_MAX];

/* "192.0.2.2 is in use by another host, 02:00:00:00:00:99" */
static void describe(const struct dk_net_conflict *c, char *out, size_t len)
{
    char ip[INET6_ADDRSTRLEN], who[24] = "";
    const uint8_t *m = c->mac.bytes;
    inet_ntop(c->ip.version == 4 ? AF_INET : AF_INET6, c->ip.bytes, ip, sizeof(ip));
    if (c->has_mac)
        snprintf(who, sizeof(who), ", %02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
                 m[5]);
    snprintf(out, len, "net_addresses: %s is in use by another host%s", ip, who);
}

void dk_stack_on_conflict(void *arg, const struct dk_net_conflict *c)
{
    struct dk_stack *st = arg;
    char what[DK_STACK_WHY_MAX];
    if (st->awaits_addresses) {
        if (c->lost && st->conflict.ip.version == 0)
            st->conflict = *c;
        return;
    }
    describe(c, what, sizeof(what));
    if (c->lost)
        dk_log(DK_LOG_ERROR, "%s: it is not used any more, choose another address", what);
    else
        dk_log(DK_LOG_WARN, "%s: both go on with it, change one of them", what);
}

void dk_stack_wait_a_moment(struct dk_stack *st)
{
    int fd = st->dev->ops->arm(st->dev);
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    if (fd >= 0)
        poll(&pollfd, 1, SLEEP_MS);
    st->now = dk_instance_now(st->inst);
    st->poller.ops->poll(&st->poller, st->now, false);
}

/* Whether an address is not known to be good or bad yet. */
static bool is_tentative(const struct dk_stack *st, const struct dk_net_config *config)
{
    for (uint32_t i = 0; i < config->num_addresses; i++)
        if (dk_net_address_state(st->net, i) == DK_NET_ADDRESS_TENTATIVE)
            return true;
    return false;
}

int dk_stack_await_addresses(struct dk_stack *st, const struct dk_net_config *config,
                             const char **why_out)
{
    int64_t until = st->now + WAIT_NS_MAX;
    st->awaits_addresses = true;
    while (is_tentative(st, config) && st->conflict.ip.version == 0 && st->now < until)
        dk_stack_wait_a_moment(st);
    st->awaits_addresses = false;
    if (st->conflict.ip.version == 0)
        return 0;
    char what[DK_STACK_WHY_MAX];
    describe(&st->conflict, what, sizeof(what));
    snprintf(conflict_why, sizeof(conflict_why), "%.200s: choose another address", what);
    *why_out = conflict_why;
    return -EADDRINUSE;
}
