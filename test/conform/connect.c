/* SPDX-License-Identifier: MIT */
/* qconnect: elements that move by themselves, ends, errors, circles, back-pressure. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool pass_all(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return true;
}

static uint32_t first_output(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return 0;
}

static int memory_queue(uint32_t capacity)
{
    int qd = -1;
    must(demi_queue(&qd, capacity));
    return qd;
}

static demi_qtoken_t watch(int in, int out)
{
    demi_qtoken_t qt = 0;
    must(demi_qconnect_watch(&qt, in, out));
    return qt;
}

/* Pushes element number i, and frees it. */
static demi_qtoken_t push_number(int qd, uint64_t i)
{
    demi_sgarray_t sga = pattern_sga(i + 1, i, 0);
    demi_qtoken_t qt = push_start(qd, &sga);
    must(demi_sgafree(&sga));
    return qt;
}

static void push_numbers(int qd, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        wait_success(push_number(qd, i), DEMI_OPC_PUSH);
}

static void pop_numbers(int qd, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        demi_sgarray_t sga = pop_one(qd);
        assert_int_equal(sga_bytes(&sga), i + 1);
        pattern_check_sga(&sga, i, 0);
        must(demi_sgafree(&sga));
    }
}

static void must_have_nothing(int qd)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = pop_start(qd);
    must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
    must(demi_cancel(qt));
}

/* Lets the library do what it can do now. */
static void run(void)
{
    demi_qresult_t qr;
    int n = 0;
    for (int i = 0; i < 32; i++)
        must_fail(demi_wait_some(&qr, 1, &n, ZERO_TIME), ETIMEDOUT);
}

static uint64_t moved(void)
{
    uint64_t n = 0;
    assert_true(stat_value("compose.connect_elements", &n));
    return n;
}

static void close_both(struct pair a, struct pair b)
{
    pair_close(a);
    pair_close(b);
}

