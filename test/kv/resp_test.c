/* SPDX-License-Identifier: MIT */
/*
 * The scanner of requests: the same stream gives the same commands wherever it is cut, and each
 * malformed one its own error. The bytes given to it stand at the end of a block of their own, so
 * that a sanitizer sees a read behind them.
 */
#include "kv_unit.h"

#include "resp.h"

static const struct resp_limits limits = {RESP_MAX_BULK, RESP_MAX_ARGS};

/* What a stream meant, one line per command, as text. */
struct transcript {
    char text[4096];
    size_t len;
};

static void note_bytes(struct transcript *t, const char *p, size_t len)
{
    assert_true(t->len + len < sizeof(t->text));
    memcpy(t->text + t->len, p, len);
    t->len += len;
    t->text[t->len] = '\0';
}

static void note(struct transcript *t, const char *text)
{
    note_bytes(t, text, strlen(text));
}

static void note_command(struct transcript *t, const struct resp_scan *scan, const char *buf)
{
    for (uint32_t i = 0; i < scan->argc; i++) {
        note(t, i ? " <" : "<");
        note_bytes(t, buf + scan->argv[i].off, scan->argv[i].len);
        note(t, ">");
    }
    note(t, "\n");
}

/* Scans what stands in `stream` from *at, of which `len` bytes have arrived, command by command. */
static enum resp_status scan_arrived(struct resp_scan *scan, const char *stream, size_t *at,
                                     size_t len, struct transcript *t)
{
    enum resp_status status = RESP_COMMAND;

    while (status == RESP_COMMAND && *at < len) {
        size_t have = len - *at;
        char *copy = malloc(have);
        assert_non_null(copy);
        memcpy(copy, stream + *at, have);
        status = resp_scan(scan, copy, (uint32_t)have);
        if (status == RESP_COMMAND) {
            note_command(t, scan, copy);
            *at += scan->pos;
        }
        free(copy);
    }
    return status;
}

/* The transcript of a stream that arrives in pieces which end at these places. */
static void transcribe(const char *stream, const size_t ends[], size_t num_ends,
                       struct transcript *t)
{
    enum resp_status status = RESP_COMMAND;
    struct resp_scan scan;
    size_t at = 0;

    t->len = 0;
    t->text[0] = '\0';
    resp_init(&scan, &limits);
    for (size_t i = 0; i < num_ends && status != RESP_ERROR; i++)
        status = scan_arrived(&scan, stream, &at, ends[i], t);
    if (status == RESP_ERROR) {
        char text[RESP_ERROR_CHARS];
        resp_error_text(&scan, text);
        note(t, text);
    } else if (status == RESP_MORE) {
        note(t, "...");
    }
    resp_fini(&scan);
}

/* Cuts a stream in one place, everywhere; in two places, everywhere; and after every byte. */
static void must_mean(const char *stream, size_t len, const char *want)
{
    struct transcript t;
    size_t *each = malloc(len * sizeof(*each));

    assert_non_null(each);
    for (size_t i = 0; i < len; i++)
        each[i] = i + 1;
    transcribe(stream, each, len, &t);
    assert_string_equal(t.text, want);
    free(each);
    for (size_t i = 0; i <= len; i++) {
        for (size_t k = i; k <= len; k++) {
            size_t ends[] = {i, k, len};
            transcribe(stream, ends, 3, &t);
            if (strcmp(t.text, want) != 0)
                fail_msg("cut at %zu and %zu: %s", i, k, t.text);
        }
    }
}

#define MUST_MEAN(stream, want) must_mean(stream, sizeof(stream) - 1, want)

static void test_stream_cut_anywhere_same_commands(void **state)
{
    (void)state;
    MUST_MEAN("*3\r\n$3\r\nSET\r\n$5\r\nhello\r\n$12\r\nworld\r\n$3\r\nX\r\n"
              "PING\r\n\r\n  GET  key \n*0\r\n*-5\r\n*1\r\n$0\r\n\r\n"
              "*2\r\n$3\r\nGET\r\n$11\r\nhello world\r\n",
              "<SET> <hello> <world\r\n$3\r\nX>\n<PING>\n\n<GET> <key>\n\n\n<>\n"
              "<GET> <hello world>\n");
}

static void test_stream_ends_early_waits(void **state)
{
    (void)state;
    MUST_MEAN("*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$5\r\nab", "<PING>\n...");
    MUST_MEAN("PING\r\nPIN", "<PING>\n...");
    MUST_MEAN("*1\r\n$4\r\nPING\r", "...");
    MUST_MEAN("*", "...");
}

/* As in Redis, the byte behind a CR and the two behind a bulk string are not looked at. */
static void test_stream_odd_line_ends_skipped(void **state)
{
    (void)state;
    MUST_MEAN("*1\r\n$4\r\nPINGxx*1\rX$4\rXPING\r\n", "<PING>\n<PING>\n");
}

static void test_inline_quotes_as_redis(void **state)
{
    (void)state;
    MUST_MEAN("set \"a b\" 'c d'\r\n", "<set> <a b> <c d>\n");
    MUST_MEAN("echo \"\\x41\\n\\\"\\q\\t\"\r\n", "<echo> <A\n\"q\t>\n");
    MUST_MEAN("echo '\\'\\x41' a\"b c\"\r\n", "<echo> <'\\x41> <ab c>\n");
    MUST_MEAN("echo \"\" ''\r\n", "<echo> <> <>\n");
    MUST_MEAN("\t ping\t\"x\\xzz\"\n", "<ping> <xxzz>\n");
}

