/* SPDX-License-Identifier: MIT */
/*
 * SEGMENT ARRIVES: RFC 9293 section 3.10.7. tcp_rx is its table of contents; each check stands in a
 * function of its own and says whether the segment goes on to the next.
 */
#include "net/tcp/rx.h"

#include "base/checksum.h"
#include "net/others.h"
#include "net/tcp/block.h"
#include "net/tcp/ecn.h"
#include "net/tcp/event.h"
#include "net/tcp/handshake.h"
#include "net/tcp/listen.h"
#include "net/tcp/pcb.h"
#include "net/tcp/rx_ack.h"
#include "net/tcp/rx_text.h"
#include "net/tcp/time_wait.h"
#include "net/tcp/timer.h"
#include "net/tcp/tx.h"

/* RFC 7323 section 5.5: after so long without a segment TS.Recent says nothing. */
#define TS_RECENT_NS (24 * 24 * 3600 * DK_NS_PER_S)

/* RFC 7323 section 5.3, R1 and R3: protection against wrapped sequence numbers. */
static bool check_timestamps(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    if (!c->ts_on || rx->h.flags & DK_TCP_RST)
        return true;
    if (!(opt->has & DK_TCP_HAS_TIMESTAMPS)) { /* section 3.2; a SYN is answered further down */
        if (rx->h.flags & DK_TCP_SYN)
            return true;
        DK_TCP_COUNT(c->tcp, drop_no_timestamp);
        return false;
    }
    bool older = (int32_t)(opt->ts_val - c->ts_recent) < 0;
    if (older && rx->now - c->last_rx < TS_RECENT_NS) {
        DK_TCP_COUNT(c->tcp, drop_paws);
        dk_tcp_challenge_ack(c, rx->now);
        return false;
    }
    return true;
}

/* RFC 7323 section 4.3: of a segment that has the byte that is next to be acknowledged. */
static void take_timestamp(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (!c->ts_on || rx->seq > c->last_ack_sent || rx->h.flags & DK_TCP_RST)
        return;
    if (!(rx->h.options.has & DK_TCP_HAS_TIMESTAMPS))
        return;
    c->ts_recent = rx->h.options.ts_val;
}

/* What is not acceptable is answered, unless it is a reset. What takes no numbers is so at a
 * limited rate: two ends must not answer each other's answers for ever. */
static void answer_unacceptable(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    DK_TCP_COUNT(c->tcp, drop_out_of_window);
    if (rx->h.flags & DK_TCP_RST)
        return;
    if (c->state == DK_TCP_TIME_WAIT && rx->fin)
        dk_tcp_timer_set(c, DK_TCP_TIMER_STATE, rx->now + c->tcp->config.time_wait_ns);
    if (rx->len == 0 && !rx->fin) {
        dk_tcp_challenge_ack(c, rx->now);
        return;
    }
    if (rx->seq + rx->seq_len <= c->rcv_nxt && !(rx->h.flags & DK_TCP_SYN))
        dk_tcp_blocks_twice(c, rx->seq, rx->seq + rx->seq_len);
    c->ack_now = true;
}

static void trim_front(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    if (rx->seq >= c->rcv_nxt)
        return;
    uint32_t excess = (uint32_t)dk_tcp_min64(c->rcv_nxt - rx->seq, rx->len);
    dk_tcp_blocks_twice(c, rx->seq, rx->seq + excess);
    rx->data += excess;
    rx->len -= excess;
    rx->seq = c->rcv_nxt;
    c->ack_now = true; /* the peer sent it again: our acknowledgement was lost */
}

static void trim_back(struct dk_tcp_rx *rx, uint64_t right)
{
    uint64_t room = right > rx->seq ? right - rx->seq : 0;
    if (rx->len > room) {
        rx->len = (uint32_t)room;
        rx->fin = false;
    } else if (rx->len == room) {
        rx->fin = false;
    }
}

