/* SPDX-License-Identifier: MIT */
/*
 * Files and block devices where io_uring is forbidden: a few threads that call preadv2 and pwritev2
 * (blk_file.h).
 *
 * They take I/Os from `todo`, and put them on `done`, under one lock. Who is about to sleep sets
 * `armed` under it; the next that is done is told by the eventfd. Signals are blocked in them.
 */
#include "drv/blk_target.h"

#include "drv/blk_file.h"
#include "drv/blk_io.h"
#include "drv/why.h"
#include "mem/heap.h"
#include "os/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define WORKERS 8u

struct dk_blk_threads {
    struct dk_blk_file file;
    uint32_t in_flight; /* the user's */
    int event_fd;
    uint32_t num_workers;
    pthread_t workers[WORKERS];
    pthread_mutex_t lock; /* over the rest */
    pthread_cond_t has_todo, has_done;
    struct dk_blk_queue todo, done;
    bool armed, stopping;
};

static struct dk_blk_threads *threads_of(struct dk_blkdev *dev)
{
    return dk_container_of(dk_blk_file_of(dev), struct dk_blk_threads, file);
}

/* One system call: bytes moved, or a negative errno. */
static ssize_t transfer_some(int fd, const struct dk_blk_io *io, const struct iovec iov[],
                             uint32_t num, uint64_t done)
{
    const off_t at = (off_t)(io->offset + done);
    const ssize_t n = io->op == DK_BLK_READ
                          ? preadv(fd, iov, (int)num, at)
                          : pwritev2(fd, iov, (int)num, at, io->flags & DK_BLK_FUA ? RWF_DSYNC : 0);
    return n < 0 ? -errno : n;
}

/* Takes n bytes off the front of iov[0] to iov[num - 1]; returns how many are done with. */
static uint32_t advance(struct iovec iov[], uint32_t num, size_t n)
{
    uint32_t i = 0;
    for (; i < num && n >= iov[i].iov_len; i++)
        n -= iov[i].iov_len;
    if (n > 0) {
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + n;
        iov[i].iov_len -= n;
    }
    return i;
}

static int transfer(int fd, const struct dk_blk_io *io)
{
    struct iovec iov[DK_BLK_SEGS_MAX];
    uint32_t first = 0;
    uint64_t done = 0;
    for (uint32_t i = 0; i < io->num_segs; i++)
        iov[i] = (struct iovec){io->segs[i].data, io->segs[i].len};
    while (done < io->bytes) {
        ssize_t n = transfer_some(fd, io, &iov[first], io->num_segs - first, done);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? (int)n : -EIO; /* 0: the file was made shorter by somebody else */
        first += advance(&iov[first], io->num_segs - first, (size_t)n);
        done += (uint64_t)n;
    }
    return 0;
}

static int discard(const struct dk_blk_target *t, const struct dk_blk_io *io)
{
    if (!t->is_block || fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  (off_t)io->offset, (off_t)io->bytes) == 0)
        return 0;
    return errno == EOPNOTSUPP ? 0 : -errno;
}

static int carry_out(const struct dk_blk_target *t, const struct dk_blk_io *io)
{
    switch (io->op) {
    case DK_BLK_FLUSH:
        return fdatasync(t->fd) < 0 ? -errno : 0;
    case DK_BLK_DISCARD:
        return discard(t, io);
    default:
        return transfer(t->fd, io);
    }
}

/* With the lock: waits for the next I/O; NULL at the end. */
static struct dk_blk_io *next(struct dk_blk_threads *t)
{
    while (!t->todo.first && !t->stopping)
        pthread_cond_wait(&t->has_todo, &t->lock);
    return dk_blk_queue_take(&t->todo);
}

/* With the lock. */
static void put_done(struct dk_blk_threads *t, struct dk_blk_io *io)
{
    dk_blk_queue_add(&t->done, io);
    pthread_cond_signal(&t->has_done);
    if (t->armed)
        eventfd_write(t->event_fd, 1);
    t->armed = false;
}

