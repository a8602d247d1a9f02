/* SPDX-License-Identifier: MIT */
/*
 * State of the library OS stack and of its sockets, shared by the files of this folder.
 *
 * Everything here is guarded by the instance's lead, except what is said to be for any thread.
 *
 * Work on the stack stands between dk_stack_begin and dk_stack_end: begin reads the time, the
 * outermost end lets the stack do what became due, sends what was put off, and wakes a thread that
 * sleeps in the device when something is due earlier than it knows. What is completed, or told by
 * the stack, may happen inside end: it is the last thing that a call does.
 */
#ifndef DK_LIBOS_STACK_SOCK_H
#define DK_LIBOS_STACK_SOCK_H

#include "core/deferred.h"
#include "core/taker.h"
#include "libos/stack/stack.h"
#include "net/dev.h"
#include "net/net.h"
#include "net/tcp/tcp.h"
#include "net/udp.h"
#include "os/note.h"
#include "os/statfile.h"

#include <demi/libos.h>

/* Counters of a stack: X(field, "name"). */
#define DK_STACK_STATS(X)                                                                          \
    X(sockets, "stack.sockets") /* gauge: and connections that a close left behind */              \
    X(pushed_bytes, "stack.pushed_bytes")                                                          \
    X(popped_bytes, "stack.popped_bytes")                                                          \
    X(blocked_pushes, "stack.blocked_pushes")     /* found no room, and waited */                  \
    X(send_grown_bytes, "stack.send_grown_bytes") /* gauge: of send buffers */                     \
    X(send_pressed, "stack.send_pressed") /* buffers that did not grow, for those of all */        \
    X(accepts, "stack.accepts")                                                                    \
    X(tx_bursts, "stack.tx_bursts")             /* calls that gave frames to the device */         \
    X(tx_blocked, "stack.tx_blocked")           /* the device took less than it was given */       \
    X(tx_copied_bytes, "stack.tx_copied_bytes") /* of frames that waited longer than push_hold */  \
    X(untold, "stack.untold") /* news of neighbours for which another worker had no room */        \
    X(kicks, "stack.kicks")   /* a sleeping thread was woken for a timer */

struct dk_stack_stats {
#define DK_STACK_STATS_FIELD(field, name) uint64_t field;
    DK_STACK_STATS(DK_STACK_STATS_FIELD)
#undef DK_STACK_STATS_FIELD
};

#define DK_STACK_STATS_COUNT (sizeof(struct dk_stack_stats) / sizeof(uint64_t))

#define DK_STACK_NET_STATS_MAX 384
#define DK_STACK_DEV_STATS_MAX 64 /* of the device's own */
#define DK_STACK_SHOWN_MAX     (DK_STACK_NET_STATS_MAX + DK_STACK_DEV_STATS_MAX)

#define DK_STACK_BUFFER_BYTES (256u << 10) /* of buffers that grow by themselves, at first */

#define DK_STACK_BURST     32u /* frames that are taken from the device at a time */
#define DK_STACK_TX_FRAMES 32

/* Frames that were put off, oldest first; each has copies of its head and holds on its pieces. */
struct dk_stack_tx {
    uint32_t first, num;
    struct dk_netdev *to;      /* the device, or the one below whose tx_flush does for its own */
    bool refused;              /* emit had no room: the stack is to be told when there is */
    struct dk_tx_rooms *rooms; /* of the device; what it has put goes before these */
    struct dk_tx_rooms none;   /* of one that has none */
    struct dk_tx_frame frames[DK_STACK_TX_FRAMES];
    bool own[DK_STACK_TX_FRAMES]; /* nobody else sees what it points to */
    uint8_t heads[DK_STACK_TX_FRAMES][DK_TX_HEAD_MAX];
};

