/* SPDX-License-Identifier: MIT */
/*
 * Decisions of sending.
 *
 * What is lost goes before what is new; new data waits while something lost waits for cwnd. A
 * segment that is not full is sent when it ends what was pushed, and no other such segment is
 * unacknowledged (Nagle's rule as Minshall has it); or when it fills half of the largest window
 * that the peer ever offered (RFC 9293 section 3.8.6.2.1). FIN goes with the last data.
 *
 * When nothing is in flight and something is unsent, only the window can be in the way, or the pace
 * (pace.h): then, and only then, the persist timer runs, or for the pace.
 * Whenever something is in flight the retransmission timer runs. Either runs also for what found no
 * room in the device: a device that never takes it again ends the connection like a silent peer.
 */
#include "net/tcp/tx.h"

#include "net/dev.h"
#include "net/tcp/ecn.h"
#include "net/tcp/emit.h"
#include "net/tcp/block.h"
#include "net/tcp/pace.h"
#include "net/tcp/pmtu.h"
#include "net/tcp/rate.h"
#include "net/tcp/recovery.h"
#include "net/tcp/rto.h"
#include "net/tcp/search.h"
#include "net/tcp/sendq.h"
#include "net/tcp/timer.h"
#include "net/tcp/undo.h"

/* Challenge ACKs of one connection in a second; Linux sends two. */
#define CHALLENGES_MAX 8

/* RFC 9293 section 3.8.6.2.1: the override time-out is 0.1 to 1 s. */
#define OVERRIDE_MAX_NS DK_NS_PER_S

/* Payload that goes to a device which cuts it: IPv4 has 65535 bytes for that and the headers. */
#define DK_TCP_TSO_BYTES_MAX 65000u

/* Something is in the way that neither room in the device nor an acknowledgement removes. */
#define STOPPED (-ECANCELED)

static bool may_send_data(const struct dk_tcp_conn *c)
{
    const uint32_t states = 1u << DK_TCP_ESTABLISHED | 1u << DK_TCP_CLOSE_WAIT |
                            1u << DK_TCP_FIN_WAIT_1 | 1u << DK_TCP_CLOSING | 1u << DK_TCP_LAST_ACK;
    return states >> c->state & 1;
}

static bool has_unsent(const struct dk_tcp_conn *c)
{
    return c->snd_nxt < c->snd_end || (c->fin_queued && c->snd_nxt == c->snd_end);
}

static uint64_t usable_window(const struct dk_tcp_conn *c)
{
    return c->snd_right > c->snd_nxt ? c->snd_right - c->snd_nxt : 0;
}

static uint8_t flags_of_syn(struct dk_tcp_conn *c)
{
    uint8_t ecn = dk_tcp_ecn_syn_flags(c);
    return DK_TCP_SYN | ecn | (c->state == DK_TCP_SYN_SENT ? 0 : DK_TCP_ACK);
}

/* An entry no longer than one segment may be now; false: there is no memory to cut it. */
static bool cut_to_segment(struct dk_tcp_conn *c, struct dk_tcp_segment *s)
{
    uint64_t data_end = dk_tcp_min64(s->end, c->snd_end);
    if (s->flags & DK_TCP_SEG_SYN || data_end - s->seq <= c->snd_mss)
        return true;
    if (!dk_tcp_board_reserve(c->tcp))
        return false;
    dk_tcp_board_cut(c, s, c->snd_mss);
    return true;
}

static int send_again(struct dk_tcp_conn *c, struct dk_tcp_segment *s, int64_t now)
{
    dk_tcp_search_suspect(c, s, now);
    if (!cut_to_segment(c, s))
        return STOPPED;
    struct dk_tcp_out out = {.seq = s->seq, .piece = s->piece};
    if (s->flags & DK_TCP_SEG_SYN) {
        out.flags = flags_of_syn(c);
    } else {
        uint64_t data_end = dk_tcp_min64(s->end, c->snd_end);
        out.len = (uint32_t)(data_end - s->seq);
        out.flags = DK_TCP_ACK | (out.len && data_end == c->snd_end ? DK_TCP_PSH : 0);
        if (s->flags & DK_TCP_SEG_FIN)
            out.flags |= DK_TCP_FIN;
    }
    uint32_t sent;
    int err = dk_tcp_emit(c, &out, &sent, now);
    if (err)
        return err;
    if (sent < out.len && dk_tcp_board_reserve(c->tcp))
        dk_tcp_board_cut(c, s, sent);
    const bool is_first = s->transmits == 0; /* SYN */
    if (!is_first) {
        DK_TCP_COUNT(c->tcp, retransmits);
        c->retransmits++;
        if (c->in_recovery || c->in_loss)
            dk_tcp_undo_retransmitted(c, s->end, now);
    }
    dk_tcp_recovery_sent(c, sent);
    dk_tcp_board_resent(c, s, now);
    dk_tcp_pace_sent(c, sent, now);
    dk_tcp_sent_something(c, now);
    if (is_first) /* it was timed also while it waited for room */
        dk_tcp_rto_restart(c, now);
    return 0;
}

