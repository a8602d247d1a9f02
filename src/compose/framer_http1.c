/* SPDX-License-Identifier: MIT */
/*
 * The framer of HTTP/1.1 requests (RFC 9112): a request line, fields, and a body that is as long as
 * Content-Length says, or comes in chunks, or is not there.
 *
 * It is strict where two readers might disagree on where a request ends, which is how requests are
 * smuggled past one of them. EPROTO: a bare CR or LF, a folded line, blank before a colon, both
 * Content-Length and Transfer-Encoding, either of them twice, a length that is not all digits, a
 * transfer coding other than chunked, chunked in HTTP/1.0. Empty lines before the request line are
 * part of the element. Lines of more than 64 KiB together (the fields, one chunk's line) are
 * EMSGSIZE. Chunks and trailer are checked as they are and change nothing.
 */
#include <demi/framer.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MAX_HEADER_BYTES (64u * 1024)
#define MAX_HEX_DIGITS   15

enum { PHASE, AFTER, AT, BYTES, LENGTH, FLAGS, FIELD }; /* words */

/* LF: a CR was seen; AFTER is the phase that follows. */
enum {
    START,
    METHOD,
    TARGET,
    VERSION,
    LF,
    FIELD_START,
    NAME,
    VALUE,
    FIELDS_END,
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_DATA,
    CHUNK_CR,
};

#define HAS_LENGTH  1u
#define HAS_CHUNKED 2u
#define IS_OLD      4u /* HTTP/1.0 */
#define IS_TRAILER  8u
#define OWS_BEHIND  16u /* blank behind a value */

/* FIELD: the names that the one which is read may still become. */
#define MAYBE_LENGTH  1u
#define MAYBE_CHUNKED 2u

static const char length_name[] = "content-length", coding_name[] = "transfer-encoding";
static const char version_text[] = "HTTP/1.", chunked_text[] = "chunked";

