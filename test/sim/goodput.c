/* SPDX-License-Identifier: MIT */
/*
 * How much a stream carries over paths of all kinds: bandwidth x round trip x loss x reordering.
 *
 *     goodput              prints the table
 *     goodput TABLE        compares with a table that was kept: 1 when a path carries less
 *     goodput fair         two streams of one kind over one path: 1 when they do not share it
 *     goodput fill         round trips until a stream fills a path, with windows that grow by
 *                          themselves: 1 when they are too many
 *
 * One stream of a stack to another, under a virtual clock: a bottleneck with a queue of one
 * bandwidth-delay product that drops at its tail, then a delay; frames are lost before it, by
 * chance, and come late, by up to half a round trip. Acknowledgements only take their time. All
 * that is random has one seed, so a table is the same on each machine, and differs when TCP does.
 */
#include "base/random.h"
#include "net/dev.h"
#include "net/net.h"
#include "net/tcp/cc.h"
#include "net/tcp/tcp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS          INT64_C(1000000)
#define S           (1000 * MS)
#define MTU         1500u
#define WINDOW      (64 << 20) /* never what limits */
#define CHUNK       65536u
#define QUEUED_MAX  (8 * CHUNK)
#define TOLERANCE   5 /* per cent that a path may carry less than in the table */
#define QUEUE_LEAST (5 * MS)
#define STREAMS_MAX 2

struct path {
    uint32_t mbit, rtt_ms, loss, late; /* chances of 10,000 */
    bool sack;
    uint32_t streams;
    const char *congestion;
    bool tuned; /* the receive buffer grows by itself */
};

struct result {
    uint64_t kbit; /* per second */
    uint64_t retransmits, timeouts, undone;
};

struct frame {
    int64_t due;
    uint64_t number;
    struct dk_buf *buf;
    int to;
};

struct stream {
    struct run *run;
    struct dk_tcp_conn *sender, *receiver; /* the receiver may be another stream's: all are alike */
    bool connected, readable;
};

struct run {
    const struct path *path;
    struct dk_random random;
    int64_t now, free_at; /* the bottleneck */
    struct dk_net *net[2];
    struct frame *frames; /* a heap */
    uint32_t num_frames, room_frames;
    uint64_t frame_number;
    struct dk_tcp_listener *listener;
    struct stream streams[STREAMS_MAX];
    uint32_t num_accepted;
    struct dk_buf *chunk;
    bool acceptable;
    uint64_t received;
};

struct port {
    struct run *run;
    int index;
};

static void die(const char *what)
{
    fprintf(stderr, "goodput: %s\n", what);
    exit(2);
}

/* ---- Frames in flight ------------------------------------------------------------------------ */

