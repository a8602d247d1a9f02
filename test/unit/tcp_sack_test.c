/* SPDX-License-Identifier: MIT */
/*
 * The scoreboard under selective acknowledgements, and the blocks that we tell, beside models that
 * know of each byte.
 */
#include "net/tcp/record.h"
#include "net/tcp/recovery.h"
#include "tcp_kit.h"

#include "base/random.h"

#include <string.h>

#define MSS      1460u
#define SEGMENTS 40u
#define BYTES    (SEGMENTS * MSS)
#define ROUNDS   200

static struct kit k;
static uint32_t base; /* bytes before those that a round is about */

static int setup(void **state)
{
    (void)state;
    base = 0;
    kit_init(&k);
    k.syn_opt.has |= DK_TCP_HAS_SACK_PERMITTED;
    kit_start(&k);
    kit_passive(&k);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kit_fini(&k);
    return 0;
}

/* The peer acknowledges number ack, with blocks of [start, end), ... */
static void sack(uint32_t ack, uint32_t (*blocks)[2], uint8_t n)
{
    k.opt.num_sacks = n;
    for (uint8_t i = 0; i < n; i++)
        k.opt.sacks[i] = (struct dk_tcp_sack){k.irs + blocks[i][0], k.irs + blocks[i][1]};
    kit_inject(&k, A, 1, ack, NULL, 0);
    k.opt.num_sacks = 0;
}

static void sack_one(uint32_t ack, uint32_t start, uint32_t end)
{
    uint32_t block[1][2] = {{start, end}};
    sack(ack, block, 1);
}

static void ack(uint32_t to)
{
    sack(to, NULL, 0);
}

static uint32_t seq_of(uint32_t segment)
{
    return base + 1 + segment * MSS;
}

static uint32_t entries(void)
{
    uint32_t n = 0;
    for (const struct dk_tcp_segment *s = k.app.conn->board; s; s = s->next)
        n++;
    return n;
}

/* A window that lets all of the bytes go at once. */
static void send_all(uint32_t segments)
{
    k.app.conn->cc.cwnd = 2 * BYTES;
    kit_write(&k, segments * MSS);
    assert_int_equal(kit_drain(&k), segments);
}

static void test_neighbours_become_one_entry(void **state)
{
    (void)state;
    const struct dk_tcp_conn *c = k.app.conn;
    send_all(10);
    sack_one(1, seq_of(2), seq_of(3));
    assert_int_equal(entries(), 10);
    sack_one(1, seq_of(4), seq_of(5));
    assert_int_equal(entries(), 10);
    sack_one(1, seq_of(3), seq_of(4)); /* joins both sides */
    assert_int_equal(entries(), 8);
    assert_int_equal(c->loss->sacked_bytes, 3 * MSS);
    sack_one(1, seq_of(5), seq_of(10)); /* to the end */
    assert_int_equal(entries(), 3);
    assert_int_equal(c->loss->sacked_bytes, 8 * MSS);
    assert_true(c->troubled);
    ack(seq_of(10));
    assert_int_equal(entries(), 0);
    assert_int_equal(c->loss->sacked_bytes, 0);
    assert_false(c->troubled);
}

static void test_acknowledgement_within_what_was_selected(void **state)
{
    (void)state;
    send_all(10);
    sack_one(1, seq_of(1), seq_of(6));
    sack_one(seq_of(3), seq_of(4), seq_of(6)); /* a peer that takes some of it back */
    assert_int_equal(k.app.conn->loss->sacked_bytes, 3 * MSS);
    ack(seq_of(3) + 10);
    assert_int_equal(k.app.conn->loss->sacked_bytes, 3 * MSS - 10);
}

/* What was one entry is sent again segment by segment, and selected again so. */
static void test_what_was_forgotten_is_cut_again(void **state)
{
    (void)state;
    const struct dk_tcp_conn *c = k.app.conn;
    send_all(10);
    sack_one(1, seq_of(1), seq_of(10));
    ack(seq_of(1));
    kit_drain(&k);
    kit_pass(&k, KIT_S);
    assert_int_equal(dk_tcp_stats(k.tcp)->sack_reneged, 1);
    assert_int_equal(c->loss->sacked_bytes, 0);
    kit_drain(&k);
    sack_one(seq_of(2), seq_of(4) + 7, seq_of(8) - 7);
    assert_int_equal(c->loss->sacked_bytes, 2 * MSS); /* of four, two in part */
    ack(seq_of(10));
    assert_int_equal(entries(), 0);
    kit_drain(&k);
}

static void test_blocks_that_lie_change_nothing(void **state)
{
    (void)state;
    const struct dk_tcp_stats *stats = dk_tcp_stats(k.tcp);
    send_all(10);
    sack_one(1, seq_of(10), seq_of(11));
    sack_one(1, seq_of(9), seq_of(10) + 1);
    assert_int_equal(stats->sack_never_sent, 2);
    sack_one(1, seq_of(3), seq_of(2));
    sack_one(1, seq_of(3), seq_of(3));
    sack_one(1, 1, seq_of(3));
    sack_one(1, (uint32_t)-5000, (uint32_t)-4000);
    assert_int_equal(stats->sack_invalid, 4);
    assert_int_equal(k.app.conn->loss->sacked_bytes, 0);
    assert_false(k.app.conn->troubled);
    kit_expect_none(&k);
}

