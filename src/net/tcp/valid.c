/* SPDX-License-Identifier: MIT */
/*
 * The invariants of tcb.h, checked.
 */
#include "net/tcp/pcb.h"
#include "net/tcp/record.h"
#include "net/tcp/sendq.h"
#include "net/tcp/time_wait.h"
#include "net/tcp/tune.h"
#include "net/tcp/timer.h"

static bool is_board_valid(const struct dk_tcp_conn *c)
{
    uint64_t at = c->snd_una;
    uint64_t flight = 0, sacked = 0, lost = 0;
    const struct dk_tcp_segment *last = NULL;
    bool hint_seen = false;
    for (const struct dk_tcp_segment *s = c->board; s; s = s->next) {
        if (s->seq != at || s->end <= s->seq)
            return false;
        hint_seen |= s == c->lost_hint;
        if (s->flags & DK_TCP_SEG_LOST && !hint_seen)
            return false;
        if (!(s->flags & (DK_TCP_SEG_LOST | DK_TCP_SEG_SACKED)))
            flight += s->end - s->seq;
        if (s->flags & DK_TCP_SEG_SACKED)
            sacked += s->end - s->seq;
        if (s->flags & DK_TCP_SEG_LOST && !(s->flags & DK_TCP_SEG_SYN))
            lost += s->end - s->seq;
        if (s->flags & DK_TCP_SEG_LOST && s->flags & DK_TCP_SEG_SACKED)
            return false;
        bool data = !(s->flags & DK_TCP_SEG_SYN) && s->seq < c->snd_end;
        if (data &&
            (!s->piece || s->seq < s->piece->seq || s->seq >= s->piece->seq + s->piece->len))
            return false;
        at = s->end;
        last = s;
    }
    if (!c->troubled && (sacked || lost || c->in_recovery || c->in_loss))
        return false;
    return at == c->snd_nxt && flight == c->flight_bytes && sacked == c->loss->sacked_bytes &&
           (!last || last == c->board_tail);
}

static bool are_pieces_valid(const struct dk_tcp_conn *c)
{
    const struct dk_tcp_piece *last = NULL;
    bool send_seen = !c->send_piece, hold_seen = !c->hold_piece, all_own = true;
    if (!c->pieces)
        return c->snd_una >= c->snd_end || c->state < DK_TCP_ESTABLISHED;
    uint64_t at = c->pieces->seq;
    if (at > dk_tcp_max64(c->snd_una, c->iss + 1))
        return false;
    for (const struct dk_tcp_piece *p = c->pieces; p; p = p->next) {
        if (p->seq != at || p->len == 0 || !p->buf)
            return false;
        at += p->len;
        send_seen |= p == c->send_piece;
        hold_seen |= p == c->hold_piece;
        all_own &= p->own;
        last = p;
    }
    if (!c->hold_piece && !all_own)
        return false; /* it would be read after it was given back */
    return at == c->snd_end && send_seen && hold_seen && last == c->pieces_tail;
}

/* Where the next byte to be sent lies; SYN is before all of them. */
static bool is_send_piece_valid(const struct dk_tcp_conn *c)
{
    uint64_t next = dk_tcp_max64(c->snd_nxt, c->iss + 1);
    const struct dk_tcp_piece *p = c->send_piece;
    if (!p)
        return next >= c->snd_end;
    return p->seq <= next && next < p->seq + p->len;
}

static bool are_elements_valid(const struct dk_tcp_conn *c)
{
    uint64_t end = 0;
    const struct dk_tcp_element *last = NULL;
    for (const struct dk_tcp_element *e = c->elements; e; e = e->next) {
        if (e->end < end || e->end > c->snd_end || e->end <= c->snd_una)
            return false;
        end = e->end;
        last = e;
    }
    return !c->elements || (c->hold_piece && last == c->elements_tail);
}

static bool are_ranges_valid(const struct dk_tcp_conn *c)
{
    uint64_t at = c->rcv_nxt;
    uint32_t n = 0;
    const struct dk_tcp_reasm *a = c->reasm;
    if (!a)
        return true;
    for (const struct dk_tcp_range *r = a->ranges; r; r = r->next, n++) {
        if (!r->next && r != a->ranges_tail)
            return false;
        if (r->seq < at || (n == 0 && r->seq == at) || r->end <= r->seq ||
            dk_buf_bytes(r->buf) != r->end - r->seq || r->end > c->rcv_fin)
            return false;
        at = r->end;
    }
    return (n > 0 || a->num_blocks || a->has_dsack) && n == a->num_ranges &&
           at <= dk_tcp_max64(c->rcv_adv, c->rcv_nxt);
}

