/* SPDX-License-Identifier: MIT */
/*
 * Which library OSes this build has. The only home of a backend's #ifdef.
 */
#include "libos/table.h"

#include "libos/module.h"
#include "os/module.h"

#ifdef DK_LINKED_DPDK
#include "drv/dpdk/dpdk.h"
#endif
#ifdef DK_LINKED_XDP
#include "drv/xdp/xdp.h"
#endif

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int open_kernel(struct dk_instance *inst, const struct dk_libos_options *options,
                       const char **why_out)
{
    return dk_kernel_open(inst, &options->kernel, why_out);
}

static int open_stack(struct dk_instance *inst, const struct dk_libos_options *options,
                      const char **why_out)
{
    return dk_stack_open(inst, &options->stack, why_out);
}

static const char *probe_memory(const char **why_out)
{
    *why_out = "";
    return "memory";
}

/* Why a module is not there: who lists backends asks for the next before the text is read. Each
 * text is kept once, for ever. Thread-local memory would be shorter, but of that a library that is
 * loaded while the program runs (dlopen) has little. */
struct reason {
    struct reason *next;
    char text[DK_MODULE_WHY_MAX];
};

static const char *keep(const char *why)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct reason *reasons;
    struct reason *r;
    pthread_mutex_lock(&lock);
    for (r = reasons; r && strcmp(r->text, why) != 0; r = r->next)
        continue;
    if (!r && (r = calloc(1, sizeof(*r))) != NULL) {
        snprintf(r->text, sizeof(r->text), "%s", why);
        r->next = reasons;
        reasons = r;
    }
    pthread_mutex_unlock(&lock);
    return r ? r->text : "no memory";
}

static const char *probe_module(const char *name, const char **why_out)
{
    const void *driver;
    if (dk_module_find(name, &driver, why_out) == 0)
        return name;
    *why_out = keep(*why_out);
    return "";
}

static const char *probe_dpdk(const char **why_out)
{
    return probe_module("dpdk", why_out);
}

static const char *probe_xdp(const char **why_out)
{
    return probe_module("xdp", why_out);
}

static const struct dk_libos libos_table[] = {
    {
        .name = "kernel",
        .kind = "network",
        .summary = "TCP and UDP over Linux sockets",
        .open = open_kernel,
        .socket = dk_kernel_socket,
        .probe = dk_kernel_probe,
    },
    {
        .name = "memory",
        .kind = "memory",
        .summary = "queues in memory only, no sockets",
        .probe = probe_memory,
    },
    {
        .name = "loop",
        .kind = "network",
        .summary = "TCP/IP stack over a link within the process",
        .is_stack = true,
        .open = open_stack,
        .socket = dk_stack_socket,
        .probe = dk_stack_probe_loop,
    },
    {
        .name = "tap",
        .kind = "network",
        .summary = "TCP/IP stack over a TAP interface",
        .is_stack = true,
        .open = open_stack,
        .socket = dk_stack_socket,
        .probe = dk_stack_probe_tap,
    },
    {
        .name = "packet",
        .kind = "network",
        .summary = "TCP/IP stack over any Ethernet interface",
        .is_stack = true,
        .open = open_stack,
        .socket = dk_stack_socket,
        .probe = dk_stack_probe_packet,
    },
    {
        .name = "dpdk",
        .kind = "network",
        .summary = "TCP/IP stack over any port of DPDK",
        .is_stack = true,
        .open = open_stack,
        .socket = dk_stack_socket,
        .probe = probe_dpdk,
    },
    {
        .name = "xdp",
        .kind = "network",
        .summary = "TCP/IP stack over a queue of an interface (AF_XDP)",
        .is_stack = true,
        .open = open_stack,
        .socket = dk_stack_socket,
        .probe = probe_xdp,
    },
};

static const struct {
    const char *name;
    const void *driver;
} linked[] = {
#ifdef DK_LINKED_DPDK
    {"dpdk", &dk_dpdk_driver},
#endif
#ifdef DK_LINKED_XDP
    {"xdp", &dk_xdp_driver},
#endif
    {NULL, NULL},
};

const void *dk_libos_linked(const char *name)
{
    for (size_t i = 0; linked[i].name; i++)
        if (strcmp(linked[i].name, name) == 0)
            return linked[i].driver;
    return NULL;
}

static const struct {
    const char *name, *why;
} left_out[] = {
#ifdef DK_WITHOUT_DPDK
    {"dpdk", DK_WITHOUT_DPDK},
#endif
#ifdef DK_WITHOUT_XDP
    {"xdp", DK_WITHOUT_XDP},
#endif
    {NULL, NULL},
};

const char *dk_libos_left_out(const char *name)
{
    for (size_t i = 0; left_out[i].name; i++)
        if (strcmp(left_out[i].name, name) == 0)
            return left_out[i].why;
    return NULL;
}

const struct dk_libos *dk_libos_at(size_t index)
{
    return index < sizeof(libos_table) / sizeof(libos_table[0]) ? &libos_table[index] : NULL;
}

const struct dk_libos *dk_libos_find(const char *name)
{
    const struct dk_libos *l;
    char driver[16];
    dk_stack_driver(name, driver, sizeof(driver));
    for (size_t i = 0; (l = dk_libos_at(i)) != NULL; i++)
        if (strcasecmp(l->name, l->is_stack ? driver : name) == 0)
            return l;
    return NULL;
}
