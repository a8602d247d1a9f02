/* SPDX-License-Identifier: MIT */
/*
 * The table of configuration keys, and reading and writing of single values. No state, no I/O.
 */
#include "api/config_keys.h"

#include "api/config.h"
#include "libos/log/log.h"
#include "libos/stack/stack.h"
#include "libos/table.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The order of the words is that of the enums in config.h. */
static const char *const engine_words[] = {"auto", "io_uring", "epoll", NULL};
static const char *const poll_words[] = {"adaptive", "always", "never", NULL};
static const char *const switch_words[] = {"no", "yes", NULL};
static const char *const probe_words[] = {"no", "background", "wait", NULL};
static const char *const identifier_words[] = {
    [DK_CONFIG_IDENTIFIERS_STABLE] = "stable", [DK_CONFIG_IDENTIFIERS_EUI64] = "eui64", NULL};
static const char *const probing_words[] = {[DK_CONFIG_MTU_PROBING_OFF] = "off",
                                            [DK_CONFIG_MTU_PROBING_BLACKHOLE] = "blackhole",
                                            [DK_CONFIG_MTU_PROBING_ALWAYS] = "always",
                                            NULL};
static const char *const congestion_words[] = {"cubic", "reno", "dctcp", "bbr", NULL};
static const char *const ecn_words[] = {"no", "accept", "yes", NULL};
static const char *const cookie_words[] = {"auto", "never", "always", NULL};
static const char *const page_words[] = {"auto", "hugetlb", "transparent", "none", NULL};
static const char *const debug_words[] = {"none", "heap", "inflight", NULL};
static const char *const log_words[] = {"error", "warn", "info", "debug", NULL};

_Static_assert(DK_CONFIG_WHY_MAX >= DK_STACK_WHY_MAX && DK_CONFIG_WHY_MAX >= DK_LOGS_WHY_MAX,
               "their reasons fit");

/* A library OS by its name, or a device under the stack. */
static int check_net(const char *text, char why[DK_CONFIG_WHY_MAX])
{
    const struct dk_libos *l = dk_libos_find(text);
    why[0] = '\0';
    if (!l)
        return -EINVAL;
    return l->is_stack ? dk_stack_check_device(text, why) : 0;
}

