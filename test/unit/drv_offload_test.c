/* SPDX-License-Identifier: MIT */
/* Segments that are cut in software: their headers, their bytes, and a device without room. */
#include "base/bytes.h"
#include "base/checksum.h"
#include "drv/offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES_MAX 512

/* A device that keeps what it gets. */
static struct sink {
    struct dk_netdev dev;
    uint32_t room, num;
    uint32_t lens[FRAMES_MAX];
    uint8_t bytes[FRAMES_MAX][1600];
} sink;

static uint32_t sink_tx(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                        int64_t now)
{
    (void)dev;
    (void)now;
    uint32_t i = 0;
    for (; i < n && sink.room > 0; i++, sink.room--) {
        uint32_t len = frames[i].head_len;
        assert_true(dk_tx_frame_bytes(&frames[i]) <= sizeof sink.bytes[0]);
        assert_int_equal(frames[i].segment_bytes, 0);
        memcpy(sink.bytes[sink.num], frames[i].head, len);
        for (uint32_t k = 0; k < frames[i].num_pieces; k++) {
            memcpy(sink.bytes[sink.num] + len, frames[i].pieces[k].data, frames[i].pieces[k].len);
            len += frames[i].pieces[k].len;
        }
        sink.lens[sink.num++] = len;
    }
    return i;
}

static uint32_t sink_rx(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                        int64_t now)
{
    (void)dev;
    (void)frames_out;
    (void)max;
    (void)now;
    return 0;
}

static void sink_close(struct dk_netdev *dev)
{
    (void)dev;
}

static const struct dk_netdev_ops sink_ops = {
    .name = "sink", .rx_burst = sink_rx, .tx_burst = sink_tx, .close = sink_close};

static struct dk_netdev *open_over_sink(void)
{
    struct dk_netdev *dev;
    const char *why;
    memset(&sink, 0, sizeof sink);
    sink.dev.ops = &sink_ops;
    sink.dev.stats = &sink.dev.own_stats;
    sink.room = FRAMES_MAX;
    assert_int_equal(dk_offload_open(&dev, &sink.dev, &why), 0);
    assert_true(dev->caps.flags & DK_NETDEV_TSO);
    return dev;
}

/* A frame of TCP with `payload` bytes, to be cut. */
struct whole {
    uint8_t head[DK_TX_HEAD_MAX];
    uint8_t payload[65536];
    uint32_t payload_len, ip_at, tcp_at;
    bool v4;
    struct dk_tx_frame frame;
};

static struct whole whole;

static uint32_t pseudo_sum(uint32_t tcp_len)
{
    const uint8_t *ip = whole.head + whole.ip_at;
    const uint32_t sum = whole.v4 ? dk_checksum_add(0, ip + 12, 8) : dk_checksum_add(0, ip + 8, 32);
    return sum + 6 + tcp_len;
}

