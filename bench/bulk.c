/* SPDX-License-Identifier: MIT */
/*
 * One stream of elements of 64 KiB, from a process that pushes them to one that pops, over
 * whichever library OS DEMI_NET names.
 *
 *     bulk sink ADDRESS                   prints "listening on ADDRESS"
 *     bulk send ADDRESS ELEMENTS DEPTH    DEPTH pushes are outstanding, each of memory of its own
 *
 * An element begins with its number, which the sink looks for where it has to be. Both print at the
 * end, as NAME=VALUE, how many bytes there were; in how many nanoseconds, from the first byte to
 * the last one popped, or to the last push that is complete; and all counters of copies.
 */
#include "../tools/address.h"
#include "bench.h"

#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENT_BYTES (64u << 10)
#define DEPTH_MAX     64
#define STATS_MAX     512

static void check(int err, const char *what)
{
    if (err == 0)
        return;
    fprintf(stderr, "bulk: %s: %s\n", what, strerror(err));
    exit(1);
}

static demi_qresult_t wait_for(demi_qtoken_t qt, demi_opcode_t opcode, const char *what)
{
    demi_qresult_t result;
    check(demi_wait(&result, qt, NULL), what);
    check(result.qr_opcode == opcode ? 0 : (int)result.qr_ret, what);
    return result;
}

/* Counters that tell of copies, of what needs none, and of what was sent twice or lost. */
static bool is_told(const char *name)
{
    static const char *const words[] = {"copied", "copies", "attached", "retrans", "ring_full"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(name, words[i]) != NULL)
            return true;
    return false;
}

static void tell(uint64_t bytes, uint64_t ns)
{
    static struct demi_stat stats[STATS_MAX];
    size_t n = 0;
    check(demi_stats(stats, STATS_MAX, &n), "counters");
    check(n <= STATS_MAX ? 0 : ENOBUFS, "counters");
    printf("bytes=%" PRIu64 " ns=%" PRIu64, bytes, ns);
    for (size_t i = 0; i < n; i++)
        if (stats[i].text == NULL && is_told(stats[i].name))
            printf(" %s=%" PRIu64, stats[i].name, stats[i].value);
    printf("\n");
}

/* ---- The sink. */

struct stream {
    uint64_t bytes;  /* so far */
    uint64_t number; /* of the element under way, as far as it has come */
};

/* Takes a part of the stream: elements begin wherever segments do not. */
static void take(struct stream *s, const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < len;) {
        const uint32_t at = (uint32_t)(s->bytes % ELEMENT_BYTES), left = len - i;
        if (at >= sizeof(s->number)) {
            const uint32_t rest = ELEMENT_BYTES - at, n = left < rest ? left : rest;
            s->bytes += n;
            i += n;
            continue;
        }
        memcpy((uint8_t *)&s->number + at, data + i, 1);
        s->bytes++;
        i++;
        if (at == sizeof(s->number) - 1)
            check(s->number == s->bytes / ELEMENT_BYTES ? 0 : EBADMSG, "order");
    }
}

static void sink(int listen_qd)
{
    struct stream stream = {0};
    demi_qtoken_t qt;
    check(demi_accept(&qt, listen_qd), "accept");
    const int qd = wait_for(qt, DEMI_OPC_ACCEPT, "accept").qr_value.ares.qd;
    uint64_t first_ns = 0, last_ns = 0;
    for (;;) {
        check(demi_pop(&qt, qd), "pop");
        demi_qresult_t result = wait_for(qt, DEMI_OPC_POP, "pop");
        demi_sgarray_t *sga = &result.qr_value.sga;
        if (sga->sga_numsegs == 0)
            break;
        last_ns = bench_now_ns();
        first_ns = first_ns == 0 ? last_ns : first_ns;
        for (uint32_t i = 0; i < sga->sga_numsegs; i++)
            take(&stream, sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len);
        check(demi_sgafree(sga), "free");
    }
    tell(stream.bytes, last_ns - first_ns);
    demi_close(qd);
}

static int listen_at(const char *text, const struct address *at)
{
    int qd;
    check(demi_socket(&qd, at->addr.ss_family, SOCK_STREAM, 0), "socket");
    check(demi_bind(qd, (const struct sockaddr *)&at->addr, at->len), "bind");
    check(demi_listen(qd, 1), "listen");
    printf("listening on %s\n", text);
    return qd;
}

/* ---- The sender. */

static void push(int qd, const demi_sgarray_t *element, uint64_t number, demi_qtoken_t *qt_out)
{
    memcpy(element->sga_segs[0].sgaseg_buf, &number, sizeof(number));
    check(demi_push(qt_out, qd, element), "push");
}

static void send_all(int qd, uint64_t elements, int depth)
{
    static demi_sgarray_t slots[DEPTH_MAX];
    static demi_qtoken_t qts[DEPTH_MAX];
    const uint64_t start = bench_now_ns();
    uint64_t pushed = 0;
    for (int i = 0; i < depth; i++) {
        slots[i] = demi_sgaalloc(ELEMENT_BYTES);
        check(slots[i].sga_numsegs == 1 ? 0 : ENOMEM, "memory");
        memset(slots[i].sga_segs[0].sgaseg_buf, 'x', ELEMENT_BYTES);
        push(qd, &slots[i], pushed++, &qts[i]);
    }
    for (uint64_t done = 0; done < elements; done++) {
        const int at = (int)(done % (uint64_t)depth); /* they complete in order */
        wait_for(qts[at], DEMI_OPC_PUSH, "push");
        if (pushed < elements)
            push(qd, &slots[at], pushed++, &qts[at]);
    }
    tell(elements * ELEMENT_BYTES, bench_now_ns() - start);
    for (int i = 0; i < depth; i++)
        demi_sgafree(&slots[i]);
}

static int connect_to(const struct address *to)
{
    demi_qtoken_t qt;
    int qd;
    check(demi_socket(&qd, to->addr.ss_family, SOCK_STREAM, 0), "socket");
    check(demi_connect(&qt, qd, (const struct sockaddr *)&to->addr, to->len), "connect");
    wait_for(qt, DEMI_OPC_CONNECT, "connect");
    return qd;
}

int main(int argc, char **argv)
{
    struct address address;
    const bool sends = argc == 5 && strcmp(argv[1], "send") == 0;
    const bool sinks = argc == 3 && strcmp(argv[1], "sink") == 0;
    const long elements = sends ? strtol(argv[3], NULL, 10) : 0;
    const long depth = sends ? strtol(argv[4], NULL, 10) : 0;
    if ((!sends && !sinks) || address_parse(argv[2], AF_INET, &address) != NULL ||
        (sends && (depth < 1 || depth > DEPTH_MAX || elements < depth))) {
        fprintf(stderr, "usage: bulk sink ADDRESS | bulk send ADDRESS ELEMENTS DEPTH\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    check(demi_init(NULL), "demi_init");
    int qd = sends ? connect_to(&address) : listen_at(argv[2], &address);
    if (sends)
        send_all(qd, (uint64_t)elements, (int)depth);
    else
        sink(qd);
    demi_close(qd);
    check(demi_fini(), "demi_fini");
    return 0;
}
