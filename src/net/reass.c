/* SPDX-License-Identifier: MIT */
/*
 * Reassembly (RFC 791, 815, 8200 section 4.5).
 *
 * A context is one packet of which not all fragments came: its payload in one buffer that grows as
 * it must, and a map with a bit for each eight bytes that are there. So overlap is seen exactly,
 * whatever the order: a packet with any is dropped, and what still comes of it too, until its time
 * is over (RFC 5722; the same for IPv4). A fragment that came twice, byte for byte, is no overlap.
 *
 * Limits: contexts, of one source and of all; bytes of buffers; fragments of one packet; time.
 * Where one is reached the oldest context makes room (of that source, or of all): a flood costs
 * what it floods, and never grows.
 */
#include "base/timer_wheel.h"
#include "mem/heap.h"
#include "net/icmp.h"
#include "net/ip_in.h"
#include "net/ip_kind.h"
#include "net/wire/icmp4.h"
#include "net/wire/icmp6.h"
#include "net/wire/ipv6.h"

#define CONTEXTS_MAX   64
#define PER_SOURCE_MAX 16
#define BYTES_MAX      (4u << 20)
#define FRAGMENTS_MAX  1024 /* of one packet */
#define BUFFER_FIRST   4096u
#define PAYLOAD_MAX    65535u
#define HEADER_ROOM    128u /* before the payload: for the first fragment's headers */
#define TCP_FIRST_MIN  20u  /* a first fragment of TCP without all of its header: RFC 1858 */

#define TIME_IP4_NS (30 * DK_NS_PER_S)
#define TIME_IP6_NS (60 * DK_NS_PER_S)

struct context {
    struct dk_list link; /* free, or used: oldest first */
    struct dk_timer timer;
    struct dk_net *net;
    struct dk_ip src, dst;
    uint32_t id;
    uint8_t protocol;    /* IPv4: part of the key; else of the first fragment */
    bool poisoned;       /* overlap: all of it is dropped */
    bool congested;      /* a fragment had CE (RFC 3168 section 5.3) */
    struct dk_buf *buf;  /* HEADER_ROOM bytes, then the payload; NULL: poisoned */
    uint32_t capacity;   /* bytes of payload that it has room for */
    uint32_t header_len; /* 0: the first fragment is missing */
    uint32_t first_len;  /* payload bytes of the first fragment */
    uint32_t total;      /* 0: the last fragment is missing */
    uint32_t bytes;      /* that are there */
    uint32_t end;        /* of the furthest fragment */
    uint32_t fragments;
    uint64_t map[PAYLOAD_MAX / 8 / 64 + 1];
};

struct dk_reass {
    struct dk_list free, used;
    uint64_t bytes; /* capacity of all */
    struct context contexts[CONTEXTS_MAX];
};

static void on_timer(struct dk_timer *timer, int64_t now);

int dk_reass_init(struct dk_net *net)
{
    struct dk_reass *reass = dk_heap_zalloc(sizeof *reass);
    if (!reass)
        return -ENOMEM;
    net->reass = reass;
    dk_list_init(&reass->free);
    dk_list_init(&reass->used);
    for (uint32_t i = 0; i < CONTEXTS_MAX; i++) {
        reass->contexts[i].net = net;
        dk_timer_init(&reass->contexts[i].timer, on_timer);
        dk_list_add_tail(&reass->free, &reass->contexts[i].link);
    }
    return 0;
}

static void drop_buffer(struct context *context)
{
    if (!context->buf)
        return;
    dk_buf_put(context->buf);
    context->buf = NULL;
    context->net->reass->bytes -= context->capacity;
    context->capacity = 0;
}

static void end(struct context *context)
{
    struct dk_reass *reass = context->net->reass;
    dk_timer_stop(&context->net->wheel, &context->timer);
    drop_buffer(context);
    dk_list_del(&context->link);
    dk_list_add_head(&reass->free, &context->link);
}

void dk_reass_fini(struct dk_net *net)
{
    struct dk_list *link;
    if (!net->reass)
        return;
    while ((link = dk_list_first(&net->reass->used)) != NULL)
        end(dk_container_of(link, struct context, link));
    dk_heap_free(net->reass);
}

