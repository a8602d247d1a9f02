/* SPDX-License-Identifier: MIT */
/*
 * A plain key-value server over epoll: what demi-kv is compared with.
 *
 * One thread, non-blocking sockets, level-triggered epoll that sleeps when nothing comes. It is as
 * good as such a server is commonly written: each turn reads what a socket has, answers every whole
 * command in it, and sends all replies by one system call. It speaks the part of RESP that the
 * comparison needs (GET, SET without options, DEL, PING, CONFIG) and keeps everything in memory.
 *
 *   epoll-kv [--bind ADDRESS] [--port PORT]      prints "ready on ADDRESS:PORT"
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX     256
#define ARGS_MAX       16
#define BULK_MAX       (64u << 20)
#define LINE_MAX_BYTES 64           /* "*N" or "$N" with its end */
#define READ_BYTES     (16u << 10)  /* what one turn of one connection reads */
#define UNSENT_MAX     (1u << 20)   /* replies a client has not read: above, it is not read from */
#define BUFFER_KEEP    (256u << 10) /* an idle connection gives back a larger buffer */

static void *must(void *p)
{
    if (p == NULL) {
        fprintf(stderr, "epoll-kv: out of memory\n");
        exit(1);
    }
    return p;
}

/* ---- Table: chained buckets, doubled when as many entries as buckets. */

struct entry {
    struct entry *next;
    uint64_t hash;
    uint32_t key_len, value_len;
    char bytes[]; /* key, then value */
};

struct slice {
    const char *bytes;
    uint32_t len;
};

static struct {
    struct entry **buckets;
    size_t mask, count;
    uint64_t seed;
} table;

static uint64_t hash_of(struct slice key)
{
    uint64_t hash = table.seed;
    for (uint32_t i = 0; i < key.len; i++) {
        hash = (hash ^ (uint8_t)key.bytes[i]) * 0x100000001b3u;
    }
    return hash ^ (hash >> 32);
}

static void table_init(void)
{
    table.mask = 1023;
    table.buckets = must(calloc(table.mask + 1, sizeof(struct entry *)));
    if (getrandom(&table.seed, sizeof(table.seed), 0) != sizeof(table.seed)) {
        table.seed = 0xcbf29ce484222325u;
    }
}

static void table_grow(void)
{
    size_t mask = table.mask * 2 + 1;
    struct entry **buckets = must(calloc(mask + 1, sizeof(struct entry *)));
    for (size_t i = 0; i <= table.mask; i++) {
        for (struct entry *e = table.buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            e->next = buckets[e->hash & mask];
            buckets[e->hash & mask] = e;
        }
    }
    free(table.buckets);
    table.buckets = buckets;
    table.mask = mask;
}

