/* SPDX-License-Identifier: MIT */
/* See framer_kit.h. A reader that runs out of bytes, or finds a mistake, jumps out. */
#include "framer_kit.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Where a reader is. */
struct reader {
    const struct kit_stream *s;
    size_t at;
    jmp_buf out;
    uint64_t left; /* RESP: values still to come */
};

static void stop(struct reader *r, int error)
{
    longjmp(r->out, error);
}

static int next(struct reader *r)
{
    if (r->at == r->s->len)
        stop(r, EAGAIN);
    return r->s->bytes[r->at++];
}

static void want(struct reader *r, int c)
{
    if (next(r) != c)
        stop(r, EPROTO);
}

static void pass(struct reader *r, uint64_t n)
{
    if (n > r->s->len - r->at)
        stop(r, EAGAIN);
    r->at += n;
}

/* Runs a reader over one element. */
static struct kit_element run(const struct kit_stream *s, size_t begin, uint32_t index,
                              void (*read)(struct reader *r, struct kit_element *e, uint32_t index))
{
    struct kit_element e = {.begin = begin};
    struct reader r = {.s = s, .at = begin};
    e.error = setjmp(r.out);
    if (e.error == 0) {
        read(&r, &e, index);
        e.end = r.at;
    }
    return e;
}

void kit_put(struct kit_stream *s, const void *bytes, size_t len)
{
    size_t room = sizeof s->bytes - s->len;
    size_t n = len < room ? len : room;
    memcpy(s->bytes + s->len, bytes, n);
    s->len += n;
}

static void put_text(struct kit_stream *s, const char *text)
{
    kit_put(s, text, strlen(text));
}

static void put_random(struct kit_stream *s, size_t len, uint64_t *seed)
{
    for (size_t i = 0; i < len; i++) {
        const uint8_t byte = (uint8_t)random_next(seed);
        kit_put(s, &byte, 1);
    }
}

/* One of a list of texts, the first half of the time. */
static void put_one_of(struct kit_stream *s, const char *const texts[], uint32_t n, uint64_t *seed)
{
    put_text(s, texts[random_below(seed, 2) ? 0 : random_below(seed, n)]);
}
#define ONE_OF(s, seed, ...)                                                                       \
    put_one_of(s, (const char *const[]){__VA_ARGS__},                                              \
               COUNT_OF(((const char *const[]){__VA_ARGS__})), seed)

static uint64_t read_number(struct reader *r, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | (unsigned)next(r);
    return value;
}

static void put_number(struct kit_stream *s, uint64_t value, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;) {
        const uint8_t byte = (uint8_t)(value >> (8 * i));
        kit_put(s, &byte, 1);
    }
}

/* ---- u32, line ---------------------------------------------------------------------------- */

static void read_u32(struct reader *r, struct kit_element *e, uint32_t index)
{
    (void)index;
    uint64_t len = read_number(r, 4);
    if (len > KIT_LIMIT)
        stop(r, EMSGSIZE);
    e->strip = 4;
    pass(r, len);
}

static struct kit_element u32_at(const struct kit_stream *s, size_t begin, uint32_t index)
{
    return run(s, begin, index, read_u32);
}

static void write_u32(struct kit_stream *s, uint32_t index, uint64_t *seed)
{
    (void)index;
    uint32_t len = random_below(seed, 4) ? random_below(seed, 40) : random_below(seed, 700);
    if (random_below(seed, 50) == 0)
        len = KIT_LIMIT + random_below(seed, 3);
    put_number(s, len, 4);
    put_random(s, len <= 700 ? len : 10, seed);
}

static void read_line(struct reader *r, struct kit_element *e, uint32_t index)
{
    (void)index;
    (void)e;
    while (next(r) != '\n') {
    }
}

static struct kit_element line_at(const struct kit_stream *s, size_t begin, uint32_t index)
{
    return run(s, begin, index, read_line);
}

static void write_line(struct kit_stream *s, uint32_t index, uint64_t *seed)
{
    (void)index;
    put_random(s, random_below(seed, 30), seed);
    put_text(s, "\n");
}

/* ---- sga ---------------------------------------------------------------------------------- */

#define HELLO                                                                                      \
    "\x89"                                                                                         \
    "demi\n\x01"

