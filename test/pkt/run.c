/* SPDX-License-Identifier: MIT */
/*
 * Runs one script: its lines in order, each a packet, a call of the application, or time passing.
 */
#include "pkt.h"

#include "net/dev.h"
#include "net/tcp/cc.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#define LINES_MAX 2000
#define SLACK_NS  INT64_C(5000000) /* how early or late a packet may be, where a time is given */

static char *script[LINES_MAX];
static int num_lines;

void test_fail(struct test *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char what[1500];
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    if (t->line != NULL)
        snprintf(t->message, sizeof(t->message), "%s:%d (IPv%d): %s\n#   %s", t->line->file,
                 t->line->number, t->version, t->line->text, what);
    else
        snprintf(t->message, sizeof(t->message), "%s (IPv%d): %s", t->file, t->version, what);
    longjmp(t->failed, 1);
}

static const char *word_at(struct test *t, int i, const char *what)
{
    if (t->line->num_words <= i)
        test_fail(t, "%s is missing", what);
    t->line->used[i] = true;
    return t->line->word[i];
}

/* ---- What the stack is to be ----------------------------------------------------------------- */

static void run_mtu(struct test *t)
{
    t->config.mtu = (uint32_t)eval(t, word_at(t, 1, "the MTU"));
    if (!line_flag(t->line, "exactly") && t->version == 6)
        t->config.mtu += 20;
}

static void run_vlan(struct test *t)
{
    t->config.vlan = (uint16_t)eval(t, word_at(t, 1, "the VLAN"));
}

static void run_only(struct test *t)
{
    t->ended = eval(t, word_at(t, 1, "4 or 6")) != t->version;
}

static void run_neighbours(struct test *t)
{
    if (strcmp(word_at(t, 1, "manual"), "manual") != 0)
        test_fail(t, "neighbours manual");
    t->manual_neighbours = true;
    t->link = true;
}

static void run_link(struct test *t)
{
    t->link = true;
}

static void run_dad(struct test *t)
{
    t->config.skip_dad = false;
    t->config.optimistic_dad = line_flag(t->line, "optimistic");
}

static void run_address(struct test *t)
{
    struct dk_net_address *a = &t->config.addresses[t->config.num_addresses++];
    a->ip = parse_ip(t, word_at(t, 1, "the address"));
    a->prefix_len = (uint8_t)line_number(t, "prefix", t->version == 4 ? 24 : 64);
}

static void run_route(struct test *t)
{
    struct dk_net_route *r = &t->config.routes[t->config.num_routes++];
    r->prefix = parse_ip(t, word_at(t, 1, "the prefix"));
    r->prefix_len = (uint8_t)line_number(t, "prefix", 0);
    const char *gateway = line_arg(t->line, "via");
    r->gateway = parse_ip(t, gateway ? gateway : ".254");
}

static void run_offload(struct test *t)
{
    if (line_flag(t->line, "checksum"))
        t->config.device_caps |= DK_NETDEV_TX_CHECKSUM;
    if (line_flag(t->line, "tso"))
        t->config.device_caps |= DK_NETDEV_TSO;
}

/* Packets that follow each other come in one burst. */
static void run_gro(struct test *t)
{
    t->config.gro = true;
}

/* How many packets were left to the device to be cut, since that was last asked. */
static void run_cut(struct test *t)
{
    int64_t least, most;
    eval_range(t, word_at(t, 1, "a number"), &least, &most);
    if (t->cut < (uint64_t)least || t->cut > (uint64_t)most)
        test_fail(t, "%u packets were cut", t->cut);
    t->cut = 0;
}

static void run_congestion(struct test *t)
{
    int number = dk_tcp_cc_find(word_at(t, 1, "an algorithm"));
    if (number < 0)
        test_fail(t, "no such algorithm");
    t->congestion = (uint8_t)number;
}

static void run_ecn(struct test *t)
{
    static const char *const words[] = {
        [DK_TCP_ECN_ACCEPT] = "accept", [DK_TCP_ECN_REFUSE] = "refuse", [DK_TCP_ECN_ASK] = "ask"};
    const char *word = word_at(t, 1, "accept, refuse or ask");
    for (uint8_t i = 0; i < 3; i++) {
        if (strcmp(words[i], word) == 0) {
            t->ecn = i;
            return;
        }
    }
    test_fail(t, "ecn accept, refuse or ask");
}

