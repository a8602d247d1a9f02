/* SPDX-License-Identifier: MIT */
/* demi_frame: elements of a byte stream, whatever pieces it comes in. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT (16u << 20) /* element_max by default */

/* A pair of ends, and frames over them; a memory queue has one end, and so one frame. */
struct framed {
    struct pair raw;
    int tx, rx;
};

static struct framed framed_make(const struct demi_framer *framer, void *arg)
{
    struct framed f = {.raw = pair_make()};
    must(demi_frame(&f.rx, f.raw.rx, framer, arg));
    f.tx = f.rx;
    if (f.raw.tx != f.raw.rx)
        must(demi_frame(&f.tx, f.raw.tx, framer, arg));
    return f;
}

static void framed_close(struct framed f)
{
    must(demi_close(f.rx));
    if (f.tx != f.rx)
        must(demi_close(f.tx));
    pair_close(f.raw);
}

static void push_raw(struct framed f, const void *bytes, size_t len)
{
    demi_sgarray_t sga = demi_sgaalloc((uint32_t)len);
    memcpy(sga.sga_segs[0].sgaseg_buf, bytes, len);
    push_all(f.raw.tx, &sga);
    must(demi_sgafree(&sga));
}

/* Drives the library without a result: what came was taken, and was not enough. */
static void must_stay(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    for (int i = 0; i < 20; i++)
        must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
}

static uint64_t counter(const char *name)
{
    uint64_t value = 0;
    must_hold(stat_value(name, &value), "no counter %s", name);
    return value;
}

/* Pushes raw bytes that are received as a piece of their own by the pop that waits. */
static void push_piece(struct framed f, demi_qtoken_t qt, const void *bytes, size_t len)
{
    const struct timespec ms = ms_time(1);
    const bool kernel = backend_can(CAN_FDS);
    const uint64_t before = kernel ? counter("kernel.receives") : 0;
    demi_qresult_t qr;
    push_raw(f, bytes, len);
    while (kernel && counter("kernel.receives") == before)
        must_fail(demi_wait(&qr, qt, &ms), ETIMEDOUT);
    must_stay(qt);
}

static void needs_stream(void)
{
    backend_needs(CAN_RELIABLE);
}

static void test_frame_elements_of_every_size_arrive_whole(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 3, 4, 5, 100, 4095, 16384, 65537, 300000, 4000000};
    needs_stream();
    struct framed f = framed_make(&demi_framer_u32, NULL);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        demi_sgarray_t sga = pattern_sga(sizes[i] ? sizes[i] : 1, i, 0);
        sga.sga_segs[0].sgaseg_len = sizes[i];
        demi_qtoken_t qt = push_start(f.tx, &sga);
        must(demi_sgafree(&sga));
        demi_sgarray_t popped = pop_one(f.rx);
        assert_int_equal(sga_bytes(&popped), sizes[i]);
        assert_in_range(popped.sga_numsegs, 1, 8);
        pattern_check_sga(&popped, i, 0);
        must(demi_sgafree(&popped));
        wait_success(qt, DEMI_OPC_PUSH);
    }
    framed_close(f);
}

static void check_segments(void *arg)
{
    struct framed f = framed_make(&demi_framer_sga, arg);
    uint64_t seed = seed_choose("frame segments");
    for (int round = 0; round < 40; round++) {
        uint32_t lens[8], n = 1 + random_below(&seed, 8);
        for (uint32_t i = 0; i < n; i++)
            lens[i] =
                random_below(&seed, 3) ? random_below(&seed, 100) : random_below(&seed, 40000);
        lens[random_below(&seed, n)] = 7; /* not all of them empty */
        demi_sgarray_t sga = demi_sgaalloc_segs(lens, n);
        for (uint32_t i = 0; i < n; i++)
            pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], i, 0);
        demi_qtoken_t qt = push_start(f.tx, &sga);
        must(demi_sgafree(&sga));
        demi_sgarray_t popped = pop_one(f.rx);
        assert_int_equal(popped.sga_numsegs, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(popped.sga_segs[i].sgaseg_len, lens[i]);
            pattern_check(popped.sga_segs[i].sgaseg_buf, lens[i], i, 0);
        }
        must(demi_sgafree(&popped));
        wait_success(qt, DEMI_OPC_PUSH);
    }
    framed_close(f);
}