/* What a thread that sleeps in the device waits for: written by arm, read without the lead. */
struct dk_stack_sleep {
    int epfd;    /* for demi_eventfd: all of these */
    int kickfd;  /* ends a block, and is read by who blocked */
    int timerfd; /* when the stack is due next */
    int devfd;   /* of the device, -1: it has frames right now */
    int watched; /* devfd that epfd has, or -1 */
    uint32_t kicked;
    uint32_t armed;
    int64_t due;
    int64_t timer_due; /* timerfd's; INT64_MIN: it is not in use */
};

/* What a poll has to look after, beside frames and what is due by time. Whoever leaves something
 * notes it; who looks after it notes that there is none any more (dk_stack_left_is). */
enum dk_stack_left {
    DK_STACK_LEFT_TX = 1,      /* frames in `tx`, or it was refused one */
    DK_STACK_LEFT_LENT = 2,    /* pushed datagrams whose memory is read */
    DK_STACK_LEFT_STARVED = 4, /* streams for which there was no memory */
    DK_STACK_LEFT_INBOX = 8,   /* there are other workers: always */
    DK_STACK_LEFT_FRAMES = 16, /* in the device, maybe: it gave as many as it could */
};

struct dk_stack_group;
struct dk_stack_inbox;

struct dk_stack {
    struct dk_poller poller;
    struct dk_instance *inst;
    struct dk_stack_options options;
    struct dk_net *net;
    struct dk_tcp *tcp;
    struct dk_net_due *due;       /* of net, which has our enum dk_stack_left, and dk_stack_alert */
    struct dk_net_due before_net; /* where that is while there is no net */
    struct dk_netdev *dev;
    struct dk_stack_group *group;   /* of several workers, else NULL */
    struct dk_stack_inbox *inbox;   /* likewise: what others have for us */
    struct dk_stack_shared *shared; /* of an interface that the kernel has, too, else NULL */
    char driver[16];                /* of the device, behind all decorators */
    int64_t now;
    uint32_t depth;      /* of dk_stack_begin */
    uint32_t until_show; /* polls */
    uint32_t slept;      /* somebody blocked since the last poll. Any thread */
    uint32_t ending;     /* 0: nothing; else what is to (stack.c). Any thread */
    bool ended;          /* all connections are */
    bool quiet;          /* the device is. Any thread reads it */
    uint32_t waiting;    /* while ending: packets that wait for a neighbour. Any thread reads it */
    bool awaits_addresses; /* conflict.c: the application waits for what is found out of them */
    struct dk_net_conflict conflict; /* the first of those, ip.version 0: none */
    uint32_t undrained;     /* sockets that have something to send, or are being closed. Any thread
                               reads it */
    struct dk_list socks;   /* all */
    struct dk_list ports;   /* of TCP, bound */
    struct dk_list lent;    /* pushed datagrams whose memory is still read */
    struct dk_list starved; /* streams with pushes for which the stack had no memory */
    struct dk_stack_sleep sleep;
    struct dk_statfile_block *block; /* in the statistics file, or NULL */
    /* Counters of src/net, then the device's own: in block, else own_shown. Any thread. */
    uint64_t *shown;
    uint32_t num_shown, num_net;
    const char *shown_names[DK_STACK_SHOWN_MAX];
    struct dk_stack_stats *stats;
    struct dk_stack_stats own_stats;
    uint64_t own_shown[DK_STACK_SHOWN_MAX];
    struct dk_stack_tx tx;
    /* Of a poll: here, and not in its frame, for which it would save registers. */
    struct dk_rx_frame frames[DK_STACK_BURST];
};

/* Options that hold a number; the table is in opt.c. */
enum dk_stack_option {
    DK_STACK_REUSEADDR,
    DK_STACK_REUSEPORT,
    DK_STACK_KEEPALIVE,
    DK_STACK_RCVBUF,
    DK_STACK_SNDBUF,
    DK_STACK_BROADCAST,
    DK_STACK_NODELAY,
    DK_STACK_KEEPIDLE,
    DK_STACK_KEEPINTVL,
    DK_STACK_KEEPCNT,
    DK_STACK_USER_TIMEOUT,
    DK_STACK_CONGESTION, /* number of the algorithm */
    DK_STACK_V6ONLY,
    DK_STACK_MAXSEGS,
    DK_STACK_OPTIONS,
};

