/* SPDX-License-Identifier: MIT */
/*
 * Every framer against a parser by the book (framer_kit.h): the same streams, valid, damaged and
 * random, in pieces of any size, through a frame over a queue in memory.
 */
#include "framer_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setup(void **state)
{
    (void)state;
    setenv("DEMI_NET", "memory", 1);
    return demi_init(NULL);
}

static int teardown(void **state)
{
    (void)state;
    return demi_fini();
}

/* Pushes a part of the stream as one element, of several segments perhaps. */
static void push_part(int qd, const uint8_t *bytes, size_t len, uint64_t *seed)
{
    uint32_t lens[DEMI_SGARRAY_MAXSIZE] = {0};
    const uint32_t n = 1 + (random_below(seed, 4) == 0 ? random_below(seed, 8) : 0);
    size_t left = len;
    for (uint32_t i = 0; i < n; i++)
        left -= lens[i] = i + 1 < n ? random_below(seed, (uint32_t)left + 1) : (uint32_t)left;
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, n);
    assert_int_equal(sga.sga_numsegs, n);
    for (uint32_t i = 0; i < n; bytes += lens[i], i++)
        memcpy(sga.sga_segs[i].sgaseg_buf, bytes, lens[i]);
    must(demi_blocking_push(qd, &sga));
    must(demi_sgafree(&sga));
}

/* Pushes the stream in pieces of at most so many bytes, and ends it. */
static void feed(int qd, const struct kit_stream *s, uint32_t most, uint64_t *seed)
{
    for (size_t at = 0; at < s->len;) {
        size_t n = 1 + random_below(seed, most);
        if (n > s->len - at)
            n = s->len - at;
        push_part(qd, s->bytes + at, n, seed);
        at += n;
    }
    must(demi_shutdown(qd, SHUT_WR));
}

static void check_element(const demi_sgarray_t *sga, const struct kit_stream *s,
                          const struct kit_element *e)
{
    static uint8_t got[KIT_STREAM_BYTES];
    const size_t len = e->end - e->begin - e->strip;
    must_hold(sga_bytes(sga) == len, "%zu bytes, not %zu", sga_bytes(sga), len);
    sga_copy_out(sga, got, sizeof got);
    must_hold(memcmp(got, s->bytes + e->begin + e->strip, len) == 0, "other bytes at %zu",
              e->begin);
    for (uint32_t i = 0; i < e->num_segs; i++)
        assert_int_equal(sga->sga_segs[i].sgaseg_len, e->lens[i]);
    if (e->num_segs > 0)
        assert_int_equal(sga->sga_numsegs, e->num_segs);
}

/* The pop that fails, and what follows it. */
static void check_last(int qd, const struct kit_stream *s, const struct kit_element *e)
{
    demi_qresult_t qr;
    const bool cut = e->error == EAGAIN;
    if (!cut || e->begin < s->len)
        must_fail(demi_blocking_pop(qd, &qr), cut ? EPROTO : e->error);
    for (int i = 0; i < 2; i++) {
        must_fail(demi_blocking_pop(qd, &qr), cut ? 0 : EPROTO);
        if (cut)
            must_be_end(qr.qr_value.sga);
    }
}

/* What belongs to no element popped is back in the source. */
static void check_rest(int qd, const struct kit_stream *s, size_t at)
{
    for (;;) {
        demi_sgarray_t sga = pop_one(qd);
        if (sga.sga_numsegs == 0)
            break;
        for (uint32_t i = 0; i < sga.sga_numsegs; at += sga.sga_segs[i++].sgaseg_len) {
            assert_true(sga.sga_segs[i].sgaseg_len <= s->len - at);
            assert_memory_equal(sga.sga_segs[i].sgaseg_buf, s->bytes + at,
                                sga.sga_segs[i].sgaseg_len);
        }
        must(demi_sgafree(&sga));
    }
    assert_int_equal(at, s->len);
}

/* Reads one stream to its end, or only so many elements, and closes the frame. */
static void read_stream(const struct kit_framer *kit, const struct kit_stream *s, uint32_t most,
                        uint32_t elements, uint64_t *seed)
{
    int qd, frame;
    must(demi_queue(&qd, 0));
    must(demi_frame(&frame, qd, kit->framer, kit->arg));
    feed(qd, s, most, seed);
    size_t at = 0;
    for (uint32_t i = 0; i < elements; i++) {
        const struct kit_element e = kit->read(s, at, i);
        if (e.error != 0) {
            check_last(frame, s, &e);
            break;
        }
        demi_sgarray_t sga = pop_one(frame);
        check_element(&sga, s, &e);
        must(demi_sgafree(&sga));
        at = e.end;
    }
    must(demi_close(frame));
    check_rest(qd, s, at);
    must(demi_close(qd));
}

