/* SPDX-License-Identifier: MIT */
/*
 * Which frames of a burst are a group (gro.h): data segments with the options that most have,
 * timestamps alone or none, of which each differs from the one before in nothing but its length,
 * its IPv4 identification, its checksums, PSH, a timestamp that is not older, and a sequence number
 * that is the next. A change of anything else ends the group: addresses, ports, ECN, TTL, options,
 * the acknowledgement, the window, a flag.
 *
 * Groups change nothing but the work. The first segment goes the way of every packet. IP judges by
 * what all have in common, so what it let pass of the first holds for all. With timestamps TCP
 * takes the others only where the first was as header prediction expects, and checks of each what
 * is its own (rx_predict.c); without, it checks all (rx.c). Any that it does not take comes as if
 * there were no groups.
 */
#include "net/gro.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/ip_in.h"
#include "net/tcp/header.h"
#include "net/wire/ethernet.h"
#include "net/wire/ipv4.h"
#include "net/wire/ipv6.h"

#define WORDS_MAX 9

/* The headers of IP and TCP, of one family, with timestamps or without options. Words are compared
 * where their mask has bits; the last one is the last of the header, wherever it begins. */
struct form {
    uint8_t ip_len;
    uint8_t tcp_len;
    uint8_t length_at;
    uint8_t length_beyond; /* what the length does not count */
    uint8_t num_words;
    uint8_t masks[WORDS_MAX][8];
};

static const struct form ip4_form = {
    .ip_len = DK_IP4_HEADER_LEN,
    .tcp_len = DK_TCP_USUAL_LEN,
    .length_at = 2,
    .num_words = 7,
    .masks = {{255, 255, 0, 0, 0, 0, 255, 255},     /* version, TOS, place of a fragment */
              {255, 255, 0, 0, 255, 255, 255, 255}, /* TTL, protocol, source */
              {255, 255, 255, 255, 255, 255, 255, 255},
              {0, 0, 0, 0, 255, 255, 255, 255},                    /* acknowledgement */
              {255, 0xff & ~DK_TCP_PSH, 255, 255, 0, 0, 255, 255}, /* flags, window, URG's */
              {255, 255, 255, 255, 0, 0, 0, 0},                    /* kind of the option */
              {0, 0, 0, 0, 255, 255, 255, 255}},                   /* the echo */
};

static const struct form ip4_bare_form = {
    .ip_len = DK_IP4_HEADER_LEN,
    .tcp_len = DK_TCP_HEADER_LEN,
    .length_at = 2,
    .num_words = 5,
    .masks = {{255, 255, 0, 0, 0, 0, 255, 255},     /* version, TOS, place of a fragment */
              {255, 255, 0, 0, 255, 255, 255, 255}, /* TTL, protocol, source */
              {255, 255, 255, 255, 255, 255, 255, 255},
              {0, 0, 0, 0, 255, 255, 255, 255},                     /* acknowledgement */
              {255, 0xff & ~DK_TCP_PSH, 255, 255, 0, 0, 255, 255}}, /* flags, window, URG's */
};

static const struct form ip6_form = {
    .ip_len = DK_IP6_HEADER_LEN,
    .tcp_len = DK_TCP_USUAL_LEN,
    .length_at = 4,
    .length_beyond = DK_IP6_HEADER_LEN,
    .num_words = 9,
    .masks = {{255, 255, 255, 255, 0, 0, 255, 255}, /* class, label, protocol, hop limit */
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 0, 0, 0, 0},                        /* ports */
              {255, 255, 255, 255, 255, 0xff & ~DK_TCP_PSH, 255, 255}, /* ACK, flags, window */
              {0, 0, 255, 255, 255, 255, 255, 255}, /* urgent pointer, kind of the option */
              {0, 0, 0, 0, 255, 255, 255, 255}},    /* the echo */
};

