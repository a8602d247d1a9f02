/* SPDX-License-Identifier: MIT */
/*
 * UDP sockets: their tables, binding, options, events.
 *
 * A socket with a port is in `bound`, by the port; one that is connected is in `connected` too, by
 * both ends. Events are noted first and told when no table is being walked, one socket after the
 * other: a handler may close any socket, and what it causes is told after it returned.
 */
#include "net/udp.h"

#include "mem/heap.h"
#include "net/groups.h"
#include "net/ifaddr.h"
#include "net/ip_kind.h"
#include "net/udp_sock.h"

#define RCVBUF_DEFAULT (256 * 1024)
#define RCVBUF_MAX     (64 * 1024 * 1024)
#define CLAIMS_MAX     64 /* ports that somebody else has, until we give up */

struct dk_list *dk_udp_bucket(struct dk_net *net, const struct dk_ip *local_ip, uint16_t local_port,
                              const struct dk_endpoint *remote)
{
    uint64_t h = local_ip->words[0] ^ (local_ip->words[1] << 1) ^ remote->ip.words[1];
    h = (h ^ net->config.seed) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32 ^ remote->ip.words[0] ^ (uint64_t)local_port << 48 ^
         (uint64_t)remote->port << 32) *
        0xbf58476d1ce4e5b9u;
    return &net->udp->connected[(h >> 40) % DK_UDP_BUCKETS];
}

static struct dk_list *bound_bucket(struct dk_net *net, uint16_t port)
{
    return &net->udp->bound[port % DK_UDP_BUCKETS];
}

static int init(struct dk_net *net, int64_t now)
{
    (void)now;
    struct dk_udp *udp = dk_heap_zalloc(sizeof *udp);
    if (!udp)
        return -ENOMEM;
    net->udp = udp;
    dk_list_init(&udp->sockets);
    udp->eventful_end = &udp->eventful;
    dk_udp_tx_init(net);
    dk_list_init(&udp->no_room);
    for (uint32_t i = 0; i < DK_UDP_BUCKETS; i++) {
        dk_list_init(&udp->bound[i]);
        dk_list_init(&udp->connected[i]);
    }
    for (uint32_t i = 0; i < DK_UDP_WAITING_MAX; i++) {
        udp->waiting[i].next = udp->free;
        udp->free = &udp->waiting[i];
    }
    return 0;
}

static void fini(struct dk_net *net)
{
    struct dk_list *link;
    while ((link = dk_list_first(&net->udp->sockets)) != NULL) {
        struct dk_udp_sock *sock = dk_container_of(link, struct dk_udp_sock, sockets);
        sock->num_groups = 0; /* no word to anybody */
        dk_udp_close(sock);
    }
    dk_heap_free(net->udp);
}

static void tx_room(struct dk_net *net, int64_t now)
{
    struct dk_list *link;
    while ((link = dk_list_first(&net->udp->no_room)) != NULL) {
        dk_list_del_init(link);
        dk_udp_note(net, dk_container_of(link, struct dk_udp_sock, no_room), DK_UDP_WRITABLE);
    }
    dk_udp_advance(net, now);
}

static const char *const stat_names[] = {
#define STAT_NAME(field, name) name,
    DK_UDP_STATS(STAT_NAME)
#undef STAT_NAME
};

static const uint64_t *stats(const struct dk_net *net)
{
    return (const uint64_t *)&net->udp->stats;
}

const struct dk_transport dk_udp_transport = {
    .name = "udp",
    .protocol = DK_IP_UDP,
    .versions = DK_TRANSPORT_IP4 | DK_TRANSPORT_IP6,
    .init = init,
    .fini = fini,
    .input = dk_udp_input,
    .icmp_error = dk_udp_icmp_error,
    .tx_room = tx_room,
    .stats = stats,
    .stat_names = stat_names,
    .num_stats = sizeof(stat_names) / sizeof(stat_names[0]),
};

