/* SPDX-License-Identifier: MIT */
/*
 * The hash of a flow, and the filter that forms it (steer.h).
 *
 * The filter adds up, without carry, all words that the hash is of, folds them to 16 bits, and
 * then adds, for each bit, the key turned by as many places (dk_toeplitz_of_words). M[0] has the
 * words, M[1] the hash, of which both halves are the same.
 */
#include "drv/steer.h"

#include "base/toeplitz.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

static uint16_t words_of(const struct dk_ip *ip)
{
    uint16_t words = 0;
    for (uint32_t i = 0; i < sizeof(ip->bytes); i += 2)
        words ^= (uint16_t)(ip->bytes[i] << 8 | ip->bytes[i + 1]);
    return words;
}

uint16_t dk_steer_hash(const struct dk_flow *flow)
{
    return (uint16_t)dk_toeplitz_of_words(words_of(&flow->local) ^ words_of(&flow->remote) ^
                                          flow->local_port ^ flow->remote_port);
}

#define NET(offset)       (uint32_t)(SKF_NET_OFF + (offset))
#define LOAD(size, where) BPF_STMT(BPF_LD | (size) | BPF_ABS, where)
#define RETURN_0          BPF_STMT(BPF_RET | BPF_K, 0)
#define XOR_X             BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0)
#define TO_X              BPF_STMT(BPF_MISC | BPF_TAX, 0)
#define IF_EQUAL(k, yes)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, yes, 0)

/* Only TCP and UDP go on. 4 instructions. */
#define ONLY_TCP_UDP(protocol_at)                                                                  \
    LOAD(BPF_B, NET(protocol_at)), IF_EQUAL(IPPROTO_TCP, 2), IF_EQUAL(IPPROTO_UDP, 1), RETURN_0

/* Adds a word. 3 instructions. */
#define ADD_WORD(where) TO_X, LOAD(BPF_W, NET(where)), XOR_X

#define TURNED(bit) ((DK_TOEPLITZ_WORD << (bit) | DK_TOEPLITZ_WORD >> (16 - (bit))) & 0xffff)

#define ADD_BIT(bit)                                                                               \
    BPF_STMT(BPF_LD | BPF_MEM, 0), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x8000 >> (bit), 0, 3),    \
        BPF_STMT(BPF_LD | BPF_MEM, 1), BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, TURNED(bit)),           \
        BPF_STMT(BPF_ST, 1)

#define ADD_4_BITS(bit) ADD_BIT(bit), ADD_BIT((bit) + 1), ADD_BIT((bit) + 2), ADD_BIT((bit) + 3)

#define IP4_INSTRUCTIONS 17
#define IP6_INSTRUCTIONS 29

static struct sock_filter filter[] = {
    LOAD(BPF_W, (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL)),
    IF_EQUAL(ETH_P_IP, 2),
    IF_EQUAL(ETH_P_IPV6, IP4_INSTRUCTIONS + 1),
    RETURN_0,
    /* IPv4: no fragment; addresses; ports, behind the options. */
    ONLY_TCP_UDP(9),
    LOAD(BPF_H, NET(6)),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 0, 1),
    RETURN_0,
    LOAD(BPF_W, NET(12)),
    ADD_WORD(16),
    BPF_STMT(BPF_ST, 0),
    BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, NET(0)),
    BPF_STMT(BPF_LD | BPF_W | BPF_IND, NET(0)),
    BPF_STMT(BPF_LDX | BPF_MEM, 0),
    XOR_X,
    BPF_STMT(BPF_JMP | BPF_JA, IP6_INSTRUCTIONS),
    /* IPv6 without extension headers: addresses, ports. */
    ONLY_TCP_UDP(6),
    LOAD(BPF_W, NET(8)),
    ADD_WORD(12),
    ADD_WORD(16),
    ADD_WORD(20),
    ADD_WORD(24),
    ADD_WORD(28),
    ADD_WORD(32),
    ADD_WORD(36),
    ADD_WORD(40),
    /* To 16 bits. */
    BPF_STMT(BPF_ST, 0),
    BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
    TO_X,
    BPF_STMT(BPF_LD | BPF_MEM, 0),
    XOR_X,
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
    BPF_STMT(BPF_ST, 0),
    BPF_STMT(BPF_LD | BPF_IMM, 0),
    BPF_STMT(BPF_ST, 1),
    ADD_4_BITS(0),
    ADD_4_BITS(4),
    ADD_4_BITS(8),
    ADD_4_BITS(12),
    BPF_STMT(BPF_LD | BPF_MEM, 1),
    BPF_STMT(BPF_RET | BPF_A, 0),
};

struct sock_fprog dk_steer_filter(void)
{
    return (struct sock_fprog){.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
}
