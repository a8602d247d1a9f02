/* SPDX-License-Identifier: MIT */
#include "blk_place.h"

#include "../lib/harness.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATHS 4

static char folder[64];
static char loop_path[32]; /* "": none */
static int loop_fd = -1;

int blk_place_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "blk-test.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

int blk_place_remove(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

const char *blk_place_path(const char *name)
{
    static char paths[PATHS][128];
    static unsigned next;
    char *path = paths[next++ % PATHS];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static const char *no_loop(const char *what)
{
    print_message("no loop device: %s: %s\n", what, strerror(errno));
    return NULL;
}

static int backing_file(uint64_t bytes)
{
    const char *path = blk_place_path("loop");
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Another test may take the same free number: then the next one. flags: O_RDONLY is its mode too.
 */
static bool attach(int control, int backing, int flags)
{
    for (int i = 0; i < 20; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        snprintf(loop_path, sizeof(loop_path), "/dev/loop%d", number);
        loop_fd = number < 0 ? -1 : open(loop_path, flags | O_CLOEXEC);
        if (loop_fd < 0)
            return false;
        if (ioctl(loop_fd, LOOP_SET_FD, backing) == 0)
            return true;
        close(loop_fd);
        if (errno != EBUSY)
            return false;
    }
    return false;
}

static const char *attach_file(int backing, int flags)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return no_loop("/dev/loop-control");
    bool attached = backing >= 0 && attach(control, backing, flags);
    close(control);
    if (!attached)
        return no_loop(loop_path);
    /* It goes with its last user, even if that is killed. */
    struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
    must(ioctl(loop_fd, LOOP_SET_STATUS64, &info));
    return loop_path;
}

const char *blk_loop_attach(uint64_t bytes)
{
    int backing = backing_file(bytes);
    const char *path = attach_file(backing, O_RDWR);
    close(backing);
    return path;
}

const char *blk_loop_attach_read_only(void)
{
    int backing = open(blk_place_path("loop"), O_RDONLY | O_CLOEXEC);
    const char *path = attach_file(backing, O_RDONLY);
    close(backing);
    return path;
}

const char *blk_loop_path(void)
{
    return loop_path;
}

void blk_loop_detach(void)
{
    close(loop_fd);
    loop_fd = -1;
}

const char *blk_small_folder(uint64_t bytes)
{
    static char mounted[96];
    char command[128];
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("no mount namespace: %s\n", strerror(errno));
        return NULL;
    }
    if (!blk_loop_attach(bytes))
        return NULL;
    snprintf(command, sizeof(command), "mke2fs -q -t ext4 %s >&2", loop_path);
    snprintf(mounted, sizeof(mounted), "%s", blk_place_path("small"));
    if (system(command) != 0 || mkdir(mounted, 0700) < 0 ||
        mount(loop_path, mounted, "ext4", 0, NULL) < 0) {
        print_message("no small file system: mke2fs, mkdir or mount: %s\n", strerror(errno));
        blk_loop_detach();
        return NULL;
    }
    return mounted;
}

void blk_small_folder_remove(void)
{
    must(umount(blk_place_path("small")));
    blk_loop_detach();
}
