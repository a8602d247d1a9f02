/* SPDX-License-Identifier: MIT */
/*
 * The epoll echo server is as good as one is commonly written: non-blocking sockets, TCP_NODELAY,
 * one recv and one send per readiness, events taken in batches. Level-triggered, so that a short
 * read needs no second recv to see that nothing is left.
 *
 * The client keeps one message per connection under way. One connection is read by spinning on recv
 * itself; several through epoll without sleeping. It is the same for both servers.
 */
#include "echo_epoll.h"

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX   256
#define BUFFER_BYTES 16384
#define SAMPLES_MAX  (1u << 20)
#define PATIENCE_NS  UINT64_C(2000000000)
#define SLICE_NS     1000000
#define SLICES_MAX   60001
#define LISTENER     UINT32_MAX /* in place of a descriptor, in epoll data */

static struct sockaddr_in address_of(uint32_t address, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = address ? address : htonl(INADDR_LOOPBACK)};
}

static int set_nodelay(int fd)
{
    int one = 1;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 ? 0 : -errno;
}

static int add_to_epoll(int epoll_fd, int fd, uint32_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = data};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

/* ---- The server. */

int echo_epoll_listen(uint32_t address, uint16_t *port_out)
{
    struct sockaddr_in addr = address_of(address, 0);
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, ECHO_CONNECTIONS_MAX) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    *port_out = ntohs(addr.sin_port);
    return fd;
}

static int accept_all(int epoll_fd, int listen_fd)
{
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR ? 0 : -errno;
        int err = set_nodelay(fd);
        if (err == 0)
            err = add_to_epoll(epoll_fd, fd, (uint32_t)fd);
        if (err != 0)
            return err;
    }
}

/* Sends all of it; waits for room, which one message per connection never needs. */
static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return false;
        } else if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static void echo_once(int fd)
{
    char buffer[BUFFER_BYTES];
    ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || !send_all(fd, buffer, (size_t)n))
        close(fd); /* which takes it out of the epoll set too */
}

int echo_epoll_serve(int listen_fd, bool spin)
{
    struct epoll_event events[EVENTS_MAX];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int err = epoll_fd < 0 ? -errno : add_to_epoll(epoll_fd, listen_fd, LISTENER);
    while (err == 0) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, spin ? 0 : -1);
        if (n < 0 && errno != EINTR)
            err = -errno;
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == LISTENER)
                err = accept_all(epoll_fd, listen_fd);
            else
                echo_once((int)events[i].data.u32);
        }
    }
    if (epoll_fd >= 0)
        close(epoll_fd);
    return err;
}

/* ---- The client. */

struct client_conn {
    int fd;
    uint32_t received; /* bytes of the reply under way */
    uint64_t sent_ns;
    char message[ECHO_BYTES];
};

struct client {
    const struct echo_load *load;
    struct client_conn conns[ECHO_CONNECTIONS_MAX];
    size_t num_conns;
    int epoll_fd;
    bool measuring;
    uint64_t answered; /* while measuring */
    uint32_t *samples; /* round trips in ns; those beyond SAMPLES_MAX count, but are not kept */
    uint64_t last_ns;  /* when the last reply came */
    uint64_t request;  /* so that every message differs */
    double slices[SLICES_MAX]; /* requests per second of each ms */
    size_t num_slices;
    uint64_t slice_ns;       /* when the present slice began */
    uint64_t slice_answered; /* what was answered before it */
};

