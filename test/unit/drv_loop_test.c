/* SPDX-License-Identifier: MIT */
/* The link inside the process. */
#include "drv_kit.h"

#include "base/bytes.h"
#include "base/checksum.h"

#include "drv/loop.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void open_pair(struct drv_link *link, const struct dk_loop_options *options)
{
    const char *why = NULL;
    int r = dk_loop_open_pair(link->dev, options, &why);
    must_hold(r == 0, "%s", why);
}

static void open_loop(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    open_pair(link, &(struct dk_loop_options){.mtu = mtu, .rx_pool_bytes = pool_bytes});
}

static const struct drv_maker loop = {"loop", open_loop, NULL, 65535};

/* Fills the ring; returns how many frames were taken. */
static uint32_t fill(struct dk_netdev *dev, const struct drv_frame *f)
{
    uint32_t taken = 0;
    while (dev->ops->tx_burst(dev, &f->tx, 1, 0) == 1)
        taken++;
    return taken;
}

static void test_loop_burst_larger_than_room_is_taken_partly(void **state)
{
    (void)state;
    struct drv_link link;
    struct dk_tx_frame tx[10];
    struct dk_rx_frame got[10];
    struct drv_frame f;
    open_pair(&link, &(struct dk_loop_options){.ring_frames = 8});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < 10; i++)
        tx[i] = f.tx;
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], tx, 10, 0), 8);
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], tx, 10, 0), 0);
    assert_true(link.dev[0]->stats->tx_frames == 8);
    assert_int_equal(link.dev[1]->ops->rx_burst(link.dev[1], got, 3, 0), 3);
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], tx, 10, 0), 3);
    for (int i = 0; i < 3; i++)
        drv_check(&got[i], &f);
    assert_true(link.dev[0]->stats->tx_frames == 11 && link.dev[0]->stats->tx_dropped == 0);
    drv_frame_free(&f);
    drv_close(&link);
}

/* A checksum that was left to the device: not needed where it vouches for it, else finished. */
static void test_loop_checksum_is_believed_or_finished(void **state)
{
    (void)state;
    for (uint32_t rx = 0; rx <= DK_NETDEV_RX_CHECKSUM; rx += DK_NETDEV_RX_CHECKSUM) {
        for (uint32_t bytes = 100; bytes < 4000; bytes += 3001) { /* short and long ones */
            struct drv_link link;
            struct drv_frame f;
            struct dk_rx_frame got;
            open_pair(&link, &(struct dk_loop_options){.mtu = 9000,
                                                       .offloads = DK_NETDEV_TX_CHECKSUM | rx});
            drv_frame_make(&f, bytes, DRV_HEADER, 1, 1);
            f.tx.checksum_start = 34;
            f.tx.checksum_offset = 16;
            drv_send(link.dev[0], &f);
            drv_receive(link.dev[1], &got, 1);
            const uint32_t pseudo = dk_get_be16(f.bytes + 34 + 16);
            const bool good = dk_checksum_is_good(pseudo, got.data + 34, got.len - 34);
            assert_int_equal(got.checksum, rx ? DK_RX_CHECKSUM_GOOD : DK_RX_CHECKSUM_UNKNOWN);
            assert_int_equal(good, rx == 0);
            dk_buf_put(got.buf);
            drv_frame_free(&f);
            drv_close(&link);
        }
    }
}

/* Sends and receives a frame of a head and at most one piece; returns whether it was too long. */
static bool exchange_parts(const struct drv_link *link, uint32_t head, uint32_t payload,
                           uint32_t max)
{
    struct drv_frame f;
    struct dk_rx_frame got;
    drv_frame_make(&f, head + payload, head, payload != 0, head + payload);
    f.tx.head_len = head;
    drv_send(link->dev[0], &f);
    if (head + payload <= max) {
        drv_receive(link->dev[1], &got, 1);
        drv_check(&got, &f);
    }
    drv_frame_free(&f);
    return head + payload > max;
}

/* Of lengths about each at which copying goes another way, on a link that takes all of them and on
 * one that does not. */
