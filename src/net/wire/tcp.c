/* SPDX-License-Identifier: MIT */
#include "net/wire/tcp.h"

#include "base/bytes.h"
#include "base/compiler.h"

#define OPTION_END            0
#define OPTION_NOP            1
#define OPTION_MSS            2
#define OPTION_WINDOW_SCALE   3
#define OPTION_SACK_PERMITTED 4
#define OPTION_SACK           5
#define OPTION_TIMESTAMPS     8

/* What most segments carry, and nothing else: RFC 7323, appendix A. */
#define ONLY_TIMESTAMPS     0x0101080au
#define ONLY_TIMESTAMPS_LEN 12
#define OPTIONS_MAX         (DK_TCP_HEADER_MAX - DK_TCP_HEADER_LEN)

static void read_mss(const uint8_t *at, struct dk_tcp_options *options)
{
    options->has |= DK_TCP_HAS_MSS;
    options->mss = dk_get_be16(at + 2);
}

static void read_window_scale(const uint8_t *at, struct dk_tcp_options *options)
{
    options->has |= DK_TCP_HAS_WINDOW_SCALE;
    options->window_scale = at[2] < DK_TCP_WINDOW_SCALE_MAX ? at[2] : DK_TCP_WINDOW_SCALE_MAX;
    if (at[2] > DK_TCP_WINDOW_SCALE_MAX)
        options->has |= DK_TCP_HAS_LARGE_SCALE;
}

static void read_sack_permitted(const uint8_t *at, struct dk_tcp_options *options)
{
    (void)at;
    options->has |= DK_TCP_HAS_SACK_PERMITTED;
}

static void read_timestamps(const uint8_t *at, struct dk_tcp_options *options)
{
    options->has |= DK_TCP_HAS_TIMESTAMPS;
    options->ts_val = dk_get_be32(at + 2);
    options->ts_ecr = dk_get_be32(at + 6);
}

static void read_sacks(const uint8_t *at, struct dk_tcp_options *options)
{
    options->num_sacks = (uint8_t)((at[1] - 2) / 8);
    at += 2;
    for (uint8_t i = 0; i < options->num_sacks; i++, at += 8)
        options->sacks[i] = (struct dk_tcp_sack){dk_get_be32(at), dk_get_be32(at + 4)};
}

/* What is known: the length is from `least` to `most`, in steps of 8. */
static const struct option {
    uint8_t least, most;
    void (*read)(const uint8_t *at, struct dk_tcp_options *options);
} OPTIONS[] = {
    [OPTION_MSS] = {4, 4, read_mss},
    [OPTION_WINDOW_SCALE] = {3, 3, read_window_scale},
    [OPTION_SACK_PERMITTED] = {2, 2, read_sack_permitted},
    [OPTION_SACK] = {2 + 8, 2 + 8 * DK_TCP_SACKS_MAX, read_sacks},
    [OPTION_TIMESTAMPS] = {10, 10, read_timestamps},
};

static void read_option(const uint8_t *at, struct dk_tcp_options *options)
{
    if (at[0] >= sizeof(OPTIONS) / sizeof(OPTIONS[0]) || OPTIONS[at[0]].read == NULL)
        return;
    const struct option *known = &OPTIONS[at[0]];
    if (at[1] >= known->least && at[1] <= known->most && (at[1] - known->least) % 8 == 0)
        known->read(at, options);
    else
        options->has |= DK_TCP_HAS_BAD_SIZE;
}

static enum dk_wire read_options(const uint8_t *at, size_t len, struct dk_tcp_options *options)
{
    const uint8_t *end = at + len;
    if (dk_likely(len == ONLY_TIMESTAMPS_LEN && dk_get_be32(at) == ONLY_TIMESTAMPS)) {
        read_timestamps(at + 2, options);
        return DK_WIRE_OK;
    }
    while (at < end && *at != OPTION_END) {
        if (*at == OPTION_NOP) {
            at++;
            continue;
        }
        if (end - at < 2 || at[1] < 2 || at[1] > end - at)
            return DK_WIRE_TCP_OPTION;
        read_option(at, options);
        at += at[1];
    }
    return DK_WIRE_OK;
}

