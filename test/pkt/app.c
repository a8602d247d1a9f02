/* SPDX-License-Identifier: MIT */
/*
 * The application of a script: TCP. What it sends is pattern_out by its place in the stream, what
 * it receives has to be pattern_in.
 */
#include "net/stack.h"
#include "pkt.h"

#include "net/tcp/cc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

static const struct {
    int err;
    const char *name;
} errors[] = {
    {0, "0"},
    {ECONNREFUSED, "ECONNREFUSED"},
    {ECONNRESET, "ECONNRESET"},
    {ECONNABORTED, "ECONNABORTED"},
    {ETIMEDOUT, "ETIMEDOUT"},
    {EHOSTUNREACH, "EHOSTUNREACH"},
    {ENETUNREACH, "ENETUNREACH"},
    {ECANCELED, "ECANCELED"},
    {EPIPE, "EPIPE"},
    {ENOTCONN, "ENOTCONN"},
    {EAGAIN, "EAGAIN"},
    {EADDRINUSE, "EADDRINUSE"},
    {EADDRNOTAVAIL, "EADDRNOTAVAIL"},
    {EMSGSIZE, "EMSGSIZE"},
    {EINVAL, "EINVAL"},
    {ENOBUFS, "ENOBUFS"},
    {EDESTADDRREQ, "EDESTADDRREQ"},
    {EACCES, "EACCES"},
};

#define NUM_ERRORS (sizeof(errors) / sizeof(errors[0]))

const char *errno_name(int err)
{
    for (size_t i = 0; i < NUM_ERRORS; i++) {
        if (errors[i].err == abs(err))
            return errors[i].name;
    }
    return strerror(abs(err));
}

int errno_by_name(struct test *t, const char *name)
{
    for (size_t i = 0; i < NUM_ERRORS; i++) {
        if (strcmp(errors[i].name, name) == 0)
            return -errors[i].err;
    }
    test_fail(t, "no error is called %s", name);
}

/* ---- Events ---------------------------------------------------------------------------------- */

void event_add(struct test *t, struct flow *flow, bool bad, const char *format, ...)
{
    if (t->num_events == EVENTS_MAX) {
        snprintf(t->overflow, sizeof(t->overflow), "more than %d events", EVENTS_MAX);
        return;
    }
    struct event *e = &t->events[t->num_events++];
    e->flow = flow;
    e->bad = bad;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    if (t->verbose)
        printf("%12.6f ! %s: %s\n", (double)(t->now - t->start) / 1e9, flow->name, e->text);
}

static void on_connected(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct flow *f = owner;
    (void)conn;
    event_add(f->test, f, err != 0, "connected=%s", errno_name(err));
}

static void on_readable(struct dk_tcp_conn *conn, void *owner)
{
    struct flow *f = owner;
    (void)conn;
    event_add(f->test, f, false, "readable");
}

static void on_sent(struct dk_tcp_conn *conn, void *owner, void *cookie, int err)
{
    struct flow *f = owner;
    (void)conn;
    if (err == 0)
        event_add(f->test, f, false, "sent=%" PRIuPTR, (uintptr_t)cookie);
    else
        event_add(f->test, f, false, "sent=%" PRIuPTR ",%s", (uintptr_t)cookie, errno_name(err));
}

static void on_peer_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct flow *f = owner;
    (void)conn;
    event_add(f->test, f, false, "peer_closed");
}

static void on_failed(struct dk_tcp_conn *conn, void *owner, int err)
{
    struct flow *f = owner;
    (void)conn;
    event_add(f->test, f, true, "failed=%s", errno_name(err));
}

static void on_closed(struct dk_tcp_conn *conn, void *owner)
{
    struct flow *f = owner;
    (void)conn;
    f->conn = NULL;
    event_add(f->test, f, false, "closed");
}

static const struct dk_tcp_ops ops = {
    .connected = on_connected,
    .readable = on_readable,
    .sent = on_sent,
    .peer_closed = on_peer_closed,
    .failed = on_failed,
    .closed = on_closed,
};

static void on_acceptable(struct dk_tcp_listener *listener, void *owner)
{
    struct flow *f = owner;
    (void)listener;
    event_add(f->test, f, false, "acceptable");
}

static const struct dk_tcp_listener_ops listener_ops = {.acceptable = on_acceptable};

