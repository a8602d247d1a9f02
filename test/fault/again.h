/* SPDX-License-Identifier: MIT */
/*
 * One scenario, again and again, each time with another request of the library to the system
 * failing. What fails is tried again, by TRY and TRY_OP; after demi_fini as many blocks and
 * descriptors are held as ever; and the next run without a failure succeeds.
 */
#ifndef DEMI_TEST_FAULT_AGAIN_H
#define DEMI_TEST_FAULT_AGAIN_H

#include "../lib/harness.h"
#include "inject.h"

/* Errors that a call may return in the run under way; 0 ends the list. */
extern const int *allowed;
extern bool lasting;

/* A failure: true to try again, false to give up, which only a lasting failure allows. */
bool again(const char *what, int error, int tries);

/* Waits, and tries that until it succeeds; false to give up. */
bool wait_one(demi_qresult_t *qr, demi_qtoken_t qt);

/* In a function that returns whether it succeeded: tries the call until it does. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        int try_error;                                                                             \
        for (int tries = 1; (try_error = (call)) != 0; tries++)                                    \
            if (!again(#call, try_error, tries))                                                   \
                return false;                                                                      \
    } while (0)

/* The result of the operation that `issue` starts, tried until it succeeds. */
#define TRY_OP(qr, qt, issue)                                                                      \
    do {                                                                                           \
        for (int op_tries = 1;; op_tries++) {                                                      \
            TRY(issue);                                                                            \
            if (!wait_one(qr, qt))                                                                 \
                return false;                                                                      \
            if ((qr)->qr_opcode != DEMI_OPC_FAILED)                                                \
                break;                                                                             \
            if (!again(#issue, (int)(qr)->qr_ret, op_tries))                                       \
                return false;                                                                      \
        }                                                                                          \
    } while (0)

/* Fails each request of a kind in turn, until the scenario asks no more. It says whether it came to
 * its end, and has disarmed when it returns. */
void fail_each(bool (*scenario)(void), enum inject_kind kind, int error, const int errors[],
               bool is_lasting);

#endif /* DEMI_TEST_FAULT_AGAIN_H */
