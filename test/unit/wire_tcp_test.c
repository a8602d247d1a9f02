/* SPDX-License-Identifier: MIT */
/* The TCP header: options as they come and as they go. */
#include "wire_kit.h"

#include "net/wire/tcp.h"

/* A SYN as Linux sends it: mss 1460, sackOK, timestamps, nop, wscale 7. */
static const uint8_t SYN[40] = {0x9c, 0x40, 0,    80,   0x12, 0x34, 0x56, 0x78, 0,    0,
                                0,    0,    0xa0, 0x02, 0xfa, 0xf0, 0xab, 0xcd, 0,    0,
                                2,    4,    0x05, 0xb4, 4,    2,    8,    10,   0x11, 0x22,
                                0x33, 0x44, 0,    0,    0,    0,    1,    3,    3,    7};

/* Parses a header with these options, padded with zeros to a multiple of four. */
static enum dk_wire parse_options(const uint8_t *options, size_t len, struct dk_tcp_header *tcp)
{
    uint8_t bytes[DK_TCP_HEADER_MAX] = {0};
    size_t header_len = 20 + (len + 3) / 4 * 4;
    memcpy(bytes, SYN, 20);
    bytes[12] = (uint8_t)(header_len / 4 << 4);
    if (len > 0)
        memcpy(bytes + 20, options, len);
    uint8_t *block = exact(bytes, header_len);
    enum dk_wire reason = dk_tcp_header_parse(block, header_len, tcp);
    free_exact(block);
    return reason;
}

static void test_tcp_syn_is_read_and_written_as_it_was(void **state)
{
    (void)state;
    struct dk_tcp_header tcp;
    uint8_t bytes[DK_TCP_HEADER_MAX];
    must_be(dk_tcp_header_parse(SYN, sizeof(SYN), &tcp), DK_WIRE_OK);
    assert_int_equal(tcp.src_port, 40000);
    assert_int_equal(tcp.dst_port, 80);
    assert_int_equal(tcp.seq, 0x12345678);
    assert_int_equal(tcp.ack, 0);
    assert_int_equal(tcp.flags, DK_TCP_SYN);
    assert_int_equal(tcp.header_len, 40);
    assert_int_equal(tcp.window, 64240);
    assert_int_equal(tcp.checksum, 0xabcd);
    assert_int_equal(tcp.urgent, 0);
    assert_int_equal(tcp.options.has, DK_TCP_HAS_MSS | DK_TCP_HAS_WINDOW_SCALE |
                                          DK_TCP_HAS_TIMESTAMPS | DK_TCP_HAS_SACK_PERMITTED);
    assert_int_equal(tcp.options.mss, 1460);
    assert_int_equal(tcp.options.window_scale, 7);
    assert_int_equal(tcp.options.ts_val, 0x11223344);
    assert_int_equal(tcp.options.ts_ecr, 0);
    assert_int_equal(dk_tcp_header_emit(&tcp, bytes), 40);
    assert_memory_equal(bytes, SYN, 40);
}

static void test_tcp_header_cut_anywhere_is_named(void **state)
{
    (void)state;
    struct dk_tcp_header tcp;
    for (size_t len = 0; len < sizeof(SYN); len++) {
        uint8_t *cut = exact(SYN, len);
        must_be(dk_tcp_header_parse(cut, len, &tcp),
                len < 20 ? DK_WIRE_TCP_SHORT : DK_WIRE_TCP_OFFSET);
        free_exact(cut);
    }
    uint8_t bytes[40];
    memcpy(bytes, SYN, 40);
    for (uint8_t words = 0; words < 16; words++) {
        bytes[12] = (uint8_t)(words << 4);
        if (words < 5 || words > 10)
            must_be(dk_tcp_header_parse(bytes, 40, &tcp), DK_WIRE_TCP_OFFSET);
    }
}

static void test_tcp_port_0_is_named(void **state)
{
    (void)state;
    struct dk_tcp_header tcp;
    uint8_t bytes[40];
    memcpy(bytes, SYN, 40);
    bytes[3] = 0;
    must_be(dk_tcp_header_parse(bytes, 40, &tcp), DK_WIRE_TCP_PORT);
    bytes[3] = 80;
    bytes[0] = bytes[1] = 0;
    must_be(dk_tcp_header_parse(bytes, 40, &tcp), DK_WIRE_TCP_PORT);
}