enum dk_stack_state {
    DK_STACK_NEW,
    DK_STACK_CONNECTING,
    DK_STACK_CONNECTED,
    DK_STACK_LISTENING,
};

struct dk_stack_sock;

/* What UDP and TCP do differently below the common code. */
struct dk_stack_kind {
    int type, protocol;
    const struct dk_queue_ops *ops;
    /* Takes what there is, as dk_queue_ops.take does. */
    int (*receive)(struct dk_stack_sock *s, demi_sgarray_t *sga);
    /* Whether data can be asked for at all: 0 or a negative errno. */
    int (*check_pop)(const struct dk_stack_sock *s);
    /* Whether receive would certainly find nothing. */
    bool (*is_empty)(const struct dk_stack_sock *s);
    /* An option changed: 0 or a negative errno. */
    int (*apply)(struct dk_stack_sock *s, enum dk_stack_option option);
};

/* The first member of every socket. */
struct dk_stack_sock {
    const struct dk_stack_kind *kind;
    struct dk_queue *q; /* NULL: it was let go, and only the connection is left */
    struct dk_stack *st;
    struct dk_list all;
    struct dk_list pops, pushes; /* oldest first */
    struct dk_taker *taker;      /* who claimed the pop side, or NULL */
    int domain;
    uint8_t state; /* enum dk_stack_state */
    bool hungry;   /* the taker waits for data */
    bool eof;      /* the application shut the read side down */
    bool write_shut;
    bool closing;    /* the application closed it */
    bool failed;     /* an operation met an error, or one on this stream would */
    bool drains;     /* counted in undrained */
    int error;       /* SO_ERROR: a positive errno */
    uint32_t is_set; /* options that the application set, by bits */
    int option[DK_STACK_OPTIONS];
    struct linger linger;
    struct demi_traffic traffic;
};

struct dk_stack_udp {
    struct dk_stack_sock s;
    struct dk_udp_sock *udp;
    uint32_t num_lent; /* pushes on st->lent */
    bool is_bound;     /* found to be, by a push */
};

/*
 * A local port of TCP, bound by one socket, or by several with SO_REUSEPORT. Those that listen take
 * connections in turn.
 */
struct dk_stack_port {
    struct dk_list link; /* in st->ports */
    struct dk_stack *st;
    struct dk_endpoint local;
    uint32_t users;
    bool shared; /* by all that set SO_REUSEPORT */
    struct dk_list listening;
    struct dk_tcp_listener *listener; /* NULL: none listens */
};

/*
 * A stream. `connections` counts those whose callbacks name it: the object lives until the last was
 * told to be gone, although its queue may be let go, or have another connection, before.
 */
struct dk_stack_tcp {
    struct dk_stack_sock s;
    struct dk_tcp_conn *conn;   /* CONNECTING, CONNECTED and not gone yet; else NULL */
    struct dk_stack_port *port; /* that it is bound to, or NULL */
    struct dk_list listening;   /* in port->listening */
    struct dk_list starved;     /* in st->starved, or in itself */
    struct dk_list sent;        /* pushes that were accepted whole, oldest first */
    struct dk_list accepts;
    struct dk_op *connecting;
    uint32_t connections;
    uint32_t send_grown;              /* by how much the send buffer has grown */
    bool conn_closed;                 /* dk_tcp_close or abort was called */
    int32_t conn_error;               /* why the connection ended, or 0 */
    struct dk_endpoint local, remote; /* of the connection */
};

extern const struct dk_stack_kind dk_stack_udp_kind;
extern const struct dk_stack_kind dk_stack_tcp_kind;

/* ---- stack.c: the poller --------------------------------------------------------------------- */

static inline void dk_stack_read_clock(struct dk_stack *st)
{
    const int64_t now = dk_instance_now(st->inst);
    if (now > st->now)
        st->now = now;
}

