/* SPDX-License-Identifier: MIT */
#include "drv_kit.h"

#include "base/bytes.h"
#include "mem/stats.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST 32u

const struct dk_mac drv_station = {{2, 0, 0, 0, 0, 2}};

static const struct drv_maker *maker_of(void **state)
{
    return *state;
}

void drv_frame_make(struct drv_frame *f, uint32_t len, uint32_t head_len, uint32_t num_pieces,
                    uint64_t seed)
{
    uint8_t header[DRV_HEADER] = {[6] = 2, [11] = 1, [12] = 0x88, [13] = 0xb5};
    memcpy(header, drv_station.bytes, sizeof drv_station.bytes);
    memset(f, 0, sizeof(*f));
    f->bytes = malloc(len);
    memcpy(f->bytes, header, len < DRV_HEADER ? len : DRV_HEADER);
    if (len > DRV_HEADER)
        pattern_fill(f->bytes + DRV_HEADER, len - DRV_HEADER, seed, 0);
    f->tx.head = f->bytes;
    f->tx.head_len = num_pieces ? head_len : len;
    f->tx.num_pieces = num_pieces;
    uint32_t at = f->tx.head_len;
    for (uint32_t i = 0; i < num_pieces; i++) {
        uint32_t bytes = i + 1 == num_pieces ? len - at : (len - head_len) / num_pieces;
        f->tx.pieces[i] = (struct dk_tx_piece){f->bytes + at, bytes, NULL};
        at += bytes;
    }
}

void drv_frame_free(struct drv_frame *f)
{
    free(f->bytes);
}

void drv_check(struct dk_rx_frame *got, const struct drv_frame *sent)
{
    assert_int_equal(got->len, dk_tx_frame_bytes(&sent->tx));
    assert_memory_equal(got->data, sent->bytes, got->len);
    assert_true(got->data >= got->buf->data && got->data + got->len <= got->buf->end);
    dk_buf_put(got->buf);
}

void drv_address(const struct dk_netdev *from, const struct drv_frame *f)
{
    f->bytes[5] = drv_station.bytes[5] + dk_mac_equal(&from->caps.mac, &drv_station);
}

void drv_send(struct dk_netdev *dev, const struct drv_frame *f)
{
    drv_address(dev, f);
    assert_int_equal(dev->ops->tx_burst(dev, &f->tx, 1, (int64_t)now_ns()), 1);
}

bool drv_readable(struct dk_netdev *dev, int timeout_ms)
{
    int fd = dev->ops->arm(dev);
    if (fd < 0)
        return true;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

bool drv_sleeps(struct dk_netdev *dev)
{
    for (int tries = 0; tries < 50; tries++)
        if (!drv_readable(dev, 0))
            return true;
    return false;
}

void drv_receive(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t n)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    for (uint32_t got = 0; got < n;) {
        uint32_t more = dev->ops->rx_burst(dev, frames_out + got, n - got, (int64_t)now_ns());
        got += more;
        if (more > 0 || got == n)
            continue;
        drv_readable(dev, 1000);
        must_hold(now_ns() < give_up, "%u of %u frames came", got, n);
    }
}

void drv_drain(struct dk_netdev *dev)
{
    struct dk_rx_frame frames[BURST];
    uint32_t n;
    while ((n = dev->ops->rx_burst(dev, frames, BURST, (int64_t)now_ns())) > 0)
        while (n > 0)
            dk_buf_put(frames[--n].buf);
}

void drv_close(struct drv_link *link)
{
    for (int i = 0; i < 2; i++)
        link->dev[i]->ops->close(link->dev[i]);
}

void drv_must_fail(int r, int error, const char *const *why_out, const char *words)
{
    const char *why = *why_out;
    must_hold(r == -error, "returns %d, not -%s (%s)", r, errno_name(error), why ? why : "");
    must_hold(why && strstr(why, words), "says \"%s\", without \"%s\"", why ? why : "", words);
}

struct run {
    const struct drv_maker *maker;
    struct drv_link link;
    uint32_t bufs;
    int fds;
};

static struct run begin(void **state, uint32_t mtu, size_t pool_bytes)
{
    struct run run = {.maker = maker_of(state), .bufs = dk_buf_in_use(), .fds = open_fds()};
    deadline_start(run.maker->name, DEADLINE_S);
    run.maker->open(&run.link, mtu, pool_bytes);
    return run;
}

/* Nothing is left of a link that was closed. */
static void end(struct run *run)
{
    if (run->maker->clean)
        run->maker->clean();
    assert_int_equal(dk_buf_in_use(), run->bufs);
    assert_int_equal(open_fds(), run->fds);
    deadline_stop();
}

