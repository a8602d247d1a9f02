/* SPDX-License-Identifier: MIT */
/*
 * A network stack over one Ethernet link: frames and the time go in, frames and events come out.
 *
 * Pure: no clock, no system call, no random number of its own. Time is an argument (`now`,
 * monotonic nanoseconds, never going back), secrets and seeds are configuration, frames leave
 * through a function of the caller's. So it runs under a virtual clock, and the same input gives
 * the same output. One thread at a time.
 *
 *      dk_net_input --> link --> arp, ip4, ip6 --> icmp, udp, tcp --> events
 *      dk_net_advance (timers) ----^---------------------^
 *      udp, tcp --> dk_ip_send --> neighbour table --> dk_net_config.emit
 *
 * Files: link.c (Ethernet, 802.1Q), neigh.c (ARP and neighbour discovery: one table), addr and dad,
 * gro.c (groups of segments), route.c, ip4.c, ip6.c, frag.c (out), reass.c (in), icmp4.c, icmp6.c,
 * udp.c, tcp/, others.c (further stacks on the same link), told.c (of who has the link, too).
 */
#ifndef DK_NET_NET_H
#define DK_NET_NET_H

#include "net/addr.h"
#include "net/ip.h"
#include "net/packet.h"

struct dk_tcp_config;
struct dk_tx_rooms;

#define DK_NET_ADDRESSES_MAX 8
#define DK_NET_ROUTES_MAX    16

struct dk_net_address {
    struct dk_ip ip;
    uint8_t prefix_len;
};

struct dk_net_route {
    struct dk_ip prefix;
    uint8_t prefix_len;
    struct dk_ip gateway;
    uint32_t metric; /* of those of the same length the least goes first */
};

struct dk_net_conflict {
    struct dk_ip ip;
    struct dk_mac mac; /* of the other host */
    bool has_mac;
    bool lost; /* it is not ours, and not used any more; false: we keep it, and said so */
};

/* A lease of a DHCP server, from now on. */
struct dk_net_lease {
    struct dk_ip address; /* version 0: there is none any more */
    uint32_t seconds;     /* that are left; UINT32_MAX: it has no end */
};

/* A packet for which a stack had no socket, on its way round the others. */
struct dk_net_passed {
    struct dk_ip_rx rx; /* with a hold on its buffer, which has nothing else */
    uint16_t origin;    /* the worker that it came to */
    bool whole;         /* it was put together of fragments */
};

/* What one stack learnt, and the others of its link are to know. */
enum dk_net_news_kind {
    DK_NET_NEWS_NEIGHBOUR,
    DK_NET_NEWS_CONFLICT, /* another host has an address of ours */
    DK_NET_NEWS_LOST,     /* which is not used any more */
};

struct dk_net_news {
    enum dk_net_news_kind kind;
    struct dk_ip ip;
    struct dk_mac mac;
    bool has_mac;
    /* Of a neighbour: */
    bool solicited, override; /* as in its advertisement (RFC 4861 section 4.4) */
    bool reply;               /* of ARP, to us alone: an answer for whoever asked */
    bool advert, is_router;   /* it advertised itself, as that */
};

/*
 * The other stacks with the same addresses on the same link, each over a queue of the device
 * (dev.h), each one thread's at a time. Zero: there are none. arg is emit's.
 */
struct dk_net_others {
    uint16_t worker, workers; /* which of them this is, and how many there are or will be */
    /* Whether packets of a flow come to our queue. NULL: the device cannot tell. */
    bool (*comes_here)(void *arg, const struct dk_flow *flow);
    /* Has the next stack take it (dk_net_input_passed), and its hold. -ENOENT: there is none but
     * its origin; -ENOBUFS: no room. */
    int (*pass)(void *arg, const struct dk_net_passed *passed);
    /* Has all others be told (dk_net_told). */
    void (*tell)(void *arg, const struct dk_net_news *news);
};

