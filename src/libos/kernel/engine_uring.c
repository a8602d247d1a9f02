/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine: multishot polls on a ring whose completions run when its thread asks for
 * them.
 *
 * IORING_SETUP_SINGLE_ISSUER with DEFER_TASKRUN (Linux 6.1) is what makes a ring as cheap as epoll:
 * without it every packet interrupts the thread that submitted the poll (measured: 30 us instead of
 * 9 us a round trip). The price is that only that thread may use the ring; an instance that several
 * threads drive uses epoll.
 *
 * A poll that need not wait asks the kernel only when there is something to ask for: TASKRUN_FLAG
 * shows, in memory, that completions are to be run. So an engine of which nothing happens costs a
 * program that waits for something else (a log) no system call.
 */
#include "libos/kernel/engine.h"

#include "base/compiler.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SQ_ENTRIES 256
#define CQ_ENTRIES 4096
/* Not POLLPRI: a ring reports it with every arrival. Data behind an urgent mark is read with the
 * next. */
#define WATCHED    (POLLIN | POLLOUT | POLLRDHUP)
/* The eventfd is read with every so many polls that have nothing to do. */
#define QUIET_MAX  32

/* user_data: the socket's key, or one of these. Keys never have the top bit. */
#define KICK_DATA    (UINT64_C(1) << 63)
#define IGNORED_DATA (KICK_DATA | 1)

struct uring_engine {
    struct dk_engine base;
    struct io_uring ring;
    int kickfd;
    int eventfd;    /* -1 until somebody asks for a descriptor */
    unsigned quiet; /* polls since it was read */
};

static struct io_uring_sqe *get_sqe(struct uring_engine *e)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&e->ring);
    if (!sqe) {
        io_uring_submit(&e->ring);
        sqe = io_uring_get_sqe(&e->ring);
    }
    return sqe;
}

static int watch(struct uring_engine *e, int fd, uint64_t data, unsigned mask)
{
    struct io_uring_sqe *sqe = get_sqe(e);
    if (!sqe)
        return -EBUSY;
    io_uring_prep_poll_multishot(sqe, fd, mask);
    io_uring_sqe_set_data64(sqe, data);
    return 0;
}

static const char *explain(int error)
{
    switch (error) {
    case -ENOSYS:
        return "this kernel has no io_uring";
    case -EPERM:
        return "io_uring is forbidden here (container profile, or sysctl kernel.io_uring_disabled)";
    case -EINVAL:
        return "io_uring here lacks DEFER_TASKRUN: Linux 6.1 or later is needed";
    case -ENOMEM:
        return "io_uring cannot lock memory: raise the limit (ulimit -l)";
    default:
        return "io_uring cannot be set up";
    }
}

static int uring_engine_open(struct dk_engine **engine_out, int kickfd, const char **why_out)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
                                .cq_entries = CQ_ENTRIES};
    struct uring_engine *e = calloc(1, sizeof(*e)); /* owned by the caller until close */
    *why_out = "no memory";
    if (!e)
        return -ENOMEM;
    e->base.ops = &dk_engine_uring;
    int r = io_uring_queue_init_params(SQ_ENTRIES, &e->ring, &p);
    if (r < 0) {
        *why_out = explain(r);
        free(e);
        return r;
    }
    e->kickfd = kickfd;
    e->eventfd = -1;
    watch(e, kickfd, KICK_DATA, POLLIN);
    *engine_out = &e->base;
    return 0;
}

static void uring_engine_close(struct dk_engine *base)
{
    struct uring_engine *e = (struct uring_engine *)base;
    io_uring_queue_exit(&e->ring);
    if (e->eventfd >= 0)
        close(e->eventfd);
    free(e);
}

static int uring_engine_add(struct dk_engine *base, int fd, uint64_t key)
{
    return watch((struct uring_engine *)base, fd, key, WATCHED);
}

static void uring_engine_flush(struct dk_engine *base)
{
    io_uring_submit(&((struct uring_engine *)base)->ring);
}

/*
 * The ring's poll holds a reference to the socket, and a socket sends its FIN when the last
 * reference goes: so the removal is submitted and run here, not with the next poll. ASYNC_CANCEL,
 * because POLL_REMOVE gives up when the poll has just fired; and after what is queued, because the
 * poll itself may be.
 */
