/* SPDX-License-Identifier: MIT */
/*
 * Which devices of the stack can be used here, for people who ask: nothing is kept open.
 */
#include "libos/stack/stack.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *dk_stack_probe_loop(const char **why_out)
{
    *why_out = "";
    return "loop";
}

const char *dk_stack_probe_tap(const char **why_out)
{
    *why_out = "";
    if (access("/dev/net/tun", R_OK | W_OK) == 0)
        return "tap";
    *why_out = errno == ENOENT ? "there is no /dev/net/tun: load the module tun"
                               : "/dev/net/tun may not be opened: run as root, or be given access";
    return "";
}

const char *dk_stack_probe_packet(const char **why_out)
{
    *why_out = "";
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
        return "packet";
    }
    *why_out = errno == EPERM ? "packet sockets need CAP_NET_RAW: run as root, or be given it"
                              : strerror(errno);
    return "";
}
