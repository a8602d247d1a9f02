/* SPDX-License-Identifier: MIT */
/*
 * TCP (RFC 9293): what the owner of connections calls, and what the stack below it calls.
 *
 *      owner:  dk_tcp_bind, listen, accept, connect, send, recv, shutdown, close, abort, options
 *      stack:  dk_tcp_input, icmp_error, advance, next_due, tx_room
 *
 * Callbacks (struct dk_tcp_ops) are called from inside dk_tcp_advance only, when all segments of a
 * burst were worked on. Inside them every function of the owner's part may be called, for this and
 * for any other connection; none of the stack's part. No function of the owner's part calls back.
 *
 * Life of a connection: it is the owner's from dk_tcp_connect or dk_tcp_accept to the callback
 * `closed`, its last, which comes after dk_tcp_close or dk_tcp_abort and never before. A connection
 * that failed stays, and answers with its error, until the owner closes it.
 *
 * Ownership of what is sent: an element is lent from dk_tcp_send (which takes a hold of its own on
 * each buffer) until it completes; afterwards its memory is never read again, retransmission
 * included. It completes at the first of: its last byte is acknowledged; `push_hold_ns` passed in
 * which nothing of its connection was, when what is unacknowledged is copied and counted; at once
 * with DK_TCP_SEND_UNREFERENCED or DK_TCP_SEND_COPY. Elements leave in the order of dk_tcp_send;
 * any number may be outstanding. One that is handed over in parts (DK_TCP_SEND_MORE) is lent until
 * its last part completes, so that no part is copied for having waited longer than the others.
 *
 * What is received is views of the received frames: no byte is copied, unless so many buffers are
 * held by one connection that small ones are put together (counted).
 */
#ifndef DK_NET_TCP_TCP_H
#define DK_NET_TCP_TCP_H

#include "net/ip.h"

#include <stddef.h>

struct dk_tcp;
struct dk_tcp_conn;
struct dk_tcp_listener;

/* RFC 9293 section 3.3.2. */
enum dk_tcp_state {
    DK_TCP_CLOSED,
    DK_TCP_SYN_SENT,
    DK_TCP_SYN_RECEIVED,
    DK_TCP_ESTABLISHED,
    DK_TCP_FIN_WAIT_1,
    DK_TCP_FIN_WAIT_2,
    DK_TCP_CLOSE_WAIT,
    DK_TCP_CLOSING,
    DK_TCP_LAST_ACK,
    DK_TCP_TIME_WAIT,
};

/* When a SYN is answered with a cookie (RFC 4987 section 3.6). */
enum dk_tcp_syn_cookies {
    DK_TCP_SYN_COOKIES_AUTO,  /* when a listener, or all of them, have enough half-open connections
                               */
    DK_TCP_SYN_COOKIES_NEVER, /* the oldest half-open connection gives way instead */
    DK_TCP_SYN_COOKIES_ALWAYS,
};

/* Explicit congestion notification (RFC 3168): whether connections ask for it, or agree to it. */
enum dk_tcp_ecn {
    DK_TCP_ECN_ACCEPT, /* agree when asked; the algorithm of congestion control may want more */
    DK_TCP_ECN_REFUSE,
    DK_TCP_ECN_ASK, /* and agree */
};

/* When the path MTU is searched for by what arrives (RFC 4821). */
enum dk_tcp_mtu_probing {
    DK_TCP_MTU_PROBING_BLACKHOLE, /* when full-size segments do not */
    DK_TCP_MTU_PROBING_OFF,
    DK_TCP_MTU_PROBING_ALWAYS,
};

