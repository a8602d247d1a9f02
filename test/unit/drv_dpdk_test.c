/* SPDX-License-Identifier: MIT */
/* Ports of DPDK: two rings as a wire, and what the null driver lets be seen. */
#include "drv_kit.h"

#include "base/bytes.h"
#include "base/toeplitz.h"
#include "drv/dpdk/dpdk.h"
#include "drv/dpdk/eal.h"
#include "drv/dpdk/port.h"
#include "drv/frame.h"
#include "mem/heap.h"
#include "mem/stats.h"
#include "os/clock.h"

#include <errno.h>
#include <poll.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RING_FRAMES 1024u

static struct rte_ring *wire[2];
static unsigned number; /* of wires so far */

static void start(void)
{
    const char *why = NULL;
    must_hold(dk_dpdk_start(&(struct dk_dpdk_options){.device = "net_ring"}, &why) == 0, "%s", why);
}

static struct dk_netdev *open_device(const char *device, struct dk_dpdk_options options)
{
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    options.device = device;
    int r = dk_dpdk_driver.open(&dev, &options, &why);
    must_hold(r == 0, "%s: %s", device, why);
    return dev;
}

/* A port that sends to wire[to], and receives from the other. */
static struct dk_netdev *open_end(unsigned to, const struct dk_dpdk_options *options)
{
    char name[32], device[64];
    snprintf(name, sizeof name, "w%u_%u", number, to);
    snprintf(device, sizeof device, "net_ring_%s", name);
    assert_true(rte_eth_from_rings(name, &wire[1 - to], 1, &wire[to], 1, 0) >= 0);
    return open_device(device, *options);
}

