/* SPDX-License-Identifier: MIT */
/*
 * Opens devices by a specification (spec.h): the table of drivers.
 *
 * The text is taken apart into layers first (spec_text.c), each with options of its driver; so
 * nothing is opened when any part of it is wrong. Then the driver at the end is opened, and each
 * decorator over what there is so far.
 */
#include "drv/spec.h"

#include "drv/dpdk/dpdk.h"
#include "drv/fault.h"
#include "drv/loop.h"
#include "drv/packet.h"
#include "drv/pcap.h"
#include "drv/spec_text.h"
#include "drv/tap.h"
#include "drv/why.h"
#include "drv/xdp/xdp.h"

#include <errno.h>
#include <stddef.h>

#define LAYERS_MAX 8u
#define TEXT_MAX   1024u

union options {
    struct dk_loop_options loop;
    struct dk_tap_options tap;
    struct dk_packet_options packet;
    struct dk_dpdk_options dpdk;
    struct dk_xdp_options xdp;
    struct dk_pcap_options pcap;
    struct dk_fault_options fault;
};

struct layer {
    int driver; /* index */
    union options options;
};

/* What is done with a driver of `names`. */
struct driver {
    /* Fills in what the specification does not say. */
    void (*complete)(union options *o, const struct dk_spec_context *context);
    /* Opens it; over inner, for a decorator. */
    int (*open)(struct dk_netdev **dev_out, struct dk_netdev *inner, const union options *o,
                const char **why_out);
    /* Of a module instead: with what it is. */
    int (*open_with)(struct dk_netdev **dev_out, const void *module, const union options *o,
                     const char **why_out);
};

static uint32_t first_of(uint32_t said, uint32_t otherwise)
{
    return said ? said : otherwise;
}

#define COMPLETE(type)                                                                             \
    static void complete_##type(union options *o, const struct dk_spec_context *context)           \
    {                                                                                              \
        o->type.mtu = first_of(o->type.mtu, context->mtu);                                         \
        if (o->type.rx_pool_bytes == 0)                                                            \
            o->type.rx_pool_bytes = context->rx_pool_bytes;                                        \
    }

COMPLETE(loop)
COMPLETE(tap)
COMPLETE(packet)
COMPLETE(dpdk)
COMPLETE(xdp)

/* The device between here and here does what it is let to. */
static void complete_link(union options *o, const struct dk_spec_context *context)
{
    complete_loop(o, context);
    o->loop.offloads = context->offloads;
}

static void complete_interface(union options *o, const struct dk_spec_context *context)
{
    complete_tap(o, context);
    o->tap.offloads = context->offloads;
    o->tap.queue = context->queue;
}

static void complete_socket(union options *o, const struct dk_spec_context *context)
{
    complete_packet(o, context);
    o->packet.offloads = context->offloads;
    o->packet.queue = context->queue;
}

static void complete_port(union options *o, const struct dk_spec_context *context)
{
    complete_dpdk(o, context);
    o->dpdk.offloads = context->offloads;
    o->dpdk.queue = context->queue;
}

static void complete_queues(union options *o, const struct dk_spec_context *context)
{
    complete_xdp(o, context);
    o->xdp.whole = context->own_addresses;
    o->xdp.worker = context->queue;
}

static void complete_pcap(union options *o, const struct dk_spec_context *context)
{
    o->pcap.wall_offset_ns = context->wall_offset_ns;
    o->pcap.queue = context->queue.index;
}

/* A delay that is given holds for all frames, unless it is said for how many. */
static void complete_rates(struct dk_fault_rates *r)
{
    if (r->delay == 0 && (r->delay_ns > 0 || r->jitter_ns > 0))
        r->delay = DK_FAULT_ALWAYS;
}

static void complete_fault(union options *o, const struct dk_spec_context *context)
{
    (void)context;
    complete_rates(&o->fault.rx);
    complete_rates(&o->fault.tx);
}

