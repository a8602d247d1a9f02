/* SPDX-License-Identifier: MIT */
/*
 * Load for a relay, over plain sockets: a client thread, and a target thread behind the relay.
 *
 *     relay-load bulk|small CONNECTIONS SECONDS
 *
 * It prints "target PORT", reads the relay's port, and prints a number: bytes per second that came
 * through (64 KiB writes), or requests of 64 bytes that were answered per second, one at a time on
 * each connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BULK_BYTES      65536
#define SMALL_BYTES     64
#define MAX_EVENTS      64
#define MAX_CONNECTIONS 1024
#define WARM_SECONDS    0.3

static struct {
    bool bulk;
    int connections;
    double seconds;
    int listener;
    atomic_ullong received; /* bytes at the target */
    atomic_ullong answered;
    atomic_bool stop;
} load;

static void fail(const char *what)
{
    fprintf(stderr, "relay-load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void watch(int ep, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
        fail("epoll_ctl");
}

/* The target: swallows, or answers what it got. */
static void serve(int fd)
{
    static char buf[4 * BULK_BYTES];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n > 0) {
        atomic_fetch_add(&load.received, (unsigned long long)n);
        if (!load.bulk && send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
            fail("send of the target");
    } else if (n == 0 || errno != EAGAIN) {
        close(fd);
    }
}

static void *run_target(void *arg)
{
    struct epoll_event events[MAX_EVENTS];
    int ep = epoll_create1(0);
    (void)arg;
    watch(ep, load.listener, EPOLLIN);
    while (!atomic_load(&load.stop)) {
        int n = epoll_wait(ep, events, MAX_EVENTS, 100);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != load.listener)
                serve(fd);
            else if ((fd = accept4(load.listener, NULL, NULL, 0)) >= 0)
                watch(ep, fd, EPOLLIN);
        }
    }
    return NULL;
}

/* The client's turn on a connection that is ready. */
static void ask(int fd)
{
    static char buf[BULK_BYTES];
    ssize_t n;
    if (load.bulk) {
        do
            n = send(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n == BULK_BYTES && !atomic_load(&load.stop));
        return;
    }
    n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        fail("a connection ended");
    if (n < 0)
        return;
    atomic_fetch_add(&load.answered, 1);
    if (send(fd, buf, SMALL_BYTES, MSG_NOSIGNAL) != SMALL_BYTES)
        fail("send");
}

static int connect_to(int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        fail("connect");
    return fd;
}

static void *run_client(void *arg)
{
    static const char request[SMALL_BYTES];
    struct epoll_event events[MAX_EVENTS];
    int ep = epoll_create1(0), port = *(int *)arg;
    for (int i = 0; i < load.connections; i++) {
        int fd = connect_to(port);
        watch(ep, fd, load.bulk ? EPOLLOUT : EPOLLIN);
        if (!load.bulk && send(fd, request, SMALL_BYTES, MSG_NOSIGNAL) != SMALL_BYTES)
            fail("send");
    }
    while (!atomic_load(&load.stop)) {
        int n = epoll_wait(ep, events, MAX_EVENTS, 100);
        for (int i = 0; i < n; i++)
            ask(events[i].data.fd);
    }
    return NULL;
}

static void sleep_s(double s)
{
    struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

static int listen_anywhere(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    load.listener = socket(AF_INET, SOCK_STREAM, 0);
    if (load.listener < 0 || bind(load.listener, (struct sockaddr *)&addr, len) < 0 ||
        listen(load.listener, MAX_CONNECTIONS) < 0 ||
        getsockname(load.listener, (struct sockaddr *)&addr, &len) < 0)
        fail("listen");
    return ntohs(addr.sin_port);
}

int main(int argc, char **argv)
{
    pthread_t target, client;
    int port;
    if (argc != 4)
        return 2;
    load.bulk = strcmp(argv[1], "bulk") == 0;
    load.connections = atoi(argv[2]);
    load.seconds = atof(argv[3]);
    printf("target %d\n", listen_anywhere());
    fflush(stdout);
    if (scanf("%d", &port) != 1)
        return 2;
    pthread_create(&target, NULL, run_target, NULL);
    pthread_create(&client, NULL, run_client, &port);
    sleep_s(WARM_SECONDS);
    atomic_ullong *counter = load.bulk ? &load.received : &load.answered;
    double start = now_s();
    unsigned long long before = atomic_load(counter);
    sleep_s(load.seconds);
    double rate = (double)(atomic_load(counter) - before) / (now_s() - start);
    atomic_store(&load.stop, true);
    printf("%.0f\n", rate);
    return 0;
}