/* What we tell the peer lies within what we have. */
static bool are_blocks_valid(const struct dk_tcp_conn *c)
{
    const struct dk_tcp_reasm *a = c->reasm;
    for (uint8_t i = 0; a && i < a->num_blocks; i++) {
        uint64_t at = dk_tcp_extend(c->rcv_nxt, a->blocks[i].start);
        uint64_t end = dk_tcp_extend(c->rcv_nxt, a->blocks[i].end);
        for (const struct dk_tcp_range *r = a->ranges; r && r->seq <= at; r = r->next)
            if (r->end > at)
                at = r->end;
        if (at == c->rcv_fin)
            at++;
        if (end <= c->rcv_nxt || at < end)
            return false;
    }
    return true;
}

/* A record is one connection's, and the place of those that have none is as it was. */
static bool is_record_valid(const struct dk_tcp_conn *c)
{
    static const struct dk_tcp_recovery none;
    return dk_tcp_record_is_there(c) ? c->loss->conn == c
                                     : memcmp(c->loss, &none, sizeof(none)) == 0;
}

static bool is_rcvq_valid(const struct dk_tcp_conn *c)
{
    uint64_t bytes = 0;
    uint32_t n = 0;
    const struct dk_buf *last = NULL;
    for (const struct dk_buf *b = c->rx_head; b; b = b->more, n++) {
        bytes += dk_buf_bytes(b);
        last = b;
    }
    return bytes == c->rx_bytes && n == c->rx_bufs && (!last || last == c->rx_tail);
}

/* What is said in short of what is elsewhere. */
static bool are_marks_valid(const struct dk_tcp_conn *c)
{
    const uint32_t concerns = (c->hold_piece ? DK_TCP_CONCERN_LENT : 0) |
                              (c->room_una != DK_TCP_NONE ? DK_TCP_CONCERN_ROOM : 0) |
                              (c->option[DK_TCP_USER_TIMEOUT] ? DK_TCP_CONCERN_TIMEOUT : 0);
    return c->concerns == concerns && c->gap == (c->reasm || c->rcv_fin != DK_TCP_NONE);
}

/* What waits must be waited for: each state has a timer that ends it, or the owner does. */
static bool are_timers_valid(const struct dk_tcp_conn *c)
{
    bool pending = !dk_list_empty(&c->pending_link);
    for (int i = 0; i < DK_TCP_TIMERS; i++)
        if (c->due[i] < c->timer.due)
            return false;
    if (c->snd_una != c->snd_nxt)
        return pending || dk_tcp_timer_is_set(c, DK_TCP_TIMER_RTO);
    bool unsent = c->snd_nxt < c->snd_end || (c->fin_queued && !dk_tcp_fin_sent(c));
    if (unsent && c->state >= DK_TCP_ESTABLISHED)
        return pending || dk_tcp_timer_is_set(c, DK_TCP_TIMER_PERSIST);
    if (c->state == DK_TCP_TIME_WAIT || (c->state == DK_TCP_FIN_WAIT_2 && c->closing))
        return dk_tcp_timer_is_set(c, DK_TCP_TIMER_STATE);
    return true;
}

static bool is_closed_valid(const struct dk_tcp_conn *c)
{
    return !c->hashed && !dk_tcp_record_is_there(c) && !c->board && !c->pieces && !c->elements &&
           !c->reasm && !c->listener && c->timer.due == DK_TCP_NEVER &&
           dk_list_empty(&c->pending_link) && is_rcvq_valid(c);
}

static bool are_states_valid(const struct dk_tcp_conn *c)
{
    bool fin_in = dk_tcp_fin_received(c), fin_acked = dk_tcp_fin_acked(c) && c->fin_queued;
    switch (c->state) {
    case DK_TCP_SYN_SENT:
    case DK_TCP_SYN_RECEIVED:
        return c->snd_una == c->iss && !fin_in;
    case DK_TCP_ESTABLISHED:
        return !c->fin_queued && !fin_in;
    case DK_TCP_FIN_WAIT_1:
        return c->fin_queued && !fin_acked && !fin_in;
    case DK_TCP_FIN_WAIT_2:
        return fin_acked && !fin_in;
    case DK_TCP_CLOSE_WAIT:
        return !c->fin_queued && fin_in;
    case DK_TCP_CLOSING:
    case DK_TCP_LAST_ACK:
        return c->fin_queued && !fin_acked && fin_in;
    case DK_TCP_TIME_WAIT:
        return fin_acked && fin_in;
    default:
        return false;
    }
}

