/* SPDX-License-Identifier: MIT */
/*
 * A peer that marks what it likes can make us slow, which it could as well by acknowledging late;
 * it cannot make us send faster: nothing here lets the window grow. Echoes that were not agreed on
 * are nothing.
 */
#include "net/tcp/ecn.h"

#include "net/tcp/tx.h"

static bool is_exact(const struct dk_tcp_conn *c)
{
    return c->cc.ops->flags & DK_TCP_CC_ECN;
}

static void agree(struct dk_tcp_conn *c)
{
    c->ecn |= DK_TCP_ECN_ON;
}

/* `told` in answer to our SYN is no agreement. */
static void disagree(struct dk_tcp_conn *c, uint8_t told)
{
    if (told)
        DK_TCP_COUNT(c->tcp, ecn_unagreed);
    c->ecn = 0;
}

uint8_t dk_tcp_ecn_syn_flags(struct dk_tcp_conn *c)
{
    if (c->state != DK_TCP_SYN_SENT)
        return c->ecn & DK_TCP_ECN_ON ? DK_TCP_ECE : 0;
    bool first = c->board->transmits == 0;
    bool wanted = c->tcp->config.ecn == DK_TCP_ECN_ASK || is_exact(c);
    if (!first || !wanted) {
        c->ecn = 0;
        return 0;
    }
    c->ecn = DK_TCP_ECN_ASKED;
    return DK_TCP_ECE | DK_TCP_CWR;
}

/* Both flags ask, in a SYN; ECE alone answers, in a SYN,ACK (section 6.1.1). */
void dk_tcp_ecn_syn(struct dk_tcp_conn *c, uint8_t flags)
{
    const uint8_t told = flags & (DK_TCP_ECE | DK_TCP_CWR);
    if (flags & DK_TCP_ACK) {
        if (c->ecn & DK_TCP_ECN_ASKED && told == DK_TCP_ECE)
            agree(c);
        else
            disagree(c, told);
    } else if (told == (DK_TCP_ECE | DK_TCP_CWR) &&
               (c->tcp->config.ecn != DK_TCP_ECN_REFUSE || is_exact(c))) {
        agree(c);
    }
}

/* RFC 8257 section 3.2: what came before a change is acknowledged as it came. */
static void echo_exactly(struct dk_tcp_conn *c, uint8_t ece, int64_t now)
{
    if (c->ece == ece)
        return;
    if (c->ack_bytes) {
        c->ack_now = true;
        dk_tcp_output(c, now);
    }
    c->ece = ece;
    c->ack_now = true;
}

void dk_tcp_ecn_segment(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (!(c->ecn & DK_TCP_ECN_ON)) {
        if (rx->h.flags & (DK_TCP_ECE | DK_TCP_CWR))
            DK_TCP_COUNT(c->tcp, ecn_unagreed);
        return;
    }
    const bool marked = (rx->ip->tos & DK_IP_ECN_MASK) == DK_IP_ECN_CE && rx->len > 0;
    if (marked)
        DK_TCP_COUNT(c->tcp, ecn_marked);
    if (is_exact(c)) {
        if (rx->len > 0)
            echo_exactly(c, marked ? DK_TCP_ECE : 0, rx->now);
        return;
    }
    if (rx->h.flags & DK_TCP_CWR) /* of what was sent after the peer had heard */
        c->ece = 0;
    if (marked && !c->ece) {
        c->ece = DK_TCP_ECE;
        c->ack_now = true; /* the sooner it hears the better */
    }
}

void dk_tcp_ecn_reduced(struct dk_tcp_conn *c)
{
    if (!(c->ecn & DK_TCP_ECN_ON))
        return;
    c->ecn |= DK_TCP_ECN_CWR;
    c->ecn_reduced = (uint32_t)c->snd_nxt;
}

/* Section 6.1.2: what was sent before the last reduction cannot tell of it. */
void dk_tcp_ecn_ack(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (!(c->ecn & DK_TCP_ECN_ON) || !(rx->h.flags & DK_TCP_ECE))
        return;
    DK_TCP_COUNT(c->tcp, ecn_echoes);
    c->ecn |= DK_TCP_ECN_ECHOED;
    bool told_before = (int32_t)((uint32_t)rx->ack - c->ecn_reduced) <= 0;
    if (c->in_recovery || told_before || c->snd_una == c->snd_nxt)
        return;
    DK_TCP_COUNT(c->tcp, ecn_reductions);
    c->cc.ops->on_ecn(&c->cc, (uint32_t)(c->snd_nxt - c->snd_una), rx->now);
    dk_tcp_ecn_reduced(c);
}
