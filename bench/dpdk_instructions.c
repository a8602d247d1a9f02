/* SPDX-License-Identifier: MIT */
/*
 * dpdk-instructions udp|tcp|bare-tcp|raw ROUNDS: an echo server over a port of DPDK, whose client
 * writes frames by hand: what the server does in a round, inside server_works(), is one packet in
 * and one out. "raw" is the same frame turned round by the port alone. Counts nothing itself:
 * dpdk_instructions.py runs it under callgrind.
 *
 * The client of "tcp" agrees on a window scale and on timestamps, which each of its segments then
 * has, as those of any system do; that of "bare-tcp" has no options at all.
 *
 * The port is of net_ring, with a ring for each direction; the client is at the other ends of
 * them. Its mbufs are of the port's own pool, as those of a NIC are.
 */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <rte_arp.h>
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES       64u
#define PORT        7
#define CLIENT_PORT 4000
#define ACK_FLAGS   (RTE_TCP_ACK_FLAG | RTE_TCP_PSH_FLAG)

static const struct rte_ether_addr client_mac = {{2, 0, 0, 0, 0, 1}},
                                   server_mac = {{2, 0, 0, 0, 0, 2}};
static const uint32_t client_ip = RTE_IPV4(10, 9, 0, 1), server_ip = RTE_IPV4(10, 9, 0, 2);

static struct rte_ring *to_server, *from_server;
static struct rte_mempool *pool;
static uint32_t snd_nxt = 1000, rcv_nxt; /* of the client's connection */
static bool has_options;                 /* it has; its clock, and the server's last time: */
static uint32_t ts_val = 1, ts_ecr;
static uint32_t num_replies;
static int queue;
static demi_qtoken_t waiting;

static void must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "dpdk-instructions: %s\n", what);
    exit(1);
}

/* ---- the client ------------------------------------------------------------------------------ */

static struct rte_mbuf *new_frame(uint16_t type, uint32_t bytes)
{
    struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
    must(m != NULL, "no mbuf");
    struct rte_ether_hdr *eth = (void *)rte_pktmbuf_append(m, (uint16_t)(sizeof *eth + bytes));
    memset(eth, 0, sizeof *eth + bytes);
    eth->dst_addr = server_mac;
    eth->src_addr = client_mac;
    eth->ether_type = rte_cpu_to_be_16(type);
    return m;
}

static void inject(struct rte_mbuf *m)
{
    must(rte_ring_enqueue(to_server, m) == 0, "the ring is full");
}

static struct rte_ipv4_hdr *fill_ip(struct rte_mbuf *m, uint8_t protocol)
{
    struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(m, void *, sizeof(struct rte_ether_hdr));
    ip->version_ihl = RTE_IPV4_VHL_DEF;
    ip->total_length = rte_cpu_to_be_16((uint16_t)(m->pkt_len - sizeof(struct rte_ether_hdr)));
    ip->time_to_live = 64;
    ip->next_proto_id = protocol;
    ip->src_addr = rte_cpu_to_be_32(client_ip);
    ip->dst_addr = rte_cpu_to_be_32(server_ip);
    ip->hdr_checksum = rte_ipv4_cksum(ip);
    return ip;
}

static void send_datagram(void)
{
    struct rte_mbuf *m = new_frame(RTE_ETHER_TYPE_IPV4, sizeof(struct rte_ipv4_hdr) +
                                                            sizeof(struct rte_udp_hdr) + BYTES);
    struct rte_ipv4_hdr *ip = fill_ip(m, IPPROTO_UDP);
    struct rte_udp_hdr *udp = (void *)(ip + 1);
    udp->src_port = rte_cpu_to_be_16(CLIENT_PORT);
    udp->dst_port = rte_cpu_to_be_16(PORT);
    udp->dgram_len = rte_cpu_to_be_16(sizeof *udp + BYTES);
    udp->dgram_cksum = rte_ipv4_udptcp_cksum(ip, udp);
    inject(m);
}

static void put_word(uint8_t *at, uint32_t word)
{
    const uint32_t net = rte_cpu_to_be_32(word);
    memcpy(at, &net, sizeof net);
}

/* Writes the options of a segment: MSS and window scale, where it opens; timestamps. Returns their
 * length. */
static uint32_t put_options(uint8_t *at, bool opens)
{
    uint32_t len = 0;
    if (!has_options)
        return 0;
    if (opens) {
        put_word(at, 2 << 24 | 4 << 16 | 1460);
        put_word(at + 4, 1 << 24 | 3 << 16 | 3 << 8 | 7);
        len = 8;
    }
    put_word(at + len, 1 << 24 | 1 << 16 | 8 << 8 | 10);
    put_word(at + len + 4, ts_val++);
    put_word(at + len + 8, ts_ecr);
    return len + 12;
}