struct dk_tcp_config {
    uint8_t secret[16];   /* keys sequence numbers, ports, timestamps */
    uint32_t device_caps; /* DK_NETDEV_TX_CHECKSUM, DK_NETDEV_TSO */
    uint32_t conns_max;   /* of all states but LISTEN; TIME_WAIT while it has an owner */
    uint32_t time_wait_max;
    uint32_t half_open_max;
    uint32_t listeners_max;
    uint32_t segments_max; /* sent and not acknowledged, of all connections */
    uint32_t pieces_max;   /* of pushed memory, of all connections */
    uint32_t elements_max; /* pushed and not complete, of all connections */
    uint32_t reasm_max;    /* segments that arrived out of order, of all connections */
    uint32_t conn_reasm_max;
    uint32_t recoveries_max; /* connections that recover with SACK at a time; others do without */
    uint32_t rcv_buf_bytes;  /* what a receive buffer begins with whose size is left to us */
    uint32_t rcv_buf_max;    /* and to how much it grows */
    uint64_t rcv_pressure_bytes; /* received and not read, of all connections: beyond, none grows */
    uint32_t rcv_bufs_max; /* buffers that one connection holds unread before small ones are put
                              together */
    uint16_t port_first, port_last; /* ephemeral */
    int64_t push_hold_ns;
    int64_t delayed_ack_ns;
    int64_t rto_min_ns, rto_max_ns, rto_initial_ns;
    int64_t time_wait_ns;         /* 2 MSL */
    int64_t fin_wait_2_ns;        /* after dk_tcp_close, how long to wait for the peer's FIN */
    uint8_t syn_retries, retries; /* retransmissions of one segment before giving up (R2) */
    uint8_t ecn;                  /* enum dk_tcp_ecn */
    uint8_t congestion; /* number of the algorithm (net/tcp/cc.h): default of the option */
    bool no_timestamps, no_window_scale, no_sack;
    enum dk_tcp_syn_cookies syn_cookies;
    enum dk_tcp_mtu_probing mtu_probing;
};

/* Fills in the defaults; the secret is left zero for the caller to set. */
void dk_tcp_config_init(struct dk_tcp_config *config);