static void test_frame_sga_keeps_segments(void **state)
{
    (void)state;
    needs_stream();
    check_segments(NULL);
    check_segments(DEMI_FRAMER_SGA_CHECKSUM);
}

static void test_frame_sga_plain_peer_is_eproto(void **state)
{
    (void)state;
    needs_stream();
    struct framed f = framed_make(&demi_framer_sga, NULL);
    demi_qtoken_t qt = pop_start(f.rx);
    push_raw(f, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_int_equal(wait_failure(qt), EPROTO);
    assert_int_equal(wait_failure(pop_start(f.rx)), EPROTO);
    framed_close(f);
}

static void test_frame_sga_damaged_byte_is_ebadmsg(void **state)
{
    (void)state;
    backend_needs(CAN_REFERENCE); /* the test reads what is on the way */
    struct framed f = framed_make(&demi_framer_sga, DEMI_FRAMER_SGA_CHECKSUM);
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    push_all(f.tx, &sga);
    must(demi_sgafree(&sga));
    must(demi_close(f.rx));
    demi_sgarray_t hello = pop_one(f.raw.rx), element = pop_one(f.raw.rx);
    ((uint8_t *)element.sga_segs[1].sgaseg_buf)[50] ^= 4;
    push_all(f.raw.tx, &hello);
    push_all(f.raw.tx, &element);
    must(demi_sgafree(&hello));
    must(demi_sgafree(&element));
    must(demi_frame(&f.rx, f.raw.rx, &demi_framer_sga, NULL));
    assert_int_equal(wait_failure(pop_start(f.rx)), EBADMSG);
    must(demi_close(f.rx));
    pair_close(f.raw);
}

/* The hello is not lost with the push that it came before. */
static void test_frame_sga_first_push_cancelled_leaves_the_hello(void **state)
{
    (void)state;
    backend_needs(CAN_INHERENT);
    int qd, frame;
    must(demi_queue(&qd, 1));
    must(demi_frame(&frame, qd, &demi_framer_sga, NULL));
    demi_sgarray_t sga = pattern_sga(10, 1, 0);
    must(demi_cancel(push_start(frame, &sga)));
    demi_qtoken_t push = push_start(frame, &sga);
    demi_sgarray_t popped = pop_one(frame);
    wait_success(push, DEMI_OPC_PUSH);
    pattern_check_sga(&popped, 1, 0);
    must(demi_sgafree(&popped));
    must(demi_sgafree(&sga));
    must(demi_close(frame));
    must(demi_close(qd));
}

static void test_frame_half_a_header_waits_cancels_and_is_given_back(void **state)
{
    (void)state;
    needs_stream();
    struct framed f = framed_make(&demi_framer_u32, NULL);
    demi_qtoken_t qt = pop_start(f.rx);
    demi_qtoken_t refused;
    must_fail(demi_pop(&refused, f.raw.rx), EBUSY);
    push_piece(f, qt, "\0\0", 2);
    must(demi_cancel(qt));
    qt = pop_start(f.rx);
    must_stay(qt);
    must(demi_close(f.rx));
    assert_int_equal(wait_failure(qt), ECANCELED);
    demi_sgarray_t back = pop_one(f.raw.rx);
    assert_int_equal(sga_bytes(&back), 2);
    must(demi_sgafree(&back));
    must(demi_frame(&f.rx, f.raw.rx, &demi_framer_line, NULL));
    qt = pop_start(f.rx);
    push_raw(f, "rest\n", 5);
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    assert_int_equal(sga_bytes(&qr.qr_value.sga), 5);
    must(demi_sgafree(&qr.qr_value.sga));
    if (f.tx == f.raw.rx || backend_can(CAN_REFERENCE))
        f.tx = f.rx;
    framed_close(f);
}

static void test_frame_close_gives_elements_back(void **state)
{
    (void)state;
    needs_stream();
    struct framed f = framed_make(&demi_framer_line, NULL);
    push_raw(f, "one\ntwo\nthr", 11);
    demi_sgarray_t popped = pop_one(f.rx);
    assert_int_equal(sga_bytes(&popped), 4);
    must(demi_sgafree(&popped));
    must(demi_close(f.rx));
    popped = pop_one(f.raw.rx);
    assert_int_equal(sga_bytes(&popped), 7);
    assert_memory_equal(popped.sga_segs[0].sgaseg_buf, "two\nthr", 7);
    must(demi_sgafree(&popped));
    if (f.tx != f.rx)
        must(demi_close(f.tx));
    pair_close(f.raw);
}

static void test_frame_over_the_limit_is_emsgsize(void **state)
{
    (void)state;
    needs_stream();
    struct framed f = framed_make(&demi_framer_u32, NULL);
    demi_sgarray_t sga = demi_sgaalloc(LIMIT + 1);
    assert_int_equal(push_outcome(f.tx, &sga), EMSGSIZE);
    must(demi_sgafree(&sga));
    push_raw(f, "\x01\0\0\1", 4);
    assert_int_equal(wait_failure(pop_start(f.rx)), EMSGSIZE);
    assert_int_equal(wait_failure(pop_start(f.rx)), EPROTO);
    framed_close(f);
}

static void test_frame_end_inside_an_element_is_eproto_then_the_end(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    struct framed f = framed_make(&demi_framer_u32, NULL);
    push_raw(f, "\0\0\0\2ab\0\0\0\2c", 11);
    must(demi_shutdown(f.tx, SHUT_WR));
    demi_sgarray_t popped = pop_one(f.rx);
    assert_memory_equal(popped.sga_segs[0].sgaseg_buf, "ab", 2);
    must(demi_sgafree(&popped));
    assert_int_equal(wait_failure(pop_start(f.rx)), EPROTO);
    pop_end(f.rx);
    pop_end(f.rx);
    framed_close(f);
}

static void test_frame_small_elements_are_views_of_one_buffer(void **state)
{
    (void)state;
    enum { ELEMENTS = 200 };
    needs_stream();
    struct framed f = framed_make(&demi_framer_line, NULL);
    char text[ELEMENTS * 4];
    for (int i = 0; i < ELEMENTS; i++)
        memcpy(text + 4 * i, "abc\n", 4);
    push_raw(f, text, sizeof text);
    demi_sgarray_t popped[ELEMENTS];
    popped[0] = pop_one(f.rx);
    const uint64_t copied = counter("compose.frame_copied_bytes"), polls = counter("core.polls");
    const uint64_t pooled = counter("mem.copied_bytes_pool");
    for (int i = 1; i < ELEMENTS; i++) {
        popped[i] = pop_one(f.rx);
        assert_int_equal(popped[i].sga_segs[0].sgaseg_len, 4);
        assert_ptr_equal(popped[i].sga_segs[0].sgaseg_buf,
                         (char *)popped[i - 1].sga_segs[0].sgaseg_buf + 4);
    }
    assert_int_equal(counter("compose.frame_copied_bytes"), copied);
    assert_int_equal(counter("mem.copied_bytes_pool"), pooled);
    must_hold(counter("core.polls") - polls <= ELEMENTS / 8, "%u polls",
              (unsigned)(counter("core.polls") - polls)); /* some waits look all the same */
    for (int i = 0; i < ELEMENTS; i++)
        must(demi_sgafree(&popped[i]));
    framed_close(f);
}

/* An element of so many pieces: popped as `segments`, with so many bytes copied. */
static void check_pieces(uint32_t pieces, uint32_t segments, uint64_t copied)
{
    enum { PIECE = 1000 };
    static uint8_t bytes[10 * PIECE];
    struct framed f = framed_make(&demi_framer_u32, NULL);
    const uint32_t len = pieces * PIECE - 4;
    const uint8_t header[4] = {0, 0, (uint8_t)(len >> 8), (uint8_t)len};
    memcpy(bytes, header, 4);
    pattern_fill(bytes + 4, len, 5, 0);
    const uint64_t bytes_before = counter("compose.frame_copied_bytes");
    const uint64_t gathers_before = counter("compose.frame_gathers");
    demi_qtoken_t qt = pop_start(f.rx);
    for (uint32_t i = 0; i + 1 < pieces; i++)
        push_piece(f, qt, bytes + (size_t)i * PIECE, PIECE);
    push_raw(f, bytes + (size_t)(pieces - 1) * PIECE, PIECE);
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    assert_int_equal(qr.qr_value.sga.sga_numsegs, segments);
    assert_int_equal(sga_bytes(&qr.qr_value.sga), len);
    pattern_check_sga(&qr.qr_value.sga, 5, 0);
    assert_int_equal(counter("compose.frame_copied_bytes") - bytes_before, copied);
    assert_int_equal(counter("compose.frame_gathers") - gathers_before, copied ? 1 : 0);
    demi_sgarray_t again = qr.qr_value.sga; /* what was popped can be pushed */
    demi_qtoken_t push = push_start(f.tx, &again);
    must(demi_sgafree(&again));
    demi_sgarray_t popped = pop_one(f.rx);
    wait_success(push, DEMI_OPC_PUSH);
    pattern_check_sga(&popped, 5, 0);
    must(demi_sgafree(&popped));
    framed_close(f);
}

static void test_frame_eight_pieces_are_not_copied(void **state)
{
    (void)state;
    needs_stream();
    check_pieces(1, 1, 0);
    check_pieces(2, 2, 0);
    check_pieces(8, 8, 0);
}

static void test_frame_nine_pieces_gather_the_last(void **state)
{
    (void)state;
    needs_stream();
    check_pieces(9, 8, 2000);
    check_pieces(10, 8, 3000);
}

/* A request with a long argument and, perhaps, others behind it: so many bytes of it. */
static size_t write_long_request(uint8_t *to, size_t value, bool options)
{
    static const char tail[] = "\r\n$2\r\nEX\r\n$2\r\n10\r\n";
    uint8_t *begin = to;
    to += sprintf((char *)to, "*%d\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", options ? 5 : 3, value);
    pattern_fill(to, value, 3, 0);
    memcpy(to + value, tail, sizeof tail - 1);
    return (size_t)(to - begin) + value + (options ? sizeof tail - 1 : 2);
}

/* Received in pieces, the first of `cut` bytes: one segment, however long it took to trust it. */
static void check_long_request(bool options, size_t cut)
{
    enum { VALUE = 3 << 20, TRUSTED = 256 << 10 };
    static uint8_t bytes[VALUE + 100];
    const size_t len = write_long_request(bytes, VALUE, options);
    struct framed f = framed_make(&demi_framer_resp, DEMI_FRAMER_RESP_REQUESTS);
    const uint64_t bytes_before = counter("compose.frame_copied_bytes");
    const uint64_t gathers_before = counter("compose.frame_gathers");
    demi_qtoken_t qt = pop_start(f.rx);
    push_piece(f, qt, bytes, cut);
    push_piece(f, qt, bytes + cut, TRUSTED);
    cut += TRUSTED;
    demi_sgarray_t sga = demi_sgaalloc((uint32_t)(len - cut));
    memcpy(sga.sga_segs[0].sgaseg_buf, bytes + cut, len - cut);
    demi_qtoken_t push = push_start(f.raw.tx, &sga);
    must(demi_sgafree(&sga));
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
    wait_success(push, DEMI_OPC_PUSH);
    sga = qr.qr_value.sga;
    assert_int_equal(sga.sga_numsegs, 1);
    assert_int_equal(sga.sga_segs[0].sgaseg_len, len);
    assert_memory_equal(sga.sga_segs[0].sgaseg_buf, bytes, len);
    assert_int_equal(counter("compose.frame_gathers") - gathers_before, 1);
    assert_in_range(counter("compose.frame_copied_bytes") - bytes_before, len, len + 2 * TRUSTED);
    must(demi_sgafree(&sga));
    framed_close(f);
}

static void test_frame_long_announced_element_is_one_segment(void **state)
{
    (void)state;
    needs_stream();
    check_long_request(false, 33); /* the announcement and no more */
    check_long_request(false, 12); /* not yet the announcement */
    check_long_request(false, 5000);
    check_long_request(true, 33);
    check_long_request(true, 12);
}

static void test_frame_long_announced_element_is_given_back(void **state)
{
    (void)state;
    enum { VALUE = 3 << 20, CUT = 300000 };
    static uint8_t bytes[VALUE + 100];
    needs_stream();
    write_long_request(bytes, VALUE, false);
    struct framed f = framed_make(&demi_framer_resp, DEMI_FRAMER_RESP_REQUESTS);
    demi_qtoken_t qt = pop_start(f.rx);
    push_piece(f, qt, bytes, 10);
    push_piece(f, qt, bytes + 10, CUT - 10);
    must(demi_close(f.rx));
    assert_int_equal(wait_failure(qt), ECANCELED);
    for (size_t at = 0; at < CUT;) {
        demi_sgarray_t back = pop_one(f.raw.rx);
        assert_int_equal(back.sga_numsegs, 1);
        assert_memory_equal(back.sga_segs[0].sgaseg_buf, bytes + at, back.sga_segs[0].sgaseg_len);
        at += back.sga_segs[0].sgaseg_len;
        must(demi_sgafree(&back));
    }
    if (f.tx != f.rx)
        must(demi_close(f.tx));
    pair_close(f.raw);
}

static void test_frame_header_before_eight_segments_merges_the_cheapest(void **state)
{
    (void)state;
    needs_stream();
    const uint32_t lens[8] = {3000, 2000, 30, 40, 500, 600, 700, 800};
    struct framed f = framed_make(&demi_framer_u32, NULL);
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 8);
    uint64_t at = 0;
    for (int i = 0; i < 8; at += lens[i++])
        pattern_fill(sga.sga_segs[i].sgaseg_buf, lens[i], 2, at);
    const uint64_t before = counter("compose.frame_copied_bytes");
    demi_qtoken_t qt = push_start(f.tx, &sga);
    assert_int_equal(counter("compose.frame_copied_bytes") - before, 70);
    must(demi_sgafree(&sga));
    demi_sgarray_t popped = pop_one(f.rx);
    wait_success(qt, DEMI_OPC_PUSH);
    assert_int_equal(sga_bytes(&popped), at);
    pattern_check_sga(&popped, 2, 0);
    must(demi_sgafree(&popped));
    framed_close(f);
}

