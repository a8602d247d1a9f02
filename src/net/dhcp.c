/* SPDX-License-Identifier: MIT */
/*
 * The DHCP client: dhcp.h has the states, net/wire/dhcp.c the format, lease.c what an address and
 * its routes become.
 *
 * Until there is an address, messages go from 0.0.0.0 to all, and answers are wanted to all too
 * (section 4.1: we take no packet for an address that is not ours yet). Of offers the first is
 * taken. What is not for us, or not what is waited for, is counted and dropped.
 *
 * Unanswered messages are sent again after 4, 8, 16, 32, then 64 seconds, each a second more or
 * less by chance (section 4.1); in RENEWING and REBINDING after half of what is left, but not
 * within a minute (section 4.4.5).
 */
#include "net/dhcp.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/siphash.h"
#include "mem/heap.h"
#include "net/ip_kind.h"
#include "net/lease.h"
#include "net/neigh.h"
#include "net/route.h"
#include "net/udp.h"
#include "net/wire/udp.h"

#define START_MAX_NS     (1 * DK_NS_PER_S) /* RFC: 1 to 10 s; but a program waits */
#define RETRY_NS         (4 * DK_NS_PER_S)
#define RETRY_SHIFT_MAX  4
#define RETRY_JITTER_NS  (1 * DK_NS_PER_S)
#define REQUESTS_MAX     4
#define REBOOTS_MAX      2 /* fewer: whoever knows nothing of the lease is silent (section 4.3.2) */
#define RENEW_MIN_NS     (60 * DK_NS_PER_S)
#define DECLINE_PAUSE_NS (10 * DK_NS_PER_S) /* section 3.1, step 5 */

static void start_timer(struct dk_dhcp_client *client, int64_t due)
{
    if (due == INT64_MAX)
        dk_timer_stop(&client->net->wheel, &client->timer);
    else
        dk_timer_start(&client->net->wheel, &client->timer, due);
}