static void open_wire(struct drv_link *link, const struct dk_dpdk_options *options)
{
    start();
    number++;
    for (unsigned i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "wire%u_%u", number, i);
        wire[i] = rte_ring_create(name, RING_FRAMES, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
        assert_non_null(wire[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        link->dev[i] = open_end(i, options);
}

static void open_ring(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    open_wire(link, &(struct dk_dpdk_options){.mtu = mtu, .rx_pool_bytes = pool_bytes});
}

static void open_copying(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    open_wire(link,
              &(struct dk_dpdk_options){.mtu = mtu, .rx_pool_bytes = pool_bytes, .copy = true});
}

static void free_wire(void)
{
    for (unsigned i = 0; i < 2; i++)
        rte_ring_free(wire[i]);
}

static const struct drv_maker ring = {"ring", open_ring, free_wire, 9000};
static const struct drv_maker copying = {"copying", open_copying, free_wire, 9000};

/* ---- zero copy --------------------------------------------------------------------------------
 */

static void test_dpdk_frame_of_another_pool_is_copied(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got;
    open_ring(&link, 0, 0);
    drv_frame_make(&f, 1000, DRV_HEADER, 1, 1);
    drv_send(link.dev[0], &f);
    drv_receive(link.dev[1], &got, 1);
    /* The other port's mbuf: its pool is not ours. */
    assert_int_not_equal(got.buf->kind, DK_BUF_DEVICE);
    drv_check(&got, &f);
    drv_frame_free(&f);
    drv_close(&link);
    free_wire();
}

/* One that comes round is received in the memory that was filled. */
static void test_dpdk_null_gives_frames_as_they_are(void **state)
{
    (void)state;
    struct dk_rx_frame got[8];
    struct dk_netdev *dev = open_device("net_null0", (struct dk_dpdk_options){.mtu = 0});
    const uint64_t copies = dk_mem_stats->copies_pool;
    for (uint32_t round = 0; round < 2000; round++) {
        const uint32_t n = dev->ops->rx_burst(dev, got, 8, 0);
        assert_int_equal(n, 8);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(got[i].buf->kind, DK_BUF_DEVICE);
            assert_int_equal((uintptr_t)got[i].data % 16, 2);
            dk_buf_put(got[i].buf);
        }
    }
    assert_true(dk_mem_stats->copies_pool == copies);
    dev->ops->close(dev);
}

/* Sends `bytes` of a buffer; what the device counts is what was sent, and nobody holds it after. */
static void send_buffer(struct dk_netdev *dev, uint32_t bytes, uint64_t *frames)
{
    static const uint8_t head[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    struct dk_buf *buf = dk_buf_alloc(bytes, 0);
    const struct dk_tx_frame frame = {.head = head,
                                      .head_len = sizeof head,
                                      .num_pieces = 1,
                                      .pieces = {{buf->data, bytes, buf}}};
    assert_int_equal(dev->ops->tx_burst(dev, &frame, 1, 0), 1);
    assert_true(dev->stats->tx_frames == ++*frames);
    assert_int_equal(buf->refs, 1);
    dk_buf_put(buf);
}

/* It takes no frames of several mbufs: all is copied into one. */
static void test_dpdk_null_is_sent_copies_and_nothing_is_held(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_device("net_null0", (struct dk_dpdk_options){.mtu = 0});
    uint64_t frames = 0;
    const uint32_t bufs = dk_buf_in_use();
    assert_false(dev->caps.flags & DK_NETDEV_ZERO_COPY);
    for (uint32_t round = 0; round < 10000; round++) /* more than there are mbufs */
        send_buffer(dev, 100 + round % 1300, &frames);
    assert_int_equal(dk_buf_in_use(), bufs);
    assert_true(dev->stats->tx_dropped == 0 && dev->stats->tx_attached == 0);
    dev->ops->close(dev);
}

static uint64_t extra(const struct dk_netdev *dev, const char *name)
{
    for (uint32_t i = 0; i < dev->extra.num; i++)
        if (strcmp(dev->extra.names[i], name) == 0)
            return dev->extra.values[i];
    fail_msg("no counter %s among %u", name, dev->extra.num);
    return 0;
}

/* They are read again after a second, not before. */
static void test_dpdk_counters_of_the_driver_have_its_names(void **state)
{
    (void)state;
    struct dk_rx_frame got[8];
    struct dk_netdev *dev = open_device("net_null0", (struct dk_dpdk_options){.mtu = 0});
    assert_true(dev->extra.num >= 3 && dev->extra.num <= 64);
    assert_true(extra(dev, "port.link_up") == 1 && extra(dev, "port.link_changes") == 0);
    assert_true(extra(dev, "port.rx_good_packets") == 0);
    for (int64_t second = 1; second <= 2; second++) {
        const uint32_t n = dev->ops->rx_burst(dev, got, 8, second * 1000000000 - 1);
        for (uint32_t i = 0; i < n; i++)
            dk_buf_put(got[i].buf);
        dev->ops->arm(dev);
        assert_true(extra(dev, "port.rx_good_packets") == (second == 1 ? 0 : 8 + 32 + 8));
        for (int rest = 0; rest < 4; rest++) /* what arm found */
            for (uint32_t i = dev->ops->rx_burst(dev, got, 8, second * 1000000000 - 1); i-- > 0;)
                dk_buf_put(got[i].buf);
    }
    dev->ops->close(dev);
}

/* ---- limits -----------------------------------------------------------------------------------
 */

/* A ring that nobody reads takes what fits; what does not is offered again. */
static void test_dpdk_full_ring_is_no_loss(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got[32];
    uint32_t sent = 0, received = 0;
    open_ring(&link, 0, 0);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    while (link.dev[0]->ops->tx_burst(link.dev[0], &f.tx, 1, 0) == 1)
        sent++;
    assert_true(sent >= 512 && sent <= RING_FRAMES);
    assert_true(drv_readable(link.dev[0], 1000)); /* there may be room: it asks again */
    for (uint32_t n; (n = link.dev[1]->ops->rx_burst(link.dev[1], got, 32, 0)) > 0; received += n)
        for (uint32_t i = 0; i < n; i++)
            drv_check(&got[i], &f);
    assert_int_equal(received, sent);
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], &f.tx, 1, 0), 1);
    assert_true(link.dev[0]->stats->tx_dropped == 0 && link.dev[1]->stats->rx_dropped == 0);
    drv_frame_free(&f);
    drv_close(&link);
    free_wire();
}

static uint64_t fill(struct dk_netdev *dev, const struct drv_frame *f)
{
    uint64_t sent = 0;
    while (dev->ops->tx_burst(dev, &f->tx, 1, 0) == 1 && dev->stats->tx_dropped == 0)
        sent++;
    return sent;
}

/* Where nothing leaves for half a second there is no link, until something does. */
static void test_dpdk_ring_that_stays_full_is_no_link(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got[32];
    open_ring(&link, 0, 0);
    struct dk_netdev *dev = link.dev[0];
    const int64_t ms = 1000000;
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    dev->ops->rx_burst(dev, got, 32, 1000 * ms);
    assert_true(fill(dev, &f) >= 512);
    dev->ops->rx_burst(dev, got, 32, 1400 * ms);
    assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 0), 0);
    assert_true(dev->stats->tx_dropped == 0);
    dev->ops->rx_burst(dev, got, 32, 1600 * ms);
    assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 0), 1);
    assert_true(dev->stats->tx_dropped == 1 && dev->stats->tx_link_down == 1);
    const uint32_t n = link.dev[1]->ops->rx_burst(link.dev[1], got, 32, 0);
    assert_true(n > 0);
    for (uint32_t i = 0; i < n; i++)
        dk_buf_put(got[i].buf);
    assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 0), 1);
    assert_true(dev->stats->tx_dropped == 1);
    drv_frame_free(&f);
    drv_close(&link);
    free_wire();
}

