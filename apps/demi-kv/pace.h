/* SPDX-License-Identifier: MIT */
/*
 * How groups of changes follow each other on the log (journal.h): how many answers are held back.
 *
 * A group's write costs processor time, however small the group is, and takes longer than that. One
 * at a time is on its way. When it is acknowledged its answers are sent, what the clients say next
 * is run as the next group, and that goes when nothing more is ready. So all clients share a write;
 * but while it goes there is nothing to do. Therefore some answers are held back until the next
 * group has gone: what they bring is run meanwhile.
 *
 * Who is held back misses a group. With n clients, of which h are held back, c of time for one's
 * request and answer, and L for a write, of which a part is idle, a group has n - h requests and
 * takes n c + L - 2 h c, as long as some idle time is left: more requests per time with a larger h
 * when n c > L, and fewer when n c < L. When no idle time is left a larger h has smaller groups for
 * nothing. So h grows while there is idle time and a group's work takes longer than its write.
 *
 * Pure: times are arguments.
 */
#ifndef KV_PACE_H
#define KV_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct kv_pace {
    uint32_t hold;    /* answers of the group that is acknowledged next */
    bool idled;       /* there was nothing to do since a group went, or before it came about */
    int64_t since_ns; /* when the last group went, or was acknowledged */
    int64_t work_ns;  /* from that to the one on its way; 0: that was not all work */
};

/* There is nothing to do. */
static inline void kv_pace_idle(struct kv_pace *p)
{
    p->idled = true;
}

/* A group goes. */
void kv_pace_sent(struct kv_pace *p, int64_t now_ns);

/* It is acknowledged, and has so many answers. */
void kv_pace_acked(struct kv_pace *p, int64_t now_ns, uint32_t answers);

#endif /* KV_PACE_H */
