/* SPDX-License-Identifier: MIT */
/*
 * The transmission control block of a connection, and what all connections of a stack share.
 *
 * Sequence numbers have 64 bits in here: the low half is what goes over the wire, and what arrives
 * is extended by the distance to one that is known (dk_tcp_extend). So they are compared as they
 * are, nothing wraps, and a push may have any size. The names are those of RFC 9293 section 3.3.1.
 *
 * Sent:      iss | ... snd_una ... snd_nxt ... snd_end
 *                      ^ scoreboard ^
 *                      ^ pieces ------------ ^
 *      SYN is number iss. Data begins at iss + 1. FIN is number snd_end, once fin_queued: it is
 * sent when snd_nxt > snd_end. snd_una <= snd_nxt <= snd_end + 1. The scoreboard covers [snd_una,
 * snd_nxt) without gaps or overlaps, in order. flight_bytes is the sum of its entries that are
 * neither lost nor sacked; loss.sacked_bytes that of the sacked ones. Pieces cover [max(snd_una,
 * iss + 1) or before, snd_end) without gaps, in order.
 *
 * Received:  irs | ... rcv_nxt ... rcv_adv
 *      rcv_adv is the right edge of the window that the peer knows; it never moves left.
 *      rcv_fin is the number of the peer's FIN, DK_TCP_NONE: not seen.
 *
 * Elements that are not complete are in order; behind them are parts of one whose last is still to
 * come. hold_piece is the first piece of the first of all these (or a later one that it still has),
 * NULL: there are none, and all pieces are own.
 */
#ifndef DK_NET_TCP_TCB_H
#define DK_NET_TCP_TCB_H

#include "base/list.h"
#include "base/timer_wheel.h"
#include "net/ip_out.h"
#include "net/stack.h"
#include "net/tcp/cc.h"
#include "net/tcp/pool.h"
#include "net/tcp/table.h"
#include "net/tcp/tcp.h"
#include "net/wire/tcp.h"

#define DK_TCP_NONE   UINT64_MAX
#define DK_TCP_NEVER  INT64_MAX
#define DK_TCP_SEQ_0  (UINT64_C(1) << 32) /* added to a first number: none before it is negative */
#define DK_TCP_TS_LEN 12u                 /* timestamps in every segment */

/* Part of an element's memory, or of memory of our own. */
struct dk_tcp_piece {
    struct dk_tcp_piece *next;
    uint64_t seq; /* of its first byte */
    const uint8_t *data;
    uint32_t len;
    bool own; /* nobody but us sees or changes the memory */
    struct dk_buf *buf;
};

struct dk_tcp_element {
    struct dk_tcp_element *next;
    uint64_t end; /* number behind its last byte */
    uint64_t una; /* snd_una when its hold began, or was looked at last */
    int64_t hold_due;
    struct dk_list hold_link; /* in dk_tcp.holds, until it is done */
    struct dk_tcp_conn *conn;
    void *cookie;
    int err; /* when it is done */
};

/* Flags of a scoreboard entry. */
#define DK_TCP_SEG_SYN    (1u << 0)
#define DK_TCP_SEG_FIN    (1u << 1)
#define DK_TCP_SEG_LOST   (1u << 2) /* to be sent (again) */
#define DK_TCP_SEG_SACKED (1u << 3)
#define DK_TCP_SEG_FORCED (1u << 4) /* to be sent whatever cwnd says: fast retransmit */

/* Blocks that are told at once: what room there is without timestamps. */
#define DK_TCP_BLOCKS 4

/* What was known when a segment left (rate.h); its low half is enough of each. Times in ticks. */
struct dk_tcp_sent {
    uint32_t delivered, delivered_at; /* bytes until then, and when the last of them */
    uint32_t first_sent;              /* when the interval of its sample began to be sent */
    uint32_t in_flight;               /* itself included */
    uint32_t lost;                    /* bytes until then */
};

/* An entry of the scoreboard: a range that was sent at once, or several that were selectively
 * acknowledged and lie side by side. */