static int open_loop(struct dk_netdev **dev_out, struct dk_netdev *inner, const union options *o,
                     const char **why_out)
{
    (void)inner;
    return dk_loop_open(dev_out, &o->loop, why_out);
}

static int open_tap(struct dk_netdev **dev_out, struct dk_netdev *inner, const union options *o,
                    const char **why_out)
{
    (void)inner;
    return dk_tap_open(dev_out, &o->tap, why_out);
}

static int open_packet(struct dk_netdev **dev_out, struct dk_netdev *inner, const union options *o,
                       const char **why_out)
{
    (void)inner;
    return dk_packet_open(dev_out, &o->packet, why_out);
}

static int open_dpdk(struct dk_netdev **dev_out, const void *module, const union options *o,
                     const char **why_out)
{
    const struct dk_dpdk_driver *driver = module;
    return driver->open(dev_out, &o->dpdk, why_out);
}

static int open_xdp(struct dk_netdev **dev_out, const void *module, const union options *o,
                    const char **why_out)
{
    const struct dk_xdp_driver *driver = module;
    return driver->open(dev_out, &o->xdp, why_out);
}

static int open_pcap(struct dk_netdev **dev_out, struct dk_netdev *inner, const union options *o,
                     const char **why_out)
{
    return dk_pcap_open(dev_out, inner, &o->pcap, why_out);
}

static int open_fault(struct dk_netdev **dev_out, struct dk_netdev *inner, const union options *o,
                      const char **why_out)
{
    return dk_fault_open(dev_out, inner, &o->fault, why_out);
}

/* A key for both directions, and one for each. */
#define LANES(name, kind, member)                                                                  \
    {name, kind, offsetof(struct dk_fault_options, rx.member),                                     \
     offsetof(struct dk_fault_options, tx.member), true},                                          \
        DK_SPEC_KEY("rx." name, kind, dk_fault_options, rx.member),                                \
        DK_SPEC_KEY("tx." name, kind, dk_fault_options, tx.member)

static const struct dk_spec_key loop_keys[] = {
    DK_SPEC_KEY("mtu", DK_SPEC_NUMBER, dk_loop_options, mtu),
    DK_SPEC_KEY("mac", DK_SPEC_MAC, dk_loop_options, mac),
    DK_SPEC_KEY("ring", DK_SPEC_NUMBER, dk_loop_options, ring_frames),
    DK_SPEC_KEY("pool", DK_SPEC_SIZE, dk_loop_options, rx_pool_bytes),
    {0},
};

static const struct dk_spec_key tap_keys[] = {
    DK_SPEC_KEY("mtu", DK_SPEC_NUMBER, dk_tap_options, mtu),
    DK_SPEC_KEY("mac", DK_SPEC_MAC, dk_tap_options, mac),
    DK_SPEC_KEY("pool", DK_SPEC_SIZE, dk_tap_options, rx_pool_bytes),
    {0},
};

static const struct dk_spec_key packet_keys[] = {
    DK_SPEC_KEY("mtu", DK_SPEC_NUMBER, dk_packet_options, mtu),
    DK_SPEC_KEY("mac", DK_SPEC_MAC, dk_packet_options, mac),
    DK_SPEC_KEY("ring", DK_SPEC_NUMBER, dk_packet_options, ring_frames),
    DK_SPEC_KEY("pool", DK_SPEC_SIZE, dk_packet_options, rx_pool_bytes),
    DK_SPEC_KEY("promiscuous", DK_SPEC_YES, dk_packet_options, promiscuous),
    {0},
};

static const struct dk_spec_key dpdk_keys[] = {
    DK_SPEC_KEY("mtu", DK_SPEC_NUMBER, dk_dpdk_options, mtu),
    DK_SPEC_KEY("mac", DK_SPEC_MAC, dk_dpdk_options, mac),
    DK_SPEC_KEY("ring", DK_SPEC_NUMBER, dk_dpdk_options, ring_frames),
    DK_SPEC_KEY("pool", DK_SPEC_SIZE, dk_dpdk_options, rx_pool_bytes),
    DK_SPEC_KEY("promiscuous", DK_SPEC_YES, dk_dpdk_options, promiscuous),
    DK_SPEC_KEY("copy", DK_SPEC_YES, dk_dpdk_options, copy),
    DK_SPEC_KEY("eal", DK_SPEC_TEXT, dk_dpdk_options, eal),
    {0},
};