static struct event *event_find(struct test *t, const char *text)
{
    for (uint32_t i = 0; i < t->num_events; i++) {
        if (t->events[i].flow == t->flow && strcmp(t->events[i].text, text) == 0)
            return &t->events[i];
    }
    return NULL;
}

static const char *word_at(struct test *t, int i, const char *what)
{
    if (t->line->num_words <= i)
        test_fail(t, "%s is missing", what);
    t->line->used[i] = true;
    return t->line->word[i];
}

static void run_event(struct test *t)
{
    const char *text = word_at(t, 1, "which event");
    struct event *e = event_find(t, text);
    if (e == NULL) {
        char list[400] = "";
        for (uint32_t i = 0; i < t->num_events && strlen(list) < 300; i++)
            snprintf(list + strlen(list), sizeof(list) - strlen(list), " %s:%s",
                     t->events[i].flow->name, t->events[i].text);
        test_fail(t, "no such event; there are:%s", list);
    }
    t->num_events--;
    memmove(e, e + 1, (size_t)(&t->events[t->num_events] - e) * sizeof(*e));
}

static void run_no_event(struct test *t)
{
    const char *text = word_at(t, 1, "which event");
    if (event_find(t, text) != NULL)
        test_fail(t, "the event came");
}

/* ---- Calls ----------------------------------------------------------------------------------- */

/* `fails ERROR` at the end of a line. */
static void expect(struct test *t, const char *call, int result)
{
    const char *name = line_arg(t->line, "fails");
    int wanted = name ? errno_by_name(t, name) : 0;
    if (result != wanted && !(name == NULL && result >= 0))
        test_fail(t, "%s returned %d (%s)", call, result, result < 0 ? errno_name(result) : "");
}

static struct dk_tcp_conn *conn_of(struct test *t)
{
    if (t->flow->conn == NULL)
        test_fail(t, "flow %s has no connection", t->flow->name);
    return t->flow->conn;
}

static void run_listen(struct test *t)
{
    struct flow *f = t->flow;
    struct dk_endpoint local = {.ip = f->local, .port = f->local_port};
    if (line_flag(t->line, "any"))
        local.ip = (struct dk_ip){0};
    uint32_t backlog = (uint32_t)line_number(t, "backlog", 16);
    int64_t rcvbuf = line_number(t, "rcvbuf", 0);
    struct dk_tcp_listener *listener = NULL;
    int err = dk_tcp_listen(dk_net_tcp(t->net), &listener, &local, backlog, &listener_ops, f);
    if (err == 0)
        f->listener = listener;
    expect(t, "dk_tcp_listen", err);
    if (rcvbuf != 0)
        expect(t, "RCV_BUF", dk_tcp_listen_set_option(listener, DK_TCP_RCV_BUF, rcvbuf));
}

static void run_unlisten(struct test *t)
{
    if (t->flow->listener == NULL)
        test_fail(t, "flow %s does not listen", t->flow->name);
    dk_tcp_listen_close(t->flow->listener, t->now);
    t->flow->listener = NULL;
}

static struct dk_tcp_listener *listener_for(struct test *t)
{
    for (uint32_t i = 0; i < t->num_flows; i++) {
        struct flow *f = &t->flows[i];
        if (f->listener != NULL && f->local_port == t->flow->local_port)
            return f->listener;
    }
    test_fail(t, "nobody listens at port %u", t->flow->local_port);
}

static void run_accept(struct test *t)
{
    struct dk_tcp_conn *conn = NULL;
    int err = dk_tcp_accept(listener_for(t), &conn, &ops, t->flow);
    if (line_flag(t->line, "none")) {
        if (err != -EAGAIN)
            test_fail(t, "dk_tcp_accept returned %d", err);
        return;
    }
    if (err != 0)
        test_fail(t, "dk_tcp_accept: %s", errno_name(err));
    struct dk_tcp_info info;
    dk_tcp_get_info(conn, &info);
    t->flow->conn = conn;
    if (info.remote.port != t->flow->remote_port || !dk_ip_equal(&info.remote.ip, &t->flow->remote))
        test_fail(t, "another connection was accepted: from port %u", info.remote.port);
}

