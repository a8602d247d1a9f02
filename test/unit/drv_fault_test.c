/* SPDX-License-Identifier: MIT */
/* A bad link, over a loop, under a virtual clock. */
#include "drv_kit.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "drv/fault.h"
#include "drv/loop.h"

#include <stdlib.h>
#include <string.h>

#define MS 1000000

/* A loop whose first end has faults. */
static void open_over(struct drv_link *link, struct dk_fault_options options,
                      struct dk_loop_options loop)
{
    struct dk_netdev *inner[2];
    const char *why = NULL;
    int r = dk_loop_open_pair(inner, &loop, &why);
    must_hold(r == 0, "%s", why);
    link->dev[1] = inner[1];
    r = dk_fault_open(&link->dev[0], inner[0], &options, &why);
    must_hold(r == 0, "%s", why);
}

/* Without any fault, it is as if it was not there. */
static void open_fault(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    open_over(link, (struct dk_fault_options){.seed = 1},
              (struct dk_loop_options){.mtu = mtu, .rx_pool_bytes = pool_bytes});
}

static const struct drv_maker fault = {"fault", open_fault, NULL, 65535};

/* Sends frame number n of a direction, of 64 bytes and its number. */
static bool send_number(struct dk_netdev *dev, uint32_t n, int64_t now)
{
    uint8_t bytes[64] = {2, 0, 0, 0, 0, 2};
    const struct dk_tx_frame f = {.head = bytes, .head_len = sizeof(bytes)};
    memcpy(bytes + 60, &n, 4);
    return dev->ops->tx_burst(dev, &f, 1, now) == 1;
}

static uint32_t number_of(const struct dk_rx_frame *frame)
{
    uint32_t n;
    memcpy(&n, frame->data + 60, 4);
    return n;
}

/* Receives what there is now; returns how many, and their numbers. */
static uint32_t receive_numbers(struct dk_netdev *dev, uint32_t numbers_out[], uint32_t max,
                                int64_t now)
{
    struct dk_rx_frame got[64];
    uint32_t n = 0, more;
    while (n < max && (more = dev->ops->rx_burst(dev, got, max - n < 64 ? max - n : 64, now)) > 0)
        for (uint32_t i = 0; i < more; i++) {
            numbers_out[n++] = number_of(&got[i]);
            dk_buf_put(got[i].buf);
        }
    return n;
}

static void must_be_near(uint64_t got, uint64_t frames, uint32_t rate)
{
    double want = (double)frames * rate / 1e6;
    double away = (double)got - want;
    /* Six standard deviations, for any rate, at most sqrt(n p): one run in a billion. */
    must_hold(away * away <= 36 * want, "%llu of %llu, for a rate of %u ppm",
              (unsigned long long)got, (unsigned long long)frames, rate);
}

/* Passes a million frames in one direction. */
static void pass_million(struct drv_link *link, int from, uint64_t *received_out)
{
    enum { FRAMES = 1000000 };
    uint32_t numbers[256];
    int64_t now = 0;
    *received_out = 0;
    for (uint32_t i = 0; i < FRAMES; i++) {
        assert_true(send_number(link->dev[from], i, now += 1000));
        if (i % 32 == 31)
            *received_out += receive_numbers(link->dev[1 - from], numbers, 256, now);
    }
    now += MS;
    *received_out += receive_numbers(link->dev[from], numbers, 256, now); /* sends what is due */
    *received_out += receive_numbers(link->dev[1 - from], numbers, 256, now);
}