static bool is_token(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static int go(struct demi_frame_state *state, uint64_t phase)
{
    state->words[PHASE] = phase;
    state->words[AT] = 0;
    return DEMI_FRAME_MORE;
}

/* A CR was seen: LF must follow, and then that phase. */
static int end_line(struct demi_frame_state *state, uint64_t after)
{
    state->words[AFTER] = after;
    return go(state, LF);
}

static int take_version(struct demi_frame_state *state, uint8_t c)
{
    uint64_t at = state->words[AT]++;
    if (at < sizeof(version_text) - 1)
        return c == version_text[at] ? DEMI_FRAME_MORE : EPROTO;
    if (at == sizeof(version_text) - 1) {
        if (c == '0')
            state->words[FLAGS] |= IS_OLD;
        return c >= '0' && c <= '9' ? DEMI_FRAME_MORE : EPROTO;
    }
    return c == '\r' ? end_line(state, FIELD_START) : EPROTO;
}

static int take_request_line(struct demi_frame_state *state, uint8_t c)
{
    switch (state->words[PHASE]) {
    case START:
        if (c == '\r')
            return end_line(state, START);
        return is_token(c) ? go(state, METHOD) : EPROTO;
    case METHOD:
        if (c == ' ')
            return go(state, TARGET);
        return is_token(c) ? DEMI_FRAME_MORE : EPROTO;
    case TARGET:
        if (c == ' ' && state->words[AT] > 0)
            return go(state, VERSION);
        state->words[AT]++;
        return c > ' ' && c < 0x7f ? DEMI_FRAME_MORE : EPROTO;
    default:
        return take_version(state, c);
    }
}

static bool matches(const char *name, uint64_t at, uint8_t c)
{
    return at < strlen(name) && (uint8_t)name[at] == (c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

static int take_name_byte(struct demi_frame_state *state, uint8_t c)
{
    uint64_t at = state->words[AT]++;
    if (!matches(length_name, at, c))
        state->words[FIELD] &= ~(uint64_t)MAYBE_LENGTH;
    if (!matches(coding_name, at, c))
        state->words[FIELD] &= ~(uint64_t)MAYBE_CHUNKED;
    return is_token(c) ? DEMI_FRAME_MORE : EPROTO;
}

/* The colon: what the field is. Either of the two may come once, and only one of them. */
static int end_name(struct demi_frame_state *state)
{
    uint64_t at = state->words[AT];
    if (at != sizeof(length_name) - 1)
        state->words[FIELD] &= ~(uint64_t)MAYBE_LENGTH;
    if (at != sizeof(coding_name) - 1)
        state->words[FIELD] &= ~(uint64_t)MAYBE_CHUNKED;
    if (state->words[FIELD] && state->words[FLAGS] & (HAS_LENGTH | HAS_CHUNKED))
        return EPROTO;
    state->words[FLAGS] &= ~(uint64_t)OWS_BEHIND;
    return go(state, VALUE);
}

static int take_length_digit(struct demi_frame_state *state, uint8_t c)
{
    uint64_t digit = (uint64_t)c - '0';
    if (digit > 9 || state->words[LENGTH] > (UINT64_MAX >> 1) / 10 - 1)
        return EPROTO;
    state->words[LENGTH] = state->words[LENGTH] * 10 + digit;
    return DEMI_FRAME_MORE;
}

/* The value of one of the two fields that say where the body ends: no list, no parameter. */
static int take_known_value(struct demi_frame_state *state, uint8_t c)
{
    bool is_length = state->words[FIELD] & MAYBE_LENGTH;
    if (c == '\r') {
        if (is_length ? state->words[AT] == 0 : state->words[AT] != sizeof(chunked_text) - 1)
            return EPROTO;
        state->words[FLAGS] |= is_length ? HAS_LENGTH : HAS_CHUNKED;
        return end_line(state, FIELD_START);
    }
    if (is_blank(c)) {
        if (state->words[AT] > 0)
            state->words[FLAGS] |= OWS_BEHIND;
        return DEMI_FRAME_MORE;
    }
    if (state->words[FLAGS] & OWS_BEHIND)
        return EPROTO;
    uint64_t at = state->words[AT]++;
    if (is_length)
        return take_length_digit(state, c);
    return matches(chunked_text, at, c) ? DEMI_FRAME_MORE : EPROTO;
}

static int take_field(struct demi_frame_state *state, uint8_t c)
{
    switch (state->words[PHASE]) {
    case FIELD_START:
        if (c == '\r')
            return end_line(state, FIELDS_END);
        state->words[FIELD] = state->words[FLAGS] & IS_TRAILER ? 0 : MAYBE_LENGTH | MAYBE_CHUNKED;
        go(state, NAME);
        return take_name_byte(state, c);
    case NAME:
        return c == ':' ? end_name(state) : take_name_byte(state, c);
    default:
        if (state->words[FIELD])
            return take_known_value(state, c);
        if (c == '\r')
            return end_line(state, FIELD_START);
        return is_text(c) ? DEMI_FRAME_MORE : EPROTO;
    }
}

/* The empty line behind the fields. */
static int end_fields(struct demi_frame_state *state)
{
    uint64_t flags = state->words[FLAGS];
    if (flags & IS_TRAILER)
        return DEMI_FRAME_END;
    if (flags & HAS_CHUNKED) {
        state->words[BYTES] = 0;
        return flags & IS_OLD ? EPROTO : go(state, CHUNK_SIZE);
    }
    state->skip = state->words[LENGTH];
    return DEMI_FRAME_END;
}

/* The line of a chunk is there. */
static int begin_chunk(struct demi_frame_state *state)
{
    state->words[BYTES] = 0;
    if (state->words[LENGTH] == 0) {
        state->words[FLAGS] |= IS_TRAILER;
        return go(state, FIELD_START);
    }
    state->skip = state->words[LENGTH];
    return go(state, CHUNK_CR);
}

static int take_line_end(struct demi_frame_state *state, uint8_t c)
{
    uint64_t after = state->words[AFTER];
    if (c != '\n')
        return EPROTO;
    if (after == FIELDS_END)
        return end_fields(state);
    if (after == CHUNK_DATA)
        return begin_chunk(state);
    if (after == CHUNK_SIZE)
        state->words[LENGTH] = 0;
    return go(state, after);
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int take_chunk_size(struct demi_frame_state *state, uint8_t c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        state->words[LENGTH] = state->words[LENGTH] << 4 | (uint64_t)digit;
        return ++state->words[AT] <= MAX_HEX_DIGITS ? DEMI_FRAME_MORE : EPROTO;
    }
    if (state->words[AT] == 0)
        return EPROTO;
    if (c == ';')
        return go(state, CHUNK_EXTENSION);
    return c == '\r' ? end_line(state, CHUNK_DATA) : EPROTO;
}

static int take_chunk(struct demi_frame_state *state, uint8_t c)
{
    switch (state->words[PHASE]) {
    case CHUNK_SIZE:
        return take_chunk_size(state, c);
    case CHUNK_EXTENSION:
        if (c == '\r')
            return end_line(state, CHUNK_DATA);
        return is_text(c) ? DEMI_FRAME_MORE : EPROTO;
    default: /* behind a chunk's data */
        return c == '\r' ? end_line(state, CHUNK_SIZE) : EPROTO;
    }
}

static int step(struct demi_frame_state *state, uint8_t c)
{
    if (++state->words[BYTES] > MAX_HEADER_BYTES)
        return EMSGSIZE;
    if (state->words[PHASE] < LF)
        return take_request_line(state, c);
    if (state->words[PHASE] == LF)
        return take_line_end(state, c);
    return state->words[PHASE] < CHUNK_SIZE ? take_field(state, c) : take_chunk(state, c);
}

static int scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg)
{
    const uint8_t *p = bytes;
    size_t n = 0;
    int r = DEMI_FRAME_MORE;
    (void)arg;
    while (r == DEMI_FRAME_MORE && n < len && state->skip == 0)
        r = step(state, p[n++]);
    *used = n;
    return r;
}

const struct demi_framer demi_framer_http1 = {.name = "http1", .scan = scan};
