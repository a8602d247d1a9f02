/* SPDX-License-Identifier: MIT */
/*
 * Network devices whose requests to the system fail: an open that fails says so and leaves nothing,
 * frames that the kernel refuses are offered again or counted, and no memory is no crash. Cases
 * with interfaces need a network namespace, and are skipped without.
 */
#include "../unit/drv_kit.h"
#include "../unit/drv_netns.h"
#include "inject.h"

#include "drv/packet.h"
#include "drv/spec.h"
#include "drv/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *no_netns; /* why there is none */
static bool has_tun;

static void need_interfaces(void)
{
    if (no_netns) {
        printf("skip: %s\n", no_netns);
        skip();
    }
    if (!has_tun) {
        printf("skip: /dev/net/tun cannot be opened\n");
        skip();
    }
}

/* Opens a specification with the nth request failing: whether one did. */
static bool open_with_failure(const char *spec, enum inject_kind kind, uint32_t nth, int error)
{
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    const uint32_t bufs = dk_buf_in_use();
    const int fds = open_fds();
    inject_arm(kind, nth, false, error);
    int r = dk_spec_open(&dev, spec, NULL, &why);
    inject_disarm();
    if (r == 0) {
        dev->ops->close(dev);
    } else {
        must_hold(inject_hit(), "%s: %s", spec, why);
        must_hold(r < 0 && why && why[0], "%s: returns %d without a word", spec, r);
        assert_null(dev);
    }
    assert_int_equal(dk_buf_in_use(), bufs);
    assert_int_equal(open_fds(), fds);
    return inject_hit();
}

/* Fails each request of each kind in turn; returns how many there were. */
static uint32_t open_with_failures(const char *spec)
{
    static const struct {
        enum inject_kind kind;
        int error;
    } kinds[] = {
        {INJECT_MEMORY, ENOMEM},
        {INJECT_DESCRIPTOR, EMFILE},
        {INJECT_WATCH, ENOSPC},
        {INJECT_DEVICE, EPERM},
    };
    uint32_t failures = 0;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        for (uint32_t nth = 1; open_with_failure(spec, kinds[i].kind, nth, kinds[i].error); nth++)
            failures++;
    return failures;
}

