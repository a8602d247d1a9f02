/* SPDX-License-Identifier: MIT */
#include "net/tcp/cc_window.h"

void dk_cc_on_recovered(struct dk_tcp_cc *cc, uint32_t flight, int64_t now)
{
    (void)now;
    cc->cwnd = dk_cc_min32(cc->ssthresh, dk_cc_max32(flight, cc->mss) + cc->mss);
}

void dk_cc_on_idle(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now)
{
    (void)idle_ns;
    (void)now;
    cc->cwnd = dk_cc_min32(cc->cwnd, dk_tcp_cc_initial_window(cc->mss));
}

void dk_cc_on_mss(struct dk_tcp_cc *cc, uint32_t former_mss)
{
    (void)former_mss;
    cc->cwnd = dk_cc_max32(cc->cwnd, cc->mss);
}