/* The sender is told, if the first fragment came (RFC 792; RFC 4443 section 3.3). */
static void on_timer(struct dk_timer *timer, int64_t now)
{
    struct context *context = dk_container_of(timer, struct context, timer);
    struct dk_net *net = context->net;
    (void)now;
    if (!context->poisoned)
        dk_net_count(&net->stats.frag_timeout);
    if (context->buf && context->header_len != 0) {
        const uint8_t *packet = context->buf->data + HEADER_ROOM - context->header_len;
        const uint32_t len = context->header_len + context->first_len;
        if (context->src.version == 4)
            dk_icmp4_error(net, context->buf, packet, len, DK_ICMP4_TIME_EXCEEDED, 1, 0);
        else
            dk_icmp6_error(net, context->buf, packet, len, DK_ICMP6_TIME_EXCEEDED, 1, 0);
    }
    end(context);
}

static void poison(struct context *context)
{
    dk_net_count(&context->net->stats.frag_overlap);
    context->poisoned = true;
    drop_buffer(context);
}

static bool is_of(const struct context *context, const struct dk_fragment *f)
{
    return context->id == f->id && dk_ip_equal(&context->src, &f->src) &&
           dk_ip_equal(&context->dst, &f->dst) &&
           (f->src.version == 6 || context->protocol == f->protocol);
}

/* Frees a context: the oldest of this source if it has too many, else the oldest. */
static void make_room(struct dk_net *net, const struct dk_ip *src)
{
    struct dk_list *link;
    struct context *oldest = NULL;
    uint32_t of_source = 0;
    dk_list_for_each (link, &net->reass->used) {
        struct context *context = dk_container_of(link, struct context, link);
        if (!dk_ip_equal(&context->src, src))
            continue;
        if (of_source++ == 0)
            oldest = context;
    }
    if (of_source < PER_SOURCE_MAX && !dk_list_empty(&net->reass->free))
        return;
    if (of_source < PER_SOURCE_MAX)
        oldest = dk_container_of(dk_list_first(&net->reass->used), struct context, link);
    dk_net_count(&net->stats.frag_evicted);
    end(oldest);
}

static struct context *context_for(struct dk_net *net, const struct dk_fragment *f, int64_t now)
{
    struct dk_list *link;
    dk_list_for_each (link, &net->reass->used) {
        struct context *context = dk_container_of(link, struct context, link);
        if (is_of(context, f))
            return context;
    }
    make_room(net, &f->src);
    link = dk_list_first(&net->reass->free);
    struct context *context = dk_container_of(link, struct context, link);
    dk_list_del(link);
    dk_list_add_tail(&net->reass->used, link);
    context->src = f->src;
    context->dst = f->dst;
    context->id = f->id;
    context->protocol = f->protocol;
    context->poisoned = context->congested = false;
    context->header_len = context->first_len = context->total = 0;
    context->bytes = context->end = context->fragments = 0;
    memset(context->map, 0, sizeof context->map);
    dk_timer_start(&net->wheel, &context->timer,
                   now + (f->src.version == 4 ? TIME_IP4_NS : TIME_IP6_NS));
    return context;
}

/* Sees to room for `need` bytes of payload; other packets give way to it. */
static bool grow(struct context *context, uint32_t need)
{
    struct dk_reass *reass = context->net->reass;
    if (context->buf && need <= context->capacity)
        return true;
    uint32_t capacity = context->capacity ? context->capacity * 2 : BUFFER_FIRST;
    if (capacity < need)
        capacity = need;
    if (capacity > PAYLOAD_MAX)
        capacity = PAYLOAD_MAX;
    while (reass->bytes + capacity > BYTES_MAX) {
        struct context *oldest = dk_container_of(dk_list_first(&reass->used), struct context, link);
        if (oldest == context)
            return false;
        dk_net_count(&context->net->stats.frag_evicted);
        end(oldest);
    }
    struct dk_buf *buf = dk_buf_alloc(HEADER_ROOM + capacity, DK_BUF_PEER_BYTES);
    if (!buf)
        return false;
    if (context->buf)
        memcpy(buf->data, context->buf->data, HEADER_ROOM + context->end);
    drop_buffer(context);
    context->buf = buf;
    context->capacity = capacity;
    reass->bytes += capacity;
    return true;
}

/* Units of [from, to) that are there. */
static uint32_t units_there(const struct context *context, uint32_t from, uint32_t to)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < to;) {
        const uint32_t bit = i % 64, left = to - i;
        const uint32_t take = left < 64 - bit ? left : 64 - bit;
        const uint64_t mask = (take == 64 ? UINT64_MAX : (UINT64_C(1) << take) - 1) << bit;
        n += (uint32_t)__builtin_popcountll(context->map[i / 64] & mask);
        i += take;
    }
    return n;
}