static void test_connect_moves_what_is_pushed(void **state)
{
    (void)state;
    struct pair a = pair_make(), b = pair_make();
    uint64_t before = moved();
    must(demi_qconnect(a.rx, b.tx));
    for (uint64_t i = 0; i < 50; i++) {
        demi_sgarray_t sga = pattern_sga(1 + i * 20, i, 0);
        push_all(a.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(b.rx, 1 + i * 20, i, 0);
    }
    assert_true(moved() - before >= 50);
    close_both(a, b);
}

static void test_connect_what_was_there_before_moves_too(void **state)
{
    (void)state;
    backend_needs(CAN_RELIABLE);
    struct pair a = pair_make(), b = pair_make();
    demi_sgarray_t sga = pattern_sga(1000, 7, 0);
    push_all(a.tx, &sga);
    must(demi_sgafree(&sga));
    must(demi_qconnect(a.rx, b.tx));
    pop_pattern(b.rx, 1000, 7, 0);
    close_both(a, b);
}

static void test_connect_megabytes_arrive_whole(void **state)
{
    (void)state;
    backend_needs(CAN_STREAM);
    enum { PIECE = 200000, PIECES = 80 };
    struct pair a = pair_make(), b = pair_make();
    demi_qtoken_t ended = watch(a.rx, b.tx);
    demi_qtoken_t qts[PIECES];
    for (uint64_t i = 0; i < PIECES; i++) {
        demi_sgarray_t sga = pattern_sga(PIECE, 5, i * PIECE);
        qts[i] = push_start(a.tx, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_shutdown(a.tx, SHUT_WR));
    pop_pattern(b.rx, (size_t)PIECE * PIECES, 5, 0);
    pop_end(b.rx);
    for (uint64_t i = 0; i < PIECES; i++)
        wait_success(qts[i], DEMI_OPC_PUSH);
    wait_success(ended, DEMI_OPC_CLOSE);
    close_both(a, b);
}

static void test_connect_both_ways_is_a_relay(void **state)
{
    (void)state;
    backend_needs(CAN_DUPLEX);
    struct pair a = pair_make(), b = pair_make();
    must(demi_qconnect(a.rx, b.tx));
    must(demi_qconnect(b.tx, a.rx));
    for (uint64_t i = 0; i < 20; i++) {
        demi_sgarray_t sga = pattern_sga(100, i, 0);
        push_all(a.tx, &sga);
        pop_pattern(b.rx, 100, i, 0);
        push_all(b.rx, &sga);
        pop_pattern(a.tx, 100, i, 0);
        must(demi_sgafree(&sga));
    }
    close_both(a, b);
}

static void test_connect_socket_to_itself_echoes(void **state)
{
    (void)state;
    backend_needs(CAN_DUPLEX);
    struct pair a = pair_make();
    must(demi_qconnect(a.rx, a.rx));
    demi_sgarray_t sga = pattern_sga(100, 1, 0);
    push_all(a.tx, &sga);
    must(demi_sgafree(&sga));
    pop_pattern(a.tx, 100, 1, 0);
    pair_close(a);
}

static void test_connect_end_passes_behind_the_elements(void **state)
{
    (void)state;
    backend_needs(CAN_SHUTDOWN);
    struct pair a = pair_make(), b = pair_make();
    demi_qtoken_t ended = watch(a.rx, b.tx);
    demi_sgarray_t sga = pattern_sga(3000, 3, 0);
    push_all(a.tx, &sga);
    must(demi_sgafree(&sga));
    must(demi_shutdown(a.tx, SHUT_WR));
    pop_pattern(b.rx, 3000, 3, 0);
    pop_end(b.rx);
    pop_end(b.rx);
    demi_qresult_t qr = wait_success(ended, DEMI_OPC_CLOSE);
    assert_int_equal(qr.qr_qd, a.rx);
    assert_int_equal(qr.qr_value.sga.sga_numsegs, 0);
    pop_end(a.rx); /* given back */
    assert_int_equal(push_outcome(b.tx, &(demi_sgarray_t){0}), EINVAL);
    close_both(a, b);
}

static void test_connect_takes_the_pop_side(void **state)
{
    (void)state;
    struct pair a = pair_make(), b = pair_make(), c = pair_make();
    demi_qtoken_t qt = pop_start(a.rx);
    must_fail(demi_qconnect(a.rx, b.tx), EBUSY);
    must(demi_cancel(qt));
    must(demi_qconnect(a.rx, b.tx));
    must_fail(demi_pop(&qt, a.rx), EBUSY);
    must_fail(demi_qconnect(a.rx, c.tx), EBUSY);
    pair_close(c);
    close_both(a, b);
}

static void test_connect_bad_arguments_are_refused(void **state)
{
    (void)state;
    struct pair a = pair_make(), b = pair_make();
    demi_qtoken_t qt = 7;
    must_fail(demi_qconnect_watch(NULL, a.rx, b.tx), EINVAL);
    must_fail(demi_qconnect(-1, b.tx), EBADF);
    must_fail(demi_qconnect(a.rx, 1 << 20), EBADF);
    must_fail(demi_qconnect_watch(&qt, a.rx, -5), EBADF);
    assert_int_equal(qt, 7);
    qt = pop_start(a.rx); /* still free */
    must(demi_cancel(qt));
    close_both(a, b);
}

static void test_connect_socket_without_peer_is_refused(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    struct pair a = pair_make();
    int qd = -1, filter = -1, to = memory_queue(0);
    bool stream = backend_can(CAN_STREAM);
    must(demi_socket(&qd, backend()->domain, backend()->type, 0));
    must_fail(demi_qconnect(a.rx, qd), stream ? ENOTCONN : EDESTADDRREQ);
    if (stream)
        must_fail(demi_qconnect(qd, to), ENOTCONN);
    must(demi_filter(&filter, qd, pass_all, NULL));
    must_fail(demi_qconnect(a.rx, filter), stream ? ENOTCONN : EDESTADDRREQ);
    demi_qtoken_t qt = pop_start(a.rx);
    must(demi_cancel(qt));
    must(demi_close(filter));
    must(demi_close(qd));
    must(demi_close(to));
    pair_close(a);
}

static void test_connect_cancel_gives_the_pop_side_back(void **state)
{
    (void)state;
    struct pair a = pair_make(), b = pair_make();
    demi_qresult_t qr;
    for (uint64_t i = 0; i < 3; i++) {
        demi_qtoken_t qt = watch(a.rx, b.tx);
        demi_sgarray_t sga = pattern_sga(10, i, 0);
        push_all(a.tx, &sga);
        pop_pattern(b.rx, 10, i, 0);
        must_fail(demi_wait(&qr, qt, ZERO_TIME), ETIMEDOUT);
        must(demi_cancel(qt));
        must_fail(demi_cancel(qt), EINVAL);
        push_all(a.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(a.rx, 10, i, 0);
    }
    close_both(a, b);
}

static void test_connect_close_of_either_end_is_told(void **state)
{
    (void)state;
    struct pair a = pair_make(), b = pair_make();
    demi_qtoken_t qt = watch(a.rx, b.tx);
    must(demi_close(b.tx));
    assert_int_equal(wait_failure(qt), ECANCELED);
    if (b.rx != b.tx)
        must(demi_close(b.rx));
    qt = pop_start(a.rx);
    must(demi_cancel(qt));
    b = pair_make();
    qt = watch(a.rx, b.tx);
    must(demi_close(a.rx));
    assert_int_equal(wait_failure(qt), ECANCELED);
    if (a.rx != a.tx)
        must(demi_close(a.tx));
    pair_close(b);
}

static void test_connect_through_operators(void **state)
{
    (void)state;
    struct pair a = pair_make(), b = pair_make();
    int in = -1, out = -1, parts[2];
    must(demi_filter(&in, a.rx, pass_all, NULL));
    must(demi_partition(parts, 2, in, first_output, NULL));
    must(demi_filter(&out, b.tx, pass_all, NULL));
    must(demi_qconnect(parts[0], out));
    for (uint64_t i = 0; i < 20; i++) {
        demi_sgarray_t sga = pattern_sga(100, i, 0);
        push_all(a.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(b.rx == b.tx ? out : b.rx, 100, i, 0);
    }
    close_both(a, b);
    must(demi_close(parts[0]));
    must(demi_close(parts[1]));
    must(demi_close(in));
    must(demi_close(out));
}

/* What is said of a full queue needs one whose capacity is known. */
static void test_connect_full_queue_holds_the_source_back(void **state)
{
    (void)state;
    int in = memory_queue(0), out = memory_queue(1);
    demi_qtoken_t qt = watch(in, out);
    push_numbers(in, 0, 100);
    run();
    assert_true(moved() <= 1);
    must(demi_cancel(qt));
    pop_numbers(in, 1, 100); /* what was on its way came back, in order */
    must_have_nothing(in);
    pop_numbers(out, 0, 1);
    must_have_nothing(out);
    must(demi_close(in));
    must(demi_close(out));
}

static void test_connect_slow_consumer_gets_all_in_order(void **state)
{
    (void)state;
    int in = memory_queue(0), middle = memory_queue(3), out = memory_queue(2);
    demi_qtoken_t first = watch(in, middle), second = watch(middle, out);
    push_numbers(in, 0, 300);
    must(demi_shutdown(in, SHUT_WR));
    pop_numbers(out, 0, 300);
    pop_end(out);
    wait_success(first, DEMI_OPC_CLOSE);
    wait_success(second, DEMI_OPC_CLOSE);
    must(demi_close(in));
    must(demi_close(middle));
    must(demi_close(out));
}

static void test_connect_error_of_out_returns_the_elements(void **state)
{
    (void)state;
    int in = memory_queue(0), out = memory_queue(2);
    demi_qtoken_t qt = watch(in, out);
    push_numbers(in, 0, 60);
    run();
    must(demi_shutdown(out, SHUT_RD)); /* two are dropped there, and the rest is refused */
    assert_int_equal(wait_failure(qt), EPIPE);
    pop_numbers(in, 2, 60);
    must_have_nothing(in);
    must_fail(demi_cancel(qt), EINVAL);
    qt = watch(in, out);
    push_numbers(in, 0, 1);
    assert_int_equal(wait_failure(qt), EPIPE);
    pop_numbers(in, 0, 1);
    must(demi_close(in));
    must(demi_close(out));
}

static void test_connect_reset_of_out_is_told(void **state)
{
    (void)state;
    backend_needs(CAN_KERNEL | CAN_LISTEN);
    int in = memory_queue(0), out = -1, fd = -1;
    plain_pair(&out, &fd);
    demi_qtoken_t qt = watch(in, out);
    plain_reset(fd);
    demi_qresult_t qr;
    const struct timespec soon = ms_time(1);
    int r;
    do { /* until the reset is there */
        push_numbers(in, 9, 10);
        r = demi_wait(&qr, qt, &soon);
    } while (r == ETIMEDOUT);
    assert_int_equal(r, 0);
    assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
    assert_true(qr.qr_ret == ECONNRESET || qr.qr_ret == EPIPE);
    must(demi_shutdown(in, SHUT_WR));
    pop_numbers(in, 9, 10);
    must(demi_close(in));
    must(demi_close(out));
}

static void test_connect_circles_are_refused(void **state)
{
    (void)state;
    int a = memory_queue(0), b = memory_queue(0), c = memory_queue(0), f = -1, m = -1;
    must_fail(demi_qconnect(a, a), EDEADLK);
    must(demi_filter(&f, a, pass_all, NULL));
    must_fail(demi_qconnect(f, a), EDEADLK);
    must_fail(demi_qconnect(f, f), EDEADLK);
    demi_qtoken_t ab = watch(f, b);
    must_fail(demi_qconnect(b, a), EDEADLK);
    must_fail(demi_qconnect(b, f), EDEADLK);
    must(demi_qconnect(b, c));
    must_fail(demi_qconnect(c, a), EDEADLK);
    must_fail(demi_qconnect(c, b), EDEADLK);
    must(demi_cancel(ab));
    must(demi_qconnect(c, a)); /* a is no longer connected */
    must_fail(demi_qconnect(f, b), EDEADLK);
    must(demi_close(c));
    run();
    must(demi_qconnect(f, b));
    int d = memory_queue(0), e = memory_queue(0);
    must(demi_merge(&m, d, e));
    must_fail(demi_qconnect(m, e), EDEADLK);
    must(demi_qconnect(m, a));
    for (size_t i = 0; i < 7; i++)
        if (i != 2)
            must(demi_close((int[]){a, b, c, d, e, f, m}[i]));
}

static void test_connect_many_to_one(void **state)
{
    (void)state;
    int in[8], out = memory_queue(0);
    for (size_t i = 0; i < COUNT_OF(in); i++) {
        in[i] = memory_queue(0);
        must(demi_qconnect(in[i], out));
    }
    for (size_t i = 0; i < COUNT_OF(in); i++)
        push_numbers(in[i], 5, 15);
    uint64_t next[COUNT_OF(in)] = {0}, total = 0;
    for (; total < 80; total++) {
        demi_sgarray_t sga = pop_one(out);
        next[0] += sga_bytes(&sga);
        must(demi_sgafree(&sga));
    }
    assert_int_equal(next[0], 8 * (6 + 15) * 10 / 2);
    must(demi_close(out));
    for (size_t i = 0; i < COUNT_OF(in); i++)
        must(demi_close(in[i]));
}

static void test_connect_copies_nothing(void **state)
{
    (void)state;
    int in = memory_queue(0), out = memory_queue(1);
    uint64_t before = 0, after = 0;
    must(demi_qconnect(in, out));
    const uint32_t lens[3] = {10, 2000, 7};
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 3);
    assert_int_equal(sga.sga_numsegs, 3);
    void *at = sga.sga_segs[1].sgaseg_buf;
    assert_true(stat_value("mem.copies_small", &before));
    for (int i = 0; i < 5; i++)
        push_all(in, &sga);
    must(demi_sgafree(&sga));
    for (int i = 0; i < 5; i++) {
        sga = pop_one(out);
        assert_int_equal(sga.sga_numsegs, 3);
        assert_ptr_equal(sga.sga_segs[1].sgaseg_buf, at);
        must(demi_sgafree(&sga));
    }
    assert_true(stat_value("mem.copies_small", &after));
    assert_int_equal(before, after);
    must(demi_close(in));
    must(demi_close(out));
}

/* Bounded memory: a peer that does not read stops the one that sends. */
static void test_connect_slow_peer_stops_the_sender(void **state)
{
    (void)state;
    backend_needs(CAN_KERNEL | CAN_LISTEN);
    int in = -1, out = -1, from = -1, to = -1;
    plain_pair(&in, &from);
    plain_pair(&out, &to);
    must(demi_qconnect(in, out));
    static uint8_t bytes[1 << 16];
    uint64_t sent = 0, got = 0;
    for (int quiet = 0; quiet < 50;) {
        pattern_fill(bytes, sizeof bytes, 1, sent);
        ssize_t n = send(from, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        quiet = n > 0 ? 0 : quiet + 1;
        sent += n > 0 ? (uint64_t)n : 0;
        run();
        assert_true(sent < 256u << 20);
    }
    shutdown(from, SHUT_WR);
    for (;;) {
        ssize_t n = recv(to, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n > 0)
            pattern_check(bytes, (size_t)n, 1, got);
        got += n > 0 ? (uint64_t)n : 0;
        run();
    }
    assert_int_equal(got, sent);
    must(demi_close(in));
    must(demi_close(out));
    close(from);
    close(to);
}

static void test_connect_left_at_the_end_is_no_leak(void **state)
{
    (void)state;
    demi_qtoken_t qt;
    for (int i = 0; i < 3; i++) {
        must(demi_init(NULL));
        struct pair a = pair_make(), b = pair_make();
        int in = memory_queue(0), out = memory_queue(1);
        must(demi_qconnect_watch(&qt, a.rx, b.tx));
        must(demi_qconnect(in, out));
        push_numbers(in, 0, 40);
        run();
        must(demi_fini());
    }
}

static void test_connect_end_of_the_library_sends_what_is_on_its_way(void **state)
{
    (void)state;
    backend_needs(CAN_KERNEL | CAN_LISTEN);
    must(demi_init(NULL));
    static uint8_t bytes[100000];
    /* Where the stack ends with the library, the peer must take all before somebody reads. */
    const size_t each = backend_can(CAN_FDS) ? sizeof bytes : 5000;
    int in = memory_queue(0), out = -1, fd = -1;
    plain_pair(&out, &fd);
    must(demi_qconnect(in, out));
    for (uint64_t i = 0; i < 10; i++) {
        demi_sgarray_t sga = pattern_sga(each, 2, i * each);
        push_all(in, &sga);
        must(demi_sgafree(&sga));
    }
    must(demi_fini());
    for (uint64_t i = 0; i < 10; i++) {
        plain_receive(fd, bytes, each);
        pattern_check(bytes, each, 2, i * each);
    }
    close(fd);
}

int run_connect_tests(void)
{
    const struct CMUnitTest tests[] = {
        STARTED(test_connect_moves_what_is_pushed),
        STARTED(test_connect_what_was_there_before_moves_too),
        STARTED(test_connect_megabytes_arrive_whole),
        STARTED(test_connect_both_ways_is_a_relay),
        STARTED(test_connect_socket_to_itself_echoes),
        STARTED(test_connect_end_passes_behind_the_elements),
        STARTED(test_connect_takes_the_pop_side),
        STARTED(test_connect_bad_arguments_are_refused),
        STARTED(test_connect_socket_without_peer_is_refused),
        STARTED(test_connect_cancel_gives_the_pop_side_back),
        STARTED(test_connect_close_of_either_end_is_told),
        STARTED(test_connect_through_operators),
        STARTED(test_connect_full_queue_holds_the_source_back),
        STARTED(test_connect_slow_consumer_gets_all_in_order),
        STARTED(test_connect_error_of_out_returns_the_elements),
        STARTED(test_connect_reset_of_out_is_told),
        STARTED(test_connect_circles_are_refused),
        STARTED(test_connect_many_to_one),
        STARTED(test_connect_copies_nothing),
        STARTED(test_connect_slow_peer_stops_the_sender),
        UNSTARTED(test_connect_left_at_the_end_is_no_leak),
        UNSTARTED(test_connect_end_of_the_library_sends_what_is_on_its_way),
    };
    return cmocka_run_group_tests_name("connect", tests, NULL, NULL);
}
