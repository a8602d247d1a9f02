/* SPDX-License-Identifier: MIT */
#include "drv_netns.h"

#include "../lib/harness.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_setting(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* no IPv6, or no user namespaces, at all */
    if (write(fd, value, strlen(value)) < 0)
        print_message("%s: %s\n", path, strerror(errno));
    close(fd);
}

/* Into a user namespace, whose root this user is, where those are allowed. */
static bool enter_as_user(void)
{
    char map[32];
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    write_setting("/proc/self/uid_map", map);
    return true;
}

const char *netns_enter(void)
{
    if (system("ip -V >/dev/null 2>&1") != 0)
        return "ip(8) is not installed (iproute2)";
    if (unshare(CLONE_NEWNET) < 0 && !enter_as_user())
        return "network namespaces are not allowed here: run as root";
    if (system("ip link add probe0 type veth peer name probe1 2>/dev/null") != 0)
        return "no veth interfaces in this kernel";
    netns_ip("link del probe0");
    write_setting("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    write_setting("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    return NULL;
}

void netns_ip(const char *format, ...)
{
    char command[256];
    int used = snprintf(command, sizeof(command), "ip ");
    va_list ap;
    va_start(ap, format);
    vsnprintf(command + used, sizeof(command) - (size_t)used, format, ap);
    va_end(ap);
    must_hold(system(command) == 0, "%s", command);
}

void netns_make_veth(uint32_t mtu)
{
    netns_ip("link add ve0 mtu %u type veth peer name ve1 mtu %u", mtu, mtu);
    netns_ip("link set ve0 up");
    netns_ip("link set ve1 up");
}

void netns_remove_veth(void)
{
    netns_ip("link del ve0");
}

void netns_skip(const char *reason)
{
    printf("1..0 # SKIP %s\n", reason);
    exit(77);
}
