/* SPDX-License-Identifier: MIT */
/*
 * The wire between the two stacks: a heap of frames by the time of their arrival.
 *
 * Damage is one bit of an IP packet, which every checksum finds. ARP has no checksum, and an
 * Ethernet header none that we see: a real link drops such frames.
 */
#include "sim.h"

#include "drv/offload.h"
#include "net/wire/text.h"

#include <inttypes.h>
#include <stdlib.h>

#define FRAMES_MAX 4096 /* in flight: beyond, frames are lost as in a full router */
#define BURST_MAX  32u

static uint32_t pick(struct sim *sim, const uint32_t *choices, uint32_t n)
{
    return choices[below(sim, n)];
}

void wire_choose(struct sim *sim)
{
    static const uint32_t losses[] = {0, 0, 0, 10, 100, 300, 1000, 1500};
    static const uint32_t rare[] = {0, 0, 0, 10, 100, 1000};
    static const uint32_t latencies_us[] = {1, 50, 200, 1000, 5000, 20000, 80000};
    for (int i = 0; i < 2; i++) {
        struct way *w = &sim->ways[i];
        w->loss = pick(sim, losses, 8);
        w->twice = pick(sim, rare, 6);
        w->damage = pick(sim, rare, 6);
        w->late = pick(sim, rare, 6);
        w->latency = (int64_t)pick(sim, latencies_us, 7) * 1000;
        w->jitter = below(sim, 3) == 0 ? w->latency * 2 : 0;
        w->path_mtu = UINT32_MAX;
        if (below(sim, 3) == 0) {
            w->path_mtu = sim->version == 4 ? 600 + below(sim, 2000) : 1280 + below(sim, 2000);
            w->path_at = dk_random_between(&sim->random, 0, 5 * S);
            w->silent = below(sim, 2) == 0;
        }
    }
}

static bool healed(const struct sim *sim)
{
    return sim->now >= HEAL_NS;
}

/* ---- The heap -------------------------------------------------------------------------------- */

