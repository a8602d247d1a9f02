/* SPDX-License-Identifier: MIT */
/* AF_XDP, over the two ends of a veth in a network namespace of the test's. */
#include "drv_kit.h"
#include "drv_netns.h"

#include "drv/xdp/state.h"
#include "mem/heap.h"
#include "mem/stats.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *mode; /* of the cases that come */

static struct dk_netdev *open_any(struct dk_xdp_options options)
{
    struct dk_netdev *dev;
    const char *why = NULL;
    if (!options.mode)
        options.mode = mode;
    int r = dk_xdp_driver.open(&dev, &options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static struct dk_netdev *open_end(struct dk_xdp_options options)
{
    options.whole = true;
    return open_any(options);
}

static void open_both(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    netns_make_veth(mtu ? mtu : 1500);
    for (int i = 0; i < 2; i++)
        link->dev[i] = open_end((struct dk_xdp_options){
            .name = i == 0 ? "ve0" : "ve1", .rx_pool_bytes = pool_bytes, .promiscuous = true});
}

static void open_generic(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    mode = "generic";
    open_both(link, mtu, pool_bytes);
}

static void open_native(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    mode = "native";
    open_both(link, mtu, pool_bytes);
    mode = NULL;
}

#define MTU_MAX 3794

static const struct drv_maker generic = {"generic", open_generic, netns_remove_veth, MTU_MAX};
static const struct drv_maker native = {"native", open_native, netns_remove_veth, 3000};

static void test_xdp_what_cannot_be_opened_says_what_to_do(void **state)
{
    (void)state;
    struct dk_netdev *dev;
    struct dk_xdp_options o = {.name = "nothere", .whole = true};
    const char *why = NULL;
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), ENODEV, &why, "nothere does not exist");
    o.name = "lo";
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "lo is not Ethernet");
    o.name = "a/b";
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "cannot be the name");
    netns_ip("link add ve0 type veth peer name ve1");
    o.name = "ve0";
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), ENETDOWN, &why, "ip link set ve0 up");
    netns_ip("link set ve0 up");
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), ENETDOWN, &why, "no carrier");
    netns_ip("link set ve1 up");
    o.mtu = 1501;
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "ip link set ve0 mtu 1501");
    o = (struct dk_xdp_options){.name = "ve0", .ring_frames = 1000};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "a power of two");
    o = (struct dk_xdp_options){.name = "ve0", .mode = "fast"};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "native or generic");
    o = (struct dk_xdp_options){.name = "ve0", .queue = 77};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "queue 77 of ve0");
    netns_ip("link set ve0 mtu 9000");
    o = (struct dk_xdp_options){.name = "ve0"};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "ip link set ve0 mtu 3794");
    netns_remove_veth();
}

static void test_xdp_queue_or_program_of_another_is_busy(void **state)
{
    (void)state;
    struct dk_netdev *dev, *first;
    const char *why = NULL;
    struct dk_xdp_options o = {.name = "ve0", .whole = true};
    netns_make_veth(1500);
    first = open_end(o);
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EBUSY, &why, "queue 0 of ve0");
    first->ops->close(first);
    first = open_end(o); /* nothing is left of it */
    first->ops->close(first);
    netns_remove_veth();
    netns_ip("link add ve0 numrxqueues 2 numtxqueues 2 type veth peer name ve1");
    netns_ip("link set ve0 up");
    netns_ip("link set ve1 up");
    o.queues = 1;
    first = open_end(o);
    o.queue = 1;
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EBUSY, &why, "another XDP program");
    first->ops->close(first);
    netns_remove_veth();
}

static bool has_program(const char *name)
{
    char command[64];
    snprintf(command, sizeof command, "ip link show %s | grep -q 'prog/xdp'", name);
    return system(command) == 0;
}

static void test_xdp_program_of_a_killed_process_is_gone(void **state)
{
    (void)state;
    int ready[2], status;
    char byte;
    netns_make_veth(1500);
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        open_end((struct dk_xdp_options){.name = "ve0"});
        if (write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(has_program("ve0"));
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    close(ready[0]);
    assert_false(has_program("ve0"));
    struct dk_netdev *dev = open_end((struct dk_xdp_options){.name = "ve0"});
    dev->ops->close(dev);
    netns_remove_veth();
}

/* Sends a piece of a buffer from the first end; returns what arrived at the other. */
static struct dk_rx_frame send_piece(struct drv_link *link, struct dk_buf *buf, uint8_t *data,
                                     uint32_t len)
{
    static const uint8_t head[54] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    const struct dk_tx_frame frame = {
        .head = head, .head_len = sizeof head, .num_pieces = 1, .pieces = {{data, len, buf}}};
    struct dk_rx_frame got;
    assert_int_equal(link->dev[0]->ops->tx_burst(link->dev[0], &frame, 1, 0), 1);
    drv_receive(link->dev[1], &got, 1);
    assert_int_equal(got.len, sizeof head + len);
    assert_memory_equal(got.data, head, sizeof head);
    assert_memory_equal(got.data + sizeof head, data, len);
    return got;
}

static bool can_attach(const struct drv_link *link)
{
    if (link->dev[0]->caps.flags & DK_NETDEV_ZERO_COPY)
        return true;
    print_message("this kernel sends frames of one piece only (before Linux 6.6)\n");
    return false;
}

/* A frame is received in memory of the heap, and goes out again from there. */
static void test_xdp_received_memory_is_sent_where_it_lies(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got, back;
    open_generic(&link, 0, 0);
    const struct dk_netdev_stats *stats = link.dev[1]->stats;
    drv_frame_make(&f, 1400, DRV_HEADER, 1, 1);
    for (uint64_t i = 1; i <= 5000; i++) { /* more than there are ids */
        drv_send(link.dev[0], &f);
        drv_receive(link.dev[1], &got, 1);
        assert_int_equal(got.buf->kind, DK_BUF_DEVICE);
        assert_int_equal(got.checksum, DK_RX_CHECKSUM_UNKNOWN);
        struct drv_link other_way = {.dev = {link.dev[1], link.dev[0]}};
        back = send_piece(&other_way, got.buf, got.data + 100, 1200);
        dk_buf_put(back.buf);
        dk_buf_put(got.buf);
        if (can_attach(&link))
            assert_true(stats->tx_attached == i && stats->tx_copied == 0);
    }
    while (link.dev[1]->ops->reclaim(link.dev[1], 0) > 0)
        continue;
    drv_frame_free(&f);
    drv_close(&link);
    netns_remove_veth();
}

static void test_xdp_memory_elsewhere_is_copied_and_counted(void **state)
{
    (void)state;
    struct drv_link link;
    open_generic(&link, 0, 0);
    const struct dk_netdev_stats *stats = link.dev[0]->stats;
    struct dk_buf *far_away = dk_buf_alloc((size_t)40 << 20, 0), *near = dk_buf_alloc(4096, 0);
    assert_non_null(far_away);
    memset(far_away->data, 1, 2000);
    memset(near->data, 2, 4096);
    struct dk_rx_frame got = send_piece(&link, far_away, far_away->data + 3, 1400);
    dk_buf_put(got.buf);
    assert_true(stats->tx_attached == 0 && far_away->refs == 1);
    if (can_attach(&link))
        assert_true(stats->tx_copied == 1);
    assert_int_equal(stats->tx_copied_bytes, 1400);
    got = send_piece(&link, near, near->data + 3500, 500); /* short: cheaper copied, not counted */
    dk_buf_put(got.buf);
    assert_true(stats->tx_attached == 0 && stats->tx_copied <= 1);
    assert_int_equal(stats->tx_copied_bytes, 1900);
    dk_buf_put(far_away);
    dk_buf_put(near);
    drv_close(&link);
    netns_remove_veth();
}

static void test_xdp_ring_overrun_is_counted(void **state)
{
    (void)state;
    enum { FRAMES = 1000 };
    struct drv_frame f;
    mode = "generic";
    netns_make_veth(1500);
    struct dk_netdev *to = open_end((struct dk_xdp_options){.name = "ve1", .ring_frames = 64});
    struct dk_netdev *from = open_end((struct dk_xdp_options){.name = "ve0"});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < FRAMES; i++)
        drv_send(from, &f);
    deadline_start(__func__, DEADLINE_S);
    while (to->stats->rx_frames + to->stats->rx_ring_full < from->stats->tx_frames) {
        drv_drain(to);
        drv_readable(to, 100); /* arms: counts */
    }
    deadline_stop();
    assert_true(to->stats->rx_ring_full > 0);
    assert_true(to->stats->rx_dropped == to->stats->rx_ring_full);
    drv_frame_free(&f);
    to->ops->close(to);
    from->ops->close(from);
    netns_remove_veth();
}