/* Sends a burst of frames of random lengths and shapes; they come as they went. */
static void exchange(struct dk_netdev *from, struct dk_netdev *to, uint64_t *seed)
{
    struct drv_frame sent[BURST];
    struct dk_tx_frame tx[BURST];
    struct dk_rx_frame got[BURST];
    uint32_t n = 1 + random_below(seed, BURST);
    for (uint32_t i = 0; i < n; i++) {
        /* The kernel pads or refuses what is shorter than a frame of the wire. */
        uint32_t len = 60 + random_below(seed, from->caps.mtu + DRV_HEADER - 60 + 1);
        drv_frame_make(&sent[i], len, DRV_HEADER + random_below(seed, 40), random_below(seed, 5),
                       random_next(seed));
        drv_address(from, &sent[i]);
        tx[i] = sent[i].tx;
    }
    assert_int_equal(from->ops->tx_burst(from, tx, n, (int64_t)now_ns()), n);
    drv_receive(to, got, n);
    for (uint32_t i = 0; i < n; i++) {
        drv_check(&got[i], &sent[i]);
        drv_frame_free(&sent[i]);
    }
}

void drv_test_whole_and_in_order(void **state)
{
    struct run run = begin(state, 0, 0);
    uint64_t seed = seed_choose(run.maker->name);
    for (int i = 0; i < 100; i++)
        exchange(run.link.dev[i & 1], run.link.dev[~i & 1], &seed);
    for (int i = 0; i < 2; i++) {
        const struct dk_netdev_stats *mine = run.link.dev[i]->stats;
        const struct dk_netdev_stats *other = run.link.dev[1 - i]->stats;
        assert_true(mine->tx_frames > 0 && mine->tx_frames == other->rx_frames);
        assert_true(mine->tx_bytes > 0 && mine->tx_bytes == other->rx_bytes);
        assert_true(mine->tx_dropped == 0 && mine->rx_dropped == 0);
    }
    drv_close(&run.link);
    end(&run);
}

void drv_test_tagged(void **state)
{
    static const uint8_t tag[4] = {0x81, 0x00, 0x60, 0x2a};
    if (maker_of(state)->untagged) {
        puts("skip: the device is given no frames with a tag");
        skip();
    }
    struct run run = begin(state, 0, 0);
    for (int i = 0; i < 2; i++) {
        struct drv_frame f;
        struct dk_rx_frame got;
        uint32_t len = run.link.dev[i]->caps.mtu + DRV_HEADER + sizeof(tag);
        drv_frame_make(&f, len, DRV_HEADER, 2, 7);
        memcpy(f.bytes + 12, tag, sizeof(tag));
        f.bytes[16] = 0x88;
        f.bytes[17] = 0xb5;
        drv_send(run.link.dev[i], &f);
        drv_receive(run.link.dev[1 - i], &got, 1);
        drv_check(&got, &f);
        drv_frame_free(&f);
    }
    drv_close(&run.link);
    end(&run);
}

void drv_test_many_pieces(void **state)
{
    struct run run = begin(state, 0, 0);
    for (int i = 0; i < 2; i++) {
        struct drv_frame f;
        struct dk_rx_frame got;
        drv_frame_make(&f, 1000, 54, DK_TX_PIECES_MAX, 3);
        drv_send(run.link.dev[i], &f);
        drv_receive(run.link.dev[1 - i], &got, 1);
        drv_check(&got, &f);
        drv_frame_free(&f);
    }
    drv_close(&run.link);
    end(&run);
}

void drv_test_longest(void **state)
{
    uint32_t mtu = maker_of(state)->max_mtu;
    struct run run = begin(state, mtu, 0);
    for (int i = 0; i < 2; i++) {
        struct drv_frame f;
        struct dk_rx_frame got;
        assert_int_equal(run.link.dev[i]->caps.mtu, mtu);
        drv_frame_make(&f, mtu + DRV_HEADER, DRV_HEADER, 1, 5);
        drv_send(run.link.dev[i], &f);
        drv_receive(run.link.dev[1 - i], &got, 1);
        drv_check(&got, &f);
        drv_frame_free(&f);
    }
    drv_close(&run.link);
    end(&run);
}

