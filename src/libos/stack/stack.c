/* SPDX-License-Identifier: MIT */
/*
 * The poller of the library OS stack: frames in, timers, frames out (sock.h has the rules).
 */
#include "drv/offload.h"
#include "drv/spec.h"
#include "libos/module.h"
#include "libos/stack/sock.h"
#include "net/tcp/cc.h"
#include "os/entropy.h"
#include "os/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS     4 /* of receiving, in one poll */
/* Polls between two looks of other processes at the counters, for who never sleeps. */
#define SHOW_EVERY 4096u

/* What ends with the process. */
enum { ENDING_CONNECTIONS = 1, ENDING_DEVICE /* too */ };

/* Whoever found the stack without memory tries again: others may have let go of some. */
__attribute__((noinline)) static void feed_starved(struct dk_stack *st)
{
    struct dk_list starved, *l;
    starved = st->starved;
    starved.next->prev = starved.prev->next = &starved;
    dk_list_init(&st->starved);
    while ((l = dk_list_first(&starved)) != NULL)
        dk_stack_tcp_resume(dk_container_of(l, struct dk_stack_tcp, starved));
}

/* Lets the stack do what is due. depth is not 0 meanwhile: callbacks work on the stack too. */
static inline void advance(struct dk_stack *st)
{
    dk_net_advance(st->net, st->now);
    if (dk_unlikely(!dk_list_empty(&st->starved)))
        feed_starved(st);
}

/* What is there of whatever else than frames that the device has. */
__attribute__((noinline)) static void transmit_other(struct dk_stack *st)
{
    if (dk_stack_has_put(st) || st->tx.num > 0 || st->tx.refused)
        dk_stack_flush(st);
    if (!dk_list_empty(&st->lent))
        dk_stack_settle(st);
    dk_stack_left_is(st, DK_STACK_LEFT_TX, st->tx.num > 0 || st->tx.refused);
    dk_stack_left_is(st, DK_STACK_LEFT_LENT, !dk_list_empty(&st->lent));
}

/* Sends what was put off, which ends pushes. */
static inline void transmit(struct dk_stack *st)
{
    if (dk_unlikely((st->due->left & (DK_STACK_LEFT_TX | DK_STACK_LEFT_LENT)) != 0))
        transmit_other(st);
    else if (dk_stack_has_put(st))
        dk_stack_flush_put(st);
}

void dk_stack_end_slow(struct dk_stack *st)
{
    if (dk_net_due_is(st->due, st->now)) {
        st->depth = 1;
        advance(st);
        st->depth = 0;
    }
    transmit(st);
    if (dk_unlikely(dk_stack_is_watched(st)))
        dk_stack_due(st, dk_stack_next_due(st));
}

void dk_stack_set_drains(struct dk_stack_sock *s, bool drains)
{
    struct dk_stack *st = s->st;
    if (drains == s->drains)
        return;
    s->drains = drains;
    __atomic_store_n(&st->undrained, st->undrained + (drains ? 1 : (uint32_t)-1), __ATOMIC_RELAXED);
}

__attribute__((noinline)) static void input_several(struct dk_stack *st,
                                                    struct dk_rx_frame frames[], uint32_t n)
{
    dk_stack_left_is(st, DK_STACK_LEFT_FRAMES, n >= DK_STACK_BURST);
    dk_net_input_burst(st->net, frames, n, st->now);
}

/* Takes frames from the device; returns how many. */
static inline uint32_t receive(struct dk_stack *st)
{
    return dk_netdev_rx_burst(st->dev, st->frames, DK_STACK_BURST, st->now);
}

/* Gives them to the stack. */
static inline void input(struct dk_stack *st, uint32_t n)
{
    struct dk_rx_frame *frames = st->frames;
    if (dk_likely(n == 1)) {
        frames[0].gives = true;
        dk_net_input(st->net, frames, st->now);
        if (dk_unlikely(frames[0].gives))
            dk_buf_put(frames[0].buf);
    } else if (n > 1) {
        input_several(st, frames, n);
    }
}

/* Calls fn, which may free that one, for every stream; returns whether all said true. */
static bool for_each_stream(struct dk_stack *st, bool (*fn)(struct dk_stack_tcp *t))
{
    struct dk_list *l, *tmp;
    bool all = true;
    dk_list_for_each_safe (l, tmp, &st->socks) {
        struct dk_stack_sock *s = dk_container_of(l, struct dk_stack_sock, all);
        if (s->kind == &dk_stack_tcp_kind)
            all &= fn(dk_container_of(s, struct dk_stack_tcp, s));
    }
    return all;
}

