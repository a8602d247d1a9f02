/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of datagrams changes nothing but the work: two stacks get the same frames and
 * the same calls of their applications, and one of them forgets before each what it knows of flows
 * that come in (udp_flow.c) and of paths that datagrams went (udp_tx.c). All that they send,
 * deliver and count is compared. The other one may write frames to rooms of its device (net/dev.h),
 * which are looked at before anything else happens. In the frames something is at random not as the
 * last one had it, with checksums that are right all the same, or are not. DK_SEED=n runs that seed
 * only.
 */
#include "../lib/received.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/random.h"
#include "net/dev.h"
#include "net/net.h"
#include "net/stack.h"
#include "net/udp_sock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS     150
#define ROUNDS    600
#define SOCKS     4u
#define FRAME_MAX 2100u
#define LINK_LEN  14u
#define ROOM_MAX  512u

struct twin {
    struct dk_net *net;
    struct dk_udp_sock *socks[SOCKS];
    struct dk_random random; /* of what the application does */
    uint64_t log;            /* hash of what was sent and delivered */
    uint32_t num_sent, num_received, room;
    bool forgets;
    struct dk_tx_rooms rooms; /* without limit: it has none */
    uint8_t memory[DK_TX_ROOMS][ROOM_MAX];
};

static struct twin twins[2];
static struct dk_random dice;
static uint64_t seed, known, received_in_all, sent_in_all, written_in_all;
static int64_t now;

static uint32_t below(uint32_t n)
{
    return dk_random_below(&dice, n);
}