/* The checksum bit by bit. */
static uint32_t crc32c(uint32_t sum, const uint8_t *p, size_t len)
{
    sum = ~sum;
    for (size_t i = 0; i < len; i++) {
        sum ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
    }
    return ~sum;
}

static void read_sga(struct reader *r, struct kit_element *e, uint32_t index)
{
    uint64_t total = 0;
    if (index == 0) {
        for (unsigned i = 0; i < 7; i++)
            want(r, (uint8_t)HELLO[i]);
        if (next(r) > 1)
            stop(r, EPROTO);
    }
    const size_t header = r->at;
    const uint64_t count = read_number(r, 4);
    if ((count & 0xffffff) != 0 || count == 0 || count >> 24 > 8)
        stop(r, EPROTO);
    e->num_segs = (uint32_t)(count >> 24);
    for (uint32_t i = 0; i < e->num_segs; i++)
        total += e->lens[i] = (uint32_t)read_number(r, 4);
    const uint8_t *bytes = r->s->bytes;
    const bool summed = bytes[7] == 1;
    uint32_t sum = crc32c(0, bytes + header, r->at - header);
    const uint64_t wanted = summed ? read_number(r, 4) : 0;
    if (total > KIT_LIMIT)
        stop(r, EMSGSIZE);
    e->strip = r->at - e->begin;
    pass(r, total);
    if (summed && crc32c(sum, bytes + r->at - total, total) != wanted)
        stop(r, EBADMSG);
}

static struct kit_element sga_at(const struct kit_stream *s, size_t begin, uint32_t index)
{
    return run(s, begin, index, read_sga);
}

static void write_sga(struct kit_stream *s, uint32_t index, uint64_t *seed)
{
    static uint8_t data[8 * 300];
    if (index == 0) {
        put_text(s, HELLO);
        put_number(s, random_below(seed, 20) ? random_below(seed, 2) : 2, 1);
    }
    const bool summed = s->bytes[7] == 1;
    const uint32_t n = random_below(seed, 30) ? 1 + random_below(seed, 8) : random_below(seed, 10);
    const size_t header = s->len;
    size_t total = 0;
    put_number(s, n << 24, 4);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t len =
            random_below(seed, 4) ? random_below(seed, 30) : random_below(seed, 300);
        put_number(s, len, 4);
        total += len;
    }
    for (size_t i = 0; i < total && i < sizeof data; i++)
        data[i] = (uint8_t)random_next(seed);
    if (summed) {
        uint32_t sum = crc32c(0, s->bytes + header, s->len - header);
        put_number(s, crc32c(sum, data, total < sizeof data ? total : sizeof data), 4);
    }
    kit_put(s, data, total < sizeof data ? total : sizeof data);
}

/* ---- resp --------------------------------------------------------------------------------- */

/* Reads to the CR and the byte behind it; false for no number. */
static bool read_decimal(struct reader *r, bool *minus, uint64_t *number)
{
    char text[KIT_STREAM_BYTES];
    size_t n = 0;
    for (int c; (c = next(r)) != '\r';)
        text[n++] = (char)c;
    next(r);
    text[n] = '\0';
    const char *digits = text + (text[0] == '-');
    *minus = text[0] == '-';
    *number = 0;
    if (*digits == '\0' || (*digits == '0' && (digits[1] != '\0' || *minus)))
        return false;
    for (; *digits != '\0'; digits++) {
        if (!isdigit((unsigned char)*digits) ||
            *number > (uint64_t)(INT64_MAX - (*digits - '0')) / 10)
            return false;
        *number = *number * 10 + (uint64_t)(*digits - '0');
    }
    return strlen(text) == n;
}

static void read_counted(struct reader *r, const struct kit_element *e, uint64_t n)
{
    if (n > KIT_LIMIT || r->at - e->begin + n > KIT_LIMIT)
        stop(r, EMSGSIZE);
    pass(r, n + 2);
}

static void add_values(struct reader *r, uint64_t n, unsigned each)
{
    if (n > KIT_LIMIT || r->left > KIT_LIMIT)
        stop(r, EMSGSIZE);
    r->left += n * each;
}

