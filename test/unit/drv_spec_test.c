/* SPDX-License-Identifier: MIT */
/* Devices by specification. */
#include "drv_kit.h"

#include "drv/spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct dk_netdev *open_spec(const char *spec, const struct dk_spec_context *context)
{
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    int r = dk_spec_open(&dev, spec, context, &why);
    must_hold(r == 0, "%s: %s", spec, why);
    return dev;
}

static void test_spec_that_is_right_is_accepted_without_opening(void **state)
{
    (void)state;
    static const char *const right[] = {
        "loop",
        "loop,mtu=9000,mac=02:aa:BB:00:00:01,ring=64,pool=1M",
        "tap:demi0",
        "tap:demi0,mtu=1400",
        "packet:veth1,ring=256,promiscuous",
        "packet:veth1,promiscuous=no",
        "pcap(/tmp/a.pcapng):tap:demi0",
        "pcap(/tmp/a\\,b\\).pcapng,limit=64M,snap=128):tap:demi0,mtu=1400",
        "fault:loop",
        "fault():loop",
        "fault(seed=0xffffffffffffffff):loop",
        "fault(loss=1.5%,rx.corrupt=200ppm,tx.delay=10ms,jitter=1.5us,reorder_by=1s):loop",
        "fault(rate=1Gbit,tx.rate=64kbit,queue=1M,mark=2%):loop",
        "pcap(/tmp/a):fault(seed=7,loss=1%):pcap(/tmp/b):packet:veth1",
    };
    for (size_t i = 0; i < COUNT_OF(right); i++) {
        const char *why = "";
        int r = dk_spec_check(right[i], &why);
        must_hold(r == 0, "%s: %s", right[i], why);
    }
    assert_true(access("/tmp/a,b).pcapng", F_OK) != 0);
}

static void test_spec_that_is_wrong_says_where_and_what_is_right(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *words;
    } wrong[] = {
        {"", "no network device \"\""},
        {"eth0", "no network device \"eth0\": it is loop, tap:INTERFACE"},
        {"tap", "tap: the name of an interface is missing"},
        {"tap:", "tap: the name of an interface is missing"},
        {"tap:,mtu=1", "tap: the name of an interface is missing"},
        {"tap(demi0)", "tap is a device"},
        {"tap:demi0,mut=1", "no option \"mut\": there are mtu, mac, pool"},
        {"tap:demi0,mtu", "mtu=: a number is wanted"},
        {"tap:demi0,mtu=", "mtu=: a number is wanted"},
        {"tap:demi0,mtu=1x", "mtu=1x: a number is wanted"},
        {"tap:demi0,mtu=-1", "mtu=-1: a number is wanted"},
        {"tap:demi0,mtu=4294967296", "a number is wanted"},
        {"tap:demi0,", "no option \"\""},
        {"loop,pool=1T", "pool=1T: a number of bytes"},
        {"loop,pool=99999999999G", "a number of bytes"},
        {"loop,mac=02:00:00:00:00", "mac=02:00:00:00:00: an address"},
        {"loop,mac=01:00:00:00:00:00", "an address of one station"},
        {"loop,mac=02-00-00-00-00-00", "an address of one station"},
        {"loop:tap:demi0", "loop: nothing can be named after it: \"tap:demi0\""},
        {"packet:ve0,promiscuous=maybe", "yes or no"},
        {"pcap", "pcap goes before a device"},
        {"pcap:loop", "pcap: a file is missing"},
        {"pcap():loop", "pcap: a file is missing"},
        {"pcap(/tmp/a:loop", "a \")\" is missing"},
        {"pcap(/tmp/a)", "pcap goes before a device"},
        {"pcap(/tmp/a)loop", "pcap goes before a device"},
        {"pcap(/tmp/a):", "no network device \"\""},
        {"fault(loss=1):loop", "loss=1: a rate, as 1.5% or 200ppm"},
        {"fault(loss=101%):loop", "loss=101%: a rate"},
        {"fault(loss=.5%):loop", "a rate"},
        {"fault(loss=1.%):loop", "a rate"},
        {"fault(delay=10):loop", "delay=10: a time with its unit"},
        {"fault(delay=10min):loop", "a time with its unit"},
        {"fault(rate=10):loop", "rate=10: bits per second"},
        {"fault(rate=10mbit):loop", "bits per second, as 2.5Mbit"},
        {"fault(seed=):loop", "seed=: a number"},
        {"fault:fault:fault:fault:fault:fault:fault:fault:loop", "more than 8"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct dk_netdev *dev = NULL;
        const char *why = NULL;
        drv_must_fail(dk_spec_check(wrong[i].spec, &why), EINVAL, &why, wrong[i].words);
        why = NULL;
        drv_must_fail(dk_spec_open(&dev, wrong[i].spec, NULL, &why), EINVAL, &why, wrong[i].words);
        assert_null(dev);
    }
}

static void test_spec_too_long_is_refused(void **state)
{
    (void)state;
    char spec[2000];
    const char *why = NULL;
    memset(spec, 'a', sizeof(spec) - 1);
    spec[sizeof(spec) - 1] = '\0';
    drv_must_fail(dk_spec_check(spec, &why), EINVAL, &why, "at most 1023");
    spec[1023] = '\0';
    drv_must_fail(dk_spec_check(spec, &why), EINVAL, &why, "no network device");
}