bool dk_tcp_is_valid(const struct dk_tcp_conn *c)
{
    if (c->state == DK_TCP_CLOSED)
        return is_closed_valid(c);
    if (!c->hashed || c->snd_una > c->snd_nxt || c->snd_nxt > c->snd_end + 1)
        return false;
    return is_board_valid(c) && are_pieces_valid(c) && is_send_piece_valid(c) &&
           are_elements_valid(c) && are_ranges_valid(c) && are_blocks_valid(c) &&
           is_rcvq_valid(c) && are_timers_valid(c) && are_states_valid(c) && is_record_valid(c) &&
           are_marks_valid(c);
}

static bool is_found(struct dk_tcp *tcp, const struct dk_tcp_conn *c)
{
    return dk_tcp_lookup(tcp, &c->local_ip, c->local_port, &c->remote_ip, c->remote_port) == c;
}

static uint32_t length(const struct dk_list *list)
{
    uint32_t n = 0;
    for (const struct dk_list *at = list->next; at != list; at = at->next)
        n++;
    return n;
}

static bool are_listeners_valid(const struct dk_tcp *tcp)
{
    uint32_t n = 0, half_open = 0;
    struct dk_list *at;
    dk_list_for_each (at, &tcp->listeners) {
        const struct dk_tcp_listener *l = dk_container_of(at, struct dk_tcp_listener, link);
        if (length(&l->waiting) != l->num_waiting || length(&l->half_open) != l->num_half_open)
            return false;
        half_open += l->num_half_open;
        n++;
    }
    return n == tcp->num_listeners && half_open == tcp->num_half_open;
}

static bool are_holds_valid(const struct dk_tcp *tcp)
{
    int64_t due = INT64_MIN;
    struct dk_list *at;
    if (tcp->hold_due !=
        (dk_list_empty(&tcp->holds) ? DK_TCP_NEVER : dk_tcp_sendq_first_hold(tcp)->hold_due))
        return false;
    dk_list_for_each (at, &tcp->holds) {
        const struct dk_tcp_element *e = dk_container_of(at, struct dk_tcp_element, hold_link);
        if (e->hold_due < due || !e->conn->elements || e->end <= e->conn->snd_una)
            return false;
        due = e->hold_due;
    }
    return true;
}

/* Each is found, waits no longer than those behind it, and no connection has the same ends. */
static bool are_time_waits_valid(const struct dk_tcp *tcp)
{
    uint32_t n = 0;
    int64_t until = INT64_MIN;
    struct dk_list *at;
    dk_list_for_each (at, &tcp->time_wait) {
        const struct dk_tcp_time_wait *tw = dk_container_of(at, struct dk_tcp_time_wait, link);
        if (tw->until < until ||
            dk_tcp_time_wait_find(tcp, &tw->local_ip, &tw->remote_ip, tw->ports) != tw ||
            dk_tcp_find(tcp, &tw->local_ip, &tw->remote_ip, tw->ports))
            return false;
        until = tw->until;
        n++;
    }
    return n == tcp->time_wait_pool.used && n == tcp->time_waits.num &&
           (n == 0 || dk_timer_is_running(&tcp->time_wait_timer));
}

static bool are_events_valid(const struct dk_tcp *tcp)
{
    struct dk_tcp_conn *const *at = &tcp->events;
    for (; *at; at = &(*at)->event_next)
        if (!((*at)->events & DK_TCP_EV_QUEUED))
            return false;
    return at == tcp->events_end;
}

bool dk_tcp_all_valid(const struct dk_tcp *tcp)
{
    uint32_t n = 0;
    uint64_t unread = 0;
    struct dk_list *at;
    dk_list_for_each (at, &tcp->all) {
        const struct dk_tcp_conn *c = dk_container_of(at, struct dk_tcp_conn, all_link);
        unread += c->rx_bytes;
        if (!dk_tcp_is_valid(c) || (c->hashed && !is_found(c->tcp, c)))
            return false;
        n++;
    }
    return n == tcp->conns.used && are_events_valid(tcp) && unread == dk_tcp_unread_bytes(tcp) &&
           are_time_waits_valid(tcp) && are_listeners_valid(tcp) && are_holds_valid(tcp);
}