static const struct dk_spec_key xdp_keys[] = {
    DK_SPEC_KEY("mtu", DK_SPEC_NUMBER, dk_xdp_options, mtu),
    DK_SPEC_KEY("queue", DK_SPEC_NUMBER, dk_xdp_options, queue),
    DK_SPEC_KEY("queues", DK_SPEC_NUMBER, dk_xdp_options, queues),
    DK_SPEC_KEY("ring", DK_SPEC_NUMBER, dk_xdp_options, ring_frames),
    DK_SPEC_KEY("pool", DK_SPEC_SIZE, dk_xdp_options, rx_pool_bytes),
    DK_SPEC_KEY("umem", DK_SPEC_SIZE, dk_xdp_options, umem_bytes),
    DK_SPEC_KEY("mode", DK_SPEC_TEXT, dk_xdp_options, mode),
    DK_SPEC_KEY("copy", DK_SPEC_YES, dk_xdp_options, copy),
    DK_SPEC_KEY("busy_poll", DK_SPEC_YES, dk_xdp_options, busy_poll),
    DK_SPEC_KEY("promiscuous", DK_SPEC_YES, dk_xdp_options, promiscuous),
    {0},
};

static const struct dk_spec_key pcap_keys[] = {
    DK_SPEC_KEY("limit", DK_SPEC_SIZE, dk_pcap_options, limit_bytes),
    DK_SPEC_KEY("snap", DK_SPEC_NUMBER, dk_pcap_options, snap_bytes),
    {0},
};

static const struct dk_spec_key fault_keys[] = {
    DK_SPEC_KEY("seed", DK_SPEC_NUMBER64, dk_fault_options, seed),
    DK_SPEC_KEY("hold", DK_SPEC_NUMBER, dk_fault_options, hold_frames),
    DK_SPEC_KEY("pool", DK_SPEC_SIZE, dk_fault_options, hold_bytes),
    LANES("loss", DK_SPEC_RATE, loss),
    LANES("corrupt", DK_SPEC_RATE, corrupt),
    LANES("mark", DK_SPEC_RATE, mark),
    LANES("delayed", DK_SPEC_RATE, delay),
    LANES("reorder", DK_SPEC_RATE, reorder),
    LANES("duplicate", DK_SPEC_RATE, duplicate),
    LANES("delay", DK_SPEC_TIME, delay_ns),
    LANES("jitter", DK_SPEC_TIME, jitter_ns),
    LANES("reorder_by", DK_SPEC_TIME, reorder_ns),
    LANES("rate", DK_SPEC_SPEED, rate_bps),
    LANES("queue", DK_SPEC_SIZE, queue_bytes),
    {0},
};

#define INTERFACE "the name of an interface"

enum { LOOP, TAP, PACKET, DPDK, XDP, PCAP, FAULT, NUM_DRIVERS };

static const struct dk_spec_driver names[NUM_DRIVERS + 1] = {
    [LOOP] = {"loop", false, NULL, 0, loop_keys},
    [TAP] = {"tap", false, INTERFACE, offsetof(struct dk_tap_options, name), tap_keys},
    [PACKET] = {"packet", false, INTERFACE, offsetof(struct dk_packet_options, name), packet_keys},
    [DPDK] = {"dpdk", false, "a port", offsetof(struct dk_dpdk_options, device), dpdk_keys, true},
    [XDP] = {"xdp", false, INTERFACE, offsetof(struct dk_xdp_options, name), xdp_keys},
    [PCAP] = {"pcap", true, "a file", offsetof(struct dk_pcap_options, path), pcap_keys},
    [FAULT] = {"fault", true, NULL, 0, fault_keys},
};