static bool before(const struct frame *a, const struct frame *b)
{
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void swap(struct sim *sim, uint32_t i, uint32_t j)
{
    struct frame *f = sim->frames[i];
    sim->frames[i] = sim->frames[j];
    sim->frames[j] = f;
}

static void heap_add(struct sim *sim, struct frame *f)
{
    if (sim->num_frames == sim->room_frames) {
        sim->room_frames = sim->room_frames == 0 ? 256 : sim->room_frames * 2;
        sim->frames = realloc(sim->frames, sim->room_frames * sizeof(sim->frames[0]));
    }
    uint32_t i = sim->num_frames++;
    sim->frames[i] = f;
    for (; i > 0 && before(sim->frames[i], sim->frames[(i - 1) / 2]); i = (i - 1) / 2)
        swap(sim, i, (i - 1) / 2);
}

static struct frame *heap_take(struct sim *sim)
{
    struct frame *first = sim->frames[0];
    sim->frames[0] = sim->frames[--sim->num_frames];
    for (uint32_t i = 0;;) {
        uint32_t least = i, left = 2 * i + 1, right = 2 * i + 2;
        if (left < sim->num_frames && before(sim->frames[left], sim->frames[least]))
            least = left;
        if (right < sim->num_frames && before(sim->frames[right], sim->frames[least]))
            least = right;
        if (least == i)
            return first;
        swap(sim, i, least);
        i = least;
    }
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* The checksum of RFC 1071 over bytes, begun with a sum. */
static uint32_t checksum(uint32_t sum, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        sum += (uint32_t)bytes[i] << (i % 2 == 0 ? 8 : 0);
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static struct frame *copy_frame(const struct dk_tx_frame *tx)
{
    uint32_t len = tx->head_len;
    struct frame *f = malloc(sizeof(*f) + dk_tx_frame_bytes(tx));
    memcpy(f->bytes, tx->head, tx->head_len);
    for (uint32_t i = 0; i < tx->num_pieces; i++) {
        memcpy(f->bytes + len, tx->pieces[i].data, tx->pieces[i].len);
        len += tx->pieces[i].len;
    }
    f->len = len;
    if (tx->checksum_start != 0) { /* what a device does that finishes checksums */
        uint8_t *from = f->bytes + tx->checksum_start;
        put16(from + tx->checksum_offset, checksum(0, from, len - tx->checksum_start));
    }
    return f;
}

static void trace_frame(struct sim *sim, const char *what, int to, const struct frame *f)
{
    char line[400];
    struct dk_text text = DK_TEXT(line);
    if (!sim->trace)
        return;
    line[0] = '\0';
    dk_frame_print(&text, f->bytes, f->len);
    sim_trace(sim, "%s %s %s", to == 1 ? "A->B" : "B->A", what, line);
}

static void damage(struct sim *sim, struct frame *f)
{
    bool is_ip = f->len > 34 && (f->bytes[12] == 0x08 ? f->bytes[13] == 0 : f->bytes[12] == 0x86);
    if (!is_ip)
        return;
    uint32_t at = 14 + below(sim, f->len - 14);
    f->bytes[at] ^= (uint8_t)(1u << below(sim, 8));
    trace_frame(sim, "damaged", f->to, f);
}

static void fly(struct sim *sim, struct frame *f)
{
    const struct way *w = &sim->ways[f->to];
    f->due = sim->now + w->latency;
    if (w->jitter > 0 && !healed(sim))
        f->due += dk_random_between(&sim->random, 0, w->jitter);
    if (chance(sim, w->late) && !healed(sim))
        f->due += dk_random_between(&sim->random, 0, 300 * MS);
    f->number = sim->frame_number++;
    heap_add(sim, f);
}

/* ---- A narrow part of the way ---------------------------------------------------------------- */

/* Writes what a router says of a packet that is too big (RFC 1191, 8201); returns its length. */
static uint32_t write_error(uint8_t *ip, const struct frame *f, uint32_t mtu)
{
    const uint8_t *packet = f->bytes + 14;
    uint32_t quote = f->len - 14;
    if (packet[0] >> 4 == 4) {
        quote = quote < 28 ? quote : 28;
        memcpy(ip, (uint8_t[]){0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1}, 16);
        memcpy(ip + 16, packet + 12, 4);
        put16(ip + 2, 28 + quote);
        put16(ip + 10, checksum(0, ip, 20));
        memcpy(ip + 20, (uint8_t[]){3, 4, 0, 0, 0, 0, (uint8_t)(mtu >> 8), (uint8_t)mtu}, 8);
        memcpy(ip + 28, packet, quote);
        put16(ip + 22, checksum(0, ip + 20, 8 + quote));
        return 28 + quote;
    }
    quote = quote < 1232 ? quote : 1232;
    memcpy(ip, (uint8_t[]){0x60, 0, 0, 0, 0, 0, 58, 64, 0x20, 1, 0xd, 0xb8}, 12);
    ip[23] = 1;
    memcpy(ip + 24, packet + 8, 16);
    put16(ip + 4, 8 + quote);
    memcpy(ip + 40, (uint8_t[]){2, 0, 0, 0, 0, 0, (uint8_t)(mtu >> 8), (uint8_t)mtu}, 8);
    memcpy(ip + 48, packet, quote);
    put16(ip + 42, checksum(~checksum(58 + 8 + quote, ip + 8, 32) & 0xffff, ip + 40, 8 + quote));
    return 48 + quote;
}

/* Whether a frame does not fit the path; its sender is told, sooner or later, or has to find it out
 * itself. */
static bool too_big(struct sim *sim, struct host *host, const struct frame *f)
{
    const struct way *w = &sim->ways[f->to];
    if (sim->now < w->path_at || f->len - 14 <= w->path_mtu)
        return false;
    trace_frame(sim, "too big", f->to, f);
    if (w->silent || (!healed(sim) && chance(sim, 3000)))
        return true;
    struct frame *error = calloc(1, sizeof(*error) + 14 + 1280);
    memcpy(error->bytes, &host->mac, 6);
    memcpy(error->bytes + 6, f->bytes, 6);
    memcpy(error->bytes + 12, f->bytes + 12, 2);
    error->len = 14 + write_error(error->bytes + 14, f, w->path_mtu);
    error->to = host->index;
    fly(sim, error);
    return true;
}

static void check_size(struct sim *sim, struct host *host, uint32_t bytes)
{
    if (bytes > host->mtu + 14)
        sim_note(sim, "a frame of %u bytes, MTU %u", bytes, host->mtu);
}

static bool send_one(struct host *host, const struct dk_tx_frame *tx)
{
    struct sim *sim = host->sim;
    if (host->no_room)
        return false;
    if (chance(sim, host->busy) && !healed(sim)) {
        host->no_room = true;
        host->room_at = sim->now + dk_random_between(&sim->random, 1000, 5 * MS);
        return false;
    }
    check_size(sim, host, dk_tx_frame_bytes(tx));
    struct frame *f = copy_frame(tx);
    f->to = 1 - host->index;
    const struct way *w = &sim->ways[f->to];
    bool bad = !healed(sim);
    if ((bad && chance(sim, w->loss)) || sim->num_frames >= FRAMES_MAX) {
        trace_frame(sim, "lost", f->to, f);
        free(f);
        return true;
    }
    if (too_big(sim, host, f)) {
        free(f);
        return true;
    }
    if (bad && chance(sim, w->twice)) {
        struct frame *again = copy_frame(tx);
        again->to = f->to;
        fly(sim, again);
    }
    if (bad && chance(sim, w->damage))
        damage(sim, f);
    fly(sim, f);
    return true;
}

static uint32_t card_tx(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                        int64_t now)
{
    uint32_t sent = 0;
    (void)now;
    while (sent < n && send_one((struct host *)(void *)dev, &frames[sent]))
        sent++;
    return sent;
}

/* What arrives does not pass through the device: it is only looked at. */
static uint32_t card_rx(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                        int64_t now)
{
    (void)dev;
    (void)frames_out;
    (void)max;
    (void)now;
    return 0;
}

static void card_close(struct dk_netdev *dev)
{
    (void)dev;
}

void wire_plug(struct host *host, bool cuts)
{
    static const struct dk_netdev_ops ops = {
        .name = "card", .rx_burst = card_rx, .tx_burst = card_tx, .close = card_close};
    const char *why;
    host->card = (struct dk_netdev){.ops = &ops, .stats = &host->card.own_stats};
    host->dev = &host->card;
    if (cuts && dk_offload_open(&host->dev, &host->card, &why) != 0)
        sim_fail(host->sim, "%s", why);
}

void wire_unplug(struct host *host)
{
    host->dev->ops->close(host->dev);
}

bool wire_emit(void *arg, const struct dk_tx_frame *tx)
{
    struct host *host = arg;
    return host->dev->ops->tx_burst(host->dev, tx, 1, host->sim->now) == 1;
}

/* What a frame that was cut has left goes before anything else. */
static void have_room(struct host *host)
{
    host->no_room = false;
    host->dev->ops->rx_burst(host->dev, NULL, 0, host->sim->now);
    if (!host->no_room)
        dk_net_tx_room(host->net, host->sim->now);
}

/* ---- Arriving -------------------------------------------------------------------------------- */

int64_t wire_next(const struct sim *sim)
{
    int64_t next = sim->num_frames > 0 ? sim->frames[0]->due : INT64_MAX;
    for (int i = 0; i < 2; i++) {
        if (sim->hosts[i].no_room && sim->hosts[i].room_at < next)
            next = sim->hosts[i].room_at;
    }
    return next;
}

/* Frames that arrive at one moment, as a device gives them. */
struct burst {
    uint32_t n;
    struct dk_rx_frame frames[BURST_MAX];
};

static void burst_ends(struct sim *sim, int to, struct burst *burst)
{
    for (uint32_t i = 0; i < burst->n;)
        i += dk_net_input_some(sim->hosts[to].net, &burst->frames[i], burst->n - i, sim->now);
    for (uint32_t i = 0; i < burst->n; i++)
        dk_buf_put(burst->frames[i].buf);
    burst->n = 0;
}

static void arrive(struct sim *sim, struct frame *f, struct burst *burst)
{
    trace_frame(sim, "", f->to, f);
    struct dk_buf *buf = dk_buf_alloc(f->len, 0);
    if (buf == NULL)
        sim_fail(sim, "no memory for a frame");
    memcpy(buf->data, f->bytes, f->len);
    burst->frames[burst->n++] = (struct dk_rx_frame){.buf = buf, .data = buf->data, .len = f->len};
    if (burst->n == BURST_MAX)
        burst_ends(sim, f->to, burst);
    free(f);
}

void wire_deliver(struct sim *sim)
{
    for (int i = 0; i < 2; i++) {
        struct host *host = &sim->hosts[i];
        if (host->no_room && host->room_at <= sim->now)
            have_room(host);
    }
    struct burst bursts[2] = {{.n = 0}, {.n = 0}};
    while (sim->num_frames > 0 && sim->frames[0]->due <= sim->now) {
        struct frame *f = heap_take(sim);
        arrive(sim, f, &bursts[f->to]);
        sim->events++;
    }
    for (int i = 0; i < 2; i++)
        burst_ends(sim, i, &bursts[i]);
}

void wire_drop_all(struct sim *sim)
{
    while (sim->num_frames > 0)
        free(heap_take(sim));
    free(sim->frames);
    sim->frames = NULL;
    sim->room_frames = 0;
}
