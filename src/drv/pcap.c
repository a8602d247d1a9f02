/* SPDX-License-Identifier: MIT */
/*
 * pcapng (draft-ietf-opsawg-pcapng), as much of it as is written here, all in the machine's order:
 *
 *     section header block     0A0D0D0A length 1A2B3C4D 1 0 section length (-1: not known) length
 *     interface description    00000001 length link type (1: Ethernet) 0 snap length
 *                              options: if_name (2), if_tsresol (9) = 9: nanoseconds, end; length
 *     enhanced packet block    00000006 length interface (0) time (high, low) captured original
 *                              bytes, padded to 4; options: epb_flags (2), end; length
 *
 * Invariant: what is in the buffer is whole blocks, and file_bytes counts them too; so the file
 * ends between two blocks, unless a write fails half way: then it is cut there.
 */
#include "drv/pcap.h"

#include "drv/inner.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES  (256u << 10)
#define DEFAULT_LIMIT (UINT64_C(1) << 30)
#define MIN_LIMIT     4096u
#define MAX_SNAP      (128u << 10) /* so that any block finds room in an empty buffer */
#define NAME_BYTES    64u

#define BLOCK_SECTION   0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET    6u
#define BYTE_ORDER_MARK 0x1a2b3c4du
#define LINK_ETHERNET   1u
#define OPTION_END      0u
#define OPTION_NAME     2u /* of an interface */
#define OPTION_TSRESOL  9u /* of an interface */
#define OPTION_FLAGS    2u /* of a packet */

enum direction { INBOUND = 1, OUTBOUND = 2 }; /* as in epb_flags */

struct packet_block {
    uint32_t type, length;
    uint32_t interface;
    uint32_t time_high, time_low;
    uint32_t captured, original;
};

struct packet_block_end {
    uint16_t flags_option, flags_length;
    uint32_t flags;
    uint32_t end_option;
    uint32_t length;
};

struct pcap {
    struct dk_netdev dev;
    int fd;
    bool ended; /* no more is written */
    char *path; /* for the log */
    uint32_t snap_bytes;
    int64_t wall_offset_ns;
    uint64_t limit_bytes;
    uint64_t file_bytes; /* those in the buffer, too */
    uint32_t used;       /* of the buffer */
    uint32_t frames;     /* in the buffer */
    uint8_t *buffer;
};

static struct pcap *pcap_of(struct dk_netdev *dev)
{
    return dk_container_of(dev, struct pcap, dev);
}

static uint32_t padded(uint32_t bytes)
{
    return (bytes + 3) & ~3u;
}

/* Ends the capture after an error. */
static void fail(struct pcap *p, int error, uint32_t written)
{
    p->ended = true;
    dk_log(DK_LOG_ERROR, "pcap: cannot write to %s: %s; the capture ends here", p->path,
           strerror(error));
    /* What cannot be cut has a last block that readers report as such. */
    if (ftruncate(p->fd, (off_t)(p->file_bytes - p->used)) < 0 && written > 0)
        dk_log(DK_LOG_WARN, "pcap: the last frame in %s is not whole", p->path);
}

static void flush(struct pcap *p)
{
    uint32_t done = 0;
    while (done < p->used && !p->ended) {
        ssize_t n = write(p->fd, p->buffer + done, p->used - done);
        if (n > 0)
            done += (uint32_t)n;
        else if (n == 0 || errno != EINTR)
            fail(p, n == 0 ? ENOSPC : errno, done);
    }
    if (p->ended)
        dk_count(&p->dev.stats->pcap_unwritten, p->frames);
    else
        dk_count(&p->dev.stats->pcap_frames, p->frames);
    p->used = p->frames = 0;
}

static void put(struct pcap *p, const void *bytes, uint32_t len)
{
    memcpy(p->buffer + p->used, bytes, len);
    p->used += len;
    p->file_bytes += len;
}

static void put_padding(struct pcap *p, uint32_t len)
{
    static const uint8_t zeros[4];
    put(p, zeros, padded(len) - len);
}

