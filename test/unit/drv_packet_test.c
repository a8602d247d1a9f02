/* SPDX-License-Identifier: MIT */
/* Packet sockets, over the two ends of a veth in a network namespace of the test's. */
#include "drv_kit.h"
#include "drv_netns.h"

#include "drv/packet.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct dk_netdev *open_end(struct dk_packet_options options)
{
    struct dk_netdev *dev;
    const char *why = NULL;
    int r = dk_packet_open(&dev, &options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static void open_packet(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    netns_make_veth(mtu ? mtu : 1500);
    for (int i = 0; i < 2; i++)
        link->dev[i] = open_end((struct dk_packet_options){
            .name = i == 0 ? "ve0" : "ve1", .rx_pool_bytes = pool_bytes, .promiscuous = true});
}

static const struct drv_maker packet = {"packet", open_packet, netns_remove_veth, 65535};

static void test_packet_what_cannot_be_opened_says_what_to_do(void **state)
{
    (void)state;
    struct dk_netdev *dev;
    struct dk_packet_options o = {.name = "nothere"};
    const char *why = NULL;
    drv_must_fail(dk_packet_open(&dev, &o, &why), ENODEV, &why, "nothere does not exist");
    o.name = "lo";
    drv_must_fail(dk_packet_open(&dev, &o, &why), EINVAL, &why, "lo is not Ethernet");
    o.name = "a/b";
    drv_must_fail(dk_packet_open(&dev, &o, &why), EINVAL, &why, "cannot be the name");
    netns_ip("link add ve0 type veth peer name ve1");
    o.name = "ve0";
    drv_must_fail(dk_packet_open(&dev, &o, &why), ENETDOWN, &why, "ip link set ve0 up");
    netns_ip("link set ve0 up");
    drv_must_fail(dk_packet_open(&dev, &o, &why), ENETDOWN, &why, "no carrier");
    netns_ip("link set ve1 up");
    o.mtu = 1501;
    drv_must_fail(dk_packet_open(&dev, &o, &why), EINVAL, &why, "ip link set ve0 mtu 1501");
    o = (struct dk_packet_options){.name = "ve0", .ring_frames = 65537};
    drv_must_fail(dk_packet_open(&dev, &o, &why), EINVAL, &why, "at most 65536");
    netns_remove_veth();
}

static void test_packet_has_mac_and_mtu_of_the_interface(void **state)
{
    (void)state;
    netns_ip("link add ve0 address 02:11:22:33:44:55 mtu 1400 type veth peer name ve1");
    netns_ip("link set ve0 up");
    netns_ip("link set ve1 up");
    struct dk_netdev *dev = open_end((struct dk_packet_options){.name = "ve0"});
    assert_memory_equal(dev->caps.mac.bytes, "\x02\x11\x22\x33\x44\x55", 6);
    assert_int_equal(dev->caps.mtu, 1400);
    dev->ops->close(dev);
    dev = open_end(
        (struct dk_packet_options){.name = "ve0", .mtu = 1300, .mac = {{2, 0, 0, 0, 0, 9}}});
    assert_memory_equal(dev->caps.mac.bytes, "\x02\0\0\0\0\x09", 6);
    assert_int_equal(dev->caps.mtu, 1300);
    dev->ops->close(dev);
    netns_remove_veth();
}

static void test_packet_does_not_receive_what_the_host_sends(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    open_packet(&link, 0, 0);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    struct dk_netdev *other = open_end((struct dk_packet_options){.name = "ve0"});
    drv_send(link.dev[0], &f);
    drv_send(other, &f);
    assert_true(drv_readable(link.dev[1], PATIENCE_S * 1000));
    assert_false(drv_readable(link.dev[0], 20));
    assert_false(drv_readable(other, 20));
    other->ops->close(other);
    drv_frame_free(&f);
    drv_close(&link);
    netns_remove_veth();
}

static void test_packet_longer_than_the_mtu_is_dropped_and_counted(void **state)
{
    (void)state;
    struct drv_frame longer[2], ordinary;
    struct dk_rx_frame got;
    netns_make_veth(1500);
    struct dk_netdev *to = open_end((struct dk_packet_options){.name = "ve1"});
    netns_ip("link set ve0 mtu 9000");
    netns_ip("link set ve1 mtu 9000");
    struct dk_netdev *from = open_end((struct dk_packet_options){.name = "ve0"});
    drv_frame_make(&longer[0], 1600, DRV_HEADER, 1, 1); /* finds room in a slot */
    drv_frame_make(&longer[1], 8000, DRV_HEADER, 1, 1); /* is cut */
    drv_frame_make(&ordinary, 1518, DRV_HEADER, 1, 2);
    drv_send(from, &longer[0]);
    drv_send(from, &longer[1]);
    drv_send(from, &ordinary);
    drv_receive(to, &got, 1);
    drv_check(&got, &ordinary);
    assert_true(to->stats->rx_too_long == 2 && to->stats->rx_dropped == 2);
    drv_frame_free(&longer[0]);
    drv_frame_free(&longer[1]);
    drv_frame_free(&ordinary);
    to->ops->close(to);
    from->ops->close(from);
    netns_remove_veth();
}

static void test_packet_burst_of_any_size_is_taken_whole(void **state)
{
    (void)state;
    enum { FRAMES = 200 };
    struct drv_link link;
    struct drv_frame f;
    struct dk_tx_frame tx[FRAMES];
    struct dk_rx_frame got[FRAMES];
    open_packet(&link, 0, 0);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < FRAMES; i++)
        tx[i] = f.tx;
    tx[100].num_pieces = 0; /* too short: those behind it go on */
    tx[100].head_len = 3;
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], tx, FRAMES, 0), FRAMES);
    drv_receive(link.dev[1], got, FRAMES - 1);
    for (int i = 0; i < FRAMES - 1; i++)
        drv_check(&got[i], &f);
    assert_true(link.dev[0]->stats->tx_too_short == 1);
    drv_frame_free(&f);
    drv_close(&link);
    netns_remove_veth();
}

