/* SPDX-License-Identifier: MIT */
#include "drv/why.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char text[320];

int dk_why(const char **why_out, int error, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    *why_out = text;
    return error;
}