/* Nobody off the link can guess it: it is what tells an answer from a forgery. */
static void new_exchange(struct dk_dhcp_client *client, int64_t now)
{
    const uint32_t number[2] = {0x64686370, ++client->num_xids};
    client->xid = (uint32_t)dk_siphash(client->net->config.secret, number, sizeof(number));
    client->began = now;
    client->tries = 0;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void send_datagram(struct dk_net *net, const struct dk_dhcp *message,
                          const struct dk_ip *src, const struct dk_ip *dst)
{
    uint8_t storage[DK_IP_HEADROOM + DK_UDP_HEADER_LEN], bytes[DK_DHCP_EMIT_MAX];
    const uint32_t len = (uint32_t)dk_dhcp_emit(message, bytes);
    struct dk_ip_tx tx = {
        .src = *src,
        .dst = *dst,
        .protocol = DK_IP_UDP,
        .header = storage + DK_IP_HEADROOM,
        .header_len = DK_UDP_HEADER_LEN,
        .frame = {.num_pieces = 1, .pieces = {{.data = bytes, .len = len}}},
    };
    struct dk_udp_header udp = {
        .src_port = DK_DHCP_CLIENT_PORT,
        .dst_port = DK_DHCP_SERVER_PORT,
        .len = (uint16_t)(DK_UDP_HEADER_LEN + len),
    };
    dk_udp_header_emit(&udp, tx.header);
    uint32_t sum = dk_ip_pseudo_sum(src, dst, DK_IP_UDP, udp.len);
    sum = dk_checksum_add(dk_checksum_add(sum, tx.header, DK_UDP_HEADER_LEN), bytes, len);
    dk_put_be16(tx.header + DK_UDP_CHECKSUM_OFFSET,
                dk_udp_checksum_finish(dk_checksum_finish(sum)));
    const bool sent = dk_ip_send(net, &tx, net->now) == 0;
    dk_net_count(sent ? &net->stats.dhcp_sent : &net->stats.dhcp_not_sent);
}

/* Table 5. What holds for all messages; the rest is by their kind. */
static struct dk_dhcp message_of(const struct dk_dhcp_client *client, uint8_t type)
{
    const struct dk_net *net = client->net;
    const int64_t secs = (net->now - client->began) / DK_NS_PER_S;
    struct dk_dhcp message = {
        .type = type,
        .xid = client->xid,
        .secs = secs > UINT16_MAX ? UINT16_MAX : (uint16_t)secs,
        .ciaddr = {.version = 4},
        .yiaddr = {.version = 4},
        .chaddr = net->config.mac,
    };
    return message;
}

static void send_to_all(struct dk_dhcp_client *client, const struct dk_dhcp *message,
                        const struct dk_ip *src)
{
    const struct dk_ip all = dk_ip_from_v4(UINT32_MAX);
    send_datagram(client->net, message, src, &all);
}

static void set_name(const struct dk_dhcp_client *client, struct dk_dhcp *message)
{
    memcpy(message->name, client->net->config.host_name, sizeof(message->name) - 1);
}

static void discover(struct dk_dhcp_client *client)
{
    const struct dk_ip none = {.version = 4};
    struct dk_dhcp message = message_of(client, DK_DHCP_DISCOVER);
    message.broadcast = true;
    set_name(client, &message);
    send_to_all(client, &message, &none);
}

/* In REQUESTING: the address that was offered, of that server. In REBOOTING: the one that was ours,
 * of any. Later: the one that we have (in
 * `ciaddr`), of its server alone, then of any. */
static void request(struct dk_dhcp_client *client)
{
    const struct dk_ip none = {.version = 4};
    const struct dk_dhcp *lease = &client->lease;
    struct dk_dhcp message = message_of(client, DK_DHCP_REQUEST);
    set_name(client, &message);
    if (client->state == DK_DHCP_REQUESTING || client->state == DK_DHCP_REBOOTING) {
        message.broadcast = true;
        message.requested = lease->yiaddr;
        message.server = lease->server;
        send_to_all(client, &message, &none);
        return;
    }
    message.ciaddr = lease->yiaddr;
    if (client->state == DK_DHCP_RENEWING)
        send_datagram(client->net, &message, &lease->yiaddr, &lease->server);
    else
        send_to_all(client, &message, &lease->yiaddr);
}

static void tell(const struct dk_dhcp_client *client, const struct dk_net_lease *lease)
{
    const struct dk_net_config *config = &client->net->config;
    if (config->on_lease)
        config->on_lease(config->emit_arg, lease);
}

/* There is nothing to be asked for again. */
static void forget(const struct dk_dhcp_client *client)
{
    const struct dk_net_lease none = {.address = {.version = 0}};
    tell(client, &none);
}

static void decline(struct dk_dhcp_client *client)
{
    const struct dk_ip none = {.version = 4};
    struct dk_dhcp message = message_of(client, DK_DHCP_DECLINE);
    message.requested = client->lease.yiaddr;
    message.server = client->lease.server;
    send_to_all(client, &message, &none);
    dk_net_count(&client->net->stats.dhcp_declined);
}

bool dk_net_release(struct dk_net *net, int64_t now)
{
    struct dk_dhcp_client *client = net->dhcp;
    net->now = now;
    if (!client || client->state < DK_DHCP_BOUND)
        return false;
    new_exchange(client, now);
    struct dk_dhcp message = message_of(client, DK_DHCP_RELEASE);
    message.ciaddr = client->lease.yiaddr;
    message.server = client->lease.server;
    send_datagram(net, &message, &client->lease.yiaddr, &client->lease.server);
    dk_timer_stop(&net->wheel, &client->timer);
    client->state = DK_DHCP_INIT;
    forget(client);
    return true;
}

bool dk_net_is_releasing(struct dk_net *net)
{
    struct dk_path path;
    if (!net->dhcp || dk_route_find(net, &net->dhcp->lease.server, &path) != 0)
        return false;
    const struct dk_neigh *neigh = dk_neigh_find(net, &path.next_hop);
    return neigh && neigh->num_waiting > 0;
}

/* ---- states ---------------------------------------------------------------------------------- */

static void restart(struct dk_dhcp_client *client, int64_t due)
{
    client->state = DK_DHCP_INIT;
    start_timer(client, due);
}

/* The lease is no more: so is the address. */
static void lose(struct dk_dhcp_client *client)
{
    if (client->own)
        dk_lease_drop(client->net, client->own);
    client->own = NULL;
}

static int64_t retry_after(struct dk_dhcp_client *client, int64_t wait, int64_t now)
{
    client->tries++;
    return now + wait + dk_random_between(&client->net->random, -RETRY_JITTER_NS, RETRY_JITTER_NS);
}

static int64_t retry_at(struct dk_dhcp_client *client, int64_t now)
{
    const uint8_t shift = client->tries < RETRY_SHIFT_MAX ? client->tries : RETRY_SHIFT_MAX;
    return retry_after(client, RETRY_NS << shift, now);
}

/* When to ask again in RENEWING or REBINDING: after half of what is left. */
static int64_t renew_again_at(int64_t now, int64_t end)
{
    const int64_t half = (end - now) / 2;
    const int64_t wait = half < RENEW_MIN_NS ? RENEW_MIN_NS : half;
    return end - now < wait ? end : now + wait;
}

static void on_init(struct dk_dhcp_client *client, int64_t now)
{
    new_exchange(client, now);
    client->state = DK_DHCP_SELECTING;
    discover(client);
    start_timer(client, retry_at(client, now));
}

static void on_selecting(struct dk_dhcp_client *client, int64_t now)
{
    discover(client);
    start_timer(client, retry_at(client, now));
}

static void on_requesting(struct dk_dhcp_client *client, int64_t now)
{
    if (client->tries == REQUESTS_MAX) {
        on_init(client, now);
        return;
    }
    client->asked = now;
    request(client);
    start_timer(client, retry_at(client, now));
}

/* Nothing is doubled: there is one retransmission, and then the beginning. */
static void on_rebooting(struct dk_dhcp_client *client, int64_t now)
{
    if (client->tries == REBOOTS_MAX) {
        on_init(client, now);
        return;
    }
    if (client->tries == 0)
        new_exchange(client, now);
    client->asked = now;
    request(client);
    start_timer(client, retry_after(client, RETRY_NS, now));
}

static void on_rebinding(struct dk_dhcp_client *client, int64_t now)
{
    if (now >= client->end) {
        dk_net_count(&client->net->stats.dhcp_expired);
        lose(client);
        forget(client);
        on_init(client, now);
        return;
    }
    client->asked = now;
    request(client);
    start_timer(client, renew_again_at(now, client->end));
}

static void on_renewing(struct dk_dhcp_client *client, int64_t now)
{
    if (now >= client->t2) {
        client->state = DK_DHCP_REBINDING;
        on_rebinding(client, now);
        return;
    }
    client->asked = now;
    request(client);
    start_timer(client, renew_again_at(now, client->t2));
}

static void on_bound(struct dk_dhcp_client *client, int64_t now)
{
    new_exchange(client, now);
    client->state = DK_DHCP_RENEWING;
    on_renewing(client, now);
}

static void on_timer(struct dk_timer *timer, int64_t now)
{
    struct dk_dhcp_client *client = dk_container_of(timer, struct dk_dhcp_client, timer);
    static void (*const states[])(struct dk_dhcp_client * client, int64_t now) = {
        [DK_DHCP_INIT] = on_init,
        [DK_DHCP_SELECTING] = on_selecting,
        [DK_DHCP_REQUESTING] = on_requesting,
        [DK_DHCP_REBOOTING] = on_rebooting,
        [DK_DHCP_BOUND] = on_bound,
        [DK_DHCP_RENEWING] = on_renewing,
        [DK_DHCP_REBINDING] = on_rebinding,
    };
    if (states[client->state])
        states[client->state](client, now);
}

/* Section 4.4.5: T1 and T2 by the server, else half and seven eighths of the lease, a little
 * earlier by chance, so that hosts that began together do not ask together. */
static void set_times(struct dk_dhcp_client *client)
{
    const struct dk_dhcp *lease = &client->lease;
    client->t1 = client->t2 = client->end = INT64_MAX;
    if (lease->lease_s == DK_DHCP_FOREVER)
        return;
    const int64_t whole = lease->lease_s * DK_NS_PER_S;
    int64_t t1 = lease->t1_s * DK_NS_PER_S, t2 = lease->t2_s * DK_NS_PER_S;
    if (t2 == 0 || t2 >= whole)
        t2 = whole / 8 * 7;
    if (t1 == 0 || t1 >= t2)
        t1 = whole / 2 < t2 ? whole / 2 : t2 / 2;
    t1 -= dk_random_between(&client->net->random, 0, t1 / 32);
    t2 -= dk_random_between(&client->net->random, 0, (t2 - t1) / 32);
    client->t1 = client->asked + t1;
    client->t2 = client->asked + t2;
    client->end = client->asked + whole;
}

/* Of a lease that begins: it began with our request. */
static uint32_t seconds_left(const struct dk_dhcp_client *client)
{
    if (client->end == INT64_MAX)
        return UINT32_MAX;
    const int64_t left = client->end - client->net->now;
    return left > 0 ? (uint32_t)(left / DK_NS_PER_S) : 0;
}

static void become_bound(struct dk_dhcp_client *client)
{
    client->state = DK_DHCP_BOUND;
    client->declined = false;
    dk_lease_apply(client->net, &client->lease);
    set_times(client);
    start_timer(client, client->t1);
    dk_net_count(&client->net->stats.dhcp_bound);
    const struct dk_net_lease lease = {client->lease.yiaddr, seconds_left(client)};
    tell(client, &lease);
}

/* An address that nobody else may have is asked for first. */
static void probe(struct dk_dhcp_client *client, int64_t now)
{
    client->state = DK_DHCP_PROBING;
    start_timer(client, INT64_MAX);
    client->own = dk_lease_take(client->net, &client->lease, now);
    if (!client->own) {
        dk_net_count(&client->net->stats.dhcp_refused);
        restart(client, now + DECLINE_PAUSE_NS);
    } else if (client->own->state == DK_IFADDR_GOOD) {
        become_bound(client);
    }
}

void dk_dhcp_decided(struct dk_net *net, struct dk_ifaddr *own, int64_t now)
{
    struct dk_dhcp_client *client = net->dhcp;
    if (own != client->own)
        return;
    if (own->state == DK_IFADDR_GOOD) {
        become_bound(client);
        return;
    }
    client->declined = true;
    decline(client);
    lose(client);
    forget(client);
    restart(client, now + DECLINE_PAUSE_NS);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void on_offer(struct dk_dhcp_client *client, const struct dk_dhcp *offer, int64_t now)
{
    if (!dk_lease_is_usable(offer)) {
        dk_net_count(&client->net->stats.dhcp_refused);
        return;
    }
    client->lease = *offer;
    client->state = DK_DHCP_REQUESTING;
    client->tries = 0;
    on_requesting(client, now);
}

/* A server that does not name itself again, in an answer to a renewal, is the one that it was. */
static void on_ack(struct dk_dhcp_client *client, const struct dk_dhcp *ack, int64_t now)
{
    struct dk_dhcp lease = *ack;
    if (lease.server.version == 0)
        lease.server = client->lease.server;
    if (!dk_lease_is_usable(&lease)) {
        dk_net_count(&client->net->stats.dhcp_refused);
        return;
    }
    const bool same = client->own && dk_ip_equal(&client->own->ip, &lease.yiaddr) &&
                      client->own->prefix_len == lease.prefix_len;
    client->lease = lease;
    if (same) {
        become_bound(client);
        return;
    }
    lose(client);
    probe(client, now);
}

static void on_nak(struct dk_dhcp_client *client, int64_t now)
{
    dk_net_count(&client->net->stats.dhcp_naks);
    lose(client);
    forget(client);
    restart(client, now + dk_random_between(&client->net->random, 0, START_MAX_NS));
}

static bool is_for_us(const struct dk_dhcp_client *client, const struct dk_dhcp *message)
{
    return message->reply && message->xid == client->xid &&
           dk_mac_equal(&message->chaddr, &client->net->config.mac);
}

/* In REQUESTING only the server that was chosen is heard. */
static bool is_chosen(const struct dk_dhcp_client *client, const struct dk_dhcp *message)
{
    return client->state != DK_DHCP_REQUESTING ||
           dk_ip_equal(&client->lease.server, &message->server);
}

static void dispatch(struct dk_dhcp_client *client, const struct dk_dhcp *message, int64_t now)
{
    const bool requested = client->state == DK_DHCP_REQUESTING ||
                           client->state == DK_DHCP_REBOOTING ||
                           client->state == DK_DHCP_RENEWING || client->state == DK_DHCP_REBINDING;
    client->answered = true;
    if (message->type == DK_DHCP_OFFER && client->state == DK_DHCP_SELECTING)
        on_offer(client, message, now);
    else if (message->type == DK_DHCP_ACK && requested && is_chosen(client, message))
        on_ack(client, message, now);
    else if (message->type == DK_DHCP_NAK && requested && is_chosen(client, message))
        on_nak(client, now);
    else
        dk_net_count(&client->net->stats.dhcp_unexpected);
}

static void receive(struct dk_dhcp_client *client, const struct dk_udp_datagram *datagram)
{
    struct dk_net *net = client->net;
    const struct dk_buf *buf = datagram->buf;
    struct dk_dhcp message;
    if (datagram->from.port != DK_DHCP_SERVER_PORT) {
        dk_net_count(&net->stats.dhcp_not_ours);
        return;
    }
    const enum dk_wire reason = dk_dhcp_parse(buf->data, dk_buf_bytes(buf), &message);
    if (reason != DK_WIRE_OK)
        dk_net_drop(net, reason);
    else if (!is_for_us(client, &message))
        dk_net_count(&net->stats.dhcp_not_ours);
    else
        dispatch(client, &message, net->now);
}

static void on_event(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct dk_udp_datagram datagram;
    (void)events;
    dk_udp_take_error(sock);
    while (dk_udp_recv(sock, &datagram) == 0) {
        receive(arg, &datagram);
        dk_buf_put(datagram.buf);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

int dk_dhcp_init(struct dk_net *net, int64_t now)
{
    const struct dk_endpoint local = {.ip = {.version = 4}, .port = DK_DHCP_CLIENT_PORT};
    if (!net->config.dhcp)
        return 0;
    struct dk_dhcp_client *client = dk_heap_zalloc(sizeof(*client));
    if (!client)
        return -ENOMEM;
    net->dhcp = client;
    client->net = net;
    dk_timer_init(&client->timer, on_timer);
    int error = dk_udp_open(net, on_event, client, &client->sock);
    error = error ? error : dk_udp_bind(client->sock, &local);
    if (error == 0)
        restart(client, now + dk_random_between(&net->random, 0, START_MAX_NS));
    if (net->config.dhcp_address.version == 4 && dk_ip_is_host(&net->config.dhcp_address)) {
        client->lease.yiaddr = net->config.dhcp_address;
        client->state = DK_DHCP_REBOOTING;
    }
    return error;
}

void dk_dhcp_fini(struct dk_net *net)
{
    struct dk_dhcp_client *client = net->dhcp;
    if (!client)
        return;
    dk_timer_stop(&net->wheel, &client->timer);
    if (client->sock)
        dk_udp_close(client->sock);
    dk_heap_free(client);
    net->dhcp = NULL;
}

enum dk_net_learning dk_net_dhcp_state(const struct dk_net *net, struct dk_ip *address_out)
{
    const struct dk_dhcp_client *client = net->dhcp;
    if (!client)
        return DK_NET_NOT_LEARNING;
    *address_out = client->lease.yiaddr;
    if (client->state >= DK_DHCP_BOUND)
        return DK_NET_LEARNT;
    if (client->declined)
        return DK_NET_LEARNT_DUPLICATE;
    return client->answered ? DK_NET_ANSWERED : DK_NET_UNANSWERED;
}
