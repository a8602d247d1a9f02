/* SPDX-License-Identifier: MIT */
/*
 * Configuration: what demi_init was asked for, with typed values.
 *
 * Rules:
 * - Precedence: environment (DEMI_<KEY>) over file over default. The file is the YAML that
 *   DEMI_CONFIG names or, when that is unset, CONFIG_PATH (the reference implementation's
 *   variable; its sections are accepted as aliases). LIBOS is an alias of DEMI_NET.
 * - Each call reads environment and file anew. No state but constant tables and the interned
 *   strings of dk_config_describe; safe from any thread (as far as getenv is).
 * - A wrong value, or an unknown key in a DEMI_CONFIG file, is an error that names the place, the
 *   key and what is accepted. What has no meaning here but may be left over from the reference
 *   implementation is a warning on standard error.
 *
 * Left out: whether the machine can do what is asked (demi_init finds out when it opens the libOS).
 */
#ifndef DK_API_CONFIG_H
#define DK_API_CONFIG_H

#include <demi/admin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which mechanism carries the kernel libOS. */
enum dk_config_engine {
    DK_CONFIG_ENGINE_AUTO, /* io_uring where it is allowed, else epoll */
    DK_CONFIG_ENGINE_IO_URING,
    DK_CONFIG_ENGINE_EPOLL,
};

/* What a waiting thread does when nothing is ready. */
enum dk_config_poll {
    DK_CONFIG_POLL_ADAPTIVE, /* spins for spin_us, then sleeps */
    DK_CONFIG_POLL_ALWAYS,   /* spins for ever: a dedicated core */
    DK_CONFIG_POLL_NEVER,    /* sleeps at once */
};

/* Whether other hosts are asked if they have an address of the stack. */
enum dk_config_probe {
    DK_CONFIG_PROBE_NO,
    DK_CONFIG_PROBE_BACKGROUND, /* while it is used already */
    DK_CONFIG_PROBE_WAIT,       /* before demi_init returns */
};

/* Of what the lower half of an IPv6 address is made that nobody gave. */
enum dk_config_identifiers {
    DK_CONFIG_IDENTIFIERS_STABLE, /* a secret of the machine, and the network (RFC 7217) */
    DK_CONFIG_IDENTIFIERS_EUI64,  /* the link address */
};

/* When the stack answers a SYN without keeping anything of it (RFC 4987). */
enum dk_config_syn_cookies {
    DK_CONFIG_SYN_COOKIES_AUTO, /* while too many connections are half open */
    DK_CONFIG_SYN_COOKIES_NEVER,
    DK_CONFIG_SYN_COOKIES_ALWAYS,
};

/* What is checked at run time. */
enum dk_config_debug {
    DK_CONFIG_DEBUG_NONE,
    DK_CONFIG_DEBUG_HEAP,     /* canaries, junk fill */
    DK_CONFIG_DEBUG_INFLIGHT, /* that, and writes to memory in flight */
};

enum dk_config_log {
    DK_CONFIG_LOG_ERROR,
    DK_CONFIG_LOG_WARN,
    DK_CONFIG_LOG_INFO,
    DK_CONFIG_LOG_DEBUG,
};

enum dk_config_ecn {
    DK_CONFIG_ECN_NO,
    DK_CONFIG_ECN_ACCEPT, /* when the peer asks */
    DK_CONFIG_ECN_YES,    /* ask as well */
};

enum dk_config_mtu_probing {
    DK_CONFIG_MTU_PROBING_OFF,
    DK_CONFIG_MTU_PROBING_BLACKHOLE,
    DK_CONFIG_MTU_PROBING_ALWAYS,
};

struct dk_config {
    const char *net; /* "kernel", "memory", or a device (drv/spec.h) */
    /* Of the TCP/IP stack; texts are as libos/stack/stack.h has them, never NULL. */
    const char *net_addresses;
    const char *net_gateway;
    const char *net_routes;
    uint32_t net_mtu;  /* 0: the device's */
    uint32_t net_vlan; /* 0: none */
    const char *net_offload;
    enum dk_config_probe net_probe;
    enum dk_config_identifiers net_identifiers;
    const char *net_congestion; /* a word of the key; a constant */
    enum dk_config_ecn net_ecn;
    bool net_dhcp_release;    /* at the end */
    uint32_t net_wait_s;      /* 1 to 3600 */
    uint32_t net_connections; /* 16 to 1048576 */
    enum dk_config_syn_cookies net_syn_cookies;
    uint32_t net_send_bytes;    /* SO_SNDBUF; 0: grows up to net_send_max */
    uint32_t net_receive_bytes; /* SO_RCVBUF, likewise */
    uint32_t net_send_max;
    uint32_t net_receive_max;
    uint32_t net_pressure_bytes; /* unread, of all streams; and by which send buffers grow */
    enum dk_config_mtu_probing net_mtu_probing;
    bool net_sack; /* offered and accepted, as these */
    bool net_timestamps, net_window_scale;
    uint32_t push_hold_us; /* 0 to 1000000 */
    const char *store;     /* the device that has all logs (drv/blk_spec.h), "none": files */
    enum dk_config_engine engine;
    enum dk_config_poll poll;
    uint32_t spin_us;         /* 0 to 1000000; used with DK_CONFIG_POLL_ADAPTIVE */
    uint32_t workers;         /* 1 to 64: instances, one per thread that calls demi_init */
    bool background;          /* a thread leads when nobody waits */
    uint32_t exit_linger_ms;  /* 0 to 60000 */
    uint32_t rx_buffer_bytes; /* 1024 to 1048576: receive buffer of one pop */
    uint32_t rx_pool_bytes;   /* 65536 or more: receive pool of an instance */
    uint32_t copy_threshold;  /* 0 to 1 GiB: shorter segments are copied, not referenced */
    const char *huge_pages;   /* a word of the key; points to a constant, never NULL */
    enum dk_config_debug debug;
    uint32_t sort_max;    /* 1 to 16777216 */
    uint32_t element_max; /* 1 to 1 GiB */
    uint32_t max_tokens;  /* 1024 to 16777216 */
    uint32_t max_queues;  /* 16 to 16777216 */
    enum dk_config_log log;
};

/*
 * Reads the configuration. 0, or -EINVAL (bad configuration) or -ENOMEM with a message of one or
 * more lines without trailing newline in err (err_len bytes, always terminated; may be NULL with
 * 0). *out is untouched on failure. Warnings go to standard error unless `log` is error. Blocks to
 * read a file.
 */
int dk_config_load(struct dk_config *out, char *err, size_t err_len);

/*
 * Reads the configuration and describes its index-th value: the whole of demi_config_get. 0, or
 * -ENOENT past the last value, -EINVAL or -ENOMEM as dk_config_load. The strings live as long as
 * the process: each distinct one is kept once in a table behind a mutex. Warnings are given at
 * index 0 only, so that a listing gives them once.
 */
int dk_config_describe(size_t index, struct demi_config_value *out, char *err, size_t err_len);

#endif /* DK_API_CONFIG_H */