static void test_open_of_decorators_any_request_failing_leaves_nothing(void **state)
{
    (void)state;
    static char path[] = "/tmp/demi-devices-XXXXXX";
    char spec[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    /* Tables so large that the heap has to ask for their memory. */
    snprintf(spec, sizeof(spec), "pcap(%s):fault(hold=65536):loop,ring=65536", path);
    assert_true(open_with_failures(spec) >= 3);
    unlink(path);
}

static void test_open_of_interfaces_any_request_failing_leaves_nothing(void **state)
{
    (void)state;
    need_interfaces();
    netns_ip("link add ve0 type veth peer name ve1");
    netns_ip("link set ve0 up");
    netns_ip("link set ve1 up");
    assert_true(open_with_failures("packet:ve0,promiscuous") >= 10);
    netns_ip("link del ve0");
    assert_true(open_with_failures("tap:tp0,mtu=1400") >= 8);
    assert_true(access("/sys/class/net/tp0", F_OK) != 0);
}

/* Opens it with the nth request failing; NULL when it does not open then. */
static struct dk_netdev *try_packet(const char *name, uint32_t nth)
{
    struct dk_netdev *dev = NULL;
    const char *why;
    inject_arm(INJECT_DEVICE, nth, false, ENOPROTOOPT);
    int r = dk_packet_open(&dev, &(struct dk_packet_options){.name = name}, &why);
    inject_disarm();
    return r == 0 ? dev : NULL;
}

/* A kernel may lack requests that packet.c can do without: then it is shown what the host sends. */
static void test_packet_without_ignore_outgoing_does_not_receive_what_the_host_sends(void **state)
{
    (void)state;
    need_interfaces();
    struct dk_netdev *host;
    struct drv_frame f;
    struct dk_rx_frame got;
    uint32_t opened = 0, shown = 0;
    const char *why;
    netns_ip("link add ve0 type veth peer name ve1");
    netns_ip("link set ve0 up");
    netns_ip("link set ve1 up");
    must(-dk_packet_open(&host, &(struct dk_packet_options){.name = "ve0"}, &why));
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    bool hit = true;
    for (uint32_t nth = 1; hit; nth++) {
        struct dk_netdev *dev = try_packet("ve0", nth);
        hit = inject_hit();
        if (!dev)
            continue;
        opened += hit;
        drv_send(host, &f);
        shown += drv_readable(dev, 0);
        assert_int_equal(dev->ops->rx_burst(dev, &got, 1, 0), 0);
        assert_true(dev->stats->rx_frames == 0 && dev->stats->rx_dropped == 0);
        dev->ops->close(dev);
    }
    assert_int_equal(opened, 2); /* without that option; without ethtool's word on the carrier */
    assert_int_equal(shown, 1);
    host->ops->close(host);
    drv_frame_free(&f);
    netns_ip("link del ve0");
}

static struct drv_link open_tap_and_packet(uint32_t mtu)
{
    struct drv_link link;
    const char *why = NULL;
    int r = dk_tap_open(&link.dev[0], &(struct dk_tap_options){.name = "tp0", .mtu = mtu}, &why);
    must_hold(r == 0, "%s", why);
    r = dk_packet_open(&link.dev[1], &(struct dk_packet_options){.name = "tp0"}, &why);
    must_hold(r == 0, "%s", why);
    return link;
}

static void test_send_that_the_kernel_has_no_room_for_is_offered_again(void **state)
{
    (void)state;
    need_interfaces();
    struct drv_link link = open_tap_and_packet(0);
    struct drv_frame f;
    drv_frame_make(&f, 100, DRV_HEADER, 2, 1);
    for (int i = 0; i < 2; i++) {
        struct dk_netdev *dev = link.dev[i];
        struct dk_rx_frame got;
        assert_false(drv_readable(dev, 0));
        inject_arm(INJECT_DEVICE, 1, false, EAGAIN);
        assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 0), 0);
        inject_disarm();
        assert_true(dev->stats->tx_frames == 0 && dev->stats->tx_dropped == 0);
        assert_true(drv_readable(dev, PATIENCE_S * 1000)); /* there is room */
        drv_send(dev, &f);
        drv_receive(link.dev[1 - i], &got, 1);
        drv_check(&got, &f);
        assert_false(drv_readable(dev, 0)); /* nobody waits for room any more */
    }
    drv_frame_free(&f);
    drv_close(&link);
}

static void test_send_that_the_kernel_refuses_is_counted(void **state)
{
    (void)state;
    need_interfaces();
    static const struct {
        int error;
        bool sent, down, too_long; /* else refused */
    } cases[] = {
        {.error = EINTR, .sent = true},
        {.error = ENOBUFS},
        {.error = ENOMEM},
        {.error = ENETDOWN, .down = true},
        {.error = EMSGSIZE, .too_long = true},
    };
    struct drv_link link = open_tap_and_packet(0);
    struct drv_frame f;
    drv_frame_make(&f, 100, DRV_HEADER, 2, 1);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct dk_netdev *dev = link.dev[1];
        struct dk_tx_frame tx[3] = {f.tx, f.tx, f.tx};
        const struct dk_netdev_stats before = *dev->stats;
        inject_arm(INJECT_DEVICE, 1, false, cases[i].error);
        assert_int_equal(dev->ops->tx_burst(dev, tx, 3, 0), 3);
        inject_disarm();
        const struct dk_netdev_stats *s = dev->stats;
        const bool dropped = !cases[i].sent;
        assert_true(s->tx_frames - before.tx_frames == 3u - dropped);
        assert_true(s->tx_dropped - before.tx_dropped == dropped);
        assert_true(s->tx_link_down - before.tx_link_down == cases[i].down);
        assert_true(s->tx_too_long - before.tx_too_long == cases[i].too_long);
        assert_true(s->tx_refused - before.tx_refused ==
                    (dropped && !cases[i].down && !cases[i].too_long));
    }
    struct dk_netdev *tap = link.dev[0];
    inject_arm(INJECT_DEVICE, 1, false, EIO);
    drv_send(tap, &f);
    inject_arm(INJECT_DEVICE, 1, false, ENOBUFS);
    drv_send(tap, &f);
    inject_arm(INJECT_DEVICE, 1, false, EINTR);
    drv_send(tap, &f);
    inject_disarm();
    assert_true(tap->stats->tx_frames == 1 && tap->stats->tx_dropped == 2);
    assert_true(tap->stats->tx_link_down == 1 && tap->stats->tx_refused == 1);
    drv_frame_free(&f);
    drv_close(&link);
}