static void make_stream(const struct kit_framer *kit, struct kit_stream *s, uint64_t *seed)
{
    s->len = 0;
    const size_t size = 1 + random_below(seed, 1500);
    for (uint32_t i = 0; s->len < size; i++)
        kit->write(s, i, seed);
    if (s->len > size && random_below(seed, 2))
        s->len = size;
    if (random_below(seed, 3) == 0) /* damaged */
        for (uint32_t n = 1 + random_below(seed, 3); n > 0; n--)
            s->bytes[random_below(seed, (uint32_t)s->len)] = (uint8_t)random_next(seed);
}

static void test_framer_random_pieces_as_by_the_book(void **state)
{
    (void)state;
    static struct kit_stream s;
    uint64_t seed = seed_choose("framer");
    for (int round = 0; round < 1500; round++) {
        for (size_t i = 0; i < kit_num_framers; i++) {
            make_stream(&kit_framers[i], &s, &seed);
            const uint32_t most = 1 + random_below(&seed, 1u << random_below(&seed, 11));
            const uint32_t elements = random_below(&seed, 2) ? UINT32_MAX : random_below(&seed, 8);
            read_stream(&kit_framers[i], &s, most, elements, &seed);
        }
    }
}

/* A short stream, cut in two at every place. */
static void test_framer_every_cut_as_by_the_book(void **state)
{
    (void)state;
    static struct kit_stream s;
    uint64_t seed = seed_choose("framer cuts");
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < kit_num_framers; i++) {
            const struct kit_framer *kit = &kit_framers[i];
            make_stream(kit, &s, &seed);
            s.len = s.len < 120 ? s.len : 120;
            for (size_t cut = 1; cut < s.len; cut++) {
                int qd, frame;
                must(demi_queue(&qd, 0));
                must(demi_frame(&frame, qd, kit->framer, kit->arg));
                push_part(qd, s.bytes, cut, &seed);
                push_part(qd, s.bytes + cut, s.len - cut, &seed);
                must(demi_shutdown(qd, SHUT_WR));
                size_t at = 0;
                struct kit_element e;
                for (uint32_t n = 0; (e = kit->read(&s, at, n)).error == 0; n++) {
                    demi_sgarray_t sga = pop_one(frame);
                    check_element(&sga, &s, &e);
                    must(demi_sgafree(&sga));
                    at = e.end;
                }
                check_last(frame, &s, &e);
                must(demi_close(frame));
                check_rest(qd, &s, at);
                must(demi_close(qd));
            }
        }
    }
}

static void test_framer_noise_is_refused_or_more(void **state)
{
    (void)state;
    static struct kit_stream s;
    uint64_t seed = seed_choose("framer noise");
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < kit_num_framers; i++) {
            s.len = 0;
            for (size_t n = 1 + random_below(&seed, 100); n > 0; n--) {
                static const char likely[] = "\r\n\r\n*$0123 :chunkedGET/HTP1.%|";
                const uint8_t byte = random_below(&seed, 3)
                                         ? (uint8_t)likely[random_below(&seed, sizeof likely)]
                                         : (uint8_t)random_next(&seed);
                kit_put(&s, &byte, 1);
            }
            read_stream(&kit_framers[i], &s, 1 + random_below(&seed, 40), UINT32_MAX, &seed);
        }
    }
}

/* Batches end where requests end; where those are cut decides how many are in one. */
static void read_batches(const struct kit_framer *kit, const struct kit_stream *s, int frame)
{
    struct kit_element e;
    size_t at = 0, end = 0;
    for (uint32_t i = 0; (e = kit->read(s, at, i)).error == 0; i++) {
        at = e.end;
        if (at <= end)
            continue;
        demi_sgarray_t sga = pop_one(frame);
        const size_t begin = e.begin, len = sga_bytes(&sga);
        end = begin + len;
        assert_in_range(end, at, s->len);
        check_element(&sga, s, &(struct kit_element){.begin = begin, .end = end});
        must(demi_sgafree(&sga));
    }
    assert_true(end <= at);
    check_last(frame, s, &e);
}