/* RFC 3042 lets one new segment go for each of the first two duplicate acknowledgements. With SACK
 * each of them makes room by itself. */
static uint64_t troubled_window(const struct dk_tcp_conn *c, bool fresh)
{
    if (dk_tcp_uses_sack(c))
        return c->in_recovery && !(c->cc.ops->flags & DK_TCP_CC_OWN_RECOVERY) ? c->loss->prr_cwnd
                                                                              : c->cc.cwnd;
    uint64_t allowed = (uint64_t)c->cc.cwnd + c->inflation;
    if (fresh && !c->in_recovery && c->dup_acks)
        allowed += (uint64_t)c->snd_mss * (c->dup_acks < 2 ? c->dup_acks : 2);
    return allowed;
}

/* What else may be in flight now. */
static inline uint64_t congestion_room(const struct dk_tcp_conn *c, bool fresh)
{
    uint64_t allowed = dk_unlikely(c->troubled) ? troubled_window(c, fresh) : c->cc.cwnd;
    return allowed > c->flight_bytes ? allowed - c->flight_bytes : 0;
}

static int send_lost(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_segment *s;
    while ((s = dk_tcp_board_first_lost(c))) {
        bool forced = s->flags & DK_TCP_SEG_FORCED || c->flight_bytes == 0;
        if (!forced && !dk_tcp_pace_allows(c, now))
            return STOPPED;
        if (!forced && congestion_room(c, false) < dk_tcp_min64(s->end - s->seq, c->snd_mss))
            return STOPPED;
        /* Beyond a window that was shrunk only the first is sent: it serves as a probe. */
        if (s != c->board && s->end > c->snd_right)
            return STOPPED;
        int err = send_again(c, s, now);
        if (err == -EMSGSIZE && dk_tcp_pmtu_refresh(c))
            continue;
        if (err)
            return err == -EAGAIN ? err : STOPPED;
    }
    return 0;
}

/* What goes at once, of len bytes that are more than a full segment: as many whole ones as the
 * device cuts, and congestion and its pace let go; one at least. CWR belongs to one alone. */
static uint32_t several(const struct dk_tcp_conn *c, uint64_t len, uint32_t full)
{
    if (!(c->tcp->config.device_caps & DK_NETDEV_TSO) || c->ecn & DK_TCP_ECN_CWR)
        return full;
    if (dk_unlikely(c->rate_on && c->cc.pacing_rate != 0))
        len = dk_tcp_min64(len, dk_tcp_pace_quantum(c));
    len = dk_tcp_min64(dk_tcp_min64(len, DK_TCP_TSO_BYTES_MAX), congestion_room(c, true));
    return len > full ? (uint32_t)len - (uint32_t)len % full : full;
}

/* Whether there are entries for what is noted after so many bytes were sent. */
static bool reserve(struct dk_tcp_conn *c, uint32_t len, uint32_t full)
{
    if (dk_likely(len <= full))
        return dk_tcp_board_reserve(c->tcp);
    return dk_tcp_pool_reserve(&c->tcp->segments, (len + full - 1) / full) == 0;
}

/* Notes what was sent, each segment by itself: it may be lost by itself. */
static void note_sent(struct dk_tcp_conn *c, uint32_t sent, uint32_t full, bool fin, int64_t now)
{
    const uint64_t end = c->snd_nxt + sent;
    if (dk_unlikely(sent > full))
        dk_tcp_board_add_full(c, end, full, now);
    dk_tcp_board_add(c, end + fin, fin ? DK_TCP_SEG_FIN : 0, now);
}

/* Whether a segment is the last of several that leave together (or the last ones of these, which
 * the device cuts): what the windows let go ends with it. Then it has PSH, as with Linux: a
 * receiver that delays its acknowledgement would wait for what comes a round trip later. One that
 * leaves alone has none: where the path is full, one acknowledgement of two segments is better than
 * two. */