static void test_packet_ring_overrun_is_counted(void **state)
{
    (void)state;
    enum { FRAMES = 1000 };
    struct drv_frame f;
    netns_make_veth(1500);
    struct dk_netdev *to = open_end((struct dk_packet_options){.name = "ve1", .ring_frames = 8});
    struct dk_netdev *from = open_end((struct dk_packet_options){.name = "ve0"});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < FRAMES; i++)
        drv_send(from, &f);
    deadline_start(__func__, DEADLINE_S);
    /* The kernel delivers them behind our back, and says how many are lost with the next frame. */
    while (to->stats->rx_frames + to->stats->rx_ring_full < from->stats->tx_frames) {
        drv_drain(to);
        if (to->stats->rx_ring_full == 0)
            drv_send(from, &f);
        drv_readable(to, 100);
    }
    deadline_stop();
    assert_true(to->stats->rx_ring_full > 0);
    assert_true(to->stats->rx_dropped == to->stats->rx_ring_full);
    assert_true(to->stats->rx_frames + to->stats->rx_ring_full == from->stats->tx_frames);
    drv_frame_free(&f);
    to->ops->close(to);
    from->ops->close(from);
    netns_remove_veth();
}

static void send_bytes(struct dk_netdev *dev, const uint8_t bytes[DRV_FLOW_BYTES])
{
    const struct dk_tx_frame frame = {.head = bytes, .head_len = DRV_FLOW_BYTES};
    assert_int_equal(dev->ops->tx_burst(dev, &frame, 1, 0), 1);
}

#define QUEUES 3u

static void open_queues(struct dk_netdev *queues[], uint32_t num)
{
    for (uint32_t i = 0; i < num; i++)
        queues[i] = open_end((struct dk_packet_options){
            .name = "ve1",
            .queue = {
                .index = (uint16_t)i, .num = (uint16_t)num, .first = i > 0 ? queues[0] : NULL}});
}

