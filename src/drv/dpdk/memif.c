/* SPDX-License-Identifier: MIT */
/*
 * What net_memif touches of its ring with the next frame that is sent, fetched when frames came: a
 * descriptor, and the two lines with the numbers of the ring.
 *
 * Both ends write to the descriptors of a ring: who receives says how long a buffer is, who sends
 * how long the frame in it. So that of the next frame is in the cache of the other end's processor,
 * as are the numbers. A program that turns a frame round at once has them fetched along with the
 * frame, as the processor runs ahead; behind a protocol they are waited for one after the other
 * when the frame is sent. Where a line takes 240 ns from processor to processor, that was a third
 * of a round trip (bench/memif_compare.py).
 *
 * The driver does not tell where its ring is. It is found by what DPDK calls the memory, and by the
 * layout of memif: rings one after the other, those to the server first, each with a header. The
 * headers are read from its file, now and then; in between the frames that are sent are counted. At
 * the driver's own addresses nothing is read, which may be gone any time, but only fetched: who is
 * wrong, or gets lies of the other end, fetches in vain. (Fetched by a mapping of our own, lines
 * were of little use to the driver.) Where the memory is not found, or there are several, nothing
 * is fetched.
 */
#include "drv/dpdk/port.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGION   "/memfd:memif_region_0"
#define COOKIE   0x3e31f20u
#define RING_MAX (UINT64_C(32) << 14) /* more bytes than one of 16,384 descriptors */
#define FIND_NS  1000000000           /* between two looks for it */
#define COUNT_NS 100000000            /* and at how far it is */

/* Of memif 2.0, in shared memory. */
struct ring {
    uint32_t cookie;
    uint16_t flags;
    uint16_t head; /* written by the client, whichever way the ring leads */
    uint8_t unused[56];
    uint16_t tail; /* by the server */
    uint8_t also_unused[62];
};

_Static_assert(sizeof(struct ring) == 2 * DK_DPDK_MEMIF_LINE, "as dk_dpdk_memif_fetch has it");

void dk_dpdk_memif_choose(struct dk_dpdk_port *p, const char *device)
{
    const bool is_server =
        device && (strstr(device, "role=server") || strstr(device, "role=master"));
    p->memif.role = is_server ? DK_DPDK_MEMIF_SERVER : DK_DPDK_MEMIF_CLIENT;
    p->memif.in_heap = device && strstr(device, "zero-copy=yes");
}

void dk_dpdk_memif_forget(struct dk_dpdk_port *p)
{
    if (p->memif.descriptors)
        close(p->memif.fd);
    p->memif.descriptors = NULL;
}

/* Opens anew, to be read only, what is open as that; -1: it is something else, or a region that was
 * opened so before, which the driver may have let go of. */
static int open_region(int fds, const char *name, struct stat *st)
{
    char is[sizeof(REGION)];
    if (readlinkat(fds, name, is, sizeof is) < (ssize_t)strlen(REGION) ||
        memcmp(is, REGION, strlen(REGION)) != 0 ||
        (fcntl(atoi(name), F_GETFL) & O_ACCMODE) != O_RDWR)
        return -1;
    const int fd = openat(fds, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, st) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Opens the one that this process has; -1: it has none, or several. */
static int open_only_region(struct stat *found)
{
    DIR *fds = opendir("/proc/self/fd");
    const struct dirent *entry;
    struct stat st = {.st_size = 0};
    bool several = false;
    int only = -1;
    while (fds && (entry = readdir(fds)) != NULL) {
        const int fd = open_region(dirfd(fds), entry->d_name, &st);
        if (fd < 0)
            continue;
        several |= only >= 0 && st.st_ino != found->st_ino;
        if (only >= 0)
            close(only);
        only = fd;
        *found = st;
    }
    if (fds)
        closedir(fds);
    if (several)
        close(only);
    return several ? -1 : only;
}

/* Where the driver has mapped it; 0: nowhere. */
static uintptr_t address_of(const struct stat *st)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    uintptr_t found = 0, at;
    uint64_t offset, inode;
    while (maps && found == 0 && fgets(line, sizeof line, maps))
        if (sscanf(line, "%" SCNxPTR "-%*s %*s %" SCNx64 " %*s %" SCNu64, &at, &offset, &inode) ==
                3 &&
            offset == 0 && inode == st->st_ino && strstr(line, REGION))
            found = at;
    if (maps)
        fclose(maps);
    return found;
}

