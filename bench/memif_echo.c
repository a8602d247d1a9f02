/* SPDX-License-Identifier: MIT */
/*
 * memif-echo floor CPU CPU: nanoseconds of a cache line that goes to another core and back.
 * memif-echo serve raw SOCKET | udp | tcp | linux CONNECTIONS: serves until it is killed.
 * memif-echo ask MILLISECONDS raw SOCKET FRAME_BYTES | udp | tcp CONNECTIONS |
 *     linux PORT CONNECTIONS: prints the nanoseconds between two messages that are back, of which
 *     each connection has one under way; with one connection that is the round trip. Then its share
 *     of its CPU: less than 1, and others ran there.
 *
 * The clock is read once for BATCH messages; the median over batches is what is printed, so that a
 * batch in which something else ran does not count.
 */
#include "bench.h"
#include "memif.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH       128u
#define BATCHES_MAX (1u << 18)
#define WARM_UP_NS  UINT64_C(100000000)
#define FLOOR_TURNS 2000u
#define FLOOR_TIMES 21u

static uint64_t number; /* of the last message, and of each connection's: */
static uint64_t numbers[MEMIF_CONNECTIONS_MAX];
static uint64_t num_counted, begun_ns, begun_cpu_ns, batch_ns, measure_ns;
static double batches[BATCHES_MAX];
static size_t num_batches;

void memif_must(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "memif-echo: %s\n", what);
    _exit(1);
}

void memif_ready(void)
{
    puts("ready");
    fflush(stdout);
}

static uint64_t cpu_now_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

bool memif_count(void)
{
    if (++num_counted % BATCH != 0)
        return true;
    const uint64_t now = bench_now_ns();
    if (begun_ns == 0) {
        begun_ns = now;
        begun_cpu_ns = cpu_now_ns();
    }
    if (now - begun_ns > WARM_UP_NS && num_batches < BATCHES_MAX)
        batches[num_batches++] = (double)(now - batch_ns) / BATCH;
    batch_ns = now;
    return now - begun_ns < WARM_UP_NS + measure_ns;
}

void memif_number(uint32_t connection, void *message)
{
    numbers[connection] = ++number;
    memcpy(message, &number, sizeof(number));
}

void memif_check(uint32_t connection, const void *message, uint64_t bytes)
{
    uint64_t got;
    memif_must(bytes == MEMIF_BYTES, "a message of another length came back");
    memcpy(&got, message, sizeof(got));
    memif_must(got == numbers[connection], "another message came back");
}

/* ---- the floor */

static _Atomic uint32_t line __attribute__((aligned(128)));

static void pin(const char *cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(atoi(cpu), &set);
    memif_must(sched_setaffinity(0, sizeof(set), &set) == 0, "no such CPU");
}

static void *bounce(void *cpu)
{
    pin(cpu);
    for (uint32_t turn = 1; turn < 2 * FLOOR_TURNS * FLOOR_TIMES; turn += 2) {
        while (atomic_load_explicit(&line, memory_order_acquire) != turn)
            ;
        atomic_store_explicit(&line, turn + 1, memory_order_release);
    }
    return NULL;
}

static void floor_of(const char *cpu, char *other_cpu)
{
    pthread_t other;
    double times[FLOOR_TIMES];
    uint32_t turn = 0;
    memif_must(pthread_create(&other, NULL, bounce, other_cpu) == 0, "no thread");
    pin(cpu);
    for (uint32_t i = 0; i < FLOOR_TIMES; i++) {
        const uint64_t begun = bench_now_ns();
        for (uint32_t n = 0; n < FLOOR_TURNS; n++) {
            atomic_store_explicit(&line, ++turn, memory_order_release);
            ++turn;
            while (atomic_load_explicit(&line, memory_order_acquire) != turn)
                ;
        }
        times[i] = (double)(bench_now_ns() - begun) / FLOOR_TURNS;
    }
    pthread_join(other, NULL);
    printf("%.1f\n", bench_median(times, FLOOR_TIMES));
}

/* ---- */

static uint32_t connections_of(const char *text)
{
    const int n = atoi(text);
    memif_must(n > 0 && n <= (int)MEMIF_CONNECTIONS_MAX, "connections: 1 to 1024");
    return (uint32_t)n;
}

static void serve(char **args, int n)
{
    if (n == 2 && strcmp(args[0], "raw") == 0)
        memif_raw_serve(args[1]);
    if (n == 1 && strcmp(args[0], "udp") == 0)
        memif_demi_serve(SOCK_DGRAM);
    if (n == 1 && strcmp(args[0], "tcp") == 0)
        memif_demi_serve(SOCK_STREAM);
    if (n == 2 && strcmp(args[0], "linux") == 0)
        memif_linux_serve(connections_of(args[1]));
    memif_must(false, "serve what?");
}

static void ask(char **args, int n)
{
    measure_ns = (uint64_t)atoi(args[0]) * 1000000u;
    if (n == 4 && strcmp(args[1], "raw") == 0)
        memif_raw_ask(args[2], (uint32_t)atoi(args[3]));
    else if (n == 2 && strcmp(args[1], "udp") == 0)
        memif_demi_ask(SOCK_DGRAM, 1);
    else if (n == 3 && strcmp(args[1], "tcp") == 0)
        memif_demi_ask(SOCK_STREAM, connections_of(args[2]));
    else if (n == 4 && strcmp(args[1], "linux") == 0)
        memif_linux_ask((uint16_t)atoi(args[2]), connections_of(args[3]));
    else
        memif_must(false, "ask what?");
    memif_must(num_batches > 0, "too few messages came back");
    printf("%.1f %.3f\n", bench_median(batches, num_batches),
           (double)(cpu_now_ns() - begun_cpu_ns) / (double)(bench_now_ns() - begun_ns));
    fflush(stdout);
    _exit(0); /* the server is killed: nothing is left to say good-bye to */
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "floor") == 0)
        floor_of(argv[2], argv[3]);
    else if (argc >= 3 && strcmp(argv[1], "serve") == 0)
        serve(argv + 2, argc - 2);
    else if (argc >= 4 && strcmp(argv[1], "ask") == 0)
        ask(argv + 2, argc - 2);
    else
        memif_must(false, "usage: memif-echo floor|serve|ask ...");
    return 0;
}