/*
 * First: sequence number. A segment without numbers may also stand at the right edge: a peer that
 * has filled the window acknowledges from there. One with numbers that begins there, as a window
 * probe does, loses its text and goes on with its acknowledgement ("special allowance").
 */
static bool check_sequence(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    uint64_t right = dk_tcp_max64(c->rcv_adv, c->rcv_nxt), end = rx->seq + rx->seq_len;
    bool acceptable = rx->seq <= right && (rx->seq_len ? end > c->rcv_nxt : rx->seq >= c->rcv_nxt);
    if (!acceptable) {
        answer_unacceptable(c, rx);
        return false;
    }
    take_timestamp(c, rx);
    if (rx->seq_len == 0)
        return true;
    trim_front(c, rx);
    if (end > right) {
        trim_back(rx, right);
        c->ack_now = true;
    }
    return true;
}

/* Second: RST, by RFC 5961 section 3. */
static bool check_rst(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (dk_likely(!(rx->h.flags & DK_TCP_RST)))
        return true;
    uint64_t seq = dk_tcp_extend(c->rcv_nxt, rx->h.seq);
    if (seq != c->rcv_nxt) {
        DK_TCP_COUNT(c->tcp, drop_rst_inexact);
        if (seq > c->rcv_nxt && seq < c->rcv_adv)
            dk_tcp_challenge_ack(c, rx->now);
        return false;
    }
    switch (c->state) {
    case DK_TCP_SYN_RECEIVED:
        dk_tcp_conn_end(c, c->passive ? 0 : -ECONNREFUSED);
        break;
    case DK_TCP_TIME_WAIT:
        dk_tcp_conn_end(c, 0);
        break;
    default:
        DK_TCP_COUNT(c->tcp, resets);
        dk_tcp_conn_end(c, -ECONNRESET);
        break;
    }
    return false;
}

/* Fourth: SYN, by RFC 5961 section 4. Half open for a listener: back to LISTEN. */
static bool check_syn(struct dk_tcp_conn *c, const struct dk_tcp_rx *rx)
{
    if (dk_likely(!(rx->h.flags & DK_TCP_SYN)))
        return true;
    DK_TCP_COUNT(c->tcp, drop_syn_in_window);
    if (c->state == DK_TCP_SYN_RECEIVED && c->passive)
        dk_tcp_conn_end(c, 0);
    else
        dk_tcp_challenge_ack(c, rx->now);
    return false;
}

static bool check_handshake(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    if (dk_likely(c->state != DK_TCP_SYN_RECEIVED))
        return true;
    bool again = rx->h.flags & DK_TCP_SYN && rx->seq == c->irs && !(rx->h.flags & DK_TCP_RST);
    return !again || dk_tcp_rx_syn_again(c, rx);
}

static void text_and_fin(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    dk_tcp_rx_urgent(c, rx);
    if (dk_tcp_rx_text(c, rx))
        dk_tcp_rx_fin(c, rx);
}

/* Section 3.10.7.4: the states from SYN_RECEIVED on. */
static void tcp_rx(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    rx->seq = dk_tcp_extend(c->rcv_nxt, rx->h.seq);
    if (check_handshake(c, rx) && check_timestamps(c, rx) && check_sequence(c, rx) &&
        check_rst(c, rx) && check_syn(c, rx)) {
        if (dk_unlikely(c->ecn || rx->h.flags & (DK_TCP_ECE | DK_TCP_CWR)))
            dk_tcp_ecn_segment(c, rx);
        if (dk_tcp_rx_ack(c, rx))
            text_and_fin(c, rx);
    }
    dk_tcp_output_if_any(c, rx->now);
}

/* Whether a connection is in a state that tcp_rx is for. */
static bool has_segments(const struct dk_tcp_conn *c)
{
    return c->state > DK_TCP_SYN_SENT && c->state < DK_TCP_TIME_WAIT;
}