const struct dk_config_key dk_config_keys[DK_CONFIG_COUNT] = {
    [DK_CONFIG_NET] = {.name = "net",
                       .env = "DEMI_NET",
                       .summary = "library OS that sockets come from",
                       .check = check_net,
                       .accepted = "kernel, memory, loop, tap:INTERFACE, packet:INTERFACE",
                       .initial_text = "kernel"},
    [DK_CONFIG_NET_ADDRESSES] = {.name = "net_addresses",
                                 .env = "DEMI_NET_ADDRESSES",
                                 .summary = "addresses of the TCP/IP stack, with prefix lengths",
                                 .check = dk_stack_check_addresses,
                                 .accepted = "none, or ADDRESS/LENGTH (at most 8), dhcp, auto, "
                                             "separated by commas",
                                 .initial_text = "none"},
    [DK_CONFIG_NET_GATEWAY] = {.name = "net_gateway",
                               .env = "DEMI_NET_GATEWAY",
                               .summary = "default gateway of the TCP/IP stack",
                               .check = dk_stack_check_gateways,
                               .accepted = "none, or ADDRESS, one of each version of IP",
                               .initial_text = "none"},
    [DK_CONFIG_NET_ROUTES] =
        {.name = "net_routes",
         .env = "DEMI_NET_ROUTES",
         .summary = "other routes of the TCP/IP stack",
         .check = dk_stack_check_routes,
         .accepted = "none, or NETWORK/LENGTH>GATEWAY, at most 14, separated by commas",
         .initial_text = "none"},
    [DK_CONFIG_NET_MTU] = {.name = "net_mtu",
                           .env = "DEMI_NET_MTU",
                           .summary = "bytes of the largest IP packet; 0 takes the device's",
                           .max = 65535},
    [DK_CONFIG_NET_VLAN] = {.name = "net_vlan",
                            .env = "DEMI_NET_VLAN",
                            .summary = "802.1Q id of all frames of the TCP/IP stack; 0: none",
                            .max = 4094},
    [DK_CONFIG_NET_PROBE] = {.name = "net_probe",
                             .env = "DEMI_NET_PROBE",
                             .summary = "ask other hosts whether they have an address of the stack",
                             .words = probe_words,
                             .initial = DK_CONFIG_PROBE_BACKGROUND},
    [DK_CONFIG_NET_IDENTIFIERS] = {.name = "net_identifiers",
                                   .env = "DEMI_NET_IDENTIFIERS",
                                   .summary =
                                       "of what the lower halves of formed IPv6 addresses are made",
                                   .words = identifier_words,
                                   .initial = DK_CONFIG_IDENTIFIERS_STABLE},
    [DK_CONFIG_NET_CONGESTION] = {.name = "net_congestion",
                                  .env = "DEMI_NET_CONGESTION",
                                  .summary = "congestion control of the stack's connections",
                                  .words = congestion_words},
    [DK_CONFIG_NET_ECN] = {.name = "net_ecn",
                           .env = "DEMI_NET_ECN",
                           .summary = "congestion told by marks: when a peer asks, or asking it",
                           .words = ecn_words,
                           .initial = DK_CONFIG_ECN_ACCEPT},
    [DK_CONFIG_NET_WAIT_S] = {.name = "net_wait_s",
                              .env = "DEMI_NET_WAIT_S",
                              .summary = "seconds to wait for addresses by dhcp and auto",
                              .min = 1,
                              .max = 3600,
                              .initial = 20},
    [DK_CONFIG_NET_DHCP_RELEASE] = {.name = "net_dhcp_release",
                                    .env = "DEMI_NET_DHCP_RELEASE",
                                    .summary = "give an address by dhcp back at the end",
                                    .words = switch_words,
                                    .initial = 1},
    [DK_CONFIG_NET_OFFLOAD] =
        {.name = "net_offload",
         .env = "DEMI_NET_OFFLOAD",
         .summary = "what the device may do for the TCP/IP stack",
         .check = dk_stack_check_offloads,
         .accepted = "none, all, or checksum, rx-checksum, tso and gro, separated by commas",
         .initial_text = "all"},
    [DK_CONFIG_NET_CONNECTIONS] = {.name = "net_connections",
                                   .env = "DEMI_NET_CONNECTIONS",
                                   .summary = "TCP connections that the stack has at one time",
                                   .min = 16,
                                   .max = 1048576,
                                   .initial = 16384},
    [DK_CONFIG_NET_SYN_COOKIES] = {.name = "net_syn_cookies",
                                   .env = "DEMI_NET_SYN_COOKIES",
                                   .summary = "when a SYN is answered, and nothing kept of it",
                                   .words = cookie_words,
                                   .initial = DK_CONFIG_SYN_COOKIES_AUTO},
    [DK_CONFIG_NET_SEND_BYTES] = {.name = "net_send_bytes",
                                  .env = "DEMI_NET_SEND_BYTES",
                                  .summary = "SO_SNDBUF of the stack's sockets; 0: it grows",
                                  .max = 1073741824},
    [DK_CONFIG_NET_RECEIVE_BYTES] = {.name = "net_receive_bytes",
                                     .env = "DEMI_NET_RECEIVE_BYTES",
                                     .summary = "SO_RCVBUF of the stack's sockets; 0: it grows",
                                     .max = 1073741824},
    [DK_CONFIG_NET_SEND_MAX] = {.name = "net_send_max",
                                .env = "DEMI_NET_SEND_MAX",
                                .summary = "to how much SO_SNDBUF grows by itself",
                                .max = 1073741824,
                                .initial = 16777216},
    [DK_CONFIG_NET_RECEIVE_MAX] = {.name = "net_receive_max",
                                   .env = "DEMI_NET_RECEIVE_MAX",
                                   .summary = "to how much SO_RCVBUF grows by itself",
                                   .max = 1073741824,
                                   .initial = 16777216},
    [DK_CONFIG_NET_PRESSURE_BYTES] = {.name = "net_pressure_bytes",
                                      .env = "DEMI_NET_PRESSURE_BYTES",
                                      .summary =
                                          "bytes of all streams beyond which no buffer grows",
                                      .min = 1048576,
                                      .max = UINT32_MAX,
                                      .initial = 268435456},
    [DK_CONFIG_NET_MTU_PROBING] = {.name = "net_mtu_probing",
                                   .env = "DEMI_NET_MTU_PROBING",
                                   .summary = "when the path MTU is found without ICMP",
                                   .words = probing_words,
                                   .initial = DK_CONFIG_MTU_PROBING_BLACKHOLE},
    [DK_CONFIG_NET_SACK] = {.name = "net_sack",
                            .env = "DEMI_NET_SACK",
                            .summary = "offer and accept selective acknowledgements (RFC 2018)",
                            .words = switch_words,
                            .initial = 1},
    [DK_CONFIG_NET_TIMESTAMPS] = {.name = "net_timestamps",
                                  .env = "DEMI_NET_TIMESTAMPS",
                                  .summary = "offer and accept timestamps (RFC 7323)",
                                  .words = switch_words,
                                  .initial = 1},
    [DK_CONFIG_NET_WINDOW_SCALE] = {.name = "net_window_scale",
                                    .env = "DEMI_NET_WINDOW_SCALE",
                                    .summary = "offer and accept windows over 64 KiB (RFC 7323)",
                                    .words = switch_words,
                                    .initial = 1},
    [DK_CONFIG_PUSH_HOLD_US] = {.name = "push_hold_us",
                                .env = "DEMI_PUSH_HOLD_US",
                                .summary =
                                    "microseconds without acknowledgements until a push to the "
                                    "stack is copied",
                                .max = 1000000,
                                .initial = 50},
    [DK_CONFIG_STORE] = {.name = "store",
                         .env = "DEMI_STORE",
                         .summary = "device that has all logs; none: each log is a file",
                         .check = dk_logs_check_device,
                         .accepted = "none, or DEVICE (demi_store(7))",
                         .initial_text = "none"},
    [DK_CONFIG_ENGINE] = {.name = "engine",
                          .env = "DEMI_ENGINE",
                          .summary = "what carries net=kernel; auto takes io_uring where allowed",
                          .words = engine_words,
                          .initial = DK_CONFIG_ENGINE_AUTO},
    [DK_CONFIG_POLL] = {.name = "poll",
                        .env = "DEMI_POLL",
                        .summary = "waiting: spin_us then sleep, spin for ever, or sleep at once",
                        .words = poll_words,
                        .initial = DK_CONFIG_POLL_ADAPTIVE},
    [DK_CONFIG_SPIN_US] = {.name = "spin_us",
                           .env = "DEMI_SPIN_US",
                           .summary = "microseconds that a wait spins before it sleeps",
                           .max = 1000000,
                           .initial = 10},
    [DK_CONFIG_WORKERS] = {.name = "workers",
                           .env = "DEMI_WORKERS",
                           .summary = "instances: threads that get one of their own by demi_init",
                           .min = 1,
                           .max = 64,
                           .initial = 1},
    [DK_CONFIG_BACKGROUND] = {.name = "background",
                              .env = "DEMI_BACKGROUND",
                              .summary = "a thread drives the devices when nobody waits",
                              .words = switch_words},
    [DK_CONFIG_EXIT_LINGER_MS] = {.name = "exit_linger_ms",
                                  .env = "DEMI_EXIT_LINGER_MS",
                                  .summary = "longest time that exit waits for accepted pushes",
                                  .max = 60000,
                                  .initial = 1000},
    [DK_CONFIG_RX_BUFFER_BYTES] = {.name = "rx_buffer_bytes",
                                   .env = "DEMI_RX_BUFFER_BYTES",
                                   .summary = "receive buffer of one pop",
                                   .min = 1024,
                                   .max = 1048576,
                                   .initial = 16384},
    [DK_CONFIG_RX_POOL_BYTES] = {.name = "rx_pool_bytes",
                                 .env = "DEMI_RX_POOL_BYTES",
                                 .summary = "receive pool: once half is kept, pops are copied",
                                 .min = 65536,
                                 .max = 4294967295,
                                 .initial = 33554432},
    [DK_CONFIG_COPY_THRESHOLD] = {.name = "copy_threshold",
                                  .env = "DEMI_COPY_THRESHOLD",
                                  .summary = "pushed segments of fewer bytes are copied when held",
                                  .max = 1073741824,
                                  .initial = 1024},
    [DK_CONFIG_HUGE_PAGES] = {.name = "huge_pages",
                              .env = "DEMI_HUGE_PAGES",
                              .summary =
                                  "pages of the heap; auto takes hugetlb while some are free",
                              .words = page_words},
    [DK_CONFIG_DEBUG] = {.name = "debug",
                         .env = "DEMI_DEBUG",
                         .summary = "heap: find misuse of memory; inflight: and writes in flight",
                         .words = debug_words},
    [DK_CONFIG_SORT_MAX] = {.name = "sort_max",
                            .env = "DEMI_SORT_MAX",
                            .summary = "elements that one sorted queue holds",
                            .min = 1,
                            .max = 16777216,
                            .initial = 65536},
    [DK_CONFIG_ELEMENT_MAX] = {.name = "element_max",
                               .env = "DEMI_ELEMENT_MAX",
                               .summary = "bytes of the largest element that a framed queue pops",
                               .min = 1,
                               .max = 1073741824,
                               .initial = 16777216},
    [DK_CONFIG_MAX_TOKENS] = {.name = "max_tokens",
                              .env = "DEMI_MAX_TOKENS",
                              .summary = "operations outstanding at one time",
                              .min = 1024,
                              .max = 16777216,
                              .initial = 1048576},
    [DK_CONFIG_MAX_QUEUES] = {.name = "max_queues",
                              .env = "DEMI_MAX_QUEUES",
                              .summary = "queues open at one time",
                              .min = 16,
                              .max = 16777216,
                              .initial = 262144},
    [DK_CONFIG_LOG] = {.name = "log",
                       .env = "DEMI_LOG",
                       .summary = "least severe message on standard error",
                       .words = log_words,
                       .initial = DK_CONFIG_LOG_WARN},
};