static void *work(void *arg)
{
    struct dk_blk_threads *t = arg;
    struct dk_blk_io *io;
    pthread_mutex_lock(&t->lock);
    while ((io = next(t)) != NULL) {
        pthread_mutex_unlock(&t->lock);
        io->device[0] = (uint64_t)(int64_t)carry_out(&t->file.target, io);
        pthread_mutex_lock(&t->lock);
        put_done(t, io);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static int submit(struct dk_blkdev *dev, struct dk_blk_io *io)
{
    struct dk_blk_threads *t = threads_of(dev);
    int r = dk_blk_check(dev, io);
    if (r < 0)
        return r;
    if (t->in_flight == dev->caps.depth)
        return -EAGAIN;
    t->in_flight++;
    pthread_mutex_lock(&t->lock);
    dk_blk_queue_add(&t->todo, io);
    pthread_cond_signal(&t->has_todo);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

/* Takes all that is done off the list, and completes it. */
static uint32_t reap(struct dk_blk_threads *t, bool wait)
{
    struct dk_blk_io *io;
    uint32_t n = 0;
    if (t->in_flight == 0)
        return 0;
    pthread_mutex_lock(&t->lock);
    while (wait && !t->done.first)
        pthread_cond_wait(&t->has_done, &t->lock);
    struct dk_blk_queue done = t->done;
    t->done.first = NULL;
    pthread_mutex_unlock(&t->lock);
    for (; (io = dk_blk_queue_take(&done)) != NULL; n++) {
        t->in_flight--;
        dk_blk_complete(&t->file.dev, io, dk_blk_error((int)(int64_t)io->device[0]));
    }
    return n;
}

static uint32_t poll(struct dk_blkdev *dev, int64_t now)
{
    (void)now;
    return reap(threads_of(dev), false);
}

static uint32_t wait(struct dk_blkdev *dev)
{
    return reap(threads_of(dev), true);
}

static int arm(struct dk_blkdev *dev)
{
    struct dk_blk_threads *t = threads_of(dev);
    eventfd_t ignored;
    pthread_mutex_lock(&t->lock);
    if (eventfd_read(t->event_fd, &ignored) < 0)
        ignored = 0; /* nothing was told since */
    t->armed = !t->done.first;
    bool is_armed = t->armed;
    pthread_mutex_unlock(&t->lock);
    return is_armed ? t->event_fd : -1;
}

static void release(struct dk_blk_threads *t)
{
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->has_todo);
    pthread_mutex_unlock(&t->lock);
    for (uint32_t i = 0; i < t->num_workers; i++)
        pthread_join(t->workers[i], NULL);
    if (t->event_fd >= 0)
        close(t->event_fd);
    pthread_cond_destroy(&t->has_done);
    pthread_cond_destroy(&t->has_todo);
    pthread_mutex_destroy(&t->lock);
    dk_heap_free(t);
}

static void close_threads(struct dk_blkdev *dev)
{
    struct dk_blk_threads *t = threads_of(dev);
    while (reap(t, true) > 0)
        continue;
    struct dk_blk_target target = t->file.target;
    release(t);
    dk_blk_target_close(&target);
}

static void abandon(struct dk_blkdev *dev)
{
    struct dk_blk_threads *t = threads_of(dev);
    close(t->event_fd);
    close(t->file.target.fd);
}

static const struct dk_blkdev_ops fixed_ops = {
    .name = "blk_threads",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .close = close_threads,
    .abandon = abandon,
};

static const struct dk_blkdev_ops growing_ops = {
    .name = "blk_threads",
    .submit = submit,
    .poll = poll,
    .wait = wait,
    .arm = arm,
    .resize = dk_blk_file_resize,
    .extend = dk_blk_file_extend,
    .close = close_threads,
    .abandon = abandon,
};

/* Signals are the application's threads' matter. */
static int start_workers(struct dk_blk_threads *t)
{
    sigset_t all, before;
    int r = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    while (r == 0 && t->num_workers < WORKERS) {
        r = -pthread_create(&t->workers[t->num_workers], NULL, work, t);
        t->num_workers += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return t->num_workers > 0 ? 0 : r; /* a few do, too */
}

int dk_blk_threads_start(struct dk_blkdev **dev_out, const struct dk_blk_target *target,
                         const struct dk_blk_file_options *options, const char **why_out)
{
    struct dk_blk_threads *t = dk_heap_zalloc(sizeof(*t));
    if (!t)
        return dk_why(why_out, -ENOMEM, "%s: no memory", options->path);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->has_todo, NULL);
    pthread_cond_init(&t->has_done, NULL);
    dk_blkdev_init(&t->file.dev, target->caps.flags & DK_BLKDEV_GROWS ? &growing_ops : &fixed_ops);
    t->file.dev.caps = target->caps;
    t->file.target = *target;
    t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = t->event_fd < 0 ? -errno : start_workers(t);
    if (r < 0) {
        release(t);
        return dk_why(why_out, r, "%s: cannot start threads: %s", options->path, strerror(-r));
    }
    *dev_out = &t->file.dev;
    return 0;
}
