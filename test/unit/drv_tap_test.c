/* SPDX-License-Identifier: MIT */
/* TAP, in a network namespace of the test's; at the kernel's end of the link is a packet socket. */
#include "drv_kit.h"
#include "drv_netns.h"

#include "base/checksum.h"
#include "drv/packet.h"
#include "drv/tap.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct dk_netdev *open_end(struct dk_tap_options options)
{
    struct dk_netdev *dev;
    const char *why = NULL;
    int r = dk_tap_open(&dev, &options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static void open_tap(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    const char *why = NULL;
    link->dev[0] =
        open_end((struct dk_tap_options){.name = "tp0", .mtu = mtu, .rx_pool_bytes = pool_bytes});
    int r = dk_packet_open(&link->dev[1],
                           &(struct dk_packet_options){
                               .name = "tp0", .rx_pool_bytes = pool_bytes, .promiscuous = true},
                           &why);
    must_hold(r == 0, "%s", why);
}

static const struct drv_maker tap = {"tap", open_tap, NULL, 65521};

static void test_tap_that_was_made_is_gone_with_the_device(void **state)
{
    (void)state;
    struct dk_netdev *dev = open_end((struct dk_tap_options){.name = "tp0", .mtu = 1400});
    assert_int_equal(dev->caps.mtu, 1400);
    assert_int_equal(dev->ops->link(dev), DK_LINK_UP);
    netns_ip("link show dev tp0 >/dev/null");
    dev->ops->close(dev);
    assert_true(access("/sys/class/net/tp0", F_OK) != 0);
}

static void test_tap_that_exists_is_used_and_stays(void **state)
{
    (void)state;
    netns_ip("tuntap add mode tap name tp0");
    netns_ip("link set tp0 mtu 1450 address 02:11:22:33:44:54 up");
    for (int i = 0; i < 2; i++) {
        struct dk_netdev *dev = open_end((struct dk_tap_options){.name = "tp0"});
        assert_int_equal(dev->caps.mtu, 1450);
        /* Ours is next to the kernel's. */
        assert_memory_equal(dev->caps.mac.bytes, "\x02\x11\x22\x33\x44\x55", 6);
        assert_int_equal(dev->ops->link(dev), DK_LINK_UP);
        dev->ops->close(dev);
    }
    netns_ip("tuntap del mode tap name tp0");
}

static void test_tap_of_several_queues_is_used(void **state)
{
    (void)state;
    netns_ip("tuntap add mode tap name tp0 multi_queue");
    netns_ip("link set tp0 up");
    struct dk_netdev *dev =
        open_end((struct dk_tap_options){.name = "tp0", .mac = {{2, 0, 0, 0, 0, 9}}});
    assert_memory_equal(dev->caps.mac.bytes, "\x02\0\0\0\0\x09", 6);
    dev->ops->close(dev);
    netns_ip("tuntap del mode tap name tp0 multi_queue");
}

#define QUEUES 3u

static void open_queues(struct dk_netdev *queues[])
{
    for (uint32_t i = 0; i < QUEUES; i++)
        queues[i] = open_end((struct dk_tap_options){
            .name = "tp0",
            .queue = {.index = (uint16_t)i, .num = QUEUES, .first = i > 0 ? queues[0] : NULL}});
}

static void send_flow(struct dk_netdev *dev, const struct dk_flow *flow,
                      uint8_t bytes[DRV_FLOW_BYTES])
{
    const struct dk_tx_frame frame = {.head = bytes, .head_len = DRV_FLOW_BYTES};
    drv_flow_frame(flow, &dev->caps.mac, bytes);
    assert_int_equal(dev->ops->tx_burst(dev, &frame, 1, 0), 1);
}

/* The queue that says so; where none can, what a queue sent decides where the answers come. */
static uint32_t expected_at(struct dk_netdev *const queues[], const struct dk_flow *flow,
                            uint32_t sender)
{
    for (uint32_t i = 0; i < QUEUES && queues[i]->ops->steers_here; i++)
        if (queues[i]->ops->steers_here(queues[i], flow))
            return i;
    return sender;
}

static void test_tap_queues_get_the_flows_that_they_say(void **state)
{
    (void)state;
    struct dk_netdev *queues[QUEUES], *kernel;
    struct dk_rx_frame got;
    const char *why = NULL;
    uint32_t share[QUEUES] = {0};
    uint8_t bytes[DRV_FLOW_BYTES];
    open_queues(queues);
    assert_true(dk_packet_open(&kernel, &(struct dk_packet_options){.name = "tp0"}, &why) == 0);
    for (uint32_t n = 0; n < 300; n++) {
        const struct dk_flow flow = drv_flow(n);
        const struct dk_flow back = {.local = flow.remote,
                                     .remote = flow.local,
                                     .local_port = flow.remote_port,
                                     .remote_port = flow.local_port,
                                     .protocol = flow.protocol};
        send_flow(queues[n / 4 % QUEUES], &back, bytes);
        send_flow(kernel, &flow, bytes);
        const uint32_t at = drv_receive_at(queues, QUEUES, &got);
        assert_int_equal(at, expected_at(queues, &flow, n / 4 % QUEUES));
        drv_flow_check(&got, bytes);
        share[at]++;
    }
    for (uint32_t i = 0; i < QUEUES; i++)
        assert_in_range(share[i], 300 / QUEUES / 2, 300 / QUEUES * 2);
    for (uint32_t i = QUEUES; i-- > 0;)
        queues[i]->ops->close(queues[i]);
    kernel->ops->close(kernel);
    assert_true(access("/sys/class/net/tp0", F_OK) != 0);
}

static void test_tap_of_one_queue_is_refused_to_several_workers(void **state)
{
    (void)state;
    struct dk_netdev *dev;
    const char *why = NULL;
    const struct dk_tap_options o = {.name = "tp0", .queue = {.num = 2}};
    netns_ip("tuntap add mode tap name tp0");
    netns_ip("link set tp0 up");
    drv_must_fail(dk_tap_open(&dev, &o, &why), EINVAL, &why, "tuntap add mode tap multi_queue");
    netns_ip("tuntap del mode tap name tp0");
}

static void test_tap_that_cannot_be_opened_says_what_to_do(void **state)
{
    (void)state;
    struct dk_netdev *dev;
    struct dk_tap_options o = {.name = "much-too-long-a-name"};
    const char *why = NULL;
    drv_must_fail(dk_tap_open(&dev, &o, &why), EINVAL, &why, "cannot be the name");
    netns_ip("link add ve0 type veth peer name ve1");
    o.name = "ve0";
    drv_must_fail(dk_tap_open(&dev, &o, &why), EINVAL, &why, "no TAP interface");
    netns_ip("link del ve0");
    netns_ip("tuntap add mode tap name tp0");
    o.name = "tp0";
    drv_must_fail(dk_tap_open(&dev, &o, &why), ENETDOWN, &why, "ip link set tp0 up");
    netns_ip("link set tp0 up");
    o.mtu = 1501;
    drv_must_fail(dk_tap_open(&dev, &o, &why), EINVAL, &why, "ip link set tp0 mtu 1501");
    o.mtu = 0;
    struct dk_netdev *first = open_end(o);
    drv_must_fail(dk_tap_open(&dev, &o, &why), EBUSY, &why, "in use");
    first->ops->close(first);
    netns_ip("tuntap del mode tap name tp0");
    o = (struct dk_tap_options){.name = "tp1", .mtu = 100000};
    drv_must_fail(dk_tap_open(&dev, &o, &why), EINVAL, &why, "cannot give interface tp1 an MTU");
}

static void test_tap_frame_longer_than_at_open_is_dropped_and_counted(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f[2];
    struct dk_rx_frame got;
    const char *why;
    link.dev[0] = open_end((struct dk_tap_options){.name = "tp0"});
    netns_ip("link set tp0 mtu 3000");
    must(-dk_packet_open(&link.dev[1], &(struct dk_packet_options){.name = "tp0"}, &why));
    drv_frame_make(&f[0], 2000, DRV_HEADER, 1, 1);
    drv_frame_make(&f[1], 1518, DRV_HEADER, 1, 2);
    drv_send(link.dev[1], &f[0]);
    drv_send(link.dev[1], &f[1]);
    drv_receive(link.dev[0], &got, 1);
    drv_check(&got, &f[1]);
    assert_true(link.dev[0]->stats->rx_too_long == 1 && link.dev[0]->stats->rx_dropped == 1);
    drv_frame_free(&f[0]);
    drv_frame_free(&f[1]);
    drv_close(&link);
}

/* Has the kernel send a datagram to our end. */
static void send_by_kernel(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(0x0a090002)}};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must_hold(sendto(fd, "datagram", 8, 0, (const struct sockaddr *)&to, sizeof to) == 8, "sendto");
    close(fd);
}

