/* SPDX-License-Identifier: MIT */
/*
 * A pipeline of operators: telemetry over UDP, from the datagram to a sorted log.
 *
 *     UDP -> filter -> map -> partition -+-> worker -> queue -+-> merge -> sort -> sink
 *            valid?    decode  by sensor +-> worker -> queue -+   both     by time
 *
 * The program sends its telemetry to itself over loopback: `pipeline [READINGS]`. A tenth of the
 * datagrams is damaged, and filtered. The workers are threads: each has the readings of its
 * sensors, in order, and pushes what it made of them to a queue in memory. The sink checks what
 * comes out; the counters are those of the library, and are printed while the pipeline runs.
 */
#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 2
#define SENSORS 8
#define WINDOW  32 /* datagrams under way: loopback drops what its receiver has no room for */
#define MAGIC   0x7e1eu

/* As it is sent, in network order. */
struct datagram {
    uint16_t magic, sensor;
    uint32_t time;
    int32_t value;
};

/* As the program sees it. */
struct reading {
    uint32_t sensor, time;
    int32_t value, smooth; /* smooth: the worker's, over the readings of this sensor */
};

static struct pipeline {
    uint32_t readings;
    int udp, valid, decoded, shards[WORKERS], done[WORKERS], merged, sorted;
    _Atomic uint32_t worked[WORKERS];
    uint32_t sunk, disorder;
    pthread_t workers[WORKERS];
} p;

static bool is_valid(const demi_sgarray_t *sga, void *arg)
{
    struct datagram d;

    (void)arg;
    if (sga->sga_numsegs != 1 || sga->sga_segs[0].sgaseg_len != sizeof(d))
        return false;
    memcpy(&d, sga->sga_segs[0].sgaseg_buf, sizeof(d));
    return ntohs(d.magic) == MAGIC && ntohs(d.sensor) < SENSORS;
}

/* A reading is longer than its datagram, so it is a new element; the library frees the old one. */
static int decode(demi_sgarray_t *sga, void *arg)
{
    struct datagram d;
    demi_sgarray_t made = demi_sgaalloc(sizeof(struct reading));

    (void)arg;
    if (made.sga_numsegs == 0)
        return ENOMEM;
    memcpy(&d, sga->sga_segs[0].sgaseg_buf, sizeof(d));
    struct reading r = {ntohs(d.sensor), ntohl(d.time), (int32_t)ntohl((uint32_t)d.value), 0};
    memcpy(made.sga_segs[0].sgaseg_buf, &r, sizeof(r));
    *sga = made;
    return 0;
}

static struct reading reading_of(const demi_sgarray_t *sga)
{
    struct reading r;

    memcpy(&r, sga->sga_segs[0].sgaseg_buf, sizeof(r));
    return r;
}

static uint32_t by_sensor(const demi_sgarray_t *sga, void *arg)
{
    (void)arg;
    return reading_of(sga).sensor;
}

static int by_time(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    uint32_t x = reading_of(a).time, y = reading_of(b).time;

    (void)arg;
    return (x > y) - (x < y);
}

/* Pops its shard, smooths each sensor's values, and hands the same buffer on. */
static void *work(void *arg)
{
    int me = (int)(intptr_t)arg;
    int32_t smooth[SENSORS] = {0};
    demi_qresult_t qr;

    while (demi_blocking_pop(p.shards[me], &qr) == 0 && qr.qr_value.sga.sga_numsegs > 0) {
        struct reading r = reading_of(&qr.qr_value.sga);

        r.smooth = smooth[r.sensor] += (r.value - smooth[r.sensor]) / 4;
        memcpy(qr.qr_value.sga.sga_segs[0].sgaseg_buf, &r, sizeof(r));
        int err = demi_blocking_push(p.done[me], &qr.qr_value.sga);
        demi_sgafree(&qr.qr_value.sga);
        if (err)
            break;
        p.worked[me]++;
    }
    return NULL;
}

