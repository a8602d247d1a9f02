/* SPDX-License-Identifier: MIT */
/*
 * Streams over any number of connections, checked byte by byte at both ends (stream.h).
 *
 *     peer serve ADDRESS [timeout_ms=N]
 *         until SIGTERM; prints "ready"
 *     peer connect ADDRESS [connections=N] [at_once=N] [up=BYTES] [down=BYTES] [seed=N]
 *             [together] [server_ends_first | either_ends_first | keep] [timeout_ms=N]
 *         together: nothing is sent before as many as are at once have a connection; prints
 *         "N at once" then, and "N carry" when the server has sent to each of the first N
 *         keep: prints "all is here" when it is, and ends the one connection at SIGUSR1
 *         timeout_ms: TCP_USER_TIMEOUT, from when there is a connection
 *     both: [info]
 *         prints what TCP_INFO said last before a stream ended, of each
 *
 * Which library OS it uses, DEMI_NET says: the same program is both sides of a test. Exit code: 0
 * all connections were good, 1 some were not, 2 it could not begin.
 */
#include "../../tools/address.h"
#include "../../tools/qd_map.h"
#include "stream.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH   64
#define BACKLOG 1024
#define SHOWN   5 /* problems that are printed */

/* States of TCP_INFO: the header with its newer fields has no names for them. */
#define ESTABLISHED 1
#define CLOSE_WAIT  8

struct job {
    struct address address;
    bool serves, together, server_ends_first, either_ends_first, keep, info;
    uint64_t connections, at_once, up, down, seed, timeout_ms;
};

struct peer {
    struct job job;
    struct qd_map streams;
    struct qd_map connecting; /* this, or nothing */
    struct stream *kept;      /* has all, and waits for a signal */
    int listen_qd;
    uint64_t started, open, good, bad;
    uint64_t connected; /* that wait for the others, with `together` */
    int *waiting;
    uint64_t carrying; /* that have received something */
};

static volatile sig_atomic_t stop_wanted, release_wanted;

static void on_signal(int number)
{
    *(number == SIGUSR1 ? &release_wanted : &stop_wanted) = 1;
}

static void give_up(const char *what, int err)
{
    fprintf(stderr, "peer: %s: %s\n", what, strerror(err));
    exit(2);
}

static void check(int err, const char *what)
{
    if (err != 0)
        give_up(what, err);
}

static void report(struct peer *p, const char *problem)
{
    if (p->bad++ < SHOWN)
        fprintf(stderr, "peer: %s\n", problem);
}

/* Takes TCP_INFO, as long as both directions are there: what is over tells less. */
static void look_at(struct stream *s)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    memset(&info, 0, sizeof(info));
    check(demi_getsockopt(s->qd, IPPROTO_TCP, TCP_INFO, &info, &len), "TCP_INFO");
    if (info.tcpi_state == ESTABLISHED || info.tcpi_state == CLOSE_WAIT)
        s->info = info;
}

static void print_info(const struct tcp_info *i)
{
    printf("info options=%u snd_wscale=%u rcv_wscale=%u mss=%u cwnd=%u min_rtt_us=%u retrans=%u "
           "acked=%llu received=%llu\n",
           i->tcpi_options, i->tcpi_snd_wscale, i->tcpi_rcv_wscale, i->tcpi_snd_mss,
           i->tcpi_snd_cwnd, i->tcpi_min_rtt, i->tcpi_total_retrans,
           (unsigned long long)i->tcpi_bytes_acked, (unsigned long long)i->tcpi_bytes_received);
}

static void finish(struct peer *p, struct stream *s)
{
    if (p->job.info)
        print_info(&s->info);
    if (s->problem)
        report(p, s->problem);
    else
        p->good++;
    demi_close(s->qd);
    qd_map_set(&p->streams, s->qd, NULL);
    if (p->kept == s)
        p->kept = NULL;
    free(s);
    p->open--;
}

static void set_timeout(const struct job *j, int qd)
{
    const unsigned timeout_ms = (unsigned)j->timeout_ms;
    if (timeout_ms > 0)
        check(demi_setsockopt(qd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms)),
              "TCP_USER_TIMEOUT");
}