/* Whether the checksum of a datagram of IPv4 is there. */
static bool is_finished(const struct dk_rx_frame *frame)
{
    const uint8_t *ip = frame->data + DRV_HEADER;
    const uint32_t len = frame->len - DRV_HEADER - 20;
    return dk_checksum_is_good(dk_checksum_add(17 + len, ip + 12, 8), ip + 20, len);
}

/* An interface that stays keeps what its last user could do. */
static void test_tap_without_offloads_gets_whole_checksums_after_one_with(void **state)
{
    (void)state;
    const uint32_t rx = DK_NETDEV_RX_CHECKSUM, tx = DK_NETDEV_TX_CHECKSUM | DK_NETDEV_TSO;
    const uint32_t wanted[] = {0, rx | tx, tx, rx, 0};
    netns_ip("tuntap add mode tap name tp0");
    netns_ip("link set tp0 up");
    netns_ip("address add 10.9.0.1/24 dev tp0");
    netns_ip("neigh add 10.9.0.2 lladdr 02:00:00:00:00:09 dev tp0");
    for (int i = 0; i < 5; i++) {
        struct dk_rx_frame got;
        struct dk_netdev *dev =
            open_end((struct dk_tap_options){.name = "tp0", .offloads = wanted[i]});
        send_by_kernel();
        drv_receive(dev, &got, 1);
        const bool good = wanted[i] & rx;
        assert_int_equal(got.checksum, good ? DK_RX_CHECKSUM_GOOD : DK_RX_CHECKSUM_UNKNOWN);
        assert_int_equal(is_finished(&got), !good);
        dk_buf_put(got.buf);
        dev->ops->close(dev);
    }
    netns_ip("tuntap del mode tap name tp0");
}