static void make(bool v4, bool tagged, uint32_t payload, uint32_t segment, uint32_t pieces)
{
    memset(&whole.frame, 0, sizeof whole.frame);
    memset(whole.head, 0, sizeof whole.head);
    whole.v4 = v4;
    whole.payload_len = payload;
    whole.ip_at = tagged ? 18 : 14;
    whole.tcp_at = whole.ip_at + (v4 ? 20 : 40);
    uint8_t *ip = whole.head + whole.ip_at, *tcp = whole.head + whole.tcp_at;
    if (tagged)
        dk_put_be32(whole.head + 12, 0x81000007);
    dk_put_be16(ip - 2, v4 ? 0x0800 : 0x86dd);
    ip[0] = v4 ? 0x45 : 0x60;
    dk_put_be32(ip + 12, 0x0a000001);
    dk_put_be32(ip + 16, 0x0a000002);
    ip[9] = v4 ? 6 : 0;
    dk_put_be32(tcp + 4, 0xfffff000); /* wraps on the way */
    tcp[12] = 8 << 4;
    tcp[13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR, ACK, PSH, FIN */
    dk_put_be16(tcp + 16, dk_checksum_fold(pseudo_sum(32 + payload)));
    for (uint32_t i = 0; i < payload; i++)
        whole.payload[i] = (uint8_t)rand();
    whole.frame.head = whole.head;
    whole.frame.head_len = whole.tcp_at + 32;
    whole.frame.checksum_start = (uint16_t)whole.tcp_at;
    whole.frame.checksum_offset = 16;
    whole.frame.segment_bytes = (uint16_t)segment;
    whole.frame.num_pieces = pieces;
    for (uint32_t i = 0, at = 0; i < pieces; i++) {
        const uint32_t len = i + 1 == pieces ? payload - at : payload / pieces;
        whole.frame.pieces[i] = (struct dk_tx_piece){.data = whole.payload + at, .len = len};
        at += len;
    }
}

/* Checks the segments in the sink from index `from` on, all of them. */
static void check(uint32_t from)
{
    const uint32_t head_len = whole.frame.head_len, tcp_at = whole.tcp_at;
    uint32_t done = 0;
    for (uint32_t i = from; done < whole.payload_len; i++) {
        assert_true(i < sink.num);
        uint8_t *bytes = sink.bytes[i], *ip = bytes + whole.ip_at, *tcp = bytes + tcp_at;
        const uint32_t n = sink.lens[i] - head_len, tcp_len = sink.lens[i] - tcp_at;
        const bool last = done + n == whole.payload_len;
        assert_true(last || n == whole.frame.segment_bytes);
        assert_memory_equal(bytes + head_len, whole.payload + done, n);
        assert_int_equal(dk_get_be32(tcp + 4), (uint32_t)(0xfffff000u + done));
        assert_int_equal(tcp[13], 0x10 | (last ? 0x09 : 0) | (done == 0 ? 0x80 : 0));
        assert_true(dk_checksum_is_good(pseudo_sum(tcp_len), tcp, tcp_len));
        assert_int_equal(dk_get_be16(ip + (whole.v4 ? 2 : 4)), (whole.v4 ? 20 : 0) + tcp_len);
        if (whole.v4)
            assert_true(dk_checksum_is_good(0, ip, 20));
        done += n;
    }
}

static void test_offload_cuts_segments_of_any_shape(void **state)
{
    struct dk_netdev *dev = open_over_sink();
    (void)state;
    srand(1);
    for (uint32_t i = 0; i < 2000; i++) {
        const uint32_t segment = 1 + (uint32_t)rand() % 1448;
        const uint32_t payload =
            1 + (uint32_t)rand() % (segment * 40 < 65000 ? segment * 40 : 65000);
        const uint32_t pieces = 1 + (uint32_t)rand() % DK_TX_PIECES_MAX;
        make(rand() % 2, rand() % 2, payload, segment, pieces < payload ? pieces : 1);
        sink.num = 0;
        sink.room = FRAMES_MAX;
        assert_int_equal(dev->ops->tx_burst(dev, &whole.frame, 1, 0), 1);
        assert_int_equal(sink.num, (payload + segment - 1) / segment);
        check(0);
    }
    dev->ops->close(dev);
}

/* What is left of a frame that was begun goes before everything else, and is not lost. */
static void test_offload_device_without_room_gets_the_rest_later(void **state)
{
    struct dk_netdev *dev = open_over_sink();
    struct dk_rx_frame frames[4];
    (void)state;
    make(true, false, 20000, 1448, 3);
    struct dk_tx_frame burst[2] = {whole.frame, {.head = whole.head, .head_len = 60}};
    sink.room = 5;
    assert_int_equal(dev->ops->tx_burst(dev, burst, 2, 0), 1);
    assert_int_equal(sink.num, 5);
    uint8_t kept[sizeof whole.payload];
    memcpy(kept, whole.payload, sizeof kept);
    memset(whole.payload, 0, sizeof whole.payload); /* the caller's again */
    assert_int_equal(dev->ops->tx_burst(dev, burst + 1, 1, 0), 0);
    sink.room = 3;
    assert_int_equal(dev->ops->rx_burst(dev, frames, 4, 0), 0);
    assert_int_equal(sink.num, 8);
    sink.room = 100;
    assert_int_equal(dev->ops->tx_burst(dev, burst + 1, 1, 0), 1);
    assert_int_equal(sink.num, 15);
    assert_int_equal(sink.lens[14], 60);
    memcpy(whole.payload, kept, sizeof kept);
    check(0);
    sink.room = 0;
    assert_int_equal(dev->ops->tx_burst(dev, burst, 2, 0), 0);
    assert_int_equal(dev->stats->tx_dropped, 0);
    assert_int_equal(dev->stats->offload_cut, 1);
    dev->ops->close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offload_cuts_segments_of_any_shape),
        cmocka_unit_test(test_offload_device_without_room_gets_the_rest_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