static void test_fault_million_frames_suffer_at_the_rates_asked_for(void **state)
{
    (void)state;
    const struct dk_fault_rates rates = {
        .loss = 10000, .corrupt = 5000, .reorder = 20000, .duplicate = 2000, .reorder_ns = 50000};
    for (int from = 0; from < 2; from++) {
        struct drv_link link;
        uint64_t received;
        open_over(&link, (struct dk_fault_options){.seed = 42, .rx = rates, .tx = rates},
                  (struct dk_loop_options){0});
        pass_million(&link, from, &received);
        const struct dk_netdev_stats *s = link.dev[0]->stats;
        const uint64_t kept = 1000000 - s->fault_lost;
        must_be_near(s->fault_lost, 1000000, rates.loss);
        must_be_near(s->fault_corrupted, kept, rates.corrupt);
        must_be_near(s->fault_reordered, kept, rates.reorder);
        must_be_near(s->fault_duplicated, kept, rates.duplicate);
        assert_true(s->fault_overflow == 0 && s->fault_delayed == 0);
        assert_true(received == kept + s->fault_duplicated);
        drv_close(&link);
    }
}

/* What a run with faults of every kind delivers, as one number. */
static uint64_t history(uint64_t seed, uint32_t loss, bool traffic_back)
{
    const struct dk_fault_rates rates = {.loss = loss,
                                         .corrupt = 50000,
                                         .delay = 500000,
                                         .reorder = 100000,
                                         .duplicate = 50000,
                                         .delay_ns = 20000,
                                         .jitter_ns = 5000};
    struct drv_link link;
    uint32_t numbers[512];
    uint64_t hash = 0;
    open_over(&link, (struct dk_fault_options){.seed = seed, .rx = rates, .tx = rates},
              (struct dk_loop_options){0});
    for (uint32_t i = 0; i < 20000; i++) {
        int64_t now = (int64_t)i * 1000;
        assert_true(send_number(link.dev[0], i, now));
        if (traffic_back)
            assert_true(send_number(link.dev[1], i, now));
        uint32_t n = receive_numbers(link.dev[0], numbers, 512, now);
        n = receive_numbers(link.dev[1], numbers, 512, now);
        for (uint32_t k = 0; k < n; k++)
            hash = (hash ^ numbers[k] ^ (uint64_t)i << 32) * UINT64_C(0x100000001b3);
    }
    drv_close(&link);
    return hash;
}

static void test_fault_same_seed_gives_the_same_faults(void **state)
{
    (void)state;
    assert_true(history(7, 10000, false) == history(7, 10000, false));
    assert_true(history(7, 10000, false) == history(7, 10000, true)); /* directions are apart */
    assert_true(history(7, 10000, false) != history(8, 10000, false));
    assert_true(history(7, 10000, false) != history(7, 20000, false));
}

static void test_fault_directions_have_different_faults(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[2][100], n[2];
    const struct dk_fault_rates half = {.loss = 500000};
    open_over(&link, (struct dk_fault_options){.seed = 5, .tx = half, .rx = half},
              (struct dk_loop_options){0});
    for (uint32_t i = 0; i < 60; i++)
        for (int k = 0; k < 2; k++)
            assert_true(send_number(link.dev[k], i, 0));
    for (int k = 0; k < 2; k++)
        n[k] = receive_numbers(link.dev[k], numbers[k], 100, 0);
    assert_true(n[0] != n[1] || memcmp(numbers[0], numbers[1], n[0] * sizeof(uint32_t)) != 0);
    drv_close(&link);
}

static void test_fault_loss_of_all_lets_nothing_through(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[64];
    const struct dk_fault_rates all = {.loss = DK_FAULT_ALWAYS};
    open_over(&link, (struct dk_fault_options){.tx = all, .rx = all},
              (struct dk_loop_options){.ring_frames = 1024});
    for (uint32_t i = 0; i < 500; i++)
        for (int k = 0; k < 2; k++)
            assert_true(send_number(link.dev[k], i, 0));
    assert_int_equal(receive_numbers(link.dev[1], numbers, 64, 0), 0);
    /* A flood of what is lost does not keep rx_burst for ever: it looks at max frames. */
    assert_int_equal(receive_numbers(link.dev[0], numbers, 64, 0), 0);
    assert_true(link.dev[0]->stats->fault_lost == 564);
    assert_true(drv_readable(link.dev[0], 0));
    drv_close(&link);
}