static void send_segment(uint8_t flags, uint32_t bytes)
{
    uint8_t options[20] = {0};
    const uint32_t options_len = put_options(options, flags & RTE_TCP_SYN_FLAG);
    const uint32_t header_len = sizeof(struct rte_tcp_hdr) + options_len;
    struct rte_mbuf *m =
        new_frame(RTE_ETHER_TYPE_IPV4, sizeof(struct rte_ipv4_hdr) + header_len + bytes);
    struct rte_ipv4_hdr *ip = fill_ip(m, IPPROTO_TCP);
    struct rte_tcp_hdr *tcp = (void *)(ip + 1);
    tcp->src_port = rte_cpu_to_be_16(CLIENT_PORT);
    tcp->dst_port = rte_cpu_to_be_16(PORT);
    tcp->sent_seq = rte_cpu_to_be_32(snd_nxt);
    tcp->recv_ack = rte_cpu_to_be_32(rcv_nxt);
    tcp->data_off = (uint8_t)(header_len / 4 << 4);
    memcpy(tcp + 1, options, options_len);
    tcp->tcp_flags = flags;
    tcp->rx_win = rte_cpu_to_be_16(UINT16_MAX);
    tcp->cksum = rte_ipv4_udptcp_cksum(ip, tcp);
    snd_nxt += bytes + (flags & RTE_TCP_SYN_FLAG ? 1 : 0);
    inject(m);
}

/* Answers a question for the client's address. */
static void take_arp(const struct rte_arp_hdr *question)
{
    if (question->arp_opcode != rte_cpu_to_be_16(RTE_ARP_OP_REQUEST) ||
        question->arp_data.arp_tip != rte_cpu_to_be_32(client_ip))
        return;
    struct rte_mbuf *m = new_frame(RTE_ETHER_TYPE_ARP, sizeof *question);
    struct rte_arp_hdr *answer = rte_pktmbuf_mtod_offset(m, void *, sizeof(struct rte_ether_hdr));
    *answer = *question;
    answer->arp_opcode = rte_cpu_to_be_16(RTE_ARP_OP_REPLY);
    answer->arp_data.arp_sha = client_mac;
    answer->arp_data.arp_sip = rte_cpu_to_be_32(client_ip);
    answer->arp_data.arp_tha = server_mac;
    answer->arp_data.arp_tip = rte_cpu_to_be_32(server_ip);
    inject(m);
}

static void take_segment(const struct rte_ipv4_hdr *ip, const struct rte_tcp_hdr *tcp)
{
    const uint32_t header = sizeof *ip + (uint32_t)(tcp->data_off >> 4) * 4;
    const uint32_t bytes = rte_be_to_cpu_16(ip->total_length) - header;
    const bool opens = tcp->tcp_flags & RTE_TCP_SYN_FLAG;
    if (has_options && !opens) { /* NOP, NOP, timestamps */
        memcpy(&ts_ecr, (const uint8_t *)(tcp + 1) + 4, sizeof ts_ecr);
        ts_ecr = rte_be_to_cpu_32(ts_ecr);
    }
    rcv_nxt = rte_be_to_cpu_32(tcp->sent_seq) + bytes + opens;
    num_replies += bytes == BYTES || opens;
}

static void take_reply(struct rte_mbuf *m)
{
    const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, void *);
    const struct rte_ipv4_hdr *ip = (const void *)(eth + 1);
    if (eth->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP))
        take_arp((const void *)(eth + 1));
    else if (eth->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) &&
             ip->next_proto_id == IPPROTO_TCP)
        take_segment(ip, (const void *)(ip + 1));
    else if (eth->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) &&
             ip->next_proto_id == IPPROTO_UDP)
        num_replies++;
    rte_pktmbuf_free(m);
}

/* Takes what the server sent. */
static void take_replies(void)
{
    void *mbufs[32];
    const uint32_t n = rte_ring_dequeue_burst(from_server, mbufs, 32, NULL);
    for (uint32_t i = 0; i < n; i++)
        take_reply(mbufs[i]);
}

/* ---- the server ------------------------------------------------------------------------------ */

/* A round: an element is there, and goes back. */
__attribute__((noipa)) static void server_works(void)
{
    demi_qresult_t qr;
    demi_qtoken_t pushed;
    must(demi_wait(&qr, waiting, NULL) == 0 && qr.qr_opcode == DEMI_OPC_POP, "no pop");
    demi_sgarray_t *sga = &qr.qr_value.sga;
    must((sga->sga_addr.sin_port != 0
              ? demi_pushto(&pushed, queue, sga, (struct sockaddr *)&sga->sga_addr,
                            sizeof sga->sga_addr)
              : demi_push(&pushed, queue, sga)) == 0 &&
             demi_sgafree(sga) == 0 && demi_wait(&qr, pushed, NULL) == 0 &&
             demi_pop(&waiting, queue) == 0,
         "no push");
}

