/* SPDX-License-Identifier: MIT */
/*
 * recoveries_used is in the order of need, so the first are those that most likely have no trouble;
 * a few of them are asked.
 */
#include "net/tcp/record.h"

#define TRIES 8

static void give(struct dk_tcp_conn *c, struct dk_tcp_recovery *r)
{
    memset(r, 0, sizeof(*r));
    r->conn = c;
    dk_list_add_tail(&c->tcp->recoveries_used, &r->link);
    c->loss = r;
}

/* From a connection that has no use for it now; those that have go to the end. */
static struct dk_tcp_recovery *take_over(struct dk_tcp *tcp)
{
    for (uint32_t i = 0; i < TRIES; i++) {
        struct dk_list *first = dk_list_first(&tcp->recoveries_used);
        if (!first)
            return NULL;
        struct dk_tcp_recovery *r = dk_container_of(first, struct dk_tcp_recovery, link);
        dk_list_del(first);
        if (!r->conn->troubled) {
            r->conn->loss = &tcp->no_recovery;
            return r;
        }
        dk_list_add_tail(&tcp->recoveries_used, first);
    }
    return NULL;
}

/* What began without a record ends without: with SACK duplicates are counted in another way. */
static bool may_begin(const struct dk_tcp_conn *c)
{
    return c->state >= DK_TCP_ESTABLISHED && !c->in_recovery && !c->in_loss &&
           (c->dup_acks == 0 || !c->sack_on);
}

void dk_tcp_record_need(struct dk_tcp_conn *c)
{
    struct dk_tcp *tcp = c->tcp;
    if (dk_tcp_record_is_there(c)) {
        dk_list_del(&c->loss->link);
        dk_list_add_tail(&tcp->recoveries_used, &c->loss->link);
        return;
    }
    if (!may_begin(c))
        return;
    struct dk_tcp_recovery *r = dk_tcp_pool_get(&tcp->recoveries);
    if (!r)
        r = take_over(tcp);
    if (r)
        give(c, r);
    else
        DK_TCP_COUNT(tcp, recovery_no_record);
}

void dk_tcp_record_done(struct dk_tcp_conn *c)
{
    if (!dk_tcp_record_is_there(c))
        memset(c->loss, 0, sizeof(*c->loss));
}

void dk_tcp_record_put(struct dk_tcp_conn *c)
{
    if (!dk_tcp_record_is_there(c))
        return;
    dk_list_del(&c->loss->link);
    dk_tcp_pool_put(&c->tcp->recoveries, c->loss);
    c->loss = &c->tcp->no_recovery;
}
