/* SPDX-License-Identifier: MIT */
/*
 * Opens block devices by a specification (blk_spec.h): the table of their drivers.
 *
 * As spec.c does: the text is taken apart first, so nothing is opened when any part of it is wrong.
 */
#include "drv/blk_spec.h"

#include "drv/blk_fault.h"
#include "drv/blk_file.h"
#include "drv/blk_nvme.h"
#include "drv/memblk.h"
#include "drv/spec_text.h"
#include "drv/why.h"

#include <errno.h>
#include <string.h>

#define LAYERS_MAX 8u
#define TEXT_MAX   4096u /* there are paths in it */

union options {
    struct dk_memblk_options memblk;
    struct dk_blk_file_options file;
    struct dk_blk_nvme_options nvme;
    struct dk_blk_fault_options fault;
};

struct layer {
    int driver; /* index */
    union options options;
};

/* What is done with a driver of `names`. */
struct driver {
    void (*complete)(union options *o, const struct dk_blk_spec_context *context);
    int (*open)(struct dk_blkdev **dev_out, struct dk_blkdev *inner, const union options *o,
                const char **why_out);
};

static void complete_memblk(union options *o, const struct dk_blk_spec_context *context)
{
    o->memblk.read_only |= context->read_only;
}

static void complete_file(union options *o, const struct dk_blk_spec_context *context)
{
    o->file.read_only |= context->read_only;
    o->file.create |= context->create;
    o->file.mode = context->mode;
}

static void complete_nvme(union options *o, const struct dk_blk_spec_context *context)
{
    o->nvme.read_only |= context->read_only;
}

static void complete_fault(union options *o, const struct dk_blk_spec_context *context)
{
    (void)o;
    (void)context;
}

static int open_memblk(struct dk_blkdev **dev_out, struct dk_blkdev *inner, const union options *o,
                       const char **why_out)
{
    (void)inner;
    return dk_memblk_open(dev_out, &o->memblk, why_out);
}

static int open_file(struct dk_blkdev **dev_out, struct dk_blkdev *inner, const union options *o,
                     const char **why_out)
{
    (void)inner;
    return dk_blk_file_open(dev_out, &o->file, why_out);
}

static int open_nvme(struct dk_blkdev **dev_out, struct dk_blkdev *inner, const union options *o,
                     const char **why_out)
{
    (void)inner;
    return dk_blk_nvme_open(dev_out, &o->nvme, why_out);
}

static int open_fault(struct dk_blkdev **dev_out, struct dk_blkdev *inner, const union options *o,
                      const char **why_out)
{
    return dk_blk_fault_open(dev_out, inner, &o->fault, why_out);
}

static const struct dk_spec_key memblk_keys[] = {
    DK_SPEC_KEY("bytes", DK_SPEC_SIZE, dk_memblk_options, bytes),
    DK_SPEC_KEY("limit", DK_SPEC_SIZE, dk_memblk_options, limit_bytes),
    DK_SPEC_KEY("block", DK_SPEC_NUMBER, dk_memblk_options, block_bytes),
    DK_SPEC_KEY("atomic", DK_SPEC_NUMBER, dk_memblk_options, atomic_bytes),
    DK_SPEC_KEY("depth", DK_SPEC_NUMBER, dk_memblk_options, depth),
    DK_SPEC_KEY("seed", DK_SPEC_NUMBER64, dk_memblk_options, seed),
    DK_SPEC_KEY("read_only", DK_SPEC_YES, dk_memblk_options, read_only),
    {0},
};

static const struct dk_spec_key file_keys[] = {
    DK_SPEC_KEY("size", DK_SPEC_SIZE, dk_blk_file_options, bytes),
    DK_SPEC_KEY("depth", DK_SPEC_NUMBER, dk_blk_file_options, depth),
    DK_SPEC_KEY("read_only", DK_SPEC_YES, dk_blk_file_options, read_only),
    DK_SPEC_KEY("create", DK_SPEC_YES, dk_blk_file_options, create),
    DK_SPEC_KEY("buffered", DK_SPEC_YES, dk_blk_file_options, buffered),
    DK_SPEC_KEY("threads", DK_SPEC_YES, dk_blk_file_options, threads),
    DK_SPEC_KEY("interrupts", DK_SPEC_YES, dk_blk_file_options, interrupts),
    DK_SPEC_KEY("unregistered", DK_SPEC_YES, dk_blk_file_options, unregistered),
    {0},
};

static const struct dk_spec_key nvme_keys[] = {
    DK_SPEC_KEY("depth", DK_SPEC_NUMBER, dk_blk_nvme_options, depth),
    DK_SPEC_KEY("read_only", DK_SPEC_YES, dk_blk_nvme_options, read_only),
    DK_SPEC_KEY("interrupts", DK_SPEC_YES, dk_blk_nvme_options, interrupts),
    DK_SPEC_KEY("unregistered", DK_SPEC_YES, dk_blk_nvme_options, unregistered),
    {0},
};