/* Where the pointer to this key's entry is, or would be. */
static struct entry **table_find(struct slice key, uint64_t hash)
{
    struct entry **at = &table.buckets[hash & table.mask];
    while (*at != NULL && ((*at)->hash != hash || (*at)->key_len != key.len ||
                           memcmp((*at)->bytes, key.bytes, key.len) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

static void table_set(struct slice key, struct slice value)
{
    uint64_t hash = hash_of(key);
    struct entry **at = table_find(key, hash);
    struct entry *e = *at;
    if (e == NULL || e->value_len != value.len) {
        struct entry *next = e == NULL ? NULL : e->next;
        bool is_new = e == NULL;
        e = must(realloc(e, sizeof(*e) + key.len + value.len));
        *e = (struct entry){.next = next, .hash = hash, .key_len = key.len, .value_len = value.len};
        memcpy(e->bytes, key.bytes, key.len);
        *at = e;
        table.count += is_new;
    }
    memcpy(e->bytes + key.len, value.bytes, value.len);
    if (table.count > table.mask) {
        table_grow();
    }
}

static bool table_delete(struct slice key)
{
    struct entry **at = table_find(key, hash_of(key));
    struct entry *e = *at;
    if (e == NULL) {
        return false;
    }
    *at = e->next;
    free(e);
    table.count--;
    return true;
}

/* ---- Connections: bytes in, bytes out. */

struct buffer {
    char *bytes;
    size_t start, end, size; /* [start, end) is used */
};

struct conn {
    int fd;
    uint32_t events; /* what epoll watches */
    bool closing;    /* after its replies are sent */
    struct buffer in, out;
};

/* Makes room for n bytes at the end. */
static char *buffer_reserve(struct buffer *b, size_t n)
{
    if (b->size - b->end >= n) {
        return b->bytes + b->end;
    }
    if (b->start > 0) {
        memmove(b->bytes, b->bytes + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->size - b->end < n) {
        b->size = b->size * 2 > b->end + n ? b->size * 2 : b->end + n;
        b->bytes = must(realloc(b->bytes, b->size));
    }
    return b->bytes + b->end;
}

static void buffer_consume(struct buffer *b, size_t n)
{
    b->start += n;
    if (b->start == b->end) {
        b->start = b->end = 0;
        if (b->size > BUFFER_KEEP) {
            free(b->bytes);
            *b = (struct buffer){0};
        }
    }
}

static void reply(struct conn *c, const char *bytes, size_t len)
{
    memcpy(buffer_reserve(&c->out, len), bytes, len);
    c->out.end += len;
}

#define REPLY(c, text) reply((c), (text), sizeof(text) - 1)

static void reply_bulk(struct conn *c, const char *bytes, uint32_t len)
{
    char *to = buffer_reserve(&c->out, len + 16u);
    int head = sprintf(to, "$%u\r\n", len);
    memcpy(to + head, bytes, len);
    memcpy(to + head + len, "\r\n", 2);
    c->out.end += (size_t)head + len + 2;
}

/* ---- Commands. */

static void command_get(struct conn *c, const struct slice args[])
{
    const struct entry *e = *table_find(args[1], hash_of(args[1]));
    if (e == NULL) {
        REPLY(c, "$-1\r\n");
    } else {
        reply_bulk(c, e->bytes + e->key_len, e->value_len);
    }
}

static void command_set(struct conn *c, const struct slice args[])
{
    table_set(args[1], args[2]);
    REPLY(c, "+OK\r\n");
}

static void command_del(struct conn *c, const struct slice args[])
{
    if (table_delete(args[1])) {
        REPLY(c, ":1\r\n");
    } else {
        REPLY(c, ":0\r\n");
    }
}

static void command_ping(struct conn *c, const struct slice args[])
{
    (void)args;
    REPLY(c, "+PONG\r\n");
}

/* CONFIG GET name: redis-benchmark asks for two settings first, and none are kept here. */
static void command_config(struct conn *c, const struct slice args[])
{
    REPLY(c, "*2\r\n");
    reply_bulk(c, args[2].bytes, args[2].len);
    REPLY(c, "$0\r\n\r\n");
}

static const struct command {
    const char *name;
    uint32_t args; /* with the name */
    void (*run)(struct conn *, const struct slice args[]);
} commands[] = {
    {"GET", 2, command_get},   {"SET", 3, command_set},       {"DEL", 2, command_del},
    {"PING", 1, command_ping}, {"CONFIG", 3, command_config},
};

static void run_command(struct conn *c, const struct slice args[], uint32_t n)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct command *command = &commands[i];
        if (args[0].len == strlen(command->name) &&
            strncasecmp(args[0].bytes, command->name, args[0].len) == 0) {
            if (n == command->args) {
                command->run(c, args);
            } else {
                REPLY(c, "-ERR wrong number of arguments\r\n");
            }
            return;
        }
    }
    REPLY(c, "-ERR unknown command\r\n");
}

/* ---- RESP: arrays of bulk strings. */

enum parse { PARSED, MORE, BAD };

/* Reads "<mark>N\r\n" at *at. */
static enum parse parse_number(const char **at, const char *end, char mark, uint32_t max,
                               uint32_t *out)
{
    const char *p = *at;
    uint64_t number = 0;
    if (p == end) {
        return MORE;
    }
    if (*p++ != mark) {
        return BAD;
    }
    const char *digits = p;
    while (p < end && *p >= '0' && *p <= '9') {
        number = number * 10 + (uint64_t)(*p++ - '0');
        if (number > max) {
            return BAD;
        }
    }
    if (end - p < 2) {
        return (p < end && *p != '\r') || end - *at > LINE_MAX_BYTES ? BAD : MORE;
    }
    if (p == digits || p[0] != '\r' || p[1] != '\n') {
        return BAD;
    }
    *at = p + 2;
    *out = (uint32_t)number;
    return PARSED;
}

static enum parse parse_command(const char **at, const char *end, struct slice args[], uint32_t *n)
{
    const char *p = *at;
    enum parse got = parse_number(&p, end, '*', ARGS_MAX, n);
    if (got == PARSED && *n == 0) {
        return BAD;
    }
    for (uint32_t i = 0; got == PARSED && i < *n; i++) {
        got = parse_number(&p, end, '$', BULK_MAX, &args[i].len);
        if (got != PARSED) {
            break;
        }
        if ((size_t)(end - p) < (size_t)args[i].len + 2) {
            return MORE;
        }
        args[i].bytes = p;
        p += args[i].len;
        got = p[0] == '\r' && p[1] == '\n' ? PARSED : BAD;
        p += 2;
    }
    if (got == PARSED) {
        *at = p;
    }
    return got;
}

/* Answers every whole command that has arrived. */
static void conn_run(struct conn *c)
{
    struct slice args[ARGS_MAX];
    uint32_t n;
    enum parse got = MORE;
    while (c->in.end > c->in.start && !c->closing) {
        const char *begin = c->in.bytes + c->in.start, *at = begin;
        got = parse_command(&at, c->in.bytes + c->in.end, args, &n);
        if (got == MORE) {
            return;
        }
        if (got == BAD) {
            REPLY(c, "-ERR Protocol error\r\n");
            c->closing = true;
            return;
        }
        run_command(c, args, n);
        buffer_consume(&c->in, (size_t)(at - begin));
    }
}

/* ---- Event loop. */

static void conn_close(struct conn *c)
{
    close(c->fd);
    free(c->in.bytes);
    free(c->out.bytes);
    free(c);
}

static bool conn_read(struct conn *c)
{
    ssize_t n = recv(c->fd, buffer_reserve(&c->in, READ_BYTES), READ_BYTES, 0);
    if (n > 0) {
        c->in.end += (size_t)n;
        conn_run(c);
        return true;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static bool conn_write(struct conn *c)
{
    struct buffer *b = &c->out;
    ssize_t n = send(c->fd, b->bytes + b->start, b->end - b->start, MSG_NOSIGNAL);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    buffer_consume(b, (size_t)n);
    return true;
}

/* One turn of one connection; false when it has ended. */
static bool conn_turn(int epoll, struct conn *c, uint32_t ready)
{
    if ((ready & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !conn_read(c)) {
        return false;
    }
    if (c->out.end > c->out.start && !conn_write(c)) {
        return false;
    }
    size_t unsent = c->out.end - c->out.start;
    if (c->closing && unsent == 0) {
        return false;
    }
    uint32_t events =
        (unsent > 0 ? EPOLLOUT : 0u) | (unsent < UNSENT_MAX && !c->closing ? EPOLLIN : 0u);
    if (events != c->events) {
        struct epoll_event event = {.events = events, .data.ptr = c};
        c->events = events;
        return epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) == 0;
    }
    return true;
}

static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct conn *c = must(calloc(1, sizeof(*c)));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = fd;
        c->events = EPOLLIN;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            conn_close(c);
        }
    }
}

static int serve(int listener)
{
    struct epoll_event events[EVENTS_MAX];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        perror("epoll-kv: epoll");
        return 1;
    }
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                accept_all(epoll, listener);
            } else if (!conn_turn(epoll, c, events[i].events)) {
                conn_close(c);
            }
        }
    }
}

static int open_listener(const char *address, const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1) {
        fprintf(stderr, "epoll-kv: %s is not an IPv4 address\n", address);
        return -1;
    }
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
        bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        fprintf(stderr, "epoll-kv: cannot listen on %s:%s: %s\n", address, port, strerror(errno));
        return -1;
    }
    printf("ready on %s:%u\n", address, ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    const char *address = "127.0.0.1", *port = "6379";
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--bind") == 0) {
            address = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--port") == 0) {
            port = argv[i + 1];
        } else {
            fprintf(stderr, "usage: epoll-kv [--bind ADDRESS] [--port PORT]\n");
            return 2;
        }
    }
    table_init();
    int listener = open_listener(address, port);
    return listener < 0 ? 1 : serve(listener);
}
