/* SPDX-License-Identifier: MIT */
/*
 * A NIC behind an IOMMU, by DPDK (test/vm/nic): DEMI_TEST_NIC. At the other end of its wire is the
 * interface host0.
 */
#include "drv_kit.h"

#include "drv/dpdk/port.h"
#include "drv/packet.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void await_link(struct dk_netdev *dev, enum dk_link link)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    while (dev->ops->link(dev) != link) {
        must_hold(now_ns() < give_up, "the link is not %s", link == DK_LINK_UP ? "up" : "down");
        usleep(10000);
    }
}

static struct dk_netdev *open_nic(struct dk_dpdk_options options)
{
    struct dk_netdev *dev = NULL;
    const char *why = NULL;
    options.device = getenv("DEMI_TEST_NIC");
    options.promiscuous = true; /* frames of the kit have addresses of their own */
    int r = dk_dpdk_driver.open(&dev, &options, &why);
    must_hold(r == 0, "%s: %s", options.device, why);
    await_link(dev, DK_LINK_UP);
    return dev;
}

static struct dk_netdev *open_host(uint32_t mtu, size_t pool_bytes)
{
    struct dk_netdev *dev;
    const char *why = NULL;
    const struct dk_packet_options options = {
        .name = "host0", .mtu = mtu, .rx_pool_bytes = pool_bytes, .promiscuous = true};
    int r = dk_packet_open(&dev, &options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static void open_link(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    link->dev[0] = open_nic((struct dk_dpdk_options){.mtu = mtu, .rx_pool_bytes = pool_bytes});
    link->dev[1] = open_host(mtu, pool_bytes);
}

static struct drv_maker nic = {.name = "nic", .open = open_link, .max_mtu = 1500};

/* What is known of drivers: whether their interrupts come, and whether they send memory of the
 * application where it lies. All receive into the heap. */
static const struct driver {
    const char *name;
    bool interrupts, attaches;
} drivers[] = {
    {"net_virtio", true, false},
    {"net_e1000_em", false, false}, /* it assigns queues to no vector */
    {"net_e1000_igb_vf", false, false},
};

static const struct driver *driver_of(const struct dk_dpdk_port *p)
{
    struct rte_eth_dev_info info;
    assert_int_equal(rte_eth_dev_info_get(p->port, &info), 0);
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strcmp(drivers[i].name, info.driver_name) == 0)
            return &drivers[i];
    fail_msg("%s is not known", info.driver_name);
    return NULL;
}

/* Sends a frame from one end to the other, where it comes whole. */
static void send_one(const struct drv_link *link, unsigned from, uint64_t seed)
{
    struct drv_frame f;
    struct dk_rx_frame got;
    drv_frame_make(&f, 1000, DRV_HEADER, 1, seed);
    drv_send(link->dev[from], &f);
    drv_receive(link->dev[1 - from], &got, 1);
    drv_check(&got, &f);
    drv_frame_free(&f);
}

static void test_nic_receives_into_the_heap(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    open_link(&link, 0, 0);
    drv_frame_make(&f, 1000, DRV_HEADER, 1, 1);
    for (uint32_t i = 0; i < 2000; i++) { /* more than there are descriptors */
        struct dk_rx_frame got;
        drv_send(link.dev[1], &f);
        drv_receive(link.dev[0], &got, 1);
        assert_int_equal(got.buf->kind, DK_BUF_DEVICE);
        drv_check(&got, &f);
    }
    assert_true(link.dev[0]->stats->rx_copied == 0);
    drv_frame_free(&f);
    drv_close(&link);
}

/* Sends a piece of a buffer that lies in the heap. */
static void send_buffer(const struct drv_link *link, struct dk_buf *buf, uint32_t bytes)
{
    struct drv_frame f;
    struct dk_rx_frame got;
    drv_frame_make(&f, DRV_HEADER + bytes, DRV_HEADER, 1, 7);
    memcpy(buf->data, f.tx.pieces[0].data, bytes);
    f.tx.pieces[0] = (struct dk_tx_piece){buf->data, bytes, buf};
    drv_send(link->dev[0], &f);
    drv_receive(link->dev[1], &got, 1);
    drv_check(&got, &f);
    drv_frame_free(&f);
}

/* Memory that came to the heap after the port was opened is mapped as well. */
static void test_nic_sends_from_a_heap_that_grew(void **state)
{
    (void)state;
    enum { BYTES = 24 << 20 };
    struct drv_link link;
    open_link(&link, 0, 0);
    const struct dk_dpdk_port *p = dk_dpdk_port_of(link.dev[0]);
    const bool attaches = driver_of(p)->attaches;
    struct dk_buf *buf = dk_buf_alloc(BYTES, 0);
    assert_non_null(buf);
    assert_true(dk_dpdk_memory_is_known(p, buf->data));
    assert_true(dk_dpdk_memory_is_known(p, buf->data + BYTES - 1));
    assert_true(!!(p->dev.caps.flags & DK_NETDEV_ZERO_COPY) == attaches);
    send_buffer(&link, buf, 1400);
    assert_true(p->dev.stats->tx_attached == attaches);
    for (int i = 0; i < 1000 && link.dev[0]->ops->reclaim(link.dev[0], 0) > 0; i++)
        usleep(1000); /* until the device has read it */
    assert_int_equal(buf->refs, 1);
    dk_buf_put(buf);
    drv_close(&link);
}

/* A sleep ends when a frame comes; by an interrupt, and then by nothing else, where that comes. */
static void test_nic_wakes_who_sleeps(void **state)
{
    (void)state;
    struct drv_link link;
    open_link(&link, 0, 0);
    const struct dk_dpdk_port *p = dk_dpdk_port_of(link.dev[0]);
    struct drv_frame f;
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < 20; i++) {
        struct dk_rx_frame got;
        const uint64_t begin = now_ns();
        const int fd = link.dev[0]->ops->arm(link.dev[0]);
        drv_send(link.dev[1], &f);
        while (link.dev[0]->ops->rx_burst(link.dev[0], &got, 1, (int64_t)now_ns()) == 0)
            assert_true(fd >= 0 && drv_readable(link.dev[0], PATIENCE_S * 1000));
        drv_check(&got, &f);
        assert_true(now_ns() - begin < 1000000000);
    }
    drv_readable(link.dev[0], 0); /* what came meanwhile is read */
    link.dev[0]->ops->rx_burst(link.dev[0], &(struct dk_rx_frame){0}, 1, (int64_t)now_ns());
    assert_true(p->intr_came == driver_of(p)->interrupts);
    if (p->intr_came)
        assert_false(drv_readable(link.dev[0], 200));
    drv_frame_free(&f);
    drv_close(&link);
}