static void begin(struct peer *p, int qd, const struct stream_request *request)
{
    struct stream *s = calloc(1, sizeof(*s));
    if (!s || !qd_map_set(&p->streams, qd, s))
        give_up("a connection", ENOMEM);
    set_timeout(&p->job, qd);
    stream_start(s, qd, request, p->job.keep);
    if (stream_is_over(s))
        finish(p, s);
}

static void begin_client(struct peer *p, int qd)
{
    const struct job *j = &p->job;
    struct stream_request request = {
        .magic = STREAM_MAGIC, .seed = j->seed + 2 * (uint64_t)qd, .up = j->up, .down = j->down};
    request.server_ends_first = j->server_ends_first || (j->either_ends_first && qd % 2);
    begin(p, qd, &request);
}

static void on_connect(struct peer *p, int qd)
{
    qd_map_set(&p->connecting, qd, NULL);
    if (!p->job.together) {
        begin_client(p, qd);
        return;
    }
    p->waiting[p->connected++] = qd;
    if (p->connected < p->open)
        return;
    printf("%llu at once\n", (unsigned long long)p->connected);
    fflush(stdout);
    while (p->connected > 0)
        begin_client(p, p->waiting[--p->connected]);
}

static int make_socket(const struct job *j)
{
    int qd;
    check(demi_socket(&qd, j->address.addr.ss_family, SOCK_STREAM, 0), "socket");
    return qd;
}

static void start_connect(struct peer *p)
{
    const struct job *j = &p->job;
    demi_qtoken_t qt;
    const int qd = make_socket(j);
    int err = demi_connect(&qt, qd, (const struct sockaddr *)&j->address.addr, j->address.len);
    check(err, "connect");
    check(qd_map_set(&p->connecting, qd, p) ? 0 : ENOMEM, "connect");
    p->started++;
    p->open++;
}

static void start_accept(const struct peer *p)
{
    demi_qtoken_t qt;
    check(demi_accept(&qt, p->listen_qd), "accept");
}

/* Of a connection that is none yet. What is left of one that is over has failed too: that is not
 * news. */
static void on_early_failure(struct peer *p, const demi_qresult_t *qr)
{
    bool connecting = qd_map_get(&p->connecting, qr->qr_qd) != NULL;
    if (!connecting && qr->qr_qd != p->listen_qd)
        return;
    report(p, strerror((int)qr->qr_ret));
    if (!connecting) {
        start_accept(p);
        return;
    }
    qd_map_set(&p->connecting, qr->qr_qd, NULL);
    demi_close(qr->qr_qd);
    p->open--;
}

static void on_stream_result(struct peer *p, struct stream *s, demi_qresult_t *qr)
{
    const bool is_first = s->received == 0;
    if (p->job.info)
        look_at(s);
    stream_on_result(s, qr);
    if (p->job.together && is_first && s->received > 0 && ++p->carrying == p->job.at_once) {
        printf("%llu carry\n", (unsigned long long)p->carrying);
        fflush(stdout);
    }
    if (s->kept && p->kept != s && stream_has_all(s)) {
        p->kept = s;
        puts("all is here");
        fflush(stdout);
    }
    if (stream_is_over(s))
        finish(p, s);
}

static void on_result(struct peer *p, demi_qresult_t *qr)
{
    struct stream *s = qd_map_get(&p->streams, qr->qr_qd);
    if (s) {
        on_stream_result(p, s, qr);
    } else if (qr->qr_opcode == DEMI_OPC_ACCEPT) {
        p->open++;
        begin(p, qr->qr_value.ares.qd, NULL);
        start_accept(p);
    } else if (qr->qr_opcode == DEMI_OPC_CONNECT) {
        on_connect(p, qr->qr_qd);
    } else if (qr->qr_opcode == DEMI_OPC_FAILED) {
        on_early_failure(p, qr);
    } else if (qr->qr_opcode == DEMI_OPC_POP) { /* of a stream that is over */
        demi_sgarray_t sga;
        memcpy(&sga, &qr->qr_value.sga, sizeof(sga));
        demi_sgafree(&sga);
    }
}