static inline void dk_stack_begin(struct dk_stack *st)
{
    if (st->depth++ == 0)
        dk_stack_read_clock(st);
}

/* Says that something is so, which was noted before, that a poll or the end of a call looks for:
 * somebody sleeps or has slept, has a descriptor, or the process ends; or the interface is shared.
 * Any thread; async-signal-safe. */
static inline void dk_stack_alert(struct dk_stack *st)
{
    __atomic_store_n(&st->due->alert, 1, __ATOMIC_RELEASE);
}

static inline bool dk_stack_is_alerted(const struct dk_stack *st)
{
    return __atomic_load_n(&st->due->alert, __ATOMIC_ACQUIRE) != 0;
}

/* Whether anything is due, left, or alerted. */
static inline bool dk_stack_has_work(const struct dk_stack *st)
{
    const struct dk_net_due *due = st->due;
    return __atomic_load_n(&due->word, __ATOMIC_ACQUIRE) != 0 || st->now >= due->at;
}

void dk_stack_end_slow(struct dk_stack *st);

/* The same; polled: in the call of a poll, which has read the time. */
static inline void dk_stack_begin_polled(struct dk_stack *st, bool polled)
{
    if (polled)
        st->depth++;
    else
        dk_stack_begin(st);
}

static inline void dk_stack_end(struct dk_stack *st)
{
    if (--st->depth == 0)
        dk_stack_end_slow(st);
}

/* The same with a result of the call. */
static inline int dk_stack_end_with(struct dk_stack *st, int r)
{
    dk_stack_end(st);
    return r;
}

/* Whether the device has frames that are to be flushed. */
static inline bool dk_stack_has_put(const struct dk_stack *st)
{
    return st->tx.rooms->next != st->tx.rooms->sent;
}

/* Notes whether there is that. */
static inline void dk_stack_left_is(struct dk_stack *st, enum dk_stack_left what, bool is)
{
    st->due->left = (uint8_t)((st->due->left & ~what) | (is ? what : 0));
}

/* Has the device send what was put to it, as dk_stack_flush does first; false: some is left. */
static inline bool dk_stack_flush_put(struct dk_stack *st)
{
    const bool sent = st->tx.to->ops->tx_flush(st->tx.to, st->now);
    if (dk_likely(sent))
        dk_count(&st->stats->tx_bursts, 1);
    else
        dk_count(&st->stats->tx_blocked, 1);
    return sent;
}

/* The end of a call that did nothing but send, and that nobody was told of; written: a frame to a
 * room of the device, which is before all others then. No timer is looked at. */
static inline void dk_stack_end_written(struct dk_stack *st, bool written)
{
    const struct dk_net_due rest = {
        .what = UINT8_MAX, .left = written ? 0 : DK_STACK_LEFT_TX, .alert = UINT8_MAX};
    if (dk_unlikely((__atomic_load_n(&st->due->word, __ATOMIC_RELAXED) & rest.word) != 0))
        dk_stack_end_slow(st);
    else if (dk_likely(written || dk_stack_has_put(st)))
        dk_stack_flush_put(st);
}

/* Whether s is counted among what an exit waits for. */
void dk_stack_set_drains(struct dk_stack_sock *s, bool drains);

/* ---- config.c: texts of the configuration ---------------------------------------------------- */

/* Writes the addresses and routes of options, which were checked, to config; -EINVAL and *why_out
 * for what is wrong between them. shared: those of the kernel come on top. */
int dk_stack_config_net(const struct dk_stack_options *options, bool shared,
                        struct dk_net_config *config, const char **why_out);

/* Whether a text of addresses has any that are not the kernel's. */
bool dk_stack_has_own_addresses(const char *text);

/* What a text of offloads, which was checked, names: DK_NETDEV_TX_CHECKSUM, RX_CHECKSUM, TSO, and
 * what the stack does itself: */
