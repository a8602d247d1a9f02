/* SPDX-License-Identifier: MIT */
/*
 * The attributes of a netlink message, by their types.
 */
#ifndef DK_DRV_XDP_ATTRIBUTES_H
#define DK_DRV_XDP_ATTRIBUTES_H

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#define DK_XDP_ATTRIBUTES (RTA_MAX + 1) /* of all kinds of messages, those that are read */

struct attributes {
    const struct nlattr *of[DK_XDP_ATTRIBUTES]; /* NULL: it is not there */
};

/* For mnl_attr_parse: notes one in arg, a struct attributes. */
static inline int dk_xdp_attribute_note(const struct nlattr *attribute, void *arg)
{
    struct attributes *a = arg;
    if (mnl_attr_get_type(attribute) < DK_XDP_ATTRIBUTES)
        a->of[mnl_attr_get_type(attribute)] = attribute;
    return MNL_CB_OK;
}

#endif /* DK_DRV_XDP_ATTRIBUTES_H */