/* Packets that wait for a neighbour hold up an exit, whoever sent them. */
static void note_waiting(struct dk_stack *st)
{
    __atomic_store_n(&st->waiting, dk_net_waiting(st->net), __ATOMIC_RELAXED);
}

/* The process ends: closes streams as they become quiet. What is posted, or a connection that gave
 * way, may still push to them. What calls sent before this poll is noted before all are said to be
 * closed: who reads that asks no more. */
static void wind_up(struct dk_stack *st)
{
    if (st->inst->num_yielded || __atomic_load_n(&st->inst->num_posted, __ATOMIC_ACQUIRE))
        return;
    note_waiting(st);
    if (for_each_stream(st, dk_stack_tcp_wind_up))
        __atomic_store_n(&st->ended, true, __ATOMIC_RELEASE);
}

/* After frames were received: lets the stack do what is due, and sends what that and they caused.
 * Returns whether there is more to do at once. */
static bool work_off(struct dk_stack *st)
{
    const bool is_full = st->due->left & DK_STACK_LEFT_FRAMES;
    uint32_t notes = 0;
    if (is_full)
        dk_stack_left_is(st, DK_STACK_LEFT_FRAMES, false);
    if (st->inbox)
        notes = dk_stack_read_notes(st);
    if (dk_net_due_is(st->due, st->now) || dk_unlikely(!dk_list_empty(&st->starved)))
        advance(st);
    dk_stack_left_is(st, DK_STACK_LEFT_STARVED, !dk_list_empty(&st->starved));
    transmit(st);
    return is_full || notes >= DK_STACK_BURST || st->due->what != 0;
}

/* What is rare, before a poll works. Whoever notes something alerts afterwards: it is seen here, or
 * in the next poll. */
__attribute__((noinline)) static void attend(struct dk_stack *st)
{
    __atomic_exchange_n(&st->due->alert, 0, __ATOMIC_ACQ_REL);
    /* The caller read the time before it slept. */
    if (__atomic_load_n(&st->slept, __ATOMIC_RELAXED)) {
        __atomic_store_n(&st->slept, 0, __ATOMIC_RELAXED);
        dk_stack_read_clock(st);
    }
    const bool ending = __atomic_load_n(&st->ending, __ATOMIC_ACQUIRE);
    if (ending && !st->ended)
        wind_up(st);
    if (st->shared)
        dk_stack_shared_poll(st);
    if (ending || st->shared || dk_stack_is_watched(st))
        dk_stack_alert(st);
}

static void quiesce(struct dk_stack *st)
{
    struct dk_netdev *dev = dk_netdev_end(st->dev);
    if (!st->quiet)
        dev->ops->quiesce(dev);
    __atomic_store_n(&st->quiet, true, __ATOMIC_RELEASE);
}

/* And after that. */
static void attend_again(struct dk_stack *st)
{
    const uint32_t ending = __atomic_load_n(&st->ending, __ATOMIC_ACQUIRE);
    if (ending)
        note_waiting(st);
    if (ending == ENDING_DEVICE)
        quiesce(st);
    if (__atomic_load_n(&st->sleep.armed, __ATOMIC_ACQUIRE))
        dk_stack_due(st, dk_stack_next_due(st)); /* another thread sleeps, and has it to do */
}

/* The rest of a poll that has received: what is due or left, and what that leads to. What is
 * received may cause what is sent, and over a link to ourselves the other way round. */
__attribute__((noinline)) static void work_on(struct dk_stack *st)
{
    for (int i = 1; work_off(st) && i < ROUNDS; i++)
        input(st, receive(st));
    if (dk_stack_is_alerted(st))
        attend_again(st);
}

__attribute__((noinline)) static void show(struct dk_stack *st)
{
    st->until_show = SHOW_EVERY;
    dk_stack_counters_show(st);
}

static void stack_poll(struct dk_poller *p, int64_t now, bool spinning)
{
    struct dk_stack *st = (struct dk_stack *)p;
    (void)spinning;
    st->depth++;
    if (now > st->now)
        st->now = now;
    if (dk_unlikely(dk_stack_is_alerted(st)))
        attend(st);
    const uint32_t n = receive(st);
    dk_forget(st); /* or the place of the frames is kept in a register, which would be saved */
    input(st, n);
    if (dk_unlikely(dk_stack_has_work(st)))
        work_on(st);
    else if (dk_stack_has_put(st))
        dk_stack_flush_put(st);
    st->depth--;
    if (dk_unlikely(--st->until_show == 0))
        show(st);
}

