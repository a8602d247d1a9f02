/* SPDX-License-Identifier: MIT */
/* Scenarios, CPUs and figures of comparisons of echo servers (echo_rounds.h). */
#include "echo_rounds.h"

#include "bench.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define MS_LEAST    20
#define MS_MOST     60000
#define SHARE_LEAST 0.95 /* of its CPU that the client must have for figures to mean much */

const struct echo_scenario echo_scenarios[ECHO_SCENARIOS] = {
    {"1 connection, spinning", 1, true},
    {"64 connections, spinning", 64, true},
    {"1 connection, blocking", 1, false},
    {"64 connections, blocking", 64, false},
};

bool echo_read_arguments(int argc, char **argv, size_t least, struct echo_settings *settings)
{
    const long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : (long)settings->rounds;
    const long ms =
        argc > 2 ? strtol(argv[2], NULL, 10) : (long)(settings->measure_ns / UINT64_C(1000000));
    settings->rounds = (size_t)rounds;
    settings->measure_ns = (uint64_t)ms * 1000000;
    return rounds >= (long)least && rounds <= ECHO_ROUNDS_MAX && ms >= MS_LEAST && ms <= MS_MOST;
}

bool echo_choose_cpus(struct echo_settings *settings)
{
    cpu_set_t set;
    int found = 0;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return false;
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (CPU_ISSET(cpu, &set))
            *(found++ == 0 ? &settings->server_cpu : &settings->client_cpu) = cpu;
    }
    return found == 2;
}

void echo_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        perror("cannot pin to a CPU");
}

void echo_clean_environment(void)
{
    static const char *const others[] = {"DEMI_CONFIG", "CONFIG_PATH", "LIBOS", "DEMI_BACKGROUND",
                                         "DEMI_WORKERS"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        unsetenv(others[i]);
}

double echo_round_trip_us(const struct echo_figures *figures)
{
    return figures->p50_ns / 1e3;
}

double echo_rate_k(const struct echo_figures *figures)
{
    return figures->per_second / 1e3;
}

double echo_cpu_us(const struct echo_figures *figures)
{
    return figures->cpu_ns / 1e3;
}

double echo_share(const struct echo_figures *figures)
{
    return figures->share;
}

double echo_median(const struct echo_figures figures[], size_t n, echo_figure_fn figure)
{
    double values[ECHO_ROUNDS_MAX];
    for (size_t i = 0; i < n; i++)
        values[i] = figure(&figures[i]);
    return bench_median(values, n);
}

double echo_ratio(const struct echo_figures ours[], const struct echo_figures theirs[], size_t n,
                  echo_figure_fn figure)
{
    double values[ECHO_ROUNDS_MAX];
    for (size_t i = 0; i < n; i++)
        values[i] = figure(&ours[i]) / figure(&theirs[i]);
    return (double)(long)(bench_median(values, n) * 100 + 0.5) / 100;
}

int echo_judge(const char *scenario, const char *what, double ratio, double target, bool most)
{
    bool met = most ? ratio <= target : ratio >= target;
    printf("%s %s, %s: %.2fx of epoll, target %s %.2fx\n", met ? "PASS" : "FAIL", scenario, what,
           ratio, most ? "<=" : ">=", target);
    return met ? 0 : 1;
}

void echo_print_disturbance(double share)
{
    if (share < SHARE_LEAST)
        printf("  NOTE: other work ran here: the client had %.0f %% of its CPU; repeat when "
               "quiet\n",
               share * 100);
}
