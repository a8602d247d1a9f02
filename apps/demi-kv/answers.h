/* SPDX-License-Identifier: MIT */
/*
 * Answers that wait until what they tell of is on the log (journal.h), in the order in which they
 * were given.
 *
 * A command that changes something may send a part of its answer before it does so. What such an
 * answer waits for is known when the command is over: until then it is open.
 */
#ifndef KV_ANSWERS_H
#define KV_ANSWERS_H

#include <demi/types.h>
#include <stdbool.h>
#include <stdint.h>

struct kv_answer;
struct kv_client;
struct kv_server;

#define KV_ANSWER_OPEN UINT64_MAX /* as a group */

struct kv_answers {
    struct kv_answer *first, *last;
    struct kv_answer *open; /* the first of those at the end that are */
    uint32_t num;
};

/* Keeps an answer until a group is acknowledged; false without memory. It counts as one of the
 * client's pushes from now on. */
bool kv_answers_keep(struct kv_answers *a, struct kv_client *c, uint64_t group,
                     const demi_sgarray_t *sga);

/* A command is over: open answers wait for this group. */
void kv_answers_settle(struct kv_answers *a, uint64_t group);

/* How many there are of groups up to this one. */
uint32_t kv_answers_ready(const struct kv_answers *a, uint64_t group);

/* Sends those of groups up to this one, but for so many of all that there are. Clients may be gone
 * afterwards. */
void kv_answers_send(struct kv_answers *a, uint64_t group, uint32_t leave);

#endif /* KV_ANSWERS_H */
