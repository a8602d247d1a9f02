/* SPDX-License-Identifier: MIT */
/*
 * dpdk-instructions WHAT ROUNDS: an echo server over a port of DPDK, whose client writes frames by
 * hand: what the server does in a round, inside server_works() or burst_works(), is packets in and
 * as many out. Counts nothing itself: dpdk_instructions.py runs it under callgrind.
 *
 *     udp, tcp   a packet that comes alone
 *     udp-burst  32 datagrams that are there at once, for 8 pops outstanding
 *     tcp-burst  likewise a segment on each of 16 connections, with a pop outstanding on each
 *     raw, raw-burst  one frame, or 32 at once, turned round by the port alone
 *     bare-tcp   as tcp, and the client's segments have no options at all
 *
 * The client of "tcp" agrees on a window scale and on timestamps, which each of its segments then
 * has, as those of any system do.
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
#define BURST       32 /* datagrams, or frames of the raw loop */
#define POPS        8  /* outstanding, for datagrams */
#define CONNECTIONS 16
#define ACK_FLAGS   (RTE_TCP_ACK_FLAG | RTE_TCP_PSH_FLAG)

static const struct rte_ether_addr client_mac = {{2, 0, 0, 0, 0, 1}},
                                   server_mac = {{2, 0, 0, 0, 0, 2}};
static const uint32_t client_ip = RTE_IPV4(10, 9, 0, 1), server_ip = RTE_IPV4(10, 9, 0, 2);

static struct rte_ring *to_server, *from_server;
static struct rte_mempool *pool;
static struct client {
    uint32_t snd_nxt, rcv_nxt;
    uint32_t ts_ecr;     /* the server's last time */
} clients[CONNECTIONS];  /* from CLIENT_PORT on */
static bool has_options; /* they have; their clock: */
static uint32_t ts_val = 1;
static uint32_t num_replies;
static int queue, queues[CONNECTIONS];
static demi_qtoken_t waiting, pops[CONNECTIONS];
static int num_pops;

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
static uint32_t put_options(uint8_t *at, bool opens, uint32_t ts_ecr)
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

static void send_segment(uint32_t i, uint8_t flags, uint32_t bytes)
{
    struct client *client = &clients[i];
    uint8_t options[20] = {0};
    const uint32_t options_len = put_options(options, flags & RTE_TCP_SYN_FLAG, client->ts_ecr);
    const uint32_t header_len = sizeof(struct rte_tcp_hdr) + options_len;
    struct rte_mbuf *m =
        new_frame(RTE_ETHER_TYPE_IPV4, sizeof(struct rte_ipv4_hdr) + header_len + bytes);
    struct rte_ipv4_hdr *ip = fill_ip(m, IPPROTO_TCP);
    struct rte_tcp_hdr *tcp = (void *)(ip + 1);
    tcp->src_port = rte_cpu_to_be_16((uint16_t)(CLIENT_PORT + i));
    tcp->dst_port = rte_cpu_to_be_16(PORT);
    tcp->sent_seq = rte_cpu_to_be_32(client->snd_nxt);
    tcp->recv_ack = rte_cpu_to_be_32(client->rcv_nxt);
    tcp->data_off = (uint8_t)(header_len / 4 << 4);
    memcpy(tcp + 1, options, options_len);
    tcp->tcp_flags = flags;
    tcp->rx_win = rte_cpu_to_be_16(UINT16_MAX);
    tcp->cksum = rte_ipv4_udptcp_cksum(ip, tcp);
    client->snd_nxt += bytes + (flags & RTE_TCP_SYN_FLAG ? 1 : 0);
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
    struct client *client = &clients[rte_be_to_cpu_16(tcp->dst_port) - CLIENT_PORT];
    if (has_options && !opens) { /* NOP, NOP, timestamps */
        memcpy(&client->ts_ecr, (const uint8_t *)(tcp + 1) + 4, sizeof client->ts_ecr);
        client->ts_ecr = rte_be_to_cpu_32(client->ts_ecr);
    }
    const uint32_t seq = rte_be_to_cpu_32(tcp->sent_seq);
    if (!opens && seq != client->rcv_nxt)
        return; /* sent again: who measures stood still */
    client->rcv_nxt = seq + bytes + opens;
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
    void *m;
    while (rte_ring_dequeue(from_server, &m) == 0)
        take_reply(m);
}

/* ---- the server ------------------------------------------------------------------------------ */

/* An element goes back, and the next one is asked for. */
static inline void answer(demi_qresult_t *qr, demi_qtoken_t *pop)
{
    demi_qtoken_t pushed;
    demi_sgarray_t *sga = &qr->qr_value.sga;
    const int qd = qr->qr_qd;
    must((sga->sga_addr.sin_port != 0
              ? demi_pushto(&pushed, qd, sga, (struct sockaddr *)&sga->sga_addr,
                            sizeof sga->sga_addr)
              : demi_push(&pushed, qd, sga)) == 0 &&
             demi_sgafree(sga) == 0 && demi_wait(qr, pushed, NULL) == 0 && demi_pop(pop, qd) == 0,
         "no push");
}