static bool is_before(const struct frame *a, const struct frame *b)
{
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void swap(struct frame *a, struct frame *b)
{
    struct frame other = *a;
    *a = *b;
    *b = other;
}

static void heap_add(struct run *run, struct frame f)
{
    if (run->num_frames == run->room_frames) {
        run->room_frames = run->room_frames ? 2 * run->room_frames : 1024;
        run->frames = realloc(run->frames, run->room_frames * sizeof(f));
        if (!run->frames)
            die("no memory");
    }
    struct frame *frames = run->frames;
    uint32_t i = run->num_frames++;
    f.number = run->frame_number++;
    frames[i] = f;
    for (; i > 0 && is_before(&frames[i], &frames[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&frames[i], &frames[(i - 1) / 2]);
}

static struct frame heap_take(struct run *run)
{
    struct frame *frames = run->frames, first = frames[0];
    frames[0] = frames[--run->num_frames];
    for (uint32_t i = 0;;) {
        uint32_t least = i;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < run->num_frames; child++)
            if (is_before(&frames[child], &frames[least]))
                least = child;
        if (least == i)
            return first;
        swap(&frames[i], &frames[least]);
        i = least;
    }
}

static bool chance(struct run *run, uint32_t of_10000)
{
    return of_10000 && dk_random_below(&run->random, 10000) < of_10000;
}

/* When a frame to the receiver arrives; -1: never. */
static int64_t bottleneck(struct run *run, uint32_t bytes)
{
    const struct path *p = run->path;
    int64_t rtt = p->rtt_ms * MS, queue = rtt > QUEUE_LEAST ? rtt : QUEUE_LEAST;
    bool lost = chance(run, p->loss), late = chance(run, p->late);
    int64_t extra = late ? dk_random_between(&run->random, 0, rtt / 2) : 0;
    int64_t begins = run->free_at > run->now ? run->free_at : run->now;
    if (lost || begins - run->now > queue)
        return -1;
    run->free_at = begins + (int64_t)bytes * 8000 / p->mbit;
    return run->free_at + rtt / 2 + extra;
}

static bool emit(void *arg, const struct dk_tx_frame *tx)
{
    struct port *port = arg;
    struct run *run = port->run;
    uint32_t bytes = dk_tx_frame_bytes(tx);
    int64_t due = port->index == 0 ? bottleneck(run, bytes) : run->now + run->path->rtt_ms * MS / 2;
    if (due < 0)
        return true;
    struct dk_buf *buf = dk_buf_alloc(bytes, 0);
    if (!buf)
        die("no memory for a frame");
    uint8_t *at = buf->data;
    memcpy(at, tx->head, tx->head_len);
    at += tx->head_len;
    for (uint32_t i = 0; i < tx->num_pieces; i++) {
        memcpy(at, tx->pieces[i].data, tx->pieces[i].len);
        at += tx->pieces[i].len;
    }
    heap_add(run, (struct frame){.due = due, .buf = buf, .to = 1 - port->index});
    return true;
}

static void deliver(struct run *run)
{
    while (run->num_frames > 0 && run->frames[0].due <= run->now) {
        struct frame f = heap_take(run);
        struct dk_rx_frame rx = {.buf = f.buf,
                                 .data = f.buf->data,
                                 .len = (uint32_t)dk_buf_bytes(f.buf),
                                 .checksum = DK_RX_CHECKSUM_GOOD};
        dk_net_input(run->net[f.to], &rx, run->now);
        dk_buf_put(f.buf);
    }
}

/* ---- The two ends ---------------------------------------------------------------------------- */

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    (void)conn;
    if (err)
        die("the connection was not made");
    ((struct stream *)owner)->connected = true;
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    (void)conn;
    ((struct stream *)owner)->readable = true;
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    (void)conn;
    (void)owner;
    (void)cookie;
    (void)err;
}

static void on_end(struct dk_tcp_conn *conn, void *owner)
{
    (void)conn;
    (void)owner;
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    (void)conn;
    (void)owner;
    (void)err;
    die("the connection failed");
}

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    (void)listener;
    ((struct run *)owner)->acceptable = true;
}

static const struct dk_tcp_ops ops = {.connected = on_connected,
                                      .readable = on_readable,
                                      .sent = on_sent,
                                      .peer_closed = on_end,
                                      .failed = on_failed,
                                      .closed = on_end};
static const struct dk_tcp_listener_ops listener_ops = {on_acceptable};

static void fill(struct stream *s)
{
    struct run *run = s->run;
    struct dk_tcp_info info;
    struct dk_tx_piece piece = {.data = run->chunk->data, .len = CHUNK, .buf = run->chunk};
    dk_tcp_get_info(s->sender, &info);
    for (uint64_t unsent = info.unsent_bytes; unsent < QUEUED_MAX; unsent += CHUNK)
        if (dk_tcp_send(s->sender, &piece, 1, DK_TCP_SEND_UNREFERENCED, NULL, run->now) < 0)
            die("a push was refused");
}

static void drain(struct stream *s)
{
    struct run *run = s->run;
    struct dk_buf *bufs[64];
    int n;
    s->readable = false;
    while ((n = dk_tcp_recv(s->receiver, bufs, 64, SIZE_MAX, run->now)) > 0) {
        for (int i = 0; i < n; i++) {
            run->received += dk_buf_bytes(bufs[i]);
            dk_buf_put(bufs[i]);
        }
    }
}

static void act(struct run *run)
{
    while (run->acceptable && run->num_accepted < run->path->streams) {
        struct stream *s = &run->streams[run->num_accepted];
        if (dk_tcp_accept(run->listener, &s->receiver, &ops, s) != 0)
            break;
        run->num_accepted++;
    }
    for (uint32_t i = 0; i < run->path->streams; i++) {
        struct stream *s = &run->streams[i];
        if (s->readable && s->receiver)
            drain(s);
        if (s->connected)
            fill(s);
    }
}

