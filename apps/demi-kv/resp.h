/* SPDX-License-Identifier: MIT */
/*
 * The scanner of requests: RESP arrays of bulk strings, and inline commands.
 *
 *     *<count> CR LF  { $<length> CR LF <bytes> CR LF } x count
 *     <word> <word> ... LF                              words may be quoted: "a\x20b" 'c d'
 *
 * Pure: it does no I/O and holds no bytes. It is given the bytes of one command from the command's
 * beginning, as many as have arrived, and finds the arguments as offsets into them. When they are
 * not all there it remembers how far it came, so that no byte is looked at twice; the bytes may
 * have moved by the next call. The result does not depend on where the stream was cut.
 *
 * An argument may also stand outside these bytes (resp_take_outside): a large one that the caller
 * collects in a buffer of its own.
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
    RESP_MORE,     /* scan->need more bytes at least */
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

/* One argument: len bytes from off, or, with RESP_OUTSIDE set, the caller's buffer off & ~that. */
struct resp_arg {
    uint32_t off;
    uint32_t len;
};
#define RESP_OUTSIDE 0x80000000u

struct resp_limits {
    uint32_t max_bulk; /* bytes of one argument */
    uint32_t max_args;
};

struct resp_scan {
    const struct resp_limits *limits;
    struct resp_arg *argv; /* argc of argv_cap entries are in use; owned by the scan */
    uint32_t argc;
    uint32_t argv_cap;
    uint32_t pos;  /* bytes done with */
    uint32_t seen; /* bytes behind pos known to hold no end of a line */
    uint32_t need;
    int32_t left;  /* arguments still to come; RESP_UNDECIDED before the first byte */
    int64_t bulk;  /* length of the argument at pos; RESP_NO_BULK: its header stands there */
    uint8_t error; /* enum resp_error */
    char got;      /* of RESP_NO_DOLLAR: what was there instead */
};
#define RESP_UNDECIDED (-1)
#define RESP_NO_BULK   (-1)

/* Makes a scan at the beginning of a command; resp_fini frees its list of arguments. */
void resp_init(struct resp_scan *scan, const struct resp_limits *limits);
void resp_fini(struct resp_scan *scan);

/* Begins the next command; keeps the list's memory, unless a huge command made it huge. */
void resp_restart(struct resp_scan *scan);

/* Makes `to` (initialised) what `from` is: progress and arguments. false without memory. */
bool resp_copy(struct resp_scan *to, const struct resp_scan *from);

/*
 * Goes on with the command whose first len bytes stand at buf (len never shrinks within one
 * command, and is below 2^31). Inline words are unquoted in place once the line is whole.
 */
enum resp_status resp_scan(struct resp_scan *scan, char *buf, uint32_t len);

/*
 * After RESP_MORE with scan->bulk >= 0: the caller has that argument, and the two bytes behind it,
 * in buffer number `index` of its own. The command's bytes then end at scan->pos. RESP_COMMAND when
 * it was the last one, else RESP_MORE.
 */
enum resp_status resp_take_outside(struct resp_scan *scan, uint32_t index);

/* Writes "Protocol error: ..." into text. */
void resp_error_text(const struct resp_scan *scan, char text[RESP_ERROR_CHARS]);

#endif /* KV_RESP_H */
