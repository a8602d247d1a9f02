/* SPDX-License-Identifier: MIT */
/*
 * The XDP program on its way into the kernel: its object file is in this one, its map is told of
 * the socket, and a link holds it at the interface as long as the process has the link's
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

static int give_socket(const struct dk_xdp *x, struct bpf_object *object, const char **why_out)
{
    const int map = bpf_object__find_map_fd_by_name(object, "sockets");
    const uint32_t key = x->queue;
    int r = bpf_map_update_elem(map, &key, &x->fd, BPF_ANY);
    return r < 0 ? dk_why(why_out, r, "xdp: the program has no place for queue %u: %s", x->queue,
                          strerror(-r))
                 : 0;
}

/* The map outlives the object by a descriptor of its own. */
static int keep_claims(struct dk_xdp *x, struct bpf_object *object, const char **why_out)
{
    x->claims_fd = fcntl(bpf_object__find_map_fd_by_name(object, "claims"), F_DUPFD_CLOEXEC, 0);
    return x->claims_fd < 0
               ? dk_why(why_out, -errno, "xdp: no file descriptor: %s", strerror(errno))
               : 0;
}

static bool is_veth(const struct dk_xdp *x)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq req = {.ifr_data = (char *)&info};
    memcpy(req.ifr_name, x->name, sizeof(req.ifr_name));
    return ioctl(x->watch_fd, SIOCETHTOOL, &req) == 0 && strcmp(info.driver, "veth") == 0;
}

static int attach_as(struct dk_xdp *x, int program, uint32_t flags)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
    x->link_fd = bpf_link_create(program, x->ifindex, BPF_XDP, &opts);
    return x->link_fd < 0 ? -errno : 0;
}

/* Says how it works: 0, or why not. */
static int say(const struct dk_xdp *x, int r, const char *where, const char **why_out)
{
    if (r == -EBUSY || r == -EEXIST)
        return dk_why(why_out, -EBUSY,
                      "xdp: %s has another XDP program: stop who has it there, or ip link set %s "
                      "xdp off",
                      x->name, x->name);
    if (r < 0)
        return dk_why(why_out, r, "xdp: %s does not take an XDP program (%s): %s", x->name, where,
                      strerror(-r));
    dk_log(DK_LOG_INFO, "xdp: %s: queue %u, %s mode, the program is %s%s", x->name, x->queue,
           x->zero_copy ? "zero-copy" : "copy", where,
           x->segments ? "" : "; what is sent is copied (Linux 6.6 need not)");
    return 0;
}

static int attach(struct dk_xdp *x, struct bpf_object *object, const struct dk_xdp_options *o,
                  const char **why_out)
{
    const char *mode = o->mode, *name = o->whole ? "whole" : "shared";
    const int program = bpf_program__fd(bpf_object__find_program_by_name(object, name));
    const bool native = mode && strcmp(mode, "native") == 0;
    const bool generic = mode && strcmp(mode, "generic") == 0;
    int r = -EOPNOTSUPP;
    if (native || (!generic && (x->zero_copy || !is_veth(x))))
        r = attach_as(x, program, XDP_FLAGS_DRV_MODE);
    if (r == 0 || native || x->zero_copy || r == -EBUSY || r == -EEXIST)
        return say(x, r, "native", why_out);
    return say(x, attach_as(x, program, XDP_FLAGS_SKB_MODE), "generic", why_out);
}

/* Frames go to the queue that the interface chooses. */
static void warn_of_queues(const struct dk_xdp *x)
{
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ifreq req = {.ifr_data = (char *)&channels};
    memcpy(req.ifr_name, x->name, sizeof(req.ifr_name));
    if (ioctl(x->watch_fd, SIOCETHTOOL, &req) < 0)
        return;
    const uint32_t queues = channels.combined_count + channels.rx_count;
    if (queues > 1)
        dk_log(DK_LOG_WARN,
               "xdp: %s spreads what it receives over %u queues, of which only queue %u is ours: "
               "ethtool -L %s combined 1, or steer flows there (ethtool -N)",
               x->name, queues, x->queue, x->name);
}

/* Who is logged in by that interface would not be any longer. */
static void warn_of_kernel(const struct dk_xdp *x)
{
    struct ifreq req = {.ifr_addr = {.sa_family = AF_INET}};
    memcpy(req.ifr_name, x->name, sizeof(req.ifr_name));
    if (ioctl(x->watch_fd, SIOCGIFADDR, &req) == 0)
        dk_log(DK_LOG_WARN,
               "xdp: the kernel, which has addresses on %s, receives nothing from its queue %u "
               "while this runs: leave net_addresses out to share the interface",
               x->name, x->queue);
}

int dk_xdp_program_open(struct dk_xdp *x, const struct dk_xdp_options *o, const char **why_out)
{
    struct bpf_object *object;
    int r = load(&object, why_out);
    if (r == 0)
        r = give_socket(x, object, why_out);
    if (r == 0)
        r = keep_claims(x, object, why_out);
    if (r == 0)
        r = attach(x, object, o, why_out);
    if (r == 0)
        warn_of_queues(x);
    if (r == 0 && o->whole)
        warn_of_kernel(x);
    bpf_object__close(object); /* the link holds what is needed */
    return r;
}

void dk_xdp_program_close(struct dk_xdp *x)
{
    if (x->link_fd >= 0)
        close(x->link_fd);
    if (x->claims_fd >= 0)
        close(x->claims_fd);
}
