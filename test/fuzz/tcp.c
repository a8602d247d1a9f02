/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "net/wire/tcp.h"

static void check_options(const struct dk_tcp_options *a, const struct dk_tcp_options *b)
{
    FUZZ_CHECK((a->has & ~(DK_TCP_HAS_BAD_SIZE | DK_TCP_HAS_LARGE_SCALE)) == b->has);
    FUZZ_CHECK(a->mss == b->mss && a->window_scale == b->window_scale);
    FUZZ_CHECK(a->ts_val == b->ts_val && a->ts_ecr == b->ts_ecr);
    FUZZ_CHECK(a->window_scale <= DK_TCP_WINDOW_SCALE_MAX);
    FUZZ_CHECK(b->num_sacks <= a->num_sacks && a->num_sacks <= DK_TCP_SACKS_MAX);
    FUZZ_CHECK(memcmp(a->sacks, b->sacks, b->num_sacks * sizeof(a->sacks[0])) == 0);
}

static void check_equal(const struct dk_tcp_header *a, const struct dk_tcp_header *b)
{
    FUZZ_CHECK(a->src_port == b->src_port && a->dst_port == b->dst_port);
    FUZZ_CHECK(a->seq == b->seq && a->ack == b->ack && a->flags == b->flags);
    FUZZ_CHECK(a->window == b->window && a->checksum == b->checksum && a->urgent == b->urgent);
    check_options(&a->options, &b->options);
}

/* SACK blocks that came beside others in less padding than we write may find no room. */
static void check_sacks(const struct dk_tcp_options *a, const struct dk_tcp_options *b)
{
    size_t without = dk_tcp_options_len(&(struct dk_tcp_options){.has = a->has});
    FUZZ_CHECK(b->num_sacks == a->num_sacks || without + 4 + 8 * (b->num_sacks + 1u) > 40);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_tcp_header tcp, again;
    uint8_t written[DK_TCP_HEADER_MAX];
    char buffer[64];
    struct dk_text text = DK_TEXT(buffer);
    enum dk_wire reason = dk_tcp_header_parse(bytes, len, &tcp);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(tcp.header_len >= 20 && tcp.header_len <= len && tcp.header_len % 4 == 0);
    size_t written_len = dk_tcp_header_emit(&tcp, written);
    FUZZ_CHECK(written_len <= sizeof(written));
    FUZZ_CHECK(written_len == 20 + dk_tcp_options_len(&tcp.options));
    FUZZ_CHECK(dk_tcp_header_parse(written, written_len, &again) == DK_WIRE_OK);
    FUZZ_CHECK(again.header_len == written_len);
    check_equal(&tcp, &again);
    check_sacks(&tcp.options, &again.options);
    dk_tcp_header_print(&text, &tcp, len - tcp.header_len);
    fuzz_check_text(&text);
    return 0;
}
