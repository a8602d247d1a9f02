/* SPDX-License-Identifier: MIT */
/*
 * Addresses that are learnt from the link: of a DHCP server, and by advertisements of routers. The
 * stack asks by itself, for as long as it lives; the program waits for the first answers, and gives
 * a lease back at its end, unless it is to keep it (recall.c).
 */
#include "libos/stack/sock.h"
#include "os/entropy.h"
#include "os/log.h"
#include "os/machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define NS_PER_S       INT64_C(1000000000)
#define IDENTIFIER_USE UINT64_C(0x6964656e74696679) /* of the machine's secret: "identify" */
#define RELEASE_NS     INT64_C(200000000)           /* for the answer to who the server is */

static _Thread_local char learn_why[DK_STACK_WHY_MAX];

/* What is asked, and what is to be said of it. */
struct source {
    enum dk_net_learning (*state)(const struct dk_net *net, struct dk_ip *address_out);
    const char *name;
    const char *unanswered; /* after "in 20 s: " */
    const char *useless;
};

static const struct source sources[] = {
    {dk_net_dhcp_state, "dhcp", "no DHCP server answers on this link",
     "a DHCP server answers, but gives no address that can be used"},
    {dk_net_router_state, "auto", "no router advertises itself on this link",
     "routers advertise no prefix to form an address of (DHCPv6 is not spoken here)"},
};

#define SOURCES (sizeof(sources) / sizeof(sources[0]))

void dk_stack_name_host(struct dk_net_config *config)
{
    if (gethostname(config->host_name, sizeof(config->host_name) - 1) < 0)
        config->host_name[0] = '\0';
    config->host_name[strcspn(config->host_name, ".")] = '\0'; /* the domain is the server's */
}

/* RFC 7217: a secret of the machine, so that addresses are the same at each start. */
void dk_stack_choose_identifiers(const struct dk_stack_options *o, struct dk_net_config *config)
{
    config->stable_identifiers = !o->eui64;
    if (o->eui64)
        return;
    const int r = dk_machine_secret(DK_MACHINE_ID, IDENTIFIER_USE, config->identifier_secret);
    if (r == 0)
        return;
    dk_entropy_secret(config->identifier_secret);
    dk_log(config->router_adverts ? DK_LOG_WARN : DK_LOG_DEBUG,
           "net_identifiers: addresses that are formed will be others at the next start, for want "
           "of %s (%s); eui64 makes them of the link address",
           DK_MACHINE_ID, strerror(-r));
}

static void text_of(const struct dk_ip *ip, char out[INET6_ADDRSTRLEN])
{
    inet_ntop(ip->version == 6 ? AF_INET6 : AF_INET, ip->bytes, out, INET6_ADDRSTRLEN);
}

static int fail(const struct dk_stack *st, const struct source *source, const char **why_out)
{
    char ip[INET6_ADDRSTRLEN];
    struct dk_ip address = {.version = 4};
    const enum dk_net_learning state = source->state(st->net, &address);
    text_of(&address, ip);
    *why_out = learn_why;
    if (state == DK_NET_LEARNT_DUPLICATE) {
        snprintf(learn_why, sizeof(learn_why), "net_addresses: %s: another host has %s",
                 source->name, ip);
        return -EADDRINUSE;
    }
    snprintf(learn_why, sizeof(learn_why),
             "net_addresses: %s: no address in %u s: %s: give one, or raise net_wait_s",
             source->name, st->options.wait_s,
             state == DK_NET_UNANSWERED ? source->unanswered : source->useless);
    return -EADDRNOTAVAIL;
}

static bool is_awaited(const struct dk_stack *st, const struct source *source)
{
    struct dk_ip address;
    const enum dk_net_learning state = source->state(st->net, &address);
    return state != DK_NET_NOT_LEARNING && state != DK_NET_LEARNT;
}

static void say(const struct dk_stack *st, const struct source *source)
{
    char ip[INET6_ADDRSTRLEN];
    struct dk_ip address;
    if (source->state(st->net, &address) != DK_NET_LEARNT)
        return;
    text_of(&address, ip);
    dk_log(DK_LOG_INFO, "net_addresses: %s: %s", source->name, ip);
}

int dk_stack_await_learnt(struct dk_stack *st, const char **why_out)
{
    const int64_t until = st->now + st->options.wait_s * NS_PER_S;
    for (size_t i = 0; i < SOURCES; i++) {
        while (is_awaited(st, &sources[i]) && st->now < until)
            dk_stack_wait_a_moment(st);
        if (is_awaited(st, &sources[i]))
            return fail(st, &sources[i], why_out);
        say(st, &sources[i]);
    }
    return 0;
}

void dk_stack_release(struct dk_stack *st)
{
    if (!st->net || st->options.keep_lease || !dk_net_release(st->net, st->now))
        return;
    const int64_t until = dk_instance_now(st->inst) + RELEASE_NS;
    while (dk_net_is_releasing(st->net) && st->now < until)
        dk_stack_wait_a_moment(st);
}