static void test_xdp_longer_than_the_mtu_is_dropped_and_counted(void **state)
{
    (void)state;
    struct drv_frame longer, ordinary;
    struct dk_rx_frame got;
    mode = "generic";
    netns_make_veth(1500);
    struct dk_netdev *to = open_end((struct dk_xdp_options){.name = "ve1"});
    netns_ip("link set ve0 mtu 3700");
    netns_ip("link set ve1 mtu 3700");
    struct dk_netdev *from = open_end((struct dk_xdp_options){.name = "ve0"});
    drv_frame_make(&longer, 1600, DRV_HEADER, 1, 1);
    drv_frame_make(&ordinary, 1518, DRV_HEADER, 1, 2);
    drv_send(from, &longer); /* finds room in a chunk */
    longer.tx.pieces[0].len = 3600 - DRV_HEADER;
    uint8_t *bytes = calloc(1, 4000); /* finds none */
    longer.tx.pieces[0].data = bytes;
    drv_send(from, &longer);
    drv_send(from, &ordinary);
    drv_receive(to, &got, 1);
    drv_check(&got, &ordinary);
    assert_false(drv_readable(to, 0)); /* arms: counts */
    assert_true(to->stats->rx_too_long == 2 && to->stats->rx_dropped == 2);
    free(bytes);
    drv_frame_free(&longer);
    drv_frame_free(&ordinary);
    to->ops->close(to);
    from->ops->close(from);
    netns_remove_veth();
}

static void test_xdp_link_down_is_seen_counted_and_survived(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    open_generic(&link, 0, 0);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_UP);
    netns_ip("link set ve0 down");
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_DOWN);
    assert_int_equal(link.dev[1]->ops->link(link.dev[1]), DK_LINK_DOWN);
    drv_send(link.dev[0], &f); /* the kernel says so when it is to send it */
    drv_send(link.dev[0], &f);
    assert_true(link.dev[0]->stats->tx_link_down == 1 && link.dev[0]->stats->tx_dropped == 1);
    assert_false(drv_readable(link.dev[0], 0));
    netns_ip("link set ve0 up");
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_UP);
    deadline_start(__func__, DEADLINE_S);
    do
        drv_send(link.dev[1], &f);
    while (!drv_readable(link.dev[0], 10));
    do
        drv_send(link.dev[0], &f);
    while (!drv_readable(link.dev[1], 10));
    deadline_stop();
    netns_remove_veth();
    drv_drain(link.dev[0]);
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_DOWN);
    assert_false(drv_readable(link.dev[0], 0));
    const uint64_t dropped = link.dev[0]->stats->tx_link_down;
    drv_send(link.dev[0], &f);
    drv_send(link.dev[0], &f);
    assert_true(link.dev[0]->stats->tx_link_down > dropped);
    drv_frame_free(&f);
    drv_close(&link);
}

static bool is_kernel(int major, int minor)
{
    struct utsname name;
    int has_major = 0, has_minor = 0;
    assert_int_equal(uname(&name), 0);
    assert_int_equal(sscanf(name.release, "%d.%d", &has_major, &has_minor), 2);
    return has_major > major || (has_major == major && has_minor >= minor);
}

/* All that a veth can show of it: that the kernel agrees, and that everything still comes. */
static void test_xdp_polled_busily_everything_comes(void **state)
{
    (void)state;
    struct dk_netdev *to, *from;
    struct drv_frame f;
    struct dk_rx_frame got;
    int prefers = 0;
    socklen_t len = sizeof prefers;
    mode = "native";
    netns_make_veth(1500);
    to = open_end((struct dk_xdp_options){.name = "ve1", .busy_poll = true, .promiscuous = true});
    from = open_end((struct dk_xdp_options){.name = "ve0", .busy_poll = true});
    const int fd = dk_xdp_of(to)->queues[0].fd;
    assert_true(dk_xdp_of(to)->busy_poll);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, 69 /* SO_PREFER_BUSY_POLL */, &prefers, &len), 0);
    assert_int_equal(prefers, 1);
    for (uint32_t i = 0; i < 500; i++) {
        drv_frame_make(&f, 60 + i, DRV_HEADER, 1, i);
        drv_send(from, &f);
        if (i % 2 == 0) /* by sleeping, too */
            assert_true(drv_readable(to, PATIENCE_S * 1000));
        drv_receive(to, &got, 1);
        drv_check(&got, &f);
        drv_frame_free(&f);
    }
    to->ops->close(to);
    from->ops->close(from);
    netns_remove_veth();
}

static void check_modes(struct dk_xdp_options o, struct dk_xdp_features features, uint32_t n,
                        uint16_t best)
{
    uint16_t modes[DK_XDP_MODES_MAX];
    assert_int_equal(dk_xdp_modes(&o, &features, modes), n);
    assert_int_equal(modes[0], best);
    assert_int_equal(modes[n - 1], XDP_COPY);
}

