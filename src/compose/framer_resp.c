/* SPDX-License-Identifier: MIT */
/*
 * The framer of RESP, the protocol of Redis.
 *
 *     value   <type> <number> CR LF ...
 *     * ~ >   so many values follow        %  so many pairs of values
 *     |       so many pairs, and then the value that they are attributes of
 *     $ ! =   so many bytes and CR LF follow; -1: nothing
 *     other   a line: + - : _ # , (        at the outermost level: or an inline command
 *
 * Nesting needs no stack: it is enough to count the values that are still to come. As in Redis, the
 * byte behind the CR of a number, and the two behind bytes that were counted, are not looked at,
 * and a number has one spelling. It is judged at its CR, so that who asked for the bytes back can
 * tell what was wrong with them.
 */
#include <demi/framer.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MAX_LINE     (64u * 1024)
#define MAX_ARGS     (1024u * 1024)
#define MAX_BULK     (512u * 1024 * 1024)
#define LINE_END     2 /* bytes: CR LF */
#define QUICK_BYTES  6 /* that a number of three digits takes, with what is around it */
#define QUICK_MAX    1000
#define MAX_NUMBER   ((uint64_t)INT64_MAX)
#define FLAG_MINUS   1u
#define FLAG_BAD     2u
#define FLAG_DIGITS  4u
#define FLAG_NO_MORE 8u /* it is zero, or it is over */

enum { PHASE, VALUES, TYPE, NUMBER, FLAGS, LINE }; /* words; LINE: bytes of the line so far */
enum { AT_TYPE, IN_NUMBER, BEHIND_NUMBER, IN_LINE };

struct input {
    const uint8_t *p;
    const uint8_t *end;
};

/* A value ended: the next one, or the end of the element. */
static int end_value(struct demi_frame_state *state)
{
    state->words[PHASE] = AT_TYPE;
    return --state->words[VALUES] == 0 ? DEMI_FRAME_END : DEMI_FRAME_MORE;
}

static bool has_number(uint8_t type, bool requests)
{
    return requests ? type == '*' : memchr("*~>%|$!=", type, 8) != NULL;
}

static int take_type(struct demi_frame_state *state, uint8_t type, bool requests)
{
    bool outermost = state->words[VALUES] == 0;
    if (outermost)
        state->words[VALUES] = 1;
    state->words[TYPE] = type;
    state->words[NUMBER] = state->words[FLAGS] = 0;
    state->words[LINE] = 1;
    if (requests && !outermost) { /* an argument */
        state->words[PHASE] = IN_NUMBER;
        state->words[FLAGS] = type == '$' ? 0 : FLAG_BAD;
    } else if (has_number(type, requests)) {
        state->words[PHASE] = IN_NUMBER;
    } else if (outermost || memchr("+-:_#,(", type, 7)) {
        state->words[PHASE] = IN_LINE;
        return type == '\n' ? end_value(state) : DEMI_FRAME_MORE;
    } else {
        return EPROTO;
    }
    return DEMI_FRAME_MORE;
}

/* One more character of a number: its new flags. */
static uint64_t take_digit(uint64_t *number, uint64_t flags, uint8_t c)
{
    uint64_t digit = (uint64_t)c - '0';
    if (c == '-' && flags == 0)
        return FLAG_MINUS;
    if (digit > 9 || flags & FLAG_NO_MORE || *number > (MAX_NUMBER - digit) / 10)
        return flags | FLAG_BAD;
    if (digit == 0 && !(flags & FLAG_DIGITS)) {
        flags |= FLAG_NO_MORE;
        if (flags & FLAG_MINUS)
            flags |= FLAG_BAD;
    }
    *number = *number * 10 + digit;
    return flags | FLAG_DIGITS;
}

static int take_number(struct demi_frame_state *state, struct input *in)
{
    const uint8_t *begin = in->p;
    uint64_t number = state->words[NUMBER], flags = state->words[FLAGS];
    while (in->p < in->end && *in->p != '\r')
        flags = take_digit(&number, flags, *in->p++);
    state->words[NUMBER] = number;
    state->words[FLAGS] = flags;
    state->words[LINE] += (uint64_t)(in->p - begin);
    if (state->words[LINE] > MAX_LINE)
        return EPROTO;
    if (in->p < in->end) {
        in->p++;
        state->words[PHASE] = BEHIND_NUMBER;
    }
    return DEMI_FRAME_MORE;
}

/* Counted bytes, and the end of their line: taken or announced. */
static int take_bulk(struct demi_frame_state *state, struct input *in, uint64_t number)
{
    uint64_t bytes = number + LINE_END, here = (uint64_t)(in->end - in->p);
    if (bytes <= here) {
        in->p += bytes;
    } else {
        in->p = in->end;
        state->skip = bytes - here;
    }
    return end_value(state);
}

static int begin_values(struct demi_frame_state *state, uint64_t number)
{
    uint8_t type = (uint8_t)state->words[TYPE];
    bool pairs = type == '%' || type == '|';
    if (number > state->limit || state->words[VALUES] > state->limit)
        return EMSGSIZE; /* each takes more than a byte */
    state->words[VALUES] += pairs ? number * 2 : number;
    if (type == '|')
        state->words[VALUES]++; /* what it is an attribute of is still to come */
    return end_value(state);
}