/* A thread: sends frames to everybody at the other end. */
static void *send_on(void *is_over)
{
    const struct sockaddr_ll to = {
        .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("host0"), .sll_halen = 6};
    const uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
    struct pollfd pollfd = {.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), .events = POLLOUT};
    must_hold(pollfd.fd >= 0, "no packet socket");
    while (!atomic_load((atomic_bool *)is_over))
        if (poll(&pollfd, 1, 10) > 0) /* QEMU keeps frames for a port that is closed */
            (void)!sendto(pollfd.fd, frame, sizeof frame, MSG_DONTWAIT,
                          (const struct sockaddr *)&to, sizeof to);
    close(pollfd.fd);
    return NULL;
}

/* What comes while a port is closed is not written to memory that the device has no longer: else
 * the IOMMU refuses that, and the kernel says so (test/vm/behind). */
static void test_nic_closed_amid_frames_leaves_memory_alone(void **state)
{
    (void)state;
    pthread_t sender;
    atomic_bool is_over = false;
    assert_int_equal(pthread_create(&sender, NULL, send_on, &is_over), 0);
    for (int i = 0; i < 5; i++) {
        struct dk_rx_frame got;
        struct dk_netdev *dev = open_nic((struct dk_dpdk_options){0});
        drv_receive(dev, &got, 1);
        dk_buf_put(got.buf);
        dev->ops->close(dev);
    }
    atomic_store(&is_over, true);
    pthread_join(sender, NULL);
}