static void test_xdp_zero_copy_is_asked_for_where_the_driver_has_it(void **state)
{
    (void)state;
    const struct dk_xdp_features none = {false, false}, plain = {true, false}, all = {true, true};
    check_modes((struct dk_xdp_options){.name = "x"}, all, 4, XDP_ZEROCOPY | XDP_USE_SG);
    check_modes((struct dk_xdp_options){.name = "x"}, plain, 3, XDP_ZEROCOPY);
    check_modes((struct dk_xdp_options){.name = "x"}, none, 2, XDP_COPY | XDP_USE_SG);
    check_modes((struct dk_xdp_options){.mode = "native"}, plain, 3, XDP_ZEROCOPY);
    check_modes((struct dk_xdp_options){.mode = "generic"}, all, 2, XDP_COPY | XDP_USE_SG);
    check_modes((struct dk_xdp_options){.copy = true}, all, 2, XDP_COPY | XDP_USE_SG);
}

/* Nobody's interface: the kernel cannot say it, as one that knows no features of drivers. */
static void test_xdp_features_that_are_not_known_are_tried(void **state)
{
    (void)state;
    const struct dk_xdp_features features = dk_xdp_features_of(INT32_MAX);
    assert_true(features.zero_copy && features.zero_copy_segments);
    if (!is_kernel(6, 3))
        skip();
    netns_make_veth(1500);
    assert_false(dk_xdp_features_of((int)if_nametoindex("ve0")).zero_copy);
    netns_remove_veth();
}

