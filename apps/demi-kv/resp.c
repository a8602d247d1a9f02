/* SPDX-License-Identifier: MIT */
/*
 * The scanner of requests (resp.h): arrays of bulk strings, and errors. Inline commands are in
 * resp_inline.c.
 */
#include "resp.h"

#include "numbers.h"
#include "resp_inline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A list of arguments longer than this is not kept for the next command. */
#define KEEP_ARGS 1024

/* What a header of three digits takes. */
#define SHORT_BYTES 6

void resp_init(struct resp_scan *scan, const struct resp_limits *limits)
{
    memset(scan, 0, sizeof(*scan));
    scan->limits = limits;
}

void resp_fini(struct resp_scan *scan)
{
    free(scan->argv);
    scan->argv = NULL;
    scan->argc = scan->argv_cap = 0;
}

/* Begins the next command; keeps the list's memory, unless a huge command made it huge. */
static inline void restart(struct resp_scan *scan)
{
    if (__builtin_expect(scan->argv_cap > KEEP_ARGS, 0))
        resp_fini(scan);
    scan->argc = scan->pos = 0;
    scan->error = RESP_OK;
}

static bool reserve_args(struct resp_scan *scan, uint32_t wanted)
{
    uint32_t cap = scan->argv_cap ? scan->argv_cap : 16;
    struct resp_arg *argv;

    while (cap < wanted)
        cap *= 2;
    argv = realloc(scan->argv, cap * sizeof(*argv));
    if (!argv)
        return false;
    scan->argv = argv;
    scan->argv_cap = cap;
    return true;
}

bool resp_add_arg(struct resp_scan *scan, uint32_t off, uint32_t len)
{
    if (__builtin_expect(scan->argc == scan->argv_cap, 0) && !reserve_args(scan, scan->argc + 1))
        return false;
    scan->argv[scan->argc].off = off;
    scan->argv[scan->argc++].len = len;
    return true;
}

enum resp_status resp_fail(struct resp_scan *scan, enum resp_error error)
{
    scan->error = (uint8_t)error;
    return RESP_ERROR;
}

void resp_error_text(const struct resp_scan *scan, char text[RESP_ERROR_CHARS])
{
    static const char *const texts[] = {
        [RESP_OK] = "no error",
        [RESP_BIG_INLINE] = "too big inline request",
        [RESP_UNBALANCED_QUOTES] = "unbalanced quotes in request",
        [RESP_BIG_COUNT_LINE] = "too big mbulk count string",
        [RESP_BAD_COUNT] = "invalid multibulk length",
        [RESP_BIG_LENGTH_LINE] = "too big bulk count string",
        [RESP_NO_DOLLAR] = "expected '$', got ",
        [RESP_BAD_LENGTH] = "invalid bulk length",
    };

    if (scan->error == RESP_NO_DOLLAR)
        snprintf(text, RESP_ERROR_CHARS, "Protocol error: %s'%c'", texts[scan->error], scan->got);
    else
        snprintf(text, RESP_ERROR_CHARS, "Protocol error: %s", texts[scan->error]);
}

/* Reads a header that is not of the usual kind, or wrong. */
static __attribute__((noinline)) enum resp_status
read_any_header(struct resp_scan *scan, char **at, const char *end, char type, int64_t *number)
{
    size_t have = (size_t)(end - *at), most = RESP_MAX_LINE + 1;
    char *line = *at, *cr = memchr(line, '\r', have < most ? have : most);
    bool counts = type == '*';

    if ((cr ? (size_t)(cr - line) : have) > RESP_MAX_LINE)
        return resp_fail(scan, counts ? RESP_BIG_COUNT_LINE : RESP_BIG_LENGTH_LINE);
    if (!cr || cr + 1 == end)
        return RESP_MORE;
    if (*line != type) {
        scan->got = *line;
        return resp_fail(scan, RESP_NO_DOLLAR);
    }
    if (!kv_parse_i64(line + 1, (size_t)(cr - line - 1), number))
        return resp_fail(scan, counts ? RESP_BAD_COUNT : RESP_BAD_LENGTH);
    *at = cr + 2;
    return RESP_COMMAND;
}

/* Reads the header at *at, and goes behind it. A number of one to three digits is the rule. */
static inline enum resp_status read_header(struct resp_scan *scan, char **at, const char *end,
                                           char type, int64_t *number)
{
    unsigned n, digit;
    char *p = *at;

    if (end - p < SHORT_BYTES || *p != type || (n = (unsigned)(p[1] - '0')) - 1 > 8)
        return read_any_header(scan, at, end, type, number);
    p += 2;
    for (int i = 0; i < 2 && (digit = (unsigned)(*p - '0')) <= 9; i++, p++)
        n = n * 10 + digit;
    if (*p != '\r')
        return read_any_header(scan, at, end, type, number);
    *number = n;
    *at = p + 2;
    return RESP_COMMAND;
}

/* Finds so many arguments, the first at p. */
static enum resp_status scan_args(struct resp_scan *scan, char *buf, char *p, const char *end,
                                  int64_t count)
{
    int64_t bulk;

    for (; count > 0; count--) {
        enum resp_status status = read_header(scan, &p, end, '$', &bulk);
        if (__builtin_expect(status != RESP_COMMAND, 0))
            return status;
        if (bulk < 0 || bulk > scan->limits->max_bulk)
            return resp_fail(scan, RESP_BAD_LENGTH);
        if (end - p < bulk + RESP_BULK_END_BYTES)
            return RESP_MORE;
        if (!resp_add_arg(scan, (uint32_t)(p - buf), (uint32_t)bulk))
            return RESP_NO_MEMORY;
        p += bulk + RESP_BULK_END_BYTES;
    }
    scan->pos = (uint32_t)(p - buf);
    return RESP_COMMAND;
}

enum resp_status resp_scan(struct resp_scan *scan, char *buf, uint32_t len)
{
    char *p = buf;
    enum resp_status status;
    int64_t count;

    restart(scan);
    if (len == 0)
        return RESP_MORE;
    if (*buf != '*')
        return resp_scan_inline(scan, buf, len);
    status = read_header(scan, &p, buf + len, '*', &count);
    if (status != RESP_COMMAND)
        return status;
    if (count > scan->limits->max_args)
        return resp_fail(scan, RESP_BAD_COUNT);
    return scan_args(scan, buf, p, buf + len, count);
}