/* Each queue gets its flows, as it says beforehand, and about its share of them. */
static void test_packet_queues_get_the_flows_that_they_say(void **state)
{
    (void)state;
    enum { FLOWS = 600 };
    struct dk_netdev *queues[QUEUES];
    uint32_t share[QUEUES] = {0};
    uint8_t bytes[DRV_FLOW_BYTES];
    struct dk_rx_frame got;
    netns_make_veth(1500);
    struct dk_netdev *from = open_end((struct dk_packet_options){.name = "ve0"});
    open_queues(queues, QUEUES);
    for (uint32_t n = 0; n < FLOWS; n++) {
        const struct dk_flow flow = drv_flow(n);
        drv_flow_frame(&flow, &queues[0]->caps.mac, bytes);
        send_bytes(from, bytes);
        const uint32_t at = drv_receive_at(queues, QUEUES, &got);
        drv_flow_check(&got, bytes);
        for (uint32_t q = 0; q < QUEUES; q++)
            assert_int_equal(queues[q]->ops->steers_here(queues[q], &flow), q == at);
        share[at]++;
    }
    for (uint32_t q = 0; q < QUEUES; q++) {
        assert_in_range(share[q], FLOWS / QUEUES / 2, FLOWS / QUEUES * 2);
        assert_true(queues[q]->stats->rx_frames == share[q]);
        queues[q]->ops->close(queues[q]);
    }
    from->ops->close(from);
    netns_remove_veth();
}

/* ARP, ICMP, fragments, with options before the ports or too short for them. */
static void test_packet_without_a_flow_comes_to_the_first_queue(void **state)
{
    (void)state;
    struct dk_netdev *queues[QUEUES];
    uint8_t bytes[DRV_FLOW_BYTES];
    struct dk_rx_frame got;
    netns_make_veth(1500);
    struct dk_netdev *from = open_end((struct dk_packet_options){.name = "ve0"});
    open_queues(queues, QUEUES);
    for (uint32_t n = 0; n < 64; n++) {
        struct dk_flow flow = drv_flow(n);
        flow.protocol = n & 2 ? flow.protocol : n & 1 ? 58 : 1;
        drv_flow_frame(&flow, &queues[0]->caps.mac, bytes);
        if (n & 2 && n & 1)
            bytes[DRV_HEADER + 6] = 44; /* a fragment header */
        else if (n & 2)
            bytes[DRV_HEADER + 6] = 0x20; /* more fragments */
        if (n >= 48)
            bytes[12] = bytes[13] = 0x88; /* neither IP nor ARP */
        send_bytes(from, bytes);
        assert_int_equal(drv_receive_at(queues, QUEUES, &got), 0);
        drv_flow_check(&got, bytes);
    }
    for (uint32_t q = 0; q < QUEUES; q++)
        queues[q]->ops->close(queues[q]);
    from->ops->close(from);
    netns_remove_veth();
}

/* While queues come and go each frame comes once, to one of those that are open. */
static void test_packet_queues_that_come_and_go_lose_and_double_nothing(void **state)
{
    (void)state;
    struct dk_netdev *queues[QUEUES];
    uint8_t bytes[DRV_FLOW_BYTES];
    struct dk_rx_frame got;
    netns_make_veth(1500);
    struct dk_netdev *from = open_end((struct dk_packet_options){.name = "ve0"});
    queues[0] = open_end((struct dk_packet_options){.name = "ve1", .queue = {.num = 2}});
    for (uint32_t n = 0; n < 200; n++) {
        const struct dk_flow flow = drv_flow(n);
        const bool both = n >= 50 && n < 150;
        if (n == 50)
            queues[1] = open_end((struct dk_packet_options){
                .name = "ve1", .queue = {.index = 1, .num = 2, .first = queues[0]}});
        if (n == 150)
            queues[1]->ops->close(queues[1]);
        drv_flow_frame(&flow, &queues[0]->caps.mac, bytes);
        send_bytes(from, bytes);
        drv_receive_at(queues, both ? 2 : 1, &got);
        drv_flow_check(&got, bytes);
        for (uint32_t q = 0; q < (both ? 2 : 1); q++)
            assert_int_equal(queues[q]->ops->rx_burst(queues[q], &got, 1, 0), 0);
    }
    queues[0]->ops->close(queues[0]);
    from->ops->close(from);
    netns_remove_veth();
}