struct dk_tcp_segment {
    struct dk_tcp_segment *next;
    uint64_t seq, end;          /* SYN and FIN included */
    struct dk_tcp_piece *piece; /* that has the byte at seq; NULL: no data */
    int64_t tx_time;            /* of the last transmission */
    uint16_t transmits;
    uint8_t flags;
    bool limited; /* sent when the application had no more to send, and rates are measured */
    struct dk_tcp_sent sent;
};

/* Whether an entry was sent once, and nothing else is to be said about it. */
static inline bool dk_tcp_segment_is_plain(const struct dk_tcp_segment *s)
{
    static const struct dk_tcp_segment plain = {.transmits = 1};
    const size_t from = offsetof(struct dk_tcp_segment, transmits);
    return memcmp((const uint8_t *)s + from, (const uint8_t *)&plain + from,
                  offsetof(struct dk_tcp_segment, sent) - from) == 0;
}

/* A range that arrived out of order. */
struct dk_tcp_range {
    struct dk_tcp_range *next;
    uint64_t seq, end;
    struct dk_buf *buf; /* a view of exactly those bytes */
};

/* Deadlines of a connection; one timer of the wheel stands for the earliest. */
enum dk_tcp_timer {
    DK_TCP_TIMER_LOSS, /* reordering, or a tail loss probe: before the RTO when both are due */
    DK_TCP_TIMER_RTO,
    DK_TCP_TIMER_PERSIST, /* or for the pace (pace.h) */
    DK_TCP_TIMER_ACK,     /* delayed */
    DK_TCP_TIMER_ALIVE,   /* keepalive */
    DK_TCP_TIMER_STATE,   /* FIN_WAIT_2 without owner, TIME_WAIT */
    DK_TCP_TIMERS,
};

/* What is to be told to the owner (event.c). */
#define DK_TCP_EV_CONNECTED   (1u << 0)
#define DK_TCP_EV_SENT        (1u << 1)
#define DK_TCP_EV_ROOM        (1u << 2)
#define DK_TCP_EV_READABLE    (1u << 3)
#define DK_TCP_EV_PEER_CLOSED (1u << 4)
#define DK_TCP_EV_FAILED      (1u << 5)
#define DK_TCP_EV_CLOSED      (1u << 6)
#define DK_TCP_EV_QUEUED      (1u << 7) /* it is in dk_tcp.events, perhaps only to be looked at */

/* What an acknowledgement of new data is to be looked at for besides (dk_tcp_concern). */
#define DK_TCP_CONCERN_LENT    (1u << 0) /* hold_piece is not NULL */
#define DK_TCP_CONCERN_ROOM    (1u << 1) /* room_una is not DK_TCP_NONE */
#define DK_TCP_CONCERN_TIMEOUT (1u << 2) /* option[DK_TCP_USER_TIMEOUT] is not 0 */

struct dk_way;
struct dk_tcp_used;

/*
 * Loss recovery with selective acknowledgements (recovery.h says who keeps what). Nothing in here
 * is read or written while the connection is not `troubled`, but for the undo of the last episode:
 * so only connections that were in trouble lately have one (record.h).
 */
struct dk_tcp_recovery {
    struct dk_list link;                    /* in dk_tcp.recoveries_used */
    struct dk_tcp_conn *conn;               /* whose it is */
    uint32_t sacked_bytes;                  /* of the scoreboard */
    uint8_t reo_wnd_steps, reo_wnd_persist; /* of RACK; steps: RACK.reo_wnd_mult - 1 */
    uint8_t frto;                           /* enum dk_tcp_frto (undo.h) */
    bool reordering_seen : 1;               /* of RACK */
    bool tlp_is_retrans : 1;                /* the tail loss probe that is outstanding */
    /* RACK (RFC 8985 section 5.2): the segment sent last among those known to be delivered. */
    uint64_t rack_end, rack_fack; /* rack_fack: end of the highest segment delivered */
    int64_t rack_time, rack_rtt;
    uint64_t rack_dsack_round; /* snd_nxt when the window was last widened; 0: no round */
    /* Tail loss probe (section 5.3). */
    uint64_t tlp_end; /* 0: none is outstanding */
    /* PRR (RFC 6937): bytes. */
    uint32_t prr_delivered, prr_out;
    uint32_t prr_flight; /* RecoverFS */
    uint32_t prr_cwnd;
    /* What the last episode retransmitted, to find out that it was for nothing. */
    uint64_t undo_from;    /* snd_una when it began; 0: nothing can be undone */
    uint32_t undo_retrans; /* retransmissions that no D-SACK has told of */
    uint32_t undo_ts;      /* TSval of what was retransmitted first */
    uint64_t undo_first;   /* its end; 0: nothing was yet */
};

