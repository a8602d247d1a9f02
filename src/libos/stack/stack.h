/* SPDX-License-Identifier: MIT */
/*
 * The library OS "stack": TCP and UDP in the process itself (src/net), over a network device
 * (src/drv).
 *
 * One instance has one stack over one device. All of it runs under the instance's lead: in a poll,
 * and in the calls of the application.
 */
#ifndef DK_LIBOS_STACK_STACK_H
#define DK_LIBOS_STACK_STACK_H

#include "core/instance.h"

#define DK_STACK_WHY_MAX 256

/* Whether other hosts are asked if they have an address of ours. */
enum dk_stack_probe {
    DK_STACK_PROBE_NO,
    DK_STACK_PROBE_BACKGROUND, /* while it is used already */
    DK_STACK_PROBE_WAIT,       /* before: dk_stack_open waits */
};

/* Explicit congestion notification. */
enum dk_stack_ecn {
    DK_STACK_ECN_NO,
    DK_STACK_ECN_ACCEPT, /* when the peer asks */
    DK_STACK_ECN_ASK,    /* and ask */
};

/* When a SYN is answered with a cookie (RFC 4987). */
enum dk_stack_syn_cookies {
    DK_STACK_SYN_COOKIES_AUTO, /* while too many connections are half open */
    DK_STACK_SYN_COOKIES_NEVER,
    DK_STACK_SYN_COOKIES_ALWAYS,
};

/* When the path MTU is searched for by what arrives. */
enum dk_stack_mtu_probing {
    DK_STACK_MTU_PROBING_OFF,
    DK_STACK_MTU_PROBING_BLACKHOLE, /* when full-size segments do not */
    DK_STACK_MTU_PROBING_ALWAYS,
};

/* What the configuration says. Texts live as long as the process. */
struct dk_stack_options {
    const char *device;    /* drv/spec.h */
    const char *addresses; /* see dk_stack_check_addresses */
    const char *gateways;
    const char *routes;
    uint32_t mtu;         /* 0: the device's */
    uint32_t vlan;        /* 0: none */
    const char *offloads; /* see dk_stack_check_offloads */
    enum dk_stack_probe probe;
    bool eui64; /* IPv6 addresses are formed of the link address, not as RFC 7217 has it */
    const char *congestion; /* name of the algorithm */
    enum dk_stack_ecn ecn;
    bool keep_lease; /* it is not given back at the end */
    uint32_t wait_s; /* how long to wait for addresses that are learnt */
    bool no_sack, no_timestamps, no_window_scale;
    uint32_t push_hold_us;
    uint32_t max_connections;
    enum dk_stack_syn_cookies syn_cookies;
    uint32_t rx_pool_bytes;
    uint32_t rx_buffer_bytes; /* of a stream: the window that it offers; 0: it grows to the most */
    uint32_t tx_buffer_bytes; /* of a stream: what it accepts before it is acknowledged; likewise */
    uint32_t rx_buffer_max, tx_buffer_max;
    enum dk_stack_mtu_probing mtu_probing;
    uint32_t pressure_bytes; /* unread, of all streams, or by which send buffers have grown */
    uint32_t copy_threshold;
    uint32_t workers;
    uint32_t worker;               /* which of them opens its stack */
    const struct dk_poller *first; /* the stack of worker 0, open; NULL: this is it */
};

/* Makes inst's poller. 0, or a negative errno and what to do about it in *why_out. */
int dk_stack_open(struct dk_instance *inst, const struct dk_stack_options *options,
                  const char **why_out);

/* Creates a socket queue of inst, whose poller is a stack. 0 or a negative errno. */
int dk_stack_socket(struct dk_instance *inst, int domain, int type, int protocol, int *qd_out);

/* Name of the driver ("loop", "tap", "packet") if it can be used here; "" and *why_out if not. */
const char *dk_stack_probe_loop(const char **why_out);
const char *dk_stack_probe_tap(const char **why_out);
const char *dk_stack_probe_packet(const char **why_out);

/*
 * Check values of the configuration: 0, or -EINVAL and why in the caller's buffer. Items are
 * separated by commas or blanks; "none" has none.
 *
 *     device     tap:demi0                        drv/spec.h
 *     addresses  192.0.2.2/24, 2001:db8::2/64     at most 8; and "dhcp", "auto" (learn.c); or
 * "kernel" (shared.c) offloads   checksum, rx-checksum, tso, gro  or all; the device's are done in
 * software instead gateways   192.0.2.1, fe80::1               one of each version routes
 * 198.51.100.0/24>192.0.2.9        network > gateway, at most 14
 */
int dk_stack_check_device(const char *text, char why[DK_STACK_WHY_MAX]);
int dk_stack_check_addresses(const char *text, char why[DK_STACK_WHY_MAX]);
int dk_stack_check_offloads(const char *text, char why[DK_STACK_WHY_MAX]);
int dk_stack_check_gateways(const char *text, char why[DK_STACK_WHY_MAX]);
int dk_stack_check_routes(const char *text, char why[DK_STACK_WHY_MAX]);

/* The driver in a device's specification: what stands behind its decorators; 0 when it does not
 * fit. */
size_t dk_stack_driver(const char *spec, char *out, size_t len);

#endif /* DK_LIBOS_STACK_STACK_H */
