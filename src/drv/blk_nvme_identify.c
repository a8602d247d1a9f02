/* SPDX-License-Identifier: MIT */
#include "drv/blk_nvme_identify.h"

#include "base/bytes.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define IDENTIFY_BYTES  4096u
#define OPCODE_IDENTIFY 0x06
#define CNS_NAMESPACE   0x00
#define CNS_CONTROLLER  0x01

#define BLOCK         4096u
#define DEFAULT_DEPTH 64u
#define MAX_DEPTH     1024u
#define MAX_BYTES     (256u << 10) /* what Linux passes through in one command on any controller */
#define MAX_SEGS      64u
#define PAGE_SHIFT    12 /* of the controller, at least */
#define PATIENCE_MS   500

static int identify(const struct dk_nvme_namespace *ns, uint8_t cns, uint8_t *data)
{
    struct nvme_admin_cmd cmd = {
        .opcode = OPCODE_IDENTIFY,
        .nsid = cns == CNS_NAMESPACE ? ns->nsid : 0,
        .addr = (uintptr_t)data,
        .data_len = IDENTIFY_BYTES,
        .cdw10 = cns,
    };
    int r = ioctl(ns->fd, NVME_IOCTL_ADMIN_CMD, &cmd);
    return r < 0 ? -errno : r > 0 ? -EIO : 0;
}

/* Base specification, figure 275: MDTS 77, ONCS 520. */
void dk_nvme_parse_controller(struct dk_nvme_namespace *ns, const uint8_t data[4096])
{
    const uint8_t mdts = data[77];
    const uint16_t oncs = dk_get_le16(data + 520);
    ns->has_deallocate = (oncs & 1u << 2) != 0; /* Dataset Management */
    ns->caps.max_bytes = MAX_BYTES;
    if (mdts > 0 && mdts < 6)
        ns->caps.max_bytes = 1u << (PAGE_SHIFT + mdts);
}

static int refuse(const char **why_out, int error, const char *why)
{
    *why_out = why;
    return error;
}

/* NVM command set specification, figure 97: NSZE 0, FLBAS 26, NSATTR 99, LBAF 128. */
int dk_nvme_parse_namespace(struct dk_nvme_namespace *ns, const uint8_t data[4096],
                            const char **why_out)
{
    const uint64_t nsze = dk_get_le64(data);
    const uint8_t flbas = data[26];
    const uint32_t format = (flbas & 0xf) | (flbas & 0x60) >> 1;
    const uint32_t lbaf = dk_get_le32(data + 128 + 4 * (size_t)format);
    ns->lba_shift = lbaf >> 16 & 0xff;
    if ((lbaf & 0xffff) != 0)
        return refuse(why_out, -EOPNOTSUPP, "its format has metadata: format it without");
    if (ns->lba_shift < 9 || ns->lba_shift > 12)
        return refuse(why_out, -EOPNOTSUPP, "its blocks have not 512 to 4096 bytes");
    if (nsze > UINT64_MAX >> ns->lba_shift)
        return refuse(why_out, -EIO, "what it says about its size cannot be");
    if ((data[99] & 1) && !(ns->caps.flags & DK_BLKDEV_READ_ONLY))
        return refuse(why_out, -EROFS, "it is write protected");
    ns->caps.block_bytes = BLOCK;
    ns->caps.atomic_bytes = 1u << ns->lba_shift;
    ns->caps.bytes = (nsze << ns->lba_shift) / BLOCK * BLOCK;
    return 0;
}

/* Asks the device: 0 or a negative errno; what *why says of it is static. */
static int ask_both(struct dk_nvme_namespace *ns, uint8_t *data, const char **why)
{
    *why = "it does not say what it is";
    int r = identify(ns, CNS_CONTROLLER, data);
    if (r < 0)
        return r;
    dk_nvme_parse_controller(ns, data);
    r = identify(ns, CNS_NAMESPACE, data);
    return r < 0 ? r : dk_nvme_parse_namespace(ns, data, why);
}

static int ask(struct dk_nvme_namespace *ns, const char *path, const char **why_out)
{
    const char *why;
    uint8_t *data = dk_heap_aligned(IDENTIFY_BYTES, IDENTIFY_BYTES);
    if (!data)
        return dk_why(why_out, -ENOMEM, "%s: no memory", path);
    int r = ask_both(ns, data, &why);
    dk_heap_free(data);
    return r < 0 ? dk_why(why_out, r, "%s: %s (%s)", path, why, strerror(-r)) : 0;
}