static void uring_engine_del(struct dk_engine *base, int fd, uint64_t key)
{
    struct uring_engine *e = (struct uring_engine *)base;
    (void)fd;
    if (io_uring_sq_ready(&e->ring))
        io_uring_submit_and_get_events(&e->ring);
    struct io_uring_sqe *sqe = get_sqe(e);
    if (sqe) {
        io_uring_prep_cancel64(sqe, key, IORING_ASYNC_CANCEL_ALL);
        io_uring_sqe_set_data64(sqe, IGNORED_DATA);
    }
    io_uring_submit_and_get_events(&e->ring);
}

/* Takes one completion; true when it is an event for the caller. */
static bool take(struct uring_engine *e, const struct io_uring_cqe *cqe, struct dk_event *ev)
{
    uint64_t data = io_uring_cqe_get_data64(cqe);
    if (data == IGNORED_DATA || cqe->res == -ECANCELED)
        return false;
    if (data == KICK_DATA) {
        if (!(cqe->flags & IORING_CQE_F_MORE))
            watch(e, e->kickfd, KICK_DATA, POLLIN);
        return false;
    }
    ev->key = data;
    ev->events = cqe->res < 0 ? EPOLLERR : (uint32_t)cqe->res;
    if (!(cqe->flags & IORING_CQE_F_MORE))
        ev->events |= EPOLLONESHOT; /* the kernel ended the multishot: watch again */
    return true;
}

/* Whether a poll would submit, run or find anything. */
static bool has_work(const struct uring_engine *e)
{
    return io_uring_cq_ready(&e->ring) > 0 || io_uring_sq_ready(&e->ring) > 0 ||
           (__atomic_load_n(e->ring.sq.kflags, __ATOMIC_ACQUIRE) &
            (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/*
 * Takes back what the eventfd told, after the ring was asked: running completions signals it once
 * more. What came meanwhile shows in the ring, and is told again. The kernel signals after that: a
 * signal that came too late for its completion ends a few sleeps for nothing until it is read.
 */
static void quiet_eventfd(struct uring_engine *e)
{
    eventfd_t ignored;
    e->quiet = 0;
    if (eventfd_read(e->eventfd, &ignored) == 0 && has_work(e))
        eventfd_write(e->eventfd, 1);
}

static void ask(struct uring_engine *e, int64_t timeout_ns)
{
    struct __kernel_timespec ts = {.tv_sec = timeout_ns / 1000000000,
                                   .tv_nsec = timeout_ns % 1000000000};
    struct io_uring_cqe *cqe;
    if (timeout_ns == 0)
        io_uring_submit_and_get_events(&e->ring);
    else
        io_uring_submit_and_wait_timeout(&e->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
}

static int uring_engine_poll(struct dk_engine *base, struct dk_event *events_out, int max,
                             int64_t timeout_ns)
{
    struct uring_engine *e = (struct uring_engine *)base;
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    int n = 0;
    const bool asks = timeout_ns != 0 || has_work(e);
    if (asks)
        ask(e, timeout_ns);
    io_uring_for_each_cqe(&e->ring, head, cqe)
    {
        if (n == max)
            break;
        n += take(e, cqe, &events_out[n]);
        seen++;
    }
    io_uring_cq_advance(&e->ring, seen);
    if (dk_unlikely(e->eventfd >= 0) && (asks || ++e->quiet >= QUIET_MAX))
        quiet_eventfd(e);
    return n;
}

/*
 * The ring's own descriptor does not wake who polls it for completions that only its thread can run
 * (DEFER_TASKRUN); a registered eventfd is signalled for those too.
 */
static int uring_engine_fd(struct dk_engine *base)
{
    struct uring_engine *e = (struct uring_engine *)base;
    if (e->eventfd < 0) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
            return -errno;
        int r = io_uring_register_eventfd(&e->ring, fd);
        if (r < 0) {
            close(fd);
            return r;
        }
        e->eventfd = fd;
    }
    return e->eventfd;
}

static void uring_engine_abandon(struct dk_engine *base)
{
    struct uring_engine *e = (struct uring_engine *)base;
    close(e->ring.ring_fd);
    if (e->eventfd >= 0)
        close(e->eventfd);
}

const struct dk_engine_ops dk_engine_uring = {
    .name = "io_uring",
    .bound = true,
    .open = uring_engine_open,
    .close = uring_engine_close,
    .add = uring_engine_add,
    .del = uring_engine_del,
    .flush = uring_engine_flush,
    .poll = uring_engine_poll,
    .fd = uring_engine_fd,
    .abandon = uring_engine_abandon,
};