/* Sends from one end, and keeps what the other receives, until memory is short. */
enum { HELD_MAX = 20000 };

static uint32_t exhaust(struct dk_netdev *from, struct dk_netdev *to, const struct drv_frame *f,
                        const uint64_t *no_memory, struct dk_rx_frame held[HELD_MAX])
{
    uint32_t n = 0;
    inject_arm(INJECT_MEMORY, 1, true, ENOMEM);
    while (n < HELD_MAX && *no_memory == 0) {
        drv_send(from, f);
        if (*no_memory == 0)
            drv_readable(to, 1000);
        n += to->ops->rx_burst(to, &held[n], 1, 0);
    }
    inject_disarm();
    must_hold(*no_memory > 0, "there was memory for %u frames", n);
    return n;
}

/* Runs out of memory, and recovers; `waits`: the frame that found none is still there. */
static void run_out(struct dk_netdev *from, struct dk_netdev *to, uint32_t len,
                    const uint64_t *no_memory, bool waits)
{
    struct drv_frame f;
    struct dk_rx_frame *held = malloc(HELD_MAX * sizeof(*held)), got;
    drv_frame_make(&f, len, DRV_HEADER, 1, 1);
    uint32_t n = exhaust(from, to, &f, no_memory, held);
    for (uint32_t i = 0; i < n; i++)
        drv_check(&held[i], &f);
    if (!waits)
        drv_send(from, &f);
    drv_receive(to, &got, 1);
    drv_check(&got, &f);
    assert_false(drv_readable(to, 0));
    drv_frame_free(&f);
    free(held);
}

static void test_loop_without_memory_drops_and_counts(void **state)
{
    (void)state;
    struct dk_netdev *dev;
    const char *why = NULL;
    must(-dk_spec_open(&dev, "loop,mtu=65535,pool=1G", NULL, &why));
    run_out(dev, dev, 60000, &dev->stats->tx_no_memory, false);
    assert_true(dev->stats->tx_dropped == dev->stats->tx_no_memory);
    dev->ops->close(dev);
}

static void test_interfaces_without_memory_lose_nothing_uncounted(void **state)
{
    (void)state;
    need_interfaces();
    struct drv_link link = open_tap_and_packet(60000);
    run_out(link.dev[0], link.dev[1], 50000, &link.dev[1]->stats->rx_no_memory, false);
    assert_true(link.dev[1]->stats->rx_dropped == link.dev[1]->stats->rx_no_memory);
    run_out(link.dev[1], link.dev[0], 50000, &link.dev[0]->stats->rx_no_memory, true);
    assert_true(link.dev[0]->stats->rx_dropped == 0); /* the kernel kept it */
    drv_close(&link);
}

int main(void)
{
    has_tun = access("/dev/net/tun", R_OK | W_OK) == 0;
    no_netns = netns_enter();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_of_decorators_any_request_failing_leaves_nothing),
        cmocka_unit_test(test_open_of_interfaces_any_request_failing_leaves_nothing),
        cmocka_unit_test(test_packet_without_ignore_outgoing_does_not_receive_what_the_host_sends),
        cmocka_unit_test(test_send_that_the_kernel_has_no_room_for_is_offered_again),
        cmocka_unit_test(test_send_that_the_kernel_refuses_is_counted),
        cmocka_unit_test(test_loop_without_memory_drops_and_counts),
        cmocka_unit_test(test_interfaces_without_memory_lose_nothing_uncounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