static struct dk_random seeded;

static uint32_t below(uint32_t bound)
{
    return dk_random_below(&seeded, bound);
}

/* Three segments behind a hole: with SACK that is a loss; without it three duplicates are. */
static void test_without_a_record_a_loss_is_repaired_without_sack(void **state)
{
    (void)state;
    const struct dk_tcp_stats *stats = dk_tcp_stats(k.tcp);
    k.tcp->recoveries.max = 0;
    send_all(10);
    sack_one(1, seq_of(1), seq_of(6));
    assert_int_equal(kit_drain(&k), 0);
    sack_one(1, seq_of(1), seq_of(7));
    sack_one(1, seq_of(1), seq_of(8));
    assert_int_equal(stats->recovery_no_record, 1);
    assert_int_equal(stats->fast_retransmits, 1);
    assert_int_equal(stats->sack_recoveries, 0);
    assert_int_equal(kit_drain(&k), 1);
    ack(seq_of(10));
    assert_false(k.app.conn->troubled);
    assert_true(dk_tcp_all_valid(k.tcp));
    k.tcp->recoveries.max = 1; /* the next loss finds one */
    send_all(10);
    sack_one(seq_of(10), seq_of(11), seq_of(16));
    assert_int_equal(stats->sack_recoveries, 1);
    assert_int_equal(k.app.conn->loss->sacked_bytes, 5 * MSS);
}

static void test_a_record_goes_to_who_needs_it(void **state)
{
    (void)state;
    struct dk_tcp_conn *c = k.app.conn, other = *c;
    k.tcp->recoveries.max = 1;
    send_all(4);
    sack_one(1, seq_of(1), seq_of(2));
    assert_true(dk_tcp_record_is_there(c));
    dk_tcp_record_need(&other); /* it is in use */
    assert_false(dk_tcp_record_is_there(&other));
    ack(seq_of(4));
    assert_true(dk_tcp_record_is_there(c)); /* it is kept until it is needed */
    dk_tcp_record_need(&other);
    assert_true(dk_tcp_record_is_there(&other));
    assert_false(dk_tcp_record_is_there(c));
    dk_tcp_record_put(&other);
    assert_int_equal(k.tcp->recoveries.used, 0);
}

/* Marks in the model which whole segments blocks cover that are true. */
static void model_sack(bool model[SEGMENTS], uint32_t ack, uint32_t (*blocks)[2], uint8_t n)
{
    for (uint8_t i = 0; i < n; i++) {
        uint32_t start = blocks[i][0], end = blocks[i][1];
        bool lies = start >= end || start <= ack || end > seq_of(SEGMENTS);
        bool reports = i == 0 && n > 1 && start >= blocks[1][0] && end <= blocks[1][1];
        if (lies || reports)
            continue;
        for (uint32_t s = 0; s < SEGMENTS; s++)
            model[s] |= start <= seq_of(s) && seq_of(s + 1) <= end;
    }
}

static void assert_board_is(const bool model[SEGMENTS], uint32_t first)
{
    const struct dk_tcp_conn *c = k.app.conn;
    for (const struct dk_tcp_segment *s = c->board; s; s = s->next)
        for (uint64_t at = s->seq; at < s->end; at += MSS)
            assert_int_equal(!!(s->flags & DK_TCP_SEG_SACKED),
                             model[(at - c->iss - 1 - base) / MSS]);
    assert_int_equal(c->snd_una - c->iss, seq_of(first));
}

static void test_random_blocks_do_what_the_model_does(void **state)
{
    (void)state;
    dk_random_init(&seeded, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        bool model[SEGMENTS] = {false};
        uint32_t first = 0;
        base = round * BYTES;
        send_all(SEGMENTS);
        for (int step = 0; step < 30; step++) {
            uint32_t blocks[4][2];
            uint8_t n = (uint8_t)(1 + below(4));
            for (uint8_t i = 0; i < n; i++) {
                blocks[i][0] = seq_of(below(SEGMENTS + 1)) + (below(4) ? 0 : below(MSS));
                blocks[i][1] = blocks[i][0] + below(6) * MSS - (below(4) ? 0 : below(MSS));
            }
            if (below(4) == 0 && first + 1 < SEGMENTS)
                first++;
            while (first < SEGMENTS && model[first])
                first++; /* no peer forgets */
            sack(seq_of(first), blocks, n);
            model_sack(model, seq_of(first), blocks, n);
            assert_board_is(model, first);
            kit_drain(&k);
        }
        ack(seq_of(SEGMENTS));
        kit_drain(&k);
        assert_int_equal(entries(), 0);
    }
}

/* ---- What we tell ---------------------------------------------------------------------------- */

#define STREAM 4000u

