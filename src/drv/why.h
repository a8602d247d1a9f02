/* SPDX-License-Identifier: MIT */
/*
 * What an open function says when it fails: a sentence of each thread, good until its next.
 */
#ifndef DK_DRV_WHY_H
#define DK_DRV_WHY_H

#include "base/compiler.h"

/* Makes *why_out say what to do, and returns error, a negative errno. */
DK_EXPORT int dk_why(const char **why_out, int error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif /* DK_DRV_WHY_H */