static void test_inline_bad_quotes_error(void **state)
{
    static const char want[] = "Protocol error: unbalanced quotes in request";

    (void)state;
    MUST_MEAN("set \"a b\r\n", want);
    MUST_MEAN("set 'a b\r\n", want);
    MUST_MEAN("set \"a\"b\r\n", want);
    MUST_MEAN("set 'a'\"b\"\r\n", want);
    MUST_MEAN("echo \"a\\\r\n", want);
}

static void test_header_malformed_error(void **state)
{
    (void)state;
    MUST_MEAN("*abc\r\n", "Protocol error: invalid multibulk length");
    MUST_MEAN("*\r\n", "Protocol error: invalid multibulk length");
    MUST_MEAN("*\r\r\n\n\n", "Protocol error: invalid multibulk length");
    MUST_MEAN("*01\r\n", "Protocol error: invalid multibulk length");
    MUST_MEAN("*1048577\r\n", "Protocol error: invalid multibulk length");
    MUST_MEAN("*99999999999999999999\r\n", "Protocol error: invalid multibulk length");
    MUST_MEAN("*1\r\nPING\r\n", "Protocol error: expected '$', got 'P'");
    MUST_MEAN("*2\r\n$1\r\na\r\n:1\r\n", "Protocol error: expected '$', got ':'");
    MUST_MEAN("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
    MUST_MEAN("*1\r\n$x\r\n", "Protocol error: invalid bulk length");
    MUST_MEAN("*1\r\n$\r\n", "Protocol error: invalid bulk length");
    MUST_MEAN("*1\r\n$536870913\r\n", "Protocol error: invalid bulk length");
    MUST_MEAN("PING\r\n*1\r\n$+4\r\n", "<PING>\nProtocol error: invalid bulk length");
}

static void test_header_largest_values_accepted(void **state)
{
    (void)state;
    MUST_MEAN("*1048576\r\n", "...");
    MUST_MEAN("*1\r\n$536870912\r\n", "...");
}

/* A long line, whole or in two pieces, ended or not. */
static void must_be_too_long(const char *start, const char *want)
{
    const size_t len = RESP_MAX_LINE + 100;
    char *stream = malloc(len + 2);
    struct transcript t;

    assert_non_null(stream);
    memset(stream, '1', len);
    memcpy(stream, start, strlen(start));
    memcpy(stream + len, "\r\n", 2);
    for (size_t cut = 0; cut <= len + 2; cut += 997) {
        transcribe(stream, (size_t[]){cut, len}, cut <= len ? 2 : 1, &t);
        assert_string_equal(t.text, want);
        transcribe(stream, (size_t[]){cut, len + 2}, 2, &t);
        assert_string_equal(t.text, want);
    }
    free(stream);
}

static void test_line_too_long_error(void **state)
{
    (void)state;
    must_be_too_long("A", "Protocol error: too big inline request");
    must_be_too_long("*", "Protocol error: too big mbulk count string");
    must_be_too_long("*1\r\n$", "Protocol error: too big bulk count string");
}

static void test_inline_longest_line_accepted(void **state)
{
    char *line = malloc(RESP_MAX_LINE + 1);
    struct resp_scan scan;

    (void)state;
    assert_non_null(line);
    memset(line, 'a', RESP_MAX_LINE);
    line[RESP_MAX_LINE] = '\n';
    resp_init(&scan, &limits);
    assert_int_equal(resp_scan(&scan, line, RESP_MAX_LINE + 1), RESP_COMMAND);
    assert_int_equal(scan.argv[0].len, RESP_MAX_LINE);
    resp_fini(&scan);
    free(line);
}

static void test_arguments_many_all_found(void **state)
{
    const unsigned n = 100000;
    char *stream = malloc(n * 16), *p = stream;
    struct resp_scan scan;

    (void)state;
    assert_non_null(stream);
    p += sprintf(p, "*%u\r\n", n);
    for (unsigned i = 0; i < n; i++)
        p += sprintf(p, "$5\r\n%05u\r\n", i % 100000);
    resp_init(&scan, &limits);
    assert_int_equal(resp_scan(&scan, stream, (uint32_t)(p - stream)), RESP_COMMAND);
    assert_int_equal(scan.argc, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(strtoul(stream + scan.argv[i].off, NULL, 10), i % 100000);
    strcpy(stream, "PING\n");
    assert_int_equal(resp_scan(&scan, stream, 5), RESP_COMMAND);
    assert_true(scan.argv_cap < n); /* the memory of a huge command is not kept */
    resp_fini(&scan);
    free(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_cut_anywhere_same_commands),
        cmocka_unit_test(test_stream_ends_early_waits),
        cmocka_unit_test(test_stream_odd_line_ends_skipped),
        cmocka_unit_test(test_inline_quotes_as_redis),
        cmocka_unit_test(test_inline_bad_quotes_error),
        cmocka_unit_test(test_header_malformed_error),
        cmocka_unit_test(test_header_largest_values_accepted),
        cmocka_unit_test(test_line_too_long_error),
        cmocka_unit_test(test_inline_longest_line_accepted),
        cmocka_unit_test(test_arguments_many_all_found),
    };

    return cmocka_run_group_tests_name("kv-resp", tests, NULL, NULL);
}
