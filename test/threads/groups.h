/* SPDX-License-Identifier: MIT */
/* The groups of tests with several threads. */
#ifndef DEMI_TEST_THREADS_GROUPS_H
#define DEMI_TEST_THREADS_GROUPS_H

#include "crew.h"

#define STARTED(f)   cmocka_unit_test_setup_teardown(f, library_setup, library_teardown)
#define UNSTARTED(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)

int run_leader_tests(void);    /* who leads, who sleeps, who is woken */
int run_one_queue_tests(void); /* many threads wait for one queue: what each element costs */
int run_race_tests(void);      /* cancel, close, free, exit of a thread, at any moment */
int run_stress_tests(void);    /* everything at random */
int run_instance_tests(void);  /* one instance per worker */
int run_connect_tests(void);   /* qconnect between instances */
int run_compose_tests(void);   /* operators used by several threads */

#endif /* DEMI_TEST_THREADS_GROUPS_H */