/* Counters, the reasons to drop a segment among them: X(field, "name"). */
#define DK_TCP_STATS(X)                                                                            \
    X(rx_segments, "tcp.rx_segments")                                                              \
    X(rx_bytes, "tcp.rx_bytes") /* in order, once each */                                          \
    X(tx_segments, "tcp.tx_segments")                                                              \
    X(tx_bytes, "tcp.tx_bytes") /* without retransmissions */                                      \
    X(tx_resets, "tcp.tx_resets")                                                                  \
    X(connects, "tcp.connects")                                                                    \
    X(accepts, "tcp.accepts")                                                                      \
    X(connect_failures, "tcp.connect_failures")                                                    \
    X(resets, "tcp.resets") /* of synchronized connections, by the peer */                         \
    X(aborts, "tcp.aborts")                                                                        \
    X(timeouts, "tcp.timeouts") /* connections given up */                                         \
    X(retransmits, "tcp.retransmits")                                                              \
    X(fast_retransmits, "tcp.fast_retransmits")                                                    \
    X(rto_fired, "tcp.rto_fired")                                                                  \
    X(window_probes, "tcp.window_probes")                                                          \
    X(keepalive_probes, "tcp.keepalive_probes")                                                    \
    X(challenge_acks, "tcp.challenge_acks")                                                        \
    X(challenge_acks_limited, "tcp.challenge_acks_limited")                                        \
    X(delayed_acks, "tcp.delayed_acks")                                                            \
    X(dup_acks, "tcp.dup_acks")         /* received */                                             \
    X(out_of_order, "tcp.out_of_order") /* received, kept */                                       \
    X(dsacks_sent, "tcp.dsacks_sent")                                                              \
    X(sack_recoveries, "tcp.sack_recoveries")             /* of fast_retransmits, with SACK */     \
    X(rack_reorder_timeouts, "tcp.rack_reorder_timeouts") /* what was waited for did not come */   \
    X(lost_retransmits, "tcp.lost_retransmits")           /* found out without a timeout */        \
    X(tlp_probes, "tcp.tlp_probes")                                                                \
    X(tlp_recoveries, "tcp.tlp_recoveries") /* a probe repaired the loss */                        \
    X(dsacks, "tcp.dsacks")                 /* received */                                         \
    X(undo_timestamp, "tcp.undo_timestamp") /* recoveries found spurious, by what */               \
    X(undo_dsack, "tcp.undo_dsack")                                                                \
    X(undo_frto, "tcp.undo_frto")                                                                  \
    X(recovery_no_record, "tcp.recovery_no_record") /* of recoveries_max: without SACK then */     \
    X(sack_reneged, "tcp.sack_reneged")             /* the peer dropped what it had selected */    \
    X(sack_invalid, "tcp.sack_invalid")             /* blocks: empty, or at odds with the ACK */   \
    X(sack_never_sent, "tcp.sack_never_sent")       /* blocks */                                   \
    X(sack_unagreed, "tcp.sack_unagreed")           /* ACKs with blocks */                         \
    X(sack_overlap, "tcp.sack_overlap")             /* blocks of one segment */                    \
    X(sack_limited, "tcp.sack_limited")             /* ACKs that would cost too much */            \
    X(option_ignored, "tcp.option_ignored")         /* a length that is not its own */             \
    X(window_scale_cut, "tcp.window_scale_cut")     /* above 14 */                                 \
    X(ecn_agreed, "tcp.ecn_agreed")                 /* connections */                              \
    X(ecn_marked, "tcp.ecn_marked")                 /* segments received that met congestion */    \
    X(ecn_echoes, "tcp.ecn_echoes")                 /* acknowledgements that tell of it */         \
    X(ecn_unagreed,                                                                                \
      "tcp.ecn_unagreed") /* bits that were not agreed on, or are a mirror of ours */              \
    X(ecn_reductions, "tcp.ecn_reductions") /* of the window, by them */                           \
    X(urgent_ignored, "tcp.urgent_ignored")                                                        \
    X(push_hold_copies, "tcp.push_hold_copies") /* elements copied when push_hold_ns had passed */ \
    X(push_hold_copied_bytes, "tcp.push_hold_copied_bytes")                                        \
    X(push_copied_bytes, "tcp.push_copied_bytes") /* DK_TCP_SEND_COPY */                           \
    X(rx_coalesced_bytes, "tcp.rx_coalesced_bytes")                                                \
    X(rcv_buf_grown, "tcp.rcv_buf_grown")           /* times */                                    \
    X(rcv_buf_pressed, "tcp.rcv_buf_pressed")       /* times not, for the bytes of all */          \
    X(rcv_window_pressed, "tcp.rcv_window_pressed") /* windows kept small for that */              \
    X(path_mtu_lowered, "tcp.path_mtu_lowered")                                                    \
    X(path_mtu_black_holes, "tcp.path_mtu_black_holes") /* full-size segments do not arrive */     \
    X(path_mtu_probes, "tcp.path_mtu_probes")                                                      \
    X(path_mtu_raised, "tcp.path_mtu_raised") /* a probe arrived */                                \
    X(time_wait_reused, "tcp.time_wait_reused")                                                    \
    X(time_wait_recycled, "tcp.time_wait_recycled") /* ended early: there are too many */          \
    X(half_open_replaced, "tcp.half_open_replaced") /* the oldest, by a newer SYN */               \
    X(syn_cookies_sent, "tcp.syn_cookies_sent")                                                    \
    X(syn_cookies_accepted, "tcp.syn_cookies_accepted")                                            \
    X(syn_cookies_failed, "tcp.syn_cookies_failed") /* ACKs that are of none of ours */            \
    X(syn_cookies_again, "tcp.syn_cookies_again")   /* late ACKs: their connections are over */    \
    X(syn_cookies_forgotten, "tcp.syn_cookies_forgotten") /* used, and might come again */         \
    X(tx_no_room, "tcp.tx_no_room")                       /* put off until the device has room */  \
    X(tx_failed, "tcp.tx_failed")                         /* IP could not send: as if lost */      \
    X(drop_truncated, "tcp.drop_truncated")                                                        \
    X(drop_header_length, "tcp.drop_header_length")                                                \
    X(drop_checksum, "tcp.drop_checksum")                                                          \
    X(drop_port_zero, "tcp.drop_port_zero")                                                        \
    X(drop_option, "tcp.drop_option")               /* its length */                               \
    X(drop_address, "tcp.drop_address")             /* not from or to one host */                  \
    X(drop_no_connection, "tcp.drop_no_connection") /* answered with RST, unless it is one */      \
    X(drop_listen_flags, "tcp.drop_listen_flags")   /* not a plain SYN, to a listener */           \
    X(drop_accept_queue_full, "tcp.drop_accept_queue_full")                                        \
    X(drop_no_memory, "tcp.drop_no_memory")                                                        \
    X(drop_out_of_window, "tcp.drop_out_of_window")                                                \
    X(drop_paws, "tcp.drop_paws")                                                                  \
    X(drop_no_timestamp, "tcp.drop_no_timestamp")                                                  \
    X(drop_rst_inexact, "tcp.drop_rst_inexact") /* RFC 5961 section 3 */                           \
    X(drop_syn_in_window, "tcp.drop_syn_in_window")                                                \
    X(drop_no_ack, "tcp.drop_no_ack")                                                              \
    X(drop_ack_range, "tcp.drop_ack_range")     /* of what was never sent, or too old */           \
    X(drop_handshake, "tcp.drop_handshake")     /* wrong answer to our SYN */                      \
    X(drop_after_close, "tcp.drop_after_close") /* data that nobody will read */                   \
    X(drop_reasm_full, "tcp.drop_reasm_full")                                                      \
    X(drop_icmp, "tcp.drop_icmp") /* of no connection, of nothing in flight, or implausible */

