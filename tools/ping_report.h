/* SPDX-License-Identifier: MIT */
/*
 * What `demi ping` prints about its probes.
 */
#ifndef TOOLS_PING_REPORT_H
#define TOOLS_PING_REPORT_H

#include "ping_probe.h"

void ping_report_text(const struct ping_options *options, const struct ping_totals *totals);

/* Returns an exit code. */
int ping_report_json(const struct ping_options *options, const struct ping_totals *totals);

#endif /* TOOLS_PING_REPORT_H */