static void test_tap_link_down_is_seen_and_counted(void **state)
{
    (void)state;
    struct drv_frame f;
    struct dk_netdev *dev = open_end((struct dk_tap_options){.name = "tp0"});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    netns_ip("link set tp0 down");
    assert_int_equal(dev->ops->link(dev), DK_LINK_DOWN);
    drv_send(dev, &f);
    assert_true(dev->stats->tx_link_down == 1 && dev->stats->tx_dropped == 1);
    netns_ip("link set tp0 up");
    assert_int_equal(dev->ops->link(dev), DK_LINK_UP);
    drv_send(dev, &f);
    assert_true(dev->stats->tx_frames == 1);
    dev->ops->close(dev);
    drv_frame_free(&f);
}

static void test_tap_deleted_is_seen_and_does_not_keep_awake(void **state)
{
    (void)state;
    struct drv_frame f;
    struct dk_rx_frame got[4];
    struct dk_netdev *dev = open_end((struct dk_tap_options){.name = "tp0"});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    netns_ip("link del tp0");
    assert_true(drv_readable(dev, 0)); /* something happened: look */
    assert_int_equal(dev->ops->rx_burst(dev, got, 4, 0), 0);
    assert_false(drv_readable(dev, 0));
    assert_int_equal(dev->ops->link(dev), DK_LINK_DOWN);
    drv_send(dev, &f);
    assert_true(dev->stats->tx_link_down == 1);
    dev->ops->close(dev);
    drv_frame_free(&f);
}

int main(void)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        netns_skip("/dev/net/tun cannot be opened: run as root, where there is one");
    close(fd);
    const char *reason = netns_enter();
    if (reason)
        netns_skip(reason);
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(tap),
        cmocka_unit_test(test_tap_that_was_made_is_gone_with_the_device),
        cmocka_unit_test(test_tap_that_exists_is_used_and_stays),
        cmocka_unit_test(test_tap_of_several_queues_is_used),
        cmocka_unit_test(test_tap_queues_get_the_flows_that_they_say),
        cmocka_unit_test(test_tap_of_one_queue_is_refused_to_several_workers),
        cmocka_unit_test(test_tap_that_cannot_be_opened_says_what_to_do),
        cmocka_unit_test(test_tap_frame_longer_than_at_open_is_dropped_and_counted),
        cmocka_unit_test(test_tap_without_offloads_gets_whole_checksums_after_one_with),
        cmocka_unit_test(test_tap_link_down_is_seen_and_counted),
        cmocka_unit_test(test_tap_deleted_is_seen_and_does_not_keep_awake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
