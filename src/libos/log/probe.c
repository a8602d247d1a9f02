/* SPDX-License-Identifier: MIT */
/*
 * Which block devices can have logs here, for people who ask: nothing is kept open.
 */
#include "drv/blk_ring.h"
#include "libos/log/log.h"

#include <errno.h>
#include <glob.h>
#include <string.h>
#include <unistd.h>

static const char *probe_memblk(const char **why_out)
{
    *why_out = "";
    return "memory";
}

static const char *probe_file(const char **why_out)
{
    return dk_blk_ring_probe(0, why_out) == 0 ? "io_uring" : "threads";
}

/* 0 when a namespace may be opened, or -ENOENT, -EACCES. */
static int find_namespace(void)
{
    glob_t found;
    int r = -ENOENT;
    if (glob("/dev/ng[0-9]*n[0-9]*", GLOB_NOSORT, NULL, &found) != 0)
        return r;
    for (size_t i = 0; i < found.gl_pathc && r != 0; i++)
        r = access(found.gl_pathv[i], R_OK | W_OK) == 0 ? 0 : -EACCES;
    globfree(&found);
    return r;
}

static const char *probe_nvme(const char **why_out)
{
    int r = dk_blk_ring_probe(DK_BLK_RING_LARGE, why_out);
    if (r == -EINVAL)
        *why_out = "this kernel passes no NVMe commands through: Linux 6.1 is needed";
    if (r < 0)
        return "";
    r = find_namespace();
    if (r == 0)
        return "io_uring";
    *why_out = r == -ENOENT ? "there is no /dev/ngXnY: it takes an NVMe device, and the module nvme"
                            : "/dev/ngXnY may not be opened: run as root, or be given access";
    return "";
}

static const struct dk_logs_backend backends[] = {
    {"memblk", "logs in memory, which end with the process", probe_memblk},
    {"file", "logs in a file or on a block device", probe_file},
    {"nvme", "logs on an NVMe device, past the block layer", probe_nvme},
};

const struct dk_logs_backend *dk_logs_backend_at(size_t index)
{
    return index < sizeof(backends) / sizeof(backends[0]) ? &backends[index] : NULL;
}