/* ---- framers of the application ----------------------------------------------------------- */

enum lie { USES_TOO_MUCH, SKIPS_TOO_MUCH, NEVER_ADVANCES, EMPTY, STRIPS, SEGMENTS, CODE, REFUSES };

static int lying_scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                      void *arg)
{
    (void)bytes;
    switch (*(const enum lie *)arg) {
    case USES_TOO_MUCH:
        *used = len + 1;
        return DEMI_FRAME_END;
    case SKIPS_TOO_MUCH:
        state->skip = UINT64_MAX;
        return DEMI_FRAME_MORE;
    case NEVER_ADVANCES:
        *used = 0;
        return DEMI_FRAME_MORE;
    case EMPTY:
        *used = 0;
        return DEMI_FRAME_END;
    case STRIPS:
        state->strip = 60;
        return DEMI_FRAME_END;
    case SEGMENTS:
        state->num_segs = 2;
        state->seg_lens[0] = UINT32_MAX;
        return DEMI_FRAME_END;
    case CODE:
        return -7;
    default:
        return EILSEQ;
    }
}

static void test_frame_lying_framer_fails_its_pop(void **state)
{
    (void)state;
    static const int errors[] = {EPROTO, EMSGSIZE, EPROTO, EPROTO, EPROTO, EPROTO, EPROTO, EILSEQ};
    static const struct demi_framer framer = {.name = "liar", .scan = lying_scan};
    needs_stream();
    for (enum lie lie = USES_TOO_MUCH; lie <= REFUSES; lie++) {
        struct framed f = framed_make(&framer, &lie);
        push_raw(f, "some bytes", 10);
        assert_int_equal(wait_failure(pop_start(f.rx)), errors[lie]);
        assert_int_equal(wait_failure(pop_start(f.rx)), EPROTO);
        framed_close(f);
    }
}