/* The number of a value is there: what follows. */
static int end_number(struct demi_frame_state *state, struct input *in, bool requests)
{
    uint64_t flags = state->words[FLAGS], number = state->words[NUMBER];
    uint8_t type = (uint8_t)state->words[TYPE];
    bool bulk = type == '$' || type == '!' || type == '=';
    bool minus = flags & FLAG_MINUS;
    if (flags & FLAG_BAD || !(flags & FLAG_DIGITS))
        return EPROTO;
    if (requests && (bulk ? minus || number > MAX_BULK : !minus && number > MAX_ARGS))
        return EPROTO;
    if (minus && !requests && (number != 1 || (type != '$' && type != '*')))
        return EPROTO;
    if (minus)
        return end_value(state);
    return bulk ? take_bulk(state, in, number) : begin_values(state, number);
}

static int take_line(struct demi_frame_state *state, struct input *in, bool requests)
{
    const uint8_t *end = memchr(in->p, '\n', (size_t)(in->end - in->p));
    state->words[LINE] += (uint64_t)((end ? end : in->end) - in->p);
    in->p = end ? end + 1 : in->end;
    if (requests && state->words[LINE] > MAX_LINE)
        return EPROTO;
    return end ? end_value(state) : DEMI_FRAME_MORE;
}

static int step(struct demi_frame_state *state, struct input *in, bool requests)
{
    switch (state->words[PHASE]) {
    case AT_TYPE:
        return take_type(state, *in->p++, requests);
    case IN_NUMBER:
        return take_number(state, in);
    case BEHIND_NUMBER:
        in->p++;
        return end_number(state, in, requests);
    default:
        return take_line(state, in, requests);
    }
}

/*
 * Reads a type and a number of one to three digits, not 0, with the end of its line. Returns where
 * that ends; NULL for any other spelling.
 */
static inline const uint8_t *quick_number(const uint8_t *p, uint32_t *number_out)
{
    uint32_t number = (uint32_t)p[1] - '0', digit;
    if (number - 1 > 8)
        return NULL;
    p += 2;
    for (int i = 0; i < 2 && (digit = (uint32_t)*p - '0') <= 9; i++, p++)
        number = number * 10 + digit;
    *number_out = number;
    return *p == '\r' ? p + 2 : NULL;
}

/*
 * Takes what most commands are made of, an array of short arguments, as far as it is there. All
 * else, and the rest, is for the steps; this is three times as fast.
 */
static int take_quickly(struct demi_frame_state *state, struct input *in)
{
    uint64_t values = state->words[VALUES];
    const uint8_t *p = in->p, *next;
    uint32_t number;
    if (state->limit < QUICK_MAX)
        return DEMI_FRAME_MORE;
    if (values == 0) {
        if (in->end - p < QUICK_BYTES || *p != '*' || !(p = quick_number(p, &number)))
            return DEMI_FRAME_MORE;
        values = number;
    }
    while (values > 0 && in->end - p >= QUICK_BYTES && *p == '$' &&
           (next = quick_number(p, &number)) && in->end - next >= (ptrdiff_t)number + LINE_END) {
        p = next + number + LINE_END;
        values--;
    }
    in->p = p;
    state->words[VALUES] = values;
    return values == 0 ? DEMI_FRAME_END : DEMI_FRAME_MORE;
}

/* Goes on with a value, as far as the input goes. */
static int take_value(struct demi_frame_state *state, struct input *in, bool requests)
{
    int r = state->words[PHASE] == AT_TYPE ? take_quickly(state, in) : DEMI_FRAME_MORE;
    while (r == DEMI_FRAME_MORE && in->p < in->end)
        r = step(state, in, requests);
    return r;
}

/*
 * Goes on to the last request that ends in the input: what follows it is left, and scanned again
 * as the beginning of the next element. So is a mistake behind it. A request that began in an
 * earlier input is an element alone: the others need not be put together with it.
 */
static int take_batch(struct demi_frame_state *state, struct input *in)
{
    const uint8_t *begin = in->p, *whole = NULL;
    int r = take_value(state, in, true);
    while (r == DEMI_FRAME_END && state->skip == 0) {
        if (whole && (uint64_t)(in->p - begin) > state->limit)
            break;
        whole = in->p;
        if (in->p == in->end || state->taken > 0)
            return r;
        memset(state->words, 0, sizeof(state->words));
        r = take_value(state, in, true);
    }
    if (!whole)
        return r;
    state->skip = 0;
    in->p = whole;
    return DEMI_FRAME_END;
}

static int scan(struct demi_frame_state *state, const void *bytes, size_t len, size_t *used,
                void *arg)
{
    struct input in = {bytes, (const uint8_t *)bytes + len};
    int r;
    if (arg == DEMI_FRAMER_RESP_BATCHES)
        r = take_batch(state, &in);
    else
        r = take_value(state, &in, arg == DEMI_FRAMER_RESP_REQUESTS);
    *used = (size_t)(in.p - (const uint8_t *)bytes);
    return r;
}

const struct demi_framer demi_framer_resp = {.name = "resp", .scan = scan};