/* Section 3.10.7.3. */
static void tcp_rx_syn_sent(struct dk_tcp_conn *c, struct dk_tcp_rx *rx)
{
    if (dk_tcp_rx_syn_sent(c, rx)) {
        rx->seq++;
        uint64_t right = c->rcv_adv;
        if (rx->seq + rx->len + rx->fin > right)
            trim_back(rx, right);
        text_and_fin(c, rx);
    }
    dk_tcp_output(c, rx->now);
}

/* A SYN to a connection in TIME_WAIT whose owner has not closed it yet: it may begin a new one. */
static bool replaces(struct dk_tcp *tcp, struct dk_tcp_conn *c, struct dk_tcp_listener *l,
                     const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_former former = {(uint32_t)c->rcv_nxt, c->ts_recent, c->ts_on};
    if (!l || c->state != DK_TCP_TIME_WAIT || !dk_tcp_is_new_incarnation(&former, rx))
        return false;
    uint64_t floor = c->snd_nxt;
    DK_TCP_COUNT(tcp, time_wait_reused);
    dk_tcp_conn_end(c, 0);
    dk_tcp_listen_input(l, rx, floor);
    return true;
}

static void rx_time_wait(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw, struct dk_tcp_listener *l,
                         const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_former former = {tw->rcv_nxt, tw->ts_recent, tw->ts_on};
    if (!l || !dk_tcp_is_new_incarnation(&former, rx)) {
        dk_tcp_time_wait_input(tcp, tw, rx);
        return;
    }
    uint64_t floor = dk_tcp_time_wait_floor(tw);
    DK_TCP_COUNT(tcp, time_wait_reused);
    dk_tcp_time_wait_end(tcp, tw);
    dk_tcp_listen_input(l, rx, floor);
}

/* Section 3.10.7.1. */
static void no_connection(struct dk_tcp *tcp, const struct dk_tcp_rx *rx)
{
    if (dk_others_pass(tcp->net, rx->ip))
        return;
    DK_TCP_COUNT(tcp, drop_no_connection);
    dk_tcp_answer_reset(tcp, rx);
}

/* Whether a packet came to one of our addresses: not to a broadcast one, of a network of ours
 * (MUST-57). What belongs to a connection did. */
static bool is_to_us(struct dk_tcp *tcp, const struct dk_ip_rx *p)
{
    struct dk_ip own = p->dst;
    uint32_t mtu;
    if (dk_ip_route(tcp->net, &p->src, &own, &mtu) != -EADDRNOTAVAIL)
        return true;
    DK_TCP_COUNT(tcp, drop_address);
    return false;
}

/* A segment for no connection; returns the one that it is for now, or NULL. */
static struct dk_tcp_conn *rx_no_connection(struct dk_tcp *tcp, struct dk_tcp_listener *l,
                                            const struct dk_tcp_rx *rx)
{
    const struct dk_ip_rx *p = rx->ip;
    struct dk_tcp_time_wait *tw =
        dk_tcp_time_wait_find(tcp, &p->dst, &p->src, dk_tcp_ports(rx->h.dst_port, rx->h.src_port));
    if (tw) {
        rx_time_wait(tcp, tw, l, rx);
        return NULL;
    }
    if (!is_to_us(tcp, p))
        return NULL;
    if (l)
        return dk_tcp_listen_input(l, rx, 0);
    no_connection(tcp, rx);
    return NULL;
}

static bool is_group(const struct dk_ip *ip)
{
    return ip->version == 4 ? ip->bytes[0] >= 224 : ip->bytes[0] == 0xff;
}

static bool is_checksum_good(const struct dk_ip_rx *p)
{
    return p->checksum == DK_RX_CHECKSUM_GOOD ||
           dk_checksum_is_good(dk_ip_pseudo_sum(&p->src, &p->dst, DK_IP_TCP, p->len), p->data,
                               p->len);
}