struct dk_tcp_stats {
#define DK_TCP_STATS_FIELD(field, name) uint64_t field;
    DK_TCP_STATS(DK_TCP_STATS_FIELD)
#undef DK_TCP_STATS_FIELD
};

/* ---- The stack's part ------------------------------------------------------------------------ */

/* Creates the TCP of a stack; config is copied. 0 or -ENOMEM. */
int dk_tcp_create(struct dk_tcp **tcp_out, struct dk_net *net, const struct dk_tcp_config *config,
                  int64_t now);

/* Ends everything without a word and without a callback; what was held is let go. */
void dk_tcp_destroy(struct dk_tcp *tcp);

/* The TCP of a stack. */
struct dk_tcp *dk_net_tcp(const struct dk_net *net);

/* TCP in the stack's table of transports (net/stack.h). */
struct dk_transport;
extern const struct dk_transport dk_tcp_transport;

void dk_tcp_input(struct dk_net *net, const struct dk_ip_rx *p, int64_t now);

/* A frame with a segment, as it seems: what it is not expected to be is given back, to
 * dk_net_input_tcp. */
void dk_tcp_input4(struct dk_net *net, struct dk_rx_frame *frame, int64_t now);

/* An address of ours changed: what is known of pairs of addresses is to be found out again. */
void dk_tcp_forget_pairs(struct dk_net *net);

/* As dk_tcp_input, of a segment that is known not to be expected. */
void dk_tcp_input_other(struct dk_net *net, const struct dk_ip_rx *p, int64_t now);

/* As dk_tcp_input4 of a frame that is most likely for conn, which may have ended since. false: it
 * is not what conn expects, and nothing happened. */
bool dk_tcp_input4_of(struct dk_tcp *tcp, struct dk_tcp_conn *conn, struct dk_rx_frame *frame,
                      int64_t now);

/* dk_net_input_crowd, of a stack that has TCP. */
bool dk_tcp_input_crowd(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n, int64_t now);

void dk_tcp_icmp_error(struct dk_net *net, const struct dk_icmp_error *e, int64_t now);

/* Runs timers and then calls back what has happened. */
void dk_tcp_advance(struct dk_net *net, int64_t now);

/* The second half of that, while nothing is due by time. */
void dk_tcp_tell(struct dk_net *net, int64_t now);

/* When dk_tcp_advance may have something to do by time; not later than it has. */
int64_t dk_tcp_due_at(const struct dk_net *net);

/* When dk_tcp_advance has something to do (0: at once), INT64_MAX: never. */
int64_t dk_tcp_next_due(const struct dk_net *net);

/* The device has room again: what was put off is sent. */
void dk_tcp_tx_room(struct dk_net *net, int64_t now);

/* The process ends, and may have interrupted any work of the stack's, which never goes on: gives
 * emit an RST for each connection whose peer knows of it, and changes nothing. */
void dk_tcp_last_words(struct dk_tcp *tcp, dk_ip_emit_fn emit, void *arg);

const struct dk_tcp_stats *dk_tcp_stats(const struct dk_tcp *tcp);

/* ---- The owner's part ------------------------------------------------------------------------ */