static bool ends_group(const struct dk_tcp_conn *c, uint32_t len, uint32_t full, int64_t now)
{
    if (len > full)
        return true;
    return c->last_tx_data == now && c->flight_bytes > 0 &&
           dk_tcp_min64(usable_window(c), congestion_room(c, true)) < (uint64_t)len + full;
}

/* Sends new bytes, in segments of `full` bytes where they are more, and FIN: 0 or an error;
 * -EMSGSIZE: a segment is shorter from now on. */
static int send_fresh(struct dk_tcp_conn *c, uint32_t len, uint32_t full, bool fin, int64_t now)
{
    bool ends = c->snd_nxt + len == c->snd_end;
    struct dk_tcp_out out = {.seq = c->snd_nxt,
                             .piece = c->send_piece,
                             .len = len,
                             .flags = DK_TCP_ACK,
                             .segment = len > full ? full : 0};
    if (len && (ends || ends_group(c, len, full, now)))
        out.flags |= DK_TCP_PSH;
    if (fin)
        out.flags |= DK_TCP_FIN;
    if (len && c->ecn) {
        out.ecn = dk_tcp_ecn_data(c);
        out.flags |= c->ecn & DK_TCP_ECN_CWR ? DK_TCP_CWR : 0;
    }
    if (!reserve(c, len, full))
        return STOPPED;
    uint32_t sent;
    int err = dk_tcp_emit(c, &out, &sent, now);
    if (err == -EMSGSIZE)
        return dk_tcp_pmtu_refresh(c) ? err : STOPPED;
    if (err)
        return err;
    fin = fin && sent == len;
    note_sent(c, sent, full, fin, now);
    if (ends && sent == len && len < c->snd_mss)
        c->snd_small = c->snd_nxt;
    dk_tcp_recovery_sent(c, sent);
    dk_count(&c->tcp->stats.tx_bytes, sent);
    if (sent)
        c->ecn &= (uint8_t)~DK_TCP_ECN_CWR;
    dk_tcp_pace_sent(c, sent, now);
    c->last_tx_data = now;
    dk_tcp_sent_something(c, now);
    return 0;
}

/* Whether a segment of len bytes that is not full may go. */
static bool may_send_part(const struct dk_tcp_conn *c, uint32_t len, bool ends)
{
    if (ends)
        return c->option[DK_TCP_NODELAY] || c->fin_queued || c->snd_small <= c->snd_una;
    return len >= c->max_wnd / 2;
}

/* Payload of a full segment, with the options that it has now (RFC 6691 appendix A). */
static inline uint32_t full_segment(const struct dk_tcp_conn *c)
{
    return dk_unlikely(dk_tcp_blocks_any(c)) ? c->snd_mss - dk_tcp_blocks_reserve(c) : c->snd_mss;
}

/* A probe of the path MTU, where one is due and there is enough data and window for it and for what
 * has to follow it. */
static int send_search(struct dk_tcp_conn *c, int64_t now)
{
    uint32_t behind;
    const uint32_t len = dk_tcp_search_due(c, &behind, now);
    const uint64_t before = c->snd_nxt, need = (uint64_t)len + behind;
    if (len == 0 || c->snd_end - c->snd_nxt < need || usable_window(c) < need ||
        c->cc.cwnd < need || congestion_room(c, true) < len || dk_tcp_blocks_any(c))
        return 0;
    int err = send_fresh(c, len, len, false, now);
    if (c->snd_nxt == before + len)
        dk_tcp_search_sent(c, len);
    else if (err != -EAGAIN)
        dk_tcp_search_refused(c);
    return err == -EAGAIN ? err : 0;
}

static int send_new(struct dk_tcp_conn *c, int64_t now)
{
    while (has_unsent(c)) {
        uint32_t full = full_segment(c);
        uint64_t unsent = c->snd_end - c->snd_nxt, usable = usable_window(c);
        uint64_t room = dk_tcp_min64(unsent, usable);
        uint32_t len = dk_likely(room <= full) ? (uint32_t)room : several(c, room, full);
        bool ends = len == unsent;
        bool fin = ends && c->fin_queued && usable > len;
        if (len == 0 && !fin)
            break;
        if (c->flight_bytes > 0 && congestion_room(c, true) < len)
            break;
        if (len < full && len > 0 && !may_send_part(c, len, ends))
            break;
        if (!dk_tcp_pace_allows(c, now))
            break;
        int err = send_fresh(c, len, full, fin, now);
        if (err && err != -EMSGSIZE)
            return err;
    }
    dk_tcp_rate_check_limited(c);
    return 0;
}