/* Elements of three bytes with one byte of header; calls back into the library. */
static int three_scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                      void *arg)
{
    int qd;
    (void)bytes;
    (void)len;
    if (demi_queue(&qd, 0) != EDEADLK)
        *(bool *)arg = true;
    *used = 1;
    state->strip = 1;
    state->skip = 3;
    return DEMI_FRAME_END;
}

static int three_head(const demi_sgarray_t *sga, void *out, size_t *len, void *arg)
{
    (void)arg;
    *(char *)out = '#';
    *len = 1;
    return sga->sga_segs[0].sgaseg_len == 3 ? 0 : ERANGE;
}

static void test_frame_own_framer_is_called_both_ways(void **state)
{
    (void)state;
    static const struct demi_framer framer = {"three", three_scan, three_head};
    bool called_back = false;
    needs_stream();
    struct framed f = framed_make(&framer, &called_back);
    for (int i = 0; i < 3; i++) {
        demi_sgarray_t sga = pattern_sga(3, 1, 0);
        push_all(f.tx, &sga);
        sga.sga_segs[0].sgaseg_len = 2;
        assert_int_equal(push_outcome(f.tx, &sga), ERANGE);
        must(demi_sgafree(&sga));
        demi_sgarray_t popped = pop_one(f.rx);
        assert_int_equal(sga_bytes(&popped), 3);
        pattern_check_sga(&popped, 1, 0);
        must(demi_sgafree(&popped));
    }
    assert_false(called_back);
    framed_close(f);
}