static void wait_for_some(struct peer *p)
{
    const struct timespec nap = {.tv_nsec = 100000000};
    demi_qresult_t results[BATCH];
    int n = 0;
    int err = demi_wait_some(results, BATCH, &n, &nap);
    if (err != 0 && err != ETIMEDOUT && err != EINTR)
        give_up("wait", err);
    for (int i = 0; err == 0 && i < n; i++)
        on_result(p, &results[i]);
}

static void serve(struct peer *p)
{
    const struct job *j = &p->job;
    const int on = 1;
    p->listen_qd = make_socket(j);
    check(demi_setsockopt(p->listen_qd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "reuse");
    check(demi_bind(p->listen_qd, (const struct sockaddr *)&j->address.addr, j->address.len),
          "bind");
    check(demi_listen(p->listen_qd, BACKLOG), "listen");
    start_accept(p);
    puts("ready");
    fflush(stdout);
    while (!stop_wanted)
        wait_for_some(p);
}

static void release_kept(struct peer *p)
{
    if (!release_wanted || !p->kept)
        return;
    stream_release(p->kept);
    p->kept = NULL;
}

static void run_clients(struct peer *p)
{
    const struct job *j = &p->job;
    p->waiting = calloc(j->at_once, sizeof(*p->waiting));
    if (!p->waiting)
        give_up("connections", ENOMEM);
    while (!stop_wanted && (p->started < j->connections || p->open > 0)) {
        while (p->started < j->connections && p->open < j->at_once)
            start_connect(p);
        wait_for_some(p);
        release_kept(p);
    }
    free(p->waiting);
}

static bool read_option(struct job *j, const char *text)
{
    const struct {
        const char *name;
        uint64_t *number;
        bool *flag;
    } options[] = {
        {"connections=", &j->connections, NULL},
        {"at_once=", &j->at_once, NULL},
        {"up=", &j->up, NULL},
        {"down=", &j->down, NULL},
        {"seed=", &j->seed, NULL},
        {"timeout_ms=", &j->timeout_ms, NULL},
        {"together", NULL, &j->together},
        {"keep", NULL, &j->keep},
        {"info", NULL, &j->info},
        {"server_ends_first", NULL, &j->server_ends_first},
        {"either_ends_first", NULL, &j->either_ends_first},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        size_t len = strlen(options[i].name);
        if (strncmp(text, options[i].name, len) != 0)
            continue;
        if (options[i].flag)
            *options[i].flag = true;
        else
            *options[i].number = strtoull(text + len, NULL, 10);
        return true;
    }
    return false;
}

static void read_job(struct job *j, int argc, char **argv)
{
    *j = (struct job){.connections = 1, .at_once = 1, .seed = 1};
    bool good = argc >= 3 && (strcmp(argv[1], "serve") == 0 || strcmp(argv[1], "connect") == 0);
    const char *problem = good ? address_parse(argv[2], AF_UNSPEC, &j->address) : NULL;
    for (int i = 3; good && i < argc; i++)
        good = read_option(j, argv[i]);
    if (!good || problem || j->at_once == 0) {
        fprintf(stderr, "peer: %s (main.c has the usage)\n", problem ? problem : "wrong arguments");
        exit(2);
    }
    j->serves = strcmp(argv[1], "serve") == 0;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct peer p = {.listen_qd = -1};
    read_job(&p.job, argc, argv);
    qd_map_init(&p.streams);
    qd_map_init(&p.connecting);
    check(demi_init(NULL), "demi_init");
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    if (p.job.serves)
        serve(&p);
    else
        run_clients(&p);
    printf("%llu good, %llu bad\n", (unsigned long long)p.good, (unsigned long long)p.bad);
    fflush(stdout);
    check(demi_fini(), "demi_fini");
    qd_map_fini(&p.streams);
    qd_map_fini(&p.connecting);
    return p.bad > 0 || (!p.job.serves && p.good < p.job.connections) ? 1 : 0;
}