/* Frames that were not taken keep the device's descriptor readable, and what is due sets the timer:
 * nothing that a poll left is reported by nobody. */
static bool stack_backlog(struct dk_poller *p)
{
    (void)p;
    return false;
}

/* In this order: a stream that wind_up closes is counted before it says that all are closed. */
static uint32_t stack_undrained(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    bool pending = __atomic_load_n(&st->ending, __ATOMIC_RELAXED) &&
                   !__atomic_load_n(&st->ended, __ATOMIC_ACQUIRE);
    return pending + __atomic_load_n(&st->undrained, __ATOMIC_RELAXED) +
           __atomic_load_n(&st->waiting, __ATOMIC_RELAXED);
}

static void end(struct dk_stack *st, uint32_t what)
{
    __atomic_store_n(&st->ending, what, __ATOMIC_RELEASE);
    dk_stack_alert(st);
    dk_stack_kick(&st->poller);
}

static void stack_end(struct dk_poller *p)
{
    end((struct dk_stack *)p, ENDING_CONNECTIONS);
}

/* Past all decorators: they touch no memory but in a call. */
static bool stack_quiesce(struct dk_poller *p, bool leads)
{
    struct dk_stack *st = (struct dk_stack *)p;
    if (!dk_netdev_end(st->dev)->ops->quiesce)
        return true;
    if (leads)
        quiesce(st);
    else
        end(st, ENDING_DEVICE);
    return __atomic_load_n(&st->quiet, __ATOMIC_ACQUIRE);
}

static void stack_reset_undrained(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    dk_stack_begin(st);
    for_each_stream(st, dk_stack_tcp_abort);
    dk_stack_end(st);
    dk_stack_flush(st);
}

static bool say(void *arg, const struct dk_tx_frame *frame)
{
    struct dk_netdev *dev = arg;
    return dev->ops->tx_burst(dev, frame, 1, 0) == 1;
}

/* Past all decorators, which keep something of each frame. */
static void stack_last_words(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    struct dk_netdev *dev = dk_netdev_end(st->dev);
    if (dev->caps.flags & DK_NETDEV_LAST_WORDS)
        dk_tcp_last_words(st->tcp, say, dev);
}

static void close_sock(struct dk_stack_sock *s)
{
    dk_queue_set_closed(s->q);
    if (s->kind == &dk_stack_tcp_kind)
        dk_stack_tcp_fail_pushes(dk_container_of(s, struct dk_stack_tcp, s), -ECANCELED);
    else
        dk_stack_fail_all(&s->pushes, -ECANCELED);
    s->kind->ops->close(s->q);
}

/* Closes what is open, resets what is left of it, and frees what nobody was told the end of. */
static void close_socks(struct dk_stack *st)
{
    struct dk_list *l, *tmp;
    dk_stack_begin(st);
    dk_stack_end_lent(st);
    dk_list_for_each_safe (l, tmp, &st->socks) {
        struct dk_stack_sock *s = dk_container_of(l, struct dk_stack_sock, all);
        if (s->q)
            close_sock(s);
    }
    for_each_stream(st, dk_stack_tcp_abort);
    dk_stack_end(st);
    while (!dk_list_empty(&st->socks)) {
        struct dk_stack_sock *s = dk_container_of(st->socks.next, struct dk_stack_sock, all);
        if (s->q)
            dk_stack_sock_let_go(s);
        dk_stack_sock_free(s);
    }
}

static void close_stack(struct dk_stack *st)
{
    dk_stack_leave(st);
    dk_stack_tx_drop(st);
    st->due = &st->before_net;
    if (st->net)
        dk_net_destroy(st->net);
    dk_stack_shared_close(st);
    if (st->dev) {
        dk_netdev_move_stats(st->dev, &st->dev->own_stats);
        st->dev->ops->close(st->dev);
    }
    dk_stack_sleep_close(st);
    free(st);
}

static void stack_destroy(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    close_socks(st);
    dk_stack_release(st);
    dk_stack_flush(st);
    close_stack(st);
}

/* Memory and what it describes stay as they are: another thread may have been inside. */
static void stack_abandon(struct dk_poller *p)
{
    struct dk_stack *st = (struct dk_stack *)p;
    if (st->dev->ops->abandon)
        st->dev->ops->abandon(st->dev);
    dk_stack_sleep_close(st);
}

