/* SPDX-License-Identifier: MIT */
/*
 * Frames of the library OS stack on their way to a device that takes some, none, or all of them.
 */
#include "libos/stack/sock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

enum { LEN = 100, HEAD = 14, FRAMES_MAX = 64 };

/* The device: what it sent, as it was when it was sent. */
static struct {
    uint32_t room;
    uint32_t num;
    uint32_t reads; /* pieces still */
    uint8_t sent[FRAMES_MAX][HEAD + LEN];
} wire;

static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    (void)dev;
    (void)now;
    uint32_t i;
    for (i = 0; i < n && wire.room > 0; i++, wire.room--) {
        uint8_t *at = wire.sent[wire.num++];
        memcpy(at, frames[i].head, frames[i].head_len);
        at += frames[i].head_len;
        for (uint32_t k = 0; k < frames[i].num_pieces; k++) {
            memcpy(at, frames[i].pieces[k].data, frames[i].pieces[k].len);
            at += frames[i].pieces[k].len;
        }
    }
    return i;
}

static uint32_t reclaim(struct dk_netdev *dev, int64_t now)
{
    (void)dev, (void)now;
    return wire.reads;
}

static const struct dk_netdev_ops ops = {.name = "test", .tx_burst = tx_burst, .reclaim = reclaim};
static struct dk_netdev dev;
static struct dk_stack st;

static int setup(void **state)
{
    (void)state;
    memset(&wire, 0, sizeof wire);
    memset(&st, 0, sizeof st);
    dev = (struct dk_netdev){.ops = &ops, .stats = &dev.own_stats};
    st.dev = &dev;
    st.tx.rooms = &st.tx.none;
    st.due = &st.before_net;
    st.stats = &st.own_stats;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dk_stack_tx_drop(&st);
    return 0;
}

/* Gives a frame of two pieces, all bytes `byte`, to the stack; buf NULL: memory of the call's. */
static bool emit(uint8_t *data, struct dk_buf *buf, uint8_t byte)
{
    uint8_t head[HEAD];
    memset(head, byte, sizeof head);
    memset(data, byte, LEN);
    const struct dk_tx_frame frame = {
        .head = head,
        .head_len = HEAD,
        .num_pieces = 2,
        .pieces = {{data, 30, buf}, {data + 30, LEN - 30, buf}},
    };
    return dk_stack_emit(&st, &frame);
}

static struct dk_buf *lend(uint8_t byte)
{
    struct dk_buf *buf = dk_buf_alloc(LEN, 0);
    assert_true(emit(buf->data, buf, byte));
    return buf;
}

static void give_back(struct dk_buf *buf)
{
    assert_int_equal(buf->refs, 1);
    memset(buf->data, 'X', LEN);
    dk_buf_put(buf);
}

static void must_have_sent(uint32_t from, uint32_t n, uint8_t byte)
{
    assert_true(wire.num >= from + n);
    for (uint32_t i = from; i < from + n; i++)
        for (uint32_t k = 0; k < HEAD + LEN; k++)
            assert_int_equal(wire.sent[i][k], byte + i);
}

static void test_tx_frames_put_off_are_held_until_they_are_sent(void **state)
{
    (void)state;
    struct dk_buf *bufs[3];
    for (uint8_t i = 0; i < 3; i++)
        bufs[i] = lend((uint8_t)('a' + i));
    assert_int_equal(wire.num, 0);
    wire.room = 2;
    dk_stack_flush(&st);
    give_back(bufs[0]);
    give_back(bufs[1]);
    assert_true(bufs[2]->refs > 1);
    wire.room = 1;
    dk_stack_flush(&st);
    give_back(bufs[2]);
    must_have_sent(0, 3, 'a');
    assert_int_equal(st.stats->tx_copied_bytes, 0);
}

/* What the device takes is sent as it lies; only what it does not take is copied, once. */
static void test_tx_memory_given_back_while_the_device_is_full(void **state)
{
    (void)state;
    struct dk_buf *bufs[4];
    for (uint8_t i = 0; i < 4; i++)
        bufs[i] = lend((uint8_t)('a' + i));
    wire.room = 1;
    for (int times = 0; times < 2; times++) {
        assert_true(dk_stack_own(&st));
        assert_int_equal(wire.num, 1);
        assert_int_equal(st.stats->tx_copied_bytes, 3 * LEN);
    }
    for (int i = 0; i < 4; i++)
        give_back(bufs[i]);
    struct dk_buf *late = lend('a' + 4); /* in its place behind them, and not copied */
    wire.room = FRAMES_MAX;
    assert_true(dk_stack_own(&st));
    give_back(late);
    must_have_sent(0, 5, 'a');
    assert_int_equal(st.stats->tx_copied_bytes, 3 * LEN);
}

/* Memory that the device still reads is not given back, whatever else waits. */
static void test_tx_memory_that_the_device_reads_is_not_given_back(void **state)
{
    (void)state;
    struct dk_buf *buf = lend('a');
    wire.room = FRAMES_MAX;
    wire.reads = 1;
    assert_false(dk_stack_own(&st));
    must_have_sent(0, 1, 'a');
    assert_false(dk_stack_own(&st));
    wire.reads = 0;
    assert_true(dk_stack_own(&st));
    give_back(buf);
    assert_int_equal(st.stats->tx_copied_bytes, 0);
}

/* A push that waits for room holds a view of the application's memory: which is not given up before
 * the application does so. */
static void test_tx_view_of_memory_that_the_application_has_is_not_given_up(void **state)
{
    (void)state;
    struct dk_buf *buf = dk_buf_alloc(LEN, 0);
    void *handle = dk_buf_lend(buf);
    struct dk_buf *view = dk_buf_view(buf, buf->data, LEN);
    assert_false(dk_stack_is_given_up(view));
    assert_int_equal(dk_buf_app_put(handle), 0);
    assert_true(dk_stack_is_given_up(view));
    dk_buf_put(view);
}

static void test_tx_memory_of_the_call_is_sent_in_the_call(void **state)
{
    (void)state;
    uint8_t memory[LEN];
    struct dk_buf *buf = lend('a');
    wire.room = 2;
    assert_true(emit(memory, NULL, 'b'));
    must_have_sent(0, 2, 'a');
    give_back(buf);
    assert_false(emit(memory, NULL, 'c')); /* it takes no more */
    assert_true(st.tx.refused);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_tx_frames_put_off_are_held_until_they_are_sent),
        TEST(test_tx_memory_given_back_while_the_device_is_full),
        TEST(test_tx_memory_that_the_device_reads_is_not_given_back),
        TEST(test_tx_view_of_memory_that_the_application_has_is_not_given_up),
        TEST(test_tx_memory_of_the_call_is_sent_in_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
