/* SPDX-License-Identifier: MIT */
/*
 * Threads of a test. A failed check in one of them is kept, with its place, and fails the test when
 * the crew is joined: a cmocka assertion may only be made by the thread that runs the test.
 */
#ifndef DEMI_TEST_THREADS_CREW_H
#define DEMI_TEST_THREADS_CREW_H

#include "../lib/backend.h"

#include <pthread.h>

enum { CREW_MAX = 32 };

typedef void (*crew_fn)(int index, void *arg);

/* In a thread of the crew: ends the function when the condition does not hold. */
#define CREW_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            crew_fails(#condition, __FILE__, __LINE__);                                            \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* The same for a call that returns an errno. */
#define CREW_MUST(call)                                                                            \
    do {                                                                                           \
        int crew_error = (call);                                                                   \
        if (crew_error != 0) {                                                                     \
            crew_fails_errno(#call, crew_error, __FILE__, __LINE__);                               \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* How often to do what n times is usual for: less where a leader spins for ever, because there
 * every other thread waits for its turn of a processor. */
int crew_rounds(int n);

/* Starts n threads that run fn(index, arg); they begin together. */
void crew_start(int n, crew_fn fn, void *arg);

/* Waits for all, and fails the test if one failed. */
void crew_join(void);

/* Whether a check failed so far: the others should stop. What failed first, and where. */
bool crew_failed(void);
const char *crew_failure(void);

void crew_fails(const char *what, const char *file, int line);
void crew_fails_errno(const char *what, int error, const char *file, int line);

/* A wait with patience that yields a success of that opcode, for use in CREW_MUST: an errno. */
int crew_wait(demi_qresult_t *qr, demi_qtoken_t qt, demi_opcode_t opcode);

/* Pushes n bytes of value `tag` as one element and waits; pops one element whose first 8 bytes are
 * the tag. For use in CREW_MUST. */
int crew_push_tag(int qd, uint64_t tag);
int crew_pop_tag(int qd, uint64_t *tag_out);

#endif /* DEMI_TEST_THREADS_CREW_H */
