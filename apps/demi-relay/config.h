/* SPDX-License-Identifier: MIT */
/*
 * What the command line says: addresses, prefixes, limits. Read-only once the workers run.
 */
#ifndef RELAY_CONFIG_H
#define RELAY_CONFIG_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define RELAY_MAX_TARGETS  64
#define RELAY_MAX_PREFIXES 64
#define RELAY_MAX_WORKERS  32
#define RELAY_MAX_TEXT     512

struct relay_address {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage storage;
    };
    socklen_t len;
};

/* Clients that are allowed. */
struct relay_prefix {
    int family;
    uint8_t bytes[16];
    uint32_t bits;
};

/* Bytes of a datagram. */
struct relay_text {
    uint32_t len;
    uint8_t bytes[RELAY_MAX_TEXT];
};

enum relay_choice { RELAY_ROUND_ROBIN, RELAY_LEAST, RELAY_HASH };

struct relay_config {
    struct relay_address listen;
    struct relay_address targets[RELAY_MAX_TARGETS];
    const char *target_names[RELAY_MAX_TARGETS]; /* as on the command line */
    uint32_t num_targets;
    struct relay_prefix allow[RELAY_MAX_PREFIXES];
    uint32_t num_allow; /* 0: everybody */
    enum relay_choice choice;
    bool udp;
    uint32_t max_datagram; /* bytes of a client's; 0: any */
    uint32_t workers;
    uint32_t max_connections;
    uint32_t backlog;
    int64_t idle_ms;    /* 0: for ever */
    int64_t connect_ms; /* for a target to accept a connection */
    int64_t check_ms;   /* between probes of a target; 0: none are made */
    int64_t check_timeout_ms;
    uint32_t rise, fall;      /* probes in a row that bring a target up, that take it down */
    struct relay_text probe;  /* UDP: none is made when it is empty */
    struct relay_text expect; /* UDP: what an answer begins with */
    bool expects;             /* an answer */
    int64_t drain_ms;
    int64_t stats_ms; /* 0: only when asked */
};

/* Reads ADDRESS:PORT or [ADDRESS]:PORT; false: it is none. */
bool relay_parse_address(const char *text, struct relay_address *addr_out);

/* Reads bytes: \\n, \\r, \\t, \\0, \\\\ and \\xHH as in C, others for themselves. False: another
 * escape, or too long. */
bool relay_parse_text(const char *text, struct relay_text *text_out);

/* Whether targets are probed; if not, clients find out. */
static inline bool relay_is_probed(const struct relay_config *config)
{
    return config->check_ms > 0 && (!config->udp || config->probe.len > 0);
}

/* Reads ADDRESS/BITS, or ADDRESS alone; false: it is neither. */
bool relay_parse_prefix(const char *text, struct relay_prefix *prefix_out);

/* Whether a client may be served. */
bool relay_is_allowed(const struct relay_config *config, const struct sockaddr *addr);

/* Of the address, and of the port if asked: the same for the same client. */
uint32_t relay_hash(const struct sockaddr *addr, bool with_port);

/* In network order. */
uint32_t relay_port_of(const struct sockaddr *addr);

bool relay_same_address(const struct sockaddr *a, const struct sockaddr *b);

#endif /* RELAY_CONFIG_H */