#define DK_STACK_GRO (1u << 31) /* dk_net_config.gro */
uint32_t dk_stack_offloads(const char *text);

/* ---- shared.c: an interface that the kernel has, too -------------------------------------------
 */

/* Finds out whether the device is of that kind: 0, or -ENOMEM. */
int dk_stack_shared_open(struct dk_stack *st);
void dk_stack_shared_close(struct dk_stack *st);

/* Writes what the kernel has to config. 0, or -EADDRNOTAVAIL and *why_out. */
int dk_stack_shared_config(struct dk_stack *st, struct dk_net_config *config, const char **why_out);

/* dk_net_config.resolve, .claim; arg is a struct dk_stack. */
void dk_stack_shared_resolve(void *arg, const struct dk_ip *ip, const struct dk_mac *mac);
int dk_stack_shared_claim(void *arg, uint8_t protocol, const struct dk_endpoint *local);

/* In a poll. */
void dk_stack_shared_poll(struct dk_stack *st);

/* The device is armed: what its descriptor may become readable for is looked at in the next poll.
 */
void dk_stack_shared_arm(struct dk_stack *st);

/* ---- conflict.c: addresses that another host has ----------------------------------------------
 */

/* Waits until no address is tentative: 0, or -EADDRINUSE and *why_out. */
int dk_stack_await_addresses(struct dk_stack *st, const struct dk_net_config *config,
                             const char **why_out);

/* Sleeps until the device has frames, or a moment has passed, and runs the stack. */
void dk_stack_wait_a_moment(struct dk_stack *st);

/* dk_net_config.on_conflict; arg is a struct dk_stack. */
void dk_stack_on_conflict(void *arg, const struct dk_net_conflict *conflict);

/* ---- learn.c: addresses that are learnt from the link ---------------------------------------- */

/* What is told to a DHCP server of this host. */
void dk_stack_name_host(struct dk_net_config *config);

/* Of what the lower halves of IPv6 addresses are made that nobody gave. */
void dk_stack_choose_identifiers(const struct dk_stack_options *o, struct dk_net_config *config);

/* recall.c: a lease of before, for the configuration; and what is remembered of one. */
void dk_stack_recall_lease(struct dk_stack *st, struct dk_net_config *config);
void dk_stack_on_lease(void *arg, const struct dk_net_lease *lease);

/* The text of a note of a lease. False: there is nothing in it to ask for at that time of day, in
 * seconds. */
bool dk_stack_lease_parse(const char *text, int64_t now, struct dk_ip *address_out);
void dk_stack_lease_format(const struct dk_net_lease *lease, int64_t now, char out[DK_NOTE_MAX]);

/* Waits until what is to be learnt is. 0; -EADDRNOTAVAIL, -EADDRINUSE and *why_out. */
int dk_stack_await_learnt(struct dk_stack *st, const char **why_out);

/* Gives a lease back, at the end. */
void dk_stack_release(struct dk_stack *st);

/* ---- workers.c: other stacks of this process on the same device -------------------------------
 */

/* Joins those of options.first, as one of several workers: 0 or -ENOMEM. */
int dk_stack_join(struct dk_stack *st);
void dk_stack_leave(struct dk_stack *st);

/* Says in the configuration that there are others. */
void dk_stack_know_others(const struct dk_stack *st, struct dk_net_config *config);

/* Whether others have left something. Any thread. */
bool dk_stack_has_notes(const struct dk_stack *st);

/* Acts on it; returns how much. */
uint32_t dk_stack_read_notes(struct dk_stack *st);

/* ---- tx.c: frames to the device -------------------------------------------------------------- */

/* dk_net_config.emit; arg is a struct dk_stack. */
bool dk_stack_emit(void *arg, const struct dk_tx_frame *frame);

/* dk_net_config.own. */
bool dk_stack_own(void *arg);

/* Gives the device what was put off; tells the stack when there is room again. */
void dk_stack_flush(struct dk_stack *st);