/* Whether a block of so many bytes may still be written; makes room in the buffer. */
static bool begin_block(struct pcap *p, uint32_t length)
{
    if (!p->ended && p->file_bytes + length > p->limit_bytes) {
        flush(p);
        p->ended = true;
        dk_log(DK_LOG_WARN, "pcap: %s has reached its limit of %llu bytes; the capture ends here",
               p->path, (unsigned long long)p->limit_bytes);
    }
    if (!p->ended && p->used + length > BUFFER_BYTES)
        flush(p);
    return !p->ended;
}

/* Puts at most `left` bytes; returns how many. */
static uint32_t put_some(struct pcap *p, const void *bytes, uint32_t len, uint32_t left)
{
    uint32_t n = len < left ? len : left;
    put(p, bytes, n);
    return n;
}

static void put_frame(struct pcap *p, const struct dk_tx_frame *f, uint32_t left)
{
    left -= put_some(p, f->head, f->head_len, left);
    for (uint32_t i = 0; i < f->num_pieces; i++)
        left -= put_some(p, f->pieces[i].data, f->pieces[i].len, left);
}

static void record(struct pcap *p, const struct dk_tx_frame *f, enum direction direction,
                   int64_t now)
{
    uint64_t time = (uint64_t)(now + p->wall_offset_ns);
    uint32_t bytes = dk_tx_frame_bytes(f);
    uint32_t captured = bytes < p->snap_bytes ? bytes : p->snap_bytes;
    struct packet_block_end end = {.flags_option = OPTION_FLAGS,
                                   .flags_length = sizeof(end.flags),
                                   .flags = direction,
                                   .end_option = OPTION_END};
    struct packet_block head = {.type = BLOCK_PACKET,
                                .time_high = (uint32_t)(time >> 32),
                                .time_low = (uint32_t)time,
                                .captured = captured,
                                .original = bytes};
    head.length = end.length = (uint32_t)(sizeof(head) + padded(captured) + sizeof(end));
    if (!begin_block(p, head.length)) {
        dk_count(&p->dev.stats->pcap_unwritten, 1);
        return;
    }
    put(p, &head, sizeof(head));
    put_frame(p, f, captured);
    put_padding(p, captured);
    put(p, &end, sizeof(end));
    p->frames++;
}

static uint32_t rx_burst(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t max,
                         int64_t now)
{
    struct pcap *p = pcap_of(dev);
    uint32_t n = dev->inner->ops->rx_burst(dev->inner, frames_out, max, now);
    for (uint32_t i = 0; i < n; i++) {
        const struct dk_tx_frame f = {.head = frames_out[i].data, .head_len = frames_out[i].len};
        record(p, &f, INBOUND, now);
    }
    if (n == 0 && p->used > 0)
        flush(p);
    return n;
}

static uint32_t tx_burst(struct dk_netdev *dev, const struct dk_tx_frame frames[], uint32_t n,
                         int64_t now)
{
    uint32_t taken = dev->inner->ops->tx_burst(dev->inner, frames, n, now);
    for (uint32_t i = 0; i < taken; i++)
        record(pcap_of(dev), &frames[i], OUTBOUND, now);
    return taken;
}

static int arm(struct dk_netdev *dev)
{
    flush(pcap_of(dev));
    return dk_inner_arm(dev);
}

/* Frees the decorator, but not what it is over. */
static void free_pcap(struct pcap *p)
{
    if (p->fd >= 0)
        close(p->fd);
    if (p->buffer)
        dk_heap_free(p->buffer);
    if (p->path)
        dk_heap_free(p->path);
    dk_heap_free(p);
}

static void close_pcap(struct dk_netdev *dev)
{
    flush(pcap_of(dev));
    dev->inner->ops->close(dev->inner);
    free_pcap(pcap_of(dev));
}

/* What is in the buffer is the parent's to write. */
static void abandon(struct dk_netdev *dev)
{
    close(pcap_of(dev)->fd);
    dk_inner_abandon(dev);
}

static const struct dk_netdev_ops ops = {
    .name = "pcap",
    .rx_burst = rx_burst,
    .tx_burst = tx_burst,
    .reclaim = dk_inner_reclaim,
    .arm = arm,
    .next_due = dk_inner_next_due,
    .link = dk_inner_link,
    .close = close_pcap,
    .abandon = abandon,
};

static void put_section(struct pcap *p)
{
    const uint32_t length = 28;
    const struct {
        uint32_t type, length, byte_order;
        uint16_t major, minor;
        uint32_t section_low, section_high;
    } head = {BLOCK_SECTION, length, BYTE_ORDER_MARK, 1, 0, UINT32_MAX, UINT32_MAX};
    put(p, &head, sizeof(head));
    put(p, &length, sizeof(length));
}