/* Frames that are put wait for room, and are sent in their order; nothing passes them by. */
static void test_dpdk_put_frames_wait_for_room_in_order(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f[2];
    struct dk_rx_frame got[32];
    uint32_t put = 0, received = 0;
    open_ring(&link, 0, 0);
    struct dk_netdev *dev = link.dev[0];
    for (uint32_t i = 0; i < 2; i++)
        drv_frame_make(&f[i], 100 + i, DRV_HEADER, 1, 1);
    while (dev->ops->tx_put(dev, &f[put % 2].tx) == DK_TX_PUT_TAKEN)
        put++;
    assert_true(put > 512 && !dev->ops->tx_flush(dev, 0));
    assert_int_equal(dev->ops->tx_burst(dev, &f[0].tx, 1, 0), 0);
    assert_true(drv_readable(dev, 1000));
    for (uint32_t n; (n = link.dev[1]->ops->rx_burst(link.dev[1], got, 32, 0)) > 0;) {
        for (uint32_t i = 0; i < n; i++, received++)
            drv_check(&got[i], &f[received % 2]);
        dev->ops->tx_flush(dev, 0);
    }
    assert_int_equal(received, put);
    assert_int_equal(dev->stats->tx_frames, put);
    assert_true(dev->ops->tx_flush(dev, 0) && dev->stats->tx_dropped == 0);
    for (uint32_t i = 0; i < 2; i++)
        drv_frame_free(&f[i]);
    drv_close(&link);
    free_wire();
}

/* What is put is copied: a piece in no buffer, too, and it may be written to at once. A long frame
 * is not one to be put. */