static int build(struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    int err;

    if ((err = demi_socket(&p.udp, AF_INET, SOCK_DGRAM, 0)) ||
        (err = demi_bind(p.udp, (struct sockaddr *)addr, sizeof(*addr))) ||
        (err = demi_getsockname(p.udp, (struct sockaddr *)addr, &len)) ||
        (err = demi_filter(&p.valid, p.udp, is_valid, NULL)) ||
        (err = demi_map_dir(&p.decoded, p.valid, NULL, decode, NULL)) ||
        (err = demi_partition(p.shards, WORKERS, p.decoded, by_sensor, NULL)))
        return err;
    for (int i = 0; i < WORKERS; i++)
        if ((err = demi_queue(&p.done[i], 0)) ||
            (err = pthread_create(&p.workers[i], NULL, work, (void *)(intptr_t)i)))
            return err;
    if ((err = demi_merge(&p.merged, p.done[0], p.done[1])))
        return err;
    return demi_sort(&p.sorted, p.merged, by_time, NULL);
}

/* Sends reading i, and before every tenth one a datagram that is damaged. */
static int send_reading(int qd, uint32_t i)
{
    for (int damaged = i % 10 == 0 ? 1 : 0; damaged >= 0; damaged--) {
        struct datagram d = {htons(damaged ? 0xbad : MAGIC), htons((uint16_t)(i % SENSORS)),
                             htonl(i), (int32_t)htonl((uint32_t)(i * 37 % 1000))};
        demi_sgarray_t sga = demi_sgaalloc(sizeof(d));
        int err;

        if (sga.sga_numsegs == 0)
            return ENOMEM;
        memcpy(sga.sga_segs[0].sgaseg_buf, &d, sizeof(d));
        err = demi_blocking_push(qd, &sga);
        demi_sgafree(&sga);
        if (err)
            return err;
    }
    return 0;
}

/* Pops one reading. Those under way arrive in any order between workers; sort puts right what waits
 * at the same time, so none is further from its place than what is under way. */
static int sink_one(void)
{
    demi_qresult_t qr;
    int err = demi_blocking_pop(p.sorted, &qr);

    if (err)
        return err;
    struct reading r = reading_of(&qr.qr_value.sga);
    if (r.time + WINDOW < p.sunk || r.time > p.sunk + WINDOW)
        p.disorder++;
    p.sunk++;
    return demi_sgafree(&qr.qr_value.sga);
}

static void print_counters(void)
{
    struct demi_stat stats[128];
    size_t n = 0;

    printf("sunk %u, workers %u and %u", p.sunk, p.worked[0], p.worked[1]);
    if (demi_stats(stats, 128, &n) == 0)
        for (size_t i = 0; i < n && i < 128; i++)
            if (strncmp(stats[i].name, "compose.", 8) == 0 && stats[i].value > 0)
                printf(", %s %llu", stats[i].name, (unsigned long long)stats[i].value);
    printf("\n");
}

static int run(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int sender, err;

    if ((err = build(&addr)) || (err = demi_socket(&sender, AF_INET, SOCK_DGRAM, 0)) ||
        (err = demi_connect(&qt, sender, (struct sockaddr *)&addr, sizeof(addr))) ||
        (err = demi_wait(&qr, qt, NULL)))
        return err;
    for (uint32_t i = 0; i < p.readings && !err; i++) {
        err = send_reading(sender, i);
        if (!err && i >= WINDOW)
            err = sink_one();
        if (i % (p.readings / 4 + 1) == p.readings / 4)
            print_counters();
    }
    while (!err && p.sunk < p.readings)
        err = sink_one();
    print_counters();
    demi_close(p.udp); /* the workers' pops end with ECANCELED, and they with them */
    for (int i = 0; i < WORKERS; i++)
        pthread_join(p.workers[i], NULL);
    return err;
}

int main(int argc, char **argv)
{
    int err = demi_init(NULL);

    p.readings = argc > 1 ? (uint32_t)atoi(argv[1]) : 20000;
    if (!err)
        err = run();
    if (!err && (p.disorder > 0 || p.sunk != p.readings || p.worked[0] + p.worked[1] != p.readings))
        err = EPROTO;
    if (err) {
        fprintf(stderr, "pipeline: %s\n", strerror(err));
        return 1;
    }
    printf("%u readings, all there\n", p.sunk);
    return demi_fini();
}
