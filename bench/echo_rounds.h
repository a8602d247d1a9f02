/* SPDX-License-Identifier: MIT */
/*
 * What comparisons of echo servers have in common: scenarios, CPUs, the figures of many rounds.
 */
#ifndef BENCH_ECHO_ROUNDS_H
#define BENCH_ECHO_ROUNDS_H

#include "echo_epoll.h"

#define ECHO_ROUNDS_MAX 101
#define ECHO_SCENARIOS  4

struct echo_scenario {
    const char *name;
    size_t connections;
    bool spin;
};

extern const struct echo_scenario echo_scenarios[ECHO_SCENARIOS];

struct echo_settings {
    size_t rounds;
    uint64_t measure_ns;
    int server_cpu, client_cpu;
};

/* Reads "[ROUNDS [MILLISECONDS]]"; what is there already are the defaults. False: none that may be;
 * least: of rounds. */
bool echo_read_arguments(int argc, char **argv, size_t least, struct echo_settings *settings);

/* Takes the first two CPUs that this process may use. False: there is one only. */
bool echo_choose_cpus(struct echo_settings *settings);

/* Says so when it cannot. */
void echo_pin(int cpu);

/* Takes the variables away by which the environment would change what is compared. */
void echo_clean_environment(void);

/* One of the figures of a round, in the unit that is printed. */
typedef double (*echo_figure_fn)(const struct echo_figures *figures);

double echo_round_trip_us(const struct echo_figures *figures);
double echo_rate_k(const struct echo_figures *figures);
double echo_cpu_us(const struct echo_figures *figures);
double echo_share(const struct echo_figures *figures);

/* Of n rounds, at most ECHO_ROUNDS_MAX. */
double echo_median(const struct echo_figures figures[], size_t n, echo_figure_fn figure);

/* The median of ours over theirs, pair by pair, to two decimals, as it is printed. */
double echo_ratio(const struct echo_figures ours[], const struct echo_figures theirs[], size_t n,
                  echo_figure_fn figure);

/* Prints whether a ratio to the epoll server is at most the target, or at least; returns how many
 * were missed. */
int echo_judge(const char *scenario, const char *what, double ratio, double target, bool most);

/* Says so when the client did not have its CPU to itself: share is the least of all sides. */
void echo_print_disturbance(double share);

#endif /* BENCH_ECHO_ROUNDS_H */