static void test_spec_options_reach_the_device_and_context_fills_in(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_spec("loop,mac=02:aa:BB:00:00:fe", NULL);
    assert_memory_equal(dev->caps.mac.bytes, "\x02\xaa\xbb\x00\x00\xfe", 6);
    assert_int_equal(dev->caps.mtu, 1500);
    dev->ops->close(dev);
    dev = open_spec("loop", &(struct dk_spec_context){.mtu = 1300});
    assert_int_equal(dev->caps.mtu, 1300);
    dev->ops->close(dev);
    dev = open_spec("loop,mtu=1400", &(struct dk_spec_context){.mtu = 1300});
    assert_int_equal(dev->caps.mtu, 1400);
    dev->ops->close(dev);
}

/* Sends 1000 frames; returns the counters. */
static struct dk_netdev_stats counters_of(const char *spec)
{
    struct dk_netdev *dev = open_spec(spec, NULL);
    struct dk_netdev_stats stats;
    struct drv_frame f;
    dk_netdev_move_stats(dev, &stats);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, i), 1);
        struct dk_rx_frame got;
        if (dev->ops->rx_burst(dev, &got, 1, i) == 1)
            dk_buf_put(got.buf);
    }
    dev->ops->close(dev);
    drv_frame_free(&f);
    return stats;
}

static void test_spec_rates_and_times_have_their_units(void **state)
{
    (void)state;
    struct dk_netdev_stats s = counters_of("fault(seed=1,tx.loss=50%):loop");
    assert_true(s.fault_lost > 400 && s.fault_lost < 600);
    assert_true(s.rx_frames == 1000 - s.fault_lost);
    s = counters_of("fault(seed=1,rx.loss=100%):loop");
    assert_true(s.fault_lost == 1000 && s.tx_frames == 1000);
    s = counters_of("fault(seed=1,loss=1000ppm):loop");
    assert_true(s.fault_lost < 20);
    s = counters_of("fault(tx.delay=0.5us):loop"); /* 1,000 frames, a nanosecond apart */
    assert_true(s.fault_delayed == 1000 && s.tx_frames == 500);
    s = counters_of("fault(tx.delay=500ns,tx.delayed=10%):loop");
    assert_true(s.fault_delayed > 60 && s.fault_delayed < 140);
    s = counters_of("fault(tx.rate=2.5Mbit,tx.queue=5K):loop"); /* frames of 100 bytes */
    assert_true(s.fault_queue_full == 1000 - 5 * 1024 / 100 && s.tx_frames == 0);
}

static void test_spec_chain_counts_in_one_set_and_is_closed_whole(void **state)
{
    (void)state;
    static char path[] = "/tmp/demi-spec-XXXXXX";
    char spec[128];
    const uint32_t bufs = dk_buf_in_use();
    const int fds = open_fds();
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(spec, sizeof(spec), "pcap(%s,limit=4K):fault(seed=1,rx.loss=100%%):loop", path);
    struct dk_netdev_stats s = counters_of(spec);
    assert_true(s.tx_frames == 1000 && s.fault_lost == 1000);
    assert_true(s.pcap_frames > 0 && s.pcap_frames + s.pcap_unwritten == 1000);
    unlink(path);
    assert_int_equal(dk_buf_in_use(), bufs);
    assert_int_equal(open_fds(), fds);
}

static void test_spec_decorator_that_fails_leaves_nothing_open(void **state)
{
    (void)state;
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    const int fds = open_fds();
    drv_must_fail(dk_spec_open(&dev, "pcap(/nowhere/at/all):fault(loss=1%):loop", NULL, &why),
                  ENOENT, &why, "/nowhere/at/all");
    assert_null(dev);
    assert_int_equal(open_fds(), fds);
}

static void test_spec_captures_of_several_queues_are_files_of_their_own(void **state)
{
    (void)state;
    char path[] = "/tmp/drv-spec-XXXXXX", spec[64], second[64];
    struct dk_netdev *devs[2];
    close(mkstemp(path));
    snprintf(spec, sizeof spec, "pcap(%s):loop", path);
    snprintf(second, sizeof second, "%s.1", path);
    for (uint16_t i = 0; i < 2; i++)
        devs[i] = open_spec(spec, &(struct dk_spec_context){.queue = {.index = i, .num = 2}});
    for (int i = 0; i < 2; i++)
        devs[i]->ops->close(devs[i]);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(second), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_that_is_right_is_accepted_without_opening),
        cmocka_unit_test(test_spec_that_is_wrong_says_where_and_what_is_right),
        cmocka_unit_test(test_spec_too_long_is_refused),
        cmocka_unit_test(test_spec_options_reach_the_device_and_context_fills_in),
        cmocka_unit_test(test_spec_rates_and_times_have_their_units),
        cmocka_unit_test(test_spec_chain_counts_in_one_set_and_is_closed_whole),
        cmocka_unit_test(test_spec_decorator_that_fails_leaves_nothing_open),
        cmocka_unit_test(test_spec_captures_of_several_queues_are_files_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