struct dk_net_config {
    struct dk_mac mac;
    uint32_t mtu;         /* bytes of an IP packet: 68 (IPv6: 1280) to 65535 */
    uint16_t vlan;        /* 802.1Q id that all frames carry; 0: none */
    uint32_t device_caps; /* DK_NETDEV_TX_CHECKSUM, DK_NETDEV_TSO */
    uint32_t num_addresses, num_routes;
    struct dk_net_address addresses[DK_NET_ADDRESSES_MAX];
    struct dk_net_route routes[DK_NET_ROUTES_MAX]; /* a default gateway: prefix_len 0 */
    uint8_t secret[16]; /* keys sequence numbers, ports, fragment ids (RFC 6528, 6056, 7739) */
    uint8_t identifier_secret[16]; /* RFC 7217: best that of the host, for ever */
    bool stable_identifiers;       /* are made by it; false: of the link address */
    uint64_t seed;                 /* of jitter */
    bool gro;                      /* dk_net_input_some gives segments of a flow to TCP together */
    bool skip_dad;                 /* nobody is asked whether they have our addresses */
    bool optimistic_dad;           /* addresses are used while others are asked (RFC 4429) */
    bool dhcp;                     /* lease an IPv4 address, with routes (RFC 2131) */
    /* That address was leased before, and the lease has not ended: it is asked for again (section
     * 3.2). version 0: none. */
    struct dk_ip dhcp_address;
    bool router_adverts; /* form IPv6 addresses as routers say, and learn routes (RFC 4862) */
    char host_name[64];  /* told to the DHCP server; "": none */
    struct dk_net_others others;
    const struct dk_tcp_config *tcp; /* its limits and times; NULL: the defaults. Read once */
    /* Where short frames are written, in the place of emit, as far as there is room. NULL: to emit
     * alone. */
    struct dk_tx_rooms *rooms;
    /*
     * Sends a frame: all of it may be read until it returns. false: no room, nothing happened; the
     * caller of the stack calls dk_net_tx_room when there is.
     */
    bool (*emit)(void *arg, const struct dk_tx_frame *frame);
    /* Frames that emit took, and that are still to be read, are read now, or copied: their memory
     * is about to be given back. false: that cannot be yet. NULL: emit leaves none. */
    bool (*own)(void *arg);
    void *emit_arg;
    /* Another host has an address of ours. Called from inside, it must not call the stack; at most
     * once in ten seconds for an address. arg as emit's. NULL: only the counters tell. */
    void (*on_conflict)(void *arg, const struct dk_net_conflict *conflict);
    /* A lease began, or goes on; or there is none to be asked for again. As on_conflict. */
    void (*on_lease)(void *arg, const struct dk_net_lease *lease);
    /*
     * Where somebody else, as the kernel, has the same interface with the same addresses. arg as
     * emit's; NULL: nobody has. They must not call the stack.
     *
     * resolve has a neighbour asked for its link address (mac NULL), or whether it still has that
     * one: the stack asks nobody itself. What comes of it is told by dk_net_tell_neighbour.
     *
     * claim makes a local port the stack's, of an address, or of all (version 0: of both versions).
     * 0, also for one that it has; -EADDRINUSE: somebody else has it; or another negative errno.
     * Who claims gives back what dk_net_ports_in_use, which it may call, has no more.
     */
    void (*resolve)(void *arg, const struct dk_ip *ip, const struct dk_mac *mac);
    int (*claim)(void *arg, uint8_t protocol, const struct dk_endpoint *local);
};

/* Creates a stack; config is copied. 0, -EINVAL (an address or prefix that cannot be: *why_out says
 * which and what to do), -ENOMEM. */
int dk_net_create(struct dk_net **net_out, const struct dk_net_config *config, int64_t now,
                  const char **why_out);

/* Ends everything without a word to the peers; what it held is let go. */
void dk_net_destroy(struct dk_net *net);

/* Takes one frame. What is kept of it is held; the caller puts its own hold afterwards, unless
 * frame->gives was true and is not any more. */
void dk_net_input(struct dk_net *net, struct dk_rx_frame *frame, int64_t now);

uint32_t dk_net_input_group(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n,
                            int64_t now);

/* Takes the first of n frames that came in this order, and with it, where config.gro is set, those
 * behind it that go to TCP together; returns how many. The effect is that of dk_net_input of each.
 */
static inline uint32_t dk_net_input_some(struct dk_net *net, struct dk_rx_frame frames[],
                                         uint32_t n, int64_t now)
{
    if (n > 1)
        return dk_net_input_group(net, frames, n, now);
    dk_net_input(net, frames, now);
    return 1;
}

/* As dk_net_input_burst, where so many connections are there that their memory is to be asked for.
 * false: they are not, and nothing happened. */
bool dk_net_input_crowd(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n, int64_t now);

/* Takes n frames that came in this order, as dk_net_input_some does, and the caller's holds on
 * them. */