static bool read_ring(int fd, uint64_t at, struct ring *out)
{
    return pread(fd, out, sizeof(*out), (off_t)at) == sizeof(*out) && out->cookie == COOKIE;
}

/* Returns how many rings there are each way, which is the same number, and the bytes of one: what
 * is between the first two. 0: not as we know it. */
static uint32_t count_rings(int fd, uint64_t *bytes_out)
{
    struct ring ring;
    uint64_t bytes = sizeof(ring) + DK_DPDK_MEMIF_DESCRIPTOR;
    uint32_t num = 0;
    if (!read_ring(fd, 0, &ring))
        return 0;
    while (bytes < RING_MAX && !read_ring(fd, bytes, &ring))
        bytes = (bytes - sizeof(ring)) * 2 + sizeof(ring);
    while (bytes < RING_MAX && read_ring(fd, num * bytes, &ring))
        num++;
    *bytes_out = bytes;
    return num % 2 == 0 ? num / 2 : 0;
}

uint32_t dk_dpdk_memif_queues(void)
{
    struct stat st = {.st_size = 0};
    uint64_t bytes;
    const int fd = open_only_region(&st);
    if (fd < 0)
        return 0;
    const uint32_t num = count_rings(fd, &bytes);
    close(fd);
    return num;
}

/* Finds the ring that a queue sends to. */
static bool find_ring(struct dk_dpdk_memif *m, uint32_t queue, uint64_t *bytes_out)
{
    const uint32_t num = count_rings(m->fd, bytes_out);
    if (queue >= num)
        return false;
    m->at = (queue + (m->role == DK_DPDK_MEMIF_CLIENT ? 0 : num)) * *bytes_out;
    m->mask = (uint16_t)((*bytes_out - sizeof(struct ring)) / DK_DPDK_MEMIF_DESCRIPTOR - 1);
    return true;
}

static void find(struct dk_dpdk_port *p)
{
    struct dk_dpdk_memif *m = &p->memif;
    struct stat st = {.st_size = 0};
    uint64_t bytes;
    m->fd = open_only_region(&st);
    if (m->fd < 0)
        return;
    const uintptr_t region = address_of(&st);
    if (region != 0 && find_ring(m, p->queue, &bytes) && m->at + bytes <= (uint64_t)st.st_size)
        m->descriptors = (const uint8_t *)region + m->at + sizeof(struct ring);
    else
        close(m->fd);
}

/* Learns how far the ring is. One that does not move while frames are sent is one of before: the
 * other end came back. */
static void count(struct dk_dpdk_port *p, uint64_t frames)
{
    struct dk_dpdk_memif *m = &p->memif;
    struct ring ring;
    const uint16_t was = (uint16_t)(m->frames + m->ahead);
    if (!read_ring(m->fd, m->at, &ring)) {
        dk_dpdk_memif_forget(p);
        return;
    }
    const uint16_t next = m->role == DK_DPDK_MEMIF_CLIENT ? ring.head : ring.tail;
    if (m->frames != 0 && next == was)
        dk_dpdk_memif_forget(p);
    m->ahead = (uint16_t)(next - frames);
    m->frames = frames;
}

void dk_dpdk_memif_look(struct dk_dpdk_port *p)
{
    struct dk_dpdk_memif *m = &p->memif;
    const uint64_t frames = p->dev.stats->tx_frames;
    if (m->role == DK_DPDK_MEMIF_NOT || m->in_heap || frames == m->frames || p->now < m->look_at)
        return;
    m->look_at = p->now + COUNT_NS;
    if (!m->descriptors) {
        if (dk_dpdk_link(&p->dev) != DK_LINK_UP)
            return;
        m->frames = 0;
        find(p);
    }
    if (m->descriptors)
        count(p, frames);
    else
        m->look_at = p->now + FIND_NS;
}
