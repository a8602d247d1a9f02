/* SPDX-License-Identifier: MIT */
/*
 * What an algorithm that reads delivery rates needs, and what is measured for it, comes from a pool
 * of all connections: first what is measured, then its state.
 */
#include "net/tcp/congestion.h"

#include "net/tcp/ecn.h"
#include "net/tcp/rate.h"

uint32_t dk_tcp_congestion_object_bytes(void)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; dk_tcp_cc_get(i); i++)
        if (dk_tcp_cc_get(i)->state_bytes > bytes)
            bytes = dk_tcp_cc_get(i)->state_bytes;
    return bytes + sizeof(struct dk_tcp_rated);
}

void dk_tcp_congestion_begin(struct dk_tcp_conn *c, int64_t now)
{
    c->cc.ops->init(&c->cc, c->srtt_ns, now);
}

void dk_tcp_congestion_end(struct dk_tcp_conn *c)
{
    if (c->rate_on)
        dk_tcp_pool_put(&c->tcp->cc_states, dk_tcp_rated(c));
    c->rate_on = false;
    c->cc.ops = NULL;
}

static int take_memory(struct dk_tcp_conn *c, const struct dk_tcp_cc_ops *ops,
                       struct dk_tcp_rated **rated_out)
{
    struct dk_tcp_rated *r = dk_tcp_pool_get(&c->tcp->cc_states);
    if (!r)
        return -ENOBUFS;
    memset(r, 0, sizeof(*r) + ops->state_bytes);
    *rated_out = r;
    return 0;
}

int dk_tcp_congestion_choose(struct dk_tcp_conn *c, uint32_t number, int64_t now)
{
    const struct dk_tcp_cc_ops *ops = dk_tcp_cc_get(number);
    const uint32_t cwnd = c->cc.cwnd, ssthresh = c->cc.ssthresh;
    struct dk_tcp_rated *rated = NULL;
    if (ops == c->cc.ops)
        return 0;
    if (ops->flags & DK_TCP_CC_RATE && take_memory(c, ops, &rated) != 0)
        return -ENOBUFS;
    dk_tcp_congestion_end(c);
    memset(c->cc.own, 0, sizeof(c->cc.own));
    c->cc.ops = ops;
    if (rated) {
        c->cc.caller = rated;
        c->cc.state = rated + 1;
        c->rate_on = true;
        dk_tcp_rate_begin(c, now);
    }
    if (cwnd == 0) /* not established yet */
        return 0;
    dk_tcp_congestion_begin(c, now);
    c->cc.cwnd = cwnd;
    c->cc.ssthresh = ssthresh;
    return 0;
}
