/* SPDX-License-Identifier: MIT */
/*
 * Replies (reply.h).
 */
#include "reply.h"

#include "client.h"
#include "numbers.h"

#include <demi/sga.h>
#include <stdarg.h>
#include <stdio.h>

/* A block with less room than this is not begun for another client. */
#define MIN_ROOM 1024

/* Longest error; what is longer is cut. */
#define ERROR_CHARS 512

static void drop_block(struct kv_out *out)
{
    if (out->block.sga_buf)
        demi_sgafree(&out->block);
    memset(&out->block, 0, sizeof(out->block));
    out->start = out->cur = out->end = NULL;
}

void kv_out_begin(struct kv_out *out, struct kv_client *client)
{
    out->client = client;
    if (out->end - out->cur < MIN_ROOM)
        drop_block(out);
}

static void push(struct kv_out *out, const demi_sgarray_t *sga)
{
    out->bytes += sga->sga_segs[0].sgaseg_len;
    kv_client_push(out->client, sga);
}

void kv_out_flush(struct kv_out *out)
{
    demi_sgarray_t part = {.sga_buf = out->block.sga_buf, .sga_numsegs = 1};

    if (out->start == out->cur)
        return;
    part.sga_segs[0].sgaseg_buf = out->start;
    part.sga_segs[0].sgaseg_len = (uint32_t)(out->cur - out->start);
    out->start = out->cur;
    push(out, &part);
}

void kv_out_fini(struct kv_out *out)
{
    drop_block(out);
}

bool kv_out_make_room(struct kv_out *out, size_t n)
{
    kv_out_flush(out);
    drop_block(out);
    if (!out->client->broken)
        out->block = demi_sgaalloc(KV_OUT_BYTES);
    if (!out->block.sga_buf) {
        out->client->broken = true;
        return false;
    }
    out->start = out->cur = out->block.sga_segs[0].sgaseg_buf;
    out->end = out->cur + KV_OUT_BYTES;
    return n <= KV_OUT_BYTES;
}

void kv_out_bytes(struct kv_out *out, const char *p, size_t len)
{
    while (len > 0 && kv_out_room(out, 1)) {
        size_t room = (size_t)(out->end - out->cur), part = len < room ? len : room;
        memcpy(out->cur, p, part);
        out->cur += part;
        p += part;
        len -= part;
    }
}

static void put_header(struct kv_out *out, char type, uint64_t n)
{
    if (!kv_out_room(out, KV_I64_CHARS + 3))
        return;
    *out->cur++ = type;
    out->cur += kv_format_u64(out->cur, n);
    memcpy(out->cur, "\r\n", 2);
    out->cur += 2;
}

void kv_reply_status(struct kv_out *out, const char *text)
{
    kv_out_bytes(out, "+", 1);
    kv_out_bytes(out, text, strlen(text));
    kv_out_bytes(out, "\r\n", 2);
}

void kv_reply_int(struct kv_out *out, int64_t v)
{
    if (!kv_out_room(out, KV_I64_CHARS + 3))
        return;
    *out->cur++ = ':';
    out->cur += kv_format_i64(out->cur, v);
    memcpy(out->cur, "\r\n", 2);
    out->cur += 2;
}

void kv_reply_bulk(struct kv_out *out, struct kv_str bytes)
{
    size_t all = (size_t)bytes.len + KV_I64_CHARS + 5;

    if (all <= (size_t)(out->end - out->cur)) {
        char *p = out->cur;
        *p++ = '$';
        p += kv_format_u64(p, bytes.len);
        memcpy(p, "\r\n", 2);
        memcpy(p + 2, bytes.p, bytes.len);
        p += 2 + bytes.len;
        memcpy(p, "\r\n", 2);
        out->cur = p + 2;
        return;
    }
    put_header(out, '$', bytes.len);
    kv_out_bytes(out, bytes.p, bytes.len);
    kv_out_bytes(out, "\r\n", 2);
}

void kv_reply_text(struct kv_out *out, const char *text)
{
    kv_reply_bulk(out, (struct kv_str){text, (uint32_t)strlen(text)});
}

void kv_reply_verbatim(struct kv_out *out, struct kv_str text)
{
    if (out->client->resp < 3) {
        kv_reply_bulk(out, text);
        return;
    }
    put_header(out, '=', (uint64_t)text.len + 4);
    kv_out_bytes(out, "txt:", 4);
    kv_out_bytes(out, text.p, text.len);
    kv_out_bytes(out, "\r\n", 2);
}

static void put_blob(struct kv_out *out, const struct kv_blob *blob)
{
    bool wire = blob->cap == 0;
    demi_sgarray_t sga = wire ? kv_blob_reply(blob) : kv_blob_bytes(blob);

    if (!wire)
        put_header(out, '$', blob->len);
    kv_out_flush(out);
    push(out, &sga);
    if (!wire)
        kv_reply_literal(out, "\r\n");
}

void kv_reply_value(struct kv_out *out, struct kv_entry *e)
{
    if (e->is_blob)
        put_blob(out, kv_entry_blob(e));
    else
        kv_reply_bulk(out, (struct kv_str){kv_entry_value(e), e->value_len});
}

void kv_reply_null(struct kv_out *out)
{
    if (out->client->resp < 3)
        kv_reply_literal(out, "$-1\r\n");
    else
        kv_reply_literal(out, "_\r\n");
}

void kv_reply_null_array(struct kv_out *out)
{
    if (out->client->resp < 3)
        kv_reply_literal(out, "*-1\r\n");
    else
        kv_reply_literal(out, "_\r\n");
}

void kv_reply_array(struct kv_out *out, uint64_t n)
{
    put_header(out, '*', n);
}

void kv_reply_map(struct kv_out *out, uint64_t pairs)
{
    if (out->client->resp < 3)
        put_header(out, '*', 2 * pairs);
    else
        put_header(out, '%', pairs);
}

void kv_reply_set(struct kv_out *out, uint64_t n)
{
    put_header(out, out->client->resp < 3 ? '*' : '~', n);
}

void kv_reply_error(struct kv_out *out, const char *format, ...)
{
    char text[ERROR_CHARS];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *p = text; (p = strpbrk(p, "\r\n")) != NULL;)
        *p = ' ';
    kv_out_bytes(out, "-", 1);
    kv_out_bytes(out, text, strlen(text));
    kv_out_bytes(out, "\r\n", 2);
}

void kv_reply_syntax_error(struct kv_out *out)
{
    kv_reply_literal(out, "-ERR syntax error\r\n");
}

void kv_reply_not_integer(struct kv_out *out)
{
    kv_reply_literal(out, "-ERR value is not an integer or out of range\r\n");
}

void kv_reply_no_memory(struct kv_out *out)
{
    kv_reply_literal(out, "-OOM out of memory\r\n");
}
