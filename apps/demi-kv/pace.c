/* SPDX-License-Identifier: MIT */
/*
 * How many answers are held back (pace.h).
 */
#include "pace.h"

void kv_pace_sent(struct kv_pace *p, int64_t now_ns)
{
    p->work_ns = p->idled ? 0 : now_ns - p->since_ns;
    p->since_ns = now_ns;
    p->idled = false;
}

void kv_pace_acked(struct kv_pace *p, int64_t now_ns, uint32_t answers)
{
    const int64_t write_ns = now_ns - p->since_ns;

    if (p->work_ns <= write_ns)
        p->hold /= 2;
    else if (p->idled)
        p->hold++;
    else if (p->hold > 0)
        p->hold--;
    if (p->hold > answers / 2)
        p->hold = answers / 2;
    p->since_ns = now_ns;
    p->idled = false;
}