static const struct dk_poller_ops stack_poller_ops = {
    .poll = stack_poll,
    .arm = dk_stack_arm,
    .block = dk_stack_block,
    .kick = dk_stack_kick,
    .fd = dk_stack_fd,
    .backlog = stack_backlog,
    .end = stack_end,
    .undrained = stack_undrained,
    .reset_undrained = stack_reset_undrained,
    .last_words = stack_last_words,
    .quiesce = stack_quiesce,
    .destroy = stack_destroy,
    .abandon = stack_abandon,
    .stat = dk_stack_stat,
};

/* The time of day minus the instance's, for captures. */
static int64_t wall_offset(const struct dk_stack *st)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec - st->now;
}

/* A stack that cuts segments at the lowest layer needs somebody there that does. */
static int add_offload(struct dk_stack *st, uint32_t wanted, const char **why_out)
{
    if (!(wanted & DK_NETDEV_TSO) || st->dev->caps.flags & DK_NETDEV_TSO)
        return 0;
    return dk_offload_open(&st->dev, st->dev, why_out);
}

/* Each worker has a queue of the device. */
static struct dk_netdev_queue queue_of(const struct dk_stack_options *o)
{
    const struct dk_stack *first = (const struct dk_stack *)o->first;
    return (struct dk_netdev_queue){.index = (uint16_t)o->worker,
                                    .num = (uint16_t)o->workers,
                                    .first = first ? dk_netdev_end(first->dev) : NULL};
}

static int open_device(struct dk_stack *st, const char **why_out)
{
    const struct dk_stack_options *o = &st->options;
    const uint32_t offloads = dk_stack_offloads(o->offloads);
    const struct dk_spec_context context = {
        .rx_pool_bytes = o->rx_pool_bytes,
        .mtu = o->mtu,
        .offloads =
            o->vlan == 0 ? offloads & ~DK_STACK_GRO : 0, /* the kernel cuts nothing behind a tag */
        .wall_offset_ns = wall_offset(st),
        .queue = queue_of(o),
        .own_addresses = dk_stack_has_own_addresses(o->addresses),
        .find_module = dk_module_find};
    int r = dk_spec_open(&st->dev, o->device, &context, why_out);
    if (r == 0)
        r = add_offload(st, offloads, why_out);
    if (r == 0 && !st->dev->rx)
        st->dev->rx = st->dev;
    if (r == 0 && st->dev->rooms)
        st->tx.rooms = st->dev->rooms;
    for (st->tx.to = st->dev; st->tx.to && st->tx.to->tx;)
        st->tx.to = st->tx.to->tx;
    return r;
}

static void configure_tcp(const struct dk_stack_options *o, struct dk_tcp_config *tcp)
{
    static const enum dk_tcp_ecn ecns[] = {[DK_STACK_ECN_NO] = DK_TCP_ECN_REFUSE,
                                           [DK_STACK_ECN_ACCEPT] = DK_TCP_ECN_ACCEPT,
                                           [DK_STACK_ECN_ASK] = DK_TCP_ECN_ASK};
    static const enum dk_tcp_syn_cookies cookies[] = {
        [DK_STACK_SYN_COOKIES_AUTO] = DK_TCP_SYN_COOKIES_AUTO,
        [DK_STACK_SYN_COOKIES_NEVER] = DK_TCP_SYN_COOKIES_NEVER,
        [DK_STACK_SYN_COOKIES_ALWAYS] = DK_TCP_SYN_COOKIES_ALWAYS,
    };
    static const enum dk_tcp_mtu_probing probings[] = {
        [DK_STACK_MTU_PROBING_OFF] = DK_TCP_MTU_PROBING_OFF,
        [DK_STACK_MTU_PROBING_BLACKHOLE] = DK_TCP_MTU_PROBING_BLACKHOLE,
        [DK_STACK_MTU_PROBING_ALWAYS] = DK_TCP_MTU_PROBING_ALWAYS,
    };
    dk_tcp_config_init(tcp);
    dk_entropy_secret(tcp->secret);
    tcp->no_sack = o->no_sack;
    tcp->no_timestamps = o->no_timestamps;
    tcp->no_window_scale = o->no_window_scale;
    tcp->push_hold_ns = (int64_t)o->push_hold_us * 1000;
    tcp->conns_max = tcp->time_wait_max = o->max_connections;
    tcp->syn_cookies = cookies[o->syn_cookies];
    tcp->congestion = (uint8_t)dk_tcp_cc_find(o->congestion);
    tcp->mtu_probing = probings[o->mtu_probing];
    tcp->rcv_buf_bytes = DK_STACK_BUFFER_BYTES;
    tcp->rcv_buf_max = o->rx_buffer_max;
    tcp->rcv_pressure_bytes = o->pressure_bytes;
    tcp->ecn = (uint8_t)ecns[o->ecn];
}