static void put_interface(struct pcap *p, const char *name)
{
    const uint16_t name_bytes = (uint16_t)strnlen(name, NAME_BYTES);
    const struct {
        uint32_t type, length;
        uint16_t link, unused;
        uint32_t snap;
        uint16_t option, option_length;
    } head = {BLOCK_INTERFACE, (uint32_t)sizeof(head) + padded(name_bytes) + 16,
              LINK_ETHERNET,   0,
              p->snap_bytes,   OPTION_NAME,
              name_bytes};
    const struct {
        uint16_t option, option_length;
        uint8_t power, unused[3];
        uint32_t end, length;
    } end = {OPTION_TSRESOL, 1, 9, {0}, OPTION_END, head.length};
    put(p, &head, sizeof(head));
    put(p, name, name_bytes);
    put_padding(p, name_bytes);
    put(p, &end, sizeof(end));
}

static int open_file(struct pcap *p, const char **why_out)
{
    struct stat st;
    /* A pipe would block: not to wait for its reader, and then it is refused. */
    p->fd = open(p->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
    if (p->fd < 0)
        return dk_why(why_out, -errno, "pcap: cannot create %s: %s", p->path, strerror(errno));
    if (fstat(p->fd, &st) < 0 || !S_ISREG(st.st_mode))
        return dk_why(why_out, -EINVAL, "pcap: %s is not a regular file", p->path);
    if (ftruncate(p->fd, 0) < 0)
        return dk_why(why_out, -errno, "pcap: cannot overwrite %s: %s", p->path, strerror(errno));
    return 0;
}

/* Each queue has a file of its own. */
static char *path_of(const struct dk_pcap_options *o)
{
    const size_t room = strlen(o->path) + sizeof(".65535");
    char *path = dk_heap_malloc(room); /* freed by free_pcap */
    if (path && o->queue == 0)
        snprintf(path, room, "%s", o->path);
    else if (path)
        snprintf(path, room, "%s.%u", o->path, (unsigned)(uint16_t)o->queue);
    return path;
}

static int set_up(struct pcap *p, const struct dk_pcap_options *o, const char **why_out)
{
    p->snap_bytes = o->snap_bytes && o->snap_bytes < MAX_SNAP ? o->snap_bytes : MAX_SNAP;
    p->limit_bytes = o->limit_bytes ? o->limit_bytes : DEFAULT_LIMIT;
    p->wall_offset_ns = o->wall_offset_ns;
    p->buffer = dk_heap_malloc(BUFFER_BYTES); /* freed by free_pcap */
    p->path = path_of(o);
    if (!p->buffer || !p->path)
        return dk_why(why_out, -ENOMEM, "pcap: no memory");
    int r = open_file(p, why_out);
    if (r < 0)
        return r;
    put_section(p);
    put_interface(p, o->interface ? o->interface : p->dev.inner->ops->name);
    flush(p);
    return p->ended ? dk_why(why_out, -EIO, "pcap: cannot write to %s", p->path) : 0;
}

int dk_pcap_open(struct dk_netdev **dev_out, struct dk_netdev *inner,
                 const struct dk_pcap_options *options, const char **why_out)
{
    if (!options->path || !options->path[0])
        return dk_why(why_out, -EINVAL, "pcap: no file is named");
    if (options->limit_bytes && options->limit_bytes < MIN_LIMIT)
        return dk_why(why_out, -EINVAL, "pcap: a limit of %llu bytes: at least %u",
                      (unsigned long long)options->limit_bytes, MIN_LIMIT);
    struct pcap *p = dk_heap_zalloc(sizeof(*p)); /* freed by close */
    if (!p)
        return dk_why(why_out, -ENOMEM, "pcap: no memory");
    p->fd = -1;
    dk_inner_init(&p->dev, &ops, inner);
    /* What is captured is as on a wire. */
    p->dev.caps.flags &= ~(DK_NETDEV_TX_CHECKSUM | DK_NETDEV_TSO);
    int r = set_up(p, options, why_out);
    if (r < 0)
        free_pcap(p);
    else
        *dev_out = &p->dev;
    return r;
}
