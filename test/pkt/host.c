/* SPDX-License-Identifier: MIT */
/*
 * The stack under test, its clock, and what goes in and out of it.
 *
 * What it emits is decoded and checked, and waits in t->queue for the script. Questions for
 * neighbours are answered by themselves unless the script does it.
 */
#include "pkt.h"

#include "../lib/received.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define ROUNDS_MAX 100000

static void finish_checksum(uint8_t *frame, uint32_t len, const struct dk_tx_frame *f)
{
    if (f->checksum_start == 0)
        return;
    uint8_t *from = frame + f->checksum_start;
    uint16_t sum = sum_finish(sum_bytes(0, from, len - f->checksum_start));
    put16(from + f->checksum_offset, sum);
}

static uint32_t gather(const struct dk_tx_frame *f, uint8_t *to)
{
    uint32_t len = f->head_len;
    memcpy(to, f->head, f->head_len);
    for (uint32_t i = 0; i < f->num_pieces; i++) {
        memcpy(to + len, f->pieces[i].data, f->pieces[i].len);
        len += f->pieces[i].len;
    }
    return len;
}

/* Announces an own address, or asks whether another has the link-local one. */
static bool is_start_up(const struct test *t, const struct packet *p)
{
    bool group = (p->mac_dst.bytes[0] & 1) != 0;
    bool link_local = p->target.version == 6 && p->target.bytes[0] == 0xfe;
    bool ours = dk_ip_equal(&p->target, &t->config.addresses[0].ip);
    bool asked = p->kind == KIND_IS_AT && t->now > t->start; /* by a probe of the script's */
    return group && (link_local || (ours && t->config.skip_dad && !asked));
}

/* What a host says by itself: of groups always, of neighbours unless the script plays them. */
static bool is_background(const struct test *t, const struct packet *p)
{
    bool neighbour = p->kind == KIND_WHO_HAS || p->kind == KIND_IS_AT;
    if (neighbour && is_start_up(t, p))
        return true;
    bool group =
        p->kind == KIND_ICMP && (p->icmp == ICMP_ROUTER_SOLICIT || p->icmp == ICMP_MLD_REPORT);
    bool igmp = p->kind == KIND_OTHER && p->protocol == 2;
    return group || igmp || (neighbour && !t->manual_neighbours);
}

static void background(struct test *t, struct packet *p)
{
    bool answer = p->kind == KIND_WHO_HAS && !dk_ip_equal(&p->src, &p->target) &&
                  (p->src.words[0] | p->src.words[1]) != 0;
    if (answer && t->num_replies < sizeof(t->replies) / sizeof(t->replies[0]))
        t->replies[t->num_replies++] = build_is_at(p, t->version);
    free(p);
}

static void output(struct test *t, const uint8_t *frame, uint32_t bytes)
{
    struct packet *p = decode(frame, bytes, t->now, t->max_frame);
    if (t->verbose) {
        char text[400];
        describe(t, p, text, sizeof(text));
        printf("%12.6f > %s\n", (double)(t->now - t->start) / 1e9, text);
    }
    if (is_background(t, p) && p->wrong == NULL) {
        background(t, p);
    } else if (t->tail - t->head == QUEUE_MAX) {
        snprintf(t->overflow, sizeof(t->overflow), "%d packets that nobody looked at", QUEUE_MAX);
        free(p);
    } else {
        watch_output(t, p);
        t->queue[t->tail++ % QUEUE_MAX] = p;
    }
}

/* What a NIC does: `whole` has its headers as they were, the checksum of the pseudo header. */
static void output_segments(struct test *t, const uint8_t *whole, uint32_t bytes,
                            const struct dk_tx_frame *f)
{
    uint32_t ip = f->checksum_start - (t->version == 4 ? 20 : 40), payload = bytes - f->head_len;
    uint32_t tcp_len = bytes - f->checksum_start;
    uint8_t *frame = malloc(bytes);
    t->cut++;
    for (uint32_t done = 0; done < payload; done += f->segment_bytes) {
        uint32_t n = payload - done < f->segment_bytes ? payload - done : f->segment_bytes;
        uint32_t len = f->head_len - f->checksum_start + n;
        memcpy(frame, whole, f->head_len);
        memcpy(frame + f->head_len, whole + f->head_len + done, n);
        uint8_t *tcp = frame + f->checksum_start;
        put32(tcp + 4, get32(tcp + 4) + done);
        if (done + n < payload)
            tcp[13] &= (uint8_t) ~(FIN | PSH);
        if (done > 0)
            tcp[13] &= (uint8_t)~CWR;
        put16(frame + ip + (t->version == 4 ? 2 : 4), t->version == 4 ? 20 + len : len);
        if (t->version == 4) {
            put16(frame + ip + 10, 0);
            put16(frame + ip + 10, sum_finish(sum_bytes(0, frame + ip, 20)));
        }
        uint32_t sum = get16(tcp + 16) + (0xffff - tcp_len % 0xffff) + len;
        put16(tcp + 16, 0);
        put16(tcp + 16, sum_finish(sum_bytes(sum, tcp, len)));
        output(t, frame, f->head_len + n);
    }
    free(frame);
}

