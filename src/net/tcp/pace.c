/* SPDX-License-Identifier: MIT */
/* A rate below a segment in a second counts as that much. */
#include "net/tcp/pace.h"

#define QUANTUM_MAX (64u << 10)

static int64_t time_of(const struct dk_tcp_conn *c, uint32_t bytes)
{
    uint64_t rate = c->cc.pacing_rate > c->snd_mss ? c->cc.pacing_rate : c->snd_mss;
    return (int64_t)((uint64_t)bytes * DK_NS_PER_S / rate);
}

uint32_t dk_tcp_pace_quantum(const struct dk_tcp_conn *c)
{
    uint64_t bytes = dk_tcp_min64(c->cc.pacing_rate / 1000, QUANTUM_MAX);
    return (uint32_t)dk_tcp_max64(bytes, 2 * c->snd_mss);
}

bool dk_tcp_pace_decide(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    if (c->cc.pacing_rate == 0 ||
        r->pace_at - now <= time_of(c, dk_tcp_pace_quantum(c)) - time_of(c, c->snd_mss)) {
        r->pace_waits = false;
        return true;
    }
    r->pace_waits = true;
    dk_tcp_timer_set(c, DK_TCP_TIMER_PERSIST, r->pace_at);
    return false;
}

void dk_tcp_pace_note(struct dk_tcp_conn *c, uint32_t bytes, int64_t now)
{
    struct dk_tcp_rated *r = dk_tcp_rated(c);
    if (c->cc.pacing_rate != 0)
        r->pace_at = (r->pace_at > now ? r->pace_at : now) + time_of(c, bytes);
}