void dk_udp_advance(struct dk_net *net, int64_t now)
{
    struct dk_udp *udp = net->udp;
    struct dk_udp_sock *sock;
    (void)now;
    if (udp->telling)
        return;
    udp->telling = true;
    udp->tell_now = false;
    while ((sock = udp->eventful) != NULL) {
        const uint32_t events = sock->events;
        udp->eventful = sock->next_eventful;
        if (!udp->eventful)
            udp->eventful_end = &udp->eventful;
        sock->events = 0;
        sock->on_event(sock->arg, sock, events);
    }
    udp->telling = false;
    net->due.what &= ~DK_NET_DUE_UDP;
}

int dk_udp_open(struct dk_net *net, dk_udp_event_fn on_event, void *arg,
                struct dk_udp_sock **sock_out)
{
    struct dk_udp *udp = net->udp;
    if (udp->num_sockets == DK_UDP_SOCKETS_MAX)
        return -EMFILE;
    struct dk_udp_sock *sock = dk_heap_zalloc(sizeof *sock);
    if (!sock)
        return -ENOMEM;
    sock->net = net;
    sock->on_event = on_event;
    sock->arg = arg;
    sock->options[DK_UDP_MULTICAST_TTL] = 1;
    sock->options[DK_UDP_MULTICAST_LOOP] = 1;
    sock->options[DK_UDP_RCVBUF] = RCVBUF_DEFAULT;
    dk_list_init(&sock->bound);
    dk_list_init(&sock->connected);
    dk_list_init(&sock->no_room);
    dk_list_add_tail(&udp->sockets, &sock->sockets);
    udp->num_sockets++;
    *sock_out = sock;
    return 0;
}

void dk_udp_set_offer(struct dk_udp_sock *sock, dk_udp_offer_fn offer)
{
    sock->offer = offer;
}

void dk_udp_keep(struct dk_udp_sock *sock, const struct dk_udp_datagram *d, struct dk_buf *buf)
{
    dk_udp_put_behind(sock->net, sock, d, buf, (uint32_t)dk_buf_bytes(buf));
}

/* What a socket is bound or connected to, or how it sends, is about to change. */
static void forget_lookups(struct dk_udp_sock *sock)
{
    sock->net->udp->last = NULL;
    dk_udp_forget_flows(sock->net);
    dk_udp_forget_paths(sock);
}

/* Its events are not told any more. */
static void forget_events(struct dk_udp_sock *sock)
{
    struct dk_udp *udp = sock->net->udp;
    struct dk_udp_sock **at = &udp->eventful;
    if (sock->events == 0)
        return;
    while (*at != sock)
        at = &(*at)->next_eventful;
    *at = sock->next_eventful;
    if (!*at)
        udp->eventful_end = at;
    sock->events = 0;
}

static void disconnect(struct dk_udp_sock *sock)
{
    forget_lookups(sock);
    if (sock->remote.port == 0)
        return;
    sock->net->udp->num_connected--;
    dk_list_del_init(&sock->connected);
    sock->remote = (struct dk_endpoint){.port = 0};
    sock->local.ip = sock->bound_ip;
}

void dk_udp_close(struct dk_udp_sock *sock)
{
    struct dk_net *net = sock->net;
    struct dk_udp_datagram datagram;
    while (dk_udp_recv(sock, &datagram) == 0)
        dk_buf_put(datagram.buf);
    for (uint32_t i = 0; i < sock->num_groups; i++)
        dk_group_leave(net, &sock->groups[i]);
    dk_list_del(&sock->sockets);
    disconnect(sock);
    dk_list_del(&sock->bound);
    forget_events(sock);
    dk_list_del(&sock->no_room);
    net->udp->num_sockets--;
    dk_heap_free(sock);
}

/* Whether there are datagrams that both addresses would take. */
static bool overlap(const struct dk_ip *a, const struct dk_ip *b)
{
    if (a->version == 0 || b->version == 0)
        return true;
    if (a->version != b->version)
        return false;
    return dk_ip_is_any(a) || dk_ip_is_any(b) || dk_ip_equal(a, b);
}

