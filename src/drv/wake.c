/* SPDX-License-Identifier: MIT */
#include "drv/wake.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

static int watch(struct dk_wake *wake, int how, uint32_t events)
{
    struct epoll_event event = {.events = events};
    return epoll_ctl(wake->epfd, how, wake->fd, &event) < 0 ? -errno : 0;
}

int dk_wake_open(struct dk_wake *wake, int fd)
{
    *wake = (struct dk_wake){.epfd = epoll_create1(EPOLL_CLOEXEC), .fd = fd};
    if (wake->epfd < 0)
        return -errno;
    int r = watch(wake, EPOLL_CTL_ADD, EPOLLIN);
    if (r < 0)
        dk_wake_close(wake);
    return r;
}

void dk_wake_close(struct dk_wake *wake)
{
    close(wake->epfd);
    wake->epfd = -1;
}

void dk_wake_want_room(struct dk_wake *wake, bool want)
{
    if (want == wake->writing)
        return;
    if (watch(wake, EPOLL_CTL_MOD, want ? EPOLLIN | EPOLLOUT : EPOLLIN) == 0)
        wake->writing = want;
}

void dk_wake_forget(struct dk_wake *wake)
{
    watch(wake, EPOLL_CTL_DEL, 0);
}
