/* SPDX-License-Identifier: MIT */
/*
 * The stack's part of the configuration: texts of addresses, gateways and routes (stack.h).
 *
 * A text is read twice: when the configuration is, for its form, and when the stack is opened.
 */
#include "libos/stack/sock.h"

#include "drv/spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ITEM_MAX     128
#define DEFAULTS_MAX 2 /* gateways: default routes, one of each version */

/* Of a link within the process, besides the loopback addresses: ranges that no network has (RFC
 * 2544, 4193). */
#define LOOP_ADDRESSES "198.18.0.1/24, fd00::1/64"

static int fail(char why[DK_STACK_WHY_MAX], const char *item, const char *what)
{
    snprintf(why, DK_STACK_WHY_MAX, "'%.64s' %s", item, what);
    return -EINVAL;
}

/* Takes the next item of a list: false at its end. Long ones are cut, and then fit nothing. */
static bool next_item(const char **text, char item[ITEM_MAX])
{
    const char *from = strcmp(*text, "none") == 0 ? "" : *text + strspn(*text, ", \t");
    size_t len = strcspn(from, ", \t");
    *text = from + len;
    if (len >= ITEM_MAX)
        len = ITEM_MAX - 1;
    memcpy(item, from, len);
    item[len] = '\0';
    return len > 0;
}

static bool read_ip(const char *text, struct dk_ip *out)
{
    *out = (struct dk_ip){.version = 4};
    if (inet_pton(AF_INET, text, out->bytes) == 1)
        return true;
    out->version = 6;
    return inet_pton(AF_INET6, text, out->bytes) == 1;
}

/* Reads "ADDRESS/LENGTH"; a missing length is every bit. */
static bool read_prefix(char *text, bool needs_len, struct dk_ip *ip, uint8_t *len_out)
{
    char *slash = strchr(text, '/'), *end = NULL;
    if (slash)
        *slash = '\0';
    bool good = read_ip(text, ip);
    long max = ip->version == 4 ? 32 : 128, len = max;
    if (slash) {
        *slash = '/';
        len = slash[1] >= '0' && slash[1] <= '9' ? strtol(slash + 1, &end, 10) : -1;
        good = good && len >= 0 && len <= max && *end == '\0';
    }
    *len_out = (uint8_t)len;
    return good && (slash || !needs_len);
}

static bool has_kernel(const char *text)
{
    char item[ITEM_MAX];
    while (next_item(&text, item))
        if (strcmp(item, "kernel") == 0)
            return true;
    return false;
}

bool dk_stack_has_own_addresses(const char *text)
{
    char item[ITEM_MAX];
    while (next_item(&text, item))
        if (strcmp(item, "kernel") != 0)
            return true;
    return false;
}

static int read_addresses(const char *text, struct dk_net_config *config,
                          char why[DK_STACK_WHY_MAX])
{
    char item[ITEM_MAX];
    if (has_kernel(text) && dk_stack_has_own_addresses(text))
        return fail(why, "kernel", "is all addresses of the interface: it goes alone");
    while (next_item(&text, item)) {
        if (strcmp(item, "kernel") == 0)
            continue;
        if (strcmp(item, "dhcp") == 0) {
            config->dhcp = true;
            continue;
        }
        if (strcmp(item, "auto") == 0) {
            config->router_adverts = true;
            continue;
        }
        if (config->num_addresses == DK_NET_ADDRESSES_MAX)
            return fail(why, item, "is one too many: there may be 8 addresses");
        struct dk_net_address *a = &config->addresses[config->num_addresses++];
        if (!read_prefix(item, true, &a->ip, &a->prefix_len))
            return fail(why, item,
                        "is not ADDRESS/PREFIX-LENGTH, like 192.0.2.2/24, dhcp, auto or kernel");
    }
    return 0;
}

static int read_gateways(const char *text, struct dk_net_config *config, char why[DK_STACK_WHY_MAX])
{
    char item[ITEM_MAX];
    uint32_t seen = 0;
    while (next_item(&text, item)) {
        struct dk_net_route *r = &config->routes[config->num_routes];
        *r = (struct dk_net_route){.prefix_len = 0};
        if (!read_ip(item, &r->gateway))
            return fail(why, item, "is not an address, like 192.0.2.1");
        if (seen & 1u << r->gateway.version)
            return fail(why, item, "is a second gateway of its version of IP");
        seen |= 1u << r->gateway.version;
        r->prefix.version = r->gateway.version;
        config->num_routes++;
    }
    return 0;
}

static int read_routes(const char *text, struct dk_net_config *config, char why[DK_STACK_WHY_MAX])
{
    char item[ITEM_MAX];
    while (next_item(&text, item)) {
        char *via = strchr(item, '>');
        if (config->num_routes == DK_NET_ROUTES_MAX - DEFAULTS_MAX)
            return fail(why, item, "is one too many: there may be 14 routes");
        struct dk_net_route *r = &config->routes[config->num_routes++];
        if (via)
            *via = '\0';
        bool good = via && read_prefix(item, true, &r->prefix, &r->prefix_len) &&
                    read_ip(via + 1, &r->gateway);
        if (via)
            *via = '>';
        if (!good)
            return fail(why, item, "is not NETWORK/LENGTH>GATEWAY, like 198.51.100.0/24>192.0.2.9");
        if (r->prefix.version != r->gateway.version)
            return fail(why, item, "has a gateway of another version of IP");
    }
    return 0;
}