/* RFC 9293, MUST-7: lengths that cannot be. */
static void test_tcp_option_of_impossible_length_is_malformed(void **state)
{
    (void)state;
    static const uint8_t cases[][8] = {
        {2, 0, 1, 1},  {2, 1, 1, 1},     {2, 5, 1, 1},           {99, 0},
        {1, 1, 1, 2},  {1, 1, 8, 10, 0}, {1, 1, 1, 1, 99, 200},  {1, 1, 1, 1, 1, 1, 1, 99},
        {5, 10, 0, 0}, {253, 1, 0, 0},   {3, 3, 7, 99, 6, 1, 1}, {1, 1, 1, 1, 3, 3, 1, 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dk_tcp_header tcp = {.seq = 1};
        size_t len = cases[i][4] != 0 ? 8 : 4;
        must_be(parse_options(cases[i], len, &tcp), DK_WIRE_TCP_OPTION);
        assert_int_equal(tcp.seq, 1); /* left alone */
    }
}

/* RFC 9293, MUST-6; behind an end of options nothing counts. */
static void test_tcp_unknown_options_are_passed_over_by_their_length(void **state)
{
    (void)state;
    static const uint8_t options[] = {99, 2, 253, 6, 0xf9, 0x89, 2, 4, 30, 7, 0, 0,
                                      1,  2, 4,   2, 0,    0,    0, 2, 0,  0, 0, 0};
    struct dk_tcp_header tcp;
    must_be(parse_options(options, sizeof(options), &tcp), DK_WIRE_TCP_OPTION);
    must_be(parse_options(options, 8, &tcp), DK_WIRE_OK);
    assert_int_equal(tcp.options.has, 0);
    static const uint8_t before[] = {99, 5, 2, 4, 1, 2, 4, 1, 2, 0, 3, 3, 9, 99, 0, 77};
    must_be(parse_options(before, sizeof(before), &tcp), DK_WIRE_OK);
    assert_int_equal(tcp.options.has, DK_TCP_HAS_MSS);
    assert_int_equal(tcp.options.mss, 258);
}

static void test_tcp_known_option_of_another_length_is_ignored_and_noted(void **state)
{
    (void)state;
    static const uint8_t cases[][8] = {
        {2, 3, 9, 1},
        {2, 5, 9, 9, 9, 1, 1, 1},
        {3, 2, 1, 1},
        {3, 4, 7, 7},
        {4, 3, 0, 1},
        {5, 2, 1, 1},
        {5, 6, 1, 2, 3, 4, 1, 1},
        {8, 6, 1, 2, 3, 4, 1, 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dk_tcp_header tcp;
        must_be(parse_options(cases[i], cases[i][4] != 0 ? 8 : 4, &tcp), DK_WIRE_OK);
        assert_int_equal(tcp.options.has, DK_TCP_HAS_BAD_SIZE);
        assert_int_equal(tcp.options.num_sacks, 0);
        assert_int_equal(tcp.options.mss, 0);
    }
}

/* RFC 7323, section 2.3: above 14 is 14. */
static void test_tcp_window_scale_above_14_is_14(void **state)
{
    (void)state;
    struct dk_tcp_header tcp;
    for (unsigned shift = 0; shift < 256; shift++) {
        const uint8_t options[] = {3, 3, (uint8_t)shift, 0};
        must_be(parse_options(options, 4, &tcp), DK_WIRE_OK);
        assert_int_equal(tcp.options.has,
                         DK_TCP_HAS_WINDOW_SCALE | (shift > 14 ? DK_TCP_HAS_LARGE_SCALE : 0));
        assert_int_equal(tcp.options.window_scale, shift < 14 ? shift : 14);
    }
}

/* RFC 7323, appendix A; and the same option where it is not expected. */
static void test_tcp_timestamps_are_read_wherever_they_stand(void **state)
{
    (void)state;
    static const uint8_t usual[] = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    static const uint8_t first[] = {8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1};
    static const uint8_t twice[] = {8, 10, 9, 9, 9, 9, 9, 9, 9, 9, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } cases[] = {{usual, sizeof(usual)}, {first, sizeof(first)}, {twice, sizeof(twice)}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dk_tcp_header tcp;
        must_be(parse_options(cases[i].bytes, cases[i].len, &tcp), DK_WIRE_OK);
        assert_int_equal(tcp.options.has, DK_TCP_HAS_TIMESTAMPS);
        assert_int_equal(tcp.options.ts_val, 0x01020304);
        assert_int_equal(tcp.options.ts_ecr, 0x05060708);
    }
}

/* RFC 2018, section 3; four blocks without timestamps, three with them. */
static void test_tcp_sack_blocks_are_read_and_as_many_written_as_fit(void **state)
{
    (void)state;
    struct dk_tcp_header tcp = {.src_port = 1, .dst_port = 2, .flags = DK_TCP_ACK}, again;
    uint8_t bytes[DK_TCP_HEADER_MAX];
    for (uint8_t n = 0; n <= DK_TCP_SACKS_MAX; n++) {
        for (int timestamps = 0; timestamps < 2; timestamps++) {
            uint8_t fits = timestamps && n > 3 ? 3 : n;
            tcp.options = (struct dk_tcp_options){.num_sacks = n};
            tcp.options.has = timestamps ? DK_TCP_HAS_TIMESTAMPS : 0;
            for (uint8_t i = 0; i < n; i++)
                tcp.options.sacks[i] = (struct dk_tcp_sack){100u * i, 100u * i + 50};
            size_t len = dk_tcp_header_emit(&tcp, bytes);
            assert_int_equal(len, 20u + (timestamps ? 12u : 0u) + (fits ? 4u + 8u * fits : 0u));
            assert_int_equal(dk_tcp_options_len(&tcp.options), len - 20);
            must_be(dk_tcp_header_parse(bytes, len, &again), DK_WIRE_OK);
            assert_int_equal(again.options.num_sacks, fits);
            assert_memory_equal(again.options.sacks, tcp.options.sacks,
                                fits * sizeof(tcp.options.sacks[0]));
        }
    }
}

/* Every set of options makes a header of fours that reads as what was written. */
static void test_tcp_every_set_of_options_comes_back(void **state)
{
    (void)state;
    for (uint8_t has = 0; has < 16; has++) {
        struct dk_tcp_header again, tcp = {.src_port = 1, .dst_port = 2, .options.has = has};
        uint8_t bytes[DK_TCP_HEADER_MAX];
        tcp.options.mss = has & DK_TCP_HAS_MSS ? 536 : 0;
        tcp.options.window_scale = has & DK_TCP_HAS_WINDOW_SCALE ? 14 : 0;
        tcp.options.ts_val = has & DK_TCP_HAS_TIMESTAMPS ? 0xfffffffe : 0;
        tcp.options.ts_ecr = has & DK_TCP_HAS_TIMESTAMPS ? 7 : 0;
        size_t len = dk_tcp_header_emit(&tcp, bytes);
        assert_int_equal(len % 4, 0);
        assert_int_equal(dk_tcp_options_len(&tcp.options), len - 20);
        must_be(dk_tcp_header_parse(bytes, len, &again), DK_WIRE_OK);
        assert_int_equal(again.header_len, len);
        assert_memory_equal(&again.options, &tcp.options, sizeof(tcp.options));
    }
}

static void test_tcp_print_is_one_line(void **state)
{
    (void)state;
    char buffer[300];
    struct dk_tcp_header tcp;
    struct dk_text text = DK_TEXT(buffer);
    must_be(dk_tcp_header_parse(SYN, sizeof(SYN), &tcp), DK_WIRE_OK);
    dk_tcp_header_print(&text, &tcp, 0);
    must_print(&text, "TCP 40000 > 80 [S], seq 305419896, win 64240, mss 1460, wscale 7, sackOK, "
                      "TS val 287454020 ecr 0, length 0");
    tcp = (struct dk_tcp_header){.src_port = 1,
                                 .dst_port = 2,
                                 .seq = 0xffffffff,
                                 .ack = 9,
                                 .flags = DK_TCP_ACK | DK_TCP_PSH,
                                 .options = {.num_sacks = 2, .sacks = {{1, 2}, {5, 8}}}};
    text = DK_TEXT(buffer);
    dk_tcp_header_print(&text, &tcp, 3);
    must_print(&text, "TCP 1 > 2 [P.], seq 4294967295:2, ack 9, win 0, sack {1:2}{5:8}, length 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_syn_is_read_and_written_as_it_was),
        cmocka_unit_test(test_tcp_header_cut_anywhere_is_named),
        cmocka_unit_test(test_tcp_port_0_is_named),
        cmocka_unit_test(test_tcp_option_of_impossible_length_is_malformed),
        cmocka_unit_test(test_tcp_unknown_options_are_passed_over_by_their_length),
        cmocka_unit_test(test_tcp_known_option_of_another_length_is_ignored_and_noted),
        cmocka_unit_test(test_tcp_window_scale_above_14_is_14),
        cmocka_unit_test(test_tcp_timestamps_are_read_wherever_they_stand),
        cmocka_unit_test(test_tcp_sack_blocks_are_read_and_as_many_written_as_fit),
        cmocka_unit_test(test_tcp_every_set_of_options_comes_back),
        cmocka_unit_test(test_tcp_print_is_one_line),
    };
    return cmocka_run_group_tests_name("wire-tcp", tests, NULL, NULL);
}