#define ERROR(member) offsetof(struct dk_blk_fault_options, member)

static const struct dk_spec_key fault_keys[] = {
    DK_SPEC_KEY("seed", DK_SPEC_NUMBER64, dk_blk_fault_options, seed),
    {"error", DK_SPEC_RATE, ERROR(read_error), ERROR(write_error), true},
    DK_SPEC_KEY("read_error", DK_SPEC_RATE, dk_blk_fault_options, read_error),
    DK_SPEC_KEY("write_error", DK_SPEC_RATE, dk_blk_fault_options, write_error),
    DK_SPEC_KEY("flush_error", DK_SPEC_RATE, dk_blk_fault_options, flush_error),
    DK_SPEC_KEY("lost", DK_SPEC_RATE, dk_blk_fault_options, lost),
    DK_SPEC_KEY("torn", DK_SPEC_RATE, dk_blk_fault_options, torn),
    DK_SPEC_KEY("misdirect", DK_SPEC_RATE, dk_blk_fault_options, misdirect),
    DK_SPEC_KEY("rot", DK_SPEC_RATE, dk_blk_fault_options, rot),
    DK_SPEC_KEY("delayed", DK_SPEC_RATE, dk_blk_fault_options, delay),
    DK_SPEC_KEY("delay", DK_SPEC_TIME, dk_blk_fault_options, delay_ns),
    DK_SPEC_KEY("jitter", DK_SPEC_TIME, dk_blk_fault_options, jitter_ns),
    DK_SPEC_KEY("reorder", DK_SPEC_RATE, dk_blk_fault_options, reorder),
    DK_SPEC_KEY("reorder_by", DK_SPEC_TIME, dk_blk_fault_options, reorder_ns),
    DK_SPEC_KEY("power_at", DK_SPEC_NUMBER64, dk_blk_fault_options, power_at),
    {0},
};

enum { MEMBLK, FILE_OR_DEVICE, NVME, FAULT, NUM_DRIVERS };

static const struct dk_spec_driver names[NUM_DRIVERS + 1] = {
    [MEMBLK] = {"memblk", false, NULL, 0, memblk_keys},
    [FILE_OR_DEVICE] = {"file", false, "the path of a file or block device",
                        offsetof(struct dk_blk_file_options, path), file_keys},
    [NVME] = {"nvme", false, "the path of a device (/dev/ngXnY)",
              offsetof(struct dk_blk_nvme_options, path), nvme_keys},
    [FAULT] = {"fault", true, NULL, 0, fault_keys},
};

static const struct driver drivers[NUM_DRIVERS] = {
    [MEMBLK] = {complete_memblk, open_memblk},
    [FILE_OR_DEVICE] = {complete_file, open_file},
    [NVME] = {complete_nvme, open_nvme},
    [FAULT] = {complete_fault, open_fault},
};

static int no_driver(const char *name, const char **why_out)
{
    return dk_why(why_out, -EINVAL,
                  "there is no block device \"%s\": it is a path (/... or ./...), file:PATH, "
                  "nvme:/dev/ngXnY or memblk, with fault(...): before it",
                  name);
}

/* Reads one layer; returns 1 after a decorator, 0 after the device at the end. */
static int read_layer(struct layer *layer, struct dk_spec_text *text, const char **why_out)
{
    if (*text->at == '/' || *text->at == '.') {
        layer->driver = FILE_OR_DEVICE;
        layer->options.file.path = text->at;
        return 0;
    }
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
    const size_t len = strlen(spec);
    if (len >= TEXT_MAX)
        return dk_why(why_out, -EINVAL,
                      "the specification of the block device has %zu bytes: at most %u", len,
                      TEXT_MAX - 1);
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

int dk_blk_spec_check(const char *spec, const char **why_out)
{
    struct chain chain = {0};
    return read_chain(&chain, spec, why_out);
}

static int open_chain(struct chain *chain, const struct dk_blk_spec_context *context,
                      struct dk_blkdev **dev_out, const char **why_out)
{
    struct dk_blkdev *dev = NULL;
    for (uint32_t i = chain->num_layers; i-- > 0;) {
        struct layer *layer = &chain->layers[i];
        const struct driver *driver = &drivers[layer->driver];
        driver->complete(&layer->options, context);
        int r = driver->open(&dev, dev, &layer->options, why_out);
        if (r == 0)
            continue;
        if (dev)
            dev->ops->close(dev);
        return r;
    }
    *dev_out = dev;
    return 0;
}

int dk_blk_spec_open(struct dk_blkdev **dev_out, const char *spec,
                     const struct dk_blk_spec_context *context, const char **why_out)
{
    static const struct dk_blk_spec_context nothing;
    struct chain chain = {0};
    int r = read_chain(&chain, spec, why_out);
    return r < 0 ? r : open_chain(&chain, context ? context : &nothing, dev_out, why_out);
}