/* What a connection has besides while its algorithm reads delivery rates (rate.h, pace.h). */
struct dk_tcp_rated {
    uint64_t delivered, app_limited;
    int64_t delivered_at, newest_time;
    struct dk_tcp_sent newest; /* of the segment sent last that is known to be delivered */
    uint32_t lost_bytes;
    bool newest_limited;
    bool pace_waits; /* the timer is for the pace */
    int64_t pace_at;
};

/*
 * What a connection has while something arrived out of order, or twice and the peer was not told:
 * never empty (reasm.h, block.h).
 */
struct dk_tcp_reasm {
    struct dk_tcp_range *ranges, *ranges_tail;
    uint32_t num_ranges;
    uint8_t num_blocks; /* to be told of what is there */
    bool has_dsack;     /* to be told of what came twice */
    bool blocks_left;   /* some found no place since the last time that ranges was empty */
    struct dk_tcp_sack dsack, blocks[DK_TCP_BLOCKS];
};

/*
 * In the order of use: what a connection on which all goes well reads and writes, then what is
 * changed seldom, then what most never need. With many connections nothing else costs so much as
 * the lines of memory that a packet touches (crowd.c). Each part is one line of 64 bytes; that of
 * the wheel stands between the two that are looked at when it comes by (timer.c).
 */
struct dk_tcp_conn {
    /* Who it is. */
    struct dk_tcp_node node; /* first: in dk_tcp.table */
    uint32_t ports;          /* both, as dk_tcp_find is given them */
    uint32_t pseudo_sum;     /* of the pseudo header, without the length */
    uint64_t pair4;          /* dk_tcp_pair4, where frames with these are known to be good; or 0 */
    struct dk_ip remote_ip;

    /* What is going on. */
    struct dk_ip local_ip;
    struct dk_way *way; /* where remote_ip's was found lately, or NULL (tx_short.c) */
    union {
        struct {
            uint8_t state; /* enum dk_tcp_state */
            bool closing;  /* the owner called dk_tcp_close or abort */
            bool troubled; /* something is lost, sacked, probed or doubted (recovery.h) */
            bool ts_on;
            bool gap;       /* reasm is not NULL, or rcv_fin is known */
            uint8_t ecn;    /* ecn.h */
            uint8_t ece;    /* DK_TCP_ECE while our acknowledgements have it, or 0 */
            uint8_t probes; /* unanswered, of window or liveness */
            uint8_t dup_acks;
            uint8_t retries; /* timeouts in a row */
            uint8_t probe_backoff;
            bool pmtu_waits;  /* an ICMP error that is believed after a timeout: pmtu_claimed */
            int16_t soft_err; /* told if the connection times out */
            bool rate_on;     /* its algorithm measures: dk_tcp_rated */
            uint8_t concerns; /* DK_TCP_CONCERN_... */
        };
        struct {
            uint8_t mood[8]; /* dk_tcp_is_quiet */
            union {
                uint8_t calm[8];     /* dk_tcp_is_calm */
                uint8_t troubles[6]; /* which an acknowledgement of new data ends */
            };
        };
    };
    bool ack_now;
    bool ack_timed;  /* the timer is for what is owed now */
    bool fin_queued; /* dk_tcp_shutdown or close */
    uint8_t events;
    bool owned : 1;  /* the owner may call it: from connect or accept to `closed` */
    bool offers : 1; /* it is, and its owner may be offered what arrives */
    uint8_t snd_wscale, rcv_wscale;
    bool sack_on;
    struct dk_tcp *tcp;

    /* Deadlines. */
    struct dk_timer timer;
    int64_t due[DK_TCP_TIMERS]; /* to the beginning of the next line */