static const struct driver drivers[NUM_DRIVERS] = {
    [LOOP] = {complete_link, open_loop}, /* several: links, each of which ends where it begins */
    [TAP] = {complete_interface, open_tap},    [PACKET] = {complete_socket, open_packet},
    [DPDK] = {complete_port, NULL, open_dpdk}, [XDP] = {complete_queues, NULL, open_xdp},
    [PCAP] = {complete_pcap, open_pcap},       [FAULT] = {complete_fault, open_fault},
};

static int no_driver(const char *name, const char **why_out)
{
    return dk_why(
        why_out, -EINVAL,
        "there is no network device \"%s\": it is loop, tap:INTERFACE, "
        "packet:INTERFACE, xdp:INTERFACE or dpdk:PORT, with pcap(FILE): or fault(...): before it",
        name);
}

/* Reads one layer; returns 1 after a decorator, 0 after the device at the end. */
static int read_layer(struct layer *layer, struct dk_spec_text *text, const char **why_out)
{
    const char *name = dk_spec_name(text);
    layer->driver = dk_spec_find(names, name);
    if (layer->driver < 0)
        return no_driver(name, why_out);
    const struct dk_spec_driver *driver = &names[layer->driver];
    int r = dk_spec_layer(text, driver, &layer->options, why_out);
    return r < 0 ? r : driver->is_decorator;
}

struct chain {
    char text[TEXT_MAX]; /* that the options point into */
    uint32_t num_layers;
    struct layer layers[LAYERS_MAX];
};

static int read_chain(struct chain *chain, const char *spec, const char **why_out)
{
    size_t len = strlen(spec);
    if (len >= TEXT_MAX)
        return dk_why(why_out, -EINVAL,
                      "the specification of the network device has %zu bytes: "
                      "at most %u",
                      len, TEXT_MAX - 1);
    memcpy(chain->text, spec, len + 1);
    struct dk_spec_text text = {.at = chain->text};
    int r = 1;
    while (r > 0) {
        if (chain->num_layers == LAYERS_MAX)
            return dk_why(why_out, -EINVAL, "more than %u decorators and devices", LAYERS_MAX);
        r = read_layer(&chain->layers[chain->num_layers++], &text, why_out);
    }
    return r;
}

int dk_spec_check(const char *spec, const char **why_out)
{
    struct chain chain = {0};
    return read_chain(&chain, spec, why_out);
}

static int open_layer(struct layer *layer, const struct dk_spec_context *context,
                      struct dk_netdev **dev, const char **why_out)
{
    const struct driver *driver = &drivers[layer->driver];
    const char *name = names[layer->driver].name;
    const void *module;
    driver->complete(&layer->options, context);
    if (!driver->open_with)
        return driver->open(dev, *dev, &layer->options, why_out);
    if (!context->find_module)
        return dk_why(why_out, -ENOSYS, "%s is a module, and none can be loaded here", name);
    int r = context->find_module(name, &module, why_out);
    return r < 0 ? r : driver->open_with(dev, module, &layer->options, why_out);
}

static int open_chain(struct chain *chain, const struct dk_spec_context *context,
                      struct dk_netdev **dev_out, const char **why_out)
{
    struct dk_netdev *dev = NULL;
    for (uint32_t i = chain->num_layers; i-- > 0;) {
        int r = open_layer(&chain->layers[i], context, &dev, why_out);
        if (r == 0)
            continue;
        if (dev)
            dev->ops->close(dev);
        return r;
    }
    *dev_out = dev;
    return 0;
}

int dk_spec_open(struct dk_netdev **dev_out, const char *spec,
                 const struct dk_spec_context *context, const char **why_out)
{
    static const struct dk_spec_context nothing;
    struct chain chain = {0};
    int r = read_chain(&chain, spec, why_out);
    return r < 0 ? r : open_chain(&chain, context ? context : &nothing, dev_out, why_out);
}