void drv_test_too_long(void **state)
{
    struct run run = begin(state, 0, 0);
    for (int i = 0; i < 2; i++) {
        struct dk_netdev *dev = run.link.dev[i];
        struct drv_frame f[3];
        struct dk_tx_frame tx[3];
        struct dk_rx_frame got;
        drv_frame_make(&f[0], dev->caps.mtu + DRV_HEADER + 4 + 1, DRV_HEADER, 2, 1);
        drv_frame_make(&f[1], DRV_HEADER - 1, 0, 0, 1);
        drv_frame_make(&f[2], 100, DRV_HEADER, 1, 1);
        for (int k = 0; k < 3; k++) {
            drv_address(dev, &f[k]);
            tx[k] = f[k].tx;
        }
        assert_int_equal(dev->ops->tx_burst(dev, tx, 3, 0), 3);
        drv_receive(run.link.dev[1 - i], &got, 1);
        drv_check(&got, &f[2]);
        assert_true(dev->stats->tx_dropped == 2);
        assert_true(dev->stats->tx_too_long == 1 && dev->stats->tx_too_short == 1);
        assert_true(dev->stats->tx_frames == 1 && dev->stats->tx_bytes == 100);
        for (int k = 0; k < 3; k++)
            drv_frame_free(&f[k]);
    }
    drv_close(&run.link);
    end(&run);
}

void drv_test_arm(void **state)
{
    struct run run = begin(state, 0, 0);
    struct drv_frame f;
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < 6; i++) {
        struct dk_netdev *from = run.link.dev[i & 1], *to = run.link.dev[~i & 1];
        struct dk_rx_frame got;
        assert_true(drv_sleeps(to));
        /* Armed before, during and after: a frame is never missed. */
        drv_send(from, &f);
        assert_true(drv_readable(to, PATIENCE_S * 1000));
        assert_true(drv_readable(to, PATIENCE_S * 1000)); /* as long as it is there */
        drv_receive(to, &got, 1);
        drv_check(&got, &f);
        assert_true(drv_sleeps(to));
    }
    drv_frame_free(&f);
    drv_close(&run.link);
    end(&run);
}

void drv_test_held_frames_outlive_device(void **state)
{
    struct run run = begin(state, 0, 0);
    struct drv_frame f[2];
    struct dk_rx_frame got[2];
    for (int i = 0; i < 2; i++) {
        drv_frame_make(&f[i], 800, DRV_HEADER, 1, (uint64_t)i);
        drv_send(run.link.dev[i], &f[i]);
        drv_receive(run.link.dev[1 - i], &got[i], 1);
    }
    drv_close(&run.link);
    for (int i = 0; i < 2; i++) {
        /* There is room for the sender's address behind a frame. */
        memset(got[i].buf->end, 0xff, DK_BUF_PEER_BYTES);
        drv_check(&got[i], &f[i]);
        drv_frame_free(&f[i]);
    }
    end(&run);
}

void drv_test_half_held_pool(void **state)
{
    enum { FRAMES = 4096, BYTES = 1000 };
    struct run run = begin(state, 0, 1 << 20); /* a quarter of what is held */
    struct dk_rx_frame *got = malloc(FRAMES * sizeof(*got));
    struct drv_frame f;
    drv_frame_make(&f, BYTES, DRV_HEADER, 1, 9);
    const uint64_t copies = dk_mem_stats->copies_pool;
    for (uint32_t i = 0; i < FRAMES; i++) {
        drv_send(run.link.dev[0], &f);
        drv_receive(run.link.dev[1], &got[i], 1);
    }
    assert_true(dk_mem_stats->copies_pool > copies + FRAMES / 2);
    for (uint32_t i = 0; i < FRAMES; i++)
        drv_check(&got[i], &f);
    const uint64_t after = dk_mem_stats->copies_pool;
    for (uint32_t i = 0; i < 100; i++) { /* and back to views */
        drv_send(run.link.dev[0], &f);
        drv_receive(run.link.dev[1], &got[0], 1);
        drv_check(&got[0], &f);
    }
    assert_true(dk_mem_stats->copies_pool == after);
    drv_frame_free(&f);
    free(got);
    drv_close(&run.link);
    end(&run);
}

void drv_test_close_with_frames_in_flight(void **state)
{
    for (int first = 0; first < 2; first++) {
        struct run run = begin(state, 0, 0);
        struct drv_frame f;
        drv_frame_make(&f, 500, DRV_HEADER, 1, 1);
        for (int i = 0; i < 20; i++) {
            drv_send(run.link.dev[0], &f);
            drv_send(run.link.dev[1], &f);
        }
        struct dk_netdev *left = run.link.dev[1 - first];
        run.link.dev[first]->ops->close(run.link.dev[first]);
        assert_int_equal(left->ops->tx_burst(left, &f.tx, 1, 0), 1); /* sent or counted */
        assert_true(left->stats->tx_frames + left->stats->tx_dropped == 21);
        left->ops->close(left);
        drv_frame_free(&f);
        end(&run);
    }
}

