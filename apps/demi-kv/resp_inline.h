/* SPDX-License-Identifier: MIT */
/*
 * Inline commands: words on one line, for people with telnet. Private to the scanner (resp.h).
 */
#ifndef KV_RESP_INLINE_H
#define KV_RESP_INLINE_H

#include "resp.h"

/* As resp_scan, for a command that does not begin with '*'. */
enum resp_status resp_scan_inline(struct resp_scan *scan, char *buf, uint32_t len);

/* Shared by both halves of the scanner: adds an argument (false without memory); notes an error. */
bool resp_add_arg(struct resp_scan *scan, uint32_t off, uint32_t len);
enum resp_status resp_fail(struct resp_scan *scan, enum resp_error error);

#endif /* KV_RESP_INLINE_H */
