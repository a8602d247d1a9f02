/* SPDX-License-Identifier: MIT */
/*
 * The configuration keys as one constant table: name, environment variable, accepted values,
 * default. A value is a uint32_t (a number, or the index of a word), or a text that has a check.
 *
 * Left out: where values come from (config_set.h, config_file.h).
 */
#ifndef DK_API_CONFIG_KEYS_H
#define DK_API_CONFIG_KEYS_H

#include <stddef.h>
#include <stdint.h>

enum dk_config_id {
    DK_CONFIG_NET,
    DK_CONFIG_NET_ADDRESSES,
    DK_CONFIG_NET_GATEWAY,
    DK_CONFIG_NET_ROUTES,
    DK_CONFIG_NET_MTU,
    DK_CONFIG_NET_VLAN,
    DK_CONFIG_NET_PROBE,
    DK_CONFIG_NET_IDENTIFIERS,
    DK_CONFIG_NET_CONGESTION,
    DK_CONFIG_NET_ECN,
    DK_CONFIG_NET_WAIT_S,
    DK_CONFIG_NET_DHCP_RELEASE,
    DK_CONFIG_NET_OFFLOAD,
    DK_CONFIG_NET_CONNECTIONS,
    DK_CONFIG_NET_SYN_COOKIES,
    DK_CONFIG_NET_SEND_BYTES,
    DK_CONFIG_NET_RECEIVE_BYTES,
    DK_CONFIG_NET_SEND_MAX,
    DK_CONFIG_NET_RECEIVE_MAX,
    DK_CONFIG_NET_PRESSURE_BYTES,
    DK_CONFIG_NET_MTU_PROBING,
    DK_CONFIG_NET_SACK,
    DK_CONFIG_NET_TIMESTAMPS,
    DK_CONFIG_NET_WINDOW_SCALE,
    DK_CONFIG_PUSH_HOLD_US,
    DK_CONFIG_STORE,
    DK_CONFIG_ENGINE,
    DK_CONFIG_POLL,
    DK_CONFIG_SPIN_US,
    DK_CONFIG_WORKERS,
    DK_CONFIG_BACKGROUND,
    DK_CONFIG_EXIT_LINGER_MS,
    DK_CONFIG_RX_BUFFER_BYTES,
    DK_CONFIG_RX_POOL_BYTES,
    DK_CONFIG_COPY_THRESHOLD,
    DK_CONFIG_HUGE_PAGES,
    DK_CONFIG_DEBUG,
    DK_CONFIG_SORT_MAX,
    DK_CONFIG_ELEMENT_MAX,
    DK_CONFIG_MAX_TOKENS,
    DK_CONFIG_MAX_QUEUES,
    DK_CONFIG_LOG,
    DK_CONFIG_COUNT,
};

/* Space that holds why a text is not accepted. */
#define DK_CONFIG_WHY_MAX 256

struct dk_config_key {
    const char *name;
    const char *env;
    const char *summary;
    /* Of a text: 0, or -EINVAL and why ("": nothing to say). NULL: it is a number or a word. */
    int (*check)(const char *text, char why[DK_CONFIG_WHY_MAX]);
    const char *accepted;     /* of a text: what is accepted, for a person */
    const char *initial_text; /* of a text: the default */
    const char *const *words; /* ends with NULL; NULL for a number */
    uint32_t min;             /* of a number */
    uint32_t max;
    uint32_t initial; /* the default */
};

extern const struct dk_config_key dk_config_keys[DK_CONFIG_COUNT];

/* Space that holds any value, and any list of accepted values, as text. */
#define DK_CONFIG_TEXT_MAX 512

/* Space that holds the names of all keys. */
#define DK_CONFIG_NAMES_MAX 1024

/* Returns the id of a key by its exact name, or -ENOENT. */
int dk_config_key_find(const char *name);

/* Returns the id of the key that a misspelt name probably means ('-' and case do not count), or
 * -ENOENT. */
int dk_config_key_nearest(const char *name);

/* Reads a value that is a number or a word: 0, or -EINVAL for one that is not accepted. */
int dk_config_key_parse(enum dk_config_id id, const char *text, uint32_t *value_out);

/* Writes a number or a word as text, always terminated. */
void dk_config_key_format(enum dk_config_id id, uint32_t value, char *out, size_t len);

/* Writes the accepted values for a person ("auto, epoll" or "1 to 64"), always terminated. */
void dk_config_key_accepted(enum dk_config_id id, char *out, size_t len);

/* Writes the names of all keys, separated by ", ", always terminated. */
void dk_config_key_names(char *out, size_t len);

/* Returns what a `net` that this build knows but lacks would be, or NULL for an unknown word. */
const char *dk_config_net_absent(const char *name);

#endif /* DK_API_CONFIG_KEYS_H */