/* Known values of `net` that this build has no code for. */
static const struct {
    const char *name;
    const char *what;
} net_absent[] = {
    {"dpdk", "a DPDK device under the TCP/IP stack"},
    {"rdma", "RDMA verbs"},
};

const char *dk_config_net_absent(const char *name)
{
    for (size_t i = 0; i < sizeof net_absent / sizeof net_absent[0]; i++) {
        if (strcasecmp(name, net_absent[i].name) == 0)
            return net_absent[i].what;
    }
    return NULL;
}

int dk_config_key_find(const char *name)
{
    for (int id = 0; id < DK_CONFIG_COUNT; id++) {
        if (strcmp(name, dk_config_keys[id].name) == 0)
            return id;
    }
    return -ENOENT;
}

#define NAME_MAX_LEN 32

static char fold(char c)
{
    return c == '-' ? '_' : (char)tolower((unsigned char)c);
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t low = a < b ? a : b;
    return low < c ? low : c;
}

/* Levenshtein distance; a and b are at most NAME_MAX_LEN long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_LEN + 1];
    size_t len_b = strlen(b);
    for (size_t j = 0; j <= len_b; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t replaced = diagonal + (fold(a[i - 1]) != fold(b[j - 1]));
            diagonal = row[j];
            row[j] = min3(row[j] + 1, row[j - 1] + 1, replaced);
        }
    }
    return row[len_b];
}

/* A third of the letters may be wrong, and always one. */
static size_t tolerance(const char *key_name)
{
    size_t third = strlen(key_name) / 3;
    return third > 1 ? third : 1;
}

