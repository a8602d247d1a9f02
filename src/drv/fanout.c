/* SPDX-License-Identifier: MIT */
#include "drv/fanout.h"

#include "drv/steer.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <stdint.h>
#include <sys/socket.h>

#ifndef PACKET_FANOUT_FLAG_IGNORE_OUTGOING
#define PACKET_FANOUT_FLAG_IGNORE_OUTGOING 0x4000 /* Linux 5.9 */
#endif

int dk_fanout_hold(int fd)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    const struct sock_fprog program = {.len = 1, .filter = &nothing};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int let_go(int fd)
{
    const int unused = 0;
    return setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) < 0 ? -errno : 0;
}

static int set_group(int fd, uint32_t id, uint32_t flags)
{
    const uint32_t value = id | (PACKET_FANOUT_CBPF | flags) << 16;
    return setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Kernels that do not know the flag show what the host sends, and the driver drops it. */
static int enter(int fd, uint32_t id, uint32_t flags)
{
    int r = set_group(fd, id, flags | PACKET_FANOUT_FLAG_IGNORE_OUTGOING);
    return r == -EINVAL ? set_group(fd, id, flags) : r;
}

static int make(int fd)
{
    const struct sock_fprog program = dk_steer_filter();
    int r = enter(fd, 0, PACKET_FANOUT_FLAG_UNIQUEID);
    if (r < 0)
        return r;
    r = setsockopt(fd, SOL_PACKET, PACKET_FANOUT_DATA, &program, sizeof(program));
    return r < 0 ? -errno : 0;
}

static int join(int fd, int first_fd)
{
    uint32_t group;
    socklen_t len = sizeof(group);
    if (getsockopt(first_fd, SOL_PACKET, PACKET_FANOUT, &group, &len) < 0)
        return -errno;
    int r = enter(fd, group & 0xffff, 0);
    return r < 0 ? r : let_go(fd);
}

int dk_fanout_join(int fd, int first_fd)
{
    return first_fd < 0 ? make(fd) : join(fd, first_fd);
}