/* A round: an element is there, and goes back. */
__attribute__((noipa)) static void server_works(void)
{
    demi_qresult_t qr;
    must(demi_wait(&qr, waiting, NULL) == 0 && qr.qr_opcode == DEMI_OPC_POP, "no pop");
    answer(&qr, &waiting);
}

/* A round: so many are there, and go back. */
__attribute__((noipa)) static void burst_works(int num)
{
    demi_qresult_t qr;
    int at;
    while (num-- > 0) {
        must(demi_wait_any(&qr, &at, pops, num_pops, NULL) == 0 && qr.qr_opcode == DEMI_OPC_POP,
             "no pop");
        answer(&qr, &pops[at]);
    }
}

/* The port's own work for it: what a program without a stack has to do as well. */
__attribute__((noipa)) static void port_works(int num)
{
    struct rte_mbuf *m[BURST];
    must(rte_eth_rx_burst(0, 0, m, (uint16_t)num) == num, "nothing received");
    for (int i = 0; i < num; i++) {
        struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m[i], void *);
        const struct rte_ether_addr to = eth->src_addr;
        eth->src_addr = eth->dst_addr;
        eth->dst_addr = to;
    }
    must(rte_eth_tx_burst(0, 0, m, (uint16_t)num) == num, "nothing sent");
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
    pops[0] = waiting;
}

/* More of them outstanding. */
static void open_pops(void)
{
    for (num_pops = 1; num_pops < POPS; num_pops++)
        must(demi_pop(&pops[num_pops], queue) == 0, "no pop");
}

static void connect_client(uint32_t i)
{
    demi_qtoken_t qt;
    demi_qresult_t qr;
    clients[i].snd_nxt = 1000;
    num_replies = 0;
    must(demi_accept(&qt, queue) == 0, "no accept");
    send_segment(i, RTE_TCP_SYN_FLAG, 0);
    settle(qt);
    send_segment(i, RTE_TCP_ACK_FLAG, 0);
    must(demi_wait(&qr, qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_ACCEPT, "no connection");
    queues[i] = qr.qr_value.ares.qd;
}

static void open_tcp(int num)
{
    open_server(SOCK_STREAM);
    must(demi_listen(queue, CONNECTIONS) == 0, "no listener");
    for (int i = 0; i < num; i++)
        connect_client((uint32_t)i);
    for (num_pops = 0; num_pops < num; num_pops++)
        must(demi_pop(&pops[num_pops], queues[num_pops]) == 0, "no pop");
    waiting = pops[0];
}

/* What is measured. */
struct load {
    const char *name;
    enum { RAW, UDP, TCP } kind;
    int num; /* packets of a round */
    bool has_options;
};

static const struct load loads[] = {
    {"raw", RAW, 1, false},      {"raw-burst", RAW, BURST, false},
    {"udp", UDP, 1, false},      {"udp-burst", UDP, BURST, false},
    {"tcp", TCP, 1, true},       {"tcp-burst", TCP, CONNECTIONS, true},
    {"bare-tcp", TCP, 1, false},
};

static void open_load(const struct load *load)
{
    has_options = load->has_options;
    if (load->kind == UDP)
        open_udp();
    if (load->kind == UDP && load->num > 1)
        open_pops();
    if (load->kind == TCP)
        open_tcp(load->num);
    take_replies();
    num_replies = 0;
}

static void run(const struct load *load, uint32_t rounds)
{
    open_load(load);
    for (uint32_t i = 1; i <= rounds; i++) {
        for (int k = 0; k < load->num; k++) {
            if (load->kind == TCP)
                send_segment((uint32_t)k, ACK_FLAGS, BYTES);
            else
                send_datagram();
        }
        if (load->kind == RAW)
            port_works(load->num);
        else if (load->num > 1)
            burst_works(load->num);
        else
            server_works();
        take_replies();
        must(num_replies == i * (uint32_t)load->num, "a reply is missing");
    }
}

static const struct load *find_load(const char *name)
{
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++)
        if (strcmp(loads[i].name, name) == 0)
            return &loads[i];
    must(false, "usage: dpdk-instructions WHAT ROUNDS");
    return NULL;
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
    const struct load *load = find_load(argc == 3 ? argv[1] : "");
    open_port();
    setenv("DEMI_NET", "dpdk:net_ring_server,mac=02:00:00:00:00:02", 1);
    setenv("DEMI_NET_ADDRESSES", "10.9.0.2/24", 1);
    setenv("DEMI_NET_PROBE", "no", 1);
    setenv("DEMI_POLL", "always", 1);
    must(demi_init(NULL) == 0, "the port cannot be opened");
    pool = rte_mempool_lookup("demi_rx_0_0");
    must(pool != NULL, "no pool");
    take_replies(); /* what the stack says of itself at first */
    run(load, (uint32_t)atoi(argv[2]));
    must(demi_fini() == 0, "no end");
    return 0;
}