static inline void dk_net_input_burst(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n,
                                      int64_t now)
{
    if (n == 1) { /* most polls of who is not in a hurry */
        frames[0].gives = true;
        dk_net_input(net, frames, now);
        if (frames[0].gives)
            dk_buf_put(frames[0].buf);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        frames[i].gives = false;
    if (n > 1 && dk_net_input_crowd(net, frames, n, now))
        return;
    for (uint32_t i = 0; i < n;) {
        const uint32_t taken = dk_net_input_some(net, &frames[i], n - i, now);
        for (const uint32_t end = i + taken; i < end; i++)
            dk_buf_put(frames[i].buf);
    }
}

/* Takes one IP packet as if it had come in a frame that was for us: for suites that know no link.
 */
void dk_net_input_ip(struct dk_net *net, struct dk_buf *buf, uint8_t *data, uint32_t len,
                     int64_t now);

/* Takes a packet that another stack of the link passed; the caller puts its hold afterwards. */
void dk_net_input_passed(struct dk_net *net, const struct dk_net_passed *passed, int64_t now);

/* Takes what another stack of the link learnt. */
void dk_net_told(struct dk_net *net, const struct dk_net_news *news, int64_t now);

/* Runs what is due: timers, delayed acknowledgements, output that was put off to the end of a burst
 * of input. Call after each burst, and at the latest at dk_net_next_due. */
void dk_net_advance(struct dk_net *net, int64_t now);

/* When dk_net_advance may have something to do. */
struct dk_net_due {
    union {
        struct {
            /* Not 0: at once; also after dk_net_advance, when that made something due again. */
            uint8_t what;
            /* Of who asks, for what he has to do himself: src/net leaves them alone. */
            uint8_t left, alert, unused;
        };
        uint32_t word; /* of all: one look tells that there is nothing */
    };
    int64_t at; /* by time: nothing is before; it may be that nothing is then */
};

/* Returns the stack's own, for who asks with each call. */
struct dk_net_due *dk_net_due(struct dk_net *net);

static inline bool dk_net_due_is(const struct dk_net_due *due, int64_t now)
{
    return due->what != 0 || now >= due->at;
}

/* When dk_net_advance has something to do, INT64_MAX: never. For who goes to sleep. */
int64_t dk_net_next_due(const struct dk_net *net);

/* Copies whatever is to be read later of memory that was lent: packets that wait for a neighbour,
 * frames that wait for the device. Afterwards nothing of it is held. false: some is still, for want
 * of memory; try again later. Costs nothing where nothing waits. */
bool dk_net_own_lent(struct dk_net *net);

/* Packets that wait for the link address of a neighbour, or for room. */
uint32_t dk_net_waiting(const struct dk_net *net);

/* emit has room again after it had none. */
void dk_net_tx_room(struct dk_net *net, int64_t now);

/* Whether the index-th address of the configuration can be used: they are tentative first, unless
 * optimistic, while other hosts are asked whether they have it: up to seven seconds (RFC 5227), of
 * IPv6 two (RFC 4862). */
enum dk_net_address_state {
    DK_NET_ADDRESS_TENTATIVE,
    DK_NET_ADDRESS_GOOD,
    DK_NET_ADDRESS_DUPLICATE, /* another host has it: never used */
};
enum dk_net_address_state dk_net_address_state(const struct dk_net *net, uint32_t index);

/*
 * How far what is learnt from the link has come: of a DHCP server, of routers. The address that was
 * learnt, or is a duplicate, in *address_out; of several IPv6 ones the first that is good.
 */
enum dk_net_learning {
    DK_NET_NOT_LEARNING, /* the configuration does not want it */
    DK_NET_UNANSWERED,
    DK_NET_ANSWERED, /* but there is no address yet */
    DK_NET_LEARNT,
    DK_NET_LEARNT_DUPLICATE, /* another host has it */
};
enum dk_net_learning dk_net_dhcp_state(const struct dk_net *net, struct dk_ip *address_out);
enum dk_net_learning dk_net_router_state(const struct dk_net *net, struct dk_ip *address_out);

/* Gives a leased address back (RFC 2131 section 4.4.6): nothing else is done with the stack
 * afterwards, but to let it send, while dk_net_is_releasing. Returns whether there was one. */
bool dk_net_release(struct dk_net *net, int64_t now);
bool dk_net_is_releasing(struct dk_net *net);

/* Gives the link address of a neighbour, which is then never asked for. 0 or -ENOBUFS. */
int dk_net_add_neighbour(struct dk_net *net, const struct dk_ip *ip, const struct dk_mac *mac);

/* What was found out of a neighbour that config.resolve was called for, or of any other. NULL: it
 * is not to be found at its address any more. */
void dk_net_tell_neighbour(struct dk_net *net, const struct dk_ip *ip, const struct dk_mac *mac,
                           int64_t now);

/*
 * An address of the interface came or went: what was opened from one that went ends with
 * -EADDRNOTAVAIL. A route by a gateway did; or the link's MTU is another, at most that of the
 * device. 0, also for what is there already, or is not; -EINVAL: the gateway of a route can be
 * none; -EEXIST: the address is there with another prefix; -ENOBUFS: there are too many.
 */
int dk_net_tell_address(struct dk_net *net, const struct dk_net_address *address, bool gone,
                        int64_t now);
int dk_net_tell_route(struct dk_net *net, const struct dk_net_route *route, bool gone);
void dk_net_tell_mtu(struct dk_net *net, uint32_t mtu);
/* The interface has another link address: it is sent from, and neighbours are told of it. */
void dk_net_tell_mac(struct dk_net *net, const struct dk_mac *mac, int64_t now);

/* Sets a bit for each local port of TCP or UDP that a socket or a connection has, but for those in
 * TIME_WAIT; others stay. */
#define DK_NET_PORT_WORDS (65536 / 64)
void dk_net_ports_in_use(const struct dk_net *net, uint8_t protocol,
                         uint64_t bits[DK_NET_PORT_WORDS]);

/* Reports the index-th counter: 0 or -ENOENT. Each reason to drop a packet has one. */
int dk_net_stat(const struct dk_net *net, size_t index, const char **name_out, uint64_t *value_out);

#endif /* DK_NET_NET_H */
