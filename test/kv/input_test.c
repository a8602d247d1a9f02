/* SPDX-License-Identifier: MIT */
/*
 * Commands that arrive in pieces: the arguments come out the same whatever the pieces are, large
 * ones in blobs of exactly their size, and nothing of the next command is taken.
 */
#include "kv_unit.h"

#include "input.h"

#define LIMIT (64u << 20)

static const struct resp_limits limits = {RESP_MAX_BULK, RESP_MAX_ARGS};

/* A command of these arguments, followed by the beginning of another. */
struct request {
    char *bytes;
    uint32_t len; /* of the command */
    uint32_t all; /* with what follows */
    const uint32_t *lens;
    uint32_t ends[8]; /* of each argument, with its CR LF */
    uint32_t argc;
};

#define FOLLOWING "*1\r\n$4\r\nPI"

static char pattern(uint32_t arg, uint32_t at)
{
    return (char)('a' + (arg * 7 + at % 251 + at / 4096) % 26);
}

static struct request make_request(const uint32_t *lens, uint32_t argc)
{
    struct request r = {.lens = lens, .argc = argc};
    size_t size = 64;
    char *p;

    for (uint32_t i = 0; i < argc; i++)
        size += lens[i] + 32;
    r.bytes = malloc(size);
    if (!r.bytes)
        abort();
    p = r.bytes;
    p += sprintf(p, "*%u\r\n", argc);
    for (uint32_t i = 0; i < argc; i++) {
        p += sprintf(p, "$%u\r\n", lens[i]);
        for (uint32_t k = 0; k < lens[i]; k++)
            *p++ = pattern(i, k);
        p += sprintf(p, "\r\n");
        r.ends[i] = (uint32_t)(p - r.bytes);
    }
    r.len = (uint32_t)(p - r.bytes);
    p += sprintf(p, "%s", FOLLOWING);
    r.all = (uint32_t)(p - r.bytes);
    return r;
}

static const char *argument(const struct kv_input *in, uint32_t i)
{
    const struct resp_arg *arg = &in->scan.argv[i];

    return arg->off & RESP_OUTSIDE ? in->blobs[arg->off & ~RESP_OUTSIDE].data : in->buf + arg->off;
}

/* A large argument stands in a blob, unless it had arrived whole before there was an input. */
static void check_arguments(const struct kv_input *in, const struct request *r, uint32_t first)
{
    assert_int_equal(in->scan.argc, r->argc);
    for (uint32_t i = 0; i < r->argc; i++) {
        const char *p = argument(in, i);
        assert_int_equal(in->scan.argv[i].len, r->lens[i]);
        assert_int_equal(!!(in->scan.argv[i].off & RESP_OUTSIDE),
                         r->lens[i] >= KV_BLOB_MIN && r->ends[i] > first);
        for (uint32_t k = 0; k < r->lens[i]; k++)
            if (p[k] != pattern(i, k))
                fail_msg("argument %u differs at %u", i, k);
    }
}

/* The reply that a blob is must be whole. */
static void check_blobs(const struct kv_input *in)
{
    for (uint32_t i = 0; i < in->num_blobs; i++) {
        demi_sgarray_t reply = kv_blob_reply(&in->blobs[i]);
        const char *p = reply.sga_segs[0].sgaseg_buf;
        char header[16];
        int n = snprintf(header, sizeof(header), "$%u\r\n", in->blobs[i].len);
        assert_memory_equal(p, header, (size_t)n);
        assert_memory_equal(p + reply.sga_segs[0].sgaseg_len - 2, "\r\n", 2);
    }
}