int dk_config_key_nearest(const char *name)
{
    int best = -ENOENT;
    size_t best_distance = SIZE_MAX;
    if (strlen(name) > NAME_MAX_LEN)
        return -ENOENT;
    for (int id = 0; id < DK_CONFIG_COUNT; id++) {
        const char *key_name = dk_config_keys[id].name;
        size_t distance = edit_distance(name, key_name);
        if (distance <= tolerance(key_name) && distance < best_distance) {
            best = id;
            best_distance = distance;
        }
    }
    return best;
}

/* Decimal digits only: no sign, no blank, no unit, no overflow. */
static int parse_number(const struct dk_config_key *key, const char *text, uint32_t *value_out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return -EINVAL;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > key->max)
            return -EINVAL;
    }
    if (value < key->min)
        return -EINVAL;
    *value_out = (uint32_t)value;
    return 0;
}

/* The other ways in which YAML files spell yes and no. */
static const char *switch_word(const char *text)
{
    if (strcasecmp(text, "true") == 0 || strcasecmp(text, "on") == 0)
        return "yes";
    if (strcasecmp(text, "false") == 0 || strcasecmp(text, "off") == 0)
        return "no";
    return text;
}

static int parse_word(const struct dk_config_key *key, const char *text, uint32_t *value_out)
{
    if (key->words == switch_words || key->words == probe_words || key->words == ecn_words)
        text = switch_word(text);
    if (key->words == probe_words && strcasecmp(text, "yes") == 0)
        text = "wait";
    for (uint32_t i = 0; key->words[i] != NULL; i++) {
        if (strcasecmp(text, key->words[i]) == 0) {
            *value_out = i;
            return 0;
        }
    }
    return -EINVAL;
}