/* Has the device let go of what it sent; returns how many pieces it still reads. */
uint32_t dk_stack_reclaim(struct dk_stack *st);

/* Drops what was put off. */
void dk_stack_tx_drop(struct dk_stack *st);

/* ---- sleep.c: sleeping in the device --------------------------------------------------------- */

int dk_stack_sleep_open(struct dk_stack *st);
void dk_stack_sleep_close(struct dk_stack *st);
void dk_stack_arm(struct dk_poller *p);
void dk_stack_block(struct dk_poller *p, int64_t timeout_ns);
void dk_stack_kick(struct dk_poller *p);
int dk_stack_fd(struct dk_poller *p);

/* Whether somebody sleeps, or has a descriptor, and is to be told what became due earlier. */
static inline bool dk_stack_is_watched(const struct dk_stack *st)
{
    return st->sleep.timer_due != INT64_MIN ||
           __atomic_load_n(&st->sleep.armed, __ATOMIC_ACQUIRE) != 0;
}

/* Something is due at that time: wakes who sleeps longer. */
void dk_stack_due(struct dk_stack *st, int64_t due);

/* ---- counters.c ------------------------------------------------------------------------------ */

/* Puts the counters where other processes can read them. */
void dk_stack_counters_open(struct dk_stack *st);

/* Copies those of the stack there. */
void dk_stack_counters_show(struct dk_stack *st);
int dk_stack_stat(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                  const char **text);

/* ---- addr.c: addresses ----------------------------------------------------------------------- */

/*
 * Reads an address for a socket. An IPv6 socket takes IPv4 addresses in their mapped form, unless
 * IPV6_V6ONLY is set. 0, -EAFNOSUPPORT, -EINVAL (too short).
 */
int dk_stack_read_addr(const struct dk_stack_sock *s, const struct sockaddr *addr, socklen_t len,
                       struct dk_endpoint *out);

/* The same for a destination: an unspecified address is this host. */
int dk_stack_read_peer(const struct dk_stack_sock *s, const struct sockaddr *addr, socklen_t len,
                       struct dk_endpoint *out);

/* The same of an address that was checked; what most are. */
static inline int dk_stack_read_checked_peer(const struct dk_stack_sock *s,
                                             const struct sockaddr *addr, struct dk_endpoint *out)
{
    struct sockaddr_in in;
    if (dk_unlikely(addr->sa_family != AF_INET))
        return dk_stack_read_peer(s, addr, sizeof(struct sockaddr_in6), out);
    memcpy(&in, addr, sizeof(in));
    if (dk_unlikely(s->domain != AF_INET || in.sin_addr.s_addr == 0))
        return dk_stack_read_peer(s, addr, sizeof(in), out);
    *out = (struct dk_endpoint){.ip = {.version = 4}, .port = be16toh(in.sin_port)};
    out->ip.v4 = in.sin_addr.s_addr;
    return 0;
}

/* Writes an endpoint as the socket's family has it; returns the length. */
socklen_t dk_stack_write_addr(int domain, const struct dk_endpoint *from,
                              struct sockaddr_storage *out);

/* Copies that to the application, truncated to *len; *len is the whole length afterwards. */
void dk_stack_give_addr(int domain, const struct dk_endpoint *from, struct sockaddr *addr,
                        socklen_t *len);

/* 0 for an address of ours, or any; -EADDRNOTAVAIL. */
int dk_stack_check_local(struct dk_stack *st, const struct dk_endpoint *local);

/* ---- sock.c: what all sockets have ----------------------------------------------------------- */

/* Makes the common part of an object of so many bytes, and its queue. 0 or a negative errno. */
int dk_stack_sock_create(struct dk_stack_sock **s_out, struct dk_stack *st,
                         const struct dk_stack_kind *kind, int domain, size_t bytes);

/* Lets the queue go; the object stays. */
void dk_stack_sock_let_go(struct dk_stack_sock *s);

/* Frees the object; its queue was let go. */
void dk_stack_sock_free(struct dk_stack_sock *s);

