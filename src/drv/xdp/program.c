/* SPDX-License-Identifier: MIT */
/*
 * The XDP program on its way into the kernel: its object file is in this one, its map is told of
 * the sockets, and a link holds it at the interface as long as the process has the link's
 * descriptor.
 *
 * In the driver ("native") it runs before the kernel makes a packet of its own of the frame. On a
 * veth, which has such packets already, that is more work and not less.
 */
#include "drv/why.h"
#include "drv/xdp/state.h"
#include "os/log.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <dk_xdp_program.h>

static int load(struct bpf_object **object_out, const char **why_out)
{
    LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "demikernel");
    struct bpf_object *object = bpf_object__open_mem(dk_xdp_program, sizeof dk_xdp_program, &opts);
    int r = object ? bpf_object__load(object) : -errno;
    *object_out = object;
    if (r == -EPERM)
        return dk_why(why_out, r,
                      "no permission to load an XDP program: run as root, or give the program the "
                      "capabilities: setcap "
                      "cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon+ep PROGRAM");
    return r < 0 ? dk_why(why_out, r, "xdp: the kernel does not take the program: %s", strerror(-r))
                 : 0;
}

/* Maps outlive the object by descriptors of their own. */
static int keep_maps(struct dk_xdp_port *p, struct bpf_object *object, const char **why_out)
{
    const struct {
        const char *name;
        int *fd;
    } maps[] = {{"sockets", &p->sockets_fd}, {"claims", &p->claims_fd}, {"lost", &p->lost_fd}};
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        const int fd = bpf_object__find_map_fd_by_name(object, maps[i].name);
        *maps[i].fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (*maps[i].fd < 0)
            return dk_why(why_out, -errno, "xdp: no file descriptor: %s", strerror(errno));
    }
    return 0;
}

static int give_sockets(const struct dk_xdp *x, const char **why_out)
{
    const struct dk_xdp_port *p = x->port;
    for (uint32_t i = 0; i < x->num_queues; i++) {
        const uint32_t key = p->first_queue + x->worker + i * p->workers;
        int r = bpf_map_update_elem(p->sockets_fd, &key, &x->queues[i].fd, BPF_ANY);
        if (r < 0)
            return dk_why(why_out, r, "xdp: the program has no place for queue %u: %s", key,
                          strerror(-r));
    }
    return 0;
}

void dk_xdp_program_remove(const struct dk_xdp *x)
{
    const struct dk_xdp_port *p = x->port;
    for (uint32_t i = 0; i < x->num_queues && p->sockets_fd >= 0; i++) {
        const uint32_t key = p->first_queue + x->worker + i * p->workers;
        bpf_map_delete_elem(p->sockets_fd, &key);
    }
}

static bool is_veth(const struct dk_xdp_port *p)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq req = {.ifr_data = (char *)&info};
    memcpy(req.ifr_name, p->name, sizeof(req.ifr_name));
    return ioctl(p->watch_fd, SIOCETHTOOL, &req) == 0 && strcmp(info.driver, "veth") == 0;
}

static int attach_as(struct dk_xdp_port *p, int program, uint32_t flags)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
    p->link_fd = bpf_link_create(program, p->ifindex, BPF_XDP, &opts);
    return p->link_fd < 0 ? -errno : 0;
}

/* Says how it works: 0, or why not. */
static int say(const struct dk_xdp_port *p, int r, const char *where, const char **why_out)
{
    if (r == -EBUSY || r == -EEXIST)
        return dk_why(why_out, -EBUSY,
                      "xdp: %s has another XDP program: stop who has it there, or ip link set %s "
                      "xdp off",
                      p->name, p->name);
    if (r < 0)
        return dk_why(why_out, r, "xdp: %s does not take an XDP program (%s): %s", p->name, where,
                      strerror(-r));
    dk_log(DK_LOG_INFO, "xdp: %s: queues %u to %u, %s mode, the program is %s%s", p->name,
           p->first_queue, p->first_queue + p->num_queues - 1, p->zero_copy ? "zero-copy" : "copy",
           where, p->segments ? "" : "; what is sent is copied (Linux 6.6 need not)");
    return 0;
}

static int attach(struct dk_xdp_port *p, struct bpf_object *object, const struct dk_xdp_options *o,
                  const char **why_out)
{
    const char *mode = o->mode, *name = o->whole ? "whole" : "shared";
    const int program = bpf_program__fd(bpf_object__find_program_by_name(object, name));
    const bool native = mode && strcmp(mode, "native") == 0;
    const bool generic = mode && strcmp(mode, "generic") == 0;
    int r = -EOPNOTSUPP;
    if (native || (!generic && (p->zero_copy || !is_veth(p))))
        r = attach_as(p, program, XDP_FLAGS_DRV_MODE);
    if (r == 0 || native || p->zero_copy || r == -EBUSY || r == -EEXIST)
        return say(p, r, "native", why_out);
    return say(p, attach_as(p, program, XDP_FLAGS_SKB_MODE), "generic", why_out);
}

/* Who is logged in by that interface would not be any longer. */
static void warn_of_kernel(const struct dk_xdp_port *p)
{
    struct ifreq req = {.ifr_addr = {.sa_family = AF_INET}};
    memcpy(req.ifr_name, p->name, sizeof(req.ifr_name));
    if (ioctl(p->watch_fd, SIOCGIFADDR, &req) == 0)
        dk_log(DK_LOG_WARN,
               "xdp: the kernel, which has addresses on %s, receives nothing from its queues while "
               "this runs: leave net_addresses out to share the interface",
               p->name);
}

static int open_program(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    struct dk_xdp_port *p = x->port;
    struct bpf_object *object;
    int r = load(&object, why_out);
    if (r == 0)
        r = keep_maps(p, object, why_out);
    if (r == 0)
        r = give_sockets(x, why_out);
    if (r == 0)
        r = attach(p, object, o, why_out);
    if (r == 0 && o->whole)
        warn_of_kernel(p);
    bpf_object__close(object); /* the link holds what is needed */
    return r;
}

int dk_xdp_program_add(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    dk_lock(&x->port->lock);
    int r = x->port->link_fd < 0 ? open_program(x, o, why_out) : give_sockets(x, why_out);
    dk_unlock(&x->port->lock);
    return r;
}

void dk_xdp_program_close(struct dk_xdp_port *p)
{
    const int fds[] = {p->link_fd, p->sockets_fd, p->claims_fd, p->lost_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}