/*
 * What happens to a connection. `owner` is what dk_tcp_connect or dk_tcp_accept was given. None but
 * `room` and `offer` may be NULL. Each but `offer` comes from inside dk_tcp_advance.
 */
struct dk_tcp_ops {
    /* dk_tcp_connect ended: 0, or -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -ENETUNREACH,
     * -ECONNRESET. */
    void (*connected)(struct dk_tcp_conn *conn, void *owner, int err);
    /*
     * Gives bytes that have arrived, with a hold on their buffer, which has nothing else, to an
     * owner that may have somebody waiting for them: true, and they are read. False: they wait, and
     * `readable` tells of them. Asked where nothing else waits and the way there is short; from
     * inside dk_net_input, which is not to be come back to. May be NULL.
     */
    bool (*offer)(struct dk_tcp_conn *conn, void *owner, struct dk_buf *buf);
    /* Bytes have arrived, or the end of the peer's, since the last dk_tcp_recv: it will not return
     * -EAGAIN. */
    void (*readable)(struct dk_tcp_conn *conn, void *owner);
    /* An element is complete: its memory is the pusher's again. 0, or the error that ended the
     * connection before the element was acknowledged (-ECANCELED: dk_tcp_abort). In the order of
     * dk_tcp_send. */
    void (*sent)(struct dk_tcp_conn *conn, void *owner, void *cookie, int err);
    /* What dk_tcp_want_room asked for. May be NULL for an owner that never asks. */
    void (*room)(struct dk_tcp_conn *conn, void *owner);
    /* The peer sends no more: dk_tcp_recv returns 0 after the last bytes. Once. */
    void (*peer_closed)(struct dk_tcp_conn *conn, void *owner);
    /* The established connection is no more: -ECONNRESET, -ETIMEDOUT, -EHOSTUNREACH. Once. */
    void (*failed)(struct dk_tcp_conn *conn, void *owner, int err);
    /* After dk_tcp_close or dk_tcp_abort: everything was sent and acknowledged, or the connection
     * ended otherwise; conn is gone. Once, the last. */
    void (*closed)(struct dk_tcp_conn *conn, void *owner);
};

struct dk_tcp_listener_ops {
    /* dk_tcp_accept will not return -EAGAIN: a connection came since it last did. */
    void (*acceptable)(struct dk_tcp_listener *listener, void *owner);
};

/* Connections (of a former listener) may still use the port. */
#define DK_TCP_BIND_REUSE (1u << 0)

/*
 * Reserves a local port for the caller: 0 is replaced by a free one. An address of version 0 is all
 * addresses. 0, -EADDRINUSE, -EADDRNOTAVAIL (no free port), -ENOBUFS. The address is not checked.
 */
int dk_tcp_bind(struct dk_tcp *tcp, struct dk_endpoint *local_in_out, uint32_t flags);

/* Gives a reservation back. Connections and listeners there are not affected. */
void dk_tcp_unbind(struct dk_tcp *tcp, const struct dk_endpoint *local);

/*
 * Listens on a port that the caller has bound (or nobody has). backlog: how many connections may
 * wait for dk_tcp_accept, beyond one. 0, -EADDRINUSE, -ENOBUFS.
 */
int dk_tcp_listen(struct dk_tcp *tcp, struct dk_tcp_listener **listener_out,
                  const struct dk_endpoint *local, uint32_t backlog,
                  const struct dk_tcp_listener_ops *ops, void *owner);

void dk_tcp_listen_set_backlog(struct dk_tcp_listener *listener, uint32_t backlog);

/* Ends listening: connections that nobody accepted are reset. */
void dk_tcp_listen_close(struct dk_tcp_listener *listener, int64_t now);

/* Takes the oldest connection that waits: 0 or -EAGAIN. What came before is told by callbacks. */
int dk_tcp_accept(struct dk_tcp_listener *listener, struct dk_tcp_conn **conn_out,
                  const struct dk_tcp_ops *ops, void *owner);

/*
 * Begins to connect; `connected` tells how it ended. local: the address (version 0: by the route)
 * and the port (0: an ephemeral one; else one that the caller has bound). options: DK_TCP_OPTIONS
 * values that dk_tcp_option_check allows, NULL: the defaults. 0, -EADDRINUSE (these two
 * ends have a connection), -EADDRNOTAVAIL, -ENETUNREACH, -ENOBUFS, -EINVAL (remote port 0, or an
 * address that no connection can have).
 */
