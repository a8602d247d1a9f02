/* SPDX-License-Identifier: MIT */
/*
 * The poller of the kernel libOS: engine choice and change, polling, sleeping.
 *
 * Blocking happens without the lead, so what it finds goes to an inbox that the next poll reads.
 *
 * Events are dispatched a few at a time, and the application serves those before the next: what was
 * received is still in the cache when it is looked at, and the first peer has its answer while the
 * last one's request is being read.
 */
#include "libos/kernel/kernel.h"

#include "core/thread.h"
#include "libos/kernel/sock.h"
#include "os/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* With at most this many sockets waiting for data, a spinning leader tries them directly. */
#define DIRECT_SOCKETS 2
/* Events that one poll dispatches. */
#define BATCH          8
/* Receive buffers of the usual size in one slab; datagrams of any size share larger ones. */
#define SLAB_PIECES    4
#define DATAGRAM_SLAB  (256u << 10)
/* And asks the engine every so many polls all the same, for connections and for room to send. */
#define DIRECT_POLLS   16

static const char engine_name[] = "kernel.engine";

#define NAME(field, name) name,
static const char *const stat_names[DK_KERNEL_STATS_COUNT] = {DK_KERNEL_STATS(NAME)};

static void kernel_kick(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    eventfd_write(k->kickfd, 1);
    __atomic_store_n(&k->kicked, 1, __ATOMIC_RELEASE);
}

/* Reads the kick. `kicked` is set after the write and taken back before the read, so that a written
 * kickfd, which nobody would sleep over, never stands with `kicked` unset. */
static void take_kick(struct dk_kernel *k)
{
    eventfd_t ignored;
    if (dk_unlikely(__atomic_load_n(&k->kicked, __ATOMIC_RELAXED)) &&
        __atomic_exchange_n(&k->kicked, 0, __ATOMIC_ACQ_REL) &&
        eventfd_read(k->kickfd, &ignored) < 0)
        ignored = 0; /* one read took several writes */
}

static void close_engine(struct dk_engine **e)
{
    if (*e)
        (*e)->ops->close(*e);
    *e = NULL;
}

/* Lets everybody see which engine is in use: the engine itself belongs to who leads. */
static void show_engine(struct dk_kernel *k)
{
    __atomic_store_n(&k->shown_engine, k->engine->ops->name, __ATOMIC_RELAXED);
    dk_statfile_set_text(k->block, k->engine->ops->name);
}

/*
 * A second thread drives the instance: epoll takes over. Data never passes through an engine, and
 * epoll reports what is ready when a socket is added, so nothing is lost. The ring is closed when
 * its thread is certainly not inside.
 */
static void change_engine(struct dk_kernel *k)
{
    struct dk_engine *old = k->engine;
    struct dk_list *l;
    k->engine = k->spare;
    k->spare = NULL;
    k->retired = old;
    dk_list_for_each (l, &k->sockets) {
        struct dk_sock *s = dk_container_of(l, struct dk_sock, all);
        if (!s->watched)
            continue;
        int r = k->engine->ops->add(k->engine, s->fd, s->key);
        if (r < 0)
            dk_log(DK_LOG_ERROR, "cannot watch descriptor %d with epoll: %s", s->q->qd,
                   strerror(-r));
    }
    if (__atomic_load_n(&k->armed, __ATOMIC_ACQUIRE) == old)
        kernel_kick(&k->poller); /* its thread is asleep in it, or about to be */
    dk_instance_eventfd_add(k->inst, k->engine->ops->fd(k->engine));
    show_engine(k);
    dk_count(&k->stats->engine_changes, 1);
    dk_log(DK_LOG_INFO, "a second thread drives the instance: epoll instead of %s", old->ops->name);
}

struct dk_engine *dk_kernel_engine(struct dk_kernel *k)
{
    if (dk_unlikely(k->engine->ops->bound && dk_mt() && k->owner != dk_thread_id()))
        change_engine(k);
    return k->engine;
}

static void close_retired(struct dk_kernel *k)
{
    if (__atomic_load_n(&k->armed, __ATOMIC_ACQUIRE) != k->retired)
        close_engine(&k->retired);
}

static struct dk_sock *find_sock(const struct dk_kernel *k, uint64_t key)
{
    uint32_t fd = (uint32_t)key;
    struct dk_sock *s = key && fd < k->fds_size ? k->by_fd[fd] : NULL;
    return s && s->key == key ? s : NULL;
}

/* Fetches events into an empty inbox, which is the caller's. */
static void fill(struct dk_kernel *k, struct dk_inbox *box, struct dk_engine *e, int64_t timeout_ns)
{
    int n = e->ops->poll(e, box->events, DK_KERNEL_EVENTS, timeout_ns);
    box->serial = __atomic_add_fetch(&k->fills, 1, __ATOMIC_ACQ_REL);
    __atomic_store_n(&box->num, n, __ATOMIC_RELEASE);
}

