/* SPDX-License-Identifier: MIT */
/*
 * What the tests of operators share: operators that change nothing, chains of them, and what must
 * be as before when they are gone.
 */
#ifndef DEMI_TEST_CONFORM_OPERATORS_H
#define DEMI_TEST_CONFORM_OPERATORS_H

#include "suite.h"

/* Operators of one source; each is made so that it passes every element unchanged and in order. */
enum kind { FILTER, MAP, MAP_IN, MAP_OUT, SORT, PARTITION, KINDS };

const char *kind_name(enum kind kind);

/* Runs the statement for each kind. */
#define FOR_EACH_KIND(each) for (enum kind each = 0; (each) < KINDS; (each)++)

/* Derives a queue from qd. try_derive returns the errno. */
int derive(enum kind kind, int qd);
int try_derive(int *qd_out, enum kind kind, int qd);

enum { CHAIN_MAX = 128 };

/* A chain over a queue: qds[0] is derived from it, qds[depth - 1] is the top. */
struct chain {
    int depth;
    int qds[CHAIN_MAX];
};

/* Operators of all kinds in turn, beginning with a kind. */
struct chain chain_make(int qd, int depth, enum kind first);
int chain_top(const struct chain *chain);
void chain_close(const struct chain *chain); /* from the top down */

/* The pattern of seed, from 0, as one element of len bytes. */
void send_element(int qd, size_t len, uint64_t seed);
void check_element(demi_sgarray_t sga, size_t len, uint64_t seed); /* frees it */
void pop_element(int qd, size_t len, uint64_t seed);
demi_qtoken_t push_element(int qd, size_t len, uint64_t seed);
void wait_element(demi_qtoken_t qt, size_t len, uint64_t seed);

/* A counter that is there. */
uint64_t stat_now(const char *name);

/* Buffers in use, and after the test again as many. */
uint64_t buffers_now(void);
void buffers_must_be(uint64_t before);

/* Nothing has happened to an operation, and nothing does in a moment. */
void must_wait(demi_qtoken_t qt);

/* Drives the library, with qt outstanding, until the counter is at least so much. */
void drive_until_stat(demi_qtoken_t qt, const char *name, uint64_t least);

#endif /* DEMI_TEST_CONFORM_OPERATORS_H */