static int open_net(struct dk_stack *st, const char **why_out)
{
    const struct dk_stack_options *o = &st->options;
    struct dk_tcp_config tcp;
    struct dk_net_config config = {
        .mac = st->dev->caps.mac,
        .mtu = st->dev->caps.mtu,
        .vlan = (uint16_t)o->vlan,
        .device_caps = st->dev->caps.flags,
        .gro = dk_stack_offloads(o->offloads) & DK_STACK_GRO,
        .seed = dk_entropy_u64(),
        .skip_dad = o->probe == DK_STACK_PROBE_NO,
        .optimistic_dad = o->probe == DK_STACK_PROBE_BACKGROUND,
        .on_conflict = dk_stack_on_conflict,
        .on_lease = dk_stack_on_lease,
        .rooms = st->dev->rooms,
        .emit = dk_stack_emit,
        .own = dk_stack_own,
        .emit_arg = st,
        .tcp = &tcp,
    };
    int r = dk_stack_shared_open(st);
    if (r == 0)
        r = dk_stack_config_net(o, st->shared != NULL, &config, why_out);
    if (r == 0 && st->group && (config.dhcp || config.router_adverts)) {
        *why_out = "net_addresses: dhcp and auto are for one worker; set workers to 1, or give "
                   "addresses";
        r = -EINVAL;
    }
    if (r == 0 && st->shared)
        r = dk_stack_shared_config(st, &config, why_out);
    if (r < 0)
        return r;
    dk_stack_name_host(&config);
    dk_entropy_secret(config.secret);
    dk_stack_choose_identifiers(o, &config);
    dk_stack_recall_lease(st, &config);
    dk_stack_know_others(st, &config);
    configure_tcp(o, &tcp);
    r = dk_net_create(&st->net, &config, st->now, why_out);
    if (r < 0)
        return r;
    st->tcp = dk_net_tcp(st->net);
    st->due = dk_net_due(st->net);
    st->due->left = st->before_net.left;
    r = dk_stack_await_addresses(st, &config, why_out);
    return r < 0 ? r : dk_stack_await_learnt(st, why_out);
}

static struct dk_stack *make_stack(struct dk_instance *inst, const struct dk_stack_options *options)
{
    struct dk_stack *st = calloc(1, sizeof(*st)); /* owned by inst, freed by stack_destroy */
    if (!st)
        return NULL;
    st->poller.ops = &stack_poller_ops;
    st->inst = inst;
    st->options = *options;
    dk_stack_driver(options->device, st->driver, sizeof(st->driver));
    st->stats = &st->own_stats;
    st->sleep.epfd = st->sleep.kickfd = st->sleep.timerfd = -1;
    st->tx.rooms = &st->tx.none;
    st->due = &st->before_net;
    st->until_show = SHOW_EVERY;
    dk_list_init(&st->socks);
    dk_list_init(&st->ports);
    dk_list_init(&st->starved);
    dk_list_init(&st->lent);
    dk_stack_read_clock(st);
    return st;
}

int dk_stack_open(struct dk_instance *inst, const struct dk_stack_options *options,
                  const char **why_out)
{
    *why_out = "no memory";
    struct dk_stack *st = make_stack(inst, options);
    if (!st)
        return -ENOMEM;
    int r = dk_stack_sleep_open(st);
    if (r < 0) {
        *why_out = "no file descriptor: raise the limit (ulimit -n)";
        goto fail;
    }
    r = dk_stack_join(st);
    if (r == 0)
        r = open_device(st, why_out);
    if (r == 0)
        r = open_net(st, why_out);
    if (r < 0)
        goto fail;
    dk_stack_counters_open(st);
    dk_stack_alert(st); /* the first poll finds out what is so from the beginning */
    inst->poller = inst->sockets = &st->poller;
    if (st->group) /* it is looked at without sockets, too: others may wait for what comes here */
        dk_poller_add_queues(&st->poller, 1);
    return 0;
fail:
    close_stack(st);
    return r;
}