/* Dispatches some of an inbox's events; false: it was empty. */
static bool dispatch(struct dk_kernel *k, struct dk_inbox *box)
{
    int num = __atomic_load_n(&box->num, __ATOMIC_ACQUIRE);
    int left = num - box->next, n = 0;
    if (num == 0)
        return false;
    for (; n < left && n < BATCH; n++) {
        const struct dk_event *ev = &box->events[box->next + n];
        struct dk_sock *s = find_sock(k, ev->key);
        if (s)
            dk_sock_event(s, ev->events, box->serial);
    }
    box->next += n;
    if (n == left) {
        box->next = 0;
        __atomic_store_n(&box->num, 0, __ATOMIC_RELEASE);
    }
    return true;
}

/* Tries the few sockets that somebody waits for. */
static void poll_directly(struct dk_kernel *k)
{
    struct dk_list *l, *tmp;
    dk_list_for_each_safe (l, tmp, &k->popping)
        dk_sock_receive(dk_container_of(l, struct dk_sock, popping));
    dk_count(&k->stats->direct_polls, 1);
}

static void kernel_poll(struct dk_poller *p, int64_t now, bool spinning)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct dk_engine *e = dk_kernel_engine(k);
    (void)now;
    if (dk_unlikely(k->retired != NULL))
        close_retired(k);
    if (dispatch(k, &k->polled) || dispatch(k, &k->mail))
        return;
    if (spinning && k->num_popping - 1 < DIRECT_SOCKETS && ++k->poll_count % DIRECT_POLLS) {
        poll_directly(k);
        return;
    }
    fill(k, &k->polled, e, 0);
    dispatch(k, &k->polled);
}

static void kernel_arm(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct dk_engine *e = dk_kernel_engine(k);
    e->ops->flush(e);
    /* With events not dispatched yet there is no sleep. */
    __atomic_store_n(&k->armed, k->polled.num ? NULL : e, __ATOMIC_RELEASE);
}

static void kernel_block(struct dk_poller *p, int64_t timeout_ns)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct dk_engine *e = k->armed;
    if (e && __atomic_load_n(&k->mail.num, __ATOMIC_ACQUIRE) == 0)
        fill(k, &k->mail, e, timeout_ns);
    __atomic_store_n(&k->armed, NULL, __ATOMIC_RELEASE);
    take_kick(k);
}

static int kernel_fd(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct dk_engine *e = dk_kernel_engine(k);
    /* A kick that came too late for who blocked would keep the descriptor readable. */
    if (__atomic_load_n(&k->armed, __ATOMIC_ACQUIRE) == NULL)
        take_kick(k);
    e->ops->flush(e);
    return e->ops->fd(e);
}

static bool kernel_backlog(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    return __atomic_load_n(&k->polled.num, __ATOMIC_ACQUIRE) != 0 ||
           __atomic_load_n(&k->mail.num, __ATOMIC_ACQUIRE) != 0;
}

static uint32_t kernel_undrained(struct dk_poller *p)
{
    return __atomic_load_n(&((struct dk_kernel *)p)->undrained, __ATOMIC_RELAXED);
}

/* The reset happens when the descriptor is closed: by kernel_destroy, or by the end of the process.
 */
static void kernel_reset_undrained(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct dk_list *l;
    dk_list_for_each (l, &k->sockets) {
        struct dk_sock *s = dk_container_of(l, struct dk_sock, all);
        if (!dk_list_empty(&s->pushes))
            setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }
}

/* Makes the pool that the sockets of the instance receive into. */
static int open_pool(struct dk_kernel *k)
{
    struct dk_rxpool *pool = dk_rxpool_create(k->options.rx_pool_bytes);
    if (!pool)
        return -ENOMEM;
    k->stream_slab.pool = k->datagram_slab.pool = pool;
    k->stream_slab.bytes = SLAB_PIECES * k->options.rx_buffer_bytes;
    k->datagram_slab.bytes = DATAGRAM_SLAB;
    k->datagram_slab.behind = DK_BUF_PEER_BYTES;
    k->datagram_slab.whole = true;
    return 0;
}

static void close_pool(struct dk_kernel *k)
{
    dk_rxslab_drop(&k->stream_slab);
    dk_rxslab_drop(&k->datagram_slab);
    dk_rxpool_destroy(k->stream_slab.pool);
}