    /* Time. */
    int64_t srtt_ns, rttvar_ns; /* -1: no sample */
    int64_t rto_ns;             /* backed off */
    int64_t stalled_since;      /* nothing was acknowledged since, while something was in flight */
    int64_t last_tx_data;
    uint32_t flight_bytes;
    uint32_t snd_mss; /* payload of a full segment, options subtracted */

    /* Sending. */
    uint64_t snd_una, snd_nxt, snd_end;
    uint64_t snd_right; /* right edge of the peer's window */
    uint64_t snd_wl1;   /* of the segment that it came with */
    uint64_t snd_small; /* end of the last segment sent that was not full (Minshall) */
    uint32_t snd_wnd, max_wnd;
    int64_t last_rx;

    /* Receiving. */
    uint64_t rcv_nxt, rcv_adv;
    uint64_t last_ack_sent;
    uint32_t rcv_mss;   /* the largest segment seen, within reason */
    uint32_t ack_bytes; /* received since the last acknowledgement, which they are owed */
    uint32_t ts_recent, ts_offset;
    uint64_t rx_bytes;
    uint32_t window_low, window_span; /* dk_tcp_window_stays */
    struct dk_buf *rx_head;           /* in order, not read: linked by more */

    /* Queues. */
    struct dk_buf *rx_tail;
    uint32_t rx_bufs;
    uint32_t rx_tail_room; /* bytes that may be added to rx_tail, which is ours */
    struct dk_tcp_segment *board, *board_tail;
    struct dk_tcp_piece *pieces, *pieces_tail;
    union {
        struct dk_list queue_link; /* with a listener: half_open, accept queue */
        struct {                   /* with an owner */
            const struct dk_tcp_ops *ops;
            void *owner;
        };
    };

    /* A line of the algorithm's own; at its end, in the next, what each packet asks it for, and
     * what else a packet needs: options go on behind that. */
    struct dk_tcp_cc cc;
    struct dk_tcp_piece *send_piece; /* that has the byte at snd_nxt; NULL: all was sent */
    struct dk_tcp_conn *event_next;  /* in dk_tcp.events */
    int64_t min_rtt_ns;              /* -1: no sample */
    int64_t confirm_due;             /* when the neighbour is to hear again that it answers */
    uint32_t ack_limit;              /* ack_bytes from which on it is due at once */
    uint16_t max_acked;              /* largest payload that arrived */
    uint8_t ttl, tos;                /* as the options say */
    int32_t option[DK_TCP_OPTIONS];  /* times in milliseconds: dk_tcp_option_ns */

    uint32_t challenge_from;  /* milliseconds */
    uint32_t entered_at;      /* the state; likewise */
    uint8_t challenges;       /* sent since challenge_from */
    uint8_t rcv_wscale_offer; /* what our SYN says */
    bool in_recovery;     /* after a loss that acknowledgements told of, until snd_una >= recover */
    bool in_loss;         /* after a timeout, until then */
    uint8_t partial_acks; /* in this recovery, that restarted the timer (rx_ack.c) */
    bool hashed : 1;      /* dk_tcp_lookup finds it */
    bool passive : 1;     /* a listener made it */
    bool unresolved : 1;  /* pending for a neighbour's sake: in dk_tcp.unresolved */
    bool wscale_on : 1;
    bool rcv_tuned : 1; /* the receive buffer grows by itself (tune.c) */
    int16_t err;
    int16_t ip_err; /* of the last segment sent: what dk_ip_send said */
    uint16_t local_port, remote_port;
    uint16_t peer_mss; /* what the peer's SYN said */
    /* Path MTU (RFC 1191, 8201, 5927 section 7.2). */
    uint16_t path_mtu;
    uint16_t pmtu_claimed;
    uint16_t search_high, probe_mtu; /* of search.c, as the next */
    uint32_t search_at, probe_end;
    uint8_t probe_fails;

