/* SPDX-License-Identifier: MIT */
/*
 * Reports of misuse (heap_report.h): no stdio, which allocates.
 */
#include "mem/heap_report.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct line {
    char text[256];
    size_t len;
};

static void add(struct line *line, const char *text)
{
    size_t n = strlen(text), room = sizeof(line->text) - line->len;
    n = n < room ? n : room;
    memcpy(line->text + line->len, text, n);
    line->len += n;
}

static void add_number(struct line *line, uint64_t n, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    add(line, digits + at);
}

static void begin(struct line *line, const char *call, const void *p, const char *reason)
{
    add(line, "demikernel: ");
    add(line, call);
    add(line, "(0x");
    add_number(line, (uintptr_t)p, 16);
    add(line, "): ");
    add(line, reason);
}

__attribute__((noreturn)) static void end(struct line *line)
{
    add(line, "\n");
    ssize_t written = write(STDERR_FILENO, line->text, line->len);
    (void)written; /* nobody is left to tell */
    abort();
}

void dk_heap_report(const char *call, const void *p, const char *reason)
{
    struct line line = {.len = 0};
    begin(&line, call, p, reason);
    end(&line);
}

void dk_heap_report_at(const char *call, const void *p, const char *reason, size_t offset)
{
    struct line line = {.len = 0};
    begin(&line, call, p, reason);
    add(&line, ", at offset ");
    add_number(&line, offset, 10);
    end(&line);
}