/* Sends a datagram of Linux's own out of an interface. */
static void send_from_kernel(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a4d0002)};
    netns_ip("addr add 10.77.0.1/24 dev ve0");
    netns_ip("neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev ve0");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(sendto(fd, "hello", 5, 0, (const struct sockaddr *)&to, sizeof(to)) == 5);
    close(fd);
}

static void test_packet_checksum_that_was_on_no_wire_is_good(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got;
    open_packet(&link, 0, 0);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    drv_send(link.dev[0], &f);
    drv_receive(link.dev[1], &got, 1);
    assert_int_equal(got.checksum, DK_RX_CHECKSUM_UNKNOWN); /* whoever sent it vouches for it */
    drv_check(&got, &f);
    send_from_kernel();
    do { /* the kernel may have things of its own to say */
        drv_receive(link.dev[1], &got, 1);
        dk_buf_put(got.buf);
    } while (got.len < 42 || got.data[23] != IPPROTO_UDP);
    assert_int_equal(got.checksum, DK_RX_CHECKSUM_GOOD);
    drv_frame_free(&f);
    drv_close(&link);
    netns_remove_veth();
}

static void test_packet_link_down_is_seen_counted_and_survived(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got;
    open_packet(&link, 0, 0);
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_UP);
    netns_ip("link set ve0 down");
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_DOWN);
    assert_int_equal(link.dev[1]->ops->link(link.dev[1]), DK_LINK_DOWN);
    drv_send(link.dev[0], &f);
    assert_true(link.dev[0]->stats->tx_link_down == 1 && link.dev[0]->stats->tx_dropped == 1);
    assert_false(drv_readable(link.dev[0], 0)); /* the error does not keep it awake */
    netns_ip("link set ve0 up");
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_UP);
    /* The kernel's queue of ve1 learns a little later that there is a carrier again. */
    deadline_start(__func__, DEADLINE_S);
    do
        drv_send(link.dev[1], &f);
    while (!drv_readable(link.dev[0], 10));
    deadline_stop();
    drv_receive(link.dev[0], &got, 1);
    drv_check(&got, &f);
    netns_remove_veth();
    drv_drain(link.dev[0]);
    assert_int_equal(link.dev[0]->ops->link(link.dev[0]), DK_LINK_DOWN);
    assert_false(drv_readable(link.dev[0], 0));
    drv_send(link.dev[0], &f);
    assert_true(link.dev[0]->stats->tx_link_down == 2);
    drv_frame_free(&f);
    drv_close(&link);
}

int main(void)
{
    const char *reason = netns_enter();
    if (reason)
        netns_skip(reason);
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(packet),
        cmocka_unit_test(test_packet_what_cannot_be_opened_says_what_to_do),
        cmocka_unit_test(test_packet_has_mac_and_mtu_of_the_interface),
        cmocka_unit_test(test_packet_does_not_receive_what_the_host_sends),
        cmocka_unit_test(test_packet_longer_than_the_mtu_is_dropped_and_counted),
        cmocka_unit_test(test_packet_burst_of_any_size_is_taken_whole),
        cmocka_unit_test(test_packet_queues_get_the_flows_that_they_say),
        cmocka_unit_test(test_packet_without_a_flow_comes_to_the_first_queue),
        cmocka_unit_test(test_packet_queues_that_come_and_go_lose_and_double_nothing),
        cmocka_unit_test(test_packet_ring_overrun_is_counted),
        cmocka_unit_test(test_packet_checksum_that_was_on_no_wire_is_good),
        cmocka_unit_test(test_packet_link_down_is_seen_counted_and_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