/* A process: receives, and ends without closing its port, which was told so. */
static void end_amid_frames(void)
{
    struct dk_rx_frame got;
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    struct dk_netdev *dev = open_nic((struct dk_dpdk_options){0});
    while (dev->ops->rx_burst(dev, &got, 1, (int64_t)now_ns()) == 0)
        CHILD(now_ns() < give_up);
    dk_buf_put(got.buf);
    dev->ops->quiesce(dev);
    for (int i = 0; i < 1000; i++)
        CHILD(dev->ops->rx_burst(dev, &got, 1, (int64_t)now_ns()) == 0);
    child_exit(0);
}

/* Likewise, of the next process that opens it. Before this one has started EAL, or a thread, whose
 * locks a child would have for ever. */
static void test_nic_of_a_process_that_ended_leaves_memory_alone(void **state)
{
    (void)state;
    const pid_t sender = child_fork();
    if (sender == 0) {
        alarm(8 * PATIENCE_S); /* 3 processes, as long as each may take, and some */
        send_on(&(atomic_bool){false});
    }
    for (int i = 0; i < 3; i++) {
        const pid_t pid = child_fork();
        if (pid == 0)
            end_amid_frames();
        assert_int_equal(child_wait(pid), 0);
    }
    assert_int_equal(kill(sender, SIGKILL), 0);
    assert_true(WIFSIGNALED(child_wait(sender)));
}

/* A port opens descriptors that stay; and it is given what came while it was closed. */
static int open_once(void **state)
{
    struct drv_link link;
    (void)state;
    open_link(&link, 0, 0);
    for (uint64_t last = now_ns(); now_ns() - last < 500000000;) {
        struct dk_rx_frame got;
        if (link.dev[0]->ops->rx_burst(link.dev[0], &got, 1, (int64_t)now_ns()) == 0)
            continue;
        dk_buf_put(got.buf);
        last = now_ns();
    }
    drv_close(&link);
    return 0;
}

/* Has QEMU take the cable out, or put it in again. */
static void set_link(const char *to)
{
    FILE *monitor = fopen(getenv("DEMI_TEST_MONITOR"), "we");
    assert_non_null(monitor);
    assert_true(fprintf(monitor, "set_link nic0 %s\n", to) > 0);
    assert_int_equal(fclose(monitor), 0);
}

static void test_nic_cable_that_was_out_is_in_again(void **state)
{
    (void)state;
    struct drv_link link;
    open_link(&link, 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        send_one(&link, i, i);
        set_link("off");
        await_link(link.dev[0], DK_LINK_DOWN);
        set_link("on");
        await_link(link.dev[0], DK_LINK_UP);
        send_one(&link, 1 - i, i);
        send_one(&link, i, i);
    }
    drv_close(&link);
}

int main(int argc, char *argv[])
{
    const struct CMUnitTest first[] = {
        cmocka_unit_test(test_nic_of_a_process_that_ended_leaves_memory_alone),
    };
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT_OF_FRAMES(nic),
        cmocka_unit_test(test_nic_receives_into_the_heap),
        cmocka_unit_test(test_nic_sends_from_a_heap_that_grew),
        cmocka_unit_test(test_nic_wakes_who_sleeps),
        cmocka_unit_test(test_nic_cable_that_was_out_is_in_again),
        /* the last, since frames may still be on their way */
        cmocka_unit_test(test_nic_closed_amid_frames_leaves_memory_alone),
    };
    if (!getenv("DEMI_TEST_NIC")) {
        puts("1..0 # SKIP no NIC: test/vm/nic has one");
        return 77;
    }
    must_hold(system("echo 1 >/proc/sys/net/ipv6/conf/host0/disable_ipv6") == 0, "IPv6 stays");
    /* The physical function keeps frames of VLANs that the other has not asked for. */
    nic.untagged = strcmp(getenv("DEMI_TEST_NIC_KIND"), "igb") == 0;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int failed = cmocka_run_group_tests(first, NULL, NULL);
    failed += cmocka_run_group_tests(tests, open_once, NULL);
    return failed;
}
