/* SPDX-License-Identifier: MIT */
/*
 * The epoll engine: edge-triggered, any thread may use it. epoll_pwait2 gives it nanosecond
 * time-outs where the kernel has it.
 */
#include "libos/kernel/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define WATCHED (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define BATCH   128

struct epoll_engine {
    struct dk_engine base;
    int epfd;
};

static int epoll_engine_open(struct dk_engine **engine_out, int kickfd, const char **why_out)
{
    int r;
    struct epoll_engine *e = calloc(1, sizeof(*e)); /* owned by the caller until close */
    *why_out = "no file descriptor for epoll: raise the limit (ulimit -n)";
    if (!e)
        return -ENOMEM;
    e->base.ops = &dk_engine_epoll;
    e->epfd = epoll_create1(EPOLL_CLOEXEC);
    /* Level-triggered: who polls meanwhile must not take the kick away from who blocks. */
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0};
    if (e->epfd < 0 || epoll_ctl(e->epfd, EPOLL_CTL_ADD, kickfd, &ev) < 0) {
        r = -errno;
        goto fail;
    }
    *engine_out = &e->base;
    return 0;
fail:
    if (e->epfd >= 0)
        close(e->epfd);
    free(e);
    return r;
}

static void epoll_engine_close(struct dk_engine *base)
{
    struct epoll_engine *e = (struct epoll_engine *)base;
    close(e->epfd);
    free(e);
}

static int epoll_engine_add(struct dk_engine *base, int fd, uint64_t key)
{
    struct epoll_engine *e = (struct epoll_engine *)base;
    struct epoll_event ev = {.events = WATCHED, .data.u64 = key};
    return epoll_ctl(e->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static void epoll_engine_del(struct dk_engine *base, int fd, uint64_t key)
{
    (void)key;
    epoll_ctl(((struct epoll_engine *)base)->epfd, EPOLL_CTL_DEL, fd, NULL);
}

static void epoll_engine_flush(struct dk_engine *base)
{
    (void)base;
}

static int wait_events(int epfd, struct epoll_event *evs, int max, int64_t timeout_ns)
{
    if (timeout_ns <= 0)
        return epoll_wait(epfd, evs, max, timeout_ns < 0 ? -1 : 0);
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int n = epoll_pwait2(epfd, evs, max, &ts, NULL);
    if (n < 0 && errno == ENOSYS) {
        int64_t ms = (timeout_ns + 999999) / 1000000;
        n = epoll_wait(epfd, evs, max, ms > 1000000 ? 1000000 : (int)ms);
    }
    return n;
}

static int epoll_engine_poll(struct dk_engine *base, struct dk_event *events_out, int max,
                             int64_t timeout_ns)
{
    struct epoll_engine *e = (struct epoll_engine *)base;
    struct epoll_event evs[BATCH];
    int n = wait_events(e->epfd, evs, max < BATCH ? max : BATCH, timeout_ns);
    for (int i = 0; i < n; i++)
        events_out[i] = (struct dk_event){.key = evs[i].data.u64, .events = evs[i].events};
    return n < 0 ? 0 : n;
}

static int epoll_engine_fd(struct dk_engine *base)
{
    return ((struct epoll_engine *)base)->epfd;
}

static void epoll_engine_abandon(struct dk_engine *base)
{
    close(((struct epoll_engine *)base)->epfd);
}

const struct dk_engine_ops dk_engine_epoll = {
    .name = "epoll",
    .bound = false,
    .open = epoll_engine_open,
    .close = epoll_engine_close,
    .add = epoll_engine_add,
    .del = epoll_engine_del,
    .flush = epoll_engine_flush,
    .poll = epoll_engine_poll,
    .fd = epoll_engine_fd,
    .abandon = epoll_engine_abandon,
};