static const struct form ip6_bare_form = {
    .ip_len = DK_IP6_HEADER_LEN,
    .tcp_len = DK_TCP_HEADER_LEN,
    .length_at = 4,
    .length_beyond = DK_IP6_HEADER_LEN,
    .num_words = 8,
    .masks = {{255, 255, 255, 255, 0, 0, 255, 255}, /* class, label, protocol, hop limit */
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 255, 255, 255, 255},
              {255, 255, 255, 255, 0, 0, 0, 0},                        /* ports */
              {255, 255, 255, 255, 255, 0xff & ~DK_TCP_PSH, 255, 255}, /* ACK, flags, window */
              {255, 0xff & ~DK_TCP_PSH, 255, 255, 0, 0, 255, 255}},    /* flags, window, URG's */
};

/* What a frame of a group is compared with. */
struct last {
    const uint8_t *link; /* its headers */
    const uint8_t *ip;
    uint32_t link_len;
    uint32_t seq_next;
};

static inline uint64_t differences(const uint8_t *a, const uint8_t *b)
{
    return dk_get_u64(a) ^ dk_get_u64(b);
}

/* Of Ethernet headers, with or without a tag. */
static inline bool is_same_link(const struct last *last, const uint8_t *link)
{
    const uint32_t end = last->link_len - 8;
    return (differences(last->link, link) | differences(last->link + 6, link + 6) |
            differences(last->link + end, link + end)) == 0;
}

__attribute__((always_inline)) static inline bool
is_same_flow(const struct form *form, const struct last *last, const uint8_t *ip)
{
    const uint32_t words = form->num_words - 1u;
    const uint32_t end = form->ip_len + form->tcp_len - 8u;
    uint64_t found = differences(last->ip + end, ip + end) & dk_get_u64(form->masks[words]);
#pragma GCC unroll 8
    for (uint32_t i = 0; i < words; i++)
        found |=
            differences(last->ip + (size_t)8 * i, ip + (size_t)8 * i) & dk_get_u64(form->masks[i]);
    return found == 0;
}

/* Describes the segment of a frame whose headers are there: false, if its length is not one that a
 * segment with data has. */
static inline bool describe(const struct form *form, const struct dk_rx_frame *frame,
                            const uint8_t *ip, struct dk_gro_segment *out)
{
    const uint32_t room = frame->len - (uint32_t)(ip - frame->data);
    const uint32_t bytes = (uint32_t)dk_get_be16(ip + form->length_at) + form->length_beyond;
    if (bytes <= (uint32_t)form->ip_len + form->tcp_len || bytes > room)
        return false;
    *out = (struct dk_gro_segment){
        .buf = frame->buf,
        .data = frame->data + (ip - frame->data) + form->ip_len,
        .len = bytes - form->ip_len,
        .checksum = frame->checksum,
    };
    return true;
}

/* Notes that a segment is the last of its group so far. */
static inline void is_last(const struct form *form, struct last *last, const uint8_t *link,
                           const struct dk_gro_segment *segment)
{
    last->link = link;
    last->ip = link + last->link_len;
    last->seq_next = dk_get_be32(segment->data + 4) + segment->len - form->tcp_len;
}

/* The form for the options of a segment; NULL: it has others. At least DK_TCP_USUAL_LEN bytes are
 * there. */
static inline const struct form *form_of(bool is_ip4, const uint8_t *tcp)
{
    switch (tcp[12] >> 4) {
    case DK_TCP_USUAL_LEN / 4:
        if (dk_get_be32(tcp + 20) != DK_TCP_TS_PREFIX)
            return NULL;
        return is_ip4 ? &ip4_form : &ip6_form;
    case DK_TCP_HEADER_LEN / 4:
        return is_ip4 ? &ip4_bare_form : &ip6_bare_form;
    default:
        return NULL;
    }
}

/* The form of what a group may begin with, or NULL: only what makes it one that others can be
 * compared with. The rest is found out on its way. */
static inline const struct form *begins(const struct dk_net *net, const struct dk_rx_frame *frame,
                                        struct last *last)
{
    struct dk_gro_segment segment;
    const uint32_t link_len = net->config.vlan ? DK_ETH_HEADER_MAX : DK_ETH_HEADER_LEN;
    const uint8_t *ip = frame->data + link_len;
    const struct form *form = NULL;
    if (frame->len < link_len + DK_IP4_HEADER_LEN + DK_TCP_USUAL_LEN)
        return NULL;
    if (ip[0] == 0x45 && ip[9] == DK_IP_TCP)
        form = form_of(true, ip + DK_IP4_HEADER_LEN);
    else if (ip[0] >> 4 == 6 && ip[6] == DK_IP_TCP &&
             frame->len >= link_len + DK_IP6_HEADER_LEN + DK_TCP_USUAL_LEN)
        form = form_of(false, ip + DK_IP6_HEADER_LEN);
    if (!form || !describe(form, frame, ip, &segment))
        return NULL;
    last->link_len = link_len;
    is_last(form, last, frame->data, &segment);
    return form;
}