/* Bytes that all connections may hold unread. */
static void run_pressure(struct test *t)
{
    t->pressure = (uint64_t)eval(t, word_at(t, 1, "a number"));
}

/* When the path MTU is searched for without ICMP. */
static void run_probing(struct test *t)
{
    static const char *const words[] = {
        [DK_TCP_MTU_PROBING_OFF] = "off",
        [DK_TCP_MTU_PROBING_BLACKHOLE] = "blackhole",
        [DK_TCP_MTU_PROBING_ALWAYS] = "always",
    };
    const char *word = word_at(t, 1, "off, blackhole or always");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i], word) == 0)
            t->probing = (enum dk_tcp_mtu_probing)i;
}

static void run_cookies(struct test *t)
{
    static const char *const words[] = {
        [DK_TCP_SYN_COOKIES_AUTO] = "auto",
        [DK_TCP_SYN_COOKIES_NEVER] = "never",
        [DK_TCP_SYN_COOKIES_ALWAYS] = "always",
    };
    const char *word = word_at(t, 1, "auto, never or always");
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(words[i], word) == 0)
            t->syn_cookies = (enum dk_tcp_syn_cookies)i;
}

/* `without sack`, `timestamps`: as configured, whatever the peer offers. */
static void run_without(struct test *t)
{
    t->no_sack |= line_flag(t->line, "sack");
    t->no_timestamps |= line_flag(t->line, "timestamps");
}

static void run_wrap(struct test *t)
{
    t->wrap = true;
}

/* ---- Flows and variables --------------------------------------------------------------------- */

/* `flow NAME [remote=HOST] [rport=N] [lport=N] [isn=N]`: one that exists begins anew. */
static void run_flow(struct test *t)
{
    const char *name = word_at(t, 1, "a name");
    struct flow *f = flow_find(t, name);
    if (f == NULL)
        f = flow_add(t, name);
    const char *remote = line_arg(t->line, "remote"), *local = line_arg(t->line, "local");
    if (remote != NULL)
        f->remote = parse_ip(t, remote);
    if (local != NULL)
        f->local = parse_ip(t, local);
    f->remote_port = (uint16_t)line_number(t, "rport", f->remote_port);
    f->local_port = (uint16_t)line_number(t, "lport", f->local_port);
    f->irs = (uint32_t)line_number(t, "isn", f->irs);
    f->former_iss = f->iss;
    f->has_iss = f->has_ts = f->peer_ts = f->stack_ts = f->peer_ws = false;
    f->ts_base = 0;
    f->has_edge = false;
    f->sent = f->received = 0;
    f->conn = NULL;
    t->flow = f;
}

static void run_set(struct test *t)
{
    const char *name = word_at(t, 1, "a name");
    var_set(t, name, eval(t, word_at(t, 2, "a value")));
}

/* ---- Time ------------------------------------------------------------------------------------ */

/* `+TIME`: nothing comes until then. */
static void run_wait(struct test *t)
{
    match_none(t, "before");
    int64_t until = t->now + eval(t, t->line->word[0] + 1);
    host_advance(t, until, true);
    if (t->head != t->tail && t->now < until - SLACK_NS)
        match_none(t, "until then");
}

/* `none [TIME]`: nothing came, and nothing comes for so long. */
static void run_none(struct test *t)
{
    match_none(t, "until here");
    if (t->line->num_words < 2)
        return;
    host_advance(t, t->now + eval(t, word_at(t, 1, "")), true);
    match_none(t, "for so long");
}

/* `drain [TIME]`: what comes in that time is passed over. */
static void run_drain(struct test *t)
{
    if (t->line->num_words >= 2)
        host_advance(t, t->now + eval(t, word_at(t, 1, "")), false);
    host_drop_queue(t);
}

/* `late TIME`: the stack is not called for so long, whatever is due. */
static void run_late(struct test *t)
{
    match_none(t, "before");
    t->now += eval(t, word_at(t, 1, "how long"));
    host_settle(t);
}

/* `within TIME > ...` */
static void run_within(struct test *t)
{
    int64_t patience = eval(t, word_at(t, 1, "how long"));
    if (strcmp(word_at(t, 2, ">"), ">") != 0)
        test_fail(t, "within TIME > ...");
    /* The rest is a line of its own. */
    struct line *l = t->line;
    memmove(l->word, l->word + 2, (size_t)(l->num_words - 2) * sizeof(l->word[0]));
    l->num_words -= 2;
    memset(l->used, 0, sizeof(l->used));
    match_output(t, patience);
}