/* Feeds a request whose first piece is `first` long and the others `piece`. */
static void feed(const struct request *r, uint32_t first, uint32_t piece)
{
    struct resp_scan scan;
    struct kv_input *in;
    enum resp_status status;
    uint32_t at = first, used = 0;

    resp_init(&scan, &limits);
    status = resp_scan(&scan, r->bytes, first);
    assert_int_equal(status, RESP_MORE);
    in = kv_input_create(&scan, r->bytes, first, LIMIT);
    assert_non_null(in);
    while (status == RESP_MORE) {
        uint32_t len = r->all - at < piece ? r->all - at : piece;
        status = kv_input_feed(in, r->bytes + at, len, &used);
        assert_true(used <= len && (status == RESP_COMMAND || used == len));
        at += used;
    }
    assert_int_equal(status, RESP_COMMAND);
    assert_int_equal(at, r->len);
    check_arguments(in, r, first);
    check_blobs(in);
    kv_input_free(in);
    resp_fini(&scan);
}

static void test_small_command_cut_anywhere_same_arguments(void **state)
{
    static const uint32_t lens[] = {3, 0, 12, 100};
    struct request r = make_request(lens, 4);

    (void)state;
    for (uint32_t first = 1; first < r.len; first++)
        for (uint32_t piece = 1; piece <= r.all; piece += piece < 8 ? 1 : 29)
            feed(&r, first, piece);
    free(r.bytes);
}

static void test_large_arguments_cut_anywhere_same_arguments(void **state)
{
    static const uint32_t lens[] = {4, KV_BLOB_MIN - 1, KV_BLOB_MIN, 10, 3 * KV_BLOB_MIN + 1};
    struct request r = make_request(lens, 5);

    (void)state;
    for (uint32_t first = 1; first < r.len; first += first < 64 ? 1 : 487)
        for (uint32_t piece = 4096; piece <= r.all; piece *= 3)
            feed(&r, first, piece);
    feed(&r, 1, 1);
    free(r.bytes);
}

static void test_large_argument_ends_cut_same_arguments(void **state)
{
    static const uint32_t lens[] = {KV_BLOB_MIN, KV_BLOB_MIN};
    struct request r = make_request(lens, 2);

    (void)state;
    for (uint32_t first = KV_BLOB_MIN - 8; first < KV_BLOB_MIN + 32; first++)
        for (uint32_t piece = 1; piece < 40; piece++)
            feed(&r, first, piece < 20 ? piece : KV_BLOB_MIN - 20 + piece);
    free(r.bytes);
}

static void test_command_over_limit_refused(void **state)
{
    static const char header[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n";
    char bytes[sizeof(header)];
    struct resp_scan scan;

    (void)state;
    memcpy(bytes, header, sizeof(header));
    resp_init(&scan, &limits);
    assert_int_equal(resp_scan(&scan, bytes, sizeof(header) - 1), RESP_MORE);
    assert_null(kv_input_create(&scan, bytes, sizeof(header) - 1, LIMIT));
    resp_fini(&scan);
}

static void test_malformed_second_argument_error(void **state)
{
    char bytes[] = "*2\r\n$1\r\na\r\n!bad\r\n";
    struct resp_scan scan;
    struct kv_input *in;
    uint32_t used;

    (void)state;
    resp_init(&scan, &limits);
    assert_int_equal(resp_scan(&scan, bytes, 6), RESP_MORE);
    in = kv_input_create(&scan, bytes, 6, LIMIT);
    assert_non_null(in);
    assert_int_equal(kv_input_feed(in, bytes + 6, sizeof(bytes) - 7, &used), RESP_ERROR);
    assert_int_equal(in->scan.error, RESP_NO_DOLLAR);
    kv_input_free(in);
    resp_fini(&scan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_command_cut_anywhere_same_arguments),
        cmocka_unit_test(test_large_arguments_cut_anywhere_same_arguments),
        cmocka_unit_test(test_large_argument_ends_cut_same_arguments),
        cmocka_unit_test(test_command_over_limit_refused),
        cmocka_unit_test(test_malformed_second_argument_error),
    };

    return cmocka_run_group_tests_name("kv-input", tests, unit_start_library, unit_stop_library);
}