static void test_loop_frame_of_any_parts_arrives_whole(void **state)
{
    (void)state;
    static const uint32_t lens[] = {0, 1, 31, 32, 33, 63, 64, 65, 95, 96, 97, 128, 1000};
    for (uint32_t mtu = 100; mtu <= 1500; mtu += 1400) {
        struct drv_link link;
        uint64_t too_long = 0;
        open_pair(&link, &(struct dk_loop_options){.mtu = mtu});
        for (uint32_t head = DRV_HEADER; head < 130; head++)
            for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
                too_long += exchange_parts(&link, head, lens[i], mtu + DRV_HEADER + 4);
        assert_true(link.dev[0]->stats->tx_too_long == too_long);
        assert_true((too_long != 0) == (mtu == 100));
        drv_close(&link);
    }
}

/* Short frames share a few buffers: one that is kept for long is not written to again. */
static void test_loop_frame_kept_is_not_overwritten_by_later_ones(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame first, later;
    struct dk_rx_frame kept, got;
    struct dk_buf *view;
    open_pair(&link, &(struct dk_loop_options){0});
    drv_frame_make(&first, 100, DRV_HEADER, 1, 1);
    drv_frame_make(&later, 200, DRV_HEADER, 1, 2);
    drv_send(link.dev[0], &first);
    drv_receive(link.dev[1], &kept, 1);
    view = dk_buf_view(kept.buf, kept.data, kept.len);
    dk_buf_put(kept.buf); /* the view keeps it */
    for (int i = 0; i < 100; i++) {
        drv_send(link.dev[0], &later);
        drv_receive(link.dev[1], &got, 1);
        drv_check(&got, &later);
    }
    assert_memory_equal(view->data, first.bytes, 100);
    dk_buf_put(view);
    drv_frame_free(&first);
    drv_frame_free(&later);
    drv_close(&link);
}

static void test_loop_sender_without_room_is_woken_by_room(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    open_pair(&link, &(struct dk_loop_options){.ring_frames = 16});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    assert_int_equal(fill(link.dev[0], &f), 16);
    assert_false(drv_readable(link.dev[0], 0));
    drv_drain(link.dev[1]);
    assert_true(drv_readable(link.dev[0], 0));  /* said once, */
    assert_false(drv_readable(link.dev[0], 0)); /* also to one that has nothing to send */
    assert_int_equal(fill(link.dev[0], &f), 16);
    drv_frame_free(&f);
    drv_close(&link);
}

static void test_loop_of_one_end_receives_what_it_sends(void **state)
{
    (void)state;
    struct dk_netdev *dev;
    struct drv_frame f;
    struct dk_rx_frame got;
    const char *why;
    const uint32_t before = dk_buf_in_use();
    must(-dk_loop_open(&dev, &(struct dk_loop_options){.ring_frames = 4}, &why));
    assert_int_equal(dev->caps.mtu, 1500);
    assert_int_equal(dev->ops->link(dev), DK_LINK_UP);
    drv_frame_make(&f, 200, DRV_HEADER, 3, 1);
    assert_false(drv_readable(dev, 0));
    assert_int_equal(fill(dev, &f), 4);
    assert_true(drv_readable(dev, 0));
    drv_receive(dev, &got, 1);
    drv_check(&got, &f);
    assert_int_equal(fill(dev, &f), 1);
    dev->ops->close(dev);
    drv_frame_free(&f);
    assert_int_equal(dk_buf_in_use(), before);
}

static void test_loop_end_closed_takes_the_link_down(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    open_pair(&link, &(struct dk_loop_options){.ring_frames = 4});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    assert_int_equal(fill(link.dev[0], &f), 4);
    assert_false(drv_readable(link.dev[0], 0));
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_UP);
    link.dev[1]->ops->close(link.dev[1]);
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_DOWN);
    assert_true(drv_readable(link.dev[0], 0)); /* there is nothing to wait for any more */
    drv_send(link.dev[0], &f);
    assert_true(link.dev[0]->stats->tx_link_down == 1 && link.dev[0]->stats->tx_dropped == 1);
    link.dev[0]->ops->close(link.dev[0]);
    drv_frame_free(&f);
}

