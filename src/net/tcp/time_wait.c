/* SPDX-License-Identifier: MIT */
/*
 * A record answers what the connection would: a FIN that comes again is acknowledged, and begins
 * the wait anew; what is not acceptable is acknowledged, at a limited rate where it takes no
 * numbers; a reset that is exact ends it.
 *
 * All records wait equally long, so those that wait longest are first, and one timer stands for
 * all.
 */
#include "net/tcp/time_wait.h"

#include "net/tcp/emit.h"
#include "net/tcp/pcb.h"

/* Challenge ACKs are not sent more often for one record. */
#define CHALLENGE_NS (125 * DK_NS_PER_MS)

static struct dk_tcp_time_wait *of_node(struct dk_tcp_node *node)
{
    return (struct dk_tcp_time_wait *)(void *)node;
}

static struct dk_tcp_time_wait *of_link(struct dk_list *link)
{
    return dk_container_of(link, struct dk_tcp_time_wait, link);
}

static struct dk_tcp_time_wait *oldest(struct dk_tcp *tcp)
{
    struct dk_list *first = dk_list_first(&tcp->time_wait);
    return first ? of_link(first) : NULL;
}

void dk_tcp_time_wait_end(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw)
{
    dk_tcp_table_del(&tcp->time_waits, &tw->node);
    dk_list_del(&tw->link);
    dk_tcp_pool_put(&tcp->time_wait_pool, tw);
}

/* The timer may run out early: the oldest has given way, or waits anew. */
static void rearm(struct dk_tcp *tcp)
{
    const struct dk_tcp_time_wait *tw = oldest(tcp);
    if (tw && !dk_timer_is_running(&tcp->time_wait_timer))
        dk_timer_start(&tcp->wheel, &tcp->time_wait_timer, tw->until);
}

static void fire(struct dk_timer *timer, int64_t now)
{
    struct dk_tcp *tcp = dk_container_of(timer, struct dk_tcp, time_wait_timer);
    struct dk_tcp_time_wait *tw;
    while ((tw = oldest(tcp)) && tw->until <= now)
        dk_tcp_time_wait_end(tcp, tw);
    rearm(tcp);
}

int dk_tcp_time_wait_init(struct dk_tcp *tcp)
{
    dk_list_init(&tcp->time_wait);
    dk_timer_init(&tcp->time_wait_timer, fire);
    dk_tcp_pool_init(&tcp->time_wait_pool, sizeof(struct dk_tcp_time_wait),
                     tcp->config.time_wait_max);
    return dk_tcp_table_init(&tcp->time_waits);
}

void dk_tcp_time_wait_fini(struct dk_tcp *tcp)
{
    dk_tcp_table_fini(&tcp->time_waits);
    dk_tcp_pool_fini(&tcp->time_wait_pool);
}

static struct dk_tcp_time_wait *get(struct dk_tcp *tcp)
{
    struct dk_tcp_time_wait *tw = dk_tcp_pool_get(&tcp->time_wait_pool);
    if (tw || !oldest(tcp))
        return tw;
    DK_TCP_COUNT(tcp, time_wait_recycled);
    dk_tcp_time_wait_end(tcp, oldest(tcp));
    return dk_tcp_pool_get(&tcp->time_wait_pool);
}

/* Behind all others; one that came here late, because its owner closed late, waits as long as the
 * last of them. */
static void wait_until(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw, int64_t until)
{
    const struct dk_list *last = tcp->time_wait.prev;
    if (last != &tcp->time_wait && of_link(tcp->time_wait.prev)->until > until)
        until = of_link(tcp->time_wait.prev)->until;
    tw->until = until;
    dk_list_add_tail(&tcp->time_wait, &tw->link);
    rearm(tcp);
}

void dk_tcp_time_wait_keep(struct dk_tcp_conn *c)
{
    struct dk_tcp *tcp = c->tcp;
    const uint64_t window = c->rcv_adv > c->rcv_nxt ? c->rcv_adv - c->rcv_nxt : 0;
    const int64_t until = c->due[DK_TCP_TIMER_STATE];
    struct dk_tcp_time_wait *tw = get(tcp);
    if (tw) {
        *tw = (struct dk_tcp_time_wait){
            .node = {.hash = c->node.hash},
            .local_ip = c->local_ip,
            .remote_ip = c->remote_ip,
            .local_port = c->local_port,
            .remote_port = c->remote_port,
            .ports = c->ports,
            .snd_nxt = (uint32_t)c->snd_nxt,
            .rcv_nxt = (uint32_t)c->rcv_nxt,
            .ts_recent = c->ts_recent,
            .ts_offset = c->ts_offset,
            .window = (uint16_t)dk_tcp_min64(window, UINT16_MAX),
            .window_field = (uint16_t)(window >> c->rcv_wscale),
            .ts_on = c->ts_on,
            .entered_at = c->entered_at,
            .challenged_at = INT64_MIN / 2,
        };
        dk_tcp_table_add(&tcp->time_waits, &tw->node);
        wait_until(tcp, tw, until);
    }
    dk_tcp_conn_drop(c);
}