/* Called from inside the stack: what is wrong is noted, and fails later. */
static bool emit(void *arg, const struct dk_tx_frame *f)
{
    struct test *t = arg;
    if (t->full)
        return false;
    uint32_t bytes = dk_tx_frame_bytes(f);
    if (bytes > FRAME_MAX || f->head_len > DK_TX_HEAD_MAX || f->num_pieces > DK_TX_PIECES_MAX) {
        snprintf(t->overflow, sizeof(t->overflow), "a frame of %u bytes, head %u, %u pieces", bytes,
                 f->head_len, f->num_pieces);
        return true;
    }
    uint8_t *frame = malloc(bytes);
    gather(f, frame);
    if (f->segment_bytes != 0) {
        output_segments(t, frame, bytes, f);
    } else {
        finish_checksum(frame, bytes, f);
        output(t, frame, bytes);
    }
    free(frame);
    return true;
}

/* Small limits: scripts reach them. Times are the defaults, which scripts know by variables. */
static void set_tcp_config(struct dk_tcp_config *c)
{
    dk_tcp_config_init(c);
    c->conns_max = 600;
    c->half_open_max = 64;
    c->listeners_max = 64;
    c->segments_max = 4096;
    c->pieces_max = 8192;
    c->elements_max = 8192;
    c->reasm_max = 1024;
    c->conn_reasm_max = 256;
}

static void set_config(struct test *t)
{
    struct dk_net_config *c = &t->config;
    set_tcp_config(&t->tcp_config);
    t->tcp_config.congestion = t->congestion;
    t->tcp_config.ecn = t->ecn;
    t->tcp_config.syn_cookies = t->syn_cookies;
    t->tcp_config.mtu_probing = t->probing;
    if (t->pressure)
        t->tcp_config.rcv_pressure_bytes = t->pressure;
    t->tcp_config.no_sack = t->no_sack;
    t->tcp_config.no_timestamps = t->no_timestamps;
    c->tcp = &t->tcp_config;
    c->mac = (struct dk_mac){{0x02, 0, 0, 0, 0, 1}};
    c->emit = emit;
    c->emit_arg = t;
    c->seed = 42;
    memcpy(c->secret, "packet scripts!", 16);
    if (c->num_addresses == 0) {
        c->addresses[0].ip = host_ip(t->version, 1);
        c->addresses[0].prefix_len = t->version == 4 ? 24 : 64;
        c->num_addresses = 1;
    }
    if (c->num_routes == 0) {
        c->routes[0].prefix.version = (uint8_t)t->version;
        c->routes[0].gateway = host_ip(t->version, 254);
        c->num_routes = 1;
    }
    /* Segments of the same size in both families. */
    if (c->mtu == 0)
        c->mtu = t->version == 4 ? 1500 : 1520;
    t->max_frame = c->mtu + 14 + (c->vlan != 0 ? 4 : 0);
}

void host_start(struct test *t)
{
    if (t->net != NULL || t->ended)
        return;
    set_config(t);
    t->start = t->now = t->wrap_start != 0 ? t->wrap_start : 1000 * INT64_C(1000000000);
    t->buffers_before = dk_buf_in_use();
    const char *why = "";
    int err = dk_net_create(&t->net, &t->config, t->now, &why);
    if (err != 0)
        test_fail(t, "dk_net_create: %s (%s)", strerror(-err), why ? why : "");
    host_settle(t);
}

void host_drop_queue(struct test *t)
{
    while (t->head != t->tail)
        free(t->queue[t->head++ % QUEUE_MAX]);
}