static int send_ack(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_out out = {.seq = c->snd_nxt, .flags = DK_TCP_ACK};
    uint32_t sent;
    return dk_tcp_emit(c, &out, &sent, now);
}

/* A SYN that never left is timed too; the others that are in flight are already. What waits for a
 * neighbour ends when that does not answer. */
static void wait_for_room(struct dk_tcp_conn *c, int64_t now)
{
    DK_TCP_COUNT(c->tcp, tx_no_room);
    if (dk_list_empty(&c->pending_link))
        dk_list_add_tail(c->unresolved ? &c->tcp->unresolved : &c->tcp->pending, &c->pending_link);
    if (c->snd_una != c->snd_nxt && !c->unresolved)
        dk_tcp_sent_something(c, now);
}

/* When a closed window is probed; or one that is open, but too small to be used, is used. Beyond
 * the first time the latter means that a segment found no room in the device, or no memory. */
static int64_t persist_delay(const struct dk_tcp_conn *c)
{
    if (usable_window(c) > 0) {
        const int64_t first = c->rto_ns < OVERRIDE_MAX_NS ? c->rto_ns : OVERRIDE_MAX_NS;
        return dk_tcp_rto_backed_off(c, first, c->probes);
    }
    return dk_tcp_rto_backed_off(c, c->rto_ns, dk_tcp_useless_probes(c));
}

/* No later than the user timeout, which begins with the first probe (timer.c). */
static int64_t persist_due(const struct dk_tcp_conn *c, int64_t now)
{
    const int64_t due = now + persist_delay(c), since = c->stalled_since;
    const int64_t timeout = dk_tcp_option_ns(c, DK_TCP_USER_TIMEOUT);
    return timeout > 0 && c->probes > 0 && since + timeout < due ? since + timeout : due;
}

static void persist(struct dk_tcp_conn *c, int64_t now)
{
    if (dk_tcp_pace_waits(c)) {
        if (dk_tcp_timer_is_set(c, DK_TCP_TIMER_PERSIST))
            return;
        dk_tcp_rated(c)->pace_waits = false; /* a wider window has stopped it */
    }
    if (c->snd_una != c->snd_nxt || !has_unsent(c))
        dk_tcp_timer_clear(c, DK_TCP_TIMER_PERSIST);
    else if (!dk_tcp_timer_is_set(c, DK_TCP_TIMER_PERSIST))
        dk_tcp_timer_set(c, DK_TCP_TIMER_PERSIST, persist_due(c, now));
}

static int send_data(struct dk_tcp_conn *c, int64_t now)
{
    bool held = c->loss->frto == DK_TCP_FRTO_SECOND; /* RFC 5682 section 3.1, (2b) */
    int err = c->board && !held ? send_lost(c, now) : 0;
    if (err || !may_send_data(c) || !has_unsent(c))
        return err;
    if (!c->board && now - c->last_tx_data > c->rto_ns)
        c->cc.ops->on_idle(&c->cc, now - c->last_tx_data, now);
    if (dk_unlikely(c->search_high))
        err = send_search(c, now);
    return err ? err : send_new(c, now);
}

void dk_tcp_output(struct dk_tcp_conn *c, int64_t now)
{
    if (c->ack_now && dk_tcp_ack_short(c, now))
        return;
    int err = send_data(c, now);
    if (err != -EAGAIN && c->ack_now)
        err = send_ack(c, now);
    if (err == -EAGAIN)
        wait_for_room(c, now);
    if (may_send_data(c))
        persist(c, now);
}

void dk_tcp_output_probe(struct dk_tcp_conn *c, int64_t now)
{
    uint64_t unsent = c->snd_end - c->snd_nxt, usable = usable_window(c);
    uint32_t len = (uint32_t)dk_tcp_min64(dk_tcp_min64(unsent, usable), c->snd_mss);
    bool fin = len == unsent && c->fin_queued && usable > len;
    bool left;
    if (len > 0 || fin) {
        int err = send_fresh(c, len, c->snd_mss, fin, now);
        if (err == -EAGAIN)
            wait_for_room(c, now);
        left = err == 0;
    } else {
        DK_TCP_COUNT(c->tcp, window_probes);
        left = dk_tcp_send_probe(c, now);
    }
    if (c->probes < UINT8_MAX)
        c->probes++;
    if (left && c->probe_backoff < UINT8_MAX)
        c->probe_backoff++;
    persist(c, now);
}

