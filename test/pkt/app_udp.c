/* SPDX-License-Identifier: MIT */
/*
 * The application of a script: UDP. `udp NAME VERB ...`; a socket is made by its first use.
 */
#include "pkt.h"

#include <errno.h>
#include <inttypes.h>

static void on_event(void *arg, struct dk_udp_sock *sock, uint32_t events)
{
    struct socket *s = arg;
    (void)sock;
    s->events |= events;
}

static struct socket *socket_of(struct test *t, const char *name)
{
    for (int i = 0; i < SOCKETS_MAX; i++) {
        struct socket *s = &t->sockets[i];
        if (s->sock != NULL && strcmp(s->name, name) == 0)
            return s;
        if (s->sock != NULL)
            continue;
        int err = dk_udp_open(t->net, on_event, s, &s->sock);
        if (err != 0)
            test_fail(t, "dk_udp_open: %s", errno_name(err));
        snprintf(s->name, sizeof(s->name), "%s", name);
        return s;
    }
    test_fail(t, "more than %d sockets", SOCKETS_MAX);
}

static void expect(struct test *t, const char *call, int result)
{
    const char *name = line_arg(t->line, "fails");
    int wanted = name ? errno_by_name(t, name) : 0;
    if (result != wanted)
        test_fail(t, "%s returned %d (%s)", call, result, errno_name(result));
}

static struct dk_endpoint endpoint_arg(struct test *t, const char *key)
{
    struct dk_endpoint e = {0};
    const char *value = line_arg(t->line, key);
    if (value == NULL)
        return e;
    char host[64];
    snprintf(host, sizeof(host), "%s", value);
    char *comma = strchr(host, ',');
    if (comma != NULL) {
        *comma = '\0';
        e.port = (uint16_t)eval(t, comma + 1);
    }
    if (host[0] != '\0')
        e.ip = parse_ip(t, host);
    return e;
}

static void udp_bind(struct test *t, struct socket *s)
{
    struct dk_endpoint local = endpoint_arg(t, "at");
    if (line_flag(t->line, "reuse"))
        dk_udp_set(s->sock, DK_UDP_REUSEADDR, 1);
    expect(t, "dk_udp_bind", dk_udp_bind(s->sock, &local));
    var_set(t, "PORT", dk_udp_local(s->sock)->port);
}

static void udp_connect(struct test *t, struct socket *s)
{
    struct dk_endpoint remote = endpoint_arg(t, "to");
    expect(t, "dk_udp_connect", dk_udp_connect(s->sock, remote.port != 0 ? &remote : NULL));
    var_set(t, "PORT", dk_udp_local(s->sock)->port);
}

static void udp_send(struct test *t, struct socket *s)
{
    uint32_t len = (uint32_t)line_number(t, "len", 0);
    struct dk_endpoint remote = endpoint_arg(t, "to");
    struct dk_buf *buf = dk_buf_alloc(len == 0 ? 1 : len, 0);
    if (buf == NULL)
        test_fail(t, "no memory for %u bytes", len);
    for (uint32_t i = 0; i < len; i++)
        buf->data[i] = pattern_out(i);
    struct dk_tx_piece piece = {.data = buf->data, .len = len, .buf = buf};
    int err = dk_udp_send(s->sock, remote.port != 0 ? &remote : NULL, &piece, 1, t->now);
    dk_buf_put(buf);
    expect(t, "dk_udp_send", err);
    var_set(t, "PORT", dk_udp_local(s->sock)->port);
}

static void udp_recv(struct test *t, struct socket *s)
{
    struct dk_udp_datagram d;
    int err = dk_udp_recv(s->sock, &d);
    if (line_flag(t->line, "none")) {
        if (err != -EAGAIN)
            test_fail(t, "a datagram had come");
        return;
    }
    if (err != 0)
        test_fail(t, "dk_udp_recv: %s", errno_name(err));
    int64_t len = line_number(t, "len", -1);
    size_t bytes = dk_buf_bytes(d.buf);
    size_t good = 0;
    while (good < bytes && d.buf->data[good] == pattern_in(good))
        good++;
    struct dk_endpoint from = endpoint_arg(t, "from"), to = endpoint_arg(t, "to");
    bool right = (from.ip.version == 0 || dk_ip_equal(&from.ip, &d.from.ip)) &&
                 (from.port == 0 || from.port == d.from.port) &&
                 (to.ip.version == 0 || dk_ip_equal(&to.ip, &d.to));
    dk_buf_put(d.buf);
    if (len >= 0 && (size_t)len != bytes)
        test_fail(t, "the datagram has %zu bytes", bytes);
    if (good != bytes)
        test_fail(t, "byte %zu of the datagram is wrong", good);
    if (!right)
        test_fail(t, "the datagram's addresses are others: from port %u", d.from.port);
}

static void udp_error(struct test *t, struct socket *s)
{
    expect(t, "dk_udp_take_error", dk_udp_take_error(s->sock));
}

static void udp_close(struct test *t, struct socket *s)
{
    (void)t;
    dk_udp_close(s->sock);
    s->sock = NULL;
}

static void udp_join(struct test *t, struct socket *s)
{
    const char *group = line_arg(t->line, "group");
    struct dk_ip ip = parse_ip(t, group ? group : "");
    expect(t, "dk_udp_join", dk_udp_join(s->sock, &ip, t->now));
}

static void udp_leave(struct test *t, struct socket *s)
{
    const char *group = line_arg(t->line, "group");
    struct dk_ip ip = parse_ip(t, group ? group : "");
    expect(t, "dk_udp_leave", dk_udp_leave(s->sock, &ip, t->now));
}

/* `udp NAME set broadcast=1 ttl=3 ...` */
static void udp_set(struct test *t, struct socket *s)
{
    static const char *const names[DK_UDP_OPTIONS] = {
        [DK_UDP_REUSEADDR] = "reuse",
        [DK_UDP_BROADCAST] = "broadcast",
        [DK_UDP_TTL] = "ttl",
        [DK_UDP_MULTICAST_TTL] = "multicast_ttl",
        [DK_UDP_MULTICAST_LOOP] = "loop",
        [DK_UDP_TOS] = "tos",
        [DK_UDP_DONT_FRAGMENT] = "df",
        [DK_UDP_RCVBUF] = "rcvbuf",
    };
    for (int i = 0; i < DK_UDP_OPTIONS; i++) {
        const char *value = line_arg(t->line, names[i]);
        if (value != NULL)
            expect(t, "dk_udp_set",
                   dk_udp_set(s->sock, (enum dk_udp_option)i, (int)eval(t, value)));
    }
}

bool app_udp_run(struct test *t, const char *command)
{
    static const struct {
        const char *name;
        void (*run)(struct test *t, struct socket *s);
    } verbs[] = {
        {"bind", udp_bind}, {"connect", udp_connect}, {"send", udp_send},
        {"recv", udp_recv}, {"error", udp_error},     {"close", udp_close},
        {"join", udp_join}, {"leave", udp_leave},     {"set", udp_set},
    };
    if (strcmp(command, "udp") != 0)
        return false;
    if (t->line->num_words < 3)
        test_fail(t, "udp NAME VERB");
    t->line->used[1] = t->line->used[2] = true;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].name, t->line->word[2]) == 0) {
            verbs[i].run(t, socket_of(t, t->line->word[1]));
            return true;
        }
    }
    test_fail(t, "a socket cannot \"%s\"", t->line->word[2]);
}
