/* SPDX-License-Identifier: MIT */
/*
 * A network namespace for one test program, in which it may do what root may.
 */
#ifndef DEMI_TEST_UNIT_DRV_NETNS_H
#define DEMI_TEST_UNIT_DRV_NETNS_H

#include <stdbool.h>
#include <stdint.h>

/* Moves the program into a network namespace of its own, without IPv6, whose frames would mix with
 * the test's. NULL, or why that cannot be. */
const char *netns_enter(void);

/* Runs ip(8); it must succeed. */
void netns_ip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A pair of interfaces, ve0 and ve1, which are up; and no more. */
void netns_make_veth(uint32_t mtu);
void netns_remove_veth(void);

/* Ends the program as skipped, for a reason. */
void netns_skip(const char *reason) __attribute__((noreturn));

#endif /* DEMI_TEST_UNIT_DRV_NETNS_H */
