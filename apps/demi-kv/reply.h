/* SPDX-License-Identifier: MIT */
/*
 * Replies: RESP2 or RESP3, as the client asked for, written into memory of the library.
 *
 * One block of KV_OUT_BYTES serves all clients one after another. What the commands of one pop
 * answered leaves as one push (kv_out_flush), which holds the memory; bytes that were pushed are
 * never written again, and a used-up block is freed at once: the library keeps it as long as
 * somebody's bytes lie in it. A blob leaves by reference, in a push of its own.
 *
 * Nothing here fails visibly: when memory or the connection is gone, the client is marked broken
 * and what is written for it is dropped.
 */
#ifndef KV_REPLY_H
#define KV_REPLY_H

#include "entry.h"

#include <demi/types.h>
#include <string.h>

#define KV_OUT_BYTES (64 * 1024)

struct kv_client;

struct kv_out {
    char *start; /* first byte not yet pushed */
    char *cur;   /* where to write */
    char *end;   /* end of the block */
    demi_sgarray_t block;
    struct kv_client *client;
    uint64_t bytes; /* pushed altogether */
};

/* Begins, and ends with a push, what is said to one client. */
void kv_out_begin(struct kv_out *out, struct kv_client *client);
void kv_out_flush(struct kv_out *out);

/* Frees the block. */
void kv_out_fini(struct kv_out *out);

/* Makes room for n <= KV_OUT_BYTES bytes in one piece; false: drop them. Use kv_out_room. */
bool kv_out_make_room(struct kv_out *out, size_t n);

static inline bool kv_out_room(struct kv_out *out, size_t n)
{
    return __builtin_expect((size_t)(out->end - out->cur) >= n, 1) || kv_out_make_room(out, n);
}

/* Bytes as they are, any number. */
void kv_out_bytes(struct kv_out *out, const char *p, size_t len);

/* A short constant, as it is: a reply with its CR LF. */
#define kv_reply_literal(out, text) kv_out_literal((out), (text), sizeof(text) - 1)

static inline void kv_out_literal(struct kv_out *out, const char *text, size_t len)
{
    if (!kv_out_room(out, len))
        return;
    memcpy(out->cur, text, len);
    out->cur += len;
}

static inline void kv_reply_ok(struct kv_out *out)
{
    kv_reply_literal(out, "+OK\r\n");
}

void kv_reply_status(struct kv_out *out, const char *text);
void kv_reply_int(struct kv_out *out, int64_t v);
void kv_reply_bulk(struct kv_out *out, struct kv_str bytes);
void kv_reply_text(struct kv_out *out, const char *text);       /* a bulk string */
void kv_reply_verbatim(struct kv_out *out, struct kv_str text); /* RESP2: a bulk string */
void kv_reply_value(struct kv_out *out, struct kv_entry *e);    /* an entry's value */
void kv_reply_null(struct kv_out *out);
void kv_reply_null_array(struct kv_out *out);

/* Headers of aggregates: n elements, or n pairs, follow. */
void kv_reply_array(struct kv_out *out, uint64_t n);
void kv_reply_map(struct kv_out *out, uint64_t pairs); /* RESP2: an array */
void kv_reply_set(struct kv_out *out, uint64_t n);     /* RESP2: an array */

/* An error: the code ("ERR ...") is part of the text; line ends in it become blanks. */
void kv_reply_error(struct kv_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The errors that many commands have. */
void kv_reply_syntax_error(struct kv_out *out);
void kv_reply_not_integer(struct kv_out *out);
void kv_reply_no_memory(struct kv_out *out);

#endif /* KV_REPLY_H */