int dk_config_key_parse(enum dk_config_id id, const char *text, uint32_t *value_out)
{
    const struct dk_config_key *key = &dk_config_keys[id];
    return key->words == NULL ? parse_number(key, text, value_out)
                              : parse_word(key, text, value_out);
}

void dk_config_key_format(enum dk_config_id id, uint32_t value, char *out, size_t len)
{
    const struct dk_config_key *key = &dk_config_keys[id];
    if (key->words == NULL)
        snprintf(out, len, "%u", value);
    else
        snprintf(out, len, "%s", key->words[value]);
}

/* Appends one item of a list to terminated text; what does not fit is cut. */
static void append_item(char *out, size_t len, const char *item)
{
    size_t used = strlen(out);
    snprintf(out + used, len - used, "%s%s", used == 0 ? "" : ", ", item);
}

void dk_config_key_accepted(enum dk_config_id id, char *out, size_t len)
{
    const struct dk_config_key *key = &dk_config_keys[id];
    if (key->check != NULL) {
        snprintf(out, len, "%s", key->accepted);
        return;
    }
    if (key->words == NULL) {
        snprintf(out, len, "%u to %u", key->min, key->max);
        return;
    }
    out[0] = '\0';
    for (size_t i = 0; key->words[i] != NULL; i++)
        append_item(out, len, key->words[i]);
}

void dk_config_key_names(char *out, size_t len)
{
    out[0] = '\0';
    for (size_t i = 0; i < DK_CONFIG_COUNT; i++)
        append_item(out, len, dk_config_keys[i].name);
}