static int connect_one(struct client *client, struct client_conn *conn)
{
    struct sockaddr_in addr = address_of(client->load->address, client->load->port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    conn->fd = fd;
    client->num_conns++;
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
        return -errno;
    int err = set_nodelay(fd);
    return err != 0 ? err : add_to_epoll(client->epoll_fd, fd, (uint32_t)(conn - client->conns));
}

static int send_request(struct client *client, struct client_conn *conn)
{
    memset(conn->message, (int)(client->request & 0xff), ECHO_BYTES);
    memcpy(conn->message, &client->request, sizeof(client->request));
    client->request++;
    conn->received = 0;
    conn->sent_ns = bench_now_ns();
    ssize_t n = send(conn->fd, conn->message, ECHO_BYTES, MSG_NOSIGNAL);
    return n == ECHO_BYTES ? 0 : -(n < 0 ? errno : EIO);
}

/* Rates are taken per slice, and their median is the rate: a slice in which something else ran on
 * these CPUs does not count. It ends with the first reply after its time, so a client or server
 * that was off its CPU for several slices spoils one. */
static void finish_slice(struct client *client, uint64_t now)
{
    uint64_t answered = client->answered - client->slice_answered;
    if (client->num_slices < SLICES_MAX)
        client->slices[client->num_slices++] =
            (double)answered * 1e9 / (double)(now - client->slice_ns);
    client->slice_ns = now;
    client->slice_answered = client->answered;
}

static void finish_request(struct client *client, const struct client_conn *conn, uint64_t now)
{
    client->last_ns = now;
    if (!client->measuring)
        return;
    if (client->answered < SAMPLES_MAX)
        client->samples[client->answered] = (uint32_t)(now - conn->sent_ns);
    client->answered++;
    if (now >= client->slice_ns + SLICE_NS)
        finish_slice(client, now);
}

/* Takes what a connection has of its reply, and sends the next message when it is whole. */
static int receive(struct client *client, struct client_conn *conn)
{
    char reply[ECHO_BYTES];
    ssize_t n = recv(conn->fd, reply, ECHO_BYTES - conn->received, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0)
        return n == 0 ? -ECONNRESET : -errno;
    uint64_t now = bench_now_ns();
    if (memcmp(reply, conn->message + conn->received, (size_t)n) != 0)
        return -EBADMSG;
    conn->received += (uint32_t)n;
    if (conn->received < ECHO_BYTES)
        return 0;
    finish_request(client, conn, now);
    return send_request(client, conn);
}

static int receive_ready(struct client *client)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(client->epoll_fd, events, EVENTS_MAX, 0);
    for (int i = 0; i < n; i++) {
        int err = receive(client, &client->conns[events[i].data.u32]);
        if (err != 0)
            return err;
    }
    return n < 0 && errno != EINTR ? -errno : 0;
}

/* Loads the server until end_ns. The clock is read with each reply; without one, now and then. */
static int load_until(struct client *client, uint64_t end_ns)
{
    uint64_t now = bench_now_ns();
    client->last_ns = now;
    for (uint32_t turn = 1; now < end_ns; turn++) {
        int err =
            client->num_conns == 1 ? receive(client, &client->conns[0]) : receive_ready(client);
        if (err != 0)
            return err;
        now = turn % 64 == 0 ? bench_now_ns() : client->last_ns;
        if (now > client->last_ns + PATIENCE_NS)
            return -ETIMEDOUT;
    }
    return 0;
}

static int start(struct client *client)
{
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    client->samples = malloc(SAMPLES_MAX * sizeof(*client->samples));
    if (client->epoll_fd < 0 || client->samples == NULL)
        return client->epoll_fd < 0 ? -errno : -ENOMEM;
    for (size_t i = 0; i < client->load->connections; i++) {
        int err = connect_one(client, &client->conns[i]);
        if (err != 0)
            return err;
    }
    for (size_t i = 0; i < client->num_conns; i++) {
        int err = send_request(client, &client->conns[i]);
        if (err != 0)
            return err;
    }
    return load_until(client, bench_now_ns() + client->load->warmup_ns);
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double median_sample(struct client *client)
{
    size_t n = client->answered < SAMPLES_MAX ? client->answered : SAMPLES_MAX;
    qsort(client->samples, n, sizeof(*client->samples), compare_samples);
    return n == 0 ? 0 : client->samples[n / 2];
}

/* CPU time of a process in nanoseconds, 0 if it is gone. */
static uint64_t cpu_time(pid_t pid)
{
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return 0;
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static int measure(struct client *client, struct echo_figures *out)
{
    uint64_t cpu_ns = cpu_time(client->load->server);
    uint64_t own_ns = cpu_time(getpid());
    uint64_t start_ns = bench_now_ns();
    client->measuring = true;
    client->slice_ns = start_ns;
    int err = load_until(client, start_ns + client->load->measure_ns);
    uint64_t elapsed_ns = bench_now_ns() - start_ns;
    if (err != 0)
        return err;
    if (client->num_slices == 0)
        return -ETIMEDOUT;
    cpu_ns = cpu_time(client->load->server) - cpu_ns;
    *out = (struct echo_figures){
        .p50_ns = median_sample(client),
        .per_second = bench_median(client->slices, client->num_slices),
        .cpu_ns = (double)cpu_ns / (double)client->answered,
        .share = (double)(cpu_time(getpid()) - own_ns) / (double)elapsed_ns,
    };
    return 0;
}

int echo_client_run(const struct echo_load *load, struct echo_figures *out)
{
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL || load->connections > ECHO_CONNECTIONS_MAX) {
        free(client);
        return client == NULL ? -ENOMEM : -EINVAL;
    }
    client->load = load;
    int err = start(client);
    if (err == 0)
        err = measure(client, out);
    for (size_t i = 0; i < client->num_conns; i++)
        close(client->conns[i].fd);
    if (client->epoll_fd >= 0)
        close(client->epoll_fd);
    free(client->samples);
    free(client);
    return err;
}