    /* Seldom. */
    uint32_t retransmits;
    uint32_t inflation;          /* of cwnd, by duplicate acknowledgements in recovery */
    uint32_t ecn_reduced;        /* low half of snd_nxt when the window was reduced */
    uint32_t tune_at, tune_from; /* of tune.c: when the round began, and what was read until then */
    uint32_t tune_bytes;         /* read in the round before */
    uint32_t dup_from;           /* low half of snd_nxt at the first duplicate acknowledgement */
    uint64_t recover;            /* RFC 6582; exclusive */
    uint64_t iss, irs;
    uint64_t rcv_fin;
    uint64_t room_una; /* the owner is told of snd_una from there on; DK_TCP_NONE: it is not */
    struct dk_tcp_segment *lost_hint;
    struct dk_tcp_piece *hold_piece;
    struct dk_tcp_reasm *reasm; /* NULL: nothing was out of order */
    struct dk_tcp_element *elements, *elements_tail;
    struct dk_tcp_element *done, *done_tail;
    struct dk_tcp_recovery *loss;     /* never NULL */
    struct dk_tcp_listener *listener; /* in one of its queues, or NULL */
    struct dk_list pending_link;
    struct dk_list all_link;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct dk_tcp_conn) <= 832, "one more line of memory for each connection");

/* The lines that a connection on which all goes well has to do with: the first so many, and one. */
#define DK_TCP_LINE      64u
#define DK_TCP_HOT_LINES (offsetof(struct dk_tcp_conn, cc) / DK_TCP_LINE)
#define DK_TCP_HOT_LAST  (offsetof(struct dk_tcp_conn, cc.cwnd) / DK_TCP_LINE)

#define DK_TCP_BEGINS_LINE(field) (offsetof(struct dk_tcp_conn, field) % DK_TCP_LINE == 0)

_Static_assert(DK_TCP_BEGINS_LINE(local_ip) && DK_TCP_BEGINS_LINE(timer) &&
                   DK_TCP_BEGINS_LINE(snd_una) && DK_TCP_BEGINS_LINE(rcv_nxt) &&
                   DK_TCP_BEGINS_LINE(rx_tail) && DK_TCP_BEGINS_LINE(cc) &&
                   DK_TCP_BEGINS_LINE(cc.cwnd) && DK_TCP_BEGINS_LINE(option[DK_TCP_OPTIONS_HOT]),
               "each part is a line");

struct dk_tcp_listener {
    struct dk_tcp *tcp;
    struct dk_list link;
    struct dk_endpoint local;
    uint32_t backlog;
    uint32_t num_waiting, num_half_open;
    int64_t cookie_at;        /* when it last answered with one */
    struct dk_list waiting;   /* established, oldest first */
    struct dk_list half_open; /* SYN_RECEIVED, oldest first */
    struct dk_list event_link;
    const struct dk_tcp_listener_ops *ops;
    void *owner;
    int64_t option[DK_TCP_OPTIONS];
};

/* A reserved local port. */
struct dk_tcp_binding {
    struct dk_list link;
    struct dk_endpoint local;
};

#define DK_TCP_PORT_COUNTERS 64

struct dk_tcp {
    struct dk_net *net;
    struct dk_tcp_config config;
    struct dk_tcp_stats stats;
    uint64_t read_bytes; /* of stats.rx_bytes: read, or let go unread */
    struct dk_wheel wheel;
    uint64_t hash_key[2];
    struct dk_tcp_table table; /* of connections that are not CLOSED */
    uint32_t num_half_open;
    uint32_t num_listeners;
    uint32_t port_counters[DK_TCP_PORT_COUNTERS]; /* RFC 6056 section 3.3.4 */
    struct dk_tcp_pool conns, segments, pieces, elements, ranges, reasms, recoveries, cc_states;
    struct dk_list recoveries_used;     /* the one that was needed last is the last */
    struct dk_tcp_recovery no_recovery; /* of connections that have none: remembers nothing */
    struct dk_list all;                 /* connections */
    struct dk_list listeners;           /* those of one address before those of all */
    struct dk_list bindings;
    struct dk_tcp_conn *events; /* by event_next */
    struct dk_tcp_conn **events_end;
    struct dk_list listener_events;
    struct dk_list pending;    /* connections that found no room in the device */
    struct dk_list unresolved; /* likewise, while a neighbour is asked for; both by pending_link */
    struct dk_list holds;      /* elements that are not complete; hold_due grows along it */
    int64_t hold_due;          /* of the first, or DK_TCP_NEVER */
    struct dk_list time_wait;  /* struct dk_tcp_time_wait, oldest first */
    struct dk_tcp_table time_waits; /* the same */
    struct dk_tcp_pool time_wait_pool;
    struct dk_timer time_wait_timer;  /* for the oldest */
    struct dk_tcp_used *cookies_used; /* NULL: no cookie was ever sent */
    struct dk_buf *slab;              /* where small pushes are copied to */
    uint32_t slab_used;
    uint32_t slab_holds;               /* on it that are for pieces to come: see sendq.c */
    struct dk_ip_tx tx;                /* being made: large, so it is not on the stack */
    const struct dk_tcp_conn *tx_conn; /* whose addresses are in there, NULL: nobody's */
    uint8_t head[DK_IP_HEADROOM + DK_TCP_HEADER_MAX] __attribute__((aligned(16)));
};