/* Completes all operations of a list with an error. */
void dk_stack_fail_all(struct dk_list *ops, int error);

/* Whether the application can no longer reach the memory of an element that an operation holds. */
bool dk_stack_is_given_up(const struct dk_buf *buf);

/* What an error of the connection, or of datagrams, means for the options. */
void dk_stack_set_failed(struct dk_stack_sock *s, int error);

/* ---- sock_rx.c: receiving -------------------------------------------------------------------- */

/* Serves the first pop, which was none before. */
int dk_stack_pop_now(struct dk_stack_sock *s);

/* Queues a pop of a socket that has data, or is empty: what comes will be told of. */
static inline int dk_stack_pop_of(struct dk_stack_sock *s, struct dk_op *op, bool empty)
{
    const bool first = dk_list_empty(&s->pops);
    dk_list_add_tail(&s->pops, &op->link);
    return dk_likely(!first || empty) ? 0 : dk_stack_pop_now(s);
}

int dk_stack_claim(struct dk_queue *q, struct dk_taker *t);
int dk_stack_take(struct dk_queue *q, demi_sgarray_t *sga_out);
void dk_stack_rest(struct dk_queue *q);

/* There may be data: serves the pops, or wakes the taker. */
void dk_stack_readable(struct dk_stack_sock *s);

/* Completes every outstanding pop with an error, or (0) with the end of the stream. */
void dk_stack_end_pops(struct dk_stack_sock *s, int error);

/* Whether a pop that has not begun would be the next to be served. */
static inline bool dk_stack_is_next(const struct dk_stack_sock *s)
{
    return !s->eof && dk_list_empty(&s->pops);
}

/* Where an element of s goes that its next pop waits for in this very poll; or NULL. */
static inline demi_sgarray_t *dk_stack_place(const struct dk_stack_sock *s)
{
    return dk_stack_is_next(s) ? dk_deferred_place(s->st->inst, s->q) : NULL;
}

/* Counts an element of so many bytes. */
static inline void dk_stack_count_popped(struct dk_stack_sock *s, size_t bytes)
{
    dk_count(&s->st->stats->popped_bytes, bytes);
    s->traffic.popped++;
    s->traffic.popped_bytes += bytes;
}

/* Makes an element of a buffer that was received, whose hold it takes over: all but the sender's
 * address. */
static inline void dk_stack_make_one(struct dk_stack_sock *s, struct dk_buf *buf,
                                     demi_sgarray_t *sga)
{
    const uint32_t bytes = (uint32_t)dk_buf_bytes(buf);
    dk_sga_of_received(sga, buf, bytes);
    dk_stack_count_popped(s, bytes);
}

/* Makes an element of n buffers, one segment each, whose holds it takes over. */
void dk_stack_make_element(struct dk_stack_sock *s, struct dk_buf *const bufs[], uint32_t n,
                           demi_sgarray_t *sga);

/* ---- opt.c: options -------------------------------------------------------------------------- */

void dk_stack_init_options(struct dk_stack_sock *s);
int dk_stack_setsockopt(struct dk_queue *q, int level, int name, const void *val, socklen_t len);
int dk_stack_getsockopt(struct dk_queue *q, int level, int name, void *val, socklen_t *len);

/* What a connection of t begins with. */
void dk_stack_tcp_options(const struct dk_stack_tcp *t, int64_t out[DK_TCP_OPTIONS]);

/* Tell TCP of an option: for the connection, or for those that the listener will make. 0 or
 * -EINVAL. */
int dk_stack_tcp_apply(struct dk_stack_sock *s, enum dk_stack_option option);
/* info.c: getsockopt(TCP_INFO). */
int dk_stack_tcp_info(struct dk_stack_tcp *t, void *val, socklen_t *len);
int dk_stack_tcp_apply_to_listener(struct dk_stack_tcp *t, enum dk_stack_option option);

/* ---- udp.c ----------------------------------------------------------------------------------- */