static void test_dpdk_put_frame_is_copied_at_once(void **state)
{
    (void)state;
    struct drv_link link;
    struct dk_rx_frame got;
    uint8_t bytes[2][64] = {{2, [12] = 0x88, [13] = 0xb5, [14] = 1}};
    open_ring(&link, 0, 0);
    struct dk_netdev *dev = link.dev[0];
    memcpy(bytes[1], bytes[0], sizeof bytes[0]);
    struct dk_tx_frame frame = {.head = bytes[0], .head_len = 14, .num_pieces = 1};
    frame.pieces[0] = (struct dk_tx_piece){.data = bytes[0] + 14, .len = sizeof bytes[0] - 14};
    assert_int_equal(dev->ops->tx_put(dev, &frame), DK_TX_PUT_TAKEN);
    memset(bytes[0], 0xdb, sizeof bytes[0]);
    assert_true(dev->ops->tx_flush(dev, 0));
    drv_receive(link.dev[1], &got, 1);
    assert_int_equal(got.len, sizeof bytes[1]);
    assert_memory_equal(got.data, bytes[1], sizeof bytes[1]);
    dk_buf_put(got.buf);
    frame.checksum_start = 34;
    frame.checksum_offset = 16;
    frame.segment_bytes = 10; /* the driver is to be asked before it cuts */
    assert_int_equal(dev->ops->tx_put(dev, &frame), DK_TX_PUT_NOT);
    frame.checksum_start = frame.segment_bytes = 0;
    frame.pieces[0].len = 60000;
    assert_int_equal(dev->ops->tx_put(dev, &frame), DK_TX_PUT_NOT);
    drv_close(&link);
    free_wire();
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Looks at an idle port, and takes as long for it, of a CPU; returns how long it sleeps then. */
static int64_t look_and_sleep(struct dk_netdev *dev, int64_t now, int64_t cpu_ns)
{
    struct dk_rx_frame got;
    struct pollfd timer = {.events = POLLIN};
    assert_int_equal(dev->ops->rx_burst(dev, &got, 1, now), 0);
    for (int64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + cpu_ns;
         clock_ns(CLOCK_THREAD_CPUTIME_ID) < end;)
        ;
    const int64_t start = clock_ns(CLOCK_MONOTONIC);
    timer.fd = dev->ops->arm(dev);
    assert_int_equal(poll(&timer, 1, 1000), 1);
    return clock_ns(CLOCK_MONOTONIC) - start;
}

/* An idle port is looked at the more seldom the more a look takes: but one that took long, or the
 * other work of its thread, does not count for all. */
static void test_dpdk_looks_that_take_long_are_seldom(void **state)
{
    (void)state;
    const int64_t ms = 1000000, second = 1000 * ms;
    struct drv_link link;
    open_ring(&link, 0, 0);
    struct dk_netdev *dev = link.dev[0];
    int64_t now = 0, slept;
    for (int i = 0; i < 10; i++)
        slept = look_and_sleep(dev, now += second, i == 0 ? 0 : ms);
    assert_true(slept >= 30 * ms);
    /* Until one takes as little as it does where nothing else has the CPU. */
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    do {
        slept = look_and_sleep(dev, now += second, 0);
        assert_true(slept >= 10 * ms);
    } while (slept >= 30 * ms && now_ns() < give_up);
    assert_true(slept < 30 * ms);
    drv_close(&link);
    free_wire();
}

/* Interrupts have come, and cannot be turned on any more, as those of a port whose peer has gone:
 * the timer wakes. */
static void test_dpdk_interrupt_that_cannot_be_turned_on_is_not_slept_on(void **state)
{
    (void)state;
    struct drv_link link;
    open_ring(&link, 0, 0);
    struct dk_dpdk_port *p = dk_dpdk_port_of(link.dev[0]);
    assert_int_not_equal(rte_eth_dev_rx_intr_enable(p->port, p->queue), 0);
    p->intrfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    p->intr_is_event = p->intr_came = true;
    assert_true(look_and_sleep(link.dev[0], 1000000000, 0) > 0);
    close(p->intrfd);
    drv_close(&link);
    free_wire();
}

/* Writes a frame to the next room of a device, which has one. */
static void write_room(struct dk_netdev *dev, const struct drv_frame *f)
{
    struct dk_tx_rooms *rooms = dev->rooms;
    assert_true(rooms->next < rooms->limit && dk_tx_frame_bytes(&f->tx) <= rooms->bytes_max);
    rooms->frames[rooms->next].len = dk_tx_frame_bytes(&f->tx);
    dk_frame_gather(&f->tx, rooms->frames[rooms->next++].at);
}

/* Frames are written to the device's memory and put in turn, for more rounds than it has rooms:
 * they leave in that order, with the flush. */
static void test_dpdk_written_frames_leave_behind_those_put_before(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f[3];
    struct dk_rx_frame got;
    open_ring(&link, 0, 0);
    struct dk_netdev *dev = link.dev[0];
    for (uint32_t i = 0; i < 3; i++)
        drv_frame_make(&f[i], 100 + i, DRV_HEADER, 1, 1);
    for (uint32_t round = 0; round < 2 * DK_TX_ROOMS; round++) {
        assert_int_equal(dev->ops->tx_put(dev, &f[0].tx), DK_TX_PUT_TAKEN);
        if (dev->rooms->next < dev->rooms->limit)
            write_room(dev, &f[1]);
        else
            assert_int_equal(dev->ops->tx_put(dev, &f[1].tx), DK_TX_PUT_TAKEN);
        assert_int_equal(dev->ops->tx_burst(dev, &f[2].tx, 1, 0), 1);
        assert_true(dev->rooms->next == dev->rooms->sent);
        for (uint32_t i = 0; i < 3; i++) {
            drv_receive(link.dev[1], &got, 1);
            drv_check(&got, &f[i]);
        }
    }
    assert_int_equal(dev->stats->tx_frames, 6 * DK_TX_ROOMS);
    for (uint32_t i = 0; i < 3; i++)
        drv_frame_free(&f[i]);
    drv_close(&link);
    free_wire();
}

/* Nobody writes to rooms that are shut, until all who did that have opened them. */
static void test_dpdk_rooms_that_are_shut_have_no_limit(void **state)
{
    (void)state;
    struct drv_link link;
    open_ring(&link, 0, 0);
    struct dk_tx_rooms *rooms = link.dev[0]->rooms;
    assert_int_equal(rooms->limit, DK_TX_ROOMS);
    dk_tx_rooms_shut(rooms, DK_TX_ROOMS_STACK);
    dk_tx_rooms_shut(rooms, DK_TX_ROOMS_OFFLOAD);
    assert_int_equal(rooms->limit, 0);
    dk_tx_rooms_open(rooms, DK_TX_ROOMS_STACK);
    assert_int_equal(rooms->limit, 0);
    dk_tx_rooms_have(rooms, DK_TX_ROOMS);
    assert_int_equal(rooms->limit, 0);
    dk_tx_rooms_open(rooms, DK_TX_ROOMS_OFFLOAD);
    assert_int_equal(rooms->limit, DK_TX_ROOMS);
    drv_close(&link);
    free_wire();
}

static void must_not_open(const struct dk_dpdk_options *options, int error, const char *words)
{
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    drv_must_fail(dk_dpdk_driver.open(&dev, options, &why), error, &why, words);
    assert_null(dev);
}

static void test_dpdk_what_cannot_be_says_why(void **state)
{
    (void)state;
    start();
    must_not_open(&(struct dk_dpdk_options){.device = "net_null0", .ring_frames = 1 << 20}, EINVAL,
                  "at most");
    must_not_open(&(struct dk_dpdk_options){.device = "net_null0", .mtu = 20}, EINVAL, "at least");
    must_not_open(&(struct dk_dpdk_options){.device = "net_null0", .mtu = 1 << 20}, EINVAL,
                  "more than the port can have");
    must_not_open(&(struct dk_dpdk_options){.device = NULL}, ENODEV, "no port that is free");
    struct dk_netdev *dev = open_device("net_null0", (struct dk_dpdk_options){.mtu = 0});
    must_not_open(&(struct dk_dpdk_options){.device = "net_null0"}, EBUSY, "in use");
    dev->ops->close(dev);
    dev = open_device("net_null0", (struct dk_dpdk_options){.mtu = 0}); /* again */
    dev->ops->close(dev);
}

static void test_dpdk_missing_driver_is_named(void **state)
{
    (void)state;
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    start();
    const struct dk_dpdk_options options = {.device = "net_nothing0 a=b"};
    assert_true(dk_dpdk_driver.open(&dev, &options, &why) < 0);
    must_hold(strstr(why, "\"net_nothing0,a=b\"") && strstr(why, "no driver"), "%s", why);
}

/* ---- queues -----------------------------------------------------------------------------------
 */

#define QUEUES 3u

static void open_queues(const char *device, struct dk_netdev *queues[])
{
    for (uint32_t i = 0; i < QUEUES; i++)
        queues[i] = open_device(
            device,
            (struct dk_dpdk_options){
                .queue = {.index = (uint16_t)i, .num = QUEUES, .first = i > 0 ? queues[0] : NULL}});
}

/* Port `which` of a pair, each queue of which is joined to that of the other. */
static void open_many(unsigned which, struct rte_ring *rings[2][QUEUES], struct dk_netdev *queues[])
{
    char name[32], device[64];
    snprintf(name, sizeof name, "m%u_%u", number, which);
    snprintf(device, sizeof device, "net_ring_%s", name);
    assert_true(rte_eth_from_rings(name, rings[1 - which], QUEUES, rings[which], QUEUES, 0) >= 0);
    open_queues(device, queues);
}

static void send_number(struct dk_netdev *dev, uint8_t n)
{
    uint8_t head[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, n};
    const struct dk_tx_frame frame = {.head = head, .head_len = sizeof head};
    assert_int_equal(dev->ops->tx_burst(dev, &frame, 1, 0), 1);
}

/* What one queue sends comes to the same one of the other port; each may end before the others. */
static void test_dpdk_queues_are_devices_of_their_own(void **state)
{
    (void)state;
    struct rte_ring *rings[2][QUEUES];
    struct dk_netdev *ports[2][QUEUES];
    struct dk_rx_frame got;
    start();
    number++;
    for (unsigned i = 0; i < 2 * QUEUES; i++) {
        char name[32];
        snprintf(name, sizeof name, "many%u_%u", number, i);
        rings[i / QUEUES][i % QUEUES] = rte_ring_create(name, RING_FRAMES, 0, 0);
        assert_non_null(rings[i / QUEUES][i % QUEUES]);
    }
    for (unsigned i = 0; i < 2; i++)
        open_many(i, rings, ports[i]);
    for (uint32_t closed = 0; closed < QUEUES; closed++) {
        for (uint32_t q = closed; q < QUEUES; q++)
            send_number(ports[0][q], (uint8_t)(100 + q));
        for (uint32_t q = closed; q < QUEUES; q++) {
            assert_int_equal(drv_receive_at(&ports[1][closed], QUEUES - closed, &got), q - closed);
            assert_int_equal(got.data[14], 100 + q);
            dk_buf_put(got.buf);
            assert_true(ports[1][q]->stats->rx_frames == closed + 1);
        }
        for (unsigned i = 0; i < 2; i++)
            ports[i][closed]->ops->close(ports[i][closed]);
    }
    for (unsigned i = 0; i < 2 * QUEUES; i++)
        rte_ring_free(rings[i / QUEUES][i % QUEUES]);
}

/* Opens as many queues of one end of a memif; false: there is no such driver. */
static bool open_memif(const char *folder, const char *role, uint16_t n, struct dk_netdev *queues[])
{
    char device[160];
    const char *why = NULL;
    snprintf(device, sizeof device,
             "net_memif_%s%u role=%s id=0 socket=%s/socket,socket-abstract=no", role, number, role,
             folder);
    for (uint16_t i = 0; i < n; i++) {
        const struct dk_dpdk_options o = {
            .device = device, .queue = {.index = i, .num = n, .first = i > 0 ? queues[0] : NULL}};
        const int r = dk_dpdk_driver.open(&queues[i], &o, &why);
        if (i == 0 && r == -ENODEV)
            return false;
        must_hold(r == 0, "%s", why);
    }
    return true;
}

/* Closes the client, after which there is no memory of a memif any more. The server stays open: the
 * driver's thread tidies up behind it (DPDK 22.11), nobody tells when that is over, and it must not
 * be closed meanwhile. */
static void close_client(struct dk_netdev *queues[], uint32_t n)
{
    assert_true(dk_dpdk_memif_queues() == n);
    for (uint32_t i = 0; i < n; i++)
        queues[i]->ops->close(queues[i]);
    deadline_start(__func__, DEADLINE_S);
    while (dk_dpdk_memif_queues() != 0)
        sched_yield();
    deadline_stop();
}

static void forget_memif(const char *folder)
{
    char path[64];
    snprintf(path, sizeof path, "%s/socket", folder);
    unlink(path);
    rmdir(folder);
}

/* They find each other by themselves. */
static void await_link(struct dk_netdev *a, struct dk_netdev *b)
{
    deadline_start(__func__, DEADLINE_S);
    while (a->ops->link(a) != DK_LINK_UP || b->ops->link(b) != DK_LINK_UP)
        sched_yield();
    deadline_stop();
}

/* What is written to standard error when a queue is armed, which counts. */
static void arm_and_log(struct dk_netdev *dev, char *log_out, size_t max)
{
    FILE *capture = tmpfile();
    assert_non_null(capture);
    const int saved = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    dev->ops->arm(dev);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(capture);
    log_out[fread(log_out, 1, max - 1, capture)] = '\0';
    fclose(capture);
}

/* The descriptor that a queue fetches is that of the next frame. */
static void check_fetched(struct dk_netdev *dev, struct dk_netdev *other)
{
    const struct dk_dpdk_memif *m = &dk_dpdk_port_of(dev)->memif;
    const uint16_t next = (uint16_t)(dev->stats->tx_frames + m->ahead) & m->mask;
    struct dk_rx_frame got;
    uint32_t len;
    assert_non_null(m->descriptors);
    send_number(dev, 1);
    memcpy(&len, m->descriptors + next * DK_DPDK_MEMIF_DESCRIPTOR + 4, sizeof len);
    assert_int_equal(len, 60);
    memcpy(&len, m->descriptors + (next + 1) * DK_DPDK_MEMIF_DESCRIPTOR + 4, sizeof len);
    assert_int_not_equal(len, 60);
    assert_int_equal(drv_receive_at(&other, 1, &got), 0);
    dk_buf_put(got.buf);
}

static void test_dpdk_memif_has_a_queue_for_each_worker(void **state)
{
    (void)state;
    char folder[] = "/tmp/demi-memif-XXXXXX", log[1000];
    struct dk_netdev *ends[2][QUEUES];
    struct dk_rx_frame got;
    number++;
    assert_non_null(mkdtemp(folder));
    if (!open_memif(folder, "server", QUEUES, ends[0])) {
        rmdir(folder);
        skip();
    }
    assert_true(open_memif(folder, "client", QUEUES, ends[1]));
    await_link(ends[0][0], ends[1][0]);
    for (uint32_t i = 0; i < 2 * QUEUES; i++) /* who looks gives room to be sent to */
        assert_true(drv_sleeps(ends[i / QUEUES][i % QUEUES]));
    for (uint32_t round = 0; round < 100; round++)
        for (uint32_t q = 0; q < QUEUES; q++)
            for (uint32_t from = 0; from < 2; from++) {
                send_number(ends[from][q], (uint8_t)(10 * from + q));
                assert_int_equal(drv_receive_at(ends[1 - from], QUEUES, &got), q);
                assert_int_equal(got.data[14], 10 * from + q);
                dk_buf_put(got.buf);
            }
    for (uint32_t i = 0; i < 2 * QUEUES; i++) {
        arm_and_log(ends[i / QUEUES][i % QUEUES], log, sizeof log);
        assert_string_equal(log, "");
        check_fetched(ends[i / QUEUES][i % QUEUES], ends[1 - i / QUEUES][i % QUEUES]);
    }
    close_client(ends[1], QUEUES);
    forget_memif(folder);
}

/* A queue that has none at the other end is not used, and that is said. */
static void check_alone(struct dk_netdev *dev, const char *who)
{
    char log[1000];
    struct dk_rx_frame got;
    const uint64_t lost = dev->stats->tx_link_down;
    arm_and_log(dev, log, sizeof log);
    must_hold(strstr(log, who), "%s", log);
    arm_and_log(dev, log, sizeof log);
    assert_string_equal(log, "");
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(dev->ops->rx_burst(dev, &got, 1, 0), 0);
    send_number(dev, 1);
    assert_true(dev->stats->tx_link_down == lost + 1);
}

static void check_passes(struct dk_netdev *from, struct dk_netdev *to)
{
    struct dk_rx_frame got;
    send_number(from, 7);
    assert_int_equal(drv_receive_at(&to, 1, &got), 0);
    assert_int_equal(got.data[14], 7);
    dk_buf_put(got.buf);
}

static void test_dpdk_memif_of_fewer_queues_has_those(void **state)
{
    (void)state;
    char folder[] = "/tmp/demi-memif-XXXXXX", log[1000];
    struct dk_netdev *server[QUEUES], *client[QUEUES];
    number++;
    assert_non_null(mkdtemp(folder));
    if (!open_memif(folder, "server", QUEUES, server)) {
        rmdir(folder);
        skip();
    }
    for (uint16_t n = 1; n <= QUEUES; n++) { /* one client after the other */
        assert_true(open_memif(folder, "client", n, client));
        await_link(server[0], client[0]);
        for (uint16_t i = 0; i < n; i++) {
            arm_and_log(server[i], log, sizeof log);
            assert_string_equal(log, "");
            drv_sleeps(client[i]); /* who looks gives room to be sent to */
        }
        for (uint16_t i = 0; i < n; i++)
            send_number(client[i], 1);
        if (n < 2)
            check_alone(server[1], "fewer queues (1) than this one (3): worker 1 reaches nobody");
        if (n < 3)
            check_alone(server[2], "worker 2 reaches nobody");
        for (uint16_t i = 0; i < n; i++) {
            struct dk_rx_frame got;
            assert_int_equal(drv_receive_at(&server[i], 1, &got), 0);
            dk_buf_put(got.buf);
            check_passes(client[i], server[i]);
            check_passes(server[i], client[i]);
        }
        close_client(client, n);
        for (uint16_t i = 0; i < QUEUES; i++)
            arm_and_log(server[i], log, sizeof log); /* it sees that there is no link */
    }
    forget_memif(folder);
}

/* A client of more queues than the server's is not taken, and says so. */
static void test_dpdk_memif_client_that_is_not_taken_says_so(void **state)
{
    (void)state;
    char folder[] = "/tmp/demi-memif-XXXXXX", log[1000] = "";
    struct dk_netdev *server, *client[QUEUES];
    struct dk_rx_frame got;
    number++;
    assert_non_null(mkdtemp(folder));
    if (!open_memif(folder, "server", 1, &server)) {
        rmdir(folder);
        skip();
    }
    assert_true(open_memif(folder, "client", QUEUES, client));
    deadline_start(__func__, DEADLINE_S);
    for (uint32_t i = 0; log[0] == '\0'; i++) {
        struct dk_netdev *dev = client[i % QUEUES];
        const int64_t now = dk_clock_monotonic.now(&dk_clock_monotonic);
        assert_int_equal(dev->ops->rx_burst(dev, &got, 1, now), 0);
        arm_and_log(dev, log, sizeof log);
    }
    deadline_stop();
    must_hold(strstr(log, "does not take this client"), "%s", log);
    must_hold(strstr(log, "or fewer queues than this end (3)"), "%s", log);
    assert_int_equal(client[0]->ops->link(client[0]), DK_LINK_DOWN);
    forget_memif(folder);
}

static uint16_t port_number(const char *name)
{
    uint16_t port = UINT16_MAX;
    assert_int_equal(rte_eth_dev_get_port_by_name(name, &port), 0);
    return port;
}

/* The table has the queues that are open, in turn. */
static void check_table(uint16_t port, const bool open[QUEUES])
{
    struct rte_eth_rss_reta_entry64 table[2] = {{.mask = UINT64_MAX}, {.mask = UINT64_MAX}};
    uint32_t next = 0;
    assert_int_equal(rte_eth_dev_rss_reta_query(port, table, 128), 0);
    for (uint32_t i = 0; i < 128; i++) {
        while (!open[next % QUEUES])
            next++;
        assert_int_equal(table[i / 64].reta[i % 64], next++ % QUEUES);
    }
}

static void test_dpdk_flows_are_spread_over_the_queues_that_are_open(void **state)
{
    (void)state;
    struct dk_netdev *queues[QUEUES];
    uint8_t key[40];
    struct rte_eth_rss_conf rss = {.rss_key = key, .rss_key_len = sizeof key};
    open_queues("net_null7", queues);
    const uint16_t port = port_number("net_null7");
    check_table(port, (const bool[QUEUES]){true, true, true});
    assert_int_equal(rte_eth_dev_rss_hash_conf_get(port, &rss), 0);
    assert_memory_equal(key, dk_toeplitz_symmetric, sizeof key);
    for (uint32_t n = 0; n < 300; n++) {
        const struct dk_flow flow = drv_flow(n);
        const bool ip6 = flow.local.version == 6;
        uint8_t input[36];
        uint32_t at = ip6 ? 16 : 4, owner;
        memcpy(input, flow.remote.bytes, at);
        memcpy(input + at, flow.local.bytes, at);
        dk_put_be16(input + 2 * at, flow.remote_port);
        dk_put_be16(input + 2 * at + 2, flow.local_port);
        owner = dk_toeplitz(key, input, 2 * at + 4) % 128 % QUEUES;
        for (uint32_t q = 0; q < QUEUES; q++)
            assert_int_equal(queues[q]->ops->steers_here(queues[q], &flow), q == owner);
    }
    queues[1]->ops->close(queues[1]);
    check_table(port, (const bool[QUEUES]){true, false, true});
    queues[0]->ops->close(queues[0]);
    check_table(port, (const bool[QUEUES]){false, false, true});
    queues[2]->ops->close(queues[2]);
    assert_int_not_equal(rte_eth_dev_get_port_by_name("net_null7", &(uint16_t){0}), 0);
}

static void test_dpdk_more_queues_than_the_port_has_are_refused(void **state)
{
    (void)state;
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    number++;
    char name[32], device[64];
    snprintf(name, sizeof name, "one%u", number);
    snprintf(device, sizeof device, "net_ring_%s", name);
    struct rte_ring *one = rte_ring_create(name, RING_FRAMES, 0, 0);
    assert_true(rte_eth_from_rings(name, &one, 1, &one, 1, 0) >= 0);
    const struct dk_dpdk_options o = {.device = device, .queue = {.num = 2}};
    drv_must_fail(dk_dpdk_driver.open(&dev, &o, &why), ENOTSUP, &why, "the port has 1 queues");
    assert_null(dev);
    rte_ring_free(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(ring),
        DRV_CONTRACT(copying),
        cmocka_unit_test(test_dpdk_frame_of_another_pool_is_copied),
        cmocka_unit_test(test_dpdk_null_gives_frames_as_they_are),
        cmocka_unit_test(test_dpdk_null_is_sent_copies_and_nothing_is_held),
        cmocka_unit_test(test_dpdk_counters_of_the_driver_have_its_names),
        cmocka_unit_test(test_dpdk_full_ring_is_no_loss),
        cmocka_unit_test(test_dpdk_ring_that_stays_full_is_no_link),
        cmocka_unit_test(test_dpdk_queues_are_devices_of_their_own),
        cmocka_unit_test(test_dpdk_memif_has_a_queue_for_each_worker),
        cmocka_unit_test(test_dpdk_memif_of_fewer_queues_has_those),
        cmocka_unit_test(test_dpdk_memif_client_that_is_not_taken_says_so),
        cmocka_unit_test(test_dpdk_flows_are_spread_over_the_queues_that_are_open),
        cmocka_unit_test(test_dpdk_more_queues_than_the_port_has_are_refused),
        cmocka_unit_test(test_dpdk_put_frames_wait_for_room_in_order),
        cmocka_unit_test(test_dpdk_put_frame_is_copied_at_once),
        cmocka_unit_test(test_dpdk_looks_that_take_long_are_seldom),
        cmocka_unit_test(test_dpdk_interrupt_that_cannot_be_turned_on_is_not_slept_on),
        cmocka_unit_test(test_dpdk_written_frames_leave_behind_those_put_before),
        cmocka_unit_test(test_dpdk_rooms_that_are_shut_have_no_limit),
        cmocka_unit_test(test_dpdk_what_cannot_be_says_why),
        cmocka_unit_test(test_dpdk_missing_driver_is_named),
    };
    start(); /* it opens descriptors that stay */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
