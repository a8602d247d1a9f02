/* SPDX-License-Identifier: MIT */
/*
 * Memory for those algorithms that ask for it comes from a pool of all connections.
 */
#include "net/tcp/congestion.h"

#include "net/tcp/ecn.h"

uint32_t dk_tcp_congestion_state_bytes(void)
{
    uint32_t bytes = sizeof(struct dk_tcp_unused);
    for (uint32_t i = 0; dk_tcp_cc_get(i); i++)
        if (dk_tcp_cc_get(i)->state_bytes > bytes)
            bytes = dk_tcp_cc_get(i)->state_bytes;
    return bytes;
}

void dk_tcp_congestion_begin(struct dk_tcp_conn *c, int64_t now)
{
    c->cc.ops->init(&c->cc, c->srtt_ns, now);
    c->tx_special = c->ecn & DK_TCP_ECN_ON || c->cc.pacing_rate != 0;
}

void dk_tcp_congestion_end(struct dk_tcp_conn *c)
{
    if (c->cc.ops && c->cc.ops->state_bytes)
        dk_tcp_pool_put(&c->tcp->cc_states, c->cc.state);
    c->cc.ops = NULL;
}

int dk_tcp_congestion_choose(struct dk_tcp_conn *c, uint32_t number, int64_t now)
{
    const struct dk_tcp_cc_ops *ops = dk_tcp_cc_get(number);
    const uint32_t cwnd = c->cc.cwnd, ssthresh = c->cc.ssthresh;
    void *state = NULL;
    if (ops == c->cc.ops)
        return 0;
    if (ops->state_bytes && !(state = dk_tcp_pool_get(&c->tcp->cc_states)))
        return -ENOBUFS;
    dk_tcp_congestion_end(c);
    memset(c->cc.own, 0, sizeof(c->cc.own));
    if (state) {
        memset(state, 0, ops->state_bytes);
        c->cc.state = state;
    }
    c->cc.ops = ops;
    if (cwnd == 0) /* not established yet */
        return 0;
    dk_tcp_congestion_begin(c, now);
    c->cc.cwnd = cwnd;
    c->cc.ssthresh = ssthresh;
    return 0;
}
