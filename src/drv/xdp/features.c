/* SPDX-License-Identifier: MIT */
/*
 * What the driver of an interface can, as the kernel says it: the family "netdev" of generic
 * netlink (Linux 6.3). Asking costs a message; trying would cost what a socket costs, with its
 * memory pinned and let go again, for each mode that there is not.
 */
#include "drv/xdp/attributes.h"
#include "drv/xdp/state.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <sys/socket.h>

/* Of linux/netdev.h, which older headers do not have. */
#define NETDEV_FAMILY   "netdev"
#define NETDEV_VERSION  1
#define NETDEV_DEV_GET  1
#define DEV_IFINDEX     1
#define DEV_FEATURES    3
#define DEV_ZC_SEGMENTS 4
#define ACT_ZEROCOPY    (UINT64_C(1) << 3)

#define BUFFER_BYTES 8192u

static bool has(const struct attributes *a, int type, size_t bytes)
{
    return a->of[type] && mnl_attr_get_payload_len(a->of[type]) >= bytes;
}

/* Sends a request and reads the one answer, whose attributes point into the buffer. 0 or a negative
 * errno. */
static int ask(struct mnl_socket *netlink, struct nlmsghdr *message, uint8_t buffer[BUFFER_BYTES],
               struct attributes *out)
{
    if (mnl_socket_sendto(netlink, message, message->nlmsg_len) < 0)
        return -errno;
    const ssize_t n = mnl_socket_recvfrom(netlink, buffer, BUFFER_BYTES);
    const struct nlmsghdr *answer = (const struct nlmsghdr *)(const void *)buffer;
    if (n < 0)
        return -errno;
    if (!mnl_nlmsg_ok(answer, (int)n) || answer->nlmsg_type < NLMSG_MIN_TYPE)
        return -ENOENT; /* an error: there is no such family, or interface */
    *out = (struct attributes){{NULL}};
    mnl_attr_parse(answer, sizeof(struct genlmsghdr), dk_xdp_attribute_note, out);
    return 0;
}

static struct nlmsghdr *request(uint8_t buffer[BUFFER_BYTES], uint16_t type, uint8_t command)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    struct genlmsghdr *head = mnl_nlmsg_put_extra_header(message, sizeof(*head));
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST;
    head->cmd = command;
    head->version = NETDEV_VERSION;
    return message;
}

static int find_family(struct mnl_socket *netlink, uint16_t *id_out)
{
    uint8_t buffer[BUFFER_BYTES];
    struct attributes a;
    struct nlmsghdr *message = request(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY);
    int r = ask(netlink, message, buffer, &a);
    if (r < 0)
        return r;
    if (!has(&a, CTRL_ATTR_FAMILY_ID, sizeof(*id_out)))
        return -ENOENT;
    *id_out = mnl_attr_get_u16(a.of[CTRL_ATTR_FAMILY_ID]);
    return 0;
}

static int look(struct mnl_socket *netlink, int ifindex, struct dk_xdp_features *out)
{
    uint8_t buffer[BUFFER_BYTES];
    struct attributes a;
    uint16_t family = 0;
    int r = find_family(netlink, &family);
    if (r < 0)
        return r;
    struct nlmsghdr *message = request(buffer, family, NETDEV_DEV_GET);
    mnl_attr_put_u32(message, DEV_IFINDEX, (uint32_t)ifindex);
    r = ask(netlink, message, buffer, &a);
    if (r < 0)
        return r;
    if (!has(&a, DEV_FEATURES, sizeof(uint64_t)))
        return -ENOENT;
    out->zero_copy = (mnl_attr_get_u64(a.of[DEV_FEATURES]) & ACT_ZEROCOPY) != 0;
    out->zero_copy_segments = out->zero_copy && has(&a, DEV_ZC_SEGMENTS, sizeof(uint32_t)) &&
                              mnl_attr_get_u32(a.of[DEV_ZC_SEGMENTS]) > 1;
    return 0;
}

struct dk_xdp_features dk_xdp_features_of(int ifindex)
{
    struct dk_xdp_features features = {.zero_copy = true, .zero_copy_segments = true};
    struct mnl_socket *netlink = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
    if (netlink && mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) == 0)
        look(netlink, ifindex, &features); /* else what there is is tried */
    if (netlink)
        mnl_socket_close(netlink);
    return features;
}
