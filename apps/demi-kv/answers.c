/* SPDX-License-Identifier: MIT */
/*
 * Answers that wait for the log (answers.h).
 */
#include "answers.h"

#include "client.h"

#include <demi/sga.h>
#include <stdlib.h>

struct kv_answer {
    struct kv_answer *next;
    struct kv_client *client;
    uint64_t group;
    demi_sgarray_t sga;
};

bool kv_answers_keep(struct kv_answers *a, struct kv_client *c, uint64_t group,
                     const demi_sgarray_t *sga)
{
    struct kv_answer *answer = malloc(sizeof(*answer));

    if (!answer || demi_sgaclone(&answer->sga, sga) != 0) {
        free(answer);
        return false;
    }
    answer->next = NULL;
    answer->client = c;
    answer->group = group;
    if (a->last)
        a->last->next = answer;
    else
        a->first = answer;
    a->last = answer;
    a->num++;
    if (group == KV_ANSWER_OPEN && !a->open)
        a->open = answer;
    return true;
}

void kv_answers_settle(struct kv_answers *a, uint64_t group)
{
    for (struct kv_answer *answer = a->open; answer; answer = answer->next)
        answer->group = group;
    a->open = NULL;
}

uint32_t kv_answers_ready(const struct kv_answers *a, uint64_t group)
{
    uint32_t n = 0;

    for (const struct kv_answer *answer = a->first; answer && answer->group <= group;
         answer = answer->next)
        n++;
    return n;
}

void kv_answers_send(struct kv_answers *a, uint64_t group, uint32_t leave)
{
    while (a->num > leave && a->first->group <= group) {
        struct kv_answer *answer = a->first;
        a->first = answer->next;
        a->num--;
        if (!a->first)
            a->last = NULL;
        kv_client_send_kept(answer->client, &answer->sga);
        demi_sgafree(&answer->sga);
        free(answer);
    }
}