struct dk_tcp_time_wait *dk_tcp_time_wait_find(const struct dk_tcp *tcp, const struct dk_ip *local,
                                               const struct dk_ip *remote, uint32_t ports)
{
    struct dk_tcp_node *node =
        dk_tcp_table_first(&tcp->time_waits, dk_tcp_hash(tcp, local, remote, ports));
    for (; node; node = dk_tcp_table_next(&tcp->time_waits, node)) {
        struct dk_tcp_time_wait *tw = of_node(node);
        if (tw->ports == ports && dk_ip_equal(&tw->remote_ip, remote) &&
            dk_ip_equal(&tw->local_ip, local))
            return tw;
    }
    return NULL;
}

static void send_ack(struct dk_tcp *tcp, const struct dk_tcp_time_wait *tw,
                     const struct dk_tcp_rx *rx)
{
    struct dk_tcp_header h = {.src_port = tw->local_port,
                              .dst_port = tw->remote_port,
                              .seq = tw->snd_nxt,
                              .ack = tw->rcv_nxt,
                              .flags = DK_TCP_ACK,
                              .window = tw->window_field};
    if (tw->ts_on) {
        h.options.has = DK_TCP_HAS_TIMESTAMPS;
        h.options.ts_val = (uint32_t)(rx->now / DK_NS_PER_MS) + tw->ts_offset;
        h.options.ts_ecr = tw->ts_recent;
    }
    dk_tcp_emit_bare(tcp, rx->ip, &h, rx->now);
}

static void challenge(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw, const struct dk_tcp_rx *rx)
{
    if (rx->now - tw->challenged_at < CHALLENGE_NS) {
        DK_TCP_COUNT(tcp, challenge_acks_limited);
        return;
    }
    tw->challenged_at = rx->now;
    DK_TCP_COUNT(tcp, challenge_acks);
    send_ack(tcp, tw, rx);
}

/* RFC 5961 section 3. */
static void reset(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw, const struct dk_tcp_rx *rx)
{
    if (rx->h.seq == tw->rcv_nxt) {
        dk_tcp_time_wait_end(tcp, tw);
        return;
    }
    DK_TCP_COUNT(tcp, drop_rst_inexact);
    if (rx->h.seq - tw->rcv_nxt < tw->window)
        challenge(tcp, tw, rx);
}

/* RFC 7323 section 5.3. */
static bool check_timestamps(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw,
                             const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    if (!tw->ts_on || rx->h.flags & DK_TCP_SYN)
        return true;
    if (!(opt->has & DK_TCP_HAS_TIMESTAMPS)) {
        DK_TCP_COUNT(tcp, drop_no_timestamp);
        return false;
    }
    if ((int32_t)(opt->ts_val - tw->ts_recent) < 0) {
        DK_TCP_COUNT(tcp, drop_paws);
        challenge(tcp, tw, rx);
        return false;
    }
    return true;
}

/* All that the peer can have to say, it has said: what takes numbers comes again, or is wrong. */
static void take(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw, const struct dk_tcp_rx *rx)
{
    if (rx->seq_len == 0 && rx->h.seq - tw->rcv_nxt <= tw->window)
        return;
    DK_TCP_COUNT(tcp, drop_out_of_window);
    if (rx->seq_len == 0) {
        challenge(tcp, tw, rx);
        return;
    }
    send_ack(tcp, tw, rx);
    if (rx->fin) {
        dk_list_del(&tw->link);
        wait_until(tcp, tw, rx->now + tcp->config.time_wait_ns);
    }
}

void dk_tcp_time_wait_input(struct dk_tcp *tcp, struct dk_tcp_time_wait *tw,
                            const struct dk_tcp_rx *rx)
{
    if (rx->h.flags & DK_TCP_RST) {
        reset(tcp, tw, rx);
    } else if (!check_timestamps(tcp, tw, rx)) {
        return;
    } else if (rx->h.flags & DK_TCP_SYN) { /* RFC 5961 section 4 */
        DK_TCP_COUNT(tcp, drop_syn_in_window);
        challenge(tcp, tw, rx);
    } else if (!(rx->h.flags & DK_TCP_ACK)) {
        DK_TCP_COUNT(tcp, drop_no_ack);
    } else {
        take(tcp, tw, rx);
    }
}

bool dk_tcp_is_new_incarnation(const struct dk_tcp_former *former, const struct dk_tcp_rx *rx)
{
    const struct dk_tcp_options *opt = &rx->h.options;
    if ((rx->h.flags & (DK_TCP_SYN | DK_TCP_ACK | DK_TCP_RST)) != DK_TCP_SYN)
        return false;
    const bool beyond = (int32_t)(rx->h.seq - former->rcv_nxt) > 0;
    if (!(opt->has & DK_TCP_HAS_TIMESTAMPS))
        return beyond;
    const int32_t newer = (int32_t)(opt->ts_val - former->ts_recent);
    return !former->ts_on || newer > 0 || (newer == 0 && beyond);
}

bool dk_tcp_time_wait_may_replace(const struct dk_tcp_time_wait *tw, int64_t now)
{
    return tw->ts_on && (uint32_t)(now / DK_NS_PER_MS) - tw->entered_at > 1000;
}