/* ---- The rest -------------------------------------------------------------------------------- */

static void run_full(struct test *t)
{
    bool full = strcmp(word_at(t, 1, "on or off"), "on") == 0;
    if (t->full && !full) {
        t->full = false;
        dk_net_tx_room(t->net, t->now);
    }
    t->full = full;
}

/* `stat NAME LEAST[:MOST]`, names with an * end anywhere and are added up. */
static void run_stat(struct test *t)
{
    const char *name = word_at(t, 1, "a counter");
    int64_t least, most;
    eval_range(t, word_at(t, 2, "a number"), &least, &most);
    uint64_t value, sum = 0;
    const char *found;
    bool any = false;
    size_t len = strcspn(name, "*");
    for (size_t i = 0; dk_net_stat(t->net, i, &found, &value) == 0; i++) {
        if (strncmp(found, name, len) == 0 && (name[len] == '*' || found[len] == '\0')) {
            sum += value;
            any = true;
        }
    }
    if (!any)
        test_fail(t, "no counter is called %s", name);
    if (sum < (uint64_t)least || sum > (uint64_t)most)
        test_fail(t, "%s is %" PRIu64, name, sum);
}

static void run_text(struct test *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void run_line(struct test *t, struct line *line);

/* `iss-distance NAME LEAST`: the stack's first sequence number for a flow is at least so far from
 * that for the first flow. */
static void run_iss_distance(struct test *t)
{
    const struct flow *f = flow_find(t, word_at(t, 1, "which flow"));
    int64_t least = eval(t, word_at(t, 2, "how far"));
    if (f == NULL || !f->has_iss || !t->flows[0].has_iss)
        test_fail(t, "no sequence number was seen yet");
    uint32_t distance = f->iss - t->flows[0].iss;
    if (distance < least || -distance < least)
        test_fail(t, "it is %u", distance);
}

/* `iss-growth LEAST MOST`: from what it was before `flow` began the flow anew. */
static void run_iss_growth(struct test *t)
{
    int64_t least = eval(t, word_at(t, 1, "how much")), most = eval(t, word_at(t, 2, "how much"));
    uint32_t growth = t->flow->iss - t->flow->former_iss;
    if (growth < least || growth > most)
        test_fail(t, "it is %u", growth);
}

/* A line that stands for several: they are reported as it. */
static void run_text(struct test *t, const char *format, ...)
{
    struct line line = {.file = t->line->file, .number = t->line->number};
    struct line *outer = t->line;
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    t->line = &line;
    line_cut(t, &line, text);
    run_line(t, &line);
    t->line = outer;
}

/* `handshake [client] [rtt=TIME] [words of the peer's SYN]`; listens where nobody does. */
static void run_handshake(struct test *t)
{
    char words[TEXT_MAX] = "";
    bool client = line_flag(t->line, "client");
    const char *name = t->flow->name;
    int64_t mss = line_number(t, "mss", 1460), win = line_number(t, "win", 65535);
    int64_t rtt = line_number(t, "rtt", 0);
    int64_t ws = line_number(t, "ws", -1), last = line_number(t, "ackwin", win);
    snprintf(words, sizeof(words), "win=%" PRId64 "%s", win, line_flag(t->line, "ts") ? " ts" : "");
    if (mss > 0)
        snprintf(words + strlen(words), 32, " mss=%" PRId64, mss);
    if (ws >= 0)
        snprintf(words + strlen(words), 32, " ws=%" PRId64, ws);
    if (line_flag(t->line, "sackok"))
        strcat(words, " sackok");
    bool ecn = line_flag(t->line, "ecn");
    const char *ask = ecn ? "|ECE|CWR" : "", *agree = ecn ? "|ECE" : "";
    line_done(t);
    if (client) {
        run_text(t, "%s: connect", name);
        run_text(t, "%s: > SYN%s seq=0", name, ask);
        run_text(t, "%s: < SYN|ACK%s seq=0 ack=1 %s", name, agree, words);
        if (rtt > 0)
            run_text(t, "+%" PRId64, rtt);
        run_text(t, "%s: > ACK seq=1 ack=1", name);
        run_text(t, "%s: event connected=0", name);
        return;
    }
    bool listening = false;
    for (uint32_t i = 0; i < t->num_flows; i++)
        listening |= t->flows[i].listener && t->flows[i].local_port == t->flow->local_port;
    if (!listening)
        run_text(t, "%s: listen", name);
    run_text(t, "%s: < SYN%s seq=0 %s", name, ask, words);
    run_text(t, "%s: > SYN|ACK%s seq=0 ack=1", name, agree);
    if (rtt > 0)
        run_text(t, "+%" PRId64, rtt);
    run_text(t, "%s: < ACK seq=1 ack=1 win=%" PRId64, name, last);
    run_text(t, "%s: accept", name);
}

static bool run_command(struct test *t, const char *name)
{
    static const struct {
        const char *name;
        void (*run)(struct test *t);
        bool early; /* before the stack is there */
    } commands[] = {
        {"mtu", run_mtu, true},
        {"vlan", run_vlan, true},
        {"only", run_only, true},
        {"neighbours", run_neighbours, true},
        {"link", run_link, true},
        {"dad", run_dad, true},
        {"address", run_address, true},
        {"route", run_route, true},
        {"offload", run_offload, true},
        {"gro", run_gro, true},
        {"congestion", run_congestion, true},
        {"ecn", run_ecn, true},
        {"cookies", run_cookies, true},
        {"pressure", run_pressure, true},
        {"probing", run_probing, true},
        {"wrap", run_wrap, true},
        {"without", run_without, true},
        {"flow", run_flow, true},
        {"set", run_set, true},
        {"none", run_none, false},
        {"drain", run_drain, false},
        {"late", run_late, false},
        {"within", run_within, false},
        {"full", run_full, false},
        {"stat", run_stat, false},
        {"cut", run_cut, false},
        {"handshake", run_handshake, false},
        {"iss-distance", run_iss_distance, false},
        {"iss-growth", run_iss_growth, false},
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (!commands[i].early)
            host_start(t);
        commands[i].run(t);
        return true;
    }
    return false;
}

/* `NAME: ...` is about another flow than the first. */
static void take_flow(struct test *t, struct line *line)
{
    t->flow = &t->flows[0];
    size_t len = strlen(line->word[0]);
    if (len < 2 || line->word[0][len - 1] != ':')
        return;
    line->word[0][len - 1] = '\0';
    t->flow = flow_find(t, line->word[0]);
    if (t->flow == NULL)
        t->flow = flow_add(t, line->word[0]);
    line->num_words--;
    memmove(line->word, line->word + 1, (size_t)line->num_words * sizeof(line->word[0]));
    if (line->num_words == 0)
        test_fail(t, "and what is it to do?");
}

static void run_line(struct test *t, struct line *line)
{
    take_flow(t, line);
    const char *command = line->word[0];
    if (strcmp(command, "<") != 0)
        host_release(t);
    if (run_command(t, command)) {
        if (!t->ended)
            line_done(t);
        host_settle(t);
        return;
    }
    host_start(t);
    if (strcmp(command, "<") == 0) {
        match_none(t, "before");
        build_input(t);
    } else if (strcmp(command, ">") == 0) {
        match_output(t, SLACK_NS);
    } else if (command[0] == '+') {
        run_wait(t);
    } else if (app_run(t, command) || app_udp_run(t, command)) {
        line_done(t);
        host_settle(t);
    } else {
        test_fail(t, "no command is called \"%s\"", command);
    }
}

static int find_end(struct test *t, int from)
{
    int depth = 1;
    for (int i = from; i < num_lines; i++) {
        char word[16] = "";
        sscanf(script[i], "%15s", word);
        depth += strcmp(word, "repeat") == 0 ? 1 : strcmp(word, "end") == 0 ? -1 : 0;
        if (depth == 0)
            return i;
    }
    test_fail(t, "repeat without end");
}

static void run_lines(struct test *t, int from, int to);

/* `repeat VARIABLE FROM TO` ... `end` */
static int run_repeat(struct test *t, struct line *line, int at)
{
    int end = find_end(t, at + 1);
    if (line->num_words != 4)
        test_fail(t, "repeat VARIABLE FROM TO");
    char name[16];
    snprintf(name, sizeof(name), "%s", line->word[1]);
    int64_t from = eval(t, line->word[2]), to = eval(t, line->word[3]);
    for (int64_t i = from; i <= to; i++) {
        var_set(t, name, i);
        run_lines(t, at + 1, end);
    }
    return end;
}

static void run_lines(struct test *t, int from, int to)
{
    for (int i = from; i < to && !t->ended; i++) {
        struct line line = {.file = t->file, .number = i + 1};
        t->line = &line;
        line_cut(t, &line, script[i]);
        if (line.num_words == 0)
            continue;
        if (t->verbose && t->net != NULL)
            printf("%*s %s\n", 12, "", script[i]);
        if (strcmp(line.word[0], "repeat") == 0)
            i = run_repeat(t, &line, i);
        else
            run_line(t, &line);
    }
    t->line = NULL;
}

static void set_variables(struct test *t)
{
    struct dk_tcp_config c;
    dk_tcp_config_init(&c);
    var_set(t, "V", t->version);
    var_set(t, "HEAD", t->version == 4 ? 40 : 60); /* of IP and TCP */
    var_set(t, "ICMP", t->version == 4 ? 1 : 58);
    var_set(t, "DELACK", c.delayed_ack_ns);
    var_set(t, "HOLD", c.push_hold_ns);
    var_set(t, "RTO_MIN", c.rto_min_ns);
    var_set(t, "RTO_MAX", c.rto_max_ns);
    var_set(t, "RTO_INIT", c.rto_initial_ns);
    var_set(t, "TIME_WAIT", c.time_wait_ns);
    var_set(t, "FIN_WAIT_2", c.fin_wait_2_ns);
    var_set(t, "RETRIES", c.retries);
    var_set(t, "SYN_RETRIES", c.syn_retries);
    var_set(t, "RCVBUF", c.rcv_buf_bytes);
}

static void finish(struct test *t)
{
    t->line = NULL;
    host_release(t);
    host_settle(t);
    match_none(t, "at the end");
    for (uint32_t i = 0; i < t->num_events; i++) {
        if (t->events[i].bad)
            test_fail(t, "an event that nobody expected: %s: %s", t->events[i].flow->name,
                      t->events[i].text);
    }
}

static bool run_once(struct test *t)
{
    t->config.skip_dad = true;
    volatile bool good = false;
    if (setjmp(t->failed) == 0) {
        flow_add(t, "A");
        set_variables(t);
        run_lines(t, 0, num_lines);
        if (!t->ended)
            finish(t);
        good = true;
    }
    host_stop(t);
    if (good && t->net != NULL && dk_buf_in_use() != t->buffers_before) {
        snprintf(t->message, sizeof(t->message), "%s (IPv%d): %d buffers leaked", t->file,
                 t->version, (int)(dk_buf_in_use() - t->buffers_before));
        good = false;
    }
    return good;
}

/* When the stack has to start so that the sequence numbers of its first connection are close to
 * their end: they grow by one each 4 microseconds (RFC 9293 section 3.4.1). */
static int64_t wrap_time(const struct test *t)
{
    uint32_t wanted = UINT32_C(0) - 20000;
    uint32_t missing = wanted - t->flows[0].iss;
    return t->start + (int64_t)missing * 4000;
}

static void unload(void)
{
    while (num_lines > 0)
        free(script[--num_lines]);
}

static bool load(const char *file)
{
    FILE *in = fopen(file, "r");
    if (in == NULL)
        return false;
    char text[TEXT_MAX];
    num_lines = 0;
    while (num_lines < LINES_MAX && fgets(text, sizeof(text), in) != NULL)
        script[num_lines++] = strndup(text, strcspn(text, "\n"));
    fclose(in);
    return num_lines > 0 && script[0][0] == '#' && strstr(script[0], "RFC ") != NULL;
}

bool run_script(struct test *t, const char *file, int version, const struct mode *mode)
{
    int64_t wrap_start = 0;
    bool good;
    if (!load(file)) {
        unload();
        memset(t, 0, sizeof(*t));
        snprintf(t->message, sizeof(t->message),
                 "%s cannot be read, or its first line names no RFC", file);
        return false;
    }
    for (int pass = 0; pass < 2; pass++) {
        memset(t, 0, sizeof(*t));
        t->file = file;
        t->version = version;
        t->verbose = mode->verbose;
        t->config.device_caps = mode->device_caps;
        t->config.gro = mode->gro;
        t->wrap_start = wrap_start;
        good = run_once(t);
        if (!t->wrap || !t->flows[0].has_iss)
            break;
        wrap_start = wrap_time(t);
    }
    if (good && t->wrap && t->flows[0].iss < UINT32_MAX - 30000) {
        snprintf(t->message, sizeof(t->message), "%s: the sequence numbers begin at %u", file,
                 t->flows[0].iss);
        good = false;
    }
    unload();
    return good;
}
