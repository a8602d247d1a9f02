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

void resp_init(struct resp_scan *scan, const struct resp_limits *limits)
{
    memset(scan, 0, sizeof(*scan));
    scan->limits = limits;
    scan->left = RESP_UNDECIDED;
    scan->bulk = RESP_NO_BULK;
}

void resp_fini(struct resp_scan *scan)
{
    free(scan->argv);
    scan->argv = NULL;
    scan->argc = scan->argv_cap = 0;
}

void resp_restart(struct resp_scan *scan)
{
    if (scan->argv_cap > KEEP_ARGS)
        resp_fini(scan);
    scan->argc = scan->pos = scan->seen = 0;
    scan->left = RESP_UNDECIDED;
    scan->bulk = RESP_NO_BULK;
    scan->error = RESP_OK;
}

static bool reserve_args(struct resp_scan *scan, uint32_t wanted)
{
    uint32_t cap = scan->argv_cap ? scan->argv_cap : 16;
    struct resp_arg *argv;

    if (wanted <= scan->argv_cap)
        return true;
    while (cap < wanted)
        cap *= 2;
    argv = realloc(scan->argv, cap * sizeof(*argv));
    if (!argv)
        return false;
    scan->argv = argv;
    scan->argv_cap = cap;
    return true;
}

bool resp_copy(struct resp_scan *to, const struct resp_scan *from)
{
    struct resp_arg *argv;
    uint32_t cap;

    if (!reserve_args(to, from->argc))
        return false;
    argv = to->argv;
    cap = to->argv_cap;
    *to = *from;
    to->argv = argv;
    to->argv_cap = cap;
    if (from->argc > 0)
        memcpy(argv, from->argv, from->argc * sizeof(*argv));
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

/*
 * Finds the CR of the header at scan->pos; the byte behind it must be there too. The common header
 * of one or two digits is found without a call.
 */
static enum resp_status find_header_end(struct resp_scan *scan, const char *buf, uint32_t len,
                                        enum resp_error too_long, uint32_t *end_out)
{
    uint32_t have = len - scan->pos;
    const char *line = buf + scan->pos, *cr;

    if (have >= 5 && line[2] == '\r')
        cr = line + 2;
    else if (have >= 5 && line[3] == '\r')
        cr = line + 3;
    else
        cr = memchr(line + scan->seen, '\r', have - scan->seen);
    if ((cr ? (size_t)(cr - line) : have) > RESP_MAX_LINE)
        return resp_fail(scan, too_long);
    if (cr && cr + 1 < buf + len) {
        scan->seen = 0;
        *end_out = (uint32_t)(cr - buf);
        return RESP_COMMAND;
    }
    scan->seen = cr ? (uint32_t)(cr - line) : have;
    scan->need = 1;
    return RESP_MORE;
}

/* Reads the number of a header, which has no other spelling. One or two digits are the rule. */
static inline bool header_number(const char *p, const char *end, int64_t *out)
{
    unsigned first = (unsigned char)p[0] - (unsigned)'0';
    unsigned second = (unsigned char)p[1] - (unsigned)'0';

    if (end - p == 1 && first <= 9) {
        *out = first;
        return true;
    }
    if (end - p == 2 && first - 1 <= 8 && second <= 9) {
        *out = first * 10 + second;
        return true;
    }
    return kv_parse_i64(p, (size_t)(end - p), out);
}

static enum resp_status scan_count(struct resp_scan *scan, const char *buf, uint32_t len)
{
    uint32_t end = 0;
    int64_t count;
    enum resp_status status = find_header_end(scan, buf, len, RESP_BIG_COUNT_LINE, &end);

    if (status != RESP_COMMAND)
        return status;
    if (!header_number(buf + scan->pos + 1, buf + end, &count) || count > scan->limits->max_args)
        return resp_fail(scan, RESP_BAD_COUNT);
    scan->left = count > 0 ? (int32_t)count : 0;
    scan->pos = end + 2;
    return RESP_COMMAND;
}

static enum resp_status scan_length(struct resp_scan *scan, const char *buf, uint32_t len)
{
    uint32_t end = 0;
    enum resp_status status = find_header_end(scan, buf, len, RESP_BIG_LENGTH_LINE, &end);

    if (status != RESP_COMMAND)
        return status;
    if (buf[scan->pos] != '$') {
        scan->got = buf[scan->pos];
        return resp_fail(scan, RESP_NO_DOLLAR);
    }
    if (!header_number(buf + scan->pos + 1, buf + end, &scan->bulk) || scan->bulk < 0 ||
        scan->bulk > scan->limits->max_bulk)
        return resp_fail(scan, RESP_BAD_LENGTH);
    scan->pos = end + 2;
    return RESP_COMMAND;
}

static enum resp_status scan_bulk(struct resp_scan *scan, uint32_t len)
{
    uint32_t whole = (uint32_t)scan->bulk + RESP_BULK_END_BYTES;

    if (len - scan->pos < whole) {
        scan->need = whole - (len - scan->pos);
        return RESP_MORE;
    }
    if (!resp_add_arg(scan, scan->pos, (uint32_t)scan->bulk))
        return RESP_NO_MEMORY;
    scan->pos += whole;
    scan->bulk = RESP_NO_BULK;
    scan->left--;
    return RESP_COMMAND;
}

static enum resp_status scan_args(struct resp_scan *scan, const char *buf, uint32_t len)
{
    enum resp_status status = RESP_COMMAND;

    while (scan->left > 0 && status == RESP_COMMAND) {
        if (scan->bulk == RESP_NO_BULK)
            status = scan_length(scan, buf, len);
        if (status == RESP_COMMAND)
            status = scan_bulk(scan, len);
    }
    return status;
}

enum resp_status resp_scan(struct resp_scan *scan, char *buf, uint32_t len)
{
    if (scan->left == RESP_UNDECIDED) {
        enum resp_status status;
        if (len == 0) {
            scan->need = 1;
            return RESP_MORE;
        }
        if (buf[0] != '*')
            return resp_scan_inline(scan, buf, len);
        status = scan_count(scan, buf, len);
        if (status != RESP_COMMAND)
            return status;
    }
    return scan_args(scan, buf, len);
}

enum resp_status resp_take_outside(struct resp_scan *scan, uint32_t index)
{
    if (!resp_add_arg(scan, RESP_OUTSIDE | index, (uint32_t)scan->bulk))
        return RESP_NO_MEMORY;
    scan->bulk = RESP_NO_BULK;
    scan->need = 1;
    return --scan->left == 0 ? RESP_COMMAND : RESP_MORE;
}