void host_stop(struct test *t)
{
    app_stop(t);
    if (t->net != NULL)
        dk_net_destroy(t->net);
    host_drop_queue(t);
    for (uint32_t i = 0; i < t->num_replies; i++)
        free(t->replies[i]);
    while (t->num_held > 0) /* of a script that failed */
        dk_buf_put(t->held[--t->num_held].buf);
    t->num_replies = 0;
    free(t->last);
    t->last = NULL;
}

void host_check(struct test *t)
{
    if (t->overflow[0] != '\0')
        test_fail(t, "%s", t->overflow);
    if (t->net != NULL && !dk_tcp_all_valid(dk_net_tcp(t->net)))
        test_fail(t, "an invariant of TCP is broken (dk_tcp_all_valid)");
}

static struct dk_buf *copy_of(struct test *t, const uint8_t *frame, uint32_t len)
{
    struct dk_buf *buf = received(frame, len);
    if (buf == NULL)
        test_fail(t, "no memory for a packet");
    return buf;
}

static void give(struct test *t, const uint8_t *frame, uint32_t len, bool as_frame)
{
    struct dk_buf *buf = copy_of(t, frame, len);
    if (as_frame) {
        struct dk_rx_frame rx = {.buf = buf, .data = buf->data, .len = len};
        dk_net_input(t->net, &rx, t->now);
    } else {
        dk_net_input_ip(t->net, buf, buf->data + 14, len - 14, t->now);
    }
    dk_buf_put(buf);
}

static void hold(struct test *t, const uint8_t *frame, uint32_t len)
{
    struct dk_buf *buf = copy_of(t, frame, len);
    t->held[t->num_held++] = (struct dk_rx_frame){.buf = buf, .data = buf->data, .len = len};
    if (t->num_held == HELD_MAX)
        host_release(t);
}

void host_release(struct test *t)
{
    const uint32_t n = t->num_held;
    t->num_held = 0;
    for (uint32_t i = 0; i < n;)
        i += dk_net_input_some(t->net, &t->held[i], n - i, t->now);
    for (uint32_t i = 0; i < n; i++)
        dk_buf_put(t->held[i].buf);
    if (n > 0)
        host_settle(t);
}

void host_input(struct test *t, const uint8_t *frame, uint32_t len, bool as_frame)
{
    if (t->verbose) {
        struct packet *p = decode(frame, len, t->now, FRAME_MAX);
        char text[400];
        describe(t, p, text, sizeof(text));
        printf("%12.6f < %s\n", (double)(t->now - t->start) / 1e9, text);
        free(p);
    }
    if (t->config.gro)
        hold(t, frame, len);
    else
        give(t, frame, len, as_frame || t->link || t->config.vlan != 0);
}

static bool give_reply(struct test *t)
{
    if (t->num_replies == 0)
        return false;
    struct packet *p = t->replies[0];
    t->num_replies--;
    memmove(t->replies, t->replies + 1, t->num_replies * sizeof(t->replies[0]));
    give(t, p->frame, p->frame_len, true);
    free(p);
    return true;
}

void host_settle(struct test *t)
{
    if (t->net == NULL)
        return;
    for (uint32_t rounds = 0;; rounds++) {
        dk_net_advance(t->net, t->now);
        if (!give_reply(t) && dk_net_next_due(t->net) > t->now)
            break;
        if (rounds == ROUNDS_MAX)
            test_fail(t, "dk_net_next_due is in the past, however often dk_net_advance is called");
    }
    host_check(t);
}

void host_advance(struct test *t, int64_t until, bool stop_at_packet)
{
    host_settle(t);
    for (uint32_t rounds = 0; !(stop_at_packet && t->head != t->tail); rounds++) {
        int64_t due = dk_net_next_due(t->net);
        if (due > until) {
            if (!stop_at_packet || t->now < until)
                t->now = until;
            break;
        }
        if (rounds == ROUNDS_MAX)
            test_fail(t, "%d wake-ups in that time", ROUNDS_MAX);
        t->now = due > t->now ? due : t->now;
        host_settle(t);
    }
    host_settle(t);
}

bool host_stat(struct test *t, const char *name, uint64_t *value_out)
{
    const char *found;
    for (size_t i = 0; dk_net_stat(t->net, i, &found, value_out) == 0; i++) {
        if (strcmp(found, name) == 0)
            return true;
    }
    return false;
}