/* ---- A run ----------------------------------------------------------------------------------- */

static struct dk_ip address(int index)
{
    return (struct dk_ip){.bytes = {10, 0, 0, (uint8_t)(1 + index)}, .version = 4};
}

static void make(struct run *run, struct port *port, int index)
{
    struct dk_tcp_config tcp;
    const char *why = "";
    dk_tcp_config_init(&tcp);
    tcp.no_sack = !run->path->sack;
    tcp.congestion = (uint8_t)dk_tcp_cc_find(run->path->congestion);
    if (!run->path->tuned) {
        tcp.rcv_buf_bytes = WINDOW;
        tcp.conn_reasm_max = tcp.reasm_max;
    }
    struct dk_net_config config = {.mac = {{2, 0, 0, 0, 0, (uint8_t)(1 + index)}},
                                   .mtu = MTU,
                                   .device_caps = DK_NETDEV_TX_CHECKSUM,
                                   .skip_dad = true,
                                   .tcp = &tcp,
                                   .seed = 1,
                                   .emit = emit,
                                   .emit_arg = port,
                                   .num_addresses = 1,
                                   .addresses = {{address(index), 24}}};
    *port = (struct port){run, index};
    if (dk_net_create(&run->net[index], &config, run->now, &why) != 0)
        die(why);
}

static void set_up(struct run *run, struct port ports[2])
{
    struct dk_endpoint to = {address(1), 80}, any = {.port = 0};
    dk_random_init(&run->random, 7);
    run->now = S;
    make(run, &ports[0], 0);
    make(run, &ports[1], 1);
    run->chunk = dk_buf_alloc(CHUNK, 0);
    if (!run->chunk)
        die("no memory");
    memset(run->chunk->data, 'x', CHUNK);
    if (dk_tcp_listen(dk_net_tcp(run->net[1]), &run->listener, &to, 1, &listener_ops, run) != 0)
        die("the listener was not made");
    for (uint32_t i = 0; i < run->path->streams; i++) {
        struct stream *s = &run->streams[i];
        s->run = run;
        if (dk_tcp_connect(dk_net_tcp(run->net[0]), &s->sender, &any, &to, NULL, &ops, s,
                           run->now) != 0)
            die("a stream was not made");
    }
}

static void tear_down(struct run *run)
{
    dk_net_destroy(run->net[0]);
    dk_net_destroy(run->net[1]);
    while (run->num_frames > 0)
        dk_buf_put(heap_take(run).buf);
    free(run->frames);
    dk_buf_put(run->chunk);
}

static void step(struct run *run)
{
    int64_t next = run->num_frames > 0 ? run->frames[0].due : INT64_MAX;
    for (int i = 0; i < 2; i++) {
        int64_t due = dk_net_next_due(run->net[i]);
        next = due < next ? due : next;
    }
    if (next == INT64_MAX)
        die("nothing will ever happen");
    run->now = next > run->now ? next : run->now;
    deliver(run);
    dk_net_advance(run->net[0], run->now);
    dk_net_advance(run->net[1], run->now);
    act(run);
}

/* As long as it takes to see what a path carries, and shorter where it carries very much. */
static int64_t duration(const struct path *path)
{
    int64_t trips = 150 * path->rtt_ms * MS, least = path->mbit > 100 ? S : 4 * S;
    return trips > least ? trips : least;
}

static struct result measure(const struct path *path)
{
    static struct run run;
    struct port ports[2];
    memset(&run, 0, sizeof(run));
    run.path = path;
    set_up(&run, ports);
    int64_t lasts = duration(path), end = run.now + lasts;
    while (run.now < end)
        step(&run);
    const struct dk_tcp_stats *stats = dk_tcp_stats(dk_net_tcp(run.net[0]));
    struct result result = {.kbit = run.received * 8 * 1000 / ((uint64_t)lasts / 1000),
                            .retransmits = stats->retransmits,
                            .timeouts = stats->rto_fired,
                            .undone = stats->undo_timestamp + stats->undo_dsack + stats->undo_frto};
    if (!dk_tcp_all_valid(dk_net_tcp(run.net[0])) || !dk_tcp_all_valid(dk_net_tcp(run.net[1])))
        die("an invariant of TCP is broken");
    tear_down(&run);
    return result;
}