static void read_value(struct reader *r, const struct kit_element *e, bool outermost)
{
    const int type = next(r);
    bool minus;
    uint64_t number;
    if (type == '\0' || !strchr("*~>%|$!=", type)) {
        if (!outermost && (type == '\0' || !strchr("+-:_#,(", type)))
            stop(r, EPROTO);
        for (int c = type; c != '\n';)
            c = next(r);
        return;
    }
    if (!read_decimal(r, &minus, &number))
        stop(r, EPROTO);
    if (minus) {
        if (number != 1 || (type != '*' && type != '$'))
            stop(r, EPROTO);
    } else if (strchr("$!=", type)) {
        read_counted(r, e, number);
    } else {
        add_values(r, number, strchr("%|", type) ? 2 : 1);
        r->left += type == '|';
    }
}

static void read_resp(struct reader *r, struct kit_element *e, uint32_t index)
{
    (void)index;
    for (r->left = 1; r->left > 0; r->left--)
        read_value(r, e, r->at == e->begin);
}

static struct kit_element resp_at(const struct kit_stream *s, size_t begin, uint32_t index)
{
    return run(s, begin, index, read_resp);
}

static void read_request(struct reader *r, struct kit_element *e, uint32_t index)
{
    (void)index;
    bool minus, good;
    uint64_t number, count;
    int c = next(r);
    if (c != '*') {
        while (c != '\n')
            c = next(r);
        return;
    }
    if (!read_decimal(r, &minus, &count) || (!minus && count > 1024 * 1024))
        stop(r, EPROTO);
    for (uint64_t i = 0; !minus && i < count; i++) {
        c = next(r);
        good = read_decimal(r, &minus, &number);
        if (c != '$' || !good || minus || number > 512u << 20)
            stop(r, EPROTO);
        read_counted(r, e, number);
    }
}

static struct kit_element request_at(const struct kit_stream *s, size_t begin, uint32_t index)
{
    return run(s, begin, index, read_request);
}

static void write_bulk(struct kit_stream *s, uint64_t *seed)
{
    const uint32_t len = random_below(seed, 8) ? random_below(seed, 20) : random_below(seed, 300);
    char head[32];
    snprintf(head, sizeof head, "$%u\r\n", len);
    put_text(s, head);
    put_random(s, len, seed);
    put_text(s, "\r\n");
}

static void write_request(struct kit_stream *s, uint32_t index, uint64_t *seed)
{
    (void)index;
    char head[32];
    const uint32_t n = random_below(seed, 6);
    if (random_below(seed, 6) == 0) {
        ONE_OF(s, seed, "PING\r\n", "\n", "*0\r\n", "*-1\r\n", "*1048577\r\n", "*1\r\n$-1\r\n",
               "*1\r\n+a\r\n", "*01\r\n", "*1\r\n$20000000\r\n", "*1\r\n$536870913\r\n", "$3\r\n",
               "*99999999999999999999\r\n", "*\r\n", "*-\r\n", "*-0\r\n", "*2\n", "set a b\n");
        return;
    }
    snprintf(head, sizeof head, "*%u\r\n", n);
    put_text(s, head);
    for (uint32_t i = 0; i < n; i++)
        write_bulk(s, seed);
}

static void write_resp(struct kit_stream *s, uint32_t index, uint64_t *seed)
{
    if (random_below(seed, 2)) {
        write_request(s, index, seed);
        return;
    }
    ONE_OF(s, seed, "+OK\r\n", "-ERR no\r\n", ":12\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(99\r\n",
           "$-1\r\n", "*-1\r\n", "*2\r\n*1\r\n:1\r\n*0\r\n", "%1\r\n+a\r\n:1\r\n",
           "%2\r\n+a\r\n*2\r\n:1\r\n:2\r\n$1\r\nb\r\n_\r\n", "~1\r\n+a\r\n", ">1\r\n+a\r\n",
           "|1\r\n+k\r\n+v\r\n*1\r\n:1\r\n", "=7\r\ntxt:abc\r\n", "!5\r\nERR a\r\n", "*1\r\nx\r\n",
           "%-1\r\n", "$-2\r\n", "*16777217\r\n", "$?\r\n", "*1\r\n|0\r\n|0\r\n+a\r\n");
}

/* ---- http --------------------------------------------------------------------------------- */

