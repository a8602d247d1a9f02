/* SPDX-License-Identifier: MIT */
/*
 * Addresses and routes of the interface that were told of, so that it is told, too, when they are
 * gone: by a message, by another route in their place, or because they are not in a dump any more
 * that was made since messages were lost, or the interface was down.
 *
 *     FREE --new--> KNOWN --a dump begins--> UNSEEN --it ends--> GOING --told--> FREE
 *                     ^----------new------------/
 *
 * What goes while the interface is down, as IPv6 addresses do, waits as UNSEEN until it is up again
 * and a dump says what there is.
 */
#include "drv/xdp/state.h"
#include "os/log.h"

static bool is_same(const struct dk_netdev_fact *a, const struct dk_netdev_fact *b)
{
    return a->kind == b->kind && a->prefix_len == b->prefix_len && a->metric == b->metric &&
           dk_ip_equal(&a->ip, &b->ip) && dk_ip_equal(&a->gateway, &b->gateway);
}

static struct dk_xdp_known *find(struct dk_xdp *x, const struct dk_netdev_fact *fact)
{
    for (uint32_t i = 0; i < DK_XDP_KNOWN_MAX; i++) {
        struct dk_xdp_known *k = &x->known[i];
        if (k->state != DK_XDP_FREE && is_same(&k->fact, fact))
            return k;
    }
    return NULL;
}

bool dk_xdp_known_has(struct dk_xdp *x, const struct dk_netdev_fact *fact)
{
    const struct dk_xdp_known *k = find(x, fact);
    return k && k->state != DK_XDP_GOING;
}

static struct dk_xdp_known *free_place(struct dk_xdp *x)
{
    uint32_t i = 0;
    while (i < DK_XDP_KNOWN_MAX && x->known[i].state != DK_XDP_FREE)
        i++;
    return i < DK_XDP_KNOWN_MAX ? &x->known[i] : NULL;
}

bool dk_xdp_known_replaced(struct dk_xdp *x, const struct dk_netdev_fact *fact)
{
    bool any = false;
    for (uint32_t i = 0; i < DK_XDP_KNOWN_MAX; i++) {
        struct dk_xdp_known *k = &x->known[i];
        if (k->state == DK_XDP_FREE || k->fact.kind != fact->kind ||
            k->fact.metric != fact->metric || k->fact.prefix_len != fact->prefix_len ||
            !dk_ip_equal(&k->fact.ip, &fact->ip))
            continue;
        k->state = DK_XDP_GOING;
        x->any_going = any = true;
    }
    return any;
}

static void warn_many(struct dk_xdp *x)
{
    if (x->warned_many)
        return;
    x->warned_many = true;
    dk_log(DK_LOG_WARN, "xdp: %s has more addresses and routes than are followed: %u",
           x->port->name, DK_XDP_KNOWN_MAX);
}

bool dk_xdp_known_new(struct dk_xdp *x, const struct dk_netdev_fact *fact)
{
    struct dk_xdp_known *k = find(x, fact);
    if (k && k->state != DK_XDP_GOING) {
        k->state = DK_XDP_KNOWN;
        return false;
    }
    k = k ? k : free_place(x);
    if (!k) {
        warn_many(x);
        return false;
    }
    *k = (struct dk_xdp_known){.state = DK_XDP_KNOWN, .fact = *fact};
    if (fact->kind == DK_NETDEV_ADDRESS)
        dk_xdp_own_add(x->port, &fact->ip);
    return true;
}

static void forget(struct dk_xdp *x, struct dk_xdp_known *k)
{
    k->state = DK_XDP_FREE;
    if (k->fact.kind == DK_NETDEV_ADDRESS)
        dk_xdp_own_remove(x->port, &k->fact.ip);
}

bool dk_xdp_known_gone(struct dk_xdp *x, const struct dk_netdev_fact *fact)
{
    struct dk_xdp_known *k = find(x, fact);
    if (!k)
        return false;
    if (x->is_up && x->has_told) {
        forget(x, k);
        return true;
    }
    k->state = x->is_up ? DK_XDP_GOING : DK_XDP_UNSEEN;
    x->any_going |= x->is_up;
    return false;
}

void dk_xdp_known_unsee(struct dk_xdp *x)
{
    for (uint32_t i = 0; i < DK_XDP_KNOWN_MAX; i++)
        if (x->known[i].state == DK_XDP_KNOWN)
            x->known[i].state = DK_XDP_UNSEEN;
}

void dk_xdp_known_sweep(struct dk_xdp *x)
{
    for (uint32_t i = 0; i < DK_XDP_KNOWN_MAX && x->is_up; i++)
        if (x->known[i].state == DK_XDP_UNSEEN) {
            x->known[i].state = DK_XDP_GOING;
            x->any_going = true;
        }
}

bool dk_xdp_known_next_gone(struct dk_xdp *x, struct dk_netdev_fact *out)
{
    if (dk_likely(!x->any_going || !x->has_told))
        return false;
    for (uint32_t i = 0; i < DK_XDP_KNOWN_MAX; i++) {
        struct dk_xdp_known *k = &x->known[i];
        if (k->state != DK_XDP_GOING)
            continue;
        forget(x, k);
        *out = k->fact;
        out->gone = true;
        return true;
    }
    x->any_going = false;
    return false;
}
