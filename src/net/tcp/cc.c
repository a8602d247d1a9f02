/* SPDX-License-Identifier: MIT */
/*
 * The algorithms by name and number.
 */
#include "net/tcp/cc.h"

#include <errno.h>
#include <string.h>

static const struct dk_tcp_cc_ops *const all[] = {
    &dk_tcp_cubic,
    &dk_tcp_newreno,
    &dk_tcp_dctcp,
    &dk_tcp_bbr,
};

#define COUNT (sizeof(all) / sizeof(all[0]))

const struct dk_tcp_cc_ops *dk_tcp_cc_get(uint32_t number)
{
    return number < COUNT ? all[number] : NULL;
}

int dk_tcp_cc_find(const char *name)
{
    if (strcmp(name, "newreno") == 0)
        name = dk_tcp_newreno.name;
    for (uint32_t i = 0; i < COUNT; i++)
        if (strcmp(all[i]->name, name) == 0)
            return (int)i;
    return -ENOENT;
}

uint32_t dk_tcp_cc_initial_window(uint32_t mss)
{
    uint32_t most = 2 * mss > 14600 ? 2 * mss : 14600;
    return 10 * mss < most ? 10 * mss : most;
}