/* A segment that arrived. */
struct dk_tcp_rx {
    const struct dk_ip_rx *ip;
    struct dk_tcp_header h;
    uint64_t seq, ack; /* extended */
    uint64_t wnd;      /* scaled */
    uint8_t *data;     /* payload, trimmed to the window by the check of sequence numbers */
    uint32_t len;
    uint32_t seq_len; /* numbers that the whole segment takes, SYN and FIN included */
    bool fin;         /* still there after trimming */
    int64_t now;
};

/* An option that is a time. */
static inline int64_t dk_tcp_option_ns(const struct dk_tcp_conn *c, enum dk_tcp_option option)
{
    return c->option[option] * DK_NS_PER_MS;
}

/* Takes options as the owner has them. */
void dk_tcp_options_take(struct dk_tcp_conn *c, const int64_t option[DK_TCP_OPTIONS]);

static inline uint64_t dk_tcp_extend(uint64_t known, uint32_t wire)
{
    return known + (uint64_t)(int64_t)(int32_t)(wire - (uint32_t)known);
}

static inline uint64_t dk_tcp_min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t dk_tcp_max64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint32_t dk_tcp_min32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Whether the next segment that arrives is expected to be nothing but the next one. FIN is not
 * queued in that state. */
static inline bool dk_tcp_is_quiet(const struct dk_tcp_conn *c)
{
    static const uint8_t quiet[sizeof(c->mood)] = {DK_TCP_ESTABLISHED, false, false, true};
    return memcmp(c->mood, quiet, sizeof(quiet)) == 0;
}

/* Whether there is nothing that an acknowledgement would end or is to be looked at for, but what it
 * acknowledges: no retransmission, probe, or duplicate acknowledgement is being dealt with. */
static inline bool dk_tcp_is_calm(const struct dk_tcp_conn *c)
{
    static const uint8_t calm[sizeof(c->calm)] = {0};
    return memcmp(c->calm, calm, sizeof(calm)) == 0;
}

static inline void dk_tcp_concern(struct dk_tcp_conn *c, uint32_t concern, bool is_one)
{
    c->concerns = (uint8_t)(is_one ? c->concerns | concern : c->concerns & ~concern);
}

static inline bool dk_tcp_fin_sent(const struct dk_tcp_conn *c)
{
    return c->snd_nxt > c->snd_end;
}

static inline bool dk_tcp_fin_acked(const struct dk_tcp_conn *c)
{
    return c->snd_una > c->snd_end;
}

/* Whether the peer's FIN was taken, in order. */
static inline bool dk_tcp_fin_received(const struct dk_tcp_conn *c)
{
    return c->rcv_nxt > c->rcv_fin;
}

/* While rate_on. */
static inline struct dk_tcp_rated *dk_tcp_rated(const struct dk_tcp_conn *c)
{
    return c->cc.caller;
}

/* Milliseconds: RFC 7323 section 5.4. */
static inline uint32_t dk_tcp_ts_now(const struct dk_tcp_conn *c, int64_t now)
{
    return (uint32_t)((uint64_t)now / DK_NS_PER_MS) + c->ts_offset;
}

#define DK_TCP_COUNT(tcp, field) dk_count(&(tcp)->stats.field, 1)

#endif /* DK_NET_TCP_TCB_H */
