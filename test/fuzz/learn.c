/* SPDX-License-Identifier: MIT */
/*
 * A stack that learns its addresses, of DHCP servers and routers that say anything. The bytes are a
 * list of records:
 *
 *     kind (1)  length (2, little-endian)  bytes
 *
 * of options of a DHCP reply, whose exchange is the client's; of a router advertisement, from its
 * type on; of neighbour discovery or ARP about an address that was learnt; or time that passes.
 * Whatever comes, timers have to come to rest, and the stack ends without a buffer or timer left.
 */
#include "fuzz.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "mem/buf.h"
#include "net/ip.h"
#include "net/net.h"
#include "net/wire/arp.h"
#include "net/wire/dhcp.h"
#include "net/wire/ethernet.h"
#include "net/wire/icmp6.h"
#include "net/wire/nd.h"

#define RECORDS_MAX 200
#define WAKE_MAX    20000
#define BYTES_MAX   1400
#define SECOND      INT64_C(1000000000)

enum kind_of_record { RECORD_DHCP, RECORD_ROUTER, RECORD_CONFLICT, RECORD_TIME, RECORD_KINDS };

struct world {
    struct dk_net *net;
    int64_t now;
    uint32_t xid; /* of the latest message to a server */
};

static const struct dk_mac ours = {{2, 0, 0, 0, 0, 1}}, theirs = {{2, 0, 0, 0, 0, 2}};

static bool emit(void *arg, const struct dk_tx_frame *f)
{
    struct world *w = arg;
    FUZZ_CHECK(f->head_len <= DK_TX_HEAD_MAX && dk_tx_frame_bytes(f) <= 1514);
    if (f->head_len == 14 + 20 + 8 && f->head[23] == DK_IP_UDP && f->num_pieces == 1)
        w->xid = dk_get_be32(f->pieces[0].data + 4);
    return true;
}

static void settle(struct world *w)
{
    int calls = 0;
    do {
        dk_net_advance(w->net, w->now);
        FUZZ_CHECK(++calls < WAKE_MAX);
    } while (dk_net_next_due(w->net) <= w->now);
}

static void pass(struct world *w, int64_t ns)
{
    const int64_t end = w->now + ns;
    for (int calls = 0; dk_net_next_due(w->net) <= end; calls++) {
        FUZZ_CHECK(calls < WAKE_MAX);
        const int64_t due = dk_net_next_due(w->net);
        w->now = due > w->now ? due : w->now;
        settle(w);
    }
    w->now = end;
    settle(w);
}

static void put(struct world *w, const struct dk_mac *dst, uint16_t type, const uint8_t *packet,
                uint32_t len)
{
    const struct dk_eth_header eth = {.dst = *dst, .src = theirs, .type = type};
    struct dk_buf *buf = dk_buf_alloc(DK_ETH_HEADER_LEN + len, 0);
    FUZZ_CHECK(buf != NULL);
    dk_eth_header_emit(&eth, buf->data);
    memcpy(buf->data + DK_ETH_HEADER_LEN, packet, len);
    struct dk_rx_frame rx = {.buf = buf, .data = buf->data, .len = DK_ETH_HEADER_LEN + len};
    dk_net_input(w->net, &rx, w->now);
    dk_buf_put(buf);
    settle(w);
}

/* Bytes: the address offered (4), then options. Without a checksum of UDP. */
static void put_dhcp(struct world *w, const uint8_t *bytes, uint32_t len)
{
    const struct dk_mac all = DK_MAC_BROADCAST;
    const uint32_t total = 28 + 240 + len - 4;
    uint8_t packet[28 + 240 + BYTES_MAX] = {0x45, [8] = 64, DK_IP_UDP, [12] = 10, 0, 0, 254};
    uint8_t *udp = packet + 20, *dhcp = packet + 28;
    memset(packet + 16, 0xff, 4);
    dk_put_be16(packet + 2, (uint16_t)total);
    dk_put_be16(packet + 10, dk_checksum_finish(dk_checksum_add(0, packet, 20)));
    dk_put_be16(udp, DK_DHCP_SERVER_PORT);
    dk_put_be16(udp + 2, DK_DHCP_CLIENT_PORT);
    dk_put_be16(udp + 4, (uint16_t)(total - 20));
    memcpy(dhcp, "\2\1\6", 3);
    dk_put_be32(dhcp + 4, w->xid);
    memcpy(dhcp + 16, bytes, 4);
    memcpy(dhcp + 28, ours.bytes, 6);
    dk_put_be32(dhcp + 236, 0x63825363);
    memcpy(dhcp + 240, bytes + 4, len - 4);
    put(w, &all, DK_ETHERTYPE_IP4, packet, total);
}

