/* SPDX-License-Identifier: MIT */
/*
 * Blocks have the low halves of sequence numbers, as they are sent.
 */
#include "net/tcp/block.h"

#include "base/bytes.h"
#include "net/tcp/reasm.h"

/* NOP NOP SACK, without the length: RFC 2018 section 3, aligned as its appendix has it. */
#define SACK_PREFIX UINT32_C(0x01010500)
#define PREFIX_LEN  4u
#define BLOCK_LEN   8u
#define OPTIONS_MAX (DK_TCP_HEADER_MAX - DK_TCP_HEADER_LEN)

static bool is_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* The run of ranges that has number `at` in it, where blocks do not tell. */
static void whole_run(const struct dk_tcp_conn *c, uint64_t at, struct dk_tcp_sack *run)
{
    uint64_t from = 0, to = 0;
    for (const struct dk_tcp_range *r = c->reasm->ranges; r && to <= at; r = r->next) {
        from = r->seq;
        for (to = r->end; r->next && r->next->seq == to; r = r->next)
            to = r->next->end;
    }
    if (at < from || at >= to)
        return;
    run->start = (uint32_t)from;
    if (is_before(run->end, (uint32_t)to))
        run->end = (uint32_t)to;
}

/* Takes out what touches run, which grows by it. */
static void take_touching(struct dk_tcp_reasm *a, struct dk_tcp_sack *run)
{
    uint8_t kept = 0;
    for (uint8_t i = 0; i < a->num_blocks; i++) {
        struct dk_tcp_sack b = a->blocks[i];
        if (is_before(run->end, b.start) || is_before(b.end, run->start)) {
            a->blocks[kept++] = b;
            continue;
        }
        if (is_before(b.start, run->start))
            run->start = b.start;
        if (is_before(run->end, b.end))
            run->end = b.end;
    }
    a->num_blocks = kept;
}

void dk_tcp_blocks_add(struct dk_tcp_conn *c, uint64_t start, uint64_t end)
{
    struct dk_tcp_sack run = {(uint32_t)start, (uint32_t)end};
    struct dk_tcp_reasm *a = c->sack_on ? dk_tcp_reasm_need(c) : NULL;
    if (!a)
        return;
    if (a->blocks_left)
        whole_run(c, start, &run);
    take_touching(a, &run);
    if (a->num_blocks == DK_TCP_BLOCKS) {
        a->num_blocks--;
        a->blocks_left = true;
    }
    memmove(&a->blocks[1], &a->blocks[0], a->num_blocks * sizeof(run));
    a->blocks[0] = run;
    a->num_blocks++;
}

void dk_tcp_blocks_twice(struct dk_tcp_conn *c, uint64_t start, uint64_t end)
{
    struct dk_tcp_reasm *a = c->sack_on && start < end ? dk_tcp_reasm_need(c) : NULL;
    if (!a)
        return;
    /* Of several parts of a segment the first is told (RFC 2883 section 4). */
    if (!a->has_dsack)
        a->dsack = (struct dk_tcp_sack){(uint32_t)start, (uint32_t)end};
    else if (a->dsack.end == (uint32_t)start)
        a->dsack.end = (uint32_t)end;
    a->has_dsack = true;
}

void dk_tcp_blocks_advance(struct dk_tcp_conn *c)
{
    struct dk_tcp_reasm *a = c->reasm;
    uint8_t kept = 0;
    for (uint8_t i = 0; i < a->num_blocks; i++)
        if (is_before((uint32_t)c->rcv_nxt, a->blocks[i].end))
            a->blocks[kept++] = a->blocks[i];
    a->num_blocks = kept;
    if (!a->ranges)
        a->blocks_left = false;
    dk_tcp_reasm_tidy(c);
}

static uint32_t blocks_that_fit(const struct dk_tcp_conn *c, uint32_t room)
{
    uint32_t n = c->reasm ? c->reasm->num_blocks + (uint32_t)c->reasm->has_dsack : 0;
    uint32_t options = OPTIONS_MAX - (c->ts_on ? DK_TCP_TS_LEN : 0);
    room = dk_tcp_min32(room, options);
    return room < PREFIX_LEN ? 0 : dk_tcp_min32(n, (room - PREFIX_LEN) / BLOCK_LEN);
}

static uint32_t option_len(uint32_t blocks)
{
    return blocks ? PREFIX_LEN + BLOCK_LEN * blocks : 0;
}

uint32_t dk_tcp_blocks_reserve(const struct dk_tcp_conn *c)
{
    uint32_t len = option_len(blocks_that_fit(c, OPTIONS_MAX));
    return c->snd_mss >= 8 * len ? len : 0;
}

uint32_t dk_tcp_blocks_put(const struct dk_tcp_conn *c, uint32_t payload, uint8_t *header,
                           uint32_t header_len)
{
    uint32_t room = payload == 0 ? OPTIONS_MAX : c->snd_mss - dk_tcp_min32(payload, c->snd_mss);
    uint32_t n = blocks_that_fit(c, room), len = option_len(n);
    if (n == 0)
        return 0;
    const struct dk_tcp_reasm *a = c->reasm;
    uint8_t *at = header + header_len;
    dk_put_be32(at, SACK_PREFIX | (2 + BLOCK_LEN * n));
    at += PREFIX_LEN;
    for (uint32_t i = 0; i < n; i++, at += BLOCK_LEN) {
        bool dsack = i == 0 && a->has_dsack;
        const struct dk_tcp_sack *b = dsack ? &a->dsack : &a->blocks[i - a->has_dsack];
        dk_put_be32(at, b->start);
        dk_put_be32(at + 4, b->end);
    }
    header[12] = (uint8_t)((header_len + len) << 2);
    return len;
}

void dk_tcp_blocks_told(struct dk_tcp_conn *c)
{
    if (c->reasm->has_dsack)
        DK_TCP_COUNT(c->tcp, dsacks_sent);
    c->reasm->has_dsack = false;
    dk_tcp_reasm_tidy(c);
}