static bool count_malformed(struct dk_tcp *tcp, enum dk_wire reason)
{
    switch (reason) {
    case DK_WIRE_TCP_SHORT:
        DK_TCP_COUNT(tcp, drop_truncated);
        break;
    case DK_WIRE_TCP_PORT:
        DK_TCP_COUNT(tcp, drop_port_zero);
        break;
    case DK_WIRE_TCP_OPTION:
        DK_TCP_COUNT(tcp, drop_option);
        break;
    default:
        DK_TCP_COUNT(tcp, drop_header_length);
        break;
    }
    return false;
}

static bool parse(struct dk_tcp *tcp, const struct dk_ip_rx *p, struct dk_tcp_rx *rx)
{
    if (is_group(&p->dst) || is_group(&p->src)) { /* MUST-57 */
        DK_TCP_COUNT(tcp, drop_address);
        return false;
    }
    if (p->len >= DK_TCP_HEADER_LEN && !is_checksum_good(p)) {
        DK_TCP_COUNT(tcp, drop_checksum);
        return false;
    }
    enum dk_wire reason = dk_tcp_header_parse(p->data, p->len, &rx->h);
    if (reason != DK_WIRE_OK)
        return count_malformed(tcp, reason);
    rx->data = p->data + rx->h.header_len;
    rx->len = p->len - rx->h.header_len;
    rx->fin = rx->h.flags & DK_TCP_FIN;
    rx->seq_len = rx->len + rx->fin + !!(rx->h.flags & DK_TCP_SYN);
    if (dk_unlikely(rx->h.options.has & DK_TCP_HAS_BAD_SIZE))
        DK_TCP_COUNT(tcp, option_ignored);
    if (dk_unlikely(rx->h.options.has & DK_TCP_HAS_LARGE_SCALE))
        DK_TCP_COUNT(tcp, window_scale_cut);
    return true;
}

/*
 * Takes what follows a segment without timestamps (net/gro.h): each goes through all checks, but
 * its connection need not be looked for, while that is one that segments come to.
 */
static void rx_group(struct dk_tcp_conn *c, const struct dk_ip_rx *first, int64_t now)
{
    struct dk_tcp *tcp = c->tcp;
    struct dk_gro *gro = &tcp->net->gro;
    struct dk_ip_rx p = *first;
    struct dk_tcp_rx rx;
    rx.ip = &p;
    rx.now = now;
    for (; gro->taken < gro->num && has_segments(c); gro->taken++) {
        const struct dk_gro_segment *next = &gro->segments[gro->taken];
        p.buf = next->buf;
        p.data = next->data;
        p.len = next->len;
        p.checksum = next->checksum;
        DK_TCP_COUNT(tcp, rx_segments);
        if (parse(tcp, &p, &rx))
            tcp_rx(c, &rx);
    }
}

void dk_tcp_rx_other(struct dk_tcp *tcp, const struct dk_ip_rx *p, int64_t now)
{
    struct dk_tcp_rx rx;
    rx.ip = p;
    rx.now = now;
    if (!parse(tcp, p, &rx))
        return;
    struct dk_tcp_conn *c = dk_tcp_lookup(tcp, &p->dst, rx.h.dst_port, &p->src, rx.h.src_port);
    if (c)
        dk_tcp_learn_pair(c, p);
    if (dk_likely(c && has_segments(c))) {
        tcp_rx(c, &rx);
        if (tcp->net->gro.num != 0 && !c->ts_on)
            rx_group(c, p, now);
        return;
    }
    if (c && c->state == DK_TCP_SYN_SENT) {
        tcp_rx_syn_sent(c, &rx);
        return;
    }
    struct dk_tcp_listener *l = dk_tcp_listener_find(tcp, &p->dst, rx.h.dst_port);
    if (!c)
        c = rx_no_connection(tcp, l, &rx);
    else if (replaces(tcp, c, l, &rx))
        c = NULL;
    if (c)
        tcp_rx(c, &rx);
}
