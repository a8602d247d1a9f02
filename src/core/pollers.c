/* SPDX-License-Identifier: MIT */
/*
 * A poller over several (pollers.h).
 *
 * Who blocks has armed before, under the lead, and sleeps over the descriptors that arm noted, or
 * in `one`. They say when a child is due, too. Who kicks sets `kicked` and then looks at `one`; who
 * blocks has set `one` and then looks at `kicked`: one of the two sees the other. `kicked` is set
 * after kickfd is written, and taken back before it is read, so that kickfd never stays written
 * with `kicked` unset.
 */
#include "core/pollers.h"

#include "core/wait.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct child {
    struct dk_poller *poller; /* owned */
    size_t num_stats;
    int fd;      /* as armed */
    int watched; /* the descriptor in epfd, or -1 */
};

struct pollers {
    struct dk_poller poller;
    struct child children[DK_POLLERS_MAX];
    uint32_t num;
    uint32_t kicked;
    bool armed;    /* there is nothing to act on but what the descriptors tell; of who blocks */
    bool blocking; /* between arm and the end of block */
    struct dk_poller *one; /* the child to sleep in, set by arm; NULL: over all. Of who blocks */
    int kickfd;
    int epfd; /* over all descriptors, for who asks for one */
};

/* For each child c of p. */
#define FOR_EACH(c, p)                                                                             \
    for (struct child *c = ((struct pollers *)(p))->children,                                      \
                      *c##_end = c + ((struct pollers *)(p))->num;                                 \
         c < c##_end; c++)

static void pollers_poll(struct dk_poller *p, int64_t now, bool spinning)
{
    FOR_EACH(c, p)
    c->poller->ops->poll(c->poller, now, spinning);
}

static bool pollers_backlog(struct dk_poller *p)
{
    FOR_EACH(c, p)
    if (c->poller->ops->backlog(c->poller))
        return true;
    return false;
}

/* The only child that something may happen to. NULL: there are several. */
static struct dk_poller *only_one(struct pollers *all)
{
    struct dk_poller *one = NULL;
    FOR_EACH(c, all)
    {
        if (c->poller->is_quiet && c->poller->queues == 0)
            continue;
        if (one)
            return NULL;
        one = c->poller;
    }
    return one;
}

/* Has all children's descriptors ready to sleep over: whether that is possible. */
static bool arm_all(struct pollers *all)
{
    bool armed = true;
    FOR_EACH(c, all)
    {
        c->fd = c->poller->ops->fd(c->poller);
        armed = armed && c->fd >= 0;
    }
    return armed;
}

static void pollers_arm(struct dk_poller *p)
{
    struct pollers *all = (struct pollers *)p;
    const bool backlog = pollers_backlog(p);
    struct dk_poller *one = backlog ? NULL : only_one(all);
    __atomic_store_n(&all->one, one, __ATOMIC_SEQ_CST);
    if (one)
        one->ops->arm(one);
    else
        all->armed = arm_all(all) && !backlog;
    __atomic_store_n(&all->blocking, true, __ATOMIC_RELEASE);
}

static void take_kick(struct pollers *all)
{
    eventfd_t ignored;
    if (dk_unlikely(__atomic_load_n(&all->kicked, __ATOMIC_RELAXED)) &&
        __atomic_exchange_n(&all->kicked, 0, __ATOMIC_ACQ_REL) &&
        eventfd_read(all->kickfd, &ignored) < 0)
        ignored = 0; /* one read took several writes */
}

static void block_in(struct pollers *all, struct dk_poller *one, int64_t timeout_ns)
{
    const bool kicked = __atomic_load_n(&all->kicked, __ATOMIC_SEQ_CST) != 0;
    one->ops->block(one, kicked ? 0 : timeout_ns);
    __atomic_store_n(&all->one, NULL, __ATOMIC_RELEASE);
}

static void block_over_all(struct pollers *all, int64_t timeout_ns)
{
    struct pollfd fds[DK_POLLERS_MAX + 1] = {{.fd = all->kickfd, .events = POLLIN}};
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    nfds_t n = 1;
    FOR_EACH(c, all)
    fds[n++] = (struct pollfd){.fd = c->fd, .events = POLLIN};
    if (all->armed)
        ppoll(fds, n, timeout_ns < 0 ? NULL : &ts, NULL);
}

static void pollers_block(struct dk_poller *p, int64_t timeout_ns)
{
    struct pollers *all = (struct pollers *)p;
    struct dk_poller *one = all->one;
    if (one)
        block_in(all, one, timeout_ns);
    else
        block_over_all(all, timeout_ns);
    __atomic_store_n(&all->blocking, false, __ATOMIC_RELEASE);
    take_kick(all);
}

static void pollers_kick(struct dk_poller *p)
{
    struct pollers *all = (struct pollers *)p;
    eventfd_write(all->kickfd, 1);
    __atomic_store_n(&all->kicked, 1, __ATOMIC_SEQ_CST);
    struct dk_poller *one = __atomic_load_n(&all->one, __ATOMIC_SEQ_CST);
    if (one)
        one->ops->kick(one);
}

static int watch(const struct pollers *all, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN};
    return epoll_ctl(all->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 && errno != EEXIST ? -errno : 0;
}

static int pollers_fd(struct dk_poller *p)
{
    struct pollers *all = (struct pollers *)p;
    /* A kick that came too late for who blocked would keep the descriptor readable. */
    if (!__atomic_load_n(&all->blocking, __ATOMIC_ACQUIRE))
        take_kick(all);
    FOR_EACH(c, p)
    {
        int fd = c->poller->ops->fd(c->poller);
        int r = fd < 0 ? fd : fd == c->watched ? 0 : watch(all, fd);
        if (r < 0)
            return r;
        c->watched = fd;
    }
    return all->epfd;
}

static void pollers_end(struct dk_poller *p)
{
    FOR_EACH(c, p)
    if (c->poller->ops->end)
        c->poller->ops->end(c->poller);
}

static uint32_t pollers_undrained(struct dk_poller *p)
{
    uint32_t n = 0;
    FOR_EACH(c, p)
    n += c->poller->ops->undrained(c->poller);
    return n;
}

static void pollers_reset_undrained(struct dk_poller *p)
{
    FOR_EACH(c, p)
    c->poller->ops->reset_undrained(c->poller);
}

static void pollers_last_words(struct dk_poller *p)
{
    FOR_EACH(c, p)
    if (c->poller->ops->last_words)
        c->poller->ops->last_words(c->poller);
}

static void close_own(struct pollers *all)
{
    if (all->kickfd >= 0)
        close(all->kickfd);
    if (all->epfd >= 0)
        close(all->epfd);
}

static void pollers_destroy(struct dk_poller *p)
{
    FOR_EACH(c, p)
    c->poller->ops->destroy(c->poller);
    close_own((struct pollers *)p);
    free(p);
}

static void pollers_abandon(struct dk_poller *p)
{
    FOR_EACH(c, p)
    c->poller->ops->abandon(c->poller);
    close_own((struct pollers *)p);
}

static int pollers_stat(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                        const char **text)
{
    FOR_EACH(c, p)
    {
        if (index < c->num_stats)
            return c->poller->ops->stat(c->poller, index, name, value, text);
        index -= c->num_stats;
    }
    return -ENOENT;
}

static const struct dk_poller_ops pollers_ops = {
    .poll = pollers_poll,
    .arm = pollers_arm,
    .block = pollers_block,
    .kick = pollers_kick,
    .fd = pollers_fd,
    .backlog = pollers_backlog,
    .end = pollers_end,
    .undrained = pollers_undrained,
    .reset_undrained = pollers_reset_undrained,
    .last_words = pollers_last_words,
    .destroy = pollers_destroy,
    .abandon = pollers_abandon,
    .stat = pollers_stat,
};

static size_t count_stats(struct dk_poller *p)
{
    const char *name, *text;
    uint64_t value;
    size_t n = 0;
    while (p->ops->stat(p, n, &name, &value, &text) == 0)
        n++;
    return n;
}

static void add_child(struct pollers *all, struct dk_poller *p)
{
    all->children[all->num] =
        (struct child){.poller = p, .num_stats = count_stats(p), .fd = -1, .watched = -1};
    __atomic_store_n(&all->num, all->num + 1, __ATOMIC_RELEASE); /* at_exit may interrupt this */
    p->over = &all->poller;
    dk_poller_add_queues(&all->poller, (int)p->queues);
}

static int open_pollers(struct pollers **all_out)
{
    struct pollers *all = calloc(1, sizeof(*all)); /* owned by the instance: pollers_destroy */
    if (!all)
        return -ENOMEM;
    all->poller.ops = &pollers_ops;
    all->kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    all->epfd = epoll_create1(EPOLL_CLOEXEC);
    int r = all->kickfd < 0 || all->epfd < 0 ? -errno : watch(all, all->kickfd);
    if (r < 0) {
        close_own(all);
        free(all);
        return r;
    }
    *all_out = all;
    return 0;
}

/* p takes the place of inst's poller. */
static void put_in_place(struct dk_instance *inst, struct dk_poller *p)
{
    dk_lock(&inst->tokens); /* who wakes a sleeper looks at it there */
    __atomic_store_n(&inst->poller, p, __ATOMIC_RELEASE);
    dk_unlock(&inst->tokens);
}

/* A poller over inst's one and p. */
static int put_over(struct dk_instance *inst, struct dk_poller *p)
{
    struct dk_poller *first = inst->poller;
    struct pollers *all;
    int r = open_pollers(&all);
    if (r < 0)
        return r;
    add_child(all, first);
    add_child(all, p);
    put_in_place(inst, &all->poller);
    first->ops->kick(first);
    return 0;
}

int dk_instance_add_poller(struct dk_instance *inst, struct dk_poller *p)
{
    struct dk_poller *now = inst->poller;
    int r = 0;
    if (!now) {
        put_in_place(inst, p);
    } else if (now->ops != &pollers_ops) {
        r = put_over(inst, p);
    } else if (((struct pollers *)now)->num < DK_POLLERS_MAX) {
        add_child((struct pollers *)now, p);
        now->ops->kick(now);
    } else {
        r = -ENOSPC;
    }
    if (r == 0 && inst->eventfd >= 0) {
        int fd = inst->poller->ops->fd(inst->poller);
        if (fd >= 0)
            dk_instance_eventfd_add(inst, fd);
    }
    return r;
}
