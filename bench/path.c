/* SPDX-License-Identifier: MIT */
/*
 * A path between two devices: what one receives, the other sends, both ways.
 *
 *     path SPEC SPEC
 *         until SIGTERM; prints "ready", and at the end what happened to frames of the second
 *         device, whose faults make the path what it is: tx. from the first one, rx. to it.
 *
 * It stands between two hosts, of which it is neither: so the same faults meet whoever sends. It
 * asks for a real-time priority, because what it does late is delay that nobody asked for.
 */
#include "drv/spec.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define BURST      64u
#define HEAD_BYTES 64u
#define NS_PER_S   INT64_C(1000000000)
#define MAX_SLEEP  (NS_PER_S / 10)

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static struct dk_netdev *open_device(const char *spec)
{
    struct dk_netdev *dev;
    const char *why = "";
    if (dk_spec_open(&dev, spec, NULL, &why) == 0)
        return dev;
    fprintf(stderr, "path: %s: %s\n", spec, why);
    exit(2);
}

static struct dk_tx_frame to_send(const struct dk_rx_frame *f)
{
    struct dk_tx_frame out = {.head = f->data, .head_len = f->len};
    if (f->len > HEAD_BYTES) {
        out.head_len = HEAD_BYTES;
        out.num_pieces = 1;
        out.pieces[0] = (struct dk_tx_piece){f->data + HEAD_BYTES, f->len - HEAD_BYTES, f->buf};
    }
    return out;
}

/* Returns how many frames came. What finds no room is dropped, and counted in *dropped. */
static uint32_t pass(struct dk_netdev *from, struct dk_netdev *to, uint64_t *dropped)
{
    struct dk_rx_frame got[BURST];
    uint32_t n = from->ops->rx_burst(from, got, BURST, now_ns());
    for (uint32_t i = 0; i < n; i++) {
        const struct dk_tx_frame frame = to_send(&got[i]);
        *dropped += to->ops->tx_burst(to, &frame, 1, now_ns()) == 0;
        dk_buf_put(got[i].buf);
    }
    return n;
}

static int64_t due_of(struct dk_netdev *dev)
{
    return dev->ops->next_due ? dev->ops->next_due(dev) : INT64_MAX;
}

/* Until a frame comes, or one is due. */
static void sleep_over(struct dk_netdev *a, struct dk_netdev *b)
{
    struct pollfd fds[2] = {{.fd = a->ops->arm(a), .events = POLLIN},
                            {.fd = b->ops->arm(b), .events = POLLIN}};
    int64_t due = due_of(a) < due_of(b) ? due_of(a) : due_of(b), now = now_ns();
    if (fds[0].fd < 0 || fds[1].fd < 0 || due <= now)
        return;
    int64_t ns = due - now < MAX_SLEEP ? due - now : MAX_SLEEP;
    const struct timespec t = {.tv_nsec = ns};
    ppoll(fds, 2, &t, NULL);
}

static void print_end(const struct dk_netdev_stats *s, uint64_t dropped)
{
    printf("frames=%" PRIu64 " back=%" PRIu64 " lost=%" PRIu64 " queue_full=%" PRIu64
           " reordered=%" PRIu64 " marked=%" PRIu64 " unwanted=%" PRIu64 "\n",
           s->tx_frames, s->rx_frames, s->fault_lost, s->fault_queue_full, s->fault_reordered,
           s->fault_marked, dropped + s->fault_overflow + s->rx_dropped + s->tx_dropped);
}

static void be_punctual(void)
{
    const struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first) != 0)
        fprintf(stderr, "path: no real-time priority: %s\n", strerror(errno));
    prctl(PR_SET_TIMERSLACK, 1);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    uint64_t dropped = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: path SPEC SPEC\n");
        return 2;
    }
    struct dk_netdev *a = open_device(argv[1]), *b = open_device(argv[2]);
    sigaction(SIGTERM, &action, NULL);
    be_punctual();
    puts("ready");
    fflush(stdout);
    while (!stop_wanted)
        if (pass(a, b, &dropped) + pass(b, a, &dropped) == 0)
            sleep_over(a, b);
    dropped += a->stats->rx_dropped + a->stats->tx_dropped;
    print_end(b->stats, dropped);
    a->ops->close(a);
    b->ops->close(b);
    return 0;
}