static void mark(struct context *context, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        context->map[i / 64] |= UINT64_C(1) << i % 64;
}

enum fit { FIT_NEW, FIT_AGAIN, FIT_OVERLAP };

static enum fit fit(const struct context *context, const struct dk_fragment *f)
{
    const uint32_t from = f->offset / 8, to = (f->offset + f->len + 7) / 8;
    const uint32_t there = units_there(context, from, to);
    const uint32_t f_end = f->offset + f->len;
    if (there == to - from && f_end <= context->end && (f->more || f_end == context->total) &&
        memcmp(context->buf->data + HEADER_ROOM + f->offset, f->data, f->len) == 0)
        return FIT_AGAIN;
    if (there != 0 || (context->total != 0 && f_end > context->total) ||
        (!f->more && (context->total != 0 || f_end < context->end)))
        return FIT_OVERLAP;
    return FIT_NEW;
}

/* Copies a fragment to its place; of the first one, the header too. */
static void put(struct context *context, const struct dk_fragment *f)
{
    uint8_t *payload = context->buf->data + HEADER_ROOM;
    memcpy(payload + f->offset, f->data, f->len);
    mark(context, f->offset / 8, (f->offset + f->len + 7) / 8);
    context->bytes += f->len;
    context->fragments++;
    context->congested |= (f->tos & 3) == 3;
    if (f->offset + f->len > context->end)
        context->end = f->offset + f->len;
    if (!f->more)
        context->total = f->offset + f->len;
    if (f->offset != 0)
        return;
    memcpy(payload - f->header_len, f->header, f->header_len);
    context->header_len = f->header_len;
    context->first_len = f->len;
    context->protocol = f->protocol;
}

/* Hands the packet over. */
static void finish(struct context *context, struct dk_reassembled *whole_out)
{
    struct dk_buf *buf = context->buf;
    uint8_t *header = buf->data + HEADER_ROOM - context->header_len;
    *whole_out = (struct dk_reassembled){
        .buf = buf,
        .header = header,
        .header_len = context->header_len,
        .len = context->header_len + context->total,
        .protocol = context->protocol,
    };
    const uint8_t ecn = context->src.version == 4 ? 3 : 0x30; /* in the second byte */
    if (context->congested && (header[1] & ecn) != 0)
        header[1] |= ecn;
    dk_buf_get(buf); /* the caller's */
    end(context);
}

/* What is wrong with a fragment by itself: the counter, or NULL. */
static uint64_t *refusal(struct dk_net *net, const struct dk_fragment *f)
{
    if (f->len == 0)
        return &net->stats.frag_empty;
    if (f->protocol == DK_IP_TCP &&
        ((f->offset == 0 && f->len < TCP_FIRST_MIN) || f->offset == 8)) /* RFC 1858, 3128 */
        return &net->stats.frag_tiny;
    if (f->header_len > HEADER_ROOM)
        return &net->stats.frag_header;
    const uint32_t header = f->src.version == 4 ? f->header_len : f->header_len - DK_IP6_HEADER_LEN;
    if (f->offset + f->len > PAYLOAD_MAX - header)
        return &net->stats.frag_too_long;
    return NULL;
}

bool dk_reass_add(struct dk_net *net, const struct dk_fragment *f, int64_t now,
                  struct dk_reassembled *whole_out)
{
    dk_net_count(&net->stats.frag_received);
    uint64_t *refused = refusal(net, f);
    if (refused) {
        dk_net_count(refused);
        return false;
    }
    struct context *context = context_for(net, f, now);
    const enum fit how = context->poisoned ? FIT_OVERLAP : fit(context, f);
    if (context->poisoned) {
        dk_net_count(&net->stats.frag_of_overlap);
    } else if (how == FIT_AGAIN) {
        dk_net_count(&net->stats.frag_duplicate);
    } else if (how == FIT_OVERLAP) {
        poison(context);
    } else if (context->fragments == FRAGMENTS_MAX || !grow(context, f->offset + f->len)) {
        dk_net_count(&net->stats.frag_limit);
        end(context);
    } else {
        put(context, f);
        if (context->total == 0 || context->bytes != context->total)
            return false;
        dk_net_count(&net->stats.frag_reassembled);
        finish(context, whole_out);
        return true;
    }
    return false;
}