static void test_loop_options_out_of_range_are_refused(void **state)
{
    (void)state;
    struct drv_link link;
    const char *why = NULL;
    drv_must_fail(dk_loop_open_pair(link.dev, &(struct dk_loop_options){.mtu = 67}, &why), EINVAL,
                  &why, "68 to 65535");
    drv_must_fail(dk_loop_open_pair(link.dev, &(struct dk_loop_options){.mtu = 65536}, &why),
                  EINVAL, &why, "68 to 65535");
    drv_must_fail(
        dk_loop_open_pair(link.dev, &(struct dk_loop_options){.ring_frames = 65537}, &why), EINVAL,
        &why, "at most 65536");
}

/* Two threads, each with an end; frames carry their number. */
enum { THREAD_FRAMES = 20000 };

struct side {
    struct dk_netdev *dev;
    uint32_t sent, received, wrong;
};

static void send_next(struct side *s)
{
    uint8_t bytes[DRV_HEADER + 4] = {2, 0, 0, 0, 0, 2};
    const struct dk_tx_frame f = {.head = bytes, .head_len = sizeof(bytes)};
    memcpy(bytes + DRV_HEADER, &s->sent, 4);
    if (s->sent < THREAD_FRAMES)
        s->sent += s->dev->ops->tx_burst(s->dev, &f, 1, 0);
}

static uint32_t receive_some(struct side *s)
{
    struct dk_rx_frame got[16];
    uint32_t n = s->dev->ops->rx_burst(s->dev, got, 16, 0);
    for (uint32_t i = 0; i < n; i++, s->received++) {
        s->wrong += memcmp(got[i].data + DRV_HEADER, &s->received, 4) != 0;
        dk_buf_put(got[i].buf);
    }
    return n;
}

static void *run_side(void *arg)
{
    struct side *s = arg;
    while (s->sent < THREAD_FRAMES || s->received < THREAD_FRAMES) {
        uint32_t sent = s->sent;
        send_next(s);
        /* Sleeps when there is nothing to do: a wake-up that is missed hangs here. */
        if (receive_some(s) == 0 && s->sent == sent && !drv_readable(s->dev, PATIENCE_S * 1000))
            break;
    }
    return NULL;
}

static void test_loop_ends_in_two_threads_lose_no_frame_and_no_wakeup(void **state)
{
    (void)state;
    struct drv_link link;
    pthread_t threads[2];
    open_pair(&link, &(struct dk_loop_options){.ring_frames = 8});
    struct side sides[2] = {{.dev = link.dev[0]}, {.dev = link.dev[1]}};
    deadline_start(__func__, DEADLINE_S);
    for (int i = 0; i < 2; i++)
        must(pthread_create(&threads[i], NULL, run_side, &sides[i]));
    for (int i = 0; i < 2; i++)
        must(pthread_join(threads[i], NULL));
    deadline_stop();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sides[i].received, THREAD_FRAMES);
        assert_int_equal(sides[i].wrong, 0);
    }
    drv_close(&link);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(loop),
        cmocka_unit_test(test_loop_burst_larger_than_room_is_taken_partly),
        cmocka_unit_test(test_loop_checksum_is_believed_or_finished),
        cmocka_unit_test(test_loop_frame_of_any_parts_arrives_whole),
        cmocka_unit_test(test_loop_frame_kept_is_not_overwritten_by_later_ones),
        cmocka_unit_test(test_loop_sender_without_room_is_woken_by_room),
        cmocka_unit_test(test_loop_of_one_end_receives_what_it_sends),
        cmocka_unit_test(test_loop_end_closed_takes_the_link_down),
        cmocka_unit_test(test_loop_options_out_of_range_are_refused),
        cmocka_unit_test(test_loop_ends_in_two_threads_lose_no_frame_and_no_wakeup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