static bool is_taken(const struct dk_udp_sock *sock, const struct dk_ip *ip, uint16_t port)
{
    struct dk_list *link, *bucket = bound_bucket(sock->net, port);
    dk_list_for_each (link, bucket) {
        const struct dk_udp_sock *other = dk_container_of(link, struct dk_udp_sock, bound);
        if (other->local.port != port || !overlap(&other->local.ip, ip))
            continue;
        if (!sock->options[DK_UDP_REUSEADDR] || !other->options[DK_UDP_REUSEADDR])
            return true;
    }
    return false;
}

static void bind_to(struct dk_udp_sock *sock, const struct dk_ip *ip, uint16_t port)
{
    forget_lookups(sock);
    sock->local = (struct dk_endpoint){.ip = *ip, .port = port};
    sock->bound_ip = *ip;
    dk_list_add_head(bound_bucket(sock->net, port), &sock->bound);
}

struct choice {
    const struct dk_udp_sock *sock;
    const struct dk_ip *ip;
};

/* A port that is chosen for a socket is its alone. */
static bool is_chosen(void *arg, uint16_t port)
{
    const struct choice *choice = arg;
    struct dk_list *link, *bucket = bound_bucket(choice->sock->net, port);
    dk_list_for_each (link, bucket) {
        const struct dk_udp_sock *other = dk_container_of(link, struct dk_udp_sock, bound);
        if (other->local.port == port && overlap(&other->local.ip, choice->ip))
            return true;
    }
    return false;
}

static int choose_port(struct dk_udp_sock *sock, const struct dk_ip *ip,
                       const struct dk_endpoint *remote)
{
    struct dk_endpoint local = {.ip = *ip};
    struct choice choice = {.sock = sock, .ip = ip};
    int error = -EADDRINUSE;
    for (int i = 0; i < CLAIMS_MAX && error == -EADDRINUSE; i++) {
        error = dk_port_choose(sock->net, DK_IP_UDP, ip, remote, is_chosen, &choice, &local.port);
        if (error == 0)
            error = dk_port_claim(sock->net, DK_IP_UDP, &local);
    }
    if (error == 0)
        bind_to(sock, ip, local.port);
    return error == -EADDRINUSE ? -EADDRNOTAVAIL : error;
}

int dk_udp_autobind(struct dk_udp_sock *sock, const struct dk_endpoint *remote)
{
    const struct dk_ip any = {.version = 0};
    return choose_port(sock, &any, remote);
}

static bool may_bind_to(struct dk_net *net, const struct dk_ip *ip)
{
    if (ip->version == 0 || dk_ip_is_any(ip))
        return true;
    return dk_ip_is_loopback(ip) || dk_ifaddr_classify(net, ip) != DK_DST_OTHER;
}

int dk_udp_bind(struct dk_udp_sock *sock, const struct dk_endpoint *local)
{
    if (sock->local.port != 0)
        return -EINVAL;
    if (!may_bind_to(sock->net, &local->ip))
        return -EADDRNOTAVAIL;
    if (local->port == 0)
        return choose_port(sock, &local->ip, NULL);
    if (is_taken(sock, &local->ip, local->port))
        return -EADDRINUSE;
    const int error = dk_port_claim(sock->net, DK_IP_UDP, local);
    if (error == 0)
        bind_to(sock, &local->ip, local->port);
    return error;
}

void dk_udp_mark_ports(const struct dk_net *net, uint64_t bits[DK_NET_PORT_WORDS])
{
    struct dk_list *link;
    for (uint32_t i = 0; i < DK_UDP_BUCKETS; i++)
        dk_list_for_each (link, &net->udp->bound[i])
            dk_port_mark(bits, dk_container_of(link, struct dk_udp_sock, bound)->local.port);
}