static void test_fault_delay_is_kept_to_the_nanosecond_in_both_directions(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[4];
    const struct dk_fault_rates late = {.delay = DK_FAULT_ALWAYS, .delay_ns = 10 * MS};
    open_over(&link, (struct dk_fault_options){.tx = late, .rx = late},
              (struct dk_loop_options){0});
    struct dk_netdev *dev = link.dev[0];
    assert_true(dev->ops->next_due(dev) == INT64_MAX);
    assert_true(send_number(dev, 1, 5));
    assert_true(send_number(link.dev[1], 2, 7));
    assert_int_equal(receive_numbers(dev, numbers, 4, 7), 0);
    assert_true(dev->ops->next_due(dev) == 10 * MS + 5);
    assert_false(drv_readable(dev, 0)); /* it is for the clock to wake */
    assert_int_equal(receive_numbers(dev, numbers, 4, 10 * MS + 4), 0);
    assert_int_equal(receive_numbers(link.dev[1], numbers, 4, 0), 0);
    assert_int_equal(receive_numbers(dev, numbers, 4, 10 * MS + 5), 0);
    assert_int_equal(receive_numbers(link.dev[1], numbers, 4, 0), 1);
    assert_int_equal(numbers[0], 1);
    assert_true(dev->ops->next_due(dev) == 10 * MS + 7);
    assert_int_equal(receive_numbers(dev, numbers, 4, 10 * MS + 7), 1);
    assert_int_equal(numbers[0], 2);
    assert_true(dev->ops->next_due(dev) == INT64_MAX);
    assert_true(dev->stats->fault_delayed == 2);
    drv_close(&link);
}

static void test_fault_equal_delays_keep_the_order_and_jitter_does_not(void **state)
{
    (void)state;
    for (int jitter = 0; jitter < 2; jitter++) {
        struct drv_link link;
        uint32_t numbers[100], swapped = 0;
        open_over(
            &link,
            (struct dk_fault_options){
                .rx = {.delay = DK_FAULT_ALWAYS, .delay_ns = 1000, .jitter_ns = jitter ? MS : 0}},
            (struct dk_loop_options){0});
        for (uint32_t i = 0; i < 100; i++)
            assert_true(send_number(link.dev[1], i, 0));
        for (int i = 0; i < 2; i++) /* each looks at 64 */
            assert_int_equal(receive_numbers(link.dev[0], numbers, 100, 0), 0);
        /* More are due than one call may give: the rest is there right now. */
        assert_int_equal(receive_numbers(link.dev[0], numbers, 60, 2 * MS), 60);
        assert_true(drv_readable(link.dev[0], 0));
        assert_int_equal(receive_numbers(link.dev[0], numbers + 60, 100, 2 * MS), 40);
        for (uint32_t i = 0; i < 100; i++)
            swapped += numbers[i] != i;
        assert_true(jitter ? swapped > 50 : swapped == 0);
        drv_close(&link);
    }
}

static void test_fault_duplicate_follows_its_original(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[10];
    const struct dk_fault_rates twice = {.duplicate = DK_FAULT_ALWAYS};
    open_over(&link, (struct dk_fault_options){.tx = twice, .rx = twice},
              (struct dk_loop_options){0});
    for (int from = 0; from < 2; from++) {
        for (uint32_t i = 0; i < 5; i++)
            assert_true(send_number(link.dev[from], i, 0));
        assert_int_equal(receive_numbers(link.dev[1 - from], numbers, 3, 0), 3);
        assert_int_equal(receive_numbers(link.dev[1 - from], numbers + 3, 10, 0), 7);
        for (uint32_t i = 0; i < 10; i++)
            assert_int_equal(numbers[i], i / 2);
    }
    drv_close(&link);
}