/* ---- The table ------------------------------------------------------------------------------- */

static const uint32_t mbits[] = {10, 100, 1000}, rtts[] = {2, 20, 100};
static const uint32_t losses[] = {0, 10, 100, 300}, lates[] = {0, 300};

static void row(FILE *kept, const struct path *p, bool *less)
{
    char line[256];
    unsigned mbit, rtt, loss, late, sack;
    uint64_t before;
    struct result r = measure(p);
    printf("%6u %6u %6u %6u %5u %10" PRIu64 " %8" PRIu64 " %6" PRIu64 " %6" PRIu64 "\n", p->mbit,
           p->rtt_ms, p->loss, p->late, p->sack, r.kbit, r.retransmits, r.timeouts, r.undone);
    if (!kept)
        return;
    do {
        if (!fgets(line, sizeof(line), kept))
            die("the table that was kept has fewer rows");
    } while (line[0] == '#');
    if (sscanf(line, "%u %u %u %u %u %" SCNu64, &mbit, &rtt, &loss, &late, &sack, &before) != 6 ||
        mbit != p->mbit || rtt != p->rtt_ms || loss != p->loss || late != p->late ||
        sack != p->sack)
        die("the table that was kept has other rows");
    if (r.kbit * 100 >= before * (100 - TOLERANCE))
        return;
    printf("# not ok: it was %" PRIu64 " kbit/s\n", before);
    *less = true;
}

static void rows(FILE *kept, bool sack, uint32_t mbit_most, bool *less)
{
    for (size_t b = 0; b < 3 && mbits[b] <= mbit_most; b++)
        for (size_t d = 0; d < 3; d++)
            for (size_t l = 0; l < 4; l++)
                for (size_t o = 0; o < 2; o++) {
                    struct path p = {mbits[b], rtts[d], losses[l], lates[o],
                                     sack,     1,       "cubic",   false};
                    row(kept, &p, less);
                }
}

/* ---- Fairness -------------------------------------------------------------------------------- */

static uint64_t acked(const struct stream *s)
{
    struct dk_tcp_info info;
    dk_tcp_get_info(s->sender, &info);
    return info.acked_bytes;
}

/* Jain's index of what two streams carried, in thousandths: (a + b)^2 / (2 (a^2 + b^2)). */
static uint64_t jain(uint64_t a, uint64_t b)
{
    a /= 1000;
    b /= 1000;
    return (a + b) * (a + b) * 1000 / (2 * (a * a + b * b));
}

/* Two streams that begin at the same time, when they have had time to find their shares. */
static bool is_fair(const char *congestion, uint64_t least)
{
    static struct run run;
    const struct path path = {20, 20, 0, 0, true, 2, congestion, false};
    struct port ports[2];
    uint64_t before[2], bytes[2];
    memset(&run, 0, sizeof(run));
    run.path = &path;
    set_up(&run, ports);
    while (run.now < 20 * S)
        step(&run);
    for (int i = 0; i < 2; i++)
        before[i] = acked(&run.streams[i]);
    while (run.now < 60 * S)
        step(&run);
    for (int i = 0; i < 2; i++)
        bytes[i] = acked(&run.streams[i]) - before[i];
    tear_down(&run);
    uint64_t index = jain(bytes[0], bytes[1]);
    bool good = index >= least && (bytes[0] + bytes[1]) * 8 > 40 * 20 * UINT64_C(900000);
    printf("%sok - %s: two streams share 20 Mbit/s in 40 s as %" PRIu64 " to %" PRIu64
           " kB, Jain's index 0.%03" PRIu64 "\n",
           good ? "" : "not ", congestion, bytes[0] / 1000, bytes[1] / 1000,
           index < 1000 ? index : 999);
    return good;
}

static int fair(void)
{
    bool cubic = is_fair("cubic", 950), reno = is_fair("reno", 950), bbr = is_fair("bbr", 900);
    printf("1..3\n");
    return !(cubic && reno && bbr);
}