int dk_udp_connect(struct dk_udp_sock *sock, const struct dk_endpoint *remote)
{
    struct dk_net *net = sock->net;
    uint32_t mtu;
    disconnect(sock);
    if (!remote)
        return 0;
    const uint8_t version = sock->bound_ip.version;
    if (remote->port == 0 || (version != 0 && version != remote->ip.version))
        return -EINVAL;
    if (dk_ifaddr_is_broadcast(net, &remote->ip) && !sock->options[DK_UDP_BROADCAST])
        return -EACCES;
    struct dk_ip src = {.version = 0};
    if (!dk_ip_is_any(&sock->bound_ip) && !dk_ip_is_multicast(&sock->bound_ip) &&
        !dk_ifaddr_is_broadcast(net, &sock->bound_ip))
        src = sock->bound_ip;
    int error = dk_ip_route(net, &remote->ip, &src, &mtu);
    if (error == 0 && sock->local.port == 0)
        error = dk_udp_autobind(sock, remote);
    if (error != 0)
        return error;
    sock->remote = *remote;
    net->udp->num_connected++;
    if (dk_ip_is_any(&sock->bound_ip))
        sock->local.ip = src;
    dk_list_add_head(dk_udp_bucket(net, &sock->local.ip, sock->local.port, remote),
                     &sock->connected);
    return 0;
}

int dk_udp_recv(struct dk_udp_sock *sock, struct dk_udp_datagram *out)
{
    struct dk_udp_waiting *waiting = sock->oldest;
    if (!waiting)
        return -EAGAIN;
    struct dk_udp *udp = sock->net->udp;
    *out = waiting->datagram;
    sock->num_waiting--;
    sock->held -= dk_buf_bytes(out->buf) + DK_UDP_OVERHEAD;
    sock->oldest = waiting->next;
    waiting->next = udp->free;
    udp->free = waiting;
    return 0;
}

bool dk_udp_is_empty(const struct dk_udp_sock *sock)
{
    return !sock->oldest && sock->error == 0;
}

uint32_t dk_udp_pending(const struct dk_udp_sock *sock, uint64_t *bytes_out)
{
    *bytes_out = sock->held - (uint64_t)sock->num_waiting * DK_UDP_OVERHEAD;
    return sock->num_waiting;
}

int dk_udp_take_error(struct dk_udp_sock *sock)
{
    const int error = sock->error;
    sock->error = 0;
    return error;
}

const struct dk_endpoint *dk_udp_local(const struct dk_udp_sock *sock)
{
    return &sock->local;
}

const struct dk_endpoint *dk_udp_remote(const struct dk_udp_sock *sock)
{
    return &sock->remote;
}

int dk_udp_set(struct dk_udp_sock *sock, enum dk_udp_option option, int value)
{
    static const int highest[DK_UDP_OPTIONS] = {
        [DK_UDP_REUSEADDR] = 1,       [DK_UDP_BROADCAST] = 1,       [DK_UDP_TTL] = 255,
        [DK_UDP_MULTICAST_TTL] = 255, [DK_UDP_MULTICAST_LOOP] = 1,  [DK_UDP_TOS] = 255,
        [DK_UDP_DONT_FRAGMENT] = 1,   [DK_UDP_RCVBUF] = RCVBUF_MAX,
    };
    if (option >= DK_UDP_OPTIONS || value < 0 || value > highest[option])
        return -EINVAL;
    forget_lookups(sock);
    sock->options[option] = value;
    return 0;
}

int dk_udp_get(const struct dk_udp_sock *sock, enum dk_udp_option option)
{
    return sock->options[option];
}

int dk_udp_join(struct dk_udp_sock *sock, const struct dk_ip *group, int64_t now)
{
    if (group->version == 0 || !dk_ip_is_multicast(group))
        return -EINVAL;
    if (dk_udp_is_in(sock, group))
        return -EADDRINUSE;
    if (sock->num_groups == DK_UDP_GROUPS_MAX)
        return -ENOBUFS;
    sock->net->now = now;
    const int error = dk_group_join(sock->net, group);
    if (error == 0)
        sock->groups[sock->num_groups++] = *group;
    return error;
}

int dk_udp_leave(struct dk_udp_sock *sock, const struct dk_ip *group, int64_t now)
{
    uint32_t i = 0;
    while (i < sock->num_groups && !dk_ip_equal(&sock->groups[i], group))
        i++;
    if (i == sock->num_groups)
        return -EADDRNOTAVAIL;
    sock->net->now = now;
    dk_group_leave(sock->net, group);
    sock->groups[i] = sock->groups[--sock->num_groups];
    return 0;
}
