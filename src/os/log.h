/* SPDX-License-Identifier: MIT */
/*
 * The log sink: one line to standard error, with its level. A thing is logged once, where it is
 * decided; a failure that arrives in an operation's result is not logged.
 */
#ifndef DK_OS_LOG_H
#define DK_OS_LOG_H

#include "base/compiler.h"

enum dk_log_level { DK_LOG_ERROR, DK_LOG_WARN, DK_LOG_INFO, DK_LOG_DEBUG };

/* Messages above level are dropped. Process-wide; set once by demi_init. */
void dk_log_set_level(enum dk_log_level level);

/* Writes one line; no newline in fmt. errno is preserved. */
DK_EXPORT void dk_log(enum dk_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif /* DK_OS_LOG_H */
