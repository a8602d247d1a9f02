/* SPDX-License-Identifier: MIT */
/*
 * DPDK's environment, and its ports by name.
 */
#ifndef DK_DRV_DPDK_EAL_H
#define DK_DRV_DPDK_EAL_H

#include "drv/dpdk/dpdk.h"

/* Starts EAL, once per process. 0, or a negative errno and *why_out. */
int dk_dpdk_start(const struct dk_dpdk_options *options, const char **why_out);

/* Finds the port of a device, and makes it where it is not there. Nobody else gets it before
 * dk_dpdk_drop_port. */
int dk_dpdk_take_port(const char *device, uint16_t *port_out, const char **why_out);

/* Closes it, whose device stays taken: no queue of it is in use any more. */
void dk_dpdk_close_port(uint16_t port);

/* Takes it away, with its device: the next who wants it makes it anew. */
void dk_dpdk_drop_port(uint16_t port);

#endif /* DK_DRV_DPDK_EAL_H */