static int read_offloads(const char *text, uint32_t *flags, char why[DK_STACK_WHY_MAX])
{
    static const struct {
        const char *name;
        uint32_t flags;
    } names[] = {
        {"all", DK_NETDEV_TX_CHECKSUM | DK_NETDEV_RX_CHECKSUM | DK_NETDEV_TSO | DK_STACK_GRO},
        {"checksum", DK_NETDEV_TX_CHECKSUM},
        {"rx-checksum", DK_NETDEV_RX_CHECKSUM},
        {"tso", DK_NETDEV_TSO},
        {"gro", DK_STACK_GRO},
    };
    char item[ITEM_MAX];
    *flags = 0;
    while (next_item(&text, item)) {
        size_t i = 0;
        while (i < sizeof(names) / sizeof(names[0]) && strcmp(names[i].name, item) != 0)
            i++;
        if (i == sizeof(names) / sizeof(names[0]))
            return fail(why, item, "is no offload: checksum, rx-checksum, tso or gro");
        *flags |= names[i].flags;
    }
    return 0;
}

int dk_stack_check_offloads(const char *text, char why[DK_STACK_WHY_MAX])
{
    uint32_t flags;
    return read_offloads(text, &flags, why);
}

uint32_t dk_stack_offloads(const char *text)
{
    char why[DK_STACK_WHY_MAX];
    uint32_t flags;
    read_offloads(text, &flags, why);
    return flags;
}

int dk_stack_check_addresses(const char *text, char why[DK_STACK_WHY_MAX])
{
    struct dk_net_config config = {.num_addresses = 0};
    return read_addresses(text, &config, why);
}

int dk_stack_check_gateways(const char *text, char why[DK_STACK_WHY_MAX])
{
    struct dk_net_config config = {.num_routes = 0};
    return read_gateways(text, &config, why);
}

int dk_stack_check_routes(const char *text, char why[DK_STACK_WHY_MAX])
{
    struct dk_net_config config = {.num_routes = 0};
    return read_routes(text, &config, why);
}

int dk_stack_check_device(const char *text, char why[DK_STACK_WHY_MAX])
{
    const char *spec_why = "";
    int r = dk_spec_check(text, &spec_why);
    if (r < 0)
        snprintf(why, DK_STACK_WHY_MAX, "%s", spec_why);
    return r;
}

int dk_stack_config_net(const struct dk_stack_options *options, bool shared,
                        struct dk_net_config *config, const char **why_out)
{
    static _Thread_local char why[DK_STACK_WHY_MAX];
    char driver[16];
    *why_out = why;
    int r = read_routes(options->routes, config, why);
    if (r == 0)
        r = read_gateways(options->gateways, config, why);
    if (r == 0)
        r = read_addresses(options->addresses, config, why);
    if (r < 0)
        return r;
    dk_stack_driver(options->device, driver, sizeof(driver));
    bool is_loop = strcmp(driver, "loop") == 0;
    bool learns = config->dhcp || config->router_adverts;
    if (learns && is_loop)
        return fail(why, options->addresses, "cannot be on loop, where nobody else is");
    if (config->num_addresses == 0 && is_loop)
        r = read_addresses(LOOP_ADDRESSES, config, why);
    if (is_loop)
        config->skip_dad = true; /* who answers on that link are we */
    if (config->num_addresses == 0 && !learns && has_kernel(options->addresses) && !shared)
        return fail(why, "kernel", "needs a device that shares an interface with it: xdp");
    if (config->num_addresses == 0 && !learns && !shared) {
        *why_out = "no address: set net_addresses, as in DEMI_NET_ADDRESSES=192.0.2.2/24 or =dhcp";
        return -EINVAL;
    }
    return r;
}

/* Where the decorator at the front ends, past its colon; NULL: there is none. */
static const char *behind_decorator(const char *spec)
{
    static const char *const names[] = {"pcap", "fault"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);
        if (strncmp(spec, names[i], len) != 0)
            continue;
        const char *at = spec + len;
        if (*at == '(')
            for (at++; *at && *at != ')'; at++)
                if (*at == '\\' && at[1])
                    at++;
        at += *at == ')';
        return *at == ':' ? at + 1 : NULL;
    }
    return NULL;
}

size_t dk_stack_driver(const char *spec, char *out, size_t len)
{
    const char *next;
    while ((next = behind_decorator(spec)) != NULL)
        spec = next;
    size_t n = strcspn(spec, ":,(");
    if (n >= len)
        n = 0;
    memcpy(out, spec, n);
    out[n] = '\0';
    return n;
}