static void run_connect(struct test *t)
{
    struct flow *f = t->flow;
    struct dk_endpoint local = {.port = (uint16_t)line_number(t, "lport", 0)};
    struct dk_endpoint remote = {.ip = f->remote, .port = f->remote_port};
    if (local.port != 0) {
        int err = dk_tcp_bind(dk_net_tcp(t->net), &local, 0);
        if (err != 0 && !line_flag(t->line, "bound"))
            test_fail(t, "dk_tcp_bind: %s", errno_name(err));
    }
    f->local_port = local.port;
    int64_t options[DK_TCP_OPTIONS];
    dk_tcp_options_default(dk_net_tcp(t->net), options);
    options[DK_TCP_RCV_BUF] = line_number(t, "rcvbuf", options[DK_TCP_RCV_BUF]);
    options[DK_TCP_MAX_SEGMENT] = line_number(t, "maxseg", options[DK_TCP_MAX_SEGMENT]);
    struct dk_tcp_conn *conn = NULL;
    int err = dk_tcp_connect(dk_net_tcp(t->net), &conn, &local, &remote, options, &ops, f, t->now);
    if (err == 0)
        f->conn = conn;
    expect(t, "dk_tcp_connect", err);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static struct dk_buf *new_buffer(struct test *t, uint64_t offset, uint32_t len)
{
    struct dk_buf *buf = dk_buf_alloc(len == 0 ? 1 : len, 0);
    if (buf == NULL)
        test_fail(t, "no memory for %u bytes", len);
    for (uint32_t i = 0; i < len; i++)
        buf->data[i] = pattern_out(offset + i);
    return buf;
}

static void keep(struct test *t, struct flow *f, struct dk_buf *buf)
{
    struct pushed *p = malloc(sizeof(*p));
    if (p == NULL)
        test_fail(t, "no memory");
    p->buf = buf;
    p->next = f->pushed;
    f->pushed = p;
}

static int send_once(struct test *t, uint32_t len, uint32_t num_pieces, uint32_t flags,
                     uintptr_t cookie)
{
    struct flow *f = t->flow;
    struct dk_buf *buf = new_buffer(t, f->sent, len);
    struct dk_tx_piece pieces[64];
    for (uint32_t i = 0; i < num_pieces; i++) {
        uint32_t from = len / num_pieces * i;
        uint32_t to = i + 1 == num_pieces ? len : len / num_pieces * (i + 1);
        pieces[i] = (struct dk_tx_piece){.data = buf->data + from, .len = to - from, .buf = buf};
    }
    /* What goes out is checked against what was sent before, so this comes first. */
    f->sent += len;
    int result = dk_tcp_send(conn_of(t), pieces, num_pieces, flags, (void *)cookie, t->now);
    if (result < 0)
        f->sent -= len;
    if ((flags & DK_TCP_SEND_UNREFERENCED) != 0)
        dk_buf_put(buf); /* nobody else has it, from here on */
    else
        keep(t, f, buf);
    return result;
}

/* `send BYTES [times=N] [pieces=N] [cookie=N] [copy] [unreferenced] [completes] [fails=ERROR]` */
static void run_send(struct test *t)
{
    uint32_t len = (uint32_t)eval(t, word_at(t, 1, "how many bytes"));
    int64_t times = line_number(t, "times", 1), cookie = line_number(t, "cookie", 1);
    uint32_t pieces = (uint32_t)line_number(t, "pieces", 1);
    uint32_t flags = (line_flag(t->line, "copy") ? DK_TCP_SEND_COPY : 0) |
                     (line_flag(t->line, "unreferenced") ? DK_TCP_SEND_UNREFERENCED : 0);
    bool completes = line_flag(t->line, "completes");
    if (pieces == 0 || pieces > 64)
        test_fail(t, "pieces=%u", pieces);
    for (int64_t i = 0; i < times; i++) {
        int result = send_once(t, len, pieces, flags, (uintptr_t)(cookie + i));
        expect(t, "dk_tcp_send", result);
        if (completes && result != 1)
            test_fail(t, "dk_tcp_send did not complete it at once");
    }
}

/* Writes over everything that the application pushed. */
static void run_overwrite(struct test *t)
{
    for (struct pushed *p = t->flow->pushed; p != NULL; p = p->next)
        memset(p->buf->data, 0xee, dk_buf_bytes(p->buf));
}

static void let_go(struct flow *f)
{
    while (f->pushed != NULL) {
        struct pushed *p = f->pushed;
        f->pushed = p->next;
        dk_buf_put(p->buf);
        free(p);
    }
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static void check_received(struct test *t, struct dk_buf *buf)
{
    struct flow *f = t->flow;
    size_t len = dk_buf_bytes(buf);
    for (size_t i = 0; i < len; i++) {
        if (buf->data[i] != pattern_in(f->received + i))
            test_fail(t, "byte %" PRIu64 " of the stream is not what the peer sent",
                      f->received + i);
    }
    f->received += len;
}

static int receive(struct test *t, size_t most)
{
    struct dk_buf *bufs[16];
    int n = dk_tcp_recv(conn_of(t), bufs, 16, most, t->now);
    int bytes = 0;
    for (int i = 0; i < n; i++) {
        bytes += (int)dk_buf_bytes(bufs[i]);
        check_received(t, bufs[i]);
        dk_buf_put(bufs[i]);
    }
    return n > 0 ? bytes : n;
}

/* `recv BYTES|all|end|none`, or fails=ERROR. `all`: whatever there is. */
static void run_recv(struct test *t)
{
    const char *failing = line_arg(t->line, "fails");
    const char *what = failing ? "" : word_at(t, 1, "how many bytes");
    int result;
    if (failing != NULL || strcmp(what, "end") == 0 || strcmp(what, "none") == 0) {
        int wanted = failing ? errno_by_name(t, failing) : strcmp(what, "end") == 0 ? 0 : -EAGAIN;
        result = receive(t, 1 << 20);
        if (result != wanted)
            test_fail(t, "dk_tcp_recv returned %d (%s)", result, errno_name(result));
        return;
    }
    bool all = strcmp(what, "all") == 0;
    int64_t left = all ? INT32_MAX : eval(t, what);
    while (left > 0) {
        result = receive(t, (size_t)left);
        if (all && result <= 0)
            break;
        if (result <= 0)
            test_fail(t, "%" PRId64 " bytes are missing: dk_tcp_recv returned %d (%s)", left,
                      result, errno_name(result));
        left -= result;
    }
}

/* ---- The rest -------------------------------------------------------------------------------- */

static void run_option(struct test *t)
{
    static const char *const names[DK_TCP_OPTIONS] = {
        [DK_TCP_NODELAY] = "NODELAY",
        [DK_TCP_KEEPALIVE] = "KEEPALIVE",
        [DK_TCP_KEEPALIVE_IDLE] = "KEEPALIVE_IDLE",
        [DK_TCP_KEEPALIVE_INTERVAL] = "KEEPALIVE_INTERVAL",
        [DK_TCP_KEEPALIVE_COUNT] = "KEEPALIVE_COUNT",
        [DK_TCP_USER_TIMEOUT] = "USER_TIMEOUT",
        [DK_TCP_RCV_BUF] = "RCV_BUF",
        [DK_TCP_MAX_SEGMENT] = "MAX_SEGMENT",
        [DK_TCP_TTL] = "TTL",
        [DK_TCP_TOS] = "TOS",
        [DK_TCP_QUICK_ACK] = "QUICK_ACK",
        [DK_TCP_CONGESTION] = "CONGESTION",
    };
    const char *name = word_at(t, 1, "which option");
    const char *text = word_at(t, 2, "the value");
    int number = dk_tcp_cc_find(text);
    int64_t value = number >= 0 ? number : eval(t, text);
    for (int i = 0; i < DK_TCP_OPTIONS; i++) {
        if (names[i] == NULL || strcmp(names[i], name) != 0)
            continue;
        enum dk_tcp_option option = (enum dk_tcp_option)i;
        expect(t, "set_option",
               t->flow->conn ? dk_tcp_set_option(t->flow->conn, option, value, t->now)
                             : dk_tcp_listen_set_option(listener_for(t), option, value));
        return;
    }
    test_fail(t, "no option is called %s", name);
}

static void run_state(struct test *t)
{
    static const char *const names[] = {"CLOSED",     "SYN_SENT",   "SYN_RECEIVED", "ESTABLISHED",
                                        "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT",   "CLOSING",
                                        "LAST_ACK",   "TIME_WAIT"};
    const char *wanted = word_at(t, 1, "which state");
    struct dk_tcp_info info;
    dk_tcp_get_info(conn_of(t), &info);
    if (strcmp(names[info.state], wanted) != 0)
        test_fail(t, "the state is %s", names[info.state]);
}

struct field {
    const char *key;
    int64_t value;
};

#define NUM_FIELDS 24

static void fields_of(struct test *t, struct field fields_out[NUM_FIELDS])
{
    struct dk_tcp_info i;
    dk_tcp_get_info(conn_of(t), &i);
    const struct field fields[NUM_FIELDS] = {
        {"snd_wnd", i.snd_wnd},
        {"rcv_wnd", i.rcv_wnd},
        {"mss", i.mss},
        {"cwnd", i.cwnd},
        {"ssthresh", i.ssthresh},
        {"srtt", i.srtt_ns},
        {"rttvar", i.rttvar_ns},
        {"rto", i.rto_ns},
        {"unsent", (int64_t)i.unsent_bytes},
        {"unacked", (int64_t)i.unacked_bytes},
        {"readable", (int64_t)i.readable_bytes},
        {"retransmits", (int64_t)i.retransmits},
        {"snd_wscale", i.snd_wscale},
        {"rcv_wscale", i.rcv_wscale},
        {"timestamps", i.timestamps},
        {"lost", (int64_t)i.lost_bytes},
        {"sacked", (int64_t)i.sacked_bytes},
        {"acked", (int64_t)i.acked_bytes},
        {"received", (int64_t)i.received_bytes},
        {"min_rtt", i.min_rtt_ns},
        {"delivery_rate", (int64_t)i.delivery_rate},
        {"delivery_limited", i.delivery_limited},
        {"pacing_rate", (int64_t)i.pacing_rate},
        {"ecn", i.ecn},
    };
    memcpy(fields_out, fields, sizeof(fields));
}

/* `info NAME=LEAST:MOST ...` */
static void run_info(struct test *t)
{
    struct field fields[NUM_FIELDS];
    fields_of(t, fields);
    for (size_t n = 0; n < NUM_FIELDS; n++) {
        const char *value = line_arg(t->line, fields[n].key);
        if (value == NULL)
            continue;
        int64_t least, most;
        eval_range(t, value, &least, &most);
        if (fields[n].value < least || fields[n].value > most)
            test_fail(t, "%s is %" PRId64, fields[n].key, fields[n].value);
    }
}

/* `get NAME VARIABLE` */
static void run_get(struct test *t)
{
    const char *name = word_at(t, 1, "what");
    struct field fields[NUM_FIELDS];
    fields_of(t, fields);
    for (size_t n = 0; n < NUM_FIELDS; n++) {
        if (strcmp(fields[n].key, name) == 0) {
            var_set(t, word_at(t, 2, "the variable"), fields[n].value);
            return;
        }
    }
    test_fail(t, "dk_tcp_info has no %s", name);
}

static void run_shutdown(struct test *t)
{
    expect(t, "dk_tcp_shutdown", dk_tcp_shutdown(conn_of(t), t->now));
}

static void run_close(struct test *t)
{
    dk_tcp_close(conn_of(t), t->now);
}

static void run_abort(struct test *t)
{
    dk_tcp_abort(conn_of(t), t->now);
}

static void run_abort_unheard(struct test *t)
{
    dk_tcp_abort_unheard(conn_of(t), t->now);
}

static void run_last_words(struct test *t)
{
    dk_tcp_last_words(dk_net_tcp(t->net), t->net->config.emit, t->net->config.emit_arg);
}

bool app_run(struct test *t, const char *command)
{
    static const struct {
        const char *name;
        void (*run)(struct test *t);
    } commands[] = {
        {"listen", run_listen},     {"unlisten", run_unlisten},
        {"accept", run_accept},     {"connect", run_connect},
        {"send", run_send},         {"overwrite", run_overwrite},
        {"recv", run_recv},         {"option", run_option},
        {"state", run_state},       {"info", run_info},
        {"shutdown", run_shutdown}, {"close", run_close},
        {"abort", run_abort},       {"abort-unheard", run_abort_unheard},
        {"event", run_event},       {"no-event", run_no_event},
        {"get", run_get},           {"last-words", run_last_words},
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, command) == 0) {
            commands[i].run(t);
            return true;
        }
    }
    return false;
}

void app_stop(struct test *t)
{
    for (uint32_t i = 0; i < t->num_flows; i++)
        let_go(&t->flows[i]);
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (t->sockets[i].sock != NULL)
            dk_udp_close(t->sockets[i].sock);
        t->sockets[i].sock = NULL;
    }
}
