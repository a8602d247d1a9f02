/* SPDX-License-Identifier: MIT */
/*
 * The conformance suite: the semantics of queues, one file per subject, each a group of tests that
 * main.c runs against the backend named on the command line.
 */
#ifndef DEMI_TEST_CONFORM_SUITE_H
#define DEMI_TEST_CONFORM_SUITE_H

#include "../lib/backend.h"

/* A test with the library started before and ended after it; one that starts it itself. */
#define STARTED(f)   cmocka_unit_test_setup_teardown(f, library_setup, library_teardown)
#define UNSTARTED(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)

int run_token_tests(void);          /* tokens: unique, used up, never somebody else's */
int run_wait_tests(void);           /* the wait family in one thread */
int run_sleep_tests(void);          /* two threads at one token; signals */
int run_sga_tests(void);            /* allocation, free, clone */
int run_element_tests(void);        /* what is pushed is what is popped */
int run_lend_tests(void);           /* memory lent to a push; late readers */
int run_zerocopy_tests(void);       /* memory by reference; counters of copies */
int run_cancel_tests(void);         /* demi_cancel */
int run_close_tests(void);          /* demi_close, demi_shutdown */
int run_accept_tests(void);         /* listen, accept, connect */
int run_datagram_tests(void);       /* boundaries, addresses */
int run_socket_tests(void);         /* names, options, bad arguments */
int run_memory_tests(void);         /* the queue in memory */
int run_storage_tests(void);        /* logs */
int run_compose_tests(void);        /* what all operators have in common */
int run_compose_kinds_tests(void);  /* filter, map, sort */
int run_compose_many_tests(void);   /* merge, partition */
int run_compose_ends_tests(void);   /* sources that are closed, elements that fail */
int run_compose_misuse_tests(void); /* operators used badly */
int run_compose_model_tests(void);  /* random operators against a model */
int run_connect_tests(void);        /* demi_qconnect */
int run_frame_tests(void);          /* elements of a byte stream */
int run_eventfd_tests(void);        /* a foreign event loop */
int run_life_tests(void);           /* init, fini, fork, descriptor limit */
int run_exit_tests(void);           /* exit(), signal handlers, killed peers */
int run_model_tests(void);          /* random operations against a model */

#endif /* DEMI_TEST_CONFORM_SUITE_H */
