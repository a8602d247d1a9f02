/* SPDX-License-Identifier: MIT */
/*
 * The echo over TCP of Linux on loopback (memif.h), nothing of which blocks: one connection is
 * asked directly, over and over; of several, epoll is asked which have something.
 */
#include "echo_epoll.h"
#include "memif.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 256

/* Takes a message that is there whole, as those of 64 bytes are. */
static bool receive(int fd, char message[MEMIF_BYTES])
{
    const ssize_t n = recv(fd, message, MEMIF_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    memif_must(n == MEMIF_BYTES, "the other side is gone");
    return true;
}

static void send_message(int fd, const char message[MEMIF_BYTES])
{
    memif_must(send(fd, message, MEMIF_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT) == MEMIF_BYTES,
               "a message was not sent");
}

static void serve_one(int listen_fd)
{
    struct pollfd asked = {.fd = listen_fd, .events = POLLIN};
    const int one = 1;
    char message[MEMIF_BYTES];
    poll(&asked, 1, -1);
    const int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    memif_must(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0,
               "no connection");
    for (;;)
        if (receive(fd, message))
            send_message(fd, message);
}

void memif_linux_serve(uint32_t connections)
{
    uint16_t port = 0;
    const int fd = echo_epoll_listen(0, &port);
    memif_must(fd >= 0, "it does not listen");
    printf("%u\n", port);
    memif_ready();
    if (connections == 1)
        serve_one(fd);
    echo_epoll_serve(fd, true);
    memif_must(false, "epoll");
    _exit(1);
}

static int connect_to(uint16_t port)
{
    const struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    memif_must(fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                   setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0,
               "no connection");
    return fd;
}

static int fds[MEMIF_CONNECTIONS_MAX];

/* A message that is back is checked, and the next one sent; false: enough were. */
static bool go_on(uint32_t connection, char message[MEMIF_BYTES])
{
    memif_check(connection, message, MEMIF_BYTES);
    memif_number(connection, message);
    send_message(fds[connection], message);
    return memif_count();
}

static void ask_one(void)
{
    char message[MEMIF_BYTES];
    do {
        while (!receive(fds[0], message))
            ;
    } while (go_on(0, message));
}

static void ask_many(int epoll_fd)
{
    struct epoll_event events[EVENTS_MAX];
    char message[MEMIF_BYTES];
    for (;;) {
        const int n = epoll_wait(epoll_fd, events, EVENTS_MAX, 0);
        for (int i = 0; i < n; i++)
            if (receive(fds[events[i].data.u32], message) && !go_on(events[i].data.u32, message))
                return;
    }
}

void memif_linux_ask(uint16_t port, uint32_t connections)
{
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    char message[MEMIF_BYTES] = {0};
    for (uint32_t i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        fds[i] = connect_to(port);
        memif_must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &event) == 0, "epoll");
        memif_number(i, message);
        send_message(fds[i], message);
    }
    if (connections == 1)
        ask_one();
    else
        ask_many(epoll_fd);
}