static void test_fault_corruption_turns_one_bit_and_leaves_the_original(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    const struct dk_fault_rates all = {.corrupt = DK_FAULT_ALWAYS};
    open_over(&link, (struct dk_fault_options){.tx = all, .rx = all}, (struct dk_loop_options){0});
    drv_frame_make(&f, 700, DRV_HEADER, 3, 1);
    uint8_t *before = malloc(700);
    for (int i = 0; i < 200; i++) {
        struct dk_rx_frame got;
        int bits = 0;
        drv_address(link.dev[i & 1], &f);
        memcpy(before, f.bytes, 700);
        drv_send(link.dev[i & 1], &f);
        drv_receive(link.dev[~i & 1], &got, 1);
        assert_int_equal(got.len, 700);
        assert_int_equal(got.checksum, DK_RX_CHECKSUM_UNKNOWN);
        for (uint32_t k = 0; k < 700; k++)
            bits += __builtin_popcount(got.data[k] ^ before[k]);
        assert_int_equal(bits, 1);
        dk_buf_put(got.buf);
        assert_memory_equal(f.bytes, before, 700);
    }
    free(before);
    drv_frame_free(&f);
    drv_close(&link);
}

static void test_fault_too_many_held_are_dropped_and_counted(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[16];
    const uint32_t bufs = dk_buf_in_use();
    open_over(&link,
              (struct dk_fault_options){.hold_frames = 4,
                                        .tx = {.delay = DK_FAULT_ALWAYS, .delay_ns = MS}},
              (struct dk_loop_options){0});
    for (uint32_t i = 0; i < 10; i++)
        assert_true(send_number(link.dev[0], i, 0));
    assert_true(link.dev[0]->stats->fault_overflow == 6);
    link.dev[0]->ops->reclaim(link.dev[0], MS);
    assert_int_equal(receive_numbers(link.dev[1], numbers, 16, MS), 4);
    assert_true(send_number(link.dev[0], 10, MS)); /* held at close */
    drv_close(&link);
    assert_int_equal(dk_buf_in_use(), bufs);
}

/* Room below decides when a frame goes, never what happens to it. */
static void test_fault_without_room_below_waits_and_keeps_order_and_fate(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[64], got = 0, sent = 0;
    int64_t now = 0;
    const struct dk_fault_rates rates = {.duplicate = 300000, .corrupt = 300000};
    open_over(&link, (struct dk_fault_options){.seed = 3, .tx = rates},
              (struct dk_loop_options){.ring_frames = 4});
    while (sent < 40 && send_number(link.dev[0], sent, now))
        sent++;
    assert_true(sent >= 2 && sent <= 5);
    assert_false(drv_readable(link.dev[0], 0));
    assert_true(link.dev[0]->ops->next_due(link.dev[0]) == INT64_MAX); /* room wakes, not time */
    while (sent < 40 || got < 40 + link.dev[0]->stats->fault_duplicated) {
        uint32_t more = receive_numbers(link.dev[1], numbers, 64, ++now);
        must_hold(more > 0, "stuck at %u sent, %u received", sent, got);
        for (uint32_t i = 1; i < more; i++)
            assert_true(link.dev[0]->stats->fault_corrupted > 0 || numbers[i] >= numbers[i - 1]);
        got += more;
        assert_true(sent == 40 || drv_readable(link.dev[0], 0)); /* room */
        link.dev[0]->ops->reclaim(link.dev[0], now);
        while (sent < 40 && send_number(link.dev[0], sent, now))
            sent++;
    }
    /* As many as when there is room for all. */
    const uint64_t duplicated = link.dev[0]->stats->fault_duplicated;
    drv_close(&link);
    open_over(&link, (struct dk_fault_options){.seed = 3, .tx = rates},
              (struct dk_loop_options){0});
    for (uint32_t i = 0; i < 40; i++)
        assert_true(send_number(link.dev[0], i, 0));
    assert_true(link.dev[0]->stats->fault_duplicated == duplicated);
    drv_close(&link);
}