/* The port's own work for it: what a program without a stack has to do as well. */
__attribute__((noipa)) static void port_works(void)
{
    struct rte_mbuf *m;
    must(rte_eth_rx_burst(0, 0, &m, 1) == 1, "nothing received");
    struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, void *);
    const struct rte_ether_addr to = eth->src_addr;
    eth->src_addr = eth->dst_addr;
    eth->dst_addr = to;
    must(rte_eth_tx_burst(0, 0, &m, 1) == 1, "nothing sent");
}

/* Has the server look at the port, and the client at what comes, until there was a reply. */
static void settle(demi_qtoken_t qt)
{
    static const struct timespec at_once;
    demi_qresult_t qr;
    for (int i = 0; i < 1000 && num_replies == 0; i++) {
        must(demi_wait(&qr, qt, &at_once) == ETIMEDOUT, "an end too soon");
        take_replies();
    }
    must(num_replies > 0, "no reply");
}

static void open_server(int type)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = rte_cpu_to_be_16(PORT),
                             .sin_addr.s_addr = rte_cpu_to_be_32(server_ip)};
    must(demi_socket(&queue, AF_INET, type, 0) == 0 &&
             demi_bind(queue, (struct sockaddr *)&at, sizeof at) == 0,
         "no socket");
}

static void open_udp(void)
{
    open_server(SOCK_DGRAM);
    must(demi_pop(&waiting, queue) == 0, "no pop");
    send_datagram();
    server_works(); /* asks for the client's address */
    settle(waiting);
}

static void open_tcp(void)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    open_server(SOCK_STREAM);
    must(demi_listen(queue, 1) == 0 && demi_accept(&qt, queue) == 0, "no accept");
    send_segment(RTE_TCP_SYN_FLAG, 0);
    settle(qt);
    send_segment(RTE_TCP_ACK_FLAG, 0);
    must(demi_wait(&qr, qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_ACCEPT, "no connection");
    queue = qr.qr_value.ares.qd;
    must(demi_pop(&waiting, queue) == 0, "no pop");
}

static void run(const char *what, uint32_t rounds)
{
    const bool is_udp = strcmp(what, "udp") == 0, is_tcp = strstr(what, "tcp") != NULL;
    has_options = strcmp(what, "tcp") == 0;
    if (is_udp)
        open_udp();
    if (is_tcp)
        open_tcp();
    take_replies();
    num_replies = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        if (is_tcp)
            send_segment(ACK_FLAGS, BYTES);
        else
            send_datagram();
        if (is_tcp || is_udp)
            server_works();
        else
            port_works();
        take_replies();
        must(num_replies == i + 1, "a reply is missing");
    }
}

/* EAL, and a port whose other end is the client's. */
static void open_port(void)
{
    static char text[] = "dpdk-instructions --no-huge --no-shconf -m 64 --no-pci --no-telemetry "
                         "--log-level=*:4 --iova-mode=va --lcores=0";
    char *words[16], *rest = text;
    int num = 0;
    while ((words[num] = strsep(&rest, " ")) != NULL)
        num++;
    must(rte_eal_init(num, words) >= 0, "no EAL");
    to_server = rte_ring_create("to_server", 1024, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    from_server = rte_ring_create("from_server", 1024, 0, RING_F_SP_ENQ | RING_F_SC_DEQ);
    must(to_server && from_server &&
             rte_eth_from_rings("server", &to_server, 1, &from_server, 1, 0) >= 0,
         "no rings");
}

int main(int argc, char **argv)
{
    must(argc == 3, "usage: dpdk-instructions udp|tcp|bare-tcp|raw ROUNDS");
    open_port();
    setenv("DEMI_NET", "dpdk:net_ring_server,mac=02:00:00:00:00:02", 1);
    setenv("DEMI_NET_ADDRESSES", "10.9.0.2/24", 1);
    setenv("DEMI_NET_PROBE", "no", 1);
    setenv("DEMI_POLL", "always", 1);
    must(demi_init(NULL) == 0, "the port cannot be opened");
    pool = rte_mempool_lookup("demi_rx_0_0");
    must(pool != NULL, "no pool");
    take_replies(); /* what the stack says of itself at first */
    run(argv[1], (uint32_t)atoi(argv[2]));
    must(demi_fini() == 0, "no end");
    return 0;
}