/* Elements of one byte. What must last as long as the stream is checked, and kept since the second
 * element. */
static int counting_scan(struct demi_frame_state *state, const void *bytes, size_t len,
                         size_t *used, void *arg)
{
    uint64_t *count = arg;
    (void)bytes;
    (void)len;
    *used = 1;
    if (state->elements != *count || state->kept[1] != (*count > 1 ? *count - 1 : 0) ||
        state->limit != LIMIT || state->words[0] || state->taken)
        return EILSEQ;
    state->words[0] = 1;
    state->kept[1] = (*count)++;
    return DEMI_FRAME_END;
}

static void test_frame_state_lasts_while_nothing_comes(void **state)
{
    (void)state;
    static const struct demi_framer framer = {.name = "counting", .scan = counting_scan};
    uint64_t count = 0;
    needs_stream();
    struct framed f = framed_make(&framer, &count);
    for (int i = 0; i < 6; i++) {
        demi_qtoken_t qt = pop_start(f.rx);
        must_stay(qt);
        push_raw(f, "abc", 3);
        demi_qresult_t qr = wait_success(qt, DEMI_OPC_POP);
        must(demi_sgafree(&qr.qr_value.sga));
        for (int more = 0; more < 2; more++) {
            demi_sgarray_t popped = pop_one(f.rx);
            assert_int_equal(sga_bytes(&popped), 1);
            must(demi_sgafree(&popped));
        }
    }
    assert_int_equal(count, 18);
    framed_close(f);
}