static void hash(struct twin *t, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        t->log = (t->log ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

/* A frame is sent. */
static void log_frame(struct twin *t, uint16_t checksum_start)
{
    t->room--;
    t->num_sent++;
    hash(t, &checksum_start, sizeof(checksum_start));
}

/* Takes what was written; there are rooms while the device has plenty of room. */
static void drain(struct twin *t)
{
    struct dk_tx_rooms *rooms = &t->rooms;
    for (; rooms->sent < rooms->next; rooms->sent++) {
        log_frame(t, 0);
        hash(t, rooms->frames[rooms->sent].at, rooms->frames[rooms->sent].len);
        written_in_all++;
    }
    rooms->sent = rooms->next = 0;
    dk_tx_rooms_have(rooms, rooms->bytes_max && t->room > 1000 ? DK_TX_ROOMS : 0);
}

static void log_bytes(struct twin *t, const void *bytes, size_t len)
{
    drain(t);
    hash(t, bytes, len);
}

static bool emit(void *arg, const struct dk_tx_frame *frame)
{
    struct twin *t = arg;
    drain(t);
    if (t->room == 0)
        return false;
    log_frame(t, frame->checksum_start);
    hash(t, frame->head, frame->head_len);
    for (uint32_t i = 0; i < frame->num_pieces; i++)
        hash(t, frame->pieces[i].data, frame->pieces[i].len);
    return true;
}

static void forget(struct twin *t)
{
    if (!t->forgets)
        return;
    memset(t->net->udp->flows, 0, sizeof(t->net->udp->flows));
    memset(t->net->udp->paths, 0, sizeof(t->net->udp->paths));
}

static struct dk_ip address(uint8_t version, uint8_t host)
{
    struct dk_ip ip = {.version = version};
    ip.bytes[0] = version == 4 ? 10 : 0xfd;
    ip.bytes[version == 4 ? 3 : 15] = host;
    return ip;
}

/* ---- The application ------------------------------------------------------------------------- */

/* Sends what lies there, in one piece or two; without a buffer, now and then. */
static void answer(struct twin *t, struct dk_udp_sock *sock, const struct dk_endpoint *to,
                   struct dk_buf *buf)
{
    const uint32_t len = (uint32_t)dk_buf_bytes(buf), half = dk_random_below(&t->random, len + 1);
    struct dk_tx_piece pieces[2] = {{.data = buf->data, .len = len, .buf = buf}};
    const uint32_t n = dk_random_below(&t->random, 4) ? 1 : 2;
    if (n == 2) {
        pieces[0].len = half;
        pieces[1] = (struct dk_tx_piece){.data = buf->data + half, .len = len - half, .buf = buf};
    }
    if (dk_random_below(&t->random, 20) == 0)
        pieces[0].buf = NULL;
    forget(t);
    const int error = dk_udp_send(sock, to, pieces, n, now);
    log_bytes(t, &error, sizeof(error));
}

static void on_event(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct twin *t = arg;
    struct dk_udp_datagram d;
    const int error = dk_udp_take_error(sock);
    log_bytes(t, &error, sizeof(error));
    log_bytes(t, &events, sizeof(events));
    while (dk_random_below(&t->random, 8) != 0 && dk_udp_recv(sock, &d) == 0) {
        const uint16_t port = dk_udp_local(sock)->port;
        log_bytes(t, &port, sizeof(port));
        log_bytes(t, &d.from.ip, sizeof(d.from.ip));
        log_bytes(t, &d.from.port, sizeof(d.from.port));
        log_bytes(t, &d.to, sizeof(d.to));
        log_bytes(t, &d.ttl, 1);
        log_bytes(t, &d.tos, 1);
        log_bytes(t, d.buf->data, dk_buf_bytes(d.buf));
        t->num_received++;
        if (dk_random_below(&t->random, 3) != 0)
            answer(t, sock, &d.from, d.buf);
        dk_buf_put(d.buf);
    }
}

static struct dk_ip local_of(uint32_t choice)
{
    return choice == 0 ? (struct dk_ip){.version = 0} : address(choice == 1 ? 4 : 6, 1);
}

static void open_sock(struct twin *t, uint32_t index, uint32_t choice)
{
    const struct dk_endpoint at = {.ip = local_of(choice), .port = (uint16_t)(7 + index / 2)};
    assert_int_equal(dk_udp_open(t->net, on_event, t, &t->socks[index]), 0);
    dk_udp_set(t->socks[index], DK_UDP_REUSEADDR, 1);
    assert_int_equal(dk_udp_bind(t->socks[index], &at), 0);
}

/* Something that ends what is remembered. */
static void change_sock(uint32_t index)
{
    const uint32_t what = below(5), choice = below(3), value = below(3);
    const struct dk_endpoint peer = {.ip = address(below(2) ? 4 : 6, 2), .port = 9};
    for (int i = 0; i < 2; i++) {
        struct twin *t = &twins[i];
        struct dk_udp_sock *sock = t->socks[index];
        if (what == 0) {
            dk_udp_close(sock);
            open_sock(t, index, choice);
        } else if (what == 1) {
            const int error = dk_udp_connect(sock, value ? &peer : NULL);
            log_bytes(t, &error, sizeof(error));
        } else if (what == 2) {
            dk_udp_set(sock, DK_UDP_RCVBUF, value ? 256 * 1024 : 2000);
        } else if (what == 3) {
            dk_udp_set(sock, DK_UDP_TTL, (int)(60 + value));
        } else {
            dk_udp_set(sock, DK_UDP_TOS, (int)(4 * value));
        }
    }
}

/* ---- Frames ---------------------------------------------------------------------------------- */

struct made {
    uint8_t bytes[FRAME_MAX];
    uint32_t len;
    bool good_by_device, owned;
};

static uint32_t udp_at(const uint8_t *frame)
{
    return LINK_LEN + (frame[14] >> 4 == 4 ? 20 : 40);
}

/* Of a frame as it is now, whatever it says. */
static void put_checksums(struct made *m)
{
    uint8_t *ip = m->bytes + LINK_LEN, *udp = m->bytes + udp_at(m->bytes);
    const uint32_t len = m->len - udp_at(m->bytes), addresses = ip[0] >> 4 == 4 ? 8 : 32;
    uint32_t sum = dk_checksum_add(DK_IP_UDP + dk_get_be16(udp + 4), udp - addresses, addresses);
    dk_put_be16(udp + 6, 0);
    sum = dk_checksum_add(sum, udp, len);
    dk_put_be16(udp + 6, dk_checksum_finish(sum));
    if (addresses == 8) {
        dk_put_be16(ip + 10, 0);
        dk_put_be16(ip + 10, dk_checksum_finish(dk_checksum_add(0, ip, 20)));
    }
}

/* Mostly that of the datagram before. Many have one place in the memory. */
static struct flow {
    uint16_t from, to;
    uint8_t version, host;
} flow;

static void choose_flow(void)
{
    if (below(4) != 0 && flow.version != 0)
        return;
    flow = (struct flow){.from = (uint16_t)(9 + 256 * below(2)),
                         .to = (uint16_t)(7 + below(3)), /* nobody has the last */
                         .version = below(2) ? 4 : 6,
                         .host = (uint8_t)(2 + below(2))};
}

/* What a peer usually sends. */
static void make(struct made *m, uint32_t payload)
{
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    choose_flow();
    const uint8_t version = flow.version;
    const struct dk_ip src = address(version, flow.host), dst = address(version, 1);
    uint8_t *ip = m->bytes + LINK_LEN;
    memset(m, 0, LINK_LEN + 48);
    memcpy(m->bytes, macs, 12);
    dk_put_be16(m->bytes + 12, version == 4 ? 0x0800 : 0x86dd);
    if (version == 4) {
        ip[0] = 0x45;
        dk_put_be16(ip + 2, (uint16_t)(28 + payload));
        dk_put_be16(ip + 4, (uint16_t)below(65536));
        dk_put_be16(ip + 6, below(2) ? 0x4000 : 0);
        ip[8] = 64;
        ip[9] = DK_IP_UDP;
        memcpy(ip + 12, src.bytes, 4);
        memcpy(ip + 16, dst.bytes, 4);
    } else {
        ip[0] = 0x60;
        dk_put_be16(ip + 4, (uint16_t)(8 + payload));
        ip[6] = DK_IP_UDP;
        ip[7] = 64;
        memcpy(ip + 8, src.bytes, 16);
        memcpy(ip + 24, dst.bytes, 16);
    }
    uint8_t *udp = m->bytes + udp_at(m->bytes);
    dk_put_be16(udp, flow.from);
    dk_put_be16(udp + 2, flow.to);
    dk_put_be16(udp + 4, (uint16_t)(8 + payload));
    for (uint32_t i = 0; i < payload; i++)
        udp[8 + i] = (uint8_t)below(256);
    m->len = udp_at(m->bytes) + 8 + payload;
    m->good_by_device = m->owned = false;
    put_checksums(m);
}

/* A length that is too short, of all that say it. */
static void put_length(struct made *m)
{
    const uint32_t len = below(12), at = udp_at(m->bytes);
    dk_put_be16(m->bytes + at + 4, (uint16_t)len);
    dk_put_be16(m->bytes + LINK_LEN + (at == 34 ? 2 : 4), (uint16_t)(at == 34 ? 20 + len : len));
}

static void spoil(struct made *m)
{
    const uint32_t head = udp_at(m->bytes) + 8, at = below(head);
    switch (below(9)) {
    case 0: /* one bit of the headers */
    case 1:
        m->bytes[at] ^= (uint8_t)(1u << below(8));
        break;
    case 2: /* one byte anywhere */
        m->bytes[below(m->len)] = (uint8_t)below(256);
        break;
    case 3: /* a length */
        dk_put_be16(m->bytes + (below(2) ? head - 4 : LINK_LEN + 2), (uint16_t)below(m->len + 8));
        break;
    case 4:
        m->len = below(m->len + 1);
        break;
    case 5: /* padding */
        memset(m->bytes + m->len, 0, 40);
        m->len += 1 + below(40);
        break;
    case 6:
        put_length(m);
        m->good_by_device = below(2);
        break;
    case 7: /* no checksum */
        dk_put_be16(m->bytes + head - 2, 0);
        return;
    default:
        m->good_by_device = true;
        break;
    }
    if (m->len >= 62 && below(3) != 0)
        put_checksums(m);
}

/* Both get a copy. Whether the first one knew the flow shows in that it looked for no socket. */
static void give(const struct made *m)
{
    for (int i = 0; i < 2; i++) {
        struct twin *t = &twins[i];
        struct dk_buf *buf =
            m->owned ? dk_buf_alloc(m->len + 1, DK_BUF_PEER_BYTES) : received(m->bytes, m->len);
        const bool gives = m->len % 2 != 0; /* its hold */
        struct dk_rx_frame frame = {.buf = buf,
                                    .data = buf->data,
                                    .len = m->len,
                                    .checksum = m->good_by_device ? DK_RX_CHECKSUM_GOOD
                                                                  : DK_RX_CHECKSUM_UNKNOWN,
                                    .gives = gives};
        memcpy(buf->data, m->bytes, m->len);
        forget(t);
        t->net->udp->last = NULL;
        const uint64_t before = t->net->udp->stats.rx_datagrams;
        dk_net_input(t->net, &frame, now);
        if (!t->forgets)
            known += t->net->udp->stats.rx_datagrams > before && !t->net->udp->last;
        if (!gives || frame.gives)
            dk_buf_put(buf);
    }
}

/* ---- A run ----------------------------------------------------------------------------------- */

static void compare(void)
{
    const char *name;
    uint64_t with, without;
    drain(&twins[0]);
    for (size_t i = 0; dk_net_stat(twins[0].net, i, &name, &with) == 0; i++) {
        dk_net_stat(twins[1].net, i, &name, &without);
        if (with != without)
            fail_msg("seed %lu: %s is %lu with a memory, %lu without", seed, name, with, without);
    }
    if (twins[0].log != twins[1].log)
        fail_msg("seed %lu: what was sent or delivered differs", seed);
    assert_int_equal(dk_net_next_due(twins[0].net), dk_net_next_due(twins[1].net));
}

static void open_twin(struct twin *t, bool forgets)
{
    const char *why;
    const struct dk_net_config config = {
        .mac = {{2, 0, 0, 0, 0, 1}},
        .mtu = 1500,
        .device_caps = seed % 4 == 0 ? DK_NETDEV_TX_CHECKSUM : 0,
        .skip_dad = true,
        .num_addresses = 2,
        .addresses = {{.ip = address(4, 1), .prefix_len = 24},
                      {.ip = address(6, 1), .prefix_len = 64}},
        .seed = seed,
        .emit = emit,
        .emit_arg = t,
        .rooms = forgets || seed % 3 == 0 ? NULL : &t->rooms,
    };
    *t = (struct twin){.forgets = forgets, .room = UINT32_MAX};
    t->rooms.bytes_max = config.rooms ? ROOM_MAX : 0;
    for (uint32_t i = 0; i < DK_TX_ROOMS; i++)
        t->rooms.frames[i].at = t->memory[i];
    drain(t);
    dk_random_init(&t->random, seed);
    assert_int_equal(dk_net_create(&t->net, &config, now, &why), 0);
    for (uint8_t host = 2; host < 4; host++) {
        const struct dk_ip ip[2] = {address(4, host), address(6, host)};
        const struct dk_mac mac = {{2, 0, 0, 0, 0, host}};
        for (int i = 0; i < 2; i++)
            assert_int_equal(dk_net_add_neighbour(t->net, &ip[i], &mac), 0);
    }
    for (uint32_t i = 0; i < SOCKS; i++)
        open_sock(t, i, i % 2 ? 0 : 1 + i / 2);
}

/* Now and then a neighbour moves, or the device has no room for a while. */
static void change_link(void)
{
    const struct dk_mac mac = {{2, 0, 0, 0, 0, (uint8_t)(2 + below(20))}};
    const struct dk_ip ip = address(below(2) ? 4 : 6, 2);
    const bool moves = below(2);
    const uint32_t room = below(3);
    for (int i = 0; i < 2; i++) {
        if (moves) {
            assert_int_equal(dk_net_add_neighbour(twins[i].net, &ip, &mac), 0);
        } else {
            const bool had_none = twins[i].room < 1000;
            twins[i].room = had_none ? UINT32_MAX : room;
            drain(&twins[i]);
            if (had_none)
                dk_net_tx_room(twins[i].net, now);
        }
    }
}

static void run_round(void)
{
    struct made m;
    const uint32_t burst = 1 + below(6), payload = below(4) ? 64 : below(2000);
    for (uint32_t i = 0; i < burst; i++) {
        make(&m, below(2) ? payload : below(20));
        if (below(4) == 0)
            spoil(&m);
        m.owned = below(10) == 0;
        give(&m);
    }
    for (int i = 0; i < 2; i++)
        dk_net_advance(twins[i].net, now);
    if (below(40) == 0)
        change_sock(below(SOCKS));
    if (below(40) == 0)
        change_link();
    now += below(3) * DK_NS_PER_MS;
}

static void run_seed(void)
{
    dk_random_init(&dice, seed);
    now = 1;
    open_twin(&twins[0], false);
    open_twin(&twins[1], true);
    for (int i = 0; i < ROUNDS; i++) {
        run_round();
        compare();
    }
    received_in_all += twins[0].num_received;
    sent_in_all += twins[0].num_sent;
    dk_net_destroy(twins[0].net);
    dk_net_destroy(twins[1].net);
}

static void test_flow_that_is_known_is_treated_as_one_that_is_not(void **state)
{
    (void)state;
    const char *only = getenv("DK_SEED");
    const uint64_t first = only ? strtoull(only, NULL, 10) : 1, end = only ? first + 1 : SEEDS;
    const uint32_t bufs = dk_buf_in_use();
    for (seed = first; seed < end; seed++)
        run_seed();
    /* Or this compares nothing. */
    const uint64_t rounds = (end - first) * ROUNDS;
    assert_true(received_in_all > rounds && sent_in_all > rounds / 2 && known > rounds / 3);
    assert_true(only || written_in_all > rounds / 40);
    assert_int_equal(dk_buf_in_use(), bufs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flow_that_is_known_is_treated_as_one_that_is_not),
    };
    return cmocka_run_group_tests_name("net-flow", tests, NULL, NULL);
}