/* ICMPv6 of a link-local address to all nodes; the first byte is the last of the source. */
static void put_icmp6(struct world *w, uint8_t source, const uint8_t *bytes, uint32_t len)
{
    const struct dk_mac group = {{0x33, 0x33, 0, 0, 0, 1}};
    const struct dk_ip src = {.bytes = {0xfe, 0x80, [15] = source}, .version = 6};
    const struct dk_ip dst = {.bytes = {0xff, 2, [15] = 1}, .version = 6};
    uint8_t packet[40 + BYTES_MAX] = {0x60, [6] = DK_IP_ICMPV6, 255};
    dk_put_be16(packet + 4, (uint16_t)len);
    memcpy(packet + 8, src.bytes, 16);
    memcpy(packet + 24, dst.bytes, 16);
    memcpy(packet + 40, bytes, len);
    dk_put_be16(packet + 42, 0);
    const uint32_t sum = dk_ip_pseudo_sum(&src, &dst, DK_IP_ICMPV6, len);
    dk_put_be16(packet + 42, dk_checksum_finish(dk_checksum_add(sum, packet + 40, len)));
    put(w, &group, DK_ETHERTYPE_IP6, packet, 40 + len);
}

/* Another host says that it has what was learnt: of IPv6, or IPv4. */
static void put_conflict6(struct world *w)
{
    struct dk_ip ip = {.version = 6};
    uint8_t bytes[DK_ND_EMIT_MAX];
    dk_net_router_state(w->net, &ip);
    const struct dk_nd theirs_too = {.type = DK_ICMP6_NEIGHBOR_ADVERT,
                                     .target = ip,
                                     .override = true,
                                     .has_target_mac = true,
                                     .target_mac = theirs};
    put_icmp6(w, 9, bytes, (uint32_t)dk_nd_emit(&theirs_too, bytes));
}

static void put_conflict4(struct world *w)
{
    const struct dk_mac all = DK_MAC_BROADCAST;
    uint8_t bytes[DK_ARP_LEN];
    struct dk_ip ip = {.version = 4};
    dk_net_dhcp_state(w->net, &ip);
    const struct dk_arp arp = {.operation = DK_ARP_REPLY,
                               .sender_mac = theirs,
                               .sender_ip = ip,
                               .target_ip = {.version = 4}};
    dk_arp_emit(&arp, bytes);
    put(w, &all, DK_ETHERTYPE_ARP, bytes, sizeof(bytes));
}

static void record(struct world *w, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
    switch (kind % RECORD_KINDS) {
    case RECORD_DHCP:
        if (len >= 4 && len <= BYTES_MAX)
            put_dhcp(w, bytes, len);
        break;
    case RECORD_ROUTER:
        if (len >= 8 && len <= BYTES_MAX)
            put_icmp6(w, kind / RECORD_KINDS, bytes, len);
        break;
    case RECORD_CONFLICT:
        (kind / RECORD_KINDS & 1 ? put_conflict6 : put_conflict4)(w);
        break;
    default:
        pass(w, (len > 0 ? bytes[0] : 1) * SECOND << (kind / RECORD_KINDS) % 8);
    }
}

static void run(struct world *w, const uint8_t *bytes, size_t left)
{
    for (int i = 0; i < RECORDS_MAX && left >= 3; i++) {
        const uint32_t wanted = bytes[1] | (uint32_t)bytes[2] << 8;
        const uint32_t len = wanted > left - 3 ? (uint32_t)left - 3 : wanted;
        record(w, bytes[0], bytes + 3, len);
        bytes += 3 + len;
        left -= 3 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct world w = {.now = 1000 * SECOND};
    const struct dk_net_config config = {
        .mac = ours,
        .mtu = 1500,
        .dhcp = true,
        .dhcp_address = {.bytes = {10, 0, 0, 5}, .version = len > 0 && bytes[0] & 0x10 ? 4 : 0},
        .router_adverts = true,
        .skip_dad = len > 0 && bytes[0] & 0x80,
        .optimistic_dad = len > 0 && bytes[0] & 0x40,
        .stable_identifiers = len > 0 && bytes[0] & 0x20,
        .emit = emit,
        .emit_arg = &w,
    };
    const char *why = NULL;
    const uint32_t in_use = dk_buf_in_use();
    FUZZ_CHECK(dk_net_create(&w.net, &config, w.now, &why) == 0);
    pass(&w, 2 * SECOND);
    run(&w, bytes, len);
    dk_net_release(w.net, w.now);
    settle(&w);
    dk_net_destroy(w.net);
    FUZZ_CHECK(dk_buf_in_use() == in_use);
    return 0;
}