void drv_test_stats_move(void **state)
{
    struct run run = begin(state, 0, 0);
    struct dk_netdev_stats elsewhere[2];
    struct drv_frame f;
    drv_frame_make(&f, 500, DRV_HEADER, 1, 1);
    for (int i = 0; i < 2; i++) {
        struct dk_rx_frame got;
        drv_send(run.link.dev[0], &f);
        drv_receive(run.link.dev[1], &got, 1);
        drv_check(&got, &f);
        if (i == 0)
            for (int k = 0; k < 2; k++)
                dk_netdev_move_stats(run.link.dev[k], &elsewhere[k]);
    }
    assert_true(elsewhere[0].tx_frames == 2 && elsewhere[0].tx_bytes == 1000);
    assert_true(elsewhere[1].rx_frames == 2 && elsewhere[1].rx_bytes == 1000);
    drv_frame_free(&f);
    drv_close(&run.link);
    end(&run);
}

void drv_test_abandon(void **state)
{
    struct run run = begin(state, 0, 0);
    struct drv_frame f;
    struct dk_rx_frame got;
    drv_frame_make(&f, 500, DRV_HEADER, 1, 1);
    drv_send(run.link.dev[0], &f); /* on its way while the child is there */
    int child = child_fork();
    if (child == 0) {
        for (int i = 0; i < 2; i++)
            run.link.dev[i]->ops->abandon(run.link.dev[i]);
        CHILD(open_fds() == run.fds);
        child_exit(0);
    }
    assert_int_equal(child_wait(child), 0);
    drv_receive(run.link.dev[1], &got, 1);
    drv_check(&got, &f);
    for (int i = 0; i < 2; i++) {
        assert_true(drv_sleeps(run.link.dev[1 - i]));
        drv_send(run.link.dev[i], &f);
        assert_true(drv_readable(run.link.dev[1 - i], PATIENCE_S * 1000));
        drv_receive(run.link.dev[1 - i], &got, 1);
        drv_check(&got, &f);
    }
    drv_frame_free(&f);
    drv_close(&run.link);
    end(&run);
}

struct dk_flow drv_flow(uint32_t n)
{
    struct dk_flow flow = {
        .local_port = 80, .remote_port = (uint16_t)(1024 + n), .protocol = n / 2 & 1 ? 6 : 17};
    const uint32_t n_be = htobe32(n * 2654435761u);
    flow.local.version = flow.remote.version = n & 1 ? 6 : 4;
    memcpy(flow.local.bytes, n & 1 ? "\xfd\0\0\0" : "\x0a\0\0\x01", 4);
    memcpy(flow.remote.bytes, n & 1 ? "\xfd\0\0\0" : "\x0a\0\0\0", 4);
    memcpy(flow.remote.bytes + (n & 1 ? 12 : 1), &n_be, n & 1 ? 4 : 3);
    flow.local.bytes[15] = n & 1;
    return flow;
}

void drv_flow_frame(const struct dk_flow *flow, const struct dk_mac *mac,
                    uint8_t out[DRV_FLOW_BYTES])
{
    const bool is_ip6 = flow->local.version == 6;
    const uint32_t address = is_ip6 ? 16 : 4, header = is_ip6 ? 40 : 20;
    uint8_t *ip = out + DRV_HEADER, *addresses = ip + (is_ip6 ? 8 : 12), *ports = ip + header;
    memset(out, 0, DRV_FLOW_BYTES);
    memcpy(out, mac->bytes, 6);
    memcpy(out + 6, "\x02\0\0\0\0\x77", 6);
    dk_put_be16(out + 12, is_ip6 ? 0x86dd : 0x0800);
    ip[0] = is_ip6 ? 0x60 : 0x45;
    ip[is_ip6 ? 6 : 9] = flow->protocol;
    ip[is_ip6 ? 7 : 8] = 64;
    dk_put_be16(ip + (is_ip6 ? 4 : 2), (uint16_t)(DRV_FLOW_BYTES - DRV_HEADER - (is_ip6 ? 40 : 0)));
    memcpy(addresses, flow->remote.bytes, address);
    memcpy(addresses + address, flow->local.bytes, address);
    dk_put_be16(ports, flow->remote_port);
    dk_put_be16(ports + 2, flow->local_port);
}

void drv_flow_check(struct dk_rx_frame *got, const uint8_t sent[DRV_FLOW_BYTES])
{
    assert_int_equal(got->len, DRV_FLOW_BYTES);
    assert_memory_equal(got->data, sent, DRV_FLOW_BYTES);
    dk_buf_put(got->buf);
}

uint32_t drv_receive_at(struct dk_netdev *const queues[], uint32_t n, struct dk_rx_frame *out)
{
    deadline_start(__func__, DEADLINE_S);
    for (uint32_t i = 0;; i = (i + 1) % n) {
        if (queues[i]->ops->rx_burst(queues[i], out, 1, 0) == 0)
            continue;
        deadline_stop();
        return i;
    }
}
