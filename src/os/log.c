/* SPDX-License-Identifier: MIT */
/*
 * Log lines are built in a buffer on the stack and written with one write(2), so that lines of
 * several threads do not mix.
 */
#include "os/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static enum dk_log_level max_level = DK_LOG_WARN;

void dk_log_set_level(enum dk_log_level level)
{
    max_level = level;
}

void dk_log(enum dk_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > max_level)
        return;
    int saved = errno;
    char line[1024];
    int len = snprintf(line, sizeof(line), "demikernel: %s: ", names[level]);
    va_list ap;
    va_start(ap, fmt);
    int more = vsnprintf(line + len, sizeof(line) - (size_t)len - 1, fmt, ap);
    va_end(ap);
    len += more < 0 ? 0 : more;
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)len) < 0)
        errno = saved; /* there is nowhere to report that standard error is gone */
    errno = saved;
}