static void test_framer_resp_batches_are_whole_requests(void **state)
{
    (void)state;
    static const struct kit_framer *kit;
    static struct kit_stream s;
    uint64_t seed = seed_choose("framer batches");
    for (size_t i = 0; i < kit_num_framers; i++)
        if (kit_framers[i].arg == DEMI_FRAMER_RESP_REQUESTS)
            kit = &kit_framers[i];
    for (int round = 0; round < 2000; round++) {
        int qd, frame;
        make_stream(kit, &s, &seed);
        must(demi_queue(&qd, 0));
        must(demi_frame(&frame, qd, &demi_framer_resp, DEMI_FRAMER_RESP_BATCHES));
        feed(qd, &s, 1 + random_below(&seed, 1u << random_below(&seed, 11)), &seed);
        read_batches(kit, &s, frame);
        must(demi_close(frame));
        must(demi_close(qd));
    }
}

static void pop_text(int frame, const char *want)
{
    demi_sgarray_t sga = pop_one(frame);
    char got[100];
    assert_int_equal(sga_bytes(&sga), strlen(want));
    sga_copy_out(&sga, got, sizeof got);
    assert_memory_equal(got, want, strlen(want));
    must(demi_sgafree(&sga));
}

/* So that only its own bytes have to be put together. */
static void test_framer_resp_request_in_pieces_is_a_batch_alone(void **state)
{
    (void)state;
    static const char *const pieces[] = {"PING\r\n*1\r\n$4\r\nPI", "NG\r\nECHO a\r\n*0\r\nx"};
    int qd, frame;
    must(demi_queue(&qd, 0));
    must(demi_frame(&frame, qd, &demi_framer_resp, DEMI_FRAMER_RESP_BATCHES));
    for (size_t i = 0; i < 2; i++) {
        demi_sgarray_t sga = demi_sgaalloc(strlen(pieces[i]));
        memcpy(sga.sga_segs[0].sgaseg_buf, pieces[i], strlen(pieces[i]));
        must(demi_blocking_push(qd, &sga));
        must(demi_sgafree(&sga));
    }
    pop_text(frame, "PING\r\n");
    pop_text(frame, "*1\r\n$4\r\nPING\r\n");
    pop_text(frame, "ECHO a\r\n*0\r\n");
    must(demi_close(frame));
    must(demi_close(qd));
}

/* Feeds `head` and then so many times `c`: what the pop comes to. */
static int outcome(const struct demi_framer *framer, void *arg, const char *head, char c, size_t n)
{
    int qd, frame;
    demi_qresult_t qr;
    must(demi_queue(&qd, 0));
    must(demi_frame(&frame, qd, framer, arg));
    demi_sgarray_t sga = demi_sgaalloc((uint32_t)(strlen(head) + n));
    memcpy(sga.sga_segs[0].sgaseg_buf, head, strlen(head));
    memset((char *)sga.sga_segs[0].sgaseg_buf + strlen(head), c, n);
    must(demi_blocking_push(qd, &sga));
    must(demi_sgafree(&sga));
    demi_qtoken_t qt = pop_start(frame);
    const int error = demi_wait(&qr, qt, ZERO_TIME);
    must(demi_close(frame));
    if (error == ETIMEDOUT)
        assert_int_equal(wait_failure(qt), ECANCELED);
    else
        assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
    must(demi_close(qd));
    return error ? error : (int)qr.qr_ret;
}

static void test_framer_lines_have_their_limits(void **state)
{
    (void)state;
    void *requests = DEMI_FRAMER_RESP_REQUESTS;
    assert_int_equal(outcome(&demi_framer_resp, requests, "", 'a', 65536), ETIMEDOUT);
    assert_int_equal(outcome(&demi_framer_resp, requests, "", 'a', 65537), EPROTO);
    assert_int_equal(outcome(&demi_framer_resp, requests, "*", '1', 65535), ETIMEDOUT);
    assert_int_equal(outcome(&demi_framer_resp, requests, "*", '1', 65536), EPROTO);
    assert_int_equal(outcome(&demi_framer_resp, NULL, "+", 'a', 100000), ETIMEDOUT);
    assert_int_equal(outcome(&demi_framer_http1, NULL, "GET /", 'a', 65531), ETIMEDOUT);
    assert_int_equal(outcome(&demi_framer_http1, NULL, "GET /", 'a', 65532), EMSGSIZE);
    assert_int_equal(outcome(&demi_framer_line, NULL, "", 'a', (16 << 20) + 64), ETIMEDOUT);
    assert_int_equal(outcome(&demi_framer_line, NULL, "", 'a', (16 << 20) + 65), EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framer_random_pieces_as_by_the_book),
        cmocka_unit_test(test_framer_every_cut_as_by_the_book),
        cmocka_unit_test(test_framer_noise_is_refused_or_more),
        cmocka_unit_test(test_framer_resp_batches_are_whole_requests),
        cmocka_unit_test(test_framer_resp_request_in_pieces_is_a_batch_alone),
        cmocka_unit_test(test_framer_lines_have_their_limits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