/* ---- Filling --------------------------------------------------------------------------------- */

#define PAYLOAD       1448u /* of a full segment, with timestamps */
#define FRAME         1514u
#define INITIAL       (10 * PAYLOAD)
#define DEFAULT_BYTES (256u << 10) /* of a buffer that has not grown */
#define ROUNDS_MAX    200u
#define ROUNDS_SPARE  10u /* beyond those of slow start that doubles each time */

/* Payload that a path carries in a round trip. */
static uint64_t full_trip(const struct path *p)
{
    return (uint64_t)p->mbit * 125 * p->rtt_ms * PAYLOAD / FRAME;
}

/* Round trips of slow start at its best, until one carries as much as the path does. */
static uint32_t ideal_rounds(uint64_t full)
{
    uint32_t rounds = 1;
    for (uint64_t window = INITIAL; window < full; window *= 2)
        rounds++;
    return rounds;
}

/* The handshake takes one. A round trip is full when it carried 19 of 20 parts. */
static uint32_t rounds_to_fill(struct run *run, uint64_t full)
{
    const int64_t trip = run->path->rtt_ms * MS;
    int64_t ends = run->now + trip;
    for (uint32_t rounds = 0; rounds <= ROUNDS_MAX; rounds++, ends += trip) {
        const uint64_t before = run->received;
        while (run->now < ends)
            step(run);
        if ((run->received - before) * 20 >= full * 19)
            return rounds;
    }
    return ROUNDS_MAX;
}

static bool fills(uint32_t mbit, uint32_t rtt_ms, uint32_t number)
{
    static struct run run;
    const struct path path = {mbit, rtt_ms, 0, 0, true, 1, "cubic", true};
    struct port ports[2];
    const uint64_t full = full_trip(&path);
    const uint32_t ideal = ideal_rounds(full);
    int64_t window;
    memset(&run, 0, sizeof(run));
    run.path = &path;
    set_up(&run, ports);
    const uint32_t rounds = rounds_to_fill(&run, full);
    dk_tcp_get_option(run.streams[0].receiver, DK_TCP_RCV_BUF, &window);
    const uint64_t most = 4 * full > DEFAULT_BYTES ? 4 * full : DEFAULT_BYTES;
    const bool good = rounds <= ideal + ROUNDS_SPARE && (uint64_t)window >= full &&
                      (uint64_t)window <= most && dk_tcp_all_valid(dk_net_tcp(run.net[1]));
    printf("%sok %u - %u Mbit/s of %u ms are full after %u round trips; at best %u; the window is "
           "%" PRId64 " kB, the path %" PRIu64 "\n",
           good ? "" : "not ", number, mbit, rtt_ms, rounds, ideal, window / 1000, full / 1000);
    fflush(stdout);
    tear_down(&run);
    return good;
}

static int fill_paths(void)
{
    static const uint32_t paths[][2] = {{10000, 10}, {1000, 100}, {1000, 10}, {100, 100}, {10, 20}};
    const uint32_t n = sizeof(paths) / sizeof(paths[0]);
    int bad = 0;
    printf("1..%u\n", n);
    for (uint32_t i = 0; i < n; i++)
        bad += !fills(paths[i][0], paths[i][1], i + 1);
    return bad != 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "fair") == 0)
        return fair();
    if (argc > 1 && strcmp(argv[1], "fill") == 0)
        return fill_paths();
    FILE *kept = argc > 1 ? fopen(argv[1], "r") : NULL;
    bool less = false;
    if (argc > 1 && !kept)
        die("the table cannot be read");
    printf("# One stream over a path: Mbit/s, round trip in ms, of 10,000 frames lost and late, "
           "SACK;\n# what it carried in kbit/s, retransmissions, time-outs, recoveries undone.\n"
           "# Made by build/test/sim/goodput; kept in test/sim/goodput.txt.\n"
           "#%5s %6s %6s %6s %5s %10s %8s %6s %6s\n",
           "Mbit/s", "RTT", "lost", "late", "SACK", "kbit/s", "again", "timed", "undone");
    rows(kept, true, 1000, &less);
    rows(kept, false, 10, &less);
    if (kept)
        fclose(kept);
    return less;
}