/* 64 bytes at 1 Mbit/s take 512 us. */
static void test_fault_rate_spaces_frames_and_a_full_queue_drops_them(void **state)
{
    (void)state;
    enum { FRAME_NS = 512000, QUEUED = 4 };
    struct drv_link link;
    uint32_t numbers[16];
    open_over(&link,
              (struct dk_fault_options){.tx = {.rate_bps = 1000000,
                                               .queue_bytes = QUEUED * 64,
                                               .delay = DK_FAULT_ALWAYS,
                                               .delay_ns = MS}},
              (struct dk_loop_options){0});
    struct dk_netdev *dev = link.dev[0];
    for (uint32_t i = 0; i < 10; i++)
        assert_true(send_number(dev, i, 0));
    assert_true(dev->stats->fault_queue_full == 10 - QUEUED);
    for (uint32_t i = 0; i < QUEUED; i++) {
        int64_t due = MS + (int64_t)(i + 1) * FRAME_NS;
        assert_true(dev->ops->next_due(dev) == due);
        assert_int_equal(receive_numbers(dev, numbers, 16, due), 0); /* sends what is due */
        assert_int_equal(receive_numbers(link.dev[1], numbers, 16, due), 1);
        assert_int_equal(numbers[0], i);
    }
    /* What left makes room; a link that was idle has saved nothing up. */
    for (uint32_t i = 0; i < 10; i++)
        assert_true(send_number(dev, i, 100 * MS));
    assert_true(dev->stats->fault_queue_full == 2 * (10 - QUEUED));
    assert_true(send_number(dev, 10, 100 * MS + FRAME_NS));
    assert_true(dev->stats->fault_queue_full == 2 * (10 - QUEUED));
    assert_true(dev->ops->next_due(dev) == 101 * MS + FRAME_NS);
    drv_close(&link);
}

static void test_fault_rate_of_each_direction_is_its_own(void **state)
{
    (void)state;
    struct drv_link link;
    uint32_t numbers[16];
    open_over(&link, (struct dk_fault_options){.rx = {.rate_bps = 512000, .loss = 500000}},
              (struct dk_loop_options){0});
    struct dk_netdev *dev = link.dev[0];
    assert_true(send_number(dev, 1, 0));
    assert_int_equal(receive_numbers(link.dev[1], numbers, 16, 0), 1);
    for (uint32_t i = 0; i < 40; i++)
        assert_true(send_number(link.dev[1], i, 0));
    assert_int_equal(receive_numbers(dev, numbers, 16, 0), 0);
    assert_int_equal(receive_numbers(dev, numbers, 16, 0), 0);
    assert_int_equal(receive_numbers(dev, numbers, 16, 0), 0);
    /* What is lost is lost before the link: it takes none of its time. */
    uint32_t passed = 40 - (uint32_t)dev->stats->fault_lost;
    assert_true(passed > 5 && passed < 35 && dev->stats->fault_queue_full == 0);
    for (uint32_t i = 1; i <= passed; i++) {
        assert_int_equal(receive_numbers(dev, numbers, 16, (int64_t)i * MS - 1), 0);
        assert_int_equal(receive_numbers(dev, numbers, 16, (int64_t)i * MS), 1);
    }
    drv_close(&link);
}

/* The byte of a frame of IP with this type and ECN field behind a device that marks all. */
static uint8_t marked(struct dk_netdev *dev, struct dk_netdev *far, uint16_t type, uint8_t second)
{
    uint8_t bytes[64] = {2, 0, 0, 0, 0, 2};
    struct dk_rx_frame got;
    dk_put_be16(bytes + 12, type);
    bytes[14] = type == 0x0800 ? 0x45 : 0x60;
    bytes[15] = second;
    dk_put_be16(bytes + 24, dk_checksum_finish(dk_checksum_add(0, bytes + 14, 20)));
    const struct dk_tx_frame f = {.head = bytes, .head_len = sizeof(bytes)};
    assert_int_equal(dev->ops->tx_burst(dev, &f, 1, 0), 1);
    assert_int_equal(far->ops->rx_burst(far, &got, 1, 0), 1);
    uint8_t seen = got.data[15];
    assert_true(type != 0x0800 || dk_checksum_is_good(0, got.data + 14, 20));
    dk_buf_put(got.buf);
    return seen;
}

