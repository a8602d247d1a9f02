/* SPDX-License-Identifier: MIT */
/* demi log append, cat. */
#include "log_command.h"

#include "mem/heap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define IN_FLIGHT 512

struct record {
    struct dk_log_append append;
    uint8_t *bytes;
};

struct appender {
    struct dk_store *store;
    struct dk_log *log;
    struct record records[IN_FLIGHT];
    uint64_t done;
    int error;
};

static void append_done(struct dk_log_append *append, int result)
{
    struct appender *a = append->arg;
    struct record *r = (struct record *)(void *)append;
    if (result != 0 && a->error == 0)
        a->error = result;
    a->done += result == 0;
    dk_heap_free(r->bytes);
    r->bytes = NULL;
}

static struct record *idle(struct appender *a)
{
    for (;;) {
        for (int i = 0; i < IN_FLIGHT; i++)
            if (!a->records[i].bytes)
                return &a->records[i];
        log_wait(a->store);
    }
}

static void append_one(struct appender *a, const void *bytes, size_t len)
{
    struct record *r = idle(a);
    if (a->error != 0)
        return;
    if (len > UINT32_MAX) {
        a->error = -EMSGSIZE;
        return;
    }
    r->bytes = dk_heap_malloc(len + 1);
    if (!r->bytes) {
        a->error = -ENOMEM;
        return;
    }
    memcpy(r->bytes, bytes, len);
    r->append = (struct dk_log_append){
        .segs = {{r->bytes, (uint32_t)len}}, .num_segs = 1, .done = append_done, .arg = a};
    int ret = dk_log_append(a->log, &r->append);
    if (ret == 0)
        return;
    a->error = ret;
    dk_heap_free(r->bytes);
    r->bytes = NULL;
}

static void append_lines(struct appender *a, int delimiter)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    while (a->error == 0 && (len = getdelim(&line, &size, delimiter, stdin)) >= 0)
        append_one(a, line, (size_t)len - (line[len - 1] == delimiter));
    free(line);
}

static void append_whole(struct appender *a)
{
    char *all = NULL;
    size_t len = 0, size = 0, n;
    do {
        if (len == size) {
            size = size ? size * 2 : 1u << 16;
            char *more = realloc(all, size);
            if (!more) {
                a->error = -ENOMEM;
                break;
            }
            all = more;
        }
        n = fread(all + len, 1, size - len, stdin);
        len += n;
    } while (n > 0);
    if (a->error == 0)
        append_one(a, all, len);
    free(all);
}

int log_append(const struct log_options *options)
{
    static struct appender a;
    a.store = log_open_store(options, false);
    if (!a.store)
        return COMMAND_FAILED;
    a.log = log_open_log(a.store, options, 0);
    if (a.log && options->whole)
        append_whole(&a);
    else if (a.log)
        append_lines(&a, options->null ? '\0' : '\n');
    while (dk_store_outstanding(a.store) > 0)
        log_wait(a.store);
    dk_store_close(a.store);
    if (!a.log)
        return COMMAND_FAILED;
    if (a.error == 0 && ferror(stdin))
        a.error = -EIO;
    if (a.error == 0)
        return COMMAND_OK;
    fprintf(stderr, "%s: %" PRIu64 " records were appended, then: %s\n",
            program_invocation_short_name, a.done, strerror(-a.error));
    return COMMAND_FAILED;
}

struct reading {
    struct dk_log_read read;
    bool is_done;
    int result;
};

static void read_done(struct dk_log_read *read, int result)
{
    struct reading *r = read->arg;
    r->is_done = true;
    r->result = result;
}

static void print_record(struct reading *r, const struct log_options *options)
{
    for (uint32_t i = 0; i < r->read.num_segs; i++) {
        struct dk_buf *buf = r->read.bufs[i];
        if (!buf)
            continue;
        fwrite(buf->data, 1, dk_buf_bytes(buf), stdout);
        dk_buf_put(buf);
    }
    if (!options->whole)
        putchar(options->null ? '\0' : '\n');
}

/* Prints what can be read; the number of records that cannot. */
static uint64_t print_records(struct dk_store *store, struct dk_log *log,
                              const struct log_options *options)
{
    struct dk_log_info info;
    uint64_t bad = 0;
    dk_log_info(log, &info);
    uint64_t at = options->from == UINT64_MAX ? info.first : options->from;
    uint64_t end = at < info.end && options->count < info.end - at ? at + options->count : info.end;
    for (; at < end && !ferror(stdout); at++) {
        struct reading r = {.read = {.record = at, .done = read_done, .arg = &r}};
        dk_log_read(log, &r.read);
        while (!r.is_done)
            log_wait(store);
        if (r.result == 0) {
            print_record(&r, options);
            continue;
        }
        bad++;
        fprintf(stderr, "%s: record %" PRIu64 ": %s\n", program_invocation_short_name, at,
                strerror(-r.result));
    }
    if (info.is_end_unread && end == info.end) {
        bad++;
        fprintf(stderr, "%s: record %" PRIu64 ", if there is one: %s\n",
                program_invocation_short_name, end, strerror(EIO));
    }
    return bad;
}

int log_cat(const struct log_options *options)
{
    struct dk_store *store = log_open_store(options, true);
    if (!store)
        return COMMAND_FAILED;
    struct dk_log *log = log_open_log(store, options, 0);
    uint64_t bad = log ? print_records(store, log, options) : 1;
    dk_store_close(store);
    return bad == 0 ? COMMAND_OK : COMMAND_FAILED;
}