static void set_rlimit(rlim_t bytes)
{
    const struct rlimit limit = {bytes, bytes};
    assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

static void test_xdp_without_permission_says_so(void **state)
{
    (void)state;
    int status;
    netns_make_veth(1500);
    pid_t pid = fork();
    if (pid == 0) {
        struct dk_netdev *dev;
        const char *why = "";
        const struct dk_xdp_options o = {.name = "ve0", .whole = true};
        set_rlimit(64 << 10);
        if (setuid(65534) != 0)
            _exit(2);
        int r = dk_xdp_driver.open(&dev, &o, &why);
        fprintf(stderr, "%s\n", why);
        _exit(r == -EPERM && strstr(why, "setcap") ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    netns_remove_veth();
}

/* ---- an interface that the kernel has, too ----------------------------------------------------
 */

static const struct dk_ip own = {.bytes = {10, 99, 0, 1}, .version = 4};
static const struct dk_ip peer = {.bytes = {10, 99, 0, 2}, .version = 4};
static const struct dk_endpoint port7 = {{.bytes = {10, 99, 0, 1}, .version = 4}, 7};

static struct dk_netdev *open_shared(void)
{
    mode = "generic";
    netns_make_veth(1500);
    netns_ip("addr add 10.99.0.1/24 dev ve0");
    netns_ip("route add 10.98.0.0/16 via 10.99.0.9");
    netns_ip("neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev ve0");
    struct dk_netdev *dev = open_any((struct dk_xdp_options){.name = "ve0"});
    assert_non_null(dev->shared);
    return dev;
}

/* The next fact about a neighbour, with patience. */
static struct dk_netdev_fact learn(struct dk_netdev *dev)
{
    struct dk_netdev_fact fact;
    while (!dev->shared->learn(dev, &fact))
        must_hold(drv_readable(dev, PATIENCE_S * 1000), "the kernel says nothing");
    return fact;
}

static void learn_what_is_there(struct dk_netdev *dev)
{
    struct dk_netdev_fact fact;
    while (dev->shared->learn(dev, &fact))
        assert_int_not_equal(fact.kind, DK_NETDEV_NEIGHBOUR);
}

static void test_xdp_shared_tells_what_the_kernel_has(void **state)
{
    (void)state;
    struct dk_netdev_fact fact;
    struct dk_netdev *dev = open_shared();
    assert_true(dev->shared->learn(dev, &fact));
    assert_true(fact.kind == DK_NETDEV_ADDRESS && dk_ip_equal(&fact.ip, &own));
    assert_int_equal(fact.prefix_len, 24);
    assert_true(dev->shared->learn(dev, &fact));
    assert_true(fact.kind == DK_NETDEV_ROUTE && fact.prefix_len == 16);
    assert_memory_equal(fact.ip.bytes, "\x0a\x62\0\0", 4);
    assert_memory_equal(fact.gateway.bytes, "\x0a\x63\0\x09", 4);
    assert_false(dev->shared->learn(dev, &fact));
    do
        fact = learn(dev);
    while (!dk_ip_equal(&fact.ip, &peer));
    assert_true(fact.kind == DK_NETDEV_NEIGHBOUR && !fact.gone);
    assert_memory_equal(fact.mac.bytes, "\x02\0\0\0\0\x02", 6);
    while (dev->shared->learn(dev, &fact))
        continue;
    netns_ip("neigh replace 10.99.0.2 lladdr 02:00:00:00:00:03 dev ve0");
    fact = learn(dev);
    assert_true(dk_ip_equal(&fact.ip, &peer) && fact.mac.bytes[5] == 3);
    netns_ip("neigh del 10.99.0.2 dev ve0");
    fact = learn(dev);
    assert_true(dk_ip_equal(&fact.ip, &peer) && fact.gone);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* The next fact that is of no neighbour, with patience. */
static struct dk_netdev_fact learn_news(struct dk_netdev *dev)
{
    struct dk_netdev_fact fact;
    do
        fact = learn(dev);
    while (fact.kind == DK_NETDEV_NEIGHBOUR);
    return fact;
}

static struct dk_ip parse_ip(const char *text)
{
    struct dk_ip ip = {.version = strchr(text, ':') ? 6 : 4};
    assert_int_equal(inet_pton(ip.version == 4 ? AF_INET : AF_INET6, text, ip.bytes), 1);
    return ip;
}

static const char *show_ip(const struct dk_ip *ip, char text[INET6_ADDRSTRLEN])
{
    return ip->version == 0 ? "nothing"
                            : inet_ntop(ip->version == 4 ? AF_INET : AF_INET6, ip->bytes, text,
                                        INET6_ADDRSTRLEN);
}

static struct dk_netdev_fact expect_news(struct dk_netdev *dev, uint8_t kind, const char *ip,
                                         uint8_t prefix_len, const char *gateway, bool gone)
{
    const struct dk_ip want = parse_ip(ip), by = gateway ? parse_ip(gateway) : (struct dk_ip){0};
    const struct dk_netdev_fact fact = learn_news(dev);
    char got[INET6_ADDRSTRLEN], got_by[INET6_ADDRSTRLEN];
    must_hold(fact.kind == kind && dk_ip_equal(&fact.ip, &want) &&
                  dk_ip_equal(&fact.gateway, &by) && fact.prefix_len == prefix_len &&
                  fact.gone == gone,
              "kind %u, %s/%u by %s, gone %u; not %s", fact.kind, show_ip(&fact.ip, got),
              fact.prefix_len, show_ip(&fact.gateway, got_by), fact.gone, ip);
    return fact;
}

static void expect_route(struct dk_netdev *dev, const char *ip, uint8_t prefix_len,
                         const char *gateway, uint32_t metric, bool gone)
{
    const struct dk_netdev_fact fact =
        expect_news(dev, DK_NETDEV_ROUTE, ip, prefix_len, gateway, gone);
    assert_int_equal(fact.metric, metric);
}

static struct dk_netdev *open_followed(void)
{
    struct dk_netdev_fact fact;
    struct dk_netdev *dev = open_shared();
    learn_what_is_there(dev);
    while (drv_readable(dev, 20)) /* neighbours */
        while (dev->shared->learn(dev, &fact))
            continue;
    return dev;
}

static void test_xdp_shared_tells_what_comes_and_goes(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("addr add 10.97.0.1/16 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.97.0.1", 16, NULL, false);
    netns_ip("addr add 10.96.0.1/16 dev ve1"); /* another interface's */
    netns_ip("route add 10.95.0.0/16 via 10.97.0.9");
    expect_news(dev, DK_NETDEV_ROUTE, "10.95.0.0", 16, "10.97.0.9", false);
    netns_ip("route add 10.95.0.0/16 via 10.97.0.9 metric 7"); /* the same once more */
    expect_route(dev, "10.95.0.0", 16, "10.97.0.9", 7, false);
    netns_ip("route del 10.95.0.0/16 via 10.97.0.9 metric 7");
    expect_route(dev, "10.95.0.0", 16, "10.97.0.9", 7, true);
    netns_ip("route replace 10.95.0.0/16 via 10.97.0.8"); /* one message for two events */
    expect_news(dev, DK_NETDEV_ROUTE, "10.95.0.0", 16, "10.97.0.8", false);
    expect_news(dev, DK_NETDEV_ROUTE, "10.95.0.0", 16, "10.97.0.9", true);
    netns_ip("route del 10.95.0.0/16");
    expect_news(dev, DK_NETDEV_ROUTE, "10.95.0.0", 16, "10.97.0.8", true);
    netns_ip("addr del 10.97.0.1/16 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.97.0.1", 16, NULL, true);
    netns_ip("link set ve0 mtu 1400");
    struct dk_netdev_fact fact = learn_news(dev);
    assert_true(fact.kind == DK_NETDEV_MTU && fact.mtu == 1400);
    netns_ip("link set ve0 mtu 3000"); /* frames of that find no room */
    fact = learn_news(dev);
    assert_true(fact.kind == DK_NETDEV_MTU && fact.mtu == 1500);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* Nor does it say of routes of IPv4 that they vanished with the last address. */
static void test_xdp_shared_routes_go_with_the_last_address(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("addr del 10.99.0.1/24 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.99.0.1", 24, NULL, true);
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.99.0.9", true);
    netns_ip("addr add 10.93.0.1/24 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.93.0.1", 24, NULL, false);
    netns_ip("route add 10.98.0.0/16 via 10.93.0.9");
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.93.0.9", false);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* A route by a gateway of ours is replaced: by one of another interface, by one of another kind. */
static void test_xdp_shared_route_replaced_by_one_that_is_not_ours(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("addr add 10.96.0.1/16 dev ve1");
    netns_ip("route replace 10.98.0.0/16 via 10.96.0.9");
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.99.0.9", true);
    netns_ip("route replace 10.98.0.0/16 via 10.99.0.9");
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.99.0.9", false);
    netns_ip("route replace blackhole 10.98.0.0/16");
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.99.0.9", true);
    netns_ip("route del 10.98.0.0/16"); /* it does not go with the interface */
    dev->ops->close(dev);
    netns_remove_veth();
}

/* A network that is on the link, of no address; in the place of a route by a gateway, too. */
static void test_xdp_shared_route_without_a_gateway(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("route add 10.94.0.0/16 dev ve0");
    expect_route(dev, "10.94.0.0", 16, NULL, 0, false);
    netns_ip("route replace 10.94.0.0/16 via 10.99.0.9");
    expect_news(dev, DK_NETDEV_ROUTE, "10.94.0.0", 16, "10.99.0.9", false);
    expect_news(dev, DK_NETDEV_ROUTE, "10.94.0.0", 16, NULL, true);
    netns_ip("route replace 10.94.0.0/16 dev ve0");
    expect_news(dev, DK_NETDEV_ROUTE, "10.94.0.0", 16, NULL, false);
    expect_news(dev, DK_NETDEV_ROUTE, "10.94.0.0", 16, "10.99.0.9", true);
    netns_ip("route del 10.94.0.0/16");
    expect_news(dev, DK_NETDEV_ROUTE, "10.94.0.0", 16, NULL, true);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* Of routes of a prefix and metric the kernel takes the first; one may be put before the others. */
static void test_xdp_shared_routes_that_are_equal_are_told_in_order(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("route append 10.98.0.0/16 via 10.99.0.8");
    expect_route(dev, "10.98.0.0", 16, "10.99.0.8", 0, false);
    netns_ip("route del 10.98.0.0/16 via 10.99.0.8");
    expect_route(dev, "10.98.0.0", 16, "10.99.0.8", 0, true);
    netns_ip("route prepend 10.98.0.0/16 via 10.99.0.7");
    expect_route(dev, "10.98.0.0", 16, "10.99.0.7", 0, false);
    expect_route(dev, "10.98.0.0", 16, "10.99.0.9", 0, true);
    expect_route(dev, "10.98.0.0", 16, "10.99.0.9", 0, false); /* behind that */
    netns_ip("route add 10.98.0.0/16 via 10.99.0.6 metric 3");
    expect_route(dev, "10.98.0.0", 16, "10.99.0.6", 3, false);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* The first at this interface. */
static void test_xdp_shared_route_with_several_next_hops(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("addr add 10.96.0.1/16 dev ve1");
    netns_ip("route add 10.95.0.0/16 metric 5 nexthop via 10.96.0.9 dev ve1 "
             "nexthop via 10.99.0.8 dev ve0 weight 9 nexthop via 10.99.0.7 dev ve0");
    expect_route(dev, "10.95.0.0", 16, "10.99.0.8", 5, false);
    netns_ip("route replace 10.95.0.0/16 metric 5 nexthop via 10.96.0.9 dev ve1 "
             "nexthop via 10.99.0.7 dev ve0");
    expect_route(dev, "10.95.0.0", 16, "10.99.0.7", 5, false);
    expect_route(dev, "10.95.0.0", 16, "10.99.0.8", 5, true);
    netns_ip("route del 10.95.0.0/16 metric 5");
    expect_route(dev, "10.95.0.0", 16, "10.99.0.7", 5, true);
    netns_ip("route add 10.95.0.0/16 nexthop via 10.96.0.9 dev ve1 nexthop via 10.96.0.8 dev ve1");
    netns_ip("route add 10.94.0.0/16 via 10.99.0.9"); /* that was none of ours */
    expect_route(dev, "10.94.0.0", 16, "10.99.0.9", 0, false);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* Of IPv6 next hops come and go one by one. */
static void test_xdp_shared_route_of_ip6_loses_a_next_hop(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    netns_ip("link set ve0 addrgenmode none");
    must_hold(system("echo 0 > /proc/sys/net/ipv6/conf/ve0/disable_ipv6") == 0, "IPv6");
    netns_ip("addr add fd00::1/64 dev ve0 nodad");
    expect_news(dev, DK_NETDEV_ADDRESS, "fd00::1", 64, NULL, false);
    netns_ip("route add fd01::/64 via fd00::9");
    expect_route(dev, "fd01::", 64, "fd00::9", 1024, false);
    netns_ip("route append fd01::/64 via fd00::8");       /* the kernel tells of it as the first */
    netns_ip("route add fd02::/64 via fd00::9 metric 5"); /* of the other one nothing is new */
    expect_route(dev, "fd02::", 64, "fd00::9", 5, false);
    netns_ip("route del fd01::/64 via fd00::9");
    expect_route(dev, "fd01::", 64, "fd00::9", 1024, true);
    expect_route(dev, "fd01::", 64, "fd00::8", 1024, false);
    dev->ops->close(dev);
    netns_remove_veth();
}

static void test_xdp_shared_link_address_is_followed(void **state)
{
    (void)state;
    struct dk_netdev_fact fact;
    struct dk_netdev *dev = open_followed();
    netns_ip("link set ve1 address 02:00:00:00:0a:0a"); /* another one's */
    netns_ip("link set ve0 address 02:00:00:00:0a:0b");
    fact = learn_news(dev);
    assert_int_equal(fact.kind, DK_NETDEV_MAC);
    assert_memory_equal(fact.mac.bytes, "\x02\0\0\0\x0a\x0b", 6);
    netns_ip("link set ve0 mtu 1400"); /* a message that has both */
    fact = learn_news(dev);
    assert_true(fact.kind == DK_NETDEV_MTU && fact.mtu == 1400);
    netns_ip("addr add 10.97.0.1/16 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.97.0.1", 16, NULL, false);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* What is written to standard error while the next fact, which is that of an MTU, is learnt. */
static void learn_mtu_and_log(struct dk_netdev *dev, uint32_t mtu, char *log_out, size_t max)
{
    FILE *capture = tmpfile();
    assert_non_null(capture);
    const int saved = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    const struct dk_netdev_fact fact = learn_news(dev);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(capture);
    log_out[fread(log_out, 1, max - 1, capture)] = '\0';
    fclose(capture);
    assert_true(fact.kind == DK_NETDEV_MTU && fact.mtu == mtu);
}

static void test_xdp_shared_mtu_that_grows_has_the_limit_said(void **state)
{
    (void)state;
    char log[1000];
    struct dk_netdev *dev = open_followed();
    netns_ip("link set ve0 mtu 1400");
    learn_mtu_and_log(dev, 1400, log, sizeof log);
    assert_string_equal(log, "");
    netns_ip("link set ve0 mtu 9000"); /* of that nothing can be received */
    learn_mtu_and_log(dev, 1500, log, sizeof log);
    must_hold(strstr(log, "MTU of 9000 now") && strstr(log, "ip link set ve0 mtu 1500") &&
                  strstr(log, "at most 3794"),
              "%s", log);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* The kernel says of no route that it vanished with the link. */
static void test_xdp_shared_is_read_anew_when_the_link_was_down(void **state)
{
    (void)state;
    struct dk_netdev_fact fact;
    struct dk_netdev *dev = open_followed();
    netns_ip("link set ve0 down");
    netns_ip("addr del 10.99.0.1/24 dev ve0");
    while (drv_readable(dev, 20))
        while (dev->shared->learn(dev, &fact))
            assert_int_equal(fact.kind, DK_NETDEV_NEIGHBOUR); /* while it is down nothing goes */
    netns_ip("addr add 10.99.0.3/24 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.99.0.3", 24, NULL, false);
    netns_ip("link set ve0 up");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.99.0.1", 24, NULL, true);
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.99.0.9", true);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* More changes than the kernel keeps for who does not read them. */
static void test_xdp_shared_catches_up_with_what_was_lost(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    must_hold(system("for i in $(seq 2000); do echo addr add 10.97.0.1/16 dev ve0; "
                     "echo addr del 10.97.0.1/16 dev ve0; done | ip -batch -") == 0,
              "ip -batch");
    netns_ip("addr add 10.94.0.1/16 dev ve0");
    netns_ip("addr del 10.99.0.1/24 dev ve0");
    bool had = true, has = false;
    deadline_start(__func__, DEADLINE_S);
    while (had || !has) {
        const struct dk_netdev_fact fact = learn_news(dev);
        if (fact.kind != DK_NETDEV_ADDRESS)
            continue;
        if (fact.ip.bytes[1] == 99)
            had = !fact.gone;
        else if (fact.ip.bytes[1] == 94)
            has = !fact.gone;
    }
    deadline_stop();
    dev->ops->close(dev);
    netns_remove_veth();
}

/* Says something in the place of the kernel, before what it says by itself. */
static void say(struct dk_xdp *x, uint16_t type, uint16_t flags, uint32_t dump, int error)
{
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
    } message = {
        {.nlmsg_len = sizeof message, .nlmsg_type = type, .nlmsg_flags = flags, .nlmsg_seq = dump},
        {.error = error}};
    const struct sockaddr_nl to = {.nl_family = AF_NETLINK,
                                   .nl_pid = mnl_socket_get_portid(x->route)};
    const int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    assert_int_equal(
        sendto(fd, &message, sizeof message, 0, (const struct sockaddr *)&to, sizeof to),
        sizeof message);
    close(fd);
}

/* All is dumped because an address went: of the interface, and of addresses, with this end. What
 * would come next is said to be over, too, before the kernel has said a word. */
static struct dk_xdp *begin_dump(struct dk_netdev *dev, uint16_t type, uint16_t flags, int error)
{
    struct dk_xdp *x = dk_xdp_of(dev);
    netns_ip("addr add 10.97.0.1/16 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.97.0.1", 16, NULL, false);
    netns_ip("addr del 10.97.0.1/16 dev ve0");
    say(x, NLMSG_DONE, 0, x->dump + 1, 0);
    say(x, type, flags, x->dump + 2, error);
    say(x, NLMSG_DONE, 0, x->dump + 3, 0);
    expect_news(dev, DK_NETDEV_ADDRESS, "10.97.0.1", 16, NULL, true);
    return x;
}

/* Nothing that is there goes, and in the end there was a whole dump. */
static void expect_whole_dump(struct dk_netdev *dev, struct dk_xdp *x)
{
    struct dk_netdev_fact fact;
    deadline_start(__func__, DEADLINE_S);
    do {
        while (dev->shared->learn(dev, &fact))
            assert_true(fact.kind == DK_NETDEV_NEIGHBOUR || !fact.gone);
        assert_true(x->stage == DK_XDP_NEWS);
    } while (x->again && drv_readable(dev, PATIENCE_S * 1000));
    deadline_stop();
    assert_false(x->again);
    netns_ip("route del 10.98.0.0/16"); /* it is followed as before */
    expect_route(dev, "10.98.0.0", 16, "10.99.0.9", 0, true);
}

static void test_xdp_shared_dump_that_was_interrupted_is_made_again(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_followed();
    struct dk_xdp *x = begin_dump(dev, NLMSG_DONE, NLM_F_DUMP_INTR, 0);
    expect_whole_dump(dev, x);
    dev->ops->close(dev);
    netns_remove_veth();
}

static void test_xdp_shared_dump_that_failed_is_made_again(void **state)
{
    static const uint16_t types[] = {NLMSG_ERROR, NLMSG_DONE};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct dk_netdev_fact fact;
        struct dk_netdev *dev = open_followed();
        struct dk_xdp *x = begin_dump(dev, types[i], 0, -ENOMEM);
        while (dev->shared->learn(dev, &fact))
            continue;
        assert_true(x->is_resting);
        const uint32_t dump = x->dump;
        expect_whole_dump(dev, x);
        assert_true(x->dump > dump && !x->is_resting);
        dev->ops->close(dev);
        netns_remove_veth();
    }
}

/* One after the other: the kernel is not asked for ever. */
static void test_xdp_shared_dumps_that_are_interrupted_have_a_rest(void **state)
{
    (void)state;
    struct dk_netdev_fact fact;
    struct dk_netdev *dev = open_followed();
    struct dk_xdp *x = dk_xdp_of(dev);
    const uint32_t dump = x->dump;
    netns_ip("addr add 10.97.0.1/16 dev ve0");
    netns_ip("addr del 10.97.0.1/16 dev ve0");
    for (uint32_t i = 1; i < 40; i++)
        say(x, NLMSG_DONE, NLM_F_DUMP_INTR, dump + i, 0);
    while (dev->shared->learn(dev, &fact))
        continue;
    assert_true(x->is_resting && x->dump < dump + 40);
    expect_whole_dump(dev, x);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* Nobody answers: the kernel has asked, and says that it found nobody. */
static void test_xdp_shared_has_the_kernel_ask(void **state)
{
    (void)state;
    const struct dk_ip nobody = {.bytes = {10, 99, 0, 77}, .version = 4};
    struct dk_netdev_fact fact;
    struct dk_netdev *dev = open_shared();
    learn_what_is_there(dev);
    deadline_start(__func__, DEADLINE_S);
    dev->shared->resolve(dev, &nobody, NULL);
    do
        fact = learn(dev);
    while (!dk_ip_equal(&fact.ip, &nobody));
    deadline_stop();
    assert_true(fact.kind == DK_NETDEV_NEIGHBOUR && fact.gone);
    dev->ops->close(dev);
    netns_remove_veth();
}

#define PACKET_BYTES 70u

/* A packet to 10.99.0.1, in a frame: of a protocol, or a fragment. */
static void make_packet(uint8_t frame[PACKET_BYTES], uint8_t protocol, uint16_t port,
                        uint16_t fragment)
{
    static const uint8_t head[38] = {2,  0,    0, 0, 0,  1,  2, 0, 0, 0,  0, 2, 8,
                                     0,  0x45, 0, 0, 50, 1,  2, 0, 0, 64, 0, 0, 0,
                                     10, 99,   0, 2, 10, 99, 0, 1, 0, 9,  0, 0};
    memset(frame, 0, PACKET_BYTES);
    memcpy(frame, head, sizeof head);
    frame[20] = (uint8_t)(fragment >> 8);
    frame[21] = (uint8_t)fragment;
    frame[23] = protocol;
    frame[36] = (uint8_t)(port >> 8);
    frame[37] = (uint8_t)port;
}

/* Whether a frame that comes is taken from the kernel. */
static bool is_taken(struct dk_netdev *dev, struct dk_netdev *from,
                     const uint8_t frame[PACKET_BYTES])
{
    const struct dk_tx_frame tx = {.head = frame, .head_len = PACKET_BYTES};
    struct dk_rx_frame got;
    assert_int_equal(from->ops->tx_burst(from, &tx, 1, 0), 1);
    if (dev->ops->rx_burst(dev, &got, 1, 0) == 0) /* it is there when the sender's call returns */
        return false;
    assert_true(got.len == PACKET_BYTES && memcmp(got.data, frame, PACKET_BYTES) == 0);
    dk_buf_put(got.buf);
    return true;
}

static bool takes(struct dk_netdev *dev, struct dk_netdev *from, uint8_t protocol, uint16_t port,
                  uint16_t fragment)
{
    uint8_t frame[PACKET_BYTES];
    make_packet(frame, protocol, port, fragment);
    return is_taken(dev, from, frame);
}

/* An ICMP error that quotes a packet of ours from a port. */
static bool takes_error(struct dk_netdev *dev, struct dk_netdev *from, uint8_t type, uint8_t port)
{
    uint8_t frame[PACKET_BYTES];
    static const uint8_t quoted[22] = {0x45, 0,  0,  99, 0, 0,  0,  0, 64, 17, 0,
                                       0,    10, 99, 0,  1, 10, 99, 0, 2,  0,  0};
    make_packet(frame, 1, 0, 0);
    frame[34] = type;
    frame[35] = 0;
    memcpy(frame + 42, quoted, sizeof quoted);
    frame[63] = port;
    return is_taken(dev, from, frame);
}

static void test_xdp_shared_takes_what_is_claimed_and_no_more(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_shared();
    struct dk_netdev *from = open_end((struct dk_xdp_options){.name = "ve1"});
    const struct dk_endpoint any = {{.version = 4}, 9};
    learn_what_is_there(dev);
    assert_false(takes(dev, from, 17, 7, 0));
    assert_int_equal(dev->shared->claim(dev, 17, &port7), 0);
    assert_true(takes(dev, from, 17, 7, 0));
    assert_false(takes(dev, from, 6, 7, 0));
    assert_false(takes(dev, from, 17, 8, 0));
    assert_true(takes_error(dev, from, 3, 7));
    assert_false(takes_error(dev, from, 3, 8));
    assert_false(takes_error(dev, from, 8, 7)); /* an echo request */
    assert_int_equal(dev->shared->claim(dev, 6, &any), 0);
    assert_true(takes(dev, from, 6, 9, 0));
    dev->shared->release(dev, 6, &any);
    assert_false(takes(dev, from, 6, 9, 0));
    assert_true(takes(dev, from, 17, 7, 0));
    dev->shared->release(dev, 17, &port7);
    assert_false(takes(dev, from, 17, 7, 0));
    from->ops->close(from);
    dev->ops->close(dev);
    netns_remove_veth();
}

static void test_xdp_shared_claim_of_all_addresses_follows_them(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_shared();
    struct dk_netdev *from = open_end((struct dk_xdp_options){.name = "ve1"});
    const struct dk_endpoint any = {{.version = 4}, 7}, both = {{.version = 0}, 9};
    learn_what_is_there(dev);
    assert_int_equal(dev->shared->claim(dev, 17, &any), 0);
    assert_int_equal(dev->shared->claim(dev, 6, &both), 0);
    assert_true(takes(dev, from, 17, 7, 0) && takes(dev, from, 6, 9, 0));
    netns_ip("addr del 10.99.0.1/24 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.99.0.1", 24, NULL, true);
    expect_news(dev, DK_NETDEV_ROUTE, "10.98.0.0", 16, "10.99.0.9", true);
    assert_false(takes(dev, from, 17, 7, 0) || takes(dev, from, 6, 9, 0));
    assert_int_equal(dev->shared->claim(dev, 6, &port7), 0); /* of that address alone: it stays */
    netns_ip("addr add 10.99.0.1/24 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.99.0.1", 24, NULL, false);
    assert_true(takes(dev, from, 17, 7, 0) && takes(dev, from, 6, 9, 0));
    netns_ip("addr del 10.99.0.1/24 dev ve0");
    expect_news(dev, DK_NETDEV_ADDRESS, "10.99.0.1", 24, NULL, true);
    assert_true(takes(dev, from, 6, 7, 0));
    from->ops->close(from);
    dev->ops->close(dev);
    netns_remove_veth();
}

static void test_xdp_shared_fragments_follow_their_first(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_shared();
    struct dk_netdev *from = open_end((struct dk_xdp_options){.name = "ve1"});
    learn_what_is_there(dev);
    assert_int_equal(dev->shared->claim(dev, 17, &port7), 0);
    assert_false(takes(dev, from, 17, 7, 0x2004)); /* it overtook the first */
    assert_true(takes(dev, from, 17, 7, 0x2000));
    assert_true(takes(dev, from, 17, 0xffff, 0x2004)); /* no ports are here */
    assert_true(takes(dev, from, 17, 0xffff, 0x0008));
    assert_false(takes(dev, from, 6, 0xffff, 0x0008));
    from->ops->close(from);
    dev->ops->close(dev);
    netns_remove_veth();
}

static void test_xdp_shared_port_covered_twice_stays_with_the_other(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_shared();
    struct dk_netdev *from = open_end((struct dk_xdp_options){.name = "ve1"});
    const struct dk_endpoint both = {{.version = 0}, 7};
    learn_what_is_there(dev);
    assert_int_equal(dev->shared->claim(dev, 17, &port7), 0);
    assert_int_equal(dev->shared->claim(dev, 6, &both), 0);
    assert_int_equal(dev->shared->claim(dev, 17, &both), -EADDRINUSE); /* the kernel's sockets */
    dev->shared->release(dev, 17, &both);                              /* there is none */
    assert_true(takes(dev, from, 17, 7, 0) && takes(dev, from, 6, 7, 0));
    from->ops->close(from);
    dev->ops->close(dev);
    netns_remove_veth();
}

/* ---- several queues, and several workers ------------------------------------------------------
 */

#define QUEUES 4

static void make_wide_veth(void)
{
    netns_ip("link add ve0 numtxqueues 4 numrxqueues 4 type veth peer name ve1 numtxqueues 4 "
             "numrxqueues 4");
    netns_ip("link set ve0 up");
    netns_ip("link set ve1 up");
}

/* Opens devices for as many workers. */
static void open_workers(struct dk_xdp_options o, uint16_t num, struct dk_netdev *devs[])
{
    for (uint16_t i = 0; i < num; i++) {
        o.worker =
            (struct dk_netdev_queue){.index = i, .num = num, .first = i > 0 ? devs[0] : NULL};
        devs[i] = open_any(o);
    }
}

static void close_all(struct dk_netdev *devs[], uint32_t num)
{
    for (uint32_t i = 0; i < num; i++)
        devs[i]->ops->close(devs[i]);
}

/* What a device sends comes to the queue of the same number at the other end of a veth, where that
 * has its program in the driver. Where not, the kernel takes number k for that of the queue k - 1,
 * and 0 for that. */
static void test_xdp_workers_have_a_queue_each_and_one_what_more_there_are(void **state)
{
    (void)state;
    struct dk_netdev *to[2], *from[QUEUES];
    struct drv_frame f;
    struct dk_rx_frame got;
    mode = "native";
    make_wide_veth();
    open_workers((struct dk_xdp_options){.name = "ve0", .whole = true, .promiscuous = true}, 2, to);
    open_workers((struct dk_xdp_options){.name = "ve1", .whole = true}, QUEUES, from);
    for (uint32_t i = 0; i < 50; i++)
        for (uint32_t k = 0; k < QUEUES; k++) {
            drv_frame_make(&f, 100 + i, DRV_HEADER, 1, k);
            drv_send(from[k], &f);
            drv_receive(to[k % 2], &got, 1);
            drv_check(&got, &f);
            drv_frame_free(&f);
        }
    assert_true(to[0]->stats->rx_frames == 100 && to[1]->stats->rx_frames == 100);
    assert_false(drv_readable(to[0], 0) || drv_readable(to[1], 0));
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    drv_send(from[3], &f); /* none but its second queue */
    assert_true(drv_readable(to[1], PATIENCE_S * 1000));
    drv_drain(to[1]);
    to[0]->ops->close(to[0]); /* the first one goes first */
    drv_send(from[2], &f);    /* the kernel's from here on */
    drv_send(from[1], &f);
    drv_receive(to[1], &got, 1);
    drv_check(&got, &f);
    drv_send(to[1], &f);
    drv_receive(from[1], &got, 1);
    drv_check(&got, &f);
    drv_frame_free(&f);
    to[1]->ops->close(to[1]);
    close_all(from, QUEUES);
    netns_remove_veth();
}

/* The UMEM is one: what one worker received another sends where it lies. */
static void test_xdp_workers_send_memory_of_each_other(void **state)
{
    (void)state;
    struct dk_netdev *ours[2], *theirs[2];
    struct drv_frame f;
    struct dk_rx_frame got;
    mode = "native";
    make_wide_veth();
    open_workers((struct dk_xdp_options){.name = "ve0", .whole = true, .promiscuous = true}, 2,
                 ours);
    open_workers((struct dk_xdp_options){.name = "ve1", .whole = true, .promiscuous = true}, 2,
                 theirs);
    drv_frame_make(&f, 1400, DRV_HEADER, 1, 1);
    for (uint32_t i = 0; i < 2; i++) {
        drv_send(theirs[i], &f);
        drv_receive(ours[i], &got, 1);
        struct drv_link other_way = {.dev = {ours[1 - i], theirs[1 - i]}};
        struct dk_rx_frame back = send_piece(&other_way, got.buf, got.data + 100, 1200);
        dk_buf_put(back.buf);
        dk_buf_put(got.buf);
        if (can_attach(&other_way))
            assert_true(ours[1 - i]->stats->tx_attached == 1);
    }
    drv_frame_free(&f);
    close_all(ours, 2);
    close_all(theirs, 2);
    netns_remove_veth();
}

static void test_xdp_workers_share_claims(void **state)
{
    (void)state;
    struct dk_netdev *to[2], *from[3], *late;
    const struct dk_endpoint any = {{.version = 4}, 9};
    mode = "generic";
    make_wide_veth();
    netns_ip("addr add 10.99.0.1/24 dev ve0");
    struct dk_xdp_options o = {.name = "ve0"};
    open_workers((struct dk_xdp_options){.name = "ve1", .whole = true}, 3, from);
    o.worker = (struct dk_netdev_queue){.num = 2};
    to[0] = open_any(o);
    learn_what_is_there(to[0]);
    assert_int_equal(to[0]->shared->claim(to[0], 17, &any), 0);
    assert_true(takes(to[0], from[0], 17, 9, 0));
    assert_false(takes(to[0], from[2], 17, 9, 0)); /* the queue of the one who is not there */
    to[0]->ops->arm(to[0]);                        /* counts */
    assert_true(to[0]->stats->rx_no_worker == 1 && to[0]->stats->rx_dropped == 1);
    o.worker = (struct dk_netdev_queue){.index = 1, .num = 2, .first = to[0]};
    to[1] = late = open_any(o);
    learn_what_is_there(late);
    assert_true(takes(late, from[2], 17, 9, 0));
    assert_int_equal(late->shared->claim(late, 17, &any), 0); /* it is the port's already */
    to[0]->shared->release(to[0], 17, &any);
    assert_true(takes(late, from[2], 17, 9, 0) && takes(to[0], from[0], 17, 9, 0));
    late->ops->close(late); /* and with it the last claim */
    assert_false(takes(to[0], from[0], 17, 9, 0));
    to[0]->ops->close(to[0]);
    close_all(from, 3);
    netns_remove_veth();
}

static void test_xdp_workers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct dk_netdev *dev, *to[2];
    const char *why = NULL;
    struct dk_xdp_options o = {.name = "ve0", .worker = {.num = 5}};
    make_wide_veth();
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "ethtool -L ve0 combined 5");
    o.worker.num = 17;
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "at most 16");
    o = (struct dk_xdp_options){.name = "ve0", .worker = {.num = 2}, .queues = 1};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "a queue each");
    o.queues = 33;
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "at most 32");
    o = (struct dk_xdp_options){.name = "ve0", .whole = true};
    open_workers(o, 2, to);
    o.worker = (struct dk_netdev_queue){.index = 2, .num = 3, .first = to[0]};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EINVAL, &why, "worker 2 of 2");
    o.worker = (struct dk_netdev_queue){.index = 1, .num = 2, .first = to[0]};
    drv_must_fail(dk_xdp_driver.open(&dev, &o, &why), EBUSY, &why, "worker 1 has queues");
    close_all(to, 2);
    netns_remove_veth();
}

int main(void)
{
    const char *reason = netns_enter();
    if (reason)
        netns_skip(reason);
    struct dk_netdev *dev;
    netns_make_veth(1500);
    const struct dk_xdp_options o = {.name = "ve0", .whole = true};
    if (dk_xdp_driver.open(&dev, &o, &reason) < 0)
        netns_skip(reason);
    dev->ops->close(dev);
    netns_remove_veth();
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(generic),
        DRV_CONTRACT(native),
        cmocka_unit_test(test_xdp_what_cannot_be_opened_says_what_to_do),
        cmocka_unit_test(test_xdp_queue_or_program_of_another_is_busy),
        cmocka_unit_test(test_xdp_program_of_a_killed_process_is_gone),
        cmocka_unit_test(test_xdp_received_memory_is_sent_where_it_lies),
        cmocka_unit_test(test_xdp_memory_elsewhere_is_copied_and_counted),
        cmocka_unit_test(test_xdp_ring_overrun_is_counted),
        cmocka_unit_test(test_xdp_longer_than_the_mtu_is_dropped_and_counted),
        cmocka_unit_test(test_xdp_link_down_is_seen_counted_and_survived),
        cmocka_unit_test(test_xdp_polled_busily_everything_comes),
        cmocka_unit_test(test_xdp_zero_copy_is_asked_for_where_the_driver_has_it),
        cmocka_unit_test(test_xdp_features_that_are_not_known_are_tried),
        cmocka_unit_test(test_xdp_without_permission_says_so),
        cmocka_unit_test(test_xdp_shared_tells_what_the_kernel_has),
        cmocka_unit_test(test_xdp_shared_tells_what_comes_and_goes),
        cmocka_unit_test(test_xdp_shared_routes_go_with_the_last_address),
        cmocka_unit_test(test_xdp_shared_route_replaced_by_one_that_is_not_ours),
        cmocka_unit_test(test_xdp_shared_route_without_a_gateway),
        cmocka_unit_test(test_xdp_shared_routes_that_are_equal_are_told_in_order),
        cmocka_unit_test(test_xdp_shared_route_with_several_next_hops),
        cmocka_unit_test(test_xdp_shared_route_of_ip6_loses_a_next_hop),
        cmocka_unit_test(test_xdp_shared_link_address_is_followed),
        cmocka_unit_test(test_xdp_shared_mtu_that_grows_has_the_limit_said),
        cmocka_unit_test(test_xdp_shared_is_read_anew_when_the_link_was_down),
        cmocka_unit_test(test_xdp_shared_catches_up_with_what_was_lost),
        cmocka_unit_test(test_xdp_shared_dump_that_was_interrupted_is_made_again),
        cmocka_unit_test(test_xdp_shared_dump_that_failed_is_made_again),
        cmocka_unit_test(test_xdp_shared_dumps_that_are_interrupted_have_a_rest),
        cmocka_unit_test(test_xdp_shared_has_the_kernel_ask),
        cmocka_unit_test(test_xdp_shared_takes_what_is_claimed_and_no_more),
        cmocka_unit_test(test_xdp_shared_claim_of_all_addresses_follows_them),
        cmocka_unit_test(test_xdp_shared_fragments_follow_their_first),
        cmocka_unit_test(test_xdp_shared_port_covered_twice_stays_with_the_other),
        cmocka_unit_test(test_xdp_workers_have_a_queue_each_and_one_what_more_there_are),
        cmocka_unit_test(test_xdp_workers_send_memory_of_each_other),
        cmocka_unit_test(test_xdp_workers_share_claims),
        cmocka_unit_test(test_xdp_workers_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