/* Of an entry of several segments the last one is cut off. */
static int resend_tail(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_segment *s = c->board_tail;
    uint64_t bytes = dk_tcp_min64(s->end, c->snd_end) - s->seq;
    if (dk_tcp_board_first_lost(c) || s->flags & DK_TCP_SEG_SACKED || s->end > c->snd_right)
        return STOPPED;
    if (bytes > c->snd_mss) {
        if (!dk_tcp_board_reserve(c->tcp))
            return STOPPED;
        dk_tcp_board_cut(c, s, (uint32_t)(bytes - c->snd_mss));
        s = s->next;
    }
    dk_tcp_board_lost(c, s, 0);
    int err = send_again(c, s, now);
    if (err)
        dk_tcp_board_none_lost(c);
    return err;
}

int dk_tcp_output_tail(struct dk_tcp_conn *c, int64_t now)
{
    uint64_t unsent = c->snd_end - c->snd_nxt, usable = usable_window(c);
    uint32_t len = (uint32_t)dk_tcp_min64(dk_tcp_min64(unsent, usable), full_segment(c));
    if (!may_send_data(c))
        return STOPPED;
    if (len == 0 || c->snd_nxt > c->snd_end)
        return resend_tail(c, now);
    bool fin = len == unsent && c->fin_queued && usable > len;
    int err = send_fresh(c, len, c->snd_mss, fin, now);
    return err == -EMSGSIZE ? dk_tcp_output_tail(c, now) : err;
}

bool dk_tcp_send_probe(struct dk_tcp_conn *c, int64_t now)
{
    struct dk_tcp_out out = {.seq = c->snd_una - 1, .flags = DK_TCP_ACK};
    uint32_t sent;
    int err = dk_tcp_emit(c, &out, &sent, now);
    if (err == -EAGAIN)
        DK_TCP_COUNT(c->tcp, tx_no_room);
    return err == 0;
}

void dk_tcp_challenge_ack(struct dk_tcp_conn *c, int64_t now)
{
    const uint32_t now_ms = (uint32_t)(now / DK_NS_PER_MS);
    if (now_ms - c->challenge_from >= 1000) {
        c->challenge_from = now_ms;
        c->challenges = 0;
    }
    if (c->challenges >= CHALLENGES_MAX) {
        DK_TCP_COUNT(c->tcp, challenge_acks_limited);
        return;
    }
    c->challenges++;
    DK_TCP_COUNT(c->tcp, challenge_acks);
    c->ack_now = true;
    dk_tcp_output(c, now);
}

void dk_tcp_send_reset(struct dk_tcp_conn *c, uint64_t seq, int64_t now)
{
    struct dk_tcp_out out = {.seq = seq, .flags = DK_TCP_RST | DK_TCP_ACK};
    uint32_t sent;
    if (dk_tcp_emit(c, &out, &sent, now) == 0)
        DK_TCP_COUNT(c->tcp, tx_resets);
    else
        DK_TCP_COUNT(c->tcp, tx_no_room);
}

void dk_tcp_answer_reset(struct dk_tcp *tcp, const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_header *h = &rx->h;
    if (h->flags & DK_TCP_RST)
        return;
    struct dk_tcp_header rst = {.src_port = h->dst_port, .dst_port = h->src_port};
    if (h->flags & DK_TCP_ACK) {
        rst.seq = h->ack;
        rst.flags = DK_TCP_RST;
    } else {
        uint32_t syn_fin = !!(h->flags & DK_TCP_SYN) + !!(h->flags & DK_TCP_FIN);
        rst.ack = h->seq + rx->len + syn_fin;
        rst.flags = DK_TCP_RST | DK_TCP_ACK;
    }
    if (dk_tcp_emit_bare(tcp, rx->ip, &rst, rx->now) == 0)
        DK_TCP_COUNT(tcp, tx_resets);
}

void dk_tcp_tx_resolved(struct dk_tcp *tcp, int64_t now)
{
    struct dk_list *first;
    while ((first = dk_list_first(&tcp->unresolved))) {
        dk_list_del(first);
        dk_list_add_tail(&tcp->pending, first);
    }
    dk_tcp_tx_pending(tcp, now);
}

void dk_tcp_tx_pending(struct dk_tcp *tcp, int64_t now)
{
    struct dk_list *first;
    while ((first = dk_list_first(&tcp->pending))) {
        struct dk_tcp_conn *c = dk_container_of(first, struct dk_tcp_conn, pending_link);
        dk_list_del_init(first);
        dk_tcp_output(c, now);
        if (!dk_list_empty(&c->pending_link) && !c->unresolved)
            break; /* no room again: the others keep their place */
    }
}
