/* SPDX-License-Identifier: MIT */
/*
 * `demi info --stats PID`: the counters of another process.
 */
#ifndef TOOLS_INFO_STATS_H
#define TOOLS_INFO_STATS_H

#include <stdbool.h>

/* Reads a process number; 0 when it is none. */
int info_stats_pid(const char *text);

/* Prints the counters of a process, as a table or as a JSON object. Returns an exit code. */
int info_stats(int pid, bool json);

#endif /* TOOLS_INFO_STATS_H */
