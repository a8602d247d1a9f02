/* SPDX-License-Identifier: MIT */
/*
 * The statistics file of this process, from demi_init to demi_fini (os/statfile.h). Without it
 * everything works, and no other process sees the counters.
 */
#ifndef DK_API_STATS_H
#define DK_API_STATS_H

#include <stdint.h>

/* Creates the file and moves the counters of the process into it, before the first instance; says
 * at level info why it cannot. The library OS is known. */
void dk_stats_open(uint32_t max_instances);

/* Removes it; no instance is left. */
void dk_stats_close(void);

/* In the child of a fork; dk_statfile_before_fork ran in the parent. */
void dk_stats_after_fork(void);

#endif /* DK_API_STATS_H */