static bool is_token(int c)
{
    return c > 32 && c < 127 && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

/* Text up to the end of a line, without it. */
static size_t read_text(struct reader *r, char *to)
{
    size_t n = 0;
    for (int c; (c = next(r)) != '\r';) {
        if ((c < 32 && c != '\t') || c == 127)
            stop(r, EPROTO);
        to[n++] = (char)c;
    }
    want(r, '\n');
    to[n] = '\0';
    return n;
}

static void read_request_line(struct reader *r, bool *old)
{
    int c;
    for (c = next(r); c == '\r'; c = next(r))
        want(r, '\n');
    if (!is_token(c))
        stop(r, EPROTO);
    while (is_token(c))
        c = next(r);
    if (c != ' ')
        stop(r, EPROTO);
    size_t target = r->at;
    while ((c = next(r)) != ' ')
        if (c < 33 || c > 126)
            stop(r, EPROTO);
    if (r->at - target == 1)
        stop(r, EPROTO);
    for (const char *text = "HTTP/1."; *text != '\0'; text++)
        want(r, *text);
    c = next(r);
    if (!isdigit(c))
        stop(r, EPROTO);
    *old = c == '0';
    want(r, '\r');
    want(r, '\n');
}

/* A value that must be of one kind: judged byte by byte, because that is how it arrives. */
static void read_length(struct reader *r, uint64_t *length)
{
    int c = next(r);
    while (c == ' ' || c == '\t')
        c = next(r);
    size_t digits = 0;
    for (; isdigit(c); c = next(r), digits++) {
        if (*length > INT64_MAX / 10 - 1)
            stop(r, EPROTO);
        *length = *length * 10 + (uint64_t)(c - '0');
    }
    while (digits > 0 && (c == ' ' || c == '\t'))
        c = next(r);
    if (c != '\r' || digits == 0)
        stop(r, EPROTO);
    want(r, '\n');
}

static void read_coding(struct reader *r)
{
    int c = next(r);
    while (c == ' ' || c == '\t')
        c = next(r);
    for (const char *text = "chunked"; *text != '\0'; text++, c = next(r))
        if (tolower(c) != *text)
            stop(r, EPROTO);
    while (c == ' ' || c == '\t')
        c = next(r);
    if (c != '\r')
        stop(r, EPROTO);
    want(r, '\n');
}

/* Fields and the empty line; in a trailer none means anything. */
static void read_fields(struct reader *r, bool trailer, bool *chunked, uint64_t *length)
{
    char name[KIT_STREAM_BYTES + 1], ignored[KIT_STREAM_BYTES + 1];
    bool has_length = false;
    for (;;) {
        int c = next(r);
        size_t n = 0;
        if (c == '\r')
            break;
        for (; c != ':' || n == 0; c = next(r)) {
            if (!is_token(c))
                stop(r, EPROTO);
            name[n++] = (char)tolower(c);
        }
        name[n] = '\0';
        const bool is_length = !trailer && strcmp(name, "content-length") == 0;
        const bool is_coding = !trailer && strcmp(name, "transfer-encoding") == 0;
        if ((is_length || is_coding) && (has_length || *chunked))
            stop(r, EPROTO);
        if (is_length)
            read_length(r, length);
        else if (is_coding)
            read_coding(r);
        else
            read_text(r, ignored);
        has_length |= is_length;
        *chunked |= is_coding;
    }
    want(r, '\n');
}

static void read_chunks(struct reader *r, const struct kit_element *e)
{
    char ignored[KIT_STREAM_BYTES + 1];
    for (;;) {
        uint64_t size = 0;
        int c = next(r), digits = 0;
        for (; isxdigit(c); c = next(r)) {
            if (++digits > 15)
                stop(r, EPROTO);
            size = size << 4 | (uint64_t)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
        }
        if (digits == 0 || (c != ';' && c != '\r'))
            stop(r, EPROTO);
        if (c == ';')
            read_text(r, ignored);
        else
            want(r, '\n');
        if (size == 0)
            return;
        if (size > KIT_LIMIT || r->at - e->begin + size > KIT_LIMIT)
            stop(r, EMSGSIZE);
        pass(r, size);
        want(r, '\r');
        want(r, '\n');
    }
}

static void read_http(struct reader *r, struct kit_element *e, uint32_t index)
{
    (void)index;
    bool old, chunked = false, ignored = false;
    uint64_t length = 0, none = 0;
    read_request_line(r, &old);
    read_fields(r, false, &chunked, &length);
    if (!chunked) {
        if (length > KIT_LIMIT || r->at - e->begin + length > KIT_LIMIT)
            stop(r, EMSGSIZE);
        pass(r, length);
        return;
    }
    if (old)
        stop(r, EPROTO);
    read_chunks(r, e);
    read_fields(r, true, &ignored, &none);
}

static struct kit_element http_at(const struct kit_stream *s, size_t begin, uint32_t index)
{
    return run(s, begin, index, read_http);
}

static void write_chunks(struct kit_stream *s, uint64_t *seed)
{
    for (uint32_t n = random_below(seed, 4); n > 0; n--) {
        char head[64];
        const uint32_t len = 1 + random_below(seed, 60);
        snprintf(head, sizeof head, random_below(seed, 2) ? "%x" : "%X", len);
        put_text(s, head);
        ONE_OF(s, seed, "\r\n", ";a=\"b\"\r\n", "\n", " \r\n", ";\r\n");
        put_random(s, len, seed);
        ONE_OF(s, seed, "\r\n", "\r\n", "\r\n", "\n");
    }
    ONE_OF(s, seed, "0\r\n\r\n", "0\r\nA: b\r\n\r\n", "000\r\nContent-Length: 3\r\n\r\n", "0\n\r\n",
           "fffffff\r\n", "1000000000000000\r\n", "\r\n");
}

static void write_http(struct kit_stream *s, uint32_t index, uint64_t *seed)
{
    (void)index;
    ONE_OF(s, seed, "GET / HTTP/1.1\r\n", "\r\nGET /a HTTP/1.1\r\n", "POST /b?c HTTP/1.0\r\n",
           "GET  HTTP/1.1\r\n", "GET / HTTP/2.0\r\n", "GET /\r\n", "HTTP/1.1 200 OK\r\n",
           "GET / HTTP/1.1\n", "M-SEARCH * HTTP/1.1\r\n");
    ONE_OF(s, seed, "Host: a\r\n", "", "A:\r\nB: \xff\t\r\n", "A : b\r\n", " fold: a\r\n", "A: b\n",
           "A: b\rc\r\n", "Content-Lengthy: 7\r\n", "Transfer-Encodin: chunked\r\n", ": a\r\n");
    char field[64];
    const uint32_t len = random_below(seed, 60);
    switch (random_below(seed, 4)) {
    case 0:
        snprintf(field, sizeof field, "content-LENGTH:%u\t \r\n\r\n", len);
        put_text(s, field);
        put_random(s, len, seed);
        break;
    case 1:
        ONE_OF(s, seed, "Transfer-Encoding: chunked\r\n\r\n", "transfer-encoding:CHUNKED \r\n\r\n",
               "Transfer-Encoding: gzip, chunked\r\n\r\n", "Transfer-Encoding: chunkedd\r\n\r\n",
               "Transfer-Encoding: chunke\r\n\r\n");
        write_chunks(s, seed);
        break;
    case 2:
        ONE_OF(s, seed, "\r\n", "Content-Length: 0\r\n\r\n",
               "Content-Length: 1\r\nContent-Length: 1\r\n", "Content-Length: +1\r\n\r\n",
               "Content-Length: 1 1\r\n", "Content-Length: \r\n\r\n",
               "Content-Length: 20000000\r\n\r\n", "Content-Length: 99999999999999999999\r\n\r\n",
               "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
               "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "\n");
        break;
    default:
        put_text(s, "\r\n");
    }
}

const struct kit_framer kit_framers[] = {
    {"u32", &demi_framer_u32, NULL, u32_at, write_u32},
    {"line", &demi_framer_line, NULL, line_at, write_line},
    {"sga", &demi_framer_sga, NULL, sga_at, write_sga},
    {"resp", &demi_framer_resp, NULL, resp_at, write_resp},
    {"resp requests", &demi_framer_resp, DEMI_FRAMER_RESP_REQUESTS, request_at, write_request},
    {"http1", &demi_framer_http1, NULL, http_at, write_http},
};
const size_t kit_num_framers = COUNT_OF(kit_framers);