static void test_frame_bad_arguments_are_einval_and_ebadf(void **state)
{
    (void)state;
    static const struct demi_framer no_scan = {.name = "none"};
    int qd, frame = 4711;
    must(demi_queue(&qd, 0));
    must_fail(demi_frame(NULL, qd, &demi_framer_line, NULL), EINVAL);
    must_fail(demi_frame(&frame, qd, NULL, NULL), EINVAL);
    must_fail(demi_frame(&frame, qd, &no_scan, NULL), EINVAL);
    must_fail(demi_frame(&frame, -1, &demi_framer_line, NULL), EBADF);
    demi_qtoken_t qt = pop_start(qd);
    must_fail(demi_frame(&frame, qd, &demi_framer_line, NULL), EBUSY);
    must(demi_cancel(qt));
    assert_int_equal(frame, 4711);
    must(demi_close(qd));
}

int run_frame_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_frame_elements_of_every_size_arrive_whole),
        STARTED(test_frame_sga_keeps_segments),
        STARTED(test_frame_sga_plain_peer_is_eproto),
        STARTED(test_frame_sga_damaged_byte_is_ebadmsg),
        STARTED(test_frame_sga_first_push_cancelled_leaves_the_hello),
        STARTED(test_frame_half_a_header_waits_cancels_and_is_given_back),
        STARTED(test_frame_close_gives_elements_back),
        STARTED(test_frame_over_the_limit_is_emsgsize),
        STARTED(test_frame_end_inside_an_element_is_eproto_then_the_end),
        STARTED(test_frame_small_elements_are_views_of_one_buffer),
        STARTED(test_frame_eight_pieces_are_not_copied),
        STARTED(test_frame_nine_pieces_gather_the_last),
        STARTED(test_frame_long_announced_element_is_one_segment),
        STARTED(test_frame_long_announced_element_is_given_back),
        STARTED(test_frame_header_before_eight_segments_merges_the_cheapest),
        STARTED(test_frame_lying_framer_fails_its_pop),
        STARTED(test_frame_own_framer_is_called_both_ways),
        STARTED(test_frame_state_lasts_while_nothing_comes),
        STARTED(test_frame_bad_arguments_are_einval_and_ebadf),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