int dk_tcp_connect(struct dk_tcp *tcp, struct dk_tcp_conn **conn_out,
                   const struct dk_endpoint *local, const struct dk_endpoint *remote,
                   const int64_t *options, const struct dk_tcp_ops *ops, void *owner, int64_t now);

#define DK_TCP_SEND_UNREFERENCED (1u << 0) /* nobody else has the memory: completes at once */
#define DK_TCP_SEND_COPY         (1u << 1) /* copied into memory of TCP's: completes at once */
#define DK_TCP_SEND_MORE                                                                           \
    (1u << 2) /* a part, not the last: completes with that one, whose                              \
                 flags are for the memory of all */

/*
 * Sends an element of n pieces (of any length together). A piece without a buffer is copied. Before
 * the connection is established the element waits. 0: accepted, `sent` will be called with cookie
 * (for a part that is not the last it will not); 1: accepted and complete, it will not; -EPIPE
 * after dk_tcp_shutdown, -ENOTCONN, -ENOBUFS (nothing was taken), or the error that ended the
 * connection.
 */
int dk_tcp_send(struct dk_tcp_conn *conn, const struct dk_tx_piece pieces[], uint32_t n,
                uint32_t flags, void *cookie, int64_t now);

/* As that, of one piece of bytes, at least one, with DK_TCP_SEND_COPY. -EAGAIN: nothing happened,
 * as more than `most` bytes would be accepted and not acknowledged. */
int dk_tcp_send_copied(struct dk_tcp_conn *conn, const uint8_t *data, uint32_t len, uint64_t most,
                       int64_t now);

/* Bytes that were accepted and are not acknowledged. */
uint64_t dk_tcp_queued_bytes(const struct dk_tcp_conn *conn);

/* Bytes that are worth accepting: what the path carries, and the peer takes, in two round trips, as
 * far as is known. */
uint64_t dk_tcp_send_goal(const struct dk_tcp_conn *conn);

/* `room` is to be called, once, when an acknowledgement leaves at most so many queued, which are
 * more now. The next call of this takes the place of this one. */
void dk_tcp_want_room(struct dk_tcp_conn *conn, uint64_t queued_bytes);

/*
 * Takes bytes that have arrived, in order: at most max_bufs buffers and max_bytes bytes; each
 * buffer carries one hold, for the caller to put. Returns how many buffers; 0: the peer's end;
 * -EAGAIN: none now; or the error that ended the connection.
 */
int dk_tcp_recv(struct dk_tcp_conn *conn, struct dk_buf *bufs_out[], uint32_t max_bufs,
                size_t max_bytes, int64_t now);

/* Whether dk_tcp_recv would certainly find nothing, nor an end. */
bool dk_tcp_is_empty(const struct dk_tcp_conn *c);

/* Sends no more: FIN follows what was accepted. 0, -ENOTCONN. Twice is once. */
int dk_tcp_shutdown(struct dk_tcp_conn *conn, int64_t now);

/*
 * Ends the owner's interest: what was accepted is sent, then FIN, and `closed` tells when all was
 * acknowledged. Unread bytes, or bytes that still come, make it a reset (RFC 9293 section 3.10.4).
 * Only dk_tcp_abort and dk_tcp_get_info may follow.
 */
void dk_tcp_close(struct dk_tcp_conn *conn, int64_t now);

/* Ends the connection at once, with RST where the peer knows of it. Elements that are not complete
 * complete with -ECANCELED, then comes `closed`. */
void dk_tcp_abort(struct dk_tcp_conn *conn, int64_t now);

/* The same by a stack that will hear nothing more. A peer that lacks what is in flight answers the
 * RST with a challenge (RFC 5961 section 3.2), which nobody would answer: for such a peer another
 * RST goes before, where its RCV.NXT is. It goes also while the last FIN is not acknowledged. */
void dk_tcp_abort_unheard(struct dk_tcp_conn *conn, int64_t now);