static void read_header(const uint8_t *bytes, struct dk_tcp_header *header)
{
    header->src_port = dk_get_be16(bytes);
    header->dst_port = dk_get_be16(bytes + 2);
    header->seq = dk_get_be32(bytes + 4);
    header->ack = dk_get_be32(bytes + 8);
    header->header_len = (uint8_t)((bytes[12] >> 4) * 4);
    header->flags = bytes[13];
    header->window = dk_get_be16(bytes + 14);
    header->checksum = dk_get_be16(bytes + DK_TCP_CHECKSUM_OFFSET);
    header->urgent = dk_get_be16(bytes + 18);
    header->options = (struct dk_tcp_options){0};
}

enum dk_wire dk_tcp_header_parse(const uint8_t *bytes, size_t len, struct dk_tcp_header *header_out)
{
    struct dk_tcp_header header;
    if (dk_unlikely(len < DK_TCP_HEADER_LEN))
        return DK_WIRE_TCP_SHORT;
    read_header(bytes, &header);
    if (dk_unlikely(header.header_len < DK_TCP_HEADER_LEN || header.header_len > len))
        return DK_WIRE_TCP_OFFSET;
    if (dk_unlikely(header.src_port == 0 || header.dst_port == 0))
        return DK_WIRE_TCP_PORT;
    enum dk_wire reason = read_options(bytes + DK_TCP_HEADER_LEN,
                                       header.header_len - DK_TCP_HEADER_LEN, &header.options);
    if (reason == DK_WIRE_OK)
        *header_out = header;
    return reason;
}

/* Bytes without SACK blocks; those of each kind are of fours, no-operations included. */
static size_t fixed_options_len(const struct dk_tcp_options *options)
{
    size_t len = 0;
    if (options->has & DK_TCP_HAS_MSS)
        len += 4;
    if (options->has & DK_TCP_HAS_TIMESTAMPS)
        len += 12; /* "SACK permitted" in place of the no-operations */
    else if (options->has & DK_TCP_HAS_SACK_PERMITTED)
        len += 4;
    if (options->has & DK_TCP_HAS_WINDOW_SCALE)
        len += 4;
    return len;
}

static uint8_t sacks_that_fit(const struct dk_tcp_options *options, size_t len)
{
    size_t room = len + 4 <= OPTIONS_MAX ? (OPTIONS_MAX - len - 4) / 8 : 0;
    return options->num_sacks < room ? options->num_sacks : (uint8_t)room;
}

size_t dk_tcp_options_len(const struct dk_tcp_options *options)
{
    size_t len = fixed_options_len(options);
    size_t sacks = sacks_that_fit(options, len);
    return sacks == 0 ? len : len + 4 + 8 * sacks;
}

static uint8_t *put_timestamps(const struct dk_tcp_options *options, uint8_t *at)
{
    bool sack_permitted = (options->has & DK_TCP_HAS_SACK_PERMITTED) != 0;
    at[0] = sack_permitted ? OPTION_SACK_PERMITTED : OPTION_NOP;
    at[1] = sack_permitted ? 2 : OPTION_NOP;
    at[2] = OPTION_TIMESTAMPS;
    at[3] = 10;
    dk_put_be32(at + 4, options->ts_val);
    dk_put_be32(at + 8, options->ts_ecr);
    return at + 12;
}

static uint8_t *put_sacks(const struct dk_tcp_options *options, uint8_t *at, uint8_t n)
{
    at[0] = at[1] = OPTION_NOP;
    at[2] = OPTION_SACK;
    at[3] = (uint8_t)(2 + 8 * n);
    at += 4;
    for (uint8_t i = 0; i < n; i++, at += 8) {
        dk_put_be32(at, options->sacks[i].start);
        dk_put_be32(at + 4, options->sacks[i].end);
    }
    return at;
}