int dk_stack_udp_create(struct dk_stack *st, int domain, struct dk_stack_sock **s_out);

/* Binds a socket that only sends, before the stack does: it would take datagrams of both versions
 * of IP. 0 or a negative errno. */
int dk_stack_udp_bind_to_send(struct dk_stack_udp *u);

/* Pushes ended: frees u when the application closed it and nothing is left. */
void dk_stack_udp_finish(struct dk_stack_udp *u);

/* ---- udp_tx.c -------------------------------------------------------------------------------- */

int dk_stack_udp_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga);
int dk_stack_udp_push_led(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf,
                          const struct sockaddr *addr);

/* Hands on what waits for room; u may be freed. */
void dk_stack_udp_flush(struct dk_stack_udp *u);

/* Whether an operation was handed to the stack, and its memory is lent to it. */
bool dk_stack_udp_is_lent(const struct dk_op *op);

/* Completes pushes of datagrams that are sent, or whose memory was lent for long enough. */
void dk_stack_settle(struct dk_stack *st);

/* Completes all of them. */
void dk_stack_end_lent(struct dk_stack *st);

/* When the oldest of them has to be over. */
static inline int64_t dk_stack_lent_due(const struct dk_stack *st)
{
    const struct dk_list *first = dk_list_first(&st->lent);
    return first ? (int64_t)dk_container_of(first, struct dk_op, link)->progress : INT64_MAX;
}

/* When there is something to do that no frame causes. */
static inline int64_t dk_stack_next_due(const struct dk_stack *st)
{
    int64_t due = dk_net_next_due(st->net), lent_due = dk_stack_lent_due(st);
    return due < lent_due ? due : lent_due;
}

/* ---- port.c: ports of TCP, and listening ------------------------------------------------------
 */

int dk_stack_port_bind(struct dk_stack_tcp *t, const struct dk_endpoint *local);
int dk_stack_port_listen(struct dk_stack_tcp *t, uint32_t backlog);

/* t is closed: gives up its share of the port. */
void dk_stack_port_leave(struct dk_stack_tcp *t);

/* ---- tcp.c, tcp_tx.c --------------------------------------------------------------------------
 */

extern const struct dk_tcp_ops dk_stack_tcp_conn_ops;

int dk_stack_tcp_create(struct dk_stack *st, int domain, struct dk_stack_tcp **t_out);

/* Gives the first accepts what there is; returns whether t could take more. */
bool dk_stack_tcp_accepts(struct dk_stack_tcp *t);

/* Closes the connection when everything pushed was accepted, and lets the queue go when nothing is
 * left; t may be freed. */
void dk_stack_tcp_finish(struct dk_stack_tcp *t);

/* Resets what has something to send, or is being closed. Returns true. */
bool dk_stack_tcp_abort(struct dk_stack_tcp *t);

/* The process ends: closes the connection of one that the application did not close, unless there
 * are pushes on their way: false. */
bool dk_stack_tcp_wind_up(struct dk_stack_tcp *t);

int dk_stack_tcp_push(struct dk_queue *q, struct dk_op *op, const demi_sgarray_t *sga);
int dk_stack_tcp_push_led(struct dk_queue *q, const demi_sgarray_t *sga, struct dk_buf *buf,
                          const struct sockaddr *addr);
int dk_stack_tcp_shutdown(struct dk_queue *q, int how);
int dk_stack_tcp_cancel_push(struct dk_stack_tcp *t, struct dk_op *op);

/* Hands on what waits as far as there is room; t may be freed. */
void dk_stack_tcp_resume(struct dk_stack_tcp *t);

/* The connection is gone: its send buffer counts no more among those that have grown. */
void dk_stack_tcp_give_back(struct dk_stack_tcp *t);

/* An element of t is complete. */
void dk_stack_tcp_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err);

/* Completes every push with an error. */
void dk_stack_tcp_fail_pushes(struct dk_stack_tcp *t, int error);

#endif /* DK_LIBOS_STACK_SOCK_H */
