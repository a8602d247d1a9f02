/* SPDX-License-Identifier: MIT */
/*
 * RST for every connection, by a process that ends in the midst of the stack's own work: exit() in
 * a signal handler over it. What was interrupted never goes on.
 *
 * So no list is followed, and nothing of a connection is changed. Connections are found by walking
 * the slabs that they lie in, link addresses by walking their table; a slot counts if it says that
 * it is in use. One that is being made or ended just then may be missed, or told in vain; a number
 * that is being changed makes an RST that the peer ignores.
 */
#include "base/bytes.h"
#include "base/checksum.h"
#include "net/tcp/tcb.h"

struct words {
    struct dk_tcp *tcp;
    dk_ip_emit_fn emit;
    void *arg;
};

static void say_reset(const struct dk_tcp_conn *c, uint64_t seq, const struct words *w)
{
    uint8_t storage[DK_IP_HEADROOM + DK_TCP_HEADER_MAX];
    struct dk_ip_tx tx = {.src = c->local_ip,
                          .dst = c->remote_ip,
                          .protocol = DK_IP_TCP,
                          .header = storage + DK_IP_HEADROOM};
    const struct dk_tcp_header h = {.src_port = c->local_port,
                                    .dst_port = c->remote_port,
                                    .seq = (uint32_t)seq,
                                    .ack = (uint32_t)c->rcv_nxt,
                                    .flags = DK_TCP_RST | DK_TCP_ACK};
    tx.header_len = (uint32_t)dk_tcp_header_emit(&h, tx.header);
    uint32_t sum = dk_ip_pseudo_sum(&tx.src, &tx.dst, DK_IP_TCP, tx.header_len);
    sum = dk_checksum_add(sum, tx.header, tx.header_len);
    dk_put_be16(tx.header + DK_TCP_CHECKSUM_OFFSET, dk_checksum_finish(sum));
    dk_ip_say(w->tcp->net, &tx, w->emit, w->arg);
}

/* As dk_tcp_abort_unheard: where the peer is if it has nothing of what is in flight, and if it has
 * all. */
static void tell_peer(void *object, void *arg)
{
    const struct dk_tcp_conn *c = object;
    const struct words *w = arg;
    if (c->tcp != w->tcp || !c->hashed || c->state < DK_TCP_SYN_RECEIVED ||
        c->state >= DK_TCP_TIME_WAIT)
        return;
    if (c->state != DK_TCP_SYN_RECEIVED && c->snd_una != c->snd_nxt)
        say_reset(c, c->snd_una, w);
    say_reset(c, c->snd_nxt, w);
}

void dk_tcp_last_words(struct dk_tcp *tcp, dk_ip_emit_fn emit, void *arg)
{
    struct words w = {.tcp = tcp, .emit = emit, .arg = arg};
    dk_tcp_pool_walk(&tcp->conns, tell_peer, &w);
}
