/* SPDX-License-Identifier: MIT */
/*
 * Reads the configuration: default, file, environment, each overriding the one before. An empty
 * environment variable counts as unset. In a set-user-ID program the environment is ignored.
 */
#include "api/config.h"

#include "api/config_file.h"
#include "api/config_reference.h"
#include "api/config_set.h"
#include "api/config_strings.h"
#include "os/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Names with our prefix that are not keys. */
static const char *const other_names[] = {"DEMI_CONFIG", "DEMI_DEBUG", "DEMI_MODULE_PATH"};

static const char *env_get(const char *name)
{
    const char *value = secure_getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int read_named_file(struct dk_config_set *set)
{
    const char *path = env_get("DEMI_CONFIG");
    if (path != NULL)
        return dk_config_file_read(set, path, false);
    path = env_get("CONFIG_PATH");
    return path == NULL ? 0 : dk_config_file_read(set, path, true);
}

static int read_env_values(struct dk_config_set *set)
{
    for (int id = 0; id < DK_CONFIG_COUNT; id++) {
        const char *name = dk_config_keys[id].env;
        const char *text = env_get(name);
        if (text == NULL)
            continue;
        int err = dk_config_set_value(set, (enum dk_config_id)id, text,
                                      (struct dk_config_source){.name = name});
        if (err != 0)
            return err;
    }
    return 0;
}

static int read_env_libos(struct dk_config_set *set)
{
    const char *libos = env_get("LIBOS");
    if (libos == NULL || env_get(dk_config_keys[DK_CONFIG_NET].env) != NULL)
        return 0;
    return dk_config_reference_libos(set, libos);
}

static bool is_known_name(const char *name)
{
    for (size_t i = 0; i < DK_CONFIG_COUNT; i++) {
        if (strcmp(name, dk_config_keys[i].env) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof other_names / sizeof other_names[0]; i++) {
        if (strcmp(name, other_names[i]) == 0)
            return true;
    }
    return false;
}

/* Warns of one variable if it looks like a misspelt key. Other names with our prefix are left
 * alone: an application may have its own. */
static void warn_if_misspelt(struct dk_config_set *set, const char *variable)
{
    static const char prefix[] = "DEMI_";
    char name[64];
    size_t len = strcspn(variable, "=");
    if (strncmp(variable, prefix, sizeof prefix - 1) != 0 || len >= sizeof name)
        return;
    memcpy(name, variable, len);
    name[len] = '\0';
    int nearest = is_known_name(name) ? -ENOENT : dk_config_key_nearest(name + sizeof prefix - 1);
    if (nearest >= 0)
        dk_config_set_warn(set, "environment %s has no effect, did you mean %s?", name,
                           dk_config_keys[nearest].env);
}

static void warn_misspelt(struct dk_config_set *set)
{
    if (environ == NULL || getauxval(AT_SECURE) != 0)
        return;
    for (char **variable = environ; *variable != NULL; variable++)
        warn_if_misspelt(set, *variable);
}

static int collect(struct dk_config_set *set, char *err, size_t err_len)
{
    dk_config_set_init(set, err, err_len);
    int result = read_named_file(set);
    if (result == 0)
        result = read_env_values(set);
    if (result == 0)
        result = read_env_libos(set);
    if (result == 0)
        warn_misspelt(set);
    return result;
}

static void print_warnings(const struct dk_config_set *set)
{
    const char *line = set->warnings;
    if (set->entries[DK_CONFIG_LOG].value < DK_CONFIG_LOG_WARN)
        return;
    while (*line != '\0') {
        size_t len = strcspn(line, "\n");
        dk_log(DK_LOG_WARN, "%.*s", (int)len, line);
        line += len + 1;
    }
}

static void fill(struct dk_config *out, const struct dk_config_entry entries[])
{
    *out = (struct dk_config){
        .net = entries[DK_CONFIG_NET].text,
        .net_addresses = entries[DK_CONFIG_NET_ADDRESSES].text,
        .net_gateway = entries[DK_CONFIG_NET_GATEWAY].text,
        .net_routes = entries[DK_CONFIG_NET_ROUTES].text,
        .net_mtu = entries[DK_CONFIG_NET_MTU].value,
        .net_vlan = entries[DK_CONFIG_NET_VLAN].value,
        .net_probe = (enum dk_config_probe)entries[DK_CONFIG_NET_PROBE].value,
        .net_identifiers = (enum dk_config_identifiers)entries[DK_CONFIG_NET_IDENTIFIERS].value,
        .net_offload = entries[DK_CONFIG_NET_OFFLOAD].text,
        .net_congestion =
            dk_config_keys[DK_CONFIG_NET_CONGESTION].words[entries[DK_CONFIG_NET_CONGESTION].value],
        .net_ecn = (enum dk_config_ecn)entries[DK_CONFIG_NET_ECN].value,
        .net_dhcp_release = entries[DK_CONFIG_NET_DHCP_RELEASE].value != 0,
        .net_wait_s = entries[DK_CONFIG_NET_WAIT_S].value,
        .net_connections = entries[DK_CONFIG_NET_CONNECTIONS].value,
        .net_syn_cookies = (enum dk_config_syn_cookies)entries[DK_CONFIG_NET_SYN_COOKIES].value,
        .net_send_bytes = entries[DK_CONFIG_NET_SEND_BYTES].value,
        .net_receive_bytes = entries[DK_CONFIG_NET_RECEIVE_BYTES].value,
        .net_send_max = entries[DK_CONFIG_NET_SEND_MAX].value,
        .net_receive_max = entries[DK_CONFIG_NET_RECEIVE_MAX].value,
        .net_pressure_bytes = entries[DK_CONFIG_NET_PRESSURE_BYTES].value,
        .net_mtu_probing = (enum dk_config_mtu_probing)entries[DK_CONFIG_NET_MTU_PROBING].value,
        .net_sack = entries[DK_CONFIG_NET_SACK].value != 0,
        .net_timestamps = entries[DK_CONFIG_NET_TIMESTAMPS].value != 0,
        .net_window_scale = entries[DK_CONFIG_NET_WINDOW_SCALE].value != 0,
        .push_hold_us = entries[DK_CONFIG_PUSH_HOLD_US].value,
        .store = entries[DK_CONFIG_STORE].text,
        .engine = (enum dk_config_engine)entries[DK_CONFIG_ENGINE].value,
        .poll = (enum dk_config_poll)entries[DK_CONFIG_POLL].value,
        .spin_us = entries[DK_CONFIG_SPIN_US].value,
        .workers = entries[DK_CONFIG_WORKERS].value,
        .background = entries[DK_CONFIG_BACKGROUND].value != 0,
        .exit_linger_ms = entries[DK_CONFIG_EXIT_LINGER_MS].value,
        .rx_buffer_bytes = entries[DK_CONFIG_RX_BUFFER_BYTES].value,
        .rx_pool_bytes = entries[DK_CONFIG_RX_POOL_BYTES].value,
        .copy_threshold = entries[DK_CONFIG_COPY_THRESHOLD].value,
        .huge_pages =
            dk_config_keys[DK_CONFIG_HUGE_PAGES].words[entries[DK_CONFIG_HUGE_PAGES].value],
        .debug = (enum dk_config_debug)entries[DK_CONFIG_DEBUG].value,
        .sort_max = entries[DK_CONFIG_SORT_MAX].value,
        .element_max = entries[DK_CONFIG_ELEMENT_MAX].value,
        .max_tokens = entries[DK_CONFIG_MAX_TOKENS].value,
        .max_queues = entries[DK_CONFIG_MAX_QUEUES].value,
        .log = (enum dk_config_log)entries[DK_CONFIG_LOG].value,
    };
}

int dk_config_load(struct dk_config *out, char *err, size_t err_len)
{
    struct dk_config_set set;
    int result = collect(&set, err, err_len);
    if (result != 0)
        return result;
    print_warnings(&set);
    fill(out, set.entries);
    return 0;
}

/* Interns the texts of one value: 0, or -ENOMEM. */
static int describe(enum dk_config_id id, const struct dk_config_entry *entry,
                    struct demi_config_value *out)
{
    const struct dk_config_key *key = &dk_config_keys[id];
    char text[DK_CONFIG_TEXT_MAX];
    char origin[DK_CONFIG_ORIGIN_MAX];
    struct demi_config_value value = {.key = key->name, .summary = key->summary};
    if (key->check != NULL) {
        value.value = entry->text;
        value.default_value = key->initial_text;
    } else {
        dk_config_key_format(id, entry->value, text, sizeof text);
        value.value = dk_config_string(text);
        dk_config_key_format(id, key->initial, text, sizeof text);
        value.default_value = dk_config_string(text);
    }
    dk_config_key_accepted(id, text, sizeof text);
    value.accepted = dk_config_string(text);
    dk_config_set_origin(entry->source, origin, sizeof origin);
    value.origin = dk_config_string(origin);
    if (value.value == NULL || value.default_value == NULL || value.accepted == NULL ||
        value.origin == NULL)
        return -ENOMEM;
    *out = value;
    return 0;
}

int dk_config_describe(size_t index, struct demi_config_value *out, char *err, size_t err_len)
{
    struct dk_config_set set;
    if (index >= DK_CONFIG_COUNT)
        return -ENOENT;
    int result = collect(&set, err, err_len);
    if (result != 0)
        return result;
    if (index == 0)
        print_warnings(&set);
    result = describe((enum dk_config_id)index, &set.entries[index], out);
    if (result == -ENOMEM)
        dk_config_set_fail(&set, "no memory to describe the configuration");
    return result;
}