/* Writes the options that have a bit; returns where they end. */
static uint8_t *put_fixed_options(const struct dk_tcp_options *options, uint8_t *at)
{
    if (options->has & DK_TCP_HAS_MSS) {
        at[0] = OPTION_MSS;
        at[1] = 4;
        dk_put_be16(at + 2, options->mss);
        at += 4;
    }
    if (options->has & DK_TCP_HAS_TIMESTAMPS) {
        at = put_timestamps(options, at);
    } else if (options->has & DK_TCP_HAS_SACK_PERMITTED) {
        memcpy(at, (const uint8_t[]){OPTION_NOP, OPTION_NOP, OPTION_SACK_PERMITTED, 2}, 4);
        at += 4;
    }
    if (options->has & DK_TCP_HAS_WINDOW_SCALE) {
        memcpy(at, (const uint8_t[]){OPTION_NOP, OPTION_WINDOW_SCALE, 3, options->window_scale}, 4);
        at += 4;
    }
    return at;
}

size_t dk_tcp_header_emit(const struct dk_tcp_header *header, uint8_t *bytes)
{
    const struct dk_tcp_options *options = &header->options;
    uint8_t *end = put_fixed_options(options, bytes + DK_TCP_HEADER_LEN);
    uint8_t sacks = sacks_that_fit(options, (size_t)(end - bytes) - DK_TCP_HEADER_LEN);
    if (sacks > 0)
        end = put_sacks(options, end, sacks);
    size_t len = (size_t)(end - bytes);
    dk_put_be16(bytes, header->src_port);
    dk_put_be16(bytes + 2, header->dst_port);
    dk_put_be32(bytes + 4, header->seq);
    dk_put_be32(bytes + 8, header->ack);
    bytes[12] = (uint8_t)(len / 4 << 4);
    bytes[13] = header->flags;
    dk_put_be16(bytes + 14, header->window);
    dk_put_be16(bytes + DK_TCP_CHECKSUM_OFFSET, header->checksum);
    dk_put_be16(bytes + 18, header->urgent);
    return len;
}

static void print_flags(struct dk_text *text, uint8_t flags)
{
    static const char letters[] = "FSRP.UEW"; /* as tcpdump has them */
    dk_text_add(text, " [");
    for (unsigned i = 0; i < 8; i++)
        if (flags & 1u << i)
            dk_text_add(text, "%c", letters[i]);
    dk_text_add(text, flags == 0 ? "none]" : "]");
}

static void print_options(struct dk_text *text, const struct dk_tcp_options *options)
{
    if (options->has & DK_TCP_HAS_MSS)
        dk_text_add(text, ", mss %u", options->mss);
    if (options->has & DK_TCP_HAS_WINDOW_SCALE)
        dk_text_add(text, ", wscale %u", options->window_scale);
    if (options->has & DK_TCP_HAS_SACK_PERMITTED)
        dk_text_add(text, ", sackOK");
    if (options->has & DK_TCP_HAS_TIMESTAMPS)
        dk_text_add(text, ", TS val %u ecr %u", options->ts_val, options->ts_ecr);
    for (uint8_t i = 0; i < options->num_sacks; i++)
        dk_text_add(text, "%s{%u:%u}", i == 0 ? ", sack " : "", options->sacks[i].start,
                    options->sacks[i].end);
    if (options->has & DK_TCP_HAS_BAD_SIZE)
        dk_text_add(text, ", option of bad size");
}

void dk_tcp_header_print(struct dk_text *text, const struct dk_tcp_header *header,
                         size_t payload_len)
{
    dk_text_add(text, "TCP %u > %u", header->src_port, header->dst_port);
    print_flags(text, header->flags);
    dk_text_add(text, ", seq %u", header->seq);
    if (payload_len > 0)
        dk_text_add(text, ":%u", header->seq + (uint32_t)payload_len);
    if (header->flags & DK_TCP_ACK)
        dk_text_add(text, ", ack %u", header->ack);
    dk_text_add(text, ", win %u", header->window);
    if (header->flags & DK_TCP_URG)
        dk_text_add(text, ", urg %u", header->urgent);
    print_options(text, &header->options);
    dk_text_add(text, ", length %zu", payload_len);
}
