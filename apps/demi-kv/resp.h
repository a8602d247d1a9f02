/* SPDX-License-Identifier: MIT */
/*
 * The scanner of requests: RESP arrays of bulk strings, and inline commands.
 *
 *     *<count> CR LF  { $<length> CR LF <bytes> CR LF } x count
 *     <word> <word> ... LF                              words may be quoted: "a\x20b" 'c d'
 *
 * Pure: it does no I/O and holds no bytes. It is given the bytes of commands that are whole, and
 * finds the arguments as offsets into them; or bytes that are no command, and says why.
 *
 * As in Redis, the two bytes behind a bulk string are skipped unseen, and so is the one behind the
 * CR that ends a header; a header has exactly one spelling, so "$<length> CR LF" can be rebuilt.
 */
#ifndef KV_RESP_H
#define KV_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESP_MAX_LINE       (64 * 1024)          /* an inline command, or one header */
#define RESP_MAX_ARGS       (1024 * 1024)        /* arguments of one command, by default */
#define RESP_MAX_BULK       (512u * 1024 * 1024) /* one argument, at most and by default */
#define RESP_ERROR_CHARS    80                   /* longest text of resp_error_text, with its end */
#define RESP_BULK_END_BYTES 2                    /* CR LF behind a bulk string */

enum resp_status {
    RESP_COMMAND,  /* whole: scan->pos bytes, scan->argc arguments (0: nothing to do) */
    RESP_MORE,     /* it does not end in these bytes */
    RESP_ERROR,    /* malformed: resp_error_text */
    RESP_NO_MEMORY /* no room for the list of arguments */
};

enum resp_error {
    RESP_OK,
    RESP_BIG_INLINE,
    RESP_UNBALANCED_QUOTES,
    RESP_BIG_COUNT_LINE,
    RESP_BAD_COUNT,
    RESP_BIG_LENGTH_LINE,
    RESP_NO_DOLLAR,
    RESP_BAD_LENGTH
};

/* One argument: len bytes from off. */
struct resp_arg {
    uint32_t off;
    uint32_t len;
};

struct resp_limits {
    uint32_t max_bulk; /* bytes of one argument */
    uint32_t max_args;
};

struct resp_scan {
    const struct resp_limits *limits;
    struct resp_arg *argv; /* argc of argv_cap entries are in use; owned by the scan */
    uint32_t argc;
    uint32_t argv_cap;
    uint32_t pos;  /* bytes of the command */
    uint8_t error; /* enum resp_error */
    char got;      /* of RESP_NO_DOLLAR: what was there instead */
};

/* Makes a scan with an empty list of arguments, which resp_fini frees. */
void resp_init(struct resp_scan *scan, const struct resp_limits *limits);
void resp_fini(struct resp_scan *scan);

/* Scans the command that begins at buf, in len < 2^31 bytes. Inline words are unquoted in place. */
enum resp_status resp_scan(struct resp_scan *scan, char *buf, uint32_t len);

/* Writes "Protocol error: ..." into text. */
void resp_error_text(const struct resp_scan *scan, char text[RESP_ERROR_CHARS]);

#endif /* KV_RESP_H */