/* The run of bytes that are there, around one. */
static void run_around(const bool *there, uint32_t at, uint32_t *start, uint32_t *end)
{
    for (*start = at; *start > 0 && there[*start - 1];)
        (*start)--;
    for (*end = at; *end < STREAM && there[*end];)
        (*end)++;
}

static void check_told(const bool *before, const bool *there, uint32_t from, uint32_t to)
{
    struct dk_tcp_header h = {.flags = 0};
    struct kit_packet p;
    while (kit_host_take(k.host, &p)) {
        h = p.h;
        dk_buf_put(p.buf);
    }
    assert_true(h.flags & A);
    uint32_t next = h.ack - k.iss - 1, start, end;
    uint8_t i = 0;
    for (uint32_t n = 0; n < next; n++)
        assert_true(there[n]);
    uint32_t twice = from;
    while (twice < to && !before[twice])
        twice++;
    if (twice < to) { /* the first that came twice is told first */
        assert_true(h.options.num_sacks > 0);
        assert_int_equal(h.options.sacks[0].start - k.iss - 1, twice);
        for (i = 1, end = h.options.sacks[0].end - k.iss - 1; twice < end; twice++)
            assert_true(twice < to && before[twice]);
    }
    if (to > next) {
        run_around(there, to - 1, &start, &end);
        assert_int_equal(h.options.sacks[i].start - k.iss - 1, start);
        assert_int_equal(h.options.sacks[i].end - k.iss - 1, end);
    }
    for (; i < h.options.num_sacks; i++) {
        run_around(there, h.options.sacks[i].start - k.iss - 1, &start, &end);
        assert_int_equal(h.options.sacks[i].start - k.iss - 1, start);
        assert_int_equal(h.options.sacks[i].end - k.iss - 1, end);
        assert_true(start > next);
    }
}

static void test_random_segments_are_told_as_they_are(void **state)
{
    (void)state;
    bool there[STREAM + 1] = {false}, before[STREAM + 1];
    uint32_t at = 1, done = 0;
    dk_random_init(&seeded, 2);
    dk_tcp_set_option(k.app.conn, DK_TCP_QUICK_ACK, 1, k.now);
    while (done < STREAM) {
        uint32_t from = below(STREAM), to = from + 1 + below(40);
        to = to > STREAM ? STREAM : to;
        memcpy(before, there, sizeof(there));
        memset(there + from, 1, to - from);
        kit_inject_bytes(&k, A, 1 + from, 1, to - from);
        check_told(before, there, from, to);
        while (there[done])
            done++;
    }
    kit_read(&k, &at, STREAM);
    kit_drain(&k);
}

/* ---- cost ------------------------------------------------------------------------------------ */

#define SHORT_MSS 100u

/* A peer with short segments and a window for very many. */
static int setup_short(void **state)
{
    (void)state;
    kit_init(&k);
    k.syn_opt.has |= DK_TCP_HAS_SACK_PERMITTED | DK_TCP_HAS_WINDOW_SCALE | DK_TCP_HAS_MSS;
    k.syn_opt.window_scale = 10;
    k.syn_opt.mss = SHORT_MSS;
    kit_start(&k);
    kit_passive(&k);
    return 0;
}

/* What lies too far behind the first entry is not looked for; what is nearer is, as ever. */
static void test_block_far_behind_is_not_looked_for(void **state)
{
    (void)state;
    const uint32_t far = DK_TCP_WALK_MAX + 10, burst = 2000;
    const struct dk_tcp_stats *stats = dk_tcp_stats(k.tcp);
    for (uint32_t n = 0; n <= far; n += burst) {
        k.app.conn->cc.cwnd = UINT32_MAX / 2;
        kit_write(&k, burst * SHORT_MSS);
        assert_int_equal(kit_drain(&k), burst);
    }
    sack_one(1, 1 + far * SHORT_MSS, 1 + (far + 1) * SHORT_MSS);
    assert_int_equal(stats->sack_limited, 1);
    assert_int_equal(k.app.conn->loss->sacked_bytes, 0);
    sack_one(1, 1 + 2 * SHORT_MSS, 1 + 3 * SHORT_MSS);
    assert_int_equal(stats->sack_limited, 1);
    assert_int_equal(k.app.conn->loss->sacked_bytes, SHORT_MSS);
    kit_drain(&k);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_neighbours_become_one_entry),
        TEST(test_acknowledgement_within_what_was_selected),
        TEST(test_what_was_forgotten_is_cut_again),
        TEST(test_blocks_that_lie_change_nothing),
        TEST(test_without_a_record_a_loss_is_repaired_without_sack),
        TEST(test_a_record_goes_to_who_needs_it),
        TEST(test_random_blocks_do_what_the_model_does),
        TEST(test_random_segments_are_told_as_they_are),
        cmocka_unit_test_setup_teardown(test_block_far_behind_is_not_looked_for, setup_short,
                                        teardown),
    };
    return cmocka_run_group_tests_name("tcp_sack", tests, NULL, NULL);
}
