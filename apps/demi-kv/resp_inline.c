/* SPDX-License-Identifier: MIT */
/*
 * Inline commands (resp_inline.h). Words are separated by blanks; "..." knows \n \r \t \a \b \xHH
 * and \ before anything else, '...' knows \' only; a closing quote must end the word; a zero byte
 * ends the line. Unquoting never makes a word longer, so it is done in place.
 */
#include "resp_inline.h"

#include <ctype.h>
#include <string.h>

/* A cursor over the line: `in` reads, `out` writes, out <= in. */
struct line {
    char *in;
    const char *end;
    char *out;
};

/* What ends a word that is not quoted; between words any blank of the C locale counts. */
static bool at_word_end(const struct line *l)
{
    return l->in == l->end || memchr(" \n\r\t", *l->in, sizeof(" \n\r\t")) != NULL;
}

static bool at_blank(const struct line *l)
{
    return l->in < l->end && isspace((unsigned char)*l->in);
}

static bool at_line_end(const struct line *l)
{
    return l->in == l->end || *l->in == '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes what follows a backslash within double quotes. */
static void take_escape(struct line *l)
{
    static const char letters[] = "nrtba", values[] = "\n\r\t\b\a";
    const char *found;

    if (l->end - l->in >= 3 && l->in[0] == 'x' && hex_digit(l->in[1]) >= 0 &&
        hex_digit(l->in[2]) >= 0) {
        *l->out++ = (char)(hex_digit(l->in[1]) << 4 | hex_digit(l->in[2]));
        l->in += 3;
        return;
    }
    found = *l->in ? strchr(letters, *l->in) : NULL;
    *l->out++ = found ? values[found - letters] : *l->in;
    l->in++;
}

/* Takes a quoted part up to and with its closing quote; false when it does not end well. */
static bool take_quoted(struct line *l, char quote)
{
    while (!at_line_end(l) && *l->in != quote) {
        bool escape = *l->in == '\\' && l->end - l->in >= 2;
        if (escape && quote == '"') {
            l->in++;
            take_escape(l);
            continue;
        }
        if (escape && l->in[1] == '\'')
            l->in++;
        *l->out++ = *l->in++;
    }
    if (at_line_end(l))
        return false;
    l->in++;
    return at_line_end(l) || at_blank(l);
}

/* Takes one word; false for unbalanced quotes. */
static bool take_word(struct line *l)
{
    while (!at_word_end(l)) {
        char c = *l->in++;
        if (c != '"' && c != '\'')
            *l->out++ = c;
        else if (!take_quoted(l, c))
            return false;
        else
            break;
    }
    return true;
}

static enum resp_status split_words(struct resp_scan *scan, char *buf, uint32_t len)
{
    struct line l = {buf, buf + len, buf};

    for (;;) {
        while (at_blank(&l))
            l.in++;
        if (at_line_end(&l))
            return RESP_COMMAND;
        l.out = l.in;
        char *word = l.in;
        if (!take_word(&l))
            return resp_fail(scan, RESP_UNBALANCED_QUOTES);
        if (!resp_add_arg(scan, (uint32_t)(word - buf), (uint32_t)(l.out - word)))
            return RESP_NO_MEMORY;
    }
}

enum resp_status resp_scan_inline(struct resp_scan *scan, char *buf, uint32_t len)
{
    const char *eol = memchr(buf, '\n', len);
    uint32_t line = eol ? (uint32_t)(eol - buf) : len;

    if (line > RESP_MAX_LINE)
        return resp_fail(scan, RESP_BIG_INLINE);
    if (!eol)
        return RESP_MORE;
    scan->pos = line + 1;
    return split_words(scan, buf, line > 0 && buf[line - 1] == '\r' ? line - 1 : line);
}
