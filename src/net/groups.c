/* SPDX-License-Identifier: MIT */
/*
 * Multicast groups: membership, and when it is reported.
 *
 * As IGMPv2 (RFC 2236) and MLDv1 (RFC 2710) have it, which routers of the later versions understand
 * (RFC 3376 section 7.3, 3810 section 8.3): twice when a group is joined, again when a router asks,
 * after a delay by chance that another host's report ends; and when the last one to report leaves.
 */
#include "net/groups.h"

#include "base/random.h"
#include "base/timer_wheel.h"
#include "mem/heap.h"
#include "net/ip_kind.h"

#define UNSOLICITED_NS (10 * DK_NS_PER_S)

struct group {
    struct dk_net *net;
    struct dk_ip ip; /* version 0: free */
    uint32_t joins;
    uint8_t unsolicited; /* reports to come that nobody asked for */
    bool last_reporter;
    struct dk_timer timer;
};

struct dk_groups {
    struct group list[DK_GROUPS_MAX];
};

static void on_timer(struct dk_timer *timer, int64_t now);

int dk_groups_init(struct dk_net *net)
{
    net->groups = dk_heap_zalloc(sizeof *net->groups);
    if (!net->groups)
        return -ENOMEM;
    for (uint32_t i = 0; i < DK_GROUPS_MAX; i++) {
        net->groups->list[i].net = net;
        dk_timer_init(&net->groups->list[i].timer, on_timer);
    }
    return 0;
}

void dk_groups_fini(struct dk_net *net)
{
    if (net->groups)
        dk_heap_free(net->groups);
}

static struct group *find(const struct dk_net *net, const struct dk_ip *ip)
{
    for (uint32_t i = 0; i < DK_GROUPS_MAX; i++) {
        struct group *group = &net->groups->list[i];
        if (dk_ip_equal(&group->ip, ip))
            return group;
    }
    return NULL;
}

/* 224.0.0.1, ff02::1, and what never leaves a host (RFC 2236 section 6, 2710 section 5). */
static bool is_always_joined(const struct dk_ip *ip)
{
    if (ip->version == 4)
        return ip->v4 == htonl(0xe0000001);
    const struct dk_ip all = dk_ip_all_nodes();
    return dk_ip_equal(ip, &all);
}

static bool is_reported(const struct dk_ip *ip)
{
    return !is_always_joined(ip) && (ip->version == 4 || (ip->bytes[1] & 15) > 1);
}

bool dk_group_is_joined(const struct dk_net *net, const struct dk_ip *ip)
{
    return is_always_joined(ip) || find(net, ip) != NULL;
}

static void tell(struct group *group, bool leave)
{
    if (group->ip.version == 4)
        dk_igmp_send(group->net, &group->ip, leave);
    else
        dk_mld_send(group->net, &group->ip, leave);
}

static void report(struct group *group, int64_t now)
{
    tell(group, false);
    group->last_reporter = true;
    if (group->unsolicited == 0)
        return;
    group->unsolicited--;
    dk_timer_start(&group->net->wheel, &group->timer,
                   now + dk_random_between(&group->net->random, 0, UNSOLICITED_NS));
}

static void on_timer(struct dk_timer *timer, int64_t now)
{
    report(dk_container_of(timer, struct group, timer), now);
}

int dk_group_join(struct dk_net *net, const struct dk_ip *ip)
{
    const struct dk_ip none = {.version = 0};
    struct group *group = find(net, ip);
    if (group) {
        group->joins++;
        return 0;
    }
    group = find(net, &none);
    if (!group)
        return -ENOBUFS;
    group->ip = *ip;
    group->joins = 1;
    group->unsolicited = 1;
    group->last_reporter = false;
    if (is_reported(ip))
        report(group, net->now);
    return 0;
}

void dk_group_leave(struct dk_net *net, const struct dk_ip *ip)
{
    struct group *group = find(net, ip);
    if (!group || --group->joins != 0)
        return;
    dk_timer_stop(&net->wheel, &group->timer);
    if (group->last_reporter)
        tell(group, true);
    group->ip = (struct dk_ip){.version = 0};
}

void dk_group_queried(struct dk_net *net, const struct dk_ip *ip, uint8_t version, int64_t max_ns)
{
    for (uint32_t i = 0; i < DK_GROUPS_MAX; i++) {
        struct group *group = &net->groups->list[i];
        if (group->ip.version != version || !is_reported(&group->ip))
            continue;
        if (ip->version != 0 && !dk_ip_equal(&group->ip, ip))
            continue;
        const int64_t due = net->now + dk_random_between(&net->random, 0, max_ns);
        if (!dk_timer_is_running(&group->timer) || due < group->timer.due)
            dk_timer_start(&net->wheel, &group->timer, due);
    }
}

void dk_group_reported(struct dk_net *net, const struct dk_ip *ip)
{
    struct group *group = find(net, ip);
    if (!group)
        return;
    dk_timer_stop(&net->wheel, &group->timer);
    group->last_reporter = false;
}
