/* SPDX-License-Identifier: MIT */
/*
 * Names of the reference implementation (Catnap, Catnip, ...): each is one value of `net` here, in
 * this build or not. Its configuration files describe devices; kernel sockets and memory queues
 * need none of that, so every section is reported and passed over.
 */
#include "api/config_reference.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *libos;
    const char *net;
} libos_names[] = {
    {"catnap", "kernel"}, {"catnapw", "kernel"}, {"catcollar", "kernel"}, {"catmem", "memory"},
    {"catloop", "loop"},  {"catnip", "dpdk"},    {"catpowder", "packet"}, {"catmint", "rdma"},
};

static const struct {
    const char *name;
    const char *why;
} sections[] = {
    {"demikernel", "addresses come from the kernel's interfaces"},
    {"catnip", "addresses come from the kernel's interfaces"},
    {"inetstack_config", "the kernel's TCP/IP stack is used"},
    {"tcp_socket_options", "use demi_setsockopt; TCP_NODELAY is on by default"},
    {"raw_socket", "no raw device is used"},
    {"dpdk", "no DPDK device is used"},
    {"client", "it belongs to an application"},
    {"server", "it belongs to an application"},
};

static int find_libos(const char *libos)
{
    for (size_t i = 0; i < sizeof libos_names / sizeof libos_names[0]; i++) {
        if (strcasecmp(libos, libos_names[i].libos) == 0)
            return (int)i;
    }
    return -ENOENT;
}

static int fail_unknown(struct dk_config_set *set, const char *libos)
{
    char quoted[DK_CONFIG_QUOTE_MAX];
    dk_config_set_quote(libos, quoted);
    if (strcasestr(libos, "cattree") != NULL)
        return dk_config_set_fail(set,
                                  "environment LIBOS: net: %s (a log on a storage device) is not "
                                  "in this build; use LIBOS=catnap or DEMI_NET=kernel",
                                  quoted);
    return dk_config_set_fail(set,
                              "environment LIBOS: net: %s is not accepted; accepted: catnap (which "
                              "is net=kernel), catmem (net=memory)",
                              quoted);
}

int dk_config_reference_libos(struct dk_config_set *set, const char *libos)
{
    int index = find_libos(libos);
    if (index < 0)
        return fail_unknown(set, libos);
    const char *net = libos_names[index].net;
    if (strcmp(net, "packet") == 0)
        return dk_config_set_fail(set,
                                  "environment LIBOS: net: '%s' means net=packet:INTERFACE in this "
                                  "build: set DEMI_NET and DEMI_NET_ADDRESSES, or use LIBOS=catnap "
                                  "(net=kernel)",
                                  libos_names[index].libos);
    if (dk_config_net_absent(net) != NULL)
        return dk_config_set_fail(set,
                                  "environment LIBOS: net: '%s' means net=%s (%s), which is not in "
                                  "this build; use LIBOS=catnap (net=kernel) or LIBOS=catmem "
                                  "(net=memory)",
                                  libos_names[index].libos, net, dk_config_net_absent(net));
    return dk_config_set_value(set, DK_CONFIG_NET, net, (struct dk_config_source){.name = "LIBOS"});
}

const char *dk_config_reference_section(const char *name)
{
    for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++) {
        if (strcmp(name, sections[i].name) == 0)
            return sections[i].why;
    }
    return NULL;
}
