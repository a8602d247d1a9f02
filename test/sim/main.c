/* SPDX-License-Identifier: MIT */
/*
 * A simulation of two stacks over a bad network.
 *
 *     sim SEED             one run, with a trace of every frame and event
 *     sim FIRST COUNT      runs of COUNT seeds; the first that fails is printed, and ends it
 */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#define EVENTS_MAX 20000000

void sim_note(struct sim *sim, const char *format, ...)
{
    va_list args;
    if (sim->message[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(sim->message, sizeof(sim->message), format, args);
    va_end(args);
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;
    if (sim->message[0] == '\0') {
        va_start(args, format);
        vsnprintf(sim->message, sizeof(sim->message), format, args);
        va_end(args);
    }
    longjmp(sim->wrong, 1);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    va_list args;
    if (!sim->trace)
        return;
    printf("%12.6f ", (double)sim->now / 1e9);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

static uint32_t choose_mtu(struct sim *sim)
{
    uint32_t least = sim->version == 4 ? 300 : 1280;
    switch (below(sim, 4)) {
    case 0:
        return 1500;
    case 1:
        return 9000;
    case 2:
        return 1280;
    default:
        return least + below(sim, 9000 - least);
    }
}

static bool is_lossless(const struct sim *sim)
{
    return sim->ways[0].loss + sim->ways[1].loss + sim->ways[0].damage + sim->ways[1].damage == 0;
}

/* Limits that are met, and options that a peer may not have. */
static void choose_tcp_config(struct sim *sim, struct dk_tcp_config *c)
{
    static const int64_t holds[] = {1000, 50000, MS, 10 * S};
    dk_tcp_config_init(c);
    c->conns_max = c->half_open_max = c->listeners_max = 64;
    c->segments_max = below(sim, 4) == 0 ? 48 + below(sim, 100) : 4096;
    c->pieces_max = below(sim, 4) == 0 ? 48 + below(sim, 100) : 4096;
    c->elements_max = below(sim, 4) == 0 ? 16 + below(sim, 100) : 4096;
    c->reasm_max = below(sim, 4) == 0 ? 16 + below(sim, 100) : 1024;
    c->conn_reasm_max = 16 + below(sim, 240);
    c->rcv_bufs_max = below(sim, 4) == 0 ? 4 + below(sim, 20) : 512;
    c->push_hold_ns = holds[below(sim, 4)];
    c->delayed_ack_ns = below(sim, 4) == 0 ? MS * below(sim, 500) : c->delayed_ack_ns;
    c->no_timestamps = below(sim, 4) == 0;
    c->no_window_scale = below(sim, 4) == 0;
    /* A lost ACK of a cookie leaves a client that waits alone: RFC 4987 section 3.6. */
    if (is_lossless(sim) && below(sim, 2) == 0)
        c->syn_cookies = DK_TCP_SYN_COOKIES_ALWAYS;
    c->no_sack = below(sim, 4) == 0;
    c->recoveries_max = below(sim, 4) == 0 ? below(sim, 4) : 1024;
    if (sim->ways[0].silent || sim->ways[1].silent)
        c->mtu_probing = below(sim, 2) ? DK_TCP_MTU_PROBING_BLACKHOLE : DK_TCP_MTU_PROBING_ALWAYS;
    else
        c->mtu_probing = (enum dk_tcp_mtu_probing)below(sim, 3);
}

static void make_host(struct sim *sim, int index)
{
    struct host *h = &sim->hosts[index];
    struct dk_net_config c = {.num_addresses = 1, .skip_dad = true, .emit = wire_emit};
    struct dk_tcp_config tcp;
    choose_tcp_config(sim, &tcp);
    tcp.congestion = (uint8_t)((sim->seed + (uint64_t)index) % 4);
    tcp.ecn = (uint8_t)((sim->seed / 4 + (uint64_t)index) % 3);
    c.tcp = &tcp;
    h->sim = sim;
    wire_plug(h, below(sim, 3) == 0);
    c.gro = (sim->seed / 2 + (uint64_t)index) % 2;
    c.device_caps = h->dev->caps.flags | (below(sim, 3) == 0 ? DK_NETDEV_TX_CHECKSUM : 0);
    h->index = index;
    h->mac = (struct dk_mac){{2, 0, 0, 0, 0, (uint8_t)(index + 1)}};
    h->ip.version = (uint8_t)sim->version;
    memcpy(h->ip.bytes, sim->version == 4 ? "\x0a\0\0" : "\xfd\0\0", 3);
    h->ip.bytes[sim->version == 4 ? 3 : 15] = (uint8_t)(index + 1);
    h->busy = below(sim, 3) == 0 ? below(sim, 500) : 0;
    c.mac = h->mac;
    c.mtu = h->mtu;
    c.emit_arg = h;
    c.addresses[0].ip = h->ip;
    c.addresses[0].prefix_len = sim->version == 4 ? 24 : 64;
    c.seed = dk_random_u64(&sim->random);
    for (int i = 0; i < 16; i++)
        c.secret[i] = (uint8_t)below(sim, 256);
    const char *why = NULL;
    int err = dk_net_create(&h->net, &c, sim->now, &why);
    if (err != 0)
        sim_fail(sim, "dk_net_create: %d (%s)", err, why ? why : "");
}

static void set_up(struct sim *sim)
{
    sim->now = S;
    sim->version = below(sim, 2) == 0 ? 4 : 6;
    sim->hosts[0].mtu = choose_mtu(sim);
    /* A host takes frames up to its own MTU: what is larger is lost, as on a link that is wrong.
     * TCP sends none: each end says what it takes. */
    sim->hosts[1].mtu = below(sim, 2) == 0 ? sim->hosts[0].mtu : choose_mtu(sim);
    wire_choose(sim);
    make_host(sim, 0);
    make_host(sim, 1);
    app_choose(sim);
    app_listen(&sim->hosts[0]);
    app_listen(&sim->hosts[1]);
}

static int64_t next_event(const struct sim *sim)
{
    int64_t next = wire_next(sim), app = app_next(sim);
    next = app < next ? app : next;
    for (int i = 0; i < 2; i++) {
        int64_t due = dk_net_next_due(sim->hosts[i].net);
        next = due < next ? due : next;
    }
    return next;
}

static void check_all(struct sim *sim)
{
    for (int i = 0; i < 2; i++) {
        if (!dk_tcp_all_valid(dk_net_tcp(sim->hosts[i].net)))
            sim_fail(sim, "an invariant of TCP is broken on host %c", 'A' + i);
    }
}

static void step(struct sim *sim)
{
    int64_t next = next_event(sim);
    if (next == INT64_MAX)
        sim_fail(sim, "nothing will ever happen, and not every connection has ended");
    sim->now = next > sim->now ? next : sim->now;
    if (sim->now > END_NS)
        sim_fail(sim, "not every connection has ended after two hours");
    if (++sim->events > EVENTS_MAX)
        sim_fail(sim, "%d events: it goes round in circles", EVENTS_MAX);
    wire_deliver(sim);
    app_run(sim);
    dk_net_advance(sim->hosts[0].net, sim->now);
    dk_net_advance(sim->hosts[1].net, sim->now);
    if (sim->trace || sim->events % 64 == 0)
        check_all(sim);
    if (sim->message[0] != '\0')
        longjmp(sim->wrong, 1);
}

/* Every connection has ended: what is in flight arrives, and TIME-WAIT passes. */
static void settle(struct sim *sim)
{
    int64_t until = sim->now + 600 * S;
    while (next_event(sim) <= until)
        step(sim);
    uint32_t left = dk_buf_in_use() - sim->buffers_before;
    if (left > 2) /* each stack keeps the memory that it copies small pushes to */
        sim_fail(sim, "%u buffers are still held when every connection has ended", left);
}

static bool run(struct sim *sim, uint64_t seed, bool trace)
{
    volatile bool good = false;
    memset(sim, 0, sizeof(*sim));
    sim->seed = seed;
    sim->trace = trace;
    dk_random_init(&sim->random, seed);
    sim->buffers_before = dk_buf_in_use();
    if (setjmp(sim->wrong) == 0) {
        set_up(sim);
        while (!app_done(sim))
            step(sim);
        app_check(sim);
        settle(sim);
        check_all(sim);
        good = true;
    }
    for (int i = 0; i < 2; i++) {
        if (sim->hosts[i].net != NULL)
            dk_net_destroy(sim->hosts[i].net);
        if (sim->hosts[i].dev != NULL)
            wire_unplug(&sim->hosts[i]);
    }
    app_stop(sim);
    wire_drop_all(sim);
    if (good && dk_buf_in_use() != sim->buffers_before) {
        sim_note(sim, "%d buffers leaked", (int)(dk_buf_in_use() - sim->buffers_before));
        good = false;
    }
    return good;
}

static void describe(const struct sim *sim)
{
    printf("# seed %" PRIu64 ": IPv%d, MTU %u and %u, %d connections\n", sim->seed, sim->version,
           sim->hosts[0].mtu, sim->hosts[1].mtu, sim->num_conns);
    for (int i = 0; i < 2; i++)
        printf("# to %c: of 10000 lost %u, twice %u, damaged %u, late %u; %" PRId64 " us + %" PRId64
               " us\n",
               'A' + i, sim->ways[i].loss, sim->ways[i].twice, sim->ways[i].damage,
               sim->ways[i].late, sim->ways[i].latency / 1000, sim->ways[i].jitter / 1000);
}

int main(int argc, char **argv)
{
    struct sim *sim = calloc(1, sizeof(*sim));
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    uint64_t bytes = 0, events = 0;
    bool failed = false;
    if (sim == NULL || argc < 2) {
        fprintf(stderr, "usage: sim SEED | sim FIRST COUNT\n");
        return 2;
    }
    for (uint64_t seed = first; seed < first + count && !failed; seed++) {
        bool good = run(sim, seed, argc == 2);
        bytes += sim->bytes;
        events += sim->events;
        if (!good || argc == 2)
            describe(sim);
        if (!good) {
            failed = true;
            printf("not ok - seed %" PRIu64 " at %.6f s: %s\n# replay: test/sim/sim %" PRIu64 "\n",
                   seed, (double)sim->now / 1e9, sim->message, seed);
        }
    }
    if (!failed)
        printf("ok - %" PRIu64 " seeds, %" PRIu64 " bytes, %" PRIu64 " events\n", count, bytes,
               events);
    free(sim);
    return failed;
}