/* The sum of IPv4's header. */
static inline bool is_header_good(const struct form *form, const uint8_t *ip)
{
    return form->ip_len != DK_IP4_HEADER_LEN || dk_checksum_words_good(dk_checksum_words_20(ip));
}

/* Whether a segment's number is the next, and its timestamp, if there is one, not older. */
__attribute__((always_inline)) static inline bool
is_next(const struct form *form, const struct last *last, const uint8_t *tcp)
{
    if (dk_get_be32(tcp + 4) != last->seq_next)
        return false;
    return form->tcp_len == DK_TCP_HEADER_LEN ||
           (int32_t)(dk_get_be32(tcp + 24) - dk_get_be32(last->ip + form->ip_len + 24)) >= 0;
}

/* Whether a frame is the next of the group; for a form that the compiler knows. */
__attribute__((always_inline)) static inline bool follows(const struct form *form,
                                                          struct last *last,
                                                          const struct dk_rx_frame *frame,
                                                          struct dk_gro_segment *out)
{
    const uint8_t *ip = frame->data + last->link_len;
    if (frame->len < last->link_len + form->ip_len + form->tcp_len ||
        !is_same_link(last, frame->data) || !is_same_flow(form, last, ip) ||
        !describe(form, frame, ip, out) || !is_header_good(form, ip) ||
        !is_next(form, last, out->data))
        return false;
    is_last(form, last, frame->data, out);
    return true;
}

__attribute__((always_inline)) static inline uint32_t
collect(const struct form *form, struct last *last, const struct dk_rx_frame frames[], uint32_t n,
        struct dk_gro_segment segments_out[DK_GRO_MAX])
{
    uint32_t num = 0;
    while (num < n && num < DK_GRO_MAX && follows(form, last, &frames[num], &segments_out[num]))
        num++;
    return num;
}

/* The frames behind the first that are of its group; returns how many. */
static uint32_t find_group(const struct dk_net *net, const struct dk_rx_frame frames[], uint32_t n,
                           struct dk_gro_segment segments_out[DK_GRO_MAX])
{
    struct last last;
    const struct form *form = begins(net, frames, &last);
    if (!form)
        return 0;
    if (form == &ip4_form)
        return collect(&ip4_form, &last, frames + 1, n - 1, segments_out);
    if (form == &ip6_form)
        return collect(&ip6_form, &last, frames + 1, n - 1, segments_out);
    return collect(form, &last, frames + 1, n - 1, segments_out); /* most have timestamps */
}

/* Whatever TCP leaves of a group comes one by one: were it looked at for groups again, a peer could
 * have each frame compared with all before it. */
static void input_group(struct dk_net *net, struct dk_rx_frame frames[], uint32_t num,
                        const struct dk_gro_segment segments[], int64_t now)
{
    net->gro = (struct dk_gro){.segments = segments, .num = num};
    dk_net_input(net, frames, now);
    const uint32_t taken = net->gro.taken;
    net->gro.num = 0;
    dk_count(&net->stats.link_rx, taken);
    dk_count(&net->stats.gro_frames, taken);
    for (uint32_t i = taken; i < num; i++)
        dk_net_input(net, &frames[i + 1], now);
}

uint32_t dk_net_input_group(struct dk_net *net, struct dk_rx_frame frames[], uint32_t n,
                            int64_t now)
{
    struct dk_gro_segment segments[DK_GRO_MAX];
    const uint32_t num = net->config.gro ? find_group(net, frames, n, segments) : 0;
    if (num > 0)
        input_group(net, frames, num, segments, now);
    else
        dk_net_input(net, frames, now);
    return num + 1;
}