static void test_fault_mark_is_for_those_who_are_capable(void **state)
{
    (void)state;
    struct drv_link link;
    open_over(&link, (struct dk_fault_options){.tx = {.mark = DK_FAULT_ALWAYS}},
              (struct dk_loop_options){0});
    struct dk_netdev *dev = link.dev[0], *far = link.dev[1];
    const struct dk_netdev_stats *stats = dev->stats;
    assert_int_equal(marked(dev, far, 0x0800, 0xb8), 0xb8);
    assert_int_equal(marked(dev, far, 0x86dd, 0x0f), 0x0f);
    assert_int_equal(marked(dev, far, 0x0806, 0x02), 0x02);
    assert_true(stats->fault_marked == 0);
    assert_int_equal(marked(dev, far, 0x0800, 0xba), 0xbb);
    assert_int_equal(marked(dev, far, 0x0800, 0x01), 0x03);
    assert_int_equal(marked(dev, far, 0x86dd, 0x2f), 0x3f);
    assert_true(stats->fault_marked == 3);
    drv_close(&link);
}

static void test_fault_options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct dk_netdev *inner, *dev;
    const char *why = NULL;
    must(-dk_loop_open(&inner, &(struct dk_loop_options){0}, &why));
    struct dk_fault_options o = {.rx.loss = DK_FAULT_ALWAYS + 1};
    drv_must_fail(dk_fault_open(&dev, inner, &o, &why), EINVAL, &why, "a rate of 1000001");
    o = (struct dk_fault_options){.tx.jitter_ns = -1};
    drv_must_fail(dk_fault_open(&dev, inner, &o, &why), EINVAL, &why, "a delay of -1");
    o = (struct dk_fault_options){.hold_frames = 65537};
    drv_must_fail(dk_fault_open(&dev, inner, &o, &why), EINVAL, &why, "at most 65536");
    o = (struct dk_fault_options){.rx.rate_bps = 999};
    drv_must_fail(dk_fault_open(&dev, inner, &o, &why), EINVAL, &why, "from 1kbit");
    o = (struct dk_fault_options){.tx.queue_bytes = (1u << 30) + 1};
    drv_must_fail(dk_fault_open(&dev, inner, &o, &why), EINVAL, &why, "at most 1G");
    inner->ops->close(inner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(fault),
        cmocka_unit_test(test_fault_million_frames_suffer_at_the_rates_asked_for),
        cmocka_unit_test(test_fault_same_seed_gives_the_same_faults),
        cmocka_unit_test(test_fault_directions_have_different_faults),
        cmocka_unit_test(test_fault_loss_of_all_lets_nothing_through),
        cmocka_unit_test(test_fault_delay_is_kept_to_the_nanosecond_in_both_directions),
        cmocka_unit_test(test_fault_equal_delays_keep_the_order_and_jitter_does_not),
        cmocka_unit_test(test_fault_duplicate_follows_its_original),
        cmocka_unit_test(test_fault_corruption_turns_one_bit_and_leaves_the_original),
        cmocka_unit_test(test_fault_too_many_held_are_dropped_and_counted),
        cmocka_unit_test(test_fault_without_room_below_waits_and_keeps_order_and_fate),
        cmocka_unit_test(test_fault_rate_spaces_frames_and_a_full_queue_drops_them),
        cmocka_unit_test(test_fault_rate_of_each_direction_is_its_own),
        cmocka_unit_test(test_fault_mark_is_for_those_who_are_capable),
        cmocka_unit_test(test_fault_options_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