static void kernel_destroy(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct dk_list *l, *tmp;
    dk_list_for_each_safe (l, tmp, &k->sockets) {
        struct dk_sock *s = dk_container_of(l, struct dk_sock, all);
        dk_queue_set_closed(s->q);
        dk_sock_fail_pushes(s, -ECANCELED); /* not sent in time */
        dk_sock_ops.close(s->q);
    }
    close_pool(k);
    close_engine(&k->engine);
    close_engine(&k->spare);
    close_engine(&k->retired);
    close(k->kickfd);
    free(k->by_fd);
    free(k);
}

static void abandon_engine(struct dk_engine *e)
{
    if (e)
        e->ops->abandon(e);
}

static void kernel_abandon(struct dk_poller *p)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    struct dk_list *l;
    dk_list_for_each (l, &k->sockets) {
        close(dk_container_of(l, struct dk_sock, all)->fd);
    }
    abandon_engine(k->engine);
    abandon_engine(k->spare);
    abandon_engine(k->retired);
    close(k->kickfd);
}

static int kernel_stat(struct dk_poller *p, size_t index, const char **name, uint64_t *value,
                       const char **text)
{
    struct dk_kernel *k = (struct dk_kernel *)p;
    if (index > DK_KERNEL_STATS_COUNT)
        return -ENOENT;
    *name = index == 0 ? engine_name : stat_names[index - 1];
    *value = index == 0 ? 0 : __atomic_load_n((uint64_t *)k->stats + index - 1, __ATOMIC_RELAXED);
    *text = index == 0 ? __atomic_load_n(&k->shown_engine, __ATOMIC_RELAXED) : NULL;
    return 0;
}

static const struct dk_poller_ops kernel_poller_ops = {
    .poll = kernel_poll,
    .arm = kernel_arm,
    .block = kernel_block,
    .kick = kernel_kick,
    .fd = kernel_fd,
    .backlog = kernel_backlog,
    .undrained = kernel_undrained,
    .reset_undrained = kernel_reset_undrained,
    .destroy = kernel_destroy,
    .abandon = kernel_abandon,
    .stat = kernel_stat,
};

/* Opens the engine that is asked for, or the best there is. */
static int open_engine(struct dk_kernel *k, const char **why_out)
{
    int r = -ENODEV;
    if (k->options.engine != DK_KERNEL_EPOLL)
        r = dk_engine_uring.open(&k->engine, k->kickfd, why_out);
    if (r == 0)
        return dk_engine_epoll.open(&k->spare, k->kickfd, why_out);
    if (k->options.engine == DK_KERNEL_IO_URING)
        return r;
    if (k->options.engine == DK_KERNEL_AUTO)
        dk_log(DK_LOG_INFO, "%s: using epoll", *why_out);
    return dk_engine_epoll.open(&k->engine, k->kickfd, why_out);
}

/* Puts the counters where other processes can read them; the engine is open. */
static void place_stats(struct dk_kernel *k)
{
    k->block =
        dk_statfile_add(stat_names, DK_KERNEL_STATS_COUNT, engine_name, k->engine->ops->name);
    k->stats = k->block ? (struct dk_kernel_stats *)k->block->counters : &k->own_stats;
    show_engine(k);
}

int dk_kernel_open(struct dk_instance *inst, const struct dk_kernel_options *options,
                   const char **why_out)
{
    struct dk_kernel *k = calloc(1, sizeof(*k)); /* owned by inst, freed by kernel_destroy */
    *why_out = "no memory";
    if (!k)
        return -ENOMEM;
    k->poller.ops = &kernel_poller_ops;
    k->poller.is_quiet = true;
    k->inst = inst;
    k->options = *options;
    k->owner = dk_thread_id();
    dk_list_init(&k->sockets);
    dk_list_init(&k->popping);
    int r;
    k->kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (k->kickfd < 0) {
        r = -errno;
        *why_out = "no file descriptor: raise the limit (ulimit -n)";
        goto fail_kickfd;
    }
    r = open_pool(k);
    if (r < 0)
        goto fail_pool;
    r = open_engine(k, why_out);
    if (r < 0)
        goto fail_engine;
    place_stats(k);
    inst->poller = inst->sockets = &k->poller;
    return 0;
fail_engine:
    close_engine(&k->engine);
    close_pool(k);
fail_pool:
    close(k->kickfd);
fail_kickfd:
    free(k);
    return r;
}

const char *dk_kernel_probe(const char **why_out)
{
    const struct dk_engine_ops *const engines[] = {&dk_engine_uring, &dk_engine_epoll};
    const char *name = "";
    int kickfd = eventfd(0, EFD_CLOEXEC);
    for (size_t i = 0; i < 2 && !*name; i++) {
        struct dk_engine *e = NULL;
        if (engines[i]->open(&e, kickfd, why_out) == 0) {
            close_engine(&e);
            name = engines[i]->name;
        }
    }
    if (kickfd >= 0)
        close(kickfd);
    return name;
}