/* Options; times in nanoseconds. */
enum dk_tcp_option {
    /* What most packets need. */
    DK_TCP_NODELAY, /* 0, 1: no Nagle */
    DK_TCP_RCV_BUF, /* bytes, 0 (when it is opened): as the path needs (tune.c). The window scale is
                       chosen by it when connecting, later it may only grow */
    DK_TCP_OPTIONS_HOT,
    DK_TCP_KEEPALIVE = DK_TCP_OPTIONS_HOT, /* 0, 1 */
    DK_TCP_KEEPALIVE_IDLE,                 /* before the first probe */
    DK_TCP_KEEPALIVE_INTERVAL,             /* between probes */
    DK_TCP_KEEPALIVE_COUNT,                /* unanswered probes before -ETIMEDOUT */
    DK_TCP_USER_TIMEOUT,                   /* RFC 5482; 0: by the number of retransmissions */
    DK_TCP_MAX_SEGMENT, /* at most so many bytes (48 or more, 0: no limit); not to be changed when
                           connected */
    DK_TCP_TTL,         /* 1 to 255 */
    DK_TCP_TOS,         /* 0 to 255 */
    DK_TCP_QUICK_ACK,   /* 0, 1: acknowledgements are not delayed */
    DK_TCP_CONGESTION,  /* number of the algorithm of congestion control (net/tcp/cc.h) */
};
#define DK_TCP_OPTIONS (DK_TCP_CONGESTION + 1)

/* What options are without being set; for dk_tcp_connect, which takes what was made of them. */
void dk_tcp_options_default(const struct dk_tcp *tcp, int64_t option[DK_TCP_OPTIONS]);

/* Whether an option may have a value: 0 or -EINVAL. */
int dk_tcp_option_check(enum dk_tcp_option option, int64_t value);

/* Of a connection that exists; of a listener: of the connections that it will make. 0, -EINVAL, or
 * -ENOBUFS (DK_TCP_CONGESTION, without memory). */
int dk_tcp_set_option(struct dk_tcp_conn *conn, enum dk_tcp_option option, int64_t value,
                      int64_t now);
int dk_tcp_get_option(const struct dk_tcp_conn *conn, enum dk_tcp_option option,
                      int64_t *value_out);
int dk_tcp_listen_set_option(struct dk_tcp_listener *listener, enum dk_tcp_option option,
                             int64_t value);
int dk_tcp_listen_get_option(const struct dk_tcp_listener *listener, enum dk_tcp_option option,
                             int64_t *value_out);

struct dk_tcp_info {
    enum dk_tcp_state state;
    int err; /* why it ended, or 0 */
    struct dk_endpoint local, remote;
    uint32_t snd_una, snd_nxt, snd_wnd, rcv_nxt, rcv_wnd;
    uint8_t snd_wscale, rcv_wscale;
    bool timestamps, sack;
    uint32_t mss; /* payload of a full segment we send */
    uint32_t cwnd, ssthresh;
    int64_t srtt_ns, rttvar_ns, rto_ns;
    uint64_t unsent_bytes, unacked_bytes; /* accepted: not sent yet; sent, not acknowledged */
    uint64_t readable_bytes;
    uint64_t retransmits;
    uint64_t lost_bytes, sacked_bytes;    /* of the unacknowledged */
    uint64_t acked_bytes, received_bytes; /* since the beginning, each once */
    int64_t min_rtt_ns;                   /* -1: no sample */
    int64_t last_sent, last_received;     /* when: data, anything */
    uint64_t delivery_rate, pacing_rate;  /* bytes per second; 0: not known, not paced */
    bool delivery_limited;                /* by the application: the path may have more */
    bool in_recovery, in_loss;            /* after a loss; after a timeout */
    bool window_scale, ecn;
    uint8_t retries; /* timeouts in a row */
    uint32_t rcv_mss, path_mtu, rcv_buf;
    const char *congestion;
};

void dk_tcp_get_info(const struct dk_tcp_conn *conn, struct dk_tcp_info *info_out);

/* Checks every invariant that the files of this folder state; for tests: costs by the size of the
 * queues. */
bool dk_tcp_is_valid(const struct dk_tcp_conn *conn);

/* As that, for the tables and all connections. */
bool dk_tcp_all_valid(const struct dk_tcp *tcp);

#endif /* DK_NET_TCP_TCP_H */