/* The block device of the same namespace: /dev/nvmeXnY of /dev/ngXnY. */
static bool block_path(const char *path, char *out, size_t len)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const int folder = (int)(name - path);
    return strncmp(name, "ng", 2) == 0 &&
           snprintf(out, len, "%.*snvme%s", folder, path, name + 2) < (int)len;
}

/* Takes the block device, so that nobody mounts it. */
static int take_block_device(struct dk_nvme_namespace *ns, const struct dk_blk_nvme_options *o)
{
    char path[256];
    if (o->read_only)
        return 0;
    if (block_path(o->path, path, sizeof(path)))
        ns->block_fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
    if (ns->block_fd < 0 && errno == EBUSY)
        return -EBUSY;
    if (ns->block_fd < 0)
        dk_log(DK_LOG_WARN, "%s: its block device is not there: nobody sees that it is in use",
               o->path);
    return 0;
}

static int lock(struct dk_nvme_namespace *ns, const struct dk_blk_nvme_options *o)
{
    const int nsid = ioctl(ns->fd, NVME_IOCTL_ID);
    if (nsid < 0)
        return -ENOTTY;
    ns->nsid = (uint32_t)nsid;
    if (flock(ns->fd, (o->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    return take_block_device(ns, o);
}

static int open_once(struct dk_nvme_namespace *ns, const struct dk_blk_nvme_options *o)
{
    ns->block_fd = -1;
    ns->fd = open(o->path, (o->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (ns->fd < 0)
        return -errno;
    int r = lock(ns, o);
    if (r < 0)
        dk_nvme_close(ns);
    return r;
}

/* With patience: I/Os of a process that was killed keep it open for a moment. */
static int open_and_lock(struct dk_nvme_namespace *ns, const struct dk_blk_nvme_options *o,
                         const char **why_out)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int r = open_once(ns, o);
    for (int i = 0; r == -EBUSY && i < PATIENCE_MS / 5; i++) {
        nanosleep(&pause, NULL);
        r = open_once(ns, o);
    }
    if (r == -EBUSY)
        return dk_why(why_out, r, "%s is mounted, or in use by another process", o->path);
    if (r == -ENOTTY)
        return dk_why(why_out, r, "%s is no NVMe device: /dev/ngXnY is wanted", o->path);
    return r < 0 ? dk_why(why_out, r, "cannot open %s: %s", o->path, strerror(-r)) : 0;
}

/* Linux before 6.5 may look for a command that is polled for where it was: its memory is another's
 * by then. */
static bool is_polling_safe(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    return uname(&name) == 0 && sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 5));
}

static bool has_polled_queues(const struct dk_blk_nvme_options *o)
{
    char block[256], path[320], c = '0';
    if (!is_polling_safe() || !block_path(o->path, block, sizeof(block)))
        return false;
    snprintf(path, sizeof(path), "/sys/block/%s/queue/io_poll", strrchr(block, '/') + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool has = fd >= 0 && read(fd, &c, 1) == 1 && c == '1';
    if (fd >= 0)
        close(fd);
    return has;
}

int dk_nvme_open(struct dk_nvme_namespace *ns, const struct dk_blk_nvme_options *o,
                 const char **why_out)
{
    if (!o->path || !*o->path)
        return dk_why(why_out, -EINVAL, "nvme: the path of a device is missing: /dev/ngXnY");
    if (o->depth > MAX_DEPTH)
        return dk_why(why_out, -EINVAL, "%s: at most %u I/Os in flight", o->path, MAX_DEPTH);
    *ns = (struct dk_nvme_namespace){.fd = -1, .block_fd = -1};
    int r = open_and_lock(ns, o, why_out);
    if (r < 0)
        return r;
    ns->caps.depth = o->depth ? o->depth : DEFAULT_DEPTH;
    ns->caps.max_segs = MAX_SEGS;
    ns->caps.mem_align = 4; /* of a list of pages; Linux copies what does not lie on pages */
    ns->caps.flags = DK_BLKDEV_FUA | (o->read_only ? DK_BLKDEV_READ_ONLY : 0);
    ns->can_poll = has_polled_queues(o);
    r = ask(ns, o->path, why_out);
    if (r < 0)
        dk_nvme_close(ns);
    return r;
}

void dk_nvme_close(struct dk_nvme_namespace *ns)
{
    close(ns->fd);
    if (ns->block_fd >= 0)
        close(ns->block_fd);
    ns->fd = ns->block_fd = -1;
}
